//! Random policies and builtin calls beside OPA, for as long as is wanted.
//!
//! ```text
//! cargo run -p portcullis-rego --release --example differential -- calls [--only regex] [--seed 1] [--seconds 60]
//! … policies [--seed 1] [--seconds 60] [--show 2] [--skip KIND]
//! … given --only FILE                        policies by hand, both sides' answers: see `given`
//! … corpus --only FOLDER [--seed 1] …        a folder of compliance cases, with a few tokens changed
//! ```
//! It needs the oracle of `tests/oracle` (`REGO_ORACLE`, or Go to build it).

#![allow(missing_docs, unreachable_pub, dead_code)]

#[path = "../tests/differential/fuzz/mod.rs"]
mod fuzz;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fuzz::calls::{Calls, comparable};
use fuzz::oracle::Oracle;
use fuzz::random::Random;

struct Options {
    mode: String,
    only: Option<String>,
    seed: u64,
    seconds: u64,
    show: usize,
    /// Kinds with this text are not shown.
    skip: Vec<String>,
}

fn options() -> Options {
    let mut o = Options { mode: String::new(), only: None, seed: 1, seconds: 60, show: 2, skip: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--only" => o.only = Some(value()),
            "--seed" => o.seed = value().parse().expect("a number"),
            "--seconds" => o.seconds = value().parse().expect("a number"),
            "--skip" => o.skip.push(value()),
            "--show" => o.show = value().parse().expect("a number"),
            mode => o.mode = mode.to_string(),
        }
    }
    o
}

fn main() {
    let o = options();
    let mut oracle = match Oracle::start() {
        Ok(oracle) => oracle,
        Err(why) => {
            eprintln!("no oracle: {why}");
            std::process::exit(2);
        }
    };
    match o.mode.as_str() {
        "calls" => calls(&o, &mut oracle),
        "pools" => pools(&o, &mut oracle),
        "corpus" => corpus(&o, &mut oracle),
        "policies" => policies(&o, &mut oracle),
        "given" => given(&o, &mut oracle),
        "generate" => generate(&o, &mut oracle),
        _ => {
            eprintln!("usage: differential calls [--only NAME] [--seed N] [--seconds N] [--show N]");
            std::process::exit(2);
        }
    }
}

/// Random policies: differences by kind, the first of each kind made small.
fn policies(o: &Options, oracle: &mut Oracle) {
    let end = Instant::now() + Duration::from_secs(o.seconds);
    let mut all = fuzz::policies::Policies::new(oracle);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut seed = o.seed;
    let trace = std::env::var_os("TRACE").is_some();
    while Instant::now() < end {
        if trace {
            eprintln!("seed {seed}");
        }
        if let Some(d) = all.one(seed, false) {
            let n = kinds.entry(format!("{:?}", d.kind)).or_default();
            *n += 1;
            if *n <= o.show && !o.skip.iter().any(|s| format!("{:?}", d.kind).contains(s.as_str())) {
                let small = all.one(seed, true).unwrap_or(d);
                println!("{small}\n");
            }
        }
        seed += 1;
    }
    println!(
        "{} policies ({} loaded, {} refused by both), {} evaluations ({} conflicts), {} indexed = scanned, {} by OPA's index, {} where OPA fails, {} where it leaves a walk early, {} that change with its numbers, seeds {}..{seed}",
        all.policies,
        all.loaded,
        all.refused_by_both,
        all.evaluations,
        all.conflicts,
        all.indexed,
        all.index_faults,
        all.broken,
        all.left_early,
        all.by_number,
        o.seed
    );
    for (name, n) in &all.by_name {
        println!("  {n:6} refused by name: {name}");
    }
    for (kind, n) in &kinds {
        println!("  {n:6} {kind}");
    }
}

