//! Several plugins: which VM and root context each has, how a stream goes through them, and services beside them.
//!
//! The orders that are expected here were seen in Envoy 1.40 with the same guests.

mod common;

use std::time::Duration;

use common::{WITNESS, host_said, options, said, start_in, worker_said};
use host_harness::{
    envoy::{
        AnsweredBy, EnvoyOptions, FailurePolicy, PluginKind, PluginOptions, Request, RootView, VmRole,
        VmState,
    },
    world::{Origin, Reply, Scripted},
};

const SECOND: Duration = Duration::from_secs(1);

/// Tells where it starts and with what.
const ROOTS: &str = r#"
  (func (export "proxy_on_context_create") (param i32 i32)
    (if (i32.eqz (local.get 1)) (then (call $tell @"create") (call $say (local.get 0)))))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $tell @"start") (call $say (local.get 0)) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (call $tell @"configure") (call $say (local.get 0)) (call $tell_buffer (i32.const 7)) (call $tell_property @"plugin_name")
    (i32.const 1))
  (func (export "proxy_on_done") (param i32) (result i32) (call $tell @"done") (call $say (local.get 0)) (i32.const 1))
  (func (export "proxy_on_delete") (param i32) (call $tell @"delete") (call $say (local.get 0)))
"#;

/// Tells every callback of a stream with its context.
const CHAIN: &str = r#"
  (func (export "proxy_on_context_create") (param i32 i32)
    (if (local.get 1) (then (call $tell @"create") (call $say (local.get 0)) (call $say (local.get 1)))))
  (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
    (call $tell @"request headers") (call $say (local.get $id)) (call $tell_property @"plugin_name")
    (call $clear) (drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
    (call $act (i32.sub (i32.load8_u (i32.add (i32.const 1) (i32.load (i32.const 16)))) (local.get $id)))
    (i32.const 0))
  ;; The second character of the path says what is done, and in which context: from `a` on a reply, from `A` on a trap.
  (func $act (param $difference i32)
    (if (i32.eq (local.get $difference) (i32.const 96)) (then (call $answer (i32.const 418) @"teapot")))
    (if (i32.eq (local.get $difference) (i32.const 64)) (then (unreachable))))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (call $tell @"response headers") (call $say (local.get 0)) (i32.const 0))
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
    (call $tell @"response body") (call $say (local.get 0)) (i32.const 0))
  (func (export "proxy_on_log") (param i32) (call $tell @"log") (call $say (local.get 0)))
  (func (export "proxy_on_done") (param i32) (result i32) (call $tell @"done") (call $say (local.get 0)) (i32.const 1))
  (func (export "proxy_on_delete") (param i32) (call $tell @"delete") (call $say (local.get 0)))
"#;

fn plugin(name: &str, kind: PluginKind) -> PluginOptions {
    PluginOptions {
        name: name.to_owned(),
        configuration: format!("for {name}").into_bytes(),
        kind,
        ..options().plugin
    }
}

fn filters(names: &[&str]) -> EnvoyOptions {
    let plugins = names.iter().map(|name| plugin(name, PluginKind::Filter)).collect();
    EnvoyOptions { plugins, ..options() }
}

/// What one VM tells of a plugin that comes up in it.
fn comes_up(role: &str, id: u32, name: &str) -> Vec<String> {
    let reported = ["create", &id.to_string(), "start", &id.to_string(), "configure", &id.to_string()]
        .map(str::to_owned);
    let reported = reported.into_iter().chain([format!("for {name}"), name.to_owned()]);
    reported.map(|line| format!("{role}: {line}")).collect()
}

fn ends(role: &str, id: u32) -> Vec<String> {
    ["done".to_owned(), id.to_string(), "delete".to_owned(), id.to_string()]
        .map(|line| format!("{role}: {line}"))
        .into()
}

/// Lines such as `create 3 1`, word by word.
fn words(lines: &[&str]) -> Vec<String> {
    let word = |line: &str| match line.rsplit_once(' ') {
        _ if line == "teapot" => vec![line.to_owned()],
        Some((what, number)) if number.parse::<u32>().is_ok() => vec![what.to_owned(), number.to_owned()],
        _ => vec![line.to_owned()],
    };
    lines.iter().flat_map(|line| word(line)).collect()
}

