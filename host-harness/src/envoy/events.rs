//! Everything that will happen by itself, in order of time and then of being asked for.
//!
//! One queue for timers, answers and notices of all VMs, so that a driver sees at one place what may come next.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::{
    exchange::{Request, StreamId},
    shared_queue::Consumer,
    vms::VmSlot,
    xds,
};
use crate::{
    abi::VmIndex,
    world::{CallId, GrpcEvent, Outcome, World},
};

/// Something that will happen.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// A root context's timer.
    Tick { vm: VmIndex, root_id: u32 },
    /// A call is answered.
    Answer { call: CallId, outcome: Outcome },
    /// A call's time limit is over.
    CallTimeout { call: CallId },
    /// A call is sent once more.
    Retry { call: CallId },
    /// Something comes from a gRPC server.
    Grpc { call: CallId, event: GrpcEvent },
    /// A gRPC call's time limit is over.
    GrpcTimeout { call: CallId },
    /// A queue's consumer is notified of one item.
    QueueReady { consumer: Consumer, token: u32 },
    /// The client sends the next part of a request's body.
    NextPart { stream: StreamId },
    /// A stream may have stood still for too long.
    StreamIdle { stream: StreamId },
    /// A client sends a request.
    Request(Arc<PlannedRequest>),
    /// The client of a stream goes away.
    Leave { stream: StreamId },
    /// The control plane changes a plugin.
    Update(Arc<xds::Update>),
    /// A thread makes its part of a change of the configuration.
    Configure { slot: VmSlot, change: xds::Change },
    /// Something outside changes.
    Change(Change),
    /// The VM of a thread fails in its next callback, or in the one that is held.
    Trap { slot: VmSlot },
    /// A thread takes no turns for a span of time.
    Stall { slot: VmSlot, span: Duration },
}

/// Something planned that waits for a request.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    /// Its number among the planned ones that wait, from 1.
    pub(super) number: u32,
    pub(super) after: After,
    pub(super) event: Event,
}

/// So long after a request has begun or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct After {
    /// The request's name.
    pub(crate) request: String,
    /// Its beginning and not its end.
    pub(crate) begun: bool,
    pub(crate) delay: Duration,
}

/// When something planned happens, at the earliest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum When {
    At(Duration),
    After(After),
}

/// A request that a client will send.
#[derive(Debug)]
pub(crate) struct PlannedRequest {
    /// Its number among the planned ones, from 1.
    pub(crate) number: u32,
    pub(crate) worker: usize,
    pub(crate) request: Request,
    pub(crate) leaves_after: Option<Duration>,
}

/// A change of the world.
#[derive(Clone)]
pub(crate) struct Change(pub(crate) Arc<Changing>);

type Changing = dyn Fn(&mut dyn World) + Send + Sync;

impl fmt::Debug for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Change")
    }
}

/// The place of an event in the queue.
pub(super) type EventKey = (Duration, u64);

/// The queue of what will happen.
#[derive(Debug, Clone, Default)]
pub(super) struct Events {
    due: BTreeMap<EventKey, Posted>,
    posted: u64,
    /// How many events led to the one that happens now, each posted by the one before.
    pub(super) depth: u32,
}

#[derive(Debug, Clone)]
struct Posted {
    event: Event,
    depth: u32,
}

// === impl Events ===

impl Events {
    /// Puts an event in, behind those of the same time, and gives its place.
    pub(super) fn post(&mut self, at: Duration, event: Event) -> EventKey {
        self.posted += 1;
        let key = (at, self.posted);
        // A timer is no consequence: it comes again and again, and what is done each time may be over each time.
        let depth = if matches!(event, Event::Tick { .. }) { 0 } else { self.depth.saturating_add(1) };
        self.due.insert(key, Posted { event, depth });
        key
    }

    /// Puts an event in that comes from outside, and is no consequence of what happens now.
    pub(super) fn post_outside(&mut self, at: Duration, event: Event) -> EventKey {
        let depth = std::mem::take(&mut self.depth);
        let key = self.post(at, event);
        self.depth = depth;
        key
    }

    /// Takes an event out before its time; one that has happened is no error.
    pub(super) fn cancel(&mut self, key: EventKey) {
        self.due.remove(&key);
    }

    /// When the next event is due.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Everything that will happen, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&EventKey, &Event)> {
        self.due.iter().map(|(key, posted)| (key, &posted.event))
    }

    /// The most events that led to one that will happen, or to the one that happens now.
    pub(super) fn longest_chain(&self) -> u32 {
        self.due.values().map(|posted| posted.depth).fold(self.depth, u32::max)
    }

    /// Takes an event out, whenever it is due.
    pub(super) fn take(&mut self, key: EventKey) -> Option<Event> {
        let posted = self.due.remove(&key)?;
        self.depth = posted.depth;
        Some(posted.event)
    }

    /// Takes the next event out, if it is due at `now`.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Event> {
        if self.next_at()? > now {
            return None;
        }
        let (key, _) = self.due.first_key_value()?;
        self.take(*key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_and_then_of_posting() {
        let mut events = Events::default();
        for (at, vm) in [(2, 1), (1, 2), (1, 3)] {
            events.post(Duration::from_secs(at), Event::Tick { vm, root_id: 1 });
        }
        let mut order = Vec::new();
        while let Some(Event::Tick { vm, .. }) = events.take_due(Duration::from_secs(5)) {
            order.push(vm);
        }
        assert_eq!(order, [2, 3, 1]);
    }

    #[test]
    fn an_event_of_the_future_is_not_due() {
        let mut events = Events::default();
        events.post(Duration::from_secs(2), Event::Tick { vm: 0, root_id: 1 });
        assert!(events.take_due(Duration::from_secs(1)).is_none());
        assert_eq!(events.next_at(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_chain_grows_with_what_each_event_posts_and_a_timer_begins_a_new_one() {
        let mut events = Events::default();
        for _ in 0..5 {
            let key = events.post(Duration::ZERO, Event::Trap { slot: VmSlot::Main });
            events.take(key);
        }
        assert_eq!(events.longest_chain(), 5);
        let tick = events.post(Duration::ZERO, Event::Tick { vm: 0, root_id: 1 });
        events.take(tick);
        assert_eq!(events.longest_chain(), 0);
    }

    #[test]
    fn a_cancelled_event_does_not_happen() {
        let mut events = Events::default();
        let key = events.post(Duration::ZERO, Event::Tick { vm: 0, root_id: 1 });
        events.cancel(key);
        events.cancel(key);
        assert!(events.take_due(Duration::MAX).is_none());
    }
}
