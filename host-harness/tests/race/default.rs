//! What the default scenario finds in filters that nobody wrote a scenario for: each mistake, and the same filter without.

use std::{sync::Arc, time::Duration};

use host_harness::race::{
    self, Options, Report,
    scenario::{Additions, Scenario},
};

use crate::common;

/// Asks whether a request may go on.
const CALL: &str = r#"(call $http_call @"auth" @pairs(":method: GET; :path: /check; :authority: auth") (i32.const 0) (i32.const 0)
    (i32.const 0) (i32.const 0) (i32.const 500) (i32.const 24))"#;

/// Keeps which stream the call was for: an answer comes to the root context.
const KEEP: &str = r#"(i32.store (i32.add (i32.const 40000)
    (i32.mul (i32.and (i32.load (i32.const 24)) (i32.const 255)) (i32.const 4))) (local.get 0))"#;

/// Lets the stream go on that the answer is for.
const GO_ON: &str = r#"(drop (call $set_context
    (i32.load (i32.add (i32.const 40000) (i32.mul (i32.and (local.get $token) (i32.const 255)) (i32.const 4))))))
    (drop (call $continue (i32.const 0)))"#;

#[test]
fn a_header_that_is_kept_for_the_next_request_is_found() {
    // The last user is kept in a place of the VM, and answered.
    let keeps = |reads: &str| {
        format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                 {reads}
                 (drop (call $replace_header (i32.const 0) @"x-seen" (i32.load (i32.const 16)) (i32.load (i32.const 20))))
                 (i32.const 0))"#
        )
    };
    let read = r#"(drop (call $get_header (i32.const 0) @"x-user" (i32.const 16) (i32.const 20)))"#;
    let clears = "(i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 0))";
    assert_found("crossing", &keeps(read));
    assert_clean(&keeps(&format!("{clears} {read}")));
}

#[test]
fn a_body_that_is_kept_for_the_next_request_is_found() {
    let keeps = |clears: &str| {
        format!(
            r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
                 (drop (call $get_buffer (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 16) (i32.const 20)))
                 (i32.const 0))
               (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
                 (drop (call $replace_header (i32.const 2) @"x-body" (i32.load (i32.const 16)) (i32.load (i32.const 20))))
                 {clears} (i32.const 0))"#
        )
    };
    assert_found_any(&keeps(""));
}

#[test]
fn a_request_whose_call_fails_and_that_waits_for_ever_is_found() {
    let waits = |on_failure: &str| {
        format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                 (if {CALL} (then (return (i32.const 0)))) {KEEP} (i32.const 1))
               (func (export "proxy_on_http_call_response") (param $root i32) (param $token i32) (param $headers i32) (param i32 i32)
                 (if (i32.eqz (local.get $headers)) (then {on_failure} (return)))
                 {GO_ON})"#
        )
    };
    assert_found("stuck-stream", &waits(""));
    assert_clean(&waits(GO_ON));
}

#[test]
fn a_method_that_the_filter_did_not_think_of_is_found() {
    let fails = |on_other: &str| {
        format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                 (drop (call $get_header (i32.const 0) @":method" (i32.const 16) (i32.const 20)))
                 ;; D of DELETE
                 (if (i32.eq (i32.load8_u (i32.load (i32.const 16))) (i32.const 68)) (then {on_other}))
                 (i32.const 0))"#
        )
    };
    assert_found("trap", &fails("unreachable"));
    assert_clean(&fails(""));
}

#[test]
fn a_missing_header_that_is_taken_for_granted_is_found() {
    let fails = |checks: &str| {
        format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                 (if (call $get_header (i32.const 0) @"x-user" (i32.const 16) (i32.const 20)) (then {checks}))
                 (i32.const 0))"#
        )
    };
    assert_found("trap", &fails("unreachable"));
    assert_clean(&fails(""));
}

#[test]
fn workers_that_count_for_themselves_are_found_to_disagree() {
    let answers = |first: &str| {
        format!(
            r#"(global $seen (mut i32) (i32.const 48))
               (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                 {first}
                 (i32.store8 (i32.const 40) (global.get $seen))
                 (drop (call $respond (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 40) (i32.const 1) (i32.const 0)
                    (i32.const 0) (i32.const -1)))
                 (i32.const 1))"#
        )
    };
    assert_found("agreement", &answers("(global.set $seen (i32.add (global.get $seen) (i32.const 1)))"));
    assert_clean(&answers(""));
}

#[test]
fn an_update_of_a_shared_count_that_is_lost_is_found() {
    let counts = |cas: &str, again: &str| {
        format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                 (loop $again
                   (i32.store8 (i32.const 40) (i32.const 0))
                   (if (i32.eqz (call $get_shared @"count" (i32.const 16) (i32.const 20) (i32.const 28)))
                     (then (i32.store8 (i32.const 40) (i32.load8_u (i32.load (i32.const 16)))))
                     (else (i32.store (i32.const 28) (i32.const -1))))
                   (i32.store8 (i32.const 40) (i32.add (i32.load8_u (i32.const 40)) (i32.const 1)))
                   (if (call $set_shared @"count" (i32.const 40) (i32.const 1) {cas}) (then {again})))
                 (i32.const 0))"#
        )
    };
    let read = "(i32.load (i32.const 28))";
    // Where both write the same, only what is left shows it; and what is refused is lost as well.
    assert_found("serializable", &counts("(i32.const 0)", ""));
    assert_found("serializable", &counts(read, ""));
    assert_clean(&counts(read, "(br $again)"));
}

