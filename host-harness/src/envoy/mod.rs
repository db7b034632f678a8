//! Envoy as a filter sees it: VMs on threads, shared data and queues, timers, HTTP streams and HTTP calls.
//!
//! One thread runs everything, one event at a time, in an order that depends on nothing but the options, the module and
//! the world; with a scripted world a run is therefore the same every time. Semantics are those of Envoy 1.40 with V8.
//!
//! ```no_run
//! use host_harness::{abi::{Module, Runtime}, envoy::{Envoy, EnvoyOptions, Request}, world::Scripted};
//!
//! # fn main() -> anyhow::Result<()> {
//! let module = Module::load(&Runtime::new()?, host_harness::FILTER_MODULE)?;
//! let mut envoy = Envoy::start(&module, EnvoyOptions::default(), Scripted::new())?;
//! let exchange = envoy.exchange(0, Request::get("/"));
//! println!("{} {}", exchange.status, exchange.text());
//! # Ok(())
//! # }
//! ```

mod core;
mod delivery;
mod events;
mod exchange;
pub(crate) mod explore;
mod filter_chain;
mod fingerprint;
mod grpc;
mod grpc_service;
mod headers;
mod history;
mod hostcalls;
mod lifecycle;
mod log;
mod metrics;
mod options;
mod properties;
mod proxy;
mod random;
mod record;
mod reply;
mod retry;
pub(crate) mod schedule;
mod shared_data;
mod shared_queue;
mod stream;
mod stream_life;
mod turn;
mod upstream;
pub(crate) mod vms;
pub(crate) mod xds;

