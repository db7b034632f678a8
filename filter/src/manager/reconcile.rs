//! A look at the record of every bundle and policy, in pieces: what nobody alive loads is claimed, what is newer is wanted.

use std::time::Duration;

use super::{
    BUSY_TICK, Effect, Manager, Tracked,
    download::Download,
    member::{Fate, Members, RENEWALS_IN_LEASE},
    policies::Slot,
    quarantine::Digests,
    record::{self, BundleRecord, FaultKind, FaultRecord, Owner, Verdict, millis},
    registry::{self, Claim},
    sets::{Content, Mark, PolicyRecord},
    shared::SharedData,
};
use crate::{
    hooks::{Protection, guards},
    telemetry::Counter,
};

/// Rounds that find nothing come ever more rarely, up to this while a policy is not ready…
pub(super) const WAITING: Duration = Duration::from_millis(100);
/// …and to this when all are: how late a VM can be when every notice is lost.
const CALM: Duration = Duration::from_secs(1);

const PAYLOAD_GONE: &str = "its payload is gone from shared data";

#[derive(Debug)]
pub(super) struct Reconcile {
    /// The next record: those of bundles, then those of policies, then what follows for the bundles that are owned.
    next: usize,
    /// Something was found, so more may be found soon.
    found_any: bool,
    /// As they were when they were first asked for.
    members: Members,
    /// Since when they may have been read.
    members_since: Duration,
}

// === impl Reconcile ===

impl Reconcile {
    fn new(now: Duration) -> Self {
        Self { next: 0, found_any: false, members: Members::default(), members_since: now }
    }

    /// Whoever was alive a renewal ago is so still; of what was read before that, nobody is to be taken for dead: this VM
    /// may have stood still in the middle.
    fn forget_members(&mut self, now: Duration, lease: Duration) {
        if now.saturating_sub(self.members_since) > lease / RENEWALS_IN_LEASE {
            (self.members, self.members_since) = (Members::default(), now);
        }
    }
}

// === impl Manager ===

impl Manager {
    /// Begins one, unless one is under way.
    pub(super) fn begin_reconcile(&mut self, now: Duration) {
        if self.reconcile.is_none() {
            self.compared = Some(now);
            self.reconcile = Some(Reconcile::new(now));
        }
    }

    /// Compares one record.
    pub(super) fn compare_next(&mut self, now: Duration, shared: &dyn SharedData) {
        let Some(mut reconcile) = self.reconcile.take() else { return };
        let (bundles, policies) = (self.tracked.len(), self.policies.len());
        let index = reconcile.next;
        if index == 0 {
            self.quarantine.refresh(shared);
        }
        reconcile.forget_members(now, self.membership.lease());
        let members = &mut reconcile.members;
        let found_any = if index < bundles {
            self.compare(index, members, now, shared)
        } else if index < bundles + policies {
            self.look(index - bundles, members, now, shared)
        } else if index < bundles + policies + bundles {
            self.follow_up(index - bundles - policies, members, now, shared)
        } else {
            let most = if self.policies.all_ready() { CALM } else { WAITING };
            self.reconcile_pause =
                if reconcile.found_any { BUSY_TICK } else { (self.reconcile_pause * 2).min(most) };
            return;
        };
        self.revision += u64::from(found_any);
        reconcile.found_any |= found_any;
        reconcile.next += 1;
        self.reconcile = Some(reconcile);
    }

    /// True if there was something to do.
    fn compare(
        &mut self,
        index: usize,
        members: &mut Members,
        now: Duration,
        shared: &dyn SharedData,
    ) -> bool {
        let Some(tracked) = self.tracked.get_mut(index) else { return false };
        let Some((found, seen)) = record::read_unless(shared, &tracked.key, tracked.seen()) else {
            return false;
        };
        let mut found_any = false;
        if let Some(found) = found {
            self.revision += 1;
            let version = |record: &BundleRecord| (record.lineage, record.generation);
            found_any |= tracked.record.as_ref().is_none_or(|(known, _)| version(&found) != version(known));
            tracked.record = Some((found, seen));
        }
        let record = tracked.record.as_ref().filter(|(_, known)| *known == seen).map(|(record, _)| record);
        let owner = record.and_then(|record| record.owner);
        let from = record.map_or("absent", BundleRecord::state);
        let epoch = record.map(|record| record.epoch);
        // How the bundle is to be fetched is said by the configuration that came last.
        let access = tracked.access;
        let is_outdated = record.is_some_and(|record| {
            record.access.number != access.number && record.access.configured_ms < access.configured_ms
        });
        let reading = record.and_then(|record| record.reading.clone());
        let key = tracked.key.clone();
        let me = self.membership.owner();
        let is_mine = me.is_some() && owner == me;
        let is_loading = tracked.download.as_ref().is_some_and(|download| Some(download.epoch) == epoch);
        if is_mine && is_loading {
            return found_any;
        }
        // Another member has it, or has had it since.
        found_any |= tracked.give_up(&mut self.deferred);
        let is_loaded = !is_mine && owner.is_some_and(|owner| members.is_alive(owner, now, shared));
        let Some(me) = me.filter(|_| !is_loaded || is_outdated) else { return found_any };
        // Reading what came is for one that has no requests, as trying it is.
        if self.membership.has_served() && members.has_idle(self.membership.plugin(), now, shared) {
            return found_any;
        }
        let cause = match owner {
            _ if is_loaded => "a later configuration fetches it otherwise",
            Some(_) => "its owner is gone",
            None => "nobody loads it",
        };
        if let (Some(owner), Some(digest)) = (owner, reading) {
            self.convict_reader(index, key, owner, digest, members, now, shared);
        }
        let take = |record: &mut BundleRecord| {
            record.reading = None;
            record.owner == owner
        };
        self.claim(index, me, take, (from, cause), now, shared);
        true
    }

