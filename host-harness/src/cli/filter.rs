//! `portcullis filter`: the module that this binary carries.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use host_harness::{FILTER_MODULE, FILTER_MODULE_SHA256};

#[derive(Args)]
pub(super) struct Arguments {
    /// Where to write the module
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    fs::write(&arguments.out, FILTER_MODULE).with_context(|| arguments.out.display().to_string())?;
    println!("{}: {} bytes, sha256:{FILTER_MODULE_SHA256}", arguments.out.display(), FILTER_MODULE.len());
    Ok(ExitCode::SUCCESS)
}
