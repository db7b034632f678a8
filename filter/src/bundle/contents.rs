//! The files of an unpacked bundle, read one after the other into a [`Bundle`].

use std::{mem, ops::Range};

use portcullis_rego::value::MOST_DEPTH;

use super::{Bundle, BundleError, archive::Files, manifest::Manifest};
use crate::policy::{self, DeferredDrop, Module, RegoVersion, Value, json::JsonReader, merge::Merge};

/// Finding out whether bytes are text is the fastest thing done with them.
const CHECKED_PER_STEP: usize = 256 << 10;
/// A value takes two to twenty times the memory of its text; the shorter the text, the more.
const BYTES_PER_VALUE: u64 = 8;
/// Levels of all data, folders included: a value may have as many, and what is made of it a few more.
const MAX_DEPTH: usize = MOST_DEPTH as usize - 100;

/// An unpacked bundle, and how far it has been read.
pub(super) struct Contents {
    inflated: Vec<u8>,
    /// What has not been read yet.
    files: Files,
    bundle: Bundle,
    work: Work,
    max_values: usize,
    /// Of the files before, values and keys.
    values: usize,
}

/// What is being done.
enum Work {
    Manifest,
    NextFile,
    /// A data file is looked at whether it is text.
    Checking {
        path: String,
        bytes: Range<usize>,
        at: usize,
    },
    Parsing {
        path: String,
        bytes: Range<usize>,
        reader: JsonReader,
    },
    /// A document is put where it belongs.
    Merging {
        path: String,
        merge: Merge,
        then: Then,
    },
}

/// What follows when the document has its place.
#[derive(Clone, Copy)]
enum Then {
    NextFile,
    Done,
}

// === impl Contents ===

impl Contents {
    pub(super) fn new(
        name: &str,
        digest: &str,
        inflated: Vec<u8>,
        files: Files,
        size_limit_bytes: u64,
    ) -> Self {
        let bundle = Bundle {
            name: name.to_owned(),
            digest: digest.to_owned(),
            manifest: Manifest::default(),
            modules: Vec::new(),
            data: policy::object([]),
        };
        let max_values = usize::try_from(size_limit_bytes / BYTES_PER_VALUE).unwrap_or(usize::MAX);
        Self { inflated, files, bundle, work: Work::Manifest, max_values, values: 0 }
    }

