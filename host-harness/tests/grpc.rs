//! gRPC of plugins: calls, streams, and what Envoy tells of every way in which they end.
//!
//! What is expected here was seen in Envoy 1.40 with the same guests and real gRPC servers.

mod common;

use std::time::Duration;

use common::{host_said, options, said, start_in, worker_said};
use host_harness::{
    envoy::{Envoy, FailurePolicy, Request, VmRole, VmState},
    world::{GrpcAsked, GrpcEvent, GrpcReply, Live, Origin, Scripted},
};

const SECOND: Duration = Duration::from_secs(1);
/// How Envoy ends a call or stream to which nothing answered.
const UNREACHABLE: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure";
const CUT: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: connection termination";

/// Tells every gRPC callback with its token and number, what it can read, and the status.
const CALLBACKS: &str = r#"
  (func $status
    (drop (call $get_status (i32.const 24) (i32.const 16) (i32.const 20)))
    (call $say (i32.load (i32.const 24))) (call $tell_result))
  (func (export "proxy_on_grpc_receive_initial_metadata") (param $root i32) (param $token i32) (param $headers i32)
    (call $tell @"initial") (call $say (local.get $root)) (call $say (local.get $token)) (call $say (local.get $headers))
    (call $tell_header (i32.const 4) @"a"))
  (func (export "proxy_on_grpc_receive") (param $root i32) (param $token i32) (param $size i32)
    (call $tell @"message") (call $say (local.get $token)) (call $say (local.get $size)) (call $tell_buffer (i32.const 5)))
  (func (export "proxy_on_grpc_receive_trailing_metadata") (param $root i32) (param $token i32) (param $trailers i32)
    (call $tell @"trailing") (call $say (local.get $token)) (call $say (local.get $trailers))
    (call $tell_header (i32.const 5) @"grpc-status") (call $tell_header (i32.const 5) @"grpc-message")
    (call $tell_header (i32.const 5) @"t"))
  (func (export "proxy_on_grpc_close") (param $root i32) (param $token i32) (param $status i32)
    (call $tell @"close") (call $say (local.get $token)) (call $say (local.get $status)) (call $status)
    (call $tell_buffer (i32.const 5)))
  (func $call (param $cluster i32) (param $cluster_size i32) (param $method i32) (param $method_size i32) (param $timeout i32)
    (i32.store (i32.const 24) (i32.const 0))
    (call $say (call $grpc_call (local.get $cluster) (local.get $cluster_size) @"svc.S" (local.get $method) (local.get $method_size)
      @pairs("x-k: v") @"question" (local.get $timeout) (i32.const 24)))
    (call $say (i32.load (i32.const 24))))
  (func $stream (param $cluster i32) (param $cluster_size i32) (param $method i32) (param $method_size i32)
    (i32.store (i32.const 24) (i32.const 0))
    (call $say (call $grpc_stream (local.get $cluster) (local.get $cluster_size) @"svc.S" (local.get $method) (local.get $method_size)
      @pairs("x-k: v") (i32.const 24)))
    (call $say (i32.load (i32.const 24))))
"#;

/// A guest that does this in every request's headers.
fn in_request(action: &str) -> String {
    format!(
        r#"{CALLBACKS} (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {action} (i32.const 0))"#
    )
}

/// Does this in a request and lets everything happen that follows from it.
fn run(action: &str, world: Scripted) -> Envoy<Scripted> {
    let mut envoy = start_in(&in_request(action), options(), world);
    envoy.exchange(0, Request::get("/"));
    envoy.run_for(SECOND * 10);
    envoy
}

const CALL: &str = r#"(call $call @"hub" @"ask" (i32.const 1000))"#;
const STREAM: &str = r#"(call $stream @"hub" @"ask")"#;

/// What is told of a call or a stream to a server that says this.
fn reported(action: &str, reply: GrpcReply) -> Vec<String> {
    worker_said(&run(action, Scripted::new().grpc_reply("hub", "svc.S/ask", reply)))
}

