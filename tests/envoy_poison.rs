//! What ends VMs, or has once, in real Envoy under load: bundles one after the other, each with its cure, and requests.
//! It costs its own tenant at most, and of the VMs no more than the limit says.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use host_harness::{
    archive::Archive,
    servers::{
        BundleServer, Fault,
        client::{Connection, Request, Response},
    },
};
use portcullis_tests::{
    envoy::{BOUND, Gate, GateOptions, ROUTE_HEADER, bundle_server},
    fleet::{HOOKS_MODULE, a_connection_to_each_worker, ask_and_trap},
    poisons::{self, Fate, Poison, digest, fate_of, is_loaded},
    swaps::answer_in_place,
    watch::{ERROR, Expected, Watched, archive, exchange, watch_while},
};
use serde_json::{Map, Value, json};

const WORKERS: usize = 4;
const HEALTH: &str = "/-/health";
/// Connections of the load.
const CONNECTIONS: usize = 8;
/// After so many polls, a cure has been found.
const POLLS: usize = 2;
/// Between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(10);
/// Poisons of one Envoy.
const IN_A_ROW: usize = 14;
/// Some policies use up all of it at each request; the others must not come to its end on a machine that is busy.
const EVALUATION_MS: u32 = 1_000;
/// How many VMs a poison may end.
const VM_FAILURES: usize = 1;

/// An Envoy of several tenants: a policy each, made of the bundle of its name, and `a` of `a2` as well.
struct Tenants {
    names: Vec<String>,
    server: BundleServer,
    gate: Gate,
    workers: Vec<Connection>,
    expected: Arc<Expected>,
    /// The last good revision of `a` that was offered.
    good: u64,
    /// VMs that have ended so far, as Envoy's log tells.
    deaths: usize,
}

#[test]
fn a_bundle_that_ends_its_vm_costs_one_vm_and_nobody_but_its_tenant() {
    let mut tenants = Tenants::start(&["a", "b", "c", "d", "e"], &[]);
    let seen = tenants.under_load(|tenants| {
        for name in ["first", "second", "third"] {
            tenants.meet(&poisons::hooked(name, "end-compile"));
        }
        for name in ["read", "read again"] {
            tenants.meet(&poisons::hooked(name, "end-read"));
        }
        // What is known to end VMs ends none.
        tenants.offer("a", &poisons::hooked("first", "end-compile"), 0);
        tenants.cure_a();
        for (first, second) in [("a", "a2"), ("a2", "a")] {
            tenants.meet_pair(first, second);
        }
        // Beside another `a2` it is tried once more, for it may have been that; then it is known whatever is beside it.
        tenants.offer("a", &poisons::hooked("first", "end-compile"), VM_FAILURES);
        tenants.cure_a();
        tenants.cure("a2", archive("a2", "beside", ""));
        tenants.offer("a", &poisons::hooked("first", "end-compile"), 0);
        tenants.cure_a();
    });
    tenants.assert_well(&seen);
    assert!(seen.failures() <= tenants.in_flight(), "{seen:?}");
}

#[test]
fn a_bundle_that_ends_vms_that_begin_costs_one_and_the_others_begin_with_the_one_before() {
    let mut tenants = Tenants::start(&["a", "b", "c", "d", "e"], &[]);
    let seen = tenants.under_load(|tenants| {
        for (name, policy) in [("at start", "d"), ("at start again", "e")] {
            tenants.meet_at_start(name, policy);
        }
    });
    tenants.assert_well(&seen);
    // Envoy lets a worker whose VM ends while it begins wait for a moment before it builds the next one.
    assert!(seen.outages <= tenants.in_flight(), "{seen:?}");
}

#[test]
fn what_has_ended_vms_when_it_was_loaded_is_refused_by_name() {
    meet_all(Fate::Refused, 13);
}

#[test]
fn what_has_ended_vms_or_held_them_at_any_request_fails_alone() {
    meet_all(Fate::Loaded, 21);
}

