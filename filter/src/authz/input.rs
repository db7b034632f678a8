//! The `input` document, field for field as opa-envoy-plugin builds it, so that policies written for it run unchanged: as
//! much of it as a policy reads.
//!
//! Source: opa-envoy-plugin, `envoyauth/request.go` over Envoy's `CheckRequest` v3.

use data_encoding::BASE64;

use super::{
    body::{Body, values},
    head::RequestHead,
    request::{Connection, RequestError, SocketAddress, check_path, check_query, parse_path, parse_query},
};
use crate::policy::{InputField, InputFields, Value, array, number, object};

/// A request as far as a policy reads it: what `input` is made of, and all that a decision can depend on.
pub(super) struct Reading<'a> {
    fields: &'a InputFields,
    head: &'a RequestHead,
    path: Joined<'a>,
    headers: Headers<'a>,
    body: Body,
    connection: Connection,
}

/// A body that is longer makes no key.
const MAX_KEY_BYTES: usize = 2 << 10;

/// One value a header, in the order of their names.
type Headers<'a> = Vec<(&'a str, Joined<'a>)>;

/// The value of a header that came once, or the values of one that came more often: Envoy hands its authorization service
/// one value a header, joined with a comma.
enum Joined<'a> {
    One(&'a str),
    More(String),
}

// === impl Reading ===

impl<'a> Reading<'a> {
    /// Checks the whole request, and keeps of it what `fields` says. `connection` is asked for once the request has passed.
    pub(super) fn new(
        head: &'a RequestHead,
        fields: &'a InputFields,
        body: Body,
        connection: impl FnOnce() -> Connection,
    ) -> Result<Self, RequestError> {
        let headers = match fields.headers() {
            None => all_headers(head)?,
            Some(names) => named_headers(head, names)?,
        };
        let path = joined(head, b":path").unwrap_or(Joined::One(""));
        check_path(path.text())?;
        check_query(path.text())?;
        Ok(Self { fields, head, path, headers, body, connection: connection() })
    }

    /// The document. Here and below in the order of their names, in which an object keeps them.
    pub(super) fn input(&self) -> Result<Value, RequestError> {
        let is_read = |field| self.fields.has(field);
        let path = self.path.text();
        let segments = is_read(InputField::ParsedPath).then(|| parse_path(path)).transpose()?;
        let segments = segments.map(|segments| array(segments.into_iter().map(Value::from).collect()));
        let query = is_read(InputField::ParsedQuery).then(|| query(parse_query(path)?)).transpose()?;
        let body = is_read(InputField::ParsedBody).then(|| self.parsed_body()).transpose()?;
        let version = is_read(InputField::Version)
            .then(|| object([("encoding", Value::from("protojson")), ("ext_authz", Value::from("v3"))]));
        let fields = [
            ("attributes", Some(self.attributes()?)),
            ("parsed_body", body),
            ("parsed_path", segments),
            ("parsed_query", query),
            ("source_principal", self.principal()),
            (
                "truncated_body",
                is_read(InputField::TruncatedBody).then(|| Value::Bool(self.body.is_truncated())),
            ),
            ("version", version),
        ];
        Ok(set(fields))
    }

    fn parsed_body(&self) -> Result<Value, RequestError> {
        let content_type = joined(self.head, b"content-type");
        self.body.parsed(content_type.as_ref().map(Joined::text))
    }

    fn attributes(&self) -> Result<Value, RequestError> {
        let is_read = |field| self.fields.has(field);
        let empty = |field| is_read(field).then(|| object([]));
        let connection = &self.connection;
        let tls = connection.requested_server_name.as_deref().filter(|name| !name.is_empty());
        let tls = tls.filter(|_| is_read(InputField::ServerName));
        let destination = connection.destination.as_ref().filter(|_| is_read(InputField::Destination));
        let source = connection.source.as_ref();
        let source = address(
            source.filter(|_| is_read(InputField::SourceAddress)),
            source.filter(|_| is_read(InputField::SourcePort)),
        );
        let source = set([("address", source), ("principal", self.principal())]);
        Ok(set([
            ("destination", address(destination, destination).map(|address| object([("address", address)]))),
            ("metadataContext", empty(InputField::MetadataContext)),
            ("request", Some(self.request()?)),
            ("routeMetadataContext", empty(InputField::RouteMetadataContext)),
            ("source", Some(source).filter(|source| source.as_object().is_some_and(|set| !set.is_empty()))),
            ("tlsSession", tls.map(|name| object([("sni", Value::from(name))]))),
        ]))
    }

