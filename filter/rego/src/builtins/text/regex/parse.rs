//! Regular expressions as Go reads them, to the tree that the automaton is built from.
//!
//! Rust's own syntax accepts and means other things (`{` as a literal, `\Q…\E`, octal, `[a&&b]`, ASCII `\d` …), so
//! the grammar is ours; sizes are bounded as Go bounds them. Source: `go:regexp/syntax`, `parse.go`.

use super::class;
use crate::builtins::{Fault, Limit};
use regex_syntax::hir::{Capture, Hir, Look, Repetition};
use std::borrow::Cow;

/// The longest pattern.
pub(super) const MOST_PATTERN: usize = 16 * 1024;
/// The largest program and the highest tree of Go; past them its parser refuses.
const MOST_SIZE: u64 = (128 << 20) / 40;
const MOST_HEIGHT: u32 = 1000;
/// The highest tree here: the compiler of the automaton recurses.
const MOST_NESTING: u32 = 160;
/// The most ranges in all classes.
const MOST_RANGES: usize = 200_000;

/// What Go refuses, and why.
pub(super) const fn bad(why: &'static str) -> Fault {
    Fault::undefined(why)
}

/// What a pattern was read to.
pub(super) struct Parsed {
    pub(super) hir: Hir,
    /// The names of groups: `None` for those without. The whole match is the first.
    pub(super) names: Vec<Option<Box<str>>>,
    /// Too high for the automaton's compiler, though not for Go.
    pub(super) too_high: bool,
}

#[derive(Clone, Copy, Default)]
struct Flags {
    /// `i`
    fold: bool,
    /// `m`
    lines: bool,
    /// `s`
    dot_all: bool,
    /// `U`
    lazy: bool,
}

/// A part, with what Go's limits are about.
struct Item {
    hir: Hir,
    /// Instructions of the program.
    size: u64,
    height: u32,
    /// The largest product of counts of nested repetitions.
    repeats: u64,
}

impl Item {
    fn leaf(hir: Hir) -> Item {
        Item { hir, size: 1, height: 1, repeats: 1 }
    }
}

/// An open group.
struct Group {
    /// The flags to return to.
    flags: Flags,
    /// The number of the group, if it captures.
    capture: Option<u32>,
    alternatives: Vec<Item>,
    items: Vec<Item>,
}

impl Group {
    fn new(flags: Flags, capture: Option<u32>) -> Group {
        Group { flags, capture, alternatives: Vec::new(), items: Vec::new() }
    }

    fn end_alternative(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        let item = if items.len() == 1
            && let Some(item) = items.pop()
        {
            item
        } else {
            gather(items, Hir::concat, |sum, _| sum)
        };
        self.alternatives.push(item);
    }

    fn close(mut self) -> Item {
        self.end_alternative();
        if self.alternatives.len() == 1
            && let Some(item) = self.alternatives.pop()
        {
            return item;
        }
        gather(self.alternatives, Hir::alternation, |sum, count| sum + count - 1)
    }
}

fn gather(items: Vec<Item>, join: fn(Vec<Hir>) -> Hir, size: fn(u64, u64) -> u64) -> Item {
    let count = items.len() as u64;
    let total = items.iter().map(|item| item.size).sum();
    // A run of plain characters is one literal to Go.
    let height = 1 + items.iter().map(|item| item.height).max().unwrap_or(0);
    let repeats = items.iter().map(|item| item.repeats).max().unwrap_or(1);
    let hir = join(items.into_iter().map(|item| item.hir).collect());
    Item { hir, size: size(total, count).max(1), height, repeats }
}

struct Parser<'a> {
    rest: &'a str,
    flags: Flags,
    open: Vec<Group>,
    group: Group,
    names: Vec<Option<Box<str>>>,
    ranges: usize,
}

/// Reads a pattern.
///
/// Errors: undefined for what Go refuses; a limit for what is larger than we compile.
#[inline(never)]
pub(super) fn parse(pattern: &[u8]) -> Result<Parsed, Fault> {
    if pattern.len() > MOST_PATTERN {
        return Err(Fault::Limit(Limit::Bytes));
    }
    let text = std::str::from_utf8(pattern).map_err(|_| bad("the pattern is not UTF-8"))?;
    let mut parser = Parser {
        rest: text,
        flags: Flags::default(),
        open: Vec::new(),
        group: Group::new(Flags::default(), None),
        names: vec![None],
        ranges: 0,
    };
    parser.all()?;
    if !parser.open.is_empty() {
        return Err(bad("a group of the pattern has no end"));
    }
    let item = parser.group.close();
    check(&item)?;
    let too_high = item.height > MOST_NESTING;
    Ok(Parsed { hir: item.hir, names: parser.names, too_high })
}

