//! What the host calls in a guest: every callback of the ABI that an HTTP filter can receive, as a value.
//!
//! A value and not a method each, so that a schedule can name, hold back and print a callback.

use std::fmt;

/// One callback with its arguments, in the ABI's order. Sizes are counts of pairs or bytes, as the ABI has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callback {
    /// `proxy_on_context_create(context_id, parent_id)`; the parent of a root context is 0.
    ContextCreate {
        /// The new context.
        context_id: u32,
        /// Its root context, 0 for a root context.
        parent_id: u32,
    },
    /// `proxy_on_vm_start(root_id, vm_configuration_size)`
    VmStart {
        /// The root context.
        root_id: u32,
        /// Bytes of VM configuration.
        configuration_size: u32,
    },
    /// `proxy_on_configure(root_id, plugin_configuration_size)`
    Configure {
        /// The root context.
        root_id: u32,
        /// Bytes of plugin configuration.
        configuration_size: u32,
    },
    /// `proxy_on_tick(root_id)`
    Tick {
        /// The root context.
        root_id: u32,
    },
    /// `proxy_on_queue_ready(root_id, token)`
    QueueReady {
        /// The root context that registered the queue.
        root_id: u32,
        /// The queue.
        token: u32,
    },
    /// `proxy_on_http_call_response(root_id, token, headers, body_size, trailers)`
    HttpCallResponse {
        /// The root context that made the call.
        root_id: u32,
        /// The call.
        token: u32,
        /// Count of headers; 0 means that the call failed.
        headers: u32,
        /// Bytes of body.
        body_size: u32,
        /// Count of trailers.
        trailers: u32,
    },
    /// `proxy_on_grpc_receive_initial_metadata(root_id, token, headers)`
    GrpcReceiveInitialMetadata {
        /// The root context that opened the stream.
        root_id: u32,
        /// The stream.
        token: u32,
        /// Count of headers.
        headers: u32,
    },
    /// `proxy_on_grpc_receive(root_id, token, message_size)`
    GrpcReceive {
        /// The root context that made the call or opened the stream.
        root_id: u32,
        /// The call or stream.
        token: u32,
        /// Bytes of the message.
        message_size: u32,
    },
    /// `proxy_on_grpc_receive_trailing_metadata(root_id, token, trailers)`
    GrpcReceiveTrailingMetadata {
        /// The root context that opened the stream.
        root_id: u32,
        /// The stream.
        token: u32,
        /// Count of trailers.
        trailers: u32,
    },
    /// `proxy_on_grpc_close(root_id, token, status_code)`
    GrpcClose {
        /// The root context that made the call or opened the stream.
        root_id: u32,
        /// The call or stream.
        token: u32,
        /// gRPC status.
        status_code: u32,
    },
    /// `proxy_on_new_connection(context_id)`, which only network filters get: what they do with it distinguishes them.
    NewConnection {
        /// The stream context.
        context_id: u32,
    },
    /// `proxy_on_request_headers(context_id, headers, end_of_stream)`
    RequestHeaders {
        /// The stream context.
        context_id: u32,
        /// Count of headers.
        headers: u32,
        /// Whether nothing follows.
        end_of_stream: bool,
    },
    /// `proxy_on_request_body(context_id, body_size, end_of_stream)`
    RequestBody {
        /// The stream context.
        context_id: u32,
        /// Bytes that can be read now.
        body_size: u32,
        /// Whether nothing follows.
        end_of_stream: bool,
    },
    /// `proxy_on_request_trailers(context_id, trailers)`
    RequestTrailers {
        /// The stream context.
        context_id: u32,
        /// Count of trailers.
        trailers: u32,
    },
    /// `proxy_on_response_headers(context_id, headers, end_of_stream)`
    ResponseHeaders {
        /// The stream context.
        context_id: u32,
        /// Count of headers.
        headers: u32,
        /// Whether nothing follows.
        end_of_stream: bool,
    },
    /// `proxy_on_response_body(context_id, body_size, end_of_stream)`
    ResponseBody {
        /// The stream context.
        context_id: u32,
        /// Bytes that can be read now.
        body_size: u32,
        /// Whether nothing follows.
        end_of_stream: bool,
    },
    /// `proxy_on_response_trailers(context_id, trailers)`
    ResponseTrailers {
        /// The stream context.
        context_id: u32,
        /// Count of trailers.
        trailers: u32,
    },
    /// `proxy_on_log(context_id)`
    Log {
        /// The context.
        context_id: u32,
    },
    /// `proxy_on_done(context_id)`
    Done {
        /// The context.
        context_id: u32,
    },
    /// `proxy_on_delete(context_id)`
    Delete {
        /// The context.
        context_id: u32,
    },
}

// === impl Callback ===

