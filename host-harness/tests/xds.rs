//! What the control plane does to plugins: new configurations, refused ones, and plugins that go.
//!
//! The orders that are expected here were seen in Envoy 1.40, with the same guests behind extension config discovery.

mod common;

use std::time::Duration;

use common::{host_said, options, said, start_in, worker_said};
use host_harness::{
    envoy::{
        Envoy, EnvoyOptions, LoadFailure, PluginKind, PluginOptions, Request, RootView, VmRole, VmState,
    },
    world::{Origin, Reply, Scripted},
};

const SECOND: Duration = Duration::from_secs(1);

/// Tells when root contexts come and go. A configuration that begins with `n` is refused. A path of more than one
/// character holds its stream.
const GUEST: &str = r#"
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
    (drop (call $set_tick (i32.const 1000))) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (call $tell @"configure") (call $say (local.get 0)) (call $tell_buffer (i32.const 7))
    (call $clear) (drop (call $get_buffer (i32.const 7) (i32.const 0) (i32.const 1) (i32.const 16) (i32.const 20)))
    (i32.ne (i32.load8_u (i32.load (i32.const 16))) (i32.const 110)))
  (func (export "proxy_on_context_create") (param $id i32) (param $root i32)
    (if (local.get $root) (then (call $tell @"stream") (call $say (local.get $root)))))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $clear) (drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
    (select (i32.const 4) (i32.const 0) (i32.gt_u (i32.load (i32.const 20)) (i32.const 1))))
  (func (export "proxy_on_tick") (param i32) (call $tell @"tick") (call $say (local.get 0)))
  (func (export "proxy_on_done") (param i32) (result i32) (call $tell @"done") (call $say (local.get 0)) (i32.const 1))
  (func (export "proxy_on_delete") (param i32) (call $tell @"delete") (call $say (local.get 0)))
"#;

fn start(workers: usize, names: &[&str]) -> Envoy<Scripted> {
    let plugins = names.iter().map(|name| plugin(name, PluginKind::Filter)).collect();
    start_in(GUEST, EnvoyOptions { plugins, concurrency: workers, ..options() }, Scripted::new())
}

fn plugin(name: &str, kind: PluginKind) -> PluginOptions {
    PluginOptions { name: name.to_owned(), configuration: b"1".to_vec(), kind, ..options().plugin }
}

/// What was told since this many lines.
fn since(envoy: &Envoy<Scripted>, lines: usize) -> Vec<String> {
    said(envoy)[lines..].to_vec()
}

fn lines(groups: &[(&str, &[&str])]) -> Vec<String> {
    groups
        .iter()
        .flat_map(|(role, reported)| reported.iter().map(move |line| format!("{role}: {line}")))
        .collect()
}

#[test]
fn an_update_is_tried_then_taken_by_every_thread_and_then_the_old_one_goes() {
    let mut envoy = start(2, &["a"]);
    let before = said(&envoy).len();
    envoy.update_plugin("a", "2").unwrap();
    let on_main = lines(&[("canary", &["configure", "1", "2"][..]), ("main", &["configure", "2", "2"])]);
    assert_eq!(since(&envoy, before), on_main);
    envoy.run_for(Duration::ZERO);
    let gone = &["done", "1", "delete", "1"][..];
    let on_workers = lines(&[
        ("worker 0", &["configure", "2", "2"]),
        ("worker 1", &["configure", "2", "2"]),
        ("worker 0", gone),
        ("worker 1", gone),
        ("main", gone),
    ]);
    assert_eq!(since(&envoy, before), [on_main, on_workers].concat());
    for vm in envoy.vms() {
        let root = RootView {
            id: 2,
            plugin: "a".to_owned(),
            configuration: b"2".to_vec(),
            tick_period: Some(SECOND),
        };
        assert_eq!((vm.loads, vm.roots), (1, vec![root]));
    }
}

#[test]
fn streams_of_a_worker_see_the_new_root_context_from_its_turn_on() {
    let mut envoy = start(2, &["a"]);
    envoy.update_plugin("a", "2").unwrap();
    let before = said(&envoy).len();
    envoy.exchange(1, Request::get("/"));
    assert!(envoy.step(Duration::ZERO), "worker 0 has its turn first");
    envoy.exchange(0, Request::get("/"));
    envoy.exchange(1, Request::get("/"));
    let streams: Vec<String> = since(&envoy, before)
        .windows(2)
        .filter(|pair| pair[0].ends_with(": stream"))
        .map(|pair| pair[1].clone())
        .collect();
    assert_eq!(streams[0], "worker 1: 1");
    assert_eq!(streams[1], "worker 0: 2");
}

