//! What may happen next, and who decides it.
//!
//! Envoy's threads run side by side. Here one runs at a time, and at every place where another could come first a
//! [`Scheduler`] says which: between two turns, and inside a turn at every hostcall that other VMs can see. Each of
//! those hostcalls takes a lock in Envoy, so no other places matter: every order that real threads can produce is an
//! order of these steps.
//!
//! What keeps its order: notices posted to one thread (a queue), and timers of one thread. What happens outside may come
//! late, but by no more than the slack of [`Limits`].

use std::{any::Any, collections::BTreeMap, time::Duration};

use super::{
    core::{Core, Owner},
    events::{Event, EventKey},
    record::text,
    vms::VmSlot,
};
use crate::{
    abi::{Go, Point, VmIndex},
    steps::{FaultClass, TurnName, Verb},
    world::{Call, Origin, Outcome, Refusal, Response, Sent},
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

    /// Whether it befalls a thread from outside, also in the middle of a turn.
    fn befalls(self) -> bool {
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
    pub(super) fn befall(self, sent: Sent) -> Result<Sent, Refusal> {
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

// === impl Core ===

impl Core {
    /// Everything that may happen next, first what would happen if nobody decided: turns that are held, then events in
    /// order of time. Only that first one when the scheduler's time is over.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let Some(exploration) = &self.exploration else {
            return Vec::new();
        };
        let now = self.now();
        // What can happen to nobody any more, as the leaving of a client that has its answer, is not waited for.
        let events = self.events.iter().filter_map(|(key, event)| {
            let turn = self.turn_of(event, exploration)?;
            Some(Candidate { turn, next: Next::Event(*key), due: self.due(turn, key.0) })
        });
        let held = exploration.held.iter().map(|held| Candidate {
            turn: held.turn,
            next: Next::Resume,
            due: self.due(held.turn, held.since),
        });
        let (held, stalled): (Vec<_>, Vec<_>) = held.partition(|held| held.due <= now);
        let mut coming = self.in_order(events, stalled).peekable();
        let due = coming.peek().map(|first| first.due);
        let since = held.iter().map(|held| held.due).min();
        // A turn that runs could be held now.
        let running = exploration.running.map(|_| now);
        let earliest = due.into_iter().chain(since).chain(running).min().unwrap_or(now);
        // When all that is to come lies behind the scheduler's time, there is nothing to decide.
        let free = exploration.is_free(now.max(earliest));
        let latest =
            earliest.saturating_add(exploration.limits.slack).min(exploration.limits.horizon).max(now);
        let mut candidates = held;
        if !free && !candidates.is_empty() {
            candidates.truncate(1);
            return candidates;
        }
        for next in coming {
            if free && next.due > latest {
                break;
            }
            let turn = next.turn;
            let behind = candidates.iter().any(|other| turn.comes_behind(other.turn));
            let busy = exploration.is_busy(turn.thread) && !turn.kind.befalls();
            if next.next != Next::Resume && (behind || busy) {
                continue;
            }
            candidates.push(next);
            if !free {
                break;
            }
        }
        candidates
    }

    /// When something can happen at the earliest: later, where its thread stands still.
    fn due(&self, turn: TurnId, at: Duration) -> Duration {
        let outside = turn.kind.befalls() || turn.kind == TurnKind::Change;
        let stalled = if outside { None } else { self.stalled_until(turn.thread) };
        stalled.map_or(at, |until| until.max(at))
    }

    /// Events, which come in order of time, and turns that are held on threads that stand still.
    fn in_order<'a>(
        &self,
        events: impl Iterator<Item = Candidate> + 'a,
        stalled: Vec<Candidate>,
    ) -> Box<dyn Iterator<Item = Candidate> + 'a> {
        if self.stalled.is_empty() {
            return Box::new(events);
        }
        let mut all: Vec<Candidate> = events.chain(stalled).collect();
        all.sort_by_key(|candidate| candidate.due);
        Box::new(all.into_iter())
    }

    /// The turn that an event begins.
    pub(super) fn turn_of(&self, event: &Event, exploration: &Exploration) -> Option<TurnId> {
        let counted = |thread, kind, of| TurnId {
            thread,
            kind,
            of,
            ordinal: exploration.next_ordinal(thread, kind, of),
        };
        Some(match event {
            Event::Tick { vm, root_id } => {
                let record = self.vms.get(*vm)?;
                let number = record.roots.get(root_id)?.number;
                counted(record.role.slot(), TurnKind::Tick, u32::try_from(number).unwrap_or(u32::MAX))
            }
            Event::QueueReady { consumer, token } => counted(consumer.slot, TurnKind::Ready, *token),
            Event::Answer { call, .. } | Event::CallTimeout { call } => {
                let in_flight = self.calls.get(call)?;
                let late = matches!(event, Event::CallTimeout { .. });
                match in_flight.owner {
                    Owner::HttpCall { vm, .. } => TurnId {
                        thread: self.vms.get(vm)?.role.slot(),
                        kind: match (late, in_flight.came) {
                            (true, _) => TurnKind::Timeout,
                            (false, false) => TurnKind::Response,
                            (false, true) => TurnKind::Duplicate,
                        },
                        of: 0,
                        ordinal: in_flight.ordinal,
                    },
                    Owner::Router { stream } => TurnId {
                        thread: VmSlot::Worker(self.streams.get(&stream)?.worker),
                        kind: if late { TurnKind::Timeout } else { TurnKind::Upstream },
                        of: u32::try_from(stream.0).unwrap_or(u32::MAX),
                        ordinal: 1,
                    },
                }
            }
            Event::Retry { call } => match self.calls.get(call)?.owner {
                Owner::HttpCall { vm, .. } => counted(self.vms.get(vm)?.role.slot(), TurnKind::Retry, 0),
                Owner::Router { .. } => return None,
            },
            Event::Grpc { call, .. } | Event::GrpcTimeout { call } => {
                let in_flight = self.grpc.get(call)?;
                counted(self.vms.get(in_flight.vm)?.role.slot(), TurnKind::Grpc, in_flight.token)
            }
            Event::NextPart { stream } | Event::StreamIdle { stream } | Event::Leave { stream } => {
                let kind = match event {
                    Event::NextPart { .. } => TurnKind::Body,
                    Event::StreamIdle { .. } => TurnKind::Idle,
                    _ => TurnKind::Leave,
                };
                let worker = self.streams.get(stream)?.worker;
                counted(VmSlot::Worker(worker), kind, u32::try_from(stream.0).unwrap_or(u32::MAX))
            }
            Event::Request(request) => TurnId {
                thread: VmSlot::Worker(request.worker),
                kind: TurnKind::Request,
                of: request.number,
                ordinal: 1,
            },
            Event::Update(update) => {
                let mut plugins = self.plugins.iter();
                let first = plugins.position(|plugin| plugin.options.name == update.plugin)?;
                counted(VmSlot::Main, TurnKind::Configure, u32::try_from(first).unwrap_or(u32::MAX))
            }
            Event::Configure { slot, change } => {
                let kind = if change.lets_go() { TurnKind::Release } else { TurnKind::Configure };
                counted(*slot, kind, u32::try_from(change.plugin()).unwrap_or(u32::MAX))
            }
            Event::Change(_) => counted(VmSlot::Main, TurnKind::Change, 0),
            Event::Trap { slot } => counted(*slot, TurnKind::Trap, 0),
            Event::Stall { slot, .. } => counted(*slot, TurnKind::Stall, 0),
        })
    }

    /// Asks the scheduler whether a filter's call meets a fault.
    pub(super) fn choose_fault(&mut self, call: &Call) -> Option<Fault> {
        if !matches!(call.origin, Origin::HttpCall { .. }) || !self.is_free() {
            return None;
        }
        self.tell_fingerprint();
        let exploration = self.exploration.as_ref()?;
        let (running, mut faults) = (exploration.running, exploration.faults.clone());
        faults.dedup();
        // Without a time limit, a call that is not answered in time is not a fault that Envoy has.
        faults.retain(|fault| *fault != Fault::Timeout || call.timeout.is_some());
        if faults.is_empty() {
            return None;
        }
        let fault = self.ask(|scheduler, names| scheduler.fault(names, running, &faults)).flatten()?;
        let exploration = self.exploration.as_mut()?;
        let at = exploration.faults.iter().position(|other| *other == fault)?;
        exploration.faults.remove(at);
        exploration.class = exploration.class.max(fault.class());
        Some(fault)
    }

    /// What a turn is about, for people.
    pub(crate) fn subject(&self, turn: TurnId) -> String {
        match turn.kind {
            TurnKind::Ready => self.queues.name(turn.of).unwrap_or_default(),
            TurnKind::Request => self.request_names.get(&turn.of).cloned().unwrap_or_default(),
            TurnKind::Upstream | TurnKind::Body | TurnKind::Idle | TurnKind::Leave | TurnKind::Timeout => {
                self.stream_names.get(&u64::from(turn.of)).cloned().unwrap_or_default()
            }
            TurnKind::Tick => self.plugin_name(turn.of),
            TurnKind::Grpc => turn.of.to_string(),
            TurnKind::Configure | TurnKind::Release => self.plugin_name(turn.of),
            TurnKind::Response
            | TurnKind::Duplicate
            | TurnKind::Retry
            | TurnKind::Change
            | TurnKind::Trap
            | TurnKind::Stall => String::new(),
        }
    }

    /// What people call a plugin: nothing where there is one, with a number from its second configuration on.
    fn plugin_name(&self, number: u32) -> String {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(plugin) = self.plugins.get(number) else { return String::new() };
        let name = &plugin.options.name;
        let earlier = self.plugins.iter().take(number).filter(|other| other.options.name == *name).count();
        match (self.options.plugins.len(), earlier) {
            (0 | 1, 0) => String::new(),
            (_, 0) => name.clone(),
            (_, earlier) => format!("{name} {}", earlier + 1),
        }
    }

    /// Asks the scheduler at a hostcall that other VMs can see.
    pub(super) fn pass(&mut self, vm: VmIndex, point: &Point<'_>) -> Go {
        let Some(exploration) = &mut self.exploration else {
            return Go::On;
        };
        let metric = matches!(point, Point::ChangeMetric { .. } | Point::ReadMetric { .. });
        if metric && !self.reads_metrics {
            return Go::On;
        }
        exploration.steps += 1;
        let running = exploration.running;
        if let Some(turn) = running {
            self.ask(|scheduler, names| scheduler.comes_to(names, turn, point));
        }
        if std::mem::take(&mut self.vms[vm].resumed) {
            return Go::On;
        }
        let Some(turn) = running else {
            return Go::On;
        };
        let candidates = self.candidates();
        if candidates.is_empty() || !self.is_free() {
            return Go::On;
        }
        self.tell_fingerprint();
        let now = self.now();
        let first =
            self.ask(|scheduler, names| scheduler.at_point(names, turn, point, &candidates)).flatten();
        let Some(exploration) = &mut self.exploration else {
            return Go::On;
        };
        match first.filter(|_| self.vms[vm].may_hold) {
            None => Go::On,
            Some(first) => {
                let held = Held { turn, since: now, depth: self.events.depth };
                exploration.hold(held, candidates[first]);
                self.vms[vm].resumed = true;
                if self.recorder.is_some() {
                    let (name, before) = (self.turn_name(turn), Names::point(self, point));
                    self.recorder.iter_mut().for_each(|recorder| recorder.held(&name, before.clone()));
                }
                Go::Hold
            }
        }
    }

    /// Whether the scheduler decides now.
    fn is_free(&self) -> bool {
        self.exploration.as_ref().is_some_and(|exploration| exploration.is_free(self.now()))
    }

    pub(super) fn tell_fingerprint(&mut self) {
        let scheduler = self.exploration.as_ref().and_then(Exploration::scheduler);
        if scheduler.is_some_and(Scheduler::wants_fingerprint) {
            let state = self.fingerprint();
            self.ask(|scheduler, _names| scheduler.fingerprint(state));
        }
    }

    /// Asks the scheduler something; `None` where there is none.
    pub(super) fn ask<T>(&mut self, question: impl FnOnce(&mut dyn Scheduler, &dyn Names) -> T) -> Option<T> {
        let mut scheduler = self.exploration.as_mut()?.scheduler.take()?;
        let answer = question(&mut *scheduler, self);
        if let Some(exploration) = &mut self.exploration {
            exploration.scheduler = Some(scheduler);
        }
        Some(answer)
    }
}

impl Names for Core {
    fn turn(&self, turn: TurnId) -> TurnName {
        self.turn_name(turn)
    }

    fn point(&self, point: &Point<'_>) -> (Verb, String) {
        let queue = |token: &u32| self.queues.name(*token).unwrap_or_default();
        match point {
            Point::Get { key } => (Verb::Get, text(key)),
            Point::Set { key, .. } => (Verb::Set, text(key)),
            Point::Register { queue } => (Verb::Register, text(queue)),
            Point::Resolve { queue } => (Verb::Resolve, text(queue)),
            Point::Push { token, .. } => (Verb::Push, queue(token)),
            Point::Post { token } => (Verb::Post, queue(token)),
            Point::Dequeue { token } => (Verb::Dequeue, queue(token)),
            Point::ChangeMetric { id } => (Verb::ChangeMetric, id.to_string()),
            Point::ReadMetric { id } => (Verb::Metric, id.to_string()),
        }
    }

    fn last_step(&self) -> usize {
        self.recorder.as_ref().map_or(0, |recorder| recorder.steps.len())
    }
}
