//! One Envoy with both: opa-envoy-plugin behind ext_authz, and the filter.

use std::{net::SocketAddr, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use host_harness::{
    archive::Archive,
    servers::{BundleServer, client},
};
use portcullis_tests::{
    envoy::{Amend, BOUND, EVALUATION_MS, Gate, GateOptions, bundle_server, manager},
    http2,
};
use serde_json::{Value, json};

use crate::plugin::Plugin;

/// Each writes what it was given into a header of the answer.
const POLICY: &str = "package beside\n\n\
    told(name, value) := {\"allowed\": true, \"response_headers_to_add\": {name: base64.encode(json.marshal(value))}}\n\n\
    seen := {\"input\": input, \"labels\": opa.runtime().config.labels}\n\n\
    theirs := told(\"x-theirs\", seen)\n\n\
    ours := told(\"x-ours\", seen)\n";

/// All of it ends when this is dropped.
pub(crate) struct Beside {
    pub(crate) gate: Gate,
    _plugin: Plugin,
    _server: BundleServer,
    _folder: tempfile::TempDir,
}

/// How the Envoy differs from the one that `portcullis envoy-config` writes.
pub(crate) struct Setting {
    /// Below `portcullis` in the filter's configuration.
    pub(crate) ours: Value,
    /// What ext_authz sends of dynamic metadata, and of the route's.
    pub(crate) namespaces: [&'static [&'static str]; 2],
    /// A last change of Envoy's configuration.
    pub(crate) amend: Box<Amend>,
}

/// What came of one request: status, and what each of the two was given, where it was asked.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) ours: Option<Value>,
    pub(crate) theirs: Option<Value>,
}

// === impl Beside ===

impl Beside {
    pub(crate) fn start(binary: &Path, setting: Setting) -> Self {
        let archive =
            Archive::new().file(".manifest", r#"{"roots": ["beside"]}"#).file("beside.rego", POLICY);
        let server = bundle_server([("beside", archive.build())]);
        let mut document = json!({
            "labels": { "region": "north", "tier": "7" },
            "services": { "hub": { "url": server.url("").trim_end_matches('/'), "cluster": "hub" } },
            "bundles": { "beside": { "resource": "beside.tar.gz" } },
            "portcullis": {
                "policies": { "beside": { "bundles": ["beside"], "decision": "beside/ours" } },
                "limits": { "evaluation_ms": EVALUATION_MS },
                "paths": "opa",
            },
        });
        let Setting { ours, namespaces: [namespaces, of_route], amend } = setting;
        for (key, value) in ours.as_object().into_iter().flatten() {
            document["portcullis"][key] = value.clone();
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plugin = Plugin::start(binary, &document, "beside/theirs", folder.path());
        let (cluster, ext_authz) = (plugin.cluster(), Plugin::ext_authz(namespaces, of_route));
        let both = move |bootstrap: &mut Value| {
            let filters = manager(bootstrap)["http_filters"].as_array_mut().expect("filters");
            filters.insert(0, ext_authz.clone());
            let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters");
            clusters.push(cluster.clone());
            amend(bootstrap);
        };
        let options = GateOptions { raw_paths: true, amend: Some(Box::new(both)), ..GateOptions::default() };
        let gate = Gate::start(&document.to_string(), &options);
        let beside = Self { gate, _plugin: plugin, _server: server, _folder: folder };
        let is_ready = beside.gate.envoy.wait_until(BOUND, |_| {
            let told = beside.http1(beside.gate.addr(), &client::Request::get("/"));
            Ok(told.ours.is_some() && told.theirs.is_some())
        });
        assert!(is_ready.unwrap_or(false), "{}", beside.gate.envoy.log());
        beside
    }

    /// Where a listener takes connections.
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        let listeners =
            self.gate.envoy.admin_get("/listeners?format=json").expect("the admin interface answers");
        let listeners: Value = serde_json::from_str(&listeners).expect("JSON");
        let all = listeners["listener_statuses"].as_array().expect("a list");
        let found = all.iter().find(|listener| listener["name"] == name).expect("the listener");
        let port = found["local_address"]["socket_address"]["port_value"].as_u64().expect("a port");
        ([127, 0, 0, 1], u16::try_from(port).expect("a port")).into()
    }

    pub(crate) fn http1(&self, addr: SocketAddr, request: &client::Request) -> Told {
        let response =
            request.send(addr).unwrap_or_else(|error| panic!("{error}\n{}", self.gate.envoy.log()));
        Told::read(response.status, &response.headers)
    }

    /// None for what a client of HTTP/2 does not send.
    pub(crate) fn http2(
        &self,
        addr: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(String, String)],
    ) -> Option<Told> {
        let response = http2::send(addr, method, "any.test", path, headers).ok()?;
        Some(Told::read(response.status, &response.headers))
    }
}

// === impl Told ===

impl Told {
    pub(crate) fn read(status: u16, headers: &[(String, Vec<u8>)]) -> Self {
        let read = |name: &str| {
            let (_, value) = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
            let json = BASE64_STANDARD.decode(value).expect("base64");
            Some(serde_json::from_slice(&json).expect("JSON"))
        };
        Self { status, ours: read("x-ours"), theirs: read("x-theirs") }
    }
}
