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
        // The order of a union says nothing.
        if let Some(of) = object.get_mut("of").and_then(|of| of.as_array_mut()) {
            of.sort_by_key(|kind| kind.to_string());
        }
    } else if let Some(array) = value.as_array_mut() {
        array.iter_mut().for_each(without_words);
    }
}

#[test]
fn the_table_has_every_name_of_opa_once_with_its_types() {
    let capabilities: serde_json::Value = serde_json::from_str(CAPABILITIES).unwrap();
    let theirs = capabilities["builtins"].as_array().unwrap();
    assert_eq!(all().count(), theirs.len());
    let mut wrong = Vec::new();
    for entry in theirs {
        let name = entry["name"].as_str().unwrap();
        let ours = find(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        let mut decl = entry["decl"].clone();
        without_words(&mut decl);
        let mut args: serde_json::Value = ours.args.iter().map(describe).collect();
        without_words(&mut args);
        let mut result = describe(&ours.result);
        without_words(&mut result);
        let flag = |key: &str| entry[key].as_bool().unwrap_or(false);
        let same = ours.deprecated == flag("deprecated")
            && ours.nondeterministic == flag("nondeterministic")
            && matches!(ours.run, Run::Relation) == flag("relation")
            && ours.variadic == decl.get("variadic").is_some()
            && args == decl.get("args").cloned().unwrap_or(serde_json::json!([]))
            && decl.get("result").is_none_or(|theirs| *theirs == result);
        if !same {
            wrong.push(format!("{name}: {ours:?}\n    OPA {decl}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
        keys: &mut KeyCache::new(),
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
        // Read and written again: the same text may be escaped in more than one way.
        let wanted = expected.as_ref().map(|text| term(text).to_rego());
        if got != Ok(wanted) {
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
    tables.retain(|table| table.extension().is_some_and(|kind| kind == "jsonl"));
    tables.sort();
    for table in tables.iter().filter(|table| table.to_string_lossy().contains(&only)) {
        check_table(&table.to_string_lossy());
    }
}

/// Terms of every type and shape, and such as are meant to hurt.
fn hostile() -> Vec<Value> {
    let deep = |open: &str, inner: &str, close: &str, depth: usize| {
        let text = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
        Value::from_json(text.as_bytes(), &mut Budget::unlimited()).unwrap()
    };
    let mut values: Vec<Value> = [
        "null",
        "true",
        "0",
        "-0",
        "1",
        "-1",
        "1.5",
        "63",
        "64",
        "1000001",
        "65537",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "1e1",
        "1e400",
        "1e-400",
        "1e19999",
        "1e999999999",
        "-1e999999999999999999999",
        "1e-999999999",
        "0x1p1023",
        "1_0",
        "[]",
        "{}",
        "set()",
        "[1, \"a\"]",
        "[\"\", \"a\"]",
        "{\"a\": 1}",
        "{1, \"x\"}",
        "[[1, 2], [\"a\", {\"b\"}]]",
        "{{1}, {2}}",
        "{\"a\": [\"b\", \"a\"], \"b\": [\"a\", \"b\"]}",
        "[0, \"UTC\", \"2006\"]",
        "[0, \"Europe/Berlin\"]",
        "[{\"op\": \"copy\", \"from\": \"\", \"path\": \"/a\"}]",
        "[{\"op\": \"remove\", \"path\": \"\"}]",
        "{\"op\": \"add\"}",
        "{[1]: {\"x\"}}",
        "[1, 1.0, 1e0]",
    ]
    .map(term)
    .to_vec();
    let strings: &[&str] = &[
        "",
        "a",
        "A",
        "é",
        "漢",
        "\u{1F600}",
        "\u{0}",
        "a.b.c",
        "*",
        "**",
        "?",
        "[",
        "]",
        "{",
        "}",
        "[a-z]",
        "(",
        ")",
        "(a*)*",
        "(a|a)*$",
        "a{1000}",
        "((a{100}){10}){10}",
        "\\",
        "\\Q",
        "^$",
        "%",
        "%d",
        "%s%v%q",
        "%999999999d",
        "%*d",
        "%.*f",
        "%[9]d",
        "%[",
        "1",
        "-1",
        "1.5",
        "1e5",
        "0x10",
        "1e999999",
        "1Ki",
        "1m",
        "10.0.0.0/8",
        "::/0",
        "0.0.0.0/0",
        "::ffff:1.2.3.4",
        "2006-01-02",
        "2006-01-02T15:04:05Z",
        "RFC3339",
        "1h",
        "1d",
        "106751d",
        "{\"a\": [1, {\"b\": null}]}",
        "[1,",
        "{\"a\":}",
        "a: [b, {c: d}]\n- x",
        "&a [*a, *a]",
        "- - - -\n",
        "|",
        "? a\n: b",
        "YWJj",
        "YWJ",
        "61",
        "%61+b=c&d;e",
        "1.0.0-1",
        "1.0.0-01",
        "v1.2.3+x",
        "Europe/Berlin",
        "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "http://u:p@h:1/p?q#f",
        "{{.a}}",
        "/a/b",
        "~1",
        "$1",
        "${a}",
        "<<: 1",
        "e30.e30.",
        "eyJhbGciOiJIUzI1NiJ9.e30.AA",
        "eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.e30.AAAA",
        "eyJjdHkiOiJKV1QifQ.ZTMwLmUzMC4.",
        "..",
        "{\"kty\":\"oct\",\"k\":\"AA\"}",
        "{\"kty\":\"RSA\",\"n\":\"_w\",\"e\":\"Aw\"}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"\",\"y\":\"\"}]}",
        "{\"alg\":\"HS256\"}",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----",
        "-----BEGIN \n-----END :\n-----END ",
        "MIAwgDCAMIA=",
        "MIT/////",
    ];
    values.extend(strings.iter().map(|text| Value::from(*text)));
    values.push(Value::from(b"\xff\xfe\xe2\x82a".as_slice()));
    for unit in
        ["a", "é", "*", "a*", "[", "{", "(", "ab,", "%", "\\", "\n", "0", "1.", "- ", "/", "<", "\u{ff}"]
    {
        values.push(Value::from(unit.repeat(20_000)));
    }
    values.extend(tokens_and_keys());
    values.push(Value::from("[".repeat(100_000)));
    values.push(Value::from(format!("{}{}", "[".repeat(600), "]".repeat(600))));
    values.push(Value::from(format!("{}1{}", "{a: ".repeat(600), "}".repeat(600))));
    values.push(deep("[", "1", "]", 511));
    values.push(deep("{\"a\":", "1", "}", 511));
    values.push(Value::array((0..5_000).map(Value::from).collect()).unwrap());
    values.push(Value::array((0..2_000).map(|i| Value::from(format!("key{i}"))).collect()).unwrap());
    values.push(Value::set((0..5_000).map(|i| Value::from(i % 4_000)).collect()).unwrap());
    let complete =
        (0..40).map(|i: i64| (Value::from(i), Value::array((0..40).map(Value::from).collect()).unwrap()));
    values.push(Value::object(complete.collect()).unwrap());
    // A key whose text doubles with each level.
    let mut key = Value::object(vec![(Value::from(1), Value::from(1))]).unwrap();
    for _ in 0..100 {
        key = Value::object(vec![(key, Value::from(1))]).unwrap();
    }
    values.push(key);
    // A document that doubles with each level, in little memory.
    let mut shared = Value::from("x".repeat(1_000));
    for _ in 0..100 {
        shared = Value::array(vec![shared.clone(), shared]).unwrap();
    }
    values.push(shared);
    values
}

/// Tokens, keys and certificates of the tables, some of them bent.
fn tokens_and_keys() -> Vec<Value> {
    let tables = [
        include_str!("../../tests/data/calls/tokens_signatures.jsonl"),
        include_str!("../../tests/data/calls/tokens_keys.jsonl"),
        include_str!("../../tests/data/calls/crypto_certificates.jsonl"),
        include_str!("../../tests/data/calls/crypto_chains.jsonl"),
    ];
    let mut values = Vec::new();
    for table in tables {
        for line in table.lines().step_by(97) {
            let (_, args, _): (String, Vec<String>, Option<String>) = serde_json::from_str(line).unwrap();
            for arg in args {
                let value = term(&arg);
                if let Some(bytes) = value.as_bytes() {
                    values.push(Value::from(
                        [&bytes[..bytes.len() / 2], b"A", &bytes[bytes.len() / 2..]].concat(),
                    ));
                    values.push(Value::object(vec![(Value::from("cert"), value.clone())]).unwrap());
                }
                values.push(value);
            }
        }
    }
    let key = r#"{"kty":"EC","crv":"P-521","x":"AMaFjga3BATpzZ4-y2YjlbRCnGSBOQU_tSH4KK9ga009uqFLXnfv51ko_h3BJ6L_qN4zSLPBhWpCm_l-fjHC5b1m","y":"ARg5KWp4mjvAMGRWyp4fWjBgEwzuiB7eRjkTcmUgFLTB6-JGvyQmD0pF3GCk7uDXX0yE4_gsd1sPVwPTvKAMcOcG"}"#;
    values.push(Value::from(format!(r#"{{"keys":[{}]}}"#, vec![key; 33].join(","))));
    values.push(Value::from(format!(r#"{{"kty":"RSA","e":"f____w","n":"{}"}}"#, "_".repeat(1_364))));
    values
}

/// Every function with every argument, alone and in pairs: it ends within its budget, and never panics.
#[test]
fn no_argument_breaks_a_function_or_its_bounds() {
    // Half of the stack of a worker; without the optimiser a frame is many times as large.
    let size = if cfg!(debug_assertions) { 8 * 1024 * 1024 } else { 256 * 1024 };
    std::thread::Builder::new().stack_size(size).spawn(call_everything).unwrap().join().unwrap();
}

fn call_everything() {
    const STEPS: u64 = 2_000_000;
    const BYTES: u64 = 8_000_000;
    let values = hostile();
    let runtime = Value::object(Vec::new()).unwrap();
    let mut slowest = (std::time::Duration::ZERO, String::new());
    // A small machine of numbers that are as good as random.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut pick = |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % most as u64) as usize
    };
    let mut calls = 0;
    let (mut patterns, mut keys) = (PatternCache::new(), KeyCache::new());
    for builtin in all() {
        let Run::Function(_) = builtin.run else { continue };
        let rounds = match builtin.args.len() {
            0 => 1,
            1 => values.len(),
            n => values.len() * 4 * n,
        };
        if std::env::var_os("SHOW").is_some() {
            eprintln!("{}", builtin.name);
        }
        for round in 0..rounds {
            let args: Vec<Value> = (0..builtin.args.len())
                .map(|_| values[if builtin.args.len() == 1 { round } else { pick(values.len()) }].clone())
                .collect();
            let mut budget = Budget::new(STEPS, BYTES);
            let mut call = Call {
                budget: &mut budget,
                now_ns: i64::MIN,
                seed: [0, 0],
                runtime: &runtime,
                patterns: &mut patterns,
                keys: &mut keys,
                printed: None,
            };
            let start = std::time::Instant::now();
            let _ = super::call(builtin.name, &args, &mut call);
            calls += 1;
            let took = start.elapsed();
            if took > slowest.0 {
                let shown: Vec<_> = args
                    .iter()
                    .map(|arg| {
                        let mut text = Vec::new();
                        let _ = arg.write_rego(&mut text, &mut Budget::new(10_000, 60));
                        String::from_utf8_lossy(&text).chars().take(60).collect::<String>()
                    })
                    .collect();
                slowest = (took, format!("{}({})", builtin.name, shown.join(", ")));
            }
        }
    }
    println!("{calls} calls, the slowest {slowest:?}");
    assert!(calls > 20_000);
}
