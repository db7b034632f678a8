//! The `.manifest`: what a bundle says of itself.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, de::IgnoredAny};

use crate::policy::{self, RegoVersion, Value};

/// It is parsed in one go, a millisecond for as much; OPA's own have a few hundred bytes.
const MAX_BYTES: usize = 64 << 10;
/// Every pair of roots is compared, here and with those of other bundles.
const MAX_ROOTS: usize = 256;
/// What a bundle says of itself is repeated in log lines and in messages, and is as long as its publisher likes.
const MAX_SHOWN_BYTES: usize = 256;

/// A bundle's manifest, with OPA's defaults where it is silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The publisher's name for this version; may be empty.
    pub revision: String,
    /// The paths that the bundle owns, as lists of keys; one empty list owns everything.
    pub roots: Vec<Vec<String>>,
    pub(super) version: RegoVersion,
    pub(super) file_versions: BTreeMap<String, RegoVersion>,
    metadata: Option<Value>,
}

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is not the JSON that OPA writes.
    #[error(".manifest: {message}")]
    Malformed {
        /// The parser's message, with line and column.
        message: String,
    },
    /// It takes too long to parse.
    #[error(".manifest: it is larger than {MAX_BYTES} bytes; move its metadata to data.json")]
    TooLarge,
    /// There are more roots than can be compared in time.
    #[error(".manifest: it has more than {MAX_ROOTS} roots; name the paths above them")]
    TooManyRoots,
    /// One of its roots holds another.
    #[error(".manifest: roots `{one}` and `{other}` overlap; keep the shorter one")]
    RootsOverlap {
        /// The earlier root.
        one: String,
        /// The later root.
        other: String,
    },
    /// A language version that does not exist.
    #[error(".manifest: rego version {version} is not known; write 0 or 1")]
    RegoVersion {
        /// As written.
        version: i64,
    },
    /// It asks for something that this filter does not do.
    #[error(".manifest: {why}")]
    Unsupported {
        /// What is not done, and the cure.
        why: &'static str,
    },
}

/// As written. Unknown keys are passed over, as OPA does, so that newer bundles stay readable.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    revision: String,
    roots: Option<Vec<String>>,
    rego_version: Option<i64>,
    #[serde(default)]
    file_rego_versions: BTreeMap<String, i64>,
    #[serde(default)]
    wasm: Vec<IgnoredAny>,
    metadata: Option<IgnoredAny>,
}

// === impl Manifest ===

impl Default for Manifest {
    fn default() -> Self {
        Self {
            revision: String::new(),
            roots: vec![Vec::new()],
            version: RegoVersion::default(),
            file_versions: BTreeMap::new(),
            metadata: None,
        }
    }
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_BYTES {
            return Err(ManifestError::TooLarge);
        }
        let malformed =
            |message: String| ManifestError::Malformed { message: shortened(&message).into_owned() };
        let written: Written = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if !written.wasm.is_empty() {
            let why = "compiled policies are not run; build the bundle with `--target rego`";
            return Err(ManifestError::Unsupported { why });
        }
        let mut file_versions = BTreeMap::new();
        for (path, version) in written.file_rego_versions {
            if path.contains(['*', '?', '[', '{']) {
                let why = "patterns in `file_rego_versions` are not matched; name each file";
                return Err(ManifestError::Unsupported { why });
            }
            file_versions.insert(path.trim_start_matches('/').to_owned(), rego_version(version)?);
        }
        Ok(Self {
            revision: written.revision,
            roots: roots(written.roots)?,
            version: written.rego_version.map_or(Ok(RegoVersion::default()), rego_version)?,
            file_versions,
            metadata: match written.metadata {
                Some(IgnoredAny) => metadata(bytes).map_err(malformed)?,
                None => None,
            },
        })
    }

    /// The revision as it is shown to people.
    pub fn shown_revision(&self) -> Cow<'_, str> {
        shortened(&self.revision)
    }

    /// What policies read of it.
    pub(super) fn document(&self) -> Value {
        let roots: Vec<Value> = self.roots.iter().map(|root| Value::from(root.join("/"))).collect();
        let fields = [("revision", Value::from(self.revision.as_str())), ("roots", policy::array(roots))];
        let metadata = self.metadata.clone().map(|metadata| ("metadata", metadata));
        policy::object(fields.into_iter().chain(metadata))
    }
}

/// By the reader of data: numbers keep their text.
fn metadata(bytes: &[u8]) -> Result<Option<Value>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let document = policy::parse_json(text).map_err(|error| error.to_string())?;
    Ok(policy::field(&document, "metadata").cloned())
}

/// Text of a bundle for a message: its beginning, if it is long.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_SHOWN_BYTES {
        return Cow::Borrowed(text);
    }
    let end = (0..=MAX_SHOWN_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

fn rego_version(version: i64) -> Result<RegoVersion, ManifestError> {
    match version {
        0 => Ok(RegoVersion::V0),
        1 => Ok(RegoVersion::V1),
        _ => Err(ManifestError::RegoVersion { version }),
    }
}

fn roots(written: Option<Vec<String>>) -> Result<Vec<Vec<String>>, ManifestError> {
    let Some(written) = written else {
        return Ok(vec![Vec::new()]);
    };
    if written.len() > MAX_ROOTS {
        return Err(ManifestError::TooManyRoots);
    }
    let roots: Vec<Vec<String>> = written
        .iter()
        .map(|root| root.split('/').filter(|key| !key.is_empty()).map(str::to_owned).collect())
        .collect();
    for (index, other) in roots.iter().enumerate() {
        let clash =
            roots.iter().take(index).find(|one| one.iter().zip(other).all(|(left, right)| left == right));
        if let Some(one) = clash {
            let shown = |root: &[String]| shortened(&root.join("/")).into_owned();
            return Err(ManifestError::RootsOverlap { one: shown(one), other: shown(other) });
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_what_it_says_and_never_a_number_to_be_computed() {
        let text = r#"{"metadata": {"size": {"$serde_json::private::Number": "1e2000000000"}}}"#;
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        let expected = r#"{"size": {"$serde_json::private::Number": "1e2000000000"}}"#;
        assert_eq!(
            policy::field(&manifest.document(), "metadata"),
            Some(&policy::parse_json(expected).unwrap())
        );
    }

    #[test]
    fn what_a_manifest_says_is_told_shortened() {
        let long = "é".repeat(30_000);
        let manifest = Manifest::parse(format!("{{\"revision\": \"{long}\"}}").as_bytes()).unwrap();
        assert_eq!(manifest.revision, long);
        assert_eq!(manifest.shown_revision(), format!("{}…", "é".repeat(128)));
        let text = format!("{{\"roots\": [\"{0}\", \"{0}/a\"]}}", "a".repeat(20_000));
        for text in [text, format!("{{\"roots\": \"{}\"}}", "a".repeat(60_000))] {
            let message = Manifest::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(message.len() < 700, "{}", message.len());
        }
    }
}
