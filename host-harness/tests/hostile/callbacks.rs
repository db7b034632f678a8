//! A guest that traps, never returns or recurses without end: in every callback, and before the first one.

use std::time::Duration;

use host_harness::envoy::{Envoy, EnvoyOptions, LoadFailure, Request, StartError, VmState};
use host_harness::{abi::VmLimits, world::Scripted};

use crate::{assert_host_serves, common, last_words, load, start, whole_request};

/// Ways not to return, and what the trap says of each.
const DEEDS: [(&str, &str); 6] = [
    ("(loop $for_ever (br $for_ever))", "exceeded its limit of"),
    ("(unreachable)", "`unreachable` instruction executed"),
    ("(call $recurse)", "call stack exhausted"),
    ("(drop (i32.load (i32.const -4)))", "out of bounds memory access"),
    ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "integer divide by zero"),
    ("(call_indirect (i32.const 7))", "uninitialized element"),
];

/// Callbacks of a VM's start, which all VMs make: parameters, and whether they return something.
const OF_THE_START: [(&str, usize, bool); 3] =
    [("proxy_on_context_create", 2, false), ("proxy_on_vm_start", 2, true), ("proxy_on_configure", 2, true)];

/// Callbacks that follow from one request to `/evil`, with what the client gets where the deed is done in one.
const OF_A_STREAM: [(&str, usize, bool, u16); 17] = [
    ("proxy_on_context_create", 2, false, 503),
    ("proxy_on_request_headers", 3, true, 503),
    ("proxy_on_request_body", 3, true, 503),
    ("proxy_on_request_trailers", 2, true, 503),
    ("proxy_on_response_headers", 3, true, 503),
    ("proxy_on_response_body", 3, true, 200),
    ("proxy_on_response_trailers", 2, true, 200),
    ("proxy_on_log", 1, false, 200),
    ("proxy_on_done", 1, true, 200),
    ("proxy_on_delete", 1, false, 200),
    ("proxy_on_tick", 1, false, 200),
    // The notice comes while the upstream has not answered yet.
    ("proxy_on_queue_ready", 2, false, 503),
    ("proxy_on_http_call_response", 5, false, 200),
    ("proxy_on_grpc_receive_initial_metadata", 3, false, 200),
    ("proxy_on_grpc_receive", 3, false, 200),
    ("proxy_on_grpc_receive_trailing_metadata", 3, false, 200),
    ("proxy_on_grpc_close", 3, false, 200),
];

#[test]
fn whatever_a_callback_does_the_vm_ends_with_its_name_and_the_cause_and_others_go_on() {
    for (export, parameters, returns, status) in OF_A_STREAM {
        for (deed, cause) in DEEDS {
            let what = format!("{deed} in {export}");
            let mut envoy =
                start(&load(&common::guest_text(&hostile_stream(export, parameters, returns, deed))));
            assert_eq!(envoy.exchange(0, Request::get("/")).status, 200, "{what}: harmless until told");
            let exchange = envoy.exchange(0, whole_request("/evil"));
            envoy.run_for(Duration::from_secs(1));
            // The context of the next stream is the first that is made with the deed in it.
            let exchange = if export == "proxy_on_context_create" {
                envoy.exchange(0, Request::get("/"))
            } else {
                exchange
            };
            assert_eq!(exchange.status, status, "{what}");
            assert_eq!(envoy.vms()[1].state, VmState::Failed, "{what}");
            let words = last_words(&envoy);
            assert!(
                words.starts_with(&format!("`{export}` failed: ")) && words.contains(cause),
                "{what}: {words}"
            );
            assert_host_serves(&mut envoy, &what);
            // And this worker comes back, with a guest that knows nothing of it.
            envoy.run_for(Duration::from_secs(5));
            assert_eq!(envoy.exchange(0, Request::get("/")).status, 200, "{what}");
            assert_eq!(envoy.metrics()["wasm.gate.vm_reload_success"], 1, "{what}");
        }
    }
}

