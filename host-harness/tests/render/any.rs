//! Traces are files that people edit: whatever is in one, it is drawn.

use std::time::Duration;

use host_harness::race::{
    Explanation,
    render::{Format, render_explained},
    trace::{FaultClass, Finding, Step, Trace, TurnName, Verb},
};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use unicode_width::UnicodeWidthStr;

const TEXTS: [&str; 12] = [
    "",
    "status",
    "w0",
    "ok c1",
    "ok",
    "none",
    "READY",
    "READY c2",
    "a b\nc\u{202e}",
    "` <b>",
    "日本語",
    "not found",
];
const VERBS: [Verb; 18] = [
    Verb::Enter,
    Verb::Return,
    Verb::Trap,
    Verb::Get,
    Verb::Set,
    Verb::Register,
    Verb::Resolve,
    Verb::Push,
    Verb::Post,
    Verb::Dequeue,
    Verb::Metric,
    Verb::ChangeMetric,
    Verb::Call,
    Verb::Response,
    Verb::Request,
    Verb::Answer,
    Verb::View,
    Verb::Change,
];

fn text(random: &mut ChaCha8Rng) -> String {
    TEXTS[random.random_range(0..TEXTS.len())].repeat(random.random_range(1..4))
}

fn turn(random: &mut ChaCha8Rng) -> TurnName {
    TurnName {
        thread: ["main", "w0", "w1", ""][random.random_range(0..4)].to_owned(),
        event: ["tick", "ready", "\u{1b}"][random.random_range(0..3)].to_owned(),
        ordinal: random.random_range(0..3),
        subject: text(random),
    }
}

fn anything(seed: u64) -> Explanation {
    let random = &mut ChaCha8Rng::seed_from_u64(seed);
    let count = [0, 1, 2, 30, 60, 200][random.random_range(0..6)];
    let number = |random: &mut ChaCha8Rng| random.random_range(0..count + 3);
    let turns: Vec<TurnName> = (0..random.random_range(1..30)).map(|_| turn(random)).collect();
    let some_turn = |random: &mut ChaCha8Rng| turns[random.random_range(0..turns.len())].clone();
    let steps = (0..count).map(|index| Step {
        number: if random.random_bool(0.9) { index + 1 } else { number(random) },
        at: Duration::from_micros(random.random_range(0..5_000_000)),
        turn: some_turn(random),
        verb: VERBS[random.random_range(0..VERBS.len())],
        object: text(random),
        argument: text(random),
        observed: text(random),
        held: random.random_bool(0.1),
        held_before: None,
        causes: (0..random.random_range(0..3)).map(|_| number(random)).collect(),
    });
    let steps = steps.collect();
    let findings = (0..random.random_range(0..3)).map(|_| Finding {
        oracle: ["trap", "views", "convergence"][random.random_range(0..3)].to_owned(),
        class: FaultClass::L2,
        message: text(random),
        step: number(random),
        raced: random.random_bool(0.7).then(|| (some_turn(random), some_turn(random))),
        inevitable_after: random.random_bool(0.7).then(|| number(random)),
    });
    let findings = findings.collect();
    let threads = ["main", "w0", "w0"].map(str::to_owned).to_vec();
    let risk =
        (0..random.random_range(0..6)).map(|_| (number(random), random.random_range(-1.0..2.0))).collect();
    let trace =
        Trace { scenario: text(random), variant: text(random), threads, steps, findings, ..Trace::default() };
    Explanation { trace, risk }
}

#[test]
fn no_trace_is_refused() {
    for seed in 0..400 {
        let explanation = anything(seed);
        let drawn = [Format::Html, Format::Svg, Format::Text, Format::Perfetto]
            .map(|f| render_explained(&explanation, f));
        let [html, svg, text, perfetto] = drawn;
        assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>"), "seed {seed}");
        assert!(svg.starts_with("<?xml") && svg.ends_with("</svg>"), "seed {seed}");
        assert!(!svg.contains("NaN") && !svg.contains("width=\"-"), "seed {seed}: {svg}");
        assert!(text.lines().all(|line| line.width() <= 110), "seed {seed}: {text}");
        crate::perfetto::check(&format!("seed {seed}"), &perfetto);
    }
}

#[test]
fn the_same_run_is_drawn_the_same() {
    for seed in 0..20 {
        for format in [Format::Html, Format::Svg, Format::Text, Format::Perfetto] {
            let draw = || render_explained(&anything(seed), format);
            assert_eq!(draw(), draw(), "seed {seed}, {format:?}");
        }
    }
}
