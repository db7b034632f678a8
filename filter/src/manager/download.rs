//! The loading of one bundle by the member that owns it: when to ask, what the answer means, and the check of what came.

use std::{rc::Rc, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::{
    record::{BundleRecord, FaultKind, millis},
    shared_cache::SharedCache,
};
use crate::{
    bundle::{Bundle, BundleError, Reading},
    config::BundleSource,
    hooks::{Protection, guards},
    policy::DeferredDrop,
    telemetry::DownloadOutcome,
};

/// OPA's first retry delay and growth. Source: OPA's `util/backoff`, used by its downloader.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const RETRY_FACTOR: f32 = 1.6;
/// Envoy answers every HTTP call within its timeout; if nothing came this long after, nothing will.
const OVERDUE_AFTER: Duration = Duration::from_secs(5);
/// What a bundle is expected to weigh until it has come once.
const UNKNOWN_BYTES: u64 = 1 << 20;
/// What one is expected to weigh that broke off: as much as Envoy buffers, without another word in its configuration.
/// Source: Envoy's runtime key `http.async_response_buffer_limit`.
const ENVOY_BUFFERS_BYTES: u64 = 32 << 20;
/// Longest ETag kept and sent back.
const MAX_ETAG_BYTES: usize = 1024;

/// Names one attempt to fetch one bundle, so that an answer that was given up on is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FetchId {
    pub(super) bundle: usize,
    pub(super) attempt: u64,
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
    /// A body that was not taken over, because too much is held already.
    NoRoom {
        /// Its size.
        bytes: u64,
    },
    /// Envoy would not start it.
    Refused {
        /// The host's status, in words.
        status: String,
    },
}

/// What an answer means.
#[derive(Debug)]
pub(super) enum Finished {
    /// Content came, which must be checked.
    Archive,
    /// The server has nothing newer.
    NotModified,
    /// Nothing came.
    Failed(Fault),
}

/// Content that came and has been read whole.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) archive: Rc<[u8]>,
    pub(super) etag: Option<String>,
    pub(super) bundle: Rc<Bundle>,
}

/// How far the check of what came is.
#[derive(Debug)]
pub(super) enum Checked<'a> {
    /// Not at its end.
    Reading,
    /// It is what is published already, under this ETag.
    Equal { etag: Option<String> },
    /// Its digest is known, and it has not been looked at any further.
    Hashed { digest: String },
    /// It cannot be used.
    Faulty(Fault),
    /// It can be published.
    Whole(&'a Candidate),
}

/// What a status asks for that is not a bundle's.
fn cure(status: u16) -> &'static str {
    match status {
        301 | 302 | 303 | 307 | 308 => {
            ", a redirect, which is not followed: configure the URL that it leads to"
        }
        401 | 403 | 407 => ": check `credentials` and `headers` of the service",
        404 | 410 => ": check the bundle's `resource`, or its `url`",
        _ => "",
    }
}

/// Why a fetch brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The server, or Envoy in its place, answered with another status.
    #[error("the bundle server answered {status}{}", cure(*status))]
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
    /// It would have been too much at once.
    #[error(
        "{bytes} bytes came while other downloads were held, which is more than `portcullis.limits.download_bytes` \
         allows together; it is fetched again"
    )]
    NoRoom {
        /// Of this one.
        bytes: u64,
    },
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
    /// The record changed under every try to write it.
    #[error("the record in shared data changed under every try to write it")]
    Contended,
    /// The content has ended a VM before.
    #[error("quarantined: {0}")]
    Quarantined(String),
    /// The content is no bundle.
    #[error("digest {digest} is refused: {error}")]
    Bundle {
        /// The beginning of the archive's digest.
        digest: String,
        /// What is at fault.
        error: BundleError,
    },
}

#[derive(Debug)]
enum State {
    Due {
        at: Duration,
    },
    InFlight {
        attempt: u64,
        overdue_at: Duration,
    },
    Reading {
        reading: Box<Reading<Rc<[u8]>>>,
        archive: Rc<[u8]>,
        etag: Option<String>,
        /// Others can find what is being read.
        is_marked: bool,
    },
    /// Read, and not yet published.
    Whole(Candidate),
}

