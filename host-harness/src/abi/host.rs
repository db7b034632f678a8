//! What a VM asks of its host: one method for each hostcall, after its bytes have crossed the border.
//!
//! Every method names the calling VM, because one host serves many. A method sees whole values and never guest
//! memory, so a host can be written, wrapped or scheduled without knowing wasmtime; the border around it answers
//! bad pointers and out-of-range types by itself.

use std::{any::Any, time::Duration};

use bytes::Bytes;

use super::{BufferType, HeaderMapType, Headers, MetricType, Status, StreamType, VmIndex};

/// What a hostcall answers: a value, or the status that the guest sees (never [`Status::Ok`]).
pub type Answer<T = ()> = Result<T, Status>;

/// The arguments of `proxy_send_local_response`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalResponse {
    /// HTTP status.
    pub status: u32,
    /// Response code details, for the access log.
    pub details: Vec<u8>,
    /// Body of the response.
    pub body: Vec<u8>,
    /// Headers beside the ones that the host makes.
    pub headers: Headers,
    /// gRPC status; negative when the guest names none.
    pub grpc_status: i32,
}

/// The arguments of `proxy_http_call`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingHttpCall {
    /// Name of the cluster.
    pub upstream: Vec<u8>,
    /// Headers with their pseudo headers, as the guest gave them.
    pub headers: Headers,
    /// Body of the request.
    pub body: Vec<u8>,
    /// Trailers of the request.
    pub trailers: Headers,
    /// Time limit for the whole call in milliseconds; 0 is none.
    pub timeout_ms: i32,
}

/// The arguments of `proxy_grpc_call`, and of `proxy_grpc_stream`, which has neither a message nor a time limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingGrpc {
    /// Name of the cluster, or an `envoy.config.core.v3.GrpcService` in its byte form.
    pub upstream: Vec<u8>,
    /// Name of the service, with its package.
    pub service: Vec<u8>,
    /// Name of the method.
    pub method: Vec<u8>,
    /// Metadata.
    pub initial_metadata: Headers,
}

/// The other side of every hostcall.
///
/// Errors: the [`Status`] that each method documents goes to the guest as it is.
/// Source: proxy-wasm ABI 0.2.1; the meaning of statuses follows Envoy (`source/extensions/common/wasm/context.cc`).
pub trait Host: Any + Send {
    /// Decides whether a hostcall that other VMs can see happens now. Asked only in callbacks that may be held.
    fn schedule_point(&mut self, vm: VmIndex, point: Point<'_>) -> Go {
        let (_, _) = (vm, point);
        Go::On
    }

    /// Reported, where it is wanted, of a digest of every answer that a guest is given: what the guest is now is a function of
    /// what it was and of these.
    fn answered(&mut self, vm: VmIndex, digest: u128) {
        let (_, _) = (vm, digest);
    }

    /// Logs a message; level 0 is trace and 5 is critical.
    fn log(&mut self, vm: VmIndex, level: u32, message: &[u8]) -> Answer;
    /// The level below which messages are dropped.
    fn log_level(&mut self, vm: VmIndex) -> u32;
    /// Status of the last HTTP call that failed: a code and a message.
    fn call_status(&mut self, vm: VmIndex) -> (u32, Bytes);

    /// Reads a property; the parts of `path` are separated by NUL.
    fn property(&mut self, vm: VmIndex, path: &[u8]) -> Answer<Bytes>;
    /// Writes a property of the stream.
    fn set_property(&mut self, vm: VmIndex, path: &[u8], value: &[u8]) -> Answer;

    /// Wall clock in nanoseconds since the Unix epoch.
    fn wall_time_ns(&mut self, vm: VmIndex) -> u64;
    /// Monotonic clock in nanoseconds.
    fn monotonic_time_ns(&mut self, vm: VmIndex) -> u64;
    /// Fills `bytes` with random bytes.
    fn random(&mut self, vm: VmIndex, bytes: &mut [u8]);
    /// Environment variables of the VM, in order.
    fn environment(&mut self, vm: VmIndex) -> Vec<(String, String)>;

