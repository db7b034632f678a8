//! What one rule costs before it is evaluated and while it is, read off its syntax tree.
//!
//! The engine evaluates by calling itself: for a rule that another one reads, for a statement that iterates, for a
//! comprehension, a call, an operator. The stack of a VM is short, and to run out of it ends the VM. So what each of
//! them takes is added up along the longest way ([`Outline::stack_bytes`]), and what a rule reads is kept, so that the
//! ways through several rules can be followed (`depth.rs`). In the same walk the steps of the engine's preparation
//! are counted ([`Outline::work`]): several grow with the square of a body, or double with each part of a reference.
//!
//! Calls itself only as deep as a file may nest, which `tokens.rs` bounds.

use std::{collections::BTreeSet, mem};

use regorus::unstable::{Expr, Literal, LiteralStmt, Rule, RuleHead};

use super::syntax::{children, constant_path};

/// Bytes that the engine takes of V8's stack for each thing that it calls itself for: what a thread has (984 KB) by the
/// greatest depth that was seen to end well, rounded up. Of the stack in the module's own memory (`build.rs`) it takes
/// up to 1.7 times as much.
mod stack {
    pub(super) const RULE: u32 = 1400;
    pub(super) const FUNCTION: u32 = 700;
    pub(super) const ITERATION: u32 = 700;
    pub(super) const EVERY: u32 = 700;
    pub(super) const COMPREHENSION: u32 = 1000;
    pub(super) const CALL: u32 = 600;
    pub(super) const OPERATOR: u32 = 450;
    pub(super) const INDEX: u32 = 600;
}

/// Steps of the engine's preparation, of some six nanoseconds each.
mod work {
    pub(super) const RULE: u64 = 3000;
    pub(super) const NODE: u64 = 30;
    /// A variable in the brackets of a reference, each time that the scheduler comes by it.
    pub(super) const INDEX: u64 = 300;
    /// A part of a rule's path, for each part before it.
    pub(super) const PATH: u64 = 100;
    /// A default with a key, for each of its rule before it.
    pub(super) const DEFAULT: u64 = 5;
}

/// What one rule is and costs.
#[derive(Debug, Clone, Default)]
pub(super) struct Outline {
    /// Its path below `data`, up to its first part that is not constant.
    pub(super) path: Vec<String>,
    pub(super) line: u32,
    pub(super) is_function: bool,
    /// Every path that it reads, with the name at its root, up to its first part that is not constant.
    pub(super) reads: BTreeSet<Vec<String>>,
    /// What `with` puts in the place of what, both as written.
    pub(super) replaced: BTreeSet<(Vec<String>, Vec<String>)>,
    /// What it takes of the stack without the rules that it reads.
    pub(super) stack_bytes: u32,
    /// Steps of the engine's preparation.
    pub(super) work: u64,
}

/// A rule that is being walked.
struct Walk<'a> {
    outline: Outline,
    arguments: BTreeSet<&'a str>,
    /// The body at hand.
    body: Body,
}

/// What has been seen of a body.
#[derive(Default, Clone, Copy)]
struct Body {
    iterations: u32,
    /// Its own variables, and those of the bodies within it.
    variables: u64,
    inner_variables: u64,
    nodes: u64,
}

/// What is evaluated where a body ends.
#[derive(Default, Clone, Copy)]
struct Output {
    stack_bytes: u32,
    variables: u64,
}

// === impl Outline ===

