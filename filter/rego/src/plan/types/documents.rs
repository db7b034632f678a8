//! The types of the documents that rules define.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::{FunctionType, Known, MOST_MEMBERS, Type, or};
use crate::builtins::Builtin;
use crate::hash::Map;
use crate::plan::tree::{NodeId, RuleTree};
use crate::value::Value;

/// What is known of the documents that rules define, by node of the rule tree.
#[derive(Debug, Default)]
pub(crate) struct Types {
    nodes: Vec<Known>,
    /// There is a type here or below.
    on_path: Vec<bool>,
    builtins: Map<&'static str, Rc<FunctionType>>,
    /// Of each node of the tree, the one that it is below.
    parents: Vec<NodeId>,
}

impl Types {
    pub(super) fn node(&self, id: NodeId) -> Known {
        self.nodes.get(id as usize).cloned().flatten()
    }

    pub(super) fn is_on_path(&self, id: NodeId) -> bool {
        self.on_path.get(id as usize) == Some(&true)
    }

    pub(super) fn builtin(&mut self, builtin: &'static Builtin) -> Rc<FunctionType> {
        let make = || {
            let args = builtin.args.iter().map(|t| Some(Type::of_table(t))).collect();
            let result = Some(Type::of_table(&builtin.result));
            Rc::new(FunctionType { args, result, variadic: builtin.variadic })
        };
        self.builtins.entry(builtin.name).or_insert_with(make).clone()
    }

    /// The nodes above some nodes.
    pub(super) fn above(&mut self, nodes: &BTreeSet<NodeId>, tree: &RuleTree) -> BTreeSet<NodeId> {
        if self.parents.len() != tree.nodes.len() {
            self.parents = vec![0; tree.nodes.len()];
            for (id, node) in tree.nodes.iter().enumerate() {
                for child in node.children.values() {
                    self.parents.get_mut(*child as usize).into_iter().for_each(|p| *p = id as NodeId);
                }
            }
        }
        let mut above = BTreeSet::new();
        for node in nodes {
            let mut at = *node;
            while at != 0 {
                at = self.parents.get(at as usize).copied().unwrap_or(0);
                if !above.insert(at) {
                    break;
                }
            }
        }
        above
    }

    /// Any value may stand at a node.
    pub(super) fn take_any(&mut self, id: NodeId) {
        if let Some(slot) = self.nodes.get_mut(id as usize) {
            *slot = Some(Type::any());
        }
    }

    /// Puts the type of a rule at its node; objects on the way and below are merged.
    pub(super) fn insert(&mut self, path: &[(NodeId, Value)], of: Type, tree: &RuleTree) {
        let length = tree.nodes.len();
        self.nodes.resize_with(length.max(self.nodes.len()), || None);
        self.on_path.resize(length.max(self.on_path.len()), false);
        for (at, (id, _)) in path.iter().enumerate() {
            if let Some(flag) = self.on_path.get_mut(*id as usize) {
                *flag = true;
            }
            let below: Vec<&Value> = path.iter().skip(at + 1).map(|(_, key)| key).collect();
            if below.is_empty() {
                continue;
            }
            if let Some(Some(Type::Object(object))) = self.nodes.get(*id as usize) {
                let merged = into_object(object.rest.clone(), object.fields.clone(), &below, &of);
                if let Some(slot) = self.nodes.get_mut(*id as usize) {
                    *slot = Some(merged);
                }
            }
        }
        let Some((last, _)) = path.last() else { return };
        let before = self.node(*last);
        let mut merged = merge(before, Some(of.clone()));
        if matches!(of, Type::Object(_)) {
            let mut leaves = Vec::new();
            self.leaves(*last, &mut Vec::new(), tree, &mut leaves);
            for (path, leaf) in leaves.into_iter().take(MOST_MEMBERS) {
                if let Some(Type::Object(object)) = &merged {
                    let path: Vec<&Value> = path.iter().collect();
                    merged = Some(into_object(object.rest.clone(), object.fields.clone(), &path, &leaf));
                }
            }
        }
        if let Some(slot) = self.nodes.get_mut(*last as usize) {
            *slot = merged;
        }
    }

    fn leaves(&self, id: NodeId, path: &mut Vec<Value>, tree: &RuleTree, out: &mut Vec<(Vec<Value>, Type)>) {
        let Some(node) = tree.node(id) else { return };
        for (key, child) in &node.children {
            if out.len() > MOST_MEMBERS {
                return;
            }
            path.push(key.clone());
            match self.node(*child) {
                Some(of) => out.push((path.clone(), of)),
                None => self.leaves(*child, path, tree, out),
            }
            path.pop();
        }
    }
}

/// An object type with another path and value in it.
fn into_object(
    rest: Option<(Known, Known)>,
    fields: Vec<(Value, Known)>,
    path: &[&Value],
    of: &Type,
) -> Type {
    let Some((first, below)) = path.split_first() else { return Type::object(fields, rest) };
    let value = if below.is_empty() { of.clone() } else { into_object(None, Vec::new(), below, of) };
    let key = Some(Type::of(first));
    let rest = match rest {
        Some((k, v)) => (or(k, key), or(v, Some(value))),
        None => (key, Some(value)),
    };
    Type::object(fields, Some(rest))
}

/// The type of a document that two definitions contribute to.
fn merge(a: Known, b: Known) -> Known {
    match (&a, &b) {
        (Some(Type::Object(x)), Some(Type::Object(y))) if x.fields.is_empty() && y.fields.is_empty() => {
            match (&x.rest, &y.rest) {
                (Some((kx, vx)), Some((ky, vy))) => Some(Type::object(
                    Vec::new(),
                    Some((or(kx.clone(), ky.clone()), merge(vx.clone(), vy.clone()))),
                )),
                _ => or(a, b),
            }
        }
        (Some(Type::Set(x)), Some(Type::Set(y))) => Some(Type::set(or(x.of.clone(), y.of.clone()))),
        _ => or(a, b),
    }
}
