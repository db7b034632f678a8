//! Hostcalls that belong to no stream in particular: what they answer, and what a hostile guest gets.

mod common;

use bytes::Bytes;
use common::{host_said, options, start, start_in, worker_said};
use host_harness::{
    abi::Status,
    envoy::{EnvoyOptions, ForeignFunction, Histogram, Request, VmState},
    world::Scripted,
};

#[test]
fn a_bad_pointer_is_a_status_and_never_a_fault_of_the_host() {
    // 6 is InvalidMemoryAccess. Each call has one bad pointer or length: outside, over the edge, or wrapping.
    let body = in_request(
        r#"
        (call $say (call $log (i32.const 2) (i32.const -1) (i32.const 1)))
        (call $say (call $log (i32.const 2) (i32.const 8) (i32.const -1)))
        (call $say (call $get_log_level (i32.const -4)))
        (call $say (call $get_log_level (i32.const -2)))
        (call $say (call $get_time (i32.const 0x7fffffff)))
        (call $say (call $get_property (i32.const -8) (i32.const 8) (i32.const 16) (i32.const 20)))
        (call $say (call $get_property @"plugin_name" (i32.const -1) (i32.const 20)))
        (call $say (call $get_property @"plugin_name" (i32.const 16) (i32.const -1)))
        (call $say (call $set_property @"a" (i32.const -1) (i32.const 9)))
        (call $say (call $set_shared (i32.const -1) (i32.const 2) @"v" (i32.const 0)))
        (call $say (call $register_queue @"q" (i32.const -1)))
        (call $say (call $get_header (i32.const 0) @":path" (i32.const -1) (i32.const 20)))
        (call $say (call $get_pairs (i32.const 0) (i32.const -1) (i32.const 20)))
        (call $say (call $set_pairs (i32.const 0) (i32.const -1) (i32.const 4)))
        (call $say (call $define_metric (i32.const 0) (i32.const -1) (i32.const 4) (i32.const 24)))
        (call $say (call $respond (i32.const 403) (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 9) (i32.const 0) (i32.const 0) (i32.const -1)))
        (call $say (call $call_foreign (i32.const -1) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 20)))
    "#,
    );
    let mut envoy = start(&body);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    assert_eq!(worker_said(&envoy), vec!["6"; 17]);
    assert_eq!(envoy.vms()[1].state, VmState::Running);
}

