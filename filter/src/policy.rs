//! Bundles → compiled policy → the value of its decision. The only user of the Rego engine.
//!
//! The interpreter is the one evaluator: the engine's virtual machine drops builtin errors and rule conflicts, so
//! that `not blocked` can turn true. A policy is an engine prepared once; each request evaluates a clone, so that
//! nothing of one evaluation can be seen by the next (INVARIANT no crossing).

mod builtins;
mod disposal;
pub(crate) mod json;
pub(crate) mod merge;
mod module;
mod negation;
mod regex;
pub(crate) mod segments;
mod syntax;
mod value;
mod yaml_data;

use std::{collections::BTreeSet, num::NonZeroU32, rc::Rc, time::Duration};

use regorus::{Engine, LimitError, utils::limits::ExecutionTimerConfig};

pub use disposal::Disposal;
pub use module::{Module, ModuleError, RegoVersion};
pub use value::{Conflict, Value, field, first_outside, merge_at, object, parse_json, string, string_map};
pub use yaml_data::parse_yaml;

use value::{Lookup, lookup};

/// The engine looks at the clock once per so many steps; more often costs, more rarely overshoots.
const TIMER_CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// The first evaluation in a process includes V8's compiling of the engine itself, which must not count as the policy's.
const WARM_UP_LIMIT: Duration = Duration::from_secs(1);
/// Longest chain of functions calling functions: the stack of a Wasm VM ends at a few hundred.
const MAX_CALL_DEPTH: usize = 100;

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

/// A decision that is ready to be evaluated. Immutable: a new revision is a new policy.
#[derive(Clone)]
pub struct Policy {
    engine: Engine,
    query: Query,
    /// Whether any rule or data stands at the decision's path; without, every answer is undefined.
    pub decision_exists: bool,
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
    /// Functions calling functions would exhaust the VM's stack.
    #[error("function `data.{function}` heads a chain of more than {MAX_CALL_DEPTH} calls; shorten it")]
    CallDepth {
        /// The function's path.
        function: String,
    },
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
        /// As the engine renders it, with file and line.
        message: String,
    },
}

// === impl Policy ===

