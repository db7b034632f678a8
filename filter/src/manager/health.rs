//! What an operator asks: is it ready, is anything stuck, and what is where now.
//!
//! Everything is computed from the members' records and from this VM when it is asked (INVARIANT queried readiness):
//! nothing here was delivered. Records of bundles and policies are as this VM has last compared them, which is a second
//! ago at most. As long as none of that has changed, and the same second lasts, the answer is not made anew: with
//! hundreds of bundles that takes milliseconds.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use serde::Serialize;

use super::{
    Effect, Manager, NotReady, Slot, Tracked,
    member::{LOST_AFTER, Members},
    record::{BundleRecord, FaultKind, MemberRecord, Verdict, millis},
    shared::{Seen, SharedData},
};
use crate::telemetry::Gauge;

/// Pause between two looks at the figures of the process.
const GAUGE_PERIOD: Duration = Duration::from_secs(1);
/// A VM that ticks and has not taken what was published so long ago is stuck.
const ADOPTION_BOUND: Duration = Duration::from_secs(30);

/// The state of everything, at the moment of the question.
///
/// Units: ages in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether nothing is stuck. A bundle that cannot be fetched behind a last good one is not.
    pub healthy: bool,
    /// Whether every policy can decide in every VM that is alive. Never true of nothing.
    pub ready: bool,
    /// What is stuck, in sentences.
    pub problems: Vec<String>,
    /// Name of the VM that answers.
    pub vm: String,
    /// Every configured bundle, by name.
    pub bundles: BTreeMap<String, BundleHealth>,
    /// Every configured policy, by name.
    pub policies: BTreeMap<String, PolicyHealth>,
    /// Every VM of this configuration that has not left.
    pub vms: Vec<VmHealth>,
}

/// One bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BundleHealth {
    /// `absent`, `claimed`, `trial`, `current`, `refused`, `quarantined` or `failing`.
    pub state: &'static str,
    /// The generation that was published last; 0 before there is one.
    pub generation: u64,
    /// Its revision.
    pub revision: String,
    /// SHA-256 of its archive, in hex.
    pub digest: String,
    /// The VM that loads it.
    pub loader: Option<String>,
    /// Whether that VM is alive.
    pub loader_alive: bool,
    /// Counts the changes of loader.
    pub epoch: u64,
    /// Since it was published.
    pub published_ms_ago: Option<u64>,
    /// Since the server last said that it is the newest.
    pub checked_ms_ago: Option<u64>,
    /// What has gone wrong since.
    pub fault: Option<String>,
    /// For how long it has.
    pub failing_for_ms: Option<u64>,
    /// Whether it is older than the configuration lets it be.
    pub stale: bool,
    /// The generation that this VM serves.
    pub serving: Option<u64>,
    /// Why the policies do not decide with what was published last, if it was tried.
    pub refused: Option<String>,
}

/// One policy in this VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyHealth {
    /// `serving`, `pending`, `refused`, `quarantined`: of the newest bundles, whatever decides meanwhile.
    pub state: &'static str,
    /// Why it cannot decide, or nothing if it can.
    pub not_ready: Option<String>,
    /// The number of the set of bundles by which it decides; 0 while it cannot.
    pub generation: u64,
    /// Generations of the bundles by which it decides.
    pub bundles: BTreeMap<String, u64>,
    /// Why it does not decide by the newest bundles.
    pub cause: Option<String>,
    /// Since when that is known.
    pub failing_for_ms: Option<u64>,
    /// The VM that has found it.
    pub by: Option<String>,
    /// What its author should know: parts of `input` that it reads and that are never there.
    pub warnings: Vec<String>,
}

/// One VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VmHealth {
    /// Its name.
    pub vm: String,
    /// Its place among the members.
    pub member: usize,
    /// Whether it gives signs of life.
    pub alive: bool,
    /// Since when it counts as dead, if it does.
    pub lost_for_ms: Option<u64>,
    /// Policies that can decide in it.
    pub policies_ready: usize,
    /// Policies that it has.
    pub policies: usize,
    /// Generations that it serves, by bundle.
    pub serving: BTreeMap<String, u64>,
    /// Numbers of the sets of bundles by which its policies decide.
    pub policies_serving: BTreeMap<String, u64>,
    /// Bundles of which a newer generation has passed.
    pub behind: Vec<String>,
}

