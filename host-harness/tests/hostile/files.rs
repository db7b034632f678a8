//! Files that are no module, or one that no host of the ABI can run.

use std::fmt::Write;

use host_harness::{
    abi::{LoadError, Module, VmLimits},
    envoy::{Envoy, EnvoyOptions, LoadFailure, Request},
    world::Scripted,
};

use crate::common;

/// Exports that every module needs beside its memory.
const EXPORTS: &str = r#"
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
"#;

#[test]
fn a_module_that_is_cut_off_anywhere_is_refused() {
    let whole = wat::parse_str(common::guest_text(common::WITNESS)).unwrap();
    Module::load(common::runtime(), &whole).unwrap();
    let ends = section_ends(&whole);
    for length in 0..whole.len() {
        match Module::load(common::runtime(), &whole[..length]) {
            // What follows the code (data, names) may be missing as a whole.
            Ok(_) => {
                assert!(ends.contains(&length), "the first {length} of {} bytes are loaded", whole.len())
            }
            Err(error) => assert!(error.to_string().len() > 20, "{length}: {error}"),
        }
    }
}

/// Where sections end: each is an id, a size as LEB128, and so many bytes.
fn section_ends(module: &[u8]) -> Vec<usize> {
    let (mut ends, mut at) = (vec![8], 8);
    while at < module.len() {
        at += 1;
        let (mut size, mut shift) = (0, 0);
        loop {
            let byte = module[at];
            at += 1;
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        at += size;
        ends.push(at);
    }
    ends
}

#[test]
fn a_module_with_a_wrong_byte_anywhere_is_refused_or_runs_and_never_ends_the_host() {
    let whole = wat::parse_str(format!("(module (memory (export \"memory\") 1) {EXPORTS})")).unwrap();
    let (mut refused, mut loaded) = (0, 0);
    for at in 0..whole.len() {
        for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            match Module::load(common::runtime(), &bytes) {
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
                Ok(module) => {
                    loaded += 1;
                    let limits = VmLimits { callback_fuel: Some(100_000), memory_bytes: 1 << 24 };
                    let options = EnvoyOptions { limits, ..EnvoyOptions::default() };
                    if let Ok(mut envoy) = Envoy::start(&module, options, Scripted::new()) {
                        assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
                    }
                }
            }
        }
    }
    assert!(refused > 100 && loaded > 10, "{refused} refused, {loaded} loaded");
}

#[test]
fn files_of_other_kinds_are_refused_in_words() {
    let component = wat::parse_str("(component)").unwrap();
    let mut large = b"\0asm\x01\0\0\0".to_vec();
    large.resize(64 * 1024 * 1024, 0);
    let mut long = b"(module (func ".to_vec();
    long.resize(1024 * 1024, b'x');
    let cases: [(&str, &[u8], &str); 9] = [
        ("an empty file", b"", "the file is empty"),
        ("a blank file", b" \n", "the file is empty"),
        ("another text", b"apiVersion: v1\nkind: ConfigMap\n", "it begins with `apiVersi`"),
        ("a script", b"#!/bin/sh\nexit 1\n", "it begins with `#!/bin/s`"),
        ("another binary", b"\x7fELF\x02\x01\x01\0", r"it begins with `\x7fELF\x02\x01\x01\x00`"),
        ("a gzip archive", b"\x1f\x8b\x08\0\0\0\0\0", r"it begins with `\x1f\x8b\x08"),
        ("a component", &component, "it is a component"),
        ("64 MiB of zeros after the magic number", &large, "failed to parse"),
        ("a text of one long line", &long, "expected"),
    ];
    for (what, bytes, words) in cases {
        let error =
            Module::load(common::runtime(), bytes).err().unwrap_or_else(|| panic!("{what} is loaded"));
        assert!(error.to_string().contains(words), "{what}: {error}");
        assert!(error.to_string().len() < 2000, "{what}: {} bytes of error", error.to_string().len());
    }
}

