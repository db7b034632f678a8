//! Modules written by hand against each version of the ABI, in the harness and in real Envoy.
//!
//! The guest of the matrix calls out on both halves of a stream and lets it go on from the answer, so that an exchange
//! which ends has used the names and types that are particular to its version.

use crate::{
    common::{options, runtime},
    toolchain::start_envoy,
};
use host_harness::{
    abi::{AbiVersion, LoadError, Module, pairs},
    envoy::{Envoy, EnvoyOptions, LogSource, Request},
    real_envoy::{EnvoyError, RealEnvoy},
    servers::{Upstream, client},
    world::Scripted,
};

const VERSIONS: [AbiVersion; 3] = [AbiVersion::V0_1_0, AbiVersion::V0_2_0, AbiVersion::V0_2_1];

/// What runs before the first callback: exports, and what they log in order.
const STARTS: [(&[&str], &[&str]); 5] = [
    (&[], &[]),
    (&["_start"], &["_start"]),
    (&["_initialize"], &["_initialize"]),
    (&["_initialize", "main"], &["_initialize", "main"]),
    // A module that has both is a reactor; its `_start` is never called.
    (&["_initialize", "_start"], &["_initialize"]),
];

/// Exports that the host may take memory from, and the address that the one gives which Envoy chooses.
const ALLOCATORS: [(&[&str], u32); 3] = [
    (&["malloc"], 8192),
    (&["proxy_on_memory_allocate"], 16384),
    (&["malloc", "proxy_on_memory_allocate"], 8192),
];