#[test]
fn a_root_context_lives_and_ticks_until_its_last_stream_has_ended() {
    let mut envoy = start(1, &["a"]);
    let id = envoy.begin(0, Request::get("/held"));
    envoy.update_plugin("a", "2").unwrap();
    envoy.run_for(SECOND);
    assert_eq!(envoy.vms()[0].roots.len(), 1);
    assert_eq!(envoy.vms()[1].roots.len(), 2);
    // 2 is the stream.
    let ticks = ["tick", "1", "tick", "3"];
    assert!(worker_said(&envoy).ends_with(&ticks.map(str::to_owned)), "{:?}", worker_said(&envoy));
    let before = said(&envoy).len();
    envoy.leave(id);
    assert_eq!(
        since(&envoy, before),
        lines(&[("worker 0", &["done", "2", "delete", "2", "done", "1", "delete", "1"])])
    );
    envoy.run_for(SECOND);
    assert!(worker_said(&envoy).ends_with(&["tick".to_owned(), "3".to_owned()]));
}

#[test]
fn a_refused_update_keeps_the_old_configuration_and_is_not_tried_again() {
    let mut envoy = start(1, &["a", "b"]);
    let before = said(&envoy).len();
    let refused = LoadFailure::Refused { callback: "proxy_on_configure" };
    assert_eq!(envoy.update_plugin("a", "no"), Err(refused.clone()));
    assert_eq!(since(&envoy, before), lines(&[("canary", &["configure", "1", "no"])]));
    assert_eq!(envoy.update_plugin("a", "no"), Err(refused));
    envoy.run_for(Duration::ZERO);
    assert_eq!(said(&envoy).len(), before + 3, "its canary has answered already");
    assert_eq!(envoy.vms()[1].roots[0].configuration, b"1");
    let refusal = "main: the plugin `a` keeps its configuration: `proxy_on_configure` returned false";
    assert_eq!(host_said(&envoy), [refusal, refusal]);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    // Another one is taken, beside the other plugin.
    envoy.update_plugin("a", "2").unwrap();
    envoy.run_for(Duration::ZERO);
    let roots: Vec<u32> = envoy.vms()[0].roots.iter().map(|root| root.id).collect();
    assert_eq!(roots, [2, 3]);
}

#[test]
fn the_same_configuration_again_changes_nothing_and_an_earlier_one_needs_no_canary() {
    let mut envoy = start(1, &["a"]);
    envoy.update_plugin("a", "2").unwrap();
    envoy.run_for(Duration::ZERO);
    let before = said(&envoy).len();
    envoy.update_plugin("a", "2").unwrap();
    envoy.run_for(Duration::ZERO);
    assert_eq!(said(&envoy).len(), before);
    envoy.update_plugin("a", "1").unwrap();
    envoy.run_for(Duration::ZERO);
    let gone = &["done", "2", "delete", "2"][..];
    assert_eq!(
        since(&envoy, before),
        lines(&[
            ("main", &["configure", "3", "1"]),
            ("worker 0", &["configure", "3", "1"]),
            ("worker 0", gone),
            ("main", gone),
        ])
    );
}

#[test]
fn a_root_context_that_a_stream_still_holds_is_taken_again() {
    let mut envoy = start(1, &["a"]);
    let id = envoy.begin(0, Request::get("/held"));
    for configuration in ["2", "1"] {
        envoy.update_plugin("a", configuration).unwrap();
        envoy.run_for(Duration::ZERO);
    }
    let ids =
        |envoy: &Envoy<Scripted>| -> Vec<u32> { envoy.vms()[1].roots.iter().map(|root| root.id).collect() };
    assert_eq!(ids(&envoy), [1]);
    envoy.leave(id);
    assert_eq!(ids(&envoy), [1], "it is in use again");
    let before = worker_said(&envoy).len();
    envoy.exchange(0, Request::get("/"));
    assert_eq!(worker_said(&envoy)[before..][..2], ["stream", "1"]);
}

