//! The numbers of ABI 0.2.1: status codes and the types of maps, buffers, streams and metrics.
//!
//! Source: proxy-wasm-cpp-host `include/proxy-wasm/context_interface.h` and the C++ SDK's `proxy_wasm_common.h`.

/// What a hostcall returns. The discriminants are the ABI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[repr(u32)]
pub enum Status {
    /// 0: done.
    #[error("ok")]
    Ok = 0,
    /// 1: there is no such thing.
    #[error("not found")]
    NotFound = 1,
    /// 2: an argument is out of range, or not usable now.
    #[error("bad argument")]
    BadArgument = 2,
    /// 3: the value has no byte form.
    #[error("serialization failure")]
    SerializationFailure = 3,
    /// 4: the bytes could not be parsed.
    #[error("parse failure")]
    ParseFailure = 4,
    /// 6: a pointer or length leads outside of the guest's memory.
    #[error("invalid memory access")]
    InvalidMemoryAccess = 6,
    /// 7: the queue holds nothing.
    #[error("empty")]
    Empty = 7,
    /// 8: the value was changed since it was read.
    #[error("cas mismatch")]
    CasMismatch = 8,
    /// 10: the host could not do it.
    #[error("internal failure")]
    InternalFailure = 10,
    /// 11: a connection was reset; the code that `proxy_get_status` gives after a failed HTTP call.
    #[error("broken connection")]
    BrokenConnection = 11,
    /// 12: this host does not have the function.
    #[error("unimplemented")]
    Unimplemented = 12,
}

/// Which header or trailer map a hostcall means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderMapType {
    /// 0: headers of the request.
    RequestHeaders,
    /// 1: trailers of the request.
    RequestTrailers,
    /// 2: headers of the response.
    ResponseHeaders,
    /// 3: trailers of the response.
    ResponseTrailers,
    /// 4: gRPC initial metadata.
    GrpcReceiveInitialMetadata,
    /// 5: gRPC trailing metadata.
    GrpcReceiveTrailingMetadata,
    /// 6: headers of the HTTP call's response.
    HttpCallResponseHeaders,
    /// 7: trailers of the HTTP call's response.
    HttpCallResponseTrailers,
}

/// Which buffer a hostcall means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BufferType {
    /// 0: body of the request.
    HttpRequestBody,
    /// 1: body of the response.
    HttpResponseBody,
    /// 2: TCP bytes from downstream.
    NetworkDownstreamData,
    /// 3: TCP bytes from upstream.
    NetworkUpstreamData,
    /// 4: body of the HTTP call's response.
    HttpCallResponseBody,
    /// 5: a gRPC message.
    GrpcReceiveBuffer,
    /// 6: the VM's configuration.
    VmConfiguration,
    /// 7: the plugin's configuration.
    PluginConfiguration,
    /// 8: argument of a foreign function callback.
    CallData,
}

/// Which half of which connection a hostcall means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamType {
    /// 0: the HTTP request.
    Request,
    /// 1: the HTTP response.
    Response,
    /// 2: the TCP connection from downstream.
    Downstream,
    /// 3: the TCP connection to upstream.
    Upstream,
}

/// What kind of metric is defined. The discriminants are the low two bits of a metric's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricType {
    /// 0: only grows.
    Counter = 0,
    /// 1: a current value.
    Gauge = 1,
    /// 2: a distribution.
    Histogram = 2,
}

// === impl Status ===

impl Status {
    /// The number that the guest sees.
    #[must_use]
    pub fn code(self) -> u32 {
        self as u32
    }
}

macro_rules! from_number {
    ($name:ident: $($number:literal => $variant:ident),+ $(,)?) => {
        impl TryFrom<u32> for $name {
            type Error = Status;

            /// Errors: [`Status::BadArgument`] for a number that the ABI does not know.
            fn try_from(number: u32) -> Result<Self, Status> {
                match number {
                    $($number => Ok(Self::$variant),)+
                    _ => Err(Status::BadArgument),
                }
            }
        }
    };
}

from_number!(Status:
    0 => Ok, 1 => NotFound, 2 => BadArgument, 3 => SerializationFailure, 4 => ParseFailure, 6 => InvalidMemoryAccess,
    7 => Empty, 8 => CasMismatch, 10 => InternalFailure, 11 => BrokenConnection, 12 => Unimplemented,
);
from_number!(HeaderMapType:
    0 => RequestHeaders, 1 => RequestTrailers, 2 => ResponseHeaders, 3 => ResponseTrailers,
    4 => GrpcReceiveInitialMetadata, 5 => GrpcReceiveTrailingMetadata,
    6 => HttpCallResponseHeaders, 7 => HttpCallResponseTrailers,
);
from_number!(BufferType:
    0 => HttpRequestBody, 1 => HttpResponseBody, 2 => NetworkDownstreamData, 3 => NetworkUpstreamData,
    4 => HttpCallResponseBody, 5 => GrpcReceiveBuffer, 6 => VmConfiguration, 7 => PluginConfiguration,
    8 => CallData,
);
from_number!(StreamType: 0 => Request, 1 => Response, 2 => Downstream, 3 => Upstream);
from_number!(MetricType: 0 => Counter, 1 => Gauge, 2 => Histogram);
