//! Which hostcalls a guest may make before its first callback, and while the host asks it for memory.

use host_harness::{
    abi::{HostFunction, Module},
    envoy::Envoy,
    servers::Upstream,
    world::Scripted,
};

use crate::{
    common::{options, runtime},
    toolchain::start_envoy,
};

#[test]
fn while_a_module_starts_and_allocates_the_same_hostcalls_are_allowed_as_in_real_envoy() {
    let upstream = Upstream::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("guest.wasm");
    let mut differences = Vec::new();
    // The other name of WASI has the same functions, and two of ABI 0.1.0 cannot be imported along with the rest.
    let functions = runtime().functions().into_iter().filter(|function| function.module != "wasi_unstable");
    for function in functions {
        for phase in ["_initialize", "malloc"] {
            let text = guest(&function, phase);
            let Ok(module) = Module::load(runtime(), text.as_bytes()) else { continue };
            std::fs::write(&path, wat::parse_str(&text).unwrap()).unwrap();
            let mut options = options();
            options.plugin.configuration = b"settings".to_vec();
            let here = match Envoy::start(&module, options, Scripted::new()) {
                Ok(_) => String::new(),
                Err(error) => error.to_string(),
            };
            // A VM that fails in its allocator does not keep Envoy from starting, but it says so.
            let there = match start_envoy(&path, "settings", &upstream) {
                Ok(envoy) => envoy.quit().unwrap(),
                Err(error) => error.to_string(),
            };
            let refused = |words: &str| words.contains("restricted_callback");
            if refused(&here) != refused(&there) {
                let place = if refused(&here) { "real Envoy" } else { "the harness" };
                differences.push(format!("{}.{} in {phase} only in {place}", function.module, function.name));
            }
        }
    }
    assert_eq!(differences, Vec::<String>::new(), "allowed");
}

/// Calls the function with zeros in one phase; the plugin's configuration is what memory is asked for.
fn guest(function: &HostFunction, phase: &str) -> String {
    let (module, name) = (&function.module, &function.name);
    let (parameters, results) = (function.parameters.join(" "), function.results.join(" "));
    let zeros: String = function.parameters.iter().map(|ty| format!("({ty}.const 0)")).collect();
    let call = format!("(call $tested {zeros})");
    let call = if results.is_empty() { call } else { format!("(drop {call})") };
    let (start, allocate) = if phase == "malloc" { ("", call.as_str()) } else { (call.as_str(), "") };
    format!(
        r#"(module
          (import "{module}" "{name}" (func $tested (param {parameters}) (result {results})))
          (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "proxy_abi_version_0_2_1"))
          (func (export "_initialize") {start})
          (func (export "malloc") (param i32) (result i32) {allocate} (i32.const 1024))
          (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $buffer (i32.const 7) (i32.const 0) (i32.const 100) (i32.const 512) (i32.const 516)))
            (i32.const 1)))"#
    )
}
