//! Walks for local variables: renaming a head's terms, and finding every `with`.

use crate::hash::Map;
use crate::syntax::tree::{Body, Expr, ExprKind, Sym, TemplatePart, Term, TermValue, With};

/// Puts the names of a scope in the place of those written, in a term of the head.
pub(super) fn rename(term: &mut Term, renamed: &Map<Sym, Sym>) {
    match &mut term.value {
        TermValue::Scalar(_) => {}
        TermValue::Var(sym) => {
            if let Some(to) = renamed.get(sym) {
                *sym = *to;
            }
        }
        TermValue::Ref(terms) | TermValue::Call(terms) | TermValue::Array(terms) | TermValue::Set(terms) => {
            terms.iter_mut().for_each(|t| rename(t, renamed));
        }
        TermValue::Object(pairs) => pairs.iter_mut().for_each(|(k, v)| {
            rename(k, renamed);
            rename(v, renamed);
        }),
        TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
            rename(&mut parts.0, renamed);
            rename_body(&mut parts.1, renamed);
        }
        TermValue::ObjectCompr(parts) => {
            rename(&mut parts.0, renamed);
            rename(&mut parts.1, renamed);
            rename_body(&mut parts.2, renamed);
        }
        TermValue::Template(parts) => {
            for part in parts {
                if let TemplatePart::Expr(expr) = part {
                    rename_expr(expr, renamed);
                }
            }
        }
    }
}

fn rename_body(body: &mut Body, renamed: &Map<Sym, Sym>) {
    body.iter_mut().for_each(|e| rename_expr(e, renamed));
}

fn rename_expr(expr: &mut Expr, renamed: &Map<Sym, Sym>) {
    match &mut expr.kind {
        ExprKind::Term(term) => rename(term, renamed),
        ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
            terms.iter_mut().for_each(|t| rename(t, renamed));
        }
        ExprKind::Every(every) => {
            every.key.iter_mut().for_each(|t| rename(t, renamed));
            rename(&mut every.value, renamed);
            rename(&mut every.domain, renamed);
            rename_body(&mut every.body, renamed);
        }
        ExprKind::Not(not) => rename_body(&mut not.body, renamed),
        ExprKind::Logical(logical) => {
            rename_body(&mut logical.left, renamed);
            rename_body(&mut logical.right, renamed);
        }
    }
    for with in &mut expr.with {
        rename(&mut with.target, renamed);
        rename(&mut with.value, renamed);
    }
}

/// Every `with` of a body and of the bodies of its expressions.
pub(super) fn withs_of(body: &Body, f: &mut dyn FnMut(&With)) {
    for expr in body {
        expr.with.iter().for_each(&mut *f);
        match &expr.kind {
            ExprKind::Every(every) => withs_of(&every.body, f),
            ExprKind::Not(not) => withs_of(&not.body, f),
            ExprKind::Logical(logical) => {
                withs_of(&logical.left, f);
                withs_of(&logical.right, f);
            }
            ExprKind::Term(term) => withs_of_term(term, f),
            ExprKind::Call(terms) | ExprKind::SomeIn(terms) => terms.iter().for_each(|t| withs_of_term(t, f)),
            ExprKind::Some(_) => {}
        }
    }
}

fn withs_of_term(term: &Term, f: &mut dyn FnMut(&With)) {
    match &term.value {
        TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => withs_of(&parts.1, f),
        TermValue::ObjectCompr(parts) => withs_of(&parts.2, f),
        TermValue::Ref(terms) | TermValue::Call(terms) | TermValue::Array(terms) | TermValue::Set(terms) => {
            terms.iter().for_each(|t| withs_of_term(t, f));
        }
        TermValue::Object(pairs) => pairs.iter().for_each(|(k, v)| {
            withs_of_term(k, f);
            withs_of_term(v, f);
        }),
        _ => {}
    }
}
