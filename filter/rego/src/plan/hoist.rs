//! Hoisting: what has to be evaluated inside an expression is taken out in front of it, and given a name.
//!
//! Where a part is put decides meaning: what is undefined *in front of* a `not` makes the body fail, what is undefined
//! *under* it makes the negation true. So the stages and their order are OPA's.
//! Source: `v1/ast/compile.go` (`expandExpr`, `rewriteComprehensionTerms`, `rewriteRefsInHead`, `rewriteDynamics`).

use super::vars::requires_evaluation;
use crate::hash::Map;
use crate::syntax::Pos;
use crate::syntax::order::compare;
use crate::syntax::tree::{Body, Expr, ExprKind, Names, Rule, Sym, Term, TermValue, call_of};
use crate::value::Value;

/// `true`, where a body has nothing else.
pub(crate) fn is_empty_body(body: &Body) -> bool {
    match body.as_slice() {
        [Expr { kind: ExprKind::Term(term), .. }] => {
            matches!(term.value, TermValue::Scalar(Value::Bool(true)))
        }
        _ => false,
    }
}

/// Appends; a body that is only `true` is replaced.
pub(crate) fn append(body: &mut Body, exprs: Vec<Expr>) {
    if !exprs.is_empty() && is_empty_body(body) {
        body.clear();
    }
    body.extend(exprs);
}

/// `fresh = term`, leaving the fresh variable in the term's place.
fn take_out(names: &mut Names, term: &mut Term) -> Expr {
    let pos = term.pos;
    let local = Term::var(names.local(), pos);
    let taken = std::mem::replace(term, local.clone());
    Expr::equality(local, taken, pos)
}

// --- Heads of rules ---

/// Steps of a rule's name that are neither variables nor scalars become variables.
pub(crate) fn head_reference(names: &mut Names, rule: &mut Rule) {
    let mut out = Vec::new();
    for term in rule.head.reference.iter_mut().skip(1) {
        if !matches!(term.value, TermValue::Var(_) | TermValue::Scalar(_)) {
            out.push(take_out(names, term));
        }
    }
    append(&mut rule.body, out);
}

/// Calls in the head and the body.
pub(crate) fn expression_terms(names: &mut Names, rule: &mut Rule) {
    let head = &mut rule.head;
    let mut out = Vec::new();
    for term in head.args.iter_mut().chain(head.key.as_mut()).chain(head.value.as_mut()) {
        expand_term(names, term, &mut out);
    }
    append(&mut rule.body, out);
    expand_body(names, &mut rule.body);
}

/// Key, value and arguments of the head that hold references or comprehensions.
pub(crate) fn head_terms(names: &mut Names, rule: &mut Rule) {
    let head = &mut rule.head;
    let mut out = Vec::new();
    for term in head.key.as_mut().into_iter().chain(head.value.as_mut()).chain(head.args.iter_mut()) {
        if requires_evaluation(term) {
            out.push(take_out(names, term));
        }
    }
    append(&mut rule.body, out);
}

// --- Calls within terms ---

pub(crate) fn expand_body(names: &mut Names, body: &mut Body) {
    let mut out = Vec::with_capacity(body.len());
    for expr in body.drain(..) {
        expand(names, expr, &mut out);
    }
    *body = out;
}

fn expand(names: &mut Names, mut expr: Expr, out: &mut Body) {
    for with in &mut expr.with {
        expand_term(names, &mut with.value, out);
    }
    let from = out.len();
    match &mut expr.kind {
        ExprKind::Term(term) => expand_term(names, term, out),
        ExprKind::Call(terms) => terms.iter_mut().skip(1).for_each(|t| expand_term(names, t, out)),
        ExprKind::Every(every) => {
            let mut equality = take_out(names, &mut every.domain);
            equality.with.clone_from(&expr.with);
            expand_body(names, &mut every.body);
            expand(names, equality, out);
            out.push(expr);
            return;
        }
        ExprKind::Not(not) => expand_body(names, &mut not.body),
        ExprKind::Logical(logical) => {
            expand_body(names, &mut logical.left);
            expand_body(names, &mut logical.right);
        }
        ExprKind::Some(_) | ExprKind::SomeIn(_) => {}
    }
    if !expr.with.is_empty() {
        for extra in out.iter_mut().skip(from) {
            extra.with.clone_from(&expr.with);
        }
    }
    out.push(expr);
}

