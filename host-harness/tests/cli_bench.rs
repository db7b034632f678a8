//! The `portcullis bench` commands in real Envoy, with little of everything: that they run, and that all that they tell is
//! of answers that were right.

use std::process::{Command, Output};

use serde_json::Value;

#[test]
fn the_start_is_measured() {
    let report =
        json(&["startup", "--bundles", "2", "--rounds", "1", "--concurrency", "1", "--delay-ms", "0"]);
    let row = &report["rows"][0];
    assert_eq!(row["bundles"], 2);
    for measured in ["all_there", "one_hanging"] {
        assert!(row[measured]["envoy_from_start"]["median_ms"].as_u64().is_some(), "{report}");
    }
}

#[test]
fn a_request_is_measured_beside_envoy_alone() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("request.svg");
    let svg = svg.to_str().unwrap();
    let report = json(&["request", "--rounds", "1", "--requests", "40", "--connections", "2", "--svg", svg]);
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "Envoy alone",
            "a Wasm filter that does nothing",
            "Portcullis, each request new",
            "Portcullis, the same again"
        ]
    );
    for row in rows {
        assert_measured(row, row["name"].as_str().unwrap().starts_with("Portcullis"), 80);
        assert!(row["cpu_of_envoy"]["median"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert_eq!(rows[0]["cpu_of_envoy"]["median"], 1.0);
    assert_drawn(svg, "Portcullis, each request new");
}

#[test]
fn a_request_is_measured_against_the_number_of_rules() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("rules.svg");
    let svg = svg.to_str().unwrap();
    let report = json(&[
        "rules",
        "--rules",
        "10",
        "--rounds",
        "1",
        "--requests",
        "30",
        "--connections",
        "2",
        "--svg",
        svg,
    ]);
    assert_measured(&report["envoy_alone"], false, 60);
    let rows = report["rows"].as_array().unwrap();
    let shapes: Vec<_> = rows.iter().map(|row| row["shape"].as_str().unwrap()).collect();
    assert_eq!(shapes, ["rules", "packages", "data"]);
    for row in rows {
        assert_eq!(row["rules"], 10);
        assert_measured(&row["portcullis"], true, 60);
    }
    assert_drawn(svg, "Envoy alone");
}

#[test]
fn a_measurement_of_nothing_is_refused_with_the_cure() {
    for (arguments, cure) in [
        (["request", "--rounds", "0"], "9 is a good number"),
        (["request", "--connections", "0"], "8 is a good number"),
        (["request", "--requests", "19"], "fewer than 20"),
        (["rules", "--concurrency", "0"], "say how many"),
        (["rules", "--rules", "0"], "begin at 1"),
    ] {
        let output = bench(&arguments);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(shown(&output).contains(cure), "{arguments:?}: {}", shown(&output));
    }
}

fn assert_measured(row: &Value, decides: bool, answers: u64) {
    for figure in ["cpu_us", "p50_us", "p99_us"] {
        assert!(row[figure]["median"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row[figure]["rounds"].as_array().unwrap().len(), 1, "{row}");
    }
    let statuses = row["statuses"].as_object().unwrap();
    assert_eq!(statuses.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), answers, "{row}");
    let seen: Vec<_> = statuses.keys().map(String::as_str).collect();
    let right: &[&str] = if decides { &["200", "403"] } else { &["200"] };
    assert_eq!(seen, right, "{row}");
}

fn assert_drawn(svg: &str, label: &str) {
    let picture = std::fs::read_to_string(svg).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains(label), "{picture}");
}

fn json(arguments: &[&str]) -> Value {
    let output = bench(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", shown(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).arg("bench").args(arguments).output().unwrap()
}

fn shown(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}
