//! Many runs, each recorded and run again: everything must come out the same.

use super::*;

/// Runs so many random schedules twice, of every scenario given in turn, and says what differed.
fn recheck(scenarios: &[(&str, &str)], schedules: u64) {
    let (mut failing, mut steps, mut differing) = (0, 0, Vec::new());
    let each = schedules / u64::try_from(scenarios.len()).unwrap();
    for (name, variant) in scenarios {
        let rechecked = race::recheck(&GUESTS, &scenario(name, variant), 0..each).unwrap();
        assert_eq!(rechecked.schedules, each);
        failing += rechecked.failing;
        steps += rechecked.steps;
        let reported = |(seed, difference)| format!("{name} {variant}, seed {seed}: {difference}");
        differing.extend(rechecked.differing.into_iter().map(reported));
    }
    println!("{schedules} schedules of {} scenarios, {steps} steps, {failing} failing", scenarios.len());
    assert_eq!(differing, [""; 0]);
    assert!(failing > 0, "schedules that fail are among them, so that findings are compared as well");
}

const SCENARIOS: [(&str, &str); 5] = [
    ("stale-after-preempt", "naive"),
    ("stale-after-preempt", "fixed"),
    ("scratch-crossing", "naive"),
    ("cleanup-in-use", "naive"),
    ("late-gap-lost", "naive"),
];

#[test]
fn ten_thousand_recorded_schedules_come_out_the_same() {
    recheck(&SCENARIOS, 10_000);
}

#[test]
fn some_schedules_of_every_scenario_come_out_the_same() {
    let mut reported = Vec::new();
    for scenario in builtin::scenarios().unwrap() {
        if scenario.module != "portcullis:guests" {
            continue;
        }
        let name = format!("{} {}", scenario.name, scenario.variant);
        match race::recheck(&GUESTS, &Arc::new(scenario), 0..20) {
            Ok(rechecked) => reported.extend(
                rechecked
                    .differing
                    .iter()
                    .map(|(seed, difference)| format!("{name}, seed {seed}: {difference}")),
            ),
            // What is not explored yet says so itself.
            Err(error) => assert!(error.to_string().ends_with("not explored yet"), "{name}: {error}"),
        }
    }
    assert_eq!(reported, [""; 0]);
}

#[test]
fn runs_that_are_cut_off_while_a_turn_is_held_come_out_the_same() {
    let scenario = scenario("requeue-forever", "naive");
    let seeds = [666_815, 666_834, 666_971, 667_033, 667_386, 667_622];
    let rechecked = race::recheck(&GUESTS, &scenario, seeds.into_iter()).unwrap();
    assert_eq!(rechecked.failing, 6, "each is a livelock");
    assert_eq!(rechecked.differing, []);
}
