//! `data`: rules and base documents under one root, and what `with` puts over them.
//!
//! Source: `v1/topdown/eval.go` (`evalTree`, `Resolve`).

use std::rc::Rc;

use super::context::{Context, Mocked, merge};
use super::jobs::Ask;
use super::machine::{Alternatives, Flow, Machine, Role};
use super::references::base_get;
use super::watch::Watch;
use crate::builtins::Fault;
use crate::index::Resolve;
use crate::plan::{NodeId, Out, Path, Plan};
use crate::value::Value;

/// A place of `data`.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The node of the rule tree, while rules are below.
    node: Option<NodeId>,
    /// The base document here.
    base: Option<Value>,
    /// What `with` puts over it.
    over: Option<Value>,
    /// Only the replacement counts.
    replaced: bool,
    /// Kept only where something is replaced.
    path: Vec<Value>,
}

impl Place {
    fn root(data: &Value, context: &Context) -> Place {
        Place {
            node: Some(0),
            base: Some(data.clone()),
            over: context.replaced.clone(),
            replaced: context.is_target(&[]),
            path: Vec::new(),
        }
    }

    fn step(&mut self, key: &Value, plan: &Plan, context: &Context) {
        self.base = self.base.as_ref().and_then(|d| base_get(d, key)).cloned();
        self.over = self.over.as_ref().and_then(|d| d.get(key)).cloned();
        if context.targets.is_some() {
            self.path.push(key.clone());
            self.replaced = self.replaced || context.is_target(&self.path);
        }
        self.node = match self.node {
            Some(node) if !self.replaced => plan.node(node).and_then(|n| n.child(key)),
            _ => None,
        };
    }
}

/// All below a place that is being evaluated.
pub(crate) struct Extent {
    root: NodeId,
    /// The document under the rules.
    base: Option<Value>,
    /// Nodes with rules, and what a `with` puts in their place.
    leaves: Vec<(NodeId, Option<Option<Value>>)>,
    next: usize,
    values: Vec<(NodeId, Option<Value>)>,
}

impl Extent {
    pub(crate) fn put(&mut self, value: Option<Value>) {
        if let Some((node, _)) = self.leaves.get(self.next) {
            self.values.push((*node, value));
            self.next += 1;
        }
    }
}

impl<'p, W: Watch> Machine<'p, W> {
    /// A reference from `data` down, step by step.
    pub(crate) fn start_at_root(&mut self, path: &'p Path, out: &'p Out) -> Result<Flow, Fault> {
        let Some(context) = self.context() else { return Ok(Flow::Fail) };
        let place = Place::root(self.data, &context);
        self.at_place(place, path, out, 0)
    }

    /// Goes on from a place, before a step.
    fn at_place(&mut self, place: Place, path: &'p Path, out: &'p Out, step: usize) -> Result<Flow, Fault> {
        let mut place = place;
        let mut step = step;
        loop {
            if place.node.is_none() {
                let over = place.over.take();
                let base = !place.replaced && over.is_none();
                let document = if place.replaced { over } else { self.merged(over, place.base.take())? };
                return match document {
                    Some(value) => self.go(path, out, value, step, base),
                    None => Ok(Flow::Fail),
                };
            }
            let Some(pattern) = path.steps.get(step) else { return self.extent(place, out, step) };
            let Some(key) = self.key(pattern)? else { return self.keys(place, step) };
            match self.step_into(&mut place, &key)? {
                Some(node) => return self.virtual_document(node, path, out, step + 1),
                None => step += 1,
            }
        }
    }

    /// Takes a step; the node, if rules are there.
    fn step_into(&mut self, place: &mut Place, key: &Value) -> Result<Option<NodeId>, Fault> {
        let Some(context) = self.context() else { return Ok(None) };
        self.step(1 + context.target_steps())?;
        place.step(key, self.plan, &context);
        let node = place
            .node
            .filter(|id| self.plan.node(*id).is_some_and(|n| !n.rules.is_empty() || n.default.is_some()));
        Ok(node)
    }

