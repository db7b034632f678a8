//! What a policy answered, in opa-envoy-plugin's forms: a boolean, or an object with `allowed`.
//!
//! Source: opa-envoy-plugin, `envoyauth/response.go`. An answer that breaks its rules is a malformed decision, never
//! an allow; on a deny only the fields of a deny are looked at, and the other way round.

use super::{
    head::RequestHead,
    mutation::{Direction, HeaderChange, headers, items, removed_name, rewrite_query, strings},
    outcome::{LocalResponse, Outcome},
    paths,
};
use crate::{
    config::Paths,
    hooks::{Check, checks},
    policy::{Value, field, string},
};

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
/// Those whose message ends with its headers: a client takes what follows for the next answer. Source: RFC 9110, 15.3.5,
/// 15.3.6, 15.4.5.
const WITHOUT_BODY: &[u16] = &[204, 205, 304];
/// Most headers, or parameters of the query, of a decision, and most bytes of them. Beyond 1024 headers or 1 MiB Envoy drops
/// all of a local response's without a word. Source: proxy-wasm-cpp-host, `limits.h`.
const MAX_HEADERS: usize = 256;
const MAX_HEADER_BYTES: usize = 64 << 10;

/// The right to let one request on, with what the decision wants changed about it.
///
/// INVARIANT (closed): made here alone, from an allow decision; the host lets a request on only against one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    request_changes: Vec<HeaderChange>,
    response_changes: Vec<HeaderChange>,
    dynamic_metadata: Option<Value>,
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
        /// As decided, if it has the form of one.
        status: String,
    },
    /// A header that must not be touched, or whose name is none.
    #[error("`{key}` of the decision names the header {name}, which cannot be set")]
    HeaderName {
        /// The field.
        key: &'static str,
        /// The header, if it can be shown.
        name: String,
    },
    /// A value that HTTP does not allow there.
    #[error("`{key}` of the decision gives header {name} a value that cannot be sent")]
    HeaderValue {
        /// The field.
        key: &'static str,
        /// The header, if it can be shown.
        name: String,
    },
    /// A path that servers read differently, where requests with such paths are refused.
    #[error("`headers` of the decision gives `:path` a value that has more than one reading")]
    AmbiguousPath,
    /// More than can be sent.
    #[error(
        "`{key}` of the decision has more than {MAX_HEADERS} entries or {MAX_HEADER_BYTES} bytes of them"
    )]
    TooMany {
        /// The field.
        key: &'static str,
    },
    /// Nobody would ask about where the request goes then.
    #[error(
        "the decision of policy `{sent_by}` has sent the request here, and this one would send it on; a request can be sent \
         to a route of another policy once"
    )]
    SentOn {
        /// The policy that changed the request before.
        sent_by: String,
    },
}

// === impl DecisionError ===

impl DecisionError {
    /// The same without a name that the policy has taken from the request: messages have nothing of those.
    fn without(mut self, head: &RequestHead) -> Self {
        if let Self::HeaderName { name, .. } | Self::HeaderValue { name, .. } = &mut self {
            let is_of_request = head.iter().any(|(_, value)| {
                let value = String::from_utf8_lossy(value).to_ascii_lowercase();
                !value.is_empty() && (value.contains(&*name) || name.contains(&value))
            });
            *name = if is_of_request { "of a name from the request".to_owned() } else { format!("`{name}`") };
        }
        self
    }
}

// === impl Permit ===

impl Permit {
    /// Changes to the request before it goes upstream, in order.
    pub fn request_changes(&self) -> &[HeaderChange] {
        &self.request_changes
    }

    /// Whether anything about a request is other than the decision wants it.
    pub fn changes(&self, head: &RequestHead) -> bool {
        self.request_changes.iter().any(|change| change.is_needed(head))
    }

    /// Changes to the response before it goes downstream, in order.
    pub fn response_changes(&self) -> &[HeaderChange] {
        &self.response_changes
    }

    /// JSON text of `dynamic_metadata`. A Wasm filter cannot write Envoy's dynamic metadata, so it becomes filter state.
    pub fn dynamic_metadata(&self) -> Option<String> {
        self.dynamic_metadata.as_ref().map(Value::to_json)
    }

    /// Whether the decision has dynamic metadata, in which its id stands too.
    pub(super) fn has_dynamic_metadata(&self) -> bool {
        self.dynamic_metadata.is_some()
    }

    /// Source: opa-envoy-plugin, `internal.go`, `check`: whatever the policy says there, the id is the decision's.
    pub(super) fn identify(&mut self, decision_id: &str) {
        if let Some(metadata) = self.dynamic_metadata.as_ref().and_then(Value::as_object) {
            let id = (Value::from("decision_id"), Value::from(decision_id));
            let pairs = metadata.iter().map(|(key, value)| (key.clone(), value.clone())).chain([id]);
            self.dynamic_metadata = Value::object(pairs.collect()).ok();
        }
    }

    fn plain() -> Self {
        Self { request_changes: Vec::new(), response_changes: Vec::new(), dynamic_metadata: None }
    }
}

