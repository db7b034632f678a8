//! The built module in the harness, where virtual time and a look at the host's side show what Envoy hides.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

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
    let mut ids = BTreeSet::new();
    // From the second time on, the answer is remembered, and the decision another one.
    for _ in 0..3 {
        let mut state = envoy.exchange(0, Request::get("/in")).filter_state;
        let metadata = state.remove("wasm.portcullis.dynamic_metadata").expect("dynamic metadata");
        let metadata: Value = serde_json::from_slice(&metadata).expect("JSON");
        let id = metadata["decision_id"].as_str().expect("a text").to_owned();
        assert_eq!(metadata, json!({ "team": "shop", "decision_id": id }));
        assert!(is_uuid(&id) && ids.insert(id.clone()), "{id}");
        assert_eq!(state, BTreeMap::from([("wasm.portcullis.permit".to_owned(), b"granted".to_vec())]));
    }
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
            .property("metadata", metadata("jwt", &["sub"], "ada"))
            .property("xds.route_metadata", metadata("portcullis", &["context_extensions", "team"], "shop"))
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
    let namespaces = json!({ "namespaces": ["jwt"] });
    let (mut configuration, archives) = served(&format!("package main\n\n{}", echo("allow", "input")));
    configuration["portcullis"]["metadata_context"] = namespaces.clone();
    let mut envoy = harness::start(&configuration, archives);
    let whole = answer(&mut envoy, "main");
    let mut leaves = Vec::new();
    collect(&whole, &mut Vec::new(), &mut leaves);
    assert!(leaves.len() > 35, "{leaves:?}");

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
    configuration["portcullis"]["metadata_context"] = namespaces;
    configuration["portcullis"]["policies"] =
        (0..leaves.len()).map(policy).collect::<serde_json::Map<_, _>>().into();
    let mut envoy = harness::start(&configuration, archives);
    for (n, (path, value)) in leaves.iter().enumerate() {
        assert_eq!(answer(&mut envoy, &format!("p{n}")), *value, "{path:?}");
    }
}

/// A random one.
fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &&str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(is_hex)
        && parts[2].starts_with('4')
        && parts[3].starts_with(['8', '9', 'a', 'b'])
}

/// A field of a protobuf message that holds bytes, text or another message.
fn field(number: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&[number << 3 | 2, u8::try_from(bytes.len()).expect("a short one")], bytes].concat()
}

/// Metadata with one text in one namespace, below a key or below two.
fn metadata(namespace: &str, keys: &[&str], text: &str) -> Vec<u8> {
    let entry = |key: &str, value: &[u8]| field(1, [field(1, key), field(2, value)].concat());
    let (last, above) = keys.split_last().expect("a key");
    let innermost = entry(last, &field(3, text));
    let all = above.iter().rfold(innermost, |below, key| entry(key, &field(5, below)));
    entry(namespace, &all)
}

#[test]
fn metadata_decide_by_what_they_say_and_unreadable_ones_not_at_all() {
    let text = "package main\n\nallow if input.attributes.metadataContext.filterMetadata.jwt.sub == \"ada\"\n\n\
                allow if input.attributes.contextExtensions.open == \"yes\"\n\n\
                allow if input.attributes.routeMetadataContext.filterMetadata.plan.open == \"yes\"\n";
    let (mut configuration, archives) = served(text);
    configuration["portcullis"]["metadata_context"] = json!({ "namespaces": ["jwt"] });
    configuration["portcullis"]["route_metadata_context"] = json!({ "namespaces": ["plan"] });
    let mut envoy = harness::start(&configuration, archives);
    let mut status = |properties: &[(&str, Vec<u8>)]| {
        let request =
            properties.iter().fold(Request::get("/"), |request, (path, value)| request.property(path, value));
        let exchange = envoy.exchange(0, request);
        let reason = exchange
            .header("x-portcullis-reason")
            .map(String::from_utf8_lossy)
            .unwrap_or_default()
            .into_owned();
        (exchange.status, reason)
    };
    let (route, host) = ("xds.route_metadata", "xds.virtual_host_metadata");
    let extensions = |text| metadata("portcullis", &["context_extensions", "open"], text);
    let denied = (403, "undefined".to_owned());
    let allowed = (200, String::new());
    // Each twice: what is remembered is remembered by what was read.
    for _ in 0..2 {
        assert_eq!(status(&[("metadata", metadata("jwt", &["sub"], "ada"))]), allowed);
        assert_eq!(status(&[("metadata", metadata("jwt", &["sub"], "bob"))]), denied);
        assert_eq!(status(&[("metadata", metadata("other", &["sub"], "ada"))]), denied);
        assert_eq!(status(&[(route, extensions("yes"))]), allowed);
        assert_eq!(status(&[(host, extensions("yes"))]), allowed);
        assert_eq!(status(&[(host, extensions("yes")), (route, extensions("no"))]), denied);
        assert_eq!(status(&[(route, metadata("plan", &["open"], "yes"))]), allowed);
        assert_eq!(status(&[("metadata", metadata("plan", &["open"], "yes"))]), denied);
        assert_eq!(status(&[(route, metadata("jwt", &["sub"], "ada"))]), denied);
        assert_eq!(status(&[]), denied);
        let unavailable = (500, "input_unavailable".to_owned());
        assert_eq!(status(&[("metadata", b"\xff".to_vec())]), unavailable);
        assert_eq!(status(&[(route, metadata("portcullis", &["context_extensions"], "yes"))]), unavailable);
    }
    let line = "`input.attributes.contextExtensions`: `context_extensions` in `filter_metadata.portcullis` is no map";
    assert!(envoy.logs().iter().any(|said| said.message.contains(line)), "{:?}", envoy.logs());
}

