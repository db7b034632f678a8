//! Globs, exactly as `gobwas/glob` decides them.
//!
//! What it matches is not what its grammar says: its compiler rewrites, and some rewrites are wrong in ways that
//! decide requests (`/api/**/x` matches `/api/x`; `[!ab][!ab]` matches `aa`). So here stand the same tree, the same
//! rewrites and the same matchers, but time is polynomial and counted.

mod compile;
mod matcher;
mod syntax;

use super::{args, rune};
use crate::builtins::{Budget, Builtin, Call, Fault, Limit, Type};
use crate::value::Value;
use compile::Compiler;
use matcher::{Matcher, Run};

const SOURCE: &str = "v1/topdown/glob.go";

pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new(
        "glob.match",
        &[Type::String, Type::Union(&[Type::Null, Type::array_of(&Type::String)]), Type::String],
        Type::Boolean,
        glob_match,
        SOURCE,
    ),
    Builtin::new("glob.quote_meta", &[Type::String], Type::String, quote_meta, SOURCE),
];

/// The delimiters that the second argument of `glob.match` names: `null` none, an empty array the dot.
pub fn delimiters(value: &Value) -> Result<Vec<char>, Fault> {
    const BAD: Fault = Fault::undefined("delimiters must be strings of one character");
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(array) if array.is_empty() => Ok(vec!['.']),
        Value::Array(array) => array
            .iter()
            .map(|item| {
                let text = item.as_bytes().ok_or(BAD)?;
                match rune::decode(text) {
                    (c, width) if width > 0 && width == text.len() => Ok(c),
                    _ => Err(BAD),
                }
            })
            .collect(),
        _ => Err(Fault::undefined("delimiters must be an array or null")),
    }
}

fn glob_match(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let pattern = args::bytes(args, 0)?;
    let delimiters = delimiters(args.get(1).unwrap_or(&Value::Null))?;
    let text = args::bytes(args, 2)?;
    Ok(call.patterns.glob(pattern, &delimiters, call.budget)?.is_match(text, call.budget)?.into())
}

fn quote_meta(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let text = args::bytes(args, 0)?;
    call.step(1 + text.len() / 16)?;
    call.bytes(2 * text.len())?;
    Ok(quote(text).into())
}

/// The longest pattern.
const MOST_PATTERN: usize = 8 * 1024;

/// A compiled glob.
#[derive(Debug)]
pub struct Glob {
    matcher: Matcher,
    delimiters: Vec<char>,
    size: usize,
}

impl Glob {
    /// Compiles a pattern; no delimiters: `*` crosses everything.
    ///
    /// Errors: undefined where OPA refuses the pattern, a limit where it is too large to compile.
    #[inline(never)]
    pub fn compile(pattern: &[u8], delimiters: &[char], budget: &mut Budget) -> Result<Glob, Fault> {
        if pattern.len() > MOST_PATTERN || delimiters.len() > 64 {
            return Err(Fault::Limit(Limit::Bytes));
        }
        budget.step(1 + pattern.len() as u64)?;
        let tree = syntax::parse(pattern)?;
        let matcher = Compiler { delimiters, budget, trees: 0 }.compile(tree)?;
        if matcher.depth() > compile::MOST_DEPTH {
            return Err(Fault::Limit(Limit::Depth));
        }
        let size = matcher.size() + 4 * delimiters.len() + 64;
        Ok(Glob { matcher, delimiters: delimiters.to_vec(), size })
    }

    /// Whether the whole text matches.
    pub fn is_match(&self, text: &[u8], budget: &mut Budget) -> Result<bool, Fault> {
        if text.len() > u32::MAX as usize / 4 {
            return Err(Fault::Limit(Limit::Bytes));
        }
        // What needs no search costs what comparing bytes costs.
        match &self.matcher {
            Matcher::Text { text: want, .. } => {
                budget.step(1 + want.len() as u64 / 32)?;
                Ok(want == text)
            }
            Matcher::Prefix(prefix) => {
                budget.step(1 + prefix.len() as u64 / 32)?;
                Ok(text.starts_with(prefix))
            }
            Matcher::Suffix(suffix) => {
                budget.step(1 + suffix.len() as u64 / 32)?;
                Ok(text.ends_with(suffix))
            }
            matcher => matcher.matches(&mut Run::new(text, &self.delimiters, budget), 0, text.len()),
        }
    }

    /// The text that alone matches, if the glob is plain text.
    pub fn as_text(&self) -> Option<&[u8]> {
        match &self.matcher {
            Matcher::Text { text, .. } => Some(text),
            Matcher::Nothing => Some(&[]),
            _ => None,
        }
    }

    /// A text that all that matches begins with: what an index may ask first.
    pub fn prefix(&self) -> Option<&[u8]> {
        match &self.matcher {
            Matcher::Text { text, .. } | Matcher::Prefix(text) | Matcher::PrefixAny(text) => Some(text),
            Matcher::PrefixSuffix { prefix, .. } => Some(prefix),
            _ => None,
        }
    }

    /// How many bytes it takes, about.
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

/// The text with a backslash before each character that means something in a glob.
fn quote(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * text.len());
    for &byte in text {
        if b"*?\\[]{}".contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}
