//! HTTP streams: what a plugin sees of them, how it holds them, answers them and lets them go.

mod common;

use std::time::Duration;

use common::{WITNESS, host_said, options, start, start_in, worker_said};
use host_harness::{
    envoy::{AnsweredBy, EnvoyOptions, Request, VmState},
    world::{Reply, Scripted},
};

const SECOND: Duration = Duration::from_secs(1);

/// Lets every request pass.
const PASSES: &str =
    r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))"#;

#[test]
fn a_stream_is_told_from_its_context_to_its_deletion_and_logged_before_it_is_done() {
    let world = Scripted::new().reply("upstream", "/", Reply::body("hi").with_trailer("t", "1"));
    let mut envoy = start_in(WITNESS, options(), world);
    envoy.exchange(0, Request::get("/"));
    assert_eq!(
        worker_said(&envoy),
        [
            "create",
            "request headers",
            "1",
            "response headers",
            "0",
            "response body",
            "2",
            "0",
            "response trailers",
            "1",
            "log",
            "done",
            "delete"
        ]
    );
}

#[test]
fn what_passes_reaches_the_upstream_and_its_answer_the_client() {
    let world = Scripted::new().reply(
        "upstream",
        "/x?q",
        Reply::status(404).with_header("X-A", "1").with_body("gone"),
    );
    let mut envoy = start_in(WITNESS, options(), world);
    let exchange = envoy.exchange(0, Request::post("/x?q", "body").header("X-B", "2").trailer("t", "3"));
    assert_eq!((exchange.status, exchange.text().as_str()), (404, "gone"));
    assert_eq!(exchange.header("x-a"), Some(b"1".as_slice()));
    assert_eq!(exchange.header("x-envoy-upstream-service-time"), Some(b"0".as_slice()));
    assert_eq!(
        (exchange.answered_by, exchange.details.as_str()),
        (Some(AnsweredBy::Upstream), "via_upstream")
    );
    let upstream = exchange.upstream_request.unwrap();
    assert!(upstream.complete);
    assert_eq!(upstream.body, b"body");
    assert_eq!(upstream.trailers, [(b"t".to_vec(), b"3".to_vec())]);
    for (name, value) in [(":path", "/x?q"), (":method", "POST"), (":authority", "gate.test"), ("x-b", "2")] {
        assert_eq!(upstream.header(name), Some(value.as_bytes()), "{name}");
    }
    assert_eq!(upstream.header("x-envoy-expected-rq-timeout-ms"), Some(b"15000".as_slice()));
    assert_eq!(upstream.header("x-request-id").map(<[u8]>::len), Some(36));
}

#[test]
fn a_local_response_is_seen_by_this_plugin_and_never_reaches_the_upstream() {
    let body = format!(
        "{} {}",
        WITNESS.replace(
            r#"(call $tell @"request headers") (call $say (local.get 2)) (i32.const 0))"#,
            r#"(call $say (call $respond (i32.const 403) @"not you" @"no" @pairs("X-Why: a; x-why: b") (i32.const -1)))
               (call $tell_header (i32.const 0) @":path") (i32.const 0))"#
        ),
        ""
    );
    let mut envoy = start(&body);
    let exchange = envoy.exchange(0, Request::post("/p", "body"));
    assert_eq!((exchange.status, exchange.text().as_str()), (403, "no"));
    assert_eq!(
        (exchange.answered_by, exchange.details.as_str()),
        (Some(AnsweredBy::LocalResponse), "not_you")
    );
    let headers: Vec<(&[u8], &[u8])> =
        exchange.headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
    let expected = [("x-why", "a"), ("x-why", "b"), ("content-length", "2"), ("content-type", "text/plain")];
    assert_eq!(headers, expected.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    assert_eq!(exchange.upstream_request, None);
    assert!(envoy.world().seen().is_empty());
    assert_eq!(
        worker_said(&envoy),
        ["create", "0", "/p", "response headers", "0", "response body", "2", "1", "log", "done", "delete"]
    );
}

#[test]
fn of_two_local_responses_the_first_is_sent_and_the_details_are_the_last_ones() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $respond (i32.const 403) @"first" @"one" (i32.const 0) (i32.const 0) (i32.const -1)))
        (drop (call $respond (i32.const 404) @"second" @"two" (i32.const 0) (i32.const 0) (i32.const -1)))
        (i32.const 0))
    "#;
    let exchange = start(body).exchange(0, Request::get("/"));
    assert_eq!(
        (exchange.status, exchange.text().as_str(), exchange.details.as_str()),
        (403, "one", "second")
    );
}

#[test]
fn a_local_response_for_another_context_holds_this_stream() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $set_context (i32.const 1)))
        (call $answer (i32.const 403) @"to nobody")
        (i32.const 0))
    "#;
    let mut envoy = start(body);
    let id = envoy.begin(0, Request::get("/"));
    envoy.run_for(SECOND);
    assert_eq!(envoy.take(id), None);
    assert!(envoy.world().seen().is_empty());
}