impl Outline {
    /// Reads a rule of a package. `defaults`: how many defaults of its path stand before it.
    pub(super) fn of(rule: &Rule, package: &[String], defaults: u64) -> Self {
        let (span, head, is_function) = match rule {
            Rule::Spec { span, head, .. } => match head {
                RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } => (span, refr, false),
                RuleHead::Func { refr, .. } => (span, refr, true),
            },
            Rule::Default { span, refr, args, .. } => (span, refr, !args.is_empty()),
        };
        let path = package.iter().cloned().chain(constant_path(head)).collect();
        let outline = Self { path, line: span.line, is_function, ..Self::default() };
        let mut walk = Walk { outline, arguments: arguments(rule), body: Body::default() };
        walk.rule(rule);
        let own = if is_function { stack::FUNCTION } else { stack::RULE };
        let parts = package.len() as u64 + parts(head);
        let mut outline = walk.outline;
        outline.stack_bytes = outline.stack_bytes.saturating_add(own);
        outline.work = outline
            .work
            .saturating_add(work::RULE)
            .saturating_add(parts.saturating_mul(parts).saturating_mul(work::PATH) / 2)
            .saturating_add(defaults.saturating_mul(work::DEFAULT));
        outline
    }
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn rule(&mut self, rule: &'a Rule) {
        let (outputs, bodies) = children(rule);
        // What the head says is looked at again for each body.
        let output = self.output(&outputs, bodies.len().max(1) as u64);
        let mut deepest = output.stack_bytes;
        for body in bodies {
            deepest = deepest.max(self.query(&body.stmts, output, 1));
        }
        self.outline.stack_bytes = deepest;
    }

    /// Walks what stands at the end of bodies. `times`: how often the scheduler comes by.
    fn output(&mut self, outputs: &[&'a Expr], times: u64) -> Output {
        let (around, before) = (mem::take(&mut self.body), mem::take(&mut self.outline.work));
        let deepest = self.deepest(outputs.iter().copied(), 1);
        let body = mem::replace(&mut self.body, around);
        self.prepare(body.nodes.saturating_mul(work::NODE));
        self.outline.work = before.saturating_add(self.outline.work.saturating_mul(times));
        Output {
            stack_bytes: deepest.saturating_add(body.iterations.saturating_mul(stack::ITERATION)),
            variables: body.variables.saturating_add(body.inner_variables),
        }
    }

    /// Walks a body. `times`: how often the scheduler comes by.
    fn query(&mut self, statements: &'a [LiteralStmt], output: Output, times: u64) -> u32 {
        let (around, before) = (mem::take(&mut self.body), mem::take(&mut self.outline.work));
        let mut deepest = output.stack_bytes;
        for statement in statements {
            deepest = deepest.max(self.statement(statement));
        }
        let body = mem::replace(&mut self.body, around);
        let all = body.variables.saturating_add(body.inner_variables).saturating_add(output.variables);
        self.body.inner_variables = self.body.inner_variables.saturating_add(all);
        // Each statement and each variable is looked at for each variable.
        self.prepare((statements.len() as u64).saturating_add(body.variables).saturating_mul(all));
        self.prepare(body.nodes.saturating_mul(work::NODE));
        self.outline.work = before.saturating_add(self.outline.work.saturating_mul(times));
        deepest.saturating_add(body.iterations.saturating_mul(stack::ITERATION))
    }

    fn prepare(&mut self, steps: u64) {
        self.outline.work = self.outline.work.saturating_add(steps);
    }

    fn statement(&mut self, statement: &'a LiteralStmt) -> u32 {
        let (mut deepest, mut times) = (0, 1_u64);
        match &statement.literal {
            Literal::SomeVars { vars, .. } => self.body.variables += vars.len() as u64,
            Literal::SomeIn { key, value, collection, .. } => {
                self.body.iterations += 1;
                for part in key.iter().chain([value, collection]) {
                    deepest = deepest.max(self.expression(part, times));
                }
                times = times.saturating_mul(3);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => {
                deepest = self.expression(expr, times);
                // The values of `with` are looked at for both sides of each pair.
                if let Expr::AssignExpr { lhs, .. } = expr.as_ref() {
                    times = times.saturating_mul(2).saturating_mul(pairs(lhs));
                }
            }
            Literal::Every { domain, query, .. } => {
                self.body.variables += 2;
                deepest = self.expression(domain, times);
                let body = self.query(&query.stmts, Output::default(), times);
                deepest = deepest.max(body.saturating_add(stack::EVERY));
            }
        }
        for with in &statement.with_mods {
            deepest = deepest.max(self.expression(&with.r#as, times));
            let (target, value) = (constant_path(&with.refr), constant_path(&with.r#as));
            if !value.is_empty() && target.first().is_some_and(|root| root != "input") {
                self.outline.replaced.insert((target, value));
            }
        }
        deepest
    }

    fn expression(&mut self, expression: &'a Expr, times: u64) -> u32 {
        self.body.nodes = self.body.nodes.saturating_add(times);
        match expression {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => 0,
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                self.reference(expression, times)
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                let output = self.output(&[term], times);
                self.query(&query.stmts, output, times).saturating_add(stack::COMPREHENSION)
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                let output = self.output(&[key, value], times);
                self.query(&query.stmts, output, times).saturating_add(stack::COMPREHENSION)
            }
            Expr::Call { fcn, params, .. } => {
                let path = constant_path(fcn);
                if path.first().is_some_and(|name| name == "walk") {
                    self.body.iterations += 1;
                }
                self.read(path);
                self.deepest(params.iter().map(AsRef::as_ref), times).saturating_add(stack::CALL)
            }
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                self.deepest(items.iter().map(AsRef::as_ref), times).saturating_add(stack::OPERATOR)
            }
            Expr::Object { fields, .. } => {
                let parts = fields.iter().flat_map(|(_, key, value)| [key.as_ref(), value.as_ref()]);
                self.deepest(parts, times).saturating_add(stack::OPERATOR)
            }
            Expr::UnaryExpr { expr, .. } => self.expression(expr, times).saturating_add(stack::OPERATOR),
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. }
            | Expr::AssignExpr { lhs, rhs, .. } => {
                self.deepest([lhs.as_ref(), rhs.as_ref()], times).saturating_add(stack::OPERATOR)
            }
            Expr::Membership { key, value, collection, .. } => {
                let parts = key.iter().map(AsRef::as_ref).chain([value.as_ref(), collection.as_ref()]);
                self.deepest(parts, times).saturating_add(stack::OPERATOR)
            }
        }
    }

    fn deepest(&mut self, parts: impl IntoIterator<Item = &'a Expr>, times: u64) -> u32 {
        parts.into_iter().map(|part| self.expression(part, times)).max().unwrap_or(0)
    }

    /// A name with whatever follows it. The scheduler comes by everything before a variable in brackets once more.
    fn reference(&mut self, reference: &'a Expr, times: u64) -> u32 {
        let (mut part, mut times, mut bytes, mut deepest) = (reference, times, 0_u32, 0);
        loop {
            match part {
                Expr::RefDot { refr, .. } => part = refr,
                Expr::RefBrack { refr, index, .. } => {
                    if !matches!(index.as_ref(), Expr::String { .. }) {
                        bytes = bytes.saturating_add(stack::INDEX);
                        deepest = deepest.max(self.expression(index, times));
                        let variables = variables(index);
                        if variables > 0 {
                            self.body.iterations += 1;
                            self.prepare(times.saturating_mul(work::INDEX));
                            times = times.saturating_mul(1 + variables);
                        }
                    }
                    part = refr;
                }
                Expr::Var { span, .. } => {
                    self.body.variables = self.body.variables.saturating_add(times);
                    if !self.arguments.contains(span.text()) {
                        self.read(constant_path(reference));
                    }
                    break;
                }
                _ => {
                    deepest = deepest.max(self.expression(part, times));
                    break;
                }
            }
            self.body.nodes = self.body.nodes.saturating_add(times);
        }
        bytes.saturating_add(deepest)
    }

    fn read(&mut self, path: Vec<String>) {
        if path.first().is_some_and(|root| root != "input") {
            self.outline.reads.insert(path);
        }
    }
}

/// Names of the arguments, which are bound wherever the rule reads them.
fn arguments(rule: &Rule) -> BTreeSet<&str> {
    let arguments = match rule {
        Rule::Spec { head: RuleHead::Func { args, .. }, .. } | Rule::Default { args, .. } => args.as_slice(),
        Rule::Spec { .. } => &[],
    };
    let mut names = BTreeSet::new();
    for argument in arguments {
        if let Expr::Var { span, .. } = argument.as_ref() {
            names.insert(span.text());
        }
    }
    names
}

/// How many parts a reference has.
fn parts(mut reference: &Expr) -> u64 {
    let mut parts = 1;
    while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = reference {
        reference = refr;
        parts += 1;
    }
    parts
}

/// Variables that brackets may bind: those that stand there, alone or in lists and objects.
fn variables(index: &Expr) -> u64 {
    match index {
        Expr::Var { .. } => 1,
        Expr::Array { items, .. } => items.iter().map(|item| variables(item)).sum(),
        Expr::Object { fields, .. } => {
            fields.iter().map(|(_, key, value)| variables(key) + variables(value)).sum()
        }
        _ => 0,
    }
}

/// How many pairs an assignment to this is taken apart into.
fn pairs(left: &Expr) -> u64 {
    match left {
        Expr::Array { items, .. } => items.iter().map(|item| pairs(item)).sum::<u64>().max(1),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::module::{Module, ModuleError, RegoVersion};

    fn parse(text: &str) -> Result<Module, ModuleError> {
        Module::parse("test.rego".to_owned(), format!("package a\n\n{text}\n"), RegoVersion::V1)
    }

    fn is_work(text: &str) -> bool {
        matches!(parse(text), Err(ModuleError::Work { line: 3, .. }))
    }

    fn repeated(count: usize, unit: impl Fn(usize) -> String) -> String {
        (0..count).map(unit).collect()
    }

    #[test]
    fn a_body_of_thousands_of_statements_is_refused_by_its_rule() {
        let units: &[fn(usize) -> String] = &[
            |n| format!("\tx{n} := input.a\n"),
            |n| format!("\tinput.a == {n}\n"),
            |n| format!("\tsome x{n}\n"),
            |n| format!("\tx{n} := [y | y := {n}]\n"),
        ];
        for unit in units {
            assert!(is_work(&format!("allow if {{\n{}}}", repeated(3000, unit))), "{}", unit(0));
            assert!(parse(&format!("allow if {{\n{}}}", repeated(300, unit))).is_ok(), "{}", unit(0));
        }
        let comprehension = format!("allow := [1 |\n{}]", repeated(3000, units[0]));
        assert!(is_work(&comprehension));
        let list = |sign: &str| format!("[{}]", repeated(3000, |n| format!("{sign}{n},")));
        assert!(is_work(&format!("allow if {} = {}", list("x"), list(""))));
    }

    #[test]
    fn what_the_scheduler_comes_by_again_and_again_counts_each_time() {
        let brackets = |count: usize| format!("allow if {{ some x; input{} }}", "[x]".repeat(count));
        assert!(is_work(&brackets(16)));
        assert!(parse(&brackets(8)).is_ok());
        let pairs = |count: usize| format!("allow if {{ some x; input{} }}", "[[x, x, x]]".repeat(count));
        assert!(is_work(&pairs(10)));
        let nested = (0..7).fold("1".to_owned(), |inner, _| format!("[y | some x; y := {inner}][x][x]"));
        assert!(is_work(&format!("allow if {{ some x; {nested} }}")));
        assert!(is_work(&format!("allow if {{ some x; input{} == 1 }}", "[x].a".repeat(16))));
    }

    #[test]
    fn a_path_counts_for_each_of_its_parts() {
        let rules = |count: usize| repeated(count, |n| format!("x{}.b{n} := 1\n", ".a".repeat(150)));
        assert!(parse(&rules(1)).unwrap().work() > 1_000_000);
        assert!(parse("x := 1").unwrap().work() < 10_000);
    }

    #[test]
    fn defaults_of_one_rule_count_for_each_before_them() {
        let defaults =
            |count: usize| parse(&repeated(count, |n| format!("default x[{n}] := 1\n"))).unwrap().work();
        let (few, many) = (defaults(100), defaults(5000));
        assert!(many > 75 * few, "{few} {many}");
    }

    #[test]
    fn a_rule_that_iterates_or_nests_too_deeply_is_refused() {
        let is_stack = |text: &str| matches!(parse(text), Err(ModuleError::Stack { line: 3, .. }));
        assert!(is_stack(&format!("allow if {{\n{}}}", repeated(300, |_| "\tsome x in [1]\n".to_owned()))));
        assert!(is_stack(&format!("allow if {{\n{}}}", repeated(300, |_| "\tinput[_]\n".to_owned()))));
        assert!(
            parse(&format!("allow if {{\n{}}}", repeated(100, |_| "\tsome x in [1]\n".to_owned()))).is_ok()
        );
    }
}
