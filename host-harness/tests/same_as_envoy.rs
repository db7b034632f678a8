//! Whether plugins come up, share streams, change and end in the harness as they do in real Envoy: the same guest, the
//! same steps, and on each thread the same lines in the same order.

mod common;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use common::{guest_text, options, start_in};
use host_harness::{
    envoy::{Envoy, EnvoyOptions, LogSource, PluginKind, PluginOptions, Request, VmRole},
    real_envoy::{self, RealEnvoy},
    servers::client,
    world::Scripted,
};
use serde_json::{Value, json};

/// Generous: a wait ends with its condition.
const BOUND: Duration = Duration::from_secs(60);
const ANY: &str = "type.googleapis.com/";

/// Tells every callback with its context. A configuration that begins with `n` is refused. The second character of a path
/// says which plugin answers by itself (`a` and so on) or traps (`A` and so on).
const GUEST: &str = r#"
  (func (export "proxy_on_context_create") (param i32 i32)
    (call $tell @"create") (call $say (local.get 0)) (call $say (local.get 1)))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $tell @"start") (call $say (local.get 0)) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (call $tell @"configure") (call $say (local.get 0)) (call $tell_buffer (i32.const 7)) (call $tell_property @"plugin_name")
    (call $clear) (drop (call $get_buffer (i32.const 7) (i32.const 0) (i32.const 1) (i32.const 16) (i32.const 20)))
    (i32.ne (i32.load8_u (i32.load (i32.const 16))) (i32.const 110)))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (local $name i32) (local $asked i32)
    (call $tell @"request headers") (call $say (local.get 0)) (call $tell_property @"plugin_name")
    (local.set $name (i32.load8_u (i32.load (i32.const 16))))
    (call $clear) (drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
    (local.set $asked (i32.load8_u (i32.add (i32.const 1) (i32.load (i32.const 16)))))
    (if (i32.eq (local.get $asked) (local.get $name)) (then (call $answer (i32.const 418) @"teapot")))
    (if (i32.eq (local.get $asked) (i32.sub (local.get $name) (i32.const 32))) (then (unreachable)))
    (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (call $tell @"response headers") (call $say (local.get 0)) (i32.const 0))
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
    (call $tell @"response body") (call $say (local.get 0)) (i32.const 0))
  (func (export "proxy_on_log") (param i32) (call $tell @"log") (call $say (local.get 0)))
  (func (export "proxy_on_done") (param i32) (result i32) (call $tell @"done") (call $say (local.get 0)) (i32.const 1))
  (func (export "proxy_on_delete") (param i32) (call $tell @"delete") (call $say (local.get 0)))
"#;

