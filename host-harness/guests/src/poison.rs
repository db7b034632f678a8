//! What ends the VM that takes it in: a plan, two bundles together, a request.
//!
//! A text with `poison` in it stands for all that an engine can die of (a panic, the end of its stack or memory): the VM
//! that takes it in traps. A request to `/publish/<n>:<text>` stands for a download, so that every VM can be reported.
//!
//! The mark that a VM makes before it takes something in outlives the VM, and nothing else does: a VM that dies cannot
//! say of what.

use std::collections::BTreeMap;

use crate::{
    Configuration, Filter,
    host::{Flow, Stream, Versioned, advance, count_up, create, get, number, set, swap, tick_every, view},
};

/// A callback takes no second, so what stands in one tick and in the next is not being worked at.
const PERIOD_MS: u64 = 1000;
/// What is published last.
const NEWEST: &str = "newest";
/// What was shown to work last.
const GOOD: &str = "good";
const FIRST: &str = "1:first";
const BUNDLES: [&str; 2] = ["a", "b"];

pub(crate) fn filter(configuration: &Configuration) -> Option<Box<dyn Filter>> {
    let fixed = configuration.fixed;
    Some(match configuration.scenario.as_str() {
        "poison-generation" => Box::new(Adopter { fixed, serves: Versioned::default() }),
        "poison-reload" => Box::new(Starter { fixed, serves: Versioned::default() }),
        "poison-pair" => Box::new(Pair { fixed, bundles: Default::default(), serves: Versioned::default() }),
        "poison-request" => Box::new(Gate { fixed, ..Gate::default() }),
        _ => return None,
    })
}

/// Every VM takes the newest plan, and some plan ends any VM.
struct Adopter {
    fixed: bool,
    serves: Versioned,
}

/// Every VM takes the newest plan, and some plan ends only a VM that starts with it.
struct Starter {
    fixed: bool,
    serves: Versioned,
}

/// Every VM takes two bundles in together, and some two of them end it.
struct Pair {
    fixed: bool,
    /// What is served of each.
    bundles: [Versioned; 2],
    /// Both together: their versions are added, their texts stand side by side.
    serves: Versioned,
}

/// Each request is decided by the policy that its path begins with, and some request ends the VM.
#[derive(Default)]
struct Gate {
    fixed: bool,
    vm: u32,
    requests: u32,
    /// What each VM was at in the last tick.
    at_work: BTreeMap<u32, Versioned>,
}

/// What a request publishes: `/publish/2:text`.
fn published(path: &str) -> Option<Versioned> {
    path.strip_prefix("/publish/").map(Versioned::parse)
}

/// Does what takes the engine's stack.
fn compile(text: &str) {
    assert!(!text.contains("poison"), "the engine runs out of stack");
}

/// Who makes it tries what it is of. Where it stands and nothing has come of it, a VM has died, or is about to.
fn mark_trial(of: &str) -> bool {
    create(&format!("trial/{of}"), "")
}

// === impl Adopter ===

impl Filter for Adopter {
    fn on_configure(&mut self) -> bool {
        create(NEWEST, FIRST);
        create(GOOD, FIRST);
        // A VM that starts with the newest starts with what the VM before it has died of.
        self.take(get(if self.fixed { GOOD } else { NEWEST }).versioned());
        tick_every(PERIOD_MS);
        true
    }

    fn on_tick(&mut self) {
        let newest = get(NEWEST).versioned();
        if !self.fixed {
            // Every VM finds out for itself, and none is left.
            return self.take(newest);
        }
        let good = get(GOOD).versioned();
        if newest.version > good.version && mark_trial(&newest.to_string()) {
            self.take(newest.clone());
            advance(GOOD, &newest);
        } else {
            self.take(good);
        }
    }

    fn on_request(&mut self, _stream: &mut Stream, path: &str) -> Flow {
        match published(path) {
            Some(plan) => Flow::reply(202, advance(NEWEST, &plan).to_string()),
            None => Flow::reply(200, self.serves.value.clone()),
        }
    }

    fn state(&self) -> String {
        self.serves.to_string()
    }
}

impl Adopter {
    fn take(&mut self, plan: Versioned) {
        if plan.version > self.serves.version {
            compile(&plan.value);
            self.serves = plan;
            view("plan", &self.serves);
        }
    }
}

// === impl Starter ===

impl Starter {
    /// Of a plan that a VM has started with.
    const PASSED: &str = "passed";

    fn mark(plan: &Versioned) -> String {
        format!("start/{}", plan.version)
    }

    /// Whether a VM has begun to start with it and has not come to the end.
    fn is_suspect(plan: &Versioned) -> bool {
        let mark = get(&Starter::mark(plan));
        !mark.is_absent() && mark.text != Starter::PASSED
    }

    /// Starts with a plan behind a mark, if no VM is known to have died of that.
    fn start_with(&mut self, plan: Versioned) -> bool {
        let key = Starter::mark(&plan);
        let mark = get(&key);
        let is_new = mark.is_absent();
        if !is_new && mark.text != Starter::PASSED || is_new && !swap(&key, "", mark.cas) {
            return false;
        }
        self.start(plan);
        set(&key, Starter::PASSED);
        true
    }

    fn start(&mut self, plan: Versioned) {
        compile(&plan.value);
        self.take(plan);
    }

    /// What a VM that runs takes in never ends it.
    fn take(&mut self, plan: Versioned) {
        if plan.version > self.serves.version {
            self.serves = plan;
            view("plan", &self.serves);
        }
    }

