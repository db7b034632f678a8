//! The mistakes of the guests are mistakes in real Envoy, where one order of events is enough to show them.
//!
//! The order is made by the cluster `feed`, which holds an answer back until the test has seen what must come first.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use host_harness::{
    GUESTS_MODULE,
    real_envoy::{BootstrapOptions, EnvoyOptions, RealEnvoy, bootstrap},
    servers::{
        Upstream,
        client::{Connection, Request},
    },
};
use portcullis_filter::config::{Config, InputConfig, Limits, ManagerConfig};
use serde_json::json;
use tempfile::TempDir;

/// Generous: a wait ends with its condition.
const BOUND: Duration = Duration::from_secs(60);
/// What polls, by number, are held back for.
const POLLS: [&str; 9] = ["", "1", "2", "3", "4", "5", "6", "7", "8"];

#[test]
fn an_item_from_the_time_of_the_canary_is_seen_only_by_who_looks() {
    let state = |fixed| start("canary-owns-queue", fixed, |_| Say::ok("")).text("/state");
    assert_eq!(state(false), "0:");
    assert_eq!(state(true), "1:on");
}

#[test]
fn a_request_gets_the_answer_about_its_own_user() {
    let bodies = |fixed| {
        let running = start("scratch-crossing", fixed, |call| match call.path {
            "/alice" => Say::ok("allow").once("alice"),
            _ => Say::ok("deny").once("bob"),
        });
        let [mut alice, mut bob] = ["alice", "bob"].map(|user| {
            let connection = running.send(&Request::get("/").header("x-user", user));
            running.feed.wait_for(&format!("/{user}"), 1);
            connection
        });
        ["alice", "bob"].into_iter().for_each(|user| running.feed.allow(user));
        [&mut alice, &mut bob].map(|connection| connection.receive("GET").unwrap().text())
    };
    assert_eq!(bodies(false), ["bob: allow", "bob: deny"]);
    assert_eq!(bodies(true), ["alice: allow", "bob: deny"]);
}

#[test]
fn workers_that_use_the_same_token_keep_apart() {
    let bodies = |fixed| {
        let running = start_on(2, "id-collision", fixed, |call| match call.path {
            "/alice" => Say::ok("allow").once("alice"),
            _ => Say::ok("deny").once("bob"),
        });
        // Connections that are open at the same time go to different workers.
        let [mut alice, mut bob] = ["alice", "bob"].map(|user| {
            let connection = running.send(&Request::get("/").header("x-user", user));
            running.feed.wait_for(&format!("/{user}"), 1);
            connection
        });
        [(&mut alice, "alice"), (&mut bob, "bob")].map(|(connection, user)| {
            running.feed.allow(user);
            connection.receive("GET").unwrap().text()
        })
    };
    assert_eq!(bodies(false), ["bob: allow", "bob: deny"]);
    assert_eq!(bodies(true), ["alice: allow", "bob: deny"]);
}

#[test]
fn the_last_registrant_alone_is_told() {
    let states = |fixed| {
        let running = start_on(2, "last-registrant-wins", fixed, |_| Say::ok(""));
        let mut workers = [(); 2].map(|()| Connection::open(running.envoy.listener_addr()).unwrap());
        let mut ask = || {
            let mut states = workers.each_mut().map(|worker| {
                worker.send(&Request::get("/state")).unwrap();
                worker.receive("GET").unwrap().text()
            });
            states.sort();
            states
        };
        let settled = if fixed { ["1:on", "1:on"] } else { ["0:", "1:on"] };
        assert!(running.envoy.wait_until(BOUND, |_| Ok(ask() == settled)).unwrap(), "{:?}", ask());
        ask()
    };
    assert_eq!(states(false), ["0:", "1:on"]);
    assert_eq!(states(true), ["1:on", "1:on"]);
}

#[test]
fn an_answer_that_was_overtaken_does_not_win() {
    let state = |fixed| {
        let running = start("bundles-out-of-order", fixed, |call| match call.nth {
            1 => Say::ok("1:old").once("old"),
            _ => Say::ok("2:new"),
        });
        running.wait_for("/state", "2:new");
        running.feed.allow("old");
        running.wait_for_answers(2);
        running.text("/state")
    };
    assert_eq!(state(false), "1:old");
    assert_eq!(state(true), "2:new");
}

