//! The real Envoy: its configuration, finding or installing its binary, and its process.

pub mod binary;
pub mod bootstrap;
mod process;
pub mod review;
mod routes;
mod yaml;

pub use bootstrap::{BootstrapOptions, PolicyRoute, Upstream, bootstrap, to_yaml};
pub use process::{EnvoyError, EnvoyOptions, RealEnvoy, spawn_for_life, validate};
