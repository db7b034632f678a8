//! One instance of a module: its store, its exports, and the host that is lent to it while it runs.
//!
//! The host is not owned by any VM: it is lent through a [`HostSlot`] for the length of one callback and taken back.
//! A callback may be held at a hostcall that other VMs can see: the VM then stands where it stood before the callback,
//! other VMs may run, and calling it again goes on from where it was held.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wasmtime::{Global, Instance, Memory, Store, StoreLimits, StoreLimitsBuilder, TypedFunc, Val};

use super::{
    Callback, Host, Module, Status,
    border::Held,
    exports::Exports,
    journal::{Entry, Journal},
    snapshot::{Checkpoint, Image},
};

/// What a guest may export for the host to get memory from it, first choice first.
pub(super) const ALLOCATORS: [&str; 2] = ["malloc", "proxy_on_memory_allocate"];

/// Most elements of one table, as in V8.
pub(super) const TABLE_ELEMENTS: usize = 10_000_000;

/// Most bytes of memory of a VM that comes back to where it was by doing everything again.
const REPEATED_BYTES: usize = 2 * 1024 * 1024;

/// Number of a VM, chosen by its host and given back with every hostcall.
pub type VmIndex = usize;

/// Where a host is put while a VM runs. Clones are the same slot.
#[derive(Clone, Default)]
pub struct HostSlot(Arc<Mutex<Option<Box<dyn Host>>>>);

/// What bounds a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmLimits {
    /// Most bytes of guest memory.
    pub memory_bytes: usize,
    /// Most fuel that one callback may burn: about one unit an instruction, 1000 a hostcall, and 4 for each byte that crosses.
    /// `None` is no limit.
    pub callback_fuel: Option<u64>,
}

/// A callback did not return. The VM must not be called again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{callback}` failed: {reason}")]
pub struct Trap {
    /// The export that was called.
    pub callback: String,
    /// What happened, with the guest's stack where there is one.
    pub reason: String,
    /// The last hostcall before it, where that was refused: its name and the status. A guest that fails because of a refusal
    /// seldom says of which.
    pub refused: Option<(&'static str, u32)>,
}

/// Why a callback did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The guest failed.
    Trap(Trap),
    /// The host held it; the next [`Vm::call`] of the same callback goes on with it.
    Held,
}

/// One instance of a module.
pub struct Vm {
    module: Module,
    store: Store<VmState>,
    instance: Instance,
    exports: Exports,
    /// Every global that the guest can change, in the order of [`Module`]'s list.
    globals: Vec<Global>,
    limits: VmLimits,
    /// What [`Vm::restore`] goes back to.
    image: Option<Image>,
    /// Where the callback that is held began.
    held: Option<Beginning>,
    /// Whether anything has run since [`Vm::restore`].
    touched: bool,
    /// Every callback since [`Vm::restore`] with what it was answered, while all of that is known.
    past: Option<Vec<(Callback, Vec<Entry>)>>,
}

/// How a VM comes back to where a callback began.
enum Beginning {
    /// By the pages that it had changed by then, which are kept.
    Kept(Checkpoint),
    /// By doing everything again that it has done since its image: for a small VM that is less work than asking the
    /// kernel, before every callback, for the pages that have changed.
    Repeated,
}

/// What hostcalls reach through the store.
pub(super) struct VmState {
    pub(super) index: VmIndex,
    pub(super) host: HostSlot,
    pub(super) phase: Phase,
    pub(super) journal: Journal,
    /// The last hostcall of the running callback, and what it returned. What a guest does to report its own failure does not count.
    pub(super) last: Option<(&'static str, u32)>,
    /// Whether the host is notified of what the guest is answered.
    pub(super) observed: bool,
    pub(super) memory: Option<Memory>,
    pub(super) allocate: Option<TypedFunc<u32, u32>>,
    limits: StoreLimits,
}

/// What the guest is doing, which decides the hostcalls it may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// In `_initialize`, `_start` or `main`.
    Starting,
    /// In its allocator, called by the host.
    Allocating,
    /// In a callback.
    Running,
}

// === impl HostSlot ===

impl HostSlot {
    /// Puts the host in.
    pub fn lend(&self, host: Box<dyn Host>) {
        *self.lock() = Some(host);
    }

