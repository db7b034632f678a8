//! Trees → plan: names are resolved, bodies rewritten, ordered and checked, as OPA's compiler does, stage by stage.
//!
//! The stages are OPA's, in OPA's order, as far as they decide what a policy means or whether it is refused
//! (`v1/ast/compile.go`, `AllStages`). As there, compilation ends after the first stage with a fault. The work is done in
//! [`Compiler::step`]s of a bounded number of rules, so that a large bundle is compiled beside other work.

mod checks;
mod error;
mod grouping;
mod hoist;
mod locals;
mod lower;
mod names;
mod ops;
mod purity;
mod query;
mod safety;
mod tree;
mod types;
mod vars;

use std::collections::BTreeMap;

pub use error::{Code, CompileError, CompileErrors};
pub(crate) use ops::{
    Arg, Compr, DataAt, Kind, Node, Op, Out, Path, Plan, Replacement, RulePlan, Target, WithPlan,
};
pub(crate) use query::{QueryPlan, query};
pub(crate) use tree::{NodeId, RuleTree};

use crate::builtins::{self, Builtin, Run};
use crate::eval::Policy;
use crate::hash::Map;
use crate::index::Building;
use crate::syntax::tree::{Names, Rule, Sym, Term, TermValue};
use crate::syntax::{self, Module, Pos, Version};
use crate::value::Value;
use error::Fault;
use vars::{ALL, SAFETY, VarSet};

/// The most faults that are kept.
const MOST_FAULTS: usize = 10;