#[test]
fn whatever_happens_before_the_first_request_envoy_does_not_start_and_says_where() {
    let starts = [("_start", 0, false), ("_initialize", 0, false), ("main", 2, true)];
    for (export, parameters, returns) in OF_THE_START.into_iter().chain(starts) {
        for (deed, cause) in DEEDS {
            let mut body = recursion() + &function(export, parameters, returns, deed);
            if export == "main" {
                body += r#"(func (export "_initialize"))"#;
            }
            let error = refused(&common::guest_text(&body));
            let LoadFailure::Trap(trap) = &error.reason else { panic!("{export}: {error}") };
            assert_eq!(trap.callback, export, "{deed}");
            assert!(trap.reason.contains(cause), "{deed} in {export}: {error}");
            assert!(error.to_string().contains(&format!("the canary VM: `{export}` failed")), "{error}");
        }
    }
}

#[test]
fn a_start_section_that_does_harm_is_an_error_of_the_instantiation() {
    for (deed, cause) in DEEDS {
        let body = recursion() + &format!("(func $evil {deed}) (start $evil)");
        let error = refused(&common::guest_text(&body));
        let LoadFailure::Trap(trap) = &error.reason else { panic!("{error}") };
        assert_eq!(trap.callback, "instantiation");
        assert!(trap.reason.contains(cause), "{deed}: {error}");
    }
}

