//! What the host knows of each VM: its role, its contexts, its timer, and what one callback leaves behind.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{
    core::PluginIndex,
    events::EventKey,
    exchange::StreamId,
    grpc::{GrpcReceived, GrpcStep, GrpcTokens},
    metrics::MetricIds,
    options::PluginOptions,
    random::Random,
    shared_queue::Consumer,
    stream::Direction,
};
use crate::abi::{Headers, LocalResponse, Trap};

/// Contexts count from here; 0 is the VM itself.
pub(super) const FIRST_CONTEXT: u32 = 1;
/// Distance of two tokens of HTTP calls.
const TOKEN_STEP: u32 = 4;

/// What a VM is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VmRole {
    /// Tries the configuration on the main thread and is thrown away.
    Canary,
    /// The permanent VM of the main thread, which sees no requests.
    Main,
    /// The VM of a worker, counted from 0.
    Worker(usize),
}

/// The threads that have a VM. The canary runs on the main thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum VmSlot {
    Main,
    Worker(usize),
}

/// Number of a [`VmKey`].
pub(super) type KeyIndex = usize;

/// What makes two plugins share a VM, beside the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VmKey {
    /// `vm_config.vm_id`
    pub(super) vm_id: String,
    /// `vm_config.configuration`
    pub(super) vm_configuration: Vec<u8>,
}

/// Whether a thread's VM can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmState {
    /// It can.
    Running,
    /// It trapped and is not called any more.
    Failed,
    /// It was never configured; requests pass the plugin by.
    Absent,
}

/// A thread's VM, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmView {
    /// What it is for.
    pub role: VmRole,
    /// Whether it can be called.
    pub state: VmState,
    /// How many times a VM was made for this thread; more than 1 after a reload.
    pub loads: u32,
    /// How many times each callback was called in the present VM.
    pub callbacks: BTreeMap<&'static str, u64>,
    /// Bytes of memory of the present VM.
    pub memory_bytes: usize,
    /// Tick period of the present VM's first root context.
    pub tick_period: Option<Duration>,
    /// The present VM's root contexts.
    pub roots: Vec<RootView>,
}

/// A root context, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootView {
    /// Its number.
    pub id: u32,
    /// Name of the plugin.
    pub plugin: String,
    /// The plugin's configuration.
    pub configuration: Vec<u8>,
    /// How often it ticks.
    pub tick_period: Option<Duration>,
}

/// What the host knows of one VM, from its start to its end.
#[derive(Debug, Clone)]
pub(super) struct VmRecord {
    pub(super) role: VmRole,
    pub(super) key: KeyIndex,
    /// It trapped or was thrown away, and is not called any more.
    pub(super) failed: bool,
    /// It fails in its next callback, or in the one that is held, because the scenario says so.
    pub(super) doomed: bool,
    /// The callback that failed it.
    pub(super) trap: Option<Trap>,
    /// Live contexts.
    pub(super) contexts: BTreeMap<u32, ContextOf>,
    /// The root contexts among them.
    pub(super) roots: BTreeMap<u32, Root>,
    next_context_id: u32,
    /// The time that it was given last.
    pub(super) told_time: Duration,
    /// The context of the running callback, 0 outside of any.
    pub(super) current: u32,
    /// The context that the guest chose instead, 0 for none.
    pub(super) effective: u32,
    /// Token of the next HTTP call: 4, 8, 12 and so on.
    pub(super) next_token: u32,
    pub(super) grpc_tokens: GrpcTokens,
    /// Set by a local response: the callback's own return value does not count.
    pub(super) stop_iteration: bool,
    pub(super) after_call: VecDeque<AfterCall>,
    /// The queue into which the running hostcall has put an item, and whom to notify.
    pub(super) pushed: Option<(Consumer, u32)>,
    /// What the running turn has read of shared data: the keys, each with its CAS number, 0 where there was none.
    pub(super) read: Vec<(Vec<u8>, u32)>,
    /// Whether the running callback can be held.
    pub(super) may_hold: bool,
    /// Whether the running callback was held and comes to the same hostcall again.
    pub(super) resumed: bool,
    pub(super) metric_ids: MetricIds,
    pub(super) random: Random,
    pub(super) callbacks: BTreeMap<&'static str, u64>,
}

/// What a context is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContextOf {
    /// A plugin.
    Root,
    /// A stream, as the filter at this place of its chain sees it.
    Stream { stream: StreamId, filter: usize, root_id: u32 },
}

/// What the host knows of one root context.
#[derive(Debug, Clone)]
pub(super) struct Root {
    /// The plugin's number.
    pub(super) number: PluginIndex,
    pub(super) plugin: Arc<PluginOptions>,
    pub(super) tick_period: Option<Duration>,
    pub(super) tick_event: Option<EventKey>,
    /// Since when its next tick is waited for: since the timer was set first, however often it has been set again.
    pub(super) tick_awaited: Option<Duration>,
    /// The longest period that was set since then.
    pub(super) tick_longest: Duration,
    /// Code and message of `proxy_get_status`.
    pub(super) status: (u32, Bytes),
    /// What the running `proxy_on_http_call_response` can read.
    pub(super) call_response: Option<CallResponse>,
    /// What the running gRPC callback can read.
    pub(super) grpc: GrpcReceived,
    /// Whether `proxy_on_configure` runs, the only time that the plugin's configuration can be read.
    pub(super) configuring: bool,
    /// Whether `proxy_on_done` returned false and `proxy_done` is awaited.
    pub(super) awaiting_done: bool,
}