/// How a policy is compiled.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keep `print`; else it is taken out.
    pub print: bool,
    /// Build no index: every rule of a name is evaluated, in the order of the text. For tests of the index.
    pub scan: bool,
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
    parsing: Option<syntax::Parsing>,
    modules: Vec<Module>,
    rules: Vec<Entry>,
    names: Names,
    tree: RuleTree,
    functions: Functions,
    /// Number of arguments of each rule.
    arities: Vec<usize>,
    graph: checks::Graph,
    /// A file has annotations, which are not read.
    has_metadata: bool,
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
            parsing: None,
            modules: Vec::new(),
            rules: Vec::new(),
            names,
            tree: RuleTree::new(),
            functions,
            arities: Vec::new(),
            graph: checks::Graph::default(),
            has_metadata: false,
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
        self.has_metadata |= text.contains("# METADATA");
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
        Ok(Policy::new(self.plan, self.data, self.files))
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
                let name = self.files.last().map_or("", |n| n);
                syntax::Parsing::new(file, name, &source, text.version)
            }
        };
        let done = parsing.and_then(|mut parsing| {
            let module = parsing.step(statements, &mut self.names)?;
            Ok((parsing, module))
        });
        match done {
            Ok((_, Some(module))) => self.modules.push(module),
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
                });
            }
        }
    }

    /// After parsing: all rules in one list, and what each module sees.
    fn collect(&mut self) {
        for (index, module) in self.modules.iter_mut().enumerate() {
            let names = self.packages.entry(module.package.clone()).or_default();
            for rule in module.rules.drain(..) {
                names.extend(rule.head.name());
                self.arities.push(rule.head.args.len());
                self.rules.push(Entry { module: index, rule });
            }
        }
        for names in self.packages.values_mut() {
            names.sort();
            names.dedup();
        }
        for index in 0..self.modules.len() {
            let Some(module) = self.modules.get(index) else { continue };
            let rules = self.packages.get(&module.package).cloned().unwrap_or_default();
            self.globals.push(names::globals(module, &rules, &mut self.names));
        }
    }

    /// What is done once, after a stage has gone over all rules.
    fn between(&mut self) {
        match self.stage {
            2 => self.duplicate_imports(),
            3 => self.empty_packages(),
            11 => self.tree_conflicts(),
            17 => self.check_recursion(),
            20 => {
                self.plan = std::mem::take(&mut self.lowered).plan(&self.tree);
                // What was rewritten is not needed any more.
                self.names = Names::default();
                self.graph = checks::Graph::default();
            }
            _ => {}
        }
    }

    // --- Stages ---

    fn with_rule(&mut self, index: usize, f: impl FnOnce(&mut Compiler, &mut Entry)) {
        // The rule is taken out while it is rewritten, so that the compiler's tables can be used.
        let Some(slot) = self.rules.get_mut(index) else { return };
        let empty = Entry { module: slot.module, rule: placeholder() };
        let mut entry = std::mem::replace(slot, empty);
        f(self, &mut entry);
        if let Some(slot) = self.rules.get_mut(index) {
            *slot = entry;
        }
    }

    fn resolve(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            let Some(globals) = this.globals.get(entry.module) else { return };
            if let Err(root) = names::resolve(globals, &mut entry.rule) {
                let message = format!("an argument hides `{root}`; give it another name");
                this.fault(Code::Compile, entry.rule.pos, message);
            }
        });
    }

    fn head_references(&mut self, index: usize) {
        self.with_rule(index, |this, entry| hoist::head_reference(&mut this.names, &mut entry.rule));
    }

    fn keyword_overrides(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            if this.modules.get(entry.module).is_some_and(|m| m.strict_v1) {
                for (pos, name) in checks::root_overrides(&entry.rule) {
                    let message = format!("`{name}` is a document and cannot be a name here; choose another");
                    this.fault(Code::Compile, pos, message);
                }
            }
        });
    }

    fn duplicate_imports(&mut self) {
        let mut found = Vec::new();
        for module in &self.modules {
            let mut seen = Map::default();
            for import in module.imports.iter().filter(|_| module.strict_v1) {
                if let Some(name) = names::import_name(import, &mut self.names) {
                    if seen.insert(name, ()).is_some() {
                        found.push((import.pos, name));
                    }
                }
            }
        }
        for (pos, name) in found {
            let message =
                format!("a second import is called `{}`; give one another name", self.names.text(name));
            self.fault(Code::Compile, pos, message);
        }
    }

    fn enter_tree(&mut self, index: usize) {
        let Some(entry) = self.rules.get(index) else { return };
        let Some(module) = self.modules.get(entry.module) else { return };
        let name = entry.rule.head.name().map(|sym| Value::from(self.names.text(sym)));
        let rest = entry.rule.head.reference.iter().skip(1).map_while(Term::as_scalar);
        let id = self.tree.add(module.package.iter().chain(&name).chain(rest));
        self.homes.resize(self.rules.len(), 0);
        if let Some(home) = self.homes.get_mut(index) {
            *home = id;
        }
        if let Some(node) = self.tree.nodes.get_mut(id as usize) {
            node.rules.push(index);
        }
    }

    fn empty_packages(&mut self) {
        let mut filled: BTreeMap<&[Value], bool> = BTreeMap::new();
        for entry in &self.rules {
            if let Some(module) = self.modules.get(entry.module) {
                filled.insert(&module.package, true);
            }
        }
        for module in &self.modules {
            if !filled.contains_key(module.package.as_slice()) {
                self.tree.add(module.package.iter());
            }
        }
    }

    fn local_variables(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            let Compiler { names, functions, .. } = this;
            let is_builtin = |sym: Sym| functions.simple.contains_key(&sym);
            let mut locals = locals::Locals::new(names, &is_builtin);
            locals.rule(&mut entry.rule);
            for (pos, message) in std::mem::take(&mut locals.faults) {
                this.fault(Code::Compile, pos, message);
            }
        });
    }

    fn template_strings(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            let Compiler { names, tree, functions, arities, rules, .. } = this;
            let arity = |op: &Term| arity_of(functions, tree, arities, op);
            let mut templates = hoist::Templates {
                names,
                always: &|path| checks::is_always_defined(tree, rules, path),
                is_relation: &|op| functions.find(op).is_some_and(|b| matches!(b.run, Run::Relation)),
                arity: &arity,
                faults: Vec::new(),
            };
            templates.rule(&mut entry.rule);
            entry.rule.branches.iter_mut().for_each(|b| templates.rule(b));
            for (pos, message) in templates.faults {
                this.fault(Code::Compile, pos, message);
            }
        });
    }

    fn prints(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            if !this.has_metadata {
                let pos = entry.rule.pos;
                let package = this.modules.get(entry.module).map(|m| m.package.clone()).unwrap_or_default();
                let mut path: Vec<Term> = package.into_iter().map(|step| Term::scalar(step, pos)).collect();
                path.extend(entry.rule.head.name().map(|name| Term::string(this.names.text(name), pos)));
                path.extend(
                    entry.rule.head.reference.iter().skip(1).take_while(|t| t.as_scalar().is_some()).cloned(),
                );
                let path = Term::new(TermValue::Array(path), pos);
                each(&mut entry.rule, &mut |rule| {
                    let head = &mut rule.head;
                    head.key
                        .iter_mut()
                        .chain(head.value.as_mut())
                        .for_each(|t| hoist::metadata_term(t, &path));
                    hoist::metadata(&mut rule.body, &path);
                });
            }
            if this.options.print {
                let Compiler { names, tree, functions, arities, .. } = this;
                let arity = |op: &Term| arity_of(functions, tree, arities, op);
                let mut prints = hoist::Prints { names, arity: &arity, faults: Vec::new() };
                each(&mut entry.rule, &mut |rule| prints.rule(rule));
                for (pos, message) in prints.faults {
                    this.fault(Code::Compile, pos, message);
                }
                return;
            }
            each(&mut entry.rule, &mut |rule| {
                let head = &mut rule.head;
                for term in head.args.iter_mut().chain(head.key.as_mut()).chain(head.value.as_mut()) {
                    vars::bodies_of_term(term, &mut hoist::erase_prints);
                }
                hoist::erase_prints(&mut rule.body);
            });
        });
    }

    fn expression_terms(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            each(&mut entry.rule, &mut |rule| hoist::expression_terms(&mut this.names, rule));
        });
    }

    fn comprehension_heads(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            each(&mut entry.rule, &mut |rule| hoist::comprehension_heads(&mut this.names, rule));
        });
    }

    fn head_terms(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            each(&mut entry.rule, &mut |rule| hoist::head_terms(&mut this.names, rule));
        });
    }

    fn with_values(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            let mut found = Vec::new();
            let Compiler { names, tree, functions, rules, .. } = this;
            each(&mut entry.rule, &mut |rule| {
                let mut evaluates = |target: &mut Term, value: &mut Term, pos: Pos| {
                    checks::with(tree, rules, functions, target, value).unwrap_or_else(|message| {
                        found.push((pos, message));
                        false
                    })
                };
                let head = &mut rule.head;
                for term in head.args.iter_mut().chain(head.key.as_mut()).chain(head.value.as_mut()) {
                    vars::bodies_of_term(term, &mut |b| hoist::with_values(names, b, &mut evaluates));
                }
                hoist::with_values(names, &mut rule.body, &mut evaluates);
            });
            for (pos, message) in found {
                this.fault(Code::Compile, pos, message);
            }
        });
    }

    fn rule_conflicts(&mut self, _index: usize) {}

    fn tree_conflicts(&mut self) {
        let mut found = checks::conflicts(&self.tree, &self.rules);
        found.extend(checks::package_conflicts(&self.tree, &self.rules, &self.modules));
        found.extend(checks::data_conflicts(&self.tree, &self.rules, &self.data));
        for (pos, message) in found {
            self.fault(Code::Type, pos, message);
        }
    }

    fn undefined_functions(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            let mut found = Vec::new();
            {
                let Compiler { names, tree, functions, arities, .. } = &*this;
                let arity = |op: &Term| arity_of(functions, tree, arities, op);
                each(&mut entry.rule, &mut |rule| {
                    checks::calls(rule, &arity, functions, names, &mut found);
                });
            }
            for (pos, message) in found {
                this.fault(Code::Type, pos, message);
            }
        });
    }

    fn safe_heads(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            each(&mut entry.rule, &mut |rule| {
                let mut bound = VarSet::new();
                SAFETY.body(&rule.body, &mut bound);
                let mut head = VarSet::new();
                rule.head.args.iter().for_each(|t| ALL.term(t, &mut bound));
                let terms = rule.head.reference.iter().skip(1).chain(&rule.head.key).chain(&rule.head.value);
                terms.for_each(|t| ALL.term(t, &mut head));
                for var in head.difference(&bound) {
                    if *var != Sym::INPUT && *var != Sym::DATA && !this.names.is_made(*var) {
                        let name = this.names.text(*var).to_owned();
                        this.unsafe_variable(rule.head.pos, &name);
                    }
                }
            });
        });
    }

    fn unsafe_variable(&mut self, pos: Pos, name: &str) {
        let message = format!(
            "variable `{name}` is unsafe: nothing gives it a value; bind it with `:=`, `some … in`, or a reference without `not`"
        );
        self.fault(Code::UnsafeVar, pos, message);
    }

    fn safe_bodies(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            each(&mut entry.rule, &mut |rule| {
                let mut globals = VarSet::from([Sym::INPUT, Sym::DATA]);
                rule.head.args.iter().for_each(|t| ALL.term(t, &mut globals));
                let mut found = Vec::new();
                {
                    let Compiler { tree, functions, arities, .. } = &*this;
                    let arity = |op: &Term| arity_of(functions, tree, arities, op);
                    safety::reorder(&mut rule.body, &globals, &arity, &mut found);
                }
                this.unsafe_variables(found);
            });
        });
    }

    fn unsafe_variables(&mut self, mut found: safety::Unsafe) {
        found.sort_by_key(|(sym, pos)| (*pos, *sym));
        found.dedup();
        // Names of the compiler's own are said only if nothing else explains the fault.
        if found.iter().any(|(sym, _)| !self.names.is_made(*sym)) {
            found.retain(|(sym, _)| !self.names.is_made(*sym));
        }
        for (sym, pos) in found {
            let name = self.names.text(sym).to_owned();
            let name = if self.names.is_made(sym) { "the value of this expression".to_owned() } else { name };
            self.unsafe_variable(pos, &name);
        }
    }

    fn equals(&mut self, index: usize) {
        self.with_rule(index, |_, entry| {
            each(&mut entry.rule, &mut |rule| {
                let head = &mut rule.head;
                for term in head.args.iter_mut().chain(head.key.as_mut()).chain(head.value.as_mut()) {
                    vars::bodies_of_term(term, &mut hoist::equals);
                }
                hoist::equals(&mut rule.body);
            });
        });
    }

    fn dynamic_terms(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            each(&mut entry.rule, &mut |rule| hoist::dynamic_terms(&mut this.names, &mut rule.body));
        });
    }

    fn recursion(&mut self, index: usize) {
        let Some(entry) = self.rules.get(index) else { return };
        self.graph.add(index, &entry.rule, &self.tree);
    }

    fn check_recursion(&mut self) {
        let (cycles, order) = self.graph.order(self.rules.len());
        self.order = order;
        for cycle in cycles {
            let Some(first) = cycle.first().and_then(|i| self.rules.get(*i)) else { continue };
            let pos = first.rule.pos;
            let path = cycle.iter().map(|i| self.path_of(*i)).collect::<Vec<_>>().join(" → ");
            let message = format!("rules must not reach themselves: {path}; break the chain");
            self.fault(Code::Recursion, pos, message);
        }
    }

    /// A rule's path, for messages.
    fn path_of(&self, index: usize) -> String {
        let Some(entry) = self.rules.get(index) else { return String::new() };
        let mut path = String::from("data");
        let package = self.modules.get(entry.module).map(|m| m.package.as_slice()).unwrap_or_default();
        for step in package {
            path.push('.');
            path.push_str(&String::from_utf8_lossy(step.as_bytes().unwrap_or_default()));
        }
        if let Some(name) = entry.rule.head.name() {
            path.push('.');
            path.push_str(self.names.text(name));
        }
        path
    }

    fn types(&mut self, index: usize) {
        let Some(index) = self.order.get(index).copied() else { return };
        let Compiler { rules, modules, types, tree, functions, names, graph, homes, .. } = self;
        let Some(entry) = rules.get(index) else { return };
        let package = modules.get(entry.module).map(|m| m.package.as_slice()).unwrap_or_default();
        let mut depend = |path: &[Term]| {
            graph.dependents(path, tree, rules.len()).filter_map(|r| homes.get(r).copied()).collect()
        };
        let mut checker = types::Checker::new(types, tree, functions, names, &mut depend);
        checker.rule(&entry.rule, package);
        entry.rule.branches.iter().for_each(|b| checker.rule(b, package));
        for (pos, message) in checker.faults {
            self.fault(Code::Type, pos, message);
        }
    }

    fn deprecated(&mut self, index: usize) {
        let Some(entry) = self.rules.get(index) else { return };
        if !self.modules.get(entry.module).is_some_and(|m| m.strict_v1) {
            return;
        }
        self.with_rule(index, |this, entry| {
            let mut found = Vec::new();
            each(&mut entry.rule, &mut |rule| {
                checks::each_call(rule, &mut |terms, pos| {
                    let builtin = terms.first().and_then(|op| this.functions.find(op));
                    if let Some(builtin) = builtin.filter(|b| b.deprecated) {
                        found.push((pos, builtin.name));
                    }
                });
            });
            for (pos, name) in found {
                let message =
                    format!("`{name}` is deprecated and not in Rego v1; write it with what Rego v1 has");
                this.fault(Code::Type, pos, message);
            }
        });
    }

    fn lower(&mut self, index: usize) {
        self.with_rule(index, |this, entry| {
            let Compiler { tree, functions, lowered: plan, modules, names, arities, .. } = this;
            let package = modules.get(entry.module).map(|m| m.package.as_slice()).unwrap_or_default();
            let scope = lower::Scope { tree, functions, names, arities };
            let lowered = plan.rule(index, &entry.rule, package, &scope);
            if let Err(fault) = lowered {
                this.fault(fault.code, fault.pos, fault.message);
            }
        });
    }
}