#[test]
fn plugins_of_one_vm_have_a_root_context_each_and_a_canary_each() {
    let envoy = start_in(ROOTS, filters(&["a", "b"]), Scripted::new());
    let expected = [
        comes_up("canary", 1, "a"),
        comes_up("main", 1, "a"),
        comes_up("canary", 1, "b"),
        comes_up("main", 2, "b"),
        comes_up("worker 0", 1, "a"),
        comes_up("worker 0", 2, "b"),
    ];
    assert_eq!(said(&envoy), expected.concat());
    assert_eq!(envoy.vms().len(), 2);
    assert_eq!(envoy.vms()[1].loads, 1);
    let root = |id, name: &str| RootView {
        id,
        plugin: name.to_owned(),
        configuration: format!("for {name}").into_bytes(),
        tick_period: None,
    };
    assert_eq!(envoy.vms()[1].roots, [root(1, "a"), root(2, "b")]);
}

#[test]
fn a_singleton_comes_up_last_and_only_on_the_main_thread_and_a_service_everywhere() {
    let start = |kind| {
        let mut options = filters(&["a"]);
        options.plugins.insert(0, plugin("svc", kind));
        let mut envoy = start_in(ROOTS, options, Scripted::new());
        envoy.shut_down();
        said(&envoy)
    };
    let until_the_service = [
        comes_up("canary", 1, "a"),
        comes_up("main", 1, "a"),
        comes_up("canary", 1, "svc"),
        comes_up("main", 2, "svc"),
        comes_up("worker 0", 1, "a"),
    ]
    .concat();
    let singleton = [ends("worker 0", 1), ends("main", 1), ends("main", 2)].concat();
    assert_eq!(
        start(PluginKind::SingletonService),
        [until_the_service.clone(), singleton].concat(),
        "a singleton ends last"
    );
    let service = [
        comes_up("worker 0", 2, "svc"),
        ends("worker 0", 2),
        ends("worker 0", 1),
        ends("main", 2),
        ends("main", 1),
    ];
    assert_eq!(start(PluginKind::Service), [until_the_service, service.concat()].concat());
}

#[test]
fn plugins_that_differ_in_nothing_share_a_root_context_and_each_sees_the_stream() {
    let mut envoy = start_in(CHAIN, filters(&["a", "a"]), Scripted::new());
    assert_eq!(envoy.vms()[1].roots.len(), 1);
    let canaries = start_in(ROOTS, filters(&["a", "a"]), Scripted::new());
    assert_eq!(said(&canaries)[..8], comes_up("canary", 1, "a"));
    assert!(!said(&canaries)[8..].iter().any(|line| line.starts_with("canary")), "one canary is enough");
    envoy.exchange(0, Request::get("/"));
    let expected =
        words(&["create 2", "1", "request headers 2", "a", "create 3", "1", "request headers 3", "a"]);
    assert_eq!(worker_said(&envoy)[..expected.len()], expected);
}

#[test]
fn plugins_of_another_vm_id_or_vm_configuration_have_a_vm_of_their_own() {
    let mut options = filters(&["a", "b", "c"]);
    options.plugins[1].vm_id = "other".to_owned();
    options.plugins[2].vm_configuration = b"other".to_vec();
    let envoy = start_in(ROOTS, options, Scripted::new());
    let roots: Vec<(VmRole, u32, String)> =
        envoy.vms().iter().map(|vm| (vm.role, vm.roots[0].id, vm.roots[0].plugin.clone())).collect();
    let of = |role: VmRole| ["a", "b", "c"].map(|name| (role, 1, name.to_owned()));
    assert_eq!(roots, [of(VmRole::Main), of(VmRole::Worker(0))].concat());
}

