//! `portcullis explore`, `replay`, `shrink`, `explain` and `render` as a person runs them.

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

#[test]
fn explore_shows_a_row_for_each_variant_and_ends_well_when_all_is_as_expected() {
    let scenario = scenario("stale-after-preempt");
    let output = portcullis(&[
        "explore",
        "--scenario",
        &scenario,
        "--preemptions",
        "1",
        "--random",
        "0",
        "--time",
        AMPLE,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let rows = rows(&output);
    assert_eq!(rows.len(), 2, "{}", shown(&output));
    assert_eq!(rows[0][..5], ["stale-after-preempt", "naive", "broken: eventually", "L0", "bound 1"]);
    assert_eq!(rows[1][..5], ["stale-after-preempt", "fixed", "proved for every schedule", "", ""]);
    assert!(rows[0][7].starts_with("bound 0: "), "{rows:?}");
    assert!(rows[1][7].contains(" states, ") && rows[1][7].ends_with(" paths"), "{rows:?}");
}

#[test]
fn a_variant_that_is_not_as_it_says_ends_with_1() {
    // With whole callbacks nothing breaks, and the variant says that something does.
    let arguments = ["--only", "naive", "--whole-callbacks", "--time", AMPLE];
    let output = explore("stale-after-preempt", &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(rows(&output)[0][2].starts_with("NOT BROKEN: "), "{}", shown(&output));
}

#[test]
fn a_scenario_that_breaks_unexpectedly_is_told_in_a_sentence_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(scenario("stale-after-preempt")).unwrap().replace("expect: broken, ", "");
    let path = write(folder.path(), "mine.yaml", &text);
    let output = portcullis(&[
        "explore",
        "--scenario",
        &path,
        "--only",
        "naive",
        "--preemptions",
        "1",
        "--time",
        AMPLE,
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(
        rows(&output)[0][2].starts_with("BROKEN: in the end `GET /state` must be answered 200"),
        "{}",
        shown(&output)
    );
}

#[test]
fn the_scenarios_of_the_filter_itself_are_explored_in_place_of_the_small_ones() {
    let arguments = ["--preemptions", "0", "--random", "0", "--time", "5", "--json"];
    let all = ["explore", "--all", "--filter", "--only", "bundles-out-of-order"];
    let output = portcullis(&[&all[..], &arguments].concat());
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [report] = reports.as_array().unwrap().as_slice() else { panic!("{reports}") };
    assert_eq!((&report["scenario"], &report["variant"]), (&"bundles-out-of-order".into(), &"".into()));
    assert_eq!(report["not_run"], Value::Null);
    assert!(report["schedules"].as_u64() > Some(0));
}

#[test]
fn the_report_as_json_has_phases_counts_and_certificates() {
    let output =
        explore("stale-after-preempt", &["--preemptions", "1", "--random", "0", "--time", AMPLE, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [naive, fixed] = reports.as_array().unwrap().as_slice() else { panic!("{reports}") };
    assert_eq!(
        (naive["scenario"].as_str(), naive["variant"].as_str()),
        (Some("stale-after-preempt"), Some("naive"))
    );
    assert_eq!(naive["first"]["oracle"], "eventually");
    assert_eq!(naive["first"]["class"], "L0");
    assert_eq!(naive["first"]["phase"], "bound 1");
    assert_eq!(naive["not_repeatable"], 0);
    assert_eq!(naive["phases"][0]["certificate"]["paths"], "14");
    assert_eq!(fixed["first"], Value::Null);
    assert_eq!(fixed["failing"], 0);
    let phase = &fixed["phases"][1];
    assert_eq!((phase["name"].as_str(), phase["complete"].as_bool()), (Some("bound 1"), Some(true)));
    assert!(phase["schedules"].as_u64() > Some(0) && fixed["steps"].as_u64() > phase["schedules"].as_u64());
}

#[test]
fn without_the_cache_every_path_is_a_schedule() {
    let schedules = |arguments: &[&str]| {
        let whole = ["--only", "fixed", "--preemptions", "0", "--random", "0", "--whole-callbacks"];
        let fixed = [&whole[..], &["--time", AMPLE, "--json"]].concat();
        let output = explore("cleanup-in-use", &[&fixed[..], arguments].concat());
        let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
        let phase = reports[0]["phases"][0].clone();
        (phase["schedules"].as_u64().unwrap(), phase["certificate"]["paths"].as_str().map(str::to_owned))
    };
    let (with, paths) = schedules(&[]);
    let (without, none) = schedules(&["--no-cache"]);
    assert_eq!((paths, none), (Some(without.to_string()), None));
    assert!(with < without, "{with} {without}");
}

#[test]
fn a_module_without_a_scenario_gets_the_default_one() {
    let folder = tempfile::tempdir().unwrap();
    let module = write(folder.path(), "nothing.wat", GUEST);
    let output =
        portcullis(&["explore", "--module", &module, "--preemptions", "0", "--random", "0", "--time", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let row = &rows(&output)[0];
    assert_eq!(row[..2], ["default", ""]);
    // How far it comes depends on the machine.
    assert!(row[2].starts_with("proved ") || row[2].starts_with("clean so far ("), "{row:?}");
}

#[test]
fn what_cannot_be_explored_is_refused_with_the_place_and_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let bad_scenario =
        write(folder.path(), "bad.yaml", "scenario: a\nmodule: portcullis:guests\nwrokers: 2\n");
    let bad_module = write(folder.path(), "bad.wasm", "this is no module");
    let cases: [(&[&str], &[&str]); 10] = [
        (&["explore"], &["nothing to explore: name a `--scenario`, a `--module`, or `--all`"]),
        (&["explore", "--scenario", "/nowhere/a.yaml"], &["/nowhere/a.yaml"]),
        (
            &["explore", "--scenario", &bad_scenario],
            &["bad.yaml", "there is no key `wrokers`: did you mean `workers`?"],
        ),
        (
            &["explore", "--module", "/nowhere/a.wasm"],
            &["module `/nowhere/a.wasm` cannot be read", "name a .wasm or .wat file"],
        ),
        (&["explore", "--module", &bad_module], &["bad.wasm"]),
        (&["explore", "--all", "--only", "no such thing"], &["no scenario is left to explore", "`--only`"]),
        (&["explore", "--filter"], &["--all"]),
        (&["explore", "--all", "--shard", "3/2"], &["`3/2` is no part of the work: write it as `2/8`"]),
        (&["explore", "--all", "--shard", "0/2"], &["`0/2` is no part of the work"]),
        (&["explore", "--all", "--preemptions", "many"], &["invalid value 'many' for '--preemptions"]),
    ];
    for (arguments, parts) in cases {
        let output = portcullis(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", shown(&output));
        for part in parts {
            assert!(shown(&output).contains(part), "{arguments:?}: no {part:?} in {}", shown(&output));
        }
        assert!(text(&output).is_empty(), "{arguments:?}: {}", shown(&output));
    }
}

#[test]
fn a_scenario_that_cannot_be_set_up_is_a_row_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let module = write(
        folder.path(),
        "refuses.wat",
        &GUEST.replace(
            "(memory",
            r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0)) (memory"#,
        ),
    );
    let output = portcullis(&["explore", "--module", &module, "--time", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(rows(&output)[0][2].starts_with("nothing was asked: "), "{}", shown(&output));
}

#[test]
fn a_found_schedule_is_written_and_can_be_replayed_shrunk_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("found");
    let arguments =
        ["--only", "naive", "--preemptions", "1", "--time", AMPLE, "--out", out.to_str().unwrap()];
    let output = explore("stale-after-preempt", &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let found = out.join("stale-after-preempt-naive.race");
    let written = fs::read_to_string(&found).unwrap();
    assert!(written.contains("\nmodule: sha256:"), "{written}");
    let committed = fs::read_to_string(race("stale-after-preempt")).unwrap();
    let id = |text: &str| text.lines().find(|line| line.starts_with("id: ")).unwrap().to_owned();
    assert_eq!(id(&written), id(&committed));

    let output = portcullis(&["shrink", found.to_str().unwrap()]);
    assert_eq!((output.status.code(), text(&output)), (Some(0), written.clone()));

    let output = explore("stale-after-preempt", &[&arguments[..], &["--json"]].concat());
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kept = &reports[0]["kept"];
    assert_eq!(reports[0]["expect"], "broken");
    assert_eq!(reports[0]["verdict"], "broken: eventually");
    assert_eq!(kept["file"], found.to_str().unwrap());
    assert_eq!(kept["schedule"], written);
    assert_eq!(format!("id: {}", kept["id"].as_str().unwrap()), id(&written));
    assert_eq!((&kept["raced"][0]["thread"], &kept["raced"][1]["thread"]), (&"main".into(), &"w0".into()));
}

#[test]
fn what_could_not_be_asked_is_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let module = write(folder.path(), "nothing.wat", GUEST);
    let text = "scenario: mine\nmodule: gone.wasm\nexpect: broken\nclusters: {a: {}}\n";
    let scenario = write(folder.path(), "mine.yaml", text);
    let output =
        portcullis(&["explore", "--scenario", &scenario, "--module", &module, "--json", "--time", AMPLE]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&reports[0]["expect"], &reports[0]["first"]), (&"broken".into(), &Value::Null));
    let refuses = GUEST.replace(
        "(memory",
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0)) (memory"#,
    );
    let module = write(folder.path(), "refuses.wat", &refuses);
    let output = portcullis(&["explore", "--module", &module, "--json"]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(reports[0]["not_run"].as_str().unwrap().contains("returned false"), "{reports}");
    assert!(reports[0]["verdict"].as_str().unwrap().starts_with("nothing was asked: "), "{reports}");
}

#[test]
fn what_is_found_in_a_module_of_ones_own_is_replayed_from_the_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    // Each of the requests fails on the second of them, in whatever order they come.
    let failing = GUEST.replace(
        "(memory",
        r#"(global $count (mut i32) (i32.const 0))
           (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (global.set $count (i32.add (global.get $count) (i32.const 1)))
             (if (i32.eq (global.get $count) (i32.const 2)) (then unreachable)) (i32.const 0)) (memory"#,
    );
    let module = write(folder.path(), "failing.wat", &failing);
    let text = "scenario: mine\nmodule: failing.wat\nevents:\n  - {at: 0s, request: a, worker: 0}\n  \
                - {at: 0s, request: b, worker: 0}\nvariants: {one: {}, two: {expect: clean}}\n";
    let scenario = write(folder.path(), "mine.yaml", text);
    let out = folder.path().join("found");
    for (given, file) in [
        (["--module", module.as_str()], "default.race"),
        (["--scenario", scenario.as_str()], "mine-two.race"),
    ] {
        let found = out.join(file);
        let mut arguments = vec!["explore", given[0], given[1], "--preemptions", "0", "--random", "0"];
        arguments.extend(["--time", AMPLE, "--out", out.to_str().unwrap()]);
        let output = portcullis(&arguments);
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        let next = format!("next:\nportcullis explain {}", found.display());
        assert!(shown(&output).contains(next.rsplit('\n').next().unwrap()), "{}", shown(&output));
        let found = found.to_str().unwrap();
        fs::rename(&scenario, folder.path().join("gone")).unwrap();
        let output = portcullis(&["replay", found]);
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        assert!(
            !shown(&output).contains("divergence") && !shown(&output).contains("note:"),
            "{}",
            shown(&output)
        );
        for command in ["explain", "render", "shrink"] {
            let output = portcullis(&[command, found]);
            assert_eq!(output.status.code(), Some(0), "{command}: {}", shown(&output));
        }
        // Another module is said to be one.
        fs::write(&module, failing.replace("i32.const 2)", "i32.const 3)")).unwrap();
        let output = portcullis(&["replay", found, "--lenient"]);
        assert!(
            shown(&output).contains("note: the schedule was found with another module"),
            "{}",
            shown(&output)
        );
        fs::write(&module, &failing).unwrap();
        fs::rename(folder.path().join("gone"), &scenario).unwrap();
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_said_before_anything_is_explored() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "file", "");
    let output = explore("lost-update", &["--out", &file]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(
        shown(&output).contains("nothing can be written there") && text(&output).is_empty(),
        "{}",
        shown(&output)
    );
}

#[test]
fn what_is_interrupted_says_what_it_has_and_ends_with_130() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("found");
    let scenario = scenario("deleted-while-read");
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args([
            "explore",
            "--scenario",
            &scenario,
            "--only",
            "fixed",
            "--time",
            "100000",
            "--random",
            "100000000",
        ])
        .args(["--json", "--out", out.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // From when the folder is there, the signal is waited for.
    while !out.is_dir() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    let signalled = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", shown(&output));
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdict = reports[0]["verdict"].as_str().unwrap();
    assert!(!verdict.starts_with("proved for every") && reports[0]["first"].is_null(), "{verdict}");
}

#[test]
fn a_time_that_is_none_is_refused() {
    for time in ["0", "-1", "soon", "inf"] {
        let output = explore("lost-update", &[&format!("--time={time}")]);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(shown(&output).contains("is no time: give seconds, more than 0"), "{}", shown(&output));
    }
}

#[test]
fn replay_ends_with_1_when_the_schedule_breaks_the_filter_and_with_0_when_it_does_not() {
    let file = race("stale-after-preempt");
    let output = portcullis(&["replay", &file]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(!shown(&output).contains("divergence"), "{}", shown(&output));
    assert!(!text(&output).is_empty());
    let output = portcullis(&["replay", &file, "--variant", "fixed", "--lenient"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
}

#[test]
fn replay_as_json_is_the_whole_run() {
    let output = portcullis(&["replay", &race("stale-after-preempt"), "--json"]);
    let trace: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(trace["threads"], serde_json::json!(["main", "w0"]));
    assert_eq!(trace["findings"][0]["oracle"], "eventually");
    assert_eq!(trace["findings"][0]["raced"][0]["thread"], "main");
    let steps = trace["steps"].as_array().unwrap();
    assert_eq!(steps.iter().filter(|step| step["held"] == true).count(), 1);
    assert!(steps.iter().enumerate().all(|(index, step)| step["number"] == index + 1));
}

#[test]
fn a_file_that_does_not_fit_is_told_line_by_line_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(race("stale-after-preempt")).unwrap();
    let edited = write(folder.path(), "edited.race", &text.replacen("= 1:NOT_READY c1", "= 9:ODD c1", 1));
    let output = portcullis(&["replay", &edited]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        stderr.trim_end(),
        "divergence: `w0 response#1`: the schedule says `get status = 9:ODD c1`, and the run says `get status = 1:NOT_READY c1`"
    );
}

#[test]
fn what_is_no_schedule_is_refused_with_the_line_and_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let newer = write(folder.path(), "newer.race", "race/2\n");
    let odd = write(
        folder.path(),
        "odd.race",
        "race/1\nscenario: stale-after-preempt\nvariant: naive\n\nw0 jumps\n",
    );
    let unknown = write(folder.path(), "unknown.race", "race/1\nscenario: nobody-knows\n");
    let unbroken =
        write(folder.path(), "unbroken.race", "race/1\nscenario: stale-after-preempt\nvariant: fixed\n");
    for command in ["replay", "shrink", "explain", "render"] {
        for (file, parts) in [
            ("/nowhere/a.race", &["/nowhere/a.race", "No such file"][..]),
            (&newer, &["newer.race:1: version `race/2` is not known here; this program reads `race/1`"]),
            (&odd, &["odd.race:5: `w0 jumps` is no turn; write it as `w0 tick#1`"]),
            (&unknown, &["there is no scenario `nobody-knows`", "`--scenario`", "`--variant`"]),
        ] {
            let output = portcullis(&[command, file]);
            assert_eq!(output.status.code(), Some(2), "{command}: {}", shown(&output));
            for part in parts {
                assert!(shown(&output).contains(part), "{command}: no {part:?} in {}", shown(&output));
            }
        }
    }
    for command in ["shrink", "explain"] {
        let output = portcullis(&[command, &unbroken]);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(shown(&output).contains("the schedule breaks nothing here"), "{}", shown(&output));
    }
}

#[test]
fn explain_names_the_turns_that_raced_and_the_risk_at_each_step() {
    let output = portcullis(&["explain", &race("stale-after-preempt")]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let text = text(&output);
    assert!(text.starts_with("eventually (L0): in the end `GET /state` must be answered"), "{text}");
    assert!(text.contains("\nraced: main response#1 and w0 response#1\n"), "{text}");
    assert!(text.contains(" %  the beginning\n") && text.trim_end().contains(" 100 %  "), "{text}");

    let output = portcullis(&["explain", &race("stale-after-preempt"), "--json"]);
    let explanation: Value = serde_json::from_slice(&output.stdout).unwrap();
    let risk = explanation["risk"].as_array().unwrap();
    assert_eq!(risk.last().unwrap()[1], 1.0);
    assert!(explanation["trace"]["findings"][0]["inevitable_after"].as_u64().is_some());
}

#[test]
fn render_draws_in_every_format() {
    let file = race("stale-after-preempt");
    for (format, begins, has) in [
        ("text", "", "w0"),
        ("svg", "<?xml", "</svg>"),
        ("html", "<!doctype html", "</html>"),
        ("perfetto", "{", "traceEvents"),
    ] {
        let output = portcullis(&["render", &file, "--format", format]);
        assert_eq!(output.status.code(), Some(0), "{format}: {}", shown(&output));
        let text = text(&output);
        assert!(
            text.to_lowercase().trim_start().starts_with(begins),
            "{format}: {}",
            &text[..text.len().min(80)]
        );
        assert!(text.contains(has), "{format}");
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run.html");
    let output = portcullis(&["render", &file, "--format", "html", "--out", out.to_str().unwrap()]);
    assert_eq!((output.status.code(), text(&output).as_str()), (Some(0), ""));
    assert!(fs::read_to_string(out).unwrap().contains("stale-after-preempt"));
}

#[test]
fn every_command_says_what_its_options_are() {
    for (command, options) in [
        (
            "explore",
            &[
                "--module",
                "--scenario",
                "--all",
                "--only",
                "--preemptions",
                "--random",
                "--time",
                "--seed",
                "--shard",
                "--jobs",
                "--whole-callbacks",
                "--no-cache",
                "--keep-going",
                "--out",
                "--json",
            ][..],
        ),
        ("replay", &["--scenario", "--variant", "--module", "--lenient", "--json"]),
        ("shrink", &["--scenario", "--variant", "--module", "--out"]),
        ("explain", &["--scenario", "--variant", "--module", "--json"]),
        ("render", &["--scenario", "--variant", "--module", "--format", "--out"]),
    ] {
        let output = portcullis(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        let help = text(&output);
        let lines: Vec<&str> = help.lines().map(str::trim).collect();
        for option in options {
            let at = lines.iter().position(|line| line.split_whitespace().any(|word| word == *option));
            let at = at.unwrap_or_else(|| panic!("{command}: no {option} in\n{help}"));
            // A long explanation stands on the line below.
            let explained = lines[at..].iter().take(2).flat_map(|line| line.split_whitespace());
            assert!(explained.count() > 4, "{command} {option} is explained: {}", lines[at]);
        }
    }
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

/// Cells of the table's rows, without its head.
fn rows(output: &Output) -> Vec<Vec<String>> {
    let text = text(output);
    let rows = text.lines().filter(|line| line.starts_with('│')).skip(1);
    rows.map(|row| row.trim_matches('│').split('┆').map(|cell| cell.trim().to_owned()).collect()).collect()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn shown(output: &Output) -> String {
    format!("{}\n{}{}", output.status, text(output), String::from_utf8_lossy(&output.stderr))
}
