//! A bundle server with every fault that a server can have.
//!
//! What a request is answered is decided when it arrives; a delay or hang only holds the answer back. So an old
//! archive can arrive after a newer one was published and fetched, as it does behind real caches.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body, Frame, SizeHint},
    header::{CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION},
};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::{
    serving::{Abort, ServedBody, Serving},
    traffic::{Answer, InFlight, Ledger, Traffic},
};

/// How often a body that is about to be cut says "not yet": hyper writes out what came before each time, and a
/// reset that came too early would take it back.
const POLLS_BEFORE_CUT: u8 = 3;

/// Serves bundle archives on `127.0.0.1` until dropped.
///
/// Answers 200 with `etag` and `content-type: application/gzip`, 304 where `if-none-match` names the ETag, and 404
/// for a path that nothing was published at.
#[derive(Debug)]
pub struct BundleServer {
    serving: Serving,
    shared: Arc<Shared>,
}

/// What a path serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The body of a 200.
    pub archive: Bytes,
    /// The value of the `etag` header, with its quotes.
    pub etag: String,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// An answer with this status, 200 to 599, and a short text.
    Status(u16),
    /// A 302 to this location.
    Redirect {
        /// The value of `location`.
        location: String,
    },
    /// A well-formed 200 with the published ETag that holds only the first bytes of the archive.
    Truncated {
        /// How many bytes are left.
        keep_bytes: usize,
    },
    /// A well-formed 200 with the published ETag and these bytes for a body.
    Bytes(Vec<u8>),
    /// The connection is reset before anything is answered.
    ResetBeforeHeaders,
    /// A 200 that promises the whole archive; the connection is reset in its body.
    ResetMidBody {
        /// How many bytes of the body come first; at most all but one.
        after_bytes: usize,
    },
    /// The right answer, but this much later.
    Hang(Duration),
    /// The right answer, but only after [`BundleServer::release`].
    HangUntilReleased,
}

#[derive(Debug)]
struct Shared {
    ledger: Arc<Ledger>,
    site: Mutex<Site>,
    released: Notify,
}

/// What the server holds, by path.
#[derive(Debug, Default)]
struct Site {
    published: BTreeMap<String, Published>,
    faults: BTreeMap<String, ArmedFault>,
    default_delay: Duration,
    delays: BTreeMap<String, Duration>,
    /// How often a path was released; a hanging request waits for the next one.
    releases: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct ArmedFault {
    fault: Fault,
    /// How many more requests meet it; `None` for all.
    remaining: Option<usize>,
}

/// An answer, decided when the request arrived.
#[derive(Debug)]
struct Plan {
    delay: Duration,
    /// Number of releases that must be exceeded before the answer leaves.
    hold: Option<u64>,
    reply: Reply,
}

#[derive(Debug)]
enum Reply {
    Whole { status: StatusCode, headers: HeaderMap, body: Bytes },
    ResetBeforeHeaders,
    ResetMidBody { headers: HeaderMap, body: Bytes, after_bytes: usize },
}

/// The body of an answer. Holds its request in flight until the last byte was handed over.
struct AnswerBody {
    /// What is still to come; `None` after the last byte.
    data: Option<Bytes>,
    length_bytes: u64,
    /// Resets the connection after the data, and after so many more polls, instead of ending the body.
    cut: Option<u8>,
    _in_flight: InFlight,
}

// === impl BundleServer ===

impl BundleServer {
    /// Starts an empty server.
    ///
    /// Errors: what binding, or starting the server's thread, answered.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            ledger: Arc::new(Ledger::new()),
            site: Mutex::default(),
            released: Notify::new(),
        });
        let handler = {
            let shared = Arc::clone(&shared);
            move |request: Request<_>| answer(Arc::clone(&shared), request)
        };
        Ok(Self { serving: Serving::start("bundle-server", handler)?, shared })
    }

    /// Where the server listens.
    pub fn addr(&self) -> SocketAddr {
        self.serving.addr()
    }

    /// The URL of a path, which starts with `/`; empty for the origin.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr())
    }

    /// Publishes at a path, or replaces what was there. Panics if the ETag cannot stand in a header.
    pub fn publish(&self, path: &str, published: impl Into<Published>) {
        let published = published.into();
        published.headers();
        self.shared.site().published.insert(path.to_owned(), published);
    }

    /// Takes back what a path serves: it answers 404 from now on.
    pub fn withdraw(&self, path: &str) {
        self.shared.site().published.remove(path);
    }

    /// Lets every request for a path meet this fault, in place of any other, until [`Self::clear_fault`].
    ///
    /// Panics on a status or location that HTTP has no room for.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.arm(path, ArmedFault { fault, remaining: None });
    }

    /// Lets the next `times` requests for a path meet this fault, in place of any other. Panics as [`Self::fault`].
    pub fn fault_next(&self, path: &str, times: usize, fault: Fault) {
        self.arm(path, ArmedFault { fault, remaining: Some(times) });
    }

    fn arm(&self, path: &str, armed: ArmedFault) {
        match &armed.fault {
            Fault::Status(status) => {
                assert!((200..600).contains(status), "a server cannot answer with status {status}");
            }
            Fault::Redirect { location } => {
                assert!(HeaderValue::from_str(location).is_ok(), "`{location}` cannot stand in a header");
            }
            _ => {}
        }
        self.shared.site().faults.insert(path.to_owned(), armed);
    }

    /// Ends the fault of a path for the requests to come; those that hang stay.
    pub fn clear_fault(&self, path: &str) {
        self.shared.site().faults.remove(path);
    }

    /// Lets the requests go that hang at a path until released; those that come later hang anew while the fault
    /// stands.
    pub fn release(&self, path: &str) {
        *self.shared.site().releases.entry(path.to_owned()).or_default() += 1;
        self.shared.released.notify_waiters();
    }

    /// Holds every answer back for this long, except at paths that have a delay of their own.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.site().default_delay = delay;
    }

    /// Holds every answer for a path back for this long.
    pub fn set_path_delay(&self, path: &str, delay: Duration) {
        self.shared.site().delays.insert(path.to_owned(), delay);
    }

    /// What the server has seen so far.
    pub fn traffic(&self) -> Traffic {
        self.shared.ledger.snapshot()
    }

    /// Starts the maximum of requests in flight, and [`Traffic::since_reset`], anew.
    pub fn reset_counters(&self) {
        self.shared.ledger.reset_counters();
    }

    /// Waits until a condition on the traffic holds; false if it did not within `bound`.
    ///
    /// The condition must not call this server: it is asked while the record is locked.
    #[must_use]
    pub fn wait_until(&self, bound: Duration, condition: impl FnMut(&Traffic) -> bool) -> bool {
        self.shared.ledger.wait_until(bound, condition)
    }
}

