//! The small parts of a scenario: a request, a body, and what an answer must be like.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use hyper::{
    Method,
    http::{HeaderName, HeaderValue},
};

use super::{
    Answer, Like, Place,
    document::{self, Content, Entries, Expected, Headers, Status},
    error::{Problem, did_you_mean},
    resolve::Names,
};
use crate::{
    abi,
    envoy::{Protocol, Request},
};

/// People leave the padding away.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Methods that are seldom meant to be others in lower case.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/// Most characters of encoded content that an error repeats.
const EXCERPT: usize = 40;

/// What is asked by a rule.
pub(super) fn probe(path: &str, request: &document::Request) -> Result<Request, Problem> {
    let only_in_events = [
        ("at", request.at.is_some()),
        ("after", request.after.is_some()),
        ("label", request.label.is_some()),
        ("request", request.request.is_some()),
        ("worker", request.worker.is_some()),
        ("leaves_after", request.leaves_after.is_some()),
    ];
    if let Some((key, _)) = only_in_events.iter().find(|(_, given)| *given) {
        let cure = match *key {
            "worker" => "give `workers` in the rule",
            _ => "remove it",
        };
        return Err(Problem::new(format!("{path}.{key}"), "only an event's request has this", cure));
    }
    self::request(path, request)
}

/// What a client sends.
pub(super) fn request(path: &str, document: &document::Request) -> Result<Request, Problem> {
    let method = document.method.as_deref().unwrap_or("GET");
    check_token(&format!("{path}.method"), method)?;
    let target = document.path.as_deref().unwrap_or("/");
    check_path(&format!("{path}.path"), target)?;
    let mut request = Request::new(method, target);
    if let Some(authority) = &document.authority {
        request = request.authority(authority);
    }
    request.headers = headers(&format!("{path}.headers"), &document.headers)?;
    request.trailers = headers(&format!("{path}.trailers"), &document.trailers)?;
    let body = document.body.as_ref();
    request.body = body.map(|body| content(&format!("{path}.body"), body)).transpose()?;
    request.protocol = match document.protocol {
        None | Some(document::Protocol::Http1) => Protocol::Http1,
        Some(document::Protocol::Http2) => Protocol::Http2,
    };
    if let Some(size) = document.chunk_size {
        if size == 0 {
            let message = "a chunk has at least one byte";
            return Err(Problem::new(format!("{path}.chunk_size"), message, "give at least 1"));
        }
        request.chunk_size_bytes = size;
    }
    if let Some(interval) = document.chunk_interval {
        request.chunk_interval = interval.0;
    }
    for (name, value) in &document.properties.0 {
        request = request.property(name, value);
    }
    Ok(request)
}

fn check_token(at: &str, method: &str) -> Result<(), Problem> {
    if Method::from_bytes(method.as_bytes()).is_ok() {
        return Ok(());
    }
    Err(Problem::new(at, format!("{method:?} is no HTTP method"), "give one such as `GET`"))
}

/// A method that calls are distinguished by.
pub(super) fn check_method(at: &str, method: &str) -> Result<(), Problem> {
    check_token(at, method)?;
    let capitals = method.to_ascii_uppercase();
    if method != capitals && METHODS.contains(&capitals.as_str()) {
        let message = format!("`{method}` is not `{capitals}`: methods are distinguished by case");
        return Err(Problem::new(at, message, did_you_mean(&capitals, METHODS)));
    }
    Ok(())
}

/// The bytes of a body.
pub(super) fn content(at: &str, document: &Content) -> Result<Vec<u8>, Problem> {
    match document {
        Content::Text(text) => Ok(text.clone().into_bytes()),
        Content::Encoded { base64, hex } => decoded(at, base64.as_deref(), hex.as_deref()),
    }
}

