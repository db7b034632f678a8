//! Transitions, reported once each, with the callback in which they happen.

use std::{collections::BTreeMap, time::Duration};

use log::Level;

use super::{
    Effect,
    record::{BundleRecord, VmName},
};
use crate::telemetry::{
    Counter, DownloadOutcome, LogLimiter, Scope, Subject, TRANSITIONS_PER_SECOND, Transition,
};

/// Writes transitions down, with the callback in which they happen.
#[derive(Debug)]
pub(super) struct Reporter {
    vm: String,
    on: String,
    turns: BTreeMap<&'static str, u64>,
    /// When the callback began.
    pub(super) now: Duration,
    limiter: LogLimiter,
    /// Lines left out since the last one.
    suppressed: u64,
    effects: Vec<Effect>,
}

// === impl Reporter ===

impl Reporter {
    pub(super) fn new(vm: VmName) -> Self {
        Self {
            vm: vm.to_string(),
            on: "start#1".to_owned(),
            turns: BTreeMap::new(),
            now: Duration::ZERO,
            limiter: LogLimiter::new(TRANSITIONS_PER_SECOND),
            suppressed: 0,
            effects: Vec::new(),
        }
    }

    pub(super) fn turn(&mut self, kind: &'static str) {
        let count = self.turns.entry(kind).or_default();
        *count += 1;
        self.on = format!("{kind}#{count}");
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(super) fn count(&mut self, bundle: &str, outcome: DownloadOutcome) {
        self.push(Effect::Count(Counter::Download { bundle: bundle.to_owned(), outcome }));
    }

    pub(super) fn registry(
        &mut self,
        bundle: &str,
        from: &str,
        to: &str,
        record: &BundleRecord,
        cause: &str,
    ) {
        let level = match to {
            "failing" => Level::Warn,
            "refused" | "quarantined" => Level::Error,
            _ => Level::Info,
        };
        let (generation, epoch) = (Some(record.generation), Some(record.epoch));
        self.report(level, Scope::Registry, Subject::Bundle(bundle), (from, to), (generation, epoch), cause);
    }

    pub(super) fn bundle(
        &mut self,
        bundle: &str,
        from: &str,
        to: &str,
        generation: Option<u64>,
        epoch: u64,
        cause: &str,
    ) {
        let level = if to == "refused" { Level::Error } else { Level::Info };
        self.report(level, Scope::Vm, Subject::Bundle(bundle), (from, to), (generation, Some(epoch)), cause);
    }

    pub(super) fn policy(&mut self, level: Level, policy: &str, from: &str, to: &str, cause: &str) {
        self.report(level, Scope::Vm, Subject::Policy(policy), (from, to), (None, None), cause);
    }

    /// A policy decides by another set.
    pub(super) fn served(&mut self, level: Level, policy: &str, from: &str, number: u64, cause: &str) {
        let subject = Subject::Policy(policy);
        self.report(level, Scope::Vm, subject, (from, "serving"), (Some(number), None), cause);
    }

    pub(super) fn member(&mut self, place: usize, from: &str, to: &str, cause: &str) {
        let level = if to == "lost" { Level::Warn } else { Level::Info };
        self.report(level, Scope::Vm, Subject::Member(place), (from, to), (None, None), cause);
    }

    pub(super) fn report(
        &mut self,
        level: Level,
        scope: Scope,
        subject: Subject<'_>,
        (from, to): (&str, &str),
        (generation, epoch): (Option<u64>, Option<u64>),
        cause: &str,
    ) {
        if !self.limiter.admit(self.now) {
            self.suppressed += 1;
            return self.push(Effect::Count(Counter::LogSuppressed));
        }
        let suppressed = std::mem::take(&mut self.suppressed);
        let (vm, on) = (self.vm.as_str(), self.on.as_str());
        let transition =
            Transition { scope, vm, on, subject, from, to, generation, epoch, cause, suppressed };
        let line = transition.to_string();
        self.effects.push(Effect::Log(level, line));
    }
}
