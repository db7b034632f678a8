//! Every table of cases through the built module, in real Envoy, over HTTP.

use portcullis_tests::{
    envoy::{Gate, GateOptions, bundle_server},
    native::Native,
    table::Table,
};

/// Envoy compiles the module on both cores; one at a time is faster than all at once.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn run(name: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let table = Table::read(name);
    let archives = table.archives();
    let offered = archives.iter().filter_map(|(name, archive)| Some((name.as_str(), archive.clone()?)));
    let server = bundle_server(offered);
    let document = table.configuration(server.url("").trim_end_matches('/')).to_string();
    // The tables say what becomes of paths that other proxies would pass on, so Envoy must not tidy them up first.
    let options = GateOptions { policies: table.policies_asked(), raw_paths: true, ..GateOptions::default() };
    let gate = Gate::start(&document, &options);
    // The main thread's VM and the worker's, each for itself.
    gate.wait_for_counter("portcullis_policies_compiled", 2 * Native::load(&table).ready_policies(&table));
    table.run("envoy", |request| gate.exchange(request));
}

portcullis_tests::for_every_table!(run);
