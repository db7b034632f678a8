//! Small filters with one mistake each, and beside each the same filter without it.
//!
//! The plugin configuration picks one: `{"scenario": "stale-after-preempt", "fixed": false}`. The mistakes are ones that
//! real systems had, and the comment at each says which; the scenario of the same name says what comes of it.
//!
//! All VMs of an Envoy run the same code with the same configuration, so a filter gets its role from what happens to
//! it: which request, which answer, which notice, which lease. `GET /state` reports what the VM of a worker believes and
//! `GET /health` whether it would let requests through; every change of a belief is also reported to the foreign function
//! `portcullis.view` as `name=version:value`, which hosts without it refuse and nobody minds.
//!
//! | file | scenarios |
//! |---|---|
//! | `status` | one VM's news reach another over shared data and a queue |
//! | `queue` | who is notified of an item, and when |
//! | `configure` | VMs that start, and shared data of other versions |
//! | `fetch` | bundles from a cluster, one after the other |
//! | `streams` | requests that wait for an answer |
//! | `plans` | generations in shared data: installed, used, cleaned up |
//! | `members` | a list in shared data that all add to |
//! | `backbone` | a connection that breaks: buffer, replay, resync |
//! | `poison` | what ends the VM that takes it in |

#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, reason = "the SDK's macro makes an export, and there is nothing else that is public")]

mod backbone;
mod configure;
mod fetch;
mod held_out;
mod host;
mod members;
mod plans;
mod poison;
mod queue;
mod status;
mod streams;

use std::{
    cell::{OnceCell, RefCell},
    rc::Rc,
};

use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType},
};
use serde_json::Value;

use host::{Answer, Flow, Stream};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|id| Box::new(Root { id, ..Root::default() }));
}}

/// The plugin configuration.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    /// The name of a scenario.
    scenario: String,
    /// Whether the mistake is mended.
    fixed: bool,
    /// How many bundles, polls or rounds there are, where a scenario lets one choose.
    count: Option<u32>,
    /// What this plugin is there for, where there are several.
    role: String,
}

/// One filter: what happens to it, and what it believes.
pub(crate) trait Filter {
    /// The configuration was read; false refuses it.
    fn on_configure(&mut self) -> bool {
        true
    }
    fn on_tick(&mut self) {}
    fn on_queue_ready(&mut self) {}
    /// A call that was made outside of any stream was answered.
    fn on_answer(&mut self, _token: u32, _answer: Answer) {}
    /// A request came, other than for `/state` and `/health`.
    fn on_request(&mut self, _stream: &mut Stream, _path: &str) -> Flow {
        Flow::Continue
    }
    /// A call that was made for a stream was answered.
    fn on_stream_answer(&mut self, _stream: &mut Stream, _token: u32, _answer: Answer) -> Flow {
        Flow::Continue
    }
    fn on_stream_done(&mut self, _stream: &mut Stream) {}
    /// What this VM believes.
    fn state(&self) -> String;
    /// Whether this VM would let requests through.
    fn is_healthy(&self) -> bool {
        true
    }
}

type Shared = Rc<RefCell<Box<dyn Filter>>>;

#[derive(Default)]
struct Root {
    id: u32,
    filter: OnceCell<Shared>,
    /// A filter that has contexts of its own, in place of the other.
    held_out: OnceCell<RefCell<Box<dyn RootContext>>>,
}

struct Http {
    filter: Shared,
    stream: Stream,
}

fn filter(configuration: &Configuration) -> Option<Box<dyn Filter>> {
    status::filter(configuration)
        .or_else(|| queue::filter(configuration))
        .or_else(|| configure::filter(configuration))
        .or_else(|| fetch::filter(configuration))
        .or_else(|| streams::filter(configuration))
        .or_else(|| plans::filter(configuration))
        .or_else(|| members::filter(configuration))
        .or_else(|| backbone::filter(configuration))
        .or_else(|| poison::filter(configuration))
}

/// The held-out filter that a configuration names.
fn held_out(configuration: &[u8], id: u32) -> Option<Box<dyn RootContext>> {
    let document: Value = serde_json::from_slice(configuration).ok()?;
    let faulty = document.get("faulty").and_then(Value::as_bool).unwrap_or_default();
    held_out::root(document.get("held_out")?.as_str()?, faulty, id)
}

// === impl Configuration ===

impl Configuration {
    /// Without a derive, whose crates take longer to build than all of the guests.
    fn read(bytes: &[u8]) -> Option<Configuration> {
        let document: Value = serde_json::from_slice(bytes).ok()?;
        let text = |key| document.get(key).and_then(Value::as_str).map(str::to_owned);
        let number = |key| u32::try_from(document.get(key)?.as_u64()?).ok();
        Some(Configuration {
            scenario: text("scenario")?,
            fixed: document.get("fixed").and_then(Value::as_bool).unwrap_or_default(),
            count: number("count"),
            role: text("role").unwrap_or_default(),
        })
    }
}

// === impl Root ===

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, trailers: usize) {
        if let Some(held_out) = self.held_out.get() {
            return held_out.borrow_mut().on_http_call_response(token, headers, body, trailers);
        }
        if let Some(filter) = self.filter.get() {
            filter.borrow_mut().on_answer(token, Answer::read(headers, body));
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let bytes = self.get_plugin_configuration().filter(|_| size > 0).unwrap_or_default();
        if let Some(held_out) = held_out(&bytes, self.id) {
            let held_out = self.held_out.get_or_init(|| RefCell::new(held_out));
            return held_out.borrow_mut().on_vm_start(0) && held_out.borrow_mut().on_configure(0);
        }
        let Some(configuration) = Configuration::read(&bytes) else {
            host::complain("the plugin configuration is not {\"scenario\": …}");
            return false;
        };
        let Some(filter) = filter(&configuration) else {
            host::complain(&format!("there is no scenario `{}` in this module", configuration.scenario));
            return false;
        };
        let filter = self.filter.get_or_init(|| Rc::new(RefCell::new(filter)));
        filter.borrow_mut().on_configure()
    }

    fn on_tick(&mut self) {
        if let Some(held_out) = self.held_out.get() {
            return held_out.borrow_mut().on_tick();
        }
        if let Some(filter) = self.filter.get() {
            filter.borrow_mut().on_tick();
        }
    }

    fn on_queue_ready(&mut self, queue: u32) {
        if let Some(held_out) = self.held_out.get() {
            return held_out.borrow_mut().on_queue_ready(queue);
        }
        if let Some(filter) = self.filter.get() {
            filter.borrow_mut().on_queue_ready();
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        if let Some(held_out) = self.held_out.get() {
            return held_out.borrow().create_http_context(id);
        }
        let filter = Rc::clone(self.filter.get()?);
        Some(Box::new(Http { filter, stream: Stream::new(id) }))
    }
}

// === impl Http ===

impl Context for Http {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, _trailers: usize) {
        let answer = Answer::read(headers, body);
        let flow = self.filter.borrow_mut().on_stream_answer(&mut self.stream, token, answer);
        match flow {
            Flow::Continue => host::resume(),
            flow => {
                flow.action();
            }
        }
    }

    fn on_done(&mut self) -> bool {
        self.filter.borrow_mut().on_stream_done(&mut self.stream);
        true
    }
}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let path = host::request_header(":path");
        let mut filter = self.filter.borrow_mut();
        let flow = match path.as_str() {
            "/state" => Flow::reply(200, filter.state()),
            "/health" if filter.is_healthy() => Flow::reply(200, "healthy"),
            "/health" => Flow::reply(503, "not healthy"),
            path => filter.on_request(&mut self.stream, path),
        };
        flow.action()
    }
}
