//! Builds guests with their own toolchains into the target folder.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use host_harness::{
    abi::Module,
    real_envoy::{BootstrapOptions, EnvoyError, EnvoyOptions, RealEnvoy, bootstrap},
    servers::Upstream,
};
use portcullis_filter::config::{ClusterTarget, Config, InputConfig, Limits, ManagerConfig, Scheme};

use crate::common::runtime;

const TARGET: &str = "wasm32-wasip1";

/// Where the guests' sources lie.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk")
}

/// Where guests are built: a folder for each, beside what cargo builds for the host.
pub(crate) fn built(guest: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target folder");
    target.join("sdk").join(guest)
}

/// A cargo that builds for a guest, whatever was set for the host.
pub(crate) fn cargo(subcommand: &str, manifest: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([subcommand, "--manifest-path"])
        .arg(manifest)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET");
    cargo
}

/// Builds a guest crate (its library or `--examples`) with its own lock file, and gives the folder of its modules.
pub(crate) fn build_crate(manifest: &Path, name: &str, what: &str) -> PathBuf {
    let target_dir = built(name);
    run(cargo("build", manifest)
        .args([what, "--release", "--locked", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        // How fast a guest runs is of no interest here, and how fast it is built is.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"));
    let folder = target_dir.join(TARGET).join("release");
    if what == "--examples" { folder.join("examples") } else { folder }
}

/// Loads a module that was built.
pub(crate) fn load(path: &Path) -> Module {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Module::load(runtime(), &bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a command to its end, which must be good.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A real Envoy with this module, which has the upstream as its cluster `side` as well.
pub(crate) fn start_envoy(
    module: &Path,
    configuration: &str,
    upstream: &Upstream,
) -> Result<RealEnvoy, EnvoyError> {
    let side = ClusterTarget::Origin {
        scheme: Scheme::Http,
        host: upstream.addr().ip().to_string(),
        port: upstream.addr().port(),
    };
    let config = Config {
        bundles: BTreeMap::new(),
        policies: BTreeMap::new(),
        default_policy: None,
        clusters: BTreeMap::from([("side".to_owned(), side)]),
        max_concurrent_downloads: 1,
        limits: Limits::default(),
        staleness: BTreeMap::new(),
        health_path: None,
        health_detail: false,
        input: InputConfig::default(),
        labels: BTreeMap::new(),
        paths: Default::default(),
        manager: ManagerConfig::default(),
    };
    let target = upstream.addr().into();
    let options = BootstrapOptions { seal: false, ..BootstrapOptions::new(module, configuration, target) };
    RealEnvoy::start(&bootstrap(&config, &options), &EnvoyOptions::default())
}
