//! Contenders that take turns: in each round every one of them gets the same requests, once one after another over one
//! connection, for the times, and once over all connections, for the CPU time.
//!
//! Each answer is looked at: who refuses, or lets through, what it should not is no contender, however quick it is.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use host_harness::servers::client::Connection;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{
    contender::{Asked, Contender, Kind, Scene},
    figures::{Figure, micros, percentile},
};

/// With fewer requests a round would not have both answers.
const LEAST_REQUESTS: usize = 20;

/// What `bench request` and `bench rules` have in common.
#[derive(Args)]
pub(super) struct Setting {
    /// Envoy's workers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) concurrency: u32,
    /// How often each is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 9)]
    pub(super) rounds: usize,
    /// Requests of a round, once over one connection and once over all
    #[arg(long, value_name = "N", default_value_t = 5000)]
    pub(super) requests: usize,
    /// Connections at once while CPU time is taken
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(super) connections: usize,
    /// An `opa-envoy-plugin` to measure beside it, asked by Envoy's `ext_authz` over gRPC
    #[arg(long, value_name = "PATH")]
    pub(super) opa_envoy_plugin: Option<PathBuf>,
    /// Where a plot goes
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// A contender with what it is asked, and what came of it.
pub(super) struct Entrant {
    pub(super) name: String,
    contender: Contender,
    workload: Workload,
    pub(super) measured: Measured,
}

/// The request of a number.
pub(super) type Workload = Box<dyn Fn(u64) -> Asked>;

/// What was measured of one contender, in microseconds.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Measured {
    /// User and system time of all its processes for one request.
    pub(super) cpu_us: Figure,
    /// From the first byte sent until the whole answer is there, over one connection.
    pub(super) p50_us: Figure,
    pub(super) p99_us: Figure,
    /// How often each status was answered in the rounds that count.
    pub(super) statuses: BTreeMap<u16, u64>,
}

/// A request as it goes out, with what must be answered.
struct Prepared {
    bytes: Vec<u8>,
    right: u16,
}

/// One round of one contender.
struct Round {
    cpu: Duration,
    /// Sorted.
    times: Vec<Duration>,
    statuses: BTreeMap<u16, u64>,
}

// === impl Setting ===

impl Setting {
    pub(super) fn check(&self) -> Result<()> {
        ensure!(self.rounds > 0, "--rounds 0: nothing would be measured; 9 is a good number");
        ensure!(self.connections > 0, "--connections 0: nobody would ask; 8 is a good number");
        ensure!(
            self.concurrency > 0,
            "--concurrency 0: Envoy would take one worker for each core; say how many"
        );
        ensure!(
            self.requests >= LEAST_REQUESTS,
            "--requests {}: a round of fewer than {LEAST_REQUESTS} does not have both answers",
            self.requests
        );
        Ok(())
    }
}

// === impl Entrant ===

impl Entrant {
    /// Starts a contender in a scene, with the first requests of its workload.
    pub(super) fn start(
        name: impl Into<String>,
        kind: Kind,
        scene: &Scene,
        setting: &Setting,
        workload: Workload,
    ) -> Result<Self> {
        let name = name.into();
        let first: Vec<_> = (0..LEAST_REQUESTS as u64).map(&workload).collect();
        let contender = scene.start(kind, setting, &first).with_context(|| name.clone())?;
        Ok(Self { name, contender, workload, measured: Measured::default() })
    }

    pub(super) fn kind(&self) -> Kind {
        self.contender.kind
    }

