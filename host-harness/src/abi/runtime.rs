//! Engine, linker and compilation cache: what every module and VM of one process shares.
//!
//! Everything that could make two runs differ is fixed here: NaNs are canonical, relaxed SIMD is deterministic, and
//! an endless callback is stopped by fuel (counted instructions) and not by a timer, so it stops at the same place.

use std::path::PathBuf;

use anyhow::Context;
use wasmtime::{Cache, CacheConfig, Config, Engine, Linker};

use super::{hostcalls, vm::VmState, wasi};

/// V8 gives a guest about this much native stack, in bytes.
const STACK_BYTES: usize = 1024 * 1024;

/// How a [`Runtime`] is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// Count the instructions of every callback, so that one that never ends can be stopped. Costs some speed;
    /// without it, an endless callback hangs the calling thread.
    pub metered: bool,
    /// Folder of the compilation cache; `None` is wasmtime's default in the user's cache folder.
    pub cache_dir: Option<PathBuf>,
}

/// A wasmtime engine with every hostcall linked. Cheap to clone; clones share compiled code.
#[derive(Clone)]
pub struct Runtime {
    pub(super) engine: Engine,
    pub(super) linker: Linker<VmState>,
    metered: bool,
}

// === impl RuntimeOptions ===

impl Default for RuntimeOptions {
    fn default() -> Self {
        RuntimeOptions { metered: true, cache_dir: None }
    }
}

// === impl Runtime ===

impl Runtime {
    /// A metered runtime with the default cache.
    ///
    /// Errors: those of [`Runtime::with_options`].
    pub fn new() -> anyhow::Result<Runtime> {
        Runtime::with_options(&RuntimeOptions::default())
    }

    /// A runtime made to order.
    ///
    /// Errors: the cache folder cannot be used, or wasmtime does not support this machine.
    pub fn with_options(options: &RuntimeOptions) -> anyhow::Result<Runtime> {
        let mut cache = CacheConfig::new();
        if let Some(directory) = &options.cache_dir {
            // The cache wants an absolute path.
            cache.with_directory(std::path::absolute(directory).context("the cache folder is no path")?);
        }
        let cache =
            Cache::new(cache).map_err(anyhow::Error::from).context("the compilation cache cannot be used")?;
        let mut config = Config::new();
        config
            .cranelift_nan_canonicalization(true)
            .relaxed_simd_deterministic(true)
            .max_wasm_stack(STACK_BYTES)
            .consume_fuel(options.metered)
            .cache(Some(cache));
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        hostcalls::link(&mut linker)?;
        wasi::link(&mut linker)?;
        Ok(Runtime { engine, linker, metered: options.metered })
    }

    /// Whether callbacks are metered.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        self.metered
    }
}
