//! `portcullis bench rules`: what one request costs against the number of rules, in the shapes in which they are written.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::{
    contender::{Kind, Scene},
    figures::Figure,
    plot,
    rounds::{self, Entrant, Measured, Setting, Workload},
    shapes::Shape,
};

/// As in `bench request`. Here ours is to evaluate each time, though no policy looks at what makes each request new.
const REMEMBERED: Option<u64> = None;

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// How many rules or tenants a policy has
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [10, 100, 1_000, 10_000])]
    rules: Vec<u64>,
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
    pub(super) envoy_alone: Measured,
    pub(super) rows: Vec<Row>,
}

/// What was measured of one policy.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) shape: Shape,
    pub(super) rules: u64,
    pub(super) portcullis: Decided,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) opa_envoy_plugin: Option<Decided>,
    /// CPU time of ours of that of opa-envoy-plugin, which is Envoy's and its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_of_opa_envoy_plugin: Option<Figure>,
}

/// One that decides by the policy.
#[derive(Debug, Serialize)]
pub(super) struct Decided {
    #[serde(flatten)]
    pub(super) measured: Measured,
    /// CPU time beyond that of Envoy alone, in microseconds.
    cpu_beyond_envoy_us: Figure,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let setting = &arguments.setting;
    setting.check()?;
    ensure!(!arguments.rules.contains(&0), "--rules 0: such a policy allows nothing; begin at 1");
    let report = measure(&arguments.rules, setting)?;
    if let Some(path) = &setting.svg {
        fs::write(path, plot::rules(&report)?).with_context(|| path.display().to_string())?;
    }
    if setting.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}

/// All contenders run from the beginning to the end, so that every number of rules is measured in every round.
fn measure(numbers: &[u64], setting: &Setting) -> Result<Report> {
    let policies: Vec<_> =
        Shape::ALL.iter().flat_map(|shape| numbers.iter().map(move |rules| (*shape, *rules))).collect();
    let mut kinds = vec![("Portcullis", Kind::Portcullis)];
    if setting.opa_envoy_plugin.is_some() {
        kinds.push(("opa-envoy-plugin", Kind::OpaEnvoyPlugin));
    }
    let progress = rounds::progress((policies.len() * kinds.len()) as u64)?;
    let (mut scenes, mut entrants) = (Vec::new(), Vec::new());
    for (shape, rules) in policies.iter().copied() {
        let scene = Scene::new(&shape.bundles(rules), REMEMBERED)?;
        let workload = || -> Workload { Box::new(move |number| shape.asked(rules, number)) };
        if entrants.is_empty() {
            entrants.push(Entrant::start("Envoy alone", Kind::Nothing, &scene, setting, workload())?);
        }
        for (name, kind) in &kinds {
            let name = format!("{name}, {}, {rules}", shape.name());
            progress.set_message(format!("start: {name}"));
            entrants.push(Entrant::start(name, *kind, &scene, setting, workload())?);
            progress.inc(1);
        }
        scenes.push(scene);
    }
    progress.finish_and_clear();
    rounds::run(setting, &mut entrants)?;

    let mut measured = entrants.into_iter().map(|entrant| entrant.measured);
    let envoy_alone = measured.next().context("there is no policy")?;
    let mut decided = || {
        let measured = measured.next().context("somebody was not measured")?;
        let cpu_beyond_envoy_us = measured.cpu_us.beyond(&envoy_alone.cpu_us);
        anyhow::Ok(Decided { measured, cpu_beyond_envoy_us })
    };
    let rows = policies.into_iter().map(|(shape, rules)| {
        let portcullis = decided()?;
        let opa_envoy_plugin = if kinds.len() > 1 { Some(decided()?) } else { None };
        let cpu_of_opa_envoy_plugin =
            opa_envoy_plugin.as_ref().map(|plugin| portcullis.measured.cpu_us.of(&plugin.measured.cpu_us));
        Ok(Row { shape, rules, portcullis, opa_envoy_plugin, cpu_of_opa_envoy_plugin })
    });
    Ok(Report {
        rows: rows.collect::<Result<_>>()?,
        envoy_alone,
        concurrency: setting.concurrency,
        rounds: setting.rounds,
        requests: setting.requests,
        connections: setting.connections,
    })
}

// === impl Report ===

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let with_plugin = self.rows.iter().any(|row| row.opa_envoy_plugin.is_some());
        writeln!(
            f,
            "of one request, in µs: CPU time at {} connections, latency at one;\n\
             medians of {} rounds of {} requests, {} worker(s); ratios within each round{}",
            self.connections,
            self.rounds,
            self.requests,
            self.concurrency,
            if with_plugin { ";\nin brackets: opa-envoy-plugin" } else { "" }
        )?;
        let mut table = Table::new();
        let mut header = vec!["policy", "rules", "CPU", "added", "p50", "p99"];
        if with_plugin {
            header.push("CPU of the plugin's");
        }
        let columns = header.len();
        table.load_style(presets::ASCII_MARKDOWN).set_header(header);
        for row in &self.rows {
            let pair = |digits: usize, figure: fn(&Decided) -> &Figure| {
                let plugin = row.opa_envoy_plugin.as_ref();
                let plugin = plugin.map(|plugin| format!(" ({:.digits$})", figure(plugin).median));
                format!("{:.digits$}{}", figure(&row.portcullis).median, plugin.unwrap_or_default())
            };
            let mut cells = vec![
                row.shape.name().to_owned(),
                row.rules.to_string(),
                pair(1, |decided| &decided.measured.cpu_us),
                pair(1, |decided| &decided.cpu_beyond_envoy_us),
                pair(0, |decided| &decided.measured.p50_us),
                pair(0, |decided| &decided.measured.p99_us),
            ];
            cells.extend(row.cpu_of_opa_envoy_plugin.as_ref().map(|ratio| format!("{:.2}", ratio.median)));
            table.add_row(cells);
        }
        let Measured { cpu_us, p50_us, p99_us, .. } = &self.envoy_alone;
        table.add_row([
            "Envoy alone".to_owned(),
            String::new(),
            format!("{:.1}", cpu_us.median),
            String::new(),
            format!("{:.0}", p50_us.median),
            format!("{:.0}", p99_us.median),
        ]);
        for column in 1..columns {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(f, "{table}")
    }
}
