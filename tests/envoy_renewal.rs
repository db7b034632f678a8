//! Listeners that are replaced in real Envoy, with another configuration of the filter, under load and while the bundle
//! server is down: nobody notices, and nothing is left behind.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use host_harness::{
    real_envoy::{self, RealEnvoy},
    servers::{
        BundleServer, Fault, SeenRequest,
        client::{Connection, Request},
    },
};
use portcullis_filter::config::Config;
use portcullis_tests::{
    envoy::{BOUND, EVALUATION_MS, Gate, GateOptions, bundle_server, manager, resident_kib},
    lds::{rewrite, take_listener_out},
    swaps::answer_in_place,
    watch::{Expected, Watched, archive, watch_while},
};
use serde_json::{Map, Value, json};

const WORKERS: usize = 4;
/// Members: the workers and the main thread.
const VMS: u64 = WORKERS as u64 + 1;
const PAUSE: Duration = Duration::from_millis(10);
const POLICIES: [&str; 3] = ["a", "b", "c"];
const CONNECTIONS: usize = 8;
/// Answers of each part of a load: before, while and after.
const ANSWERS: u64 = 4000;
const UPDATES: usize = 40;
const REJECTED: &str = "listener_manager.lds.update_rejected";
/// Configurations of the guest `refuses.wat`.
const GOOD: &str = "ten bytes.";
const OTHER: &str = "twenty bytes, or so.";
const REFUSED: &str = "bad";
const HEALTH: &str = "/-/health";

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
/// Whether a request for a bundle is by the changed one.
type Fetched = dyn Fn(&SeenRequest) -> bool;

/// What Envoy holds.
#[derive(Debug)]
struct Footprint {
    members: usize,
    resident_kib: u64,
    /// Statistics of the filter, but for those that are for its places alone.
    figures: BTreeSet<String>,
    places: usize,
    stats: usize,
}

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
    let has_token: &Fetched = &|request| request.header("authorization") == Some(b"Bearer second");
    let has_all: &Fetched = &|request| has_token(request) && request.header("x-tenant") == Some(b"third");
    for (number, (change, is_new)) in [(token, has_token), (all, has_all)].into_iter().enumerate() {
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
        assert_eq!(seen.failures(), 0, "{seen:?}\n{}", renewed.gate.envoy.log());

        // Then every VM has what the new configuration fetches.
        let before = renewed.server.traffic().requests.len();
        POLICIES.iter().for_each(|policy| renewed.server.clear_fault(&path(policy)));
        renewed.wait_until("the next revision", |renewed| {
            renewed.detail().is_some_and(|detail| {
                POLICIES.iter().all(|policy| {
                    let found = &detail["bundles"][policy];
                    let mut vms = detail["vms"].as_array().into_iter().flatten();
                    found["revision"] == next.as_str()
                        && vms.all(|vm| vm["serving"][policy] == found["generation"])
                })
            })
        });
        let traffic = renewed.server.traffic();
        let mut fetched = traffic.requests[before..].iter();
        assert!(fetched.all(is_new), "{traffic:?}");
        assert_eq!(renewed.stat("listener_manager.lds.update_rejected"), 0);
    }
    assert!(renewed.stat("cluster.hub2.upstream_rq_completed") > 0);
}

#[test]
fn forty_updates_leave_nothing_behind() {
    let mut renewed = Renewed::start(1);
    let expected = Expected::default();
    POLICIES.iter().for_each(|policy| expected.set(policy, &["1"]));
    let mut held = Vec::new();
    let seen = renewed.under_load(&expected, |renewed, _| {
        renewed.wait_until_well();
        for number in 1..=UPDATES {
            renewed.update(&move |document: &mut Value| {
                document["services"]["hub"]["credentials"]["bearer"]["token"] = json!(number.to_string());
            });
            if number % (UPDATES / 4) == 0 {
                renewed.wait_until_drained();
                renewed.wait_until_well();
                held.push(renewed.footprint());
            }
        }
    });
    println!("{seen:?}");
    assert!(seen.failed.is_empty(), "{seen:?}");
    // Those that Envoy still had when their time to drain was over.
    assert!(seen.broken <= (UPDATES * CONNECTIONS) as u64, "{seen:?}");
    let (first, last) = (&held[0], &held[held.len() - 1]);
    for footprint in &held {
        println!("{} members, {} KiB, {} stats", footprint.members, footprint.resident_kib, footprint.stats);
        assert_eq!(footprint.members as u64, VMS, "{footprint:?}");
        // One that comes needs a place before those have left that are still being drained.
        assert!(footprint.places as u64 <= 4 * VMS, "{footprint:?}");
    }
    assert_eq!(first.figures, last.figures);
    assert!(last.stats - last.places <= first.stats - first.places, "{first:?} {last:?}");
    assert!(last.resident_kib * 20 <= first.resident_kib * 21, "{first:?} {last:?}");
}

