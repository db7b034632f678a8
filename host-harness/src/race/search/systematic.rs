//! Every schedule, one after the other, without going through any state twice.

use std::{
    any::Any,
    collections::{HashMap, hash_map::Entry},
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{
    Certificate, Options,
    choice::{Choice, ways},
};
use crate::{
    abi::Point,
    envoy::schedule::{Candidate, Fault, Names, Scheduler, TurnId},
};

/// At this choice it is decided which shard a schedule belongs to.
const SHARD_DEPTH: usize = 6;

/// About how much a state takes beside its ways: its place, its number under its hash, and what an allocation costs.
const STATE_BYTES: usize = 112;

/// What has been searched so far.
pub(super) struct Tree {
    /// Most preemptions in a schedule; `None` is any number.
    bound: Option<u32>,
    inside_callbacks: bool,
    shard: (u32, u32),
    /// Whether a state that was gone through is not gone through again.
    cache: bool,
    /// The choices with which the next run begins.
    prefix: Vec<Choice>,
    /// Numbers of states in which there was a choice. A state is left with a number of preemptions to spare, so that
    /// number is a part of it.
    numbers: HashMap<(u128, u32), usize>,
    /// For each state, what each way leads to.
    states: Vec<Vec<Option<End>>>,
    /// How many ways all states have together.
    ways: usize,
}

/// How many schedules go on from a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paths {
    Unknown,
    Counting,
    Counted(u128),
}

/// What a way leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The end of the run.
    Over,
    /// The next choice.
    State(usize),
}

/// Runs one schedule: the tree's prefix, and then what nobody decides.
pub(super) struct Systematic {
    tree: Tree,
    made: Vec<Choice>,
    preemptions: u32,
    fingerprint: u128,
    /// The last choice: the state and the way.
    last: Option<(usize, usize)>,
    /// From here on everything has been seen before, or is not ours.
    done: bool,
}

// === impl Tree ===

impl Tree {
    pub(super) fn new(bound: Option<u32>, options: &Options, shard: (u32, u32)) -> Tree {
        Tree {
            bound,
            inside_callbacks: options.inside_callbacks,
            shard,
            cache: options.cache,
            prefix: Vec::new(),
            numbers: HashMap::new(),
            states: Vec::new(),
            ways: 0,
        }
    }

    /// Goes on to the next schedule; false when there is none.
    pub(super) fn backtrack(&mut self) -> bool {
        while let Some(last) = self.prefix.last_mut() {
            if last.taken + 1 < last.ways {
                last.taken += 1;
                return true;
            }
            self.prefix.pop();
        }
        false
    }

    /// What has been covered, once there is no next schedule; `None` when a state leads to itself, which none may: each
    /// choice changes what some thread has seen.
    pub(super) fn certificate(&self) -> Option<Certificate> {
        let mut paths = vec![Paths::Unknown; self.states.len()];
        // The states on the way, each with the first of its ways that was not looked at.
        let mut stack = if self.states.is_empty() { Vec::new() } else { vec![(0, 0)] };
        while let Some((state, way)) = stack.last_mut() {
            let ways = &self.states[*state];
            let end = ways.get(*way).copied();
            *way += 1;
            match end {
                Some(Some(End::State(next))) => match paths[next] {
                    Paths::Unknown => {
                        paths[next] = Paths::Counting;
                        stack.push((next, 0));
                    }
                    Paths::Counting => return None,
                    Paths::Counted(_) => {}
                },
                Some(_) => {}
                None => {
                    let sum = ways.iter().map(|end| match end {
                        Some(End::State(next)) => match paths[*next] {
                            Paths::Counted(count) => count,
                            Paths::Unknown | Paths::Counting => 0,
                        },
                        Some(End::Over) => 1,
                        None => 0,
                    });
                    paths[*state] = Paths::Counted(sum.fold(0, u128::saturating_add));
                    stack.pop();
                }
            }
        }
        let total = match paths.first() {
            Some(Paths::Counted(total)) => *total,
            _ => 1,
        };
        let states = u64::try_from(self.states.len()).unwrap_or(u64::MAX);
        Some(Certificate { states, paths: total.to_string() })
    }

    /// How many states are known that have ways which were not gone: there are at least so many left.
    pub(super) fn open_states(&self) -> u64 {
        let open = self.states.iter().filter(|ways| ways.iter().any(Option::is_none)).count();
        u64::try_from(open).unwrap_or(u64::MAX)
    }

    /// About how much memory the states take.
    pub(super) fn bytes(&self) -> usize {
        self.states.len() * STATE_BYTES + self.ways * size_of::<Option<End>>()
    }

