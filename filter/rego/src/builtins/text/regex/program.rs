//! A compiled pattern: plain comparisons where they suffice, else a DFA built as texts need it for "does it match",
//! and threads over the NFA for where and with which groups.

use super::dfa::Dfa;
use super::parse::{self, Parsed};
use super::search::{self, Finding, Slots};
use crate::builtins::{Budget, Fault, Limit};
use regex_automata::nfa::thompson::{Compiler, Config, NFA, WhichCaptures};
use regex_syntax::hir::{Hir, HirKind, Look};
use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};

/// The largest NFA, in bytes.
const MOST_NFA: usize = 2 << 20;

/// A compiled regular expression.
#[derive(Debug)]
pub struct Regex {
    plain: Option<Plain>,
    hir: Hir,
    names: Vec<Option<Box<str>>>,
    /// For "does it match": without groups.
    matching: OnceCell<Result<RefCell<Dfa>, Fault>>,
    /// For where, with groups.
    finding: OnceCell<Result<Finding, Fault>>,
    states: usize,
}

/// What needs no automaton.
#[derive(Debug)]
struct Plain {
    text: Vec<u8>,
    /// `^` stands first.
    start: bool,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Anything may follow.
    Open,
    /// `$`
    Closed,
    /// `.*$`: anything but a line feed may follow.
    Line,
}

#[inline(never)]
fn compile(hir: &Hir, captures: WhichCaptures) -> Result<NFA, Fault> {
    let config = Config::new().which_captures(captures).nfa_size_limit(Some(MOST_NFA)).shrink(false);
    // What else could fail is not in a tree that we made.
    Compiler::new().configure(config).build_from_hir(hir).map_err(|_| Fault::Limit(Limit::Bytes))
}

impl Regex {
    /// Compiles a pattern of Go's grammar.
    ///
    /// Errors: undefined where Go refuses the pattern, a limit where it is too large to compile.
    #[inline(never)]
    pub fn compile(pattern: &[u8]) -> Result<Regex, Fault> {
        let Parsed { hir, names, too_high } = parse::parse(pattern)?;
        if too_high {
            return Err(Fault::Limit(Limit::Depth));
        }
        let plain = plain(&hir);
        let mut regex =
            Regex { plain, hir, names, matching: OnceCell::new(), finding: OnceCell::new(), states: 0 };
        if regex.plain.is_none() {
            let nfa = compile(&regex.hir, WhichCaptures::None)?;
            regex.states = nfa.states().len();
            regex.matching = OnceCell::from(Ok(RefCell::new(Dfa::new(nfa))));
        }
        Ok(regex)
    }

