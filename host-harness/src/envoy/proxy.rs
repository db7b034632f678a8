//! The guests and the core together, and which VM runs on which thread.
//!
//! Nothing here depends on which world is outside, so it is compiled once and not for each.

use std::{any::Any, collections::BTreeMap, time::Duration};

use super::{
    core::{Core, PluginIndex},
    exchange::{Exchange, StreamId},
    log::LogSource,
    options::{EnvoyOptions, LoadFailure},
    vms::{KeyIndex, RootView, VmRole, VmSlot, VmState, VmView},
};
use crate::{
    abi::{Callback, HostSlot, Module, Stop, Trap, Vm, VmIndex},
    steps::FaultClass,
    world::World,
};

/// Every VM that was ever made, and what they share.
pub(super) struct Proxy {
    pub(super) module: Module,
    /// In the slot while a guest runs.
    core: Option<Box<Core>>,
    pub(super) slot: HostSlot,
    /// By number; `None` once a VM is thrown away.
    pub(super) guests: Vec<Option<Vm>>,
    pub(super) main: Thread,
    pub(super) workers: Vec<Thread>,
    pub(super) finished: BTreeMap<StreamId, Exchange>,
    /// Why the last update was refused, if it was.
    pub(super) refused: Option<LoadFailure>,
    /// What every explored run begins with.
    pub(super) frozen: Option<Frozen>,
}

/// Everything but the guests, which keep their own.
pub(super) struct Frozen {
    core: Core,
    main: Thread,
    workers: Vec<Thread>,
    guests: usize,
}

/// One thread with its VMs.
#[derive(Debug, Clone, Default)]
pub(super) struct Thread {
    /// The present VM of each key, failed or not.
    pub(super) vms: BTreeMap<KeyIndex, VmIndex>,
    /// How many VMs were made for each key.
    pub(super) loads: BTreeMap<KeyIndex, u32>,
    /// Plugins that came up here.
    pub(super) handles: BTreeMap<PluginIndex, Handle>,
    /// Filters that new streams go through, in order.
    pub(super) chain: Vec<PluginIndex>,
    pub(super) services: Vec<PluginIndex>,
}

/// A plugin that came up on a thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handle {
    pub(super) vm: VmIndex,
    pub(super) root_id: u32,
    /// When it came up, or was last tried again.
    pub(super) loaded_at: Duration,
}

// === impl Proxy ===

impl Proxy {
    /// An Envoy without VMs.
    pub(super) fn new(module: &Module, options: EnvoyOptions, world: Box<dyn World>) -> Proxy {
        let concurrency = options.concurrency;
        Proxy {
            module: module.clone(),
            core: Some(Box::new(Core::new(options, world))),
            slot: HostSlot::default(),
            guests: Vec::new(),
            main: Thread::default(),
            workers: vec![Thread::default(); concurrency],
            finished: BTreeMap::new(),
            refused: None,
            frozen: None,
        }
    }

    /// Makes what is now the beginning of every explored run. False where the world cannot be copied.
    pub(super) fn freeze(&mut self) -> bool {
        let Some(core) = self.core().fork() else {
            return false;
        };
        for guest in self.guests.iter_mut().flatten() {
            guest.freeze();
        }
        let guests = self.guests.len();
        self.frozen = Some(Frozen { core, main: self.main.clone(), workers: self.workers.clone(), guests });
        true
    }

    /// Goes back to the beginning. A VM that had grown and cannot be made anew has failed from the start.
    pub(super) fn thaw(&mut self) {
        let Some(frozen) = &self.frozen else {
            return;
        };
        let core = frozen.core.fork();
        self.main.clone_from(&frozen.main);
        self.workers.clone_from(&frozen.workers);
        self.guests.truncate(frozen.guests);
        self.finished.clear();
        if let Some(core) = core {
            *self.core_mut() = core;
        }
        lend(&mut self.core, &self.slot);
        let restored: Vec<_> = self.guests.iter_mut().map(|guest| guest.as_mut().map(Vm::restore)).collect();
        take_back(&mut self.core, &self.slot);
        for (vm, restored) in restored.into_iter().enumerate() {
            if let Some(Err(trap)) = restored {
                self.fail(vm, trap);
            }
        }
    }

    /// Bytes of memory of every VM that was ever made, 0 for those that are gone.
    pub(super) fn memory_bytes(&self) -> impl Iterator<Item = usize> {
        self.guests.iter().map(|guest| guest.as_ref().map_or(0, Vm::memory_bytes))
    }

    fn is_frozen(&self, vm: VmIndex) -> bool {
        self.frozen.as_ref().is_some_and(|frozen| vm < frozen.guests)
    }

    pub(super) fn core(&self) -> &Core {
        self.core.as_deref().expect("the core is back whenever no guest runs")
    }

    pub(super) fn core_mut(&mut self) -> &mut Core {
        self.core.as_deref_mut().expect("the core is back whenever no guest runs")
    }

