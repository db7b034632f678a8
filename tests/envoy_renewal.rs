//! Listeners that are replaced in real Envoy, with another configuration of the filter, under load and while the bundle
//! server is down: nobody notices, and nothing is left behind.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use host_harness::servers::{
    BundleServer, Fault,
    client::{Connection, Request},
};
use portcullis_filter::config::Config;
use portcullis_tests::{
    envoy::{BOUND, Gate, GateOptions, bundle_server},
    swaps::answer_in_place,
    watch::{Expected, Watched, archive, watch_while},
};
use serde_json::{Map, Value, json};

const WORKERS: usize = 4;
/// Members: the workers and the main thread.
const VMS: u64 = WORKERS as u64 + 1;
const POLICIES: [&str; 3] = ["a", "b", "c"];
const CONNECTIONS: usize = 8;
/// Answers of each part of a load: before, while and after.
const ANSWERS: u64 = 4000;
const HEALTH: &str = "/-/health";
/// Where the filter's configuration stands in its listener.
const CONFIGURATION: &str =
    "/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/config/configuration/value";

/// An Envoy whose listener stands in a file that it watches.
struct Renewed {
    server: BundleServer,
    gate: Gate,
    folder: tempfile::TempDir,
    document: Value,
    version: usize,
}

/// A change of the configuration.
type Change = dyn Fn(&mut Value);

#[test]
fn what_only_changes_how_bundles_are_fetched_fails_no_request_while_nothing_can_be_fetched() {
    let mut renewed = Renewed::start(600);
    let expected = Expected::default();
    let token: &Change = &|document| {
        document["services"]["hub"]["credentials"]["bearer"]["token"] = json!("second");
    };
    let all: &Change = &|document| {
        document["services"]["hub"]["headers"] = json!({ "x-tenant": "third" });
        document["services"]["hub"]["cluster"] = json!("hub2");
        for policy in POLICIES {
            document["bundles"][policy]["size_limit_bytes"] = json!(1 << 20);
        }
    };
    for (number, change) in [token, all].into_iter().enumerate() {
        let (now, next) = ((number + 1).to_string(), (number + 2).to_string());
        POLICIES.iter().for_each(|policy| expected.set(policy, &[&now]));
        let seen = renewed.under_load(&expected, |renewed, answered| {
            wait_for(answered, ANSWERS);
            for policy in POLICIES {
                renewed.server.fault(&path(policy), Fault::ResetBeforeHeaders);
                renewed.server.publish(&path(policy), archive(policy, &next, "").build());
            }
            wait_for(answered, ANSWERS);
            renewed.update(change);
            wait_for(answered, ANSWERS);
        });
        println!("{seen:?}");
        assert!(seen.decided >= 3 * ANSWERS);
        assert!(seen.failed.is_empty() && seen.broken == 0, "{seen:?}\n{}", renewed.gate.envoy.log());
        assert_eq!(renewed.stat("listener_manager.lds.update_rejected"), 0);

        // Then the new configuration fetches what is new.
        let before = renewed.server.traffic().requests.len();
        POLICIES.iter().for_each(|policy| renewed.server.clear_fault(&path(policy)));
        renewed.wait_until("the next revision", |renewed| {
            let Some(detail) = renewed.detail() else { return false };
            POLICIES.iter().all(|policy| {
                let vms = detail["vms"].as_array().into_iter().flatten();
                let found = &detail["bundles"][policy];
                found["revision"] == next.as_str()
                    && vms.into_iter().all(|vm| vm["serving"][policy] == found["generation"])
            })
        });
        for request in &renewed.server.traffic().requests[before..] {
            println!("{:?}", request.headers);
        }
        println!(
            "{:#?}",
            renewed
                .gate
                .envoy
                .stats()
                .unwrap()
                .iter()
                .filter(|(n, _)| n.contains("listener_manager") || n.contains("portcullis_vms"))
                .collect::<Vec<_>>()
        );
    }
}

#[test]
fn forty_updates_leave_nothing_behind() {
    let mut renewed = Renewed::start(1);
    let expected = Expected::default();
    POLICIES.iter().for_each(|policy| expected.set(policy, &["1"]));
    let mut after = Vec::new();
    let seen = renewed.under_load(&expected, |renewed, _| {
        for number in 0..40 {
            renewed.update(&move |document: &mut Value| {
                document["services"]["hub"]["credentials"]["bearer"]["token"] = json!(format!("t{number}"));
            });
            if number % 10 == 9 {
                renewed.wait_until_drained();
                after.push(renewed.footprint());
                println!("{:?}", after.last());
            }
        }
    });
    println!("{seen:?}");
    println!(
        "{:#?}",
        renewed
            .gate
            .envoy
            .stats()
            .unwrap()
            .iter()
            .filter(|(n, _)| n.contains("listener_manager") || n.contains("wasm"))
            .collect::<Vec<_>>()
    );
}

// === impl Renewed ===

