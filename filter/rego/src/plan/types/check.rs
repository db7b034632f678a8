//! The check of rules, in the order of what they depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::documents::Types;
use super::{FunctionType, Known, MOST_MEMBERS, Type, compare, keys, or, select, show, unifies, values};
use crate::hash::Map;
use crate::plan::tree::{NodeId, RuleTree};
use crate::plan::{Functions, checks};
use crate::syntax::Pos;
use crate::syntax::tree::{Body, Expr, ExprKind, Names, Rule, RuleKind, Sym, Term, TermValue};
use crate::value::Value;

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
    /// Nodes that depend on what a `with` around replaces: nothing is known of them; and what is replaced, with the type
    /// that it can have.
    relaxed: Vec<(Rc<BTreeSet<NodeId>>, Type)>,
    depend: &'a mut dyn FnMut(&[Term]) -> BTreeSet<NodeId>,
    /// What was found for a target.
    found: BTreeMap<Vec<Value>, Rc<BTreeSet<NodeId>>>,
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
        let (relaxed, found) = (Vec::new(), BTreeMap::new());
        Checker { types, tree, functions, names, faults, scopes, known, relaxed, depend, found }
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

    fn fault(&mut self, pos: Pos, message: String) {
        if self.faults.len() < 10 {
            self.faults.push((pos, message));
        }
    }

    fn body(&mut self, body: &Body) {
        for expr in body {
            let before = self.relaxed.len();
            for with in &expr.with {
                self.relax(&with.target, &with.value);
            }
            self.closures(expr);
            self.references(expr);
            self.expr(expr);
            self.relaxed.truncate(before);
        }
    }

    /// Nothing is known of what is replaced, and of what depends on it; a function that is replaced keeps its arguments.
    fn relax(&mut self, target: &Term, value: &Term) {
        let TermValue::Ref(path) = &target.value else { return };
        if path.first().and_then(Term::as_var) != Some(Sym::DATA) {
            return;
        }
        let key: Vec<Value> = path.iter().skip(1).map_while(|t| t.as_scalar().cloned()).collect();
        let nodes = match self.found.get(&key) {
            Some(nodes) => nodes.clone(),
            None => {
                let nodes = Rc::new((self.depend)(path));
                self.found.insert(key, nodes.clone());
                nodes
            }
        };
        let home = self.tree.find(path);
        let is_function = home.is_some_and(|id| matches!(self.types.node(id), Some(Type::Function(_))));
        if is_function {
            let mut others = (*nodes).clone();
            home.iter().for_each(|id| {
                others.remove(id);
            });
            self.relaxed.push((Rc::new(others), Type::any()));
        } else {
            let both = match (self.reference_type(path), self.type_of(value)) {
                (Some(target), Some(value)) => or(Some(target), Some(value)),
                _ => None,
            };
            self.relaxed.push((nodes, Type::any()));
            if let Some(home) = home {
                self.relaxed.push((Rc::new(BTreeSet::from([home])), both.unwrap_or_else(Type::any)));
            }
        }
    }

    /// The type of a node that is replaced, or depends on what is.
    fn relaxed(&self, id: NodeId) -> Option<Type> {
        self.relaxed.iter().rev().find(|(nodes, _)| nodes.contains(&id)).map(|(_, of)| of.clone())
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
            TermValue::ArrayCompr(_) | TermValue::SetCompr(_) | TermValue::ObjectCompr(_) => {
                self.comprehension(term);
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

    // --- References ---

    /// Checks all references of an expression; those of bodies in it too.
    fn references(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Term(term) => self.references_of(term),
            ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
                terms.iter().skip(1).for_each(|t| self.references_of(t));
            }
            ExprKind::Every(every) => {
                self.references_of(&every.domain);
                every.body.iter().for_each(|e| self.references(e));
            }
            ExprKind::Not(not) => not.body.iter().for_each(|e| self.references(e)),
            ExprKind::Logical(logical) => {
                logical.left.iter().chain(&logical.right).for_each(|e| self.references(e));
            }
        }
    }

    fn references_of(&mut self, term: &Term) {
        match &term.value {
            TermValue::Ref(path) => {
                self.reference(path, term.pos);
                path.iter().skip(1).for_each(|t| self.references_of(t));
            }
            TermValue::Call(terms) => terms.iter().skip(1).for_each(|t| self.references_of(t)),
            TermValue::Array(terms) | TermValue::Set(terms) => {
                terms.iter().for_each(|t| self.references_of(t))
            }
            TermValue::Object(pairs) => pairs.iter().for_each(|(k, v)| {
                self.references_of(k);
                self.references_of(v);
            }),
            _ => {}
        }
    }

    /// The type of what a reference finds.
    pub(super) fn reference_type(&mut self, path: &[Term]) -> Known {
        let (first, rest) = path.split_first()?;
        match first.as_var() {
            Some(Sym::INPUT) => Some(Type::any()),
            Some(Sym::DATA) => self.data_type(rest),
            Some(sym) => {
                if let (Some(builtin), None) = (self.functions.find_path(path), self.variable(sym)) {
                    return Some(Type::Function(self.types.builtin(builtin)));
                }
                let of = self.variable(sym);
                self.select_path(of, rest)
            }
            None => None,
        }
    }

    fn data_type(&mut self, rest: &[Term]) -> Known {
        let mut at: NodeId = 0;
        for (index, step) in rest.iter().enumerate() {
            if let Some(of) = self.relaxed(at) {
                return self.select_path(Some(of), rest.get(index..).unwrap_or_default());
            }
            if !self.types.is_on_path(at) && at != 0 {
                return Some(Type::any());
            }
            let child = step.as_scalar().and_then(|key| self.tree.child(at, key));
            let child = child.filter(|c| self.types.is_on_path(*c));
            if let Some(of) = self.types.node(at) {
                match child {
                    Some(child) => at = child,
                    None => return self.select_path(Some(of), rest.get(index..).unwrap_or_default()),
                }
                continue;
            }
            if step.as_scalar().is_none() {
                // Any base document may be there as well.
                return Some(Type::any());
            }
            match child {
                Some(child) => at = child,
                None => return Some(Type::any()),
            }
        }
        Some(self.extent(at))
    }

    /// The type of all that is at a node and below.
    fn extent(&self, id: NodeId) -> Type {
        if let Some(of) = self.relaxed(id) {
            return of;
        }
        if let Some(of) = self.types.node(id) {
            return of;
        }
        let mut fields = Vec::new();
        if let Some(node) = self.tree.node(id).filter(|n| n.children.len() <= MOST_MEMBERS) {
            for (key, child) in &node.children {
                if self.types.is_on_path(*child) {
                    fields.push((key.clone(), Some(self.extent(*child))));
                }
            }
        }
        Type::object(fields, Some((Some(Type::String), Some(Type::any()))))
    }

    fn reference(&mut self, path: &[Term], pos: Pos) {
        let Some((first, rest)) = path.split_first() else { return };
        if let Some(Type::Function(_)) = self.reference_type(path) {
            self.fault(pos, "a function is no value; call it with arguments in parentheses".into());
            return;
        }
        match first.as_var() {
            Some(Sym::DATA) => self.data_reference(rest, path, pos),
            Some(Sym::INPUT) => self.steps(Type::any(), rest, path, pos),
            Some(sym) => {
                let of = match self.variable(sym) {
                    Some(of) => of,
                    None => {
                        // An argument: anything.
                        self.put(sym, Some(Type::any()));
                        Type::any()
                    }
                };
                self.steps(of, rest, path, pos);
            }
            None => {}
        }
    }

    /// The steps of a reference to `data`, along the tree of rules.
    fn data_reference(&mut self, rest: &[Term], path: &[Term], pos: Pos) {
        let mut at: NodeId = 0;
        for (index, step) in rest.iter().enumerate() {
            let here = rest.get(index..).unwrap_or_default();
            if index < 2 {
                let named = matches!(step.value, TermValue::Var(_))
                    || matches!(&step.value, TermValue::Scalar(Value::String(_)));
                if !named {
                    self.undefined(path, pos, "steps directly below `data` are strings");
                    return;
                }
            }
            if let TermValue::Var(sym) = step.value {
                let known = self.keys_of(at);
                match self.variable(sym) {
                    None => self.put(sym, known),
                    have => {
                        if !unifies(&known, &have) {
                            let why = format!("a step is a {} here, not a {}", show(&known), show(&have));
                            self.undefined(path, pos, &why);
                            return;
                        }
                    }
                }
                // Whatever is there: variables behind it may be anything.
                return self.steps(Type::any(), here.get(1..).unwrap_or_default(), path, pos);
            }
            let child = step.as_scalar().and_then(|key| self.tree.child(at, key));
            if let Some(of) = child.and_then(|c| self.relaxed(c)) {
                return self.steps(of, here.get(1..).unwrap_or_default(), path, pos);
            }
            let Some(child) = child.filter(|c| self.types.is_on_path(*c)) else {
                return self.steps(Type::any(), here, path, pos);
            };
            if let Some(of) = self.types.node(child) {
                return self.steps(of, here.get(1..).unwrap_or_default(), path, pos);
            }
            at = child;
        }
    }

    fn keys_of(&self, id: NodeId) -> Known {
        if let Some(of) = self.types.node(id) {
            return keys(&of);
        }
        let children = self.tree.node(id).into_iter().flat_map(|n| n.children.keys());
        children.map(|key| Some(Type::of(key))).fold(Some(Type::String), or)
    }

    /// The steps below a type.
    fn steps(&mut self, of: Type, rest: &[Term], path: &[Term], pos: Pos) {
        let mut at = Some(of);
        for step in rest {
            let Some(here) = at else { return };
            let wanted = keys(&here);
            let Some(_) = &wanted else {
                let why = format!("a {} has nothing below it", show(&Some(here)));
                self.undefined(path, pos, &why);
                return;
            };
            match &step.value {
                TermValue::Scalar(value) => {
                    at = select(&here, value);
                    if at.is_none() {
                        let why = format!("the {} there has no such key", show(&Some(here)));
                        self.undefined(path, pos, &why);
                        return;
                    }
                    continue;
                }
                TermValue::Var(sym) => match self.variable(*sym) {
                    None => self.put(*sym, wanted),
                    have => {
                        if !unifies(&have, &wanted) {
                            let why = format!("a step is a {} here, not a {}", show(&wanted), show(&have));
                            self.undefined(path, pos, &why);
                            return;
                        }
                    }
                },
                TermValue::Ref(_) => {
                    let have = self.type_of(step);
                    if have.is_some() && !unifies(&have, &wanted) {
                        self.undefined(path, pos, "a step has the wrong type");
                        return;
                    }
                }
                TermValue::Array(_) | TermValue::Object(_) | TermValue::Set(_)
                    if !self.unify1(step, &wanted, false) =>
                {
                    self.undefined(path, pos, "a step has the wrong type");
                    return;
                }
                _ => {}
            }
            at = values(&here);
        }
    }

    fn undefined(&mut self, path: &[Term], pos: Pos, why: &str) {
        let mut text = String::new();
        for (index, term) in path.iter().enumerate() {
            match &term.value {
                TermValue::Var(sym) if index == 0 => text.push_str(self.names.text(*sym)),
                TermValue::Var(sym) => {
                    text.push('[');
                    text.push_str(self.names.text(*sym));
                    text.push(']');
                }
                TermValue::Scalar(Value::String(key)) => {
                    text.push('.');
                    text.push_str(&String::from_utf8_lossy(key.as_bytes()));
                }
                TermValue::Scalar(value) => {
                    text.push('[');
                    text.push_str(&value.to_rego());
                    text.push(']');
                }
                _ => text.push_str("[…]"),
            }
        }
        self.fault(pos, format!("undefined reference `{text}`: {why}"));
    }

    // --- Expressions ---

    fn expr(&mut self, expr: &Expr) {
        for with in &expr.with {
            let relaxed = std::mem::take(&mut self.relaxed);
            let (target, value) = (self.type_of(&with.target), self.type_of(&with.value));
            self.relaxed = relaxed;
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

/// Used by tests of the algebra.
#[allow(dead_code)]
pub(crate) fn same(a: &Type, b: &Type) -> bool {
    compare(a, b).is_eq()
}
