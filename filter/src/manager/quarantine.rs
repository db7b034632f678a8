//! What has ended a VM, or kept one from going on, while it was read or compiled: nobody tries it again.
//!
//! A conviction names the bundles that were new when it happened, and those around them. It holds for every policy with
//! all of the new ones, for as long as their bytes, the configuration and the module's version are the same; when what
//! is around them changes, they are tried once more: it may have been that.

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

/// Digests by the key of the bundle's record.
pub(super) type Digests = BTreeMap<String, String>;

/// Bundles that end a VM together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Conviction {
    /// Never empty.
    pub(super) suspects: Digests,
    /// What else was in the sets that ended VMs, at most two: with the second, it is known to be the suspects.
    around: Vec<Digests>,
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

    /// What was found out about bundles that are to decide together, if anything.
    pub(super) fn of_set(&self, set: &Digests) -> Option<&Conviction> {
        self.valid().find(|conviction| {
            let is_suspect = |(key, _): &(&String, &String)| conviction.suspects.contains_key(*key);
            let are_there = conviction.suspects.iter().all(|(key, digest)| set.get(key) == Some(digest));
            let around = set.iter().filter(|it| !is_suspect(it));
            are_there
                && match conviction.around.as_slice() {
                    [seen] => !seen.keys().eq(around.clone().map(|(key, _)| key)) || seen.iter().eq(around),
                    _ => true,
                }
        })
    }

    /// What was found out about a bundle, whatever is around it.
    pub(super) fn of_bundle(&self, key: &str, digest: &str) -> Option<&Conviction> {
        self.valid().find(|Conviction { suspects, around, .. }| {
            let is_alone = suspects.len() == 1 && (around.len() > 1 || around.iter().all(Digests::is_empty));
            is_alone && suspects.get(key).is_some_and(|known| known == digest)
        })
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.convictions.is_empty()
    }

    fn valid(&self) -> impl Iterator<Item = &Conviction> {
        self.convictions.iter().filter(|it| it.plugin == self.plugin && it.module == MODULE)
    }

    /// Whether it is known what this VM ended at.
    pub(super) fn names(&self, vm: VmName) -> bool {
        self.convictions.iter().any(|conviction| conviction.ended == vm)
    }

    /// Writes a conviction down. False if it is known, or if it could not be written.
    pub(super) fn convict(
        &mut self,
        (suspects, around): (Digests, Digests),
        cause: String,
        (ended, by): (VmName, VmName),
        now: Duration,
        shared: &dyn SharedData,
    ) -> bool {
        let module = MODULE.to_owned();
        let (since_ms, plugin) = (millis(now), self.plugin);
        let conviction =
            Conviction { suspects, around: vec![around], cause, since_ms, ended, by, plugin, module };
        if conviction.suspects.is_empty() {
            return false;
        }
        for _ in 0..MAX_TRIES {
            let Some((found, seen)) = record::read::<Vec<Conviction>>(shared, &Self::key()) else { continue };
            let mut convictions = found.unwrap_or_default();
            let is_known = |known: &Conviction| {
                (&known.suspects, known.plugin, &known.module)
                    == (&conviction.suspects, conviction.plugin, &conviction.module)
            };
            let mut conviction = conviction.clone();
            if let Some(place) = convictions.iter().position(is_known) {
                let known = convictions.remove(place);
                if known.around.len() > 1 || known.around == conviction.around {
                    return false;
                }
                conviction.around.extend(known.around);
            }
            convictions.push(conviction);
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