#[test]
fn a_local_response_while_the_upstream_works_cancels_that_request() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (drop (call $set_tick (i32.const 100))) (i32.const 1))
      (func (export "proxy_on_tick") (param i32)
        (if (i32.eqz (call $set_context (i32.const 2))) (then (call $answer (i32.const 403) @"no"))))
    "#;
    let body = format!("{body} {PASSES}");
    let world = Scripted::new().reply("upstream", "/", Reply::status(200).after(SECOND));
    let mut envoy = start_in(&body, options(), world);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 403);
    assert!(envoy.world().seen()[0].cancelled);
}

#[test]
fn a_local_response_in_response_headers_replaces_the_upstreams_without_asking_the_plugin_again() {
    let body = r#"
      (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (call $tell @"response headers")
        (call $answer (i32.const 500) @"hidden") (i32.const 0))
    "#;
    let world = Scripted::new().reply("upstream", "/", Reply::body("secret").with_header("x-a", "1"));
    let mut envoy = start_in(body, options(), world);
    let exchange = envoy.exchange(0, Request::get("/"));
    assert_eq!((exchange.status, exchange.text().as_str()), (500, "hidden"));
    assert_eq!(exchange.header("x-a"), None);
    assert_eq!(worker_said(&envoy), ["response headers"]);
}

#[test]
fn a_local_response_after_the_response_has_begun_resets_the_stream() {
    let body = r#"
      (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
        (call $answer (i32.const 500) @"late") (i32.const 0))
    "#;
    let world = Scripted::new().reply("upstream", "/", Reply::body("half"));
    let exchange = start_in(body, options(), world).exchange(0, Request::get("/"));
    assert_eq!((exchange.status, exchange.body.as_slice()), (200, b"".as_slice()));
    assert!(exchange.aborted);
}

#[test]
fn a_paused_request_goes_on_when_a_tick_continues_it() {
    let body = r#"
      (global $stream (mut i32) (i32.const 0))
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (drop (call $set_tick (i32.const 100))) (i32.const 1))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (global.set $stream (local.get 0)) (i32.const 1))
      (func (export "proxy_on_tick") (param i32)
        (if (global.get $stream) (then
          (call $say (call $set_context (global.get $stream)))
          (call $tell_header (i32.const 0) @":path")
          (call $say (call $add_header (i32.const 0) @"x-held" @"yes"))
          (call $say (call $continue (i32.const 0)))
          (call $tell_header (i32.const 0) @":path")
          (global.set $stream (i32.const 0)))))
      (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (call $tell_header (i32.const 0) @":path") (i32.const 0))
    "#;
    let mut envoy = start(body);
    let exchange = envoy.exchange(0, Request::get("/held"));
    assert_eq!(exchange.status, 200);
    assert_eq!(exchange.ended_at, Duration::from_millis(100));
    assert_eq!(exchange.upstream_request.unwrap().header("x-held"), Some(b"yes".as_slice()));
    // Once continued, the request's headers are out of reach: 2 is BadArgument.
    assert_eq!(worker_said(&envoy), ["0", "/held", "0", "0", "2", "2"]);
}

#[test]
fn a_stream_that_has_ended_cannot_be_chosen() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (drop (call $set_tick (i32.const 100))) (i32.const 1))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
      (func (export "proxy_on_log") (param i32) (call $say (local.get 0)))
      (func (export "proxy_on_tick") (param i32) (call $say (call $set_context (i32.const 2))))
    "#;
    let mut envoy = start(body);
    let id = envoy.begin(0, Request::get("/"));
    envoy.leave(id);
    envoy.run_for(Duration::from_millis(150));
    assert_eq!(worker_said(&envoy), ["2", "2"]);
}

#[test]
fn a_client_that_leaves_early_ends_its_stream_at_once() {
    let body = WITNESS.replace("(call $say (local.get 2)) (i32.const 0))", "(i32.const 1))");
    let mut envoy = start(&body);
    let id = envoy.begin(0, Request::get("/"));
    assert_eq!(envoy.take(id), None);
    envoy.leave(id);
    let exchange = envoy.take(id).unwrap();
    assert_eq!((exchange.status, exchange.details.as_str()), (0, "downstream_remote_disconnect"));
    assert!(exchange.aborted);
    assert_eq!((exchange.answered_by, &exchange.upstream_request), (None, &None));
    assert_eq!(worker_said(&envoy), ["create", "request headers", "log", "done", "delete"]);
}

