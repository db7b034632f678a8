//! Bundles from a cluster, one after the other: answers that come late, cut off, twice, or not at all.

use crate::{
    Configuration, Filter,
    host::{
        Answer, Flow, Stream, Versioned, advance, call, create, get, request_header, set, tick_every, view,
    },
};

pub(crate) fn filter(configuration: &Configuration) -> Option<Box<dyn Filter>> {
    let fixed = configuration.fixed;
    Some(match configuration.scenario.as_str() {
        "bundles-out-of-order" => Box::new(Overtaken { fixed, polls: 0 }),
        "reset-looks-empty" => Box::new(Denied { fixed, polls: 0 }),
        "call-refused-inline" => Box::new(OneShot { fixed, view: Versioned::default() }),
        "duplicate-answer" => Box::new(OnDemand { fixed, ..OnDemand::default() }),
        _ => return None,
    })
}

/// S08: one VM polls; a poll does not wait for the one before.
struct Overtaken {
    fixed: bool,
    polls: u32,
}

/// S09: one VM polls the names of users who are denied.
struct Denied {
    fixed: bool,
    polls: u32,
}

/// S10: every VM fetches once, and again after an answer that is none.
struct OneShot {
    fixed: bool,
    view: Versioned,
}

/// S26: the first request makes its VM fetch.
#[derive(Default)]
struct OnDemand {
    fixed: bool,
    loading: bool,
    view: Versioned,
}

// === impl Overtaken ===

impl Filter for Overtaken {
    fn on_configure(&mut self) -> bool {
        tick_every(100);
        true
    }

    fn on_tick(&mut self) {
        if self.polls == 0 && !create("lease", "") {
            return tick_every(0);
        }
        self.polls += 1;
        if self.polls == 2 {
            tick_every(0);
        }
        let _ = call("/bundle");
    }

    fn on_answer(&mut self, _token: u32, answer: Answer) {
        if !answer.is_ok() {
            return;
        }
        // The answer that comes last need not be the one that was asked for last.
        if self.fixed {
            advance("bundle", &answer.versioned());
        } else {
            set("bundle", &answer.body);
        }
    }

    fn state(&self) -> String {
        get("bundle").text
    }
}

// === impl Denied ===

impl Filter for Denied {
    fn on_configure(&mut self) -> bool {
        tick_every(100);
        true
    }

    fn on_tick(&mut self) {
        if self.polls == 0 && !create("lease", "") {
            return tick_every(0);
        }
        self.polls += 1;
        if self.polls == 2 {
            tick_every(0);
        }
        let _ = call("/denied");
    }

    fn on_answer(&mut self, _token: u32, answer: Answer) {
        // proxy-wasm-go-sdk #217: an answer that was cut off comes with zero headers and an empty body, which looks like
        // a list of nobody.
        if self.fixed && !answer.is_ok() {
            self.polls = 1;
            return tick_every(100);
        }
        set("denied", &answer.body);
    }

    fn on_request(&mut self, _stream: &mut Stream, _path: &str) -> Flow {
        let denied = get("denied");
        if denied.is_absent() {
            return Flow::reply(503, "the list is not loaded");
        }
        match denied.text.split(' ').any(|user| user == request_header("x-user")) {
            true => Flow::reply(403, "denied"),
            false => Flow::Continue,
        }
    }

    fn state(&self) -> String {
        get("denied").text
    }
}

// === impl OneShot ===

impl Filter for OneShot {
    fn on_configure(&mut self) -> bool {
        tick_every(100);
        true
    }

    fn on_tick(&mut self) {
        tick_every(0);
        // A call can be refused where it is made (no healthy host, no room), and then no answer comes to try again from.
        if call("/bundle").is_err() && self.fixed {
            tick_every(200);
        }
    }

    fn on_answer(&mut self, _token: u32, answer: Answer) {
        if answer.is_ok() {
            self.view = answer.versioned();
            view("bundle", &self.view);
        } else {
            tick_every(200);
        }
    }

    fn state(&self) -> String {
        self.view.to_string()
    }

    fn is_healthy(&self) -> bool {
        self.view.version > 0
    }
}

// === impl OnDemand ===

impl Filter for OnDemand {
    fn on_request(&mut self, _stream: &mut Stream, path: &str) -> Flow {
        assert_ne!(path, "/trap", "this request takes the VM with it");
        if self.view.version > 0 {
            return Flow::reply(200, self.view.to_string());
        }
        // The SDK traps on an answer that comes twice. The mark outlives the VM that has set it, the bundle does not, and
        // so the VM that comes after it waits for a bundle that nobody loads.
        let first = if self.fixed { !self.loading } else { create("loading", "") };
        if first {
            self.loading = true;
            tick_every(10);
        }
        Flow::reply(503, "the bundle is being loaded")
    }

    fn on_tick(&mut self) {
        tick_every(0);
        if call("/bundle").is_err() {
            tick_every(100);
        }
    }

    fn on_answer(&mut self, _token: u32, answer: Answer) {
        if answer.is_ok() {
            self.view = answer.versioned();
            view("bundle", &self.view);
        } else {
            tick_every(100);
        }
    }

    fn state(&self) -> String {
        self.view.to_string()
    }
}
