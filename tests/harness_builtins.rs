//! Every builtin with arguments that hurt, asked by requests of the built module: none ends the VM, and none takes more
//! instructions than a bounded time has.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use host_harness::{
    archive::Archive,
    envoy::{Envoy, EnvoyOptions, LogLine, Request},
    world::{Reply, Scripted},
};
use portcullis_rego::builtins::{self, Builtin, Run};
use portcullis_tests::{harness::module, table::BUNDLE_CLUSTER};
use serde_json::{Value, json};

/// What one callback may take. An evaluation ends after `evaluation_steps`, and a step is no more than 300 instructions.
const MOST_INSTRUCTIONS: u64 = 5_000_000 * 300;

#[test]
fn no_builtin_ends_or_holds_the_vm_whatever_a_request_gives_it() {
    let pool = pool();
    let mut envoy = start(&pool);
    let mut outcomes: BTreeMap<u16, usize> = BTreeMap::new();
    let mut faults = BTreeSet::new();
    for Builtin { name, args, .. } in callable() {
        for args in arguments_of(args.len(), pool.len()) {
            let request = Request::get("/").header("x-builtin", name).header("x-args", args.join(","));
            let status = envoy.exchange(0, request).status;
            *outcomes.entry(status).or_default() += 1;
            if ![200, 403, 500].contains(&status) {
                let now = envoy.now();
                let failed = |line: &&LogLine| line.at == now && line.message.contains("failed");
                let last = envoy.logs().iter().rev().find(failed);
                faults.insert(format!(
                    "{name}({}) {status} {:?}",
                    args.join(", "),
                    last.map(|line| &line.message)
                ));
                envoy.run_for(Duration::from_secs(5));
            }
        }
    }
    println!("{outcomes:?}");
    assert!(faults.is_empty(), "{faults:#?}");
    let loads: Vec<u32> = envoy.vms().iter().map(|vm| vm.loads).collect();
    assert!(loads.iter().all(|loads| *loads == 1), "{loads:?}");
    assert!(outcomes.get(&200).is_some_and(|answers| *answers > 1000), "{outcomes:?}");
}

