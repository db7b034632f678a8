//! Where a pattern matches, by trying one way after another; no place is tried twice in one state, so that it takes
//! linear time.

use super::search::{Finding, MOVES, Slots, holds};
use crate::builtins::{Budget, Fault};
use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::primitives::StateID;

/// The most words of 64 bits that remember what was tried.
const MOST_WORDS: usize = 32 * 1024;

enum Move {
    Explore(StateID, usize),
    /// A place is put back to what it was.
    Restore(usize, Option<usize>),
}

pub(super) struct Backtrack<'a> {
    nfa: &'a NFA,
    begins: Option<&'a [bool; 256]>,
    text: &'a [u8],
    /// A bit for each state at each place from where the search began, place by place.
    tried: Vec<u64>,
    /// Words for each place.
    stride: usize,
    slots: Slots,
    stack: Vec<Move>,
    moves: u64,
}

impl<'a> Backtrack<'a> {
    pub(super) fn new(finding: &'a Finding, text: &'a [u8], groups: usize) -> Backtrack<'a> {
        let nfa = &finding.nfa;
        let stride = nfa.states().len().div_ceil(64);
        Backtrack {
            nfa,
            begins: finding.begins.as_deref(),
            text,
            tried: Vec::new(),
            stride,
            slots: vec![None; 2 * groups],
            stack: Vec::new(),
            moves: 0,
        }
    }

    /// The first match from `start` on; `None`: more would have to be remembered than may be.
    pub(super) fn find(&mut self, start: usize, budget: &mut Budget) -> Result<Option<Option<Slots>>, Fault> {
        self.tried.clear();
        let anchored = self.nfa.is_always_start_anchored();
        for at in start..=self.text.len() {
            if anchored && at > 0 {
                break;
            }
            // Nothing begins within a character.
            let byte = self.text.get(at).copied();
            if byte.is_some_and(|byte| byte & 0xC0 == 0x80) || !self.can_begin(byte) {
                continue;
            }
            self.slots.fill(None);
            self.stack.clear();
            self.stack.push(Move::Explore(self.nfa.start_anchored(), at));
            while let Some(next) = self.stack.pop() {
                let end = match next {
                    Move::Restore(slot, place) => {
                        if let Some(slot) = self.slots.get_mut(slot) {
                            *slot = place;
                        }
                        continue;
                    }
                    Move::Explore(id, at) => match self.explore(start, id, at, budget) {
                        Ok(end) => end,
                        Err(Stop::Full) => return Ok(None),
                        Err(Stop::Fault(fault)) => return Err(fault),
                    },
                };
                if let Some(end) = end {
                    let mut slots = self.slots.clone();
                    for (slot, place) in slots.iter_mut().zip([at, end]) {
                        *slot = Some(place);
                    }
                    return Ok(Some(Some(slots)));
                }
            }
        }
        Ok(Some(None))
    }

    fn can_begin(&self, byte: Option<u8>) -> bool {
        match (self.begins, byte) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(begins), Some(byte)) => begins.get(usize::from(byte)).copied().unwrap_or(true),
        }
    }

    /// Follows one way as far as it goes; where a match ends, if it does.
    fn explore(
        &mut self,
        start: usize,
        mut id: StateID,
        mut at: usize,
        budget: &mut Budget,
    ) -> Result<Option<usize>, Stop> {
        loop {
            self.moves += 1;
            if self.moves == MOVES {
                budget.step(1).map_err(|limit| Stop::Fault(limit.into()))?;
                self.moves = 0;
            }
            if !self.first_time(start, id, at)? {
                return Ok(None);
            }
            let byte = self.text.get(at).copied();
            let to = match self.nfa.state(id) {
                State::ByteRange { trans } => {
                    byte.filter(|byte| trans.matches_byte(*byte)).map(|_| trans.next)
                }
                State::Sparse(transitions) => byte.and_then(|byte| transitions.matches_byte(byte)),
                State::Dense(transitions) => byte.and_then(|byte| transitions.matches_byte(byte)),
                State::Look { look, next } => {
                    if !holds(*look, self.text, at) {
                        return Ok(None);
                    }
                    id = *next;
                    continue;
                }
                State::Union { alternates } => {
                    let Some((first, rest)) = alternates.split_first() else { return Ok(None) };
                    self.stack.extend(rest.iter().rev().map(|id| Move::Explore(*id, at)));
                    id = *first;
                    continue;
                }
                State::BinaryUnion { alt1, alt2 } => {
                    self.stack.push(Move::Explore(*alt2, at));
                    id = *alt1;
                    continue;
                }
                State::Capture { next, slot, .. } => {
                    let slot = slot.as_usize();
                    if let Some(place) = self.slots.get_mut(slot) {
                        self.stack.push(Move::Restore(slot, *place));
                        *place = Some(at);
                    }
                    id = *next;
                    continue;
                }
                State::Fail => return Ok(None),
                State::Match { .. } => return Ok(Some(at)),
            };
            match to {
                Some(to) => (id, at) = (to, at + 1),
                None => return Ok(None),
            }
        }
    }

    /// Whether the state is tried at this place for the first time.
    fn first_time(&mut self, start: usize, id: StateID, at: usize) -> Result<bool, Stop> {
        let word = (at - start) * self.stride + id.as_usize() / 64;
        if word >= self.tried.len() {
            if word >= MOST_WORDS {
                return Err(Stop::Full);
            }
            self.tried.resize((at - start + 1) * self.stride, 0);
        }
        let bit = 1 << (id.as_usize() % 64);
        match self.tried.get_mut(word) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

enum Stop {
    /// More would have to be remembered than may be.
    Full,
    Fault(Fault),
}
