//! Builds the filter for `wasm32-wasip1`, so that the binary and every test carry the module that Envoy runs, and the
//! module of small guests that the races are shown with. A package of its own, so that cargo says by its name what it is
//! that takes a minute.
//!
//! The nested cargo has a target folder of its own (`target/module`): sharing the outer one would wait for ever
//! on the lock that the outer cargo holds. Debug and release builds of the harness share that folder, because
//! the modules are the same in both. Each keeps a copy: a file that cargo watches must not change while this runs, or
//! the next command builds the harness again.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

const TARGET: &str = "wasm32-wasip1";
const FILTER: Module =
    Module { package: "portcullis-filter", profile: "module", file: "portcullis_filter.wasm" };
const GUESTS: Module =
    Module { package: "portcullis-guests", profile: "guests", file: "portcullis_guests.wasm" };

/// What one nested cargo builds.
struct Module {
    package: &'static str,
    profile: &'static str,
    file: &'static str,
}

fn main() {
    if let Err(error) = build() {
        eprintln!("the modules could not be built: {error:#}");
        std::process::exit(1);
    }
}

fn build() -> Result<()> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace =
        manifest_dir.ancestors().nth(2).context("the package lies two folders below the workspace")?;
    let sources = [
        "filter/src",
        "filter/Cargo.toml",
        "filter/rego/src",
        "filter/rego/Cargo.toml",
        "host-harness/guests/src",
        "host-harness/guests/Cargo.toml",
        "Cargo.toml",
        "Cargo.lock",
    ];
    for source in sources {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }

    ensure_target_installed()?;
    let target_dir = target_dir()?.join("module");
    let filter = build_module(workspace, &target_dir, &FILTER)?;
    println!("cargo::rustc-env=PORTCULLIS_MODULE={}", filter.display());
    let digest = Sha256::digest(fs::read(&filter)?);
    println!("cargo::rustc-env=PORTCULLIS_MODULE_SHA256={digest:x}");
    let guests = build_module(workspace, &target_dir, &GUESTS)?;
    println!("cargo::rustc-env=PORTCULLIS_GUESTS={}", guests.display());
    Ok(())
}

/// Builds one module and says where its copy is.
fn build_module(workspace: &Path, target_dir: &Path, module: &Module) -> Result<PathBuf> {
    let Module { package, profile, file } = module;
    let status = Command::new(env::var("CARGO")?)
        .current_dir(workspace)
        .args(["rustc", "--package", package, "--lib", "--crate-type", "cdylib"])
        .args(["--target", TARGET, "--profile", profile])
        .arg("--target-dir")
        .arg(target_dir)
        // What the outer cargo, clippy or a coverage run set for host code is wrong for the module.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_PROFILE_RELEASE_DEBUG")
        .status()
        .context("cargo could not be started")?;
    ensure!(
        status.success(),
        "cargo rustc -p {package} --target {TARGET} ended with {status}; its errors are above"
    );

    let built = target_dir.join(TARGET).join(profile).join(file);
    ensure!(built.is_file(), "cargo succeeded but {} is not there", built.display());
    let copy = PathBuf::from(env::var("OUT_DIR")?).join(file);
    fs::copy(&built, &copy).with_context(|| format!("{} could not be copied", built.display()))?;
    Ok(copy)
}

fn ensure_target_installed() -> Result<()> {
    let output = Command::new(env::var("RUSTC")?)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .context("rustc could not be started")?;
    let libdir = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && Path::new(libdir.trim()).is_dir() {
        return Ok(());
    }
    println!(
        "cargo::warning=the Rust target {TARGET} is missing: adding it with `rustup target add {TARGET}`"
    );
    match Command::new("rustup").args(["target", "add", TARGET]).status() {
        Ok(status) if status.success() => Ok(()),
        _ => bail!(
            "the Rust target {TARGET} is not installed and rustup could not add it: install the standard library \
             for {TARGET} of this Rust release (with rustup: `rustup target add {TARGET}`) and build again"
        ),
    }
}

/// The folder that cargo marks with `CACHEDIR.TAG`, found from `OUT_DIR`, which lies somewhere below it. One that was there
/// before cargo came has no mark; then it is the one around the folder of the profile, which has cargo's lock.
fn target_dir() -> Result<PathBuf> {
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let holds = |name: &str| out_dir.ancestors().find(|dir| dir.join(name).is_file());
    let found = holds("CACHEDIR.TAG").or_else(|| holds(".cargo-lock")?.parent());
    Ok(found.unwrap_or(&out_dir).to_path_buf())
}
