//! A proxy-wasm host with Envoy's semantics that runs offline, and what the `portcullis` command is made of.
//!
//! | module | what it is |
//! |---|---|
//! | [`abi`] | the proxy-wasm ABI: hostcalls, callbacks, WASI, and how bytes cross the border |
//! | [`envoy`] | Envoy as a filter sees it: VMs, shared data, queues, ticks, streams, callouts |
//! | [`world`] | what is outside Envoy: answers from a script in virtual time, or from real HTTP on loopback |
//! | [`steps`] | what happened in a run, step by step, in names that people know |
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
pub mod steps;
pub mod storm;
pub mod world;

pub use portcullis_module::{FILTER_MODULE, FILTER_MODULE_SHA256, GUESTS_MODULE};
