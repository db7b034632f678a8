//! The lanes of a picture, from top to bottom: threads, shared keys with the views of them, queues, clusters, clients.

use std::collections::{BTreeSet, HashMap};

use super::{
    layout::{Arrow, Bar, CHARACTER, Lane, Layout, Link, Mark, Place, Tick, Touch},
    run::{Exchange, ExchangeKind, Line, Run, Segment, Shared, Turn},
    story::Story,
    words,
};
use crate::race::trace::{Step, Verb};

/// More threads than this, and those that the finding is not about get a low lane or none.
const THREADS: usize = 8;
/// More keys, queues or clusters than this are not drawn.
const SHARED: usize = 12;
/// More views of one key than this are not drawn.
const VIEWS: usize = 8;
/// More calls or requests open at once than this are not drawn.
const ROWS: usize = 5;

const BAR_TOP: f64 = 20.0;
const BAR_HEIGHT: f64 = 20.0;

/// Fills in everything below the ruler.
pub(super) fn draw(layout: &mut Layout, run: &Run<'_>, story: &Story<'_>) {
    let mut pen = Pen { layout, run, story, bars: HashMap::new(), y: 0.0 };
    pen.threads();
    pen.risk();
    pen.shared();
    pen.queues();
    pen.clusters();
    pen.clients();
    pen.notices();
    let height = pen.y + 4.0;
    layout.height = height;
}

struct Pen<'a, 'b> {
    layout: &'b mut Layout,
    run: &'b Run<'a>,
    story: &'b Story<'a>,
    /// Top and bottom of the bars of each thread that is drawn.
    bars: HashMap<usize, (f64, f64)>,
    y: f64,
}

impl<'a, 'b> Pen<'a, 'b> {
    fn lane(&mut self, height: f64, name: &str, note: &str, class: &'static str) -> f64 {
        let y = self.y;
        let (name, note) = (words::fit(name, 20), words::fit(note, 22));
        self.layout.lanes.push(Lane { y, height, name, note, class });
        self.y += height;
        y
    }

    fn bar(&mut self, (from, to): (f64, f64), y: f64, height: f64, class: &str, text: &str) {
        let width = (to - from).max(2.0);
        self.layout.bars.push(Bar {
            x: from,
            y,
            width,
            height,
            class: class.to_owned(),
            text: room(text, width - 11.0),
            caption: None,
            title: words::shortened(text, 200),
        });
    }

    // --- threads

    fn threads(&mut self) {
        let many = self.run.threads.len() > THREADS;
        let involved = self.involved();
        let mut idle = 0;
        let mut threads: Vec<usize> = (0..self.run.threads.len()).collect();
        if many {
            threads.sort_by_key(|thread| !involved.contains(thread));
        }
        for thread in threads {
            let turns: Vec<usize> = (0..self.run.turns.len())
                .filter(|&turn| {
                    let turn = self.run.turns.get(turn);
                    turn.is_some_and(|t| t.thread == thread && self.layout.is_drawn(t.first(), t.last()))
                })
                .collect();
            let outside = thread >= self.run.trace.threads.len();
            let low = outside || many && !involved.contains(&thread);
            if turns.is_empty() && many {
                idle += 1;
                continue;
            }
            let name = self.run.thread_name(thread);
            let note = match (name, turns.is_empty()) {
                (_, true) => "no turn",
                _ if self.run.about(thread).is_some() => self.run.about(thread).unwrap_or_default(),
                ("main", _) => "main thread",
                _ if name.strip_prefix('w').is_some_and(|n| n.parse::<u32>().is_ok()) => "worker",
                _ => "",
            };
            let (height, top) = match (turns.is_empty(), low) {
                (true, _) => (26.0, 4.0),
                (_, true) => (28.0, 4.0),
                _ => (72.0, BAR_TOP),
            };
            let y = self.lane(height, name, if low { "" } else { note }, "thread");
            self.bars.insert(thread, (y + top, y + top + BAR_HEIGHT));
            for (at, &turn) in turns.iter().enumerate() {
                let next = turns.get(at + 1).and_then(|&next| self.run.turns.get(next));
                let limit = next.and_then(|next| self.layout.column(next.first())).map(|place| place.x);
                self.turn(turn, y + top, low, limit.unwrap_or(self.layout.width));
            }
        }
        if idle > 0 {
            self.layout.notes.push(format!("{} did nothing in these steps", words::count(idle, "thread")));
        }
    }

