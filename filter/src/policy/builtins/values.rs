//! Arrays, sets, objects and graphs: what is copied level by level, and what is gone into on the stack.

use std::collections::BTreeSet;

use anyhow::Result;
use regorus::{Value, value::Object};

use super::{
    limits::{Extent, MAX_BYTES, MAX_DEPTH, MAX_VALUES, MAX_WORK, Refusal, VALUE_BYTES, compared, within},
    original, text_of,
};

/// What `serde_json` gives a number as; the engine takes it for one wherever it reads JSON.
const PRIVATE_NUMBER: &str = "$serde_json::private::Number";

/// A document is patched as a tree of another kind, which is made and unmade for each call.
const MAX_PATCHED_VALUES: usize = MAX_VALUES / 4;

/// What goes through its arguments.
pub(super) fn whole(args: &[Value]) -> Result<(), Refusal> {
    Extent::of_all(args).map(|_| ())
}

/// What looks up keys: what is the same many times within a key is compared as often.
pub(super) fn lookup(args: &[Value]) -> Result<(), Refusal> {
    args.get(1).map_or(Ok(()), |key| compared(key).map(|_| ()))
}

/// What goes over the keys of its arguments, of arrays and sets over their elements.
pub(super) fn keys(args: &[Value]) -> Result<(), Refusal> {
    shallow(args)?;
    let mut values = 0_usize;
    for arg in args {
        let mut count = |key| -> Result<(), Refusal> {
            values += compared(key)?;
            within(values, MAX_VALUES, Refusal::Values)
        };
        match arg {
            Value::Object(object) => object.keys().try_for_each(&mut count)?,
            Value::Array(array) => array.iter().try_for_each(&mut count)?,
            Value::Set(set) => set.iter().try_for_each(&mut count)?,
            _ => {}
        }
    }
    Ok(())
}

/// What copies the outermost level of its arguments.
pub(super) fn shallow(args: &[Value]) -> Result<(), Refusal> {
    within(args.iter().map(held).sum(), MAX_VALUES, Refusal::Values)
}

fn held(value: &Value) -> usize {
    match value {
        Value::Array(array) => array.len(),
        Value::Set(set) => set.len(),
        Value::Object(object) => object.len(),
        _ => 0,
    }
}

pub(super) fn walk(args: &[Value]) -> Result<(), Refusal> {
    let extent = Extent::of_all(args)?;
    // A path and a pair for each value, and its place in the path of each value below it.
    let pairs = extent.values.saturating_mul(3 * VALUE_BYTES);
    within(pairs.saturating_add(extent.levels.saturating_mul(VALUE_BYTES / 2)), MAX_BYTES, Refusal::Size)
}

/// One after the other would copy what there is once for each set.
pub(super) fn union_of_sets(_: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::Set(sets)] = args else { return Ok(Value::Undefined) };
    whole(args)?;
    let mut union = BTreeSet::new();
    for set in sets.iter() {
        let Value::Set(set) = set else { return Ok(Value::Undefined) };
        union.extend(set.iter().cloned());
    }
    Ok(Value::from(union))
}

pub(super) fn intersection_of_sets(name: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::Set(sets)] = args else { return Ok(Value::Undefined) };
    if sets.iter().any(|set| !matches!(set, Value::Set(_))) {
        return Ok(Value::Undefined);
    }
    whole(args)?;
    original(name, args)
}

/// Where both have an object, the level is copied and its fields are gone into.
pub(super) fn union(args: &[Value]) -> Result<(), Refusal> {
    let [one, other] = args else { return Ok(()) };
    let mut copied = 0_usize;
    let mut pending = vec![(one, other, 1)];
    while let Some((one, other, depth)) = pending.pop() {
        let (Value::Object(one), Value::Object(other)) = (one, other) else { continue };
        within(depth, MAX_DEPTH, Refusal::Depth)?;
        copied += one.len() + other.len() + 1;
        for key in other.keys() {
            copied += compared(key)?;
            within(copied, MAX_VALUES, Refusal::Values)?;
        }
        pending.extend(
            other.iter().filter_map(|(key, value)| one.get(key).map(|field| (field, value, depth + 1))),
        );
    }
    Ok(())
}

