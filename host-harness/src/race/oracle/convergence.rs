//! One question that all workers must answer the same once it is quiet.

use std::{borrow::Cow, collections::BTreeSet};

use super::{Violation, excerpt};
use crate::{
    abi::Headers,
    envoy::{Exchange, Request, UpstreamRequest},
};

/// Headers that differ between answers that are the same.
const INCIDENTAL: [&str; 3] = ["date", "x-envoy-upstream-service-time", "x-request-id"];

/// A header by whose it is and its name.
pub(super) type HeaderOf = (Side, Vec<u8>);

/// Headers that are not compared, beside the incidental ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ignored {
    /// All of them but the pseudo headers of the request.
    Every,
    /// These.
    These(BTreeSet<HeaderOf>),
}

/// Whose headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// What the client gets.
    Response,
    /// What the upstream gets.
    Upstream,
}

/// Says so if workers answer `request` differently in status, body or headers, or send something else upstream, or if one does
/// not answer at all.
///
/// Left out of the comparison: `date`, `x-envoy-upstream-service-time`, `x-request-id`, and the order of headers.
#[must_use]
pub fn check(request: &Request, answers: &[(usize, Option<&Exchange>)]) -> Option<Violation> {
    disagreement("convergence", &question(request), answers, &Ignored::These(BTreeSet::new()))
}

/// The request as it is reported: `` `GET /state` ``.
pub(super) fn question(request: &Request) -> String {
    format!("`{} {}`", String::from_utf8_lossy(&request.method), String::from_utf8_lossy(&request.path))
}

/// The headers that differ between the two answers of every worker.
pub(super) fn varying_headers(pairs: &[(&Exchange, &Exchange)]) -> BTreeSet<HeaderOf> {
    let varying = |(first, second): &(&Exchange, &Exchange)| -> BTreeSet<HeaderOf> {
        let values = |exchange: &Exchange, (side, name): &HeaderOf| -> Vec<Vec<u8>> {
            let of_name = headers_of(exchange, *side).iter().filter(|(key, _)| key == name);
            of_name.map(|(_, value)| value.clone()).collect()
        };
        let names = [Side::Response, Side::Upstream].into_iter().flat_map(|side| {
            let both = headers_of(first, side).iter().chain(headers_of(second, side));
            both.map(move |(name, _)| (side, name.clone()))
        });
        names.filter(|name| values(first, name) != values(second, name)).collect()
    };
    let each = pairs.iter().map(varying);
    each.reduce(|all, one| all.intersection(&one).cloned().collect()).unwrap_or_default()
}

/// The same, but for headers that vary by themselves.
pub(super) fn disagreement(
    oracle: &'static str,
    asked: &str,
    answers: &[(usize, Option<&Exchange>)],
    ignored: &Ignored,
) -> Option<Violation> {
    let steady = answers.iter().map(|(worker, exchange)| {
        let exchange = exchange.filter(|exchange| super::is_answered(exchange));
        (*worker, exchange.map(|exchange| without(exchange, ignored)))
    });
    let steady: Vec<(usize, Option<Cow<'_, Exchange>>)> = steady.collect();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (worker, exchange) in &steady {
        let exchange = exchange.as_deref();
        match groups.iter_mut().find(|(other, _)| same(*other, exchange)) {
            Some((_, workers)) => workers.push(*worker),
            None => groups.push((exchange, vec![*worker])),
        }
    }
    let message = match groups.as_slice() {
        [] | [(Some(_), _)] => return None,
        [(None, _)] => format!("no worker answers {asked}"),
        several => {
            let reported: Vec<String> =
                several.iter().map(|(answer, workers)| reported(several, *answer, &named(workers))).collect();
            format!("workers answer {asked} differently: {}", reported.join("; "))
        }
    };
    Some(Violation::new(oracle, message))
}

/// Says so if a request is answered differently, or reaches the upstream otherwise, when its body comes in other pieces; the
/// words say in which.
pub(super) fn pieces(
    asked: &str,
    whole: &Exchange,
    (how, other): (&str, Option<&Exchange>),
    ignored: &Ignored,
) -> Option<Violation> {
    let other = other.filter(|exchange| super::is_answered(exchange));
    let (whole, other) = (without(whole, ignored), other.map(|exchange| without(exchange, ignored)));
    if same(Some(&whole), other.as_deref()) {
        return None;
    }
    let both = [(Some(&*whole), Vec::new()), (other.as_deref(), Vec::new())];
    let message = format!(
        "{asked} must be answered the same in whatever pieces its body comes: {}; {}",
        reported(&both, Some(&whole), "whole"),
        reported(&both, other.as_deref(), how),
    );
    Some(Violation::new("pieces", message))
}

