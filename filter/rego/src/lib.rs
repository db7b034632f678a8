//! Rego as OPA decides it: text → plan → value, within bounds.
//!
//! | module | what it is |
//! |---|---|
//! | [`syntax`] | text → tree |
//! | [`plan`] | trees → plan: names, hoisting, safety, checks |
//! | [`index`] | which rules can hold, without looking at each |
//! | [`eval`] | plan, data and input → value |
//! | [`builtins`] | the functions |
//! | [`value`] | values, numbers, JSON |
//!
//! ```
//! use portcullis_rego::{Compiler, Limits, Options, Outside, Value, Version};
//! let mut compiler = Compiler::new(Options::default());
//! compiler.module("a.rego", "package a\ndefault allow := false\nallow if 1 == 1", Version::V1);
//! let policy = compiler.finish().unwrap();
//! let entry = policy.query("data.a.allow").unwrap();
//! let answer = policy.evaluate(&entry, None, &Limits::default(), &Outside::default()).unwrap();
//! assert_eq!(answer, Some(Value::Bool(true)));
//! ```

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![deny(clippy::unreachable, clippy::todo, clippy::unimplemented)]
#![forbid(unsafe_code)]

pub mod builtins;
pub mod eval;
mod hash;
pub mod index;
pub mod plan;
pub mod syntax;
pub mod value;

pub use eval::{
    Answer, Attempt, Entry, Error, Evaluated, Failure, Limits, Outside, Paths, Policy, Reads, ReadsSurvey,
    Recorder, RuleName, Scanned,
};
pub use plan::{Code, CompileError, CompileErrors, Compiler, Options, Progress};
pub use syntax::Version;
pub use value::Value;
