//! A trace as it is drawn: turns with their callbacks and holds, what every key, queue and view was when, and which
//! calls and requests were open. Positions are indices into the trace's steps; a trace is a file that people edit, so
//! numbers that name no step are passed over.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::words;
use crate::race::trace::{Step, Trace, TurnName, Verb};

/// A trace and what follows from it.
pub(super) struct Run<'a> {
    pub(super) trace: &'a Trace,
    /// The trace's threads, then any others that its steps name.
    pub(super) threads: Vec<&'a str>,
    pub(super) turns: Vec<Turn<'a>>,
    /// For every step, its turn.
    pub(super) turn_of: Vec<usize>,
    /// For every step, the earlier steps that caused it.
    pub(super) causes: Vec<Vec<usize>>,
    pub(super) shared: Vec<Shared<'a>>,
    pub(super) queues: Vec<Queue<'a>>,
    pub(super) exchanges: Vec<Exchange<'a>>,
    /// The share of random ways to go on that fail, after a step; nothing stands for the beginning.
    pub(super) risk: Vec<(Option<usize>, f64)>,
    by_number: HashMap<usize, usize>,
}

/// A turn, whose steps need not be neighbours.
pub(super) struct Turn<'a> {
    pub(super) name: &'a TurnName,
    pub(super) thread: usize,
    pub(super) steps: Vec<usize>,
    pub(super) callbacks: Vec<Callback<'a>>,
    pub(super) holds: Vec<Hold>,
}

/// A callback, from its entry to its return.
pub(super) struct Callback<'a> {
    pub(super) export: &'a str,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) depth: usize,
    pub(super) trapped: bool,
}

/// While a turn stood still.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    /// Its last step before.
    pub(super) after: usize,
    /// Its first step afterwards; nothing when it never went on.
    pub(super) until: Option<usize>,
}

/// A shared key, or a view that no key has the name of.
pub(super) struct Shared<'a> {
    pub(super) key: &'a str,
    /// What shared data held, as far as it is known.
    pub(super) truth: Line,
    /// What each thread's VM believes.
    pub(super) views: Vec<View>,
}

/// What a VM believes.
pub(super) struct View {
    pub(super) thread: usize,
    pub(super) line: Line,
    /// From where to before where it differs from what shared data holds.
    pub(super) differs: Vec<(usize, usize)>,
}

/// A queue.
pub(super) struct Queue<'a> {
    pub(super) name: &'a str,
    /// Its items in words.
    pub(super) line: Line,
    /// How many there are, at the same places.
    pub(super) depths: Vec<(usize, usize)>,
}

/// A value over time.
#[derive(Default)]
pub(super) struct Line {
    pub(super) segments: Vec<Segment>,
}

/// A value from one step on, until the next segment.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) from: usize,
    pub(super) value: String,
    /// `c2` when it is known.
    pub(super) version: String,
}

/// A call of a filter, or a request of a client, while it is open.
pub(super) struct Exchange<'a> {
    pub(super) kind: ExchangeKind,
    /// The cluster, or the request's name.
    pub(super) name: &'a str,
    pub(super) from: usize,
    pub(super) to: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ExchangeKind {
    Call,
    Request,
}

// === impl Run ===

impl<'a> Run<'a> {
    pub(super) fn new(trace: &'a Trace, risk: &[(usize, f64)]) -> Self {
        let by_number: HashMap<usize, usize> =
            trace.steps.iter().enumerate().rev().map(|(index, step)| (step.number, index)).collect();
        let causes = trace
            .steps
            .iter()
            .enumerate()
            .map(|(index, step)| {
                step.causes.iter().filter_map(|n| by_number.get(n).copied()).filter(|&c| c < index).collect()
            })
            .collect();
        let mut threads: Vec<&str> = Vec::new();
        let named = trace.threads.iter().map(String::as_str);
        for thread in named.chain(trace.steps.iter().map(|step| step.turn.thread.as_str())) {
            if !threads.contains(&thread) {
                threads.push(thread);
            }
        }
        let (turns, turn_of) = turns(trace, &threads);
        let mut run = Self {
            trace,
            threads,
            turns,
            turn_of,
            causes,
            shared: Vec::new(),
            queues: queues(trace),
            exchanges: Vec::new(),
            risk: Vec::new(),
            by_number,
        };
        run.risk = run.risk(risk);
        run.exchanges = run.exchanges();
        run.shared = run.shared();
        run
    }