fn expand_term(names: &mut Names, term: &mut Term, out: &mut Body) {
    match &mut term.value {
        TermValue::Scalar(_) | TermValue::Var(_) | TermValue::Template(_) => {}
        TermValue::Call(terms) => {
            terms.iter_mut().skip(1).for_each(|t| expand_term(names, t, out));
            let local = names.local();
            let mut terms = std::mem::take(terms);
            terms.push(Term::var(local, term.pos));
            let mut expr = Expr::new(ExprKind::Call(terms), term.pos);
            expr.generated = true;
            out.push(expr);
            term.value = TermValue::Var(local);
        }
        TermValue::Ref(terms) => {
            terms.iter_mut().for_each(|t| expand_term(names, t, out));
            if let Some(head) = terms.first_mut()
                && !matches!(head.value, TermValue::Var(_))
            {
                out.push(take_out(names, head));
            }
        }
        TermValue::Array(terms) => terms.iter_mut().for_each(|t| expand_term(names, t, out)),
        TermValue::Set(terms) => {
            terms.sort_by(compare);
            terms.iter_mut().for_each(|t| expand_term(names, t, out));
        }
        TermValue::Object(pairs) => {
            pairs.sort_by(|a, b| compare(&a.0, &b.0));
            pairs.iter_mut().for_each(|(k, v)| {
                expand_term(names, k, out);
                expand_term(names, v, out);
            });
        }
        TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
            let mut extra = Vec::new();
            expand_term(names, &mut parts.0, &mut extra);
            append(&mut parts.1, extra);
            expand_body(names, &mut parts.1);
        }
        TermValue::ObjectCompr(parts) => {
            let mut extra = Vec::new();
            expand_term(names, &mut parts.0, &mut extra);
            append(&mut parts.2, extra);
            let mut extra = Vec::new();
            expand_term(names, &mut parts.1, &mut extra);
            append(&mut parts.2, extra);
            expand_body(names, &mut parts.2);
        }
    }
}

// --- Heads of comprehensions ---

pub(crate) fn comprehension_heads(names: &mut Names, rule: &mut Rule) {
    let head = &mut rule.head;
    for term in head
        .args
        .iter_mut()
        .chain(head.reference.iter_mut())
        .chain(head.key.as_mut())
        .chain(head.value.as_mut())
    {
        comprehension_term(names, term);
    }
    comprehension_body(names, &mut rule.body);
}

pub(crate) fn comprehension_body(names: &mut Names, body: &mut Body) {
    for expr in body {
        match &mut expr.kind {
            ExprKind::Term(term) => comprehension_term(names, term),
            ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
                terms.iter_mut().for_each(|t| comprehension_term(names, t));
            }
            ExprKind::Every(every) => {
                comprehension_term(names, &mut every.domain);
                comprehension_body(names, &mut every.body);
            }
            ExprKind::Not(not) => comprehension_body(names, &mut not.body),
            ExprKind::Logical(logical) => {
                comprehension_body(names, &mut logical.left);
                comprehension_body(names, &mut logical.right);
            }
        }
        expr.with.iter_mut().for_each(|w| comprehension_term(names, &mut w.value));
    }
}

fn comprehension_term(names: &mut Names, term: &mut Term) {
    match &mut term.value {
        TermValue::Scalar(_) | TermValue::Var(_) | TermValue::Template(_) => {}
        TermValue::Ref(terms) | TermValue::Call(terms) | TermValue::Array(terms) | TermValue::Set(terms) => {
            terms.iter_mut().for_each(|t| comprehension_term(names, t));
        }
        TermValue::Object(pairs) => pairs.iter_mut().for_each(|(k, v)| {
            comprehension_term(names, k);
            comprehension_term(names, v);
        }),
        TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
            if requires_evaluation(&parts.0) {
                let expr = take_out(names, &mut parts.0);
                append(&mut parts.1, vec![expr]);
            }
            comprehension_body(names, &mut parts.1);
        }
        TermValue::ObjectCompr(parts) => {
            let (key, value, body) = &mut **parts;
            for head in [key, value] {
                if requires_evaluation(head) {
                    let expr = take_out(names, head);
                    append(body, vec![expr]);
                }
            }
            comprehension_body(names, body);
        }
    }
}

// --- Values of `with` ---