// === impl Published ===

impl Published {
    /// An archive under an ETag that is its SHA-256, so that equal archives have equal ETags.
    pub fn new(archive: impl Into<Bytes>) -> Self {
        let archive = archive.into();
        let etag = format!("\"{:x}\"", Sha256::digest(&archive));
        Self { archive, etag }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/gzip"));
        headers.insert(ETAG, HeaderValue::from_str(&self.etag).expect("an ETag is visible ASCII"));
        headers
    }
}

impl From<Vec<u8>> for Published {
    fn from(archive: Vec<u8>) -> Self {
        Self::new(archive)
    }
}

// === impl Shared ===

impl Shared {
    fn site(&self) -> MutexGuard<'_, Site> {
        self.site.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_for_release(&self, path: &str, seen: u64) {
        loop {
            let notified = self.released.notified();
            if self.site().releases.get(path).copied().unwrap_or_default() > seen {
                return;
            }
            // A release after this check wakes `notified` all the same: it counts from its creation.
            notified.await;
        }
    }
}

// === impl Site ===

impl Site {
    fn plan(&mut self, path: &str, headers: &HeaderMap) -> Plan {
        let mut plan = Plan {
            delay: self.delays.get(path).copied().unwrap_or(self.default_delay),
            hold: None,
            reply: self.right_reply(path, headers),
        };
        match self.take_fault(path) {
            None => {}
            Some(Fault::Hang(time)) => plan.delay += time,
            Some(Fault::HangUntilReleased) => {
                plan.hold = Some(self.releases.get(path).copied().unwrap_or_default());
            }
            Some(Fault::ResetBeforeHeaders) => plan.reply = Reply::ResetBeforeHeaders,
            Some(Fault::Status(status)) => {
                plan.reply = Reply::text(StatusCode::from_u16(status).expect("checked when armed"));
            }
            Some(Fault::Redirect { location }) => plan.reply = Reply::redirect(&location),
            Some(Fault::Truncated { keep_bytes }) => {
                let published = self.published_or_empty(path);
                let keep = keep_bytes.min(published.archive.len());
                plan.reply = Reply::ok(&published, published.archive.slice(..keep));
            }
            Some(Fault::Bytes(bytes)) => {
                plan.reply = Reply::ok(&self.published_or_empty(path), bytes.into());
            }
            Some(Fault::ResetMidBody { after_bytes }) => {
                let published = self.published_or_empty(path);
                plan.reply = Reply::ResetMidBody {
                    headers: published.headers(),
                    body: published.archive,
                    after_bytes,
                };
            }
        }
        plan
    }

