//! Bundles → compiled policy → the value of its decision.
//!
//! What makes a policy of bundles is here: their data in one document, their files in one compiler, in slices. The language
//! itself is `portcullis_rego`. A policy is immutable, and each evaluation has registers and caches of its own, so that
//! nothing of one can be seen by the next (INVARIANT no crossing).

mod compiling;
mod deferred_drop;
mod fields;
pub(crate) mod json;
pub(crate) mod merge;
mod module;
pub(crate) mod segments;
mod value;
mod yaml_data;

use std::{
    rc::Rc,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::config::InputConfig;
use portcullis_rego::{
    Entry, Error, Limits, Outside, Reads,
    builtins::{Clock, Limit},
};

pub use compiling::{Compiling, compiler, reference};
pub use deferred_drop::DeferredDrop;
pub(crate) use fields::PARTIAL_BODY;
use fields::ReadPaths;
#[cfg(test)]
pub(crate) use fields::known_paths;
pub use fields::{Field, InputField, InputFields, field as input_field, never_there};
pub use module::{Module, ModuleError, RegoVersion};
pub(crate) use value::parse_body;
pub use value::{
    Conflict, Number, Value, array, field, first_outside, merge_at, number, object, parse_json, string,
    string_map,
};
pub use yaml_data::parse_yaml;

/// What one bundle brings into a policy.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Name of the bundle.
    pub bundle: &'a str,
    /// The paths that the bundle owns, as lists of keys.
    pub roots: &'a [Vec<String>],
    /// Its Rego files.
    pub modules: &'a [Module],
    /// Its data.
    pub data: &'a Value,
}

/// What has a part to bring into a policy.
pub trait Brings {
    /// The part.
    fn part(&self) -> Part<'_>;
}

/// A decision that is ready to be evaluated. Immutable: a new revision is a new policy.
#[derive(Debug, Clone)]
pub struct Policy {
    compiled: Rc<Compiled>,
    limits: EvaluationLimits,
}

#[derive(Debug)]
struct Compiled {
    id: PolicyId,
    policy: portcullis_rego::Policy,
    entry: Entry,
    decision_exists: bool,
    fields: InputFields,
    read_paths: ReadPaths,
}

/// Names what one compilation made, in this VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PolicyId(u64);

/// What one evaluation may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluationLimits {
    /// Operations, values looked at, and the work of builtins.
    pub steps: u64,
    /// Bytes of values that are built.
    pub bytes: u64,
    /// Rules, functions and bodies within one another.
    pub depth: u32,
    /// On the wall clock, for what no other limit has ended.
    pub time: Duration,
}

/// The moment of an evaluation, as far as policies can ask for it.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Nanoseconds since the Unix epoch.
    pub now_ns: i64,
    /// What chance is made of.
    pub seed: [u64; 2],
    /// What `opa.runtime()` answers.
    pub runtime: Value,
}

/// Why bundles do not make a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Two bundles claim the same paths.
    #[error(
        "bundles `{first}` and `{second}` both own `data.{path}`; narrow the roots in one of their manifests"
    )]
    RootsOverlap {
        /// The earlier bundle.
        first: String,
        /// The later bundle.
        second: String,
        /// The path that both claim.
        path: String,
    },
    /// A file does not parse.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// Two bundles give the same data.
    #[error("{message}")]
    Conflict {
        /// The place.
        message: String,
    },
    /// The files do not make a policy: each fault with its place.
    #[error("{message}")]
    Rego {
        /// On one line.
        message: String,
    },
}

/// Why an evaluation has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// It took too much.
    #[error("the evaluation exceeded `portcullis.limits.{key}`, which is {limit}")]
    Limit {
        /// The key of the limit in the configuration.
        key: &'static str,
        /// What is configured.
        limit: u128,
    },
    /// The policy is at fault, as where a rule has two values.
    #[error("{message}")]
    Rego {
        /// With file and line, and without values: those are the request's.
        message: String,
    },
}

