//! The page, in a browser that is cut off from every network.

use host_harness::race::render::{Format, render, render_explained};
use serde_json::{Value, json};

use crate::{
    STALE,
    browser::{Browser, Page},
    explained, storm, trace, traces,
};

const LARGEST: usize = 300_000;

/// The page of a run, opened at `#step=…` or where it opens by itself.
fn open<'b>(browser: &'b mut Browser, name: &str, fragment: &str) -> Page<'b> {
    let page = render(&trace(name), Format::Html);
    browser.open(&format!("{name}.html"), &page, fragment)
}

/// Each line of the state that is shown: name, value, and whether it is red.
fn state(page: &mut Page<'_>) -> Value {
    page.evaluate(
        "[...document.querySelectorAll('#state dl > div')].map((box) => \
         [...box.children].map((part) => part.textContent).concat(box.classList.contains('differs')))",
    )
}

fn step(page: &mut Page<'_>) -> String {
    page.text("#step b")
}

#[test]
fn a_page_is_never_too_large() {
    for (name, trace) in traces() {
        let page = render(&trace, Format::Html);
        assert!(page.len() <= LARGEST, "{name}: {} bytes", page.len());
    }
    let rows = render(&storm(50, 400, 10_240), Format::Html).matches("<tr").count();
    assert!(rows > 390, "all of 400 steps are in the table, and {rows} rows are");
}

#[test]
fn the_headline_the_two_turns_and_the_marks_are_there_after_the_script_ran() {
    let Some(mut browser) = Browser::start() else { return };
    let mut page = open(&mut browser, "stale-snapshot", "");
    assert_eq!(page.text("h1"), STALE.replace('`', ""));
    for (letter, turn) in [("A", "w0 response#1(bundles)"), ("B", "w1 response#1(bundles)")] {
        let card = page.text(&format!("[data-raced={letter}]"));
        assert!(card.contains(turn) && card.contains("proxy_on_http_call_response"), "{card}");
    }
    assert_eq!(page.text("text.flag.shows"), "step 38: fails, convergence");
    assert_eq!(page.text("text.flag.inevitable"), "inevitable after step 28");
    assert_eq!(page.text("text.held.a"), "held back while B ran");
    assert_eq!(page.evaluate("document.querySelector('#state').hidden"), false, "the script ran");
    assert_eq!(step(&mut page), "Step 16 of 38", "it opens where one of the two was held");
    page.finish();
}

#[test]
fn keys_step_through_the_run_and_the_state_follows() {
    let Some(mut browser) = Browser::start() else { return };
    let mut page = open(&mut browser, "stale-snapshot", "#step=25");
    assert_eq!(step(&mut page), "Step 25 of 38");
    let held = json!(["w0 response#1 held", "before push notices", false]);
    let truth = json!(["shared status", "READY c2", false]);
    let queue = json!(["queue notices", "empty", false]);
    assert_eq!(state(&mut page), json!([truth, ["w2 believes status", "≠ none", true], queue, held]));

    page.press("ArrowRight");
    assert_eq!(step(&mut page), "Step 26 of 38");
    assert_eq!(page.evaluate("location.hash"), "#step=26");
    assert_eq!(state(&mut page), json!([truth, ["w2 believes status", "READY", false], queue, held]));

    page.press("ArrowLeft");
    assert_eq!(step(&mut page), "Step 25 of 38");

    page.press("End");
    assert_eq!(step(&mut page), "Step 38 of 38");
    assert_eq!(state(&mut page), json!([truth, ["w2 believes status", "≠ NOT_READY", true], queue]));
    page.press("ArrowRight");
    assert_eq!(step(&mut page), "Step 38 of 38", "there is nothing behind the last step");

    page.press("Home");
    assert_eq!(step(&mut page), "Step 1 of 38");
    assert_eq!(state(&mut page), json!([]), "nothing is known yet");
    page.finish();
}

#[test]
fn the_chance_to_fail_is_part_of_the_state() {
    let Some(mut browser) = Browser::start() else { return };
    let mut page = browser.open("risk.html", &render_explained(&explained(), Format::Html), "#step=22");
    assert_eq!(state(&mut page)[0], json!(["chance to fail", "0 %", false]));
    page.press("ArrowRight");
    assert_eq!(state(&mut page)[0], json!(["chance to fail", "50 %", false]));
    page.finish();
}

#[test]
fn what_is_under_the_pointer_is_told_and_a_click_goes_there() {
    let Some(mut browser) = Browser::start() else { return };
    let mut page = open(&mut browser, "crossing-scratch", "#step=1");
    let place = page.evaluate(
        "(() => { const box = document.querySelector('.body .tick.shows path').getBoundingClientRect(); \
         return [box.x, box.y]; })()",
    );
    let (x, y) = (place[0].as_f64().unwrap(), place[1].as_f64().unwrap());
    page.point("mouseMoved", x, y);
    assert_eq!(page.text("#tip"), "18 · w0 response#1(authz) · answer to bob → 403 deny alice");
    page.point("mousePressed", x, y);
    page.point("mouseReleased", x, y);
    assert_eq!(step(&mut page), "Step 18 of 23");
    page.finish();
}