#[test]
fn a_configuration_that_is_refused_changes_nothing() {
    let mut renewed = Renewed::start(600);
    let good = BTreeSet::from([(200, None)]);
    assert_eq!(renewed.statuses(), good);
    let fetched = renewed.fetched();
    POLICIES.iter().for_each(|policy| renewed.server.fault(&path(policy), Fault::ResetBeforeHeaders));
    let expected = Expected::default();
    POLICIES.iter().for_each(|policy| expected.set(policy, &["1"]));
    let seen = renewed.under_load(&expected, |renewed, answered| {
        // The same twice, and another.
        for colour in ["red", "red", "blue"] {
            renewed.rewrite(&move |document| document["bundles"]["a"]["colour"] = json!(colour), REJECTED);
            wait_for(answered, 500);
        }
    });
    assert_eq!(seen.failures(), 0, "{seen:?}\n{}", renewed.gate.envoy.log());
    assert_eq!(renewed.statuses(), good, "{}", renewed.gate.envoy.log());
    let log = renewed.gate.envoy.log();
    assert!(log.contains("bundles.a.colour") && log.contains("Envoy keeps the one before"), "{log}");
    renewed.update(&correct);
    assert_eq!(renewed.statuses(), good, "{}", renewed.gate.envoy.log());
    assert_eq!(renewed.fetched(), fetched, "the good one needs no download");
}

/// There is nothing to keep, and no worker may be told otherwise than the main thread: Envoy would send its requests past
/// the filter.
#[test]
fn a_configuration_that_is_refused_at_the_start_shuts_the_gate_until_a_good_one_comes() {
    let mut renewed = Renewed::start_with(600, &spoil);
    let shut = BTreeSet::from([(503, Some(b"configuration_refused".to_vec()))]);
    assert_eq!(renewed.statuses(), shut);
    renewed.update(&correct);
    renewed.wait_until("the good one", |renewed| renewed.statuses() == BTreeSet::from([(200, None)]));
    // What was accepted once, byte for byte, is never refused by anybody.
    renewed.update(&|document| {
        spoil(document);
        document["services"]["hub"]["credentials"]["bearer"]["token"] = json!("first");
    });
    assert_eq!(renewed.statuses(), shut, "{}", renewed.gate.envoy.log());
}

fn spoil(document: &mut Value) {
    document["bundles"]["a"]["colour"] = json!("red");
}

fn correct(document: &mut Value) {
    document["bundles"]["a"].as_object_mut().expect("a bundle is a map").remove("colour");
    document["services"]["hub"]["credentials"]["bearer"]["token"] = json!("good");
}

/// Whatever the failure policy says: Envoy tries a configuration on its main thread, and gives no worker one that is
/// refused there.
#[test]
fn envoy_keeps_a_listener_whose_next_configuration_the_plugin_refuses() {
    for failure_policy in ["FAIL_RELOAD", "FAIL_CLOSED", "FAIL_OPEN"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let begun = guest(GOOD, failure_policy, folder.path());
        let steps = [(REFUSED, 210, 1), (OTHER, 220, 1), (REFUSED, 220, 2), (GOOD, 210, 2)];
        for (number, (configuration, status, rejected)) in steps.into_iter().enumerate() {
            rewrite(folder.path(), number + 2, configuration);
            wait_for_updates(&begun, number as u64 + 2);
            let ingress = ingress(&begun).expect("it listens");
            let answers: BTreeSet<u16> =
                (0..16).map(|_| Request::get("/").send(ingress).expect("Envoy answers").status).collect();
            assert_eq!(answers, BTreeSet::from([status]), "{failure_policy} {number}\n{}", begun.log());
            assert_eq!(stat(&begun, "listener_manager.lds.update_rejected"), rejected, "{failure_policy}");
        }
        // A VM that is built anew after that has the configuration that was kept.
        if failure_policy == "FAIL_RELOAD" {
            rewrite(folder.path(), 6, REFUSED);
            wait_for_updates(&begun, 6);
            let trap =
                (0..20).fold(Request::get("/"), |trap, number| trap.header(format!("x-{number}"), "1"));
            let ingress = ingress(&begun).expect("it listens");
            assert_eq!(trap.send(ingress).expect("Envoy answers").status, 503);
            let is_back = begun.wait_until(BOUND, |envoy| {
                let status = Request::get("/").send(ingress).expect("Envoy answers").status;
                assert!([210, 503].contains(&status), "{status}\n{}", envoy.log());
                Ok(stat(envoy, "wasm.portcullis.vm_reload_success") == 1)
            });
            assert!(is_back.unwrap_or_else(|error| panic!("{error}")), "{}", begun.log());
        }
        let log = begun.log();
        assert!(log.contains("listener 'ingress' config rejected: Unable to create Wasm plugin"), "{log}");

        // Where there is none to keep, nothing listens.
        let folder = tempfile::tempdir().expect("a temporary folder");
        let begun = guest(REFUSED, failure_policy, folder.path());
        wait_for_updates(&begun, 1);
        assert_eq!(ingress(&begun), None, "{failure_policy}");
        rewrite(folder.path(), 2, GOOD);
        wait_for_updates(&begun, 2);
        let ingress = ingress(&begun).expect("it listens");
        assert_eq!(Request::get("/").send(ingress).expect("Envoy answers").status, 210);
    }
}

