//! Bytes → verified [`Bundle`]: OPA's bundle format, checked as a whole before anything of it is used.
//!
//! Only the names that OPA reads count, and only at their own place: OPA takes any file whose name ends in
//! `.manifest` for the manifest, wherever it lies, so that a nested one can replace it; here it must be at the root.

mod archive;
mod contents;
mod manifest;
mod reading;

use crate::policy::{self, Conflict, Module, ModuleError, Value};

pub use archive::ArchiveError;
pub use manifest::{Manifest, ManifestError};
pub use reading::Reading;

/// A bundle whose every part has been read and fits its manifest.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The name that the configuration gives it.
    pub name: String,
    /// SHA-256 of the archive, in hex.
    pub digest: String,
    /// What the bundle says of itself.
    pub manifest: Manifest,
    /// Its Rego files.
    pub modules: Vec<Module>,
    /// Its data, below `data`, with its manifest where OPA puts it: `data.system.bundles[name].manifest`.
    pub data: Value,
}

/// Why an archive is no bundle that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The manifest is at fault.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A Rego file is at fault.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// A file that must be text is not.
    #[error("{path}: it is not UTF-8 text")]
    NotText {
        /// The file's path in the archive.
        path: String,
    },
    /// A data file does not parse.
    #[error("{path}: {message}")]
    Data {
        /// The file's path in the archive.
        path: String,
        /// The parser's message, with line and column.
        message: String,
    },
    /// The data has too many values, however short their text.
    #[error(
        "{path}: the data of the bundle has more than {limit} values, one for every 8 bytes of `size_limit_bytes`; raise \
         that or split the bundle"
    )]
    Values {
        /// The path in the archive of the file where they become too many.
        path: String,
        /// How many there may be.
        limit: usize,
    },
    /// The root data file holds something else than an object.
    #[error("{path}: the root of the data must be an object")]
    RootNotObject {
        /// The file's path in the archive.
        path: String,
    },
    /// Two data files claim one place.
    #[error("{path}: {conflict}")]
    Conflict {
        /// The later file's path in the archive.
        path: String,
        /// The place.
        conflict: Conflict,
    },
    /// A file lies outside the manifest's roots.
    #[error("{what} lies outside the manifest's roots; add its path to `roots` or move it")]
    OutsideRoots {
        /// The data path or the file with its package.
        what: String,
    },
    /// The archive asks for something that this filter does not do.
    #[error("{path}: {why}")]
    Unsupported {
        /// The file's path in the archive.
        path: String,
        /// What is not done, and the cure.
        why: &'static str,
    },
}

// === impl Bundle ===

impl Bundle {
    /// Reads an archive in one go: gzip-compressed tar, as `opa build` writes it. [`Reading`] does it in steps.
    ///
    /// Shape: `size_limit_bytes` bounds what the archive inflates to, all files together, and with one for every eight
    /// bytes the values of its data.
    /// Errors: [`BundleError`], with the place in the archive; nothing of a faulty archive is kept.
    pub fn read(name: &str, archive: &[u8], size_limit_bytes: u64) -> Result<Self, BundleError> {
        let mut reading = Reading::new(name, archive, size_limit_bytes);
        loop {
            if let Some(result) = reading.step() {
                return result;
            }
        }
    }

    /// What it brings into a policy.
    pub fn part(&self) -> policy::Part<'_> {
        policy::Part {
            bundle: &self.name,
            roots: &self.manifest.roots,
            modules: &self.modules,
            data: &self.data,
        }
    }
}

impl policy::Brings for std::rc::Rc<Bundle> {
    fn part(&self) -> policy::Part<'_> {
        Bundle::part(self)
    }
}

#[cfg(test)]
mod tests;
