//! A connection that breaks: what is published meanwhile is buffered, replayed, and asked for anew.
//!
//! The connection is the cluster `feed` as one VM sees it: a call that is answered 200 means that it stands. The worker
//! that gets the request for `/join` holds it, so that nothing else needs to be reported which VM that is. Items are
//! numbers that grow, what has arrived at the other end is the key `delivered`, and the mistakes are those that the
//! review of OPAL's PR #915 (reconnect, replay, resync) found or left.

use crate::{
    Configuration, Filter,
    host::{Answer, Flow, Stream, Versioned, advance, call, get, number, set, tick_every},
};

const DELIVERED: &str = "delivered";
const PERIOD_MS: u64 = 100;

pub(crate) fn filter(configuration: &Configuration) -> Option<Box<dyn Filter>> {
    let fixed = configuration.fixed;
    let rounds = configuration.count.unwrap_or(8);
    Some(match configuration.scenario.as_str() {
        "replay-after-live" => Box::new(Replay { fixed, ..Replay::default() }),
        "late-gap-lost" => Box::new(Recovery { fixed, rounds, ..Recovery::default() }),
        "spurious-resync-loop" => Box::new(Reader { fixed, rounds, ..Reader::default() }),
        "quiet-flap-gives-up" => Box::new(Listener { fixed, rounds, ..Listener::default() }),
        "buffer-evicts-newest" => Box::new(Buffer { fixed, ..Buffer::default() }),
        "resync-storm" => Box::new(Resync { fixed, rounds, ..Resync::default() }),
        _ => return None,
    })
}

/// S20: an item that could not be sent is sent again later.
#[derive(Default)]
struct Replay {
    fixed: bool,
    buffer: Vec<u32>,
    in_flight: Vec<(u32, u32)>,
}

/// S21: polls tell whether the connection stands; after a gap the buffer is flushed and everything is asked for anew.
#[derive(Default)]
struct Recovery {
    fixed: bool,
    rounds: u32,
    gap: bool,
    recovering: Option<u32>,
    again: bool,
    buffer: Vec<u32>,
}

/// S22: the connection is there while there are clients; a resync closes the clients, which then come again.
#[derive(Default)]
struct Reader {
    fixed: bool,
    rounds: u32,
    started: bool,
    gap: bool,
    resync: Option<u32>,
}

/// S23: a long poll that ends without an item is made again, a few times.
#[derive(Default)]
struct Listener {
    fixed: bool,
    rounds: u32,
    failures: u32,
    gave_up: bool,
}

/// S24: items are sent one by one, and what is left after a failure goes back into a buffer that has room for three.
#[derive(Default)]
struct Buffer {
    fixed: bool,
    buffer: Vec<u32>,
    sending: Vec<u32>,
}

/// S25: after each gap everything is asked for anew.
#[derive(Default)]
struct Resync {
    fixed: bool,
    rounds: u32,
    gap: bool,
    wanted: bool,
    quiet_rounds: u32,
    resync: Option<u32>,
}

fn deliver(item: u32) {
    advance(DELIVERED, &Versioned::new(item, ""));
}

fn delivered() -> String {
    get(DELIVERED).versioned().version.to_string()
}

/// The item that a request publishes: `/publish/7`.
fn published(path: &str) -> Option<u32> {
    path.strip_prefix("/publish/")?.parse().ok()
}

// === impl Replay ===

impl Filter for Replay {
    fn on_request(&mut self, _stream: &mut Stream, path: &str) -> Flow {
        if let Some(item) = published(path) {
            self.buffer.push(item);
            tick_every(10);
        }
        Flow::reply(202, "")
    }

    /// Calls are made here, because an answer to a stream's own call is dropped once the stream is gone.
    fn on_tick(&mut self) {
        tick_every(0);
        for item in std::mem::take(&mut self.buffer) {
            match call(&format!("/send/{item}")) {
                Ok(token) => self.in_flight.push((token, item)),
                Err(_) => self.keep(item),
            }
        }
    }

