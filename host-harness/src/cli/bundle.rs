//! `portcullis bundle`: folders → archive, read back as the filter will read it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;
use host_harness::archive::Archive;
use portcullis_filter::{bundle::Bundle, config::DEFAULT_SIZE_LIMIT_BYTES};

#[derive(Args)]
pub(super) struct Arguments {
    /// Folders whose files make up the bundle, each rooted at `/`: `policies/shop bundles/shop`
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Where to write the archive
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let folders: Vec<&Path> = arguments.folders.iter().map(PathBuf::as_path).collect();
    let archive = Archive::from_folders(&folders)?;
    let bytes = archive.build();
    let name = arguments.out.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let bundle = Bundle::read(&name, &bytes, DEFAULT_SIZE_LIMIT_BYTES)
        .context("the filter would refuse this bundle")?;
    fs::write(&arguments.out, &bytes).with_context(|| arguments.out.display().to_string())?;
    println!(
        "{}: revision `{}`, {} files, {} bytes, sha256:{}",
        arguments.out.display(),
        bundle.manifest.revision,
        archive.names().count(),
        bytes.len(),
        bundle.digest,
    );
    Ok(ExitCode::SUCCESS)
}
