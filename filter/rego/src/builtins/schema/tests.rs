//! Schemas and documents that are meant to hurt.

use crate::builtins::{Budget, Call, Fault, Kept, Limit, call};
use crate::value::Value;

const STEPS: u64 = 20_000_000;

/// Matches within so many steps: the answer, and the steps taken.
fn matched(document: &str, schema: &str, steps: u64) -> (Result<Value, Fault>, u64) {
    let mut budget = Budget::new(steps, 64 << 20);
    let mut kept = Kept::default();
    let args = [Value::from(document), Value::from(schema)];
    let answer = call("json.match_schema", &args, &mut Call::beside(&mut budget, &mut kept));
    (answer, steps - budget.steps_left())
}

fn ends(document: &str, schema: &str, with: Limit) {
    let (answer, taken) = matched(document, schema, STEPS);
    assert_eq!(answer, Err(Fault::Limit(with)), "{taken} steps");
}

#[test]
fn what_doubles_with_each_reference_ends() {
    let one = |at: usize| {
        format!(
            r##""a{at}":{{"allOf":[{{"$ref":"#/definitions/a{0}"}},{{"$ref":"#/definitions/a{0}"}}]}}"##,
            at + 1
        )
    };
    let all: Vec<_> = (0..60).map(one).collect();
    let schema = format!(r##"{{"$ref":"#/definitions/a0","definitions":{{{},"a60":{{}}}}}}"##, all.join(","));
    ends("1", &schema, Limit::Steps);
}

#[test]
fn references_that_go_round_end() {
    ends("1", r##"{"$ref":"#"}"##, Limit::Depth);
    ends("1", r##"{"allOf":[{"$ref":"#"}]}"##, Limit::Depth);
    let round = r##"{"$ref":"#/definitions/a","definitions":{"a":{"$ref":"#/definitions/b"},"b":{"$ref":"#/definitions/a"}}}"##;
    ends("1", round, Limit::Depth);
    // Those that go one step into the document each time end with it.
    let (answer, _) = matched(r#"{"a":{"a":{"a":1}}}"#, r##"{"additionalProperties":{"$ref":"#"}}"##, STEPS);
    assert_eq!(answer.unwrap().to_rego(), "[true, []]");
}

#[test]
fn nesting_has_a_bound() {
    // Half of the stack of a worker; without the optimiser a frame is many times as large.
    let size = if cfg!(debug_assertions) { 8 << 20 } else { 256 << 10 };
    std::thread::Builder::new().stack_size(size).spawn(nest).unwrap().join().unwrap();
}

fn nest() {
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    let not = |depth| nested(r#"{"not":"#, "{}", "}", depth);
    assert!(matched("1", &not(120), STEPS).0.is_ok());
    ends("1", &not(150), Limit::Depth);
    let items = r##"{"items":{"$ref":"#"}}"##;
    assert!(matched(&nested("[", "", "]", 120), items, STEPS).0.is_ok());
    ends(&nested("[", "", "]", 150), items, Limit::Depth);
    // Also what is no schema within one.
    ends("1", &format!(r#"{{"default":{}}}"#, nested("[", "", "]", 300)), Limit::Depth);
    assert!(matched("1", &format!(r#"{{"default":{}}}"#, nested("[", "", "]", 250)), STEPS).0.is_ok());
    // A chain of references is as deep.
    let one = |at: usize| format!(r##""a{at}":{{"items":{{"$ref":"#/definitions/a{}"}}}}"##, at + 1);
    let all: Vec<_> = (0..400).map(one).collect();
    let chain = format!(r##"{{"$ref":"#/definitions/a0","definitions":{{{},"a400":{{}}}}}}"##, all.join(","));
    ends("1", &chain, Limit::Depth);
}

#[test]
fn errors_have_a_bound_of_bytes() {
    let names: Vec<_> = (0..10_000).map(|at| format!("\"value{at}\"")).collect();
    let schema = format!(r#"{{"items":{{"enum":[{}]}}}}"#, names.join(","));
    let document = format!("[{}1]", "1,".repeat(10_000));
    ends(&document, &schema, Limit::Bytes);
    let deep = format!("{}[1,1,1]{}", "{\"aaaaaaaaaaaaaaaaaaaaaaaa\":".repeat(100), "}".repeat(100));
    let wide =
        r##"{"additionalProperties":{"$ref":"#"},"items":{"allOf":[{"type":"null"},{"type":"null"}]}}"##;
    assert!(matched(&deep, wide, STEPS).0.is_ok());
}

#[test]
fn numbers_of_many_digits_are_paid_for() {
    let long = "7".repeat(9_000);
    let schema = format!(r#"{{"multipleOf":{long}}}"#);
    let (answer, taken) = matched("1e19000", &schema, STEPS);
    assert!(taken > 100_000, "{taken}");
    // So long a divisor is not shown.
    assert_eq!(answer, Err(Fault::Limit(Limit::Bytes)));
    ends("1e30000", r#"{"multipleOf":7.5}"#, Limit::Bytes);
    let (answer, _) = matched("1e30000", r#"{"minimum":1,"maximum":1e30001}"#, STEPS);
    assert_eq!(answer.unwrap().to_rego(), "[true, []]");
}

/// Where Go dereferences nothing.
#[test]
fn numbers_that_are_none_to_go_are_undefined() {
    for (document, schema) in [
        ("1e1000001", r#"{"minimum":1}"#),
        ("5e-1000005", r#"{"multipleOf":2}"#),
        ("1e400", r#"{"enum":[1]}"#),
        ("1e400", r#"{"const":1}"#),
        ("[1e400]", r#"{"uniqueItems":true}"#),
    ] {
        assert!(matches!(matched(document, schema, STEPS).0, Err(Fault::Undefined(_))), "{document}");
    }
}

#[test]
fn every_call_is_paid_for() {
    let schema = r##"{"type":"object","properties":{"a":{"$ref":"#/definitions/x"},"b":{"pattern":"^a+$"}},"definitions":{"x":{"enum":[1,2,3]}}}"##;
    let (answer, taken) = matched(r#"{"a":1,"b":"aaa"}"#, schema, STEPS);
    assert_eq!(answer.unwrap().to_rego(), "[true, []]");
    assert!(taken > 200, "{taken}");
    for steps in [0, 1, taken / 2, taken - 1] {
        assert_eq!(matched(r#"{"a":1,"b":"aaa"}"#, schema, steps).0, Err(Fault::Limit(Limit::Steps)));
    }
    assert!(matched(r#"{"a":1,"b":"aaa"}"#, schema, taken).0.is_ok());
}
