//! What each hostcall does in Envoy: the [`Host`] that is lent to a VM for the length of a callback.
//!
//! Source: Envoy `source/extensions/common/wasm/context.cc` and proxy-wasm-cpp-host `src/context.cc`.

mod visible;

use std::time::Duration;

use bytes::Bytes;

use self::visible::replace;
use super::{
    core::{Core, Outgoing, Owner},
    events::Event,
    headers::HeaderMap,
    log::{LogSource, level_from_number, level_to_number},
    record::{Note, text},
    retry::Retries,
    schedule::TurnKind,
    shared_queue::Consumer,
    stream::Direction,
    vms::{AfterCall, vm_name},
};
use crate::{
    abi::{
        Answer, BufferType, Go, HeaderMapType, Headers, Host, LocalResponse, MetricType, OutgoingGrpc,
        OutgoingHttpCall, Point, Status, StreamType, VmIndex,
    },
    steps::Verb,
    world::Refusal,
};

/// The function by which a guest reports what it believes, as `name=belief`, to a host that explores. Other hosts
/// answer that there is no such function.
const VIEW_FUNCTION: &str = "portcullis.view";

/// How long the machine has been up when the world begins, which is what a monotonic clock counts from. Runtimes take
/// zero for a clock that is not there: Go's ends with "nanotime returning zero".
const UPTIME: Duration = Duration::from_secs(3600);

impl Host for Core {
    fn schedule_point(&mut self, vm: VmIndex, point: Point<'_>) -> Go {
        self.pass(vm, &point)
    }

    fn answered(&mut self, vm: VmIndex, digest: u128) {
        self.remember(self.vms[vm].role.slot(), digest);
    }

    fn log(&mut self, vm: VmIndex, level: u32, message: &[u8]) -> Answer {
        let role = self.vms[vm].role;
        let level = level_from_number(level);
        if level <= self.options.log_level {
            self.note(vm, Verb::Log, |_core| Note {
                object: level.as_str().to_ascii_lowercase(),
                argument: text(message),
                ..Note::default()
            });
        }
        self.log(role, LogSource::Guest, level, &String::from_utf8_lossy(message));
        Ok(())
    }

    fn log_level(&mut self, _vm: VmIndex) -> u32 {
        level_to_number(self.options.log_level)
    }

    fn call_status(&mut self, vm: VmIndex) -> (u32, Bytes) {
        self.vms[vm].root().map(|root| root.status.clone()).unwrap_or_default()
    }

    fn property(&mut self, vm: VmIndex, path: &[u8]) -> Answer<Bytes> {
        self.read_property(vm, path)
    }

    fn set_property(&mut self, vm: VmIndex, path: &[u8], value: &[u8]) -> Answer {
        self.write_property(vm, path, value)
    }

    fn wall_time_ns(&mut self, vm: VmIndex) -> u64 {
        let time = self.read_clock(vm);
        u64::try_from(self.world.epoch().saturating_add(time).as_nanos()).unwrap_or(u64::MAX)
    }

    fn monotonic_time_ns(&mut self, vm: VmIndex) -> u64 {
        u64::try_from(UPTIME.saturating_add(self.read_clock(vm)).as_nanos()).unwrap_or(u64::MAX)
    }

    fn random(&mut self, vm: VmIndex, bytes: &mut [u8]) {
        self.vms[vm].random.fill(bytes);
    }

