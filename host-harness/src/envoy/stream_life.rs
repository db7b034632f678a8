//! How a stream begins and ends: what the client sends, what it waits for, what it is left with.

use std::time::Duration;

use super::{
    events::Event,
    exchange::{Exchange, Request, StreamId, UpstreamRequest},
    headers::HeaderMap,
    record::{Note, text},
    reply::Reply,
    stream::{Direction, Part, Stream},
    turn::Turn,
    vms::VmSlot,
};
use crate::{
    abi::{Callback, Headers, VmIndex},
    steps::Verb,
};

impl Turn {
    /// Begins a stream with all of the request that comes with its headers.
    pub(super) async fn begin(&mut self, worker: usize, id: StreamId, request: Request) {
        let filters = self.filters(worker).await;
        let core = self.core_mut();
        let mut stream = Stream::new(id, worker, filters, &request, core.now());
        stream.request.headers = request_headers(&request, || core.next_request_id());
        stream.request.begun = true;
        let idle = core.options.stream_idle_timeout;
        if !idle.is_zero() {
            stream.idle_event = Some(core.post_after(idle, Event::StreamIdle { stream: id }));
        }
        let header_only = stream.incoming.is_empty();
        core.streams.insert(id, stream);
        match request.refused_before_plugin {
            Some(status) => self.reply(id, Reply::envoy(u32::from(status), "", "")).await,
            None => {
                self.on_headers(id, Direction::Request, header_only).await;
                self.schedule_feed(id).await;
            }
        }
    }

    /// Delivers the next part of the request's body, and what comes with it at the same time.
    pub(super) async fn feed(&mut self, id: StreamId) {
        loop {
            let Some(stream) = self.core_mut().streams.get_mut(&id) else {
                return;
            };
            let Some(part) = stream.incoming.pop_front() else {
                return;
            };
            let last = stream.incoming.is_empty();
            let interval = stream.chunk_interval;
            let at_once = interval.is_zero() || is_end_alone(stream.incoming.front());
            self.on_part(id, Direction::Request, part).await;
            if !last && !at_once {
                self.core_mut().post_after(interval, Event::NextPart { stream: id });
                return;
            }
        }
    }

    async fn schedule_feed(&mut self, id: StreamId) {
        let Some(stream) = self.core().streams.get(&id) else {
            return;
        };
        let interval = stream.chunk_interval;
        if stream.incoming.is_empty() {
            return;
        }
        if interval.is_zero() {
            self.feed(id).await;
        } else {
            self.core_mut().post_after(interval, Event::NextPart { stream: id });
        }
    }

    /// The plugin reset the stream.
    pub(super) async fn close(&mut self, id: StreamId) {
        let Some(stream) = self.core_mut().streams.get_mut(&id) else {
            return;
        };
        if stream.details.is_empty() {
            stream.details = "wasm_close_stream".to_owned();
        }
        self.finish(id, true).await;
    }

    /// The client went away.
    pub(super) async fn leave(&mut self, id: StreamId) {
        let Some(stream) = self.core_mut().streams.get_mut(&id) else {
            return;
        };
        stream.details = "downstream_remote_disconnect".to_owned();
        self.finish(id, true).await;
    }

    /// The stream may have stood still for too long.
    pub(super) async fn idle(&mut self, id: StreamId) {
        let core = self.core_mut();
        let (now, timeout) = (core.now(), core.options.stream_idle_timeout);
        let Some(stream) = core.streams.get(&id) else {
            return;
        };
        let ends_at = stream.active_at.saturating_add(timeout);
        let (is_over, complete) = (ends_at <= now, stream.request.ended);
        let next_at = if is_over { now.saturating_add(timeout) } else { ends_at };
        let event = core.events.post(next_at, Event::StreamIdle { stream: id });
        if let Some(stream) = core.streams.get_mut(&id) {
            stream.idle_event = Some(event);
        }
        if is_over {
            let status = if complete { 504 } else { 408 };
            self.reply(id, Reply::envoy(status, "stream timeout", "stream_idle_timeout")).await;
        }
    }

