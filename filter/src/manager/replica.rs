//! What one VM serves of one bundle, and how it comes to the newest.

use std::rc::Rc;

use super::{
    record::{self, BundleRecord, open_payload, payload_key},
    shared::SharedData,
    shelf::Shelf,
};
use crate::{
    bundle::{Bundle, Reading},
    config::BundleSource,
    hooks::{Protection, guards},
    policy::Disposal,
};

/// A generation, and the record's lineage within which it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) lineage: u32,
    pub(super) generation: u64,
}

/// This VM's copy of a bundle.
#[derive(Debug, Default)]
pub(super) struct Replica {
    /// INVARIANT (last good): replaced by what is newer and whole, and by nothing else.
    serving: Option<(Version, Rc<Bundle>)>,
    coming: Option<Coming>,
    /// What was published and could not be read here; it is not tried again.
    refused: Option<(Version, String)>,
}

#[derive(Debug)]
enum Coming {
    Wanted(Version, String),
    Reading(Version, Box<Reading<Vec<u8>>>),
}

/// What a step of work on a replica came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More is to do.
    More,
    /// It serves another generation now.
    Serving { from: Option<Version> },
    /// It cannot serve what is published.
    Refused(String),
    /// The payload has been replaced: the record must be read again.
    Superseded,
    /// The payload of what the record still says is active is not there.
    Missing(Version),
}

// === impl Version ===

impl Version {
    pub(super) fn of(record: &BundleRecord) -> Self {
        Self { lineage: record.lineage, generation: record.generation }
    }

    /// INVARIANT (monotone): a generation never goes back. A record that was made anew, because Envoy dropped the data,
    /// counts anew.
    fn replaces(self, other: Option<Self>) -> bool {
        let Some(other) = other.filter(|other| other.lineage == self.lineage) else {
            return self.generation > 0;
        };
        let is_newer = self.generation > other.generation;
        is_newer || (!guards(Protection::Monotone) && self.generation != other.generation)
    }
}

// === impl Replica ===

impl Replica {
    pub(super) fn bundle(&self) -> Option<&Rc<Bundle>> {
        self.serving.as_ref().map(|(_, bundle)| bundle)
    }

    pub(super) fn version(&self) -> Option<Version> {
        self.serving.as_ref().map(|(version, _)| *version)
    }

    /// Why it does not serve what is published.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refused.as_ref().map(|(_, message)| message.as_str())
    }

    pub(super) fn has_work(&self) -> bool {
        self.coming.is_some()
    }

    /// Looks at the record: what is newer than all that is served, coming or refused is wanted. True if it is.
    pub(super) fn compare(&mut self, record: &BundleRecord, disposal: &mut Disposal) -> bool {
        let published = Version::of(record);
        let coming = self.coming.as_ref().map(|coming| match coming {
            Coming::Wanted(version, _) | Coming::Reading(version, _) => *version,
        });
        let refused = self.refused.as_ref().map(|(version, _)| *version);
        let wanted = [self.version(), coming, refused].into_iter().all(|known| published.replaces(known));
        if wanted {
            let coming = Coming::Wanted(published, record.digest.clone());
            if let Some(Coming::Reading(_, reading)) = self.coming.replace(coming) {
                reading.discard(disposal);
            }
        }
        wanted
    }

    /// Does a small piece of the work.
    pub(super) fn step(
        &mut self,
        name: &str,
        key: &str,
        source: &BundleSource,
        shelf: &Shelf,
        disposal: &mut Disposal,
        shared: &dyn SharedData,
    ) -> Step {
        match self.coming.take() {
            None => Step::Superseded,
            Some(Coming::Wanted(version, digest)) => {
                if let Some(bundle) = shelf.find(name, &digest) {
                    return self.serve(version, bundle, disposal);
                }
                let payload = shared.get(&payload_key(key, version.generation));
                match payload.and_then(|read| open_payload(read.value)) {
                    Some((archive, generation))
                        if generation == version.generation || !guards(Protection::PayloadGeneration) =>
                    {
                        let reading = Box::new(Reading::new(name, archive, source.size_limit_bytes));
                        self.coming = Some(Coming::Reading(version, reading));
                        Step::More
                    }
                    // A payload goes only after the record names another generation.
                    _ => match record::read::<BundleRecord>(shared, key) {
                        Some((Some(record), _)) if Version::of(&record) == version => Step::Missing(version),
                        _ => Step::Superseded,
                    },
                }
            }
            Some(Coming::Reading(version, mut reading)) => match reading.step() {
                None => {
                    self.coming = Some(Coming::Reading(version, reading));
                    Step::More
                }
                Some(Ok(bundle)) => self.serve(version, shelf.keep(bundle), disposal),
                Some(Err(error)) => {
                    self.refused = Some((version, error.to_string()));
                    Step::Refused(error.to_string())
                }
            },
        }
    }

    /// Serves a bundle that is whole, unless something newer is served already.
    pub(super) fn serve(&mut self, version: Version, bundle: Rc<Bundle>, disposal: &mut Disposal) -> Step {
        let from = self.version();
        if !version.replaces(from) {
            return Step::Superseded;
        }
        if let Some((_, replaced)) = self.serving.replace((version, bundle)) {
            // The policies over it, or a plugin beside this one, may hold its data for a while.
            disposal.push(replaced.data.clone());
        }
        self.refused = None;
        Step::Serving { from }
    }
}