#[test]
fn a_stream_without_a_response_has_no_response_headers_to_log() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $tell_header (i32.const 2) @":status") (i32.const 1))
      (func (export "proxy_on_log") (param i32)
        (call $tell_header (i32.const 0) @":path") (call $tell_header (i32.const 2) @":status"))
    "#;
    let mut envoy = start(body);
    let id = envoy.begin(0, Request::get("/"));
    envoy.leave(id);
    // Before the log this is the wrong phase, BadArgument; in it, it is NotFound.
    assert_eq!(worker_said(&envoy), ["2", "/", "1"]);
}

#[test]
fn a_client_that_leaves_while_the_upstream_works_cancels_that_request() {
    let world = Scripted::new().reply("upstream", "/", Reply::status(200).after(SECOND));
    let mut envoy = start_in(WITNESS, options(), world);
    let id = envoy.begin(0, Request::get("/"));
    envoy.leave(id);
    assert!(envoy.world().seen()[0].cancelled);
    envoy.run_for(SECOND * 2);
    assert!(!worker_said(&envoy).contains(&"response headers".to_owned()));
    assert!(envoy.take(id).unwrap().upstream_request.unwrap().complete);
}

#[test]
fn a_response_can_be_held_and_let_go_from_a_tick() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (drop (call $set_tick (i32.const 100))) (i32.const 1))
      (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 1))
      (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const 1))
      (func (export "proxy_on_tick") (param i32)
        (if (i32.eqz (call $set_context (i32.const 2))) (then
          (drop (call $replace_header (i32.const 2) @"X-A" @"2"))
          (drop (call $continue (i32.const 1))))))
    "#;
    let world = Scripted::new().reply("upstream", "/", Reply::body("held").with_header("x-a", "1"));
    let mut envoy = start_in(body, options(), world);
    let exchange = envoy.exchange(0, Request::get("/"));
    assert_eq!((exchange.text().as_str(), exchange.header("x-a")), ("held", Some(b"2".as_slice())));
    assert_eq!(exchange.ended_at, Duration::from_millis(100));
}

#[test]
fn header_maps_can_be_reached_in_their_phase_and_all_of_them_in_on_log() {
    let body = r#"
      (func $look
        (call $tell_header (i32.const 0) @"HOST")
        (call $tell_header (i32.const 2) @":status")
        (call $say (call $add_header (i32.const 0) @"x-late" @"1")))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $look) (i32.const 0))
      (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (call $look)
        (i32.store (i32.const 20) (i32.const 7))
        (call $say (call $get_pairs (i32.const 0) (i32.const 16) (i32.const 20)))
        (call $say (i32.load (i32.const 20)))
        (i32.const 0))
      (func (export "proxy_on_log") (param i32) (call $look))
      (func (export "proxy_on_done") (param i32) (result i32) (call $look) (i32.const 1))
    "#;
    let mut envoy = start(body);
    envoy.exchange(0, Request::get("/"));
    assert_eq!(
        worker_said(&envoy),
        [
            // Request headers: the response is not there.
            "gate.test",
            "2",
            "0",
            // Response headers: the request is gone, but asking for all of it is no error.
            "2",
            "200",
            "2",
            "0",
            "0",
            // The log: both are there, to read.
            "gate.test",
            "200",
            "2",
            // Afterwards there is nothing any more.
            "2",
            "2",
            "2"
        ]
    );
}

#[test]
fn duplicates_are_kept_apart_in_pairs_and_the_first_is_the_value() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $say (local.get 1))
        (call $tell_header (i32.const 0) @"x-a")
        (call $tell_property @"request\0headers\0x-a")
        (call $say (call $set_pairs (i32.const 0) @pairs(":method: PUT; :path: /; :authority: a; X-New: 1")))
        (i32.const 0))
    "#;
    let mut envoy = start(body);
    let exchange = envoy.exchange(0, Request::get("/").header("X-A", "1").header("x-a", "2"));
    // Four pseudo headers, two of the client's, and the two that Envoy adds.
    assert_eq!(worker_said(&envoy), ["8", "1", "1,2", "0"]);
    let upstream = exchange.upstream_request.unwrap();
    assert_eq!((upstream.header(":method"), upstream.header("x-a")), (Some(b"PUT".as_slice()), None));
    assert_eq!(upstream.header("x-new"), Some(b"1".as_slice()));
}

#[test]
fn a_header_value_that_is_no_text_passes_unchanged() {
    let body = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $clear)
        (call $say (call $get_header (i32.const 0) @"x" (i32.const 16) (i32.const 20)))
        (call $say (i32.load8_u (i32.load (i32.const 16)))) (i32.const 0))"#;
    let mut envoy = start(body);
    let exchange = envoy.exchange(0, Request::get("/").header("x", b"\xff"));
    assert_eq!(worker_said(&envoy), ["0", "255"]);
    assert_eq!(exchange.upstream_request.unwrap().header("x"), Some(b"\xff".as_slice()));
}

