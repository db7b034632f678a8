//! What was chosen in a run, in order, so that it can be chosen again.

use std::any::Any;

use serde::{Deserialize, Serialize};

use crate::{
    abi::Point,
    envoy::schedule::{Candidate, Fault, Scheduler, TurnId},
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

/// Takes the same ways again, and the first one when they are used up.
pub(crate) struct Follow {
    choices: Vec<Choice>,
    at: usize,
    faithful: bool,
}

// === impl Follow ===

impl Follow {
    pub(crate) fn new(choices: Vec<Choice>) -> Follow {
        Follow { choices, at: 0, faithful: true }
    }

    pub(crate) fn of(scheduler: &Box<dyn Scheduler>) -> &Follow {
        let scheduler: &dyn Any = &**scheduler;
        scheduler.downcast_ref().expect("the scheduler that was put in")
    }

    /// Whether there were the same ways to go at every choice.
    pub(crate) fn is_faithful(&self) -> bool {
        self.faithful && self.at == self.choices.len()
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
        self.choices
            .get(self.at..)
            .is_some_and(|rest| rest.iter().any(|choice| choice.inside && choice.taken > 0))
    }

    fn at_point(&mut self, _turn: TurnId, _point: &Point<'_>, candidates: &[Candidate]) -> Option<usize> {
        // Where nothing could be held, nothing was chosen.
        if !self.choices.get(self.at).is_some_and(|choice| choice.inside) {
            return None;
        }
        self.take(candidates.len() + 1).checked_sub(1)
    }

    fn next(&mut self, candidates: &[Candidate]) -> usize {
        self.take(candidates.len())
    }

    fn fault(&mut self, _turn: Option<TurnId>, faults: &[Fault]) -> Option<Fault> {
        faults.get(self.take(faults.len() + 1).checked_sub(1)?).copied()
    }
}
