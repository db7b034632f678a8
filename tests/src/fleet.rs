//! Envoy's threads one by one: a connection to each worker, and what each VM has told.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use host_harness::servers::client::{Connection, Request, Response};

use crate::envoy::{Gate, ROUTE_HEADER};

/// The built filter with the feature `hooks`: [`ask_and_trap`] ends its VM.
pub const HOOKS_MODULE: &[u8] = include_bytes!(env!("PORTCULLIS_HOOKS_MODULE"));
/// The kernel chooses the worker of a connection by its address: after so many for each worker, all have had some.
const MOST_CONNECTIONS: usize = 50;

/// One of Envoy's threads that run a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thread {
    /// The main thread, which takes no requests.
    Main,
    /// A worker by its number.
    Worker(usize),
}

/// One line in which a VM tells that a state has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Where the VM runs.
    pub thread: Thread,
    /// `registry` for what is published, `vm` for what this VM does.
    pub scope: String,
    /// Name of the VM.
    pub vm: String,
    /// The bundle, or nothing where the line is about something else.
    pub bundle: String,
    /// State before.
    pub from: String,
    /// State after.
    pub to: String,
    /// Generation of the bundle.
    pub generation: u64,
    /// Epoch of its owner.
    pub epoch: u64,
}

/// Opens connections until there is one to each worker; gives them in the order of the workers.
///
/// Envoy counts the connections of each listener by worker, so each of them is known for certain.
pub fn a_connection_to_each_worker(gate: &Gate, workers: usize) -> Vec<Connection> {
    let mut found: BTreeMap<usize, Connection> = BTreeMap::new();
    // The others are kept open until the end, or the kernel might give the same worker again and again.
    let mut others = Vec::new();
    let mut before = connections_by_worker(gate);
    let most = workers * MOST_CONNECTIONS;
    for _ in 0..most {
        let connection = Connection::open(gate.addr()).expect("Envoy takes connections");
        let mut after = BTreeMap::new();
        let counted = gate.envoy.wait_until(crate::envoy::BOUND, |_| {
            after = connections_by_worker(gate);
            Ok(after != before)
        });
        assert!(counted.expect("nothing here fails"), "Envoy never counted the connection");
        let worker = after.iter().find(|(worker, count)| before.get(worker) != Some(count));
        let (worker, _) = worker.expect("a counter has risen");
        match found.entry(*worker) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(connection);
            }
            std::collections::btree_map::Entry::Occupied(_) => others.push(connection),
        }
        if found.len() == workers {
            return found.into_values().collect();
        }
        before = after;
    }
    panic!("{most} connections reached only {:?} of {workers} workers", found.keys());
}

fn connections_by_worker(gate: &Gate) -> BTreeMap<usize, u64> {
    let stats = gate.envoy.admin_get("/stats?filter=worker_.*downstream_cx_total");
    let stats = stats.unwrap_or_else(|error| panic!("{error}"));
    let counted = stats.lines().filter_map(|line| {
        let (name, count) = line.split_once(": ")?;
        let worker = name.strip_suffix(".downstream_cx_total")?.rsplit_once("worker_")?.1;
        Some((worker.parse().ok()?, count.parse().ok()?))
    });
    counted.collect()
}

/// A request that a named policy decides, over a connection that stays open.
pub fn ask(connection: &mut Connection, policy: &str, method: &str, path: &str) -> Response {
    let request = Request::new(method, path).header("host", "gate.test").header(ROUTE_HEADER, policy);
    connection.send(&request).expect("Envoy reads");
    connection.receive(method).expect("Envoy answers")
}

/// The same with the header that ends the VM of a module with hooks.
pub fn ask_and_trap(connection: &mut Connection, policy: &str, method: &str, path: &str) -> Response {
    let request = Request::new(method, path).header("host", "gate.test").header(ROUTE_HEADER, policy);
    connection.send(&request.header("x-portcullis-trap", "1")).expect("Envoy reads");
    connection.receive(method).expect("Envoy answers")
}

// === impl Told ===

impl Told {
    /// Every transition that stands in Envoy's log, in the order in which they were written.
    pub fn all(gate: &Gate) -> Vec<Self> {
        let threads = threads(gate.envoy.pid());
        gate.envoy.log().lines().filter_map(|line| Self::read(line, &threads)).collect()
    }

    /// The bundles that a thread's VM has claimed, and nobody after it.
    pub fn owned_by(told: &[Self], thread: Thread) -> BTreeSet<&str> {
        let mut owners = BTreeMap::new();
        for line in told.iter().filter(|line| line.scope == "registry" && line.to == "claimed") {
            let claim = owners.entry(line.bundle.as_str()).or_insert((line.epoch, line.thread));
            if line.epoch >= claim.0 {
                *claim = (line.epoch, line.thread);
            }
        }
        owners.into_iter().filter(|(_, (_, owner))| *owner == thread).map(|(bundle, _)| bundle).collect()
    }

    /// Envoy's default format begins with `[time][thread id][level]`.
    fn read(line: &str, threads: &BTreeMap<u32, Thread>) -> Option<Self> {
        let (head, fields) = line.split_once(" transition ")?;
        let thread: u32 = head.split("][").nth(1)?.parse().ok()?;
        let field = |name: &str| {
            let value = fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
            value.map(str::to_owned)
        };
        let number = |name| field(name).and_then(|value| value.parse().ok()).unwrap_or_default();
        Some(Self {
            thread: *threads.get(&thread)?,
            scope: field("scope")?,
            vm: field("vm")?,
            bundle: field("bundle").unwrap_or_default(),
            from: field("from")?,
            to: field("to")?,
            generation: number("generation"),
            epoch: number("epoch"),
        })
    }
}

/// Envoy's threads by their ids; workers are named `wrk:worker_3`.
fn threads(pid: u32) -> BTreeMap<u32, Thread> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("Envoy runs");
    let named = tasks.filter_map(|task| {
        let task = task.ok()?;
        let id: u32 = task.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let worker = name.trim().strip_prefix("wrk:worker_").and_then(|number| number.parse().ok());
        match worker {
            Some(worker) => Some((id, Thread::Worker(worker))),
            None => (id == pid).then_some((id, Thread::Main)),
        }
    });
    named.collect()
}
