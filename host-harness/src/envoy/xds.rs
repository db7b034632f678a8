//! What the control plane changes while Envoy runs: a plugin's configuration, and plugins that go.
//!
//! A new configuration is tried on the main thread, which then takes it; every worker takes it in a turn of its own, as
//! Envoy posts it to each. New streams of a worker see the new root context from then on, and the old ones keep theirs.
//! Only when the last worker has taken the new one does each thread let the old one go, again in a turn of its own;
//! there it ends with its last stream. A plugin that is removed ends on the workers, with its streams, and then on the
//! main thread. With the last plugin of a `vm_id` goes what its VMs shared.

use std::sync::Arc;

use super::{
    core::{Core, PluginIndex},
    events::Event,
    exchange::StreamId,
    log::LogSource,
    options::{LoadFailure, PluginKind, PluginOptions},
    turn::Turn,
    vms::{KeyIndex, VmRole, VmSlot},
};
use crate::abi::VmIndex;

/// Response code details of a stream whose connection ends with its listener.
const CUT_OFF: &str = "downstream_local_disconnect(purging_socket_that_have_not_progressed_to_connections)";

/// What the control plane asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Update {
    /// Name of the plugin.
    pub(crate) plugin: String,
    /// Its new configuration; `None` takes it away.
    pub(crate) configuration: Option<Vec<u8>>,
}

/// A change that a thread makes in a turn of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// A worker takes one plugin in place of another.
    Take { old: PluginIndex, new: PluginIndex },
    /// A worker takes a plugin that it did not have.
    Add { plugin: PluginIndex },
    /// A thread lets go of a plugin that no new stream sees.
    LetGo { plugin: PluginIndex },
    /// A worker ends every stream that goes through a plugin, and the plugin.
    Remove { plugin: PluginIndex },
}

impl Change {
    /// Whether a thread loses a plugin by it, and gets none.
    pub(super) fn lets_go(self) -> bool {
        matches!(self, Change::LetGo { .. })
    }

    /// The plugin that it is about.
    pub(super) fn plugin(self) -> PluginIndex {
        match self {
            Change::Take { new: plugin, .. }
            | Change::Add { plugin }
            | Change::LetGo { plugin }
            | Change::Remove { plugin } => plugin,
        }
    }
}

/// What of a plugin decides whether it is another one: a configuration that was tried is not tried again.
///
/// Source: proxy-wasm-cpp-host `makePluginKey` and `WasmHandleBase::canary`.
pub(super) type Identity = (KeyIndex, String, String, Vec<u8>);

impl Core {
    pub(super) fn identity(&self, plugin: PluginIndex) -> Identity {
        let plugin = &self.plugins[plugin];
        let PluginOptions { name, root_id, configuration, .. } = &*plugin.options;
        (plugin.key, name.clone(), root_id.clone(), configuration.clone())
    }

    fn post_change(&mut self, slot: VmSlot, change: Change) {
        let now = self.now();
        self.events.post(now, Event::Configure { slot, change });
    }

    fn post_to_workers(&mut self, workers: usize, change: Change) {
        if workers > 0 {
            self.waited_for.insert(change, workers);
        }
        for worker in 0..workers {
            self.post_change(VmSlot::Worker(worker), change);
        }
    }

    /// Whether the worker that has made a change was the last one that had to.
    fn was_last(&mut self, change: Change) -> bool {
        let left = self.waited_for.get(&change).copied().unwrap_or(1).saturating_sub(1);
        if left == 0 {
            self.waited_for.remove(&change);
        } else {
            self.waited_for.insert(change, left);
        }
        left == 0
    }
}

impl Turn {
    /// Carries out what the control plane asks for, as far as the main thread is concerned.
    ///
    /// Errors: the new configuration was refused, and everything stays as it was.
    pub(super) async fn update(&mut self, update: &Update) -> Result<(), LoadFailure> {
        let updated = match (self.configured(&update.plugin), &update.configuration) {
            (Some(old), Some(configuration)) => self.replace(old, configuration).await,
            (None, Some(configuration)) => self.bring_back(&update.plugin, configuration).await,
            (Some(old), None) => {
                self.remove(old);
                Ok(())
            }
            (None, None) => Ok(()),
        };
        if let Err(failure) = &updated {
            let message = format!("the plugin `{}` keeps its configuration: {failure}", update.plugin);
            self.core_mut().log(VmRole::Main, LogSource::Host, log::Level::Error, &message);
        }
        updated
    }

