//! Header maps as Envoy keeps them: names in lower case, in order, duplicates apart but for the headers it has a place for.
//!
//! Source: Envoy `source/common/http/header_map_impl.cc`. `host` is another name of `:authority`, and replacing a header
//! removes every one of its name and appends the new one. Which headers have a place is in `envoy/http/header_map.h` and
//! in each extension that registers more; the lists here were asked of Envoy 1.40 as it is released.

use crate::abi::Headers;

/// Headers of a request that there is one of: a second value is joined to the first.
const ONE_OF_A_REQUEST: [&str; 36] = [
    ":authority",
    ":method",
    ":path",
    ":protocol",
    ":scheme",
    "accept",
    "accept-encoding",
    "access-control-request-method",
    "authorization",
    "connection",
    "content-length",
    "expect",
    "grpc-timeout",
    "if-match",
    "if-none-match",
    "keep-alive",
    "origin",
    "pragma",
    "proxy-connection",
    "referer",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-client-trace-id",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-max-retries",
    "x-envoy-original-path",
    "x-envoy-retry-on",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];
/// The same for a response.
const ONE_OF_A_RESPONSE: [&str; 18] = [
    ":status",
    "access-control-allow-origin",
    "age",
    "connection",
    "content-length",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "keep-alive",
    "last-modified",
    "location",
    "server",
    "transfer-encoding",
    "upgrade",
    "vary",
    "x-envoy-upstream-service-time",
];
/// The same for both.
const ONE_OF_BOTH: [&str; 7] = [
    "cache-control",
    "content-encoding",
    "content-type",
    "proxy-status",
    "via",
    "x-envoy-attempt-count",
    "x-request-id",
];

/// What can be done with a header map; all names are compared in lower case.
pub(super) trait HeaderMap {
    /// First value of a header.
    fn first(&self, name: &[u8]) -> Option<&[u8]>;
    /// All values of a header, joined by commas; `None` when there is none.
    fn joined(&self, name: &[u8]) -> Option<Vec<u8>>;
    /// Adds a header at the end, or its value to the one that there is one of.
    fn add(&mut self, name: &[u8], value: &[u8]);
    /// Replaces every header of this name by one at the end.
    fn replace(&mut self, name: &[u8], value: &[u8]);
    /// Removes every header of this name.
    fn remove_all(&mut self, name: &[u8]);
    /// Bytes of all names and values.
    fn byte_size(&self) -> usize;
}

impl HeaderMap for Headers {
    fn first(&self, name: &[u8]) -> Option<&[u8]> {
        let name = canonical(name);
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_slice())
    }

    fn joined(&self, name: &[u8]) -> Option<Vec<u8>> {
        let name = canonical(name);
        let values: Vec<&[u8]> =
            self.iter().filter(|(key, _)| *key == name).map(|(_, value)| value.as_slice()).collect();
        (!values.is_empty()).then(|| values.join(&b','))
    }

    fn add(&mut self, name: &[u8], value: &[u8]) {
        let name = canonical(name);
        if is_one_of_its_kind(self, &name)
            && let Some((_, first)) = self.iter_mut().find(|(key, _)| *key == name)
        {
            first.push(b',');
            first.extend_from_slice(value);
            return;
        }
        self.push((name, value.to_vec()));
    }

    fn replace(&mut self, name: &[u8], value: &[u8]) {
        self.remove_all(name);
        self.add(name, value);
    }

    fn remove_all(&mut self, name: &[u8]) {
        let name = canonical(name);
        self.retain(|(key, _)| *key != name);
    }

    fn byte_size(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Whether the map has one place for this header. What kind of map it is shows in its pseudo headers; trailers have none.
fn is_one_of_its_kind(headers: &Headers, name: &[u8]) -> bool {
    let listed = |list: &[&str]| list.iter().any(|one| one.as_bytes() == name);
    let pseudo = |wanted: &[u8]| headers.iter().any(|(key, _)| key.starts_with(wanted));
    listed(&ONE_OF_BOTH)
        || (listed(&ONE_OF_A_RESPONSE) && pseudo(b":status"))
        || (listed(&ONE_OF_A_REQUEST) && pseudo(b":") && !pseudo(b":status"))
}

/// The name that the map knows the header by.
fn canonical(name: &[u8]) -> Vec<u8> {
    let name = name.to_ascii_lowercase();
    if name == b"host" { b":authority".to_vec() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_the_first_duplicate_is_found() {
        let mut headers = Headers::new();
        headers.add(b"X-A", b"1");
        headers.add(b"x-a", b"2");
        assert_eq!(headers.first(b"X-a"), Some(b"1".as_slice()));
        assert_eq!(headers.joined(b"x-a"), Some(b"1,2".to_vec()));
        assert_eq!(headers.len(), 2);
        assert_eq!(headers.byte_size(), 8);
    }

    #[test]
    fn host_is_the_authority() {
        let mut headers = Headers::new();
        headers.add(b":authority", b"a.example");
        assert_eq!(headers.first(b"Host"), Some(b"a.example".as_slice()));
        headers.replace(b"host", b"b.example");
        assert_eq!(headers, vec![(b":authority".to_vec(), b"b.example".to_vec())]);
    }

    #[test]
    fn a_second_value_is_joined_where_there_is_one_place() {
        let joined = |pseudo: &[u8], name: &[u8]| {
            let mut headers = Headers::new();
            headers.add(pseudo, b"x");
            headers.add(name, b"1");
            headers.add(name, b"2");
            headers.first(name) == Some(b"1,2".as_slice())
        };
        assert!(
            joined(b":method", b"user-agent") && joined(b":status", b"server") && joined(b":path", b"via")
        );
        assert!(!joined(b":status", b"user-agent") && !joined(b":method", b"server"));
        assert!(!joined(b":method", b"cookie") && !joined(b":status", b"set-cookie"));
        assert!(joined(b":path", b":method") && !joined(b":method", b":x-own"));
    }

    #[test]
    fn replacing_leaves_one_of_the_name_at_the_end() {
        let mut headers = Headers::new();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            headers.add(name.as_bytes(), value.as_bytes());
        }
        headers.replace(b"a", b"4");
        assert_eq!(headers, vec![(b"b".to_vec(), b"2".to_vec()), (b"a".to_vec(), b"4".to_vec())]);
        headers.remove_all(b"B");
        assert_eq!(headers.len(), 1);
    }
}
