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
    Callback, Host, Module,
    border::{Exchanged, Held},
    exports::Exports,
    journal::Journal,
    recall::{After, Does, Entered, PlaceId, ROOT, Recall, StepId},
    snapshot::{Checkpoint, Image},
};

/// What a guest may export for the host to get memory from it, first choice first.
pub(super) const ALLOCATORS: [&str; 2] = ["malloc", "proxy_on_memory_allocate"];

/// Most elements of one table, as in V8.
pub(super) const TABLE_ELEMENTS: usize = 10_000_000;

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
    /// Whether what is left on its stack is cleared after each callback.
    clears_stack: bool,
    /// The start function that was called last.
    starting: &'static str,
    /// What [`Vm::restore`] goes back to.
    image: Option<Image>,
    /// Where the callback that is held began.
    held: Option<Checkpoint>,
    /// What it was seen to do since it was frozen.
    recall: Option<Recalled>,
}

/// A VM that runs only where it is not known what it does.
struct Recalled {
    known: Recall,
    /// Where it is, for who calls it.
    at: At,
    /// Where its memory is; none in the middle of a callback.
    memory_at: Option<PlaceId>,
}

/// Where a VM is.
#[derive(Debug, Clone, Copy)]
enum At {
    /// Between two callbacks.
    Place(PlaceId),
    /// Held at a hostcall of a callback that began there.
    Held { place: PlaceId, step: StepId },
    /// It has failed.
    Failed(PlaceId),
}

