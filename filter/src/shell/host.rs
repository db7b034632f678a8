//! What is asked of the host: its clock, shared data and queues, metrics defined once, and properties.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use proxy_wasm::{
    hostcalls,
    types::{BufferType, MapType, MetricType, Status},
};

use crate::{
    authz::{self, Asked, Connection, NoBytes, Progress, Request, RequestHead, SEAL_KEY},
    hooks::{Protection, guards},
    manager::{self, AtWork, Read, Seen, SharedData, Task},
    telemetry::{Counter, Gauge},
};

/// The CAS number with which Envoy creates a key, and refuses if it is there. Source: proxy-wasm-cpp-host,
/// `shared_data.cc`: a key that is absent takes any number, one that is there only its own.
const CREATE: u32 = u32::MAX;

thread_local! {
    /// What could end this VM now. A VM has one thread.
    static TASK: Cell<Option<Task>> = const { Cell::new(None) };
    /// The gauge of this VM, by its place.
    static GAUGE: Cell<Option<(usize, u32)>> = const { Cell::new(None) };
    /// All plugins of a VM define a metric once.
    static METRICS: RefCell<Metrics> = RefCell::default();
}

/// Does something with the metrics of this VM.
pub(super) fn with_metrics<R>(what: impl FnOnce(&mut Metrics) -> R) -> R {
    METRICS.with_borrow_mut(what)
}

/// Shared data of this plugin's `vm_id`.
pub(super) struct HostData;

/// The queue on which this VM is told to look, and those of others.
#[derive(Default)]
pub(super) struct Hints {
    vm_id: Option<String>,
    others: BTreeMap<String, u32>,
}

/// Time on the clock that all VMs of the process share.
pub(super) fn now() -> Duration {
    // SAFETY: the call has no preconditions.
    let time = unsafe { wasi::clock_time_get(wasi::CLOCKID_MONOTONIC, 1) };
    Duration::from_nanos(time.unwrap_or_default())
}

// === impl HostData ===

impl SharedData for HostData {
    fn get(&self, key: &str) -> Option<Read> {
        let (value, number) = hostcalls::get_shared_data(key).ok()?;
        let seen = number.map_or(Seen::Absent, Seen::At);
        Some(Read { value: value.unwrap_or_default(), seen })
    }

    fn compare_and_set(&self, key: &str, value: &[u8], seen: Seen) -> bool {
        let number = match seen {
            _ if !guards(Protection::Cas) => None,
            Seen::Absent => Some(CREATE),
            Seen::At(number) => Some(number),
        };
        hostcalls::set_shared_data(key, Some(value), number).is_ok()
    }

    fn begin(&self, task: &Task) {
        TASK.set(Some(task.clone()));
        if let Some((member, request)) = task.member.zip(AtWork::of(task)) {
            show_work(member, request.bits());
        }
    }

    fn end(&self, task: &Task) {
        TASK.set(None);
        if let Some((member, _)) = task.member.zip(AtWork::of(task)) {
            show_work(member, 0);
        }
    }

    fn at_work(&self, member: usize) -> Option<AtWork> {
        let id = at_work_gauge(member)?;
        AtWork::from_bits(hostcalls::get_metric(id).ok()?)
    }

    fn clear_work(&self, member: usize) {
        if let Some(id) = at_work_gauge(member) {
            let _ = hostcalls::record_metric(id, 0);
        }
    }
}

/// The request that a member decides stands in one of Envoy's gauges: that costs a tenth of what shared data cost, and each
/// request pays it twice.
fn at_work_gauge(member: usize) -> Option<u32> {
    with_metrics(|metrics| metrics.gauge(&format!("portcullis_at_work.member.{member}")))
}

fn show_work(member: usize, bits: u64) {
    let known = GAUGE.get().filter(|(known, _)| *known == member);
    let gauge = known.or_else(|| Some((member, at_work_gauge(member)?)));
    GAUGE.set(gauge);
    if let Some((_, id)) = gauge {
        let _ = hostcalls::record_metric(id, bits);
    }
}

/// Says what this VM ended at while it still can: a panic is followed by an abort.
pub(super) fn tell_the_end_of_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tell(info);
        if let Some(task) = TASK.take() {
            manager::note_end(&task, now(), &HostData);
            HostData.end(&task);
        }
    }));
}

// === impl Hints ===

impl Hints {
    /// Becomes the one that is told of what comes on a queue; Envoy tells the last that has registered.
    pub(super) fn listen(&self, queue: &str) {
        if let Ok(token) = hostcalls::register_shared_queue(queue) {
            self.drain(token);
        }
    }

