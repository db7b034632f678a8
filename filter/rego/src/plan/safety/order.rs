//! The order of one body.
//!
//! OPA goes over a body again and again and appends what has become safe, in the order of the text. The same order comes
//! out here without looking at every expression in every pass: one that waits is looked at again only when one of its
//! variables has become safe, in this pass if it stands later, in the next if it stands earlier.
//!
//! What OPA itself does not see stays unseen: an expression with a body within it waits for the variables of that body
//! alone; and what a call that waits would bind counts as bound for the equality that is looked at after it (one set is
//! used for both).

use std::collections::BTreeSet;

use super::outputs::{Left, outputs_after};
use super::{Arity, Unsafe};
use crate::hash::Map;
use crate::plan::vars::{ALL, SAFETY_OPERANDS, VarSet};
use crate::syntax::order::compare_exprs;
use crate::syntax::tree::{Body, Expr, ExprKind, Sym, Term, TermValue};

/// How far back it is looked for the call that was looked at before an expression.
const MOST_BACK: usize = 64;

/// How often all that waits is looked at because of what a waiting call would bind.
const MOST_FULL: usize = 64;

/// What came out.
pub(super) struct Order {
    /// The expressions that got their turn.
    pub(super) turns: Vec<usize>,
    /// Variables that no order makes safe.
    pub(super) missing: Unsafe,
}

/// One expression that waits.
struct Waiting {
    /// Variables that keep it back.
    missing: VarSet,
    /// Variables of this body that bodies within it name.
    closed: VarSet,
    /// The pass in which it got its turn.
    done: Option<usize>,
    /// What the expression left to those after it, when it was looked at last.
    left: Left,
    /// The one before it that may still count.
    before: Option<usize>,
}

struct Bodies<'a> {
    body: &'a Body,
    arity: Arity<'a>,
    waiting: Vec<Waiting>,
    safe: VarSet,
    wakes: Map<Sym, Vec<usize>>,
    turns: Vec<usize>,
    number: usize,
    /// A call that waits would bind what is not safe.
    leaks: bool,
}

pub(super) fn order(body: &Body, globals: &VarSet, arity: Arity<'_>) -> Order {
    let mut names = VarSet::new();
    let mut waiting = Vec::with_capacity(body.len());
    for (index, expr) in body.iter().enumerate() {
        let mut missing = VarSet::new();
        SAFETY_OPERANDS.expr(expr, &mut missing);
        names.extend(missing.iter().copied());
        let before = index.checked_sub(1);
        waiting.push(Waiting { missing, closed: VarSet::new(), done: None, left: Left::AsItWas, before });
    }
    let safe: VarSet = names.intersection(globals).copied().collect();
    let mut wakes: Map<Sym, Vec<usize>> = Map::default();
    for (index, (expr, wait)) in body.iter().zip(&mut waiting).enumerate() {
        wait.missing.retain(|v| !safe.contains(v));
        closures(expr, &mut wait.closed);
        wait.closed.retain(|v| names.contains(v) && !globals.contains(v));
        for var in wait.missing.union(&wait.closed) {
            wakes.entry(*var).or_default().push(index);
        }
    }
    let turns = Vec::with_capacity(body.len());
    let mut all = Bodies { body, arity, waiting, safe, wakes, turns, number: 1, leaks: false };
    all.run();
    let mut missing = Unsafe::new();
    for (expr, wait) in body.iter().zip(&all.waiting).filter(|(_, wait)| wait.done.is_none()) {
        missing.extend(wait.missing.iter().map(|v| (*v, expr.pos)));
    }
    Order { turns: all.turns, missing }
}

