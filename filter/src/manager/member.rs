//! Taking part: a numbered record in shared data that is renewed from ticks, and who else has one.
//!
//! Envoy configures a canary that never ticks and is thrown away; because a member joins from a tick, the canary is none.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    record::{self, End, MemberRecord, Owner, VmName, millis},
    sets::Mark,
    shared::{AtWork, Seen, SharedData},
};
use crate::hooks::{Protection, guards};

/// A record is renewed so often that two renewals may be missed: after this part of the lease.
pub(super) const RENEWALS_IN_LEASE: u32 = 3;
/// A member that has been dead for so long is gone, and not only late.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(3);
/// Most members that are remembered of one place.
const MAX_BEFORE: usize = 8;
/// The lease of one that ended runs out within one; its heir may come late, too.
const HEIR_LEASES: u32 = 4;
/// Envoy's workers, its main thread and as many again that have died; twice that for plugins that share a `vm_id`.
pub(super) const MAX_MEMBERS: usize = 1024;

/// This VM's place among the members.
#[derive(Debug)]
pub(super) struct Membership {
    vm: VmName,
    instance: u32,
    plugin: u32,
    /// A member that has not renewed its record for so long counts as dead, and others load what it loaded.
    lease: Duration,
    place: Option<usize>,
    renewed: Duration,
    /// Whether this VM has had a request.
    has_served: bool,
    /// Until when it may give up the place of one that ended: it was built in its stead.
    heir_until: Duration,
    /// Who had its place before.
    before: Vec<(VmName, End)>,
}

/// What became of a VM that left a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It may still be at it.
    Alive,
    /// It ended there, or never will.
    EndedThere,
    /// It ended elsewhere, or left.
    EndedElsewhere,
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
    /// Generations by the key of the bundle's record, and numbers of sets by the key of the policy's.
    pub(super) bundles: BTreeMap<String, u64>,
    pub(super) ready: (usize, usize),
}

/// Members of whom no end is known, by their places.
pub(super) type Open = Vec<(usize, VmName)>;

/// Members as shared data have them, each read once.
#[derive(Debug, Default)]
pub(super) struct Members {
    read: BTreeMap<usize, Option<MemberRecord>>,
}

// === impl Membership ===

impl Membership {
    /// `plugin` is the same for all members of one configuration.
    pub(super) fn new(vm: VmName, instance: u32, plugin: u32, lease: Duration) -> Self {
        let (place, renewed, has_served, heir_until) = (None, Duration::ZERO, false, Duration::ZERO);
        Self { vm, instance, plugin, lease, place, renewed, has_served, heir_until, before: Vec::new() }
    }

    /// Whether this VM has been still for so long that others may have been as well: it cannot say whether they are alive.
    pub(super) fn was_still(&self, now: Duration) -> bool {
        self.place.is_some() && now >= self.renewed.saturating_add(self.lease)
    }

    pub(super) fn place(&self) -> Option<usize> {
        self.place
    }

    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    pub(super) fn has_served(&self) -> bool {
        self.has_served
    }

    /// It has had a request. True the first time.
    pub(super) fn serves(&mut self) -> bool {
        !std::mem::replace(&mut self.has_served, true)
    }