    /// The threads that the finding is about.
    fn involved(&self) -> BTreeSet<usize> {
        let thread = |turn: usize| self.run.turns.get(turn).map(|turn| turn.thread);
        let mut involved: BTreeSet<usize> =
            self.story.raced.into_iter().flatten().filter_map(thread).collect();
        let Some(shows) = self.story.shows else { return involved };
        involved.extend(self.run.turn_at(shows).map(|turn| turn.thread));
        involved.extend(self.run.wrong_at(shows).into_iter().take(2));
        involved
    }

    fn turn(&mut self, place: usize, y: f64, low: bool, limit: f64) {
        let Some(turn) = self.run.turns.get(place) else { return };
        let letter = self.story.letter(place);
        let class = match letter {
            Some("A") => "a",
            Some(_) => "b",
            None => "",
        };
        let (from, to) = self.layout.span(turn.first(), turn.last());
        let holds: Vec<(f64, f64)> = turn
            .holds
            .iter()
            .filter(|hold| hold.until.is_none_or(|until| until > hold.after + 1))
            .map(|hold| {
                let from = self.layout.column(hold.after).map_or(0.0, Place::end);
                let to = hold.until.and_then(|until| self.layout.column(until));
                (from, to.map_or(self.layout.width - 10.0, |place| place.x))
            })
            .collect();
        let name = words::turn_on_lane(turn.name);
        let start = from + 2.0 + if letter.is_some() { 18.0 } else { 0.0 };
        let caption = room(&name, limit - start - 6.0);
        self.layout.bars.push(Bar {
            x: from + 2.0,
            y,
            width: to - from - 4.0,
            height: BAR_HEIGHT,
            class: format!("turn {class}"),
            text: if low { room(&name, to - from - 10.0) } else { String::new() },
            caption: (!low).then_some((letter, caption)),
            title: words::visible(&turn.name.to_string()).into_owned(),
        });
        if !low {
            self.callbacks(turn, y, class, &holds);
        }
        for &(from, to) in &holds {
            if to > from {
                let other = match letter {
                    Some("A") => "held back while B ran",
                    _ => "held back",
                };
                let text = if room(other, to - from - 8.0) == other { other } else { "held" };
                self.bar((from, to), y, BAR_HEIGHT, &format!("held {class}"), text);
            }
        }
        for &index in &turn.steps {
            self.tick(index, y + BAR_HEIGHT, class, low);
        }
    }

    fn callbacks(&mut self, turn: &Turn<'_>, y: f64, class: &str, holds: &[(f64, f64)]) {
        for callback in turn.callbacks.iter().filter(|callback| callback.depth < 3) {
            if !self.layout.is_drawn(callback.from, callback.to) {
                continue;
            }
            let (from, to) = self.layout.span(callback.from, callback.to);
            let inset = 3.0 + 2.0 * callback.depth as f64;
            // Its name stays clear of the part in which it was held.
            let clear = holds.iter().map(|hold| hold.0).filter(|&hold| hold > from).fold(to, f64::min);
            let name = words::callback(callback.export);
            let text = room(name, clear - from - inset - 10.0);
            // The beginning of a name, which many have in common, says nothing.
            let text = if text == name || words::width(&text) > 8 { text } else { String::new() };
            let class = format!("callback {class}{}", if callback.trapped { " trapped" } else { "" });
            self.bar((from + 2.0 + inset, to - 2.0 - inset), y + inset, BAR_HEIGHT - 2.0 * inset, &class, "");
            if let Some(bar) = self.layout.bars.last_mut() {
                bar.text = text;
                bar.title = words::shortened(callback.export, 80);
            }
        }
    }