/// Cases of a folder with a few tokens changed, moved, or taken from one another.
fn corpus(o: &Options, oracle: &mut Oracle) {
    use fuzz::documents::Doc;
    let folder = o.only.clone().expect("--only FOLDER");
    let mut cases = Vec::new();
    let mut folders = vec![std::path::PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> =
            std::fs::read_dir(&folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let json: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(&path).expect("a file")).expect("JSON");
            for case in json["cases"].as_array().into_iter().flatten() {
                let modules: Vec<String> = case["modules"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|m| m.as_str().unwrap_or_default().to_string())
                    .collect();
                let Some((query, _)) = case["query"].as_str().and_then(|q| q.split_once(" = ")) else {
                    continue;
                };
                let heavy = modules.iter().any(|m| {
                    [
                        "io.jwt",
                        "crypto.",
                        "graphql.",
                        "http.send",
                        "providers.",
                        "rand.",
                        "uuid.rfc",
                        "time.now",
                        "opa.runtime",
                        "net.lookup",
                        "template_match",
                    ]
                    .iter()
                    .any(|w| m.contains(w))
                });
                if heavy || modules.is_empty() || !query.starts_with("data.") {
                    continue;
                }
                let data =
                    if case["data"].is_object() { Doc::of(&case["data"]) } else { Doc::Object(vec![]) };
                let input = case.get("input").map(Doc::of);
                cases.push((modules, data, input, query.to_string()));
            }
        }
    }
    println!("{} cases", cases.len());
    let end = Instant::now() + Duration::from_secs(o.seconds);
    let mut all = fuzz::policies::Policies::new(oracle);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut seed = o.seed;
    while Instant::now() < end {
        let r = Random::new(seed);
        let (modules, data, input, query) = &cases[r.below(cases.len())];
        let mut modules = modules.clone();
        if r.chance(15) {
            modules.extend(cases[r.below(cases.len())].0.iter().take(1).cloned());
        }
        let at = r.below(modules.len());
        let nodes = modules.iter().enumerate().map(|(i, m)| match r.below(5) {
            _ if i != at => fuzz::tree::text(m.clone()),
            0 => fuzz::policy::tokens::laid_out(&r, m),
            _ => fuzz::policy::tokens::mutated(&r, m),
        });
        let policy = fuzz::policy::Policy { v0: r.chance(3), modules: nodes.collect(), queries: vec![] };
        let package = query.rsplit_once('.').map_or(query.clone(), |(p, _)| p.to_string());
        let inputs = vec![input.clone(), Doc::input(&r)];
        let s = fuzz::policies::Situation {
            policy,
            data: data.clone(),
            inputs,
            queries: vec![query.clone(), package],
        };
        if let Some(d) = all.given(&s, seed, false) {
            let n = kinds.entry(format!("{:?}", d.kind)).or_default();
            *n += 1;
            if *n <= o.show && !o.skip.iter().any(|s| format!("{:?}", d.kind).contains(s.as_str())) {
                println!("{}\n", all.given(&s, seed, true).unwrap_or(d));
            }
        }
        seed += 1;
    }
    println!(
        "{} policies ({} loaded, {} refused by both), {} evaluations ({} conflicts), {} by OPA's index, seeds {}..{seed}",
        all.policies,
        all.loaded,
        all.refused_by_both,
        all.evaluations,
        all.conflicts,
        all.index_faults,
        o.seed
    );
    for (kind, n) in &kinds {
        println!("  {n:6} {kind}");
    }
}

/// Policies of a file in the form of `tests/data/policies.txt`; with `RECORD=FILE`, those on which both sides agree are
/// written there with OPA's answer.
fn given(o: &Options, oracle: &mut Oracle) {
    let file = std::fs::read_to_string(o.only.clone().expect("--only FILE")).expect("a file");
    let mut record = Vec::new();
    for policy in file.split("\n====\n") {
        let s = fuzz::given::situation(policy);
        let mut all = fuzz::policies::Policies::new(oracle);
        let (opa, ours) = all.both(&s);
        let refused = [&opa, &ours].iter().all(|s| s.starts_with("refused"));
        let same = opa == ours || refused;
        if same {
            let answer = if refused { "refused" } else { opa.as_str() };
            record.push(format!("{}\n#opa {answer}", policy.trim_end()));
        }
        let mark = if same { "same" } else { "DIFFERENT" };
        for (_, text) in s.texts() {
            text.trim().lines().for_each(|l| println!("    {l}"));
        }
        println!("  {mark}\n  OPA   {opa}\n  here  {ours}\n");
    }
    if let Some(path) = std::env::var_os("RECORD") {
        std::fs::write(path, record.join("\n====\n") + "\n").expect("a file to write");
    }
}

