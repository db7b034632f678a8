//! REFERENCE.md is what the code says: it is made here, and compared.
//!
//! `UPDATE_REFERENCE=1 cargo test -p portcullis-rego --test reference` writes it anew.

#![allow(missing_docs)]

use std::fmt::Write;

use portcullis_rego::builtins::{self, Builtin, Run, Type};
use portcullis_rego::{Compiler, Limits, Options, Outside, Version};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/REFERENCE.md");

/// What OPA takes, and is refused here when a policy is loaded: the rule, below `package example`.
const REFUSED: &[(&str, &str)] = &[
    ("a function that OPA has and that is not here", "allow if graphql.is_valid(input.query, input.schema)"),
    ("a function below what is no name", "a[[1]].f(x) := 1"),
];

/// What answers otherwise than OPA 1.20.2, where OPA itself has no answer: the expression, what `opa` does, and why.
const ANSWERS: &[(&str, &str)] = &[
    (r#"substring("abc", 1, 9223372036854775807)"#, "ends with a panic"),
    (r#"json.patch({"a": 1}, [{"op": "remove", "path": ""}])"#, "ends with a panic"),
    (r#"semver.compare("1.0.0-1", "1.0.0-01")"#, "never comes to an end"),
];

#[test]
fn the_reference_says_what_the_code_does() {
    let made = reference();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(PATH, &made).unwrap();
    }
    let written = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(written == made, "REFERENCE.md is not what the code says; UPDATE_REFERENCE=1 writes it anew");
}

fn reference() -> String {
    let mut all: Vec<&Builtin> = builtins::all().collect();
    all.sort_by_key(|builtin| builtin.name);
    let is_missing = |builtin: &&&Builtin| matches!(builtin.run, Run::Missing(_));
    let here: Vec<&Builtin> = all.iter().filter(|builtin| !is_missing(builtin)).copied().collect();
    let missing: Vec<&Builtin> = all.iter().filter(is_missing).copied().collect();
    let mut page = String::from(
        "# Rego here and in OPA\n\n\
         What of OPA 1.20.2 is here, what is refused, and what differs. This page is made from the code, and a test compares it\n\
         (`filter/rego/tests/reference.rs`). Where nothing is said, a policy decides as OPA decides it.\n\n",
    );
    let _ = write!(
        page,
        "## Functions\n\n{} of OPA's {} functions are here, with OPA's types: where OPA refuses a call of another type when the policy is\n\
         loaded, so it is here, and where it is undefined, too.\n\n",
        here.len(),
        all.len()
    );
    page.push_str("| function | arguments | answers | |\n|---|---|---|---|\n");
    for builtin in here {
        let args: Vec<String> = builtin.args.iter().map(|arg| code(&named(arg))).collect();
        let mut notes = Vec::new();
        if builtin.deprecated {
            notes.push("deprecated: in v0 modules alone");
        }
        if builtin.nondeterministic {
            notes.push("decisions that ask for it are not remembered");
        }
        if matches!(builtin.run, Run::Relation) {
            notes.push("one answer after the other");
        }
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            builtin.name,
            args.join(", "),
            code(&named(&builtin.result)),
            notes.join("; ")
        );
    }
    page.push_str("\n## Refused\n\nA policy that needs one of these is refused when it is loaded, by name and place:\n\n");
    page.push_str("| function | because |\n|---|---|\n");
    for builtin in missing {
        let Run::Missing(why) = builtin.run else { continue };
        let _ = writeln!(page, "| `{}` | {why} |", builtin.name);
    }
    page.push_str("\nSo it is said, and what else OPA takes and is not taken:\n\n| what | for example | message |\n|---|---|---|\n");
    for (what, rule) in REFUSED {
        let _ = writeln!(page, "| {what} | `{rule}` | {} |", refusal(rule));
    }
    page.push_str(
        "\n## Where OPA has no answer\n\nOn these OPA itself fails; here each is undefined, or has the answer that its rule gives:\n\n\
         | expression | `opa` 1.20.2 | here |\n|---|---|---|\n",
    );
    for (expression, theirs) in ANSWERS {
        let _ = writeln!(page, "| `{}` | {theirs} | {} |", escaped(expression), answer(expression));
    }
    page
}

/// A type as OPA writes it, but for what is in arrays and objects with several kinds of things.
fn named(of: &Type) -> String {
    match of {
        Type::Any => "any".to_owned(),
        Type::Null => "null".to_owned(),
        Type::Boolean => "boolean".to_owned(),
        Type::Number => "number".to_owned(),
        Type::String => "string".to_owned(),
        Type::Array([], Some(item)) => format!("array[{}]", named(item)),
        Type::Array(items, _) => format!("array<{}>", items.iter().map(named).collect::<Vec<_>>().join(", ")),
        Type::Object([], Some((key, value))) => format!("object[{}: {}]", named(key), named(value)),
        Type::Object(fields, _) => {
            let fields: Vec<_> =
                fields.iter().map(|field| format!("{}: {}", field.key, named(&field.value))).collect();
            format!("object<{}>", fields.join(", "))
        }
        Type::Set(item) => format!("set[{}]", named(item)),
        Type::Union(kinds) => kinds.iter().map(named).collect::<Vec<_>>().join(" or "),
    }
}

fn code(text: &str) -> String {
    format!("`{}`", escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

fn compiler(rule: &str) -> Compiler {
    let mut compiler = Compiler::new(Options::default());
    compiler.module("example.rego", &format!("package example\n{rule}"), Version::V1);
    compiler
}

fn refusal(rule: &str) -> String {
    let errors = compiler(rule).finish().err().unwrap_or_else(|| panic!("{rule} is taken"));
    escaped(&errors.to_string().replace('\n', " "))
}

fn answer(expression: &str) -> String {
    let policy = compiler(&format!("answer := {expression}")).finish().unwrap_or_else(|e| panic!("{e}"));
    let entry = policy.query("data.example.answer").unwrap();
    match policy.evaluate(&entry, None, &Limits::default(), &Outside::default()) {
        Ok(Some(value)) => code(&value.to_rego()),
        Ok(None) => "undefined".to_owned(),
        Err(error) => error.to_string(),
    }
}
