//! What unification binds. Source: `v1/ast/unify.go`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::plan::vars::{BINDABLE, SAFETY, VarSet};
use crate::syntax::order::compare;
use crate::syntax::tree::{Sym, Term, TermValue};

pub(super) fn ref_is_safe(terms: &[Term], is_safe: &dyn Fn(&Sym) -> bool) -> bool {
    match terms.first().map(|t| (&t.value, t)) {
        Some((TermValue::Var(sym), _)) => is_safe(sym),
        Some((_, head)) => {
            let mut vars = VarSet::new();
            SAFETY.term(head, &mut vars);
            vars.iter().all(is_safe)
        }
        None => false,
    }
}

/// The variables that unifying `a` and `b` binds where none is bound already.
pub(crate) fn unify(a: &Term, b: &Term) -> VarSet {
    let mut unifier = Unifier::new(Bound { safe: &NONE, steps: VarSet::new(), hidden: VarSet::new() });
    unifier.unify(a, b);
    unifier.unified
}

static NONE: VarSet = VarSet::new();

/// What is bound before two terms are unified.
pub(super) struct Bound<'a> {
    pub(super) safe: &'a VarSet,
    /// Bound by the terms' own references.
    pub(super) steps: VarSet,
    /// Not bound, whatever `safe` says.
    pub(super) hidden: VarSet,
}

impl Bound<'_> {
    fn has(&self, var: &Sym) -> bool {
        (self.safe.contains(var) && !self.hidden.contains(var)) || self.steps.contains(var)
    }
}

pub(super) struct Unifier<'a> {
    pub(super) bound: Bound<'a>,
    pub(super) unified: VarSet,
    /// On which variables one waits, and the other way round.
    waits_on: BTreeMap<Sym, VarSet>,
    wakes: BTreeMap<Sym, VarSet>,
}

impl Unifier<'_> {
    pub(super) fn new(bound: Bound<'_>) -> Unifier<'_> {
        Unifier { bound, unified: VarSet::new(), waits_on: BTreeMap::new(), wakes: BTreeMap::new() }
    }

    fn is_safe(&self, var: Sym) -> bool {
        self.bound.has(&var) || self.unified.contains(&var)
    }

    fn wait(&mut self, var: Sym, on: impl IntoIterator<Item = Sym>) {
        let waits = self.waits_on.entry(var).or_default();
        for other in on {
            waits.insert(other);
            self.wakes.entry(other).or_default().insert(var);
        }
    }

    fn ref_is_safe(&self, path: &[Term]) -> bool {
        ref_is_safe(path, &|var| self.bound.has(var))
    }

    pub(super) fn unify(&mut self, a: &Term, b: &Term) {
        use TermValue::{Array, ArrayCompr, Call, Object, ObjectCompr, Ref, SetCompr, Var};
        match (&a.value, &b.value) {
            (Var(a), Var(b)) => {
                if self.is_safe(*b) {
                    self.mark(*a);
                } else if self.is_safe(*a) {
                    self.mark(*b);
                } else {
                    self.wait(*a, [*b]);
                    self.wait(*b, [*a]);
                }
            }
            (Var(a), Array(_) | Object(_)) => self.all(*a, b),
            (Array(_) | Object(_), Var(b)) => self.all(*b, a),
            (Var(_), Ref(path)) | (Ref(path), Var(_)) if !self.ref_is_safe(path) => {}
            (Var(var), Call(_)) => self.learn_from_call(b, &[*var]),
            (Call(_), Var(var)) => self.learn_from_call(a, &[*var]),
            (Var(var), _) | (_, Var(var)) => self.mark(*var),
            (Ref(path), Array(_) | Object(_)) if self.ref_is_safe(path) => {
                self.mark_all(b);
            }
            (Array(_) | Object(_), Ref(path)) if self.ref_is_safe(path) => {
                self.mark_all(a);
            }
            (Call(_), Array(_) | Object(_)) => self.learn_from_call(a, &bindable(b)),
            (Array(_) | Object(_), Call(_)) => self.learn_from_call(b, &bindable(a)),
            (ArrayCompr(_), Array(_)) | (ObjectCompr(_), Object(_)) => self.mark_all(b),
            (Array(_), ArrayCompr(_) | ObjectCompr(_) | SetCompr(_)) => self.mark_all(a),
            (Array(a), Array(b)) if a.len() == b.len() => {
                a.iter().zip(b).for_each(|(a, b)| self.unify(a, b));
            }
            (Object(a), Object(b)) if a.len() == b.len() => {
                let mut others: Vec<&(Term, Term)> = b.iter().collect();
                others.sort_by(|a, b| compare(&a.0, &b.0));
                for (key, value) in a {
                    let other = others.binary_search_by(|(k, _)| compare(k, key)).ok();
                    if let Some((_, other)) = other.and_then(|at| others.get(at)) {
                        self.unify(value, other);
                    }
                }
            }
            _ => {}
        }
    }

    fn learn_from_call(&mut self, call: &Term, vars: &[Sym]) {
        let mut needed = VarSet::new();
        SAFETY.term(call, &mut needed);
        if needed.iter().all(|var| self.bound.has(var)) {
            vars.iter().for_each(|v| self.mark(*v));
        }
    }

    fn mark_all(&mut self, term: &Term) {
        bindable(term).into_iter().for_each(|v| self.mark(v));
    }

    fn mark(&mut self, var: Sym) {
        let mut marks = vec![var];
        while let Some(var) = marks.pop() {
            self.unified.insert(var);
            marks.extend(self.waits_on.remove(&var).into_iter().flatten());
            for other in self.wakes.remove(&var).into_iter().flatten() {
                if let Entry::Occupied(mut waits) = self.waits_on.entry(other) {
                    waits.get_mut().remove(&var);
                    if waits.get().is_empty() {
                        waits.remove();
                        marks.push(other);
                    }
                }
            }
        }
    }

    fn all(&mut self, var: Sym, term: &Term) {
        if self.is_safe(var) {
            return self.mark_all(term);
        }
        let open: Vec<Sym> = bindable(term).into_iter().filter(|v| !self.is_safe(*v)).collect();
        if open.is_empty() {
            self.mark(var);
        } else {
            self.wait(var, open);
        }
    }
}

fn bindable(term: &Term) -> Vec<Sym> {
    let mut out = VarSet::new();
    BINDABLE.term(term, &mut out);
    out.into_iter().collect()
}
