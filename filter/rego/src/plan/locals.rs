//! Local variables: each declaration gets a name of its own, so that no scope is needed later.
//!
//! Source: `v1/ast/compile.go` (`rewriteLocalVars` and below).

use super::names::{declared, declared_in};
use super::rename::{rename, withs_of};
use super::safety::{equality_outputs, of_refs};
use super::vars::{ALL, Skip, VarSet, vars_of};
use crate::hash::Map;
use crate::syntax::Pos;
use crate::syntax::tree::{
    Body, Expr, ExprKind, Names, Rule, Sym, TemplatePart, Term, TermValue, With, call_of,
};

/// Where a name was met in a scope.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Met {
    Seen,
    Assigned,
    Declared,
    Argument,
}

#[derive(Clone, Default)]
struct Scope {
    renamed: Map<Sym, Sym>,
    met: Map<Sym, Met>,
}

/// What is wrong, and where.
pub(crate) type Faults = Vec<(Pos, String)>;

pub(crate) struct Locals<'a> {
    pub(crate) names: &'a mut Names,
    pub(crate) is_builtin: &'a dyn Fn(Sym) -> bool,
    scopes: Vec<Scope>,
    pub(crate) faults: Faults,
}

impl<'a> Locals<'a> {
    pub(crate) fn new(names: &'a mut Names, is_builtin: &'a dyn Fn(Sym) -> bool) -> Self {
        Locals { names, is_builtin, scopes: vec![Scope::default()], faults: Vec::new() }
    }

    /// A rule and its branches.
    pub(crate) fn rule(&mut self, rule: &mut Rule) {
        self.scopes = vec![Scope::default()];
        for arg in &mut rule.head.args {
            self.argument(arg);
        }
        let arguments = self.scopes.clone();
        self.one(rule);
        for branch in &mut rule.branches {
            self.scopes.clone_from(&arguments);
            self.one(branch);
        }
    }

    /// A query's body.
    pub(crate) fn query(&mut self, body: &mut Body) {
        self.scopes = vec![Scope::default()];
        self.body(body, &VarSet::new());
    }

    /// The names of the outermost scope.
    pub(crate) fn outermost(&self) -> Map<Sym, Sym> {
        self.scopes.first().map(|s| s.renamed.clone()).unwrap_or_default()
    }

    fn argument(&mut self, term: &mut Term) {
        match &mut term.value {
            TermValue::Var(sym) => {
                let renamed = match self.renamed(*sym) {
                    Some(renamed) => renamed,
                    None => {
                        let fresh = self.fresh(*sym);
                        self.insert(*sym, fresh, Met::Argument);
                        fresh
                    }
                };
                *sym = renamed;
            }
            TermValue::Object(pairs) => pairs.iter_mut().for_each(|(_, v)| self.argument(v)),
            TermValue::Array(terms) | TermValue::Ref(terms) => {
                terms.iter_mut().for_each(|t| self.argument(t))
            }
            TermValue::Call(_) => {
                self.fault(term.pos, "the arguments in a function's head hold no calls; compare in the body");
            }
            _ => {}
        }
    }

    fn one(&mut self, rule: &mut Rule) {
        // Comprehensions in the head first, each in a scope of its own.
        let kept = std::mem::replace(&mut self.scopes, vec![Scope::default()]);
        for term in head_terms(rule) {
            self.nested(term);
        }
        self.scopes = kept;
        let mut used = VarSet::new();
        for term in rule.head.reference.iter().skip(1).chain(&rule.head.key).chain(&rule.head.value) {
            ALL.term(term, &mut used);
        }
        self.hide_builtins(rule);
        self.body(&mut rule.body, &used);
        let renamed = self.scopes.first().map(|s| s.renamed.clone()).unwrap_or_default();
        for term in head_terms(rule) {
            rename(term, &renamed);
        }
    }

