//! What Envoy's properties say about a request beyond its headers, as far as a policy reads it: each costs a call.

use super::request::{Asked, Connection, PEER_ADDRESS_KEY, PEER_CERTIFICATE_KEY, SocketAddress};
use crate::policy::InputField;

/// The first name that a certificate has, in this order. Source: Envoy, `check_request_utils.cc`, `setAttrContextPeer`.
const PEER_NAMES: [&str; 3] =
    ["uri_san_peer_certificate", "dns_san_peer_certificate", "subject_peer_certificate"];
const LOCAL_NAMES: [&str; 3] =
    ["uri_san_local_certificate", "dns_san_local_certificate", "subject_local_certificate"];

/// Asks the host for a property; none where it has none, or it is empty.
pub type Properties<'a> = dyn Fn(&[&str]) -> Option<Vec<u8>> + 'a;

// === impl Connection ===

impl Connection {
    /// Asks for what is asked for, and for nothing else.
    ///
    /// Source: Envoy's attribute reference; integers and timestamps arrive as 8 bytes little-endian, booleans as one byte.
    pub fn of(asked: &Asked<'_>, property: &Properties<'_>) -> Self {
        let has = |field| asked.has(field).then_some(());
        let text = |path: &[&str]| String::from_utf8(property(path)?).ok();
        let address = |path: &[&str]| text(path).as_deref().map(SocketAddress::parse);
        let name = |names: [&str; 3]| {
            names.iter().find_map(|name| text(&["connection", name]).filter(|name| !name.is_empty()))
        };
        let is_mutual = || property(&["connection", "mtls"]).is_some_and(|value| value.first() == Some(&1));
        let source = has(InputField::SourceAddress)
            .or_else(|| has(InputField::SourcePort))
            .and_then(|()| address(&["source", "address"]));
        let is_other = source.as_ref().is_some_and(SocketAddress::is_told_by_a_header);
        let extensions = has(InputField::ContextExtensions);
        Self {
            peer: is_other.then(|| address(&["filter_state", PEER_ADDRESS_KEY])).flatten(),
            source,
            destination: has(InputField::Destination).and_then(|()| address(&["destination", "address"])),
            source_principal: has(InputField::SourcePrincipal)
                .filter(|()| is_mutual())
                .and_then(|()| name(PEER_NAMES)),
            source_certificate: has(InputField::SourceCertificate)
                .and_then(|()| text(&["filter_state", PEER_CERTIFICATE_KEY])),
            destination_principal: has(InputField::DestinationPrincipal).and_then(|()| name(LOCAL_NAMES)),
            requested_server_name: has(InputField::ServerName)
                .and_then(|()| text(&["connection", "requested_server_name"])),
            protocol: has(InputField::Protocol).and_then(|()| text(&["request", "protocol"])),
            time_ns: has(InputField::Time)
                .and_then(|()| Some(u64::from_le_bytes(property(&["request", "time"])?.try_into().ok()?))),
            metadata: has(InputField::MetadataContext).and_then(|()| property(&["metadata"])),
            route_metadata: extensions
                .or_else(|| has(InputField::RouteMetadataContext))
                .and_then(|()| property(&["xds", "route_metadata"])),
            virtual_host_metadata: extensions.and_then(|()| property(&["xds", "virtual_host_metadata"])),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::{
        config::InputConfig,
        policy::{EvaluationLimits, Module, Part, Policy, RegoVersion, object},
    };

    /// What is asked for a policy with one condition.
    fn asked_for(condition: &str, config: &InputConfig, property: &Properties<'_>) -> Vec<String> {
        let text = format!("package a\n\nallow if {condition}\n");
        let module = Module::parse("a.rego".to_owned(), text, RegoVersion::V1).unwrap();
        let data = object([]);
        let part = Part { bundle: "a", roots: &[Vec::new()], modules: &[module], data: &data };
        let policy = Policy::compile("a/allow", &[part], EvaluationLimits::default()).unwrap();
        let asked = RefCell::new(Vec::new());
        let listening = |path: &[&str]| {
            asked.borrow_mut().push(path.join("."));
            property(path)
        };
        let _ = Connection::of(&Asked { fields: policy.fields(), config }, &listening);
        asked.into_inner()
    }

    #[test]
    fn what_a_policy_does_not_read_is_not_asked_for() {
        let listed = InputConfig {
            metadata_namespaces: vec!["jwt".to_owned()],
            route_metadata_namespaces: vec!["plan".to_owned()],
            ..InputConfig::default()
        };
        for (condition, expected) in [
            ("true", &[][..]),
            (r#"input.attributes.request.http.headers["x-a"] == "1""#, &[]),
            ("input.attributes.request.http.size > 1", &[]),
            ("input.parsed_body == null", &[]),
            ("not input.truncated_body", &[]),
            ("input.attributes.source.service", &[]),
            ("opa.runtime().config.labels.a", &[]),
            ("input.attributes.contextExtensions.a", &["xds.route_metadata", "xds.virtual_host_metadata"]),
            ("input.attributes.metadataContext.filterMetadata.jwt.sub", &["metadata"]),
            ("input.attributes.routeMetadataContext.filterMetadata.plan", &["xds.route_metadata"]),
            ("input.attributes.source.certificate", &["filter_state.portcullis.peer_certificate"]),
            ("input.attributes.source.address.socketAddress.address", &["source.address"]),
            ("input.attributes.source.address.socketAddress.portValue", &["source.address"]),
            ("input.attributes.tlsSession.sni", &["connection.requested_server_name"]),
            ("input.attributes.source.principal", &["connection.mtls"]),
            (
                "input.attributes.destination.principal",
                &[
                    "connection.uri_san_local_certificate",
                    "connection.dns_san_local_certificate",
                    "connection.subject_local_certificate",
                ],
            ),
        ] {
            assert_eq!(asked_for(condition, &listed, &|_| None), expected, "{condition}");
        }
        // What the configuration does not list is not there to be read.
        for context in ["metadataContext", "routeMetadataContext"] {
            let condition = format!("input.attributes.{context}.filterMetadata.jwt");
            assert_eq!(asked_for(&condition, &InputConfig::default(), &|_| None), [""; 0]);
        }
        let own = InputConfig {
            metadata_namespaces: vec!["open_policy_agent".to_owned()],
            ..InputConfig::default()
        };
        let condition = "input.attributes.metadataContext.filterMetadata.open_policy_agent.decision_id";
        assert_eq!(asked_for(condition, &own, &|_| None), [""; 0]);
    }

    #[test]
    fn the_peer_is_asked_for_where_a_header_has_told_another() {
        let condition = "input.attributes.source.address.socketAddress.address";
        let told = |address: &'static str| {
            asked_for(condition, &InputConfig::default(), &move |_| Some(address.as_bytes().to_vec()))
        };
        assert_eq!(told("10.0.0.1:0"), ["source.address", "filter_state.portcullis.peer_address"]);
        assert_eq!(told("10.0.0.1:1"), ["source.address"]);
    }
}