impl Renewed {
    fn start(drain_seconds: u32) -> Self {
        let server = bundle_server(POLICIES.map(|policy| (policy, archive(policy, "1", "").build())));
        let polling = json!({ "min_delay_seconds": 1, "max_delay_seconds": 1 });
        let bundle = |name: &str| {
            (name.to_owned(), json!({ "resource": format!("{name}.tar.gz"), "polling": polling }))
        };
        let policy = |name: &str| {
            (name.to_owned(), json!({ "bundles": [name], "decision": format!("{name}/decision") }))
        };
        let document = json!({
            "services": { "hub": {
                "url": server.url("").trim_end_matches('/'),
                "cluster": "hub",
                "credentials": { "bearer": { "token": "first" } },
            } },
            "bundles": POLICIES.map(bundle).into_iter().collect::<Map<_, _>>(),
            "portcullis": {
                "policies": POLICIES.map(policy).into_iter().collect::<Map<_, _>>(),
                "default_policy": "a",
                "health": { "path": HEALTH, "detail": true },
            },
        });
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = folder.path().to_path_buf();
        let options = GateOptions {
            concurrency: u32::try_from(WORKERS).expect("a few"),
            policies: POLICIES.map(str::to_owned).into(),
            drain_seconds: Some(drain_seconds),
            amend: Some(Box::new(move |bootstrap| {
                answer_in_place(bootstrap);
                add_cluster(bootstrap, "hub2");
                take_listener_out(bootstrap, &place);
            })),
            ..GateOptions::default()
        };
        let gate = Gate::start(&document.to_string(), &options);
        let compiled = VMS * POLICIES.len() as u64;
        gate.wait_for_counter("portcullis_policies_compiled", compiled);
        Self { server, gate, folder, document, version: 1 }
    }

    fn under_load(&mut self, expected: &Expected, what: impl FnOnce(&mut Self, &AtomicU64)) -> Watched {
        let addr = self.gate.addr();
        let open = |_| Connection::open(addr).expect("Envoy takes connections");
        watch_while(addr, (0..CONNECTIONS).map(open).collect(), &POLICIES, expected, |answered| {
            what(self, answered)
        })
        .0
    }

    /// Replaces the listener by one with a changed configuration, and waits until Envoy has it.
    fn update(&mut self, change: &Change) {
        change(&mut self.document);
        let before = self.stat("listener_manager.lds.update_success");
        self.write(&self.document.to_string());
        self.wait_until("the update", |renewed| {
            renewed.stat("listener_manager.lds.update_success") > before
                && renewed.stat("listener_manager.total_listeners_warming") == 0
        });
    }

    fn write(&mut self, configuration: &str) {
        self.version += 1;
        let file = file_of(self.folder.path());
        let text = fs::read_to_string(&file).expect("it was written");
        let mut document: Value = serde_json::from_str(&text).expect("it is JSON");
        document["version_info"] = json!(self.version.to_string());
        let place = document["resources"][0].pointer_mut(CONFIGURATION).expect("the filter is configured");
        *place = json!(configuration);
        write(&file, &document);
    }

    fn wait_until_drained(&mut self) {
        self.wait_until("the end of all that was replaced", |renewed| {
            renewed.stat("listener_manager.total_listeners_draining") == 0
                && renewed.stat("listener_manager.total_filter_chains_draining") == 0
        });
    }

    fn footprint(&mut self) -> (usize, u64, usize, usize) {
        let members = self.detail().map_or(0, |detail| detail["vms"].as_array().map_or(0, Vec::len));
        let stats = self.gate.envoy.stats().unwrap();
        let custom = stats.keys().filter(|name| name.starts_with("wasmcustom.")).count();
        (members, resident_kib(self.gate.envoy.pid()), custom, stats.len())
    }

    fn stat(&self, name: &str) -> u64 {
        let stats = self.gate.envoy.stats().unwrap_or_else(|error| panic!("{error}"));
        stats.get(name).copied().unwrap_or_default()
    }

    fn detail(&mut self) -> Option<Value> {
        Request::get(format!("{HEALTH}?detail")).send(self.gate.addr()).ok()?.json().ok()
    }

    fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let begin = std::time::Instant::now();
        while !condition(self) {
            assert!(begin.elapsed() < BOUND, "{what}: never\n{}", self.gate.envoy.log());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn wait_for(answered: &AtomicU64, more: u64) {
    let wanted = answered.load(Ordering::Relaxed) + more;
    let begin = std::time::Instant::now();
    while answered.load(Ordering::Relaxed) < wanted {
        assert!(begin.elapsed() < BOUND, "nobody answers any more");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Another cluster that leads where `hub` does.
fn add_cluster(bootstrap: &mut Value, name: &str) {
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("a list");
    let mut cluster = clusters.iter().find(|cluster| cluster["name"] == "hub").expect("it is there").clone();
    cluster["name"] = json!(name);
    cluster["load_assignment"]["cluster_name"] = json!(name);
    clusters.push(cluster);
}

/// Moves the listener out of the configuration into a file, of which Envoy is told the place.
fn take_listener_out(bootstrap: &mut Value, folder: &Path) {
    let path = file_of(folder);
    let mut listener = bootstrap["static_resources"]["listeners"][0].take();
    listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    write(&path, &json!({ "version_info": "1", "resources": [listener] }));
    bootstrap["static_resources"]["listeners"] = json!([]);
    bootstrap["dynamic_resources"] = json!({ "lds_config": {
        "path_config_source": { "path": path.display().to_string() },
        "resource_api_version": "V3",
    } });
    // Envoy asks for listeners only under a name of its own.
    bootstrap["node"] = json!({ "id": "renewed", "cluster": "renewed" });
}

fn file_of(folder: &Path) -> PathBuf {
    folder.join("listeners.json")
}

/// Envoy looks when a file is moved to the place.
fn write(path: &Path, document: &Value) {
    let coming = path.with_extension("coming");
    fs::write(&coming, document.to_string()).expect("the folder can be written");
    fs::rename(&coming, path).expect("it is one folder");
}

fn path(policy: &str) -> String {
    format!("/{policy}.tar.gz")
}

/// What the process holds in memory.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("Envoy runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.expect("Linux tells what a process holds")
}

#[test]
fn experiment() {
    let config =
        Config::parse(br#"{"bundles": {"b": "http://127.0.0.1:9/b"}, "portcullis": {"url_cluster": "any"}}"#)
            .unwrap();
    let guest = wat::parse_str(include_str!("guests/refuses.wat")).expect("the guest is a module");
    for policy in ["FAIL_RELOAD", "FAIL_CLOSED", "FAIL_OPEN"] {
        for (first, is_static) in [("0123456789", false), ("bad", false), ("bad", true)] {
            println!("=== {policy} begins with {first} static {is_static}");
            let folder = tempfile::tempdir().expect("a temporary folder");
            let place = folder.path().to_path_buf();
            let mut bootstrap_text = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
            let keep = std::sync::Arc::clone(&bootstrap_text);
            let options = GateOptions {
                concurrency: 2,
                module: Some(guest.clone()),
                amend: Some(Box::new(move |bootstrap| {
                    portcullis_tests::envoy::manager(bootstrap)["http_filters"][0]["typed_config"]["config"]
                        ["failure_policy"] = json!(policy);
                    if policy != "FAIL_RELOAD" {
                        portcullis_tests::envoy::manager(bootstrap)["http_filters"][0]["typed_config"]["config"].as_object_mut().unwrap().remove("reload_config");
                    }
                    if is_static {
                        return;
                    }
                    let mut other = bootstrap["static_resources"]["listeners"][0].clone();
                    other["name"] = json!("aaa");
                    let filters = other
                        .pointer_mut("/filter_chains/0/filters/0/typed_config/http_filters")
                        .unwrap()
                        .as_array_mut()
                        .unwrap();
                    filters.remove(0);
                    filters.remove(0);
                    take_listener_out(bootstrap, &place);
                    bootstrap["static_resources"]["listeners"] = json!([other]);
                    *keep.lock().unwrap() = bootstrap.to_string();
                })),
                ..GateOptions::default()
            };
            let _ = &mut bootstrap_text;
            let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                Gate::start_with(&config, first, &options)
            }));
            let Ok(gate) = started else {
                println!("did not start");
                continue;
            };
            let state = |gate: &Gate| {
                let listeners: Value =
                    serde_json::from_str(&gate.envoy.admin_get("/listeners?format=json").unwrap()).unwrap();
                let ingress = listeners["listener_statuses"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|l| l["name"] == "ingress")
                    .cloned();
                let answers: Vec<_> = ingress
                    .map(|l| {
                        let port =
                            l["local_address"]["socket_address"]["port_value"].as_u64().unwrap() as u16;
                        (0..8)
                            .map(|_| {
                                Request::get("/")
                                    .send(([127, 0, 0, 1], port).into())
                                    .map(|r| r.status)
                                    .unwrap_or(0)
                            })
                            .collect()
                    })
                    .unwrap_or_default();
                let stats = gate.envoy.stats().unwrap();
                let stats: Vec<_> = stats
                    .iter()
                    .filter(|(n, v)| {
                        **v > 0 && (n.contains("lds") || n.contains("listener_manager") || n.contains("wasm"))
                    })
                    .collect();
                println!("answers {answers:?} {stats:?}");
            };
            state(&gate);
            for (number, next) in
                ["bad", "bad ", "01234567890123456789", "bad", "0123456789012345678"].iter().enumerate()
            {
                let file = file_of(folder.path());
                let mut document: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
                document["version_info"] = json!((number + 2).to_string());
                *document["resources"][0].pointer_mut(CONFIGURATION).unwrap() = json!(next);
                write(&file, &document);
                std::thread::sleep(std::time::Duration::from_secs(1));
                println!("--- after {next:?}");
                state(&gate);
            }
            for line in gate
                .envoy
                .log()
                .lines()
                .filter(|l| l.contains("[warning]") || l.contains("[error]") || l.contains("[critical]"))
            {
                println!("   {line}");
            }
        }
    }
}
