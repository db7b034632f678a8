//! Where the demo runs: the wasmtime harness over real HTTP, or real Envoy.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use host_harness::{
    FILTER_MODULE,
    abi::{Module, Runtime},
    envoy::{Envoy, EnvoyOptions, Request},
    real_envoy::{self, BootstrapOptions, RealEnvoy, bootstrap},
    servers::{Upstream, client},
    world::Live,
};
use portcullis_filter::config::Config;
use tempfile::TempDir;

use super::plan::{self, DemoRequest};

/// The filter's counter of policies that were compiled, over all VMs.
const COMPILED: &str = "portcullis_policies_compiled";
/// How long the harness goes on between two looks at its progress.
const SLICE: Duration = Duration::from_millis(2);

/// Where the filter runs.
pub(super) trait Stage {
    /// How many policies have been compiled, in all VMs together.
    fn compiled(&mut self) -> Result<usize>;
    /// How many there will be.
    fn to_compile(&self) -> usize;
    /// The time from the first tick to ready of the slowest VM; none until each has reported its own.
    fn ready_after(&self) -> Option<Duration>;
    /// Status and reason of one request; `allow` if the upstream answered.
    fn exchange(&mut self, request: &DemoRequest) -> Result<(u16, String)>;
    /// The filter's last words, for an error.
    fn log_tail(&self) -> String;
}

/// The module in wasmtime; its HTTP calls go to the real bundle server.
pub(super) struct Harness {
    envoy: Envoy<Live>,
    to_compile: usize,
    workers: usize,
    requests: usize,
    _upstream: Upstream,
}

/// The module in Envoy.
pub(super) struct InEnvoy {
    envoy: RealEnvoy,
    to_compile: usize,
    workers: usize,
    _upstream: Upstream,
    _folder: TempDir,
}

// === impl Harness ===

impl Harness {
    pub(super) fn start(document: String, workers: usize, bundle_server: SocketAddr) -> Result<Self> {
        let upstream = Upstream::start().context("the upstream did not start")?;
        let config = Config::parse(document.as_bytes())?;
        let clusters = config.clusters.keys();
        let world = clusters.fold(Live::new()?, |world, cluster| world.cluster(cluster, bundle_server));
        let world = world.cluster("upstream", upstream.addr());
        let to_compile = to_compile(&config, workers);
        let mut options = EnvoyOptions { concurrency: workers, ..EnvoyOptions::default() };
        options.plugin.configuration = document.into_bytes();
        let module = Module::load(&Runtime::new()?, FILTER_MODULE)?;
        let envoy = Envoy::start(&module, options, world)?;
        Ok(Self { envoy, to_compile, workers, requests: 0, _upstream: upstream })
    }
}

impl Stage for Harness {
    fn compiled(&mut self) -> Result<usize> {
        self.envoy.run_for(SLICE);
        Ok(self.envoy.metric(COMPILED).unwrap_or(0).try_into()?)
    }

    fn to_compile(&self) -> usize {
        self.to_compile
    }

    fn ready_after(&self) -> Option<Duration> {
        slowest(self.envoy.logs().iter().map(|line| line.message.as_str()), self.workers)
    }

    fn exchange(&mut self, request: &DemoRequest) -> Result<(u16, String)> {
        let mut sent = Request::new(request.method, request.path).authority("shop.example");
        for (name, value) in request.headers {
            sent = sent.header(name, value);
        }
        let route = plan::routes().into_iter().find(|route| request.path.starts_with(&route.prefix));
        if let Some(route) = route {
            sent = sent.property("xds.route_metadata.filter_metadata.portcullis.policy", route.policy);
        }
        // Each worker gets its turn.
        let worker = self.requests % self.workers;
        self.requests += 1;
        let exchange = self.envoy.exchange(worker, sent);
        Ok((exchange.status, reason(exchange.header("x-portcullis-reason"))))
    }

    fn log_tail(&self) -> String {
        let lines: Vec<String> =
            self.envoy.logs().iter().rev().take(20).map(|line| line.message.clone()).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

// === impl InEnvoy ===

impl InEnvoy {
    pub(super) fn start(document: String, workers: usize) -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder could be made")?;
        let module = folder.path().join("portcullis.wasm");
        std::fs::write(&module, FILTER_MODULE).with_context(|| module.display().to_string())?;
        let upstream = Upstream::start().context("the upstream did not start")?;
        let config = Config::parse(document.as_bytes())?;
        let to_compile = to_compile(&config, workers);
        let mut options = BootstrapOptions::new(&module, document, upstream.addr().into());
        options.concurrency = u32::try_from(workers)?;
        options.routes = plan::routes();
        let envoy_options = real_envoy::EnvoyOptions {
            concurrency: options.concurrency,
            ..real_envoy::EnvoyOptions::default()
        };
        let envoy = RealEnvoy::start(&bootstrap(&config, &options), &envoy_options)?;
        Ok(Self { envoy, to_compile, workers, _upstream: upstream, _folder: folder })
    }
}

impl Stage for InEnvoy {
    fn compiled(&mut self) -> Result<usize> {
        let stats = self.envoy.stats()?;
        Ok(stats.get(&format!("wasmcustom.{COMPILED}")).copied().unwrap_or(0).try_into()?)
    }

    fn to_compile(&self) -> usize {
        self.to_compile
    }

    fn ready_after(&self) -> Option<Duration> {
        slowest(self.envoy.log().lines(), self.workers)
    }

    fn exchange(&mut self, request: &DemoRequest) -> Result<(u16, String)> {
        let mut sent = client::Request::new(request.method, request.path).header("host", "shop.example");
        for (name, value) in request.headers {
            sent = sent.header(name, value);
        }
        let response = sent.send(self.envoy.listener_addr())?;
        Ok((response.status, reason(response.header("x-portcullis-reason"))))
    }

    fn log_tail(&self) -> String {
        let log = self.envoy.log();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// Every worker compiles every policy, and so does Envoy's main thread.
fn to_compile(config: &Config, workers: usize) -> usize {
    config.policies.len() * (workers + 1)
}

/// Reads what each VM logs when it becomes ready: `ready: every policy can decide, 57 ms after the first tick`.
fn slowest<'a>(lines: impl Iterator<Item = &'a str>, workers: usize) -> Option<Duration> {
    let reported: Vec<Duration> = lines
        .filter_map(|line| {
            line.split_once("every policy can decide, ")?.1.strip_suffix(" ms after the first tick")
        })
        .filter_map(|millis| Some(Duration::from_millis(millis.parse().ok()?)))
        .collect();
    reported.iter().max().copied().filter(|_| reported.len() > workers)
}

fn reason(header: Option<&[u8]>) -> String {
    header.map_or_else(|| "allow".to_owned(), |reason| String::from_utf8_lossy(reason).into_owned())
}
