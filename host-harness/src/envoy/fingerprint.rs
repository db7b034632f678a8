//! What the state of everything is, in 128 bits, so that a search can tell that it was there before.
//!
//! A guest is a function of its memory and of what it is answered, and streams live on one thread and are a function of
//! what came to pass there: see [`super::history`].

use xxhash_rust::xxh3::xxh3_128;

use super::{
    core::Core,
    events::Event,
    history::History,
    schedule::{Exploration, TurnKind},
    vms::VmSlot,
};
use crate::{
    abi::{Callback, VmIndex},
    world::Outcome,
};

/// Values of different kinds and lengths, one after the other, without ambiguity.
#[derive(Default)]
struct Digest(Vec<u8>);

// === impl Digest ===

impl Digest {
    fn number(&mut self, value: impl TryInto<u64>) {
        self.0.extend_from_slice(&value.try_into().unwrap_or(u64::MAX).to_le_bytes());
    }

    fn wide(&mut self, value: u128) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u128 {
        xxh3_128(&self.0)
    }
}

// === impl Core ===

impl Core {
    pub(super) fn remember_begin(&mut self, vm: VmIndex, callback: Callback) {
        if let Some(history) = self.history(vm) {
            history.begin(vm, callback);
        }
    }

    pub(super) fn remember_answer(&mut self, vm: VmIndex, function: &str, digest: u128) {
        if let Some(history) = self.history(vm) {
            history.answer(function, digest);
        }
    }

    pub(super) fn remember_return(&mut self, vm: VmIndex, value: u32, memory: Option<u128>) {
        if let Some(history) = self.history(vm) {
            history.finish(vm, u128::from(value), memory);
        }
    }

    /// A failed VM is not called again, so what is in its memory does not matter.
    pub(super) fn remember_failure(&mut self, vm: VmIndex) {
        if let Some(history) = self.history(vm) {
            history.finish(vm, u128::MAX, None);
        }
    }

    fn history(&mut self, vm: VmIndex) -> Option<&mut History> {
        let thread = self.vms[vm].role.slot();
        Some(self.exploration.as_mut()?.histories.entry(thread).or_default())
    }

    /// The state of everything, but for what only depends on the order in which it came about.
    pub(super) fn fingerprint(&self) -> u128 {
        let mut digest = Digest::default();
        digest.wide(self.now().as_nanos());
        digest.wide(u128::from(self.world.fingerprint()));
        if let Some(exploration) = &self.exploration {
            digest.number(exploration.outside);
            for (thread, history) in &exploration.histories {
                digest.number(thread_number(*thread));
                history.words().for_each(|word| digest.wide(word));
            }
            digest.number(exploration.running.map_or(0, |turn| thread_number(turn.thread) + 1));
            for held in &exploration.held {
                digest.number(thread_number(held.turn.thread));
                // How long it has been held bounds what may still come before it.
                digest.wide(held.since.as_nanos());
            }
            for (thread, until) in
                self.stalled.iter().filter(|(thread, _)| self.stalled_until(**thread).is_some())
            {
                digest.number(thread_number(*thread));
                digest.wide(until.as_nanos());
            }
            for (number, _) in self.vms.iter().enumerate().filter(|(_, vm)| vm.doomed && !vm.failed) {
                digest.number(number);
            }
            digest.number(exploration.faults.len());
            for fault in &exploration.faults {
                digest.bytes(fault.as_str().as_bytes());
            }
        }
        let steps_clock = self.exploration.as_ref().is_some_and(Exploration::steps_clock);
        for record in self.vms.iter().filter(|vm| !vm.failed) {
            for root in record.roots.values() {
                digest.wide(root.tick_period.map_or(0, |period| period.as_nanos()));
            }
            digest.number(record.metric_ids.digest());
            if steps_clock {
                digest.wide(record.told_time.as_nanos());
            }
        }
        for (vm_id, key, value, cas) in self.data.iter() {
            digest.bytes(vm_id.as_bytes());
            digest.bytes(key);
            digest.bytes(value);
            digest.number(cas);
        }
        for (token, consumer, items) in self.queues.iter() {
            digest.number(token);
            digest.bytes(self.queues.name(token).unwrap_or_default().as_bytes());
            digest.number(thread_number(consumer.slot));
            digest.number(consumer.key);
            digest.number(consumer.context_id);
            digest.number(items.len());
            for item in items {
                digest.bytes(item);
            }
        }
        let turns = self.exploration.iter().flat_map(|exploration| {
            let events = self.events.iter();
            events.filter_map(|((at, _), event)| Some((*at, self.turn_of(event, exploration)?, event)))
        });
        let mut turns: Vec<_> = turns.collect();
        // In which order threads were given what is due at once is of no account: whoever decides is given every order,
        // and where nobody does, it is that of the threads.
        turns.sort_by_key(|(at, turn, _)| (*at, turn.thread));
        for (at, turn, event) in turns {
            digest.wide(at.as_nanos());
            digest.bytes(turn.kind.as_str().as_bytes());
            digest.number(thread_number(turn.thread));
            digest.number(turn.of);
            // The number of a tick is a name for people.
            digest.number(if turn.kind == TurnKind::Tick { 0 } else { turn.ordinal });
            match event {
                Event::Answer { call, outcome } => {
                    digest.number(u64::from(self.calls.get(call).is_some_and(|call| call.again)));
                    digest.outcome(outcome);
                }
                Event::Tick { vm, root_id } => {
                    let root = self.vms.get(*vm).and_then(|record| record.roots.get(root_id));
                    let awaited = root.and_then(|root| root.tick_awaited);
                    digest.wide(awaited.map_or(0, |since| since.as_nanos()));
                    digest.wide(root.map_or(0, |root| root.tick_longest.as_nanos()));
                }
                Event::QueueReady { consumer, .. } => {
                    digest.number(consumer.key);
                    digest.number(consumer.context_id);
                }
                Event::Grpc { event, .. } => digest.bytes(format!("{event:?}").as_bytes()),
                _ => {}
            }
        }
        if self.reads_metrics {
            for (name, value) in self.metrics.all() {
                digest.bytes(name.as_bytes());
                digest.number(value);
            }
        }
        digest.finish()
    }
}

impl Digest {
    fn outcome(&mut self, outcome: &Outcome) {
        let (kind, response) = match outcome {
            Outcome::Response(response) => (1, Some(response)),
            Outcome::ConnectFailure => (2, None),
            Outcome::ResetBeforeHeaders => (3, None),
            Outcome::ResetAfterHeaders(response) => (4, Some(response)),
        };
        self.number(kind);
        if let Some(response) = response {
            self.number(response.status);
            for (name, value) in response.headers.iter().chain(&response.trailers) {
                self.bytes(name);
                self.bytes(value);
            }
            self.bytes(&response.body);
        }
    }
}

fn thread_number(thread: VmSlot) -> u64 {
    match thread {
        VmSlot::Main => 0,
        VmSlot::Worker(worker) => u64::try_from(worker).unwrap_or(u64::MAX).saturating_add(1),
    }
}