impl Callback {
    /// The export that is called.
    #[must_use]
    pub fn export(&self) -> &'static str {
        match self {
            Callback::ContextCreate { .. } => "proxy_on_context_create",
            Callback::VmStart { .. } => "proxy_on_vm_start",
            Callback::Configure { .. } => "proxy_on_configure",
            Callback::Tick { .. } => "proxy_on_tick",
            Callback::QueueReady { .. } => "proxy_on_queue_ready",
            Callback::HttpCallResponse { .. } => "proxy_on_http_call_response",
            Callback::GrpcReceiveInitialMetadata { .. } => "proxy_on_grpc_receive_initial_metadata",
            Callback::GrpcReceive { .. } => "proxy_on_grpc_receive",
            Callback::GrpcReceiveTrailingMetadata { .. } => "proxy_on_grpc_receive_trailing_metadata",
            Callback::GrpcClose { .. } => "proxy_on_grpc_close",
            Callback::NewConnection { .. } => "proxy_on_new_connection",
            Callback::RequestHeaders { .. } => "proxy_on_request_headers",
            Callback::RequestBody { .. } => "proxy_on_request_body",
            Callback::RequestTrailers { .. } => "proxy_on_request_trailers",
            Callback::ResponseHeaders { .. } => "proxy_on_response_headers",
            Callback::ResponseBody { .. } => "proxy_on_response_body",
            Callback::ResponseTrailers { .. } => "proxy_on_response_trailers",
            Callback::Log { .. } => "proxy_on_log",
            Callback::Done { .. } => "proxy_on_done",
            Callback::Delete { .. } => "proxy_on_delete",
        }
    }

    /// The callback with its arguments, in few bits.
    pub(crate) fn digest(&self) -> u128 {
        let words = match *self {
            Callback::ContextCreate { context_id, parent_id } => [context_id, parent_id, 0, 0, 0],
            Callback::VmStart { root_id, configuration_size }
            | Callback::Configure { root_id, configuration_size } => [root_id, configuration_size, 0, 0, 0],
            Callback::Tick { root_id } => [root_id, 0, 0, 0, 0],
            Callback::QueueReady { root_id, token } => [root_id, token, 0, 0, 0],
            Callback::HttpCallResponse { root_id, token, headers, body_size, trailers } => {
                [root_id, token, headers, body_size, trailers]
            }
            Callback::GrpcReceiveInitialMetadata { root_id, token, headers: number }
            | Callback::GrpcReceive { root_id, token, message_size: number }
            | Callback::GrpcReceiveTrailingMetadata { root_id, token, trailers: number }
            | Callback::GrpcClose { root_id, token, status_code: number } => [root_id, token, number, 0, 0],
            Callback::RequestHeaders { context_id, headers, end_of_stream }
            | Callback::ResponseHeaders { context_id, headers, end_of_stream } => {
                [context_id, headers, u32::from(end_of_stream), 0, 0]
            }
            Callback::RequestBody { context_id, body_size, end_of_stream }
            | Callback::ResponseBody { context_id, body_size, end_of_stream } => {
                [context_id, body_size, u32::from(end_of_stream), 0, 0]
            }
            Callback::RequestTrailers { context_id, trailers }
            | Callback::ResponseTrailers { context_id, trailers } => [context_id, trailers, 0, 0, 0],
            Callback::NewConnection { context_id }
            | Callback::Log { context_id }
            | Callback::Done { context_id }
            | Callback::Delete { context_id } => [context_id, 0, 0, 0, 0],
        };
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(self.export().as_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        xxhash_rust::xxh3::xxh3_128(&bytes)
    }

    /// The context that the callback is about, which hostcalls act on unless the guest chooses another.
    #[must_use]
    pub fn context_id(&self) -> u32 {
        match *self {
            Callback::ContextCreate { context_id, .. }
            | Callback::NewConnection { context_id }
            | Callback::RequestHeaders { context_id, .. }
            | Callback::RequestBody { context_id, .. }
            | Callback::RequestTrailers { context_id, .. }
            | Callback::ResponseHeaders { context_id, .. }
            | Callback::ResponseBody { context_id, .. }
            | Callback::ResponseTrailers { context_id, .. }
            | Callback::Log { context_id }
            | Callback::Done { context_id }
            | Callback::Delete { context_id } => context_id,
            Callback::VmStart { root_id, .. }
            | Callback::Configure { root_id, .. }
            | Callback::Tick { root_id }
            | Callback::QueueReady { root_id, .. }
            | Callback::HttpCallResponse { root_id, .. }
            | Callback::GrpcReceiveInitialMetadata { root_id, .. }
            | Callback::GrpcReceive { root_id, .. }
            | Callback::GrpcReceiveTrailingMetadata { root_id, .. }
            | Callback::GrpcClose { root_id, .. } => root_id,
        }
    }
}

impl fmt::Display for Callback {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}({})", self.export(), self.context_id())
    }
}
