//! A request's head as the host hands it over, and its path and query as opa-envoy-plugin reads them.

use percent_encoding::percent_decode_str;

use super::{body::Progress, head::RequestHead, metadata::MetadataError};
use crate::{
    config::InputConfig,
    policy::{InputField, InputFields},
};

/// Filter state in which Envoy can hand on the peer's certificate: its own filter `set_filter_state` makes it of
/// `%DOWNSTREAM_PEER_CERT%`. A client has no part in filter state.
pub const PEER_CERTIFICATE_KEY: &str = "portcullis.peer_certificate";

/// Filter state in which Envoy can hand on the address of the connection's peer: its own filter `set_filter_state` makes it of
/// `%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%`.
pub const PEER_ADDRESS_KEY: &str = "portcullis.peer_address";

/// The namespace of dynamic metadata in which policies for Skipper find the decision's id.
pub(super) const DECISION_NAMESPACE: &str = "open_policy_agent";

/// What the host tells of a request, when it is asked.
pub trait Request {
    /// The headers; none if the host does not give them.
    fn head(&self) -> Option<RequestHead>;

    /// What is not in the headers, as far as it is asked for.
    fn connection(&self, asked: &Asked<'_>) -> Connection;

    /// How far the body has come.
    fn progress(&self) -> Progress {
        Progress::Ended
    }

    /// What has come of the body, no more than the first `most` bytes; none if the host does not give it.
    fn body(&self, _most: usize) -> Option<Vec<u8>> {
        Some(Vec::new())
    }
}

/// What the host is asked for of a request: what a policy reads, and what the configuration gives it to read.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What the policy reads.
    pub fields: &'a InputFields,
    /// What `input` has.
    pub config: &'a InputConfig,
}

/// What Envoy's properties say about a request beyond its headers; absent where Envoy says nothing, or was not asked.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// The downstream peer, or whom Envoy takes for the client: [`SocketAddress::is_told_by_a_header`] tells them apart.
    pub source: Option<SocketAddress>,
    /// The connection's peer, where Envoy hands that on by [`PEER_ADDRESS_KEY`]; asked for where `source` is another.
    pub peer: Option<SocketAddress>,
    /// The address that the peer connected to.
    pub destination: Option<SocketAddress>,
    /// Identity in the peer's certificate: its first URI SAN, else its first DNS SAN, else its subject.
    pub source_principal: Option<String>,
    /// The peer's certificate, URL-encoded PEM.
    pub source_certificate: Option<String>,
    /// The same of Envoy's own certificate as `source_principal` of the peer's.
    pub destination_principal: Option<String>,
    /// Server name that the peer asked for by TLS.
    pub requested_server_name: Option<String>,
    /// `HTTP/1.1`, `HTTP/2`.
    pub protocol: Option<String>,
    /// When the request began, in nanoseconds since the Unix epoch.
    pub time_ns: Option<u64>,
    /// The bytes of Envoy's dynamic metadata, an `envoy.config.core.v3.Metadata`.
    pub metadata: Option<Vec<u8>>,
    /// The same of the route's.
    pub route_metadata: Option<Vec<u8>>,
    /// The same of the virtual host's.
    pub virtual_host_metadata: Option<Vec<u8>>,
}

/// An IP address with its port, or the path of a Unix socket with port 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketAddress {
    /// Without brackets and port.
    pub address: String,
    /// 0 where there is none.
    pub port: u16,
}

