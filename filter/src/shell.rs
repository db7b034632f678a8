//! proxy-wasm callbacks ⇄ the core's events and effects. No judgement lives here.
//!
//! Only the byte forms of hostcalls are used to read: the SDK's string forms panic on a header that is not UTF-8,
//! and a panic ends the VM. Source: proxy-wasm-rust-sdk `hostcalls.rs`, `get_map`.

mod host;
mod memory;
mod stream;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    rc::Rc,
    time::{Duration, Instant},
};

use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext, RootContext},
    types::{BufferType, ContextType, LogLevel, MapType},
};

use crate::{
    manager::{Answer, Effect, Event, FetchId, HttpCall, SharedCache},
    plugin::Plugin,
};

#[global_allocator]
static MEMORY: memory::Bounded = memory::Bounded;

use host::{Hints, HostData, with_metrics};
use stream::Stream;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    host::tell_the_end_of_panics();
    proxy_wasm::set_root_context(|_| Box::new(Root::new()));
}}

/// Longest work on what is published already when a configuration comes. Envoy sends the next request to the new context,
/// so it is better to let it wait than to answer that nothing is ready.
const LONGEST_START: Duration = Duration::from_millis(100);

thread_local! {
    /// A VM has one thread, and the plugins in it share what they have read.
    static CACHE: SharedCache = SharedCache::default();
}

/// What the plugin context and its stream contexts share.
struct Shared {
    plugin: Plugin,
}

struct Root {
    shared: Rc<RefCell<Shared>>,
    fetches: BTreeMap<u32, FetchId>,
    hints: Hints,
    tick_period: Option<Duration>,
    /// When work on new bundles was last done.
    worked: Option<Instant>,
}

// === impl Shared ===

impl Shared {
    fn tell(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Log(level, message) => log::log!(level, "{message}"),
                Effect::Count(counter) => with_metrics(|metrics| metrics.count(counter)),
                Effect::Show(gauge, value) => with_metrics(|metrics| metrics.show(&gauge, value)),
                // What belongs to the plugin context, which takes it out before.
                Effect::Fetch { .. } | Effect::Listen { .. } | Effect::Hint { .. } => {}
            }
        }
    }
}

// === impl Root ===

impl Root {
    fn new() -> Self {
        let (plugin, _) = Plugin::configure(b"", 0, SharedCache::default());
        let shared = Shared { plugin };
        Self {
            shared: Rc::new(RefCell::new(shared)),
            fetches: BTreeMap::new(),
            hints: Hints::default(),
            tick_period: None,
            worked: None,
        }
    }

    /// Runs one event and all that follows from it at once: calls that the host refuses are events of their own.
    fn run(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let effects = {
                let Ok(mut shared) = self.shared.try_borrow_mut() else {
                    return;
                };
                shared.plugin.handle(event, host::now(), &HostData)
            };
            let mut rest = Vec::new();
            for effect in effects {
                match effect {
                    Effect::Fetch { id, call } => {
                        let refused = self.dispatch(id, &call);
                        events.extend(refused.map(|answer| Event::Fetched { id, answer }));
                    }
                    Effect::Listen { queue } => self.hints.listen(&queue),
                    Effect::Hint { queue } => self.hints.send(&queue),
                    other => rest.push(other),
                }
            }
            if let Ok(mut shared) = self.shared.try_borrow_mut() {
                shared.tell(rest);
            }
        }
    }

    /// Starts an HTTP call; gives the answer at once where the host would not.
    fn dispatch(&mut self, id: FetchId, call: &HttpCall) -> Option<Answer> {
        let headers = call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        match hostcalls::dispatch_http_call(&call.cluster, headers, None, Vec::new(), call.timeout) {
            Ok(call_id) => {
                self.fetches.insert(call_id, id);
                None
            }
            Err(status) => Some(Answer::Refused { status: format!("{status:?}") }),
        }
    }

    /// Handles the event of a callback that has begun, and works for what is left of a slice; then not again for as long:
    /// many answers may come one right after the other, and requests would wait behind the slices of all of them. What
    /// is left is done on ticks.
    fn run_for_a_slice(&mut self, event: Event, begun: Instant) {
        self.run(event);
        if let Some(slice) = self.slice()
            && self.worked.is_none_or(|worked| worked.elapsed() >= slice)
        {
            self.work(begun, slice);
        }
        self.keep_ticking();
    }

    /// Works as long as another piece like the longest one would come to its end in time, and does at least one.
    fn work(&mut self, begun: Instant, time: Duration) {
        let mut worked = begun.elapsed();
        let mut longest = Duration::ZERO;
        while self.slice().is_some() {
            self.run(Event::Work);
            let before = std::mem::replace(&mut worked, begun.elapsed());
            longest = longest.max(worked.saturating_sub(before));
            if worked.saturating_add(longest) >= time {
                break;
            }
        }
        self.worked = Some(Instant::now());
    }

    fn slice(&self) -> Option<Duration> {
        self.shared.try_borrow().ok()?.plugin.slice()
    }

    fn keep_ticking(&mut self) {
        let period = self.shared.try_borrow().ok().and_then(|shared| shared.plugin.tick_period());
        if period != self.tick_period {
            self.tick_period = period;
            let _ = hostcalls::set_tick_period(period.unwrap_or(Duration::ZERO));
        }
    }
}

