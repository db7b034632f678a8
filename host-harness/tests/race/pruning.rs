//! A search that goes on from known states no further must not lose what was broken on the way to them, nor what the
//! rules will say because of it.

use std::sync::Arc;

use host_harness::{
    abi::{Module, Runtime},
    race::{self, scenario::Scenario},
};

/// A filter that looks at no response, so that nothing of an answer is left in its VM.
const BLIND: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 16))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0)))"#;

const TWO: &str = "
scenario: two-clients
about: The upstream answers the first request and not the second, and either may be the first.
module: blind.wat
workers: 2
clusters:
  upstream:
    answers: [{status: 200}, {status: 503}]
events:
  - {at: 10ms, request: A, worker: 0, path: /}
  - {at: 10ms, request: B, worker: 1, path: /}
  # Here there is a choice again, in a state that does not depend on who was the first.
  - {at: 40ms, request: C, worker: 0, path: /}
  - {at: 40ms, request: D, worker: 1, path: /}
bounds: {until: 80ms, slack: 10ms}
";

#[test]
fn what_is_broken_on_the_way_to_a_known_state_is_not_lost() {
    assert!(!clean("must: {always: [{request: A, never: {status: 503}}]}"));
    assert!(clean("must: {always: [{request: A, never: {status: 404}}]}"));
}

#[test]
fn states_in_which_a_rule_will_say_something_else_are_not_the_same() {
    let rule =
        "must: {eventually: [{when: {request: A, status: 503}, request: {path: /}, answer: {status: 200}}]}";
    assert!(!clean(rule), "the upstream answers 503 to everything that comes later");
}

#[test]
fn a_client_that_would_have_left_later_does_not_end_the_run() {
    let scenario =
        TWO.replace("request: A, worker: 0, path: /", "request: A, worker: 0, path: /, leaves_after: 15ms");
    let broken = "must: {always: [{request: D, never: {status: 503}}]}";
    assert!(!clean_in(&scenario, broken), "D comes after A's client had its answer, and is answered 503");
}

fn clean(rule: &str) -> bool {
    clean_in(TWO, rule)
}

fn clean_in(scenario: &str, rule: &str) -> bool {
    let module = Module::load(&Runtime::new().unwrap(), BLIND.as_bytes()).unwrap();
    let scenario =
        Scenario::parse(&format!("{scenario}{rule}"), "two.yaml").unwrap_or_else(|error| panic!("{error}"));
    let scenario = Arc::new(scenario.into_iter().next().unwrap());
    let cached = race::explore(&module, &scenario, &super::bounded(0)).unwrap();
    let plain = race::Options { cache: false, ..super::bounded(0) };
    let plain = race::explore(&module, &scenario, &plain).unwrap();
    assert_eq!(cached.is_clean(), plain.is_clean(), "{cached}\n{plain}");
    cached.is_clean()
}
