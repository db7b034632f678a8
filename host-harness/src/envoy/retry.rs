//! HTTP calls that are sent again: `x-envoy-retry-on` and `x-envoy-max-retries`.
//!
//! Source: Envoy `source/common/router/retry_state_impl.cc`. The headers go no further than Envoy. What is left of the
//! time limit bounds every attempt together, and a cluster takes only so many retries at once: what is over that is
//! answered with the failure that it was to be retried for.

use std::time::Duration;

use bytes::Bytes;

use super::{
    core::{Core, InFlight, Outgoing, Owner},
    events::Event,
    headers::HeaderMap,
    record::{Note, text},
    turn::Turn,
    upstream,
};
use crate::{
    abi::Headers,
    steps::Verb,
    world::{CallId, Outcome},
};

const RETRY_ON: &[u8] = b"x-envoy-retry-on";
const MAX_RETRIES: &[u8] = b"x-envoy-max-retries";
const STATUS_CODES: &[u8] = b"x-envoy-retriable-status-codes";
const TIME_LEFT: &[u8] = b"x-envoy-expected-rq-timeout-ms";
/// The first wait is shorter than this, in milliseconds, and the limit doubles with each attempt.
const FIRST_WAIT_MS: u64 = 25;
const LONGEST_WAIT_MS: u64 = 250;
const CONFLICT: u16 = 409;

/// What a filter asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Retries {
    conditions: Conditions,
    left: u32,
}

/// For what a call is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Conditions {
    server_error: bool,
    gateway_error: bool,
    reset: bool,
    connect_failure: bool,
    conflict: bool,
    statuses: Vec<u16>,
}

/// A call that may be sent again.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    retries: Retries,
    /// Which one it is, from 1.
    number: u32,
    wait_ms: u64,
    /// Whether it is one of those that the cluster takes only so many of.
    counted: bool,
    deadline: Option<Duration>,
    cluster: String,
    headers: Headers,
    body: Bytes,
    trailers: Headers,
}

/// What becomes of a call that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is sent again after a while.
    Later,
    /// Its filter is notified, after so many attempts.
    Over { attempts: u32 },
}

// === impl Retries ===

impl Retries {
    /// Takes what is said about retries out of the headers; `None` where it is nothing.
    pub(super) fn take(headers: &mut Headers) -> Option<Retries> {
        let text = |headers: &Headers, name| -> String {
            let value = headers.joined(name).unwrap_or_default();
            String::from_utf8_lossy(&value).into_owned()
        };
        let (on, max) = (text(headers, RETRY_ON), text(headers, MAX_RETRIES));
        let statuses = text(headers, STATUS_CODES);
        for name in [RETRY_ON, MAX_RETRIES, STATUS_CODES] {
            headers.remove_all(name);
        }
        let conditions = Conditions::parse(&on, &statuses);
        let left = max.trim().parse().unwrap_or(1);
        (conditions != Conditions::default()).then_some(Retries { conditions, left })
    }

    /// The first attempt at a call that is about to be sent.
    pub(super) fn of(self, outgoing: &Outgoing, now: Duration) -> Attempt {
        Attempt {
            retries: self,
            number: 1,
            wait_ms: FIRST_WAIT_MS,
            counted: false,
            deadline: outgoing.timeout.map(|timeout| now.saturating_add(timeout)),
            cluster: outgoing.cluster.clone(),
            headers: outgoing.headers.clone(),
            body: outgoing.body.clone(),
            trailers: outgoing.trailers.clone(),
        }
    }
}

// === impl Conditions ===

impl Conditions {
    fn parse(on: &str, statuses: &str) -> Conditions {
        let has = |name| on.split(',').any(|condition| condition.trim() == name);
        let statuses = if has("retriable-status-codes") { statuses } else { "" };
        Conditions {
            server_error: has("5xx"),
            gateway_error: has("gateway-error"),
            reset: has("reset"),
            connect_failure: has("connect-failure"),
            conflict: has("retriable-4xx"),
            statuses: statuses.split(',').filter_map(|status| status.trim().parse().ok()).collect(),
        }
    }

    fn meet(&self, outcome: &Outcome) -> bool {
        let any_reset = self.reset || self.server_error || self.gateway_error;
        match outcome {
            Outcome::ConnectFailure => any_reset || self.connect_failure,
            Outcome::ResetBeforeHeaders => any_reset,
            Outcome::Response(response) | Outcome::ResetAfterHeaders(response) => match response.status {
                500..=599 if self.server_error => true,
                502..=504 if self.gateway_error => true,
                CONFLICT if self.conflict => true,
                status => self.statuses.contains(&status),
            },
        }
    }
}

