//! The small parts of a scenario: a request, a cluster's answer, and what an answer must be like.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::{
    Method,
    http::{HeaderName, HeaderValue},
};
use serde_json::Value as Json;

use super::{
    Answer,
    document::{self, Entries, Headers, Outcome, Status},
    error::Problem,
};
use crate::{
    abi,
    archive::Archive,
    envoy::{Protocol, Request},
    world::Reply,
};

/// Where a bundle's manifest is. Source: OPA's documentation of bundles.
const MANIFEST: &str = ".manifest";

/// What is asked by a rule.
pub(super) fn probe(path: &str, request: &document::Request) -> Result<Request, Problem> {
    let only_in_events = [
        ("at", request.at.is_some()),
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
    if Method::from_bytes(method.as_bytes()).is_err() {
        let message = format!("{method:?} is no HTTP method");
        return Err(Problem::new(format!("{path}.method"), message, "give one such as `GET`"));
    }
    let target = document.path.as_deref().unwrap_or("/");
    check_path(&format!("{path}.path"), target)?;
    let mut request = Request::new(method, target);
    if let Some(authority) = &document.authority {
        request = request.authority(authority);
    }
    request.headers = headers(&format!("{path}.headers"), &document.headers)?;
    request.trailers = headers(&format!("{path}.trailers"), &document.trailers)?;
    request.body = document.body.as_ref().map(|body| body.clone().into_bytes());
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

/// A path with its query must be what a client can write in a request line.
pub(super) fn check_path(at: &str, path: &str) -> Result<(), Problem> {
    let begins = path.starts_with('/') || path == "*";
    if begins && !path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Ok(());
    }
    let message = format!("{path:?} is no path");
    Err(Problem::new(at, message, "begin it with `/`, and encode spaces and control characters"))
}

fn headers(at: &str, headers: &Headers) -> Result<abi::Headers, Problem> {
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
fn header_name(at: &str, name: &str) -> Result<String, Problem> {
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

// === What clusters answer ===

pub(super) fn replies(at: &str, replies: &[document::Reply]) -> Result<Vec<Reply>, Problem> {
    let each = replies.iter().enumerate();
    each.map(|(index, reply)| self::reply(&format!("{at}[{index}]"), reply)).collect()
}

fn reply(at: &str, document: &document::Reply) -> Result<Reply, Problem> {
    let reply = match document.outcome {
        Outcome::Response => Reply::status(document.status.map_or(200, |status| status.0)),
        Outcome::Reset => Reply::reset(),
        Outcome::Never => Reply::never(),
        Outcome::Refused => Reply::refused(),
        Outcome::ConnectFailure => Reply::connect_failure(),
        Outcome::ResetBeforeHeaders => Reply::reset_before_headers(),
    };
    let has_response = matches!(document.outcome, Outcome::Response | Outcome::Reset);
    let at_once = matches!(document.outcome, Outcome::Never | Outcome::Refused);
    let meaningless = [
        ("status", document.status.is_some() && document.outcome != Outcome::Response),
        ("headers", !document.headers.0.is_empty() && !has_response),
        ("body", document.body.is_some() && !has_response),
        ("bundle", document.bundle.is_some() && !has_response),
        ("trailers", !document.trailers.0.is_empty() && document.outcome != Outcome::Response),
        ("after", !document.after.0.is_zero() && at_once),
    ];
    if let Some((key, _)) = meaningless.iter().find(|(_, given)| *given) {
        let message = "it means nothing with this outcome";
        return Err(Problem::new(format!("{at}.{key}"), message, "remove it, or change `outcome`"));
    }
    let mut reply = reply.after(document.after.0);
    for (name, value) in headers(&format!("{at}.headers"), &document.headers)? {
        reply = reply.with_header(&String::from_utf8_lossy(&name), value);
    }
    for (name, value) in headers(&format!("{at}.trailers"), &document.trailers)? {
        reply = reply.with_trailer(&String::from_utf8_lossy(&name), value);
    }
    match (&document.body, &document.bundle) {
        (None, None) => Ok(reply),
        (Some(body), None) => Ok(reply.with_body(body.clone())),
        (None, Some(bundle)) => {
            let archive = self::bundle(&format!("{at}.bundle"), bundle)?;
            Ok(reply.with_body(archive.build()).unless_matched())
        }
        (Some(_), Some(_)) => Err(Problem::new(at, "it has both `body` and `bundle`", "keep one of the two")),
    }
}

/// The files of a bundle, with the manifest that its revision and roots make.
fn bundle(at: &str, document: &document::Bundle) -> Result<Archive, Problem> {
    let document::Bundle { revision, roots, files } = document;
    let mut manifest = serde_json::Map::new();
    if let Some(revision) = revision {
        manifest.insert("revision".to_owned(), revision.clone().into());
    }
    if let Some(roots) = roots {
        manifest.insert("roots".to_owned(), roots.clone().into());
    }
    if manifest.is_empty() && files.0.is_empty() {
        return Err(Problem::new(at, "nothing is in it", "give `files`, `revision` or `roots`"));
    }
    let mut archive = Archive::new();
    if !manifest.is_empty() {
        archive = archive.file(MANIFEST, Json::Object(manifest).to_string());
    }
    for (name, contents) in &files.0 {
        let at = format!("{at}.files.{name}");
        if archive.names().any(|known| known.trim_start_matches('/') == name.trim_start_matches('/')) {
            let cure = "keep one of the two; `revision` and `roots` make a `.manifest`";
            return Err(Problem::new(at, "it is in the bundle twice", cure));
        }
        let bytes = match contents {
            Json::String(text) => text.clone(),
            Json::Object(_) | Json::Array(_) => contents.to_string(),
            other => {
                let message = format!("`{other}` is neither text nor a document");
                return Err(Problem::new(
                    at,
                    message,
                    "give the file's text, or a mapping that becomes JSON",
                ));
            }
        };
        archive = archive.file(name, bytes);
    }
    Ok(archive)
}

// === What an answer must be like ===

pub(super) fn answer(at: &str, document: &document::Answer) -> Result<Answer, Problem> {
    let document::Answer { status, body, contains, headers } = document;
    let answer = described(at, (*status, body, contains, headers))?;
    if answer == Answer::default() {
        let cure = "give `status`, `body`, `contains` or `headers`";
        return Err(Problem::new(at, "every answer is like this, for it says nothing", cure));
    }
    Ok(answer)
}

/// Here nothing is something: that there was an answer at all.
pub(super) fn when(at: &str, document: &document::When) -> Result<Answer, Problem> {
    let document::When { request: _, status, body, contains, headers } = document;
    described(at, (*status, body, contains, headers))
}

type Described<'a> = (Option<Status>, &'a Option<String>, &'a Option<String>, &'a Entries<String>);

fn described(at: &str, (status, body, contains, headers): Described<'_>) -> Result<Answer, Problem> {
    let mut named = BTreeMap::new();
    for (name, value) in &headers.0 {
        named.insert(header_name(&format!("{at}.headers"), name)?, value.clone());
    }
    Ok(Answer {
        status: status.map(|status| status.0),
        body: body.clone().map(Bytes::from),
        contains: contains.clone().map(Bytes::from),
        headers: named,
    })
}
