//! A complete configuration of Envoy 1.40 with the filter in it, as a pure function of the filter's configuration.
//!
//! Envoy lets requests through when a worker's VM fails to configure, whatever the failure policy says. So an RBAC
//! filter stands behind ours, the seal: it refuses every request that does not carry the filter state which our
//! filter sets with a permit.
//!
//! A decision may change what Envoy chooses the route by, and Envoy chooses it again only when a filter asks for it that
//! has configuration of routes, as RBAC has. So our filter stands there twice, with such a filter in between: first it
//! decides, then it asks whether the route is still one of the policy that permitted the request.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use portcullis_filter::{
    authz::{SEAL_KEY, SEAL_VALUE},
    config::{ClusterTarget, Config, Paths, Scheme},
};
use serde_json::{Value, json};

use super::{routes, yaml};

/// Name, root id and VM id of the plugin.
const PLUGIN: &str = "portcullis";
/// Name of the cluster that requests are routed to, unless the configuration has one of that name.
const UPSTREAM_CLUSTER: &str = "portcullis_upstream";
/// What Envoy allows each cluster by default, of connections, pending requests and requests.
const DEFAULT_THRESHOLD: u64 = 1024;
/// What Envoy holds of a callout's answer by default; a larger one is a reset.
/// Source: runtime key `http.async_response_buffer_limit` (Envoy source/common/http/async_client_impl.cc).
const DEFAULT_CALLOUT_BUFFER_BYTES: u64 = 32 * 1024 * 1024;
/// Where Debian, Ubuntu, Alpine and the Envoy image keep the system's certificate authorities.
const SYSTEM_CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What the configuration leaves open: where Envoy stands, and what it stands in front of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapOptions {
    /// Where downstream connections are taken; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where permitted requests go.
    pub upstream: Upstream,
    /// The filter's module, as a file that Envoy can read.
    pub module_path: PathBuf,
    /// The plugin configuration, which goes to the filter verbatim: the text that the [`Config`] was parsed from.
    pub document: String,
    /// Where the admin interface listens, which has no authentication; `None` for no admin interface.
    pub admin: Option<SocketAddr>,
    /// How many workers Envoy will run (`--concurrency`); only circuit breakers depend on it.
    pub concurrency: u32,
    /// Routes that name a policy, tried in this order before the route that takes everything.
    pub routes: Vec<PolicyRoute>,
    /// Whether the filter stands there twice, with the seal behind. Off, Envoy fails open: only a test of that, or of another
    /// filter, wants it.
    pub seal: bool,
    /// The file of certificate authorities that https origins are verified with.
    pub ca_file: PathBuf,
    /// The largest request body that a policy can ask to see, in bytes; larger ones are answered 413.
    pub body_buffer_bytes: u32,
}

/// Where permitted requests go, in plain HTTP/1.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Host name or IP literal (IPv6 without brackets).
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A route whose requests a policy decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRoute {
    /// Beginning of the path, in any letter case. With a slash at its end it takes whole segments, and itself without the
    /// slash: `/t/` takes `/t`, `/t/x` and `/T/x`. Without, it takes what begins so: `/shop` takes `/shopping` too.
    pub prefix: String,
    /// Name of the policy.
    pub policy: String,
}

// === impl BootstrapOptions ===

impl BootstrapOptions {
    /// Options for Envoy on a free loopback port in front of `upstream`: with the seal, without admin, one worker,
    /// the system's certificate authorities, and Envoy's own 1 MiB of body.
    pub fn new(module_path: impl Into<PathBuf>, document: impl Into<String>, upstream: Upstream) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            upstream,
            module_path: module_path.into(),
            document: document.into(),
            admin: None,
            concurrency: 1,
            routes: Vec::new(),
            seal: true,
            ca_file: SYSTEM_CA_FILE.into(),
            body_buffer_bytes: 1024 * 1024,
        }
    }
}

// === impl Upstream ===

impl From<SocketAddr> for Upstream {
    fn from(addr: SocketAddr) -> Self {
        Self { host: addr.ip().to_string(), port: addr.port() }
    }
}

