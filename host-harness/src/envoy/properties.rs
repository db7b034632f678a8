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
    stream::{Half, Stage, Stream},
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
/// The client of every stream, and the listener.
const SOURCE: (&str, i64) = ("127.0.0.1:47732", 47732);
const DESTINATION: (&str, i64) = ("127.0.0.1:10000", 10000);
/// Where filter state that a filter sets is kept.
const STATE_PREFIX: &str = "wasm.";

impl Core {
    /// Reads a property for what hostcalls of this VM act on; the parts of `path` are separated by NUL.
    ///
    /// Errors: [`Status::NotFound`], and [`Status::SerializationFailure`] for what has no byte form: a whole
    /// namespace such as `request`, or a message whose bytes nobody gave.
    pub(super) fn read_property(&self, vm: VmIndex, path: &[u8]) -> Answer<Bytes> {
        let path = String::from_utf8_lossy(path);
        let dotted = path.trim_end_matches('\0').replace('\0', ".");
        let stream = self.acting_stream(vm);
        let given = [stream.map(|stream| &stream.properties), Some(&self.options.properties)];
        for properties in given.into_iter().flatten() {
            if let Some(value) = properties.get(&dotted) {
                return Ok(Bytes::copy_from_slice(value));
            }
        }
        let plugin = self.vms[vm].root().map(|root| &root.plugin);
        let own = plugin.and_then(|plugin| match dotted.as_str() {
            "plugin_name" => Some(&plugin.name),
            "plugin_root_id" => Some(&plugin.root_id),
            "plugin_vm_id" => Some(&plugin.vm_id),
            _ => None,
        });
        if let Some(text) = own {
            return Ok(Bytes::copy_from_slice(text.as_bytes()));
        }
        if let Some(value) = stream.and_then(|stream| self.stream_property(stream, &dotted)) {
            return Ok(value.into());
        }
        let given = given.into_iter().flatten().flatten();
        below(given, &dotted)
            .map_or_else(|| absent(&dotted, stream.is_some()), |children| map(&dotted, children))
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

    fn stream_property(&self, stream: &Stream, dotted: &str) -> Option<Vec<u8>> {
        let (root, rest) = dotted.split_once('.').unwrap_or((dotted, ""));
        match root {
            "request" => self.request_property(stream, rest),
            "response" => response_property(stream, rest),
            "source" => peer_property(SOURCE, rest),
            "destination" => peer_property(DESTINATION, rest),
            "connection" => match rest {
                "id" => Some(stream.id.0.to_le_bytes().to_vec()),
                "mtls" => Some(vec![0]),
                "requested_server_name" => Some(Vec::new()),
                _ => None,
            },
            "connection_id" => Some(stream.id.0.to_le_bytes().to_vec()),
            "metadata" if rest.is_empty() => Some(Vec::new()),
            "filter_state" => stream.filter_state.get(rest).cloned(),
            "" => None,
            _ if ROOTS.contains(&root) => None,
            _ => stream.filter_state.get(&format!("{STATE_PREFIX}{dotted}")).cloned(),
        }
    }

    fn request_property(&self, stream: &Stream, name: &str) -> Option<Vec<u8>> {
        let headers = &stream.request.headers;
        let path = || headers.first(b":path").unwrap_or_default();
        let question_mark = || path().iter().position(|byte| *byte == b'?');
        match name {
            "path" => headers.first(b":path").map(<[u8]>::to_vec),
            "url_path" => Some(path()[..question_mark().unwrap_or(path().len())].to_vec()),
            "query" => Some(question_mark().map(|at| path()[at + 1..].to_vec()).unwrap_or_default()),
            "host" => headers.first(b":authority").map(<[u8]>::to_vec),
            "scheme" => headers.first(b":scheme").map(<[u8]>::to_vec),
            "method" => headers.first(b":method").map(<[u8]>::to_vec),
            "referer" => headers.first(b"referer").map(<[u8]>::to_vec),
            "useragent" => headers.first(b"user-agent").map(<[u8]>::to_vec),
            "id" => headers.first(b"x-request-id").map(<[u8]>::to_vec),
            "protocol" => Some(match stream.protocol {
                Protocol::Http1 => b"HTTP/1.1".to_vec(),
                Protocol::Http2 => b"HTTP/2".to_vec(),
            }),
            "time" => Some(nanoseconds(self.world.epoch().saturating_add(stream.began_at))),
            "duration" if stream.logging => Some(nanoseconds(self.now().saturating_sub(stream.began_at))),
            "size" => Some(integer(body_size(&stream.request))),
            "total_size" => Some(integer(body_size(&stream.request) + headers.byte_size())),
            _ => header_property(headers, name),
        }
    }
}

fn response_property(stream: &Stream, name: &str) -> Option<Vec<u8>> {
    let response = &stream.response;
    if !response.begun {
        return match name {
            "code_details" if !stream.details.is_empty() => Some(stream.details.clone().into_bytes()),
            "flags" | "size" => Some(integer(0)),
            "headers" => Some(pairs::to_bytes(&response.headers)),
            _ => None,
        };
    }
    match name {
        "code" => {
            let code = std::str::from_utf8(response.headers.first(b":status")?).ok()?.parse().ok()?;
            Some(integer(code))
        }
        "code_details" => Some(stream.details.clone().into_bytes()),
        "flags" => Some(integer(0)),
        "size" => Some(integer(body_size(response))),
        "total_size" => Some(integer(body_size(response) + response.headers.byte_size())),
        _ => header_property(&response.headers, name),
    }
}

fn header_property(headers: &Headers, name: &str) -> Option<Vec<u8>> {
    if name == "headers" {
        // Each name once, with all its values.
        let names: BTreeSet<&[u8]> = headers.iter().map(|(name, _)| name.as_slice()).collect();
        let joined: Vec<_> =
            names.into_iter().filter_map(|name| Some((name, headers.joined(name)?))).collect();
        return Some(pairs::to_bytes(&joined));
    }
    headers.joined(name.strip_prefix("headers.")?.as_bytes())
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

/// Why there is nothing at a path.
fn absent(dotted: &str, on_stream: bool) -> Answer<Bytes> {
    let whole_namespace = matches!(
        dotted,
        "request" | "response" | "connection" | "source" | "destination" | "upstream" | "filter_state"
    );
    let has_no_bytes = matches!(dotted, "" | "xds") || (whole_namespace && on_stream);
    Err(if has_no_bytes { Status::SerializationFailure } else { Status::NotFound })
}
