//! Trees → plan: names are resolved, bodies rewritten, ordered and checked, as OPA's compiler does, stage by stage.
//!
//! The stages are OPA's, in OPA's order, as far as they decide what a policy means or whether it is refused
//! (`v1/ast/compile.go`, `AllStages`). As there, compilation ends after the first stage with a fault. The work is done in
//! [`Compiler::step`]s of a bounded number of rules, so that a large bundle is compiled beside other work.

mod checks;
mod error;
mod functions;
mod grouping;
mod hoist;
mod locals;
mod lower;
mod metadata;
mod names;
mod ops;
mod prints;
mod purity;
mod query;
mod rename;
mod safety;
mod stages;
mod templates;
mod tree;
mod types;
mod vars;

use std::collections::BTreeMap;
use std::rc::Rc;

pub use error::{Code, CompileError, CompileErrors};
pub(crate) use functions::Functions;
pub(crate) use ops::{
    Arg, Compr, DataAt, Kind, Node, Op, Out, Path, Plan, Replacement, RulePlan, Target, WithPlan,
};
pub(crate) use query::{QueryPlan, query};
pub(crate) use tree::{NodeId, RuleTree};

use crate::eval::Policy;
use crate::index::Building;
use crate::syntax::tree::{Names, Rule, Sym, Term, TermValue};
use crate::syntax::{self, Module, Pos, Version};
use crate::value::Value;
use error::Fault;

/// The most faults that are kept.
const MOST_FAULTS: usize = 10;

/// How a policy is compiled.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keep `print`; else it is taken out.
    pub print: bool,
    /// Leave rules out that are tests by their names.
    pub without_tests: bool,
    /// Tell tests of one name apart, as `opa test` does: the second one is `test_x#01`.
    pub tests_apart: bool,
    /// Build no index: every rule of a name is evaluated, in the order of the text. For tests of the index.
    pub scan: bool,
    /// Keep the texts, the places of expressions and the names of variables, for a [`Recorder`](crate::Recorder).
    pub places: bool,
}

/// Whether a compilation has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Call [`Compiler::step`] again.
    Pending,
    /// Call [`Compiler::finish`].
    Done,
}

/// A text that waits to be parsed.
#[derive(Debug)]
struct Text {
    name: String,
    text: String,
    version: Version,
}

/// One rule on its way through the stages.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) module: usize,
    pub(crate) rule: Rule,
}

/// Compiles policy texts and base data into a [`Policy`].
#[derive(Debug)]
pub struct Compiler {
    options: Options,
    texts: Vec<Text>,
    files: Vec<String>,
    sources: Vec<syntax::Source>,
    parsing: Option<syntax::Parsing>,
    modules: Vec<Module>,
    rules: Vec<Entry>,
    names: Names,
    tree: RuleTree,
    functions: Functions,
    /// Number of arguments of each rule.
    arities: Vec<usize>,
    graph: checks::Graph,
    annotations: metadata::Annotations,
    /// The number of each rule, by its module and its number there.
    places: BTreeMap<(usize, usize), usize>,
    /// The node of each rule.
    homes: Vec<NodeId>,
    /// Rules in the order of what they depend on.
    order: Vec<usize>,
    types: types::Types,
    /// Rule names of each package.
    packages: BTreeMap<Vec<Value>, Vec<Sym>>,
    globals: Vec<names::Globals>,
    data: Value,
    stage: usize,
    at: usize,
    faults: Vec<Fault>,
    lowered: lower::Builder,
    plan: Plan,
    purity: purity::Purity,
    building: Option<Building>,
}

type Stage = fn(&mut Compiler, usize);

/// The stages that go over the rules one by one; `None` stands for the work between that is done at once.
const STAGES: &[Stage] = &[
    Compiler::resolve,
    Compiler::head_references,
    Compiler::keyword_overrides,
    Compiler::enter_tree,
    Compiler::local_variables,
    Compiler::template_strings,
    Compiler::prints,
    Compiler::expression_terms,
    Compiler::metadata,
    Compiler::comprehension_heads,
    Compiler::head_terms,
    Compiler::with_values,
    Compiler::rule_conflicts,
    Compiler::undefined_functions,
    Compiler::safe_heads,
    Compiler::safe_bodies,
    Compiler::equals,
    Compiler::dynamic_terms,
    Compiler::recursion,
    Compiler::types,
    Compiler::deprecated,
    Compiler::lower,
    Compiler::pure,
];

