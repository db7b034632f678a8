//! A load that never stops asking, and somebody who looks at every answer.
//!
//! Each good answer says in `x-generation` which generation of the policy has decided; [`Expected`] says which may.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use host_harness::{
    archive::Archive,
    servers::client::{ClientError, Connection, Request, Response},
};
use serde_json::json;

use crate::envoy::ROUTE_HEADER;

/// Stands among the generations that may decide: the policy may fail at a request, too.
pub const ERROR: &str = "error";
/// Between two requests of one connection, so that Envoy has some of the processor.
const PAUSE: Duration = Duration::from_millis(2);

/// The generations by which each policy may decide now.
#[derive(Debug, Default)]
pub struct Expected(Mutex<BTreeMap<String, BTreeSet<String>>>);

/// What a load has seen. None of it was wrong, or it would have panicked.
#[derive(Debug, Default)]
pub struct Watched {
    /// Requests that a policy decided.
    pub decided: u64,
    /// Requests that no policy decided, by policy and reason.
    pub failed: BTreeMap<(String, String), u64>,
    /// Times that a connection got no decision after it had got some.
    pub outages: u64,
    /// Connections that Envoy asked to be opened anew.
    pub renewed: u64,
    /// Connections that ended under a request.
    pub broken: u64,
}

/// Sets a flag when it is dropped, whatever ends its owner.
struct SetOnDrop<'a>(&'a AtomicBool);

/// An archive whose policy `decision` allows everything and says of which generation it is; `if` may stand after it.
pub fn archive(name: &str, generation: &str, condition: &str) -> Archive {
    let manifest = json!({ "roots": [name], "revision": generation });
    let rego = format!(
        "package {name}\n\ndecision := {{\"allowed\": true, \"response_headers_to_add\": \
         {{\"x-generation\": \"{generation}\"}}}}{condition}\n"
    );
    Archive::new().file(".manifest", manifest.to_string()).file("main.rego", rego)
}

/// Asks all policies in turn over each connection while something else goes on, which is told how many were answered.
/// One that Envoy closes is opened anew.
pub fn watch_while<T>(
    addr: SocketAddr,
    connections: Vec<Connection>,
    policies: &[&str],
    expected: &Expected,
    meanwhile: impl FnOnce(&AtomicU64) -> T,
) -> (Watched, T) {
    let (ended, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let watchers: Vec<_> = (connections.into_iter().enumerate())
            .map(|(number, connection)| {
                let (ended, answered) = (&ended, &answered);
                scope.spawn(move || watch((addr, connection), number, policies, expected, ended, answered))
            })
            .collect();
        let end = SetOnDrop(&ended);
        let result = meanwhile(&answered);
        drop(end);
        let mut all = Watched::default();
        for watcher in watchers {
            all.add(watcher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        (all, result)
    })
}

fn watch(
    (addr, mut connection): (SocketAddr, Connection),
    number: usize,
    policies: &[&str],
    expected: &Expected,
    ended: &AtomicBool,
    answered: &AtomicU64,
) -> Watched {
    // One wrong answer is enough.
    let _end = SetOnDrop(ended);
    let mut seen = Watched::default();
    let mut was_decided = true;
    for policy in policies.iter().cycle().skip(number) {
        if ended.load(Ordering::Relaxed) {
            break;
        }
        let before = expected.of(policy);
        match exchange(&mut connection, policy) {
            Err(_) => {
                seen.broken += 1;
                connection = Connection::open(addr).expect("Envoy takes connections");
            }
            Ok(response) => {
                let now = expected.of(policy);
                let may = |what: &str| before.contains(what) || now.contains(what);
                let judged = judge(&response, may);
                seen.outages += u64::from(judged.is_err() && was_decided);
                was_decided = judged.is_ok();
                match judged {
                    Ok(()) => seen.decided += 1,
                    Err(reason) => *seen.failed.entry(((*policy).to_owned(), reason)).or_default() += 1,
                }
                answered.fetch_add(1, Ordering::Relaxed);
                if response.header("connection") == Some(&b"close"[..]) {
                    seen.renewed += 1;
                    connection = Connection::open(addr).expect("Envoy takes connections");
                }
            }
        }
        thread::sleep(PAUSE);
    }
    seen
}

/// Asks a policy.
pub fn exchange(connection: &mut Connection, policy: &str) -> Result<Response, ClientError> {
    let request = Request::get("/").header("host", "gate.test").header(ROUTE_HEADER, policy);
    connection.send(&request)?;
    connection.receive("GET")
}

/// Nothing for a decision that may be, and why there is none. Panics at a wrong one.
fn judge(response: &Response, may: impl Fn(&str) -> bool) -> Result<(), String> {
    let text = |name: &str| response.header(name).map(|value| String::from_utf8_lossy(value).into_owned());
    let reason = text("x-portcullis-reason");
    match (response.status, text("x-generation"), reason) {
        (200, Some(generation), _) if may(&generation) => Ok(()),
        (403 | 500, None, Some(_)) if may(ERROR) => Ok(()),
        (503, None, Some(reason)) => Err(reason),
        // Also of a request that the first place of the filter has permitted, while Envoy starts the VM of the second.
        (503, generation, None) if generation.as_deref().is_none_or(may) => Err("no VM".to_owned()),
        // The filter did not run, and the seal held.
        (403, None, None) => Err("sealed".to_owned()),
        _ => panic!("no such answer may be: {response:?}"),
    }
}

// === impl Expected ===

impl Expected {
    /// The generations by which a policy may decide from now on; those before may still be on their way.
    pub fn set(&self, policy: &str, generations: &[&str]) {
        let generations = generations.iter().map(|generation| (*generation).to_owned()).collect();
        self.lock().insert(policy.to_owned(), generations);
    }

    /// One more generation may decide.
    pub fn add(&self, policy: &str, generation: &str) {
        self.lock().entry(policy.to_owned()).or_default().insert(generation.to_owned());
    }

    fn of(&self, policy: &str) -> BTreeSet<String> {
        self.lock().get(policy).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Watched ===

impl Watched {
    /// How many requests no policy decided.
    pub fn failures(&self) -> u64 {
        self.broken + self.failed.values().sum::<u64>()
    }

    fn add(&mut self, other: Self) {
        self.decided += other.decided;
        for (what, count) in other.failed {
            *self.failed.entry(what).or_default() += count;
        }
        self.outages += other.outages;
        self.renewed += other.renewed;
        self.broken += other.broken;
    }
}

// === impl SetOnDrop ===

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
