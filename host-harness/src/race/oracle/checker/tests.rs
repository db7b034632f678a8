use std::hash::DefaultHasher;

use bytes::Bytes;

use super::{super::testing::exchange, *};
use crate::{
    envoy::StreamId,
    world::{Call, CallId, Origin},
};

const RULES: &str = "
scenario: a
module: m
clusters: {feed: {}}
events:
  - {at: 0s, request: A}
  - {at: 0s, request: B}
must:
  always:
    - {request: A, never: {status: 200}}
    - {requests: [A, B], answer: {status: 503}}
    - {one_of: [{status: 200}, {status: 503, body: wait}]}
  eventually:
    - {when: {request: A, status: 503}, request: {path: /state}, workers: [1], answer: {status: 200, body: READY}}
    - {request: {method: POST, path: /x}, answer: {status: 204}}
    - {agree: {path: /state}}
  at_most:
    - {cluster: feed, path: /b, calls: 1}
    - {cluster: feed, calls: 2}
    - {traps: 1}
";

#[test]
fn a_forbidden_answer_and_one_that_is_none_of_the_allowed_are_reported_at_once() {
    let mut checker = checker();
    assert_eq!(
        reported(checker.answered("A", &exchange(200, "hi", &[]))),
        [
            r#"never: request `A` is answered 200 "hi", which it must never be (200)"#,
            r#"always: request `A` is answered 200 "hi", and not 503"#,
        ]
    );
    assert_eq!(
        reported(checker.answered("B", &exchange(503, "", &[]))),
        [r#"always: request `B` is answered 503 "", and not 200, or 503 "wait""#]
    );
    assert_eq!(reported(checker.answered("A", &exchange(503, "wait", &[]))), [""; 0]);
    // A rule that names requests says nothing of others: no `always: … and not 503`.
    assert_eq!(reported(checker.answered("C", &exchange(200, "", &[]))), [""; 0]);
}

#[test]
fn a_rule_with_a_condition_holds_from_when_that_was_answered() {
    let rules = "
scenario: a
module: m
events:
  - {at: 0s, request: A}
  - {at: 0s, request: B}
must:
  always:
    - {when: {request: A, body: new}, request: B, never: {body: old}}
";
    let scenario = Scenario::parse(rules, "a").unwrap_or_else(|error| panic!("{error}")).remove(0);
    let mut checker = Checker::new(&scenario);
    let (new, old) = (exchange(200, "new", &[]), exchange(200, "old", &[]));
    assert_eq!(reported(checker.answered("B", &old)), [""; 0]);
    assert_eq!(reported(checker.answered("A", &old)), [""; 0]);
    assert_eq!(reported(checker.answered("B", &old)), [""; 0]);
    assert_eq!(reported(checker.answered("A", &new)), [""; 0]);
    assert_eq!(reported(checker.answered("B", &new)), [""; 0]);
    assert_eq!(reported(checker.answered("B", &old)).len(), 1);
}

#[test]
fn a_client_that_left_has_no_answer_to_check() {
    assert_eq!(reported(checker().answered("A", &exchange(0, "", &[]))), [""; 0]);
}

#[test]
fn one_call_too_many_is_reported_once() {
    let mut checker = checker();
    for _ in 0..3 {
        assert_eq!(reported(checker.called(&call("upstream", "/b"))), [""; 0]);
    }
    let reported = ["/b", "/c", "/b", "/b"].map(|path| reported(checker.called(&call("feed", path))));
    assert_eq!(reported[0], [""; 0]);
    assert_eq!(reported[1], [""; 0]);
    assert_eq!(
        reported[2],
        [
            "at-most: cluster `feed` is called for `/b` more than 1 time: this is call 2",
            "at-most: cluster `feed` is called more than 2 times: this is call 3",
        ]
    );
    assert_eq!(reported[3], [""; 0]);
}

#[test]
fn one_trap_too_many_is_reported_once() {
    let mut checker = checker();
    let reported = ["a", "b", "c"].map(|cause| reported(checker.trapped(cause)));
    assert_eq!(reported[0], [""; 0]);
    assert_eq!(reported[1], ["at-most: VMs fail more than 1 time: this is failure 2, b"]);
    assert_eq!(reported[2], [""; 0]);
}

#[test]
fn what_is_asked_in_the_end_depends_on_what_was_answered() {
    let mut checker = checker();
    let probes = |checker: &Checker| -> Vec<(usize, usize, String)> {
        let each = checker.probes().into_iter();
        each.map(|(probe, request)| (probe.rule, probe.worker, convergence::question(&request))).collect()
    };
    let post = || "`POST /x`".to_owned();
    let get = || "`GET /state`".to_owned();
    let always = [(4, 0, post()), (4, 1, post()), (5, 0, get()), (5, 1, get())];
    assert_eq!(probes(&checker), always);
    checker.answered("A", &exchange(503, "", &[]));
    let mut all = vec![(3, 1, get())];
    all.extend(always.clone());
    assert_eq!(probes(&checker), all);
    checker.answered("A", &exchange(200, "", &[]));
    assert_eq!(probes(&checker), always);
}

#[test]
fn the_end_is_checked_over_every_worker_that_was_asked() {
    let mut checker = checker();
    checker.answered("A", &exchange(503, "wait", &[]));
    let good = |probe: Probe| match probe.rule {
        4 => exchange(204, "", &[]),
        _ => exchange(200, "READY", &[]),
    };
    for (probe, _) in checker.probes() {
        checker.probed(probe, Some(&good(probe)), 0);
    }
    assert_eq!(reported(checker.finish()), [""; 0]);
    checker.probed(first(3, 1), Some(&exchange(200, "NOT_READY", &[])), 0);
    checker.probed(first(4, 0), None, 0);
    checker.probed(first(5, 1), Some(&exchange(503, "", &[])), 0);
    assert_eq!(
        reported(checker.finish()),
        [
            r#"eventually: in the end `GET /state` must be answered 200 "READY", since request `A` was answered 503, and w1 answers 200 "NOT_READY""#,
            "eventually: in the end `POST /x` must be answered 204, and w0 answers nothing",
            r#"agreement: workers answer `GET /state` differently: w0 200 "READY"; w1 503 """#,
        ]
    );
}

#[test]
fn a_header_that_differs_whenever_it_is_asked_for_breaks_no_agreement() {
    assert_eq!(agreement([&[("n", "1")], &[("n", "2")]], Some([&[("n", "3")], &[("n", "4")]])), None);
    // What a worker says both times is what it means.
    assert_eq!(
        agreement(
            [&[("v", "1"), ("n", "1")], &[("v", "2"), ("n", "2")]],
            Some([&[("v", "1")], &[("v", "2")]])
        ),
        Some("w0 200 \"\" with v: 1; w1 200 \"\" with v: 2".to_owned())
    );
    // The first question may change the answer for all who are asked after it.
    assert_eq!(agreement([&[("v", "1")], &[("v", "2")]], Some([&[("v", "2")], &[("v", "2")]])), None);
    // Nobody asked again.
    assert!(agreement([&[("n", "1")], &[("n", "2")]], None).is_some());
}

/// What is said when two workers answer with these headers, and with those when they are asked again.
fn agreement(headers: [&[(&str, &str)]; 2], again: Option<[&[(&str, &str)]; 2]>) -> Option<String> {
    let text = "{scenario: a, module: m, must: {eventually: [{agree: {}}]}}";
    let mut checker = Checker::new(&Scenario::parse(text, "rules.yaml").expect("it is read").remove(0));
    for (probe, _) in checker.probes() {
        checker.probed(probe, Some(&exchange(200, "", headers[probe.worker])), 0);
    }
    let asked = checker.second_probes();
    assert_eq!(
        asked.iter().map(|(probe, _)| (probe.worker, probe.time)).collect::<Vec<_>>(),
        [(0, Time::Again), (1, Time::Again)]
    );
    for (probe, _) in asked {
        if let Some(again) = again {
            checker.probed(probe, Some(&exchange(200, "", again[probe.worker])), 0);
        }
    }
    let said = checker.finish().pop()?.message;
    Some(said.trim_start_matches("workers answer `GET /` differently: ").to_owned())
}

#[test]
fn workers_are_asked_again_where_they_differ_and_are_then_checked_by_what_they_say_last() {
    let asked_again = |status: u16, tag: &str, again: u16| {
        let mut checker = checker();
        for (probe, _) in checker.probes() {
            let answer = match (probe.rule, probe.worker) {
                (4, _) => exchange(204, "", &[]),
                (_, 0) => exchange(200, "", &[("v", "1")]),
                _ => exchange(status, "", &[("v", tag)]),
            };
            checker.probed(probe, Some(&answer), 0);
        }
        let asked = checker.second_probes();
        for (probe, _) in &asked {
            let status = if probe.worker == 0 { 200 } else { again };
            checker.probed(*probe, Some(&exchange(status, "", &[("v", "1")])), 0);
        }
        (asked.len(), reported(checker.finish()).len())
    };
    assert_eq!(asked_again(200, "1", 200), (0, 0));
    assert_eq!(asked_again(503, "1", 200), (2, 0));
    assert_eq!(asked_again(503, "1", 503), (2, 1));
}

#[test]
fn a_probe_that_nobody_asked_is_not_answered() {
    assert_eq!(
        reported(checker().finish()),
        [
            "eventually: in the end `POST /x` must be answered 204, and w0 answers nothing, w1 answers nothing",
            "agreement: no worker answers `GET /state`",
        ]
    );
}

#[test]
fn a_clone_of_a_checker_goes_on_alone() {
    let mut checker = checker();
    checker.called(&call("feed", "/b"));
    let mut clone = checker.clone();
    assert_eq!(reported(checker.called(&call("feed", "/b"))).len(), 1);
    assert_eq!(reported(clone.called(&call("feed", "/b"))).len(), 1);
}

#[test]
fn pasts_hash_the_same_when_nothing_in_the_future_can_distinguish_them() {
    let past = |checker: &Checker| {
        let mut hasher = DefaultHasher::new();
        checker.hash_past(&mut hasher);
        hasher.finish()
    };
    let (mut a, mut b) = (checker(), checker());
    a.answered("B", &exchange(503, "wait", &[]));
    assert_eq!(past(&a), past(&b), "no rule depends on how B was answered");
    a.answered("A", &exchange(503, "wait", &[]));
    assert_ne!(past(&a), past(&b));
    b.answered("A", &exchange(503, "", &[]));
    assert_eq!(past(&a), past(&b));
    a.called(&call("feed", "/b"));
    assert_ne!(past(&a), past(&b));
    for _ in 0..3 {
        b.called(&call("feed", "/b"));
        a.called(&call("feed", "/b"));
    }
    assert_eq!(past(&a), past(&b), "both are over every limit of calls");
    a.trapped("");
    assert_ne!(past(&a), past(&b));
}

fn first(rule: usize, worker: usize) -> Probe {
    Probe { rule, worker, time: Time::First }
}

fn checker() -> Checker {
    Checker::new(&Scenario::parse(RULES, "rules.yaml").unwrap_or_else(|error| panic!("{error}")).remove(0))
}

fn reported(violations: Vec<Violation>) -> Vec<String> {
    violations.iter().map(Violation::to_string).collect()
}

fn call(cluster: &str, path: &str) -> Call {
    Call {
        id: CallId(1),
        origin: Origin::Router { stream: StreamId(1) },
        cluster: cluster.to_owned(),
        headers: vec![(b":path".to_vec(), path.as_bytes().to_vec())],
        body: Bytes::new(),
        trailers: Vec::new(),
        timeout: None,
    }
}
