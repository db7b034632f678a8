//! Tables of policies and OPA's answers: each was asked of the real `opa` 1.20.2.

mod stack;

use super::{Error, Failure, Limits, Outside, Policy, ReadsSurvey, Recorder};
use crate::builtins::Budget;
use crate::plan::{Compiler, Options};
use crate::syntax::Version;
use crate::value::Value;

/// What a query of package `t` answers: a term, `undefined`, `conflict`, or the code of a refusal.
pub(crate) fn answer(modules: &[&str], data: &str, input: &str, query: &str) -> String {
    let unwatched = answer_with(Options::default(), modules, data, input, query);
    let watched = answer_with(Options { places: true, ..Options::default() }, modules, data, input, query);
    assert_eq!(unwatched, watched, "who looks on changes nothing: {modules:?}");
    unwatched
}

fn answer_with(options: Options, modules: &[&str], data: &str, input: &str, query: &str) -> String {
    let is_watched = options.places;
    let mut compiler = Compiler::new(options);
    for (index, text) in modules.iter().enumerate() {
        let (version, text) = match text.strip_prefix("v0\n") {
            Some(text) => (Version::V0, text),
            None => (Version::V1, *text),
        };
        let text = if text.starts_with("package") { text.to_owned() } else { format!("package t\n{text}") };
        compiler.module(&format!("m{index}.rego"), &text, version);
    }
    let json = |text: &str| Value::from_json(text.as_bytes(), &mut Budget::unlimited()).unwrap();
    if !data.is_empty() {
        compiler.data(json(data));
    }
    let policy = match compiler.finish() {
        Ok(policy) => policy,
        Err(errors) => return errors.0[0].code.name().to_owned(),
    };
    let entry = policy.query(query).unwrap();
    let input = (!input.is_empty()).then(|| json(input));
    let (limits, outside) = (Limits::default(), Outside::default());
    let answer = if is_watched {
        let answers = policy.record(&entry, input, &limits, &outside, &mut Recorder::explanation()).0;
        answers.map(|answers| answers.into_iter().next().and_then(|answer| answer.value))
    } else {
        policy.evaluate(&entry, input, &limits, &outside)
    };
    match answer {
        Ok(Some(value)) => value.to_rego(),
        Ok(None) => "undefined".to_owned(),
        Err(Error::Conflict(_)) => "conflict".to_owned(),
        Err(error) => format!("{error}"),
    }
}

