//! `portcullis check`: the sentence that the filter would log, before it gets there.

mod bundle;

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;
use host_harness::real_envoy::review::{Finding, review};
use portcullis_filter::{config::Config, plugin};

#[derive(Args)]
#[group(required = true)]
pub(super) struct Arguments {
    /// The plugin configuration, YAML or JSON; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A configuration of Envoy with the filter in it, YAML or JSON: ways past the gate are faults, and routes that a path
    /// can go around are warned of
    #[arg(long, value_name = "FILE")]
    envoy: Option<PathBuf>,
    /// A bundle: an archive, or folders with commas in between; several make one policy. What the filter would refuse is a
    /// fault, and what it can never decide by is warned of
    #[arg(long, value_name = "PATH")]
    bundle: Vec<String>,
    /// The decision's path below `data`, of --bundle: only what it can read is warned of
    #[arg(long, value_name = "PATH", requires = "bundle")]
    decision: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let config = arguments.config.as_deref().map(check_plugin).transpose()?;
    let plugin = config.as_ref().is_none_or(Option::is_some);
    let input = config.flatten().map(|config| config.input).unwrap_or_default();
    let envoy = arguments.envoy.as_deref().map_or(Ok(true), check_envoy)?;
    let bundle = if arguments.bundle.is_empty() {
        true
    } else {
        bundle::check(&arguments.bundle, arguments.decision.as_deref(), &input)?
    };
    Ok(if plugin && envoy && bundle { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_envoy(path: &Path) -> Result<bool> {
    let text = read(path)?;
    let document: serde_json::Value =
        yaml_serde::from_slice(&text).with_context(|| format!("{}: it is no YAML", path.display()))?;
    let findings = review(&document);
    let is_good = !findings.iter().any(|finding| finding.is_fault);
    println!("{}: {}", path.display(), if is_good { "good" } else { "it can be got past" });
    for Finding { is_fault, place, message } in &findings {
        println!("  {} in {place}: {message}", if *is_fault { "fault" } else { "warning" });
    }
    Ok(is_good)
}

/// The configuration, if the filter would take it.
fn check_plugin(path: &Path) -> Result<Option<Config>> {
    let config = match Config::parse(&read(path)?) {
        Ok(config) => config,
        Err(error) => {
            match error.problems.as_slice() {
                [_] => println!("{}: {}", path.display(), plugin::refusal(&error)),
                problems => {
                    println!(
                        "{}: refused, every request is answered 503: {} faults",
                        path.display(),
                        problems.len()
                    );
                    problems.iter().for_each(|problem| println!("  fault in {problem}"));
                }
            }
            return Ok(None);
        }
    };
    println!("{}: good", path.display());
    for (name, source) in &config.bundles {
        let scheme = source.scheme.as_str();
        // A query may be a signature.
        let (path, query) =
            source.path.split_once('?').map_or((source.path.as_str(), ""), |(path, _)| (path, "?…"));
        println!(
            "  bundle {name}: {scheme}://{}{path}{query} through cluster {}",
            source.authority, source.cluster
        );
    }
    for (name, policy) in &config.policies {
        let default = if config.default_policy.as_ref() == Some(name) { " (default)" } else { "" };
        println!("  policy {name}{default}: {} of {}", policy.decision, policy.bundles.join(", "));
    }
    Ok(Some(config))
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
