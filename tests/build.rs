//! Builds the filter once more, with the feature `hooks`: a module that a request can trap, for tests of what follows.
//!
//! As in `host-harness/module/build.rs`: the nested cargo has `target/module` for its target folder, and what is built is copied.
//! The profile is the guests': it is built in a third of the time.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

const PACKAGE: &str = "portcullis-filter";
const TARGET: &str = "wasm32-wasip1";
const PROFILE: &str = "guests";
const FILE: &str = "portcullis_filter.wasm";

fn main() {
    if let Err(error) = build() {
        eprintln!("the module with hooks could not be built: {error:#}");
        std::process::exit(1);
    }
}

fn build() -> Result<()> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = manifest_dir.parent().context("tests lie inside the workspace")?;
    for source in [
        "filter/src",
        "filter/Cargo.toml",
        "filter/rego/src",
        "filter/rego/Cargo.toml",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    // The build script of `portcullis-module`, which this package depends on, has added the target if it was missing.
    let target_dir = target_dir()?.join("module");
    let status = Command::new(env::var("CARGO")?)
        .current_dir(workspace)
        .args(["rustc", "--package", PACKAGE, "--lib", "--crate-type", "cdylib", "--features", "hooks"])
        .args(["--target", TARGET, "--profile", PROFILE, "--target-dir"])
        .arg(&target_dir)
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
        "cargo rustc -p {PACKAGE} --features hooks --target {TARGET} ended with {status}; its errors are above"
    );
    let built = target_dir.join(TARGET).join(PROFILE).join(FILE);
    ensure!(built.is_file(), "cargo succeeded but {} is not there", built.display());
    let copy = PathBuf::from(env::var("OUT_DIR")?).join(FILE);
    fs::copy(&built, &copy).with_context(|| format!("{} could not be copied", built.display()))?;
    println!("cargo::rustc-env=PORTCULLIS_HOOKS_MODULE={}", copy.display());
    Ok(())
}

/// The folder that cargo marks with `CACHEDIR.TAG`, found from `OUT_DIR`, which lies somewhere below it. One that was there
/// before cargo came has no mark; then it is the one around the folder of the profile, which has cargo's lock.
fn target_dir() -> Result<PathBuf> {
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let holds = |name: &str| out_dir.ancestors().find(|dir| dir.join(name).is_file());
    let found = holds("CACHEDIR.TAG").or_else(|| holds(".cargo-lock")?.parent());
    Ok(found.unwrap_or(&out_dir).to_path_buf())
}
