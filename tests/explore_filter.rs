//! Every order in which a bundle can arrive, be replaced, and be asked about, for the filter as Envoy runs it.

use std::{sync::Arc, time::Duration};

use host_harness::{
    race::{
        self, Options,
        scenario::{Cluster, EventKind, Rule, Scenario},
    },
    storm::Storm,
    world::{Reply, Route},
};
use portcullis_tests::harness;

const SCENARIO: &str = "
scenario: gate
about: Two workers load two bundles; requests come before and while they arrive, and when all is quiet.
module: portcullis:filter
workers: 2
events:
  - {at: 5ms, request: before, worker: 0, path: /}
  - {at: 30ms, request: while, worker: 1, path: /}
bounds: {until: 150ms, slack: 20ms, steps: 8000}
must:
  always:
    - {request: before, never: {status: 200}}
  eventually:
    - {request: {path: /}, answer: {status: 200}}
";

#[test]
fn no_order_of_arrival_opens_the_gate_early_or_leaves_it_shut() {
    let report = race::explore(harness::module(), &gate(), &Options { random: 40, ..options() })
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(report.schedules >= 40, "{report}");
    report.assert_clean();
}

#[test]
fn a_gate_that_must_be_open_at_once_is_found_shut() {
    let mut scenario = gate().as_ref().clone();
    let open = "scenario: gate\nabout: A.\nmodule: a\nmust:\n  eventually:\n    - {request: {path: /}, answer: {status: 299}}\n";
    scenario.rules = Scenario::parse(open, "open").unwrap_or_else(|error| panic!("{error}")).remove(0).rules;
    let report = race::explore(harness::module(), &Arc::new(scenario), &options())
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(!report.is_clean(), "{report}");
}

fn options() -> Options {
    let (preemptions, random, schedules) = (0, 0, 60);
    Options { preemptions, random, schedules, exhaustive: false, time: Duration::MAX, ..Options::default() }
}

/// The scenario with what a file cannot hold: archives, and a path that a bundle allows.
fn gate() -> Arc<Scenario> {
    let mut scenario = Scenario::parse(SCENARIO, "gate").unwrap_or_else(|error| panic!("{error}")).remove(0);
    let storm = Storm::new(2, 1);
    let mut document = storm.document("http://hub");
    document["portcullis"]["default_policy"] = storm.bundles()[0].name.clone().into();
    scenario.plugins[0].configuration = document.to_string().into_bytes();
    let paths = storm.bundles().iter().map(|bundle| {
        let archive = Reply::body(bundle.archive(1).build()).after(Duration::from_millis(20));
        (Route::of(&bundle.path()), vec![archive])
    });
    scenario.clusters.insert("storm".to_owned(), Cluster { paths: paths.collect(), ..Cluster::default() });
    let (method, path) = storm.bundles()[0].allowed(1);
    let in_events = scenario.events.iter_mut().filter_map(|event| match &mut event.kind {
        EventKind::Request { request, .. } => Some(request),
        _ => None,
    });
    let in_rules = scenario.rules.iter_mut().filter_map(|rule| match rule {
        Rule::Eventually { request, .. } => Some(request),
        _ => None,
    });
    for request in in_events.chain(in_rules) {
        request.method = method.as_bytes().to_vec();
        request.path = path.clone().into_bytes();
    }
    Arc::new(scenario)
}