    /// What an owner was reading when it ended is not read again.
    #[expect(clippy::too_many_arguments, reason = "who read what, where and when")]
    fn convict_reader(
        &mut self,
        index: usize,
        key: String,
        owner: Owner,
        digest: String,
        members: &mut Members,
        now: Duration,
        shared: &dyn SharedData,
    ) {
        let mark = Mark::new(owner.vm, Some(owner.member), now);
        let fate = members.fate(&mark, self.membership.lease(), now, shared);
        if fate != Fate::EndedThere || self.membership.was_still(now) || !guards(Protection::Conviction) {
            return;
        }
        let Some(tracked) = self.tracked.get(index) else { return };
        let short = digest.get(..12).unwrap_or(&digest);
        let name = &tracked.name;
        let cause =
            format!("VM {} ended, or stood still, while bundle `{name}` digest {short} was read", owner.vm);
        let accused = (Digests::from([(key, digest)]), Digests::new());
        let me = self.membership.vm();
        if self.quarantine.convict(accused, cause.clone(), (owner.vm, me), now, shared) {
            self.reporter.push(Effect::Count(Counter::Quarantined));
            if let Some((record, _)) = &tracked.record {
                self.reporter.registry(name, record.state(), "quarantined", record, &cause);
            }
        }
    }

    /// What follows from the policies for a bundle that this VM owns: what became of it, and which payloads are needed.
    fn follow_up(
        &mut self,
        index: usize,
        members: &mut Members,
        now: Duration,
        shared: &dyn SharedData,
    ) -> bool {
        let Some(tracked) = self.tracked.get(index) else { return false };
        let (Some(owner), Some(download), Some((record, _))) =
            (self.membership.owner(), &tracked.download, &tracked.record)
        else {
            return false;
        };
        let claim = Claim { key: &tracked.key, owner, epoch: download.epoch };
        if !download.is_under_way()
            && self.membership.has_served()
            && members.has_idle(self.membership.plugin(), now, shared)
        {
            // Another member finds that nobody loads it.
            let released = claim.amend(|record| record.owner = None, shared);
            self.untold |= released.is_ok();
            self.fenced(index);
            return true;
        }
        let payloads = record.payloads.len();
        if payloads > 1 && self.frees_superseded {
            let (name, key, lineage) = (&tracked.name, &tracked.key, record.lineage);
            let served = members.serving(key, now, shared);
            let is_needed = |generation: u64| {
                let is_known = |policy: &PolicyRecord| policy.needs(name, lineage, generation);
                let is_needed = served.contains(&generation)
                    || self.policies.iter().filter_map(Slot::known).any(is_known);
                is_needed && guards(Protection::Retention)
            };
            if claim.free_unneeded(is_needed, shared) {
                self.forget(index);
                return true;
            }
        }
        let (verdict, cause) = self.verdict(tracked, record);
        if verdict != record.verdict && record.generation > 0 {
            let before = record.state();
            if let Ok((_, record)) = self.amend(index, shared, |record| record.verdict = verdict)
                && let Some(tracked) = self.tracked.get_mut(index)
            {
                self.reporter.registry(&tracked.name, before, record.state(), &record, &cause);
                tracked.forget_number(record);
                if let Some(bundle) = tracked.published.take() {
                    self.deferred.push(bundle.data.clone());
                }
                self.revision += 1;
            }
        }
        false
    }

