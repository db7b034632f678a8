//! Compiling in steps: a worker that takes a new policy over must be able to serve requests in between.

use std::{collections::BTreeMap, fmt, mem, rc::Rc};

use portcullis_rego::{CompileErrors, Compiler, Limits, Options, Outside, Progress, ReadsSurvey};

use super::{
    Brings, Compiled, DeferredDrop, EvaluationLimits, InputFields, Part, Policy, PolicyError, PolicyId,
    ReadPaths, Value, merge::Merge, module::Module, object,
};

/// Rules that one step takes through one stage of the compiler; a rule of some lines takes a few microseconds.
const RULES_PER_STEP: usize = 32;
/// The first evaluation is on an empty input, and nothing depends on whether it comes to an end.
const WARM_UP_LIMITS: Limits = Limits { steps: 100_000, bytes: 4 << 20, depth: 1000 };
/// Longest message about what is wrong with the files.
const MAX_MESSAGE_CHARACTERS: usize = 400;

/// A policy on its way from bundles to [`Policy`].
///
/// Shape: call [`step`](Self::step) until it gives the result, now or in a later callback; there is no clock inside.
/// A step takes a part of a Rego file, some rules, or a fraction of a millisecond of data.
/// Errors: as [`Policy::compile`], of which this is the inside.
pub struct Compiling<B> {
    parts: Vec<B>,
    decision: Vec<String>,
    limits: EvaluationLimits,
    data: Value,
    stage: Stage,
}

enum Stage {
    Begin,
    Merging(usize, Option<Merge>),
    Compiling(Box<Compiler>, Tests),
    Surveying(Box<Compiled>, ReadsSurvey),
    WarmingUp(Box<Compiled>),
    Over,
}

/// Whether the tests beside a policy are compiled with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tests {
    With,
    Without,
}

// === impl Compiling ===

impl<B: Brings> Compiling<B> {
    /// Begins. `decision` is the path below `data` with slashes; `limits` bounds each evaluation.
    pub fn new(decision: &str, parts: Vec<B>, limits: EvaluationLimits) -> Self {
        let decision = decision.split('/').map(str::to_owned).collect();
        Self { parts, decision, limits, data: object([]), stage: Stage::Begin }
    }

    /// Does one piece of work. The result comes once; after it, there is nothing more to do.
    pub fn step(&mut self) -> Option<Result<Policy, PolicyError>> {
        match self.advance() {
            Ok(None) => None,
            Ok(Some(policy)) => Some(Ok(policy)),
            Err(error) => Some(Err(error)),
        }
    }

    /// Gives the work up, or what is left of it, and hands over what has been made, to be freed in steps.
    pub fn discard(self, deferred: &mut DeferredDrop) {
        deferred.push(self.data);
        if let Stage::Merging(_, Some(merge)) = self.stage {
            merge.discard(deferred);
        }
    }