/// What is done, one after the other; at the end the process ends.
#[derive(Clone, Copy)]
enum Step {
    /// A request for this path, with the status that it is answered with.
    Get(&'static str, u16),
    /// A plugin gets another configuration.
    Update(&'static str, &'static str),
}

/// Lines of the main thread and of the worker.
type Lines = [Vec<String>; 2];

#[test]
fn a_chain_of_two_plugins() {
    let plugins = [plugin("a", PluginKind::Filter), plugin("b", PluginKind::Filter)];
    let steps = [Step::Get("/", 200), Step::Get("/a", 418), Step::Get("/b", 418), Step::Get("/", 200)];
    assert_same(&plugins, &steps);
}

#[test]
fn a_plugin_that_traps_takes_the_other_with_it() {
    let plugins = [plugin("a", PluginKind::Filter), plugin("b", PluginKind::Filter)];
    assert_same(&plugins, &[Step::Get("/A", 503), Step::Get("/", 503)]);
    assert_same(&plugins, &[Step::Get("/B", 503), Step::Get("/", 503)]);
}

#[test]
fn plugins_that_differ_in_nothing() {
    let plugins = [plugin("a", PluginKind::Filter), plugin("a", PluginKind::Filter)];
    assert_same(&plugins, &[Step::Get("/", 200)]);
}

#[test]
fn services_beside_filters() {
    let filters = [plugin("a", PluginKind::Filter), plugin("b", PluginKind::Filter)];
    for kind in [PluginKind::SingletonService, PluginKind::Service] {
        let plugins = [&filters[..], &[plugin("svc", kind)]].concat();
        assert_same(&plugins, &[Step::Get("/", 200)]);
    }
}

#[test]
fn updates_of_a_configuration() {
    let plugins = [plugin("a", PluginKind::Filter), plugin("b", PluginKind::Filter)];
    let steps = [
        Step::Get("/", 200),
        Step::Update("a", "2"),
        Step::Get("/", 200),
        Step::Update("b", "no"),
        Step::Get("/", 200),
        Step::Update("b", "3"),
        Step::Get("/", 200),
        Step::Update("a", "1"),
        Step::Get("/", 200),
    ];
    assert_same(&plugins, &steps);
}

fn plugin(name: &str, kind: PluginKind) -> PluginOptions {
    PluginOptions { name: name.to_owned(), configuration: b"1".to_vec(), kind, ..options().plugin }
}

fn assert_same(plugins: &[PluginOptions], steps: &[Step]) {
    let (counts, harness) = in_harness(plugins, steps);
    let envoy = in_envoy(plugins, steps, &counts);
    for (thread, (envoy, harness)) in ["main", "worker"].iter().zip(envoy.iter().zip(&harness)) {
        assert_eq!(envoy, harness, "the {thread} thread; first what real Envoy did");
    }
}

// === the harness ===

/// How many lines there are after the start and after each step, and all of them in the end.
fn in_harness(plugins: &[PluginOptions], steps: &[Step]) -> (Vec<usize>, Lines) {
    let options = EnvoyOptions { plugins: plugins.to_vec(), ..options() };
    let mut envoy = start_in(GUEST, options, Scripted::new());
    let count = |envoy: &Envoy<Scripted>| lines(envoy).iter().map(Vec::len).sum();
    let mut counts = vec![count(&envoy)];
    for step in steps {
        match step {
            Step::Get(path, status) => {
                assert_eq!(envoy.exchange(0, Request::get(path)).status, *status, "{path}")
            }
            // Whether it is refused shows in what follows.
            Step::Update(name, configuration) => drop(envoy.update_plugin(name, *configuration)),
        }
        envoy.run_for(Duration::ZERO);
        counts.push(count(&envoy));
    }
    envoy.shut_down();
    (counts, lines(&envoy))
}

fn lines(envoy: &Envoy<Scripted>) -> Lines {
    let of = |is: fn(VmRole) -> bool| {
        let said = envoy.logs().iter().filter(|line| line.source == LogSource::Guest && is(line.vm));
        said.map(|line| line.message.clone()).collect()
    };
    [of(|vm| !matches!(vm, VmRole::Worker(_))), of(|vm| matches!(vm, VmRole::Worker(_)))]
}

// === Envoy ===

fn in_envoy(plugins: &[PluginOptions], steps: &[Step], counts: &[usize]) -> Lines {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("guest.wasm");
    fs::write(&module, wat::parse_str(guest_text(GUEST)).unwrap()).unwrap();
    let discovered = steps.iter().any(|step| matches!(step, Step::Update(..)));
    let bootstrap = bootstrap(plugins, discovered, &module, folder.path());
    let envoy = RealEnvoy::start(&bootstrap, &real_envoy::EnvoyOptions::default()).unwrap();
    await_lines(&envoy, counts[0]);
    for (step, count) in steps.iter().zip(&counts[1..]) {
        match step {
            Step::Get(path, status) => {
                let response = client::Request::get(*path).send(envoy.listener_addr()).unwrap();
                assert_eq!(response.status, *status, "{path}");
            }
            Step::Update(name, configuration) => {
                let plugin = plugins.iter().find(|plugin| plugin.name == *name).unwrap();
                let plugin =
                    PluginOptions { configuration: configuration.as_bytes().to_vec(), ..plugin.clone() };
                publish(&plugin, &module, folder.path());
            }
        }
        await_lines(&envoy, *count);
    }
    threads(&envoy.quit().unwrap())
}

/// Waits until guests have logged so much, that is, until all that follows from a step has happened.
fn await_lines(envoy: &RealEnvoy, count: usize) {
    let logged = |envoy: &RealEnvoy| threads(&envoy.log()).iter().map(Vec::len).sum::<usize>();
    let came = envoy.wait_until(BOUND, |envoy| Ok(logged(envoy) >= count)).unwrap();
    assert!(came, "{} of {count} lines came: {}", logged(envoy), envoy.log());
}

/// What guests logged on the main thread, which is the first one, and on the worker.
fn threads(log: &str) -> Lines {
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

/// Filters stand in the configuration, before services in time, unless they are discovered, so that they can change.
fn bootstrap(plugins: &[PluginOptions], discovered: bool, module: &Path, folder: &Path) -> Value {
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
        "static_resources": { "listeners": [{
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
fn publish(plugin: &PluginOptions, module: &Path, folder: &Path) -> std::path::PathBuf {
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
