//! The example policies' own tests: every `test_` rule of every `*_test.rego` holds in the engine that the filter uses.

use std::{
    fs,
    path::{Path, PathBuf},
};

use portcullis_tests::root;
use regorus::{Engine, Value};

#[test]
fn every_test_rule_of_the_example_policies_holds() {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(false);
    for path in files(&root().join("policies"), "rego") {
        engine.add_policy_from_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    for path in files(&root().join("bundles"), "json") {
        engine.add_data(Value::from_json_file(&path).unwrap()).unwrap();
    }
    let mut ran = 0;
    for rule in test_rules(&engine) {
        ran += 1;
        let value = engine.eval_rule(rule.clone()).unwrap_or_else(|error| panic!("{rule}: {error}"));
        assert_eq!(value, Value::from(true), "{rule}");
    }
    assert!(ran >= 40, "only {ran} test rules were found");
}

fn test_rules(engine: &Engine) -> Vec<String> {
    let mut rules = Vec::new();
    for source in engine.get_policies().unwrap() {
        let text = source.get_contents();
        let package = text.lines().find_map(|line| line.strip_prefix("package ")).unwrap_or_default();
        let heads = text.lines().filter(|line| line.starts_with("test_"));
        rules.extend(
            heads.filter_map(|line| Some(format!("data.{package}.{}", line.split([' ', ':']).next()?))),
        );
    }
    rules
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