    /// Ends a stream: on_log, on_done, on_delete, in Envoy's order.
    pub(super) async fn finish(&mut self, id: StreamId, aborted: bool) {
        let core = self.core_mut();
        let Some(stream) = core.streams.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut stream.finished, true) {
            return;
        }
        let (call, idle) = (stream.upstream_call.take(), stream.idle_event.take());
        if let Some(call) = call {
            core.abandon(call);
        }
        if let Some(event) = idle {
            core.events.cancel(event);
        }
        self.tell_end(id).await;
        let core = self.core_mut();
        let now = core.now();
        let Some(stream) = core.streams.remove(&id) else {
            return;
        };
        for filter in &stream.filters {
            if let (Some(vm), Some(context_id)) = (filter.vm, filter.context_id) {
                core.vms[vm].contexts.remove(&context_id);
            }
        }
        let slot = VmSlot::Worker(stream.worker);
        let name = core.stream_names.get(&id.0).cloned();
        if let Some(recorder) = core.recorder.as_mut().filter(|_| name.is_some()) {
            recorder.is_reply(id);
        }
        if let Some(name) = name {
            let status = stream.response.headers.first(b":status").filter(|_| stream.response.headers_passed);
            let observed = status.map_or_else(|| "nothing".to_owned(), text);
            core.request_has(&name, false);
            core.note_on(slot, Verb::Answer, |_core| Note { object: name, observed, ..Note::default() });
        }
        self.finished.insert(id, exchange(stream, aborted, now));
        if self.thread(slot).has_leftovers() {
            self.release(slot).await;
        }
    }

    /// Every filter logs, and only then does one after the other end.
    async fn tell_end(&mut self, id: StreamId) {
        let Some(stream) = self.core_mut().streams.get_mut(&id) else {
            return;
        };
        stream.logging = true;
        let filters: Vec<Option<VmIndex>> = stream.filters.iter().map(|filter| filter.vm).collect();
        for (at, vm) in filters.iter().enumerate() {
            let Some(vm) = vm.filter(|vm| !self.core().vms[*vm].failed) else { continue };
            if let Some(context_id) = self.context_of(id, at).await {
                self.enter_root(vm, Callback::Log { context_id }).await;
            }
        }
        if let Some(stream) = self.core_mut().streams.get_mut(&id) {
            stream.logging = false;
        }
        for (at, vm) in filters.iter().enumerate() {
            let stream = self.core().streams.get(&id);
            let context_id = stream.and_then(|stream| stream.filters.get(at)?.context_id);
            if let (Some(vm), Some(context_id)) = (*vm, context_id) {
                self.enter_root(vm, Callback::Done { context_id }).await;
                self.enter_root(vm, Callback::Delete { context_id }).await;
            }
        }
    }

    /// A filter's context of a stream, which is made now if the filter has not seen the stream before.
    async fn context_of(&mut self, id: StreamId, at: usize) -> Option<u32> {
        match self.core().streams.get(&id)?.filters.get(at)?.context_id {
            Some(context_id) => Some(context_id),
            None => self.create_context(id, at).await,
        }
    }
}

/// The headers of a request as a filter sees them, with what the connection manager adds.
fn request_headers(request: &Request, request_id: impl FnOnce() -> String) -> Headers {
    let mut headers = Headers::new();
    headers.add(b":authority", &request.authority);
    headers.add(b":path", &request.path);
    headers.add(b":method", &request.method);
    headers.add(b":scheme", &request.scheme);
    for (name, value) in &request.headers {
        headers.add(name, value);
    }
    if headers.first(b"x-forwarded-proto").is_none() {
        headers.add(b"x-forwarded-proto", &request.scheme);
    }
    if headers.first(b"x-request-id").is_none() {
        headers.add(b"x-request-id", request_id().as_bytes());
    }
    headers
}

/// HTTP/1's empty last part, which comes with the bytes before it.
fn is_end_alone(part: Option<&Part>) -> bool {
    matches!(part, Some(Part::Data { bytes, end: true }) if bytes.is_empty())
}

fn exchange(stream: Stream, aborted: bool, now: Duration) -> Exchange {
    let Stream { request, response, .. } = stream;
    let seen = response.headers_passed;
    let status = response.headers.first(b":status").filter(|_| seen);
    let status = status.and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    let upstream_request = stream.sent_upstream.map(|headers| UpstreamRequest {
        headers,
        trailers: request.trailers.filter(|_| request.end_passed).unwrap_or_default(),
        body: request.body_passed,
        complete: request.end_passed,
    });
    Exchange {
        status: status.unwrap_or(0),
        headers: if seen {
            response.headers.into_iter().filter(|(name, _)| !name.starts_with(b":")).collect()
        } else {
            Headers::new()
        },
        body: response.body_passed,
        trailers: response.trailers.filter(|_| response.end_passed).unwrap_or_default(),
        answered_by: stream.answered_by.filter(|_| seen),
        upstream_request,
        filter_state: stream.filter_state,
        details: stream.details,
        aborted,
        began_at: stream.began_at,
        ended_at: now,
    }
}
