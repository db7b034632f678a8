//! The example policies' own tests: every `test_` rule of every `*_test.rego` holds in the engine that the filter uses.

use std::{
    fs,
    path::{Path, PathBuf},
};

use portcullis_rego::{Compiler, Limits, Options, Outside, Value, Version, builtins::Budget};
use portcullis_tests::root;

#[test]
fn every_test_rule_of_the_example_policies_holds() {
    let mut compiler = Compiler::new(Options::default());
    let mut tests = Vec::new();
    for path in files(&root().join("policies"), "rego") {
        let text = fs::read_to_string(&path).unwrap();
        compiler.module(&path.display().to_string(), &text, Version::V1);
        tests.extend(test_rules(&text));
    }
    let mut data = serde_json::Map::new();
    for path in files(&root().join("bundles"), "json") {
        let document: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        merge(&mut data, document.as_object().unwrap().clone());
    }
    let data = serde_json::to_vec(&data).unwrap();
    compiler.data(Value::from_json(&data, &mut Budget::unlimited()).unwrap());
    let policy = compiler.finish().unwrap_or_else(|errors| panic!("{errors}"));
    for rule in &tests {
        let entry = policy.query(rule).unwrap();
        let value = policy.evaluate(&entry, None, &Limits::default(), &Outside::default());
        assert_eq!(value, Ok(Some(Value::from(true))), "{rule}");
    }
    assert!(tests.len() >= 40, "only {} test rules were found", tests.len());
}

fn merge(
    data: &mut serde_json::Map<String, serde_json::Value>,
    more: serde_json::Map<String, serde_json::Value>,
) {
    for (key, value) in more {
        match (data.get_mut(&key), value) {
            (Some(serde_json::Value::Object(there)), serde_json::Value::Object(value)) => merge(there, value),
            (_, value) => drop(data.insert(key, value)),
        }
    }
}

fn test_rules(text: &str) -> Vec<String> {
    let package = text.lines().find_map(|line| line.strip_prefix("package ")).unwrap_or_default();
    let heads = text.lines().filter(|line| line.starts_with("test_"));
    heads.filter_map(|line| Some(format!("data.{package}.{}", line.split([' ', ':']).next()?))).collect()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}
