//! The check of rules, in the order of what they depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::documents::Types;
use super::layers::{Dependents, Layer, Tree};
use super::{FunctionType, Known, Type, compare, or, show, unifies};
use crate::hash::Map;
use crate::plan::tree::{NodeId, RuleTree};
use crate::plan::{Functions, checks};
use crate::syntax::Pos;
use crate::syntax::tree::{Body, Expr, ExprKind, Names, Rule, RuleKind, Sym, Term, TermValue, With};
use crate::value::Value;

/// How many comprehensions deep one within another is checked alone as well: each level doubles the work.
const MOST_ALONE: usize = 3;

/// Checks rules one after another.
pub(crate) struct Checker<'a> {
    pub(crate) types: &'a mut Types,
    pub(crate) tree: &'a RuleTree,
    pub(crate) functions: &'a Functions,
    pub(crate) names: &'a Names,
    pub(crate) faults: Vec<(Pos, String)>,
    /// Variables, innermost body last.
    scopes: Vec<Map<Sym, Type>>,
    /// Types of comprehensions that were checked, by their place in the tree.
    known: Map<*const TermValue, Known>,
    /// What the `with`s around change.
    pub(super) layers: Vec<Layer>,
    depend: &'a mut dyn FnMut(&[Term]) -> BTreeSet<NodeId>,
    /// What was found for a target.
    found: BTreeMap<(Vec<Value>, bool), Rc<Dependents>>,
    /// How many comprehensions deep a body is checked without what is known around it.
    alone: usize,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(
        types: &'a mut Types,
        tree: &'a RuleTree,
        functions: &'a Functions,
        names: &'a Names,
        depend: &'a mut dyn FnMut(&[Term]) -> BTreeSet<NodeId>,
    ) -> Checker<'a> {
        let (faults, scopes, known) = (Vec::new(), vec![Map::default()], Map::default());
        let (layers, found) = (Vec::new(), BTreeMap::new());
        Checker { types, tree, functions, names, faults, scopes, known, layers, depend, found, alone: 0 }
    }

    /// Checks a rule, and keeps its type.
    pub(crate) fn rule(&mut self, rule: &Rule, package: &[Value]) {
        self.scopes = vec![Map::default()];
        self.known.clear();
        let before = self.faults.len();
        self.body(&rule.body);
        let head = &rule.head;
        let path = self.path_of(rule, package);
        if self.faults.len() > before {
            // What refers to it is not blamed for it.
            if let Some((last, _)) = path.last() {
                self.types.insert(&path, Type::any(), self.tree);
                self.types.take_any(*last);
            }
            return;
        }
        let of = match rule.kind() {
            RuleKind::Function => {
                head.args.iter().for_each(|t| self.open_arguments(t));
                let args = head.args.iter().map(|t| self.type_of(t)).collect();
                let result = head.value.as_ref().and_then(|t| self.type_of(t));
                Some(Type::Function(Rc::new(FunctionType { args, result, variadic: false })))
            }
            RuleKind::PartialSet => {
                let of = head.key.as_ref().and_then(|t| self.type_of(t));
                of.map(|of| Type::set(Some(of)))
            }
            _ => head.value.as_ref().and_then(|t| self.type_of(t)),
        };
        let dynamic = head.reference.iter().skip(1).skip_while(|t| t.as_scalar().is_some());
        let dynamic: Vec<&Term> = dynamic.collect();
        let of = dynamic.into_iter().rev().fold(of, |of, step| {
            let key = self.type_of(step)?;
            Some(Type::object(Vec::new(), Some((Some(key), Some(of?)))))
        });
        if let Some(of) = of {
            self.types.insert(&path, of, self.tree);
        }
    }

    /// The nodes of a rule's constant path.
    fn path_of(&self, rule: &Rule, package: &[Value]) -> Vec<(NodeId, Value)> {
        let name = rule.head.name().map(|sym| Value::from(self.names.text(sym)));
        let rest = rule.head.reference.iter().skip(1).map_while(Term::as_scalar);
        let mut at = 0;
        let mut path = Vec::new();
        for key in package.iter().chain(&name).chain(rest) {
            let Some(child) = self.tree.child(at, key) else { break };
            path.push((child, key.clone()));
            at = child;
        }
        path
    }

    fn open_arguments(&mut self, term: &Term) {
        match &term.value {
            TermValue::Var(sym) if self.variable(*sym).is_none() => {
                self.put(*sym, Some(Type::any()));
            }
            TermValue::Array(terms) | TermValue::Set(terms) => {
                terms.iter().for_each(|t| self.open_arguments(t))
            }
            TermValue::Object(pairs) => pairs.iter().for_each(|(k, v)| {
                self.open_arguments(k);
                self.open_arguments(v);
            }),
            _ => {}
        }
    }

    pub(super) fn variable(&self, sym: Sym) -> Known {
        self.scopes.iter().rev().find_map(|scope| scope.get(&sym)).cloned()
    }

    pub(super) fn put(&mut self, sym: Sym, of: Known) {
        if let (Some(scope), Some(of)) = (self.scopes.last_mut(), of) {
            scope.insert(sym, of);
        }
    }

    pub(super) fn fault(&mut self, pos: Pos, message: String) {
        if self.faults.len() < 10 {
            self.faults.push((pos, message));
        }
    }

    fn body(&mut self, body: &Body) {
        for expr in body {
            let before = self.layers.len();
            if !expr.with.is_empty() {
                let more = self.layers_of(&expr.with);
                self.layers.extend(more);
            }
            self.closures(expr);
            self.references(expr);
            self.expr(expr);
            self.layers.truncate(before);
        }
    }

    /// Nothing is known of what depends on what is replaced; what is replaced can have the type of its replacement; a
    /// function that is replaced keeps its arguments.
    fn layers_of(&mut self, withs: &[With]) -> Vec<Layer> {
        let mut layers = Vec::new();
        let mut replaced = Tree::default();
        for with in withs {
            let TermValue::Ref(path) = &with.target.value else { continue };
            let target = self.reference_type(path);
            let is_function = matches!(target, Some(Type::Function(_)));
            if path.first().and_then(Term::as_var) == Some(Sym::DATA) {
                layers.push(Layer::Dependents(self.dependents(path, is_function)));
            }
            if !is_function {
                let value = self.type_of(&with.value);
                let both = match (&target, &value) {
                    (Some(_), Some(_)) if path.iter().skip(1).all(Term::is_ground) => or(target, value),
                    _ => None,
                };
                replaced.put(path, both.unwrap_or_else(Type::any));
            }
        }
        if !replaced.is_empty() {
            layers.push(Layer::Replaced(replaced));
        }
        layers
    }

    fn dependents(&mut self, path: &[Term], is_function: bool) -> Rc<Dependents> {
        let steps: Vec<Value> = path.iter().skip(1).map_while(|t| t.as_scalar().cloned()).collect();
        let key = (steps, is_function);
        if let Some(known) = self.found.get(&key) {
            return known.clone();
        }
        let mut nodes = (self.depend)(path);
        if let Some(home) = self.tree.find(path).filter(|_| is_function) {
            nodes.remove(&home);
        }
        let above = self.types.above(&nodes, self.tree);
        let dependents = Rc::new(Dependents { nodes, above });
        self.found.insert(key, dependents.clone());
        dependents
    }

    // --- Comprehensions ---

    /// Checks the comprehensions of an expression, in bodies within it too.
    fn closures(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Term(term) => self.closures_of(term),
            ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
                terms.iter().for_each(|t| self.closures_of(t));
            }
            ExprKind::Every(every) => {
                self.closures_of(&every.domain);
                every.body.iter().for_each(|e| self.closures(e));
            }
            ExprKind::Not(not) => not.body.iter().for_each(|e| self.closures(e)),
            ExprKind::Logical(logical) => {
                logical.left.iter().chain(&logical.right).for_each(|e| self.closures(e));
            }
        }
        expr.with.iter().for_each(|w| self.closures_of(&w.value));
    }

    fn closures_of(&mut self, term: &Term) {
        match &term.value {
            TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
                self.comprehension(term);
                self.inner_closures(&parts.1);
            }
            TermValue::ObjectCompr(parts) => {
                self.comprehension(term);
                self.inner_closures(&parts.2);
            }
            TermValue::Ref(terms)
            | TermValue::Call(terms)
            | TermValue::Array(terms)
            | TermValue::Set(terms) => {
                terms.iter().for_each(|t| self.closures_of(t));
            }
            TermValue::Object(pairs) => pairs.iter().for_each(|(k, v)| {
                self.closures_of(k);
                self.closures_of(v);
            }),
            _ => {}
        }
    }

    /// OPA checks the comprehensions within one once more, without what is known of the variables of that one.
    fn inner_closures(&mut self, body: &Body) {
        if self.alone >= MOST_ALONE || !body.iter().any(holds_comprehension) {
            return;
        }
        self.alone += 1;
        let known = std::mem::take(&mut self.known);
        body.iter().for_each(|e| self.closures(e));
        self.known = known;
        self.alone -= 1;
    }

    /// The type of a comprehension; its body is checked the first time.
    pub(super) fn comprehension(&mut self, term: &Term) -> Known {
        let key: *const TermValue = &term.value;
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let body = match &term.value {
            TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => &parts.1,
            TermValue::ObjectCompr(parts) => &parts.2,
            _ => return None,
        };
        let before = self.faults.len();
        self.scopes.push(Map::default());
        self.body(body);
        let of = if self.faults.len() > before {
            None
        } else {
            Some(match &term.value {
                TermValue::ArrayCompr(parts) => Type::array(Vec::new(), self.type_of(&parts.0)),
                TermValue::SetCompr(parts) => Type::set(self.type_of(&parts.0)),
                TermValue::ObjectCompr(parts) => {
                    Type::object(Vec::new(), Some((self.type_of(&parts.0), self.type_of(&parts.1))))
                }
                _ => return None,
            })
        };
        self.scopes.pop();
        self.known.insert(key, of.clone());
        of
    }

    // --- Expressions ---

    fn expr(&mut self, expr: &Expr) {
        for with in &expr.with {
            let (target, value) = (self.type_of(&with.target), self.type_of(&with.value));
            if let (Some(Type::Function(_)), Some(Type::Function(_))) = (&target, &value)
                && !unifies(&target, &value)
            {
                let message = "`with` replaces a function by one of as many arguments, of the same types";
                return self.fault(with.pos, message.into());
            }
        }
        let ExprKind::Call(terms) = &expr.kind else { return };
        let Some((op, args)) = terms.split_first() else { return };
        if let (Some(Sym::EQ | Sym::ASSIGN), [a, b]) = (expr.op(), args) {
            let (type_a, type_b) = (self.type_of(a), self.type_of(b));
            if !self.unify2(a, &type_a, b, &type_b) {
                let message =
                    format!("these two can never be equal: {} and {}", show(&type_a), show(&type_b));
                self.fault(expr.pos, message);
            }
            return;
        }
        let of = self.type_of(op);
        let name = checks::operator_text(op, self.names);
        let function = match of {
            Some(Type::Function(function)) => function,
            Some(of) if of.is_any() => return,
            _ => {
                return self
                    .fault(expr.pos, format!("undefined function `{name}`; define it, or correct its name"));
            }
        };
        if function.variadic {
            return;
        }
        let wanted: Vec<Known> = function.args.iter().cloned().chain([function.result.clone()]).collect();
        let before: Vec<Known> = args.iter().map(|t| self.type_of(t)).collect();
        for ((arg, have), want) in args.iter().zip(&before).zip(&wanted) {
            let wrong = !super::is_nil(have) && !unifies(have, want);
            if wrong || !self.unify1(arg, want, false) {
                let message = format!("`{name}` takes a {} here, not a {}", show(want), show(have));
                return self.fault(arg.pos, message);
            }
        }
    }
}