/// Writes the configuration of an Envoy 1.40 that runs the filter.
///
/// Shape: an `envoy.config.bootstrap.v3.Bootstrap` in its JSON form, the same for the same arguments.
/// INVARIANT (closed): with [`BootstrapOptions::seal`], the only way from the listener to the upstream is through the
/// filter and the seal.
pub fn bootstrap(config: &Config, options: &BootstrapOptions) -> Value {
    let upstream = upstream_cluster_name(&config.clusters);
    let mut clusters = vec![upstream_cluster(&upstream, options)];
    clusters
        .extend(config.clusters.iter().map(|(name, target)| bundle_cluster(name, target, config, options)));
    let mut document = json!({
        "static_resources": { "listeners": [listener(&upstream, config, options)], "clusters": clusters },
        "stats_config": { "stats_tags": stats_tags() },
        "overload_manager": overload_manager(),
    });
    if let Some(admin) = options.admin {
        document["admin"] = json!({ "address": address(&admin.ip().to_string(), admin.port()) });
    }
    if let Some(limit) = callout_buffer_bytes(config) {
        document["layered_runtime"] = json!({ "layers": [{
            "name": "portcullis",
            "static_layer": { "http.async_response_buffer_limit": limit },
        }] });
    }
    document
}

/// The configuration as YAML, for people to read and keep.
pub fn to_yaml(bootstrap: &Value) -> String {
    yaml::write(bootstrap)
}

// === listener ===

fn listener(upstream: &str, config: &Config, options: &BootstrapOptions) -> Value {
    let mut http_filters = vec![wasm_filter(options)];
    if options.seal {
        http_filters.extend([choose_route(), wasm_filter(options), seal()]);
    }
    http_filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": type_url("envoy.extensions.filters.http.router.v3.Router") },
    }));
    // A body that waits for its policy is buffered there, and one that is too long comes with a piece more.
    let body = config.input.body.map_or(0, |body| body.max_bytes.saturating_add(64 << 10));
    let buffer = options.body_buffer_bytes.max(u32::try_from(body).unwrap_or(u32::MAX));
    json!({
        "name": "ingress",
        "address": address(&options.listen.ip().to_string(), options.listen.port()),
        "per_connection_buffer_limit_bytes": buffer,
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": connection_manager(upstream, config.paths, options, &http_filters),
        }] }],
    })
}

