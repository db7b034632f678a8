//! Modules: what is loaded, and what is refused by name.

mod common;

use common::{guest, guest_text, runtime};
use host_harness::{
    abi::{AbiVersion, LoadError, Module, Runtime, RuntimeOptions},
    envoy::{Envoy, EnvoyOptions, Request},
    world::Scripted,
};

#[test]
fn every_known_abi_version_is_loaded() {
    for (name, version) in
        [("0_1_0", AbiVersion::V0_1_0), ("0_2_0", AbiVersion::V0_2_0), ("0_2_1", AbiVersion::V0_2_1)]
    {
        let text = format!(
            r#"(module (func (export "proxy_abi_version_{name}")) (memory (export "memory") 1)
              (func (export "malloc") (param i32) (result i32) (i32.const 1024)))"#
        );
        assert_eq!(load(&text).unwrap().abi_version(), version);
    }
}

#[test]
fn a_missing_or_unknown_abi_version_is_refused() {
    let text = guest_text("").replace("proxy_abi_version_0_2_1", "proxy_abi_version_0_3_0");
    let error = load(&text).err().unwrap();
    assert!(
        matches!(&error, LoadError::AbiVersion { found: Some(name) } if name == "proxy_abi_version_0_3_0")
    );
    assert!(error.to_string().contains("`proxy_abi_version_0_3_0`"), "{error}");
    let error = load("(module)").err().unwrap();
    assert!(matches!(error, LoadError::AbiVersion { found: None }));
}

#[test]
fn an_unknown_import_is_named() {
    let text = guest_text("").replacen(
        "(import",
        r#"(import "env" "proxy_teleport" (func (param i32))) (import"#,
        1,
    );
    let error = load(&text).err().unwrap();
    assert!(
        matches!(&error, LoadError::UnknownImport { module, name } if module == "env" && name == "proxy_teleport")
    );
    assert!(error.to_string().contains("`env.proxy_teleport`"), "{error}");
}

#[test]
fn an_import_with_other_types_than_the_abi_is_named() {
    let text = guest_text("").replacen(
        "(import",
        r#"(import "wasi_snapshot_preview1" "sched_yield" (func (param i32))) (import"#,
        1,
    );
    let error = load(&text).err().unwrap();
    assert!(matches!(error, LoadError::ImportType { .. }));
    assert!(error.to_string().contains("sched_yield"), "{error}");
}

#[test]
fn what_envoy_cannot_link_is_refused_here_too() {
    for (name, parameters) in [("path_symlink", 5), ("path_link", 7), ("proc_raise", 1)] {
        let import = format!(
            r#"(import "wasi_snapshot_preview1" "{name}" (func (param {}) (result i32))) (import"#,
            "i32 ".repeat(parameters)
        );
        let error = load(&guest_text("").replacen("(import", &import, 1)).err().unwrap();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn all_39_functions_of_the_abi_are_linked() {
    let functions = [
        ("log", "iii"),
        ("get_log_level", "i"),
        ("get_status", "iii"),
        ("set_property", "iiii"),
        ("get_property", "iiii"),
        ("send_local_response", "iiiiiiii"),
        ("get_shared_data", "iiiii"),
        ("set_shared_data", "iiiii"),
        ("register_shared_queue", "iii"),
        ("resolve_shared_queue", "iiiii"),
        ("dequeue_shared_queue", "iii"),
        ("enqueue_shared_queue", "iii"),
        ("get_header_map_value", "iiiii"),
        ("add_header_map_value", "iiiii"),
        ("replace_header_map_value", "iiiii"),
        ("remove_header_map_value", "iii"),
        ("get_header_map_pairs", "iii"),
        ("set_header_map_pairs", "iii"),
        ("get_header_map_size", "ii"),
        ("get_buffer_status", "iii"),
        ("get_buffer_bytes", "iiiii"),
        ("set_buffer_bytes", "iiiii"),
        ("http_call", "iiiiiiiiii"),
        ("grpc_call", "iiiiiiiiiiii"),
        ("grpc_stream", "iiiiiiiii"),
        ("grpc_close", "i"),
        ("grpc_cancel", "i"),
        ("grpc_send", "iiii"),
        ("set_tick_period_milliseconds", "i"),
        ("get_current_time_nanoseconds", "i"),
        ("define_metric", "iiii"),
        ("increment_metric", "iI"),
        ("record_metric", "iI"),
        ("get_metric", "ii"),
        ("set_effective_context", "i"),
        ("done", ""),
        ("call_foreign_function", "iiiiii"),
        ("continue_stream", "i"),
        ("close_stream", "i"),
    ];
    assert_eq!(functions.len(), 39);
    let imports: String = functions
        .iter()
        .map(|(name, parameters)| {
            let parameters: String =
                parameters.chars().map(|kind| if kind == 'I' { "i64 " } else { "i32 " }).collect();
            format!(r#"(import "env" "proxy_{name}" (func (param {parameters}) (result i32)))"#)
        })
        .collect();
    load(&guest_text("").replacen("(import", &format!("{imports} (import"), 1)).unwrap();
}

#[test]
fn a_callback_with_other_types_than_the_abi_is_named() {
    let error = load(&guest_text(r#"(func (export "proxy_on_tick") (param i64))"#)).err().unwrap();
    assert!(matches!(&error, LoadError::ExportType { name, .. } if name == "proxy_on_tick"), "{error}");
}

#[test]
fn a_module_without_an_allocator_or_memory_is_refused_and_malloc_will_do() {
    let text = guest_text("");
    let malloc = text.replace("proxy_on_memory_allocate", "malloc");
    load(&malloc).unwrap();
    let none = text.replace("proxy_on_memory_allocate", "allocate");
    assert!(matches!(load(&none), Err(LoadError::NoAllocator)));
    let hidden = text.replace(r#"(memory (export "memory") 2)"#, "(memory 2)");
    assert!(matches!(load(&hidden), Err(LoadError::NoMemory)));
}

#[test]
fn bytes_that_are_no_module_are_refused() {
    assert!(matches!(Module::load(runtime(), b"\0asm"), Err(LoadError::Compile { .. })));
}

#[test]
fn compiled_modules_are_kept_in_the_folder_that_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let cache_dir = Some(folder.path().join("cache"));
    let runtime = Runtime::with_options(&RuntimeOptions { cache_dir, ..RuntimeOptions::default() }).unwrap();
    Module::load(&runtime, guest_text("").as_bytes()).unwrap();
    assert!(std::fs::read_dir(folder.path().join("cache")).unwrap().next().is_some());
}

#[test]
fn without_metering_a_module_runs_all_the_same() {
    let runtime =
        Runtime::with_options(&RuntimeOptions { metered: false, ..RuntimeOptions::default() }).unwrap();
    assert!(!runtime.is_metered());
    let module = Module::load(&runtime, guest_text("").as_bytes()).unwrap();
    let mut envoy = Envoy::start(&module, EnvoyOptions::default(), Scripted::new()).unwrap();
    assert_eq!(envoy.exchange(0, Request::get("/")).status, 200);
}

#[test]
fn a_module_without_callbacks_lets_everything_pass() {
    let mut envoy = Envoy::start(&guest(""), EnvoyOptions::default(), Scripted::new()).unwrap();
    assert_eq!(envoy.exchange(0, Request::post("/", "body")).status, 200);
}

fn load(text: &str) -> Result<Module, LoadError> {
    Module::load(runtime(), text.as_bytes())
}