    fn advance(&mut self) -> Result<Option<Policy>, PolicyError> {
        self.stage = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Begin => {
                let parts: Vec<Part<'_>> = self.parts.iter().map(Brings::part).collect();
                check_roots(&parts)?;
                Stage::Merging(0, None)
            }
            Stage::Merging(part, merge) => self.merge(part, merge)?,
            Stage::Compiling(compiler, tests) => self.compile(compiler, tests)?,
            Stage::Surveying(mut compiled, mut survey) => {
                match survey.step(&compiled.policy, &compiled.entry, RULES_PER_STEP) {
                    None => Stage::Surveying(compiled, survey),
                    Some(reads) => {
                        compiled.fields = InputFields::of(&reads);
                        compiled.read_paths = ReadPaths::of(&reads);
                        Stage::WarmingUp(compiled)
                    }
                }
            }
            Stage::WarmingUp(compiled) => {
                // What it answers does not matter: the code that it runs through has run then.
                let _ = compiled.policy.evaluate(
                    &compiled.entry,
                    Some(object([])),
                    &WARM_UP_LIMITS,
                    &Outside::default(),
                );
                return Ok(Some(Policy { compiled: Rc::new(*compiled), limits: self.limits }));
            }
            Stage::Over => Stage::Over,
        };
        Ok(None)
    }

    fn merge(&mut self, part: usize, merge: Option<Merge>) -> Result<Stage, PolicyError> {
        let Some(mut merge) = merge else {
            let Some(brought) = self.parts.get(part).map(Brings::part) else {
                return Ok(Stage::Compiling(Box::new(self.compiler(Tests::With)), Tests::With));
            };
            let data = mem::take(&mut self.data);
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
                Err(PolicyError::Conflict { message: conflict.to_string() })
            }
        }
    }

    /// A compiler with every file, or without those that hold tests.
    fn compiler(&self, tests: Tests) -> Compiler {
        let without_tests = tests == Tests::Without;
        self.compiler_with(Options { without_tests, ..Options::default() }, tests)
    }

    fn compiler_with(&self, options: Options, tests: Tests) -> Compiler {
        let mut compiler = Compiler::new(options);
        let modules = self.parts.iter().flat_map(|part| part.part().modules);
        for module in modules.filter(|module| tests == Tests::With || !Module::is_test(&module.name)) {
            compiler.module(&module.name, &module.text, module.version);
        }
        compiler.data(self.data.clone());
        compiler
    }

    fn compile(&self, mut compiler: Box<Compiler>, tests: Tests) -> Result<Stage, PolicyError> {
        let policy = match compiler.step(RULES_PER_STEP) {
            Ok(Progress::Pending) => return Ok(Stage::Compiling(compiler, tests)),
            Ok(Progress::Done) => compiler.finish(),
            Err(errors) => Err(errors),
        };
        match (policy, tests) {
            (Ok(policy), _) => {
                let keys: Vec<&str> = self.decision.iter().map(String::as_str).collect();
                let decision_exists = policy.exists(&keys);
                let entry = policy.query(&reference(&keys)).map_err(compile_error)?;
                let (id, fields, read_paths) = (PolicyId::next(), InputFields::all(), ReadPaths::default());
                let compiled = Compiled { id, policy, entry, decision_exists, fields, read_paths };
                Ok(Stage::Surveying(Box::new(compiled), ReadsSurvey::new()))
            }
            // A test that calls what is not there, or is broken, does not keep a policy from deciding.
            (Err(_), Tests::With) => {
                Ok(Stage::Compiling(Box::new(self.compiler(Tests::Without)), Tests::Without))
            }
            // Said without the faults of the tests, which are not in the way.
            (Err(errors), Tests::Without) => Err(compile_error(errors)),
        }
    }
}

impl<B> fmt::Debug for Compiling<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Begin => "begin",
            Stage::Merging(..) => "merging",
            Stage::Compiling(..) => "compiling",
            Stage::Surveying(..) | Stage::WarmingUp(_) => "preparing",
            Stage::Over => "over",
        };
        let decision = self.decision.join("/");
        f.debug_struct("Compiling")
            .field("decision", &decision)
            .field("stage", &stage)
            .finish_non_exhaustive()
    }
}

/// A compiler with the files and the data of bundles, for tools that compile otherwise than the filter does.
///
/// Errors: as [`Policy::compile`], up to where the compiler begins.
pub fn compiler<B: Brings>(parts: Vec<B>, options: Options) -> Result<Compiler, PolicyError> {
    let mut compiling = Compiling::new("", parts, EvaluationLimits::default());
    while matches!(compiling.stage, Stage::Begin | Stage::Merging(..)) {
        compiling.advance()?;
    }
    Ok(compiling.compiler_with(options, Tests::With))
}

/// All that is wrong, on one line.
fn compile_error(errors: CompileErrors) -> PolicyError {
    let errors: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    let mut message = errors.join("; ").replace(char::is_control, " ");
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE_CHARACTERS) {
        message.truncate(end);
        message.push_str(" …");
    }
    PolicyError::Rego { message }
}

/// `data["a"]["b"]`.
pub fn reference(path: &[&str]) -> String {
    path.iter()
        .fold("data".to_owned(), |reference, key| format!("{reference}[{}]", Value::from(*key).to_json()))
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
