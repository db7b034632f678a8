//! The policies made of the bundles: which one decides now, and which must be compiled anew.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use log::Level;

use super::{Effect, teller::Teller};
use crate::{
    bundle::Bundle,
    config::{Config, PolicyConfig},
    policy::{Policy, PolicyError},
    telemetry::Counter,
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
    /// All bundles are there, and the policy is about to be compiled.
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
        error: PolicyError,
    },
}

/// The bundles of a VM, by name.
pub(super) trait Bundles {
    /// What this VM serves of it.
    fn serving(&self, bundle: &str) -> Option<Rc<Bundle>>;
    /// Why there is nothing, or nothing newer.
    fn fault(&self, bundle: &str) -> Option<String>;
}

#[derive(Debug)]
pub(super) struct Policies {
    slots: BTreeMap<String, Slot>,
    time_limit: Duration,
}

#[derive(Debug)]
struct Slot {
    config: PolicyConfig,
    active: Option<ActivePolicy>,
    /// A bundle has changed since the last attempt to compile.
    stale: bool,
    error: Option<PolicyError>,
}

struct ActivePolicy(Rc<Policy>);

// === impl Policies ===

impl Policies {
    pub(super) fn new(config: &Config) -> Self {
        let slot =
            |policy: &PolicyConfig| Slot { config: policy.clone(), active: None, stale: false, error: None };
        let slots = config.policies.iter().map(|(name, policy)| (name.clone(), slot(policy)));
        Self { slots: slots.collect(), time_limit: config.limits.evaluation }
    }

    pub(super) fn bundle_changed(&mut self, bundle: &str) {
        for slot in self.slots.values_mut() {
            slot.stale |= slot.config.bundles.iter().any(|name| name == bundle);
        }
    }

    pub(super) fn has_pending(&self) -> bool {
        self.slots.values().any(|slot| slot.stale)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.keys().map(String::as_str)
    }

    /// Names of the bundles that a policy is made of.
    pub(super) fn bundles(&self, policy: &str) -> impl Iterator<Item = &str> {
        self.slots.get(policy).into_iter().flat_map(|slot| &slot.config.bundles).map(String::as_str)
    }

    pub(super) fn all_ready(&self) -> bool {
        !self.slots.is_empty() && self.slots.values().all(|slot| slot.active.is_some())
    }

    pub(super) fn get(&self, name: &str, bundles: &dyn Bundles) -> Result<&Rc<Policy>, NotReady> {
        let policy = || name.to_owned();
        let Some(slot) = self.slots.get(name) else {
            return Err(NotReady::Unknown { policy: policy() });
        };
        if let Some(ActivePolicy(active)) = &slot.active {
            return Ok(active);
        }
        let missing = slot.config.bundles.iter().find(|bundle| bundles.serving(bundle).is_none());
        Err(match (missing, &slot.error) {
            (Some(bundle), _) => {
                let fault = bundles.fault(bundle).map(|fault| format!(": {fault}")).unwrap_or_default();
                NotReady::BundleMissing { policy: policy(), bundle: bundle.clone(), fault }
            }
            (None, Some(error)) if !slot.stale => {
                NotReady::Rejected { policy: policy(), error: error.clone() }
            }
            (None, _) => NotReady::Pending { policy: policy() },
        })
    }

    /// Policies that can decide, and all.
    pub(super) fn ready(&self) -> (usize, usize) {
        (self.slots.values().filter(|slot| slot.active.is_some()).count(), self.slots.len())
    }

    /// Compiles the first policy whose bundles have changed and are all there.
    pub(super) fn adopt(&mut self, served: &dyn Bundles, teller: &mut Teller) {
        let Some((name, slot)) = self.slots.iter_mut().find(|(_, slot)| slot.stale) else {
            return;
        };
        slot.stale = false;
        let bundles: Option<Vec<Rc<Bundle>>> =
            slot.config.bundles.iter().map(|bundle| served.serving(bundle)).collect();
        // Stale again as soon as the missing one arrives.
        let Some(bundles) = bundles else {
            return;
        };
        let from = if slot.active.is_some() { "serving" } else { "pending" };
        let parts: Vec<_> = bundles.iter().map(|bundle| bundle.part()).collect();
        match Policy::compile(&slot.config.decision, &parts, self.time_limit) {
            Ok(policy) => {
                let level = if policy.decision_exists { Level::Info } else { Level::Warn };
                let undefined = if policy.decision_exists {
                    String::new()
                } else {
                    format!("; no bundle defines `{}`, so every decision is undefined", slot.config.decision)
                };
                slot.active = Some(ActivePolicy(Rc::new(policy)));
                slot.error = None;
                teller.push(Effect::Count(Counter::PolicyCompiled));
                teller.policy(
                    level,
                    name,
                    from,
                    "serving",
                    &format!("made of {}{undefined}", made_of(&bundles)),
                );
            }
            Err(error) => {
                let kept =
                    if slot.active.is_some() { "the last good one decides" } else { "it is not ready" };
                teller.push(Effect::Count(Counter::PolicyRejected));
                teller.policy(Level::Error, name, from, "refused", &format!("{error}; {kept}"));
                slot.error = Some(error);
            }
        }
    }
}

// === impl ActivePolicy ===

impl std::fmt::Debug for ActivePolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ActivePolicy")
    }
}

fn made_of(bundles: &[Rc<Bundle>]) -> String {
    let named: Vec<String> = bundles
        .iter()
        .map(|bundle| format!("`{}` revision `{}`", bundle.name, bundle.manifest.revision))
        .collect();
    named.join(", ")
}
