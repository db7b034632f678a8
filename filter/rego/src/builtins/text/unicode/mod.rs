//! What Go's `unicode` says of a character: Unicode 15.0.0, whatever Rust's own tables have come to.

mod tables;

use tables::{CASES, CATEGORY_NAMES, CATEGORY_RUNS, ORBITS, SCRIPT_NAMES, SCRIPT_RUNS};

/// A range of code points, both ends in it. Surrogates may be in it.
pub(crate) type Range = (u32, u32);

/// The last code point.
pub(super) const MOST: u32 = 0x10_FFFF;

/// What `\p{…}` names.
pub(super) enum Class {
    /// Two-letter categories, a bit per number.
    Categories(u32),
    /// A script by its number.
    Script(u8),
    /// These ranges.
    Ranges(&'static [Range]),
}

/// The cased letters: the one name that `(?i)` does not widen.
pub(super) const CASED: u32 = 0x7;
const UNASSIGNED: u32 = 0x2000_0000;
const ALL: u32 = 0x3FFF_FFFF;
const LETTERS: u32 = 0x1F;
const DIGITS: u32 = 0x100;

/// The class of this name, by Go's spelling rules: case, `_`, `-` and space do not count.
/// Source: `go:regexp/syntax`, `unicodeTable`.
pub(super) fn class(name: &str) -> Option<Class> {
    let mut canonical = String::with_capacity(name.len());
    for c in name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')) {
        canonical.push(if canonical.is_empty() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
    }
    match canonical.as_str() {
        "Any" => return Some(Class::Ranges(&[(0, MOST)])),
        "Assigned" => return Some(Class::Categories(ALL & !UNASSIGNED)),
        "Ascii" => return Some(Class::Ranges(&[(0, 0x7F)])),
        _ => {}
    }
    if let Ok(at) = CATEGORY_NAMES.binary_search_by(|(have, _)| (*have).cmp(&canonical)) {
        return CATEGORY_NAMES.get(at).map(|(_, set)| Class::Categories(*set));
    }
    SCRIPT_NAMES.binary_search_by(|have| (*have).cmp(&canonical)).ok().map(|at| Class::Script(at as u8))
}

impl Class {
    /// Its ranges, in order.
    pub(super) fn ranges(&self) -> Vec<Range> {
        match self {
            Class::Categories(set) => collect(CATEGORY_RUNS, |number| set >> number & 1 == 1),
            Class::Script(script) => collect(SCRIPT_RUNS, |number| number == *script),
            Class::Ranges(ranges) => ranges.to_vec(),
        }
    }
}

/// The runs of a table: number, first code point, and the one after the last.
fn runs(table: &[u8]) -> impl Iterator<Item = (u8, u32, u32)> {
    let mut bytes = table.iter();
    let mut start = 0u32;
    std::iter::from_fn(move || {
        let number = *bytes.next()?;
        let (mut count, mut shift) = (0u32, 0);
        for byte in bytes.by_ref() {
            count |= u32::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let first = start;
        start += count;
        Some((number, first, start))
    })
}

fn collect(table: &[u8], wanted: impl Fn(u8) -> bool) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (_, start, end) in runs(table).filter(|(number, ..)| wanted(*number)) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == start => *last = end - 1,
            _ => ranges.push((start, end - 1)),
        }
    }
    ranges
}

/// Whether the category of a character is one of these. Linear in the table: for rare characters only.
fn is(c: char, set: u32) -> bool {
    let c = u32::from(c);
    runs(CATEGORY_RUNS).find(|(.., end)| c < *end).is_some_and(|(number, ..)| set >> number & 1 == 1)
}

/// The decimal digits, in order. Source: `go:unicode`, `IsDigit`.
pub(crate) fn decimal_digits() -> Vec<Range> {
    Class::Categories(DIGITS).ranges()
}

/// Whether a character is in one of these ranges, which are in order.
pub(crate) fn is_in(ranges: &[Range], c: char) -> bool {
    let c = u32::from(c);
    let at = ranges.partition_point(|(_, last)| *last < c);
    ranges.get(at).is_some_and(|(first, _)| *first <= c)
}

/// A letter or a decimal digit. Source: `go:unicode`, `IsLetter`, `IsDigit`.
pub(super) fn is_alphanumeric(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() } else { is(c, LETTERS | DIGITS) }
}

