//! What is outside Envoy: clusters that answer, and the clock.
//!
//! A [`World`] reports what happened on the wire and nothing more; what Envoy makes of it (a synthesized 503 or 504, a
//! reset, a time limit) is decided once, in [`crate::envoy`], so that a script and a real server cannot differ in it.

mod grpc;
mod live;
mod reply;
mod scripted;

use std::{any::Any, fmt, time::Duration};

use bytes::Bytes;

use crate::abi::Headers;

pub use grpc::{GrpcAnswer, GrpcAsked, GrpcCall, GrpcEvent, GrpcEvents, GrpcReply, GrpcSeen, GrpcWorld};
pub use live::Live;
pub use reply::Reply;
pub use scripted::{ANY_CLUSTER, Route, Scripted, Seen};

/// Number of one HTTP exchange with a cluster, counted from 1 over a whole Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// One HTTP request that Envoy sends to a cluster: an HTTP call of a filter, or a request on its way upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number.
    pub id: CallId,
    /// Who sends it.
    pub origin: Origin,
    /// Name of the cluster.
    pub cluster: String,
    /// Headers with their pseudo headers.
    pub headers: Headers,
    /// Body; empty is none.
    pub body: Bytes,
    /// Trailers.
    pub trailers: Headers,
    /// Time limit of the whole exchange, which Envoy keeps by itself.
    pub timeout: Option<Duration>,
}

/// Who sends a [`Call`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A filter's `proxy_http_call`.
    HttpCall {
        /// Which VM.
        vm: crate::envoy::VmRole,
        /// Token of the call in that VM.
        token: u32,
    },
    /// A filter's `proxy_grpc_call` or `proxy_grpc_stream`.
    GrpcCall {
        /// Which VM.
        vm: crate::envoy::VmRole,
        /// Token of the call or stream in that VM.
        token: u32,
    },
    /// Envoy's router, for a stream.
    Router {
        /// Which stream.
        stream: crate::envoy::StreamId,
    },
}

/// A whole HTTP response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers without pseudo headers.
    pub headers: Headers,
    /// Body.
    pub body: Bytes,
    /// Trailers.
    pub trailers: Headers,
}

/// What came of a [`Call`] on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A whole response.
    Response(Response),
    /// No connection was made.
    ConnectFailure,
    /// The connection ended before the response's headers.
    ResetBeforeHeaders,
    /// The connection ended in the middle of the response, of which this much had come.
    ResetAfterHeaders(Response),
}

/// A call that was not even started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such cluster.
    #[error("no such cluster")]
    UnknownCluster,
    /// The cluster has no host to send to, or no room.
    #[error("no healthy host")]
    NoHost,
}

/// How a started call will be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// This will have happened after this time, on the world's clock.
    After(Duration, Outcome),
    /// [`World::wait`] will tell.
    Pending,
    /// Nothing will ever come.
    Never,
}

/// What is outside Envoy. Times are since the world began.
pub trait World: Any + Send {
    /// Time now.
    fn now(&self) -> Duration;
    /// Time since the Unix epoch when the world began.
    fn epoch(&self) -> Duration;
    /// Starts a call.
    ///
    /// Errors: a [`Refusal`], when it is not started.
    fn send(&mut self, call: &Call) -> Result<Sent, Refusal>;
    /// Forgets a call: its outcome is of no interest any more.
    fn cancel(&mut self, call: CallId);
    /// Lets time pass until `until`, or until a [`Sent::Pending`] call has its outcome, which is then given.
    fn wait(&mut self, until: Duration) -> Option<(CallId, Outcome)>;
    /// Whether a call is [`Sent::Pending`].
    fn is_pending(&self) -> bool;
    /// Its gRPC servers; `None` for a world that has none, in which every gRPC exchange of a filter fails.
    fn grpc(&mut self) -> Option<&mut dyn GrpcWorld> {
        None
    }
    /// What it would answer from now on, in few bits: two worlds with the same answer everything alike.
    fn fingerprint(&self) -> u64 {
        0
    }
    /// A second world that goes on alone from here; `None` where that cannot be, as with real servers.
    fn fork(&self) -> Option<Box<dyn World>> {
        None
    }
}

// === impl Call ===

impl Call {
    /// First value of a header, or of a pseudo header such as `:path`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(n, _)| n == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    /// Whether a text is in one of its headers, which include the path, or in its body.
    #[must_use]
    pub fn carries(&self, text: &[u8]) -> bool {
        let holds = |bytes: &[u8]| text.is_empty() || bytes.windows(text.len()).any(|part| part == text);
        self.headers.iter().any(|(_, value)| holds(value)) || holds(&self.body)
    }

    /// The request's path with its query; empty when there is none.
    #[must_use]
    pub fn path(&self) -> String {
        String::from_utf8_lossy(self.header(":path").unwrap_or_default()).into_owned()
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "call {}", self.0)
    }
}
