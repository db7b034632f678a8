//! What the VMs of one Envoy share, and what every hostcall works on. There is no guest in here.
//!
//! It is lent to a VM as its host for the length of one callback, so nothing here can call a guest; what a hostcall
//! wants to happen in a guest goes into a queue that [`super::proxy`] works off once the callback has returned.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{
    events::{Event, EventKey, Events, Waiting},
    exchange::StreamId,
    grpc::GrpcInFlight,
    log::{LogLine, LogSource},
    metrics::Metrics,
    options::{EnvoyOptions, LoadFailure, PluginOptions},
    random::Random,
    record::Recorder,
    retry::Attempt,
    schedule::{Exploration, Fault},
    shared_data::SharedData,
    shared_queue::SharedQueues,
    stream::Stream,
    vms::{KeyIndex, VmKey, VmRecord, VmRole, VmSlot},
    xds::{Change, Identity},
};
use crate::{
    abi::{Headers, VmIndex},
    world::{Call, CallId, Origin, Outcome, Refusal, Sent, World},
};

/// A guest that has put its tick off for so many periods will not let it come.
const STARVED_PERIODS: u32 = 10;

/// The number stream of request ids; VMs have the numbers from 0 on.
const REQUEST_IDS: u64 = u64::MAX;
/// The number stream of waits before a VM is made again.
const BACKOFFS: u64 = u64::MAX - 1;

/// Everything but the guests.
pub(crate) struct Core {
    pub(super) options: Arc<EnvoyOptions>,
    /// Every plugin that was ever configured, by number.
    pub(super) plugins: Vec<Plugin>,
    pub(super) keys: Vec<VmKey>,
    /// Keys of which neither a VM nor a plugin is left.
    pub(super) gone: BTreeSet<KeyIndex>,
    /// Keys of which a thread has refused a plugin that its canary had taken.
    pub(super) spoiled: BTreeSet<KeyIndex>,
    /// What came of plugins in their canaries.
    pub(super) tried: BTreeMap<Identity, Result<(), LoadFailure>>,
    /// How many workers have still to make a change.
    pub(super) waited_for: BTreeMap<Change, usize>,
    pub(super) world: Box<dyn World>,
    pub(super) data: SharedData,
    pub(super) queues: SharedQueues,
    pub(super) metrics: Metrics,
    pub(super) logs: Vec<LogLine>,
    pub(super) events: Events,
    pub(super) vms: Vec<VmRecord>,
    /// Until when threads take no turns.
    pub(super) stalled: BTreeMap<VmSlot, Duration>,
    pub(super) streams: BTreeMap<StreamId, Stream>,
    pub(super) calls: BTreeMap<CallId, InFlight>,
    pub(super) grpc: BTreeMap<CallId, GrpcInFlight>,
    /// Calls that may be sent again.
    pub(super) retries: BTreeMap<CallId, Attempt>,
    /// After shutdown has begun, calls are taken and never sent.
    pub(super) stopping: bool,
    /// Who decides what comes next, while runs are explored.
    pub(crate) exploration: Option<Exploration>,
    /// Whether the module can tell when a metric changes.
    pub(super) reads_metrics: bool,
    /// What is planned and waits for a request.
    pub(super) waiting: Vec<Waiting>,
    /// What has waited for one and is due now: its number, and the request.
    pub(super) awaited: BTreeMap<EventKey, (u32, String)>,
    /// Names of the requests that are planned, by number.
    pub(crate) request_names: BTreeMap<u32, String>,
    /// Names of streams that have one.
    pub(crate) stream_names: BTreeMap<u64, String>,
    /// What guests said that they believe, in order: the VM, the view's name, what is believed.
    pub(super) views: Vec<(String, String, String)>,
    /// Why VMs failed, in order.
    pub(super) traps: Vec<String>,
    /// What was seen that no filter should do, by its oracle's name: ticks that are put off, updates that are lost.
    pub(super) violations: Vec<(&'static str, String)>,
    /// Clusters that were called and that the world has not.
    pub(super) unknown_clusters: BTreeSet<String>,
    /// Names of the requests on whose behalf calls were made.
    pub(super) callers: BTreeMap<CallId, String>,
    /// What was seen, when someone wants to know.
    pub(crate) recorder: Option<Recorder>,
    /// The fault that the last call met.
    pub(super) last_fault: Option<Fault>,
    calls_made: BTreeMap<VmSlot, u32>,
    reported: BTreeSet<&'static str>,
    random: Random,
    pub(super) backoffs: Random,
    last_call: u64,
    last_stream: u64,
}

/// A call that was sent and not yet answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) owner: Owner,
    pub(super) sent_at: Duration,
    /// Which one of its thread it is, from 1; 0 for the router's.
    pub(super) ordinal: u32,
    /// Whether the answer comes a second time, which no host may do.
    pub(super) again: bool,
    /// Whether it has come once.
    pub(super) came: bool,
    pub(super) timeout_event: Option<EventKey>,
    pub(super) answer_event: Option<EventKey>,
}

