//! What may happen next, and who decides it.
//!
//! Envoy's threads run side by side. Here one runs at a time, and at every place where another could come first a
//! [`Scheduler`] says which: between two turns, and inside a turn at every hostcall that other VMs can see. Each of
//! those hostcalls takes a lock in Envoy, so no other places matter: every order that real threads can produce is an
//! order of these steps.
//!
//! What keeps its order: notices posted to one thread (a queue), and timers of one thread. What happens outside may come
//! late, but by no more than the slack of [`Limits`].

mod candidates;

use std::{any::Any, collections::BTreeMap, time::Duration};

use super::{
    core::{Core, Owner},
    events::{Event, EventKey},
    record::text,
    vms::VmSlot,
};
use crate::{
    abi::Point,
    steps::{FaultClass, TurnName, Verb},
    world::{Outcome, Refusal, Response, Sent},
};

/// A turn, by what people call it. The same in every order in which it can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TurnId {
    pub(crate) thread: VmSlot,
    pub(crate) kind: TurnKind,
    /// Which of several such on the thread: a plugin, a queue, a stream, a gRPC token; 0 where there is only one.
    pub(crate) of: u32,
    /// Which one of its kind, from 1.
    pub(crate) ordinal: u32,
}

/// What a turn begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TurnKind {
    Configure,
    Release,
    Tick,
    Ready,
    Response,
    Duplicate,
    Grpc,
    Retry,
    Timeout,
    Upstream,
    Request,
    Body,
    Idle,
    Leave,
    Change,
    Trap,
    Stall,
}

/// Something that may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) turn: TurnId,
    pub(crate) next: Next,
    pub(crate) due: Duration,
}

/// How it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A turn that is held goes on.
    Resume,
    /// A turn begins.
    Event(EventKey),
}

/// A fault that is added to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    Reset,
    Refusal,
    Timeout,
    ConnectFailure,
    Duplicate,
}

/// Decides what happens next.
pub(crate) trait Scheduler: Any + Send {
    /// Whether a callback that begins now may be held somewhere in it, which costs a little.
    fn may_hold(&mut self) -> bool;
    /// A turn is about to make a hostcall that others can see: `None` lets it go on, or else which candidate comes first.
    /// Only `None` counts in a callback of which [`Scheduler::may_hold`] said that it is not held.
    fn at_point(
        &mut self,
        names: &dyn Names,
        turn: TurnId,
        point: &Point<'_>,
        candidates: &[Candidate],
    ) -> Option<usize>;
    /// A turn has come to such a hostcall, whether or not there is a choice; once more when it goes on from there.
    fn comes_to(&mut self, names: &dyn Names, turn: TurnId, point: &Point<'_>) {
        let (_, _, _) = (names, turn, point);
    }
    /// No turn runs: which candidate comes next. There are at least two.
    fn next(&mut self, names: &dyn Names, candidates: &[Candidate]) -> usize;
    /// A filter makes a call: a fault that it meets, one of these.
    fn fault(&mut self, names: &dyn Names, turn: Option<TurnId>, faults: &[Fault]) -> Option<Fault>;
    /// A turn begins, or goes on.
    fn begins(&mut self, names: &dyn Names, turn: TurnId) {
        let (_, _) = (names, turn);
    }
    /// Whether the rest of the run is of no interest.
    fn is_done(&self) -> bool {
        false
    }
    /// Whether [`Core::fingerprint`] is wanted before [`Scheduler::next`] and [`Scheduler::at_point`].
    fn wants_fingerprint(&self) -> bool {
        false
    }
    /// The state before the next decision.
    fn fingerprint(&mut self, state: u128) {
        let _ = state;
    }
}

