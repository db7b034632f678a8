//! One Rego file: parsed once to be judged before any engine holds it.
//!
//! The engine's parser backtracks at every bracket, so its time doubles with each level of nesting; a budget
//! counted on tokens keeps such a file away from it. What the engine accepts but would get wrong or die of at
//! request time (a function nobody provides, a function that calls itself) is found here from the syntax tree.

use std::num::{NonZeroU32, NonZeroUsize};

use regorus::{
    Engine, PolicyLengthConfig, Source,
    unstable::{AssignOp, Expr, Lexer, Literal, LiteralStmt, Module as Ast, Rule, RuleHead, TokenKind},
};

use super::{
    negation,
    syntax::{Node, constant_path, walk_query, walk_rule},
};

/// The engine's default of 1,024 columns refuses a key set or a PEM on one line.
const MAX_COLUMNS: NonZeroU32 = NonZeroU32::new(1 << 16).unwrap();
const MAX_FILE_BYTES: NonZeroUsize = NonZeroUsize::new(1 << 20).unwrap();
const MAX_LINES: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();
/// Sum over all opening brackets of two to the power of their depth: about half a microsecond of parsing each.
const NESTING_BUDGET: u64 = 1 << 18;

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
    /// Path below `data` of every rule, up to its first part that is not constant.
    pub(super) rules: Vec<Vec<String>>,
    /// Path below `data` of every function.
    pub(super) functions: Vec<Vec<String>>,
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
        check_nesting(&name, &text)?;
        let mut ast = add(&mut Engine::new(), &name, &text, version)?;
        let mut text = text;
        if let Some(rewritten) = negation::rewrite(&name, &text, &ast)? {
            check_nesting(&name, &rewritten)?;
            let parsed = add(&mut Engine::new(), &name, &rewritten, version);
            ast = parsed.map_err(|error| ModuleError::Rewritten { message: error.to_string() })?;
            text = rewritten;
        }
        let package = constant_path(&ast.package.refr);
        let mut module = Self {
            name,
            text,
            version,
            package,
            rules: Vec::new(),
            functions: Vec::new(),
            calls: Vec::new(),
        };
        for rule in &ast.policy {
            check_every(&module.name, rule)?;
            module.record(rule, &ast);
        }
        Ok(module)
    }

    /// The text that is compiled.
    #[cfg(feature = "hooks")]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Adds the file to an engine. Errors: as [`Module::parse`], which it has passed before.
    pub(super) fn add_to(&self, engine: &mut Engine) -> Result<(), ModuleError> {
        add(engine, &self.name, &self.text, self.version).map(|_| ())
    }

    fn record(&mut self, rule: &Rule, ast: &Ast) {
        let (head, is_function) = match rule {
            Rule::Spec { head, .. } => match head {
                RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } => (refr, false),
                RuleHead::Func { refr, .. } => (refr, true),
            },
            Rule::Default { refr, args, .. } => (refr, !args.is_empty()),
        };
        let mut path = self.package.clone();
        path.extend(constant_path(head));
        let caller = is_function.then(|| path.clone());
        if is_function {
            self.functions.push(path.clone());
        }
        self.rules.push(path);
        let package = &self.package;
        let calls = &mut self.calls;
        walk_rule(rule, &mut |node| {
            if let Node::Expression(Expr::Call { fcn, span, .. }) = node {
                let written = constant_path(fcn);
                let target = resolve(&written, package, ast);
                calls.push(Call { caller: caller.clone(), name: written.join("."), target, line: span.line });
            }
        });
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

fn check_nesting(name: &str, text: &str) -> Result<(), ModuleError> {
    // What the lexer refuses, the parser will refuse too, with the better message.
    let Ok(source) = Source::from_contents(name.to_owned(), text.to_owned()) else {
        return Ok(());
    };
    let mut lexer = Lexer::new(&source);
    let (mut depth, mut cost) = (0_u32, 0_u64);
    while let Ok(token) = lexer.next_token() {
        let span = &token.1;
        match (&token.0, span.text()) {
            (TokenKind::Eof, _) => break,
            (TokenKind::Symbol, "[" | "{") => {
                depth = depth.saturating_add(1);
                cost = cost.saturating_add(1_u64.checked_shl(depth).unwrap_or(u64::MAX));
                if depth >= u64::BITS || cost > NESTING_BUDGET {
                    return Err(ModuleError::Nesting { name: name.to_owned(), line: span.line });
                }
            }
            (TokenKind::Symbol, "]" | "}") => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
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
fn resolve(written: &[String], package: &[String], ast: &Ast) -> Vec<String> {
    let Some((first, rest)) = written.split_first() else {
        return Vec::new();
    };
    if first == "data" {
        return rest.to_vec();
    }
    for import in &ast.imports {
        let path = constant_path(&import.refr);
        let alias = import.r#as.as_ref().map(|span| span.text().to_owned()).or_else(|| path.last().cloned());
        if alias.as_deref() == Some(first)
            && let Some(("data", imported)) =
                path.split_first().map(|(root, imported)| (root.as_str(), imported))
        {
            return imported.iter().chain(rest).cloned().collect();
        }
    }
    package.iter().chain(written).cloned().collect()
}

/// The engine draws its messages over several lines; a log entry has one.
pub(super) fn one_line(message: &str) -> String {
    let words: Vec<&str> = message.split_whitespace().collect();
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
        assert_eq!(module.rules, [vec!["a", "b", "allow"], vec!["a", "b", "f"], vec!["a", "b", "m"]]);
        assert_eq!(module.functions, [["a", "b", "f"]]);
        let calls: Vec<String> = module.calls.iter().map(|call| call.target.join(".")).collect();
        assert_eq!(calls, ["a.b.f", "lib.text.g", "a.b.upper"]);
    }

    #[test]
    fn deep_brackets_are_refused_before_the_parser_sees_them() {
        let nested = format!("package a\n\nx := {}1{}\n", "[".repeat(31), "]".repeat(31));
        assert!(matches!(parse(&nested), Err(ModuleError::Nesting { line: 3, .. })));
        let many = format!("package a\n\n{}", "x contains [[[[[[[[[[1]]]]]]]]]]\n".repeat(400));
        assert!(matches!(parse(&many), Err(ModuleError::Nesting { .. })));
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        let text = format!("package a\n\n# {0}\nx := \"{0}\"\ny := `{0}`\n", "[".repeat(40));
        assert!(parse(&text).is_ok());
    }

    #[test]
    fn a_reference_as_long_as_the_file_allows_does_not_exhaust_the_stack() {
        let chain = ".a".repeat(20_000);
        let text =
            format!("package a\n\nx if input{}\n", chain.replace(".a.a.a.a.a.a.a.a", ".a.a.a.a.a.a.a.a\n"));
        let _ = parse(&text);
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
        assert!(!error.contains('\n'), "{error}");
    }
}
