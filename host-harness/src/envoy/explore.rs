//! Running the same beginning again and again, each time in the order that a scheduler decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{
    Envoy, Exchange, Request,
    delivery::Job,
    events::{Change, Event, PlannedRequest, Waiting, When},
    schedule::{Candidate, Exploration, Next, Scheduler, TurnKind},
    turn::{Task, Turn},
    vms::{VmRecord, VmSlot},
    xds::Update,
};
use crate::{
    abi::VmIndex,
    envoy::{
        core::{Core, Owner},
        record::{Note, Recorder},
        vms::vm_name,
    },
    steps::{Step, Verb},
    world::{Call, GrpcSeen, Scripted, World},
};

/// A run that is under way.
pub(crate) struct Run<'a> {
    envoy: &'a mut Envoy<Scripted>,
    held: Vec<(VmSlot, Task)>,
}

impl Envoy<Scripted> {
    /// Plans a request; its name is for people.
    pub(crate) fn plan_request(
        &mut self,
        when: When,
        name: &str,
        worker: usize,
        request: Request,
        leaves_after: Option<Duration>,
    ) {
        let core = self.proxy_mut().core_mut();
        let number = u32::try_from(core.request_names.len()).unwrap_or(u32::MAX).saturating_add(1);
        core.request_names.insert(number, name.to_owned());
        let planned = PlannedRequest { number, worker, request, leaves_after };
        self.plan(when, Event::Request(Arc::new(planned)));
    }

    /// Plans a change of the world.
    pub(crate) fn plan_change(
        &mut self,
        when: When,
        change: impl Fn(&mut dyn World) + Send + Sync + 'static,
    ) {
        self.plan(when, Event::Change(Change(Arc::new(change))));
    }

    /// Plans a change of a plugin: another configuration, or none to take it away.
    pub(crate) fn plan_update(&mut self, when: When, plugin: &str, configuration: Option<Vec<u8>>) {
        self.plan(when, Event::Update(Arc::new(Update { plugin: plugin.to_owned(), configuration })));
    }

    /// Plans that the VM of a thread fails: in its next callback, or where it is held.
    pub(crate) fn plan_trap(&mut self, when: When, slot: VmSlot) {
        self.plan(when, Event::Trap { slot });
    }

    /// Plans that a thread takes no turns for a span of time.
    pub(crate) fn plan_stall(&mut self, when: When, slot: VmSlot, span: Duration) {
        self.plan(when, Event::Stall { slot, span });
    }

    fn plan(&mut self, when: When, event: Event) {
        let core = self.proxy_mut().core_mut();
        match when {
            When::At(at) => {
                core.events.post(at, event);
            }
            When::After(after) => {
                let number = u32::try_from(core.waiting.len()).unwrap_or(u32::MAX).saturating_add(1);
                core.waiting.push(Waiting { number, after, event });
            }
        }
    }

    /// Makes what is now the beginning of every run.
    pub(crate) fn freeze(&mut self) {
        let reads_metrics = self.proxy().module.imports("proxy_get_metric");
        self.proxy_mut().core_mut().reads_metrics = reads_metrics;
        self.proxy_mut().freeze();
    }

    /// Goes back to the beginning and starts a run.
    pub(crate) fn run(&mut self, exploration: Exploration, recorded: bool) -> Run<'_> {
        self.proxy_mut().thaw();
        let observed = exploration.scheduler().is_some_and(Scheduler::wants_fingerprint);
        for guest in self.proxy_mut().guests.iter_mut().flatten() {
            guest.observe(observed);
        }
        let core = self.proxy_mut().core_mut();
        core.exploration = Some(exploration);
        core.recorder = recorded.then(Recorder::default);
        Run { envoy: self, held: Vec::new() }
    }
}

