//! Bytes of one request that reach another.
//!
//! Each request carries a nonce. Whatever belongs to one request (what its client gets, what the upstream gets for it,
//! the calls made for it) must hold no nonce of another. A nonce is looked for as it was sent; where a filter encodes
//! or hashes it, it is not seen.

use aho_corasick::AhoCorasick;
use sha2::{Digest, Sha256};

use super::{Violation, count};
use crate::{
    abi::Headers,
    envoy::{Exchange, UpstreamRequest},
    world::Call,
};

/// Hex digits of a nonce. With 20 of them an accident is out of the question.
const NONCE_DIGITS: usize = 20;

/// Looks for the nonces of all requests at once.
#[derive(Debug, Clone)]
pub struct Crossing {
    requests: Vec<String>,
    finder: AhoCorasick,
}

/// Why requests cannot be distinguished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// A nonce is empty, and so in everything.
    #[error("the nonce of request `{0}` is empty: give it some bytes")]
    Empty(String),
    /// One is in the other, or is the other.
    #[error("the nonce of request `{inner}` is in that of request `{outer}`: choose another")]
    Contained {
        /// Whose nonce is in another one.
        inner: String,
        /// Whose nonce holds it.
        outer: String,
    },
    /// They are too many.
    #[error("{0} nonces are too many to look for at once: use fewer requests")]
    TooMany(usize),
}

