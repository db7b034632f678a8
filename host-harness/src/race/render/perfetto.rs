//! A run as trace events, which Perfetto and Chrome's tracing read.
//!
//! A step takes a millisecond of the viewer's time line, because within a callback virtual time stands still; what the
//! virtual time was is an argument of every event. What is shared has tracks of its own.
//!
//! Format: "Trace Event Format", <https://perfetto.dev/docs/getting-started/other-formats>.

use serde_json::{Map, Value, json};

use super::{
    run::{Line, Run, Shared},
    story::Story,
    words,
};
use crate::race::trace::{Step, Verb};

/// Microseconds of the viewer's time line that a step takes.
const STEP: usize = 1_000;
/// The process whose tracks are the threads of Envoy.
const ENVOY: usize = 1;
/// The process whose tracks are what the threads share.
const SHARED: usize = 2;
/// Longest value, in characters.
const VALUE: usize = 400;

/// `{"traceEvents": […]}`
pub(super) fn events(run: &Run<'_>, story: &Story<'_>) -> String {
    let mut writer = Writer { run, story, events: Vec::new() };
    writer.names();
    writer.turns();
    writer.steps();
    writer.flows();
    writer.shared();
    let other = json!({
        "scenario": words::shortened(&run.trace.scenario, VALUE),
        "variant": words::shortened(&run.trace.variant, VALUE),
        "module_sha256": words::shortened(&run.trace.module_sha256, VALUE),
        "headline": story.headline,
    });
    json!({"traceEvents": writer.events, "displayTimeUnit": "ms", "otherData": other}).to_string()
}

struct Writer<'a, 'b> {
    run: &'b Run<'a>,
    story: &'b Story<'a>,
    events: Vec<Value>,
}

impl Writer<'_, '_> {
    fn names(&mut self) {
        self.name(ENVOY, None, "Envoy");
        self.name(SHARED, None, "What is shared");
        for thread in 0..self.run.threads.len() {
            self.name(ENVOY, Some(thread), self.run.thread_name(thread));
        }
    }