// === impl Health ===

impl Health {
    /// Whether every bundle has been activated, once, in every VM that is alive.
    pub fn bundles_activated(&self) -> bool {
        let served = |vm: &VmHealth| self.bundles.keys().all(|name| vm.serving.contains_key(name));
        let mut alive = self.vms.iter().filter(|vm| vm.alive).peekable();
        alive.peek().is_some()
            && alive.all(served)
            && self.bundles.values().all(|bundle| bundle.serving.is_some())
    }
}

impl Health {
    /// The figures of the process.
    pub(super) fn gauges(&self) -> Vec<(Gauge, u64)> {
        let alive = self.vms.iter().filter(|vm| vm.alive).count();
        let lost = self.vms.iter().filter(|vm| vm.lost_for_ms.is_some()).count();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let mut gauges = vec![
            (Gauge::Healthy, u64::from(self.healthy)),
            (Gauge::Ready, u64::from(self.ready)),
            (Gauge::VmsAlive, count(alive)),
            (Gauge::VmsLost, count(lost)),
        ];
        for (name, bundle) in &self.bundles {
            gauges.push((Gauge::BundleGeneration(name.clone()), bundle.generation));
            gauges.push((Gauge::BundleFailing(name.clone()), u64::from(bundle.fault.is_some())));
            if let Some(ago) = bundle.checked_ms_ago {
                gauges.push((Gauge::BundleAgeSeconds(name.clone()), ago / 1000));
            }
        }
        for (name, policy) in &self.policies {
            let of = |vm: &VmHealth| vm.policies_serving.get(name).copied().unwrap_or_default();
            let generation = self.vms.iter().filter(|vm| vm.alive).map(of).min();
            let is = |state: &str| u64::from(policy.state == state);
            gauges.push((Gauge::PolicyGeneration(name.clone()), generation.unwrap_or_default()));
            gauges.push((Gauge::PolicyRefused(name.clone()), is("refused")));
            gauges.push((Gauge::PolicyQuarantined(name.clone()), is("quarantined")));
        }
        gauges
    }
}

/// What an answer was made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MadeOf {
    revision: u64,
    second: u64,
    members: Vec<Seen>,
}

// === impl Manager ===

impl Manager {
    /// The state of everything now. Units: `now` as in [`Manager::handle`].
    pub fn health(&self, now: Duration, shared: &dyn SharedData) -> Rc<Health> {
        let members = Members::seen(shared);
        let made_of = MadeOf { revision: self.revision, second: now.as_secs(), members };
        if let Some((known, health)) = &*self.answered.borrow()
            && *known == made_of
        {
            return Rc::clone(health);
        }
        let health = Rc::new(self.compute_health(now, shared));
        self.answered.replace(Some((made_of, Rc::clone(&health))));
        health
    }

