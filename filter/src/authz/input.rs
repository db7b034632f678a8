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

/// What the gate's `input` has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// It has it, if the request does.
    Known,
    /// opa-envoy-plugin has it, and the gate has not, because of this.
    Absent(&'static str),
    /// It never has it. What stands there beside the first step that is unknown, which has this position.
    Unknown {
        /// Position of the step in the path.
        at: usize,
        /// The names that stand there.
        known: Vec<&'static str>,
    },
}

/// The fields of `input`; `*` stands for any name, and nothing is said of what is below.
const FIELDS: &[&str] = &[
    "attributes.destination.address.socketAddress.address",
    "attributes.destination.address.socketAddress.portValue",
    "attributes.metadataContext",
    "attributes.request.http.headers.*",
    "attributes.request.http.host",
    "attributes.request.http.id",
    "attributes.request.http.method",
    "attributes.request.http.path",
    "attributes.request.http.protocol",
    "attributes.request.http.scheme",
    "attributes.request.time.nanos",
    "attributes.request.time.seconds",
    "attributes.routeMetadataContext",
    "attributes.source.address.socketAddress.address",
    "attributes.source.address.socketAddress.portValue",
    "attributes.source.principal",
    "attributes.tlsSession.sni",
    "parsed_path.*",
    "parsed_query.*.*",
    "source_principal",
    "version.encoding",
    "version.ext_authz",
];

/// Those of opa-envoy-plugin alone.
const ABSENT: &[(&str, &str)] = &[
    ("attributes.contextExtensions", "a Wasm filter has no context extensions"),
    ("attributes.destination.principal", "Envoy tells a Wasm filter nothing of it"),
    ("attributes.metadataContext.*", "a Wasm filter has no metadata context"),
    ("attributes.request.http.body", "bodies are not read"),
    ("attributes.request.http.rawBody", "bodies are not read"),
    ("attributes.request.http.size", "bodies are not read"),
    ("attributes.routeMetadataContext.*", "a Wasm filter has no metadata context"),
    ("attributes.source.certificate", "the peer's certificate is not handed on"),
    ("parsed_body", "bodies are not read"),
    ("truncated_body", "bodies are not read"),
];

/// Whether `input` can have something at a path of keys.
pub fn field(path: &[&str]) -> Field {
    if let Some((_, why)) = ABSENT.iter().find(|(known, _)| agreeing(known, path) == known.split('.').count())
    {
        return Field::Absent(why);
    }
    let reaches = |known: &&&str| {
        let agreed = agreeing(known, path);
        agreed == path.len() || agreed == known.split('.').count()
    };
    // What is below a text or a number is not there either; what is below `*` is not known.
    if FIELDS
        .iter()
        .any(|known| reaches(&known) && (known.ends_with('*') || agreeing(known, path) == path.len()))
    {
        return Field::Known;
    }
    let at = FIELDS.iter().map(|known| agreeing(known, path)).max().unwrap_or_default();
    let mut known: Vec<&str> = FIELDS
        .iter()
        .filter(|known| agreeing(known, path) == at)
        .filter_map(|known| known.split('.').nth(at))
        .collect();
    known.dedup();
    Field::Unknown { at, known }
}

/// How many steps of a path are those of a field.
fn agreeing(field: &str, path: &[&str]) -> usize {
    field.split('.').zip(path).take_while(|(known, step)| known == *step || *known == "*").count()
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
            joined.push(value.text());
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
    /// Grows in place: a header that comes again and again costs what it is long.
    fn push(&mut self, value: &str) {
        match self {
            Self::One(first) => *self = Self::More([*first, value].join(",")),
            Self::More(text) => {
                text.push(',');
                text.push_str(value);
            }
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::One(text) => text,
            Self::More(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request of which everything is known.
    fn full() -> RequestHead {
        let header = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let address = SocketAddress::parse("127.0.0.1:80");
        RequestHead {
            headers: vec![
                header(":authority", "a"),
                header(":method", "GET"),
                header(":path", "/a?b=c"),
                header(":scheme", "http"),
                header("x-request-id", "7"),
            ],
            connection: Connection {
                source: Some(address.clone()),
                destination: Some(address),
                source_principal: Some("spiffe://a".to_owned()),
                requested_server_name: Some("a".to_owned()),
                protocol: Some("HTTP/1.1".to_owned()),
                time_ns: Some(7),
            },
        }
    }

    /// The paths to what has nothing below it.
    fn leaves(value: &Value, path: &mut Vec<String>, found: &mut Vec<String>) {
        let pairs: Vec<(String, Value)> = match value {
            Value::Object(object) => object
                .iter()
                .map(|(key, value)| (crate::policy::string(key).unwrap().to_owned(), value.clone()))
                .collect(),
            Value::Array(list) => {
                list.iter().enumerate().map(|(at, value)| (at.to_string(), value.clone())).collect()
            }
            _ => Vec::new(),
        };
        if pairs.is_empty() {
            found.push(path.join("."));
        }
        for (key, value) in pairs {
            path.push(key);
            leaves(&value, path, found);
            path.pop();
        }
    }

    #[test]
    fn the_fields_are_those_that_are_built() {
        let mut found = Vec::new();
        leaves(&build(&full()).unwrap(), &mut Vec::new(), &mut found);
        for path in &found {
            let steps: Vec<&str> = path.split('.').collect();
            assert!(FIELDS.iter().any(|known| agreeing(known, &steps) == steps.len()), "{path}");
        }
        for known in FIELDS {
            let built = |path: &String| {
                agreeing(known, &path.split('.').collect::<Vec<_>>()) == known.split('.').count()
            };
            assert!(found.iter().any(built), "{known}");
        }
    }

    #[test]
    fn what_is_never_there_is_told_with_what_is() {
        for path in [&[][..], &["attributes"], &["parsed_path", "0"], &["parsed_query", "a", "0", "b"]] {
            assert_eq!(field(path), Field::Known, "{path:?}");
        }
        assert_eq!(field(&["attributes", "request", "http", "headers", "x"]), Field::Known);
        assert_eq!(field(&["parsed_body", "a"]), Field::Absent("bodies are not read"));
        let Field::Unknown { at, known } = field(&["attributes", "request", "http", "metod"]) else {
            panic!()
        };
        assert!(at == 3 && known.contains(&"method") && !known.contains(&"address"), "{known:?}");
        let Field::Unknown { at, known } = field(&["user"]) else { panic!() };
        assert!(
            at == 0 && known == ["attributes", "parsed_path", "parsed_query", "source_principal", "version"]
        );
    }
}