#[test]
fn what_a_route_says_to_policies_does_not_choose_one() {
    let mut envoy = start("package main\n\nallow if input.attributes.contextExtensions.a == \"b\"\n");
    let request = || {
        Request::get("/")
            .property("xds.route_metadata", metadata("portcullis", &["context_extensions", "a"], "b"))
            .property("xds.route_metadata.filter_metadata.portcullis.context_extensions.a", "b")
    };
    assert_eq!(envoy.exchange(0, request()).status, 200);
    let policy = "xds.route_metadata.filter_metadata.portcullis.policy";
    assert_eq!(envoy.exchange(0, request().property(policy, "main")).status, 200);
    assert_eq!(envoy.exchange(0, request().property(policy, "other")).status, 503);
}

#[test]
fn an_address_from_a_header_is_no_answer_to_who_the_peer_is() {
    let text = "package main\n\nallow if net.cidr_contains(\"10.0.0.0/8\", input.attributes.source.address.socketAddress.address)\n";
    let claimed = || Request::get("/").property("source.address", "10.1.2.3:0");
    let peer = "filter_state.portcullis.peer_address";
    let mut envoy = start(text);
    let refused = envoy.exchange(0, claimed());
    assert_eq!(
        (refused.status, refused.header("x-portcullis-reason")),
        (500, Some(&b"input_unavailable"[..]))
    );
    assert!(
        envoy.logs().iter().any(|line| line.message.contains("use_remote_address: true")),
        "{:?}",
        envoy.logs()
    );
    assert_eq!(envoy.exchange(0, claimed().property(peer, "192.0.2.1:80")).status, 403);
    assert_eq!(envoy.exchange(0, claimed().property(peer, "10.0.0.7:80")).status, 200);
    assert_eq!(envoy.exchange(0, Request::get("/").property("source.address", "10.1.2.3:80")).status, 200);
    // The filter state is for where a header has told another.
    let direct = Request::get("/").property("source.address", "192.0.2.1:80").property(peer, "10.0.0.7:80");
    assert_eq!(envoy.exchange(0, direct).status, 403);

    let (mut configuration, archives) = served(text);
    configuration["portcullis"]["source_address"] = json!("trusted_client");
    let mut envoy = harness::start(&configuration, archives);
    assert_eq!(envoy.exchange(0, claimed()).status, 200);
}

#[test]
fn the_decisions_id_is_told_where_the_configuration_wants_it() {
    let read = "input.attributes.metadataContext.filterMetadata.open_policy_agent.decision_id";
    let text = format!(
        "package main\n\nallow := {{\"allowed\": true, \"dynamic_metadata\": {{\"seen\": {read}}}}}\n"
    );
    assert_eq!(start(&text).exchange(0, Request::get("/")).status, 403, "undefined");
    let (mut configuration, archives) = served(&text);
    configuration["portcullis"]["metadata_context"] = json!({ "namespaces": ["open_policy_agent"] });
    let mut envoy = harness::start(&configuration, archives);
    let mut ids = BTreeSet::new();
    for _ in 0..5 {
        let state = envoy.exchange(0, Request::get("/")).filter_state;
        let metadata: Value =
            serde_json::from_slice(&state["wasm.portcullis.dynamic_metadata"]).expect("JSON");
        let id = metadata["seen"].as_str().expect("a text");
        assert_eq!(metadata["decision_id"], id, "one decision has one id");
        assert!(is_uuid(id) && ids.insert(id.to_owned()), "{ids:?} {id}");
    }
}

#[test]
fn what_a_policy_reads_in_vain_is_told_when_it_is_loaded() {
    let text = "package main\n\nallow if input.attributes.request.http.query\n\n\
                allow if input.attributes.metadataContext.filterMetadata.jwt.sub\n\nallow if input.attributes.sourc\n";
    let warned = |envoy: &Envoy<Scripted>| {
        let lines = envoy.logs().iter().map(|line| line.message.clone());
        lines.filter(|line| line.contains("is never there")).collect::<Vec<_>>()
    };
    let envoy = start(text);
    let lines = warned(&envoy);
    for part in [
        "policy `main`: `input.attributes.request.http.query` is never there: ext_authz leaves it empty too",
        "`portcullis.metadata_context.namespaces` does not list `jwt`",
        "`input.attributes.sourc` is never there: there is",
    ] {
        // Each of the two VMs once.
        assert_eq!(lines.iter().filter(|line| line.contains(part)).count(), 2, "{part}: {lines:?}");
    }
    let (mut configuration, archives) = served(text);
    configuration["portcullis"]["metadata_context"] = json!({ "namespaces": ["jwt"] });
    assert_eq!(warned(&harness::start(&configuration, archives)).len(), 4);
    assert_eq!(warned(&start("package main\n\nallow if input.parsed_path\n")), [""; 0]);
}

#[test]
fn labels_are_what_a_policy_sees_of_the_configuration() {
    let text =
        "package main\n\nallow if opa.runtime() == {\"config\": {\"labels\": {\"region\": \"north\"}}}\n";
    let (mut configuration, archives) = served(text);
    assert_eq!(start(text).exchange(0, Request::get("/")).status, 403);
    configuration["labels"] = json!({ "region": "north" });
    let mut envoy = harness::start(&configuration, archives);
    for _ in 0..2 {
        assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    }
    assert_eq!(
        envoy.metric("portcullis_remembered.policy.main"),
        Some(1),
        "they are the same for every request"
    );
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