/// Some in a row in each Envoy, and the Envoys side by side: most of the time is between two polls.
fn meet_all(fate: Fate, least: usize) {
    let poisons: Vec<Poison> = poisons::all().into_iter().filter(|poison| poison.fate == fate).collect();
    assert!(poisons.len() >= least, "{}", poisons.len());
    let meet = |poisons: &[Poison]| {
        let mut tenants = Tenants::start(&["a", "b", "c"], &[]);
        let seen = tenants.under_load(|tenants| poisons.iter().for_each(|poison| tenants.meet(poison)));
        tenants.assert_well(&seen);
        assert_eq!((tenants.deaths, seen.failures()), (0, 0), "{seen:?}");
    };
    thread::scope(|scope| {
        for poisons in poisons.chunks(IN_A_ROW) {
            scope.spawn(move || meet(poisons));
        }
    });
}

#[test]
fn twenty_bundles_begin_beside_two_that_end_their_vms() {
    let good: Vec<String> = (0..20).map(|number| format!("g{number:02}")).collect();
    let names: Vec<&str> = good.iter().map(String::as_str).chain(["a", "z"]).collect();
    let hooked = |name: &str, hook: &str| {
        archive(name, "poison", "").file("hook.rego", format!("package {name}\n\n# hook: {hook}\n")).build()
    };
    let poisons = [("a", hooked("a", "end-compile")), ("z", hooked("z", "end-read"))];
    let mut tenants = Tenants::start(&names, &poisons);
    for (name, archive) in &poisons {
        tenants.wait_until_fate(name, archive, Fate::Ends);
        for worker in &mut tenants.workers {
            assert_eq!(exchange(worker, name).expect("Envoy answers").status, 503);
        }
    }
    tenants.expect_deaths("at process start", 2 * VM_FAILURES);
    for name in ["a", "z"] {
        tenants.cure(name, archive(name, "2", ""));
        tenants.wait_until_served(name, "2");
    }
}

/// Twice what Envoy waits before it starts a VM a second time, as `envoy-config` writes it.
const BETWEEN_STARTS: Duration = Duration::from_millis(200);

#[test]
fn a_request_that_ends_its_vm_closes_its_policy_and_no_other() {
    let long = "/long".repeat(500);
    let traps: Vec<String> = (0..10).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = traps.iter().map(String::as_str).chain(["b", "c", "gullible"]).collect();
    let mut tenants = Tenants::start(&names, &[("gullible", poisons::gullible().build())]);
    let seen = tenants.under_load(|tenants| {
        for (number, policy) in traps.iter().enumerate() {
            // A VM that ends again right after its start is not started at once: that would be an outage of Envoy's.
            thread::sleep(BETWEEN_STARTS);
            let method = ["GET", "POST", "DELETE", "HEAD", "OPTIONS"][number % 5];
            let path = ["/", "/a/b?c=d", "/%2e%2e/", "//x", "/%C3%A9", long.as_str()][number % 6];
            let before = tenants.count_deaths();
            for time in 0..2 * WORKERS {
                let worker = &mut tenants.workers[(number + time) % WORKERS];
                assert_eq!(ask_and_trap(worker, policy, method, path).status, 503, "{policy}");
            }
            let deaths = tenants.count_deaths() - before;
            assert!((1..=VM_FAILURES).contains(&deaths), "{policy}: {deaths}");
            tenants.deaths += deaths;
            // Envoy waits before it starts a VM again that has just been started.
            tenants.wait_until(&format!("{policy} is closed in every worker"), |tenants| {
                tenants.workers.iter_mut().all(|worker| {
                    let answer = exchange(worker, policy).expect("Envoy answers");
                    assert_eq!(answer.status, 503, "{policy}");
                    answer.header("x-portcullis-reason") == Some(&b"quarantined"[..])
                })
            });
        }
        for (what, one, other) in poisons::requests() {
            for worker in &mut tenants.workers {
                let answer = ask_gullible(worker, what, &one, &other);
                assert!([200, 403, 500].contains(&answer.status), "{what}: {answer:?}");
            }
        }
    });
    tenants.assert_well(&seen);
    assert!(seen.failures() <= tenants.in_flight(), "{seen:?}");
}