impl Bodies<'_> {
    fn run(&mut self) {
        let mut pass: BTreeSet<usize> = (0..self.body.len()).collect();
        let mut next: BTreeSet<usize> = BTreeSet::new();
        let mut full = 0;
        while !pass.is_empty() {
            let before = self.turns.len();
            while let Some(index) = pass.pop_first() {
                let leaked = self.leaks;
                let bound = self.look_at(index);
                for var in bound {
                    for other in self.wakes.get(&var).into_iter().flatten() {
                        if self.waiting.get(*other).is_some_and(|w| w.done.is_none()) {
                            let turn = if *other > index { &mut pass } else { &mut next };
                            turn.insert(*other);
                        }
                    }
                }
                if self.leaks && !leaked && full < MOST_FULL {
                    full += 1;
                    pass.extend(self.open().filter(|other| *other > index));
                }
            }
            if self.turns.len() == before {
                return;
            }
            if self.leaks && full < MOST_FULL {
                full += 1;
                self.leaks = false;
                next.extend(self.open());
            }
            self.number += 1;
            std::mem::swap(&mut pass, &mut next);
            next.clear();
        }
    }

    fn open(&self) -> impl Iterator<Item = usize> + '_ {
        self.waiting.iter().enumerate().filter(|(_, w)| w.done.is_none()).map(|(index, _)| index)
    }

    /// Appends the expression if nothing keeps it back; gives what became safe by that.
    fn look_at(&mut self, index: usize) -> Vec<Sym> {
        let Some(expr) = self.body.get(index) else { return Vec::new() };
        // OPA numbers what got its turn anew, and takes an equal one that had this number before for the same.
        let same = self.turns.get(index).filter(|turn| **turn != index).and_then(|turn| self.body.get(*turn));
        if same.is_some_and(|other| compare_exprs(expr, other).is_eq()) {
            return Vec::new();
        }
        let before = self.left_before(index);
        let of = outputs_after(expr, &self.safe, self.arity, before.as_ref());
        let Some(wait) = self.waiting.get_mut(index) else { return Vec::new() };
        let safe = &self.safe;
        wait.left = of.left;
        let ready = if wait.closed.is_empty() || wait.closed != of.bound {
            if !wait.closed.is_empty() {
                wait.missing.clone_from(&wait.closed);
            }
            wait.missing.retain(|v| !safe.contains(v) && !of.bound.contains(v));
            wait.missing.is_empty()
        } else {
            false
        };
        if !ready {
            self.leaks |= matches!(&wait.left, Left::Vars(vars) if !vars.is_subset(safe));
            return Vec::new();
        }
        wait.done = Some(self.number);
        self.turns.push(index);
        of.bound.into_iter().filter(|var| self.safe.insert(*var)).collect()
    }

    /// The variables that the expression looked at before this one left; those that were looked at last in the pass before,
    /// for the first of a pass.
    fn left_before(&mut self, index: usize) -> Option<VarSet> {
        let mut at = self.skip_done(index, self.number);
        let mut this_pass = true;
        for _ in 0..MOST_BACK {
            let Some(other) = at else {
                if !this_pass || self.number == 1 {
                    return None;
                }
                this_pass = false;
                at = self.waiting.len().checked_sub(1);
                continue;
            };
            if !this_pass && other < index {
                return None;
            }
            let wait = self.waiting.get(other)?;
            let passes = self.number - usize::from(!this_pass);
            if wait.done.is_none_or(|done| done >= passes) {
                match &wait.left {
                    Left::AsItWas => {}
                    Left::Nothing => return None,
                    Left::Vars(vars) => return Some(vars.clone()),
                }
            }
            at = self.skip_done(other, self.number);
        }
        None
    }

    /// The one before an expression, without those that are done for longer than a pass.
    fn skip_done(&mut self, index: usize, number: usize) -> Option<usize> {
        let mut at = self.waiting.get(index)?.before;
        while let Some(wait) = at.and_then(|at| self.waiting.get(at)) {
            if wait.done.is_none_or(|done| done + 1 >= number) {
                break;
            }
            at = wait.before;
        }
        if let Some(wait) = self.waiting.get_mut(index) {
            wait.before = at;
        }
        at
    }
}

/// All variables named in bodies within the expression.
fn closures(expr: &Expr, out: &mut VarSet) {
    fn of_term(term: &Term, out: &mut VarSet) {
        match &term.value {
            TermValue::Scalar(_) | TermValue::Var(_) | TermValue::Template(_) => {}
            TermValue::Ref(terms)
            | TermValue::Call(terms)
            | TermValue::Array(terms)
            | TermValue::Set(terms) => {
                terms.iter().for_each(|t| of_term(t, out));
            }
            TermValue::Object(pairs) => pairs.iter().for_each(|(k, v)| {
                of_term(k, out);
                of_term(v, out);
            }),
            TermValue::ArrayCompr(_) | TermValue::SetCompr(_) | TermValue::ObjectCompr(_) => {
                ALL.term(term, out);
            }
        }
    }
    match &expr.kind {
        ExprKind::Term(term) => of_term(term, out),
        ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
            terms.iter().for_each(|t| of_term(t, out));
        }
        ExprKind::Every(every) => ALL.body(&every.body, out),
        ExprKind::Not(not) => ALL.body(&not.body, out),
        ExprKind::Logical(logical) => {
            ALL.body(&logical.left, out);
            ALL.body(&logical.right, out);
        }
    }
    expr.with.iter().for_each(|w| of_term(&w.value, out));
}
