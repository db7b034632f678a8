//! What holds and what does not, checked over what was seen and nothing else: no VM and no clock is touched here.
//!
//! | part | what it checks |
//! |---|---|
//! | [`checker`] | a scenario's own rules |
//! | `counts` | those of them that count |
//! | [`probes`] | what is asked for them once it is quiet |
//! | `between` | those of them that compare two answers |
//! | [`crossing`] | bytes of one request that reach another |
//! | [`convergence`] | one question that all workers must answer the same in the end |
//! | [`growth`] | sizes that grow although nothing happens |
//! | [`serial`] | what callbacks leave that overlap, against what whole ones leave |
//! | [`views`] | what VMs believe of shared state |
//!
//! The last four need no rules, so they checker any filter.

mod answers;
mod between;
pub mod checker;
pub mod convergence;
mod counts;
pub mod crossing;
pub mod growth;
pub mod probes;
pub mod serial;
pub mod views;

use std::fmt;

use super::scenario::Answer;
use crate::envoy::Exchange;

/// Something that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which oracle says so: `never`, `always`, `eventually`, `agreement`, `at-most`, `same`, `pieces`, `order`, `serializable`, `crossing`,
    /// `convergence`, `growth`, `views`, and what the harness itself sees: `trap`, `lost-update` and so on.
    pub oracle: &'static str,
    /// One sentence: what was expected, and what was found.
    pub message: String,
}

/// Most bytes of a body that a sentence repeats.
const EXCERPT_BYTES: usize = 80;

// === impl Violation ===

impl Violation {
    fn new(oracle: &'static str, message: impl Into<String>) -> Violation {
        Violation { oracle, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.oracle, self.message)
    }
}

// === impl Answer ===

impl Answer {
    /// Whether an exchange was answered so. Where the client saw no answer it was not.
    #[must_use]
    pub fn matches(&self, exchange: &Exchange) -> bool {
        let Answer { status, body, contains, headers, like: _ } = self;
        let has = |(name, value): (&String, &String)| {
            exchange.headers.iter().any(|(key, found)| key == name.as_bytes() && found == value.as_bytes())
        };
        is_answered(exchange)
            && status.is_none_or(|status| status == exchange.status)
            && body.as_ref().is_none_or(|body| body == &exchange.body)
            && contains.as_ref().is_none_or(|part| contains_bytes(&exchange.body, part))
            && headers.iter().all(has)
    }
}

impl fmt::Display for Answer {
    /// `200 "READY" with etag: 1`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answer { status, body, contains, headers, like: _ } = self;
        match status {
            Some(status) => write!(formatter, "{status}")?,
            None => formatter.write_str("any status")?,
        }
        if let Some(body) = body {
            write!(formatter, " {}", excerpt(body))?;
        }
        if let Some(part) = contains {
            write!(formatter, " with {} in its body", excerpt(part))?;
        }
        for (index, (name, value)) in headers.iter().enumerate() {
            write!(formatter, "{}{name}: {value}", if index == 0 { " with " } else { ", " })?;
        }
        Ok(())
    }
}

// === Words for what was seen ===

fn is_answered(exchange: &Exchange) -> bool {
    exchange.answered_by.is_some()
}

