//! `print`, and what rules say of themselves.
//!
//! Source: `v1/ast/compile.go` (`rewritePrintCalls`, `rewriteRegoMetadataCalls`).

use super::vars::Scope;
use crate::syntax::Pos;
use crate::syntax::tree::{Body, Expr, ExprKind, Names, Rule, Sym, Term, TermValue, op_of};

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
            // Declared variables count however they get their value.
            scope.extend(vars.into_iter().filter(|v| self.names.is_local(*v)));
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
