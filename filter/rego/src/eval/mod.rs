//! Evaluation of a plan, within bounds.
//!
//! A machine without recursion ([`machine`]): frames for rules, comprehensions, `not` and `every` stand in a list of their
//! own, so that no policy, data or input can use up the stack; how deep they stand is counted. What is called is evaluated
//! to its end before its caller goes on: with OPA's early exit this gives OPA's answers, conflicts included
//! (`v1/topdown/eval.go`). Steps and bytes are counted before work is done.

mod caches;
mod calls;
mod closures;
mod comprehension;
mod context;
mod documents;
mod gathered;
mod jobs;
mod machine;
mod query;
mod reads;
mod references;
mod shown;
mod survey;
mod terms;
mod walk;
mod watch;
mod with;

#[cfg(test)]
mod tests;

pub use query::{Answer, Entry};
pub use reads::{Paths, Reads, ReadsSurvey};
pub use survey::{RuleName, Scanned};
pub use watch::{Attempt, Evaluated, Failure, Recorder};

use std::cell::RefCell;
use std::fmt;

use crate::builtins::{Clock, Kept, Limit};
use crate::plan::Plan;
use crate::syntax::Source;
use crate::value::Value;

/// A compiled policy and its base data.
pub struct Policy {
    pub(crate) plan: Plan,
    pub(crate) data: Value,
    pub(crate) files: Vec<String>,
    /// Of each file, if the compiler was told to keep places.
    pub(crate) sources: Vec<Source>,
    kept: RefCell<Kept>,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("rules", &self.plan.rules.len()).finish_non_exhaustive()
    }
}

impl Policy {
    pub(crate) fn new(plan: Plan, data: Value, files: Vec<String>, sources: Vec<Source>) -> Policy {
        Policy { plan, data, files, sources, kept: RefCell::default() }
    }

    /// The names of the files that the policy was compiled from, sorted.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Whether a rule or a value of the base data stands at a path below `data`, above it or below it: if not, the
    /// path is undefined whatever the input.
    pub fn exists(&self, path: &[&str]) -> bool {
        let base = path.iter().try_fold(&self.data, |value, key| value.get_str(key.as_bytes()));
        base.is_some() || self.has_rules(path)
    }

    fn has_rules(&self, path: &[&str]) -> bool {
        let mut at = 0;
        for key in path {
            let Some(node) = self.plan.node(at) else { return false };
            if !node.rules.is_empty() || node.default.is_some() {
                return true;
            }
            let Some(child) = node.child(&Value::from(*key)) else { return false };
            at = child;
        }
        let mut open = vec![at];
        while let Some(node) = open.pop().and_then(|id| self.plan.node(id)) {
            if !node.rules.is_empty() || node.default.is_some() {
                return true;
            }
            open.extend(node.children.iter().map(|(_, id)| *id));
        }
        false
    }
}

/// What one evaluation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps: operations, elements looked at, and the work of builtins.
    pub steps: u64,
    /// Bytes of values built.
    pub bytes: u64,
    /// Rules, functions and bodies within one another.
    pub depth: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { steps: 5_000_000, bytes: 64 << 20, depth: 2_000 }
    }
}

/// What an evaluation sees of the world.
#[derive(Clone, Debug)]
pub struct Outside {
    /// The time of the query, in nanoseconds since the Unix epoch.
    pub now_ns: i64,
    /// The chance of the query.
    pub seed: [u64; 2],
    /// What `opa.runtime()` answers.
    pub runtime: Value,
    /// Ends an evaluation that no other bound has ended.
    pub clock: Option<Clock>,
}

impl Default for Outside {
    fn default() -> Outside {
        Outside {
            now_ns: 0,
            seed: [0, 0],
            runtime: Value::object(Vec::new()).unwrap_or_default(),
            clock: None,
        }
    }
}

/// Why an evaluation has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A bound was met.
    Limit(Limit),
    /// Two different values where there is one, with its place: OPA's `eval_conflict_error`.
    Conflict(String),
    /// Anything else that ends a query.
    Halt(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Limit(Limit::Steps) => write!(f, "the evaluation took more steps than it may"),
            Error::Limit(Limit::Bytes) => write!(f, "the evaluation built more than it may"),
            Error::Limit(Limit::Depth) => write!(f, "the evaluation nested deeper than it may"),
            Error::Limit(Limit::Time) => write!(f, "the evaluation took longer than it may"),
            Error::Conflict(what) | Error::Halt(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for Error {}