    /// Does a bounded piece of work. What turns out not to be needed goes to `garbage`.
    pub(super) fn step(&mut self, garbage: &mut DeferredDrop) -> Option<Result<(), BundleError>> {
        let next = match mem::replace(&mut self.work, Work::NextFile) {
            Work::Manifest => self.read_manifest().map(Some),
            Work::NextFile => match self.files.pop_first() {
                Some((path, bytes)) => self.begin(path, bytes, garbage).map(Some),
                None => self.finish().map(Some),
            },
            Work::Checking { path, bytes, at } => self.check(path, bytes, at).map(Some),
            Work::Parsing { path, bytes, reader } => self.parse(path, bytes, reader, garbage).map(Some),
            Work::Merging { path, merge, then } => self.merge(path, merge, then, garbage),
        };
        match next {
            Ok(Some(work)) => {
                self.work = work;
                None
            }
            Ok(None) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    }

    pub(super) fn into_bundle(self) -> Bundle {
        self.bundle
    }

    /// Hands over what has been read, to be freed in steps.
    pub(super) fn discard(self, deferred: &mut DeferredDrop) {
        deferred.push(self.bundle.data);
        match self.work {
            Work::Parsing { reader, .. } => reader.discard(deferred),
            Work::Merging { merge, .. } => merge.discard(deferred),
            Work::Manifest | Work::NextFile | Work::Checking { .. } => {}
        }
    }

    fn read_manifest(&mut self) -> Result<Work, BundleError> {
        if let Some(bytes) = self.files.get(".manifest") {
            self.bundle.manifest = Manifest::parse(self.inflated.get(bytes.clone()).unwrap_or_default())?;
        }
        Ok(Work::NextFile)
    }

    fn begin(
        &mut self,
        path: String,
        bytes: Range<usize>,
        garbage: &mut DeferredDrop,
    ) -> Result<Work, BundleError> {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
        let unsupported = |why| Err(BundleError::Unsupported { path: path.clone(), why });
        match (folder, file) {
            (_, "data.json") => Ok(Work::Checking { path, at: bytes.start, bytes }),
            (_, "data.yaml" | "data.yml") => {
                let document = policy::parse_yaml(text(&path, self.inflated.get(bytes))?)
                    .map_err(|message| BundleError::Data { path: path.clone(), message })?;
                self.values += count(&document);
                self.check_values(&path, 0)?;
                self.place(path, document, garbage)
            }
            (_, file) if file.ends_with(".rego") => {
                let text = text(&path, self.inflated.get(bytes))?;
                match module(&self.bundle, &path, text) {
                    Ok(module) => self.bundle.modules.push(module),
                    // No test keeps a policy from deciding.
                    Err(BundleError::Module(_)) if Module::is_test(file) => {}
                    Err(error) => return Err(error),
                }
                Ok(Work::NextFile)
            }
            ("", ".signatures.json") => {
                unsupported("the bundle is signed and signatures are not verified; publish it unsigned")
            }
            ("", "patch.json") => unsupported("delta bundles are not applied; publish a snapshot"),
            ("", "plan.json") | (_, "policy.wasm") => {
                unsupported("compiled policies are not run; build the bundle with `--target rego`")
            }
            // OPA passes over every other file.
            _ => Ok(Work::NextFile),
        }
    }

    fn check(&self, path: String, bytes: Range<usize>, at: usize) -> Result<Work, BundleError> {
        let end = bytes.end.min(at + CHECKED_PER_STEP);
        let at = match std::str::from_utf8(self.inflated.get(at..end).unwrap_or_default()) {
            Ok(_) => end,
            // The piece ends within a character.
            Err(error) if error.error_len().is_none() && end < bytes.end => at + error.valid_up_to(),
            Err(_) => return Err(BundleError::NotText { path }),
        };
        Ok(if at == bytes.end {
            Work::Parsing { path, bytes, reader: JsonReader::new() }
        } else {
            Work::Checking { path, bytes, at }
        })
    }

    fn parse(
        &mut self,
        path: String,
        bytes: Range<usize>,
        mut reader: JsonReader,
        garbage: &mut DeferredDrop,
    ) -> Result<Work, BundleError> {
        let step = reader.step(self.inflated.get(bytes.clone()).unwrap_or_default());
        if let Err(error) = self.check_values(&path, reader.values()) {
            step.into_iter().flatten().for_each(|document| garbage.push(document));
            reader.discard(garbage);
            return Err(error);
        }
        match step {
            None => Ok(Work::Parsing { path, bytes, reader }),
            Some(Ok(document)) => {
                self.values += reader.values();
                reader.discard(garbage);
                self.place(path, document, garbage)
            }
            Some(Err(error)) => {
                reader.discard(garbage);
                Err(BundleError::Data { path, message: error.to_string() })
            }
        }
    }

    /// `more` values have been read besides those of the files before.
    fn check_values(&self, path: &str, more: usize) -> Result<(), BundleError> {
        if self.values + more > self.max_values {
            return Err(BundleError::Values { path: path.to_owned(), limit: self.max_values });
        }
        Ok(())
    }

    fn place(
        &mut self,
        path: String,
        document: Value,
        garbage: &mut DeferredDrop,
    ) -> Result<Work, BundleError> {
        let (folder, _) = path.rsplit_once('/').unwrap_or(("", &path));
        let keys: Vec<String> = folder.split('/').filter(|key| !key.is_empty()).map(str::to_owned).collect();
        if keys.is_empty() && document.as_object().is_none() {
            garbage.push(document);
            return Err(BundleError::RootNotObject { path });
        }
        if document.depth() as usize + keys.len() > MAX_DEPTH {
            garbage.push(document);
            let message = format!("it stands more than {MAX_DEPTH} levels deep; move it up");
            return Err(BundleError::Data { path, message });
        }
        Ok(self.merging(path, &keys, document, Then::NextFile))
    }

    fn merging(&mut self, path: String, keys: &[String], document: Value, then: Then) -> Work {
        let data = mem::take(&mut self.bundle.data);
        Work::Merging { path, merge: Merge::new(data, keys, document), then }
    }

    fn merge(
        &mut self,
        path: String,
        mut merge: Merge,
        then: Then,
        garbage: &mut DeferredDrop,
    ) -> Result<Option<Work>, BundleError> {
        match (merge.step(), then) {
            (None, _) => Ok(Some(Work::Merging { path, merge, then })),
            (Some(Ok(data)), then) => {
                self.bundle.data = data;
                Ok(match then {
                    Then::NextFile => Some(Work::NextFile),
                    Then::Done => None,
                })
            }
            (Some(Err(conflict)), _) => {
                merge.discard(garbage);
                Err(BundleError::Conflict { path, conflict })
            }
        }
    }

    /// All files are read. Source: OPA's bundle store writes each manifest where policies can read it.
    fn finish(&mut self) -> Result<Work, BundleError> {
        let manifest = &self.bundle.manifest;
        if let Some(path) = policy::first_outside(&manifest.roots, &self.bundle.data)
            && !path.is_empty()
        {
            return Err(BundleError::OutsideRoots { what: format!("`data.{}`", path.join(".")) });
        }
        let keys = ["system", "bundles", &self.bundle.name, "manifest"].map(str::to_owned);
        let document = manifest.document();
        Ok(self.merging(".manifest".to_owned(), &keys, document, Then::Done))
    }
}

/// Values and keys of a document.
fn count(document: &Value) -> usize {
    let mut open = vec![document];
    let mut values = 0;
    while let Some(value) = open.pop() {
        values += 1;
        match value {
            Value::Array(list) => open.extend(list.iter()),
            Value::Object(object) => {
                values += object.len();
                open.extend(object.values());
            }
            _ => {}
        }
    }
    values
}

fn text<'a>(path: &str, bytes: Option<&'a [u8]>) -> Result<&'a str, BundleError> {
    std::str::from_utf8(bytes.unwrap_or_default()).map_err(|_| BundleError::NotText { path: path.to_owned() })
}

fn module(bundle: &Bundle, path: &str, text: &str) -> Result<Module, BundleError> {
    let manifest = &bundle.manifest;
    let module =
        Module::parse(format!("{}/{path}", bundle.name), text.to_owned(), manifest.version_of(path))?;
    if !manifest.roots.iter().any(|root| module.package.starts_with(root)) {
        let what = format!("{path} (package {})", module.package.join("."));
        return Err(BundleError::OutsideRoots { what });
    }
    Ok(module)
}

impl Manifest {
    fn version_of(&self, path: &str) -> RegoVersion {
        self.file_versions.get(path).copied().unwrap_or(self.version)
    }
}
