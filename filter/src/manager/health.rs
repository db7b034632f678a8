//! What an operator asks: is it ready, is anything stuck, and what is where now.
//!
//! Everything is computed from shared data and from this VM when it is asked (INVARIANT honest): nothing here was
//! delivered, and nothing is kept.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    Manager, NotReady, Tracked,
    member::{LOST_AFTER, Members},
    record::{self, BundleRecord, MemberRecord, millis},
    shared::SharedData,
};
use crate::telemetry::Gauge;

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
    /// Every configured policy, by name: why it cannot decide in this VM, or nothing if it can.
    pub policies: BTreeMap<String, Option<String>>,
    /// Every VM of this configuration that has not left.
    pub vms: Vec<VmHealth>,
}

/// One bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BundleHealth {
    /// `absent`, `claimed`, `current` or `failing`.
    pub state: &'static str,
    /// The generation that is published; 0 before there is one.
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
    /// Why this VM does not serve what is published, if it could not read it.
    pub refused: Option<String>,
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
    /// Bundles of which a newer generation is published.
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
        gauges
    }
}

// === impl Manager ===

impl Manager {
    /// The state of everything now. Units: `now` as in [`Manager::handle`].
    pub fn health(&self, now: Duration, shared: &dyn SharedData) -> Health {
        let read = |tracked: &Tracked| record::read(shared, &tracked.key)?.0;
        self.health_of(read, now, shared)
    }

    /// The same with the records as they were when they were last compared, which is less work.
    pub(super) fn compared_health(&self, now: Duration, shared: &dyn SharedData) -> Health {
        self.health_of(|tracked| Some(tracked.record.as_ref()?.0.clone()), now, shared)
    }

    fn health_of(
        &self,
        record: impl Fn(&Tracked) -> Option<BundleRecord>,
        now: Duration,
        shared: &dyn SharedData,
    ) -> Health {
        let mut problems = Vec::new();
        let mut members = Members::default();
        let mut records = BTreeMap::new();
        let mut bundles = BTreeMap::new();
        for tracked in &self.tracked {
            let record = record(tracked).unwrap_or_default();
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
            let vm = vm_health(place, &member, &records, now);
            if let Some(lost_for_ms) = vm.lost_for_ms {
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
        Health {
            healthy: problems.is_empty(),
            ready: others_ready && self.membership.owner().is_some() && self.is_ready(now),
            problems,
            vm: self.membership.vm().to_string(),
            bundles,
            policies: self.policy_names().map(|name| (name.to_owned(), self.reason(name, now))).collect(),
            vms,
        }
    }

    fn reason(&self, policy: &str, now: Duration) -> Option<String> {
        self.policy(policy, now).err().as_ref().map(NotReady::to_string)
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
            serving: tracked.replica.version().map(|version| version.generation),
            refused: tracked.replica.refusal().map(str::to_owned),
        }
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
    }
}
