//! Which lines of policies were reached: rules that held, and expressions that were evaluated.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use portcullis_rego::{Policy, syntax::Pos};
use serde_json::json;

use super::Format;

/// Lines of one file.
#[derive(Default)]
struct Lines {
    covered: BTreeSet<u32>,
    not_covered: BTreeSet<u32>,
}

impl Lines {
    fn percent(covered: usize, not_covered: usize) -> f64 {
        let all = covered + not_covered;
        if all == 0 { 100.0 } else { (covered as f64 * 10_000.0 / all as f64).round() / 100.0 }
    }
}

pub(super) fn print(policy: &Policy, reached: &BTreeSet<Pos>, format: Format) -> Result<()> {
    let mut files: BTreeMap<&str, Lines> = BTreeMap::new();
    let name = |pos: &Pos| policy.files().get(pos.file as usize).map_or("", String::as_str);
    for pos in reached.iter().filter(|pos| pos.line > 0) {
        files.entry(name(pos)).or_default().covered.insert(pos.line);
    }
    for pos in policy.places().iter().filter(|pos| pos.line > 0) {
        let lines = files.entry(name(pos)).or_default();
        if !lines.covered.contains(&pos.line) {
            lines.not_covered.insert(pos.line);
        }
    }
    let covered: usize = files.values().map(|lines| lines.covered.len()).sum();
    let not_covered: usize = files.values().map(|lines| lines.not_covered.len()).sum();
    if format == Format::Json {
        let reports: serde_json::Map<String, serde_json::Value> =
            files.iter().map(|(name, lines)| ((*name).to_owned(), report(lines))).collect();
        let document = json!({
            "files": reports,
            "covered_lines": covered,
            "not_covered_lines": not_covered,
            "coverage": Lines::percent(covered, not_covered),
        });
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    let width = files.keys().map(|name| name.chars().count()).max().unwrap_or_default();
    println!("{:<width$}  lines  reached  not reached", "");
    for (name, lines) in &files {
        let all = lines.covered.len() + lines.not_covered.len();
        let percent = Lines::percent(lines.covered.len(), lines.not_covered.len());
        let line = format!("{name:<width$}  {all:>5}  {percent:>6.1}%  {}", ranges(&lines.not_covered));
        println!("{}", line.trim_end());
    }
    let percent = Lines::percent(covered, not_covered);
    println!("{:<width$}  {:>5}  {percent:>6.1}%", "together", covered + not_covered);
    Ok(())
}

fn report(lines: &Lines) -> serde_json::Value {
    let ranges = |lines: &BTreeSet<u32>| -> Vec<serde_json::Value> {
        let range = |(start, end)| json!({ "start": { "row": start }, "end": { "row": end } });
        runs(lines).into_iter().map(range).collect()
    };
    json!({
        "covered": ranges(&lines.covered),
        "not_covered": ranges(&lines.not_covered),
        "covered_lines": lines.covered.len(),
        "not_covered_lines": lines.not_covered.len(),
        "coverage": Lines::percent(lines.covered.len(), lines.not_covered.len()),
    })
}

/// `7, 9-11`.
fn ranges(lines: &BTreeSet<u32>) -> String {
    let shown = runs(lines)
        .into_iter()
        .map(|(start, end)| if start == end { start.to_string() } else { format!("{start}-{end}") });
    shown.collect::<Vec<_>>().join(", ")
}

/// Lines that follow one another, as first and last.
fn runs(lines: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for line in lines {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == *line => *end = *line,
            _ => runs.push((*line, *line)),
        }
    }
    runs
}
