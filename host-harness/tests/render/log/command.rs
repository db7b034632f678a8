//! `portcullis render --log` as a person runs it.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use super::*;

fn portcullis(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn it_ends_with_1_when_a_vm_departed_and_with_0_when_none_did() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, code) in [("healthy.log", HEALTHY, 0), ("phantom.log", PHANTOM, 1)] {
        let path = write(folder.path(), name, text);
        let output = portcullis(&["render", "--log", &path], "");
        assert_eq!(output.status.code(), Some(code), "{name}: {}", stderr(&output));
        assert_eq!(stderr(&output), "");
        assert!(stdout(&output).starts_with(name), "{}", stdout(&output));
    }
    let piped = portcullis(&["render", "--log", "-", "--format", "svg"], PHANTOM);
    assert_eq!(piped.status.code(), Some(1), "{}", stderr(&piped));
    assert!(stdout(&piped).starts_with("<?xml"));
    let patient = portcullis(&["render", "--log", "-", "--patience", "1m"], PHANTOM);
    assert_eq!(patient.status.code(), Some(0), "{}", stderr(&patient));
}

#[test]
fn what_is_drawn_can_be_chosen() {
    let arguments = [
        "render", "--log", "-", "--bundle", "shop", "--vm", "9f3c01aa", "--from", "10:53", "--to", "10:53:30",
    ];
    let output = portcullis(&arguments, PHANTOM);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(!stdout(&output).contains(" data"), "{}", stdout(&output));
    let output = portcullis(&["render", "--log", "-", "--bundle", "data"], PHANTOM);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn the_schedule_can_be_replayed_leniently() {
    let folder = tempfile::tempdir().unwrap();
    let (race, out) = (folder.path().join("phantom.race"), folder.path().join("phantom.html"));
    let (race, out) = (race.to_str().unwrap(), out.to_str().unwrap());
    let arguments = ["render", "--log", "-", "--schedule-out", race, "--format", "html", "--out", out];
    let output = portcullis(&arguments, PHANTOM);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{}", stderr(&output));
    assert!(fs::read_to_string(out).unwrap().starts_with("<!DOCTYPE html>"));

    // In the scenario the first response comes before the first tick; the log has them the other way round.
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/stale-after-preempt.yaml");
    let replayed =
        portcullis(&["replay", race, "--scenario", scenario, "--variant", "fixed", "--lenient"], "");
    assert_eq!(replayed.status.code(), Some(0), "{}", stderr(&replayed));
    assert!(stdout(&replayed).contains("main"), "{}", stdout(&replayed));
}

#[test]
fn a_turn_without_its_subject_is_the_first_of_its_kind_when_replayed_leniently() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/stale-after-preempt.yaml");
    let turns = |file: &str, lenient: &[&str]| -> Vec<String> {
        let arguments =
            [&["replay", file, "--scenario", scenario, "--variant", "fixed", "--json"], lenient].concat();
        let trace: serde_json::Value = serde_json::from_slice(&portcullis(&arguments, "").stdout).unwrap();
        let mut turns: Vec<String> = Vec::new();
        for step in trace["steps"].as_array().unwrap() {
            let turn = &step["turn"];
            let name = format!("{} {}", turn["thread"].as_str().unwrap(), turn["event"].as_str().unwrap());
            if turns.last() != Some(&name) {
                turns.push(name);
            }
        }
        turns
    };
    // What comes by itself, and what a log would say of another order: a queue's notice before another tick.
    let plain = write(folder.path(), "plain.race", "race/1\n\n");
    let by_itself = turns(&plain, &[]);
    let ready = by_itself.iter().position(|turn| turn == "w0 ready").expect("there is a notice");
    let before = by_itself[ready - 1].clone();
    assert_ne!(before, "w0 ready");
    let first = write(folder.path(), "first.race", "race/1\n\nmain tick#1\nmain response#1\nw0 ready#1\n");
    let leniently = turns(&first, &["--lenient"]);
    assert_eq!(leniently[..3], ["main tick", "main response", "w0 ready"], "{by_itself:?}");
    assert_ne!(by_itself[..3], leniently[..3]);
}

#[test]
fn what_cannot_be_drawn_is_refused_with_the_place_and_the_cure() {
    let cases: [(&[&str], &str); 8] = [
        (&["render"], "required arguments were not provided"),
        (&["render", "--log", "/nowhere/envoy.log"], "portcullis: /nowhere/envoy.log: No such file"),
        (&["render", "--log", "-", "a.race"], "cannot be used with"),
        (
            &["render", "a.race", "--bundle", "shop"],
            "the argument '[FILE]' cannot be used with '--bundle <NAME>'",
        ),
        (
            &["render", "--log", "-", "--bundle", "shoe"],
            "portcullis: standard input: there is no bundle `shoe` in it; it has `shop`, `data`",
        ),
        (
            &["render", "--log", "-", "--vm", "beef"],
            "portcullis: standard input: there is no VM and no thread `beef` in it; it has vm 51aa7e10 (main thread, 4700)",
        ),
        (
            &["render", "--log", "-", "--from", "noon"],
            "portcullis: standard input: `noon` is no time; write it as `10:51:00.123` or `2026-11-21 10:51:00`",
        ),
        (&["render", "--log", "-", "--patience", "long"], "invalid value 'long' for '--patience"),
    ];
    for (arguments, expected) in cases {
        let output = portcullis(arguments, PHANTOM);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: no {expected:?} in {}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
    let output = portcullis(&["render", "--log", "-"], "nothing of interest\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("none of its 1 lines is a transition; look for `transition scope=`"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn warnings_have_their_lines_and_an_end() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1);
    for _ in 0..30 {
        log.vm(0.1, W0, "bundle=shop to=sleeping");
    }
    let output = portcullis(&["render", "--log", "-"], &log.text);
    let reported = stderr(&output);
    assert_eq!(reported.lines().count(), 11, "{reported}");
    assert!(reported.starts_with("warning: standard input:2: it is no transition"), "{reported}");
    assert!(reported.ends_with("warning: and 20 more\n"), "{reported}");
}

#[test]
fn the_guide_shows_what_the_command_says() {
    let guide = include_str!("../../../EXPLORING.md");
    let (_, section) = guide.split_once("## From a production log").unwrap();
    let (_, shown) = section.split_once("```text\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    assert!(include_str!("../../logs/phantom.txt").starts_with(shown), "{shown}");
    let help = stdout(&portcullis(&["render", "--help"], ""));
    for option in section
        .split('`')
        .filter(|word| word.starts_with("--") && !word.contains(' ') && *word != "--lenient")
    {
        assert!(help.contains(option), "no {option} in {help}");
    }
}