fn table(cases: &[(&str, &str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (module, input, query, want) in cases {
        let got = answer(&[module], "", input, query);
        if got != *want {
            wrong.push(format!("{module}\n  input {input} query {query}\n  want {want}, got {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A rule that has two values, so that evaluating it ends the query.
const C: &str = "c := 1 if true\nc := 2 if true\n";

#[test]
fn negation_fails_for_what_is_hoisted_in_front_of_it() {
    table(&[
        (r#"deny if not startswith(input.x, "a")"#, "{}", "data.t.deny", "undefined"),
        ("import future.keywords\ndeny if not startswith(input.x, \"a\")", "{}", "data.t.deny", "true"),
        (r#"p if not to_number(input.s) == 1"#, r#"{"s": "x"}"#, "data.t.p", "undefined"),
        (r#"p if not regex.match("[", input.s)"#, r#"{"s": "x"}"#, "data.t.p", "true"),
        (r#"p if not lower(input.r[_]) == "a""#, r#"{"r": ["a", "b"]}"#, "data.t.p", "true"),
        (r#"p if not startswith(5, "a")"#, "", "data.t.p", "rego_type_error"),
        (r#"p if not startswith(input.n, "a")"#, r#"{"n": 5}"#, "data.t.p", "true"),
        (r#"p if not input.x == 1"#, "{}", "data.t.p", "true"),
        (r#"p if not count(input.x) == 0"#, "{}", "data.t.p", "undefined"),
        (r#"p if not "a" in input.xs"#, "{}", "data.t.p", "undefined"),
        (r#"p if not input.a[input.b]"#, r#"{"a": {}}"#, "data.t.p", "undefined"),
        (r#"p if not is_number(to_number(input.s))"#, r#"{"s": "x"}"#, "data.t.p", "undefined"),
        ("p if not input", "", "data.t.p", "true"),
        ("p := input", "", "data.t.p", "undefined"),
    ]);
}

#[test]
fn membership_and_patterns() {
    table(&[
        (r#"q if "a" in input.r == false"#, r#"{"r": ["b"]}"#, "data.t.q", "undefined"),
        ("p := 1 in 5", "", "data.t.p", "false"),
        ("p := 1 in input.nope", "{}", "data.t.p", "undefined"),
        (r#"p if {"k": _} = input.o"#, r#"{"o": {"k": 1, "z": 2}}"#, "data.t.p", "undefined"),
        (r#"p if {"k": _} = input.o"#, r#"{"o": {"k": 1}}"#, "data.t.p", "true"),
        ("p if every x in input.none { x }", "{}", "data.t.p", "undefined"),
        ("p if every x in [] { x }", "", "data.t.p", "true"),
        (r#"a := {input.a: 1, input.b: 2}"#, r#"{"a": "k", "b": "k"}"#, "data.t.a", r#"{"k": 2}"#),
        ("a := input.l[1e0]", r#"{"l": [1, 2]}"#, "data.t.a", "undefined"),
        ("a := input.l[1.0]", r#"{"l": [1, 2]}"#, "data.t.a", "2"),
        (r#"a := {1: "a", 1.0: "b"}"#, "", "data.t.a", r#"{1: "b"}"#),
        ("a := count({1, 1.0})", "", "data.t.a", "1"),
        ("x if { a := false }", "", "data.t.x", "true"),
        ("x if { a := false; a }", "", "data.t.x", "undefined"),
        ("p if input.n", r#"{"n": null}"#, "data.t.p", "true"),
        ("p if 18446744073709551617 == 18446744073709551616", "", "data.t.p", "undefined"),
        ("p := 10 / 3", "", "data.t.p", "3.3333333333333333333"),
        ("p if [p1, q] = [q, 1]", "", "data.t.p", "true"),
        ("p() := 1", "", "data.t.p", "1"),
        ("q.a() := 2", "", "data.t.q", r#"{"a": 2}"#),
    ]);
}

#[test]
fn heads_that_are_undefined_skip_one_iteration() {
    let banned = r#"{"banned": {"b": 1}}"#;
    let deny = r#"deny contains data.banned[r] if some r in ["a", "b"]"#;
    assert_eq!(answer(&[deny], banned, "", "data.t.deny"), "{1}");
    table(&[
        ("p := input.nope if true else := 2", "{}", "data.t.p", "2"),
        ("default p := 7\np := input.nope", "{}", "data.t.p", "7"),
        ("default f(_) := 1\nf(x) := 2 if x == 2\np := f(input.nope)", "{}", "data.t.p", "undefined"),
        ("default f(_) := 1\nf(x) := 2 if x == 2\np := f(3)", "", "data.t.p", "1"),
        ("allow := false if { input.x } { input.y }", r#"{"y": 1}"#, "data.t.allow", "false"),
        ("p := v if { v := 1; input.x } { v := 2; input.y }", r#"{"y": 1}"#, "data.t.p", "2"),
        ("q.r[x] contains y if { some x in []; y := 1 }", "", "data.t.q.r", "{}"),
        ("q.r[x] contains y if { some x in []; y := 1 }", "", "data.t.q.r[9]", "undefined"),
        ("s contains 1 if false", "", "data.t.s", "set()"),
        ("s contains 1 if false", "", "data.t.s[1]", "undefined"),
    ]);
}

#[test]
fn conflicts_end_the_query_where_opa_reaches_them() {
    let with_c = |text: &str| format!("{C}{text}");
    let f = "f(x) := 1 if x > 0\nf(x) := 2 if x > 1\n";
    let p = r#"p[k] := v if some [k, v] in [["a", 1], ["a", 2], ["b", 3]]"#;
    for (module, input, query, want) in [
        (format!("{f}q if f(2) == 1"), "", "data.t.q", "conflict"),
        (format!("{f}q if f(2, 1)"), "", "data.t.q", "true"),
        (format!("{p}\nq := p.b"), "", "data.t.q", "3"),
        (format!("{p}\nq := p"), "", "data.t.q", "conflict"),
        (format!("{p}\nq if {{ p.b; p }}"), "", "data.t.q", "conflict"),
        (with_c("allow if true\nallow if c == 1"), "", "data.t.allow", "true"),
        (with_c("allow if c == 1\nallow if true"), "", "data.t.allow", "conflict"),
        (with_c("p if every x in [1, 2] { x > 1; c == 1 }"), "", "data.t.p", "undefined"),
        (with_c("p if not c == 3"), "", "data.t.p", "conflict"),
        (with_c("p := [c | true]"), "", "data.t.p", "conflict"),
        (with_c("q := 1"), "", "data.t", "conflict"),
        ("p := {k: v | some [k, v] in [[1, 2], [1, 3]]}".into(), "", "data.t.p", "conflict"),
    ] {
        assert_eq!(answer(&[&module], "", input, query), want, "{module}");
    }
}

#[test]
fn the_index_decides_what_is_reached() {
    let with_c = |text: &str| format!("{C}{text}");
    for (module, input, want) in [
        (with_c("allow if input.a == 1\nallow if c == 1"), r#"{"a": 1}"#, "conflict"),
        (with_c("allow if input.a == 1\nallow if { input.a == 1; c == 1 }"), r#"{"a": 1}"#, "true"),
        (
            with_c("default allow := false\nallow if input.role == \"admin\"\nallow if c == 1"),
            r#"{"role": "admin"}"#,
            "conflict",
        ),
        (with_c("allow if { c == 1; input.role == \"x\" }"), r#"{"role": "y"}"#, "undefined"),
        (with_c("allow if { c == 1; startswith(input.role, \"x\") }"), r#"{"role": "y"}"#, "conflict"),
    ] {
        assert_eq!(answer(&[&module], "", input, "data.t.allow"), want, "{module}");
    }
}

#[test]
fn comprehensions_are_grouped_where_opa_groups_them() {
    let rs = r#"{"rs": [{"n": "a", "v": 1}, {"n": "a", "v": 2}]}"#;
    let body = r#"o := {k: v | some r in input.rs; r.n == x; k := "k"; v := r.v}"#;
    let grouped = format!(r#"p[x] := o if {{ some x in ["a", "b"]; {body} }}"#);
    assert_eq!(answer(&[&grouped], "", rs, "data.t.p.a"), r#"{"k": 2}"#);
    let single = r#"p := {k: v | some r in input.rs; r.n == "a"; k := "k"; v := r.v}"#;
    assert_eq!(answer(&[single], "", rs, "data.t.p"), "conflict");
}

#[test]
fn replaced_documents_and_functions() {
    let u = "package u\ny := 1\nz := y";
    for (modules, input, query, want) in [
        (vec!["p := y if y := data.u.z with data.u.y as 3", u], "{}", "data.t.p", "3"),
        (vec!["p := z if z := data.u.z with data.u as {\"k\": 1}", u], "{}", "data.t.p", "undefined"),
        (
            vec!["p if input.x == 1\nq := x if x := p with equal as true", u],
            r#"{"x": 2}"#,
            "data.t.q",
            "undefined",
        ),
        (vec!["h(x) := count(x)\np := n if n := count([1]) with count as h"], "", "data.t.p", "1"),
        (vec!["f(x) := x\np := n if n := f(1) with f as 5"], "", "data.t.p", "5"),
        (vec!["p := i if i := input with input.a.y as 1"], r#"{"a": 5}"#, "data.t.p", r#"{"a": {"y": 1}}"#),
        (
            vec!["p := i if i := input with input.b as 2 with input as {\"a\": 1}"],
            "{}",
            "data.t.p",
            r#"{"a": 1}"#,
        ),
        (
            vec!["q := input.x\np := [q, r] if { r := q with input.x as 2 }"],
            r#"{"x": 1}"#,
            "data.t.p",
            "[1, 2]",
        ),
    ] {
        assert_eq!(answer(&modules, "", input, query), want, "{modules:?}");
    }
}

#[test]
fn packages_as_documents() {
    let t = r#"a := 1
b := input.nope
f(x) := x
s contains 1 if false"#;
    let modules = [t, "package t.sub\nx := 1 if false", "package t.empty"];
    assert_eq!(answer(&modules, "", "{}", "data.t"), r#"{"a": 1, "empty": {}, "s": set(), "sub": {}}"#);
    assert_eq!(
        answer(&[t], r#"{"t": {"base": [1]}}"#, "{}", "data.t"),
        r#"{"a": 1, "base": [1], "s": set()}"#
    );
    assert_eq!(answer(&[t], "", "{}", "[k | data.t[k]]"), r#"["a", "s"]"#);
    let lib = ["import data.lib.x\nx := 1\ny := x", "package lib\nx := 2"];
    assert_eq!(answer(&lib, "", "", "data.t.y"), "2");
    assert_eq!(answer(&["package t.a\nx := data.t[input.k]"], "", "", "data.t.a.x"), "rego_recursion_error");
}

#[test]
fn bounds_end_an_evaluation() {
    let mut compiler = Compiler::new(Options::default());
    let chain: String = (0..500).map(|i| format!("r{i} := r{}\n", i + 1)).collect();
    let text = format!(
        "package t\n{chain}r500 := 1\nloop := count([1 | some i in numbers.range(1, 3000); some j in numbers.range(1, 3000); i == j])"
    );
    compiler.module("m.rego", &text, Version::V1);
    let policy = compiler.finish().unwrap();
    let run = |query: &str, limits: &Limits| {
        policy.evaluate(&policy.query(query).unwrap(), None, limits, &Outside::default())
    };
    let most = Limits::default();
    assert_eq!(run("data.t.r0", &most), Ok(Some(Value::from(1i64))));
    let depth = Limits { depth: 100, ..most };
    assert_eq!(run("data.t.r0", &depth), Err(Error::Limit(crate::builtins::Limit::Depth)));
    let steps = Limits { steps: 1000, ..most };
    assert_eq!(run("data.t.loop", &steps), Err(Error::Limit(crate::builtins::Limit::Steps)));
    let bytes = Limits { bytes: 1000, ..most };
    assert_eq!(run("data.t.loop", &bytes), Err(Error::Limit(crate::builtins::Limit::Bytes)));
}

#[test]
fn rules_are_found_by_how_texts_begin_where_nothing_can_end_a_query() {
    let many: String = (0..500).map(|i| format!("allow if startswith(input.path, \"/p{i}/\")\n")).collect();
    let mut compiler = Compiler::new(Options::default());
    compiler.module("m.rego", &format!("package t\n{many}"), Version::V1);
    let policy = compiler.finish().unwrap();
    let entry = policy.query("data.t.allow").unwrap();
    let input = |path: &str| {
        Value::from_json(format!("{{\"path\": \"{path}\"}}").as_bytes(), &mut Budget::unlimited()).ok()
    };
    let few = Limits { steps: 100, ..Limits::default() };
    let run = |path: &str| policy.evaluate(&entry, input(path), &few, &Outside::default());
    assert_eq!(run("/p499/x"), Ok(Some(Value::Bool(true))));
    assert_eq!(run("/p499"), Ok(None));
    // Replaced, it is asked of every rule.
    let replaced = format!("{many}yes(_, _) := true\np := x if x := allow with startswith as yes");
    assert_eq!(answer(&[&replaced], "", "{\"path\": \"/q\"}", "data.t.p"), "true");
}

#[test]
fn what_a_query_can_read_is_known() {
    // One rule after the other.
    let reads = |text: &str| {
        let mut compiler = Compiler::new(Options::default());
        compiler.module("m.rego", &format!("package t\n{text}"), Version::V1);
        let policy = compiler.finish().unwrap();
        let entry = policy.query("data.t.p").unwrap();
        let mut survey = ReadsSurvey::new();
        let reads =
            std::iter::repeat_with(|| survey.step(&policy, &entry, 1)).find_map(|reads| reads).unwrap();
        assert_eq!(reads, policy.reads(&entry), "in one go");
        let show = |paths: &crate::eval::Paths| {
            paths
                .iter()
                .map(|p| p.iter().map(|s| s.to_rego()).collect::<Vec<_>>().join("/"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        format!("{} | {} | {:?}", show(&reads.input), show(&reads.data), reads.outside)
    };
    assert_eq!(reads("p if input.a.b == 1\nq if input.z"), r#""a"/"b" |  | {}"#);
    assert_eq!(reads("p if { h := input.a.h; h.x == 1; h.y }"), r#""a"/"h"/"x" "a"/"h"/"y" |  | {}"#);
    assert_eq!(reads("p if { h := input.a.h; h.x == 1; count(h) == 2 }"), r#""a"/"h" |  | {}"#);
    assert_eq!(reads("p := h if { h := input.a.h; h.x == 1 }"), r#""a"/"h" |  | {}"#);
    assert_eq!(reads("p if f(input.a)\nf(x) if x.y == data.d.e[input.k]"), r#""a" "k" | "d"/"e" | {}"#);
    assert_eq!(reads("p if input[input.k]"), " |  | {}");
    let http = "h := input.a.h\ng := h.g if input.c\n";
    assert_eq!(reads(&format!("{http}p if h.x == 1")), r#""a"/"h"/"x" |  | {}"#);
    assert_eq!(reads(&format!("{http}p if g.x == 1")), r#""a"/"h"/"g"/"x" "c" |  | {}"#);
    assert_eq!(
        reads(&format!("{http}p if {{ x := g; x.y == h.z }}")),
        r#""a"/"h"/"g"/"y" "a"/"h"/"z" "c" |  | {}"#
    );
    assert_eq!(reads(&format!("{http}p if h.x[input.k]")), r#""a"/"h"/"x" "k" |  | {}"#);
    assert_eq!(reads(&format!("{http}p := h")), r#""a"/"h" |  | {}"#);
    assert_eq!(reads(&format!("{http}p if h == {{}}")), r#""a"/"h" |  | {}"#);
    assert_eq!(reads("h := input.a if input.c\nelse := input.b\np if h.x"), r#""a" "b" "c" |  | {}"#);
    assert_eq!(reads("h := input.a if input.c\nh := input.b\np if h.x"), r#""a" "b" "c" |  | {}"#);
    let chance = "f(_, _) := 1\nq if f(\"\", 9) > input.a\np if q with f as rand.intn";
    assert_eq!(reads(chance), r#""a" |  | {"rand.intn"}"#, "what stands in for a function");
    let many = |what: &str| {
        let lines: String = (0..2000).map(|n| format!("\t{}\n", what.replace("N", &n.to_string()))).collect();
        reads(&format!("p if {{\n{lines}}}"))
    };
    assert_eq!(many("input.aN == 1"), " |  | {}", "all of it");
    assert_eq!(many("xN := input.aN"), " |  | {}");
    let long = |steps: usize| format!("input{}", ".a".repeat(steps));
    let told = reads(&format!("p if {} == 1", long(100_000)));
    assert_eq!(told.matches("\"a\"").count(), 32, "the beginning stands for all of it");
    let chain: String = (1..2000).map(|n| format!("\tx{n} := x{}.a\n", n - 1)).collect();
    let told = reads(&format!("p if {{\n\tx0 := input\n{chain}\tx1999 == 1\n}}"));
    assert_eq!(told.matches("\"a\"").count(), 32);
    assert_eq!(reads("p if object.get(input.a, \"k\", input.d) == 1"), r#""a"/"k" "d" |  | {}"#);
    assert_eq!(reads("p if object.get(input, [\"a\", \"k\"], 0) == 1"), r#""a"/"k" |  | {}"#);
    assert_eq!(reads("p if object.get(input.a, input.k, 0) == 1"), r#""a" "k" |  | {}"#);
    let replaced =
        "g(o, k, d) := count(o)\nq if object.get(input.a, \"k\", 0) == 1\np if q with object.get as g";
    assert_eq!(reads(replaced), r#""a" |  | {}"#);
    assert_eq!(reads("p if input.a\ndefault p := [x | some x in input.b]"), r#""a" "b" |  | {}"#);
    let mut compiler = Compiler::new(Options::default());
    compiler.module("m.rego", "package t\np if { h := input.a.h; not h.x }", Version::V1);
    let policy = compiler.finish().unwrap();
    let reads_of = policy.reads(&policy.query("data.t.p").unwrap());
    assert_eq!(reads_of.present.into_iter().collect::<Vec<_>>(), [vec![Value::from("a"), Value::from("h")]]);
    assert_eq!(reads("p if q\nq if { not input.m == 1; time.now_ns() > 1 }"), r#""m" |  | {"time.now_ns"}"#);
    // The time decides on a chain of certificates, and on a token.
    let chain = "crypto.x509.parse_and_verify_certificates(input.c)";
    assert_eq!(
        reads(&format!("p if {chain}[0]")),
        r#""c" |  | {"crypto.x509.parse_and_verify_certificates"}"#
    );
    let token = reads("p if io.jwt.decode_verify(input.t, {\"secret\": \"s\"})[0]");
    assert_eq!(token, r#""t" |  | {"io.jwt.decode_verify"}"#);
}

#[test]
fn a_rule_that_is_found_twice_is_evaluated_once() {
    let text = r#"p contains input.n if "a" in input.xs
p contains 2 if glob.match("a", [":"], input.s)
p contains 3 if glob.match("a", ["."], input.s)"#;
    let input = r#"{"xs": ["a", "a", "b"], "n": 1, "s": "a"}"#;
    let mut compiler = Compiler::new(Options::default());
    compiler.module("m.rego", &format!("package t\n{text}"), Version::V1);
    let policy = compiler.finish().unwrap();
    let entry = policy.query("data.t.p").unwrap();
    let input = Value::from_json(input.as_bytes(), &mut Budget::unlimited()).ok();
    let steps = |most: u64| {
        let limits = Limits { steps: most, ..Limits::default() };
        policy.evaluate(&entry, input.clone(), &limits, &Outside::default()).is_ok()
    };
    // Each of the three rules once: what it costs is known.
    assert!(steps(60) && !steps(20));
    assert_eq!(answer(&[text], "", r#"{"xs": ["a", "a"], "n": 1, "s": "a"}"#, "data.t.p"), "{1, 2, 3}");
}

#[test]
fn what_a_body_binds_is_not_bound_in_the_next() {
    table(&[
        (
            "p if { a = [y | y = 1; y > 0]; b = [1 | y == 1]; a == b }",
            "",
            "data.t.p",
            "rego_unsafe_var_error",
        ),
        (
            "p if { every a in [1] { b = a; b > 0 }; every c in [1] { b == c } }",
            "",
            "data.t.p",
            "rego_unsafe_var_error",
        ),
        ("p if { a = [y | y = 1; y > 0]; b = {y | true}; a; b }", "", "data.t.p", "rego_unsafe_var_error"),
        (
            "p := a if { a = [y | y = 1; y > 0]; b = [$\"{y}\" | true]; b }",
            "",
            "data.t.p",
            "rego_unsafe_var_error",
        ),
        ("p if { a = [y | y = 1; y > 0]; b = [1 | y = 1; y > 0]; a == b }", "", "data.t.p", "true"),
    ]);
}

#[test]
fn what_is_unified_binds_what_waits_for_it() {
    table(&[
        ("p if { [x, a, b] = [[a, b], 1, 2]; x == [1, 2] }", "", "data.t.p", "true"),
        ("p if { [x, a] = [[a, b], 1]; x == [1, 2] }", "", "data.t.p", "rego_unsafe_var_error"),
        ("p if { [x, 1] = [y, z]; y = 2; x == 2; z == 1 }", "", "data.t.p", "true"),
        ("p := b if { [x, x] = [[a, b], input.q]; a == 1 }", r#"{"q": [1, 2]}"#, "data.t.p", "2"),
    ]);
}

#[test]
fn types_that_cannot_meet_are_refused_at_load() {
    table(&[
        ("x := 1\np if x == \"a\"", "", "data.t.p", "rego_type_error"),
        ("p if count(5)", "", "data.t.p", "rego_type_error"),
        ("x := {\"a\": 1}\np := x.b", "", "data.t.p", "rego_type_error"),
        ("s contains 1\np := s.b", "", "data.t.p", "rego_type_error"),
        ("p := [1, 2][5]", "", "data.t.p", "rego_type_error"),
        ("f(x) := x\np := f", "", "data.t.p", "rego_type_error"),
        ("f(x) := x + 1\np := f(\"a\")", "", "data.t.p", "rego_type_error"),
        ("p if not startswith(\"a\")", "", "data.t.p", "rego_type_error"),
        ("r := 2\np if data.t.r.x with data.t.r as 1", "", "data.t.p", "rego_type_error"),
        ("r := 2\np if data.t.r.x with data.t.r as {\"x\": 1}", "", "data.t.p", "true"),
        ("r := q\nq := 2\np if data.t.r.x with data.t.q as {\"x\": 1}", "", "data.t.p", "true"),
        ("p if { some x in input.xs; x == 1; startswith(x, \"a\") }", "{}", "data.t.p", "undefined"),
    ]);
}

/// Every rule that was tried for `data.t.p`, with what failed.
fn why(text: &str, input: &str) -> Vec<String> {
    let policy = recorded(text);
    let entry = policy.query("data.t.p").unwrap();
    let input = Value::from_json(input.as_bytes(), &mut Budget::unlimited()).ok();
    let mut recorder = Recorder::explanation();
    let _ = policy.record(&entry, input, &Limits::default(), &Outside::default(), &mut recorder).0;
    let rules = recorder.evaluated().iter().flat_map(|evaluated| {
        evaluated.attempts.iter().map(|attempt| {
            let failure = match &attempt.failure {
                _ if attempt.held => "holds".to_owned(),
                None => "?".to_owned(),
                Some(Failure::Head) => "head".to_owned(),
                Some(Failure::Expression { text, values, .. }) => {
                    let value = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_rego);
                    let values: Vec<String> =
                        values.iter().map(|(text, found)| format!("{text}={}", value(found))).collect();
                    format!("{text} | {}", values.join(" "))
                }
            };
            format!("{}:{} {failure}", evaluated.name.trim_start_matches("data.t."), attempt.pos.line)
        })
    });
    rules.collect()
}

fn recorded(text: &str) -> Policy {
    let mut compiler = Compiler::new(Options { places: true, scan: true, ..Options::default() });
    compiler.module("m.rego", &format!("package t\n{text}"), Version::V1);
    compiler.finish().unwrap()
}

#[test]
fn a_recorder_says_why_each_rule_holds_or_not() {
    for (text, input, want) in [
        ("p if input.a == 1", r#"{"a": 2}"#, vec!["p:2 input.a == 1 | input.a=2"]),
        ("p if input.a.b", "{}", vec!["p:2 input.a.b | input.a.b=-"]),
        (
            "p if {\n\tinput.a # why\n\tx := input.b\n\tx > 3\n}",
            r#"{"a": 1, "b": 2}"#,
            vec!["p:2 x > 3 | x=2"],
        ),
        (
            "p if count(input.xs) > 2",
            r#"{"xs": [1]}"#,
            vec!["p:2 count(input.xs) > 2 | input.xs=[1] count(input.xs)=1"],
        ),
        ("p if not input.a", r#"{"a": 1}"#, vec!["p:2 not input.a | input.a=1"]),
        ("p if {\n\tsome x in input.xs\n\tx > 3\n}", r#"{"xs": [1, 2]}"#, vec!["p:2 x > 3 | x=1"]),
        ("p if {\n\tsome x in input.xs\n\tx > 3\n}", "{}", vec!["p:2 some x in input.xs | input.xs[_]=-"]),
        ("p if every x in input.xs { x < 3 }", r#"{"xs": [1, 7]}"#, vec!["p:2 x < 3 | x=7"]),
        ("p if q\nq if input.a", r#"{"a": false}"#, vec!["p:2 q | q=-", "q:3 input.a | input.a=false"]),
        (
            "p if f(1)\nf(2) := true\nf(x) if x > input.a",
            r#"{"a": 1}"#,
            vec!["p:2 f(1) | ", "f:3 head", "f:4 x > input.a | input.a=1 x=1"],
        ),
        ("p := 1 if input.a\nelse := 2", "{}", vec!["p:2 input.a | input.a=-", "p:3 holds"]),
        ("default p := 1\np := 2 if input.a", "{}", vec!["p:3 input.a | input.a=-", "p:2 holds"]),
        ("p := input.a.b", "{}", vec!["p:2 p := input.a.b | input.a.b=-"]),
    ] {
        assert_eq!(why(text, input), want, "{text}");
    }
}

#[test]
fn a_recorder_keeps_a_bounded_number_of_evaluations() {
    let policy = recorded("p if {\n\tsome i in numbers.range(1, 5000)\n\tf(i)\n}\nf(x) if x < 0");
    let entry = policy.query("data.t.p").unwrap();
    let mut recorder = Recorder::explanation();
    let _ = policy.record(&entry, None, &Limits::default(), &Outside::default(), &mut recorder).0;
    assert_eq!((recorder.evaluated().len(), recorder.left_out()), (2000, 3001));
}

#[test]
fn a_recorder_knows_which_places_were_reached() {
    let policy = recorded("p if {\n\tinput.a\n\tinput.b\n}\np if input.c\nq if {\n\tinput.z\n}");
    let entry = policy.query("data.t.p").unwrap();
    let input = Value::from_json(br#"{"a": 1, "c": 2}"#, &mut Budget::unlimited()).ok();
    let mut recorder = Recorder::coverage();
    let _ = policy.record(&entry, input, &Limits::default(), &Outside::default(), &mut recorder).0;
    let lines = |places: &std::collections::BTreeSet<crate::syntax::Pos>| {
        let mut lines: Vec<u32> = places.iter().map(|pos| pos.line).collect();
        lines.dedup();
        lines
    };
    assert_eq!(lines(recorder.reached()), [3, 4, 6]);
    assert_eq!(lines(&policy.places()), [2, 3, 4, 6, 7, 8]);
}

#[test]
fn parts_of_input_are_found_through_variables_and_rules_that_stand_for_them() {
    let text = "http := input.a.http\np if http.metod\nq if { h := http.headers; h.x; input.b[_].c }\nr if p with input as {}";
    let shown: Vec<String> = recorded(text)
        .input_references()
        .iter()
        .map(|(pos, path)| {
            let path: Vec<String> = path.iter().map(Value::to_rego).collect();
            format!("{}:{} {}", pos.line, pos.col, path.join("/").replace('"', ""))
        })
        .collect();
    assert_eq!(
        shown,
        ["2:9 a/http", "3:6 a/http/metod", "4:13 a/http/headers", "4:27 a/http/headers/x", "4:32 b"]
    );
}

#[test]
fn rules_that_no_index_tells_apart_are_named() {
    let text: String = (0..5).map(|i| format!("p if count(input.a) == {i}\nq if input.a == {i}\n")).collect();
    let mut compiler = Compiler::new(Options::default());
    compiler.module("m.rego", &format!("package t\n{text}"), Version::V1);
    let scanned = compiler.finish().unwrap().scanned(5);
    assert_eq!(scanned.iter().map(|s| (s.name.as_str(), s.looked_at)).collect::<Vec<_>>(), [("data.t.p", 5)]);
}

#[test]
fn tests_of_one_name_are_told_apart_where_that_is_wanted() {
    let mut compiler = Compiler::new(Options { tests_apart: true, ..Options::default() });
    compiler.module(
        "m.rego",
        "package t\ntest_a if true\ntest_a if false\nb := 1 if true\nb := 1 if true",
        Version::V1,
    );
    let policy = compiler.finish().unwrap();
    let rules = policy.rules();
    let names: Vec<String> = rules.iter().filter_map(|rule| rule.path.last()).map(Value::to_rego).collect();
    assert_eq!(names, [r#""test_a""#, r##""test_a#01""##, r#""b""#, r#""b""#]);
}