    /// The plugin of a name that new streams see.
    pub(super) fn configured(&self, name: &str) -> Option<PluginIndex> {
        let plugins = self.main.chain.iter().chain(&self.main.services);
        plugins.copied().find(|plugin| self.core().plugins[*plugin].options.name == name)
    }

    async fn replace(&mut self, old: PluginIndex, configuration: &[u8]) -> Result<(), LoadFailure> {
        let before = Arc::clone(&self.core().plugins[old].options);
        if before.configuration == configuration {
            return Ok(());
        }
        let options = PluginOptions { configuration: configuration.to_vec(), ..(*before).clone() };
        let new = self.core_mut().add_plugin(options);
        self.try_out(new).await?;
        self.take(VmSlot::Main, old, new).await;
        let workers = if before.kind == PluginKind::SingletonService { 0 } else { self.workers.len() };
        let core = self.core_mut();
        if workers == 0 {
            core.post_change(VmSlot::Main, Change::LetGo { plugin: old });
            return Ok(());
        }
        core.post_to_workers(workers, Change::Take { old, new });
        Ok(())
    }

    /// Adds a plugin once more that was removed, at its old place.
    async fn bring_back(&mut self, name: &str, configuration: &[u8]) -> Result<(), LoadFailure> {
        let last = self.core().plugins.iter().rfind(|plugin| plugin.options.name == name);
        let Some(before) = last.map(|plugin| Arc::clone(&plugin.options)) else {
            return Ok(());
        };
        let options = PluginOptions { configuration: configuration.to_vec(), ..(*before).clone() };
        let plugin = self.core_mut().add_plugin(options);
        self.try_out(plugin).await?;
        self.add(VmSlot::Main, plugin).await;
        let workers = if before.kind == PluginKind::SingletonService { 0 } else { self.workers.len() };
        for worker in 0..workers {
            self.core_mut().post_change(VmSlot::Worker(worker), Change::Add { plugin });
        }
        Ok(())
    }

    async fn add(&mut self, slot: VmSlot, plugin: PluginIndex) {
        self.bring_up(slot, plugin).await;
        let core = self.core();
        let place = |plugin: &PluginIndex| {
            let name = &core.plugins[*plugin].options.name;
            core.plugins.iter().position(|other| other.options.name == *name)
        };
        let mut chain = self.thread(slot).chain.clone();
        chain.sort_by_key(place);
        self.thread_mut(slot).chain = chain;
    }

    fn remove(&mut self, plugin: PluginIndex) {
        let singleton = self.core().plugins[plugin].options.kind == PluginKind::SingletonService;
        let workers = if singleton { 0 } else { self.workers.len() };
        self.forget(VmSlot::Main, plugin);
        let core = self.core_mut();
        core.post_to_workers(workers, Change::Remove { plugin });
        if workers == 0 {
            core.post_change(VmSlot::Main, Change::LetGo { plugin });
        }
    }

    /// Makes a thread's part of a change.
    pub(super) async fn change(&mut self, slot: VmSlot, change: Change) {
        match change {
            Change::Take { old, new } => {
                self.take(slot, old, new).await;
                let workers = self.workers.len();
                let core = self.core_mut();
                if core.was_last(change) {
                    for slot in (0..workers).map(VmSlot::Worker).chain([VmSlot::Main]) {
                        core.post_change(slot, Change::LetGo { plugin: old });
                    }
                }
            }
            Change::Add { plugin } => self.add(slot, plugin).await,
            Change::LetGo { .. } => self.release(slot).await,
            Change::Remove { plugin } => {
                self.forget(slot, plugin);
                for id in self.streams_through(slot, plugin) {
                    self.cut_off(id).await;
                }
                self.release(slot).await;
                let core = self.core_mut();
                if core.was_last(change) {
                    core.post_change(VmSlot::Main, Change::LetGo { plugin });
                }
            }
        }
    }

