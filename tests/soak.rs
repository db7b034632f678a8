//! Everything at once for a while in real Envoy, under load: swaps, bad bundles, a server that breaks off, VMs that trap
//! and configurations that are replaced. No answer may be wrong, every fault must show, and memory must stay.
//!
//! The long run is `PORTCULLIS_SOAK_SECONDS=600 cargo test --release -p portcullis-tests --test soak -- --nocapture`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use host_harness::servers::{Fault, client::Connection};
use portcullis_filter::config::Config;
use portcullis_tests::{
    envoy::{BOUND, Gate, GateOptions, manager, resident_kib},
    fleet::{HOOKS_MODULE, a_connection_to_each_worker, ask_and_trap},
    lds::write,
    swaps::{LoadOptions, Swaps, answer_in_place, exchange, judge},
};
use serde_json::{Value, json};

const WORKERS: u32 = 2;
const BUNDLES: usize = 10;
const LOAD: LoadOptions = LoadOptions { connections: 16, faults: true };
/// Rounds of the ordinary run.
const ORDINARY_ROUNDS: usize = 3;
/// Below this the allocators of Envoy and V8 have not seen everything yet, and growth says little.
const ROUNDS_TO_JUDGE_MEMORY: usize = 20;

/// An Envoy to which everything happens.
struct Soak {
    gate: Gate,
    workers: Vec<Connection>,
    filter: FilterFile,
    injected: Injected,
}

/// How often what was done.
#[derive(Debug, Default)]
struct Injected {
    swaps: usize,
    bad_bundles: usize,
    resets: usize,
    server_errors: usize,
    traps: usize,
    updates: usize,
}

/// The filter's configuration, in a file that Envoy watches.
struct FilterFile {
    folder: tempfile::TempDir,
    version: usize,
}

#[test]
fn whatever_happens_no_answer_is_wrong_and_every_fault_shows() {
    let swaps = Swaps::start(BUNDLES);
    let mut soak = Soak::start(&swaps);
    let wanted = std::env::var("PORTCULLIS_SOAK_SECONDS").ok().map(|text| {
        Duration::from_secs(text.parse().expect("PORTCULLIS_SOAK_SECONDS is a number of seconds"))
    });
    let addr = soak.gate.addr();
    let mut memory = Vec::new();
    let seen = swaps.load_while(addr, LOAD, || {
        let begin = Instant::now();
        while wanted.map_or(memory.len() < ORDINARY_ROUNDS, |wanted| begin.elapsed() < wanted) {
            soak.round(&swaps);
            memory.push(resident_kib(soak.gate.envoy.pid()));
        }
        soak.wait_until_all_are_newest(&swaps);
    });
    println!(
        "{} rounds: {:?}; {} answers, 503 by reason {:?}, {} reconnects, {} changes seen",
        memory.len(),
        soak.injected,
        seen.requests(),
        seen.unavailable,
        seen.reconnects,
        seen.changes
    );
    assert!(seen.changes > 0, "no connection saw a bundle change");
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or_default();
    let (first, second) = memory.split_at(memory.len() / 2);
    let (first, second) = (most(first), most(second));
    println!("Envoy holds at most {first} KiB in the first half and {second} KiB in the second");
    if memory.len() >= ROUNDS_TO_JUDGE_MEMORY {
        assert!(second * 10 <= first * 11, "Envoy's memory grows from {first} KiB to {second} KiB");
    }
}

// === impl Soak ===

