//! Every schedule, one after the other, without going through any state twice.

use std::{
    any::Any,
    collections::{HashMap, hash_map::Entry},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use super::{
    Certificate, Options,
    choice::{Choice, timely},
};
use crate::{
    abi::Point,
    envoy::schedule::{Candidate, Fault, Names, Next, Scheduler, TurnId},
    race::scenario::Window,
};

/// At this choice it is decided which shard a schedule belongs to.
const SHARD_DEPTH: usize = 6;

/// In the place of a state's number where there is nothing to decide.
const NO_STATE: usize = usize::MAX;

/// About how much a state takes beside its ways: its place, its number under its hash, and what an allocation costs.
const STATE_BYTES: usize = 112;

/// What has been searched so far.
pub(super) struct Tree {
    /// How many times something may be put off in a schedule; `None` is any number.
    bound: Option<u32>,
    inside_callbacks: bool,
    /// When there is anything to decide; `None` is always.
    window: Option<Window>,
    shard: (u32, u32),
    /// Whether a state that was gone through is not gone through again.
    cache: bool,
    /// The choices with which the next run begins.
    prefix: Vec<Made>,
    /// Numbers of states in which there was a choice.
    numbers: HashMap<u128, usize>,
    states: Vec<State>,
    /// How many ways all states have together.
    ways: usize,
}

/// A state in which there was a choice.
struct State {
    /// How many times something could still be put off when it was gone through. Whoever comes with no more to spare
    /// finds nothing new: each schedule that goes on from here and that they could take has been taken.
    spare: u32,
    /// What each way costs, and leads to.
    ways: Vec<Way>,
}

/// A choice that was made, and in which state.
#[derive(Debug, Clone, Copy)]
struct Made {
    choice: Choice,
    state: usize,
    /// Number of the hostcall, for one that is made inside.
    step: usize,
    /// Whether there is no other schedule with another way here.
    fixed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Way {
    cost: u8,
    end: Option<End>,
}

/// How many schedules go on from a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paths {
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

/// Before, in and after the time in which there is anything to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Before,
    Within,
    /// The first decision after it is the last that is looked at: whoever comes there in the same state ends alike.
    Closing,
    After,
}

/// Runs one schedule: the tree's prefix, and then what nobody decides.
pub(super) struct Systematic {
    tree: Tree,
    made: Vec<Made>,
    /// How many times something was put off.
    spent: u32,
    fingerprint: u128,
    /// Number of the hostcall that a turn has come to.
    step: usize,
    /// What of the run the next decision is in.
    part: Part,
    /// The last choice: the state and the way.
    last: Option<(usize, usize)>,
    /// From here on everything has been seen before, or is not ours.
    done: bool,
}

// === impl Tree ===

impl Tree {
    pub(super) fn new(
        bound: Option<u32>,
        options: &Options,
        shard: (u32, u32),
        window: Option<Window>,
    ) -> Tree {
        Tree {
            bound,
            window,
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
        let mut spent: u32 = self.prefix.iter().map(|made| made.choice.cost()).sum();
        while let Some(Made { choice: last, fixed, .. }) = self.prefix.last_mut() {
            spent -= last.cost();
            let spare = self.bound.map_or(u32::MAX, |bound| bound.saturating_sub(spent));
            if !*fixed && last.taken + 1 < last.within(spare) {
                last.taken += 1;
                return true;
            }
            self.prefix.pop();
        }
        false
    }

    /// What has been covered, once there is no next schedule; `None` when a state leads to itself, which none may: each
    /// choice changes what some thread has seen.
    ///
    /// A state is counted once for each number of times that something may still be put off: with fewer, fewer schedules
    /// go on from it.
    pub(super) fn certificate(&self) -> Option<Certificate> {
        let root = (0, self.bound.unwrap_or(u32::MAX));
        let mut paths: HashMap<(usize, u32), Paths> = HashMap::new();
        // The states on the way, each with the first of its ways that was not looked at.
        let mut stack = if self.states.is_empty() { Vec::new() } else { vec![(root, 0)] };
        while let Some((state, at)) = stack.last_mut() {
            let (number, spare) = *state;
            let ways = &self.states[number].ways;
            let way = ways.get(*at).copied();
            *at += 1;
            match way {
                Some(way) => {
                    let Some(next) = way.leads_to(spare) else { continue };
                    match paths.get(&next) {
                        None => {
                            paths.insert(next, Paths::Counting);
                            stack.push((next, 0));
                        }
                        Some(Paths::Counting) => return None,
                        Some(Paths::Counted(_)) => {}
                    }
                }
                None => {
                    let sum = ways.iter().map(|way| match (way.leads_to(spare), way.end) {
                        (Some(next), _) => match paths.get(&next) {
                            Some(Paths::Counted(count)) => *count,
                            Some(Paths::Counting) | None => 0,
                        },
                        (None, Some(End::Over)) if u32::from(way.cost) <= spare => 1,
                        (None, _) => 0,
                    });
                    let sum = sum.fold(0, u128::saturating_add);
                    paths.insert((number, spare), Paths::Counted(sum));
                    stack.pop();
                }
            }
        }
        let total = match paths.get(&root) {
            Some(Paths::Counted(total)) => *total,
            _ => 1,
        };
        let states = u64::try_from(self.states.len()).unwrap_or(u64::MAX);
        Some(Certificate { states, paths: total.to_string(), within: None })
    }

    /// About how much memory the states take.
    pub(super) fn bytes(&self) -> usize {
        self.states.len() * STATE_BYTES + self.ways * size_of::<Way>()
    }

    fn is_ours(&self, made: &[Made]) -> bool {
        let (shard, shards) = self.shard;
        let mut hasher = DefaultHasher::new();
        for made in made {
            made.choice.taken.hash(&mut hasher);
        }
        hasher.finish() % u64::from(shards) == u64::from(shard - 1)
    }
}

// === impl Way ===

impl Way {
    /// The state that it leads to, and what is to spare there; `None` when it leads to none, or costs too much.
    fn leads_to(self, spare: u32) -> Option<(usize, u32)> {
        let left = match spare {
            u32::MAX => u32::MAX,
            spare => spare.checked_sub(self.cost.into())?,
        };
        match self.end {
            Some(End::State(next)) => Some((next, left)),
            Some(End::Over) | None => None,
        }
    }
}

/// The place of what comes first when nobody decides: what is held; or else of what is due first, what is of the first
/// thread.
fn first_in_order(candidates: &[Candidate]) -> usize {
    let Some(first) = candidates.first().filter(|first| first.next != Next::Resume) else { return 0 };
    let due = candidates.iter().enumerate().take_while(|(_, candidate)| candidate.due == first.due);
    due.min_by_key(|(_, candidate)| candidate.turn.thread).map_or(0, |(place, _)| place)
}

// === impl Systematic ===

impl Systematic {
    pub(super) fn new(tree: Tree) -> Systematic {
        Systematic {
            tree,
            made: Vec::new(),
            spent: 0,
            fingerprint: 0,
            step: 0,
            part: Part::Within,
            last: None,
            done: false,
        }
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
        self.made.iter().map(|made| made.choice).collect()
    }

    /// The tree, with the schedule that was run last.
    pub(super) fn into_tree_of(scheduler: Box<dyn Scheduler>) -> Tree {
        let scheduler: Box<dyn Any> = scheduler;
        let mut run = scheduler.downcast::<Systematic>().expect("the scheduler that was put in");
        if !run.done {
            run.leads_to(End::Over);
        }
        run.tree.prefix = run.made;
        run.tree
    }

    fn leads_to(&mut self, end: End) {
        let Some((state, way)) = self.last else { return };
        if let Some(known) = self.tree.states.get_mut(state).and_then(|state| state.ways.get_mut(way)) {
            known.end = Some(end);
        }
    }

    fn comes_to(&mut self, now: Duration) {
        let Some(window) = self.tree.window else { return };
        self.part = match self.part {
            Part::After => Part::After,
            _ if now < window.from => Part::Before,
            _ if now < window.until => Part::Within,
            _ => Part::Closing,
        };
    }

    /// How many times something may still be put off.
    fn spare(&self) -> u32 {
        self.tree.bound.map_or(u32::MAX, |bound| bound.saturating_sub(self.spent))
    }

    /// Decides, if it has not been decided already; of the choice, only what is taken is not known.
    fn choose(&mut self, choice: Choice) -> usize {
        if self.done {
            return 0;
        }
        let depth = self.made.len();
        let fixed = self.part != Part::Within;
        if depth == SHARD_DEPTH && !self.tree.is_ours(&self.made) {
            self.done = true;
            return 0;
        }
        let made = match self.tree.prefix.get(depth) {
            Some(made) => *made,
            None if matches!(self.part, Part::Before | Part::After) => {
                Made { choice, state: NO_STATE, step: self.step, fixed }
            }
            None => {
                let state = if self.tree.cache { self.enters(choice) } else { Some(NO_STATE) };
                let Some(state) = state else {
                    self.done = true;
                    return 0;
                };
                Made { choice, state, step: self.step, fixed }
            }
        };
        self.take(made);
        usize::from(made.choice.taken)
    }

    fn take(&mut self, made: Made) {
        if made.state != NO_STATE {
            self.last = Some((made.state, usize::from(made.choice.taken)));
        }
        self.spent += made.choice.cost();
        self.made.push(made);
    }

    /// Notes that a run has come to a state, and gives its number; `None` when it was gone through before.
    fn enters(&mut self, choice: Choice) -> Option<usize> {
        // After its time nothing can be put off, however much there is to spare.
        let spare = if self.part == Part::Closing { u32::MAX } else { self.spare() };
        let fresh = self.tree.states.len();
        let (number, known) = match self.tree.numbers.entry(self.fingerprint) {
            Entry::Occupied(entry) => (*entry.get(), true),
            Entry::Vacant(entry) => (*entry.insert(fresh), false),
        };
        self.leads_to(End::State(number));
        if !known {
            let cost = |way| u8::try_from(choice.cost_of(way)).unwrap_or(u8::MAX);
            let ways = (0..choice.ways).map(|way| Way { cost: cost(way), end: None });
            self.tree.states.push(State { spare, ways: ways.collect() });
            self.tree.ways += usize::from(choice.ways);
            return Some(number);
        }
        let state = &mut self.tree.states[number];
        if spare <= state.spare {
            return None;
        }
        state.spare = spare;
        Some(number)
    }
}

impl Scheduler for Systematic {
    fn may_hold(&mut self) -> bool {
        let rest = self.tree.prefix.get(self.made.len()..).unwrap_or_default();
        rest.iter().any(|made| made.choice.inside && made.choice.taken > 0)
    }

    fn passes(&mut self, step: usize, now: Duration) -> bool {
        self.step = step;
        self.comes_to(now);
        if matches!(self.part, Part::Closing | Part::After) {
            return true;
        }
        if self.done || self.spare() == 0 || !self.tree.inside_callbacks {
            return true;
        }
        // A run that begins as the one before did comes to a choice where that did.
        match self.tree.prefix.get(self.made.len()).copied() {
            None => false,
            Some(next) if !next.choice.inside || next.step > step => true,
            Some(next) if next.choice.taken > 0 || self.made.len() == SHARD_DEPTH => false,
            Some(next) => {
                self.take(next);
                true
            }
        }
    }

    fn at_point(
        &mut self,
        _names: &dyn Names,
        _turn: TurnId,
        _point: &Point<'_>,
        candidates: &[Candidate],
    ) -> Option<usize> {
        self.choose(Choice::new(candidates.len() + 1, 0, true, timely(candidates) + 1)).checked_sub(1)
    }

    fn next(&mut self, names: &dyn Names, candidates: &[Candidate]) -> usize {
        let due = candidates.first().map_or(Duration::ZERO, |first| first.due);
        self.comes_to(names.now().max(due));
        // After its time everything comes in an order that does not depend on how it came about.
        let after = matches!(self.part, Part::Closing | Part::After);
        let taken = if after { first_in_order(candidates) } else { 0 };
        let taken = self.choose(Choice::new(candidates.len(), taken, false, timely(candidates)));
        if self.part == Part::Closing {
            self.part = Part::After;
        }
        taken
    }

    fn fault(&mut self, _names: &dyn Names, _turn: Option<TurnId>, faults: &[Fault]) -> Option<Fault> {
        let ways = faults.len() + 1;
        faults.get(self.choose(Choice::new(ways, 0, false, ways)).checked_sub(1)?).copied()
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn wants_fingerprint(&self) -> bool {
        true
    }

    fn knows_state(&self) -> bool {
        self.done || self.part == Part::After || self.made.len() < self.tree.prefix.len()
    }

    fn fingerprint(&mut self, state: u128) {
        self.fingerprint = state;
    }
}
