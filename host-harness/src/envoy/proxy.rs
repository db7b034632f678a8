//! The guests and the core together: how a callback is made, and how VMs live, fail and are made again.
//!
//! Nothing here depends on which world is outside, so it is compiled once and not for each.

use std::{any::Any, collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::{
    core::{Core, Owner},
    events::Event,
    exchange::{Exchange, StreamId},
    log::LogSource,
    options::{EnvoyOptions, FailurePolicy, LoadFailure, StartError},
    shared_queue::Consumer,
    upstream,
    vms::{AfterCall, CallResponse, ROOT, VmRecord, VmRole, VmSlot, VmState, VmView},
};
use crate::{
    abi::{Callback, HostSlot, Module, Trap, Vm, VmIndex},
    world::{CallId, Outcome, World},
};

/// Every VM that was ever made, and what they share.
pub(super) struct Proxy {
    module: Module,
    /// In the slot while a guest runs.
    core: Option<Box<Core>>,
    slot: HostSlot,
    /// By number; `None` once a VM is thrown away.
    guests: Vec<Option<Vm>>,
    main: Thread,
    workers: Vec<Thread>,
    pub(super) finished: BTreeMap<StreamId, Exchange>,
}

/// What came of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Called {
    /// The guest does not export it.
    NotExported,
    /// It returned this; `stop` when a local response overrides it.
    Returned { value: u32, stop: bool },
    /// The VM failed in it, or had failed before.
    Failed,
}

/// Where a request goes on a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Plugin(VmIndex),
    Bypass,
    Fail(VmIndex),
}

/// One thread with its VM.
#[derive(Debug, Clone, Copy, Default)]
struct Thread {
    vm: Option<VmIndex>,
    loads: u32,
    loaded_at: Duration,
}

// === impl Proxy ===

impl Proxy {
    /// Makes the canary and throws it away, then the main VM, then one VM for each worker.
    pub(super) fn start(
        module: &Module,
        options: EnvoyOptions,
        world: Box<dyn World>,
    ) -> Result<Proxy, StartError> {
        let concurrency = options.concurrency;
        let mut proxy = Proxy {
            module: module.clone(),
            core: Some(Box::new(Core::new(options, world))),
            slot: HostSlot::default(),
            guests: Vec::new(),
            main: Thread::default(),
            workers: vec![Thread::default(); concurrency],
            finished: BTreeMap::new(),
        };
        let role = VmRole::Canary;
        match proxy.load(role) {
            Ok(canary) => proxy.throw_away(canary),
            Err(reason) => {
                let logs = std::mem::take(&mut proxy.core_mut().logs);
                return Err(StartError { role, reason, logs });
            }
        }
        proxy.load_thread(VmSlot::Main);
        for worker in 0..concurrency {
            proxy.load_thread(VmSlot::Worker(worker));
        }
        Ok(proxy)
    }

    pub(super) fn core(&self) -> &Core {
        self.core.as_deref().expect("the core is back whenever no guest runs")
    }

    pub(super) fn core_mut(&mut self) -> &mut Core {
        self.core.as_deref_mut().expect("the core is back whenever no guest runs")
    }

    /// Calls a guest. What the callback asked for is left in the VM's record, for [`Proxy::after_call`].
    pub(super) fn enter(&mut self, vm: VmIndex, callback: Callback) -> Called {
        let Some(guest) = self.guests[vm].as_mut() else {
            return Called::Failed;
        };
        let core = self.core.as_deref_mut().expect("the core is back whenever no guest runs");
        let record = &mut core.vms[vm];
        if record.failed {
            return Called::Failed;
        }
        if !guest.exports(&callback) {
            return Called::NotExported;
        }
        record.current = callback.context_id();
        record.effective = 0;
        *record.callbacks.entry(callback.export()).or_default() += 1;
        lend(&mut self.core, &self.slot);
        let returned = guest.call(callback);
        take_back(&mut self.core, &self.slot);
        let record = &mut self.core_mut().vms[vm];
        record.current = 0;
        record.effective = 0;
        let stop = std::mem::take(&mut record.stop_iteration);
        match returned {
            Ok(value) => Called::Returned { value: value.unwrap_or(0), stop },
            Err(trap) => {
                self.fail(vm, trap);
                Called::Failed
            }
        }
    }

