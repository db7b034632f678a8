//! The document as written: keys and types, with nothing resolved yet.
//!
//! Read in three passes (`tree.rs`: syntax and duplicate keys; options that cannot work here; types), so that every message
//! can name the path to its key.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use super::{
    ConfigError, Problem,
    secrets::{self, shown_path},
    tree,
};

/// The most faults that are reported at once.
const MOST_PROBLEMS: usize = 32;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    pub(super) services: BTreeMap<String, Service>,
    pub(super) bundles: BTreeMap<String, Bundle>,
    /// OPA's labels, which policies see in `opa.runtime()`.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) plugins: Plugins,
    pub(super) portcullis: Portcullis,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Service {
    #[allow(dead_code, reason = "OPA's list form names the service here; the map's key is that name")]
    name: Option<String>,
    pub(super) url: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) credentials: Credentials,
    pub(super) response_header_timeout_seconds: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Credentials {
    pub(super) bearer: Option<Bearer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bearer {
    pub(super) token: String,
    pub(super) scheme: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Bundle {
    pub(super) service: Option<String>,
    pub(super) resource: Option<String>,
    pub(super) url: Option<String>,
    pub(super) polling: Polling,
    pub(super) size_limit_bytes: Option<u64>,
    pub(super) persist: bool,
    pub(super) trigger: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Polling {
    pub(super) min_delay_seconds: Option<u32>,
    pub(super) max_delay_seconds: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Plugins {
    pub(super) envoy_ext_authz_grpc: EnvoyExtAuthzGrpc,
}

/// opa-envoy-plugin's section. What configures its gRPC server has no meaning inside Envoy and is passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[allow(dead_code, reason = "keys that are known, type-checked and without meaning here")]
pub(super) struct EnvoyExtAuthzGrpc {
    pub(super) path: Option<String>,
    pub(super) dry_run: bool,
    skip_request_body_parse: bool,
    addr: Option<String>,
    enable_reflection: bool,
    grpc_max_recv_msg_size: Option<u64>,
    grpc_max_send_msg_size: Option<u64>,
    enable_performance_metrics: bool,
    grpc_request_duration_seconds_buckets: Vec<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Portcullis {
    pub(super) policies: BTreeMap<String, Policy>,
    pub(super) default_policy: Option<String>,
    pub(super) url_cluster: Option<String>,
    pub(super) max_concurrent_downloads: Option<usize>,
    pub(super) limits: Limits,
    pub(super) bundles: BTreeMap<String, BundleAge>,
    pub(super) health: Health,
    pub(super) manager: Manager,
    pub(super) paths: Paths,
    pub(super) body: Option<Body>,
    pub(super) metadata_context: MetadataContext,
    pub(super) route_metadata_context: MetadataContext,
    pub(super) source_address: SourceAddress,
    #[cfg(feature = "hooks")]
    pub(super) hooks: Hooks,
}

#[cfg(feature = "hooks")]
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Hooks {
    pub(super) without: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Policy {
    pub(super) bundles: Vec<String>,
    pub(super) decision: Option<String>,
}

/// What OPA has no word for in a bundle.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BundleAge {
    pub(super) max_staleness_seconds: Option<u32>,
    pub(super) when_stale: WhenStale,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WhenStale {
    #[default]
    Keep,
    Deny,
}

/// [`super::Paths`] as written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Paths {
    #[default]
    Strict,
    Opa,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MetadataContext {
    pub(super) namespaces: Vec<String>,
}

/// [`super::SourceAddress`] as written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SourceAddress {
    #[default]
    Connection,
    TrustedClient,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Health {
    pub(super) path: Option<String>,
    pub(super) detail: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Body {
    pub(super) max_bytes: Option<usize>,
    pub(super) in_flight_bytes: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Manager {
    pub(super) lease_seconds: Option<u32>,
    pub(super) adoption_slice_ms: Option<u32>,
    pub(super) free_superseded: Option<bool>,
    pub(super) retain_generations: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) evaluation_steps: Option<u64>,
    pub(super) evaluation_bytes: Option<u64>,
    pub(super) evaluation_depth: Option<u32>,
    pub(super) evaluation_ms: Option<u32>,
    pub(super) vm_failures: Option<usize>,
    pub(super) download_bytes: Option<u64>,
    pub(super) remembered_bytes: Option<usize>,
}

/// Options of OPA and opa-envoy-plugin that are refused by name: path (`*` is any key), why, and the cure.
const REFUSED: &[(&str, &str, &str)] = &[
    ("bundle", "OPA's old form for a single bundle is not read", "name it below `bundles`"),
    ("@type", "it is Envoy's wrapper of a configuration", "give what stands in its `value` alone"),
    ("keys", "bundle signatures are not verified", "remove `keys`, and `signing` from the bundles"),
    ("bundles.*.signing", "bundle signatures are not verified", "remove it"),
    (
        "bundles.*.polling.long_polling_timeout_seconds",
        "long polling is not done",
        "remove it; set the delays",
    ),
    (
        "discovery",
        "configuration is not discovered from a bundle",
        "write the configuration out, or let xDS deliver it",
    ),
    (
        "decision_logs",
        "decisions are not logged to a service",
        "remove it; Envoy's access log carries each request",
    ),
    ("status", "status is not reported to a service", "remove it; read the `portcullis_*` metrics of Envoy"),
    ("persistence_directory", "a Wasm filter has no disk", "remove it"),
    (
        "default_decision",
        "it names the decision of OPA's own API",
        "name `decision` below `portcullis.policies`",
    ),
    ("default_authorization_decision", "there is no API server to authorize", "remove it"),
    ("server", "there is no API server", "remove it"),
    ("storage", "a Wasm filter has no disk", "remove it"),
    ("distributed_tracing", "Envoy traces the request", "configure tracing in Envoy and remove it"),
    ("caching", "`http.send` is not available to policies, so there is nothing to cache", "remove it"),
    ("nd_builtin_cache", "decisions are not logged, so there is nothing to record", "remove it"),
    ("services.*.type", "OCI registries cannot be read", "serve the bundle over HTTP"),
    ("services.*.tls", "TLS belongs to the Envoy cluster", "configure it in the cluster's transport socket"),
    (
        "services.*.allow_insecure_tls",
        "TLS belongs to the Envoy cluster",
        "configure it in the cluster's transport socket",
    ),
    ("services.*.credentials.bearer.token_path", "a Wasm filter has no disk", "give `token`"),
    (
        "services.*.credentials.client_tls",
        "TLS belongs to the Envoy cluster",
        "configure the certificate in the cluster's transport socket",
    ),
    (
        "services.*.credentials.oauth2",
        "OAuth2 flows are not done",
        "let Envoy's credential injector add the token to the cluster",
    ),
    (
        "services.*.credentials.s3_signing",
        "AWS request signing is not done",
        "let Envoy's aws_request_signing filter sign for the cluster",
    ),
    (
        "services.*.credentials.gcp_metadata",
        "cloud credentials are not fetched",
        "let Envoy's gcp_authn filter add them to the cluster",
    ),
    (
        "services.*.credentials.azure_managed_identity",
        "cloud credentials are not fetched",
        "give a `bearer` token",
    ),
    ("services.*.credentials.plugin", "there are no credential plugins", "give a `bearer` token"),
    ("plugins.envoy_ext_authz_grpc.query", "OPA deprecates it in favour of `path`", "give `path`"),
    ("plugins.envoy_ext_authz_grpc.proto-descriptor", "gRPC bodies are not parsed", "remove it"),
];

/// Reads the text into a typed document.
pub(super) fn read(text: &[u8]) -> Result<Document, ConfigError> {
    let mut tree = tree::read(text).map_err(|fault| {
        let path = shown_path(fault.path.iter().map(String::as_str));
        one(&path, &fault.message, fault.cure)
    })?;
    if tree.is_null() {
        return Err(one("", "the document is empty", "give at least `bundles` and `portcullis.policies`"));
    }
    let mut problems: Vec<Problem> =
        REFUSED.iter().filter_map(|refused| refuse(&tree, refused)).flatten().collect();
    variables(&tree, &mut Vec::new(), &mut problems);
    if let Err(error) = normalise(&mut tree) {
        problems.extend(error.problems);
        return Err(ConfigError { problems });
    }
    loop {
        let error = match serde_path_to_error::deserialize(&tree) {
            Ok(document) if problems.is_empty() => return Ok(document),
            Ok(Document { .. }) => return Err(ConfigError { problems }),
            Err(error) => error,
        };
        let steps = error.path().clone();
        let path: Vec<String> = steps.iter().map(ToString::to_string).collect();
        let (message, cure) = secrets::without_values(&path, &error.into_inner().to_string());
        let path = shown_path(path.iter().map(String::as_str));
        if problems.iter().all(|known| known.path != path) {
            problems.extend(one(&path, &message, cure).problems);
        }
        // Without what is at fault, the next fault shows.
        if problems.len() >= MOST_PROBLEMS || !remove(&mut tree, &steps) {
            return Err(ConfigError { problems });
        }
    }
}

/// Reports what OPA would take from its environment. The text itself may be part of a secret.
fn variables<'a>(tree: &'a Value, path: &mut Vec<&'a str>, problems: &mut Vec<Problem>) {
    match tree {
        Value::String(text) => {
            let is_name = |text: &str| {
                let name = text.split_once('}').map_or("", |(name, _)| name);
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            if problems.len() < MOST_PROBLEMS && text.split("${").skip(1).any(is_name) {
                let message = "`${…}` stands in it, and a Wasm filter has no environment to take that from";
                let cure = "put the value in where Envoy's configuration is written (envsubst), or let Envoy's credential \
                            injector send the secret";
                problems.extend(one(&shown_path(path.iter().copied()), message, cure).problems);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| variables(value, path, problems)),
        Value::Object(fields) => {
            for (key, value) in fields {
                path.push(key);
                variables(value, path, problems);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Takes a part out of the tree; of a list all, so that the places of others stay what they are. False: there is no such
/// part.
fn remove(tree: &mut Value, path: &Path) -> bool {
    let mut steps: Vec<&Segment> = path.iter().collect();
    while matches!(steps.last(), Some(Segment::Seq { .. })) {
        steps.pop();
    }
    let Some(last) = steps.pop() else { return false };
    let parent = steps.into_iter().try_fold(tree, |at, step| match step {
        Segment::Map { key } => at.get_mut(key),
        Segment::Seq { index } => at.get_mut(*index),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    match (last, parent) {
        (Segment::Map { key }, Some(Value::Object(object))) => object.remove(key).is_some(),
        _ => false,
    }
}

/// Brings OPA's second notations into the first: services as a list, a bundle as its URL alone.
fn normalise(tree: &mut Value) -> Result<(), ConfigError> {
    if let Some(services) = tree.get_mut("services")
        && let Some(list) = services.as_array()
    {
        let mut by_name = Map::new();
        for (index, service) in list.iter().enumerate() {
            let path = format!("services[{index}]");
            let Some(name) = service.get("name").and_then(Value::as_str) else {
                return Err(one(&path, "a service in a list needs a name", "give `name`"));
            };
            if by_name.insert(name.to_owned(), service.clone()).is_some() {
                return Err(one(&path, "an earlier service has the same name", "give each its own `name`"));
            }
        }
        *services = Value::Object(by_name);
    }
    for bundle in tree.get_mut("bundles").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
    {
        if bundle.is_string() {
            let url = bundle.take();
            *bundle = Value::Object(Map::from_iter([("url".to_owned(), url)]));
        }
    }
    Ok(())
}

/// Every place in the tree that the refused option's path matches.
fn refuse(tree: &Value, (pattern, why, cure): &(&str, &str, &str)) -> Option<Vec<Problem>> {
    let mut found = vec![(Vec::new(), tree)];
    for segment in pattern.split('.') {
        found = found
            .into_iter()
            .filter_map(|(path, value)| Some((path, value.as_object()?)))
            .flat_map(|(path, object)| {
                object.iter().filter(|(key, _)| segment == "*" || segment == *key).map(move |(key, value)| {
                    let path: Vec<&str> = path.iter().copied().chain([key.as_str()]).collect();
                    (path, value)
                })
            })
            .collect();
    }
    let problems: Vec<Problem> = found
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(path, _)| Problem {
            path: shown_path(path.into_iter()),
            message: (*why).to_owned(),
            cure: (*cure).to_owned(),
        })
        .collect();
    (!problems.is_empty()).then_some(problems)
}

fn one(path: &str, message: &str, cure: &str) -> ConfigError {
    ConfigError {
        problems: vec![Problem { path: path.to_owned(), message: message.to_owned(), cure: cure.to_owned() }],
    }
}