/// Says so if a request is answered differently, or reaches the upstream otherwise, when the filter's calls for it are answered
/// in another order.
pub(super) fn order(
    asked: &str,
    first: &Exchange,
    other: Option<&Exchange>,
    ignored: &Ignored,
) -> Option<Violation> {
    let other = other.filter(|exchange| super::is_answered(exchange));
    let (first, other) = (without(first, ignored), other.map(|exchange| without(exchange, ignored)));
    if same(Some(&first), other.as_deref()) {
        return None;
    }
    let both = [(Some(&*first), Vec::new()), (other.as_deref(), Vec::new())];
    let message = format!(
        "{asked} must be answered the same in whatever order the filter's calls are: {}; {}",
        reported(&both, Some(&first), "in order"),
        reported(&both, other.as_deref(), "the last one first"),
    );
    Some(Violation::new("order", message))
}

/// The answer without these headers. Nearly always there are none, in each of very many runs.
fn without<'a>(exchange: &'a Exchange, ignored: &Ignored) -> Cow<'a, Exchange> {
    let mut exchange = Cow::Borrowed(exchange);
    if *ignored == Ignored::These(BTreeSet::new()) {
        return exchange;
    }
    let keeps = |side: Side, name: &[u8]| match ignored {
        Ignored::Every => name.starts_with(b":"),
        Ignored::These(headers) => !headers.contains(&(side, name.to_vec())),
    };
    let own = exchange.to_mut();
    own.headers.retain(|(name, _)| keeps(Side::Response, name));
    if let Some(upstream) = &mut own.upstream_request {
        upstream.headers.retain(|(name, _)| keeps(Side::Upstream, name));
    }
    exchange
}

fn headers_of(exchange: &Exchange, side: Side) -> &Headers {
    static NONE: Headers = Headers::new();
    match side {
        Side::Response => &exchange.headers,
        Side::Upstream => exchange.upstream_request.as_ref().map_or(&NONE, |request| &request.headers),
    }
}

type Group<'a> = (Option<&'a Exchange>, Vec<usize>);

/// `w0 and w2`
fn named(workers: &[usize]) -> String {
    let workers: Vec<String> = workers.iter().map(|worker| format!("w{worker}")).collect();
    workers.join(" and ")
}

/// `w0 and w2 200 "READY"`, with what alone makes the difference: headers, or what the upstream got.
fn reported(groups: &[Group<'_>], answer: Option<&Exchange>, who: &str) -> String {
    let Some(answer) = answer else { return format!("{who} nothing") };
    let alike = |other: &&Exchange| {
        other.status == answer.status && other.body == answer.body && !same(Some(other), Some(answer))
    };
    let twin = groups.iter().filter_map(|(other, _)| *other).find(alike);
    let difference = twin.map(|twin| difference(answer, twin)).unwrap_or_default();
    format!("{who} {} {}{difference}", answer.status, excerpt(&answer.body))
}

/// What an answer has that its twin, of the same status and body, has not.
fn difference(answer: &Exchange, twin: &Exchange) -> String {
    if essential(&answer.headers) != essential(&twin.headers) {
        return format!(" with {}", only_here(&answer.headers, &twin.headers));
    }
    match (&answer.upstream_request, &twin.upstream_request) {
        (Some(upstream), Some(other)) if upstream.body != other.body => {
            format!(" and body {} sent upstream", excerpt(&upstream.body))
        }
        (Some(upstream), Some(other)) if essential(&upstream.headers) != essential(&other.headers) => {
            format!(" and {} sent upstream", only_here(&upstream.headers, &other.headers))
        }
        _ => String::new(),
    }
}

fn same(a: Option<&Exchange>, b: Option<&Exchange>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            same_bodies(a, b)
                && a.aborted == b.aborted
                && essential(&a.headers) == essential(&b.headers)
                && essential(&a.trailers) == essential(&b.trailers)
                && upstreams(a, b).is_none_or(|(a, b)| essential(&a.headers) == essential(&b.headers))
        }
        _ => false,
    }
}

/// Whether the status and what has no name agree: the body, and what went upstream but for its headers.
fn same_bodies(a: &Exchange, b: &Exchange) -> bool {
    a.status == b.status
        && a.body == b.body
        && upstreams(a, b).is_none_or(|(a, b)| (&a.body, a.complete) == (&b.body, b.complete))
}

/// What went upstream, where both asked there. One that answers by itself, as a cache does, may answer the same.
fn upstreams<'a>(a: &'a Exchange, b: &'a Exchange) -> Option<(&'a UpstreamRequest, &'a UpstreamRequest)> {
    a.upstream_request.as_ref().zip(b.upstream_request.as_ref())
}

fn essential(headers: &Headers) -> Vec<(&[u8], &[u8])> {
    let each =
        headers.iter().filter(|(name, _)| !INCIDENTAL.iter().any(|incidental| incidental.as_bytes() == name));
    let mut essential: Vec<_> = each.map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
    essential.sort_unstable();
    essential
}