#[test]
fn a_stream_goes_through_the_filters_and_back_against_their_order() {
    let mut envoy = start_in(CHAIN, filters(&["a", "b"]), Scripted::new());
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    let request = ["create 3", "1", "request headers 3", "a", "create 4", "2", "request headers 4", "b"];
    let response = ["response headers 4", "response headers 3"];
    let end = ["log 3", "log 4", "done 3", "delete 3", "done 4", "delete 4"];
    assert_eq!(worker_said(&envoy), words(&[&request[..], &response, &end].concat()));
}

#[test]
fn a_reply_of_the_first_filter_is_none_of_the_second_ones_business_until_it_is_logged() {
    let mut envoy = start_in(CHAIN, filters(&["a", "b"]), Scripted::new());
    let exchange = envoy.exchange(0, Request::get("/c"));
    assert_eq!((exchange.status, exchange.answered_by), (418, Some(AnsweredBy::LocalResponse)));
    let lines = ["create 3", "1", "request headers 3", "a", "response headers 3", "response body 3"];
    let end = ["log 3", "create 4", "2", "log 4", "done 3", "delete 3", "done 4", "delete 4"];
    assert_eq!(worker_said(&envoy), words(&[&lines[..], &end].concat()));
}

#[test]
fn a_reply_of_the_second_filter_goes_back_through_the_first() {
    let mut envoy = start_in(CHAIN, filters(&["a", "b"]), Scripted::new());
    assert_eq!(envoy.exchange(0, Request::get("/d")).text(), "teapot");
    let request = ["create 3", "1", "request headers 3", "a", "create 4", "2", "request headers 4", "b"];
    let response = ["response headers 4", "response headers 3", "response body 4", "response body 3"];
    let end = ["log 3", "log 4", "done 3", "delete 3", "done 4", "delete 4"];
    assert_eq!(worker_said(&envoy), words(&[&request[..], &response, &end].concat()));
    assert!(envoy.world().seen().is_empty());
}

#[test]
fn a_filter_that_fails_takes_all_plugins_of_its_vm_with_it() {
    let mut options = filters(&["a", "b"]);
    options.plugins[1].failure_policy = FailurePolicy::FailClosed;
    for path in ["/C", "/D"] {
        let mut envoy = start_in(CHAIN, options.clone(), Scripted::new());
        let exchange = envoy.exchange(0, Request::get(path));
        assert_eq!((exchange.status, exchange.details.as_str()), (503, "wasm_fail_stream"));
        assert_eq!(envoy.vms()[1].state, VmState::Failed);
        let before = worker_said(&envoy).len();
        // At once neither comes back.
        assert_eq!(envoy.exchange(0, Request::get("/")).status, 503);
        assert_eq!(worker_said(&envoy).len(), before);
        // The first one comes back with the first number; the second one stays away and refuses what comes to it.
        envoy.run_for(SECOND * 2);
        assert_eq!(envoy.exchange(0, Request::get("/")).status, 503);
        let lines = ["create 2", "1", "request headers 2", "a", "response headers 2"];
        let end = ["log 2", "done 2", "delete 2"];
        assert_eq!(worker_said(&envoy)[before..], words(&[&lines[..], &end].concat()));
        assert_eq!(envoy.metrics().get("wasm.a.vm_reload_success"), Some(&1));
    }
}

#[test]
fn a_vm_that_was_made_again_numbers_its_root_contexts_as_they_come() {
    let mut options = filters(&["a", "b"]);
    options.plugins[0].reload_backoff = SECOND * 600;
    let mut envoy = start_in(CHAIN, options, Scripted::new());
    envoy.exchange(0, Request::get("/C"));
    envoy.run_for(SECOND * 2);
    envoy.exchange(0, Request::get("/"));
    let roots = &envoy.vms()[1].roots;
    assert_eq!(roots.len(), 1);
    assert_eq!((roots[0].id, roots[0].plugin.as_str()), (1, "b"));
}