    fn nested(&mut self, term: &mut Term) {
        match &mut term.value {
            TermValue::ArrayCompr(_) | TermValue::SetCompr(_) | TermValue::ObjectCompr(_) => {
                self.scopes = vec![Scope::default()];
                self.term(term);
            }
            TermValue::Template(parts) => {
                for part in parts {
                    if let TemplatePart::Expr(expr) = part {
                        self.scopes = vec![Scope::default()];
                        self.expr(expr);
                    }
                }
            }
            TermValue::Ref(terms)
            | TermValue::Call(terms)
            | TermValue::Array(terms)
            | TermValue::Set(terms) => {
                terms.iter_mut().for_each(|t| self.nested(t));
            }
            TermValue::Object(pairs) => pairs.iter_mut().for_each(|(k, v)| {
                self.nested(k);
                self.nested(v);
            }),
            TermValue::Scalar(_) | TermValue::Var(_) => {}
        }
    }

    /// A variable of the body that has a builtin's name is renamed, so that nothing takes it for the builtin.
    fn hide_builtins(&mut self, rule: &Rule) {
        let mut vars = VarSet::new();
        Skip { call_head: true, closures: true, ..ALL }.body(&rule.body, &mut vars);
        vars.retain(|v| (self.is_builtin)(*v));
        if vars.is_empty() {
            return;
        }
        let declared = declared(&rule.body);
        let mut in_with = VarSet::new();
        withs_of(&rule.body, &mut |with| {
            ALL.term(&with.target, &mut in_with);
            ALL.term(&with.value, &mut in_with);
        });
        for var in vars {
            if declared.contains(&var) || in_with.contains(&var) || self.renamed(var).is_some() {
                continue;
            }
            let fresh = self.fresh(var);
            self.insert(var, fresh, Met::Seen);
        }
    }

    fn fault(&mut self, pos: Pos, message: impl Into<String>) {
        self.faults.push((pos, message.into()));
    }

    fn fresh(&mut self, sym: Sym) -> Sym {
        let shown = self.names.text(sym).to_owned();
        self.names.fresh(&shown)
    }

