//! What may happen next in this Envoy, in the order of what would happen if nobody decided.

use std::time::Duration;

use super::{
    Candidate, Core, Event, Exploration, Fault, Held, Names, Next, Owner, Scheduler, TurnId, TurnKind, text,
};
use crate::{
    abi::{Go, Point, VmIndex},
    envoy::vms::VmSlot,
    steps::{TurnName, Verb},
    world::{Call, Origin},
};

// === impl Core ===

impl Core {
    /// Everything that may happen next, first what would happen if nobody decided: turns that are held, then events in
    /// order of time. Only that first one when the scheduler's time is over.
    pub(in crate::envoy) fn candidates(&self) -> Vec<Candidate> {
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
            let busy = exploration.is_busy(turn.thread) && !turn.kind.is_fault();
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
        let outside = turn.kind.is_fault() || turn.kind == TurnKind::Change;
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
    pub(in crate::envoy) fn turn_of(&self, event: &Event, exploration: &Exploration) -> Option<TurnId> {
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
    pub(in crate::envoy) fn choose_fault(&mut self, call: &Call) -> Option<Fault> {
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
    pub(in crate::envoy) fn pass(&mut self, vm: VmIndex, point: &Point<'_>) -> Go {
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

    pub(in crate::envoy) fn tell_fingerprint(&mut self) {
        let scheduler = self.exploration.as_ref().and_then(Exploration::scheduler);
        if scheduler.is_some_and(Scheduler::wants_fingerprint) {
            let state = self.fingerprint();
            self.ask(|scheduler, _names| scheduler.fingerprint(state));
        }
    }

    /// Asks the scheduler something; `None` where there is none.
    pub(in crate::envoy) fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut dyn Scheduler, &dyn Names) -> T,
    ) -> Option<T> {
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
