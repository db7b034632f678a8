//! HTTP calls of a plugin: how they are taken or refused, and every way in which they are answered.

mod common;

use std::time::Duration;

use common::{options, said, start, start_in, worker_said};
use host_harness::{
    envoy::{AnsweredBy, Envoy, FailurePolicy, Request, VmRole, VmState},
    world::{Origin, Reply, Scripted},
};

const SECOND: Duration = Duration::from_secs(1);

/// Tells what a call's callback is given.
const ON_RESPONSE: &str = r#"
  (func (export "proxy_on_http_call_response") (param $root i32) (param $token i32) (param $headers i32) (param $body i32) (param $trailers i32)
    (call $say (local.get $token)) (call $say (local.get $headers)) (call $say (local.get $body)) (call $say (local.get $trailers))
    (call $tell_header (i32.const 6) @":status")
    (call $tell_buffer (i32.const 4))
    (call $say (call $get_status (i32.const 24) (i32.const 16) (i32.const 20)))
    (call $say (i32.load (i32.const 24)))
    (call $tell_result))
"#;

/// Calls `/a` of `hub` with a time limit of a second on each tick, once a second on the worker.
fn caller(extra: &str) -> String {
    format!(
        "{ON_RESPONSE} {extra} {}",
        r#"
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (if (i32.eq (call $count) (i32.const 3)) (then (drop (call $set_tick (i32.const 1000))))) (i32.const 1))
      (func (export "proxy_on_tick") (param i32)
        (drop (call $set_tick (i32.const 0)))
        (call $fetch @"hub" @pairs(":method: GET; :path: /a; :authority: hub.test") (i32.const 1000)))
    "#
    )
}

#[test]
fn an_answer_comes_to_the_root_with_its_headers_body_and_trailers() {
    let reply = Reply::body("bundle").with_header("ETag", "1").with_trailer("t", "1").after(SECOND / 2);
    let mut envoy = start_in(&caller(""), options(), Scripted::new().reply("hub", "/a", reply));
    envoy.run_for(SECOND * 2);
    // Ok; token 4; status, etag and service time; 6 bytes; 1 trailer; no failed call before, so status 0 and no text.
    assert_eq!(worker_said(&envoy), ["0", "4", "3", "6", "1", "200", "bundle", "0", "0", ""]);
    let call = &envoy.world().seen()[0];
    assert_eq!(call.at, SECOND);
    assert_eq!(call.call.origin, Origin::HttpCall { vm: VmRole::Worker(0), token: 4 });
    assert_eq!(call.call.header("x-envoy-internal"), Some(b"true".as_slice()));
    assert_eq!(call.call.header("x-envoy-expected-rq-timeout-ms"), Some(b"1000".as_slice()));
}

#[test]
fn the_response_of_a_call_cannot_be_reached_after_its_callback() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $tell_buffer (i32.const 4)) (call $tell_header (i32.const 6) @":status") (i32.const 0))
    "#;
    let mut envoy = start_in(&caller(body), options(), Scripted::new().cluster("hub"));
    envoy.run_for(SECOND * 2);
    envoy.exchange(0, Request::get("/"));
    assert_eq!(worker_said(&envoy)[10..], ["1", "2"]);
}

#[test]
fn failures_on_the_wire_are_told_as_envoy_tells_them() {
    let connect =
        "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure";
    let reset =
        "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
    for (reply, status, text) in [
        (Reply::connect_failure(), "503", connect),
        (Reply::reset_before_headers(), "503", reset),
        (Reply::never(), "504", "upstream request timeout"),
    ] {
        let mut envoy = start_in(&caller(""), options(), Scripted::new().reply("hub", "/a", reply));
        envoy.run_for(SECOND * 3);
        let length = text.len().to_string();
        assert_eq!(worker_said(&envoy), ["0", "4", "3", &length, "0", status, text, "0", "0", ""]);
    }
}

#[test]
fn a_reset_has_no_headers_and_a_status_to_ask_for() {
    let mut envoy = start_in(&caller(""), options(), Scripted::new().reply("hub", "/a", Reply::reset()));
    envoy.run_for(SECOND * 3);
    assert_eq!(worker_said(&envoy), ["0", "4", "0", "0", "0", "2", "1", "0", "11", "reset"]);
}

