//! The matchers of a glob, and how they match: byte for byte as `gobwas/glob` does, in polynomial time.
//!
//! A tree asks its left and right the same question for the same piece of text again and again, which takes
//! `gobwas/glob` exponential time. Here each answer of an inner tree is remembered once many were asked for.
//! Source: `gobwas/glob` v0.2.3, `match/*.go`.

use super::super::hash::Map;
use super::super::rune::{self, cut, from};
use crate::builtins::{Budget, Fault};

/// One matcher.
#[derive(Clone, Debug)]
pub(super) enum Matcher {
    Nothing,
    /// Anything.
    Super,
    /// Anything without a delimiter.
    Any,
    /// One character that is no delimiter.
    Single,
    Text {
        text: Vec<u8>,
        length: usize,
    },
    List {
        chars: Vec<char>,
        not: bool,
    },
    Range {
        low: char,
        high: char,
        not: bool,
    },
    /// At least so many characters.
    Min(usize),
    /// At most so many characters.
    Max(usize),
    Contains {
        needle: Vec<u8>,
        not: bool,
    },
    Prefix(Vec<u8>),
    Suffix(Vec<u8>),
    PrefixSuffix {
        prefix: Vec<u8>,
        suffix: Vec<u8>,
    },
    /// The text, then anything without a delimiter.
    PrefixAny(Vec<u8>),
    /// Anything without a delimiter, then the text.
    SuffixAny(Vec<u8>),
    EveryOf(Vec<Matcher>),
    AnyOf(Vec<Matcher>),
    /// Parts of fixed lengths, and the sum of them.
    Row {
        length: usize,
        parts: Vec<Matcher>,
    },
    Tree(Box<Tree>),
}

/// A value in the middle, what is left of it and what is right.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    number: u32,
    pub(super) value: Matcher,
    pub(super) left: Option<Matcher>,
    pub(super) right: Option<Matcher>,
    /// Lengths as they were when the tree was made; `None`: not fixed.
    left_length: Option<usize>,
    right_length: Option<usize>,
    length: Option<usize>,
}

impl Tree {
    pub(super) fn new(number: u32, value: Matcher, left: Option<Matcher>, right: Option<Matcher>) -> Tree {
        let of = |side: &Option<Matcher>| side.as_ref().map_or(Some(0), Matcher::length);
        let (left_length, right_length) = (of(&left), of(&right));
        let length = match (left_length, value.length(), right_length) {
            (Some(a), Some(b), Some(c)) => Some(a + b + c),
            _ => None,
        };
        Tree { number, value, left, right, left_length, right_length, length }
    }
}

/// Where a matcher begins first in a text, and the lengths in bytes that it may have there.
type Found = Option<(usize, Lengths)>;

enum Lengths {
    One(usize),
    Many(Vec<usize>),
}

impl Lengths {
    fn into_vec(self) -> Vec<usize> {
        match self {
            Lengths::One(length) => vec![length],
            Lengths::Many(lengths) => lengths,
        }
    }
}

/// How many inner trees are asked before answers are remembered.
const MEMO_FROM: u32 = 48;

/// One match under way.
pub(super) struct Run<'a> {
    pub(super) text: &'a [u8],
    pub(super) delimiters: &'a [char],
    pub(super) budget: &'a mut Budget,
    asked: u32,
    memo: Map<(u32, u32, u32), bool>,
}

