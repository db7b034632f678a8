//! Prints how long the longest step takes of reading a bundle with ten megabytes of data or much Rego, of compiling it
//! and of freeing it. Numbers only: what a test may rely on does not depend on elapsed time.
//!
//! `cargo run --profile module -p portcullis-filter --example slices`: optimised as the module is.

use std::{
    env,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use portcullis_filter::{
    bundle::{Bundle, Reading},
    policy::{Compiling, DeferredDrop, EvaluationLimits, Moment, object, parse_yaml},
};

const DATA_BYTES: usize = 10 << 20;
const LIMIT_BYTES: u64 = 64 << 20;
const REGO: &str = "package app\n\ndefault allow := false\n\nallow if data.users[0] == input.n\n";

fn main() {
    let repeated = |open: &str, unit: &dyn Fn(usize) -> String, close: &str| {
        let mut text = open.to_owned();
        let mut number = 0;
        while text.len() < DATA_BYTES {
            text.push_str(&unit(number));
            number += 1;
        }
        text.truncate(text.trim_end_matches(',').len());
        text + close
    };
    let user = |n: usize| {
        format!(
            "{{\"id\": {n}, \"name\": \"user {n}\", \"roles\": [\"r{}\", \"admin\"], \"ok\": true}},",
            n % 100
        )
    };
    let shapes: Vec<(&str, String)> = vec![
        ("small objects in a list", repeated("{\"users\": [", &user, "]}")),
        ("small objects by name", repeated("{\"users\": {", &|n| format!("\"u{n}\": {}", user(n)), "}}")),
        ("flat list of numbers", repeated("{\"users\": [", &|n| format!("{},", n * 7), "]}")),
        ("flat list of digits", repeated("{\"users\": [", &|n| format!("{},", n % 10), "]}")),
        ("flat list of strings", repeated("{\"users\": [", &|n| format!("\"{n}\","), "]}")),
        ("empty lists", repeated("{\"users\": [", &|_| "[],".to_owned(), "]}")),
        ("one string", format!("{{\"users\": \"{}\"}}", "x".repeat(DATA_BYTES))),
        ("one string of escapes", format!("{{\"users\": \"{}\"}}", r"\ud83d\ude00".repeat(DATA_BYTES / 12))),
        ("blanks", format!("{{\"users\": [{}]}}", " \n".repeat(DATA_BYTES / 2))),
        ("flat root", repeated("{", &|n| format!("\"u{n}\": {n},"), "}")),
        (
            "flat root of 10,000",
            format!("{{{}\"u\": 1}}", (0..9_999).map(|n| format!("\"u{n}\": {n},")).collect::<String>()),
        ),
        ("one name over and over", repeated("{", &|n| format!("\"u\": [{n}, [[[1]]]],"), "}")),
    ];
    let wanted = env::args().nth(1);
    println!(
        "{:24} {:>8} {:>7} {:>9} {:>9} | {:>8} {:>7} {:>9} {:>8} {:>8} | {:>8} {:>7} {:>9}",
        "data",
        "reading",
        "steps",
        "longest",
        ">0.3 ms",
        "compile",
        "steps",
        "longest",
        "evaluate",
        "drop",
        "freeing",
        "steps",
        "longest"
    );
    for (name, text) in shapes {
        if wanted.as_ref().is_none_or(|wanted| name.contains(wanted.as_str())) {
            measure(name, &archive(&text, REGO));
        }
    }
    let rules = |count: usize, rule: &dyn Fn(usize) -> String| -> String {
        (0..count).map(rule).fold(REGO.to_owned(), |text, rule| text + &rule)
    };
    let wide = |n: usize| {
        format!(
            "r{n} := {{\"a\": [{n}, 2, 3], \"b\": \"some text that stands there\", \"c\": input.x.y}} if {{\n\tsome k, v in input.m\n\tv == \"v{n}\"\n\tcount(k) > {n}\n}}\n"
        )
    };
    let shapes = [
        ("Rego, 2,000 rules", rules(2000, &|n| format!("r{n} if input.x == {n}\n"))),
        ("Rego, 300 KB", rules(2200, &wide)),
        ("Rego, 300 rules in a chain", rules(300, &|n| format!("r{n} if r{}\n", n + 1)) + "r300 := true\n"),
        (
            "Rego, 1,000 statements",
            rules(1, &|_| format!("r if {{\n{}}}\n", "\tinput.x == 1\n".repeat(1000))),
        ),
        (
            "Rego, 500 assignments",
            rules(500, &|n| format!("\tx{n} := input.x\n")).replace("\tx0", "r if {\n\tx0") + "}\n",
        ),
    ];
    for (name, text) in shapes {
        if wanted.as_ref().is_none_or(|wanted| name.contains(wanted.as_str())) {
            measure(name, &archive("{}", &text));
        }
    }
    for text in
        ["  - {name: user, roles: [x, y], ok: true}\n", "  - some longer text that stands there\n", "  - 1\n"]
    {
        let yaml = format!("users:\n{}", text.repeat((32 << 10) / text.len() - 1));
        let times = (0..5).map(|_| {
            let start = Instant::now();
            parse_yaml(&yaml).expect("it is YAML");
            start.elapsed()
        });
        println!(
            "YAML, {} KiB of {:?}: {:.2} ms",
            yaml.len() >> 10,
            text.trim(),
            ms(times.min().unwrap_or_default())
        );
    }
}

/// Steps are the same each time; the machine has other things to do now and then, so the shortest time counts.
fn measure(name: &str, archive: &[u8]) {
    let runs: Vec<Run> =
        (0..env::var("RUNS").map_or(5, |runs| runs.parse().unwrap_or(5))).map(|_| run(archive)).collect();
    let shortest = |steps: fn(&Run) -> &[Duration]| -> Vec<Duration> {
        let all: Vec<&[Duration]> = runs.iter().map(steps).collect();
        let count = all.iter().map(|run| run.len()).min().unwrap_or(0);
        (0..count).map(|step| all.iter().map(|run| run[step]).min().unwrap_or_default()).collect()
    };
    let (reading, compiling) = (shortest(|run| &run.reading), shortest(|run| &run.compiling));
    let (policy, freeing) = (shortest(|run| &run.policy), shortest(|run| &run.freeing));
    if env::var_os("WORST").is_some() {
        let mut worst: Vec<(usize, f64)> = reading.iter().map(|step| ms(*step)).enumerate().collect();
        worst.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        println!("{:?} of {}", &worst[..8.min(worst.len())], worst.len());
    }
    let total = |steps: &[Duration]| ms(steps.iter().sum());
    let longest = |steps: &[Duration]| ms(steps.iter().max().copied().unwrap_or_default());
    let long = reading.iter().filter(|step| ms(**step) > 0.3).count();
    println!(
        "{name:24} {:8.1} {:7} {:9.3} {long:9} | {:8.2} {:7} {:9.3} {:8.2} {:8.2} | {:8.1} {:7} {:9.3}",
        total(&reading),
        reading.len(),
        longest(&reading),
        total(&compiling),
        compiling.len(),
        longest(&compiling),
        ms(policy[0]),
        ms(policy[1]),
        total(&freeing),
        freeing.len(),
        longest(&freeing),
    );
}

struct Run {
    reading: Vec<Duration>,
    compiling: Vec<Duration>,
    /// Evaluating, dropping.
    policy: Vec<Duration>,
    freeing: Vec<Duration>,
}

fn run(archive: &[u8]) -> Run {
    let mut reading = Reading::new("b", archive.to_vec(), LIMIT_BYTES);
    let mut steps = Vec::new();
    let bundle: Bundle = loop {
        let start = Instant::now();
        let result = reading.step();
        steps.push(start.elapsed());
        if let Some(result) = result {
            break result.expect("the bundle is good");
        }
    };
    let mut stepper = Compiling::new("app/allow", vec![bundle.part()], EvaluationLimits::default());
    let mut compiling = Vec::new();
    let policy = loop {
        let start = Instant::now();
        let result = stepper.step();
        compiling.push(start.elapsed());
        if let Some(result) = result {
            break result.expect("it compiles");
        }
    };
    let start = Instant::now();
    policy.evaluate(object([]), Moment::default()).expect("it evaluates");
    let evaluating = start.elapsed();

    let mut deferred = DeferredDrop::default();
    drop(stepper);
    deferred.push(bundle.data);
    let start = Instant::now();
    drop(policy);
    let policy = vec![evaluating, start.elapsed()];
    let mut freeing = Vec::new();
    while !deferred.is_empty() {
        let start = Instant::now();
        deferred.step();
        freeing.push(start.elapsed());
    }
    Run { reading: steps, compiling, policy, freeing }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn archive(data: &str, rego: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, text) in [("data.json", data), ("app.rego", rego)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, text.as_bytes()).expect("memory takes it");
    }
    tar.into_inner().expect("memory takes it").finish().expect("memory takes it")
}