/// Who gets the answer of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    HttpCall { vm: VmIndex, root_id: u32, token: u32 },
    Router { stream: StreamId },
}

/// A plugin with one configuration.
#[derive(Debug, Clone)]
pub(super) struct Plugin {
    pub(super) options: Arc<PluginOptions>,
    pub(super) key: KeyIndex,
}

/// Number of a [`Plugin`].
pub(super) type PluginIndex = usize;

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) cluster: String,
    pub(super) headers: Headers,
    pub(super) body: Bytes,
    pub(super) trailers: Headers,
    pub(super) timeout: Option<Duration>,
}

// === impl InFlight ===

impl InFlight {
    /// Whether neither an answer nor a time limit will end it.
    pub(super) fn is_endless(&self) -> bool {
        self.timeout_event.is_none() && self.answer_event.is_none()
    }
}

// === impl Core ===

impl Core {
    pub(super) fn new(options: EnvoyOptions, world: Box<dyn World>) -> Core {
        let random = Random::new(options.seed, REQUEST_IDS);
        let backoffs = Random::new(options.seed, BACKOFFS);
        Core {
            options: Arc::new(options),
            plugins: Vec::new(),
            keys: Vec::new(),
            gone: BTreeSet::new(),
            spoiled: BTreeSet::new(),
            tried: BTreeMap::new(),
            waited_for: BTreeMap::new(),
            world,
            data: SharedData::default(),
            queues: SharedQueues::default(),
            metrics: Metrics::default(),
            logs: Vec::new(),
            events: Events::default(),
            vms: Vec::new(),
            stalled: BTreeMap::new(),
            streams: BTreeMap::new(),
            calls: BTreeMap::new(),
            grpc: BTreeMap::new(),
            retries: BTreeMap::new(),
            stopping: false,
            exploration: None,
            reads_metrics: true,
            waiting: Vec::new(),
            awaited: BTreeMap::new(),
            request_names: BTreeMap::new(),
            stream_names: BTreeMap::new(),
            views: Vec::new(),
            traps: Vec::new(),
            violations: Vec::new(),
            unknown_clusters: BTreeSet::new(),
            callers: BTreeMap::new(),
            recorder: None,
            last_fault: None,
            calls_made: BTreeMap::new(),
            reported: BTreeSet::new(),
            random,
            backoffs,
            last_call: 0,
            last_stream: 0,
        }
    }

    /// The same once more, in a world of its own; nobody decides there. `None` where the world cannot be copied.
    pub(super) fn fork(&self) -> Option<Core> {
        Some(Core {
            options: Arc::clone(&self.options),
            plugins: self.plugins.clone(),
            keys: self.keys.clone(),
            gone: self.gone.clone(),
            spoiled: self.spoiled.clone(),
            tried: self.tried.clone(),
            waited_for: self.waited_for.clone(),
            world: self.world.fork()?,
            data: self.data.clone(),
            queues: self.queues.clone(),
            metrics: self.metrics.clone(),
            logs: Vec::new(),
            events: self.events.clone(),
            vms: self.vms.clone(),
            stalled: self.stalled.clone(),
            streams: self.streams.clone(),
            calls: self.calls.clone(),
            grpc: self.grpc.clone(),
            retries: self.retries.clone(),
            stopping: self.stopping,
            exploration: None,
            reads_metrics: self.reads_metrics,
            waiting: self.waiting.clone(),
            awaited: self.awaited.clone(),
            request_names: self.request_names.clone(),
            stream_names: self.stream_names.clone(),
            views: self.views.clone(),
            traps: Vec::new(),
            violations: Vec::new(),
            unknown_clusters: self.unknown_clusters.clone(),
            callers: BTreeMap::new(),
            recorder: None,
            last_fault: None,
            calls_made: self.calls_made.clone(),
            reported: self.reported.clone(),
            random: self.random.clone(),
            backoffs: self.backoffs.clone(),
            last_call: self.last_call,
            last_stream: self.last_stream,
        })
    }

