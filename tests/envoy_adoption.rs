//! Two hundred bundles and a large one arrive in a real Envoy that is under load: nobody's answer is wrong, and how long
//! requests wait is told.
//!
//! `PORTCULLIS_ROUNDS=5 cargo test --release -p portcullis-tests --test envoy_adoption -- --nocapture` gives the figures
//! of BENCHMARKS.md.

use host_harness::{
    archive::Archive,
    servers::{Fault, client::Connection},
    storm::Storm,
};
use portcullis_tests::{
    envoy::{BOUND, Gate, GateOptions},
    fleet::ask,
    swaps::{LoadOptions, Swaps, answer_in_place},
};
use serde_json::{Map, Value, json};

const BUNDLES: usize = 200;
const BIG: &str = "/big.tar.gz";
/// What the large bundle's data are in JSON.
const BIG_BYTES: usize = 10 * 1024 * 1024;
/// Few, so that a pause is the worker's and not that of other requests.
const LOAD: LoadOptions = LoadOptions { connections: 2, faults: false };

#[test]
fn two_hundred_bundles_and_a_large_one_are_adopted_under_load() {
    let rounds = std::env::var("PORTCULLIS_ROUNDS").ok();
    let rounds = rounds.map_or(1, |text| text.parse().expect("PORTCULLIS_ROUNDS is a number of rounds"));
    for _ in 0..rounds {
        // Only the small ones, only the large one, and all of them.
        for (small, big) in [(BUNDLES, false), (0, true), (BUNDLES, true)] {
            adopt(small, big);
        }
    }
}

fn adopt(small: usize, big: bool) {
    let (swaps, storm) = (Swaps::start(1), Storm::new(small, 1));
    storm.publish(&swaps.server, 1);
    swaps.server.publish(BIG, big_archive());
    let arriving: Vec<String> =
        storm.bundles().iter().map(|bundle| bundle.path()).chain(big.then(|| BIG.to_owned())).collect();
    for path in &arriving {
        swaps.server.fault(path, Fault::HangUntilReleased);
    }
    let mut policies = swaps.names();
    policies.push("big".to_owned());
    let options = GateOptions { policies, amend: Some(Box::new(answer_in_place)), ..GateOptions::default() };
    let gate = Gate::start(&document(&swaps, &storm, big).to_string(), &options);
    gate.wait_for_counter("portcullis_policies_compiled", 2);
    assert!(swaps.server.wait_until(BOUND, |traffic| traffic.in_flight >= arriving.len()));

    let with = swaps.load_while(gate.addr(), LOAD, || {
        for path in &arriving {
            swaps.server.clear_fault(path);
            swaps.server.release(path);
        }
        // In the worker and in Envoy's main thread.
        gate.wait_for_counter("portcullis_policies_compiled", 2 * (1 + arriving.len()) as u64);
    });
    let without = swaps.load_of(gate.addr(), LOAD, with.requests());
    println!(
        "{small} small bundles and {} large: longest pause {} us, p99 {} us in {} requests; without {} us, p99 {} us",
        usize::from(big),
        with.longest_pause_us,
        with.percentile_us(0.99),
        with.requests(),
        without.longest_pause_us,
        without.percentile_us(0.99),
    );
    if big {
        let mut connection = Connection::open(gate.addr()).expect("Envoy takes connections");
        assert_eq!(ask(&mut connection, "big", "GET", "/key-00077").status, 200);
        assert_eq!(ask(&mut connection, "big", "GET", "/key-none").status, 403);
    }
}

fn document(swaps: &Swaps, storm: &Storm, big: bool) -> Value {
    let mut document = swaps.document();
    let url = swaps.server.url("");
    let arriving = storm.document(url.trim_end_matches('/'));
    for part in ["/services", "/bundles", "/portcullis/policies"] {
        let more = arriving.pointer(part).and_then(Value::as_object).cloned().unwrap_or_default();
        object(&mut document, part).extend(more);
    }
    // All of them hang at once, and none runs out of time while Envoy starts.
    document["portcullis"]["max_concurrent_downloads"] = json!(256);
    document["services"]["storm"]["response_header_timeout_seconds"] = json!(120);
    if big {
        let bundle = json!({ "service": "storm", "resource": BIG.trim_start_matches('/') });
        object(&mut document, "/bundles").insert("big".to_owned(), bundle);
        let policy = json!({ "bundles": ["big"], "decision": "big/allow" });
        object(&mut document, "/portcullis/policies").insert("big".to_owned(), policy);
    }
    document
}

fn object<'a>(document: &'a mut Value, pointer: &str) -> &'a mut Map<String, Value> {
    document.pointer_mut(pointer).and_then(Value::as_object_mut).expect("the document has it")
}

/// Data of many objects, as directories of users have them, and a policy that looks one up.
fn big_archive() -> Vec<u8> {
    let (mut users, mut size) = (Map::new(), 0);
    while size < BIG_BYTES {
        let name = format!("key-{:05}", users.len());
        let user = json!({ "roles": ["reader", "writer"], "team": "payments", "id": users.len() });
        size += name.len() + user.to_string().len() + 4;
        users.insert(name, user);
    }
    Archive::new()
        .file(".manifest", r#"{"roots": ["big"]}"#)
        .file(
            "big/main.rego",
            "package big\n\ndefault allow := false\n\nallow if data.big.users[input.parsed_path[0]]\n",
        )
        .file("big/users/data.json", Value::Object(users).to_string())
        .build()
}
