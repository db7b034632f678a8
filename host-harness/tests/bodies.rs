//! Bodies and trailers: how they are cut, held, changed and limited on their way past a plugin.

mod common;

use std::time::Duration;

use common::{WITNESS, options, start, start_in, worker_said};
use host_harness::{
    envoy::{AnsweredBy, EnvoyOptions, Protocol, Request},
    world::{Reply, Scripted},
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_end_of_a_body_comes_alone_over_http1_and_with_its_last_bytes_over_http2() {
    let mut envoy = start(WITNESS);
    let mut request = Request::post("/", "12345");
    request.chunk_size_bytes = 3;
    envoy.exchange(0, request.clone());
    let begin = ["create", "request headers", "0"];
    assert_eq!(
        worker_said(&envoy)[..12],
        [&begin[..], &["request body", "3", "0", "request body", "2", "0", "request body", "0", "1"]]
            .concat()
    );

    let mut envoy = start(WITNESS);
    request.protocol = Protocol::Http2;
    envoy.exchange(0, request.clone());
    assert_eq!(
        worker_said(&envoy)[..9],
        [&begin[..], &["request body", "3", "0", "request body", "2", "1"]].concat()
    );

    let mut envoy = start(WITNESS);
    envoy.exchange(0, request.trailer("t", "1"));
    assert_eq!(
        worker_said(&envoy)[..11],
        [&begin[..], &["request body", "3", "0", "request body", "2", "0", "request trailers", "1"]].concat()
    );
}

#[test]
fn a_pause_on_headers_shows_the_body_only_with_stop_iteration_allowed() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
      (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
        (call $say (local.get 1))
        (if (result i32) (local.get 2) (then (i32.const 0)) (else (i32.const 1))))
    "#;
    let mut allowed = start(body);
    let exchange = allowed.exchange(0, Request::post("/", "12345"));
    assert_eq!(exchange.status, 200);
    assert_eq!(exchange.upstream_request.unwrap().body, b"12345");
    assert_eq!(worker_said(&allowed), ["5", "5"]);

    let mut strict = options();
    strict.plugin.allow_on_headers_stop_iteration = false;
    let mut envoy = start_in(body, strict, Scripted::new());
    let exchange = envoy.exchange(0, Request::post("/", "12345"));
    assert_eq!((exchange.status, exchange.text().as_str()), (504, "stream timeout"));
    assert_eq!(exchange.ended_at, SECOND * 300);
    assert!(worker_said(&envoy).is_empty());
}

#[test]
fn without_a_pause_on_headers_their_upstream_is_reached_before_the_verdict_on_the_body() {
    let body = r#"
      (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
        (if (local.get 2) (then (call $answer (i32.const 403) @"no")))
        (i32.const 1))
    "#;
    let exchange = start(body).exchange(0, Request::post("/", "12345"));
    assert_eq!(exchange.status, 403);
    let upstream = exchange.upstream_request.unwrap();
    assert!(!upstream.complete);
    assert!(upstream.body.is_empty());
}

#[test]
fn everything_that_is_held_is_shown_again_when_all_was_stopped() {
    // Action 3 and 4 on headers hold the body back from the plugin as well.
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (drop (call $set_tick (i32.const 100))) (i32.const 1))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 4))
      (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
        (call $tell_buffer (i32.const 0)) (call $say (local.get 2)) (i32.const 0))
      (func (export "proxy_on_request_trailers") (param i32 i32) (result i32) (call $tell_header (i32.const 1) @"t") (i32.const 0))
      (func (export "proxy_on_tick") (param i32)
        (if (i32.eqz (call $set_context (i32.const 2))) (then (drop (call $continue (i32.const 0))))))
    "#;
    let mut envoy = start(body);
    let mut request = Request::post("/", "12345").trailer("t", "x");
    request.chunk_size_bytes = 2;
    let exchange = envoy.exchange(0, request);
    assert_eq!(worker_said(&envoy), ["12345", "0", "x"]);
    let upstream = exchange.upstream_request.unwrap();
    assert_eq!((upstream.body.as_slice(), upstream.trailers.len()), (b"12345".as_slice(), 1));
}