    /// Takes everything out. One notice may stand for several items, and for none.
    pub(super) fn drain(&self, token: u32) {
        while hostcalls::dequeue_shared_queue(token).is_ok_and(|item| item.is_some()) {}
    }

    pub(super) fn send(&mut self, queue: &str) {
        let token = match self.others.get(queue) {
            Some(token) => Some(*token),
            None => self.resolve(queue),
        };
        if let Some(token) = token {
            let _ = hostcalls::enqueue_shared_queue(token, None);
        }
    }

    fn resolve(&mut self, queue: &str) -> Option<u32> {
        let vm_id = self.vm_id.get_or_insert_with(|| text(&["plugin_vm_id"]).unwrap_or_default());
        let token = hostcalls::resolve_shared_queue(vm_id, queue).ok()??;
        self.others.insert(queue.to_owned(), token);
        Some(token)
    }
}

/// Metric ids. Envoy gives a new id, and leaks the old, each time a name is defined.
#[derive(Default)]
pub(super) struct Metrics {
    /// Without their names, which each request would have to put together.
    counters: BTreeMap<Counter, u32>,
    gauges: BTreeMap<String, u32>,
}

impl Metrics {
    pub(super) fn count(&mut self, counter: Counter) {
        let id = match self.counters.get(&counter) {
            Some(id) => Some(*id),
            None => {
                let id = hostcalls::define_metric(MetricType::Counter, &counter.to_string()).ok();
                self.counters.extend(id.map(|id| (counter, id)));
                id
            }
        };
        if let Some(id) = id {
            let _ = hostcalls::increment_metric(id, 1);
        }
    }

    pub(super) fn show(&mut self, gauge: &Gauge, value: u64) {
        if let Some(id) = self.gauge(&gauge.to_string()) {
            let _ = hostcalls::record_metric(id, value);
        }
    }

    fn gauge(&mut self, name: &str) -> Option<u32> {
        if let Some(id) = self.gauges.get(name) {
            return Some(*id);
        }
        let id = hostcalls::define_metric(MetricType::Gauge, name).ok()?;
        self.gauges.insert(name.to_owned(), id);
        Some(id)
    }
}

/// The request that the current callback is about.
pub(super) struct HostRequest {
    /// How far its body has come.
    pub(super) progress: Progress,
}

// === impl HostRequest ===

impl Request for HostRequest {
    fn head(&self) -> Option<RequestHead> {
        RequestHead::from_pairs(header_pairs(MapType::HttpRequestHeaders)?)
    }

    fn progress(&self) -> Progress {
        self.progress
    }

    fn body(&self, most: usize) -> Option<Vec<u8>> {
        match hostcalls::get_buffer(BufferType::HttpRequestBody, 0, most) {
            Ok(body) => Some(body.unwrap_or_default()),
            // There is no buffer where there is no body.
            Err(Status::NotFound) if self.progress == Progress::Ended => Some(Vec::new()),
            Err(_) => None,
        }
    }

    fn connection(&self, asked: &Asked<'_>) -> Connection {
        Connection::of(asked, &|path| property(path))
    }
}

/// A header map as the host writes it. The SDK's form of this call makes two vectors of each header.
fn header_pairs(map: MapType) -> Option<Vec<u8>> {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        fn proxy_get_header_map_pairs(map: MapType, data: *mut *mut u8, size: *mut usize) -> u32;
    }
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: both places outlive the call.
    let status = unsafe { proxy_get_header_map_pairs(map, &raw mut data, &raw mut size) };
    if status != Status::Ok as u32 {
        return None;
    }
    // SAFETY: the host has had the buffer of the SDK's allocation callback, which makes it as a vector of this size.
    Some(if data.is_null() { Vec::new() } else { unsafe { Vec::from_raw_parts(data, size, size) } })
}

/// The policy that the route names, or else its virtual host.
pub(super) fn named_policy() -> Option<String> {
    let metadata = ["route_metadata", "virtual_host_metadata"].into_iter().map(|metadata| {
        let path = vec!["xds", metadata, "filter_metadata", "portcullis"];
        hostcalls::get_property(path).map_err(|_| NoBytes)
    });
    authz::named_policy(metadata)
}

/// The filter state that the seal asks for, as far as it has come.
pub(super) fn seal_state() -> Option<Vec<u8>> {
    property(&[SEAL_KEY])
}

fn text(path: &[&str]) -> Option<String> {
    String::from_utf8(property(path)?).ok()
}

fn property(path: &[&str]) -> Option<Vec<u8>> {
    hostcalls::get_property(path.to_vec()).ok().flatten()
}
