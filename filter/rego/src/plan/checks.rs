//! Checks that refuse a policy: conflicts between rules, calls, `with`, recursion.
//!
//! Source: `v1/ast/compile.go` (`checkRuleConflicts`, `checkUndefinedFuncs`, `validateWith`, `checkRecursion`),
//! `v1/ast/conflicts.go`.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{NodeId, RuleTree};
use super::vars::{bodies_of_expr, bodies_of_term};
use super::{Entry, Functions};
use crate::builtins::{Run, Type};
use crate::syntax::Pos;
use crate::syntax::tree::{Body, Expr, ExprKind, Module, Names, Rule, RuleKind, Sym, Term, TermValue};
use crate::value::Value;

/// Places and sentences.
pub(crate) type Found = Vec<(Pos, String)>;

/// Names of rules, arguments and variables that hide `input` or `data`.
pub(crate) fn root_overrides(rule: &Rule) -> Vec<(Pos, &'static str)> {
    fn root(sym: Option<Sym>) -> Option<&'static str> {
        match sym? {
            Sym::INPUT => Some("input"),
            Sym::DATA => Some("data"),
            _ => None,
        }
    }
    fn roots_in(term: &Term, out: &mut Vec<(Pos, &'static str)>) {
        match &term.value {
            TermValue::Var(sym) => out.extend(root(Some(*sym)).map(|name| (term.pos, name))),
            TermValue::Ref(path) if path.len() == 1 => {
                out.extend(root(path.first().and_then(Term::as_var)).map(|name| (term.pos, name)));
            }
            TermValue::Array(terms) => terms.iter().for_each(|t| roots_in(t, out)),
            TermValue::Object(pairs) => pairs.iter().for_each(|(_, v)| roots_in(v, out)),
            _ => {}
        }
    }
    fn in_body(body: &Body, out: &mut Vec<(Pos, &'static str)>) {
        for expr in body {
            match &expr.kind {
                ExprKind::Call(terms) if expr.op() == Some(Sym::ASSIGN) => {
                    terms.get(1).into_iter().for_each(|t| roots_in(t, out));
                }
                ExprKind::Some(terms) => terms.iter().for_each(|t| roots_in(t, out)),
                ExprKind::SomeIn(terms) => {
                    let count = terms.len().saturating_sub(2);
                    terms.iter().skip(1).take(count).for_each(|t| roots_in(t, out));
                }
                ExprKind::Every(every) => {
                    every.key.iter().chain([&every.value]).for_each(|t| roots_in(t, out));
                    in_body(&every.body, out);
                }
                ExprKind::Not(not) => in_body(&not.body, out),
                ExprKind::Logical(logical) => {
                    in_body(&logical.left, out);
                    in_body(&logical.right, out);
                }
                _ => {}
            }
        }
    }
    let mut out: Vec<(Pos, &'static str)> =
        root(rule.head.name()).map(|name| (rule.pos, name)).into_iter().collect();
    rule.head.args.iter().for_each(|t| roots_in(t, &mut out));
    in_body(&rule.body, &mut out);
    rule.branches.iter().for_each(|b| in_body(&b.body, &mut out));
    out
}

/// Whether a reference is to a rule that always has a value: a set, one with a default, or a constant.
pub(crate) fn is_always_defined(tree: &RuleTree, rules: &[Entry], path: &[Term]) -> bool {
    let at = tree.rules_at(path);
    let rule = |index: &usize| rules.get(*index).map(|e| &e.rule);
    let Some(first) = at.first().and_then(rule) else { return false };
    if path.len() < 2 || !first.head.args.is_empty() {
        return false;
    }
    if first.default || first.head.key.is_some() {
        return true;
    }
    if at.len() == 1 {
        let constant = first.head.value.as_ref().is_some_and(|value| match &value.value {
            TermValue::Scalar(_) | TermValue::Var(_) => true,
            TermValue::Array(_) | TermValue::Object(_) | TermValue::Set(_) => value.is_ground(),
            _ => false,
        });
        return constant && super::hoist::is_empty_body(&first.body);
    }
    at.iter().skip(1).filter_map(rule).any(|r| r.default)
}

// --- `with` ---

/// Whether the value of a `with` has to be taken out in front; the error is why the `with` is refused.
pub(crate) fn with(
    tree: &RuleTree,
    rules: &[Entry],
    functions: &Functions,
    target: &mut Term,
    value: &mut Term,
) -> Result<bool, String> {
    // A builtin's bare name is a reference to it.
    for term in [&mut *value, &mut *target] {
        if let TermValue::Var(sym) = term.value
            && functions.find(term).is_some()
        {
            term.value = TermValue::Ref(vec![Term::var(sym, term.pos)]);
        }
    }
    let is_function_node = |path: &[Term]| {
        let mut at = tree.rules_at(path).iter().filter_map(|i| rules.get(*i));
        at.any(|e| !e.rule.head.args.is_empty())
    };
    // A rule that is no function counts too: it is evaluated where the function is called.
    let names_function = |value: &Term| match &value.value {
        TermValue::Ref(path) => tree.find(path).is_some() || functions.find(value).is_some(),
        _ => false,
    };
    let evaluates = super::vars::requires_evaluation(value);
    let TermValue::Ref(path) = &target.value else {
        return Err("`with` replaces input, data, or a function; nothing here has this name".into());
    };
    match path.first().and_then(Term::as_var) {
        Some(Sym::DATA) => {
            let mut at: NodeId = 0;
            let steps = path.get(1..path.len().saturating_sub(1)).unwrap_or_default();
            for step in steps {
                let Some(child) = step.as_scalar().and_then(|key| tree.child(at, key)) else { break };
                if tree.node(child).is_some_and(|n| !n.rules.is_empty()) {
                    return Err(
                        "`with` cannot replace a part of what a rule defines; replace the whole rule".into(),
                    );
                }
                at = child;
            }
            if is_function_node(path) && names_function(value) {
                return Ok(false);
            }
            if let TermValue::Ref(value_path) = &value.value
                && is_function_node(value_path)
            {
                return Ok(false);
            }
            Ok(evaluates)
        }
        Some(Sym::INPUT) => Ok(evaluates),
        _ => {
            let Some(builtin) = functions.find(target) else {
                return Err("`with` replaces input, data, or a function; nothing here has this name".into());
            };
            let refused = match builtin.name {
                "eq" | "rego.metadata.chain" | "rego.metadata.rule" => true,
                name => name.starts_with("internal.") || matches!(builtin.run, Run::Relation),
            };
            if refused || builtin.name == "print" {
                return Err(format!("`with` cannot replace `{}`", builtin.name));
            }
            Ok(!names_function(value) && evaluates)
        }
    }
}

// --- Conflicts ---

/// Rules that cannot stand beside each other.
pub(crate) fn conflicts(tree: &RuleTree, rules: &[Entry]) -> Found {
    let mut found = Found::new();
    for node in &tree.nodes {
        let here: Vec<&Rule> = node.rules.iter().filter_map(|i| rules.get(*i)).map(|e| &e.rule).collect();
        let Some(first) = here.first() else { continue };
        let name = format!("{:?}", String::from_utf8_lossy(node.key.as_bytes().unwrap_or_default()));
        let is_ground = |rule: &Rule| rule.head.reference.iter().skip(1).all(Term::is_ground);
        let is_set = |rule: &Rule| rule.head.key.is_some();
        let below = |only_functions: bool| {
            let mut hit = None;
            for child in node.children.values() {
                tree.below(*child, &mut |index| {
                    if let Some(entry) = rules.get(index)
                        && (!only_functions || entry.rule.kind() == RuleKind::Function)
                    {
                        hit = hit.or(Some(entry.rule.pos));
                    }
                });
            }
            hit
        };
        let any_ground = here.iter().any(|r| is_ground(r));
        let any_open = here.iter().any(|r| !is_ground(r));
        let conflict = if any_ground { below(false) } else { None };
        let conflict = conflict.or_else(|| if any_open { below(true) } else { None });
        if let Some(pos) = conflict {
            let message = format!(
                "rule {name} conflicts with a rule below its path at line {}; a rule's value holds all that is below it",
                pos.line
            );
            found.push((first.pos, message));
            continue;
        }
        let kinds: BTreeSet<bool> = here.iter().map(|r| is_set(r)).collect();
        let arities: BTreeSet<usize> = here.iter().map(|r| r.head.args.len()).collect();
        let complete = here.iter().any(|r| !is_set(r) && is_ground(r));
        let partial = here.iter().any(|r| is_set(r) || !is_ground(r));
        let set = here.iter().any(|r| is_set(r) && is_ground(r));
        let object_of_sets = here.iter().any(|r| is_set(r) && !is_ground(r));
        if kinds.len() > 1 || arities.len() > 1 || (complete && partial) || (set && object_of_sets) {
            let message = format!(
                "conflicting rules {name}: all definitions of one name are values, sets, objects, or functions of as many arguments"
            );
            found.push((first.pos, message));
            continue;
        }
        let mut defaults = here.iter().filter(|r| r.default);
        if let (Some(_), Some(second)) = (defaults.next(), defaults.next()) {
            found.push((second.pos, format!("rule {name} has a second default; keep one")));
        }
    }
    found
}

/// A package with the path of a rule.
pub(crate) fn package_conflicts(tree: &RuleTree, rules: &[Entry], modules: &[Module]) -> Found {
    let mut found = Found::new();
    for module in modules {
        let end = module.package.iter().try_fold(0, |at, key| tree.child(at, key));
        let Some(node) = end.and_then(|id| tree.node(id)) else { continue };
        let ground = node
            .rules
            .iter()
            .filter_map(|i| rules.get(*i))
            .find(|e| e.rule.head.reference.iter().skip(1).all(Term::is_ground));
        if let Some(entry) = ground {
            let message =
                format!("this package has the path of the rule at line {}; rename one", entry.rule.pos.line);
            found.push((module.pos, message));
        }
    }
    found
}

/// Rules where base data is.
pub(crate) fn data_conflicts(tree: &RuleTree, rules: &[Entry], data: &Value) -> Found {
    let mut found = Found::new();
    let mut open: Vec<(NodeId, &Value, String)> = vec![(0, data, "data".to_owned())];
    while let Some((id, value, path)) = open.pop() {
        let Some(node) = tree.node(id) else { continue };
        for (key, child) in &node.children {
            let Some(below) = key.as_bytes().and_then(|key| value.get_str(key)) else { continue };
            let Some(child_node) = tree.node(*child) else { continue };
            let path = format!("{path}.{}", String::from_utf8_lossy(key.as_bytes().unwrap_or_default()));
            if let Some(entry) = child_node.rules.first().and_then(|i| rules.get(*i)) {
                let message =
                    format!("rule `{path}` has the path of a base document; rename the rule or the data");
                found.push((entry.rule.pos, message));
            }
            open.push((*child, below, path));
        }
    }
    found
}

// --- Calls ---

/// Calls `f` on every call of a rule's bodies.
pub(crate) fn each_call(rule: &mut Rule, f: &mut dyn FnMut(&[Term], Pos)) {
    each_expr(rule, &mut |expr| {
        if let ExprKind::Call(terms) = &expr.kind {
            f(terms, expr.pos);
        }
    });
}

fn each_expr(rule: &mut Rule, f: &mut dyn FnMut(&mut Expr)) {
    fn body(b: &mut Body, f: &mut dyn FnMut(&mut Expr)) {
        for expr in b {
            f(expr);
            bodies_of_expr(expr, &mut |b| body(b, f));
        }
    }
    let head = &mut rule.head;
    let terms = head.args.iter_mut().chain(head.reference.iter_mut());
    for term in terms.chain(head.key.as_mut()).chain(head.value.as_mut()) {
        bodies_of_term(term, &mut |b| body(b, f));
    }
    body(&mut rule.body, f);
}

/// Calls of what is not there, or with a wrong number of arguments.
pub(crate) fn calls(
    rule: &mut Rule,
    arity: super::safety::Arity<'_>,
    functions: &Functions,
    names: &Names,
    found: &mut Found,
) {
    each_expr(rule, &mut |expr| {
        let ExprKind::Call(terms) = &expr.kind else { return };
        let Some((op, args)) = terms.split_first() else { return };
        let builtin = functions.find(op);
        let shown = operator_text(op, names);
        if let Some(builtin) = builtin {
            if let Run::Missing(why) = builtin.run {
                found.push((expr.pos, format!("`{shown}` is not available here: {why}")));
                return;
            }
            if builtin.variadic {
                return;
            }
        }
        let Some(count) = arity(op) else {
            found.push((expr.pos, format!("undefined function `{shown}`; define it, or correct its name")));
            return;
        };
        let is_equality = matches!(expr.op(), Some(Sym::EQ | Sym::ASSIGN));
        let given = args.len();
        let fits = match (expr.generated, is_equality) {
            (true, false) => given == count + 1,
            (true, true) => true,
            (false, _) => given == count || given == count + 1,
        };
        if !fits {
            let given = given - usize::from(expr.generated && given > 0);
            let message = format!("function `{shown}` takes {count} arguments, not {given}");
            found.push((expr.pos, message));
        }
    });
}

/// An operator as it was written.
pub(crate) fn operator_text(op: &Term, names: &Names) -> String {
    let TermValue::Ref(path) = &op.value else { return "?".into() };
    let mut text = String::new();
    for term in path {
        match &term.value {
            TermValue::Var(sym) => text.push_str(names.text(*sym)),
            TermValue::Scalar(Value::String(name)) => {
                text.push('.');
                text.push_str(&String::from_utf8_lossy(name.as_bytes()));
            }
            TermValue::Scalar(value) => text.push_str(&format!("[{}]", value.to_rego())),
            _ => text.push('?'),
        }
    }
    text
}

/// Whether a builtin answers nothing that could be used as a value.
#[allow(dead_code)]
pub(crate) fn is_void(result: &Type) -> bool {
    matches!(result, Type::Null)
}

// --- Recursion ---

type Lists = Vec<Vec<usize>>;

/// Which rules a rule refers to. Equal references are looked up once.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    groups: Vec<Vec<usize>>,
    known: BTreeMap<Vec<Option<Value>>, usize>,
    edges: Vec<Vec<usize>>,
    /// The other way round, once somebody asks: groups that hold a rule, rules that use a group.
    reverse: Option<(Lists, Lists)>,
}

impl Graph {
    pub(crate) fn add(&mut self, index: usize, rule: &Rule, tree: &RuleTree) {
        if self.edges.len() <= index {
            self.edges.resize_with(index + 1, Vec::new);
        }
        let mut groups = BTreeSet::new();
        let mut all: Vec<&Rule> = vec![rule];
        all.extend(&rule.branches);
        for rule in all {
            let head = &rule.head;
            let terms = head.reference.iter().skip(1).chain(&head.args).chain(&head.key).chain(&head.value);
            terms.for_each(|t| self.term(t, tree, &mut groups));
            self.body(&rule.body, tree, &mut groups);
        }
        if let Some(edges) = self.edges.get_mut(index) {
            edges.extend(groups);
        }
    }

    fn body(&mut self, body: &Body, tree: &RuleTree, out: &mut BTreeSet<usize>) {
        for expr in body {
            match &expr.kind {
                ExprKind::Term(term) => self.term(term, tree, out),
                ExprKind::Call(terms) | ExprKind::Some(terms) | ExprKind::SomeIn(terms) => {
                    terms.iter().for_each(|t| self.term(t, tree, out));
                }
                ExprKind::Every(every) => {
                    self.term(&every.domain, tree, out);
                    self.body(&every.body, tree, out);
                }
                ExprKind::Not(not) => self.body(&not.body, tree, out),
                ExprKind::Logical(logical) => {
                    self.body(&logical.left, tree, out);
                    self.body(&logical.right, tree, out);
                }
            }
            for with in &expr.with {
                self.term(&with.target, tree, out);
                self.term(&with.value, tree, out);
            }
        }
    }

    fn term(&mut self, term: &Term, tree: &RuleTree, out: &mut BTreeSet<usize>) {
        match &term.value {
            TermValue::Ref(path) => {
                if path.first().and_then(Term::as_var) == Some(Sym::DATA) {
                    out.insert(self.group(path, tree));
                }
                path.iter().skip(1).for_each(|t| self.term(t, tree, out));
            }
            TermValue::Call(terms) | TermValue::Array(terms) | TermValue::Set(terms) => {
                terms.iter().for_each(|t| self.term(t, tree, out));
            }
            TermValue::Object(pairs) => pairs.iter().for_each(|(k, v)| {
                self.term(k, tree, out);
                self.term(v, tree, out);
            }),
            TermValue::ArrayCompr(parts) | TermValue::SetCompr(parts) => {
                self.term(&parts.0, tree, out);
                self.body(&parts.1, tree, out);
            }
            TermValue::ObjectCompr(parts) => {
                self.term(&parts.0, tree, out);
                self.term(&parts.1, tree, out);
                self.body(&parts.2, tree, out);
            }
            TermValue::Scalar(_) | TermValue::Var(_) | TermValue::Template(_) => {}
        }
    }

    fn group(&mut self, path: &[Term], tree: &RuleTree) -> usize {
        let key: Vec<Option<Value>> = path.iter().skip(1).map(Term::constant).collect();
        if let Some(group) = self.known.get(&key) {
            return *group;
        }
        let mut rules = Vec::new();
        tree.reach(path, &mut |rule| rules.push(rule));
        rules.sort_unstable();
        rules.dedup();
        self.groups.push(rules);
        let group = self.groups.len() - 1;
        self.known.insert(key, group);
        group
    }

    /// The rules that a reference may reach, and all that depend on them.
    pub(crate) fn dependents(
        &mut self,
        path: &[Term],
        tree: &RuleTree,
        rules: usize,
    ) -> impl Iterator<Item = usize> {
        let (edges, groups) = (&self.edges, &self.groups);
        let (holders, users) = self.reverse.get_or_insert_with(|| {
            let mut holders = vec![Vec::new(); rules];
            let mut users = vec![Vec::new(); groups.len()];
            for (rule, edges) in edges.iter().enumerate() {
                for group in edges {
                    users.get_mut(*group).into_iter().for_each(|u| u.push(rule));
                }
            }
            for (group, members) in groups.iter().enumerate() {
                for rule in members {
                    holders.get_mut(*rule).into_iter().for_each(|h| h.push(group));
                }
            }
            (holders, users)
        });
        let mut open = Vec::new();
        tree.reach(path, &mut |rule| open.push(rule));
        let mut found = BTreeSet::new();
        let mut seen = vec![false; users.len()];
        while let Some(rule) = open.pop() {
            if !found.insert(rule) {
                continue;
            }
            for group in holders.get(rule).into_iter().flatten() {
                match seen.get_mut(*group) {
                    Some(seen) if !*seen => *seen = true,
                    _ => continue,
                }
                open.extend(users.get(*group).into_iter().flatten());
            }
        }
        found.into_iter()
    }

    /// Chains of rules that come back to their beginning, one for each place where a search comes back; and all rules, each
    /// after those that it depends on.
    pub(crate) fn order(&self, rules: usize) -> (Vec<Vec<usize>>, Vec<usize>) {
        // Vertices: rules, then groups.
        let edges = |vertex: usize| -> &[usize] {
            if vertex < rules {
                self.edges.get(vertex).map_or(&[], Vec::as_slice)
            } else {
                self.groups.get(vertex - rules).map_or(&[], Vec::as_slice)
            }
        };
        let target = |vertex: usize, edge: usize| if vertex < rules { rules + edge } else { edge };
        const NEW: u8 = 0;
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        let mut state = vec![NEW; rules + self.groups.len()];
        let mut found = Vec::new();
        let mut order = Vec::with_capacity(rules);
        for start in 0..rules {
            if state.get(start) != Some(&NEW) {
                continue;
            }
            let mut stack: Vec<(usize, usize)> = vec![(start, 0)];
            if let Some(s) = state.get_mut(start) {
                *s = OPEN;
            }
            while let Some((vertex, next)) = stack.last_mut() {
                let vertex = *vertex;
                let Some(edge) = edges(vertex).get(*next) else {
                    if let Some(s) = state.get_mut(vertex) {
                        *s = DONE;
                    }
                    if vertex < rules {
                        order.push(vertex);
                    }
                    stack.pop();
                    continue;
                };
                *next += 1;
                let to = target(vertex, *edge);
                match state.get(to) {
                    Some(&NEW) => {
                        if let Some(s) = state.get_mut(to) {
                            *s = OPEN;
                        }
                        stack.push((to, 0));
                    }
                    Some(&OPEN) => {
                        let from = stack.iter().position(|(v, _)| *v == to).unwrap_or(0);
                        let cycle = stack.iter().skip(from).map(|(v, _)| *v).filter(|v| *v < rules);
                        let mut cycle: Vec<usize> = cycle.collect();
                        cycle.extend(cycle.first().copied());
                        found.push(cycle);
                        if found.len() >= super::MOST_FAULTS {
                            return (found, order);
                        }
                    }
                    _ => {}
                }
            }
        }
        (found, order)
    }
}