    /// Adds a plugin and gives its number.
    pub(super) fn add_plugin(&mut self, options: PluginOptions) -> PluginIndex {
        let key = VmKey { vm_id: options.vm_id.clone(), vm_configuration: options.vm_configuration.clone() };
        let known = self.keys.iter().position(|other| *other == key);
        let key = known.unwrap_or_else(|| {
            self.keys.push(key);
            self.keys.len() - 1
        });
        self.gone.remove(&key);
        self.plugins.push(Plugin { options: Arc::new(options), key });
        self.plugins.len() - 1
    }

    /// The `vm_id` of a VM.
    pub(super) fn vm_id(&self, vm: VmIndex) -> &str {
        &self.keys[self.vms[vm].key].vm_id
    }

    pub(crate) fn now(&self) -> Duration {
        self.world.now()
    }

    /// The time that a VM is given; with a clock that steps it moves on each time, and never back.
    pub(super) fn read_clock(&mut self, vm: VmIndex) -> Duration {
        let now = self.now();
        let step =
            self.exploration.as_ref().map_or(Duration::ZERO, |exploration| exploration.limits.clock_step);
        let reported = &mut self.vms[vm].told_time;
        *reported = now.max(reported.saturating_add(step));
        *reported
    }

    /// Posts an event that is due after `delay`.
    pub(super) fn post_after(&mut self, delay: Duration, event: Event) -> EventKey {
        let at = self.now().saturating_add(delay);
        self.events.post(at, event)
    }

    /// A request has begun or ended: what waits for that is due so long after.
    pub(super) fn request_has(&mut self, request: &str, begun: bool) {
        let now = self.now();
        let is_meant =
            |waiting: &mut Waiting| waiting.after.begun == begun && waiting.after.request == request;
        for Waiting { number, after, event } in self.waiting.extract_if(.., is_meant) {
            let key = self.events.post_outside(now.saturating_add(after.delay), event);
            self.awaited.insert(key, (number, after.request));
        }
    }

    pub(super) fn log(&mut self, vm: VmRole, source: LogSource, level: log::Level, message: &str) {
        if level <= self.options.log_level {
            let at = self.now();
            self.logs.push(LogLine { vm, source, level, message: message.to_owned(), at });
        }
    }

    /// Logs what the host lacks, once for each function over the whole life of this Envoy.
    pub(super) fn report_once(&mut self, vm: VmRole, function: &'static str) {
        if self.reported.insert(function) {
            let message = format!("`{function}` is not implemented here and fails; this is logged once");
            self.log(vm, LogSource::Host, log::Level::Warn, &message);
        }
    }

    pub(super) fn next_stream(&mut self) -> StreamId {
        self.last_stream += 1;
        StreamId(self.last_stream)
    }

    /// The number of the next call or gRPC exchange.
    pub(super) fn next_call(&mut self) -> CallId {
        self.last_call += 1;
        CallId(self.last_call)
    }