/// `503 "not ready"`, with the headers that the expected answer names; `no answer`.
fn found(exchange: &Exchange, expected: &[Answer]) -> String {
    if !is_answered(exchange) {
        return "no answer".to_owned();
    }
    let named =
        |name: &[u8]| expected.iter().any(|answer| answer.headers.keys().any(|key| key.as_bytes() == name));
    let headers = exchange.headers.iter().filter(|(name, _)| named(name));
    let headers: Vec<String> = headers
        .map(|(name, value)| format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
        .collect();
    let headers = if headers.is_empty() { String::new() } else { format!(" with {}", headers.join(", ")) };
    let cut = if exchange.aborted { ", cut off" } else { "" };
    format!("{} {}{headers}{cut}", exchange.status, excerpt(&exchange.body))
}

/// The bytes as quoted text, or in hex where they are none, cut where they are long.
fn excerpt(bytes: &[u8]) -> String {
    if std::str::from_utf8(bytes).is_err() {
        let head = bytes.get(..EXCERPT_BYTES / 2).unwrap_or(bytes);
        let hex: String = head.iter().map(|byte| format!("{byte:02x}")).collect();
        let cut = if head.len() < bytes.len() { "…" } else { "" };
        return format!("hex {hex}{cut} ({})", count(bytes.len(), "byte"));
    }
    match bytes.get(..EXCERPT_BYTES) {
        Some(head) if bytes.len() > EXCERPT_BYTES => {
            format!("{:?}… ({} bytes)", String::from_utf8_lossy(head), bytes.len())
        }
        _ => format!("{:?}", String::from_utf8_lossy(bytes)),
    }
}

fn contains_bytes(whole: &[u8], part: &[u8]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|window| window == part)
}

/// `1 call`, `2 calls`
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod testing {
    use std::{collections::BTreeMap, time::Duration};

    use crate::envoy::{AnsweredBy, Exchange};

    /// An exchange that was answered; with status 0 one that was not.
    pub(super) fn exchange(status: u16, body: &str, headers: &[(&str, &str)]) -> Exchange {
        Exchange {
            status,
            headers: headers
                .iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect(),
            body: body.as_bytes().to_vec(),
            trailers: Vec::new(),
            answered_by: (status != 0).then_some(AnsweredBy::Upstream),
            upstream_request: None,
            filter_state: BTreeMap::new(),
            details: String::new(),
            aborted: false,
            began_at: Duration::ZERO,
            ended_at: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{testing::exchange, *};

    #[test]
    fn an_answer_matches_on_everything_that_it_names() {
        let seen = exchange(200, "READY 2", &[("etag", "1"), ("set-cookie", "a"), ("set-cookie", "b")]);
        let answer = || Answer { status: Some(200), ..Answer::default() };
        let body = |text: &'static str| Some(Bytes::from(text));
        let header = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
        let cases = [
            (answer(), true),
            (Answer::default(), true),
            (Answer { status: Some(201), ..answer() }, false),
            (Answer { body: body("READY 2"), ..answer() }, true),
            (Answer { body: body("READY"), ..answer() }, false),
            (Answer { contains: body("DY 2"), ..answer() }, true),
            (Answer { contains: body(""), ..answer() }, true),
            (Answer { contains: body("dy"), ..answer() }, false),
            (Answer { headers: header("etag", "1"), ..answer() }, true),
            (Answer { headers: header("etag", "2"), ..answer() }, false),
            (Answer { headers: header("set-cookie", "b"), ..answer() }, true),
            (Answer { headers: header("age", "1"), ..answer() }, false),
        ];
        for (answer, expected) in cases {
            assert_eq!(answer.matches(&seen), expected, "{answer}");
        }
        assert!(!Answer::default().matches(&exchange(0, "", &[])), "there was no answer");
    }

    #[test]
    fn an_answer_is_told_by_what_it_names() {
        let answer = Answer {
            status: None,
            body: Some(Bytes::from("a\n")),
            contains: Some(Bytes::from("a")),
            headers: [("b".to_owned(), "1".to_owned()), ("c".to_owned(), "2".to_owned())].into(),
            like: Vec::new(),
        };
        assert_eq!(answer.to_string(), r#"any status "a\n" with "a" in its body with b: 1, c: 2"#);
        assert_eq!(found(&exchange(0, "", &[]), &[]), "no answer");
        let seen = exchange(503, &"x".repeat(90), &[("c", "3"), ("d", "4")]);
        assert_eq!(found(&seen, &[answer]), format!("503 {:?}… (90 bytes) with c: 3", "x".repeat(80)));
        assert_eq!(found(&Exchange { aborted: true, ..exchange(200, "", &[]) }, &[]), r#"200 "", cut off"#);
    }
}
