//! Which variables a part of the tree names.

use std::collections::BTreeSet;

use crate::syntax::tree::{Body, Expr, ExprKind, Rule, Sym, TemplatePart, Term, TermValue, With};

/// Variables.
pub(crate) type VarSet = BTreeSet<Sym>;

/// The variables that are bound at a place of a rule. A body within a body adds its own and takes them back at its end, so
/// that nothing is copied for it.
#[derive(Debug)]
pub(crate) struct Scope {
    bound: VarSet,
    /// What was added, in order.
    added: Vec<Sym>,
}

impl Scope {
    /// The roots, and what the head's arguments name.
    pub(crate) fn of_rule(rule: &Rule) -> Scope {
        let mut bound = VarSet::from([Sym::INPUT, Sym::DATA]);
        rule.head.args.iter().for_each(|term| ALL.term(term, &mut bound));
        Scope { bound, added: Vec::new() }
    }

    /// Of a query.
    pub(crate) fn of_query() -> Scope {
        Scope { bound: VarSet::from([Sym::INPUT, Sym::DATA]), added: Vec::new() }
    }

    pub(crate) fn bound(&self) -> &VarSet {
        &self.bound
    }

    pub(crate) fn extend(&mut self, vars: impl IntoIterator<Item = Sym>) {
        for var in vars {
            if self.bound.insert(var) {
                self.added.push(var);
            }
        }
    }

    /// What [`Scope::leave`] goes back to.
    pub(crate) fn enter(&self) -> usize {
        self.added.len()
    }

    pub(crate) fn leave(&mut self, entered: usize) {
        for var in self.added.drain(entered.min(self.added.len())..) {
            self.bound.remove(&var);
        }
    }
}

/// What is not looked into.
#[derive(Clone, Copy, Default)]
pub(crate) struct Skip {
    /// Heads of references.
    pub(crate) ref_head: bool,
    /// Operators of calls, targets of `with`.
    pub(crate) call_head: bool,
    /// Comprehensions, bodies of `every`, `not {}`, `and`, `or`, template strings.
    pub(crate) closures: bool,
    /// Sets.
    pub(crate) sets: bool,
    /// Keys of objects.
    pub(crate) object_keys: bool,
    /// Of operands of `not`, `and`, `or` without braces, what they leave open counts as theirs.
    pub(crate) operands: bool,
}

/// What the safety check looks at.
pub(crate) const SAFETY: Skip = Skip {
    ref_head: false,
    call_head: true,
    closures: true,
    sets: false,
    object_keys: false,
    operands: false,
};
/// The same, with what operands without braces need from outside.
pub(crate) const SAFETY_OPERANDS: Skip = Skip { operands: true, ..SAFETY };
/// What an expression can bind by unification.
pub(crate) const BINDABLE: Skip = Skip {
    ref_head: true,
    call_head: false,
    closures: true,
    sets: false,
    object_keys: true,
    operands: false,
};
/// What an output operand of a call can bind.
pub(crate) const OUTPUT: Skip = Skip { sets: true, ..BINDABLE };
/// Everything.
pub(crate) const ALL: Skip = Skip {
    ref_head: false,
    call_head: false,
    closures: false,
    sets: false,
    object_keys: false,
    operands: false,
};

