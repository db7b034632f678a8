//! Safety: an order of each body in which every variable is bound before it is needed.
//!
//! OPA goes over a body again and again and appends what has become safe, in the order of the text. The same order comes
//! out here without looking at every expression in every pass: one that waits is looked at again only when one of its
//! variables has become safe, in this pass if it stands later, in the next if it stands earlier.
//! Source: `v1/ast/compile.go` (`reorderBodyForSafety`, `outputVarsForExpr`), `v1/ast/unify.go`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::vars::{BINDABLE, OUTPUT, SAFETY, SAFETY_OPERANDS, Scope, Skip, VarSet, vars_of};
use crate::hash::Map;
use crate::syntax::Pos;
use crate::syntax::tree::{Body, Expr, ExprKind, Sym, TemplatePart, Term, TermValue};

/// The number of arguments of what an operator names; None if nothing is known of it.
pub(crate) type Arity<'a> = &'a dyn Fn(&Term) -> Option<usize>;

/// Variables that no order makes safe, with the place of the expression.
pub(crate) type Unsafe = Vec<(Sym, Pos)>;

/// Orders a body, and all bodies within it.
pub(crate) fn reorder(body: &mut Body, scope: &mut Scope, arity: Arity<'_>, out: &mut Unsafe) {
    let order = match order(body, scope.bound(), arity) {
        Ok(order) => order,
        Err(vars) => {
            out.extend(vars);
            return;
        }
    };
    let mut slots: Vec<Option<Expr>> = std::mem::take(body).into_iter().map(Some).collect();
    body.extend(order.into_iter().filter_map(|i| slots.get_mut(i).and_then(Option::take)));
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
            reorder(&mut every.body, scope, arity, out);
        }
        ExprKind::Not(not) => reorder(&mut not.body, scope, arity, out),
        ExprKind::Logical(logical) => {
            reorder(&mut logical.left, scope, arity, out);
            reorder(&mut logical.right, scope, arity, out);
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
        reorder(body, scope, arity, out);
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

/// One expression that waits.
struct Waiting {
    /// Its own variables that are not safe yet.
    own: VarSet,
    /// Variables that bodies within it need and this body has.
    closed: VarSet,
}

fn order(body: &Body, globals: &VarSet, arity: Arity<'_>) -> Result<Vec<usize>, Unsafe> {
    let mut names = VarSet::new();
    let mut waiting = Vec::with_capacity(body.len());
    for expr in body {
        let mut vars = VarSet::new();
        SAFETY_OPERANDS.expr(expr, &mut vars);
        names.extend(vars.iter().copied());
        waiting.push(Waiting { own: vars, closed: VarSet::new() });
    }
    let mut safe: VarSet = names.intersection(globals).copied().collect();
    let mut wakes: Map<Sym, Vec<usize>> = Map::default();
    for (index, (expr, wait)) in body.iter().zip(&mut waiting).enumerate() {
        wait.own.retain(|v| !safe.contains(v));
        let mut closed = VarSet::new();
        closures(expr, &mut closed);
        closed.retain(|v| names.contains(v) && !globals.contains(v));
        wait.closed = closed;
        for var in wait.own.iter().chain(&wait.closed) {
            wakes.entry(*var).or_default().push(index);
        }
    }
    let mut order = Vec::with_capacity(body.len());
    let mut done = vec![false; body.len()];
    let mut pass: BTreeSet<usize> = (0..body.len()).collect();
    let mut next: BTreeSet<usize> = BTreeSet::new();
    while !pass.is_empty() {
        while let Some(index) = pass.pop_first() {
            let (Some(expr), Some(wait), Some(is_done)) =
                (body.get(index), waiting.get(index), done.get_mut(index))
            else {
                continue;
            };
            let outputs = outputs(expr, &safe, arity);
            if !wait.closed.is_empty() && wait.closed == outputs {
                continue;
            }
            let ready = |v: &Sym| safe.contains(v) || outputs.contains(v);
            if !(wait.own.iter().all(ready) && wait.closed.iter().all(ready)) {
                continue;
            }
            *is_done = true;
            order.push(index);
            for var in outputs {
                if !safe.insert(var) {
                    continue;
                }
                for other in wakes.get(&var).into_iter().flatten() {
                    if done.get(*other) == Some(&false) {
                        let turn = if *other > index { &mut pass } else { &mut next };
                        turn.insert(*other);
                    }
                }
            }
        }
        std::mem::swap(&mut pass, &mut next);
    }
    if order.len() == body.len() {
        return Ok(order);
    }
    let mut left: Unsafe = Vec::new();
    for ((expr, wait), done) in body.iter().zip(&waiting).zip(done) {
        if !done {
            let outputs = outputs(expr, &safe, arity);
            let missing = wait.own.iter().chain(&wait.closed);
            left.extend(
                missing
                    .filter(|v| !safe.contains(v) && (!outputs.contains(v) || wait.closed.contains(v)))
                    .map(|v| (*v, expr.pos)),
            );
        }
    }
    Err(left)
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
                super::vars::ALL.term(term, out);
            }
        }
    }
    match &expr.kind {
        ExprKind::Term(term) => of_term(term, out),
        ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
            terms.iter().for_each(|t| of_term(t, out));
        }
        ExprKind::Every(every) => super::vars::ALL.body(&every.body, out),
        ExprKind::Not(not) => super::vars::ALL.body(&not.body, out),
        ExprKind::Logical(logical) => {
            super::vars::ALL.body(&logical.left, out);
            super::vars::ALL.body(&logical.right, out);
        }
    }
    expr.with.iter().for_each(|w| of_term(&w.value, out));
}

