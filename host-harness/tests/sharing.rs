//! What VMs share: data with its CAS numbers, and queues with their one consumer.

mod common;

use std::time::Duration;

use common::{options, said, start, start_in, worker_said};
use host_harness::{
    envoy::{EnvoyOptions, Request, VmState},
    world::Scripted,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn all_vms_see_the_same_data_and_a_lease_has_one_holder() {
    let body = r#"
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (call $say (call $set_shared @"lease" @"mine" (i32.const -1)))
        (call $clear)
        (call $say (call $get_shared @"lease" (i32.const 16) (i32.const 20) (i32.const 24)))
        (call $tell_result)
        (call $say (i32.load (i32.const 24)))
        (call $say (call $get_shared @"nothing" (i32.const 16) (i32.const 20) (i32.const 24)))
        (i32.const 1))
    "#;
    let envoy = start(body);
    let of = |role: &str, statuses: [&str; 5]| statuses.map(|status| format!("{role}: {status}"));
    assert_eq!(
        said(&envoy),
        [
            of("canary", ["0", "0", "mine", "1", "1"]),
            of("main", ["8", "0", "mine", "1", "1"]),
            of("worker 0", ["8", "0", "mine", "1", "1"])
        ]
        .concat()
    );
    assert_eq!(envoy.shared_data("lease").unwrap().1, 1);
    assert_eq!(envoy.shared_data("nothing"), None);
}

#[test]
fn a_bad_place_for_the_cas_number_is_a_status() {
    let body = r#"
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (drop (call $set_shared @"k" @"v" (i32.const 0)))
        (call $say (call $get_shared @"k" (i32.const 16) (i32.const 20) (i32.const -1)))
        (call $say (call $get_shared @"k" (i32.const -1) (i32.const 20) (i32.const 24)))
        (i32.const 1))
    "#;
    assert_eq!(worker_said(&start(body)), ["6", "6"]);
}

/// Every VM registers the queue `q`; requests put items in, and the notice takes them out.
const QUEUE: &str = r#"
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
    (drop (call $register_queue @"q" (i32.const 24))) (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $say (call $resolve_queue (i32.const 0) (i32.const 0) @"q" (i32.const 24)))
    (call $say (call $enqueue (i32.load (i32.const 24)) @"one"))
    (call $say (call $enqueue (i32.load (i32.const 24)) @"two"))
    (call $tell @"sent")
    (i32.const 0))
  (func (export "proxy_on_queue_ready") (param $root i32) (param $token i32)
    (local $status i32)
    (call $say (local.get $root))
    (loop $next
      (local.set $status (call $dequeue (local.get $token) (i32.const 16) (i32.const 20)))
      (if (local.get $status)
        (then (call $say (local.get $status)))
        (else (call $tell_result) (br $next)))))
"#;

#[test]
fn the_last_that_registered_is_told_of_each_item_after_the_callback_that_sent_it() {
    let mut envoy = start_in(QUEUE, EnvoyOptions { concurrency: 2, ..options() }, Scripted::new());
    envoy.exchange(0, Request::get("/"));
    envoy.run_for(SECOND);
    assert_eq!(
        said(&envoy),
        [
            "worker 0: 0",
            "worker 0: 0",
            "worker 0: 0",
            "worker 0: sent",
            // One notice for each item: the first finds both, the second none. 7 is Empty.
            "worker 1: 1",
            "worker 1: one",
            "worker 1: two",
            "worker 1: 7",
            "worker 1: 1",
            "worker 1: 7"
        ]
    );
}

#[test]
fn a_notice_for_a_vm_that_has_failed_is_lost_and_the_item_stays() {
    let body = QUEUE.replace(r#"(call $tell @"sent")"#, "unreachable");
    let mut envoy = start(&body);
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 503);
    envoy.run_for(SECOND);
    assert_eq!(worker_said(&envoy), ["0", "0", "0"]);
    assert_eq!(envoy.vms()[1].state, VmState::Failed);

    // The fresh VM registers again and is told of new items, among which it finds the old ones.
    let body = QUEUE.replace(
        r#"(call $tell @"sent")"#,
        r#"(drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
           (if (i32.gt_u (i32.load (i32.const 20)) (i32.const 1)) (then unreachable))"#,
    );
    let mut envoy = start(&body);
    envoy.exchange(0, Request::get("/trap"));
    envoy.run_for(SECOND * 2);
    envoy.exchange(0, Request::get("/"));
    envoy.run_for(SECOND);
    assert_eq!(worker_said(&envoy)[3..], ["0", "0", "0", "1", "one", "two", "one", "two", "7", "1", "7"]);
}

#[test]
fn queues_are_resolved_by_vm_id_and_an_unknown_one_is_not_found() {
    let body = r#"
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (drop (call $register_queue @"q" (i32.const 24)))
        (call $say (i32.load (i32.const 24)))
        (call $say (call $resolve_queue @"gate_vm" @"q" (i32.const 24)))
        (call $say (call $resolve_queue @"other_vm" @"q" (i32.const 24)))
        (call $say (call $resolve_queue (i32.const 0) (i32.const 0) @"r" (i32.const 24)))
        (call $say (call $enqueue (i32.const 99) @"x"))
        (call $say (call $dequeue (i32.const 99) (i32.const 16) (i32.const 20)))
        (i32.const 1))
    "#;
    assert_eq!(worker_said(&start(body)), ["1", "0", "1", "1", "1", "1"]);
}
