//! Policies that read the body of requests, in the harness: when it is waited for, what is decided, and what goes upstream.

use std::{collections::BTreeMap, time::Duration};

use host_harness::{
    archive::Archive,
    envoy::{Envoy, Exchange, Protocol, Request, VmState},
    world::Scripted,
};
use portcullis_tests::{harness, table::BUNDLE_CLUSTER};
use serde_json::{Value, json};

/// Denies by what the body says, and hangs on nothing else.
const DENIES: &str =
    "package main\n\ndefault allow := true\n\nallow := false if input.parsed_body.action == \"delete\"\n";
/// The same, for bodies that may be cut off.
const DENIES_CUT_OFF: &str =
    "package main\n\ndefault allow := false\n\nallow if input.truncated_body == false\n";
const JSON: (&str, &str) = ("content-type", "application/json");

fn start(policy: &str, body: Value) -> Envoy<Scripted> {
    let mut configuration = json!({
        "services": { "hub": { "url": "http://bundles.test", "cluster": BUNDLE_CLUSTER } },
        "bundles": { "main": { "resource": "main.tar.gz" } },
        "portcullis": { "policies": { "main": { "bundles": ["main"], "decision": "main/allow" } } },
    });
    if !body.is_null() {
        configuration["portcullis"]["body"] = body;
    }
    let archive =
        Archive::new().file(".manifest", r#"{"roots": ["main"]}"#).file("main.rego", policy).build();
    harness::start(&configuration, BTreeMap::from([("main".to_owned(), Some(archive))]))
}

fn post(body: &str) -> Request {
    Request::post("/", body).header(JSON.0, JSON.1)
}

/// Ways in which one body comes.
fn framings(request: &Request) -> Vec<Request> {
    let mut framings = Vec::new();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for chunk_size_bytes in [1, 7, 1 << 14] {
            for trailers in [false, true] {
                for chunk_interval in [Duration::ZERO, Duration::from_millis(3)] {
                    let request = Request { protocol, chunk_size_bytes, chunk_interval, ..request.clone() };
                    framings.push(if trailers { request.trailer("x-end", "1") } else { request });
                }
            }
        }
    }
    framings
}

fn reason(exchange: &Exchange) -> String {
    String::from_utf8_lossy(exchange.header("x-portcullis-reason").unwrap_or_default()).into_owned()
}

#[test]
fn a_body_is_decided_by_in_whatever_pieces_it_comes_and_goes_upstream_whole() {
    let mut envoy = start(DENIES, json!({}));
    let good = r#"{"action": "read", "padding": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#;
    for request in framings(&post(good)) {
        let exchange = envoy.exchange(0, request.clone());
        assert_eq!(exchange.status, 200, "{request:?}");
        let upstream = exchange.upstream_request.expect("it went on");
        assert_eq!((upstream.body.as_slice(), upstream.complete), (good.as_bytes(), true), "{request:?}");
        assert_eq!(upstream.trailers.len(), request.trailers.len());
    }
    let evil = r#"{"action": "delete", "padding": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#;
    for request in framings(&post(evil)) {
        let exchange = envoy.exchange(0, request.clone());
        assert_eq!((exchange.status, reason(&exchange).as_str()), (403, "denied"), "{request:?}");
        assert_eq!(exchange.upstream_request, None, "{request:?}");
    }
    // Nobody waits for what is not there.
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    assert_eq!(envoy.exchange(0, post("")).status, 200);
}

#[test]
fn a_body_that_cannot_be_read_is_refused_by_who_reads_it_and_by_nobody_else() {
    let mut envoy = start(DENIES, json!({}));
    for request in framings(&post("{\"action\": ")) {
        let exchange = envoy.exchange(0, request.clone());
        assert_eq!((exchange.status, reason(&exchange).as_str()), (400, "bad_body"), "{request:?}");
        assert_eq!(exchange.upstream_request, None);
    }
    let mut envoy =
        start("package main\n\nallow if input.attributes.request.http.method == \"POST\"\n", json!({}));
    let slow =
        Request { chunk_interval: Duration::from_secs(1), chunk_size_bytes: 4, ..post("{\"action\": ") };
    assert_eq!(envoy.exchange(0, slow).status, 200);
}

