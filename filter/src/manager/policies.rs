//! The policies made of the bundles: which one decides now, and which must be compiled anew.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use log::Level;

use super::{Effect, download::Download};
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
    /// The bundles do not fit together.
    #[error("policy `{policy}`: {error}")]
    Rejected {
        /// The policy.
        policy: String,
        /// Why.
        error: PolicyError,
    },
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

    pub(super) fn all_ready(&self) -> bool {
        !self.slots.is_empty() && self.slots.values().all(|slot| slot.active.is_some())
    }

    pub(super) fn get(&self, name: &str, downloads: &[Download]) -> Result<&Rc<Policy>, NotReady> {
        let policy = || name.to_owned();
        let Some(slot) = self.slots.get(name) else {
            return Err(NotReady::Unknown { policy: policy() });
        };
        if let Some(ActivePolicy(active)) = &slot.active {
            return Ok(active);
        }
        let missing = slot.config.bundles.iter().find(|bundle| active_bundle(downloads, bundle).is_none());
        Err(match (missing, &slot.error) {
            (Some(bundle), _) => {
                let download = downloads.iter().find(|download| download.name() == bundle.as_str());
                let fault =
                    download.and_then(Download::fault).map(|fault| format!(": {fault}")).unwrap_or_default();
                NotReady::BundleMissing { policy: policy(), bundle: bundle.clone(), fault }
            }
            (None, Some(error)) if !slot.stale => {
                NotReady::Rejected { policy: policy(), error: error.clone() }
            }
            (None, _) => NotReady::Pending { policy: policy() },
        })
    }

    /// Compiles the first policy whose bundles have changed and are all there.
    pub(super) fn adopt(&mut self, downloads: &[Download]) -> Vec<Effect> {
        let Some((name, slot)) = self.slots.iter_mut().find(|(_, slot)| slot.stale) else {
            return Vec::new();
        };
        slot.stale = false;
        let bundles: Option<Vec<Rc<Bundle>>> =
            slot.config.bundles.iter().map(|bundle| active_bundle(downloads, bundle)).collect();
        // Stale again as soon as the missing one arrives.
        let Some(bundles) = bundles else {
            return Vec::new();
        };
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
                let message = format!("policy `{name}` is active, made of {}{undefined}", made_of(&bundles));
                vec![Effect::Count(Counter::PolicyCompiled), Effect::Log(level, message)]
            }
            Err(error) => {
                let kept =
                    if slot.active.is_some() { "the last good one decides" } else { "it is not ready" };
                let message = format!("policy `{name}`: {error}; {kept}");
                slot.error = Some(error);
                vec![Effect::Count(Counter::PolicyRejected), Effect::Log(Level::Error, message)]
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

fn active_bundle(downloads: &[Download], name: &str) -> Option<Rc<Bundle>> {
    let download = downloads.iter().find(|download| download.name() == name)?;
    download.active().map(|active| Rc::clone(&active.bundle))
}

fn made_of(bundles: &[Rc<Bundle>]) -> String {
    let named: Vec<String> = bundles
        .iter()
        .map(|bundle| format!("`{}` revision `{}`", bundle.name, bundle.manifest.revision))
        .collect();
    named.join(", ")
}