impl<'a> Run<'a> {
    pub(super) fn new(text: &'a [u8], delimiters: &'a [char], budget: &'a mut Budget) -> Run<'a> {
        Run { text, delimiters, budget, asked: 0, memo: Map::default() }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        Ok(self.budget.step(1 + bytes as u64 / 32)?)
    }
}

/// Where OPA itself ends with a slice out of bounds.
const CRASH: Fault = Fault::undefined("the glob is one that ends OPA");

/// The first place of the first delimiter that occurs at all: not of whichever comes first in the text.
fn find_delimiter(text: &[u8], delimiters: &[char]) -> Option<usize> {
    delimiters.iter().find_map(|c| rune::find_char(text, *c))
}

/// The last place of the first delimiter that occurs at all, by steps that may leave the text.
fn find_last_delimiter(text: &[u8], delimiters: &[char]) -> Result<Option<usize>, Fault> {
    for &c in delimiters {
        let found = if c.is_ascii() {
            memchr::memrchr(c as u8, text)
        } else {
            match rune::find_char(text, c) {
                // The first place, found as often as fits: what is left shrinks by it each time.
                Some(at) if !text.len().is_multiple_of(at + 1) => return Err(CRASH),
                found => found,
            }
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Every place where a character begins, from `base` on, and the end.
fn boundaries(text: &[u8], base: usize) -> Lengths {
    let mut lengths: Vec<usize> = Vec::with_capacity(text.len() + 1);
    lengths.extend(rune::runes(text).map(|(at, _)| base + at));
    lengths.push(base + text.len());
    Lengths::Many(lengths)
}

/// `base`, and every place where a character ends after it, as Go counts widths.
fn ends(text: &[u8], base: usize) -> Lengths {
    let mut lengths = Vec::with_capacity(text.len() + 1);
    lengths.push(base);
    lengths.extend(rune::runes(text).map(|(at, c)| base + at + rune::width(c)));
    Lengths::Many(lengths)
}

impl Matcher {
    pub(super) fn text(text: Vec<u8>) -> Matcher {
        let length = rune::count(&text);
        Matcher::Text { text, length }
    }

    /// The fixed length in characters, if it has one.
    pub(super) fn length(&self) -> Option<usize> {
        match self {
            Matcher::Nothing => Some(0),
            Matcher::Single | Matcher::List { .. } | Matcher::Range { .. } => Some(1),
            Matcher::Text { length, .. } | Matcher::Row { length, .. } => Some(*length),
            Matcher::Tree(tree) => tree.length,
            Matcher::AnyOf(alternatives) => {
                // One without a fixed length is forgotten if it comes first.
                let mut length = None;
                for alternative in alternatives {
                    let other = alternative.length();
                    if length.is_none() {
                        length = other;
                    } else if length != other {
                        return None;
                    }
                }
                length
            }
            Matcher::EveryOf(parts) if parts.is_empty() => Some(0),
            _ => None,
        }
    }

    /// How deep it nests.
    pub(super) fn depth(&self) -> usize {
        let deepest = |parts: &[Matcher]| parts.iter().map(Matcher::depth).max().unwrap_or(0);
        1 + match self {
            Matcher::EveryOf(parts) | Matcher::AnyOf(parts) | Matcher::Row { parts, .. } => deepest(parts),
            Matcher::Tree(tree) => {
                let side = |side: &Option<Matcher>| side.as_ref().map_or(0, Matcher::depth);
                tree.value.depth().max(side(&tree.left)).max(side(&tree.right))
            }
            _ => 0,
        }
    }

    /// How many bytes it takes, about.
    pub(super) fn size(&self) -> usize {
        let sum = |parts: &[Matcher]| parts.iter().map(Matcher::size).sum::<usize>();
        64 + match self {
            Matcher::Text { text, .. }
            | Matcher::Contains { needle: text, .. }
            | Matcher::Prefix(text)
            | Matcher::Suffix(text)
            | Matcher::PrefixAny(text)
            | Matcher::SuffixAny(text) => text.len(),
            Matcher::PrefixSuffix { prefix, suffix } => prefix.len() + suffix.len(),
            Matcher::List { chars, .. } => 4 * chars.len(),
            Matcher::EveryOf(parts) | Matcher::AnyOf(parts) | Matcher::Row { parts, .. } => sum(parts),
            Matcher::Tree(tree) => {
                let side = |side: &Option<Matcher>| side.as_ref().map_or(0, Matcher::size);
                tree.value.size() + side(&tree.left) + side(&tree.right)
            }
            _ => 0,
        }
    }

    /// Whether the whole of the text from `start` to `end` matches.
    pub(super) fn matches(&self, run: &mut Run<'_>, start: usize, end: usize) -> Result<bool, Fault> {
        let text = cut(run.text, start, end);
        run.spend(text.len())?;
        Ok(match self {
            Matcher::Nothing => text.is_empty(),
            Matcher::Super => true,
            Matcher::Any => find_delimiter(text, run.delimiters).is_none(),
            Matcher::Single => {
                let (c, width) = rune::decode(text);
                text.len() <= width && !run.delimiters.contains(&c)
            }
            Matcher::Text { text: want, .. } => want == text,
            Matcher::List { chars, not } => {
                let (c, width) = rune::decode(text);
                text.len() <= width && chars.contains(&c) != *not
            }
            Matcher::Range { low, high, not } => {
                let (c, width) = rune::decode(text);
                text.len() <= width && (*low..=*high).contains(&c) != *not
            }
            Matcher::Min(least) => rune::runes(text).take(*least).count() >= *least,
            Matcher::Max(most) => rune::runes(text).take(*most + 1).count() <= *most,
            Matcher::Contains { needle, not } => rune::find(text, needle).is_some() != *not,
            Matcher::Prefix(prefix) => text.starts_with(prefix),
            Matcher::Suffix(suffix) => text.ends_with(suffix),
            Matcher::PrefixSuffix { prefix, suffix } => text.starts_with(prefix) && text.ends_with(suffix),
            Matcher::PrefixAny(prefix) => match text.strip_prefix(prefix.as_slice()) {
                Some(rest) => find_delimiter(rest, run.delimiters).is_none(),
                None => false,
            },
            Matcher::SuffixAny(suffix) => match text.strip_suffix(suffix.as_slice()) {
                Some(rest) => find_delimiter(rest, run.delimiters).is_none(),
                None => false,
            },
            Matcher::EveryOf(parts) => {
                for part in parts {
                    if !part.matches(run, start, end)? {
                        return Ok(false);
                    }
                }
                true
            }
            Matcher::AnyOf(alternatives) => {
                for alternative in alternatives {
                    if alternative.matches(run, start, end)? {
                        return Ok(true);
                    }
                }
                false
            }
            Matcher::Row { length, parts } => {
                rune::runes(text).take(*length + 1).count() == *length && row_matches(parts, run, start, end)?
            }
            Matcher::Tree(tree) => return tree.matches(run, start, end),
        })
    }

    /// Where it begins first in the text from `start` to `end`, from `start`.
    fn index(&self, run: &mut Run<'_>, start: usize, end: usize) -> Result<Found, Fault> {
        let text = cut(run.text, start, end);
        run.spend(text.len())?;
        let first = |wanted: &dyn Fn(char) -> bool| {
            let (at, c) = rune::runes(text).find(|(_, c)| wanted(*c))?;
            Some((at, Lengths::One(rune::width(c))))
        };
        Ok(match self {
            Matcher::Nothing => Some((0, Lengths::One(0))),
            Matcher::Super => Some((0, boundaries(text, 0))),
            Matcher::Any => match find_delimiter(text, run.delimiters) {
                Some(0) => Some((0, Lengths::One(0))),
                Some(at) => Some((0, boundaries(cut(text, 0, at), 0))),
                None => Some((0, boundaries(text, 0))),
            },
            Matcher::Single => first(&|c| !run.delimiters.contains(&c)),
            Matcher::List { chars, not } => first(&|c| chars.contains(&c) != *not),
            Matcher::Range { low, high, not } => first(&|c| (*low..=*high).contains(&c) != *not),
            Matcher::Text { text: want, .. } => {
                rune::find(text, want).map(|at| (at, Lengths::One(want.len())))
            }
            Matcher::Min(least) => {
                if text.len() < *least {
                    return Ok(None);
                }
                let ends = rune::runes(text).skip(least.saturating_sub(1)).map(|(at, c)| at + rune::width(c));
                let lengths: Vec<usize> = ends.collect();
                if lengths.is_empty() { None } else { Some((0, Lengths::Many(lengths))) }
            }
            Matcher::Max(most) => {
                let ends = rune::runes(text).take(*most).map(|(at, c)| at + rune::width(c));
                Some((0, Lengths::Many(std::iter::once(0).chain(ends).collect())))
            }
            Matcher::Contains { needle, not } => match (rune::find(text, needle), not) {
                (None, false) => None,
                (Some(at), false) => {
                    let after = at + needle.len();
                    match text.get(after..) {
                        Some(rest) if !rest.is_empty() => Some((0, boundaries(rest, after))),
                        _ => Some((0, Lengths::One(after))),
                    }
                }
                (Some(at), true) => Some((0, boundaries(cut(text, 0, at), 0))),
                (None, true) => Some((0, boundaries(text, 0))),
            },
            Matcher::Prefix(prefix) => {
                rune::find(text, prefix).map(|at| (at, ends(from(text, at + prefix.len()), prefix.len())))
            }
            Matcher::PrefixAny(prefix) => match rune::find(text, prefix) {
                None => None,
                Some(at) => {
                    let rest = from(text, at + prefix.len());
                    let rest = match find_delimiter(rest, run.delimiters) {
                        Some(end) => cut(rest, 0, end),
                        None => rest,
                    };
                    Some((at, ends(rest, prefix.len())))
                }
            },
            Matcher::Suffix(suffix) => {
                rune::find(text, suffix).map(|at| (0, Lengths::One(at + suffix.len())))
            }
            Matcher::SuffixAny(suffix) => match rune::find(text, suffix) {
                None => None,
                Some(at) => {
                    let start = find_last_delimiter(cut(text, 0, at), run.delimiters)?.map_or(0, |at| at + 1);
                    Some((start, Lengths::One(at + suffix.len() - start)))
                }
            },
            Matcher::PrefixSuffix { prefix, suffix } => prefix_suffix_index(text, prefix, suffix),
            Matcher::EveryOf(parts) => return every_index(parts, run, start, end),
            Matcher::AnyOf(alternatives) => return any_index(alternatives, run, start, end),
            Matcher::Row { length, parts } => {
                for (at, _) in rune::runes(text) {
                    if text.len() - at < *length {
                        break;
                    }
                    if row_matches(parts, run, start + at, end)? {
                        return Ok(Some((at, Lengths::One(*length))));
                    }
                }
                None
            }
            Matcher::Tree(_) => None,
        })
    }
}

/// Part after part, each given as many characters as it is long, less all but the first byte of the last one.
fn row_matches(parts: &[Matcher], run: &mut Run<'_>, start: usize, end: usize) -> Result<bool, Fault> {
    let mut at = start;
    for part in parts {
        let length = part.length().unwrap_or(0);
        let rest = cut(run.text, at, end);
        run.spend(0)?;
        let (mut next, mut count) = (0, 0);
        for (place, _) in rune::runes(rest) {
            next = place;
            count += 1;
            if count == length {
                break;
            }
        }
        if count < length {
            return Ok(false);
        }
        // A part of no length at the end of the text.
        if at + next + 1 > end {
            return Err(CRASH);
        }
        if !part.matches(run, at, at + next + 1)? {
            return Ok(false);
        }
        at += next + 1;
    }
    Ok(true)
}

fn prefix_suffix_index(text: &[u8], prefix: &[u8], suffix: &[u8]) -> Found {
    let at = rune::find(text, prefix)?;
    let rest = from(text, at);
    if suffix.is_empty() {
        return Some((at, Lengths::One(rest.len())));
    }
    let mut lengths = Vec::new();
    let mut left = rest;
    while let Some(place) = rune::find_last(left, suffix) {
        lengths.push(place + suffix.len());
        left = cut(left, 0, place);
    }
    if lengths.is_empty() {
        return None;
    }
    lengths.reverse();
    Some((at, Lengths::Many(lengths)))
}

fn any_index(alternatives: &[Matcher], run: &mut Run<'_>, start: usize, end: usize) -> Result<Found, Fault> {
    let mut found: Option<(usize, Vec<usize>)> = None;
    for alternative in alternatives {
        let Some((at, lengths)) = alternative.index(run, start, end)? else { continue };
        match &mut found {
            Some((first, _)) if *first < at => {}
            Some((first, have)) if *first == at => {
                *have = merged(have, &lengths.into_vec());
            }
            _ => found = Some((at, lengths.into_vec())),
        }
    }
    Ok(found.map(|(at, lengths)| (at, Lengths::Many(lengths))))
}

/// Two sorted lists as one, equal heads once.
fn merged(a: &[usize], b: &[usize]) -> Vec<usize> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x == y => {
                b.next();
                a.next()
            }
            (Some(x), Some(y)) if x > y => b.next(),
            (Some(_), _) => a.next(),
            (None, _) => b.next(),
        };
        match next {
            Some(length) => out.push(*length),
            None => return out,
        }
    }
}

fn every_index(parts: &[Matcher], run: &mut Run<'_>, start: usize, end: usize) -> Result<Found, Fault> {
    let (mut index, mut offset) = (0usize, 0usize);
    let mut current: Vec<usize> = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let Some((at, lengths)) = part.index(run, start + offset, end)? else {
            return Ok(None);
        };
        let lengths = lengths.into_vec();
        if number == 0 {
            current = lengths;
        } else {
            // All begin at 0 but perhaps the last, so the difference is never positive.
            let back = (at + offset).saturating_sub(index);
            run.budget.step((current.len() + lengths.len()) as u64 / 16)?;
            // Widths of bad bytes may put lengths out of order.
            let sorted = lengths.is_sorted();
            current.retain(|have| match have.checked_sub(back) {
                Some(want) if sorted => lengths.binary_search(&want).is_ok(),
                Some(want) => lengths.contains(&want),
                None => false,
            });
            if current.is_empty() {
                return Ok(None);
            }
            for have in &mut current {
                *have -= back;
            }
        }
        index = at + offset;
        offset += at;
    }
    Ok(Some((index, Lengths::Many(current))))
}

