//! Going back to the beginning, again and again.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::*;

fn digest(bench: &Bench) -> u64 {
    let mut hasher = DefaultHasher::new();
    let (said, calls, data, bytes) = bench.outcome();
    said.hash(&mut hasher);
    calls.hash(&mut hasher);
    bytes.hash(&mut hasher);
    for (key, (value, cas)) in data {
        (key, value.as_ref(), cas).hash(&mut hasher);
    }
    hasher.finish()
}

#[test]
fn ten_thousand_runs_from_one_beginning_are_the_same_run() {
    // Without growth, so that the same instance serves all of them.
    let body = BUSY.replace("(drop (memory.grow (i32.const 3)))", "");
    let mut bench = Bench::new(&body);
    bench.freeze();
    bench.plain_tick().unwrap();
    bench.plain_tick().unwrap();
    let expected = digest(&bench);
    for run in 0..10_000_usize {
        bench.restore();
        bench.tick(Plan::at([run % 9])).unwrap();
        bench.tick(Plan::at([run % 7, 8])).unwrap();
        assert_eq!(digest(&bench), expected, "run {run}");
    }
}

#[test]
fn a_guest_that_grows_in_every_run_goes_back_to_its_size() {
    let mut bench = Bench::new(BUSY);
    bench.plain_tick().unwrap();
    bench.freeze();
    let size = bench.memory_bytes();
    bench.plain_tick().unwrap();
    let expected = digest_after_restore(&mut bench, Plan::never());
    for run in 0..50 {
        bench.restore();
        assert_eq!(bench.memory_bytes(), size, "run {run}");
        assert_eq!(digest_after_restore(&mut bench, Plan::at([run % 9])), expected, "run {run}");
        assert!(bench.memory_bytes() > size, "it grows every time");
    }
}

fn digest_after_restore(bench: &mut Bench, plan: Plan) -> u64 {
    bench.restore();
    bench.tick(plan).unwrap();
    digest(bench)
}

#[test]
fn a_vm_goes_back_after_a_trap_and_after_a_hold() {
    let body = r#"(func (export "proxy_on_tick") (param i32)
        (call $say (call $count))
        (i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1)))
        (call $say (i32.load (i32.const 512)))
        (if (i32.ge_u (i32.load (i32.const 512)) (i32.const 2)) (then (unreachable))))"#;
    let mut bench = Bench::new(body);
    bench.freeze();
    for _ in 0..5 {
        bench.restore();
        bench.tick(Plan::at([2])).unwrap();
        assert_eq!(bench.host().said, ["1", "1"]);
        assert!(bench.tick(Plan::at([1])).is_err());
        assert_eq!(bench.host().said, ["1", "1", "2", "2"]);
        bench.restore();
        // Held, and never gone on with.
        bench.plan(Plan::at([2]));
        assert!(bench.call(0).is_err());
    }
}

#[test]
fn every_page_that_changed_goes_back() {
    // The tick adds one to the first word of every 4096 bytes of its memory and tells the sum.
    let body = r#"(func (export "proxy_on_tick") (param i32) (local $at i32) (local $sum i32)
        (drop (call $count))
        (local.set $at (i32.const 69632))
        (loop $page
          (i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (i32.const 1)))
          (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 4096)))
          (br_if $page (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
        (call $say (local.get $sum))
        (drop (call $count)))"#;
    let mut bench = Bench::new(body);
    bench.plain_tick().unwrap();
    bench.freeze();
    for run in 0..100 {
        bench.restore();
        bench.tick(Plan::at([run % 5])).unwrap();
        bench.tick(Plan::at([4])).unwrap();
        assert_eq!(bench.host().said, ["30", "45"], "15 pages, run {run}");
    }
}
