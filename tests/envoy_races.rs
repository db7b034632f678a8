//! Races that the harness predicts, seen in real Envoy: by repetition where only the threads decide, and step by step
//! where the clients do.
//!
//! The guest is `guests/races.wat`. Each race stands beside the guest that does not have it, under the same load.

use std::{
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use host_harness::{
    abi::{Module, Runtime},
    envoy::{Envoy, EnvoyOptions, Exchange, Request},
    race::{
        scenario::Scenario,
        search::{self, Options, Report},
    },
    servers::client::{self, Connection},
    world::Scripted,
};
use portcullis_filter::config::Config;
use portcullis_tests::envoy::{BOUND, Gate, GateOptions};

/// More rounds than any of these races ever took, by far.
const MOST_ROUNDS: usize = 5000;
/// How many connections it may take until the kernel has given one to each worker.
const MOST_CONNECTIONS: usize = 64;
const CONCURRENCY: u32 = 3;

/// What a VM tells of itself, as `races.wat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    vm: u32,
    /// What it took out of the queue last.
    view: u32,
    /// What it read in the last call for the queue.
    read: u32,
    items: u32,
    calls: u32,
    calls_for_nothing: u32,
    /// The shared counter.
    counter: u32,
}

/// A real Envoy with the guest, and a connection to each worker.
struct Real {
    gate: Gate,
    workers: Vec<Connection>,
}

#[test]
fn an_update_without_a_compare_is_lost() {
    let mut real = Real::start();
    let per_worker = 200;
    let mut counted = 0;
    let left = by_repetition(|| {
        counted += real.at_once("/c", per_worker);
        Some(real.counter()).filter(|left| *left < counted)
    });
    assert!(left.is_some(), "{counted} updates, and none was lost");

    // With a compare, none is.
    let before = real.counter();
    let counted = real.at_once("/C", per_worker);
    assert_eq!(real.counter(), before + counted);

    // The harness finds the one between two hostcalls, and nothing in the other.
    assert_eq!(explore("/c", "/n", false).failing, 0);
    assert!(explore("/c", "/n", true).first.is_some());
    assert_eq!(explore("/C", "/n", true).failing, 0);
}

#[test]
fn an_update_is_lost_when_another_comes_between_its_read_and_its_write() {
    let mut real = Real::start();
    real.send_head(0, "/h");
    real.wait_for_held(1);
    real.send_head(1, "/h");
    real.wait_for_held(2);
    real.send_body(0);
    real.send_body(1);
    assert_eq!(real.counter(), 1, "two updates");

    let mut envoy = harness();
    let ids = [0, 1].map(|worker| envoy.begin(worker, held("/h", 1)));
    envoy.run_for(Duration::from_secs(1));
    assert!(ids.iter().all(|id| envoy.take(*id).is_some()));
    assert_eq!(word(&envoy, "counter"), 1, "two updates");
}

#[test]
fn a_consumer_is_called_for_items_that_it_took_before() {
    let mut real = Real::start();
    let mut items = 0;
    let consumer = |real: &mut Real, items: u32| {
        // One VM takes every item, and each item is one call.
        real.wait_for_state(|state| state.items == items && state.calls == items)
    };
    let for_nothing = by_repetition(|| {
        items += real.at_once("/e", 50);
        Some(consumer(&mut real, items).calls_for_nothing).filter(|calls| *calls > 0)
    });
    assert!(for_nothing.is_some(), "{items} items, and no call for nothing");

    let mut envoy = harness();
    for worker in [0, 1] {
        envoy.begin(worker, Request::get("/e"));
    }
    envoy.run_for(Duration::from_millis(1));
    let state = state_of(&envoy.exchange(1, Request::get("/i")));
    assert_eq!((state.items, state.calls, state.calls_for_nothing), (2, 2, 1));
}

#[test]
fn only_the_last_vm_that_registered_ever_hears_of_an_item() {
    let mut real = Real::start();
    let published = real.at_once("/p", 10);
    let consumer = real.wait_for_state(|state| state.items == published);
    let states = real.states();
    let stale: Vec<&State> = states.iter().filter(|state| state.vm != consumer.vm).collect();
    assert_eq!(stale.len(), states.len() - 1);
    for state in stale {
        assert_eq!((state.view, state.items, state.calls), (0, 0, 0), "{state:?}");
    }

    let mut envoy = harness();
    for _ in 0..10 {
        envoy.exchange(0, Request::get("/p"));
    }
    envoy.run_for(Duration::from_millis(1));
    let [first, last] = [0, 1].map(|worker| state_of(&envoy.exchange(worker, Request::get("/i"))));
    assert_eq!((first.view, first.calls), (0, 0));
    assert_eq!((last.view, last.items), (10, 10));
}

