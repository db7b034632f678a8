use super::*;

#[test]
fn the_scenarios_of_the_filter_itself_are_explored_in_place_of_the_small_ones() {
    let arguments = ["--preemptions", "0", "--random", "0", "--time", "1", "--json"];
    let all = ["explore", "--all", "--filter", "--only", "bundles-out-of-order"];
    let output = portcullis(&[&all[..], &arguments].concat());
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [report] = reports.as_array().unwrap().as_slice() else { panic!("{reports}") };
    assert_eq!((&report["scenario"], &report["variant"]), (&"bundles-out-of-order".into(), &"".into()));
    assert_eq!(report["not_run"], Value::Null);
    assert!(report["schedules"].as_u64() > Some(0));
}

#[test]
fn a_network_filter_is_said_to_be_none_for_here_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let network = on_request("")
        .replace("proxy_on_request_headers\") (param i32 i32 i32)", "proxy_on_new_connection\") (param i32)");
    let module = write(folder.path(), "tcp.wat", &network);
    let output = portcullis(&["explore", "--module", &module]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("is a network (TCP) filter"), "{}", shown(&output));
    let schedule = write(folder.path(), "any.race", "race/1\n");
    let scenario = write(folder.path(), "any.yaml", "scenario: any\nmodule: tcp.wat\n");
    let output = portcullis(&["replay", &schedule, "--scenario", &scenario]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(
        shown(&output).contains("is a network (TCP) filter, and races are explored of HTTP filters"),
        "{}",
        shown(&output)
    );
}

