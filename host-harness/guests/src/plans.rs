//! Generations in shared data: one VM installs a plan, another uses it, a third cleans up.
//!
//! Keys: `generation` is the number of the plan in force, `plan/<n>` its text, and `-` is a plan that was cleaned up.

use std::ops::Range;

use crate::{
    Configuration, Filter,
    host::{
        Answer, Flow, Stream, Versioned, call, count_up, create, get, number, seconds, set, swap, tick_every,
        view,
    },
};

const GENERATION: &str = "generation";
/// How many VMs there have been.
const VMS: &str = "vms";
/// What stands where a plan was.
const TOMBSTONE: &str = "-";

pub(crate) fn filter(configuration: &Configuration) -> Option<Box<dyn Filter>> {
    let fixed = configuration.fixed;
    Some(match configuration.scenario.as_str() {
        "slow-enactor" => Box::new(Enactor { fenced: fixed, ..Enactor::default() }),
        "cleanup-in-use" => {
            Box::new(Enactor { fenced: fixed, rereads: fixed, cleans: true, ..Enactor::default() })
        }
        "deleted-while-read" => {
            Box::new(Enactor { fenced: true, rereads: fixed, cleans: true, ..Enactor::default() })
        }
        "refcount-toctou" => Box::new(Counted { fixed, ticks: 0 }),
        "last-good-freed" => Box::new(Replaced { fixed, ..Replaced::default() }),
        _ => return None,
    })
}

/// S14 and S15: every VM fetches one plan and installs it if it is newer; in S15 who installed also cleans up.
#[derive(Default)]
struct Enactor {
    /// Whether a plan is put into force only over the one that was looked at.
    fenced: bool,
    /// Whether a request that finds no plan looks again which one is in force.
    rereads: bool,
    cleans: bool,
    installed: u32,
}

/// S16: requests count themselves in and out of the plan that they use, and the cleanup leaves what is in use.
struct Counted {
    fixed: bool,
    ticks: u32,
}

/// A plan can turn out to be bad, and then the one before is served on, also by a VM that starts.
#[derive(Default)]
struct Replaced {
    fixed: bool,
    vm: u32,
    serves: Versioned,
    /// Whether it has published, and so cleans up.
    cleans: bool,
}

fn plan(generation: u32) -> String {
    format!("plan/{generation}")
}

fn users(generation: u32) -> String {
    format!("users/{generation}")
}

// === impl Enactor ===

impl Filter for Enactor {
    fn on_configure(&mut self) -> bool {
        tick_every(100);
        true
    }

    fn on_tick(&mut self) {
        tick_every(0);
        if self.installed == 0 {
            let _ = call("/plan");
        } else {
            self.clean_up();
        }
    }

    fn on_answer(&mut self, _token: u32, answer: Answer) {
        let new = answer.versioned();
        if answer.is_ok() && self.install(&new) {
            self.installed = new.version;
            if self.cleans {
                tick_every(10);
            }
        }
    }

    fn on_request(&mut self, _stream: &mut Stream, _path: &str) -> Flow {
        // Ends: the generation has moved on whenever its plan is gone, and there are few.
        loop {
            let generation = number(&get(GENERATION).text);
            if generation == 0 {
                return Flow::reply(503, "no plan yet");
            }
            match get(&plan(generation)).text {
                text if text != TOMBSTONE => return Flow::reply(200, text),
                // It was, when the request looked, and its cleanup came in between.
                _ if self.rereads && number(&get(GENERATION).text) != generation => {}
                _ => return Flow::reply(500, "the plan in force is gone"),
            }
        }
    }

    fn state(&self) -> String {
        get(GENERATION).text
    }
}

impl Enactor {
    /// Puts a plan into force unless a newer one is.
    fn install(&self, new: &Versioned) -> bool {
        set(&plan(new.version), &new.value);
        loop {
            let held = get(GENERATION);
            if number(&held.text) >= new.version {
                return false;
            }
            // AWS DynamoDB's DNS in October 2025: the check is old by the time of the write, and a slow enactor puts an old
            // plan into force after a newer one, which the cleanup of the newer one then takes away.
            let text = new.version.to_string();
            if !self.fenced {
                set(GENERATION, &text);
                return true;
            }
            if swap(GENERATION, &text, held.cas) {
                return true;
            }
        }
    }

    /// Takes away what is older than the plan in force.
    fn clean_up(&self) {
        for generation in 1..number(&get(GENERATION).text) {
            set(&plan(generation), TOMBSTONE);
        }
    }
}

// === impl Counted ===

impl Filter for Counted {
    fn on_configure(&mut self) -> bool {
        if create(&plan(1), "0:first") {
            set(GENERATION, "1");
        }
        tick_every(100);
        true
    }

    fn on_tick(&mut self) {
        self.ticks += 1;
        match self.ticks {
            1 if !create("lease", "") => tick_every(0),
            1 => {
                set(&plan(2), "0:second");
                set(GENERATION, "2");
                tick_every(10);
            }
            _ => {
                tick_every(0);
                self.clean_up();
            }
        }
    }

    fn on_request(&mut self, stream: &mut Stream, _path: &str) -> Flow {
        stream.generation = if self.fixed { pin() } else { count_in() };
        match call("/check") {
            Ok(_) => Flow::Pause,
            Err(_) => Flow::reply(503, "nobody to ask"),
        }
    }

