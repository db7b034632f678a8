//! Texts that are taken and refused: each was asked of the real `opa` 1.20.2.

use super::{Names, Version, parse};

fn places(text: &str, version: Version) -> Result<usize, (u32, u32)> {
    let mut names = Names::default();
    match parse(0, text, version, &mut names) {
        Ok(module) => Ok(module.rules.len()),
        Err(error) => Err((error.line, error.col)),
    }
}

#[test]
fn a_text_is_read_in_pieces_as_if_it_were_one() {
    let mut text = String::from("\u{feff}package t\n");
    for i in 0..3000 {
        text.push_str(&format!(
            "r{i} := `a\nb # \" {i}` if {{ # a comment with ` and \"\n  x := \"#`\\\"\"; x\n}}\n"
        ));
    }
    assert_eq!(places(&text, Version::V1), Ok(3000));
    text.push_str("r := [1\n");
    let lines = text.lines().count() as u32;
    assert_eq!(places(&text, Version::V1), Err((lines + 1, 1)));
    assert_eq!(places(&format!("{text}$"), Version::V1), Err((lines + 1, 1)));
}

#[test]
fn what_opa_takes_and_refuses() {
    let taken = [
        "p.if := 1",
        "not.y := 2",
        "p if if.x == 1",
        "p if { x := {1 | 2}; x }",
        "p := {1 | 2}",
        "p := [1 | true]",
        "p := {x | x := 1}",
        "p := $\"a {input.x[\"y\"]} \\{ {1}\"",
        "p := $`a\n{input.x}`",
        "p contains 1",
        "q contains{x} if { some x in [1] }",
        "q contains[] if {}",
        "p contains 1\nif.x contains 2",
        "p := 1 q := 2",
        "f(x) := x if x > 1 else := 2",
        "p := v if { v := 1 } { v := 2 }",
        "p := input.a-1",
        "p := -input.y + 1",
        "import future.keywords.not\np if not { input.x }",
        "import future.keywords.and\np if { input.x and input.y }",
        "default f(_) := 1\nf(x) := 1 if x",
        "f(x)",
        "p if every k, v in {} { k == v }",
        "p if { some x\n input.a[x] }",
    ];
    for text in taken {
        assert!(places(&format!("package t\n{text}"), Version::V1).is_ok(), "{text}");
    }
    let refused = [
        "p if { a; }",
        "p { true }",
        "p[x] if { x := 1",
        "p := -(1)",
        "p := 01",
        "p := \"\\x41\"",
        "p if not some x in []",
        "p := 1 == if.x",
        "import data.a.if",
        "p",
        "default p := input.x",
        "p := 1 else := 2 { true }",
        "package u",
        "p := \u{1F600}",
        "m\n [[]] := false",
        "p := 1.",
        "f()",
        "f()[x] := 1",
        "count(x)",
        "object.union_n([{}])",
        "any(x)",
        "http.send(x)",
        "f(x).y := 1",
        "p\n .e := 4",
    ];
    for text in refused {
        assert!(places(&format!("package t\n{text}"), Version::V1).is_err(), "{text}");
    }
    for text in [
        "p[x] { x := 1 }",
        "p[x] = y { x := 1; y := 2 }",
        "if := 1",
        "p { true }",
        "import future.keywords.in\np { 1 in [1] }",
    ] {
        assert!(places(&format!("package t\n{text}"), Version::V0).is_ok(), "{text}");
    }
    assert!(places("package t\np { 1 in [1] }", Version::V0).is_err());
}

/// A VM of Envoy has a stack of its own, and a parse must not end it.
#[test]
fn no_text_needs_more_than_a_small_stack() {
    let nested: &[(&str, &str)] = &[
        ("abs(", ")"),
        ("set(", ")"),
        ("(", ")"),
        ("[", "]"),
        ("{", "}"),
        ("{\"a\": ", "}"),
        ("{1: ", "}"),
        ("[1 | y := ", "]"),
        ("{1 | 1 == ", "}"),
        ("{1: 1 | y := ", "}"),
        ("[{(", ")}]"),
        ("y[", "]"),
        ("y.z[", "]"),
        ("a.b.c(", ")"),
        ("set()[", "]"),
        ("f(1)[", "]"),
        ("-", ""),
        ("- ", ""),
        ("not ", ""),
        ("not {", "}"),
        ("{x | not x == ", "}"),
        ("{x | every y in [1] { y == ", "}}"),
        ("{x | some y in ", "}"),
        ("{x | x with input as ", "}"),
        ("$\"{", "}\""),
        ("1 + ", ""),
        ("1 in ", ""),
        ("1 == ", ""),
        ("{1} | ", ""),
        ("1 else := ", ""),
    ];
    let run = move || {
        for (open, close) in nested {
            for depth in [10, 100, 20_000] {
                let body = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                for text in [format!("p := {body}"), format!("p if {{ {body} }}"), format!("p[{body}] := 1")]
                {
                    // Taken or refused: it ends.
                    let _ = places(&format!("package t\n{text}\n"), Version::V1);
                }
            }
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn an_empty_set_is_written_in_one_way() {
    for (text, taken) in [
        ("p := set()", true),
        ("p := set( )", true),
        ("p := {1} | set()", true),
        ("p := set(set())", true),
        ("p := set ()", false),
        ("set := 1", true),
        ("set(x) := x", true),
        ("reset(x) := x", true),
        ("p := \"set(\"", true),
    ] {
        assert_eq!(places(&format!("package t\n{text}\n"), Version::V1).is_ok(), taken, "{text}");
    }
}

#[test]
fn a_rule_that_is_compiled_in_one_step_has_a_bound() {
    let body =
        |expressions: usize| format!("package t\np if {{\n{}}}\nq := 1\n", "\tinput.a\n".repeat(expressions));
    assert_eq!(places(&body(19_990), Version::V1), Ok(2));
    assert!(places(&body(20_010), Version::V1).is_err_and(|(line, _)| line > 20_000));
    // Of each rule alone.
    let rules = "p if { input.a; input.b }\n".repeat(15_000);
    assert_eq!(places(&format!("package t\n{rules}"), Version::V1), Ok(15_000));
}
