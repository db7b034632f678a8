//! One HTTP stream: what came, what the plugin holds, what got past it.
//!
//! The two directions are the same machine, [`Half`]. Its states are those of Envoy's `ActiveStreamFilterBase`
//! (`source/common/http/filter_manager.cc`): a filter may hold headers alone and still see the body, or hold all.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    events::EventKey,
    exchange::{AnsweredBy, Protocol, Request, StreamId},
    options::PluginOptions,
};
use crate::{
    abi::{Headers, VmIndex},
    world::CallId,
};

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

/// Whether a direction goes on past the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Iteration {
    /// It does.
    On,
    /// It does not, and the plugin is still notified of what comes.
    Stopped,
    /// It does not, and what comes is held back from the plugin, too. `limited` buffers answer 413 when they are full;
    /// the others make the client wait.
    StoppedAll { limited: bool },
}

/// What a plugin said to headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadersStatus {
    Continue,
    Stop,
    StopAllAndBuffer,
    StopAllAndWatermark,
}

/// What a plugin said to a part of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataStatus {
    Continue,
    StopAndBuffer,
    StopAndWatermark,
    StopNoBuffer,
}

/// What a plugin said to trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrailersStatus {
    Continue,
    Stop,
}

/// One direction of a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Half {
    pub(super) headers: Headers,
    /// Whether there are headers.
    pub(super) begun: bool,
    pub(super) trailers: Option<Headers>,
    /// Whether the end has come.
    pub(super) ended: bool,
    /// How each filter stands to it, in the order of the chain.
    pub(super) stages: Vec<Stage>,
    /// Whether the headers got past every filter.
    pub(super) headers_passed: bool,
    /// The part of the body that got past every filter.
    pub(super) body_passed: Vec<u8>,
    /// Whether the end got past every filter.
    pub(super) end_passed: bool,
}

/// How one filter stands to one direction of a stream.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    /// Whether the filter can reach the headers.
    pub(super) headers_visible: bool,
    /// Whether the trailers have come to the filter.
    pub(super) has_trailers: bool,
    /// Whether the filter can reach the trailers.
    pub(super) trailers_visible: bool,
    /// The part of the body that the filter is being shown, and can reach until it lets it go on.
    pub(super) current: Option<Vec<u8>>,
    /// The part of the body that is held back.
    pub(super) held: Option<Vec<u8>>,
    /// Whether the filter reaches the held part rather than the current one.
    pub(super) buffering: bool,
    /// Whether the end has come to the filter.
    pub(super) ended: bool,
    /// Whether the running callback was passed the end.
    pub(super) told_end: bool,
    pub(super) iteration: Iteration,
    /// Whether the headers got past the filter.
    pub(super) headers_passed: bool,
}

/// One filter of a stream's chain.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) plugin: Arc<PluginOptions>,
    /// The VM that sees the stream; `None` where it had failed before, so that the stream fails when it comes here.
    pub(super) vm: Option<VmIndex>,
    /// The plugin's root context in that VM.
    pub(super) root_id: u32,
    /// The stream's context in that VM, once it was made.
    pub(super) context_id: Option<u32>,
    /// The VM failed under this stream, so the filter is not asked any more.
    pub(super) failed: bool,
}

/// A part of a body or what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Data { bytes: Vec<u8>, end: bool },
    Trailers(Headers),
}

/// One stream, from its headers to its end.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    /// The worker that took it.
    pub(super) worker: usize,
    /// The filters that it goes through: the request in this order, the response against it.
    pub(super) filters: Vec<Filter>,
    pub(super) protocol: Protocol,
    pub(super) properties: BTreeMap<String, Vec<u8>>,
    pub(super) filter_state: BTreeMap<String, Vec<u8>>,
    pub(super) request: Half,
    pub(super) response: Half,
    /// What the client has still to send.
    pub(super) incoming: VecDeque<Part>,
    pub(super) chunk_interval: Duration,
    pub(super) details: String,
    pub(super) answered_by: Option<AnsweredBy>,
    /// A local reply has begun, so the request goes no further.
    pub(super) replying: bool,
    /// A filter that had stopped the request has let it go on.
    pub(super) let_go: bool,
    /// A callback of the request runs, or what it asked for is done.
    pub(super) deciding: bool,
    /// Whether a filter's `proxy_on_log` runs, which sees all headers.
    pub(super) logging: bool,
    pub(super) finished: bool,
    pub(super) upstream_call: Option<CallId>,
    /// What was sent upstream, if anything.
    pub(super) sent_upstream: Option<Headers>,
    pub(super) began_at: Duration,
    pub(super) active_at: Duration,
    pub(super) idle_event: Option<EventKey>,
}