    /// A process, or a thread of it with its place among the others.
    fn name(&mut self, pid: usize, thread: Option<usize>, name: &str) {
        let name = words::shortened(name, 80);
        let Some(thread) = thread else {
            self.events.push(json!({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}}));
            self.events.push(
                json!({"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}}),
            );
            return;
        };
        let tid = thread + 1;
        self.events
            .push(json!({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}));
        let place = json!({"sort_index": tid});
        self.events
            .push(json!({"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": place}));
    }

    /// A slice from the beginning of one step to before the beginning of another.
    fn slice(&mut self, pid: usize, thread: usize, (from, to): (usize, usize), name: &str, args: Value) {
        self.events.push(json!({
            "ph": "X", "cat": "race", "name": name, "pid": pid, "tid": thread + 1,
            "ts": from, "dur": to.saturating_sub(from), "args": args,
        }));
    }

    fn turns(&mut self) {
        for (place, turn) in self.run.turns.iter().enumerate() {
            let letter = self.story.letter(place).map(|letter| format!("[{letter}] ")).unwrap_or_default();
            let name = format!("{letter}{}", words::turn_on_lane(turn.name));
            let end = (turn.last() + 1) * STEP;
            self.slice(
                ENVOY,
                turn.thread,
                (turn.first() * STEP, end),
                &name,
                json!({"raced": !letter.is_empty()}),
            );
            for callback in &turn.callbacks {
                // Within its turn, and within the callback around it.
                let inset = callback.depth + 1;
                let span = (callback.from * STEP + inset, (callback.to + 1) * STEP - inset);
                let args = json!({"trapped": callback.trapped});
                self.slice(ENVOY, turn.thread, span, &words::shortened(callback.export, 80), args);
            }
            for hold in &turn.holds {
                let until = hold.until.unwrap_or(turn.last() + 1);
                if until > hold.after + 1 {
                    let span = ((hold.after + 1) * STEP + 20, until * STEP - 20);
                    self.slice(ENVOY, turn.thread, span, "held", json!({}));
                }
            }
        }
    }

    fn steps(&mut self) {
        for (index, step) in self.run.trace.steps.iter().enumerate() {
            let thread = self.run.turn_at(index).map_or(0, |turn| turn.thread);
            if !matches!(step.verb, Verb::Enter | Verb::Return) {
                let name = words::brief(step);
                self.instant(thread, index, &name, "t", arguments(step));
            }
            if self.story.shows == Some(index) {
                let finding = self.story.finding.map(|finding| words::shortened(&finding.message, VALUE));
                self.instant(thread, index, "fails here", "g", json!({"finding": finding}));
            }
            if self.story.inevitable == Some(index) {
                self.instant(thread, index, "inevitable after this", "g", arguments(step));
            }
        }
    }

    fn instant(&mut self, thread: usize, index: usize, name: &str, scope: &str, args: Value) {
        self.events.push(json!({
            "ph": "i", "cat": "race", "name": name, "s": scope, "pid": ENVOY, "tid": thread + 1,
            "ts": middle(index), "args": args,
        }));
    }

    fn flows(&mut self) {
        let mut id = 0;
        for (effect, causes) in self.run.causes.iter().enumerate() {
            for &cause in causes {
                id += 1;
                let name = self.run.step(cause).map(words::brief).unwrap_or_default();
                for (phase, index) in [("s", cause), ("f", effect)] {
                    let thread = self.run.turn_at(index).map_or(0, |turn| turn.thread);
                    self.events.push(json!({
                        "ph": phase, "cat": "cause", "name": name, "id": id, "bp": "e",
                        "pid": ENVOY, "tid": thread + 1, "ts": middle(index),
                    }));
                }
            }
        }
    }

    /// A track for every key and queue; counters for how many views differ, for each view, and for queues.
    fn shared(&mut self) {
        let mut track = 0;
        for shared in &self.run.shared {
            let key = words::shortened(shared.key, 80);
            let (truth, _) = self.run.terms();
            self.line(&mut track, &format!("{truth} {key}"), &shared.truth);
            self.views(shared, &key);
        }
        for &(place, share) in &self.run.risk {
            let percent = (share * 100.0).round().clamp(0.0, 100.0) as usize;
            self.counter(place.unwrap_or_default(), "chance to fail", "percent", percent);
        }
        for queue in &self.run.queues {
            let name = words::shortened(queue.name, 80);
            self.line(&mut track, &format!("queue {name}"), &queue.line);
            for &(index, depth) in &queue.depths {
                self.counter(index, &format!("queue {name}"), "items", depth);
            }
        }
    }

    fn line(&mut self, track: &mut usize, name: &str, line: &Line) {
        if line.segments.is_empty() {
            return;
        }
        self.name(SHARED, Some(*track), name);
        for (at, segment) in line.segments.iter().enumerate() {
            let end = self.run.trace.steps.len() * STEP;
            let next = line.segments.get(at + 1).map_or(end, |next| middle(next.from));
            if !segment.value.is_empty() {
                let text = words::shortened(&segment.text(), VALUE);
                self.slice(SHARED, *track, (middle(segment.from), next), &text, json!({}));
            }
        }
        *track += 1;
    }

    /// A value that is a number counts as itself, and any other as its place among those that were seen.
    fn views(&mut self, shared: &Shared<'_>, key: &str) {
        let mut seen: Vec<&str> = Vec::new();
        for view in &shared.views {
            let (_, says) = self.run.terms();
            let name = format!("{} {says} {key}", words::shortened(self.run.thread_name(view.thread), 40));
            for segment in &view.line.segments {
                let known = seen.iter().position(|value| *value == segment.value).unwrap_or_else(|| {
                    seen.push(&segment.value);
                    seen.len() - 1
                });
                self.counter(segment.from, &name, "value", segment.value.parse().unwrap_or(known));
            }
        }
        let mut edges: Vec<usize> =
            shared.views.iter().flat_map(|view| &view.differs).flat_map(|&(from, to)| [from, to]).collect();
        edges.sort_unstable();
        edges.dedup();
        // Where the run ends, nothing changes.
        edges.retain(|edge| *edge < self.run.trace.steps.len());
        for edge in edges {
            let wrong = shared.views.iter().filter(|view| view.differs_at(edge)).count();
            self.counter(edge, &format!("views that differ from {key}"), "views", wrong);
        }
    }

    fn counter(&mut self, index: usize, name: &str, unit: &str, value: usize) {
        self.events.push(json!({
            "ph": "C", "cat": "race", "name": name, "pid": SHARED, "ts": middle(index), "args": {unit: value},
        }));
    }
}

/// In the middle of a step, so that it is within the slices that begin with it.
fn middle(index: usize) -> usize {
    index * STEP + STEP / 2
}

fn arguments(step: &Step) -> Value {
    let mut args = Map::new();
    args.insert("step".into(), step.number.into());
    args.insert("virtual_time_us".into(), u64::try_from(step.at.as_micros()).unwrap_or(u64::MAX).into());
    for (name, text) in [("argument", &step.argument), ("observed", &step.observed)] {
        if !text.is_empty() {
            args.insert(name.into(), words::shortened(text, VALUE).into());
        }
    }
    if step.held {
        args.insert("held".into(), true.into());
    }
    args.into()
}
