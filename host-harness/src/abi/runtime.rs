//! Engine, linker and compiled modules: what every module and VM of one process shares.
//!
//! Everything that could make two runs differ is fixed here: NaNs are canonical, relaxed SIMD is deterministic, and
//! an endless callback is stopped by fuel (counted instructions) and not by a timer, so it stops at the same place.

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::Context;
use wasmtime::{Config, Engine, Extern, Linker, Store};

use super::{HostSlot, VmLimits, compiled::Compiled, hostcalls, vm::VmState, wasi};

/// V8 gives a guest about this much native stack, in bytes.
const STACK_BYTES: usize = 1024 * 1024;

/// Frames of a guest that are reported, as many as wasmtime reports by default.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(20).expect("20 is not 0");

/// How a [`Runtime`] is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// Count the instructions of every callback, so that one that never ends can be stopped. Costs some speed;
    /// without it, an endless callback hangs the calling thread.
    pub metered: bool,
    /// Say where in the guest a callback failed. Costs some speed where callbacks are held or fail often.
    pub backtraces: bool,
    /// Folder in which compiled modules are kept; `None` is `portcullis` in the user's cache folder.
    pub cache_dir: Option<PathBuf>,
}

/// A wasmtime engine with every hostcall linked. Cheap to clone; clones share compiled code.
#[derive(Clone)]
pub struct Runtime {
    pub(super) engine: Engine,
    pub(super) compiled: Compiled,
    pub(super) linker: Linker<VmState>,
    metered: bool,
}

/// A function that guests can import.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostFunction {
    /// Module of the import: `env`, or one of the two names of WASI.
    pub module: String,
    /// Name of the import.
    pub name: String,
    /// Types of the parameters as the text format writes them, `i32` or `i64`.
    pub parameters: Vec<String>,
    /// Types of the results, in the same form.
    pub results: Vec<String>,
}

// === impl RuntimeOptions ===

impl Default for RuntimeOptions {
    fn default() -> Self {
        RuntimeOptions { metered: true, backtraces: true, cache_dir: None }
    }
}

// === impl Runtime ===

impl Runtime {
    /// A metered runtime that keeps compiled modules where the user's caches are.
    ///
    /// Errors: those of [`Runtime::with_options`].
    pub fn new() -> anyhow::Result<Runtime> {
        Runtime::with_options(&RuntimeOptions::default())
    }

    /// A runtime made to order.
    ///
    /// Errors: the cache folder cannot be used, or wasmtime does not support this machine.
    pub fn with_options(options: &RuntimeOptions) -> anyhow::Result<Runtime> {
        let compiled = match &options.cache_dir {
            Some(folder) => Compiled::in_folder(folder)
                .with_context(|| format!("the cache folder {} cannot be used", folder.display()))?,
            None => Compiled::of_user(),
        };
        let mut config = Config::new();
        config
            .cranelift_nan_canonicalization(true)
            .relaxed_simd_deterministic(true)
            .max_wasm_stack(STACK_BYTES)
            .consume_fuel(options.metered)
            .wasm_backtrace_max_frames(options.backtraces.then_some(BACKTRACE_FRAMES));
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        hostcalls::link(&mut linker)?;
        wasi::link(&mut linker)?;
        Ok(Runtime { engine, compiled, linker, metered: options.metered })
    }

    /// Whether callbacks are metered.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        self.metered
    }

    /// Every function that guests can import, sorted. Some of them are for modules of one version of the ABI alone.
    #[must_use]
    pub fn functions(&self) -> Vec<HostFunction> {
        let mut store = Store::new(&self.engine, VmState::new(0, HostSlot::default(), &VmLimits::default()));
        let linked: Vec<(String, String, Extern)> = self
            .linker
            .iter(&mut store)
            .map(|(module, name, item)| (module.to_owned(), name.to_owned(), item))
            .collect();
        let functions = linked.into_iter().filter_map(|(module, name, item)| {
            let ty = item.into_func()?.ty(&store);
            let parameters = ty.params().map(|value| value.to_string()).collect();
            let results = ty.results().map(|value| value.to_string()).collect();
            Some(HostFunction { module, name, parameters, results })
        });
        let mut functions: Vec<HostFunction> = functions.collect();
        functions.sort();
        functions
    }
}