// === impl Renewed ===

impl Renewed {
    fn start(drain_seconds: u32) -> Self {
        let renewed = Self::start_with(drain_seconds, &|_| {});
        renewed.gate.wait_for_counter("portcullis_policies_compiled", VMS * POLICIES.len() as u64);
        renewed
    }

    /// Begins with a changed configuration.
    fn start_with(drain_seconds: u32, change: &Change) -> Self {
        let server = bundle_server(POLICIES.map(|policy| (policy, archive(policy, "1", "").build())));
        let polling = json!({ "min_delay_seconds": 1, "max_delay_seconds": 1 });
        let bundle = |name: &str| {
            (name.to_owned(), json!({ "resource": format!("{name}.tar.gz"), "polling": polling }))
        };
        let policy = |name: &str| {
            (name.to_owned(), json!({ "bundles": [name], "decision": format!("{name}/decision") }))
        };
        let mut document = json!({
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
                "limits": { "evaluation_ms": EVALUATION_MS },
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
        let config = Config::parse(document.to_string().as_bytes()).expect("it is a good one");
        change(&mut document);
        let gate = Gate::start_with(&config, &document.to_string(), &options);
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
        self.rewrite(change, "listener_manager.lds.update_success");
    }

    /// Gives Envoy a changed configuration, and waits until this figure tells of it.
    fn rewrite(&mut self, change: &Change, figure: &str) {
        change(&mut self.document);
        let before = self.stat(figure);
        self.version += 1;
        rewrite(self.folder.path(), self.version, &self.document.to_string());
        self.wait_until("the update", |renewed| {
            renewed.stat(figure) > before && renewed.stat("listener_manager.total_listeners_warming") == 0
        });
    }

    /// Each status with its reason, of so many requests that every worker has some.
    fn statuses(&self) -> BTreeSet<(u16, Option<Vec<u8>>)> {
        let answer = |_| Request::get("/").send(self.gate.addr()).expect("Envoy answers");
        let answers = (0..8 * WORKERS).map(answer);
        answers.map(|it| (it.status, it.header("x-portcullis-reason").map(<[u8]>::to_vec))).collect()
    }

    /// Downloads of what was not there before.
    fn fetched(&self) -> usize {
        let requests = self.server.traffic().requests;
        requests.iter().filter(|request| request.header("if-none-match").is_none()).count()
    }

    fn wait_until_drained(&mut self) {
        self.wait_until("the end of all that was replaced", |renewed| {
            renewed.stat("listener_manager.total_listeners_draining") == 0
                && renewed.stat("listener_manager.total_filter_chains_draining") == 0
        });
    }

    fn wait_until_well(&mut self) {
        for (figure, value) in [("healthy", 1), ("vms_lost", 0), ("vms_alive", VMS)] {
            let figure = format!("portcullis_{figure}");
            self.wait_until(&figure, |renewed| {
                renewed.stat(&format!("wasmcustom.{figure}")) == value
                    && renewed.detail().is_some_and(|detail| detail["problems"] == json!([]))
            });
        }
    }

    fn footprint(&mut self) -> Footprint {
        let members = self.detail().map_or(0, |detail| detail["vms"].as_array().map_or(0, Vec::len));
        let stats = self.gate.envoy.stats().unwrap_or_else(|error| panic!("{error}"));
        let is_place = |name: &&String| name.starts_with("wasmcustom.portcullis_at_work.");
        let figures = stats.keys().filter(|name| name.starts_with("wasmcustom.") && !is_place(name));
        Footprint {
            members,
            resident_kib: resident_kib(self.gate.envoy.pid()),
            figures: figures.cloned().collect(),
            places: stats.keys().filter(is_place).count(),
            stats: stats.len(),
        }
    }

    fn stat(&self, name: &str) -> u64 {
        stat(&self.gate.envoy, name)
    }

    fn detail(&mut self) -> Option<Value> {
        Request::get(format!("{HEALTH}?detail")).send(self.gate.addr()).ok()?.json().ok()
    }

    fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let begin = Instant::now();
        while !condition(self) {
            assert!(begin.elapsed() < BOUND, "{what}: never\n{}", self.gate.envoy.log());
            thread::sleep(PAUSE);
        }
    }
}

/// Waits for so many more answers, however long that takes as long as there are any.
fn wait_for(answered: &AtomicU64, more: u64) {
    let mut last = answered.load(Ordering::Relaxed);
    let wanted = last + more;
    let mut since = Instant::now();
    while last < wanted {
        assert!(since.elapsed() < BOUND, "nobody answers any more");
        thread::sleep(PAUSE);
        let now = answered.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

/// An Envoy with the guest in a listener `ingress` that stands in a file, and one beside it that is always there.
fn guest(configuration: &str, failure_policy: &'static str, folder: &Path) -> RealEnvoy {
    let module = folder.join("refuses.wasm");
    fs::write(&module, wat::parse_str(include_str!("guests/refuses.wat")).expect("the guest is a module"))
        .expect("the folder can be written");
    let config =
        Config::parse(br#"{"bundles": {"b": "http://127.0.0.1:9/b"}, "portcullis": {"url_cluster": "any"}}"#)
            .expect("the configuration is good");
    let upstream = SocketAddr::from(([127, 0, 0, 1], 9));
    let mut options = real_envoy::BootstrapOptions::new(&module, configuration, upstream.into());
    options.seal = false;
    let mut bootstrap = real_envoy::bootstrap(&config, &options);
    let plugin = &mut manager(&mut bootstrap)["http_filters"][0]["typed_config"]["config"];
    plugin["failure_policy"] = json!(failure_policy);
    if failure_policy != "FAIL_RELOAD" {
        plugin.as_object_mut().expect("a plugin is a map").remove("reload_config");
    }
    let mut beside = bootstrap["static_resources"]["listeners"][0].clone();
    beside["name"] = json!("beside");
    let filters = beside.pointer_mut("/filter_chains/0/filters/0/typed_config/http_filters");
    filters.and_then(Value::as_array_mut).expect("a list").remove(0);
    take_listener_out(&mut bootstrap, folder);
    bootstrap["static_resources"]["listeners"] = json!([beside]);
    let options = real_envoy::EnvoyOptions { concurrency: 2, ..real_envoy::EnvoyOptions::default() };
    RealEnvoy::start(&bootstrap, &options).unwrap_or_else(|error| panic!("{error}"))
}

fn ingress(envoy: &RealEnvoy) -> Option<SocketAddr> {
    let listeners = envoy.admin_get("/listeners?format=json").unwrap_or_else(|error| panic!("{error}"));
    let listeners: Value = serde_json::from_str(&listeners).expect("it is JSON");
    let mut all = listeners["listener_statuses"].as_array()?.iter();
    let local = &all.find(|listener| listener["name"] == "ingress")?["local_address"]["socket_address"];
    Some(SocketAddr::new(
        local["address"].as_str()?.parse().ok()?,
        local["port_value"].as_u64()?.try_into().ok()?,
    ))
}

/// Waits until Envoy has judged so many versions of its listeners, and is done with what follows from them.
fn wait_for_updates(envoy: &RealEnvoy, count: u64) {
    let names = ["listener_manager.lds.update_success", "listener_manager.lds.update_rejected"];
    let judged = envoy.wait_until(BOUND, |envoy| {
        Ok(names.iter().map(|name| stat(envoy, name)).sum::<u64>() >= count
            && stat(envoy, "listener_manager.total_listeners_warming") == 0)
    });
    assert!(judged.unwrap_or_else(|error| panic!("{error}")), "{}", envoy.log());
}

fn stat(envoy: &RealEnvoy, name: &str) -> u64 {
    let stats = envoy.stats().unwrap_or_else(|error| panic!("{error}"));
    stats.get(name).copied().unwrap_or_default()
}

/// Another cluster that leads where `hub` does.
fn add_cluster(bootstrap: &mut Value, name: &str) {
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("a list");
    let mut cluster = clusters.iter().find(|cluster| cluster["name"] == "hub").expect("it is there").clone();
    cluster["name"] = json!(name);
    cluster["load_assignment"]["cluster_name"] = json!(name);
    clusters.push(cluster);
}

fn path(policy: &str) -> String {
    format!("/{policy}.tar.gz")
}
