//! Hoisting: what has to be evaluated inside an expression is taken out in front of it, and given a name.
//!
//! Where a part is put decides meaning: what is undefined *in front of* a `not` makes the body fail, what is undefined
//! *under* it makes the negation true. So the stages and their order are OPA's.
//! Source: `v1/ast/compile.go` (`expandExpr`, `rewriteComprehensionTerms`, `rewriteRefsInHead`, `rewriteDynamics`).

use std::cmp::Ordering;

use super::vars::requires_evaluation;
use crate::syntax::Pos;
use crate::syntax::tree::{
    Body, Expr, ExprKind, Names, Rule, Sym, TemplatePart, Term, TermValue, call_of, op_of,
};
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

/// OPA keeps sets and objects sorted, terms that are no values yet too: what is hoisted out of them comes in this order.
///
/// Source: `v1/ast/compare.go`.
fn term_order(a: &Term, b: &Term) -> Ordering {
    fn rank(term: &Term) -> u8 {
        match &term.value {
            TermValue::Scalar(_) => 0,
            TermValue::Var(_) => 1,
            TermValue::Ref(_) => 2,
            TermValue::Array(_) => 3,
            TermValue::Object(_) => 4,
            TermValue::Set(_) => 5,
            TermValue::ArrayCompr(_) => 6,
            TermValue::ObjectCompr(_) => 7,
            TermValue::SetCompr(_) => 8,
            TermValue::Call(_) => 9,
            TermValue::Template(_) => 10,
        }
    }
    let lists = |a: &[Term], b: &[Term]| {
        let unequal = a.iter().zip(b).map(|(a, b)| term_order(a, b)).find(|o| o.is_ne());
        unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
    };
    match (&a.value, &b.value) {
        (TermValue::Scalar(a), TermValue::Scalar(b)) => a.cmp(b),
        (TermValue::Var(a), TermValue::Var(b)) => a.cmp(b),
        (TermValue::Ref(a), TermValue::Ref(b)) | (TermValue::Array(a), TermValue::Array(b)) => lists(a, b),
        _ => rank(a).cmp(&rank(b)),
    }
}

// --- Metadata ---

/// Puts the answers of `rego.metadata.rule()` and `rego.metadata.chain()` in their place.
pub(crate) fn metadata(body: &mut Body, path: &Term) {
    for expr in body {
        if let ExprKind::Call(terms) = &mut expr.kind {
            if let Some(answer) = metadata_answer(terms, path) {
                expr.kind = match terms.pop() {
                    Some(out) if !terms.is_empty() => {
                        ExprKind::Call(call_of(Sym::EQ, vec![out, answer], expr.pos))
                    }
                    _ => ExprKind::Term(answer),
                };
                expr.negated = false;
                expr.with.clear();
            }
        }
        match &mut expr.kind {
            ExprKind::Term(term) => metadata_term(term, path),
            ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
                terms.iter_mut().for_each(|t| metadata_term(t, path));
            }
            ExprKind::Every(every) => {
                metadata_term(&mut every.domain, path);
                metadata(&mut every.body, path);
            }
            ExprKind::Not(not) => metadata(&mut not.body, path),
            ExprKind::Logical(logical) => {
                metadata(&mut logical.left, path);
                metadata(&mut logical.right, path);
            }
        }
    }
}

pub(crate) fn metadata_term(term: &mut Term, path: &Term) {
    match &mut term.value {
        TermValue::Call(terms) => match metadata_answer(terms, path) {
            Some(answer) => *term = answer,
            None => terms.iter_mut().for_each(|t| metadata_term(t, path)),
        },
        TermValue::Ref(terms) | TermValue::Array(terms) | TermValue::Set(terms) => {
            terms.iter_mut().for_each(|t| metadata_term(t, path));
        }
        TermValue::Object(pairs) => pairs.iter_mut().for_each(|(k, v)| {
            metadata_term(k, path);
            metadata_term(v, path);
        }),
        TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
            metadata_term(&mut parts.0, path);
            metadata(&mut parts.1, path);
        }
        TermValue::ObjectCompr(parts) => {
            metadata_term(&mut parts.0, path);
            metadata_term(&mut parts.1, path);
            metadata(&mut parts.2, path);
        }
        TermValue::Scalar(_) | TermValue::Var(_) | TermValue::Template(_) => {}
    }
}