/// Whether a comprehension stands in an expression, in bodies within it too.
fn holds_comprehension(expr: &Expr) -> bool {
    fn in_term(term: &Term) -> bool {
        match &term.value {
            TermValue::ArrayCompr(_) | TermValue::SetCompr(_) | TermValue::ObjectCompr(_) => true,
            TermValue::Ref(terms)
            | TermValue::Call(terms)
            | TermValue::Array(terms)
            | TermValue::Set(terms) => terms.iter().any(in_term),
            TermValue::Object(pairs) => pairs.iter().any(|(k, v)| in_term(k) || in_term(v)),
            TermValue::Scalar(_) | TermValue::Var(_) | TermValue::Template(_) => false,
        }
    }
    let of_kind = match &expr.kind {
        ExprKind::Term(term) => in_term(term),
        ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => terms.iter().any(in_term),
        ExprKind::Every(every) => in_term(&every.domain) || every.body.iter().any(holds_comprehension),
        ExprKind::Not(not) => not.body.iter().any(holds_comprehension),
        ExprKind::Logical(logical) => logical.left.iter().chain(&logical.right).any(holds_comprehension),
    };
    of_kind || expr.with.iter().any(|w| in_term(&w.value))
}

/// Used by tests of the algebra.
#[allow(dead_code)]
pub(crate) fn same(a: &Type, b: &Type) -> bool {
    compare(a, b).is_eq()
}
