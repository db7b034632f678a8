//! `portcullis bench request`: what one request costs, beside Envoy alone and whoever else can decide there.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::{
    contender::{Kind, Scene},
    figures::Figure,
    plot, roles,
    rounds::{self, Entrant, Measured, Setting, Workload},
};

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    setting: Setting,
}

/// All that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    concurrency: u32,
    rounds: usize,
    requests: usize,
    connections: usize,
    pub(super) rows: Vec<Row>,
}

/// One contender; the first is Envoy alone.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) measured: Measured,
    /// CPU time beyond that of Envoy alone, in microseconds.
    cpu_beyond_envoy_us: Figure,
    /// CPU time of that of Envoy alone.
    cpu_of_envoy: Figure,
    /// CPU time of that of opa-envoy-plugin, which is Envoy's and its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_of_opa_envoy_plugin: Option<Figure>,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let setting = &arguments.setting;
    setting.check()?;
    let report = measure(setting)?;
    if let Some(path) = &setting.svg {
        fs::write(path, plot::request(&report)?).with_context(|| path.display().to_string())?;
    }
    if setting.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(setting: &Setting) -> Result<Report> {
    let scene = Scene::new(&[roles::archive()], true)?;
    let each_new = || -> Workload { Box::new(roles::asked) };
    let same_again = || -> Workload { Box::new(|number| roles::asked(number % roles::KINDS)) };
    let mut contenders = vec![
        ("Envoy alone", Kind::Nothing, each_new()),
        ("a Wasm filter that does nothing", Kind::IdleWasm, each_new()),
        ("Portcullis, each request new", Kind::Portcullis, each_new()),
        ("Portcullis, the same again", Kind::Portcullis, same_again()),
    ];
    if setting.opa_envoy_plugin.is_some() {
        contenders.push(("opa-envoy-plugin", Kind::OpaEnvoyPlugin, each_new()));
    }
    let progress = rounds::progress(contenders.len() as u64)?;
    let mut entrants = Vec::new();
    for (name, kind, workload) in contenders {
        progress.set_message(format!("start: {name}"));
        entrants.push(Entrant::start(name, kind, &scene, setting, workload)?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    rounds::run(setting, &mut entrants)?;
    Ok(Report::new(setting, &entrants))
}

// === impl Report ===

impl Report {
    fn new(setting: &Setting, entrants: &[Entrant]) -> Self {
        let cpu_of = |kind| {
            let entrant = entrants.iter().find(|entrant| entrant.kind() == kind);
            entrant.map(|entrant| &entrant.measured.cpu_us)
        };
        let nothing = Figure::default();
        let envoy = cpu_of(Kind::Nothing).unwrap_or(&nothing);
        let rows = entrants.iter().map(|entrant| {
            let cpu = &entrant.measured.cpu_us;
            Row {
                name: entrant.name.clone(),
                measured: entrant.measured.clone(),
                cpu_beyond_envoy_us: cpu.beyond(envoy),
                cpu_of_envoy: cpu.of(envoy),
                cpu_of_opa_envoy_plugin: cpu_of(Kind::OpaEnvoyPlugin).map(|plugin| cpu.of(plugin)),
            }
        });
        Self {
            concurrency: setting.concurrency,
            rounds: setting.rounds,
            requests: setting.requests,
            connections: setting.connections,
            rows: rows.collect(),
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "of one request, in µs: CPU time at {} connections, latency at one;\n\
             medians of {} rounds of {} requests, {} worker(s); ratios within each round",
            self.connections, self.rounds, self.requests, self.concurrency
        )?;
        let with_plugin = self.rows.iter().any(|row| row.cpu_of_opa_envoy_plugin.is_some());
        let mut table = Table::new();
        let mut header = vec!["", "CPU", "added", "of Envoy's"];
        if with_plugin {
            header.push("of the plugin's");
        }
        header.extend(["p50", "p99"]);
        let columns = header.len();
        table.load_style(presets::ASCII_MARKDOWN).set_header(header);
        for row in &self.rows {
            let mut cells = vec![
                row.name.clone(),
                format!("{:.1}", row.measured.cpu_us.median),
                format!("{:.1}", row.cpu_beyond_envoy_us.median),
                format!("{:.2}", row.cpu_of_envoy.median),
            ];
            cells.extend(row.cpu_of_opa_envoy_plugin.as_ref().map(|ratio| format!("{:.2}", ratio.median)));
            cells.push(format!("{:.0}", row.measured.p50_us.median));
            cells.push(format!("{:.0}", row.measured.p99_us.median));
            table.add_row(cells);
        }
        for column in 1..columns {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(f, "{table}")
    }
}
