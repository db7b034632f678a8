//! Bundles on their way into real Envoy: many at once, not yet there, unchanged, and bad in every way a server can be.

use std::time::Duration;

use host_harness::{
    archive::Archive,
    servers::{Answer, BundleServer, Fault, client::Request},
    storm::Storm,
};
use portcullis_tests::envoy::{BOUND, EVALUATION_MS, Gate, GateOptions, LEASE_SECONDS, bundle_server};
use serde_json::json;

const BUNDLES: usize = 50;

#[test]
fn fifty_bundles_are_in_flight_together_with_one_worker() {
    fifty_bundles_are_in_flight_together(1);
}

#[test]
fn fifty_bundles_are_in_flight_together_with_four_workers() {
    fifty_bundles_are_in_flight_together(4);
}

fn fifty_bundles_are_in_flight_together(workers: u32) {
    let storm = Storm::new(BUNDLES, 1);
    let server = bundle_server([]);
    storm.publish(&server, 1);
    for bundle in storm.bundles() {
        server.fault(&bundle.path(), Fault::HangUntilReleased);
    }
    let mut document = storm.document(server.url("").trim_end_matches('/'));
    let [first, second] = [&storm.bundles()[0], &storm.bundles()[1]];
    document["portcullis"]["default_policy"] = json!(first.name);
    // No download may run out of time while the test looks at all of them.
    document["services"]["storm"]["response_header_timeout_seconds"] = json!(120);
    document["portcullis"]["limits"] = json!({ "evaluation_ms": EVALUATION_MS });
    document["portcullis"]["manager"] = json!({ "lease_seconds": LEASE_SECONDS });
    let gate =
        Gate::start(&document.to_string(), &GateOptions { concurrency: workers, ..GateOptions::default() });

    // Envoy's main thread has a VM of its own.
    let vms = workers as usize + 1;
    let all = server.wait_until(BOUND, |traffic| traffic.in_flight >= BUNDLES);
    assert!(all, "{} in flight, not {BUNDLES}", server.traffic().in_flight);

    let (method, path) = first.allowed(1);
    let allowed = Request::new(method, path);
    for _ in 0..vms {
        let response = gate.send(&allowed);
        assert_eq!(response.status, 503);
        assert_eq!(response.header("retry-after"), Some(&b"1"[..]));
        assert_eq!(response.header("x-portcullis-reason"), Some(&b"not_ready"[..]));
    }
    assert_eq!(gate.upstream.count(), 0);

    for bundle in storm.bundles() {
        server.clear_fault(&bundle.path());
        server.release(&bundle.path());
    }
    gate.wait_for_counter("portcullis_policies_compiled", (vms * BUNDLES) as u64);
    assert_eq!(server.traffic().requests.len(), BUNDLES, "one VM loads for all");
    assert_eq!(gate.send(&allowed).status, 200, "{}", gate.envoy.log());
    let (method, path) = first.denied(1);
    assert_eq!(gate.send(&Request::new(method, path)).status, 403);
    // Each policy has its own data: what another one allows is nothing to this one.
    let (method, path) = second.allowed(1);
    assert_eq!(gate.send(&Request::new(method, path)).status, 403);
}

