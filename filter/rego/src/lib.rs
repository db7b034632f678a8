//! Rego as OPA decides it: text → plan → value, within bounds.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![deny(clippy::unreachable, clippy::todo, clippy::unimplemented)]
#![forbid(unsafe_code)]

pub mod builtins;
pub mod eval;
pub mod index;
pub mod plan;
pub mod syntax;
pub mod value;