#[test]
fn a_filter_that_is_absent_on_a_worker_is_passed_by_and_the_others_are_not() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $tell_buffer (i32.const 7))
        ;; The sixth to come up is the second one on the worker.
        (i32.ne (call $count) (i32.const 6)))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $tell_property @"plugin_name") (i32.const 0))
    "#;
    let mut envoy = start_in(body, filters(&["a", "b"]), Scripted::new());
    assert_eq!(
        host_said(&envoy),
        ["worker 0: the plugin is absent on this thread: `proxy_on_configure` returned false"]
    );
    assert_eq!(envoy.vms()[1].state, VmState::Running);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    assert_eq!(worker_said(&envoy), ["for a", "for b", "a"]);
}

#[test]
fn each_root_context_has_its_own_ticks_and_calls() {
    let body = r#"
      (func (export "proxy_on_vm_start") (param $root i32) (param i32) (result i32)
        (drop (call $set_tick (i32.mul (local.get $root) (i32.const 1000)))) (i32.const 1))
      (func (export "proxy_on_tick") (param $root i32)
        (call $tell @"tick") (call $say (local.get $root)) (call $tell_property @"plugin_name")
        (drop (call $set_tick (i32.const 0)))
        (call $fetch @"hub" @pairs(":method: GET; :path: /; :authority: hub") (i32.const 0)) (call $say (i32.load (i32.const 24))))
      (func (export "proxy_on_http_call_response") (param $root i32) (param $token i32) (param i32 i32 i32)
        (call $tell @"response") (call $say (local.get $root)) (call $say (local.get $token))
        (call $tell_buffer (i32.const 4)))
    "#;
    let world = Scripted::new().script("hub", |call, _| match call.origin {
        Origin::HttpCall { token, .. } => Reply::body(token.to_string()).after(SECOND * 3),
        _ => Reply::status(500),
    });
    let mut envoy = start_in(body, filters(&["a", "b"]), world);
    let periods: Vec<_> = envoy.vms()[1].roots.iter().map(|root| root.tick_period).collect();
    assert_eq!(periods, [Some(SECOND), Some(SECOND * 2)]);
    envoy.run_for(SECOND * 10);
    // Tokens are the VM's; the answer comes to the root context that asked.
    let ticks = ["tick", "1", "a", "0", "4", "tick", "2", "b", "0", "8"];
    let responses = ["response", "1", "4", "4", "response", "2", "8", "8"];
    assert_eq!(worker_said(&envoy), [&ticks[..], &responses].concat());
}

#[test]
fn calls_of_a_stream_are_those_of_its_plugin() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $fetch @"hub" @pairs(":method: GET; :path: /; :authority: hub") (i32.const 0)) (i32.const 0))
      (func (export "proxy_on_http_call_response") (param $root i32) (param $token i32) (param i32 i32 i32)
        (call $tell @"response") (call $say (local.get $root)) (call $say (local.get $token)))
    "#;
    let mut envoy = start_in(body, filters(&["a", "b"]), Scripted::new().cluster("hub"));
    envoy.exchange(0, Request::get("/"));
    assert_eq!(worker_said(&envoy), ["0", "0", "response", "1", "4", "response", "2", "8"]);
}

#[test]
fn a_queue_belongs_to_the_plugin_that_registered_it_last() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $register_queue @"q" (i32.const 24))) (i32.const 1))
      (func (export "proxy_on_queue_ready") (param $root i32) (param $token i32)
        (call $tell @"ready") (call $say (local.get $root)) (call $tell_property @"plugin_name"))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $say (call $enqueue (i32.const 1) @"item")) (i32.const 0))
    "#;
    let mut options = filters(&["a", "b"]);
    options.plugins.push(plugin("svc", PluginKind::SingletonService));
    let mut envoy = start_in(body, options, Scripted::new());
    envoy.exchange(0, Request::get("/"));
    envoy.run_for(SECOND);
    assert_eq!(said(&envoy)[2..], ["worker 0: ready", "worker 0: 2", "worker 0: b"].repeat(2));
}

