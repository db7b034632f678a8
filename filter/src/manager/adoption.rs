//! How a policy comes to a set of bundles: who tries it, who takes it over after that, and what becomes of those who end
//! at it. The marks that it leaves are in `sets.rs`.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use log::Level;

use super::{
    Effect, Manager,
    member::Members,
    policies::{Active, Slot, made_of},
    quarantine::{Conviction, Digests},
    record::{BundleRecord, PayloadRecord, millis, open_payload, payload_key},
    sets::{self, Content, Mark, PolicyRecord, Rejection, Set, Trial},
    shared::{SharedData, Task, TaskKind},
};
use crate::{
    bundle::{Bundle, Reading},
    hooks::{Protection, guards},
    policy::{Compiling, Policy},
    telemetry::Counter,
};

/// A set on its way to deciding: one at a time in each VM.
pub(super) struct Job {
    /// The place of the policy.
    pub(super) policy: usize,
    lineage: u32,
    pub(super) set: Set,
    pub(super) is_trial: bool,
    /// Others can find that this VM is at it.
    pub(super) is_marked: bool,
    bundles: Vec<Rc<Bundle>>,
    /// The next bundle, with the digest that it must have.
    pub(super) reading: Option<(Box<Reading<Vec<u8>>>, String)>,
    /// The policy, once all bundles are there.
    compiling: Option<Box<Compiling<Rc<Bundle>>>>,
}

/// How a job ends.
enum Outcome {
    Compiled(Rc<Policy>),
    Refused(String),
    /// A payload is not there any more.
    Missing {
        bundle: String,
    },
}

/// What is to do for a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Somebody else is at it.
    Wait,
    Try,
    Adopt,
}

// === impl Manager ===

impl Manager {
    /// Looks at the record of a policy, and begins what is to do for it. True if there is, or may be soon.
    pub(super) fn look(
        &mut self,
        index: usize,
        members: &mut Members,
        now: Duration,
        shared: &dyn SharedData,
    ) -> bool {
        let Some(slot) = self.policies.at_mut(index) else { return false };
        let Some((found, seen)) = super::record::read_unless(shared, &slot.key, slot.seen()) else {
            return false;
        };
        if slot.seen() != Some(seen) {
            slot.record = Some((found.unwrap_or_default(), seen));
        }
        self.judge_marks(index, members, now, shared);
        let candidate = self.candidate(index);
        if let Some(candidate) = &candidate {
            self.bless(index, candidate, shared);
        }
        match (self.need(index, candidate.as_ref(), members, now, shared), candidate) {
            (Need::Nothing, _) | (Need::Try, None) => false,
            (Need::Wait, _) => true,
            (Need::Try | Need::Adopt, _) if self.job.is_some() => {
                self.wanted.insert(index);
                true
            }
            (Need::Try, Some(candidate)) => self.begin_trial(index, candidate, now, shared),
            (Need::Adopt, candidate) => self.begin_adoption(index, candidate, now, shared),
        }
    }

    /// The newest generations of the bundles of a policy; none while one has none.
    fn candidate(&self, index: usize) -> Option<Set> {
        self.candidate_of(self.policies.at(index)?)
    }

    pub(super) fn candidate_of(&self, slot: &Slot) -> Option<Set> {
        let content = |name: &String| {
            let record = self.tracked_by_name(name)?.record.as_ref().map(|(record, _)| record)?;
            let &BundleRecord { lineage, generation, .. } = record;
            let &PayloadRecord { slot, size_limit_bytes, .. } = record.payload(generation)?;
            let (digest, revision) = (record.digest.clone(), record.revision.clone());
            let content = Content { lineage, generation, digest, revision, slot, size_limit_bytes };
            (generation > 0 && !content.digest.is_empty()).then(|| (name.clone(), content))
        };
        let bundles: Option<BTreeMap<_, _>> = slot.config.bundles.iter().map(content).collect();
        Some(Set { number: 0, bundles: bundles? })
    }

