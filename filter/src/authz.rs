//! One request: what the policy is told about it, what it answers, and what the client sees.
//!
//! [`authorize`] is the one place where a request's outcome is made; everything a client can receive is listed in
//! [`Outcome`]. Only [`Permit`] lets a request on (INVARIANT closed), and only an allow decision makes one.

mod decision;
mod grammar;
mod health;
mod input;
mod mutation;
mod outcome;
mod paths;
mod request;
mod route;

use std::time::{Duration, SystemTime};

use crate::{
    config::Paths,
    hooks::{Check, checks},
    manager::{NotReady, SharedData},
    plugin::{Closed, Plugin},
    policy::{EvaluationError, Moment, Policy, Value},
};

pub(crate) use health::HealthQuery;
pub(crate) use route::Mark;

pub use decision::{DecisionError, Permit, SEAL_KEY, SEAL_VALUE};
pub use input::{Field, field};
pub use mutation::HeaderChange;
pub use outcome::{LocalResponse, Outcome};
pub use request::{Connection, RequestError, RequestHead, SocketAddress};
pub use route::{NoBytes, Property, named_policy};

/// Decides one request by its headers.
///
/// Shape: `policy` is the name that the route chose, if it chose one. Units: `now` as in [`Plugin::handle`]. The outcome says all that the host must do.
/// Errors: none escape; every fault is an outcome of its own.
pub fn authorize(
    plugin: &mut Plugin,
    policy: Option<&str>,
    head: &RequestHead,
    now: Duration,
    shared: &dyn SharedData,
) -> Outcome {
    match plugin.begin_request(policy, now, shared) {
        Ok((policy, task)) => {
            #[cfg(feature = "hooks")]
            crate::hooks::switched::end_at_request(head);
            let outcome = decide(&policy, head, plugin.paths(), plugin.draw());
            shared.end(&task);
            outcome
        }
        Err(Closed::Configuration) => Outcome::ConfigurationRefused,
        Err(Closed::NoPolicyNamed) => Outcome::NoPolicyNamed,
        Err(Closed::NotReady(why @ NotReady::Unknown { .. })) => Outcome::UnknownPolicy(why),
        Err(Closed::NotReady(why @ (NotReady::Quarantined { .. } | NotReady::Closed { .. }))) => {
            Outcome::Quarantined(why)
        }
        Err(Closed::NotReady(why)) => Outcome::NotReady(why),
    }
}

/// `seed` is what chance is made of for this request.
pub(crate) fn decide(policy: &Policy, head: &RequestHead, paths: Paths, seed: [u64; 2]) -> Outcome {
    let input = match input(head, paths) {
        Ok(input) => input,
        Err(error) => return Outcome::BadRequest(error),
    };
    let now_ns =
        head.connection.time_ns.and_then(|time_ns| i64::try_from(time_ns).ok()).unwrap_or_else(host_time);
    outcome(policy.evaluate(input, Moment { now_ns, seed }), head, paths)
}

/// What a policy is asked about a request: opa-envoy-plugin's `input`.
///
/// Errors: [`RequestError`], for a request that cannot be put to a policy.
pub fn input(head: &RequestHead, paths: Paths) -> Result<Value, RequestError> {
    if paths == Paths::Strict && checks(Check::Path) && !paths::has_one_reading(head) {
        return Err(RequestError::AmbiguousPath);
    }
    input::build(head)
}

/// What becomes of a request by a policy's answer to it.
pub fn outcome(answer: Result<Option<Value>, EvaluationError>, head: &RequestHead, paths: Paths) -> Outcome {
    match answer {
        Ok(Some(value)) => decision::read(&value, head, paths),
        Ok(None) => Outcome::Undefined,
        Err(error) => Outcome::EvaluationFailed(error),
    }
}

/// Where Envoy does not say when the request began.
fn host_time() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.ok().and_then(|time| i64::try_from(time.as_nanos()).ok()).unwrap_or_default()
}

/// What becomes of a request that another policy's decision has sent to a route of this one: it is not sent on, because
/// nobody would ask about where that leads.
pub(crate) fn not_sent_on(outcome: Outcome, sent_by: &str, head: &RequestHead) -> Outcome {
    match outcome {
        Outcome::Allow(permit) if checks(Check::SentOnce) && permit.changes(head) => {
            Outcome::MalformedDecision(DecisionError::SentOn { sent_by: sent_by.to_owned() })
        }
        outcome => outcome,
    }
}
