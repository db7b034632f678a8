//! An upstream that answers 200 with what it saw, so that a test can tell what the proxy let through and changed.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::{Deserialize, Serialize};

use super::{
    serving::{Abort, ServedBody, Serving},
    traffic::{Answer, Ledger, Traffic},
};

/// Echoes every request as an [`Echo`] on `127.0.0.1` until dropped.
#[derive(Debug)]
pub struct Upstream {
    serving: Serving,
    shared: Arc<Shared>,
}

/// A request as the upstream saw it: the JSON body of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// Method.
    pub method: String,
    /// Path with its query.
    pub path: String,
    /// Headers in order.
    pub headers: Vec<EchoHeader>,
    /// Body; what is not UTF-8 is U+FFFD.
    pub body: String,
    /// Body in hexadecimal, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hex: Option<String>,
}

/// One header as the upstream saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EchoHeader {
    /// Name in lower case.
    pub name: String,
    /// Value; what is not UTF-8 is U+FFFD.
    pub value: String,
    /// Value in hexadecimal, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
}

#[derive(Debug)]
struct Shared {
    ledger: Arc<Ledger>,
    response_headers: Mutex<Vec<(HeaderName, HeaderValue)>>,
}

// === impl Upstream ===

impl Upstream {
    /// Starts the server.
    ///
    /// Errors: what binding, or starting the server's thread, answered.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared { ledger: Arc::new(Ledger::new()), response_headers: Mutex::default() });
        let handler = {
            let shared = Arc::clone(&shared);
            move |request| echo(Arc::clone(&shared), request)
        };
        Ok(Self { serving: Serving::start("upstream", handler)?, shared })
    }

    /// Where the server listens.
    pub fn addr(&self) -> SocketAddr {
        self.serving.addr()
    }

    /// Adds a header to every answer from now on. Panics if it cannot be a header.
    pub fn add_response_header(&self, name: &str, value: impl AsRef<[u8]>) {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        let value = HeaderValue::from_bytes(value.as_ref()).expect("a header value");
        self.shared.response_headers.lock().unwrap_or_else(PoisonError::into_inner).push((name, value));
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.traffic().requests.len()
    }

    /// What the server has seen so far.
    pub fn traffic(&self) -> Traffic {
        self.shared.ledger.snapshot()
    }

    /// Waits until a condition on the traffic holds; false if it did not within `bound`.
    ///
    /// The condition must not call this server: it is asked while the record is locked.
    #[must_use]
    pub fn wait_until(&self, bound: Duration, condition: impl FnMut(&Traffic) -> bool) -> bool {
        self.shared.ledger.wait_until(bound, condition)
    }
}

// === impl Echo ===

impl Echo {
    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name == name).map(|header| header.value.as_str())
    }

    fn of(request: &Request<()>, body: &[u8]) -> Self {
        let headers = request.headers().iter();
        let headers = headers.map(|(name, value)| {
            let (value, hex) = text(value.as_bytes());
            EchoHeader { name: name.to_string(), value, hex }
        });
        let (text, body_hex) = text(body);
        Self {
            method: request.method().to_string(),
            path: request.uri().to_string(),
            headers: headers.collect(),
            body: text,
            body_hex,
        }
    }
}

/// Bytes as text, with their hexadecimal form if that lost something.
fn text(bytes: &[u8]) -> (String, Option<String>) {
    match str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => {
            let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            (String::from_utf8_lossy(bytes).into_owned(), Some(hex))
        }
    }
}

async fn echo(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<ServedBody>, Abort> {
    let mut in_flight = shared.ledger.arrive(&request);
    let (head, body) = request.into_parts();
    // A client that leaves in its body gets no answer.
    let body = body.collect().await.map_err(|_| Abort)?.to_bytes();
    let echo = Echo::of(&Request::from_parts(head, ()), &body);
    let json = serde_json::to_vec(&echo).expect("text is always JSON");

    let mut response =
        Response::new(Full::new(Bytes::from(json)).map_err(|never| match never {}).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // `extend` would replace: a header may stand here twice.
    for (name, value) in shared.response_headers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        headers.append(name.clone(), value.clone());
    }
    in_flight.will_end_as(Answer::Status(200));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::client;

    #[test]
    fn the_answer_holds_what_was_sent() {
        let upstream = Upstream::start().unwrap();
        upstream.add_response_header("x-one", "1");
        upstream.add_response_header("x-one", b"\xff");
        let response = client::Request::new("PUT", "/a%2Fb?q=1")
            .header("x-a", "1")
            .header("x-a", b"2\xff")
            .body(b"\xfehello".as_slice())
            .send(upstream.addr())
            .unwrap();
        assert_eq!(response.status, 200);
        let ones: Vec<_> = response.headers.iter().filter(|(name, _)| name == "x-one").collect();
        assert_eq!(ones, [&("x-one".to_owned(), b"1".to_vec()), &("x-one".to_owned(), b"\xff".to_vec())]);

        let echo: Echo = response.json().unwrap();
        assert_eq!((echo.method.as_str(), echo.path.as_str()), ("PUT", "/a%2Fb?q=1"));
        assert_eq!((echo.body.as_str(), echo.body_hex.as_deref()), ("\u{fffd}hello", Some("fe68656c6c6f")));
        assert_eq!(echo.header("x-a"), Some("1"));
        let second = EchoHeader { name: "x-a".into(), value: "2\u{fffd}".into(), hex: Some("32ff".into()) };
        assert!(echo.headers.contains(&second), "{:?}", echo.headers);
        assert_eq!(upstream.count(), 1);
    }
}
