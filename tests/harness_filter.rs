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

#[test]
fn what_is_asked_again_is_remembered_and_counted() {
    let text = "package main\n\nallow if input.parsed_path[0] == \"in\"\n";
    let remembered = |envoy: &Envoy<Scripted>| envoy.metric("portcullis_remembered.policy.main");
    let ask = |envoy: &mut Envoy<Scripted>| {
        // What the policy does not read makes no difference.
        ["/in", "/in?page=2", "/out", "/in", "/out"].map(|path| envoy.exchange(0, Request::get(path)).status)
    };
    let mut envoy = start(text);
    assert_eq!(ask(&mut envoy), [200, 200, 403, 200, 403]);
    assert_eq!(remembered(&envoy), Some(3));

    let (mut configuration, archives) = served(text);
    configuration["portcullis"]["limits"] = json!({ "remembered_bytes": 0 });
    let mut without = harness::start(&configuration, archives);
    assert_eq!(ask(&mut without), [200, 200, 403, 200, 403]);
    assert_eq!(remembered(&without), None);
}

#[test]
fn what_was_decided_by_a_revision_is_forgotten_with_it() {
    let mut envoy = start("package main\n\nallow if input.parsed_path\n");
    for _ in 0..2 {
        assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    }
    let changed = archive("package main\n\nallow if not input.parsed_path\n");
    envoy.world_mut().set_reply(BUNDLE_CLUSTER, BUNDLE, Reply::body(changed));
    envoy.run_for(Duration::from_secs(241));
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 403);
}

#[test]
fn each_field_that_a_policy_reads_alone_is_as_in_the_whole_input() {
    let request = |policy: &str| {
        let one = 1u8.to_le_bytes();
        Request::get("/a/b?q=1&q=2")
            .header("x-request-id", "5a6d4e8c")
            .header("x-two", "1")
            .header("x-two", "2")
            .property("source.address", "10.1.2.3:4444")
            .property("destination.address", "10.4.5.6:8443")
            .property("connection.mtls", one)
            .property("connection.uri_san_peer_certificate", "spiffe://a/b")
            .property("connection.dns_san_local_certificate", "gate.example")
            .property("filter_state.portcullis.peer_certificate", "-----BEGIN%20CERTIFICATE-----")
            .header("content-length", "7")
            .header("x-envoy-downstream-service-cluster", "shop")
            .property("connection.requested_server_name", "shop.example")
            .property("request.protocol", "HTTP/2")
            .property("request.time", 1_780_000_000_000_000_001_u64.to_le_bytes())
            .property("xds.route_metadata.filter_metadata.portcullis.policy", policy)
    };
    let echo = |name: &str, read: &str| {
        format!("{name} := {{\"allowed\": false, \"body\": json.marshal({read})}}\n")
    };
    let answer = |envoy: &mut Envoy<Scripted>, policy: &str| -> Value {
        let exchange = envoy.exchange(0, request(policy));
        serde_json::from_str(&exchange.text()).unwrap_or_else(|error| panic!("{error}: {exchange:?}"))
    };
    let mut envoy = start(&format!("package main\n\n{}", echo("allow", "input")));
    let whole = answer(&mut envoy, "main");
    let mut leaves = Vec::new();
    collect(&whole, &mut Vec::new(), &mut leaves);
    assert!(leaves.len() > 33, "{leaves:?}");

    let rules: String = leaves
        .iter()
        .enumerate()
        .map(|(n, (path, _))| {
            let read: String = path.iter().map(|key| format!("[{key}]")).collect();
            echo(&format!("f{n}"), &format!("input{read}"))
        })
        .collect();
    let (mut configuration, archives) = served(&format!("package main\n\n{rules}"));
    let policy = |n| (format!("p{n}"), json!({ "bundles": ["main"], "decision": format!("main/f{n}") }));
    configuration["portcullis"]["policies"] =
        (0..leaves.len()).map(policy).collect::<serde_json::Map<_, _>>().into();
    let mut envoy = harness::start(&configuration, archives);
    for (n, (path, value)) in leaves.iter().enumerate() {
        assert_eq!(answer(&mut envoy, &format!("p{n}")), *value, "{path:?}");
    }
}

/// The paths to what has nothing below it, as Rego writes their steps.
fn collect(value: &Value, path: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, Value)>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(key, value)| (json!(key).to_string(), value)).collect(),
        Value::Array(array) => array.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    if below.is_empty() {
        leaves.push((path.clone(), value.clone()));
    }
    for (key, value) in below {
        path.push(key);
        collect(value, path, leaves);
        path.pop();
    }
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