#[test]
fn a_buffered_body_is_seen_whole_and_over_the_limit_it_is_413() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
      (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
        (call $say (local.get 1))
        (if (result i32) (local.get 2) (then (i32.const 0)) (else (i32.const 1))))
      (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (call $tell_header (i32.const 2) @":status") (i32.const 0))
    "#;
    let send = |length| {
        let limits = EnvoyOptions { per_connection_buffer_limit_bytes: 10, ..options() };
        let mut envoy = start_in(body, limits, Scripted::new());
        let mut request = Request::post("/", vec![b'x'; length]);
        request.chunk_size_bytes = 4;
        (envoy.exchange(0, request), worker_said(&envoy))
    };
    let (exchange, seen) = send(10);
    assert_eq!(exchange.status, 200);
    assert_eq!(seen, ["4", "8", "10", "10", "200"]);
    let (exchange, seen) = send(11);
    assert_eq!((exchange.status, exchange.text().as_str()), (413, "Payload Too Large"));
    assert_eq!((exchange.answered_by, exchange.upstream_request), (Some(AnsweredBy::Envoy), None));
    assert_eq!(seen, ["4", "8", "413"]);
}

#[test]
fn a_body_over_the_limit_is_413_also_when_its_end_comes_with_it() {
    let body = r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.const 1))"#;
    let limits = EnvoyOptions { per_connection_buffer_limit_bytes: 10, ..options() };
    let request = Request { protocol: Protocol::Http2, ..Request::post("/", "12345678901") };
    let exchange = start_in(body, limits, Scripted::new()).exchange(0, request);
    assert_eq!((exchange.status, exchange.ended_at), (413, Duration::ZERO));
}

#[test]
fn a_default_body_limit_is_one_mebibyte() {
    let body = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
      (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.eqz (local.get 2)))"#;
    let mut envoy = start(body);
    let mut send = |length| envoy.exchange(0, Request::post("/", vec![0; length])).status;
    assert_eq!(send(1024 * 1024), 200);
    assert_eq!(send(1024 * 1024 + 1), 413);
}

#[test]
fn a_response_body_over_the_limit_is_500_while_its_headers_are_held() {
    let body = r#"
      (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 1))
      (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.eqz (local.get 2)))
    "#;
    let send = |length| {
        let limits = EnvoyOptions { per_connection_buffer_limit_bytes: 10, ..options() };
        let world = Scripted::new().reply("upstream", "/", Reply::body(vec![b'x'; length]));
        start_in(body, limits, world).exchange(0, Request::get("/"))
    };
    assert_eq!(send(10).body.len(), 10);
    assert_eq!((send(11).status, send(11).details.as_str()), (500, "response_payload_too_large"));
}

#[test]
fn a_body_can_be_replaced_while_the_plugin_holds_it() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $remove_header (i32.const 0) @"content-length")) (i32.const 1))
      (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
        (if (result i32) (local.get 2)
          (then
            (call $say (call $set_buffer (i32.const 0) (i32.const 0) (i32.const 2147483647) @"new"))
            (call $say (call $set_buffer (i32.const 0) (i32.const 0) (i32.const 0) @"a "))
            (call $say (call $set_buffer (i32.const 0) (i32.const 1) (i32.const 1) @"never"))
            (call $tell_buffer (i32.const 0))
            (i32.const 0))
          (else (i32.const 1))))
    "#;
    let mut envoy = start(body);
    let upstream = envoy.exchange(0, Request::post("/", "12345")).upstream_request.unwrap();
    assert_eq!(upstream.body, b"a new");
    assert_eq!(upstream.header("content-length"), None);
    assert_eq!(worker_said(&envoy), ["0", "0", "2", "a new"]);
}

#[test]
fn trailers_can_be_added_at_the_end_of_a_body() {
    let body = r#"
      (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
        (call $say (call $add_header (i32.const 1) @"t" @"1")) (i32.const 0))
    "#;
    let mut envoy = start(body);
    let exchange = envoy.exchange(0, Request::post("/", "x"));
    assert_eq!(worker_said(&envoy), ["2", "0"]);
    assert_eq!(envoy.world().seen().len(), 1);
    assert_eq!(exchange.upstream_request.unwrap().trailers, [(b"t".to_vec(), b"1".to_vec())]);
}

#[test]
fn a_body_that_comes_in_time_is_interleaved_with_other_events() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (drop (call $set_tick (i32.const 150))) (i32.const 1))
      (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (call $say (local.get 1)) (i32.const 0))
      (func (export "proxy_on_tick") (param i32) (call $tell @"tick"))
    "#;
    let mut envoy = start(body);
    let mut request = Request::post("/", "abcde");
    request.chunk_size_bytes = 2;
    request.chunk_interval = Duration::from_millis(100);
    let exchange = envoy.exchange(0, request);
    assert_eq!(exchange.ended_at, Duration::from_millis(300));
    assert_eq!(worker_said(&envoy), ["2", "tick", "2", "tick", "1", "0"]);
}
