//! Functions of text: strings, patterns, addresses.
//!
//! Each answers as the real `opa` does, on bytes that need not be UTF-8, and counts what it reads and makes before it
//! does. Patterns that a policy names are compiled once: [`regex::Regex`] and [`glob::Glob`] are what a plan keeps.

mod args;
mod cidr;
pub mod glob;
mod hash;
pub mod patterns;
pub mod regex;
mod replace;
mod rune;
mod sprintf;
mod strings;
pub(crate) mod unicode;

#[cfg(test)]
mod tests;

use super::Builtin;

/// The table of this half, a slice per file.
pub(super) const BUILTINS: &[&[Builtin]] = &[
    cidr::BUILTINS,
    glob::BUILTINS,
    regex::BUILTINS,
    replace::BUILTINS,
    sprintf::BUILTINS,
    strings::BUILTINS,
];