/// The loading of one bundle, for as long as this VM owns it.
#[derive(Debug)]
pub(super) struct Download {
    index: usize,
    name: String,
    source: BundleSource,
    /// The epoch in which the bundle is owned.
    pub(super) epoch: u64,
    state: State,
    /// ETag of what is published.
    etag: Option<String>,
    /// Whether anything is published.
    is_published: bool,
    /// What the next answer is expected to weigh.
    expected_bytes: u64,
    fault: Option<Fault>,
    backoff: ExponentialBackoff,
    backoff_builder: ExponentialBuilder,
    random: fastrand::Rng,
}

// === impl Download ===

impl Download {
    /// Goes on from where the record says that the one before has come; what it has fetched is not fetched again.
    pub(super) fn new(
        index: usize,
        name: &str,
        source: &BundleSource,
        record: &BundleRecord,
        seed: u64,
        now: Duration,
    ) -> Self {
        let backoff_builder = ExponentialBuilder::new()
            .with_min_delay(FIRST_RETRY)
            .with_factor(RETRY_FACTOR)
            .with_max_delay(source.max_delay)
            .with_jitter()
            .with_jitter_seed(seed)
            .without_max_times();
        let mut download = Self {
            index,
            name: name.to_owned(),
            source: source.clone(),
            epoch: record.epoch,
            state: State::Due { at: now },
            etag: record.etag.clone(),
            is_published: record.generation > 0,
            expected_bytes: UNKNOWN_BYTES.min(source.size_limit_bytes),
            fault: None,
            backoff: backoff_builder.build(),
            backoff_builder,
            random: fastrand::Rng::with_seed(seed),
        };
        if download.is_published && record.fault.is_none() && guards(Protection::Resume) {
            let passed = Duration::from_millis(millis(now).saturating_sub(record.checked_ms));
            let rest = download.poll_delay().saturating_sub(passed);
            download.state = State::Due { at: now.saturating_add(rest) };
        }
        download
    }

