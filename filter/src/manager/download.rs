//! One bundle's way in: when to ask, what the answer means, and the last good content.

use std::{rc::Rc, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::{
    bundle::{Bundle, BundleError},
    config::BundleSource,
    telemetry::DownloadOutcome,
};

/// OPA's first retry delay and growth. Source: OPA's `util/backoff`, used by its downloader.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const RETRY_FACTOR: f32 = 1.6;
/// Envoy answers every HTTP call within its timeout; if nothing came this long after, nothing will.
const OVERDUE_AFTER: Duration = Duration::from_secs(5);
/// Longest ETag kept and sent back.
const MAX_ETAG_BYTES: usize = 1024;

/// Names one attempt to fetch one bundle, so that an answer that was given up on is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FetchId {
    pub(super) bundle: usize,
    attempt: u64,
}

/// The HTTP request of one fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCall {
    /// The Envoy cluster.
    pub cluster: String,
    /// Pseudo-headers first.
    pub headers: Vec<(String, String)>,
    /// Bounds the whole exchange.
    pub timeout: Duration,
}

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP response, which may be one that Envoy made up.
    Response {
        /// The HTTP status.
        status: u16,
        /// The `etag` header.
        etag: Option<String>,
        /// The whole body.
        body: Vec<u8>,
    },
    /// The exchange broke off after it had begun, or exceeded what Envoy buffers.
    Reset,
    /// Envoy would not start it.
    Refused {
        /// The host's status, in words.
        status: String,
    },
}

/// The newest good content of a bundle.
#[derive(Debug, Clone)]
pub(super) struct Active {
    pub(super) bundle: Rc<Bundle>,
    /// Counts activations, from 1. INVARIANT (monotone): never goes back.
    pub(super) generation: u64,
}

/// What became of a fetch.
#[derive(Debug)]
pub(super) enum Finished {
    Activated { revision: String, generation: u64 },
    NotModified,
    Failed { fault: Fault, repeated: bool, retry_in: Duration },
}

/// Why a fetch brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The server, or Envoy in its place, answered with another status.
    #[error("the bundle server answered {status}")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// 304 for a bundle that was never loaded.
    #[error("the bundle server answered 304 although no version is held")]
    NothingToKeep,
    /// The connection broke.
    #[error("the download broke off (a reset, or a body beyond Envoy's `http.async_response_buffer_limit`)")]
    Reset,
    /// Nothing came.
    #[error("the download was never answered")]
    Overdue,
    /// Envoy would not call.
    #[error(
        "Envoy refused the HTTP call to cluster `{cluster}` ({status}); is the cluster defined and healthy?"
    )]
    Refused {
        /// The Envoy cluster.
        cluster: String,
        /// The host's status, in words.
        status: String,
    },
    /// The content is no bundle.
    #[error("refused: {0}")]
    Bundle(#[from] BundleError),
}

#[derive(Debug)]
enum State {
    Due { at: Duration },
    InFlight { attempt: u64, overdue_at: Duration },
}

/// One configured bundle.
#[derive(Debug)]
pub(super) struct Download {
    index: usize,
    name: String,
    source: BundleSource,
    state: State,
    attempts: u64,
    /// ETag of the content that is active, never of one that was refused: a refused one must be offered again.
    etag: Option<String>,
    active: Option<Active>,
    fault: Option<Fault>,
    backoff: ExponentialBackoff,
    backoff_builder: ExponentialBuilder,
    random: fastrand::Rng,
}

// === impl Download ===

