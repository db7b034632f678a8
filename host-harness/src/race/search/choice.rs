//! What was chosen in a run, in order, so that it can be chosen again.

use std::any::Any;

use serde::{Deserialize, Serialize};

use crate::{
    abi::Point,
    envoy::schedule::{Candidate, Fault, Names, Next, Scheduler, TurnId},
};

/// One choice between several ways to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Choice {
    /// How many ways there were.
    pub(crate) ways: u16,
    /// The one that was taken; 0 is what happens when nobody decides.
    pub(crate) taken: u16,
    /// Whether another way than the first holds a callback inside.
    pub(crate) inside: bool,
    /// How many ways, the first ones, let nothing come late: the others begin what is due later than something else.
    #[serde(default = "all_ways")]
    pub(crate) timely: u16,
}

fn all_ways() -> u16 {
    u16::MAX
}

// === impl Choice ===

impl Choice {
    pub(super) fn new(count: usize, taken: usize, inside: bool, timely: usize) -> Choice {
        Choice { ways: ways(count), taken: ways(taken), inside, timely: ways(timely) }
    }

    /// How many times something is put off by a way: a callback that is held inside, an event that comes late.
    pub(super) fn cost_of(self, way: u16) -> u32 {
        u32::from(self.inside && way > 0) + u32::from(way >= self.timely)
    }

    /// The same of the way that was taken.
    pub(super) fn cost(self) -> u32 {
        self.cost_of(self.taken)
    }

    /// How many ways, the first ones, cost no more than this.
    pub(super) fn within(self, spare: u32) -> u16 {
        let ways = match (self.inside, spare) {
            (false, 0) => self.timely,
            (true, 0) => 1,
            (true, 1) => self.timely,
            _ => self.ways,
        };
        ways.clamp(1, self.ways)
    }
}

/// How many of the candidates, the first ones, begin nothing that is due later than something else: turns that are held,
/// which are waited for by nobody, and the events that are due first.
pub(super) fn timely(candidates: &[Candidate]) -> usize {
    let is_event = |candidate: &&Candidate| candidate.next != Next::Resume;
    let first = candidates.iter().find(is_event).map(|first| first.due);
    let late = |candidate: &Candidate| is_event(&candidate) && Some(candidate.due) > first;
    candidates.iter().position(late).unwrap_or(candidates.len())
}

/// A count of ways; a scenario with more than 65,535 of them is cut off there.
fn ways(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// Lets another scheduler decide, and writes down what it chose.
pub(super) struct Noting {
    inner: Box<dyn Scheduler>,
    made: Vec<Choice>,
    /// The step before each choice.
    steps: Vec<usize>,
}

/// Takes the same ways again, and the first one when they are used up.
pub(crate) struct Follow {
    choices: Vec<Choice>,
    at: usize,
    faithful: bool,
    /// Who decides when the choices are used up; nobody, if there is none.
    then: Option<Box<dyn Scheduler>>,
}

// === impl Follow ===

impl Follow {
    pub(crate) fn new(choices: Vec<Choice>) -> Follow {
        Follow { choices, at: 0, faithful: true, then: None }
    }

    /// The same, and then another scheduler decides.
    pub(super) fn and_then(choices: Vec<Choice>, then: Box<dyn Scheduler>) -> Follow {
        Follow { then: Some(then), ..Follow::new(choices) }
    }

    pub(crate) fn of(scheduler: &dyn Scheduler) -> &Follow {
        let scheduler: &dyn Any = scheduler;
        scheduler.downcast_ref().expect("the scheduler that was put in")
    }

    /// Whether there were the same ways to go at every choice.
    pub(crate) fn is_faithful(&self) -> bool {
        self.faithful && self.at == self.choices.len()
    }

    fn successor(&mut self) -> Option<&mut Box<dyn Scheduler>> {
        if self.at < self.choices.len() { None } else { self.then.as_mut() }
    }

    fn take(&mut self, count: usize) -> usize {
        let Some(choice) = self.choices.get(self.at) else {
            return 0;
        };
        self.at += 1;
        if choice.ways != ways(count) {
            self.faithful = false;
            return 0;
        }
        usize::from(choice.taken)
    }
}

impl Scheduler for Follow {
    fn may_hold(&mut self) -> bool {
        let rest = self.choices.get(self.at..).unwrap_or_default();
        self.then.is_some() || rest.iter().any(|choice| choice.inside && choice.taken > 0)
    }

    fn at_point(
        &mut self,
        names: &dyn Names,
        turn: TurnId,
        point: &Point<'_>,
        candidates: &[Candidate],
    ) -> Option<usize> {
        if let Some(then) = self.successor() {
            return then.at_point(names, turn, point, candidates);
        }
        // Where nothing could be held, nothing was chosen.
        if !self.choices.get(self.at).is_some_and(|choice| choice.inside) {
            return None;
        }
        self.take(candidates.len() + 1).checked_sub(1)
    }

    fn next(&mut self, names: &dyn Names, candidates: &[Candidate]) -> usize {
        match self.successor() {
            Some(then) => then.next(names, candidates),
            None => self.take(candidates.len()),
        }
    }

    fn fault(&mut self, names: &dyn Names, turn: Option<TurnId>, faults: &[Fault]) -> Option<Fault> {
        match self.successor() {
            Some(then) => then.fault(names, turn, faults),
            None => faults.get(self.take(faults.len() + 1).checked_sub(1)?).copied(),
        }
    }
}

// === impl Noting ===

impl Noting {
    pub(super) fn new(inner: Box<dyn Scheduler>) -> Noting {
        Noting { inner, made: Vec::new(), steps: Vec::new() }
    }

    pub(super) fn of(scheduler: &dyn Scheduler) -> &Noting {
        let scheduler: &dyn Any = scheduler;
        scheduler.downcast_ref().expect("the scheduler that was put in")
    }

    /// What was chosen, and the step before each choice.
    pub(super) fn made(&self) -> (Vec<Choice>, Vec<usize>) {
        (self.made.clone(), self.steps.clone())
    }

    fn note(&mut self, names: &dyn Names, choice: Choice) {
        self.made.push(choice);
        self.steps.push(names.last_step());
    }
}

impl Scheduler for Noting {
    fn may_hold(&mut self) -> bool {
        self.inner.may_hold()
    }

    fn at_point(
        &mut self,
        names: &dyn Names,
        turn: TurnId,
        point: &Point<'_>,
        candidates: &[Candidate],
    ) -> Option<usize> {
        let taken = self.inner.at_point(names, turn, point, candidates);
        let way = taken.map_or(0, |taken| taken + 1);
        self.note(names, Choice::new(candidates.len() + 1, way, true, timely(candidates) + 1));
        taken
    }

    fn next(&mut self, names: &dyn Names, candidates: &[Candidate]) -> usize {
        let taken = self.inner.next(names, candidates);
        self.note(names, Choice::new(candidates.len(), taken, false, timely(candidates)));
        taken
    }

    fn fault(&mut self, names: &dyn Names, turn: Option<TurnId>, faults: &[Fault]) -> Option<Fault> {
        let taken = self.inner.fault(names, turn, faults);
        let place = taken.and_then(|taken| faults.iter().position(|fault| *fault == taken));
        let way = place.map_or(0, |place| place + 1);
        self.note(names, Choice::new(faults.len() + 1, way, false, faults.len() + 1));
        taken
    }

    fn begins(&mut self, names: &dyn Names, turn: TurnId) {
        self.inner.begins(names, turn);
    }

    fn comes_to(&mut self, names: &dyn Names, turn: TurnId, point: &Point<'_>) {
        self.inner.comes_to(names, turn, point);
    }
}
