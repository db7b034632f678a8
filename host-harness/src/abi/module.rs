//! One compiled module, checked against the ABI before any VM is made of it.
//!
//! What Envoy finds out when it links (a missing import, a wrong signature, no allocator) is an error here, with the
//! name of the culprit, so that a module which loads here also loads there.

mod check;

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};
use wasm_encoder::{ExportKind, ExportSection, RawSection};
use wasmparser::{ExternalKind, Parser, Payload};
use wasmtime::{InstancePre, UnknownImportError};

use super::{runtime::Runtime, vm::VmState};

/// A module that can be made into VMs. Cheap to clone.
#[derive(Clone)]
pub struct Module {
    pub(super) pre: InstancePre<VmState>,
    pub(super) metered: bool,
    /// Exports under which the VM finds every global that a guest can change.
    pub(super) globals: Arc<[String]>,
    abi_version: AbiVersion,
    sha256: Arc<str>,
}

/// Which ABI the module says it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbiVersion {
    /// `proxy_abi_version_0_1_0`
    V0_1_0,
    /// `proxy_abi_version_0_2_0`
    V0_2_0,
    /// `proxy_abi_version_0_2_1`
    V0_2_1,
}

/// Why a module cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not WebAssembly, or not valid, or needs a feature that is not there.
    #[error(
        "not a usable WebAssembly module: {reason}; build the filter for wasm32-wasip1, as a `cdylib` in Rust"
    )]
    Compile {
        /// What the compiler says.
        reason: String,
    },
    /// Envoy's "Missing or unknown Proxy-Wasm ABI version".
    #[error("{}", match found {
        None => "it is no Proxy-Wasm module: it exports no `proxy_abi_version_…`; build the filter with a Proxy-Wasm SDK, \
                 as a library (a `cdylib` in Rust) and not as a program".to_owned(),
        Some(name) => format!(
            "unknown Proxy-Wasm ABI version: the module exports `{name}`, and Envoy knows 0_1_0, 0_2_0 and 0_2_1; build it \
             with an SDK for one of them"
        ),
    })]
    AbiVersion {
        /// The version export that the module has, if any.
        found: Option<String>,
    },
    /// The module needs a function that no host of this ABI has.
    #[error("unknown import `{module}.{name}`: no proxy-wasm host of ABI 0.2.1 offers it")]
    UnknownImport {
        /// Module of the import.
        module: String,
        /// Name of the import.
        name: String,
    },
    /// The module needs a function of another version of the ABI than the one that it says it speaks.
    #[error(
        "import `env.{name}` is not in Proxy-Wasm ABI {abi}, which the module exports: Envoy offers it to modules of other \
         versions of the ABI alone"
    )]
    ImportOfOtherAbi {
        /// Name of the import.
        name: String,
        /// The module's version.
        abi: AbiVersion,
    },
    /// The module needs a function with other types than the ABI's.
    #[error("an import does not have the ABI's type: {reason}")]
    ImportType {
        /// Which import, and how the types differ.
        reason: String,
    },
    /// A callback has other types than the ABI's.
    #[error("export `{name}` has the type {found}, which is not the ABI's")]
    ExportType {
        /// The export.
        name: String,
        /// Its type.
        found: String,
    },
    /// The host cannot give bytes to the guest.
    #[error(
        "the module exports neither `proxy_on_memory_allocate` nor `malloc`, so the host cannot return bytes to it"
    )]
    NoAllocator,
    /// The module keeps its memory to itself.
    #[error("the module does not export `memory`")]
    NoMemory,
    /// The module's memory is none that the host can work with.
    #[error("the module's `memory` is of no use to a Proxy-Wasm host: {what}")]
    Memory {
        /// What is wrong with it.
        what: String,
    },
    /// Tables that are larger than V8 makes them.
    #[error("the module's tables begin with up to {elements} elements; 10000000 are allowed, as in V8")]
    Tables {
        /// The size of the largest one, times their number.
        elements: u64,
    },
}

// === impl Module ===

