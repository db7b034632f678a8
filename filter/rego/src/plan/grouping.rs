//! Comprehensions that can be computed once, for all values of the variables that they share with the body around them.
//!
//! Source: `v1/ast/compile.go` (`getComprehensionIndex`).

use super::safety::{Arity, outputs};
use super::vars::{SAFETY, Skip, VarSet};
use crate::syntax::tree::{Body, Expr, ExprKind, Sym, TemplatePart, Term, TermValue, op_of};

/// How a comprehension can be computed once.
pub(crate) struct Grouped {
    /// By the values of these.
    pub(crate) by: Vec<Sym>,
    /// Its head names variables that its body does not bind: what is computed once is of no use, it is computed anew.
    pub(crate) open: bool,
}

/// Of each expression of a body, how its comprehension is grouped; `candidates` grow with the body.
pub(crate) fn marks(body: &Body, candidates: &mut VarSet, arity: Arity<'_>) -> Vec<Option<Grouped>> {
    let mut marks = Vec::with_capacity(body.len());
    for expr in body {
        marks.push(keys(expr, candidates, arity));
        SAFETY.expr(expr, candidates);
    }
    marks
}

fn keys(expr: &Expr, candidates: &VarSet, arity: Arity<'_>) -> Option<Grouped> {
    if !matches!(expr.op(), Some(Sym::EQ | Sym::ASSIGN)) || expr.negated || !expr.with.is_empty() {
        return None;
    }
    let ExprKind::Call(terms) = &expr.kind else { return None };
    let [_, a, b] = terms.as_slice() else { return None };
    let comprehension = match (a.as_var(), b.as_var()) {
        (Some(_), _) => b,
        (_, Some(_)) => a,
        _ => return None,
    };
    let body = comprehension_body(comprehension)?;
    let reserved = VarSet::from([Sym::INPUT, Sym::DATA]);
    let mut bound = reserved.clone();
    for expr in body {
        let more = outputs(expr, &bound, arity);
        bound.extend(more);
    }
    bound.retain(|v| !reserved.contains(v));
    let mut vars = VarSet::new();
    SAFETY.body(body, &mut vars);
    if vars.iter().any(|v| !bound.contains(v) && !reserved.contains(v)) {
        return None;
    }
    let mut check = Check { candidates, seen: VarSet::new(), refused: false };
    check.body(body);
    if check.refused {
        return None;
    }
    let by: Vec<Sym> = candidates.intersection(&bound).copied().collect();
    let mut head = VarSet::new();
    match &comprehension.value {
        TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => SAFETY.term(&parts.0, &mut head),
        TermValue::ObjectCompr(parts) => {
            SAFETY.term(&parts.0, &mut head);
            SAFETY.term(&parts.1, &mut head);
        }
        _ => {}
    }
    let open = !head.is_subset(&bound);
    (!by.is_empty()).then_some(Grouped { by, open })
}

fn comprehension_body(term: &Term) -> Option<&Body> {
    match &term.value {
        TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => Some(&parts.1),
        TermValue::ObjectCompr(parts) => Some(&parts.2),
        _ => None,
    }
}

/// Looks for what grouping would make slower, or wrong: candidates that are bound by iterating, and in inner comprehensions.
struct Check<'a> {
    candidates: &'a VarSet,
    seen: VarSet,
    refused: bool,
}

const STEPS: Skip = Skip {
    ref_head: true,
    call_head: false,
    closures: false,
    sets: false,
    object_keys: false,
    operands: false,
};

impl Check<'_> {
    fn meets(&mut self, vars: &VarSet) {
        self.refused |= vars.iter().any(|v| self.candidates.contains(v) && !self.seen.contains(v));
    }

    fn body(&mut self, body: &Body) {
        body.iter().for_each(|e| self.expr(e));
    }

    fn expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Call(terms) => {
                if op_of(terms) == Some(Sym::WALK)
                    && let Some(output) = terms.get(2)
                {
                    let vars = super::vars::vars_of(output);
                    self.meets(&vars);
                }
                terms.iter().for_each(|t| self.term(t));
            }
            ExprKind::Term(term) => self.term(term),
            ExprKind::Some(terms) | ExprKind::SomeIn(terms) => terms.iter().for_each(|t| self.term(t)),
            ExprKind::Every(every) => {
                every.key.iter().for_each(|t| self.term(t));
                self.term(&every.value);
                self.term(&every.domain);
                self.body(&every.body);
            }
            ExprKind::Not(not) => self.body(&not.body),
            ExprKind::Logical(logical) => {
                self.body(&logical.left);
                self.body(&logical.right);
            }
        }
        for with in &expr.with {
            self.term(&with.target);
            self.term(&with.value);
        }
    }

    fn term(&mut self, term: &Term) {
        match &term.value {
            TermValue::Scalar(_) => {}
            TermValue::Var(sym) => {
                self.seen.insert(*sym);
            }
            TermValue::Ref(terms) => {
                let mut vars = VarSet::new();
                terms.iter().skip(1).for_each(|t| STEPS.term(t, &mut vars));
                self.meets(&vars);
                terms.iter().for_each(|t| self.term(t));
            }
            TermValue::Call(terms) | TermValue::Array(terms) | TermValue::Set(terms) => {
                terms.iter().for_each(|t| self.term(t));
            }
            TermValue::Object(pairs) => pairs.iter().for_each(|(k, v)| {
                self.term(k);
                self.term(v);
            }),
            TermValue::ArrayCompr(_) | TermValue::SetCompr(_) | TermValue::ObjectCompr(_) => {
                let mut vars = VarSet::new();
                STEPS.term(term, &mut vars);
                self.refused |= !vars.is_disjoint(self.candidates);
            }
            TermValue::Template(parts) => {
                for part in parts {
                    if let TemplatePart::Expr(expr) = part {
                        self.expr(expr);
                    }
                }
            }
        }
    }
}
