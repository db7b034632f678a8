//! Which rules can hold, found without looking at each.

use crate::plan::Plan;

/// The index of one node's rules.
#[derive(Debug, Default)]
pub(crate) struct Index {}

impl Index {
    pub(crate) fn build(_rules: &[u32], _plan: &Plan, _tree: &crate::plan::RuleTree) -> Index {
        Index {}
    }
}