#[test]
fn a_snapshot_in_a_message_overtakes_a_later_one() {
    let mut real = Real::start();
    let mut published = 0;
    let stale = by_repetition(|| {
        published += real.at_once("/p", 2);
        let state = real.wait_for_state(|state| state.items == published && state.calls == published);
        // All is quiet now. What was read when the call came is right; what the message said may not be.
        assert_eq!(state.read, published);
        Some(state.view).filter(|view| *view != published)
    });
    let stale = stale.unwrap_or_else(|| panic!("{published} messages came in the order of their updates"));
    assert!(stale < published);

    // The harness finds it between two hostcalls, and nothing in what was read when the call came.
    assert_eq!(explore("/p", "/v", false).failing, 0);
    assert!(explore("/p", "/v", true).first.is_some());
    assert_eq!(explore("/p", "/r", true).failing, 0);
}

#[test]
fn a_snapshot_is_stale_when_it_is_sent_after_a_later_one() {
    let mut real = Real::start();
    real.send_head(0, "/x");
    real.wait_for_held(1);
    real.send_head(1, "/x");
    real.wait_for_held(2);
    real.send_body(1);
    real.send_body(0);
    let state = real.wait_for_state(|state| state.items == 2);
    assert_eq!((state.view, state.read), (1, 2));

    let mut envoy = harness();
    envoy.begin(0, held("/x", 2));
    envoy.begin(1, held("/x", 1));
    envoy.run_for(Duration::from_secs(1));
    let state = state_of(&envoy.exchange(1, Request::get("/i")));
    assert_eq!((state.items, state.view, state.read), (2, 1, 2));
}

// === impl Real ===

impl Real {
    /// An Envoy with a connection to every worker.
    fn start() -> Self {
        let config = Config::parse(
            br#"{"bundles": {"b": "http://127.0.0.1:9/b"}, "portcullis": {"url_cluster": "any"}}"#,
        )
        .expect("the configuration is good");
        let options = GateOptions {
            concurrency: CONCURRENCY,
            seal: false,
            module: Some(wat::parse_str(GUEST).expect("the guest is a module")),
            ..GateOptions::default()
        };
        let gate = Gate::start_with(&config, "", &options);
        let mut found: Vec<u32> = Vec::new();
        let mut workers = Vec::new();
        // The others are kept open until the end, or the kernel might give the same worker again and again.
        let mut others = Vec::new();
        for _ in 0..MOST_CONNECTIONS {
            let mut connection = Connection::open(gate.addr()).expect("Envoy takes connections");
            let state = ask(&mut connection, "/i");
            if !found.contains(&state.vm) {
                found.push(state.vm);
                workers.push(connection);
            } else {
                others.push(connection);
            }
            if workers.len() == CONCURRENCY as usize {
                return Self { gate, workers };
            }
        }
        panic!("{MOST_CONNECTIONS} connections reached only {found:?} of {CONCURRENCY} workers");
    }

    /// Sends so many requests over every connection, all connections at once; gives how many in all.
    fn at_once(&mut self, path: &str, per_worker: u32) -> u32 {
        let sent = per_worker * u32::try_from(self.workers.len()).expect("there are few workers");
        let together = Barrier::new(self.workers.len());
        thread::scope(|scope| {
            for connection in &mut self.workers {
                scope.spawn(|| {
                    together.wait();
                    for _ in 0..per_worker {
                        ask(connection, path);
                    }
                });
            }
        });
        sent
    }

    fn send_head(&mut self, worker: usize, path: &str) {
        let head = client::Request::new("POST", path).header("content-length", "1");
        self.workers[worker].send(&head).expect("Envoy reads");
    }

    fn send_body(&mut self, worker: usize) {
        self.workers[worker].send_bytes(b"x").expect("Envoy reads");
        self.workers[worker].receive("POST").expect("Envoy answers");
    }

