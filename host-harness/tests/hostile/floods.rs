//! Too much of everything: memory, messages, items, headers, calls, and work that never ends.

use std::time::Duration;

use host_harness::{
    abi::VmLimits,
    envoy::{AnsweredBy, EnvoyOptions, Request, VmState},
    world::{Reply, Scripted},
};

use crate::{assert_host_serves, common, last_words, load, start};

const MIB: usize = 1024 * 1024;

/// Hostcalls in a loop without end, each of which makes the host do or keep something.
const ENDLESS_CALLS: [(&str, &str); 17] = [
    ("messages", "(drop (call $log (i32.const 2) (i32.const 0) (i32.const 65536)))"),
    ("prints", "(drop (call $fd_write (i32.const 1) (i32.const 40) (i32.const 1) (i32.const 24)))"),
    ("clock", "(drop (call $get_time (i32.const 32)))"),
    ("properties", r#"(drop (call $get_property @"plugin_name" (i32.const 16) (i32.const 20)))"#),
    (
        "filter state",
        "(call $next) (drop (call $set_property (i32.const 48) (i32.const 4) (i32.const 0) (i32.const 65536)))",
    ),
    (
        "shared data",
        "(call $next) (drop (call $set_shared (i32.const 48) (i32.const 4) (i32.const 0) (i32.const 65536) (i32.const 0)))",
    ),
    ("queues", "(call $next) (drop (call $register_queue (i32.const 48) (i32.const 4) (i32.const 24)))"),
    ("items", "(drop (call $enqueue (i32.const 1) (i32.const 0) (i32.const 65536)))"),
    (
        "metrics",
        "(call $next) (drop (call $define_metric (i32.const 0) (i32.const 48) (i32.const 4) (i32.const 24)))",
    ),
    (
        "headers",
        "(drop (call $add_header (i32.const 0) (i32.const 48) (i32.const 4) (i32.const 0) (i32.const 1024)))",
    ),
    ("pairs", "(drop (call $get_pairs (i32.const 0) (i32.const 16) (i32.const 20)))"),
    (
        "local responses",
        "(drop (call $respond (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 65536) (i32.const 0) (i32.const 0) (i32.const -1)))",
    ),
    ("resumptions", "(drop (call $continue (i32.const 0)))"),
    ("resets", "(drop (call $close (i32.const 0)))"),
    (
        "calls",
        r#"(drop (call $http_call @"side" @pairs(":method: GET; :path: /; :authority: a") (i32.const 0) (i32.const 65536)
             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 24)))"#,
    ),
    (
        "gRPC streams",
        r#"(drop (call $grpc_stream @"hub" @"svc.S" @"Ask" (i32.const 0) (i32.const 0) (i32.const 24)))
           (drop (call $grpc_send (i32.load (i32.const 24)) (i32.const 0) (i32.const 65536) (i32.const 0)))"#,
    ),
    ("ticks", "(drop (call $set_tick (i32.const 1)))"),
];

#[test]
fn hostcalls_without_end_are_stopped_by_what_they_cost() {
    for (what, call) in ENDLESS_CALLS {
        let body = format!(
            r#"(func $next (i32.store (i32.const 48) (i32.add (i32.load (i32.const 48)) (i32.const 1))))
               (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
                 (i32.store (i32.const 40) (i32.const 0)) (i32.store (i32.const 44) (i32.const 65536))
                 (drop (call $register_queue @"q" (i32.const 24))) (i32.const 1))
               {}"#,
            when_evil(&format!("(loop $for_ever {call} (br $for_ever))"))
        );
        let mut envoy = start(&load(&common::guest_text(&body)));
        let exchange = envoy.exchange(0, Request::get("/evil"));
        assert_ne!(exchange.answered_by, Some(AnsweredBy::Upstream), "{what}");
        assert_eq!(envoy.vms()[1].state, VmState::Failed, "{what}");
        assert!(last_words(&envoy).contains("exceeded its limit of 50000000 units of fuel"), "{what}");
        // 50 million units are at most 50,000 hostcalls and 12.5 million bytes.
        assert!(envoy.logs().len() <= 50_100, "{what}");
        assert!(envoy.logs().iter().map(|line| line.message.len()).sum::<usize>() < 64 * MIB, "{what}");
        assert_host_serves(&mut envoy, what);
    }
}

#[test]
fn instructions_on_much_memory_at_once_cost_their_bytes() {
    let deeds = [
        "(memory.fill (i32.const 0) (i32.const 7) (i32.const 1048576))",
        "(memory.copy (i32.const 0) (i32.const 1048576) (i32.const 1048576))",
        "(table.fill $big (i32.const 0) (ref.null func) (i32.const 100000))",
    ];
    for deed in deeds {
        let body = String::from("(table $big 100000 funcref)")
            + &when_evil(&format!(
                "(drop (memory.grow (i32.const 32))) (loop $for_ever {deed} (br $for_ever))"
            ));
        let mut envoy = start(&load(&common::guest_text(&body)));
        assert_eq!(envoy.exchange(0, Request::get("/evil")).status, 503, "{deed}");
        assert!(last_words(&envoy).contains("exceeded its limit of"), "{deed}: {}", last_words(&envoy));
        assert_host_serves(&mut envoy, deed);
    }
}

