//! A run as text: a row for every step, a lane for every thread that matters. It fits a terminal of 80 columns, and a log of
//! production, with its dates, one of 110.
//!
//! ```text
//!    step   w0                    w1                    what is shared, believed
//!           ┌A response#1(bundles)
//!      16~  │ set status = READY                        c1 status = READY
//! ```
//! `~` is where a turn was held, `┆` while it was; `!` is where it shows, `*` after what it was inevitable.

use super::{
    columns::columns,
    run::Run,
    served,
    story::Story,
    words::{self, padded},
};
use crate::race::{
    log::Clock,
    trace::{Step, Verb},
};

/// No line of a run is wider.
const RUN_COLUMNS: usize = 80;
/// No line of what was read from a log is wider.
pub(super) const LOG_COLUMNS: usize = 110;
/// Most steps that are listed.
const STEPS: usize = 160;
/// Columns before the lanes.
const MARGIN: usize = 10;
/// Most lanes; the turns of other threads share the last one.
const LANES: usize = 4;

/// The headline, the two turns that raced, then the lanes.
pub(super) fn lanes(run: &Run<'_>, story: &Story<'_>) -> String {
    let mut out = Vec::new();
    let columns = if run.trace.excerpt.is_some() { LOG_COLUMNS } else { RUN_COLUMNS };
    let wrapped = |text: &str, inset: &str| wrapped(text, inset, columns);
    out.extend(wrapped(&title(run, story), ""));
    out.extend(wrapped(&story.headline, ""));
    for (letter, turn) in ["A", "B"].into_iter().zip(story.raced.into_iter().flatten()) {
        let Some(turn) = run.turns.get(turn) else { continue };
        let exports: Vec<String> = turn.exports().iter().map(|export| words::shortened(export, 40)).collect();
        let name = words::shortened(&turn.name.to_string(), 48);
        out.push(words::fit(&format!("  {letter}  {name}  {}", exports.join(", ")), columns));
    }
    for sentence in &story.sentences {
        out.extend(wrapped(sentence, "     "));
    }
    for finding in run.trace.findings.iter().skip(1) {
        let also = format!("Also: {} (step {})", words::reason(&finding.message, 160), finding.step);
        out.extend(wrapped(&also, "     "));
    }
    if !run.trace.steps.is_empty() {
        out.push(String::new());
        Rows::new(run, story, columns).write(&mut out);
    }
    if let Some(excerpt) = &run.trace.excerpt {
        for note in &excerpt.notes {
            out.extend(wrapped(&words::shortened(note, 300), ""));
        }
        served::text(excerpt, &mut out);
    }
    let mut text = String::new();
    for line in out {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn title(run: &Run<'_>, story: &Story<'_>) -> String {
    let trace = run.trace;
    let mut title = words::shortened(&trace.scenario, 60);
    if !trace.variant.is_empty() {
        title.push_str(&format!(", {}", words::shortened(&trace.variant, 60)));
    }
    if let Some(finding) = story.finding {
        let (class, means) = words::class(finding.class);
        let oracle = words::shortened(&finding.oracle, 40);
        title.push_str(&match trace.excerpt {
            Some(_) => format!(" · found: {oracle}"),
            None => format!(" · fails: {oracle} · {class}, {means}"),
        });
    }
    title
}

/// A sentence in lines, of which all but the first are set in.
fn wrapped(text: &str, inset: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![inset.to_owned()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        let empty = line.trim().is_empty();
        if !empty && words::width(line) + 1 + words::width(word) > columns {
            lines.push(format!("{}{word}", if inset.is_empty() { "  " } else { inset }));
        } else {
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.iter().map(|line| words::fit(line, columns)).collect()
}

struct Rows<'a, 'b> {
    run: &'b Run<'a>,
    story: &'b Story<'a>,
    /// The threads that have a lane of their own.
    threads: Vec<usize>,
    /// Whether the other threads share a lane.
    others: bool,
    columns: usize,
    margin: usize,
    lane: usize,
    state: usize,
}

impl<'a, 'b> Rows<'a, 'b> {
    fn new(run: &'b Run<'a>, story: &'b Story<'a>, columns: usize) -> Self {
        let mut busy: Vec<usize> = run.turns.iter().map(|turn| turn.thread).collect();
        busy.sort_unstable();
        busy.dedup();
        let mut threads = busy.clone();
        if busy.len() > LANES {
            let thread = |turn: usize| run.turns.get(turn).map(|turn| turn.thread);
            let shows = story.shows.and_then(|index| run.turn_at(index)).map(|turn| turn.thread);
            let wrong = story.shows.and_then(|at| run.wrong_at(at).first().copied());
            let mut first: Vec<usize> = story.raced.into_iter().flatten().filter_map(thread).collect();
            first.extend(shows.into_iter().chain(wrong));
            first.extend(busy);
            threads = Vec::new();
            for thread in first {
                if threads.len() + 1 < LANES && !threads.contains(&thread) {
                    threads.push(thread);
                }
            }
            threads.sort_unstable();
        }
        let others = run.turns.iter().any(|turn| !threads.contains(&turn.thread));
        let lanes = (threads.len() + usize::from(others)).max(1);
        let state = if run.shared.is_empty() && run.queues.is_empty() { 0 } else { 26 };
        let margin = match run.trace.excerpt.as_ref().map(|excerpt| excerpt.clock) {
            None => MARGIN,
            Some(Clock::Date) => 20,
            Some(_) => 14,
        };
        let lane = ((columns - margin - state) / lanes).min(40);
        Self { run, story, threads, others, columns, margin, lane, state }
    }

    fn write(&self, out: &mut Vec<String>) {
        let mut head = padded("   step", self.margin);
        for &thread in &self.threads {
            let about = self.run.about(thread).unwrap_or_default().trim_start_matches("thread ");
            let name = self.run.thread_name(thread);
            head.push_str(&padded(format!("{name} {about}").trim_end(), self.lane));
        }
        if self.others {
            head.push_str(&padded("others", self.lane));
        }
        if self.state > 0 {
            let logged = self.run.trace.excerpt.is_some();
            head.push_str(if logged { "registry, what is served" } else { "what is shared, believed" });
        }
        out.push(head);
        let mut time = String::new();
        // What comes after it is how it settles. A log is read to its end: how long it lasts is what matters there.
        let is_run = self.run.trace.excerpt.is_none();
        let shows = self.story.shows.filter(|_| is_run).unwrap_or(usize::MAX);
        for column in columns(self.run, self.story, STEPS) {
            if column.from > shows {
                let later = self.run.trace.steps.len() - column.from;
                out.push(format!("     ⋯  {} after it", words::count(later, "step")));
                break;
            }
            let (Some(index), Some(step)) = (column.step(), self.run.step(column.from)) else {
                out.push(format!("     ⋯  {} not shown", words::count(column.count(), "step")));
                continue;
            };
            let now = self.run.time(step);
            let passed = match (now == time, &self.run.trace.excerpt) {
                (true, _) => String::new(),
                (_, Some(_)) => now.clone(),
                (_, None) => format!("{:>8}", format!("+{now}")),
            };
            time = now;
            self.step(index, step, &passed, out);
        }
        out.push(String::new());
        out.push(match self.run.trace.excerpt {
            Some(_) => {
                "≠ another generation than is current   ! from here on, as the headline says".to_owned()
            }
            None => "~ held right after this   ┆ held   * inevitable after this   ! it shows".to_owned(),
        });
    }

    fn step(&self, index: usize, step: &Step, passed: &str, out: &mut Vec<String>) {
        let turn = self.run.turn_at(index);
        let first = turn.is_some_and(|turn| turn.first() == index);
        if !first && !passed.is_empty() {
            out.push(passed.to_owned());
        }
        let lane = turn.and_then(|turn| self.threads.iter().position(|&thread| thread == turn.thread));
        let lane = lane.unwrap_or(self.threads.len());
        if let (Some(turn), true) = (turn, first) {
            let letter = self.run.turn_of.get(index).and_then(|&turn| self.story.letter(turn)).unwrap_or("");
            let mut name = words::turn_on_lane(turn.name);
            if lane == self.threads.len() {
                name = format!("{} {name}", words::visible(self.run.thread_name(turn.thread)));
            }
            out.push(self.row(passed, index, lane, &format!("┌{letter} {name}"), ""));
        }
        let last = turn.is_some_and(|turn| turn.last() == index);
        // The end of a stream, which every request has.
        let is_end = matches!(step.object.as_str(), "proxy_on_log" | "proxy_on_done" | "proxy_on_delete");
        if is_end && matches!(step.verb, Verb::Enter | Verb::Return) && !last {
            return;
        }
        let mut what = words::what(step, 120);
        if step.verb == Verb::Enter || step.verb == Verb::Return {
            what = what.replace("return from ", "return ").replace("proxy_", "");
        }
        let outcome = words::outcome(step);
        let silent = matches!(step.verb, Verb::Set | Verb::Push | Verb::Call) && words::succeeded(step);
        if !outcome.is_empty() && !silent {
            what.push_str(&format!(" → {}", words::shortened(&outcome, 80)));
        }
        let shows = self.story.shows == Some(index);
        let mark = match (shows, self.story.inevitable == Some(index), step.held) {
            (true, _, _) => '!',
            (_, true, _) => '*',
            (_, _, true) => '~',
            _ => ' ',
        };
        let number = format!("{:>7}{mark}", step.number);
        let line = format!("{} {what}", if last { '└' } else { '│' });
        out.push(self.row(&number, index, lane, &line, &self.change(index, step)));
    }

    /// One row; in the other lanes, what is held. Words go on into the lanes to the right where nothing is there.
    fn row(&self, number: &str, index: usize, lane: usize, text: &str, state: &str) -> String {
        let mut row = padded(number, self.margin);
        let lanes = self.threads.len() + usize::from(self.others);
        let held = |at: usize| self.threads.get(at).is_some_and(|&thread| self.holds(thread, index));
        for at in 0..lanes {
            if at == lane {
                row = padded(&row, self.margin + self.lane * at);
                let end = (at + 1..lanes).find(|&at| held(at)).unwrap_or(lanes);
                let free =
                    self.lane * (end - at) + if end == lanes && state.is_empty() { self.state } else { 0 };
                row.push_str(&words::fit(text, free.saturating_sub(1)));
            } else if held(at) {
                row = padded(&row, self.margin + self.lane * at);
                row.push_str("┆ held");
            }
        }
        if !state.is_empty() {
            row = padded(&row, self.margin + self.lane * lanes);
            row.push_str(&words::fit(state, self.columns.saturating_sub(words::width(&row))));
        }
        row
    }

    fn holds(&self, thread: usize, index: usize) -> bool {
        let turns = self.run.turns.iter().filter(|turn| turn.thread == thread);
        turns
            .flat_map(|turn| &turn.holds)
            .any(|hold| hold.after < index && hold.until.is_none_or(|until| index < until))
    }

    /// What this step made of what it touched.
    fn change(&self, index: usize, step: &Step) -> String {
        let object = words::shortened(&step.object, 40);
        match step.verb {
            Verb::Set | Verb::Registry => {
                let shared = self.run.shared.iter().find(|shared| shared.key == step.object);
                let truth = shared.and_then(|shared| shared.truth.at(index));
                match truth.filter(|truth| truth.from == index) {
                    Some(truth) if step.verb == Verb::Registry => {
                        format!("{object} = {}", words::shortened(&truth.text(), 60))
                    }
                    Some(truth) => {
                        let version = if truth.version.is_empty() {
                            String::new()
                        } else {
                            format!("{} ", truth.version)
                        };
                        format!("{version}{object} = {}", words::shortened(&truth.value, 60))
                    }
                    None => format!("{object}: {}", words::shortened(&step.observed, 40)),
                }
            }
            Verb::View | Verb::Serves => {
                let shared = self.run.shared.iter().find(|shared| shared.key == step.object);
                let thread = self.run.turn_at(index).map(|turn| turn.thread);
                let view =
                    shared.and_then(|shared| shared.views.iter().find(|view| Some(view.thread) == thread));
                let truth = shared.and_then(|shared| shared.truth.at(index));
                match (view, truth) {
                    (Some(view), Some(truth)) if view.differs_at(index) => {
                        format!(
                            "{} ≠ {}",
                            words::shortened(&step.argument, 40),
                            words::shortened(&truth.value, 40)
                        )
                    }
                    (Some(_), Some(_)) => "agrees".to_owned(),
                    _ => String::new(),
                }
            }
            Verb::Push | Verb::Dequeue => {
                let queue = self.run.queues.iter().find(|queue| queue.name == step.object);
                let items = queue.and_then(|queue| queue.line.at(index));
                items
                    .map(|items| format!("{object} [{}]", words::shortened(&items.value, 60)))
                    .unwrap_or_default()
            }
            Verb::Gap => "⋯ a gap in the log".to_owned(),
            _ if self.story.shows == Some(index) => "← it shows here".to_owned(),
            _ => String::new(),
        }
    }
}
