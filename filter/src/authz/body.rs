//! The body of a request: how much of it is waited for, and what a policy is given of it.
//!
//! Source: opa-envoy-plugin, `envoyauth/request.go` (`getParsedBody`). A body that is of its media type and cannot be read is
//! refused, and so is one that is longer than may be held, unless the policy asks for `truncated_body`.

use super::{
    head::RequestHead,
    multipart::{self, MediaType},
    request::{Asked, RequestError, parse_pairs},
};
use crate::{
    hooks::{Check, checks},
    policy::{Value, array, object, parse_body},
};

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
    extent: Extent,
}

/// How much of a body is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Extent {
    /// All of it, or there is none.
    #[default]
    Whole,
    /// Its beginning.
    Beginning,
    /// Nothing: bodies are off, and there is one.
    Nothing,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { max_bytes: 64 << 10, in_flight_bytes: 16 << 20 }
    }
}

impl Body {
    /// The body that a policy is given; an empty one where it reads nothing of it.
    ///
    /// Errors: a body that the policy must not be asked about.
    pub(super) fn of(
        Asked { fields, config }: &Asked<'_>,
        head: &RequestHead,
        progress: Progress,
        bytes: impl FnOnce(usize) -> Option<Vec<u8>>,
    ) -> Result<Result<Self, RequestError>, AwaitsBody> {
        if !fields.has_body() {
            return Ok(Ok(Self::default()));
        }
        let Some(limits) = config.body else {
            let extent = if progress == Progress::Ended { Extent::Whole } else { Extent::Nothing };
            return Ok(Ok(Self { bytes: Vec::new(), extent }));
        };
        if progress == Progress::Awaited && !checks(Check::BodyEnd) {
            return Ok(Ok(Self::default()));
        }
        let takes_part = fields.takes_part_of_body();
        let is_truncated = match progress {
            Progress::NoRoom => return Ok(Err(RequestError::NoRoom)),
            Progress::Ended => false,
            Progress::Awaited => match before_it_comes(head, limits.max_bytes) {
                Coming::Body => return Err(AwaitsBody),
                Coming::None => return Ok(Ok(Self::default())),
                Coming::TooLong if takes_part => return Err(AwaitsBody),
                Coming::TooLong => true,
                Coming::Tunnel if !checks(Check::Tunnel) => return Ok(Ok(Self::default())),
                Coming::Tunnel => return Ok(Err(RequestError::Tunnel)),
            },
            Progress::TooLong => true,
        };
        if is_truncated && !checks(Check::BodyLength) {
            return Ok(Ok(Self::default()));
        }
        if is_truncated && !takes_part {
            return Ok(Err(RequestError::BodyTooLong));
        }
        let Some(bytes) = bytes(limits.max_bytes) else {
            return Ok(Err(RequestError::Body("cannot be had")));
        };
        let extent = if is_truncated { Extent::Beginning } else { Extent::Whole };
        Ok(Ok(Self { bytes, extent }))
    }

    /// One that has come to its end.
    pub(super) fn whole(bytes: Vec<u8>) -> Self {
        Self { bytes, extent: Extent::Whole }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it is cut off; none where it is not read.
    pub(super) fn is_truncated(&self) -> Option<bool> {
        (self.extent != Extent::Nothing).then_some(self.extent == Extent::Beginning)
    }

    /// What Envoy's header says of one that is sent to an authorization service.
    pub(super) fn is_partial(&self) -> Option<bool> {
        self.is_truncated().filter(|_| !self.bytes.is_empty())
    }

    /// As text. Of one that was cut off, up to its last whole character.
    pub(super) fn text(&self) -> Result<&str, RequestError> {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => Ok(text),
            Err(error) if self.extent == Extent::Beginning && error.error_len().is_none() => {
                let whole = self.bytes.get(..error.valid_up_to()).unwrap_or_default();
                Ok(std::str::from_utf8(whole).unwrap_or_default())
            }
            Err(_) => Err(RequestError::Body("is not UTF-8")),
        }
    }