#[test]
fn an_allocator_that_gives_nothing_or_nonsense_is_a_status_too() {
    for (pointer, status) in [("0", "6"), ("-16", "6")] {
        let text = common::guest_text(&in_request(r#"(call $tell_property @"plugin_name")"#));
        let begin = text.find("(func $malloc").unwrap();
        let end = text.find(";; Logs text at level info.").unwrap();
        let malloc = format!(
            r#"(func $malloc (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const {pointer}))"#
        );
        let text = format!("{}{malloc}{}", &text[..begin], &text[end..]);
        let module = host_harness::abi::Module::load(common::runtime(), text.as_bytes()).unwrap();
        let mut envoy = host_harness::envoy::Envoy::start(&module, options(), Scripted::new()).unwrap();
        envoy.exchange(0, Request::get("/"));
        assert_eq!(worker_said(&envoy), [status]);
    }
}

#[test]
fn types_out_of_range_are_bad_arguments_before_their_pointers_are_looked_at() {
    let body = in_request(
        r#"
        (call $say (call $log (i32.const 6) (i32.const -1) (i32.const 1)))
        (call $say (call $get_header (i32.const 8) (i32.const -1) (i32.const 1) (i32.const 16) (i32.const 20)))
        (call $say (call $get_pairs (i32.const 8) (i32.const -1) (i32.const -1)))
        (call $say (call $get_buffer (i32.const 9) (i32.const 0) (i32.const 1) (i32.const -1) (i32.const -1)))
        (call $say (call $continue (i32.const 4)))
        (call $say (call $define_metric (i32.const 3) @"m" (i32.const 24)))
    "#,
    );
    let mut envoy = start(&body);
    envoy.exchange(0, Request::get("/"));
    assert_eq!(worker_said(&envoy), vec!["2"; 6]);
}

#[test]
fn pairs_that_are_malformed_are_an_empty_map() {
    let body = in_request(
        r#"
        (call $say (call $respond (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
          @"\01\0\0\0" (i32.const -1)))
    "#,
    );
    let exchange = start(&body).exchange(0, Request::get("/"));
    assert_eq!((exchange.status, exchange.headers.len()), (403, 0));
}

#[test]
fn a_function_that_is_not_here_says_so_once() {
    let body = in_request(
        r#"(call $say (call $resolve_dns @"a.test" (i32.const 24))) (call $say (call $resolve_dns @"a.test" (i32.const 24)))"#,
    );
    let mut envoy = start_in(&body, EnvoyOptions { concurrency: 2, ..options() }, Scripted::new());
    envoy.exchange(0, Request::get("/"));
    envoy.exchange(1, Request::get("/"));
    assert_eq!(worker_said(&envoy), ["12", "12"]);
    assert_eq!(
        host_said(&envoy),
        ["worker 0: `envoy_resolve_dns` is not implemented here and fails; this is logged once"]
    );
}

#[test]
fn properties_have_envoys_encodings_and_statuses() {
    let body = in_request(
        r#"
        (call $tell_property @"plugin_name")
        (call $tell_property @"plugin_root_id")
        (call $tell_property @"plugin_vm_id")
        (call $tell_property @"request\0path")
        (call $tell_property @"request\0url_path")
        (call $tell_property @"request\0query")
        (call $tell_property @"request\0method")
        (call $tell_property @"request\0host")
        (call $tell_property @"request\0protocol")
        (call $tell_property @"request\0referer")
        (call $tell_property @"request")
        (call $tell_property @"xds")
        (call $tell_property @"response\0code")
        (call $tell_property @"metadata")
        (call $tell_property @"source\0address")
        (drop (call $get_property @"source\0port" (i32.const 16) (i32.const 20)))
        (call $say (i32.load (i32.const 20)))
        (call $say (i32.load (i32.load (i32.const 16))))
        (drop (call $get_property @"connection\0mtls" (i32.const 16) (i32.const 20)))
        (call $say (i32.load (i32.const 20)))
        (call $tell_property @"xds\0node\0id")
        (call $tell_property @"xds\0route_metadata\0filter_metadata\0portcullis\0policy")
        (call $tell_property @"xds\0route_metadata")
        (drop (call $get_property @"xds\0route_metadata\0filter_metadata\0portcullis" (i32.const 16) (i32.const 20)))
        (call $say (i32.load (i32.load (i32.const 16))))
        (call $say (i32.load (i32.const 20)))
    "#,
    );
    let mut options = options();
    options.properties.insert("xds.node.id".to_owned(), b"node-1".to_vec());
    let mut envoy = start_in(&body, options, Scripted::new());
    envoy.exchange(
        0,
        Request::get("/a?b=c")
            .property("xds.route_metadata.filter_metadata.portcullis.policy", "shop")
            .property("xds.route_metadata.filter_metadata.portcullis.x", "1"),
    );
    assert_eq!(
        worker_said(&envoy),
        [
            "gate",
            "gate_root",
            "gate_vm",
            "/a?b=c",
            "/a",
            "b=c",
            "GET",
            "gate.test",
            "HTTP/1.1",
            "1",
            "3",
            "3",
            "1",
            "",
            "127.0.0.1:47732",
            "8",
            "47732",
            "1",
            "node-1",
            "shop",
            "3",
            // Two pairs: 4 + 2 * 8 + "policy\0shop\0" + "x\01\0".
            "2",
            "36"
        ]
    );
}

#[test]
fn a_property_that_is_set_is_filter_state_of_the_stream() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $say (call $set_property @"permit" @"yes"))
        (call $say (call $set_property @"request\0path" @"shadow"))
        (call $tell_property @"permit")
        (call $tell_property @"filter_state\0wasm.permit")
        (call $tell_property @"request\0path")
        (i32.const 0))
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (call $say (call $set_property @"permit" @"yes"))
        (call $tell_property @"permit")
        (i32.const 1))
    "#;
    let mut envoy = start(body);
    let exchange = envoy.exchange(0, Request::get("/"));
    assert_eq!(worker_said(&envoy), ["1", "1", "0", "0", "yes", "yes", "/"]);
    assert_eq!(exchange.filter_state.get("wasm.permit"), Some(&b"yes".to_vec()));
}

#[test]
fn a_hostcall_acts_on_the_chosen_context_until_the_callback_returns() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $tell_header (i32.const 0) @":path")
        (call $say (call $set_context (i32.const 1)))
        (call $tell_header (i32.const 0) @":path")
        (call $say (call $set_context (i32.const 99)))
        (call $tell_header (i32.const 0) @":path")
        (call $say (call $set_context (i32.const 0)))
        (call $tell_header (i32.const 0) @":path")
        (drop (call $set_context (i32.const 1)))
        (i32.const 1))
      (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
        (call $tell_header (i32.const 0) @":path") (i32.const 1))
    "#;
    let mut envoy = start(body);
    let id = envoy.begin(0, Request::post("/p", "x"));
    envoy.leave(id);
    // The body's two callbacks are about the stream again.
    assert_eq!(worker_said(&envoy), ["/p", "0", "2", "2", "2", "0", "/p", "/p", "/p"]);
}

