//! The page: one file without anything from elsewhere. What the guest chose is text in it, never markup: maud escapes
//! it, and the page's own policy lets no script run but the one whose hash it names, and nothing load.

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    columns::{Column, columns},
    layout::{LABELS, Layout},
    run::{Line, Run, Turn},
    served,
    story::Story,
    svg::{self, px},
    words,
};

/// A page is never larger.
pub(super) const LARGEST: usize = 300_000;
const SCRIPT: &str = include_str!("timeline.js");
const STYLE: &str = include_str!("timeline.css");
/// Most steps of the picture, and fewer where many lanes make it too large. The table and the keys have the others too.
const DRAWN: [usize; 3] = [150, 80, 40];
/// Most lines of the state after a step.
const LINES: usize = 300;
/// Most rows of the table, and the longest value in it; tried in this order until the page is small enough.
const SIZES: [(usize, usize); 7] =
    [(2000, 160), (2000, 60), (1000, 60), (500, 40), (250, 40), (120, 40), (40, 20)];

/// The whole page, with as many steps as there is room for.
pub(super) fn page(run: &Run<'_>, story: &Story<'_>) -> String {
    let mut page = String::new();
    for drawn in DRAWN {
        let layout = Layout::new(run, story, drawn);
        for (rows, value) in SIZES {
            let rows = columns(run, story, rows);
            page = Page { run, story, layout: &layout, rows, value }.document().into_string();
            if page.len() <= LARGEST {
                return page;
            }
        }
    }
    page
}

struct Page<'a, 'b> {
    run: &'b Run<'a>,
    story: &'b Story<'a>,
    layout: &'b Layout,
    /// The rows of the table.
    rows: Vec<Column>,
    /// Longest value of the table, in characters.
    value: usize,
}