/// What things are called, and where the run is.
pub(crate) trait Names {
    /// What people call a turn.
    fn turn(&self, turn: TurnId) -> TurnName;
    /// A hostcall as a step of a trace has it: what is done, to what.
    fn point(&self, point: &Point<'_>) -> (Verb, String);
    /// Number of the last step that was recorded; 0 where none are.
    fn last_step(&self) -> usize;
}

/// What bounds a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Until when the scheduler decides; from then on everything comes in order of time.
    pub(crate) until: Duration,
    /// What is due later than this cannot come before anything: the run is looked at in between.
    pub(crate) horizon: Duration,
    /// How much later than something else that is due an event may come.
    pub(crate) slack: Duration,
    /// Decisions and hostcalls in which the scheduler decides; the run is cut off soon after.
    pub(crate) steps: usize,
    /// How much later it is for a VM each time that it asks.
    pub(crate) clock_step: Duration,
}

/// What is known about the order of things while a run is explored.
pub(crate) struct Exploration {
    /// Taken out while it is asked.
    scheduler: Option<Box<dyn Scheduler>>,
    pub(super) limits: Limits,
    /// Faults that may still be added.
    pub(super) faults: Vec<Fault>,
    /// Worst class of fault that was added.
    pub(crate) class: FaultClass,
    pub(super) running: Option<TurnId>,
    pub(super) held: Vec<Held>,
    /// Whether any turn was held so far.
    pub(crate) has_held: bool,
    /// What the scheduler wants first, when it holds a turn.
    pub(super) first: Option<Candidate>,
    executed: BTreeMap<(VmSlot, TurnKind, u32), u32>,
    /// Decisions and hostcalls so far.
    pub(crate) steps: usize,
    /// Hash of what the end of the run depends on beside the state of everything.
    pub(super) outside: u64,
    /// Hash of everything that each thread has seen.
    pub(super) histories: BTreeMap<VmSlot, u128>,
}

/// A turn that waits in the middle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) turn: TurnId,
    pub(super) since: Duration,
    /// How many events led to it.
    pub(super) depth: u32,
}

// === impl TurnId ===

impl TurnId {
    /// Whether it cannot begin before another one that was asked for earlier.
    fn comes_behind(self, other: TurnId) -> bool {
        let posted = |kind| matches!(kind, TurnKind::Configure | TurnKind::Release);
        let alike = self.kind == other.kind || posted(self.kind) && posted(other.kind);
        let alike = alike && self.thread == other.thread;
        // What one gRPC server says comes in order, too.
        alike && (self.kind.keeps_order() || self.kind == TurnKind::Grpc && self.of == other.of)
    }
}

// === impl TurnKind ===

impl TurnKind {
    /// As it is written in files.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            TurnKind::Configure => "configure",
            TurnKind::Release => "release",
            TurnKind::Tick => "tick",
            TurnKind::Ready => "ready",
            TurnKind::Response => "response",
            TurnKind::Duplicate => "duplicate",
            TurnKind::Grpc => "grpc",
            TurnKind::Retry => "retry",
            TurnKind::Timeout => "timeout",
            TurnKind::Upstream => "upstream",
            TurnKind::Request => "request",
            TurnKind::Body => "body",
            TurnKind::Idle => "idle",
            TurnKind::Leave => "leave",
            TurnKind::Change => "change",
            TurnKind::Trap => "trap",
            TurnKind::Stall => "stall",
        }
    }

    /// Whether it is a fault of a thread that comes from outside, also in the middle of a turn.
    fn is_fault(self) -> bool {
        matches!(self, TurnKind::Trap | TurnKind::Stall)
    }

    /// Whether turns of this kind on one thread begin in the order in which they were asked for.
    fn keeps_order(self) -> bool {
        matches!(
            self,
            TurnKind::Tick
                | TurnKind::Ready
                | TurnKind::Configure
                | TurnKind::Release
                | TurnKind::Change
                | TurnKind::Trap
                | TurnKind::Stall
        )
    }
}

// === impl Fault ===

