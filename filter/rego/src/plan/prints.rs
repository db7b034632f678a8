//! `print`, and what rules say of themselves.
//!
//! Source: `v1/ast/compile.go` (`rewritePrintCalls`, `rewriteRegoMetadataCalls`).

use super::vars::Scope;
use crate::syntax::Pos;
use crate::syntax::tree::{Body, Expr, ExprKind, Names, Rule, Sym, Term, TermValue, call_of, op_of};
use crate::value::Value;

/// Whether the operator is `print`.
pub(crate) fn is_print(terms: &[Term]) -> bool {
    op_of(terms) == Some(Sym::PRINT)
}

/// Takes every `print` out.
pub(crate) fn erase_prints(body: &mut Body) {
    let pos = body.first().map(|e| e.pos).unwrap_or_default();
    body.retain(|e| !matches!(&e.kind, ExprKind::Call(terms) if is_print(terms)));
    if body.is_empty() {
        body.push(Expr::term(Term::boolean(true, pos)));
    }
    for expr in body {
        super::vars::bodies_of_expr(expr, &mut erase_prints);
    }
}

/// Rewrites every `print` that is kept: an argument without a value prints as `<undefined>`, and fails nothing.
pub(crate) struct Prints<'a> {
    pub(crate) names: &'a mut Names,
    pub(crate) arity: super::safety::Arity<'a>,
    pub(crate) faults: Vec<(Pos, String)>,
}

impl Prints<'_> {
    pub(crate) fn rule(&mut self, rule: &mut Rule) {
        let mut scope = Scope::of_rule(rule);
        let head = &mut rule.head;
        for term in head.args.iter_mut().chain(head.key.as_mut()).chain(head.value.as_mut()) {
            super::vars::bodies_of_term(term, &mut |b| self.body(b, &mut scope));
        }
        self.body(&mut rule.body, &mut scope);
    }

    pub(crate) fn body(&mut self, body: &mut Body, scope: &mut Scope) {
        let entered = scope.enter();
        for expr in body {
            let outside = scope.enter();
            if let ExprKind::Every(every) = &expr.kind {
                scope.extend(every.key.iter().chain([&every.value]).filter_map(Term::as_var));
            }
            super::vars::bodies_of_expr(expr, &mut |b| self.body(b, scope));
            scope.leave(outside);
            if let ExprKind::Call(terms) = &mut expr.kind
                && is_print(terms)
            {
                let args = terms.split_off(1);
                *expr = self.print(args, scope.bound(), expr.pos);
            }
            scope.extend(super::safety::outputs(expr, scope.bound(), self.arity));
            let mut vars = super::vars::VarSet::new();
            super::vars::ALL.expr(expr, &mut vars);
            scope.extend(vars.into_iter().filter(|v| self.names.is_made(*v)));
        }
        scope.leave(entered);
    }

    fn print(&mut self, args: Vec<Term>, safe: &super::vars::VarSet, pos: Pos) -> Expr {
        let mut terms = Vec::with_capacity(args.len());
        for arg in args {
            let mut vars = super::vars::VarSet::new();
            super::vars::SAFETY.term(&arg, &mut vars);
            for var in vars.difference(safe) {
                let message = format!("variable `{}` is not declared", self.names.text(*var));
                self.faults.push((arg.pos, message));
            }
            let at = arg.pos;
            let local = Term::var(self.names.local(), at);
            let capture = Expr::equality(local.clone(), arg, at);
            terms.push(Term::new(TermValue::SetCompr(Box::new((local, vec![capture]))), at));
        }
        let path = vec![Term::var(Sym::INTERNAL, pos), Term::string("print", pos)];
        let array = Term::new(TermValue::Array(terms), pos);
        Expr::new(ExprKind::Call(vec![Term::new(TermValue::Ref(path), pos), array]), pos)
    }
}

/// Puts the answers of `rego.metadata.rule()` and `rego.metadata.chain()` in their place.
pub(crate) fn metadata(body: &mut Body, path: &Term) {
    for expr in body {
        if let ExprKind::Call(terms) = &mut expr.kind
            && let Some(answer) = metadata_answer(terms, path)
        {
            expr.kind = match terms.pop() {
                Some(out) if !terms.is_empty() => {
                    ExprKind::Call(call_of(Sym::EQ, vec![out, answer], expr.pos))
                }
                _ => ExprKind::Term(answer),
            };
            expr.negated = false;
            expr.with.clear();
        }
        match &mut expr.kind {
            ExprKind::Term(term) => metadata_term(term, path),
            ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
                terms.iter_mut().for_each(|t| metadata_term(t, path));
            }
            ExprKind::Every(every) => {
                metadata_term(&mut every.domain, path);
                metadata(&mut every.body, path);
            }
            ExprKind::Not(not) => metadata(&mut not.body, path),
            ExprKind::Logical(logical) => {
                metadata(&mut logical.left, path);
                metadata(&mut logical.right, path);
            }
        }
    }
}

pub(crate) fn metadata_term(term: &mut Term, path: &Term) {
    match &mut term.value {
        TermValue::Call(terms) => match metadata_answer(terms, path) {
            Some(answer) => *term = answer,
            None => terms.iter_mut().for_each(|t| metadata_term(t, path)),
        },
        TermValue::Ref(terms) | TermValue::Array(terms) | TermValue::Set(terms) => {
            terms.iter_mut().for_each(|t| metadata_term(t, path));
        }
        TermValue::Object(pairs) => pairs.iter_mut().for_each(|(k, v)| {
            metadata_term(k, path);
            metadata_term(v, path);
        }),
        TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
            metadata_term(&mut parts.0, path);
            metadata(&mut parts.1, path);
        }
        TermValue::ObjectCompr(parts) => {
            metadata_term(&mut parts.0, path);
            metadata_term(&mut parts.1, path);
            metadata(&mut parts.2, path);
        }
        TermValue::Scalar(_) | TermValue::Var(_) | TermValue::Template(_) => {}
    }
}

/// A file without annotations: a rule has none, and its chain is its path.
fn metadata_answer(terms: &[Term], path: &Term) -> Option<Term> {
    let TermValue::Ref(op) = &terms.first()?.value else { return None };
    let [first, second, third] = op.as_slice() else { return None };
    let is = |t: &Term, name: &[u8]| t.as_scalar().and_then(Value::as_bytes) == Some(name);
    if first.as_var() != Some(Sym::REGO) || !is(second, b"metadata") {
        return None;
    }
    let pos = first.pos;
    if is(third, b"rule") {
        return Some(Term::new(TermValue::Object(Vec::new()), pos));
    }
    is(third, b"chain").then(|| {
        let link = Term::new(TermValue::Object(vec![(Term::string("path", pos), path.clone())]), pos);
        Term::new(TermValue::Array(vec![link]), pos)
    })
}
