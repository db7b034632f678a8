//! `rego.metadata.rule()` and `rego.metadata.chain()`: the rule's body begins with their answers, and calls are replaced.
//!
//! Source: `v1/ast/compile.go` (`rewriteRegoMetadataCalls`), `v1/ast/annotations.go` (`AnnotationSet`).

use std::collections::BTreeMap;

use super::hoist;
use super::vars::{bodies_of_expr, bodies_of_term};
use crate::syntax::Pos;
use crate::syntax::annotations::{Annotation, Scope};
use crate::syntax::tree::{Body, Expr, ExprKind, Names, Rule, Sym, Term, TermValue};
use crate::value::Value;

/// All annotations of a policy.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    /// Of a rule, by its number; in the order of the text.
    rules: BTreeMap<usize, Vec<Annotation>>,
    packages: BTreeMap<Vec<Value>, Annotation>,
    /// Of documents, and of packages with those below them.
    paths: BTreeMap<Vec<Value>, Annotation>,
}

/// What is asked for is annotated with what is not read here.
pub(crate) struct Unread;

impl Annotations {
    /// Adds one; `rule` and `path` are those of the statement below it. False: there is one of this scope already.
    pub(crate) fn add(
        &mut self,
        annotation: Annotation,
        rule: Option<usize>,
        path: Vec<Value>,
        package: &[Value],
    ) -> bool {
        let there = match annotation.scope {
            Scope::Rule => {
                if let Some(rule) = rule {
                    self.rules.entry(rule).or_default().push(annotation);
                }
                return true;
            }
            Scope::Package => self.packages.insert(package.to_vec(), annotation),
            Scope::Document => self.paths.insert(path, annotation),
            Scope::Subpackages => self.paths.insert(package.to_vec(), annotation),
        };
        there.is_none()
    }

    /// The annotations of a rule itself, those that come first.
    pub(crate) fn own(&self, rule: Option<usize>, pos: Pos) -> Result<Term, Unread> {
        let first = rule.and_then(|rule| self.rules.get(&rule)).and_then(|all| all.first());
        match first {
            Some(annotation) => Ok(term_of(annotation.says.as_ref().ok_or(Unread)?, pos)),
            None => Ok(Term::new(TermValue::Object(Vec::new()), pos)),
        }
    }

    /// All annotations that hold for a rule, those nearest to it first.
    pub(crate) fn chain(
        &self,
        rule: Option<usize>,
        path: &[Value],
        package: &[Value],
        pos: Pos,
    ) -> Result<Term, Unread> {
        let own: Vec<&Annotation> =
            rule.and_then(|rule| self.rules.get(&rule)).into_iter().flatten().collect();
        let mut links: Vec<(&[Value], Option<&Annotation>)> =
            own.iter().rev().map(|annotation| (path, Some(*annotation))).collect();
        if links.is_empty() {
            links.push((path, None));
        }
        links.extend(self.paths.get(path).map(|annotation| (path, Some(annotation))));
        links.extend(self.packages.get(package).map(|annotation| (package, Some(annotation))));
        for length in (0..=package.len()).rev() {
            let above = package.get(..length).unwrap_or_default();
            links.extend(self.paths.get(above).map(|annotation| (above, Some(annotation))));
        }
        let mut terms = Vec::with_capacity(links.len());
        for (path, annotation) in links {
            let path = path.iter().map(|step| Term::scalar(step.clone(), pos)).collect();
            let mut pairs = vec![(Term::string("path", pos), Term::new(TermValue::Array(path), pos))];
            if let Some(annotation) = annotation {
                let says = term_of(annotation.says.as_ref().ok_or(Unread)?, pos);
                pairs.push((Term::string("annotations", pos), says));
            }
            terms.push(Term::new(TermValue::Object(pairs), pos));
        }
        Ok(Term::new(TermValue::Array(terms), pos))
    }
}

/// A value as a term.
fn term_of(value: &Value, pos: Pos) -> Term {
    match value {
        Value::Array(items) => {
            Term::new(TermValue::Array(items.iter().map(|v| term_of(v, pos)).collect()), pos)
        }
        Value::Set(items) => Term::new(TermValue::Set(items.iter().map(|v| term_of(v, pos)).collect()), pos),
        Value::Object(pairs) => Term::new(
            TermValue::Object(pairs.iter().map(|(k, v)| (term_of(k, pos), term_of(v, pos))).collect()),
            pos,
        ),
        scalar => Term::scalar(scalar.clone(), pos),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Asked {
    Chain,
    Rule,
}

/// What gives an answer.
type Answer<'a> = &'a dyn Fn() -> Result<Term, Unread>;

/// Replaces the calls of one rule; `chain` and `own` give the answers.
pub(crate) fn replace(
    names: &mut Names,
    rule: &mut Rule,
    chain: Answer<'_>,
    own: Answer<'_>,
) -> Result<(), Unread> {
    let mut asked = Vec::new();
    each_body(rule, &mut |body| {
        for expr in body {
            if let ExprKind::Call(terms) = &expr.kind {
                asked.extend(call_of_metadata(terms).filter(|a| !asked.contains(a)));
            }
        }
    });
    if asked.is_empty() {
        return Ok(());
    }
    let mut locals = Vec::new();
    let mut front = Vec::new();
    for (ask, answer) in [(Asked::Chain, chain), (Asked::Rule, own)] {
        if asked.contains(&ask) {
            let answer = answer()?;
            let local = Term::var(names.local(), answer.pos);
            let pos = answer.pos;
            front.push(Expr::equality(local.clone(), answer, pos));
            locals.push((ask, local));
        }
    }
    each_body(rule, &mut |body| {
        for expr in body {
            let ExprKind::Call(terms) = &mut expr.kind else { continue };
            let local = locals.iter().find(|(ask, _)| call_of_metadata(terms) == Some(*ask));
            let Some((_, local)) = local else { continue };
            let local = local.clone();
            let out = terms.pop().filter(|_| !terms.is_empty());
            let mut with = match out {
                Some(out) => Expr::equality(out, local, expr.pos),
                None => Expr::term(local),
            };
            with.generated = true;
            with.pos = expr.pos;
            *expr = with;
        }
    });
    hoist::append(&mut front, std::mem::take(&mut rule.body));
    rule.body = front;
    Ok(())
}

fn call_of_metadata(terms: &[Term]) -> Option<Asked> {
    let TermValue::Ref(op) = &terms.first()?.value else { return None };
    let [first, second, third] = op.as_slice() else { return None };
    let is = |t: &Term, name: &[u8]| t.as_scalar().and_then(Value::as_bytes) == Some(name);
    if first.as_var() != Some(Sym::REGO) || !is(second, b"metadata") {
        return None;
    }
    match () {
        _ if is(third, b"chain") => Some(Asked::Chain),
        _ if is(third, b"rule") => Some(Asked::Rule),
        _ => None,
    }
}

/// Calls `f` on every body of a rule.
fn each_body(rule: &mut Rule, f: &mut dyn FnMut(&mut Body)) {
    fn inner(body: &mut Body, f: &mut dyn FnMut(&mut Body)) {
        f(body);
        for expr in body {
            bodies_of_expr(expr, &mut |b| inner(b, f));
        }
    }
    let head = &mut rule.head;
    for term in head.args.iter_mut().chain(head.key.as_mut()).chain(head.value.as_mut()) {
        bodies_of_term(term, &mut |b| inner(b, f));
    }
    inner(&mut rule.body, f);
}