impl Context for Root {
    fn on_done(&mut self) -> bool {
        self.run(Event::Done);
        true
    }

    fn on_http_call_response(&mut self, call_id: u32, num_headers: usize, body_size: usize, _: usize) {
        let Some(id) = self.fetches.remove(&call_id) else {
            return;
        };
        let begun = Instant::now();
        let bytes = u64::try_from(body_size).unwrap_or(u64::MAX);
        let has_room = self.shared.try_borrow().is_ok_and(|shared| shared.plugin.has_room(bytes));
        let answer = if has_room { answer(num_headers, body_size) } else { Answer::NoRoom { bytes } };
        self.run_for_a_slice(Event::Fetched { id, answer }, begun);
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let document = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size).ok().flatten();
        let (document, cache) = (document.unwrap_or_default(), CACHE.with(SharedCache::clone));
        let (plugin, effects) = Plugin::configure(&document, seed(), cache.clone());
        let refused = plugin.may_be_refused(&document, &cache, host::now(), &HostData);
        let is_refused = refused.is_some();
        if let Ok(mut shared) = self.shared.try_borrow_mut() {
            shared.plugin = plugin;
            shared.tell(effects.into_iter().chain(refused).collect());
        }
        if is_refused {
            return false;
        }
        crate::plugin::warm_up();
        self.run(Event::Start);
        self.work(Instant::now(), LONGEST_START);
        self.run(Event::Started);
        self.keep_ticking();
        // Envoy lets requests past a filter whose worker did not configure.
        true
    }

    fn on_tick(&mut self) {
        self.run_for_a_slice(Event::Tick, Instant::now());
    }

    fn on_queue_ready(&mut self, queue: u32) {
        let begun = Instant::now();
        self.hints.drain(queue);
        self.run_for_a_slice(Event::Hinted, begun);
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(Rc::clone(&self.shared))))
    }
}

/// Envoy reports a call that broke off as an answer without headers.
fn answer(num_headers: usize, body_size: usize) -> Answer {
    if num_headers == 0 {
        return Answer::Reset;
    }
    let headers = hostcalls::get_map_bytes(MapType::HttpCallResponseHeaders).unwrap_or_default();
    let header = |wanted: &str| {
        let (_, value) = headers.iter().find(|(name, _)| name == wanted)?;
        String::from_utf8(value.clone()).ok()
    };
    let Some(status) = header(":status").and_then(|status| status.parse().ok()) else {
        return Answer::Reset;
    };
    let body = match body_size {
        0 => Vec::new(),
        size => hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size)
            .ok()
            .flatten()
            .unwrap_or_default(),
    };
    #[cfg(feature = "hooks")]
    if body == b"trap" {
        std::process::abort();
    }
    Answer::Response { status, etag: header("etag"), body }
}

/// The standard library seeds its hash maps from the host's `random_get`.
fn seed() -> u64 {
    RandomState::new().hash_one(0)
}