    pub(super) fn step(&self, index: usize) -> Option<&'a Step> {
        self.trace.steps.get(index)
    }

    /// Where the step with this number is.
    pub(super) fn index(&self, number: usize) -> Option<usize> {
        self.by_number.get(&number).copied()
    }

    pub(super) fn turn(&self, name: &TurnName) -> Option<usize> {
        self.turns.iter().position(|turn| turn.name == name)
    }

    /// The turn that this step is a part of.
    pub(super) fn turn_at(&self, index: usize) -> Option<&Turn<'a>> {
        self.turns.get(*self.turn_of.get(index)?)
    }

    pub(super) fn thread_name(&self, thread: usize) -> &'a str {
        words::thread(self.threads.get(thread).copied().unwrap_or_default())
    }

    /// Everything that had to happen for this step to happen, itself included.
    pub(super) fn ancestors(&self, index: usize) -> Vec<usize> {
        let mut seen = vec![false; self.trace.steps.len()];
        let mut open = vec![index];
        let mut found = Vec::new();
        while let Some(index) = open.pop() {
            match seen.get_mut(index) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            found.push(index);
            let turn = self.turn_at(index).map(|turn| turn.steps.as_slice()).unwrap_or_default();
            open.extend(turn.iter().take_while(|&&step| step < index));
            open.extend(self.causes.get(index).into_iter().flatten());
        }
        found.sort_unstable();
        found
    }

    /// In order of steps; what names no step is passed over.
    fn risk(&self, risk: &[(usize, f64)]) -> Vec<(Option<usize>, f64)> {
        let places = risk.iter().filter_map(|&(number, share)| match number {
            0 => Some((None, share)),
            number => Some((Some(self.index(number)?), share)),
        });
        let mut places: Vec<_> = places.filter(|(_, share)| share.is_finite()).collect();
        places.sort_by_key(|(place, _)| *place);
        // A step may be followed by several choices; the last of them is what it led to.
        places.reverse();
        places.dedup_by_key(|(place, _)| *place);
        places.reverse();
        places
    }

    fn exchanges(&self) -> Vec<Exchange<'a>> {
        let mut exchanges: Vec<Exchange<'a>> = Vec::new();
        let mut calls: HashMap<usize, usize> = HashMap::new();
        let mut requests: HashMap<&str, usize> = HashMap::new();
        for (index, step) in self.trace.steps.iter().enumerate() {
            // A call ends with the first step that it caused: its response, or the callback that has it.
            for call in self.causes.get(index).into_iter().flatten().filter_map(|cause| calls.remove(cause)) {
                if let Some(call) = exchanges.get_mut(call) {
                    call.to = Some(index);
                }
            }
            let kind = match step.verb {
                Verb::Call if went_out(step) => {
                    calls.insert(index, exchanges.len());
                    ExchangeKind::Call
                }
                Verb::Request => {
                    requests.insert(&step.object, exchanges.len());
                    ExchangeKind::Request
                }
                Verb::Answer => {
                    let request = requests.remove(step.object.as_str());
                    if let Some(request) = request.and_then(|request| exchanges.get_mut(request)) {
                        request.to = Some(index);
                    }
                    continue;
                }
                _ => continue,
            };
            exchanges.push(Exchange { kind, name: &step.object, from: index, to: None });
        }
        exchanges
    }

    fn shared(&self) -> Vec<Shared<'a>> {
        let mut shared: Vec<Shared<'a>> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (index, step) in self.trace.steps.iter().enumerate() {
            if !matches!(step.verb, Verb::Get | Verb::Set | Verb::View | Verb::Registry | Verb::Serves) {
                continue;
            }
            let key = step.object.as_str();
            let place = *places.entry(key).or_insert_with(|| {
                shared.push(Shared { key, truth: Line::default(), views: Vec::new() });
                shared.len() - 1
            });
            let Some(one) = shared.get_mut(place) else { continue };
            match step.verb {
                Verb::Get => one.read(index, &step.observed),
                Verb::Set if words::succeeded(step) => {
                    let version = step.observed.strip_prefix("ok ").unwrap_or_default();
                    one.truth.push(index, words::written(&step.argument), version);
                }
                Verb::View => {
                    let thread = self.turn_at(index).map_or(0, |turn| turn.thread);
                    one.believe(index, thread, &step.argument, "");
                }
                Verb::Registry => {
                    let (value, state) = step.argument.split_once(' ').unwrap_or((&step.argument, ""));
                    if value != "?" {
                        one.truth.push(index, value, state);
                    }
                }
                Verb::Serves => {
                    let thread = self.turn_at(index).map_or(0, |turn| turn.thread);
                    let (value, state) = step.argument.split_once(' ').unwrap_or((&step.argument, ""));
                    one.believe(index, thread, value, state);
                }
                _ => {}
            }
        }
        for one in &mut shared {
            one.views.sort_by_key(|view| view.thread);
            for view in &mut one.views {
                self.end(view);
                let end = self.trace.steps.len();
                view.differs = differences(&one.truth, &view.line, end, self.trace.excerpt.is_some());
            }
        }
        shared
    }

    /// Ends the view of a VM that was gone before the log was.
    fn end(&self, view: &mut View) {
        let Some(excerpt) = &self.trace.excerpt else { return };
        let name = self.threads.get(view.thread).copied().unwrap_or_default();
        let gone = excerpt.gone.iter().find(|(thread, _)| thread == name);
        if let Some(index) = gone.and_then(|(_, number)| self.index(*number)) {
            view.line.segments.retain(|segment| segment.from < index);
            view.line.push(index, GONE, "");
        }
    }

    /// When a step was: since the run began, or as its log shows it.
    pub(super) fn time(&self, step: &Step) -> String {
        match &self.trace.excerpt {
            Some(excerpt) => excerpt.clock.shown(excerpt.began.saturating_add(step.at)),
            None => words::time(step.at),
        }
    }

    /// What the truth of a key is called, and what is said of a VM that has a view of it.
    pub(super) fn terms(&self) -> (&'static str, &'static str) {
        if self.trace.excerpt.is_some() { ("registry", "serves") } else { ("shared data", "believes") }
    }

    /// The threads whose views are wrong at a step; in a log, those that were so for too long, since all are behind for a
    /// moment.
    pub(super) fn wrong_at(&self, at: usize) -> Vec<usize> {
        let logged = self.trace.excerpt.is_some();
        let views = self.shared.iter().flat_map(|shared| &shared.views).filter(|view| view.differs_at(at));
        views.map(|view| view.thread).filter(|&thread| !logged || self.is_told(thread)).collect()
    }

    /// Whether a thread's VM is one of those that a log is shown for.
    fn is_told(&self, thread: usize) -> bool {
        let name = self.threads.get(thread).copied().unwrap_or_default();
        self.trace.excerpt.iter().flat_map(|excerpt| &excerpt.departed).any(|(thread, ..)| thread == name)
    }

    /// Whether a VM departed for too long within these steps, as its log says.
    pub(super) fn departed(&self, thread: usize, key: &str, (from, to): (usize, usize)) -> bool {
        let name = self.threads.get(thread).copied().unwrap_or_default();
        let departed = self.trace.excerpt.iter().flat_map(|excerpt| &excerpt.departed);
        let mut own = departed.filter(|(thread, bundle, _)| thread == name && bundle == key);
        own.any(|(_, _, number)| self.index(*number).is_some_and(|index| from <= index && index < to))
    }

    /// What there is to say about a thread besides its name.
    pub(super) fn about(&self, thread: usize) -> Option<&'a str> {
        let excerpt = self.trace.excerpt.as_ref()?;
        excerpt.about.get(thread).map(String::as_str)
    }
}

