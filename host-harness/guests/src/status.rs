//! One VM's news reach another: shared data hold them, and a queue reports that there are some.
//!
//! What OPA #8009 was: goroutines that update a status send a snapshot of it each, a slow one sends its old snapshot
//! last, and what listens stays not ready for ever.

use crate::{
    Configuration, Filter,
    host::{Answer, Versioned, advance, call, dequeue, enqueue, get, register, swap, tick_every, view},
};

pub(crate) fn filter(configuration: &Configuration) -> Option<Box<dyn Filter>> {
    let fixed = configuration.fixed;
    let count = usize::try_from(configuration.count.unwrap_or(4)).ok()?;
    Some(match configuration.scenario.as_str() {
        "stale-after-preempt" => Box::new(Status { fixed, ..Status::default() }),
        "fifty-bundle-storm" => Box::new(Storm { fixed, count, ..Storm::default() }),
        _ => return None,
    })
}

/// S01: every VM asks once how things are and reports the rest; the queue's consumer listens.
#[derive(Default)]
struct Status {
    fixed: bool,
    queue: u32,
    view: Versioned,
}

/// S02: every VM loads one bundle and marks it in the record of all bundles.
#[derive(Default)]
struct Storm {
    fixed: bool,
    count: usize,
    queue: u32,
    view: Versioned,
}

// === impl Status ===

impl Filter for Status {
    fn on_configure(&mut self) -> bool {
        self.queue = register("status");
        tick_every(100);
        true
    }

    fn on_tick(&mut self) {
        tick_every(0);
        let _ = call("/status");
    }

    fn on_answer(&mut self, _token: u32, answer: Answer) {
        let news = answer.versioned();
        if answer.is_ok() && advance("status", &news) {
            enqueue(self.queue, &news.to_string());
        }
    }

    fn on_queue_ready(&mut self) {
        if let Some(seen) = listen(self.queue, self.fixed, "status") {
            self.view = seen;
            view("status", &self.view);
        }
    }

    fn state(&self) -> String {
        self.view.to_string()
    }

    fn is_healthy(&self) -> bool {
        self.view.value == "READY"
    }
}

// === impl Storm ===

impl Filter for Storm {
    fn on_configure(&mut self) -> bool {
        self.queue = register("bundles");
        tick_every(100);
        true
    }

    fn on_tick(&mut self) {
        tick_every(0);
        let _ = call("/next");
    }

    /// The answer is the number of the bundle that this VM has now loaded.
    fn on_answer(&mut self, _token: u32, answer: Answer) {
        let Ok(bundle) = answer.body.parse() else {
            return;
        };
        if let Some(news) = mark(bundle, self.count) {
            enqueue(self.queue, &news.to_string());
        }
    }

    fn on_queue_ready(&mut self) {
        if let Some(seen) = listen(self.queue, self.fixed, "bundles") {
            self.view = seen;
            view("bundles", &self.view);
        }
    }

    fn state(&self) -> String {
        self.view.to_string()
    }

    fn is_healthy(&self) -> bool {
        self.view.value.len() == self.count && !self.view.value.contains('-')
    }
}

/// Takes every item out; what is then the news, if there was an item.
fn listen(queue: u32, fixed: bool, key: &str) -> Option<Versioned> {
    let mut last = None;
    while let Some(item) = dequeue(queue) {
        last = Some(item);
    }
    let item = last?;
    // OPA #8009: the snapshot in the notification was taken for the truth. It is a hint, and the truth is read now.
    Some(if fixed { get(key).versioned() } else { Versioned::parse(&item) })
}

/// Marks a bundle as loaded; the record after it, or nothing if it was marked or is none.
fn mark(bundle: usize, count: usize) -> Option<Versioned> {
    loop {
        let held = get("bundles");
        let Versioned { version, value } = held.versioned();
        let mut marks = if value.is_empty() { vec!['-'; count] } else { value.chars().collect() };
        let place = marks.get_mut(bundle).filter(|mark| **mark == '-')?;
        *place = '+';
        let record = Versioned::new(version + 1, String::from_iter(marks));
        if swap("bundles", &record.to_string(), held.cas) {
            return Some(record);
        }
    }
}
