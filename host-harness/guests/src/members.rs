//! A list in shared data that every worker adds to, and what the SDK makes easy to get wrong with it.

use proxy_wasm::hostcalls;

use crate::{
    Configuration, Filter,
    host::{Flow, Stream, create, get, swap},
};

const MEMBERS: &str = "members";

pub(crate) fn filter(configuration: &Configuration) -> Option<Box<dyn Filter>> {
    let fixed = configuration.fixed;
    Some(match configuration.scenario.as_str() {
        "lost-update" => Box::new(First { fixed }),
        "ignored-retry" => Box::new(Retried { fixed }),
        _ => return None,
    })
}

/// A member joins a list that may not be there yet.
struct First {
    fixed: bool,
}

/// A member joins a list that is there, with a second try.
struct Retried {
    fixed: bool,
}

/// The member that a request names: `/join/alice`.
fn member(path: &str) -> Option<&str> {
    path.strip_prefix("/join/")
}

fn with(members: &str, member: &str) -> String {
    format!("{members}{member} ")
}

/// Adds a member; false if the list has changed meanwhile.
fn add(member: &str) -> bool {
    let held = get(MEMBERS);
    swap(MEMBERS, &with(&held.text, member), held.cas)
}

// === impl First ===

impl Filter for First {
    fn on_request(&mut self, _stream: &mut Stream, path: &str) -> Flow {
        let Some(member) = member(path) else {
            return Flow::Continue;
        };
        // proxy-wasm-rust-sdk 0.2: a key that is absent has the CAS number `None`, and to write under `None` is to write
        // whatever there is. Who passes on what was read overwrites the one that came first.
        while !if self.fixed { add(member) } else { add_as_the_sdk_has_it(member) } {}
        Flow::reply(200, "joined")
    }

    fn state(&self) -> String {
        get(MEMBERS).text
    }
}

fn add_as_the_sdk_has_it(member: &str) -> bool {
    let (value, cas) = hostcalls::get_shared_data(MEMBERS).unwrap_or_default();
    let members = String::from_utf8(value.unwrap_or_default()).unwrap_or_default();
    hostcalls::set_shared_data(MEMBERS, Some(with(&members, member).as_bytes()), cas).is_ok()
}

// === impl Retried ===

impl Filter for Retried {
    fn on_configure(&mut self) -> bool {
        create(MEMBERS, "");
        true
    }

    fn on_request(&mut self, _stream: &mut Stream, path: &str) -> Flow {
        let Some(member) = member(path) else {
            return Flow::Continue;
        };
        if self.fixed {
            // Ends: a swap fails only because another VM's succeeded.
            while !add(member) {}
        } else if !add(member) {
            // A second try can fail as the first one did, and nobody looks.
            add(member);
        }
        Flow::reply(200, "joined")
    }

    fn state(&self) -> String {
        get(MEMBERS).text
    }
}