// === impl HeadersStatus ===

impl HeadersStatus {
    /// Source: proxy-wasm-cpp-host `src/context.cc` `convertVmCallResultToFilterHeadersStatus`. 2 is "continue and end the
    /// stream" in the SDKs, which Envoy takes for "continue".
    pub(super) fn from_guest(action: u32, stop: bool, allow_stop_iteration: bool) -> HeadersStatus {
        match action {
            _ if stop => HeadersStatus::StopAllAndWatermark,
            0 | 2 => HeadersStatus::Continue,
            1 if allow_stop_iteration => HeadersStatus::Stop,
            3 => HeadersStatus::StopAllAndBuffer,
            _ => HeadersStatus::StopAllAndWatermark,
        }
    }
}

// === impl DataStatus ===

impl DataStatus {
    /// Source: proxy-wasm-cpp-host `src/context.cc` `convertVmCallResultToFilterDataStatus`.
    pub(super) fn from_guest(action: u32, stop: bool) -> DataStatus {
        match action {
            _ if stop => DataStatus::StopNoBuffer,
            0 => DataStatus::Continue,
            1 => DataStatus::StopAndBuffer,
            2 => DataStatus::StopAndWatermark,
            _ => DataStatus::StopNoBuffer,
        }
    }
}

// === impl TrailersStatus ===

impl TrailersStatus {
    /// Source: proxy-wasm-cpp-host `src/context.cc` `convertVmCallResultToFilterTrailersStatus`.
    pub(super) fn from_guest(action: u32, stop: bool) -> TrailersStatus {
        if stop || action != 0 { TrailersStatus::Stop } else { TrailersStatus::Continue }
    }
}

// === impl Stage ===

impl Default for Stage {
    fn default() -> Self {
        Stage {
            headers_visible: false,
            has_trailers: false,
            trailers_visible: false,
            current: None,
            held: None,
            buffering: false,
            ended: false,
            told_end: false,
            iteration: Iteration::On,
            headers_passed: false,
        }
    }
}

impl Stage {
    /// The body as the filter can reach it now; empty when it can reach none.
    pub(super) fn body(&self) -> &[u8] {
        let body = if self.buffering { &self.held } else { &self.current };
        body.as_deref().unwrap_or_default()
    }

    /// The body as the filter can change it now.
    pub(super) fn body_mut(&mut self) -> Option<&mut Vec<u8>> {
        if self.buffering { self.held.as_mut() } else { self.current.as_mut() }
    }

    /// Adds bytes to what is held and gives how much that is.
    pub(super) fn hold(&mut self, bytes: &[u8]) -> usize {
        let held = self.held.get_or_insert_default();
        held.extend_from_slice(bytes);
        held.len()
    }
}

// === impl Half ===

impl Half {
    /// A direction of a stream that goes through so many filters.
    fn through(filters: usize) -> Half {
        Half { stages: vec![Stage::default(); filters], ..Half::default() }
    }

    /// Starts over with other headers, as a direct local reply does.
    pub(super) fn restart(&mut self, headers: Headers) {
        *self = Half { headers, begun: true, ..Half::through(self.stages.len()) };
    }
}

// === impl Stream ===

impl Stream {
    /// A stream whose request has not begun.
    pub(super) fn new(
        id: StreamId,
        worker: usize,
        filters: Vec<Filter>,
        request: &Request,
        now: Duration,
    ) -> Stream {
        Stream {
            id,
            worker,
            request: Half::through(filters.len()),
            response: Half::through(filters.len()),
            filters,
            protocol: request.protocol,
            properties: request.properties.clone(),
            filter_state: BTreeMap::new(),
            incoming: parts(
                request.body.as_deref().unwrap_or_default(),
                request.trailers.clone(),
                request.chunk_size_bytes,
                request.protocol,
            ),
            chunk_interval: request.chunk_interval,
            details: String::new(),
            answered_by: None,
            replying: false,
            deciding: false,
            logging: false,
            finished: false,
            upstream_call: None,
            sent_upstream: None,
            let_go: false,
            began_at: now,
            active_at: now,
            idle_event: None,
        }
    }

    /// The filter that a direction comes to first.
    pub(super) fn first(&self, direction: Direction) -> Option<usize> {
        match direction {
            Direction::Request => (!self.filters.is_empty()).then_some(0),
            Direction::Response => self.filters.len().checked_sub(1),
        }
    }

