//! Properties: what a filter can ask about its request, its connection and itself, by a path.
//!
//! What a caller gave for a request wins, then what the options know, then what follows from the stream. Values are raw
//! bytes in Envoy's encoding: text as it is, integers as 8 bytes and booleans as 1, maps as pairs. Source: Envoy
//! `source/extensions/common/wasm/context.cc` (`getProperty`, `serializeValue`) and the attributes documentation.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    core::Core,
    exchange::Protocol,
    headers::HeaderMap,
    reply::grpc_status_of,
    stream::{Direction, Half, Stage, Stream},
};
use crate::abi::{Answer, Headers, Status, VmIndex, pairs};

/// Names at the root of a path that mean something to Envoy, and so cannot be filter state.
const ROOTS: [&str; 11] = [
    "metadata",
    "request",
    "response",
    "connection",
    "connection_id",
    "upstream",
    "source",
    "destination",
    "filter_state",
    "upstream_filter_state",
    "xds",
];
/// The client of every stream, the listener, and the two ends of every connection to an upstream.
const SOURCE: (&str, i64) = ("127.0.0.1:47732", 47732);
const DESTINATION: (&str, i64) = ("127.0.0.1:10000", 10000);
const UPSTREAM: (&str, i64) = ("127.0.0.1:10001", 10001);
const UPSTREAM_LOCAL: &str = "127.0.0.1:47733";
/// Where filter state that a filter sets is kept.
const STATE_PREFIX: &str = "wasm.";

impl Core {
    /// Reads a property for what hostcalls of this VM act on; the parts of `path` are separated by NUL.
    ///
    /// Errors: [`Status::NotFound`], and [`Status::SerializationFailure`] for what has no byte form: a whole
    /// namespace such as `request`, or a message whose bytes nobody gave.
    pub(super) fn read_property(&self, vm: VmIndex, path: &[u8]) -> Answer<Bytes> {
        let whole = String::from_utf8_lossy(path);
        // One separator at the end ends the last name.
        let path = whole.strip_suffix('\0').unwrap_or(&whole);
        let names: Vec<&str> = path.split('\0').collect();
        let dotted = names.join(".");
        let stream = self.acting_stream(vm);
        let given = [stream.map(|stream| &stream.properties), Some(&self.options.properties)];
        for properties in given.into_iter().flatten() {
            if let Some(value) = properties.get(&dotted) {
                return Ok(Bytes::copy_from_slice(value));
            }
        }
        let plugin = self.vms[vm].root().map(|root| &root.plugin);
        let own = plugin.and_then(|plugin| match path {
            "plugin_name" => Some(&plugin.name),
            "plugin_root_id" => Some(&plugin.root_id),
            "plugin_vm_id" => Some(&plugin.vm_id),
            _ => None,
        });
        if let Some(text) = own {
            return Ok(Bytes::copy_from_slice(text.as_bytes()));
        }
        if let Some(value) =
            self.acting_filter(vm).and_then(|(stream, at)| self.stream_property(stream, at, &names))
        {
            return Ok(value.into());
        }
        let given = given.into_iter().flatten().flatten();
        below(given, &dotted)
            .map_or_else(|| absent(&whole, stream.is_some()), |children| map(&dotted, children))
    }

    /// Writes filter state of the acting stream under the prefix `wasm.`, whatever the path says.
    ///
    /// Errors: [`Status::NotFound`] on a root context.
    pub(super) fn write_property(&mut self, vm: VmIndex, path: &[u8], value: &[u8]) -> Answer {
        let stream = self.acting_stream_mut(vm).ok_or(Status::NotFound)?;
        let key = format!("{STATE_PREFIX}{}", String::from_utf8_lossy(path));
        stream.filter_state.insert(key, value.to_vec());
        Ok(())
    }

    fn stream_property(&self, stream: &Stream, at: usize, names: &[&str]) -> Option<Vec<u8>> {
        let (root, rest) = names.split_first()?;
        match (*root, rest) {
            ("request", [name, rest @ ..]) => self.request_property(stream, at, name, rest),
            ("response", [name, rest @ ..]) => response_property(stream, at, name, rest),
            ("source", [name]) => peer_property(SOURCE, name),
            ("destination", [name]) => peer_property(DESTINATION, name),
            ("upstream", [name]) => upstream_property(stream, name),
            ("connection", [name]) => match *name {
                "id" => Some(stream.id.0.to_le_bytes().to_vec()),
                "mtls" => Some(vec![0]),
                "requested_server_name" => Some(Vec::new()),
                _ => None,
            },
            ("connection_id", []) => Some(stream.id.0.to_le_bytes().to_vec()),
            ("metadata", []) => Some(Vec::new()),
            ("filter_state", [key]) => stream.filter_state.get(*key).cloned(),
            (root, []) if !root.is_empty() && !ROOTS.contains(&root) => {
                stream.filter_state.get(&format!("{STATE_PREFIX}{root}")).cloned()
            }
            _ => None,
        }
    }

