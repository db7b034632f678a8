//! `portcullis check`: the sentence that the filter would log, before it gets there.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;
use portcullis_filter::{config::Config, plugin};

#[derive(Args)]
pub(super) struct Arguments {
    /// The plugin configuration, YAML or JSON; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let text = read(&arguments.config)?;
    let config = match Config::parse(&text) {
        Ok(config) => config,
        Err(error) => {
            println!("{}: {}", arguments.config.display(), plugin::refusal(&error));
            return Ok(ExitCode::FAILURE);
        }
    };
    println!("{}: good", arguments.config.display());
    for (name, source) in &config.bundles {
        let scheme = source.scheme.as_str();
        println!(
            "  bundle {name}: {scheme}://{}{} through cluster {}",
            source.authority, source.path, source.cluster
        );
    }
    for (name, policy) in &config.policies {
        let default = if config.default_policy.as_ref() == Some(name) { " (default)" } else { "" };
        println!("  policy {name}{default}: {} of {}", policy.decision, policy.bundles.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

/// A file, or standard input for `-`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut text = Vec::new();
        io::stdin().read_to_end(&mut text).context("standard input")?;
        return Ok(text);
    }
    std::fs::read(path).with_context(|| path.display().to_string())
}
