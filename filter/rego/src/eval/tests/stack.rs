//! No policy uses up the stack, however deep it nests, however long its chains are.

use super::super::{Error, Limits, Outside};
use super::answer;
use crate::plan::{Compiler, Options};
use crate::syntax::Version;

/// Runs on a stack as small as a module has, less what a debug build needs more.
fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(f).unwrap().join().unwrap();
}

#[test]
fn nothing_that_nests_uses_up_the_stack() {
    on_a_small_stack(|| {
        let nested =
            |open: &str, close: &str, n: usize| format!("p := {}1{}", open.repeat(n), close.repeat(n));
        for n in [100, 1_000, 100_000] {
            for (open, close) in [
                ("[", "]"),
                ("{", "}"),
                ("(", ")"),
                ("[1 | x := ", "]"),
                ("count(", ")"),
                ("{1: ", "}"),
                ("-", ""),
            ] {
                let text = nested(open, close, n);
                let got = answer(&[&text], "", "", "data.t.p");
                assert!(got != "undefined" || n < 1000, "{open} {n}: {got}");
            }
            for op in [" + 1", " | {1}", " == 1", " in [1]"] {
                answer(&[&format!("p := 1{}", op.repeat(n))], "", "", "data.t.p");
            }
            let not = format!("import future.keywords.not\np if {}true{}", "not {".repeat(n), "}".repeat(n));
            answer(&[&not], "", "", "data.t.p");
            let every = format!("p if {}true{}", "every x in [1] {".repeat(n), "}".repeat(n));
            answer(&[&every], "", "", "data.t.p");
            let template = format!("p := {}1{}", "$\"{".repeat(n), "}\"".repeat(n));
            answer(&[&template], "", "", "data.t.p");
        }
        let chain: String = (0..1_500).map(|i| format!("r{i} := r{}\n", i + 1)).collect();
        assert_eq!(answer(&[&format!("{chain}r1500 := 1")], "", "", "data.t.r0"), "1");
        let conjuncts: String = (0..3_000).map(|i| format!("  input.a{i} == {i}\n")).collect();
        let input: Vec<String> = (0..3_000).map(|i| format!("\"a{i}\": {i}")).collect();
        let input = format!("{{{}}}", input.join(", "));
        assert_eq!(
            answer(&[&format!("p if {{\n{conjuncts}}}\np if input.b")], "", &input, "data.t.p"),
            "true"
        );
        let path: String = (0..90).map(|i| format!(".p{i}")).collect();
        assert_eq!(answer(&[&format!("package t{path}\nx := 1")], "", "", &format!("data.t{path}.x")), "1");
    });
}

/// What walks the tree of rules, and documents that a `with` makes, calls itself: paths are bounded where they are read.
#[test]
fn a_long_path_uses_up_no_stack() {
    on_a_small_stack(|| {
        for steps in [110, 10_000] {
            let a = ".a".repeat(steps);
            for text in [
                format!("p{a} := 1\nallow if data.t.p"),
                format!("p{a} := 1\nallow if data.t.p with input as 1"),
                format!("p{a}[x] := 1 if some x in [1]\nallow if data.t.p"),
                format!("p[x]{a} := 1 if some x in [1]\nallow if walk(data.t.p, [x, y])"),
                format!("default p{a} := 1\nallow if data.t.p"),
                format!("p{a}.f(x) := x\nallow if data.t.p{a}.f(1)"),
                format!("allow if input{a} with input{a} as 1"),
                format!("allow if data.x with data.x{a} as 1"),
                format!("allow if every x in [1] {{ x with input{a} as 1 }}"),
            ] {
                let mut compiler = Compiler::new(Options::default());
                compiler.module("m.rego", &format!("package t\n{text}"), Version::V1);
                let policy = match compiler.finish() {
                    Ok(policy) => policy,
                    Err(errors) => {
                        let told = errors.to_string();
                        assert!(steps > 120 && told.contains("more than 120 steps"), "{told}");
                        continue;
                    }
                };
                assert!(steps < 120, "{text:.60}");
                let entry = policy.query("data.t.allow").unwrap();
                policy.reads(&entry);
                policy.evaluate(&entry, None, &Limits::default(), &Outside::default()).unwrap();
            }
        }
        for text in
            [format!("package a{}", ".a".repeat(130)), format!("package t\nimport data{}", ".a".repeat(130))]
        {
            let mut compiler = Compiler::new(Options::default());
            compiler.module("m.rego", &text, Version::V1);
            assert!(compiler.finish().unwrap_err().to_string().contains("more than 120 steps"), "{text:.60}");
        }
    });
}

