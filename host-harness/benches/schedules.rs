//! How many schedules one core runs in a second: `cargo bench --bench schedules [PART OF A NAME …]`.
//!
//! Each figure is of whole runs: going back to the beginning, every callback and hostcall, and asking in the end. It is
//! of the process's own CPU time, so that what else the machine does does not count. Rounds of all subjects alternate.

use std::{sync::Arc, time::Duration};

use host_harness::{
    abi::{Module, Runtime, RuntimeOptions},
    race::{
        builtin,
        scenario::{Cluster, Scenario},
        search::{self, Options},
    },
    storm::Storm,
    world::{Reply, Route},
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
    let options = RuntimeOptions { backtraces: false, ..RuntimeOptions::default() };
    let runtime = Runtime::with_options(&options)?;
    let mut subjects = Vec::new();
    let small = Scenario::load(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/small/scenario.yaml"))?;
    for scenario in small.into_iter().chain([gate()?]).chain(builtin::scenarios()?) {
        if !["fixed", ""].contains(&scenario.variant.as_str()) {
            continue;
        }
        let module = Module::load(&runtime, &builtin::module(&scenario.module)?)?;
        let options = Options {
            schedules: SCHEDULES,
            time: Duration::from_secs(5),
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
            let began = cpu_time();
            let Ok(report) =
                search::explore(&subject.module, &subject.scenario, &subject.options, &mut |_, _| {})
            else {
                continue;
            };
            subject.rates.push(report.schedules as f64 / (cpu_time() - began).as_secs_f64());
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

/// Our own filter: two workers load two bundles each, and decide.
fn gate() -> Result<Scenario, Box<dyn std::error::Error>> {
    let text = "{scenario: gate, about: Our own filter., module: 'portcullis:filter', workers: 2, \
                events: [{at: 100ms, request: one, worker: 0, path: /}], \
                bounds: {until: 200ms, slack: 20ms, settle: 1s}}";
    let mut scenario = Scenario::parse(text, "gate")?.remove(0);
    let storm = Storm::new(2, 1);
    scenario.plugins[0].configuration = storm.document("http://hub").to_string().into_bytes();
    let paths = storm.bundles().iter().map(|bundle| {
        let archive = Reply::body(bundle.archive(1).build()).after(Duration::from_millis(20));
        (Route { path: bundle.path(), method: None }, vec![archive])
    });
    scenario.clusters.insert("storm".to_owned(), Cluster { paths: paths.collect(), ..Cluster::default() });
    Ok(scenario)
}

/// CPU time of this process so far, in the guest and in the kernel.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