impl Download {
    pub(super) fn new(index: usize, name: String, source: BundleSource, seed: u64) -> Self {
        let backoff_builder = ExponentialBuilder::new()
            .with_min_delay(FIRST_RETRY)
            .with_factor(RETRY_FACTOR)
            .with_max_delay(source.max_delay)
            .with_jitter()
            .with_jitter_seed(seed)
            .without_max_times();
        Self {
            index,
            name,
            source,
            state: State::Due { at: Duration::ZERO },
            attempts: 0,
            etag: None,
            active: None,
            fault: None,
            backoff: backoff_builder.build(),
            backoff_builder,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn active(&self) -> Option<&Active> {
        self.active.as_ref()
    }

    /// What went wrong last; none since the last success.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.state, State::InFlight { .. })
    }

    /// When it wants to be fetched; none while it is.
    pub(super) fn due_at(&self) -> Option<Duration> {
        match self.state {
            State::Due { at } => Some(at),
            State::InFlight { .. } => None,
        }
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.due_at().is_some_and(|at| at <= now)
    }

    // ## Due => InFlight
    pub(super) fn start(&mut self, now: Duration) -> (FetchId, HttpCall) {
        self.attempts += 1;
        let overdue_at = now.saturating_add(self.source.timeout).saturating_add(OVERDUE_AFTER);
        self.state = State::InFlight { attempt: self.attempts, overdue_at };
        (FetchId { bundle: self.index, attempt: self.attempts }, self.call())
    }

    // ## InFlight => Due
    pub(super) fn finish(&mut self, id: FetchId, answer: Answer, now: Duration) -> Option<Finished> {
        if !matches!(self.state, State::InFlight { attempt, .. } if attempt == id.attempt) {
            return None;
        }
        let result = self.judge(answer);
        Some(self.settle(result, now))
    }

    // ## InFlight => (InFlight | Due)
    pub(super) fn give_up_overdue(&mut self, now: Duration) -> Option<Finished> {
        match self.state {
            State::InFlight { overdue_at, .. } if overdue_at <= now => {
                Some(self.settle(Err(Fault::Overdue), now))
            }
            _ => None,
        }
    }

    fn call(&self) -> HttpCall {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers = vec![
            header(":method", "GET"),
            header(":scheme", self.source.scheme.as_str()),
            header(":authority", &self.source.authority),
            header(":path", &self.source.path),
            // Source: OPA's bundle API; a server that has deltas is told that none are wanted.
            header("prefer", "modes=snapshot"),
            header("user-agent", concat!("portcullis/", env!("CARGO_PKG_VERSION"))),
        ];
        headers.extend(self.source.headers.iter().cloned());
        headers.extend(self.etag.iter().map(|etag| header("if-none-match", etag)));
        HttpCall { cluster: self.source.cluster.clone(), headers, timeout: self.source.timeout }
    }

    fn judge(&mut self, answer: Answer) -> Result<Finished, Fault> {
        match answer {
            Answer::Response { status: 200, etag, body } => {
                let bundle = Bundle::read(&self.name, &body, self.source.size_limit_bytes)?;
                self.etag = etag.filter(|etag| etag.len() <= MAX_ETAG_BYTES);
                Ok(self.activate(bundle))
            }
            Answer::Response { status: 304, .. } if self.active.is_some() => Ok(Finished::NotModified),
            Answer::Response { status: 304, .. } => Err(Fault::NothingToKeep),
            Answer::Response { status, .. } => Err(Fault::Status { status }),
            Answer::Reset => Err(Fault::Reset),
            Answer::Refused { status } => {
                Err(Fault::Refused { cluster: self.source.cluster.clone(), status })
            }
        }
    }

    fn activate(&mut self, bundle: Bundle) -> Finished {
        if self.active.as_ref().is_some_and(|active| active.bundle.digest == bundle.digest) {
            return Finished::NotModified;
        }
        let generation = self.active.as_ref().map_or(0, |active| active.generation) + 1;
        let revision = bundle.manifest.revision.clone();
        self.active = Some(Active { bundle: Rc::new(bundle), generation });
        Finished::Activated { revision, generation }
    }

    fn settle(&mut self, result: Result<Finished, Fault>, now: Duration) -> Finished {
        let (delay, finished) = match result {
            Ok(finished) => {
                self.fault = None;
                self.backoff = self.backoff_builder.build();
                (self.poll_delay(), finished)
            }
            Err(fault) => {
                let retry_in =
                    self.backoff.next().unwrap_or(self.source.max_delay).min(self.source.max_delay);
                let repeated = self.fault.as_ref() == Some(&fault);
                self.fault = Some(fault.clone());
                (retry_in, Finished::Failed { fault, repeated, retry_in })
            }
        };
        self.state = State::Due { at: now.saturating_add(delay) };
        finished
    }

    fn poll_delay(&mut self) -> Duration {
        let spread = self.source.max_delay.saturating_sub(self.source.min_delay);
        self.source.min_delay.saturating_add(spread.mul_f64(self.random.f64()))
    }
}

// === impl Fault ===

impl Fault {
    /// How the attempt is counted.
    pub(super) fn outcome(&self) -> DownloadOutcome {
        match self {
            Self::Bundle(_) => DownloadOutcome::Rejected,
            _ => DownloadOutcome::Failed,
        }
    }
}