    fn on_answer(&mut self, token: u32, answer: Answer) {
        let Some(at) = self.in_flight.iter().position(|(sent, _)| *sent == token) else {
            return;
        };
        let (_, item) = self.in_flight.remove(at);
        if !answer.is_ok() {
            return self.keep(item);
        }
        // OPAL PR #915: what was buffered during a gap is replayed after what came live, and is older.
        if self.fixed {
            deliver(item);
        } else {
            set(DELIVERED, &format!("{item}:"));
        }
    }

    fn state(&self) -> String {
        delivered()
    }
}

impl Replay {
    fn keep(&mut self, item: u32) {
        self.buffer.push(item);
        tick_every(500);
    }
}

// === impl Recovery ===

impl Filter for Recovery {
    fn on_request(&mut self, _stream: &mut Stream, path: &str) -> Flow {
        match published(path) {
            None => tick_every(PERIOD_MS),
            Some(item) if self.gap => self.buffer.push(item),
            Some(item) => deliver(item),
        }
        Flow::reply(202, "")
    }

    fn on_tick(&mut self) {
        self.rounds = self.rounds.saturating_sub(1);
        if self.rounds == 0 {
            tick_every(0);
        }
        if call("/poll").is_err() {
            self.gap = true;
        }
    }

    fn on_answer(&mut self, token: u32, answer: Answer) {
        if self.recovering == Some(token) {
            self.recovering = None;
            if std::mem::take(&mut self.again) {
                self.recover();
            }
        } else if !answer.is_ok() {
            self.gap = true;
        } else if std::mem::take(&mut self.gap) {
            self.recover();
        }
    }

    fn state(&self) -> String {
        delivered()
    }
}

impl Recovery {
    fn recover(&mut self) {
        if self.recovering.is_some() {
            // OPAL PR #915: one recovery at a time, so a gap that ends during one was skipped, and with it its buffer.
            self.again = self.fixed;
            return;
        }
        for item in std::mem::take(&mut self.buffer) {
            deliver(item);
        }
        self.recovering = call("/resync").ok();
    }
}

// === impl Reader ===

impl Filter for Reader {
    fn on_request(&mut self, _stream: &mut Stream, path: &str) -> Flow {
        match path {
            "/join" => tick_every(PERIOD_MS),
            _ => self.close_clients(),
        }
        Flow::reply(202, "")
    }

    /// A client comes (again): the reader is started for it.
    fn on_tick(&mut self) {
        tick_every(0);
        self.rounds = self.rounds.saturating_sub(1);
        if self.rounds > 0 {
            let _ = call("/read");
        }
    }

    fn on_answer(&mut self, token: u32, answer: Answer) {
        if self.resync == Some(token) {
            self.resync = None;
            return self.close_clients();
        }
        if !answer.is_ok() {
            self.gap = true;
            return tick_every(PERIOD_MS);
        }
        // OPAL PR #915: any start after the first was taken for the end of a gap. One is when the reader was cut off, and
        // none when it ended because its last client had left.
        let after_gap = if self.fixed { self.gap } else { self.started };
        self.started = true;
        self.gap = false;
        if after_gap {
            self.resync = call("/resync").ok();
        }
    }

    fn state(&self) -> String {
        String::new()
    }
}

impl Reader {
    /// Every client is reported to come again, and with the last one the reader ends.
    fn close_clients(&self) {
        tick_every(PERIOD_MS);
    }
}

// === impl Listener ===

impl Filter for Listener {
    fn on_request(&mut self, _stream: &mut Stream, _path: &str) -> Flow {
        tick_every(PERIOD_MS);
        Flow::reply(202, "")
    }

    fn on_tick(&mut self) {
        tick_every(0);
        self.rounds = self.rounds.saturating_sub(1);
        if call("/listen").is_err() {
            self.failed();
        }
    }