#[test]
fn hostcalls_before_the_first_callback_are_those_that_envoy_allows() {
    // What Envoy allows while a module starts: to log, and to ask for arguments, environment, clock and randomness.
    let allowed = [
        r#"(call $tell @"hello")"#,
        "(drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 0) (i32.const 24)))",
        "(drop (call $random_get (i32.const 32) (i32.const 8)))",
        "(drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 32)))",
        "(drop (call $environ_sizes_get (i32.const 16) (i32.const 20)))",
    ];
    let refused_calls = [
        ("(drop (call $get_log_level (i32.const 16)))", "proxy_get_log_level"),
        ("(drop (call $set_tick (i32.const 1)))", "proxy_set_tick_period_milliseconds"),
        (r#"(drop (call $set_shared @"k" @"v" (i32.const 0)))"#, "proxy_set_shared_data"),
        (r#"(drop (call $get_property @"plugin_name" (i32.const 16) (i32.const 20)))"#, "proxy_get_property"),
        (r#"(drop (call $register_queue @"q" (i32.const 24)))"#, "proxy_register_shared_queue"),
        (r#"(drop (call $define_metric (i32.const 0) @"m" (i32.const 24)))"#, "proxy_define_metric"),
        (r#"(call $answer (i32.const 403) @"no")"#, "proxy_send_local_response"),
        ("(drop (call $done))", "proxy_done"),
        ("(drop (call $grpc_cancel (i32.const 1)))", "proxy_grpc_cancel"),
        (
            r#"(call $fetch @"side" @pairs(":method: GET; :path: /; :authority: a") (i32.const 1))"#,
            "proxy_http_call",
        ),
    ];
    for export in ["_start", "_initialize"] {
        for call in allowed {
            let mut envoy = start(&load(&common::guest_text(&function(export, 0, false, call))));
            assert_eq!(envoy.exchange(0, Request::get("/")).status, 200, "{call}");
        }
        for (call, name) in refused_calls {
            let error = refused(&common::guest_text(&function(export, 0, false, call)));
            let expected = format!("`{export}` failed: restricted_callback: `{name}` cannot be called while");
            assert!(error.to_string().contains(&expected), "{error}");
        }
    }
}

#[test]
fn proxy_done_out_of_turn_is_a_status_and_ends_nothing() {
    let calls = "(call $say (call $done)) (call $say (call $done))";
    for (export, parameters, returns, _) in OF_A_STREAM {
        let mut envoy =
            start(&load(&common::guest_text(&hostile_stream(export, parameters, returns, calls))));
        envoy.exchange(0, whole_request("/evil"));
        envoy.run_for(Duration::from_millis(350));
        envoy.exchange(0, Request::get("/"));
        let said = common::worker_said(&envoy);
        assert!(said.len() >= 2 && said.iter().all(|status| status == "1"), "{export}: {said:?}");
        assert_eq!(envoy.vms()[1].state, VmState::Running, "{export}");
        assert_host_serves(&mut envoy, export);
    }
}

#[test]
fn a_root_that_is_never_done_does_not_keep_the_process_from_ending() {
    let body = r#"
      (func (export "proxy_on_done") (param i32) (result i32) (call $tell @"not yet") (i32.const 0))
      (func (export "proxy_on_delete") (param i32) (call $tell @"deleted"))
    "#;
    let mut envoy = common::start(body);
    envoy.shut_down();
    envoy.run_for(Duration::from_secs(60));
    envoy.shut_down();
    assert!(!common::said(&envoy).iter().any(|line| line.contains("deleted")));
}

/// A function that does the deed and then returns 1.
fn function(export: &str, parameters: usize, returns: bool, deed: &str) -> String {
    let parameters = "i32 ".repeat(parameters);
    let (result, value) = if returns { ("(result i32)", "(i32.const 1)") } else { ("", "") };
    format!(r#"(func (export "{export}") (param {parameters}) {result} {deed} {value})"#)
}

/// A guest that is harmless until a request to a path longer than "/", from which on one callback does the deed, and in
/// which every callback comes up.
fn hostile_stream(export: &str, parameters: usize, returns: bool, deed: &str) -> String {
    let guarded = format!("(if (global.get $evil) (then {deed}))");
    let turn = r#"
      (drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
      (if (i32.gt_u (i32.load (i32.const 20)) (i32.const 1)) (then
        (global.set $evil (i32.const 1))
        (drop (call $set_tick (i32.const 100)))
        (drop (call $register_queue @"q" (i32.const 24)))
        (drop (call $enqueue (i32.load (i32.const 24)) @"item"))
        (drop (call $http_call @"side" @pairs(":method: GET; :path: /; :authority: a") (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 24)))
        (drop (call $grpc_stream @"hub" @"svc.S" @"Ask" (i32.const 0) (i32.const 0) (i32.const 24)))))
    "#;
    let mut body = recursion() + "(global $evil (mut i32) (i32.const 0))";
    for (name, count, gives, _) in OF_A_STREAM {
        let setting = if name == "proxy_on_request_headers" { turn } else { "" };
        let act = if name == export { guarded.as_str() } else { "" };
        let words = "i32 ".repeat(count);
        // 0 lets a stream go on, and 1 lets a context be done.
        let value = if name == "proxy_on_done" { "(i32.const 1)" } else { "(i32.const 0)" };
        let (result, value) = if gives { ("(result i32)", value) } else { ("", "") };
        body += &format!(r#"(func (export "{name}") (param {words}) {result} {setting} {act} {value})"#);
    }
    debug_assert!(OF_A_STREAM.iter().any(|row| (row.0, row.1, row.2) == (export, parameters, returns)));
    body
}

fn recursion() -> String {
    // The addition after the call keeps it from being made into a loop.
    "(table 8 funcref)
     (func $deeper (param i64) (result i64)
       (i64.add (call $deeper (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
     (func $recurse (drop (call $deeper (i64.const 1))))"
        .to_owned()
}

fn refused(text: &str) -> StartError {
    let limits = VmLimits { callback_fuel: Some(50_000_000), ..VmLimits::default() };
    let options = EnvoyOptions { limits, ..common::options() };
    match Envoy::start(&load(text), options, Scripted::new()) {
        Ok(_) => panic!("it started: {text}"),
        Err(error) => error,
    }
}
