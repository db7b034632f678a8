//! The pictures of a log, and its schedule.

use host_harness::race::{
    log::Cut,
    render::{Format, render},
    schedule::Schedule,
    trace::Trace,
};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::browser::{Browser, Page};

fn trace(text: &str, cut: &Cut) -> Trace {
    let log = Log::read(text.as_bytes(), "logs/phantom.log").unwrap();
    log.trace(&log.check(PATIENCE), cut).unwrap()
}

fn drawn(text: &str, format: Format) -> String {
    render(&trace(text, &Cut::default()), format)
}

/// A log of a hundred thousand transitions: fifty bundles, sixteen workers, one of which stays behind with one bundle.
fn long() -> String {
    let mut log = Writer::default();
    let name = |worker: u64| format!("{worker:08x}");
    for generation in 1..=120 {
        let at = 2.0 * generation as f64;
        for bundle in 0..50 {
            let rest = format!("bundle=b{bundle} from= to=current generation={generation} epoch=1");
            log.transition(
                at,
                100,
                &format!("scope=registry vm={} on=response#{generation} {rest}", name(0)),
            );
            for worker in (1..=16).filter(|&worker| (worker, bundle) != (7, 31) || generation <= 60) {
                let rest = format!("bundle=b{bundle} from= to=serving generation={generation} epoch=1");
                let vm = name(worker);
                log.transition(
                    at + 0.1,
                    100 + worker,
                    &format!("scope=vm vm={vm} on=tick#{generation} {rest}"),
                );
            }
        }
    }
    log.text
}

#[test]
fn the_text_is_as_it_was_when_it_was_last_looked_at() {
    let text = drawn(PHANTOM, Format::Text);
    assert_eq!(
        text,
        include_str!("../../logs/phantom.txt"),
        "draw it again: `portcullis render --log … --out …`"
    );
}

#[test]
fn the_drawing_is_as_it_was_when_it_was_last_looked_at() {
    let svg = drawn(PHANTOM, Format::Svg);
    assert!(
        svg == include_str!("../../logs/phantom.svg"),
        "draw it again: `portcullis render --log … --format svg --out …`"
    );
}