/// `etag: 1, age: 2`
fn only_here(here: &Headers, there: &Headers) -> String {
    let there = essential(there);
    let own = essential(here).into_iter().filter(|header| !there.contains(header));
    let own: Vec<String> = own
        .map(|(name, value)| format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
        .collect();
    if own.is_empty() { "other headers missing".to_owned() } else { own.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::exchange, *};

    #[test]
    fn workers_that_answer_alike_agree_whatever_is_incidental() {
        let a = exchange(200, "x", &[("a", "1"), ("b", "2"), ("date", "now"), ("x-request-id", "7")]);
        let b = exchange(200, "x", &[("b", "2"), ("a", "1"), ("x-envoy-upstream-service-time", "3")]);
        assert_eq!(told_of(&[Some(&a), Some(&b)]), None);
        assert_eq!(told_of(&[]), None);
        assert_eq!(told_of(&[Some(&a)]), None);
    }

    #[test]
    fn the_status_the_body_or_a_header_alone_makes_a_difference() {
        let ready = exchange(200, "READY", &[("etag", "1")]);
        let cases = [
            (exchange(503, "READY", &[("etag", "1")]), r#"w0 and w2 200 "READY"; w1 503 "READY""#),
            (exchange(200, "NOT", &[("etag", "1")]), r#"w0 and w2 200 "READY"; w1 200 "NOT""#),
            (
                exchange(200, "READY", &[("etag", "2")]),
                r#"w0 and w2 200 "READY" with etag: 1; w1 200 "READY" with etag: 2"#,
            ),
            (
                exchange(200, "READY", &[]),
                r#"w0 and w2 200 "READY" with etag: 1; w1 200 "READY" with other headers missing"#,
            ),
            (exchange(0, "", &[]), r#"w0 and w2 200 "READY"; w1 nothing"#),
        ];
        for (other, expected) in cases {
            let expected = format!("convergence: workers answer `GET /state` differently: {expected}");
            assert_eq!(told_of(&[Some(&ready), Some(&other), Some(&ready)]), Some(expected));
        }
    }

    #[test]
    fn a_header_that_comes_twice_differs_from_one_that_comes_once() {
        let once = exchange(200, "", &[("set-cookie", "a")]);
        let twice = exchange(200, "", &[("set-cookie", "a"), ("set-cookie", "a")]);
        assert!(told_of(&[Some(&once), Some(&twice)]).is_some());
    }

    #[test]
    fn an_answer_that_was_cut_off_differs_from_a_whole_one() {
        let whole = exchange(200, "x", &[]);
        let cut = Exchange { aborted: true, ..whole.clone() };
        assert!(told_of(&[Some(&whole), Some(&cut)]).is_some());
    }

    #[test]
    fn a_trailer_makes_a_difference() {
        let without = exchange(200, "x", &[]);
        let with = Exchange { trailers: vec![(b"sum".to_vec(), b"1".to_vec())], ..without.clone() };
        assert!(told_of(&[Some(&without), Some(&with)]).is_some());
    }

    #[test]
    fn what_goes_upstream_makes_a_difference_where_both_ask_there() {
        let to = |path: &str, body: &str| {
            let headers = vec![(b":path".to_vec(), path.as_bytes().to_vec())];
            let body = body.as_bytes().to_vec();
            let sent = UpstreamRequest { headers, body, trailers: Vec::new(), complete: true };
            Exchange { upstream_request: Some(sent), ..exchange(200, "x", &[]) }
        };
        let said = told_of(&[Some(&to("/a", "1")), Some(&to("/b", "1"))]).expect("they differ");
        assert!(
            said.ends_with("and :path: /a sent upstream; w1 200 \"x\" and :path: /b sent upstream"),
            "{said}"
        );
        let said = told_of(&[Some(&to("/a", "1")), Some(&to("/a", "2"))]).expect("they differ");
        assert!(
            said.ends_with("and body \"1\" sent upstream; w1 200 \"x\" and body \"2\" sent upstream"),
            "{said}"
        );
        // A cache answers without asking.
        assert_eq!(told_of(&[Some(&to("/a", "1")), Some(&exchange(200, "x", &[]))]), None);
    }

    #[test]
    fn silence_of_all_is_no_agreement() {
        assert_eq!(told_of(&[None, None]).as_deref(), Some("convergence: no worker answers `GET /state`"));
        let none = exchange(0, "", &[]);
        assert!(told_of(&[Some(&none)]).is_some());
    }

    fn told_of(answers: &[Option<&Exchange>]) -> Option<String> {
        let answers: Vec<_> = answers.iter().copied().enumerate().collect();
        check(&Request::get("/state"), &answers).map(|violation| violation.to_string())
    }
}
