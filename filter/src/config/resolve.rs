//! From the document to a checked configuration: every name is followed, every default filled in.

mod input;
mod limits;

use std::{collections::BTreeMap, time::Duration};

use url::Url;

use super::{
    BundleSource, ClusterTarget, Config, ConfigError, ManagerConfig, Paths, PolicyConfig, Problem, Scheme,
    Staleness,
    document::{self, Document},
    secrets,
};

/// opa-envoy-plugin's default decision. Source: its README, `path`.
pub const DEFAULT_DECISION: &str = "envoy/authz/allow";
/// Name of the policy that stands for opa-envoy-plugin's single one when none is named.
const DEFAULT_POLICY: &str = "default";
/// OPA's polling defaults. Source: OPA's configuration reference, `bundles[_].polling`.
const DEFAULT_MIN_DELAY_SECONDS: u32 = 60;
const DEFAULT_MAX_DELAY_SECONDS: u32 = 120;
/// OPA waits 10 s for response headers; Envoy bounds the whole HTTP call, so the body's time is included here.
const DEFAULT_TIMEOUT_SECONDS: u32 = 10;
/// Most bytes of a bundle where nothing is configured: OPA's default of 1 GiB a file would fill a VM, which Envoy caps at 1 GiB altogether.
pub const DEFAULT_SIZE_LIMIT_BYTES: u64 = 64 << 20;
const DEFAULT_CONCURRENT_DOWNLOADS: usize = 256;
const MAX_CONCURRENT_DOWNLOADS: usize = 1024;
const MAX_RETAINED: usize = 4;
/// A year.
const MAX_STALENESS_SECONDS: u32 = 365 * 24 * 3600;
const MAX_DELAY_SECONDS: u32 = 7 * 24 * 3600;

pub(super) fn resolve(document: Document) -> Result<Config, ConfigError> {
    #[cfg(feature = "hooks")]
    crate::hooks::switched::without(&document.portcullis.hooks.without);
    let mut resolver = Resolver::default();
    let input = resolver.input(&document.portcullis);
    let services = resolver.services(document.services);
    let bundles = resolver.bundles(document.bundles, &services, document.portcullis.url_cluster.as_deref());
    let policies = resolver.policies(document.portcullis.policies, &document.plugins, &bundles);
    let default_policy = resolver.default_policy(document.portcullis.default_policy, &policies);
    let max_concurrent_downloads = resolver.within(
        "portcullis.max_concurrent_downloads",
        document.portcullis.max_concurrent_downloads.unwrap_or(DEFAULT_CONCURRENT_DOWNLOADS),
        1..=MAX_CONCURRENT_DOWNLOADS,
    );
    let limits = resolver.limits(&document.portcullis.limits);
    let staleness = resolver.staleness(document.portcullis.bundles, &bundles);
    let health_path = resolver.health_path(document.portcullis.health.path);
    let manager = resolver.manager(&document.portcullis.manager);
    if document.plugins.envoy_ext_authz_grpc.dry_run {
        resolver.problem(
            "plugins.envoy_ext_authz_grpc.dry-run",
            "decisions are always enforced",
            "set it to false, or take the filter off the route",
        );
    }
    if !resolver.problems.is_empty() {
        return Err(ConfigError { problems: resolver.problems });
    }
    Ok(Config {
        bundles,
        policies,
        default_policy,
        clusters: resolver.clusters,
        max_concurrent_downloads,
        limits,
        staleness,
        health_path,
        health_detail: document.portcullis.health.detail,
        manager,
        paths: match document.portcullis.paths {
            document::Paths::Strict => Paths::Strict,
            document::Paths::Opa => Paths::Opa,
        },
        input,
        labels: document.labels,
    })
}

#[derive(Default)]
struct Resolver {
    problems: Vec<Problem>,
    clusters: BTreeMap<String, ClusterTarget>,
}

/// A service whose parts are all there.
struct Service {
    /// The base of its URLs, without a trailing slash in the path.
    base: Url,
    scheme: Scheme,
    cluster: String,
    headers: Vec<(String, String)>,
    timeout: Duration,
}

// === impl Resolver ===