    fn right_reply(&self, path: &str, headers: &HeaderMap) -> Reply {
        match self.published.get(path) {
            None => Reply::text(StatusCode::NOT_FOUND),
            Some(published) if names_etag(headers, &published.etag) => Reply::Whole {
                status: StatusCode::NOT_MODIFIED,
                headers: published.headers(),
                body: Bytes::new(),
            },
            Some(published) => Reply::ok(published, published.archive.clone()),
        }
    }

    fn take_fault(&mut self, path: &str) -> Option<Fault> {
        let armed = self.faults.get_mut(path)?;
        match &mut armed.remaining {
            None => Some(armed.fault.clone()),
            Some(0) => None,
            Some(remaining) => {
                *remaining -= 1;
                Some(armed.fault.clone())
            }
        }
    }

    fn published_or_empty(&self, path: &str) -> Published {
        self.published.get(path).cloned().unwrap_or_else(|| Published::new(Bytes::new()))
    }
}

/// Whether `if-none-match` names this ETag, compared weakly (RFC 9110, 13.1.2).
fn names_etag(headers: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == opaque(etag))
}

// === impl Reply ===

impl Reply {
    fn ok(published: &Published, body: Bytes) -> Self {
        Self::Whole { status: StatusCode::OK, headers: published.headers(), body }
    }

    fn text(status: StatusCode) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Self::Whole { status, headers, body: Bytes::from(status.to_string()) }
    }

    fn redirect(location: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_str(location).expect("checked when armed"));
        Self::Whole { status: StatusCode::FOUND, headers, body: Bytes::new() }
    }
}

async fn answer<B>(shared: Arc<Shared>, request: Request<B>) -> Result<Response<ServedBody>, Abort> {
    let path = request.uri().path().to_owned();
    // Decided before it is recorded: who sees the request in the record may publish something else at once.
    let plan = shared.site().plan(&path, request.headers());
    // hyper drops this future, and with it the guard, when the client goes away.
    let mut in_flight = shared.ledger.arrive(&request);
    // The body, if there is one, is not wanted.
    drop(request);

    if let Some(seen) = plan.hold {
        shared.wait_for_release(&path, seen).await;
    }
    if !plan.delay.is_zero() {
        tokio::time::sleep(plan.delay).await;
    }
    let (status, headers, body) = match plan.reply {
        Reply::ResetBeforeHeaders => {
            in_flight.will_end_as(Answer::ResetBeforeHeaders);
            return Err(Abort);
        }
        Reply::Whole { status, headers, body } => {
            in_flight.will_end_as(Answer::Status(status.as_u16()));
            (status, headers, AnswerBody::whole(body, in_flight))
        }
        Reply::ResetMidBody { headers, body, after_bytes } => {
            in_flight.will_end_as(Answer::ResetMidBody);
            (StatusCode::OK, headers, AnswerBody::cut(body, after_bytes, in_flight))
        }
    };
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

// === impl AnswerBody ===

impl AnswerBody {
    fn whole(body: Bytes, in_flight: InFlight) -> Self {
        let length_bytes = body.len() as u64;
        let data = Some(body).filter(|body| !body.is_empty());
        Self { data, length_bytes, cut: None, _in_flight: in_flight }
    }

    fn cut(body: Bytes, after_bytes: usize, in_flight: InFlight) -> Self {
        // A body that was all sent cannot be cut, so one byte at least is promised and held back.
        let length_bytes = body.len().max(1) as u64;
        let data = Some(body.slice(..after_bytes.min(body.len().saturating_sub(1))));
        Self {
            data: data.filter(|data| !data.is_empty()),
            length_bytes,
            cut: Some(POLLS_BEFORE_CUT),
            _in_flight: in_flight,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match &mut self.cut {
            None => Poll::Ready(None),
            Some(0) => Poll::Ready(Some(Err(Abort))),
            Some(polls) => {
                *polls -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.cut.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length_bytes)
    }
}

#[cfg(test)]
mod tests;
