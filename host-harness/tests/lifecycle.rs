//! VMs: how they are made, what they are told, how they fail and come back.

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::{guest, host_said, options, said, start, start_in, worker_said};
use host_harness::{
    abi::VmLimits,
    envoy::{AnsweredBy, Envoy, EnvoyOptions, FailurePolicy, LoadFailure, Request, VmRole, VmState},
    world::Scripted,
};

const SECOND: Duration = Duration::from_secs(1);

/// Traps on requests to any path that is not "/".
const FRAGILE: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
    (if (i32.gt_u (i32.load (i32.const 20)) (i32.const 1)) (then unreachable))
    (i32.const 0))
  (func (export "proxy_on_log") (param i32) (call $tell @"log"))
  (func (export "proxy_on_done") (param i32) (result i32) (call $tell @"done") (i32.const 1))
"#;

/// Refuses the configuration of the third VM, which is the first worker's.
const REFUSES_ON_WORKER: &str = r#"
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (i32.lt_u (call $count) (i32.const 3)))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $set_property @"permit" @"yes"))
    (i32.const 0))
"#;

#[test]
fn every_vm_is_created_started_and_configured_the_canary_first() {
    let body = r#"
      (func (export "_initialize") (call $tell @"initialize"))
      (func (export "main") (param i32 i32) (result i32) (call $tell @"main") (i32.const 0))
      (func (export "proxy_on_context_create") (param $id i32) (param $parent i32)
        (call $tell @"create") (call $say (local.get $id)) (call $say (local.get $parent)))
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $tell @"start") (call $say (local.get 1)) (i32.const 1))
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $tell @"configure") (call $say (local.get 1)) (i32.const 1))
      (func (export "proxy_on_done") (param i32) (result i32) (call $tell @"done") (i32.const 1))
    "#;
    let mut options = EnvoyOptions { concurrency: 2, ..options() };
    options.plugin.configuration = b"abc".to_vec();
    options.plugin.vm_configuration = b"de".to_vec();
    let envoy = start_in(body, options, Scripted::new());

    let each = ["initialize", "main", "create", "1", "0", "start", "2", "configure", "3"];
    let roles = ["canary", "main", "worker 0", "worker 1"];
    let expected: Vec<String> =
        roles.iter().flat_map(|role| each.map(|message| format!("{role}: {message}"))).collect();
    assert_eq!(said(&envoy), expected);
    let states: Vec<(VmRole, VmState)> = envoy.vms().iter().map(|vm| (vm.role, vm.state)).collect();
    assert_eq!(
        states,
        [
            (VmRole::Main, VmState::Running),
            (VmRole::Worker(0), VmState::Running),
            (VmRole::Worker(1), VmState::Running)
        ]
    );
}

#[test]
fn the_plugin_configuration_can_be_read_in_on_configure_alone_and_that_of_the_vm_always() {
    let body = r#"
      (func $both (call $tell_buffer (i32.const 7)) (call $tell_buffer (i32.const 6)))
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $both) (i32.const 1))
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $both) (i32.const 1))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $both) (i32.const 0))
    "#;
    let mut options = options();
    options.plugin.configuration = b"plugin".to_vec();
    options.plugin.vm_configuration = b"vm".to_vec();
    let mut envoy = start_in(body, options, Scripted::new());
    envoy.exchange(0, Request::get("/"));
    assert_eq!(worker_said(&envoy), ["1", "vm", "plugin", "vm", "1", "vm"]);
}

#[test]
fn a_canary_that_says_no_keeps_envoy_from_starting_and_its_reason_is_told() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $log (i32.const 4) @"no such bundle"))
        (i32.const 0))
    "#;
    let error = Envoy::start(&guest(body), options(), Scripted::new()).err().unwrap();
    assert_eq!(error.role, VmRole::Canary);
    assert_eq!(error.reason, LoadFailure::Refused { callback: "proxy_on_configure" });
    assert!(error.to_string().ends_with("`proxy_on_configure` returned false: no such bundle"), "{error}");
}

