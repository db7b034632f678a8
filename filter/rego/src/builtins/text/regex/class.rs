//! Classes and escapes of Go's regular expressions.
//!
//! Source: `go:regexp/syntax`, `parse.go`, `perl_groups.go`.

use super::super::unicode;
use super::parse::{Ranges, bad};
use crate::builtins::Fault;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir};
use std::borrow::Cow;

pub(super) use unicode::Range;

/// Everything.
pub(super) const ANY: &[Range] = &[(0, unicode::MOST)];
/// Everything but a line feed.
pub(super) const NO_NEWLINE: &[Range] = &[(0, 9), (11, unicode::MOST)];

const DIGIT: &[Range] = &[(0x30, 0x39)];
const SPACE: &[Range] = &[(0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20)];
const WORD: &[Range] = &[(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)];

const POSIX: &[(&str, &[Range])] = &[
    ("alnum", &[(0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)]),
    ("alpha", &[(0x41, 0x5A), (0x61, 0x7A)]),
    ("ascii", &[(0, 0x7F)]),
    ("blank", &[(0x09, 0x09), (0x20, 0x20)]),
    ("cntrl", &[(0, 0x1F), (0x7F, 0x7F)]),
    ("digit", DIGIT),
    ("graph", &[(0x21, 0x7E)]),
    ("lower", &[(0x61, 0x7A)]),
    ("print", &[(0x20, 0x7E)]),
    ("punct", &[(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)]),
    ("space", &[(0x09, 0x0D), (0x20, 0x20)]),
    ("upper", &[(0x41, 0x5A)]),
    ("word", WORD),
    ("xdigit", &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)]),
];

/// The class of these ranges; surrogates are in no text.
pub(super) fn hir(ranges: &[Range]) -> Hir {
    let mut out = Vec::with_capacity(ranges.len());
    let mut add = |low: u32, high: u32| {
        if let (true, Some(low), Some(high)) = (low <= high, char::from_u32(low), char::from_u32(high)) {
            out.push(ClassUnicodeRange::new(low, high));
        }
    };
    for &(low, high) in ranges {
        add(low, high.min(0xD7FF));
        add(low.max(0xE000), high);
    }
    Hir::class(Class::Unicode(ClassUnicode::new(out)))
}

/// A character, or any that is equal but for case.
pub(super) fn folded(c: char) -> Hir {
    let mut ranges = vec![(u32::from(c), u32::from(c))];
    unicode::fold(&mut ranges);
    hir(&ranges)
}

/// Ranges, with what is equal but for case, or all but these.
fn group(ranges: &'static [Range], negated: bool, fold: bool) -> Ranges {
    if !negated && !fold {
        return Cow::Borrowed(ranges);
    }
    finish(ranges.to_vec(), negated, fold)
}

fn finish(mut ranges: Vec<Range>, negated: bool, fold: bool) -> Ranges {
    if fold {
        unicode::fold(&mut ranges);
        unicode::normalize(&mut ranges);
    }
    Cow::Owned(if negated { unicode::negate(&ranges) } else { ranges })
}

/// `\d`, `\pL`, `\p{…}` and their like; `None`: not such an escape.
pub(super) fn escape(text: &str, fold: bool) -> Result<Option<(Ranges, &str)>, Fault> {
    let Some(after) = text.strip_prefix('\\') else { return Ok(None) };
    let mut chars = after.chars();
    let Some(c) = chars.next() else { return Ok(None) };
    let rest = chars.as_str();
    let ranges = match c {
        'd' | 'D' => group(DIGIT, c == 'D', fold),
        's' | 'S' => group(SPACE, c == 'S', fold),
        'w' | 'W' => group(WORD, c == 'W', fold),
        'p' | 'P' => return named(rest, c == 'P', fold).map(Some),
        _ => return Ok(None),
    };
    Ok(Some((ranges, rest)))
}

/// After `\p` or `\P`.
fn named(text: &str, negated: bool, fold: bool) -> Result<(Ranges, &str), Fault> {
    const UNKNOWN: Fault = bad("a class of the pattern is unknown");
    let (name, rest) = match text.strip_prefix('{') {
        Some(inside) => inside.split_once('}').ok_or(UNKNOWN)?,
        None => {
            let first = text.chars().next().ok_or(UNKNOWN)?;
            text.split_at_checked(first.len_utf8()).ok_or(UNKNOWN)?
        }
    };
    let (name, negated) = match name.strip_prefix('^') {
        Some(name) => (name, !negated),
        None => (name, negated),
    };
    let class = unicode::class(name).ok_or(UNKNOWN)?;
    let fold = fold && !matches!(class, unicode::Class::Categories(unicode::CASED));
    Ok((finish(class.ranges(), negated, fold), rest))
}