    fn plan(generation: u32) -> Versioned {
        Versioned::new(generation, get(&format!("plan/{generation}")).text)
    }
}

impl Filter for Starter {
    fn on_configure(&mut self) -> bool {
        if create("plan/1", "first") {
            create(NEWEST, "1");
        }
        let newest = number(&get(NEWEST).text);
        if self.fixed {
            // From the newest to the oldest, until one is not what a VM has died of.
            let _ = (1..=newest).rev().any(|generation| self.start_with(Starter::plan(generation)));
        } else {
            // All others serve it, and so it must be good.
            self.start(Starter::plan(newest));
        }
        tick_every(PERIOD_MS);
        true
    }

    fn on_tick(&mut self) {
        let newest = Starter::plan(number(&get(NEWEST).text));
        if !self.fixed || !Starter::is_suspect(&newest) {
            self.take(newest);
        }
    }

    fn on_request(&mut self, _stream: &mut Stream, path: &str) -> Flow {
        assert_ne!(path, "/trap", "this request takes the VM with it");
        let Some(plan) = published(path) else {
            return Flow::reply(200, self.serves.value.clone());
        };
        set(&format!("plan/{}", plan.version), &plan.value);
        set(NEWEST, &plan.version.to_string());
        Flow::reply(202, "")
    }

    fn state(&self) -> String {
        self.serves.to_string()
    }
}

// === impl Pair ===

impl Pair {
    fn newest(bundle: &str) -> String {
        format!("{NEWEST}/{bundle}")
    }

    fn good(bundle: &str) -> String {
        format!("{GOOD}/{bundle}")
    }

    fn together([a, b]: &[Versioned; 2]) -> Versioned {
        Versioned::new(a.version + b.version, format!("{} {}", a.value, b.value))
    }

    /// Takes each bundle that was tried, alone.
    fn take_each(&mut self) {
        for (place, bundle) in BUNDLES.into_iter().enumerate() {
            let newest = get(&Pair::newest(bundle)).versioned();
            if mark_trial(&format!("{bundle}/{newest}")) {
                // Nothing is wrong with it: what ends a VM takes two.
                advance(&Pair::good(bundle), &newest);
            }
            let good = get(&Pair::good(bundle)).versioned();
            if good.version > self.bundles[place].version {
                self.bundles[place] = good;
                self.take(Pair::together(&self.bundles));
            }
        }
    }

    /// Takes both bundles as somebody has tried them.
    fn take_together(&mut self) {
        let newest = Pair::together(&BUNDLES.map(|bundle| get(&Pair::newest(bundle)).versioned()));
        let good = get(GOOD).versioned();
        if newest.version > good.version && mark_trial(&newest.to_string()) {
            self.take(newest.clone());
            advance(GOOD, &newest);
        } else if good.version > self.serves.version {
            self.take(good);
        }
    }

    fn take(&mut self, both: Versioned) {
        assert!(both.value.matches("poison").count() < 2, "together they take the engine's stack");
        self.serves = both;
        view("bundles", &self.serves);
    }
}

impl Filter for Pair {
    fn on_configure(&mut self) -> bool {
        for bundle in BUNDLES {
            create(&Pair::newest(bundle), FIRST);
        }
        if self.fixed {
            create(GOOD, "2:first first");
            self.take(get(GOOD).versioned());
        } else {
            self.take_each();
        }
        tick_every(PERIOD_MS);
        true
    }

    fn on_tick(&mut self) {
        if self.fixed {
            self.take_together();
        } else {
            self.take_each();
        }
    }

    fn on_request(&mut self, _stream: &mut Stream, path: &str) -> Flow {
        for bundle in BUNDLES {
            if let Some(text) = path.strip_prefix(&format!("/publish/{bundle}/")) {
                advance(&Pair::newest(bundle), &Versioned::parse(text));
                return Flow::reply(202, "");
            }
        }
        Flow::reply(200, self.serves.value.clone())
    }

    fn state(&self) -> String {
        self.serves.value.clone()
    }
}

// === impl Gate ===

impl Gate {
    fn mark(vm: u32) -> String {
        format!("at-work/{vm}")
    }

    fn closed(policy: &str) -> String {
        format!("closed/{policy}")
    }
}

impl Filter for Gate {
    fn on_configure(&mut self) -> bool {
        self.vm = count_up("vms");
        if self.fixed {
            tick_every(PERIOD_MS);
        }
        true
    }

    /// Closes each policy that a VM has been at for a whole period: that VM has died of it.
    fn on_tick(&mut self) {
        for vm in 1..=number(&get("vms").text) {
            let mark = get(&Gate::mark(vm)).versioned();
            if mark.value.is_empty() {
                self.at_work.remove(&vm);
            } else if self.at_work.insert(vm, mark.clone()).is_some_and(|before| before == mark) {
                create(&Gate::closed(&mark.value), "");
            }
        }
    }

    fn on_request(&mut self, _stream: &mut Stream, path: &str) -> Flow {
        let policy = path.split('/').nth(1).unwrap_or_default();
        if !self.fixed {
            // The one who sends it sends it again, and the next VM is gone.
            compile(path);
            return Flow::reply(200, policy);
        }
        if !get(&Gate::closed(policy)).is_absent() {
            return Flow::reply(503, "closed");
        }
        self.requests += 1;
        set(&Gate::mark(self.vm), &Versioned::new(self.requests, policy).to_string());
        compile(path);
        set(&Gate::mark(self.vm), "");
        Flow::reply(200, policy)
    }

    fn state(&self) -> String {
        String::new()
    }
}
