//! What Envoy finds out about a module when it links it and looks its functions up, found out before any VM is made.
//!
//! Source: proxy-wasm-cpp-host `src/wasm.cc` (`registerCallbacks`, `getFunctions`), `include/proxy-wasm/wasm.h`, and
//! `src/v8/v8.cc` (`link`, `getModuleFunction`), which fails on a function of another type than the one it wants.

use wasmtime::{ExternType, FuncType, Module, ValType};

use super::{AbiVersion, LoadError};
use crate::abi::vm::{ALLOCATORS, TABLE_ELEMENTS};

/// Functions that Envoy calls under the same name and type in every ABI: count of `i32` parameters, and whether it wants one
/// back. Some it calls for TCP or gRPC alone; their types are checked all the same.
const EXPORTS: &[(&str, usize, bool)] = &[
    ("malloc", 1, true),
    ("proxy_on_memory_allocate", 1, true),
    ("proxy_validate_configuration", 2, true),
    ("proxy_on_context_create", 2, false),
    ("proxy_on_vm_start", 2, true),
    ("proxy_on_configure", 2, true),
    ("proxy_on_tick", 1, false),
    ("proxy_on_queue_ready", 2, false),
    ("proxy_on_http_call_response", 5, false),
    ("proxy_on_grpc_receive_initial_metadata", 3, false),
    ("proxy_on_grpc_receive", 3, false),
    ("proxy_on_grpc_receive_trailing_metadata", 3, false),
    ("proxy_on_grpc_close", 3, false),
    ("proxy_on_new_connection", 1, true),
    ("proxy_on_downstream_data", 3, true),
    ("proxy_on_downstream_connection_close", 2, false),
    ("proxy_on_upstream_data", 3, true),
    ("proxy_on_upstream_connection_close", 2, false),
    ("proxy_on_request_body", 3, true),
    ("proxy_on_request_trailers", 2, true),
    ("proxy_on_request_metadata", 2, true),
    ("proxy_on_response_body", 3, true),
    ("proxy_on_response_trailers", 2, true),
    ("proxy_on_response_metadata", 2, true),
    ("proxy_on_log", 1, false),
    ("proxy_on_done", 1, true),
    ("proxy_on_delete", 1, false),
];

/// Hostcalls that only some ABIs have.
const IMPORTS: &[(&str, &[AbiVersion])] = &[
    ("proxy_get_configuration", &[AbiVersion::V0_1_0]),
    ("proxy_continue_request", &[AbiVersion::V0_1_0]),
    ("proxy_continue_response", &[AbiVersion::V0_1_0]),
    ("proxy_clear_route_cache", &[AbiVersion::V0_1_0]),
    ("proxy_continue_stream", &[AbiVersion::V0_2_0, AbiVersion::V0_2_1]),
    ("proxy_close_stream", &[AbiVersion::V0_2_0, AbiVersion::V0_2_1]),
    ("proxy_get_log_level", &[AbiVersion::V0_2_1]),
];

/// Checks that bytes are meant to be a module, in binary or text form.
///
/// Errors: [`LoadError::Compile`], which says how they begin.
pub(super) fn check_form(bytes: &[u8]) -> Result<(), LoadError> {
    let unusable = |reason: String| Err(LoadError::Compile { reason });
    let begin = bytes.trim_ascii_start();
    match begin.first() {
        None => unusable("the file is empty".to_owned()),
        // Comments of the text form begin with a semicolon, too.
        Some(b'(' | b';') => Ok(()),
        _ if bytes.starts_with(b"\0asm") => Ok(()),
        _ => {
            let begin = begin.get(..8).unwrap_or(begin).escape_ascii();
            unusable(format!("it begins with `{begin}`: neither a binary (`\\x00asm`) nor the text form"))
        }
    }
}

/// Checks everything that does not need the linker.
///
/// Errors: one of [`LoadError`], with the name of what is wrong.
pub(super) fn check(module: &Module, abi: AbiVersion) -> Result<(), LoadError> {
    check_imports(module, abi)?;
    check_functions(module, abi)?;
    check_memory(module)
}

fn check_imports(module: &Module, abi: AbiVersion) -> Result<(), LoadError> {
    for import in module.imports().filter(|import| import.module() == "env") {
        let known = IMPORTS.iter().find(|(name, _)| *name == import.name());
        if known.is_some_and(|(_, versions)| !versions.contains(&abi)) {
            return Err(LoadError::ImportOfOtherAbi { name: import.name().to_owned(), abi });
        }
    }
    Ok(())
}

fn check_functions(module: &Module, abi: AbiVersion) -> Result<(), LoadError> {
    for (name, parameters, returns) in EXPORTS {
        check_type(module, name, *parameters, *returns)?;
    }
    let headers = if abi == AbiVersion::V0_1_0 { 2 } else { 3 };
    check_type(module, "proxy_on_request_headers", headers, true)?;
    check_type(module, "proxy_on_response_headers", headers, true)?;
    if abi != AbiVersion::V0_1_0 {
        check_type(module, "proxy_on_foreign_function", 3, false)?;
    }
    if function(module, "_initialize").is_some() {
        check_type(module, "_initialize", 0, false)?;
        check_type(module, "main", 2, true)?;
    } else {
        check_type(module, "_start", 0, false)?;
    }
    if ALLOCATORS.iter().all(|name| function(module, name).is_none()) {
        return Err(LoadError::NoAllocator);
    }
    Ok(())
}

fn check_memory(module: &Module) -> Result<(), LoadError> {
    let Some(ExternType::Memory(memory)) = module.get_export("memory") else {
        return Err(LoadError::NoMemory);
    };
    let unfit = |what: &str| Err(LoadError::Memory { what: what.to_owned() });
    if memory.is_64() {
        return unfit("it has 64-bit addresses, and every pointer of the ABI has 32 bits");
    }
    if memory.is_shared() {
        return unfit("it is shared between threads, and a VM has one thread");
    }
    let required = module.resources_required();
    if required.num_memories > 1 {
        return unfit("the module has another one beside it, and a VM has one memory");
    }
    let elements =
        required.max_initial_table_size.unwrap_or(0).saturating_mul(u64::from(required.num_tables));
    if elements > TABLE_ELEMENTS as u64 { Err(LoadError::Tables { elements }) } else { Ok(()) }
}

fn function(module: &Module, name: &str) -> Option<FuncType> {
    match module.get_export(name) {
        Some(ExternType::Func(function)) => Some(function),
        _ => None,
    }
}

/// An export that is there must be of this type; one that is no function is not there for Envoy.
fn check_type(module: &Module, name: &str, parameters: usize, returns: bool) -> Result<(), LoadError> {
    let is_word = |value: ValType| matches!(value, ValType::I32);
    match function(module, name) {
        Some(function)
            if function.params().len() != parameters
                || function.results().len() != usize::from(returns)
                || !function.params().chain(function.results()).all(is_word) =>
        {
            Err(LoadError::ExportType { name: name.to_owned(), found: function.to_string() })
        }
        _ => Ok(()),
    }
}
