//! Graphs, and the walk through a value.
//!
//! Source: `v1/topdown/reachable.go`, `walk.go`.

use super::operands::{VALUE_BYTES, items, object};
use super::{Budget, Builtin, Call, Fault, Run, Type};
use crate::builtins::operands::all;
use crate::value::{Object, Set, Value};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

const SOURCE: &str = "v1/topdown/reachable.go";
const NODES: Type = Type::Union(&[Type::ANY_ARRAY, Type::ANY_SET]);
const GRAPH: &[Type] = &[Type::object_of(&Type::Any, &NODES), NODES];

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("graph.reachable", GRAPH, Type::ANY_SET, reachable, SOURCE),
    Builtin::new("graph.reachable_paths", GRAPH, Type::Set(&Type::ANY_ARRAY), reachable_paths, SOURCE),
    Builtin::new(
        "walk",
        &[Type::Any],
        Type::Array(&[Type::ANY_ARRAY, Type::Any], None),
        all_pairs,
        "v1/topdown/walk.go",
    )
    .runs(Run::Relation),
];

/// Where the edges of a node lead; what is no collection has none.
fn edges<'a>(graph: &'a Object, node: &Value) -> Option<&'a [Value]> {
    graph.get(node).map(|edges| items(edges).unwrap_or_default())
}

/// The nodes that are keys of the graph and can be reached.
fn reachable(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [graph, initial] = all(args)?;
    let graph = object(graph)?;
    let initial = items(initial)?;
    call.room(initial.len())?;
    let mut queue: VecDeque<&Value> = initial.iter().collect();
    let mut seen: BTreeSet<&Value> = BTreeSet::new();
    while let Some(node) = queue.pop_front() {
        call.sorting(u64::from(node.weight()).saturating_mul(2), graph.len())?;
        if seen.contains(node) {
            continue;
        }
        let Some(edges) = edges(graph, node) else { continue };
        seen.insert(node);
        call.room(1 + edges.len())?;
        queue.extend(edges);
    }
    let members = seen.into_iter().cloned().collect();
    Ok(Value::Set(Rc::new(Set::of_sorted(members)?)))
}

/// Every path from a first node on, until it ends, leaves the graph, or would come back to where it was.
fn reachable_paths(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [graph, initial] = all(args)?;
    let graph = object(graph)?;
    let mut found = Paths { paths: Vec::new() };
    for first in items(initial)? {
        call.sorting(u64::from(first.weight()), graph.len())?;
        match edges(graph, first) {
            None => {}
            Some([]) => found.add(call, &[first])?,
            Some(next) => found.follow(call, graph, first, next)?,
        }
    }
    call.sorting(found.paths.iter().map(|path| u64::from(path.weight())).sum(), found.paths.len())?;
    Ok(Value::set(found.paths)?)
}

struct Paths {
    paths: Vec<Value>,
}

impl Paths {
    fn add(&mut self, call: &mut Call<'_>, path: &[&Value]) -> Result<(), Fault> {
        call.room(1 + path.len())?;
        self.paths.push(Value::array(path.iter().map(|node| (*node).clone()).collect())?);
        Ok(())
    }

    fn follow<'a>(
        &mut self,
        call: &mut Call<'_>,
        graph: &'a Object,
        first: &'a Value,
        next: &'a [Value],
    ) -> Result<(), Fault> {
        let mut path = vec![first];
        let mut on_path = BTreeSet::from([first]);
        // What is left to try at each node of the path, and whether the node was not on it before.
        let mut open = vec![(next.iter(), false)];
        while let Some((left, is_new)) = open.last_mut() {
            let Some(node) = left.next() else {
                if let Some(last) = path.pop()
                    && *is_new
                {
                    on_path.remove(last);
                }
                open.pop();
                continue;
            };
            call.sorting(u64::from(node.weight()).saturating_mul(2), graph.len())?;
            // The first node may come twice: it is not looked for among its own edges.
            if open.len() > 1 && on_path.contains(node) {
                self.add(call, &path)?;
                continue;
            }
            match edges(graph, node) {
                None => self.add(call, &path)?,
                Some([]) => {
                    path.push(node);
                    self.add(call, &path)?;
                    path.pop();
                }
                Some(next) => {
                    call.room(1)?;
                    path.push(node);
                    open.push((next.iter(), on_path.insert(node)));
                }
            }
        }
        Ok(())
    }
}

/// The steps from a value to one within it, as far as they are asked for.
#[derive(Clone, Debug)]
pub enum Step {
    /// This key alone.
    Key(Value),
    /// Any key.
    Any,
}

/// Walks through a value, outer values before inner ones, in order: pairs of path and value.
#[derive(Debug)]
pub struct Walk {
    /// What is open, and which part of it comes next.
    open: Vec<(Value, usize)>,
    path: Vec<Value>,
    pattern: Vec<Step>,
    paths: bool,
    first: Option<Value>,
}

impl Walk {
    /// A walk through `value`. Only what lies at or below `pattern` is given; without `paths` every path is
    /// `[]`, which costs nothing.
    pub fn new(value: Value, pattern: Vec<Step>, paths: bool) -> Walk {
        Walk { open: Vec::new(), path: Vec::new(), pattern, paths, first: Some(value) }
    }

    /// The next pair of path and value.
    pub fn next(&mut self, budget: &mut Budget) -> Result<Option<(Value, Value)>, Fault> {
        loop {
            budget.step(1)?;
            let Some((key, value)) = self.advance() else { return Ok(None) };
            if self.paths
                && let Some(key) = key
            {
                self.path.push(key);
            }
            let depth = self.open.len();
            if !matches!(value, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) {
                self.open.push((value.clone(), 0));
            } else {
                // Opened and closed at once, so that the path is cut in one place.
                self.open.push((Value::Null, 0));
            }
            if depth >= self.pattern.len() {
                let length = if self.paths { self.path.len() } else { 0 };
                budget.step(length as u64 / 4)?;
                budget.bytes((VALUE_BYTES * (1 + length)) as u64)?;
                return Ok(Some((Value::array(self.path.clone())?, value)));
            }
        }
    }

    /// Goes to the next value: the key it has in what holds it, and the value.
    fn advance(&mut self) -> Option<(Option<Value>, Value)> {
        if let Some(first) = self.first.take() {
            return Some((None, first));
        }
        loop {
            let depth = self.open.len();
            let (within, at) = self.open.last_mut()?;
            let next = match self.pattern.get(depth.wrapping_sub(1)) {
                Some(Step::Key(key)) if *at == 0 => within.get(key).map(|value| (key.clone(), value.clone())),
                Some(Step::Key(_)) => None,
                _ => match within {
                    Value::Array(array) => {
                        let index = i64::try_from(*at).unwrap_or(i64::MAX);
                        array.items().get(*at).map(|item| (Value::from(index), item.clone()))
                    }
                    Value::Object(object) => object.pairs().get(*at).cloned(),
                    Value::Set(set) => set.members().get(*at).map(|item| (item.clone(), item.clone())),
                    _ => None,
                },
            };
            *at += 1;
            match next {
                Some((key, value)) => return Some((Some(key), value)),
                None => {
                    self.open.pop();
                    self.path.pop();
                }
            }
        }
    }
}

/// Every pair as an array of them, for who has no use for them one by one.
fn all_pairs(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let mut walk = Walk::new(value.clone(), Vec::new(), true);
    let mut pairs = Vec::new();
    while let Some((path, value)) = walk.next(call.budget)? {
        call.room(3)?;
        pairs.push(Value::array(vec![path, value])?);
    }
    Ok(Value::array(pairs)?)
}