impl Resolver {
    fn problem(&mut self, path: &str, message: impl Into<String>, cure: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), message: message.into(), cure: cure.into() });
    }

    fn within<N>(&mut self, path: &str, value: N, range: std::ops::RangeInclusive<N>) -> N
    where
        N: PartialOrd + std::fmt::Display + Copy,
    {
        if !range.contains(&value) {
            self.problem(
                path,
                format!("{value} is out of bounds"),
                format!("give a number from {} to {}", range.start(), range.end()),
            );
        }
        value
    }

    fn url(&mut self, path: &str, text: &str) -> Option<(Url, Scheme)> {
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => {
                self.problem(
                    path,
                    format!("it is not a URL ({error})"),
                    "give http://host/… or https://host/…",
                );
                return None;
            }
        };
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => {
                let cure = "give http://… or https://…; a Wasm filter has no disk, and reads nothing else";
                self.problem(path, "its scheme is neither `http` nor `https`", cure);
                return None;
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            self.problem(
                path,
                "credentials in a URL are not sent",
                "give `credentials.bearer` of the service",
            );
            return None;
        }
        if url.fragment().is_some() {
            self.problem(path, "a URL to fetch has no fragment", "remove `#` and what follows");
            return None;
        }
        Some((url, scheme))
    }

    fn services(
        &mut self,
        services: BTreeMap<String, document::Service>,
    ) -> BTreeMap<String, Option<Service>> {
        let resolved = services.into_iter().map(|(name, service)| {
            let path = format!("services.{name}");
            let resolved = self.service(&path, service);
            (name, resolved)
        });
        resolved.collect()
    }

    fn service(&mut self, path: &str, service: document::Service) -> Option<Service> {
        let url = match &service.url {
            Some(url) => self.url(&format!("{path}.url"), url),
            None => {
                self.problem(&format!("{path}.url"), "it is missing", "give the service's base URL");
                None
            }
        };
        let cluster = service.cluster.filter(|cluster| !cluster.is_empty());
        if cluster.is_none() {
            self.problem(
                &format!("{path}.cluster"),
                "it is missing",
                "name the Envoy cluster that leads to this service",
            );
        }
        let seconds = self.within(
            &format!("{path}.response_header_timeout_seconds"),
            service.response_header_timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS),
            1..=3600,
        );
        let mut headers: Vec<(String, String)> = service.headers.into_iter().collect();
        if let Some(bearer) = service.credentials.bearer {
            let scheme = bearer.scheme.unwrap_or_else(|| "Bearer".to_owned());
            headers.push(("authorization".to_owned(), format!("{scheme} {}", bearer.token)));
        }
        for (name, value) in &mut headers {
            name.make_ascii_lowercase();
            if !is_token(name) || value.bytes().any(|byte| byte.is_ascii_control()) {
                self.problem(
                    &format!("{path}.headers"),
                    format!("{} cannot be sent", secrets::shown_key(name)),
                    "give a name of letters, digits and `-`, and a value without control characters",
                );
            }
        }
        let (base, scheme) = url?;
        let cluster = cluster?;
        self.cluster(&format!("{path}.cluster"), &cluster, origin(&base, scheme));
        Some(Service { base, scheme, cluster, headers, timeout: Duration::from_secs(seconds.into()) })
    }

    fn cluster(&mut self, path: &str, name: &str, target: ClusterTarget) {
        let known = self.clusters.entry(name.to_owned()).or_insert_with(|| target.clone());
        if *known != target {
            self.problem(
                path,
                format!("cluster `{name}` would have to lead to two places"),
                "give each origin a cluster of its own",
            );
        }
    }

    fn bundles(
        &mut self,
        bundles: BTreeMap<String, document::Bundle>,
        services: &BTreeMap<String, Option<Service>>,
        url_cluster: Option<&str>,
    ) -> BTreeMap<String, BundleSource> {
        if bundles.is_empty() {
            self.problem("bundles", "there is none", "give at least one bundle: a name with its URL");
        }
        let mut resolved = BTreeMap::new();
        for (name, bundle) in bundles {
            let path = format!("bundles.{name}");
            if let Some(source) = self.bundle(&path, &name, bundle, services, url_cluster) {
                resolved.insert(name, source);
            } else {
                // The fault is noted; the name stays known, so that policies are not blamed for it too.
                resolved.insert(name, BundleSource::unusable());
            }
        }
        resolved
    }

    fn bundle(
        &mut self,
        path: &str,
        name: &str,
        bundle: document::Bundle,
        services: &BTreeMap<String, Option<Service>>,
        url_cluster: Option<&str>,
    ) -> Option<BundleSource> {
        if bundle.persist {
            self.problem(&format!("{path}.persist"), "a Wasm filter has no disk", "remove it");
        }
        if bundle.trigger.as_deref().is_some_and(|trigger| trigger != "periodic") {
            self.problem(&format!("{path}.trigger"), "bundles are polled", "remove it, or write `periodic`");
        }
        let (min_delay, max_delay) = self.polling(&format!("{path}.polling"), &bundle.polling);
        let size_limit_bytes = self.within(
            &format!("{path}.size_limit_bytes"),
            bundle.size_limit_bytes.unwrap_or(DEFAULT_SIZE_LIMIT_BYTES),
            1..=1 << 30,
        );
        let origin = match bundle.url {
            Some(url) if bundle.service.is_none() && bundle.resource.is_none() => {
                self.by_url(path, &url, services, url_cluster)?
            }
            Some(_) => {
                self.problem(path, "both `url` and `service` or `resource` are given", "keep one of the two");
                return None;
            }
            None => self.by_service(path, name, bundle.service, bundle.resource, services)?,
        };
        let Origin { url, scheme, cluster, headers, timeout } = origin;
        Some(BundleSource {
            cluster,
            scheme,
            authority: authority(&url)?,
            path: url
                .query()
                .map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path())),
            headers,
            timeout,
            min_delay,
            max_delay,
            size_limit_bytes,
        })
    }

    fn polling(&mut self, path: &str, polling: &document::Polling) -> (Duration, Duration) {
        let (min, max) = match (polling.min_delay_seconds, polling.max_delay_seconds) {
            (None, None) => (DEFAULT_MIN_DELAY_SECONDS, DEFAULT_MAX_DELAY_SECONDS),
            (Some(min), Some(max)) => (min, max),
            _ => {
                self.problem(
                    path,
                    "one delay alone is given",
                    "give both min_delay_seconds and max_delay_seconds",
                );
                return (Duration::ZERO, Duration::ZERO);
            }
        };
        self.within(&format!("{path}.min_delay_seconds"), min, 1..=MAX_DELAY_SECONDS);
        self.within(&format!("{path}.max_delay_seconds"), max, 1..=MAX_DELAY_SECONDS);
        if min > max {
            self.problem(
                path,
                format!("min_delay_seconds {min} is above max_delay_seconds {max}"),
                "swap them",
            );
        }
        (Duration::from_secs(min.into()), Duration::from_secs(max.into()))
    }

    /// A bundle that is just a URL goes through the service of its origin, else through `portcullis.url_cluster`.
    fn by_url(
        &mut self,
        path: &str,
        url: &str,
        services: &BTreeMap<String, Option<Service>>,
        url_cluster: Option<&str>,
    ) -> Option<Origin> {
        let (url, scheme) = self.url(path, url)?;
        // A service whose fault is noted might have been the one that was meant.
        if services.values().any(Option::is_none) {
            return None;
        }
        let serving = services.values().flatten().filter(|service| service.serves(&url));
        if let Some(service) = serving.max_by_key(|service| service.base.path().len()) {
            return Some(service.origin(url));
        }
        let Some(cluster) = url_cluster else {
            self.problem(
                path,
                format!("no service has the origin {}", url.origin().ascii_serialization()),
                "add a service with this origin and its Envoy cluster, or name a dynamic forward proxy cluster in \
                 `portcullis.url_cluster`",
            );
            return None;
        };
        self.cluster(path, cluster, ClusterTarget::AnyHost { scheme });
        Some(Origin {
            url,
            scheme,
            cluster: cluster.to_owned(),
            headers: Vec::new(),
            timeout: Duration::from_secs(DEFAULT_TIMEOUT_SECONDS.into()),
        })
    }

    fn by_service(
        &mut self,
        path: &str,
        name: &str,
        service: Option<String>,
        resource: Option<String>,
        services: &BTreeMap<String, Option<Service>>,
    ) -> Option<Origin> {
        let service_name = match (service, services.len(), services.keys().next()) {
            (Some(service), ..) => service,
            (None, 1, Some(only)) => only.clone(),
            _ => {
                self.problem(
                    path,
                    "it names neither a service nor a URL",
                    "give `service`, or the URL alone",
                );
                return None;
            }
        };
        let Some(service) = services.get(&service_name) else {
            let cure = format!("add `services.{service_name}`, or correct the name");
            self.problem(&format!("{path}.service"), format!("there is no service `{service_name}`"), cure);
            return None;
        };
        let service = service.as_ref()?;
        let resource = resource.unwrap_or_else(|| format!("bundles/{name}"));
        if resource.contains("://") {
            let (message, cure) = if resource.starts_with("file:") {
                (
                    "it is a file, and a Wasm filter has no disk",
                    "let a server offer the archive, and name its path there",
                )
            } else {
                (
                    "it is a URL",
                    "give the path below the URL of the service, or the whole URL as `url` in its place",
                )
            };
            self.problem(&format!("{path}.resource"), message, cure);
            return None;
        }
        let text =
            format!("{}/{}", service.base.as_str().trim_end_matches('/'), resource.trim_start_matches('/'));
        let (url, _) = self.url(&format!("{path}.resource"), &text)?;
        Some(service.origin(url))
    }

    fn policies(
        &mut self,
        policies: BTreeMap<String, document::Policy>,
        plugins: &document::Plugins,
        bundles: &BTreeMap<String, BundleSource>,
    ) -> BTreeMap<String, PolicyConfig> {
        let plugin_path = plugins.envoy_ext_authz_grpc.path.as_deref();
        let plugin_decision =
            self.decision("plugins.envoy_ext_authz_grpc.path", plugin_path.unwrap_or(DEFAULT_DECISION));
        if policies.is_empty() {
            let policy =
                PolicyConfig { bundles: bundles.keys().cloned().collect(), decision: plugin_decision };
            return BTreeMap::from([(DEFAULT_POLICY.to_owned(), policy)]);
        }
        let resolved = policies.into_iter().map(|(name, policy)| {
            let path = format!("portcullis.policies.{name}");
            let decision = match &policy.decision {
                Some(decision) => self.decision(&format!("{path}.decision"), decision),
                None => plugin_decision.clone(),
            };
            if !is_policy_name(&name) {
                self.problem(
                    &path,
                    "the name would not survive as part of a metric's name",
                    "use letters, digits, `_`, `-` and `/`",
                );
            }
            self.policy_bundles(&format!("{path}.bundles"), &policy.bundles, bundles);
            (name, PolicyConfig { bundles: policy.bundles, decision })
        });
        resolved.collect()
    }

    fn policy_bundles(&mut self, path: &str, names: &[String], bundles: &BTreeMap<String, BundleSource>) {
        if names.is_empty() {
            self.problem(path, "there is none", "name the bundles that the policy is made of");
        }
        for (index, name) in names.iter().enumerate() {
            let place = format!("{path}[{index}]");
            if !bundles.contains_key(name) {
                let cure = format!("add `bundles.{name}`, or correct the name");
                self.problem(&place, format!("there is no bundle `{name}`"), cure);
            }
            if names.iter().take(index).any(|earlier| earlier == name) {
                self.problem(&place, format!("bundle `{name}` is named twice"), "keep one of the two");
            }
        }
    }

    fn decision(&mut self, path: &str, decision: &str) -> String {
        let trimmed = decision.trim_matches('/');
        let well_formed = !trimmed.is_empty()
            && trimmed.split('/').all(|segment| !segment.is_empty() && !segment.contains(['"', '\\', ' ']));
        // `data.shop.allow` is a reference, `test/com.foo.ingress/allow` is a path.
        let is_reference = trimmed.contains('.') && !trimmed.contains('/');
        if !well_formed || is_reference || trimmed.chars().any(char::is_control) {
            self.problem(
                path,
                format!("`{}` is not the path of a decision", decision.escape_debug()),
                "write the path below `data` with slashes, as envoy/authz/allow",
            );
        }
        trimmed.to_owned()
    }

    fn staleness(
        &mut self,
        ages: BTreeMap<String, document::BundleAge>,
        bundles: &BTreeMap<String, BundleSource>,
    ) -> BTreeMap<String, Staleness> {
        let mut resolved = BTreeMap::new();
        for (name, age) in ages {
            let path = format!("portcullis.bundles.{name}");
            if !bundles.contains_key(&name) {
                let cure = format!("add `bundles.{name}`, or correct the name");
                self.problem(&path, format!("there is no bundle `{name}`"), cure);
            }
            let Some(seconds) = age.max_staleness_seconds else {
                self.problem(
                    &path,
                    "it says nothing",
                    "give `max_staleness_seconds`, or remove it: a bundle may be of any age then",
                );
                continue;
            };
            let seconds =
                self.within(&format!("{path}.max_staleness_seconds"), seconds, 1..=MAX_STALENESS_SECONDS);
            let limit = Duration::from_secs(seconds.into());
            if bundles.get(&name).is_some_and(|source| limit < source.max_delay) {
                self.problem(
                    &format!("{path}.max_staleness_seconds"),
                    "it is shorter than the pause between two polls, so the bundle would be stale in every pause",
                    "make it at least twice the bundle's `polling.max_delay_seconds`",
                );
            }
            resolved.insert(name, Staleness { limit, deny: age.when_stale == document::WhenStale::Deny });
        }
        resolved
    }

    fn health_path(&mut self, path: Option<String>) -> Option<String> {
        let path = path?;
        if !path.starts_with('/') || path.contains(['?', '#']) {
            self.problem(
                "portcullis.health.path",
                format!("`{path}` is no path of a request"),
                "begin it with `/`, and leave `?` and `#` out",
            );
        }
        Some(path)
    }

    fn manager(&mut self, manager: &document::Manager) -> ManagerConfig {
        let default = ManagerConfig::default();
        let lease_seconds = manager
            .lease_seconds
            .map(|seconds| self.within("portcullis.manager.lease_seconds", seconds, 1..=60));
        let slice_ms = manager
            .adoption_slice_ms
            .map(|ms| self.within("portcullis.manager.adoption_slice_ms", ms, 1..=1000));
        let retained = manager
            .retain_generations
            .map(|count| self.within("portcullis.manager.retain_generations", count, 0..=MAX_RETAINED));
        ManagerConfig {
            retain_generations: retained.unwrap_or(default.retain_generations),
            lease: lease_seconds.map_or(default.lease, |seconds| Duration::from_secs(seconds.into())),
            adoption_slice: slice_ms.map_or(default.adoption_slice, |ms| Duration::from_millis(ms.into())),
            frees_superseded: manager.free_superseded.unwrap_or(default.frees_superseded),
        }
    }

    fn default_policy(
        &mut self,
        named: Option<String>,
        policies: &BTreeMap<String, PolicyConfig>,
    ) -> Option<String> {
        let Some(name) = named else {
            // A single policy needs no second mention.
            return policies.keys().next().filter(|_| policies.len() == 1).cloned();
        };
        if !policies.contains_key(&name) {
            let cure = format!("add `portcullis.policies.{name}`, or correct the name");
            self.problem("portcullis.default_policy", format!("there is no policy `{name}`"), cure);
        }
        Some(name)
    }
}

