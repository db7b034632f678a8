//! What a policy answered, in opa-envoy-plugin's forms: a boolean, or an object with `allowed`.
//!
//! Source: opa-envoy-plugin, `envoyauth/response.go`. An answer that breaks its rules is a malformed decision, never
//! an allow; on a deny only the fields of a deny are looked at, and the other way round.

use super::{
    mutation::{Direction, HeaderChange, header_name, headers, items, rewrite_query, strings},
    outcome::{LocalResponse, Outcome},
    request::RequestHead,
};
use crate::policy::{Value, field};

/// Filter state that a permitted request carries; Envoy's own name for it has `wasm.` before it.
pub const SEAL_KEY: &str = "portcullis.permit";
/// Its value.
pub const SEAL_VALUE: &str = "granted";

/// The statuses that Envoy's ext_authz filter can answer with.
/// Source: Envoy, `envoy/type/v3/http_status.proto`; 1xx are left out, because a client waits for ever after one.
const STATUSES: &[u16] = &[
    200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401, 402,
    403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 426, 428,
    429, 431, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];

/// The right to let one request on, with what the decision wants changed about it.
///
/// INVARIANT (closed): made here alone, from an allow decision; the host lets a request on only against one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    request_changes: Vec<HeaderChange>,
    response_changes: Vec<HeaderChange>,
    dynamic_metadata: Option<String>,
}

/// How a decision breaks opa-envoy-plugin's form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// Neither boolean nor object.
    #[error("the decision is {found}, not a boolean or an object with `allowed`")]
    Kind {
        /// What it is.
        found: &'static str,
    },
    /// An object that does not say.
    #[error("the decision is an object without `allowed`")]
    NoAllowed,
    /// A field of another type.
    #[error("`{key}` of the decision must be {expected}")]
    Type {
        /// The field.
        key: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A status that cannot be answered with.
    #[error("`http_status` of the decision is {status}, which Envoy cannot answer with")]
    Status {
        /// As decided.
        status: String,
    },
    /// A header that must not be touched, or whose name is none.
    #[error("`{key}` of the decision names the header `{name}`, which cannot be set")]
    HeaderName {
        /// The field.
        key: &'static str,
        /// The header.
        name: String,
    },
    /// A value that would end the header.
    #[error("`{key}` of the decision gives header `{name}` a value that cannot be sent")]
    HeaderValue {
        /// The field.
        key: &'static str,
        /// The header.
        name: String,
    },
}

// === impl Permit ===

impl Permit {
    /// Changes to the request before it goes upstream, in order.
    pub fn request_changes(&self) -> &[HeaderChange] {
        &self.request_changes
    }

    /// Changes to the response before it goes downstream, in order.
    pub fn response_changes(&self) -> &[HeaderChange] {
        &self.response_changes
    }

    /// JSON text of `dynamic_metadata`. A Wasm filter cannot write Envoy's dynamic metadata, so it becomes filter state.
    pub fn dynamic_metadata(&self) -> Option<&str> {
        self.dynamic_metadata.as_deref()
    }

    fn plain() -> Self {
        Self { request_changes: Vec::new(), response_changes: Vec::new(), dynamic_metadata: None }
    }
}

/// Turns the policy's answer into the request's outcome.
pub(super) fn read(value: &Value, head: &RequestHead) -> Outcome {
    match classify(value) {
        Ok(Kind::Allow) => Outcome::Allow(Permit::plain()),
        Ok(Kind::Deny) => Outcome::Deny(LocalResponse::empty(403)),
        Ok(Kind::AllowWith(fields)) => {
            permit(fields, head).map_or_else(Outcome::MalformedDecision, Outcome::Allow)
        }
        Ok(Kind::DenyWith(fields)) => denial(fields).map_or_else(Outcome::MalformedDecision, Outcome::Deny),
        Err(error) => Outcome::MalformedDecision(error),
    }
}

enum Kind<'a> {
    Allow,
    Deny,
    AllowWith(&'a Value),
    DenyWith(&'a Value),
}

fn classify(value: &Value) -> Result<Kind<'_>, DecisionError> {
    match value {
        Value::Bool(true) => Ok(Kind::Allow),
        Value::Bool(false) => Ok(Kind::Deny),
        Value::Object(_) => match field(value, "allowed") {
            Some(Value::Bool(true)) => Ok(Kind::AllowWith(value)),
            Some(Value::Bool(false)) => Ok(Kind::DenyWith(value)),
            Some(_) => Err(DecisionError::Type { key: "allowed", expected: "a boolean" }),
            None => Err(DecisionError::NoAllowed),
        },
        Value::Null => Err(DecisionError::Kind { found: "null" }),
        Value::Number(_) => Err(DecisionError::Kind { found: "a number" }),
        Value::String(_) => Err(DecisionError::Kind { found: "a string" }),
        Value::Array(_) => Err(DecisionError::Kind { found: "an array" }),
        Value::Set(_) => Err(DecisionError::Kind { found: "a set" }),
        Value::Undefined => Err(DecisionError::Kind { found: "undefined" }),
    }
}