    fn request_property(&self, stream: &Stream, at: usize, name: &str, rest: &[&str]) -> Option<Vec<u8>> {
        let received = body_size(&stream.request);
        match (name, rest) {
            ("time", []) => return Some(nanoseconds(self.world.epoch().saturating_add(stream.began_at))),
            ("duration", []) if stream.logging => {
                return Some(nanoseconds(self.now().saturating_sub(stream.began_at)));
            }
            ("protocol", []) => {
                return Some(match stream.protocol {
                    Protocol::Http1 => b"HTTP/1.1".to_vec(),
                    Protocol::Http2 => b"HTTP/2".to_vec(),
                });
            }
            _ => {}
        }
        // Once the request has gone on, its headers are out of reach until the log.
        let Some(headers) = stream.readable_headers(Direction::Request, at) else {
            return match (name, rest) {
                ("size" | "total_size", []) => Some(integer(received)),
                ("headers", []) => Some(joined_pairs(&Headers::new())),
                _ => None,
            };
        };
        let first = |name: &[u8]| headers.first(name).map(<[u8]>::to_vec);
        match (name, rest) {
            ("path", []) => first(b":path"),
            ("url_path", []) => Some(split_path(headers).0.to_vec()),
            ("query", []) => Some(split_path(headers).1.to_vec()),
            ("host", []) => first(b":authority"),
            ("scheme", []) => first(b":scheme"),
            ("method", []) => first(b":method"),
            ("referer", []) => first(b"referer"),
            ("useragent", []) => first(b"user-agent"),
            ("id", []) => first(b"x-request-id"),
            ("size", []) => match headers.first(b"content-length") {
                Some(said) => std::str::from_utf8(said).ok()?.parse().ok().map(integer),
                None => Some(integer(received)),
            },
            ("total_size", []) => Some(integer(received + headers.byte_size())),
            ("headers", []) => Some(joined_pairs(headers)),
            ("headers", [name]) => headers.joined(name.as_bytes()),
            _ => None,
        }
    }
}

/// Path and query as the filter knows them; the query ends where a fragment begins.
fn split_path(headers: &Headers) -> (&[u8], &[u8]) {
    let path = headers.first(b":path").unwrap_or_default();
    let Some(at) = path.iter().position(|byte| *byte == b'?') else {
        return (path, b"");
    };
    let query = path[at + 1..].split(|byte| *byte == b'#').next().unwrap_or_default();
    (&path[..at], query)
}

fn response_property(stream: &Stream, at: usize, name: &str, rest: &[&str]) -> Option<Vec<u8>> {
    let response = &stream.response;
    let code = || std::str::from_utf8(response.headers.first(b":status")?).ok()?.parse::<usize>().ok();
    let headers = stream.readable_headers(Direction::Response, at);
    let trailers = stream.readable_trailers(Direction::Response, at);
    match (name, rest) {
        ("code", []) if response.begun => code().map(integer),
        ("code_details", []) if response.begun || !stream.details.is_empty() => {
            Some(stream.details.clone().into_bytes())
        }
        ("flags", []) => Some(integer(flags(&stream.details))),
        ("size", []) => Some(integer(body_size(response))),
        ("total_size", []) if response.begun => {
            let head = headers.map_or(0, HeaderMap::byte_size) + trailers.map_or(0, HeaderMap::byte_size);
            Some(integer(body_size(response) + head))
        }
        ("grpc_status", []) if response.begun => {
            let said = [trailers, headers].into_iter().flatten().find_map(|map| map.first(b"grpc-status"));
            let said = said.and_then(|said| std::str::from_utf8(said).ok()?.parse().ok());
            let made = || usize::try_from(grpc_status_of(u32::try_from(code()?).ok()?)).ok();
            said.or_else(made).map(integer)
        }
        ("headers", []) => Some(headers.map_or_else(|| joined_pairs(&Headers::new()), joined_pairs)),
        ("headers", [name]) => headers?.joined(name.as_bytes()),
        ("trailers", []) => Some(trailers.map_or_else(|| joined_pairs(&Headers::new()), joined_pairs)),
        ("trailers", [name]) => trailers?.joined(name.as_bytes()),
        _ => None,
    }
}

/// What is known of the upstream, once the router has chosen it.
fn upstream_property(stream: &Stream, name: &str) -> Option<Vec<u8>> {
    stream.sent_upstream.as_ref()?;
    match name {
        "local_address" => Some(UPSTREAM_LOCAL.as_bytes().to_vec()),
        "transport_failure_reason" => Some(Vec::new()),
        _ => peer_property(UPSTREAM, name),
    }
}

