//! Running a schedule again, by name.

use std::any::Any;

use super::{
    schedule::{Schedule, Seen, Segment},
    trace::{Step, TurnName, Verb},
};
use crate::{
    abi::Point,
    envoy::schedule::{Candidate, Fault, Names, Scheduler, TurnId},
};

/// A place where a run does not do what its schedule says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    /// A turn cannot have its turn.
    #[error("the schedule says that `{expected}` comes next, and what can come is {}", list(possible))]
    Turn {
        /// The schedule's turn.
        expected: TurnName,
        /// Turns that could come.
        possible: Vec<TurnName>,
    },
    /// A turn was not held where it should have been.
    #[error("the schedule holds `{turn}` ({place}), and it never came there")]
    Hold {
        /// The turn.
        turn: TurnName,
        /// The place.
        place: String,
    },
    /// Something else was seen.
    #[error("`{turn}`: the schedule says `{expected}`, and the run says `{found}`")]
    Seen {
        /// The turn.
        turn: TurnName,
        /// What the schedule says.
        expected: String,
        /// What the run says.
        found: String,
    },
}

/// Does what a schedule says. What it does not say comes in order of time.
pub(super) struct Replay {
    segments: Vec<Segment>,
    /// The segment that runs, or will.
    at: usize,
    running: bool,
    /// How often the running segment has come to its place.
    times: usize,
    calls: usize,
    /// Whether a segment that cannot run is passed over; without it, it is a divergence.
    lenient: bool,
    pub(super) divergences: Vec<Divergence>,
}

// === impl Replay ===

impl Replay {
    pub(super) fn new(schedule: &Schedule, lenient: bool) -> Replay {
        Replay {
            segments: schedule.segments.clone(),
            at: 0,
            running: false,
            times: 0,
            calls: 0,
            lenient,
            divergences: Vec::new(),
        }
    }

    pub(super) fn of(scheduler: &dyn Scheduler) -> &Replay {
        let scheduler: &dyn Any = scheduler;
        scheduler.downcast_ref().expect("the scheduler that was put in")
    }

    /// The segment that comes after the running one.
    fn upcoming(&self) -> Option<&Segment> {
        self.segments.get(self.at + usize::from(self.running))
    }

    /// Whether a schedule's turn is this one. A log does not say what a turn is about, so leniently that may be left out.
    fn is_meant(&self, expected: &TurnName, turn: &TurnName) -> bool {
        let alike = (&*expected.thread, &*expected.event, expected.ordinal)
            == (&*turn.thread, &*turn.event, turn.ordinal);
        alike && (expected.subject == turn.subject || self.lenient && expected.subject.is_empty())
    }

    /// Chooses the schedule's next turn, or what happens by itself where that cannot come.
    fn choose(&mut self, names: &dyn Names, candidates: &[Candidate]) -> Option<usize> {
        loop {
            let expected = self.upcoming()?.turn.clone();
            let place = candidates.iter().position(|one| self.is_meant(&expected, &names.turn(one.turn)));
            if place.is_some() {
                return place;
            }
            // What must come first may have been left out.
            if self.lenient {
                return None;
            }
            let possible = candidates.iter().map(|candidate| names.turn(candidate.turn)).collect();
            self.divergences.push(Divergence::Turn { expected, possible });
            self.segments.clear();
        }
    }

    /// Which time the running segment is held before such a hostcall, if it is.
    fn holds_before(&self, names: &dyn Names, point: &Point<'_>) -> Option<usize> {
        let hold = self.segments.get(self.at).filter(|_| self.running)?.hold.as_ref()?;
        let (verb, object) = names.point(point);
        (verb == hold.verb && object == hold.object).then_some(hold.time)
    }

    fn leave(&mut self) {
        if !std::mem::take(&mut self.running) {
            return;
        }
        if let Some(Segment { turn, hold: Some(hold), .. }) = self.segments.get(self.at) {
            self.divergences.push(Divergence::Hold { turn: turn.clone(), place: hold.to_string() });
        }
        self.at += 1;
    }
}

