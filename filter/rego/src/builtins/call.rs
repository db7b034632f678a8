//! What a builtin may use, and what it can end with.

use super::{KeyCache, PatternCache};
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
    /// The clock, which no other bound should leave anything to do.
    Time,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Limit::Steps => "steps",
            Limit::Bytes => "bytes",
            Limit::Depth => "depth",
            Limit::Time => "time",
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

/// A clock of last resort: what counts is counted in steps and bytes, whatever the machine is busy with.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The time by a clock that never goes back, in nanoseconds.
    pub now_ns: fn() -> u64,
    /// How long an evaluation may take, from when it is first looked at: after the first thousands of steps, so
    /// that small evaluations ask for no time.
    pub limit_ns: u64,
}

/// How many steps are taken without a look at the clock: about a millisecond.
const STEPS_PER_LOOK: u64 = 20_000;

/// What an evaluation may still spend. Counted before anything is built or looped over, so that a bound is met
/// at the same place in every run.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Steps left before the next look at the clock.
    steps: u64,
    /// Steps left behind it.
    reserve: u64,
    bytes: u64,
    clock: Option<Clock>,
    /// When the clock ends it, once it has been looked at.
    until_ns: Option<u64>,
}

impl Budget {
    /// A budget of so many steps and bytes. One step is about the work on one value.
    pub fn new(steps: u64, bytes: u64) -> Budget {
        Budget { steps, reserve: 0, bytes, clock: None, until_ns: None }
    }

    /// The same, which also ends by a clock.
    pub fn timed(mut self, clock: Clock) -> Budget {
        self.clock = Some(clock);
        self.reserve = self.steps.saturating_sub(STEPS_PER_LOOK);
        self.steps -= self.reserve;
        self
    }

    /// No bound that anything meets.
    pub fn unlimited() -> Budget {
        Budget::new(u64::MAX, u64::MAX)
    }

    /// Steps that are left.
    pub fn steps_left(&self) -> u64 {
        self.steps.saturating_add(self.reserve)
    }

    /// Bytes that are left.
    pub fn bytes_left(&self) -> u64 {
        self.bytes
    }

    /// Takes steps.
    pub fn step(&mut self, count: u64) -> Result<(), Limit> {
        match self.steps.checked_sub(count) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => self.step_behind(count),
        }
    }

    /// Takes steps beyond those before the next look at the clock.
    #[cold]
    fn step_behind(&mut self, count: u64) -> Result<(), Limit> {
        let left = self.steps.saturating_add(self.reserve).checked_sub(count);
        (self.steps, self.reserve) = (0, 0);
        let left = left.ok_or(Limit::Steps)?;
        let Some(clock) = self.clock else {
            self.steps = left;
            return Ok(());
        };
        let now_ns = (clock.now_ns)();
        let until_ns = *self.until_ns.get_or_insert_with(|| now_ns.saturating_add(clock.limit_ns));
        if now_ns > until_ns {
            return Err(Limit::Time);
        }
        self.steps = left.min(STEPS_PER_LOOK);
        self.reserve = left - self.steps;
        Ok(())
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
    /// Keys, and what was verified with them, kept between queries.
    pub keys: &'a mut KeyCache,
    /// Where `print` goes; `None` drops it.
    pub printed: Option<&'a mut Vec<Printed>>,
}

/// What a policy keeps between queries: functions of texts, done once.
#[derive(Debug, Default)]
pub struct Kept {
    /// Compiled patterns.
    pub patterns: PatternCache,
    /// Keys, and what was verified with them.
    pub keys: KeyCache,
}

impl<'a> Call<'a> {
    /// A call beside any query: without time, chance and runtime.
    pub(crate) fn beside(budget: &'a mut Budget, kept: &'a mut Kept) -> Call<'a> {
        let Kept { patterns, keys } = kept;
        Call { budget, now_ns: 0, seed: [0, 0], runtime: &Value::Null, patterns, keys, printed: None }
    }
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
