use std::time::{Duration, Instant};

use crate::{Compiler, Options, Version};

fn compile(text: &str) -> Result<(), String> {
    let mut compiler = Compiler::new(Options::default());
    compiler.module("m.rego", text, Version::V1);
    compiler.finish().map(|_| ()).map_err(|e| e.to_string())
}

/// Every expression needs what the next one binds, and a call at the beginning waits to the end: what it would bind makes
/// all that waits be looked at again.
#[test]
fn a_long_body_that_stands_upside_down_is_ordered_in_time() {
    let steps = 15_000;
    let chain: String = (0..steps).map(|i| format!("x{i} = x{}\n", i + 1)).collect();
    let body = format!("concat(input.ys[j], yy, zz)\n{chain}x{steps} = input.a\nyy = [\"a\"]\n");
    let start = Instant::now();
    assert_eq!(compile(&format!("package t\np := x0 if {{\n{body}}}\n")), Ok(()));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn many_bodies_within_a_body_are_ordered_in_time() {
    let steps = 4_000;
    let bodies: String = (0..steps)
        .map(|i| format!("every v{i} in [x{0}] {{ v{i} == x{0} }}\nx{i} = x{0}\n", i + 1))
        .collect();
    let start = Instant::now();
    assert_eq!(compile(&format!("package t\np if {{\n{bodies}x{steps} = 1\n}}\n")), Ok(()));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// A variable that an expression is not seen to need, because a body within it names another one, is told at run time.
#[test]
fn what_opa_does_not_see_is_not_seen() {
    assert_eq!(compile("package t\np if { b := {1}; lt(a, {z | z = b}); a = {1} }"), Ok(()));
    let missing = compile("package t\np if { k := input.items; count({k | true}, k) }");
    assert!(missing.is_err_and(|why| why.contains("`k` is unsafe")));
}

/// Comprehensions within comprehensions are checked alone as well, to a depth at which that is still little work.
#[test]
fn comprehensions_within_comprehensions_are_checked_in_time() {
    let depth = 35;
    let open: String = (0..depth).map(|i| format!("{{z{i} | z{i} := input.a; count(")).collect();
    let text = format!("package t\np := x if {{ x := {open}[]{} }}\n", ") > 0}".repeat(depth));
    let start = Instant::now();
    assert_eq!(compile(&text), Ok(()));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