/// Envoy's own advice for the edge, but for escaped slashes.
/// Source: Envoy docs, configuration/best_practices/edge.
///
/// Envoy rewrites the path before any filter sees it, so the policy, the routes and the upstream checker one and
/// the same path. `.` and `..` are resolved, because an upstream that resolved them itself would serve a path that
/// no policy has seen. With strict paths slashes are merged too, and the filter answers 400 to what still has a second
/// reading. With OPA's, slashes stay as sent: merging them makes another path of it than the one that OPA's `parsed_path`
/// has for the same request, and policies are written for that one.
fn connection_manager(
    upstream: &str,
    paths: Paths,
    options: &BootstrapOptions,
    http_filters: &[Value],
) -> Value {
    let mut routes: Vec<_> = options.routes.iter().map(|route| policy_route(upstream, route)).collect();
    routes.push(json!({ "name": "default", "match": { "prefix": "/" }, "route": { "cluster": upstream } }));
    json!({
        "@type": type_url(
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": "ingress",
        "use_remote_address": true,
        "normalize_path": true,
        "merge_slashes": paths == Paths::Strict,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "common_http_protocol_options": {
            "idle_timeout": "3600s",
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
        },
        "stream_idle_timeout": "300s",
        "request_timeout": "300s",
        "http_filters": http_filters,
        "route_config": {
            "name": "ingress",
            "virtual_hosts": [{ "name": "ingress", "domains": ["*"], "routes": routes }],
        },
    })
}

fn policy_route(upstream: &str, route: &PolicyRoute) -> Value {
    json!({
        "name": route.prefix,
        "match": routes::matcher(&route.prefix),
        "route": { "cluster": upstream },
        "metadata": { "filter_metadata": { "portcullis": { "policy": route.policy } } },
    })
}

/// The filter. `allow_on_headers_stop_iteration` lets it hold the headers while it reads the body; without, a
/// request paused at its headers never gets its body callbacks.
fn wasm_filter(options: &BootstrapOptions) -> Value {
    json!({
        "name": "envoy.filters.http.wasm",
        "typed_config": {
            "@type": type_url("envoy.extensions.filters.http.wasm.v3.Wasm"),
            "config": {
                "name": PLUGIN,
                "root_id": PLUGIN,
                "vm_config": {
                    "vm_id": PLUGIN,
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": { "local": { "filename": options.module_path.display().to_string() } },
                },
                "configuration": {
                    "@type": type_url("google.protobuf.StringValue"),
                    "value": options.document,
                },
                "failure_policy": "FAIL_RELOAD",
                // What ends a VM is quarantined, so the worker need not wait for long.
                "reload_config": { "backoff": { "base_interval": "0.1s" } },
                "allow_on_headers_stop_iteration": true,
            },
        },
    })
}

/// RBAC without rules: it refuses nothing, but Envoy chooses the route for it, if a filter before has changed headers.
/// Source: measured, Envoy 1.40; a Wasm filter alone sees the route of before.
fn choose_route() -> Value {
    json!({
        "name": "portcullis.choose_route",
        "typed_config": { "@type": type_url("envoy.extensions.filters.http.rbac.v3.RBAC") },
    })
}

/// Refuses, with 403, every request that the filter did not permit. A request without the filter state matches no
/// principal, and RBAC with action ALLOW denies what no policy allows.
fn seal() -> Value {
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": type_url("envoy.extensions.filters.http.rbac.v3.RBAC"),
            "rules": {
                "action": "ALLOW",
                "policies": { "portcullis-permit": {
                    "permissions": [{ "any": true }],
                    "principals": [{ "filter_state": {
                        // Envoy puts `wasm.` before the name of what a Wasm filter sets.
                        "key": format!("wasm.{SEAL_KEY}"),
                        "string_match": { "exact": SEAL_VALUE },
                    } }],
                } },
            },
        },
    })
}

// === clusters ===

fn upstream_cluster_name(taken: &BTreeMap<String, ClusterTarget>) -> String {
    let mut name = UPSTREAM_CLUSTER.to_owned();
    while taken.contains_key(&name) {
        name.push('_');
    }
    name
}

fn upstream_cluster(name: &str, options: &BootstrapOptions) -> Value {
    origin_cluster(name, &options.upstream.host, options.upstream.port)
}

fn bundle_cluster(name: &str, target: &ClusterTarget, config: &Config, options: &BootstrapOptions) -> Value {
    let mut cluster = match target {
        ClusterTarget::Origin { scheme, host, port } => {
            let mut cluster = origin_cluster(name, host, *port);
            if *scheme == Scheme::Https {
                cluster["transport_socket"] = origin_tls(host, options);
            }
            cluster
        }
        ClusterTarget::AnyHost { scheme } => any_host_cluster(name, *scheme, options),
    };
    cluster["circuit_breakers"] = circuit_breakers(config, options);
    cluster
}

fn origin_cluster(name: &str, host: &str, port: u16) -> Value {
    let mut cluster = json!({
        "name": name,
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(host, port) } }] }],
        },
    });
    if host.parse::<IpAddr>().is_ok() {
        cluster["type"] = json!("STATIC");
    } else {
        cluster["type"] = json!("STRICT_DNS");
        cluster["dns_lookup_family"] = json!("ALL");
    }
    cluster
}