    /// One key of a place was chosen.
    pub(crate) fn enter_place(
        &mut self,
        mut place: Place,
        key: &Value,
        path: &'p Path,
        out: &'p Out,
        step: usize,
    ) -> Result<Flow, Fault> {
        match self.step_into(&mut place, key)? {
            Some(node) => self.virtual_document(node, path, out, step + 1),
            None => self.at_place(place, path, out, step + 1),
        }
    }

    /// All keys of a place become a choice: those of documents first, then those of rules.
    fn keys(&mut self, place: Place, step: usize) -> Result<Flow, Fault> {
        let document = if place.replaced {
            place.over.clone()
        } else {
            self.merged(place.over.clone(), place.base.clone())?
        };
        let mut keys: Vec<Value> = match &document {
            Some(Value::Object(object)) => object.keys().cloned().collect(),
            Some(Value::Array(array)) => (0..array.len()).map(|i| Value::from(i as i64)).collect(),
            Some(Value::Set(set)) => set.members().to_vec(),
            _ => Vec::new(),
        };
        if let Some(node) = place.node.and_then(|id| self.plan.node(id)) {
            let has = |key: &Value| document.as_ref().is_some_and(|d| d.get(key).is_some());
            keys.extend(node.children.iter().map(|(key, _)| key).filter(|key| !has(key)).cloned());
        }
        self.step(keys.len())?;
        self.bytes(16 * keys.len() + 64)?;
        if !keys.is_empty() {
            self.leave(Alternatives::Keys { place: Box::new(place), keys: keys.into(), next: 0, step });
        }
        Ok(Flow::Fail)
    }

    /// All that is at a place and below it.
    fn extent(&mut self, place: Place, out: &'p Out, step: usize) -> Result<Flow, Fault> {
        let Some(root) = place.node else { return Ok(Flow::Fail) };
        let Some(context) = self.context() else { return Ok(Flow::Fail) };
        let mut base = self.merged(place.over.clone(), place.base)?;
        if root == 0 {
            base = without_system(base)?;
        }
        let mut leaves = Vec::new();
        let plan = self.plan;
        let mut open: Vec<(NodeId, Vec<Value>)> = vec![(root, place.path)];
        while let Some((id, path)) = open.pop() {
            let Some(node) = plan.node(id) else { continue };
            self.step(1 + context.target_steps())?;
            if id != root && (!node.rules.is_empty() || node.default.is_some()) {
                if node.arity == 0 {
                    let hidden = (context.targets.is_some() && context.is_target(&path)).then(|| {
                        let replaced = context.replaced.as_ref();
                        path.iter().try_fold(replaced?, |document, key| document.get(key)).cloned()
                    });
                    leaves.push((id, hidden));
                }
                continue;
            }
            for (key, child) in node.children.iter().rev() {
                if plan.node(*child).is_some_and(|n| n.hide) {
                    continue;
                }
                let mut below = Vec::new();
                if context.targets.is_some() {
                    below.clone_from(&path);
                    below.push(key.clone());
                }
                open.push((*child, below));
            }
        }
        let _ = out;
        if let Some(frame) = self.frames.last_mut() {
            frame.resume = step;
        }
        let extent = Extent { root, base, leaves, next: 0, values: Vec::new() };
        self.open_window(0)?;
        self.push(&[], context, Role::Extent(Box::new(extent)))?;
        Ok(Flow::Leaf)
    }

