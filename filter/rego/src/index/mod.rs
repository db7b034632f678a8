//! Which rules can hold, found without looking at each.

use crate::builtins::Fault;
use crate::plan::{Arg, Node, Plan, RuleTree};
use crate::value::Value;

/// What the index reads documents through.
pub(crate) trait Resolve {
    fn input(&mut self, path: &[Value]) -> Option<Value>;
    fn data(&mut self, path: &[Value]) -> Result<Option<Value>, Fault>;
    fn argument(&self, index: usize) -> Option<Value>;
    fn step(&mut self, count: usize) -> Result<(), Fault>;
}

/// A rule that may hold, and which of its branches: 0 is the rule itself.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) rule: u32,
    /// None: all of them.
    pub(crate) branches: Option<Box<[u16]>>,
    /// How many there are.
    pub(crate) count: u16,
}

impl Candidate {
    /// The admitted branch of that turn.
    pub(crate) fn branch(&self, turn: usize) -> Option<u16> {
        match &self.branches {
            Some(branches) => branches.get(turn).copied(),
            None => u16::try_from(turn).ok().filter(|t| *t < self.count),
        }
    }
}

/// The rules that may hold, in the order in which they are evaluated.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) rules: Vec<Candidate>,
    /// The first value is enough: all have the same.
    pub(crate) early: bool,
}

/// The index of one node's rules.
#[derive(Debug, Default)]
pub(crate) struct Index {}

impl Index {
    pub(crate) fn build(_rules: &[u32], _plan: &Plan, _tree: &RuleTree) -> Index {
        Index {}
    }

    pub(crate) fn lookup(
        &self,
        plan: &Plan,
        node: &Node,
        resolve: &mut dyn Resolve,
        found: &mut Found,
    ) -> Result<(), Fault> {
        resolve.step(node.rules.len())?;
        let mut value: Option<&Value> = None;
        found.early = true;
        for id in &node.rules {
            let Some(rule) = plan.rule(*id) else { continue };
            let count = rule.branches.len() as u16 + 1;
            found.rules.push(Candidate { rule: *id, branches: None, count });
            found.early &= rule.is_complete();
            for branch in std::iter::once(rule).chain(&rule.branches) {
                match &branch.value {
                    Some(Arg::Const(constant)) if value.is_none_or(|v| v == constant) => value = Some(constant),
                    _ => found.early = false,
                }
            }
        }
        Ok(())
    }
}
