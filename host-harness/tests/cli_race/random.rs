//! Random scenario files, whole and broken, on random small filters: `explore` neither hangs nor panics nor takes all memory, and
//! ends as it is documented.
//!
//! The seeds are the numbers from `PORTCULLIS_SEED` (0) on; `PORTCULLIS_RANDOM` is how many files there are.

use std::{
    io::Read,
    process::Child,
    time::{Duration, Instant},
};

use host_harness::race::scenario::Scenario;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use super::*;
use crate::{common, generator};

const FILES: u64 = 1000;
/// So many files are explored by one process.
const TOGETHER: usize = 20;
/// What one process may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MOST_MEMORY_KB: u64 = 2 * 1024 * 1024;

#[test]
fn random_files_end_as_documented_in_time_and_in_memory() {
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|count| count.parse().ok()).unwrap_or(default)
    };
    let (from, count) = (number("PORTCULLIS_SEED", 0), number("PORTCULLIS_RANDOM", FILES));
    println!("seeds {from} to {}", from + count - 1);
    let seeds: Vec<u64> = (from..from + count).collect();
    let seen = std::thread::scope(|scope| {
        let parts = [0, 1].map(|part| {
            let seeds: Vec<u64> = seeds.iter().copied().filter(|seed| seed % 2 == part).collect();
            scope.spawn(move || explored(&seeds))
        });
        parts.map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let counts: [u64; 4] = std::array::from_fn(|index| seen.iter().map(|seen| seen.counts[index]).sum());
    let most_kb = seen.iter().map(|seen| seen.most_kb).max().unwrap();
    println!("refused, and ended with 0, 1, 2: {counts:?}; {} MB", most_kb / 1024);
    // The generator is of use as long as each of them is seen.
    assert!(count < FILES || counts.into_iter().all(|seen| seen * 50 > count), "{counts:?}");
}

/// What came of some files.
struct Seen {
    /// How many were refused, and how many variants end with 0, 1 and 2.
    counts: [u64; 4],
    most_kb: u64,
}

fn explored(seeds: &[u64]) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Seen { counts: [0; 4], most_kb: 0 };
    let mut good = Vec::new();
    for &seed in seeds {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let text = generator::scenario(random);
        let (text, must_fail) = broken(random, text.into_bytes());
        let path = folder.path().join(format!("{seed}.yaml"));
        fs::write(&path, text).unwrap();
        match Scenario::load(&path) {
            Ok(scenarios) => {
                assert!(!must_fail, "seed {seed} is taken: {}", fs::read_to_string(&path).unwrap());
                good.push((seed, path, scenarios.len()));
            }
            Err(_) => {
                seen.counts[0] += 1;
                let path = path.display().to_string();
                let (output, _) = watched(&["explore", &path], seed);
                assert_eq!(output.status.code(), Some(2), "seed {seed}: {}", shown(&output));
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(errors.starts_with(&format!("portcullis: {path}: ")), "seed {seed}: {errors}");
                assert!(output.stdout.is_empty(), "seed {seed}: {}", shown(&output));
            }
        }
    }
    for batch in good.chunks(TOGETHER) {
        let seed = batch[0].0;
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let body = common::guest_text(&generator::guest(random));
        let module = write(folder.path(), &format!("{seed}.wat"), &body);
        let files: Vec<String> = batch.iter().map(|(_, path, _)| path.display().to_string()).collect();
        let mut arguments = vec!["explore", &module, "--json", "--time", "0.02", "--random", "8"];
        arguments.extend(["--preemptions", "1", "--memory", "64"]);
        arguments.extend(files.iter().map(String::as_str));
        let (output, kb) = watched(&arguments, seed);
        seen.most_kb = seen.most_kb.max(kb);
        let reports: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}: {}", shown(&output)));
        let reports = reports.as_array().unwrap();
        let variants: usize = batch.iter().map(|(_, _, variants)| variants).sum();
        assert_eq!(reports.len(), variants, "seed {seed}");
        assert_eq!(output.status.code(), Some(documented(reports)), "seed {seed}: {}", shown(&output));
        for report in reports {
            let alone = documented(std::slice::from_ref(report));
            seen.counts[1 + usize::try_from(alone).unwrap()] += 1;
            assert_eq!(report["not_repeatable"], 0, "seed {seed}: {report}");
        }
    }
    seen
}

/// The exit status of what was found, as EXPLORING.md says.
fn documented(reports: &[Value]) -> i32 {
    let is_unexpected = |report: &Value| report["first"].is_null() == (report["expect"] == "broken");
    if reports.iter().any(|report| !report["not_run"].is_null()) {
        2
    } else {
        i32::from(reports.iter().any(is_unexpected))
    }
}

/// The file, or one of its neighbours that nobody means; and whether that one must be refused.
fn broken(random: &mut ChaCha8Rng, mut text: Vec<u8>) -> (Vec<u8>, bool) {
    let at = random.random_range(0..text.len());
    let must_fail = match random.random_range(0..20) {
        0 => {
            text[at] = 0xff;
            true
        }
        1 => {
            text.extend(b"wrokers: 2\n");
            true
        }
        2 => {
            text.splice(0..0, b"a: &a [x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n".iter().copied());
            true
        }
        3 => {
            text.extend(format!("about: {}\n", "[".repeat(random.random_range(100..20_000))).bytes());
            true
        }
        4 => {
            text = b"scenario: [\n".to_vec();
            true
        }
        5 => {
            text.truncate(at);
            false
        }
        6 => {
            text.remove(at);
            false
        }
        7 => {
            text[at] = b"\0:{}[]'\"*&!|>%@,- \n\t#9"[random.random_range(0..23)];
            false
        }
        8 => {
            let again = text[at..].to_vec();
            text.extend(again);
            false
        }
        _ => false,
    };
    (text, must_fail)
}

/// Runs to its end, with the most memory that was seen; ended, and with it the test, when it takes too long or too much.
fn watched(arguments: &[&str], seed: u64) -> (Output, u64) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = reader(child.stdout.take().unwrap());
    let stderr = reader(child.stderr.take().unwrap());
    let (began, mut most_kb) = (Instant::now(), 0);
    let status = loop {
        most_kb = most_kb.max(memory_kb(&child));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > PATIENCE || most_kb > MOST_MEMORY_KB {
            child.kill().unwrap();
            panic!("seed {seed} is at work for {:?} with {most_kb} kB: {arguments:?}", began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    (Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }, most_kb)
}

fn reader(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// The most memory that a process had at once, as far as the system says.
fn memory_kb(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
