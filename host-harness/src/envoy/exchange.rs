//! What a client sends and what it gets: the two ends of one HTTP stream.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::abi::Headers;

/// Number of one HTTP stream, counted from 1 over a whole Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// A request as a client sends it, with what Envoy knows beside it. Built from [`Request::get`] or [`Request::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `:method`
    pub method: Vec<u8>,
    /// `:authority`
    pub authority: Vec<u8>,
    /// `:path`, with the query.
    pub path: Vec<u8>,
    /// `:scheme`
    pub scheme: Vec<u8>,
    /// Other headers, in order.
    pub headers: Headers,
    /// Body; none and an empty one are the same on the wire.
    pub body: Option<Vec<u8>>,
    /// Trailers; none and empty are the same on the wire.
    pub trailers: Headers,
    /// The version of HTTP, which decides how the end of a body is reported to a filter.
    pub protocol: Protocol,
    /// Most bytes of body that come at once.
    pub chunk_size_bytes: usize,
    /// Time between two chunks, and before the first; with zero they all come with the headers.
    pub chunk_interval: Duration,
    /// Properties of this request, its connection and its route: dotted path to the raw bytes that a guest reads, for
    /// example `xds.route_metadata.filter_metadata.portcullis.policy`. They win over what is known from the request.
    pub properties: BTreeMap<String, Vec<u8>>,
    /// A status with which a filter in front of the plugin refuses this request: the plugin sees only its end.
    pub refused_before_plugin: Option<u16>,
}

/// The version of HTTP that the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: the end of a body comes alone, as an empty chunk.
    Http1,
    /// HTTP/2: the end of a body comes with its last bytes.
    Http2,
}

/// One whole HTTP stream, after its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Status that the client saw; 0 when it saw none.
    pub status: u16,
    /// Headers that the client saw, without pseudo headers. `date` and `server` are not made here.
    pub headers: Headers,
    /// Body that the client saw.
    pub body: Vec<u8>,
    /// Trailers that the client saw.
    pub trailers: Headers,
    /// Whose answer it is; `None` when the client saw none.
    pub answered_by: Option<AnsweredBy>,
    /// What the upstream saw, if anything.
    pub upstream_request: Option<UpstreamRequest>,
    /// Filter state at the end of the stream, with the prefix `wasm.`.
    pub filter_state: BTreeMap<String, Vec<u8>>,
    /// Response code details, as `%RESPONSE_CODE_DETAILS%` logs them.
    pub details: String,
    /// The stream was reset before the response's end.
    pub aborted: bool,
    /// When the request began.
    pub began_at: Duration,
    /// When the stream ended.
    pub ended_at: Duration,
}

/// Whose answer a client saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy {
    /// The upstream's.
    Upstream,
    /// The plugin's own, by `proxy_send_local_response`.
    LocalResponse,
    /// Envoy's: a failed VM, the seal, a limit, an upstream that did not answer.
    Envoy,
}

/// What the upstream saw of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamRequest {
    /// Headers with their pseudo headers.
    pub headers: Headers,
    /// Body.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Headers,
    /// Whether the request's end was sent, too; false when only a beginning got past the plugin.
    pub complete: bool,
}

// === impl Request ===

impl Request {
    /// A request without headers and body, over HTTP/1.1, to `gate.test`.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Request {
        Request {
            method: method.as_bytes().to_vec(),
            authority: b"gate.test".to_vec(),
            path: path.as_bytes().to_vec(),
            scheme: b"http".to_vec(),
            headers: Headers::new(),
            body: None,
            trailers: Headers::new(),
            protocol: Protocol::Http1,
            chunk_size_bytes: 16 * 1024,
            chunk_interval: Duration::ZERO,
            properties: BTreeMap::new(),
            refused_before_plugin: None,
        }
    }

    /// A GET.
    #[must_use]
    pub fn get(path: &str) -> Request {
        Request::new("GET", path)
    }

    /// A POST with a body and its `content-length`.
    #[must_use]
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Request {
        let body = body.into();
        let length = body.len().to_string();
        Request::new("POST", path).header("content-length", length).with_body(body)
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        self.headers.push((name.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// The same with this body and no header about it.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = Some(body.into());
        self
    }

    /// The same with one more trailer.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        self.trailers.push((name.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// The same with this authority.
    #[must_use]
    pub fn authority(mut self, authority: impl AsRef<[u8]>) -> Request {
        self.authority = authority.as_ref().to_vec();
        self
    }

    /// The same with one more property.
    #[must_use]
    pub fn property(mut self, path: &str, value: impl AsRef<[u8]>) -> Request {
        self.properties.insert(path.to_owned(), value.as_ref().to_vec());
        self
    }
}

// === impl Exchange ===

impl Exchange {
    /// First value of a response header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    /// The body as text, with replacement characters where it is none.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

// === impl UpstreamRequest ===

impl UpstreamRequest {
    /// First value of a header, or of a pseudo header such as `:path`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value.as_slice())
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "stream {}", self.0)
    }
}