/// What a VM that is gone serves.
const GONE: &str = "gone";

fn turns<'a>(trace: &'a Trace, threads: &[&str]) -> (Vec<Turn<'a>>, Vec<usize>) {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    let mut places: BTreeMap<&TurnName, usize> = BTreeMap::new();
    let mut turn_of = Vec::with_capacity(trace.steps.len());
    for (index, step) in trace.steps.iter().enumerate() {
        let place = *places.entry(&step.turn).or_insert_with(|| {
            let thread = threads.iter().position(|thread| *thread == step.turn.thread).unwrap_or_default();
            turns.push(Turn {
                name: &step.turn,
                thread,
                steps: Vec::new(),
                callbacks: Vec::new(),
                holds: Vec::new(),
            });
            turns.len() - 1
        });
        turn_of.push(place);
        if let Some(turn) = turns.get_mut(place) {
            turn.steps.push(index);
        }
    }
    for turn in &mut turns {
        turn.read(trace);
    }
    (turns, turn_of)
}

fn queues(trace: &Trace) -> Vec<Queue<'_>> {
    let mut queues: Vec<Queue<'_>> = Vec::new();
    let mut items: Vec<VecDeque<&str>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (index, step) in trace.steps.iter().enumerate() {
        if !matches!(step.verb, Verb::Register | Verb::Resolve | Verb::Push | Verb::Post | Verb::Dequeue) {
            continue;
        }
        let name = step.object.as_str();
        let place = *places.entry(name).or_insert_with(|| {
            queues.push(Queue { name, line: Line::default(), depths: Vec::new() });
            items.push(VecDeque::new());
            queues.len() - 1
        });
        let (Some(queue), Some(items)) = (queues.get_mut(place), items.get_mut(place)) else { continue };
        match step.verb {
            Verb::Push if words::succeeded(step) => items.push_back(&step.argument),
            Verb::Dequeue => match items.iter().position(|item| *item == step.observed) {
                Some(taken) => drop(items.remove(taken)),
                None => continue,
            },
            _ => continue,
        }
        let mut text: Vec<String> = items.iter().take(4).map(|item| words::shortened(item, 40)).collect();
        if items.len() > 4 {
            text.push(format!("and {} more", items.len() - 4));
        }
        queue.line.push(index, &text.join(", "), "");
        queue.depths.push((index, items.len()));
    }
    queues
}

