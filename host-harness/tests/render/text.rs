//! Text for logs.

use host_harness::race::render::{Format, render, render_explained};
use unicode_width::UnicodeWidthStr;

use crate::{STALE, explained, storm, trace, traces};

#[test]
fn the_headline_and_the_two_turns_come_first() {
    let text = render(&trace("stale-snapshot"), Format::Text);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "stale-snapshot, push-what-was-read · fails: convergence · L0, order and delay alone"
    );
    assert_eq!(format!("{}{}", lines[1], lines[2].replacen("  ", " ", 1)), STALE);
    assert_eq!(lines[3], "  A  w0 response#1(bundles)  proxy_on_http_call_response");
    assert_eq!(lines[4], "  B  w1 response#1(bundles)  proxy_on_http_call_response");
}

#[test]
fn a_row_is_a_step_on_its_threads_lane_with_what_it_made_of_what_is_shared() {
    let text = render(&trace("stale-snapshot"), Format::Text);
    for row in [
        "   step   w0                      w1                      w2                      what is shared, believed",
        "   +5 ms  ┌A response#1(bundles)",
        "     16~  │ set status = NOT_READY                                                c1 status = NOT_READY",
        "   +9 ms  ┆ held                  ┌B response#1(bundles)",
        "     20   ┆ held                  │ set status = READY                            c2 status = READY",
        "     22   ┆ held                  │ post notices → w2",
        "     26   ┆ held                                          │ view status = READY   agrees",
        "     28*  │ push notices ← NOT_READY                                              notices [NOT_READY]",
        "     33                                                   │ view status = NOT_RE… NOT_READY ≠ READY",
        "     38!                                                  └ answer to after → 503 ← it shows here",
    ] {
        assert!(text.lines().any(|line| line == row), "no row {row:?} in\n{text}");
    }
}

#[test]
fn no_line_is_wider_than_a_log_or_moves_its_cursor() {
    for (name, trace) in traces() {
        let text = render(&trace, Format::Text);
        for line in text.lines() {
            assert!(line.width() <= 110, "{name}: {} columns: {line}", line.width());
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
    assert!(text.contains(sentence), "{text}");
}