    /// Whether Go takes the pattern.
    pub(super) fn is_valid(pattern: &[u8]) -> Result<bool, Fault> {
        match parse::parse(pattern) {
            Ok(_) => Ok(true),
            Err(Fault::Undefined(_)) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// How many bytes it takes, about.
    pub(in super::super) fn size(&self) -> usize {
        match &self.plain {
            Some(plain) => 512 + plain.text.len(),
            // Both automata, and what the DFA may come to.
            None => 16 * 1024 + self.states * 96,
        }
    }

    /// How many steps compiling it is worth, in sixteenths.
    pub(in super::super) fn cost(&self) -> u64 {
        8 + self.states as u64
    }

    /// Whether the pattern matches somewhere in the text.
    pub fn is_match(&self, text: &[u8], budget: &mut Budget) -> Result<bool, Fault> {
        if let Some(plain) = &self.plain {
            budget.step(1 + text.len() as u64 / 32)?;
            return Ok(plain.is_match(text));
        }
        budget.step(1 + (text.len() as u64).saturating_mul(1 + self.states as u64 / 32) / 4)?;
        let dfa = match self.matching.get_or_init(|| {
            let nfa = compile(&self.hir, WhichCaptures::None)?;
            Ok(RefCell::new(Dfa::new(nfa)))
        }) {
            Ok(dfa) => dfa,
            Err(fault) => return Err(fault.clone()),
        };
        let mut dfa = dfa.borrow_mut();
        Ok(match std::str::from_utf8(text) {
            Ok(text) => dfa.is_match(text.as_bytes()),
            Err(_) => {
                budget.bytes(3 * text.len() as u64)?;
                dfa.is_match(crate::value::lossy(text).as_bytes())
            }
        })
    }

    /// A text that every match begins with, if matches begin where the text does: what an index may ask first.
    pub fn prefix(&self) -> Option<&[u8]> {
        match &self.plain {
            Some(plain) if plain.start => Some(&plain.text),
            Some(_) => None,
            None => {
                let HirKind::Concat(parts) = self.hir.kind() else { return None };
                match (parts.first()?.kind(), parts.get(1)?.kind()) {
                    (HirKind::Look(Look::Start), HirKind::Literal(literal)) => {
                        let text = std::str::from_utf8(&literal.0).ok()?;
                        (!text.contains(char::REPLACEMENT_CHARACTER)).then_some(text.as_bytes())
                    }
                    _ => None,
                }
            }
        }
    }

    /// How many states the DFA has.
    #[cfg(test)]
    pub(in super::super) fn most_states(&self) -> usize {
        self.matching.get().map_or(0, |dfa| dfa.as_ref().map_or(0, |dfa| dfa.borrow().states()))
    }

    /// The names of groups; the whole match is the first.
    pub(super) fn names(&self) -> &[Option<Box<str>>] {
        &self.names
    }

    /// Each match, with all groups: at most `most`.
    pub(super) fn find_all(
        &self,
        text: &[u8],
        most: usize,
        budget: &mut Budget,
    ) -> Result<Vec<Slots>, Fault> {
        if most == 0 || !self.is_match(text, budget)? {
            return Ok(Vec::new());
        }
        if let Some(Plain { text: literal, start: false, end: End::Open }) = &self.plain {
            return found_literal(literal, self.names.len(), text, most, budget);
        }
        let finding = match self.finding.get_or_init(|| {
            let nfa = compile(&self.hir, WhichCaptures::All)?;
            Ok(Finding { begins: search::begins(&nfa), nfa })
        }) {
            Ok(finding) => finding,
            Err(fault) => return Err(fault.clone()),
        };
        if std::str::from_utf8(text).is_err() {
            budget.bytes(24 * text.len() as u64)?;
        }
        let (haystack, places) = readable(text);
        let mut found = search::find_all(finding, self.names.len(), haystack.as_bytes(), most, budget)?;
        if let Some(places) = places {
            for slot in found.iter_mut().flatten().flatten() {
                *slot = places.get(*slot).copied().unwrap_or(text.len());
            }
        }
        Ok(found)
    }
}

/// Where a plain text is, one place after another. Groups that are repeated no times are not in the tree, but there.
fn found_literal(
    literal: &[u8],
    groups: usize,
    text: &[u8],
    most: usize,
    budget: &mut Budget,
) -> Result<Vec<Slots>, Fault> {
    let mut found = Vec::new();
    for at in memchr::memmem::find_iter(text, literal).take(most) {
        budget.step(1)?;
        budget.bytes(32 * groups as u64 + 24)?;
        let mut slots = vec![None; 2 * groups];
        for (slot, place) in slots.iter_mut().zip([at, at + literal.len()]) {
            *slot = Some(place);
        }
        found.push(slots);
    }
    Ok(found)
}

/// The text with U+FFFD for each bad byte, as Go reads it, and the place in the text of each of its places.
fn readable(text: &[u8]) -> (Cow<'_, str>, Option<Vec<usize>>) {
    match crate::value::lossy(text) {
        Cow::Borrowed(text) => (Cow::Borrowed(text), None),
        Cow::Owned(lossy) => {
            let mut places = Vec::with_capacity(lossy.len() + 1);
            for (at, c) in super::super::rune::runes(text) {
                // The bytes within a character are no place where a match begins or ends.
                places.resize(places.len() + c.len_utf8(), at);
            }
            places.push(text.len());
            (Cow::Owned(lossy), Some(places))
        }
    }
}

impl Plain {
    fn is_match(&self, text: &[u8]) -> bool {
        match (self.start, self.end) {
            (true, End::Open) => text.starts_with(&self.text),
            (true, End::Closed) => text == self.text,
            (true, End::Line) => {
                text.strip_prefix(self.text.as_slice()).is_some_and(|rest| !rest.contains(&b'\n'))
            }
            (false, End::Closed) => text.ends_with(&self.text),
            (false, _) => super::super::rune::find(text, &self.text).is_some(),
        }
    }
}

/// `^text`, `^text$`, `^text.*`, `^text.*$`, `text$` and `text`.
fn plain(hir: &Hir) -> Option<Plain> {
    let parts = match hir.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => std::slice::from_ref(hir),
    };
    let mut parts = parts.iter().peekable();
    let start = parts.next_if(|part| matches!(part.kind(), HirKind::Look(Look::Start))).is_some();
    let text = match parts.peek().map(|part| part.kind()) {
        Some(HirKind::Literal(literal)) => {
            parts.next();
            literal.0.to_vec()
        }
        _ if start => Vec::new(),
        _ => return None,
    };
    // U+FFFD is also every bad byte.
    if std::str::from_utf8(&text).ok()?.contains(char::REPLACEMENT_CHARACTER) {
        return None;
    }
    let any = start && parts.next_if(|part| is_any_run(part)).is_some();
    let closed = parts.next_if(|part| matches!(part.kind(), HirKind::Look(Look::End))).is_some();
    if parts.next().is_some() {
        return None;
    }
    let end = match (any, closed) {
        (true, true) => End::Line,
        (false, true) => End::Closed,
        (_, false) => End::Open,
    };
    Some(Plain { text, start, end })
}

/// `.*`, with or without `?`.
fn is_any_run(hir: &Hir) -> bool {
    let HirKind::Repetition(repetition) = hir.kind() else { return false };
    let HirKind::Class(regex_syntax::hir::Class::Unicode(class)) = repetition.sub.kind() else {
        return false;
    };
    let ranges = class.ranges().iter().map(|range| (range.start(), range.end()));
    repetition.min == 0
        && repetition.max.is_none()
        && ranges.eq([('\0', '\t'), ('\u{B}', '\u{D7FF}'), ('\u{E000}', char::MAX)])
}