    /// A random request id in the form of a version 4 UUID.
    pub(super) fn next_request_id(&mut self) -> String {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// How long after its last load a plugin's VM may be made again. Drawn for each request that finds it failed.
    ///
    /// Source: Envoy `source/common/common/backoff_strategy.cc` (`JitteredLowerBoundBackOffStrategy`): the base interval
    /// and up to half of it more, in whole milliseconds.
    pub(super) fn draw_backoff(&mut self, plugin: PluginIndex) -> Duration {
        let base = self.plugins[plugin].options.reload_backoff;
        let half_ms = u64::try_from(base.as_millis() / 2).unwrap_or(u64::MAX);
        base.saturating_add(Duration::from_millis(self.draw_below(half_ms)))
    }

    /// Sends a request to a cluster. After shutdown has begun, it only looks so.
    pub(super) fn send(&mut self, owner: Owner, outgoing: Outgoing) -> Result<CallId, Refusal> {
        let id = CallId(self.last_call + 1);
        let origin = match owner {
            Owner::HttpCall { vm, token, .. } => Origin::HttpCall { vm: self.vms[vm].role, token },
            Owner::Router { stream } => Origin::Router { stream },
        };
        let Outgoing { cluster, headers, body, trailers, timeout } = outgoing;
        let call = Call { id, origin, cluster, headers, body, trailers, timeout };
        let sent = if self.stopping { Ok(Sent::Never) } else { self.world.send(&call) };
        if sent == Err(Refusal::UnknownCluster) {
            self.unknown_clusters.insert(call.cluster.clone());
        }
        let sent = sent?;
        let fault = self.choose_fault(&call);
        self.last_fault = fault;
        let sent = match fault {
            Some(fault) => fault.apply(sent)?,
            None => sent,
        };
        self.last_call = id.0;
        let ordinal = match owner {
            Owner::Router { .. } => 0,
            Owner::HttpCall { vm, .. } => {
                let stream = self.vms[vm].acting_stream();
                let caller = stream.and_then(|stream| self.stream_names.get(&stream.0).cloned());
                self.callers.extend(caller.map(|caller| (id, caller)));
                let made = self.calls_made.entry(self.vms[vm].role.slot()).or_default();
                *made += 1;
                *made
            }
        };
        let answer_event = match sent {
            Sent::After(delay, outcome) => Some(self.post_after(delay, Event::Answer { call: id, outcome })),
            Sent::Pending | Sent::Never => None,
        };
        let timeout_event = timeout.map(|limit| self.post_after(limit, Event::CallTimeout { call: id }));
        let again = fault == Some(Fault::Duplicate);
        self.calls.insert(
            id,
            InFlight { owner, sent_at: self.now(), ordinal, again, came: false, timeout_event, answer_event },
        );
        Ok(id)
    }

    /// Whether something that a thread's VMs have waited for since then will come by itself: the answer or the limit of a
    /// call, a message of a gRPC server, a tick.
    pub(super) fn awaits_since(&self, thread: VmSlot, since: Duration) -> bool {
        let is_there = |vm: VmIndex| self.vms.get(vm).is_some_and(|record| record.role.slot() == thread);
        let call = self.calls.values().any(|call| {
            matches!(call.owner, Owner::HttpCall { vm, .. } if is_there(vm))
                && call.sent_at <= since
                && !call.is_endless()
        });
        let grpc = || {
            self.events.iter().any(|(_, event)| {
                let (Event::Grpc { call, .. } | Event::GrpcTimeout { call }) = event else { return false };
                self.grpc.get(call).is_some_and(|flight| is_there(flight.vm))
            })
        };
        let tick = || {
            let vms = self.vms.iter().filter(|record| record.role.slot() == thread && !record.failed);
            let mut roots = vms.flat_map(|record| record.roots.values());
            roots.any(|root| root.tick_event.is_some() && root.tick_awaited.is_some_and(|at| at <= since))
        };
        call || grpc() || tick()
    }

    /// Sets a call's time limit again.
    pub(super) fn post_deadline(&mut self, call: CallId, deadline: Option<Duration>) -> Option<EventKey> {
        let left = deadline?.saturating_sub(self.now());
        Some(self.post_after(left, Event::CallTimeout { call }))
    }

    /// A call was answered, and is answered once more if that is the fault that it meets.
    pub(super) fn answered(&mut self, call: CallId, outcome: &Outcome) -> Option<InFlight> {
        let in_flight = self.complete(call)?;
        if in_flight.again {
            let event = self.post_after(Duration::ZERO, Event::Answer { call, outcome: outcome.clone() });
            self.calls
                .insert(call, InFlight { again: false, came: true, answer_event: Some(event), ..in_flight });
        }
        Some(in_flight)
    }

    /// Takes a call off the list because it was answered.
    pub(super) fn complete(&mut self, call: CallId) -> Option<InFlight> {
        let in_flight = self.calls.remove(&call)?;
        for event in [in_flight.timeout_event, in_flight.answer_event].into_iter().flatten() {
            self.events.cancel(event);
        }
        Some(in_flight)
    }

    /// Takes a call off the list because nobody wants its answer.
    pub(super) fn abandon(&mut self, call: CallId) -> Option<InFlight> {
        let in_flight = self.complete(call)?;
        self.retries.remove(&call);
        self.world.cancel(call);
        Some(in_flight)
    }

    /// A thread takes no turns for a while; what comes to it waits.
    pub(super) fn stall(&mut self, slot: VmSlot, span: Duration) {
        let until = self.now().saturating_add(span);
        let stalled = self.stalled.entry(slot).or_default();
        *stalled = until.max(*stalled);
    }

    /// Until when a thread takes no turns, if it takes none now.
    pub(super) fn stalled_until(&self, slot: VmSlot) -> Option<Duration> {
        self.stalled.get(&slot).copied().filter(|until| *until > self.now())
    }

    /// Stops the timers and the calls of a VM that will not be called again.
    pub(super) fn silence(&mut self, vm: VmIndex) {
        for root_id in self.vms[vm].roots.keys().copied().collect::<Vec<_>>() {
            self.silence_root(vm, root_id);
        }
    }

    /// Stops the timer and the calls of a root context that will not be called again.
    pub(super) fn silence_root(&mut self, vm: VmIndex, root_id: u32) {
        self.set_tick(vm, root_id, None);
        let is_owner = |owner: Owner| matches!(owner, Owner::HttpCall { vm: of, root_id: by, .. } if of == vm && by == root_id);
        let calls = self.calls.iter().filter(|(_, call)| is_owner(call.owner));
        for call in calls.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.abandon(call);
        }
        self.silence_grpc(vm, root_id);
    }

