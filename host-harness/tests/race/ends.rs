//! What a search says when something lies behind the end of its run, of its time or of its memory: nothing that is not so.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use host_harness::race::{self, Options, Report, scenario::Scenario};

use crate::{bounded, common};

#[test]
fn a_tick_that_is_due_after_the_run_makes_no_state_that_leads_to_itself() {
    let guest = configured("(drop (call $set_tick (i32.const 3000)))");
    let report = explore(&guest, "workers: 2\nbounds: {until: 1s, settle: 3s}", &bounded(1));
    report.assert_clean();
    let certificate = report.phases[1].certificate.as_ref().expect("the search is complete");
    assert_eq!((certificate.states, certificate.paths.as_str()), (0, "1"), "there is nothing to decide");
}

#[test]
fn a_turn_is_held_no_longer_than_the_slack() {
    let touches = r#"(drop (call $set_shared @"key" @"value" (i32.const 0)))"#;
    let events = |pause: &str| {
        format!(
            "events:\n  - {{at: 0s, request: a, worker: 0}}\n  - {{at: {pause}, request: b, worker: 1}}\nbounds: {{until: 1s, slack: 10ms}}"
        )
    };
    let paths = |pause: &str| {
        let report = explore(&in_request(touches, 0), &events(pause), &bounded(1));
        report.phases[1].certificate.as_ref().expect("the search is complete").paths.clone()
    };
    assert_eq!(paths("500ms"), "1");
    assert_ne!(paths("5ms"), "1");
}

#[test]
fn timers_that_are_fast_and_many_are_no_livelock() {
    let touches = r#"(drop (call $get_shared @"key" (i32.const 16) (i32.const 20) (i32.const 24)))"#;
    let guest = format!(
        r#"{} (func (export "proxy_on_tick") (param i32) {touches})"#,
        configured("(drop (call $set_tick (i32.const 1)))")
    );
    let report = explore(&guest, "workers: 16", &Options { schedules: 20, ..bounded(0) });
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.cut_off, report.schedules);
    assert!(report.verdict.starts_with("clean so far (20 schedules); 20 of them were cut off"), "{report}");
}

#[test]
fn a_queue_that_is_filled_by_whoever_empties_it_is_one() {
    let guest = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $register_queue @"q" (i32.const 24)))
        (drop (call $enqueue (i32.load (i32.const 24)) @"x")) (i32.const 1))
      (func (export "proxy_on_queue_ready") (param i32 i32)
        (drop (call $dequeue (local.get 1) (i32.const 16) (i32.const 20)))
        (drop (call $enqueue (local.get 1) @"x")))"#;
    let report = explore(guest, "workers: 1", &Options { schedules: 1, ..bounded(0) });
    assert_eq!(report.first.expect("it never becomes quiet").oracle, "livelock");
}

#[test]
fn a_stream_that_waits_for_what_comes_after_the_run_is_not_stuck() {
    let waits = |limit_ms: u32| {
        let call = format!(
            r#"(drop (call $http_call @"feed" @pairs(":method: GET; :path: /; :authority: feed") (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const {limit_ms}) (i32.const 24)))"#
        );
        let rest = "clusters: {feed: {answers: [never]}}\nevents: [{at: 0s, request: a, worker: 0}]\n\
                    bounds: {until: 100ms, settle: 1s}";
        explore(&in_request(&call, 1), rest, &bounded(0))
    };
    waits(60_000).assert_clean();
    let found = waits(200).first.expect("the limit is over, and the request still waits");
    assert_eq!(found.oracle, "stuck-stream");
}

#[test]
fn a_stream_that_waits_for_a_tick_after_the_run_is_not_stuck_and_one_that_a_tick_passed_by_is() {
    let waits = |period_ms: u32| {
        let guest = format!(
            r#"{} {} (func (export "proxy_on_tick") (param i32))"#,
            configured(&format!("(drop (call $set_tick (i32.const {period_ms})))")),
            in_request("", 1)
        );
        let rest =
            "workers: 1\nevents: [{at: 50ms, request: a, worker: 0}]\nbounds: {until: 100ms, settle: 1s}";
        explore(&guest, rest, &bounded(0))
    };
    waits(60_000).assert_clean();
    assert_eq!(waits(200).first.expect("the tick has come, and it still waits").oracle, "stuck-stream");
}