/// A file without annotations: a rule has none, and its chain is its path.
fn metadata_answer(terms: &[Term], path: &Term) -> Option<Term> {
    let TermValue::Ref(op) = &terms.first()?.value else { return None };
    let [first, second, third] = op.as_slice() else { return None };
    let is = |t: &Term, name: &[u8]| t.as_scalar().and_then(Value::as_bytes) == Some(name);
    if first.as_var() != Some(Sym::REGO) || !is(second, b"metadata") {
        return None;
    }
    let pos = first.pos;
    if is(third, b"rule") {
        return Some(Term::new(TermValue::Object(Vec::new()), pos));
    }
    is(third, b"chain").then(|| {
        let link = Term::new(TermValue::Object(vec![(Term::string("path", pos), path.clone())]), pos);
        Term::new(TermValue::Array(vec![link]), pos)
    })
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
            if let Some(head) = terms.first_mut() {
                if !matches!(head.value, TermValue::Var(_)) {
                    out.push(take_out(names, head));
                }
            }
        }
        TermValue::Array(terms) => terms.iter_mut().for_each(|t| expand_term(names, t, out)),
        TermValue::Set(terms) => {
            terms.sort_by(term_order);
            terms.iter_mut().for_each(|t| expand_term(names, t, out));
        }
        TermValue::Object(pairs) => {
            pairs.sort_by(|a, b| term_order(&a.0, &b.0));
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
    for mut expr in body.drain(..) {
        super::vars::bodies_of_expr(&mut expr, &mut |b| with_values(names, b, evaluates));
        for with in &mut expr.with {
            if evaluates(&mut with.target, &mut with.value, with.pos) {
                out.push(take_out(names, &mut with.value));
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
        if expr.op() == Some(Sym::EQUAL) {
            if let ExprKind::Call(terms) = &mut expr.kind {
                if terms.len() == 3 {
                    let pos = terms.first().map(|t| t.pos).unwrap_or_default();
                    let operands = terms.drain(1..).collect();
                    *terms = call_of(Sym::EQ, operands, pos);
                }
            }
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
            terms.sort_by(term_order);
            terms.iter_mut().for_each(|t| dynamic_one(names, t, out));
        }
        TermValue::Object(pairs) => {
            pairs.sort_by(|a, b| term_order(&a.0, &b.0));
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

// --- Template strings ---

/// What a template needs to know of the expressions in it.
pub(crate) struct Templates<'a> {
    pub(crate) names: &'a mut Names,
    /// A reference that is always defined.
    pub(crate) always: &'a dyn Fn(&[Term]) -> bool,
    pub(crate) is_relation: &'a dyn Fn(&Term) -> bool,
    pub(crate) arity: super::safety::Arity<'a>,
    pub(crate) faults: Vec<(Pos, String)>,
}

impl Templates<'_> {
    pub(crate) fn rule(&mut self, rule: &mut Rule) {
        let mut safe = super::vars::VarSet::from([Sym::INPUT, Sym::DATA]);
        rule.head.args.iter().for_each(|t| super::vars::ALL.term(t, &mut safe));
        let safe = self.body(&mut rule.body, &safe);
        let head = &mut rule.head;
        for term in head
            .reference
            .iter_mut()
            .chain(head.args.iter_mut())
            .chain(head.key.as_mut())
            .chain(head.value.as_mut())
        {
            self.term(term, &safe);
        }
    }

    pub(crate) fn body(&mut self, body: &mut Body, globals: &super::vars::VarSet) -> super::vars::VarSet {
        let mut safe = globals.clone();
        for expr in body.iter() {
            let outputs = super::safety::outputs(expr, &safe, self.arity);
            safe.extend(outputs);
        }
        for expr in body {
            self.expr(expr, &safe);
        }
        safe
    }

    fn expr(&mut self, expr: &mut Expr, safe: &super::vars::VarSet) {
        match &mut expr.kind {
            ExprKind::Term(term) => self.term(term, safe),
            ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
                terms.iter_mut().for_each(|t| self.term(t, safe));
            }
            ExprKind::Every(every) => {
                self.term(&mut every.domain, safe);
                let mut inner = safe.clone();
                inner.extend(every.key.iter().chain([&every.value]).filter_map(Term::as_var));
                self.body(&mut every.body, &inner);
            }
            ExprKind::Not(not) => {
                self.body(&mut not.body, safe);
            }
            ExprKind::Logical(logical) => {
                self.body(&mut logical.left, safe);
                self.body(&mut logical.right, safe);
            }
        }
        expr.with.iter_mut().for_each(|w| self.term(&mut w.value, safe));
    }

    fn term(&mut self, term: &mut Term, safe: &super::vars::VarSet) {
        match &mut term.value {
            TermValue::Scalar(_) | TermValue::Var(_) => {}
            TermValue::Ref(terms)
            | TermValue::Call(terms)
            | TermValue::Array(terms)
            | TermValue::Set(terms) => {
                terms.iter_mut().for_each(|t| self.term(t, safe));
            }
            TermValue::Object(pairs) => pairs.iter_mut().for_each(|(k, v)| {
                self.term(k, safe);
                self.term(v, safe);
            }),
            TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
                let inner = self.body(&mut parts.1, safe);
                self.term(&mut parts.0, &inner);
            }
            TermValue::ObjectCompr(parts) => {
                let inner = self.body(&mut parts.2, safe);
                self.term(&mut parts.0, &inner);
                self.term(&mut parts.1, &inner);
            }
            TermValue::Template(parts) => {
                let parts = std::mem::take(parts);
                term.value = self.template(parts, term.pos, safe);
            }
        }
    }

    fn template(&mut self, parts: Vec<TemplatePart>, pos: Pos, safe: &super::vars::VarSet) -> TermValue {
        let mut terms = Vec::with_capacity(parts.len());
        if parts.is_empty() {
            terms.push(Term::string("", pos));
        }
        for part in parts {
            match part {
                TemplatePart::Text(value) => terms.push(Term::scalar(value, pos)),
                TemplatePart::Expr(expr) => terms.extend(self.template_part(*expr, safe)),
            }
        }
        let path = vec![Term::var(Sym::INTERNAL, pos), Term::string("template_string", pos)];
        let array = Term::new(TermValue::Array(terms), pos);
        TermValue::Call(vec![Term::new(TermValue::Ref(path), pos), array])
    }

    fn template_part(&mut self, mut expr: Expr, safe: &super::vars::VarSet) -> Option<Term> {
        let pos = expr.pos;
        self.expr(&mut expr, safe);
        let term = match expr.kind {
            ExprKind::Term(term) => term,
            ExprKind::Call(terms) => {
                if terms.first().is_some_and(|op| (self.is_relation)(op)) {
                    self.faults
                        .push((pos, "a relation has many values and cannot be printed in a template".into()));
                    return None;
                }
                Term::new(TermValue::Call(terms), pos)
            }
            _ => {
                self.faults.push((pos, "this expression has no value to print in a template string".into()));
                return None;
            }
        };
        let always = match &term.value {
            TermValue::Var(_) => true,
            TermValue::Ref(path) => (self.always)(path),
            _ => false,
        };
        if always {
            return Some(Term::new(TermValue::Set(vec![term]), pos));
        }
        let mut vars = super::vars::VarSet::new();
        super::vars::SAFETY.term(&term, &mut vars);
        for var in vars.difference(safe) {
            let message = format!("variable `{}` is not declared", self.names.text(*var));
            self.faults.push((pos, message));
        }
        let local = Term::var(self.names.local(), pos);
        let mut capture = Expr::equality(local.clone(), term, pos);
        capture.with = expr.with;
        Some(Term::new(TermValue::SetCompr(Box::new((local, vec![capture]))), pos))
    }
}

// --- `print` ---

/// Whether the operator is `print`.
pub(crate) fn is_print(terms: &[Term]) -> bool {
    op_of(terms) == Some(Sym::PRINT)
}

/// Takes every `print` out.
pub(crate) fn erase_prints(body: &mut Body) {
    let pos = body.first().map(|e| e.pos).unwrap_or_default();
    body.retain(|e| !matches!(&e.kind, ExprKind::Call(terms) if is_print(terms)));
    if body.is_empty() {
        body.push(Expr::term(Term::boolean(true, pos)));
    }
    for expr in body {
        super::vars::bodies_of_expr(expr, &mut erase_prints);
    }
}

/// Rewrites every `print` that is kept: an argument without a value prints as `<undefined>`, and fails nothing.
pub(crate) struct Prints<'a> {
    pub(crate) names: &'a mut Names,
    pub(crate) arity: super::safety::Arity<'a>,
    pub(crate) faults: Vec<(Pos, String)>,
}

