//! gRPC of filters: calls with one message each way, streams, and what Envoy makes of every way in which they end.
//!
//! Sources: Envoy `source/extensions/common/wasm/context.cc` (tokens, who is notified of what),
//! `source/common/grpc/async_client_impl.cc` (statuses, metadata, details in the message).
//! A stream that cannot even begin is notified of its metadata inside the hostcall there; here, right after the callback.

use std::time::Duration;

use bytes::Bytes;

use super::{
    core::Core,
    events::{Event, EventKey},
    grpc_service::{Target, target},
    headers::HeaderMap,
    log::LogSource,
    record::Note,
    turn::{Called, Turn},
    vms::AfterCall,
};
use crate::{
    abi::{Answer, Callback, Headers, OutgoingGrpc, Status, VmIndex},
    steps::Verb,
    world::{CallId, GrpcCall, GrpcEvent, GrpcEvents, Origin, Refusal},
};

/// The low two bits of a token say what it is of; those of HTTP calls are 0.
const KIND_MASK: u32 = 3;
/// Kind of a call's token; the first one is 5.
const CALL: u32 = 1;
/// Kind of a stream's token; the first one is 6.
const STREAM: u32 = 2;
/// Distance of two tokens of one kind.
const TOKEN_STEP: u32 = 4;

const UNKNOWN: u32 = 2;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

/// Most digits of a number in `grpc-timeout` are 8.
const MAX_TIMEOUT_NUMBER: u32 = 99_999_999;

/// An exchange that was begun. A stream stays here until both sides have closed it.
#[derive(Debug, Clone)]
pub(super) struct GrpcInFlight {
    pub(super) vm: VmIndex,
    root_id: u32,
    pub(super) token: u32,
    streaming: bool,
    /// The last message of a call's answer.
    answer: Option<Bytes>,
    /// Whether the server's headers have come.
    started: bool,
    /// When the guest's side ended.
    ended_at: Option<Duration>,
    /// Whether the guest has called `proxy_grpc_close`.
    local_closed: bool,
    /// Whether the end has come from the server, or was made up in its place.
    remote_closed: bool,
    /// What is still to come, with the time limit.
    events: Vec<EventKey>,
}

/// One thing that a root context is notified of a call or stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GrpcStep {
    Initial(Headers),
    Message(Bytes),
    Trailing(Headers),
    Close { status: u32, message: String },
}

/// What the running gRPC callback can read.
#[derive(Debug, Clone, Default)]
pub(super) struct GrpcReceived {
    pub(super) initial: Option<Headers>,
    pub(super) trailing: Option<Headers>,
    pub(super) message: Bytes,
}

/// Tokens of the next call and the next stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct GrpcTokens {
    call: u32,
    stream: u32,
}

// === impl GrpcTokens ===

impl Default for GrpcTokens {
    fn default() -> Self {
        GrpcTokens { call: CALL + TOKEN_STEP, stream: STREAM + TOKEN_STEP }
    }
}

impl GrpcTokens {
    fn next(&mut self, streaming: bool) -> u32 {
        let next = if streaming { &mut self.stream } else { &mut self.call };
        let token = *next;
        *next = next.wrapping_add(TOKEN_STEP);
        token
    }
}

// === impl GrpcStep ===

impl GrpcStep {
    fn callback(&self, root_id: u32, token: u32) -> Callback {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        match self {
            GrpcStep::Initial(headers) => {
                Callback::GrpcReceiveInitialMetadata { root_id, token, headers: count(headers.len()) }
            }
            GrpcStep::Message(message) => {
                Callback::GrpcReceive { root_id, token, message_size: count(message.len()) }
            }
            GrpcStep::Trailing(trailers) => {
                Callback::GrpcReceiveTrailingMetadata { root_id, token, trailers: count(trailers.len()) }
            }
            GrpcStep::Close { status, .. } => Callback::GrpcClose { root_id, token, status_code: *status },
        }
    }

    /// The end of a gRPC exchange that Envoy answered by itself, which it does as a server would: without headers.
    fn local_reply(status: u32, message: &str, details: &str) -> [GrpcStep; 3] {
        let mut trailing = response_headers();
        trailing.add(b"grpc-status", status.to_string().as_bytes());
        trailing.add(b"grpc-message", message.as_bytes());
        let message = enhanced(message, details);
        [GrpcStep::Initial(Headers::new()), GrpcStep::Trailing(trailing), GrpcStep::Close { status, message }]
    }

