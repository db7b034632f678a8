//! Bundles that are replaced all the time, and a load that looks at every answer.
//!
//! Each generation of a bundle tells its number in every part of its decision: in data and in two modules, and from
//! there in headers, body and status. An answer with parts of two generations cannot look like one of either.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use host_harness::{
    archive::Archive,
    servers::{
        Answer, BundleServer,
        client::{ClientError, Connection, Request, Response},
    },
};
use serde_json::{Map, Value, json};

use crate::envoy::{BOUND, EVALUATION_MS, ROUTE_HEADER};

/// Statuses that Envoy can answer a denied request with, next to each other.
const DENIALS: u64 = 8;
/// Between two looks at how far a load is.
const PAUSE: Duration = Duration::from_millis(5);

/// Bundles of a policy each, and how far each has come.
pub struct Swaps {
    /// Serves them.
    pub server: BundleServer,
    /// The newest generation of each bundle that has ever been offered.
    offered: Vec<AtomicU64>,
}

/// How the load goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// Connections, each with a thread of its own.
    pub connections: usize,
    /// Whether 503 is right too, and a connection that ends: VMs trap, listeners drain.
    pub faults: bool,
}

/// What a load has seen. All of it was right, or it would have panicked.
#[derive(Debug, Default)]
pub struct Seen {
    /// From the sending of each request to its answer, in microseconds.
    pub latencies_us: Vec<u32>,
    /// Longest time in which one connection got no decision, in microseconds.
    pub longest_pause_us: u32,
    /// Requests that were answered 503, by the filter's reason; by nothing where there was no filter to give one.
    pub unavailable: BTreeMap<String, usize>,
    /// Times that one connection saw a bundle change.
    pub changes: usize,
    /// Connections that ended before they were closed here.
    pub reconnects: usize,
}

/// Ends a load when it is dropped, whatever ends its owner.
struct EndOnDrop<'a>(&'a AtomicBool);

// === impl EndOnDrop ===

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// === impl Swaps ===

impl Swaps {
    /// A server with the first generation of so many bundles.
    pub fn start(bundles: usize) -> Self {
        let server = BundleServer::start().expect("the bundle server starts");
        let swaps = Self { server, offered: (0..bundles).map(|_| AtomicU64::new(0)).collect() };
        for bundle in 0..bundles {
            swaps.offer_next(bundle);
        }
        swaps
    }

    /// How many bundles there are.
    pub fn bundles(&self) -> usize {
        self.offered.len()
    }

    /// Names of the policies, which are those of the bundles.
    pub fn names(&self) -> Vec<String> {
        (0..self.bundles()).map(name).collect()
    }

    /// The plugin configuration; every bundle is asked for every second.
    pub fn document(&self) -> Value {
        let (mut bundles, mut policies) = (Map::new(), Map::new());
        for bundle in 0..self.bundles() {
            let source = json!({
                "service": "swaps",
                "resource": path(bundle).trim_start_matches('/'),
                "polling": { "min_delay_seconds": 1, "max_delay_seconds": 1 },
            });
            bundles.insert(name(bundle), source);
            let decision = format!("swaps/{}/decision", name(bundle));
            policies.insert(name(bundle), json!({ "bundles": [name(bundle)], "decision": decision }));
        }
        json!({
            "services": { "swaps": { "url": self.server.url("").trim_end_matches('/'), "cluster": "swaps" } },
            "bundles": bundles,
            "portcullis": { "policies": policies, "limits": { "evaluation_ms": EVALUATION_MS } },
        })
    }

    /// Replaces a bundle on the server by its next generation.
    pub fn offer_next(&self, bundle: usize) {
        // Whoever sees a generation must find that it has been offered.
        let generation = self.offered[bundle].fetch_add(1, Ordering::SeqCst) + 1;
        self.server.publish(&path(bundle), archive(bundle, generation).build());
    }

