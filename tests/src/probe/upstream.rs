//! The upstream of the probe: answers that are the same bytes in front of real Envoy and in the harness's world.
//!
//! What a request is answered is named in its path (`?answer=NAME`). It speaks just enough HTTP/1.1 for Envoy, because
//! a server that is well-kept would not send trailers nobody asked for, or end in the middle of a body.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use host_harness::world::Reply;

/// How a request is answered.
#[derive(Debug)]
pub struct Answer {
    name: &'static str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    /// How many times the body is repeated.
    times: usize,
    trailers: &'static [(&'static str, &'static str)],
    end: End,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is whole.
    Whole,
    /// Nothing ever comes.
    Never,
    /// The connection is closed instead.
    BeforeHeaders,
    /// No connection is made.
    Closed,
    /// There is no host.
    Empty,
    /// The connection is closed after the headers.
    AfterHeaders,
}

const PLAIN: Answer = Answer {
    name: "plain",
    status: 200,
    headers: &[("content-type", "text/plain"), ("content-length", "8"), ("x-answered-by", "upstream")],
    body: "upstream",
    times: 1,
    trailers: &[],
    end: End::Whole,
};

/// Every answer; the first is given where none is named.
pub const ANSWERS: [Answer; 16] = [
    PLAIN,
    Answer { name: "empty", headers: &[("content-length", "0")], body: "", ..PLAIN },
    Answer { name: "none", status: 204, headers: &[("x-answered-by", "upstream")], body: "", ..PLAIN },
    Answer { name: "same", status: 304, headers: &[("etag", "\"1\"")], body: "", ..PLAIN },
    Answer {
        name: "moved",
        status: 302,
        headers: &[("location", "/"), ("content-length", "0")],
        body: "",
        ..PLAIN
    },
    Answer { name: "absent", status: 404, headers: &[("content-length", "4")], body: "none", ..PLAIN },
    Answer { name: "failed", status: 500, headers: &[("content-length", "4")], body: "oops", ..PLAIN },
    Answer {
        name: "twice",
        headers: &[("x-a", "1"), ("x-a", "2"), ("content-length", "0")],
        body: "",
        ..PLAIN
    },
    Answer {
        name: "large",
        headers: &[("content-length", "70000")],
        body: "0123456789",
        times: 7000,
        ..PLAIN
    },
    Answer { name: "chunked", headers: &[("transfer-encoding", "chunked")], ..PLAIN },
    Answer {
        name: "trailers",
        headers: &[("transfer-encoding", "chunked"), ("x-answered-by", "upstream")],
        trailers: &[("x-end", "1"), ("x-end-too", "2")],
        ..PLAIN
    },
    Answer { name: "never", end: End::Never, ..PLAIN },
    Answer { name: super::sides::CLOSED_CLUSTER, end: End::Closed, ..PLAIN },
    Answer { name: super::sides::EMPTY_CLUSTER, end: End::Empty, ..PLAIN },
    Answer { name: "cut", end: End::BeforeHeaders, ..PLAIN },
    Answer { name: "cut-late", end: End::AfterHeaders, ..PLAIN },
];

/// A request as the upstream saw it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Path with its query.
    pub path: String,
    /// Headers in order of their names, without what is different by nature.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
    /// Trailers.
    pub trailers: Vec<(String, String)>,
}

/// Names and values, in order.
type Pairs = Vec<(String, String)>;

/// Headers that the codec makes, and ids and addresses.
const OF_THE_WIRE: [&str; 3] = ["transfer-encoding", "x-request-id", "x-forwarded-for"];

/// The real one, on loopback until the process ends.
#[derive(Debug)]
pub struct Upstream {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

// === impl Answer ===

impl Answer {
    /// The answer that a path names.
    pub fn named_in(path: &str) -> &'static Answer {
        let name = path.split_once("answer=").map_or(PLAIN.name, |(_, name)| name);
        let found = ANSWERS.iter().find(|answer| answer.name == name);
        found.unwrap_or_else(|| panic!("there is an answer `{name}`"))
    }

    /// Whether the request surely arrives; one that nobody answers may be given up before it is sent.
    pub fn is_reached(&self) -> bool {
        !matches!(self.end, End::Closed | End::Empty | End::Never)
    }

    /// The answer in a scripted world.
    pub fn to_reply(&self) -> Reply {
        let mut reply = match self.end {
            End::Never => return Reply::never(),
            End::BeforeHeaders => return Reply::reset_before_headers(),
            End::Closed => return Reply::connect_failure(),
            End::Empty => return Reply::refused(),
            End::AfterHeaders => Reply::reset().with_body(self.body.as_bytes()),
            End::Whole => Reply::status(self.status).with_body(self.body.repeat(self.times)),
        };
        for (name, value) in self.headers {
            reply = reply.with_header(name, value);
        }
        for (name, value) in self.trailers {
            reply = reply.with_trailer(name, value);
        }
        reply
    }