    fn environment(&mut self, _vm: VmIndex) -> Vec<(String, String)> {
        self.options.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn set_tick_period(&mut self, vm: VmIndex, period_ms: u32) -> Answer {
        let period = (period_ms > 0).then(|| Duration::from_millis(u64::from(period_ms)));
        self.set_tick(vm, self.vms[vm].acting_root(), period);
        Ok(())
    }

    fn set_effective_context(&mut self, vm: VmIndex, context_id: u32) -> Answer {
        let record = &mut self.vms[vm];
        if context_id != 0 && !record.contexts.contains_key(&context_id) {
            return Err(Status::BadArgument);
        }
        record.effective = context_id;
        Ok(())
    }

    fn done(&mut self, vm: VmIndex) -> Answer {
        let record = &mut self.vms[vm];
        let root_id = record.acting();
        let root = record.roots.get_mut(&root_id).filter(|root| root.awaiting_done);
        root.ok_or(Status::NotFound)?.awaiting_done = false;
        record.after_call.push_back(AfterCall::DeleteRoot { root_id });
        Ok(())
    }

    fn shared_data(&mut self, vm: VmIndex, key: &[u8]) -> Answer<(Bytes, u32)> {
        let answer = self.data.get(self.vm_id(vm), key);
        self.note_read(vm, key, answer.as_ref().map_or(0, |(_, cas)| *cas));
        self.note(vm, Verb::Get, |_core| Note {
            object: text(key),
            observed: answer
                .as_ref()
                .map_or_else(ToString::to_string, |(value, cas)| format!("{} c{cas}", text(value))),
            ..Note::default()
        });
        answer
    }

    fn set_shared_data(&mut self, vm: VmIndex, key: &[u8], value: &[u8], cas: u32) -> Answer {
        if cas == 0 {
            self.check_for_lost_update(vm, key, value);
        }
        let vm_id = &self.keys[self.vms[vm].key].vm_id;
        let answer = self.data.set(vm_id, key, value, cas);
        if answer.is_ok() {
            self.note_read(vm, key, self.data.last_cas());
        }
        self.note(vm, Verb::Set, |core| Note {
            object: text(key),
            argument: match cas {
                0 => text(value),
                u32::MAX => format!("{} if absent", text(value)),
                cas => format!("{} if c{cas}", text(value)),
            },
            observed: answer
                .map_or_else(|status| status.to_string(), |()| format!("ok c{}", core.data.last_cas())),
        });
        answer
    }

    fn register_queue(&mut self, vm: VmIndex, name: &[u8]) -> Answer<u32> {
        // A stream registers for its root, which is where on_queue_ready goes.
        let record = &self.vms[vm];
        let consumer =
            Consumer { slot: record.role.slot(), key: record.key, context_id: record.acting_root() };
        let token = self.queues.register(&self.keys[record.key].vm_id, name, consumer);
        self.note(vm, Verb::Register, |_core| Note { object: text(name), ..Note::default() });
        Ok(token)
    }

    fn resolve_queue(&mut self, vm: VmIndex, vm_id: &[u8], name: &[u8]) -> Answer<u32> {
        let vm_id = String::from_utf8_lossy(vm_id);
        let vm_id = if vm_id.is_empty() { self.vm_id(vm) } else { vm_id.as_ref() };
        self.queues.resolve(vm_id, name)
    }

    fn dequeue(&mut self, vm: VmIndex, token: u32) -> Answer<Bytes> {
        let answer = self.queues.pop(token);
        let running = self.exploration.as_ref().and_then(|exploration| exploration.running);
        if answer.is_ok() && running.is_some_and(|turn| turn.kind == TurnKind::Ready) {
            self.queues.note_taken_when_told(token);
        }
        self.note(vm, Verb::Dequeue, |core| Note {
            object: core.queues.name(token).unwrap_or_default(),
            observed: answer.as_ref().map_or_else(ToString::to_string, |item| text(item)),
            ..Note::default()
        });
        answer
    }

    fn push(&mut self, vm: VmIndex, token: u32, item: &[u8]) -> Answer {
        let pushed = self.queues.push(token, item);
        self.note(vm, Verb::Push, |core| Note {
            object: core.queues.name(token).unwrap_or_default(),
            argument: text(item),
            observed: pushed.as_ref().map_or_else(ToString::to_string, |_| "ok".to_owned()),
        });
        self.vms[vm].pushed = Some((pushed?, token));
        Ok(())
    }

    fn post(&mut self, vm: VmIndex) {
        if let Some((consumer, token)) = self.vms[vm].pushed.take() {
            let now = self.now();
            self.events.post(now, Event::QueueReady { consumer, token });
            let step = self.note(vm, Verb::Post, |core| Note {
                object: core.queues.name(token).unwrap_or_default(),
                observed: consumer.slot.to_string(),
                ..Note::default()
            });
            if let Some(recorder) = &mut self.recorder {
                recorder.posted((consumer.slot, token), step);
            }
        }
    }

    fn header(&mut self, vm: VmIndex, map: HeaderMapType, name: &[u8]) -> Answer<Bytes> {
        let logging = self.acting_stream(vm).is_some_and(|stream| stream.logging);
        let headers =
            self.readable(vm, map).ok_or(if logging { Status::NotFound } else { Status::BadArgument })?;
        headers.first(name).map(Bytes::copy_from_slice).ok_or(Status::NotFound)
    }

    fn headers(&mut self, vm: VmIndex, map: HeaderMapType) -> Answer<Headers> {
        Ok(self.readable(vm, map).cloned().unwrap_or_default())
    }

    fn headers_size(&mut self, vm: VmIndex, map: HeaderMapType) -> Answer<u32> {
        // Envoy asks the map that can be written, and so makes trailers at the end of a body that has none.
        let size = self.writable(vm, map)?.byte_size();
        Ok(u32::try_from(size).unwrap_or(u32::MAX))
    }

    fn set_headers(&mut self, vm: VmIndex, map: HeaderMapType, pairs: Headers) -> Answer {
        let headers = self.writable(vm, map)?;
        headers.clear();
        for (name, value) in pairs {
            headers.add(&name, &value);
        }
        Ok(())
    }

    fn add_header(&mut self, vm: VmIndex, map: HeaderMapType, name: &[u8], value: &[u8]) -> Answer {
        self.writable(vm, map).map(|headers| headers.add(name, value))
    }

    fn replace_header(&mut self, vm: VmIndex, map: HeaderMapType, name: &[u8], value: &[u8]) -> Answer {
        self.writable(vm, map).map(|headers| headers.replace(name, value))
    }

    fn remove_header(&mut self, vm: VmIndex, map: HeaderMapType, name: &[u8]) -> Answer {
        self.writable(vm, map).map(|headers| headers.remove_all(name))
    }

    fn buffer(&mut self, vm: VmIndex, buffer: BufferType, start: usize, length: usize) -> Answer<Bytes> {
        let bytes = self.buffer_bytes(vm, buffer)?;
        let start = start.min(bytes.len());
        let end = start.saturating_add(length).min(bytes.len());
        Ok(Bytes::copy_from_slice(&bytes[start..end]))
    }

    fn buffer_length(&mut self, vm: VmIndex, buffer: BufferType) -> Answer<usize> {
        self.buffer_bytes(vm, buffer).map(<[u8]>::len)
    }

    fn set_buffer(
        &mut self,
        vm: VmIndex,
        buffer: BufferType,
        start: usize,
        length: usize,
        value: &[u8],
    ) -> Answer {
        let direction = match buffer {
            BufferType::HttpRequestBody => Direction::Request,
            BufferType::HttpResponseBody => Direction::Response,
            // Every other buffer that exists is read-only.
            _ => return Err(self.buffer_bytes(vm, buffer).err().unwrap_or(Status::BadArgument)),
        };
        let (stream, at) = self.acting_filter_mut(vm).ok_or(Status::BadArgument)?;
        let stage = stream.stage_mut(direction, at).ok_or(Status::BadArgument)?;
        let body = stage.body_mut().ok_or(Status::BadArgument)?;
        replace(body, start, length, value)
    }

    fn configuration(&mut self, vm: VmIndex) -> Bytes {
        let configuring = self.vms[vm].root().filter(|root| root.configuring);
        let of_vm = &self.keys[self.vms[vm].key].vm_configuration;
        Bytes::copy_from_slice(configuring.map_or(of_vm, |root| &root.plugin.configuration))
    }

    fn send_local_response(&mut self, vm: VmIndex, response: LocalResponse) -> Answer {
        let record = &mut self.vms[vm];
        if let Some(stream) = record.acting_stream() {
            record.after_call.push_back(AfterCall::LocalResponse { stream, response });
        }
        record.stop_iteration = true;
        Ok(())
    }

    fn continue_stream(&mut self, vm: VmIndex, stream: StreamType) -> Answer {
        let direction = match stream {
            StreamType::Request => Direction::Request,
            StreamType::Response => Direction::Response,
            StreamType::Downstream => return Ok(()),
            StreamType::Upstream => return Err(Status::Unimplemented),
        };
        let record = &mut self.vms[vm];
        if let Some((stream, filter)) = record.acting_filter() {
            record.after_call.push_back(AfterCall::Continue { stream, filter, direction });
        }
        // Whichever direction goes on, it is the request that gets out of reach.
        if let Some((stream, at)) = self.acting_filter_mut(vm)
            && let Some(stage) = stream.stage_mut(Direction::Request, at)
        {
            stage.headers_visible = false;
            stage.trailers_visible = false;
            if !stage.buffering {
                stage.current = None;
            }
        }
        Ok(())
    }

    fn close_stream(&mut self, vm: VmIndex, stream: StreamType) -> Answer {
        let record = &mut self.vms[vm];
        if let (Some(id), StreamType::Request | StreamType::Response) = (record.acting_stream(), stream) {
            record.after_call.push_back(AfterCall::Close { stream: id });
        }
        Ok(())
    }

    fn http_call(&mut self, vm: VmIndex, call: OutgoingHttpCall) -> Answer<u32> {
        let timeout = call.timeout()?;
        let mut headers = Headers::new();
        for (name, value) in &call.headers {
            headers.add(name, value);
        }
        if [":method", ":path", ":authority"].iter().any(|name| headers.first(name.as_bytes()).is_none()) {
            return Err(Status::BadArgument);
        }
        if !call.body.is_empty() {
            headers.replace(b"content-length", call.body.len().to_string().as_bytes());
        }
        headers.replace(b"x-envoy-internal", b"true");
        if let Some(timeout) = timeout {
            headers.replace(b"x-envoy-expected-rq-timeout-ms", timeout.as_millis().to_string().as_bytes());
        }
        let retries = Retries::take(&mut headers);
        let (token, root_id) = (self.vms[vm].next_token, self.vms[vm].acting_root());
        let outgoing = Outgoing {
            cluster: String::from_utf8_lossy(&call.upstream).into_owned(),
            headers,
            body: call.body.into(),
            trailers: call.trailers,
            timeout,
        };
        let (cluster, path) = (outgoing.cluster.clone(), outgoing.headers.first(b":path").map(text));
        self.last_fault = None;
        let attempt = retries.map(|retries| retries.of(&outgoing, self.now()));
        let sent = self.send(Owner::HttpCall { vm, root_id, token }, outgoing);
        if let (Ok(call), Some(attempt)) = (&sent, attempt) {
            self.retries.insert(*call, attempt);
        }
        let fault = self.last_fault;
        let step = self.note(vm, Verb::Call, |_core| Note {
            object: cluster,
            argument: path.unwrap_or_default(),
            observed: match (&sent, fault) {
                (_, Some(fault)) => format!("met fault {}", fault.as_str()),
                (Ok(_), None) => "sent".to_owned(),
                (Err(refusal), None) => refusal.to_string(),
            },
        });
        match sent {
            Err(Refusal::UnknownCluster) => Err(Status::BadArgument),
            // A token is spent on a call that is refused, too.
            sent => {
                self.vms[vm].spend_token();
                if let (Ok(call), Some(recorder)) = (&sent, &mut self.recorder) {
                    recorder.sent(*call, step);
                }
                sent.map(|_| token).map_err(|_| Status::InternalFailure)
            }
        }
    }

    fn grpc_call(&mut self, vm: VmIndex, call: OutgoingGrpc, message: &[u8], timeout_ms: u32) -> Answer<u32> {
        self.begin_grpc(vm, call, Some((message, timeout_ms)))
    }

    fn grpc_stream(&mut self, vm: VmIndex, stream: OutgoingGrpc) -> Answer<u32> {
        self.begin_grpc(vm, stream, None)
    }

    fn grpc_send(&mut self, vm: VmIndex, token: u32, message: &[u8], end: bool) -> Answer {
        self.grpc_message(vm, token, message, end)
    }

    fn grpc_cancel(&mut self, vm: VmIndex, token: u32) -> Answer {
        self.cancel_grpc(vm, token)
    }

    fn grpc_close(&mut self, vm: VmIndex, token: u32) -> Answer {
        self.close_grpc(vm, token)
    }

    fn define_metric(&mut self, vm: VmIndex, kind: MetricType, name: &[u8]) -> Answer<u32> {
        let name = String::from_utf8_lossy(name);
        Ok(self.metrics.define(&mut self.vms[vm].metric_ids, kind, &name))
    }

    fn increment_metric(&mut self, vm: VmIndex, id: u32, offset: i64) -> Answer {
        self.metrics.increment(&self.vms[vm].metric_ids, id, offset)
    }

    fn record_metric(&mut self, vm: VmIndex, id: u32, value: u64) -> Answer {
        self.metrics.record(&self.vms[vm].metric_ids, id, value)
    }

    fn metric(&mut self, vm: VmIndex, id: u32) -> Answer<u64> {
        let answer = self.metrics.get(&self.vms[vm].metric_ids, id);
        self.note(vm, Verb::Metric, |_core| Note {
            object: id.to_string(),
            observed: answer.map_or_else(|status| status.to_string(), |value| value.to_string()),
            ..Note::default()
        });
        answer
    }

    fn call_foreign_function(&mut self, vm: VmIndex, name: &[u8], argument: &[u8]) -> Answer<Bytes> {
        let name = String::from_utf8_lossy(name);
        if let Some(function) = self.options.foreign_functions.get(name.as_ref()) {
            return function.call(self.vms[vm].role, argument);
        }
        if name == VIEW_FUNCTION && self.exploration.is_some() {
            let (view, belief) = argument.iter().position(|byte| *byte == b'=').map_or_else(
                || (text(argument), String::new()),
                |at| (text(&argument[..at]), text(&argument[at + 1..])),
            );
            self.note(vm, Verb::View, |_core| Note {
                object: view.clone(),
                argument: belief.clone(),
                ..Note::default()
            });
            self.views.push((vm_name(self.vms[vm].role.slot(), vm), view, belief));
            return Ok(Bytes::new());
        }
        // There is one route, so there is nothing to match again.
        if name == "clear_route_cache" { Ok(Bytes::new()) } else { Err(Status::NotFound) }
    }

    fn unimplemented(&mut self, vm: VmIndex, function: &'static str) {
        let role = self.vms[vm].role;
        self.report_once(role, function);
    }

    fn exit(&mut self, vm: VmIndex, code: u32) {
        let role = self.vms[vm].role;
        self.log(role, LogSource::Host, log::Level::Error, &format!("`proc_exit({code})` was called"));
    }
}