#[test]
fn a_canary_that_traps_keeps_envoy_from_starting() {
    let body = r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) unreachable)"#;
    let error = Envoy::start(&guest(body), options(), Scripted::new()).err().unwrap();
    assert!(
        matches!(&error.reason, LoadFailure::Trap(trap) if trap.callback == "proxy_on_vm_start"),
        "{error}"
    );
}

#[test]
fn a_worker_that_says_no_lets_requests_pass_the_plugin_by() {
    let mut envoy = start_in(REFUSES_ON_WORKER, options(), Scripted::new());
    assert_eq!(envoy.vms()[1].state, VmState::Absent);
    let exchange = envoy.exchange(0, Request::get("/"));
    assert_eq!((exchange.status, exchange.answered_by), (200, Some(AnsweredBy::Upstream)));
    assert!(exchange.filter_state.is_empty());
    assert_eq!(
        host_said(&envoy),
        ["worker 0: the plugin is absent on this thread: `proxy_on_configure` returned false"]
    );
}

#[test]
fn the_seal_refuses_what_the_plugin_did_not_permit_also_where_it_is_absent() {
    let seal = Some(("wasm.permit".to_owned(), b"yes".to_vec()));
    let options = EnvoyOptions { concurrency: 2, seal, ..options() };
    // The fourth VM is the second worker's; only the third is refused.
    let body = REFUSES_ON_WORKER.replace("(i32.lt_u (call $count)", "(i32.ne (call $count)");
    let mut envoy = start_in(&body, options.clone(), Scripted::new());
    let bypassed = envoy.exchange(0, Request::get("/"));
    assert_eq!((bypassed.status, bypassed.text().as_str()), (403, "RBAC: access denied"));
    assert_eq!(bypassed.answered_by, Some(AnsweredBy::Envoy));
    assert_eq!(bypassed.upstream_request, None);
    let permitted = envoy.exchange(1, Request::get("/"));
    assert_eq!((permitted.status, permitted.answered_by), (200, Some(AnsweredBy::Upstream)));

    let other = body.replace(r#"@"yes""#, r#"@"no""#);
    let mut envoy = start_in(&other, options, Scripted::new());
    assert_eq!(envoy.exchange(1, Request::get("/")).status, 403);
}

#[test]
fn a_trap_answers_503_and_ends_the_vm_without_another_callback() {
    let mut envoy = start(FRAGILE);
    let exchange = envoy.exchange(0, Request::get("/trap"));
    assert_eq!((exchange.status, exchange.answered_by), (503, Some(AnsweredBy::Envoy)));
    assert_eq!((exchange.text().as_str(), exchange.details.as_str()), ("", "wasm_fail_stream"));
    assert_eq!(envoy.vms()[1].state, VmState::Failed);
    assert!(worker_said(&envoy).is_empty());
    assert!(host_said(&envoy)[0].starts_with("worker 0: `proxy_on_request_headers` failed:"));
}

#[test]
fn fail_closed_answers_503_for_ever() {
    let mut envoy = after_a_trap(FailurePolicy::FailClosed);
    envoy.run_for(SECOND * 3600);
    let exchange = envoy.exchange(0, Request::get("/"));
    assert_eq!((exchange.status, exchange.details.as_str()), (503, "wasm_fail_stream"));
    assert_eq!(envoy.vms()[1].loads, 1);
}

#[test]
fn fail_open_passes_the_plugin_by() {
    let mut envoy = after_a_trap(FailurePolicy::FailOpen);
    let exchange = envoy.exchange(0, Request::get("/"));
    assert_eq!((exchange.status, exchange.answered_by), (200, Some(AnsweredBy::Upstream)));
    assert!(worker_said(&envoy).is_empty());
}

#[test]
fn fail_reload_answers_503_until_the_backoff_has_passed_and_then_makes_a_fresh_vm() {
    let mut envoy = after_a_trap(FailurePolicy::FailReload);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 503);
    assert_eq!(envoy.metric("wasm.gate.vm_reload_backoff"), Some(1));
    // The wait is a second and a part of half a second that depends on the seed.
    envoy.run_for(SECOND - SECOND / 1000);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 503);
    envoy.run_for(SECOND / 2 + SECOND / 1000);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    assert_eq!(envoy.metric("wasm.gate.vm_reload_success"), Some(1));
    let worker = &envoy.vms()[1];
    assert_eq!((worker.state, worker.loads), (VmState::Running, 2));
    assert_eq!(worker_said(&envoy), ["log", "done"]);

    // The backoff counts from the last load, so the next failure is answered at once by a wait again.
    assert_eq!(envoy.exchange(0, Request::get("/trap")).status, 503);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 503);
    assert_eq!(envoy.metric("wasm.gate.vm_reload_backoff"), Some(3));
}

