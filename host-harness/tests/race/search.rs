//! What the search finds, what it proves, and that neither depends on how it saves work.

use host_harness::race::search::Phase;

use super::*;

/// Small enough that every schedule can be run.
const SMALL: [(&str, &str, u32); 6] = [
    ("stale-after-preempt", "naive", 1),
    ("stale-after-preempt", "fixed", 1),
    ("scratch-crossing", "naive", 2),
    ("scratch-crossing", "fixed", 2),
    ("cleanup-in-use", "naive", 1),
    ("late-gap-lost", "fixed", 2),
];

/// All of those, and one where schedules may add faults to calls.
fn small() -> Vec<(String, Arc<Scenario>, u32)> {
    let mut small: Vec<_> = SMALL
        .iter()
        .map(|(name, variant, bound)| (format!("{name} {variant}"), scenario(name, variant), *bound))
        .collect();
    let mut faulty = scenario("stale-after-preempt", "naive").as_ref().clone();
    faulty.faults.duplicates = 1;
    faulty.faults.resets = 1;
    small.push(("with faults".to_owned(), Arc::new(faulty), 1));
    small
}

fn names(report: &Report) -> Vec<&str> {
    report.phases.iter().map(|phase| phase.name.as_str()).collect()
}

/// A systematic phase that was gone through whole.
fn assert_complete(phase: &Phase) {
    assert!(phase.complete && phase.certificate.is_some(), "{phase:?}");
}

#[test]
fn one_preemption_breaks_the_filter_with_the_mistake_and_none_does_not() {
    let naive = scenario("stale-after-preempt", "naive");
    let without = explore(&naive, &bounded(0));
    without.assert_clean();
    assert_eq!(names(&without), ["bound 0"]);
    assert_complete(&without.phases[0]);

    let report = explore(&naive, &bounded(1));
    assert_eq!(names(&report), ["bound 0", "bound 1"]);
    assert_complete(&report.phases[0]);
    assert_eq!(report.phases[0].failing, 0);
    assert_complete(&report.phases[1]);
    assert!(report.phases[1].failing > 0);
    let found = report.first.unwrap();
    assert_eq!((found.oracle.as_str(), found.phase.as_str()), ("eventually", "bound 1"));
}

#[test]
fn the_twin_is_clean_at_one_preemption_and_that_is_all_of_it() {
    let report = explore(&scenario("stale-after-preempt", "fixed"), &bounded(1));
    report.assert_clean();
    assert_eq!(names(&report), ["bound 0", "bound 1"]);
    report.phases.iter().for_each(assert_complete);
}

#[test]
fn whole_callbacks_do_not_show_the_race() {
    let naive = scenario("stale-after-preempt", "naive");
    let options = Options { time: Duration::MAX, ..Options::default() };
    let whole = explore(&naive, &Options { inside_callbacks: false, ..options.clone() });
    whole.assert_clean();
    assert_eq!(names(&whole), ["bound 0"], "the order of whole callbacks is all that there is");
    assert_complete(&whole.phases[0]);
    let inside = explore(&naive, &options);
    assert_eq!(inside.first.unwrap().phase, "bound 1");
}

#[test]
fn a_certificate_counts_the_schedules_that_there_are() {
    for (name, scenario, preemptions) in small() {
        let options = bounded(preemptions);
        let with = explore(&scenario, &options);
        let without = explore(&scenario, &Options { cache: false, ..options });
        assert_eq!((with.not_repeatable, without.not_repeatable), (0, 0));
        for (with, without) in with.phases.iter().zip(&without.phases) {
            let place = format!("{name}, {}", with.name);
            assert!(without.complete && without.certificate.is_none(), "{place}");
            let certificate = with.certificate.as_ref().expect("the phase is complete");
            println!("{place}: {} paths, {} schedules with the cache", certificate.paths, with.schedules);
            assert_eq!(certificate.paths, without.schedules.to_string(), "{place}");
            assert!(with.schedules <= without.schedules, "{place}: the cache saves work");
            assert_eq!(with.failing > 0, without.failing > 0, "{place}");
        }
    }
}

#[test]
fn shards_together_find_what_one_finds() {
    for (name, scenario, preemptions) in small() {
        for cache in [true, false] {
            let options = Options { cache, ..bounded(preemptions) };
            let whole = explore(&scenario, &options);
            let shards =
                [1, 2, 3].map(|part| explore(&scenario, &Options { shard: (part, 3), ..options.clone() }));
            for (index, phase) in whole.phases.iter().enumerate() {
                let parts = shards.each_ref().map(|shard| &shard.phases[index]);
                let place = format!("{name}, {}, cache {cache}", phase.name);
                assert!(parts.iter().all(|part| part.complete && part.name == phase.name), "{place}");
                assert!(
                    parts.iter().all(|part| part.certificate.is_none()),
                    "{place}: a part proves nothing"
                );
                let failing: u64 = parts.iter().map(|part| part.failing).sum();
                assert_eq!(failing > 0, phase.failing > 0, "{place}");
                if !cache {
                    assert_eq!(failing, phase.failing, "{place}: every schedule is in one part");
                }
            }
        }
    }
}

#[test]
fn shards_of_the_random_phases_add_up() {
    let scenario = scenario("stale-after-preempt", "naive");
    let options = Options { random: 400, ..bounded(0) };
    let whole = explore(&scenario, &options);
    assert_eq!(names(&whole), ["bound 0", "random", "pct 2", "pct 3", "pos"]);
    let shards = [1, 2, 3].map(|part| explore(&scenario, &Options { shard: (part, 3), ..options.clone() }));
    for (index, phase) in whole.phases.iter().enumerate().skip(1) {
        let schedules: u64 = shards.iter().map(|shard| shard.phases[index].schedules).sum();
        assert_eq!(schedules, phase.schedules, "{}", phase.name);
    }
    let failing = |report: &Report| report.phases.iter().map(|phase| phase.failing).sum::<u64>();
    assert!(failing(&whole) > 0 && shards.iter().any(|shard| failing(shard) > 0));
}

#[test]
fn a_campaign_is_the_same_every_time() {
    let scenario = scenario("cleanup-in-use", "naive");
    let options = Options { random: 200, ..bounded(1) };
    let reported = || {
        let report = explore(&scenario, &options);
        let phases = report.phases.iter().map(|phase| (phase.name.clone(), phase.schedules, phase.failing));
        (phases.collect::<Vec<_>>(), report.steps, report.first.map(|found| (found.schedule, found.message)))
    };
    assert_eq!(reported(), reported());
}

#[test]
fn a_report_says_in_words_what_came_of_it() {
    let report = explore(&scenario("stale-after-preempt", "naive"), &bounded(1));
    let text = report.to_string();
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("stale-after-preempt (naive): broken by schedule "), "{text}");
    assert!(first.contains("(bound 1): eventually (L0): in the end `GET /state` must be answered"), "{text}");
    assert!(text.contains("\n  bound 0: "), "{text}");
    assert!(!report.is_clean());
    let clean = explore(&scenario("stale-after-preempt", "fixed"), &bounded(0)).to_string();
    assert!(clean.starts_with("stale-after-preempt (fixed): proved to bound 0"), "{clean}");
}

#[test]
#[should_panic(expected = "stale-after-preempt (naive): broken by schedule")]
fn a_test_that_asserts_a_clean_report_fails_with_what_broke() {
    explore(&scenario("stale-after-preempt", "naive"), &bounded(1)).assert_clean();
}