    fn need(
        &self,
        index: usize,
        candidate: Option<&Set>,
        members: &mut Members,
        now: Duration,
        shared: &dyn SharedData,
    ) -> Need {
        let Some(slot) = self.policies.at(index) else { return Need::Nothing };
        let none = PolicyRecord::default();
        let record = slot.known().unwrap_or(&none);
        let me = self.membership.vm();
        if let Some(target) = self.target(slot, record) {
            if self.cache.find_policy(&self.policy_name(slot, target)).is_some() {
                return Need::Adopt;
            }
            let mut others = record.adopting.iter().filter(|mark| mark.vm != me).peekable();
            // Who begins anew is the most likely to end where another has: nobody follows until that is known.
            let waits = if self.first_tick.is_none() {
                others.peek().is_some()
            } else {
                let at_work = record.adopting.iter().filter(|mark| mark.vm != me).count();
                others.any(|mark| mark.member.is_none()) || at_work >= record.adopted.max(1) as usize
            };
            return if waits { Need::Wait } else { Need::Adopt };
        }
        let Some(candidate) = candidate else { return Need::Nothing };
        if !guards(Protection::Trial) {
            let is_served = slot.active.as_ref().is_some_and(|active| active.set.is_same(candidate));
            return if is_served { Need::Nothing } else { Need::Adopt };
        }
        let is_new = is_new(record, candidate);
        let is_known = record.rejection(candidate).is_some() || self.quarantined(candidate).is_some();
        if !is_new || is_known {
            return Need::Nothing;
        }
        if record.trial.is_some() {
            return Need::Wait;
        }
        // INVARIANT (isolated): of those who could try it, one that has no requests is the one to lose.
        let is_better_left =
            self.membership.has_served() && members.has_idle(self.membership.plugin(), now, shared);
        if self.membership.place().is_none() || is_better_left { Need::Wait } else { Need::Try }
    }

