//! Compiling in steps: a worker that takes a new policy over must be able to serve requests in between.

use std::{collections::BTreeMap, fmt, mem, time::Duration};

use regorus::Engine;

use super::{
    Brings, Disposal, Part, Policy, PolicyError, Query, Value, builtins,
    chains::Chains,
    merge::Merge,
    module::Module,
    value::{Lookup, lookup},
};

/// The first evaluation is on an empty input, and nothing depends on whether it comes to an end.
const WARM_UP_LIMIT: Duration = Duration::from_millis(20);
/// Steps of the engine's preparation, which it does all at once: about half a second.
const MAX_WORK: u64 = 100_000_000;
/// For each file, every name of its package is copied.
const WORK_PER_NAME: u64 = 15;

/// A policy on its way from bundles to [`Policy`].
///
/// Shape: call [`step`](Self::step) until it gives the result, now or in a later callback; there is no clock inside.
/// A step takes one Rego file, or a fraction of a millisecond of data. The engine's own preparation cannot be put
/// down: it is one step, of some 25 microseconds for each rule.
/// Errors: as [`Policy::compile`], of which this is the inside.
pub struct Compiling<B> {
    parts: Vec<B>,
    decision: Vec<String>,
    time_limit: Duration,
    engine: Engine,
    chains: Chains,
    data: Value,
    decision_exists: bool,
    stage: Stage,
}

enum Stage {
    Begin,
    /// Of the file at this place it is known what it defines.
    Defining(Place, u64),
    Reading(Place),
    Following,
    Adding(Place),
    Merging(usize, Option<Merge>),
    Comparing(Place),
    Preparing,
    WarmingUp(Box<Policy>),
    Over,
}

/// A file: the bundle, and which of its files.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    part: usize,
    module: usize,
}

// === impl Compiling ===

impl<B: Brings> Compiling<B> {
    /// Begins. `decision` is the path below `data` with slashes; `time_limit` bounds each evaluation.
    pub fn new(decision: &str, parts: Vec<B>, time_limit: Duration) -> Self {
        let decision = decision.split('/').map(str::to_owned).collect();
        Self {
            parts,
            decision,
            time_limit,
            engine: Engine::new(),
            chains: Chains::default(),
            data: Value::new_object(),
            decision_exists: false,
            stage: Stage::Begin,
        }
    }

    /// Does one piece of work. The result comes once; after it, there is nothing more to do.
    pub fn step(&mut self) -> Option<Result<Policy, PolicyError>> {
        match self.advance() {
            Ok(None) => None,
            Ok(Some(policy)) => Some(Ok(*policy)),
            Err(error) => Some(Err(error)),
        }
    }

    /// Gives the work up, or what is left of it, and hands over what has been made, to be freed in steps.
    pub fn discard(self, disposal: &mut Disposal) {
        disposal.push(self.data);
        if let Stage::Merging(_, Some(merge)) = self.stage {
            merge.discard(disposal);
        }
    }

    fn advance(&mut self) -> Result<Option<Box<Policy>>, PolicyError> {
        let next = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Begin => {
                let parts: Vec<Part<'_>> = self.parts.iter().map(Brings::part).collect();
                check_roots(&parts)?;
                self.engine.set_strict_builtin_errors(false);
                // Otherwise the engine writes what `print` says to stderr, which Envoy logs as an error per request.
                self.engine.set_gather_prints(true);
                let modules: Vec<&Module> = parts.iter().flat_map(|part| part.modules).collect();
                builtins::install(&mut self.engine, &modules).map_err(PolicyError::engine)?;
                Stage::Defining(Place::default(), 0)
            }
            Stage::Defining(place, work) => match module_at(&self.parts, place) {
                Some((module, next)) => {
                    let work = work.saturating_add(module.work());
                    if work > MAX_WORK {
                        return Err(PolicyError::Work);
                    }
                    self.chains.define(module);
                    Stage::Defining(next, work)
                }
                None if work.saturating_add(self.chains.names_copied().saturating_mul(WORK_PER_NAME))
                    > MAX_WORK =>
                {
                    return Err(PolicyError::Work);
                }
                None => Stage::Reading(Place::default()),
            },
            Stage::Reading(place) => match module_at(&self.parts, place) {
                Some((module, next)) => {
                    check_calls(module, &self.chains)?;
                    self.chains.read(module);
                    Stage::Reading(next)
                }
                None => Stage::Following,
            },
            Stage::Following => {
                self.chains.check()?;
                self.chains = Chains::default();
                Stage::Adding(Place::default())
            }
            Stage::Adding(place) => match module_at(&self.parts, place) {
                Some((module, next)) => {
                    module.add_to(&mut self.engine)?;
                    Stage::Adding(next)
                }
                None => Stage::Merging(0, None),
            },
            Stage::Merging(part, merge) => self.merge(part, merge)?,
            Stage::Comparing(place) => match module_at(&self.parts, place) {
                Some((module, next)) => {
                    check_rules_against_data(module, &self.data)?;
                    let mut rules = module.rules.iter();
                    self.decision_exists |= rules.any(|rule| overlaps(&rule.path, &self.decision));
                    Stage::Comparing(next)
                }
                None => Stage::Preparing,
            },
            Stage::Preparing => Stage::WarmingUp(Box::new(self.prepare()?)),
            Stage::WarmingUp(policy) => return Ok(Some(warm_up(policy, self.time_limit))),
            Stage::Over => Stage::Over,
        };
        self.stage = next;
        Ok(None)
    }

    fn merge(&mut self, part: usize, merge: Option<Merge>) -> Result<Stage, PolicyError> {
        let Some(mut merge) = merge else {
            let Some(brought) = self.parts.get(part).map(Brings::part) else {
                self.decision_exists = lookup(&self.data, &self.decision) == Lookup::Found;
                return Ok(Stage::Comparing(Place::default()));
            };
            let data = mem::replace(&mut self.data, Value::Undefined);
            return Ok(Stage::Merging(part, Some(Merge::new(data, &[], brought.data.clone()))));
        };
        match merge.step() {
            None => Ok(Stage::Merging(part, Some(merge))),
            Some(Ok(data)) => {
                self.data = data;
                Ok(Stage::Merging(part + 1, None))
            }
            Some(Err(conflict)) => {
                self.stage = Stage::Merging(part, Some(merge));
                Err(PolicyError::Engine { message: conflict.to_string() })
            }
        }
    }

    /// What is wrong with the files as a whole, such as an unsafe variable, shows for any query.
    fn prepare(&mut self) -> Result<Policy, PolicyError> {
        let data = mem::replace(&mut self.data, Value::Undefined);
        let mut engine = mem::take(&mut self.engine);
        engine.add_data(data).map_err(PolicyError::engine)?;
        engine.set_input(Value::new_object());
        engine.eval_query("true".to_owned(), false).map_err(PolicyError::engine)?;
        let query = Query::Rule(reference(&self.decision));
        let (decision_exists, time_limit) = (self.decision_exists, self.time_limit);
        Ok(Policy { query, engine, decision_exists, time_limit })
    }
}

