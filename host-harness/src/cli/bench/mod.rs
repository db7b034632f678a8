//! `portcullis bench`: measurements of the whole gate, which people can take on their own machines.

mod in_envoy;
mod in_opa;
mod plot;
mod startup;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Time until real Envoy can decide by every policy, against the number of bundles; beside OPA with `--opa`
    Startup(startup::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.bench {
        Bench::Startup(arguments) => startup::run(arguments),
    }
}