impl Compiler {
    fn pure(&mut self, index: usize) {
        // In the order of what they depend on: what a rule refers to is known before it.
        if let Some(index) = self.order.get(index) {
            self.purity.rule(*index as u32, &self.plan);
        }
        if let Some(entry) = self.rules.get_mut(index) {
            entry.rule = placeholder();
        }
    }

    /// Builds the indices of some nodes, or of some rules of one.
    fn index(&mut self, rules: usize) {
        let mut left = rules.max(1);
        while left > 0 && self.at < self.plan.nodes.len() {
            let at = self.at as NodeId;
            let members = match self.plan.node(at) {
                Some(node) => node.rules.clone(),
                None => return,
            };
            let mut building = match self.building.take() {
                Some(building) => building,
                None => {
                    let pure = self.purity.node(at, &self.plan);
                    if let Some(node) = self.plan.nodes.get_mut(self.at) {
                        node.pure = pure;
                    }
                    Building::new(&members, &self.plan, pure)
                }
            };
            let scan = self.options.scan || members.is_empty();
            let done = scan || building.step(&members, &self.plan, left);
            left = left.saturating_sub(members.len().max(1));
            if !done {
                self.building = Some(building);
                continue;
            }
            let index = if scan { building.scan() } else { building.finish() };
            if let Some(node) = self.plan.nodes.get_mut(self.at) {
                node.index = index;
            }
            self.at += 1;
        }
    }
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

/// The builtins, found by the symbols of their names.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    simple: Map<Sym, &'static Builtin>,
    dotted: Map<Sym, Vec<&'static Builtin>>,
}

