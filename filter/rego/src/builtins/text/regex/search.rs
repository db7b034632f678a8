//! Every match of a pattern, with its groups, every move counted.

use super::super::rune;
use super::backtrack::Backtrack;
use super::threads::Threads;
use crate::builtins::{Budget, Fault};
use regex_automata::nfa::thompson::NFA;
use regex_automata::util::look::Look;

/// The begin and the end of each group; the first is the whole match.
pub(super) type Slots = Vec<Option<usize>>;

/// How many moves are a step of the budget.
pub(super) const MOVES: u64 = 16;

/// Tries one way after another while the places that were tried can be remembered, else all ways at once.
struct Search<'a> {
    nfa: &'a NFA,
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
                budget.step(1 + (self.nfa.states().len() * self.groups) as u64 / 32)?;
                self.threads.insert(Threads::new(self.nfa, self.text, self.groups)?)
            }
        };
        threads.find(start, budget)
    }
}

/// Every match in UTF-8 text, as Go finds them one after another: an empty one right after another is left out.
/// Source: `go:regexp`, `allMatches`.
pub(super) fn find_all(
    nfa: &NFA,
    groups: usize,
    text: &[u8],
    most: usize,
    budget: &mut Budget,
) -> Result<Vec<Slots>, Fault> {
    let backtrack = Some(Backtrack::new(nfa, text, groups));
    let mut search = Search { nfa, text, groups, backtrack, threads: None };
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
