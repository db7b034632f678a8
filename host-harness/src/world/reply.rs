//! One answer of a scripted cluster.

use std::time::Duration;

use bytes::Bytes;

use super::{Call, Outcome, Response};

/// How a cluster answers one call. Built from one of its constructors; everything comes at once unless
/// [`Reply::after`] says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub(super) delay: Duration,
    pub(super) kind: Kind,
    unless_matched: bool,
    echoes: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Outcome(Outcome),
    Never,
    Refused,
}

// === impl Reply ===

impl Reply {
    /// A response with this status, no headers and no body.
    #[must_use]
    pub fn status(status: u16) -> Reply {
        Reply::outcome(Outcome::Response(Response { status, ..Response::default() }))
    }

    /// A 200 with this body.
    #[must_use]
    pub fn body(body: impl Into<Bytes>) -> Reply {
        Reply::status(200).with_body(body)
    }

    /// No connection can be made.
    #[must_use]
    pub fn connect_failure() -> Reply {
        Reply::outcome(Outcome::ConnectFailure)
    }

    /// The connection ends before the response's headers.
    #[must_use]
    pub fn reset_before_headers() -> Reply {
        Reply::outcome(Outcome::ResetBeforeHeaders)
    }

    /// The connection ends after the headers of a 200.
    #[must_use]
    pub fn reset() -> Reply {
        Reply::outcome(Outcome::ResetAfterHeaders(Response { status: 200, ..Response::default() }))
    }

    /// Nothing ever comes, so only a time limit ends the call.
    #[must_use]
    pub fn never() -> Reply {
        Reply::of(Kind::Never)
    }

    /// The call is refused at once: no healthy host, or no room.
    #[must_use]
    pub fn refused() -> Reply {
        Reply::of(Kind::Refused)
    }

    /// The same, this much later.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Reply {
        self.delay = delay;
        self
    }

    /// The same with one more response header; nothing where there is no response.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Reply {
        if let Some(response) = self.response_mut() {
            response.headers.push((name.to_ascii_lowercase().into_bytes(), value.as_ref().to_vec()));
        }
        self
    }

    /// The same with this response body; nothing where there is no response.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Reply {
        if let Some(response) = self.response_mut() {
            response.body = body.into();
        }
        self
    }

    /// The same with one more response trailer; nothing where there is no response.
    #[must_use]
    pub fn with_trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Reply {
        if let Some(response) = self.response_mut() {
            response.trailers.push((name.to_ascii_lowercase().into_bytes(), value.as_ref().to_vec()));
        }
        self
    }

    /// The same, but a 304 without a body to a call whose `if-none-match` names the response's `etag`, as servers of
    /// files answer.
    #[must_use]
    pub fn unless_matched(mut self) -> Reply {
        self.unless_matched = true;
        self
    }

    /// The same, with what the call's header holds wherever headers and body say `${header}`, as `${:path}`; nothing where
    /// the call has no such header.
    #[must_use]
    pub fn echoing(mut self) -> Reply {
        self.echoes = true;
        self
    }

    /// What it is to this call.
    pub(super) fn to(mut self, call: &Call) -> Reply {
        if self.echoes
            && let Some(response) = self.response_mut()
        {
            for (_, value) in &mut response.headers {
                *value = filled(value, call);
            }
            response.body = filled(&response.body, call).into();
        }
        if let Kind::Outcome(Outcome::Response(response)) = &mut self.kind
            && self.unless_matched
            && let Some(etag) = values(&response.headers, b"etag").next()
            && values(&call.headers, b"if-none-match").any(|tags| names_etag(tags, etag))
        {
            response.status = 304;
            response.body = Bytes::new();
        }
        self
    }

    fn outcome(outcome: Outcome) -> Reply {
        Reply::of(Kind::Outcome(outcome))
    }

    fn of(kind: Kind) -> Reply {
        Reply { delay: Duration::ZERO, kind, unless_matched: false, echoes: false }
    }

    fn response_mut(&mut self) -> Option<&mut Response> {
        match &mut self.kind {
            Kind::Outcome(Outcome::Response(response) | Outcome::ResetAfterHeaders(response)) => {
                Some(response)
            }
            _ => None,
        }
    }
}

/// The text with the call's headers in place of their names.
fn filled(text: &[u8], call: &Call) -> Vec<u8> {
    let mut whole = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"${") {
        let (before, from) = rest.split_at(at);
        whole.extend_from_slice(before);
        let Some(end) = from.iter().position(|byte| *byte == b'}') else {
            rest = from;
            break;
        };
        let name = from.get(2..end).unwrap_or_default();
        whole.extend_from_slice(values(&call.headers, name).next().unwrap_or_default());
        rest = from.get(end + 1..).unwrap_or_default();
    }
    whole.extend_from_slice(rest);
    whole
}

/// The values of a header.
fn values<'a>(headers: &'a [(Vec<u8>, Vec<u8>)], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_slice())
}

/// Whether a value of `if-none-match` names an ETag, compared weakly (RFC 9110, 13.1.2).
fn names_etag(tags: &[u8], etag: &[u8]) -> bool {
    let opaque = |tag: &[u8]| tag.trim_ascii().strip_prefix(b"W/").unwrap_or(tag.trim_ascii()).to_owned();
    tags.split(|byte| *byte == b',').any(|tag| tag.trim_ascii() == b"*" || opaque(tag) == opaque(etag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{CallId, Origin};

    #[test]
    fn an_echo_has_the_calls_headers_and_nothing_where_it_has_none() {
        let call = Call {
            id: CallId(1),
            origin: Origin::Router { stream: crate::envoy::StreamId(1) },
            cluster: "hub".to_owned(),
            headers: vec![(b":path".to_vec(), b"/a".to_vec()), (b"x-user".to_vec(), b"ada".to_vec())],
            body: Bytes::new(),
            trailers: Vec::new(),
            timeout: None,
        };
        let reply = || Reply::body("${:path} of ${x-user}${x-none}, ${open").with_header("x-is", "${x-user}");
        let said = |reply: Reply| match reply.to(&call).kind {
            Kind::Outcome(Outcome::Response(response)) => {
                let body = String::from_utf8_lossy(&response.body).into_owned();
                (body, String::from_utf8_lossy(&response.headers[0].1).into_owned())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(said(reply().echoing()), ("/a of ada, ${open".to_owned(), "ada".to_owned()));
        assert_eq!(said(reply()).1, "${x-user}");
    }
}