/// TLS to one origin, whose certificate must be for its host. An IP literal has no SNI (RFC 6066, 3).
fn origin_tls(host: &str, options: &BootstrapOptions) -> Value {
    let is_ip = host.parse::<IpAddr>().is_ok();
    let san_type = if is_ip { "IP_ADDRESS" } else { "DNS" };
    let mut validation = validation(options);
    validation["match_typed_subject_alt_names"] =
        json!([{ "san_type": san_type, "matcher": { "exact": host } }]);
    let mut tls = upstream_tls(&validation);
    if !is_ip {
        tls["typed_config"]["sni"] = json!(host);
    }
    tls
}

/// Any host that `:authority` names, resolved when it is first asked for.
fn any_host_cluster(name: &str, scheme: Scheme, options: &BootstrapOptions) -> Value {
    let mut cluster = json!({
        "name": name,
        "connect_timeout": "5s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.dynamic_forward_proxy",
            "typed_config": {
                "@type": type_url("envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"),
                "dns_cache_config": { "name": name, "dns_lookup_family": "ALL" },
            },
        },
    });
    if scheme == Scheme::Https {
        cluster["transport_socket"] = upstream_tls(&validation(options));
        // The host is known only per request, so Envoy takes SNI and the name to verify from `:authority`.
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": type_url("envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
                "upstream_http_protocol_options": { "auto_sni": true, "auto_san_validation": true },
                "explicit_http_config": { "http_protocol_options": {} },
            },
        });
    }
    cluster
}

fn validation(options: &BootstrapOptions) -> Value {
    json!({ "trusted_ca": { "filename": options.ca_file.display().to_string() } })
}

fn upstream_tls(validation: &Value) -> Value {
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": type_url("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
            "common_tls_context": { "validation_context": validation },
        },
    })
}

/// Room for every VM (one per worker and the main thread's) to download every bundle at once. All VMs share a
/// cluster's thresholds, and a callout above them fails at once instead of waiting.
fn circuit_breakers(config: &Config, options: &BootstrapOptions) -> Value {
    let downloads = (u64::from(options.concurrency) + 1) * config.bundles.len() as u64;
    let threshold = u32::try_from(downloads.max(DEFAULT_THRESHOLD)).unwrap_or(u32::MAX);
    json!({ "thresholds": [{
        "max_connections": threshold,
        "max_pending_requests": threshold,
        "max_requests": threshold,
    }] })
}

// === process-wide ===

/// The largest archive that the configuration allows, where that is more than Envoy takes by default. The limit
/// counts inflated bytes, which compressed ones do not exceed by more than gzip's few.
fn callout_buffer_bytes(config: &Config) -> Option<u64> {
    let largest = config.bundles.values().map(|bundle| bundle.size_limit_bytes).max()?;
    (largest > DEFAULT_CALLOUT_BUFFER_BYTES).then_some(largest)
}

/// Turns parts of our counters' names into Prometheus labels: group 1 leaves the name, group 2 is the label's value.
/// A policy's or bundle's name may hold dots, an outcome does not.
fn stats_tags() -> Value {
    json!([
        {
            "tag_name": "policy",
            "regex": r"^wasmcustom\.portcullis_(?:requests|remembered|policy_[a-z_]+)(\.policy\.(.+?))(?:\.outcome\.[^.]+)?$",
        },
        { "tag_name": "member", "regex": r"^wasmcustom\.portcullis_at_work(\.member\.(\d+))$" },
        {
            "tag_name": "bundle",
            "regex": r"^wasmcustom\.portcullis_(?:downloads|bundle_[a-z_]+)(\.bundle\.(.+?))(?:\.outcome\.[^.]+)?$",
        },
        {
            "tag_name": "outcome",
            "regex": r"^wasmcustom\.portcullis_(?:requests\.policy|downloads\.bundle)\..+(\.outcome\.([^.]+))$",
        },
    ])
}

/// An edge proxy that takes connections without a bound runs out of descriptors first and of answers next.
fn overload_manager() -> Value {
    json!({ "resource_monitors": [{
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": type_url(
                "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
            ),
            "max_active_downstream_connections": 50_000,
        },
    }] })
}

fn address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

fn type_url(message: &str) -> String {
    format!("type.googleapis.com/{message}")
}

#[cfg(test)]
mod tests;
