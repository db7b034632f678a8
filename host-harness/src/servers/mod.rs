//! Real HTTP/1.1 servers on loopback, and a raw client for what an ordinary one refuses to send.
//!
//! A server runs in a thread of its own and ends with its owner; its methods may be called from any thread while
//! requests are under way. Names resolve nothing here: every server binds `127.0.0.1:0`.

mod bundle_server;
pub mod client;
mod serving;
mod traffic;
mod upstream;

pub use bundle_server::{BundleServer, Fault, Published};
pub use traffic::{Answer, SeenRequest, Traffic};
pub use upstream::{Echo, EchoHeader, Upstream};
