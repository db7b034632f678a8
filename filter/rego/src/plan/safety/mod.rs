//! Safety: an order of each body in which every variable is bound before it is needed.
//!
//! Source: `v1/ast/compile.go` (`reorderBodyForSafety`, `outputVarsForExpr`), `v1/ast/unify.go`.

mod order;
mod outputs;
#[cfg(test)]
mod tests;
mod unifier;

pub(crate) use outputs::{equality_outputs, of_refs, outputs};
pub(crate) use unifier::unify;

use order::order;

use super::vars::{SAFETY_OPERANDS, Scope, VarSet, vars_of};
use crate::syntax::Pos;
use crate::syntax::tree::{Body, Expr, ExprKind, Sym, TemplatePart, Term, TermValue};

/// The number of arguments of what an operator names; None if nothing is known of it.
pub(crate) type Arity<'a> = &'a dyn Fn(&Term) -> Option<usize>;

/// Variables that no order makes safe, with the place of the expression.
pub(crate) type Unsafe = Vec<(Sym, Pos)>;

/// Orders a body, and all bodies within it. Of the outermost one, an expression that never gets its turn, while no variable
/// is to blame for it, is left out, as OPA leaves it out.
pub(crate) fn reorder(body: &mut Body, scope: &mut Scope, arity: Arity<'_>, out: &mut Unsafe) {
    let _ = arrange(body, scope, arity, out);
}

/// The same of a body within another: where an expression never gets its turn, all stand as they were written.
fn reorder_inner(body: &mut Body, scope: &mut Scope, arity: Arity<'_>, out: &mut Unsafe) {
    let Some((turns, mut slots)) = arrange(body, scope, arity, out) else { return };
    if body.len() < slots.len() {
        for (turn, expr) in turns.iter().zip(body.drain(..)) {
            if let Some(slot) = slots.get_mut(*turn) {
                *slot = Some(expr);
            }
        }
        body.extend(slots.into_iter().flatten());
    }
}

/// Puts a body into the order of its turns. Gives the turns, and in their places the expressions that got none; nothing if
/// a variable is unsafe.
fn arrange(
    body: &mut Body,
    scope: &mut Scope,
    arity: Arity<'_>,
    out: &mut Unsafe,
) -> Option<(Vec<usize>, Vec<Option<Expr>>)> {
    let order = order(body, scope.bound(), arity);
    if !order.missing.is_empty() {
        out.extend(order.missing);
        return None;
    }
    let mut slots: Vec<Option<Expr>> = std::mem::take(body).into_iter().map(Some).collect();
    body.extend(order.turns.iter().filter_map(|i| slots.get_mut(*i).and_then(Option::take)));
    inner_bodies(body, scope, arity, out);
    Some((order.turns, slots))
}

fn inner_bodies(body: &mut Body, scope: &mut Scope, arity: Arity<'_>, out: &mut Unsafe) {
    let entered = scope.enter();
    let mut last: Option<VarSet> = None;
    for expr in body.iter_mut() {
        scope.extend(last.take().into_iter().flatten());
        let mut vars = VarSet::new();
        SAFETY_OPERANDS.expr(expr, &mut vars);
        last = Some(vars);
        closures_of_expr(expr, scope, arity, out);
    }
    scope.leave(entered);
}

/// The bodies within an expression, with what is bound before it.
fn closures_of_expr(expr: &mut Expr, scope: &mut Scope, arity: Arity<'_>, out: &mut Unsafe) {
    match &mut expr.kind {
        ExprKind::Term(term) => closures_of_term(term, scope, arity, out),
        ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
            terms.iter_mut().for_each(|t| closures_of_term(t, scope, arity, out));
        }
        ExprKind::Every(every) => {
            closures_of_term(&mut every.domain, scope, arity, out);
            scope.extend(every.key.iter().filter_map(Term::as_var));
            scope.extend(every.value.as_var());
            reorder_inner(&mut every.body, scope, arity, out);
        }
        ExprKind::Not(not) => reorder_inner(&mut not.body, scope, arity, out),
        ExprKind::Logical(logical) => {
            reorder_inner(&mut logical.left, scope, arity, out);
            reorder_inner(&mut logical.right, scope, arity, out);
        }
    }
    for with in &mut expr.with {
        closures_of_term(&mut with.value, scope, arity, out);
    }
}

fn closures_of_term(term: &mut Term, scope: &mut Scope, arity: Arity<'_>, out: &mut Unsafe) {
    let pos = term.pos;
    let mut check = |head: VarSet, body: &mut Body, scope: &mut Scope| {
        let mut vars = VarSet::new();
        SAFETY_OPERANDS.body(body, &mut vars);
        let missing = head.into_iter().filter(|v| !vars.contains(v) && !scope.bound().contains(v));
        out.extend(missing.map(|v| (v, pos)));
        reorder_inner(body, scope, arity, out);
    };
    match &mut term.value {
        TermValue::Scalar(_) | TermValue::Var(_) => {}
        TermValue::Ref(terms) | TermValue::Call(terms) | TermValue::Array(terms) | TermValue::Set(terms) => {
            terms.iter_mut().for_each(|t| closures_of_term(t, scope, arity, out));
        }
        TermValue::Object(pairs) => pairs.iter_mut().for_each(|(k, v)| {
            closures_of_term(k, scope, arity, out);
            closures_of_term(v, scope, arity, out);
        }),
        TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
            let head = vars_of(&parts.0);
            check(head, &mut parts.1, scope);
        }
        TermValue::ObjectCompr(parts) => {
            let mut head = vars_of(&parts.0);
            head.extend(vars_of(&parts.1));
            check(head, &mut parts.2, scope);
        }
        TermValue::Template(parts) => {
            for part in parts {
                if let TemplatePart::Expr(expr) = part {
                    closures_of_expr(expr, scope, arity, out);
                }
            }
        }
    }
}
