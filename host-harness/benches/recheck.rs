//! Records a million schedules, writes them down, reads them and runs them again, and says where a run was not the same:
//! `cargo bench --bench recheck [COUNT]`.

use std::{sync::Arc, time::Instant};

use host_harness::{
    abi::{Module, Runtime, RuntimeOptions},
    race::{self, builtin},
};

const COUNT: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(COUNT);
    let runtime = Runtime::with_options(&RuntimeOptions { backtraces: false, ..RuntimeOptions::default() })?;
    let scenarios: Vec<_> = builtin::scenarios()?.into_iter().map(Arc::new).collect();
    let share = count.div_ceil(u64::try_from(scenarios.len())?);
    let began = Instant::now();
    let (mut schedules, mut steps, mut failing, mut differing) = (0, 0, 0, 0);
    for (number, scenario) in (0..).zip(&scenarios) {
        let module = Module::load(&runtime, &builtin::module(&scenario.module)?)?;
        let first = number * share;
        let checked = race::recheck(&module, scenario, first..first + share)?;
        for (seed, difference) in &checked.differing {
            println!("{} ({}), seed {seed}: {difference}", scenario.name, scenario.variant);
        }
        schedules += checked.schedules;
        steps += checked.steps;
        failing += checked.failing;
        differing += checked.differing.len();
        eprintln!("{schedules} of {count} after {:.0} s: {differing} differ", began.elapsed().as_secs_f64());
    }
    println!(
        "{schedules} schedules, {steps} steps, {failing} that break their scenario: {differing} came out differently"
    );
    if differing > 0 { Err("a run was not the same".into()) } else { Ok(()) }
}
