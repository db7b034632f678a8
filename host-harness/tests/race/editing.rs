//! Schedule files that someone has changed: what no longer fits is said, and nothing is run as if it did.

use super::*;

/// The file with one piece of text in place of another.
fn edited(from: &str, to: &str) -> String {
    assert!(STALE.contains(from), "the file no longer has `{from}`");
    STALE.replacen(from, to, 1)
}

#[test]
fn a_value_that_was_changed_is_a_divergence_with_both_values() {
    let replayed = replay(&edited("= 1:NOT_READY c1", "= 7:READY c1"), "naive", false);
    assert_eq!(
        divergences(&replayed),
        [
            "`w0 response#1`: the schedule says `get status = 7:READY c1`, and the run says `get status = 1:NOT_READY c1`"
        ]
    );
    assert_eq!(replayed.trace.findings.len(), 1, "what was decided is as before");
}

#[test]
fn what_was_written_is_compared_as_well() {
    let replayed = replay(&edited("set status 2:READY if c1", "set status 3:READY if c1"), "naive", false);
    assert_eq!(
        divergences(&replayed),
        [
            "`w0 response#1`: the schedule says `set status 3:READY if c1 = ok c2`, and the run says `set status 2:READY if c1 = ok c2`"
        ]
    );
}

#[test]
fn a_step_that_does_not_come_is_a_divergence() {
    let replayed =
        replay(&edited("  post status = w0\n", "  post status = w0\n  dequeue status = 1\n"), "naive", false);
    assert_eq!(
        divergences(&replayed),
        ["`w0 response#1`: the schedule says `dequeue status = 1`, and the run says `nothing of the kind`"]
    );
}

#[test]
fn a_hold_at_a_step_that_does_not_come_is_a_divergence() {
    let replayed = replay(&edited("hold before push status", "hold before push news"), "naive", false);
    assert_eq!(
        divergences(&replayed)[0],
        "the schedule holds `main response#1` (hold before push news), and it never came there"
    );
    let replayed = replay(&edited("hold before push status", "hold before push status #2"), "naive", false);
    assert_eq!(
        divergences(&replayed)[0],
        "the schedule holds `main response#1` (hold before push status #2), and it never came there"
    );
}

#[test]
fn a_turn_that_cannot_come_is_a_divergence_with_what_can() {
    for (turn, text) in [
        ("w7 response#1", edited("w0 response#1", "w7 response#1")),
        ("w0 response#9", edited("w0 response#1", "w0 response#9")),
        ("w0 request#1(nobody)", edited("w0 response#1", "w0 request#1(nobody)")),
    ] {
        let divergences = divergences(&replay(&text, "naive", false));
        let expected = format!("the schedule says that `{turn}` comes next, and what can come is `");
        assert!(divergences[0].starts_with(&expected), "{divergences:?}");
        assert!(divergences[0].contains("`w0 response#1`"), "{divergences:?}");
    }
}

#[test]
fn another_hold_is_another_run() {
    let replayed = replay(
        &edited("  set status 1:NOT_READY if absent = ok c1\n  hold before push", "  hold before set"),
        "naive",
        true,
    );
    let held = replayed.trace.steps.iter().find(|step| step.held).unwrap();
    assert_eq!(format!("{} {}", held.turn, held.verb), "main response#1 get");
}

#[test]
fn a_schedule_without_observations_is_run_like_one_with_them() {
    let decisions: String = STALE
        .lines()
        .filter(|line| !line.starts_with("  ") || line.starts_with("  hold"))
        .map(|line| format!("{line}\n"))
        .collect();
    let (bare, whole) = (replay(&decisions, "naive", false), replay(STALE, "naive", false));
    assert_eq!(divergences(&bare), [""; 0]);
    assert_eq!(bare.trace, whole.trace);
}

#[test]
fn lenient_passes_over_what_cannot_come_and_compares_nothing() {
    let text =
        edited("main tick#1\n", "w5 tick#1\nmain tick#1\n").replace("= 1:NOT_READY c1", "= 7:READY c1");
    let replayed = replay(&text, "naive", true);
    assert_eq!(divergences(&replayed), [""; 0]);
}

#[test]
fn a_turn_out_of_reach_does_not_keep_lenient_from_the_rest() {
    let text = edited("main tick#1\n", "w5 tick#1\nmain tick#1\n");
    let (lenient, whole) = (replay(&text, "naive", true), replay(STALE, "naive", false));
    assert_eq!(lenient.trace.findings, whole.trace.findings, "the rest of the schedule is run");
}
