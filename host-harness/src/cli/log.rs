//! `portcullis render --log`: a run of production, drawn from Envoy's log.

use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use host_harness::race::{
    log::{Cut, Log},
    render,
};

/// Most warnings that are printed.
const WARNINGS: usize = 10;

/// A log and what of it is drawn.
#[derive(Args)]
pub(super) struct LogArguments {
    /// Envoy's log, in place of a schedule: `-` is standard input
    #[arg(long, value_name = "ENVOY_LOG", conflicts_with_all = ["schedule", "scenario", "variant", "module"])]
    log: Option<PathBuf>,
    /// From a log, this bundle alone; may be given several times
    #[arg(long, value_name = "NAME", requires = "log", conflicts_with = "schedule")]
    bundle: Vec<String>,
    /// From a log, this VM alone, by the beginning of its name or by its thread; may be given several times
    #[arg(long, value_name = "NAME", requires = "log", conflicts_with = "schedule")]
    vm: Vec<String>,
    /// From a log, draw from this time on, as the log shows times: 10:51:00.123, with a date before it or without one
    #[arg(long, value_name = "TIME", requires = "log", conflicts_with = "schedule")]
    from: Option<String>,
    /// From a log, draw up to this time
    #[arg(long, value_name = "TIME", requires = "log", conflicts_with = "schedule")]
    to: Option<String>,
    /// From a log, for how long a VM may serve another generation than is current before it counts
    #[arg(long, value_name = "TIME", default_value = "5s", requires = "log", conflicts_with = "schedule", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// From a log, also write the order of its turns as a schedule file, for `replay --lenient`
    #[arg(long, value_name = "FILE", requires = "log", conflicts_with = "schedule")]
    schedule_out: Option<PathBuf>,
}

impl LogArguments {
    /// The log, if one is drawn.
    pub(super) fn log(&self) -> Option<&Path> {
        self.log.as_deref()
    }
}

/// Draws a log. Ends with 1 when a VM departed from the registry.
pub(super) fn render(
    arguments: &LogArguments,
    path: &Path,
    format: render::Format,
    out: Option<&Path>,
) -> Result<ExitCode> {
    let log = match path.to_str() {
        Some("-") => Log::read(io::stdin().lock(), "standard input")?,
        _ => {
            let name = path.display().to_string();
            let file = File::open(path).with_context(|| name.clone())?;
            Log::read(BufReader::with_capacity(1 << 20, file), &name)?
        }
    };
    for warning in log.warnings.iter().take(WARNINGS) {
        eprintln!("warning: {warning}");
    }
    if log.warnings.len() > WARNINGS {
        eprintln!("warning: and {} more", log.warnings.len() - WARNINGS);
    }
    let time = |text: &Option<String>| text.as_deref().map(|text| log.moment(text)).transpose();
    let cut = Cut {
        bundles: arguments.bundle.clone(),
        vms: arguments.vm.clone(),
        from: time(&arguments.from)?,
        until: time(&arguments.to)?,
    };
    let checked = log.check(arguments.patience);
    let trace = log.trace(&checked, &cut)?;
    super::schedules::write(out, &render::render(&trace, format))?;
    if let Some(path) = &arguments.schedule_out {
        super::schedules::write(Some(path), &log.schedule(&trace).to_string())?;
    }
    Ok(if trace.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