impl Run<'_> {
    /// Lets one thing happen; false when nothing is to come until `limit`.
    pub(crate) fn advance(&mut self, limit: Duration) -> bool {
        let core = self.envoy.proxy_mut().core_mut();
        let chosen = core.exploration.as_mut().and_then(|exploration| exploration.first.take());
        let Some(candidate) = chosen.or_else(|| choose(core)) else {
            return false;
        };
        if candidate.due > limit {
            return false;
        }
        let steps = self.last_step();
        let task = match candidate.next {
            Next::Resume => self.resume(candidate),
            Next::Event(_) => self.begin(candidate),
        };
        if let Some(task) = task {
            let (proxy, rest) = Turn::poll(task, &self.envoy.slot);
            self.envoy.proxy = Some(proxy);
            match rest {
                Some(task) => self.held.push((candidate.turn.thread, task)),
                None => {
                    if candidate.next != Next::Resume && self.last_step() == steps {
                        self.note_silent(candidate);
                    }
                    if let Some(exploration) = &mut self.core_mut().exploration {
                        exploration.running = None;
                    }
                }
            }
        }
        true
    }

    /// Writes down a turn in which no guest had a part, so that the turn is found when the run is read.
    fn note_silent(&mut self, candidate: Candidate) {
        let argument = match candidate.turn.kind {
            TurnKind::Change => "outside",
            TurnKind::Trap => "the VM fails from here on",
            TurnKind::Stall => "the thread stands still",
            _ => "no VM takes part",
        };
        let note = |_core: &Core| Note { argument: argument.to_owned(), ..Note::default() };
        self.core_mut().note_on(candidate.turn.thread, Verb::Change, note);
    }

    fn begin(&mut self, candidate: Candidate) -> Option<Task> {
        let Next::Event(key) = candidate.next else {
            return None;
        };
        let core = self.core_mut();
        let event = core.events.take(key)?;
        core.world.wait(candidate.due);
        if let Some(exploration) = &mut core.exploration {
            exploration.begin(candidate.turn);
        }
        core.forget_reads(candidate.turn.thread);
        core.ask(|scheduler, names| scheduler.begins(names, candidate.turn));
        let proxy = self.envoy.proxy.take()?;
        Some(Turn::new(proxy, self.envoy.slot.clone()).doing(Job::Event(event)))
    }

    fn resume(&mut self, candidate: Candidate) -> Option<Task> {
        let at = self.held.iter().position(|(thread, _)| *thread == candidate.turn.thread)?;
        let (_, task) = self.held.remove(at);
        let core = self.core_mut();
        if let Some(exploration) = &mut core.exploration {
            core.events.depth = exploration.resume(candidate.turn);
        }
        // Later than now only where the thread has stood still.
        self.core_mut().world.wait(candidate.due);
        self.core_mut().ask(|scheduler, names| scheduler.begins(names, candidate.turn));
        let proxy = self.envoy.proxy.take()?;
        self.envoy.slot.put(proxy);
        Some(task)
    }

    pub(crate) fn core(&self) -> &Core {
        self.envoy.proxy().core()
    }

    fn core_mut(&mut self) -> &mut Core {
        self.envoy.proxy_mut().core_mut()
    }

    /// Decisions and hostcalls so far.
    pub(crate) fn steps(&self) -> usize {
        self.core().exploration.as_ref().map_or(0, |exploration| exploration.steps)
    }

    /// Whether its steps are used up, and every turn that was held has come to its end: where a turn was held is only
    /// seen by what it does next.
    pub(crate) fn is_out_of_steps(&self) -> bool {
        let exploration = self.core().exploration.as_ref();
        let out = exploration.is_some_and(Exploration::is_out_of_steps);
        out && self.held.is_empty()
    }

    /// The most events that led to one another without a timer in between.
    pub(crate) fn longest_chain(&self) -> u32 {
        self.core().events.longest_chain()
    }

    /// A cluster that was called and that the world has not.
    pub(crate) fn unknown_cluster(&self) -> Option<String> {
        self.core().unknown_clusters.first().cloned()
    }

    /// Requests for which something planned still waits, or has waited and has not happened.
    pub(crate) fn awaited(&self) -> BTreeSet<String> {
        let core = self.core();
        let still = core.waiting.iter().map(|waiting| waiting.after.request.clone());
        let due = core.events.iter().filter_map(|(key, _)| core.awaited.get(key));
        still.chain(due.map(|(_, request)| request.clone())).collect()
    }

    /// Number of the last step that was recorded.
    pub(crate) fn last_step(&self) -> usize {
        self.core().recorder.as_ref().map_or(0, |recorder| recorder.steps.len())
    }

    /// What the end of the run depends on beside what the harness knows.
    pub(crate) fn set_outside(&mut self, hash: impl FnOnce(&mut DefaultHasher)) {
        let Some(exploration) = &mut self.core_mut().exploration else { return };
        if exploration.scheduler().is_some_and(Scheduler::wants_fingerprint) {
            let mut hasher = DefaultHasher::new();
            hash(&mut hasher);
            exploration.outside = hasher.finish();
        }
    }

    /// Whether the scheduler has seen enough of this run.
    pub(crate) fn is_abandoned(&self) -> bool {
        let scheduler = self.core().exploration.as_ref().and_then(Exploration::scheduler);
        scheduler.is_some_and(Scheduler::is_done)
    }

    /// Streams that have ended since this was asked last, with the names of those that have one.
    pub(crate) fn take_finished(&mut self) -> Vec<(Option<String>, Exchange)> {
        if self.envoy.proxy().finished.is_empty() {
            return Vec::new();
        }
        let finished = std::mem::take(&mut self.envoy.proxy_mut().finished);
        let names = &self.core().stream_names;
        finished.into_iter().map(|(id, exchange)| (names.get(&id.0).cloned(), exchange)).collect()
    }

    /// Calls that were made, but for the first ones, with the request on whose behalf they were, where that is known.
    pub(crate) fn calls_from(&self, skip: usize) -> impl Iterator<Item = (Option<String>, &Call)> {
        let core = self.core();
        let seen = self.envoy.world().seen().get(skip..).unwrap_or_default();
        seen.iter().map(|seen| (core.callers.get(&seen.call.id).cloned(), &seen.call))
    }

    /// gRPC exchanges that filters began, but for the first ones, as the calls that they are: with the messages that the
    /// client has sent so far, one behind the other.
    pub(crate) fn grpc_calls_from(&self, skip: usize) -> Vec<(Option<String>, Call)> {
        let seen = self.envoy.world().grpc_seen().get(skip..).unwrap_or_default();
        let call = |seen: &GrpcSeen| Call {
            id: seen.call.id,
            origin: seen.call.origin,
            cluster: seen.call.cluster.clone(),
            headers: seen.call.headers.clone(),
            body: seen.messages.concat().into(),
            trailers: Vec::new(),
            timeout: None,
        };
        seen.iter().map(|seen| (self.core().callers.get(&seen.call.id).cloned(), call(seen))).collect()
    }

    /// Ticks that have come to each thread.
    pub(crate) fn ticks(&self) -> BTreeMap<VmSlot, usize> {
        self.core().exploration.as_ref().map(Exploration::ticks).unwrap_or_default()
    }

    /// Items that were put into each queue.
    pub(crate) fn items(&self) -> BTreeMap<String, usize> {
        self.core().queues.pushed()
    }

    /// Why VMs failed, in order.
    pub(crate) fn traps(&self) -> &[String] {
        &self.core().traps
    }

    /// What no filter should do: the oracle that says so, and a sentence.
    pub(crate) fn violations(&self) -> &[(&'static str, String)] {
        &self.core().violations
    }

    /// What guests said that they believe, but for the first ones: the VM, the view's name, what is believed.
    pub(crate) fn views_from(&self, skip: usize) -> Vec<(String, String, String)> {
        self.core().views.get(skip..).unwrap_or_default().to_vec()
    }

    /// VMs that can be called.
    pub(crate) fn alive(&self) -> BTreeSet<String> {
        let vms = &self.core().vms;
        let alive = vms.iter().enumerate().filter(|(_, record)| !record.failed);
        alive.map(|(vm, record)| vm_name(record.role.slot(), vm)).collect()
    }

    /// Streams with a name that wait for the filter, where nothing that began before `since` is still to come to it.
    pub(crate) fn stuck(&self, since: Duration) -> Vec<(String, usize)> {
        let core = self.core();
        let waiting = core.streams.iter().filter(|(_, stream)| stream.upstream_call.is_none());
        waiting
            .filter(|(_, stream)| !core.awaits_since(VmSlot::Worker(stream.worker), since))
            .filter_map(|(id, stream)| Some((core.stream_names.get(&id.0)?.clone(), stream.worker)))
            .collect()
    }

    /// Calls of filters that nothing will ever end: the thread and the cluster.
    pub(crate) fn leaked_calls(&self) -> Vec<(String, String)> {
        let core = self.core();
        let endless = core.calls.iter().filter(|(_, call)| call.is_endless());
        endless
            .filter_map(|(id, call)| match call.owner {
                Owner::HttpCall { vm, .. } => {
                    let seen = self.envoy.world().seen().iter().find(|seen| seen.call.id == *id)?;
                    Some((core.vms[vm].role.slot().to_string(), seen.call.cluster.clone()))
                }
                Owner::Router { .. } => None,
            })
            .collect()
    }

    /// Items that nobody will take any more: their consumer takes what it is notified of, has been notified, lives and has no timer.
    pub(crate) fn lost_items(&self) -> Vec<(String, String, usize)> {
        let core = self.core();
        let ticks = |vm: VmIndex| {
            core.events.iter().any(|(_, event)| matches!(event, Event::Tick { vm: of, .. } if *of == vm))
        };
        let waiting = core.queues.waiting().filter_map(|(token, consumer, count)| {
            let mut vms = core.vms.iter().enumerate();
            let is_consumer = |record: &VmRecord| {
                !record.failed && record.role.slot() == consumer.slot && record.key == consumer.key
            };
            let (vm, _) = vms.find(|(_, record)| is_consumer(record))?;
            (!ticks(vm))
                .then(|| (core.queues.name(token).unwrap_or_default(), consumer.slot.to_string(), count))
        });
        waiting.collect()
    }

    /// Shared data: each key with its `vm_id`, and the value.
    pub(crate) fn shared_data(&self) -> BTreeMap<(String, Vec<u8>), Bytes> {
        let each = self.core().data.iter();
        each.map(|(vm_id, key, value, _)| ((vm_id.to_owned(), key.to_vec()), value.clone())).collect()
    }

    /// Sizes of what must not grow for ever, in the order of [`Run::size_names`].
    pub(crate) fn sizes(&self) -> Vec<u64> {
        let core = self.core();
        let data: usize = core.data.iter().map(|(_, key, value, _)| key.len() + value.len()).sum();
        let items: usize = core.queues.iter().map(|(_, _, items)| items.len()).sum();
        // What will end by itself grows only until the first of them ends.
        let calls = core.calls.values().filter(|call| call.is_endless()).count();
        let streams = core.streams.values().filter(|stream| stream.upstream_call.is_none());
        let streams = streams.filter(|stream| !core.awaits_since(VmSlot::Worker(stream.worker), core.now()));
        let mut sizes = vec![data, items, calls, streams.count()];
        sizes.extend(self.envoy.proxy().memory_bytes());
        sizes.into_iter().map(|size| u64::try_from(size).unwrap_or(u64::MAX)).collect()
    }

    /// What the sizes are of.
    pub(crate) fn size_names(&self) -> Vec<String> {
        let shared = ["shared data bytes", "queued items", "calls without an end", "streams that wait"];
        let memories = self.core().vms.iter().enumerate();
        let memories =
            memories.map(|(vm, record)| format!("{} memory bytes", vm_name(record.role.slot(), vm)));
        shared.into_iter().map(str::to_owned).chain(memories).collect()
    }

    /// The turn that keeps the run going, for people.
    pub(crate) fn busy(&self) -> String {
        let core = self.core();
        let next = core.candidates().first().map(|candidate| core.turn_name(candidate.turn).to_string());
        next.unwrap_or_else(|| "nobody".to_owned())
    }

    /// Ends the run. Nobody decides any more; the Envoy can be asked like any other until the next run.
    pub(crate) fn end(mut self) -> (Option<Exploration>, Vec<Step>) {
        self.held.clear();
        let core = self.core_mut();
        let steps = core.recorder.take().map(|recorder| recorder.steps).unwrap_or_default();
        (core.exploration.take(), steps)
    }
}

/// Asks the scheduler what comes next, if there is a choice.
fn choose(core: &mut Core) -> Option<Candidate> {
    let candidates = core.candidates();
    match candidates.as_slice() {
        [] => None,
        [only] => Some(*only),
        several => {
            core.tell_fingerprint();
            core.exploration.as_mut()?.steps += 1;
            let chosen = core.ask(|scheduler, names| scheduler.next(names, several))?;
            several.get(chosen).copied()
        }
    }
}