/// Takes values out in front of the expression where `evaluates` says that they must be.
pub(crate) fn with_values(
    names: &mut Names,
    body: &mut Body,
    evaluates: &mut dyn FnMut(&mut Term, &mut Term, Pos) -> bool,
) {
    let mut out = Vec::with_capacity(body.len());
    // What was hoisted out of one expression has its `with`s: their values are taken out once.
    let mut taken: Map<Pos, (Term, Term)> = Map::default();
    for mut expr in body.drain(..) {
        super::vars::bodies_of_expr(&mut expr, &mut |b| with_values(names, b, evaluates));
        for with in &mut expr.with {
            if let Some((value, local)) = taken.get(&with.value.pos)
                && compare(value, &with.value).is_eq()
            {
                with.value = local.clone();
            }
            if evaluates(&mut with.target, &mut with.value, with.pos) {
                let value = with.value.clone();
                out.push(take_out(names, &mut with.value));
                taken.insert(value.pos, (value, with.value.clone()));
            }
        }
        out.push(expr);
    }
    *body = out;
}

// --- `==` ---

/// `==` with two operands is unification from here on: it binds nothing, the safety check saw to that.
pub(crate) fn equals(body: &mut Body) {
    for expr in body {
        if expr.op() == Some(Sym::EQUAL)
            && let ExprKind::Call(terms) = &mut expr.kind
            && terms.len() == 3
        {
            let pos = terms.first().map(|t| t.pos).unwrap_or_default();
            let operands = terms.drain(1..).collect();
            *terms = call_of(Sym::EQ, operands, pos);
        }
        super::vars::bodies_of_expr(expr, &mut equals);
    }
}

// --- References and comprehensions within expressions ---

pub(crate) fn dynamic_terms(names: &mut Names, body: &mut Body) {
    let mut out = Vec::with_capacity(body.len());
    for mut expr in body.drain(..) {
        let from = out.len();
        let is_equality = matches!(expr.op(), Some(Sym::EQ | Sym::ASSIGN));
        match &mut expr.kind {
            ExprKind::Call(terms) if is_equality && terms.len() == 3 => {
                terms.iter_mut().skip(1).for_each(|t| dynamic_operand(names, t, &mut out));
            }
            ExprKind::Call(terms) => terms.iter_mut().skip(1).for_each(|t| dynamic_one(names, t, &mut out)),
            ExprKind::Term(term) => dynamic_operand(names, term, &mut out),
            ExprKind::Every(every) => {
                dynamic_one(names, &mut every.domain, &mut out);
                dynamic_terms(names, &mut every.body);
            }
            ExprKind::Not(not) => dynamic_terms(names, &mut not.body),
            ExprKind::Logical(logical) => {
                dynamic_terms(names, &mut logical.left);
                dynamic_terms(names, &mut logical.right);
            }
            ExprKind::Some(_) | ExprKind::SomeIn(_) => {}
        }
        if !expr.with.is_empty() {
            out.iter_mut().skip(from).for_each(|extra: &mut Expr| extra.with.clone_from(&expr.with));
        }
        out.push(expr);
    }
    *body = out;
}

/// An operand of `=`, or a term alone: itself stays, what is in it goes.
fn dynamic_operand(names: &mut Names, term: &mut Term, out: &mut Body) {
    match &mut term.value {
        TermValue::Ref(terms) => terms.iter_mut().skip(1).for_each(|t| dynamic_one(names, t, out)),
        TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => dynamic_terms(names, &mut parts.1),
        TermValue::ObjectCompr(parts) => dynamic_terms(names, &mut parts.2),
        _ => dynamic_one(names, term, out),
    }
}

fn dynamic_one(names: &mut Names, term: &mut Term, out: &mut Body) {
    match &mut term.value {
        TermValue::Ref(terms) => {
            terms.iter_mut().skip(1).for_each(|t| dynamic_one(names, t, out));
            out.push(take_out(names, term));
        }
        TermValue::Array(terms) => terms.iter_mut().for_each(|t| dynamic_one(names, t, out)),
        TermValue::Set(terms) => {
            terms.sort_by(compare);
            terms.iter_mut().for_each(|t| dynamic_one(names, t, out));
        }
        TermValue::Object(pairs) => {
            pairs.sort_by(|a, b| compare(&a.0, &b.0));
            pairs.iter_mut().for_each(|(k, v)| {
                dynamic_one(names, k, out);
                dynamic_one(names, v, out);
            });
        }
        TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
            dynamic_terms(names, &mut parts.1);
            out.push(take_out(names, term));
        }
        TermValue::ObjectCompr(parts) => {
            dynamic_terms(names, &mut parts.2);
            out.push(take_out(names, term));
        }
        TermValue::Scalar(_) | TermValue::Var(_) | TermValue::Call(_) | TermValue::Template(_) => {}
    }
}