#[test]
fn an_answer_that_was_cut_off_denies_nobody_less() {
    let status = |fixed| {
        let running = start("reset-looks-empty", fixed, |call| match call.nth {
            1 => Say::ok("root mallory"),
            2 => Say::cut_off().once("cut"),
            _ => Say::ok("root mallory"),
        });
        running.wait_for("/state", "root mallory");
        let mallory = || running.status(&Request::get("/").header("x-user", "mallory"));
        assert_eq!(mallory(), 403);
        running.feed.allow("cut");
        running.wait_for_answers(if fixed { 3 } else { 2 });
        mallory()
    };
    assert_eq!(status(false), 200);
    assert_eq!(status(true), 403);
}

#[test]
fn an_answer_for_a_request_that_is_gone_leaves_the_vm_alone() {
    for fixed in [false, true] {
        let running = start("answer-after-delete", fixed, |_| Say::ok("").once("left"));
        let leaves = running.send(&Request::get("/"));
        let mut stays = running.send(&Request::get("/"));
        running.feed.wait_for("/batch", 1);
        drop(leaves);
        running.wait_for_stat("http.ingress.downstream_cx_destroy_remote_active_rq", 1);
        running.feed.allow("left");
        if fixed {
            assert_eq!(stays.receive("GET").unwrap().status, 200);
        } else {
            // Nobody answers a request that waits in a VM which is gone, until it has stood still for too long.
            let trapped = "the stream waits for its answer: BadArgument";
            assert!(running.envoy.wait_until(BOUND, |envoy| Ok(envoy.log().contains(trapped))).unwrap());
        }
    }
}

#[test]
fn what_is_replayed_does_not_replace_what_came_after_it() {
    let state = |fixed| {
        let running = start("replay-after-live", fixed, |call| match (call.path, call.nth_of_path) {
            ("/send/1", 1) => Say::nothing(),
            ("/send/1", _) => Say::ok("").once("replay"),
            _ => Say::ok(""),
        });
        running.text("/publish/1");
        running.wait_for_answers(1);
        running.text("/publish/2");
        running.wait_for("/state", "2");
        running.feed.allow("replay");
        running.wait_for_answers(3);
        running.text("/state")
    };
    assert_eq!(state(false), "1");
    assert_eq!(state(true), "2");
}

#[test]
fn a_gap_during_a_recovery_is_recovered_too() {
    let state = |fixed| {
        let running = start("late-gap-lost", fixed, |call| match (call.path, call.nth_of_path) {
            ("/poll", nth @ (2 | 4)) => Say::status(503).once(POLLS[nth]),
            ("/poll", nth) => Say::ok("").once(POLLS[nth]),
            ("/resync", 1) => Say::ok("").once("recovered"),
            _ => Say::ok(""),
        });
        running.text("/join");
        running.feed.wait_for("/poll", 8);
        (1..=3).for_each(|poll| running.let_go(POLLS[poll]));
        running.feed.wait_for("/resync", 1);
        // The second gap begins and ends while the recovery from the first one goes on.
        running.let_go(POLLS[4]);
        running.text("/publish/7");
        (5..=8).for_each(|poll| running.let_go(POLLS[poll]));
        running.let_go("recovered");
        running.text("/state")
    };
    assert_eq!(state(false), "0");
    assert_eq!(state(true), "7");
}

#[test]
fn a_reader_that_ended_by_itself_is_no_gap() {
    let resyncs = |fixed| {
        let running = start("spurious-resync-loop", fixed, |_| Say::ok(""));
        running.text("/join");
        running.wait_for_answers(1);
        running.text("/leave");
        // Seven starts in its eight rounds, six of them with a resync.
        running.wait_for_answers(if fixed { 2 } else { 13 });
        running.feed.count("/resync")
    };
    assert_eq!(resyncs(false), 6);
    assert_eq!(resyncs(true), 0);
}

#[test]
fn a_quiet_connection_is_no_failure() {
    let health = |fixed| {
        let running = start("quiet-flap-gives-up", fixed, |call| match call.nth {
            1..=3 => Say::ok(""),
            _ => Say::ok("1:item"),
        });
        running.text("/join");
        running.wait_for_answers(if fixed { 8 } else { 3 });
        (running.text("/state"), running.status(&Request::get("/health")))
    };
    assert_eq!(health(false), ("0".to_owned(), 503));
    assert_eq!(health(true), ("1".to_owned(), 200));
}