    /// The filter that a direction comes to after this one.
    pub(super) fn after(&self, direction: Direction, at: usize) -> Option<usize> {
        match direction {
            Direction::Request => Some(at + 1).filter(|next| *next < self.filters.len()),
            Direction::Response => at.checked_sub(1),
        }
    }

    /// How a filter stands to a direction.
    pub(super) fn stage_mut(&mut self, direction: Direction, at: usize) -> Option<&mut Stage> {
        self.half_mut(direction).stages.get_mut(at)
    }

    pub(super) fn half(&self, direction: Direction) -> &Half {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    pub(super) fn half_mut(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}

/// Cuts a body as a codec delivers it; empty when headers are all there is.
///
/// HTTP/1 reports the end of a body apart from its last bytes, HTTP/2 with them, and either reports it with trailers when
/// there are any. Source: Envoy `source/common/http/http1/codec_impl.cc` (`onMessageCompleteBase`).
pub(super) fn parts(body: &[u8], trailers: Headers, chunk_size: usize, protocol: Protocol) -> VecDeque<Part> {
    let mut parts: VecDeque<Part> = body
        .chunks(chunk_size.max(1))
        .map(|chunk| Part::Data { bytes: chunk.to_vec(), end: false })
        .collect();
    if !trailers.is_empty() {
        parts.push_back(Part::Trailers(trailers));
        return parts;
    }
    match (parts.back_mut(), protocol) {
        (Some(Part::Data { end, .. }), Protocol::Http2) => *end = true,
        (Some(_), _) => parts.push_back(Part::Data { bytes: Vec::new(), end: true }),
        (None, _) => {}
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_of_headers_are_mapped_as_envoy_maps_them() {
        let map = |action| HeadersStatus::from_guest(action, false, true);
        assert_eq!(map(0), HeadersStatus::Continue);
        assert_eq!(map(1), HeadersStatus::Stop);
        assert_eq!(map(2), HeadersStatus::Continue);
        assert_eq!(map(3), HeadersStatus::StopAllAndBuffer);
        assert_eq!(map(4), HeadersStatus::StopAllAndWatermark);
        assert_eq!(map(99), HeadersStatus::StopAllAndWatermark);
        assert_eq!(HeadersStatus::from_guest(1, false, false), HeadersStatus::StopAllAndWatermark);
        assert_eq!(HeadersStatus::from_guest(0, true, true), HeadersStatus::StopAllAndWatermark);
    }

    #[test]
    fn actions_of_bodies_and_trailers_are_mapped_as_envoy_maps_them() {
        let statuses: Vec<DataStatus> = (0..5).map(|action| DataStatus::from_guest(action, false)).collect();
        assert_eq!(
            statuses,
            [
                DataStatus::Continue,
                DataStatus::StopAndBuffer,
                DataStatus::StopAndWatermark,
                DataStatus::StopNoBuffer,
                DataStatus::StopNoBuffer
            ]
        );
        assert_eq!(DataStatus::from_guest(0, true), DataStatus::StopNoBuffer);
        assert_eq!(TrailersStatus::from_guest(0, false), TrailersStatus::Continue);
        assert_eq!(TrailersStatus::from_guest(0, true), TrailersStatus::Stop);
        assert_eq!(TrailersStatus::from_guest(7, false), TrailersStatus::Stop);
    }

    #[test]
    fn http1_tells_the_end_of_a_body_alone_and_http2_with_the_last_bytes() {
        let ends = |protocol| -> Vec<(usize, bool)> {
            parts(b"abc", Headers::new(), 2, protocol)
                .into_iter()
                .map(|part| match part {
                    Part::Data { bytes, end } => (bytes.len(), end),
                    Part::Trailers(_) => panic!("there are none"),
                })
                .collect()
        };
        assert_eq!(ends(Protocol::Http1), [(2, false), (1, false), (0, true)]);
        assert_eq!(ends(Protocol::Http2), [(2, false), (1, true)]);
        assert!(parts(b"", Headers::new(), 2, Protocol::Http1).is_empty());
    }

    #[test]
    fn with_trailers_no_part_of_the_body_is_the_end() {
        let trailers = vec![(b"t".to_vec(), b"1".to_vec())];
        let parts = parts(b"abc", trailers.clone(), 9, Protocol::Http2);
        let expected = [Part::Data { bytes: b"abc".to_vec(), end: false }, Part::Trailers(trailers)];
        assert_eq!(parts, expected);
    }
}