#[test]
fn a_module_without_a_scenario_gets_the_default_one() {
    let folder = tempfile::tempdir().unwrap();
    let module = write(folder.path(), "nothing.wat", GUEST);
    let output =
        portcullis(&["explore", "--module", &module, "--preemptions", "0", "--random", "0", "--time", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let row = &rows(&output)[0];
    assert_eq!(row.name, "default");
    // How far it comes depends on the machine.
    assert!(row.found.starts_with("proved ") || row.found.starts_with("clean so far ("), "{row:?}");
}

#[test]
fn what_cannot_be_explored_is_refused_with_the_place_and_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let bad_scenario =
        write(folder.path(), "bad.yaml", "scenario: a\nmodule: portcullis:guests\nwrokers: 2\n");
    let bad_module = write(folder.path(), "bad.wasm", "this is no module");
    let plain = write(folder.path(), "plain.wat", "(module)");
    let later = write(folder.path(), "later.wat", &GUEST.replace("0_2_1", "0_3_0"));
    let text = write(folder.path(), "notes.txt", "this is neither");
    let module = write(folder.path(), "nothing.wat", GUEST);
    let built_in = scenario("lost-update");
    let cases: [(&[&str], &[&str]); 19] = [
        (&["explore"], &["nothing to explore", "`portcullis explore FILTER.wasm`", "`--all`"]),
        (&["explore", "--scenario", "/nowhere/a.yaml"], &["/nowhere/a.yaml"]),
        (&["explore", "/nowhere/a.yaml"], &["/nowhere/a.yaml", "check the path"]),
        (&["explore", &bad_scenario], &["bad.yaml", "there is no key `wrokers`: did you mean `workers`?"]),
        (
            &["explore", "/nowhere/a.wasm"],
            &["module `/nowhere/a.wasm` cannot be read", "name a .wasm or .wat file"],
        ),
        (&["explore", "/nowhere/a"], &["/nowhere/a cannot be read", "(.wasm or .wat)", "(.yaml)"]),
        (&["explore", &text], &["notes.txt is neither", "say which with `--module "]),
        (&["explore", "a.race"], &["a.race is a schedule: `portcullis replay a.race`"]),
        (
            &["explore", &bad_module],
            &["bad.wasm", "it begins with `this is ", "build the filter for wasm32-wasip1"],
        ),
        (
            &["explore", &plain],
            &["plain.wat", "it is no Proxy-Wasm module", "build the filter with a Proxy-Wasm SDK"],
        ),
        (
            &["explore", &later],
            &["later.wat", "exports `proxy_abi_version_0_3_0`", "Envoy knows 0_1_0, 0_2_0 and 0_2_1"],
        ),
        (&["explore", &module, "--module", &module], &["is given twice: name each module once"]),
        (
            &["explore", &module, &built_in, "--configuration", "{}"],
            &["`--configuration` is for a filter without a scenario", "write it into the scenario"],
        ),
        (
            &["explore", &module, "--configuration", "gone.json"],
            &["`--configuration gone.json`: there is no such file"],
        ),
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
        assert!(self::text(&output).is_empty(), "{arguments:?}: {}", shown(&output));
    }
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
fn every_command_says_what_its_options_are() {
    for (command, options) in [
        (
            "explore",
            &[
                "--module",
                "--scenario",
                "--configuration",
                "--requests",
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

/// A filter that does not come up with another configuration than this.
fn wants(configuration: &str) -> String {
    let checks = configuration.bytes().enumerate().map(|(at, byte)| {
        format!("(if (i32.ne (i32.load8_u (i32.add (i32.load (i32.const 16)) (i32.const {at}))) (i32.const {byte})) (then unreachable))")
    });
    let import = r#"(module
        (import "env" "proxy_get_buffer_bytes" (func $get (param i32 i32 i32 i32 i32) (result i32)))"#;
    let configure = format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
          (if (i32.ne (local.get 1) (i32.const {})) (then unreachable))
          (drop (call $get (i32.const 7) (i32.const 0) (local.get 1) (i32.const 16) (i32.const 20)))
          {} (i32.const 1)) (memory"#,
        configuration.len(),
        checks.collect::<String>()
    );
    GUEST.replace("(module", import).replace("(memory", &configure)
}

#[test]
fn a_filter_without_a_scenario_gets_its_configuration_from_a_file_or_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = "{\"a\": \"é: #\\n\"}\n";
    let module = write(folder.path(), "wants.wat", &wants(configuration));
    let file = write(folder.path(), "wants.json", configuration);
    let races = folder.path().join("races").display().to_string();
    let hurry = ["--preemptions", "0", "--random", "0", "--time", "1"];
    for given in [file.as_str(), configuration] {
        let output = portcullis(&[&["explore", &module, "--configuration", given], &hurry[..]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    }
    let output = portcullis(&[&["explore", &module, "--configuration", "{}"], &hurry[..]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    // A schedule that is found carries it.
    let failing = wants(configuration).replace(
        "(param i32 i32 i32) (result i32) (i32.const 0))",
        "(param i32 i32 i32) (result i32) unreachable)",
    );
    let module = write(folder.path(), "fails.wat", &failing);
    let kept = ["explore", &module, "--configuration", configuration, "--out", &races];
    let output = portcullis(&[&kept[..], &hurry].concat());
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let output = portcullis(&["replay", &Path::new(&races).join("default.race").display().to_string()]);
    assert_eq!((output.status.code(), output.stderr.is_empty()), (Some(1), true), "{}", shown(&output));
}

#[test]
fn filters_and_scenarios_are_named_in_any_order_and_known_by_their_names_or_by_how_they_begin() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.wat", GUEST);
    let b = write(folder.path(), "b", GUEST);
    let text = "scenario: mine\nmodule: a.wat\nevents: [{at: 0s, request: A}]\nbounds: {until: 10ms}\n";
    let mine = write(folder.path(), "mine.yml", text);
    let c = write(folder.path(), "c.wat", GUEST);
    let hurry = ["--time", AMPLE, "--json"];
    for (files, modules) in [(vec![&mine], vec!["a.wat"]), (vec![&b, &mine, &c], vec!["b", "c.wat"])] {
        let files: Vec<&str> = files.into_iter().map(String::as_str).collect();
        let output = portcullis(&[&["explore"], &files[..], &hurry].concat());
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
        let explored: Vec<&str> = reports
            .as_array()
            .unwrap()
            .iter()
            .map(|report| {
                assert_eq!(report["scenario"], "mine");
                report["module"].as_str().unwrap().rsplit('/').next().unwrap()
            })
            .collect();
        assert_eq!(explored, modules);
    }
}

#[test]
fn a_scenario_that_is_too_deep_or_too_long_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let began = std::time::Instant::now();
    let events: String = (0..50_000).map(|number| format!("  - {{at: 0s, request: r{number}}}\n")).collect();
    for (text, expected) in [
        (
            format!("about: {}\n", "[".repeat(300_000)),
            "more than 1000 brackets are open in line 3: close them",
        ),
        (format!("about: {}\n", "{a: ".repeat(300_000)), "more than 1000 brackets are open in line 3"),
        (format!("events:\n{events}"), "events: 50000 are more than a search comes to: give at most 1000"),
    ] {
        let path = write(folder.path(), "a.yaml", &format!("scenario: a\nmodule: m.wasm\n{text}"));
        let output = portcullis(&["explore", &path]);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(shown(&output).contains(expected), "{expected}: {}", shown(&output));
    }
    // In quotes they are text.
    let text = format!("scenario: a\nabout: '{}'\nmodule: gone.wasm\n", "[".repeat(5000));
    let output = portcullis(&["explore", &write(folder.path(), "a.yaml", &text)]);
    assert!(shown(&output).contains("gone.wasm` cannot be read"), "{}", shown(&output));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
