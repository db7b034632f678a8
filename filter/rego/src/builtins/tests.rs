//! The table against OPA's capabilities, and every call against what the real `opa` answered.

use super::*;
use crate::value::terms::term;

/// `opa capabilities --current` of 1.20.2.
const CAPABILITIES: &str = include_str!("../../tests/data/capabilities.json");

fn describe(kind: &Type) -> serde_json::Value {
    use serde_json::json;
    match kind {
        Type::Any => json!({"type": "any"}),
        Type::Null => json!({"type": "null"}),
        Type::Boolean => json!({"type": "boolean"}),
        Type::Number => json!({"type": "number"}),
        Type::String => json!({"type": "string"}),
        Type::Union(of) => json!({"type": "any", "of": of.iter().map(describe).collect::<Vec<_>>()}),
        Type::Set(of) => json!({"type": "set", "of": describe(of)}),
        Type::Array(fixed, rest) => {
            let mut out = json!({"type": "array"});
            if !fixed.is_empty() {
                out["static"] = fixed.iter().map(describe).collect();
            }
            if let Some(rest) = rest {
                out["dynamic"] = describe(rest);
            }
            out
        }
        Type::Object(fixed, rest) => {
            let mut out = json!({"type": "object"});
            if !fixed.is_empty() {
                let field = |f: &Field| json!({"key": f.key, "value": describe(&f.value)});
                out["static"] = fixed.iter().map(field).collect();
            }
            if let Some((key, value)) = rest {
                out["dynamic"] = json!({"key": describe(key), "value": describe(value)});
            }
            out
        }
    }
}

fn without_words(value: &mut serde_json::Value) {
    if let Some(object) = value.as_object_mut() {
        object.remove("description");
        object.remove("name");
        object.values_mut().for_each(without_words);
    } else if let Some(array) = value.as_array_mut() {
        array.iter_mut().for_each(without_words);
    }
}

#[test]
fn the_table_has_every_name_of_opa_once_with_its_types() {
    let capabilities: serde_json::Value = serde_json::from_str(CAPABILITIES).unwrap();
    let theirs = capabilities["builtins"].as_array().unwrap();
    assert_eq!(all().count(), theirs.len());
    for entry in theirs {
        let name = entry["name"].as_str().unwrap();
        let ours = find(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        let flag = |key: &str| entry[key].as_bool().unwrap_or(false);
        assert_eq!(ours.deprecated, flag("deprecated"), "{name}");
        assert_eq!(ours.nondeterministic, flag("nondeterministic"), "{name}");
        assert_eq!(matches!(ours.run, Run::Relation), flag("relation"), "{name}");
        let mut decl = entry["decl"].clone();
        without_words(&mut decl);
        assert_eq!(ours.variadic, decl.get("variadic").is_some(), "{name}");
        let args: serde_json::Value = ours.args.iter().map(describe).collect();
        assert_eq!(args, decl.get("args").cloned().unwrap_or(serde_json::json!([])), "{name}");
        if let Some(result) = decl.get("result") {
            assert_eq!(&describe(&ours.result), result, "{name}");
        }
    }
}

/// Calls `name` with arguments written as terms, with so much to spend.
fn answer(name: &str, args: &[&str], steps: u64, bytes: u64) -> Result<Value, Fault> {
    let args: Vec<Value> = args.iter().map(|text| term(text)).collect();
    let mut budget = Budget::new(steps, bytes);
    let mut patterns = PatternCache::new();
    let runtime = Value::object(Vec::new()).unwrap();
    let mut call = Call {
        budget: &mut budget,
        now_ns: 1_700_000_000_123_456_789,
        seed: [1, 2],
        runtime: &runtime,
        patterns: &mut patterns,
        printed: None,
    };
    super::call(name, &args, &mut call)
}

/// A line of a table: name, arguments, and the answer of OPA 1.20.2 as terms, `null` where it is undefined.
fn check_table(file: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    let (mut wrong, mut missing, mut lines) = (Vec::new(), std::collections::BTreeSet::new(), 0);
    for line in text.lines() {
        let (name, args, expected): (String, Vec<String>, Option<String>) =
            serde_json::from_str(line).unwrap();
        if let Some(Run::Missing(_)) = find(&name).map(|b| b.run) {
            missing.insert(name);
            continue;
        }
        lines += 1;
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let got = match answer(&name, &args, 1_000_000_000, 1_000_000_000) {
            Ok(value) => Ok(Some(value.to_rego())),
            Err(Fault::Undefined(_)) => Ok(None),
            Err(fault) => Err(fault),
        };
        if got != Ok(expected.clone()) {
            wrong.push(format!("{name}({}): {got:?}, OPA {expected:?}", args.join(", ")));
        }
    }
    let shown: Vec<_> = wrong.iter().take(40).cloned().collect();
    assert!(wrong.is_empty(), "{file}: {} of {lines} differ:\n{}", wrong.len(), shown.join("\n"));
    assert!(missing.is_empty(), "{file}: not in the table: {missing:?}");
}

/// Every table, or those whose name contains `TABLE`.
#[test]
fn every_call_answers_as_opa_does() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/calls");
    let only = std::env::var("TABLE").unwrap_or_default();
    let mut tables: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    tables.sort();
    for table in tables.iter().filter(|table| table.to_string_lossy().contains(&only)) {
        check_table(&table.to_string_lossy());
    }
}
