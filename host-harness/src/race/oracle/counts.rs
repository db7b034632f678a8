//! What may happen only so often in a whole run: calls, ticks, items in queues, failures of VMs.

use super::{Violation, checker::Checker, count};
use crate::{
    race::scenario::{Rule, Thread},
    world::{Call, Origin},
};

/// What of the past a rule depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Seen {
    /// How often it has happened, up to the first time that is too many.
    counted: usize,
    /// Whether the request of its `when` was answered so.
    pub(super) when: bool,
}

// === impl Checker ===

impl Checker {
    /// Notes a call to a cluster; gives what is broken by it, once.
    pub fn called(&mut self, call: &Call) -> Vec<Violation> {
        let of_filter = !matches!(call.origin, Origin::Router { .. });
        let limit = |rule: &Rule| match rule {
            Rule::AtMost { cluster, path, method, calls } => {
                let is_meant = *cluster == call.cluster
                    && path.as_ref().is_none_or(|path| *path == call.path())
                    && method.as_ref().is_none_or(|method| call.header(":method") == Some(method.as_bytes()));
                is_meant.then_some(*calls)
            }
            Rule::AtMostCalls { calls } => of_filter.then_some(*calls),
            _ => None,
        };
        self.counted(limit, |rule| match rule {
            Rule::AtMost { cluster, path, method, .. } => {
                let narrowed: Vec<&str> = method.as_deref().into_iter().chain(path.as_deref()).collect();
                let narrowed = match narrowed.is_empty() {
                    true => String::new(),
                    false => format!(" for `{}`", narrowed.join(" ")),
                };
                (format!("cluster `{cluster}` is called{narrowed}"), "call")
            }
            _ => ("filters call clusters".to_owned(), "call"),
        })
    }

    /// Notes that a VM has failed, and of what; gives what is broken by it, once.
    pub fn trapped(&mut self, cause: &str) -> Vec<Violation> {
        let limit = |rule: &Rule| match rule {
            Rule::AtMostTraps { traps } => Some(*traps),
            _ => None,
        };
        let mut violations = self.counted(limit, |_| ("VMs fail".to_owned(), "failure"));
        violations.iter_mut().for_each(|violation| violation.message += &format!(", {cause}"));
        violations
    }

    /// Notes a tick on a thread; gives what is broken by it, once.
    pub fn ticked(&mut self, thread: Thread) -> Vec<Violation> {
        let limit = |rule: &Rule| match rule {
            Rule::AtMostTicks { thread: of, ticks } => of.is_none_or(|of| of == thread).then_some(*ticks),
            _ => None,
        };
        self.counted(limit, |rule| match rule {
            Rule::AtMostTicks { thread: Some(thread), .. } => (format!("the VM of {thread} ticks"), "tick"),
            _ => ("VMs tick".to_owned(), "tick"),
        })
    }

    /// Notes that an item was put into a queue; gives what is broken by it, once.
    pub fn queued(&mut self, queue: &str) -> Vec<Violation> {
        let limit = |rule: &Rule| match rule {
            Rule::AtMostItems { queue: of, items } => {
                of.as_ref().is_none_or(|of| of == queue).then_some(*items)
            }
            _ => None,
        };
        self.counted(limit, |rule| match rule {
            Rule::AtMostItems { queue: Some(queue), .. } => {
                (format!("items are put into queue `{queue}`"), "item")
            }
            _ => ("items are put into queues".to_owned(), "item"),
        })
    }

    /// Whether a rule counts ticks or items.
    #[must_use]
    pub fn counts_ticks_or_items(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, Rule::AtMostTicks { .. } | Rule::AtMostItems { .. }))
    }

    /// Counts one more for every rule that has a limit here; for the first that is too many, says what happens and in
    /// what it is counted.
    fn counted(
        &mut self,
        limit: impl Fn(&Rule) -> Option<usize>,
        reported: impl Fn(&Rule) -> (String, &'static str),
    ) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (rule, seen) in self.rules.iter().zip(&mut self.seen) {
            let Some(most) = limit(rule) else { continue };
            if seen.exceeds(most) {
                let ((what, unit), most) = (reported(rule), count(most, "time"));
                let message = format!("{what} more than {most}: this is {unit} {}", seen.counted);
                violations.push(Violation::new("at-most", message));
            }
        }
        violations
    }
}

// === impl Seen ===

impl Seen {
    /// Counts one more; whether it is the first that is too many.
    fn exceeds(&mut self, most: usize) -> bool {
        if self.counted > most {
            return false;
        }
        self.counted += 1;
        self.counted > most
    }
}
