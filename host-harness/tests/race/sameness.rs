//! One mistake is one finding: whichever random schedule shows it, it shrinks to the same file.

use std::collections::BTreeMap;

use super::*;

/// Ids of what the search finds in several ways, and which ways these are.
fn ids(scenario: &Arc<Scenario>, ways: &[Options]) -> BTreeMap<String, Vec<usize>> {
    let mut ids: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (way, options) in ways.iter().enumerate() {
        let report = explore(scenario, options);
        let Some(found) = report.first else { continue };
        let (schedule, trace) = race::shrink(&GUESTS, scenario, &found, options).unwrap();
        assert_eq!(trace.findings[0].oracle, found.oracle, "shrinking keeps what fails");
        ids.entry(schedule.header("id").unwrap().to_owned()).or_default().push(way);
    }
    ids
}

fn random(seed: u64) -> Options {
    Options { random: 600, seed, stop_at_first: true, ..bounded(0) }
}

#[test]
fn a_committed_file_is_found_again_under_its_id_from_every_seed() {
    let seeds: Vec<Options> = (1..=4).map(random).collect();
    for (name, text) in FILES {
        let id = parse(text).header("id").unwrap().to_owned();
        assert_eq!(ids(&scenario(name, "naive"), &seeds), BTreeMap::from([(id, vec![0, 1, 2, 3])]), "{name}");
    }
}

#[test]
fn every_mistake_is_one_id_whatever_bound_and_seed_show_it() {
    let systematic = Options { stop_at_first: true, schedules: 3000, ..bounded(2) };
    let ways = [systematic, random(1), random(6)];
    let naive = builtin::scenarios().unwrap().into_iter().filter(|scenario| scenario.variant == "naive");
    let ids = naive.map(|scenario| (scenario.name.clone(), ids(&Arc::new(scenario), &ways)));
    let other: Vec<_> = ids.filter(|(_, ids)| ids.len() != 1).collect();
    assert_eq!(other, []);
}
