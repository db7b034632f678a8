//! What Envoy makes of the outcome of a call: for a filter's HTTP call, and for the stream that the router serves.
//!
//! Texts and details are Envoy's (`source/common/router/router.cc`, `source/common/http/codes.h`). Both cases are here
//! so that a failure on the wire is reported in one way.

use std::time::Duration;

use bytes::Bytes;

use super::{
    core::{Outgoing, Owner},
    exchange::{AnsweredBy, Protocol, StreamId},
    headers::HeaderMap,
    reply::Reply,
    stream::{Direction, parts},
    turn::Turn,
    vms::CallResponse,
};
use crate::{
    abi::{Headers, Status},
    world::{Outcome, Refusal, Response},
};

/// What `proxy_get_status` says in the callback of a call that was reset.
pub(super) const RESET_STATUS: (u32, Bytes) = (Status::BrokenConnection as u32, Bytes::from_static(b"reset"));

// Why there was no connection stands in the details of a stream, and in no response.
const CONNECT_FAILURE: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure";
const RESET_BEFORE_HEADERS: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
const CONNECT_FAILURE_AGAIN: &str = "upstream connect error or disconnect/reset before headers. retried and the latest \
                                     reset reason: remote connection failure";
const RESET_AGAIN: &str = "upstream connect error or disconnect/reset before headers. retried and the latest reset \
                           reason: connection termination";
const TIMEOUT: &str = "upstream request timeout";
const NO_HOST: &str = "no healthy upstream";
/// Parts in which a response's body comes.
const CHUNK_BYTES: usize = 16 * 1024;

/// What a filter's HTTP call ends with after so many attempts; `None` is a reset, without headers.
pub(super) fn call_response(
    outcome: Outcome,
    took: Duration,
    limit_bytes: usize,
    attempts: u32,
) -> Option<CallResponse> {
    let again = attempts > 1;
    match outcome {
        Outcome::Response(response) if response.body.len() > limit_bytes => None,
        Outcome::Response(response) => Some(CallResponse {
            headers: with_service_time(&response, took),
            body: response.body,
            trailers: response.trailers,
        }),
        Outcome::ConnectFailure if again => Some(synthesized(503, CONNECT_FAILURE_AGAIN)),
        Outcome::ConnectFailure => Some(synthesized(503, CONNECT_FAILURE)),
        Outcome::ResetBeforeHeaders if again => Some(synthesized(503, RESET_AGAIN)),
        Outcome::ResetBeforeHeaders => Some(synthesized(503, RESET_BEFORE_HEADERS)),
        Outcome::ResetAfterHeaders(_) => None,
    }
}

/// What a filter's HTTP call ends with when its time is over.
pub(super) fn timeout_response() -> CallResponse {
    synthesized(504, TIMEOUT)
}

/// What a filter's HTTP call ends with when the cluster has no host left for another attempt.
pub(super) fn no_host_response() -> CallResponse {
    synthesized(503, NO_HOST)
}

fn synthesized(status: u16, body: &'static str) -> CallResponse {
    let mut headers = Headers::new();
    headers.add(b":status", status.to_string().as_bytes());
    headers.add(b"content-length", body.len().to_string().as_bytes());
    headers.add(b"content-type", b"text/plain");
    CallResponse { headers, body: Bytes::from_static(body.as_bytes()), trailers: Headers::new() }
}

/// The headers of a real response; only such a one has a service time.
fn with_service_time(response: &Response, took: Duration) -> Headers {
    let mut headers = Headers::new();
    headers.add(b":status", response.status.to_string().as_bytes());
    for (name, value) in &response.headers {
        headers.add(name, value);
    }
    headers.replace(b"x-envoy-upstream-service-time", took.as_millis().to_string().as_bytes());
    headers
}

