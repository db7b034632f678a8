//! The gate: OPA bundles in, one decision per request out.
//!
//! Everything but `shell` is a pure core: no input or output, no clock, no randomness, no globals.
//! `shell` turns proxy-wasm callbacks into the core's events and the core's effects into hostcalls.
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | the plugin configuration, checked whole |
//! | [`bundle`] | bytes → verified bundle |
//! | [`manager`] | which bundle is where, now; readiness, computed when asked |
//! | [`policy`] | bundles → compiled policy → value, over `portcullis_rego` |
//! | [`authz`] | one request: input, decision, permit, and what the client sees |
//! | [`telemetry`] | counters and bounded log lines |
//! | [`plugin`] | all of it behind one configuration |

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![deny(clippy::unreachable, clippy::todo, clippy::unimplemented)]

pub mod authz;
pub mod bundle;
pub mod config;
mod hooks;
pub mod manager;
pub mod plugin;
pub mod policy;
pub mod telemetry;
mod yaml;

#[cfg(target_arch = "wasm32")]
mod shell;