    /// The answer on the wire.
    fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Probe\r\n", self.status);
        for (name, value) in self.headers {
            // A promise that is not kept.
            let value =
                if self.end == End::AfterHeaders && *name == "content-length" { "100" } else { value };
            head += &format!("{name}: {value}\r\n");
        }
        let body = self.body.repeat(self.times);
        if self.headers.iter().any(|(name, _)| *name == "transfer-encoding") {
            head += &format!("\r\n{:x}\r\n{body}\r\n0\r\n", body.len());
            for (name, value) in self.trailers {
                head += &format!("{name}: {value}\r\n");
            }
            head += "\r\n";
        } else {
            head += &format!("\r\n{body}");
        }
        head.into_bytes()
    }
}

// === impl Seen ===

impl Seen {
    /// A request with these headers, in any order, pseudo headers or not.
    pub fn new(
        method: &str,
        path: &str,
        headers: impl IntoIterator<Item = (String, String)>,
        body: &[u8],
        trailers: Pairs,
    ) -> Self {
        let kept = |header: &(String, String)| {
            !OF_THE_WIRE.contains(&header.0.as_str()) && !super::sides::is_no_length(header)
        };
        let mut headers: Vec<_> = headers.into_iter().filter(kept).collect();
        headers.sort();
        let body = String::from_utf8_lossy(body).into_owned();
        Self { method: method.to_owned(), path: path.to_owned(), headers, body, trailers }
    }
}

// === impl Upstream ===

impl Upstream {
    /// Starts the server.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                // A connection that breaks off is what some answers are made for.
                thread::spawn(move || serve(connection, &log).ok());
            }
        });
        Ok(Self { addr, seen })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes the requests that came since it was last asked, sorted.
    pub fn take_seen(&self) -> Vec<Seen> {
        let mut seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        seen.sort();
        seen
    }
}

/// Answers the requests of one connection until it ends.
fn serve(mut connection: TcpStream, log: &Mutex<Vec<Seen>>) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut received = Vec::new();
    loop {
        let (seen, used) = loop {
            if let Some(found) = request(&received) {
                break found;
            }
            let mut chunk = [0; 64 * 1024];
            match connection.read(&mut chunk)? {
                0 => return Ok(()),
                size => received.extend_from_slice(&chunk[..size]),
            }
        };
        received.drain(..used);
        let answer = Answer::named_in(&seen.path);
        log.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        match answer.end {
            End::Whole => connection.write_all(&answer.to_bytes())?,
            End::Never => {}
            // Envoy sends the last two nowhere.
            End::BeforeHeaders | End::Closed | End::Empty => return Ok(()),
            End::AfterHeaders => return connection.write_all(&answer.to_bytes()),
        }
    }
}

/// The first request in these bytes, and how many of them it is; `None` while some are missing.
fn request(bytes: &[u8]) -> Option<(Seen, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(size) = head.parse(bytes).ok()? else { return None };
    let headers = texts(head.headers);
    let value =
        |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let rest = &bytes[size..];
    let (body, trailers, used) = if value("transfer-encoding") == Some("chunked") {
        chunks(rest)?
    } else {
        let length =
            value("content-length").map_or(0, |length| length.parse().expect("Envoy sends a number"));
        (rest.get(..length)?.to_vec(), Vec::new(), length)
    };
    let (method, path) = (head.method.unwrap_or_default(), head.path.unwrap_or_default());
    Some((Seen::new(method, path, headers.clone(), &body, trailers), size + used))
}

/// A chunked body with its trailers, and how many bytes it is.
fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, Pairs, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let httparse::Status::Complete((line, size)) = httparse::parse_chunk_size(&bytes[at..]).ok()? else {
            return None;
        };
        at += line;
        let size = usize::try_from(size).ok()?;
        if size == 0 {
            let mut trailers = [httparse::EMPTY_HEADER; 16];
            let parsed = httparse::parse_headers(&bytes[at..], &mut trailers).ok()?;
            let httparse::Status::Complete((size, trailers)) = parsed else { return None };
            return Some((body, texts(trailers), at + size));
        }
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size + 2;
        bytes.get(..at)?;
    }
}

fn texts(headers: &[httparse::Header<'_>]) -> Pairs {
    let text = |header: &httparse::Header<'_>| {
        (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
    };
    headers.iter().map(text).collect()
}
