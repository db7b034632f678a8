//! One mistake is one finding: whichever random schedule shows it, it shrinks to the same file.

use std::collections::BTreeMap;

use super::*;

const SEEDS: u64 = 12;

/// Ids of what random schedules find with several seeds, and how often each comes.
fn ids(scenario: &Arc<Scenario>, seeds: impl Iterator<Item = u64>) -> BTreeMap<String, u32> {
    let mut ids = BTreeMap::new();
    for seed in seeds {
        let options = Options { random: 400, seed, stop_at_first: true, ..bounded(0) };
        let report = explore(scenario, &options);
        let Some(found) = report.first else { continue };
        let (schedule, trace) = race::shrink(&GUESTS, scenario, &found, &Options::default()).unwrap();
        assert_eq!(trace.findings[0].oracle, found.oracle, "shrinking keeps what fails");
        *ids.entry(schedule.header("id").unwrap().to_owned()).or_default() += 1;
    }
    ids
}

#[test]
fn a_committed_file_is_found_again_under_its_id_from_every_seed() {
    for (name, text) in FILES {
        let ids = ids(&scenario(name, "naive"), 1..=SEEDS);
        let id = parse(text).header("id").unwrap().to_owned();
        println!("{name}: {ids:?}");
        assert_eq!(ids, BTreeMap::from([(id, 12)]), "{name}");
    }
}

#[test]
fn every_mistake_that_takes_a_preemption_is_one_id() {
    let mut told = Vec::new();
    for name in ["deleted-while-read", "ignored-retry", "lost-update", "refcount-toctou", "slow-enactor"] {
        let ids = ids(&scenario(name, "naive"), 1..=6);
        println!("{name}: {ids:?}");
        assert!(!ids.is_empty(), "{name} is not found");
        if ids.len() > 1 {
            told.push(format!("{name}: {ids:?}"));
        }
    }
    assert_eq!(told, [""; 0]);
}
