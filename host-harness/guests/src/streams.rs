//! Requests that wait for an answer, while others come and go on the same worker and on the next.

use proxy_wasm::hostcalls;

use crate::{
    Configuration, Filter,
    host::{
        Answer, Flow, Stream, call, count_up, create, get, number, request_header, resume, set, tick_every,
    },
};

pub(crate) fn filter(configuration: &Configuration) -> Option<Box<dyn Filter>> {
    let fixed = configuration.fixed;
    Some(match configuration.scenario.as_str() {
        "answer-after-delete" => Box::new(Batch { fixed, ..Batch::default() }),
        "scratch-crossing" => Box::new(Scratch { fixed, user: String::new() }),
        "id-collision" => Box::new(Parked { fixed, nonce: 0 }),
        "torn-request" => Box::new(Torn { fixed, published: 0 }),
        _ => return None,
    })
}

/// S11: requests wait for one call that is made for all of them, from the root context.
#[derive(Default)]
struct Batch {
    fixed: bool,
    waiting: Vec<u32>,
    asked: Vec<u32>,
}

/// S12: each request asks about its user, whose name is needed again when the answer comes.
struct Scratch {
    fixed: bool,
    user: String,
}

/// S13: as S12, with the name kept in shared data.
struct Parked {
    fixed: bool,
    nonce: u32,
}

/// S17: the head of a request is checked at once, the rest after an answer; rules change in between.
struct Torn {
    fixed: bool,
    published: u32,
}

// === impl Batch ===

impl Filter for Batch {
    fn on_request(&mut self, stream: &mut Stream, _path: &str) -> Flow {
        self.waiting.push(stream.id);
        tick_every(50);
        Flow::Pause
    }

    fn on_tick(&mut self) {
        if !self.asked.is_empty() {
            return;
        }
        tick_every(0);
        self.asked = std::mem::take(&mut self.waiting);
        if !self.asked.is_empty() && call("/batch").is_err() {
            self.waiting = std::mem::take(&mut self.asked);
            tick_every(50);
        }
    }

    fn on_answer(&mut self, _token: u32, _answer: Answer) {
        for stream in std::mem::take(&mut self.asked) {
            // A root context's call outlives the streams that it was made for. The SDK's own methods panic on the status
            // that a context which is gone is answered with.
            hostcalls::set_effective_context(stream).expect("the stream waits for its answer");
            resume();
        }
    }

    fn on_stream_done(&mut self, stream: &mut Stream) {
        if self.fixed {
            self.waiting.retain(|id| *id != stream.id);
            self.asked.retain(|id| *id != stream.id);
        }
    }

    fn state(&self) -> String {
        format!("{} wait", self.waiting.len() + self.asked.len())
    }
}

// === impl Scratch ===

impl Filter for Scratch {
    fn on_request(&mut self, stream: &mut Stream, _path: &str) -> Flow {
        stream.user = request_header("x-user");
        self.user.clone_from(&stream.user);
        ask(&stream.user)
    }

    fn on_stream_answer(&mut self, stream: &mut Stream, _token: u32, answer: Answer) -> Flow {
        // The plugin has one field for the request "that runs now", and while one waits the next one runs.
        let user = if self.fixed { &stream.user } else { &self.user };
        decide(user, &answer)
    }

    fn state(&self) -> String {
        String::new()
    }
}

// === impl Parked ===

impl Filter for Parked {
    fn on_configure(&mut self) -> bool {
        self.nonce = count_up("vms");
        true
    }

    fn on_request(&mut self, _stream: &mut Stream, _path: &str) -> Flow {
        let user = request_header("x-user");
        match call(&format!("/{user}")) {
            Ok(token) => {
                set(&self.key(token), &user);
                Flow::Pause
            }
            Err(_) => Flow::reply(503, "nobody to ask"),
        }
    }

    fn on_stream_answer(&mut self, _stream: &mut Stream, token: u32, answer: Answer) -> Flow {
        decide(&get(&self.key(token)).text, &answer)
    }

    fn state(&self) -> String {
        String::new()
    }
}

impl Parked {
    /// Tokens are numbered by each VM for itself, so the first call of every worker has the same.
    fn key(&self, token: u32) -> String {
        if self.fixed { format!("call/{}/{token}", self.nonce) } else { format!("call/{token}") }
    }
}

/// Asks about a user.
fn ask(user: &str) -> Flow {
    match call(&format!("/{user}")) {
        Ok(_) => Flow::Pause,
        Err(_) => Flow::reply(503, "nobody to ask"),
    }
}

/// What the answer about a user means for the request.
fn decide(user: &str, answer: &Answer) -> Flow {
    let status = if answer.body == "allow" { 200 } else { 403 };
    Flow::reply(status, format!("{user}: {}", answer.body))
}

// === impl Torn ===

impl Filter for Torn {
    fn on_configure(&mut self) -> bool {
        tick_every(100);
        true
    }

    fn on_tick(&mut self) {
        if self.published == 0 && !create("lease", "") {
            return tick_every(0);
        }
        self.published += 1;
        set("rules", &self.published.to_string());
        if self.published == 2 {
            tick_every(0);
        }
    }

    fn on_request(&mut self, stream: &mut Stream, _path: &str) -> Flow {
        stream.generation = number(&get("rules").text);
        match stream.generation {
            0 => Flow::reply(503, "no rules yet"),
            _ => ask("body"),
        }
    }

    fn on_stream_answer(&mut self, stream: &mut Stream, _token: u32, _answer: Answer) -> Flow {
        // One half by the rules of before, one by the rules of now: a request that no set of rules allows passes both.
        let now = if self.fixed { stream.generation } else { number(&get("rules").text) };
        Flow::reply(200, format!("head by {}, body by {now}", stream.generation))
    }

    fn state(&self) -> String {
        get("rules").text
    }
}
