//! The scenarios of the filter itself: that they can be read, hold, and would show what they are about.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use host_harness::{
    FILTER_MODULE,
    abi::{Module, Runtime, RuntimeOptions},
    race::{
        self, Options, builtin,
        scenario::{Answer, Expectation, Rule, Scenario},
    },
};

static FILTER: LazyLock<Module> = LazyLock::new(|| {
    let options = RuntimeOptions { backtraces: false, ..RuntimeOptions::default() };
    let runtime = Runtime::with_options(&options).expect("wasmtime runs here");
    Module::load(&runtime, FILTER_MODULE).expect("the filter is a module")
});

const PAGE: &str = include_str!("../SCENARIOS.md");

fn scenarios() -> Vec<Scenario> {
    builtin::filter_scenarios().unwrap_or_else(|error| panic!("{error}"))
}

/// So many schedules: half of them the first ones of the bounded search, then random ones.
fn some(schedules: u64) -> Options {
    let (preemptions, random) = (1, schedules);
    Options { preemptions, random, schedules, exhaustive: false, time: Duration::MAX, ..Options::default() }
}

#[test]
fn every_file_is_a_scenario_of_its_name_that_no_schedule_is_meant_to_break() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/filter");
    let files = fs::read_dir(folder).expect("the folder is there");
    let stems = files.map(|file| file.expect("a file").path().file_stem().expect("a name").to_owned());
    let stems: BTreeSet<String> = stems.map(|stem| stem.to_string_lossy().into_owned()).collect();
    let scenarios = scenarios();
    assert_eq!(scenarios.iter().map(|scenario| scenario.name.clone()).collect::<BTreeSet<_>>(), stems);
    assert_eq!(scenarios.len(), stems.len(), "one of each");
    for scenario in &scenarios {
        let reported = (scenario.module.as_str(), scenario.variant.as_str(), scenario.expect);
        assert_eq!(reported, ("portcullis:filter", "", Some(Expectation::Clean)), "{}", scenario.name);
        assert!(!scenario.rules.is_empty(), "{}", scenario.name);
        assert!(PAGE.contains(&format!("`{}`", scenario.name)), "{} is not on the page", scenario.name);
    }
}

#[test]
fn none_is_mistaken_for_one_of_the_small_guests() {
    let guests = builtin::scenarios().unwrap_or_else(|error| panic!("{error}"));
    assert!(guests.iter().all(|guest| !guest.variant.is_empty()));
}

#[test]
fn every_scenario_holds() {
    for scenario in scenarios() {
        let schedules = if scenario.name == "fifty-bundle-storm" { 4 } else { 24 };
        let report = race::explore(&FILTER, &Arc::new(scenario), &some(schedules))
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(report.schedules >= schedules, "{report}");
        report.assert_clean();
    }
}

#[test]
fn every_rule_is_checked_and_a_wrong_one_breaks() {
    let mut untouched = Vec::new();
    for scenario in scenarios() {
        for (number, rule) in scenario.rules.iter().enumerate() {
            let Some(rule) = wrong(rule) else { continue };
            let scenario = Scenario { rules: vec![rule], ..scenario.clone() };
            let name = scenario.name.clone();
            let report = race::explore(&FILTER, &Arc::new(scenario), &some(40))
                .unwrap_or_else(|error| panic!("{error}"));
            if report.first.is_none() {
                untouched.push(format!("{name}: rule {number}"));
            }
        }
    }
    assert!(untouched.is_empty(), "never checked: {untouched:#?}");
}

/// The rule with an expectation that nothing meets, under the same condition.
fn wrong(rule: &Rule) -> Option<Rule> {
    let never_seen = Answer { status: Some(299), ..Answer::default() };
    let mut rule = rule.clone();
    match &mut rule {
        Rule::Never { answer, .. } => *answer = Answer::default(),
        Rule::Always { answers, .. } => *answers = vec![never_seen],
        Rule::Eventually { answer, .. } => *answer = never_seen,
        Rule::AtMost { calls, .. } | Rule::AtMostCalls { calls } => *calls = 0,
        Rule::AtMostTicks { ticks, .. } => *ticks = 0,
        Rule::AtMostItems { items, .. } => *items = 0,
        // No VM of the ordinary module fails, and none answers equals differently.
        Rule::Agreement { .. } | Rule::AtMostTraps { .. } | Rule::Same { .. } => return None,
    }
    Some(rule)
}
