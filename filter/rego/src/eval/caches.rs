//! What was evaluated in a context is not evaluated again in it.

use std::collections::BTreeMap;

use crate::hash::Map;
use crate::plan::NodeId;
use crate::value::Value;

/// The most entries that are looked through one by one.
const FEW: usize = 12;

/// Something for each of some nodes, mostly few.
#[derive(Debug)]
pub(crate) struct ByNode<T> {
    few: Vec<(NodeId, T)>,
    many: Map<NodeId, T>,
}

impl<T> Default for ByNode<T> {
    fn default() -> Self {
        ByNode { few: Vec::new(), many: Map::default() }
    }
}

impl<T> ByNode<T> {
    pub(crate) fn get(&self, id: NodeId) -> Option<&T> {
        match self.few.iter().find(|(have, _)| *have == id) {
            Some((_, found)) => Some(found),
            None if self.many.is_empty() => None,
            None => self.many.get(&id),
        }
    }

    pub(crate) fn insert(&mut self, id: NodeId, value: T) {
        if self.few.len() < FEW {
            self.few.push((id, value));
        } else {
            self.many.insert(id, value);
        }
    }
}

/// `None` inside stands for "undefined".
#[derive(Debug, Default)]
pub(crate) struct Caches {
    /// Complete rules, and partial ones as a whole.
    pub(crate) whole: ByNode<Option<Value>>,
    /// Partial rules by key.
    pub(crate) by_key: BTreeMap<(NodeId, Vec<Value>), Option<Value>>,
    /// Functions by arguments.
    pub(crate) calls: BTreeMap<(NodeId, Vec<Value>), Option<Value>>,
    /// Comprehensions that are evaluated once: by number, then by key.
    pub(crate) comprehensions: ByNode<std::rc::Rc<BTreeMap<Vec<Value>, Value>>>,
}
