//! A tick that a filter puts off with every request never comes; no rule has to say that it must.

use std::{fmt::Write, sync::Arc};

use host_harness::{
    abi::{Module, Runtime},
    race::{self, scenario::Scenario},
};

/// Ticks every 50 ms, and sets its period again with each request if that is what it is told.
fn guest(with_requests: bool) -> String {
    guest_of(50, with_requests)
}

/// The same, but with another period when it is configured.
fn guest_of(period_ms: u32, with_requests: bool) -> String {
    let again = if with_requests { "(drop (call $set_tick (i32.const 50)))" } else { "" };
    format!(
        r#"(module
        (import "env" "proxy_set_tick_period_milliseconds" (func $set_tick (param i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 16))
        (func (export "proxy_on_tick") (param i32))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $set_tick (i32.const {period_ms}))) (i32.const 1))
        (func (export "proxy_on_request_headers") (param $stream i32) (param i32 i32) (result i32)
            {again} (i32.const 0)))"#
    )
}

#[test]
fn a_tick_that_is_put_off_with_every_request_is_starved() {
    let report = explore(&guest(true), 20);
    let found = report.first.unwrap_or_else(|| panic!("nothing is found"));
    assert_eq!(found.oracle, "tick-starvation");
    assert!(
        found.message.contains("one of w0 that is due after 50ms has been put off for"),
        "{}",
        found.message
    );
}

#[test]
fn a_tick_that_is_left_alone_is_not_and_neither_is_one_that_comes_between_requests() {
    explore(&guest(false), 20).assert_clean();
    explore(&guest(true), 90).assert_clean();
}

#[test]
fn a_tick_that_waits_for_a_thread_that_stands_still_is_not() {
    let events = "  - {at: 10ms, stall: w0, for: 2s}\n  - {at: 1s, request: first, worker: 0}\n";
    // Also where the request comes before the tick, and sets it anew.
    explore_events(&guest(true), events, "3s").assert_clean();
}

#[test]
fn a_period_that_is_shortened_is_not_checked_by_the_new_one() {
    explore_events(&guest_of(2000, true), "  - {at: 1s, request: first, worker: 0}\n", "3s").assert_clean();
}

/// Forty requests, one every so many milliseconds.
fn explore(guest: &str, pause_ms: u64) -> race::Report {
    let mut events = String::new();
    for number in 0..40 {
        writeln!(events, "  - {{at: {}ms, request: r{number}, worker: 0}}", number * pause_ms).unwrap();
    }
    explore_events(guest, &events, "10ms")
}

fn explore_events(guest: &str, events: &str, until: &str) -> race::Report {
    let scenario = format!(
        "scenario: busy\nmodule: busy.wat\nworkers: 1\nevents:\n{events}bounds: {{until: {until}, slack: 0ms}}\n"
    );
    let scenario =
        Scenario::parse(&scenario, "busy.yaml").unwrap_or_else(|error| panic!("{error}")).remove(0);
    let module = Module::load(&Runtime::new().unwrap(), guest.as_bytes()).unwrap();
    race::explore(&module, &Arc::new(scenario), &super::bounded(0)).unwrap()
}
