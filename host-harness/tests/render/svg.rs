//! The drawing for documents.

use host_harness::race::render::{Format, render, render_explained};

use crate::{STALE, explained, storm, trace, traces};

fn drawing(name: &str) -> String {
    render(&trace(name), Format::Svg)
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn every_lane_is_named_and_the_turns_that_raced_have_their_letters() {
    let svg = drawing("stale-snapshot");
    assert!(svg.contains(&format!(r#"<title id="headline">{STALE}</title>"#)), "{svg}");
    for lane in ["main", "w0", "w1", "w2", "status", "w2 believes", "notices", "bundles", "clients"] {
        assert!(svg.contains(&format!(">{lane}<")), "no lane {lane} in {svg}");
    }
    for class in ["turn a", "turn b", "letter a", "letter b", "held a"] {
        assert_eq!(count(&svg, &format!(r#"<{} class="{class}""#, shape(class))), 1, "{class} in {svg}");
    }
    assert_eq!(count(&svg, ">held back while B ran</text>"), 1);
}

fn shape(class: &str) -> &str {
    if class.starts_with("letter") { "circle" } else { "rect" }
}

#[test]
fn the_step_that_fails_and_the_one_that_decides_have_flags() {
    let svg = drawing("stale-snapshot");
    assert!(svg.contains(">step 38: fails, convergence</text>"), "{svg}");
    assert!(svg.contains(">inevitable after step 28</text>"), "{svg}");
}

#[test]
fn a_view_is_red_from_when_it_differs_until_it_agrees() {
    let svg = drawing("stale-snapshot");
    assert_eq!(count(&svg, r#"<rect class="differs""#), 1, "before w2 heard of anything: {svg}");
    assert_eq!(count(&svg, r#"<rect class="differs lasting""#), 1, "in the end: {svg}");
    assert!(svg.contains(">≠ NOT_READY</text>"), "{svg}");
}

#[test]
fn causes_are_arrows_from_post_to_ready_and_from_call_to_response() {
    let svg = drawing("stale-snapshot");
    for (class, cause, effect) in [("call", 2, 13), ("call", 5, 17), ("notice", 22, 24), ("notice", 29, 31)] {
        let arrow = format!(r#"class="arrow {class}" data-cause="{cause}" data-effect="{effect}""#);
        assert_eq!(count(&svg, &arrow), 1, "{arrow} in {svg}");
    }
    assert_eq!(count(&svg, r#"class="arrow"#), 4);
}

#[test]
fn a_drawing_needs_no_variables_and_nothing_from_elsewhere() {
    for (name, trace) in traces() {
        let svg = render(&trace, Format::Svg);
        assert!(!svg.contains("var("), "{name}");
        assert!(["<script", "<image", "<use", "<a "].iter().all(|tag| !svg.contains(tag)), "{name}");
        assert!(svg.len() < 100_000, "{name}: {} bytes", svg.len());
    }
}

#[test]
fn a_long_run_is_clipped_to_what_explains_its_finding() {
    let svg = render(&storm(50, 400, 10), Format::Svg);
    let drawn = count(&svg, r#"<g class="tick"#);
    assert!((8..=44).contains(&drawn), "{drawn} steps");
    assert!(svg.contains("steps are drawn: those that explain the finding."), "{svg}");
    for class in ["turn a", "turn b", "held a"] {
        assert_eq!(count(&svg, &format!(r#"<rect class="{class}""#)), 1, "{class}");
    }
    assert!(svg.contains("threads did nothing in these steps."), "{svg}");
}

#[test]
fn the_chance_to_fail_is_drawn_where_it_is_known() {
    let svg = render_explained(&explained(), Format::Svg);
    assert!(svg.contains(">chance to fail<"), "{svg}");
    for (chance, class) in [("10 %", "risk"), ("25 %", "risk"), ("50 %", "risk"), ("100 %", "risk certain")] {
        assert_eq!(count(&svg, &format!(r#"<title>{chance}</title></rect>"#)), 1, "{chance}");
        assert!(svg.contains(&format!(r#"<rect class="{class}""#)), "{class}");
    }
    assert!(!drawing("stale-snapshot").contains("chance to fail"));
}