    fn compute_health(&self, now: Duration, shared: &dyn SharedData) -> Health {
        let mut problems = Vec::new();
        let mut members = Members::default();
        let mut records = BTreeMap::new();
        let mut bundles = BTreeMap::new();
        for tracked in &self.tracked {
            let record = tracked.record.as_ref().map(|(record, _)| record.clone()).unwrap_or_default();
            let is_alive = record.owner.is_some_and(|owner| members.is_alive(owner, now, shared));
            let bundle = self.bundle_health(tracked, &record, is_alive, now);
            let name = &tracked.name;
            let is_missed = bundle.loader.is_some() && !is_alive;
            if is_missed && members.is_forsaken(record.owner, now, shared) {
                problems.push(format!("nobody loads bundle `{name}`: the VM that did gives no sign of life"));
            }
            if bundle.stale {
                let age = bundle.checked_ms_ago.unwrap_or_default() / 1000;
                problems.push(format!("bundle `{name}` is stale: last checked {age} s ago"));
            }
            bundles.insert(name.clone(), bundle);
            records.insert(tracked.key.as_str(), (name, record));
        }
        let mut vms = Vec::new();
        for (place, member) in members.all(shared).into_iter().enumerate() {
            if member.plugin != self.membership.plugin() || member.until_ms == 0 {
                continue;
            }
            let mut vm = vm_health(place, &member, &records, now);
            vm.policies_serving = self
                .policies
                .iter()
                .filter_map(|slot| Some((slot.name.clone(), *member.serving.get(&*slot.key)?)))
                .collect();
            // What the main thread's VM did is done by others, and it never comes back.
            let is_known = !member.has_served && self.quarantine.names(member.vm);
            if let Some(lost_for_ms) = vm.lost_for_ms.filter(|_| !is_known) {
                let seconds = lost_for_ms / 1000;
                problems
                    .push(format!("VM {} has given no sign of life for {seconds} s beyond its lease", vm.vm));
            }
            for (name, record) in records.values() {
                let age = millis(now).saturating_sub(record.published_ms);
                if vm.alive && vm.behind.contains(name) && age > millis(ADOPTION_BOUND) {
                    let generation = record.generation;
                    problems.push(format!(
                        "VM {} does not serve generation {generation} of bundle `{name}`, published {} s ago",
                        vm.vm,
                        age / 1000,
                    ));
                }
            }
            vms.push(vm);
        }
        let waits_to_join = self.first_tick.filter(|_| self.membership.owner().is_none());
        if let Some(waiting) =
            waits_to_join.map(|since| now.saturating_sub(since)).filter(|waiting| *waiting > LOST_AFTER)
        {
            problems
                .push(format!("this VM has found no place among the members for {} s", waiting.as_secs()));
        }
        let others_ready = vms.iter().filter(|vm| vm.alive).all(|vm| vm.policies_ready == vm.policies);
        let takes_part = self.membership.owner().is_some() || self.is_superseded();
        Health {
            healthy: problems.is_empty(),
            ready: others_ready && takes_part && self.is_ready(now),
            problems,
            vm: self.membership.vm().to_string(),
            bundles,
            policies: self
                .policies
                .iter()
                .map(|slot| (slot.name.clone(), self.policy_health(slot, now)))
                .collect(),
            vms,
        }
    }

    fn policy_health(&self, slot: &Slot, now: Duration) -> PolicyHealth {
        let not_ready = self.policy(&slot.name, now).err();
        let active = slot.active.as_ref().map(|active| &active.set);
        let ago = |since_ms: u64| Some(millis(now).saturating_sub(since_ms));
        let candidate =
            self.candidate_of(slot).filter(|newest| active.is_none_or(|set| !set.is_same(newest)));
        let conviction = candidate.as_ref().and_then(|newest| self.conviction(newest));
        let rejection = candidate.as_ref().and_then(|newest| slot.known()?.rejection(newest));
        // What came last for a bundle is no bundle, or has ended a VM.
        let faults = slot.config.bundles.iter().filter_map(|bundle| {
            let record = &self.tracked_by_name(bundle)?.record.as_ref()?.0;
            record.fault.as_ref().filter(|fault| fault.kind != FaultKind::Download)
        });
        let fault = faults
            .max_by_key(|fault| fault.kind == FaultKind::Quarantined)
            .map(|fault| (fault.kind.state(), Some(fault.message.clone()), ago(fault.since_ms), None));
        let (state, cause, failing_for_ms, by) = match (&not_ready, conviction, rejection) {
            (Some(closed @ NotReady::Closed { .. }), ..) => {
                ("quarantined", Some(closed.to_string()), None, None)
            }
            (_, Some(it), _) => ("quarantined", Some(it.cause.clone()), ago(it.since_ms), Some(it.by)),
            (_, _, Some(it)) => ("refused", Some(it.cause.clone()), ago(it.since_ms), Some(it.by)),
            _ if fault.is_some() => fault.unwrap_or_default(),
            _ if active.is_none() => ("pending", None, None, None),
            _ => ("serving", None, None, None),
        };
        let generations =
            |(name, content): (&String, &super::sets::Content)| (name.clone(), content.generation);
        PolicyHealth {
            state,
            not_ready: not_ready.as_ref().map(NotReady::to_string),
            generation: slot.generation(),
            bundles: active.into_iter().flat_map(|set| &set.bundles).map(generations).collect(),
            cause,
            failing_for_ms,
            by: by.map(|vm| vm.to_string()),
            warnings: slot
                .active
                .as_ref()
                .map(|active| active.policy.warnings(&self.policies.input))
                .unwrap_or_default(),
        }
    }

