//! The replies that a callback was given, so that it can be left in the middle and run again from its start.
//!
//! A guest is a function of its memory and of what its hostcalls answered: with both restored, it comes to the same
//! place again. Leaving a callback therefore needs no second stack, and going on with it takes microseconds.

use super::border::Reply;

/// The hostcalls of one callback, in order.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: Vec<Entry>,
    /// How many entries have been given again.
    replayed: usize,
    keeping: bool,
}

/// One hostcall.
#[derive(Debug)]
pub(super) struct Entry {
    function: &'static str,
    answer: Result<Reply, u32>,
    /// Fuel that the hostcall cost, and costs each time: a callback has the same limit wherever it was held.
    fuel: u64,
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

    /// Everything that was kept, to be loaded again.
    pub(super) fn take(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries)
    }

    /// Is the journal of another callback, from its start.
    pub(super) fn load(&mut self, entries: Vec<Entry>) {
        *self = Journal { entries, replayed: 0, keeping: true };
    }

    /// Gives the next kept answer with the fuel that it cost; `None` when the callback has come further than it was.
    ///
    /// Errors: the guest makes another hostcall than it made in the same place before.
    pub(super) fn replay(
        &mut self,
        function: &'static str,
    ) -> wasmtime::Result<Option<(Result<Reply, u32>, u64)>> {
        let Some(entry) = self.entries.get(self.replayed) else {
            return Ok(None);
        };
        let kept = entry.function;
        if kept != function {
            wasmtime::bail!(
                "the guest is not deterministic: run again with the same memory and the same answers it called \
                 `{function}` where it had called `{kept}`"
            );
        }
        self.replayed += 1;
        Ok(Some((entry.answer.clone(), entry.fuel)))
    }

    /// Keeps an answer.
    pub(super) fn keep(&mut self, function: &'static str, answer: &Result<Reply, u32>, fuel: u64) {
        if self.keeping {
            self.entries.push(Entry { function, answer: answer.clone(), fuel });
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
        journal.keep("get", &Err(1), 10);
        journal.keep("set", &Err(8), 20);
        assert!(journal.replay("get").unwrap().is_none());
        journal.rewind();
        let reported = |entry: Option<(Result<Reply, u32>, u64)>| {
            entry.map(|(answer, fuel)| (answer.unwrap_err(), fuel))
        };
        assert_eq!(reported(journal.replay("get").unwrap()), Some((1, 10)));
        assert_eq!(reported(journal.replay("set").unwrap()), Some((8, 20)));
        assert!(journal.replay("get").unwrap().is_none());
    }

    #[test]
    fn a_guest_that_does_something_else_is_found_out() {
        let mut journal = Journal::default();
        journal.begin(true);
        journal.keep("get", &Err(1), 10);
        journal.rewind();
        let error = journal.replay("set").unwrap_err().to_string();
        assert!(error.contains("called `set` where it had called `get`"), "{error}");
    }
}