    /// Does what the last callback of a VM asked for, in order. It may lead to other callbacks.
    pub(super) fn after_call(&mut self, vm: VmIndex) {
        while let Some(action) = self.core_mut().vms[vm].after_call.pop_front() {
            match action {
                AfterCall::LocalResponse { stream, response } => self.guest_reply(vm, stream, response),
                AfterCall::Continue { stream, direction } => self.resume(stream, direction),
                AfterCall::Close { stream } => self.close(stream),
                AfterCall::DeleteRoot => self.delete_root(vm),
            }
        }
    }

    /// Calls a guest about a root context and does what it asked for.
    pub(super) fn enter_root(&mut self, vm: VmIndex, callback: Callback) -> Called {
        let called = self.enter(vm, callback);
        self.after_call(vm);
        called
    }

    /// Which VM sees a new request on this worker. It may make a VM again, if the policy says so and it is time.
    pub(super) fn route(&mut self, worker: usize) -> Route {
        let Some(vm) = self.workers[worker].vm else {
            return Route::Bypass;
        };
        if !self.core().vms[vm].failed {
            return Route::Plugin(vm);
        }
        match self.core().options.plugin.failure_policy {
            FailurePolicy::FailOpen => Route::Bypass,
            FailurePolicy::FailClosed => Route::Fail(vm),
            FailurePolicy::FailReload => self.reload(worker, vm),
        }
    }

    /// Runs an event that is due.
    pub(super) fn run(&mut self, event: Event) {
        match event {
            Event::Tick { vm } => self.tick(vm),
            Event::Answer { call, outcome } => self.answer(call, outcome),
            Event::CallTimeout { call } => self.time_out(call),
            Event::QueueReady { consumer, token } => self.queue_ready(consumer, token),
            Event::NextPart { stream } => self.feed(stream),
            Event::StreamIdle { stream } => self.idle(stream),
        }
    }

    /// Hands the outcome of a call to whoever made it.
    pub(super) fn answer(&mut self, call: CallId, outcome: Outcome) {
        let Some(in_flight) = self.core_mut().complete(call) else {
            return;
        };
        let took = self.core().now().saturating_sub(in_flight.sent_at);
        match in_flight.owner {
            Owner::Router { stream } => self.upstream_answer(stream, outcome, took),
            Owner::HttpCall { vm, token } => {
                let limit = self.core().options.call_response_limit_bytes;
                self.call_answer(vm, token, upstream::call_response(outcome, took, limit));
            }
        }
    }

    /// Tells every root context that the process ends; calls that it makes now are never sent.
    pub(super) fn shut_down(&mut self) {
        self.core_mut().stopping = true;
        for vm in self.threads().filter_map(|(_, thread)| thread.vm).collect::<Vec<_>>() {
            let called = self.enter(vm, Callback::Done { context_id: ROOT });
            self.core_mut().vms[vm].awaiting_done = matches!(called, Called::Returned { value: 0, .. });
            self.after_call(vm);
            let record = &self.core().vms[vm];
            if !record.awaiting_done && record.contexts.contains_key(&ROOT) {
                self.delete_root(vm);
            }
        }
    }

    pub(super) fn views(&self) -> Vec<VmView> {
        self.threads().map(|(role, thread)| self.view(role, thread)).collect()
    }

    fn view(&self, role: VmRole, thread: Thread) -> VmView {
        let record = thread.vm.map(|vm| &self.core().vms[vm]);
        VmView {
            role,
            state: match record {
                None => VmState::Absent,
                Some(record) if record.failed => VmState::Failed,
                Some(_) => VmState::Running,
            },
            loads: thread.loads,
            callbacks: record.map(|record| record.callbacks.clone()).unwrap_or_default(),
            memory_bytes: thread.vm.and_then(|vm| self.guests[vm].as_ref()).map_or(0, Vm::memory_bytes),
            tick_period: record.and_then(|record| record.tick_period),
        }
    }