/// What hostcalls reach through the store.
pub(super) struct VmState {
    pub(super) index: VmIndex,
    pub(super) host: HostSlot,
    pub(super) phase: Phase,
    pub(super) journal: Journal,
    /// Whether the host is told of what the guest is answered.
    pub(super) observed: bool,
    /// The hostcalls of the running callback, where they are kept.
    pub(super) exchanged: Option<Vec<Exchanged>>,
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
        Trap { callback: callback.to_owned(), reason: "unreachable, as the scenario says".to_owned() }
    }

    /// A callback of a VM that had failed before and was therefore not called.
    #[must_use]
    pub fn not_called(callback: &str) -> Trap {
        Trap { callback: callback.to_owned(), reason: "the VM had failed before".to_owned() }
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
            observed: false,
            exchanged: None,
            memory: None,
            allocate: None,
            limits: bounds.build(),
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
        vm.start().map_err(|error| vm.trap(vm.starting, &error))?;
        Ok(vm)
    }

    /// A VM that runs only where it is not known what it does. It has yet to be started with [`Vm::start_again`].
    ///
    /// Errors: the instance's memory is over the limit.
    pub fn recalled(module: &Module, index: VmIndex, host: HostSlot, limits: VmLimits) -> Result<Vm, Trap> {
        let mut vm = Vm::instantiate(module, index, host, limits)?;
        vm.freeze();
        Ok(vm)
    }

    /// Makes the VM new: it starts as it did when it was made, whatever has been done with it since.
    ///
    /// Errors: a start function trapped.
    pub fn start_again(&mut self, most_bytes: usize) -> Result<(), Trap> {
        self.restore(most_bytes);
        match self.recall(Entered::Start) {
            Err(Stop::Trap(trap)) => Err(trap),
            // No start function makes a hostcall at which it could be held.
            Ok(_) | Err(Stop::Held) => Ok(()),
        }
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
            clears_stack: false,
            starting: "_initialize",
            image: None,
            held: None,
            recall: None,
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
        if self.recall.is_some() {
            return self.recall(Entered::Callback(callback));
        }
        match &self.held {
            Some(_) => self.store.data_mut().journal.rewind(),
            None => {
                self.store.data_mut().journal.begin(may_hold);
                self.held = may_hold.then(|| self.checkpoint());
            }
        }
        let stop = match self.dispatch(callback) {
            Ok(returned) => {
                self.held = None;
                return Ok(returned);
            }
            Err(error) if error.is::<Held>() && self.held.is_some() => {
                let beginning = self.held.clone().unwrap_or_default();
                self.go_to(Some(&beginning)).err()
            }
            Err(error) => Some(self.trap(callback.export(), &error)),
        };
        Err(stop.map_or(Stop::Held, Stop::Trap))
    }

    /// Does what a callback is known to do, and lets the guest do the rest.
    fn recall(&mut self, entered: Entered) -> Result<Option<u32>, Stop> {
        let state = self.store.data();
        let (host, index, observed) = (state.host.clone(), state.index, state.observed);
        let recalled = self.recall.as_mut().expect("a VM that is frozen has it");
        let (place, mut step) = match recalled.at {
            At::Held { place, step } => (place, step),
            At::Place(place) | At::Failed(place) => match recalled.known.first(place, entered) {
                Some(step) => (place, step),
                None => return self.run_on(After::Begin { place, entered }),
            },
        };
        loop {
            match recalled.known.does(step) {
                Does::Returns { value, place } => {
                    recalled.at = At::Place(*place);
                    return Ok(*value);
                }
                Does::Traps(trap) => {
                    recalled.at = At::Failed(place);
                    return Err(Stop::Trap(trap.clone()));
                }
                Does::Calls { made, .. } => {
                    let Ok((digest, answer)) = made.again(&host, index, observed) else {
                        recalled.at = At::Held { place, step };
                        return Err(Stop::Held);
                    };
                    match recalled.known.next(step, digest, answer) {
                        Ok(next) => step = next,
                        Err(unknown) => return self.run_on(unknown),
                    }
                }
            }
        }
    }

    /// Runs the guest from where it is not known what it does, and keeps what that is.
    fn run_on(&mut self, after: After) -> Result<Option<u32>, Stop> {
        let mut recalled = self.recall.take().expect("a VM that is frozen has it");
        let answered = recalled.known.answered_after(after);
        let (place, entered) = (answered.place, answered.entered);
        let came = self.come_to(&mut recalled, place);
        if let Err(trap) = came {
            recalled.at = At::Failed(place);
            self.recall = Some(recalled);
            return Err(Stop::Trap(trap));
        }
        recalled.memory_at = None;
        let state = self.store.data_mut();
        state.journal.load(answered.entries);
        state.exchanged = Some(Vec::new());
        let done = self.enter(entered);
        let exchanged = self.store.data_mut().exchanged.take().unwrap_or_default();
        let (after, last) = recalled.known.add_exchanged(after, exchanged);
        let came = match done {
            Ok(value) => {
                let digest = self.digest();
                let reached = recalled.known.add_return(after, value, self.memory_size(), digest);
                recalled.memory_at = Some(reached);
                recalled.at = At::Place(reached);
                self.keep_checkpoint(&mut recalled, reached);
                Ok(value)
            }
            Err(error) if error.is::<Held>() => {
                recalled.at = At::Held { place, step: last };
                Err(Stop::Held)
            }
            Err(error) => {
                let trap = self.trap(self.name(entered), &error);
                recalled.known.add(after, Does::Traps(trap.clone()));
                recalled.at = At::Failed(place);
                Err(Stop::Trap(trap))
            }
        };
        self.recall = Some(recalled);
        came
    }

    /// Brings the guest's memory to a place, from the nearest one on the way to it of which it is known.
    fn come_to(&mut self, recalled: &mut Recalled, place: PlaceId) -> Result<(), Trap> {
        let mut way = Vec::new();
        let mut at = place;
        while recalled.memory_at != Some(at) {
            if let Some(checkpoint) = recalled.known.checkpoint(at) {
                self.go_to(Some(checkpoint))?;
                break;
            }
            let Some(answered) = recalled.known.way_to(at) else {
                self.go_to(None)?;
                break;
            };
            let before = answered.place;
            way.push((at, answered));
            at = before;
        }
        recalled.memory_at = None;
        for (reached, answered) in way.into_iter().rev() {
            self.store.data_mut().journal.load(answered.entries);
            let entered = answered.entered;
            self.enter(entered).map_err(|error| self.trap(self.name(entered), &error))?;
            self.keep_checkpoint(recalled, reached);
        }
        recalled.memory_at = Some(place);
        Ok(())
    }

    fn keep_checkpoint(&mut self, recalled: &mut Recalled, place: PlaceId) {
        if recalled.known.wants_checkpoint(place) {
            let checkpoint = self.checkpoint();
            recalled.known.keep_checkpoint(place, checkpoint);
        }
    }

    /// What it was seen to do since it was frozen is not known any more.
    pub fn forget(&mut self) {
        let size = self.image.as_ref().map_or(0, Image::size);
        if let Some(recalled) = &mut self.recall {
            recalled.known = Recall::new(size, recalled.known.digest(ROOT));
            recalled.memory_at = recalled.memory_at.filter(|place| *place == ROOT);
            recalled.at = At::Place(ROOT);
        }
    }

    /// Bytes of memory that the guest has now.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match &self.recall {
            Some(Recalled {
                known,
                at: At::Place(place) | At::Failed(place) | At::Held { place, .. },
                ..
            }) => known.memory_bytes(*place),
            None => self.memory_size(),
        }
    }

    /// What the VM is now, in few bits, where that is known: not in a callback, and not before [`Vm::freeze`].
    #[must_use]
    pub fn state(&self) -> Option<u128> {
        match &self.recall {
            Some(Recalled { known, at: At::Place(place), .. }) => known.digest(*place),
            _ => None,
        }
    }

    fn digest(&mut self) -> Option<u128> {
        let globals = self.global_values();
        let (image, memory) = (self.image.as_ref()?, self.store.data().memory?);
        image.digest(memory, &mut self.store, &globals)
    }

    fn memory_size(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    fn name(&self, entered: Entered) -> &'static str {
        match entered {
            Entered::Start => self.starting,
            Entered::Callback(callback) => callback.export(),
        }
    }

    fn enter(&mut self, entered: Entered) -> wasmtime::Result<Option<u32>> {
        let returned = match entered {
            Entered::Start => self.start().map(|()| None),
            Entered::Callback(callback) => self.dispatch(callback),
        }?;
        self.clear_stack();
        Ok(returned)
    }

    /// Says that the module comes from a compiler that keeps its stack pointer in the only global that changes, and
    /// everything else above the stack. What lies below that pointer is then nobody's once a callback has returned, and is
    /// cleared from here on, so that a VM is the same whatever its callbacks have left there.
    pub fn clears_stack(&mut self) {
        self.clears_stack = true;
    }

    fn clear_stack(&mut self) {
        let stack = self.clears_stack.then(|| self.global_values());
        let Some([Val::I32(pointer)]) = stack.as_deref() else { return };
        let pointer = pointer.cast_unsigned();
        let (Some(image), Some(memory)) = (&self.image, self.store.data().memory) else { return };
        if pointer <= self.module.data_from {
            image.clear_below(pointer as usize, memory, &mut self.store);
        }
    }

    fn dispatch(&mut self, callback: Callback) -> wasmtime::Result<Option<u32>> {
        refuel(&mut self.store, &self.limits, self.module.metered);
        self.exports.call(&mut self.store, callback)
    }

    fn start(&mut self) -> wasmtime::Result<()> {
        refuel(&mut self.store, &self.limits, self.module.metered);
        self.store.data_mut().phase = Phase::Starting;
        if let Ok(initialize) = self.instance.get_typed_func::<(), ()>(&mut self.store, "_initialize") {
            self.starting = "_initialize";
            initialize.call(&mut self.store, ())?;
            if let Ok(main) = self.instance.get_typed_func::<(u32, u32), u32>(&mut self.store, "main") {
                self.starting = "main";
                main.call(&mut self.store, (0, 0))?;
            } else if let Ok(main) = self.instance.get_typed_func::<(), u32>(&mut self.store, "__main_void") {
                self.starting = "__main_void";
                main.call(&mut self.store, ())?;
            }
        } else if let Ok(start) = self.instance.get_typed_func::<(), ()>(&mut self.store, "_start") {
            self.starting = "_start";
            start.call(&mut self.store, ())?;
        }
        self.store.data_mut().phase = Phase::Running;
        Ok(())
    }

    fn trap(&self, callback: &str, error: &wasmtime::Error) -> Trap {
        trap(callback, &self.limits, error)
    }

    /// Whether the host is told of what the guest is answered ([`Host::answered`]).
    pub fn observe(&mut self, observed: bool) {
        self.store.data_mut().observed = observed;
    }

    /// Keeps what the VM is now, for [`Vm::restore`]. From here on it runs only where it is not known what it does.
    pub fn freeze(&mut self) {
        let globals = self.global_values();
        self.image = self.store.data().memory.map(|memory| Image::take(memory, &mut self.store, globals));
        let known = Recall::new(self.memory_size(), self.digest());
        self.recall = Some(Recalled { known, at: At::Place(ROOT), memory_at: Some(ROOT) });
    }

    /// Goes back to what the VM was at [`Vm::freeze`]. Any callback that is held is forgotten.
    ///
    /// Tables and the dropping of data segments are not undone; no compiler's output changes them after its start.
    ///
    /// What is known of it is forgotten when it takes more than so many bytes.
    pub fn restore(&mut self, most_bytes: usize) {
        self.held = None;
        self.store.data_mut().phase = Phase::Running;
        match &mut self.recall {
            Some(recalled) if recalled.known.bytes() <= most_bytes => recalled.at = At::Place(ROOT),
            _ => self.forget(),
        }
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
    Trap { callback: callback.to_owned(), reason }
}

impl fmt::Debug for Vm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Vm").field("index", &self.store.data().index).finish_non_exhaustive()
    }
}