/// What a code point beyond ASCII becomes in upper and in lower case.
fn cases(c: u32) -> (u32, u32) {
    let after = CASES.partition_point(|(first, ..)| *first <= c);
    // Ranges of every second code point lie within each other.
    for (first, last, step, up, low) in
        CASES.get(after.saturating_sub(3)..after).unwrap_or_default().iter().rev()
    {
        if c <= *last && (c - first).is_multiple_of(u32::from(*step)) {
            return (c.wrapping_add_signed(*up), c.wrapping_add_signed(*low));
        }
    }
    (c, c)
}

/// The simple mapping to upper case. Source: `go:unicode`, `ToUpper`.
pub(super) fn upper(c: char) -> char {
    if c.is_ascii() { c.to_ascii_uppercase() } else { char::from_u32(cases(c.into()).0).unwrap_or(c) }
}

/// The simple mapping to lower case. Source: `go:unicode`, `ToLower`.
pub(super) fn lower(c: char) -> char {
    if c.is_ascii() { c.to_ascii_lowercase() } else { char::from_u32(cases(c.into()).1).unwrap_or(c) }
}

/// The next in the circle of code points equal but for case; itself where it is alone.
/// Source: `go:unicode`, `SimpleFold`.
pub(super) fn next_in_circle(c: u32) -> u32 {
    if let Ok(at) = ORBITS.binary_search_by_key(&c, |(from, _)| *from) {
        return ORBITS.get(at).map_or(c, |(_, to)| *to);
    }
    let (upper, lower) = match u8::try_from(c) {
        Ok(byte) if byte.is_ascii() => (byte.to_ascii_uppercase().into(), byte.to_ascii_lowercase().into()),
        _ => cases(c),
    };
    if lower == c { upper } else { lower }
}

/// Adds the others in the circle of `c`.
#[inline(never)]
fn add_circle(c: u32, out: &mut Vec<Range>) {
    let mut next = next_in_circle(c);
    // The longest circle has four members.
    for _ in 0..4 {
        if next == c {
            break;
        }
        out.push((next, next));
        next = next_in_circle(next);
    }
}

/// Adds to ranges whatever is equal to a member but for case. Not sorted.
pub(super) fn fold(ranges: &mut Vec<Range>) {
    let mut more = Vec::new();
    for &(low, high) in ranges.iter() {
        if low <= 0x41 && high >= 0x1_E943 {
            continue;
        }
        for c in low.max(0x41)..=high.min(0x7A) {
            add_circle(c, &mut more);
        }
        let end = CASES.partition_point(|(first, ..)| *first <= high);
        for (first, last, step, ..) in CASES.get(..end).unwrap_or_default() {
            if *last < low {
                continue;
            }
            let step = u32::from(*step);
            let skip = low.saturating_sub(*first).div_ceil(step) * step;
            for c in (first + skip..=high.min(*last)).step_by(step as usize) {
                add_circle(c, &mut more);
            }
        }
        for (c, _) in ORBITS.iter().filter(|(c, _)| (low..=high).contains(c)) {
            add_circle(*c, &mut more);
        }
    }
    ranges.append(&mut more);
}

/// Sorts: one copy of the code for all that are numbers.
#[inline(never)]
pub(super) fn sort(numbers: &mut [u64]) {
    numbers.sort_unstable();
}

/// Sorts ranges and joins those that touch.
pub(super) fn normalize(ranges: &mut Vec<Range>) {
    let mut sorted: Vec<u64> =
        ranges.iter().map(|(low, high)| u64::from(*low) << 32 | u64::from(*high)).collect();
    sort(&mut sorted);
    let mut out: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in sorted {
        let (low, high) = ((range >> 32) as u32, range as u32);
        match out.last_mut() {
            Some((_, last)) if low <= last.saturating_add(1) => *last = high.max(*last),
            _ => out.push((low, high)),
        }
    }
    *ranges = out;
}

/// All that is not in these sorted ranges.
pub(super) fn negate(ranges: &[Range]) -> Vec<Range> {
    let mut out = Vec::with_capacity(ranges.len() + 1);
    let mut next = 0;
    for &(low, high) in ranges {
        if next < low {
            out.push((next, low - 1));
        }
        next = high + 1;
    }
    if next <= MOST {
        out.push((next, MOST));
    }
    out
}