/// Turns the policy's answer into the request's outcome.
pub(super) fn read(value: &Value, head: &RequestHead, paths: Paths) -> Outcome {
    match classify(value) {
        Ok(Kind::Allow) => Outcome::Allow(Permit::plain()),
        Ok(Kind::Deny) => Outcome::Deny(LocalResponse::empty(403)),
        Ok(Kind::AllowWith(fields)) => permit(fields, head, paths)
            .map_or_else(|error| Outcome::MalformedDecision(error.without(head)), Outcome::Allow),
        Ok(Kind::DenyWith(fields)) => denial(fields, head)
            .map_or_else(|error| Outcome::MalformedDecision(error.without(head)), Outcome::Deny),
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
    }
}

fn permit(fields: &Value, head: &RequestHead, paths: Paths) -> Result<Permit, DecisionError> {
    let mut request_changes = Vec::new();
    let (set, removed) =
        (field(fields, "query_parameters_to_set"), field(fields, "query_parameters_to_remove"));
    if set.is_some() || removed.is_some() {
        let set = set.map_or(Ok(Vec::new()), query_parameters)?;
        let removed =
            removed.map_or(Ok(Vec::new()), |names| string_array("query_parameters_to_remove", names))?;
        within("query_parameters_to_set", set.iter().map(|(name, value)| name.len() + value.len()))?;
        within("query_parameters_to_remove", removed.iter().map(String::len))?;
        request_changes.extend(
            path(head)
                .map(|path| HeaderChange::Replace(":path".to_owned(), rewrite_query(path, &set, &removed))),
        );
    }
    if let Some(value) = field(fields, "headers") {
        let set = headers("headers", value, Direction::Upstream)?;
        let is_ambiguous = |(name, path): &(String, String)| name == ":path" && !paths::is_plain(path);
        if paths == Paths::Strict && checks(Check::Path) && set.iter().any(is_ambiguous) {
            return Err(DecisionError::AmbiguousPath);
        }
        request_changes.extend(set.into_iter().map(|(name, value)| HeaderChange::Replace(name, value)));
    }
    // Envoy's ext_authz filter sets first and removes last: a header that is both is gone.
    if let Some(value) = field(fields, "request_headers_to_remove") {
        for name in string_array("request_headers_to_remove", value)? {
            request_changes
                .extend(removed_name("request_headers_to_remove", &name)?.map(HeaderChange::Remove));
        }
        within("request_headers_to_remove", request_changes.iter().map(HeaderChange::len))?;
    }
    let mut response_changes = Vec::new();
    if let Some(value) = field(fields, "response_headers_to_add") {
        let added = headers("response_headers_to_add", value, Direction::Downstream)?;
        response_changes.extend(added.into_iter().map(|(name, value)| HeaderChange::Add(name, value)));
    }
    let dynamic_metadata = match field(fields, "dynamic_metadata") {
        None => None,
        Some(metadata @ Value::Object(_)) => Some(metadata.clone()),
        Some(_) => {
            return Err(DecisionError::Type { key: "dynamic_metadata", expected: "an object" });
        }
    };
    Ok(Permit { request_changes, response_changes, dynamic_metadata })
}

fn denial(fields: &Value, head: &RequestHead) -> Result<LocalResponse, DecisionError> {
    let status = field(fields, "http_status").map_or(Ok(403), status)?;
    // To who has asked for a tunnel, every 2xx says that it is there.
    let is_tunnel = head.header(b":method") == Some(b"CONNECT") && (200..300).contains(&status);
    if is_tunnel && checks(Check::Body) {
        return Err(DecisionError::Status { status: status.to_string() });
    }
    let headers = field(fields, "headers")
        .map_or(Ok(Vec::new()), |value| headers("headers", value, Direction::Downstream))?;
    let has_no_body = WITHOUT_BODY.contains(&status) && checks(Check::Body);
    let body = match field(fields, "body") {
        None => String::new(),
        Some(Value::String(_)) if has_no_body => String::new(),
        Some(body) => {
            let text = string(body).ok_or(DecisionError::Type { key: "body", expected: "a string" })?;
            text.to_owned()
        }
    };
    Ok(LocalResponse { status, headers, body })
}

fn status(value: &Value) -> Result<u16, DecisionError> {
    let Value::Number(number) = value else {
        return Err(DecisionError::Type { key: "http_status", expected: "a number" });
    };
    let number = number.as_small().and_then(|number| u16::try_from(number).ok());
    let status = number.filter(|status| STATUSES.contains(status));
    // Another number may be the request's.
    let shown = || number.filter(|status| *status < 1000);
    status.ok_or_else(|| DecisionError::Status {
        status: shown().map_or_else(|| "a number".to_owned(), |status| status.to_string()),
    })
}

/// Refuses more than can be sent, or gone through for each request.
pub(super) fn within(
    key: &'static str,
    sizes: impl ExactSizeIterator<Item = usize>,
) -> Result<(), DecisionError> {
    if sizes.len() > MAX_HEADERS || sizes.sum::<usize>() > MAX_HEADER_BYTES {
        return Err(DecisionError::TooMany { key });
    }
    Ok(())
}

