//! The same guest in real Envoy: its configuration, and what guests logged on each thread.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use host_harness::{
    envoy::{Envoy, LogSource, PluginKind, PluginOptions, VmRole},
    real_envoy::RealEnvoy,
    world::World,
};
use serde_json::{Value, json};

use super::guest_text;

/// Generous: a wait ends with its condition.
const BOUND: Duration = Duration::from_secs(60);
const ANY: &str = "type.googleapis.com/";

/// Lines of the main thread and of the worker.
pub(crate) type Lines = [Vec<String>; 2];

/// What guests logged in the harness.
pub(crate) fn harness_lines<W: World>(envoy: &Envoy<W>) -> Lines {
    let of = |is: fn(VmRole) -> bool| {
        let said = envoy.logs().iter().filter(|line| line.source == LogSource::Guest && is(line.vm));
        said.map(|line| line.message.clone()).collect()
    };
    [of(|vm| !matches!(vm, VmRole::Worker(_))), of(|vm| matches!(vm, VmRole::Worker(_)))]
}

/// A guest as a file that Envoy reads.
pub(crate) fn module_file(body: &str, folder: &Path) -> PathBuf {
    let path = folder.join("guest.wasm");
    fs::write(&path, wat::parse_str(guest_text(body)).expect("the guest of the test is a module")).unwrap();
    path
}

/// Waits until guests have logged so much, that is, until all that follows from a step has happened.
pub(crate) fn await_lines(envoy: &RealEnvoy, count: usize) {
    let logged = |envoy: &RealEnvoy| threads(&envoy.log()).iter().map(Vec::len).sum::<usize>();
    let came = envoy.wait_until(BOUND, |envoy| Ok(logged(envoy) >= count)).unwrap();
    assert!(came, "{} of {count} lines came: {}", logged(envoy), envoy.log());
}

/// What guests logged on the main thread, which is the first one, and on the worker.
pub(crate) fn threads(log: &str) -> Lines {
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut order = Vec::new();
    for line in log.lines() {
        // `[time][thread][level][logger] [file:line] wasm log name root_id vm_id: message`
        let Some((head, message)) = line.split_once(" gate_vm: ") else { continue };
        let thread = head.split(['[', ']']).filter(|part| !part.is_empty()).nth(1).unwrap();
        if !lines.contains_key(thread) {
            order.push(thread.to_owned());
        }
        lines.entry(thread.to_owned()).or_default().push(message.to_owned());
    }
    assert!(order.len() <= 2, "one worker: {order:?}");
    let mut of = |n: usize| order.get(n).and_then(|thread| lines.remove(thread)).unwrap_or_default();
    [of(0), of(1)]
}

/// A cluster with one host, or with none.
pub(crate) fn cluster(name: &str, host: Option<SocketAddr>, http2: bool) -> Value {
    let endpoint = |host: SocketAddr| {
        let address = json!({ "address": host.ip().to_string(), "port_value": host.port() });
        json!({ "lb_endpoints": [{ "endpoint": { "address": { "socket_address": address } } }] })
    };
    let endpoints: Vec<Value> = host.into_iter().map(endpoint).collect();
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": { "cluster_name": name, "endpoints": endpoints },
    });
    if http2 {
        let options = format!("{ANY}envoy.extensions.upstreams.http.v3.HttpProtocolOptions");
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options,
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        });
    }
    cluster
}

/// Filters stand in the configuration, before services in time, unless they are discovered, so that they can change.
pub(crate) fn bootstrap(
    plugins: &[PluginOptions],
    discovered: bool,
    module: &Path,
    folder: &Path,
    clusters: &[Value],
) -> Value {
    let filters = plugins.iter().filter(|plugin| plugin.kind == PluginKind::Filter).map(|plugin| {
        if !discovered {
            return json!({ "name": plugin.name, "typed_config": wasm(plugin, module) });
        }
        let path = publish(plugin, module, folder);
        json!({
            "name": plugin.name,
            "config_discovery": {
                "config_source": { "path_config_source": { "path": path }, "resource_api_version": "V3" },
                "type_urls": [format!("{ANY}envoy.extensions.filters.http.wasm.v3.Wasm")],
            },
        })
    });
    let router = json!({
        "name": "router",
        "typed_config": { "@type": format!("{ANY}envoy.extensions.filters.http.router.v3.Router") },
    });
    let services = plugins.iter().filter(|plugin| plugin.kind != PluginKind::Filter).map(|plugin| {
        json!({
            "name": "envoy.bootstrap.wasm",
            "typed_config": {
                "@type": format!("{ANY}envoy.extensions.wasm.v3.WasmService"),
                "config": wasm(plugin, module)["config"],
                "singleton": plugin.kind == PluginKind::SingletonService,
            },
        })
    });
    let manager = json!({
        "@type": format!("{ANY}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "ingress",
        "route_config": { "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }],
        }] },
        "http_filters": filters.chain([router]).collect::<Vec<_>>(),
    });
    json!({
        "node": { "id": "same", "cluster": "same" },
        "bootstrap_extensions": services.collect::<Vec<_>>(),
        "static_resources": { "clusters": clusters, "listeners": [{
            "name": "ingress",
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
            "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }],
        }] },
    })
}

fn wasm(plugin: &PluginOptions, module: &Path) -> Value {
    json!({
        "@type": format!("{ANY}envoy.extensions.filters.http.wasm.v3.Wasm"),
        "config": {
            "name": plugin.name,
            "root_id": plugin.root_id,
            "failure_policy": "FAIL_RELOAD",
            // Longer than the test, so that nothing comes back by itself.
            "reload_config": { "backoff": { "base_interval": "3600s" } },
            "allow_on_headers_stop_iteration": true,
            "configuration": {
                "@type": format!("{ANY}google.protobuf.StringValue"),
                "value": String::from_utf8_lossy(&plugin.configuration),
            },
            "vm_config": {
                "vm_id": plugin.vm_id,
                "runtime": "envoy.wasm.runtime.v8",
                "code": { "local": { "filename": module } },
            },
        },
    })
}

/// Puts a plugin's configuration where Envoy watches for it, and gives the path. A file is taken when it is moved there.
pub(crate) fn publish(plugin: &PluginOptions, module: &Path, folder: &Path) -> PathBuf {
    let resource = json!({
        "@type": format!("{ANY}envoy.config.core.v3.TypedExtensionConfig"),
        "name": plugin.name,
        "typed_config": wasm(plugin, module),
    });
    let (path, draft) = (folder.join(format!("{}.json", plugin.name)), folder.join("draft"));
    let version = String::from_utf8_lossy(&plugin.configuration);
    let response = json!({ "version_info": version, "resources": [resource] });
    fs::write(&draft, response.to_string()).unwrap();
    fs::rename(draft, &path).unwrap();
    path
}