#[test]
fn a_full_buffer_drops_the_oldest() {
    let state = |fixed| {
        let running = start("buffer-evicts-newest", fixed, |call| match (call.path, call.nth_of_path) {
            ("/send/1", _) => Say::ok("").once("full"),
            ("/send/2", 1) => Say::status(503),
            _ => Say::ok(""),
        });
        for item in 1..=3 {
            running.text(&format!("/publish/{item}"));
        }
        running.feed.wait_for("/send/1", 1);
        for item in 4..=5 {
            running.text(&format!("/publish/{item}"));
        }
        running.feed.allow("full");
        let newest = if fixed { "5" } else { "4" };
        running.wait_for("/state", newest);
        running.feed.count("/send/5")
    };
    assert_eq!(state(false), 0);
    assert_eq!(state(true), 1);
}

#[test]
fn gaps_in_a_row_are_resynced_once() {
    let resyncs = |fixed| {
        let running = start("resync-storm", fixed, |call| match (call.path, call.nth_of_path) {
            ("/poll", nth) if nth % 2 == 0 => Say::status(503).once(POLLS[nth]),
            ("/poll", nth) => Say::ok("").once(POLLS[nth]),
            _ => Say::ok("9"),
        });
        running.text("/join");
        running.feed.wait_for("/poll", 8);
        (1..=3).for_each(|poll| running.let_go(POLLS[poll]));
        running.feed.wait_for("/all", 1);
        // Two more gaps.
        (4..=5).for_each(|poll| running.let_go(POLLS[poll]));
        if !fixed {
            running.feed.wait_for("/all", 2);
        }
        (6..=8).for_each(|poll| running.let_go(POLLS[poll]));
        let last = if fixed { 2 } else { 3 };
        running.feed.wait_for("/all", last);
        running.wait_for("/state", "9");
        running.feed.count("/all")
    };
    assert_eq!(resyncs(false), 3);
    assert_eq!(resyncs(true), 2);
}

// === Envoy with a guest ===

struct Running {
    envoy: RealEnvoy,
    feed: Feed,
    _upstream: Upstream,
    _module: TempDir,
}

fn start(scenario: &str, fixed: bool, answer: impl Fn(&Call) -> Say + Send + Sync + 'static) -> Running {
    start_on(1, scenario, fixed, answer)
}

fn start_on(
    workers: u32,
    scenario: &str,
    fixed: bool,
    answer: impl Fn(&Call) -> Say + Send + Sync + 'static,
) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("guests.wasm");
    std::fs::write(&module, GUESTS_MODULE).unwrap();
    let (feed, upstream) = (Feed::start(answer), Upstream::start().unwrap());
    let configuration = json!({ "scenario": scenario, "fixed": fixed }).to_string();
    let options = BootstrapOptions {
        seal: false,
        concurrency: workers,
        ..BootstrapOptions::new(&module, configuration, upstream.addr().into())
    };
    let mut bootstrap = bootstrap(&no_bundles(), &options);
    let endpoint = json!({ "address": { "socket_address": {
        "address": feed.addr.ip().to_string(), "port_value": feed.addr.port(),
    } } });
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().unwrap();
    clusters.push(json!({
        "name": "feed",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "feed",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": endpoint }] }],
        },
    }));
    bootstrap["static_resources"]["listeners"][0]["connection_balance_config"] =
        json!({ "exact_balance": {} });
    let options = EnvoyOptions { concurrency: workers, ..EnvoyOptions::default() };
    let envoy = RealEnvoy::start(&bootstrap, &options).unwrap();
    Running { envoy, feed, _upstream: upstream, _module: dir }
}

/// What the configuration is written for, beside the guest: nothing.
fn no_bundles() -> Config {
    Config {
        bundles: BTreeMap::new(),
        policies: BTreeMap::new(),
        default_policy: None,
        clusters: BTreeMap::new(),
        max_concurrent_downloads: 1,
        limits: Limits::default(),
        staleness: BTreeMap::new(),
        health_path: None,
        health_detail: false,
        input: InputConfig::default(),
        labels: BTreeMap::new(),
        paths: Default::default(),
        manager: ManagerConfig::default(),
    }
}

impl Running {
    fn send(&self, request: &Request) -> Connection {
        let mut connection = Connection::open(self.envoy.listener_addr()).unwrap();
        connection.send(request).unwrap();
        connection
    }

    fn status(&self, request: &Request) -> u16 {
        request.send(self.envoy.listener_addr()).unwrap().status
    }

    fn text(&self, path: &str) -> String {
        Request::get(path).send(self.envoy.listener_addr()).unwrap().text()
    }