    fn principal(&self) -> Option<Value> {
        let principal = self.connection.source_principal.as_deref()?;
        self.fields.has(InputField::SourcePrincipal).then(|| Value::from(principal))
    }

    fn request(&self) -> Result<Value, RequestError> {
        let is_read = |field| self.fields.has(field);
        let header = |field, name| {
            is_read(field).then(|| joined(self.head, name)).flatten().map(|value| Value::from(value.text()))
        };
        let headers = is_read(InputField::Headers)
            .then(|| object(self.headers.iter().map(|(name, value)| (*name, Value::from(value.text())))));
        let protocol = self.connection.protocol.as_deref().filter(|_| is_read(InputField::Protocol));
        // Only fields that are set appear, as in the protobuf message's JSON form.
        let has_body = !self.body.bytes().is_empty();
        let text = (has_body && is_read(InputField::Body)).then(|| self.body.text()).transpose()?;
        let raw = (has_body && is_read(InputField::RawBody)).then(|| BASE64.encode(self.body.bytes()));
        let http = set([
            ("body", text.map(Value::from)),
            ("headers", headers),
            ("host", header(InputField::Host, b":authority")),
            ("id", header(InputField::Id, b"x-request-id")),
            ("method", header(InputField::Method, b":method")),
            ("path", header(InputField::Path, b":path")),
            ("protocol", protocol.map(Value::from)),
            ("rawBody", raw.as_deref().map(Value::from)),
            ("scheme", header(InputField::Scheme, b":scheme")),
        ]);
        let time = self.connection.time_ns.filter(|_| is_read(InputField::Time)).map(|time_ns| {
            object([("nanos", number(time_ns % 1_000_000_000)), ("seconds", number(time_ns / 1_000_000_000))])
        });
        Ok(set([("http", Some(http)), ("time", time)]))
    }

    /// When the request began, in nanoseconds since the Unix epoch.
    pub(super) fn time_ns(&self) -> Option<u64> {
        self.connection.time_ns
    }

    /// The bytes of all that is read, but for what no two requests share ([`InputFields::may_recur`]): two requests with the
    /// same ones have the same `input`.
    /// None where they are more than is remembered.
    pub(super) fn key(&self) -> Option<Vec<u8>> {
        if self.body.bytes().len() > MAX_KEY_BYTES {
            return None;
        }
        let is_read = |field| self.fields.has(field);
        let connection = &self.connection;
        let mut key = Vec::with_capacity(128);
        let mut put = |value: Option<&str>| {
            // No text is that long.
            let length = value.map_or(u32::MAX, |text| u32::try_from(text.len()).unwrap_or(u32::MAX - 1));
            key.extend_from_slice(&length.to_le_bytes());
            key.extend_from_slice(value.unwrap_or_default().as_bytes());
        };
        if is_read(InputField::Headers) {
            for (name, value) in &self.headers {
                put(Some(name));
                put(Some(value.text()));
            }
        }
        for (field, name) in [
            (InputField::Host, &b":authority"[..]),
            (InputField::Method, b":method"),
            (InputField::Path, b":path"),
            (InputField::Scheme, b":scheme"),
        ] {
            if is_read(field) {
                put(joined(self.head, name).as_ref().map(Joined::text));
            }
        }
        let path = self.path.text();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        if is_read(InputField::ParsedPath) {
            put(Some(path));
        }
        if is_read(InputField::ParsedQuery) {
            put(query);
        }
        if is_read(InputField::Protocol) {
            put(connection.protocol.as_deref());
        }
        if is_read(InputField::SourcePrincipal) {
            put(connection.source_principal.as_deref());
        }
        if is_read(InputField::ServerName) {
            put(connection.requested_server_name.as_deref());
        }
        let mut number = |number: Option<u16>| put(number.map(|number| number.to_string()).as_deref());
        if is_read(InputField::SourcePort) {
            number(connection.source.as_ref().map(|source| source.port));
        }
        if is_read(InputField::Destination) {
            number(connection.destination.as_ref().map(|destination| destination.port));
            put(connection.destination.as_ref().map(|destination| destination.address.as_str()));
        }
        if is_read(InputField::SourceAddress) {
            put(connection.source.as_ref().map(|source| source.address.as_str()));
        }
        if self.fields.has_body() {
            put(joined(self.head, b"content-type").as_ref().map(Joined::text));
            put(Some(if self.body.is_truncated() { "truncated" } else { "" }));
            key.extend_from_slice(self.body.bytes());
        }
        Some(key)
    }
}