/// Lists keep their last value, as with opa-envoy-plugin.
fn query_parameters(value: &Value) -> Result<Vec<(String, String)>, DecisionError> {
    let key = "query_parameters_to_set";
    let Value::Object(object) = value else {
        return Err(DecisionError::Type { key, expected: "an object" });
    };
    let mut parameters = Vec::new();
    for (name, values) in object.iter() {
        let Some(name) = string(name) else {
            return Err(DecisionError::Type { key, expected: "an object with names as keys" });
        };
        parameters.extend(strings(key, values)?.last().map(|value| (name.to_owned(), (*value).to_owned())));
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
    std::str::from_utf8(head.header(b":path")?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::parse_json;

    fn decide(decision: &serde_json::Value, headers: &[(&str, &str)]) -> Outcome {
        let head: RequestHead = headers.iter().copied().collect();
        read(&parse_json(&decision.to_string()).unwrap(), &head, Paths::Strict)
    }

    #[test]
    fn messages_have_no_name_and_no_status_from_the_request() {
        let token = [("authorization", "S3cr3t"), (":path", "/")];
        for (decision, told) in [
            (
                json!({ "allowed": true, "headers": { "S3cr3t": "a\nb" } }),
                "header of a name from the request",
            ),
            (
                json!({ "allowed": true, "headers": { "x-S3cr3t y": "a" } }),
                "header of a name from the request",
            ),
            (json!({ "allowed": false, "headers": { "s3cr3t ": "a" } }), "header of a name from the request"),
            (json!({ "allowed": true, "headers": { "x-a": "S3cr3t\nb" } }), "header `x-a`"),
            (json!({ "allowed": true, "headers": { ":path": "S3cr3t" } }), "header `:path`"),
            (json!({ "allowed": false, "http_status": 123_456 }), "is a number, which"),
            (json!({ "allowed": false, "http_status": 418 }), "is 418, which"),
        ] {
            let Outcome::MalformedDecision(error) = decide(&decision, &token) else { panic!("{decision}") };
            let message = error.to_string();
            assert!(
                message.contains(told) && !message.to_ascii_lowercase().contains("s3cr3t"),
                "{decision}: {message}"
            );
        }
    }

    #[test]
    fn a_tunnel_is_not_opened_by_a_deny() {
        let decision = json!({ "allowed": false, "http_status": 200 });
        assert!(matches!(decide(&decision, &[(":method", "CONNECT")]), Outcome::MalformedDecision(_)));
        assert!(matches!(decide(&decision, &[(":method", "GET")]), Outcome::Deny(_)));
    }

    #[test]
    fn more_than_can_be_sent_is_malformed() {
        let many = |count: usize| {
            (0..count).map(|n| (format!("x-{n}"), json!("v"))).collect::<serde_json::Map<_, _>>()
        };
        let names = |count: usize| (0..count).map(|n| format!("x-{n}")).collect::<Vec<_>>();
        for (key, enough, too_much) in [
            ("headers", json!(many(256)), json!(many(257))),
            ("headers", json!({ "x": "v".repeat(1000) }), json!({ "x": "v".repeat(65_536) })),
            ("response_headers_to_add", json!(many(256)), json!(many(257))),
            ("request_headers_to_remove", json!(names(256)), json!(names(257))),
            ("query_parameters_to_set", json!(many(256)), json!(many(257))),
            ("query_parameters_to_remove", json!(names(256)), json!(names(257))),
        ] {
            let path = [(":path", "/a?b")];
            assert!(
                matches!(decide(&json!({ "allowed": true, key: enough }), &path), Outcome::Allow(_)),
                "{key}"
            );
            let outcome = decide(&json!({ "allowed": true, key: too_much }), &path);
            assert_eq!(outcome, Outcome::MalformedDecision(DecisionError::TooMany { key }), "{key}");
        }
        let denial = decide(&json!({ "allowed": false, "headers": many(257) }), &[]);
        assert_eq!(denial, Outcome::MalformedDecision(DecisionError::TooMany { key: "headers" }));
    }

    #[test]
    fn a_change_that_is_there_already_is_none() {
        let changes = |decision: serde_json::Value| {
            let headers = [("x-a", "b"), ("x-two", "1"), ("x-two", "2"), (":authority", "h")];
            let Outcome::Allow(permit) = decide(&decision, &headers) else { panic!("{decision}") };
            permit.changes(&headers.into_iter().collect())
        };
        assert!(!changes(json!(true)));
        assert!(!changes(
            json!({ "allowed": true, "headers": { "x-a": "b", "host": "h" }, "request_headers_to_remove": ["x-c"] })
        ));
        assert!(changes(json!({ "allowed": true, "headers": { "x-a": "c" } })));
        assert!(changes(json!({ "allowed": true, "headers": { "x-two": "1" } })), "two values become one");
        assert!(changes(json!({ "allowed": true, "headers": { "x-b": "b" } })));
        assert!(changes(json!({ "allowed": true, "request_headers_to_remove": ["x-a"] })));
    }
}