/// What has been put together so far is copied for each object.
pub(super) fn union_n(args: &[Value]) -> Result<(), Refusal> {
    let [Value::Array(objects)] = args else { return Ok(()) };
    let extent = Extent::of_all(args)?;
    within(extent.values.saturating_mul(objects.len()), MAX_WORK / 8, Refusal::Work)
}

/// Source: OPA's `object.subset`: objects recurse, arrays match as a contiguous run, an array may hold a set.
pub(super) fn subset(_: &'static str, args: &[Value]) -> Result<Value> {
    let [sup, sub] = args else { return Ok(Value::Undefined) };
    let mut work_left = MAX_WORK;
    Ok(is_subset(sup, sub, MAX_DEPTH, &mut work_left)?.map_or(Value::Undefined, Value::from))
}

fn is_subset(sup: &Value, sub: &Value, depth: usize, work_left: &mut usize) -> Result<Option<bool>, Refusal> {
    let depth = depth.checked_sub(1).ok_or(Refusal::Depth)?;
    let mut spend = |work: usize| -> Result<(), Refusal> {
        *work_left = work_left.checked_sub(work).ok_or(Refusal::Work)?;
        Ok(())
    };
    Ok(Some(match (sup, sub) {
        (Value::Object(sup), Value::Object(sub)) => {
            for (key, sub_value) in sub.iter() {
                compared(key)?;
                let Some(sup_value) = sup.get(key) else { return Ok(Some(false)) };
                let known = is_subset(sup_value, sub_value, depth, work_left)?;
                if !known.map_or_else(|| same(sup_value, sub_value), Ok)? {
                    return Ok(Some(false));
                }
            }
            true
        }
        (Value::Set(sup), Value::Set(sub)) => {
            spend(Extent::of_all(sub.iter())?.values)?;
            sub.iter().all(|value| sup.contains(value))
        }
        (Value::Array(sup), Value::Array(sub)) => {
            let size = Extent::of_all(sub.iter())?.values;
            let (sup, sub) = (sup.as_slice(), sub.as_slice());
            spend((sup.len().saturating_sub(sub.len()) + 1).saturating_mul(size))?;
            sub.is_empty() || sup.windows(sub.len()).any(|window| window == sub)
        }
        (Value::Array(sup), Value::Set(sub)) => {
            let size = Extent::of_all(sub.iter())?.values;
            spend(sup.len().saturating_mul(size))?;
            sub.iter().all(|value| sup.as_slice().iter().any(|held| held == value))
        }
        _ => return Ok(None),
    }))
}

/// Whether values of other kinds are equal.
fn same(one: &Value, other: &Value) -> Result<bool, Refusal> {
    Extent::of(other)?;
    Ok(one == other)
}

/// Keys of a path: its place in the document that it names. One of more keys than a document has levels names none.
fn path_length(path: &Value) -> usize {
    match path {
        Value::String(text) => text.matches('/').count() + 1,
        path => held(path),
    }
}

/// The engine makes a tree of the paths, one level for each key.
pub(super) fn paths(args: &[Value]) -> Result<(), Refusal> {
    let [_, paths] = args else { return Ok(()) };
    let check = |path: &Value| -> Result<(), Refusal> {
        within(path_length(path), MAX_DEPTH, Refusal::Depth)?;
        let reserved = match path {
            Value::String(text) => text.contains(PRIVATE_NUMBER),
            Value::Array(keys) => keys.iter().filter_map(text_of).any(|key| key.contains(PRIVATE_NUMBER)),
            _ => false,
        };
        if reserved {
            Err(Refusal::Unsupported("a path has a key that the engine cannot read"))
        } else {
            Ok(())
        }
    };
    Extent::of(paths)?;
    match paths {
        Value::Array(paths) => paths.iter().try_for_each(check),
        Value::Set(paths) => paths.iter().try_for_each(check),
        _ => Ok(()),
    }
}

/// Every level that a path leads into is copied.
pub(super) fn remove_paths(args: &[Value]) -> Result<(), Refusal> {
    whole(args)?;
    paths(args)
}

