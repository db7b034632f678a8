//! Everything that can become of a request, and what the client receives for each: the one table of it.

use super::{
    decision::{DecisionError, Permit},
    request::RequestError,
};
use crate::{manager::NotReady, policy::EvaluationError};

/// Tells clients and operators apart what a status alone cannot.
pub(super) const REASON_HEADER: &str = "x-portcullis-reason";
/// Seconds after which a client may try again; bundles mostly arrive sooner.
const RETRY_AFTER: &str = "1";

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The policy allows it.
    Allow(Permit),
    /// The policy denies it, with this response.
    Deny(LocalResponse),
    /// The request asks for the gate's own health.
    Health(LocalResponse),
    /// The policy has no answer to it.
    Undefined,
    /// The policy cannot decide yet.
    NotReady(NotReady),
    /// The policy, or what it is made of, has ended VMs.
    Quarantined(NotReady),
    /// The route names a policy that does not exist.
    UnknownPolicy(NotReady),
    /// The route names no policy, and the configuration has no default.
    NoPolicyNamed,
    /// The configuration was refused, so there is no policy at all.
    ConfigurationRefused,
    /// The policy failed.
    EvaluationFailed(EvaluationError),
    /// The policy's answer breaks the form of a decision.
    MalformedDecision(DecisionError),
    /// The request cannot be put to a policy.
    BadRequest(RequestError),
}

/// A response made here instead of upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalResponse {
    /// HTTP status.
    pub status: u16,
    /// In order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// May be empty.
    pub body: String,
}

// === impl Outcome ===

impl Outcome {
    /// One word for metrics and for the client's `x-portcullis-reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Allow(_) => "allow",
            Self::Deny(_) => "denied",
            Self::Health(_) => "health",
            Self::Undefined => "undefined",
            Self::NotReady(_) => "not_ready",
            Self::Quarantined(_) => "quarantined",
            Self::UnknownPolicy(_) => "unknown_policy",
            Self::NoPolicyNamed => "no_policy_named",
            Self::ConfigurationRefused => "configuration_refused",
            Self::EvaluationFailed(_) => "evaluation_error",
            Self::MalformedDecision(_) => "malformed_decision",
            Self::BadRequest(RequestError::Header { .. }) => "bad_header",
            Self::BadRequest(RequestError::Path | RequestError::AmbiguousPath) => "bad_path",
            Self::BadRequest(RequestError::Query) => "bad_query",
            Self::BadRequest(RequestError::Body(_) | RequestError::Tunnel) => "bad_body",
            Self::BadRequest(RequestError::BodyTooLong) => "body_too_long",
            Self::BadRequest(RequestError::NoRoom) => "no_room_for_body",
            Self::BadRequest(RequestError::Unavailable(_)) => "input_unavailable",
        }
    }

    /// What the operator should read about it; none where the policy simply decided.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Allow(_)
            | Self::Deny(_)
            | Self::Health(_)
            | Self::Undefined
            | Self::ConfigurationRefused => None,
            Self::BadRequest(error @ RequestError::NoRoom) => Some(error.to_string()),
            Self::BadRequest(RequestError::Unavailable(what)) => Some(what.to_string()),
            Self::BadRequest(_) => None,
            Self::NotReady(why) | Self::Quarantined(why) | Self::UnknownPolicy(why) => Some(why.to_string()),
            Self::NoPolicyNamed => Some(
                "the route names no policy in `filter_metadata.portcullis.policy` and there is no \
                 `portcullis.default_policy`"
                    .to_owned(),
            ),
            Self::EvaluationFailed(error) => Some(error.to_string()),
            Self::MalformedDecision(error) => Some(error.to_string()),
        }
    }

    /// The right to go on, or the response in its place.
    pub fn into_permit(self) -> Result<Permit, LocalResponse> {
        let reason = self.reason();
        let mut response = match self {
            Self::Allow(permit) => return Ok(permit),
            Self::Deny(response) => response,
            Self::Health(response) => return Err(response),
            Self::Undefined => LocalResponse::empty(403),
            Self::NotReady(_)
            | Self::Quarantined(_)
            | Self::UnknownPolicy(_)
            | Self::NoPolicyNamed
            | Self::ConfigurationRefused
            | Self::BadRequest(RequestError::NoRoom) => {
                let mut response = LocalResponse::empty(503);
                response.headers.push(("retry-after".to_owned(), RETRY_AFTER.to_owned()));
                response
            }
            Self::EvaluationFailed(_)
            | Self::MalformedDecision(_)
            | Self::BadRequest(RequestError::Unavailable(_)) => LocalResponse::empty(500),
            Self::BadRequest(RequestError::BodyTooLong) => LocalResponse::empty(413),
            Self::BadRequest(_) => LocalResponse::empty(400),
        };
        response.headers.push((REASON_HEADER.to_owned(), reason.to_owned()));
        Err(response)
    }
}

// === impl LocalResponse ===

impl LocalResponse {
    /// For a hostcall that failed although Envoy never fails it at this point: the request ends here.
    pub fn host_failed() -> Self {
        let headers = vec![(REASON_HEADER.to_owned(), "host_failed".to_owned())];
        Self { status: 500, headers, body: String::new() }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }
}
