//! What `input` has beyond what every request has.

use super::{Resolver, document};
use crate::config::{InputConfig, SourceAddress};

const MAX_NAMESPACES: usize = 64;

impl Resolver {
    pub(super) fn input(&mut self, portcullis: &document::Portcullis) -> InputConfig {
        InputConfig {
            body: portcullis.body.as_ref().map(|body| self.body(body)),
            metadata_namespaces: self
                .namespaces("portcullis.metadata_context.namespaces", &portcullis.metadata_context),
            route_metadata_namespaces: self.namespaces(
                "portcullis.route_metadata_context.namespaces",
                &portcullis.route_metadata_context,
            ),
            source_address: match portcullis.source_address {
                document::SourceAddress::Connection => SourceAddress::Connection,
                document::SourceAddress::TrustedClient => SourceAddress::TrustedClient,
            },
        }
    }

    fn namespaces(&mut self, path: &str, context: &document::MetadataContext) -> Vec<String> {
        let mut namespaces = context.namespaces.clone();
        if namespaces.len() > MAX_NAMESPACES {
            let message = format!("there are {}", namespaces.len());
            self.problem(path, message, format!("list at most {MAX_NAMESPACES}, those that policies read"));
        }
        for (index, name) in namespaces.iter().enumerate() {
            let place = format!("{path}[{index}]");
            if name.is_empty() {
                self.problem(&place, "it is empty", "name a namespace, as envoy.filters.http.jwt_authn");
            } else if namespaces.iter().take(index).any(|earlier| earlier == name) {
                self.problem(&place, format!("`{name}` is listed twice"), "keep one of the two");
            }
        }
        namespaces.sort();
        namespaces
    }
}