    fn on_answer(&mut self, _token: u32, answer: Answer) {
        let item = answer.versioned();
        if item.version > 0 {
            advance(DELIVERED, &item);
            self.failures = 0;
        } else if self.fixed && answer.is_ok() {
            // OPAL PR #915: a connection that brought no item before it ended counted as one that could not be made.
            self.failures = 0;
        } else {
            return self.failed();
        }
        if self.rounds > 0 {
            tick_every(PERIOD_MS);
        }
    }

    fn state(&self) -> String {
        delivered()
    }

    fn is_healthy(&self) -> bool {
        !self.gave_up
    }
}

impl Listener {
    fn failed(&mut self) {
        self.failures += 1;
        self.gave_up = self.failures == 3;
        if !self.gave_up && self.rounds > 0 {
            tick_every(PERIOD_MS);
        }
    }
}

// === impl Buffer ===

impl Buffer {
    const ROOM: usize = 3;

    fn put_back(&mut self) {
        let newer = std::mem::replace(&mut self.buffer, std::mem::take(&mut self.sending));
        self.buffer.extend(newer);
        self.shrink();
    }

    fn shrink(&mut self) {
        let excess = self.buffer.len().saturating_sub(Buffer::ROOM);
        if self.fixed {
            self.buffer.drain(..excess);
        } else {
            // OPAL PR #915: what is put back comes first, and what does not fit behind it is the newest.
            self.buffer.truncate(Buffer::ROOM);
        }
    }

    fn send_next(&mut self) {
        if let Some(item) = self.sending.first()
            && call(&format!("/send/{item}")).is_err()
        {
            self.put_back();
        }
    }
}

impl Filter for Buffer {
    fn on_request(&mut self, _stream: &mut Stream, path: &str) -> Flow {
        self.buffer.extend(published(path));
        self.shrink();
        tick_every(PERIOD_MS);
        Flow::reply(202, "")
    }

    fn on_tick(&mut self) {
        if self.sending.is_empty() {
            self.sending = std::mem::take(&mut self.buffer);
            self.send_next();
        }
        if self.sending.is_empty() && self.buffer.is_empty() {
            tick_every(0);
        }
    }

    fn on_answer(&mut self, _token: u32, answer: Answer) {
        if !answer.is_ok() {
            return self.put_back();
        }
        if !self.sending.is_empty() {
            deliver(self.sending.remove(0));
        }
        self.send_next();
    }

    fn state(&self) -> String {
        delivered()
    }
}

// === impl Resync ===

impl Resync {
    /// Rounds between two resyncs.
    const COOLDOWN: u32 = 20;
}

impl Filter for Resync {
    fn on_request(&mut self, _stream: &mut Stream, _path: &str) -> Flow {
        self.quiet_rounds = Resync::COOLDOWN;
        tick_every(PERIOD_MS);
        Flow::reply(202, "")
    }

    fn on_tick(&mut self) {
        self.quiet_rounds += 1;
        if self.rounds > 0 {
            self.rounds -= 1;
            self.gap |= call("/poll").is_err();
        }
        // Each flap of the connection made every instance fetch everything: a storm on who is just coming back. In a
        // window there is one resync, after the last gap in it.
        let may = !self.fixed || self.quiet_rounds > Resync::COOLDOWN;
        if self.wanted && may && self.resync.is_none() {
            self.wanted = false;
            self.quiet_rounds = 0;
            self.resync = call("/all").ok();
        }
        if self.rounds == 0 && !self.wanted {
            tick_every(0);
        }
    }

    fn on_answer(&mut self, token: u32, answer: Answer) {
        if self.resync == Some(token) {
            self.resync = None;
            if answer.is_ok() {
                deliver(number(&answer.body));
            } else {
                self.wanted = true;
                tick_every(PERIOD_MS);
            }
        } else if !answer.is_ok() {
            self.gap = true;
        } else if std::mem::take(&mut self.gap) {
            self.wanted = true;
            tick_every(PERIOD_MS);
        }
    }

    fn state(&self) -> String {
        delivered()
    }
}
