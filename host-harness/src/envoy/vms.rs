//! What the host knows of each VM: its role, its contexts, its timer, and what one callback leaves behind.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use bytes::Bytes;

use super::{
    events::EventKey,
    exchange::StreamId,
    grpc::{GrpcReceived, GrpcStep, GrpcTokens},
    metrics::MetricIds,
    random::Random,
    shared_queue::Consumer,
    stream::Direction,
};
use crate::abi::{Headers, LocalResponse, Trap};

/// The root context's id: there is one plugin in each VM, and ids count from 1.
pub(super) const ROOT: u32 = 1;
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
    /// Tick period of the present VM's root context.
    pub tick_period: Option<Duration>,
}

/// What the host knows of one VM, from its start to its end.
#[derive(Debug, Clone)]
pub(super) struct VmRecord {
    pub(super) role: VmRole,
    /// It trapped or was thrown away, and is not called any more.
    pub(super) failed: bool,
    /// The callback that failed it.
    pub(super) trap: Option<Trap>,
    /// Live contexts, with the stream of each stream context.
    pub(super) contexts: BTreeMap<u32, Option<StreamId>>,
    next_context_id: u32,
    /// The context of the running callback, 0 outside of any.
    pub(super) current: u32,
    /// The context that the guest chose instead, 0 for none.
    pub(super) effective: u32,
    /// Token of the next HTTP call: 4, 8, 12 and so on.
    pub(super) next_token: u32,
    pub(super) tick_period: Option<Duration>,
    pub(super) tick_event: Option<EventKey>,
    /// Code and message of `proxy_get_status`.
    pub(super) status: (u32, Bytes),
    /// What the running `proxy_on_http_call_response` can read.
    pub(super) call_response: Option<CallResponse>,
    pub(super) grpc_tokens: GrpcTokens,
    /// What the running gRPC callback can read.
    pub(super) grpc: GrpcReceived,
    /// Whether `proxy_on_configure` runs, the only time that the plugin's configuration can be read.
    pub(super) configuring: bool,
    /// Set by a local response: the callback's own return value does not count.
    pub(super) stop_iteration: bool,
    pub(super) after_call: VecDeque<AfterCall>,
    /// The queue into which the running hostcall has put an item, and whom to tell.
    pub(super) pushed: Option<(Consumer, u32)>,
    /// Whether the running callback can be held.
    pub(super) may_hold: bool,
    /// Whether the running callback was held and comes to the same hostcall again.
    pub(super) resumed: bool,
    /// Whether the root's `proxy_on_done` returned false and `proxy_done` is awaited.
    pub(super) awaiting_done: bool,
    pub(super) metric_ids: MetricIds,
    pub(super) random: Random,
    pub(super) callbacks: BTreeMap<&'static str, u64>,
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
    Continue { stream: StreamId, direction: Direction },
    Close { stream: StreamId },
    DeleteRoot,
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

impl fmt::Display for VmSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VmSlot::Main => formatter.write_str("main"),
            VmSlot::Worker(worker) => write!(formatter, "w{worker}"),
        }
    }
}

// === impl VmRecord ===

impl VmRecord {
    /// A VM with its own stream of random numbers, which depends on nothing but the seed and the VM's number.
    pub(super) fn new(role: VmRole, seed: u64, number: usize) -> VmRecord {
        let random = Random::new(seed, u64::try_from(number).unwrap_or(u64::MAX));
        VmRecord {
            role,
            failed: false,
            trap: None,
            contexts: BTreeMap::from([(ROOT, None)]),
            next_context_id: ROOT + 1,
            current: 0,
            effective: 0,
            next_token: TOKEN_STEP,
            tick_period: None,
            tick_event: None,
            status: (0, Bytes::new()),
            call_response: None,
            grpc_tokens: GrpcTokens::default(),
            grpc: GrpcReceived::default(),
            configuring: false,
            stop_iteration: false,
            after_call: VecDeque::new(),
            pushed: None,
            may_hold: false,
            resumed: false,
            awaiting_done: false,
            metric_ids: MetricIds::default(),
            random,
            callbacks: BTreeMap::new(),
        }
    }

    /// Gives an id to a stream's context.
    pub(super) fn add_context(&mut self, stream: StreamId) -> u32 {
        let id = self.next_context_id;
        self.next_context_id = self.next_context_id.wrapping_add(1).max(ROOT + 1);
        self.contexts.insert(id, Some(stream));
        id
    }

    /// The context that hostcalls act on: the one that the guest chose while it lives, else the callback's own.
    pub(super) fn acting(&self) -> u32 {
        if self.contexts.contains_key(&self.effective) { self.effective } else { self.current }
    }

    /// The stream that hostcalls act on; `None` for a root context.
    pub(super) fn acting_stream(&self) -> Option<StreamId> {
        self.contexts.get(&self.acting()).copied().flatten()
    }

    /// The root context of the context that hostcalls act on, which calls belong to.
    pub(super) fn acting_root(&self) -> u32 {
        ROOT
    }

    /// Moves on to the next token.
    pub(super) fn spend_token(&mut self) {
        self.next_token = self.next_token.wrapping_add(TOKEN_STEP).max(TOKEN_STEP);
    }
}