    fn wait_for_held(&self, count: u64) {
        self.gate.wait_for_counter("race_held", count);
    }

    fn states(&mut self) -> Vec<State> {
        self.workers.iter_mut().map(|connection| ask(connection, "/i")).collect()
    }

    /// Waits until one worker's VM, whichever is the consumer, is as wanted.
    fn wait_for_state(&mut self, wanted: impl Fn(&State) -> bool) -> State {
        let (mut found, mut last) = (None, Vec::new());
        let workers = &mut self.workers;
        let reached = self.gate.envoy.wait_until(BOUND, |_| {
            last = workers.iter_mut().map(|connection| ask(connection, "/i")).collect();
            found = last.iter().copied().find(&wanted);
            Ok(found.is_some())
        });
        assert!(reached.expect("nothing is asked of the admin interface"), "{last:?}");
        found.expect("it was just found")
    }

    /// The shared counter.
    fn counter(&mut self) -> u32 {
        ask(&mut self.workers[0], "/i").counter
    }
}

const GUEST: &str = include_str!("guests/races.wat");

/// Repeats a round until a race shows in it.
fn by_repetition<T>(mut round: impl FnMut() -> Option<T>) -> Option<T> {
    (1..=MOST_ROUNDS).find_map(|number| round().inspect(|_| println!("seen in round {number}")))
}

/// A GET over a connection that stays open.
fn ask(connection: &mut Connection, path: &str) -> State {
    let request = client::Request::get(path).header("host", "gate.test");
    connection.send(&request).expect("Envoy reads");
    let response = connection.receive("GET").expect("Envoy answers");
    State::read(&response.body)
}

/// The harness with the guest and two workers.
fn harness() -> Envoy<Scripted> {
    let runtime = Runtime::new().expect("wasmtime runs here");
    let module = Module::load(&runtime, GUEST.as_bytes()).expect("the guest is a module");
    let options = EnvoyOptions { concurrency: 2, ..EnvoyOptions::default() };
    Envoy::start(&module, options, Scripted::new()).unwrap_or_else(|error| panic!("{error}"))
}

/// Explores a request on each of two workers, after which the one that is the consumer must answer 2.
fn explore(path: &str, then: &str, inside_callbacks: bool) -> Report {
    let text = format!(
        "scenario: race\nmodule: races.wat\nworkers: 2\nevents:\n\
         - {{at: 0ms, request: a, worker: 0, path: {path}}}\n- {{at: 0ms, request: b, worker: 1, path: {path}}}\n\
         must: {{eventually: [{{workers: [1], request: {{path: {then}}}, answer: {{status: 200, body: \"2\"}}}}]}}\n"
    );
    let mut scenarios = Scenario::parse(&text, "race.yaml").unwrap_or_else(|error| panic!("{error}"));
    let scenario = Arc::new(scenarios.remove(0));
    let runtime = Runtime::new().expect("wasmtime runs here");
    let module = Module::load(&runtime, GUEST.as_bytes()).expect("the guest is a module");
    // Every schedule with at most two preemptions, however long that takes.
    let options =
        Options { inside_callbacks, random: 0, exhaustive: false, time: Duration::MAX, ..Options::default() };
    let report = search::explore(&module, &scenario, &options, &mut |_, _| {});
    report.unwrap_or_else(|error| panic!("{error}"))
}

/// A request whose body comes later.
fn held(path: &str, after_ms: u64) -> Request {
    let mut request = Request::post(path, "x");
    request.chunk_interval = Duration::from_millis(after_ms);
    request
}

fn word(envoy: &Envoy<Scripted>, key: &str) -> u32 {
    let (value, _) = envoy.shared_data(key).expect("it was written");
    u32::from_le_bytes(value.as_ref().try_into().expect("it is a word"))
}

fn state_of(exchange: &Exchange) -> State {
    State::read(&exchange.body)
}

// === impl State ===

impl State {
    fn read(body: &[u8]) -> Self {
        let words: Vec<u32> =
            body.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes"))).collect();
        let [vm, view, read, items, calls, calls_for_nothing, counter] = words[..] else {
            panic!("a VM tells seven words, not {words:?}")
        };
        Self { vm, view, read, items, calls, calls_for_nothing, counter }
    }
}