#[test]
fn an_update_of_a_singleton_is_a_matter_of_the_main_thread() {
    let plugins = vec![plugin("a", PluginKind::Filter), plugin("svc", PluginKind::SingletonService)];
    let mut envoy = start_in(GUEST, EnvoyOptions { plugins, ..options() }, Scripted::new());
    let before = said(&envoy).len();
    envoy.update_plugin("svc", "2").unwrap();
    envoy.run_for(Duration::ZERO);
    assert_eq!(
        since(&envoy, before),
        lines(&[
            ("canary", &["configure", "1", "2"]),
            ("main", &["configure", "3", "2"]),
            ("main", &["done", "2", "delete", "2"]),
        ])
    );
}

#[test]
fn a_worker_that_refuses_what_the_canary_took_passes_the_plugin_by() {
    let body = GUEST.replace(
        "(i32.ne (i32.load8_u (i32.load (i32.const 16))) (i32.const 110))",
        "(i32.ne (call $count) (i32.const 6))",
    );
    let mut envoy = start_in(&body, options(), Scripted::new());
    envoy.update_plugin("gate", "2").unwrap();
    envoy.run_for(Duration::ZERO);
    assert_eq!(
        host_said(&envoy),
        ["worker 0: the plugin is absent on this thread: `proxy_on_configure` returned false"]
    );
    let before = worker_said(&envoy).len();
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    assert_eq!(worker_said(&envoy).len(), before);
    // From then on Envoy takes nothing new for this VM, whatever its canary says.
    let before = said(&envoy).len();
    assert_eq!(envoy.update_plugin("gate", "3"), Err(LoadFailure::Spoiled));
    envoy.run_for(Duration::ZERO);
    assert_eq!(since(&envoy, before), lines(&[("canary", &["configure", "1", "3"])]));
    assert_eq!(envoy.vms()[0].roots[0].configuration, b"2");
}

#[test]
fn a_root_context_that_was_refused_ends_with_its_vm() {
    let body = GUEST.replace(
        "(i32.ne (i32.load8_u (i32.load (i32.const 16))) (i32.const 110))",
        "(i32.ne (call $count) (i32.const 3))",
    );
    let envoy = start_in(&body, options(), Scripted::new());
    assert_eq!(envoy.vms()[1].state, VmState::Absent);
    assert_eq!(worker_said(&envoy)[3..], ["done", "1", "delete", "1"]);
}

#[test]
fn calls_of_an_old_root_context_end_with_it() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $fetch @"hub" @pairs(":method: GET; :path: /; :authority: hub") (i32.const 0)) (i32.const 1))
      (func (export "proxy_on_http_call_response") (param $root i32) (param i32 i32 i32 i32) (call $say (local.get $root)))
    "#;
    let world = Scripted::new().reply("hub", "/", Reply::body("x").after(SECOND));
    let mut envoy = start_in(body, options(), world);
    envoy.update_plugin("gate", "2").unwrap();
    envoy.run_for(SECOND * 2);
    assert_eq!(worker_said(&envoy), ["0", "0", "2"]);
    let cancelled = envoy.world().seen().iter().filter(|seen| seen.cancelled);
    let of_worker =
        cancelled.filter(|seen| matches!(seen.call.origin, Origin::HttpCall { vm: VmRole::Worker(0), .. }));
    assert_eq!(of_worker.count(), 1);
}

#[test]
fn a_root_context_that_is_not_done_stays_until_it_says_so_while_its_vm_has_another() {
    let body = GUEST
        .replace(
            r#"(call $tell @"done") (call $say (local.get 0)) (i32.const 1))"#,
            r#"(call $tell @"done") (i32.const 0))"#,
        )
        .replace(
            r#"(call $tell @"tick") (call $say (local.get 0)))"#,
            r#"(call $say (local.get 0)) (call $say (call $done)))"#,
        );
    let mut envoy = start_in(&body, options(), Scripted::new());
    envoy.update_plugin("gate", "2").unwrap();
    envoy.run_for(Duration::ZERO);
    assert_eq!(envoy.vms()[1].roots.len(), 2);
    let before = worker_said(&envoy).len();
    envoy.run_for(SECOND);
    // 1 says that it is done, which is Ok; 2 was not asked, which is NotFound.
    assert_eq!(worker_said(&envoy)[before..], ["1", "0", "delete", "1", "2", "1"]);
}