    /// Sets the tick period of the root context in milliseconds; 0 stops the ticks.
    fn set_tick_period(&mut self, vm: VmIndex, period_ms: u32) -> Answer;
    /// Makes the following hostcalls of this callback act on another context.
    fn set_effective_context(&mut self, vm: VmIndex, context_id: u32) -> Answer;
    /// Says that a root context, whose `proxy_on_done` returned false, is done now.
    fn done(&mut self, vm: VmIndex) -> Answer;

    /// Reads shared data: the value and its CAS number.
    fn shared_data(&mut self, vm: VmIndex, key: &[u8]) -> Answer<(Bytes, u32)>;
    /// Writes shared data; CAS 0 always writes.
    fn set_shared_data(&mut self, vm: VmIndex, key: &[u8], value: &[u8], cas: u32) -> Answer;
    /// Registers this root context as the consumer of a queue and gives the queue's token.
    fn register_queue(&mut self, vm: VmIndex, name: &[u8]) -> Answer<u32>;
    /// Finds a queue's token; an empty `vm_id` is the caller's own.
    fn resolve_queue(&mut self, vm: VmIndex, vm_id: &[u8], name: &[u8]) -> Answer<u32>;
    /// Takes the oldest item out of a queue.
    fn dequeue(&mut self, vm: VmIndex, token: u32) -> Answer<Bytes>;
    /// Puts an item into a queue, without significant anyone.
    fn push(&mut self, vm: VmIndex, token: u32, item: &[u8]) -> Answer;
    /// Notifies the consumer that the queue had when this VM pushed its last item.
    fn post(&mut self, vm: VmIndex);

    /// First value of a header.
    fn header(&mut self, vm: VmIndex, map: HeaderMapType, name: &[u8]) -> Answer<Bytes>;
    /// All pairs of a map.
    fn headers(&mut self, vm: VmIndex, map: HeaderMapType) -> Answer<Headers>;
    /// Bytes of all names and values of a map.
    fn headers_size(&mut self, vm: VmIndex, map: HeaderMapType) -> Answer<u32>;
    /// Replaces all pairs of a map.
    fn set_headers(&mut self, vm: VmIndex, map: HeaderMapType, pairs: Headers) -> Answer;
    /// Adds a header beside the ones of the same name.
    fn add_header(&mut self, vm: VmIndex, map: HeaderMapType, name: &[u8], value: &[u8]) -> Answer;
    /// Replaces every header of this name by one.
    fn replace_header(&mut self, vm: VmIndex, map: HeaderMapType, name: &[u8], value: &[u8]) -> Answer;
    /// Removes every header of this name.
    fn remove_header(&mut self, vm: VmIndex, map: HeaderMapType, name: &[u8]) -> Answer;

    /// Bytes of a buffer from `start`, at most `length`; both are clamped to what is there.
    fn buffer(&mut self, vm: VmIndex, buffer: BufferType, start: usize, length: usize) -> Answer<Bytes>;
    /// Length of a buffer in bytes.
    fn buffer_length(&mut self, vm: VmIndex, buffer: BufferType) -> Answer<usize>;
    /// Replaces, prepends to or appends to a buffer.
    fn set_buffer(
        &mut self,
        vm: VmIndex,
        buffer: BufferType,
        start: usize,
        length: usize,
        value: &[u8],
    ) -> Answer;
    /// The plugin's configuration in on_configure, else the VM's. Only ABI 0.1.0 asks this way.
    fn configuration(&mut self, vm: VmIndex) -> Bytes;

    /// Answers the request from here, after the callback has returned.
    fn send_local_response(&mut self, vm: VmIndex, response: LocalResponse) -> Answer;
    /// Resumes a paused stream, after the callback has returned.
    fn continue_stream(&mut self, vm: VmIndex, stream: StreamType) -> Answer;
    /// Resets a stream, after the callback has returned.
    fn close_stream(&mut self, vm: VmIndex, stream: StreamType) -> Answer;