#[test]
fn memory_and_tables_grow_to_their_limits_and_not_beyond() {
    let body = String::from("(table $t 1 funcref)")
        + &when_evil(
            "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
             (call $say (memory.size))
             (call $say (memory.grow (i32.const 1)))
             (i32.store8 (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1)) (i32.const 1))
             (call $say (table.grow $t (ref.null func) (i32.const 10000000)))
             (call $say (table.grow $t (ref.null func) (i32.const 9999999)))
             (call $say (table.grow $t (ref.null func) (i32.const 1)))",
        );
    let mut envoy = start(&load(&common::guest_text(&body)));
    assert_eq!(envoy.exchange(0, Request::get("/evil")).status, 200, "{}", last_words(&envoy));
    let none = u32::MAX.to_string();
    assert_eq!(common::worker_said(&envoy), ["512", &none, &none, "1", &none]);
    assert_eq!(envoy.vms()[1].memory_bytes, 32 * MIB);
    assert_host_serves(&mut envoy, "a full memory");
}

#[test]
fn a_hundred_thousand_items_are_told_of_one_by_one() {
    let body = String::from(
        r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32)
             (drop (call $register_queue @"q" (i32.const 24))) (i32.const 1))
           (func (export "proxy_on_queue_ready") (param i32 i32)
             (drop (call $dequeue (local.get 1) (i32.const 16) (i32.const 20))))"#,
    ) + &when_evil(
        "(local $left i32) (local.set $left (i32.const 100000))
         (loop $more
           (drop (call $enqueue (i32.const 1) (local.get $left) (i32.const 1)))
           (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))",
    );
    let mut envoy = common::start_in(&body, two_workers(VmLimits::default()), Scripted::new());
    assert_eq!(envoy.exchange(0, Request::get("/evil")).status, 200);
    envoy.run_for(Duration::from_secs(1));
    // The last that registered is worker 1.
    assert_eq!(envoy.vms()[2].callbacks["proxy_on_queue_ready"], 100_000);
    assert_host_serves(&mut envoy, "items");
}

#[test]
fn a_consumer_that_puts_every_item_back_leaves_room_for_others() {
    let body = r#"
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (drop (call $register_queue @"q" (i32.const 24)))
        (drop (call $enqueue (i32.load (i32.const 24)) @"item"))
        (i32.const 1))
      (func (export "proxy_on_queue_ready") (param i32 i32)
        (drop (call $dequeue (local.get 1) (i32.const 16) (i32.const 20)))
        (drop (call $enqueue (local.get 1) @"item")))
    "#;
    let mut envoy = common::start_in(body, two_workers(VmLimits::default()), Scripted::new());
    let now = envoy.now();
    for _ in 0..10_000 {
        assert!(envoy.step(now + Duration::from_secs(1)), "there is always another one");
    }
    assert_eq!(envoy.now(), now, "and no time passes");
    let bound = 100;
    let id = envoy.begin(0, Request::get("/"));
    let steps = (0..bound).position(|_| {
        envoy.step(Duration::MAX);
        envoy.take(id).is_some()
    });
    assert!(steps.is_some(), "the request did not end in {bound} steps");
}

#[test]
fn giant_values_cross_whole_and_one_that_has_no_room_ends_with_the_guest() {
    // 16 MiB of shared data, as another VM reads it.
    let body = String::from(
        r#"(func (export "proxy_on_tick") (param i32)
             (call $say (call $get_shared @"giant" (i32.const 16) (i32.const 20) (i32.const 24)))
             (call $say (i32.load (i32.const 20)))
             (call $say (call $get_shared @"giant" (i32.const 16) (i32.const 20) (i32.const 24)))
             (drop (call $set_tick (i32.const 0))))
           (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
             (drop (call $set_tick (i32.const 10))) (i32.const 0))"#,
    ) + &when_evil(
        r#"(drop (memory.grow (i32.const 256)))
           (call $say (call $set_shared @"giant" (i32.const 65536) (i32.const 16777216) (i32.const 0)))"#,
    );
    let limits = VmLimits { memory_bytes: 64 * MIB, ..VmLimits::default() };
    let mut envoy = common::start_in(&body, two_workers(limits), Scripted::new());
    envoy.exchange(0, Request::get("/evil"));
    envoy.exchange(1, Request::get("/"));
    envoy.run_for(Duration::from_secs(1));
    assert_eq!(envoy.shared_data("giant").unwrap().0.len(), 16 * MIB);
    let said = common::said(&envoy);
    let of = |role: &str| -> Vec<&str> { said.iter().filter_map(|line| line.strip_prefix(role)).collect() };
    assert_eq!(of("worker 1: "), ["0", "16777216", "0"]);
    assert_eq!(of("worker 0: "), ["0", "0", "16777216", "0"]);

    // Where there is no room for it twice, the prelude's allocator gives an address outside: a status.
    let limits = VmLimits { memory_bytes: 24 * MIB, ..VmLimits::default() };
    let mut envoy = common::start_in(&body, two_workers(limits), Scripted::new());
    envoy.exchange(0, Request::get("/evil"));
    envoy.run_for(Duration::from_secs(1));
    let said = common::worker_said(&envoy);
    assert_eq!(said, ["0", "0", "16777216", "6"]);
    assert_host_serves(&mut envoy, "a giant without room");
}

