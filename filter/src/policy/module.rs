//! One Rego file: parsed once to be judged before any engine holds it.
//!
//! A file is counted on its tokens before the parser may have it (`tokens.rs`). What the engine accepts but would get
//! wrong or die of (a function nobody provides, a function that calls itself, a chain of rules that ends the stack) is
//! found from the syntax tree, here and where all files of a policy are known.

use std::{collections::BTreeMap, num::NonZeroUsize};

use regorus::{
    Engine, PolicyLengthConfig,
    unstable::{AssignOp, Expr, Literal, LiteralStmt, Module as Ast, Rule},
};

use super::{
    negation,
    outline::Outline,
    syntax::{Node, constant_path, walk_query, walk_rule},
    tokens::{self, MAX_COLUMNS},
};

const MAX_FILE_BYTES: NonZeroUsize = NonZeroUsize::new(1 << 20).unwrap();
const MAX_LINES: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();
/// Steps of the engine's preparation for one rule: fifty milliseconds.
const MAX_RULE_WORK: u64 = 8_000_000;
/// Rules may stand on one another as deep as half the stack of a VM; a single one has no reason to.
const MAX_RULE_STACK_BYTES: u32 = 200_000;

/// Language version of a file. Source: OPA's bundle manifest, `rego_version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RegoVersion {
    /// Rego as before OPA 1.0.
    V0,
    /// Rego as of OPA 1.0.
    #[default]
    V1,
}

/// A Rego file that parses, with what is known about it before it is evaluated.
#[derive(Debug, Clone)]
pub struct Module {
    /// Name in messages: bundle and path.
    pub name: String,
    pub(super) text: String,
    pub(super) version: RegoVersion,
    /// Keys of the package below `data`.
    pub package: Vec<String>,
    /// Names that imports give to paths, which begin with `data` or `input`.
    pub(super) imports: Vec<(String, Vec<String>)>,
    pub(super) rules: Vec<Outline>,
    pub(super) calls: Vec<Call>,
}

/// One call in a module.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The function whose body the call is in; none in a rule.
    pub(super) caller: Option<Vec<String>>,
    /// The name as written: `count`, `data.lib.f`.
    pub(super) name: String,
    /// Path below `data` if the name means a function of a policy.
    pub(super) target: Vec<String>,
    pub(super) line: u32,
}

/// Why a Rego file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// The parser's own message, with file, line and column.
    #[error("{message}")]
    Syntax {
        /// As the engine renders it, on one line.
        message: String,
    },
    /// Parsing would take too long.
    #[error(
        "{name}:{line}: brackets nest too deeply to be parsed in time; move the value to data.json or split it"
    )]
    Nesting {
        /// The file.
        name: String,
        /// The line of the bracket that exceeds the budget.
        line: u32,
    },
    /// More of something than the stack or the time of a VM allows.
    #[error("{name}:{line}: there are more than {limit} {what}; {cure}")]
    Limit {
        /// The file.
        name: String,
        /// The line where the limit is passed.
        line: u32,
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: usize,
        /// What to do about it.
        cure: &'static str,
    },
    /// The engine would take too long to prepare a rule.
    #[error(
        "{name}:{line}: the rule has too many statements and variables in one body, or too many variables in the \
         brackets of one reference; split it"
    )]
    Work {
        /// The file.
        name: String,
        /// The line of the rule.
        line: u32,
    },
    /// Evaluating a rule would exhaust the VM's stack.
    #[error("{name}:{line}: the rule iterates and nests too deeply; give parts of it rules of their own")]
    Stack {
        /// The file.
        name: String,
        /// The line of the rule.
        line: u32,
    },
    /// A negated expression that would be evaluated with another meaning than OPA gives it.
    #[error("{name}:{line}: the expression after `not` {fault}; {cure}")]
    Negation {
        /// The file.
        name: String,
        /// The line of the fault.
        line: u32,
        /// What is wrong with it.
        fault: &'static str,
        /// What to write instead.
        cure: &'static str,
    },
    /// A comparison that the engine takes for an assignment.
    #[error(
        "{name}:{line}: `=` with a variable of `every` would assign and hold for anything; compare with `==`"
    )]
    EveryBinds {
        /// The file.
        name: String,
        /// The line of the `=`.
        line: u32,
    },
    /// The file does not parse any more once what `not` negates is assigned before it.
    #[error("{message}: assign the operands of `not` to variables before it")]
    Rewritten {
        /// The parser's message, with file and line.
        message: String,
    },
}