#[test]
fn after_a_reset_the_code_stays_and_its_text_goes() {
    let body = caller("").replace("(drop (call $set_tick (i32.const 0)))", "");
    let mut world = Scripted::new().cluster("hub");
    world.queue("hub", Reply::reset());
    let mut envoy = start_in(&body, options(), world);
    envoy.run_for(SECOND * 2);
    assert_eq!(worker_said(&envoy)[8..10], ["11", "reset"]);
    assert_eq!(worker_said(&envoy)[18..20], ["11", ""]);
}

#[test]
fn a_body_of_32_mebibytes_arrives_and_one_byte_more_is_a_reset() {
    let respond = |length: usize| {
        let body = caller("").replace("(call $tell_buffer (i32.const 4))", "");
        let world = Scripted::new().reply("hub", "/a", Reply::body(vec![0; length]));
        let mut envoy = start_in(&body, options(), world);
        envoy.run_for(SECOND * 2);
        worker_said(&envoy)[1..4].to_vec()
    };
    assert_eq!(respond(33_554_432), ["4", "2", "33554432"]);
    assert_eq!(respond(33_554_433), ["4", "0", "0"]);
}

#[test]
fn a_call_is_refused_for_an_unknown_cluster_missing_pseudo_headers_or_a_negative_time_limit() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $fetch @"nowhere" @pairs(":method: GET; :path: /; :authority: a") (i32.const 0))
        (call $fetch @"hub" @pairs(":path: /; :authority: a") (i32.const 0))
        (call $fetch @"hub" @pairs(":method: GET; :authority: a") (i32.const 0))
        (call $fetch @"hub" @pairs(":method: GET; :path: /") (i32.const 0))
        (call $fetch @"hub" @"no pairs" (i32.const 0))
        (call $fetch @"hub" @pairs(":method: GET; :path: /; :authority: a") (i32.const -1))
        (call $fetch @"hub" @pairs(":method: GET; :path: /; :authority: a") (i32.const 0))
        (call $say (i32.load (i32.const 24)))
        (i32.const 0))
    "#;
    let mut envoy = start_in(body, options(), Scripted::new().cluster("hub"));
    envoy.exchange(0, Request::get("/"));
    // 2 is BadArgument. None of them took a token.
    assert_eq!(worker_said(&envoy), ["2", "2", "2", "2", "2", "2", "0", "4"]);
}

#[test]
fn a_call_without_a_host_fails_inline_and_is_never_answered() {
    let mut envoy = start_in(&caller(""), options(), Scripted::new().reply("hub", "/a", Reply::refused()));
    envoy.run_for(SECOND * 60);
    assert_eq!(worker_said(&envoy), ["10"]);
}

#[test]
fn tokens_are_multiples_of_four_in_every_vm() {
    let body = r#"
      (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32) (call $say (local.get 1)))
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $fetch @"hub" @pairs(":method: GET; :path: /; :authority: a") (i32.const 0))
        (call $fetch @"hub" @pairs(":method: GET; :path: /; :authority: a") (i32.const 0))
        (i32.const 1))
    "#;
    let mut envoy = start_in(body, options(), Scripted::new().cluster("hub"));
    // Nothing is answered before Envoy runs.
    assert_eq!(said(&envoy).len(), 6);
    envoy.run_for(SECOND);
    assert_eq!(said(&envoy)[6..], ["main: 4", "main: 8", "worker 0: 4", "worker 0: 8"]);
    // The canary's calls were made, and forgotten with it.
    let cancelled: Vec<bool> = envoy.world().seen().iter().map(|seen| seen.cancelled).collect();
    assert_eq!(cancelled, [true, true, false, false, false, false]);
}

#[test]
fn a_paused_stream_is_resumed_or_denied_by_the_answer_it_waits_for() {
    let mut envoy = start_in(WAITING, options(), Scripted::new());
    envoy.world_mut().queue("hub", Reply::status(200).after(SECOND));
    let allowed = envoy.exchange(0, Request::get("/"));
    assert_eq!((allowed.status, allowed.answered_by), (200, Some(AnsweredBy::Upstream)));
    assert_eq!(allowed.ended_at, SECOND);
    envoy.world_mut().queue("hub", Reply::status(401).after(SECOND));
    let denied = envoy.exchange(0, Request::get("/"));
    assert_eq!((denied.status, denied.answered_by), (403, Some(AnsweredBy::LocalResponse)));
    assert_eq!(denied.upstream_request, None);
}