    fn tick(&mut self, index: usize, y: f64, class: &str, low: bool) {
        let (Some(step), Some(place)) = (self.run.step(index), self.layout.column(index)) else { return };
        if place.column.gap {
            return;
        }
        let shows = self.story.shows == Some(index);
        let bad = !holds_up(step);
        let wordless = low || place.width < 40.0;
        let lines = match wordless {
            true => Default::default(),
            // Its font is a little smaller than that of the rest.
            false => [step.verb.to_string(), room(&words::gist(step), (place.width - 4.0) * 1.05)],
        };
        self.layout.ticks.push(Tick {
            x: place.middle(),
            y,
            class: [class, if bad { "bad" } else { "" }, if shows { "shows" } else { "" }].join(" "),
            lines,
            title: describe(step),
        });
    }

    // --- how likely it was to fail

    fn risk(&mut self) {
        if self.run.risk.is_empty() {
            return;
        }
        let y = self.lane(38.0, "chance to fail", "of random ways on", "risk");
        let base = y + 33.0;
        let nexts = self.run.risk.iter().skip(1).map(|(place, _)| *place).chain([None]);
        for (&(place, share), next) in self.run.risk.iter().zip(nexts) {
            let left = place.and_then(|index| self.layout.column(index)).map_or(0.0, Place::end);
            let right =
                next.and_then(|index| self.layout.column(index)).map_or(self.layout.width, Place::end);
            let height = 1.0 + 26.0 * share.clamp(0.0, 1.0);
            if right > left {
                let class = if share >= 1.0 { "risk certain" } else { "risk" };
                self.bar((left, right), base - height, height, class, &words::percent(share));
            }
        }
    }

    // --- what is shared

    fn shared(&mut self) {
        let mut keys: Vec<&Shared<'_>> = self.run.shared.iter().collect();
        let all = keys.len();
        if all > SHARED {
            let touched: BTreeSet<&str> =
                self.story.raced.into_iter().flatten().flat_map(|t| self.objects(t)).collect();
            let shows = self.story.shows.unwrap_or(usize::MAX);
            let differs = |shared: &Shared<'_>| shared.views.iter().any(|view| view.differs_at(shows));
            keys.sort_by_key(|shared| {
                (!touched.contains(shared.key), !differs(shared), shared.views.is_empty())
            });
            keys.truncate(SHARED);
            self.layout.notes.push(format!("{} are not drawn", words::count(all - SHARED, "shared key")));
        }
        for shared in keys {
            let mut truth = None;
            if !shared.truth.segments.is_empty() {
                let y = self.lane(34.0, shared.key, self.run.terms().0, "truth");
                truth = Some(y + 9.0);
                self.line(&shared.truth, y + 9.0, 18.0);
                self.touches(shared.key, &[Verb::Get, Verb::Set, Verb::Registry], y + 9.0);
            }
            self.views(shared, truth.is_none());
        }
    }