#[test]
fn every_version_of_the_abi_runs_with_every_way_to_start_and_to_give_memory() {
    for (abi, start, allocator) in matrix() {
        let text = guest(abi, start.0, allocator.0);
        let module =
            Module::load(runtime(), text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(module.abi_version(), abi);
        let mut options = options();
        options.plugin.configuration = b"settings".to_vec();
        let mut envoy = Envoy::start(&module, options, Scripted::new().cluster("side")).unwrap();
        let mut expected: Vec<String> = start.1.iter().map(|name| (*name).to_owned()).collect();
        expected.extend(["settings".to_owned(), allocator.1.to_string()]);
        assert_eq!(worker_said(&envoy), expected, "{abi} {start:?} {allocator:?}");

        let exchange = envoy.exchange(0, Request::get("/"));
        assert_eq!(exchange.status, 200, "{abi}");
        assert_eq!(exchange.header("x-abi"), Some(abi.to_string().as_bytes()));
        assert_eq!(envoy.vms()[1].callbacks["proxy_on_http_call_response"], 2);
    }
}

#[test]
fn the_same_modules_run_in_real_envoy() {
    // The ways to start and to give memory do not depend on the version, so each is seen once and not in all pairs.
    let guests = (0..5).map(|index| (VERSIONS[index % 3], STARTS[index], ALLOCATORS[index % 3]));
    let upstream = Upstream::start().unwrap();
    for (abi, start, allocator) in guests {
        let text = guest(abi, start.0, allocator.0);
        let envoy =
            start_envoy_with(&text, "settings", &upstream).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let response = client::Request::get("/").send(envoy.listener_addr()).unwrap();
        assert_eq!(response.status, 200, "{abi}");
        assert_eq!(response.header("x-abi"), Some(abi.to_string().as_bytes()), "{abi}");
        let log = envoy.quit().unwrap();
        let said = |word: &str| log.lines().any(|line| line.trim_end().ends_with(&format!(": {word}")));
        for name in ["_start", "_initialize", "main"] {
            assert_eq!(said(name), start.1.contains(&name), "{name} of {start:?}\n{log}");
        }
        assert!(said("settings") && said(&allocator.1.to_string()), "{allocator:?}\n{log}");
    }
}

/// Bodies of modules that are a version apart from loading, with their version, and what the error has to name; `None`
/// for those that load after all.
fn borderline() -> Vec<(AbiVersion, String, Option<&'static str>)> {
    use AbiVersion::{V0_1_0, V0_2_0, V0_2_1};
    let import = |name: &str, parameters: usize| {
        let words = "i32 ".repeat(parameters);
        format!(r#"(import "env" "{name}" (func (param {words}) (result i32)))"#)
    };
    let export = |name: &str, parameters: usize, returns: bool| {
        let words = "i32 ".repeat(parameters);
        let (result, value) = if returns { ("(result i32)", "(i32.const 1)") } else { ("", "") };
        format!(r#"(func (export "{name}") (param {words}) {result} {value})"#)
    };
    let mut cases = Vec::new();
    for (name, parameters, versions) in [
        ("proxy_get_configuration", 2, vec![V0_1_0]),
        ("proxy_continue_request", 0, vec![V0_1_0]),
        ("proxy_continue_response", 0, vec![V0_1_0]),
        ("proxy_clear_route_cache", 0, vec![V0_1_0]),
        ("proxy_continue_stream", 1, vec![V0_2_0, V0_2_1]),
        ("proxy_close_stream", 1, vec![V0_2_0, V0_2_1]),
        ("proxy_get_log_level", 1, vec![V0_2_1]),
    ] {
        for abi in VERSIONS {
            let error = (!versions.contains(&abi)).then_some(name);
            cases.push((abi, import(name, parameters), error));
        }
    }
    for name in ["proxy_on_request_headers", "proxy_on_response_headers"] {
        for (abi, parameters) in [(V0_1_0, 2), (V0_2_0, 3), (V0_2_1, 3)] {
            cases.push((abi, export(name, parameters, true), None));
            cases.push((abi, export(name, 5 - parameters, true), Some(name)));
        }
    }
    // The type is looked at where Envoy looks the function up, and nowhere else.
    cases.push((V0_2_1, export("_start", 0, true), Some("_start")));
    cases.push((V0_2_1, export("_initialize", 1, false), Some("_initialize")));
    cases.push((V0_2_1, export("_initialize", 0, false) + &export("main", 0, true), Some("main")));
    cases.push((V0_2_1, export("_initialize", 0, false) + &export("_start", 1, false), None));
    cases.push((V0_2_1, export("main", 0, true), None));
    cases.push((V0_2_1, export("proxy_on_tick", 2, false), Some("proxy_on_tick")));
    cases.push((V0_2_1, export("proxy_on_grpc_close", 2, false), Some("proxy_on_grpc_close")));
    cases.push((V0_2_1, export("proxy_on_new_connection", 1, false), Some("proxy_on_new_connection")));
    cases.push((V0_2_1, export("proxy_on_foreign_function", 2, false), Some("proxy_on_foreign_function")));
    cases.push((V0_1_0, export("proxy_on_foreign_function", 2, false), None));
    cases.push((V0_2_1, r#"(global (export "proxy_on_tick") i32 (i32.const 0))"#.to_owned(), None));
    cases
}

#[test]
fn what_is_not_of_the_modules_own_version_is_refused_by_name() {
    for (abi, body, refused) in borderline() {
        match (Module::load(runtime(), minimal(abi, &body).as_bytes()), refused) {
            (Ok(module), None) => {
                let mut envoy = Envoy::start(&module, EnvoyOptions::default(), Scripted::new()).unwrap();
                assert!(envoy.exchange(0, Request::get("/")).status > 0);
            }
            (Err(error), Some(name)) => {
                let named = matches!(
                    &error,
                    LoadError::ImportOfOtherAbi { name: found, .. } | LoadError::ExportType { name: found, .. }
                        if found == name
                );
                assert!(named && error.to_string().contains(&format!("{name}`")), "{abi}: {error}");
            }
            (loaded, expected) => panic!("{abi} {body}: {:?} and not {expected:?}", loaded.err()),
        }
    }
}

#[test]
fn real_envoy_refuses_the_same_modules() {
    let upstream = Upstream::start().unwrap();
    for (abi, body, refused) in borderline() {
        match (start_envoy_with(&minimal(abi, &body), "", &upstream), refused) {
            (Ok(_envoy), None) => {}
            (Err(error), Some(name)) => assert!(error.to_string().contains(name), "{abi} {body}: {error}"),
            (started, expected) => panic!("{abi} {body}: {:?} and not {expected:?}", started.err()),
        }
    }
}

type Choice =
    (AbiVersion, (&'static [&'static str], &'static [&'static str]), (&'static [&'static str], u32));

fn matrix() -> Vec<Choice> {
    let with_starts = |abi| STARTS.iter().map(move |start| (abi, *start));
    VERSIONS
        .iter()
        .flat_map(|abi| with_starts(*abi))
        .flat_map(|(abi, start)| ALLOCATORS.iter().map(move |allocator| (abi, start, *allocator)))
        .collect()
}

fn export_of(abi: AbiVersion) -> String {
    format!("proxy_abi_version_{}", abi.to_string().replace('.', "_"))
}

fn minimal(abi: AbiVersion, body: &str) -> String {
    let version = export_of(abi);
    format!(
        r#"(module {body} (memory (export "memory") 1)
          (func (export "malloc") (param i32) (result i32) (i32.const 1024))
          (func (export "{version}")))"#
    )
}

/// A guest that uses everything that is particular to a version.
fn guest(abi: AbiVersion, starts: &[&str], allocators: &[&str]) -> String {
    let old = abi == AbiVersion::V0_1_0;
    let imports = if old {
        r#"(import "env" "proxy_get_configuration" (func $configuration (param i32 i32) (result i32)))
           (import "env" "proxy_continue_request" (func $continue_request (result i32)))
           (import "env" "proxy_continue_response" (func $continue_response (result i32)))
           (import "env" "proxy_clear_route_cache" (func $clear_route_cache (result i32)))"#
    } else {
        r#"(import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
           (import "env" "proxy_continue_stream" (func $continue_stream (param i32) (result i32)))"#
    };
    let shims = if old {
        r#"(export "clear_route_cache" (func $clear_route_cache))"#
    } else {
        // 7 is the plugin's configuration; 0 and 1 are the request and the response.
        r#"(func $configuration (param i32 i32) (result i32)
             (call $buffer (i32.const 7) (i32.const 0) (i32.const 1000) (local.get 0) (local.get 1)))
           (func $continue_request (result i32) (call $continue_stream (i32.const 0)))
           (func $continue_response (result i32) (call $continue_stream (i32.const 1)))"#
    };
    let end = if old { "" } else { "i32" };
    let starts: String = starts
        .iter()
        .map(|name| {
            let (at, size) = (
                96 + 16 * ["_start", "_initialize", "main"].iter().position(|n| n == name).unwrap(),
                name.len(),
            );
            let (ty, value) =
                if *name == "main" { ("(param i32 i32) (result i32)", "(i32.const 0)") } else { ("", "") };
            format!(
                r#"(func (export "{name}") {ty} (call $tell (i32.const {at}) (i32.const {size})) {value})"#
            )
        })
        .collect();
    let allocators: String = allocators
        .iter()
        .map(|name| {
            let at = if *name == "malloc" { 8192 } else { 16384 };
            format!(r#"(func (export "{name}") (param i32) (result i32) (i32.const {at}))"#)
        })
        .collect();
    let headers = pairs::to_bytes(&[(":method", "GET"), (":path", "/side"), (":authority", "side")]);
    let headers_size = headers.len();
    let headers: String = headers.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let version = export_of(abi);
    format!(
        r#"(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call" (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $act_on (param i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add_header (param i32 i32 i32 i32 i32) (result i32)))
  {imports}
  (memory (export "memory") 1)
  (data (i32.const 64) "side") (data (i32.const 72) "x-abi") (data (i32.const 80) "{abi}")
  (data (i32.const 96) "_start") (data (i32.const 112) "_initialize") (data (i32.const 128) "main")
  (data (i32.const 144) "16384") (data (i32.const 152) "8192")
  (data (i32.const 1024) "{headers}")
  (func (export "{version}"))
  {shims} {starts} {allocators}
  (func $tell (param i32 i32) (drop (call $log (i32.const 2) (local.get 0) (local.get 1))))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (if (call $configuration (i32.const 16) (i32.const 20)) (then unreachable))
    (call $tell (i32.load (i32.const 16)) (i32.load (i32.const 20)))
    (if (i32.eq (i32.load (i32.const 16)) (i32.const 16384))
      (then (call $tell (i32.const 144) (i32.const 5))) (else (call $tell (i32.const 152) (i32.const 4))))
    (i32.const 1))
  ;; The stream that waits, and whether it is its response that does.
  (global $waits (mut i32) (i32.const 0))
  (global $responds (mut i32) (i32.const 0))
  (func $ask (param i32 i32) (result i32)
    (global.set $waits (local.get 0)) (global.set $responds (local.get 1))
    (if (call $http_call (i32.const 64) (i32.const 4) (i32.const 1024) (i32.const {headers_size}) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 5000) (i32.const 24))
      (then unreachable))
    (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 {end}) (result i32)
    (call $ask (local.get 0) (i32.const 0)))
  (func (export "proxy_on_response_headers") (param i32 i32 {end}) (result i32)
    (if (call $add_header (i32.const 2) (i32.const 72) (i32.const 5) (i32.const 80) (i32.const 5)) (then unreachable))
    (call $ask (local.get 0) (i32.const 1)))
  (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
    (if (i32.eqz (local.get 2)) (then unreachable))
    (if (call $act_on (global.get $waits)) (then unreachable))
    (if (global.get $responds)
      (then (drop (call $continue_response))) (else (drop (call $continue_request))))))"#
    )
}

fn worker_said(envoy: &Envoy<Scripted>) -> Vec<String> {
    let lines = envoy.logs().iter().filter(|line| line.source == LogSource::Guest);
    lines.filter(|line| line.vm.to_string() == "worker 0").map(|line| line.message.clone()).collect()
}

fn start_envoy_with(text: &str, configuration: &str, upstream: &Upstream) -> Result<RealEnvoy, EnvoyError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("guest.wasm");
    std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    start_envoy(&path, configuration, upstream)
}