/// Whether a call left Envoy, be it to meet a fault.
fn went_out(step: &Step) -> bool {
    let fault = step.observed.strip_prefix("met fault ");
    words::succeeded(step) || fault.is_some_and(|fault| fault != "refusal")
}

/// Where a view differs from what is true; before either is known, nowhere.
fn differences(truth: &Line, view: &Line, end: usize, logged: bool) -> Vec<(usize, usize)> {
    let mut places: Vec<usize> = truth.segments.iter().chain(&view.segments).map(|s| s.from).collect();
    places.sort_unstable();
    places.dedup();
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (at, &from) in places.iter().enumerate() {
        let to = places.get(at + 1).copied().unwrap_or(end);
        let (Some(truth), Some(view)) = (truth.at(from), view.at(from)) else { continue };
        // A VM that is gone serves nothing wrong, and one goes on with what is registered no more.
        if truth.is(&view.value) || logged && (view.value == GONE || truth.value == "none") {
            continue;
        }
        match found.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ => found.push((from, to)),
        }
    }
    found
}

// === impl Turn ===

impl Turn<'_> {
    pub(super) fn first(&self) -> usize {
        self.steps.first().copied().unwrap_or_default()
    }

    pub(super) fn last(&self) -> usize {
        self.steps.last().copied().unwrap_or_default()
    }

    /// Its steps as spans that nothing of it is missing from, by index.
    pub(super) fn spans(&self) -> Vec<(usize, usize)> {
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for &step in &self.steps {
            match spans.last_mut() {
                Some(last) if last.1 + 1 == step => last.1 = step,
                _ => spans.push((step, step)),
            }
        }
        spans
    }
}