impl<B> fmt::Debug for Compiling<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Begin => "begin",
            Stage::Defining(..) | Stage::Reading(_) | Stage::Following => "checking",
            Stage::Adding(_) => "parsing",
            Stage::Merging(..) | Stage::Comparing(_) => "merging",
            Stage::Preparing | Stage::WarmingUp(_) => "preparing",
            Stage::Over => "over",
        };
        let decision = self.decision.join("/");
        f.debug_struct("Compiling")
            .field("decision", &decision)
            .field("stage", &stage)
            .finish_non_exhaustive()
    }
}

/// The file at a place or the first one behind it, and the place behind that.
fn module_at<B: Brings>(parts: &[B], place: Place) -> Option<(&Module, Place)> {
    let Place { part, module } = place;
    let found = parts.get(part)?.part().modules.get(module);
    match found {
        Some(found) => Some((found, Place { part, module: module + 1 })),
        None => parts
            .iter()
            .enumerate()
            .skip(part + 1)
            .find_map(|(part, brings)| Some((brings.part().modules.first()?, Place { part, module: 1 }))),
    }
}

/// Evaluates once on an empty input, which finds out which kind of query the path needs.
fn warm_up(mut policy: Box<Policy>, time_limit: Duration) -> Box<Policy> {
    policy.limit_time(time_limit.min(WARM_UP_LIMIT));
    if let Query::Rule(path) = &policy.query
        && let Err(error) = policy.engine.eval_rule(path.clone())
        && error.to_string().contains("not a valid rule path")
    {
        policy.query = Query::Reference(path.clone());
    }
    policy.engine.set_input(Value::Undefined);
    policy.limit_time(time_limit);
    policy
}

/// `data.a.b`, with brackets around what is not an identifier.
fn reference(path: &[String]) -> String {
    path.iter().fold("data".to_owned(), |reference, key| {
        let identifier = key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if identifier { format!("{reference}.{key}") } else { format!("{reference}[\"{key}\"]") }
    })
}

/// Two bundles must not own one path, or one a path below another's.
fn check_roots(parts: &[Part<'_>]) -> Result<(), PolicyError> {
    let mut owners: BTreeMap<&[String], usize> = BTreeMap::new();
    let overlap = |one: usize, other: usize, path: &[String]| {
        let name = |part: usize| parts.get(part).map(|part| part.bundle.to_owned()).unwrap_or_default();
        let (first, second) = (name(one.min(other)), name(one.max(other)));
        Err(PolicyError::RootsOverlap { first, second, path: path.join(".") })
    };
    let roots = || {
        parts.iter().enumerate().flat_map(|(part, brings)| brings.roots.iter().map(move |root| (part, root)))
    };
    for (part, root) in roots() {
        match owners.insert(root, part) {
            Some(owner) if owner != part => return overlap(owner, part, root),
            _ => {}
        }
    }
    for (part, root) in roots() {
        let mut above = (0..root.len()).filter_map(|length| owners.get(root.get(..length)?));
        if let Some(owner) = above.find(|owner| **owner != part) {
            return overlap(*owner, part, root);
        }
    }
    Ok(())
}

/// Whether one path leads to the other or beyond it.
fn overlaps(one: &[String], other: &[String]) -> bool {
    one.iter().zip(other).all(|(left, right)| left == right)
}

fn check_calls(module: &Module, chains: &Chains) -> Result<(), PolicyError> {
    let mut calls = module.calls.iter();
    let unknown = calls.find(|call| !chains.has_function(&call.target) && !builtins::is_builtin(&call.name));
    unknown.map_or(Ok(()), |call| {
        Err(PolicyError::UnknownFunction {
            module: module.name.clone(),
            line: call.line,
            name: call.name.clone(),
        })
    })
}

fn check_rules_against_data(module: &Module, data: &Value) -> Result<(), PolicyError> {
    let clash = module.rules.iter().find(|rule| lookup(data, &rule.path) != Lookup::Absent);
    clash.map_or(Ok(()), |rule| {
        Err(PolicyError::RuleOverData { module: module.name.clone(), rule: rule.path.join(".") })
    })
}