    fn on_stream_answer(&mut self, stream: &mut Stream, _token: u32, _answer: Answer) -> Flow {
        // The plan is read again, as a large one is, rather than copied for each request.
        match get(&plan(stream.generation)).versioned().value.as_str() {
            TOMBSTONE => Flow::reply(500, "the plan in use is gone"),
            text => Flow::reply(200, text),
        }
    }

    fn on_stream_done(&mut self, stream: &mut Stream) {
        if stream.generation == 0 {
            return;
        }
        let key = if self.fixed { plan(stream.generation) } else { users(stream.generation) };
        // Ends: no one takes a plan away from its users.
        while !change(&key, |users| users.saturating_sub(1)) {}
    }

    fn state(&self) -> String {
        get(GENERATION).text
    }
}

impl Counted {
    fn clean_up(&self) {
        if !self.fixed {
            // The count and the plan are two keys: the count is 0 when it is read, and no longer when the plan goes.
            if get(&users(1)).versioned().version == 0 {
                set(&plan(1), TOMBSTONE);
            }
            return;
        }
        // The count stands in the plan's own record, so that the write fails if anyone has come in.
        let held = get(&plan(1));
        if held.versioned().version > 0 || !swap(&plan(1), TOMBSTONE, held.cas) {
            tick_every(100);
        }
    }
}

/// Counts a request in among the users of the plan in force.
fn count_in() -> u32 {
    let generation = number(&get(GENERATION).text);
    while !change(&users(generation), |users| users + 1) {}
    generation
}

/// The same in the plan's own record; begins again when the plan has changed meanwhile, or has gone.
fn pin() -> u32 {
    loop {
        let generation = number(&get(GENERATION).text);
        if change(&plan(generation), |users| users + 1) {
            return generation;
        }
    }
}

/// Changes the number of users that a record begins with; false if the record has changed meanwhile, or is a tombstone.
fn change(key: &str, to: impl Fn(u32) -> u32) -> bool {
    let held = get(key);
    let Versioned { version, value } = held.versioned();
    value != TOMBSTONE && swap(key, &Versioned::new(to(version), value).to_string(), held.cas)
}

// === impl Replaced ===

impl Replaced {
    const PERIOD_MS: u64 = 1000;
    /// Seconds after which a VM that has not ticked counts as gone.
    const LEASE: u32 = 3;

    /// The newest plan that works, of those up to a generation that are still there.
    fn newest_that_works(most: u32) -> Option<Versioned> {
        let mut plans =
            (1..=most).rev().map(|generation| Versioned::new(generation, get(&plan(generation)).text));
        plans.find(|plan| !["", TOMBSTONE, "bad"].contains(&plan.value.as_str()))
    }

    fn take(&mut self) {
        let newest = Replaced::newest_that_works(number(&get(GENERATION).text));
        if let Some(plan) = newest.filter(|plan| plan.version > self.serves.version) {
            self.serves = plan;
            view("plan", &self.serves);
        }
    }

    /// Says until when this VM lives, and what it serves.
    fn sign(&self) {
        let until = Versioned::new(seconds() + Replaced::LEASE, self.serves.version.to_string());
        set(&member(self.vm), &until.to_string());
    }

    /// Frees what no VM that lives serves any more, but for one that has worked: what works here may fail elsewhere.
    fn clean_up() {
        let now = seconds();
        let members = (1..=number(&get(VMS).text)).map(|vm| get(&member(vm)).versioned());
        let alive = members.filter(|member| member.version >= now);
        let oldest = alive.map(|member| number(&member.value)).min().unwrap_or_default();
        if let Some(spare) = Replaced::newest_that_works(oldest.saturating_sub(1)) {
            free(1..spare.version);
        }
    }
}

impl Filter for Replaced {
    fn on_configure(&mut self) -> bool {
        if create(&plan(1), "first") {
            set(GENERATION, "1");
        }
        if self.fixed {
            // It serves nothing yet, and so nothing is freed from here on.
            self.vm = count_up(VMS);
            self.sign();
        }
        self.take();
        tick_every(Replaced::PERIOD_MS);
        true
    }

    fn on_tick(&mut self) {
        self.take();
        if self.fixed {
            self.sign();
            if self.cleans {
                Replaced::clean_up();
            }
        }
    }

    fn on_request(&mut self, _stream: &mut Stream, path: &str) -> Flow {
        assert_ne!(path, "/trap", "this request takes the VM with it");
        let Some(new) = path.strip_prefix("/publish/").map(Versioned::parse) else {
            return match self.serves.version {
                0 => Flow::reply(503, "no plan that works"),
                _ => Flow::reply(200, self.serves.value.clone()),
            };
        };
        set(&plan(new.version), &new.value);
        set(GENERATION, &new.version.to_string());
        if self.fixed {
            self.cleans = true;
        } else {
            // It is replaced, and whether what replaces it works, nobody knows.
            free(1..new.version);
        }
        Flow::reply(202, "")
    }

    fn state(&self) -> String {
        self.serves.to_string()
    }
}

fn member(vm: u32) -> String {
    format!("member/{vm}")
}

fn free(generations: Range<u32>) {
    for generation in generations {
        set(&plan(generation), TOMBSTONE);
    }
}
