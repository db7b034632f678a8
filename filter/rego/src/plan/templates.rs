//! Template strings: what is printed of an expression that may have no value.
//!
//! Source: `v1/ast/compile.go` (`rewriteTemplateStrings`).

use super::vars::Scope;
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
        let mut scope = Scope::of_rule(rule);
        self.body(&mut rule.body, &mut scope);
        let head = &mut rule.head;
        for term in head
            .reference
            .iter_mut()
            .chain(head.args.iter_mut())
            .chain(head.key.as_mut())
            .chain(head.value.as_mut())
        {
            self.term(term, &mut scope);
        }
    }

    /// What the body binds is bound from here on.
    pub(crate) fn body(&mut self, body: &mut Body, scope: &mut Scope) {
        for expr in body.iter() {
            scope.extend(super::safety::outputs(expr, scope.bound(), self.arity));
        }
        for expr in body {
            self.expr(expr, scope);
        }
    }

    /// The same, up to its end.
    fn inner_body(&mut self, body: &mut Body, scope: &mut Scope) {
        let entered = scope.enter();
        self.body(body, scope);
        scope.leave(entered);
    }

    fn expr(&mut self, expr: &mut Expr, scope: &mut Scope) {
        match &mut expr.kind {
            ExprKind::Term(term) => self.term(term, scope),
            ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
                terms.iter_mut().for_each(|t| self.term(t, scope));
            }
            ExprKind::Every(every) => {
                self.term(&mut every.domain, scope);
                let entered = scope.enter();
                scope.extend(every.key.iter().chain([&every.value]).filter_map(Term::as_var));
                self.body(&mut every.body, scope);
                scope.leave(entered);
            }
            ExprKind::Not(not) => {
                self.inner_body(&mut not.body, scope);
            }
            ExprKind::Logical(logical) => {
                self.inner_body(&mut logical.left, scope);
                self.inner_body(&mut logical.right, scope);
            }
        }
        expr.with.iter_mut().for_each(|w| self.term(&mut w.value, scope));
    }

    fn term(&mut self, term: &mut Term, scope: &mut Scope) {
        match &mut term.value {
            TermValue::Scalar(_) | TermValue::Var(_) => {}
            TermValue::Ref(terms)
            | TermValue::Call(terms)
            | TermValue::Array(terms)
            | TermValue::Set(terms) => {
                terms.iter_mut().for_each(|t| self.term(t, scope));
            }
            TermValue::Object(pairs) => pairs.iter_mut().for_each(|(k, v)| {
                self.term(k, scope);
                self.term(v, scope);
            }),
            TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
                let entered = scope.enter();
                self.body(&mut parts.1, scope);
                self.term(&mut parts.0, scope);
                scope.leave(entered);
            }
            TermValue::ObjectCompr(parts) => {
                let entered = scope.enter();
                self.body(&mut parts.2, scope);
                self.term(&mut parts.0, scope);
                self.term(&mut parts.1, scope);
                scope.leave(entered);
            }
            TermValue::Template(parts) => {
                let parts = std::mem::take(parts);
                term.value = self.template(parts, term.pos, scope);
            }
        }
    }

    fn template(&mut self, parts: Vec<TemplatePart>, pos: Pos, scope: &mut Scope) -> TermValue {
        let mut terms = Vec::with_capacity(parts.len());
        if parts.is_empty() {
            terms.push(Term::string("", pos));
        }
        for part in parts {
            match part {
                TemplatePart::Text(value) => terms.push(Term::scalar(value, pos)),
                TemplatePart::Expr(expr) => terms.extend(self.template_part(*expr, scope)),
            }
        }
        let path = vec![Term::var(Sym::INTERNAL, pos), Term::string("template_string", pos)];
        let array = Term::new(TermValue::Array(terms), pos);
        TermValue::Call(vec![Term::new(TermValue::Ref(path), pos), array])
    }

    fn template_part(&mut self, mut expr: Expr, scope: &mut Scope) -> Option<Term> {
        let pos = expr.pos;
        self.expr(&mut expr, scope);
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
        for var in vars.difference(scope.bound()) {
            let message = format!("variable `{}` is not declared", self.names.text(*var));
            self.faults.push((pos, message));
        }
        let local = Term::var(self.names.local(), pos);
        let mut capture = Expr::equality(local.clone(), term, pos);
        capture.with = expr.with;
        Some(Term::new(TermValue::SetCompr(Box::new((local, vec![capture]))), pos))
    }
}