// === impl Module ===

impl Module {
    /// Parses one file.
    ///
    /// Errors: [`ModuleError`] for text that is not Rego of this version, or that is too large, too wide or too
    /// deeply nested.
    pub fn parse(name: String, text: String, version: RegoVersion) -> Result<Self, ModuleError> {
        #[cfg(feature = "hooks")]
        crate::hooks::switched::end_at_read(&text);
        tokens::check(&name, &text, version)?;
        let mut ast = add(&mut Engine::new(), &name, &text, version)?;
        let mut text = text;
        if let Some(rewritten) = negation::rewrite(&name, &text, &ast)? {
            tokens::check(&name, &rewritten, version)?;
            let parsed = add(&mut Engine::new(), &name, &rewritten, version);
            ast = parsed.map_err(|error| ModuleError::Rewritten { message: error.to_string() })?;
            text = rewritten;
        }
        let package = constant_path(&ast.package.refr);
        let imports = ast.imports.iter().filter_map(|import| {
            let path = constant_path(&import.refr);
            let alias = import.r#as.as_ref().map(|span| span.text().to_owned());
            Some((alias.or_else(|| path.last().cloned())?, path))
        });
        let imports = imports.collect();
        let mut module = Self { name, text, version, package, imports, rules: Vec::new(), calls: Vec::new() };
        let mut defaults = BTreeMap::new();
        for rule in &ast.policy {
            check_every(&module.name, rule)?;
            module.record(rule, &mut defaults)?;
        }
        Ok(module)
    }

    /// The text that is compiled.
    #[cfg(feature = "hooks")]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Steps of the engine's preparation.
    pub(super) fn work(&self) -> u64 {
        self.rules.iter().map(|rule| rule.work).fold(0, u64::saturating_add)
    }

    /// Adds the file to an engine. Errors: as [`Module::parse`], which it has passed before.
    pub(super) fn add_to(&self, engine: &mut Engine) -> Result<(), ModuleError> {
        add(engine, &self.name, &self.text, self.version).map(|_| ())
    }

    fn record(&mut self, rule: &Rule, defaults: &mut BTreeMap<String, u64>) -> Result<(), ModuleError> {
        let mut before = 0;
        if let Rule::Default { refr, .. } = rule {
            let same = defaults.entry(constant_path(refr).join(".")).or_default();
            before = *same;
            *same += 1;
        }
        let outline = Outline::of(rule, &self.package, before);
        let (name, line) = (self.name.clone(), outline.line);
        if outline.work > MAX_RULE_WORK {
            return Err(ModuleError::Work { name, line });
        }
        if outline.stack_bytes > MAX_RULE_STACK_BYTES {
            return Err(ModuleError::Stack { name, line });
        }
        let caller = outline.is_function.then(|| outline.path.clone());
        walk_rule(rule, &mut |node| {
            if let Node::Expression(Expr::Call { fcn, span, .. }) = node {
                let written = constant_path(fcn);
                let target = resolve(&written, &self.package, &self.imports);
                self.calls.push(Call {
                    caller: caller.clone(),
                    name: written.join("."),
                    target,
                    line: span.line,
                });
            }
        });
        self.rules.push(outline);
        Ok(())
    }
}

fn add(
    engine: &mut Engine,
    name: &str,
    text: &str,
    version: RegoVersion,
) -> Result<regorus::unstable::Ref<Ast>, ModuleError> {
    engine.set_rego_v0(version == RegoVersion::V0);
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: MAX_COLUMNS,
        max_file_bytes: MAX_FILE_BYTES,
        max_lines: MAX_LINES,
    });
    let syntax = |message: String| ModuleError::Syntax { message: one_line(&message) };
    engine.add_policy(name.to_owned(), text.to_owned()).map_err(|error| syntax(error.to_string()))?;
    let ast = engine.get_modules().last().cloned();
    ast.ok_or_else(|| syntax(format!("{name}: the engine did not keep the module")))
}

