use super::*;

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