    fn is_ours(&self, made: &[Choice]) -> bool {
        let (shard, shards) = self.shard;
        let mut hasher = DefaultHasher::new();
        for choice in made {
            choice.taken.hash(&mut hasher);
        }
        hasher.finish() % u64::from(shards) == u64::from(shard - 1)
    }
}

// === impl Systematic ===

impl Systematic {
    pub(super) fn new(tree: Tree) -> Systematic {
        Systematic { tree, made: Vec::new(), preemptions: 0, fingerprint: 0, last: None, done: false }
    }

    pub(super) fn of(scheduler: &dyn Scheduler) -> &Systematic {
        let scheduler: &dyn Any = scheduler;
        scheduler.downcast_ref().expect("the scheduler that was put in")
    }

    /// Whether this part of the work counts the run. One that is over before parts differ is run in all of them.
    pub(super) fn is_ours(&self) -> bool {
        self.tree.is_ours(self.made.get(..SHARD_DEPTH).unwrap_or(&self.made))
    }

    pub(super) fn choices(&self) -> Vec<Choice> {
        self.made.clone()
    }

    /// The tree, with these choices as the schedule that was run last.
    pub(super) fn into_tree_of(scheduler: Box<dyn Scheduler>, choices: Vec<Choice>) -> Tree {
        let scheduler: Box<dyn Any> = scheduler;
        let mut run = scheduler.downcast::<Systematic>().expect("the scheduler that was put in");
        if !run.done {
            run.leads_to(End::Over);
        }
        run.tree.prefix = choices;
        run.tree
    }

    fn leads_to(&mut self, end: End) {
        let Some((state, way)) = self.last else { return };
        if let Some(known) = self.tree.states.get_mut(state).and_then(|ways| ways.get_mut(way)) {
            *known = Some(end);
        }
    }

    fn choose(&mut self, count: usize, inside: bool) -> usize {
        if self.done {
            return 0;
        }
        let depth = self.made.len();
        if depth == SHARD_DEPTH && !self.tree.is_ours(&self.made) {
            self.done = true;
            return 0;
        }
        let followed = self.tree.prefix.get(depth).copied();
        let choice = followed.unwrap_or(Choice { ways: ways(count), taken: 0, inside });
        if self.tree.cache && !self.enters(depth, count, choice) {
            self.done = true;
            return 0;
        }
        self.preemptions += u32::from(inside && choice.taken > 0);
        self.made.push(choice);
        usize::from(choice.taken)
    }

    /// Notes that a run is in a state, and goes on one way; false when the state was gone through before.
    fn enters(&mut self, depth: usize, count: usize, choice: Choice) -> bool {
        let spare = self.tree.bound.map_or(u32::MAX, |bound| bound - self.preemptions);
        let fresh = self.tree.states.len();
        let (number, known) = match self.tree.numbers.entry((self.fingerprint, spare)) {
            Entry::Occupied(entry) => (*entry.get(), true),
            Entry::Vacant(entry) => (*entry.insert(fresh), false),
        };
        if !known {
            self.tree.states.push(vec![None; count]);
            self.tree.ways += count;
        }
        self.leads_to(End::State(number));
        if known && depth >= self.tree.prefix.len() {
            return false;
        }
        self.last = Some((number, usize::from(choice.taken)));
        true
    }
}

impl Scheduler for Systematic {
    fn may_hold(&mut self) -> bool {
        let rest = self.tree.prefix.get(self.made.len()..).unwrap_or_default();
        rest.iter().any(|choice| choice.inside && choice.taken > 0)
    }

    fn at_point(
        &mut self,
        _names: &dyn Names,
        _turn: TurnId,
        _point: &Point<'_>,
        candidates: &[Candidate],
    ) -> Option<usize> {
        let spent = self.tree.bound.is_some_and(|bound| self.preemptions >= bound);
        if spent || !self.tree.inside_callbacks {
            return None;
        }
        self.choose(candidates.len() + 1, true).checked_sub(1)
    }

    fn next(&mut self, _names: &dyn Names, candidates: &[Candidate]) -> usize {
        self.choose(candidates.len(), false)
    }

    fn fault(&mut self, _names: &dyn Names, _turn: Option<TurnId>, faults: &[Fault]) -> Option<Fault> {
        faults.get(self.choose(faults.len() + 1, false).checked_sub(1)?).copied()
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn wants_fingerprint(&self) -> bool {
        true
    }

    fn fingerprint(&mut self, state: u128) {
        self.fingerprint = state;
    }
}
