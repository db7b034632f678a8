//! A guest's allocator is the one function that the host calls in the middle of a hostcall.

use host_harness::envoy::{Request, VmState};

use crate::{assert_host_serves, common, last_words, load, start};

/// Bodies of an allocator that is given the size, and the status that the guest sees: 0 is Ok, 6 InvalidMemoryAccess.
/// The memory has 2 pages of 65536 bytes, and `plugin_name` is 4 bytes.
const ANSWERS: [(&str, &str); 9] = [
    ("(i32.const 0)", "6"),
    ("(i32.const -1)", "6"),
    ("(i32.const -4)", "6"),
    ("(i32.const 131072)", "6"),
    ("(i32.const 131069)", "6"),
    ("(i32.const 131068)", "0"),
    ("(i32.const 0x7fffffff)", "6"),
    // Odd, and where the host puts the pointer itself: the guest's own loss.
    ("(i32.const 4097)", "0"),
    ("(i32.const 16)", "0"),
];

/// Bodies of an allocator that ends the VM, and what is said of it.
const ENDINGS: [(&str, &str); 8] = [
    ("(loop $for_ever (br $for_ever)) (i32.const 64)", "exceeded its limit of"),
    ("(unreachable)", "`unreachable` instruction executed"),
    ("(call $malloc (local.get 0))", "call stack exhausted"),
    (
        r#"(drop (call $get_property @"plugin_name" (i32.const 16) (i32.const 20))) (i32.const 64)"#,
        "restricted_callback: `proxy_get_property` cannot be called while the guest allocates memory",
    ),
    (
        r#"(drop (call $set_shared @"k" @"v" (i32.const 0))) (i32.const 64)"#,
        "restricted_callback: `proxy_set_shared_data` cannot be called while",
    ),
    (
        r#"(call $answer (i32.const 403) @"no") (i32.const 64)"#,
        "restricted_callback: `proxy_send_local_response` cannot be called while",
    ),
    (
        "(drop (call $random_get (i32.const 32) (i32.const 8))) (i32.const 64)",
        "restricted_callback: `random_get` cannot be called while",
    ),
    ("(drop (call $done)) (i32.const 64)", "restricted_callback: `proxy_done` cannot be called while"),
];

/// Asks for a property on every request to a path longer than "/".
const ASKS: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (global.get $evil) (then
      (call $say (call $get_property @"plugin_name" (i32.const 16) (i32.const 20)))))
    (global.set $evil (i32.const 1))
    (i32.const 0))
  (global $evil (mut i32) (i32.const 0))
"#;

#[test]
fn memory_that_is_not_the_guests_is_a_status_and_the_rest_is_used() {
    for (body, status) in ANSWERS {
        let mut envoy = start(&load(&with_allocator(body)));
        for _ in 0..2 {
            assert_eq!(envoy.exchange(0, Request::get("/")).status, 200, "{body}");
        }
        assert_eq!(common::worker_said(&envoy), [status], "{body}");
        assert_host_serves(&mut envoy, body);
    }
}

#[test]
fn an_allocator_that_does_not_return_or_calls_the_host_ends_the_vm() {
    for (body, cause) in ENDINGS {
        let mut envoy = start(&load(&with_allocator(body)));
        assert_eq!(envoy.exchange(0, Request::get("/")).status, 200, "{body}");
        assert_eq!(envoy.exchange(0, Request::get("/")).status, 503, "{body}");
        assert_eq!(envoy.vms()[1].state, VmState::Failed, "{body}");
        let words = last_words(&envoy);
        assert!(
            words.starts_with("`proxy_on_request_headers` failed: ") && words.contains(cause),
            "{body}: {words}"
        );
        assert_host_serves(&mut envoy, body);
    }
}

#[test]
fn an_allocator_may_log_ask_for_the_time_and_grow_the_memory() {
    let bodies = [
        r#"(call $tell @"allocating") (i32.const 64)"#,
        "(drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 32))) (i32.const 64)",
        "(drop (memory.grow (i32.const 64))) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4))",
    ];
    for body in bodies {
        let mut envoy = start(&load(&with_allocator(body)));
        for _ in 0..2 {
            assert_eq!(envoy.exchange(0, Request::get("/")).status, 200, "{body}");
        }
        assert_eq!(common::worker_said(&envoy).last().unwrap(), "0", "{body}");
    }
}

/// The asking guest with another allocator than the prelude's.
fn with_allocator(body: &str) -> String {
    let own = format!(
        r#"(func $other (export "malloc") (param i32) (result i32) {})"#,
        body.replace("$malloc", "$other")
    );
    common::guest_text(&(ASKS.to_owned() + &own))
}