fn check(item: &Item) -> Result<(), Fault> {
    if item.size > MOST_SIZE {
        return Err(bad("the pattern is too large"));
    }
    if item.height > MOST_HEIGHT {
        return Err(bad("the pattern nests too deeply"));
    }
    Ok(())
}

impl Parser<'_> {
    fn all(&mut self) -> Result<(), Fault> {
        // Whether what was read last is a repetition, which may not be repeated.
        let mut repeated = false;
        while let Some(c) = self.rest.chars().next() {
            let mut repeats = false;
            match c {
                '(' if self.rest.starts_with("(?") => self.perl_group()?,
                '(' => {
                    self.skip(1);
                    self.open_group(Some(None));
                }
                '|' => {
                    self.skip(1);
                    self.group.end_alternative();
                }
                ')' => {
                    self.skip(1);
                    self.close_group()?;
                }
                '^' => {
                    self.skip(1);
                    self.look(if self.flags.lines { Look::StartLF } else { Look::Start });
                }
                '$' => {
                    self.skip(1);
                    self.look(if self.flags.lines { Look::EndLF } else { Look::End });
                }
                '.' => {
                    self.skip(1);
                    let ranges = if self.flags.dot_all { class::ANY } else { class::NO_NEWLINE };
                    self.push_class(ranges.to_vec())?;
                }
                '[' => {
                    let (ranges, rest) = class::bracket(self.rest, self.flags.fold)?;
                    self.rest = rest;
                    self.push_class(ranges)?;
                }
                '*' => repeats = self.repeat(0, None, 1, repeated, |size| 2 + size)?,
                '+' => repeats = self.repeat(1, None, 1, repeated, |size| 1 + size)?,
                '?' => repeats = self.repeat(0, Some(1), 1, repeated, |size| 1 + size)?,
                '{' => match count(self.rest) {
                    Some((min, max, length)) => repeats = self.repeat_counted(min, max, length, repeated)?,
                    None => {
                        self.skip(1);
                        self.literal('{');
                    }
                },
                '\\' => self.escape()?,
                _ => {
                    self.skip(c.len_utf8());
                    self.literal(c);
                }
            }
            repeated = repeats;
        }
        Ok(())
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn push(&mut self, hir: Hir) {
        self.group.items.push(Item::leaf(hir));
    }

    fn look(&mut self, look: Look) {
        self.push(Hir::look(look));
    }

    fn literal(&mut self, c: char) {
        let hir = if self.flags.fold {
            class::folded(c)
        } else {
            Hir::literal(c.encode_utf8(&mut [0; 4]).as_bytes())
        };
        self.push(hir);
    }

    /// A code point, which may be a surrogate: that is in no text.
    fn code_point(&mut self, c: u32) {
        match char::from_u32(c) {
            Some(c) => self.literal(c),
            None => self.push(Hir::fail()),
        }
    }

    fn push_class(&mut self, ranges: Vec<class::Range>) -> Result<(), Fault> {
        self.ranges += ranges.len();
        if self.ranges > MOST_RANGES {
            return Err(Fault::Limit(Limit::Bytes));
        }
        self.push(class::hir(&ranges));
        Ok(())
    }

    fn open_group(&mut self, name: Option<Option<Box<str>>>) {
        let capture = name.map(|name| {
            self.names.push(name);
            self.names.len() as u32 - 1
        });
        let outer = std::mem::replace(&mut self.group, Group::new(self.flags, capture));
        self.open.push(outer);
    }

    fn close_group(&mut self) -> Result<(), Fault> {
        let Some(outer) = self.open.pop() else {
            return Err(bad("a parenthesis of the pattern closes nothing"));
        };
        let group = std::mem::replace(&mut self.group, outer);
        self.flags = group.flags;
        let capture = group.capture;
        let mut item = group.close();
        if let Some(index) = capture {
            item = Item {
                hir: Hir::capture(Capture { index, name: None, sub: Box::new(item.hir) }),
                size: 2 + item.size,
                height: 1 + item.height,
                repeats: item.repeats,
            };
        }
        check(&item)?;
        self.group.items.push(item);
        Ok(())
    }

    /// `(?flags)`, `(?flags:`, `(?P<name>`, `(?<name>`.
    fn perl_group(&mut self) -> Result<(), Fault> {
        const BAD: Fault = bad("the group of the pattern is of a kind that RE2 does not have");
        let named = self.rest.strip_prefix("(?P<").or_else(|| self.rest.strip_prefix("(?<"));
        if let Some(named) = named
            && !named.is_empty()
        {
            let (name, rest) = named.split_once('>').ok_or(bad("the name of a group has no end"))?;
            if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
                return Err(bad("the name of a group has other characters than letters, digits and _"));
            }
            self.open_group(Some(Some(name.into())));
            self.rest = rest;
            return Ok(());
        }
        let mut flags = self.flags;
        let (mut on, mut any) = (true, false);
        for (at, c) in self.rest.char_indices().skip(2) {
            let flag = match c {
                'i' => &mut flags.fold,
                'm' => &mut flags.lines,
                's' => &mut flags.dot_all,
                'U' => &mut flags.lazy,
                '-' if on => {
                    (on, any) = (false, false);
                    continue;
                }
                ':' | ')' if on || any => {
                    if c == ':' {
                        self.open_group(None);
                    }
                    self.flags = flags;
                    self.skip(at + 1);
                    return Ok(());
                }
                _ => return Err(BAD),
            };
            *flag = on;
            any = true;
        }
        Err(BAD)
    }

    fn repeat_counted(
        &mut self,
        min: u32,
        max: Option<u32>,
        length: usize,
        repeated: bool,
    ) -> Result<bool, Fault> {
        const MOST: u32 = 1000;
        if min > MOST || max.is_some_and(|max| max > MOST || max < min) {
            return Err(bad("a count of the pattern is out of range"));
        }
        self.repeat(min, max, length, repeated, |size| size)?;
        if let Some(item) = self.group.items.last_mut() {
            let sub = item.size;
            item.size = match max {
                None if min == 0 => 2 + sub,
                None => 1 + u64::from(min) * sub,
                Some(max) => u64::from(max) * sub + u64::from(max - min),
            }
            .max(1);
            if max != Some(0) {
                item.repeats = item.repeats.saturating_mul(u64::from(max.unwrap_or(min).max(1)));
            } else {
                item.repeats = 1;
            }
            if (min >= 2 || max.is_some_and(|max| max >= 2)) && item.repeats > 1000 {
                return Err(bad("the counts of the pattern multiply to too much"));
            }
            check(item)?;
        }
        Ok(true)
    }

    /// Repeats the last item; `true`: a repetition was read.
    fn repeat(
        &mut self,
        min: u32,
        max: Option<u32>,
        length: usize,
        repeated: bool,
        size: fn(u64) -> u64,
    ) -> Result<bool, Fault> {
        self.skip(length);
        let mut greedy = !self.flags.lazy;
        if self.rest.starts_with('?') {
            self.skip(1);
            greedy = !greedy;
        }
        if repeated {
            return Err(bad("a repetition of the pattern is repeated"));
        }
        let Some(item) = self.group.items.pop() else {
            return Err(bad("a repetition of the pattern repeats nothing"));
        };
        let item = Item {
            size: size(item.size),
            height: 1 + item.height,
            repeats: item.repeats,
            hir: Hir::repetition(Repetition { min, max, greedy, sub: Box::new(item.hir) }),
        };
        check(&item)?;
        self.group.items.push(item);
        Ok(true)
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let next = self.rest.chars().nth(1);
        let look = match next {
            Some('A') => Look::Start,
            Some('z') => Look::End,
            Some('b') => Look::WordAscii,
            Some('B') => Look::WordAsciiNegate,
            Some('C') => return Err(bad("an escape of the pattern is unknown")),
            Some('Q') => {
                self.skip(2);
                let rest = self.rest;
                let (text, rest) = rest.split_once("\\E").unwrap_or((rest, ""));
                for c in text.chars() {
                    self.literal(c);
                }
                self.rest = rest;
                return Ok(());
            }
            _ => {
                if let Some((ranges, rest)) = class::escape(self.rest, self.flags.fold)? {
                    self.rest = rest;
                    return self.push_class(ranges.into_owned());
                }
                let (c, rest) = class::character(self.rest)?;
                self.rest = rest;
                self.code_point(c);
                return Ok(());
            }
        };
        self.skip(2);
        self.look(look);
        Ok(())
    }
}

/// `{n}`, `{n,}`, `{n,m}`: least, most, and how many bytes it takes; `None`: the brace is a literal.
fn count(text: &str) -> Option<(u32, Option<u32>, usize)> {
    let inside = text.strip_prefix('{')?;
    let (inside, _) = inside.split_once('}')?;
    let length = inside.len() + 2;
    let (min, max) = match inside.split_once(',') {
        None => {
            let min = integer(inside)?;
            (min, Some(min))
        }
        Some((min, "")) => (integer(min)?, None),
        Some((min, max)) => (integer(min)?, Some(integer(max)?)),
    };
    Some((min, max, length))
}

/// Digits without a leading zero; too many are too large a number.
fn integer(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit())
        && !text.is_empty()
        && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().unwrap_or(u32::MAX))
}

/// Ranges, shared or made.
pub(super) type Ranges = Cow<'static, [class::Range]>;
