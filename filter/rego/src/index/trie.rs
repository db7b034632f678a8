//! The trie itself.

use super::{Member, Resolve, Source};
use crate::builtins::Fault;
use crate::hash::Map;
use crate::value::Value;

/// Which document a level is about.
pub(crate) type Level = u32;
type NodeId = u32;
type Texts = Map<Box<[u8]>, NodeId>;

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
    Start(Box<[u8]>),
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
    elements: Map<Value, NodeId>,
}

#[derive(Debug, Default)]
struct Branches {
    any: Option<NodeId>,
    scalars: Map<Value, NodeId>,
    array: Option<NodeId>,
    globs: Vec<Glob>,
    /// By length, ascending: texts that others begin with.
    starts: Vec<(usize, Texts)>,
}

#[derive(Debug)]
pub(crate) struct Trie {
    levels: Vec<Source>,
    nodes: Vec<TrieNode>,
    has_calls: bool,
}

impl Trie {
    pub(crate) fn new(levels: Vec<Source>) -> Trie {
        Trie { levels, nodes: vec![TrieNode::default()], has_calls: false }
    }

    pub(crate) fn root(&self) -> NodeId {
        0
    }

    /// How many members are met whatever is asked: those that no value leads to.
    pub(crate) fn undivided(&self) -> usize {
        let mut open = vec![self.root()];
        let mut count = 0;
        while let Some(node) = open.pop().and_then(|id| self.nodes.get(id as usize)) {
            count += node.early.len() + node.tail.len();
            open.extend(node.levels.iter().filter_map(|(_, branches)| branches.any));
        }
        count
    }

    pub(crate) fn has_calls(&self) -> bool {
        self.has_calls
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
        self.has_calls = true;
        if let Some(branches) = self.branches(at, level)
            && !branches.globs.contains(glob)
        {
            branches.globs.push(glob.clone());
        }
    }

    /// The node that a key leads to.
    pub(crate) fn child(&mut self, at: NodeId, level: Level, key: &Key) -> NodeId {
        let fresh = self.nodes.len() as NodeId;
        self.has_calls |= matches!(key, Key::Start(_));
        let Some(branches) = self.branches(at, level) else { return at };
        let child = match key {
            Key::Any => *branches.any.get_or_insert(fresh),
            Key::Scalar(value) => *branches.scalars.entry(value.clone()).or_insert(fresh),
            Key::Array(_) => *branches.array.get_or_insert(fresh),
            Key::Start(text) => {
                let place = match branches.starts.binary_search_by_key(&text.len(), |(length, _)| *length) {
                    Ok(place) => place,
                    Err(place) => {
                        branches.starts.insert(place, (text.len(), Map::default()));
                        place
                    }
                };
                match branches.starts.get_mut(place) {
                    Some((_, texts)) => *texts.entry(text.clone()).or_insert(fresh),
                    None => fresh,
                }
            }
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

    /// All members that may hold, in the order of OPA's traversal. Whether one may have been met more than once.
    pub(crate) fn visit(&self, resolve: &mut dyn Resolve, out: &mut Vec<Member>) -> Result<bool, Fault> {
        let resolved = vec![None; self.levels.len()];
        let mut visit = Visit { trie: self, resolve, resolved, out, again: false };
        visit.node(0)?;
        Ok(visit.again)
    }
}

struct Visit<'a> {
    trie: &'a Trie,
    resolve: &'a mut dyn Resolve,
    /// Documents that were read: None: not yet.
    resolved: Vec<Option<Option<Value>>>,
    out: &'a mut Vec<Member>,
    /// A node may have been come to twice: by equal elements of a collection, by two ways to split a text.
    again: bool,
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
            if let (Value::String(text), false) = (&value, branches.starts.is_empty()) {
                let text = text.as_bytes();
                for (length, texts) in &branches.starts {
                    let Some(start) = text.get(..*length) else { break };
                    self.resolve.step(1 + length / 32)?;
                    if let Some(child) = texts.get(start) {
                        self.node(*child)?;
                    }
                }
                continue;
            }
            self.value(branches, &value)?;
            self.again |= branches.globs.len() > 1;
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
        let source = match self.trie.levels.get(level as usize) {
            Some(Source::Start(source)) => Some(&**source),
            source => source,
        };
        let value = match source {
            Some(Source::Input(path)) => self.resolve.input(path),
            Some(Source::Data(path)) => self.resolve.data(path)?,
            Some(Source::Argument(index)) => self.resolve.argument(*index as usize),
            Some(Source::Start(_)) | None => None,
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
            if member.depth() == 0
                && let Some(child) = branches.scalars.get(member)
            {
                self.again = true;
                self.node(*child)?;
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
