//! Which bundles decide together: one record per policy, with the set that has passed its trial, and the ones before.
//!
//! A set is on trial before it is good. Whoever tries it, or takes it over from those who did, first leaves a mark in
//! the record; a mark whose VM has ended convicts the set. So what ends a VM ends no second one, and what works stays
//! until what replaces it has been shown to work (INVARIANT last good).

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    record::{self, VmName, millis},
    shared::{Seen, SharedData},
};

/// Most sets that are remembered as rejected, the newest ones: older ones cannot be published any more.
const MAX_REJECTED: usize = 8;
/// Others write a record when they begin or end something, so a second try is rare and an eighth a host at fault.
const MAX_TRIES: usize = 8;

/// What is known of one policy in all VMs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct PolicyRecord {
    /// Drawn when the record was made: sets count within one.
    pub(super) lineage: u32,
    /// The set that has passed last.
    pub(super) good: Option<Set>,
    /// The ones before it, newest first.
    pub(super) kept: Vec<Set>,
    /// What is being tried.
    pub(super) trial: Option<Trial>,
    /// What does not compile, oldest first.
    pub(super) rejected: Vec<Rejection>,
    /// Who is about to take the good set over.
    pub(super) adopting: Vec<Mark>,
    /// How many have taken it over, the one that tried it included.
    pub(super) adopted: u32,
}

/// Bundles that are served together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Set {
    /// Counts the sets that have passed, from 1; 0 before it has.
    pub(super) number: u64,
    /// By name of the bundle.
    pub(super) bundles: BTreeMap<String, Content>,
}

/// One generation of one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) lineage: u32,
    pub(super) generation: u64,
    pub(super) digest: String,
    pub(super) revision: String,
    /// Where its payload is, as long as a set has it.
    pub(super) slot: usize,
    /// How much it may inflate to.
    pub(super) size_limit_bytes: u64,
}

/// A set on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trial {
    pub(super) set: Set,
    pub(super) mark: Mark,
}

/// Who is at it, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) vm: VmName,
    /// Its place among the members, once it has one.
    pub(super) member: Option<usize>,
    pub(super) since_ms: u64,
    /// It ended at this, and could say so.
    pub(super) has_ended: bool,
}

/// A set that does not compile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rejection {
    /// Digests by name of the bundle.
    pub(super) digests: BTreeMap<String, String>,
    pub(super) cause: String,
    pub(super) since_ms: u64,
    /// Whose verdict it is.
    pub(super) by: VmName,
    /// The version of the module that gave it: another one may know better.
    pub(super) module: String,
}

/// The version of this module, for verdicts that hold for it alone.
pub(super) const MODULE: &str = env!("CARGO_PKG_VERSION");

// === impl Set ===

impl Set {
    pub(super) fn digests(&self) -> BTreeMap<String, String> {
        self.bundles.iter().map(|(name, content)| (name.clone(), content.digest.clone())).collect()
    }

    /// Whether the bundles are the same generations.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.bundles == other.bundles
    }

    /// Whether a bundle is of a generation before that in the other: whoever made this set has read its record earlier.
    pub(super) fn is_behind(&self, other: &Self) -> bool {
        self.bundles.iter().any(|(name, content)| {
            let is_later = |it: &Content| it.lineage == content.lineage && it.generation > content.generation;
            other.bundles.get(name).is_some_and(is_later)
        })
    }

    pub(super) fn has(&self, bundle: &str, lineage: u32, generation: u64) -> bool {
        self.bundles
            .get(bundle)
            .is_some_and(|content| (content.lineage, content.generation) == (lineage, generation))
    }
}

// === impl PolicyRecord ===

impl PolicyRecord {
    /// The sets that have passed, newest first.
    pub(super) fn passed(&self) -> impl Iterator<Item = &Set> {
        self.good.iter().chain(&self.kept)
    }

    /// Why a set does not compile, if that is known.
    pub(super) fn rejection(&self, set: &Set) -> Option<&Rejection> {
        let is_it = |rejection: &&Rejection| {
            rejection.module == MODULE
                && rejection.digests.len() == set.bundles.len()
                && set
                    .bundles
                    .iter()
                    .all(|(name, content)| rejection.digests.get(name) == Some(&content.digest))
        };
        self.rejected.iter().find(is_it)
    }

    /// Whether a set that is good or kept has this generation of a bundle, or the one on trial.
    pub(super) fn needs(&self, bundle: &str, lineage: u32, generation: u64) -> bool {
        let trial = self.trial.iter().map(|trial| &trial.set);
        self.passed().chain(trial).any(|set| set.has(bundle, lineage, generation))
    }

    pub(super) fn reject(&mut self, rejection: Rejection) {
        self.rejected.retain(|known| known.digests != rejection.digests);
        self.rejected.push(rejection);
        let surplus = self.rejected.len().saturating_sub(MAX_REJECTED);
        self.rejected.drain(..surplus);
    }

    /// The set on trial has passed.
    pub(super) fn pass(&mut self, retained: usize) {
        let Some(Trial { mut set, .. }) = self.trial.take() else { return };
        let last = self.good.as_ref().map_or(0, |good| good.number);
        set.number = last + 1;
        if let Some(replaced) = self.good.replace(set) {
            self.kept.insert(0, replaced);
        }
        self.kept.truncate(retained);
        self.adopting.clear();
        self.adopted = 1;
    }
}

/// Changes a record over what was read. `change` says whether there is anything to change, and may be asked again.
pub(super) fn amend(
    key: &str,
    lineage: u32,
    shared: &dyn SharedData,
    mut change: impl FnMut(&mut PolicyRecord) -> bool,
) -> Option<(PolicyRecord, Seen)> {
    for _ in 0..MAX_TRIES {
        let Some((found, seen)) = record::read::<PolicyRecord>(shared, key) else { continue };
        let mut policy = found.unwrap_or_else(|| PolicyRecord { lineage, ..PolicyRecord::default() });
        if !change(&mut policy) {
            return None;
        }
        if record::write(shared, key, &policy, seen) {
            return Some((policy, seen));
        }
    }
    None
}

impl Mark {
    pub(super) fn new(vm: VmName, member: Option<usize>, now: Duration) -> Self {
        Self { vm, member, since_ms: millis(now), has_ended: false }
    }
}
