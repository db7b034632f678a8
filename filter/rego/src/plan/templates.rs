//! Template strings: what is printed of an expression that may have no value.
//!
//! Source: `v1/ast/compile.go` (`rewriteTemplateStrings`).

use crate::syntax::Pos;
use crate::syntax::tree::{Body, Expr, ExprKind, Names, Rule, Sym, TemplatePart, Term, TermValue};

/// What a template needs to know of the expressions in it.
pub(crate) struct Templates<'a> {
    pub(crate) names: &'a mut Names,
    /// A reference that is always defined.
    pub(crate) always: &'a dyn Fn(&[Term]) -> bool,
    pub(crate) is_relation: &'a dyn Fn(&Term) -> bool,
    pub(crate) arity: super::safety::Arity<'a>,
    pub(crate) faults: Vec<(Pos, String)>,
}

impl Templates<'_> {
    pub(crate) fn rule(&mut self, rule: &mut Rule) {
        let mut safe = super::vars::VarSet::from([Sym::INPUT, Sym::DATA]);
        rule.head.args.iter().for_each(|t| super::vars::ALL.term(t, &mut safe));
        let safe = self.body(&mut rule.body, &safe);
        let head = &mut rule.head;
        for term in head
            .reference
            .iter_mut()
            .chain(head.args.iter_mut())
            .chain(head.key.as_mut())
            .chain(head.value.as_mut())
        {
            self.term(term, &safe);
        }
    }

    pub(crate) fn body(&mut self, body: &mut Body, globals: &super::vars::VarSet) -> super::vars::VarSet {
        let mut safe = globals.clone();
        for expr in body.iter() {
            let outputs = super::safety::outputs(expr, &safe, self.arity);
            safe.extend(outputs);
        }
        for expr in body {
            self.expr(expr, &safe);
        }
        safe
    }

    fn expr(&mut self, expr: &mut Expr, safe: &super::vars::VarSet) {
        match &mut expr.kind {
            ExprKind::Term(term) => self.term(term, safe),
            ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
                terms.iter_mut().for_each(|t| self.term(t, safe));
            }
            ExprKind::Every(every) => {
                self.term(&mut every.domain, safe);
                let mut inner = safe.clone();
                inner.extend(every.key.iter().chain([&every.value]).filter_map(Term::as_var));
                self.body(&mut every.body, &inner);
            }
            ExprKind::Not(not) => {
                self.body(&mut not.body, safe);
            }
            ExprKind::Logical(logical) => {
                self.body(&mut logical.left, safe);
                self.body(&mut logical.right, safe);
            }
        }
        expr.with.iter_mut().for_each(|w| self.term(&mut w.value, safe));
    }

    fn term(&mut self, term: &mut Term, safe: &super::vars::VarSet) {
        match &mut term.value {
            TermValue::Scalar(_) | TermValue::Var(_) => {}
            TermValue::Ref(terms)
            | TermValue::Call(terms)
            | TermValue::Array(terms)
            | TermValue::Set(terms) => {
                terms.iter_mut().for_each(|t| self.term(t, safe));
            }
            TermValue::Object(pairs) => pairs.iter_mut().for_each(|(k, v)| {
                self.term(k, safe);
                self.term(v, safe);
            }),
            TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
                let inner = self.body(&mut parts.1, safe);
                self.term(&mut parts.0, &inner);
            }
            TermValue::ObjectCompr(parts) => {
                let inner = self.body(&mut parts.2, safe);
                self.term(&mut parts.0, &inner);
                self.term(&mut parts.1, &inner);
            }
            TermValue::Template(parts) => {
                let parts = std::mem::take(parts);
                term.value = self.template(parts, term.pos, safe);
            }
        }
    }

    fn template(&mut self, parts: Vec<TemplatePart>, pos: Pos, safe: &super::vars::VarSet) -> TermValue {
        let mut terms = Vec::with_capacity(parts.len());
        if parts.is_empty() {
            terms.push(Term::string("", pos));
        }
        for part in parts {
            match part {
                TemplatePart::Text(value) => terms.push(Term::scalar(value, pos)),
                TemplatePart::Expr(expr) => terms.extend(self.template_part(*expr, safe)),
            }
        }
        let path = vec![Term::var(Sym::INTERNAL, pos), Term::string("template_string", pos)];
        let array = Term::new(TermValue::Array(terms), pos);
        TermValue::Call(vec![Term::new(TermValue::Ref(path), pos), array])
    }

    fn template_part(&mut self, mut expr: Expr, safe: &super::vars::VarSet) -> Option<Term> {
        let pos = expr.pos;
        self.expr(&mut expr, safe);
        let term = match expr.kind {
            ExprKind::Term(term) => term,
            ExprKind::Call(terms) => {
                if terms.first().is_some_and(|op| (self.is_relation)(op)) {
                    self.faults
                        .push((pos, "a relation has many values and cannot be printed in a template".into()));
                    return None;
                }
                Term::new(TermValue::Call(terms), pos)
            }
            _ => {
                self.faults.push((pos, "this expression has no value to print in a template string".into()));
                return None;
            }
        };
        let always = match &term.value {
            TermValue::Var(_) => true,
            TermValue::Ref(path) => (self.always)(path),
            _ => false,
        };
        if always {
            return Some(Term::new(TermValue::Set(vec![term]), pos));
        }
        let mut vars = super::vars::VarSet::new();
        super::vars::SAFETY.term(&term, &mut vars);
        for var in vars.difference(safe) {
            let message = format!("variable `{}` is not declared", self.names.text(*var));
            self.faults.push((pos, message));
        }
        let local = Term::var(self.names.local(), pos);
        let mut capture = Expr::equality(local.clone(), term, pos);
        capture.with = expr.with;
        Some(Term::new(TermValue::SetCompr(Box::new((local, vec![capture]))), pos))
    }
}
