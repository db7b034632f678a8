//! The `input` document, field for field as opa-envoy-plugin builds it, so that policies written for it run unchanged: as
//! much of it as a policy reads.
//!
//! Source: opa-envoy-plugin, `envoyauth/request.go` over Envoy's `CheckRequest` v3.

use std::collections::BTreeMap;

use data_encoding::BASE64;

use super::{
    body::{Body, values},
    head::RequestHead,
    metadata::{self, MetadataError, Namespaces},
    request::{
        Asked, Connection, DECISION_NAMESPACE, RequestError, SocketAddress, Unavailable, check_path,
        check_query, parse_path, parse_query,
    },
};
use crate::{
    config::SourceAddress,
    policy::{InputField, InputFields, PARTIAL_BODY, Value, array, number, object, string_map},
};

/// A request as far as a policy reads it: what `input` is made of, and all that a decision can depend on.
pub(super) struct Reading<'a> {
    fields: &'a InputFields,
    head: &'a RequestHead,
    path: Joined<'a>,
    headers: Headers<'a>,
    body: Body,
    connection: Connection,
    extensions: BTreeMap<String, String>,
    metadata: Namespaces,
    route_metadata: Namespaces,
    decision_id: Option<String>,
}

/// A body that is longer makes no key.
const MAX_KEY_BYTES: usize = 2 << 10;
/// The header in which Envoy is told the name of the service that calls.
const SERVICE: &[u8] = b"x-envoy-downstream-service-cluster";

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
    /// Checks the whole request, and keeps of it what is asked for. `connection` is asked for once the request has passed.
    pub(super) fn new(
        head: &'a RequestHead,
        asked: &Asked<'a>,
        body: Body,
        connection: impl FnOnce() -> Connection,
    ) -> Result<Self, RequestError> {
        let Asked { fields, config } = *asked;
        let mut headers = match fields.headers() {
            None => all_headers(head)?,
            Some(names) => named_headers(head, names)?,
        };
        // It is said here, and by no client.
        headers.retain(|(name, _)| *name != PARTIAL_BODY);
        let is_named = fields.headers().is_none_or(|names| names.iter().any(|name| name == PARTIAL_BODY));
        if is_named && let Some(is_partial) = body.is_partial() {
            let at = headers.partition_point(|(name, _)| *name < PARTIAL_BODY);
            headers.insert(at, (PARTIAL_BODY, Joined::One(if is_partial { "true" } else { "false" })));
        }
        let path = joined(head, b":path").unwrap_or(Joined::One(""));
        check_path(path.text())?;
        check_query(path.text())?;
        let mut connection = connection();
        if config.source_address == SourceAddress::Connection
            && (fields.has(InputField::SourceAddress) || fields.has(InputField::SourcePort))
            && connection.source.as_ref().is_some_and(SocketAddress::is_told_by_a_header)
        {
            connection.source = Some(connection.peer.take().ok_or(Unavailable::SourceAddress)?);
        }
        let given = |bytes: &'_ Option<Vec<u8>>, field| bytes.clone().filter(|_| asked.has(field));
        let of_host = given(&connection.virtual_host_metadata, InputField::ContextExtensions);
        let of_route = given(&connection.route_metadata, InputField::ContextExtensions);
        let extensions = metadata::context_extensions(of_host.as_deref(), of_route.as_deref())
            .map_err(unavailable("contextExtensions"))?;
        let route_metadata = given(&connection.route_metadata, InputField::RouteMetadataContext);
        let route_metadata =
            metadata::namespaces(&route_metadata.unwrap_or_default(), &config.route_metadata_namespaces)
                .map_err(unavailable("routeMetadataContext"))?;
        let metadata = given(&connection.metadata, InputField::MetadataContext);
        let mut metadata = metadata::namespaces(&metadata.unwrap_or_default(), &config.metadata_namespaces)
            .map_err(unavailable("metadataContext"))?;
        // That one is ours to fill.
        metadata.retain(|(name, _)| name != DECISION_NAMESPACE);
        Ok(Self {
            fields,
            head,
            path,
            headers,
            body,
            connection,
            extensions,
            metadata,
            route_metadata,
            decision_id: None,
        })
    }

    /// Tells the policy the id of its decision.
    pub(super) fn identify(&mut self, decision_id: String) {
        self.decision_id = Some(decision_id);
    }

    /// The document. Here and below in the order of their names, in which an object keeps them.
    pub(super) fn input(&self) -> Result<Value, RequestError> {
        let is_read = |field| self.fields.has(field);
        let path = self.path.text();
        let segments = is_read(InputField::ParsedPath).then(|| parse_path(path)).transpose()?;
        let segments = segments.map(|segments| array(segments.into_iter().map(Value::from).collect()));
        let query = is_read(InputField::ParsedQuery).then(|| query(parse_query(path)?)).transpose()?;
        let body = if is_read(InputField::ParsedBody) { self.parsed_body()? } else { None };
        let truncated = if is_read(InputField::TruncatedBody) { self.body.is_truncated() } else { None };
        let version = is_read(InputField::Version)
            .then(|| object([("encoding", Value::from("protojson")), ("ext_authz", Value::from("v3"))]));
        let fields = [
            ("attributes", Some(self.attributes()?)),
            ("parsed_body", body),
            ("parsed_path", segments),
            ("parsed_query", query),
            ("source_principal", self.principal()),
            ("truncated_body", truncated.map(Value::Bool)),
            ("version", version),
        ];
        Ok(set(fields))
    }

    /// None where it is not read.
    fn parsed_body(&self) -> Result<Option<Value>, RequestError> {
        let content_type = joined(self.head, b"content-type");
        self.body.parsed(content_type.as_ref().map(Joined::text))
    }

    fn attributes(&self) -> Result<Value, RequestError> {
        let is_read = |field| self.fields.has(field);
        // There without TLS too, as ext_authz sends it with `include_tls_session`.
        let tls = is_read(InputField::ServerName)
            .then(|| set([("sni", self.connection.requested_server_name.as_deref().and_then(some_text))]));
        let extensions = self.extensions.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let metadata = is_read(InputField::MetadataContext)
            .then(|| metadata_context(&self.metadata, self.decision_id.as_deref()))
            .transpose()
            .map_err(unavailable("metadataContext"))?;
        let route_metadata = is_read(InputField::RouteMetadataContext)
            .then(|| metadata_context(&self.route_metadata, None))
            .transpose()
            .map_err(unavailable("routeMetadataContext"))?;
        Ok(set([
            ("contextExtensions", filled(string_map(extensions))),
            ("destination", filled(self.destination())),
            ("metadataContext", metadata),
            ("request", Some(self.request()?)),
            ("routeMetadataContext", route_metadata),
            ("source", filled(self.source())),
            ("tlsSession", tls),
        ]))
    }

    fn destination(&self) -> Value {
        let Connection { destination, destination_principal, .. } = &self.connection;
        let destination = destination.as_ref().filter(|_| self.fields.has(InputField::Destination));
        set([
            ("address", address(destination, destination)),
            ("principal", self.text(InputField::DestinationPrincipal, destination_principal.as_deref())),
        ])
    }

    fn source(&self) -> Value {
        let source = self.connection.source.as_ref();
        let address = address(
            source.filter(|_| self.fields.has(InputField::SourceAddress)),
            source.filter(|_| self.fields.has(InputField::SourcePort)),
        );
        set([
            ("address", address),
            (
                "certificate",
                self.text(InputField::SourceCertificate, self.connection.source_certificate.as_deref()),
            ),
            ("principal", self.principal()),
            ("service", self.header(InputField::SourceService, SERVICE)),
        ])
    }

    fn principal(&self) -> Option<Value> {
        self.text(InputField::SourcePrincipal, self.connection.source_principal.as_deref())
    }

    /// Only fields that are set appear, as in the protobuf message's JSON form: an empty text is none.
    fn text(&self, field: InputField, value: Option<&str>) -> Option<Value> {
        if self.fields.has(field) { some_text(value?) } else { None }
    }

    fn header(&self, field: InputField, name: &[u8]) -> Option<Value> {
        let value = self.fields.has(field).then(|| joined(self.head, name)).flatten()?;
        some_text(value.text())
    }

    fn request(&self) -> Result<Value, RequestError> {
        let is_read = |field| self.fields.has(field);
        let headers = is_read(InputField::Headers)
            .then(|| object(self.headers.iter().map(|(name, value)| (*name, Value::from(value.text())))));
        // Only fields that are set appear, as in the protobuf message's JSON form.
        let has_body = !self.body.bytes().is_empty();
        let text = (has_body && is_read(InputField::Body)).then(|| self.body.text()).transpose()?;
        let raw = (has_body && is_read(InputField::RawBody)).then(|| BASE64.encode(self.body.bytes()));
        let http = set([
            ("body", text.map(Value::from)),
            ("headers", headers),
            ("host", self.header(InputField::Host, b":authority")),
            ("id", self.header(InputField::Id, b"x-request-id")),
            ("method", self.header(InputField::Method, b":method")),
            ("path", self.header(InputField::Path, b":path")),
            ("protocol", self.text(InputField::Protocol, self.connection.protocol.as_deref())),
            ("rawBody", raw.as_deref().map(Value::from)),
            ("scheme", self.header(InputField::Scheme, b":scheme")),
            ("size", self.size().and_then(some_number)),
        ]);
        let time = self.connection.time_ns.filter(|_| is_read(InputField::Time)).map(|time_ns| {
            // One request in a million, or less, has no nanoseconds there.
            object([("nanos", number(time_ns % 1_000_000_000)), ("seconds", number(time_ns / 1_000_000_000))])
        });
        Ok(set([("http", Some(http)), ("time", time)]))
    }

    /// The length that a body is announced with.
    fn size(&self) -> Option<u64> {
        if !self.fields.has(InputField::Size) {
            return None;
        }
        joined(self.head, b"content-length")?.text().parse().ok()
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
        let mut put_bytes = |value: Option<&[u8]>| {
            // No text is that long.
            let length = value.map_or(u32::MAX, |bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1));
            key.extend_from_slice(&length.to_le_bytes());
            key.extend_from_slice(value.unwrap_or_default());
        };
        for namespaces in [&self.metadata, &self.route_metadata] {
            for (name, namespace) in namespaces {
                put_bytes(Some(name.as_bytes()));
                put_bytes(Some(namespace));
            }
            // Where one list ends, whatever is in the next.
            put_bytes(None);
        }
        let mut put = |value: Option<&str>| put_bytes(value.map(str::as_bytes));
        if is_read(InputField::ContextExtensions) {
            for (name, value) in &self.extensions {
                put(Some(name));
                put(Some(value));
            }
            put(None);
        }
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
            (InputField::Size, b"content-length"),
            (InputField::SourceService, SERVICE),
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
        if is_read(InputField::SourceCertificate) {
            put(connection.source_certificate.as_deref());
        }
        if is_read(InputField::DestinationPrincipal) {
            put(connection.destination_principal.as_deref());
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
            put(self
                .body
                .is_truncated()
                .map(|is_truncated| if is_truncated { "truncated" } else { "whole" }));
            key.extend_from_slice(self.body.bytes());
        }
        Some(key)
    }
}

