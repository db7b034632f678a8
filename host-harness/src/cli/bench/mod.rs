//! `portcullis bench`: measurements of the whole gate, which people can take on their own machines.

mod contender;
mod cpu;
mod figures;
mod in_envoy;
mod in_opa;
mod plot;
mod plugin;
mod request;
mod roles;
mod rounds;
mod rules;
mod shapes;
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
    /// CPU time and latency of a request; beside Envoy alone, and opa-envoy-plugin with `--opa-envoy-plugin`
    Request(request::Arguments),
    /// The same against the number of rules, in three shapes of policies
    Rules(rules::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.bench {
        Bench::Startup(arguments) => startup::run(arguments),
        Bench::Request(arguments) => request::run(arguments),
        Bench::Rules(arguments) => rules::run(arguments),
    }
}
