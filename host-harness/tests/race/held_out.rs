//! What the default scenario finds in filters of other people's making: each with its mistake, and without.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use host_harness::race::{self, Options, Report, scenario::Scenario};

use super::GUESTS;

/// The filters, each with the oracle that finds its mistake; none where the default scenario does not find it.
const HELD_OUT: [(&str, Option<&str>); 22] = [
    ("audit", Some("lost-item")),
    ("authcache", Some("agreement")),
    ("batch", None),
    ("casonce", Some("serializable")),
    ("geo", Some("stuck-stream")),
    ("lateheader", Some("trap")),
    ("limiter", Some("serializable")),
    ("refresh", None),
    ("scratch", Some("crossing")),
    ("twocalls", Some("order")),
    ("twochecks", Some("late-refusal")),
    ("waf", Some("pieces")),
    ("bootwipe", None),
    ("deadline", Some("trap")),
    ("idempotent", Some("serializable")),
    ("inflight", None),
    ("lastuser", Some("crossing")),
    ("leader", Some("lost-update")),
    ("logout", None),
    ("retry", Some("down")),
    ("signature", Some("stuck-stream")),
    ("total", Some("serializable")),
];

#[test]
fn mistakes_of_held_out_filters_are_found_by_what_they_are() {
    let known = HELD_OUT.iter().filter_map(|(name, oracle)| Some((*name, oracle.as_ref()?.to_string())));
    let known: BTreeMap<&str, String> = known.collect();
    let found = known.keys().map(|name| {
        let report = explore(name, true, 1200);
        (*name, report.first.map(|found| found.oracle).unwrap_or_default())
    });
    let found: BTreeMap<&str, String> = found.collect();
    assert_eq!(found, known);
    // As EXPLORING.md says.
    assert_eq!((found.len(), HELD_OUT.len()), (17, 22));
}

#[test]
fn held_out_filters_without_their_mistakes_hold() {
    for (name, _) in HELD_OUT {
        explore(name, false, 150).assert_clean();
    }
}

fn explore(name: &str, faulty: bool, schedules: u64) -> Report {
    let mut scenario = Scenario::default_for("portcullis:guests");
    let configuration = format!(r#"{{"held_out": "{name}", "faulty": {faulty}}}"#);
    scenario.plugins[0].configuration = configuration.into_bytes();
    let options = Options {
        preemptions: 0,
        random: schedules,
        schedules,
        exhaustive: false,
        time: Duration::MAX,
        ..Options::default()
    };
    race::explore(&GUESTS, &Arc::new(scenario), &options).unwrap_or_else(|error| panic!("{name}: {error}"))
}
