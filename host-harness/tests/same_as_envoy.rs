//! Whether plugins come up, share streams, change and end in the harness as they do in real Envoy: the same guest, the
//! same steps, and on each thread the same lines in the same order.

mod common;

use std::time::Duration;

use common::{
    options,
    real::{Lines, await_lines, bootstrap, harness_lines, module_file, publish, threads},
    start_in,
};
use host_harness::{
    envoy::{Envoy, EnvoyOptions, PluginKind, PluginOptions, Request},
    real_envoy::{self, RealEnvoy},
    servers::client,
    world::Scripted,
};

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
    let count = |envoy: &Envoy<Scripted>| harness_lines(envoy).iter().map(Vec::len).sum();
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
    (counts, harness_lines(&envoy))
}

// === Envoy ===

fn in_envoy(plugins: &[PluginOptions], steps: &[Step], counts: &[usize]) -> Lines {
    let folder = tempfile::tempdir().unwrap();
    let module = module_file(GUEST, folder.path());
    let discovered = steps.iter().any(|step| matches!(step, Step::Update(..)));
    let bootstrap = bootstrap(plugins, discovered, &module, folder.path(), &[]);
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
