//! An order of terms: equal are those that say the same, wherever they stand.
//!
//! OPA keeps sets and objects sorted by it, terms that are no values yet too. Source: `v1/ast/compare.go`.

use std::cmp::Ordering;

use super::tree::{Body, Expr, ExprKind, TemplatePart, Term, TermValue, With};

/// Compares two terms; variables by the number of their name.
pub(crate) fn compare(a: &Term, b: &Term) -> Ordering {
    use TermValue::{
        Array, ArrayCompr, Call, Object, ObjectCompr, Ref, Scalar, Set, SetCompr, Template, Var,
    };
    match (&a.value, &b.value) {
        (Scalar(a), Scalar(b)) => a.cmp(b),
        (Var(a), Var(b)) => a.cmp(b),
        (Ref(a), Ref(b)) | (Array(a), Array(b)) | (Call(a), Call(b)) | (Set(a), Set(b)) => lists(a, b),
        (Object(a), Object(b)) => {
            let unequal = a.iter().zip(b).map(|(a, b)| compare(&a.0, &b.0).then_with(|| compare(&a.1, &b.1)));
            first(unequal).then(a.len().cmp(&b.len()))
        }
        (ArrayCompr(a), ArrayCompr(b)) | (SetCompr(a), SetCompr(b)) => {
            compare(&a.0, &b.0).then_with(|| bodies(&a.1, &b.1))
        }
        (ObjectCompr(a), ObjectCompr(b)) => {
            compare(&a.0, &b.0).then_with(|| compare(&a.1, &b.1)).then_with(|| bodies(&a.2, &b.2))
        }
        (Template(a), Template(b)) => {
            let unequal = a.iter().zip(b).map(|(a, b)| match (a, b) {
                (TemplatePart::Text(a), TemplatePart::Text(b)) => a.cmp(b),
                (TemplatePart::Expr(a), TemplatePart::Expr(b)) => compare_exprs(a, b),
                (a, _) => matches!(a, TemplatePart::Expr(_)).cmp(&matches!(a, TemplatePart::Text(_))),
            });
            first(unequal).then(a.len().cmp(&b.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

fn rank(term: &Term) -> u8 {
    match &term.value {
        TermValue::Scalar(_) => 0,
        TermValue::Template(_) => 1,
        TermValue::Var(_) => 2,
        TermValue::Ref(_) => 3,
        TermValue::Array(_) => 4,
        TermValue::Object(_) => 5,
        TermValue::Set(_) => 6,
        TermValue::ArrayCompr(_) => 7,
        TermValue::ObjectCompr(_) => 8,
        TermValue::SetCompr(_) => 9,
        TermValue::Call(_) => 10,
    }
}

fn first(mut orders: impl Iterator<Item = Ordering>) -> Ordering {
    orders.find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

fn lists(a: &[Term], b: &[Term]) -> Ordering {
    first(a.iter().zip(b).map(|(a, b)| compare(a, b))).then(a.len().cmp(&b.len()))
}

fn bodies(a: &Body, b: &Body) -> Ordering {
    first(a.iter().zip(b).map(|(a, b)| compare_exprs(a, b))).then(a.len().cmp(&b.len()))
}

/// Compares two expressions.
pub(crate) fn compare_exprs(a: &Expr, b: &Expr) -> Ordering {
    let kinds = match (&a.kind, &b.kind) {
        (ExprKind::Term(a), ExprKind::Term(b)) => compare(a, b),
        (ExprKind::Call(a), ExprKind::Call(b))
        | (ExprKind::Some(a), ExprKind::Some(b))
        | (ExprKind::SomeIn(a), ExprKind::SomeIn(b)) => lists(a, b),
        (ExprKind::Every(a), ExprKind::Every(b)) => {
            let keys = match (&a.key, &b.key) {
                (Some(a), Some(b)) => compare(a, b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            };
            keys.then_with(|| compare(&a.value, &b.value))
                .then_with(|| compare(&a.domain, &b.domain))
                .then_with(|| bodies(&a.body, &b.body))
        }
        (ExprKind::Not(a), ExprKind::Not(b)) => {
            a.explicit.cmp(&b.explicit).then_with(|| bodies(&a.body, &b.body))
        }
        (ExprKind::Logical(a), ExprKind::Logical(b)) => {
            a.or.cmp(&b.or).then_with(|| bodies(&a.left, &b.left)).then_with(|| bodies(&a.right, &b.right))
        }
        (a, b) => kind_rank(a).cmp(&kind_rank(b)),
    };
    let with = |a: &With, b: &With| compare(&a.target, &b.target).then_with(|| compare(&a.value, &b.value));
    a.negated
        .cmp(&b.negated)
        .then(kinds)
        .then_with(|| first(a.with.iter().zip(&b.with).map(|(a, b)| with(a, b))))
        .then(a.with.len().cmp(&b.with.len()))
}

fn kind_rank(kind: &ExprKind) -> u8 {
    match kind {
        ExprKind::Some(_) | ExprKind::SomeIn(_) => 0,
        ExprKind::Term(_) => 1,
        ExprKind::Call(_) => 2,
        ExprKind::Every(_) => 3,
        ExprKind::Not(_) => 4,
        ExprKind::Logical(_) => 5,
    }
}

/// Leaves one pair of each key: the first key, with the value of the last.
pub(crate) fn unique_keys(pairs: &mut Vec<(Term, Term)>) {
    if pairs.len() < 2 {
        return;
    }
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    let key = |at: &usize| pairs.get(*at).map(|(key, _)| key);
    let keys = |a: &usize, b: &usize| match (key(a), key(b)) {
        (Some(a), Some(b)) => compare(a, b),
        _ => Ordering::Equal,
    };
    order.sort_by(|a, b| keys(a, b).then(a.cmp(b)));
    // The first of each run, and the last, whose value it gets.
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for at in &order {
        match runs.last_mut() {
            Some((first, last)) if keys(first, at).is_eq() => *last = *at,
            _ => runs.push((*at, *at)),
        }
    }
    if runs.len() == pairs.len() {
        return;
    }
    runs.sort_unstable();
    let mut all: Vec<(Option<Term>, Option<Term>)> =
        std::mem::take(pairs).into_iter().map(|(k, v)| (Some(k), Some(v))).collect();
    for (first, last) in runs {
        let key = all.get_mut(first).and_then(|pair| pair.0.take());
        let value = all.get_mut(last).and_then(|pair| pair.1.take());
        pairs.extend(key.zip(value));
    }
}
