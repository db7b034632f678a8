//! VMs that start while others run, and shared data that another version wrote, or that are gone.

use crate::{
    Configuration, Filter,
    host::{Answer, Flow, Stream, advance, call, complain, count_up, get, number, set, swap, tick_every},
};

pub(crate) fn filter(configuration: &Configuration) -> Option<Box<dyn Filter>> {
    let fixed = configuration.fixed;
    let role = configuration.role.clone();
    Some(match configuration.scenario.as_str() {
        "cas-boot-collision" => Box::new(Registered { fixed }),
        "vmid-gc-on-drain" if role == "loader" => Box::new(Loader),
        "vmid-gc-on-drain" => Box::new(Reader { fixed }),
        "mixed-version-sd" => Box::new(Counted { fixed, schema: number(&role).max(1), rounds: 0 }),
        _ => return None,
    })
}

/// S03: every VM enters itself into one record when it is configured.
struct Registered {
    fixed: bool,
}

/// S18: a plugin that puts a policy into shared data …
struct Loader;

/// … and one that relies on it.
struct Reader {
    fixed: bool,
}

/// S19: two versions of a plugin count in one record, each in its own notation.
struct Counted {
    fixed: bool,
    schema: u32,
    rounds: u32,
}

// === impl Registered ===

impl Filter for Registered {
    fn on_configure(&mut self) -> bool {
        let held = get("registry");
        let next = number(&held.text) + 1;
        if swap("registry", &next.to_string(), held.cas) {
            return true;
        }
        // higress #3947: the collision of two workers was an error, so the plugin was absent on one of them, and
        // (envoy #43751) no later configuration brings it back.
        if !self.fixed {
            complain("the registry has changed while it was read");
            return false;
        }
        count_up("registry");
        true
    }

    fn state(&self) -> String {
        "registered".to_owned()
    }
}

// === impl Loader ===

impl Filter for Loader {
    fn on_configure(&mut self) -> bool {
        set("policy", "1:allow");
        true
    }

    fn state(&self) -> String {
        get("policy").text
    }
}

// === impl Reader ===

impl Filter for Reader {
    fn on_request(&mut self, _stream: &mut Stream, _path: &str) -> Flow {
        let held = get("policy");
        if !self.fixed {
            // proxy-wasm-cpp-host, `vm_id_handle.cc`: shared data go with the last VM of their vm_id.
            assert!(!held.is_absent(), "the loader has put the policy there");
        }
        if held.is_absent() {
            tick_every(10);
            return Flow::reply(503, "the policy is being loaded");
        }
        match held.versioned().value.as_str() {
            "allow" => Flow::Continue,
            _ => Flow::reply(403, "denied"),
        }
    }

    fn on_tick(&mut self) {
        tick_every(0);
        if call("/policy").is_err() {
            tick_every(100);
        }
    }

    fn on_answer(&mut self, _token: u32, answer: Answer) {
        if answer.is_ok() {
            advance("policy", &answer.versioned());
        } else {
            tick_every(100);
        }
    }

    fn state(&self) -> String {
        get("policy").text
    }
}

// === impl Counted ===

impl Filter for Counted {
    fn on_configure(&mut self) -> bool {
        tick_every(100);
        true
    }

    fn on_tick(&mut self) {
        self.rounds += 1;
        if self.rounds == 2 {
            tick_every(0);
        }
        let key = self.key();
        loop {
            let held = get(&key);
            if swap(&key, &self.write(self.read(&held.text) + 1), held.cas) {
                return;
            }
        }
    }

    fn state(&self) -> String {
        get(&self.key()).text
    }
}

impl Counted {
    /// While an update drains, both versions have the same vm_id, and so the same keys.
    fn key(&self) -> String {
        if self.fixed { format!("record/v{}", self.schema) } else { "record".to_owned() }
    }

    fn read(&self, text: &str) -> u32 {
        match (text, self.schema) {
            ("", _) => 0,
            (text, 1) => text.parse().expect("the record is a number"),
            (text, _) => text.strip_prefix("v2;").map_or(0, number),
        }
    }

    fn write(&self, count: u32) -> String {
        if self.schema == 1 { count.to_string() } else { format!("v2;{count}") }
    }
}
