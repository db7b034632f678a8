//! The trie itself.

use std::collections::HashMap;

use super::{Member, Resolve, Source};
use crate::builtins::Fault;
use crate::value::Value;

/// Which document a level is about.
pub(crate) type Level = u32;
type NodeId = u32;

/// Single-byte delimiters at which a text is split.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Glob(pub(crate) Box<[u8]>);

impl Glob {
    pub(crate) fn split<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        text.split(|b| self.0.contains(b))
    }
}

/// What a document has to be.
pub(crate) enum Key {
    Any,
    Scalar(Value),
    Array(Vec<Option<Value>>),
}

/// Where a member is put in a node.
pub(crate) enum Slot {
    /// It is met when the node is come to.
    Early(NodeId),
    /// It is met after all levels below, none of which it asks about.
    Tail(NodeId),
}

#[derive(Debug, Default)]
struct TrieNode {
    early: Vec<Member>,
    tail: Vec<Member>,
    /// Sorted by level, descending: what asks later is met earlier.
    levels: Vec<(Level, Branches)>,
    /// Within an array: what its next element leads to.
    any: Option<NodeId>,
    elements: HashMap<Value, NodeId>,
}

#[derive(Debug, Default)]
struct Branches {
    any: Option<NodeId>,
    scalars: HashMap<Value, NodeId>,
    array: Option<NodeId>,
    globs: Vec<Glob>,
}

#[derive(Debug)]
pub(crate) struct Trie {
    levels: Vec<Source>,
    nodes: Vec<TrieNode>,
    has_globs: bool,
}

impl Trie {
    pub(crate) fn new(levels: Vec<Source>) -> Trie {
        Trie { levels, nodes: vec![TrieNode::default()], has_globs: false }
    }

    pub(crate) fn root(&self) -> NodeId {
        0
    }

    pub(crate) fn has_globs(&self) -> bool {
        self.has_globs
    }

    pub(crate) fn add(&mut self, slot: Slot, member: Member) {
        let (id, early) = match slot {
            Slot::Early(id) => (id, true),
            Slot::Tail(id) => (id, false),
        };
        if let Some(node) = self.nodes.get_mut(id as usize) {
            let list = if early { &mut node.early } else { &mut node.tail };
            list.push(member);
        }
    }

    fn new_node(&mut self) -> NodeId {
        self.nodes.push(TrieNode::default());
        self.nodes.len() as NodeId - 1
    }

    fn branches(&mut self, at: NodeId, level: Level) -> Option<&mut Branches> {
        let node = self.nodes.get_mut(at as usize)?;
        let place = match node.levels.binary_search_by(|(have, _)| level.cmp(have)) {
            Ok(place) => place,
            Err(place) => {
                node.levels.insert(place, (level, Branches::default()));
                place
            }
        };
        node.levels.get_mut(place).map(|(_, branches)| branches)
    }

    pub(crate) fn glob(&mut self, at: NodeId, level: Level, glob: &Glob) {
        self.has_globs = true;
        if let Some(branches) = self.branches(at, level) {
            if !branches.globs.contains(glob) {
                branches.globs.push(glob.clone());
            }
        }
    }

    /// The node that a key leads to.
    pub(crate) fn child(&mut self, at: NodeId, level: Level, key: &Key) -> NodeId {
        let fresh = self.nodes.len() as NodeId;
        let Some(branches) = self.branches(at, level) else { return at };
        let child = match key {
            Key::Any => *branches.any.get_or_insert(fresh),
            Key::Scalar(value) => *branches.scalars.entry(value.clone()).or_insert(fresh),
            Key::Array(_) => *branches.array.get_or_insert(fresh),
        };
        if child == fresh {
            self.new_node();
        }
        let Key::Array(elements) = key else { return child };
        let mut at = child;
        for element in elements {
            let fresh = self.nodes.len() as NodeId;
            let Some(node) = self.nodes.get_mut(at as usize) else { return at };
            let next = match element {
                None => *node.any.get_or_insert(fresh),
                Some(value) => *node.elements.entry(value.clone()).or_insert(fresh),
            };
            if next == fresh {
                self.new_node();
            }
            at = next;
        }
        at
    }

