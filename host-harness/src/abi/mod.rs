//! The proxy-wasm ABI on wasmtime: how a module is loaded, how callbacks go in, how hostcalls come out.
//!
//! | part | what it is |
//! |---|---|
//! | [`Runtime`], [`Module`] | engine, linker and compilation cache; one compiled module, checked against the ABI |
//! | [`Vm`], [`Callback`] | one instance of a module, and what the host may call in it |
//! | [`Host`] | the other side of every hostcall, after its bytes have crossed the border |
//!
//! Nothing here knows about Envoy: what a hostcall *means* is decided by the [`Host`] that is lent to a [`Vm`]
//! for the length of one callback.

mod border;
mod callback;
mod compiled;
mod exports;
mod host;
mod hostcalls;
mod journal;
mod memory;
mod module;
pub mod pairs;
mod recall;
mod runtime;
mod snapshot;
mod status;
mod vm;
mod wasi;

pub use callback::Callback;
pub use host::{Answer, Go, Host, LocalResponse, OutgoingGrpc, OutgoingHttpCall, Point};
pub use module::{AbiVersion, LoadError, Module};
pub use runtime::{HostFunction, Runtime, RuntimeOptions};
pub use status::{BufferType, HeaderMapType, MetricType, Status, StreamType};
pub use vm::{HostSlot, Stop, Trap, Vm, VmIndex, VmLimits};

/// A header or trailer map as Envoy keeps it: names in lower case, in order, duplicates apart.
pub type Headers = Vec<(Vec<u8>, Vec<u8>)>;