#[test]
fn the_registry_stands_beside_what_each_vm_serves() {
    let svg = drawn(PHANTOM, Format::Svg);
    for lane in [
        "51aa7e10",
        "9f3c01aa",
        "c7d20b35",
        "shop",
        "data",
        "registry",
        "9f3c01aa serves",
        "thread 4700, main",
        "thread 4711",
    ] {
        assert!(svg.contains(&format!(">{lane}<")), "no {lane} in {svg}");
    }
    assert!(svg.contains(">step 28: departure</text>"), "{svg}");
    // Behind for a moment after each publication; for good in one view alone.
    assert_eq!(svg.matches(r#"<rect class="differs lasting""#).count(), 1, "{svg}");
    assert!(svg.matches(r#"<rect class="differs""#).count() >= 4, "{svg}");
    let healthy = drawn(HEALTHY, Format::Svg);
    assert_eq!(healthy.matches(r#"<rect class="differs lasting""#).count(), 0, "{healthy}");
    assert!(!svg.contains("believes") && !svg.contains("shared data"), "{svg}");
}

#[test]
fn a_log_in_which_nothing_is_wrong_is_told_in_a_sentence() {
    let text = drawn(HEALTHY, Format::Text);
    let headline =
        "Every VM followed the registry, 117 ms at most behind it: 32 transitions, 3 VMs, 2 bundles";
    assert_eq!(text.lines().nth(1), Some(headline));
}

#[test]
fn lines_that_the_log_leaves_out_are_a_gap_in_the_picture() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1).serves(0.1, W0, 1).current(10.0, MAIN, 2);
    log.vm(20.0, W0, "policy=checkout from=serving to=serving suppressed=12").end(60.0);
    let text = drawn(&log.text, Format::Text);
    assert!(text.contains("│ 12 lines left out  "), "{text}");
    assert!(text.contains("⋯ a gap in the log"), "{text}");
    assert!(
        text.contains("12 of its lines were left out meanwhile by the rate limit, so it may be wrong."),
        "{text}"
    );
    assert!(text.contains("behind 2 for 50.0 s (12 lines left out)"), "{text}");
    assert!(drawn(&log.text, Format::Svg).contains(r#"<rect class="skipped lost""#));
}

#[test]
fn a_vm_that_failed_is_drawn_as_one() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1).serves(0.1, W0, 1);
    log.line(9.0, W0.0, "Function: proxy_on_tick failed: Uncaught RuntimeError: unreachable");
    log.current(12.0, MAIN, 2).end(60.0);
    let text = drawn(&log.text, Format::Text);
    assert!(text.contains("└ trap in proxy_on_tick → Uncaught RuntimeError: unreachable"), "{text}");
    let svg = drawn(&log.text, Format::Svg);
    assert!(svg.contains(">gone</text>") && !svg.contains(r#"class="differs"#), "{svg}");
}

#[test]
fn the_page_shows_the_phantom_and_needs_nothing_from_elsewhere() {
    let Some(mut browser) = Browser::start() else { return };
    let mut page = browser.open("phantom.html", &drawn(PHANTOM, Format::Html), "");
    assert_eq!(
        page.text("h1"),
        "vm 9f3c01aa (thread 4711) serves generation 3 of shop since 10:52:15.102 although 4 is current"
    );
    assert_eq!(page.text(".about b"), "found: departure");
    assert_eq!(
        page.text("#step"),
        "Step 28 of 31 · 10:53:20.480 · c7d20b35 response#14 · registry shop = 4 epoch 2 → revision `80`"
    );
    // Right after the publication all are behind; in the end one is.
    let views = [("51aa7e10", "3", true), ("9f3c01aa", "3", true), ("c7d20b35", "3", true)];
    assert_eq!(state(&mut page), shop("4 epoch 2", views));
    page.press("End");
    assert_eq!(
        state(&mut page),
        shop("4 epoch 2", [("51aa7e10", "4", false), ("9f3c01aa", "3", true), ("c7d20b35", "4", false)])
    );
    let row = page.evaluate("[...document.querySelectorAll('table.served tr.shows')].map((row) => [...row.cells].map((cell) => cell.textContent))");
    assert_eq!(
        row,
        json!([[
            "vm 9f3c01aa (thread 4711)",
            "shop",
            "3",
            "10:52:15.102",
            "end of the log",
            "106.8 s",
            "behind 4 for 41.5 s"
        ]])
    );
    page.finish();
}

/// The page's state of the bundle `shop`: name, value, whether it differs.
fn state(page: &mut Page<'_>) -> Value {
    page.evaluate(
        "[...document.querySelectorAll('#state dl > div')].filter((box) => box.textContent.includes('shop')) \
         .map((box) => [box.querySelector('dt').textContent, box.querySelector('dd').textContent, box.classList.contains('differs')])",
    )
}

fn shop(registry: &str, views: [(&str, &str, bool); 3]) -> Value {
    let mut all = vec![json!(["registry shop", registry, false])];
    for (vm, value, differs) in views {
        let value = if differs { format!("≠ {value}") } else { value.to_owned() };
        all.push(json!([format!("{vm} serves shop"), value, differs]));
    }
    Value::Array(all)
}

#[test]
fn of_a_long_log_the_picture_has_what_the_departure_is_about() {
    let text = long();
    let log = read(&text);
    assert!(log.transitions.len() > 90_000);
    let trace = log.trace(&log.check(PATIENCE), &Cut::default()).unwrap();
    let headline =
        "vm 00000007 (thread 107) serves generation 60 of `b31` since 10:52:00.100 although 120 is current";
    assert_eq!(trace.findings[0].message, headline);
    let html = render(&trace, Format::Html);
    assert!(html.len() <= 300_000, "{}", html.len());
    let svg = render(&trace, Format::Svg);
    assert!(svg.len() <= 150_000, "{}", svg.len());
    for picture in [&html, &svg] {
        assert!(picture.contains("107") && picture.contains("differs lasting"), "{picture}");
        assert!(picture.contains("transitions are drawn: those of `b31`"), "{picture}");
        assert!(!picture.contains("b30"), "{picture}");
    }
    let lines = render(&trace, Format::Text);
    assert!(lines.lines().all(|line| line.width() <= 110), "{lines}");
    let served = lines.lines().filter(|line| line.trim_start().starts_with("! ")).collect::<Vec<_>>();
    assert_eq!(served.len(), 1, "{served:?}");
    assert!(served[0].contains("60     10:52:00.100 to end of the log"), "{served:?}");
    assert_eq!(lines.lines().filter(|line| line.starts_with("  vm ")).count(), 16);
}

#[test]
fn a_cut_keeps_what_was_chosen_and_how_it_was_before() {
    let log = read(PHANTOM);
    let checked = log.check(PATIENCE);
    let turns = |cut: &Cut| -> Vec<String> {
        let trace = log.trace(&checked, cut).unwrap();
        trace.steps.iter().map(|step| format!("{} {} {}", step.turn, step.verb, step.object)).collect()
    };
    let cut = Cut { bundles: vec!["data".to_owned()], ..Cut::default() };
    assert!(turns(&cut).iter().all(|turn| !turn.ends_with(" shop")), "{:?}", turns(&cut));
    assert_eq!(log.trace(&checked, &cut).unwrap().findings, []);
    // By name or by thread; the registry stays.
    for name in ["9f3c", "4711"] {
        let cut = Cut { vms: vec![name.to_owned()], ..Cut::default() };
        let all = turns(&cut);
        assert!(
            all.iter().all(|turn| turn.starts_with("9f3c01aa ") || turn.contains(" registry ")),
            "{all:?}"
        );
        assert_eq!(log.trace(&checked, &cut).unwrap().findings.len(), 1);
    }
    let cut = Cut {
        bundles: vec!["shop".to_owned()],
        vms: vec!["9f3c01aa".to_owned()],
        from: Some(log.moment("10:53").unwrap()),
        until: Some(log.moment("2026-11-21 10:54:00").unwrap()),
    };
    assert_eq!(
        turns(&cut),
        [
            "9f3c01aa start#1 state member 2",
            "c7d20b35 response#1 registry shop",
            "9f3c01aa tick#768 serves shop",
            "c7d20b35 response#14 registry shop",
        ]
    );
    assert_eq!(log.trace(&checked, &cut).unwrap().findings.len(), 1);
    let early = Cut { until: Some(log.moment("10:52").unwrap()), ..Cut::default() };
    assert_eq!(log.trace(&checked, &early).unwrap().findings, [], "it had not begun");
}

#[test]
fn the_schedule_has_the_turns_in_order_under_the_names_of_the_harness() {
    let log = read(PHANTOM);
    let schedule = log.schedule(&trace(PHANTOM, &Cut::default()));
    let read = Schedule::parse(&schedule.to_string(), "phantom.race").unwrap();
    assert_eq!(read, schedule);
    assert_eq!(read.header("w0"), Some("thread 4711, vm 9f3c01aa"));
    assert_eq!(read.header("main"), Some("thread 4700, vm 51aa7e10"));
    assert!(read.header("finding").unwrap().contains("serves generation 3 of `shop`"));
    let turns: Vec<String> = read.segments.iter().map(|segment| segment.turn.to_string()).collect();
    assert_eq!(
        turns[..6],
        ["main tick#1", "main response#1", "w0 tick#4", "w1 ready#1", "main response#2", "main response#3"]
    );
    assert_eq!(turns.last().unwrap(), "w1 tick#1425");
}

#[test]
fn a_second_vm_on_a_thread_is_the_plugins_second_configuration() {
    let mut log = Writer::default();
    log.vm(0.0, W0, "member=1 from=absent to=joined").serves(1.0, W0, 1).serves(2.0, (W0.0, "22222222"), 1);
    log.transition(3.0, W0.0, "scope=vm vm=22222222 on=start#1 member=2 from=absent to=joined");
    log.transition(3.1, W0.0, "scope=vm vm=9f3c01aa on=done#1 member=1 from=joined to=left");
    let log = log.read();
    let schedule = log.schedule(&log.trace(&log.check(PATIENCE), &Cut::default()).unwrap());
    assert_eq!(schedule.header("w0"), Some("thread 4711, vm 9f3c01aa, then 22222222"));
    let turns: Vec<String> = schedule.segments.iter().map(|segment| segment.turn.to_string()).collect();
    assert_eq!(
        turns,
        ["w0 tick#1", "w0 tick#1(portcullis 2)", "w0 configure#1(portcullis 2)", "w0 release#1"]
    );
}

#[test]
fn the_vm_in_which_envoy_tries_a_configuration_is_not_the_first_on_its_thread() {
    let mut log = Writer::default();
    let start = "on=start#1 policy=checkout from=none to=pending";
    log.transition(0.0, W0.0, &format!("scope=vm vm=11111111 {start}"));
    log.transition(0.1, W0.0, &format!("scope=vm vm=9f3c01aa {start}")).serves(1.0, W0, 1);
    let log = log.read();
    let schedule = log.schedule(&log.trace(&log.check(PATIENCE), &Cut::default()).unwrap());
    let turns: Vec<String> = schedule.segments.iter().map(|segment| segment.turn.to_string()).collect();
    assert_eq!(turns, ["w0 tick#1"]);
}
