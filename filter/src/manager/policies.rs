//! The policies of one VM: which set of bundles decides now, and what is known of each in all VMs.

use std::rc::Rc;

use super::{
    record,
    sets::{PolicyRecord, Set},
    shared::Seen,
};
use crate::{
    bundle::Bundle,
    config::{Config, InputConfig, PolicyConfig},
    policy::{DeferredDrop, EvaluationLimits, Policy},
};

/// Why a policy cannot decide now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The configuration has no policy of that name.
    #[error("there is no policy `{policy}`")]
    Unknown {
        /// The name asked for.
        policy: String,
    },
    /// A bundle has never been loaded.
    #[error("policy `{policy}`: bundle `{bundle}` is not loaded{fault}")]
    BundleMissing {
        /// The policy.
        policy: String,
        /// The first of its bundles that is missing.
        bundle: String,
        /// Why, if an attempt has failed; starts with a colon.
        fault: String,
    },
    /// All bundles are there, and the policy is about to be tried or compiled.
    #[error("policy `{policy}` is about to be compiled")]
    Pending {
        /// The policy.
        policy: String,
    },
    /// A bundle is older than it may be.
    #[error(
        "policy `{policy}`: bundle `{bundle}` is older than `portcullis.bundles.{bundle}.max_staleness_seconds`"
    )]
    Stale {
        /// The policy.
        policy: String,
        /// The bundle.
        bundle: String,
    },
    /// The bundles do not fit together.
    #[error("policy `{policy}`: {error}")]
    Rejected {
        /// The policy.
        policy: String,
        /// Why.
        error: String,
    },
    /// The bundles have ended a VM, and nothing was there before them.
    #[error("policy `{policy}`: quarantined: {cause}")]
    Quarantined {
        /// The policy.
        policy: String,
        /// What they did.
        cause: String,
    },
    /// Requests of the policy have ended VMs.
    #[error(
        "policy `{policy}`: quarantined: its requests have ended as many VMs in a minute as \
         `portcullis.limits.vm_failures` lets them"
    )]
    Closed {
        /// The policy.
        policy: String,
    },
}

/// The policies of one configuration, by name.
#[derive(Debug)]
pub(super) struct Policies {
    slots: Vec<Slot>,
    pub(super) limits: EvaluationLimits,
    /// What `input` has, for warnings.
    pub(super) input: InputConfig,
}

/// One configured policy.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: String,
    /// Of its record.
    pub(super) key: Rc<str>,
    pub(super) config: PolicyConfig,
    /// The record as it was last read, with its number.
    pub(super) record: Option<(PolicyRecord, Seen)>,
    pub(super) active: Option<Active>,
    /// Sets that passed elsewhere and could not be read here.
    pub(super) unreadable: Option<(Set, String)>,
}

/// What decides now. INVARIANT (last good): replaced by what has passed its trial, and by nothing else.
pub(super) struct Active {
    pub(super) lineage: u32,
    pub(super) set: Set,
    pub(super) policy: Rc<Policy>,
    pub(super) bundles: Vec<Rc<Bundle>>,
}

// === impl Policies ===

impl Policies {
    pub(super) fn new(config: &Config) -> Self {
        let slot = |(name, policy): (&String, &PolicyConfig)| Slot {
            name: name.clone(),
            key: record::policy_key(name, config).into(),
            config: policy.clone(),
            record: None,
            active: None,
            unreadable: None,
        };
        Self {
            slots: config.policies.iter().map(slot).collect(),
            limits: config.limits.evaluation,
            input: config.input.clone(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    pub(super) fn at(&self, index: usize) -> Option<&Slot> {
        self.slots.get(index)
    }

    pub(super) fn at_mut(&mut self, index: usize) -> Option<&mut Slot> {
        self.slots.get_mut(index)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.name.as_str())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Slot> {
        // In order of their names, as the configuration has them.
        let place = self.slots.binary_search_by(|slot| slot.name.as_str().cmp(name)).ok()?;
        self.slots.get(place)
    }

    /// The policies that are made of a bundle.
    pub(super) fn of_bundle(&self, bundle: &str) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(move |slot| slot.config.bundles.iter().any(|name| name == bundle))
    }

    pub(super) fn all_ready(&self) -> bool {
        !self.slots.is_empty() && self.slots.iter().all(|slot| slot.active.is_some())
    }

    /// Policies that can decide, and all.
    pub(super) fn ready(&self) -> (usize, usize) {
        (self.slots.iter().filter(|slot| slot.active.is_some()).count(), self.slots.len())
    }

    /// The generation of a bundle with which every policy decides that is made of it; none while one cannot decide.
    /// A bundle without policies is served by nobody.
    pub(super) fn serving(&self, bundle: &str) -> Option<u64> {
        let generations = self
            .of_bundle(bundle)
            .map(|slot| Some(slot.active.as_ref()?.set.bundles.get(bundle)?.generation));
        generations.collect::<Option<Vec<u64>>>()?.into_iter().min()
    }
}

// === impl Slot ===

impl Slot {
    pub(super) fn seen(&self) -> Option<Seen> {
        self.record.as_ref().map(|(_, seen)| *seen)
    }

    pub(super) fn known(&self) -> Option<&PolicyRecord> {
        self.record.as_ref().map(|(record, _)| record)
    }

    /// The number of the set that decides; 0 while none does.
    pub(super) fn generation(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.set.number)
    }

    pub(super) fn activate(&mut self, active: Active, deferred: &mut DeferredDrop) {
        self.unreadable = None;
        if let Some(replaced) = self.active.replace(active) {
            for bundle in replaced.bundles {
                // Other policies, or a plugin beside this one, may hold its data for a while.
                deferred.push(bundle.data.clone());
            }
        }
    }
}

// === impl Active ===

impl std::fmt::Debug for Active {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lineage, set, .. } = self;
        f.debug_struct("Active").field("lineage", lineage).field("set", set).finish_non_exhaustive()
    }
}

/// For the log: the bundles of a set with their revisions.
pub(super) fn made_of(set: &Set) -> String {
    let named: Vec<String> = set
        .bundles
        .iter()
        .map(|(name, content)| format!("`{name}` revision `{}`", content.revision))
        .collect();
    named.join(", ")
}