impl Module {
    /// Compiles a module (binary or text form) and checks it against the ABI.
    ///
    /// Errors: one of [`LoadError`], with the name of what is wrong.
    /// Source: the checks of proxy-wasm-cpp-host `src/wasm.cc` (`WasmBase::load`, `WasmBase::initialize`).
    pub fn load(runtime: &Runtime, bytes: &[u8]) -> Result<Module, LoadError> {
        let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let compile = |reason: String| LoadError::Compile { reason: shorten(reason) };
        check::check_form(bytes)?;
        let binary = wat::parse_bytes(bytes).map_err(|error| compile(error.to_string()))?;
        if Parser::is_component(&binary) {
            return Err(compile("it is a component, and Proxy-Wasm runs core modules".to_owned()));
        }
        // What is no valid module is left to the compiler, which says it best.
        let (binary, globals) = export_globals(&binary).unwrap_or((binary.into_owned(), Vec::new()));
        let module = runtime.compiled.module(&runtime.engine, &binary);
        let module = module.map_err(|error| compile(format!("{error:#}")))?;
        let abi_version = AbiVersion::of(&module)?;
        check::check(&module, abi_version)?;
        let pre = runtime.linker.instantiate_pre(&module).map_err(|error| {
            match error.downcast_ref::<UnknownImportError>() {
                Some(unknown) => LoadError::UnknownImport {
                    module: unknown.module().to_owned(),
                    name: unknown.name().to_owned(),
                },
                None => LoadError::ImportType { reason: format!("{error:#}") },
            }
        })?;
        Ok(Module {
            pre,
            metered: runtime.is_metered(),
            globals: globals.into(),
            abi_version,
            sha256: sha256.into(),
        })
    }

    /// SHA-256 of the bytes that it was loaded from, in hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Whether the module asks for a function of `env`.
    #[must_use]
    pub fn imports(&self, function: &str) -> bool {
        self.pre.module().imports().any(|import| import.name() == function)
    }

    /// Whether the module has a function of this name.
    #[must_use]
    pub fn exports(&self, function: &str) -> bool {
        self.pre.module().get_export(function).is_some_and(|export| export.func().is_some())
    }

    /// Which ABI the module says it speaks.
    #[must_use]
    pub fn abi_version(&self) -> AbiVersion {
        self.abi_version
    }
}

// === impl AbiVersion ===

impl AbiVersion {
    fn of(module: &wasmtime::Module) -> Result<AbiVersion, LoadError> {
        let exports = || module.exports().map(|export| export.name()).filter(|name| name.starts_with(PREFIX));
        exports()
            .find_map(|name| match &name[PREFIX.len()..] {
                "0_1_0" => Some(AbiVersion::V0_1_0),
                "0_2_0" => Some(AbiVersion::V0_2_0),
                "0_2_1" => Some(AbiVersion::V0_2_1),
                _ => None,
            })
            .ok_or_else(|| LoadError::AbiVersion { found: exports().next().map(str::to_owned) })
    }
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            AbiVersion::V0_1_0 => "0.1.0",
            AbiVersion::V0_2_0 => "0.2.0",
            AbiVersion::V0_2_1 => "0.2.1",
        })
    }
}

/// Keeps what a message quotes of a module within bounds.
fn shorten(mut reason: String) -> String {
    let end = reason.floor_char_boundary(1000);
    if end < reason.len() {
        reason.truncate(end);
        reason.push('…');
    }
    reason
}

const PREFIX: &str = "proxy_abi_version_";

/// Exports every global that can change and is defined in the module, under names of our own, so that a VM can go back to
/// an earlier state: a compiler keeps the guest's stack pointer in one and exports none.
///
/// Gives the module and the names; `None` for bytes that are no module.
fn export_globals(binary: &[u8]) -> Option<(Vec<u8>, Vec<String>)> {
    let mut module = wasm_encoder::Module::new();
    let (mut globals, mut count) = (Vec::new(), 0);
    for payload in Parser::new(0).parse_all(binary) {
        let payload = payload.ok()?;
        match &payload {
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    count += u32::from(matches!(import.ok()?.ty, wasmparser::TypeRef::Global(_)));
                }
            }
            Payload::GlobalSection(section) => {
                for global in section.clone() {
                    if global.ok()?.ty.mutable {
                        globals.push(count);
                    }
                    count += 1;
                }
            }
            _ => {}
        }
        if let Payload::ExportSection(section) = &payload {
            let mut exports = ExportSection::new();
            for export in section.clone() {
                let export = export.ok()?;
                let kind = match export.kind {
                    ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
                    ExternalKind::Table => ExportKind::Table,
                    ExternalKind::Memory => ExportKind::Memory,
                    ExternalKind::Global => ExportKind::Global,
                    ExternalKind::Tag => ExportKind::Tag,
                };
                exports.export(export.name, kind, export.index);
            }
            for global in &globals {
                exports.export(&global_name(*global), ExportKind::Global, *global);
            }
            module.section(&exports);
        } else if let Some((id, range)) = payload.as_section() {
            module.section(&RawSection { id, data: binary.get(range)? });
        }
    }
    Some((module.finish(), globals.into_iter().map(global_name).collect()))
}

fn global_name(index: u32) -> String {
    format!("portcullis global {index}")
}