    /// Takes the host out; `None` when none was lent.
    #[must_use]
    pub fn take_back(&self) -> Option<Box<dyn Host>> {
        self.lock().take()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Box<dyn Host>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl VmLimits ===

impl Default for VmLimits {
    /// 1 GiB as in Envoy (proxy-wasm-cpp-host `include/proxy-wasm/limits.h`), and fuel for some seconds of work.
    fn default() -> Self {
        VmLimits { memory_bytes: 1024 * 1024 * 1024, callback_fuel: Some(4_000_000_000) }
    }
}

// === impl Trap ===

impl Trap {
    /// A callback that fails because it is said that it does.
    pub(crate) fn planned(callback: &str) -> Trap {
        Trap::because(callback, "unreachable, as the scenario says".to_owned())
    }

    /// A callback of a VM that had failed before and was therefore not called.
    #[must_use]
    pub fn not_called(callback: &str) -> Trap {
        Trap::because(callback, "the VM had failed before".to_owned())
    }

    fn because(callback: &str, reason: String) -> Trap {
        Trap { callback: callback.to_owned(), reason, refused: None }
    }
}

// === impl Phase ===

impl Phase {
    /// Whether a hostcall is allowed now; one that is not traps.
    ///
    /// Source: the restricted callbacks of proxy-wasm-cpp-host (`src/wasm.cc` `startVm`, `wasm.h` `allocMemory`). Envoy 1.40
    /// allows more of WASI than is named there, which Go's runtime needs to start; the list is what it was seen to do.
    pub(super) fn allows(self, function: &str) -> bool {
        match self {
            Phase::Running => true,
            Phase::Allocating => {
                matches!(function, "proxy_log" | "fd_write" | "clock_time_get" | "poll_oneoff")
            }
            Phase::Starting => match function {
                "proxy_log" => true,
                "fd_read" | "fd_seek" | "fd_close" | "path_open" | "sched_yield" | "proc_exit" => false,
                "pthread_equal" | "envoy_resolve_dns" => false,
                // What is left is WASI.
                function => !function.starts_with("proxy_"),
            },
        }
    }
}

// === impl VmState ===

impl VmState {
    pub(super) fn new(index: VmIndex, host: HostSlot, limits: &VmLimits) -> VmState {
        let bounds =
            StoreLimitsBuilder::new().memory_size(limits.memory_bytes).table_elements(TABLE_ELEMENTS);
        VmState {
            index,
            host,
            phase: Phase::Starting,
            journal: Journal::default(),
            last: None,
            observed: false,
            memory: None,
            allocate: None,
            limits: bounds.build(),
        }
    }

    /// A hostcall was answered so.
    pub(super) fn note_last<T>(&mut self, function: &'static str, answer: &Result<T, u32>) {
        if !matches!(function, "proxy_log" | "fd_write" | "proc_exit") {
            self.last = Some((function, answer.as_ref().err().copied().unwrap_or(Status::Ok.code())));
        }
    }
}

// === impl Vm ===

impl Vm {
    /// Makes a VM and runs its start functions: `_initialize` and then `main`, or `_start`.
    ///
    /// The host must be lent through `host` before, because start functions may log.
    /// Errors: a start function trapped, or the instance's memory is over the limit.
    pub fn new(module: &Module, index: VmIndex, host: HostSlot, limits: VmLimits) -> Result<Vm, Trap> {
        let mut vm = Vm::instantiate(module, index, host, limits)?;
        vm.start()?;
        vm.store.data_mut().phase = Phase::Running;
        Ok(vm)
    }

    fn instantiate(module: &Module, index: VmIndex, host: HostSlot, limits: VmLimits) -> Result<Vm, Trap> {
        let state = VmState::new(index, host, &limits);
        let mut store = Store::new(module.pre.module().engine(), state);
        store.limiter(|state| &mut state.limits);
        refuel(&mut store, &limits, module.metered);
        let instance =
            module.pre.instantiate(&mut store).map_err(|error| trap("instantiation", &limits, &error))?;
        store.data_mut().memory = instance.get_memory(&mut store, "memory");
        let allocate = ALLOCATORS.iter().find_map(|name| instance.get_typed_func(&mut store, name).ok());
        store.data_mut().allocate = allocate;
        let exports = Exports::of(&instance, &mut store);
        let names = module.globals.iter();
        let globals = names.filter_map(|name| instance.get_global(&mut store, name)).collect();
        Ok(Vm {
            module: module.clone(),
            store,
            instance,
            exports,
            globals,
            limits,
            image: None,
            held: None,
            touched: true,
            past: None,
        })
    }

    /// Whether the guest exports this callback.
    #[must_use]
    pub fn exports(&self, callback: &Callback) -> bool {
        self.exports.has(callback)
    }

    /// Calls a callback; the host must be lent before and is taken back after.
    ///
    /// Gives what the guest returned, 0 where the callback returns nothing, and `None` where it is not exported.
    /// With `may_hold`, the host is asked at every [`super::Point`] whether the callback goes on.
    /// Errors: [`Stop::Trap`], after which the VM must not be called again; [`Stop::Held`], after which the next call must be
    /// of the same callback.
    pub fn call(&mut self, callback: Callback, may_hold: bool) -> Result<Option<u32>, Stop> {
        if !self.exports(&callback) {
            return Ok(None);
        }
        match &self.held {
            Some(_) => self.store.data_mut().journal.rewind(),
            None => {
                self.store.data_mut().journal.begin(may_hold);
                self.held = may_hold.then(|| self.beginning());
            }
        }
        refuel(&mut self.store, &self.limits, self.module.metered);
        self.store.data_mut().last = None;
        let stop = match self.dispatch(callback) {
            Ok(returned) => {
                self.remember(callback, may_hold);
                self.held = None;
                return Ok(returned);
            }
            Err(error) if error.is::<Held>() && self.held.is_some() => self.rewind().err(),
            Err(error) => {
                let refused = self.store.data().last.filter(|(_, code)| *code != Status::Ok.code());
                Some(Trap { refused, ..self.trap(callback.export(), &error) })
            }
        };
        Err(stop.map_or(Stop::Held, Stop::Trap))
    }

    /// How the VM comes back to where it is now.
    fn beginning(&mut self) -> Beginning {
        let small = self.image.as_ref().is_some_and(|image| image.size() <= REPEATED_BYTES);
        if small && self.past.is_some() { Beginning::Repeated } else { Beginning::Kept(self.checkpoint()) }
    }

    fn remember(&mut self, callback: Callback, kept: bool) {
        match &mut self.past {
            Some(past) if kept => past.push((callback, self.store.data_mut().journal.take())),
            // What is not known whole is of no use.
            past => *past = None,
        }
    }

    /// Goes back to where the callback that is held began.
    fn rewind(&mut self) -> Result<(), Trap> {
        if let Some(Beginning::Kept(checkpoint)) = &self.held {
            let checkpoint = checkpoint.clone();
            return self.go_to(Some(&checkpoint));
        }
        let own = self.store.data_mut().journal.take();
        self.go_to(None)?;
        let mut past = self.past.take().unwrap_or_default();
        for (callback, entries) in &mut past {
            self.store.data_mut().journal.load(std::mem::take(entries));
            refuel(&mut self.store, &self.limits, self.module.metered);
            self.dispatch(*callback).map_err(|error| self.trap(callback.export(), &error))?;
            *entries = self.store.data_mut().journal.take();
        }
        self.past = Some(past);
        self.store.data_mut().journal.load(own);
        Ok(())
    }

    /// Bytes of memory that the guest has now.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    fn dispatch(&mut self, callback: Callback) -> wasmtime::Result<Option<u32>> {
        self.touched = true;
        self.exports.call(&mut self.store, callback)
    }

    fn start(&mut self) -> Result<(), Trap> {
        let initialize = self.instance.get_typed_func::<(), ()>(&mut self.store, "_initialize").ok();
        let Some(initialize) = initialize else {
            return match self.instance.get_typed_func::<(), ()>(&mut self.store, "_start") {
                Ok(start) => start.call(&mut self.store, ()).map_err(|error| self.trap("_start", &error)),
                Err(_) => Ok(()),
            };
        };
        initialize.call(&mut self.store, ()).map_err(|error| self.trap("_initialize", &error))?;
        if let Ok(main) = self.instance.get_typed_func::<(u32, u32), u32>(&mut self.store, "main") {
            return main.call(&mut self.store, (0, 0)).map(|_| ()).map_err(|error| self.trap("main", &error));
        }
        if let Ok(main) = self.instance.get_typed_func::<(), u32>(&mut self.store, "__main_void") {
            return main.call(&mut self.store, ()).map(|_| ()).map_err(|error| self.trap("main", &error));
        }
        Ok(())
    }

    fn trap(&self, callback: &str, error: &wasmtime::Error) -> Trap {
        trap(callback, &self.limits, error)
    }

    /// Whether the host is notified of what the guest is answered ([`Host::answered`]).
    pub fn observe(&mut self, observed: bool) {
        self.store.data_mut().observed = observed;
    }

    /// Keeps what the VM is now, for [`Vm::restore`].
    pub fn freeze(&mut self) {
        let globals = self.global_values();
        self.image = self.store.data().memory.map(|memory| Image::take(memory, &mut self.store, globals));
        self.touched = false;
    }

    /// Goes back to what the VM was at [`Vm::freeze`]. Any callback that is held is forgotten.
    ///
    /// Tables and the dropping of data segments are not undone; no compiler's output changes them after its start.
    /// Errors: the VM had grown and could not be made anew.
    pub fn restore(&mut self) -> Result<(), Trap> {
        self.held = None;
        self.past = Some(Vec::new());
        self.store.data_mut().phase = Phase::Running;
        // Most runs leave some VMs alone.
        if std::mem::take(&mut self.touched) { self.go_to(None) } else { Ok(()) }
    }

    fn go_to(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Trap> {
        let Some(memory) = self.store.data().memory else {
            return Ok(());
        };
        let size =
            checkpoint.map(Checkpoint::size).or(self.image.as_ref().map(Image::size)).unwrap_or_default();
        if memory.data_size(&self.store) != size {
            self.renew(size)?;
        }
        let Some(memory) = self.store.data().memory else {
            return Ok(());
        };
        let globals = match (&self.image, checkpoint) {
            (Some(image), None) => image.restore(memory, &mut self.store),
            (image, Some(checkpoint)) => checkpoint.restore(image.as_ref(), memory, &mut self.store),
            (None, None) => return Ok(()),
        };
        for (global, value) in self.globals.iter().zip(globals) {
            // The value was read from the same global, so it has its type.
            let _ = global.set(&mut self.store, *value);
        }
        Ok(())
    }

    /// A memory cannot shrink, so a VM that has grown is made anew with the memory that it had.
    fn renew(&mut self, size: usize) -> Result<(), Trap> {
        let state = self.store.data_mut();
        let (index, host) = (state.index, state.host.clone());
        let (journal, observed) = (std::mem::take(&mut state.journal), state.observed);
        let fresh = Vm::instantiate(&self.module, index, host, self.limits.clone())?;
        (self.store, self.instance) = (fresh.store, fresh.instance);
        (self.exports, self.globals) = (fresh.exports, fresh.globals);
        self.store.data_mut().journal = journal;
        self.store.data_mut().observed = observed;
        self.store.data_mut().phase = Phase::Running;
        let Some(memory) = self.store.data().memory else {
            return Ok(());
        };
        let missing = size.saturating_sub(memory.data_size(&self.store)) as u64;
        let pages = missing / memory.page_size(&self.store);
        memory.grow(&mut self.store, pages).map_err(|error| self.trap("memory.grow", &error))?;
        if let Some(image) = &mut self.image {
            image.track(memory, &mut self.store);
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Checkpoint {
        let globals = self.global_values();
        match self.store.data().memory {
            Some(memory) => Checkpoint::take(self.image.as_ref(), memory, &mut self.store, globals),
            None => Checkpoint::default(),
        }
    }

    fn global_values(&mut self) -> Vec<Val> {
        self.globals.iter().map(|global| global.get(&mut self.store)).collect()
    }
}

fn refuel(store: &mut Store<VmState>, limits: &VmLimits, metered: bool) {
    if metered {
        let fuel = limits.callback_fuel.unwrap_or(u64::MAX);
        store.set_fuel(fuel).expect("fuel is enabled in a metered engine");
    }
}

fn trap(callback: &str, limits: &VmLimits, error: &wasmtime::Error) -> Trap {
    let reason = match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::OutOfFuel) => {
            let fuel = limits.callback_fuel.unwrap_or(u64::MAX);
            format!("callback exceeded its limit of {fuel} units of fuel")
        }
        // The cause first, and then where the guest was.
        _ => match (error.root_cause().to_string(), error.to_string()) {
            (cause, place) if cause == place => cause,
            (cause, place) => format!("{cause}: {place}"),
        },
    };
    Trap::because(callback, reason)
}

impl fmt::Debug for Vm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Vm").field("index", &self.store.data().index).finish_non_exhaustive()
    }
}