#[test]
fn what_grows_only_until_its_work_is_done_is_no_leak() {
    let grows = |ticks: u32| {
        let guest = format!(
            r#"(global $ticks (mut i32) (i32.const 0)) {}
               (func (export "proxy_on_tick") (param i32)
                 (global.set $ticks (i32.add (global.get $ticks) (i32.const 1)))
                 (if (i32.le_u (global.get $ticks) (i32.const {ticks})) (then (drop (memory.grow (i32.const 1))))))"#,
            configured("(drop (call $set_tick (i32.const 1000)))")
        );
        explore(&guest, "workers: 1\nbounds: {until: 100ms, settle: 3s}", &bounded(0))
    };
    grows(3).assert_clean();
    let found = grows(u32::MAX).first.expect("it grows for ever");
    assert!(found.message.starts_with("nothing happens for 6 rounds"), "{}", found.message);
}

#[test]
fn what_a_guest_logged_in_another_callback_is_not_said_of_its_failure() {
    let logs = r#"(drop (call $log (i32.const 4) @"panicked at a.rs:1"))"#;
    let events = "events:\n  - {at: 0s, request: a, worker: 0}\n  - {at: 50ms, request: b, worker: 0}\n";
    let guest = |first: &str, second: &str| {
        format!(
            r#"(global $count (mut i32) (i32.const 0))
               (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                 (global.set $count (i32.add (global.get $count) (i32.const 1)))
                 (if (i32.eq (global.get $count) (i32.const 1)) (then {first}) (else {second} unreachable))
                 (i32.const 0))"#
        )
    };
    let said = |guest: &str| explore(guest, events, &bounded(0)).first.expect("it fails").message;
    assert!(said(&guest("", logs)).ends_with("on w0; it logged `panicked at a.rs:1`"));
    assert!(said(&guest(logs, "")).ends_with("executed on w0"));
}

#[test]
fn a_failure_names_the_hostcall_that_was_refused_right_before_it() {
    let events = "events: [{at: 0s, request: a, worker: 0}]";
    let asks = r#"(drop (call $get_header (i32.const 0) @"x-none" (i32.const 16) (i32.const 20)))"#;
    let said =
        |action: &str| explore(&in_request(action, 0), events, &bounded(0)).first.expect("it fails").message;
    let logs = r#"(drop (call $log (i32.const 4) @"panicked at a.rs:1: no"))"#;
    let after_refusal = said(&format!("{asks} {logs} unreachable"));
    let expected = "it logged `panicked at a.rs:1: no`; right before, `proxy_get_header_map_value` was answered: not found";
    assert!(after_refusal.ends_with(expected), "{after_refusal}");
    let after_success = said(&format!("{asks} (drop (call $set_tick (i32.const 1000))) unreachable"));
    assert!(after_success.ends_with("executed on w0"), "{after_success}");
}

#[test]
fn a_value_that_was_read_in_an_earlier_turn_is_no_update_that_is_lost() {
    // `/r` reads, `/w` writes what is of this request alone, `/b` does both.
    let guest = in_request(
        r#"(drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
           (i32.store8 (i32.const 40) (i32.load8_u (i32.add (i32.load (i32.const 16)) (i32.const 1))))
           (if (i32.ne (i32.load8_u (i32.const 40)) (i32.const 119))
             (then (drop (call $get_shared @"key" (i32.const 16) (i32.const 20) (i32.const 24)))))
           (if (i32.eq (i32.load8_u (i32.const 40)) (i32.const 114)) (then (return (i32.const 0))))
           (drop (call $get_header (i32.const 0) @"x-portcullis-nonce" (i32.const 16) (i32.const 20)))
           (drop (call $set_shared @"key" (i32.load (i32.const 16)) (i32.load (i32.const 20)) (i32.const 0)))"#,
        0,
    );
    let explored = |paths: [&str; 3]| {
        let [first, second, third] = paths;
        let events = format!(
            "events:\n  - {{at: 0s, request: a, worker: 0, path: {first}}}\n  - {{at: 0s, request: b, worker: 1, path: {second}}}\n  \
             - {{after: b, request: c, worker: 0, path: {third}}}"
        );
        explore(&guest, &events, &bounded(1))
    };
    explored(["/r", "/w", "/w"]).assert_clean();
    let found = explored(["/b", "/w", "/r"]).first.expect("b comes between");
    assert_eq!(found.oracle, "lost-update");
    assert!(found.message.ends_with("it had found none: give the CAS number 4294967295, which only creates"));
}

#[test]
fn a_grpc_call_to_a_cluster_of_the_scenario_is_taken() {
    let calls = r#"(if (call $grpc_call @"feed" @"svc.S" @"Ask" (i32.const 0) (i32.const 0) @"m" (i32.const 1000) (i32.const 24))
        (then unreachable))"#;
    explore(&configured(calls), "clusters: {feed: {}}", &bounded(0)).assert_clean();
    let report = explore(
        &configured(calls).replace("(then unreachable)", "(then)"),
        "clusters: {other: {}}",
        &bounded(0),
    );
    assert_unknown(&report);
}

