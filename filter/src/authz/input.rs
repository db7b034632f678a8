//! The `input` document, field for field as opa-envoy-plugin builds it, so that policies written for it run unchanged.
//!
//! Source: opa-envoy-plugin, `envoyauth/request.go` over Envoy's `CheckRequest` v3. The fields about a body are
//! absent, because the body is not read.

use super::request::{Connection, RequestError, RequestHead, SocketAddress, parse_path, parse_query};
use crate::policy::{Value, array, number, object};

pub(super) fn build(head: &RequestHead) -> Result<Value, RequestError> {
    let headers = joined_headers(head)?;
    let path = value_of(&headers, ":path").unwrap_or_default();
    let segments = array(parse_path(path)?.into_iter().map(Value::from).collect());
    let query = query(parse_query(path)?);
    let version = object([("encoding", Value::from("protojson")), ("ext_authz", Value::from("v3"))]);
    let principal = head.connection.source_principal.as_deref();
    // Here and below in the order of their names, in which an object keeps them.
    let fields = [
        Some(("attributes", attributes(head, &headers))),
        Some(("parsed_path", segments)),
        Some(("parsed_query", query)),
        principal.map(|principal| ("source_principal", Value::from(principal))),
        Some(("version", version)),
    ];
    Ok(object(fields.into_iter().flatten()))
}

/// One value a header.
type Headers<'a> = Vec<(&'a str, Joined<'a>)>;

/// The value of a header that came once, or the values of one that came more often.
enum Joined<'a> {
    One(&'a str),
    More(String),
}

/// By name. Envoy hands its authorization service one value a header, joined with a comma.
fn joined_headers(head: &RequestHead) -> Result<Headers<'_>, RequestError> {
    let mut headers = Vec::with_capacity(head.headers.len());
    for (name, value) in &head.headers {
        let refused = || match name.as_slice() {
            b":path" => RequestError::Path,
            name => RequestError::Header { name: String::from_utf8_lossy(name).into_owned() },
        };
        let name_text = std::str::from_utf8(name).map_err(|_| refused())?;
        let value = std::str::from_utf8(value).map_err(|_| refused())?;
        headers.push((name_text, Joined::One(value)));
    }
    // Stable: values of one name stay in their order.
    headers.sort_by_key(|(name, _)| *name);
    headers.dedup_by(|(later, value), (name, joined)| {
        let is_same = later == name;
        if is_same {
            *joined = Joined::More([joined.text(), value.text()].join(","));
        }
        is_same
    });
    Ok(headers)
}

fn value_of<'a>(headers: &'a Headers<'_>, name: &str) -> Option<&'a str> {
    let at = headers.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    headers.get(at).map(|(_, value)| value.text())
}

/// The values of each name, in order of appearance.
fn query(mut pairs: Vec<(String, String)>) -> Value {
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let names = pairs.chunk_by(|(one, _), (other, _)| one == other).filter_map(|pairs| {
        let (name, _) = pairs.first()?;
        let values = pairs.iter().map(|(_, value)| Value::from(value.as_str())).collect();
        Some((name.as_str(), array(values)))
    });
    object(names)
}

fn attributes(head: &RequestHead, headers: &Headers<'_>) -> Value {
    let connection = &head.connection;
    let source = peer(connection.source.as_ref(), connection.source_principal.as_deref());
    let destination = peer(connection.destination.as_ref(), None);
    let tls = connection.requested_server_name.as_deref().filter(|name| !name.is_empty());
    let fields = [
        destination.map(|destination| ("destination", destination)),
        Some(("metadataContext", object([]))),
        Some(("request", request(connection, headers))),
        Some(("routeMetadataContext", object([]))),
        source.map(|source| ("source", source)),
        tls.map(|name| ("tlsSession", object([("sni", Value::from(name))]))),
    ];
    object(fields.into_iter().flatten())
}

fn peer(address: Option<&SocketAddress>, principal: Option<&str>) -> Option<Value> {
    let socket = address.map(|SocketAddress { address, port }| {
        let fields =
            [("address", Value::from(address.as_str())), ("portValue", Value::from(i64::from(*port)))];
        ("address", object([("socketAddress", object(fields))]))
    });
    let principal = principal.map(|principal| ("principal", Value::from(principal)));
    let fields: Vec<_> = socket.into_iter().chain(principal).collect();
    (!fields.is_empty()).then(|| object(fields))
}

fn request(connection: &Connection, headers: &Headers<'_>) -> Value {
    let header = |name: &str| value_of(headers, name).map(Value::from);
    let all = object(headers.iter().map(|(name, value)| (*name, Value::from(value.text()))));
    let http = [
        ("headers", Some(all)),
        ("host", header(":authority")),
        ("id", header("x-request-id")),
        ("method", header(":method")),
        ("path", header(":path")),
        ("protocol", connection.protocol.as_deref().map(Value::from)),
        ("scheme", header(":scheme")),
    ];
    // Only fields that are set appear, as in the protobuf message's JSON form.
    let http = object(http.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let time = connection.time_ns.map(|time_ns| {
        let fields =
            [("nanos", number(time_ns % 1_000_000_000)), ("seconds", number(time_ns / 1_000_000_000))];
        ("time", object(fields))
    });
    object([("http", http)].into_iter().chain(time))
}

// === impl Joined ===

impl Joined<'_> {
    fn text(&self) -> &str {
        match self {
            Self::One(text) => text,
            Self::More(text) => text,
        }
    }
}