    fn threads(&self) -> impl Iterator<Item = (VmRole, Thread)> + '_ {
        let workers =
            self.workers.iter().enumerate().map(|(number, thread)| (VmRole::Worker(number), *thread));
        std::iter::once((VmRole::Main, self.main)).chain(workers)
    }

    fn thread_mut(&mut self, slot: VmSlot) -> &mut Thread {
        match slot {
            VmSlot::Main => &mut self.main,
            VmSlot::Worker(worker) => &mut self.workers[worker],
        }
    }

    /// Makes a thread's VM; without one, the plugin is absent there, which Envoy only logs.
    fn load_thread(&mut self, slot: VmSlot) {
        let role = match slot {
            VmSlot::Main => VmRole::Main,
            VmSlot::Worker(worker) => VmRole::Worker(worker),
        };
        let loaded = self.load(role);
        let now = self.core().now();
        let thread = self.thread_mut(slot);
        thread.loads += 1;
        thread.loaded_at = now;
        match loaded {
            Ok(vm) => thread.vm = Some(vm),
            Err(failure) => {
                let message = format!("the plugin is absent on this thread: {failure}");
                self.core_mut().log(role, LogSource::Host, log::Level::Error, &message);
            }
        }
    }

    /// Makes a VM and configures its plugin.
    fn load(&mut self, role: VmRole) -> Result<VmIndex, LoadFailure> {
        let vm = self.guests.len();
        let core = self.core_mut();
        let (seed, limits) = (core.options.seed, core.options.limits.clone());
        core.vms.push(VmRecord::new(role, seed, vm));
        lend(&mut self.core, &self.slot);
        let guest = Vm::new(&self.module, vm, self.slot.clone(), limits);
        take_back(&mut self.core, &self.slot);
        let configured = guest.map_err(LoadFailure::from).and_then(|guest| {
            self.guests.push(Some(guest));
            self.configure(vm)
        });
        if let Err(failure) = configured {
            self.guests.resize_with(vm + 1, || None);
            self.throw_away(vm);
            return Err(failure);
        }
        Ok(vm)
    }

    fn configure(&mut self, vm: VmIndex) -> Result<(), LoadFailure> {
        let plugin = &self.core().options.plugin;
        let sizes = [plugin.vm_configuration.len(), plugin.configuration.len()];
        let [vm_size, plugin_size] = sizes.map(|size| u32::try_from(size).unwrap_or(u32::MAX));
        self.must(vm, Callback::ContextCreate { context_id: ROOT, parent_id: 0 }, false)?;
        self.must(vm, Callback::VmStart { root_id: ROOT, configuration_size: vm_size }, true)?;
        self.core_mut().vms[vm].configuring = true;
        let configured =
            self.must(vm, Callback::Configure { root_id: ROOT, configuration_size: plugin_size }, true);
        self.core_mut().vms[vm].configuring = false;
        configured
    }

    /// Makes a callback that must not trap and, if it judges, must say yes.
    fn must(&mut self, vm: VmIndex, callback: Callback, judges: bool) -> Result<(), LoadFailure> {
        match self.enter_root(vm, callback) {
            Called::Returned { value: 0, .. } if judges => {
                Err(LoadFailure::Refused { callback: callback.export() })
            }
            Called::Returned { .. } | Called::NotExported => Ok(()),
            Called::Failed => {
                let trap = self.core().vms[vm].trap.clone();
                Err(trap.unwrap_or_else(|| Trap::not_called(callback.export())).into())
            }
        }
    }

    fn reload(&mut self, worker: usize, failed: VmIndex) -> Route {
        let (now, backoff) = (self.core().now(), self.core().options.plugin.reload_backoff);
        if now < self.workers[worker].loaded_at.saturating_add(backoff) {
            self.count("vm_reload_backoff");
            return Route::Fail(failed);
        }
        let loaded = self.load(VmRole::Worker(worker));
        let thread = &mut self.workers[worker];
        thread.loads += 1;
        thread.loaded_at = now;
        match loaded {
            Ok(vm) => {
                thread.vm = Some(vm);
                self.throw_away(failed);
                self.count("vm_reload_success");
                Route::Plugin(vm)
            }
            Err(failure) => {
                let message = format!("the VM could not be made again: {failure}");
                self.core_mut().log(VmRole::Worker(worker), LogSource::Host, log::Level::Error, &message);
                self.count("vm_reload_failure");
                Route::Fail(failed)
            }
        }
    }

    fn count(&mut self, stat: &str) {
        let name = format!("wasm.{}.{stat}", self.core().options.plugin.name);
        self.core_mut().metrics.count(&name);
    }

    fn fail(&mut self, vm: VmIndex, trap: Trap) {
        let core = self.core_mut();
        let role = core.vms[vm].role;
        core.silence(vm);
        core.log(role, LogSource::Host, log::Level::Error, &trap.to_string());
        core.vms[vm].failed = true;
        core.vms[vm].trap = Some(trap);
    }

    /// Ends a VM without telling it.
    fn throw_away(&mut self, vm: VmIndex) {
        self.guests[vm] = None;
        let core = self.core_mut();
        core.vms[vm].failed = true;
        core.silence(vm);
    }

    fn delete_root(&mut self, vm: VmIndex) {
        self.enter_root(vm, Callback::Delete { context_id: ROOT });
        let core = self.core_mut();
        core.vms[vm].contexts.remove(&ROOT);
        core.silence(vm);
    }

    fn tick(&mut self, vm: VmIndex) {
        self.core_mut().vms[vm].tick_event = None;
        match self.enter_root(vm, Callback::Tick { root_id: ROOT }) {
            // The period is the gap between two ticks: the timer is set again only now.
            Called::Returned { .. } => self.core_mut().arm_tick(vm),
            Called::NotExported | Called::Failed => {}
        }
    }

    fn queue_ready(&mut self, consumer: Consumer, token: u32) {
        let Some(vm) = self.thread_mut(consumer.slot).vm else {
            return;
        };
        if self.core().vms[vm].contexts.contains_key(&consumer.context_id) {
            self.enter_root(vm, Callback::QueueReady { root_id: consumer.context_id, token });
        }
    }

    fn time_out(&mut self, call: CallId) {
        let Some(in_flight) = self.core_mut().abandon(call) else {
            return;
        };
        match in_flight.owner {
            Owner::Router { stream } => self.upstream_timeout(stream),
            Owner::HttpCall { vm, token } => self.call_answer(vm, token, Some(upstream::timeout_response())),
        }
    }

    /// Tells a root context what came of its call; `None` is a reset.
    fn call_answer(&mut self, vm: VmIndex, token: u32, response: Option<CallResponse>) {
        let record = &mut self.core_mut().vms[vm];
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let (headers, body_size, trailers) = response.as_ref().map_or((0, 0, 0), |response| {
            (count(response.headers.len()), count(response.body.len()), count(response.trailers.len()))
        });
        if response.is_none() {
            record.status = upstream::RESET_STATUS;
        }
        record.call_response = response;
        self.enter(vm, Callback::HttpCallResponse { root_id: ROOT, token, headers, body_size, trailers });
        let record = &mut self.core_mut().vms[vm];
        record.call_response = None;
        record.status.1 = Bytes::new();
        self.after_call(vm);
    }
}

fn lend(core: &mut Option<Box<Core>>, slot: &HostSlot) {
    slot.lend(core.take().expect("the core is back whenever no guest runs"));
}

fn take_back(core: &mut Option<Box<Core>>, slot: &HostSlot) {
    let host: Box<dyn Any> = slot.take_back().expect("the host that was lent is still there");
    *core = Some(host.downcast().expect("the host that was lent is the core"));
}