/// `[:alpha:]` in a class; `None`: the bracket is a character.
fn posix(text: &str, fold: bool) -> Result<Option<(Ranges, &str)>, Fault> {
    let Some((name, rest)) = text.strip_prefix("[:").and_then(|inside| inside.split_once(":]")) else {
        return Ok(None);
    };
    let (name, negated) = match name.strip_prefix('^') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let (_, ranges) =
        POSIX.iter().find(|(have, _)| *have == name).ok_or(bad("a class of the pattern is unknown"))?;
    Ok(Some((group(ranges, negated, fold), rest)))
}

/// A class in brackets, which stand first in the text.
pub(super) fn bracket(text: &str, fold: bool) -> Result<(Vec<Range>, &str), Fault> {
    const OPEN: Fault = bad("a class of the pattern has no end");
    let mut rest = text.strip_prefix('[').ok_or(OPEN)?;
    let negated = rest.starts_with('^');
    if negated {
        rest = rest.get(1..).unwrap_or_default();
    }
    let mut ranges: Vec<Range> = Vec::new();
    // What is equal but for case is added once, at the end: it is the same as range by range.
    let mut plain: Vec<Range> = Vec::new();
    let mut first = true;
    while first || !rest.starts_with(']') {
        if rest.is_empty() {
            return Err(OPEN);
        }
        first = false;
        if let Some((more, after)) = posix(rest, fold)? {
            ranges.extend_from_slice(&more);
            rest = after;
            continue;
        }
        if let Some((more, after)) = escape(rest, fold)? {
            ranges.extend_from_slice(&more);
            rest = after;
            continue;
        }
        let (low, after) = member(rest)?;
        rest = after;
        let mut high = low;
        if let Some(after) = rest.strip_prefix('-')
            && !after.is_empty()
            && !after.starts_with(']')
        {
            (high, rest) = member(after)?;
            if high < low {
                return Err(bad("a range of the pattern is out of order"));
            }
        }
        plain.push((low, high));
    }
    rest = rest.get(1..).unwrap_or_default();
    if fold {
        unicode::normalize(&mut plain);
        unicode::fold(&mut plain);
    }
    ranges.append(&mut plain);
    unicode::normalize(&mut ranges);
    if negated {
        ranges = unicode::negate(&ranges);
    }
    Ok((ranges, rest))
}

/// A character of a class, plain or escaped.
fn member(text: &str) -> Result<(u32, &str), Fault> {
    if text.starts_with('\\') {
        return character(text);
    }
    let mut chars = text.chars();
    match chars.next() {
        Some(c) => Ok((c.into(), chars.as_str())),
        None => Err(bad("a class of the pattern has no end")),
    }
}

/// An escape that stands for one character: the text begins with its backslash.
pub(super) fn character(text: &str) -> Result<(u32, &str), Fault> {
    const UNKNOWN: Fault = bad("an escape of the pattern is unknown");
    let mut chars = text.chars();
    chars.next();
    let Some(c) = chars.next() else {
        return Err(bad("the pattern ends in a backslash"));
    };
    let rest = chars.as_str();
    let octal =
        |text: &str| text.bytes().next().filter(|b| (b'0'..=b'7').contains(b)).map(|b| u32::from(b - b'0'));
    let simple = match c {
        'a' => 0x07,
        'f' => 0x0C,
        'n' => 0x0A,
        'r' => 0x0D,
        't' => 0x09,
        'v' => 0x0B,
        '0'..='7' => {
            if c != '0' && octal(rest).is_none() {
                // A reference to a group, which RE2 does not have.
                return Err(UNKNOWN);
            }
            let mut value = u32::from(c) - u32::from('0');
            let mut rest = rest;
            for _ in 0..2 {
                let Some(digit) = octal(rest) else { break };
                value = value * 8 + digit;
                rest = rest.get(1..).unwrap_or_default();
            }
            return Ok((value, rest));
        }
        'x' => return hexadecimal(rest).ok_or(UNKNOWN),
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => c.into(),
        _ => return Err(UNKNOWN),
    };
    Ok((simple, rest))
}

/// After `\x`: two digits, or any number of them in braces.
fn hexadecimal(text: &str) -> Option<(u32, &str)> {
    if let Some(inside) = text.strip_prefix('{') {
        let (digits, rest) = inside.split_once('}')?;
        let mut value = 0;
        for c in digits.chars() {
            value = value * 16 + c.to_digit(16)?;
            if value > unicode::MOST {
                return None;
            }
        }
        return (!digits.is_empty()).then_some((value, rest));
    }
    let (digits, rest) = text.split_at_checked(2)?;
    let mut value = 0;
    for c in digits.chars() {
        value = value * 16 + c.to_digit(16)?;
    }
    (digits.len() == digits.chars().count()).then_some((value, rest))
}
