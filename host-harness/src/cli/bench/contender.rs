//! Who is measured: Envoy on a free port with something, or nothing, between its listener and its answer.
//!
//! All of them have the listener that `portcullis envoy-config` writes, and a route that answers 200 itself, so that no
//! upstream has a part in what is measured.

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use host_harness::{
    FILTER_MODULE,
    archive::Archive,
    real_envoy::{BootstrapOptions, EnvoyOptions, RealEnvoy, Upstream, bootstrap},
    servers::{
        BundleServer, Published,
        client::{Connection, Request},
    },
};
use portcullis_filter::config::Config;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{cpu, plugin::Plugin, rounds::Setting};

/// The decision that every policy here has.
pub(super) const DECISION: &str = "bench/allow";
/// Far beyond what loading takes; only a hang meets it.
const BOUND: Duration = Duration::from_secs(300);
/// Between two questions that were not answered as they should be: more would be felt by who is loading.
const PAUSE: Duration = Duration::from_millis(50);

/// How many lines of Envoy's log an error shows.
const LOG_TAIL_LINES: usize = 8;

/// Is called once for each request, and lets it go on.
const IDLE: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0)))"#;

/// A request, and whether the policy allows it.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) allowed: bool,
}

/// What stands between Envoy's listener and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nothing,
    IdleWasm,
    Portcullis,
    OpaEnvoyPlugin,
}

/// A policy of some bundles on a server, for as long as this lives.
pub(super) struct Scene {
    server: BundleServer,
    bundles: Vec<String>,
    remembers: bool,
    module: PathBuf,
    idle: PathBuf,
    folder: TempDir,
}

/// Running, and answering as it should.
pub(super) struct Contender {
    pub(super) kind: Kind,
    pub(super) connections: Vec<Connection>,
    envoy: RealEnvoy,
    plugin: Option<Plugin>,
}

// === impl Scene ===

impl Scene {
    /// `remembers`: whether ours may remember decisions.
    pub(super) fn new(archives: &[Archive], remembers: bool) -> Result<Self> {
        let server = BundleServer::start().context("the bundle server did not start")?;
        let bundles: Vec<_> = (0..archives.len()).map(|number| format!("bench-{number}")).collect();
        for (name, archive) in bundles.iter().zip(archives) {
            server.publish(&format!("/{name}"), Published::new(archive.build()));
        }
        let folder = tempfile::tempdir().context("no temporary folder could be made")?;
        let write = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
            Ok(path)
        };
        let module = write("portcullis.wasm", FILTER_MODULE)?;
        let idle = write("idle.wasm", &wat::parse_str(IDLE)?)?;
        Ok(Self { server, bundles, remembers, module, idle, folder })
    }

    /// Starts a contender, and waits until it answers these as it should.
    pub(super) fn start(&self, kind: Kind, setting: &Setting, first: &[Asked]) -> Result<Contender> {
        let path = setting.opa_envoy_plugin.as_ref().filter(|_| kind == Kind::OpaEnvoyPlugin);
        let plugin =
            path.map(|path| Plugin::start(path, &self.document(), self.folder.path())).transpose()?;
        let bootstrap = self.bootstrap(kind, plugin.as_ref(), setting.concurrency)?;
        let options = EnvoyOptions { concurrency: setting.concurrency, ..EnvoyOptions::default() };
        let envoy = RealEnvoy::start(&bootstrap, &options)?;
        let addr = envoy.listener_addr();
        let connections: Result<_, _> = (0..setting.connections).map(|_| Connection::open(addr)).collect();
        let mut contender = Contender { kind, connections: connections?, envoy, plugin };
        contender.wait_for(first)?;
        Ok(contender)
    }

    fn bootstrap(&self, kind: Kind, plugin: Option<&Plugin>, concurrency: u32) -> Result<Value> {
        let document = self.document().to_string();
        let config = Config::parse(document.as_bytes())?;
        // Nothing listens there, and nobody asks.
        let upstream = Upstream { host: Ipv4Addr::LOCALHOST.to_string(), port: 9 };
        let module = if kind == Kind::IdleWasm { &self.idle } else { &self.module };
        let mut options = BootstrapOptions::new(module, document, upstream);
        options.concurrency = concurrency;
        options.seal = kind == Kind::Portcullis;
        let mut bootstrap = bootstrap(&config, &options);

        let resources = &mut bootstrap["static_resources"];
        let manager = &mut resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
        manager["route_config"]["virtual_hosts"][0]["routes"] = json!([{
            "match": { "prefix": "/" },
            "direct_response": { "status": 200, "body": { "inline_string": "ok" } },
        }]);
        let filters = manager["http_filters"].as_array_mut().context("there are no HTTP filters")?;
        if matches!(kind, Kind::Nothing | Kind::OpaEnvoyPlugin) {
            filters.remove(0);
        }
        if let Some(plugin) = plugin {
            filters.insert(0, Plugin::ext_authz());
            resources["clusters"].as_array_mut().context("there are no clusters")?.push(plugin.cluster());
        }
        Ok(bootstrap)
    }

    /// The configuration of ours.
    fn document(&self) -> Value {
        let bundles: Map<_, _> = self
            .bundles
            .iter()
            .map(|name| (name.clone(), json!({ "service": "bench", "resource": name })))
            .collect();
        let mut document = json!({
            "services": { "bench": { "url": self.server.url(""), "cluster": "bench" } },
            "bundles": bundles,
            "portcullis": { "policies": { "bench": { "bundles": self.bundles, "decision": DECISION } } },
        });
        if !self.remembers {
            document["portcullis"]["limits"] = json!({ "remembered_bytes": 0 });
        }
        document
    }
}

// === impl Kind ===

impl Kind {
    /// Whether it refuses what the policy does not allow.
    pub(super) fn decides(self) -> bool {
        matches!(self, Self::Portcullis | Self::OpaEnvoyPlugin)
    }
}

// === impl Contender ===

impl Contender {
    /// A request as it goes out.
    pub(super) fn to_bytes(&self, request: &Request) -> Vec<u8> {
        request.to_bytes(self.envoy.listener_addr())
    }

    /// The status that it must answer.
    pub(super) fn right_status(&self, allowed: bool) -> u16 {
        if allowed || !self.kind.decides() { 200 } else { 403 }
    }

    /// User and system time of all its processes since they began.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        let mut time = cpu::of_process(self.envoy.pid())?;
        if let Some(plugin) = &self.plugin {
            time += cpu::of_process(plugin.pid())?;
        }
        Ok(time)
    }

    /// The end of what Envoy has logged.
    pub(super) fn log_tail(&self) -> String {
        let log = self.envoy.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Each worker has a VM of its own, which a connection belongs to.
    fn wait_for(&mut self, first: &[Asked]) -> Result<()> {
        let began = Instant::now();
        for at in 0..self.connections.len() {
            for asked in first {
                let (bytes, right) = (self.to_bytes(&asked.request), self.right_status(asked.allowed));
                loop {
                    let connection = &mut self.connections[at];
                    connection.send_bytes(&bytes)?;
                    let seen = connection.receive("GET")?.status;
                    if seen == right {
                        break;
                    }
                    if let Some(plugin) = &mut self.plugin {
                        plugin.ensure_alive()?;
                    }
                    ensure!(
                        began.elapsed() < BOUND,
                        "{right} was to be answered within {} s, and it is {seen}; Envoy says:\n{}",
                        BOUND.as_secs(),
                        self.log_tail()
                    );
                    std::thread::sleep(PAUSE);
                }
            }
        }
        Ok(())
    }
}
