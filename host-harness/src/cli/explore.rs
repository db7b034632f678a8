//! `portcullis explore`: looks for schedules that break scenarios, and says what was covered where none does.

use std::{
    collections::BTreeMap,
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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
        scenario::Scenario,
        search::{self, Certificate, Kept, Options, Report},
    },
};
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

#[derive(Args)]
pub(super) struct Arguments {
    /// The module to explore, in place of the one that the scenario names; alone, it runs the default scenario
    #[arg(long, value_name = "WASM")]
    module: Option<PathBuf>,
    /// A scenario file; may be given several times
    #[arg(long, value_name = "FILE")]
    scenario: Vec<PathBuf>,
    /// Requests that the default scenario sends as well: lines `METHOD PATH`, or an access log
    #[arg(long, value_name = "FILE", requires = "module", conflicts_with = "scenario")]
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
    /// How many times the bounded search puts something off (holds a callback inside, lets an event come late); each
    /// smaller bound comes first
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
    let scenarios = scenarios(arguments)?;
    let stop = Arc::new(AtomicBool::new(false));
    // Twice ends it at once.
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, INTERRUPTED.into(), Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    // Before the search, which may take hours.
    let files = arguments.out.as_deref().map(|folder| Files::in_folder(folder, &scenarios)).transpose()?;
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
    let mut reports = explore_all(arguments, &scenarios, &modules, &stop);
    if let Some(files) = &files {
        files.write(&scenarios, &modules, &mut reports, &options_of(arguments, &stop))?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        println!("{}", table(&scenarios, &reports));
        println!("{}", proved(&reports));
        print!("{}", next_commands(&reports, files.as_ref()));
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
            scenarios.push(match &arguments.requests {
                None => Scenario::default_for(&module),
                Some(path) => {
                    let name = path.display().to_string();
                    let requests = fs::read_to_string(path).with_context(|| name.clone())?;
                    Scenario::default_with(&module, &requests, &name)?
                }
            });
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

/// A schedule file for each scenario that may break.
struct Files(Vec<PathBuf>);

// === impl Files ===

impl Files {
    /// Each scenario has a name of its own here, whatever they are called.
    ///
    /// Errors: nothing can be written into the folder.
    fn in_folder(folder: &Path, scenarios: &[Arc<Scenario>]) -> Result<Files> {
        let unusable = || format!("`--out {}`: nothing can be written there", folder.display());
        fs::create_dir_all(folder).with_context(unusable)?;
        tempfile::NamedTempFile::new_in(folder).with_context(unusable)?;
        let mut files: Vec<PathBuf> = Vec::new();
        for scenario in scenarios {
            let name = [scenario.name.as_str(), scenario.variant.as_str()].join("-");
            let name = name.trim_end_matches('-');
            let numbered = (2..).map(|number| format!("{name}-{number}"));
            let mut names = std::iter::once(name.to_owned()).chain(numbered);
            files.extend(names.find_map(|name| {
                let file = folder.join(format!("{name}.race"));
                (!files.contains(&file)).then_some(file)
            }));
        }
        Ok(Files(files))
    }

    /// Shrinks what was found and writes it down.
    fn write(
        &self,
        scenarios: &[Arc<Scenario>],
        modules: &BTreeMap<String, Module>,
        reports: &mut [Report],
        options: &Options,
    ) -> Result<()> {
        for ((scenario, report), path) in scenarios.iter().zip(reports).zip(&self.0) {
            let Some(found) = &report.first else { continue };
            let (schedule, trace) = race::shrink(&modules[&scenario.module], scenario, found, options)?;
            let text = schedule.to_string();
            fs::write(path, &text).with_context(|| path.display().to_string())?;
            report.kept = Some(Kept {
                file: path.display().to_string(),
                id: schedule.header("id").unwrap_or_default().to_owned(),
                raced: trace.findings.first().and_then(|finding| finding.raced.clone()),
                schedule: text,
            });
        }
        Ok(())
    }
}

/// What to type next where something broke that should not have.
fn next_commands(reports: &[Report], files: Option<&Files>) -> String {
    let mut lines = String::new();
    for (index, report) in reports.iter().enumerate() {
        if report.first.is_none() || report.is_as_expected() {
            continue;
        }
        match files.and_then(|Files(files)| files.get(index)) {
            Some(file) => lines += &format!("portcullis explain {}\n", file.display()),
            None => {
                lines +=
                    "the same command with `--out races` keeps the schedule, to be replayed and explained\n";
                break;
            }
        }
    }
    if lines.is_empty() { lines } else { format!("next:\n{lines}") }
}

fn bar(arguments: &Arguments, count: usize) -> ProgressBar {
    if arguments.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX)).with_style(style)
}

/// How many scenarios that nothing broke were gone through to the end, for each bound.
fn proved(reports: &[Report]) -> String {
    let clean: Vec<&Report> = reports.iter().filter(|report| report.first.is_none()).collect();
    let complete = |name: &str| {
        let is_complete = |report: &&&Report| {
            report.phases.iter().any(|phase| phase.name == name && phase.certificate.is_some())
        };
        clean.iter().filter(is_complete).count()
    };
    let names = ["bound 0", "bound 1", "bound 2", "exhaustive"];
    let counts = names.map(|name| format!("{} {name}", complete(name)));
    format!("of {} that nothing broke, complete: {}", clean.len(), counts.join(", "))
}

fn table(scenarios: &[Arc<Scenario>], reports: &[Report]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["scenario", "variant", "result", "class", "by", "schedules", "seconds", "covered"]);
    for (scenario, report) in scenarios.iter().zip(reports) {
        let result = match (&report.first, report.is_as_expected()) {
            _ if report.not_run.is_some() => report.verdict.clone(),
            (Some(found), false) => format!("BROKEN: {}", found.message),
            (None, false) => format!("NOT BROKEN: {}", report.verdict),
            (_, true) => report.verdict.clone(),
        };
        let certificates = report.phases.iter().rev().find_map(|phase| {
            let Certificate { states, paths, within } = phase.certificate.as_ref()?;
            let within = within.as_ref().map_or_else(String::new, |within| format!(" ({within})"));
            let (name, schedules) = (&phase.name, phase.schedules);
            Some(format!("{name}{within}: {schedules} schedules, {states} states, {paths} paths"))
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
