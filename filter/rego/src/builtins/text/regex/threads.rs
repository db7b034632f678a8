//! Where a pattern matches, by threads over the NFA in the order of their priority: for texts that are too long to
//! remember every place of.

use super::search::{MOVES, Slots, holds};
use crate::builtins::{Budget, Fault, Limit};
use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::primitives::StateID;

/// The most places that threads may remember.
const MOST_SLOTS: usize = 1 << 20;
const NONE: u32 = u32::MAX;

/// Threads in the order of their priority, at most one for each state.
struct List {
    order: Vec<StateID>,
    member: Vec<bool>,
    slots: Vec<u32>,
}

impl List {
    fn clear(&mut self) {
        for id in self.order.drain(..) {
            if let Some(member) = self.member.get_mut(id.as_usize()) {
                *member = false;
            }
        }
    }

    fn insert(&mut self, id: StateID) -> bool {
        match self.member.get_mut(id.as_usize()) {
            Some(member) if !*member => {
                *member = true;
                self.order.push(id);
                true
            }
            _ => false,
        }
    }

    fn slots_mut(&mut self, id: StateID, width: usize) -> &mut [u32] {
        self.slots.get_mut(id.as_usize() * width..(id.as_usize() + 1) * width).unwrap_or_default()
    }
}

enum Move {
    Explore(StateID),
    /// A place is put back to what it was.
    Restore(usize, u32),
}

pub(super) struct Threads<'a> {
    nfa: &'a NFA,
    text: &'a [u8],
    width: usize,
    now: List,
    next: List,
    stack: Vec<Move>,
    current: Vec<u32>,
    moves: u64,
}

impl<'a> Threads<'a> {
    pub(super) fn new(nfa: &'a NFA, text: &'a [u8], groups: usize) -> Result<Threads<'a>, Fault> {
        let (states, width) = (nfa.states().len(), 2 * groups);
        if states * width > MOST_SLOTS || text.len() >= NONE as usize {
            return Err(Fault::Limit(Limit::Bytes));
        }
        let list =
            || List { order: Vec::new(), member: vec![false; states], slots: vec![NONE; states * width] };
        let (now, next) = (list(), list());
        Ok(Threads { nfa, text, width, now, next, stack: Vec::new(), current: Vec::new(), moves: 0 })
    }
}

impl Threads<'_> {
    /// The first match from `start` on.
    pub(super) fn find(&mut self, start: usize, budget: &mut Budget) -> Result<Option<Slots>, Fault> {
        self.now.clear();
        self.next.clear();
        let anchored = self.nfa.is_always_start_anchored();
        let mut found: Option<Vec<u32>> = None;
        for at in start..=self.text.len() {
            if self.now.order.is_empty() && (found.is_some() || (anchored && at > 0)) {
                break;
            }
            let byte = self.text.get(at).copied();
            let begins = byte.is_none_or(|byte| byte & 0xC0 != 0x80);
            if found.is_none() && begins && (!anchored || at == 0) {
                self.current.clear();
                self.current.resize(self.width, NONE);
                let mut now = std::mem::replace(&mut self.now, empty());
                self.close(&mut now, self.nfa.start_anchored(), at);
                self.now = now;
            }
            self.moves += 1 + self.now.order.len() as u64;
            if self.moves >= MOVES {
                budget.step(self.moves / MOVES)?;
                self.moves %= MOVES;
            }
            let mut now = std::mem::replace(&mut self.now, empty());
            let mut next = std::mem::replace(&mut self.next, empty());
            for &id in &now.order {
                let to = match self.nfa.state(id) {
                    State::ByteRange { trans } => {
                        byte.filter(|byte| trans.matches_byte(*byte)).map(|_| trans.next)
                    }
                    State::Sparse(transitions) => byte.and_then(|byte| transitions.matches_byte(byte)),
                    State::Dense(transitions) => byte.and_then(|byte| transitions.matches_byte(byte)),
                    State::Match { .. } => {
                        found = Some(
                            now.slots
                                .get(id.as_usize() * self.width..)
                                .unwrap_or_default()
                                .iter()
                                .copied()
                                .take(self.width)
                                .collect(),
                        );
                        if let Some(slots) = &mut found
                            && let Some(end) = slots.get_mut(1)
                        {
                            *end = at as u32;
                        }
                        // Whatever has a lower priority is cut off.
                        break;
                    }
                    _ => None,
                };
                if let Some(to) = to {
                    self.current.clear();
                    let slots = now.slots.get(id.as_usize() * self.width..(id.as_usize() + 1) * self.width);
                    self.current.extend_from_slice(slots.unwrap_or_default());
                    self.close(&mut next, to, at + 1);
                }
            }
            now.clear();
            (self.now, self.next) = (next, now);
        }
        Ok(found.map(|slots| slots.iter().map(|slot| (*slot != NONE).then_some(*slot as usize)).collect()))
    }

    /// Adds a state and all that its empty moves reach, in the order of their priority.
    fn close(&mut self, list: &mut List, id: StateID, at: usize) {
        if let Some(start) = self.current.first_mut()
            && *start == NONE
        {
            *start = at as u32;
        }
        self.stack.push(Move::Explore(id));
        while let Some(next) = self.stack.pop() {
            let mut id = match next {
                Move::Explore(id) => id,
                Move::Restore(slot, place) => {
                    if let Some(slot) = self.current.get_mut(slot) {
                        *slot = place;
                    }
                    continue;
                }
            };
            loop {
                self.moves += 1;
                if !list.insert(id) {
                    break;
                }
                match self.nfa.state(id) {
                    State::Look { look, next } => {
                        if !holds(*look, self.text, at) {
                            break;
                        }
                        id = *next;
                    }
                    State::Union { alternates } => {
                        let Some((first, rest)) = alternates.split_first() else { break };
                        self.stack.extend(rest.iter().rev().map(|id| Move::Explore(*id)));
                        id = *first;
                    }
                    State::BinaryUnion { alt1, alt2 } => {
                        self.stack.push(Move::Explore(*alt2));
                        id = *alt1;
                    }
                    State::Capture { next, slot, .. } => {
                        // The whole match is kept by the search itself.
                        let slot = slot.as_usize();
                        if slot >= 2
                            && let Some(place) = self.current.get_mut(slot)
                        {
                            self.stack.push(Move::Restore(slot, *place));
                            *place = at as u32;
                        }
                        id = *next;
                    }
                    State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) | State::Match { .. } => {
                        let width = self.width;
                        for (slot, place) in list.slots_mut(id, width).iter_mut().zip(&self.current) {
                            *slot = *place;
                        }
                        break;
                    }
                    State::Fail => break,
                }
            }
        }
    }
}

fn empty() -> List {
    List { order: Vec::new(), member: Vec::new(), slots: Vec::new() }
}