/// The variables that the expression binds, where `safe` is bound already.
pub(crate) fn outputs(expr: &Expr, safe: &VarSet, arity: Arity<'_>) -> VarSet {
    if expr.negated {
        return VarSet::new();
    }
    for with in &expr.with {
        let mut vars = VarSet::new();
        SAFETY.with(with, &mut vars);
        if !vars.is_subset(safe) {
            return VarSet::new();
        }
    }
    let mut out = VarSet::new();
    match &expr.kind {
        ExprKind::Term(term) => {
            of_refs(term, safe, &mut out);
            expr.with.iter().for_each(|w| of_refs(&w.value, safe, &mut out));
        }
        ExprKind::Call(terms) if matches!(expr.op(), Some(Sym::EQ | Sym::ASSIGN)) && terms.len() == 3 => {
            let [_, a, b] = terms.as_slice() else { return out };
            return equality_outputs(a, b, expr.op() == Some(Sym::ASSIGN), safe);
        }
        ExprKind::Call(terms) => {
            let Some((op, args)) = terms.split_first() else { return out };
            let Some(count) = arity(op) else { return out };
            args.iter().for_each(|t| of_refs(t, safe, &mut out));
            if count >= args.len() {
                return out;
            }
            let (inputs, extra) = args.split_at(count);
            let mut needed = VarSet::new();
            inputs.iter().for_each(|t| OUTPUT.term(t, &mut needed));
            if needed.iter().any(|v| !out.contains(v) && !safe.contains(v)) {
                return VarSet::new();
            }
            extra.iter().for_each(|t| OUTPUT.term(t, &mut out));
        }
        ExprKind::Every(every) => of_refs(&every.domain, safe, &mut out),
        ExprKind::Some(_) | ExprKind::SomeIn(_) | ExprKind::Not(_) | ExprKind::Logical(_) => {}
    }
    out
}

/// What `a = b` binds; where it was written `:=`, its left side binds nothing on the right.
///
/// An assignment keeps its operator through all stages here, so that this is known to the end.
pub(crate) fn equality_outputs(a: &Term, b: &Term, assignment: bool, safe: &VarSet) -> VarSet {
    let mut steps = VarSet::new();
    of_refs(a, safe, &mut steps);
    of_refs(b, safe, &mut steps);
    let hidden = if assignment { vars_of(a) } else { VarSet::new() };
    steps.retain(|var| !hidden.contains(var));
    let mut unifier = Unifier { bound: Bound { safe, steps, hidden }, ..Unifier::default() };
    unifier.unify(a, b);
    let mut out = unifier.unified;
    out.extend(unifier.bound.steps);
    out.retain(|var| !safe.contains(var));
    out
}

/// Variables in the brackets of references whose heads are safe.
fn of_refs(term: &Term, safe: &VarSet, out: &mut VarSet) {
    match &term.value {
        TermValue::Ref(terms) => {
            if !ref_is_safe(terms, &|var| safe.contains(var)) {
                return;
            }
            let skip = Skip { ref_head: true, ..super::vars::ALL };
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

fn ref_is_safe(terms: &[Term], is_safe: &dyn Fn(&Sym) -> bool) -> bool {
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
    let mut unifier = Unifier::default();
    unifier.unify(a, b);
    unifier.unified
}

static NONE: VarSet = VarSet::new();

/// What is bound before two terms are unified.
struct Bound<'a> {
    safe: &'a VarSet,
    /// Bound by the terms' own references.
    steps: VarSet,
    /// Not bound, whatever `safe` says.
    hidden: VarSet,
}

impl Bound<'_> {
    fn has(&self, var: &Sym) -> bool {
        (self.safe.contains(var) && !self.hidden.contains(var)) || self.steps.contains(var)
    }
}

struct Unifier<'a> {
    bound: Bound<'a>,
    unified: VarSet,
    /// On which variables one waits, and the other way round.
    waits_on: BTreeMap<Sym, VarSet>,
    wakes: BTreeMap<Sym, VarSet>,
}

impl Default for Unifier<'_> {
    fn default() -> Self {
        let bound = Bound { safe: &NONE, steps: VarSet::new(), hidden: VarSet::new() };
        Unifier { bound, unified: VarSet::new(), waits_on: BTreeMap::new(), wakes: BTreeMap::new() }
    }
}

impl Unifier<'_> {
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

    fn unify(&mut self, a: &Term, b: &Term) {
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
            (Var(var), Ref(path)) | (Ref(path), Var(var)) if self.ref_is_safe(path) => {
                self.mark(*var);
            }
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
                let mut others = BTreeMap::new();
                for (key, other) in b {
                    if let Some(key) = key.constant() {
                        others.entry(key).or_insert(other);
                    }
                }
                for (key, value) in a {
                    if let Some(other) = key.constant().and_then(|key| others.get(&key)) {
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
