//! How plugins come up on each thread, fail, come up again, and end; and the VMs that they live in.
//!
//! Source: proxy-wasm-cpp-host `src/wasm.cc` (`createWasm`, `getOrCreateThreadLocalPlugin`, `startShutdown`) and Envoy
//! `source/extensions/common/wasm/wasm.cc` (`PluginConfig`). The order of all that happens at the start is Envoy's: a
//! plugin is tried and comes up on the main thread before the next one is tried, and only then come the workers.

use std::sync::Arc;

use super::{
    core::PluginIndex,
    log::LogSource,
    options::{FailurePolicy, LoadFailure, PluginKind, StartError},
    proxy::{Handle, Thread},
    stream::Filter,
    turn::{Called, Route, Turn},
    vms::{KeyIndex, VmRecord, VmRole, VmSlot},
};
use crate::abi::{Callback, Trap, VmIndex};

impl Turn {
    /// Brings every plugin up on every thread where it belongs.
    ///
    /// Errors: a plugin did not come up in its canary.
    pub(super) async fn boot(&mut self) -> Result<(), StartError> {
        let mut plugins = Vec::new();
        for options in self.core().options.all_plugins() {
            let plugin = self.core_mut().add_plugin(options);
            if let Err(reason) = self.try_out(plugin).await {
                let logs = std::mem::take(&mut self.core_mut().logs);
                return Err(StartError { role: VmRole::Canary, reason, logs });
            }
            self.bring_up(VmSlot::Main, plugin).await;
            plugins.push(plugin);
        }
        plugins.retain(|plugin| self.kind(*plugin) != PluginKind::SingletonService);
        for worker in 0..self.workers.len() {
            for plugin in &plugins {
                self.bring_up(VmSlot::Worker(worker), *plugin).await;
            }
        }
        Ok(())
    }

    /// The filters that a new stream of a worker goes through. It may make VMs again, if the policy says so and it is
    /// time.
    pub(super) async fn filters(&mut self, worker: usize) -> Vec<Filter> {
        let mut filters = Vec::new();
        for plugin in self.workers[worker].chain.clone() {
            let (vm, root_id) = match self.route(worker, plugin).await {
                Route::Plugin { vm, root_id } => (Some(vm), root_id),
                Route::Fail => (None, 0),
                Route::Bypass => continue,
            };
            let plugin = Arc::clone(&self.core().plugins[plugin].options);
            filters.push(Filter { plugin, vm, root_id, context_id: None, failed: false });
        }
        filters
    }

    async fn route(&mut self, worker: usize, plugin: PluginIndex) -> Route {
        let Some(handle) = self.workers[worker].handles.get(&plugin).copied() else {
            return Route::Bypass;
        };
        if !self.core().vms[handle.vm].failed {
            return Route::Plugin { vm: handle.vm, root_id: handle.root_id };
        }
        match self.core().plugins[plugin].options.failure_policy {
            FailurePolicy::FailOpen => Route::Bypass,
            FailurePolicy::FailClosed => Route::Fail,
            FailurePolicy::FailReload => self.reload(worker, plugin, handle).await,
        }
    }

    /// Tells every root context that the process ends; calls that it makes now are never sent.
    ///
    /// Workers end before the main thread, root contexts in the order against that of their making, singletons last.
    pub(super) async fn shut_down(&mut self) {
        self.core_mut().stopping = true;
        let slots = (0..self.workers.len()).map(VmSlot::Worker).chain([VmSlot::Main]);
        for slot in slots.collect::<Vec<_>>() {
            let vms: Vec<VmIndex> = self.thread(slot).vms.values().copied().collect();
            for vm in vms {
                let roots = &self.core().vms[vm].roots;
                let mut ids: Vec<(bool, u32)> = roots
                    .iter()
                    .rev()
                    .map(|(id, root)| (root.plugin.kind == PluginKind::SingletonService, *id))
                    .collect();
                ids.sort_by_key(|(singleton, _)| *singleton);
                for (_, root_id) in ids {
                    self.end_root(vm, root_id).await;
                }
            }
        }
    }

    fn kind(&self, plugin: PluginIndex) -> PluginKind {
        self.core().plugins[plugin].options.kind
    }

