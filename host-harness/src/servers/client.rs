//! A raw HTTP/1.1 client that sends what it is given: header values and paths need not be UTF-8, nor even HTTP.
//!
//! It blocks, opens one connection per request unless told otherwise, and reports what arrived before a failure,
//! because that is what a test of a failure looks at.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde::de::DeserializeOwned;

/// No test waits longer than this for one read or write.
const TIMEOUT: Duration = Duration::from_secs(60);
/// More than any answer here has.
const MAX_HEADERS: usize = 256;
/// The most that one read takes.
const CHUNK_BYTES: usize = 256 * 1024;

/// A request, sent byte for byte as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    method: String,
    target: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code; never 1xx, interim answers are skipped.
    pub status: u16,
    /// Headers in order; names in lower case, values as bytes.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body without its transfer coding.
    pub body: Vec<u8>,
}

/// A connection that outlives a request: for pipelining, for keep-alive, and for clients that leave in the middle.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What arrived and belongs to no answer yet.
    received: Vec<u8>,
    /// Where a read puts it; made once, because who measures sends many requests over one connection.
    chunk: Box<[u8]>,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("no connection to {addr}: {source}")]
    Connect {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The request could not be sent, and no answer came either.
    #[error("the request could not be sent: {source}")]
    Send {
        /// What the system said.
        source: io::Error,
    },
    /// The connection failed (`ConnectionReset`), or nothing came in time (`WouldBlock`).
    #[error("the answer broke off after {} bytes: {source}", received.len())]
    Receive {
        /// Every byte of the answer that arrived.
        received: Vec<u8>,
        /// What the system said.
        source: io::Error,
    },
    /// The server closed the connection politely before the answer was whole.
    #[error("the connection ended after {} bytes of the answer", received.len())]
    Ended {
        /// Every byte of the answer that arrived.
        received: Vec<u8>,
    },
    /// What arrived is not HTTP/1.1.
    #[error("the answer is not HTTP/1.1: {reason}")]
    Malformed {
        /// Every byte that arrived.
        received: Vec<u8>,
        /// The parser's word.
        reason: String,
    },
}

// === impl Request ===

impl Request {
    /// A request with any method and target; both go out as they are.
    pub fn new(method: &str, target: impl AsRef<[u8]>) -> Self {
        let target = target.as_ref().to_vec();
        Self { method: method.to_owned(), target, headers: Vec::new(), body: Vec::new() }
    }

    /// A GET.
    pub fn get(target: impl AsRef<[u8]>) -> Self {
        Self::new("GET", target)
    }

    /// Adds a header after those that are there; nothing is checked or replaced.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Sets the body; `content-length` is added unless there is one, or a `transfer-encoding`.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends the request over a connection of its own.
    ///
    /// Adds `host` and `connection: close` where there is none.
    /// Errors: [`ClientError`], with every byte that arrived.
    pub fn send(&self, addr: SocketAddr) -> Result<Response, ClientError> {
        let mut connection = Connection::open(addr)?;
        let request =
            if self.has("connection") { self.clone() } else { self.clone().header("connection", "close") };
        // A server may answer, and close, before it has read everything.
        let sent = connection.send(&request);
        match (connection.receive(&self.method), sent) {
            (Ok(response), _) => Ok(response),
            (Err(_), Err(error)) => Err(error),
            (Err(error), Ok(())) => Err(error),
        }
    }

    /// The bytes that go out.
    pub fn to_bytes(&self, addr: SocketAddr) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [self.method.as_bytes(), b" ", &self.target, b" HTTP/1.1\r\n"] {
            bytes.extend_from_slice(part);
        }
        if !self.has("host") {
            bytes.extend_from_slice(format!("host: {addr}\r\n").as_bytes());
        }
        for (name, value) in &self.headers {
            for part in [name, b": ".as_slice(), value, b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        if !self.body.is_empty() && !self.has("content-length") && !self.has("transfer-encoding") {
            bytes.extend_from_slice(format!("content-length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name.as_bytes()))
    }
}

// === impl Response ===

impl Response {
    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(seen, _)| seen == name).map(|(_, value)| value.as_slice())
    }

    /// The body as text; what is not UTF-8 becomes U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// Errors: what serde_json says about the body.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }
}

// === impl Connection ===

impl Connection {
    /// Connects.
    ///
    /// Errors: [`ClientError::Connect`].
    pub fn open(addr: SocketAddr) -> Result<Self, ClientError> {
        let open = || {
            let stream = TcpStream::connect(addr)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            Ok(stream)
        };
        let stream = open().map_err(|source| ClientError::Connect { addr, source })?;
        Ok(Self { stream, received: Vec::new(), chunk: vec![0; CHUNK_BYTES].into() })
    }

    /// Sends a request and waits for nothing.
    ///
    /// Errors: [`ClientError::Send`].
    pub fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let addr = self.stream.peer_addr().map_err(|source| ClientError::Send { source })?;
        self.send_bytes(&request.to_bytes(addr))
    }

    /// Sends bytes as they are.
    ///
    /// Errors: [`ClientError::Send`].
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.stream.write_all(bytes).map_err(|source| ClientError::Send { source })
    }