    /// All members that may hold, in the order of OPA's traversal.
    pub(crate) fn visit(&self, resolve: &mut dyn Resolve, out: &mut Vec<Member>) -> Result<(), Fault> {
        let mut visit = Visit { trie: self, resolve, resolved: vec![None; self.levels.len()], out };
        visit.node(0)
    }
}

struct Visit<'a> {
    trie: &'a Trie,
    resolve: &'a mut dyn Resolve,
    /// Documents that were read: None: not yet.
    resolved: Vec<Option<Option<Value>>>,
    out: &'a mut Vec<Member>,
}

impl Visit<'_> {
    /// The levels below a node grow, so the recursion ends with the number of levels that ask for something; it is as deep
    /// as one rule has demands.
    fn node(&mut self, id: NodeId) -> Result<(), Fault> {
        let trie = self.trie;
        let Some(node) = trie.nodes.get(id as usize) else { return Ok(()) };
        self.resolve.step(1)?;
        self.out.extend(&node.early);
        self.out.extend(&node.tail);
        for (level, branches) in &node.levels {
            let Some(value) = self.document(*level)? else { continue };
            if let Some(any) = branches.any {
                self.node(any)?;
            }
            self.value(branches, &value)?;
            for glob in &branches.globs {
                if let Value::String(text) = &value {
                    self.resolve.step(text.as_bytes().len() / 16 + 1)?;
                    let parts: Vec<&[u8]> = glob.split(text.as_bytes()).collect();
                    if let Some(array) = branches.array {
                        self.parts(array, &parts)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn document(&mut self, level: Level) -> Result<Option<Value>, Fault> {
        if let Some(Some(known)) = self.resolved.get(level as usize) {
            return Ok(known.clone());
        }
        self.resolve.step(1)?;
        let value = match self.trie.levels.get(level as usize) {
            Some(Source::Input(path)) => self.resolve.input(path),
            Some(Source::Data(path)) => self.resolve.data(path)?,
            Some(Source::Argument(index)) => self.resolve.argument(*index as usize),
            None => None,
        };
        if let Some(slot) = self.resolved.get_mut(level as usize) {
            *slot = Some(value.clone());
        }
        Ok(value)
    }

    fn value(&mut self, branches: &Branches, value: &Value) -> Result<(), Fault> {
        match value {
            Value::Array(array) => {
                if let Some(id) = branches.array {
                    self.elements(id, array.items())?;
                }
                self.members(branches, array.iter())
            }
            Value::Set(set) => self.members(branches, set.iter()),
            Value::Object(object) => self.members(branches, object.pairs().iter().map(|(_, v)| v)),
            scalar => match branches.scalars.get(scalar) {
                Some(child) => self.node(*child),
                None => Ok(()),
            },
        }
    }

    fn members<'v>(
        &mut self,
        branches: &Branches,
        members: impl Iterator<Item = &'v Value>,
    ) -> Result<(), Fault> {
        if branches.scalars.is_empty() {
            return Ok(());
        }
        for member in members {
            self.resolve.step(1)?;
            if member.depth() == 0 {
                if let Some(child) = branches.scalars.get(member) {
                    self.node(*child)?;
                }
            }
        }
        Ok(())
    }

    fn elements(&mut self, id: NodeId, items: &[Value]) -> Result<(), Fault> {
        let trie = self.trie;
        let Some(node) = trie.nodes.get(id as usize) else { return Ok(()) };
        let Some((first, rest)) = items.split_first() else { return self.node(id) };
        self.resolve.step(1)?;
        if let Some(any) = node.any {
            self.elements(any, rest)?;
        }
        match node.elements.get(first) {
            Some(child) if first.depth() == 0 => self.elements(*child, rest),
            _ => Ok(()),
        }
    }

    fn parts(&mut self, id: NodeId, parts: &[&[u8]]) -> Result<(), Fault> {
        let trie = self.trie;
        let Some(node) = trie.nodes.get(id as usize) else { return Ok(()) };
        let Some((first, rest)) = parts.split_first() else { return self.node(id) };
        self.resolve.step(1)?;
        if let Some(any) = node.any {
            self.parts(any, rest)?;
        }
        match node.elements.get(&Value::from(*first)) {
            Some(child) => self.parts(*child, rest),
            None => Ok(()),
        }
    }
}
