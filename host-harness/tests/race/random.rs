//! Scenario files and filters that nobody would write: no search hangs, panics or takes all memory, and what is found runs
//! again.
//!
//! `PORTCULLIS_RANDOM=1000` tries more of them; the seed of one that fails is in the message.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use host_harness::race::{self, Options, scenario::Scenario, schedule::Schedule};
use rand::{SeedableRng, rngs::ChaCha8Rng};

use crate::{
    common,
    generator::{MANY_STEPS, guest, scenario},
};

const CASES: u64 = 60;
/// What one case may take, with many callbacks that use up their fuel and on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a search is given at first.
const HURRY: Duration = Duration::from_millis(400);
const MOST_MEMORY_KB: u64 = 2 * 1024 * 1024;

#[test]
fn no_scenario_and_no_filter_hangs_a_search_or_makes_it_panic() {
    let cases = std::env::var("PORTCULLIS_RANDOM").ok().and_then(|count| count.parse().ok()).unwrap_or(CASES);
    let (mut refused, mut found, mut clean, mut not_run) = (0, 0, 0, 0);
    let at_work = watched();
    let from = std::env::var("PORTCULLIS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in from..from + cases {
        at_work.store(seed, Ordering::Relaxed);
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let (text, guest) = (scenario(random), guest(random));
        match Scenario::parse(&text, "random.yaml") {
            Err(error) => {
                assert!(error.to_string().starts_with("random.yaml: "), "seed {seed}: {error}");
                refused += 1;
            }
            Ok(scenarios) => match explored(&guest, &scenarios[0], HURRY) {
                Outcome::NotRun => not_run += 1,
                Outcome::Clean => clean += 1,
                Outcome::Found(again) => {
                    // What was cut off for lack of time may be written down in part; a run of many steps always is.
                    let again = again
                        || text.contains(MANY_STEPS)
                        || !matches!(explored(&guest, &scenarios[0], PATIENCE / 3), Outcome::Found(false));
                    assert!(again, "seed {seed}: what was found does not fail again\n{text}\n{guest}");
                    found += 1;
                }
            },
        }
    }
    let memory = most_memory_kb();
    println!("{refused} refused, {not_run} not run, {found} broken, {clean} clean; {} MB", memory / 1024);
    assert!(memory < MOST_MEMORY_KB, "{memory} kB");
    // The generator is of use as long as each of them is seen.
    assert!(cases < CASES || [refused, found, clean].iter().all(|count| *count * 50 > cases));
}

/// Ends the process when one case takes too long, or too much memory: the test itself would hang. The number is that of the
/// case that is at work.
fn watched() -> Arc<AtomicU64> {
    let at_work = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&at_work);
    std::thread::spawn(move || {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_secs(1));
            // The test is over, and others are not.
            if Arc::strong_count(&seen) == 1 {
                return;
            }
            let now = seen.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if since.elapsed() > PATIENCE || most_memory_kb() > MOST_MEMORY_KB {
                eprintln!("seed {now} is at work for {:?} with {} kB", since.elapsed(), most_memory_kb());
                std::process::abort();
            }
        }
    });
    at_work
}

enum Outcome {
    NotRun,
    Clean,
    /// Whether the schedule fails when it is read and run again.
    Found(bool),
}

fn explored(guest: &str, scenario: &Scenario, time: Duration) -> Outcome {
    let (module, scenario) = (common::guest(guest), Arc::new(scenario.clone()));
    let options = Options { schedules: 40, time, state_bytes: 16 << 20, ..Options::default() };
    let Ok(report) = race::explore(&module, &scenario, &options) else { return Outcome::NotRun };
    assert_eq!(report.not_repeatable, 0, "{report}");
    if report.not_run.is_some() {
        return Outcome::NotRun;
    }
    let Some(found) = &report.first else { return Outcome::Clean };
    let (schedule, trace) = race::shrink(&module, &scenario, found, &options).expect("it came up before");
    let schedule = Schedule::parse(&schedule.to_string(), "shrunk").expect("it was written here");
    let replayed = race::replay(&module, &scenario, &schedule, true).expect("it came up before");
    let same = |finding: &race::trace::Finding| finding.oracle == found.oracle;
    Outcome::Found(trace.findings.iter().any(same) && replayed.trace.findings.iter().any(same))
}

fn most_memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
