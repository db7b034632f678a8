//! What a `with` changes in the types of documents, while the expression that it stands at is checked.
//!
//! Source: `v1/ast/check.go` (`withEnv`), `v1/ast/env.go` (`wrapWith`, `getRefRec`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::{Known, MOST_DEPTH, Type};
use crate::plan::tree::{NodeId, RuleTree};
use crate::syntax::tree::{Sym, Term, TermValue};
use crate::value::Value;

/// One layer over the types of documents.
pub(super) enum Layer {
    /// What is replaced, with the type that it can have.
    Replaced(Tree),
    /// Rules that depend on what is replaced: any value.
    Dependents(Rc<Dependents>),
}

/// Types by path; the first step is the root.
#[derive(Default)]
pub(super) struct Tree {
    of: Known,
    below: BTreeMap<Key, Tree>,
}

/// A step of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Root(Sym),
    Step(Value),
}

/// Nodes of the rule tree, and those above them.
pub(super) struct Dependents {
    pub(super) nodes: BTreeSet<NodeId>,
    pub(super) above: BTreeSet<NodeId>,
}

/// A place in a layer.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Tree(&'a Tree),
    Node(&'a Dependents, NodeId),
}

pub(super) fn key_of(term: &Term) -> Option<Key> {
    match &term.value {
        TermValue::Var(sym @ (Sym::INPUT | Sym::DATA)) => Some(Key::Root(*sym)),
        _ => term.constant().map(Key::Step),
    }
}

impl Tree {
    /// Puts a type at a path, as far as it is constant; below [`MOST_DEPTH`] any value is taken.
    pub(super) fn put(&mut self, path: &[Term], of: Type) {
        let mut at = self;
        for key in path.iter().take(MOST_DEPTH as usize).map_while(key_of) {
            at = at.below.entry(key).or_default();
        }
        at.of = Some(if path.len() > MOST_DEPTH as usize { Type::any() } else { of });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.below.is_empty()
    }

    fn extent(&self) -> Type {
        if let Some(of) = &self.of {
            return of.clone();
        }
        let fields = self.below.iter().filter_map(|(key, tree)| match key {
            Key::Step(key @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) => {
                Some((key.clone(), Some(tree.extent())))
            }
            _ => None,
        });
        Type::object(fields.collect(), Some((Some(Type::String), Some(Type::any()))))
    }
}

impl Layer {
    /// The place of a root, if anything below it is in the layer.
    pub(super) fn root(&self, root: Sym) -> Option<Place<'_>> {
        match self {
            Layer::Replaced(tree) => tree.below.get(&Key::Root(root)).map(Place::Tree),
            Layer::Dependents(dependents) => {
                (root == Sym::DATA && !dependents.nodes.is_empty()).then_some(Place::Node(dependents, 0))
            }
        }
    }
}

impl<'a> Place<'a> {
    pub(super) fn child(self, term: &Term, rules: &RuleTree) -> Option<Place<'a>> {
        match self {
            Place::Tree(tree) => tree.below.get(&key_of(term)?).map(Place::Tree),
            Place::Node(all, id) => {
                let child = rules.child(id, term.as_scalar()?)?;
                (all.nodes.contains(&child) || all.above.contains(&child)).then_some(Place::Node(all, child))
            }
        }
    }

    /// The type that stands here.
    pub(super) fn leaf(self) -> Known {
        match self {
            Place::Tree(tree) => tree.of.clone(),
            Place::Node(all, id) => all.nodes.contains(&id).then(Type::any),
        }
    }

    /// The type of all that is here and below.
    pub(super) fn extent(self, rules: &RuleTree) -> Type {
        self.extent_within(rules, MOST_DEPTH)
    }

    fn extent_within(self, rules: &RuleTree, depth: u32) -> Type {
        match self {
            Place::Tree(tree) => tree.extent(),
            Place::Node(all, id) => {
                let Some(depth) = depth.checked_sub(1).filter(|_| !all.nodes.contains(&id)) else {
                    return Type::any();
                };
                let below = rules.node(id).into_iter().flat_map(|node| &node.children);
                let below = below.filter(|(_, child)| all.nodes.contains(child) || all.above.contains(child));
                let of = |child| Place::Node(all, child).extent_within(rules, depth);
                let fields = below.map(|(key, child)| (key.clone(), Some(of(*child))));
                Type::object(fields.collect(), Some((Some(Type::String), Some(Type::any()))))
            }
        }
    }
}
