//! What has ended a VM, or kept one from going on, while it was read or compiled: nobody tries it again.
//!
//! A conviction names the bundles that were new when it happened. It holds for every policy with all of them, for as
//! long as their bytes, the configuration and the module's version are the same.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    record::{self, SCHEMA, VmName, millis},
    sets::MODULE,
    shared::{Seen, SharedData},
};

/// Most convictions that are remembered, the newest ones (INVARIANT bounded).
const MAX_CONVICTIONS: usize = 64;
const MAX_TRIES: usize = 8;

/// Bundles that end a VM together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Conviction {
    /// Digests by the key of the bundle's record. Never empty.
    pub(super) suspects: BTreeMap<String, String>,
    pub(super) cause: String,
    pub(super) since_ms: u64,
    /// The VM that has ended.
    pub(super) ended: VmName,
    /// The VM that found it.
    pub(super) by: VmName,
    pub(super) plugin: u32,
    pub(super) module: String,
}

/// The convictions as they were last read.
#[derive(Debug)]
pub(super) struct Quarantine {
    plugin: u32,
    convictions: Vec<Conviction>,
    seen: Option<Seen>,
}

// === impl Quarantine ===

impl Quarantine {
    pub(super) fn new(plugin: u32) -> Self {
        Self { plugin, convictions: Vec::new(), seen: None }
    }

    fn key() -> String {
        format!("{SCHEMA}/quarantine")
    }

    /// Reads it anew, if it has changed.
    pub(super) fn refresh(&mut self, shared: &dyn SharedData) {
        if let Some((found, seen)) = record::read_unless(shared, &Self::key(), self.seen)
            && self.seen != Some(seen)
        {
            self.convictions = found.unwrap_or_default();
            self.seen = Some(seen);
        }
    }

    /// What was found out about these bundles, if anything. Shape: digests by the key of the bundle's record.
    pub(super) fn holds(&self, digest_of: impl Fn(&str) -> Option<String>) -> Option<&Conviction> {
        let convictions =
            self.convictions.iter().filter(|it| it.plugin == self.plugin && it.module == MODULE);
        let mut held = convictions.filter(|conviction| {
            conviction.suspects.iter().all(|(key, digest)| digest_of(key).as_ref() == Some(digest))
        });
        held.next()
    }

    /// Whether it is known what this VM ended at.
    pub(super) fn names(&self, vm: VmName) -> bool {
        self.convictions.iter().any(|conviction| conviction.ended == vm)
    }

    /// Writes a conviction down. False if it is known, or if it could not be written.
    pub(super) fn convict(
        &mut self,
        suspects: BTreeMap<String, String>,
        cause: String,
        (ended, by): (VmName, VmName),
        now: Duration,
        shared: &dyn SharedData,
    ) -> bool {
        let module = MODULE.to_owned();
        let conviction =
            Conviction { suspects, cause, since_ms: millis(now), ended, by, plugin: self.plugin, module };
        for _ in 0..MAX_TRIES {
            let Some((found, seen)) = record::read::<Vec<Conviction>>(shared, &Self::key()) else { continue };
            let mut convictions = found.unwrap_or_default();
            let is_known = |known: &Conviction| {
                (&known.suspects, known.plugin, &known.module)
                    == (&conviction.suspects, conviction.plugin, &conviction.module)
            };
            if conviction.suspects.is_empty() || convictions.iter().any(is_known) {
                return false;
            }
            convictions.push(conviction.clone());
            let surplus = convictions.len().saturating_sub(MAX_CONVICTIONS);
            convictions.drain(..surplus);
            if record::write(shared, &Self::key(), &convictions, seen) {
                self.refresh(shared);
                return true;
            }
        }
        false
    }
}
