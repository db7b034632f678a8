//! Real Envoy with the built module, in front of an echo upstream and behind it a real bundle server.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use host_harness::{
    FILTER_MODULE,
    real_envoy::{BootstrapOptions, EnvoyOptions, PolicyRoute, RealEnvoy, bootstrap},
    servers::{BundleServer, Echo, Upstream, client},
};
use portcullis_filter::config::Config;
use serde_json::{Value, json};

use crate::table::{Answered, CaseRequest, SeenUpstream};

/// Far beyond what anything here takes; only a hang meets it.
pub const BOUND: Duration = Duration::from_secs(60);
/// `portcullis.limits.evaluation_ms` of gates whose policies end by themselves: the limit is on the wall clock, which says
/// nothing on a machine that is busy with other things.
pub const EVALUATION_MS: u32 = 10_000;
/// `portcullis.manager.lease_seconds` of gates whose VMs all live: one that waits long for its turn is not lost.
pub const LEASE_SECONDS: u32 = 60;
/// The request header by which the test's routes choose a policy.
pub const ROUTE_HEADER: &str = "x-test-route";

/// An Envoy with everything around it; all of it ends when this is dropped.
pub struct Gate {
    /// The process.
    pub envoy: RealEnvoy,
    /// Where permitted requests arrive.
    pub upstream: Upstream,
    _module: tempfile::TempDir,
}

/// How a [`Gate`] differs from the ordinary one.
pub struct GateOptions {
    /// Envoy's workers.
    pub concurrency: u32,
    /// Whether the seal stands behind the filter.
    pub seal: bool,
    /// The module, in place of the built filter.
    pub module: Option<Vec<u8>>,
    /// Policies that a request can choose with [`Gate::exchange`].
    pub policies: Vec<String>,
    /// Routes by path, as `portcullis envoy-config --route` writes them.
    pub routes: Vec<PolicyRoute>,
    /// Whether Envoy hands paths on as they came; the configuration that it is given otherwise normalises them.
    pub raw_paths: bool,
    /// Whether Envoy gets its configuration as YAML.
    pub yaml: bool,
    /// Where permitted requests go, in place of the echo upstream.
    pub upstream: Option<SocketAddr>,
    /// How long listeners that were replaced are drained, in seconds.
    pub drain_seconds: Option<u32>,
    /// A last change of the configuration that Envoy is given.
    pub amend: Option<Box<Amend>>,
}

/// Changes a configuration of Envoy.
pub type Amend = dyn Fn(&mut Value);

// === impl GateOptions ===

impl Default for GateOptions {
    fn default() -> Self {
        Self {
            concurrency: 1,
            seal: true,
            module: None,
            policies: Vec::new(),
            routes: Vec::new(),
            raw_paths: false,
            yaml: false,
            upstream: None,
            drain_seconds: None,
            amend: None,
        }
    }
}

// === impl Gate ===

impl Gate {
    /// Starts Envoy with a plugin configuration that the filter accepts.
    pub fn start(document: &str, options: &GateOptions) -> Self {
        let config = Config::parse(document.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{document}"));
        Self::start_with(&config, document, options)
    }

    /// Starts Envoy for `config`, but hands `document` to the filter, whatever it is.
    pub fn start_with(config: &Config, document: &str, options: &GateOptions) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let module: PathBuf = folder.path().join("portcullis.wasm");
        std::fs::write(&module, options.module.as_deref().unwrap_or(FILTER_MODULE))
            .expect("the module is written");
        let upstream = Upstream::start().expect("the upstream starts");
        upstream.add_response_header("x-answered-by", "upstream");
        let to = options.upstream.unwrap_or_else(|| upstream.addr());
        let mut settings = BootstrapOptions::new(&module, document, to.into());
        settings.concurrency = options.concurrency;
        settings.seal = options.seal;
        settings.routes.clone_from(&options.routes);
        let mut bootstrap = bootstrap(config, &settings);
        add_routes(&mut bootstrap, &options.policies);
        if options.raw_paths {
            manager(&mut bootstrap)["normalize_path"] = json!(false);
        }
        if let Some(amend) = &options.amend {
            amend(&mut bootstrap);
        }
        let GateOptions { concurrency, drain_seconds, yaml, .. } = *options;
        let envoy = EnvoyOptions { concurrency, drain_seconds, yaml, ..EnvoyOptions::default() };
        let envoy = RealEnvoy::start(&bootstrap, &envoy).unwrap_or_else(|error| panic!("{error}"));
        Self { envoy, upstream, _module: folder }
    }

