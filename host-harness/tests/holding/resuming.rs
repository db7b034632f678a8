//! Holding a callback and going on with it.

use host_harness::abi::{Stop, VmLimits};

use super::*;

/// What the busy guest does in three ticks that are never held.
fn undisturbed() -> host::Outcome {
    let mut bench = Bench::new(BUSY);
    for _ in 0..3 {
        bench.plain_tick().unwrap();
    }
    bench.outcome()
}

#[test]
fn a_callback_that_is_held_at_any_of_its_hostcalls_comes_out_the_same() {
    let expected = undisturbed();
    for frozen in [false, true] {
        for place in 1..=8 {
            let mut bench = Bench::new(BUSY);
            if frozen {
                bench.freeze();
            }
            for _ in 0..3 {
                bench.tick(Plan::at([place])).unwrap();
            }
            assert_eq!(bench.holds, 3);
            assert_eq!(bench.outcome(), expected, "held at {place}, frozen {frozen}");
        }
    }
}

#[test]
fn a_callback_that_is_held_at_every_hostcall_in_turn_comes_out_the_same() {
    let expected = undisturbed();
    for times in [1, 2, 5] {
        let mut bench = Bench::new(BUSY);
        bench.freeze();
        for _ in 0..3 {
            bench.tick(Plan::again_and_again(1..=8, times)).unwrap();
        }
        assert_eq!(bench.holds, 3 * 8 * times);
        assert_eq!(bench.outcome(), expected, "held {times} times at every place");
    }
}

#[test]
fn holding_some_callbacks_leaves_no_trace_in_others() {
    let expected = undisturbed();
    // All combinations of holding at the first, a middle and the last place in each of three ticks.
    for choice in 0..64_usize {
        let mut bench = Bench::new(BUSY);
        bench.freeze();
        for tick in 0..3 {
            let plan = match choice >> (2 * tick) & 3 {
                0 => Plan::never(),
                1 => Plan::at([1]),
                2 => Plan::at([2, 5]),
                _ => Plan::at([8]),
            };
            bench.tick(plan).unwrap();
        }
        assert_eq!(bench.outcome(), expected, "choice {choice}");
    }
}

#[test]
fn what_others_do_in_between_is_seen_by_what_comes_after() {
    let mut bench = Bench::of(BUSY, 2, VmLimits::default());
    bench.freeze();
    bench.plan(Plan::at([2, 5]));
    // The first VM has read that there is nothing, and is held before it writes 1.
    assert_eq!(bench.call(0), Err(Stop::Held));
    bench.plan(Plan::never());
    assert_eq!(bench.call(1), Ok(Some(0)));
    assert_eq!(bench.host().data[&b"count"[..]].0.as_ref(), [4]);
    // It goes on and writes 1 over the other's 4, and counts on from there.
    assert_eq!(bench.call(0), Ok(Some(0)));
    assert_eq!(bench.host().data[&b"count"[..]].0.as_ref(), [4]);
    let numbers: Vec<&str> =
        bench.host().said.iter().map(String::as_str).filter(|said| said.len() == 1).collect();
    assert_eq!(numbers[..4], ["1", "2", "3", "4"]);
    assert_eq!(bench.host().said.iter().filter(|said| *said == "begins").count(), 2, "each begins once");
}

#[test]
fn two_vms_are_held_at_once_and_neither_disturbs_the_other() {
    // Which VM is called next, until both are through: all interleavings of their nine parts would be 48,620.
    for pattern in 0..512_u32 {
        let mut bench = Bench::of(BUSY, 2, VmLimits::default());
        bench.freeze();
        let mut over = [false, false];
        let mut calls = 0;
        while over != [true, true] {
            let wanted = usize::from(pattern >> (calls % 9) & 1 == 1);
            let vm = if over[wanted] { 1 - wanted } else { wanted };
            // It is held at the second place that it comes to, which is the one after where it was held before.
            bench.plan(Plan::at([2]));
            over[vm] = bench.call(vm).is_ok();
            calls += 1;
        }
        let said = &bench.host().said;
        assert_eq!(said.iter().filter(|said| *said == "begins").count(), 2, "pattern {pattern}");
        assert_eq!(said.iter().filter(|said| *said == "59968").count(), 2, "pattern {pattern}: {said:?}");
        let sets = bench.host().calls.iter().filter(|call| **call == "set").count();
        assert_eq!(sets, 8, "pattern {pattern}: each write is made once");
    }
}

#[test]
fn a_trap_after_a_hold_is_the_trap_that_comes_without_it() {
    let body = r#"(func (export "proxy_on_tick") (param i32)
        (call $say (call $count)) (call $say (call $count)) (unreachable))"#;
    let expected = {
        let mut bench = Bench::new(body);
        (bench.plain_tick().unwrap_err(), bench.outcome())
    };
    for places in [vec![1], vec![4], vec![1, 2, 3, 4]] {
        let mut bench = Bench::new(body);
        bench.freeze();
        let trap = bench.tick(Plan::at(places.clone())).unwrap_err();
        assert_eq!((trap, bench.outcome()), expected, "held at {places:?}");
        bench.restore();
        assert!(bench.tick(Plan::at(places)).is_err());
        assert_eq!(bench.outcome(), expected.1, "after it went back");
    }
}

#[test]
fn a_held_callback_burns_the_fuel_of_one_that_was_not() {
    // Each write of 8192 bytes costs much more than the instructions around it.
    let body = r#"(func (export "proxy_on_tick") (param i32) (local $left i32)
        (local.set $left (i32.const 20))
        (loop $again
          (drop (call $set_shared @"key" (i32.const 0) (i32.const 8192) (i32.const 0)))
          (call $say (local.get $left))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br_if $again (local.get $left))))"#;
    let limits = VmLimits { callback_fuel: Some(400_000), ..VmLimits::default() };
    let mut bench = Bench::of(body, 1, limits.clone());
    let expected = (bench.plain_tick().unwrap_err(), bench.outcome());
    assert!(expected.0.reason.contains("exceeded its limit of 400000 units of fuel"), "{}", expected.0);
    assert!(expected.1.0.len() > 3, "it comes some way: {:?}", expected.1.0);
    for places in [vec![3], vec![1, 2, 3, 4], (1..20).collect()] {
        let mut bench = Bench::of(body, 1, limits.clone());
        let trap = bench.tick(Plan::at(places.clone())).unwrap_err();
        assert_eq!((trap, bench.outcome()), expected, "held at {places:?}");
    }
}

#[test]
fn what_the_allocator_of_a_held_callback_gave_is_given_again() {
    // Each result lies where the guest's allocator put it; the addresses are told.
    let body = r#"(func (export "proxy_on_tick") (param i32) (local $left i32)
        (local.set $left (i32.const 6))
        (loop $again
          (drop (call $count)) (call $say (i32.load (i32.const 16))) (call $say (global.get $top))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br_if $again (local.get $left))))"#;
    let mut bench = Bench::new(body);
    bench.plain_tick().unwrap();
    bench.plain_tick().unwrap();
    let expected = bench.outcome();
    for place in 1..=12 {
        let mut bench = Bench::new(body);
        bench.freeze();
        bench.tick(Plan::at([place])).unwrap();
        bench.tick(Plan::at([13 - place])).unwrap();
        assert_eq!(bench.outcome(), expected, "held at {place}");
    }
}
