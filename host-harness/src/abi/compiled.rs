//! Compiled modules, kept in a folder from one process to the next: compiling the filter takes longer than most runs.
//!
//! wasmtime has a cache of its own, with a compressor in C and a thread that tidies up. Compressing saves little here, and
//! the folder is tidied when something is added.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::{Path, PathBuf},
    time::SystemTime,
};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use wasmtime::{Engine, Module};
use xxhash_rust::xxh3::xxh3_128;

/// Most bytes of compiled modules that are kept; the filter has 14 MB.
const FOLDER_BYTES: u64 = 512 * 1024 * 1024;
/// Bytes of the checksum at the end of each file.
const CHECKSUM_BYTES: usize = 16;
/// How the names of files end.
const EXTENSION: &str = "cwasm";

/// A folder of compiled modules.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    /// Nothing is kept where there is none.
    folder: Option<PathBuf>,
}

// === impl Compiled ===

impl Compiled {
    /// In this folder, which is made if it is not there.
    ///
    /// Errors: it cannot be made.
    pub(super) fn in_folder(folder: &Path) -> std::io::Result<Compiled> {
        fs::create_dir_all(folder)?;
        Ok(Compiled { folder: Some(folder.to_owned()) })
    }

    /// In the user's cache folder. Without one that can be written, every process compiles for itself.
    pub(super) fn of_user() -> Compiled {
        let given = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let caches = given("XDG_CACHE_HOME").or_else(|| given("HOME").map(|home| home.join(".cache")));
        let folder = caches.map(|caches| caches.join("portcullis/compiled"));
        folder.and_then(|folder| Compiled::in_folder(&folder).ok()).unwrap_or(Compiled { folder: None })
    }

    /// Compiles a module, or takes it as it was compiled before.
    ///
    /// Errors: it is no module.
    pub(super) fn module(&self, engine: &Engine, binary: &[u8]) -> wasmtime::Result<Module> {
        let Some(folder) = &self.folder else { return Module::new(engine, binary) };
        let path = folder.join(name(engine, binary));
        if let Some(module) = read(engine, &path) {
            return Ok(module);
        }
        let module = Module::new(engine, binary)?;
        // Who cannot keep it compiles it once more, which is no reason to fail.
        if let Ok(bytes) = module.serialize() {
            _ = keep(folder, &path, &bytes);
        }
        Ok(module)
    }
}

/// The name of a file says all that the compiled code depends on: the module, wasmtime, the machine, the settings. Modules
/// are anybody's, so the hash of one must be none that another can be made to have.
fn name(engine: &Engine, binary: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:x}-{:016x}.{EXTENSION}", Sha256::digest(binary), hasher.finish())
}

/// What a file has, if it is whole.
fn read(engine: &Engine, path: &Path) -> Option<Module> {
    let bytes = fs::read(path).ok()?;
    let (code, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if xxh3_128(code).to_le_bytes() != *checksum {
        return None;
    }
    // SAFETY: the code is what `keep` has written, as its checksum says. Who else can write to this folder can do so to
    // everything that the user runs.
    let module = unsafe { Module::deserialize(engine, code) }.ok()?;
    // The ones that are used longest ago go first.
    _ = fs::File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
    Some(module)
}

/// Writes a file whole or not at all, and removes the oldest ones when all together are too large.
fn keep(folder: &Path, path: &Path, code: &[u8]) -> std::io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(code)?;
    file.write_all(&xxh3_128(code).to_le_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == EXTENSION) {
            let about = entry.metadata()?;
            files.push((about.modified()?, about.len(), entry.path()));
        }
    }
    files.sort();
    let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
    for (_, length, oldest) in files {
        if total <= FOLDER_BYTES || oldest == path {
            break;
        }
        fs::remove_file(oldest)?;
        total -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    #[test]
    fn a_module_is_compiled_once_and_a_file_that_is_damaged_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, compiled) = (Engine::default(), Compiled::in_folder(folder.path()).unwrap());
        compiled.module(&engine, MODULE).unwrap();
        let path = folder.path().join(name(&engine, MODULE));
        let whole = fs::read(&path).unwrap();
        assert!(read(&engine, &path).is_some());
        for damaged in [
            &whole[..whole.len() - 1],
            &whole[..8],
            &[],
            &[&whole[..40], &[!whole[40]], &whole[41..]].concat(),
        ] {
            fs::write(&path, damaged).unwrap();
            assert!(read(&engine, &path).is_none());
            compiled.module(&engine, MODULE).unwrap();
            assert_eq!(fs::read(&path).unwrap().len(), whole.len());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn settings_that_change_the_code_have_files_of_their_own() {
        let mut metered = wasmtime::Config::new();
        metered.consume_fuel(true);
        assert_ne!(name(&Engine::default(), MODULE), name(&Engine::new(&metered).unwrap(), MODULE));
    }

    #[test]
    fn the_folder_stays_within_its_bound_and_the_oldest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).with_extension(EXTENSION);
        for (age, name) in [(3, "old"), (1, "young"), (2, "older")] {
            let file = fs::File::create(path(name)).unwrap();
            file.set_len(FOLDER_BYTES / 2).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age * 3600)).unwrap();
        }
        fs::write(folder.path().join("others"), "no business of ours").unwrap();
        keep(folder.path(), &path("new"), b"code").unwrap();
        assert!(!path("old").exists() && !path("older").exists());
        assert!(path("young").exists() && path("new").exists() && folder.path().join("others").exists());
    }

    #[test]
    fn who_cannot_keep_anything_compiles_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let compiled = Compiled::in_folder(folder.path()).unwrap();
        folder.close().unwrap();
        assert!(compiled.module(&Engine::default(), MODULE).is_ok());
        assert!(Compiled { folder: None }.module(&Engine::default(), MODULE).is_ok());
        assert!(compiled.module(&Engine::default(), b"\0asm").is_err());
    }
}
