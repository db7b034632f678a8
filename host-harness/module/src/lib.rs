//! The filter and the guests, built for `wasm32-wasip1`: what Envoy loads, and what the harness runs.

/// SHA-256 of [`FILTER_MODULE`], in hex.
pub const FILTER_MODULE_SHA256: &str = env!("PORTCULLIS_MODULE_SHA256");

/// The filter as it was built for `wasm32-wasip1` together with this crate.
pub const FILTER_MODULE: &[u8] = include_bytes!(env!("PORTCULLIS_MODULE"));

/// Small filters with one mistake each and their twins without it; the plugin configuration says which.
pub const GUESTS_MODULE: &[u8] = include_bytes!(env!("PORTCULLIS_GUESTS"));
