//! Runs a folder of OPA's compliance cases (JSON files with `cases`) and says how each file fares.
//!
//! ```text
//! cargo run -p portcullis-rego --release --example compliance -- FOLDER [--show NOTE] [--list wrong|refused|loose|named] [--only TEXT]
//! ```
//! Builtin errors are not strict: what a case wants in strict mode is asked from the oracle of `tests/oracle` (`REGO_ORACLE`), if there is one.

#![allow(missing_docs, unreachable_pub, dead_code)]

#[path = "../tests/differential/fuzz/mod.rs"]
mod fuzz;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fuzz::oracle::{self, Oracle};
use fuzz::subject::{self, Outcome, Refusal};
use serde_json::Value as Json;

/// How one case ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Verdict {
    Pass,
    /// Refused because a function is not there.
    Named,
    /// Refused at load, though OPA takes it.
    Refused,
    Wrong,
    /// An answer where OPA has an error.
    Loose,
    /// Nothing to compare with.
    Skipped,
}

struct Options {
    folder: PathBuf,
    show: Option<String>,
    list: Option<String>,
    only: Option<String>,
}

fn main() {
    let mut o = Options { folder: PathBuf::new(), show: None, list: None, only: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--show" => o.show = args.next(),
            "--list" => o.list = args.next(),
            "--only" => o.only = args.next(),
            folder => o.folder = folder.into(),
        }
    }
    // Certificates of the cases are good now.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    subject::NOW.store(now.as_nanos() as i64, std::sync::atomic::Ordering::Relaxed);
    let mut files = Vec::new();
    collect(&o.folder, &mut files);
    files.sort();
    let mut oracle = std::env::var_os("REGO_ORACLE").and_then(|_| Oracle::start().ok());
    let mut all: BTreeMap<Verdict, usize> = BTreeMap::new();
    let mut by_file: BTreeMap<String, BTreeMap<Verdict, usize>> = BTreeMap::new();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a file");
        let json: Json = serde_json::from_str(&text).expect("JSON");
        let folder = file
            .parent()
            .and_then(Path::file_name)
            .map(|f| f.to_string_lossy().into_owned())
            .unwrap_or_default();
        for case in json["cases"].as_array().into_iter().flatten() {
            let note = case["note"].as_str().unwrap_or_default();
            if o.only.as_deref().is_some_and(|only| !note.contains(only))
                || o.show.as_deref().is_some_and(|show| !note.contains(show))
            {
                continue;
            }
            let (verdict, want, got) = run(case, &mut oracle);
            *all.entry(verdict).or_default() += 1;
            *by_file.entry(folder.clone()).or_default().entry(verdict).or_default() += 1;
            if matches!(verdict, Verdict::Named | Verdict::Refused) {
                *reasons.entry(got.chars().take(110).collect()).or_default() += 1;
            }
            let listed = o.list.as_deref().is_some_and(|l| format!("{verdict:?}").eq_ignore_ascii_case(l));
            if o.show.is_some() || listed {
                println!("{verdict:?} {note}\n    want {want}\n    got  {got}");
            }
            if o.show.is_some() {
                println!("    query {}", case["query"].as_str().unwrap_or_default());
                for module in case["modules"].as_array().into_iter().flatten() {
                    println!("{}", module.as_str().unwrap_or_default());
                }
                println!("    data {} input {} {}", case["data"], case["input"], case["input_term"]);
            }
        }
    }
    if o.show.is_none() {
        for (folder, verdicts) in &by_file {
            if verdicts.keys().any(|v| *v != Verdict::Pass) {
                println!("{folder}: {verdicts:?}");
            }
        }
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        for (reason, n) in reasons.iter().take(40) {
            println!("  {n:4} {reason}");
        }
    }
    println!("{all:?} of {}", all.values().sum::<usize>());
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "json") {
            files.push(path);
        }
    }
}