    /// Whether it takes a place in the window: until what came is published, so that what is held stays bounded.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self.state, State::Due { .. })
    }

    /// What it holds, or may bring at any time.
    pub(super) fn weight(&self) -> u64 {
        match &self.state {
            State::Due { .. } | State::InFlight { .. } => self.expected_bytes,
            State::Reading { archive, .. } | State::Whole(Candidate { archive, .. }) => bytes_of(archive),
        }
    }

    /// What it holds.
    pub(super) fn held(&self) -> u64 {
        if self.has_work() { self.weight() } else { 0 }
    }

    /// When it wants to be fetched; none while it is.
    pub(super) fn due_at(&self) -> Option<Duration> {
        match self.state {
            State::Due { at } => Some(at),
            _ => None,
        }
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.due_at().is_some_and(|at| at <= now)
    }

    /// Whether [`Download::check`] has something to do.
    pub(super) fn has_work(&self) -> bool {
        matches!(self.state, State::Reading { .. } | State::Whole(_))
    }

    // ## Due => InFlight
    pub(super) fn start(&mut self, attempt: u64, now: Duration) -> (FetchId, HttpCall) {
        let overdue_at = now.saturating_add(self.source.timeout).saturating_add(OVERDUE_AFTER);
        self.state = State::InFlight { attempt, overdue_at };
        (FetchId { bundle: self.index, attempt }, self.call())
    }

    // ## InFlight => (Reading | InFlight)
    pub(super) fn finish(&mut self, id: FetchId, answer: Answer) -> Option<Finished> {
        if !matches!(self.state, State::InFlight { attempt, .. } if attempt == id.attempt || !guards(Protection::Attempt))
        {
            return None;
        }
        Some(match answer {
            Answer::Response { status: 200, etag, body } => {
                let archive: Rc<[u8]> = body.into();
                self.expected_bytes = bytes_of(&archive);
                let reading = Reading::new(&self.name, Rc::clone(&archive), self.source.size_limit_bytes);
                let etag = etag.filter(|etag| etag.len() <= MAX_ETAG_BYTES);
                self.state = State::Reading { reading: Box::new(reading), archive, etag, is_marked: false };
                Finished::Archive
            }
            Answer::Response { status: 304, .. } if self.is_published => Finished::NotModified,
            Answer::Response { status: 304, .. } => Finished::Failed(Fault::NothingToKeep),
            Answer::Response { status, .. } => Finished::Failed(Fault::Status { status }),
            Answer::Reset => {
                self.expected_bytes = ENVOY_BUFFERS_BYTES;
                Finished::Failed(Fault::Reset)
            }
            Answer::NoRoom { bytes } => {
                self.expected_bytes = bytes;
                Finished::Failed(Fault::NoRoom { bytes })
            }
            Answer::Refused { status } => {
                Finished::Failed(Fault::Refused { cluster: self.source.cluster.clone(), status })
            }
        })
    }

    pub(super) fn is_overdue(&self, now: Duration) -> bool {
        matches!(self.state, State::InFlight { overdue_at, .. } if overdue_at <= now)
    }

    // ## Reading => (Reading | Whole)
    /// Does a small piece of reading what came. `published` is the digest of what is published.
    pub(super) fn check(&mut self, published: &str, cache: &SharedCache) -> Checked<'_> {
        if let State::Reading { reading, archive, etag, is_marked } = &mut self.state {
            let digest = reading.digest().filter(|_| !*is_marked);
            let bundle = match digest {
                Some(digest) if digest == published => return Checked::Equal { etag: etag.take() },
                Some(digest) => match cache.find(&self.name, digest) {
                    Some(bundle) => bundle,
                    None => return Checked::Hashed { digest: digest.to_owned() },
                },
                None => match reading.step() {
                    None => return Checked::Reading,
                    Some(Err(error)) => {
                        let digest = reading.digest().and_then(|digest| digest.get(..12)).unwrap_or_default();
                        return Checked::Faulty(Fault::Bundle { digest: digest.to_owned(), error });
                    }
                    Some(Ok(bundle)) => cache.keep(bundle),
                },
            };
            let candidate = Candidate { archive: Rc::clone(archive), etag: etag.take(), bundle };
            self.state = State::Whole(candidate);
        }
        match &self.state {
            State::Whole(candidate) => Checked::Whole(candidate),
            _ => Checked::Reading,
        }
    }

    /// What is read is known to others; go on.
    pub(super) fn marked(&mut self) {
        if let State::Reading { is_marked, .. } = &mut self.state {
            *is_marked = true;
        }
    }

    pub(super) fn size_limit_bytes(&self) -> u64 {
        self.source.size_limit_bytes
    }

    /// Ends it; what it holds is freed in steps.
    pub(super) fn discard(self, deferred: &mut DeferredDrop) {
        match self.state {
            State::Reading { reading, .. } => reading.discard(deferred),
            State::Whole(candidate) => deferred.push(candidate.bundle.data.clone()),
            State::Due { .. } | State::InFlight { .. } => {}
        }
    }

    // ## * => Due
    /// What is published is the newest, as the record says now. The next poll is drawn.
    pub(super) fn succeeded(&mut self, record: &BundleRecord, now: Duration) {
        self.fault = None;
        self.backoff = self.backoff_builder.build();
        self.etag.clone_from(&record.etag);
        self.is_published = record.generation > 0;
        self.state = State::Due { at: now.saturating_add(self.poll_delay()) };
    }

    // ## * => Due
    /// The next try comes after the pause that is given back, beside whether the same has happened before.
    pub(super) fn failed(&mut self, fault: &Fault, now: Duration) -> (Duration, bool) {
        let pause = self.backoff.next().unwrap_or(self.source.max_delay).min(self.source.max_delay);
        let repeated = self.fault.replace(fault.clone()).as_ref() == Some(fault);
        self.state = State::Due { at: now.saturating_add(pause) };
        (pause, repeated)
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

    fn poll_delay(&mut self) -> Duration {
        let spread = self.source.max_delay.saturating_sub(self.source.min_delay);
        self.source.min_delay.saturating_add(spread.mul_f64(self.random.f64()))
    }
}

fn bytes_of(archive: &[u8]) -> u64 {
    u64::try_from(archive.len()).unwrap_or(u64::MAX)
}

// === impl Fault ===

impl Fault {
    pub(super) fn kind(&self) -> FaultKind {
        match self {
            Self::Bundle { .. } => FaultKind::Content,
            Self::Quarantined(_) => FaultKind::Quarantined,
            _ => FaultKind::Download,
        }
    }

    /// How the attempt is counted.
    pub(super) fn outcome(&self) -> DownloadOutcome {
        match self.kind() {
            FaultKind::Content | FaultKind::Quarantined => DownloadOutcome::Rejected,
            FaultKind::Download => DownloadOutcome::Failed,
        }
    }
}
