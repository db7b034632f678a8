//! What is looked at after every step of a run, and what it breaks.

use std::{collections::BTreeMap, time::Duration};

use super::{
    oracle::{Violation, checker::Checker, crossing::Crossing, views::View},
    stage::{Broken, thread},
};
use crate::envoy::{explore::Run, vms::VmSlot};

/// What is looked at after every step of a run.
#[derive(Default)]
pub(super) struct Watched {
    traps: usize,
    violations: usize,
    calls: usize,
    grpc_calls: usize,
    ticks: BTreeMap<VmSlot, usize>,
    items: BTreeMap<String, usize>,
    pub(super) views: Vec<View>,
    seen_views: usize,
    /// How many requests were answered with each status, but for those whose clients leave.
    pub(super) statuses: BTreeMap<u16, usize>,
}

// === impl Watched ===

impl Watched {
    pub(super) fn look(
        &mut self,
        run: &mut Run<'_>,
        checker: &mut Checker,
        crossing: Option<&Crossing>,
        broken: &mut Vec<Broken>,
    ) {
        let step = run.last_step();
        let mut add = |violations: Vec<Violation>| {
            broken.extend(violations.into_iter().map(|violation| Broken { violation, step }));
        };
        for (name, exchange) in run.take_finished() {
            let Some(name) = name else { continue };
            if !checker.leaves(&name) {
                *self.statuses.entry(exchange.status).or_default() += 1;
            }
            add(checker.answered(&name, &exchange));
            if let Some(crossing) = crossing {
                add(crossing.check_exchange(&name, &exchange));
            }
        }
        for (name, call) in run.calls_from(self.calls) {
            self.calls += 1;
            add(checker.called(call));
            if let (Some(crossing), Some(name)) = (crossing, name) {
                add(crossing.check_call(&name, call));
            }
        }
        for (name, call) in run.grpc_calls_from(self.grpc_calls) {
            self.grpc_calls += 1;
            add(checker.called(&call));
            if let (Some(crossing), Some(name)) = (crossing, name) {
                add(crossing.check_call(&name, &call));
            }
        }
        if checker.counts_ticks_or_items() {
            let (ticks, items) = (run.ticks(), run.items());
            for (slot, count) in &ticks {
                for _ in self.ticks.get(slot).copied().unwrap_or(0)..*count {
                    add(checker.ticked(thread(*slot)));
                }
            }
            for (queue, count) in &items {
                for _ in self.items.get(queue).copied().unwrap_or(0)..*count {
                    add(checker.queued(queue));
                }
            }
            (self.ticks, self.items) = (ticks, items);
        }
        let traps = run.traps();
        for trap in traps.iter().skip(self.traps) {
            // Where in the guest it was is in the trace.
            let cause = trap.lines().next().unwrap_or_default();
            add(checker.trapped(cause));
            add(vec![Violation { oracle: "trap", message: format!("no callback may fail, and {cause}") }]);
        }
        self.traps = traps.len();
        let violations = run.violations();
        for (oracle, message) in violations.iter().skip(self.violations) {
            add(vec![Violation { oracle, message: message.clone() }]);
        }
        self.violations = violations.len();
        for (vm, name, value) in run.views_from(self.seen_views) {
            self.seen_views += 1;
            let (version, value) = match value.split_once(':') {
                Some((version, value)) if version.parse::<u64>().is_ok() => {
                    (version.parse().ok(), value.to_owned())
                }
                _ => (None, value),
            };
            self.views.push(View { vm, name, version, value, step });
        }
    }

    pub(super) fn at_end(&self, run: &Run<'_>, until: Duration, broken: &mut Vec<Broken>) {
        let step = run.last_step();
        for (name, worker) in run.stuck(until) {
            let message = format!(
                "every request must be answered, and `{name}` on w{worker} still waits when nothing is to come"
            );
            broken.push(Broken { violation: Violation { oracle: "stuck-stream", message }, step });
        }
        for (queue, thread, count) in run.lost_items() {
            let (items, wait) = if count == 1 { ("an item", "waits") } else { ("items", "wait") };
            let message = format!(
                "what is put into a queue must be taken out, and {items} in `{queue}` still {wait} when nothing is to come: {thread} \
                 was notified and left {}; take items until there is none, and again once it can",
                if count == 1 { "it" } else { "them" },
            );
            broken.push(Broken { violation: Violation { oracle: "lost-item", message }, step });
        }
        for (thread, cluster) in run.leaked_calls() {
            let message = format!(
                "every call must end, and a call of {thread} to cluster `{cluster}` never does: give it a time limit"
            );
            broken.push(Broken { violation: Violation { oracle: "call-leak", message }, step });
        }
    }
}
