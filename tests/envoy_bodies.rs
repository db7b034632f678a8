//! Policies that read the body of requests, in real Envoy on raw sockets: whatever way a body comes, what the policy denies by it
//! does not reach the upstream.
//!
//! Other gates have let such bodies past: one that came in chunks, for which no length is announced, was decided as if it were
//! empty (GHSA-659f-rgp5-w4wf, CVE-2026-26205); of one that was padded beyond what is read, nothing was seen
//! (GHSA-8qqm-fp2q-v734), and a policy that did not ask whether it was cut off let it on. Each guard is taken away once, and
//! then the body gets past.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use host_harness::{FILTER_MODULE, archive::Archive, real_envoy::PolicyRoute};
use portcullis_filter::config::Config;
use portcullis_tests::{
    envoy::{Gate, GateOptions, bundle_server, manager},
    fleet::HOOKS_MODULE,
    http2,
};
use serde_json::{Value, json};

/// Denies by what is in the body, as published policies do.
const POLICY: &str =
    "package api\n\ndefault allow := true\n\nallow := false if input.parsed_body.action == \"delete\"\n";
/// Lets on what is not cut off.
const ASKING: &str = "package asking\n\ndefault allow := false\n\nallow if input.truncated_body == false\n";
/// Sends its requests to a route of the one above.
const MOVER: &str =
    "package mover\n\nallow := {\"allowed\": true, \"headers\": {\":path\": \"/asking/x\"}}\n";
const MAX_BYTES: usize = 4096;
/// Far beyond what anything here takes; only a hang meets it.
const BOUND: Duration = Duration::from_secs(60);

/// A body on its way.
#[derive(Clone, Copy, Debug)]
enum Framing {
    /// HTTP/1, `content-length`, at once or in pieces.
    Length { pieces: usize },
    /// HTTP/1, chunked.
    Chunked { pieces: usize, trailers: bool },
    /// HTTP/2, with or without `content-length`.
    Frames { pieces: usize, length: bool, trailers: bool },
}

const FRAMINGS: [Framing; 10] = [
    Framing::Length { pieces: 1 },
    Framing::Length { pieces: 3 },
    Framing::Chunked { pieces: 1, trailers: false },
    Framing::Chunked { pieces: 5, trailers: false },
    Framing::Chunked { pieces: 2, trailers: true },
    Framing::Frames { pieces: 1, length: false, trailers: false },
    Framing::Frames { pieces: 1, length: true, trailers: false },
    Framing::Frames { pieces: 4, length: false, trailers: false },
    Framing::Frames { pieces: 4, length: true, trailers: true },
    Framing::Frames { pieces: 2, length: false, trailers: true },
];

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
struct End {
    status: u16,
    reason: String,
    /// The body that the upstream got, if it was reached.
    upstream: Option<String>,
}

