//! What a server saw: every request with its answer, and how many were under way at once.
//!
//! Waiting is for a condition on this record, never for a time; each change wakes whoever waits.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hyper::Request;

/// The record of one server.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// Every request since the server started, in the order of arrival.
    pub requests: Vec<SeenRequest>,
    /// Requests under way now: headers read, answer not yet handed over.
    pub in_flight: usize,
    /// The most that were under way at once since the counters were reset.
    pub max_in_flight: usize,
    /// The most that were ever under way at once.
    pub max_in_flight_ever: usize,
    /// How many requests had come when the counters were reset.
    pub requests_before_reset: usize,
}

/// One request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// Method, as sent.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query without the `?`, where there is one.
    pub query: Option<String>,
    /// Headers in order; names in lower case, values as bytes.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Time since the server started.
    pub at: Duration,
    /// What became of it; `None` while it is under way.
    pub answer: Option<Answer>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A whole answer with this status was handed over.
    Status(u16),
    /// The connection was reset before any header.
    ResetBeforeHeaders,
    /// The connection was reset in the body of a 200.
    ResetMidBody,
    /// The client, or this server, went away first.
    Abandoned,
}

/// The record as the server's thread and its owner share it.
#[derive(Debug)]
pub(super) struct Ledger {
    started: Instant,
    traffic: Mutex<Traffic>,
    changed: Condvar,
}

/// A request under way: it ends when this is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    ledger: Arc<Ledger>,
    index: usize,
    answer: Answer,
}

// === impl Traffic ===

impl Traffic {
    /// The requests that came since the counters were reset.
    pub fn since_reset(&self) -> &[SeenRequest] {
        &self.requests[self.requests_before_reset..]
    }

    /// How many requests came for this path.
    pub fn count(&self, path: &str) -> usize {
        self.requests.iter().filter(|request| request.path == path).count()
    }
}

// === impl SeenRequest ===

impl SeenRequest {
    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(seen, _)| seen == name).map(|(_, value)| value.as_slice())
    }
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), traffic: Mutex::default(), changed: Condvar::new() }
    }

    /// Records a request that has arrived.
    pub(super) fn arrive<B>(self: &Arc<Self>, request: &Request<B>) -> InFlight {
        let headers = request.headers().iter();
        let seen = SeenRequest {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().map(str::to_owned),
            headers: headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect(),
            at: self.started.elapsed(),
            answer: None,
        };
        let mut traffic = self.lock();
        let index = traffic.requests.len();
        traffic.requests.push(seen);
        traffic.in_flight += 1;
        traffic.max_in_flight = traffic.max_in_flight.max(traffic.in_flight);
        traffic.max_in_flight_ever = traffic.max_in_flight_ever.max(traffic.in_flight);
        self.changed.notify_all();
        InFlight { ledger: Arc::clone(self), index, answer: Answer::Abandoned }
    }

    pub(super) fn snapshot(&self) -> Traffic {
        self.lock().clone()
    }

    pub(super) fn reset_counters(&self) {
        let mut traffic = self.lock();
        traffic.max_in_flight = traffic.in_flight;
        traffic.requests_before_reset = traffic.requests.len();
    }

    /// Waits until `condition` holds; false if it did not within `bound`.
    pub(super) fn wait_until(&self, bound: Duration, mut condition: impl FnMut(&Traffic) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), bound, |traffic| !condition(traffic));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, Traffic> {
        // The record stays whole even if a test's condition panicked while it held the lock.
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl InFlight ===

impl InFlight {
    /// Sets what the request's end is recorded as.
    pub(super) fn will_end_as(&mut self, answer: Answer) {
        self.answer = answer;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut traffic = self.ledger.lock();
        traffic.in_flight -= 1;
        traffic.requests[self.index].answer = Some(self.answer);
        self.ledger.changed.notify_all();
    }
}
