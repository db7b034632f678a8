//! `portcullis explore`: looks for schedules that break scenarios, and says what was covered where none does.

use std::{
    collections::BTreeMap,
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use comfy_table::{Table, presets};
use host_harness::{
    abi::{Module, Runtime, RuntimeOptions},
    race::{
        self, builtin,
        scenario::{Expectation, Scenario},
        search::{self, Options, Report},
    },
};
use indicatif::{ProgressBar, ProgressStyle};

#[derive(Args)]
pub(super) struct Arguments {
    /// The module to explore, in place of the one that the scenario names; alone, it runs the default scenario
    #[arg(long, value_name = "WASM")]
    module: Option<PathBuf>,
    /// A scenario file; may be given several times
    #[arg(long, value_name = "FILE")]
    scenario: Vec<PathBuf>,
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
    /// Most seconds for each variant
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    time: f64,
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
    /// Write a schedule file for each variant that breaks into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let scenarios = scenarios(arguments)?;
    ensure!(!scenarios.is_empty(), "no scenario is left to explore: see `--only`, `--scenario` and `--all`");
    // What fails is run again and recorded, so that nothing is lost by not asking where each time.
    let options = RuntimeOptions { backtraces: false, ..RuntimeOptions::default() };
    let runtime = Runtime::with_options(&options)?;
    let mut modules = BTreeMap::new();
    for scenario in &scenarios {
        if !modules.contains_key(&scenario.module) {
            let bytes = builtin::module(&scenario.module)?;
            let module =
                Module::load(&runtime, &bytes).with_context(|| format!("module `{}`", scenario.module))?;
            modules.insert(scenario.module.clone(), module);
        }
    }
    let reports = explore_all(arguments, &scenarios, &modules)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        println!("{}", table(&scenarios, &reports));
    }
    let as_expected =
        scenarios.iter().zip(&reports).all(|(scenario, report)| is_as_expected(scenario, report));
    Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shard(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    parts.filter(|(part, of)| (1..=*of).contains(part)).ok_or_else(|| {
        format!("`{text}` is no part of the work: write it as `2/8`, the second of eight, counted from 1")
    })
}

fn scenarios(arguments: &Arguments) -> Result<Vec<Arc<Scenario>>> {
    let mut scenarios = Vec::new();
    if arguments.all {
        scenarios.extend(if arguments.filter { builtin::filter_scenarios()? } else { builtin::scenarios()? });
    }
    for file in &arguments.scenario {
        scenarios.extend(Scenario::load(file)?);
    }
    if let Some(module) = &arguments.module {
        let module = module.display().to_string();
        if scenarios.is_empty() {
            scenarios.push(Scenario::default_for(&module));
        }
        for scenario in &mut scenarios {
            scenario.module.clone_from(&module);
        }
    }
    ensure!(!scenarios.is_empty(), "nothing to explore: name a `--scenario`, a `--module`, or `--all`");
    let is_wanted = |scenario: &Scenario| {
        arguments
            .only
            .as_ref()
            .is_none_or(|text| format!("{} {}", scenario.name, scenario.variant).contains(text.as_str()))
    };
    Ok(scenarios.into_iter().filter(is_wanted).map(Arc::new).collect())
}

fn explore_all(
    arguments: &Arguments,
    scenarios: &[Arc<Scenario>],
    modules: &BTreeMap<String, Module>,
) -> Result<Vec<Report>> {
    let options = Options {
        preemptions: arguments.preemptions,
        random: arguments.random,
        time: Duration::from_secs_f64(arguments.time),
        seed: arguments.seed,
        shard: arguments.shard,
        inside_callbacks: !arguments.whole_callbacks,
        stop_at_first: !arguments.keep_going,
        cache: !arguments.no_cache,
        ..Options::default()
    };
    let bar = bar(arguments, scenarios.len());
    let jobs = match arguments.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    };
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(scenarios.len()) {
            scope.spawn(|| {
                while let Some(number) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < scenarios.len())
                {
                    let scenario = &scenarios[number];
                    let name = format!("{} {}", scenario.name, scenario.variant);
                    let report = search::explore(
                        &modules[&scenario.module],
                        scenario,
                        &options,
                        &mut |report, phase| {
                            if report.schedules.is_multiple_of(256) {
                                bar.set_message(format!("{name}: {phase}, {} schedules", report.schedules));
                            }
                        },
                    );
                    let report = report.unwrap_or_else(|error| Report::of_failure(scenario, &error));
                    bar.inc(1);
                    reports.lock().unwrap_or_else(PoisonError::into_inner).insert(number, report);
                }
            });
        }
    });
    bar.finish_and_clear();
    let reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    let reports: Vec<Report> = reports.into_values().collect();
    if let Some(folder) = &arguments.out {
        write_schedules(folder, scenarios, modules, &reports, &options)?;
    }
    Ok(reports)
}

/// Shrinks what was found and writes a schedule file and a timeline for each.
fn write_schedules(
    folder: &Path,
    scenarios: &[Arc<Scenario>],
    modules: &BTreeMap<String, Module>,
    reports: &[Report],
    options: &Options,
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (scenario, report) in scenarios.iter().zip(reports) {
        let Some(found) = &report.first else { continue };
        let (schedule, _) = race::shrink(&modules[&scenario.module], scenario, found, options)?;
        let name = [scenario.name.as_str(), scenario.variant.as_str()].join("-");
        let path = folder.join(format!("{}.race", name.trim_end_matches('-')));
        fs::write(&path, schedule.to_string()).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn bar(arguments: &Arguments, count: usize) -> ProgressBar {
    if arguments.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX)).with_style(style)
}

fn is_as_expected(scenario: &Scenario, report: &Report) -> bool {
    let as_expected = match scenario.expect {
        Some(Expectation::Broken) => report.first.is_some(),
        Some(Expectation::Clean) | None => report.first.is_none(),
    };
    as_expected && report.not_repeatable == 0 && report.not_run.is_none()
}

fn table(scenarios: &[Arc<Scenario>], reports: &[Report]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["scenario", "variant", "result", "class", "by", "schedules", "seconds", "covered"]);
    for (scenario, report) in scenarios.iter().zip(reports) {
        let result = match (&report.first, is_as_expected(scenario, report)) {
            _ if report.not_run.is_some() => {
                format!("NOT RUN: {}", report.not_run.clone().unwrap_or_default())
            }
            (Some(found), true) => format!("broken: {}", found.oracle),
            (Some(found), false) => format!("BROKEN: {}", found.message),
            (None, true) => "clean".to_owned(),
            (None, false) => "NOT BROKEN".to_owned(),
        };
        let certificates = report.phases.iter().rev().find_map(|phase| {
            let certificate = phase.certificate.as_ref()?;
            Some(format!("{}: {} states, {} paths", phase.name, certificate.states, certificate.paths))
        });
        let missed = report.phases.iter().find_map(|phase| phase.missed_depth_2);
        let missed = missed.map(|missed| format!("two steps missed: p ≤ {missed:.1e}"));
        let covered = certificates.into_iter().chain(missed).collect::<Vec<_>>().join("\n");
        table.add_row([
            scenario.name.clone(),
            scenario.variant.clone(),
            result,
            report.first.as_ref().map(|found| format!("{:?}", found.class)).unwrap_or_default(),
            report.first.as_ref().map(|found| found.phase.clone()).unwrap_or_default(),
            report.schedules.to_string(),
            format!("{:.2}", report.seconds),
            covered,
        ]);
    }
    table
}
