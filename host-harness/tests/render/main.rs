//! Runs as pictures: what each of the four says, and what a real browser makes of the page.
//!
//! The runs of `tests/traces` are written by hand. Those that are only large are made here, and one is recorded.

mod any;
mod browser;
#[path = "../common/mod.rs"]
mod common;
mod log;
mod page;
mod perfetto;
mod recorded;
mod svg;
mod text;
#[path = "../common/tools.rs"]
mod tools;

use std::time::Duration;

use host_harness::race::{
    Explanation,
    trace::{FaultClass, Finding, Step, Trace, TurnName, Verb},
};

/// Every run that is drawn in these tests.
const TRACES: [&str; 6] =
    ["stale-snapshot", "crossing-scratch", "slow-enactor", "hostile", "one-step", "empty"];

/// The headline of `stale-snapshot`.
const STALE: &str = "w1 response#1 went on while w0 response#1 was held before `push notices`: \
                     w2 believes NOT_READY, shared data says READY";

/// A run that someone wrote.
fn trace(name: &str) -> Trace {
    let path = format!("{}/tests/traces/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `stale-snapshot` with how likely it was to fail.
fn explained() -> Explanation {
    Explanation {
        trace: trace("stale-snapshot"),
        risk: vec![(0, 0.1), (16, 0.25), (20, 0.0), (23, 0.5), (28, 1.0)],
    }
}

/// Every run, those that are only large among them.
fn traces() -> Vec<(String, Trace)> {
    let mut all: Vec<_> = TRACES.iter().map(|name| (name.to_string(), trace(name))).collect();
    all.push(("storm".to_owned(), storm(50, 400, 10_240)));
    all.push(("long".to_owned(), storm(4, 5_000, 10)));
    all
}

/// Threads that tick in turn and write values of so many bytes. The third thread's first turn is held until late.
fn storm(threads: usize, steps: usize, bytes: usize) -> Trace {
    let mut trace = Trace { scenario: "storm".to_owned(), ..Trace::default() };
    trace.threads = (0..threads).map(|thread| format!("w{thread}")).collect();
    let turn = |thread: usize, ordinal: usize| TurnName {
        thread: format!("w{thread}"),
        event: "tick".to_owned(),
        ordinal,
        subject: String::new(),
    };
    let push =
        |trace: &mut Trace, turn: &TurnName, verb: Verb, object: &str, argument: &str, observed: &str| {
            let number = trace.steps.len() + 1;
            trace.steps.push(Step {
                number,
                at: Duration::from_millis(number as u64),
                turn: turn.clone(),
                verb,
                object: object.to_owned(),
                argument: argument.to_owned(),
                observed: observed.to_owned(),
                held: false,
                held_before: None,
                causes: Vec::new(),
            });
        };
    let held = turn(2, 1);
    let mut last = turn(0, 1);
    for round in 0.. {
        let now = turn(round % threads, round / threads + 1);
        if now.thread == held.thread && now != held {
            continue;
        }
        let value = format!("{}{round}", "v".repeat(bytes));
        push(&mut trace, &now, Verb::Enter, "proxy_on_tick", "", "");
        push(&mut trace, &now, Verb::Set, "status", &value, &format!("ok c{round}"));
        if now == held {
            trace.steps.last_mut().unwrap().held = true;
            continue;
        }
        push(&mut trace, &now, Verb::View, "status", &value, "");
        push(&mut trace, &now, Verb::Return, "proxy_on_tick", "", "0");
        if trace.steps.len() + 4 >= steps {
            last = now;
            break;
        }
    }
    push(&mut trace, &held, Verb::Set, "status", "old", "ok c0");
    push(&mut trace, &held, Verb::Return, "proxy_on_tick", "", "0");
    trace.findings.push(Finding {
        oracle: "convergence".to_owned(),
        class: FaultClass::L0,
        message: "the oldest status came last".to_owned(),
        step: trace.steps.len(),
        raced: Some((held, last)),
        inevitable_after: Some(trace.steps.len() - 1),
    });
    trace
}