    /// Tries a plugin in a VM that is then thrown away, unless one that differs in nothing was tried before.
    pub(super) async fn try_out(&mut self, plugin: PluginIndex) -> Result<(), LoadFailure> {
        let identity = self.core().identity(plugin);
        let key = identity.0;
        let known = self.core().tried.get(&identity).cloned();
        let tried = match known {
            Some(tried) => tried,
            None => {
                let canary = self.make(VmRole::Canary, key)?;
                let configured = self.configure(canary, plugin).await;
                self.throw_away(canary);
                configured.map(|_| ())
            }
        };
        self.core_mut().tried.insert(identity, tried.clone());
        match tried {
            Ok(()) if self.core().spoiled.contains(&key) => Err(LoadFailure::Spoiled),
            tried => tried,
        }
    }

    /// Brings a plugin up on a thread; otherwise it is absent there, which Envoy only logs.
    pub(super) async fn bring_up(&mut self, slot: VmSlot, plugin: PluginIndex) {
        let kind = self.kind(plugin);
        let thread = self.thread_mut(slot);
        let list = if kind == PluginKind::Filter { &mut thread.chain } else { &mut thread.services };
        list.push(plugin);
        let loaded = self.load(slot, plugin).await;
        self.settle_in(slot, plugin, loaded);
    }

    /// Keeps what came of a plugin on a thread.
    pub(super) fn settle_in(
        &mut self,
        slot: VmSlot,
        plugin: PluginIndex,
        loaded: Result<Handle, LoadFailure>,
    ) {
        match loaded {
            Ok(handle) => {
                self.thread_mut(slot).handles.insert(plugin, handle);
            }
            Err(failure) => {
                let message = format!("the plugin is absent on this thread: {failure}");
                self.core_mut().log(slot.role(), LogSource::Host, log::Level::Error, &message);
            }
        }
    }

    /// Configures a plugin in its VM of a thread, which is made if there is none that can be called.
    pub(super) async fn load(&mut self, slot: VmSlot, plugin: PluginIndex) -> Result<Handle, LoadFailure> {
        let loaded_at = self.core().now();
        if let Some(twin) = self.twin(slot, plugin) {
            return Ok(Handle { loaded_at, ..twin });
        }
        let key = self.core().plugins[plugin].key;
        let present = self.thread(slot).vms.get(&key).copied();
        let vm = match present.filter(|vm| !self.core().vms[*vm].failed) {
            Some(vm) => vm,
            None => {
                *self.thread_mut(slot).loads.entry(key).or_default() += 1;
                let vm = self.make(slot.role(), key)?;
                self.thread_mut(slot).vms.insert(key, vm);
                vm
            }
        };
        match self.configure(vm, plugin).await {
            Ok(root_id) => Ok(Handle { vm, root_id, loaded_at }),
            Err(failure) => {
                self.core_mut().spoiled.insert(key);
                // A VM that a plugin came up in before keeps what is left of this one.
                if !self.thread(slot).uses(vm) {
                    self.end_vm(vm).await;
                    let vms = &mut self.thread_mut(slot).vms;
                    match present {
                        Some(before) => vms.insert(key, before),
                        None => vms.remove(&key),
                    };
                }
                Err(failure)
            }
        }
    }

    /// A plugin that came up on the thread already and is in nothing different.
    fn twin(&self, slot: VmSlot, plugin: PluginIndex) -> Option<Handle> {
        let core = self.core();
        let identity = core.identity(plugin);
        let handles = self.thread(slot).handles.iter();
        let mut alive = handles.filter(|(_, handle)| !core.vms[handle.vm].failed);
        alive.find(|(other, _)| core.identity(**other) == identity).map(|(_, handle)| *handle)
    }

    /// Makes a VM without plugins.
    fn make(&mut self, role: VmRole, key: KeyIndex) -> Result<VmIndex, LoadFailure> {
        let vm = self.guests.len();
        let core = self.core_mut();
        let seed = core.options.seed;
        core.vms.push(VmRecord::new(role, key, seed, vm));
        self.instantiate(vm).map_err(|trap| {
            self.guests.resize_with(vm + 1, || None);
            self.throw_away(vm);
            LoadFailure::Trap(trap)
        })?;
        Ok(vm)
    }

    /// Makes a plugin's root context in a VM and configures it.
    async fn configure(&mut self, vm: VmIndex, plugin: PluginIndex) -> Result<u32, LoadFailure> {
        let (number, plugin) = (plugin, Arc::clone(&self.core().plugins[plugin].options));
        let sizes = [plugin.vm_configuration.len(), plugin.configuration.len()];
        let [vm_size, plugin_size] = sizes.map(|size| u32::try_from(size).unwrap_or(u32::MAX));
        let root_id = self.core_mut().vms[vm].add_root(number, plugin);
        self.must(vm, Callback::ContextCreate { context_id: root_id, parent_id: 0 }, false).await?;
        self.must(vm, Callback::VmStart { root_id, configuration_size: vm_size }, true).await?;
        self.set_configuring(vm, root_id, true);
        let configured =
            self.must(vm, Callback::Configure { root_id, configuration_size: plugin_size }, true).await;
        self.set_configuring(vm, root_id, false);
        configured.map(|()| root_id)
    }

