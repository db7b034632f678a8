//! Changes to headers and query that a decision asks for, checked so that no later codec can trip over them.

use crate::{
    config::is_token,
    hooks::{Check, checks},
    policy::{Value, string},
};

use super::{
    decision::{DecisionError, within},
    grammar,
    head::RequestHead,
    outcome::REASON_HEADER,
};

/// One change to a header map, applied in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderChange {
    /// One value in place of all there are.
    Replace(String, String),
    /// One more value.
    Add(String, String),
    /// No value.
    Remove(String),
}

// === impl HeaderChange ===

impl HeaderChange {
    /// Whether a request does not have it already.
    pub(super) fn is_needed(&self, head: &RequestHead) -> bool {
        let values = |wanted: &str| {
            let named = head.iter().filter(|(name, _)| *name == wanted.as_bytes());
            named.map(|(_, value)| value).collect::<Vec<_>>()
        };
        match self {
            Self::Replace(name, value) => values(name) != [value.as_bytes()],
            Self::Add(..) => true,
            Self::Remove(name) => !values(name).is_empty(),
        }
    }

    /// Bytes of name and value.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Replace(name, value) | Self::Add(name, value) => name.len() + value.len(),
            Self::Remove(name) => name.len(),
        }
    }
}

/// Headers of one connection, and those whose value Envoy's codecs derive themselves; set by a policy they break the
/// message. Source: RFC 9113, 8.2.2.
const FRAMING: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
];
/// To Envoy the one is the other.
const HOST: &str = "host";
const AUTHORITY: &str = ":authority";
/// Pseudo-headers of a request that a policy may set, as with opa-envoy-plugin.
const SETTABLE_PSEUDO: &[&str] = &[":path", ":method", AUTHORITY, ":scheme"];

/// Where headers are going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Upstream,
    Downstream,
}

/// Reads `headers` and its kin: an object, or an array of objects, of strings or arrays of strings.
///
/// Source: opa-envoy-plugin, `envoyauth/response.go`, `transformToHTTPHeaderFormat`.
pub(super) fn headers(
    key: &'static str,
    value: &Value,
    direction: Direction,
) -> Result<Vec<(String, String)>, DecisionError> {
    let mut found = Vec::new();
    for object in items(value).unwrap_or_else(|| vec![value]) {
        collect(key, object, direction, &mut found)?;
    }
    within(key, found.iter().map(|(name, value)| name.len() + value.len()))?;
    Ok(found)
}

fn collect(
    key: &'static str,
    object: &Value,
    direction: Direction,
    found: &mut Vec<(String, String)>,
) -> Result<(), DecisionError> {
    let Value::Object(object) = object else {
        return Err(DecisionError::Type { key, expected: "an object, or an array of objects" });
    };
    for (name, values) in object.iter() {
        let Some(name) = string(name) else {
            return Err(DecisionError::Type { key, expected: "an object with names as keys" });
        };
        let name = header_name(key, name, direction)?;
        for value in strings(key, values)? {
            found.push((name.clone(), header_value(key, &name, value)?));
        }
    }
    Ok(())
}

/// A string, or an array of strings.
pub(super) fn strings<'a>(key: &'static str, value: &'a Value) -> Result<Vec<&'a str>, DecisionError> {
    match value {
        Value::String(_) => string(value).map(|text| vec![text]),
        value => items(value).and_then(|items| items.into_iter().map(string).collect::<Option<_>>()),
    }
    .ok_or(DecisionError::Type { key, expected: "a string, or an array of strings" })
}

/// Elements of an array, or of a set in its order: JSON, in which OPA hands decisions on, has no sets.
pub(super) fn items(value: &Value) -> Option<Vec<&Value>> {
    match value {
        Value::Array(items) => Some(items.iter().collect()),
        Value::Set(items) => Some(items.iter().collect()),
        _ => None,
    }
}

fn header_name(key: &'static str, name: &str, direction: Direction) -> Result<String, DecisionError> {
    let lower = name.to_ascii_lowercase();
    let settable = match lower.strip_prefix(':') {
        Some(_) => direction == Direction::Upstream && SETTABLE_PSEUDO.contains(&lower.as_str()),
        None => {
            let is_ours = direction == Direction::Downstream && lower == REASON_HEADER;
            !checks(Check::Header) || is_token(&lower) && !FRAMING.contains(&lower.as_str()) && !is_ours
        }
    };
    match lower.as_str() {
        _ if !settable => Err(DecisionError::HeaderName { key, name: shown(&lower) }),
        HOST if direction == Direction::Upstream => Ok(AUTHORITY.to_owned()),
        _ => Ok(lower),
    }
}

/// The name of a header to remove. None for what a request cannot be without, which Envoy's ext_authz filter keeps too.
pub(super) fn removed_name(key: &'static str, name: &str) -> Result<Option<String>, DecisionError> {
    let is_kept = name.starts_with(':') || name.eq_ignore_ascii_case(HOST);
    if is_kept { Ok(None) } else { header_name(key, name, Direction::Upstream).map(Some) }
}

fn header_value(key: &'static str, name: &str, value: &str) -> Result<String, DecisionError> {
    let is_pseudo = match name {
        ":path" => Some(grammar::is_origin_form(value)),
        ":method" => Some(grammar::is_method(value)),
        AUTHORITY => Some(grammar::is_authority(value)),
        ":scheme" => Some(grammar::is_scheme(value)),
        _ => None,
    };
    let check = if is_pseudo.is_some() { Check::PseudoHeader } else { Check::Header };
    if !checks(check) {
        return Ok(value.to_owned());
    }
    let sent = match is_pseudo {
        Some(is_allowed) => is_allowed.then_some(value),
        None => grammar::field_value(value),
    };
    sent.map(str::to_owned).ok_or_else(|| DecisionError::HeaderValue { key, name: shown(name) })
}

/// The path with query parameters set first, removed then and sorted by name, as Envoy's ext_authz filter does it.
///
/// Values are encoded: put in raw, as opa-envoy-plugin's are, `a&b=c` would become a parameter of its own.
pub(super) fn rewrite_query(path: &str, set: &[(String, String)], remove: &[String]) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let key_of = |pair: &str| {
        let (key, _) = url::form_urlencoded::parse(pair.as_bytes()).next().unwrap_or_default();
        key.into_owned()
    };
    let removed = |key: &str| remove.iter().any(|name| name == key);
    let kept = query.split('&').filter(|pair| !pair.is_empty()).filter(|pair| {
        let key = key_of(pair);
        !removed(&key) && !set.iter().any(|(name, _)| *name == key)
    });
    let mut pairs: Vec<String> = kept.map(str::to_owned).collect();
    for (name, value) in set.iter().filter(|(name, _)| !removed(name)) {
        let mut pair = url::form_urlencoded::Serializer::new(String::new());
        pairs.push(pair.append_pair(name, value).finish());
    }
    pairs.sort_by_key(|pair| key_of(pair));
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// A name in a message: bounded, and with nothing that would break a log line.
fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_set_encoded_and_removed_last() {
        let set = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(rewrite_query("/a?x=1&y=%20&x=2", &set(&[("x", "3")]), &[]), "/a?x=3&y=%20");
        assert_eq!(rewrite_query("/a", &set(&[("x", "a&b=c")]), &[]), "/a?x=a%26b%3Dc");
        assert_eq!(rewrite_query("/a?x=1", &[], &["x".to_owned()]), "/a");
        assert_eq!(
            rewrite_query("/a?%78=1&z", &set(&[("q", "1")]), &["x".to_owned(), "q".to_owned()]),
            "/a?z"
        );
    }
}