#[test]
fn indexes_beyond_32_bits_mean_what_they_say_where_addresses_have_32() {
    let text = r#"package main

allow := {"allowed": true, "headers": {"x-seen": json.marshal([
	substring("abc", 4294967296, 1),
	substring("abc", 1, 4294967297),
	array.slice([1, 2, 3], 0, 4294967297),
	array.slice([1, 2, 3], 4294967297, 4294967299),
	regex.find_n("a", "aaa", 4294967298),
])}}
"#;
    let exchange = load(Archive::new().file("main.rego", text)).exchange(0, Request::get("/"));
    let upstream = exchange.upstream_request.expect("it is allowed");
    let seen = upstream.headers.iter().find(|(name, _)| name == b"x-seen").map(|(_, value)| value.as_slice());
    assert_eq!(seen.map(String::from_utf8_lossy).as_deref(), Some(r#"["","bc",[1,2,3],[],["a","a","a"]]"#));
}

/// What a policy can call, and is answered.
fn callable() -> impl Iterator<Item = &'static Builtin> {
    builtins::all().filter(|builtin| {
        let is_there = matches!(builtin.run, Run::Function(_) | Run::Relation);
        is_there && !builtin.deprecated && !builtin.variadic && !builtin.name.starts_with("internal.")
    })
}

/// Each of the pool in each place, beside one of the others.
fn arguments_of(arguments: usize, pool: usize) -> Vec<Vec<String>> {
    let special = ["shared", "deep"].map(str::to_owned).into_iter();
    let sets = (FIRST_LIST..pool).map(|index| format!("s{index}"));
    let all: Vec<String> = (0..pool).map(|index| index.to_string()).chain(special).chain(sets).collect();
    if arguments == 0 {
        return vec![vec!["0".to_owned()]];
    }
    let mut calls = Vec::new();
    for place in 0..arguments {
        for (index, value) in all.iter().enumerate() {
            let beside = |other: usize| all[(index * 7 + other * 13) % all.len()].clone();
            let same = vec![value.clone(); arguments];
            let mut mixed: Vec<String> = (0..arguments).map(beside).collect();
            mixed[place] = value.clone();
            calls.push(mixed);
            if place == 0 && arguments > 1 {
                calls.push(same);
            }
        }
    }
    calls
}

/// From here on the pool has lists, which are also given as sets.
const FIRST_LIST: usize = 57;

fn pool() -> Vec<Value> {
    let long = "a".repeat(64 << 10);
    let texts = [
        String::new(),
        "a".to_owned(),
        "{".to_owned(),
        "}".to_owned(),
        "/".to_owned(),
        "é".to_owned(),
        long.clone(),
        "é".repeat(28_000),
        ",".repeat(28_000),
        "a&".repeat(14_000),
        "{".repeat(5_000),
        "[".repeat(28_000),
        "(".repeat(1_000),
        format!("{}a{}", "(".repeat(249), ")".repeat(249)),
        "a|".repeat(2_000),
        "{a,".repeat(30) + &"}".repeat(30),
        "(a|b){1000}{1000}".to_owned(),
        "(?i)".to_owned() + &r"\p{L}".repeat(50),
        "(?:.*;|[a-z])".to_owned(),
        "(a*)*b".to_owned(),
        "users/{.*}/x".to_owned(),
        "a/".repeat(14_000),
        "1é".to_owned(),
        "1.".to_owned(),
        "%½d".to_owned(),
        "%1²d %٣d".to_owned(),
        "%4294967295d%.99999f%08s%q%+v%T".to_owned(),
        "%4000d".repeat(5_000),
        "1e2000000000".to_owned(),
        "1e1_0000000".to_owned(),
        "-1e-2000000000Ki".to_owned(),
        "9".repeat(60_000),
        "{\"$serde_json::private::Number\": \"1e2000000000\"}".to_owned(),
        format!("a: &a [{}]\nb: &b [{}]\nc: [{}]\n", "x,".repeat(99), "*a,".repeat(99), "*b,".repeat(99)),
        "10.0.0.0/0".to_owned(),
        "::/0".to_owned(),
        "00000000-0000-1000-8000-000000000000".to_owned(),
        "Mon Jan _2 __2 002 .000000000 ,999 -07:00:00 Z07:00 J 0 MST é".to_owned(),
        "2006-01-02T15:04:05.999999999Z07:00".to_owned(),
        "9223372036854775808ns9223372036854775808ns".to_owned(),
        "262143-12-31T23:59:60.999999999+23:59".to_owned(),
        "\0\u{10FFFF}%zz=+;&=".to_owned(),
    ];
    let mut pool: Vec<Value> = texts.map(Value::from).into();
    let numbers = "[0, 1, -1, 0.5, -0.5, 1e308, 5e-324, 4294967295, 4294967296, -9223372036854775808, 18446744073709551615]";
    pool.extend(serde_json::from_str::<Vec<Value>>(numbers).expect("JSON"));
    // As a set it would keep the engine busy before any builtin is called.
    pool.extend([json!(null), json!(true), json!({}), json!((0..100_000).collect::<Vec<u32>>())]);
    assert_eq!(pool.len(), FIRST_LIST);
    let words: Vec<String> = (0..100).map(|index| format!("{}{index}", &long[..1_000])).collect();
    let nodes: Vec<String> = (0..24).map(|node| node.to_string()).collect();
    let complete: BTreeMap<&String, &Vec<String>> = nodes.iter().map(|node| (node, &nodes)).collect();
    let chain: BTreeMap<String, [String; 1]> =
        (0..5_000).map(|node| (format!("{node}"), [format!("{}", node + 1)])).collect();
    let copies = vec![json!({"op": "copy", "from": "", "path": "/a"}); 60];
    pool.extend([
        json!([]),
        json!([["a", "b"], [null, 0], "a/b"]),
        json!([0, "Local"]),
        json!([i64::MAX, "Asia/Tokyo", "Mon é __2 002 .000 J"]),
        json!([i64::MIN, "America/New_York", "RFC850"]),
        json!([0, "UTC", {"a": 1}]),
        json!(copies),
        json!(words),
        json!([complete, complete]),
        json!(nodes),
        json!(complete),
        json!(chain),
        json!({"indent": &long[..28_000], "prefix": &long[..28_000]}),
        json!({"a": {"b": [1, 2]}, "c": "d"}),
    ]);
    pool
}

fn policy() -> String {
    let mut text = r#"package main

headers := input.attributes.request.http.headers

allow := {"allowed": true, "headers": {"x-type": type_name(result)}} if result := answer(headers["x-builtin"], args)

args := [value(text) | some text in split(headers["x-args"], ",")]

value(text) := pool[to_number(text)] if not text in {"shared", "deep"}
value(text) := {element | some element in pool[to_number(substring(text, 1, -1))]} if {
	startswith(text, "s")
	text != "shared"
}
value("shared") := shared
value("deep") := deep

pool := data.main.given

"#
    .to_owned();
    // A value of 2^18 values that share each other, and one of 150 levels.
    let levels = [("shared", 18, "[v, v]".to_owned()), ("deep", 50, "[[[v]]]".to_owned())];
    for (name, count, wrapped) in levels {
        text += &format!("{name} := v{count} if {{\n\tv0 := [1]\n");
        for level in 1..=count {
            text += &format!("\tv{level} := {}\n", wrapped.replace('v', &format!("v{}", level - 1)));
        }
        text += "}\n\n";
    }
    for Builtin { name, args, run, .. } in callable() {
        if matches!(run, Run::Relation) {
            text += &format!("answer(\"{name}\", a) := [1 | {name}(a[0], _)]\n");
            continue;
        }
        let args: Vec<String> = (0..args.len()).map(|index| format!("a[{index}]")).collect();
        text += &format!(
            "answer(\"{name}\", {}) := [{name}({})]\n",
            if args.is_empty() { "_" } else { "a" },
            args.join(", ")
        );
    }
    text
}

fn start(pool: &[Value]) -> Envoy<Scripted> {
    let data = json!({ "given": pool }).to_string();
    let mut envoy = load(Archive::new().file("main.rego", policy()).file("main/data.json", data));
    let probe = Request::get("/").header("x-builtin", "abs").header("x-args", "43");
    let answered = envoy.exchange(0, probe);
    assert_eq!(answered.status, 200, "{:?}", envoy.logs());
    envoy
}

fn load(archive: Archive) -> Envoy<Scripted> {
    let configuration = json!({
        "services": { "hub": { "url": "http://bundles.test", "cluster": BUNDLE_CLUSTER } },
        "bundles": { "main": { "resource": "main.tar.gz" } },
        "portcullis": { "policies": { "main": { "bundles": ["main"], "decision": "main/allow" } } },
    });
    let archive = archive.file(".manifest", r#"{"roots": ["main"]}"#).build();
    let upstream = Reply::body("upstream");
    let mut world = Scripted::new().script("upstream", move |_, _| upstream.clone());
    world.set_reply(BUNDLE_CLUSTER, "/main.tar.gz", Reply::body(archive).after(Duration::from_millis(50)));
    let mut options = EnvoyOptions { concurrency: 1, ..EnvoyOptions::default() };
    options.plugin.configuration = configuration.to_string().into_bytes();
    options.limits.callback_fuel = Some(MOST_INSTRUCTIONS);
    let mut envoy = Envoy::start(module(), options, world).unwrap_or_else(|error| panic!("{error}"));
    envoy.run_for(Duration::from_secs(10));
    envoy
}
