//! Functions of text: strings, patterns, addresses.

pub mod patterns;

use super::Builtin;

/// The table of this half, a slice per file.
pub(super) const BUILTINS: &[&[Builtin]] = &[];
