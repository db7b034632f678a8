//! Types that grow with each line of a policy: they are compiled as quickly as others, on a small stack.

use crate::plan::{Compiler, Options};
use crate::syntax::Version;

/// Whether a policy is taken.
fn compiles(rules: &str) -> bool {
    let mut compiler = Compiler::new(Options::default());
    compiler.module("t.rego", &format!("package t\n\n{rules}"), Version::V1);
    compiler.finish().is_ok()
}

fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 << 10).spawn(f).unwrap().join().unwrap();
}

/// `v0 := FIRST`, then each from the one before it, and two such chains that meet.
fn chains(levels: usize, first: &str, next: &str) -> String {
    let one = |name: &str| {
        let lines = (1..=levels)
            .map(|n| format!("\t{name}{n} := {}\n", next.replace('v', &format!("{name}{}", n - 1))));
        format!("\t{name}0 := {first}\n{}", lines.collect::<String>())
    };
    format!("p if {{\n{}{}\tx{levels} == y{levels}\n}}\n", one("x"), one("y"))
}

#[test]
fn a_type_is_named_twice_in_the_next_again_and_again() {
    on_a_small_stack(|| {
        for next in [
            "[v, v]",
            "{v, [v]}",
            "{\"a\": v, \"b\": v}",
            "{v: v}",
            "[v, input.x, v]",
            "[v | input.x[_]]",
            "array.concat([v], [v, 1])",
            "[[v], {v}]",
            "{\"a\": [v], input.k: [[v]]}",
        ] {
            for first in ["1", "input.y", "[1, \"a\"]"] {
                assert!(compiles(&chains(60, first, next)), "{first} {next}");
            }
        }
    });
}

#[test]
fn a_type_is_within_another_again_and_again() {
    on_a_small_stack(|| {
        for next in ["[v]", "{v}", "{\"a\": v}", "[1, v]", "{v: 1}", "[v | true]"] {
            assert!(compiles(&chains(3000, "input.y", next)), "{next}");
        }
        // From rule to rule.
        let rules: String = (0..3000).map(|n| format!("r{n} := [r{}, 1]\n", n + 1)).collect();
        assert!(compiles(&format!("{rules}r3000 := input.x\np if r0 == r1\n")));
    });
}

#[test]
fn nested_types_meet_in_as_many_steps_as_they_have_parts() {
    let nested = |of: &str| format!("{}{of}{}", "[".repeat(100), "]".repeat(100));
    assert!(compiles(&format!(
        "p if {{ x := {}; y := {}; x == y }}\n",
        nested("input.x"),
        nested("input.y")
    )));
    assert!(!compiles(&format!("p if {{ x := {}; y := {}; x == y }}\n", nested("1"), nested("\"a\""))));
    let fields = |of: &str| format!("{}{of}{}", "{\"a\": ".repeat(60), "}".repeat(60));
    assert!(compiles(&format!(
        "p if {{ x := {}; y := {}; x == y }}\n",
        fields("input.x"),
        fields("input.y")
    )));
    assert!(!compiles(&format!("p if {{ x := {}; y := {}; x == y }}\n", fields("1"), fields("\"a\""))));
}

#[test]
fn what_has_many_kinds_of_parts_is_looked_through_once() {
    let items: Vec<String> = (0..127).map(|n| format!("{{\"k{n}\": 1}}")).collect();
    let table = items.join(",");
    let all = [table.as_str(); 40].join(",");
    let lines: String = (0..300).map(|n| format!("\tx{n} := t[_]\n\tx{n} == t[_]\n")).collect();
    assert!(compiles(&format!("t := [{all}]\n\np if {{\n{lines}}}\n")));
}

#[test]
fn beyond_a_bound_any_value_is_taken() {
    // Objects of which no two have a key in common: as many pairs as the product.
    let objects = |name: &str, count: usize| {
        let members: Vec<String> = (0..count).map(|n| format!("{{\"{name}{n}\": input.x}}")).collect();
        format!("{{{}}}", members.join(", "))
    };
    let meet = |count| {
        compiles(&format!(
            "p if {{ some x in {}; some y in {}; x == y }}\n",
            objects("a", count),
            objects("b", count)
        ))
    };
    assert!(!meet(10));
    assert!(meet(100));
    // Each value of a text is a part.
    let in_turn =
        |count: usize| compiles(&format!("t := [{}]\n\np if t[_] == null\n", "1, \"a\", ".repeat(count)));
    assert!(!in_turn(2_000));
    assert!(in_turn(2_100));
}