    /// Sets the timer of a root context for one period from now.
    pub(super) fn arm_tick(&mut self, vm: VmIndex, root_id: u32) {
        let Some(root) = self.vms[vm].roots.get_mut(&root_id) else { return };
        let (event, period) = (root.tick_event.take(), root.tick_period);
        if let Some(event) = event {
            self.events.cancel(event);
        }
        let event = period.map(|period| self.post_after(period, Event::Tick { vm, root_id }));
        let now = self.now();
        let Some(root) = self.vms[vm].roots.get_mut(&root_id) else { return };
        root.tick_event = event;
        let Some(period) = period else {
            root.tick_awaited = None;
            return;
        };
        if root.tick_awaited.is_none() {
            root.tick_longest = Duration::ZERO;
        }
        let since = *root.tick_awaited.get_or_insert(now);
        // Until a period is shortened, nothing had to come any sooner.
        root.tick_longest = root.tick_longest.max(period);
        let longest = root.tick_longest;
        // While its thread stood still, nothing could come.
        let stood_still = self.stalled.get(&self.vms[vm].role.slot()).copied().unwrap_or_default();
        let awaited = now.saturating_sub(since.max(stood_still));
        let slack = self.exploration.as_ref().map_or(Duration::ZERO, |exploration| exploration.limits.slack);
        if awaited > longest * STARVED_PERIODS + slack {
            if let Some(root) = self.vms[vm].roots.get_mut(&root_id) {
                root.tick_awaited = Some(now);
            }
            let thread = self.vms[vm].role.slot();
            let message = format!(
                "a tick must come once it is due, and one of {thread} that is due after {period:?} has been put off for \
                 {awaited:?}: setting the period sets the timer anew"
            );
            self.violations.push(("tick-starvation", message));
        }
    }

    pub(super) fn set_tick(&mut self, vm: VmIndex, root_id: u32, period: Option<Duration>) {
        if let Some(root) = self.vms[vm].roots.get_mut(&root_id) {
            root.tick_period = period;
            self.arm_tick(vm, root_id);
        }
    }

    /// The stream that hostcalls of this VM act on now.
    pub(super) fn acting_stream(&self, vm: VmIndex) -> Option<&Stream> {
        self.streams.get(&self.vms[vm].acting_stream()?)
    }

    /// The stream that hostcalls of this VM act on now, to change it.
    pub(super) fn acting_stream_mut(&mut self, vm: VmIndex) -> Option<&mut Stream> {
        let id = self.vms[vm].acting_stream()?;
        self.streams.get_mut(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Scripted;

    #[test]
    fn request_ids_depend_on_the_seed_alone() {
        let ids = |seed| {
            let options = EnvoyOptions { seed, ..EnvoyOptions::default() };
            let mut core = Core::new(options, Box::new(Scripted::new()));
            [core.next_request_id(), core.next_request_id()]
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1), ids(2));
        let [first, second] = ids(1);
        assert_ne!(first, second);
        assert_eq!(&first[14..15], "4");
    }

    #[test]
    fn request_ids_are_not_the_random_numbers_of_a_vm() {
        let mut core = Core::new(EnvoyOptions::default(), Box::new(Scripted::new()));
        let mut canary = VmRecord::new(VmRole::Canary, 0, core.options.seed, 0);
        let (mut of_core, mut of_vm) = ([0; 8], [0; 8]);
        core.random.fill(&mut of_core);
        canary.random.fill(&mut of_vm);
        assert_ne!(of_core, of_vm);
    }

    #[test]
    fn a_backoff_is_the_base_and_up_to_half_of_it_more() {
        let mut core = Core::new(EnvoyOptions::default(), Box::new(Scripted::new()));
        let base = Duration::from_secs(1);
        let plugin = core.add_plugin(PluginOptions { reload_backoff: base, ..PluginOptions::default() });
        let drawn: Vec<Duration> = (0..100).map(|_| core.draw_backoff(plugin)).collect();
        assert!(drawn.iter().all(|wait| (base..base * 3 / 2).contains(wait)));
        assert!(drawn.iter().any(|wait| *wait != drawn[0]));
        let tiny = core.add_plugin(PluginOptions {
            reload_backoff: Duration::from_millis(1),
            ..PluginOptions::default()
        });
        assert_eq!(core.draw_backoff(tiny), Duration::from_millis(1));
    }
}
