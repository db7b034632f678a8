//! `rego.metadata.rule()` and `rego.metadata.chain()`: the rule's body begins with their answers, and calls are replaced.
//!
//! Source: `v1/ast/compile.go` (`rewriteRegoMetadataCalls`).

use super::hoist;
use super::vars::{bodies_of_expr, bodies_of_term};
use crate::syntax::tree::{Body, Expr, ExprKind, Names, Rule, Sym, Term, TermValue};
use crate::value::Value;

#[derive(Clone, Copy, PartialEq)]
enum Asked {
    Chain,
    Rule,
}

/// Replaces the calls of one rule; `chain` and `own` give the answers.
pub(crate) fn replace(
    names: &mut Names,
    rule: &mut Rule,
    chain: &dyn Fn() -> Term,
    own: &dyn Fn() -> Term,
) {
    let mut asked = Vec::new();
    each_body(rule, &mut |body| {
        for expr in body {
            if let ExprKind::Call(terms) = &expr.kind {
                asked.extend(call_of_metadata(terms).filter(|a| !asked.contains(a)));
            }
        }
    });
    if asked.is_empty() {
        return;
    }
    let mut locals = Vec::new();
    let mut front = Vec::new();
    for (ask, answer) in [(Asked::Chain, chain), (Asked::Rule, own)] {
        if asked.contains(&ask) {
            let answer = answer();
            let local = Term::var(names.local(), answer.pos);
            let pos = answer.pos;
            front.push(Expr::equality(local.clone(), answer, pos));
            locals.push((ask, local));
        }
    }
    each_body(rule, &mut |body| {
        for expr in body {
            let ExprKind::Call(terms) = &mut expr.kind else { continue };
            let local = locals.iter().find(|(ask, _)| call_of_metadata(terms) == Some(*ask));
            let Some((_, local)) = local else { continue };
            let local = local.clone();
            let out = terms.pop().filter(|_| !terms.is_empty());
            let mut with = match out {
                Some(out) => Expr::equality(out, local, expr.pos),
                None => Expr::term(local),
            };
            with.generated = true;
            with.pos = expr.pos;
            *expr = with;
        }
    });
    hoist::append(&mut front, std::mem::take(&mut rule.body));
    rule.body = front;
}

fn call_of_metadata(terms: &[Term]) -> Option<Asked> {
    let TermValue::Ref(op) = &terms.first()?.value else { return None };
    let [first, second, third] = op.as_slice() else { return None };
    let is = |t: &Term, name: &[u8]| t.as_scalar().and_then(Value::as_bytes) == Some(name);
    if first.as_var() != Some(Sym::REGO) || !is(second, b"metadata") {
        return None;
    }
    match () {
        _ if is(third, b"chain") => Some(Asked::Chain),
        _ if is(third, b"rule") => Some(Asked::Rule),
        _ => None,
    }
}

/// Calls `f` on every body of a rule.
fn each_body(rule: &mut Rule, f: &mut dyn FnMut(&mut Body)) {
    fn inner(body: &mut Body, f: &mut dyn FnMut(&mut Body)) {
        f(body);
        for expr in body {
            bodies_of_expr(expr, &mut |b| inner(b, f));
        }
    }
    let head = &mut rule.head;
    for term in head.args.iter_mut().chain(head.key.as_mut()).chain(head.value.as_mut()) {
        bodies_of_term(term, &mut |b| inner(b, f));
    }
    inner(&mut rule.body, f);
}
