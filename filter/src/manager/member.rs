//! Taking part: a numbered record in shared data that is renewed from ticks, and who else has one.
//!
//! Envoy configures a canary that never ticks and is thrown away; because a member joins from a tick, the canary is none.

use std::{collections::BTreeMap, time::Duration};

use super::{
    record::{self, MemberRecord, Owner, VmName, millis},
    shared::SharedData,
};
use crate::hooks::{Protection, guards};

/// A member that has not renewed its record for so long counts as dead, and others load what it loaded.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// Renewed so often that two renewals may be missed.
const RENEWAL: Duration = Duration::from_secs(1);
/// Envoy's workers, its main thread and as many again that have died; twice that for plugins that share a `vm_id`.
const MAX_MEMBERS: usize = 1024;

/// This VM's place among the members.
#[derive(Debug)]
pub(super) struct Membership {
    vm: VmName,
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
pub(super) struct Members<'a> {
    shared: &'a dyn SharedData,
    read: BTreeMap<usize, Option<MemberRecord>>,
}

// === impl Membership ===

impl Membership {
    pub(super) fn new(vm: VmName) -> Self {
        Self { vm, place: None, renewed: Duration::ZERO }
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
        let is_due = guards(Protection::Renewal) && now >= self.renewed.saturating_add(RENEWAL);
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
        for place in 0..MAX_MEMBERS {
            let key = MemberRecord::key(place);
            let (found, seen) = record::read::<MemberRecord>(shared, &key)?;
            if found.is_some_and(|found| found.is_alive(now)) {
                continue;
            }
            if record::write(shared, &key, &self.record(serving(), now), seen) {
                self.renewed = now;
                return Some(place);
            }
        }
        None
    }

    fn record(&self, serving: Serving, now: Duration) -> MemberRecord {
        let Serving { bundles, ready } = serving;
        MemberRecord { vm: self.vm, until_ms: millis(now.saturating_add(LEASE)), serving: bundles, ready }
    }
}

// === impl Members ===

impl<'a> Members<'a> {
    pub(super) fn new(shared: &'a dyn SharedData) -> Self {
        Self { shared, read: BTreeMap::new() }
    }

    pub(super) fn is_alive(&mut self, owner: Owner, now: Duration) -> bool {
        !guards(Protection::Takeover)
            || self.get(owner.member).is_some_and(|member| member.vm == owner.vm && member.is_alive(now))
    }

    /// All that there have been: a place once taken is never empty again.
    pub(super) fn all(mut self) -> Vec<MemberRecord> {
        (0..MAX_MEMBERS).map_while(|place| self.get(place).cloned()).collect()
    }

    fn get(&mut self, place: usize) -> Option<&MemberRecord> {
        let read = || record::read(self.shared, &MemberRecord::key(place))?.0;
        self.read.entry(place).or_insert_with(read).as_ref()
    }
}
