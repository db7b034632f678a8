//! Regular expressions and globs: patterns may come from a client, and so may the text.
//!
//! The library has no automata here, only a simulation: each character of the text costs one step for each state of
//! the pattern. It bounds the states to some thousands, and nothing else: not the text, not how often a search that
//! looks far ahead and finds little is begun again, not what it takes to read a pattern.

use anyhow::Result;
use regorus::Value;

use super::{
    super::regex::as_in_go,
    limits::{MAX_BYTES, MAX_WORK, Refusal, VALUE_BYTES, within},
    original,
};

/// Length of a regular expression, with each class of Unicode counted as much as reading it costs.
const MAX_PATTERN_BYTES: usize = 4 << 10;
const UNICODE_CLASS_BYTES: usize = 256;
/// The library refuses what compiles to more.
const MAX_STATES: usize = 6400;
/// A glob is compiled to more than a hundred times its length, and some hundred globs are kept.
const MAX_GLOB_BYTES: usize = 512;
const MAX_GLOB_BRACES: usize = 32;
const MAX_DELIMITERS: usize = 16;

/// How large a pattern becomes, at most: atoms times their repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    states: usize,
    groups: usize,
    /// Whether a match may be of any length.
    is_unbounded: bool,
}

// === impl Size ===

impl Size {
    fn of(pattern: &str) -> Result<Self, Refusal> {
        let classes = pattern.matches(r"\p").count() + pattern.matches(r"\P").count();
        within(pattern.len() + classes * UNICODE_CLASS_BYTES, MAX_PATTERN_BYTES, Refusal::Size)?;
        let (mut total, mut last) = (0_usize, 0_usize);
        let mut open = Vec::new();
        let (mut is_unbounded, mut is_extended) = (false, false);
        let mut rest = pattern.chars();
        while let Some(character) = rest.next() {
            let atom = match character {
                '*' | '+' => {
                    is_unbounded = true;
                    last += 1;
                    continue;
                }
                '{' => {
                    let (copies, behind) = repetitions(rest.as_str());
                    if let Some((copies, is_open)) = copies {
                        is_unbounded |= is_open;
                        last = last.saturating_mul(copies.max(1));
                    }
                    rest = behind.chars();
                    continue;
                }
                '(' => {
                    is_extended |= flags(rest.as_str()).contains('x');
                    open.push(total.saturating_add(last));
                    (total, last) = (0, 0);
                    continue;
                }
                ')' => {
                    let inner = total.saturating_add(last).saturating_add(2);
                    (total, last) = (open.pop().unwrap_or_default(), inner);
                    continue;
                }
                '\\' => match rest.next() {
                    Some('p' | 'P') => 256,
                    _ => 2,
                },
                '[' => {
                    let (size, behind) = class(rest.as_str());
                    rest = behind.chars();
                    size
                }
                '.' => 12,
                '|' => 1,
                other => other.len_utf8(),
            };
            total = total.saturating_add(last);
            last = atom;
        }
        let states = open.into_iter().fold(total, usize::saturating_add).saturating_add(last);
        // With the flag `x`, which Go has not, comments may hide what a group is.
        let states = if is_extended { MAX_STATES } else { states.clamp(1, MAX_STATES) };
        Ok(Self { states, groups: pattern.matches('(').count() + 1, is_unbounded })
    }

    /// How far one search may look beyond what it finds.
    fn ahead(self, text: &str) -> usize {
        if self.is_unbounded { text.len() + 1 } else { self.states.min(text.len() + 1) }
    }
}

/// How many copies of an atom a repetition stands for, read behind its brace, whether there may be more, and what
/// follows.
fn repetitions(behind: &str) -> (Option<(usize, bool)>, &str) {
    let Some((inside, rest)) = behind.split_once('}') else { return (None, behind) };
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let copies = match inside.split_once(',') {
        None => number(inside).map(|copies| (copies, false)),
        Some((least, most)) if most.trim().is_empty() => number(least).map(|copies| (copies + 1, true)),
        Some((_, most)) => number(most).map(|copies| (copies, false)),
    };
    (copies, if copies.is_some() { rest } else { behind })
}

/// The size of a class, read behind its bracket, and what follows.
fn class(behind: &str) -> (usize, &str) {
    let mut size = 12_usize;
    let mut depth = 1_usize;
    let mut rest = behind.strip_prefix('^').unwrap_or(behind).chars();
    // First in a class, a closing bracket is one of its members.
    if rest.as_str().starts_with(']') {
        rest.next();
    }
    while let Some(character) = rest.next() {
        size += match character {
            '\\' if matches!(rest.next(), Some('p' | 'P')) => 256,
            '[' => {
                depth += 1;
                0
            }
            ']' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
                0
            }
            other => 2 * other.len_utf8(),
        };
    }
    (size, rest.as_str())
}

/// The flags of a group, read behind its bracket.
fn flags(behind: &str) -> &str {
    let Some(flags) = behind.strip_prefix('?') else { return "" };
    let end = flags.find(|next: char| !next.is_ascii_alphabetic() && next != '-').unwrap_or(flags.len());
    flags.get(..end).unwrap_or_default()
}

/// One search: `regex.match`.
pub(super) fn matches(name: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::String(pattern), Value::String(text)] = args else { return Ok(Value::Undefined) };
    within(Size::of(pattern)?.states.saturating_mul(text.len()), MAX_WORK, Refusal::Work)?;
    original(name, &[Value::from(as_in_go(pattern)), Value::String(text.clone())])
}

pub(super) fn is_valid(name: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::String(pattern)] = args else { return Ok(Value::from(false)) };
    Size::of(pattern)?;
    original(name, &[Value::from(as_in_go(pattern))])
}

