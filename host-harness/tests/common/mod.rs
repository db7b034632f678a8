//! Guests for the tests: text of WebAssembly with two shorthands, so that a guest fits beside what it proves.
//!
//! `@"text"` is pointer and length of a text (`\0` is NUL), `@pairs("a: b; c: d")` those of a header map in the ABI's
//! byte form. Everything else is plain text format, after `guests/prelude.wat`.
#![allow(dead_code, reason = "every test file uses its own part of this")]

pub(crate) mod real;

use std::sync::LazyLock;

use host_harness::{
    abi::{Module, Runtime, pairs},
    envoy::{Envoy, EnvoyOptions, LogSource, PluginOptions},
    world::{Scripted, World},
};

const PRELUDE: &str = include_str!("../guests/prelude.wat");
/// Where texts lie in a guest's memory.
const TEXTS_AT: usize = 1024;

/// Tells every callback of a stream with its size and whether it is the end.
pub(crate) const WITNESS: &str = r#"
  (func (export "proxy_on_context_create") (param i32 i32)
    (if (local.get 1) (then (call $tell @"create"))))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $tell @"request headers") (call $say (local.get 2)) (i32.const 0))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (call $tell @"request body") (call $say (local.get 1)) (call $say (local.get 2)) (i32.const 0))
  (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
    (call $tell @"request trailers") (call $say (local.get 1)) (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (call $tell @"response headers") (call $say (local.get 2)) (i32.const 0))
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
    (call $tell @"response body") (call $say (local.get 1)) (call $say (local.get 2)) (i32.const 0))
  (func (export "proxy_on_response_trailers") (param i32 i32) (result i32)
    (call $tell @"response trailers") (call $say (local.get 1)) (i32.const 0))
  (func (export "proxy_on_log") (param i32) (call $tell @"log"))
  (func (export "proxy_on_done") (param i32) (result i32) (call $tell @"done") (i32.const 1))
  (func (export "proxy_on_delete") (param i32) (call $tell @"delete"))
"#;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("wasmtime runs here"));

/// The runtime that all tests of a file share.
pub(crate) fn runtime() -> &'static Runtime {
    &RUNTIME
}

/// A module made of the prelude and this body.
pub(crate) fn guest(body: &str) -> Module {
    Module::load(runtime(), guest_text(body).as_bytes()).expect("the guest of the test is a module")
}

/// The same, as text.
pub(crate) fn guest_text(body: &str) -> String {
    let mut texts = Vec::new();
    let body = expand(body, &mut texts);
    let data: String = texts.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!("(module {PRELUDE} {body} (data (i32.const {TEXTS_AT}) \"{data}\"))")
}

/// An Envoy with one worker in a scripted world.
pub(crate) fn start(body: &str) -> Envoy<Scripted> {
    start_in(body, options(), Scripted::new())
}

/// An Envoy made to order.
pub(crate) fn start_in<W: World>(body: &str, options: EnvoyOptions, world: W) -> Envoy<W> {
    Envoy::start(&guest(body), options, world).expect("the canary comes up")
}

/// Default options with a name and a `vm_id` that can be told apart.
pub(crate) fn options() -> EnvoyOptions {
    let plugin = PluginOptions {
        name: "gate".to_owned(),
        root_id: "gate_root".to_owned(),
        vm_id: "gate_vm".to_owned(),
        ..PluginOptions::default()
    };
    EnvoyOptions { plugin, ..EnvoyOptions::default() }
}

/// What guests logged, as `role: message`.
pub(crate) fn said<W: World>(envoy: &Envoy<W>) -> Vec<String> {
    let lines = envoy.logs().iter().filter(|line| line.source == LogSource::Guest);
    lines.map(|line| format!("{}: {}", line.vm, line.message)).collect()
}

/// What one worker's guest logged.
pub(crate) fn worker_said<W: World>(envoy: &Envoy<W>) -> Vec<String> {
    said(envoy).iter().filter_map(|line| line.strip_prefix("worker 0: ")).map(str::to_owned).collect()
}

/// What the host logged.
pub(crate) fn host_said<W: World>(envoy: &Envoy<W>) -> Vec<String> {
    let lines = envoy.logs().iter().filter(|line| line.source == LogSource::Host);
    lines.map(|line| format!("{}: {}", line.vm, line.message)).collect()
}

fn expand(body: &str, texts: &mut Vec<u8>) -> String {
    let mut expanded = String::new();
    let mut rest = body;
    while let Some(at) = rest.find('@') {
        expanded.push_str(&rest[..at]);
        let shorthand = &rest[at + 1..];
        let (bytes, after) = match shorthand.strip_prefix("pairs(\"") {
            Some(inside) => {
                let (text, after) = inside.split_once("\")").expect("a map ends with a quote and a bracket");
                (to_pairs(text), after)
            }
            None => {
                let inside = shorthand.strip_prefix('"').expect("a text begins with a quote");
                let (text, after) = inside.split_once('"').expect("a text ends with a quote");
                (text.replace("\\0", "\0").into_bytes(), after)
            }
        };
        let pointer = TEXTS_AT + texts.len();
        expanded.push_str(&format!("(i32.const {pointer}) (i32.const {})", bytes.len()));
        texts.extend_from_slice(&bytes);
        rest = after;
    }
    expanded + rest
}

fn to_pairs(text: &str) -> Vec<u8> {
    let entries = text.split(';').filter(|entry| !entry.trim().is_empty());
    // The name of a pseudo header begins with a colon of its own.
    let headers: Vec<(String, String)> = entries
        .map(|entry| {
            let entry = entry.trim();
            let colon = entry[1..].find(':').expect("a header has a colon") + 1;
            (entry[..colon].to_owned(), entry[colon + 1..].trim().to_owned())
        })
        .collect();
    pairs::to_bytes(&headers)
}