use std::{
    any::Any,
    collections::BTreeMap,
    marker::PhantomData,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;

use self::{
    delivery::Job,
    proxy::Proxy,
    turn::{ProxySlot, Turn},
    xds::Update,
};
use crate::{abi::Module, world::World};

pub use exchange::{AnsweredBy, Exchange, Protocol, Request, StreamId, UpstreamRequest};
pub use log::{LogLine, LogSource};
pub use metrics::Histogram;
pub use options::{
    EnvoyOptions, FailurePolicy, ForeignFunction, LoadFailure, PluginKind, PluginOptions, StartError,
};
pub use vms::{RootView, VmRole, VmState, VmView};

/// A running Envoy with its plugins, in a world.
pub struct Envoy<W: World> {
    /// Lent while a turn runs.
    proxy: Option<Box<Proxy>>,
    slot: ProxySlot,
    world: PhantomData<W>,
}

// === impl Envoy ===

impl<W: World> Envoy<W> {
    /// Starts: the canary, the main VM, and one VM for each worker.
    ///
    /// Errors: the canary did not come up, with which real Envoy exits. A VM that does not come up later is
    /// [`VmState::Absent`], and its requests pass the plugin by, as they do in real Envoy.
    pub fn start(module: &Module, options: EnvoyOptions, world: W) -> Result<Envoy<W>, StartError> {
        let (slot, started) = (ProxySlot::default(), Arc::new(OnceLock::new()));
        let mut turn = Turn::new(Box::new(Proxy::new(module, options, Box::new(world))), slot.clone());
        let result = Arc::clone(&started);
        let boot = Box::pin(async move {
            // Nothing else reads the cell before the turn is over.
            let _ = result.set(turn.boot().await);
            turn
        });
        let (proxy, _) = Turn::poll(boot, &slot);
        match Arc::into_inner(started).and_then(OnceLock::into_inner) {
            Some(Err(error)) => Err(error),
            _ => Ok(Envoy { proxy: Some(proxy), slot, world: PhantomData }),
        }
    }

    /// Time since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.proxy().core().now()
    }

    /// Runs the next event (a tick, an answer, a notice) that is due at or before `limit`, waiting for it if need be.
    ///
    /// False when there is none; the clock then stands at `limit`, unless nothing at all is to come.
    pub fn step(&mut self, limit: Duration) -> bool {
        let core = self.proxy_mut().core_mut();
        let next_at = core.events.next_at();
        if next_at.is_none() && !core.world.is_pending() {
            return false;
        }
        let until = next_at.unwrap_or(limit).min(limit);
        if let Some((call, outcome)) = core.world.wait(until) {
            self.perform(Job::Answer(call, outcome));
            return true;
        }
        let now = core.now().max(until).min(limit);
        match core.events.take_due(now) {
            Some(event) => {
                self.perform(Job::Event(event));
                true
            }
            None => false,
        }
    }

    /// Runs events until `done` holds or the clock stands at `limit`; whether `done` holds.
    ///
    /// With `Duration::MAX`, which is no time, until nothing is to come any more.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Envoy<W>) -> bool) -> bool {
        while !done(self) {
            if !self.step(limit) {
                self.wait(limit);
                return done(self);
            }
        }
        true
    }

    /// Runs events for a span of time.
    ///
    /// A guest that never stops to make events for this same moment (a queue's consumer that puts every item back)
    /// keeps this from returning, as it takes a whole worker in real Envoy; [`Envoy::step`] returns after each event.
    pub fn run_for(&mut self, span: Duration) {
        let limit = self.now().saturating_add(span);
        while self.step(limit) {}
        self.wait(limit);
    }

    /// Runs one whole stream on a worker, and every other event that is due while it is paused.
    ///
    /// A stream that nothing can end any more (its time limit is off) ends as if the client had left.
    pub fn exchange(&mut self, worker: usize, request: Request) -> Exchange {
        let id = self.begin(worker, request);
        loop {
            if let Some(exchange) = self.take(id) {
                return exchange;
            }
            if !self.step(Duration::MAX) {
                self.leave(id);
            }
        }
    }

    /// Begins a stream on a worker and leaves it where it pauses.
    ///
    /// Panics: there is no such worker.
    pub fn begin(&mut self, worker: usize, request: Request) -> StreamId {
        assert!(worker < self.proxy().workers.len(), "there is no worker {worker}");
        let id = self.proxy_mut().core_mut().next_stream();
        self.perform(Job::Begin { worker, id, request });
        id
    }

    /// The client of a stream goes away; nothing happens to a stream that has ended.
    pub fn leave(&mut self, id: StreamId) {
        self.perform(Job::Leave(id));
    }

    /// Takes a stream that has ended; `None` while it has not, and after it was taken.
    pub fn take(&mut self, id: StreamId) -> Option<Exchange> {
        self.proxy_mut().finished.remove(&id)
    }

    /// The control plane gives the plugin of this name another configuration. One that was taken away comes back, at its
    /// old place in the chain.
    ///
    /// The main thread takes it here; each worker does so in a turn of its own, which is due now and happens with the next
    /// events that run. The same configuration again changes nothing.
    /// Errors: its canary refused it, and everything stays as it was; Envoy would have rejected the update.
    /// Panics: there never was such a plugin.
    pub fn update_plugin(
        &mut self,
        name: &str,
        configuration: impl Into<Vec<u8>>,
    ) -> Result<(), LoadFailure> {
        self.update(Update { plugin: name.to_owned(), configuration: Some(configuration.into()) })
    }

    /// The control plane takes the plugin of this name away, with the listener that it was on: streams that go through it
    /// are cut, and it ends on every thread, with the next events that run.
    ///
    /// Panics: there never was such a plugin.
    pub fn remove_plugin(&mut self, name: &str) {
        // Nothing is tried, so nothing can be refused.
        let _ = self.update(Update { plugin: name.to_owned(), configuration: None });
    }

    fn update(&mut self, update: Update) -> Result<(), LoadFailure> {
        let known = self.proxy().core().plugins.iter().any(|plugin| plugin.options.name == update.plugin);
        assert!(known, "there never was a plugin `{}`", update.plugin);
        self.perform(Job::Update(update));
        self.proxy_mut().refused.take().map_or(Ok(()), Err)
    }

    /// Tells every root context that the process ends (`proxy_on_done`, `proxy_on_delete`).
    ///
    /// HTTP calls that are made now succeed and are never sent, as in real Envoy.
    pub fn shut_down(&mut self) {
        self.perform(Job::ShutDown);
    }

    /// Everything that was logged at or above the log level, in order.
    #[must_use]
    pub fn logs(&self) -> &[LogLine] {
        &self.proxy().core().logs
    }

    /// A counter's or gauge's value over all VMs, by the name that the guest gave it.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<u64> {
        self.proxy().core().metrics.by_name(name)
    }

    /// Every counter and gauge by name, with Envoy's own `wasm.<plugin>.vm_reload_*`.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        self.proxy().core().metrics.all()
    }

    /// What was recorded in a histogram.
    #[must_use]
    pub fn histogram(&self, name: &str) -> Option<Histogram> {
        self.proxy().core().metrics.histogram(name)
    }

    /// A shared value of the first plugin's `vm_id`, with its CAS number.
    #[must_use]
    pub fn shared_data(&self, key: &str) -> Option<(Bytes, u32)> {
        let core = self.proxy().core();
        core.data.get(&core.plugins.first()?.options.vm_id, key.as_bytes()).ok()
    }

    /// The main thread's VM and then each worker's.
    #[must_use]
    pub fn vms(&self) -> Vec<VmView> {
        self.proxy().views()
    }

    /// Filter state of a stream that has not ended, by its whole key (with the prefix `wasm.`).
    #[must_use]
    pub fn filter_state(&self, id: StreamId, key: &str) -> Option<&[u8]> {
        self.proxy().core().streams.get(&id)?.filter_state.get(key).map(Vec::as_slice)
    }

    /// The world outside.
    #[must_use]
    pub fn world(&self) -> &W {
        let world: &dyn Any = &*self.proxy().core().world;
        world.downcast_ref().expect("the world is the one that this Envoy was started in")
    }

    /// The world outside, to change it.
    pub fn world_mut(&mut self) -> &mut W {
        let world: &mut dyn Any = &mut *self.proxy_mut().core_mut().world;
        world.downcast_mut().expect("the world is the one that this Envoy was started in")
    }

    fn proxy(&self) -> &Proxy {
        self.proxy.as_deref().expect("the proxy is back whenever no turn runs")
    }

    fn proxy_mut(&mut self) -> &mut Proxy {
        self.proxy.as_deref_mut().expect("the proxy is back whenever no turn runs")
    }

    /// Runs a turn to its end; nothing holds it.
    fn perform(&mut self, job: Job) {
        if let Some(proxy) = self.proxy.take() {
            let task = Turn::new(proxy, self.slot.clone()).doing(job);
            let (proxy, _) = Turn::poll(task, &self.slot);
            self.proxy = Some(proxy);
        }
    }

    /// Moves the clock on to a limit that is a time.
    fn wait(&mut self, limit: Duration) {
        if limit == Duration::MAX {
            return;
        }
        while let Some((call, outcome)) = self.proxy_mut().core_mut().world.wait(limit) {
            self.perform(Job::Answer(call, outcome));
        }
    }
}
