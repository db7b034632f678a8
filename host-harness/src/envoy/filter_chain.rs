//! How a stream moves: the codec, the plugin, the seal behind it, the router, and back.
//!
//! The order of steps is that of Envoy's `source/common/http/filter_manager.cc`: what a plugin says to a part decides
//! first where the stream stands, then what it asked for during the callback happens, and then the part moves on.

use super::{
    core::Core,
    exchange::StreamId,
    headers::HeaderMap,
    reply::Reply,
    stream::{DataStatus, Direction, HeadersStatus, Iteration, Part, Stream, TrailersStatus},
    turn::{Boxed, Called, Turn},
};
use crate::abi::{Callback, Headers, VmIndex};

/// What the plugin said to a part of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// It is not there, or does not look at such parts.
    Not,
    /// It returned this; `stop` when a local response overrides it.
    Answered { action: u32, stop: bool },
    /// Its VM failed.
    Failed,
}

impl Turn {
    /// Headers have come, and are already in their place.
    pub(super) async fn on_headers(&mut self, id: StreamId, direction: Direction, end: bool) {
        let Some(stream) = self.touch(id) else { return };
        let half = stream.half_mut(direction);
        half.begun = true;
        half.headers_visible = true;
        half.ended = end;
        let count = count(half.headers.len());
        let asked = self
            .ask(id, direction, |context_id| match direction {
                Direction::Request => {
                    Callback::RequestHeaders { context_id, headers: count, end_of_stream: end }
                }
                Direction::Response => {
                    Callback::ResponseHeaders { context_id, headers: count, end_of_stream: end }
                }
            })
            .await;
        let allow_stop = self.core().options.plugin.allow_on_headers_stop_iteration;
        let status = match asked {
            Asked::Not => HeadersStatus::Continue,
            Asked::Answered { action, stop } => HeadersStatus::from_guest(action, stop, allow_stop),
            Asked::Failed => HeadersStatus::StopAllAndWatermark,
        };
        let Some(stream) = self.core_mut().streams.get_mut(&id) else {
            return;
        };
        let half = stream.half_mut(direction);
        half.iteration = match status {
            HeadersStatus::Continue => Iteration::On,
            HeadersStatus::Stop => Iteration::Stopped,
            HeadersStatus::StopAllAndBuffer => Iteration::StoppedAll { limited: true },
            HeadersStatus::StopAllAndWatermark => Iteration::StoppedAll { limited: false },
        };
        if status == HeadersStatus::Continue {
            half.headers_visible = false;
        }
        if self.settle(id, direction, asked).await && status == HeadersStatus::Continue {
            self.pass_headers(id, direction, end).await;
        }
    }

    /// A part of a body, or trailers, has come.
    pub(super) async fn on_part(&mut self, id: StreamId, direction: Direction, part: Part) {
        match part {
            Part::Data { bytes, end } => self.on_data(id, direction, bytes, end).await,
            Part::Trailers(trailers) => self.on_trailers(id, direction, trailers).await,
        }
    }

    /// A part of a body has come.
    pub(super) async fn on_data(&mut self, id: StreamId, direction: Direction, bytes: Vec<u8>, end: bool) {
        if !self.goes_on(id, direction) {
            return;
        }
        let Some(stream) = self.touch(id) else { return };
        let half = stream.half_mut(direction);
        half.ended |= end;
        if let Iteration::StoppedAll { limited } = half.iteration {
            let held = half.hold(&bytes);
            if limited && self.is_too_large(held) {
                self.too_large(id, direction).await;
            }
            return;
        }
        self.ask_data(id, direction, bytes, end).await;
    }

    async fn on_trailers(&mut self, id: StreamId, direction: Direction, trailers: Headers) {
        if !self.goes_on(id, direction) {
            return;
        }
        let Some(stream) = self.touch(id) else { return };
        let half = stream.half_mut(direction);
        half.ended = true;
        half.trailers = Some(trailers);
        if !matches!(half.iteration, Iteration::StoppedAll { .. }) {
            self.ask_trailers(id, direction).await;
        }
    }

