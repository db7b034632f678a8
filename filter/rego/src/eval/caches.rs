//! What was evaluated in a context is not evaluated again in it.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use crate::plan::NodeId;
use crate::value::Value;

/// Node numbers are spread well enough by a multiplication.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(20);
    }
}

pub(crate) type ByNode<T> = HashMap<NodeId, T, BuildHasherDefault<Spread>>;

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
