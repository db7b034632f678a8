//! Each protection of the manager, switched off: some scenario breaks that holds with it.
//!
//! The ordinary test runs what the table in `tests/MUTATIONS.md` names. To look through all scenarios for each protection:
//! `PORTCULLIS_MUTATIONS=all cargo test --release -p portcullis-tests --test mutations -- --nocapture`; to run some rows of
//! the table, their names in place of `all`.

use std::{sync::Arc, time::Duration};

use host_harness::{
    abi::{Module, Runtime, RuntimeOptions},
    race::{
        self, Options, Report, builtin,
        scenario::{EventKind, Scenario},
    },
};
use portcullis_tests::fleet::HOOKS_MODULE;
use serde_json::Value;

const TABLE: &str = include_str!("MUTATIONS.md");
/// What `filter/src/hooks.rs` can switch off.
const PROTECTIONS: &str = include_str!("../filter/src/hooks.rs");
/// Most that are tried in the first round, and in the second: half of them are random, and some need those.
const SCHEDULES: [u64; 2] = [200, 1200];

#[test]
fn without_a_protection_the_scenario_that_the_table_names_breaks() {
    let mut rows = rows();
    match std::env::var("PORTCULLIS_MUTATIONS").as_deref() {
        Ok("all") => {
            for (protection, _) in &rows {
                println!("{}", look_everywhere(protection));
            }
            return;
        }
        Ok(only) => rows.retain(|(protection, _)| only.split(',').any(|name| name == protection)),
        Err(_) => {}
    }
    assert!(!rows.is_empty(), "there is no such protection");
    let module = module();
    let holds = |(protection, needed_by): &(String, String)| {
        let scenario = needed_by.trim_matches('`');
        let scenario = scenarios().into_iter().find(|known| known.name == scenario);
        let scenario = scenario.unwrap_or_else(|| panic!("{protection}: no such scenario"));
        let is_broken = |schedules: u64| explore(&module, &scenario, protection, schedules).first.is_some();
        (!SCHEDULES.into_iter().any(is_broken))
            .then(|| format!("without {protection}, {} holds", scenario.name))
    };
    let holding: Vec<String> = rows.iter().filter_map(holds).collect();
    assert!(holding.is_empty(), "{holding:#?}");
}

#[test]
fn the_table_has_every_protection() {
    let listed =
        PROTECTIONS.split_once("pub(crate) enum Protection {").and_then(|(_, rest)| rest.split_once('}'));
    let names: Vec<&str> = listed
        .map(|(names, _)| names.lines())
        .into_iter()
        .flatten()
        .map(|line| line.trim().trim_end_matches(','))
        .filter(|line| line.chars().next().is_some_and(|first| first.is_ascii_uppercase()))
        .collect();
    assert_eq!(rows().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
}

/// Protections with the scenarios that need them, as the table has it.
fn rows() -> Vec<(String, String)> {
    let cells = TABLE.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        let protection = cells.next()?.trim().trim_end_matches('`').to_owned();
        Some((protection, cells.nth(1)?.trim().to_owned()))
    });
    cells.collect()
}

fn look_everywhere(protection: &str) -> String {
    let module = module();
    let each =
        SCHEDULES.into_iter().flat_map(|most| scenarios().into_iter().map(move |scenario| (most, scenario)));
    let broken = each.into_iter().find_map(|(most, scenario)| {
        let report = explore(&module, &scenario, protection, most);
        let found = report.first?;
        Some(format!("| `{protection}` | | `{}` | {}: {} |", scenario.name, found.oracle, found.message))
    });
    broken.unwrap_or_else(|| format!("| `{protection}` | | nothing | |"))
}

fn explore(module: &Module, scenario: &Scenario, protection: &str, schedules: u64) -> Report {
    let mut scenario = scenario.clone();
    let configurations = scenario.plugins.iter_mut().map(|plugin| &mut plugin.configuration);
    let updates = scenario.events.iter_mut().filter_map(|event| match &mut event.kind {
        EventKind::Configure { configuration, .. } => Some(configuration),
        _ => None,
    });
    for configuration in configurations.chain(updates) {
        let mut document: Value = serde_json::from_slice(configuration).expect("a configuration in JSON");
        document["portcullis"]["hooks"] = serde_json::json!({ "without": protection });
        *configuration = document.to_string().into_bytes();
    }
    let options = Options {
        preemptions: 1,
        random: schedules,
        schedules,
        exhaustive: false,
        time: Duration::MAX,
        ..Options::default()
    };
    race::explore(module, &Arc::new(scenario), &options).unwrap_or_else(|error| panic!("{error}"))
}

fn module() -> Module {
    let options = RuntimeOptions { backtraces: false, ..RuntimeOptions::default() };
    let runtime = Runtime::with_options(&options).expect("wasmtime runs here");
    Module::load(&runtime, HOOKS_MODULE).expect("the filter is a module")
}

fn scenarios() -> Vec<Scenario> {
    builtin::filter_scenarios().unwrap_or_else(|error| panic!("{error}"))
}