impl Fault {
    /// What becomes of a call that meets it.
    ///
    /// Errors: a refusal.
    pub(super) fn apply(self, sent: Sent) -> Result<Sent, Refusal> {
        let delay = match &sent {
            Sent::After(delay, _) => *delay,
            Sent::Pending | Sent::Never => Duration::ZERO,
        };
        Ok(match self {
            Fault::Refusal => return Err(Refusal::NoHost),
            Fault::Timeout => Sent::Never,
            Fault::Reset => {
                let begun = Response { status: 200, ..Response::default() };
                Sent::After(delay, Outcome::ResetAfterHeaders(begun))
            }
            Fault::ConnectFailure => Sent::After(delay, Outcome::ConnectFailure),
            Fault::Duplicate => sent,
        })
    }

    pub(crate) fn class(self) -> FaultClass {
        match self {
            Fault::Duplicate => FaultClass::L3,
            _ => FaultClass::L1,
        }
    }

    const ALL: [Fault; 5] =
        [Fault::Reset, Fault::Refusal, Fault::Timeout, Fault::ConnectFailure, Fault::Duplicate];

    /// Reads what [`Fault::as_str`] gives.
    pub(crate) fn parse(name: &str) -> Option<Fault> {
        Fault::ALL.into_iter().find(|fault| fault.as_str() == name)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Fault::Reset => "reset",
            Fault::Refusal => "refusal",
            Fault::Timeout => "timeout",
            Fault::ConnectFailure => "connect_failure",
            Fault::Duplicate => "duplicate",
        }
    }
}

// === impl Exploration ===

impl Exploration {
    pub(crate) fn new(scheduler: Box<dyn Scheduler>, limits: Limits, faults: Vec<Fault>) -> Exploration {
        Exploration {
            scheduler: Some(scheduler),
            limits,
            faults,
            class: FaultClass::L0,
            running: None,
            held: Vec::new(),
            has_held: false,
            first: None,
            executed: BTreeMap::new(),
            steps: 0,
            outside: 0,
            histories: BTreeMap::new(),
        }
    }

    /// The scheduler, when it is not being asked.
    pub(crate) fn into_scheduler(self) -> Option<Box<dyn Scheduler>> {
        self.scheduler
    }

    pub(super) fn scheduler(&self) -> Option<&dyn Scheduler> {
        self.scheduler.as_deref()
    }

    pub(super) fn may_hold(&mut self) -> bool {
        self.scheduler.as_mut().is_some_and(|scheduler| scheduler.may_hold())
    }

    pub(super) fn begin(&mut self, turn: TurnId) {
        *self.executed.entry((turn.thread, turn.kind, turn.of)).or_default() += 1;
        self.running = Some(turn);
    }

    pub(super) fn hold(&mut self, held: Held, first: Candidate) {
        self.held.push(held);
        self.has_held = true;
        self.first = Some(first);
        self.running = None;
    }

    /// Goes on with a turn; gives how many events led to it.
    pub(super) fn resume(&mut self, turn: TurnId) -> u32 {
        let at = self.held.iter().position(|held| held.turn == turn);
        self.running = Some(turn);
        at.map_or(0, |at| self.held.remove(at).depth)
    }

    /// Whether the scheduler decides; when its time or its steps are used up, everything comes in order.
    fn is_free(&self, now: Duration) -> bool {
        now < self.limits.until && !self.is_out_of_steps()
    }

    pub(super) fn is_out_of_steps(&self) -> bool {
        self.steps > self.limits.steps
    }

    fn is_busy(&self, thread: VmSlot) -> bool {
        self.running.is_some_and(|turn| turn.thread == thread)
            || self.held.iter().any(|held| held.turn.thread == thread)
    }

    /// Ticks that have come to each thread.
    pub(crate) fn ticks(&self) -> BTreeMap<VmSlot, usize> {
        let mut ticks = BTreeMap::new();
        for ((thread, _, _), count) in
            self.executed.iter().filter(|((_, kind, _), _)| *kind == TurnKind::Tick)
        {
            *ticks.entry(*thread).or_default() += usize::try_from(*count).unwrap_or(usize::MAX);
        }
        ticks
    }

    fn next_ordinal(&self, thread: VmSlot, kind: TurnKind, of: u32) -> u32 {
        self.executed.get(&(thread, kind, of)).copied().unwrap_or(0) + 1
    }
}