#[test]
fn a_large_custom_section_is_no_reason_to_refuse() {
    let mut bytes = wat::parse_str(format!("(module (memory (export \"memory\") 1) {EXPORTS})")).unwrap();
    let content = 32 * 1024 * 1024_usize;
    // Section 0 with its size and a name of one byte; sizes are LEB128.
    bytes.push(0);
    let mut size = content + 2;
    while size >= 0x80 {
        bytes.push((size & 0x7f) as u8 | 0x80);
        size >>= 7;
    }
    bytes.extend([size as u8, 1, b'x']);
    bytes.resize(bytes.len() + content, 0xaa);
    let module = Module::load(common::runtime(), &bytes).unwrap();
    let mut envoy = Envoy::start(&module, EnvoyOptions::default(), Scripted::new()).unwrap();
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
}

#[test]
fn memories_that_no_pointer_of_the_abi_fits_are_refused_by_name() {
    let cases = [
        (r#"(memory (export "memory") i64 1)"#, "64-bit addresses"),
        (r#"(memory (export "memory") 1) (memory 1)"#, "another one beside it"),
        (r#"(memory (export "memory") 1) (memory (export "second") 1)"#, "another one beside it"),
        (r#"(memory (export "memory") 1 2 shared)"#, "shared"),
        ("", "does not export `memory`"),
        ("(memory 1)", "does not export `memory`"),
        (r#"(func (export "memory"))"#, "does not export `memory`"),
        (r#"(memory (export "memory") 65537)"#, "memory size must be at most"),
        (r#"(memory (export "memory") 2 1)"#, "size minimum must not be greater than maximum"),
        (r#"(import "env" "memory" (memory 1)) (export "memory" (memory 0))"#, "`env.memory`"),
    ];
    for (memory, words) in cases {
        let error = refused(&format!("(module {memory} {EXPORTS})"));
        assert!(error.to_string().contains(words), "{memory}: {error}");
    }
}

#[test]
fn a_memory_that_begins_over_the_limit_is_an_error_of_the_instantiation() {
    let module = load(&format!(r#"(module (memory (export "memory") 16384) {EXPORTS})"#)).unwrap();
    let limits = VmLimits { memory_bytes: 64 * 1024 * 1024, ..VmLimits::default() };
    let options = EnvoyOptions { limits, ..EnvoyOptions::default() };
    let error = Envoy::start(&module, options, Scripted::new()).err().unwrap();
    let LoadFailure::Trap(trap) = &error.reason else { panic!("{error}") };
    assert_eq!(trap.callback, "instantiation");
    assert!(trap.reason.contains("memory minimum size of 16384 pages exceeds memory limits"), "{error}");
}

#[test]
fn imports_that_no_host_has_are_refused_by_name() {
    let cases = [
        (r#"(import "env" "proxy_teleport" (func))"#, "`env.proxy_teleport`"),
        (r#"(import "env" "abort" (func (param i32 i32 i32 i32)))"#, "`env.abort`"),
        (r#"(import "env" "table" (table 1 funcref))"#, "`env.table`"),
        (r#"(import "env" "base" (global i32))"#, "`env.base`"),
        (r#"(import "wasi_snapshot_preview1" "proc_raise" (func (param i32) (result i32)))"#, "proc_raise"),
        (r#"(import "wasi_snapshot_preview2" "fd_write" (func))"#, "`wasi_snapshot_preview2.fd_write`"),
        (r#"(import "gojs" "runtime.wasmExit" (func (param i32)))"#, "`gojs.runtime.wasmExit`"),
        (r#"(import "" "" (func))"#, "unknown import `.`"),
        (r#"(import "env" "proxy_log" (global i32))"#, "proxy_log"),
        (r#"(import "env" "proxy_log" (memory 1))"#, "proxy_log"),
    ];
    for (import, words) in cases {
        let error = refused(&format!(r#"(module {import} (memory (export "memory") 1) {EXPORTS})"#));
        assert!(error.to_string().contains(words), "{import}: {error}");
    }
}

#[test]
fn every_function_of_the_host_with_another_type_is_refused_by_name() {
    for function in common::runtime().functions() {
        let (module, name) = (&function.module, &function.name);
        let parameters = function.parameters.join(" ");
        let results = function.results.join(" ");
        let other_result = if results.is_empty() { "(result i32)" } else { "" };
        let types = [
            format!("(param {parameters} i32) (result {results})"),
            format!("(param {parameters}) {other_result}"),
            format!(
                "(param {} f32) (result {results})",
                function.parameters.get(1..).unwrap_or_default().join(" ")
            ),
        ];
        let old = [
            "proxy_get_configuration",
            "proxy_continue_request",
            "proxy_continue_response",
            "proxy_clear_route_cache",
        ];
        let version = if old.contains(&name.as_str()) { "0_1_0" } else { "0_2_1" };
        for ty in types {
            let text = format!(
                r#"(module (import "{module}" "{name}" (func {ty})) (memory (export "memory") 1) {})"#,
                EXPORTS.replace("0_2_1", version)
            );
            let error = refused(&text);
            assert!(matches!(error, LoadError::ImportType { .. }), "{ty}: {error}");
            assert!(error.to_string().contains(name.as_str()), "{ty}: {error}");
        }
    }
}

#[test]
fn exports_of_other_types_are_refused_by_name_and_a_module_without_an_allocator_too() {
    let memory = r#"(memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))"#;
    let malloc = r#"(func (export "malloc") (param i32) (result i32) (i32.const 1024))"#;
    let cases = [
        (r#"(func (export "malloc") (param i64) (result i64) (i64.const 0))"#.to_owned(), "export `malloc`"),
        (r#"(func (export "malloc") (param i32))"#.to_owned(), "export `malloc`"),
        (r#"(global (export "malloc") i32 (i32.const 0))"#.to_owned(), "neither"),
        (String::new(), "exports neither `proxy_on_memory_allocate` nor `malloc`"),
        (format!(r#"{malloc} (func (export "proxy_on_tick"))"#), "export `proxy_on_tick`"),
        (format!(r#"{malloc} (func (export "proxy_on_done") (param i32))"#), "export `proxy_on_done`"),
        (format!(r#"{malloc} (func (export "proxy_on_log") (param f64))"#), "export `proxy_on_log`"),
        (
            format!(
                r#"{malloc} (func (export "proxy_on_vm_start") (param i32 i32) (result i32 i32) (unreachable))"#
            ),
            "export `proxy_on_vm_start`",
        ),
    ];
    for (exports, words) in cases {
        let error = refused(&format!("(module {memory} {exports})"));
        assert!(error.to_string().contains(words), "{exports}: {error}");
    }
}

#[test]
fn code_at_the_limits_of_the_format_is_compiled_or_refused_in_words() {
    let wrap = |body: &str| format!(r#"(module (memory (export "memory") 1) {EXPORTS} {body})"#);
    let nested = |depth: usize| {
        let (begin, end) = ("block ".repeat(depth), "end ".repeat(depth));
        wrap(&format!("(func {begin} {end})"))
    };
    // Deep nesting is no recursion of the host.
    load(&nested(10_000)).unwrap();
    let mut functions = String::new();
    for index in 0..20_000 {
        write!(functions, "(func (export \"f{index}\"))").unwrap();
    }
    load(&wrap(&functions)).unwrap();
    let cases = [
        (format!("(func (param {}))", "i32 ".repeat(1001)), "params size is out of bounds"),
        (format!("(func (local {}))", "i64 ".repeat(50_001)), "locals"),
        (format!("(func {})", "nop ".repeat(8 * 1024 * 1024)), "size"),
        ("(table 10000001 funcref)".to_owned(), "10000001"),
        ("(table 4294967295 funcref)".to_owned(), "4294967295 elements"),
        ("(func (result i32) (f64.const 1))".to_owned(), "type mismatch"),
        ("(func (br 7))".to_owned(), "unknown label"),
        ("(data (i32.const 0) \"a\") (data (i64.const 0) \"a\")".to_owned(), "type mismatch"),
    ];
    for (body, words) in cases {
        let error = refused(&wrap(&body));
        let start = &body[..body.len().min(60)];
        assert!(error.to_string().contains(words), "{start}: {error}");
    }
}

/// Instructions beyond the first version of WebAssembly that compilers emit by default, all of which V8 runs, too.
const RUN: [(&str, &str); 10] = [
    ("sign extension", "(func $f (drop (i32.extend8_s (i32.const 1))))"),
    ("saturating conversions", "(func $f (drop (i32.trunc_sat_f32_s (f32.const nan))))"),
    ("bulk memory", "(func $f (memory.fill (i32.const 0) (i32.const 1) (i32.const 8)))"),
    (
        "multiple values",
        "(func $g (result i32 i32) (i32.const 1) (i32.const 2)) (func $f (call $g) drop drop)",
    ),
    ("tail calls", "(func $g) (func $f (return_call $g))"),
    ("vectors", "(func $f (drop (i32x4.splat (i32.const 1))))"),
    (
        "relaxed vectors",
        "(func $f (drop (i8x16.relaxed_swizzle (i8x16.splat (i32.const 1)) (i8x16.splat (i32.const 1)))))",
    ),
    ("constant expressions", "(global i32 (i32.add (i32.const 1) (i32.const 2))) (func $f)"),
    (
        "function references",
        "(type $t (func)) (elem declare func $g) (func $g) (func $f (call_ref $t (ref.func $g)))",
    ),
    ("mutable exported globals", r#"(global (export "g") (mut i32) (i32.const 1)) (func $f)"#),
];

/// Proposals that this host lacks, and what it says of a module that uses one.
const LACKING: [(&str, &str, &str); 6] = [
    ("exceptions", "(tag $e) (func $f (throw $e))", "exceptions proposal not enabled"),
    ("threads", "(func $f (drop (i32.atomic.load (i32.const 0))))", "threads support is not enabled"),
    ("garbage collection", "(type $s (struct)) (func $f (drop (struct.new $s)))", "gc types are disabled"),
    ("foreign references", "(table 1 externref) (func $f)", "gc types are disallowed"),
    (
        "wide arithmetic",
        "(func $f (i64.add128 (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1)) drop drop)",
        "wide arithmetic support is not enabled",
    ),
    ("stack switching", "(type $t (func)) (type $c (cont $t)) (func $f)", "stack switching is disabled"),
];

#[test]
fn what_compilers_emit_runs_and_what_is_lacking_is_refused_by_name() {
    let text = |body: &str| {
        format!(
            r#"(module (memory (export "memory") 1) {EXPORTS} {body}
              (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $f) (i32.const 0)))"#
        )
    };
    for (proposal, body) in RUN {
        let module = load(&text(body)).unwrap_or_else(|error| panic!("{proposal}: {error}"));
        let mut envoy = Envoy::start(&module, EnvoyOptions::default(), Scripted::new()).unwrap();
        assert_eq!(envoy.exchange(0, Request::get("/")).status, 200, "{proposal}");
    }
    for (proposal, body, words) in LACKING {
        let error = refused(&text(body));
        assert!(error.to_string().contains(words), "{proposal}: {error}");
    }
}

#[test]
fn data_outside_of_the_memory_is_an_error_of_the_instantiation() {
    let bodies = [
        (r#"(data (i32.const 65536) "a")"#, "out of bounds memory access"),
        (r#"(data (i32.const -1) "ab")"#, "out of bounds memory access"),
        (r#"(table 1 funcref) (func $f) (elem (i32.const 1) $f)"#, "out of bounds table access"),
    ];
    for (body, words) in bodies {
        let module = load(&format!(r#"(module (memory (export "memory") 1) {EXPORTS} {body})"#)).unwrap();
        let error = Envoy::start(&module, EnvoyOptions::default(), Scripted::new()).err().unwrap();
        assert!(
            error.to_string().contains("`instantiation` failed") && error.to_string().contains(words),
            "{error}"
        );
    }
}

fn load(text: &str) -> Result<Module, LoadError> {
    Module::load(common::runtime(), text.as_bytes())
}

fn refused(text: &str) -> LoadError {
    load(text).err().unwrap_or_else(|| panic!("it is loaded: {}", &text[..text.len().min(300)]))
}