impl Soak {
    fn start(swaps: &Swaps) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().to_path_buf();
        let options = GateOptions {
            concurrency: WORKERS,
            module: Some(HOOKS_MODULE.to_vec()),
            policies: swaps.names(),
            amend: Some(Box::new(move |bootstrap| {
                answer_in_place(bootstrap);
                take_filter_out(bootstrap, &path);
            })),
            ..GateOptions::default()
        };
        let mut document = swaps.document();
        // VMs are ended by requests of one policy, which must not be closed for it.
        document["portcullis"]["limits"]["vm_failures"] = json!(100);
        let document = document.to_string();
        let config = Config::parse(document.as_bytes()).expect("the configuration is good");
        let gate = Gate::start_with(&config, &document, &options);
        gate.wait_for_counter("portcullis_policies_compiled", u64::from(WORKERS + 1) * BUNDLES as u64);
        let workers = a_connection_to_each_worker(&gate, WORKERS as usize);
        let filter = FilterFile { folder, version: 1 };
        Self { gate, workers, filter, injected: Injected::default() }
    }

    /// Everything once; each fault is waited for until Envoy's counters tell of it.
    fn round(&mut self, swaps: &Swaps) {
        swaps.keep_swapping(BUNDLES);
        self.injected.swaps += BUNDLES;
        let turn = self.injected.traps;
        self.bad_answer(swaps, turn, Fault::Bytes(b"<html>".to_vec()), "rejected");
        self.injected.bad_bundles += 1;
        self.bad_answer(swaps, turn + 1, Fault::ResetMidBody { after_bytes: 20 }, "failed");
        self.injected.resets += 1;
        self.bad_answer(swaps, turn + 2, Fault::Status(500), "failed");
        self.injected.server_errors += 1;
        self.trap(turn);
        self.injected.traps += 1;
        swaps.keep_swapping(BUNDLES);
        self.injected.swaps += BUNDLES;
        self.update();
        self.injected.updates += 1;
    }

    fn bad_answer(&self, swaps: &Swaps, bundle: usize, fault: Fault, outcome: &str) {
        let bundle = bundle % BUNDLES;
        let counter = format!("portcullis_downloads.bundle.{}.outcome.{outcome}", swaps.names()[bundle]);
        let before = self.gate.counter(&counter);
        swaps.server.fault_next(&swaps.path(bundle), 1, fault);
        swaps.offer_next(bundle);
        self.gate.wait_for_counter(&counter, before + 1);
    }

    fn trap(&mut self, turn: usize) {
        let before = self.stat("vm_reload_success");
        let worker = turn % self.workers.len();
        ask_and_trap(&mut self.workers[worker], "swap00", "GET", "/");
        self.wait_for_stat("vm_reload_success", before + 1);
    }

    /// The same configuration in another notation: every worker gets a new plugin for it.
    fn update(&mut self) {
        let before = self.stat("config_reload");
        self.filter.rewrite();
        self.wait_for_stat("config_reload", before + 1);
    }

    /// A counter of Envoy, by the end of its name.
    fn stat(&self, suffix: &str) -> u64 {
        let stats = self.gate.envoy.stats().unwrap_or_else(|error| panic!("{error}"));
        stats.iter().filter(|(name, _)| name.ends_with(suffix)).map(|(_, count)| count).sum()
    }

    fn wait_for_stat(&self, suffix: &str, value: u64) {
        let reached = self.gate.envoy.wait_until(BOUND, |_| Ok(self.stat(suffix) >= value));
        assert!(reached.expect("nothing here fails"), "{suffix} is not {value}\n{}", self.gate.envoy.log());
    }

    fn wait_until_all_are_newest(&mut self, swaps: &Swaps) {
        let mut last = Vec::new();
        let arrived = self.gate.envoy.wait_until(BOUND, |_| {
            last = Vec::new();
            for connection in &mut self.workers {
                for bundle in 0..BUNDLES {
                    let response = exchange(connection, bundle).expect("Envoy answers");
                    last.push(judge(&response).ok() == Some(swaps.newest(bundle)));
                }
            }
            Ok(last.iter().all(|newest| *newest))
        });
        assert!(arrived.expect("nothing here fails"), "{last:?}\n{}", self.gate.envoy.log());
    }
}

// === impl FilterFile ===

impl FilterFile {
    /// Writes the next version; Envoy looks when a file is moved to the place.
    fn rewrite(&mut self) {
        self.version += 1;
        let path = file_of(self.folder.path());
        let text = fs::read_to_string(&path).expect("the file was written");
        let mut document: Value = serde_json::from_str(&text).expect("it is JSON");
        document["version_info"] = json!(self.version.to_string());
        let configuration = document
            .pointer_mut("/resources/0/typed_config/config/configuration/value")
            .expect("the filter has a configuration");
        let text = configuration.as_str().expect("it is text").trim_end().to_owned();
        // Envoy knows plugins by their configuration, byte for byte.
        *configuration = json!(format!("{text}{}", " ".repeat(self.version)));
        write(&path, &document);
    }
}

/// Moves the filter out of the configuration into a file, of which Envoy is told the place.
fn take_filter_out(bootstrap: &mut Value, folder: &Path) {
    let path = file_of(folder);
    let filters = manager(bootstrap)["http_filters"].as_array_mut().expect("a list");
    let name = filters[0]["name"].clone();
    let typed_config = filters[0]["typed_config"].clone();
    let discovered = json!({
        "name": name,
        "config_discovery": {
            "config_source": {
                "path_config_source": { "path": path.display().to_string() },
                "resource_api_version": "V3",
            },
            "type_urls": [typed_config["@type"]],
        },
    });
    for filter in filters.iter_mut().filter(|filter| filter["name"] == name) {
        *filter = discovered.clone();
    }
    let resource = json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": name,
        "typed_config": typed_config,
    });
    write(&path, &json!({ "version_info": "1", "resources": [resource] }));
    // Envoy asks for configurations only under a name of its own.
    bootstrap["node"] = json!({ "id": "soak", "cluster": "soak" });
}

fn file_of(folder: &Path) -> PathBuf {
    folder.join("filter.json")
}
