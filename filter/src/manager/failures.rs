//! Policies that have ended VMs while they decided requests: such a policy is closed alone, and the others go on.
//!
//! A VM that panics says itself what it was at. Of one that ends without a word, what it was at work on stands beside
//! shared data: a VM that is built in its place, and every other one on its ticks, looks there.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    record::{self, SCHEMA, VmName, millis},
    shared::{AtWork, Seen, SharedData},
};
use crate::hooks::{Protection, guards};

/// What happened longer ago is forgotten.
const WINDOW: Duration = Duration::from_secs(60);
/// Most policies that are remembered (INVARIANT bounded).
const MAX_POLICIES: usize = 1024;
const MAX_TRIES: usize = 8;
/// A VM that is built takes longer to be there than any request does to be decided.
const SUSPICIOUS: Duration = Duration::from_millis(5);
/// What takes so much longer than an evaluation may is over, or never will be.
const MARGIN: Duration = Duration::from_secs(1);

/// One VM that a policy has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Failure {
    vm: VmName,
    at_ms: u64,
}

type Failed = BTreeMap<String, Vec<Failure>>;

/// The failures as they were last read, and what looks like one.
#[derive(Debug)]
pub(super) struct Failures {
    /// So many within a minute close a policy.
    limit: usize,
    /// A request is decided in no more than this.
    longest: Duration,
    failed: Failed,
    seen: Option<Seen>,
    /// What other members were at work on for long when this VM began.
    suspects: Vec<(usize, AtWork)>,
}

// === impl Failures ===

impl Failures {
    pub(super) fn new(limit: usize, evaluation: Duration) -> Self {
        let longest = evaluation.saturating_add(MARGIN);
        Self { limit, longest, failed: Failed::new(), seen: Some(Seen::Absent), suspects: Vec::new() }
    }

    /// Whether a policy is closed now. Costs one look at shared data; where no VM has ever ended, at a key that is absent.
    pub(super) fn is_closed(&mut self, policy: &str, now: Duration, shared: &dyn SharedData) -> bool {
        if let Some((found, seen)) = record::read_unless::<Failed>(shared, &key(), self.seen)
            && self.seen != Some(seen)
        {
            self.failed = found.unwrap_or_default();
            self.seen = Some(seen);
        }
        // One that has gone on since is none: a worker that waits for its processor looks like one that has ended.
        let is_suspect = |(place, task): &(usize, AtWork)| {
            guards(Protection::Closing) && task.is_request_of(policy) && shared.at_work(*place) == Some(*task)
        };
        self.has_failed(policy, now) || self.suspects.iter().any(is_suspect)
    }

    /// The same, as of the last look.
    pub(super) fn has_failed(&self, policy: &str, now: Duration) -> bool {
        guards(Protection::Closing)
            && self.failed.get(policy).is_some_and(|failures| recent(failures, now) >= self.limit)
    }

    /// Looks around when this VM begins: it may have been built in place of one that has ended.
    pub(super) fn suspect(&mut self, members: &[(usize, VmName)], now: Duration, shared: &dyn SharedData) {
        let long = |task: &AtWork| task.age(now) >= SUSPICIOUS;
        let tasks = members.iter().filter_map(|(place, _)| Some((*place, shared.at_work(*place)?)));
        self.suspects = tasks.filter(|(_, task)| long(task)).collect();
    }

    /// Gives the suspects up that have gone on, and finds the members that will never.
    pub(super) fn overdue(
        &mut self,
        members: &[(usize, VmName)],
        me: VmName,
        now: Duration,
        shared: &dyn SharedData,
    ) -> Vec<(VmName, AtWork)> {
        self.suspects.retain(|(place, task)| shared.at_work(*place) == Some(*task));
        let others = members.iter().filter(|(_, vm)| *vm != me);
        let tasks = others.filter_map(|(place, vm)| Some((*vm, shared.at_work(*place)?)));
        tasks.filter(|(_, task)| task.age(now) >= self.longest).collect()
    }
}

fn key() -> String {
    format!("{SCHEMA}/failures")
}

fn recent(failures: &[Failure], now: Duration) -> usize {
    let since = millis(now).saturating_sub(millis(WINDOW));
    failures.iter().filter(|failure| failure.at_ms >= since).count()
}

/// Writes down that a policy has ended a VM. False if that is known: a VM ends once.
pub(super) fn note(policy: &str, vm: VmName, now: Duration, shared: &dyn SharedData) -> bool {
    for _ in 0..MAX_TRIES {
        let Some((found, seen)) = record::read::<Failed>(shared, &key()) else { continue };
        let mut failed = found.unwrap_or_default();
        if failed.values().flatten().any(|known| known.vm == vm) {
            return false;
        }
        failed.retain(|_, failures| recent(failures, now) > 0);
        if failed.len() < MAX_POLICIES {
            failed.entry(policy.to_owned()).or_default().push(Failure { vm, at_ms: millis(now) });
        }
        if record::write(shared, &key(), &failed, seen) {
            return true;
        }
    }
    false
}