impl Functions {
    fn new(names: &mut Names) -> Functions {
        let mut functions = Functions::default();
        for builtin in builtins::all() {
            match builtin.name.split_once('.') {
                None => {
                    functions.simple.insert(names.intern(builtin.name), builtin);
                }
                Some((first, _)) => {
                    functions.dotted.entry(names.intern(first)).or_default().push(builtin);
                }
            }
        }
        functions
    }

    /// The builtin that an operator, or the path of a reference, names.
    pub(crate) fn find(&self, op: &Term) -> Option<&'static Builtin> {
        match &op.value {
            TermValue::Ref(path) => self.find_path(path),
            TermValue::Var(sym) => self.simple.get(sym).copied(),
            _ => None,
        }
    }

    pub(crate) fn find_path(&self, path: &[Term]) -> Option<&'static Builtin> {
        let (first, rest) = path.split_first()?;
        let sym = first.as_var()?;
        if rest.is_empty() {
            return self.simple.get(&sym).copied();
        }
        self.dotted.get(&sym)?.iter().copied().find(|builtin| {
            let mut words = builtin.name.split('.').skip(1);
            rest.iter().all(|step| {
                let word = words.next();
                word.is_some() && step.as_scalar().and_then(Value::as_bytes) == word.map(str::as_bytes)
            }) && words.next().is_none()
        })
    }
}