impl Compiler {
    /// A compiler without texts.
    pub fn new(options: Options) -> Compiler {
        let mut names = Names::default();
        let functions = Functions::new(&mut names);
        Compiler {
            options,
            texts: Vec::new(),
            files: Vec::new(),
            sources: Vec::new(),
            parsing: None,
            modules: Vec::new(),
            rules: Vec::new(),
            names,
            tree: RuleTree::new(),
            functions,
            arities: Vec::new(),
            graph: checks::Graph::default(),
            annotations: metadata::Annotations::default(),
            places: BTreeMap::new(),
            homes: Vec::new(),
            order: Vec::new(),
            types: types::Types::default(),
            packages: BTreeMap::new(),
            globals: Vec::new(),
            data: Value::object(Vec::new()).unwrap_or_default(),
            stage: 0,
            at: 0,
            faults: Vec::new(),
            lowered: lower::Builder::default(),
            plan: Plan::default(),
            purity: purity::Purity::default(),
            building: None,
        }
    }

    /// Adds a text under a file name. It is parsed by [`Compiler::step`].
    pub fn module(&mut self, name: &str, text: &str, version: Version) {
        self.texts.push(Text { name: name.to_owned(), text: text.to_owned(), version });
    }

    /// Sets the base documents: an object.
    pub fn data(&mut self, data: Value) {
        self.data = data;
    }

    /// Does a bounded amount of work: reads some kilobytes of text, parses up to `rules` statements, or takes as many rules
    /// through one stage.
    pub fn step(&mut self, rules: usize) -> Result<Progress, CompileErrors> {
        if self.modules.len() < self.texts.len() {
            self.parse_next(rules.max(1));
            if self.modules.len() == self.texts.len() {
                self.check()?;
                self.collect();
            }
            return Ok(Progress::Pending);
        }
        let Some(stage) = STAGES.get(self.stage) else {
            // The last goes over the nodes of the rule tree instead.
            self.index(rules);
            let done = self.at >= self.plan.nodes.len();
            return Ok(if done { Progress::Done } else { Progress::Pending });
        };
        let all = self.rules.len();
        let end = self.at.saturating_add(rules.max(1)).min(all);
        while self.at < end {
            stage(self, self.at);
            self.at += 1;
        }
        if self.at >= all {
            self.between();
            self.check()?;
            self.stage += 1;
            self.at = 0;
        }
        Ok(Progress::Pending)
    }

    /// Does all work that is left, and gives the policy.
    pub fn finish(mut self) -> Result<Policy, CompileErrors> {
        if self.texts.is_empty() {
            self.collect();
        }
        while self.step(usize::MAX)? == Progress::Pending {}
        Ok(Policy::new(self.plan, self.data, self.files, self.sources))
    }

