//! A callback that is held in the middle and goes on later: it comes out as if nobody had held it.
//!
//! Guests here are called through the ABI alone, by a host that holds where a test says.

#[path = "../common/mod.rs"]
mod common;
mod host;
mod restoring;
mod resuming;

use host::{Bench, Plan};

/// A callback that does a bit of everything that can go wrong when it is run again from its start: it moves a stack
/// pointer, counts in a global and in memory, allocates, grows its memory, and tells what it was answered.
const BUSY: &str = r#"
  (global $stack (mut i32) (i32.const 60000))
  (global $times (mut i64) (i64.const 0))
  (func $push (param $value i32)
    (global.set $stack (i32.sub (global.get $stack) (i32.const 16)))
    (i32.store (global.get $stack) (local.get $value)))
  (func (export "proxy_on_tick") (param i32)
    (call $push (i32.const 7))
    (global.set $times (i64.add (global.get $times) (i64.const 1)))
    (i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1)))
    (call $tell @"begins")
    (call $say (call $count))
    (drop (call $malloc (i32.const 100)))
    (call $say (call $count))
    (drop (call $random_get (i32.const 520) (i32.const 4)))
    (call $say (i32.load (i32.const 520)))
    (drop (call $get_time (i32.const 32)))
    (call $say (i32.wrap_i64 (i64.load (i32.const 32))))
    (drop (memory.grow (i32.const 3)))
    (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (i32.const 5))
    (call $say (call $count))
    (call $push (i32.const 9))
    (call $say (call $count))
    (call $say (global.get $stack))
    (call $say (i32.wrap_i64 (global.get $times)))
    (call $say (i32.load (i32.const 512)))
    (call $say (global.get $top))
    (call $say (memory.size)))
"#;

#[test]
fn the_busy_guest_comes_to_eight_places_where_it_can_be_held() {
    let mut bench = Bench::new(BUSY);
    bench.tick(Plan::never()).unwrap();
    assert_eq!(bench.host().points, 8, "four times a get and a set");
    assert_eq!(
        bench.host().said,
        ["begins", "1", "2", "1000", "1001", "3", "4", "59968", "1", "1", "32896", "5"]
    );
}