fn body(action: &str, bytes: usize) -> String {
    let (before, after) = (format!(r#"{{"action": "{action}", "padding": ""#), r#""}"#);
    let padding = "a".repeat(bytes.saturating_sub(before.len() + after.len()));
    format!("{before}{padding}{after}")
}

#[test]
fn whatever_way_a_body_comes_it_is_decided_by_and_only_what_is_let_on_reaches_the_upstream() {
    let gate = start(None);
    for framing in FRAMINGS {
        for (path, action, bytes, expected) in [
            ("/", "read", 0, (200, "")),
            ("/", "delete", 0, (403, "denied")),
            ("/", "read", MAX_BYTES, (200, "")),
            ("/", "delete", MAX_BYTES, (403, "denied")),
            // Padded beyond what is read.
            ("/", "delete", MAX_BYTES + 1, (413, "body_too_long")),
            ("/", "delete", 100_000, (413, "body_too_long")),
            ("/asking/", "read", MAX_BYTES, (200, "")),
            ("/asking/", "read", MAX_BYTES + 1, (403, "denied")),
            // The policy of the first route does not read the body, that of the second one does.
            ("/move/", "read", MAX_BYTES, (200, "")),
            ("/move/", "read", MAX_BYTES + 1, (403, "denied")),
        ] {
            let sent = body(action, bytes);
            let end = send(&gate, framing, path, &sent);
            let upstream = (expected.0 == 200).then_some(sent);
            let expected = End { status: expected.0, reason: expected.1.to_owned(), upstream };
            assert_eq!(end, expected, "{framing:?} {path} {action} {bytes}\n{}", gate.envoy.log());
        }
        let end = send(&gate, framing, "/", "{\"action\": ");
        assert_eq!((end.status, end.reason.as_str(), end.upstream), (400, "bad_body", None), "{framing:?}");
    }
}

/// What was refused by a guard, and is let on without it.
#[test]
fn without_its_guard_each_of_these_bodies_gets_past() {
    let small = body("delete", 0);
    let padded = body("delete", MAX_BYTES + 1);
    for (check, sent, framings) in
        [("BodyEnd", &small, &FRAMINGS[..]), ("BodyLength", &padded, &FRAMINGS[..])]
    {
        let gate = start(Some(check));
        for framing in framings {
            let end = send(&gate, *framing, "/", sent);
            assert_eq!((end.status, end.upstream.as_ref()), (200, Some(sent)), "{check} {framing:?}");
        }
    }
}

#[test]
fn a_request_for_another_protocol_brings_no_body() {
    let upgrade = |method: &str, rest: &str| {
        format!("{method} / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n{rest}\r\n")
    };
    let json = "content-type: application/json\r\ncontent-length: 20\r\n";
    let evil = format!("{}{}", upgrade("POST", json), r#"{"action": "delete"}"#);
    let send = |gate: &Gate, request: &str| {
        let mut stream = TcpStream::connect(gate.addr()).expect("Envoy listens");
        stream.set_read_timeout(Some(BOUND)).expect("a bound");
        stream.write_all(request.as_bytes()).expect("it is sent");
        stream
    };
    let allowed = "portcullis_requests.policy.api.outcome.allow";
    let gate = start(None);
    assert_eq!(status_of(&mut send(&gate, &evil)), 400);
    assert_eq!((gate.upstream.count(), gate.counter(allowed)), (0, 0));
    // A plain one does not wait for frames that only come once it is answered.
    let waiting = send(&gate, &upgrade("GET", ""));
    gate.wait_for_counter(allowed, 1);
    drop(waiting);
    let gate = start(Some("Tunnel"));
    let _waiting = send(&gate, &evil);
    gate.wait_for_counter(allowed, 1);
}

fn status_of(stream: &mut TcpStream) -> u16 {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n") && stream.read(&mut byte).expect("an answer") > 0 {
        head.extend(byte);
    }
    let line = String::from_utf8_lossy(&head).into_owned();
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

fn send(gate: &Gate, framing: Framing, path: &str, body: &str) -> End {
    let before = gate.upstream.count();
    let (status, reason, answer) = match framing {
        Framing::Frames { pieces, length, trailers } => {
            let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
            if length {
                headers.push(("content-length".to_owned(), body.len().to_string()));
            }
            let pieces = split(body, pieces);
            let trailers: &[(&str, &str)] = if trailers { &[("x-end", "1")] } else { &[] };
            let response = http2::send_pieces(gate.addr(), "POST", "a", path, &headers, &pieces, trailers);
            let response = response.unwrap_or_else(|error| panic!("{framing:?}: {error}"));
            let reason = response.header("x-portcullis-reason").unwrap_or_default().to_vec();
            (response.status, reason, response.body)
        }
        Framing::Length { pieces } => {
            let head = format!("content-length: {}\r\n", body.len());
            let pieces = split(body, pieces).into_iter().map(<[u8]>::to_vec).collect();
            over_http1(gate, path, &head, pieces)
        }
        Framing::Chunked { pieces, trailers } => {
            let chunk = |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            let mut chunks: Vec<Vec<u8>> = split(body, pieces).into_iter().map(chunk).collect();
            chunks.push(if trailers { b"0\r\nx-end: 1\r\n\r\n".to_vec() } else { b"0\r\n\r\n".to_vec() });
            over_http1(gate, path, "transfer-encoding: chunked\r\n", chunks)
        }
    };
    let reached = gate.upstream.count() - before;
    let echo: Option<Value> =
        (reached > 0).then(|| serde_json::from_slice(&answer).expect("the upstream's echo"));
    End {
        status,
        reason: String::from_utf8_lossy(&reason).into_owned(),
        upstream: echo.map(|echo| echo["body"].as_str().expect("the body").to_owned()),
    }
}

fn over_http1(gate: &Gate, path: &str, head: &str, pieces: Vec<Vec<u8>>) -> (u16, Vec<u8>, Vec<u8>) {
    let mut stream = TcpStream::connect(gate.addr()).expect("Envoy listens");
    stream.set_read_timeout(Some(BOUND)).expect("a bound");
    stream.set_nodelay(true).expect("no delay");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n{head}\r\n"
    );
    let mut sending = stream.try_clone().expect("a second handle");
    let sender = thread::spawn(move || {
        // Who refuses a request may close before its end.
        let _ = sending.write_all(head.as_bytes());
        for piece in pieces {
            let _ = sending.write_all(&piece);
            thread::yield_now();
        }
    });
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let _ = stream.shutdown(Shutdown::Both);
    sender.join().expect("it sends");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let reason = head.lines().find_map(|line| line.strip_prefix("x-portcullis-reason: ")).unwrap_or_default();
    (status, reason.as_bytes().to_vec(), answer[end + 4..].to_vec())
}

fn split(body: &str, pieces: usize) -> Vec<&[u8]> {
    body.as_bytes().chunks(body.len().div_ceil(pieces).max(1)).collect()
}

/// An Envoy whose policies read bodies, without one guard.
fn start(without: Option<&str>) -> Gate {
    let archive =
        Archive::new().file("api.rego", POLICY).file("asking.rego", ASKING).file("mover.rego", MOVER).build();
    let server = bundle_server([("api", archive)]);
    let policy = |decision: &str| json!({ "bundles": ["api"], "decision": decision });
    let document = json!({
        "services": { "hub": { "url": server.url("").trim_end_matches('/'), "cluster": "hub" } },
        "bundles": { "api": { "resource": "api.tar.gz" } },
        "portcullis": {
            "policies": { "api": policy("api/allow"), "asking": policy("asking/allow"), "mover": policy("mover/allow") },
            "default_policy": "api",
            "limits": { "evaluation_ms": 10_000 },
            "body": { "max_bytes": MAX_BYTES },
        },
    });
    let config = Config::parse(document.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let mut given = document;
    if let Some(check) = without {
        given["portcullis"]["hooks"] = json!({ "without": check });
    }
    let route =
        |prefix: &str, policy: &str| PolicyRoute { prefix: prefix.to_owned(), policy: policy.to_owned() };
    let options = GateOptions {
        module: Some(if without.is_some() { HOOKS_MODULE } else { FILTER_MODULE }.to_vec()),
        routes: vec![route("/asking/", "asking"), route("/move/", "mover")],
        amend: Some(Box::new(|bootstrap: &mut Value| {
            manager(bootstrap)["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
            manager(bootstrap)["http_protocol_options"] = json!({ "enable_trailers": true });
        })),
        ..GateOptions::default()
    };
    let gate = Gate::start_with(&config, &given.to_string(), &options);
    // Three policies, in the main thread's VM and in the worker's.
    gate.wait_for_counter("portcullis_policies_compiled", 6);
    gate
}
