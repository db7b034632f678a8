//! Regular expressions: RE2 as Go has it, in linear time.
//!
//! Source: `v1/topdown/regex.go`, `regex_template.go`; Go's package `regexp`.

mod backtrack;
mod class;
mod dfa;
mod globs;
mod parse;
mod program;
mod replace;
mod search;
mod template;
mod threads;

pub use program::Regex;

use super::args;
use super::rune::{cut, from};
use crate::builtins::{Builtin, Call, Fault, Type};
use crate::value::Value;

const SOURCE: &str = "v1/topdown/regex.go";

pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("re_match", &[Type::String, Type::String], Type::Boolean, matches, SOURCE).deprecated(),
    Builtin::new("regex.match", &[Type::String, Type::String], Type::Boolean, matches, SOURCE),
    Builtin::new("regex.is_valid", &[Type::String], Type::Boolean, is_valid, SOURCE),
    Builtin::new("regex.split", &[Type::String, Type::String], Type::array_of(&Type::String), split, SOURCE),
    Builtin::new(
        "regex.find_n",
        &[Type::String, Type::String, Type::Number],
        Type::array_of(&Type::String),
        find_n,
        SOURCE,
    ),
    Builtin::new(
        "regex.find_all_string_submatch_n",
        &[Type::String, Type::String, Type::Number],
        Type::array_of(&Type::array_of(&Type::String)),
        find_all_string_submatch_n,
        SOURCE,
    ),
    Builtin::new("regex.replace", &[Type::String, Type::String, Type::String], Type::String, replace, SOURCE),
    Builtin::new(
        "regex.template_match",
        &[Type::String, Type::String, Type::String, Type::String],
        Type::Boolean,
        template::template_match,
        "v1/topdown/regex_template.go",
    ),
    Builtin::new(
        "regex.globs_match",
        &[Type::String, Type::String],
        Type::Boolean,
        globs::globs_match,
        SOURCE,
    ),
];

/// What a function does with its pattern compiled.
pub type With = fn(&Regex, &mut Call<'_>, &[Value]) -> Result<Value, Fault>;

/// Where the pattern stands among the arguments, and what the function does with it.
pub(super) fn with(name: &str) -> Option<(usize, With)> {
    Some(match name {
        "regex.match" | "re_match" => (0, matches_with),
        "regex.split" => (0, split_with),
        "regex.find_n" => (0, find_n_with),
        "regex.find_all_string_submatch_n" => (0, find_all_string_submatch_n_with),
        "regex.replace" => (1, replace::replace_with),
        _ => return None,
    })
}

/// The ranges of a class.
#[cfg(test)]
pub(super) fn bracket_for_tests(class: &str, fold: bool) -> Option<Vec<class::Range>> {
    class::bracket(class, fold).ok().map(|(ranges, _)| ranges)
}

fn run(call: &mut Call<'_>, args: &[Value], at: usize, with: With) -> Result<Value, Fault> {
    let regex = call.patterns.regex(args::bytes(args, at)?, call.budget)?;
    with(&regex, call, args)
}

fn matches(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    run(call, args, 0, matches_with)
}

fn find_n(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    run(call, args, 0, find_n_with)
}

fn find_all_string_submatch_n(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    run(call, args, 0, find_all_string_submatch_n_with)
}

fn split(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    run(call, args, 0, split_with)
}

fn replace(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    run(call, args, 1, replace::replace_with)
}

fn matches_with(regex: &Regex, call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    Ok(regex.is_match(args::bytes(args, 1)?, call.budget)?.into())
}

/// Anything but a string is no valid pattern.
fn is_valid(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let Ok(pattern) = args::bytes(args, 0) else {
        return Ok(Value::Bool(false));
    };
    call.step(1 + pattern.len() / 4)?;
    Ok(Regex::is_valid(pattern)?.into())
}

/// How many matches are asked for; a negative number is all.
fn most(args: &[Value], at: usize) -> Result<usize, Fault> {
    Ok(usize::try_from(args::int(args, at)?).unwrap_or(usize::MAX))
}

/// A piece of the text as a value.
fn piece(call: &mut Call<'_>, text: &[u8]) -> Result<Value, Fault> {
    call.bytes(text.len() + 32)?;
    Ok(Value::from(text))
}

/// The bytes of a group; none where it took no part.
fn group<'a>(text: &'a [u8], slots: &search::Slots, number: usize) -> &'a [u8] {
    let slot = |at: usize| slots.get(at).copied().flatten();
    match (slot(2 * number), slot(2 * number + 1)) {
        (Some(start), Some(end)) => cut(text, start, end),
        _ => &[],
    }
}

fn find_n_with(regex: &Regex, call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let text = args::bytes(args, 1)?;
    let most = most(args, 2)?;
    let found = regex.find_all(text, most, call.budget)?;
    let pieces: Result<Vec<Value>, Fault> =
        found.iter().map(|slots| piece(call, group(text, slots, 0))).collect();
    Ok(Value::array(pieces?)?)
}

fn find_all_string_submatch_n_with(
    regex: &Regex,
    call: &mut Call<'_>,
    args: &[Value],
) -> Result<Value, Fault> {
    let text = args::bytes(args, 1)?;
    let most = most(args, 2)?;
    let found = regex.find_all(text, most, call.budget)?;
    let mut out = Vec::with_capacity(found.len());
    for slots in &found {
        let groups: Result<Vec<Value>, Fault> =
            (0..slots.len() / 2).map(|number| piece(call, group(text, slots, number))).collect();
        out.push(Value::array(groups?)?);
    }
    Ok(Value::array(out)?)
}

/// Source: `go:regexp`, `Split`.
fn split_with(regex: &Regex, call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let pattern = args::bytes(args, 0)?;
    let text = args::bytes(args, 1)?;
    if !pattern.is_empty() && text.is_empty() {
        return Ok(Value::array(vec![piece(call, text)?])?);
    }
    let mut pieces = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for slots in regex.find_all(text, usize::MAX, call.budget)? {
        let slot = |at: usize| slots.get(at).copied().flatten().unwrap_or(0);
        end = slot(0);
        // No empty piece before an empty match at the begin.
        if slot(1) != 0 {
            pieces.push(piece(call, cut(text, begin, end))?);
        }
        begin = slot(1);
    }
    if end != text.len() {
        pieces.push(piece(call, from(text, begin))?);
    }
    Ok(Value::array(pieces)?)
}
