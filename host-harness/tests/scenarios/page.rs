//! The page about the format says what is so.

use std::{fs, path::Path};

use host_harness::race::scenario::Scenario;

use super::{WHOLE, errors::WRONG};

const PAGE: &str = include_str!("../../SCENARIOS.md");

#[test]
fn every_block_of_the_formats_page_is_read() {
    let blocks: Vec<&str> =
        PAGE.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(blocks.len() >= 3, "{} blocks", blocks.len());
    for block in &blocks {
        // A block that is a part stands in a whole that has the keys it lacks.
        let tree: yaml_serde::Value = yaml_serde::from_str(block).expect(block);
        let mut whole = String::new();
        for key in ["scenario", "module"] {
            if tree.get(key).is_none() {
                whole.push_str(&format!("{key}: part\n"));
            }
        }
        Scenario::parse(&format!("{whole}{block}"), "SCENARIOS.md")
            .unwrap_or_else(|error| panic!("{error}\n{block}"));
    }
}

#[test]
fn the_errors_on_the_formats_page_are_what_is_said() {
    let (_, rest) = PAGE.split_once("```text\n").expect("a block of errors");
    let (errors, _) = rest.split_once("```").expect("its end");
    for error in errors.lines() {
        let error = error.replacen("race.yaml", "t.yaml", 1);
        assert!(WRONG.iter().any(|(_, said)| *said == error), "{error}");
    }
}

#[test]
fn every_key_is_on_the_formats_page() {
    let tree: yaml_serde::Value = yaml_serde::from_str(WHOLE).expect("YAML");
    let mut missing = Vec::new();
    keys(&tree, &mut |key| {
        let free = ["naive", "fixed", "feed", "/b", "deep", "list", "a", "b", "sum", "ETag", "set-cookie"];
        let files = ["a/authz.rego", "a/data.json", "x"];
        let named = [
            "x-role",
            "X-User",
            "X-Who",
            "x-who",
            "x-a",
            "x-b",
            "source.address",
            "/c",
            "POST",
            "*",
            "a.B/C",
        ];
        if !free.contains(&key)
            && !files.contains(&key)
            && !named.contains(&key)
            && !PAGE.contains(&format!("`{key}`"))
        {
            missing.push(key.to_owned());
        }
    });
    assert!(missing.is_empty(), "{missing:?}");
}

fn keys(tree: &yaml_serde::Value, seen: &mut impl FnMut(&str)) {
    if let Some(mapping) = tree.as_mapping() {
        for (key, value) in mapping {
            seen(key.as_str().unwrap_or_default());
            keys(value, seen);
        }
    }
    for value in tree.as_sequence().into_iter().flatten() {
        keys(value, seen);
    }
}

#[test]
fn the_default_scenario_is_on_the_formats_page() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/race/scenario/default.yaml");
    let default = fs::read_to_string(file).expect("the file is read");
    assert!(PAGE.contains(default.trim_end()), "copy {default} into SCENARIOS.md");
}