/// Response flags, which go with what ended the stream.
/// Source: Envoy `envoy/stream_info/stream_info.h` (`CoreResponseFlag`, each the number of a bit).
fn flags(details: &str) -> usize {
    const NO_HEALTHY_UPSTREAM: usize = 1 << 1;
    const UPSTREAM_REQUEST_TIMEOUT: usize = 1 << 2;
    const UPSTREAM_CONNECTION_FAILURE: usize = 1 << 5;
    const UPSTREAM_CONNECTION_TERMINATION: usize = 1 << 6;
    const DOWNSTREAM_CONNECTION_TERMINATION: usize = 1 << 14;
    const STREAM_IDLE_TIMEOUT: usize = 1 << 16;
    let reason = details.strip_prefix("upstream_reset_before_response_started{");
    match (details, reason) {
        ("no_healthy_upstream", _) => NO_HEALTHY_UPSTREAM,
        ("response_timeout", _) => UPSTREAM_REQUEST_TIMEOUT,
        ("downstream_remote_disconnect", _) => DOWNSTREAM_CONNECTION_TERMINATION,
        ("stream_idle_timeout", _) => STREAM_IDLE_TIMEOUT,
        (_, Some(reason)) if reason.starts_with("remote_connection_failure") => UPSTREAM_CONNECTION_FAILURE,
        (_, Some(reason)) if reason.starts_with("connection_termination") => UPSTREAM_CONNECTION_TERMINATION,
        _ => 0,
    }
}

/// Each name once, with all its values.
fn joined_pairs(headers: &Headers) -> Vec<u8> {
    let names: BTreeSet<&[u8]> = headers.iter().map(|(name, _)| name.as_slice()).collect();
    let joined: Vec<_> = names.into_iter().filter_map(|name| Some((name, headers.joined(name)?))).collect();
    pairs::to_bytes(&joined)
}

fn peer_property((address, port): (&str, i64), name: &str) -> Option<Vec<u8>> {
    match name {
        "address" => Some(address.as_bytes().to_vec()),
        "port" => Some(port.to_le_bytes().to_vec()),
        _ => None,
    }
}

fn body_size(half: &Half) -> usize {
    let at =
        |stage: &Stage| stage.held.as_ref().map_or(0, Vec::len) + stage.current.as_ref().map_or(0, Vec::len);
    half.body_passed.len() + half.stages.iter().map(at).sum::<usize>()
}

fn integer(value: usize) -> Vec<u8> {
    i64::try_from(value).unwrap_or(i64::MAX).to_le_bytes().to_vec()
}

fn nanoseconds(time: std::time::Duration) -> Vec<u8> {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX).to_le_bytes().to_vec()
}

/// What was given below a path: the rest of each path and its value, `None` when nothing was.
fn below<'a>(
    given: impl Iterator<Item = (&'a String, &'a Vec<u8>)>,
    dotted: &str,
) -> Option<BTreeMap<&'a str, &'a [u8]>> {
    let children: BTreeMap<&str, &[u8]> = given
        .filter_map(|(path, value)| Some((path.strip_prefix(dotted)?.strip_prefix('.')?, value.as_slice())))
        .collect();
    (!children.is_empty()).then_some(children)
}

/// The namespace of a filter in `filter_metadata` is a map; what is above it is a message and has no pairs.
fn map(dotted: &str, children: BTreeMap<&str, &[u8]>) -> Answer<Bytes> {
    match dotted.split_once("filter_metadata.") {
        Some(_) => Ok(nested(children).into()),
        None => Err(Status::SerializationFailure),
    }
}

fn nested(children: BTreeMap<&str, &[u8]>) -> Vec<u8> {
    let mut fields: BTreeMap<&str, BTreeMap<&str, &[u8]>> = BTreeMap::new();
    for (path, value) in children {
        let (field, rest) = path.split_once('.').unwrap_or((path, ""));
        fields.entry(field).or_default().insert(rest, value);
    }
    let fields: Vec<(&str, Vec<u8>)> = fields
        .into_iter()
        .map(|(field, rest)| {
            (field, rest.get("").map_or_else(|| nested(rest.clone()), |value| value.to_vec()))
        })
        .collect();
    pairs::to_bytes(&fields)
}

/// What there is at a path that has no value of its own, mostly why there is nothing.
fn absent(whole: &str, on_stream: bool) -> Answer<Bytes> {
    // The empty path has no name in it, and a separator alone has an empty one.
    let path = if whole == "\0" { whole } else { whole.strip_suffix('\0').unwrap_or(whole) };
    let whole_namespace = matches!(
        path,
        "request" | "response" | "connection" | "source" | "destination" | "upstream" | "filter_state"
    );
    let has_no_bytes = matches!(path, "" | "xds") || (whole_namespace && on_stream);
    match path {
        "metadata\0filter_metadata" if on_stream => Ok(joined_pairs(&Headers::new()).into()),
        _ => Err(if has_no_bytes { Status::SerializationFailure } else { Status::NotFound }),
    }
}