#[test]
fn every_step_can_be_reached_also_in_a_run_whose_picture_has_gaps() {
    let trace = storm(50, 400, 10_240);
    let steps = trace.steps.len();
    let Some(mut browser) = Browser::start() else { return };
    let mut page = browser.open("storm.html", &render(&trace, Format::Html), "#step=200");
    assert_eq!(step(&mut page), format!("Step 200 of {steps}"));
    let band = "(() => { const now = document.querySelector('.body rect.now').getBoundingClientRect(); \
         const gaps = [...document.querySelectorAll('.body rect.skipped')]; \
         return gaps.some((gap) => gap.getBoundingClientRect().x === now.x); })()";
    assert_eq!(page.evaluate(band), true, "a step that is not drawn is in its gap");
    page.press("End");
    assert_eq!(step(&mut page), format!("Step {steps} of {steps}"));
    assert_eq!(page.evaluate(band), false);
    page.finish();
}

#[test]
fn what_a_guest_chose_is_text_and_nothing_else() {
    let Some(mut browser) = Browser::start() else { return };
    let mut page = open(&mut browser, "hostile", "");
    let elements = page.evaluate(
        "[...document.querySelectorAll('img, iframe, object, link, base, form, [onload], [onerror], [src]')].length",
    );
    assert_eq!(elements, 0);
    let links = page.evaluate("[...document.querySelectorAll('[href]')].map((a) => a.getAttribute('href'))");
    assert!(links.as_array().unwrap().iter().all(|link| link.as_str().unwrap().starts_with('#')), "{links}");
    assert_eq!(page.evaluate("document.scripts.length"), 2);
    let title = page.evaluate("document.title");
    assert!(title.as_str().unwrap().starts_with("</script><script>document.title="), "{title}");
    let text = page.text("tbody tr:nth-child(2) td:nth-child(4)");
    let expected =
        r"set </script><svg onload=alert(2)> = \u{0}\u{1}\u{1b}[2J\u{202e}gnp��\u{feff}\r\n--><!--";
    assert_eq!(text, expected);
    for _ in 0..12 {
        page.press("ArrowRight");
    }
    assert_eq!(step(&mut page), "Step 11 of 11");
    page.finish();
}

#[test]
fn no_label_covers_another() {
    let Some(mut browser) = Browser::start() else { return };
    for (name, trace) in traces() {
        let mut page = browser.open(&format!("{name}.html"), &render(&trace, Format::Html), "");
        let covered = page.evaluate(
            "(() => { const found = [];
              for (const svg of document.querySelectorAll('svg')) {
                const texts = [...svg.querySelectorAll('text')];
                const labels = texts.map((text) => [text.textContent, text.getBoundingClientRect()]);
                labels.forEach(([one, a], at) => labels.slice(at + 1).forEach(([other, b]) => {
                  const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                  const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                  if (wide > 1 && high > 3) found.push([one, other, wide, high]);
                }));
              }
              return found; })()",
        );
        assert_eq!(covered, json!([]), "{name}");
        page.finish();
    }
}

#[test]
fn those_who_cannot_see_the_picture_are_told_what_it_shows_and_have_a_table() {
    let Some(mut browser) = Browser::start() else { return };
    let mut page = open(&mut browser, "stale-snapshot", "");
    let tree = page.accessibility();
    let named = |role: &str| -> Vec<&str> {
        let nodes = tree.iter().filter(|node| node["role"]["value"] == role && node["ignored"] == false);
        nodes.map(|node| node["name"]["value"].as_str().unwrap_or_default()).collect()
    };
    assert_eq!(named("image"), [format!("Timeline: {STALE}")]);
    assert_eq!(named("columnheader"), ["Step", "Time", "Turn", "What", "Came back", "Notes"]);
    assert_eq!(named("row").len(), 1 + 38);
    assert_eq!(named("heading"), [STALE.replace('`', "").as_str(), "Steps"]);
    assert!(named("region").contains(&"Timeline") && named("region").contains(&"State after the step"));
    page.finish();
}

#[test]
fn it_is_dark_where_the_reader_wants_it_dark() {
    let Some(mut browser) = Browser::start() else { return };
    let mut page = open(&mut browser, "stale-snapshot", "");
    let colors = "[getComputedStyle(document.body).backgroundColor, \
                  getComputedStyle(document.querySelector('.tick text')).fill]";
    page.prefer("light");
    assert_eq!(page.evaluate(colors), json!(["rgb(255, 255, 255)", "rgb(27, 31, 39)"]));
    page.prefer("dark");
    assert_eq!(page.evaluate(colors), json!(["rgb(22, 24, 29)", "rgb(230, 232, 236)"]));
    page.finish();
}

#[test]
fn a_drawing_is_a_document_that_a_browser_reads() {
    let Some(mut browser) = Browser::start() else { return };
    for (name, trace) in traces() {
        let mut page = browser.open(&format!("{name}.svg"), &render(&trace, Format::Svg), "");
        let root = page.evaluate(
            "[document.documentElement.nodeName, document.querySelectorAll('parsererror, script').length, \
             document.querySelectorAll('[href], [src], [onload]').length]",
        );
        assert_eq!(root, json!(["svg", 0, 0]), "{name}");
        page.finish();
    }
}
