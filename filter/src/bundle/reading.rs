//! Reading a bundle in steps: a worker that reads ten megabytes must be able to serve requests in between.

use std::{fmt, mem};

use sha2::{Digest, Sha256};

use super::{
    ArchiveError, Bundle, BundleError,
    archive::{Inflating, Listing},
    contents::Contents,
};
use crate::policy::{DeferredDrop, segments::Joining};

const HASHED_PER_STEP: usize = 32 << 10;

/// A bundle on its way from bytes to [`Bundle`].
///
/// Shape: call [`step`](Self::step) until it gives the result, now or in a later callback; there is no clock inside.
/// One step takes a fraction of a millisecond, but for a Rego file, a YAML file or a single huge string: each of
/// those is one step.
/// Errors: as [`Bundle::read`], of which this is the inside. What was read of a faulty bundle is freed in steps, too,
/// before the error is given.
pub struct Reading<A = Vec<u8>> {
    name: String,
    digest: String,
    size_limit_bytes: u64,
    stage: Stage<A>,
    garbage: DeferredDrop,
}

enum Stage<A> {
    Hashing { archive: A, hasher: Sha256, at: usize },
    Inflating(Inflating<A>),
    Joining(Joining<u8>),
    Listing { inflated: Vec<u8>, listing: Listing },
    Reading(Box<Contents>),
    Failed(BundleError),
    Over,
}

// === impl Reading ===

impl<A: AsRef<[u8]>> Reading<A> {
    /// Begins with an archive. `size_limit_bytes` bounds what it inflates to, all files together, and
    /// with one for every eight bytes the values of its data.
    pub fn new(name: &str, archive: A, size_limit_bytes: u64) -> Self {
        let stage = Stage::Hashing { archive, hasher: Sha256::new(), at: 0 };
        Self {
            name: name.to_owned(),
            digest: String::new(),
            size_limit_bytes,
            stage,
            garbage: DeferredDrop::default(),
        }
    }

    /// SHA-256 of the archive, in hex; known long before the rest.
    pub fn digest(&self) -> Option<&str> {
        Some(self.digest.as_str()).filter(|digest| !digest.is_empty())
    }

    /// Does a bounded piece of work. The result comes once; after it, there is nothing more to do.
    pub fn step(&mut self) -> Option<Result<Bundle, BundleError>> {
        if self.garbage.step() {
            return None;
        }
        let next = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Failed(error) => return Some(Err(error)),
            Stage::Reading(mut contents) => match contents.step(&mut self.garbage) {
                Some(Ok(())) => return Some(Ok(contents.into_bundle())),
                Some(Err(error)) => {
                    contents.discard(&mut self.garbage);
                    Err(error)
                }
                None => Ok(Stage::Reading(contents)),
            },
            stage => self.unpack(stage).map_err(BundleError::from),
        };
        self.stage = next.unwrap_or_else(Stage::Failed);
        None
    }

    /// Gives the reading up and hands over what it has read, to be freed in steps.
    pub fn discard(self, deferred: &mut DeferredDrop) {
        if let Stage::Reading(contents) = self.stage {
            contents.discard(deferred);
        }
        deferred.append(self.garbage);
    }

    fn unpack(&mut self, stage: Stage<A>) -> Result<Stage<A>, ArchiveError> {
        Ok(match stage {
            Stage::Hashing { archive, hasher, .. } if archive.as_ref().is_empty() => {
                self.digest = format!("{:x}", hasher.finalize());
                return Err(ArchiveError::Empty);
            }
            Stage::Hashing { archive, mut hasher, at } => {
                let rest = archive.as_ref().get(at..).unwrap_or_default();
                match rest.get(..HASHED_PER_STEP) {
                    Some(piece) => {
                        hasher.update(piece);
                        Stage::Hashing { archive, hasher, at: at + HASHED_PER_STEP }
                    }
                    None => {
                        hasher.update(rest);
                        self.digest = format!("{:x}", hasher.finalize());
                        Stage::Inflating(Inflating::new(archive, self.size_limit_bytes))
                    }
                }
            }
            Stage::Inflating(mut inflating) => match inflating.step() {
                Some(inflated) => match inflated?.join() {
                    Ok(inflated) => Stage::Listing { inflated, listing: Listing::default() },
                    Err(joining) => Stage::Joining(joining),
                },
                None => Stage::Inflating(inflating),
            },
            Stage::Joining(mut joining) => match joining.step() {
                Some(inflated) => Stage::Listing { inflated, listing: Listing::default() },
                None => Stage::Joining(joining),
            },
            Stage::Listing { inflated, mut listing } => match listing.step(&inflated) {
                Some(files) => Stage::Reading(Box::new(Contents::new(
                    &self.name,
                    &self.digest,
                    inflated,
                    files?,
                    self.size_limit_bytes,
                ))),
                None => Stage::Listing { inflated, listing },
            },
            stage => stage,
        })
    }
}

impl<A> fmt::Debug for Reading<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Hashing { .. } => "hashing",
            Stage::Inflating(_) | Stage::Joining(_) => "inflating",
            Stage::Listing { .. } => "listing",
            Stage::Reading(_) => "reading",
            Stage::Failed(_) | Stage::Over => "over",
        };
        f.debug_struct("Reading").field("name", &self.name).field("stage", &stage).finish_non_exhaustive()
    }
}