    /// Lets a held direction go on.
    pub(super) fn resume(&mut self, id: StreamId, direction: Direction) -> Boxed<'_> {
        Box::pin(async move {
            // A held request goes on until a reply is complete, unlike one that comes meanwhile.
            // Source: Envoy `source/common/http/filter_manager.cc` `ActiveStreamDecoderFilter::canContinue`.
            let complete = |stream: &Stream| direction == Direction::Request && stream.response.end_passed;
            if self.core().streams.get(&id).is_none_or(|stream| stream.finished || complete(stream)) {
                return;
            }
            let Some(stream) = self.touch(id) else { return };
            let half = stream.half_mut(direction);
            let was = std::mem::replace(&mut half.iteration, Iteration::On);
            if was == Iteration::On {
                return;
            }
            // What was held back from the plugin still has to be shown to it.
            let show = matches!(was, Iteration::StoppedAll { .. });
            let had_trailers = half.trailers.is_some();
            if !half.headers_passed {
                let end = half.ended && half.held.is_none() && !had_trailers;
                self.pass_headers(id, direction, end).await;
            }
            self.resume_data(id, direction, show, had_trailers).await;
            if had_trailers && self.goes_on(id, direction) {
                if show {
                    self.ask_trailers(id, direction).await
                } else {
                    self.pass_trailers(id, direction).await
                }
            }
        })
    }

    async fn resume_data(&mut self, id: StreamId, direction: Direction, show: bool, had_trailers: bool) {
        if !self.goes_on(id, direction) {
            return;
        }
        let Some(stream) = self.core_mut().streams.get_mut(&id) else {
            return;
        };
        let half = stream.half_mut(direction);
        half.buffering = false;
        let Some(held) = half.held.take() else { return };
        let end = half.ended && !had_trailers;
        if show {
            self.ask_data(id, direction, held, end).await
        } else {
            self.pass_data(id, direction, held, end).await
        }
    }

    async fn ask_data(&mut self, id: StreamId, direction: Direction, bytes: Vec<u8>, end: bool) {
        let Some(stream) = self.core_mut().streams.get_mut(&id) else {
            return;
        };
        let half = stream.half_mut(direction);
        let buffering = half.buffering;
        if buffering {
            let held = half.hold(&bytes);
            half.current = Some(Vec::new());
            if self.is_too_large(held) {
                return self.too_large(id, direction).await;
            }
        } else {
            half.current = Some(bytes);
        }
        let Some(stream) = self.core_mut().streams.get_mut(&id) else {
            return;
        };
        let half = stream.half_mut(direction);
        half.told_end = end;
        let size = count(half.body().len());
        let asked = self
            .ask(id, direction, |context_id| match direction {
                Direction::Request => {
                    Callback::RequestBody { context_id, body_size: size, end_of_stream: end }
                }
                Direction::Response => {
                    Callback::ResponseBody { context_id, body_size: size, end_of_stream: end }
                }
            })
            .await;
        let status = match asked {
            Asked::Not => DataStatus::Continue,
            Asked::Answered { action, stop } => DataStatus::from_guest(action, stop),
            Asked::Failed => DataStatus::StopNoBuffer,
        };
        self.apply_data(id, direction, status, asked).await;
    }

    async fn apply_data(&mut self, id: StreamId, direction: Direction, status: DataStatus, asked: Asked) {
        let Some(stream) = self.core_mut().streams.get_mut(&id) else {
            return;
        };
        let half = stream.half_mut(direction);
        let end = std::mem::take(&mut half.told_end);
        half.buffering = false;
        let bytes = half.current.take().unwrap_or_default();
        let mut moves_on = None;
        let mut held = 0;
        match status {
            DataStatus::Continue if half.iteration == Iteration::On => moves_on = Some(bytes),
            DataStatus::Continue => {
                half.hold(&bytes);
            }
            DataStatus::StopAndBuffer => {
                half.iteration = Iteration::Stopped;
                half.buffering = true;
                half.current = Some(Vec::new());
                held = half.hold(&bytes);
            }
            DataStatus::StopAndWatermark => {
                half.iteration = Iteration::Stopped;
                half.current = Some(Vec::new());
                half.hold(&bytes);
            }
            DataStatus::StopNoBuffer => {
                half.iteration = Iteration::Stopped;
                // The plugin has taken these bytes; the end still has to go on some day.
                half.current = Some(bytes);
                if end {
                    half.held.get_or_insert_default();
                }
            }
        }
        if self.is_too_large(held) {
            return self.too_large(id, direction).await;
        }
        if !self.settle(id, direction, asked).await || status != DataStatus::Continue {
            return;
        }
        match moves_on {
            None => self.resume(id, direction).await,
            Some(bytes) => {
                // The plugin may have added trailers at the end.
                let added =
                    self.core().streams.get(&id).is_some_and(|s| s.half(direction).trailers.is_some());
                self.pass_data(id, direction, bytes, end && !added).await;
                if end && added {
                    self.pass_trailers(id, direction).await;
                }
            }
        }
    }

    async fn ask_trailers(&mut self, id: StreamId, direction: Direction) {
        let Some(stream) = self.core_mut().streams.get_mut(&id) else {
            return;
        };
        let half = stream.half_mut(direction);
        half.trailers_visible = true;
        let trailers = count(half.trailers.as_ref().map_or(0, Vec::len));
        let asked = self
            .ask(id, direction, |context_id| match direction {
                Direction::Request => Callback::RequestTrailers { context_id, trailers },
                Direction::Response => Callback::ResponseTrailers { context_id, trailers },
            })
            .await;
        let status = match asked {
            Asked::Not => TrailersStatus::Continue,
            Asked::Answered { action, stop } => TrailersStatus::from_guest(action, stop),
            Asked::Failed => TrailersStatus::Stop,
        };
        let Some(stream) = self.core_mut().streams.get_mut(&id) else {
            return;
        };
        let half = stream.half_mut(direction);
        let was = half.iteration;
        match status {
            TrailersStatus::Continue => half.trailers_visible = false,
            TrailersStatus::Stop => half.iteration = Iteration::Stopped,
        }
        if !self.settle(id, direction, asked).await || status == TrailersStatus::Stop {
            return;
        }
        if was == Iteration::On {
            self.pass_trailers(id, direction).await
        } else {
            self.resume(id, direction).await
        }
    }

    /// Asks the plugin about a part of a stream, after making its context if there is none.
    async fn ask(
        &mut self,
        id: StreamId,
        direction: Direction,
        callback: impl FnOnce(u32) -> Callback,
    ) -> Asked {
        let Some(stream) = self.core().streams.get(&id) else {
            return Asked::Not;
        };
        let Some(vm) = stream.vm else { return Asked::Not };
        if stream.failed {
            return Asked::Not;
        }
        let callback = match (stream.context_id, direction) {
            (Some(context_id), _) => callback(context_id),
            // A response to a request that the plugin never saw is none of its business.
            (None, Direction::Response) => return Asked::Not,
            (None, Direction::Request) => match self.create_context(id, vm).await {
                Some(context_id) => callback(context_id),
                None => return Asked::Failed,
            },
        };
        match self.enter(vm, callback).await {
            Called::NotExported => Asked::Not,
            Called::Returned { value, stop } => Asked::Answered { action: value, stop },
            Called::Failed => Asked::Failed,
        }
    }

    /// Makes the stream's context in its VM; `None` when that failed.
    pub(super) async fn create_context(&mut self, id: StreamId, vm: VmIndex) -> Option<u32> {
        let core = self.core_mut();
        let context_id = core.vms[vm].add_context(id);
        core.streams.get_mut(&id)?.context_id = Some(context_id);
        let parent_id = super::vms::ROOT;
        let called = self.enter(vm, Callback::ContextCreate { context_id, parent_id }).await;
        self.after_call(vm).await;
        (called != Called::Failed).then_some(context_id)
    }

    /// Does what the plugin asked for during a callback about this stream; whether the direction still goes on.
    async fn settle(&mut self, id: StreamId, direction: Direction, asked: Asked) -> bool {
        let vm = self.core().streams.get(&id).and_then(|stream| stream.vm);
        if let (Some(vm), Asked::Answered { .. } | Asked::Failed) = (vm, asked) {
            self.set_deciding(id, direction == Direction::Request);
            self.after_call(vm).await;
            self.set_deciding(id, false);
        }
        if asked == Asked::Failed {
            self.fail_stream(id).await;
            return false;
        }
        self.goes_on(id, direction)
    }

    fn set_deciding(&mut self, id: StreamId, deciding: bool) {
        if let Some(stream) = self.core_mut().streams.get_mut(&id) {
            stream.deciding = deciding;
        }
    }

    /// Headers got past the plugin.
    pub(super) async fn pass_headers(&mut self, id: StreamId, direction: Direction, end: bool) {
        let core = self.core_mut();
        let refused = direction == Direction::Request && !core.is_sealed(id);
        let timeout_ms = core.options.route_timeout.as_millis();
        let Some(stream) = core.streams.get_mut(&id) else {
            return;
        };
        stream.half_mut(direction).headers_passed = true;
        if refused {
            let details = "rbac_access_denied_matched_policy[none]";
            return self.reply(id, Reply::envoy(403, "RBAC: access denied", details)).await;
        }
        if direction == Direction::Request {
            let mut headers = stream.request.headers.clone();
            headers.replace(b"x-envoy-expected-rq-timeout-ms", timeout_ms.to_string().as_bytes());
            stream.sent_upstream = Some(headers);
        }
        if end {
            self.pass_end(id, direction).await;
        }
    }

    /// A part of a body got past the plugin.
    pub(super) async fn pass_data(&mut self, id: StreamId, direction: Direction, bytes: Vec<u8>, end: bool) {
        let Some(stream) = self.core_mut().streams.get_mut(&id) else {
            return;
        };
        let passed = &mut stream.half_mut(direction).body_passed;
        if passed.is_empty() {
            *passed = bytes
        } else {
            passed.extend_from_slice(&bytes)
        }
        if end {
            self.pass_end(id, direction).await;
        }
    }

    async fn pass_trailers(&mut self, id: StreamId, direction: Direction) {
        self.pass_end(id, direction).await;
    }

    async fn pass_end(&mut self, id: StreamId, direction: Direction) {
        match direction {
            Direction::Request => self.send_upstream(id).await,
            Direction::Response => {
                if let Some(stream) = self.core_mut().streams.get_mut(&id) {
                    stream.response.end_passed = true;
                }
                self.finish(id, false).await;
            }
        }
    }

    /// The stream, which has just moved.
    fn touch(&mut self, id: StreamId) -> Option<&mut Stream> {
        let core = self.core_mut();
        let now = core.now();
        let stream = core.streams.get_mut(&id)?;
        stream.active_at = now;
        Some(stream)
    }

    /// Whether a direction of a stream still goes anywhere.
    fn goes_on(&self, id: StreamId, direction: Direction) -> bool {
        let stream = self.core().streams.get(&id);
        stream
            .is_some_and(|stream| !stream.finished && (direction == Direction::Response || !stream.replying))
    }

    fn is_too_large(&self, held: usize) -> bool {
        held > self.core().options.per_connection_buffer_limit_bytes
    }

    async fn too_large(&mut self, id: StreamId, direction: Direction) {
        let reply = match direction {
            Direction::Request => Reply::envoy(413, "Payload Too Large", "request_payload_too_large"),
            Direction::Response => Reply::envoy(500, "Internal Server Error", "response_payload_too_large"),
        };
        self.reply(id, reply).await;
    }
}

impl Core {
    /// Whether the stream may pass the RBAC filter behind the plugin.
    fn is_sealed(&self, id: StreamId) -> bool {
        let Some((key, value)) = &self.options.seal else {
            return true;
        };
        self.streams.get(&id).is_some_and(|stream| stream.filter_state.get(key) == Some(value))
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
