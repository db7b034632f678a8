//! What a builtin may use, and what it can end with.

use super::PatternCache;
use crate::value::{TooDeep, Value};
use std::borrow::Cow;

/// Which bound was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Steps of evaluation.
    Steps,
    /// Bytes of values built.
    Bytes,
    /// Nesting, of calls or of a value.
    Depth,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Limit::Steps => "steps",
            Limit::Bytes => "bytes",
            Limit::Depth => "depth",
        })
    }
}

/// What a call ends with instead of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// OPA's builtin error: the expression is undefined. The text names the cause, never a request's values.
    Undefined(Cow<'static, str>),
    /// A bound was met: the whole evaluation ends in an error, and nothing may catch it.
    Limit(Limit),
    /// An error that ends the query.
    Halt(Cow<'static, str>),
}

impl Fault {
    /// An undefined expression, and why.
    pub const fn undefined(why: &'static str) -> Fault {
        Fault::Undefined(Cow::Borrowed(why))
    }
}

impl From<TooDeep> for Fault {
    fn from(_: TooDeep) -> Fault {
        Fault::Limit(Limit::Depth)
    }
}

impl From<Limit> for Fault {
    fn from(limit: Limit) -> Fault {
        Fault::Limit(limit)
    }
}

/// What an evaluation may still spend. Counted before anything is built or looped over, so that a bound is met
/// at the same place in every run.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Steps left: one is about the work on one value.
    pub steps: u64,
    /// Bytes of values left.
    pub bytes: u64,
}

impl Budget {
    /// A budget of so many steps and bytes.
    pub fn new(steps: u64, bytes: u64) -> Budget {
        Budget { steps, bytes }
    }

    /// No bound that anything meets.
    pub fn unlimited() -> Budget {
        Budget::new(u64::MAX, u64::MAX)
    }

    /// Takes steps.
    pub fn step(&mut self, count: u64) -> Result<(), Limit> {
        match self.steps.checked_sub(count) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => {
                self.steps = 0;
                Err(Limit::Steps)
            }
        }
    }

    /// Takes bytes.
    pub fn bytes(&mut self, count: u64) -> Result<(), Limit> {
        match self.bytes.checked_sub(count) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => {
                self.bytes = 0;
                Err(Limit::Bytes)
            }
        }
    }
}

/// A line that a policy printed.
pub type Printed = String;

/// What a builtin may use beside its arguments: the one place for everything that is outside.
pub struct Call<'a> {
    /// What may still be spent.
    pub budget: &'a mut Budget,
    /// The time of the query, in nanoseconds since the Unix epoch: the same for the whole query.
    pub now_ns: i64,
    /// The chance of the query: `rand.intn` and `uuid.rfc4122` are functions of it and their arguments, so that
    /// one query gets the same answer twice, and a query run again gets it again.
    pub seed: [u64; 2],
    /// What `opa.runtime()` answers.
    pub runtime: &'a Value,
    /// Compiled patterns, kept between queries.
    pub patterns: &'a mut PatternCache,
    /// Where `print` goes; `None` drops it.
    pub printed: Option<&'a mut Vec<Printed>>,
}

impl Call<'_> {
    /// Takes steps.
    pub fn step(&mut self, count: usize) -> Result<(), Fault> {
        Ok(self.budget.step(count as u64)?)
    }

    /// Takes bytes.
    pub fn bytes(&mut self, count: usize) -> Result<(), Fault> {
        Ok(self.budget.bytes(count as u64)?)
    }
}