    /// What the turn's steps name.
    fn objects(&self, turn: usize) -> Vec<&'a str> {
        let steps = self.run.turns.get(turn).map(|turn| turn.steps.as_slice()).unwrap_or_default();
        steps.iter().filter_map(|&step| self.run.step(step)).map(|step| step.object.as_str()).collect()
    }

    fn views(&mut self, shared: &Shared<'_>, alone: bool) {
        let end = self.story.shows.unwrap_or(self.run.trace.steps.len().saturating_sub(1));
        let mut views: Vec<_> = shared.views.iter().collect();
        if views.len() > VIEWS {
            let involved = self.involved();
            let logged = self.run.trace.excerpt.is_some();
            let last = if logged { self.run.trace.steps.len().saturating_sub(1) } else { end };
            views.sort_by_key(|view| (!view.differs_at(last), !involved.contains(&view.thread), view.thread));
            let hidden = views.split_off(VIEWS);
            let wrong = hidden.iter().filter(|view| view.differs_at(last)).count();
            let key = words::shortened(shared.key, 40);
            self.layout.notes.push(format!(
                "{} of {key} are not drawn, {wrong} of which differ from {} in the end",
                words::count(hidden.len(), "view"),
                self.run.terms().0
            ));
            views.sort_by_key(|view| view.thread);
        }
        for view in views {
            let name = self.run.thread_name(view.thread);
            let note = if alone { words::shortened(shared.key, 20) } else { String::new() };
            let y =
                self.lane(25.0, &format!("{} {}", words::fit(name, 10), self.run.terms().1), &note, "view");
            for (segment, next) in self.segments(&view.line) {
                // A belief is drawn in pieces: those that agree with shared data, and those that do not.
                let mut cuts: Vec<usize> = view.differs.iter().flat_map(|&(from, to)| [from, to]).collect();
                cuts.retain(|&cut| segment.from < cut && cut < next);
                cuts.push(next);
                let mut from = segment.from;
                for to in cuts {
                    if let Some(&(since, until)) =
                        view.differs.iter().find(|&&(since, until)| since <= from && from < until)
                    {
                        let lasting = match &self.run.trace.excerpt {
                            Some(_) => self.run.departed(view.thread, shared.key, (since, until)),
                            None => since <= end && end < until,
                        };
                        let class = if lasting { "differs lasting" } else { "differs" };
                        self.moment((from, to), y + 4.0, 16.0, class, &format!("≠ {}", segment.text()));
                    } else {
                        self.moment((from, to), y + 4.0, 16.0, value_class(segment), &segment.text());
                    }
                    from = to;
                }
            }
            for (index, step) in self.run.trace.steps.iter().enumerate() {
                let own = self.run.turn_at(index).is_some_and(|turn| turn.thread == view.thread);
                if own && matches!(step.verb, Verb::View | Verb::Serves) && step.object == shared.key {
                    self.touch(index, y + 4.0, Touch::Writes);
                }
            }
        }
    }

    /// Each value with the step that ends it.
    fn segments<'l>(&self, line: &'l Line) -> Vec<(&'l Segment, usize)> {
        let ends = line.segments.iter().skip(1).map(|next| next.from).chain([self.run.trace.steps.len()]);
        line.segments.iter().zip(ends).collect()
    }

    /// A value over time, as neighbouring bars.
    fn line(&mut self, line: &Line, y: f64, height: f64) {
        for (segment, next) in self.segments(line) {
            self.moment((segment.from, next), y, height, value_class(segment), &segment.text());
        }
    }

    /// A bar from one step to another: from the middle of its column, because that is when it takes effect.
    fn moment(&mut self, (from, to): (usize, usize), y: f64, height: f64, class: &str, text: &str) {
        if to <= from || !self.layout.is_drawn(from, to - 1) && !self.layout.is_drawn(to, to) {
            return;
        }
        let left = self.layout.column(from).map_or(0.0, Place::middle);
        let right = self.layout.column(to).map_or(self.layout.width, Place::middle);
        self.bar((left, right), y, height, class, text);
    }

    fn touches(&mut self, object: &str, verbs: &[Verb], y: f64) {
        for (index, step) in self.run.trace.steps.iter().enumerate() {
            if step.object != object || !verbs.contains(&step.verb) {
                continue;
            }
            let touch = match step.verb {
                _ if !words::succeeded(step) && matches!(step.verb, Verb::Set | Verb::Push) => Touch::Refused,
                Verb::Get | Verb::Dequeue | Verb::Resolve => Touch::Reads,
                _ => Touch::Writes,
            };
            self.touch(index, y, touch);
        }
    }

    /// From a step's tick to the top of what it touched.
    fn touch(&mut self, index: usize, y: f64, kind: Touch) {
        let Some(place) = self.layout.column(index).filter(|place| !place.column.gap) else { return };
        let x = place.middle();
        let Some(&(_, from)) = self.run.turn_at(index).and_then(|turn| self.bars.get(&turn.thread)) else {
            return;
        };
        self.layout.links.push(Link {
            x,
            from,
            to: y,
            class: if kind == Touch::Reads { "reads" } else { "" },
        });
        self.layout.marks.push(Mark { x, y, kind });
    }

    fn queues(&mut self) {
        let queues = &self.run.queues;
        for queue in queues.iter().take(SHARED) {
            let y = self.lane(34.0, queue.name, "queue", "queue");
            for (segment, next) in self.segments(&queue.line) {
                if !segment.value.is_empty() {
                    self.moment((segment.from, next), y + 9.0, 18.0, "value", &segment.value);
                }
            }
            self.touches(queue.name, &[Verb::Push, Verb::Dequeue, Verb::Register, Verb::Resolve], y + 9.0);
        }
        if queues.len() > SHARED {
            self.layout.notes.push(format!("{} are not drawn", words::count(queues.len() - SHARED, "queue")));
        }
    }

    // --- what is outside

    fn clusters(&mut self) {
        let mut clusters: Vec<&str> = Vec::new();
        for step in &self.run.trace.steps {
            let outside = matches!(step.verb, Verb::Call | Verb::Response | Verb::Change);
            if outside && !clusters.contains(&step.object.as_str()) {
                clusters.push(&step.object);
            }
        }
        for cluster in clusters.iter().take(SHARED) {
            let calls = self.exchanges(|call| call.kind == ExchangeKind::Call && call.name == *cluster);
            let (rows, count) = pack(&calls);
            let y = self.lane(16.0 + 18.0 * count as f64, cluster, "cluster", "cluster");
            for (call, row) in calls.iter().zip(rows) {
                if let Some(row) = row {
                    self.call(call, y + 16.0 + 18.0 * row as f64);
                }
            }
            self.touches(cluster, &[Verb::Change], y + 10.0);
        }
        if clusters.len() > SHARED {
            self.layout
                .notes
                .push(format!("{} are not drawn", words::count(clusters.len() - SHARED, "cluster")));
        }
    }

    fn exchanges(&self, wanted: impl Fn(&Exchange<'_>) -> bool) -> Vec<&'b Exchange<'a>> {
        let end = self.run.trace.steps.len().saturating_sub(1);
        let all = self.run.exchanges.iter();
        all.filter(|e| wanted(e) && self.layout.is_drawn(e.from, e.to.unwrap_or(end))).collect()
    }

    /// Down from the call, along while it is open, up to the response.
    fn call(&mut self, call: &Exchange<'_>, y: f64) {
        let Some(from) = self.layout.column(call.from).map(Place::middle) else { return };
        let to = call.to.and_then(|to| self.layout.column(to)).map(Place::middle);
        let end = to.unwrap_or(self.layout.width - 6.0);
        let thread = |index: usize| self.run.turn_at(index).and_then(|turn| self.bars.get(&turn.thread));
        let Some(&(_, down)) = thread(call.from) else { return };
        let number = |index: usize| self.run.step(index).map_or(0, |step| step.number);
        let mut path = format!("M{from:.1} {down:.1}V{y:.1}H{end:.1}");
        if let Some(&(_, up)) = call.to.and_then(thread) {
            path.push_str(&format!("V{:.1}", up + 1.0));
        }
        let class = if to.is_some() { "call" } else { "call open" };
        let effect = call.to.map_or(0, number);
        self.layout.arrows.push(Arrow { path, class, cause: number(call.from), effect });
        let answer = match call.to.and_then(|to| self.run.step(to)) {
            Some(step) if step.verb == Verb::Response => step.observed.as_str(),
            Some(_) => "answered",
            None => "no answer",
        };
        let request = self.run.step(call.from).map_or("", |step| &step.argument);
        self.bar((from + 4.0, end - 4.0), y - 14.0, 13.0, "caption", &format!("{request} → {answer}"));
    }

    fn clients(&mut self) {
        let requests = self.exchanges(|request| request.kind == ExchangeKind::Request);
        if requests.is_empty() {
            return;
        }
        let (rows, count) = pack(&requests);
        let y = self.lane(12.0 + 20.0 * count as f64, "clients", "", "clients");
        let end = self.run.trace.steps.len().saturating_sub(1);
        for (request, row) in requests.iter().zip(rows) {
            let Some(row) = row else { continue };
            let y = y + 9.0 + 20.0 * row as f64;
            let answer =
                request.to.and_then(|to| self.run.step(to)).map_or("no answer", |step| &step.observed);
            let asked = self.run.step(request.from).map_or("", |step| &step.argument);
            let (from, to) = self.layout.span(request.from, request.to.unwrap_or(end));
            let class = if request.to.is_some() { "request" } else { "request open" };
            let text = format!("{}: {asked} → {answer}", words::shortened(request.name, 40));
            self.bar((from + 2.0, to - 2.0), y, 16.0, class, &text);
            self.touch(request.from, y, Touch::Reads);
            if let Some(to) = request.to {
                self.touch(to, y, Touch::Writes);
            }
        }
    }

    /// Arrows for every cause except calls, which have their own.
    fn notices(&mut self) {
        for (effect, causes) in self.run.causes.iter().enumerate() {
            for &cause in causes {
                let drawn = |index: usize| self.layout.column(index).filter(|place| !place.column.gap);
                let (Some(from), Some(to)) = (drawn(cause), drawn(effect)) else { continue };
                let (Some(cause_step), Some(effect_step)) = (self.run.step(cause), self.run.step(effect))
                else {
                    continue;
                };
                if cause_step.verb == Verb::Call {
                    continue;
                }
                let thread =
                    |index: usize| self.run.turn_at(index).and_then(|turn| self.bars.get(&turn.thread));
                let (Some(&start), Some(&end)) = (thread(cause), thread(effect)) else { continue };
                let path = curve((from.middle(), start), (to.middle(), end));
                let (cause, effect) = (cause_step.number, effect_step.number);
                self.layout.arrows.push(Arrow { path, class: "notice", cause, effect });
            }
        }
    }
}