fn ask_gullible(connection: &mut Connection, what: &str, one: &str, other: &str) -> Response {
    let request = Request::get("/").header("host", "gate.test").header(ROUTE_HEADER, "gullible");
    let request = request.header("x-do", what).header("x-a", one).header("x-b", other);
    connection.send(&request).expect("Envoy reads");
    connection.receive("GET").expect("Envoy answers")
}

// === impl Tenants ===

impl Tenants {
    /// Starts with the first revision of every bundle, or with what is given in its place; what is good is served then.
    fn start(names: &[&str], others: &[(&str, Vec<u8>)]) -> Self {
        let server = bundle_server([]);
        for name in names.iter().chain(&["a2"]) {
            server.publish(&path(name), archive(name, "1", "").build());
        }
        for (name, archive) in others {
            server.publish(&path(name), archive.clone());
        }
        let gate = start(&server, names);
        let workers = a_connection_to_each_worker(&gate, WORKERS);
        let expected = Arc::new(Expected::default());
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut tenants = Self { names, server, gate, workers, expected, good: 1, deaths: 0 };
        for name in tenants.names.clone() {
            tenants.expected.set(&name, &["1"]);
            if others.iter().all(|(other, _)| *other != name) {
                tenants.wait_until_served(&name, "1");
            }
        }
        tenants
    }

    /// Lets something happen while `a`, `b` and `c` are asked all the time.
    fn under_load(&mut self, what: impl FnOnce(&mut Self)) -> Watched {
        let asked: Vec<&str> = ["a", "b", "c", "b", "c"]
            .into_iter()
            .filter(|name| self.names.iter().any(|known| known == name))
            .collect();
        let (addr, expected) = (self.gate.addr(), Arc::clone(&self.expected));
        let to_each = |_| a_connection_to_each_worker(&self.gate, WORKERS);
        let connections: Vec<Connection> = (0..CONNECTIONS / WORKERS).flat_map(to_each).collect();
        watch_while(addr, connections, &asked, &expected, |_| what(self)).0
    }

    /// One poison for `a`, and its cure.
    fn meet(&mut self, poison: &Poison) {
        let last = self.good.to_string();
        match poison.fate {
            Fate::Loaded => self.expected.set("a", &[&last, poison.name, ERROR]),
            Fate::Ends | Fate::Refused => self.expected.set("a", &[&last]),
        }
        self.offer("a", poison, if poison.fate == Fate::Ends { VM_FAILURES } else { 0 });
        self.cure_a();
    }

    /// Two bundles that are poison only together.
    fn meet_pair(&mut self, first: &str, second: &str) {
        let half = |bundle: &str, name, fate| {
            let hook = format!("package {bundle}\n\n# hook: end-pair\n");
            Poison { name, fate, archive: archive(bundle, name, "").file("half.rego", hook).build() }
        };
        let last = self.good.to_string();
        self.expected.set("a", &[&last, "half"]);
        self.offer(first, &half(first, "half", Fate::Loaded), 0);
        if first == "a" {
            self.expected.set("a", &["half"]);
        }
        self.offer(second, &half(second, "pair", Fate::Ends), VM_FAILURES);
        // Only the second is accused; another one in the place of either is a cure.
        self.good += 1;
        let next = self.good.to_string();
        self.expected.add("a", &next);
        if second == "a" {
            self.expected.add("a", "pair");
        }
        self.cure(first, archive(first, &next, ""));
        self.cure(second, archive(second, &next, ""));
        self.cure_a();
    }

