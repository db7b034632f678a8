//! What must not get through real Envoy: bytes that are no text, configurations that are wrong, workers without a filter.

use host_harness::{archive::Archive, real_envoy::PolicyRoute, servers::client::Request};
use portcullis_filter::{config::Config, plugin};
use portcullis_tests::envoy::{EVALUATION_MS, Gate, GateOptions, bundle_server};
use serde_json::json;

#[test]
fn bytes_that_are_not_utf8_are_refused_and_leave_the_vm_alive() {
    let archive = Archive::new().file("main.rego", "package main\n\nallow := true\n").build();
    let server = bundle_server([("main", archive)]);
    let document = json!({
        "services": { "hub": { "url": server.url("").trim_end_matches('/'), "cluster": "hub" } },
        "bundles": { "main": { "resource": "main.tar.gz" } },
        "portcullis": {
            "policies": { "main": { "bundles": ["main"], "decision": "main/allow" } },
            "limits": { "evaluation_ms": EVALUATION_MS },
        },
    });
    let gate = Gate::start(&document.to_string(), &GateOptions::default());
    gate.wait_for_counter("portcullis_policies_compiled", 2);
    assert_eq!(gate.get("/").status, 200);
    let reached = gate.upstream.count();

    let hostile: Vec<(&str, Request, Option<&[u8]>)> = vec![
        ("a header's value", Request::get("/").header("x-user", b"ada\xff"), Some(b"bad_header")),
        ("half a character", Request::get("/").header("x-user", b"\xc3"), Some(b"bad_header")),
        ("a cookie", Request::get("/").header("cookie", b"a=\xfe"), Some(b"bad_header")),
        ("the path, escaped", Request::get("/a/%ff"), Some(b"bad_path")),
        ("the query, escaped", Request::get("/a?b=%ff"), Some(b"bad_query")),
        ("half an escape", Request::get("/a/%f"), Some(b"bad_path")),
        // These end at Envoy's own codec.
        ("the path, raw", Request::get(b"/a/\xff".as_slice()), None),
        ("a header's name", Request::get("/").header(b"x-\xff".as_slice(), "1"), None),
        ("the host", Request::get("/").header("host", b"a\xff"), None),
    ];
    for (what, request, reason) in hostile {
        let response = gate.send(&request);
        assert_eq!(response.status, 400, "{what}: {response:?}");
        if reason.is_some() {
            assert_eq!(response.header("x-portcullis-reason"), reason, "{what}");
        }
        assert_eq!(gate.upstream.count(), reached, "{what} reached the upstream");
    }

    assert_eq!(gate.get("/").status, 200, "the VM is alive");
    let stats = gate.envoy.stats().unwrap();
    let reloads: u64 =
        stats.iter().filter(|(name, _)| name.contains("vm_reload")).map(|(_, value)| value).sum();
    assert_eq!(reloads, 0, "{stats:?}");
}

#[test]
fn a_worker_that_cannot_configure_lets_nothing_through_the_seal_and_everything_without_it() {
    let config =
        Config::parse(br#"{"bundles": {"b": "http://127.0.0.1:9/b"}, "portcullis": {"url_cluster": "any"}}"#);
    let config = config.unwrap();
    let module = std::fs::read(portcullis_tests::root().join("tests/guests/fails_on_workers.wat")).unwrap();
    let module = wat::parse_bytes(&module).unwrap().into_owned();
    for (seal, status) in [(true, 403), (false, 200)] {
        let options = GateOptions { seal, module: Some(module.clone()), ..GateOptions::default() };
        let gate = Gate::start_with(&config, "", &options);
        let response = gate.get("/");
        assert_eq!(response.status, status, "seal: {seal}\n{}", gate.envoy.log());
        assert_eq!(gate.upstream.count(), usize::from(!seal));
        assert!(gate.envoy.log().contains("fails on a worker"), "{}", gate.envoy.log());
    }
}

#[test]
fn names_that_yaml_has_other_words_for_are_names() {
    const NAMES: [&str; 16] = [
        "on", "off", "yes", "no", "y", "n", "Y", "NO", "true", "null", "010", "0x1F", "1e3", "1_000", "12",
        "-",
    ];
    let archive = Archive::new().file("main.rego", "package main\n\nallow := true\n").build();
    let server = bundle_server([("no", archive)]);
    let policies =
        NAMES.map(|name| (name.to_owned(), json!({ "bundles": ["no"], "decision": "main/allow" })));
    let document = json!({
        "services": { "off": { "url": server.url("").trim_end_matches('/'), "cluster": "on" } },
        "bundles": { "no": { "resource": "no.tar.gz" } },
        "portcullis": { "policies": serde_json::Map::from_iter(policies), "limits": { "evaluation_ms": EVALUATION_MS } },
    });
    let route = |name: &str| PolicyRoute { prefix: format!("/{name}/"), policy: name.to_owned() };
    // Routes take any letter case, so that `/Y/` is a path of `/y/`.
    let routed = || NAMES.iter().filter(|name| !["Y", "NO"].contains(name));
    let routes = routed().map(|name| route(name)).collect();
    let options = GateOptions { yaml: true, routes, ..GateOptions::default() };
    let gate = Gate::start(&document.to_string(), &options);
    gate.wait_for_counter("portcullis_policies_compiled", 2 * NAMES.len() as u64);
    for name in routed() {
        assert_eq!(gate.get(&format!("/{name}/x")).status, 200, "{name}\n{}", gate.envoy.log());
        gate.wait_for_counter(&format!("portcullis_requests.policy.{name}.outcome.allow"), 1);
    }
    assert_eq!(gate.get("/").header("x-portcullis-reason"), Some(&b"no_policy_named"[..]));
}

#[test]
fn a_wrong_configuration_denies_everything_and_says_why_in_the_words_of_check() {
    let good =
        Config::parse(br#"{"bundles": {"b": "http://127.0.0.1:9/b"}, "portcullis": {"url_cluster": "any"}}"#);
    let good = good.unwrap();
    for (what, document) in bad_documents() {
        let error = Config::parse(document.as_bytes()).expect_err(what);
        let gate = Gate::start_with(&good, &document, &GateOptions::default());
        let response = gate.get("/");
        assert_eq!(response.status, 503, "{what}");
        assert_eq!(response.header("x-portcullis-reason"), Some(&b"configuration_refused"[..]), "{what}");
        assert_eq!(gate.upstream.count(), 0, "{what}");
        let sentence = plugin::refusal(&error);
        assert!(gate.envoy.log().contains(&sentence), "{what}: {sentence}\n{}", gate.envoy.log());
        assert!(!gate.envoy.log().contains("Unable to create Wasm"), "{what}");
    }
}

fn bad_documents() -> Vec<(&'static str, String)> {
    let document = |bundles: &str, portcullis: &str| {
        format!(
            "services: {{hub: {{url: \"http://h\", cluster: c}}}}\nbundles: {bundles}\nportcullis: {portcullis}\n"
        )
    };
    vec![
        ("an unknown key", document("{b: {colour: red}}", "{}")),
        ("a wrong type", document("{b: {}}", "{max_concurrent_downloads: many}")),
        ("a missing cluster", "services: {hub: {url: \"http://h\"}}\nbundles: {b: {}}\n".to_owned()),
        ("a duplicate policy", document("{b: {}}", "{policies: {p: {bundles: [b]}, p: {bundles: [b]}}}")),
        ("a missing bundle", document("{b: {}}", "{policies: {p: {bundles: [c]}}}")),
        ("an empty document", String::new()),
        ("a megabyte of garbage", "garbage {[ ".repeat((1 << 20) / 11)),
    ]
}
