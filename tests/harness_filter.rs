//! The built module in the harness, where virtual time and a look at the host's side show what Envoy hides.

use std::{collections::BTreeMap, time::Duration};

use host_harness::{
    archive::Archive,
    envoy::{Envoy, Request},
    world::{Reply, Scripted},
};
use portcullis_tests::{harness, table::BUNDLE_CLUSTER};
use serde_json::{Value, json};

const BUNDLE: &str = "/main.tar.gz";

#[test]
fn what_a_policy_prints_does_not_reach_envoys_log() {
    let mut envoy = start("package main\n\nallow if print(\"overheard\", input)\n");
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    assert!(envoy.logs().iter().all(|line| !line.message.contains("overheard")), "{:?}", envoy.logs());
}

#[test]
fn a_flood_of_failing_requests_is_counted_and_not_all_logged() {
    let mut envoy = start("package main\n\nallow := 7\n");
    let before = envoy.logs().len();
    for _ in 0..100 {
        assert_eq!(envoy.exchange(0, Request::get("/")).status, 500);
    }
    let lines = envoy.logs().len() - before;
    assert!((1..=10).contains(&lines), "{lines} lines");
    assert_eq!(envoy.metric("portcullis_requests.policy.main.outcome.malformed_decision"), Some(100));
    assert_eq!(envoy.metric("portcullis_log_lines_suppressed"), Some(100 - lines as u64));
}

#[test]
fn a_server_that_is_down_for_an_hour_is_asked_ever_more_rarely_and_the_last_good_bundle_decides() {
    let mut envoy = start("package main\n\nallow := true\n");
    let asked = |envoy: &Envoy<Scripted>| {
        envoy.world().seen().iter().filter(|seen| seen.call.path() == BUNDLE).count()
    };
    envoy.world_mut().set_reply(BUNDLE_CLUSTER, BUNDLE, Reply::connect_failure());
    let before = asked(&envoy);
    envoy.run_for(Duration::from_secs(3600));
    // One VM, at least every two minutes and with a few quick retries at first.
    let during = asked(&envoy) - before;
    assert!((30..=100).contains(&during), "{during}");
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);

    let changed = archive("package main\n\nallow := false\n");
    envoy.world_mut().set_reply(BUNDLE_CLUSTER, BUNDLE, Reply::body(changed));
    envoy.run_for(Duration::from_secs(241));
    assert_eq!(
        envoy.exchange(0, Request::get("/")).status,
        403,
        "the server is back, and its newest bundle decides"
    );
}

#[test]
fn filter_state_carries_the_seal_of_a_permit_and_nothing_after_a_deny() {
    let text = "package main\n\nallow := {\"allowed\": input.parsed_path[0] == \"in\", \"dynamic_metadata\": {\"team\": \"shop\"}}\n";
    let mut envoy = start(text);
    let state = envoy.exchange(0, Request::get("/in")).filter_state;
    let expected =
        [("wasm.portcullis.dynamic_metadata", "{\"team\":\"shop\"}"), ("wasm.portcullis.permit", "granted")];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
    assert_eq!(state, BTreeMap::from(expected));
    assert_eq!(envoy.exchange(0, Request::get("/out")).filter_state, BTreeMap::new());
}

#[test]
fn what_one_place_of_the_filter_has_permitted_does_not_pass_the_seal() {
    let mut envoy = start("package main\n\nallow := true\n");
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    let (configuration, archives) = served("package main\n\nallow := true\n");
    let mut alone = harness::start_with_places(1, &configuration, archives);
    let exchange = alone.exchange(0, Request::get("/"));
    assert_eq!(exchange.status, 403, "{exchange:?}");
}

#[test]
fn a_route_that_names_something_unreadable_is_not_given_the_default_policy() {
    let mut envoy = start("package main\n\nallow := true\n");
    let policy = "xds.route_metadata.filter_metadata.portcullis.policy";
    // A number in route metadata arrives as the eight bytes of a double.
    for value in [&1.5_f64.to_le_bytes()[..], b"", b"\x01"] {
        assert_eq!(envoy.exchange(0, Request::get("/").property(policy, value)).status, 503, "{value:?}");
    }
    let slip = "xds.route_metadata.filter_metadata.portcullis.polciy";
    assert_eq!(envoy.exchange(0, Request::get("/").property(slip, "main")).status, 503);
    assert_eq!(envoy.exchange(0, Request::get("/").property(policy, "main")).status, 200);
    let host = "xds.virtual_host_metadata.filter_metadata.portcullis.policy";
    assert_eq!(envoy.exchange(0, Request::get("/").property(host, "nobody")).status, 503);
}

fn start(policy: &str) -> Envoy<Scripted> {
    let (configuration, archives) = served(policy);
    harness::start(&configuration, archives)
}

/// A configuration, and what its bundle server has.
fn served(policy: &str) -> (Value, BTreeMap<String, Option<Vec<u8>>>) {
    let configuration = json!({
        "services": { "hub": { "url": "http://bundles.test", "cluster": BUNDLE_CLUSTER } },
        "bundles": { "main": { "resource": "main.tar.gz" } },
        "portcullis": { "policies": { "main": { "bundles": ["main"], "decision": "main/allow" } } },
    });
    (configuration, BTreeMap::from([("main".to_owned(), Some(archive(policy)))]))
}

fn archive(policy: &str) -> Vec<u8> {
    Archive::new().file(".manifest", r#"{"roots": ["main"]}"#).file("main.rego", policy).build()
}
