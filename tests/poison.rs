//! What ends a VM, met by a module that it does end: the scenarios of the filter about it, with hooks.
//!
//! The module that ships has no hooks, and `host-harness/tests/filter_scenarios.rs` runs the same files with it.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use host_harness::{
    abi::{Module, Runtime, RuntimeOptions},
    race::{
        self, Options, Report, builtin,
        scenario::{Rule, Scenario},
    },
};
use portcullis_tests::fleet::HOOKS_MODULE;

/// Each with whether a VM has to end for it.
const SCENARIOS: [(&str, bool); 5] = [
    ("last-good-freed", false),
    ("poison-generation", true),
    ("poison-pair", true),
    ("poison-reload", true),
    ("poison-request", true),
];

static HOOKS: LazyLock<Module> = LazyLock::new(|| {
    let options = RuntimeOptions { backtraces: false, ..RuntimeOptions::default() };
    let runtime = Runtime::with_options(&options).expect("wasmtime runs here");
    Module::load(&runtime, HOOKS_MODULE).expect("the filter is a module")
});

#[test]
fn what_ends_a_vm_costs_no_more_than_its_policy() {
    for (name, _) in SCENARIOS {
        explore(scenario(name), 100).assert_clean();
    }
}

#[test]
fn what_is_meant_to_end_a_vm_does() {
    for (name, ends) in SCENARIOS {
        let rules = vec![Rule::AtMostTraps { traps: 0 }];
        let report = explore(Scenario { rules, ..scenario(name) }, 4);
        assert_eq!(report.first.is_some(), ends, "{name}: {report}");
    }
}

fn scenario(name: &str) -> Scenario {
    let scenarios = builtin::filter_scenarios().unwrap_or_else(|error| panic!("{error}"));
    let found = scenarios.into_iter().find(|scenario| scenario.name == name);
    found.unwrap_or_else(|| panic!("there is no scenario {name}"))
}

/// So many schedules: half of them the first ones of the bounded search, then random ones.
fn explore(scenario: Scenario, schedules: u64) -> Report {
    let (preemptions, random) = (1, schedules);
    let options = Options {
        preemptions,
        random,
        schedules,
        exhaustive: false,
        time: Duration::MAX,
        ..Options::default()
    };
    race::explore(&HOOKS, &Arc::new(scenario), &options).unwrap_or_else(|error| panic!("{error}"))
}
