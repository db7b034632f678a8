//! The `input` document, field for field as opa-envoy-plugin builds it, so that policies written for it run unchanged.
//!
//! Source: opa-envoy-plugin, `envoyauth/request.go` over Envoy's `CheckRequest` v3. The fields about a body are
//! absent, because the body is not read.

use std::collections::BTreeMap;

use super::request::{Connection, RequestError, RequestHead, SocketAddress, parse_path, parse_query};
use crate::policy::{Value, object, string_map};

pub(super) fn build(head: &RequestHead) -> Result<Value, RequestError> {
    let headers = joined_headers(head)?;
    let path = headers.get(":path").map(String::as_str).unwrap_or_default();
    let segments: Vec<Value> = parse_path(path)?.into_iter().map(Value::from).collect();
    let mut query: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (key, value) in parse_query(path)? {
        query.entry(key).or_default().push(Value::from(value));
    }
    let query: BTreeMap<Value, Value> =
        query.into_iter().map(|(key, values)| (Value::from(key), Value::from(values))).collect();
    let fields = [
        ("attributes", attributes(head, headers)),
        ("parsed_path", Value::from(segments)),
        ("parsed_query", Value::from(query)),
        ("version", object([("ext_authz", Value::from("v3")), ("encoding", Value::from("protojson"))])),
    ];
    let principal = head.connection.source_principal.as_deref();
    Ok(object(
        fields.into_iter().chain(principal.map(|principal| ("source_principal", Value::from(principal)))),
    ))
}

/// Envoy hands its authorization service one value a header, joined with a comma.
fn joined_headers(head: &RequestHead) -> Result<BTreeMap<String, String>, RequestError> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &head.headers {
        let refused = || match name.as_slice() {
            b":path" => RequestError::Path,
            name => RequestError::Header { name: String::from_utf8_lossy(name).into_owned() },
        };
        let name_text = std::str::from_utf8(name).map_err(|_| refused())?;
        let value = std::str::from_utf8(value).map_err(|_| refused())?;
        match joined.get_mut(name_text) {
            Some(joined) => {
                joined.push(',');
                joined.push_str(value);
            }
            None => {
                joined.insert(name_text.to_owned(), value.to_owned());
            }
        }
    }
    Ok(joined)
}

fn attributes(head: &RequestHead, headers: BTreeMap<String, String>) -> Value {
    let connection = &head.connection;
    let source = peer(connection.source.as_ref(), connection.source_principal.as_deref());
    let destination = peer(connection.destination.as_ref(), None);
    let tls = connection.requested_server_name.as_deref().filter(|name| !name.is_empty());
    let fields = [
        source.map(|source| ("source", source)),
        destination.map(|destination| ("destination", destination)),
        Some(("request", request(connection, headers))),
        tls.map(|name| ("tlsSession", object([("sni", Value::from(name))]))),
        Some(("metadataContext", Value::new_object())),
        Some(("routeMetadataContext", Value::new_object())),
    ];
    object(fields.into_iter().flatten())
}

fn peer(address: Option<&SocketAddress>, principal: Option<&str>) -> Option<Value> {
    let socket = address.map(|SocketAddress { address, port }| {
        let fields =
            [("address", Value::from(address.as_str())), ("portValue", Value::from(u64::from(*port)))];
        ("address", object([("socketAddress", object(fields))]))
    });
    let principal = principal.map(|principal| ("principal", Value::from(principal)));
    let fields: Vec<_> = socket.into_iter().chain(principal).collect();
    (!fields.is_empty()).then(|| object(fields))
}

fn request(connection: &Connection, headers: BTreeMap<String, String>) -> Value {
    let header = |name: &str| headers.get(name).map(|value| Value::from(value.as_str()));
    let http = [
        ("id", header("x-request-id")),
        ("method", header(":method")),
        ("path", header(":path")),
        ("host", header(":authority")),
        ("scheme", header(":scheme")),
        ("protocol", connection.protocol.as_deref().map(Value::from)),
    ];
    // Only fields that are set appear, as in the protobuf message's JSON form.
    let http: Vec<_> = http.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let http = object(http.into_iter().chain([("headers", string_map(headers))]));
    let time = connection.time_ns.map(|time_ns| {
        let fields = [
            ("seconds", Value::from(time_ns / 1_000_000_000)),
            ("nanos", Value::from(time_ns % 1_000_000_000)),
        ];
        ("time", object(fields))
    });
    object(time.into_iter().chain([("http", http)]))
}
