//! What clusters answer.

use serde_json::Value as Json;

use super::{
    document::{self, Entries, GrpcOutcome, Outcome, PathAnswers, To},
    error::Problem,
    parts::{self, content, headers},
};
use crate::{
    abi::Headers,
    archive::Archive,
    world::{GrpcAnswer, GrpcEvent, GrpcReply, Reply, Route},
};

/// Where a bundle's manifest is. Source: OPA's documentation of bundles.
const MANIFEST: &str = ".manifest";
/// Stands for every method that has no answers of its own.
pub(super) const ANY_METHOD: &str = "*";
/// The largest status that gRPC has.
const MOST_GRPC_STATUS: u32 = 16;

/// The answers of a path, for every method or by method.
pub(super) fn path_answers(
    at: &str,
    path: &str,
    document: &PathAnswers,
) -> Result<Vec<(Route, Vec<Reply>)>, Problem> {
    let route = |method: Option<&str>| Route { path: path.to_owned(), method: method.map(str::to_owned) };
    let some = |at: &str, what: &str, answers: &[document::Reply]| {
        if answers.is_empty() {
            return Err(Problem::new(at, "it has no answer", format!("give one, or remove the {what}")));
        }
        replies(at, answers)
    };
    match document {
        PathAnswers::EveryMethod(answers) => Ok(vec![(route(None), some(at, "path", answers)?)]),
        PathAnswers::ByMethod(Entries(methods)) if methods.is_empty() => {
            Err(Problem::new(at, "it has no method", "give one such as `GET`, or remove the path"))
        }
        PathAnswers::ByMethod(Entries(methods)) => {
            let each = methods.iter().map(|(method, answers)| {
                let at = format!("{at}.{method}");
                if method == ANY_METHOD {
                    return Ok((route(None), some(&at, "method", answers)?));
                }
                parts::check_method(&at, method)?;
                Ok((route(Some(method)), some(&at, "method", answers)?))
            });
            each.collect()
        }
    }
}

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
        ("echo", document.echo && !has_response),
    ];
    if let Some((key, _)) = meaningless.iter().find(|(_, given)| *given) {
        let message = "it means nothing with this outcome";
        return Err(Problem::new(format!("{at}.{key}"), message, "remove it, or change `outcome`"));
    }
    let mut reply = reply.after(document.after.0);
    if document.echo {
        if document.bundle.is_some() {
            return Err(Problem::new(format!("{at}.echo"), "a bundle is what it is", "remove `echo`"));
        }
        reply = reply.echoing();
    }
    for (name, value) in headers(&format!("{at}.headers"), &document.headers)? {
        reply = reply.with_header(&String::from_utf8_lossy(&name), value);
    }
    for (name, value) in headers(&format!("{at}.trailers"), &document.trailers)? {
        reply = reply.with_trailer(&String::from_utf8_lossy(&name), value);
    }
    match (&document.body, &document.bundle) {
        (None, None) => Ok(reply),
        (Some(body), None) => Ok(reply.with_body(content(&format!("{at}.body"), body)?)),
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

// === gRPC ===

/// A gRPC method as answers are found by: `package.Service/Method`, or every one.
pub(super) fn check_grpc_method(at: &str, method: &str) -> Result<(), Problem> {
    let is_name = |name: &str| !name.is_empty() && !name.bytes().any(|byte| byte <= b' ' || byte == b'/');
    if method == ANY_METHOD || method.split_once('/').is_some_and(|(of, name)| is_name(of) && is_name(name)) {
        return Ok(());
    }
    let message = format!("{method:?} is no gRPC method");
    let cure = "write it as `package.Service/Method`, or `*` for every one";
    Err(Problem::new(at, message, cure))
}

pub(super) fn grpc_replies(at: &str, replies: &[document::GrpcReply]) -> Result<Vec<GrpcAnswer>, Problem> {
    let each = replies.iter().enumerate();
    each.map(|(index, reply)| grpc_reply(&format!("{at}[{index}]"), reply)).collect()
}

fn grpc_reply(at: &str, document: &document::GrpcReply) -> Result<GrpcAnswer, Problem> {
    check_grpc_keys(at, document)?;
    let metadata = headers(&format!("{at}.headers"), &document.headers)?;
    let trailers = headers(&format!("{at}.trailers"), &document.trailers)?;
    let messages = document.messages.iter().enumerate();
    let messages = messages.map(|(index, message)| content(&format!("{at}.messages[{index}]"), message));
    let messages: Vec<Vec<u8>> = messages.collect::<Result<_, _>>()?;
    let status = GrpcEvent::Status {
        code: Some(document.status.unwrap_or(0)),
        message: document.status_message.clone().unwrap_or_default(),
        metadata: trailers,
    };
    let begun = || GrpcReply::silence().after(document.after.0);
    let end = match (document.outcome, document.http_status) {
        (_, Some(status)) => Some(GrpcEvent::HttpStatus(status.0)),
        (GrpcOutcome::Refused, _) => {
            return Ok(GrpcAnswer { opened: GrpcReply::refused(), ..GrpcAnswer::default() });
        }
        (GrpcOutcome::Never, _) => return Ok(GrpcAnswer::default()),
        (GrpcOutcome::Open, _) => None,
        (GrpcOutcome::Response, _) => Some(status),
        (GrpcOutcome::ConnectFailure, _) => Some(GrpcEvent::ConnectFailure),
        (GrpcOutcome::Reset | GrpcOutcome::ResetBeforeHeaders, _) => Some(GrpcEvent::Reset),
    };
    // What ends with an error in place of a response has no headers, and neither has a status alone.
    let starts = !metadata.is_empty() || !messages.is_empty() || document.outcome == GrpcOutcome::Reset;
    let started = |reply: GrpcReply, metadata: Headers| {
        if starts { reply.then(GrpcEvent::Headers(metadata)) } else { reply }
    };
    let spoken = |mut reply: GrpcReply| {
        for (index, message) in messages.iter().enumerate() {
            let gap = if index == 0 { Default::default() } else { document.every.0 };
            reply = reply.after(gap).message(message.clone());
        }
        reply
    };
    let ended = |reply: GrpcReply| match end {
        Some(event) => reply.then(event),
        None => reply,
    };
    Ok(match document.to {
        To::Begin => {
            GrpcAnswer { opened: ended(spoken(started(begun(), metadata))), ..GrpcAnswer::default() }
        }
        To::End => GrpcAnswer { ended: ended(spoken(started(begun(), metadata))), ..GrpcAnswer::default() },
        To::Message => {
            GrpcAnswer { opened: started(begun(), metadata), message: spoken(begun()), ended: ended(begun()) }
        }
    })
}

fn check_grpc_keys(at: &str, document: &document::GrpcReply) -> Result<(), Problem> {
    use GrpcOutcome::{ConnectFailure, Never, Open, Refused, Reset, ResetBeforeHeaders, Response};
    let outcome = document.outcome;
    let speaks = matches!(outcome, Response | Open | Reset);
    let ends = outcome == Response;
    let bare = document.http_status.is_some();
    let meaningless = [
        ("headers", !document.headers.0.is_empty() && (!speaks || bare)),
        ("messages", !document.messages.is_empty() && (!speaks || bare)),
        ("every", !document.every.0.is_zero() && (document.messages.len() < 2 || document.to == To::Message)),
        ("status", document.status.is_some() && (!ends || bare)),
        ("status_message", document.status_message.is_some() && (!ends || bare)),
        ("trailers", !document.trailers.0.is_empty() && (!ends || bare)),
        ("http_status", bare && !ends),
        ("after", !document.after.0.is_zero() && matches!(outcome, Never | Refused)),
        ("to", document.to != To::Begin && matches!(outcome, Never | Refused | ConnectFailure)),
        ("to", document.to == To::Message && (bare || outcome == ResetBeforeHeaders)),
    ];
    if let Some((key, _)) = meaningless.iter().find(|(_, given)| *given) {
        let message = "it means nothing with what is answered here";
        return Err(Problem::new(format!("{at}.{key}"), message, "remove it, or change `outcome`"));
    }
    if let Some(status) = document.status.filter(|status| *status > MOST_GRPC_STATUS) {
        let message = format!("gRPC has no status {status}");
        return Err(Problem::new(format!("{at}.status"), message, "give one from 0 (OK) to 16"));
    }
    Ok(())
}
