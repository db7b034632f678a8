//! Faults of threads: VMs that fail where a scenario says so, and threads that stand still.

use std::{sync::Arc, time::Duration};

use host_harness::race::{
    self, Options, Replayed,
    scenario::Scenario,
    trace::{FaultClass, Step, Verb},
};

use super::{GUESTS, bounded, divergences, explore, parse};

/// Main thread and worker learn of something, write it down and tell it; nobody need hear of it.
fn reporter(events: &str, more: &str) -> Arc<Scenario> {
    let text = format!(
        r#"
scenario: reporter
module: portcullis:guests
workers: 1
vm_id: stale-after-preempt
configuration: {{scenario: stale-after-preempt, fixed: true}}
clusters: {{feed: {{answers: [{{body: "1:NOT_READY"}}, {{body: "2:READY"}}]}}}}
events:
{events}
bounds: {{until: 200ms, slack: 20ms}}
{more}
"#
    );
    Arc::new(Scenario::parse(&text, "reporter.yaml").unwrap_or_else(|error| panic!("{error}")).remove(0))
}

/// Both have asked, and the main thread is held before it tells what it has written down.
const HELD: &str = "race/1\n
main tick#1
w0 tick#1
main response#1
  hold before push status
";

fn replay(scenario: &Arc<Scenario>, schedule: &str) -> Replayed {
    race::replay(&GUESTS, scenario, &parse(schedule), false).expect("the scenario can be set up")
}

fn of<'a>(replayed: &'a Replayed, turn: &str) -> Vec<&'a Step> {
    replayed.trace.steps.iter().filter(|step| step.turn.to_string() == turn).collect()
}

fn verbs(steps: &[&Step]) -> Vec<Verb> {
    steps.iter().map(|step| step.verb).collect()
}

#[test]
fn a_vm_fails_in_the_middle_of_the_callback_that_is_held() {
    let scenario = reporter("  - {at: 95ms, trap: main}", "");
    let replayed = replay(&scenario, &format!("{HELD}main trap#1\nmain response#1\n"));
    assert_eq!(divergences(&replayed), [""; 0]);
    let steps = of(&replayed, "main response#1");
    assert_eq!(
        verbs(&steps),
        [Verb::Response, Verb::Enter, Verb::Get, Verb::Set, Verb::Trap],
        "what it has done stays done, and it tells nobody"
    );
}

#[test]
fn without_one_that_is_held_it_fails_in_the_next_callback_before_that_does_anything() {
    let scenario = reporter("  - {at: 95ms, trap: main}", "");
    let replayed = replay(&scenario, "race/1\n\nmain tick#1\nmain trap#1\nmain response#1\n");
    assert_eq!(divergences(&replayed), [""; 0]);
    assert_eq!(verbs(&of(&replayed, "main response#1")), [Verb::Response, Verb::Enter, Verb::Trap]);
}

#[test]
fn a_trap_that_was_planned_is_no_finding_and_makes_one_of_class_l1() {
    let trap = "  - {at: 20ms, trap: w0}";
    let report = explore(&reporter(trap, ""), &bounded(1));
    report.assert_clean();
    assert!(report.phases.iter().all(|phase| phase.complete), "{report}");
    let wrong = "must: {eventually: [{request: {path: /state}, answer: {status: 299}}]}";
    let report = explore(&reporter(trap, wrong), &bounded(0));
    let found = report.first.expect("nobody answers 299");
    assert_eq!((found.oracle.as_str(), found.class), ("eventually", FaultClass::L1));
}

#[test]
fn a_trap_that_was_not_planned_is_a_finding_beside_one_that_was() {
    let text = "
scenario: traps
module: portcullis:guests
workers: 2
configuration: {scenario: receiver-traps, fixed: true}
events:
  - {at: 1ms, trap: w0}
  - {at: 110ms, request: trap, worker: 1, path: /trap}
bounds: {until: 150ms, slack: 1ms}
";
    let scenario = Arc::new(Scenario::parse(text, "traps.yaml").expect("it can be read").remove(0));
    let report = explore(&scenario, &Options { schedules: 1, ..bounded(0) });
    let found = report.first.expect("a request traps");
    assert_eq!(found.oracle, "trap");
    assert!(found.message.contains("proxy_on_request_headers"), "{}", found.message);
}

#[test]
fn failure_policy_decides_about_requests_of_a_vm_that_was_made_to_fail() {
    let scenario = |policy: &str| {
        let events = "  - {at: 20ms, trap: w0}\n  - {at: 3s, request: wakes}\n  - {at: 4s, request: late, path: /state}";
        let answer = "must: {always: [{request: late, answer: {status: 200, body: \"2:READY\"}}]}";
        reporter(events, &format!("failure_policy: {policy}\n{answer}"))
    };
    let options = Options { schedules: 1, ..bounded(0) };
    assert!(!explore(&scenario("fail_closed"), &options).is_clean());
    explore(&scenario("fail_reload"), &options).assert_clean();
}

#[test]
fn a_thread_that_stands_still_takes_no_turn_and_the_others_go_on() {
    let scenario = reporter("  - {at: 5ms, stall: main, for: 1s}\n  - {at: 10ms, request: A}", "");
    let replayed = replay(&scenario, "race/1\n");
    let at = |turn: &str| of(&replayed, turn).first().map(|step| step.at);
    assert_eq!(at("main stall#1"), Some(Duration::from_millis(5)));
    assert_eq!(at("main tick#1"), Some(Duration::from_millis(1005)));
    assert!(at("w0 tick#1") < Some(Duration::from_millis(200)));
    assert!(at("w0 request#1(A)") < Some(Duration::from_millis(200)));
}

#[test]
fn a_thread_that_stands_still_in_the_middle_goes_on_where_it_was() {
    let scenario = reporter("  - {at: 95ms, stall: main, for: 5s}", "");
    let replayed = replay(&scenario, &format!("{HELD}main stall#1\nw0 response#1\n"));
    assert_eq!(divergences(&replayed), [""; 0]);
    let steps = of(&replayed, "main response#1");
    let push = steps.iter().find(|step| step.verb == Verb::Push).expect("it tells in the end");
    let set = steps.iter().find(|step| step.verb == Verb::Set).expect("it has written");
    assert!(
        set.at < Duration::from_secs(1) && push.at >= Duration::from_secs(5),
        "{:?} {:?}",
        set.at,
        push.at
    );
    let of_worker = replayed.trace.steps.iter().filter(|step| step.turn.thread == "w0" && step.at < push.at);
    assert!(of_worker.count() > 10, "the worker goes on ticking");
}