#[test]
fn a_reload_that_fails_answers_503_and_waits_for_another_backoff() {
    // The fourth VM that is configured is the first reload.
    let body = format!(
        "{FRAGILE} {}",
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.ne (call $count) (i32.const 4)))"#
    );
    let mut envoy = start(&body);
    envoy.exchange(0, Request::get("/trap"));
    envoy.run_for(SECOND * 2);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 503);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 503);
    assert_eq!(envoy.metric("wasm.gate.vm_reload_failure"), Some(1));
    assert_eq!(envoy.metric("wasm.gate.vm_reload_backoff"), Some(1));
    envoy.run_for(SECOND * 2);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
}

#[test]
fn a_main_vm_that_traps_never_comes_back() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (if (i32.eq (call $count) (i32.const 2)) (then (drop (call $set_tick (i32.const 100)))))
        (i32.const 1))
      (func (export "proxy_on_tick") (param i32) unreachable)
    "#;
    let mut envoy = start(body);
    envoy.run_for(SECOND * 60);
    envoy.exchange(0, Request::get("/"));
    let main = &envoy.vms()[0];
    assert_eq!((main.role, main.state, main.loads), (VmRole::Main, VmState::Failed, 1));
    assert_eq!(main.callbacks["proxy_on_tick"], 1);
}

#[test]
fn a_trap_on_one_worker_leaves_the_others_alone() {
    let mut envoy = start_in(FRAGILE, EnvoyOptions { concurrency: 2, ..options() }, Scripted::new());
    assert_eq!(envoy.exchange(0, Request::get("/trap")).status, 503);
    assert_eq!(envoy.exchange(1, Request::get("/")).status, 200);
}

#[test]
fn ticks_come_one_period_after_another_and_never_to_the_canary() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (drop (call $set_tick (i32.const 250))) (i32.const 1))
      (func (export "proxy_on_tick") (param i32) (call $tell @"tick"))
    "#;
    let mut envoy = start(body);
    envoy.run_for(Duration::from_millis(999));
    let times: Vec<(VmRole, u128)> = envoy.logs().iter().map(|line| (line.vm, line.at.as_millis())).collect();
    let expected: Vec<(VmRole, u128)> =
        [250, 500, 750].iter().flat_map(|at| [(VmRole::Main, *at), (VmRole::Worker(0), *at)]).collect();
    assert_eq!(times, expected);
    assert_eq!(envoy.now(), Duration::from_millis(999));
}

#[test]
fn a_new_period_counts_from_the_tick_that_sets_it_and_zero_stops_the_ticks() {
    let body = r#"
      (global $ticks (mut i32) (i32.const 0))
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (drop (call $set_tick (i32.const 100))) (i32.const 1))
      (func (export "proxy_on_tick") (param i32)
        (global.set $ticks (i32.add (global.get $ticks) (i32.const 1)))
        (call $say (global.get $ticks))
        (if (i32.eq (global.get $ticks) (i32.const 2)) (then (drop (call $set_tick (i32.const 1000)))))
        (if (i32.eq (global.get $ticks) (i32.const 3)) (then (drop (call $set_tick (i32.const 0))))))
    "#;
    let mut envoy = start(body);
    envoy.run_for(SECOND * 10);
    let worker = envoy.logs().iter().filter(|line| line.vm == VmRole::Worker(0));
    let times: Vec<u128> = worker.map(|line| line.at.as_millis()).collect();
    assert_eq!(times, [100, 200, 1200]);
    assert_eq!(envoy.vms()[1].tick_period, None);
}