fn answer() -> GrpcReply {
    GrpcReply::silence().headers(&[("A", "1")]).message("answer").status_with(0, "", &[("T", "2")])
}

#[test]
fn a_call_is_told_of_its_answer_alone() {
    assert_eq!(reported(CALL, answer()), ["0", "5", "message", "5", "6", "answer"]);
}

#[test]
fn a_call_is_sent_as_envoy_sends_it() {
    let envoy = run(CALL, Scripted::new().grpc_reply("hub", "svc.S/ask", answer()));
    let seen = &envoy.world().grpc_seen()[0];
    assert_eq!(seen.call.origin, Origin::GrpcCall { vm: VmRole::Worker(0), token: 5 });
    assert_eq!((&seen.messages[..], seen.ended, seen.cancelled), (&["question".into()][..], true, false));
    let headers: Vec<String> = seen
        .call
        .headers
        .iter()
        .map(|(name, value)| format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
        .collect();
    assert_eq!(
        headers,
        [
            ":method=POST",
            ":path=/svc.S/ask",
            ":authority=hub",
            ":scheme=http",
            "te=trailers",
            "grpc-timeout=1000m",
            "content-type=application/grpc",
            "x-k=v",
            "x-envoy-internal=true",
            "x-envoy-expected-rq-timeout-ms=1000",
        ]
    );
}

#[test]
fn a_call_that_fails_is_closed_with_a_status_and_the_details_behind_its_text() {
    let denied = GrpcReply::silence().status(7, "not you");
    assert_eq!(reported(CALL, denied), ["0", "5", "close", "5", "7", "7", "not you{via_upstream}", ""]);
    for (reply, status, text) in [
        (GrpcReply::silence().headers(&[]).status(0, ""), "13", ""),
        (
            GrpcReply::silence().headers(&[]).message("x").then(GrpcEvent::Status {
                code: None,
                message: String::new(),
                metadata: Vec::new(),
            }),
            "2",
            "via_upstream",
        ),
        (GrpcReply::silence().then(GrpcEvent::HttpStatus(500)), "2", "via_upstream"),
        (GrpcReply::silence().then(GrpcEvent::HttpStatus(403)), "7", "via_upstream"),
        (
            GrpcReply::silence().then(GrpcEvent::ConnectFailure),
            "14",
            &format!(
                "{UNREACHABLE}{{upstream_reset_before_response_started{{remote_connection_failure|\
                 delayed_connect_error:_Connection_refused}}}}"
            ),
        ),
        (
            GrpcReply::silence().then(GrpcEvent::Reset),
            "14",
            &format!("{CUT}{{upstream_reset_before_response_started{{connection_termination}}}}"),
        ),
        (
            GrpcReply::silence().headers(&[]).then(GrpcEvent::Reset),
            "13",
            "upstream_reset_after_response_started{connection_termination}",
        ),
        (GrpcReply::silence(), "14", "upstream request timeout{response_timeout}"),
        (GrpcReply::silence().headers(&[]), "13", "response_timeout"),
    ] {
        assert_eq!(reported(CALL, reply), ["0", "5", "close", "5", status, status, text, ""]);
    }
}

#[test]
fn a_call_without_a_time_limit_waits_for_ever() {
    let action = CALL.replace("1000", "0");
    let late = GrpcReply::silence().after(SECOND * 9).headers(&[]).message("late").status(0, "");
    assert_eq!(reported(&action, late), ["0", "5", "message", "5", "4", "late"]);
    assert_eq!(reported(CALL, GrpcReply::silence().after(SECOND * 9).status(0, ""))[2], "close");
}

#[test]
fn a_stream_is_told_of_everything_in_order() {
    let action = format!(
        r#"{STREAM} (call $say (call $grpc_send (i32.const 6) @"one" (i32.const 0))) (call $say (call $grpc_send (i32.const 6) @"two" (i32.const 1)))"#
    );
    let world = Scripted::new().grpc("hub", "svc.S/ask", |_, asked| match asked {
        GrpcAsked::Opened => GrpcReply::silence(),
        GrpcAsked::Sent { message: Some(message), end } => {
            let reply = GrpcReply::silence().after(SECOND).headers(&[("a", "1")]).message(message.clone());
            if end { reply.status_with(0, "", &[("t", "2")]) } else { reply }
        }
        GrpcAsked::Sent { message: None, .. } => GrpcReply::silence(),
    });
    let envoy = run(&action, world);
    // Headers: status, content type, a, and the service time, for the request had ended.
    let mut expected = vec!["0", "6", "0", "0", "initial", "1", "6", "4", "1"];
    expected.extend(["message", "6", "3", "one", "message", "6", "3", "two"]);
    expected.extend(["trailing", "6", "2", "0", "1", "2", "close", "6", "0", "0", "via_upstream", ""]);
    assert_eq!(worker_said(&envoy), expected);
    assert!(envoy.world().grpc_seen()[0].ended);
}

#[test]
fn a_stream_without_headers_is_told_of_empty_ones() {
    // Trailers: status, content type, gRPC status and message.
    let expected = ["0", "6", "initial", "1", "6", "0", "1", "trailing", "6", "4", "7", "not you", "1"];
    let denied = reported(STREAM, GrpcReply::silence().status(7, "not you"));
    assert_eq!(denied[..13], expected);
    assert_eq!(denied[13..], ["close", "6", "7", "7", "not you{via_upstream}", ""]);

    let unreachable = reported(STREAM, GrpcReply::silence().then(GrpcEvent::ConnectFailure));
    assert_eq!(unreachable[7..12], ["trailing", "6", "4", "14", UNREACHABLE]);
    assert_eq!(unreachable[13..16], ["close", "6", "14"]);
}

#[test]
fn a_stream_that_breaks_has_empty_trailers() {
    let cut = reported(STREAM, GrpcReply::silence().headers(&[("a", "1")]).then(GrpcEvent::Reset));
    assert_eq!(cut[2..7], ["initial", "1", "6", "3", "1"]);
    assert_eq!(cut[7..13], ["trailing", "6", "0", "1", "1", "1"]);
    assert_eq!(
        cut[13..],
        ["close", "6", "13", "13", "upstream_reset_after_response_started{connection_termination}", ""]
    );
}

#[test]
fn tokens_count_by_four_for_each_kind() {
    let action = format!(
        r#"{CALL}{STREAM}{CALL}{STREAM} (call $fetch @"hub" @pairs(":method: GET; :path: /; :authority: a") (i32.const 0)) (call $say (i32.load (i32.const 24)))"#
    );
    let said = reported(&action, GrpcReply::silence());
    assert_eq!(said[..10], ["0", "5", "0", "6", "0", "9", "0", "10", "0", "4"]);
}

#[test]
fn an_unknown_cluster_is_a_parse_failure_by_name_and_a_late_close_in_a_service() {
    let by_name = r#"(call $call @"nowhere" @"ask" (i32.const 0)) (call $stream @"nowhere" @"ask") (call $stream @"hub" @"ask")"#;
    // 4 is ParseFailure; no token is taken.
    assert_eq!(reported(by_name, GrpcReply::silence()), ["4", "0", "4", "0", "0", "6"]);

    // A `GrpcService` whose `envoy_grpc.cluster_name` is `nope`, then `hub!`.
    let service = |name: &str| {
        let bytes: String = format!("\x0a\x06\x0a\x04{name}").bytes().map(|b| format!("\\{b:02x}")).collect();
        format!(r#"(data (i32.const 600) "{bytes}")"#)
    };
    let action = in_request(
        r#"(call $stream (i32.const 600) (i32.const 8) @"ask") (call $call (i32.const 600) (i32.const 8) @"ask" (i32.const 0))"#,
    );
    let reported = |name| {
        let world = Scripted::new().grpc_reply("hub!", "svc.S/ask", answer());
        let mut envoy = start_in(&(action.clone() + &service(name)), options(), world);
        envoy.exchange(0, Request::get("/"));
        envoy.run_for(SECOND);
        worker_said(&envoy)
    };
    // 10 is InternalFailure; the close comes all the same, once the callback has returned.
    let close = |token| ["close", token, "14", "14", "Cluster not available", ""];
    assert_eq!(reported("nope"), [&["10", "0", "10", "0"][..], &close("6"), &close("5")].concat());
    assert_eq!(reported("hub!")[..4], ["0", "6", "0", "5"]);
}

#[test]
fn a_name_that_reads_as_a_service_is_found_out_before_envoy_dies_of_it() {
    let envoy =
        run(r#"(call $stream @"h2" @"ask")"#, Scripted::new().grpc_reply("h2", "svc.S/ask", answer()));
    assert_eq!(worker_said(&envoy), ["10", "0"]);
    assert!(host_said(&envoy)[0].contains("of which Envoy 1.40 dies"), "{:?}", host_said(&envoy));
}

#[test]
fn without_a_host_the_hostcall_fails_and_the_close_comes_all_the_same() {
    let text = "no healthy upstream{no_healthy_upstream}";
    assert_eq!(
        reported(CALL, GrpcReply::refused()),
        ["10", "0", "close", "5", "14", "14", text, ""],
        "a call takes a token"
    );
    let stream = reported(STREAM, GrpcReply::refused());
    assert_eq!(stream[..7], ["10", "0", "initial", "1", "6", "0", "1"]);
    assert_eq!(stream[7..12], ["trailing", "6", "4", "14", "no healthy upstream"]);
    assert_eq!(stream[13..], ["close", "6", "14", "14", text, ""]);
}

#[test]
fn hostcalls_about_tokens_of_another_kind_or_of_nothing_are_refused() {
    let action: String =
        ["grpc_cancel", "grpc_close"]
            .iter()
            .flat_map(|function| (4..8).map(move |token| (function, token)))
            .map(|(function, token)| format!("(call $say (call ${function} (i32.const {token})))"))
            .chain((4..8).map(|token| {
                format!(r#"(call $say (call $grpc_send (i32.const {token}) @"m" (i32.const 0)))"#)
            }))
            .collect();
    // 2 is BadArgument, 1 is NotFound: tokens of HTTP calls, calls, streams, and of no kind.
    let kinds = ["2", "1", "1", "2"];
    assert_eq!(reported(&action, answer()), [kinds, kinds, ["2", "2", "1", "2"]].concat());
}

#[test]
fn what_was_cancelled_is_never_told_of_and_the_server_sees_it() {
    let action = format!(
        "{CALL}{STREAM} (call $say (call $grpc_cancel (i32.const 5))) (call $say (call $grpc_cancel (i32.const 6)))
         (call $say (call $grpc_cancel (i32.const 6)))"
    );
    let envoy = run(&action, Scripted::new().grpc_reply("hub", "svc.S/ask", answer()));
    assert_eq!(worker_said(&envoy), ["0", "5", "0", "6", "0", "0", "1"]);
    assert!(envoy.world().grpc_seen().iter().all(|seen| seen.cancelled));
}

#[test]
fn a_stream_that_the_guest_closed_still_hears_the_server_and_then_is_gone() {
    let action = format!("{STREAM} (call $say (call $grpc_close (i32.const 6)))");
    let mut envoy = start_in(
        &in_request(&action),
        options(),
        Scripted::new().grpc_reply("hub", "svc.S/ask", GrpcReply::silence().after(SECOND).status(0, "")),
    );
    envoy.exchange(0, Request::get("/"));
    let seen = &envoy.world().grpc_seen()[0];
    assert_eq!((seen.ended, seen.cancelled), (true, false));
    envoy.run_for(SECOND * 2);
    assert_eq!(worker_said(&envoy)[3..6], ["initial", "1", "6"]);
    assert_eq!(worker_said(&envoy)[14..17], ["close", "6", "0"]);
    // The next stream is 10; there is nothing left of 6 to close.
    envoy.exchange(0, Request::get("/"));
    assert_eq!(worker_said(&envoy)[20..], ["0", "10", "1"]);
}

#[test]
fn a_stream_that_the_server_closed_is_the_guests_until_it_closes_it_too() {
    let action = "(if (i32.load (i32.const 700))
        (then (call $say (call $grpc_send (i32.const 6) (i32.const 0) (i32.const 1) (i32.const 0)))
          (call $say (call $grpc_close (i32.const 6))) (call $say (call $grpc_close (i32.const 6))))
        (else (i32.store (i32.const 700) (i32.const 1)) STREAM))"
        .replace("STREAM", STREAM);
    let mut envoy = start_in(
        &in_request(&action),
        options(),
        Scripted::new().grpc_reply("hub", "svc.S/ask", GrpcReply::silence().status(0, "")),
    );
    envoy.exchange(0, Request::get("/"));
    envoy.run_for(SECOND);
    let before = worker_said(&envoy).len();
    envoy.exchange(0, Request::get("/"));
    assert_eq!(worker_said(&envoy)[before..], ["0", "0", "1"]);
    assert!(envoy.world().grpc_seen()[0].messages.is_empty());
}

#[test]
fn a_vm_that_fails_takes_its_calls_and_streams_with_it() {
    let mut options = options();
    options.plugin.failure_policy = FailurePolicy::FailClosed;
    let body = in_request(&format!("{CALL}{STREAM} unreachable"));
    let mut envoy = start_in(&body, options, Scripted::new().grpc_reply("hub", "svc.S/ask", answer()));
    envoy.exchange(0, Request::get("/"));
    assert_eq!(envoy.vms()[1].state, VmState::Failed);
    assert!(envoy.world().grpc_seen().iter().all(|seen| seen.cancelled));
    envoy.run_for(SECOND * 2);
    assert_eq!(worker_said(&envoy), ["0", "5", "0", "6"]);
}

#[test]
fn a_callback_may_cancel_what_it_is_told_of() {
    let body = in_request(STREAM).replace(
        r#"(call $tell_header (i32.const 4) @"a"))"#,
        "(call $say (call $grpc_cancel (local.get $token))))",
    );
    let mut envoy = start_in(&body, options(), Scripted::new().grpc_reply("hub", "svc.S/ask", answer()));
    envoy.exchange(0, Request::get("/"));
    envoy.run_for(SECOND);
    assert_eq!(worker_said(&envoy), ["0", "6", "initial", "1", "6", "3", "0"]);
}

#[test]
fn a_guest_without_the_callbacks_is_not_called() {
    let body = in_request(CALL).replace(r#"(export "proxy_on_grpc_receive")"#, "");
    let mut envoy = start_in(&body, options(), Scripted::new().grpc_reply("hub", "svc.S/ask", answer()));
    envoy.exchange(0, Request::get("/"));
    envoy.run_for(SECOND);
    assert_eq!(worker_said(&envoy), ["0", "5"]);
}

#[test]
fn a_live_world_has_no_grpc_and_says_so() {
    let body = in_request(r#"(call $call @"hub" @"ask" (i32.const 0)) (call $stream @"hub" @"ask")"#);
    let mut envoy = start_in(&body, options(), Live::new().unwrap());
    envoy.exchange(0, Request::get("/"));
    assert_eq!(worker_said(&envoy), ["10", "0", "10", "0"]);
    assert_eq!(host_said(&envoy).len(), 2);
    assert_eq!(said(&envoy).len(), 4);
}