#[test]
fn a_closed_stream_is_reset_without_an_answer() {
    let body = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $say (call $close (i32.const 0))) (i32.const 1))"#;
    let exchange = start(body).exchange(0, Request::get("/"));
    assert_eq!((exchange.status, exchange.aborted), (0, true));
    assert_eq!(exchange.details, "wasm_close_stream");
}

#[test]
fn a_request_that_was_refused_before_the_plugin_is_only_logged() {
    let mut envoy = start(WITNESS);
    let request = Request { refused_before_plugin: Some(401), ..Request::get("/") };
    let exchange = envoy.exchange(0, request);
    assert_eq!((exchange.status, exchange.answered_by), (401, Some(AnsweredBy::Envoy)));
    assert_eq!(worker_said(&envoy), ["create", "log", "done", "delete"]);
}

#[test]
fn a_trap_in_response_headers_is_503_and_in_a_begun_response_cuts_it() {
    let trap = |callback: &str| {
        format!(r#"(func (export "{callback}") (param i32 i32 i32) (result i32) unreachable)"#)
    };
    let world = || Scripted::new().reply("upstream", "/", Reply::body("half"));
    let mut envoy = start_in(&trap("proxy_on_response_headers"), options(), world());
    let exchange = envoy.exchange(0, Request::get("/"));
    assert_eq!((exchange.status, exchange.answered_by), (503, Some(AnsweredBy::Envoy)));
    let mut envoy = start_in(&trap("proxy_on_response_body"), options(), world());
    let exchange = envoy.exchange(0, Request::get("/"));
    assert_eq!((exchange.status, exchange.aborted, exchange.text().as_str()), (200, true, ""));
}

#[test]
fn a_trap_in_on_log_ends_the_vm_and_not_the_answer() {
    let body = r#"(func (export "proxy_on_log") (param i32) unreachable)"#;
    let mut envoy = start(body);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    assert_eq!(envoy.vms()[1].state, VmState::Failed);
    assert_eq!(host_said(&envoy).len(), 1);
}

#[test]
fn a_stream_that_a_failed_vm_holds_ends_with_its_time_limit() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
        (if (i32.gt_u (i32.load (i32.const 20)) (i32.const 1)) (then unreachable))
        (i32.const 1))
    "#;
    let mut envoy = start(body);
    let held = envoy.begin(0, Request::get("/"));
    assert_eq!(envoy.exchange(0, Request::get("/trap")).status, 503);
    assert!(!envoy.run_until(SECOND * 299, |envoy| envoy.take(held).is_some()));
    envoy.run_for(SECOND);
    // The answer to the time limit passes the plugin, whose VM has failed, and becomes its failure.
    let exchange = envoy.take(held).unwrap();
    assert_eq!((exchange.status, exchange.details.as_str()), (503, "wasm_fail_stream"));
    assert_eq!(exchange.ended_at, SECOND * 300);
}

#[test]
fn an_upstream_that_fails_is_told_as_envoy_tells_it() {
    let cases = [
        (
            Reply::connect_failure(),
            503,
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
        ),
        (
            Reply::reset_before_headers(),
            503,
            "upstream_reset_before_response_started{connection_termination}",
        ),
        (Reply::refused(), 503, "no_healthy_upstream"),
        (Reply::never(), 504, "response_timeout"),
    ];
    for (reply, status, details) in cases {
        let mut envoy = start_in(WITNESS, options(), Scripted::new().reply("upstream", "/", reply));
        let exchange = envoy.exchange(0, Request::get("/"));
        assert_eq!((exchange.status, exchange.details.as_str()), (status, details));
        assert_eq!(exchange.answered_by, Some(AnsweredBy::Envoy));
        assert!(
            worker_said(&envoy).contains(&"response headers".to_owned()),
            "the plugin sees Envoy's answer"
        );
    }
    let mut envoy = start_in(WITNESS, options(), Scripted::new().reply("upstream", "/", Reply::reset()));
    let exchange = envoy.exchange(0, Request::get("/"));
    assert_eq!((exchange.status, exchange.aborted), (200, true));
    assert_eq!((exchange.details.as_str(), exchange.ended_at), ("via_upstream", Duration::ZERO));
    let mut world = Scripted::new();
    world.remove_cluster("upstream");
    assert_eq!(
        start_in(WITNESS, options(), world).exchange(0, Request::get("/")).details,
        "cluster_not_found"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let body = format!(
        "{WITNESS} {}",
        r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32)
             (drop (call $random_get (i32.const 100) (i32.const 4))) (call $say (i32.load (i32.const 100))) (i32.const 1))"#
    );
    let run = |seed| {
        let mut envoy = start_in(&body, EnvoyOptions { seed, concurrency: 2, ..options() }, Scripted::new());
        let exchange = envoy.exchange(1, Request::post("/", "x"));
        (exchange, envoy.logs().to_vec())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