    /// The newest generation of a bundle that the server has.
    pub fn newest(&self, bundle: usize) -> u64 {
        self.offered[bundle].load(Ordering::SeqCst)
    }

    /// Replaces every bundle, and each again when it has been fetched, until so many generations have been.
    pub fn keep_swapping(&self, swaps: usize) {
        let (mut offered, mut fetched) = (0, 0);
        let mut read = self.server.traffic().requests.len();
        let mut unanswered: Vec<usize> = Vec::new();
        let mut due: Vec<usize> = (0..self.bundles()).collect();
        while fetched < swaps {
            for bundle in due.drain(..).take(swaps - offered) {
                self.offer_next(bundle);
                offered += 1;
            }
            let some = self.server.wait_until(BOUND, |traffic| {
                unanswered.extend(read..traffic.requests.len());
                read = traffic.requests.len();
                unanswered.retain(|index| {
                    let request = &traffic.requests[*index];
                    if request.answer == Some(Answer::Status(200)) {
                        due.extend((0..self.bundles()).find(|bundle| path(*bundle) == request.path));
                    }
                    request.answer.is_none()
                });
                !due.is_empty()
            });
            assert!(some, "nobody fetches anything: {fetched} of {swaps} generations have been");
            fetched += due.len();
        }
    }

    /// The path of a bundle on the server.
    pub fn path(&self, bundle: usize) -> String {
        path(bundle)
    }

    /// Sends requests over all connections while something else goes on, and looks at every answer. Panics at the first
    /// wrong one. Each connection asks for everything before and after it as well, however slow the machine is.
    ///
    /// A connection stays on one worker, so on each of them a bundle never goes back.
    pub fn load_while(&self, addr: SocketAddr, options: LoadOptions, meanwhile: impl FnOnce()) -> Seen {
        self.load(addr, options, |_, _| meanwhile())
    }

    /// The same until so many requests have been sent.
    pub fn load_of(&self, addr: SocketAddr, options: LoadOptions, requests: usize) -> Seen {
        self.load(addr, options, |sent, ended| {
            while sent.load(Ordering::Relaxed) < requests as u64 && !ended.load(Ordering::Relaxed) {
                thread::sleep(PAUSE);
            }
        })
    }