/// The namespaces of metadata, and the id of the decision where it is to be told.
fn metadata_context(namespaces: &Namespaces, decision_id: Option<&str>) -> Result<Value, MetadataError> {
    let mut all = Vec::with_capacity(namespaces.len());
    for (name, namespace) in namespaces {
        all.push((name.as_str(), metadata::value(namespace)?));
    }
    all.extend(decision_id.map(|id| (DECISION_NAMESPACE, object([("decision_id", Value::from(id))]))));
    Ok(if all.is_empty() { object([]) } else { object([("filterMetadata", object(all))]) })
}

fn unavailable(field: &'static str) -> impl Fn(MetadataError) -> RequestError {
    move |error| Unavailable::Metadata { field, error }.into()
}

/// An object of those fields that are set.
fn set<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    object(fields.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

/// An object, if there is something in it.
fn filled(value: Value) -> Option<Value> {
    let is_empty = value.as_object().is_none_or(|object| object.is_empty());
    (!is_empty).then_some(value)
}

/// A text, if it is not empty.
fn some_text(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| Value::from(text))
}

/// A number, if it is not zero.
fn some_number(value: u64) -> Option<Value> {
    (value > 0).then(|| number(value))
}

/// A socket's address and port, where they are known.
fn address(address: Option<&SocketAddress>, port: Option<&SocketAddress>) -> Option<Value> {
    address.or(port)?;
    let socket = set([
        ("address", address.map(|socket| Value::from(socket.address.as_str()))),
        ("portValue", port.and_then(|socket| some_number(socket.port.into()))),
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
    use crate::{
        authz::metadata::tests::bytes as metadata,
        config::InputConfig,
        policy::{Field, input_field, known_paths},
    };

    /// A request of which everything is known.
    fn full() -> (RequestHead, Connection) {
        let address = SocketAddress::parse("127.0.0.1:80");
        let head = [
            (":authority", "a"),
            (":method", "GET"),
            (":path", "/a?b=c"),
            (":scheme", "http"),
            ("content-length", "7"),
            ("content-type", "application/json"),
            ("x-envoy-downstream-service-cluster", "shop"),
            ("x-request-id", "7"),
        ];
        let head = head.into_iter().collect();
        let connection = Connection {
            source: Some(address.clone()),
            destination: Some(address),
            source_principal: Some("spiffe://a".to_owned()),
            source_certificate: Some("-----BEGIN".to_owned()),
            destination_principal: Some("spiffe://b".to_owned()),
            requested_server_name: Some("a".to_owned()),
            protocol: Some("HTTP/1.1".to_owned()),
            time_ns: Some(7_000_000_007),
            peer: None,
            metadata: Some(metadata(&serde_json::json!({ "jwt": { "sub": "ada" } }))),
            route_metadata: Some(metadata(
                &serde_json::json!({ "portcullis": { "context_extensions": { "a": "b" } }, "route": { "x": 1 } }),
            )),
            virtual_host_metadata: None,
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
    fn what_stands_in_another_place_has_another_key() {
        let names = || vec!["jwt".to_owned()];
        let config = InputConfig {
            metadata_namespaces: names(),
            route_metadata_namespaces: names(),
            ..InputConfig::default()
        };
        let fields = InputFields::all();
        let asked = Asked { fields: &fields, config: &config };
        let bytes = || Some(metadata(&serde_json::json!({ "jwt": { "sub": "ada" } })));
        let key = |metadata, route_metadata| {
            let (head, _) = full();
            let connection = Connection { metadata, route_metadata, ..Connection::default() };
            Reading::new(&head, &asked, Body::default(), || connection).unwrap().key()
        };
        assert_eq!(key(bytes(), None), key(bytes(), None));
        assert_ne!(key(bytes(), None), key(None, bytes()));
    }

    #[test]
    fn the_fields_are_those_that_are_built() {
        let (head, connection) = full();
        let fields = InputFields::all();
        let config = InputConfig {
            metadata_namespaces: vec!["jwt".to_owned()],
            route_metadata_namespaces: vec!["route".to_owned()],
            ..InputConfig::default()
        };
        let asked = Asked { fields: &fields, config: &config };
        let body = Body::whole(br#"{"a": 1}"#.to_vec());
        let input = Reading::new(&head, &asked, body, || connection).unwrap().input().unwrap();
        let mut found = Vec::new();
        leaves(&input, &mut Vec::new(), &mut found);
        for path in &found {
            let steps: Vec<&str> = path.split('.').collect();
            assert!(!matches!(input_field(&steps), Field::Unknown { .. }), "{path}");
        }
        let is_same = |(known, step): (&str, &str)| known == step || known == "*";
        for known in known_paths() {
            let is_built = |path: &String| known.split('.').zip(path.split('.')).all(is_same);
            assert!(found.iter().any(is_built), "{known}");
        }
    }
}