    /// Starts an HTTP call for the root context and gives its token.
    fn http_call(&mut self, vm: VmIndex, call: OutgoingHttpCall) -> Answer<u32>;

    /// Starts a gRPC call with its only message for the root context and gives its token; 0 ms is no limit.
    fn grpc_call(&mut self, vm: VmIndex, call: OutgoingGrpc, message: &[u8], timeout_ms: u32) -> Answer<u32>;
    /// Opens a gRPC stream for the root context and gives its token.
    fn grpc_stream(&mut self, vm: VmIndex, stream: OutgoingGrpc) -> Answer<u32>;
    /// Sends a message on a gRPC stream, the last one if `end`.
    fn grpc_send(&mut self, vm: VmIndex, token: u32, message: &[u8], end: bool) -> Answer;
    /// Drops a gRPC call or resets a gRPC stream; no callback follows.
    fn grpc_cancel(&mut self, vm: VmIndex, token: u32) -> Answer;
    /// Drops a gRPC call, or ends what the guest sends on a gRPC stream; the server may go on.
    fn grpc_close(&mut self, vm: VmIndex, token: u32) -> Answer;

    /// Defines a metric and gives its id.
    fn define_metric(&mut self, vm: VmIndex, kind: MetricType, name: &[u8]) -> Answer<u32>;
    /// Adds to a counter or gauge.
    fn increment_metric(&mut self, vm: VmIndex, id: u32, offset: i64) -> Answer;
    /// Adds to a counter, sets a gauge, records in a histogram.
    fn record_metric(&mut self, vm: VmIndex, id: u32, value: u64) -> Answer;
    /// Reads a counter or gauge.
    fn metric(&mut self, vm: VmIndex, id: u32) -> Answer<u64>;

    /// Calls a function that the host offers beside the ABI.
    fn call_foreign_function(&mut self, vm: VmIndex, name: &[u8], argument: &[u8]) -> Answer<Bytes>;

    /// Reported of every hostcall that this border answers with [`Status::Unimplemented`] or its WASI counterpart.
    fn unimplemented(&mut self, vm: VmIndex, function: &'static str);
    /// Reported of `proc_exit`, which in Envoy only logs and returns.
    fn exit(&mut self, vm: VmIndex, code: u32);
}

/// A place in a hostcall where other VMs can tell whether it has happened, with what it is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point<'a> {
    /// Before shared data is read.
    Get {
        /// The key.
        key: &'a [u8],
    },
    /// Before shared data is written.
    Set {
        /// The key.
        key: &'a [u8],
        /// What is written.
        value: &'a [u8],
        /// The CAS number that the guest passed.
        cas: u32,
    },
    /// Before a queue gets another consumer.
    Register {
        /// The queue's name.
        queue: &'a [u8],
    },
    /// Before a queue is looked up.
    Resolve {
        /// The queue's name.
        queue: &'a [u8],
    },
    /// Before an item goes into a queue.
    Push {
        /// The queue.
        token: u32,
        /// The item.
        item: &'a [u8],
    },
    /// Between an item's going into a queue and the notice to the queue's consumer.
    Post {
        /// The queue.
        token: u32,
    },
    /// Before an item is taken out of a queue.
    Dequeue {
        /// The queue.
        token: u32,
    },
    /// Before a metric is changed.
    ChangeMetric {
        /// The metric's id.
        id: u32,
    },
    /// Before a metric is read.
    ReadMetric {
        /// The metric's id.
        id: u32,
    },
}

/// What a host says at a [`Point`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// The hostcall happens now.
    On,
    /// The callback is left here; [`super::Vm::call`] gives [`super::Stop::Held`].
    Hold,
}

impl OutgoingHttpCall {
    /// The time limit, none for 0.
    ///
    /// Errors: [`Status::BadArgument`] for a negative limit.
    pub fn timeout(&self) -> Answer<Option<Duration>> {
        let timeout_ms = u64::try_from(self.timeout_ms).map_err(|_| Status::BadArgument)?;
        Ok((timeout_ms > 0).then(|| Duration::from_millis(timeout_ms)))
    }
}