    /// A GET through the gate.
    pub fn get(&self, path: &str) -> client::Response {
        self.send(&client::Request::get(path))
    }

    /// Any request through the gate, byte for byte.
    pub fn send(&self, request: &client::Request) -> client::Response {
        let mut response = request.send(self.addr());
        // A connection may be closed under a request that Envoy never took; it is safe to try once more.
        if response.is_err() {
            response = request.send(self.addr());
        }
        response.unwrap_or_else(|error| panic!("{error}\n{}", self.envoy.log()))
    }

    /// Where Envoy takes connections.
    pub fn addr(&self) -> SocketAddr {
        self.envoy.listener_addr()
    }

    /// A counter of the filter, summed over all VMs; 0 before it was first counted.
    pub fn counter(&self, name: &str) -> u64 {
        let stats = self.envoy.stats().unwrap_or_else(|error| panic!("{error}"));
        stats.get(&format!("wasmcustom.{name}")).copied().unwrap_or(0)
    }

    /// Waits until a counter of the filter has reached a value.
    pub fn wait_for_counter(&self, name: &str, value: u64) {
        let reached = self.envoy.wait_until(BOUND, |_| Ok(self.counter(name) >= value));
        let reached = reached.unwrap_or_else(|error| panic!("{error}"));
        assert!(
            reached,
            "{name} is {}, not {value}, after {BOUND:?}\n{}",
            self.counter(name),
            self.envoy.log()
        );
    }

    /// One row of a table.
    pub fn exchange(&self, case: &CaseRequest) -> Answered {
        let mut request =
            client::Request::new(&case.method, case.path.bytes()).header("host", &case.authority);
        for (name, value) in &case.headers {
            request = request.header(name, value.bytes());
        }
        if let Some(policy) = &case.policy {
            request = request.header(ROUTE_HEADER, policy);
        }
        let response = self.send(&request);
        let echo: Option<Echo> = response.json().ok();
        Answered {
            status: response.status,
            headers: response.headers.iter().map(readable).collect(),
            body: if echo.is_some() { "upstream".to_owned() } else { response.text() },
            upstream: echo.map(|echo| SeenUpstream {
                path: echo.path,
                headers: echo.headers.into_iter().map(|header| (header.name, header.value)).collect(),
            }),
        }
    }
}

/// A bundle server that offers archives at `/NAME.tar.gz`.
pub fn bundle_server<'a>(archives: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> BundleServer {
    let server = BundleServer::start().expect("the bundle server starts");
    for (name, archive) in archives {
        server.publish(&format!("/{name}.tar.gz"), archive);
    }
    server
}

/// Routes that name a policy are chosen by a header, so that the path stays the test's own.
fn add_routes(bootstrap: &mut Value, policies: &[String]) {
    let routes = manager(bootstrap).pointer_mut("/route_config/virtual_hosts/0/routes");
    let routes = routes.and_then(Value::as_array_mut).expect("a virtual host has routes");
    let fallback = routes.last().cloned().expect("a virtual host has a route for everything");
    for policy in policies {
        let mut route = fallback.clone();
        let header = json!([{ "name": ROUTE_HEADER, "string_match": { "exact": policy } }]);
        route["match"]["headers"] = header;
        route["metadata"] = json!({ "filter_metadata": { "portcullis": { "policy": policy } } });
        routes.insert(0, route);
    }
}

/// The configuration of Envoy's HTTP connection manager.
pub fn manager(bootstrap: &mut Value) -> &mut Value {
    let pointer = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    bootstrap.pointer_mut(pointer).expect("the listener has a connection manager")
}

fn readable((name, value): &(String, Vec<u8>)) -> (String, String) {
    (name.to_ascii_lowercase(), String::from_utf8_lossy(value).into_owned())
}

/// What a process holds in memory.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Envoy runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.expect("Linux tells what a process holds")
}
