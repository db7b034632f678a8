//! What a request finds: the policy that decides it, or why none does.

use std::{rc::Rc, time::Duration};

use super::{
    Manager, NotReady, Slot,
    shared::{SharedData, Task, TaskKind},
};
use crate::{config::Staleness, policy::Policy};

// === impl Manager ===

impl Manager {
    /// The policy of that name if it can decide now, or why it cannot.
    pub fn policy(&self, name: &str, now: Duration) -> Result<&Rc<Policy>, NotReady> {
        let policy = || name.to_owned();
        let slot = self.policies.get(name).ok_or_else(|| NotReady::Unknown { policy: policy() })?;
        if self.failures.has_failed(&slot.key, now) {
            return Err(NotReady::Closed { policy: policy() });
        }
        let active = slot.active.as_ref().ok_or_else(|| self.why_pending(slot))?;
        match slot.config.bundles.iter().find(|bundle| self.is_denied_as_stale(bundle, now)) {
            None => Ok(&active.policy),
            Some(bundle) => Err(NotReady::Stale { policy: policy(), bundle: bundle.clone() }),
        }
    }

    fn why_pending(&self, slot: &Slot) -> NotReady {
        let policy = slot.name.clone();
        let record = |bundle: &str| Some(&self.tracked_by_name(bundle)?.record.as_ref()?.0);
        let missing = slot.config.bundles.iter().find(|bundle| {
            record(bundle).is_none_or(|record| record.generation == 0 || record.digest.is_empty())
        });
        if let Some(bundle) = missing {
            let fault = record(bundle).and_then(|record| record.fault.as_ref());
            let fault = fault.map(|fault| format!(": {}", fault.message)).unwrap_or_default();
            return NotReady::BundleMissing { policy, bundle: bundle.clone(), fault };
        }
        let Some(candidate) = self.candidate_of(slot) else { return NotReady::Pending { policy } };
        if let Some(cause) = self.quarantined(&candidate) {
            return NotReady::Quarantined { policy, cause };
        }
        let rejection = slot.known().and_then(|record| record.rejection(&candidate));
        let unreadable = slot.unreadable.as_ref().map(|(_, message)| message.as_str());
        match rejection.map(|rejection| rejection.cause.as_str()).or(unreadable) {
            Some(error) => NotReady::Rejected { policy, error: error.to_owned() },
            None => NotReady::Pending { policy },
        }
    }

    /// Says that a request is decided by a policy from now on, and gives the policy if it may. Give the task to
    /// [`SharedData::end`] when it is.
    pub fn begin_request(
        &mut self,
        name: &str,
        now: Duration,
        shared: &dyn SharedData,
    ) -> Result<(Rc<Policy>, Task), NotReady> {
        if self.membership.serves() {
            self.unrecorded = true;
        }
        let key = self.policies.get(name).map(|slot| Rc::clone(&slot.key));
        let policy = || name.to_owned();
        let key = key.ok_or_else(|| NotReady::Unknown { policy: policy() })?;
        if self.failures.is_closed(&key, now, shared) {
            return Err(NotReady::Closed { policy: policy() });
        }
        let policy = Rc::clone(self.policy(name, now)?);
        let task = self.task(TaskKind::Request(key), now);
        shared.begin(&task);
        Ok((policy, task))
    }

    /// Names of the configured policies.
    pub fn policy_names(&self) -> impl Iterator<Item = &str> {
        self.policies.names()
    }

    /// Whether every policy can decide now. Never true of nothing: a configuration without policies is refused.
    pub fn is_ready(&self, now: Duration) -> bool {
        self.policies.all_ready()
            && !self.tracked.iter().any(|tracked| self.is_denied_as_stale(&tracked.name, now))
    }

    pub(super) fn staleness(&self, bundle: &str) -> Option<Staleness> {
        self.staleness.get(bundle).copied()
    }

    fn is_denied_as_stale(&self, bundle: &str, now: Duration) -> bool {
        self.staleness(bundle).filter(|staleness| staleness.deny).is_some_and(|staleness| {
            let tracked = self.tracked.iter().find(|tracked| tracked.name == bundle);
            let record = tracked.and_then(|tracked| tracked.record.as_ref());
            record.is_none_or(|(record, _)| staleness.is_over(record, now))
        })
    }
}