impl Core {
    /// Decides whether a call that was answered so is sent again.
    pub(super) fn decide_retry(&mut self, call: CallId, in_flight: InFlight, outcome: &Outcome) -> Verdict {
        let Some(mut attempt) = self.retries.remove(&call) else {
            return Verdict::Over { attempts: 1 };
        };
        let over = Verdict::Over { attempts: attempt.number };
        if !attempt.retries.conditions.meet(outcome) || attempt.retries.left == 0 {
            return over;
        }
        let counted = self.retries.values().filter(|other| other.counted && other.cluster == attempt.cluster);
        if counted.count() >= self.options.max_retries {
            return over;
        }
        attempt.counted = true;
        attempt.retries.left -= 1;
        let wait = Duration::from_millis(self.draw_below(attempt.wait_ms));
        attempt.wait_ms = (attempt.wait_ms * 2).min(LONGEST_WAIT_MS);
        let answer_event = Some(self.post_after(wait, Event::Retry { call }));
        let timeout_event = self.post_deadline(call, attempt.deadline);
        self.retries.insert(call, attempt);
        self.calls.insert(call, InFlight { answer_event, timeout_event, ..in_flight });
        Verdict::Later
    }

    /// A number below a limit, by chance.
    pub(super) fn draw_below(&mut self, limit: u64) -> u64 {
        let mut bytes = [0; 8];
        self.backoffs.fill(&mut bytes);
        u64::from_le_bytes(bytes).checked_rem(limit).unwrap_or(0)
    }
}

impl Turn {
    /// Sends a call once more; its filter is notified if that cannot be.
    pub(super) async fn retry(&mut self, call: CallId) {
        let core = self.core_mut();
        let (Some(in_flight), Some(mut attempt)) = (core.complete(call), core.retries.remove(&call)) else {
            return;
        };
        attempt.number += 1;
        let now = core.now();
        let timeout = attempt.deadline.map(|deadline| deadline.saturating_sub(now));
        let mut headers = attempt.headers.clone();
        if let Some(timeout) = timeout {
            headers.replace(TIME_LEFT, timeout.as_millis().to_string().as_bytes());
        }
        let outgoing = Outgoing {
            cluster: attempt.cluster.clone(),
            headers,
            body: attempt.body.clone(),
            trailers: attempt.trailers.clone(),
            timeout,
        };
        let path = outgoing.headers.first(b":path").map(text).unwrap_or_default();
        let sent = core.send(in_flight.owner, outgoing);
        let Owner::HttpCall { vm, root_id, token } = in_flight.owner else {
            return;
        };
        let step = core.note(vm, Verb::Call, |_core| Note {
            object: attempt.cluster.clone(),
            argument: path,
            observed: sent.as_ref().map_or_else(ToString::to_string, |_| "sent again".to_owned()),
        });
        match sent {
            Ok(again) => {
                let caller = core.callers.get(&call).cloned();
                core.callers.extend(caller.map(|caller| (again, caller)));
                core.retries.insert(again, attempt);
                if let Some(recorder) = &mut core.recorder {
                    recorder.sent(again, step);
                }
            }
            Err(_) => {
                self.call_answer(vm, root_id, token, Some(upstream::no_host_response())).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Response;

    #[test]
    fn what_is_said_about_retries_is_taken_out_of_the_headers() {
        let mut headers = Headers::new();
        headers.add(b":path", b"/");
        headers.add(b"x-envoy-retry-on", b"reset, retriable-status-codes");
        headers.add(b"x-envoy-retriable-status-codes", b"418, 429");
        headers.add(b"X-Envoy-Max-Retries", b"7");
        let retries = Retries::take(&mut headers).unwrap();
        assert_eq!(headers.len(), 1);
        assert_eq!(retries.left, 7);
        assert!(meets(&retries.conditions, 418) && !meets(&retries.conditions, 500));
        let mut headers = vec![(MAX_RETRIES.to_vec(), b"7".to_vec())];
        assert_eq!(Retries::take(&mut headers), None);
        assert!(headers.is_empty());
    }

    #[test]
    fn conditions_are_met_as_in_envoy() {
        for (on, statuses) in [
            ("5xx", &[500, 501, 502, 503, 504, 599][..]),
            ("gateway-error", &[502, 503, 504]),
            ("retriable-4xx", &[409]),
            ("reset", &[]),
            ("connect-failure", &[]),
            ("bogus", &[]),
        ] {
            let conditions = Conditions::parse(on, "200");
            let met: Vec<u16> = [200, 404, 409, 500, 501, 502, 503, 504, 599]
                .into_iter()
                .filter(|status| meets(&conditions, *status))
                .collect();
            assert_eq!(met, statuses, "{on}");
            let resets = [Outcome::ConnectFailure, Outcome::ResetBeforeHeaders];
            let expected = match on {
                "5xx" | "gateway-error" | "reset" => [true, true],
                "connect-failure" => [true, false],
                _ => [false, false],
            };
            assert_eq!(resets.map(|outcome| conditions.meet(&outcome)), expected, "{on}");
        }
    }

    fn meets(conditions: &Conditions, status: u16) -> bool {
        conditions.meet(&Outcome::Response(Response { status, ..Response::default() }))
    }
}