    fn bundle_health(
        &self,
        tracked: &Tracked,
        record: &BundleRecord,
        loader_alive: bool,
        now: Duration,
    ) -> BundleHealth {
        let ago = |at_ms: u64| millis(now).saturating_sub(at_ms);
        let is_published = record.generation > 0;
        BundleHealth {
            state: record.state(),
            generation: record.generation,
            revision: record.revision.clone(),
            digest: record.digest.clone(),
            loader: record.owner.map(|owner| owner.vm.to_string()),
            loader_alive,
            epoch: record.epoch,
            published_ms_ago: is_published.then(|| ago(record.published_ms)),
            checked_ms_ago: is_published.then(|| ago(record.checked_ms)),
            fault: record.fault.as_ref().map(|fault| fault.message.clone()),
            failing_for_ms: record.fault.as_ref().map(|fault| ago(fault.since_ms)),
            stale: self.staleness(&tracked.name).is_some_and(|age| is_published && age.is_over(record, now)),
            serving: tracked.serving(&self.policies),
            refused: self.refusal(tracked, record),
        }
    }
}

impl Manager {
    /// What no configuration of this VM names any more is gone; a gauge cannot be taken away.
    pub(super) fn clear_gauges(&mut self) {
        let bundles =
            self.tracked.iter().filter(|tracked| !self.cache.is_shared(self.context.0, &tracked.key));
        let bundles = bundles.flat_map(|tracked| {
            let name = || tracked.name.clone();
            [Gauge::BundleGeneration(name()), Gauge::BundleFailing(name()), Gauge::BundleAgeSeconds(name())]
        });
        let policies = self.policies.iter().filter(|slot| !self.cache.is_shared(self.context.0, &slot.key));
        let policies = policies.flat_map(|slot| {
            let name = || slot.name.clone();
            [Gauge::PolicyGeneration(name()), Gauge::PolicyRefused(name()), Gauge::PolicyQuarantined(name())]
        });
        for gauge in bundles.chain(policies) {
            self.reporter.push(Effect::Show(gauge, 0));
        }
    }

    /// The first of the VMs shows the figures of all.
    pub(super) fn show_gauges(&mut self, now: Duration, shared: &dyn SharedData) {
        let shown = *self.shown.get_or_insert(now);
        if now.saturating_sub(shown) < GAUGE_PERIOD {
            return;
        }
        self.shown = Some(now);
        let plugin = self.membership.plugin();
        let mut members = Members::default().all(shared).into_iter();
        let first = members.find(|member| member.plugin == plugin && member.is_alive(now));
        if first.is_some_and(|first| first.vm == self.membership.vm()) {
            self.gauges = self.health(now, shared).gauges();
        }
    }

    /// Why what was published last is not served.
    fn refusal(&self, tracked: &Tracked, record: &BundleRecord) -> Option<String> {
        let is_refused = matches!(record.verdict, Verdict::Refused | Verdict::Quarantined);
        is_refused.then(|| self.verdict(tracked, record).1)
    }
}

fn vm_health(
    place: usize,
    member: &MemberRecord,
    records: &BTreeMap<&str, (&String, BundleRecord)>,
    now: Duration,
) -> VmHealth {
    let named = |key: &String| records.get(key.as_str()).map(|(name, _)| (*name).clone());
    let serving: BTreeMap<String, u64> =
        member.serving.iter().filter_map(|(key, generation)| Some((named(key)?, *generation))).collect();
    let behind = records
        .values()
        // What has not passed is not to be served.
        .filter(|(_, record)| record.verdict == Verdict::Passed)
        .filter(|(name, record)| serving.get(*name).copied().unwrap_or_default() < record.generation);
    let lost_for = millis(now).saturating_sub(member.until_ms);
    VmHealth {
        vm: member.vm.to_string(),
        member: place,
        alive: member.is_alive(now),
        lost_for_ms: Some(lost_for).filter(|lost| *lost > millis(LOST_AFTER)),
        policies_ready: member.ready.0,
        policies: member.ready.1,
        behind: behind.map(|(name, _)| (*name).clone()).collect(),
        serving,
        policies_serving: BTreeMap::new(),
    }
}