    /// The set that this VM should take over, if it should: what it serves never goes back (INVARIANT monotone).
    fn target<'a>(&self, slot: &Slot, record: &'a PolicyRecord) -> Option<&'a Set> {
        let is_fit = |set: &&Set| {
            self.quarantined(set).is_none()
                && slot.unreadable.as_ref().is_none_or(|(bad, _)| !bad.is_same(set))
        };
        match &slot.active {
            // Another VM may have ended at what is served here; that is no reason to go back.
            Some(active) if active.lineage == record.lineage => {
                record.good.as_ref().filter(is_fit).filter(|good| good.number > active.set.number)
            }
            _ => record.passed().find(is_fit),
        }
    }

    /// What these bundles are known to do, if it is that they end VMs.
    pub(super) fn quarantined(&self, set: &Set) -> Option<String> {
        self.conviction(set).map(|conviction| conviction.cause.clone())
    }

    pub(super) fn conviction(&self, set: &Set) -> Option<&Conviction> {
        if self.quarantine.is_empty() {
            return None;
        }
        self.quarantine.of_set(&self.digests(set, |_| true))
    }

    /// Digests by the keys of the bundles' records, which mean the same for every policy.
    pub(super) fn digests(&self, set: &Set, has: impl Fn(&str) -> bool) -> Digests {
        let bundles = set.bundles.iter().filter(|(name, _)| has(name));
        let digest = |(name, content): (&String, &Content)| {
            Some((self.tracked_by_name(name)?.key.clone(), content.digest.clone()))
        };
        bundles.filter_map(digest).collect()
    }

    /// Generations that have the content of the good set are good: the server went back to what it had before.
    fn bless(&mut self, index: usize, candidate: &Set, shared: &dyn SharedData) {
        let Some(slot) = self.policies.at_mut(index) else { return };
        let is_it = |record: &PolicyRecord| {
            let mut passed = record.good.iter();
            record.trial.is_none()
                && is_new(record, candidate)
                && passed.any(|set| set.digests() == candidate.digests())
        };
        if !slot.known().is_some_and(is_it) {
            return;
        }
        let changed = sets::amend(&slot.key, 0, shared, |record| {
            let is_it = is_it(record);
            if let Some(good) = record.good.as_mut().filter(|_| is_it) {
                good.bundles.clone_from(&candidate.bundles);
                good.number += 1;
            }
            is_it
        });
        if let Some((record, _)) = changed {
            slot.record = Some((record, super::Seen::Absent));
        }
    }

    // ## Trial and adoption
    fn begin_trial(&mut self, index: usize, set: Set, now: Duration, shared: &dyn SharedData) -> bool {
        let mark = Mark::new(self.membership.vm(), self.membership.place(), now);
        let lineage = self.random.u32(1..);
        let Some(slot) = self.policies.at_mut(index) else { return false };
        let trial = Trial { set: set.clone(), mark };
        let begun = sets::amend(&slot.key, lineage, shared, |record| {
            let is_free = record.trial.is_none() && is_new(record, &set);
            record.trial = record.trial.take().or_else(|| Some(trial.clone()));
            is_free
        });
        let Some((record, _)) = begun else { return true };
        if self.is_convicted_since(&set, shared) {
            self.withdraw_mark(index, shared);
            return false;
        }
        let Some(slot) = self.policies.at_mut(index) else { return false };
        let lineage = record.lineage;
        let from = if slot.active.is_some() { "serving" } else { "pending" };
        self.reporter.policy(Level::Info, &slot.name, from, "trial", &made_of(&set));
        slot.record = Some((record, super::Seen::Absent));
        self.job = Some(Job::new(index, lineage, set, true));
        true
    }

    fn begin_adoption(
        &mut self,
        index: usize,
        candidate: Option<Set>,
        now: Duration,
        shared: &dyn SharedData,
    ) -> bool {
        let Some(slot) = self.policies.at(index) else { return false };
        let known = slot.known().and_then(|record| Some((record, self.target(slot, record)?)));
        let Some((record, target)) = known else {
            if let Some(set) = candidate.filter(|_| !guards(Protection::Trial)) {
                self.job = Some(Job::new(index, 1, set, false));
            }
            return true;
        };
        let (set, lineage) = (target.clone(), record.lineage);
        // What this VM has compiled already cannot end it.
        let is_held = self.cache.find_policy(&self.policy_name(slot, &set)).is_some();
        if !is_held {
            let mark = Mark::new(self.membership.vm(), self.membership.place(), now);
            let limit = if self.first_tick.is_none() { 1 } else { record.adopted.max(1) as usize };
            let Some(slot) = self.policies.at_mut(index) else { return false };
            let marked = sets::amend(&slot.key, 0, shared, |record| {
                let is_there = record.passed().any(|passed| passed.number == set.number);
                record.adopting.retain(|other| other.vm != mark.vm);
                let has_room = record.adopting.len() < limit;
                record.adopting.push(mark);
                record.lineage == lineage && is_there && has_room
            });
            let Some((record, _)) = marked else { return true };
            slot.record = Some((record, super::Seen::Absent));
            if self.is_convicted_since(&set, shared) {
                self.withdraw_mark(index, shared);
                return false;
            }
        }
        self.job = Some(Job::new(index, lineage, set, false));
        true
    }

    /// A conviction is written down before the mark of the one that ended is taken away: so it is seen by whoever has
    /// found room for a mark of its own.
    pub(super) fn is_convicted_since(&mut self, set: &Set, shared: &dyn SharedData) -> bool {
        self.quarantine.refresh(shared);
        self.quarantined(set).is_some()
    }

    /// Does a small piece of the job, behind its mark.
    pub(super) fn go_on(&mut self, now: Duration, shared: &dyn SharedData) {
        let Some(mut job) = self.job.take() else { return };
        let Some(slot) = self.policies.at(job.policy) else { return };
        let task = self.task(TaskKind::Load(Some(Rc::clone(&slot.key))), now);
        shared.begin(&task);
        let outcome = self.step(&mut job, shared);
        shared.end(&task);
        match outcome {
            None => self.job = Some(job),
            Some(outcome) => self.finish(job, outcome, now, shared),
        }
    }

    pub(super) fn task(&self, kind: TaskKind, begun: Duration) -> Task {
        Task { vm: self.membership.vm().0, member: self.membership.place(), kind, begun }
    }

    fn step(&self, job: &mut Job, shared: &dyn SharedData) -> Option<Outcome> {
        let slot = self.policies.at(job.policy)?;
        if let Some((mut reading, digest)) = job.reading.take() {
            let result = reading.step();
            // Its payload has given way to another one since the set was looked at.
            let is_another = reading.digest().is_some_and(|read| read != digest);
            if is_another && guards(Protection::PayloadDigest) {
                let bundle = slot.config.bundles.get(job.bundles.len()).cloned().unwrap_or_default();
                job.reading = Some((reading, digest));
                return Some(Outcome::Missing { bundle });
            }
            match result {
                None => job.reading = Some((reading, digest)),
                Some(Ok(bundle)) => job.bundles.push(self.cache.keep(bundle)),
                Some(Err(error)) => return Some(Outcome::Refused(error.to_string())),
            }
            return None;
        }
        let policy_name = self.policy_name(slot, &job.set);
        if let Some(compiling) = &mut job.compiling {
            return Some(match compiling.step()? {
                Ok(policy) => {
                    let policy = Rc::new(policy);
                    self.cache.keep_policy(policy_name, &policy);
                    Outcome::Compiled(policy)
                }
                Err(error) => Outcome::Refused(error.to_string()),
            });
        }
        let Some(name) = slot.config.bundles.get(job.bundles.len()) else {
            if let Some(policy) = self.cache.find_policy(&policy_name) {
                return Some(Outcome::Compiled(policy.limited(self.policies.limits)));
            }
            #[cfg(feature = "hooks")]
            crate::hooks::switched::end_at_compile(
                job.bundles.iter().flat_map(|bundle| &bundle.modules),
                self.first_tick.is_none(),
            );
            let bundles = job.bundles.clone();
            let compiling = Compiling::new(&slot.config.decision, bundles, self.policies.limits);
            job.compiling = Some(Box::new(compiling));
            return None;
        };
        let missing = || Some(Outcome::Missing { bundle: name.clone() });
        let newest = || self.candidate(job.policy)?.bundles.get(name).cloned();
        let tried = job.set.bundles.get(name).cloned();
        let content = if guards(Protection::Set) || job.is_trial { tried } else { newest() };
        let Some(content) = content else { return missing() };
        if let Some(bundle) = self.cache.find(name, &content.digest) {
            job.bundles.push(bundle);
            return None;
        }
        let Some(tracked) = self.tracked_by_name(name) else { return missing() };
        let payload = shared.get(&payload_key(&tracked.key, content.slot));
        let Some((archive, _)) = payload.and_then(|payload| open_payload(payload.value)) else {
            return missing();
        };
        let limit = content.size_limit_bytes.max(tracked.source.size_limit_bytes);
        job.reading = Some((Box::new(Reading::new(name, archive, limit)), content.digest));
        None
    }

    fn policy_name(&self, slot: &Slot, set: &Set) -> (String, BTreeMap<String, String>) {
        (slot.key.to_string(), set.digests())
    }

    fn finish(&mut self, job: Job, outcome: Outcome, now: Duration, shared: &dyn SharedData) {
        let Job { policy: index, lineage, set, is_trial, bundles, reading, compiling, .. } = job;
        let me = self.membership.vm();
        let retained = self.retained;
        let Some(slot) = self.policies.at_mut(index) else { return };
        let is_mine = |record: &PolicyRecord| {
            record.trial.as_ref().is_some_and(|trial| trial.mark.vm == me && trial.set.is_same(&set))
        };
        let written = sets::amend(&slot.key, 0, shared, |record| {
            if !is_trial {
                let before = record.adopting.len();
                record.adopting.retain(|mark| mark.vm != me);
                let is_over = record.adopting.len() < before;
                if is_over && matches!(outcome, Outcome::Compiled(_)) {
                    record.adopted = record.adopted.saturating_add(1);
                }
                return is_over;
            }
            if !is_mine(record) {
                return false;
            }
            match &outcome {
                Outcome::Compiled(_) => record.pass(retained),
                Outcome::Missing { .. } => record.trial = None,
                Outcome::Refused(cause) => {
                    record.trial = None;
                    record.reject(Rejection {
                        digests: set.digests(),
                        cause: cause.clone(),
                        since_ms: millis(now),
                        by: me,
                        module: sets::MODULE.to_owned(),
                    });
                }
            }
            true
        });
        self.untold |= is_trial;
        self.is_dropping = true;
        if let Some((reading, _)) = reading {
            reading.discard(&mut self.deferred);
        }
        if let Some(compiling) = compiling {
            compiling.discard(&mut self.deferred);
        }
        let passed = match written {
            Some((record, _)) => {
                let number = record.good.as_ref().map_or(0, |good| good.number);
                slot.record = Some((record, super::Seen::Absent));
                number
            }
            // Another VM has found this one to be too slow, and what it did is void.
            None if is_trial => {
                self.wanted.insert(index);
                return;
            }
            None => 0,
        };
        match outcome {
            Outcome::Compiled(policy) => {
                let number = if is_trial { passed } else { set.number };
                self.activate(index, Active { lineage, set: Set { number, ..set }, policy, bundles });
            }
            Outcome::Refused(cause) => {
                let kept =
                    if slot.active.is_some() { "the last good one decides" } else { "it is not ready" };
                let from = if slot.active.is_some() { "serving" } else { "pending" };
                self.reporter.push(Effect::Count(Counter::PolicyRejected));
                self.reporter.policy(Level::Error, &slot.name, from, "refused", &format!("{cause}; {kept}"));
                if !is_trial {
                    slot.unreadable = Some((set, cause));
                }
                self.unrecorded = true;
            }
            Outcome::Missing { bundle } => {
                let content = set.bundles.get(&bundle).cloned().unwrap_or_default();
                if !self.restore(&bundle, &content, now, shared)
                    && let Some(slot) = self.policies.at_mut(index)
                {
                    slot.unreadable = Some((set, format!("the payload of bundle `{bundle}` is gone")));
                }
                // The next round of comparing finds what has become of it.
                return;
            }
        }
        self.wanted.insert(index);
    }

    fn activate(&mut self, index: usize, active: Active) {
        let Some(slot) = self.policies.at(index) else { return };
        let from = if slot.active.is_some() { "serving" } else { "pending" };
        let before: Vec<_> =
            slot.config.bundles.iter().map(|name| (name.clone(), self.policies.serving(name))).collect();
        let exists = active.policy.decision_exists();
        let level = if exists { Level::Info } else { Level::Warn };
        let undefined = if exists {
            String::new()
        } else {
            format!("; no bundle defines `{}`, so every decision is undefined", slot.config.decision)
        };
        let cause = format!("made of {}{undefined}", made_of(&active.set));
        let number = active.set.number;
        // Told once, and again only if they change.
        let warnings = active.policy.warnings(&self.policies.input);
        let told = slot.active.as_ref().map(|before| before.policy.warnings(&self.policies.input));
        for warning in warnings.iter().filter(|_| told.as_ref() != Some(&warnings)) {
            let message = format!("policy `{}`: {warning}", slot.name);
            self.reporter.push(Effect::Log(Level::Warn, message));
        }
        let Some(slot) = self.policies.at_mut(index) else { return };
        slot.activate(active, &mut self.deferred);
        self.reporter.push(Effect::Count(Counter::PolicyCompiled));
        self.reporter.served(level, &slot.name, from, number, &cause);
        for (bundle, before) in before {
            let serving = self.policies.serving(&bundle);
            if serving != before && serving.is_some() {
                let from = before.map_or("none", |_| "serving");
                let record = self.tracked_by_name(&bundle).and_then(|tracked| tracked.record.as_ref());
                let epoch = record.map_or(0, |(record, _)| record.epoch);
                self.reporter.bundle(
                    &bundle,
                    from,
                    "serving",
                    serving,
                    epoch,
                    "every policy decides with it",
                );
            }
        }
        self.unrecorded = true;
    }
}

/// INVARIANT (monotone): a set with a bundle that is older than in the good one was read before that passed.
fn is_new(record: &PolicyRecord, set: &Set) -> bool {
    let is_new = |good: &Set| !good.is_same(set) && (!set.is_behind(good) || !guards(Protection::Monotone));
    record.good.as_ref().is_none_or(is_new)
}

// === impl Job ===

impl Job {
    fn new(policy: usize, lineage: u32, set: Set, is_trial: bool) -> Self {
        Self {
            policy,
            lineage,
            set,
            is_trial,
            is_marked: true,
            bundles: Vec::new(),
            reading: None,
            compiling: None,
        }
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { policy, set, is_trial, .. } = self;
        f.debug_struct("Job")
            .field("policy", policy)
            .field("set", set)
            .field("is_trial", is_trial)
            .finish_non_exhaustive()
    }
}
