//! The rule tree: rules by the constant beginning of their paths.
//!
//! Source: `v1/ast/compile.go` (`NewRuleTree`, `GetRulesDynamicWithOpts`, `isVirtual`).

use std::collections::BTreeMap;

use crate::syntax::tree::{Sym, Term, TermValue};
use crate::value::Value;

/// A node of the tree, by number; 0 is `data`.
pub(crate) type NodeId = u32;

#[derive(Debug, Default)]
pub(crate) struct TreeNode {
    pub(crate) key: Value,
    pub(crate) depth: u32,
    pub(crate) children: BTreeMap<Value, NodeId>,
    /// Rules whose constant beginning ends here.
    pub(crate) rules: Vec<usize>,
    /// `data.system`: not in the extent of `data`.
    pub(crate) hide: bool,
}

#[derive(Debug)]
pub(crate) struct RuleTree {
    pub(crate) nodes: Vec<TreeNode>,
}

impl RuleTree {
    pub(crate) fn new() -> RuleTree {
        RuleTree { nodes: vec![TreeNode::default()] }
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&TreeNode> {
        self.nodes.get(id as usize)
    }

    pub(crate) fn child(&self, id: NodeId, key: &Value) -> Option<NodeId> {
        self.node(id)?.children.get(key).copied()
    }

    /// The node of a path, made where it is missing.
    pub(crate) fn add<'v>(&mut self, path: impl Iterator<Item = &'v Value>) -> NodeId {
        let mut at: NodeId = 0;
        for (depth, key) in path.enumerate() {
            at = match self.child(at, key) {
                Some(child) => child,
                None => {
                    let child = self.nodes.len() as NodeId;
                    let hide = depth == 0 && key.as_bytes() == Some(b"system");
                    let depth = depth as u32 + 1;
                    self.nodes.push(TreeNode { key: key.clone(), depth, hide, ..TreeNode::default() });
                    if let Some(node) = self.nodes.get_mut(at as usize) {
                        node.children.insert(key.clone(), child);
                    }
                    child
                }
            };
        }
        at
    }

    /// The node that a reference of constants ends at.
    pub(crate) fn find(&self, path: &[Term]) -> Option<NodeId> {
        if path.first().and_then(Term::as_var) != Some(Sym::DATA) {
            return None;
        }
        path.iter().skip(1).try_fold(0, |at, step| self.child(at, step.as_scalar()?))
    }

    /// The rules at the end of a reference of constants.
    pub(crate) fn rules_at(&self, path: &[Term]) -> &[usize] {
        self.find(path).and_then(|id| self.node(id)).map_or(&[], |node| node.rules.as_slice())
    }

    /// Every rule that a reference may reach.
    pub(crate) fn reach(&self, path: &[Term], found: &mut dyn FnMut(usize)) {
        if path.first().and_then(Term::as_var) == Some(Sym::DATA) {
            self.reach_from(0, path.get(1..).unwrap_or_default(), found);
        }
    }

    fn reach_from(&self, at: NodeId, path: &[Term], found: &mut dyn FnMut(usize)) {
        let Some(node) = self.node(at) else { return };
        let Some((step, rest)) = path.split_first() else {
            self.below(at, found);
            return;
        };
        let constant = match &step.value {
            TermValue::Scalar(value) => Some(value.clone()),
            TermValue::Array(_) | TermValue::Object(_) | TermValue::Set(_) => step.constant(),
            _ => None,
        };
        match constant {
            Some(key) => {
                if let Some(child) = node.children.get(&key) {
                    self.node(*child).into_iter().flat_map(|n| &n.rules).for_each(|r| found(*r));
                    self.reach_from(*child, rest, found);
                }
            }
            None => {
                for child in node.children.values() {
                    self.node(*child).into_iter().flat_map(|n| &n.rules).for_each(|r| found(*r));
                    self.reach_from(*child, rest, found);
                }
            }
        }
    }

    /// Every rule at a node and below it.
    pub(crate) fn below(&self, at: NodeId, found: &mut dyn FnMut(usize)) {
        let mut open = vec![at];
        while let Some(id) = open.pop() {
            let Some(node) = self.node(id) else { continue };
            node.rules.iter().for_each(|r| found(*r));
            open.extend(node.children.values().rev());
        }
    }
}