impl Policy {
    /// Compiles a decision over some bundles.
    ///
    /// Shape: `decision` is the path below `data` with slashes. `time_limit` bounds each evaluation.
    /// Errors: [`PolicyError`], for everything that the engine would get wrong or die of at request time.
    pub fn compile(decision: &str, parts: &[Part<'_>], time_limit: Duration) -> Result<Self, PolicyError> {
        check_roots(parts)?;
        let modules: Vec<&Module> = parts.iter().flat_map(|part| part.modules).collect();
        check_calls(&modules)?;

        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(false);
        // Otherwise the engine writes what `print` says to stderr, which Envoy logs as an error per request.
        engine.set_gather_prints(true);
        builtins::install(&mut engine, &modules).map_err(PolicyError::engine)?;
        let mut data = Value::new_object();
        for part in parts {
            for module in part.modules {
                module.add_to(&mut engine)?;
            }
            merge_at(&mut data, &[], part.data.clone())
                .map_err(|conflict| PolicyError::Engine { message: conflict.to_string() })?;
        }
        for module in &modules {
            check_rules_against_data(module, &data)?;
        }
        let path: Vec<String> = decision.split('/').map(str::to_owned).collect();
        let decision_exists = lookup(&data, &path) == Lookup::Found
            || modules.iter().any(|module| module.rules.iter().any(|rule| overlaps(rule, &path)));
        engine.add_data(data).map_err(PolicyError::engine)?;

        let mut policy = Self { query: Query::Rule(reference(&path)), engine, decision_exists };
        policy.limit_time(time_limit.max(WARM_UP_LIMIT));
        policy.warm_up()?;
        policy.limit_time(time_limit);
        Ok(policy)
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
            _ => EvaluationError::Engine { message: module::one_line(&error.to_string()) },
        })
    }

    fn limit_time(&mut self, limit: Duration) {
        let config = ExecutionTimerConfig { limit, check_interval: TIMER_CHECK_INTERVAL };
        self.engine.set_execution_timer_config(config);
    }

    /// Evaluates once on an empty input: prepares the engine, and finds out which kind of query the path needs.
    fn warm_up(&mut self) -> Result<(), PolicyError> {
        self.engine.set_input(Value::new_object());
        // What is wrong with the modules as a whole, such as an unsafe variable, shows for any query.
        self.engine.eval_query("true".to_owned(), false).map_err(PolicyError::engine)?;
        if let Query::Rule(path) = &self.query
            && let Err(error) = self.engine.eval_rule(path.clone())
            && error.to_string().contains("not a valid rule path")
        {
            self.query = Query::Reference(path.clone());
        }
        self.engine.set_input(Value::Undefined);
        Ok(())
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

// === impl PolicyError ===

impl PolicyError {
    fn engine(error: anyhow::Error) -> Self {
        Self::Engine { message: module::one_line(&error.to_string()) }
    }
}

/// `data.a.b`, with brackets around what is not an identifier.
fn reference(path: &[String]) -> String {
    path.iter().fold("data".to_owned(), |reference, key| {
        let identifier = key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if identifier { format!("{reference}.{key}") } else { format!("{reference}[\"{key}\"]") }
    })
}

fn check_roots(parts: &[Part<'_>]) -> Result<(), PolicyError> {
    for (index, second) in parts.iter().enumerate() {
        for first in parts.iter().take(index) {
            let clash = first.roots.iter().find_map(|one| {
                let other = second.roots.iter().find(|other| overlaps(one, other))?;
                Some(if one.len() > other.len() { one } else { other })
            });
            if let Some(path) = clash {
                return Err(PolicyError::RootsOverlap {
                    first: first.bundle.to_owned(),
                    second: second.bundle.to_owned(),
                    path: path.join("."),
                });
            }
        }
    }
    Ok(())
}

/// Whether one path leads to the other or beyond it.
fn overlaps(one: &[String], other: &[String]) -> bool {
    one.iter().zip(other).all(|(left, right)| left == right)
}

fn check_calls(modules: &[&Module]) -> Result<(), PolicyError> {
    let functions: BTreeSet<&[String]> =
        modules.iter().flat_map(|module| module.functions.iter().map(Vec::as_slice)).collect();
    for module in modules {
        for call in &module.calls {
            if !functions.contains(call.target.as_slice()) && !builtins::is_builtin(&call.name) {
                return Err(PolicyError::UnknownFunction {
                    module: module.name.clone(),
                    line: call.line,
                    name: call.name.clone(),
                });
            }
        }
    }
    for module in modules {
        for function in &module.functions {
            check_depth(module, function, modules)?;
        }
    }
    Ok(())
}

/// Walks the calls below one function breadth first: a level beyond the limit, or the function met again, ends it.
fn check_depth(module: &Module, function: &[String], modules: &[&Module]) -> Result<(), PolicyError> {
    let mut level: BTreeSet<&[String]> = BTreeSet::from([function]);
    for _ in 0..MAX_CALL_DEPTH {
        level = modules
            .iter()
            .flat_map(|module| &module.calls)
            .filter(|call| call.caller.as_deref().is_some_and(|caller| level.contains(caller)))
            .map(|call| call.target.as_slice())
            .collect();
        if level.is_empty() {
            return Ok(());
        }
        if level.contains(function) {
            return Err(PolicyError::Recursion { module: module.name.clone(), function: function.join(".") });
        }
    }
    Err(PolicyError::CallDepth { function: function.join(".") })
}

fn check_rules_against_data(module: &Module, data: &Value) -> Result<(), PolicyError> {
    let clash = module.rules.iter().find(|rule| lookup(data, rule) != Lookup::Absent);
    clash.map_or(Ok(()), |rule| {
        Err(PolicyError::RuleOverData { module: module.name.clone(), rule: rule.join(".") })
    })
}

/// Shared by every stream that pinned it.
pub type SharedPolicy = Rc<Policy>;

#[cfg(test)]
mod tests;