    /// Evaluates the next leaf of the extent on top, or ends it.
    pub(crate) fn next_leaf(&mut self) -> Result<Flow, Fault> {
        let plan = self.plan;
        loop {
            let Some(frame) = self.frames.last_mut() else { return Ok(Flow::Fail) };
            let Role::Extent(extent) = &mut frame.role else { return Ok(Flow::Fail) };
            let Some((id, hidden)) = extent.leaves.get_mut(extent.next) else { break };
            let id = *id;
            if let Some(hidden) = hidden.take() {
                extent.put(hidden);
                continue;
            }
            let context = frame.context.clone();
            let cached = context.caches.borrow().whole.get(id).cloned();
            if let Some(value) = cached {
                extent.put(value);
                continue;
            }
            let Some(node) = plan.node(id) else { continue };
            let ask =
                if node.ground && !node.set { Ask::Complete } else { Ask::Partial { keys: Vec::new() } };
            return self.start(id, ask, context, 0);
        }
        let Some(frame) = self.frames.last_mut() else { return Ok(Flow::Fail) };
        let Role::Extent(extent) = &mut frame.role else { return Ok(Flow::Fail) };
        let (root, base) = (extent.root, extent.base.take());
        let mut values = std::mem::take(&mut extent.values).into_iter();
        let count = values.len();
        self.bytes(64 * count + 64)?;
        let tree = build(plan, root, root, &mut values)?;
        let answer = match (tree, base) {
            (Some(tree), Some(base)) => Some(merge(&base, &tree)?),
            (tree, base) => tree.or(base),
        };
        Ok(Flow::Finish(answer))
    }
}

/// The object of all rules below a node; `values` come in the order in which they were evaluated.
fn build(
    plan: &Plan,
    id: NodeId,
    root: NodeId,
    values: &mut std::vec::IntoIter<(NodeId, Option<Value>)>,
) -> Result<Option<Value>, Fault> {
    let Some(node) = plan.node(id) else { return Ok(None) };
    if id != root && (!node.rules.is_empty() || node.default.is_some()) {
        if node.arity > 0 {
            return Ok(None);
        }
        return Ok(values.next().and_then(|(_, value)| value));
    }
    let mut pairs = Vec::new();
    for (key, child) in &node.children {
        if plan.node(*child).is_some_and(|n| n.hide) {
            continue;
        }
        if let Some(value) = build(plan, *child, root, values)? {
            pairs.push((key.clone(), value));
        }
    }
    Ok(Some(Value::object(pairs)?))
}

/// `data.system` is not part of `data` as a whole.
fn without_system(base: Option<Value>) -> Result<Option<Value>, Fault> {
    match base {
        Some(Value::Object(object)) if object.get_str(b"system").is_some() => {
            let mut object = (*object).clone();
            object.remove(&Value::from("system"));
            Ok(Some(Value::Object(Rc::new(object))))
        }
        other => Ok(other),
    }
}

/// What the index reads documents through.
pub(crate) struct Resolver<'a, 'p, W> {
    pub(crate) machine: &'a mut Machine<'p, W>,
    pub(crate) context: &'a Rc<Context>,
    pub(crate) args: &'a [Value],
}

impl<W: Watch> Resolve for Resolver<'_, '_, W> {
    fn input(&mut self, path: &[Value]) -> Option<Value> {
        path.iter().try_fold(self.context.input.as_ref()?, |document, key| document.get(key)).cloned()
    }

    fn data(&mut self, path: &[Value]) -> Result<Option<Value>, Fault> {
        let base = path.iter().try_fold(self.machine.data, |at, key| base_get(at, key)).cloned();
        if self.context.targets.is_none() {
            return Ok(base);
        }
        self.machine.step(self.context.target_steps() * (path.len() + 1))?;
        let over = self.context.replaced.as_ref();
        let over = over.and_then(|root| path.iter().try_fold(root, |at, key| at.get(key))).cloned();
        let replaced = (0..=path.len()).any(|n| self.context.is_target(path.get(..n).unwrap_or_default()));
        if replaced {
            return Ok(over);
        }
        self.machine.merged(over, base)
    }

    fn argument(&self, index: usize) -> Option<Value> {
        self.args.get(index).cloned()
    }

    fn step(&mut self, count: usize) -> Result<(), Fault> {
        self.machine.step(count)
    }

    fn replaces_builtins(&self) -> bool {
        self.context
            .mocks
            .iter()
            .flat_map(|m| m.iter())
            .any(|(mocked, _)| matches!(mocked, Mocked::Builtin(_)))
    }
}