#[test]
fn giant_and_countless_headers_reach_the_upstream() {
    let many = when_evil(
        r#"(local $left i32) (local.set $left (i32.const 10000))
           (drop (memory.grow (i32.const 128)))
           (memory.fill (i32.const 65536) (i32.const 97) (i32.const 8388608))
           (drop (call $replace_header (i32.const 0) @"x-giant" (i32.const 65536) (i32.const 8388608)))
           (loop $more
             (drop (call $add_header (i32.const 0) @"x-many" @"v"))
             (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))"#,
    );
    let mut envoy = common::start_in(&many, two_workers(VmLimits::default()), Scripted::new());
    let exchange = envoy.exchange(0, Request::get("/evil"));
    assert_eq!(exchange.status, 200);
    let headers = &exchange.upstream_request.unwrap().headers;
    let giant = headers.iter().find(|(name, _)| name == b"x-giant").unwrap();
    assert_eq!(giant.1.len(), 8 * MIB);
    assert_eq!(headers.iter().filter(|(name, _)| name == b"x-many").count(), 10_000);
    assert_host_serves(&mut envoy, "headers");
}

#[test]
fn of_a_storm_of_local_responses_the_client_gets_one() {
    let storm = r#"
      (local $left i32) (local.set $left (i32.const 1000))
      (loop $more
        (call $answer (i32.add (i32.const 400) (i32.rem_u (local.get $left) (i32.const 100))) @"storm")
        (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    "#;
    let response = format!(
        r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) {storm} (i32.const 0))
           (func (export "proxy_on_log") (param i32) {storm})
           (func (export "proxy_on_done") (param i32) (result i32) {storm} (i32.const 1))"#
    );
    let body = response + &when_evil(storm);
    let mut envoy = common::start_in(&body, two_workers(VmLimits::default()), Scripted::new());
    let exchange = envoy.exchange(0, Request::get("/evil"));
    assert_eq!((exchange.status, exchange.text().as_str()), (400, "storm"));
    assert_eq!(exchange.answered_by, Some(AnsweredBy::LocalResponse));
    assert_eq!(envoy.vms()[1].state, VmState::Running);
    let mut other = common::start(common::WITNESS);
    assert_eq!(other.exchange(0, Request::get("/")).status, 200);
}

#[test]
fn a_storm_of_calls_is_answered_call_by_call_and_a_dead_vm_gets_none() {
    let calls = r#"
      (local $left i32) (local.set $left (i32.const 5000))
      (loop $more
        (drop (call $http_call @"side" @pairs(":method: GET; :path: /; :authority: a") (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 24)))
        (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    "#;
    let answered = r#"(func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32))"#;
    for (deed, answers) in [(calls.to_owned(), 5000), (format!("{calls} unreachable"), 0)] {
        let world = Scripted::new().reply("side", "/", Reply::status(200).after(Duration::from_millis(10)));
        let body = answered.to_owned() + &when_evil(&deed);
        let mut envoy = common::start_in(&body, two_workers(VmLimits::default()), world);
        envoy.exchange(0, Request::get("/evil"));
        envoy.run_for(Duration::from_secs(1));
        let count = envoy.vms()[1].callbacks.get("proxy_on_http_call_response").copied().unwrap_or_default();
        assert_eq!(count, answers);
        assert_eq!(envoy.world().seen().iter().filter(|seen| seen.call.cluster == "side").count(), 5000);
        assert_host_serves(&mut envoy, "calls");
    }
}

#[test]
fn the_shortest_tick_takes_no_more_than_its_time() {
    let body = r#"
      (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (drop (call $set_tick (i32.const 1))) (i32.const 1))
      (func (export "proxy_on_tick") (param i32) (drop (call $set_tick (i32.const 1))))
    "#;
    let mut envoy = common::start_in(body, two_workers(VmLimits::default()), Scripted::new());
    let before = envoy.vms()[1].callbacks.get("proxy_on_tick").copied().unwrap_or_default();
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
    envoy.run_for(Duration::from_secs(1));
    let ticks = envoy.vms()[1].callbacks["proxy_on_tick"] - before;
    assert!((999..=1001).contains(&ticks), "{ticks} ticks in a second");
}

/// What a guest does in the headers of a request to a path longer than "/".
fn when_evil(deed: &str) -> String {
    let is_evil = r#"
      (func $is_evil (result i32)
        (drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
        (i32.gt_u (i32.load (i32.const 20)) (i32.const 1)))
    "#;
    format!(
        r#"{is_evil} (func $evil {deed})
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (if (call $is_evil) (then (call $evil))) (i32.const 0))"#
    )
}

fn two_workers(limits: VmLimits) -> EnvoyOptions {
    EnvoyOptions { concurrency: 2, limits, ..common::options() }
}
