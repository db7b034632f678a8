//! `portcullis bench startup`: many bundles from a server that takes its time, until all of them decide.
//!
//! Every measurement is taken twice: with every bundle there, and with one more, of a policy of its own, that never
//! comes. The rounds of all of them take turns, so that what else the machine does falls on each alike.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use comfy_table::{Table, presets};
use host_harness::{
    servers::{BundleServer, Fault},
    storm::{Storm, StormBundle},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{in_envoy, in_opa, plot};

const STORM_SEED: u64 = 7;

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// How many bundles, each of a policy of its own
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 10, 50, 200, 500])]
    bundles: Vec<usize>,
    /// Envoy's workers
    #[arg(long, value_name = "N", default_value_t = 4)]
    concurrency: u32,
    /// How often each is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// The bundle server's delay for each answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 50)]
    delay_ms: u64,
    /// An `opa` to measure beside it, as `opa run --server` with the same bundles
    #[arg(long, value_name = "PATH")]
    opa: Option<PathBuf>,
    /// Where a plot goes
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// All that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) concurrency: u32,
    pub(super) rounds: usize,
    pub(super) answer_delay_ms: u64,
    pub(super) rows: Vec<Row>,
}

/// What was measured with one number of bundles.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) bundles: usize,
    pub(super) all_there: Measured,
    /// Beside one bundle that never comes; the other policies count.
    pub(super) one_hanging: Measured,
}

/// Medians; the single values stand beside them in the order of the rounds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Measured {
    /// From the start of Envoy's process until its slowest VM could decide by every policy.
    pub(super) envoy_from_start: Series,
    /// The same, from the first tick of that VM: without the start of Envoy and of the module in it.
    pub(super) envoy_from_first_tick: Series,
    /// From the start of OPA's process until every policy had a decision.
    pub(super) opa_from_start: Series,
    /// From the start of OPA's process until `/health?bundles` answered 200.
    pub(super) opa_healthy: Series,
}

/// One thing measured again and again, in milliseconds; null where it did not come about in time.
#[derive(Debug, Default, Serialize)]
pub(super) struct Series {
    pub(super) median_ms: Option<u64>,
    pub(super) all_ms: Vec<Option<u64>>,
}

/// Bundles on a server, ready to be loaded.
pub(super) struct Scene {
    /// Serves until this is dropped.
    pub(super) _server: BundleServer,
    pub(super) document: serde_json::Value,
    /// Paths of the decisions whose bundles come.
    pub(super) decisions: Vec<String>,
    /// Whether there is one more, which does not.
    pub(super) one_hangs: bool,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(arguments.rounds > 0, "--rounds 0: nothing would be measured; 3 is a good number");
    ensure!(
        !arguments.bundles.contains(&0),
        "--bundles 0: a gate without policies is never ready; begin at 1"
    );
    let steps = arguments.rounds * arguments.bundles.len() * 2;
    let progress = ProgressBar::new(steps as u64).with_style(
        ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}").context("the progress bar")?,
    );
    let mut rows: Vec<Row> = arguments.bundles.iter().map(|bundles| Row::new(*bundles)).collect();
    for _ in 0..arguments.rounds {
        for row in &mut rows {
            for one_hangs in [false, true] {
                progress.set_message(format!("{} bundles", row.bundles));
                measure(arguments, row, one_hangs)?;
                progress.inc(1);
            }
        }
    }
    progress.finish_and_clear();
    let report = Report {
        concurrency: arguments.concurrency,
        rounds: arguments.rounds,
        answer_delay_ms: arguments.delay_ms,
        rows,
    };
    if let Some(path) = &arguments.svg {
        fs::write(path, plot::startup(&report)?).with_context(|| path.display().to_string())?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(arguments: &Arguments, row: &mut Row, one_hangs: bool) -> Result<()> {
    let delay = Duration::from_millis(arguments.delay_ms);
    let measured = if one_hangs { &mut row.one_hanging } else { &mut row.all_there };
    let scene = Scene::new(row.bundles, one_hangs, delay)?;
    let envoy = in_envoy::start_up(&scene, arguments.concurrency)?;
    measured.envoy_from_start.push(Some(envoy.from_start));
    measured.envoy_from_first_tick.push(Some(envoy.from_first_tick));
    if let Some(opa) = &arguments.opa {
        // The server of its own begins without connections, as the other did.
        let scene = Scene::new(row.bundles, one_hangs, delay)?;
        let opa = in_opa::start_up(&scene, opa)?;
        measured.opa_from_start.push(opa.from_start);
        measured.opa_healthy.push(opa.healthy);
    }
    Ok(())
}

// === impl Scene ===

impl Scene {
    fn new(coming: usize, one_hangs: bool, delay: Duration) -> Result<Self> {
        let server = BundleServer::start().context("the bundle server did not start")?;
        server.set_delay(delay);
        let storm = Storm::new(coming + usize::from(one_hangs), STORM_SEED);
        storm.publish(&server, 1);
        for bundle in storm.bundles().iter().skip(coming) {
            server.fault(&bundle.path(), Fault::HangUntilReleased);
        }
        let document = storm.document(server.url("").trim_end_matches('/'));
        let decisions = storm.bundles().iter().take(coming).map(StormBundle::decision).collect();
        Ok(Self { _server: server, document, decisions, one_hangs })
    }
}

// === impl Row ===

impl Row {
    fn new(bundles: usize) -> Self {
        Self { bundles, all_there: Measured::default(), one_hanging: Measured::default() }
    }
}

// === impl Series ===

impl Series {
    fn push(&mut self, time: Option<Duration>) {
        self.all_ms.push(time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
        // What did not come about in time took longest.
        let mut sorted = self.all_ms.clone();
        sorted.sort_by_key(|time| time.unwrap_or(u64::MAX));
        self.median_ms = sorted.get((sorted.len() - 1) / 2).copied().flatten();
    }
}

// === impl Report ===

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let with_opa = self.rows.iter().any(|row| !row.all_there.opa_from_start.all_ms.is_empty());
        writeln!(
            f,
            "until every policy decides, in ms: medians of {} rounds, {} workers, {} ms an answer; \
             in brackets: beside one bundle that never comes",
            self.rounds, self.concurrency, self.answer_delay_ms
        )?;
        let mut table = Table::new();
        let mut header = vec!["bundles", "Envoy, from the first tick", "Envoy, from process start"];
        if with_opa {
            header.extend(["OPA, from process start", "OPA, `/health?bundles`"]);
        }
        table.load_style(presets::ASCII_MARKDOWN).set_header(header);
        for row in &self.rows {
            let pair = |series: fn(&Measured) -> &Series| {
                format!("{} ({})", text(series(&row.all_there)), text(series(&row.one_hanging)))
            };
            let mut cells = vec![
                row.bundles.to_string(),
                pair(|measured| &measured.envoy_from_first_tick),
                pair(|measured| &measured.envoy_from_start),
            ];
            if with_opa {
                cells.push(pair(|measured| &measured.opa_from_start));
                cells.push(pair(|measured| &measured.opa_healthy));
            }
            table.add_row(cells);
        }
        write!(f, "{table}")
    }
}

fn text(series: &Series) -> String {
    series.median_ms.map_or_else(|| "never".to_owned(), |time| time.to_string())
}