    fn load(
        &self,
        addr: SocketAddr,
        options: LoadOptions,
        meanwhile: impl FnOnce(&AtomicU64, &AtomicBool),
    ) -> Seen {
        let (ended, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let turns: Vec<AtomicU64> = (0..options.connections).map(|_| AtomicU64::new(0)).collect();
        let together = Barrier::new(options.connections + 1);
        thread::scope(|scope| {
            let drivers: Vec<_> = (0..options.connections)
                .map(|number| {
                    let (together, ended, sent, turns) = (&together, &ended, &sent, &turns[number]);
                    scope.spawn(move || {
                        together.wait();
                        self.drive(addr, number, options, ended, sent, turns)
                    })
                })
                .collect();
            together.wait();
            let end = EndOnDrop(&ended);
            wait_for_a_turn(&turns, &ended);
            meanwhile(&sent, &ended);
            wait_for_a_turn(&turns, &ended);
            drop(end);
            let mut all = Seen::default();
            for driver in drivers {
                all.add(driver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            all
        })
    }

    fn drive(
        &self,
        addr: SocketAddr,
        number: usize,
        options: LoadOptions,
        ended: &AtomicBool,
        sent: &AtomicU64,
        turns: &AtomicU64,
    ) -> Seen {
        // One wrong answer is enough.
        let _end = EndOnDrop(ended);
        let mut seen = Seen::default();
        let mut connection = Connection::open(addr).expect("Envoy takes connections");
        let mut last = vec![0; self.bundles()];
        let mut decided = Instant::now();
        // Each connection begins with another bundle.
        for (asked, bundle) in (0..self.bundles()).cycle().skip(number).enumerate() {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            turns.store((asked / self.bundles()) as u64, Ordering::Relaxed);
            let begin = Instant::now();
            let answer = exchange(&mut connection, bundle);
            sent.fetch_add(1, Ordering::Relaxed);
            let response = match answer {
                Ok(response) => response,
                Err(error) => {
                    assert!(options.faults, "{error}");
                    seen.reconnects += 1;
                    connection = Connection::open(addr).expect("Envoy takes connections");
                    // Another worker may be behind it, which is as far as it is.
                    last.fill(0);
                    continue;
                }
            };
            seen.latencies_us.push(micros(begin));
            if options.faults && response.status == 503 {
                let reason = response.header("x-portcullis-reason").unwrap_or_default();
                *seen.unavailable.entry(String::from_utf8_lossy(reason).into_owned()).or_default() += 1;
                if response.header("connection") == Some(&b"close"[..]) {
                    connection = Connection::open(addr).expect("Envoy takes connections");
                    last.fill(0);
                }
                continue;
            }
            let generation = judge(&response).unwrap_or_else(|wrong| panic!("{}: {wrong}", name(bundle)));
            let newest = self.newest(bundle);
            assert!(generation <= newest, "{} is at {newest}, and {generation} decided", name(bundle));
            let before = std::mem::replace(&mut last[bundle], generation);
            assert!(before <= generation, "{} went back from {before} to {generation}", name(bundle));
            seen.changes += usize::from(before != 0 && before != generation);
            seen.longest_pause_us = seen.longest_pause_us.max(micros(decided));
            decided = Instant::now();
        }
        seen
    }
}

/// Waits until every connection has asked for everything once more.
fn wait_for_a_turn(turns: &[AtomicU64], ended: &AtomicBool) {
    let now = |turns: &AtomicU64| turns.load(Ordering::Relaxed);
    // The one that is under way may have begun before.
    let wanted: Vec<u64> = turns.iter().map(|turns| now(turns) + 2).collect();
    let begin = Instant::now();
    while !ended.load(Ordering::Relaxed)
        && turns.iter().zip(&wanted).any(|(turns, wanted)| now(turns) < *wanted)
    {
        assert!(begin.elapsed() < BOUND, "a connection does not get on: {turns:?}");
        thread::sleep(PAUSE);
    }
}

/// Asks the policy of a bundle.
pub fn exchange(connection: &mut Connection, bundle: usize) -> Result<Response, ClientError> {
    let request = Request::get("/").header("host", "gate.test").header(ROUTE_HEADER, name(bundle));
    connection.send(&request)?;
    connection.receive("GET")
}

/// The one generation that has made an answer, or what is wrong with it.
pub fn judge(response: &Response) -> Result<u64, String> {
    let Response { status, body, .. } = response;
    let number = |text: &[u8]| String::from_utf8_lossy(text).parse::<u64>().ok();
    let header = |name: &str| response.header(name).and_then(number);
    let from_data = header("x-generation-data");
    let generation = from_data.ok_or_else(|| format!("{status} without a generation: {response:?}"))?;
    let parts = match *status {
        // What would have gone upstream, as the route tells it.
        200 => [Some(200), header("x-generation-lib"), header("x-upstream-saw")],
        _ => [Some(u64::from(*status)), header("x-generation-lib"), number(body)],
    };
    let right = [Some(status_of(generation)), Some(generation), Some(generation)];
    if parts == right { Ok(generation) } else { Err(format!("parts of several generations: {response:?}")) }
}

/// Answers every permitted request in Envoy itself, with the generation that the policy would have sent upstream.
pub fn answer_in_place(bootstrap: &mut Value) {
    let routes = crate::envoy::manager(bootstrap).pointer_mut("/route_config/virtual_hosts/0/routes");
    for route in routes.and_then(Value::as_array_mut).expect("a virtual host has routes") {
        let route = route.as_object_mut().expect("a route is an object");
        route.remove("route");
        route.insert("direct_response".to_owned(), json!({ "status": 200 }));
        let header = json!({ "key": "x-upstream-saw", "value": "%REQ(x-generation-rego)%" });
        route.insert("response_headers_to_add".to_owned(), json!([{ "header": header }]));
    }
}

/// One generation of a bundle; odd ones allow, even ones deny.
fn archive(bundle: usize, generation: u64) -> Archive {
    let name = name(bundle);
    let status = status_of(generation);
    let decision = if status == 200 {
        format!(
            "\t\"allowed\": true,\n\t\"headers\": {{\"x-generation-rego\": \"{generation}\"}},\n\
             \t\"response_headers_to_add\": headers,\n"
        )
    } else {
        format!(
            "\t\"allowed\": false,\n\t\"http_status\": {status},\n\t\"headers\": headers,\n\
             \t\"body\": \"{generation}\",\n"
        )
    };
    let main = format!(
        "package swaps.{name}\n\nimport data.swaps.{name}.lib\n\nheaders := {{\n\
         \t\"x-generation-data\": sprintf(\"%d\", [data.swaps.{name}.state.generation]),\n\
         \t\"x-generation-lib\": lib.generation,\n}}\n\ndecision := {{\n{decision}}}\n"
    );
    let lib = format!("package swaps.{name}.lib\n\ngeneration := \"{generation}\"\n");
    let manifest = json!({ "revision": generation.to_string(), "roots": [format!("swaps/{name}")] });
    Archive::new()
        .file(".manifest", manifest.to_string())
        .file(&format!("swaps/{name}/main.rego"), main)
        .file(&format!("swaps/{name}/lib.rego"), lib)
        .file(&format!("swaps/{name}/state/data.json"), json!({ "generation": generation }).to_string())
}

fn status_of(generation: u64) -> u64 {
    if generation % 2 == 1 { 200 } else { 401 + generation / 2 % DENIALS }
}

fn name(bundle: usize) -> String {
    format!("swap{bundle:02}")
}

fn path(bundle: usize) -> String {
    format!("/{}.tar.gz", name(bundle))
}

fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}

// === impl Seen ===

impl Seen {
    /// Requests that were answered.
    pub fn requests(&self) -> usize {
        self.latencies_us.len()
    }

    /// The latency, in microseconds, that so large a part of the requests does not exceed.
    pub fn percentile_us(&self, part: f64) -> u32 {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        let rank = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len().max(1));
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// Takes in what another connection, or another round, has seen.
    pub fn add(&mut self, other: Self) {
        self.latencies_us.extend(other.latencies_us);
        self.longest_pause_us = self.longest_pause_us.max(other.longest_pause_us);
        for (reason, count) in other.unavailable {
            *self.unavailable.entry(reason).or_default() += count;
        }
        self.changes += other.changes;
        self.reconnects += other.reconnects;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_two_generations_is_none() {
        let response = |status: u16, headers: &[(&str, &str)], body: &str| Response {
            status,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
            body: body.as_bytes().to_vec(),
        };
        let allow = |data, lib, upstream| {
            response(
                200,
                &[("x-generation-data", data), ("x-generation-lib", lib), ("x-upstream-saw", upstream)],
                "",
            )
        };
        let deny = |status, data, lib, body| {
            response(status, &[("x-generation-data", data), ("x-generation-lib", lib)], body)
        };
        assert_eq!(judge(&allow("3", "3", "3")), Ok(3));
        assert_eq!(judge(&deny(402, "2", "2", "2")), Ok(2));
        let mixed = [
            allow("3", "3", "1"),
            allow("3", "1", "3"),
            allow("1", "3", "3"),
            allow("2", "2", "2"),
            deny(402, "2", "2", "4"),
            deny(402, "2", "4", "2"),
            deny(403, "2", "2", "2"),
            deny(402, "3", "3", "3"),
            response(403, &[], ""),
        ];
        for answer in mixed {
            assert!(judge(&answer).is_err(), "{answer:?}");
        }
    }
}
