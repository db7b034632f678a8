//! `portcullis explore`: looks for schedules that break scenarios, and says what was covered where none does.

mod files;
mod inputs;
pub(super) mod next;
pub(super) mod summary;

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use host_harness::{
    abi::{Module, Runtime, RuntimeOptions},
    race::{
        builtin,
        scenario::Scenario,
        search::{self, Options, Report},
    },
};
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use self::{files::Files, inputs::Inputs};

#[derive(Args)]
pub(super) struct Arguments {
    /// Filters (.wasm, .wat) and scenarios (.yaml), in any order. A filter alone is run with the default scenario, a
    /// scenario alone with the filter that it names; of several, every scenario is run with every filter
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A filter, as among FILE, whatever its file is called
    #[arg(long, value_name = "WASM")]
    module: Vec<PathBuf>,
    /// A scenario, as among FILE, whatever its file is called
    #[arg(long, value_name = "FILE")]
    scenario: Vec<PathBuf>,
    /// The plugin configuration of a filter that is run without a scenario: a file, or the text itself
    #[arg(long, value_name = "FILE|TEXT", allow_hyphen_values = true)]
    configuration: Option<String>,
    /// Requests that the default scenario sends as well: lines `METHOD PATH`, or an access log
    #[arg(long, value_name = "FILE")]
    requests: Option<PathBuf>,
    /// Every scenario that is built in: small filters with one mistake each, and without it
    #[arg(long)]
    all: bool,
    /// With `--all`: the scenarios of this project's filter, in place of those of the small ones
    #[arg(long, requires = "all")]
    filter: bool,
    /// Only variants and scenarios whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Most preemptions of the bounded search; each smaller bound comes first
    #[arg(long, default_value_t = 2)]
    preemptions: u32,
    /// Count of random schedules, of four kinds
    #[arg(long, default_value_t = 2000)]
    random: u64,
    /// Most seconds for each variant, and as many again for writing down what is found
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    time: Duration,
    /// Most megabytes of states that a search keeps; shared out where several variants are explored at once
    #[arg(long, default_value_t = 1024, value_name = "MB")]
    memory: usize,
    /// Seed of the random schedules
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Do one part of the work, as in `2/8`; reports of all parts can be added up
    #[arg(long, default_value = "1/1", value_parser = shard)]
    shard: (u32, u32),
    /// How many variants are explored at once; 0 is one for each core
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Do not hold callbacks inside, only change their order
    #[arg(long)]
    whole_callbacks: bool,
    /// Run every schedule of the bounded and the exhaustive search, also where one leads to a state that was there before
    #[arg(long)]
    no_cache: bool,
    /// Go on after the first schedule that breaks a variant
    #[arg(long)]
    keep_going: bool,
    /// Write a schedule file for each variant that breaks into this folder, which is tried before anything is explored
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// The exit status of what was ended with Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let inputs = Inputs::read(arguments)?;
    let scenarios = &inputs.scenarios;
    let stop = Arc::new(AtomicBool::new(false));
    // Twice ends it at once.
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, INTERRUPTED.into(), Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    // Before the search, which may take hours.
    let files = arguments.out.as_deref().map(|folder| Files::in_folder(folder, scenarios)).transpose()?;
    ensure!(
        !scenarios.is_empty(),
        "no scenario is left to explore: see `--only`, the scenario files and `--all`"
    );
    // What fails is run again and recorded, so that nothing is lost by not asking where each time.
    let options = RuntimeOptions { backtraces: false, ..RuntimeOptions::default() };
    let runtime = Runtime::with_options(&options)?;
    let mut modules = BTreeMap::new();
    for scenario in scenarios {
        if !modules.contains_key(&scenario.module) {
            let bytes = builtin::module(&scenario.module)?;
            let module =
                Module::load(&runtime, &bytes).with_context(|| format!("module `{}`", scenario.module))?;
            modules.insert(scenario.module.clone(), module);
        }
    }
    let mut reports = explore_all(arguments, scenarios, &modules, &stop);
    if let Some(files) = &files {
        files.write(scenarios, &modules, &mut reports, &options_of(arguments, &stop))?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        print!("{}{}", summary::summary(scenarios, &reports), next::next(arguments, &inputs, &reports));
    }
    Ok(if stop.load(Ordering::Relaxed) {
        ExitCode::from(INTERRUPTED)
    } else if reports.iter().any(|report| report.not_run.is_some()) {
        ExitCode::from(2)
    } else if reports.iter().all(Report::is_as_expected) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|time| !time.is_zero())
        .ok_or_else(|| format!("`{text}` is no time: give seconds, more than 0"))
}

fn shard(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    parts.filter(|(part, of)| (1..=*of).contains(part)).ok_or_else(|| {
        format!("`{text}` is no part of the work: write it as `2/8`, the second of eight, counted from 1")
    })
}

fn options_of(arguments: &Arguments, stop: &Arc<AtomicBool>) -> Options {
    Options {
        preemptions: arguments.preemptions,
        random: arguments.random,
        time: arguments.time,
        state_bytes: arguments.memory.saturating_mul(1 << 20) / jobs(arguments),
        stop: Arc::clone(stop),
        seed: arguments.seed,
        shard: arguments.shard,
        inside_callbacks: !arguments.whole_callbacks,
        stop_at_first: !arguments.keep_going,
        cache: !arguments.no_cache,
        ..Options::default()
    }
}

/// How many variants are explored at once.
fn jobs(arguments: &Arguments) -> usize {
    match arguments.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    }
}

fn explore_all(
    arguments: &Arguments,
    scenarios: &[Arc<Scenario>],
    modules: &BTreeMap<String, Module>,
    stop: &Arc<AtomicBool>,
) -> Vec<Report> {
    let options = options_of(arguments, stop);
    let bar = bar(arguments, scenarios.len());
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs(arguments).min(scenarios.len()) {
            scope.spawn(|| {
                while let Some(number) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < scenarios.len())
                {
                    let scenario = &scenarios[number];
                    let report = if stop.load(Ordering::Relaxed) {
                        Report::of_reason(scenario, "it was not its turn yet when this was ended")
                    } else {
                        let name = format!("{} {}", scenario.name, scenario.variant);
                        let module = &modules[&scenario.module];
                        let report = search::explore(module, scenario, &options, &mut |report, phase| {
                            if report.schedules.is_multiple_of(256) {
                                bar.set_message(format!("{name}: {phase}, {} schedules", report.schedules));
                            }
                        });
                        report.unwrap_or_else(|error| Report::of_failure(scenario, &error))
                    };
                    bar.inc(1);
                    reports.lock().unwrap_or_else(PoisonError::into_inner).insert(number, report);
                }
            });
        }
    });
    bar.finish_and_clear();
    reports.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn bar(arguments: &Arguments, count: usize) -> ProgressBar {
    if arguments.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX)).with_style(style)
}