/// An object of those fields that are set.
fn set<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    object(fields.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

/// A socket's address and port, where they are known.
fn address(address: Option<&SocketAddress>, port: Option<&SocketAddress>) -> Option<Value> {
    address.or(port)?;
    let socket = set([
        ("address", address.map(|socket| Value::from(socket.address.as_str()))),
        ("portValue", port.map(|socket| Value::from(i64::from(socket.port)))),
    ]);
    Some(object([("socketAddress", socket)]))
}

/// Every header, by name.
fn all_headers(head: &RequestHead) -> Result<Headers<'_>, RequestError> {
    let mut headers = Vec::with_capacity(head.count());
    for header in head.iter() {
        let (name, value) = text(header)?;
        headers.push((name, Joined::One(value)));
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

/// Those of some names, which are sorted. The others are checked as well: what a request is answered does not depend on
/// what a policy reads of it.
fn named_headers<'a>(head: &'a RequestHead, names: &'a [String]) -> Result<Headers<'a>, RequestError> {
    let mut found: Vec<Option<Joined<'a>>> = names.iter().map(|_| None).collect();
    for header in head.iter() {
        let (name, value) = text(header)?;
        let place = names.binary_search_by(|known| known.as_str().cmp(name)).ok();
        match place.and_then(|place| found.get_mut(place)) {
            Some(Some(joined)) => joined.push(value),
            Some(place) => *place = Some(Joined::One(value)),
            None => {}
        }
    }
    Ok(names.iter().zip(found).filter_map(|(name, value)| Some((name.as_str(), value?))).collect())
}

/// Name and value of a header, if a JSON document can hold them.
fn text<'a>((name, value): (&'a [u8], &'a [u8])) -> Result<(&'a str, &'a str), RequestError> {
    let refused = || match name {
        b":path" => RequestError::Path,
        name => RequestError::Header { name: String::from_utf8_lossy(name).into_owned() },
    };
    let name_text = std::str::from_utf8(name).map_err(|_| refused())?;
    Ok((name_text, std::str::from_utf8(value).map_err(|_| refused())?))
}

/// The value of one header.
fn joined<'a>(head: &'a RequestHead, name: &[u8]) -> Option<Joined<'a>> {
    let values = head.iter().filter(|(known, _)| *known == name);
    let mut values = values.map(|(_, value)| std::str::from_utf8(value).unwrap_or_default());
    let mut joined = Joined::One(values.next()?);
    values.for_each(|value| joined.push(value));
    Some(joined)
}

fn query(pairs: Vec<(String, String)>) -> Result<Value, RequestError> {
    values(pairs, |text| Ok(Value::from(text.as_str())))
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
    use crate::policy::{Field, input_field, known_paths};

    /// A request of which everything is known.
    fn full() -> (RequestHead, Connection) {
        let address = SocketAddress::parse("127.0.0.1:80");
        let head = [
            (":authority", "a"),
            (":method", "GET"),
            (":path", "/a?b=c"),
            (":scheme", "http"),
            ("content-type", "application/json"),
            ("x-request-id", "7"),
        ];
        let head = head.into_iter().collect();
        let connection = Connection {
            source: Some(address.clone()),
            destination: Some(address),
            source_principal: Some("spiffe://a".to_owned()),
            requested_server_name: Some("a".to_owned()),
            protocol: Some("HTTP/1.1".to_owned()),
            time_ns: Some(7),
        };
        (head, connection)
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
        let (head, connection) = full();
        let fields = InputFields::all();
        let body = Body::whole(br#"{"a": 1}"#.to_vec());
        let input = Reading::new(&head, &fields, body, || connection).unwrap().input().unwrap();
        let mut found = Vec::new();
        leaves(&input, &mut Vec::new(), &mut found);
        for path in &found {
            let steps: Vec<&str> = path.split('.').collect();
            assert_eq!(input_field(&steps), Field::Known, "{path}");
        }
        let is_same = |(known, step): (&str, &str)| known == step || known == "*";
        for known in known_paths() {
            let is_built = |path: &String| known.split('.').zip(path.split('.')).all(is_same);
            assert!(found.iter().any(is_built), "{known}");
        }
    }
}