    /// What its media type makes of it; null where that is none which is read here, and where it is empty or cut off. None where
    /// it is not read.
    pub(super) fn parsed(&self, content_type: Option<&str>) -> Result<Option<Value>, RequestError> {
        match (self.extent, content_type) {
            (Extent::Nothing, _) => Ok(None),
            (Extent::Whole, Some(content_type)) if !self.bytes.is_empty() => {
                self.by_type(content_type).map(Some)
            }
            _ => Ok(Some(Value::Null)),
        }
    }

    fn by_type(&self, content_type: &str) -> Result<Value, RequestError> {
        let folded = content_type.to_ascii_lowercase();
        let essence = folded.split(';').next().unwrap_or_default().trim();
        if folded.contains("application/json") || essence.ends_with("+json") {
            parse_body(&self.bytes).map_err(|_| RequestError::Body("is not JSON"))
        } else if folded.contains("application/grpc") {
            Ok(Value::Null)
        } else if folded.contains("application/x-www-form-urlencoded") {
            let pairs = parse_pairs(self.text()?);
            values(pairs.ok_or(RequestError::Body("is not a form"))?, |text| Ok(Value::from(text.as_str())))
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
    // As Envoy tells: `upgrade` alone asks for nothing, and what follows is a body.
    let connection = head.header(b"connection").unwrap_or_default().to_ascii_lowercase();
    let is_upgrade = head.header(b"upgrade").is_some()
        && connection.split(|byte| *byte == b',').any(|token| token.trim_ascii() == b"upgrade");
    if is_connect || is_upgrade {
        let has_body =
            length.is_some_and(|length| length != b"0") || head.header(b"transfer-encoding").is_some();
        let is_asked_for = is_connect || head.header(b":method") == Some(b"GET");
        return if is_asked_for && !has_body { Coming::None } else { Coming::Tunnel };
    }
    let length = length.and_then(|length| std::str::from_utf8(length).ok()?.parse::<u64>().ok());
    let is_too_long = length.is_some_and(|length| length > u64::try_from(max_bytes).unwrap_or(u64::MAX));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::InputConfig, policy::InputFields};

    fn parsed(content_type: &str, body: &str) -> String {
        let content_type = Some(content_type).filter(|text| !text.is_empty());
        match Body::whole(body.as_bytes().to_vec()).parsed(content_type) {
            Ok(value) => value.expect("it is read").to_json(),
            Err(_) => "refused".to_owned(),
        }
    }

    #[test]
    fn a_body_is_parsed_as_opa_envoy_plugin_parses_it() {
        // Content type, body, and what opa-envoy-plugin 1.15.2 makes of it.
        for (content_type, body, expected) in [
            ("application/json", "{\"a\": 1, \"a\": 2}", "{\"a\":2}"),
            ("application/json", "{\"a\":1} x", "refused"),
            ("application/json", "{\"a\":", "refused"),
            ("application/json", "  ", "refused"),
            ("application/json", "null", "null"),
            ("application/json", "1e400", "1e400"),
            ("application/json", "\"\\ud800\"", "\"�\""),
            ("application/json", "[1.0, 1e2, 12345678901234567890]", "[1.0,1e2,12345678901234567890]"),
            ("application/json; charset=utf-8", "[]", "[]"),
            ("text/plain; was=application/json", "{\"a\":1}", "{\"a\":1}"),
            ("text/plain", "a=1", "null"),
            ("", "{\"a\":1}", "null"),
            (
                "application/x-www-form-urlencoded",
                "a=1&a=2&b&=c&d=%20+x",
                "{\"\":[\"c\"],\"a\":[\"1\",\"2\"],\"b\":[\"\"],\"d\":[\"  x\"]}",
            ),
            ("application/x-www-form-urlencoded", "a=1;b=2", "refused"),
            ("application/x-www-form-urlencoded", "a=%zz", "refused"),
            ("application/x-www-form-urlencoded; charset=utf-8", "&&", "{}"),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--X--\r\n",
                "{\"a\":[\"b\"]}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nc\r\n--X\r\nContent-Disposition: form-data; name=\"d\"\r\n\r\n\r\n--X--\r\n",
                "{\"a\":[\"b\",\"c\"],\"d\":[\"\"]}",
            ),
            ("multipart/form-data; boundary=X", "--X--", "{}"),
            ("multipart/form-data; boundary=X", "", "null"),
            ("multipart/form-data; boundary=X", "--X--\r\n", "{}"),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--X-- \t\r\nepilogue",
                "{\"a\":[\"b\"]}",
            ),
            (
                "multipart/form-data; boundary=X",
                "preamble\r\n\r\n--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--X--\r\n",
                "{\"a\":[\"b\"]}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n",
                "refused",
            ),
            ("multipart/form-data; boundary=X", "no boundary at all", "refused"),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: application/json\r\n\r\n{\"x\": [1]}\r\n--X--\r\n",
                "{\"a\":[{\"x\":[1]}]}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\ncontent-type: application/json; charset=utf-8\r\n\r\n{\r\n--X--\r\n",
                "refused",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: Application/JSON\r\n\r\n{\"x\": 1}\r\n--X--\r\n",
                "{\"a\":[\"{\\\"x\\\": 1}\"]}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\n\r\nfile\r\n--X--\r\n",
                "{\"a\":[\"file\"]}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\nx\r\n--X--\r\n",
                "{}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data\r\n\r\nx\r\n--X--\r\n",
                "{}",
            ),
            ("multipart/form-data; boundary=X", "--X\r\nX-A: 1\r\n\r\nx\r\n--X--\r\n", "{}"),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--X--\r\n",
                "{\"a\":[\"x\"]}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\ncontent-disposition: FORM-DATA; NAME=\"a\"\r\n\r\nx\r\n--X--\r\n",
                "{\"a\":[\"x\"]}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\\\"b\"\r\n\r\nx\r\n--X--\r\n",
                "{\"a\\\"b\":[\"x\"]}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\\b\"\r\n\r\nx\r\n--X--\r\n",
                "{\"a\\\\b\":[\"x\"]}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\nA\r\n--X--\r\n",
                "{\"a\":[\"A\"]}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n--X is inside\r\n--X--\r\n",
                "refused",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--\r\n--X--\r\n",
                "{\"a\":[\"b\\r\\n--\"]}",
            ),
            (
                "multipart/form-data; boundary=\"X\"",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--X--\r\n",
                "{\"a\":[\"b\"]}",
            ),
            (
                "multipart/form-data",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--X--\r\n",
                "null",
            ),
            (
                "multipart/form-data; boundary=",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--X--\r\n",
                "refused",
            ),
            (
                "multipart/form-data; boundary=Y",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--X--\r\n",
                "refused",
            ),
            (
                "multipart/form-data; BOUNDARY=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--X--\r\n",
                "{\"a\":[\"b\"]}",
            ),
            (
                "multipart/form-data; charset=utf-8; boundary=X; x=1",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--X--\r\n",
                "{\"a\":[\"b\"]}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"é\"\r\n\r\nü\r\n--X--\r\n",
                "{\"é\":[\"ü\"]}",
            ),
            ("multipart/form-data; boundary=X", "--X\r\n\r\nbody\r\n--X--\r\n", "{}"),
            ("multipart/form-data; boundary=X", "--X\r\nbad header\r\n\r\nbody\r\n--X--\r\n", "refused"),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"\"\r\n\r\nb\r\n--X--\r\n",
                "{}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--X junk\r\n",
                "refused",
            ),
            ("application/grpc", "\0\0\0\0\0", "null"),
        ] {
            assert_eq!(parsed(content_type, body), expected, "{content_type} {body}");
        }
    }

    #[test]
    fn a_media_type_may_be_written_in_any_case_and_what_has_more_than_one_reading_is_refused() {
        for (content_type, body, plugins, ours) in [
            ("Application/JSON", "{\"a\":1}", "null", "{\"a\":1}"),
            ("application/problem+json", "{\"a\":1}", "null", "{\"a\":1}"),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"; name=\"b\"\r\n\r\nx\r\n--X--\r\n",
                "{}",
                "refused",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=41\r\n--X--\r\n",
                "{\"a\":[\"A\"]}",
                "refused",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==\r\n--X--\r\n",
                "{\"a\":[\"QQ==\"]}",
                "refused",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--Xtra\r\nc\r\n--X--\r\n",
                "{\"a\":[\"b\\r\\n--Xtra\\r\\nc\"]}",
                "refused",
            ),
            (
                "Multipart/Form-Data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--X--\r\n",
                "null",
                "{\"a\":[\"b\"]}",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\nContent-Disposition: form-data; name=\"a\"\n\nb\n--X--\n",
                "{\"a\":[\"b\"]}",
                "refused",
            ),
            (
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name*=utf-8''a\r\n\r\nx\r\n--X--\r\n",
                "{\"a\":[\"x\"]}",
                "refused",
            ),
        ] {
            assert_ne!(plugins, ours);
            assert_eq!(parsed(content_type, body), ours, "{content_type} {body}");
        }
    }

    #[test]
    fn a_body_is_waited_for_by_what_the_headers_say() {
        let limits = BodyLimits { max_bytes: 10, in_flight_bytes: 20 };
        let of = |fields: &InputFields, progress: Progress, headers: &[(&str, &str)]| {
            let head: RequestHead = headers.iter().copied().collect();
            let config = InputConfig { body: Some(limits), ..InputConfig::default() };
            Body::of(&Asked { fields, config: &config }, &head, progress, |most| {
                Some(b"0123456789abc".iter().copied().take(most).collect())
            })
        };
        let all = InputFields::all();
        let parsed_alone = InputFields::of_body_alone();
        let post = [(":method", "POST"), ("content-length", "5")];
        assert_eq!(of(&all, Progress::Awaited, &post).err(), Some(AwaitsBody));
        // Who asks whether it is cut off is given what fits, whatever is announced.
        for length in ["11", "99999999999999999999", "18446744073709551615"] {
            let long = [(":method", "POST"), ("content-length", length)];
            assert_eq!(of(&all, Progress::Awaited, &long).err(), Some(AwaitsBody), "{length}");
        }
        let long = [(":method", "POST"), ("content-length", "11")];
        assert_eq!(
            of(&parsed_alone, Progress::Awaited, &long).unwrap().err(),
            Some(RequestError::BodyTooLong)
        );
        let body = of(&all, Progress::TooLong, &post).unwrap().unwrap();
        assert!(body.is_truncated() == Some(true) && body.bytes() == b"0123456789");
        assert_eq!(body.parsed(Some("application/json")), Ok(Some(Value::Null)));
        assert_eq!(
            of(&parsed_alone, Progress::TooLong, &post).unwrap().err(),
            Some(RequestError::BodyTooLong)
        );
        assert_eq!(of(&all, Progress::NoRoom, &post).unwrap().err(), Some(RequestError::NoRoom));
        // `upgrade` alone is a header like any other, by which nobody gets a body past.
        for connection in ["close", "upgrades", ""] {
            let headers = [(":method", "GET"), ("upgrade", "websocket"), ("connection", connection)];
            assert_eq!(of(&all, Progress::Awaited, &headers).err(), Some(AwaitsBody), "{connection}");
        }
        // What asks for another protocol has no end, and no body.
        for headers in [
            &[(":method", "GET"), ("upgrade", "websocket"), ("connection", "Upgrade")][..],
            &[(":method", "CONNECT")],
            &[
                (":method", "GET"),
                ("upgrade", "x"),
                ("connection", "close, upgrade"),
                ("content-length", "0"),
            ],
        ] {
            assert!(of(&all, Progress::Awaited, headers).unwrap().unwrap().bytes().is_empty(), "{headers:?}");
        }
        for headers in [
            &[(":method", "POST"), ("upgrade", "websocket"), ("connection", "upgrade")][..],
            &[(":method", "CONNECT"), ("content-length", "1")],
            &[
                (":method", "GET"),
                ("upgrade", "websocket"),
                ("connection", "upgrade"),
                ("transfer-encoding", "chunked"),
            ],
        ] {
            assert_eq!(
                of(&all, Progress::Awaited, headers).unwrap().err(),
                Some(RequestError::Tunnel),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn text_that_is_cut_off_ends_with_a_whole_character() {
        let body = |bytes: &[u8], is_truncated| {
            let extent = if is_truncated { Extent::Beginning } else { Extent::Whole };
            Body { bytes: bytes.to_vec(), extent }
        };
        assert_eq!(body("aé".as_bytes(), false).text(), Ok("aé"));
        assert_eq!(body(b"a\xc3", true).text(), Ok("a"));
        assert!(body(b"a\xc3", false).text().is_err());
        assert!(body(b"a\xc3b", true).text().is_err());
    }
}
