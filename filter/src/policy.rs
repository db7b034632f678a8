//! Bundles → compiled policy → the value of its decision. The only user of the Rego engine.
//!
//! The interpreter is the one evaluator: the engine's virtual machine drops builtin errors and rule conflicts, so
//! that `not blocked` can turn true. A policy is an engine prepared once; each request evaluates a clone, so that
//! nothing of one evaluation can be seen by the next (INVARIANT no crossing).

mod builtins;
mod chains;
mod compiling;
mod disposal;
mod graph;
pub(crate) mod json;
pub(crate) mod merge;
mod messages;
mod module;
mod negation;
mod outline;
mod regex;
pub(crate) mod segments;
mod syntax;
mod tokens;
mod value;
mod yaml_data;

use std::{num::NonZeroU32, rc::Rc, time::Duration};

use regorus::{Engine, LimitError, utils::limits::ExecutionTimerConfig};

pub use compiling::Compiling;
pub use disposal::Disposal;
pub use module::{Module, ModuleError, RegoVersion};
pub use value::{Conflict, Value, field, first_outside, merge_at, object, parse_json, string, string_map};
pub use yaml_data::parse_yaml;

/// The engine looks at the clock once per so many steps. A statement may double the digits of a number, so it must not be
/// many statements.
const TIMER_CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(8).unwrap();
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
#[derive(Clone)]
pub struct Policy {
    engine: Engine,
    query: Query,
    /// Whether any rule or data stands at the decision's path; without, every answer is undefined.
    pub decision_exists: bool,
    time_limit: Duration,
}

#[derive(Clone)]
enum Query {
    /// The path of a rule: no query has to be parsed per request.
    Rule(String),
    /// Any other path below `data`.
    Reference(String),
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
    /// A call that nothing answers would fail at request time.
    #[error("{module}:{line}: there is no function `{name}`; correct the name or add the bundle that has it")]
    UnknownFunction {
        /// The file of the call.
        module: String,
        /// The line of the call.
        line: u32,
        /// The function as written.
        name: String,
    },
    /// A function that calls itself would exhaust the VM's stack.
    #[error(
        "{module}: function `data.{function}` calls itself, directly or through others; Rego has no recursion"
    )]
    Recursion {
        /// The file of the function.
        module: String,
        /// The function's path.
        function: String,
    },
    /// Rules that read one another would exhaust the VM's stack.
    #[error(
        "{module}:{line}: the chain of rules that read one another from `data.{rule}` on takes more of the stack than a \
         VM has; shorten it"
    )]
    Depth {
        /// The file of the rule.
        module: String,
        /// The line of the rule.
        line: u32,
        /// The path of the first rule of the chain.
        rule: String,
    },
    /// The engine would take too long to prepare it.
    #[error(
        "the Rego of its bundles is too much to be prepared within a second; split it over several policies"
    )]
    Work,
    /// The engine would let the data win over the rule.
    #[error("{module}: rule `data.{rule}` and the data of a bundle stand at the same path; move one of them")]
    RuleOverData {
        /// The file of the rule.
        module: String,
        /// The rule's path.
        rule: String,
    },
    /// The engine refuses the whole.
    #[error("{message}")]
    Engine {
        /// As the engine renders it, on one line.
        message: String,
    },
}

/// Why an evaluation has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// It took too long.
    #[error("the evaluation exceeded its limit of {limit_ms} ms")]
    TimeLimit {
        /// The configured limit.
        limit_ms: u128,
    },
    /// The policy is at fault: a rule conflict, a wrong argument count.
    #[error("{message}")]
    Engine {
        /// As the engine renders it, with file and line, and without values.
        message: String,
    },
}

// === impl Policy ===

impl Policy {
    /// Compiles a decision over some bundles in one go; [`Compiling`] does it in steps.
    ///
    /// Shape: `decision` is the path below `data` with slashes. `time_limit` bounds each evaluation.
    /// Errors: [`PolicyError`], for everything that the engine would get wrong or die of at request time.
    pub fn compile(decision: &str, parts: &[Part<'_>], time_limit: Duration) -> Result<Self, PolicyError> {
        let mut compiling = Compiling::new(decision, parts.to_vec(), time_limit);
        loop {
            if let Some(result) = compiling.step() {
                return result;
            }
        }
    }

    /// The value of the decision for one request; none when it is undefined.
    pub fn evaluate(&self, input: Value) -> Result<Option<Value>, EvaluationError> {
        let mut engine = self.engine.clone();
        engine.set_input(input);
        let result = self.query.run(&mut engine);
        result.map_err(|error| match error.downcast_ref::<LimitError>() {
            Some(LimitError::TimeLimitExceeded { limit, .. }) => {
                EvaluationError::TimeLimit { limit_ms: limit.as_millis() }
            }
            _ => EvaluationError::Engine { message: messages::without_values(&error.to_string()) },
        })
    }

    /// The same with another bound on each evaluation.
    pub fn limited(self: &Rc<Self>, time_limit: Duration) -> Rc<Self> {
        if self.time_limit == time_limit {
            return Rc::clone(self);
        }
        let mut policy = Self::clone(self);
        policy.limit_time(time_limit);
        Rc::new(policy)
    }

    fn limit_time(&mut self, limit: Duration) {
        self.time_limit = limit;
        let config = ExecutionTimerConfig { limit, check_interval: TIMER_CHECK_INTERVAL };
        self.engine.set_execution_timer_config(config);
    }
}

// === impl Query ===

impl Query {
    fn run(&self, engine: &mut Engine) -> anyhow::Result<Option<Value>> {
        let value = match self {
            Self::Rule(path) => engine.eval_rule(path.clone())?,
            Self::Reference(reference) => {
                let results = engine.eval_query(reference.clone(), false)?;
                let expression = results
                    .result
                    .into_iter()
                    .next()
                    .and_then(|result| result.expressions.into_iter().next());
                expression.map_or(Value::Undefined, |expression| expression.value)
            }
        };
        Ok(Some(value).filter(|value| *value != Value::Undefined))
    }
}

// === impl Part ===

impl Brings for Part<'_> {
    fn part(&self) -> Part<'_> {
        *self
    }
}

// === impl PolicyError ===

impl PolicyError {
    fn engine(error: anyhow::Error) -> Self {
        Self::Engine { message: module::one_line(&error.to_string()) }
    }
}

/// Shared by every stream that pinned it.
pub type SharedPolicy = Rc<Policy>;

#[cfg(test)]
mod tests;
