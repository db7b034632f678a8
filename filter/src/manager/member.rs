//! Taking part: a numbered record in shared data that is renewed from ticks, and who else has one.
//!
//! Envoy configures a canary that never ticks and is thrown away; because a member joins from a tick, the canary is none.

use std::{collections::BTreeMap, time::Duration};

use super::{
    record::{self, MemberRecord, Owner, VmName, millis},
    shared::{Seen, SharedData},
};
use crate::hooks::{Protection, guards};

/// A record is renewed so often that two renewals may be missed: after this part of the lease.
const RENEWALS_IN_LEASE: u32 = 3;
/// A member that has been dead for so long is gone, and not only late.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(3);
/// Envoy's workers, its main thread and as many again that have died; twice that for plugins that share a `vm_id`.
pub(super) const MAX_MEMBERS: usize = 1024;

/// This VM's place among the members.
#[derive(Debug)]
pub(super) struct Membership {
    vm: VmName,
    plugin: u32,
    /// A member that has not renewed its record for so long counts as dead, and others load what it loaded.
    lease: Duration,
    place: Option<usize>,
    renewed: Duration,
}

/// What a tick did to the membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is a member of this number now.
    Joined(usize),
    /// It was silent for so long that another VM has taken its place.
    Lost(usize),
}

/// What a member says of itself.
pub(super) struct Serving {
    pub(super) bundles: BTreeMap<String, u64>,
    pub(super) ready: (usize, usize),
}

/// Members as shared data have them, each read once.
#[derive(Debug, Default)]
pub(super) struct Members {
    read: BTreeMap<usize, Option<MemberRecord>>,
}

// === impl Membership ===

impl Membership {
    /// `plugin` is the same for all members of one configuration.
    pub(super) fn new(vm: VmName, plugin: u32, lease: Duration) -> Self {
        Self { vm, plugin, lease, place: None, renewed: Duration::ZERO }
    }

    pub(super) fn plugin(&self) -> u32 {
        self.plugin
    }

    pub(super) fn vm(&self) -> VmName {
        self.vm
    }

    /// Itself, as the owner of bundles; none before it has joined.
    pub(super) fn owner(&self) -> Option<Owner> {
        self.place.map(|member| Owner { member, vm: self.vm })
    }

    /// Joins, or renews what is due or has changed.
    pub(super) fn tick(
        &mut self,
        serving: impl Fn() -> Serving,
        has_changed: bool,
        shared: &dyn SharedData,
        now: Duration,
    ) -> Option<Change> {
        let Some(place) = self.place else {
            self.place = self.join(&serving, shared, now);
            return self.place.map(Change::Joined);
        };
        let is_due =
            guards(Protection::Renewal) && now >= self.renewed.saturating_add(self.lease / RENEWALS_IN_LEASE);
        if has_changed || is_due { self.renew(place, serving(), shared, now) } else { None }
    }

    fn renew(
        &mut self,
        place: usize,
        serving: Serving,
        shared: &dyn SharedData,
        now: Duration,
    ) -> Option<Change> {
        let key = MemberRecord::key(place);
        let (found, seen) = record::read::<MemberRecord>(shared, &key)?;
        if found.is_none_or(|found| found.vm != self.vm) {
            self.place = None;
            return Some(Change::Lost(place));
        }
        // Nobody else writes it while it is alive; if somebody did, the next renewal finds out.
        if record::write(shared, &key, &self.record(serving, now), seen) {
            self.renewed = now;
        }
        None
    }

    /// Leaves at once, so that nobody waits until it counts as dead.
    pub(super) fn leave(&mut self, shared: &dyn SharedData) -> Option<usize> {
        let place = self.place.take()?;
        let key = MemberRecord::key(place);
        if let Some((Some(mut found), seen)) = record::read::<MemberRecord>(shared, &key)
            && found.vm == self.vm
        {
            found.until_ms = 0;
            record::write(shared, &key, &found, seen);
        }
        Some(place)
    }

    fn join(
        &mut self,
        serving: &impl Fn() -> Serving,
        shared: &dyn SharedData,
        now: Duration,
    ) -> Option<usize> {
        // The place of one that is lost comes first: whoever takes it is the one that was missed.
        let mut left = None;
        for place in 0..MAX_MEMBERS {
            let (found, seen) = record::read::<MemberRecord>(shared, &MemberRecord::key(place))?;
            match found {
                Some(found) if found.is_alive(now) => continue,
                Some(found) if found.until_ms == 0 => left = left.or(Some((place, seen))),
                None if seen == Seen::Absent => {
                    return self.take(left.unwrap_or((place, seen)), serving, shared, now);
                }
                _ => return self.take((place, seen), serving, shared, now),
            }
        }
        self.take(left?, serving, shared, now)
    }

    fn take(
        &mut self,
        (place, seen): (usize, Seen),
        serving: &impl Fn() -> Serving,
        shared: &dyn SharedData,
        now: Duration,
    ) -> Option<usize> {
        let is_mine = record::write(shared, &MemberRecord::key(place), &self.record(serving(), now), seen);
        // If another was faster, the next tick tries again.
        is_mine.then(|| {
            self.renewed = now;
            place
        })
    }

    fn record(&self, serving: Serving, now: Duration) -> MemberRecord {
        let Serving { bundles, ready } = serving;
        let until_ms = millis(now.saturating_add(self.lease));
        MemberRecord { vm: self.vm, plugin: self.plugin, until_ms, serving: bundles, ready }
    }
}

// === impl Members ===

impl Members {
    pub(super) fn is_alive(&mut self, owner: Owner, now: Duration, shared: &dyn SharedData) -> bool {
        !guards(Protection::Takeover)
            || self
                .get(owner.member, shared)
                .is_some_and(|member| member.vm == owner.vm && member.is_alive(now))
    }

    /// Whether an owner has been dead for so long that somebody must have taken its place.
    pub(super) fn is_forsaken(
        &mut self,
        owner: Option<Owner>,
        now: Duration,
        shared: &dyn SharedData,
    ) -> bool {
        let member = owner.and_then(|owner| self.get(owner.member, shared));
        member.is_none_or(|member| millis(now) > member.until_ms.saturating_add(millis(LOST_AFTER)))
    }

    /// All that there have been: a place once taken is never empty again.
    pub(super) fn all(mut self, shared: &dyn SharedData) -> Vec<MemberRecord> {
        (0..MAX_MEMBERS).map_while(|place| self.get(place, shared).cloned()).collect()
    }

    fn get(&mut self, place: usize, shared: &dyn SharedData) -> Option<&MemberRecord> {
        let read = || record::read(shared, &MemberRecord::key(place))?.0;
        self.read.entry(place).or_insert_with(read).as_ref()
    }
}