#[test]
fn a_notice_for_a_vm_that_was_made_again_can_reach_another_plugins_root_context() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $clear) (drop (call $get_property @"plugin_name" (i32.const 16) (i32.const 20)))
        (if (i32.eq (i32.load8_u (i32.load (i32.const 16))) (i32.const 97))
          (then (drop (call $register_queue @"q" (i32.const 24)))))
        (i32.const 1))
      (func (export "proxy_on_queue_ready") (param $root i32) (param $token i32)
        (call $say (local.get $root)) (call $tell_property @"plugin_name"))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $clear) (drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
        (if (i32.ne (i32.load (i32.const 20)) (i32.const 1)) (then (unreachable)))
        (drop (call $enqueue (i32.const 1) @"item")) (i32.const 0))
    "#;
    let mut options = filters(&["a", "b"]);
    options.plugins[0].reload_backoff = SECOND * 600;
    options.plugins[0].failure_policy = FailurePolicy::FailOpen;
    let mut envoy = start_in(body, options, Scripted::new());
    envoy.exchange(0, Request::get("/trap"));
    envoy.run_for(SECOND * 2);
    envoy.exchange(0, Request::get("/"));
    envoy.run_for(SECOND);
    assert_eq!(worker_said(&envoy), ["1", "b"], "it was the root context 1 of `a` that had registered");
}

#[test]
fn what_the_first_filter_changes_the_second_one_sees() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $tell_header (i32.const 0) @"x-by")
        (call $clear) (drop (call $get_property @"plugin_name" (i32.const 16) (i32.const 20)))
        (drop (call $replace_header (i32.const 0) @"x-by" (i32.load (i32.const 16)) (i32.load (i32.const 20))))
        (i32.const 0))
      (func (export "proxy_on_request_body") (param i32 $size i32 $end i32) (result i32)
        (call $tell_buffer (i32.const 0))
        (drop (call $set_buffer (i32.const 0) (i32.const 0) (i32.const 0) @"+"))
        (i32.const 0))
      (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (call $tell_header (i32.const 0) @"x-by") (i32.const 0))
    "#
    .replace("(param i32 $size i32 $end i32)", "(param i32 i32 i32)");
    let mut envoy = start_in(&body, filters(&["a", "b"]), Scripted::new());
    let mut request = Request::post("/", "x");
    request.protocol = host_harness::envoy::Protocol::Http2;
    let exchange = envoy.exchange(0, request);
    // 1 is NotFound; 2 is BadArgument, for the request's headers are out of reach by then.
    assert_eq!(worker_said(&envoy), ["1", "a", "x", "+x", "2", "2"]);
    let upstream = exchange.upstream_request.unwrap();
    assert_eq!(upstream.body, b"++x");
    assert!(upstream.headers.contains(&(b"x-by".to_vec(), b"b".to_vec())));
}

#[test]
fn the_second_filter_can_hold_what_the_first_one_lets_go() {
    let body = format!(
        "{}{}",
        WITNESS.replace(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $tell @"request headers") (call $say (local.get 2)) (i32.const 0))"#,
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $tell_property @"plugin_name")
    ;; The second one holds all of it until the tick of a second.
    (if (result i32) (i32.eq (local.get 0) (i32.const 4))
      (then (drop (call $set_tick (i32.const 1000))) (i32.const 3)) (else (i32.const 0))))"#,
        ),
        r#"(func (export "proxy_on_tick") (param i32)
             (drop (call $set_context (i32.const 4))) (drop (call $continue (i32.const 0))))"#
    );
    let mut envoy = start_in(&body, filters(&["a", "b"]), Scripted::new());
    let before = worker_said(&envoy).len();
    let id = envoy.begin(0, Request::post("/", "body"));
    let body_and_end = ["request body", "4", "0", "request body", "0", "1"];
    let held = [&["create", "a", "create", "b"][..], &body_and_end].concat();
    assert_eq!(worker_said(&envoy)[before..], held, "the body comes to the first one alone");
    envoy.run_for(SECOND * 2);
    let exchange = envoy.take(id).expect("it was let go");
    assert_eq!(worker_said(&envoy)[before + held.len()..][..3], ["request body", "4", "1"]);
    assert_eq!(exchange.upstream_request.unwrap().body, b"body");
}
