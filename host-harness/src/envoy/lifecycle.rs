//! How VMs come to be, are configured, fail, are made again, and end.

use super::{
    log::LogSource,
    options::{FailurePolicy, LoadFailure, StartError},
    turn::{Called, Route, Turn},
    vms::{ROOT, VmRecord, VmRole, VmSlot},
};
use crate::abi::{Callback, Trap, VmIndex};

impl Turn {
    /// Makes the canary and throws it away, then the main VM, then one VM for each worker.
    ///
    /// Errors: the canary did not come up.
    pub(super) async fn boot(&mut self) -> Result<(), StartError> {
        let role = VmRole::Canary;
        match self.load(role).await {
            Ok(canary) => self.throw_away(canary),
            Err(reason) => {
                let logs = std::mem::take(&mut self.core_mut().logs);
                return Err(StartError { role, reason, logs });
            }
        }
        self.load_thread(VmSlot::Main).await;
        for worker in 0..self.workers.len() {
            self.load_thread(VmSlot::Worker(worker)).await;
        }
        Ok(())
    }

    /// Which VM sees a new request on this worker. It may make a VM again, if the policy says so and it is time.
    pub(super) async fn route(&mut self, worker: usize) -> Route {
        let Some(vm) = self.workers[worker].vm else {
            return Route::Bypass;
        };
        if !self.core().vms[vm].failed {
            return Route::Plugin(vm);
        }
        match self.core().options.plugin.failure_policy {
            FailurePolicy::FailOpen => Route::Bypass,
            FailurePolicy::FailClosed => Route::Fail(vm),
            FailurePolicy::FailReload => self.reload(worker, vm).await,
        }
    }

    /// Tells every root context that the process ends; calls that it makes now are never sent.
    pub(super) async fn shut_down(&mut self) {
        self.core_mut().stopping = true;
        for vm in self.threads().filter_map(|(_, thread)| thread.vm).collect::<Vec<_>>() {
            let called = self.enter(vm, Callback::Done { context_id: ROOT }).await;
            self.core_mut().vms[vm].awaiting_done = matches!(called, Called::Returned { value: 0, .. });
            self.after_call(vm).await;
            let record = &self.core().vms[vm];
            if !record.awaiting_done && record.contexts.contains_key(&ROOT) {
                self.delete_root(vm).await;
            }
        }
    }

    /// Makes a thread's VM; without one, the plugin is absent there, which Envoy only logs.
    async fn load_thread(&mut self, slot: VmSlot) {
        let role = match slot {
            VmSlot::Main => VmRole::Main,
            VmSlot::Worker(worker) => VmRole::Worker(worker),
        };
        let loaded = self.load(role).await;
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
    async fn load(&mut self, role: VmRole) -> Result<VmIndex, LoadFailure> {
        let vm = self.guests.len();
        let core = self.core_mut();
        let seed = core.options.seed;
        core.vms.push(VmRecord::new(role, seed, vm));
        let configured = match self.instantiate(vm) {
            Ok(()) => self.configure(vm).await,
            Err(trap) => Err(trap.into()),
        };
        if let Err(failure) = configured {
            self.guests.resize_with(vm + 1, || None);
            self.throw_away(vm);
            return Err(failure);
        }
        Ok(vm)
    }

    async fn configure(&mut self, vm: VmIndex) -> Result<(), LoadFailure> {
        let plugin = &self.core().options.plugin;
        let sizes = [plugin.vm_configuration.len(), plugin.configuration.len()];
        let [vm_size, plugin_size] = sizes.map(|size| u32::try_from(size).unwrap_or(u32::MAX));
        self.must(vm, Callback::ContextCreate { context_id: ROOT, parent_id: 0 }, false).await?;
        self.must(vm, Callback::VmStart { root_id: ROOT, configuration_size: vm_size }, true).await?;
        self.core_mut().vms[vm].configuring = true;
        let configured =
            self.must(vm, Callback::Configure { root_id: ROOT, configuration_size: plugin_size }, true).await;
        self.core_mut().vms[vm].configuring = false;
        configured
    }

    /// Makes a callback that must not trap and, if it judges, must say yes.
    async fn must(&mut self, vm: VmIndex, callback: Callback, judges: bool) -> Result<(), LoadFailure> {
        match self.enter_root(vm, callback).await {
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

    async fn reload(&mut self, worker: usize, failed: VmIndex) -> Route {
        let (now, backoff) = (self.core().now(), self.core().options.plugin.reload_backoff);
        if now < self.workers[worker].loaded_at.saturating_add(backoff) {
            self.count("vm_reload_backoff");
            return Route::Fail(failed);
        }
        let loaded = self.load(VmRole::Worker(worker)).await;
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

    pub(super) async fn delete_root(&mut self, vm: VmIndex) {
        self.enter_root(vm, Callback::Delete { context_id: ROOT }).await;
        let core = self.core_mut();
        core.vms[vm].contexts.remove(&ROOT);
        core.silence(vm);
    }
}
