//! How many schedules are run in a second on one core: `cargo bench --bench schedules`.
//!
//! Each figure is of whole runs: going back to the beginning, every callback and hostcall, and asking in the end.
//! Rounds of all subjects alternate, so that what else the machine does falls on all of them alike.

use std::{sync::Arc, time::Instant};

use host_harness::{
    abi::{Module, Runtime},
    race::{
        builtin,
        scenario::Scenario,
        search::{self, Options},
    },
};

const ROUNDS: usize = 7;
const SCHEDULES: u64 = 4000;

struct Subject {
    name: String,
    module: Module,
    scenario: Arc<Scenario>,
    options: Options,
    rates: Vec<f64>,
    steps: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::new()?;
    let mut subjects = Vec::new();
    for scenario in builtin::scenarios()? {
        if !["fixed", ""].contains(&scenario.variant.as_str()) {
            continue;
        }
        let module = Module::load(&runtime, &builtin::module(&scenario.module)?)?;
        let options = Options {
            schedules: SCHEDULES,
            time: std::time::Duration::from_secs(5),
            stop_at_first: false,
            ..Options::default()
        };
        for (kind, options) in [
            ("bounded", Options { random: 0, exhaustive: false, ..options.clone() }),
            ("random", Options { preemptions: 0, random: SCHEDULES, exhaustive: false, ..options }),
        ] {
            let name = format!("{} ({kind})", scenario.name);
            subjects.push(Subject {
                name,
                module: module.clone(),
                scenario: Arc::new(scenario.clone()),
                options,
                rates: Vec::new(),
                steps: 0.0,
            });
        }
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    subjects.retain(|subject| {
        wanted.is_empty() || wanted.iter().any(|text| subject.name.contains(text.as_str()))
    });
    for _ in 0..ROUNDS {
        for subject in &mut subjects {
            let began = Instant::now();
            let Ok(report) =
                search::explore(&subject.module, &subject.scenario, &subject.options, &mut |_, _| {})
            else {
                continue;
            };
            subject.rates.push(report.schedules as f64 / began.elapsed().as_secs_f64());
            subject.steps = report.steps as f64 / report.schedules as f64;
        }
    }
    println!("{:<40} {:>12} {:>12} {:>12} {:>8}", "schedules a second", "median", "least", "most", "steps");
    for subject in &mut subjects {
        subject.rates.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (subject.rates.first(), subject.rates.last()) else {
            continue;
        };
        let median = subject.rates[subject.rates.len() / 2];
        println!("{:<40} {median:>12.0} {least:>12.0} {most:>12.0} {:>8.1}", subject.name, subject.steps);
    }
    Ok(())
}
