//! What every guest needs of the host, in few words: shared data, queues, calls, replies.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use proxy_wasm::{
    hostcalls,
    types::{Action, BufferType, LogLevel, MapType, Status},
};

/// The cluster of every call, unless a filter says otherwise.
const CLUSTER: &str = "feed";
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A CAS number that no value ever has: a write under it creates a key, or is refused.
const ABSENT: u32 = u32::MAX;

/// A value with a number that grows; `version:value` as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Versioned {
    pub(crate) version: u32,
    pub(crate) value: String,
}

/// What a key of the shared data holds.
#[derive(Debug)]
pub(crate) struct Held {
    /// Empty when there is no such key.
    pub(crate) text: String,
    /// For [`swap`].
    pub(crate) cas: u32,
}

/// An answer to a call.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 when the answer was cut off, which Envoy reports by zero headers.
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Flow {
    Continue,
    Pause,
    Reply(u16, String),
}

/// What a filter keeps for one request.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) user: String,
    pub(crate) generation: u32,
}

// === shared data ===

/// Reads a key.
pub(crate) fn get(key: &str) -> Held {
    match hostcalls::get_shared_data(key) {
        Ok((value, Some(cas))) => Held { text: text(value.unwrap_or_default()), cas },
        _ => Held { text: String::new(), cas: ABSENT },
    }
}

/// Writes a key, whatever it holds.
pub(crate) fn set(key: &str, value: &str) {
    let _ = hostcalls::set_shared_data(key, Some(value.as_bytes()), None);
}

/// Writes a key if nobody wrote it since it was read; whether it did.
pub(crate) fn swap(key: &str, value: &str, cas: u32) -> bool {
    hostcalls::set_shared_data(key, Some(value.as_bytes()), Some(cas)).is_ok()
}

/// Creates a key if there is none; whether it did.
pub(crate) fn create(key: &str, value: &str) -> bool {
    swap(key, value, ABSENT)
}

/// Writes a key unless it holds the same version or a newer one; whether it did.
pub(crate) fn advance(key: &str, new: &Versioned) -> bool {
    // Ends: a swap fails only because another VM's succeeded, and versions are few.
    loop {
        let held = get(key);
        if held.versioned().version >= new.version {
            return false;
        }
        if swap(key, &new.to_string(), held.cas) {
            return true;
        }
    }
}

/// Adds one to a number under a key, and gives what it then is.
pub(crate) fn count_up(key: &str) -> u32 {
    loop {
        let held = get(key);
        let next = number(&held.text) + 1;
        if swap(key, &next.to_string(), held.cas) {
            return next;
        }
    }
}

// === queues ===

/// Registers as the consumer of a queue.
pub(crate) fn register(queue: &str) -> u32 {
    hostcalls::register_shared_queue(queue).unwrap_or_default()
}

/// Puts an item into a queue.
pub(crate) fn enqueue(queue: u32, item: &str) {
    let _ = hostcalls::enqueue_shared_queue(queue, Some(item.as_bytes()));
}

/// Takes the oldest item out of a queue.
pub(crate) fn dequeue(queue: u32) -> Option<String> {
    hostcalls::dequeue_shared_queue(queue).ok().flatten().map(text)
}

// === calls, requests, time ===

/// Calls the cluster `feed`.
///
/// Errors: the call was refused where it was made, and there will be no answer.
pub(crate) fn call(path: &str) -> Result<u32, Status> {
    let headers = vec![(":method", "GET"), (":path", path), (":authority", CLUSTER)];
    hostcalls::dispatch_http_call(CLUSTER, headers, None, Vec::new(), CALL_TIMEOUT)
}

/// Lets the request of the running callback go on.
pub(crate) fn resume() {
    let _ = hostcalls::resume_http_request();
}

/// A header of the request; empty when it is not there, or not text.
pub(crate) fn request_header(name: &str) -> String {
    let value = hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, name);
    text(value.ok().flatten().unwrap_or_default())
}

/// Ticks from now on; 0 stops them.
pub(crate) fn tick_every(period_ms: u64) {
    let _ = hostcalls::set_tick_period(Duration::from_millis(period_ms));
}

/// Seconds since the epoch.
pub(crate) fn seconds() -> u32 {
    let now = hostcalls::get_current_time().unwrap_or(SystemTime::UNIX_EPOCH);
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

// === what is reported ===

/// Tells a host that wants to know what this VM now believes.
pub(crate) fn view(name: &str, value: &impl fmt::Display) {
    let argument = format!("{name}={value}");
    let _ = hostcalls::call_foreign_function("portcullis.view", Some(argument.as_bytes()));
}

/// Logs that something is wrong.
pub(crate) fn complain(message: &str) {
    let _ = hostcalls::log(LogLevel::Error, message);
}

/// The number that a text is; 0 when it is none.
pub(crate) fn number(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

// === impl Held ===

impl Held {
    pub(crate) fn is_absent(&self) -> bool {
        self.cas == ABSENT
    }

    pub(crate) fn versioned(&self) -> Versioned {
        Versioned::parse(&self.text)
    }
}

// === impl Versioned ===

impl Versioned {
    pub(crate) fn new(version: u32, value: impl Into<String>) -> Versioned {
        Versioned { version, value: value.into() }
    }

    /// A text without a version is version 0.
    pub(crate) fn parse(text: &str) -> Versioned {
        match text.split_once(':') {
            Some((version, value)) => Versioned::new(number(version), value),
            None => Versioned::new(0, text),
        }
    }
}

impl fmt::Display for Versioned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.version, self.value)
    }
}

// === impl Answer ===

impl Answer {
    pub(crate) fn read(headers: usize, body: usize) -> Answer {
        // After a reset there is no map, and asking for one of its headers would panic.
        let status = match headers {
            0 => 0,
            _ => hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, ":status")
                .ok()
                .flatten()
                .and_then(|status| text(status).parse().ok())
                .unwrap_or(0),
        };
        let body = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, body);
        Answer { status, body: text(body.ok().flatten().unwrap_or_default()) }
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.status == 200
    }

    pub(crate) fn versioned(&self) -> Versioned {
        Versioned::parse(&self.body)
    }
}

// === impl Flow ===

impl Flow {
    pub(crate) fn reply(status: u16, body: impl Into<String>) -> Flow {
        Flow::Reply(status, body.into())
    }

    /// Does what is said, for the stream of the running callback.
    pub(crate) fn action(self) -> Action {
        match self {
            Flow::Continue => Action::Continue,
            Flow::Pause => Action::Pause,
            Flow::Reply(status, body) => {
                let _ = hostcalls::send_http_response(u32::from(status), Vec::new(), Some(body.as_bytes()));
                Action::Pause
            }
        }
    }
}

// === impl Stream ===

impl Stream {
    pub(crate) fn new(id: u32) -> Stream {
        Stream { id, ..Stream::default() }
    }
}