impl Scheduler for Replay {
    fn may_hold(&mut self) -> bool {
        self.segments.get(self.at..).is_some_and(|rest| rest.iter().any(|segment| segment.hold.is_some()))
    }

    fn comes_to(&mut self, names: &dyn Names, _turn: TurnId, point: &Point<'_>) {
        if self.holds_before(names, point).is_some() {
            self.times += 1;
        }
    }

    fn at_point(
        &mut self,
        names: &dyn Names,
        _turn: TurnId,
        point: &Point<'_>,
        candidates: &[Candidate],
    ) -> Option<usize> {
        let time = self.holds_before(names, point)?;
        if self.times < time {
            return None;
        }
        let chosen = self.choose(names, candidates)?;
        // The segment has come to its place and is over.
        self.running = false;
        self.at += 1;
        Some(chosen)
    }

    fn next(&mut self, names: &dyn Names, candidates: &[Candidate]) -> usize {
        self.leave();
        self.choose(names, candidates).unwrap_or(0)
    }

    fn fault(&mut self, _names: &dyn Names, _turn: Option<TurnId>, faults: &[Fault]) -> Option<Fault> {
        let segment = self.segments.get(self.at).filter(|_| self.running)?;
        self.calls += 1;
        let (_, name) = segment.faults.iter().find(|(call, _)| *call == self.calls)?;
        Fault::parse(name).filter(|fault| faults.contains(fault))
    }

    fn begins(&mut self, names: &dyn Names, turn: TurnId) {
        self.leave();
        let name = names.turn(turn);
        if self.lenient {
            // What the schedule says before this turn has not come, and is passed over.
            let rest = self.segments.get(self.at..).unwrap_or_default();
            self.at += rest.iter().position(|segment| self.is_meant(&segment.turn, &name)).unwrap_or(0);
        }
        if self.segments.get(self.at).is_some_and(|segment| self.is_meant(&segment.turn, &name)) {
            self.running = true;
            self.times = 0;
            self.calls = 0;
        } else if !self.lenient && self.at < self.segments.len() {
            let expected = self.segments.get(self.at).map(|segment| segment.turn.clone());
            if let Some(expected) = expected {
                self.divergences.push(Divergence::Turn { expected, possible: vec![name] });
            }
            self.segments.clear();
        }
    }
}

/// Compares what a schedule says was seen with what a run saw.
pub(super) fn compare(schedule: &Schedule, steps: &[Step]) -> Vec<Divergence> {
    let mut divergences = Vec::new();
    let mut steps = steps.iter().filter(|step| Seen::of(step).is_some());
    'segments: for segment in &schedule.segments {
        for expected in &segment.seen {
            // Steps that the schedule leaves out are passed over, but only within the turn.
            let found = steps.by_ref().find(|step| {
                step.turn == segment.turn && step.verb == expected.verb && same_object(step, expected)
            });
            let Some(found) = found.and_then(Seen::of) else {
                let (expected, found) = (expected.to_string(), "nothing of the kind".to_owned());
                divergences.push(Divergence::Seen { turn: segment.turn.clone(), expected, found });
                break 'segments;
            };
            if found != *expected {
                let (expected, found) = (expected.to_string(), found.to_string());
                divergences.push(Divergence::Seen { turn: segment.turn.clone(), expected, found });
            }
        }
    }
    divergences
}

fn same_object(step: &Step, expected: &Seen) -> bool {
    // A value may have changed, which is for the comparison to say.
    matches!(step.verb, Verb::Return | Verb::Trap) || expected.what.starts_with(step.object.as_str())
}

fn list(turns: &[TurnName]) -> String {
    if turns.is_empty() {
        return "nothing".to_owned();
    }
    turns.iter().map(|turn| format!("`{turn}`")).collect::<Vec<_>>().join(", ")
}
