//! What is asked of the host: metrics defined once, and properties read into the core's types.

use std::collections::BTreeMap;

use proxy_wasm::{hostcalls, types::MetricType};

use crate::authz::{Connection, SocketAddress};

/// Metric ids by name. Envoy gives a new id, and leaks the old, each time a name is defined.
#[derive(Default)]
pub(super) struct Metrics {
    ids: BTreeMap<String, u32>,
}

impl Metrics {
    pub(super) fn increment(&mut self, name: &str) {
        let id = match self.ids.get(name) {
            Some(id) => *id,
            None => {
                let Ok(id) = hostcalls::define_metric(MetricType::Counter, name) else {
                    return;
                };
                self.ids.insert(name.to_owned(), id);
                id
            }
        };
        let _ = hostcalls::increment_metric(id, 1);
    }
}

/// What Envoy knows about the request beyond its headers.
///
/// Source: Envoy's attribute reference; integers and timestamps arrive as 8 bytes little-endian, booleans as one byte.
pub(super) fn connection() -> Connection {
    Connection {
        source: text(&["source", "address"]).as_deref().map(SocketAddress::parse),
        destination: text(&["destination", "address"]).as_deref().map(SocketAddress::parse),
        source_principal: source_principal(),
        requested_server_name: text(&["connection", "requested_server_name"]),
        protocol: text(&["request", "protocol"]),
        time_ns: integer(&["request", "time"]),
    }
}

/// The policy that the route names, or else its virtual host.
///
/// A name that is no text stays a name, of a policy that does not exist: the default must not decide in its place.
pub(super) fn named_policy() -> Option<String> {
    ["route_metadata", "virtual_host_metadata"]
        .iter()
        .find_map(|metadata| property(&["xds", metadata, "filter_metadata", "portcullis", "policy"]))
        .map(|name| String::from_utf8_lossy(&name).into_owned())
}

fn source_principal() -> Option<String> {
    let mutual_tls = property(&["connection", "mtls"]).is_some_and(|value| value.first() == Some(&1));
    if !mutual_tls {
        return None;
    }
    ["uri_san_peer_certificate", "dns_san_peer_certificate", "subject_peer_certificate"]
        .iter()
        .find_map(|name| text(&["connection", name]).filter(|principal| !principal.is_empty()))
}

fn text(path: &[&str]) -> Option<String> {
    String::from_utf8(property(path)?).ok()
}

fn integer(path: &[&str]) -> Option<u64> {
    let bytes = property(path)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn property(path: &[&str]) -> Option<Vec<u8>> {
    hostcalls::get_property(path.to_vec()).ok().flatten()
}