    /// The end of a response that is none of gRPC.
    fn stream_error(status: u32, details: &str) -> [GrpcStep; 2] {
        [GrpcStep::Trailing(Headers::new()), GrpcStep::Close { status, message: details.to_owned() }]
    }
}

/// Envoy puts the response code details behind the message.
fn enhanced(message: &str, details: &str) -> String {
    if message.is_empty() { details.to_owned() } else { format!("{message}{{{details}}}") }
}

fn response_headers() -> Headers {
    let mut headers = Headers::new();
    headers.add(b":status", b"200");
    headers.add(b"content-type", b"application/grpc");
    headers
}

/// Source: Envoy `source/common/grpc/status.cc` (`Utility::httpToGrpcStatus`).
fn status_of_http(status: u16) -> u32 {
    match status {
        400 => INTERNAL,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

fn timeout_header(timeout_ms: u32) -> String {
    if timeout_ms <= MAX_TIMEOUT_NUMBER {
        format!("{timeout_ms}m")
    } else {
        format!("{}S", timeout_ms / 1000)
    }
}

// === impl GrpcInFlight ===

impl GrpcInFlight {
    /// What the root context is notified of an event.
    fn steps(&mut self, event: GrpcEvent, now: Duration) -> Vec<GrpcStep> {
        let mut steps = Vec::new();
        match event {
            GrpcEvent::Headers(metadata) => steps.extend(self.start(metadata, now)),
            GrpcEvent::Message(message) => {
                steps.extend(self.start(Headers::new(), now));
                steps.push(GrpcStep::Message(message));
            }
            GrpcEvent::Status { code, message, metadata } => {
                let mut trailing = Headers::new();
                if !self.started {
                    steps.push(GrpcStep::Initial(Headers::new()));
                    trailing = response_headers();
                }
                if let Some(code) = code {
                    trailing.add(b"grpc-status", code.to_string().as_bytes());
                }
                if !message.is_empty() {
                    trailing.add(b"grpc-message", message.as_bytes());
                }
                trailing.extend(metadata);
                steps.push(GrpcStep::Trailing(trailing));
                let status = code.unwrap_or(UNKNOWN);
                steps.push(GrpcStep::Close { status, message: enhanced(&message, "via_upstream") });
            }
            GrpcEvent::HttpStatus(status) => {
                steps.push(GrpcStep::Initial(Headers::new()));
                steps.extend(GrpcStep::stream_error(status_of_http(status), "via_upstream"));
            }
            GrpcEvent::Reset if self.started => {
                let details = "upstream_reset_after_response_started{connection_termination}";
                steps.extend(GrpcStep::stream_error(INTERNAL, details));
            }
            GrpcEvent::Reset => steps.extend(GrpcStep::local_reply(
                UNAVAILABLE,
                "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
                "upstream_reset_before_response_started{connection_termination}",
            )),
            GrpcEvent::ConnectFailure => steps.extend(GrpcStep::local_reply(
                UNAVAILABLE,
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
                "upstream_reset_before_response_started{remote_connection_failure|\
                 delayed_connect_error:_Connection_refused}",
            )),
        }
        steps
    }

    fn timeout_steps(&self) -> Vec<GrpcStep> {
        let details = "response_timeout";
        if self.started {
            return GrpcStep::stream_error(INTERNAL, details).into();
        }
        GrpcStep::local_reply(UNAVAILABLE, "upstream request timeout", details).into()
    }

    fn start(&mut self, metadata: Headers, now: Duration) -> Option<GrpcStep> {
        if std::mem::replace(&mut self.started, true) {
            return None;
        }
        let mut headers = response_headers();
        headers.extend(metadata);
        // Envoy measures from the end of the request, so there is no such time before it.
        if let Some(ended_at) = self.ended_at {
            let took = now.saturating_sub(ended_at).as_millis();
            headers.replace(b"x-envoy-upstream-service-time", took.to_string().as_bytes());
        }
        Some(GrpcStep::Initial(headers))
    }

    /// What is left of the steps for this exchange: a call is reported once, of its message or of its failure.
    fn reported(&mut self, step: GrpcStep) -> Option<GrpcStep> {
        if self.streaming {
            return Some(step);
        }
        match step {
            GrpcStep::Initial(_) | GrpcStep::Trailing(_) => None,
            GrpcStep::Message(message) => {
                self.answer = Some(message);
                None
            }
            GrpcStep::Close { status: 0, .. } => Some(match self.answer.take() {
                Some(message) => GrpcStep::Message(message),
                None => GrpcStep::Close { status: INTERNAL, message: String::new() },
            }),
            close @ GrpcStep::Close { .. } => Some(close),
        }
    }
}

impl Core {
    /// Begins a call with its only message and its time limit, or a stream, which has neither.
    pub(super) fn begin_grpc(
        &mut self,
        vm: VmIndex,
        outgoing: OutgoingGrpc,
        unary: Option<(&[u8], u32)>,
    ) -> Answer<u32> {
        let role = self.vms[vm].role;
        let streaming = unary.is_none();
        let (cluster, named) = match target(&outgoing.upstream) {
            Target::Name(name) => (name, true),
            Target::Cluster(name) => (name, false),
            Target::None => {
                let message = "the target of a gRPC call reads as a GrpcService without a target, of which Envoy \
                               1.40 dies; give the cluster another name, or a whole GrpcService";
                self.log(role, LogSource::Host, log::Level::Error, message);
                return Err(Status::InternalFailure);
            }
        };
        let id = self.next_call();
        let call = GrpcCall {
            id,
            origin: Origin::GrpcCall { vm: role, token: 0 },
            headers: request_headers(&cluster, &outgoing, unary.map(|(_, timeout_ms)| timeout_ms)),
            cluster,
            service: String::from_utf8_lossy(&outgoing.service).into_owned(),
            method: String::from_utf8_lossy(&outgoing.method).into_owned(),
            streaming,
        };
        let (cluster, path) = (call.cluster.clone(), format!("/{}/{}", call.service, call.method));
        let begun = self.open_grpc(vm, call, named);
        let step = self.note(vm, Verb::Call, |_core| Note {
            object: cluster,
            argument: path,
            observed: match &begun {
                Ok((_, Ok(_))) => "sent".to_owned(),
                Ok((_, Err(refusal))) => format!("{refusal:?}"),
                Err(status) => format!("{status:?}"),
            },
        });
        let (token, events) = match begun? {
            (token, Ok(events)) => (token, events),
            (token, Err(refusal)) => {
                self.refuse_grpc(vm, token, refusal);
                return Err(Status::InternalFailure);
            }
        };
        if let Some(recorder) = &mut self.recorder {
            recorder.sent(id, step);
        }
        let stream = self.vms[vm].acting_stream();
        let caller = stream.and_then(|stream| self.stream_names.get(&stream.0).cloned());
        self.callers.extend(caller.map(|caller| (id, caller)));
        let root_id = self.vms[vm].acting_root();
        let flight = GrpcInFlight {
            vm,
            root_id,
            token,
            streaming,
            answer: None,
            started: false,
            ended_at: None,
            local_closed: false,
            remote_closed: false,
            events: Vec::new(),
        };
        self.grpc.insert(id, flight);
        self.post_grpc(id, events);
        if let Some((message, timeout_ms)) = unary {
            self.send_grpc(id, Some(Bytes::copy_from_slice(message)), true);
            if timeout_ms > 0 {
                let limit = Duration::from_millis(u64::from(timeout_ms));
                let event = self.post_after(limit, Event::GrpcTimeout { call: id });
                self.grpc.entry(id).and_modify(|flight| flight.events.push(event));
            }
        }
        Ok(token)
    }

    /// Sends a message, or the end alone, on a stream.
    pub(super) fn grpc_message(&mut self, vm: VmIndex, token: u32, message: &[u8], end: bool) -> Answer {
        if token & KIND_MASK != STREAM {
            return Err(Status::BadArgument);
        }
        let id = self.find_grpc(vm, token)?;
        self.send_grpc(id, Some(Bytes::copy_from_slice(message)), end);
        Ok(())
    }

    /// Drops a call, or resets a stream.
    pub(super) fn cancel_grpc(&mut self, vm: VmIndex, token: u32) -> Answer {
        if !matches!(token & KIND_MASK, CALL | STREAM) {
            return Err(Status::BadArgument);
        }
        let id = self.find_grpc(vm, token)?;
        self.drop_grpc(id);
        Ok(())
    }

    /// Drops a call, or ends the guest's side of a stream.
    pub(super) fn close_grpc(&mut self, vm: VmIndex, token: u32) -> Answer {
        if token & KIND_MASK != STREAM {
            return self.cancel_grpc(vm, token);
        }
        let id = self.find_grpc(vm, token)?;
        self.send_grpc(id, None, true);
        match self.grpc.get_mut(&id) {
            Some(flight) if !flight.remote_closed => flight.local_closed = true,
            _ => self.drop_grpc(id),
        }
        Ok(())
    }

    /// Drops every call and stream of a root context.
    pub(super) fn silence_grpc(&mut self, vm: VmIndex, root_id: u32) {
        let owned = self.grpc.iter().filter(|(_, flight)| flight.vm == vm && flight.root_id == root_id);
        for id in owned.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.drop_grpc(id);
        }
    }

    /// Asks the world. The outer error is a refusal that takes no token.
    fn open_grpc(
        &mut self,
        vm: VmIndex,
        mut call: GrpcCall,
        named: bool,
    ) -> Answer<(u32, Result<GrpcEvents, Refusal>)> {
        let streaming = call.streaming;
        let mut tokens = self.vms[vm].grpc_tokens;
        let token = tokens.next(streaming);
        call.origin = Origin::GrpcCall { vm: self.vms[vm].role, token };
        let opened = match self.world.grpc() {
            _ if self.stopping => Ok(GrpcEvents::new()),
            Some(world) => world.open(&call),
            None => {
                let function = if streaming { "proxy_grpc_stream" } else { "proxy_grpc_call" };
                self.report_once(self.vms[vm].role, function);
                return Err(Status::InternalFailure);
            }
        };
        if opened == Err(Refusal::UnknownCluster) {
            self.unknown_clusters.insert(call.cluster.clone());
        }
        if named && opened == Err(Refusal::UnknownCluster) {
            return Err(Status::ParseFailure);
        }
        self.vms[vm].grpc_tokens = tokens;
        Ok((token, opened))
    }

    /// Notifies a root context, once its callback has returned, that a call or stream never began.
    fn refuse_grpc(&mut self, vm: VmIndex, token: u32, refusal: Refusal) {
        let steps = match refusal {
            Refusal::UnknownCluster => {
                vec![GrpcStep::Close { status: UNAVAILABLE, message: "Cluster not available".to_owned() }]
            }
            Refusal::NoHost => {
                GrpcStep::local_reply(UNAVAILABLE, "no healthy upstream", "no_healthy_upstream").into()
            }
        };
        let record = &mut self.vms[vm];
        let root_id = record.acting_root();
        let streaming = token & KIND_MASK == STREAM;
        let reported = steps.into_iter().filter(|step| streaming || matches!(step, GrpcStep::Close { .. }));
        record.after_call.extend(reported.map(|step| AfterCall::Grpc { root_id, token, step }));
    }

    fn find_grpc(&self, vm: VmIndex, token: u32) -> Answer<CallId> {
        let root_id = self.vms[vm].acting_root();
        let is_it =
            |flight: &GrpcInFlight| flight.vm == vm && flight.root_id == root_id && flight.token == token;
        let found = self.grpc.iter().find(|(_, flight)| is_it(flight));
        found.map(|(id, _)| *id).ok_or(Status::NotFound)
    }

    /// Gives the world a message; what is sent after an end goes nowhere.
    fn send_grpc(&mut self, id: CallId, message: Option<Bytes>, end: bool) {
        let (now, stopping) = (self.now(), self.stopping);
        let Some(flight) = self.grpc.get_mut(&id) else { return };
        if flight.remote_closed || flight.ended_at.is_some() {
            return;
        }
        if end {
            flight.ended_at = Some(now);
        }
        if let Some(world) = self.world.grpc()
            && !stopping
        {
            let events = world.send(id, message.as_ref(), end);
            self.post_grpc(id, events);
        }
    }

    fn post_grpc(&mut self, id: CallId, events: GrpcEvents) {
        for (delay, event) in events {
            let key = self.post_after(delay, Event::Grpc { call: id, event });
            self.grpc.entry(id).and_modify(|flight| flight.events.push(key));
        }
    }

    /// Forgets an exchange, also in the world if it has not ended there.
    fn drop_grpc(&mut self, id: CallId) {
        let Some(flight) = self.grpc.remove(&id) else { return };
        for event in flight.events {
            self.events.cancel(event);
        }
        if let Some(world) = self.world.grpc()
            && !flight.remote_closed
        {
            world.cancel(id);
        }
    }

    /// Takes an exchange's steps, and marks it closed if they end it.
    fn grpc_steps(&mut self, id: CallId, event: Option<GrpcEvent>) -> Vec<GrpcStep> {
        let now = self.now();
        let Some(flight) = self.grpc.get_mut(&id) else { return Vec::new() };
        let timed_out = event.is_none();
        let steps = match event {
            Some(event) => flight.steps(event, now),
            None => flight.timeout_steps(),
        };
        let ends = steps.iter().any(|step| matches!(step, GrpcStep::Close { .. }));
        let reported = steps.into_iter().filter_map(|step| flight.reported(step)).collect();
        if ends {
            flight.remote_closed = true;
            let events = std::mem::take(&mut flight.events);
            for event in events {
                self.events.cancel(event);
            }
        }
        if timed_out && let Some(world) = self.world.grpc() {
            world.cancel(id);
        }
        reported
    }
}

fn request_headers(cluster: &str, outgoing: &OutgoingGrpc, timeout_ms: Option<u32>) -> Headers {
    let mut headers = Headers::new();
    let path = [b"/", outgoing.service.as_slice(), b"/", outgoing.method.as_slice()].concat();
    headers.add(b":method", b"POST");
    headers.add(b":path", &path);
    headers.add(b":authority", cluster.as_bytes());
    headers.add(b":scheme", b"http");
    headers.add(b"te", b"trailers");
    if let Some(timeout_ms) = timeout_ms {
        headers.add(b"grpc-timeout", timeout_header(timeout_ms).as_bytes());
    }
    headers.add(b"content-type", b"application/grpc");
    for (name, value) in &outgoing.initial_metadata {
        headers.add(name, value);
    }
    headers.replace(b"x-envoy-internal", b"true");
    if let Some(timeout_ms) = timeout_ms.filter(|timeout_ms| *timeout_ms > 0) {
        headers.replace(b"x-envoy-expected-rq-timeout-ms", timeout_ms.to_string().as_bytes());
    }
    headers
}

impl Turn {
    /// Something came from a gRPC server; `None` is the end of a call's time.
    pub(super) async fn grpc_event(&mut self, id: CallId, event: Option<GrpcEvent>) {
        if let Some(recorder) = &mut self.core_mut().recorder {
            recorder.is_answer(id);
        }
        let steps = self.core_mut().grpc_steps(id, event);
        for step in steps {
            // The guest may have cancelled it in the step before.
            let Some(flight) = self.core().grpc.get(&id) else { return };
            let (vm, root_id, token) = (flight.vm, flight.root_id, flight.token);
            self.grpc_step(vm, root_id, token, step).await;
        }
        let core = self.core_mut();
        if core
            .grpc
            .get(&id)
            .is_some_and(|flight| flight.remote_closed && (flight.local_closed || !flight.streaming))
        {
            core.drop_grpc(id);
        }
    }

    /// Tells a root context one thing.
    pub(super) async fn grpc_step(&mut self, vm: VmIndex, root_id: u32, token: u32, step: GrpcStep) {
        let callback = step.callback(root_id, token);
        let Some(root) = self.core_mut().vms[vm].roots.get_mut(&root_id) else { return };
        let status_before = root.status.clone();
        match step {
            GrpcStep::Initial(headers) => root.grpc.initial = Some(headers),
            GrpcStep::Message(message) => root.grpc.message = message,
            GrpcStep::Trailing(trailers) => root.grpc.trailing = Some(trailers),
            GrpcStep::Close { status, message } => root.status = (status, message.into()),
        }
        let called = self.enter(vm, callback).await;
        if let Some(root) = self.core_mut().vms[vm].roots.get_mut(&root_id) {
            root.grpc = GrpcReceived::default();
            match (callback, called) {
                (_, Called::NotExported) => root.status = status_before,
                (Callback::GrpcClose { .. }, _) => root.status.1 = Bytes::new(),
                _ => {}
            }
        }
        self.after_call(vm).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_calls_and_streams_count_by_four_and_never_meet() {
        let mut tokens = GrpcTokens::default();
        let given = [false, true, false, true].map(|streaming| tokens.next(streaming));
        assert_eq!(given, [5, 6, 9, 10]);
        assert_eq!(given.map(|token| token & KIND_MASK), [CALL, STREAM, CALL, STREAM]);
    }

    #[test]
    fn a_time_limit_has_at_most_eight_digits() {
        assert_eq!(timeout_header(0), "0m");
        assert_eq!(timeout_header(99_999_999), "99999999m");
        assert_eq!(timeout_header(100_000_000), "100000S");
    }

    #[test]
    fn details_go_behind_a_message_and_alone_without_one() {
        assert_eq!(enhanced("not you", "via_upstream"), "not you{via_upstream}");
        assert_eq!(enhanced("", "via_upstream"), "via_upstream");
    }
}