fn permit(fields: &Value, head: &RequestHead) -> Result<Permit, DecisionError> {
    let mut request_changes = Vec::new();
    let (set, removed) =
        (field(fields, "query_parameters_to_set"), field(fields, "query_parameters_to_remove"));
    if set.is_some() || removed.is_some() {
        let set = set.map_or(Ok(Vec::new()), query_parameters)?;
        let removed =
            removed.map_or(Ok(Vec::new()), |names| string_array("query_parameters_to_remove", names))?;
        request_changes.extend(
            path(head)
                .map(|path| HeaderChange::Replace(":path".to_owned(), rewrite_query(path, &set, &removed))),
        );
    }
    if let Some(value) = field(fields, "headers") {
        let set = headers("headers", value, Direction::Upstream)?;
        request_changes.extend(set.into_iter().map(|(name, value)| HeaderChange::Replace(name, value)));
    }
    // Envoy's ext_authz filter sets first and removes last: a header that is both is gone.
    if let Some(value) = field(fields, "request_headers_to_remove") {
        for name in string_array("request_headers_to_remove", value)? {
            let name = header_name("request_headers_to_remove", &name, Direction::Downstream)?;
            request_changes.push(HeaderChange::Remove(name));
        }
    }
    let mut response_changes = Vec::new();
    if let Some(value) = field(fields, "response_headers_to_add") {
        let added = headers("response_headers_to_add", value, Direction::Downstream)?;
        response_changes.extend(added.into_iter().map(|(name, value)| HeaderChange::Add(name, value)));
    }
    let dynamic_metadata = match field(fields, "dynamic_metadata") {
        None => None,
        Some(metadata @ Value::Object(_)) => serde_json::to_string(metadata).ok(),
        Some(_) => {
            return Err(DecisionError::Type { key: "dynamic_metadata", expected: "an object" });
        }
    };
    Ok(Permit { request_changes, response_changes, dynamic_metadata })
}

fn denial(fields: &Value) -> Result<LocalResponse, DecisionError> {
    let status = field(fields, "http_status").map_or(Ok(403), status)?;
    let headers = field(fields, "headers")
        .map_or(Ok(Vec::new()), |value| headers("headers", value, Direction::Downstream))?;
    let body = match field(fields, "body") {
        None => String::new(),
        Some(Value::String(body)) => body.to_string(),
        Some(_) => {
            return Err(DecisionError::Type { key: "body", expected: "a string" });
        }
    };
    Ok(LocalResponse { status, headers, body })
}

fn status(value: &Value) -> Result<u16, DecisionError> {
    let Value::Number(_) = value else {
        return Err(DecisionError::Type { key: "http_status", expected: "a number" });
    };
    let status = value.as_u16().ok().filter(|status| STATUSES.contains(status));
    status.ok_or_else(|| DecisionError::Status { status: value.to_string() })
}

/// Lists keep their last value, as with opa-envoy-plugin.
fn query_parameters(value: &Value) -> Result<Vec<(String, String)>, DecisionError> {
    let key = "query_parameters_to_set";
    let Value::Object(object) = value else {
        return Err(DecisionError::Type { key, expected: "an object" });
    };
    let mut parameters = Vec::new();
    for (name, values) in object.iter_sorted() {
        let Value::String(name) = name else {
            return Err(DecisionError::Type { key, expected: "an object with names as keys" });
        };
        parameters.extend(strings(key, values)?.last().map(|value| (name.to_string(), (*value).to_owned())));
    }
    Ok(parameters)
}

fn string_array(key: &'static str, value: &Value) -> Result<Vec<String>, DecisionError> {
    match items(value) {
        Some(_) => Ok(strings(key, value)?.into_iter().map(str::to_owned).collect()),
        None => Err(DecisionError::Type { key, expected: "an array of strings" }),
    }
}

fn path(head: &RequestHead) -> Option<&str> {
    let (_, value) = head.headers.iter().find(|(name, _)| name == b":path")?;
    std::str::from_utf8(value).ok()
}
