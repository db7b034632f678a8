//! Bytes → verified [`Bundle`]: OPA's bundle format, judged as a whole before anything of it is used.
//!
//! Only the names that OPA reads count, and only at their own place: OPA takes any file whose name ends in
//! `.manifest` for the manifest, wherever it lies, so that a nested one can replace it; here it must be at the root.

mod archive;
mod manifest;

use sha2::{Digest, Sha256};

use crate::policy::{self, Conflict, Module, ModuleError, RegoVersion, Value};

pub use archive::ArchiveError;
pub use manifest::{Manifest, ManifestError};

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
    /// Reads an archive: gzip-compressed tar, as `opa build` writes it.
    ///
    /// Shape: `size_limit_bytes` bounds what the archive inflates to, all files together.
    /// Errors: [`BundleError`], with the place in the archive; nothing of a faulty archive is kept.
    pub fn read(name: &str, archive: &[u8], size_limit_bytes: u64) -> Result<Self, BundleError> {
        let files = archive::unpack(archive, size_limit_bytes)?;
        let manifest = match files.get(".manifest") {
            Some(bytes) => Manifest::parse(bytes)?,
            None => Manifest::default(),
        };
        let mut bundle = Self {
            name: name.to_owned(),
            digest: format!("{:x}", Sha256::digest(archive)),
            manifest,
            modules: Vec::new(),
            data: Value::new_object(),
        };
        for (path, bytes) in &files {
            bundle.add(path, bytes)?;
        }
        if let Some(path) = policy::first_outside(&bundle.manifest.roots, &bundle.data)
            && !path.is_empty()
        {
            return Err(BundleError::OutsideRoots { what: format!("`data.{}`", path.join(".")) });
        }
        bundle.publish_manifest()?;
        Ok(bundle)
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

    fn add(&mut self, path: &str, bytes: &[u8]) -> Result<(), BundleError> {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        let text = || std::str::from_utf8(bytes).map_err(|_| BundleError::NotText { path: path.to_owned() });
        let data_error = |message: String| BundleError::Data { path: path.to_owned(), message };
        match (folder, file) {
            (_, "data.json") => {
                let document = policy::parse_json(text()?).map_err(|error| data_error(error.to_string()))?;
                self.add_data(path, folder, document)
            }
            (_, "data.yaml" | "data.yml") => {
                let document = policy::parse_yaml(text()?).map_err(data_error)?;
                self.add_data(path, folder, document)
            }
            (_, file) if file.ends_with(".rego") => self.add_module(path, text()?),
            ("", ".signatures.json") => Err(BundleError::Unsupported {
                path: path.to_owned(),
                why: "the bundle is signed and signatures are not verified; publish it unsigned",
            }),
            ("", "patch.json") => Err(BundleError::Unsupported {
                path: path.to_owned(),
                why: "delta bundles are not applied; publish a snapshot",
            }),
            ("", "plan.json") | (_, "policy.wasm") => Err(BundleError::Unsupported {
                path: path.to_owned(),
                why: "compiled policies are not run; build the bundle with `--target rego`",
            }),
            // OPA passes over every other file.
            _ => Ok(()),
        }
    }

    fn add_data(&mut self, path: &str, folder: &str, document: Value) -> Result<(), BundleError> {
        let keys: Vec<String> = folder.split('/').filter(|key| !key.is_empty()).map(str::to_owned).collect();
        if keys.is_empty() && document.as_object().is_err() {
            return Err(BundleError::RootNotObject { path: path.to_owned() });
        }
        policy::merge_at(&mut self.data, &keys, document)
            .map_err(|conflict| BundleError::Conflict { path: path.to_owned(), conflict })
    }

    fn add_module(&mut self, path: &str, text: &str) -> Result<(), BundleError> {
        let version = self.manifest.version_of(path);
        let module = Module::parse(format!("{}/{path}", self.name), text.to_owned(), version)?;
        let owned = self.manifest.roots.iter().any(|root| module.package.starts_with(root));
        if !owned {
            let what = format!("{path} (package {})", module.package.join("."));
            return Err(BundleError::OutsideRoots { what });
        }
        self.modules.push(module);
        Ok(())
    }

    /// Source: OPA's bundle store writes each manifest where policies can read it.
    fn publish_manifest(&mut self) -> Result<(), BundleError> {
        let path = ["system", "bundles", &self.name, "manifest"].map(str::to_owned);
        policy::merge_at(&mut self.data, &path, self.manifest.document())
            .map_err(|conflict| BundleError::Conflict { path: ".manifest".to_owned(), conflict })
    }
}

impl Manifest {
    fn version_of(&self, path: &str) -> RegoVersion {
        self.file_versions.get(path).copied().unwrap_or(self.version)
    }
}

#[cfg(test)]
mod tests;