    /// Brings a plugin up on a thread, in the place of another one.
    async fn take(&mut self, slot: VmSlot, old: PluginIndex, new: PluginIndex) {
        let loaded = self.load(slot, new).await;
        let thread = self.thread_mut(slot);
        for plugin in thread.chain.iter_mut().chain(&mut thread.services) {
            if *plugin == old {
                *plugin = new;
            }
        }
        self.settle_in(slot, new, loaded);
    }

    /// No new stream of a thread sees a plugin any more.
    fn forget(&mut self, slot: VmSlot, plugin: PluginIndex) {
        let thread = self.thread_mut(slot);
        thread.chain.retain(|other| *other != plugin);
        thread.services.retain(|other| *other != plugin);
    }

    fn streams_through(&self, slot: VmSlot, plugin: PluginIndex) -> Vec<StreamId> {
        let core = self.core();
        let options = &core.plugins[plugin].options;
        let of_thread = core.streams.iter().filter(|(_, stream)| VmSlot::Worker(stream.worker) == slot);
        let through = of_thread
            .filter(|(_, stream)| stream.filters.iter().any(|filter| Arc::ptr_eq(&filter.plugin, options)));
        through.map(|(id, _)| *id).collect()
    }

    async fn cut_off(&mut self, id: StreamId) {
        if let Some(stream) = self.core_mut().streams.get_mut(&id) {
            stream.details = CUT_OFF.to_owned();
        }
        self.finish(id, true).await;
    }

    /// Ends every root context of a thread that nothing new sees and that no stream is left of, and every VM without
    /// any.
    pub(super) async fn release(&mut self, slot: VmSlot) {
        let thread = self.thread(slot);
        let wanted = |plugin: &PluginIndex| thread.chain.contains(plugin) || thread.services.contains(plugin);
        let unwanted: Vec<PluginIndex> =
            thread.handles.keys().copied().filter(|plugin| !wanted(plugin)).collect();
        for plugin in unwanted {
            let thread = self.thread(slot);
            let Some(handle) = thread.handles.get(&plugin).copied() else { continue };
            let (vm, root_id) = (handle.vm, handle.root_id);
            if self.has_streams(vm, root_id) {
                continue;
            }
            let thread = self.thread_mut(slot);
            thread.handles.remove(&plugin);
            let shared = thread.handles.values().any(|other| (other.vm, other.root_id) == (vm, root_id));
            if !shared && !self.core().vms[vm].failed {
                self.end_root(vm, root_id).await;
            }
            if !self.thread(slot).uses(vm) {
                self.end_vm(vm).await;
                self.thread_mut(slot).vms.retain(|_, present| *present != vm);
            }
        }
        self.forget_vm_ids();
    }

    fn has_streams(&self, vm: VmIndex, root_id: u32) -> bool {
        let streams = self.core().streams.values();
        streams
            .flat_map(|stream| &stream.filters)
            .any(|filter| filter.vm == Some(vm) && filter.root_id == root_id)
    }

    /// Drops what the VMs of a `vm_id` shared, when neither one of them nor a plugin is left.
    fn forget_vm_ids(&mut self) {
        let core = self.core();
        let threads = || self.threads().map(|(_, thread)| thread);
        let configured = threads().flat_map(|thread| thread.chain.iter().chain(&thread.services));
        let held = threads().flat_map(|thread| thread.handles.keys());
        let mut left: Vec<KeyIndex> =
            configured.chain(held).map(|plugin| core.plugins[*plugin].key).collect();
        left.sort_unstable();
        left.dedup();
        if left.len() == core.keys.len() - core.gone.len() {
            return;
        }
        let core = self.core_mut();
        for key in 0..core.keys.len() {
            if left.contains(&key) || !core.gone.insert(key) {
                continue;
            }
            core.tried.retain(|identity, _| identity.0 != key);
            core.spoiled.remove(&key);
            let vm_id = core.keys[key].vm_id.clone();
            if !left.iter().any(|other| core.keys[*other].vm_id == vm_id) {
                core.data.forget(&vm_id);
                core.queues.forget(&vm_id);
            }
        }
    }
}