    pub(super) fn views(&self) -> Vec<VmView> {
        let mut views = Vec::new();
        for (role, thread) in self.threads() {
            let mut keys: Vec<KeyIndex> = Vec::new();
            for plugin in thread.chain.iter().chain(&thread.services) {
                let key = self.core().plugins[*plugin].key;
                if !keys.contains(&key) {
                    keys.push(key);
                    views.push(self.view(role, thread, key));
                }
            }
        }
        views
    }

    fn view(&self, role: VmRole, thread: &Thread, key: KeyIndex) -> VmView {
        let vm = thread.vms.get(&key).copied();
        let record = vm.map(|vm| &self.core().vms[vm]);
        let roots: Vec<RootView> = record
            .iter()
            .flat_map(|record| &record.roots)
            .map(|(id, root)| RootView {
                id: *id,
                plugin: root.plugin.name.clone(),
                configuration: root.plugin.configuration.clone(),
                tick_period: root.tick_period,
            })
            .collect();
        VmView {
            role,
            state: match record {
                None => VmState::Absent,
                Some(record) if record.failed => VmState::Failed,
                Some(_) => VmState::Running,
            },
            loads: thread.loads.get(&key).copied().unwrap_or(0),
            callbacks: record.map(|record| record.callbacks.clone()).unwrap_or_default(),
            memory_bytes: vm.and_then(|vm| self.guests[vm].as_ref()).map_or(0, Vm::memory_bytes),
            tick_period: roots.first().and_then(|root| root.tick_period),
            roots,
        }
    }

    pub(super) fn threads(&self) -> impl Iterator<Item = (VmRole, &Thread)> {
        let workers =
            self.workers.iter().enumerate().map(|(number, thread)| (VmRole::Worker(number), thread));
        std::iter::once((VmRole::Main, &self.main)).chain(workers)
    }

    pub(super) fn thread(&self, slot: VmSlot) -> &Thread {
        match slot {
            VmSlot::Main => &self.main,
            VmSlot::Worker(worker) => &self.workers[worker],
        }
    }

    pub(super) fn thread_mut(&mut self, slot: VmSlot) -> &mut Thread {
        match slot {
            VmSlot::Main => &mut self.main,
            VmSlot::Worker(worker) => &mut self.workers[worker],
        }
    }

    /// Runs a guest with the core as its host; `None` for a VM that was thrown away.
    pub(super) fn call(&mut self, vm: VmIndex, callback: Callback) -> Option<Result<Option<u32>, Stop>> {
        let guest = self.guests.get_mut(vm)?.as_mut()?;
        let may_hold = self.core.as_ref().is_some_and(|core| core.vms[vm].may_hold);
        lend(&mut self.core, &self.slot);
        let returned = guest.call(callback, may_hold);
        take_back(&mut self.core, &self.slot);
        Some(returned)
    }

    /// Makes a VM of the module and puts it at the end of the list.
    pub(super) fn instantiate(&mut self, vm: VmIndex) -> Result<(), Trap> {
        let limits = self.core().options.limits.clone();
        lend(&mut self.core, &self.slot);
        let guest = Vm::new(&self.module, vm, self.slot.clone(), limits);
        take_back(&mut self.core, &self.slot);
        self.guests.push(Some(guest?));
        Ok(())
    }

    /// Adds one to a counter of Envoy's own about a plugin.
    pub(super) fn count(&mut self, plugin: PluginIndex, stat: &str) {
        let name = format!("wasm.{}.{stat}", self.core().plugins[plugin].options.name);
        self.core_mut().metrics.count(&name);
    }

    /// The VM trapped.
    pub(super) fn fail(&mut self, vm: VmIndex, trap: Trap) {
        let core = self.core_mut();
        let role = core.vms[vm].role;
        core.silence(vm);
        core.log(role, LogSource::Host, log::Level::Error, &trap.to_string());
        core.vms[vm].failed = true;
        if !core.vms[vm].doomed {
            let reason = core.trap_in_words(role, &trap);
            core.traps.push(reason);
        } else if let Some(exploration) = &mut core.exploration {
            exploration.class = exploration.class.max(FaultClass::L1);
        }
        core.vms[vm].trap = Some(trap);
    }

    /// The present VMs of a thread fail in their next callback. One that has failed already stays as it is.
    pub(super) fn doom(&mut self, slot: VmSlot) {
        let vms: Vec<VmIndex> = self.thread(slot).vms.values().copied().collect();
        for vm in vms {
            let record = &mut self.core_mut().vms[vm];
            record.doomed = !record.failed;
        }
    }

    /// Ends a VM without significant it.
    pub(super) fn throw_away(&mut self, vm: VmIndex) {
        // What a run begins with is needed again for the next run.
        if !self.is_frozen(vm) {
            self.guests[vm] = None;
        }
        let core = self.core_mut();
        core.vms[vm].failed = true;
        core.silence(vm);
    }
}

fn lend(core: &mut Option<Box<Core>>, slot: &HostSlot) {
    slot.lend(core.take().expect("the core is back whenever no guest runs"));
}

fn take_back(core: &mut Option<Box<Core>>, slot: &HostSlot) {
    let host: Box<dyn Any> = slot.take_back().expect("the host that was lent is still there");
    *core = Some(host.downcast().expect("the host that was lent is the core"));
}
