//! Random policies and builtin calls beside OPA, for as long as is wanted.
//!
//! ```text
//! cargo run -p portcullis-rego --release --example differential -- calls [--only regex] [--seed 1] [--seconds 60]
//! ```
//! It needs the oracle of `tests/oracle` (`REGO_ORACLE`, or Go to build it).

#![allow(missing_docs, unreachable_pub, dead_code)]

#[path = "../tests/differential/fuzz/mod.rs"]
mod fuzz;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fuzz::calls::{Calls, comparable};
use fuzz::oracle::Oracle;
use fuzz::random::Random;

struct Options {
    mode: String,
    only: Option<String>,
    seed: u64,
    seconds: u64,
    show: usize,
}

fn options() -> Options {
    let mut o = Options { mode: String::new(), only: None, seed: 1, seconds: 60, show: 2 };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--only" => o.only = Some(value()),
            "--seed" => o.seed = value().parse().expect("a number"),
            "--seconds" => o.seconds = value().parse().expect("a number"),
            "--show" => o.show = value().parse().expect("a number"),
            mode => o.mode = mode.to_string(),
        }
    }
    o
}

fn main() {
    let o = options();
    let mut oracle = match Oracle::start() {
        Ok(oracle) => oracle,
        Err(why) => {
            eprintln!("no oracle: {why}");
            std::process::exit(2);
        }
    };
    match o.mode.as_str() {
        "calls" => calls(&o, &mut oracle),
        _ => {
            eprintln!("usage: differential calls [--only NAME] [--seed N] [--seconds N] [--show N]");
            std::process::exit(2);
        }
    }
}

fn calls(o: &Options, oracle: &mut Oracle) {
    let table = comparable(o.only.as_deref());
    println!("{} functions, seed {}", table.len(), o.seed);
    let end = Instant::now() + Duration::from_secs(o.seconds);
    let mut calls = Calls::new(oracle);
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    let mut seed = o.seed;
    while Instant::now() < end {
        let r = Random::new(seed);
        for d in calls.batch(&r, &table, 500, 20) {
            let n = by_name.entry(d.name).or_default();
            *n += 1;
            if *n <= o.show {
                println!("{d}");
            }
        }
        seed += 1;
    }
    println!("{} calls compared, {} ended in a bound, seeds {}..{seed}; differences by function (counted up to 20 a batch):", calls.compared, calls.capped, o.seed);
    for (name, n) in &by_name {
        println!("  {n:6} {name}");
    }
}