#[test]
fn an_answer_comes_also_when_the_client_has_left() {
    let mut envoy = start_in(WAITING, options(), Scripted::new());
    envoy.world_mut().queue("hub", Reply::status(200).after(SECOND));
    let id = envoy.begin(0, Request::get("/"));
    envoy.leave(id);
    envoy.run_for(SECOND * 2);
    // The stream cannot be chosen any more: 2 is BadArgument.
    assert_eq!(worker_said(&envoy), ["2"]);
    assert!(!envoy.world().seen()[0].cancelled);
}

#[test]
fn a_trap_in_an_answer_ends_the_vm_and_its_other_calls() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $fetch @"hub" @pairs(":method: GET; :path: /1; :authority: a") (i32.const 0))
        (call $fetch @"hub" @pairs(":method: GET; :path: /2; :authority: a") (i32.const 0))
        (i32.const 0))
      (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32) unreachable)
    "#;
    let mut options = options();
    options.plugin.failure_policy = FailurePolicy::FailClosed;
    let world = Scripted::new().script("hub", |_, _| Reply::status(200).after(SECOND));
    let mut envoy = start_in(body, options, world);
    envoy.exchange(0, Request::get("/"));
    envoy.run_for(SECOND * 2);
    let worker = &envoy.vms()[1];
    assert_eq!((worker.state, worker.callbacks["proxy_on_http_call_response"]), (VmState::Failed, 1));
    let cancelled: Vec<bool> = envoy
        .world()
        .seen()
        .iter()
        .filter(|seen| matches!(seen.call.origin, Origin::HttpCall { .. }))
        .map(|seen| seen.cancelled)
        .collect();
    assert_eq!(cancelled, [false, true]);
}

#[test]
fn a_call_carries_its_body_with_its_length() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $say (call $http_call @"hub" @pairs(":method: POST; :path: /; :authority: a; X-A: 1") @"body" @pairs("t: 1")
          (i32.const 0) (i32.const 24)))
        (i32.const 0))
    "#;
    let mut envoy = start_in(body, options(), Scripted::new().cluster("hub"));
    envoy.exchange(0, Request::get("/"));
    let call = &envoy.world().seen()[0].call;
    assert_eq!(
        (call.body.as_ref(), call.header("content-length")),
        (b"body".as_slice(), Some(b"4".as_slice()))
    );
    assert_eq!((call.header("x-a"), call.trailers.len()), (Some(b"1".as_slice()), 1));
    assert_eq!(call.header("x-envoy-expected-rq-timeout-ms"), None);
}

#[test]
fn a_bad_place_for_the_token_is_found_before_anything_is_sent() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $say (call $http_call @"hub" @pairs(":method: GET; :path: /; :authority: a") (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -2)))
        (i32.const 0))
    "#;
    let mut envoy = start_in(body, options(), Scripted::new().cluster("hub"));
    envoy.exchange(0, Request::get("/"));
    assert_eq!(worker_said(&envoy), ["6"]);
    assert!(envoy.world().seen().iter().all(|seen| seen.call.cluster == "upstream"));
}

#[test]
fn without_a_callback_for_answers_they_come_to_nobody() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $fetch @"upstream" @pairs(":method: GET; :path: /; :authority: a") (i32.const 0)) (i32.const 0))
    "#;
    let mut envoy: Envoy<Scripted> = start(body);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    envoy.run_for(SECOND);
    assert_eq!(envoy.vms()[1].state, VmState::Running);
}

/// Asks `hub` about every request and goes by its status.
const WAITING: &str = r#"
  (global $stream (mut i32) (i32.const 0))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (global.set $stream (local.get 0))
    (drop (call $http_call @"hub" @pairs(":method: GET; :path: /; :authority: a") (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 24)))
    (i32.const 1))
  (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
    (drop (call $get_header (i32.const 6) @":status" (i32.const 16) (i32.const 20)))
    (if (call $set_context (global.get $stream))
      (then (call $say (i32.const 2)))
      (else
        (if (i32.eq (i32.load8_u (i32.load (i32.const 16))) (i32.const 50))
          (then (drop (call $continue (i32.const 0))))
          (else (call $answer (i32.const 403) @"denied"))))))
"#;
