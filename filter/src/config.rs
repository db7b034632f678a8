//! The plugin configuration: OPA's own document plus the `portcullis` section, checked once and whole.
//!
//! Parsing never stops at the first semantic fault: an operator sees every problem with the path to its key and
//! the cure. The text may be YAML or JSON, because teams paste what they already run OPA with.

mod document;
mod error;
mod resolve;
mod secrets;
mod tree;

pub(crate) use resolve::{is_policy_name, is_token};

use std::{collections::BTreeMap, time::Duration};

pub use error::{ConfigError, Problem};
pub use resolve::{DEFAULT_DECISION, DEFAULT_SIZE_LIMIT_BYTES};

pub use crate::{authz::BodyLimits, policy::EvaluationLimits};

/// A configuration that passed every check; all references between its parts are resolved.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where each bundle comes from, by bundle name. Never empty.
    pub bundles: BTreeMap<String, BundleSource>,
    /// What decides a request, by policy name. Never empty.
    pub policies: BTreeMap<String, PolicyConfig>,
    /// Decides the requests whose route names no policy; without it they are answered 503.
    pub default_policy: Option<String>,
    /// How each Envoy cluster that the filter calls must be reached; `portcullis envoy-config` writes them out.
    pub clusters: BTreeMap<String, ClusterTarget>,
    /// How many downloads may be under way at once in one VM.
    pub max_concurrent_downloads: usize,
    /// Bounds on what bundles and requests may cost.
    pub limits: Limits,
    /// How old a bundle may become, by bundle name; one that is not named may be of any age.
    pub staleness: BTreeMap<String, Staleness>,
    /// The path whose requests are answered with the state of the manager; none answers none.
    pub health_path: Option<String>,
    /// Whether that path reports everything to whoever asks for it.
    pub health_detail: bool,
    /// How the VMs of a process work together.
    pub manager: ManagerConfig,
    /// Which paths requests may have.
    pub paths: Paths,
    /// What `input` has beyond what every request has.
    pub input: InputConfig,
    /// What `opa.runtime().config.labels` answers.
    pub labels: BTreeMap<String, String>,
}

/// What `input` has beyond what every request has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputConfig {
    /// Whether bodies are read, and how much of them.
    pub body: Option<BodyLimits>,
    /// Namespaces of Envoy's dynamic metadata, sorted.
    pub metadata_namespaces: Vec<String>,
    /// Namespaces of the route's metadata, sorted.
    pub route_metadata_namespaces: Vec<String>,
    /// Whose address `source.address` is.
    pub source_address: SourceAddress,
}

/// Whose address `source.address` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourceAddress {
    /// The connection's peer's, as opa-envoy-plugin has it.
    #[default]
    Connection,
    /// The one that Envoy's connection manager takes for the client's: by its configuration, a header says it.
    TrustedClient,
}

/// Which paths requests may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paths {
    /// Those that every server reads in one way: what a route was chosen by, what a policy sees and what the upstream serves
    /// is the same resource. Others are answered 400.
    #[default]
    Strict,
    /// All that decode to text, as with opa-envoy-plugin: policies and routes must know what the upstream makes of them.
    Opa,
}

/// How old a bundle may become: since its server has last said that it is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staleness {
    /// The greatest age.
    pub limit: Duration,
    /// Whether policies made of it refuse to decide then, or go on and only say so.
    pub deny: bool,
}

/// How the VMs of a process work together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManagerConfig {
    /// A VM that has given no sign of life for so long counts as dead, and others load what it loaded.
    pub lease: Duration,
    /// Longest run of work on new bundles in one callback; requests of this worker wait behind it.
    pub adoption_slice: Duration,
    /// Whether payloads that were replaced are taken out of shared data.
    pub frees_superseded: bool,
    /// Sets of bundles that are kept for each policy beside the one that decides.
    pub retain_generations: usize,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            evaluation: EvaluationLimits::default(),
            // A request that ends VMs is not given a second one.
            vm_failures: 1,
            // A quarter of what Envoy gives a VM.
            download_bytes: 256 << 20,
            // Some thousands of decisions.
            remembered_bytes: 1 << 20,
        }
    }
}

// === impl ManagerConfig ===

impl Default for ManagerConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(3),
            adoption_slice: Duration::from_millis(5),
            frees_superseded: true,
            retain_generations: 1,
        }
    }
}

/// One bundle URL, as the download needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleSource {
    /// The Envoy cluster that carries the download.
    pub cluster: String,
    /// The URL's scheme.
    pub scheme: Scheme,
    /// The URL's host, with the port where the URL has one: the `:authority` of the request.
    pub authority: String,
    /// The URL's path and query, starting with `/`.
    pub path: String,
    /// Request headers of the service: its own and its credentials'.
    pub headers: Vec<(String, String)>,
    /// The whole download must end within this time.
    pub timeout: Duration,
    /// Shortest pause between two polls that succeeded.
    pub min_delay: Duration,
    /// Longest pause between two polls that succeeded, and between two retries.
    pub max_delay: Duration,
    /// Largest archive, in bytes after inflating.
    pub size_limit_bytes: u64,
}

/// A named decision over some bundles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyConfig {
    /// Names of the bundles it is made of, in the order of the document. Never empty.
    pub bundles: Vec<String>,
    /// Path of the decision below `data`, as OPA writes it: `envoy/authz/allow`.
    pub decision: String,
}

/// Scheme of a bundle URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS, which the Envoy cluster provides.
    Https,
}

/// Where an Envoy cluster has to lead for the downloads that go through it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterTarget {
    /// One origin: that of a service.
    Origin {
        /// Scheme of every URL behind the cluster.
        scheme: Scheme,
        /// Host name or IP literal (IPv6 without brackets).
        host: String,
        /// Port, the scheme's default where the URL has none.
        port: u16,
    },
    /// Any host, named by `:authority`: Envoy's dynamic forward proxy.
    AnyHost {
        /// Scheme of every URL behind the cluster.
        scheme: Scheme,
    },
}

/// Bounds on what bundles and requests may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Of the evaluation of one request.
    pub evaluation: EvaluationLimits,
    /// A policy that has ended so many VMs within a minute is closed.
    pub vm_failures: usize,
    /// What the archives that are under way or being read may weigh together in one VM.
    pub download_bytes: u64,
    /// What one VM keeps of decisions that it need not make again; 0 for nothing.
    pub remembered_bytes: usize,
}

impl Config {
    /// Parses and checks a configuration.
    ///
    /// Shape: UTF-8 text, YAML or JSON, of OPA's configuration document with a `portcullis` section.
    /// Errors: [`ConfigError`] lists every problem found, each with the path to its key and the cure.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let document = document::read(text)?;
        resolve::resolve(document)
    }
}

impl Scheme {
    /// The scheme as it stands in a URL and in `:scheme`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

#[cfg(test)]
mod tests;