#[test]
fn a_bundle_that_turns_bad_leaves_the_last_good_one_deciding() {
    let server = bundle_server([("main", answering("one"))]);
    let gate = Gate::start(&configuration(&server), &GateOptions::default());
    wait_for_revision(&gate, "one");

    let archive = answering("two");
    let rejected = "portcullis_downloads.bundle.main.outcome.rejected";
    let failed = "portcullis_downloads.bundle.main.outcome.failed";
    // Fine alone, and no policy: the bundle is taken, the policy made of it is not.
    let no_policy = "portcullis_policies_rejected";
    let faults = [
        ("a truncated gzip", Fault::Truncated { keep_bytes: archive.len() / 2 }, rejected),
        ("no tar", Fault::Bytes(gzip(b"this is not a tar archive")), rejected),
        ("no gzip", Fault::Bytes(b"<html>".to_vec()), rejected),
        ("an empty body", Fault::Bytes(Vec::new()), rejected),
        ("Rego that does not parse", Fault::Bytes(rego("package main\n\nallow if {\n")), rejected),
        (
            "a call that nobody answers",
            Fault::Bytes(rego("package main\n\nallow if no.body(1)\n")),
            no_policy,
        ),
        ("500", Fault::Status(500), failed),
        ("404", Fault::Status(404), failed),
        ("a redirect", Fault::Redirect { location: "/elsewhere".to_owned() }, failed),
        ("a reset", Fault::ResetBeforeHeaders, failed),
        ("a reset in the body", Fault::ResetMidBody { after_bytes: 20 }, failed),
    ];
    for (what, fault, counter) in faults {
        let before = gate.counter(counter);
        // The content must differ from what is active, or it would be met with 304.
        server.publish("/main.tar.gz", answering("never to be seen"));
        server.fault("/main.tar.gz", fault);
        // A download is counted once, and so is what one VM has tried for all.
        gate.wait_for_counter(counter, before + 1);
        assert_eq!(gate.get("/").header("x-revision"), Some(&b"one"[..]), "{what}\n{}", gate.envoy.log());
    }

    server.publish("/main.tar.gz", answering("never to be seen"));
    server.fault("/main.tar.gz", Fault::Hang(Duration::from_secs(1)));
    server.reset_counters();
    assert!(server.wait_until(BOUND, |traffic| traffic.in_flight > 0));
    assert_eq!(gate.get("/").header("x-revision"), Some(&b"one"[..]), "a server that hangs for a second");

    // The server is well again: the newest content is taken.
    server.publish("/main.tar.gz", answering("three"));
    server.clear_fault("/main.tar.gz");
    wait_for_revision(&gate, "three");
}

#[test]
fn an_unchanged_bundle_is_answered_304_and_compiled_once() {
    let server = bundle_server([("main", answering("one"))]);
    let gate = Gate::start(&configuration(&server), &GateOptions::default());
    gate.wait_for_counter("portcullis_downloads.bundle.main.outcome.not_modified", 6);
    let not_modified =
        server.traffic().requests.iter().filter(|seen| seen.answer == Some(Answer::Status(304))).count();
    assert!(not_modified >= 6, "{not_modified}");
    assert_eq!(gate.counter("portcullis_policies_compiled"), 2, "once in each VM");
    assert_eq!(gate.counter("portcullis_downloads.bundle.main.outcome.activated"), 1, "by the VM that loads");
}

/// An archive whose decision says which revision it is.
fn answering(revision: &str) -> Vec<u8> {
    rego(&format!(
        "package main\n\nallow := {{\"allowed\": true, \"response_headers_to_add\": {{\"x-revision\": \"{revision}\"}}}}\n"
    ))
}

fn rego(text: &str) -> Vec<u8> {
    Archive::new().file(".manifest", r#"{"roots": ["main"]}"#).file("main.rego", text).build()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing into memory does not fail")
}

/// Polls every second, so that a change is seen soon.
fn configuration(server: &BundleServer) -> String {
    json!({
        "services": { "hub": { "url": server.url("").trim_end_matches('/'), "cluster": "hub" } },
        "bundles": {
            "main": {
                "resource": "main.tar.gz",
                "polling": { "min_delay_seconds": 1, "max_delay_seconds": 1 },
            },
        },
        "portcullis": {
            "policies": { "main": { "bundles": ["main"], "decision": "main/allow" } },
            "limits": { "evaluation_ms": EVALUATION_MS },
            "manager": { "lease_seconds": LEASE_SECONDS },
        },
    })
    .to_string()
}

fn wait_for_revision(gate: &Gate, revision: &str) {
    let arrived =
        gate.envoy.wait_until(BOUND, |_| Ok(gate.get("/").header("x-revision") == Some(revision.as_bytes())));
    assert!(arrived.unwrap_or(false), "revision {revision} never decides\n{}", gate.envoy.log());
}