#[test]
fn a_body_of_which_only_the_last_piece_is_looked_at_is_found() {
    let looks = |waits: &str| {
        format!(
            r#"(func (export "proxy_on_request_body") (param i32 i32) (param $end i32) (result i32)
                 (if (i32.eqz (local.get $end)) (then (return {waits})))
                 (if (call $get_buffer (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 16) (i32.const 20))
                   (then (return (i32.const 0))))
                 (if (i32.eq (i32.load8_u (i32.load (i32.const 16))) (i32.const 123)) (then (return (i32.const 0))))
                 (drop (call $respond (i32.const 400) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                    (i32.const 0) (i32.const -1)))
                 (i32.const 1))"#
        )
    };
    assert_found("pieces", &looks("(i32.const 0)"));
    // The text body is none of JSON, and answered the same however it comes.
    assert_clean(&looks("(i32.const 1)"));
}

#[test]
fn a_users_answer_that_is_given_to_another_who_asked_for_the_same_is_found() {
    // One call for all who wait, and its answer's user for each of them.
    let answers = |name: &str| {
        format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                 (drop (call $get_header (i32.const 0) @"{name}" (i32.const 16) (i32.const 20)))
                 (i32.const 0))
               (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
                 (if (i32.load (i32.const 20))
                   (then (drop (call $replace_header (i32.const 2) @"x-id" (i32.load (i32.const 16)) (i32.load (i32.const 20))))))
                 (i32.const 0))"#
        )
    };
    assert_found("crossing", &answers("x-request-id"));
    assert_found("crossing", &answers("authorization"));
}

#[test]
fn a_header_of_the_worker_itself_is_no_disagreement() {
    let tells = r#"(global $seen (mut i32) (i32.const 48))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
          (i32.store8 (i32.const 40) (global.get $seen))
          (drop (call $replace_header (i32.const 2) @"x-served-by" (i32.const 40) (i32.const 1)))
          (i32.const 0))"#;
    assert_clean(tells);
}

#[test]
fn a_state_that_passes_is_no_disagreement_where_it_says_when() {
    // Like a circuit breaker: on the worker that is asked to delete something it is open until its tick.
    let breaks = |headers: &str| {
        format!(
            r#"(global $open (mut i32) (i32.const 0))
               (func (export "proxy_on_configure") (param i32 i32) (result i32)
                 (drop (call $set_tick (i32.const 10000))) (i32.const 1))
               (func (export "proxy_on_tick") (param i32) (global.set $open (i32.const 0)))
               (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                 (drop (call $get_header (i32.const 0) @":method" (i32.const 16) (i32.const 20)))
                 ;; D of DELETE
                 (if (i32.eq (i32.load8_u (i32.load (i32.const 16))) (i32.const 68)) (then (global.set $open (i32.const 1))))
                 (if (i32.eqz (global.get $open)) (then (return (i32.const 0))))
                 (drop (call $respond (i32.const 503) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) {headers}
                    (i32.const -1)))
                 (i32.const 1))"#
        )
    };
    assert_found("agreement", &breaks("(i32.const 0) (i32.const 0)"));
    assert_clean(&breaks(r#"@pairs("retry-after: 10")"#));
}

#[test]
fn requests_of_ones_own_are_sent_as_well() {
    let fails = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.eqz (call $get_header (i32.const 0) @"x-mine" (i32.const 16) (i32.const 20))) (then unreachable))
        (i32.const 0))"#;
    assert_clean(fails);
    let requests = Some(("PATCH /mine\n  X-Mine: 1\n", "requests"));
    let additions = Additions { requests, ..Additions::default() };
    let scenario = Scenario::default_with("mine.wasm", &additions).unwrap();
    let report = race::explore(&common::guest(fails), &Arc::new(scenario), &options()).unwrap();
    assert_eq!(report.first.expect("the request is sent").oracle, "trap");
}

fn assert_found(oracle: &str, guest: &str) {
    let report = explore(guest, options());
    let found = report.first.as_ref().unwrap_or_else(|| panic!("nothing is found: {report}"));
    assert_eq!(found.oracle, oracle, "{report}");
}

fn assert_found_any(guest: &str) {
    let report = explore(guest, options());
    assert!(report.first.is_some(), "nothing is found: {report}");
}

/// A search of so many has every phase, and random schedules enough to show each of these mistakes.
fn assert_clean(guest: &str) {
    explore(guest, Options { schedules: 500, ..options() }).assert_clean();
}

/// As many schedules as it takes, and not as much time.
fn options() -> Options {
    Options { schedules: 1500, time: Duration::MAX, ..Options::default() }
}

fn explore(guest: &str, options: Options) -> Report {
    let scenario = Arc::new(Scenario::default_for("guest.wasm"));
    race::explore(&common::guest(guest), &scenario, &options).unwrap_or_else(|error| panic!("{error}"))
}
