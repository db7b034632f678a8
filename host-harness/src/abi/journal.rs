//! The replies that a callback was given, so that it can be left in the middle and run again from its start.
//!
//! A guest is a function of its memory and of what its hostcalls answered: with both restored, it comes to the same
//! place again. Leaving a callback therefore needs no second stack, and going on with it takes microseconds.

use super::border::Reply;

/// The hostcalls of one callback, in order.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: Vec<(&'static str, Result<Reply, u32>)>,
    /// How many entries have been given again.
    replayed: usize,
    keeping: bool,
}

// === impl Journal ===

impl Journal {
    /// Forgets everything, and keeps what is to come if `keeping`.
    pub(super) fn begin(&mut self, keeping: bool) {
        self.entries.clear();
        self.replayed = 0;
        self.keeping = keeping;
    }

    /// Goes back to the start of the same callback.
    pub(super) fn rewind(&mut self) {
        self.replayed = 0;
    }

    /// Gives the next kept answer; `None` when the callback has come further than it was.
    ///
    /// Errors: the guest makes another hostcall than it made in the same place before.
    pub(super) fn replay(&mut self, function: &'static str) -> wasmtime::Result<Option<Result<Reply, u32>>> {
        let Some((kept, answer)) = self.entries.get(self.replayed) else {
            return Ok(None);
        };
        if *kept != function {
            wasmtime::bail!(
                "the guest is not deterministic: run again with the same memory and the same answers it called \
                 `{function}` where it had called `{kept}`"
            );
        }
        self.replayed += 1;
        Ok(Some(answer.clone()))
    }

    /// Keeps an answer.
    pub(super) fn keep(&mut self, function: &'static str, answer: &Result<Reply, u32>) {
        if self.keeping {
            self.entries.push((function, answer.clone()));
            self.replayed = self.entries.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_again_in_order_and_then_no_more() {
        let mut journal = Journal::default();
        journal.begin(true);
        assert!(journal.replay("get").unwrap().is_none());
        journal.keep("get", &Err(1));
        journal.keep("set", &Err(8));
        assert!(journal.replay("get").unwrap().is_none());
        journal.rewind();
        assert_eq!(journal.replay("get").unwrap().unwrap().unwrap_err(), 1);
        assert_eq!(journal.replay("set").unwrap().unwrap().unwrap_err(), 8);
        assert!(journal.replay("get").unwrap().is_none());
    }

    #[test]
    fn a_guest_that_does_something_else_is_found_out() {
        let mut journal = Journal::default();
        journal.begin(true);
        journal.keep("get", &Err(1));
        journal.rewind();
        let error = journal.replay("set").unwrap_err().to_string();
        assert!(error.contains("called `set` where it had called `get`"), "{error}");
    }
}