    /// What became of the newest generation of a bundle, with the reason.
    pub(super) fn verdict(&self, tracked: &Tracked, record: &BundleRecord) -> (Verdict, String) {
        let mut verdict = (Verdict::Passed, format!("revision `{}`", record.revision));
        for slot in self.policies.of_bundle(&tracked.name) {
            let name = &slot.name;
            let good = slot.known().and_then(|policy| policy.good.as_ref());
            let passed = good.filter(|good| good.has(&tracked.name, record.lineage, record.generation));
            let checked = passed.cloned().or_else(|| self.candidate_of(slot));
            let Some(set) = checked else { return (Verdict::OnTrial, String::new()) };
            let found = if let Some(cause) = self.quarantined(&set) {
                (Verdict::Quarantined, cause)
            } else if passed.is_some() {
                continue;
            } else if let Some(rejection) = slot.known().and_then(|policy| policy.rejection(&set)) {
                (Verdict::Refused, format!("policy `{name}`: {}", rejection.cause))
            } else {
                return (Verdict::OnTrial, String::new());
            };
            if verdict.0 != Verdict::Quarantined {
                verdict = found;
            }
        }
        verdict
    }

    /// A payload that nobody has replaced is not there: somebody else has written in this `vm_id`'s data. Its owner has no
    /// need of it and cannot know; so whoever needs it takes the bundle over and downloads it again. False if it cannot
    /// come again, because the server has newer ones.
    pub(super) fn restore(
        &mut self,
        bundle: &str,
        missing: &Content,
        now: Duration,
        shared: &dyn SharedData,
    ) -> bool {
        self.reconcile_pause = BUSY_TICK;
        let Some(index) = self.tracked.iter().position(|tracked| tracked.name == bundle) else {
            return false;
        };
        self.forget(index);
        let is_newest = |record: &BundleRecord| {
            (record.lineage, record.generation) == (missing.lineage, missing.generation)
        };
        let Some(tracked) = self.tracked.get(index) else { return false };
        let Some((Some(found), _)) = record::read::<BundleRecord>(shared, &tracked.key) else { return true };
        if !is_newest(&found) {
            return found.payload(missing.generation).is_some();
        }
        let Some(me) = self.membership.owner() else { return true };
        let take = |record: &mut BundleRecord| {
            let is_missing = is_newest(record) && !record.digest.is_empty();
            let (kind, message) = (FaultKind::Download, PAYLOAD_GONE.to_owned());
            record.fault = Some(FaultRecord { kind, message, since_ms: millis(now) });
            record.etag = None;
            record.digest.clear();
            is_missing
        };
        self.claim(index, me, take, ("current", PAYLOAD_GONE), now, shared);
        true
    }

    /// The record is read again, whether or not it changes.
    fn forget(&mut self, index: usize) {
        if let Some(tracked) = self.tracked.get_mut(index)
            && let Some((record, _)) = tracked.record.take()
        {
            tracked.forget_number(record);
        }
    }

    /// Takes a bundle over, unless somebody else was faster.
    fn claim(
        &mut self,
        index: usize,
        me: Owner,
        take: impl FnOnce(&mut BundleRecord) -> bool,
        (from, cause): (&'static str, &'static str),
        now: Duration,
        shared: &dyn SharedData,
    ) {
        let Some(tracked) = self.tracked.get_mut(index) else { return };
        let lineage = self.random.u32(1..);
        let Some(claimed) = registry::claim(&tracked.key, (me, tracked.access), lineage, take, shared) else {
            return;
        };
        self.reporter.registry(&tracked.name, from, "claimed", &claimed, cause);
        tracked.give_up(&mut self.deferred);
        let seed = self.random.u64(..);
        let Tracked { name, source, .. } = &*tracked;
        tracked.download = Some(Download::new(index, name, source, &claimed, seed, now));
        tracked.forget_number(claimed);
        self.may_start = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{
        member::{Change, Membership, Serving},
        record::VmName,
        shared::LocalData,
    };

    #[test]
    fn a_vm_that_stood_still_in_the_middle_takes_nobody_for_dead_who_was_alive_before() {
        let (shared, lease) = (LocalData::default(), Duration::from_secs(3));
        let serving = || Serving { bundles: Default::default(), ready: (0, 1) };
        let mut other = Membership::new(VmName(1), 1, 1, lease);
        let begun = Duration::from_secs(1);
        assert_eq!(other.tick(serving, false, &shared, begun), Some(Change::Joined(0)));
        let mark = Mark::new(VmName(1), Some(0), begun);
        let mut reconcile = Reconcile::new(begun);
        assert_eq!(reconcile.members.fate(&mark, lease, begun, &shared), Fate::Alive);
        // The other one goes on, and this one does after its first lease.
        assert_eq!(other.tick(serving, false, &shared, begun + lease / 2), None);
        let later = begun + lease + lease / 10;
        reconcile.forget_members(later, lease);
        assert_eq!(reconcile.members.fate(&mark, lease, later, &shared), Fate::Alive);
    }
}