#[test]
fn a_plugin_that_is_removed_ends_with_its_streams_and_the_other_stays() {
    let mut envoy = start(1, &["a", "b"]);
    let id = envoy.begin(0, Request::get("/held"));
    let before = said(&envoy).len();
    envoy.remove_plugin("a");
    envoy.run_for(Duration::ZERO);
    let exchange = envoy.take(id).expect("the stream was cut");
    assert!(exchange.aborted);
    assert!(exchange.details.starts_with("downstream_local_disconnect"), "{}", exchange.details);
    let gone = &["done", "1", "delete", "1"][..];
    // First the contexts of the stream in both plugins; the second one sees it only to log it.
    let contexts = &["stream", "2", "done", "3", "delete", "3", "done", "4", "delete", "4"][..];
    assert_eq!(since(&envoy, before), lines(&[("worker 0", contexts), ("worker 0", gone), ("main", gone)]));
    let before = worker_said(&envoy).len();
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    assert_eq!(worker_said(&envoy)[before..][..2], ["stream", "2"]);
    assert_eq!(envoy.vms()[1].state, VmState::Running);
}

#[test]
fn what_vms_shared_goes_with_the_last_plugin_of_their_vm_id() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $set_shared @"key" @"value" (i32.const 0)))
        (drop (call $register_queue @"q" (i32.const 24))) (i32.const 1))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $say (call $resolve_queue @"gate_vm" @"q" (i32.const 24)))
        (call $say (call $enqueue (i32.const 1) @"item")) (i32.const 0))
    "#;
    let mut plugins = vec![plugin("a", PluginKind::Filter), plugin("b", PluginKind::Filter)];
    plugins.push(PluginOptions { vm_id: "other".to_owned(), ..plugin("c", PluginKind::Filter) });
    let mut envoy = start_in(body, EnvoyOptions { plugins, ..options() }, Scripted::new());
    envoy.remove_plugin("a");
    envoy.run_for(Duration::ZERO);
    assert!(envoy.shared_data("key").is_some());
    envoy.remove_plugin("b");
    assert!(envoy.shared_data("key").is_some(), "the worker's VM is still there");
    envoy.run_for(Duration::ZERO);
    assert_eq!(envoy.shared_data("key"), None);
    envoy.exchange(0, Request::get("/"));
    assert_eq!(worker_said(&envoy), ["1", "1"], "the queue is not found");
    assert_eq!(envoy.vms().len(), 2, "one VM of the other id on each thread");
}

#[test]
fn without_plugins_a_stream_goes_straight_through() {
    let mut envoy = start(1, &["a"]);
    envoy.remove_plugin("a");
    envoy.run_for(SECOND);
    assert!(envoy.vms().is_empty());
    assert_eq!(envoy.exchange(0, Request::post("/", "body")).upstream_request.unwrap().body, b"body");
}

#[test]
fn a_plugin_that_comes_back_is_tried_again_in_fresh_vms_and_has_its_old_place() {
    let mut envoy = start(1, &["a", "b"]);
    for name in ["a", "b"] {
        envoy.remove_plugin(name);
    }
    envoy.run_for(Duration::ZERO);
    let before = said(&envoy).len();
    envoy.update_plugin("b", "1").unwrap();
    envoy.run_for(Duration::ZERO);
    envoy.update_plugin("a", "1").unwrap();
    envoy.run_for(Duration::ZERO);
    let reported = |role, id| (role, vec!["configure", id, "1"]);
    let reported = [
        reported("canary", "1"),
        reported("main", "1"),
        reported("worker 0", "1"),
        reported("canary", "1"),
        reported("main", "2"),
        reported("worker 0", "2"),
    ];
    let reported: Vec<(&str, &[&str])> =
        reported.iter().map(|(role, lines)| (*role, lines.as_slice())).collect();
    assert_eq!(since(&envoy, before), lines(&reported));
    let before = worker_said(&envoy).len();
    envoy.exchange(0, Request::get("/"));
    assert_eq!(
        worker_said(&envoy)[before..][..4],
        ["stream", "2", "stream", "1"],
        "`a` is first in the chain"
    );
}