/// A nonce for the request of this name: the same in every run, in hex, so that it survives most encodings of URLs.
#[must_use]
pub fn nonce(request: &str) -> String {
    let digest = Sha256::digest(request.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.chars().take(NONCE_DIGITS).collect()
}

// === impl Crossing ===

impl Crossing {
    /// Looks for these nonces, each with the name of its request.
    ///
    /// Errors: where a nonce would be found that was not sent.
    pub fn new(nonces: &[(String, Vec<u8>)]) -> Result<Crossing, NonceError> {
        for (index, (inner, nonce)) in nonces.iter().enumerate() {
            if nonce.is_empty() {
                return Err(NonceError::Empty(inner.clone()));
            }
            let mut others = nonces.iter().enumerate().filter(|(other, _)| *other != index);
            if let Some((_, (outer, _))) = others.find(|(_, (_, other))| super::contains_bytes(other, nonce))
            {
                return Err(NonceError::Contained { inner: inner.clone(), outer: outer.clone() });
            }
        }
        let finder = AhoCorasick::new(nonces.iter().map(|(_, nonce)| nonce))
            .map_err(|_| NonceError::TooMany(nonces.len()))?;
        Ok(Crossing { requests: nonces.iter().map(|(name, _)| name.clone()).collect(), finder })
    }

    /// Checks bytes that belong to a request. `place` says what they are, as in "response header `x-user`".
    #[must_use]
    pub fn check(&self, request: &str, place: &str, bytes: &[u8]) -> Option<Violation> {
        let found = self
            .finder
            .find_overlapping_iter(bytes)
            .filter_map(|found| self.requests.get(found.pattern().as_usize()));
        let mut foreign: Vec<&str> = found.map(String::as_str).filter(|name| *name != request).collect();
        foreign.sort_unstable();
        foreign.dedup();
        let names: Vec<String> = foreign.iter().map(|name| format!("`{name}`")).collect();
        (!names.is_empty()).then(|| {
            let whose = if names.len() == 1 { "request" } else { "requests" };
            let message = format!(
                "the {place} of request `{request}` must hold nothing of another request, and holds {} of {whose} {}",
                count(names.len(), "nonce"),
                names.join(" and ")
            );
            Violation::new("crossing", message)
        })
    }

    /// Checks what a request's client and its upstream got.
    #[must_use]
    pub fn check_exchange(&self, request: &str, exchange: &Exchange) -> Vec<Violation> {
        let mut violations = self.check_headers(request, "response header", &exchange.headers);
        violations.extend(self.check(request, "response body", &exchange.body));
        violations.extend(self.check_headers(request, "response trailer", &exchange.trailers));
        if let Some(UpstreamRequest { headers, body, trailers, complete: _ }) = &exchange.upstream_request {
            violations.extend(self.check_headers(request, "upstream request header", headers));
            violations.extend(self.check(request, "upstream request body", body));
            violations.extend(self.check_headers(request, "upstream request trailer", trailers));
        }
        violations
    }

    /// Checks a call that was made on behalf of a request.
    #[must_use]
    pub fn check_call(&self, request: &str, call: &Call) -> Vec<Violation> {
        let place = |part: &str| format!("call to cluster `{}` ({part}) on behalf", call.cluster);
        let mut violations = self.check_headers(request, &place("header"), &call.headers);
        violations.extend(self.check(request, &place("body"), &call.body));
        violations.extend(self.check_headers(request, &place("trailer"), &call.trailers));
        violations
    }

    fn check_headers(&self, request: &str, place: &str, headers: &Headers) -> Vec<Violation> {
        let each = headers.iter().filter_map(|(name, value)| {
            let place = format!("{place} `{}`", String::from_utf8_lossy(name));
            self.check(request, &place, value).or_else(|| self.check(request, &place, name))
        });
        each.collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{super::testing::exchange, *};
    use crate::{
        envoy::StreamId,
        world::{CallId, Origin},
    };

    #[test]
    fn a_nonce_is_its_own_for_each_name_and_the_same_each_time() {
        assert_eq!(nonce("A"), nonce("A"));
        assert_ne!(nonce("A"), nonce("B"));
        assert_eq!(nonce("A").len(), NONCE_DIGITS);
    }

    #[test]
    fn a_requests_own_nonce_may_be_anywhere() {
        let own = nonce("A");
        let mut seen = exchange(200, &format!("hello {own}"), &[("x-user", &own)]);
        seen.upstream_request = Some(upstream(&own));
        assert_eq!(crossing().check_exchange("A", &seen), []);
        assert_eq!(crossing().check_call("A", &call(&own)), []);
    }

    #[test]
    fn a_foreign_nonce_is_found_in_every_part_of_an_exchange() {
        let foreign = nonce("B");
        let mut seen = exchange(200, &format!("hello {foreign}!"), &[("x-user", &foreign), ("x-ok", "1")]);
        seen.trailers = vec![(foreign.clone().into_bytes(), b"1".to_vec())];
        seen.upstream_request = Some(upstream(&foreign));
        let reported: Vec<String> =
            crossing().check_exchange("A", &seen).iter().map(|v| v.message.clone()).collect();
        let expected = [
            "response header `x-user`".to_owned(),
            "response body".to_owned(),
            format!("response trailer `{foreign}`"),
            "upstream request header `:path`".to_owned(),
            "upstream request body".to_owned(),
            "upstream request trailer `x-t`".to_owned(),
        ];
        let expected = expected.map(|place| {
            format!(
                "the {place} of request `A` must hold nothing of another request, and holds 1 nonce of request `B`"
            )
        });
        assert_eq!(reported, expected);
        assert_eq!(crossing().check_exchange("B", &seen), []);
    }

    #[test]
    fn a_foreign_nonce_is_found_in_a_call() {
        let reported =
            crossing().check_call("A", &call(&format!("{}{}{}", nonce("C"), nonce("B"), nonce("C"))));
        assert_eq!(reported.len(), 3);
        assert_eq!(
            reported[1].message,
            "the call to cluster `hub` (body) on behalf of request `A` must hold nothing of another request, \
             and holds 2 nonces of requests `B` and `C`"
        );
    }

    #[test]
    fn a_part_of_a_nonce_is_none() {
        let half = nonce("B")[1..].to_owned();
        assert_eq!(crossing().check("A", "response body", half.as_bytes()), None);
    }

    #[test]
    fn nonces_that_overlap_in_what_was_seen_are_both_found() {
        let nonces = [("B", "abc"), ("C", "cde")].map(|(name, nonce)| (name.to_owned(), nonce.into()));
        let crossing = Crossing::new(&nonces).expect("none is in the other");
        let reported = crossing.check("A", "response body", b"abcde").expect("it is told");
        assert!(reported.message.ends_with("holds 2 nonces of requests `B` and `C`"), "{reported}");
    }

    #[test]
    fn nonces_that_cannot_be_told_apart_are_refused() {
        let of = |nonces: [(&str, &str); 2]| {
            let nonces = nonces.map(|(name, nonce)| (name.to_owned(), nonce.as_bytes().to_vec()));
            Crossing::new(&nonces).expect_err("they are refused").to_string()
        };
        assert_eq!(of([("A", "xyz"), ("B", "")]), "the nonce of request `B` is empty: give it some bytes");
        let contained = "the nonce of request `B` is in that of request `A`: choose another";
        assert_eq!(of([("A", "xyz"), ("B", "yz")]), contained);
        assert_eq!(of([("B", "xyz"), ("A", "xyz")]), contained);
    }

    fn crossing() -> Crossing {
        let nonces = ["A", "B", "C"].map(|name| (name.to_owned(), nonce(name).into_bytes()));
        Crossing::new(&nonces).expect("they differ")
    }

    fn upstream(nonce: &str) -> UpstreamRequest {
        UpstreamRequest {
            headers: vec![(b":path".to_vec(), format!("/{nonce}?").into_bytes())],
            body: nonce.as_bytes().to_vec(),
            trailers: vec![(b"x-t".to_vec(), nonce.as_bytes().to_vec())],
            complete: true,
        }
    }

    fn call(nonce: &str) -> Call {
        Call {
            id: CallId(1),
            origin: Origin::Router { stream: StreamId(1) },
            cluster: "hub".to_owned(),
            headers: vec![(b"authorization".to_vec(), nonce.as_bytes().to_vec())],
            body: Bytes::from(nonce.to_owned()),
            trailers: vec![(b"x-t".to_vec(), nonce.as_bytes().to_vec())],
            timeout: None,
        }
    }
}
