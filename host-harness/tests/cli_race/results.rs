use super::*;

#[test]
fn explore_shows_each_variant_and_ends_well_when_all_is_as_expected() {
    let output = explore("stale-after-preempt", &["--preemptions", "1", "--random", "0", "--time", AMPLE]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let rows = rows(&output);
    let [naive, fixed] = &rows[..] else { panic!("{}", shown(&output)) };
    assert_eq!(naive.name, "stale-after-preempt naive");
    assert_eq!((naive.expected.as_str(), naive.found.as_str()), ("broken", "broken: eventually"));
    assert_eq!(naive.details, "bound 1, schedule 19 of 19; L0, order and delay alone");
    assert_eq!((fixed.expected.as_str(), fixed.found.as_str()), ("clean", "proved for every schedule"));
    assert_eq!(fixed.details, "every schedule: 11064 paths through 281 states 367 schedules run");
    assert!(text(&output).contains("\n2 of 2 as expected\n"), "{}", shown(&output));
    assert_eq!(next_commands(&output)[0].last().unwrap(), "races");
}

#[test]
fn what_is_said_fits_80_columns() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(scenario("stale-after-preempt")).unwrap().replace("expect: broken, ", "");
    let name = format!("scenario: {}end", "stale-".repeat(10));
    let text = text.replacen("scenario: stale-after-preempt", &name, 1);
    let path = write(folder.path(), "mine.yaml", &text);
    let output = portcullis(&["explore", &path, "--preemptions", "1", "--random", "0", "--time", "3"]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let said = self::text(&output);
    let (table, next) = said.split_once("next:\n").unwrap();
    for line in table.lines().chain(next.lines().filter(|line| !line.contains('/'))) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    // Nothing is cut off for that.
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let message =
        "in the end `GET /state` must be answered 200 \"2:READY\", and w0 answers 200 \"1:NOT_READY\"";
    assert!(words.contains(message) && words.contains("BROKEN: eventually"), "{said}");
}

#[test]
fn a_variant_that_is_not_as_it_says_ends_with_1() {
    // With whole callbacks nothing breaks, and the variant says that something does.
    let arguments = ["--only", "naive", "--whole-callbacks", "--time", AMPLE];
    let output = explore("stale-after-preempt", &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let row = &rows(&output)[0];
    assert_eq!((row.expected.as_str(), row.found.as_str()), ("broken", "proved to bound 0"));
    assert!(row.details.starts_with("it is expected to break, and nothing broke it"), "{row:?}");
    assert!(text(&output).contains("\n0 of 1 as expected\n"), "{}", shown(&output));
}

#[test]
fn a_search_that_is_not_complete_says_what_it_did_not_reach_and_what_ended_it() {
    let whole = ["--only", "fixed", "--random", "0"];
    // No time suffices for this one.
    let output =
        explore("deleted-while-read", &[&whole[..], &["--preemptions", "1", "--time", "2"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let row = &rows(&output)[0];
    assert!(row.found.starts_with("proved to bound") || row.found.starts_with("clean so far ("), "{row:?}");
    assert!(row.details.contains("not reached, the time was over: "), "{row:?}");
    assert!(row.details.contains("every schedule ("), "{row:?}");
    assert!(row.details.contains(" schedules run, at least "), "{row:?}");
    let next = next_commands(&output);
    assert_eq!(next[0][next[0].len() - 2..], ["--time", "20"], "{next:?}");

    // One part of the work.
    let part = ["--preemptions", "0", "--shard", "2/3", "--time", AMPLE, "--whole-callbacks"];
    let output = explore("cleanup-in-use", &[&whole[..], &part].concat());
    let row = &rows(&output)[0];
    assert!(row.found.starts_with("clean so far ("), "{row:?}");
    assert!(
        row.details.contains("not reached, only one part of the work was done here: bound 0 ("),
        "{row:?}"
    );
    assert_eq!(next_commands(&output)[0].last().unwrap(), "3/3");

    // Little memory.
    let little = ["--preemptions", "0", "--memory", "0", "--time", AMPLE, "--whole-callbacks"];
    let output = explore("cleanup-in-use", &[&whole[..], &little].concat());
    let row = &rows(&output)[0];
    assert!(row.details.contains("not reached, its states took all the memory given: bound 0 ("), "{row:?}");
}

#[test]
fn the_next_command_can_be_typed_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let module = write(folder.path(), "traps.wat", &on_request("unreachable"));
    let typed = |arguments: &[String]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.current_dir(folder.path()).args(arguments).output().unwrap()
    };
    let mut command = vec!["explore".to_owned(), module];
    command.extend(["--preemptions", "0", "--random", "0", "--time", "3"].map(str::to_owned));
    // It breaks, is kept, is explained, is drawn.
    let mut commands = Vec::new();
    for _ in 0..4 {
        let output = typed(&command);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{command:?} {}", shown(&output));
        commands.push(command[0].clone());
        let next = next_commands(&output).first().cloned();
        let Some(next) = next else { break };
        command = next;
        if command[0] == "render" {
            assert_eq!(typed(&command).status.code(), Some(0));
            break;
        }
    }
    assert_eq!(commands, ["explore", "explore", "explain"]);
    assert_eq!(command[0], "render");
    let output = typed(&["replay".to_owned(), "races/default.race".to_owned()]);
    assert_eq!(next_commands(&output), [["explain", "races/default.race"]]);
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
    assert_eq!((&phase["left_off"], &phase["open_states"]), (&Value::Null, &0.into()));
    assert_eq!(naive["phases"][1]["left_off"], "found");
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
    let row = &rows(&output)[0];
    assert_eq!(row.found, "nothing was asked");
    assert!(row.details.contains("returned false"), "{row:?}");
    let next = next_commands(&output);
    assert_eq!(next[0][next[0].len() - 2..], ["--configuration", "FILE"], "{next:?}");
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