/// Why a request cannot be put to a policy. The client is answered 400; 500 where it is not the client's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A header that a JSON document cannot hold.
    #[error("header `{name}` is not UTF-8")]
    Header {
        /// The name, as far as it can be shown.
        name: String,
    },
    /// A path that does not decode to text.
    #[error("the path is not percent-encoded UTF-8")]
    Path,
    /// A path that servers read differently.
    #[error("the path has more than one reading")]
    AmbiguousPath,
    /// A query that does not decode to text, or has a `;`.
    #[error("the query is not percent-encoded UTF-8 of `&`-separated pairs")]
    Query,
    /// A body that is not what its media type says, or no text where a policy reads text.
    #[error("the body {0}")]
    Body(&'static str),
    /// A request for another protocol that brings a body: where that ends, servers see differently.
    #[error("a request for another protocol has no body")]
    Tunnel,
    /// A body longer than may be held, for a policy that does not ask whether it is cut off.
    #[error("the body is longer than `portcullis.body.max_bytes`")]
    BodyTooLong,
    /// No room for a body beside those of other requests.
    #[error("the bodies that wait are longer than `portcullis.body.in_flight_bytes`")]
    NoRoom,
    /// Something that the policy reads cannot be told as it is.
    #[error("{0}")]
    Unavailable(#[from] Unavailable),
}

/// What cannot be told of a request as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The address of the connection's peer.
    #[error(
        "`input.attributes.source.address`: Envoy's connection manager took the address from a header, which a client may have \
         written; set `use_remote_address: true` without trusted hops, or hand the connection's on as filter state \
         `{PEER_ADDRESS_KEY}`, or, if the header can be trusted, set `portcullis.source_address: trusted_client`"
    )]
    SourceAddress,
    /// Metadata.
    #[error("`input.attributes.{field}`: {error}")]
    Metadata {
        /// Below `input.attributes`.
        field: &'static str,
        /// Why.
        error: MetadataError,
    },
}

// === impl Asked ===

impl Asked<'_> {
    /// Whether a field is to be told.
    pub fn has(&self, field: InputField) -> bool {
        let InputConfig { metadata_namespaces, route_metadata_namespaces, .. } = self.config;
        let is_given = match field {
            InputField::MetadataContext => metadata_namespaces.iter().any(|name| name != DECISION_NAMESPACE),
            InputField::RouteMetadataContext => !route_metadata_namespaces.is_empty(),
            _ => true,
        };
        is_given && self.fields.has(field)
    }

    /// Whether the policy reads the decision's id, and is given it.
    pub(super) fn tells_decision_id(&self) -> bool {
        self.fields.has(InputField::MetadataContext)
            && self.config.metadata_namespaces.iter().any(|name| name == DECISION_NAMESPACE)
    }
}

// === impl SocketAddress ===

impl SocketAddress {
    /// Reads Envoy's notation: `127.0.0.1:80`, `[::1]:80`; anything else is taken as a path.
    pub fn parse(text: &str) -> Self {
        match text.parse::<std::net::SocketAddr>() {
            Ok(socket) => Self { address: socket.ip().to_string(), port: socket.port() },
            Err(_) => Self { address: text.to_owned(), port: 0 },
        }
    }

    /// Whether Envoy has this address from a header: one has no port there, and each connection has one.
    /// Source: Envoy `source/common/http/utility.cc`, `getLastAddressFromXFF`, and the extensions that detect the original
    /// address; measured with Envoy 1.40, in which an address with a port is not taken from a header.
    pub fn is_told_by_a_header(&self) -> bool {
        self.port == 0 && self.address.parse::<std::net::IpAddr>().is_ok()
    }
}

/// Segments of a path, decoded first and split then, so that `%2F` separates as it will for most upstreams.
///
/// Source: opa-envoy-plugin, `getParsedPathAndQuery`: cut at `?`, unescape the whole, trim all leading slashes.
pub(super) fn parse_path(path: &str) -> Result<Vec<String>, RequestError> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let decoded = unescape(path).ok_or(RequestError::Path)?;
    Ok(decoded.trim_start_matches('/').split('/').map(str::to_owned).collect())
}

/// Pairs of a query in order of appearance.
///
/// Source: Go's `url.ParseQuery`, which opa-envoy-plugin calls: `;` is an error, `+` is a space, a key may stand alone.
pub(super) fn parse_query(path: &str) -> Result<Vec<(String, String)>, RequestError> {
    match path.split_once('?') {
        Some((_, query)) => parse_pairs(query).ok_or(RequestError::Query),
        None => Ok(Vec::new()),
    }
}