    /// A bundle that passes its trial, and ends a VM that begins with it: the one in place of one that a request ends.
    fn meet_at_start(&mut self, name: &'static str, policy: &str) {
        let poison = Poison { fate: Fate::Loaded, ..poisons::hooked(name, "end-compile-on-start") };
        let last = self.good.to_string();
        self.expected.set("a", &[&last, name]);
        self.offer("a", &poison, 0);
        ask_and_trap(&mut self.workers[0], policy, "GET", "/");
        self.wait_until_fate("a", &poison.archive, Fate::Ends);
        self.expect_deaths(name, 1 + VM_FAILURES);
        self.wait_until("a decision", |tenants| {
            tenants.workers.iter_mut().all(|worker| {
                let answer = exchange(worker, "a").expect("Envoy answers");
                answer.header("x-generation").is_some_and(|it| it == last.as_bytes() || it == name.as_bytes())
            })
        });
        self.cure_a();
    }

    /// Publishes something for a bundle of `a` and waits until it is known what becomes of it.
    fn offer(&mut self, bundle: &str, poison: &Poison, deaths: usize) {
        let Poison { name, fate, archive } = poison;
        let (fate, told) = (*fate, self.gate.envoy.log().len());
        self.server.publish(&path(bundle), archive.clone());
        let detail = self.wait_until_fate(bundle, archive, fate);
        self.expect_deaths(name, deaths);
        if fate == Fate::Loaded {
            return;
        }
        // The bundle and the cause are named, and the digest of what has ended a VM.
        let ended = format!("bundle `{bundle}` digest {}", &digest(archive)[..12]);
        let is_named = |text: &str| match fate {
            Fate::Ends => text.contains(&ended),
            _ => text.contains("a/poison.rego:") || text.contains("a/data/data."),
        };
        let (found, policy) = (&detail["bundles"][bundle], &detail["policies"]["a"]);
        let mut causes = [&found["fault"], &found["refused"], &policy["cause"]].into_iter();
        assert!(causes.any(|cause| cause.as_str().is_some_and(is_named)), "{name}: {detail:#}");
        let of_bundle = format!(" bundle={bundle} ");
        self.wait_until("a line in the log", |tenants| {
            let log = tenants.gate.envoy.log();
            let mut lines = log[told..].lines().filter(|line| line.contains(" transition "));
            lines.any(|line| is_named(line) && (line.contains(" policy=a ") || line.contains(&of_bundle)))
        });
    }

    /// The next good revision of `a`, after which every worker decides by it.
    fn cure_a(&mut self) {
        self.good += 1;
        let next = self.good.to_string();
        self.expected.add("a", &next);
        self.cure("a", archive("a", &next, ""));
        self.wait_until_served("a", &next);
        self.expected.set("a", &[&next]);
    }

    /// Publishes what is good again; it is loaded with the next polls, and no other ones are answered until it is.
    fn cure(&mut self, bundle: &str, archive: Archive) {
        let (path, archive) = (path(bundle), archive.build());
        self.server.publish(&path, archive.clone());
        let before = self.server.traffic().count(&path);
        let digest = digest(&archive);
        self.wait_until("the cure", |tenants| {
            if tenants.server.traffic().count(&path) >= before + POLLS {
                tenants.server.fault(&path, Fault::HangUntilReleased);
            }
            tenants.detail().is_some_and(|detail| is_loaded(&detail, bundle, &digest))
        });
        self.server.clear_fault(&path);
        self.server.release(&path);
        self.expect_deaths("the cure", 0);
    }

    fn wait_until_fate(&mut self, bundle: &str, archive: &[u8], fate: Fate) -> Value {
        let digest = digest(archive);
        let mut last = Value::Null;
        self.wait_until("its fate", |tenants| {
            let Some(detail) = tenants.detail() else { return false };
            let found = fate_of(&detail, bundle, &digest);
            last = detail;
            found.is_some_and(|found| found == fate || fate != Fate::Ends || found != Fate::Loaded)
        });
        assert_eq!(fate_of(&last, bundle, &digest), Some(fate), "{last:#}\n{}", self.gate.envoy.log());
        last
    }

    /// The most requests that the VMs that have ended can have had: those of one worker each.
    fn in_flight(&self) -> u64 {
        (self.deaths * CONNECTIONS / WORKERS) as u64
    }