#[test]
fn an_endless_callback_is_stopped_and_says_so() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (loop $for_ever (br $for_ever)) (i32.const 0))
    "#;
    let limits = VmLimits { callback_fuel: Some(1_000_000), ..VmLimits::default() };
    let mut envoy = start_in(body, EnvoyOptions { limits, ..options() }, Scripted::new());
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 503);
    assert_eq!(
        host_said(&envoy),
        ["worker 0: `proxy_on_request_headers` failed: callback exceeded its limit of 1000000 units of fuel"]
    );
}

#[test]
fn the_fuel_of_one_callback_is_not_taken_from_the_next() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (local $left i32) (local.set $left (i32.const 10000))
        (loop $some (br_if $some (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        (i32.const 0))
    "#;
    let limits = VmLimits { callback_fuel: Some(100_000), ..VmLimits::default() };
    let mut envoy = start_in(body, EnvoyOptions { limits, ..options() }, Scripted::new());
    for _ in 0..20 {
        assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    }
}

#[test]
fn a_guest_cannot_have_more_memory_than_its_limit() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (i32.eq (memory.grow (i32.const 100)) (i32.const -1)))
    "#;
    let limits = VmLimits { memory_bytes: 1024 * 1024, ..VmLimits::default() };
    let envoy = start_in(body, EnvoyOptions { limits, ..options() }, Scripted::new());
    assert_eq!(envoy.vms()[1].memory_bytes, 2 * 65536);
}

#[test]
fn every_vm_has_random_numbers_of_its_own_which_the_seed_decides() {
    let body = r#"
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (drop (call $random_get (i32.const 100) (i32.const 4))) (call $say (i32.load (i32.const 100))) (i32.const 1))
    "#;
    let numbers = |seed| -> Vec<String> {
        let envoy = start_in(body, EnvoyOptions { seed, ..options() }, Scripted::new());
        envoy.logs().iter().map(|line| line.message.clone()).collect()
    };
    let [first, second] = [numbers(1), numbers(2)];
    assert_eq!(first, numbers(1));
    let all: BTreeSet<&String> = first.iter().chain(&second).collect();
    assert_eq!(all.len(), 6);
}

#[test]
fn a_start_function_may_log_but_not_reach_for_the_proxy() {
    let body = r#"(func (export "_initialize") (drop (call $set_tick (i32.const 1))))"#;
    let error = Envoy::start(&guest(body), options(), Scripted::new()).err().unwrap().to_string();
    assert!(error.contains("restricted_callback: `proxy_set_tick_period_milliseconds`"), "{error}");
}

#[test]
fn at_shutdown_every_root_is_done_and_one_that_waits_is_deleted_when_it_says_so() {
    let body = r#"
      (func (export "proxy_on_done") (param i32) (result i32)
        (call $tell @"done")
        (call $fetch @"upstream" @pairs(":method: POST; :path: /logs; :authority: a") (i32.const 0))
        (call $say (call $done))
        (i32.const 0))
      (func (export "proxy_on_tick") (param i32) (call $say (call $done)))
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (drop (call $set_tick (i32.const 100))) (i32.const 1))
      (func (export "proxy_on_delete") (param i32) (call $tell @"delete"))
    "#;
    let mut envoy = start(body);
    envoy.shut_down();
    // A call is taken, and `proxy_done` is not awaited before on_done has returned false.
    assert_eq!(worker_said(&envoy), ["done", "0", "1"]);
    assert!(envoy.world().seen().is_empty());
    envoy.run_for(SECOND);
    assert_eq!(worker_said(&envoy), ["done", "0", "1", "0", "delete"]);
}

fn after_a_trap(failure_policy: FailurePolicy) -> Envoy<Scripted> {
    let mut options = options();
    options.plugin.failure_policy = failure_policy;
    let mut envoy = start_in(FRAGILE, options, Scripted::new());
    assert_eq!(envoy.exchange(0, Request::get("/trap")).status, 503);
    envoy
}
