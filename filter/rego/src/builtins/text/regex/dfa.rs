//! Whether a text matches: a DFA over sets of NFA states, made as texts need it.
//!
//! A state is the set before its empty moves, and what stood before it; the moves are made when the next byte is
//! known, so that `^`, `$` and `\b` look both ways. The table is bounded: a full one is emptied and made again.

use super::super::hash::Map;
use super::super::unicode;
use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::look::Look;
use regex_automata::util::primitives::StateID;
use std::rc::Rc;

/// The most entries of the table, and of the sets.
const MOST_TABLE: usize = 4 * 1024;
const MOST_SETS: usize = 4 * 1024;

/// Entries of the table below the first state.
const UNKNOWN: u32 = 0;
const DEAD: u32 = 1;
const MATCH: u32 = 2;

/// What stands before a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Before {
    Begin,
    Newline,
    Word,
    Other,
}

type Key = (Before, Rc<[u32]>);

#[derive(Debug)]
pub(super) struct Dfa {
    nfa: NFA,
    anchored: bool,
    /// Whether anything looks at line feeds, or at words.
    lines: bool,
    words: bool,
    /// The class of each byte: all bytes of a class move alike. The end of the text is the class after the last.
    classes: Box<[u8; 256]>,
    /// A byte of each class.
    examples: Vec<u8>,
    stride: usize,
    table: Vec<u32>,
    keys: Vec<Key>,
    numbers: Map<Key, u32>,
    members: usize,
    /// The state at the begin; 0: not made yet.
    start: u32,
    seen: Vec<bool>,
    stack: Vec<StateID>,
    reached: Vec<StateID>,
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// Whether the byte is within a character, so that nothing begins before it.
fn is_within(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

impl Dfa {
    pub(super) fn new(nfa: NFA) -> Dfa {
        let mut classes = Box::new([0u8; 256]);
        let mut examples = Vec::new();
        let mut last = None;
        for byte in 0..=255u8 {
            let kind = (nfa.byte_classes().get(byte), is_within(byte));
            // Classes of the NFA are runs of bytes, and so are ours.
            if last != Some(kind) {
                last = Some(kind);
                examples.push(byte);
            }
            if let Some(class) = classes.get_mut(usize::from(byte)) {
                *class = (examples.len() - 1) as u8;
            }
        }
        let looks = nfa.look_set_any();
        let states = nfa.states().len();
        let stride = (examples.len() + 1).max(4);
        Dfa {
            anchored: nfa.is_always_start_anchored(),
            lines: looks.contains(Look::StartLF) || looks.contains(Look::EndLF),
            words: looks.contains(Look::WordAscii) || looks.contains(Look::WordAsciiNegate),
            classes,
            examples,
            stride,
            table: vec![UNKNOWN; stride],
            keys: Vec::new(),
            numbers: Map::default(),
            members: 0,
            start: 0,
            seen: vec![false; states],
            stack: Vec::new(),
            reached: Vec::new(),
            nfa,
        }
    }

    /// Whether the pattern matches somewhere in the text, which must be UTF-8.
    pub(super) fn is_match(&mut self, text: &[u8]) -> bool {
        if self.start == 0 {
            let set = if self.anchored { vec![self.nfa.start_anchored().as_u32()] } else { Vec::new() };
            self.start = self.state((Before::Begin, set.into()));
        }
        let mut state = self.start;
        for &byte in text {
            let class = self.classes.get(usize::from(byte)).copied().unwrap_or_default();
            let mut next = self.table.get(state as usize + usize::from(class)).copied().unwrap_or(UNKNOWN);
            if next <= MATCH {
                if next == UNKNOWN {
                    next = self.step(state, Some(class));
                }
                match next {
                    MATCH => return true,
                    DEAD => return false,
                    _ => {}
                }
            }
            state = next;
        }
        let next = self.table.get(state as usize + self.examples.len()).copied().unwrap_or(UNKNOWN);
        let next = if next == UNKNOWN { self.step(state, None) } else { next };
        next == MATCH
    }

    /// The number of a state: where its row begins.
    fn state(&mut self, key: Key) -> u32 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = self.table.len() as u32;
        self.table.resize(self.table.len() + self.stride, UNKNOWN);
        self.members += key.1.len();
        self.keys.push(key.clone());
        self.numbers.insert(key, number);
        number
    }

    /// Moves from a state by a class of bytes, or to the end; puts it down in the table.
    fn step(&mut self, from: u32, class: Option<u8>) -> u32 {
        let Some((before, set)) = self.keys.get(from as usize / self.stride - 1).cloned() else {
            return DEAD;
        };
        let byte = class.and_then(|class| self.examples.get(usize::from(class)).copied());
        let matched = self.close(before, &set, byte);
        let next = match byte {
            _ if matched => MATCH,
            None => DEAD,
            Some(byte) => {
                let mut members: Vec<u64> = Vec::new();
                for id in &self.reached {
                    let to = match self.nfa.state(*id) {
                        State::ByteRange { trans } => trans.matches_byte(byte).then_some(trans.next),
                        State::Sparse(transitions) => transitions.matches_byte(byte),
                        State::Dense(transitions) => transitions.matches_byte(byte),
                        _ => None,
                    };
                    members.extend(to.map(|to| u64::from(to.as_u32())));
                }
                unicode::sort(&mut members);
                members.dedup();
                if members.is_empty() && self.anchored {
                    DEAD
                } else {
                    let set: Rc<[u32]> = members.iter().map(|id| *id as u32).collect();
                    let before = match byte {
                        b'\n' if self.lines => Before::Newline,
                        _ if self.words && is_word(byte) => Before::Word,
                        _ => Before::Other,
                    };
                    if self.table.len() + self.stride > MOST_TABLE.max(8 * self.stride)
                        || self.members > MOST_SETS
                    {
                        self.empty();
                        return self.state((before, set));
                    }
                    self.state((before, set))
                }
            }
        };
        let column = class.map_or(self.examples.len(), usize::from);
        if let Some(entry) = self.table.get_mut(from as usize + column) {
            *entry = next;
        }
        next
    }

    #[cfg(test)]
    pub(super) fn states(&self) -> usize {
        self.keys.len()
    }

    fn empty(&mut self) {
        self.table.truncate(self.stride);
        self.keys.clear();
        self.numbers.clear();
        self.members = 0;
        self.start = 0;
    }

    /// Makes all empty moves; whether a match was met.
    fn close(&mut self, before: Before, set: &[u32], next: Option<u8>) -> bool {
        for id in self.reached.drain(..) {
            if let Some(seen) = self.seen.get_mut(id.as_usize()) {
                *seen = false;
            }
        }
        let members = set.iter().map(|id| StateID::new_unchecked(*id as usize));
        self.stack.clear();
        self.stack.extend(members);
        if !self.anchored && !next.is_some_and(is_within) {
            self.stack.push(self.nfa.start_anchored());
        }
        while let Some(id) = self.stack.pop() {
            match self.seen.get_mut(id.as_usize()) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            self.reached.push(id);
            match self.nfa.state(id) {
                State::Look { look, next: to } if holds(*look, before, next) => self.stack.push(*to),
                State::Union { alternates } => self.stack.extend(alternates.iter().copied()),
                State::BinaryUnion { alt1, alt2 } => self.stack.extend([*alt1, *alt2]),
                State::Capture { next: to, .. } => self.stack.push(*to),
                State::Match { .. } => return true,
                _ => {}
            }
        }
        false
    }
}

fn holds(look: Look, before: Before, next: Option<u8>) -> bool {
    let boundary = (before == Before::Word) != next.is_some_and(is_word);
    match look {
        Look::Start => before == Before::Begin,
        Look::End => next.is_none(),
        Look::StartLF => matches!(before, Before::Begin | Before::Newline),
        Look::EndLF => matches!(next, None | Some(b'\n')),
        Look::WordAscii => boundary,
        Look::WordAsciiNegate => !boundary,
        _ => false,
    }
}
