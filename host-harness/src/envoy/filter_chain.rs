//! How a stream moves: the codec, each filter in turn, the seal behind them, the router, and back against that order.
//!
//! The order of steps is that of Envoy's `source/common/http/filter_manager.cc`: what a filter says to a part decides
//! first where the stream stands, then what it asked for during the callback happens, and then the part moves on.

use super::{
    core::Core,
    exchange::StreamId,
    headers::HeaderMap,
    reply::Reply,
    stream::{DataStatus, Direction, HeadersStatus, Iteration, Part, Stage, Stream, TrailersStatus},
    turn::{Boxed, Called, Turn},
    vms::ContextOf,
};
use crate::abi::{Callback, Headers};

/// What a filter said to a part of a stream.
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
        let first = stream.first(direction);
        let half = stream.half_mut(direction);
        half.begun = true;
        half.ended = end;
        self.headers_to(id, direction, first, end).await;
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
        let first = stream.first(direction);
        stream.half_mut(direction).ended |= end;
        self.data_to(id, direction, first, bytes, end).await;
    }

    async fn on_trailers(&mut self, id: StreamId, direction: Direction, trailers: Headers) {
        if !self.goes_on(id, direction) {
            return;
        }
        let Some(stream) = self.touch(id) else { return };
        let first = stream.first(direction);
        let half = stream.half_mut(direction);
        half.ended = true;
        half.trailers = Some(trailers);
        self.trailers_to(id, direction, first).await;
    }

    /// Headers come to a filter, or past all of them.
    fn headers_to(&mut self, id: StreamId, direction: Direction, to: Option<usize>, end: bool) -> Boxed<'_> {
        Box::pin(async move {
            match to {
                Some(at) => self.ask_headers(id, direction, at, end).await,
                None => self.headers_out(id, direction, end).await,
            }
        })
    }

    /// A part of a body comes to a filter, or past all of them.
    fn data_to(
        &mut self,
        id: StreamId,
        direction: Direction,
        to: Option<usize>,
        bytes: Vec<u8>,
        end: bool,
    ) -> Boxed<'_> {
        Box::pin(async move {
            let Some(at) = to else {
                return self.data_out(id, direction, bytes, end).await;
            };
            let Some(stage) = self.stage_mut(id, direction, at) else { return };
            stage.ended |= end;
            if let Iteration::StoppedAll { limited } = stage.iteration {
                let held = stage.hold(&bytes);
                if limited && self.is_too_large(held) {
                    self.too_large(id, direction).await;
                }
                return;
            }
            self.ask_data(id, direction, at, bytes, end).await;
        })
    }

    /// Trailers come to a filter, or past all of them.
    fn trailers_to(&mut self, id: StreamId, direction: Direction, to: Option<usize>) -> Boxed<'_> {
        Box::pin(async move {
            let Some(at) = to else {
                return self.end_out(id, direction).await;
            };
            let Some(stage) = self.stage_mut(id, direction, at) else { return };
            stage.ended = true;
            stage.has_trailers = true;
            if !matches!(stage.iteration, Iteration::StoppedAll { .. }) {
                self.ask_trailers(id, direction, at).await;
            }
        })
    }

    async fn ask_headers(&mut self, id: StreamId, direction: Direction, at: usize, end: bool) {
        let Some(stream) = self.core_mut().streams.get_mut(&id) else { return };
        let allow_stop =
            stream.filters.get(at).is_some_and(|filter| filter.plugin.allow_on_headers_stop_iteration);
        let count = count(stream.half(direction).headers.len());
        let Some(stage) = stream.stage_mut(direction, at) else { return };
        stage.headers_visible = true;
        stage.ended = end;
        let asked = self
            .ask(id, direction, at, |context_id| match direction {
                Direction::Request => {
                    Callback::RequestHeaders { context_id, headers: count, end_of_stream: end }
                }
                Direction::Response => {
                    Callback::ResponseHeaders { context_id, headers: count, end_of_stream: end }
                }
            })
            .await;
        let status = match asked {
            Asked::Not => HeadersStatus::Continue,
            Asked::Answered { action, stop } => HeadersStatus::from_guest(action, stop, allow_stop),
            Asked::Failed => HeadersStatus::StopAllAndWatermark,
        };
        let Some(stage) = self.stage_mut(id, direction, at) else { return };
        stage.iteration = match status {
            HeadersStatus::Continue => Iteration::On,
            HeadersStatus::Stop => Iteration::Stopped,
            HeadersStatus::StopAllAndBuffer => Iteration::StoppedAll { limited: true },
            HeadersStatus::StopAllAndWatermark => Iteration::StoppedAll { limited: false },
        };
        if status == HeadersStatus::Continue {
            stage.headers_visible = false;
        }
        if self.settle(id, direction, at, asked).await && status == HeadersStatus::Continue {
            self.pass_headers(id, direction, at, end).await;
        }
    }

    /// Lets a direction go on that a filter holds.
    pub(super) fn resume(&mut self, id: StreamId, direction: Direction, at: usize) -> Boxed<'_> {
        Box::pin(async move {
            // A held request goes on until a reply is complete, unlike one that comes meanwhile.
            // Source: Envoy `source/common/http/filter_manager.cc` `ActiveStreamDecoderFilter::canContinue`.
            let complete = |stream: &Stream| direction == Direction::Request && stream.response.end_passed;
            let over = self.core().streams.get(&id).is_none_or(|stream| stream.finished || complete(stream));
            if over || self.touch(id).is_none() {
                return;
            }
            let Some(stage) = self.stage_mut(id, direction, at) else { return };
            let was = std::mem::replace(&mut stage.iteration, Iteration::On);
            if was == Iteration::On {
                return;
            }
            // What was held back from the filter still has to be shown to it.
            let show = matches!(was, Iteration::StoppedAll { .. });
            let had_trailers = stage.has_trailers;
            if !stage.headers_passed {
                let end = stage.ended && stage.held.is_none() && !had_trailers;
                self.pass_headers(id, direction, at, end).await;
            }
            self.resume_data(id, direction, at, show).await;
            if had_trailers && self.goes_on(id, direction) {
                if show {
                    self.ask_trailers(id, direction, at).await
                } else {
                    self.pass_trailers(id, direction, at).await
                }
            }
        })
    }

    async fn resume_data(&mut self, id: StreamId, direction: Direction, at: usize, show: bool) {
        if !self.goes_on(id, direction) {
            return;
        }
        let Some(stage) = self.stage_mut(id, direction, at) else { return };
        stage.buffering = false;
        let Some(held) = stage.held.take() else { return };
        let end = stage.ended && !stage.has_trailers;
        if show {
            self.ask_data(id, direction, at, held, end).await
        } else {
            self.pass_data(id, direction, at, held, end).await
        }
    }

    async fn ask_data(&mut self, id: StreamId, direction: Direction, at: usize, bytes: Vec<u8>, end: bool) {
        let Some(stage) = self.stage_mut(id, direction, at) else { return };
        if stage.buffering {
            let held = stage.hold(&bytes);
            stage.current = Some(Vec::new());
            if self.is_too_large(held) {
                return self.too_large(id, direction).await;
            }
        } else {
            stage.current = Some(bytes);
        }
        let Some(stage) = self.stage_mut(id, direction, at) else { return };
        stage.told_end = end;
        let size = count(stage.body().len());
        let asked = self
            .ask(id, direction, at, |context_id| match direction {
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
        self.apply_data(id, direction, at, status, asked).await;
    }

    async fn apply_data(
        &mut self,
        id: StreamId,
        direction: Direction,
        at: usize,
        status: DataStatus,
        asked: Asked,
    ) {
        let Some(stage) = self.stage_mut(id, direction, at) else { return };
        let end = std::mem::take(&mut stage.told_end);
        stage.buffering = false;
        let bytes = stage.current.take().unwrap_or_default();
        let mut moves_on = None;
        let mut held = 0;
        match status {
            DataStatus::Continue if stage.iteration == Iteration::On => moves_on = Some(bytes),
            DataStatus::Continue => {
                stage.hold(&bytes);
            }
            DataStatus::StopAndBuffer => {
                stage.iteration = Iteration::Stopped;
                stage.buffering = true;
                stage.current = Some(Vec::new());
                held = stage.hold(&bytes);
            }
            DataStatus::StopAndWatermark => {
                stage.iteration = Iteration::Stopped;
                stage.current = Some(Vec::new());
                stage.hold(&bytes);
            }
            DataStatus::StopNoBuffer => {
                stage.iteration = Iteration::Stopped;
                // The filter has taken these bytes; the end still has to go on some day.
                stage.current = Some(bytes);
                if end {
                    stage.held.get_or_insert_default();
                }
            }
        }
        if self.is_too_large(held) {
            return self.too_large(id, direction).await;
        }
        // The filter may have added trailers at the end.
        let added = end && self.core().streams.get(&id).is_some_and(|s| s.half(direction).trailers.is_some());
        if added && let Some(stage) = self.stage_mut(id, direction, at) {
            stage.has_trailers = true;
        }
        if !self.settle(id, direction, at, asked).await || status != DataStatus::Continue {
            return;
        }
        match moves_on {
            None => self.resume(id, direction, at).await,
            Some(bytes) => {
                self.pass_data(id, direction, at, bytes, end && !added).await;
                if added {
                    self.pass_trailers(id, direction, at).await;
                }
            }
        }
    }

    async fn ask_trailers(&mut self, id: StreamId, direction: Direction, at: usize) {
        let Some(stream) = self.core_mut().streams.get_mut(&id) else { return };
        let trailers = count(stream.half(direction).trailers.as_ref().map_or(0, Vec::len));
        let Some(stage) = stream.stage_mut(direction, at) else { return };
        stage.trailers_visible = true;
        let asked = self
            .ask(id, direction, at, |context_id| match direction {
                Direction::Request => Callback::RequestTrailers { context_id, trailers },
                Direction::Response => Callback::ResponseTrailers { context_id, trailers },
            })
            .await;
        let status = match asked {
            Asked::Not => TrailersStatus::Continue,
            Asked::Answered { action, stop } => TrailersStatus::from_guest(action, stop),
            Asked::Failed => TrailersStatus::Stop,
        };
        let Some(stage) = self.stage_mut(id, direction, at) else { return };
        let was = stage.iteration;
        match status {
            TrailersStatus::Continue => stage.trailers_visible = false,
            TrailersStatus::Stop => stage.iteration = Iteration::Stopped,
        }
        if !self.settle(id, direction, at, asked).await || status == TrailersStatus::Stop {
            return;
        }
        if was == Iteration::On {
            self.pass_trailers(id, direction, at).await
        } else {
            self.resume(id, direction, at).await
        }
    }

    /// Asks a filter about a part of a stream, after making its context if there is none.
    async fn ask(
        &mut self,
        id: StreamId,
        direction: Direction,
        at: usize,
        callback: impl FnOnce(u32) -> Callback,
    ) -> Asked {
        let stream = self.core().streams.get(&id);
        let Some(filter) = stream.and_then(|stream| stream.filters.get(at)) else {
            return Asked::Not;
        };
        if filter.failed {
            return Asked::Not;
        }
        let (vm, callback) = match (filter.vm, filter.context_id, direction) {
            (Some(vm), Some(context_id), _) => (vm, callback(context_id)),
            // A response to a request that the filter never saw is none of its business.
            (_, _, Direction::Response) => return Asked::Not,
            (None, _, Direction::Request) => return Asked::Failed,
            (Some(vm), None, Direction::Request) => match self.create_context(id, at).await {
                Some(context_id) => (vm, callback(context_id)),
                None => return Asked::Failed,
            },
        };
        match self.enter(vm, callback).await {
            Called::NotExported => Asked::Not,
            Called::Returned { value, stop } => Asked::Answered { action: value, stop },
            Called::Failed => Asked::Failed,
        }
    }

    /// Makes the stream's context in a filter's VM; `None` when that failed.
    pub(super) async fn create_context(&mut self, id: StreamId, at: usize) -> Option<u32> {
        let core = self.core_mut();
        let filter = core.streams.get_mut(&id)?.filters.get_mut(at)?;
        let (vm, root_id) = (filter.vm?, filter.root_id);
        let context_id = core.vms[vm].add_context(ContextOf::Stream { stream: id, filter: at, root_id });
        filter.context_id = Some(context_id);
        let called = self.enter(vm, Callback::ContextCreate { context_id, parent_id: root_id }).await;
        self.after_call(vm).await;
        (called != Called::Failed).then_some(context_id)
    }

    /// Does what a filter asked for during a callback about this stream; whether the direction still goes on.
    async fn settle(&mut self, id: StreamId, direction: Direction, at: usize, asked: Asked) -> bool {
        let stream = self.core().streams.get(&id);
        let vm = stream.and_then(|stream| stream.filters.get(at)?.vm);
        if let (Some(vm), Asked::Answered { .. } | Asked::Failed) = (vm, asked) {
            self.set_deciding(id, direction == Direction::Request);
            self.after_call(vm).await;
            self.set_deciding(id, false);
        }
        if asked == Asked::Failed {
            self.fail_filter(id, at).await;
            return false;
        }
        self.goes_on(id, direction)
    }

    fn set_deciding(&mut self, id: StreamId, deciding: bool) {
        if let Some(stream) = self.core_mut().streams.get_mut(&id) {
            stream.deciding = deciding;
        }
    }

    /// Headers got past a filter.
    async fn pass_headers(&mut self, id: StreamId, direction: Direction, at: usize, end: bool) {
        let Some(stream) = self.core_mut().streams.get_mut(&id) else { return };
        let next = stream.after(direction, at);
        if let Some(stage) = stream.stage_mut(direction, at) {
            stage.headers_passed = true;
        }
        self.headers_to(id, direction, next, end).await;
    }

    /// A part of a body got past a filter.
    async fn pass_data(&mut self, id: StreamId, direction: Direction, at: usize, bytes: Vec<u8>, end: bool) {
        if let Some(stream) = self.core().streams.get(&id).filter(|_| self.goes_on(id, direction)) {
            let next = stream.after(direction, at);
            self.data_to(id, direction, next, bytes, end).await;
        }
    }

    /// Trailers got past a filter.
    async fn pass_trailers(&mut self, id: StreamId, direction: Direction, at: usize) {
        if let Some(stream) = self.core().streams.get(&id).filter(|_| self.goes_on(id, direction)) {
            let next = stream.after(direction, at);
            self.trailers_to(id, direction, next).await;
        }
    }

    /// Headers got past every filter.
    pub(super) async fn headers_out(&mut self, id: StreamId, direction: Direction, end: bool) {
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
            self.end_out(id, direction).await;
        }
    }

    /// A part of a body got past every filter.
    pub(super) async fn data_out(&mut self, id: StreamId, direction: Direction, bytes: Vec<u8>, end: bool) {
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
            self.end_out(id, direction).await;
        }
    }

    async fn end_out(&mut self, id: StreamId, direction: Direction) {
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

    fn stage_mut(&mut self, id: StreamId, direction: Direction, at: usize) -> Option<&mut Stage> {
        self.core_mut().streams.get_mut(&id)?.stage_mut(direction, at)
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
