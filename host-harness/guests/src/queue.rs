//! Who is notified of an item in a queue, and when: the last that registered, after the fact, once for each item.

use crate::{
    Configuration, Filter,
    host::{
        Answer, Flow, Stream, Versioned, advance, call, create, dequeue, enqueue, get, register, set,
        tick_every, view,
    },
};

const QUEUE: &str = "updates";
const UPDATE: &str = "update";

pub(crate) fn filter(configuration: &Configuration) -> Option<Box<dyn Filter>> {
    let fixed = configuration.fixed;
    Some(match configuration.scenario.as_str() {
        "canary-owns-queue" => Box::new(Announced { fixed, ..Announced::default() }),
        "last-registrant-wins" => Box::new(Broadcast { fixed, ..Broadcast::default() }),
        "receiver-traps" => Box::new(Relay { fixed, ..Relay::default() }),
        "spurious-ready" => Box::new(Pairs { fixed, ..Pairs::default() }),
        "requeue-forever" => Box::new(Unready { fixed, ..Unready::default() }),
        _ => return None,
    })
}

/// S04: the VM that starts first reports an update, while the queue is its own.
#[derive(Default)]
struct Announced {
    fixed: bool,
    queue: u32,
    view: Versioned,
}

/// S05: an update is meant for all VMs, and the queue has one consumer.
#[derive(Default)]
struct Broadcast {
    fixed: bool,
    queue: u32,
    view: Versioned,
}

/// S06: the consumer writes what it is reported into shared data for all, and then its VM is gone.
#[derive(Default)]
struct Relay {
    fixed: bool,
    queue: u32,
}

/// S07: updates come in pairs.
#[derive(Default)]
struct Pairs {
    fixed: bool,
    queue: u32,
    view: Versioned,
}

/// An item comes before the consumer can do anything with it.
#[derive(Default)]
struct Unready {
    fixed: bool,
    queue: u32,
    ready: bool,
    early: Vec<String>,
    view: Versioned,
}

// === impl Announced ===

impl Filter for Announced {
    fn on_configure(&mut self) -> bool {
        self.queue = register(QUEUE);
        if create(UPDATE, "1:on") {
            enqueue(self.queue, "1:on");
        }
        // Envoy configures a canary first, which owns the queue until it is killed: the notice for the item went to the
        // main thread. Who registers later is not notified of what is already there, and so has to look.
        if self.fixed {
            self.view = get(UPDATE).versioned();
            view(UPDATE, &self.view);
        }
        true
    }

    fn on_queue_ready(&mut self) {
        while let Some(item) = dequeue(self.queue) {
            self.view = Versioned::parse(&item);
            view(UPDATE, &self.view);
        }
    }

    fn state(&self) -> String {
        self.view.to_string()
    }
}

// === impl Broadcast ===

impl Filter for Broadcast {
    fn on_configure(&mut self) -> bool {
        self.queue = register(QUEUE);
        tick_every(100);
        true
    }

    fn on_tick(&mut self) {
        if create("lease", "") {
            set(UPDATE, "1:on");
            enqueue(self.queue, "1:on");
        }
        // proxy-wasm-cpp-host, `shared_queue.cc`: a queue reports its last registrant and no one else. The notice makes it
        // sooner for one VM; all of them look by themselves.
        if self.fixed {
            self.see(get(UPDATE).versioned());
        }
        if !self.fixed || self.view.version == 1 {
            tick_every(0);
        }
    }

    fn on_queue_ready(&mut self) {
        while let Some(item) = dequeue(self.queue) {
            self.see(Versioned::parse(&item));
        }
    }

    fn state(&self) -> String {
        self.view.to_string()
    }
}

impl Broadcast {
    fn see(&mut self, update: Versioned) {
        if update.version > self.view.version {
            self.view = update;
            view(UPDATE, &self.view);
        }
    }
}

// === impl Relay ===

impl Filter for Relay {
    fn on_configure(&mut self) -> bool {
        self.queue = register(QUEUE);
        tick_every(100);
        true
    }

    fn on_tick(&mut self) {
        if create("lease", "") {
            enqueue(self.queue, "1:on");
        }
        // proxy-wasm-cpp-host, `shared_queue.cc`: the notice for a VM that has failed is lost, and the item stays. Any VM
        // may take it out.
        if self.fixed {
            self.relay();
        }
        if !self.fixed || get(UPDATE).versioned().version == 1 {
            tick_every(0);
        }
    }

    fn on_queue_ready(&mut self) {
        self.relay();
    }

    fn on_request(&mut self, _stream: &mut Stream, path: &str) -> Flow {
        assert_ne!(path, "/trap", "this request takes the VM with it");
        Flow::Continue
    }

    fn state(&self) -> String {
        get(UPDATE).text
    }
}

impl Relay {
    fn relay(&self) {
        while let Some(item) = dequeue(self.queue) {
            advance(UPDATE, &Versioned::parse(&item));
        }
    }
}

// === impl Pairs ===

impl Filter for Pairs {
    fn on_configure(&mut self) -> bool {
        self.queue = register(QUEUE);
        tick_every(100);
        true
    }

    fn on_tick(&mut self) {
        tick_every(0);
        if create("lease", "") {
            enqueue(self.queue, "1:half");
            enqueue(self.queue, "2:whole");
        }
    }

    fn on_queue_ready(&mut self) {
        if !self.fixed {
            // One notice comes for each item, but the first notice's loop has taken both out: the second finds none.
            let first = dequeue(self.queue).expect("a notice comes because there is an item");
            self.see(&first);
        }
        while let Some(item) = dequeue(self.queue) {
            self.see(&item);
        }
    }

    fn state(&self) -> String {
        self.view.to_string()
    }
}

impl Pairs {
    fn see(&mut self, item: &str) {
        self.view = Versioned::parse(item);
        view(UPDATE, &self.view);
    }
}

// === impl Unready ===

impl Filter for Unready {
    fn on_configure(&mut self) -> bool {
        self.queue = register(QUEUE);
        tick_every(100);
        true
    }

    fn on_tick(&mut self) {
        if call("/ready").is_ok() {
            tick_every(0);
        }
        if create("lease", "") {
            enqueue(self.queue, "1:on");
        }
    }

    fn on_answer(&mut self, _token: u32, answer: Answer) {
        self.ready = answer.is_ok();
        for item in std::mem::take(&mut self.early) {
            self.see(&item);
        }
    }

    fn on_queue_ready(&mut self) {
        let Some(item) = dequeue(self.queue) else {
            return;
        };
        if self.ready {
            self.see(&item);
        } else if self.fixed {
            self.early.push(item);
        } else {
            // Every item that is put in makes a notice, and this is what the notice leads to: the worker does nothing else
            // any more, and the answer that would end it never gets its turn.
            enqueue(self.queue, &item);
        }
    }

    fn state(&self) -> String {
        self.view.to_string()
    }
}

impl Unready {
    fn see(&mut self, item: &str) {
        self.view = Versioned::parse(item);
        view(UPDATE, &self.view);
    }
}