/// The response of an HTTP call, while its callback runs.
#[derive(Debug, Clone)]
pub(super) struct CallResponse {
    pub(super) headers: Headers,
    pub(super) body: Bytes,
    pub(super) trailers: Headers,
}

/// What a callback asked for and what happens once it has returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AfterCall {
    LocalResponse { stream: StreamId, response: LocalResponse },
    Continue { stream: StreamId, filter: usize, direction: Direction },
    Close { stream: StreamId },
    DeleteRoot { root_id: u32 },
    Grpc { root_id: u32, token: u32, step: GrpcStep },
}

/// A name that a VM which takes another's place does not have.
pub(super) fn vm_name(thread: VmSlot, number: usize) -> String {
    format!("{thread}/{number}")
}

// === impl VmRole ===

impl VmRole {
    pub(crate) fn slot(self) -> VmSlot {
        match self {
            VmRole::Canary | VmRole::Main => VmSlot::Main,
            VmRole::Worker(worker) => VmSlot::Worker(worker),
        }
    }
}

impl fmt::Display for VmRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VmRole::Canary => formatter.write_str("canary"),
            VmRole::Main => formatter.write_str("main"),
            VmRole::Worker(worker) => write!(formatter, "worker {worker}"),
        }
    }
}

impl VmSlot {
    /// The role of a VM that stays on this thread.
    pub(super) fn role(self) -> VmRole {
        match self {
            VmSlot::Main => VmRole::Main,
            VmSlot::Worker(worker) => VmRole::Worker(worker),
        }
    }
}

impl fmt::Display for VmSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VmSlot::Main => formatter.write_str("main"),
            VmSlot::Worker(worker) => write!(formatter, "w{worker}"),
        }
    }
}

// === impl Root ===

impl Root {
    fn new(number: PluginIndex, plugin: Arc<PluginOptions>) -> Root {
        Root {
            number,
            plugin,
            tick_period: None,
            tick_event: None,
            tick_awaited: None,
            tick_longest: Duration::ZERO,
            status: (0, Bytes::new()),
            call_response: None,
            grpc: GrpcReceived::default(),
            configuring: false,
            awaiting_done: false,
        }
    }
}

// === impl VmRecord ===

impl VmRecord {
    /// A VM with its own stream of random numbers, which depends on nothing but the seed and the VM's number.
    pub(super) fn new(role: VmRole, key: KeyIndex, seed: u64, number: usize) -> VmRecord {
        let random = Random::new(seed, u64::try_from(number).unwrap_or(u64::MAX));
        VmRecord {
            role,
            key,
            failed: false,
            doomed: false,
            trap: None,
            contexts: BTreeMap::new(),
            roots: BTreeMap::new(),
            next_context_id: FIRST_CONTEXT,
            told_time: Duration::ZERO,
            current: 0,
            effective: 0,
            next_token: TOKEN_STEP,
            grpc_tokens: GrpcTokens::default(),
            stop_iteration: false,
            after_call: VecDeque::new(),
            pushed: None,
            read: Vec::new(),
            may_hold: false,
            resumed: false,
            metric_ids: MetricIds::default(),
            random,
            callbacks: BTreeMap::new(),
        }
    }

    /// Gives an id to a plugin's root context.
    pub(super) fn add_root(&mut self, number: PluginIndex, plugin: Arc<PluginOptions>) -> u32 {
        let id = self.add_context(ContextOf::Root);
        self.roots.insert(id, Root::new(number, plugin));
        id
    }

    /// Gives an id to a context.
    pub(super) fn add_context(&mut self, of: ContextOf) -> u32 {
        let id = self.next_context_id;
        self.next_context_id = self.next_context_id.wrapping_add(1).max(FIRST_CONTEXT);
        self.contexts.insert(id, of);
        id
    }

    /// The context that hostcalls act on: the one that the guest chose while it lives, else the callback's own.
    pub(super) fn acting(&self) -> u32 {
        if self.contexts.contains_key(&self.effective) { self.effective } else { self.current }
    }

    /// The stream that hostcalls act on, and the filter that asks; `None` for a root context.
    pub(super) fn acting_filter(&self) -> Option<(StreamId, usize)> {
        match self.contexts.get(&self.acting())? {
            ContextOf::Stream { stream, filter, .. } => Some((*stream, *filter)),
            ContextOf::Root => None,
        }
    }

    /// The stream that hostcalls act on; `None` for a root context.
    pub(super) fn acting_stream(&self) -> Option<StreamId> {
        self.acting_filter().map(|(stream, _)| stream)
    }

    /// The root context of the context that hostcalls act on, which timers and calls belong to.
    pub(super) fn acting_root(&self) -> u32 {
        match self.contexts.get(&self.acting()) {
            Some(ContextOf::Stream { root_id, .. }) => *root_id,
            Some(ContextOf::Root) | None => self.acting(),
        }
    }

    /// The same, with what is known of it.
    pub(super) fn root(&self) -> Option<&Root> {
        self.roots.get(&self.acting_root())
    }

    /// Moves on to the next token.
    pub(super) fn spend_token(&mut self) {
        self.next_token = self.next_token.wrapping_add(TOKEN_STEP).max(TOKEN_STEP);
    }
}