/// From one lane's bar to another's: down to its upper edge, or up to its lower one.
fn curve((x1, (top1, bottom1)): (f64, (f64, f64)), (x2, (top2, bottom2)): (f64, (f64, f64))) -> String {
    let (y1, y2) = if top1 < top2 {
        (bottom1, top2 - 2.0)
    } else if top1 > top2 {
        (top1, bottom2 + 2.0)
    } else {
        let over = top1 - 14.0;
        return format!("M{x1:.1} {top1:.1}C{x1:.1} {over:.1} {x2:.1} {over:.1} {x2:.1} {:.1}", top1 - 2.0);
    };
    let bend = (y2 - y1) * 0.5;
    format!("M{x1:.1} {y1:.1}C{x1:.1} {:.1} {x2:.1} {:.1} {x2:.1} {y2:.1}", y1 + bend, y2 - bend)
}

/// A row for each, so that none covers another; none for those that there is no row for. And how many rows.
fn pack(exchanges: &[&Exchange<'_>]) -> (Vec<Option<usize>>, usize) {
    let mut ends: Vec<usize> = Vec::new();
    let mut rows = Vec::with_capacity(exchanges.len());
    for exchange in exchanges {
        let end = exchange.to.unwrap_or(usize::MAX);
        let free = ends.iter().position(|&end| end < exchange.from);
        let row = free.or_else(|| (ends.len() < ROWS).then_some(ends.len()));
        if let Some(row) = row {
            match ends.get_mut(row) {
                Some(last) => *last = end,
                None => ends.push(end),
            }
        }
        rows.push(row);
    }
    let count = ends.len().max(1);
    (rows, count)
}

/// As much of a text as there is room for; nothing rather than a single letter.
fn room(text: &str, width: f64) -> String {
    let columns = (width / CHARACTER).max(0.0) as usize;
    let fitted = words::fit(text, columns);
    if columns < 3 && fitted != text { String::new() } else { fitted }
}

/// How a value looks.
fn value_class(segment: &Segment) -> &'static str {
    if segment.value == "none" { "value none" } else { "value" }
}

/// Whether a step went as its guest would want it.
fn holds_up(step: &Step) -> bool {
    match step.verb {
        Verb::Trap => false,
        Verb::Set | Verb::Push | Verb::Call => words::succeeded(step),
        Verb::Post => step.observed != "lost",
        _ => true,
    }
}

/// Everything about a step, for a tooltip.
pub(super) fn describe(step: &Step) -> String {
    let mut text = format!("{} · {} · {}", step.number, words::turn(&step.turn), words::what(step, 120));
    let outcome = words::outcome(step);
    if !outcome.is_empty() {
        text.push_str(&format!(" → {}", words::shortened(&outcome, 120)));
    }
    if step.held {
        text.push_str(" · held right after");
    }
    text
}
