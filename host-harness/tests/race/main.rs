//! Races: what the search finds and what it proves, what schedule files keep, and that a run comes out the same again.

#[path = "../common/mod.rs"]
mod common;

mod after;
mod default;
mod editing;
mod ends;
mod errors;
mod files;
mod generator;
mod held_out;
mod language;
mod many;
mod pruning;
mod random;
mod sameness;
mod search;
mod starving;
mod thread_faults;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use host_harness::{
    GUESTS_MODULE,
    abi::{Module, Runtime},
    race::{self, Options, Replayed, Report, builtin, scenario::Scenario, schedule::Schedule},
};

static GUESTS: LazyLock<Module> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("wasmtime runs here");
    Module::load(&runtime, GUESTS_MODULE).expect("the guests are a module")
});

/// Two VMs learn the same thing, and the one that learnt it first tells it last.
const STALE: &str = include_str!("../../races/stale-after-preempt.race");

/// Every schedule file that is committed: name and text.
const FILES: [(&str, &str); 4] = [
    ("stale-after-preempt", STALE),
    ("scratch-crossing", include_str!("../../races/scratch-crossing.race")),
    ("cleanup-in-use", include_str!("../../races/cleanup-in-use.race")),
    ("late-gap-lost", include_str!("../../races/late-gap-lost.race")),
];

fn scenario(name: &str, variant: &str) -> Arc<Scenario> {
    let scenarios = builtin::scenarios().expect("the scenarios that are built in can be read");
    let found = scenarios.into_iter().find(|scenario| scenario.name == name && scenario.variant == variant);
    Arc::new(found.unwrap_or_else(|| panic!("there is no scenario {name} {variant}")))
}

/// The bounded phases alone, to their end.
fn bounded(preemptions: u32) -> Options {
    Options {
        preemptions,
        random: 0,
        exhaustive: false,
        time: Duration::MAX,
        stop_at_first: false,
        ..Options::default()
    }
}

fn explore(scenario: &Arc<Scenario>, options: &Options) -> Report {
    race::explore(&GUESTS, scenario, options).expect("the scenario can be set up")
}

fn parse(text: &str) -> Schedule {
    Schedule::parse(text, "test.race").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Runs a schedule again with a variant of the scenario that it names.
fn replay(text: &str, variant: &str, lenient: bool) -> Replayed {
    let schedule = parse(text);
    let name = schedule.header("scenario").expect("the file names its scenario");
    race::replay(&GUESTS, &scenario(name, variant), &schedule, lenient).expect("the scenario can be set up")
}

fn divergences(replayed: &Replayed) -> Vec<String> {
    replayed.divergences.iter().map(ToString::to_string).collect()
}