fn decoded(at: &str, base64: Option<&str>, hex: Option<&str>) -> Result<Vec<u8>, Problem> {
    let compact = |text: &str| text.split_ascii_whitespace().collect::<String>();
    match (base64, hex) {
        (Some(text), None) => BASE64.decode(compact(text)).map_err(|error| {
            let message = format!(
                "{} is no base64: {}",
                shortened(text),
                lower(error.to_string().trim_end_matches('.'))
            );
            let cure = "use `A` to `Z`, `a` to `z`, `0` to `9`, `+` and `/`, with `=` at the end alone";
            Problem::new(format!("{at}.base64"), message, cure)
        }),
        (None, Some(text)) => from_hex(&compact(text)).ok_or_else(|| {
            let message = format!("{} is no hex", shortened(text));
            Problem::new(format!("{at}.hex"), message, "give two digits, `0` to `f`, for each byte")
        }),
        (None, None) => {
            Err(Problem::new(at, "it is empty", "give `base64` or `hex`, or text in place of the mapping"))
        }
        (Some(_), Some(_)) => Err(Problem::new(at, "it has both `base64` and `hex`", "keep one of the two")),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
    let digits = digits?;
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    Some(pairs.map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

fn lower(sentence: &str) -> String {
    let mut characters = sentence.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

/// A path with its query must be what a client can write in a request line.
pub(super) fn check_path(at: &str, path: &str) -> Result<(), Problem> {
    let begins = path.starts_with('/') || path == "*";
    if begins && !path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Ok(());
    }
    let message = format!("{path:?} is no path");
    Err(Problem::new(at, message, "begin it with `/`, and encode spaces and control characters"))
}

pub(super) fn headers(at: &str, headers: &Headers) -> Result<abi::Headers, Problem> {
    let each = headers.0.iter().map(|(name, value)| {
        let lower = header_name(at, name)?;
        if HeaderValue::from_bytes(value.as_bytes()).is_err() {
            let message = format!("{value:?} cannot be the value of a header");
            return Err(Problem::new(format!("{at}.{name}"), message, "remove the control characters"));
        }
        Ok((lower.into_bytes(), value.clone().into_bytes()))
    });
    each.collect()
}

/// The name in lower case.
pub(super) fn header_name(at: &str, name: &str) -> Result<String, Problem> {
    if let Ok(known) = HeaderName::from_bytes(name.as_bytes()) {
        return Ok(known.as_str().to_owned());
    }
    let cure = match name {
        ":method" | ":path" | ":authority" => {
            format!("give `{}` beside `headers`", name.trim_start_matches(':'))
        }
        ":status" => "give `status` beside `headers`".to_owned(),
        _ => "use letters, digits and `-`".to_owned(),
    };
    Err(Problem::new(at, format!("{name:?} cannot be the name of a header"), cure))
}

// === What an answer must be like ===

pub(super) fn answer(at: &str, document: &document::Answer, names: &Names) -> Result<Answer, Problem> {
    let document::Answer { status, body, contains, headers } = document;
    let answer = described(at, (*status, body, contains, headers), names)?;
    if answer == Answer::default() {
        let cure = "give `status`, `body`, `contains` or `headers`";
        return Err(Problem::new(at, "every answer is like this, for it says nothing", cure));
    }
    Ok(answer)
}

/// Here nothing is something: that there was an answer at all.
pub(super) fn when(at: &str, document: &document::When, names: &Names) -> Result<Answer, Problem> {
    let document::When { request: _, status, body, contains, headers } = document;
    let answer = described(at, (*status, body, contains, headers), names)?;
    if answer.like.is_empty() {
        return Ok(answer);
    }
    let message = "a condition is about one answer, and this takes a part of it from another";
    Err(Problem::new(at, message, "give text in place of `of`"))
}

type Described<'a> = (Option<Status>, &'a Option<Expected>, &'a Option<Expected>, &'a Entries<Expected>);

fn described(
    at: &str,
    (status, body, contains, headers): Described<'_>,
    names: &Names,
) -> Result<Answer, Problem> {
    let mut answer = Answer { status: status.map(|status| status.0), ..Answer::default() };
    if let Some(expected) = body {
        let (bytes, like) = part(&format!("{at}.body"), expected, Place::Body, names)?;
        answer.body = bytes;
        answer.like.extend(like);
    }
    if let Some(expected) = contains {
        let (bytes, like) = part(&format!("{at}.contains"), expected, Place::Contains, names)?;
        answer.contains = bytes;
        answer.like.extend(like);
    }
    for (name, expected) in &headers.0 {
        let lower = header_name(&format!("{at}.headers"), name)?;
        let at = format!("{at}.headers.{name}");
        match expected {
            Expected::Text(text) => {
                answer.headers.insert(lower, text.clone());
            }
            Expected::Encoded { base64: None, hex: None, of: Some(_), .. } => {
                let (_, like) = part(&at, expected, Place::Header(lower), names)?;
                answer.like.extend(like);
            }
            Expected::Encoded { .. } => {
                let message = "the value of a header is text, or `of` another answer";
                return Err(Problem::new(at, message, "give one of the two"));
            }
        }
    }
    Ok(answer)
}

/// The bytes themselves, or where they are taken from.
fn part(
    at: &str,
    expected: &Expected,
    place: Place,
    names: &Names,
) -> Result<(Option<Bytes>, Option<Like>), Problem> {
    let (base64, hex, of, header) = match expected {
        Expected::Text(text) => return Ok((Some(Bytes::from(text.clone())), None)),
        Expected::Encoded { base64, hex, of, header } => (base64, hex, of, header),
    };
    let Some(of) = of else {
        if header.is_some() {
            let message = "it does not say of which answer that is a header";
            return Err(Problem::new(at, message, "give `of` with the name of a request"));
        }
        let bytes = decoded(at, base64.as_deref(), hex.as_deref())?;
        return Ok((Some(bytes.into()), None));
    };
    if base64.is_some() || hex.is_some() {
        let message = "it has content of its own and is taken from another answer";
        return Err(Problem::new(at, message, "keep `of`, or what stands beside it"));
    }
    let header = header.as_ref().map(|name| header_name(&format!("{at}.header"), name)).transpose()?;
    let like = Like { place, request: names.request(&format!("{at}.of"), of)?, header };
    Ok((None, Some(like)))
}