    fn round(&mut self, begin: u64, requests: usize) -> Result<Round> {
        let numbers = begin..begin + 2 * requests as u64;
        let asked = numbers.map(|number| (self.workload)(number));
        let prepared: Vec<_> = asked
            .map(|asked| Prepared {
                bytes: self.contender.to_bytes(&asked.request),
                right: self.contender.right_status(asked.allowed),
            })
            .collect();
        let (alone, together) = prepared.split_at(requests);
        let mut statuses = BTreeMap::new();

        let [connection, ..] = self.contender.connections.as_mut_slice() else {
            return Err(anyhow!("there is no connection"));
        };
        let mut times = one_by_one(connection, alone, &mut statuses)?;
        times.sort_unstable();

        let before = self.contender.cpu_time()?;
        let connections = &mut self.contender.connections;
        let share = together.len().div_ceil(connections.len());
        let counted = thread::scope(|scope| -> Result<Vec<_>> {
            let threads: Vec<_> = connections
                .iter_mut()
                .zip(together.chunks(share))
                .map(|(connection, prepared)| {
                    scope.spawn(move || {
                        let mut statuses = BTreeMap::new();
                        one_by_one(connection, prepared, &mut statuses).map(|_| statuses)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow!("a connection's thread panicked"))?)
                .collect()
        })?;
        let cpu = self.contender.cpu_time()?.saturating_sub(before);
        for (status, count) in counted.into_iter().flatten() {
            *statuses.entry(status).or_default() += count;
        }
        ensure!(
            !self.kind().decides() || [200, 403].iter().all(|status| statuses.contains_key(status)),
            "a round had not both answers: {statuses:?}"
        );
        Ok(Round { cpu, times, statuses })
    }
}

/// Asks over one connection, each when the one before was answered, and looks at every answer.
fn one_by_one(
    connection: &mut Connection,
    prepared: &[Prepared],
    statuses: &mut BTreeMap<u16, u64>,
) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(prepared.len());
    for Prepared { bytes, right } in prepared {
        let began = Instant::now();
        connection.send_bytes(bytes)?;
        // None of the requests is a HEAD, whose answers alone have no body.
        let answer = connection.receive("GET")?;
        times.push(began.elapsed());
        let asked = || String::from_utf8_lossy(bytes.split(|byte| *byte == b'\r').next().unwrap_or_default());
        ensure!(answer.status == *right, "`{}` is answered {} and not {right}", asked(), answer.status);
        *statuses.entry(answer.status).or_default() += 1;
    }
    Ok(times)
}

/// Measures all of them, after one round that does not count.
pub(super) fn run(setting: &Setting, entrants: &mut [Entrant]) -> Result<()> {
    let progress = progress(((setting.rounds + 1) * entrants.len()) as u64)?;
    for round in 0..=setting.rounds {
        let begin = (2 * round * setting.requests) as u64;
        for turn in 0..entrants.len() {
            // Nobody always comes after the same one.
            let at = (turn + round) % entrants.len();
            let entrant = &mut entrants[at];
            progress.set_message(entrant.name.clone());
            let measured = entrant.round(begin, setting.requests);
            let measured = measured.with_context(|| {
                format!("{}; Envoy says:\n{}", entrant.name, entrant.contender.log_tail())
            })?;
            if round > 0 {
                entrant.measured.push(measured, setting.requests);
            }
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    Ok(())
}

/// A bar of so many steps.
pub(super) fn progress(steps: u64) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}").context("the progress bar")?;
    Ok(ProgressBar::new(steps).with_style(style))
}

// === impl Measured ===

impl Measured {
    fn push(&mut self, round: Round, requests: usize) {
        self.cpu_us.push(micros(round.cpu) / requests as f64);
        self.p50_us.push(micros(percentile(&round.times, 50)));
        self.p99_us.push(micros(percentile(&round.times, 99)));
        for (status, count) in round.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use super::*;
    use crate::cli::bench::{roles, shapes::Shape};

    #[test]
    fn a_wrong_answer_is_an_error_that_shows_the_request() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Each request comes alone, because the next one waits for its answer.
            while stream.read(&mut [0; 1024]).unwrap_or_default() > 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            }
        });
        let prepared = |path: &str, right| Prepared {
            bytes: format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes(),
            right,
        };
        let mut connection = Connection::open(addr).unwrap();
        let mut statuses = BTreeMap::new();
        let asked = [prepared("/a", 200), prepared("/b", 200), prepared("/c", 403), prepared("/d", 200)];
        let times = one_by_one(&mut connection, &asked[..2], &mut statuses).unwrap();
        assert_eq!((times.len(), &statuses), (2, &BTreeMap::from([(200, 2)])));
        let error = one_by_one(&mut connection, &asked[2..], &mut statuses).unwrap_err();
        assert_eq!(error.to_string(), "`GET /c HTTP/1.1` is answered 200 and not 403");
        drop(connection);
        server.join().unwrap();
    }

    #[test]
    fn the_fewest_requests_have_both_answers_and_none_comes_again() {
        let mut workloads: Vec<Workload> = vec![Box::new(roles::asked)];
        for shape in Shape::ALL {
            workloads.push(Box::new(move |number| shape.asked(10, number)));
        }
        for asked in workloads {
            for begin in [0, 20, 1_000_000] {
                let answers: Vec<_> = (begin..begin + LEAST_REQUESTS as u64).map(&asked).collect();
                assert!(answers.iter().any(|asked| asked.allowed));
                assert!(answers.iter().any(|asked| !asked.allowed));
            }
            let addr = ([127, 0, 0, 1], 80).into();
            let all: std::collections::BTreeSet<_> =
                (0..1000).map(|number| asked(number).request.to_bytes(addr)).collect();
            assert_eq!(all.len(), 1000);
        }
    }

    #[test]
    fn requests_are_of_every_rule() {
        for shape in Shape::ALL {
            for rules in [10, 100, 1000] {
                let target = |number: u64| {
                    let bytes = shape.asked(rules, number).request.to_bytes(([127, 0, 0, 1], 80).into());
                    let text = String::from_utf8(bytes).unwrap();
                    let (target, _) = text.split_once('?').unwrap();
                    target.rsplit_once(' ').unwrap().1.to_owned()
                };
                let targets: std::collections::BTreeSet<_> = (0..2 * rules).map(target).collect();
                assert_eq!(targets.len() as u64, rules, "{shape:?}");
            }
        }
    }
}
