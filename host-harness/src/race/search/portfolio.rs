//! Random schedules of several kinds: each finds races that the others find rarely.

use std::{any::Any, collections::BTreeMap};

use rand::{Rng, RngExt, SeedableRng, rngs::ChaCha8Rng};

use super::choice::{Choice, timely};
use crate::{
    abi::Point,
    envoy::{
        schedule::{Candidate, Fault, Names, Scheduler, TurnId},
        vms::VmSlot,
    },
};

/// How likely a call meets a fault, while there are faults left: one in this many.
const FAULT_ODDS: u32 = 8;

/// A kind of random schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// At every place each thread that can go on is as likely as any other.
    Walk,
    /// Threads have priorities, which change at this many places less one. Source: Burckhardt and others, "A randomized
    /// scheduler with probabilistic guarantees of finding bugs", ASPLOS 2010.
    Pct { depth: u32 },
    /// Every step has a priority of its own. Source: Yuan and others, "Partial order aware concurrency sampling", CAV 2018.
    Pos,
}

/// One random schedule.
pub(super) struct Portfolio {
    strategy: Strategy,
    random: ChaCha8Rng,
    made: Vec<Choice>,
    step: usize,
    /// Of threads, or of turns.
    thread_priorities: BTreeMap<VmSlot, u64>,
    turn_priorities: BTreeMap<TurnId, u64>,
    /// Steps at which the running thread's priority falls, in no order.
    changes: Vec<usize>,
}

// === impl Strategy ===

impl Strategy {
    pub(super) const ALL: [Strategy; 4] =
        [Strategy::Walk, Strategy::Pct { depth: 2 }, Strategy::Pct { depth: 3 }, Strategy::Pos];

    pub(super) fn name(self) -> &'static str {
        match self {
            Strategy::Walk => "random",
            Strategy::Pct { depth: 2 } => "pct 2",
            Strategy::Pct { .. } => "pct 3",
            Strategy::Pos => "pos",
        }
    }

    /// The probability that a schedule which is broken by two steps in the wrong order was in none of the runs, at
    /// most: each has it with 1/(threads * steps).
    pub(super) fn missed_depth_2(self, threads: usize, steps: usize, runs: u64) -> Option<f64> {
        let Strategy::Pct { depth: 2 } = self else { return None };
        let hit = 1.0 / ((threads.max(1) * steps.max(1)) as f64);
        Some((1.0 - hit).powf(runs as f64))
    }
}

// === impl Portfolio ===

impl Portfolio {
    pub(super) fn new(strategy: Strategy, seed: u64, steps: usize) -> Portfolio {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let count = if let Strategy::Pct { depth } = strategy { depth - 1 } else { 0 };
        let changes = (0..count).map(|_| random.random_range(0..steps.max(1))).collect();
        Portfolio {
            strategy,
            random,
            made: Vec::new(),
            step: 0,
            thread_priorities: BTreeMap::new(),
            turn_priorities: BTreeMap::new(),
            changes,
        }
    }

    pub(super) fn of(scheduler: &dyn Scheduler) -> &Portfolio {
        let scheduler: &dyn Any = scheduler;
        scheduler.downcast_ref().expect("the scheduler that was put in")
    }

    pub(super) fn choices(&self) -> Vec<Choice> {
        self.made.clone()
    }

    /// Chooses among turns, the first of which goes on if nobody decides.
    fn choose(&mut self, turns: &[TurnId], running: Option<TurnId>) -> usize {
        self.step += 1;
        match self.strategy {
            Strategy::Walk => self.random.random_range(0..turns.len()),
            Strategy::Pct { .. } => {
                if let Some(turn) = running.filter(|_| self.changes.contains(&self.step)) {
                    // Below every priority that is drawn, and below those that fell before.
                    let fallen = u64::try_from(self.made.len()).unwrap_or(u64::MAX);
                    self.thread_priorities.insert(turn.thread, u64::from(u32::MAX).saturating_sub(fallen));
                }
                let priorities: Vec<u64> =
                    turns.iter().map(|turn| self.thread_priority(turn.thread)).collect();
                highest(&priorities)
            }
            Strategy::Pos => {
                let priorities: Vec<u64> = turns.iter().map(|turn| self.turn_priority(*turn)).collect();
                let chosen = highest(&priorities);
                if let Some(turn) = turns.get(chosen) {
                    self.turn_priorities.remove(turn);
                }
                chosen
            }
        }
    }

    fn thread_priority(&mut self, thread: VmSlot) -> u64 {
        let drawn = self.random.next_u64() | 1 << 63;
        *self.thread_priorities.entry(thread).or_insert(drawn)
    }

    fn turn_priority(&mut self, turn: TurnId) -> u64 {
        let drawn = self.random.next_u64();
        *self.turn_priorities.entry(turn).or_insert(drawn)
    }

    fn note(&mut self, choice: Choice) -> usize {
        self.made.push(choice);
        usize::from(choice.taken)
    }
}

impl Scheduler for Portfolio {
    fn may_hold(&mut self) -> bool {
        true
    }

    fn at_point(
        &mut self,
        _names: &dyn Names,
        turn: TurnId,
        _point: &Point<'_>,
        candidates: &[Candidate],
    ) -> Option<usize> {
        let mut turns = vec![turn];
        turns.extend(candidates.iter().map(|candidate| candidate.turn));
        let taken = self.choose(&turns, Some(turn));
        self.note(Choice::new(turns.len(), taken, true, timely(candidates) + 1)).checked_sub(1)
    }

    fn next(&mut self, _names: &dyn Names, candidates: &[Candidate]) -> usize {
        let turns: Vec<TurnId> = candidates.iter().map(|candidate| candidate.turn).collect();
        let taken = self.choose(&turns, None);
        self.note(Choice::new(turns.len(), taken, false, timely(candidates)))
    }

    fn fault(&mut self, _names: &dyn Names, _turn: Option<TurnId>, faults: &[Fault]) -> Option<Fault> {
        let met = self.random.random_range(0..FAULT_ODDS) == 0;
        let taken = if met { self.random.random_range(1..=faults.len()) } else { 0 };
        let ways = faults.len() + 1;
        faults.get(self.note(Choice::new(ways, taken, false, ways)).checked_sub(1)?).copied()
    }
}

/// The place of the highest; the first of several.
fn highest(priorities: &[u64]) -> usize {
    let best =
        priorities.iter().enumerate().max_by_key(|(place, priority)| (**priority, std::cmp::Reverse(*place)));
    best.map_or(0, |(place, _)| place)
}
