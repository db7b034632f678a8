//! Two hundred bundles and a large one arrive in a real Envoy that is under load: nobody's answer is wrong, and how long
//! requests wait is told, beside how long they do while as many bytes arrive that nobody can adopt.
//!
//! `PORTCULLIS_ROUNDS=5 cargo test --release -p portcullis-tests --test envoy_adoption -- --nocapture` gives the figures
//! of BENCHMARKS.md.

use host_harness::{
    archive::Archive,
    servers::{Fault, Traffic, client::Connection},
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
    // Only the small ones, only the large one, and all of them.
    for (small, big) in [(BUNDLES, false), (0, true), (BUNDLES, true)] {
        let longest: Vec<[u32; 3]> = (0..rounds).map(|_| adopt(small, big)).collect();
        let [adopted, spoilt, without] = [0, 1, 2].map(|which| {
            let mut pauses: Vec<u32> = longest.iter().map(|pauses| pauses[which]).collect();
            pauses.sort_unstable();
            pauses.get(rounds / 2).copied().unwrap_or_default()
        });
        println!(
            "{small} small bundles and {} large: median of longest pauses {adopted} us; when they cannot be adopted \
             {spoilt} us; without them {without} us",
            usize::from(big),
        );
    }
}

/// The longest pause while they are adopted, while as much arrives that cannot be, and without them.
fn adopt(small: usize, big: bool) -> [u32; 3] {
    let (swaps, storm) = (Swaps::start(1), Storm::new(small, 1));
    let mut arriving: Vec<(String, Vec<u8>)> =
        storm.bundles().iter().map(|bundle| (bundle.path(), bundle.archive(1).build())).collect();
    arriving.extend(big.then(|| (BIG.to_owned(), big_archive())));
    for (path, archive) in &arriving {
        swaps.server.publish(path, spoilt(archive));
        swaps.server.fault(path, Fault::HangUntilReleased);
    }
    let mut policies = swaps.names();
    policies.push("big".to_owned());
    let options = GateOptions { policies, amend: Some(Box::new(answer_in_place)), ..GateOptions::default() };
    let gate = Gate::start(&document(&swaps, &storm, big).to_string(), &options);
    gate.wait_for_counter("portcullis_policies_compiled", 2);
    assert!(swaps.server.wait_until(BOUND, |traffic| traffic.in_flight >= arriving.len()));

    // What a request gets is decided when it comes: those that hang get what is spoilt, and the next ones what is whole.
    for (path, archive) in &arriving {
        swaps.server.publish(path, archive.clone());
    }
    let spoilt = swaps.load_while(gate.addr(), LOAD, || {
        let before = swaps.server.traffic().requests.len();
        for (path, _) in &arriving {
            swaps.server.release(path);
        }
        let have_come_again = |traffic: &Traffic| {
            traffic.requests.len() >= before + arriving.len() && traffic.in_flight >= arriving.len()
        };
        assert!(swaps.server.wait_until(BOUND, have_come_again));
    });
    let with = swaps.load_while(gate.addr(), LOAD, || {
        for (path, _) in &arriving {
            swaps.server.clear_fault(path);
            swaps.server.release(path);
        }
        // In the worker and in Envoy's main thread.
        gate.wait_for_counter("portcullis_policies_compiled", 2 * (1 + arriving.len()) as u64);
    });
    let without = swaps.load_of(gate.addr(), LOAD, with.requests());
    println!(
        "  longest pause {} us, p99 {} us in {} requests; when they cannot be adopted {} us, p99 {} us; without them \
         {} us, p99 {} us",
        with.longest_pause_us,
        with.percentile_us(0.99),
        with.requests(),
        spoilt.longest_pause_us,
        spoilt.percentile_us(0.99),
        without.longest_pause_us,
        without.percentile_us(0.99),
    );
    if big {
        let mut connection = Connection::open(gate.addr()).expect("Envoy takes connections");
        assert_eq!(ask(&mut connection, "big", "GET", "/key-00077").status, 200);
        assert_eq!(ask(&mut connection, "big", "GET", "/key-none").status, 403);
    }
    [with, spoilt, without].map(|seen| seen.longest_pause_us)
}

/// As many bytes, of which the first says already that they are no archive.
fn spoilt(archive: &[u8]) -> Vec<u8> {
    let mut spoilt = archive.to_vec();
    spoilt[0] = 0;
    spoilt
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
