//! Every match of a pattern, with its groups, every move counted.

use super::super::rune;
use super::backtrack::Backtrack;
use super::threads::Threads;
use crate::builtins::{Budget, Fault};
use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::look::Look;

/// The begin and the end of each group; the first is the whole match.
pub(super) type Slots = Vec<Option<usize>>;

/// What is needed to find where a pattern matches.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) nfa: NFA,
    /// Whether a match can begin with each byte; `None`: it can begin with any, or be empty.
    pub(super) begins: Option<Box<[bool; 256]>>,
}

/// The bytes that a match can begin with.
pub(super) fn begins(nfa: &NFA) -> Option<Box<[bool; 256]>> {
    let mut begins = Box::new([false; 256]);
    let mut seen = vec![false; nfa.states().len()];
    let mut stack = vec![nfa.start_anchored()];
    while let Some(id) = stack.pop() {
        match seen.get_mut(id.as_usize()) {
            Some(seen) if !*seen => *seen = true,
            _ => continue,
        }
        let mut add = |start: u8, end: u8| {
            begins
                .iter_mut()
                .take(usize::from(end) + 1)
                .skip(usize::from(start))
                .for_each(|begins| *begins = true);
        };
        match nfa.state(id) {
            State::ByteRange { trans } => add(trans.start, trans.end),
            State::Sparse(sparse) => sparse.transitions.iter().for_each(|trans| add(trans.start, trans.end)),
            // What is asserted is not looked at here.
            State::Look { next, .. } | State::Capture { next, .. } => stack.push(*next),
            State::Union { alternates } => stack.extend(alternates.iter().copied()),
            State::BinaryUnion { alt1, alt2 } => stack.extend([*alt1, *alt2]),
            State::Fail => {}
            State::Dense(_) | State::Match { .. } => return None,
        }
    }
    Some(begins)
}

/// How many moves are a step of the budget.
pub(super) const MOVES: u64 = 1;

/// Tries one way after another while the places that were tried can be remembered, else all ways at once.
struct Search<'a> {
    finding: &'a Finding,
    text: &'a [u8],
    groups: usize,
    backtrack: Option<Backtrack<'a>>,
    threads: Option<Threads<'a>>,
}

impl Search<'_> {
    fn find(&mut self, start: usize, budget: &mut Budget) -> Result<Option<Slots>, Fault> {
        if let Some(backtrack) = &mut self.backtrack {
            match backtrack.find(start, budget)? {
                Some(found) => return Ok(found),
                None => self.backtrack = None,
            }
        }
        let threads = match &mut self.threads {
            Some(threads) => threads,
            None => {
                budget.step(1 + (self.finding.nfa.states().len() * self.groups) as u64 / 32)?;
                self.threads.insert(Threads::new(&self.finding.nfa, self.text, self.groups)?)
            }
        };
        threads.find(start, budget)
    }
}

/// Every match in UTF-8 text, as Go finds them one after another: an empty one right after another is left out.
/// Source: `go:regexp`, `allMatches`.
pub(super) fn find_all(
    finding: &Finding,
    groups: usize,
    text: &[u8],
    most: usize,
    budget: &mut Budget,
) -> Result<Vec<Slots>, Fault> {
    let backtrack = Some(Backtrack::new(finding, text, groups));
    let mut search = Search { finding, text, groups, backtrack, threads: None };
    let mut found = Vec::new();
    let mut at = 0;
    let mut last_end = None;
    while found.len() < most && at <= text.len() {
        budget.step(1)?;
        let Some(slots) = search.find(at, budget)? else { break };
        let (start, end) = (slots.first().copied().flatten(), slots.get(1).copied().flatten().unwrap_or(at));
        let mut accepted = true;
        if end == at {
            accepted = start != last_end;
            let width = rune::decode(rune::from(text, at)).1;
            at = if width == 0 { text.len() + 1 } else { at + width };
        } else {
            at = end;
        }
        last_end = Some(end);
        if accepted {
            budget.bytes(16 * slots.len() as u64 + 24)?;
            found.push(slots);
        }
    }
    Ok(found)
}

fn is_word(byte: Option<&u8>) -> bool {
    byte.is_some_and(|byte| *byte == b'_' || byte.is_ascii_alphanumeric())
}

/// Whether what an assertion looks for is at a place.
pub(super) fn holds(look: Look, text: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| text.get(at));
    let next = text.get(at);
    let boundary = is_word(before) != is_word(next);
    match look {
        Look::Start => at == 0,
        Look::End => next.is_none(),
        Look::StartLF => matches!(before, None | Some(b'\n')),
        Look::EndLF => matches!(next, None | Some(b'\n')),
        Look::WordAscii => boundary,
        Look::WordAsciiNegate => !boundary,
        _ => false,
    }
}