impl Skip {
    pub(crate) fn term(self, term: &Term, out: &mut VarSet) {
        match &term.value {
            TermValue::Scalar(_) => {}
            TermValue::Var(sym) => {
                out.insert(*sym);
            }
            TermValue::Ref(terms) => {
                let from = usize::from(self.ref_head);
                terms.iter().skip(from).for_each(|t| self.term(t, out));
            }
            TermValue::Call(terms) => self.call(terms, out),
            TermValue::Array(terms) => terms.iter().for_each(|t| self.term(t, out)),
            TermValue::Set(terms) => {
                if !self.sets {
                    terms.iter().for_each(|t| self.term(t, out));
                }
            }
            TermValue::Object(pairs) => {
                for (key, value) in pairs {
                    if !self.object_keys {
                        self.term(key, out);
                    }
                    self.term(value, out);
                }
            }
            TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
                if !self.closures {
                    self.term(&parts.0, out);
                    self.body(&parts.1, out);
                }
            }
            TermValue::ObjectCompr(parts) => {
                if !self.closures {
                    self.term(&parts.0, out);
                    self.term(&parts.1, out);
                    self.body(&parts.2, out);
                }
            }
            TermValue::Template(parts) => {
                if !self.closures {
                    for part in parts {
                        if let TemplatePart::Expr(expr) = part {
                            self.expr(expr, out);
                        }
                    }
                }
            }
        }
    }

    fn call(self, terms: &[Term], out: &mut VarSet) {
        let mut terms = terms.iter();
        if let Some(op) = terms.next()
            && !self.call_head
        {
            self.term(op, out);
        }
        terms.for_each(|t| self.term(t, out));
    }

    pub(crate) fn with(self, with: &With, out: &mut VarSet) {
        if !self.call_head {
            self.term(&with.target, out);
            self.term(&with.value, out);
            return;
        }
        if let TermValue::Ref(path) = &with.target.value {
            path.iter().skip(1).for_each(|t| self.term(t, out));
        }
        match &with.value.value {
            TermValue::Ref(path) => path.iter().skip(1).for_each(|t| self.term(t, out)),
            _ => self.term(&with.value, out),
        }
    }

    pub(crate) fn expr(self, expr: &Expr, out: &mut VarSet) {
        match &expr.kind {
            ExprKind::Term(term) => self.term(term, out),
            ExprKind::Call(terms) => self.call(terms, out),
            ExprKind::Some(terms) => terms.iter().for_each(|t| self.term(t, out)),
            ExprKind::SomeIn(terms) => self.call(terms, out),
            ExprKind::Every(every) => {
                self.term(&every.domain, out);
                if self.closures {
                    // Neither its `with`: the walk ends at the expression.
                    return;
                }
                every.key.iter().for_each(|t| self.term(t, out));
                self.term(&every.value, out);
                self.body(&every.body, out);
            }
            ExprKind::Not(not) => {
                if self.operands {
                    if !not.explicit {
                        self.open(&not.body, out);
                    }
                } else if !self.closures {
                    self.body(&not.body, out);
                }
            }
            ExprKind::Logical(logical) => {
                if self.operands {
                    for (body, explicit) in
                        [(&logical.left, logical.explicit_left), (&logical.right, logical.explicit_right)]
                    {
                        if !explicit {
                            self.open(body, out);
                        }
                    }
                } else if !self.closures {
                    self.body(&logical.left, out);
                    self.body(&logical.right, out);
                }
            }
        }
        expr.with.iter().for_each(|w| self.with(w, out));
    }

    pub(crate) fn body(self, body: &Body, out: &mut VarSet) {
        body.iter().for_each(|e| self.expr(e, out));
    }

    /// What an operand without braces needs from outside: of one expression everything; of several (parts were hoisted)
    /// what none of them binds, or only one names.
    fn open(self, body: &Body, out: &mut VarSet) {
        if let [expr] = body.as_slice() {
            return SAFETY.expr(expr, out);
        }
        let mut seen: Vec<(Sym, usize)> = Vec::new();
        let mut bound = VarSet::new();
        for expr in body {
            let mut vars = VarSet::new();
            SAFETY.expr(expr, &mut vars);
            for var in vars {
                match seen.iter_mut().find(|(sym, _)| *sym == var) {
                    Some((_, count)) => *count += 1,
                    None => seen.push((var, 1)),
                }
            }
            if let ExprKind::Call(terms) = &expr.kind {
                if expr.op() == Some(Sym::EQ) {
                    if let [_, a, b] = terms.as_slice() {
                        bound.extend(super::safety::unify(a, b));
                    }
                } else if let (true, Some(last)) = (expr.generated, terms.last()) {
                    OUTPUT.term(last, &mut bound);
                }
            }
        }
        out.extend(
            seen.iter().filter(|(var, count)| *count == 1 || !bound.contains(var)).map(|(var, _)| *var),
        );
    }
}

/// The variables of a term, all of them.
pub(crate) fn vars_of(term: &Term) -> VarSet {
    let mut out = VarSet::new();
    ALL.term(term, &mut out);
    out
}

/// Whether a term holds references or comprehensions: what has to be evaluated before it is a value.
pub(crate) fn requires_evaluation(term: &Term) -> bool {
    match &term.value {
        TermValue::Scalar(_) | TermValue::Var(_) => false,
        TermValue::Ref(_) | TermValue::ArrayCompr(_) | TermValue::SetCompr(_) | TermValue::ObjectCompr(_) => {
            true
        }
        TermValue::Call(_) | TermValue::Template(_) => true,
        TermValue::Array(terms) | TermValue::Set(terms) => terms.iter().any(requires_evaluation),
        TermValue::Object(pairs) => {
            pairs.iter().any(|(k, v)| requires_evaluation(k) || requires_evaluation(v))
        }
    }
}

/// Calls `f` on every body within a term, innermost last.
pub(crate) fn bodies_of_term(term: &mut Term, f: &mut dyn FnMut(&mut Body)) {
    match &mut term.value {
        TermValue::Scalar(_) | TermValue::Var(_) => {}
        TermValue::Ref(terms) | TermValue::Call(terms) | TermValue::Array(terms) | TermValue::Set(terms) => {
            terms.iter_mut().for_each(|t| bodies_of_term(t, f));
        }
        TermValue::Object(pairs) => pairs.iter_mut().for_each(|(k, v)| {
            bodies_of_term(k, f);
            bodies_of_term(v, f);
        }),
        TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
            bodies_of_term(&mut parts.0, f);
            f(&mut parts.1);
        }
        TermValue::ObjectCompr(parts) => {
            bodies_of_term(&mut parts.0, f);
            bodies_of_term(&mut parts.1, f);
            f(&mut parts.2);
        }
        TermValue::Template(parts) => {
            for part in parts {
                if let TemplatePart::Expr(expr) = part {
                    bodies_of_expr(expr, f);
                }
            }
        }
    }
}

/// Calls `f` on every body directly within an expression; `f` goes on by itself.
pub(crate) fn bodies_of_expr(expr: &mut Expr, f: &mut dyn FnMut(&mut Body)) {
    match &mut expr.kind {
        ExprKind::Term(term) => bodies_of_term(term, f),
        ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
            terms.iter_mut().for_each(|t| bodies_of_term(t, f));
        }
        ExprKind::Every(every) => {
            bodies_of_term(&mut every.domain, f);
            f(&mut every.body);
        }
        ExprKind::Not(not) => f(&mut not.body),
        ExprKind::Logical(logical) => {
            f(&mut logical.left);
            f(&mut logical.right);
        }
    }
    for with in &mut expr.with {
        bodies_of_term(&mut with.value, f);
    }
}
