//! What an expression binds.

use super::Arity;
use super::unifier::{Bound, Unifier, ref_is_safe};
use crate::plan::vars::{ALL, OUTPUT, SAFETY, Skip, VarSet, vars_of};
use crate::syntax::tree::{Expr, ExprKind, Sym, Term, TermValue};

/// What an expression binds, and what it leaves in the set that OPA collects this in, for the expression after it.
pub(super) struct Outputs {
    pub(super) bound: VarSet,
    pub(super) left: Left,
}

pub(super) enum Left {
    /// The set was not touched.
    AsItWas,
    Nothing,
    Vars(VarSet),
}

/// The variables that the expression binds, where `safe` is bound already.
pub(crate) fn outputs(expr: &Expr, safe: &VarSet, arity: Arity<'_>) -> VarSet {
    outputs_after(expr, safe, arity, None).bound
}

/// The same, where the expression before left variables.
pub(super) fn outputs_after(
    expr: &Expr,
    safe: &VarSet,
    arity: Arity<'_>,
    before: Option<&VarSet>,
) -> Outputs {
    let as_it_was = |bound| Outputs { bound, left: Left::AsItWas };
    if expr.negated || matches!(expr.kind, ExprKind::Not(_)) {
        return as_it_was(VarSet::new());
    }
    for with in &expr.with {
        let mut vars = VarSet::new();
        SAFETY.with(with, &mut vars);
        if !vars.is_subset(safe) {
            return as_it_was(VarSet::new());
        }
    }
    let mut out = VarSet::new();
    match &expr.kind {
        ExprKind::Term(term) => {
            of_refs(term, safe, &mut out);
            of_withs(expr, safe, &mut out);
            as_it_was(out)
        }
        ExprKind::Call(terms) if matches!(expr.op(), Some(Sym::EQ | Sym::ASSIGN)) && terms.len() == 3 => {
            let [_, a, b] = terms.as_slice() else { return as_it_was(out) };
            out.extend(before.into_iter().flatten());
            of_withs(expr, safe, &mut out);
            let bound = equality(a, b, expr.op() == Some(Sym::ASSIGN), safe, out);
            Outputs { bound, left: Left::Nothing }
        }
        ExprKind::Call(terms) => {
            let Some((op, args)) = terms.split_first() else { return as_it_was(out) };
            let Some(count) = arity(op) else { return as_it_was(out) };
            args.iter().for_each(|t| of_refs(t, safe, &mut out));
            of_withs(expr, safe, &mut out);
            if count < args.len() {
                let (inputs, extra) = args.split_at(count);
                let mut needed = VarSet::new();
                inputs.iter().for_each(|t| OUTPUT.term(t, &mut needed));
                if needed.iter().any(|v| !out.contains(v) && !safe.contains(v)) {
                    return Outputs { bound: VarSet::new(), left: Left::Vars(out) };
                }
                extra.iter().for_each(|t| OUTPUT.term(t, &mut out));
            }
            Outputs { bound: out.clone(), left: Left::Vars(out) }
        }
        ExprKind::Every(every) => {
            of_refs(&every.domain, safe, &mut out);
            out.extend(before.into_iter().flatten());
            as_it_was(out)
        }
        ExprKind::Some(_) | ExprKind::SomeIn(_) | ExprKind::Not(_) | ExprKind::Logical(_) => as_it_was(out),
    }
}

fn of_withs(expr: &Expr, safe: &VarSet, out: &mut VarSet) {
    for with in &expr.with {
        of_refs(&with.target, safe, out);
        of_refs(&with.value, safe, out);
    }
}

/// What `a = b` binds; where it was written `:=`, its left side binds nothing on the right.
///
/// An assignment keeps its operator through all stages here, so that this is known to the end.
pub(crate) fn equality_outputs(a: &Term, b: &Term, assignment: bool, safe: &VarSet) -> VarSet {
    equality(a, b, assignment, safe, VarSet::new())
}

fn equality(a: &Term, b: &Term, assignment: bool, safe: &VarSet, mut steps: VarSet) -> VarSet {
    of_refs(a, safe, &mut steps);
    of_refs(b, safe, &mut steps);
    let hidden = if assignment { vars_of(a) } else { VarSet::new() };
    steps.retain(|var| !hidden.contains(var));
    let mut unifier = Unifier::new(Bound { safe, steps, hidden });
    unifier.unify(a, b);
    let mut out = unifier.unified;
    out.extend(unifier.bound.steps);
    out.retain(|var| !safe.contains(var));
    out
}

/// Variables in the brackets of references whose heads are safe.
pub(crate) fn of_refs(term: &Term, safe: &VarSet, out: &mut VarSet) {
    match &term.value {
        TermValue::Ref(terms) => {
            if !ref_is_safe(terms, &|var| safe.contains(var)) {
                return;
            }
            let skip = Skip { ref_head: true, ..ALL };
            for step in terms.iter().skip(1) {
                skip.term(step, out);
            }
            terms.iter().for_each(|t| of_refs(t, safe, out));
        }
        TermValue::Call(terms) | TermValue::Array(terms) | TermValue::Set(terms) => {
            terms.iter().for_each(|t| of_refs(t, safe, out));
        }
        TermValue::Object(pairs) => pairs.iter().for_each(|(k, v)| {
            of_refs(k, safe, out);
            of_refs(v, safe, out);
        }),
        _ => {}
    }
}