/// Rules that ask one another are evaluated without recursion: neither the way down nor the way back up costs any, whether the
/// last one has a value or not.
#[test]
fn a_chain_of_rules_uses_up_no_stack() {
    const LINKS: usize = 6_000;
    let links: [(&str, &str); 13] = [
        ("r{i} := r{n}.a", "input"),
        ("r{i} if r{n}", "true"),
        ("r{i} := x if { x := r{n} } else := r{n}", "1"),
        ("r{i} if not r{n}", "true"),
        ("r{i} if every x in [1, 2] { r{n}; x }", "true"),
        ("r{i} := count([x | x := r{n}])", "1"),
        ("r{i} contains x if some x in r{n}", "{1}"),
        ("r{i}[x] := y if some x, y in r{n}", "{1: 2}"),
        ("r{i} := x if { some x in [1, r{n}, 3]; x == 3 }", "1"),
        ("r{i} := x if x := r{n} with input.x as {i}", "input.x"),
        ("r{i} := x if x := r{n} with data.b.c{i} as 1", "1"),
        ("r{i} := f{i}(1)\nf{i}(x) := r{n} if x", "1"),
        ("r{i} := x if x := r{n} with count as f", "1"),
    ];
    on_a_small_stack(move || {
        for (link, last) in links {
            for last in [last.to_owned(), format!("{last} if input.none")] {
                let link =
                    |i: usize| link.replace("{i}", &i.to_string()).replace("{n}", &(i + 1).to_string());
                let chain: Vec<String> = (0..LINKS).map(link).collect();
                let text = format!("f(x) := 7\n{}\nr{LINKS} := {last}", chain.join("\n"));
                ends_within_its_limits(&text);
            }
        }
    });
}

/// What is asked for as a whole is evaluated name by name, and each may have nothing to say.
#[test]
fn a_document_of_many_names_uses_up_no_stack() {
    on_a_small_stack(|| {
        for rule in [
            "r{i} if input.none",
            "r{i} contains 1 if input.none",
            "r{i} := {i}",
            "default r{i} := 1",
            "f{i}(x) := 1",
        ] {
            let rules: Vec<String> = (0..20_000).map(|i| rule.replace("{i}", &i.to_string())).collect();
            ends_within_its_limits(&rules.join("\n"));
        }
    });
}

/// Compiles a module and asks for `data`, and for `r0`, with few frames and with as many as there are rules.
fn ends_within_its_limits(text: &str) {
    let mut compiler = Compiler::new(Options::default());
    let text = if text.starts_with("package") { text.to_owned() } else { format!("package t\n{text}") };
    compiler.module("m.rego", &text, Version::V1);
    let policy =
        compiler.finish().unwrap_or_else(|errors| panic!("{:.200}: {text:.200}", errors.to_string()));
    for query in ["data", "data.t.r0"] {
        let entry = policy.query(query).unwrap();
        policy.reads(&entry);
        for depth in [100_000, 2_000] {
            let limits = Limits { depth, bytes: 1 << 30, ..Limits::default() };
            match policy.evaluate(&entry, None, &limits, &Outside::default()) {
                Ok(_) | Err(Error::Limit(_) | Error::Conflict(_)) => {}
                Err(error) => panic!("{error}: {text:.200}"),
            }
        }
    }
}