#[test]
fn metrics_are_summed_over_all_vms_and_their_ids_belong_to_each() {
    let body = r#"
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (drop (call $define_metric (i32.const 0) @"requests" (i32.const 24))) (call $say (i32.load (i32.const 24)))
        (call $say (call $increment_metric (i32.const 4) (i64.const 2)))
        (drop (call $define_metric (i32.const 1) @"size" (i32.const 24))) (call $say (i32.load (i32.const 24)))
        (drop (call $record_metric (i32.const 5) (i64.const 7)))
        (drop (call $define_metric (i32.const 2) @"time" (i32.const 24))) (call $say (i32.load (i32.const 24)))
        (drop (call $record_metric (i32.const 6) (i64.const 3)))
        (call $say (call $get_metric (i32.const 4) (i32.const 32))) (call $say (i32.load (i32.const 32)))
        (i32.const 1))
    "#;
    let envoy = start(body);
    // The third VM is the worker's.
    assert_eq!(worker_said(&envoy), ["4", "0", "5", "6", "0", "6"]);
    assert_eq!(envoy.metric("requests"), Some(6));
    assert_eq!(envoy.metrics()["size"], 7);
    assert_eq!(envoy.histogram("time"), Some(Histogram { count: 3, sum: 9, min: 3, max: 3 }));
    assert_eq!(envoy.metric("nothing"), None);
}

#[test]
fn messages_below_the_log_level_are_dropped_and_the_level_can_be_asked_for() {
    let body = in_request(
        r#"
        (drop (call $get_log_level (i32.const 24)))
        (call $say (i32.load (i32.const 24)))
        (drop (call $log (i32.const 4) (i32.const 24) (i32.const 0)))
    "#,
    );
    let run = |log_level| {
        let mut envoy = start_in(&body, EnvoyOptions { log_level, ..options() }, Scripted::new());
        envoy.exchange(0, Request::get("/"));
        worker_said(&envoy)
    };
    assert_eq!(run(log::Level::Info), ["2", ""]);
    assert_eq!(run(log::Level::Error), [""]);
}

#[test]
fn foreign_functions_are_those_that_were_given() {
    let mut options = options();
    options.foreign_functions.insert(
        "double".to_owned(),
        ForeignFunction::new(|_, argument| match argument {
            b"" => Err(Status::BadArgument),
            argument => Ok(Bytes::from([argument, argument].concat())),
        }),
    );
    let body = in_request(
        r#"
        (call $say (call $call_foreign @"double" @"ab" (i32.const 16) (i32.const 20)))
        (call $tell_result)
        (call $say (call $call_foreign @"double" (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 20)))
        (call $say (call $call_foreign @"double" @"x" (i32.const 0) (i32.const 0)))
        (call $say (call $call_foreign @"sign" @"x" (i32.const 16) (i32.const 20)))
        (call $say (call $call_foreign @"clear_route_cache" (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 20)))
    "#,
    );
    let mut envoy = start_in(&body, options, Scripted::new());
    envoy.exchange(0, Request::get("/"));
    assert_eq!(worker_said(&envoy), ["0", "abab", "2", "0", "1", "0"]);
}

#[test]
fn wasi_prints_to_the_log_and_has_the_hosts_clock_and_randomness() {
    let body = in_request(
        r#"
        (i32.store (i32.const 100) (i32.const 200)) (i32.store (i32.const 104) (i32.const 3))
        (i32.store (i32.const 200) (i32.const 0x0a6968))
        (call $say (call $fd_write (i32.const 1) (i32.const 100) (i32.const 1) (i32.const 24)))
        (call $say (i32.load (i32.const 24)))
        (call $say (call $fd_write (i32.const 5) (i32.const 100) (i32.const 1) (i32.const 24)))
        (call $say (call $fd_write (i32.const 1) (i32.const -4) (i32.const 1) (i32.const 24)))
        (call $say (call $random_get (i32.const 1000) (i32.const 65536)))
        (call $say (call $random_get (i32.const 1000) (i32.const 65537)))
        (call $say (call $random_get (i32.const -4) (i32.const 8)))
        (call $say (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 32)))
        (call $say (i32.wrap_i64 (i64.div_u (i64.load (i32.const 32)) (i64.const 1000000))))
        (call $say (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 32)))
        (call $say (i32.wrap_i64 (i64.div_u (i64.load (i32.const 32)) (i64.const 1000000000))))
        (call $say (call $clock_time_get (i32.const 2) (i64.const 0) (i32.const 32)))
        (call $say (call $environ_sizes_get (i32.const 24) (i32.const 28)))
        (call $say (i32.load (i32.const 24)))
        (call $say (i32.load (i32.const 28)))
    "#,
    )
    // Two pages are 131072 bytes, and the texts lie in the first half of the first.
    .replace("1000) (i32.const 6553", "60000) (i32.const 6553");
    let mut options = options();
    options.environment.insert("A".to_owned(), "bc".to_owned());
    let mut envoy = start_in(&body, options, Scripted::new());
    envoy.run_for(std::time::Duration::from_millis(1500));
    envoy.exchange(0, Request::get("/"));
    assert_eq!(
        worker_said(&envoy),
        ["hi", "0", "3", "8", "21", "0", "28", "21", "0", "3601500", "0", "1767225601", "58", "0", "1", "5"]
    );
}

fn in_request(calls: &str) -> String {
    format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {calls} (i32.const 0))"#
    )
}
