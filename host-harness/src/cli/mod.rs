//! The command line: one module per subcommand.

mod bench;
mod bundle;
mod check;
mod demo;
mod envoy_config;
mod eval;
mod explanation;
mod explore;
mod filter;
mod log;
mod policy;
mod schedules;
mod test;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use host_harness::{FILTER_MODULE, FILTER_MODULE_SHA256};

/// A gate for Envoy that stays down until it knows: Rego policies from OPA bundles, inside Envoy.
#[derive(Parser)]
#[command(name = "portcullis")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a plugin configuration; a faulty one is refused with the path to each key and the cure
    Check(check::Arguments),
    /// Print a complete Envoy configuration with the filter and the seal behind it
    EnvoyConfig(envoy_config::Arguments),
    /// Write the filter's module, as Envoy loads it
    Filter(filter::Arguments),
    /// Build a bundle archive from folders of policies and data
    Bundle(bundle::Arguments),
    /// Ask a policy about a request or an input, and say why it answers so
    Eval(eval::Arguments),
    /// Run the tests beside policies
    Test(test::Arguments),
    /// Look for schedules that break a filter; a scenario says what must hold
    Explore(explore::Arguments),
    /// Run a schedule file again and show what happens
    Replay(schedules::ReplayArguments),
    /// Cut a schedule file down to the least that fails in the same way
    Shrink(schedules::ShrinkArguments),
    /// Say after which step a schedule could not end well any more
    Explain(schedules::ExplainArguments),
    /// Draw the run of a schedule file, or of Envoy's log, as a timeline
    Render(schedules::RenderArguments),
    /// Load 50 bundles in parallel and send requests through the gate; every line is checked
    Demo(demo::Arguments),
    /// Measure the gate in real Envoy
    Bench(bench::Arguments),
}

/// Runs the command that the arguments name.
pub(crate) fn run() -> ExitCode {
    let version = format!(
        "{} (module sha256:{FILTER_MODULE_SHA256}, {} bytes)",
        env!("CARGO_PKG_VERSION"),
        FILTER_MODULE.len(),
    );
    let matches = Cli::command().version(version).get_matches();
    let result =
        Cli::from_arg_matches(&matches).map_err(anyhow::Error::from).and_then(|cli| match cli.command {
            Command::Check(arguments) => check::run(&arguments),
            Command::EnvoyConfig(arguments) => envoy_config::run(&arguments),
            Command::Filter(arguments) => filter::run(&arguments),
            Command::Bundle(arguments) => bundle::run(&arguments),
            Command::Eval(arguments) => eval::run(&arguments),
            Command::Test(arguments) => test::run(&arguments),
            Command::Explore(arguments) => explore::run(&arguments),
            Command::Replay(arguments) => schedules::replay(&arguments),
            Command::Shrink(arguments) => schedules::shrink(&arguments),
            Command::Explain(arguments) => schedules::explain(&arguments),
            Command::Render(arguments) => schedules::render(&arguments),
            Command::Demo(arguments) => demo::run(&arguments),
            Command::Bench(arguments) => bench::run(&arguments),
        });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            ExitCode::from(2)
        }
    }
}