pub(super) fn split(name: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::String(pattern), Value::String(text)] = args else { return Ok(Value::Undefined) };
    searches(pattern, text, 1, None)?;
    original(name, &[Value::from(as_in_go(pattern)), Value::String(text.clone())])
}

/// `regex.find_n` and `regex.find_all_string_submatch_n`. The engine cuts the number to 32 bits.
pub(super) fn find(name: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::String(pattern), Value::String(text), most] = args else { return Ok(Value::Undefined) };
    let Ok(most) = most.as_i64() else { return Ok(Value::Undefined) };
    let most = usize::try_from(most).ok().filter(|most| *most <= text.len());
    let groups = if name == "regex.find_n" { 1 } else { Size::of(pattern)?.groups + 1 };
    searches(pattern, text, groups, most)?;
    let most = most.map_or(Value::from(-1_i64), Value::from);
    original(name, &[Value::from(as_in_go(pattern)), Value::String(text.clone()), most])
}

pub(super) fn replace(name: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::String(text), Value::String(pattern), Value::String(new)] = args else {
        return Ok(Value::Undefined);
    };
    let matches = searches(pattern, text, 1, None)?;
    // What a reference stands for is part of a match, and all matches together are no more than the text.
    let references = new.matches('$').count() + 1;
    let length = text.len().saturating_mul(references).saturating_add(matches.saturating_mul(new.len()));
    within(length, MAX_BYTES, Refusal::Size)?;
    original(name, &[Value::String(text.clone()), Value::from(as_in_go(pattern)), Value::String(new.clone())])
}

/// Bounds a search that is repeated behind each match, and says how many matches there are at most.
///
/// Only where the worst case is too much is the number of matches found out, by searching for one too many.
fn searches(pattern: &str, text: &str, groups: usize, most: Option<usize>) -> Result<usize> {
    let size = Size::of(pattern)?;
    within(size.states.saturating_mul(text.len()), MAX_WORK, Refusal::Work)?;
    let held = groups.saturating_mul(text.len());
    within(held, MAX_BYTES, Refusal::Size)?;
    let by_work = MAX_WORK / size.states.saturating_mul(size.ahead(text)).max(1);
    let by_memory = (MAX_BYTES - held) / groups.saturating_mul(VALUE_BYTES).max(1);
    let possible = most.unwrap_or(usize::MAX).min(text.len() + 1);
    let allowed = by_work.min(by_memory);
    if possible <= allowed {
        return Ok(possible);
    }
    let limit = allowed.saturating_add(1);
    let args = [Value::from(as_in_go(pattern)), Value::from(text), Value::from(limit)];
    let found = original("regex.find_n", &args)?.as_array().map_or(0, |found| found.len());
    within(found, allowed, Refusal::Work)?;
    Ok(found)
}

/// Source: OPA's `regex.template_match`: what is outside of the delimiters stands for itself, and a delimiter is one
/// byte. Where they do not pair, there is no answer.
pub(super) fn template_match(_: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::String(template), text, Value::String(start), Value::String(end)] = args else {
        return Ok(Value::Undefined);
    };
    let (Ok([start]), Ok([end])) =
        (<[u8; 1]>::try_from(start.as_bytes()), <[u8; 1]>::try_from(end.as_bytes()))
    else {
        return Ok(Value::Undefined);
    };
    within(template.len(), MAX_PATTERN_BYTES, Refusal::Size)?;
    let mut pattern = "^".to_owned();
    let (mut depth, mut from) = (0_usize, 0);
    for (index, byte) in template.bytes().enumerate() {
        if byte == start {
            depth += 1;
            if depth == 1 {
                pattern.push_str(&quoted(template.get(from..index).unwrap_or_default()));
                from = index + 1;
            }
        } else if byte == end {
            let Some(outer) = depth.checked_sub(1) else { return Ok(Value::Undefined) };
            depth = outer;
            if depth == 0 {
                let inside = template.get(from..index).unwrap_or_default();
                if is_valid("regex.is_valid", &[Value::from(inside)])? != Value::from(true) {
                    return Ok(Value::Undefined);
                }
                pattern.push_str(&format!("({inside})"));
                from = index + 1;
            }
        }
    }
    if depth > 0 {
        return Ok(Value::Undefined);
    }
    pattern.push_str(&quoted(template.get(from..).unwrap_or_default()));
    pattern.push('$');
    matches("regex.match", &[Value::from(pattern), text.clone()])
}

/// Source: Go's `regexp.QuoteMeta`.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        if r"\.+*?()|[]{}^$".contains(character) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}

pub(super) fn glob(args: &[Value]) -> Result<(), Refusal> {
    let [Value::String(pattern), delimiters, Value::String(text)] = args else { return Ok(()) };
    let delimiters = delimiters.as_array().map_or(0, |delimiters| delimiters.len());
    within(delimiters, MAX_DELIMITERS, Refusal::Unsupported("there are more than 16 delimiters"))?;
    within(pattern.len(), MAX_GLOB_BYTES, Refusal::Size)?;
    within(pattern.matches(['{', '[']).count(), MAX_GLOB_BRACES, Refusal::Work)?;
    // Each delimiter is put between two of the engine's own.
    let longer = 1 + 2 * delimiters;
    let work = pattern.len().saturating_mul(text.len()).saturating_mul(longer);
    within(work, MAX_WORK, Refusal::Work)
}

/// Source: OPA's `glob.quote_meta`. The engine compiles the text and quotes asterisks alone.
pub(super) fn quote_glob(_: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::String(text)] = args else { return Ok(Value::Undefined) };
    within(text.len(), MAX_BYTES / 2, Refusal::Size)?;
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        if r"*?\[]{}".contains(character) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    Ok(Value::from(quoted))
}