#[test]
fn a_body_that_is_longer_than_may_be_held_is_refused_unless_the_policy_asks_whether_it_is() {
    let limits = json!({ "max_bytes": 40 });
    let of_length = |length: usize| {
        let (before, after) = (r#"{"action": "read", "a": ""#, r#""}"#);
        format!("{before}{}{after}", "a".repeat(length - before.len() - after.len()))
    };
    let mut envoy = start(DENIES, limits.clone());
    for (length, status) in [(40, 200), (41, 413), (400, 413)] {
        for request in framings(&post(&of_length(length))) {
            let announced = request.clone().header("content-length", length.to_string());
            for request in [request, announced] {
                let exchange = envoy.exchange(0, request.clone());
                assert_eq!(exchange.status, status, "{request:?}");
                assert_eq!(exchange.upstream_request.is_some(), status == 200, "{request:?}");
                assert_eq!(status == 413, reason(&exchange) == "body_too_long");
            }
        }
    }
    let mut envoy = start(DENIES_CUT_OFF, limits.clone());
    for (length, status) in [(40, 200), (41, 403)] {
        for request in framings(&post(&of_length(length))) {
            assert_eq!(envoy.exchange(0, request.clone()).status, status, "{request:?}");
        }
    }
    // What is let on although it was cut off goes on whole.
    let mut envoy = start("package main\n\nallow if input.truncated_body\n", limits);
    for request in framings(&post(&of_length(400))) {
        let exchange = envoy.exchange(0, request.clone());
        assert_eq!(exchange.status, 200, "{request:?}");
        let upstream = exchange.upstream_request.expect("it went on");
        assert_eq!((upstream.body.len(), upstream.complete), (400, true), "{request:?}");
    }
}

#[test]
fn requests_that_wait_have_room_together_and_give_it_back() {
    let limits = json!({ "max_bytes": 100, "in_flight_bytes": 150 });
    let mut envoy = start(DENIES, limits);
    let slow = |interval: Duration| {
        let body = format!("\"{}\"", "a".repeat(98));
        Request { chunk_interval: interval, chunk_size_bytes: 90, ..post(&body) }
    };
    for leaves in [false, true] {
        let first = envoy.begin(0, slow(Duration::from_secs(60)));
        envoy.run_for(Duration::from_secs(61));
        let exchange = envoy.exchange(0, slow(Duration::ZERO));
        assert_eq!((exchange.status, reason(&exchange).as_str()), (503, "no_room_for_body"));
        assert!(exchange.header("retry-after").is_some());
        assert_eq!(exchange.upstream_request, None);
        // Who needs no room waits for nobody.
        assert_eq!(envoy.exchange(0, post("\"small\"")).status, 200);
        if leaves {
            envoy.leave(first);
        }
        envoy.run_for(Duration::from_secs(120));
        assert_eq!(envoy.exchange(0, slow(Duration::ZERO)).status, 200, "{leaves}");
    }
    assert_eq!(envoy.metric("portcullis_requests.policy.main.outcome.no_room_for_body"), Some(2));
}

#[test]
fn without_the_section_no_body_is_read_and_that_is_told_when_the_policy_is_loaded() {
    let told = |envoy: &Envoy<Scripted>| {
        let tells = |line: &str| {
            line.contains("`input.parsed_body` is never there: bodies are read with `portcullis.body`")
        };
        envoy.logs().iter().filter(|line| tells(&line.message)).count()
    };
    let policy = "package main\n\nallow if { input.parsed_body == null; input.truncated_body == false }\n";
    let mut envoy = start(policy, Value::Null);
    assert!(told(&envoy) > 0);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    // It is not said of a body that there is none.
    for request in framings(&post("{}")) {
        assert_eq!(envoy.exchange(0, request).status, 403);
    }
    let envoy = start(policy, json!({}));
    assert_eq!(told(&envoy), 0);
}

#[test]
fn what_a_policy_waits_for_in_vain_is_told_when_it_is_loaded() {
    let envoy = start("package main\n\nallow if not input.attributes.request.http.metod\n", Value::Null);
    let told = envoy.logs().iter().find(|line| line.message.contains("is never there"));
    let told = &told.expect("it is told").message;
    assert!(
        told.contains("policy `main`: `input.attributes.request.http.metod` is never there: there is "),
        "{told}"
    );
    assert!(told.contains("method"), "{told}");
}

#[test]
fn a_request_for_another_protocol_is_decided_without_a_body() {
    let mut envoy = start(DENIES, json!({}));
    let upgrade = |method: &str| Request {
        chunk_interval: Duration::from_secs(600),
        ..Request::new(method, "/")
            .with_body("frames")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
    };
    let stream = envoy.begin(0, upgrade("GET"));
    envoy.run_for(Duration::from_secs(1));
    envoy.leave(stream);
    envoy.run_for(Duration::from_secs(1));
    assert_eq!(envoy.metric("portcullis_requests.policy.main.outcome.allow"), Some(1), "it did not wait");
    let exchange = envoy.exchange(0, Request { chunk_interval: Duration::ZERO, ..upgrade("POST") });
    assert_eq!((exchange.status, reason(&exchange).as_str()), (400, "bad_body"));
}

#[test]
fn an_answer_is_remembered_by_the_body_that_it_was_given_to() {
    let mut envoy = start(DENIES, json!({}));
    for (body, content_type, status) in [
        (r#"{"action": "delete"}"#, "application/json", 403),
        (r#"{"action": "read"}"#, "application/json", 200),
        (r#"{"action": "delete"}"#, "text/plain", 200),
        (r#"{"action": "delete"}"#, "application/json", 403),
        (r#"{"action": "read"}"#, "application/json", 200),
    ] {
        let request = Request::post("/", body).header("content-type", content_type);
        assert_eq!(envoy.exchange(0, request).status, status, "{body} {content_type}");
    }
    assert_eq!(envoy.metric("portcullis_remembered.policy.main"), Some(2));
}

/// Envoy tells its authorization service by a header; here too, and it is never the client's.
#[test]
fn the_header_about_a_partial_body_is_not_the_clients() {
    let policy = "package main\n\ndefault allow := {\"allowed\": true, \"response_headers_to_add\": {\"x-seen\": \"none\"}}\n\n\
                  allow := {\"allowed\": true, \"response_headers_to_add\": {\"x-seen\": partial}}\n\n\
                  partial := input.attributes.request.http.headers[\"x-envoy-auth-partial-body\"]\n";
    for (body, limits, seen) in [
        ("\"0123456789\"", json!({ "max_bytes": 5 }), "true"),
        ("\"0123456789\"", json!({}), "false"),
        ("", json!({}), "none"),
        ("\"0123456789\"", Value::Null, "none"),
    ] {
        let mut envoy = start(policy, limits);
        for forged in ["true", "false"] {
            let exchange = envoy.exchange(0, post(body).header("x-envoy-auth-partial-body", forged));
            let told = String::from_utf8_lossy(exchange.header("x-seen").unwrap_or_default()).into_owned();
            assert_eq!((exchange.status, told.as_str()), (200, seen), "{body} {forged}");
        }
    }
}

/// As long as `max_bytes` may be, and of as many values as fit.
#[test]
fn the_meanest_bodies_end_no_vm() {
    const MAX_BYTES: usize = 1 << 20;
    let policy = "package main\n\nallow if count(json.marshal(input.parsed_body)) > 0\n";
    let mut envoy = start(policy, json!({ "max_bytes": MAX_BYTES }));
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    let multipart = "multipart/form-data; boundary=X";
    let filled = |begin: &str, piece: &str, end: &str| {
        let count = (MAX_BYTES - begin.len() - end.len()) / piece.len();
        format!("{begin}{}{end}", piece.repeat(count))
    };
    let numbered: String = (0..90_000).map(|index| format!("{index:x}=&")).collect();
    let parameters = "--X\r\ncontent-disposition: form-data";
    for (content_type, body) in [
        (json, filled("[", "1,", "1]")),
        (json, filled("[", "[],", "1]")),
        (json, filled("[", "{},", "1]")),
        (json, filled("{", "\"\":1,", "\"a\":1}")),
        (json, filled("[", "{\"\":[{}]},", "1]")),
        (json, filled("", "[", "")),
        (json, filled("\"", "\\u00e9", "\"")),
        (json, filled("", "9", "")),
        (form, filled("", "a&", "")),
        (form, filled("", "%41=%42&", "")),
        (form, numbered),
        (multipart, filled("", "--X\r\n\r\n\r\n", "--X--")),
        (multipart, filled(parameters, ";a=1", "\r\n\r\n\r\n--X--")),
        (multipart, filled("--X\r\n\r\n", "\r\n--", "\r\n--X--")),
    ] {
        let request = Request::post("/", body.as_bytes()).header("content-type", content_type);
        let exchange = envoy.exchange(0, request);
        assert!([200, 400, 500].contains(&exchange.status), "{}: {:.40}", exchange.status, body);
        for vm in envoy.vms() {
            assert!(vm.loads == 1 && vm.state == VmState::Running, "a VM has ended: {body:.40}");
        }
    }
}

/// All headers are read, and with them that one; nothing of the body, so that one that is cut off is no reason to refuse.
#[test]
fn who_reads_all_headers_waits_for_the_one_about_the_body() {
    let policy = "package main\n\nallow if { some name, value in input.attributes.request.http.headers; name == \"x-envoy-auth-partial-body\"; value == \"true\" }\n";
    let mut envoy = start(policy, json!({ "max_bytes": 5 }));
    for (body, status) in [("\"0123456789\"", 200), ("\"1\"", 403)] {
        for request in framings(&post(body)) {
            assert_eq!(envoy.exchange(0, request.clone()).status, status, "{request:?}");
        }
    }
}

/// Every form of a body that opa-envoy-plugin reads, through the module.
#[test]
fn forms_and_texts_are_read_as_json_is() {
    let policy = "package main\n\nallow := {\"allowed\": true, \"response_headers_to_add\": {\"x-seen\": json.marshal(input.parsed_body)}}\n";
    let mut envoy = start(policy, json!({}));
    let multipart = "--b\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n";
    for (content_type, body, seen) in [
        ("application/json", r#"{"b": [1.0, null]}"#, r#"{"b":[1.0,null]}"#),
        ("application/merge-patch+json", "[1]", "[1]"),
        ("application/x-www-form-urlencoded", "a=1&a=2", r#"{"a":["1","2"]}"#),
        ("multipart/form-data; boundary=b", multipart, r#"{"a":["1"]}"#),
        ("text/plain", "{}", "null"),
        ("application/json", "", "null"),
    ] {
        for request in framings(&Request::post("/", body).header("content-type", content_type)) {
            let exchange = envoy.exchange(0, request.clone());
            let got = String::from_utf8_lossy(exchange.header("x-seen").unwrap_or_default()).into_owned();
            assert_eq!(got, seen, "{request:?}");
        }
    }
}
