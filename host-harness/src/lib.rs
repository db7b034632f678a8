//! A proxy-wasm host with Envoy's semantics that runs offline, and what the `portcullis` command is made of.
//!
//! | module | what it is |
//! |---|---|
//! | [`abi`] | the proxy-wasm ABI: hostcalls, callbacks, WASI, and how bytes cross the border |
//! | [`envoy`] | Envoy as a filter sees it: VMs, shared data, queues, ticks, streams, callouts |
//! | [`world`] | what is outside Envoy: answers from a script in virtual time, or from real HTTP on loopback |
//! | [`race`] | scenarios run under many schedules, and the schedules that break them |
//! | [`servers`] | real HTTP servers on loopback: bundles (with every fault a server can have) and an upstream |
//! | [`real_envoy`] | the real Envoy: finding or installing it, its configuration, its process |
//! | [`archive`], [`storm`] | bundle archives from folders, and a storm of small ones |

#[cfg(doctest)]
#[doc = include_str!("../EXPLORING.md")]
mod exploring {}

pub mod abi;
pub mod archive;
pub mod envoy;
pub mod race;
pub mod real_envoy;
pub mod servers;
pub mod storm;
pub mod world;

/// SHA-256 of [`FILTER_MODULE`], in hex.
pub const FILTER_MODULE_SHA256: &str = env!("PORTCULLIS_MODULE_SHA256");

/// The filter as it was built for `wasm32-wasip1` together with this crate.
pub const FILTER_MODULE: &[u8] = include_bytes!(env!("PORTCULLIS_MODULE"));

/// Small filters with one mistake each and their twins without it; the plugin configuration says which.
pub const GUESTS_MODULE: &[u8] = include_bytes!(env!("PORTCULLIS_GUESTS"));
