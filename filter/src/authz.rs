//! One request: what the policy is told about it, what it answers, and what the client sees.
//!
//! [`authorize`] is the one place where a request's outcome is made; everything a client can receive is listed in
//! [`Outcome`]. Only [`Permit`] lets a request on (INVARIANT closed), and only an allow decision makes one.

mod decision;
mod health;
mod input;
mod mutation;
mod outcome;
mod request;

use std::time::Duration;

use crate::{
    manager::{NotReady, SharedData},
    plugin::{Closed, Plugin},
    policy::Policy,
};

pub(crate) use health::HealthQuery;

pub use decision::{DecisionError, Permit, SEAL_KEY, SEAL_VALUE};
pub use mutation::HeaderChange;
pub use outcome::{LocalResponse, Outcome};
pub use request::{Connection, RequestError, RequestHead, SocketAddress};

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
            let outcome = decide(&policy, head);
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

pub(crate) fn decide(policy: &Policy, head: &RequestHead) -> Outcome {
    let input = match input::build(head) {
        Ok(input) => input,
        Err(error) => return Outcome::BadRequest(error),
    };
    match policy.evaluate(input) {
        Ok(Some(value)) => decision::read(&value, head),
        Ok(None) => Outcome::Undefined,
        Err(error) => Outcome::EvaluationFailed(error),
    }
}