impl Tree {
    fn matches(&self, run: &mut Run<'_>, start: usize, end: usize) -> Result<bool, Fault> {
        run.asked = run.asked.saturating_add(1);
        if run.asked < MEMO_FROM {
            return self.search(run, start, end);
        }
        let key = (self.number, start as u32, end as u32);
        if let Some(answer) = run.memo.get(&key) {
            return Ok(*answer);
        }
        run.budget.bytes(16)?;
        let answer = self.search(run, start, end)?;
        run.memo.insert(key, answer);
        Ok(answer)
    }

    fn search(&self, run: &mut Run<'_>, start: usize, end: usize) -> Result<bool, Fault> {
        let size = end - start;
        if self.length.is_some_and(|length| length > size) {
            return Ok(false);
        }
        let mut offset = self.left_length.unwrap_or(0);
        let Some(limit) = size.checked_sub(self.right_length.unwrap_or(0)) else {
            return Ok(false);
        };
        while offset < limit {
            let Some((index, lengths)) = self.value.index(run, start + offset, start + limit)? else {
                return Ok(false);
            };
            let at = offset + index;
            let left = match &self.left {
                Some(left) => left.matches(run, start, start + at)?,
                None => at == 0,
            };
            if left {
                match &lengths {
                    Lengths::One(length) => {
                        if self.right_matches(run, start + at + length, end)? {
                            return Ok(true);
                        }
                    }
                    Lengths::Many(lengths) => {
                        for length in lengths.iter().rev() {
                            run.budget.step(1)?;
                            if self.right_matches(run, start + at + length, end)? {
                                return Ok(true);
                            }
                        }
                    }
                }
            }
            if self.left.is_none() {
                // Nothing but the begin will do.
                return Ok(false);
            }
            offset = at + rune::decode(from(cut(run.text, start, end), at)).1;
        }
        Ok(false)
    }

    fn right_matches(&self, run: &mut Run<'_>, start: usize, end: usize) -> Result<bool, Fault> {
        match &self.right {
            Some(right) => right.matches(run, start.min(end), end),
            None => Ok(start >= end),
        }
    }
}