/// Refuses `every x in xs { x = 2 }`: OPA compares, the engine binds `x` anew and holds for any `xs`.
fn check_every(name: &str, rule: &Rule) -> Result<(), ModuleError> {
    let mut fault = None;
    walk_rule(rule, &mut |node| {
        let Node::Statement(LiteralStmt { literal: Literal::Every { key, value, query, .. }, .. }) = node
        else {
            return;
        };
        let bound = |side: &Expr| match side {
            Expr::Var { span, .. } => {
                span.text() == value.text() || key.as_ref().is_some_and(|key| span.text() == key.text())
            }
            _ => false,
        };
        walk_query(query, &mut |node| {
            if let Node::Expression(Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, span, .. }) = node
                && (bound(lhs) || bound(rhs))
            {
                fault.get_or_insert(span.line);
            }
        });
    });
    fault.map_or(Ok(()), |line| Err(ModuleError::EveryBinds { name: name.to_owned(), line }))
}

/// The path below `data` that a called name means, if it does not mean a builtin.
fn resolve(written: &[String], package: &[String], imports: &[(String, Vec<String>)]) -> Vec<String> {
    let Some((first, rest)) = written.split_first() else {
        return Vec::new();
    };
    if first == "data" {
        return rest.to_vec();
    }
    for (alias, path) in imports {
        if alias == first
            && let Some(("data", imported)) =
                path.split_first().map(|(root, imported)| (root.as_str(), imported))
        {
            return imported.iter().chain(rest).cloned().collect();
        }
    }
    package.iter().chain(written).cloned().collect()
}

/// The engine draws its messages over several lines, with one of the policy's; a log entry has one, and no source text.
pub(super) fn one_line(message: &str) -> String {
    let is_source = |line: &&str| {
        let behind = line.trim_start_matches(|c: char| c.is_ascii_digit() || c.is_whitespace());
        behind.starts_with('|')
    };
    let lines = message.lines().filter(|line| !is_source(line));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).filter(|word| *word != "-->").collect();
    let line = words.join(" ");
    match line.char_indices().nth(400) {
        Some((end, _)) => format!("{} …", line.split_at(end).0),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Module, ModuleError> {
        Module::parse("test.rego".to_owned(), text.to_owned(), RegoVersion::V1)
    }

    #[test]
    fn a_module_knows_its_package_rules_functions_and_calls() {
        let module = parse(
            "package a.b\nimport data.lib.text as t\n\nallow if f(input.x)\nf(x) if t.g(upper(x))\nm[k] := 1 if some k in [1]\n",
        )
        .unwrap();
        assert_eq!(module.package, ["a", "b"]);
        let rules: Vec<_> = module.rules.iter().map(|rule| (rule.path.join("."), rule.is_function)).collect();
        assert_eq!(
            rules,
            [("a.b.allow", false), ("a.b.f", true), ("a.b.m", false)].map(|(path, is)| (path.to_owned(), is))
        );
        let calls: Vec<String> = module.calls.iter().map(|call| call.target.join(".")).collect();
        assert_eq!(calls, ["a.b.f", "lib.text.g", "a.b.upper"]);
    }

    #[test]
    fn a_variable_of_every_is_compared_and_never_assigned() {
        let body = |body: &str| {
            parse(&format!("package a\n\nx if {{\n\tevery k, v in input.xs {{\n\t\t{body}\n\t}}\n}}\n"))
        };
        for refused in ["v = 2", "2 = v", "k = 0", "some y in [1]; [1 | v = y] == [1]"] {
            assert!(matches!(body(refused), Err(ModuleError::EveryBinds { line: 5, .. })), "{refused}");
        }
        for accepted in ["v == 2", "y := v; y > 1", "z = v + 1; z > k"] {
            assert!(body(accepted).is_ok(), "{accepted}: {:?}", body(accepted).err());
        }
    }

    #[test]
    fn a_syntax_error_names_file_and_line() {
        let error = parse("package a\n\nallow if {\n").unwrap_err().to_string();
        assert!(error.contains("test.rego:"), "{error}");
        assert!(!error.contains('\n') && !error.contains('|'), "{error}");
        let error = parse("package a\n\nkey := \"secret\" secret\n").unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("test.rego:3:"), "{error}");
    }
}