impl Turn {
    /// Sends a request, all of which got past the plugin, on its way.
    pub(super) async fn send_upstream(&mut self, id: StreamId) {
        let core = self.core_mut();
        let (cluster, timeout) = (core.options.upstream_cluster.clone(), core.options.route_timeout);
        let Some(stream) = core.streams.get_mut(&id) else {
            return;
        };
        stream.request.end_passed = true;
        let outgoing = Outgoing {
            cluster,
            headers: stream.sent_upstream.clone().unwrap_or_default(),
            body: Bytes::copy_from_slice(&stream.request.body_passed),
            trailers: stream.request.trailers.clone().unwrap_or_default(),
            timeout: (!timeout.is_zero()).then_some(timeout),
        };
        match core.send(Owner::Router { stream: id }, outgoing) {
            Ok(call) => {
                if let Some(stream) = core.streams.get_mut(&id) {
                    stream.upstream_call = Some(call);
                }
            }
            Err(Refusal::UnknownCluster) => self.reply(id, Reply::envoy(503, "", "cluster_not_found")).await,
            Err(Refusal::NoHost) => {
                self.reply(id, Reply::envoy(503, "no healthy upstream", "no_healthy_upstream")).await;
            }
        }
    }

    /// Hands the upstream's answer to the plugin and on to the client.
    pub(super) async fn upstream_answer(&mut self, id: StreamId, outcome: Outcome, took: Duration) {
        let Some(stream) = self.core_mut().streams.get_mut(&id) else {
            return;
        };
        stream.upstream_call = None;
        if stream.replying {
            return;
        }
        match outcome {
            Outcome::Response(response) => self.upstream_response(id, response, took, false).await,
            Outcome::ResetAfterHeaders(response) => self.upstream_response(id, response, took, true).await,
            Outcome::ConnectFailure => {
                let details = "upstream_reset_before_response_started{remote_connection_failure|\
                               delayed_connect_error:_Connection_refused}";
                self.reply(id, Reply::envoy(503, CONNECT_FAILURE, details)).await;
            }
            Outcome::ResetBeforeHeaders => {
                let details = "upstream_reset_before_response_started{connection_termination}";
                self.reply(id, Reply::envoy(503, RESET_BEFORE_HEADERS, details)).await;
            }
        }
    }

    /// The upstream did not answer in time.
    pub(super) async fn upstream_timeout(&mut self, id: StreamId) {
        if let Some(stream) = self.core_mut().streams.get_mut(&id) {
            stream.upstream_call = None;
            self.reply(id, Reply::envoy(504, TIMEOUT, "response_timeout")).await;
        }
    }

    async fn upstream_response(&mut self, id: StreamId, response: Response, took: Duration, cut: bool) {
        let headers = with_service_time(&response, took);
        let mut parts = parts(&response.body, response.trailers, CHUNK_BYTES, Protocol::Http1);
        if cut && !parts.is_empty() {
            parts.pop_back();
        }
        let Some(stream) = self.core_mut().streams.get_mut(&id) else {
            return;
        };
        stream.details = "via_upstream".to_owned();
        stream.answered_by = Some(AnsweredBy::Upstream);
        stream.response.headers = headers;
        let header_only = parts.is_empty() && !cut;
        self.on_headers(id, Direction::Response, header_only).await;
        for part in parts {
            self.on_part(id, Direction::Response, part).await;
        }
        if cut {
            self.finish(id, true).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 4;

    #[test]
    fn a_body_over_the_limit_is_a_reset_and_one_at_the_limit_is_not() {
        let respond = |length| {
            let response = Response { status: 200, body: vec![0; length].into(), ..Response::default() };
            call_response(Outcome::Response(response), Duration::ZERO, LIMIT, 1)
        };
        assert!(respond(LIMIT).is_some());
        assert!(respond(LIMIT + 1).is_none());
    }

    #[test]
    fn only_a_real_response_has_a_service_time() {
        let took = Duration::from_millis(7);
        let real =
            call_response(Outcome::Response(Response { status: 503, ..Response::default() }), took, LIMIT, 1);
        let made = call_response(Outcome::ConnectFailure, took, LIMIT, 1);
        let (real, made) = (real.unwrap().headers, made.unwrap().headers);
        assert_eq!(real.first(b"x-envoy-upstream-service-time"), Some(b"7".as_slice()));
        assert_eq!(made.first(b":status"), Some(b"503".as_slice()));
        assert_eq!(made.first(b"x-envoy-upstream-service-time"), None);
        assert_eq!(made.len(), 3);
    }

    #[test]
    fn a_reset_in_the_middle_has_no_response() {
        let outcome = Outcome::ResetAfterHeaders(Response { status: 200, ..Response::default() });
        assert!(call_response(outcome, Duration::ZERO, LIMIT, 1).is_none());
    }
}