    fn check(&mut self) -> Result<(), CompileErrors> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let files = &self.files;
        let mut faults = std::mem::take(&mut self.faults);
        faults.truncate(MOST_FAULTS);
        let errors = faults
            .into_iter()
            .map(|fault| CompileError {
                code: fault.code,
                file: files.get(fault.pos.file as usize).cloned().unwrap_or_default(),
                line: fault.pos.line,
                col: fault.pos.col,
                message: fault.message,
            })
            .collect();
        Err(CompileErrors(errors))
    }

    fn fault(&mut self, code: Code, pos: Pos, message: impl Into<String>) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault::new(code, pos, message));
        }
    }

    /// Goes on with the text that is being parsed, or begins the next.
    fn parse_next(&mut self, statements: usize) {
        let file = self.modules.len() as u32;
        if file == 0 && self.parsing.is_none() {
            // OPA compiles modules in the order of their names, and places are compared by them.
            self.texts.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let parsing = match self.parsing.take() {
            Some(parsing) => Ok(parsing),
            None => {
                let Some(text) = self.texts.get_mut(file as usize) else { return };
                self.files.push(std::mem::take(&mut text.name));
                let source = std::mem::take(&mut text.text);
                syntax::Parsing::new(file, &source, text.version)
            }
        };
        let done = parsing.and_then(|mut parsing| {
            let module = parsing.step(statements, &mut self.names)?;
            Ok((parsing, module))
        });
        match done {
            Ok((parsing, Some(module))) => {
                if self.options.places {
                    self.sources.push(parsing.into_source());
                }
                self.modules.push(module);
            }
            Ok((parsing, None)) => self.parsing = Some(parsing),
            Err(error) => {
                let pos = Pos { file, line: error.line, col: error.col };
                self.fault(Code::Parse, pos, error.message);
                self.modules.push(Module {
                    package: Vec::new(),
                    pos,
                    imports: Vec::new(),
                    rules: Vec::new(),
                    strict_v1: false,
                    annotations: Vec::new(),
                });
            }
        }
    }

    /// After parsing: all rules in one list, and what each module sees.
    fn collect(&mut self) {
        let mut tests: BTreeMap<(Vec<Value>, Sym), usize> = BTreeMap::new();
        for (index, module) in self.modules.iter_mut().enumerate() {
            let names = self.packages.entry(module.package.clone()).or_default();
            let annotated = !module.annotations.is_empty();
            for (number, mut rule) in module.rules.drain(..).enumerate() {
                let name = rule.head.name().map(|name| self.names.text(name)).unwrap_or_default();
                let is_test = is_test(name);
                if self.options.without_tests && is_test {
                    continue;
                }
                if self.options.tests_apart && is_test {
                    rename(&mut rule, &mut tests, &module.package, &mut self.names);
                }
                names.extend(rule.head.name());
                if annotated {
                    self.places.insert((index, number), self.rules.len());
                }
                self.arities.push(rule.head.args.len());
                self.rules.push(Entry { module: index, rule });
            }
        }
        for names in self.packages.values_mut() {
            names.sort();
            names.dedup();
        }
        let paths: BTreeMap<_, _> = self
            .packages
            .iter()
            .map(|(package, rules)| (package, Rc::new(names::package_paths(package, rules, &self.names))))
            .collect();
        for module in &self.modules {
            let shared = paths.get(&module.package).cloned().unwrap_or_default();
            self.globals.push(names::Globals::new(module, shared, &mut self.names));
        }
    }

    /// What is done once, after a stage has gone over all rules.
    fn between(&mut self) {
        match self.stage {
            2 => self.duplicate_imports(),
            3 => self.empty_packages(),
            7 => self.annotations(),
            12 => self.tree_conflicts(),
            18 => self.check_recursion(),
            21 => {
                self.plan = std::mem::take(&mut self.lowered).plan(&self.tree);
                // What was rewritten is not needed any more.
                self.names = Names::default();
                self.graph = checks::Graph::default();
            }
            _ => {}
        }
    }
}

/// Gives a test another name, if one before has its name.
fn rename(
    rule: &mut Rule,
    tests: &mut BTreeMap<(Vec<Value>, Sym), usize>,
    package: &[Value],
    names: &mut Names,
) {
    let Some(name) = rule.head.name() else { return };
    let count = tests.entry((package.to_vec(), name)).or_default();
    if *count > 0 {
        let name = names.intern(&format!("{}#{count:02}", names.text(name)));
        if let Some(first) = rule.head.reference.first_mut() {
            *first = Term::var(name, first.pos);
        }
    }
    *count += 1;
}

/// Whether a rule is a test, or one that is left out, as `opa test` finds them.
fn is_test(name: &str) -> bool {
    name.starts_with("test_") || name.starts_with("todo_test_")
}

/// The number of arguments of what an operator names.
fn arity_of(functions: &Functions, tree: &RuleTree, arities: &[usize], op: &Term) -> Option<usize> {
    if let Some(builtin) = functions.find(op) {
        return Some(builtin.args.len());
    }
    let TermValue::Ref(path) = &op.value else { return None };
    let first = tree.rules_at(path).first()?;
    arities.get(*first).copied()
}

/// Calls `f` on a rule and its branches.
fn each(rule: &mut Rule, f: &mut dyn FnMut(&mut Rule)) {
    f(rule);
    rule.branches.iter_mut().for_each(f);
}

fn placeholder() -> Rule {
    let head = syntax::tree::Head {
        reference: Vec::new(),
        args: Vec::new(),
        key: None,
        value: None,
        assign: false,
        object_key: false,
        pos: Pos::default(),
    };
    Rule { head, body: Vec::new(), branches: Vec::new(), default: false, pos: Pos::default() }
}