/// How often OPA has a value for what is drawn, by function.
fn pools(o: &Options, oracle: &mut Oracle) {
    let r = Random::new(o.seed);
    for b in portcullis_rego::builtins::all() {
        if o.only.as_deref().is_some_and(|only| !b.name.contains(only))
            || b.nondeterministic
            || b.name == "http.send"
        {
            continue;
        }
        let calls: Vec<_> = (0..300).map(|_| fuzz::calls::arguments(&r, b)).collect();
        let request = fuzz::oracle::Request {
            calls: calls
                .iter()
                .map(|a| fuzz::oracle::CallRequest {
                    builtin: b.name.into(),
                    args: a.iter().map(|a| a.to_string()).collect(),
                })
                .collect(),
            ..Default::default()
        };
        let answer = oracle.ask(&request);
        let values: std::collections::BTreeSet<_> =
            answer.results.iter().filter_map(|r| r.value.clone()).collect();
        let n = answer.results.iter().filter(|r| r.value.is_some()).count();
        let broken = answer.results.iter().filter(|r| r.timeout || r.crash || !r.panic.is_empty()).count();
        println!("{:40} {:3}% values, {} different, {broken} broken", b.name, n / 3, values.len());
    }
}

/// Shows what is drawn and how much of it OPA takes.
fn generate(o: &Options, oracle: &mut Oracle) {
    let (mut taken, mut all) = (0, 0);
    let mut why: BTreeMap<String, usize> = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs(o.seconds);
    let mut seed = o.seed;
    let mut live: BTreeMap<usize, usize> = BTreeMap::new();
    let mut classes: BTreeMap<String, usize> = BTreeMap::new();
    while Instant::now() < end {
        let r = Random::new(seed);
        seed += 1;
        let policy = fuzz::policy::Draw::policy(&r);
        let texts: Vec<String> = policy.modules.iter().map(|m| m.to_string()).collect();
        let names: Vec<String> = (0..texts.len()).map(|i| format!("m{i}.rego")).collect();
        let data = fuzz::documents::Doc::data(&r).to_string();
        let raw = |s: String| serde_json::value::RawValue::from_string(s).expect("JSON");
        let mut cases = Vec::new();
        for _ in 0..10 {
            let input = fuzz::documents::Doc::input(&r);
            for q in &policy.queries {
                cases.push(fuzz::oracle::Case {
                    query: q.clone(),
                    input: input.as_ref().map(|i| raw(i.to_string())),
                });
            }
        }
        let request = fuzz::oracle::Request {
            modules: names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect(),
            v0: policy.v0,
            data: Some(raw(data.clone())),
            cases,
            ..Default::default()
        };
        let answer = oracle.ask(&request);
        all += 1;
        if answer.compile.is_empty() {
            taken += 1
        }
        for e in answer.compile.iter().take(1) {
            *why.entry(format!("{} {}", e.code, e.message.chars().take(60).collect::<String>()))
                .or_default() += 1;
        }
        let q = policy.queries.len();
        for i in 1..q {
            let mut all: Vec<String> =
                answer.results.iter().skip(i).step_by(q).map(|c| format!("{c:?}")).collect();
            if !all.is_empty() {
                all.sort();
                all.dedup();
                *live.entry(all.len().min(5)).or_default() += 1;
            }
        }
        for c in &answer.results {
            *classes.entry(fuzz::subject::Outcome::of(c).class().to_string()).or_default() += 1;
        }
        if all <= o.show {
            println!("---- seed {} v0 {}", seed - 1, policy.v0);
            texts.iter().for_each(|t| println!("{t}"));
            println!("{data}\n{:?}", answer.compile);
        }
    }
    println!("{taken} of {all} taken {classes:?}; different answers by rule {live:?}");
    let mut why: Vec<_> = why.into_iter().collect();
    why.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    for (w, n) in why.iter().take(40) {
        println!("{n:6} {w}");
    }
}

fn calls(o: &Options, oracle: &mut Oracle) {
    let table = comparable(o.only.as_deref());
    println!("{} functions, seed {}", table.len(), o.seed);
    let end = Instant::now() + Duration::from_secs(o.seconds);
    let mut calls = Calls::new(oracle);
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    let mut seed = o.seed;
    while Instant::now() < end {
        let r = Random::new(seed);
        for d in calls.batch(&r, &table, 500, 20) {
            let n = by_name.entry(d.name).or_default();
            *n += 1;
            if *n <= o.show {
                println!("{d}");
            }
        }
        seed += 1;
    }
    println!(
        "{} calls compared, {} ended in a bound, seeds {}..{seed}; differences by function (counted up to 20 a batch):",
        calls.compared, calls.capped, o.seed
    );
    for (name, n) in &by_name {
        println!("  {n:6} {name}");
    }
}
