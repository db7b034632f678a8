//! What OPA answers, as a table, and the text that gives the engine the same meaning.

use std::time::Duration;

use crate::policy::{Module, ModuleError, Part, Policy, RegoVersion, Value, parse_json};

const RULES: &str = r#"package case

flag if input.flag

name := input.name

first(list) := list[0]

first_of(a, _) := a

first_of_mocked(_) := "mocked"
"#;

const INPUTS: [&str; 3] = [
    r#"{"x": 9, "k": "k", "m": {"k": 1}, "name": "bob", "flag": true, "age": "20", "ys": ["a", "k"], "roles": ["bob", "a"]}"#,
    "{}",
    r#"{"x": 1, "k": "zz", "m": {"k": {"a": 1}}, "name": "eve", "flag": false, "age": "old", "ys": [], "roles": ["dev"]}"#,
];

/// Bodies of `allow if`, and what OPA 1.20.2 says to them for each input: true or undefined. To ask it again, put `RULES`
/// and the rule into case.rego and run `opa eval -f raw -d case.rego -i input.json data.case.allow`.
const ANSWERS: &[(&str, &str)] = &[
    // what the compiler leaves: rules, references, calls, and both sides of an equality
    ("not flag", "utt"),
    ("not flag == true", "utt"),
    (r#"not name == "bob""#, "utt"),
    ("not input.flag", "utt"),
    ("not input.x == 9", "utt"),
    ("not input.x = 9", "utt"),
    ("not input.x == input.nothing", "ttt"),
    ("not data.case.flag", "utt"),
    (r#"not startswith("ab", "a")"#, "uuu"),
    ("not first([])", "ttt"),
    (r#"not {"a": 1}"#, "uuu"),
    ("not [y | y := input.x] == [9]", "utt"),
    // operands of operators and calls
    ("not input.x != 9", "tuu"),
    ("not input.x >= 18", "tut"),
    ("not input.x + 1 > 9", "uut"),
    ("not 18 <= input.x", "tut"),
    (r#"not "bob" != input.name"#, "tuu"),
    ("not input.name != `bob`", "tuu"),
    ("not to_number(input.age) >= 18", "uuu"),
    (r#"not startswith(input.name, "b")"#, "uut"),
    (r#"not startswith("bob", input.name)"#, "uut"),
    (r#"not startswith(name, "b")"#, "uut"),
    (r#"not startswith(lower(input.name), "b")"#, "uut"),
    ("not count(input.ys) > 0", "uut"),
    (r#"not first(input.ys) == "a""#, "uuu"),
    (r#"not first(input.ys) != "a""#, "tuu"),
    (r#"not first_of(input.name, input.nothing) == "bob""#, "uuu"),
    (r#"not object.get(input, "x", input.nothing) == 9"#, "uuu"),
    ("not (input.x > 3)", "uut"),
    ("not ((input.x + 1) * 2 > 19)", "uut"),
    ("not (input.x == 9) == true", "uut"),
    ("not -1 == input.x", "ttt"),
    // membership
    (r#"not input.name in ["bob"]"#, "uut"),
    ("not input.name in input.roles", "uut"),
    (r#"not "bob" in input.roles"#, "uut"),
    (r#"not "k", 1 in input.m"#, "uut"),
    ("not (input.name in input.nothing) == false", "uuu"),
    ("not count([1 | input.name in input.nothing]) == 1", "ttt"),
    // items of literals
    ("not [input.x] == [9]", "uut"),
    (r#"not [input.x, [name]] == [9, ["bob"]]"#, "uut"),
    (r#"not {"a": input.x, input.k: 1} == {"a": 9, "k": 1}"#, "uut"),
    ("not {input.x} == {9}", "uut"),
    ("not {input.x} | {1} == {1, 9}", "uut"),
    ("not [input.nothing]", "uuu"),
    ("not set() == {input.x}", "tut"),
    ("not set() = {input.x}", "tut"),
    (r#"not lower(input.name)="bob""#, "uut"),
    (r#"not input["name"]in(["bob", input.x])"#, "uut"),
    ("not input.x>[1, input.x][1]with input.x as[2, input.x][0]", "tut"),
    // brackets
    ("not input.m[input.k]", "uut"),
    ("not input.m[lower(input.k)]", "uut"),
    ("not input.m[lower(input.k)] == 1", "uut"),
    ("not input.m[input.k] > 0", "uuu"),
    ("not input.m[name]", "tut"),
    ("not input.m[input.roles[0]]", "tut"),
    (r#"not input[["x"][0]] == 9"#, "utt"),
    ("not first([input.m]).k == 1", "uut"),
    ("not [input.x, 1][0] == 9", "uut"),
    (r#"not {"a": 1, "b": input.x}.b == 9"#, "uut"),
    (r#"not "ab" == ["ab", input.x][0]"#, "uuu"),
    // variables
    (r#"{ some y in input.ys; not startswith(y, "a") }"#, "tuu"),
    ("{ some y in input.ys; not startswith(y, input.name) }", "tuu"),
    ("{ some y in input.ys; not input.m[y] }", "tuu"),
    ("{ some y in input.ys; not input.m[y] > 3 }", "tuu"),
    ("{ some i, y in input.ys; not input.roles[i] == y }", "tuu"),
    (r#"{ some i; input.ys[i] == "k"; not startswith(input.roles[i], "b") }"#, "tuu"),
    ("{ x := input.k; y := x; not input.m[lower(y)] }", "uut"),
    ("{ x := input; y := x; not input.m[y.k] }", "uut"),
    ("{ x = input.k; not input.m[x] }", "uut"),
    ("{ x = input.x; not first_of(x, 1) == 9 }", "uut"),
    (r#"{ [_, x] := ["a", input.x]; not first_of(x, 1) == 9 }"#, "uut"),
    ("{ name := input.x; not is_string(name) }", "tut"),
    (r#"{ every name in [input.x] { name == input.x }; not startswith(name, "b") }"#, "uut"),
    ("not count(input.roles[_]) == 3", "tuu"),
    // every, comprehensions, several
    ("{ every y in input.ys { not y in input.roles } }", "uut"),
    (r#"{ every y in ["a"] { not input.m[y] } }"#, "ttt"),
    (r#"{ every y in ["a"] { not y = "b" } }"#, "ttt"),
    ("not count([y | some y in input.ys; not y in input.roles]) == 1", "utt"),
    (r#"not count({y | some y in ["b"]; not startswith(input.name, y)}) == 1"#, "ttu"),
    (r#"not count({y: 1 | some y in ["b"]; not startswith(input.name, y)}) > 0"#, "ttu"),
    (r#"{ not input.x >= 18; not lower(input.name) == "bob" }"#, "uut"),
    ("{ count([1 | not input.x >= 18]) == 1; not input.x in {1, 2} }", "tuu"),
    // with
    (r#"not startswith(input.name, "b") with input as {"name": "x", "y": 1}"#, "ttt"),
    (r#"not startswith(input.name, "b") with input as {"name": input.k, "y": 1}"#, "tut"),
    (r#"not startswith(input.name, "b") with input.name as lower(input.k)"#, "tut"),
    (r#"not startswith(input.name, "b") with input.x as input.nothing with input.k as 1"#, "uuu"),
    (r#"not startswith(input.name, "b") with input.x as ("a" in input.nothing)"#, "uuu"),
    (r#"not name == "bob" with input.x as name"#, "uut"),
    (r#"not name == "k" with input.name as ["k", "zz"][_]"#, "ttt"),
    (r#"not lower(input.name) == "mocked" with lower as first_of_mocked"#, "uuu"),
    ("not flag with input as {}", "ttt"),
    (r#"not startswith(input.name, "b") with data.case.nothing as set() with input.x as 1"#, "uut"),
    ("not flag with data.case.nothing as set() with input.flag as input.nothing with input.x as 1", "uuu"),
    // text over several lines, and characters of several bytes
    ("not startswith(\n  input.name, # the \"name\" {\n  \"é\",\n)", "tut"),
    ("not count([y | # each\n  some y in input.ys\n  not y in input.roles\n]) == 1", "utt"),
    (r#"{ not "é" == input.name; not contains("éé", input.name) }"#, "tut"),
];

#[test]
fn every_body_means_what_it_means_to_opa() {
    let inputs: Vec<Value> = INPUTS.iter().map(|input| json(input)).collect();
    let wrong: Vec<String> = ANSWERS
        .iter()
        .filter_map(|(body, expected)| {
            let policy = policy(&format!("{RULES}\nallow if {body}\n"), RegoVersion::V1);
            let answers: String = inputs.iter().map(|input| answer(&policy, input)).collect();
            (answers != *expected).then(|| format!("{body}: {answers}, not {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bodies_of_else_of_functions_and_of_heads_are_rewritten_too() {
    let text = r#"package case
allow := "a" if not input.x > 3
else := "b" if not input.y > 3
else := f(1) if input.z
f(x) := [x | not input.w > x] if { not x > input.v } else := {y: 1 | y := 2; not input.w > y}
"#;
    let policy = policy(text, RegoVersion::V1);
    let answers = [
        (r#"{"x": 1}"#, r#""a""#),
        (r#"{"y": 1}"#, r#""b""#),
        (r#"{"z": 1, "v": 1, "w": 1}"#, "[1]"),
        (r#"{"z": 1, "v": 1}"#, "[]"),
        (r#"{"z": 1, "v": 0, "w": 2}"#, r#"{"2": 1}"#),
        (r#"{"z": 1}"#, r#"{}"#),
    ];
    for (input, expected) in answers {
        let value = policy.evaluate(json(input)).unwrap();
        let value = value.map(|value| value.to_json_str().unwrap().split_whitespace().collect::<String>());
        let expected: String = expected.split_whitespace().collect();
        assert_eq!(value.as_deref(), Some(expected.as_str()), "{input}");
    }
}

#[test]
fn rego_before_1_0_is_rewritten_too() {
    let policy = policy("package case\nallow { not input.x >= 18; not input.y[input.z] }\n", RegoVersion::V0);
    assert_eq!(answer(&policy, &json(r#"{"x": 1, "z": 2}"#)), "t");
    assert_eq!(answer(&policy, &json(r#"{"z": 2}"#)), "u");
    assert_eq!(answer(&policy, &json(r#"{"x": 1}"#)), "u");
}

#[test]
fn a_file_that_imports_the_new_not_is_negated_as_a_whole() {
    for import in ["future.keywords", "future.keywords.not"] {
        let text = format!("package case\nimport {import}\nallow if not startswith(input.name, \"b\")\n");
        let module = parse(&text).unwrap();
        assert_eq!(module.text, text);
        assert_eq!(answer(&policy(&text, RegoVersion::V1), &json("{}")), "t");
    }
    let old = "package case\nimport future.keywords.in\nallow if not startswith(input.name, \"b\")\n";
    assert_eq!(answer(&policy(old, RegoVersion::V1), &json("{}")), "u");
}

#[test]
fn text_that_has_the_meaning_already_stays_as_it_is() {
    let bodies = [
        "not flag",
        "not input.x == 9",
        "{ some y in input.ys; not input.m[y]; not startswith(y, \"a\") }",
        "{ [x, y] := input.xy; not startswith(x, y) }",
        "not flag with input as {} with data.roles as roles",
        "not startswith(\"ab\", \"a\")",
        "input.x >= 18",
    ];
    for body in bodies {
        let text = format!("{RULES}\nallow if {body}\n");
        assert_eq!(parse(&text).unwrap().text, text, "{body}");
    }
    let function = format!("{RULES}\nf(a, [b]) if not startswith(a, b)\n");
    assert_eq!(parse(&function).unwrap().text, function);
}

#[test]
fn what_is_rewritten_keeps_its_lines() {
    let text = "package case\r\nallow if {\r\n  not startswith(\r\n    lower(\r\n      input.name), # \"\r\n    input.x)\r\n  f(1)\r\n}\r\n";
    let module = parse(text).unwrap();
    assert_ne!(module.text, text);
    assert_eq!(module.text.lines().count(), text.lines().count());
    let call = module.calls.iter().find(|call| call.name == "f");
    assert_eq!(call.map(|call| call.line), Some(7));
}

#[test]
fn new_variables_avoid_the_names_in_the_file() {
    let text = "package case\n__not1 := 7\n__not_1 := 8\nallow if { not input.x >= __not1; __not1 == 7; __not_1 == 8 }\n";
    assert_eq!(answer(&policy(text, RegoVersion::V1), &json(r#"{"x": 1}"#)), "t");
}

#[test]
fn a_variable_of_another_body_does_not_hide_a_rule() {
    let inner = r#"allow if { [name | name := "b"] == ["b"]; not startswith(name, "b") }"#;
    let argument = "f(name) := name\n\nallow if not startswith(name, \"b\")";
    for rule in [inner, argument] {
        let text = format!("{RULES}\n{rule}\n");
        assert_eq!(answer(&policy(&text, RegoVersion::V1), &json("{}")), "u", "{rule}");
    }
}

#[test]
fn what_cannot_be_rewritten_is_refused_with_its_line_and_a_cure() {
    let deep = format!("{}input.x{}", "lower(".repeat(120), ")".repeat(120));
    let refused = [
        ("not x := input.x", "assigns"),
        ("not input.m[_] == 1", "variable that nothing binds"),
        ("not input.m[input.k[_]]", "variable that nothing binds"),
        ("not startswith(_, \"a\")", "variable that nothing binds"),
        (&format!("not {deep} == 1"), "nests too deeply"),
    ];
    for (body, fault) in refused {
        let error = parse(&format!("package case\n\nallow if {body}\n")).unwrap_err();
        assert!(matches!(error, ModuleError::Negation { line: 3, .. }), "{body}: {error}");
        assert!(error.to_string().contains(fault), "{body}: {error}");
    }
    let body = "package case\nimport future.keywords.not\n\nallow if not {input.x}\n";
    let error = parse(body).unwrap_err().to_string();
    assert!(error.starts_with("case.rego:4: "), "{error}");
}

fn parse(text: &str) -> Result<Module, ModuleError> {
    Module::parse("case.rego".to_owned(), text.to_owned(), RegoVersion::V1)
}

fn policy(text: &str, version: RegoVersion) -> Policy {
    let module = Module::parse("case.rego".to_owned(), text.to_owned(), version);
    let modules = [module.unwrap_or_else(|error| panic!("{error}: {text}"))];
    let part = Part { bundle: "case", roots: &[Vec::new()], modules: &modules, data: &Value::new_object() };
    Policy::compile("case/allow", &[part], Duration::from_secs(60))
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// `t` for true and `u` for undefined.
fn answer(policy: &Policy, input: &Value) -> &'static str {
    match policy.evaluate(input.clone()) {
        Ok(None) => "u",
        Ok(Some(value)) if value == Value::from(true) => "t",
        _ => "?",
    }
}

fn json(text: &str) -> Value {
    parse_json(text).unwrap()
}