    fn insert(&mut self, from: Sym, to: Sym, met: Met) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.renamed.insert(from, to);
            scope.met.insert(from, met);
        }
    }

    fn renamed(&self, sym: Sym) -> Option<Sym> {
        self.scopes.iter().rev().find_map(|s| s.renamed.get(&sym)).copied()
    }

    fn met(&self, sym: Sym) -> Option<Met> {
        self.scopes.last().and_then(|s| s.met.get(&sym)).copied()
    }

    /// Declares a variable in the innermost scope.
    fn declare(&mut self, sym: Sym, met: Met, pos: Pos) -> Option<Sym> {
        let name = self.names.text(sym);
        let fault = match self.met(sym) {
            Some(Met::Seen) => format!("variable `{name}` is used before it is declared here; move this up"),
            Some(Met::Assigned) => {
                format!("variable `{name}` is assigned a second time; give this one another name")
            }
            Some(Met::Declared) => {
                format!("variable `{name}` is declared a second time; give this one another name")
            }
            Some(Met::Argument) => {
                format!("argument `{name}` is declared again; give this variable another name")
            }
            None => {
                let fresh = self.fresh(sym);
                self.insert(sym, fresh, met);
                return Some(fresh);
            }
        };
        self.fault(pos, fault);
        None
    }

    fn body(&mut self, body: &mut Body, used: &VarSet) {
        let before = self.faults.len();
        let mut shown: Vec<(VarSet, Pos)> = Vec::new();
        let mut out = Vec::with_capacity(body.len());
        for expr in body.drain(..) {
            let mut declares = VarSet::new();
            declared_in(&expr, &mut declares);
            if !declares.is_empty() {
                shown.push((declares, expr.pos));
            }
            out.extend(self.statement(expr));
        }
        if out.is_empty() {
            let pos = shown.first().map(|(_, pos)| *pos).unwrap_or_default();
            out.push(Expr::term(Term::boolean(true, pos)));
        }
        *body = out;
        if self.faults.len() == before {
            self.unused(body, used, &shown);
        }
    }

    /// `some x` whose `x` nothing uses is a mistake.
    fn unused(&mut self, body: &Body, used: &VarSet, shown: &[(VarSet, Pos)]) {
        let Some(scope) = self.scopes.last() else { return };
        let declared: Vec<(Sym, Sym)> = scope
            .met
            .iter()
            .filter(|(_, met)| **met == Met::Declared)
            .filter_map(|(sym, _)| Some((*sym, *scope.renamed.get(sym)?)))
            .collect();
        if declared.is_empty() {
            return;
        }
        let mut vars = VarSet::new();
        ALL.body(body, &mut vars);
        vars.extend(used.iter().map(|v| self.renamed(*v).unwrap_or(*v)));
        let mut unused: Vec<(Sym, Sym)> =
            declared.into_iter().filter(|(sym, to)| !vars.contains(to) && !used.contains(sym)).collect();
        unused.sort();
        for (sym, _) in unused {
            if self.names.is_made(sym) {
                continue;
            }
            let pos =
                shown.iter().find(|(vars, _)| vars.contains(&sym)).or(shown.first()).map(|(_, pos)| *pos);
            let pos = pos.or(body.first().map(|e| e.pos)).unwrap_or_default();
            let message = format!("declared variable `{}` is never used; remove it", self.names.text(sym));
            self.fault(pos, message);
        }
    }

    fn statement(&mut self, mut expr: Expr) -> Option<Expr> {
        if expr.op() == Some(Sym::ASSIGN) {
            self.assignment(&mut expr);
            return Some(expr);
        }
        match &mut expr.kind {
            ExprKind::Some(terms) => {
                for term in terms {
                    if let Some(sym) = term.as_var() {
                        self.declare(sym, Met::Declared, expr.pos)?;
                    }
                }
                return None;
            }
            ExprKind::SomeIn(_) => self.some_in(&mut expr)?,
            ExprKind::Every(_) => self.every(&mut expr)?,
            ExprKind::Not(_) => self.not(&mut expr),
            ExprKind::Logical(_) => self.logical(&mut expr),
            _ => self.expr(&mut expr),
        }
        Some(expr)
    }

    fn assignment(&mut self, expr: &mut Expr) {
        if expr.negated {
            return self
                .fault(expr.pos, "`:=` cannot stand under `not`; assign before, and compare with `==`");
        }
        let ExprKind::Call(terms) = &mut expr.kind else { return };
        let [_, left, right] = terms.as_mut_slice() else { return };
        self.term(right);
        for with in &mut expr.with {
            self.term(&mut with.value);
        }
        self.target(left);
    }

    fn target(&mut self, term: &mut Term) {
        match &mut term.value {
            TermValue::Var(sym) => {
                if let Some(fresh) = self.declare(*sym, Met::Assigned, term.pos) {
                    *sym = fresh;
                }
            }
            TermValue::Array(terms) => terms.iter_mut().for_each(|t| self.target(t)),
            TermValue::Object(pairs) => pairs.iter_mut().for_each(|(_, v)| self.target(v)),
            TermValue::Ref(terms) if terms.len() == 1 => {
                let root = terms.first().and_then(Term::as_var);
                if let Some(root @ (Sym::INPUT | Sym::DATA)) = root {
                    if let Some(fresh) = self.declare(root, Met::Assigned, term.pos) {
                        term.value = TermValue::Var(fresh);
                    }
                } else {
                    self.fault(
                        term.pos,
                        "only names and patterns of names can be assigned; compare with `==`",
                    );
                }
            }
            _ => self.fault(term.pos, "only names and patterns of names can be assigned; compare with `==`"),
        }
    }

    fn some_in(&mut self, expr: &mut Expr) -> Option<()> {
        let pos = expr.pos;
        let ExprKind::SomeIn(terms) = &mut expr.kind else { return None };
        let mut terms: Vec<Term> = std::mem::take(terms);
        let (container, value) = (terms.pop()?, terms.pop()?);
        let key = if terms.len() > 1 { terms.pop()? } else { Term::var(self.names.local(), pos) };
        let safe = vars_of(&container);
        let reference = match container.value {
            TermValue::Ref(mut path) => {
                path.push(key);
                TermValue::Ref(path)
            }
            _ => TermValue::Ref(vec![container, key]),
        };
        let reference = Term::new(reference, pos);
        // What the references of its `with`s bind is declared as well, as far as the container names their roots.
        let mut outputs = equality_outputs(&value, &reference, false, &safe);
        for with in &expr.with {
            of_refs(&with.target, &safe, &mut outputs);
            of_refs(&with.value, &safe, &mut outputs);
        }
        outputs.retain(|var| !safe.contains(var));
        expr.kind = ExprKind::Call(call_of(Sym::EQ, vec![value, reference], pos));
        for var in outputs {
            self.declare(var, Met::Declared, pos)?;
        }
        self.expr(expr);
        Some(())
    }

    fn every(&mut self, expr: &mut Expr) -> Option<()> {
        let pos = expr.pos;
        let ExprKind::Every(every) = &mut expr.kind else { return None };
        self.term(&mut every.domain);
        self.scopes.push(Scope::default());
        let mut ok = true;
        match &mut every.key {
            Some(key) => ok &= self.every_name(key, pos),
            None => every.key = Some(Term::var(self.names.local(), pos)),
        }
        ok &= self.every_name(&mut every.value, pos);
        if ok {
            self.body(&mut every.body, &VarSet::new());
            // OPA goes over the whole expression once more before the names of `every` end.
            self.term(&mut every.domain);
            expr.with.iter_mut().for_each(|w| self.with(w));
        }
        self.scopes.pop();
        ok.then_some(())
    }

    fn every_name(&mut self, term: &mut Term, pos: Pos) -> bool {
        let Some(sym) = term.as_var() else { return true };
        if self.names.is_wildcard(sym) {
            return true;
        }
        let fresh = self.declare(sym, Met::Declared, pos);
        if let Some(fresh) = fresh {
            term.value = TermValue::Var(fresh);
        }
        fresh.is_some()
    }

    fn not(&mut self, expr: &mut Expr) {
        let ExprKind::Not(not) = &mut expr.kind else { return };
        if not.explicit {
            self.scopes.push(Scope::default());
            self.body(&mut not.body, &VarSet::new());
            // Here too the names of the body are those of its `with`s.
            expr.with.iter_mut().for_each(|w| self.with(w));
            self.scopes.pop();
            return;
        } else {
            self.operand(&mut not.body, "`:=` cannot stand under `not` without braces; write `not { … }`");
        }
        expr.with.iter_mut().for_each(|w| self.with(w));
    }

    fn logical(&mut self, expr: &mut Expr) {
        let ExprKind::Logical(logical) = &mut expr.kind else { return };
        for (body, explicit) in
            [(&mut logical.left, logical.explicit_left), (&mut logical.right, logical.explicit_right)]
        {
            if explicit {
                self.scopes.push(Scope::default());
                self.body(body, &VarSet::new());
                self.scopes.pop();
            } else {
                self.operand(body, "`:=` cannot stand in an operand without braces; write `{ … }`");
            }
        }
        expr.with.iter_mut().for_each(|w| self.with(w));
    }

    /// An operand without braces declares nothing.
    fn operand(&mut self, body: &mut Body, fault: &str) {
        for expr in body {
            match &expr.kind {
                ExprKind::Call(_) if expr.op() == Some(Sym::ASSIGN) => self.fault(expr.pos, fault),
                ExprKind::Not(_) => self.not(expr),
                ExprKind::Logical(_) => self.logical(expr),
                _ => self.expr(expr),
            }
        }
    }

    /// All terms of an expression.
    fn expr(&mut self, expr: &mut Expr) {
        match &mut expr.kind {
            ExprKind::Term(term) => self.term(term),
            ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
                terms.iter_mut().for_each(|t| self.term(t));
            }
            ExprKind::Every(every) => {
                self.term(&mut every.domain);
            }
            ExprKind::Not(_) => return self.not(expr),
            ExprKind::Logical(_) => return self.logical(expr),
        }
        expr.with.iter_mut().for_each(|w| self.with(w));
    }

    /// `input` in a target is the document, whatever the body calls `input`.
    fn with(&mut self, with: &mut With) {
        self.term(&mut with.target);
        if let Some(hidden) = self.renamed(Sym::INPUT) {
            match &mut with.target.value {
                TermValue::Var(sym) if *sym == hidden => {
                    let pos = with.target.pos;
                    with.target.value = TermValue::Ref(vec![Term::var(Sym::INPUT, pos)]);
                }
                TermValue::Ref(path) => {
                    if let Some(first) = path.first_mut()
                        && first.as_var() == Some(hidden)
                    {
                        first.value = TermValue::Var(Sym::INPUT);
                    }
                }
                _ => {}
            }
        }
        self.term(&mut with.value);
    }

    fn term(&mut self, term: &mut Term) {
        match &mut term.value {
            TermValue::Scalar(_) => {}
            TermValue::Var(sym) => {
                if let Some(renamed) = self.renamed(*sym) {
                    *sym = renamed;
                } else if self.met(*sym).is_none() {
                    self.insert(*sym, *sym, Met::Seen);
                }
            }
            TermValue::Ref(terms) => {
                let root = terms.first().and_then(Term::as_var);
                if let (1, Some(root @ (Sym::INPUT | Sym::DATA))) = (terms.len(), root) {
                    let met = self.scopes.iter().rev().find_map(|s| s.met.get(&root)).copied();
                    if let (Some(Met::Assigned | Met::Declared | Met::Argument), Some(renamed)) =
                        (met, self.renamed(root))
                    {
                        term.value = TermValue::Var(renamed);
                    }
                    return;
                }
                terms.iter_mut().for_each(|t| self.term(t));
            }
            TermValue::Call(terms) => {
                let called = terms.first().map(vars_of).unwrap_or_default();
                if called.into_iter().any(|v| self.renamed(v).is_some_and(|to| to != v)) {
                    self.fault(
                        term.pos,
                        "a local variable has the name of the function called here; rename it",
                    );
                }
                terms.iter_mut().for_each(|t| self.term(t));
            }
            TermValue::Array(terms) | TermValue::Set(terms) => terms.iter_mut().for_each(|t| self.term(t)),
            TermValue::Object(pairs) => pairs.iter_mut().for_each(|(k, v)| {
                self.term(k);
                self.term(v);
            }),
            TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
                let used = vars_of(&parts.0);
                self.scopes.push(Scope::default());
                self.body(&mut parts.1, &used);
                self.term(&mut parts.0);
                self.scopes.pop();
            }
            TermValue::ObjectCompr(parts) => {
                let mut used = vars_of(&parts.0);
                used.extend(vars_of(&parts.1));
                self.scopes.push(Scope::default());
                self.body(&mut parts.2, &used);
                self.term(&mut parts.0);
                self.term(&mut parts.1);
                self.scopes.pop();
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

/// The terms of a head that can hold variables.
fn head_terms(rule: &mut Rule) -> impl Iterator<Item = &mut Term> {
    let head = &mut rule.head;
    head.args
        .iter_mut()
        .chain(head.reference.iter_mut().skip(1))
        .chain(head.key.as_mut())
        .chain(head.value.as_mut())
}
