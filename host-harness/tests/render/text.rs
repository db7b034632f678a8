//! Text for logs.

use host_harness::race::{
    render::{Format, render, render_explained},
    trace::Verb,
};
use unicode_width::UnicodeWidthStr;

use crate::{STALE, explained, storm, trace, traces};

#[test]
fn the_headline_and_the_two_turns_come_first() {
    let text = render(&trace("stale-snapshot"), Format::Text);
    let lines: Vec<&str> = text.lines().collect();
    let joined = |lines: &[&str]| format!("{}{}", lines[0], lines[1].replacen("  ", " ", 1));
    let title = "stale-snapshot, push-what-was-read · fails: convergence · L0, order and delay alone";
    assert_eq!(joined(&lines[..2]), title);
    assert_eq!(joined(&lines[2..4]), STALE);
    assert_eq!(lines[4], "  A  w0 response#1(bundles)  proxy_on_http_call_response");
    assert_eq!(lines[5], "  B  w1 response#1(bundles)  proxy_on_http_call_response");
}

#[test]
fn a_row_is_a_step_on_its_threads_lane_with_what_it_made_of_what_is_shared() {
    let text = render(&trace("stale-snapshot"), Format::Text);
    for row in [
        "   step   w0            w1            w2            what is shared, believed",
        "   +5 ms  ┌A response#1(bundles)",
        "     16~  │ set status = NOT_READY                  c1 status = NOT_READY",
        "   +9 ms  ┆ held        ┌B response#1(bundles)",
        "     20   ┆ held        │ set status = READY        c2 status = READY",
        "     22   ┆ held        │ post notices → w2",
        "     26   ┆ held                      │ view statu… agrees",
        "     28*  │ push notices ← NOT_READY                notices [NOT_READY]",
        "     33                               │ view statu… NOT_READY ≠ READY",
        "     38!                              └ answer to … ← it shows here",
    ] {
        assert!(text.lines().any(|line| line == row), "no row {row:?} in\n{text}");
    }
}

#[test]
fn no_line_is_wider_than_a_terminal_or_moves_its_cursor() {
    for (name, trace) in traces() {
        let text = render(&trace, Format::Text);
        for line in text.lines() {
            assert!(line.width() <= 80, "{name}: {} columns: {line}", line.width());
            assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{name}: {line:?}");
        }
    }
}

#[test]
fn a_run_that_is_too_long_keeps_what_explains_it_and_says_what_is_left_out() {
    let text = render(&storm(50, 400, 10), Format::Text);
    assert!(text.lines().count() < 120, "{text}");
    assert!(text.contains("steps not shown"), "{text}");
    let marks: Vec<&str> = text
        .lines()
        .filter_map(|line| line.get(7..8))
        .filter(|mark| ["~", "*", "!"].contains(mark))
        .collect();
    assert_eq!(marks, ["~", "*", "!"], "{text}");
}

#[test]
fn a_run_without_steps_or_findings_is_told_too() {
    assert_eq!(render(&trace("empty"), Format::Text), "empty\nNothing happened: the run has no steps\n");
    let one = render(&trace("one-step"), Format::Text);
    assert!(one.contains("Nothing failed in 1 step on 1 thread\n"), "{one}");
    assert!(one.contains("      1   └ enter on_tick\n"), "{one}");
}

#[test]
fn the_step_that_decides_is_told_with_the_chance_before_it() {
    let text = render_explained(&explained(), Format::Text);
    let sentence =
        "After step 28, `push notices ← NOT_READY`, every way to go on fails; before it, 50 % of random";
    let text: Vec<&str> = text.split_whitespace().collect();
    assert!(text.join(" ").contains(sentence), "{text:?}");
}

#[test]
fn what_comes_after_the_finding_is_how_it_settles_and_is_left_out() {
    let mut trace = trace("stale-snapshot");
    trace.findings[0].step = 33;
    let text = render(&trace, Format::Text);
    assert!(text.contains("     33!  ") && !text.contains("\n     34"), "{text}");
    assert!(text.contains("     ⋯  5 steps after it\n"), "{text}");
}

#[test]
fn what_a_guest_logged_stands_in_its_turn_and_the_end_of_a_stream_is_left_out() {
    let mut trace = trace("stale-snapshot");
    trace.steps[7].verb = Verb::Log;
    (trace.steps[7].object, trace.steps[7].argument) =
        ("error".to_owned(), "panicked at src/lib.rs:1".to_owned());
    trace.steps[8].verb = Verb::Enter;
    trace.steps[8].object = "proxy_on_log".to_owned();
    let text = render(&trace, Format::Text);
    assert!(text.contains("│ log error: panicked at s"), "{text}");
    assert!(!text.contains("enter on_log"), "{text}");
}