impl<'a> Turn<'a> {
    /// The exports of the callbacks in which something was done, each once; of all callbacks if nothing was.
    pub(super) fn exports(&self) -> Vec<&'a str> {
        let busy = |callback: &&Callback<'_>| {
            self.steps.iter().any(|&step| callback.from < step && step < callback.to) || callback.trapped
        };
        let some = self.callbacks.iter().any(|callback| busy(&callback));
        let mut exports = Vec::new();
        for callback in self.callbacks.iter().filter(|callback| !some || busy(callback)) {
            if !exports.contains(&callback.export) {
                exports.push(callback.export);
            }
        }
        exports
    }

    fn read(&mut self, trace: &'a Trace) {
        let mut open: Vec<usize> = Vec::new();
        let last = self.last();
        for (at, &index) in self.steps.iter().enumerate() {
            let Some(step) = trace.steps.get(index) else { continue };
            match step.verb {
                Verb::Enter => {
                    let export = step.object.as_str();
                    let depth = open.len();
                    open.push(self.callbacks.len());
                    self.callbacks.push(Callback { export, from: index, to: last, depth, trapped: false });
                }
                Verb::Return | Verb::Trap => {
                    if let Some(callback) = open.pop().and_then(|place| self.callbacks.get_mut(place)) {
                        callback.to = index;
                        callback.trapped = step.verb == Verb::Trap;
                    }
                }
                _ => {}
            }
            if step.held {
                self.holds.push(Hold { after: index, until: self.steps.get(at + 1).copied() });
            }
        }
    }
}

// === impl Shared, Line and Segment ===

impl Shared<'_> {
    /// What was read is true, whoever wrote it: this is how a value from before the run, or one that vanished, shows.
    fn read(&mut self, index: usize, observed: &str) {
        let (value, version) = if observed == "not found" { ("none", "") } else { versioned(observed) };
        match self.truth.segments.last() {
            Some(last) if last.value == value => {}
            _ => self.truth.push(index, value, version),
        }
    }

    fn believe(&mut self, index: usize, thread: usize, value: &str, state: &str) {
        if !self.views.iter().any(|view| view.thread == thread) {
            self.views.push(View { thread, line: Line::default(), differs: Vec::new() });
        }
        if let Some(view) = self.views.iter_mut().find(|view| view.thread == thread) {
            view.line.push(index, value, state);
        }
    }
}

impl View {
    pub(super) fn differs_at(&self, index: usize) -> bool {
        self.differs.iter().any(|&(from, to)| from <= index && index < to)
    }
}

impl Line {
    fn push(&mut self, from: usize, value: &str, version: &str) {
        self.segments.push(Segment { from, value: value.to_owned(), version: version.to_owned() });
    }

    /// The value right after this step.
    pub(super) fn at(&self, index: usize) -> Option<&Segment> {
        let after = self.segments.partition_point(|segment| segment.from <= index);
        self.segments.get(after.checked_sub(1)?)
    }
}

impl Segment {
    fn is(&self, believed: &str) -> bool {
        self.value == believed || versioned(believed).0 == self.value
    }

    /// `READY c2`
    pub(super) fn text(&self) -> String {
        match (self.value.as_str(), self.version.as_str()) {
            (value, "") => value.to_owned(),
            ("", version) => format!("\"\" {version}"),
            (value, version) => format!("{value} {version}"),
        }
    }
}

/// `READY c2` → `READY`, `c2`
fn versioned(text: &str) -> (&str, &str) {
    match text.rsplit_once(" c") {
        Some((value, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => {
            (value, text.get(value.len() + 1..).unwrap_or_default())
        }
        _ => (text, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_from_values() {
        assert_eq!(versioned("READY c2"), ("READY", "c2"));
        assert_eq!(versioned("vitamin c"), ("vitamin c", ""));
        assert_eq!(versioned("c2"), ("c2", ""));
    }
}