impl Page<'_, '_> {
    fn document(&self) -> Markup {
        let trace = self.run.trace;
        let name = match trace.variant.as_str() {
            "" => words::shortened(&trace.scenario, 80),
            variant => {
                format!("{}, {}", words::shortened(&trace.scenario, 80), words::shortened(variant, 80))
            }
        };
        let policy = format!(
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'",
            BASE64_STANDARD.encode(Sha256::digest(SCRIPT))
        );
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (name) ": " (self.story.headline) }
                    style { (PreEscaped(svg::variables())) (PreEscaped(svg::style())) (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        (self.head(&name))
                        @if !trace.steps.is_empty() { (self.picture()) }
                        section #state aria-live="polite" aria-label="State after the step" hidden {
                            span.keys { kbd { "←" } " " kbd { "→" } " step, " kbd { "Home" } " " kbd { "End" } }
                            p #step {}
                            dl {}
                        }
                        @if let Some(excerpt) = &trace.excerpt { (served::table(excerpt, self.rows.len())) }
                        @if !trace.steps.is_empty() { (self.table()) }
                    }
                    div #tip role="tooltip" hidden {}
                    @if !trace.steps.is_empty() {
                        script #run type="application/json" { (PreEscaped(inert(&self.data()))) }
                        script { (PreEscaped(SCRIPT)) }
                    }
                }
            }
        }
    }

    fn head(&self, name: &str) -> Markup {
        let trace = self.run.trace;
        let link = |index: usize| self.run.step(index).map_or(0, |step| step.number);
        html! {
            p.about {
                (name)
                @if let Some(finding) = self.story.finding {
                    @let (class, means) = words::class(finding.class);
                    @if trace.excerpt.is_some() {
                        " · " b { "found: " (words::shortened(&finding.oracle, 60)) }
                    } @else {
                        " · " b { "fails: " (words::shortened(&finding.oracle, 60)) } " · " (class) ", " (means)
                    }
                }
                @if let Some(sha) = trace.module_sha256.get(..12) { " · module " code { (words::visible(sha)) } }
            }
            h1 { (quoted(&self.story.headline)) }
            div.how {
                @if let Some(raced) = self.story.raced {
                    ul.raced aria-label="The two turns that raced" {
                        @for (letter, class, turn) in [("A", "a", raced[0]), ("B", "b", raced[1])] {
                            @if let Some(turn) = self.run.turns.get(turn) { (raced_turn(self.run, letter, class, turn)) }
                        }
                    }
                }
                @if !self.story.sentences.is_empty() {
                    ol aria-label="How it came to it" {
                        @for sentence in &self.story.sentences { li { (quoted(sentence)) } }
                    }
                }
            }
            @if trace.findings.len() > 1 {
                p.about {
                    "Also: "
                    @for (at, finding) in trace.findings.iter().skip(1).take(20).enumerate() {
                        @if at > 0 { "; " }
                        (quoted(&words::reason(&finding.message, 160))) " ("
                        @match self.run.index(finding.step) {
                            Some(index) => a href=(format_args!("#step={}", link(index))) { "step " (link(index)) },
                            None => (words::shortened(&finding.oracle, 40)),
                        }
                        ")"
                    }
                }
            }
        }
    }

    fn picture(&self) -> Markup {
        let Layout { width, height, ruler, .. } = *self.layout;
        html! {
            div.scroll role="region" aria-label="Timeline" tabindex="0" {
                div.grid style=(format_args!("grid-template-columns:{}px {}px", px(LABELS), px(width))) {
                    div.corner { span { "step" } span { "time" } }
                    svg.picture.ruler aria-hidden="true" width=(px(width)) height=(px(ruler)) {
                        (svg::ruler(self.layout))
                    }
                    svg.picture.names aria-hidden="true" width=(px(LABELS)) height=(px(height)) {
                        (svg::names(self.layout))
                    }
                    svg.picture.body role="img" aria-labelledby="picture-title" aria-describedby="picture-text"
                        width=(px(width)) height=(px(height)) {
                        title #picture-title { "Timeline: " (self.story.headline) }
                        desc #picture-text {
                            (svg::described(self.run, self.story)) " The table below lists the steps."
                        }
                        (svg::definitions())
                        (svg::body(self.layout, false))
                    }
                }
            }
            p.legend {
                (svg::legend(self.run, self.story))
                @for note in &self.layout.notes { " · " (note) }
            }
        }
    }

    fn table(&self) -> Markup {
        html! {
            h2 { "Steps" }
            table {
                caption { "What was done, what was given, and what came back." }
                colgroup { @for width in [5, 7, 17, 35, 23, 13] { col style=(format_args!("width:{width}%")); } }
                thead { tr {
                    @for head in ["Step", "Time", "Turn", "What", "Came back", "Notes"] { th scope="col" { (head) } }
                } }
                tbody { @for row in &self.rows { (self.row(row)) } }
            }
        }
    }

    fn row(&self, row: &Column) -> Markup {
        let index = row.from;
        let Some(step) = row.step().and_then(|index| self.run.step(index)) else {
            return html! { tr.skipped { td colspan="6" { (words::count(row.count(), "step")) " not shown" } } };
        };
        let letter = self.run.turn_of.get(index).and_then(|&turn| self.story.letter(turn));
        let shows = self.story.shows == Some(index);
        html! {
            tr.a[letter == Some("A")].b[letter == Some("B")].shows[shows] data-at=(index) {
                td { a href=(format_args!("#step={}", step.number)) { (step.number) } }
                td { (self.run.time(step)) }
                td {
                    (words::shortened(&step.turn.to_string(), 80))
                    @if let Some(letter) = letter { " [" (letter) "]" }
                }
                td { (words::what(step, self.value)) }
                td { (words::shortened(&words::outcome(step), self.value)) }
                td {
                    @for cause in &step.causes { "caused by " (cause) " " }
                    @if step.held { mark.hold { "held here " } }
                    @if self.story.inevitable == Some(index) { mark.late { "inevitable from here " } }
                    @if shows { mark { (if self.run.trace.excerpt.is_some() { "departs here" } else { "fails here" }) } }
                }
            }
        }
    }

    /// What the script needs to show the state after a step. Places are steps by index, and what changes within steps
    /// that the table leaves out is reported once.
    fn data(&self) -> Value {
        let shown = |index: usize| {
            self.rows.get(self.rows.partition_point(|row| row.to < index)).map_or(index, |row| row.from)
        };
        let values = |line: &Line| -> Vec<Value> {
            let mut values: Vec<(usize, String)> = Vec::new();
            for segment in &line.segments {
                let at = shown(segment.from);
                if values.last().is_some_and(|last| last.0 == at) {
                    values.pop();
                }
                values.push((at, words::shortened(&segment.text(), self.value.min(60))));
            }
            values.into_iter().map(|(at, text)| json!([at, text])).collect()
        };
        let mut lines: Vec<Value> = Vec::new();
        let (truth, says) = self.run.terms();
        let truth = truth.trim_end_matches(" data");
        for shared in &self.run.shared {
            let key = words::shortened(shared.key, 40);
            if !shared.truth.segments.is_empty() {
                lines.push(json!({"kind": "truth", "name": format!("{truth} {key}"), "values": values(&shared.truth)}));
            }
            for view in &shared.views {
                let thread = words::shortened(self.run.thread_name(view.thread), 20);
                let mut differs: Vec<_> =
                    view.differs.iter().map(|&(from, to)| (shown(from), shown(to))).collect();
                differs.dedup();
                let name = format!("{thread} {says} {key}");
                lines.push(
                    json!({"kind": "view", "name": name, "values": values(&view.line), "differs": differs}),
                );
            }
        }
        for queue in &self.run.queues {
            let name = format!("queue {}", words::shortened(queue.name, 40));
            lines.push(json!({"kind": "queue", "name": name, "values": values(&queue.line)}));
        }
        for turn in &self.run.turns {
            let mut values = Vec::new();
            for hold in &turn.holds {
                let before = hold.until.and_then(|index| self.run.step(index));
                let text =
                    before.map_or("for good".to_owned(), |step| format!("before {}", words::brief(step)));
                values.push(json!([shown(hold.after), text]));
                values.extend(hold.until.map(|until| json!([shown(until), ""])));
            }
            if !values.is_empty() {
                lines.push(json!({"kind": "held", "name": format!("{} held", words::turn(turn.name)), "values": values}));
            }
        }
        if !self.run.risk.is_empty() {
            let risk = self.run.risk.iter();
            let values: Vec<_> =
                risk.map(|&(place, share)| json!([place.map_or(0, shown), words::percent(share)])).collect();
            lines.insert(0, json!({"kind": "risk", "name": "chance to fail", "values": values}));
        }
        lines.truncate(LINES);
        let places: Vec<Value> =
            self.layout.columns.iter().map(|place| json!([place.column.to, place.x, place.width])).collect();
        let race = self.story.hold.map(|(_, hold)| hold.after).or(self.story.shows);
        let start = race.and_then(|index| self.run.step(index)).map_or(0, |step| step.number);
        let from = self.story.raced.zip(self.story.hold).and_then(|([a, _], _)| self.run.turns.get(a));
        let from = from.map(Turn::first);
        json!({"from": from, "steps": self.run.trace.steps.len(), "start": start, "places": places, "lines": lines})
    }
}