/// Operations may copy the document into itself, and so double it each time.
pub(super) fn patch(args: &[Value]) -> Result<(), Refusal> {
    let [target, Value::Array(operations)] = args else { return Ok(()) };
    let Extent { mut values, mut depth, .. } = Extent::of(target)?;
    within(values, MAX_PATCHED_VALUES, Refusal::Work)?;
    Extent::of_all(operations.iter())?;
    let mut work = 0_usize;
    for operation in operations.iter() {
        let Ok(operation) = operation.as_object() else { return Ok(()) };
        let field = |name: &str| operation.get(&Value::from(name));
        let length = field("path").map_or(0, path_length);
        match field("op").and_then(text_of) {
            Some("copy") => {
                values = values.saturating_mul(2);
                depth = depth.saturating_add(length);
            }
            Some("move") => depth = depth.saturating_add(length),
            _ => {
                let added = field("value").map_or(Ok(Extent::default()), Extent::of)?;
                values = values.saturating_add(added.values);
                depth = depth.max(length.min(depth + 1).saturating_add(added.depth));
            }
        }
        within(values, MAX_PATCHED_VALUES, Refusal::Work)?;
        within(depth, MAX_DEPTH, Refusal::Depth)?;
        work = work.saturating_add(values);
        within(work, MAX_WORK / 8, Refusal::Work)?;
    }
    Ok(())
}

/// The nodes that edges lead to, from some.
pub(super) fn reachable(_: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::Object(graph), start] = args else { return Ok(Value::Undefined) };
    let mut reached = BTreeSet::new();
    let mut pending = nodes(start).unwrap_or_default();
    let mut seen = 0_usize;
    while let Some(node) = pending.pop() {
        seen += compared(node)?;
        within(seen, MAX_VALUES, Refusal::Values)?;
        let Some(edges) = graph.get(node) else { continue };
        if !reached.insert(node.clone()) {
            continue;
        }
        let edges = nodes(edges).unwrap_or_default();
        within(pending.len() + edges.len(), MAX_VALUES, Refusal::Values)?;
        pending.extend(edges);
    }
    Ok(Value::from(reached))
}

/// The paths along edges from some nodes, each until it comes to its end or to a node that it has.
pub(super) fn reachable_paths(_: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::Object(graph), start] = args else { return Ok(Value::Undefined) };
    let mut paths =
        Paths { graph, path: Vec::new(), on_path: BTreeSet::new(), found: BTreeSet::new(), held: 0 };
    for node in nodes(start).unwrap_or_default() {
        if !paths.follow(node)? {
            return Ok(Value::Undefined);
        }
    }
    Ok(Value::from(paths.found))
}

struct Paths<'a> {
    graph: &'a Object,
    path: Vec<&'a Value>,
    on_path: BTreeSet<&'a Value>,
    found: BTreeSet<Value>,
    /// Values in all paths that have been found or tried.
    held: usize,
}

// === impl Paths ===

impl<'a> Paths<'a> {
    /// False if edges are neither an array nor a set.
    fn follow(&mut self, start: &'a Value) -> Result<bool, Refusal> {
        let mut pending = vec![vec![start]];
        while let Some(siblings) = pending.last_mut() {
            let Some(node) = siblings.pop() else {
                pending.pop();
                if let Some(left) = self.path.pop() {
                    self.on_path.remove(left);
                }
                continue;
            };
            self.spend(compared(node)?)?;
            let edges = self.graph.get(node).filter(|_| text_of(node) != Some(""));
            match edges {
                Some(_) if self.on_path.contains(node) => self.record()?,
                None => self.record()?,
                Some(edges) => {
                    let next = match edges {
                        Value::Null => Vec::new(),
                        edges => match nodes(edges) {
                            Some(next) => next,
                            None => return Ok(false),
                        },
                    };
                    self.path.push(node);
                    self.on_path.insert(node);
                    if next.is_empty() {
                        self.record()?;
                    }
                    pending.push(next);
                }
            }
        }
        Ok(true)
    }

    fn record(&mut self) -> Result<(), Refusal> {
        self.spend(self.path.len())?;
        if !self.path.is_empty() {
            let path: Vec<Value> = self.path.iter().map(|node| (*node).clone()).collect();
            self.found.insert(Value::from(path));
        }
        Ok(())
    }

    fn spend(&mut self, values: usize) -> Result<(), Refusal> {
        self.held += values;
        within(self.held, MAX_VALUES, Refusal::Values)
    }
}

/// Elements of an array or a set.
fn nodes(value: &Value) -> Option<Vec<&Value>> {
    match value {
        Value::Array(array) => Some(array.iter().collect()),
        Value::Set(set) => Some(set.iter().collect()),
        _ => None,
    }
}
