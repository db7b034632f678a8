//! What was chosen in a run, in order, so that it can be chosen again.

use std::any::Any;

use serde::{Deserialize, Serialize};

use crate::{
    abi::Point,
    envoy::schedule::{Candidate, Fault, Names, Scheduler, TurnId},
};

/// One choice between several ways to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Choice {
    /// How many ways there were.
    pub(crate) ways: u16,
    /// The one that was taken; 0 is what happens when nobody decides.
    pub(crate) taken: u16,
    /// Whether taking another way than the first costs a preemption.
    pub(crate) inside: bool,
}

/// A count of ways; a scenario with more than 65,535 of them is cut off there.
pub(super) fn ways(count: usize) -> u16 {
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

    fn note(&mut self, names: &dyn Names, count: usize, taken: usize, inside: bool) {
        self.made.push(Choice { ways: ways(count), taken: ways(taken), inside });
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
        self.note(names, candidates.len() + 1, taken.map_or(0, |taken| taken + 1), true);
        taken
    }

    fn next(&mut self, names: &dyn Names, candidates: &[Candidate]) -> usize {
        let taken = self.inner.next(names, candidates);
        self.note(names, candidates.len(), taken, false);
        taken
    }

    fn fault(&mut self, names: &dyn Names, turn: Option<TurnId>, faults: &[Fault]) -> Option<Fault> {
        let taken = self.inner.fault(names, turn, faults);
        let place = taken.and_then(|taken| faults.iter().position(|fault| *fault == taken));
        self.note(names, faults.len() + 1, place.map_or(0, |place| place + 1), false);
        taken
    }

    fn begins(&mut self, names: &dyn Names, turn: TurnId) {
        self.inner.begins(names, turn);
    }

    fn comes_to(&mut self, names: &dyn Names, turn: TurnId, point: &Point<'_>) {
        self.inner.comes_to(names, turn, point);
    }
}