    fn wait_for(&self, path: &str, body: &str) {
        let came = self.envoy.wait_until(BOUND, |_| Ok(self.text(path) == body)).unwrap();
        assert!(came, "{path} is {}, not {body}", self.text(path));
    }

    fn wait_for_stat(&self, name: &str, at_least: u64) {
        let came = self
            .envoy
            .wait_until(BOUND, |envoy| Ok(envoy.stats()?.get(name).is_some_and(|value| *value >= at_least)));
        assert!(came.unwrap(), "{name} of {at_least}: {:?}", self.envoy.stats().unwrap().get(name));
    }

    /// Waits until the guest has made so many calls and has been told of every answer that is not held back.
    fn wait_for_answers(&self, count: u64) {
        self.wait_for_stat("cluster.feed.upstream_rq_total", count);
        let reported = self.envoy.wait_until(BOUND, |envoy| {
            Ok(envoy.stats()?["cluster.feed.upstream_rq_active"] == self.feed.lock().held.len() as u64)
        });
        assert!(reported.unwrap(), "a call does not end");
    }

    /// Lets an answer go, of the calls that are all made, and waits until the guest has been told of it.
    fn let_go(&self, what: &'static str) {
        self.feed.allow(what);
        self.wait_for_answers(1);
    }
}

// === the cluster `feed` ===

/// A server whose answers the test holds back and lets go.
struct Feed {
    addr: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    seen: Vec<String>,
    allowed: BTreeSet<&'static str>,
    held: BTreeSet<&'static str>,
}

struct Call<'a> {
    path: &'a str,
    /// Which call this is, from 1.
    nth: usize,
    /// Which call of its path.
    nth_of_path: usize,
}

struct Say {
    bytes: String,
    once: Option<&'static str>,
}

impl Say {
    fn status(status: u16) -> Say {
        Say::whole(status, "")
    }

    fn ok(body: &str) -> Say {
        Say::whole(200, body)
    }

    /// Headers that promise a body, and the end of the connection.
    fn cut_off() -> Say {
        Say { bytes: "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nroot".to_owned(), once: None }
    }

    /// The end of the connection.
    fn nothing() -> Say {
        Say { bytes: String::new(), once: None }
    }

    /// The same, once the test has allowed it.
    fn once(self, allowed: &'static str) -> Say {
        Say { once: Some(allowed), ..self }
    }

    fn whole(status: u16, body: &str) -> Say {
        let length = body.len();
        let head = format!("HTTP/1.1 {status} -\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        Say { bytes: head + body, once: None }
    }
}

impl Feed {
    fn start(answer: impl Fn(&Call) -> Say + Send + Sync + 'static) -> Feed {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let feed = Feed { addr: listener.local_addr().unwrap(), state: Arc::default() };
        let (state, answer) = (Arc::clone(&feed.state), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, answer) = (Arc::clone(&state), Arc::clone(&answer));
                thread::spawn(move || serve(stream, &state, &*answer));
            }
        });
        feed
    }

    /// Lets an answer go, whether it is held back by now or later.
    fn allow(&self, what: &'static str) {
        let mut state = self.lock();
        state.allowed.insert(what);
        state.held.remove(what);
        self.state.1.notify_all();
    }

    fn count(&self, path: &str) -> usize {
        self.lock().seen.iter().filter(|seen| *seen == path).count()
    }

    fn wait_for(&self, path: &str, count: usize) {
        let few = |state: &mut State| state.seen.iter().filter(|seen| *seen == path).count() < count;
        let (state, waited) = self.state.1.wait_timeout_while(self.lock(), BOUND, few).unwrap();
        assert!(!waited.timed_out(), "no {path} among {:?}", state.seen);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap()
    }
}

/// Answers one request and closes the connection.
fn serve(mut stream: TcpStream, state: &(Mutex<State>, Condvar), answer: &dyn Fn(&Call) -> Say) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else {
        return;
    };
    let mut guard = state.0.lock().unwrap();
    guard.seen.push(path.to_owned());
    let nth_of_path = guard.seen.iter().filter(|seen| *seen == path).count();
    let say = answer(&Call { path, nth: guard.seen.len(), nth_of_path });
    let is_held = |state: &State| say.once.is_some_and(|what| !state.allowed.contains(what));
    if is_held(&guard) {
        guard.held.extend(say.once);
    }
    state.1.notify_all();
    drop(state.1.wait_while(guard, |state| is_held(state)).unwrap());
    // Envoy may have gone away meanwhile.
    let _ = stream.write_all(say.bytes.as_bytes());
}
