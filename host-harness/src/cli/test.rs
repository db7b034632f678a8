//! `portcullis test`: the tests beside policies, as `opa test` runs them.

mod coverage;

use std::{process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use clap::Args;
use host_harness::archive::Take;
use portcullis_filter::{
    bundle::Bundle,
    policy::{Moment, Part, reference},
};
use portcullis_rego::{Error, Limits, Options, Outside, Policy, Recorder, Value, syntax::Pos};
use regex::Regex;
use serde_json::json;

use super::{
    eval::Format,
    explanation::Explanation,
    policy::{self, place},
};

const RULER: &str = "--------------------------------------------------------------------------------";

/// Rules named `test_…` are tests, and `todo_test_…` such that are skipped. Ends with 0 when all have passed, with 2 when one
/// has not, and with 1 when there is something that cannot be run.
#[derive(Args)]
pub(super) struct Arguments {
    /// Folders, Rego files and archives; they need not have manifests
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Only tests whose path (`data.shop.authz_test.test_x`) has a match of this expression
    #[arg(short, long, value_name = "REGEX")]
    run: Option<Regex>,
    /// Name every test, and say of those that fail why
    #[arg(short, long)]
    verbose: bool,
    /// Say which lines were reached
    #[arg(short, long)]
    coverage: bool,
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// One test that was run.
struct Tested {
    pos: Pos,
    path: Vec<String>,
    verdict: Verdict,
    printed: Vec<String>,
    duration_ns: u64,
}

enum Verdict {
    Pass,
    Fail,
    Error(String),
    Skipped,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match tests(arguments) {
        Ok(code) => Ok(code),
        // What `opa test` ends with where nothing can be run.
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn tests(arguments: &Arguments) -> Result<ExitCode> {
    let bundles: Vec<Bundle> =
        arguments.paths.iter().map(|path| policy::read(path, Take::Tests)).collect::<Result<_>>()?;
    // Without roots: what lies in one folder may add to what lies in another.
    let parts: Vec<Part<'_>> = bundles.iter().map(|bundle| Part { roots: &[], ..bundle.part() }).collect();
    let options = Options { print: true, places: true, tests_apart: true, ..Options::default() };
    let compiled = policy::compile(parts.clone(), options.clone()).context("the policies do not compile")?;
    let mut coverage = Recorder::coverage();
    let tested: Vec<Tested> = found(&compiled)
        .into_iter()
        .filter(|(path, _)| arguments.run.as_ref().is_none_or(|run| run.is_match(&shown(path))))
        .map(|(path, pos)| test(&compiled, path, pos, &mut coverage))
        .collect::<Result<_>>()?;
    match arguments.format {
        Format::Json if arguments.coverage => {}
        Format::Json => print_json(&compiled, &tested)?,
        Format::Text => {
            let is_told = print_text(&compiled, &tested, arguments.verbose);
            if arguments.verbose {
                print_failures(parts, options, &tested)?;
            }
            print_summary(&tested, is_told);
        }
    }
    if arguments.coverage {
        coverage::print(&compiled, coverage.reached(), arguments.format)?;
    }
    let is_good = tested.iter().all(|test| matches!(test.verdict, Verdict::Pass | Verdict::Skipped));
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// The tests, in the order of the texts.
fn found(policy: &Policy) -> Vec<(Vec<String>, Pos)> {
    let mut found: Vec<(Vec<String>, Pos)> = Vec::new();
    for rule in policy.rules().iter().filter(|rule| !rule.is_function) {
        let path: Vec<String> = rule
            .path
            .iter()
            .filter_map(|key| Some(String::from_utf8_lossy(key.as_bytes()?).into()))
            .collect();
        let is_test =
            path.last().is_some_and(|name| name.starts_with("test_") || name.starts_with("todo_test_"));
        if is_test && !found.iter().any(|(known, _)| *known == path) {
            found.push((path, rule.pos));
        }
    }
    found.sort_by_key(|(_, pos)| *pos);
    found
}

fn test(policy: &Policy, path: Vec<String>, pos: Pos, coverage: &mut Recorder) -> Result<Tested> {
    if path.last().is_some_and(|name| name.starts_with("todo_")) {
        return Ok(Tested { pos, path, verdict: Verdict::Skipped, printed: Vec::new(), duration_ns: 0 });
    }
    let begun = Instant::now();
    let (answer, printed) = ask(policy, &path, coverage)?;
    let duration_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let verdict = match answer {
        Ok(Some(Value::Bool(true))) => Verdict::Pass,
        Ok(_) => Verdict::Fail,
        Err(error) => Verdict::Error(error.to_string()),
    };
    Ok(Tested { pos, path, verdict, printed, duration_ns })
}

/// The value of a test, and what it has printed.
type Asked = (Result<Option<Value>, Error>, Vec<String>);

fn ask(policy: &Policy, path: &[String], recorder: &mut Recorder) -> Result<Asked> {
    let keys: Vec<&str> = path.iter().map(String::as_str).collect();
    let entry = policy.query(&reference(&keys))?;
    let Moment { now_ns, seed, .. } = policy::moment();
    let outside = Outside { now_ns, seed, ..Outside::default() };
    let (answers, printed) = policy.record(&entry, None, &Limits::default(), &outside, recorder);
    let value = answers.map(|answers| answers.into_iter().next().and_then(|answer| answer.value));
    Ok((value, printed))
}

/// `data.shop.authz_test.test_x`.
fn shown(path: &[String]) -> String {
    path.iter().fold("data".to_owned(), |shown, key| format!("{shown}.{key}"))
}

fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{:.3}µs", ns as f64 / 1e3),
        _ => format!("{:.3}ms", ns as f64 / 1e6),
    }
}

fn result(test: &Tested) -> String {
    let verdict = match test.verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Error(_) => "ERROR",
        Verdict::Skipped => return format!("{}: SKIPPED", shown(&test.path)),
    };
    format!("{}: {verdict} ({})", shown(&test.path), duration(test.duration_ns))
}

/// Whether there was anything to tell.
fn print_text(policy: &Policy, tested: &[Tested], verbose: bool) -> bool {
    let mut is_told = false;
    for test in tested {
        if matches!(test.verdict, Verdict::Pass) && !verbose {
            continue;
        }
        is_told = true;
        println!("{}:\n{}", place(policy, test.pos), result(test));
        if let Verdict::Error(error) = &test.verdict {
            println!("  {error}");
        }
        if !test.printed.is_empty() {
            let lines = test.printed.iter().flat_map(|text| text.lines());
            println!("\n{}\n", lines.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"));
        }
    }
    is_told
}

/// Why: rule by rule, without an index.
fn print_failures(parts: Vec<Part<'_>>, options: Options, tested: &[Tested]) -> Result<()> {
    let failed: Vec<&Tested> =
        tested.iter().filter(|test| matches!(test.verdict, Verdict::Fail | Verdict::Error(_))).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let policy = policy::compile(parts, Options { scan: true, ..options })?;
    println!("{RULER}\nFAILURES\n{RULER}");
    for test in failed {
        let mut recorder = Recorder::explanation();
        // What it comes to is known.
        let _ = ask(&policy, &test.path, &mut recorder)?;
        let explanation = Explanation { policy: &policy, recorder: &recorder };
        println!("{}\n\n{}", result(test), explanation.text(2));
    }
    Ok(())
}

fn print_summary(tested: &[Tested], is_told: bool) {
    if is_told {
        println!("{RULER}");
    }
    let count = |is: fn(&Verdict) -> bool| tested.iter().filter(|test| is(&test.verdict)).count();
    for (name, number) in [
        ("PASS", count(|verdict| matches!(verdict, Verdict::Pass))),
        ("FAIL", count(|verdict| matches!(verdict, Verdict::Fail))),
        ("SKIPPED", count(|verdict| matches!(verdict, Verdict::Skipped))),
        ("ERROR", count(|verdict| matches!(verdict, Verdict::Error(_)))),
    ] {
        if number > 0 {
            println!("{name}: {number}/{}", tested.len());
        }
    }
}

fn print_json(policy: &Policy, tested: &[Tested]) -> Result<()> {
    let results = tested.iter().map(|test| {
        let (package, name) = test.path.split_at(test.path.len().saturating_sub(1));
        let file = policy.files().get(test.pos.file as usize);
        let mut result = json!({
            "location": { "file": file, "row": test.pos.line, "col": test.pos.col },
            "package": shown(package),
            "name": name.first(),
            "duration": test.duration_ns,
        });
        match &test.verdict {
            Verdict::Pass => {}
            Verdict::Fail => result["fail"] = true.into(),
            Verdict::Error(message) => result["error"] = json!({ "message": message }),
            Verdict::Skipped => result["skip"] = true.into(),
        }
        if !test.printed.is_empty() {
            result["output"] = test.printed.join("\n").into();
        }
        result
    });
    println!("{}", serde_json::to_string_pretty(&results.collect::<Vec<_>>())?);
    Ok(())
}