    /// So many VMs have ended since this was last asked.
    fn expect_deaths(&mut self, name: &str, deaths: usize) {
        let counted = self.count_deaths();
        let before = std::mem::replace(&mut self.deaths, counted);
        assert_eq!(counted - before, deaths, "{name}\n{}", self.gate.envoy.log());
    }

    fn count_deaths(&self) -> usize {
        let log = self.gate.envoy.log();
        log.lines().filter(|line| line.contains("Function: ") && line.contains(" failed")).count()
    }

    fn wait_until_served(&mut self, policy: &str, generation: &str) {
        self.wait_until(&format!("generation {generation} of {policy}"), |tenants| {
            tenants.workers.iter_mut().all(|worker| {
                exchange(worker, policy).expect("Envoy answers").header("x-generation")
                    == Some(generation.as_bytes())
            })
        });
    }

    /// What the gate tells of itself; nothing while the VM that is asked is not there.
    fn detail(&mut self) -> Option<Value> {
        let worker = self.workers.last_mut().expect("there are workers");
        worker.send(&Request::get(format!("{HEALTH}?detail"))).expect("Envoy reads");
        let response = worker.receive("GET").expect("Envoy answers");
        response.json().ok()
    }

    fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let begin = Instant::now();
        while !condition(self) {
            assert!(begin.elapsed() < BOUND, "{what}: never\n{}", self.gate.envoy.log());
            thread::sleep(PAUSE);
        }
    }

    /// All that is left is as it should be.
    fn assert_well(&mut self, seen: &Watched) {
        println!("{} VMs ended; {seen:?}", self.deaths);
        // Who loads is there: what is new is served by all.
        for name in ["b", "c"] {
            self.expected.add(name, "2");
            self.cure(name, archive(name, "2", ""));
            self.wait_until_served(name, "2");
        }
        // The VM of the main thread does not come back; what ended elsewhere is there again.
        self.wait_until("the figures", |tenants| {
            let figure = |name: &str| tenants.gate.counter(name);
            figure("portcullis_healthy") == 1
                && figure("portcullis_vms_lost") == 0
                && figure("portcullis_vms_alive") >= WORKERS as u64
        });
        let vms = self.detail().map_or(0, |detail| detail["vms"].as_array().map_or(0, Vec::len));
        assert!((WORKERS..=WORKERS + 1).contains(&vms), "{vms} places");
        assert_eq!(self.count_deaths(), self.deaths);
    }
}

fn start(server: &BundleServer, names: &[&str]) -> Gate {
    let polling = json!({ "min_delay_seconds": 1, "max_delay_seconds": 1 });
    let bundle = |name: &&str| {
        ((*name).to_owned(), json!({ "resource": format!("{name}.tar.gz"), "polling": polling }))
    };
    let policy = |name: &&str| {
        let bundles = if *name == "a" { json!(["a", "a2"]) } else { json!([name]) };
        ((*name).to_owned(), json!({ "bundles": bundles, "decision": format!("{name}/decision") }))
    };
    let document = json!({
        "services": { "hub": { "url": server.url("").trim_end_matches('/'), "cluster": "hub" } },
        "bundles": names.iter().chain(&["a2"]).map(bundle).collect::<Map<_, _>>(),
        "portcullis": {
            "policies": names.iter().map(policy).collect::<Map<_, _>>(),
            "default_policy": names[0],
            "health": { "path": HEALTH, "detail": true },
            "limits": { "evaluation_ms": EVALUATION_MS },
        },
    });
    let options = GateOptions {
        concurrency: u32::try_from(WORKERS).expect("a few"),
        module: Some(HOOKS_MODULE.to_vec()),
        policies: names.iter().map(|name| (*name).to_owned()).collect(),
        amend: Some(Box::new(answer_in_place)),
        ..GateOptions::default()
    };
    Gate::start(&document.to_string(), &options)
}

fn path(bundle: &str) -> String {
    format!("/{bundle}.tar.gz")
}