/// Where one bundle is fetched from, and how.
struct Origin {
    url: Url,
    scheme: Scheme,
    cluster: String,
    headers: Vec<(String, String)>,
    timeout: Duration,
}

// === impl Service ===

impl Service {
    /// Whether the URL lies below this service's base: only there are its credentials sent.
    fn serves(&self, url: &Url) -> bool {
        let base = self.base.path().trim_end_matches('/');
        self.base.origin() == url.origin()
            && url.path().strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn origin(&self, url: Url) -> Origin {
        Origin {
            url,
            scheme: self.scheme,
            cluster: self.cluster.clone(),
            headers: self.headers.clone(),
            timeout: self.timeout,
        }
    }
}

// === impl BundleSource ===

impl BundleSource {
    /// Stands for a bundle whose fault is already noted; never leaves the resolver.
    fn unusable() -> Self {
        Self {
            cluster: String::new(),
            scheme: Scheme::Http,
            authority: String::new(),
            path: String::new(),
            headers: Vec::new(),
            timeout: Duration::ZERO,
            min_delay: Duration::ZERO,
            max_delay: Duration::ZERO,
            size_limit_bytes: 0,
        }
    }
}

fn origin(url: &Url, scheme: Scheme) -> ClusterTarget {
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ClusterTarget::Origin {
        scheme,
        host: host.to_owned(),
        port: url.port_or_known_default().unwrap_or_default(),
    }
}

fn authority(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// RFC 9110 token.
pub(crate) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// What can be part of a metric's name.
pub(crate) fn is_policy_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-/".contains(&byte))
}
