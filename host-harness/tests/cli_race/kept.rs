use super::*;

#[test]
fn several_modules_are_explored_in_one_run_and_what_is_found_is_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let naive = write(folder.path(), "naive.wat", &on_request("unreachable"));
    let fixed = write(folder.path(), "fixed.wat", &on_request(""));
    let races = folder.path().join("races").display().to_string();
    let hurry = ["--preemptions", "0", "--random", "0", "--time", "3"];
    let both = ["explore", "--module", &naive, "--module", &fixed, "--out", &races];
    let output = portcullis(&[&both[..], &hurry].concat());
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let found = rows(&output);
    assert_eq!((found[0].name.as_str(), found[1].name.as_str()), ("default naive", "default fixed"));
    assert_eq!(found[0].found, "BROKEN: trap");
    assert!(
        found[0].details.starts_with("no callback may fail") && !found[1].found.contains("BROKEN"),
        "{found:?}"
    );
    let file = Path::new(&races).join("default-naive.race").display().to_string();
    let output = portcullis(&["replay", &file]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(output.stderr.is_empty(), "{}", shown(&output));
    let twice = portcullis(&["explore", "--module", &naive, "--module", &naive]);
    assert_eq!(twice.status.code(), Some(2));
    assert!(shown(&twice).contains("is given twice: name each module once"), "{}", shown(&twice));
}

#[test]
fn a_variant_runs_the_module_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "naive.wat", &on_request("unreachable"));
    write(folder.path(), "fixed.wat", &on_request(""));
    let text = "scenario: mine\nevents: [{at: 0s, request: A}]\nbounds: {until: 10ms}\nvariants:\n  \
                naive: {expect: broken, module: naive.wat}\n  fixed: {expect: clean, module: fixed.wat}\n";
    let path = write(folder.path(), "mine.yaml", text);
    let races = folder.path().join("races").display().to_string();
    let output = portcullis(&["explore", "--scenario", &path, "--out", &races, "--time", AMPLE, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(reports[0]["module"].as_str().unwrap().ends_with("naive.wat"), "{reports}");
    assert_eq!((&reports[0]["first"]["oracle"], &reports[1]["first"]), (&"trap".into(), &Value::Null));
    let file = Path::new(&races).join("mine-naive.race").display().to_string();
    assert_eq!(portcullis(&["replay", &file]).status.code(), Some(1));
    let fixed = portcullis(&["replay", &file, "--variant", "fixed", "--scenario", &path, "--lenient"]);
    assert_eq!(fixed.status.code(), Some(0), "{}", shown(&fixed));
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
        let found = found.to_str().unwrap();
        assert!(
            next_commands(&output).contains(&vec!["explain".to_owned(), found.to_owned()]),
            "{}",
            shown(&output)
        );
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