    /// A configuration that comes while others are at work already: this VM was built in place of one that ended.
    pub(super) fn is_heir(&mut self, now: Duration) {
        self.heir_until = now.saturating_add(self.lease * HEIR_LEASES);
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
            found.ended = Some(End::Left);
            record::write(shared, &key, &found, seen);
        }
        Some(place)
    }

    /// Finds out how the members ended that gave no sign of life in time, and gives the place of one up that this VM
    /// was built for. What is found: the VMs that ended, with what they were at work on, and the members of whom no
    /// end is known.
    pub(super) fn inquire(
        &mut self,
        now: Duration,
        shared: &dyn SharedData,
    ) -> (Vec<(VmName, AtWork)>, Open) {
        let (mut found, mut open) = (Vec::new(), Open::new());
        let read = |place| {
            let (member, seen) = record::read::<MemberRecord>(shared, &MemberRecord::key(place))?;
            Some((place, member?, seen))
        };
        let members: Vec<_> = (0..MAX_MEMBERS).map_while(read).collect();
        let is_over =
            |member: &MemberRecord| member.until_ms > 0 && !member.is_alive(now) && member.vm != self.vm;
        // All contexts of a VM end with the one that was deciding a request.
        let at_request =
            members.iter().filter(|(place, member, _)| is_over(member) && shared.at_work(*place).is_some());
        let ended: BTreeSet<u32> = at_request.map(|(_, member, _)| member.instance).collect();
        for (place, mut member, seen) in members {
            if member.ended.is_none() && member.until_ms > 0 {
                open.push((place, member.vm));
            }
            if !is_over(&member) {
                continue;
            }
            let key = MemberRecord::key(place);
            let task = shared.at_work(place);
            let is_heir = now < self.heir_until && member.plugin == self.plugin;
            let is_new = member.ended.is_none() && ended.contains(&member.instance);
            if !is_heir && !is_new {
                continue;
            }
            member.ended = member.ended.or(is_new.then_some(End::AtRequest));
            if is_heir {
                member.until_ms = 0;
            }
            // One finds it out for all.
            if record::write(shared, &key, &member, seen) {
                found.extend(task.filter(|_| is_new).map(|task| (member.vm, task)));
                shared.clear_work(place);
                if is_heir {
                    self.heir_until = Duration::ZERO;
                }
            }
        }
        (found, open)
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
                // Nobody has asked yet how it ended, and its place says so.
                Some(found) if found.ended.is_none() && shared.at_work(place).is_some() => continue,
                Some(found) if found.until_ms == 0 => left = left.or(Some((place, seen, Some(found)))),
                None if seen == Seen::Absent => {
                    return self.take(left.unwrap_or((place, seen, None)), serving, shared, now);
                }
                found => return self.take((place, seen, found), serving, shared, now),
            }
        }
        self.take(left?, serving, shared, now)
    }

    fn take(
        &mut self,
        (place, seen, found): (usize, Seen, Option<MemberRecord>),
        serving: &impl Fn() -> Serving,
        shared: &dyn SharedData,
        now: Duration,
    ) -> Option<usize> {
        self.before = found.into_iter().flat_map(MemberRecord::ends).take(MAX_BEFORE).collect();
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
        let &Self { vm, instance, plugin, has_served, .. } = self;
        let (serving, before) = (bundles, self.before.clone());
        MemberRecord { vm, instance, plugin, until_ms, ended: None, has_served, serving, ready, before }
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

    /// What became of the VM that left a mark.
    pub(super) fn fate(
        &mut self,
        mark: &Mark,
        lease: Duration,
        now: Duration,
        shared: &dyn SharedData,
    ) -> Fate {
        if mark.has_ended {
            return Fate::EndedThere;
        }
        let Some(place) = mark.member else {
            // It was not a member yet, so nothing else reports it.
            let is_over = millis(now) > mark.since_ms.saturating_add(millis(lease));
            return if is_over { Fate::EndedThere } else { Fate::Alive };
        };
        let Some(member) = self.get(place, shared).cloned() else { return Fate::EndedThere };
        if member.vm != mark.vm {
            return match member.before.iter().find(|(vm, _)| *vm == mark.vm) {
                Some((_, End::Left | End::AtRequest)) => Fate::EndedElsewhere,
                Some((_, End::AtLoad)) | None => Fate::EndedThere,
            };
        }
        if member.ended.is_none() && member.is_alive(now) {
            return Fate::Alive;
        }
        // All contexts of a VM end together, whichever of them was at work.
        for place in 0..MAX_MEMBERS {
            let Some(other) = self.get(place, shared) else { break };
            let is_elsewhere = match other.ended {
                Some(End::Left) => other.vm == mark.vm,
                Some(End::AtRequest) => true,
                Some(End::AtLoad) => false,
                None => shared.at_work(place).is_some(),
            };
            if other.instance == member.instance && is_elsewhere {
                return Fate::EndedElsewhere;
            }
        }
        Fate::EndedThere
    }

    /// Whether any member is alive.
    pub(super) fn has_any(&mut self, now: Duration, shared: &dyn SharedData) -> bool {
        (0..MAX_MEMBERS)
            .map_while(|place| self.get(place, shared).map(|member| member.is_alive(now)))
            .any(|is_alive| is_alive)
    }

    /// Whether a member of this configuration is alive that has had no request.
    pub(super) fn has_idle(&mut self, plugin: u32, now: Duration, shared: &dyn SharedData) -> bool {
        (0..MAX_MEMBERS)
            .map_while(|place| self.get(place, shared).cloned())
            .any(|member| member.plugin == plugin && member.is_alive(now) && !member.has_served)
    }

    /// The numbers of all their records, without reading what stands in them.
    pub(super) fn seen(shared: &dyn SharedData) -> Vec<Seen> {
        let seen =
            |place| Some(shared.get(&MemberRecord::key(place))?.seen).filter(|seen| *seen != Seen::Absent);
        (0..MAX_MEMBERS).map_while(seen).collect()
    }

    /// The generations of a bundle that those serve who are alive.
    pub(super) fn serving(
        &mut self,
        bundle_key: &str,
        now: Duration,
        shared: &dyn SharedData,
    ) -> BTreeSet<u64> {
        let generation = |place| {
            let member = self.get(place, shared)?;
            let alive = member.is_alive(now).then(|| member.serving.get(bundle_key).copied());
            Some(alive.flatten())
        };
        (0..MAX_MEMBERS).map_while(generation).flatten().collect()
    }

    /// Those of whom it is not known how they ended, if they did.
    pub(super) fn open(&mut self, shared: &dyn SharedData) -> Open {
        let open = |place| {
            let member = self.get(place, shared)?;
            Some((member.ended.is_none() && member.until_ms > 0).then_some((place, member.vm)))
        };
        (0..MAX_MEMBERS).map_while(open).flatten().collect()
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
