//! Events that wait for a request and not for a time.

use std::sync::Arc;

use host_harness::race::{self, Options, scenario::Scenario};

use super::{bounded, language::*};

/// A request for `/login` is remembered for all VMs; another one passes if there was one.
const SHARED: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
    (if (i32.eq (i32.load (i32.const 20)) (i32.const 6))
      (then (drop (call $set_shared @"in" @"1" (i32.const 0))))
      (else
        (if (call $get_shared @"in" (i32.const 16) (i32.const 20) (i32.const 24))
          (then (call $answer (i32.const 401) @"who are you?")))))
    (i32.const 0))"#;

const LOGIN: &str = "
events:
  - {at: 0s, request: login, worker: 0, path: /login}
  - {WHEN, request: use, worker: 1, path: /}
bounds: {until: 50ms}
must: {always: [{request: use, answer: {status: 200}}]}
";

#[test]
fn what_waits_for_the_end_of_a_request_comes_after_it_in_every_order() {
    let explore = |when: &str| explored(SHARED, &LOGIN.replace("WHEN", when), &bounded(1));
    let report = explore("after: login");
    report.assert_clean();
    assert!(report.phases.iter().all(|phase| phase.certificate.is_some()), "{report}");
    assert_eq!(explore("at: 0s").first.expect("it may come before").oracle, "always");
    explore("after: {request: login, has: ended, delay: 20ms}").assert_clean();
}

#[test]
fn what_waits_for_the_beginning_of_a_request_may_come_into_the_middle_of_it() {
    let found = explored(SHARED, &LOGIN.replace("WHEN", "after: {request: login, has: begun}"), &bounded(1));
    let found = found.first.expect("it comes before the login is remembered");
    assert_eq!((found.oracle.as_str(), found.phase.as_str()), ("always", "bound 1"));
}

#[test]
fn what_was_found_after_a_request_is_written_down_and_runs_again() {
    let text = LOGIN.replace("WHEN", "after: {request: login, has: begun}");
    let (module, scenario) = (guest(SHARED), scenario(&text));
    let options = Options { stop_at_first: true, ..bounded(1) };
    let found = race::explore(&module, &scenario, &options).unwrap().first.expect("it is broken");
    let (schedule, _) = race::shrink(&module, &scenario, &found, &options).unwrap();
    let written = schedule.to_string();
    assert!(written.contains("w0 request#1(login)") && written.contains("w1 request#1(use)"), "{written}");
    let read = super::parse(&written);
    // The scenario stands in the file, and with it what waits for what.
    let kept = read.scenario.as_deref().expect("the scenario is in the file");
    let again = Arc::new(Scenario::parse_kept(kept, "kept").unwrap().remove(0));
    let replayed = race::replay(&module, &again, &read, false).unwrap();
    assert_eq!(super::divergences(&replayed), [""; 0]);
    assert_eq!(replayed.trace.findings[0].oracle, "always");
}

#[test]
fn a_turn_that_waits_for_a_request_cannot_come_before_it() {
    let scenario = scenario(&LOGIN.replace("WHEN", "after: login"));
    let schedule = super::parse("race/1\n\nw1 request#1(use)\n");
    let replayed = race::replay(&guest(SHARED), &scenario, &schedule, false).unwrap();
    let said = super::divergences(&replayed);
    assert!(said[0].contains("says that `w1 request#1(use)` comes next"), "{said:?}");
}

/// Two requests end in any order, and each changes what the upstream answers from then on.
const CHANGES: &str = "
clusters: {upstream: {answers: [{status: 200}]}}
events:
  - {at: 0s, request: A, worker: 0}
  - {at: 0s, request: B, worker: 1}
  - {after: A, cluster: upstream, answers: [{status: 201}]}
  - {after: B, cluster: upstream, answers: [{status: 202}]}
  - {at: 30ms, request: C, worker: 0}
  - {at: 30ms, request: D, worker: 1}
bounds: {until: 60ms, slack: 10ms}
";

#[test]
fn states_in_which_other_things_have_happened_or_wait_are_not_the_same() {
    for (rule, clean) in [
        ("must: {always: [{request: C, never: {status: 201}}]}", false),
        ("must: {always: [{request: C, never: {status: 202}}]}", false),
        ("must: {always: [{request: C, never: {status: 200}}]}", true),
    ] {
        assert_eq!(covered(BLIND, &format!("{CHANGES}{rule}")).is_clean(), clean, "{rule}");
    }
}

#[test]
fn requests_traps_and_stalls_may_wait_for_requests_that_wait_themselves() {
    let text = "
failure_policy: fail_open
events:
  - {after: B, request: C, worker: 0}
  - {at: 0s, request: A, worker: 0}
  - {after: A, request: B, worker: 1}
  - {after: C, trap: w1}
  - {after: {request: A, delay: 1ms}, stall: main, for: 5ms}
  - {after: C, remove: plugin}
bounds: {until: 40ms, slack: 5ms}
must: {always: [{answer: {status: 200}}]}
";
    covered(BLIND, text).assert_clean();
}

#[test]
fn what_waits_in_vain_is_said_and_nothing_is_certified() {
    let waits =
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))"#;
    let text = "
workers: 1
tolerate: [stuck-stream]
events:
  - {at: 0s, request: A, worker: 0}
  - {after: A, request: B, worker: 0}
bounds: {until: 100ms, settle: 1s}
";
    let report = explored(waits, text, &bounded(0));
    let said = "nothing was asked: what comes after request `A` never happens, as that comes to no end before the run is over: \
                raise `bounds.until`, or see what keeps it waiting";
    assert_eq!(report.verdict, said);
    assert!(!report.is_as_expected());
    // A client that leaves ends it.
    let text = text.replace("request: A, worker: 0}", "request: A, worker: 0, leaves_after: 10ms}");
    let report = explored(waits, &text.replace("stuck-stream", "stuck-stream, growth"), &bounded(0));
    assert!(report.not_run.is_none(), "{report}");
}