/// Pairs of a query, or of a form in a body.
pub(super) fn parse_pairs(query: &str) -> Option<Vec<(String, String)>> {
    let decode = |text: &str| unescape(&text.replace('+', " "));
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(key)?, decode(value)?)).filter(|_| !pair.contains(';'))
    });
    pairs.collect()
}

/// Whether [`parse_path`] takes a path.
pub(super) fn check_path(path: &str) -> Result<(), RequestError> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if is_decodable(path) { Ok(()) } else { Err(RequestError::Path) }
}

/// Whether [`parse_query`] takes the query of a path.
pub(super) fn check_query(path: &str) -> Result<(), RequestError> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    // `&` and `=` are no hexadecimal digits, and no part of a character that is escaped: none is decoded across them.
    let is_taken = !query.contains(';') && query.split(['&', '=']).all(is_decodable);
    if is_taken { Ok(()) } else { Err(RequestError::Query) }
}

fn is_decodable(text: &str) -> bool {
    !text.contains('%') || unescape(text).is_some()
}

/// Percent-decoding that refuses what the lenient crates leave standing: `%` without two hex digits.
fn unescape(text: &str) -> Option<String> {
    let well_formed = text.split('%').skip(1).all(|after| {
        let mut digits = after.bytes();
        [digits.next(), digits.next()]
            .iter()
            .all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit()))
    });
    if !well_formed {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(|decoded| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_as_opa_envoy_plugin_splits_them() {
        let cases: &[(&str, &[&str])] = &[
            ("/", &[""]),
            ("/a/b?x=1", &["a", "b"]),
            ("//admin/x", &["admin", "x"]),
            ("/a//b/", &["a", "", "b", ""]),
            ("/a%2Fb", &["a", "b"]),
            ("%2F%2Fa", &["a"]),
            ("/a/../b/.", &["a", "..", "b", "."]),
            ("/a#b", &["a#b"]),
            ("/%C3%A9", &["é"]),
            ("", &[""]),
        ];
        for (path, expected) in cases {
            assert_eq!(parse_path(path).unwrap(), *expected, "{path}");
        }
        for path in ["/%", "/%4", "/%zz", "/%ff", "/%+1"] {
            assert_eq!(parse_path(path), Err(RequestError::Path), "{path}");
        }
    }

    #[test]
    fn queries_parse_as_in_go() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("/", &[]),
            ("/?", &[]),
            ("/?a=1&a=2&b", &[("a", "1"), ("a", "2"), ("b", "")]),
            ("/?a+b=c%20d&&=x", &[("a b", "c d"), ("", "x")]),
            ("/?a=b=c?d", &[("a", "b=c?d")]),
        ];
        for (path, expected) in cases {
            let pairs = parse_query(path).unwrap();
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(pairs, *expected, "{path}");
        }
        for path in ["/?a;b", "/?a=%", "/?%ff=1"] {
            assert_eq!(parse_query(path), Err(RequestError::Query), "{path}");
        }
    }

    #[test]
    fn an_address_without_a_port_is_of_no_connection() {
        for (text, is_told) in [
            ("10.0.0.1:0", true),
            ("[2001:db8::1]:0", true),
            ("10.0.0.1", true),
            ("10.0.0.1:1", false),
            ("[::1]:65535", false),
            ("/run/envoy.sock", false),
            ("", false),
        ] {
            assert_eq!(SocketAddress::parse(text).is_told_by_a_header(), is_told, "{text}");
        }
    }

    #[test]
    fn addresses_are_read_in_envoys_notation() {
        let parsed = |text| {
            let SocketAddress { address, port } = SocketAddress::parse(text);
            (address, port)
        };
        assert_eq!(parsed("127.0.0.1:80"), ("127.0.0.1".to_owned(), 80));
        assert_eq!(parsed("[::1]:8443"), ("::1".to_owned(), 8443));
        assert_eq!(parsed("/run/envoy.sock"), ("/run/envoy.sock".to_owned(), 0));
    }
}