    fn set_configuring(&mut self, vm: VmIndex, root_id: u32, configuring: bool) {
        if let Some(root) = self.core_mut().vms[vm].roots.get_mut(&root_id) {
            root.configuring = configuring;
        }
    }

    /// Makes a callback that must not trap and, if it checks, must say yes.
    async fn must(&mut self, vm: VmIndex, callback: Callback, checks: bool) -> Result<(), LoadFailure> {
        match self.enter_root(vm, callback).await {
            Called::Returned { value: 0, .. } if checks => {
                Err(LoadFailure::Refused { callback: callback.export() })
            }
            Called::Returned { .. } | Called::NotExported => Ok(()),
            Called::Failed => {
                let trap = self.core().vms[vm].trap.clone();
                Err(trap.unwrap_or_else(|| Trap::not_called(callback.export())).into())
            }
        }
    }

    /// Brings a plugin up again whose VM has failed, if it is time.
    async fn reload(&mut self, worker: usize, plugin: PluginIndex, failed: Handle) -> Route {
        let now = self.core().now();
        let backoff = self.core_mut().draw_backoff(plugin);
        if now < failed.loaded_at.saturating_add(backoff) {
            self.count(plugin, "vm_reload_backoff");
            return Route::Fail;
        }
        let loaded = self.load(VmSlot::Worker(worker), plugin).await;
        let (handle, stat) = match &loaded {
            Ok(handle) => (*handle, "vm_reload_success"),
            Err(_) => (Handle { loaded_at: now, ..failed }, "vm_reload_failure"),
        };
        self.count(plugin, stat);
        self.workers[worker].handles.insert(plugin, handle);
        match loaded {
            Ok(Handle { vm, root_id, .. }) => {
                if !self.workers[worker].uses(failed.vm) {
                    self.throw_away(failed.vm);
                }
                Route::Plugin { vm, root_id }
            }
            Err(failure) => {
                let message = format!("the VM could not be made again: {failure}");
                self.core_mut().log(VmRole::Worker(worker), LogSource::Host, log::Level::Error, &message);
                Route::Fail
            }
        }
    }

    /// Ends a VM with every root context that is left in it and was not notified yet.
    pub(super) async fn end_vm(&mut self, vm: VmIndex) {
        let record = &self.core().vms[vm];
        let left = record.roots.iter().filter(|(_, root)| !root.awaiting_done && !record.failed);
        for root_id in left.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_root(vm, root_id).await;
        }
        self.throw_away(vm);
    }

    /// Tells a root context that it ends. One that is not done yet says so later, by `proxy_done`.
    pub(super) async fn end_root(&mut self, vm: VmIndex, root_id: u32) {
        let called = self.enter(vm, Callback::Done { context_id: root_id }).await;
        let waits = matches!(called, Called::Returned { value: 0, .. });
        if let Some(root) = self.core_mut().vms[vm].roots.get_mut(&root_id) {
            root.awaiting_done = waits;
        }
        self.after_call(vm).await;
        let root = self.core().vms[vm].roots.get(&root_id);
        if root.is_some_and(|root| !root.awaiting_done) {
            self.delete_root(vm, root_id).await;
        }
    }

    pub(super) async fn delete_root(&mut self, vm: VmIndex, root_id: u32) {
        self.enter_root(vm, Callback::Delete { context_id: root_id }).await;
        let core = self.core_mut();
        core.silence_root(vm, root_id);
        core.vms[vm].contexts.remove(&root_id);
        core.vms[vm].roots.remove(&root_id);
    }
}

// === impl Thread ===

impl Thread {
    /// Whether there are plugins that only old streams see.
    pub(super) fn has_leftovers(&self) -> bool {
        let wanted = |plugin: &PluginIndex| self.chain.contains(plugin) || self.services.contains(plugin);
        !self.handles.keys().all(wanted)
    }

    /// Whether a plugin that came up here lives in this VM.
    pub(super) fn uses(&self, vm: VmIndex) -> bool {
        self.handles.values().any(|handle| handle.vm == vm)
    }
}