#[test]
fn a_call_to_a_cluster_that_the_scenario_has_not_is_said_and_nothing_is_certified() {
    let call = r#"(drop (call $http_call @"feed" @pairs(":method: GET; :path: /; :authority: feed") (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 24)))"#;
    let report = explore(&in_request(call, 0), "events: [{at: 0s, request: a, worker: 0}]", &bounded(0));
    assert_unknown(&report);
    explore(
        &in_request(call, 0),
        "clusters: {'*': {}}\nevents: [{at: 0s, request: a, worker: 0}]",
        &bounded(0),
    )
    .assert_clean();
}

fn assert_unknown(report: &Report) {
    let said = "nothing was asked: it calls cluster `feed`, which the scenario has not: \
                add it to `clusters`, or `*` for every one";
    assert_eq!(report.verdict, said);
    assert!(!report.is_clean() && !report.is_as_expected());
}

#[test]
fn an_event_after_the_end_and_counts_that_no_search_comes_to_are_refused() {
    let refused = |rest: &str| {
        let text = format!("scenario: a\nmodule: a.wasm\n{rest}");
        Scenario::parse(&text, "a.yaml").expect_err("it is refused").to_string()
    };
    let late = refused("events:\n  - {at: 1s, request: a}\n  - {at: 8s, request: b}\n");
    assert!(late.contains("events[1].at: the run is over after 7s, and this is at 8s"), "{late}");
    assert!(late.contains("raise `bounds.until`"), "{late}");
    let many = refused("workers: 1000000\n");
    assert!(many.contains("workers: 1000000 are more than a search comes to: give at most 64"), "{many}");
    let many = refused("bounds: {steps: 1000000000}\n");
    assert!(
        many.contains("bounds.steps: 1000000000 are more than a search comes to: give at most 1000000"),
        "{many}"
    );
    let many = refused("faults: {resets: 4000000000}\n");
    assert!(
        many.contains("faults.resets: 4000000000 are more than a search comes to: give at most 100"),
        "{many}"
    );
}

#[test]
fn a_search_that_is_ended_keeps_what_it_has_and_one_that_never_began_says_so() {
    let stopped = bounded(2);
    stopped.stop.store(true, Ordering::Relaxed);
    let report = explore("", BUSY, &stopped);
    assert_eq!(
        report.verdict,
        "nothing was asked: it was ended before one schedule was run: give it more time"
    );
    assert!(!report.is_clean() && !report.is_as_expected());

    let report = explore("", BUSY, &Options { schedules: 3, ..bounded(2) });
    assert_eq!(report.verdict, "clean so far (3 schedules)");
    let report = explore("", BUSY, &Options { preemptions: 0, ..bounded(0) });
    assert_eq!(report.verdict, "proved to bound 0");
}

#[test]
fn a_search_keeps_no_more_states_than_it_may() {
    let report = explore("", BUSY, &Options { state_bytes: 1, ..bounded(0) });
    assert_eq!(report.verdict, "clean so far (1 schedules)");
}

#[test]
fn a_run_ends_with_the_time_of_the_search_however_long_it_is() {
    let guest = configured("(drop (call $set_tick (i32.const 1)))");
    let guest = format!(r#"{guest} (func (export "proxy_on_tick") (param i32))"#);
    let options = Options { time: Duration::from_millis(50), ..bounded(0) };
    let forever = "workers: 1\nbounds: {until: 1000000h, steps: 1000000}";
    let report = explore(&guest, forever, &options);
    assert!(report.not_run.is_some(), "{report}");
}

/// Four requests that may come in any order.
const BUSY: &str = "workers: 2
events:
  - {at: 0s, request: a, worker: 0}
  - {at: 0s, request: b, worker: 1}
  - {at: 0s, request: c, worker: 0}
  - {at: 0s, request: d, worker: 1}
";

/// A guest that does this when it is configured.
fn configured(action: &str) -> String {
    format!(r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) {action} (i32.const 1))"#)
}

/// A guest that does this with each request, and then lets it go on (0) or not (1).
fn in_request(action: &str, then: u32) -> String {
    format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {action} (i32.const {then}))"#
    )
}

fn explore(guest: &str, rest: &str, options: &Options) -> Report {
    let text = format!("scenario: ends\nmodule: ends.wasm\n{rest}\n");
    let scenario =
        Scenario::parse(&text, "ends.yaml").unwrap_or_else(|error| panic!("{error}\n{text}")).remove(0);
    race::explore(&common::guest(guest), &Arc::new(scenario), options)
        .unwrap_or_else(|error| panic!("{error}"))
}
