//! The real opa-envoy-plugin, as Go builds it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use host_harness::real_envoy::spawn_for_life;
use portcullis_tests::root;
use serde_json::{Value, json};

use crate::tools::Tool;

/// The newest that Go's proxy serves.
const VERSION: &str = "v1.15.2-envoy";
const PACKAGE: &str = "github.com/open-policy-agent/opa-envoy-plugin";
/// A binary of this version, in place of one that is built here.
const BINARY: &str = "PORTCULLIS_OPA_ENVOY_PLUGIN";
const CLUSTER: &str = "opa-envoy-plugin";

/// Ends when it is dropped.
pub(crate) struct Plugin {
    process: Child,
    addr: SocketAddr,
}

/// The binary; none, with a line about it, where there is no Go to build it. Tests of one process build it once.
pub(crate) fn binary() -> Option<PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY) {
        return Some(path.into());
    }
    let go = Tool::Go.find()?;
    let folder = root().join("target/opa-envoy-plugin").join(VERSION);
    let binary = folder.join("opa-envoy-plugin");
    if binary.is_file() {
        return Some(binary);
    }
    fs::create_dir_all(&folder).expect("the folder can be made");
    let module = format!("module built\n\ngo 1.24\n\nrequire {PACKAGE} {VERSION}\n");
    fs::write(folder.join("go.mod"), module).expect("the folder can be written");
    let import = format!("package built\n\nimport _ \"{PACKAGE}/cmd/opa-envoy-plugin\"\n");
    fs::write(folder.join("tools.go"), import).expect("the folder can be written");
    run(Command::new(&go).args(["mod", "tidy"]).current_dir(&folder));
    // In place at once, and whole.
    let made = folder.join(format!("made-{}", std::process::id()));
    run(Command::new(&go)
        .args(["build", "-o"])
        .arg(&made)
        .arg(format!("{PACKAGE}/cmd/opa-envoy-plugin"))
        .current_dir(&folder));
    fs::rename(&made, &binary).expect("the folder can be written");
    Some(binary)
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("go can be started");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

// === impl Plugin ===

impl Plugin {
    /// Starts it with services and bundles of `document`, which are OPA's, for one decision.
    pub(crate) fn start(binary: &Path, document: &Value, decision: &str, folder: &Path) -> Self {
        let addr = free_addr();
        let mut services = document["services"].clone();
        for service in services.as_object_mut().into_iter().flat_map(|services| services.values_mut()) {
            service.as_object_mut().map(|service| service.remove("cluster"));
        }
        let configuration = json!({
            "services": services,
            "bundles": document["bundles"],
            "labels": document["labels"],
            "plugins": { "envoy_ext_authz_grpc": { "addr": addr.to_string(), "path": decision } },
        });
        let config = folder.join("opa.json");
        fs::write(&config, configuration.to_string()).expect("the folder can be written");
        let mut command = Command::new(binary);
        command
            .args(["run", "--server", "--skip-version-check", "--log-level", "error"])
            // Its REST server, which nobody asks, would take a port that may be another's.
            .args(["--addr", "127.0.0.1:0"])
            .arg("--config-file")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = spawn_for_life(command).expect("opa-envoy-plugin starts");
        Self { process, addr }
    }

    /// Envoy's filter that asks it, with all that Envoy can send.
    pub(crate) fn ext_authz(namespaces: &[&str], route_namespaces: &[&str]) -> Value {
        json!({
            "name": "envoy.filters.http.ext_authz",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                "transport_api_version": "V3",
                "grpc_service": { "envoy_grpc": { "cluster_name": CLUSTER }, "timeout": "60s" },
                "status_on_error": { "code": "ServiceUnavailable" },
                "include_peer_certificate": true,
                "include_tls_session": true,
                "metadata_context_namespaces": namespaces,
                "route_metadata_context_namespaces": route_namespaces,
            },
        })
    }

    /// The cluster that leads to it.
    pub(crate) fn cluster(&self) -> Value {
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

/// The plugin does not tell which port it has been given, so that one is looked for.
fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it has an address")
}
