//! The built module in the wasmtime harness, with bundles and upstream from a script in virtual time.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use host_harness::{
    FILTER_MODULE,
    abi::{Module, Runtime},
    envoy::{Envoy, EnvoyOptions, Request},
    world::{Reply, Scripted},
};
use portcullis_filter::authz::{SEAL_KEY, SEAL_VALUE};
use serde_json::Value;

use crate::table::{Answered, BUNDLE_CLUSTER, CaseRequest, SeenUpstream, Table};

/// Compiled once for all tests of a process.
static MODULE: LazyLock<Module> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("wasmtime starts");
    Module::load(&runtime, FILTER_MODULE).expect("the filter is a proxy-wasm module")
});

/// The filter's module, compiled.
pub fn module() -> &'static Module {
    &MODULE
}

/// An Envoy with one worker that has loaded what a table's bundle server offers.
pub fn load(table: &Table) -> Envoy<Scripted> {
    start(&table.configuration("http://bundles.test"), table.archives())
}

/// An Envoy with one worker, after the second in which it loads these bundles; none is a 404.
pub fn start(configuration: &Value, archives: BTreeMap<String, Option<Vec<u8>>>) -> Envoy<Scripted> {
    start_with_places(2, configuration, archives)
}

/// The same with so many places of the filter before the seal; `portcullis envoy-config` writes two.
pub fn start_with_places(
    places: usize,
    configuration: &Value,
    archives: BTreeMap<String, Option<Vec<u8>>>,
) -> Envoy<Scripted> {
    let upstream = Reply::body("upstream").with_header("x-answered-by", "upstream");
    let mut world = Scripted::new().script("upstream", move |_, _| upstream.clone());
    for (name, archive) in archives {
        let reply = archive.map_or_else(|| Reply::status(404), Reply::body);
        world.set_reply(BUNDLE_CLUSTER, &format!("/{name}.tar.gz"), reply.after(Duration::from_millis(50)));
    }
    let mut options = EnvoyOptions { concurrency: 1, ..EnvoyOptions::default() };
    options.plugin.configuration = configuration.to_string().into_bytes();
    options.plugins = vec![options.plugin.clone(); places];
    options.seal = Some((format!("wasm.{SEAL_KEY}"), SEAL_VALUE.as_bytes().to_vec()));
    let mut envoy = Envoy::start(module(), options, world).unwrap_or_else(|error| panic!("{error}"));
    envoy.run_for(Duration::from_secs(1));
    envoy
}

/// One row of a table.
pub fn exchange(envoy: &mut Envoy<Scripted>, case: &CaseRequest) -> Answered {
    let mut request = Request::new(&case.method, "/").authority(&case.authority);
    request.path = case.path.bytes();
    for (name, value) in &case.headers {
        request = request.header(&name.to_ascii_lowercase(), value.bytes());
    }
    if let Some(policy) = &case.policy {
        request = request.property("xds.route_metadata.filter_metadata.portcullis.policy", policy);
    }
    let exchange = envoy.exchange(0, request);
    Answered {
        status: exchange.status,
        headers: exchange.headers.iter().map(readable).collect(),
        body: String::from_utf8_lossy(&exchange.body).into_owned(),
        upstream: exchange.upstream_request.map(|request| {
            let headers: Vec<(String, String)> = request.headers.iter().map(readable).collect();
            let path =
                headers.iter().find(|(name, _)| name == ":path").map_or("", |(_, path)| path).to_owned();
            SeenUpstream { path, headers }
        }),
    }
}

fn readable((name, value): &(Vec<u8>, Vec<u8>)) -> (String, String) {
    (String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned())
}
