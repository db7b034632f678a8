//! A look at the record of every bundle, in pieces: what is newer is wanted, and what nobody alive loads is claimed.

use std::time::Duration;

use super::{
    BUSY_TICK, Manager, Tracked,
    download::Download,
    member::Members,
    record::{self, BundleRecord, FaultRecord, Owner, millis},
    registry,
    replica::Version,
    shared::SharedData,
};

/// Comparisons that find nothing come ever more rarely, up to this while a policy is not ready…
pub(super) const WAITING: Duration = Duration::from_millis(100);
/// …and to this when all are: how late a VM can be when every notice is lost.
const CALM: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Comparison {
    /// The next bundle.
    next: usize,
    may_claim: bool,
    /// Something was found, so more may be found soon.
    found_any: bool,
    /// As they were when they were first asked for: what is claimed is claimed over what was read.
    members: Members,
}

// === impl Manager ===

impl Manager {
    pub(super) fn begin_comparison(&mut self, may_claim: bool, now: Duration) {
        match &mut self.comparison {
            // It goes on; what it has passed already is looked at again soon.
            Some(under_way) => under_way.found_any = true,
            none => {
                self.compared = Some(now);
                let members = Members::default();
                *none = Some(Comparison { next: 0, may_claim, found_any: false, members });
            }
        }
    }

    /// Compares one record.
    pub(super) fn compare_next(&mut self, now: Duration, shared: &dyn SharedData) {
        let Some(mut comparison) = self.comparison.take() else { return };
        if comparison.next < self.tracked.len() {
            comparison.found_any |= self.compare(&mut comparison, now, shared);
            comparison.next += 1;
            self.comparison = Some(comparison);
            return;
        }
        let most = if self.policies.all_ready() { CALM } else { WAITING };
        self.comparison_pause =
            if comparison.found_any { BUSY_TICK } else { (self.comparison_pause * 2).min(most) };
    }

    /// True if there was something to do.
    fn compare(&mut self, comparison: &mut Comparison, now: Duration, shared: &dyn SharedData) -> bool {
        let Comparison { next: index, may_claim, members, .. } = comparison;
        let Some(tracked) = self.tracked.get_mut(*index) else { return false };
        let Some((found, seen)) = record::read_unless(shared, &tracked.key, tracked.seen()) else {
            return false;
        };
        let mut found_any = false;
        if let Some(found) = found {
            found_any |= tracked.replica.compare(&found, &mut self.disposal);
            tracked.record = Some((found, seen));
        }
        let record = tracked.record.as_ref().filter(|(_, known)| *known == seen).map(|(record, _)| record);
        let owner = record.and_then(|record| record.owner);
        let from = record.map_or("absent", BundleRecord::state);
        let epoch = record.map(|record| record.epoch);
        let me = self.membership.owner();
        let is_mine = me.is_some() && owner == me;
        let is_loading = tracked.download.as_ref().is_some_and(|download| Some(download.epoch) == epoch);
        if is_mine && is_loading {
            return found_any;
        }
        // Another member has it, or has had it since.
        found_any |= tracked.give_up(&mut self.disposal);
        let is_loaded = !is_mine && owner.is_some_and(|owner| members.is_alive(owner, now, shared));
        match me.filter(|_| *may_claim && !is_loaded) {
            None => found_any,
            Some(me) => {
                let cause = if owner.is_some() { "its owner is gone" } else { "nobody loads it" };
                self.claim(*index, me, |record| record.owner == owner, (from, cause), now, shared);
                true
            }
        }
    }

    /// A payload that nobody has replaced is not there: somebody else has written in this `vm_id`'s data. Its owner has no
    /// need of it and cannot know; so whoever needs it takes the bundle over and downloads it again.
    pub(super) fn restore(&mut self, index: usize, version: Version, now: Duration, shared: &dyn SharedData) {
        self.comparison_pause = BUSY_TICK;
        if let Some(tracked) = self.tracked.get_mut(index)
            && let Some((record, _)) = tracked.record.take()
        {
            // It is wanted still, although the record may not change.
            tracked.forget_number(record);
        }
        let Some(me) = self.membership.owner() else { return };
        let take = |record: &mut BundleRecord| {
            let is_missing = Version::of(record) == version && !record.digest.is_empty();
            let message = "its payload is gone from shared data".to_owned();
            record.fault = Some(FaultRecord { message, since_ms: millis(now) });
            record.etag = None;
            record.digest.clear();
            is_missing
        };
        self.claim(index, me, take, ("current", "its payload is gone from shared data"), now, shared);
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
        let Some(claimed) = registry::claim(&tracked.key, me, lineage, take, shared) else { return };
        self.teller.registry(&tracked.name, from, "claimed", &claimed, cause);
        tracked.replica.compare(&claimed, &mut self.disposal);
        tracked.give_up(&mut self.disposal);
        let seed = self.random.u64(..);
        let Tracked { name, source, .. } = &*tracked;
        tracked.download = Some(Download::new(index, name, source, &claimed, seed, now));
        tracked.forget_number(claimed);
        self.may_start = true;
    }
}