/// The document that a query names and the variable that takes it, if it is as simple as that.
fn simple(query: &str) -> Option<(&str, &str)> {
    let (path, var) = query.split_once(" = ")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._[]\"".contains(c);
    let ground = path.starts_with("data")
        && path.chars().all(plain)
        && path.split('[').skip(1).all(|p| p.starts_with('"'));
    (ground && var.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some((path, var))
}

/// The variables of a query that come out.
fn variables(case: &Json) -> Vec<String> {
    let first = &case["want_result"][0];
    first.as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default()
}

fn run(case: &Json, oracle: &mut Option<Oracle>) -> (Verdict, String, String) {
    let mut modules: Vec<(String, String)> = case["modules"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(i, m)| (format!("m{i}.rego"), m.as_str().unwrap_or_default().to_string()))
        .collect();
    let query = case["query"].as_str().unwrap_or_default();
    let data = if case["data"].is_null() { "{}".to_string() } else { case["data"].to_string() };
    let term = case["input_term"].as_str();
    let input = match term {
        Some(term) => Some(term.to_string()),
        None if case.get("input").is_some() => Some(case["input"].to_string()),
        None => None,
    };
    let entry = match simple(query) {
        Some((path, _)) => path.to_string(),
        None => {
            let vars: Vec<String> = variables(case).iter().map(|v| format!("\"{v}\": {v}")).collect();
            modules.push((
                "query.rego".into(),
                format!(
                    "package query_of_case\n\nresult contains {{{}}} if {{ {query} }}\n",
                    vars.join(", ")
                ),
            ));
            "data.query_of_case.result".to_string()
        }
    };
    let got = match subject::load(&modules, false, &data, false) {
        Ok(policy) => policy.value(&entry, input.as_deref()),
        Err(Refusal::ByName(why)) => return (Verdict::Named, String::new(), why),
        Err(Refusal::Error(why)) => return (Verdict::Refused, case["want_result"].to_string(), why),
    };
    let json = match &got {
        Ok(Some(value)) => value.to_json(),
        _ => String::new(),
    };
    let got = match got {
        Ok(Some(value)) => Outcome::Value(subject::text_of(&value)),
        Ok(None) => Outcome::Undefined,
        Err(code) => Outcome::Error(code),
    };
    // What is wanted in strict mode is not what counts here.
    if case["strict_error"].as_bool() == Some(true) {
        let Some(oracle) = oracle else { return (Verdict::Skipped, "strict".into(), got.to_string()) };
        let raw = |s: &str| serde_json::value::RawValue::from_string(s.to_string()).expect("JSON");
        let request = oracle::Request {
            modules: modules.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect(),
            data: Some(raw(&data)),
            cases: vec![oracle::Case { query: entry, input: input.as_deref().map(raw) }],
            ..Default::default()
        };
        let answer = oracle.ask(&request);
        let Some(want) = answer.results.first().map(Outcome::of) else {
            return (Verdict::Skipped, format!("{:?}", answer.compile), got.to_string());
        };
        let verdict = if want == got { Verdict::Pass } else { Verdict::Wrong };
        return (verdict, want.to_string(), got.to_string());
    }
    if let Some(code) = case["want_error_code"].as_str().or_else(|| case["want_error"].as_str()) {
        return match &got {
            Outcome::Error(e) if case["want_error_code"].is_null() || e == code => {
                (Verdict::Pass, code.into(), got.to_string())
            }
            Outcome::Error(_) => (Verdict::Wrong, code.into(), got.to_string()),
            _ => (Verdict::Loose, code.into(), got.to_string()),
        };
    }
    let want = match simple(query) {
        Some((_, var)) => case["want_result"].as_array().and_then(|r| r.first()).map(|r| r[var].clone()),
        None => case["want_result"].as_array().map(|all| Json::Array(all.clone())),
    };
    let sort = case["sort_bindings"].as_bool() == Some(true) || simple(query).is_none();
    match (&want, &got) {
        (None, Outcome::Undefined) => (Verdict::Pass, "undefined".into(), got.to_string()),
        (Some(want), Outcome::Value(_)) => {
            let equal = subject::same_json(&want.to_string(), &json, sort);
            (if equal { Verdict::Pass } else { Verdict::Wrong }, want.to_string(), json)
        }
        _ => (Verdict::Wrong, want.map_or("undefined".into(), |w| w.to_string()), got.to_string()),
    }
}