fn raced_turn(run: &Run<'_>, letter: &str, class: &str, turn: &Turn<'_>) -> Markup {
    let exports: Vec<String> = turn.exports().iter().map(|export| words::shortened(export, 60)).collect();
    let number = |index: usize| run.step(index).map_or(0, |step| step.number);
    let spans = turn.spans();
    html! {
        li class=(class) data-raced=(letter) {
            strong { (letter) " " b.turn { (words::shortened(&turn.name.to_string(), 80)) } }
            " " code { (exports.join(", ")) }
            span {
                "steps "
                @for (at, (from, to)) in spans.iter().take(6).enumerate() {
                    @if at > 0 { ", then " }
                    a href=(format_args!("#step={}", number(*from))) {
                        (number(*from)) @if from != to { " to " (number(*to)) }
                    }
                }
                @if turn.holds.len() == 1 { " · held once" }
                @if turn.holds.len() > 1 { " · held " (turn.holds.len()) " times" }
            }
        }
    }
}

/// A sentence whose code stands between backquotes, and whose steps become links.
fn quoted(sentence: &str) -> Markup {
    let paired = sentence.matches('`').count().is_multiple_of(2);
    html! {
        @if paired {
            @for (at, part) in sentence.split('`').enumerate() {
                @if at % 2 == 1 { code { (part) } } @else { (linked(part)) }
            }
        } @else { (sentence) }
    }
}

fn linked(text: &str) -> Markup {
    let (before, found) = match text.find("step ").or_else(|| text.find("steps ")) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let digits = found.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_start();
    let number: &str = digits.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let (link, rest) = found.split_at(found.len() - digits.len() + number.len());
    html! {
        (before)
        @if number.is_empty() { (found) } @else { a href=(format_args!("#step={number}")) { (link) } (rest) }
    }
}

/// JSON that cannot end the element that it is in.
fn inert(data: &Value) -> String {
    data.to_string().replace('<', "\\u003c")
}
