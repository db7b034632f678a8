//! opa-envoy-plugin as a process of its own, and what Envoy needs to ask it.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use host_harness::real_envoy::spawn_for_life;
use serde_json::{Value, json};

use super::{contender::DECISION, in_opa};

const CLUSTER: &str = "opa-envoy-plugin";

/// Ends with its owner.
pub(super) struct Plugin {
    process: Child,
    addr: SocketAddr,
    log: PathBuf,
}

impl Plugin {
    /// Starts it with the bundles of a configuration of ours; its own and its log go into the folder.
    pub(super) fn start(binary: &Path, document: &Value, folder: &Path) -> Result<Self> {
        let addr = in_opa::free_addr()?;
        let mut configuration = in_opa::configuration(document);
        configuration["plugins"] =
            json!({ "envoy_ext_authz_grpc": { "addr": addr.to_string(), "path": DECISION } });
        let config = folder.join(format!("opa-{}.json", addr.port()));
        std::fs::write(&config, configuration.to_string()).context("opa-envoy-plugin's configuration")?;
        let log = folder.join(format!("opa-{}.log", addr.port()));
        let file = File::create(&log).context("opa-envoy-plugin's log")?;
        let mut command = Command::new(binary);
        command
            .args(["run", "--server", "--skip-version-check", "--log-level", "error"])
            // Its REST server, which nobody asks, would take a port that may be another's.
            .args(["--addr", "127.0.0.1:0"])
            .arg("--config-file")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let process =
            spawn_for_life(command).with_context(|| format!("{} could not be started", binary.display()))?;
        Ok(Self { process, addr, log })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn ensure_alive(&mut self) -> Result<()> {
        let status = self.process.try_wait()?;
        let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
        ensure!(status.is_none(), "opa-envoy-plugin ended with {status:?}:\n{}", log());
        Ok(())
    }

    /// Envoy's filter that asks it. What fails is answered 503, so that it is not taken for a decision.
    pub(super) fn ext_authz() -> Value {
        json!({
            "name": "envoy.filters.http.ext_authz",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                "transport_api_version": "V3",
                "grpc_service": { "envoy_grpc": { "cluster_name": CLUSTER }, "timeout": "60s" },
                "status_on_error": { "code": "ServiceUnavailable" },
            },
        })
    }

    /// The cluster that leads to it.
    pub(super) fn cluster(&self) -> Value {
        let (host, port) = (self.addr.ip().to_string(), self.addr.port());
        json!({
            "name": CLUSTER,
            "type": "STATIC",
            "connect_timeout": "5s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": { "http2_protocol_options": {} },
                },
            },
            "load_assignment": {
                "cluster_name": CLUSTER,
                "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                    "address": { "socket_address": { "address": host, "port_value": port } },
                } }] }],
            },
        })
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // Both fail only if it has ended and been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
