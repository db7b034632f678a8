//! The body of a request: how much of it is waited for, and what a policy is given of it.
//!
//! Source: opa-envoy-plugin, `envoyauth/request.go` (`getParsedBody`). A body that is of its media type and cannot be read is
//! refused, and so is one that is longer than may be held, unless the policy asks for `truncated_body`.

use super::{
    head::RequestHead,
    multipart::{self, MediaType},
    request::{RequestError, parse_pairs},
};
use crate::policy::{InputField, InputFields, Value, array, object, parse_body};

/// What requests may bring behind their headers, for policies that read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Of one request.
    pub max_bytes: usize,
    /// Of all requests that one VM waits with.
    pub in_flight_bytes: usize,
}

/// How far the body of a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More may come.
    Awaited,
    /// This is all.
    Ended,
    /// It is longer than may be held.
    TooLong,
    /// There is no room for it beside those of other requests.
    NoRoom,
}

/// That a policy has to wait for the body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwaitsBody;

/// What a policy is given of a body.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    is_truncated: bool,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { max_bytes: 64 << 10, in_flight_bytes: 16 << 20 }
    }
}

impl Body {
    /// The body that a policy is given which reads `fields`; an empty one where it reads nothing of it, or where bodies are off.
    ///
    /// Errors: a body that the policy must not be asked about.
    pub(super) fn of(
        fields: &InputFields,
        limits: Option<BodyLimits>,
        head: &RequestHead,
        progress: Progress,
        bytes: impl FnOnce(usize) -> Option<Vec<u8>>,
    ) -> Result<Result<Self, RequestError>, AwaitsBody> {
        let Some(limits) = limits.filter(|_| fields.has_body()) else { return Ok(Ok(Self::default())) };
        let takes_part = fields.has(InputField::TruncatedBody);
        let is_truncated = match progress {
            Progress::NoRoom => return Ok(Err(RequestError::NoRoom)),
            Progress::Ended => false,
            Progress::Awaited => match before_it_comes(head, limits.max_bytes) {
                Coming::Body => return Err(AwaitsBody),
                Coming::None => return Ok(Ok(Self::default())),
                Coming::TooLong if takes_part => return Err(AwaitsBody),
                Coming::TooLong => true,
                Coming::Tunnel => return Ok(Err(RequestError::Tunnel)),
            },
            Progress::TooLong => true,
        };
        if is_truncated && !takes_part {
            return Ok(Err(RequestError::BodyTooLong));
        }
        let Some(bytes) = bytes(limits.max_bytes) else {
            return Ok(Err(RequestError::Body("cannot be had")));
        };
        Ok(Ok(Self { bytes, is_truncated }))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// As text. Of one that was cut off, up to its last whole character.
    pub(super) fn text(&self) -> Result<&str, RequestError> {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => Ok(text),
            Err(error) if self.is_truncated && error.error_len().is_none() => {
                let whole = self.bytes.get(..error.valid_up_to()).unwrap_or_default();
                Ok(std::str::from_utf8(whole).unwrap_or_default())
            }
            Err(_) => Err(RequestError::Body("is not UTF-8")),
        }
    }

    /// What its media type makes of it; null where that is none which is read here, and where it is empty or cut off.
    pub(super) fn parsed(&self, content_type: Option<&str>) -> Result<Value, RequestError> {
        let Some(content_type) = content_type else { return Ok(Value::Null) };
        if self.is_truncated || self.bytes.is_empty() {
            return Ok(Value::Null);
        }
        let folded = content_type.to_ascii_lowercase();
        let essence = folded.split(';').next().unwrap_or_default().trim();
        if folded.contains("application/json") || essence.ends_with("+json") {
            parse_body(&self.bytes).map_err(|_| RequestError::Body("is not JSON"))
        } else if folded.contains("application/grpc") {
            Ok(Value::Null)
        } else if folded.contains("application/x-www-form-urlencoded") {
            let pairs = parse_pairs(self.text()?);
            Ok(values(pairs.ok_or(RequestError::Body("is not a form"))?, |text| {
                Ok(Value::from(text.as_str()))
            })?)
        } else if folded.contains("multipart/form-data") {
            self.multipart(content_type)
        } else {
            Ok(Value::Null)
        }
    }

    fn multipart(&self, content_type: &str) -> Result<Value, RequestError> {
        let refused = RequestError::Body("is not a multipart form");
        let media_type = MediaType::parse(content_type).ok_or_else(|| refused.clone())?;
        let Some(boundary) = media_type.parameter("boundary") else { return Ok(Value::Null) };
        let parts = multipart::parts(&self.bytes, boundary.as_bytes()).ok_or_else(|| refused.clone())?;
        let mut pairs = Vec::new();
        for part in parts {
            let Some(name) = part.form_name().ok_or_else(|| refused.clone())? else { continue };
            pairs.push((name, part));
        }
        values(pairs, |part| {
            if part.content_type().contains("application/json") {
                return parse_body(part.content)
                    .map_err(|_| RequestError::Body("has a part that is not JSON"));
            }
            let text = std::str::from_utf8(part.content);
            Ok(Value::from(text.map_err(|_| RequestError::Body("has a part that is not UTF-8"))?))
        })
    }
}

/// What the headers say of a body that has not come.
enum Coming {
    Body,
    None,
    TooLong,
    /// What follows is not of this request, and says that it is.
    Tunnel,
}

/// Envoy does not say that a request is over which asks for another protocol: what follows its headers is no body.
fn before_it_comes(head: &RequestHead, max_bytes: usize) -> Coming {
    let length = head.header(b"content-length");
    let is_connect = head.header(b":method") == Some(b"CONNECT");
    if is_connect || head.header(b"upgrade").is_some() {
        let has_body =
            length.is_some_and(|length| length != b"0") || head.header(b"transfer-encoding").is_some();
        let is_asked_for = is_connect || head.header(b":method") == Some(b"GET");
        return if is_asked_for && !has_body { Coming::None } else { Coming::Tunnel };
    }
    let length = length.and_then(|length| std::str::from_utf8(length).ok()?.parse::<u64>().ok());
    let is_too_long = length.is_some_and(|length| {
        usize::try_from(length).is_ok_and(|length| length > max_bytes) || usize::try_from(length).is_err()
    });
    if is_too_long { Coming::TooLong } else { Coming::Body }
}

/// All values of each name, in order of appearance.
pub(super) fn values<T>(
    mut pairs: Vec<(String, T)>,
    value: impl Fn(&T) -> Result<Value, RequestError>,
) -> Result<Value, RequestError> {
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut fields = Vec::new();
    for same in pairs.chunk_by(|(one, _), (other, _)| one == other) {
        let values: Result<Vec<Value>, RequestError> = same.iter().map(|(_, of)| value(of)).collect();
        if let Some((name, _)) = same.first() {
            fields.push((name.as_str(), array(values?)));
        }
    }
    Ok(object(fields))
}