    /// Waits for the next whole answer; the request's method says whether it has a body.
    ///
    /// Errors: [`ClientError`], with every byte that arrived.
    pub fn receive(&mut self, method: &str) -> Result<Response, ClientError> {
        let mut ended = false;
        loop {
            match parse(&self.received, method, ended) {
                Ok(Some((response, used))) => {
                    self.received.drain(..used);
                    if response.status >= 200 {
                        return Ok(response);
                    }
                    continue;
                }
                Ok(None) if ended => {
                    return Err(ClientError::Ended { received: self.received.clone() });
                }
                Ok(None) => {}
                Err(reason) => {
                    return Err(ClientError::Malformed { received: self.received.clone(), reason });
                }
            }
            match self.stream.read(&mut self.chunk) {
                Ok(0) => ended = true,
                Ok(size) => self.received.extend_from_slice(&self.chunk[..size]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ClientError::Receive { received: self.received.clone(), source });
                }
            }
        }
    }
}

/// Parses one answer; gives it with the number of bytes it took, or `None` while bytes are missing.
fn parse(bytes: &[u8], method: &str, ended: bool) -> Result<Option<(Response, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_size) = head.parse(bytes).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let status = head.code.unwrap_or_default();
    let headers: Vec<_> =
        head.headers.iter().map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec())).collect();
    let response = Response { status, headers, body: Vec::new() };
    let rest = &bytes[head_size..];
    let body = if method == "HEAD" || status < 200 || matches!(status, 204 | 304) {
        Some((Vec::new(), 0))
    } else if response
        .header("transfer-encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
    {
        unchunk(rest)?
    } else if let Some(length) = response.header("content-length") {
        let length = String::from_utf8_lossy(length);
        let length: usize = length.parse().map_err(|_| format!("content-length is `{length}`"))?;
        rest.get(..length).map(|body| (body.to_vec(), length))
    } else {
        ended.then(|| (rest.to_vec(), rest.len()))
    };
    Ok(body.map(|(body, used)| (Response { body, ..response }, head_size + used)))
}

/// Decodes a chunked body; trailers are dropped. Gives the body with the number of bytes it took.
fn unchunk(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (size_line, size) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("a chunk has no size".to_owned()),
        };
        at += size_line;
        if size == 0 {
            let mut trailers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            return match httparse::parse_headers(&bytes[at..], &mut trailers) {
                Ok(httparse::Status::Complete((size, _))) => Ok(Some((body, at + size))),
                Ok(httparse::Status::Partial) => Ok(None),
                Err(error) => Err(error.to_string()),
            };
        }
        let end =
            usize::try_from(size).ok().and_then(|size| at.checked_add(size)).ok_or("a chunk is too large")?;
        let Some(chunk) = bytes.get(at..end) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        match bytes.get(end..end + 2) {
            None => return Ok(None),
            Some(b"\r\n") => at = end + 2,
            Some(_) => return Err("a chunk does not end where its size says".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn bytes_that_are_not_utf8_go_out_as_they_are() {
        let request = Request::get(b"/\xff").header("x-a", b"\xfe\xff").header(b"x-\xfd", "b");
        let bytes = request.to_bytes(([127, 0, 0, 1], 80).into());
        let expected = b"GET /\xff HTTP/1.1\r\nhost: 127.0.0.1:80\r\nx-a: \xfe\xff\r\nx-\xfd: b\r\n\r\n";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_body_brings_its_length_unless_the_test_says_otherwise() {
        let addr = ([127, 0, 0, 1], 80).into();
        let text = |request: Request| String::from_utf8(request.to_bytes(addr)).unwrap();
        assert!(text(Request::new("POST", "/").body("abc")).ends_with("content-length: 3\r\n\r\nabc"));
        let lying = Request::new("POST", "/").header("Content-Length", "9").body("abc");
        assert!(text(lying).ends_with("Content-Length: 9\r\n\r\nabc"));
    }

    #[test]
    fn every_framing_of_a_body_is_read_from_pieces_of_any_size() {
        let answers: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\nX-A: \xff\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nx-a: \xff\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nt: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx-a: \xff\r\n\r\nhello",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nx-a: \xff\r\ncontent-length: 5\r\n\r\nhello",
        ];
        for answer in answers {
            for piece in [1, 7, 1000] {
                let response = Request::get("/").send(serve_once(answer.to_vec(), piece)).unwrap();
                assert_eq!((response.status, response.body.as_slice()), (200, b"hello".as_slice()));
                assert_eq!(response.header("x-a"), Some(b"\xff".as_slice()));
            }
        }
    }

    #[test]
    fn an_answer_that_ends_too_soon_is_an_error_with_what_arrived() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello";
        let error = Request::get("/").send(serve_once(answer.to_vec(), 1000)).unwrap_err();
        assert!(matches!(&error, ClientError::Ended { received } if received == answer), "{error}");
    }

    #[test]
    fn a_wrong_chunk_is_an_error() {
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nheXX0\r\n\r\n";
        let error = Request::get("/").send(serve_once(answer.to_vec(), 1000)).unwrap_err();
        assert!(matches!(error, ClientError::Malformed { .. }), "{error}");
    }

    /// Answers one connection with these bytes, in writes of `piece` bytes, once a whole head has come.
    fn serve_once(answer: Vec<u8>, piece: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                seen.push(byte[0]);
            }
            stream.set_nodelay(true).unwrap();
            answer.chunks(piece).for_each(|bytes| stream.write_all(bytes).unwrap());
        });
        addr
    }
}