impl Prints<'_> {
    pub(crate) fn rule(&mut self, rule: &mut Rule) {
        let mut safe = super::vars::VarSet::from([Sym::INPUT, Sym::DATA]);
        rule.head.args.iter().for_each(|t| super::vars::ALL.term(t, &mut safe));
        let head = &mut rule.head;
        for term in head.args.iter_mut().chain(head.key.as_mut()).chain(head.value.as_mut()) {
            super::vars::bodies_of_term(term, &mut |b| self.body(b, &safe));
        }
        self.body(&mut rule.body, &safe);
    }

    pub(crate) fn body(&mut self, body: &mut Body, globals: &super::vars::VarSet) {
        let mut safe = globals.clone();
        for expr in body {
            if let ExprKind::Every(every) = &expr.kind {
                let mut inner = safe.clone();
                inner.extend(every.key.iter().chain([&every.value]).filter_map(Term::as_var));
                super::vars::bodies_of_expr(expr, &mut |b| self.body(b, &inner));
            } else {
                super::vars::bodies_of_expr(expr, &mut |b| self.body(b, &safe));
            }
            if let ExprKind::Call(terms) = &mut expr.kind {
                if is_print(terms) {
                    let args = terms.split_off(1);
                    *expr = self.print(args, &safe, expr.pos);
                }
            }
            let outputs = super::safety::outputs(expr, &safe, self.arity);
            safe.extend(outputs);
            let mut vars = super::vars::VarSet::new();
            super::vars::ALL.expr(expr, &mut vars);
            safe.extend(vars.into_iter().filter(|v| self.names.is_made(*v)));
        }
    }

    fn print(&mut self, args: Vec<Term>, safe: &super::vars::VarSet, pos: Pos) -> Expr {
        let mut terms = Vec::with_capacity(args.len());
        for arg in args {
            let mut vars = super::vars::VarSet::new();
            super::vars::SAFETY.term(&arg, &mut vars);
            for var in vars.difference(safe) {
                let message = format!("variable `{}` is not declared", self.names.text(*var));
                self.faults.push((arg.pos, message));
            }
            let at = arg.pos;
            let local = Term::var(self.names.local(), at);
            let capture = Expr::equality(local.clone(), arg, at);
            terms.push(Term::new(TermValue::SetCompr(Box::new((local, vec![capture]))), at));
        }
        let path = vec![Term::var(Sym::INTERNAL, pos), Term::string("print", pos)];
        let array = Term::new(TermValue::Array(terms), pos);
        Expr::new(ExprKind::Call(vec![Term::new(TermValue::Ref(path), pos), array]), pos)
    }
}
