//! What marks say: whoever ended behind one is known, and what ended it is convicted; and how a VM's own are taken away.

use std::time::Duration;

use log::Level;

use super::{
    Effect, Manager,
    member::{Fate, Members},
    record::VmName,
    sets::{self, Mark, Set, Trial},
    shared::SharedData,
};
use crate::{
    hooks::{Protection, guards},
    telemetry::Counter,
};

// === impl Manager ===

impl Manager {
    /// Convicts what VMs have ended at, and takes the marks away of those who ended elsewhere.
    pub(super) fn judge_marks(
        &mut self,
        index: usize,
        members: &mut Members,
        now: Duration,
        shared: &dyn SharedData,
    ) {
        let lease = self.membership.lease();
        let me = self.membership.vm();
        let Some(slot) = self.policies.at(index) else { return };
        let Some(record) = slot.known() else { return };
        if self.membership.was_still(now) {
            return;
        }
        let is_at_it = |is_trial: bool| {
            self.job.as_ref().is_some_and(|job| job.policy == index && job.is_trial == is_trial)
        };
        let mut fate = |mark: &Mark, is_trial: bool| match mark.vm == me {
            true if is_at_it(is_trial) => Fate::Alive,
            true => Fate::EndedElsewhere,
            false => members.fate(mark, lease, now, shared),
        };
        let trial = record.trial.as_ref().map(|trial| (trial.clone(), fate(&trial.mark, true)));
        let adopting: Vec<_> = record.adopting.iter().map(|mark| (*mark, fate(mark, false))).collect();
        let trial = trial.filter(|(_, fate)| *fate != Fate::Alive);
        let over: Vec<_> = adopting.into_iter().filter(|(_, fate)| *fate != Fate::Alive).collect();
        if trial.is_none() && over.is_empty() {
            return;
        }
        let (good, before) = (record.good.clone(), record.kept.first().cloned());
        if let Some((Trial { set, mark }, Fate::EndedThere)) = &trial {
            self.convict(index, set, good.as_ref(), mark.vm, "tried", now, shared);
        }
        for (mark, _) in over.iter().filter(|(_, fate)| *fate == Fate::EndedThere) {
            if let Some(good) = &good {
                self.convict(index, good, before.as_ref(), mark.vm, "taken over", now, shared);
            }
        }
        let Some(slot) = self.policies.at_mut(index) else { return };
        let changed = sets::amend(&slot.key, 0, shared, |record| {
            let is_over = trial.as_ref().is_some_and(|(trial, _)| record.trial.as_ref() == Some(trial));
            if is_over {
                record.trial = None;
            }
            let before = record.adopting.len();
            record.adopting.retain(|mark| !over.iter().any(|(other, _)| other == mark));
            is_over || record.adopting.len() < before
        });
        if let Some((record, _)) = changed {
            slot.record = Some((record, super::Seen::Absent));
        }
    }

    /// Names what is new in a set against what was good before, and is in no policy that has passed.
    #[expect(clippy::too_many_arguments, reason = "what happened, to whom, where and when")]
    fn convict(
        &mut self,
        index: usize,
        set: &Set,
        before: Option<&Set>,
        ended: VmName,
        what: &str,
        now: Duration,
        shared: &dyn SharedData,
    ) {
        let Some(slot) = self.policies.at(index).filter(|_| guards(Protection::Conviction)) else { return };
        let policy = slot.name.clone();
        let is_new = |name: &&str| {
            let digest = set.bundles.get(*name).map(|content| &content.digest);
            digest != before.and_then(|before| before.bundles.get(*name)).map(|content| &content.digest)
        };
        let is_proven = |name: &&str| {
            let content = set.bundles.get(*name);
            let others = self.policies.iter().filter(|other| other.name != policy);
            others.filter_map(|other| other.known()?.good.as_ref()).any(|good| {
                good.bundles.get(*name).map(|content| &content.digest)
                    == content.map(|content| &content.digest)
            })
        };
        let all = || set.bundles.keys().map(String::as_str);
        let fresh: Vec<&str> = all().filter(is_new).collect();
        let unproven: Vec<&str> = fresh.iter().copied().filter(|name| !is_proven(name)).collect();
        let named = [unproven, fresh, all().collect()].into_iter().find(|names| !names.is_empty());
        let names = named.unwrap_or_default();
        let suspects = self.digests(set, |name| names.contains(&name));
        let around = self.digests(set, |name| !names.contains(&name));
        let digest = |name: &&str| {
            let digest = set.bundles.get(*name).map_or("", |content| content.digest.as_str());
            format!("bundle `{name}` digest {}", digest.get(..12).unwrap_or(digest))
        };
        let named: Vec<String> = names.iter().map(digest).collect();
        let cause = format!("VM {ended} ended, or stood still, while {} was {what}", named.join(" with "));
        let from = if slot.active.is_some() { "serving" } else { "pending" };
        let me = self.membership.vm();
        if self.quarantine.convict((suspects, around), cause.clone(), (ended, me), now, shared) {
            self.reporter.push(Effect::Count(Counter::Quarantined));
            self.reporter.policy(Level::Error, &policy, from, "quarantined", &cause);
            self.untold = true;
        }
    }

    /// A mark that nobody takes away accuses what it is for; and this VM may be Envoy's canary, which is thrown away as
    /// soon as it is configured.
    pub(super) fn pause_job(&mut self, shared: &dyn SharedData) {
        if let Some(job) = &mut self.job {
            job.is_marked = false;
            let index = job.policy;
            self.withdraw_mark(index, shared);
        }
    }

    /// This VM has a place now, by which others can tell that it is alive.
    pub(super) fn resume_job(&mut self, now: Duration, shared: &dyn SharedData) {
        let Some(mut job) = self.job.take() else { return };
        let mark = Mark::new(self.membership.vm(), self.membership.place(), now);
        let Some(slot) = self.policies.at(job.policy) else { return };
        let number = job.set.number;
        let marked = sets::amend(&slot.key, 0, shared, |record| {
            let has_room = record.adopting.len() < record.adopted.max(1) as usize;
            record.adopting.push(mark);
            has_room && record.passed().any(|passed| passed.number == number)
        });
        if marked.is_some() && !self.is_convicted_since(&job.set, shared) {
            job.is_marked = true;
            self.job = Some(job);
            return;
        }
        self.withdraw_mark(job.policy, shared);
        if let Some((reading, _)) = job.reading {
            reading.discard(&mut self.deferred);
        }
        self.wanted.insert(job.policy);
    }

    /// Takes this VM's mark away, which then accuses nobody.
    pub(super) fn withdraw_mark(&self, index: usize, shared: &dyn SharedData) {
        let me = self.membership.vm();
        let Some(slot) = self.policies.at(index) else { return };
        sets::amend(&slot.key, 0, shared, |record| {
            record.adopting.retain(|mark| mark.vm != me);
            record.trial = record.trial.take().filter(|trial| trial.mark.vm != me);
            true
        });
    }

    /// Gives what is under way up, so that its mark accuses nobody.
    pub(super) fn withdraw_job(&mut self, shared: &dyn SharedData) {
        if let Some(job) = self.job.take() {
            self.withdraw_mark(job.policy, shared);
        }
    }
}