// === impl Policy ===

impl Policy {
    /// Compiles a decision over some bundles in one go; [`Compiling`] does it in steps.
    ///
    /// Shape: `decision` is the path below `data` with slashes. `limits` bounds each evaluation.
    /// Errors: [`PolicyError`], for everything that OPA refuses, and for what is not here.
    pub fn compile(
        decision: &str,
        parts: &[Part<'_>],
        limits: EvaluationLimits,
    ) -> Result<Self, PolicyError> {
        let mut compiling = Compiling::new(decision, parts.to_vec(), limits);
        loop {
            if let Some(result) = compiling.step() {
                return result;
            }
        }
    }

    /// The value of the decision for one request; none when it is undefined.
    pub fn evaluate(&self, input: Value, moment: Moment) -> Result<Option<Value>, EvaluationError> {
        let EvaluationLimits { steps, bytes, depth, time } = self.limits;
        let limit_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let outside = Outside {
            now_ns: moment.now_ns,
            seed: moment.seed,
            runtime: moment.runtime,
            clock: Some(Clock { now_ns: elapsed_ns, limit_ns }),
        };
        let Compiled { policy, entry, .. } = &*self.compiled;
        let result = policy.evaluate(entry, Some(input), &Limits { steps, bytes, depth }, &outside);
        result.map_err(|error| self.fault(error))
    }

    /// What of a request the decision can depend on.
    pub fn fields(&self) -> &InputFields {
        &self.compiled.fields
    }

    /// What the decision reads of `input` in vain with this configuration, a sentence for each.
    pub fn warnings(&self, config: &InputConfig) -> Vec<String> {
        self.compiled.read_paths.warnings(config)
    }

    /// The name of what was compiled; the same with other limits.
    pub(crate) fn id(&self) -> PolicyId {
        self.compiled.id
    }

    /// Whether any rule or data stands at the decision's path; without, every answer is undefined.
    pub fn decision_exists(&self) -> bool {
        self.compiled.decision_exists
    }

    /// The same with other bounds on each evaluation.
    pub fn limited(self: &Rc<Self>, limits: EvaluationLimits) -> Rc<Self> {
        if self.limits == limits {
            return Rc::clone(self);
        }
        Rc::new(Self { compiled: Rc::clone(&self.compiled), limits })
    }

    fn fault(&self, error: Error) -> EvaluationError {
        let (key, limit) = match error {
            Error::Limit(Limit::Steps) => ("evaluation_steps", self.limits.steps.into()),
            Error::Limit(Limit::Bytes) => ("evaluation_bytes", self.limits.bytes.into()),
            Error::Limit(Limit::Depth) => ("evaluation_depth", self.limits.depth.into()),
            Error::Limit(Limit::Time) => ("evaluation_ms", self.limits.time.as_millis()),
            error => {
                return EvaluationError::Rego { message: error.to_string().replace(char::is_control, " ") };
            }
        };
        EvaluationError::Limit { key, limit }
    }
}

// === impl PolicyId ===

impl PolicyId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    #[cfg(test)]
    pub(crate) const fn for_tests(id: u64) -> Self {
        Self(id)
    }
}

// === impl Moment ===

impl Default for Moment {
    fn default() -> Self {
        Self { now_ns: 0, seed: [0, 0], runtime: object([]) }
    }
}

// === impl EvaluationLimits ===

impl Default for EvaluationLimits {
    /// What no policy meets that was written to decide requests: a fraction of a second of a worker.
    fn default() -> Self {
        let Limits { steps, bytes, depth } = Limits::default();
        Self { steps, bytes, depth, time: Duration::from_millis(100) }
    }
}

/// Time by a clock that never goes back.
fn elapsed_ns() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

// === impl Part ===

impl Brings for Part<'_> {
    fn part(&self) -> Part<'_> {
        *self
    }
}

/// Shared by every stream that pinned it.
pub type SharedPolicy = Rc<Policy>;

#[cfg(test)]
mod tests;
