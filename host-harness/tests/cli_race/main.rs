//! `portcullis explore`, `replay`, `shrink`, `explain` and `render` as a person runs them.

#[path = "../common/mod.rs"]
mod common;
#[path = "../race/generator.rs"]
mod generator;
mod inputs;
mod kept;
mod random;
mod results;
mod schedules;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

/// Seconds of which a search that is to end by itself needs a fraction of one.
const AMPLE: &str = "600";

const GUEST: &str = r#"(module
  (func (export "proxy_abi_version_0_2_1"))
  (memory (export "memory") 1)
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_context_create") (param i32 i32)))"#;

/// Does this with every request.
fn on_request(action: &str) -> String {
    let request = format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {action} (i32.const 0)))"#
    );
    GUEST.trim_end_matches(')').to_owned() + "))" + &request
}

fn explore(name: &str, arguments: &[&str]) -> Output {
    let scenario = scenario(name);
    portcullis(&[&["explore", "--scenario", &scenario], arguments].concat())
}

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).output().unwrap()
}

fn scenario(name: &str) -> String {
    own(&format!("scenarios/{name}.yaml"))
}

fn race(name: &str) -> String {
    own(&format!("races/{name}.race"))
}

fn own(path: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// What is said of a variant.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    expected: String,
    found: String,
    details: String,
}

/// Every variant with the lines below it.
fn rows(output: &Output) -> Vec<Row> {
    let text = text(output);
    let (table, _) = text.split_once(" as expected\n").expect("how many are as expected");
    let mut rows: Vec<Row> = Vec::new();
    // The head, the line below it, and how many are as expected are none.
    let lines: Vec<&str> = table.lines().skip(2).collect();
    for line in &lines[..lines.len() - 1] {
        match line.strip_prefix("  ") {
            Some(detail) => {
                let row = rows.last_mut().expect("a row is above");
                row.details += &format!("{}{detail}", if row.details.is_empty() { "" } else { " " });
            }
            None => {
                let mut cells =
                    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned);
                let mut cell = || cells.next().unwrap_or_else(|| panic!("a cell is missing in {line:?}"));
                rows.push(Row { name: cell(), expected: cell(), found: cell(), details: String::new() });
            }
        }
    }
    rows
}

/// The commands below `next:`, as a shell has their words.
fn next_commands(output: &Output) -> Vec<Vec<String>> {
    let text = text(output).replace("\\\n", "");
    let (_, next) = text.split_once("\nnext:\n").unwrap_or_else(|| panic!("nothing is next in {text}"));
    let commands = next.lines().filter_map(|line| line.trim().strip_prefix("portcullis "));
    commands
        .map(|line| line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect())
        .collect()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn shown(output: &Output) -> String {
    format!("{}\n{}{}", output.status, text(output), String::from_utf8_lossy(&output.stderr))
}
