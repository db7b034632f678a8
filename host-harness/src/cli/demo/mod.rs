//! `portcullis demo`: bundles over real HTTP, four workers, and requests with what came back and why.
//!
//! The same plan runs in the wasmtime harness and, with `--envoy`, in real Envoy. The time to ready is that of
//! the slowest VM, from its first tick to its last policy, by its own clock; it is taken once more with one download at
//! a time, and the ratio of the two is what parallel loading brings.

mod plan;
mod stage;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use comfy_table::{Table, presets};
use host_harness::{
    FILTER_MODULE,
    servers::{BundleServer, Fault},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use plan::{ANSWER_DELAY_MS, BEFORE_READY, BUNDLES, DemoRequest, REQUESTS};
use stage::{Harness, InEnvoy, Stage};

/// Worker threads, each with a VM of its own; Envoy's main thread has one more.
const WORKERS: usize = 4;
/// Far beyond what loading takes; only a hang meets it.
const READY_BOUND: Duration = Duration::from_secs(120);

#[derive(Args)]
pub(super) struct Arguments {
    /// Run in real Envoy instead of the wasmtime harness
    #[arg(long)]
    envoy: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// The folder with `policies` and `bundles`
    #[arg(long, value_name = "FOLDER", default_value_os_t = source_root())]
    root: PathBuf,
}

#[derive(Serialize)]
struct Report {
    bundles: usize,
    answer_delay_ms: u64,
    max_in_flight: usize,
    ready_ms: u64,
    one_by_one_ms: u64,
    requests: Vec<Row>,
    module_bytes: usize,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    status: u16,
    reason: String,
    #[serde(skip)]
    why: &'static str,
    #[serde(skip)]
    as_expected: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let server = BundleServer::start().context("the bundle server did not start")?;
    plan::publish(&server, &arguments.root)?;
    server.set_delay(Duration::from_millis(ANSWER_DELAY_MS));

    let progress = progress(arguments.json);
    let mut rows = Vec::new();

    progress.set_message("one after another");
    let held = plan::held_before_ready();
    server.fault(&held, Fault::HangUntilReleased);
    let mut stage = open(arguments, &server, 1)?;
    rows.push(ask(stage.as_mut(), &BEFORE_READY)?);
    server.clear_fault(&held);
    server.release(&held);
    let one_by_one = load(stage.as_mut(), &progress)?;
    drop(stage);

    progress.set_message("all in parallel");
    server.reset_counters();
    let mut stage = open(arguments, &server, BUNDLES)?;
    let ready = load(stage.as_mut(), &progress)?;
    let max_in_flight = server.traffic().max_in_flight;
    for request in REQUESTS {
        rows.push(ask(stage.as_mut(), request)?);
    }
    progress.finish_and_clear();

    let report = Report {
        bundles: BUNDLES,
        answer_delay_ms: ANSWER_DELAY_MS,
        max_in_flight,
        ready_ms: millis(ready),
        one_by_one_ms: millis(one_by_one),
        requests: rows,
        module_bytes: FILTER_MODULE.len(),
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report, if arguments.envoy { "Envoy" } else { "the wasmtime harness" });
    }
    // How many downloads are in flight together is reported and not checked: it depends on what else the machine does.
    let as_expected = report.requests.iter().all(|row| row.as_expected);
    Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn open(
    arguments: &Arguments,
    server: &BundleServer,
    max_concurrent_downloads: usize,
) -> Result<Box<dyn Stage>> {
    let configuration = plan::configuration(server.url("").trim_end_matches('/'), max_concurrent_downloads)?;
    Ok(if arguments.envoy {
        Box::new(InEnvoy::start(configuration.to_string(), WORKERS)?)
    } else {
        Box::new(Harness::start(configuration.to_string(), WORKERS, server.addr())?)
    })
}

/// Waits until every VM is ready, and gives the time of the slowest.
fn load(stage: &mut dyn Stage, progress: &ProgressBar) -> Result<Duration> {
    let began = Instant::now();
    progress.reset();
    loop {
        let compiled = stage.compiled()?;
        progress.set_length(stage.to_compile() as u64);
        progress.set_position(compiled as u64);
        if let Some(ready_after) = stage.ready_after() {
            return Ok(ready_after);
        }
        ensure!(
            began.elapsed() < READY_BOUND,
            "{compiled} of {} policies are compiled after {} s; the filter says:\n{}",
            stage.to_compile(),
            READY_BOUND.as_secs(),
            stage.log_tail(),
        );
    }
}

fn ask(stage: &mut dyn Stage, request: &DemoRequest) -> Result<Row> {
    let (status, reason) = stage.exchange(request)?;
    let as_expected = (status, reason.as_str()) == request.expected;
    Ok(Row { name: request.name, status, reason, why: request.why, as_expected })
}

fn print(report: &Report, place: &str) {
    let ratio = report.one_by_one_ms as f64 / report.ready_ms.max(1) as f64;
    println!(
        "{} bundles, {} ms an answer, {WORKERS} workers in {place}",
        report.bundles, report.answer_delay_ms
    );
    println!("  ready after {} ms, with up to {} downloads in flight", report.ready_ms, report.max_in_flight);
    println!("  one after another: {} ms, {ratio:.1} times as long", report.one_by_one_ms);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["request", "status", "reason", "why", ""]);
    for row in &report.requests {
        let verdict = if row.as_expected { "as expected" } else { "UNEXPECTED" };
        table.add_row([row.name, &row.status.to_string(), &row.reason, row.why, verdict]);
    }
    println!("{table}");
}

fn progress(quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template("{msg:>20} {bar:40} {pos}/{len} policies compiled, {elapsed}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(0), target).with_style(style)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The repository that this binary was built from.
fn source_root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or_else(|| manifest.clone(), PathBuf::from)
}
