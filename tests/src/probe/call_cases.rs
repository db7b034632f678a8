//! Cases about HTTP calls: what is refused at once, and what comes of the others.

use host_harness::abi::pairs;

use super::{
    Argument::{Bytes, GivesBytes, GivesWord, Int, Stream},
    Call, Case,
    Phase::{self, HttpCallResponse, RequestHeaders},
    Rule::Pairs,
    cases::{add, buffer, get, get_pairs, remove, set_buffer, size, text},
    sides::{CLOSED_CLUSTER, CLUSTER, EMPTY_CLUSTER},
};

/// All of them.
pub fn all() -> Vec<Case> {
    [http_calls(), answers(), callers()].concat()
}

fn http_calls() -> Vec<Case> {
    let all: &[(&str, &str)] = &[(":method", "GET"), (":path", "/callout"), (":authority", "a.test")];
    let call = |cluster: &str, headers: &[(&str, &str)], timeout_ms| {
        call_with(cluster, headers, "", &[], timeout_ms)
    };
    let negative = (-1i32).cast_unsigned();
    vec![
        Case::new(
            "http call: pseudo headers are missing",
            [
                call(CLUSTER, &all[1..], 1000),
                call(CLUSTER, &all[..2], 1000),
                call(CLUSTER, &[all[0], all[2]], 1000),
                call(CLUSTER, &[], 1000),
            ],
        ),
        Case::new(
            "http call: a cluster that is not there",
            [call("nowhere", all, 1000), call("", all, 1000)],
        ),
        Case::new(
            "http call: a negative timeout",
            [call(CLUSTER, all, negative), call(CLUSTER, all, 1 << 31)],
        ),
        Case::new("http call: both wrong", [call("nowhere", &all[1..], negative), call("nowhere", &[], 1)]),
        Case::story("http call: tokens count up")
            .stop(RequestHeaders, 1, [call(CLUSTER, all, 10_000), call(CLUSTER, all, 0)])
            .step(HttpCallResponse, 1, 0, resume(0)),
        Case::story("http call: host stands for the authority")
            .stop(
                RequestHeaders,
                1,
                [call(CLUSTER, &[(":method", "GET"), (":path", "/callout"), ("host", "a.test")], 10_000)],
            )
            .at(HttpCallResponse, resume(0)),
        Case::new(
            "http call: headers that are no pairs",
            [Call::new(
                "proxy_http_call",
                [text(CLUSTER), text("junk"), text(""), text(""), Int(1000), GivesWord],
            )],
        ),
        Case::new(
            "http call: status outside of any",
            [Call::new("proxy_get_status", [GivesWord, GivesBytes])],
        ),
    ]
}

/// A call to a path that names its answer.
pub(super) fn call(cluster: &str, answer: &str, timeout_ms: u32) -> Call {
    let path = format!("/call?answer={answer}");
    call_with(cluster, &[(":method", "GET"), (":path", &path), (":authority", "a.test")], "", &[], timeout_ms)
}

fn call_with(
    cluster: &str,
    headers: &[(&str, &str)],
    body: &str,
    trailers: &[(&str, &str)],
    timeout_ms: u32,
) -> Call {
    let pairs = |headers: &[(&str, &str)]| Bytes(pairs::to_bytes(headers));
    let arguments = [text(cluster), pairs(headers), text(body), pairs(trailers), Int(timeout_ms), GivesWord];
    Call::new("proxy_http_call", arguments)
}

/// What lets the story's stream go on from a callback of the root context.
pub(super) fn resume(stream: u32) -> Vec<Call> {
    vec![
        Call::new("proxy_set_effective_context", [Stream]),
        Call::new("proxy_continue_stream", [Int(stream)]),
    ]
}

fn status() -> Call {
    Call::new("proxy_get_status", [GivesWord, GivesBytes])
}

/// Everything that can be read of an answer.
fn look() -> Vec<Call> {
    vec![
        status(),
        get(6, ":status"),
        get_pairs(6),
        get(7, "x-end"),
        get_pairs(7),
        size(7),
        size(6),
        buffer(4, 0, 200),
        buffer(4, 3, 2),
        buffer(4, 99_999, 1),
    ]
}

fn answers() -> Vec<Case> {
    let case = |name: &str, cluster: &str, answer: &str, timeout_ms| {
        Case::story(format!("http call: {name}"))
            .stop(RequestHeaders, 1, [call(cluster, answer, timeout_ms)])
            .at(HttpCallResponse, [look(), resume(0)].concat())
            .by(Pairs)
    };
    let plain = |name: &str, answer: &str| case(name, CLUSTER, answer, 10_000);
    let with = |name: &str, headers: &[(&str, &str)], body: &str, trailers: &[(&str, &str)]| {
        let first = [(":method", "POST"), (":path", "/call"), (":authority", "a.test")];
        let headers: Vec<_> = first.iter().chain(headers).copied().collect();
        Case::story(format!("http call: {name}"))
            .stop(RequestHeaders, 1, [call_with(CLUSTER, &headers, body, trailers, 10_000)])
            .at(HttpCallResponse, [vec![get(6, ":status")], resume(0)].concat())
    };
    vec![
        plain("answered 200", "plain"),
        plain("answered without a body", "empty"),
        plain("answered 204", "none"),
        plain("answered 304", "same"),
        plain("a redirect is not followed", "moved"),
        plain("answered 404", "absent"),
        plain("answered 500", "failed"),
        plain("a header twice", "twice"),
        plain("a large body", "large"),
        plain("a chunked body", "chunked"),
        plain("trailers", "trailers"),
        plain("ended before the headers", "cut"),
        plain("ended after the headers", "cut-late"),
        case("no connection", CLOSED_CLUSTER, "plain", 10_000),
        case("no answer in time", CLUSTER, "never", 50),
        case("no time limit", CLUSTER, "plain", 0),
        case("the longest time limit", CLUSTER, "plain", i32::MAX.cast_unsigned()),
        with("a body is sent with its length", &[], "abc", &[]),
        with("a length that is said and wrong", &[("content-length", "9")], "abc", &[]),
        with("a body and trailers", &[], "abc", &[("x-end", "1")]),
        with("headers in any case, twice, empty", &[("X-A", "1"), ("x-a", "2"), ("x-b", "")], "", &[]),
        with(
            "headers of Envoy's own",
            &[("x-envoy-internal", "no"), ("x-envoy-expected-rq-timeout-ms", "1")],
            "",
            &[],
        ),
        with("a host beside the authority", &[("host", "b.test")], "", &[]),
        with("user-agent and cookies", &[("user-agent", "u"), ("cookie", "a=1"), ("cookie", "b=2")], "", &[]),
        retried("5xx and twice at most", CLUSTER, "failed", "5xx", "2"),
        retried("once if it is not said how often", CLUSTER, "failed", "5xx", ""),
        retried("a gateway's error is not every error", CLUSTER, "failed", "gateway-error", "2"),
        retried("ended before the headers", CLUSTER, "cut", "reset", "1"),
        retried("ended after the headers", CLUSTER, "cut-late", "reset", "1"),
        retried("no connection", CLOSED_CLUSTER, "plain", "connect-failure", "1"),
        retried("not what was answered well", CLUSTER, "plain", "5xx,reset", "2"),
        retried("a condition that is none", CLUSTER, "failed", "always", "2"),
        Case::new(
            "http call: no host to send to",
            [call(EMPTY_CLUSTER, "plain", 100), call(EMPTY_CLUSTER, "plain", 0)],
        ),
        Case::new("http call: no host and no headers", [call_with(EMPTY_CLUSTER, &[], "", &[], 100)]),
        Case::new("http call: no host and a negative limit", [call(EMPTY_CLUSTER, "plain", u32::MAX)]),
    ]
}

/// A call that asks Envoy to repeat it.
fn retried(name: &str, cluster: &str, answer: &str, on: &str, times: &str) -> Case {
    let path = format!("/call?answer={answer}");
    let mut headers = vec![(":method", "GET"), (":path", path.as_str()), (":authority", "a.test")];
    headers.push(("x-envoy-retry-on", on));
    if !times.is_empty() {
        headers.push(("x-envoy-max-retries", times));
    }
    // With a time limit, each attempt would say how much of it the random wait before has left.
    Case::story(format!("http call repeated: {name}"))
        .stop(RequestHeaders, 1, [call_with(cluster, &headers, "", &[], 0)])
        .at(HttpCallResponse, [vec![get(6, ":status"), buffer(4, 0, 200)], resume(0)].concat())
}

fn callers() -> Vec<Case> {
    let call = |timeout_ms| call(CLUSTER, "plain", timeout_ms);
    let from = |name: &str, phase: Phase, stream: u32| {
        // Held headers go on with the first part of a body that does.
        let action = if phase == Phase::ResponseHeaders { 4 } else { 1 };
        let case = Case::story(format!("http call: from on {name}"))
            .stop(phase, action, [])
            .step(phase, 0, action, [call(0)])
            .at(
                HttpCallResponse,
                [vec![get(6, ":status"), get(0, "x-one"), get(2, ":status")], resume(stream)].concat(),
            )
            .body(&["hello"]);
        // Trailers would let a body go on.
        if matches!(phase, Phase::RequestBody | Phase::ResponseBody) {
            return case;
        }
        case.trailers(&[("x-end", "1")]).answer("trailers")
    };
    let after = |name: &str, phase: Phase| {
        Case::story(format!("http call: from on {name}"))
            .at(phase, [call(0)])
            .at(HttpCallResponse, [vec![get(6, ":status"), buffer(4, 0, 9)], resume(0)].concat())
            .until(HttpCallResponse, 1)
            .unseen()
    };
    let never = |timeout_ms| self::call(CLUSTER, "never", timeout_ms);
    vec![
        from("request body", Phase::RequestBody, 0),
        from("request trailers", Phase::RequestTrailers, 0),
        from("response headers", Phase::ResponseHeaders, 1),
        from("response body", Phase::ResponseBody, 1),
        from("response trailers", Phase::ResponseTrailers, 1),
        after("log", Phase::Log),
        after("done", Phase::Done),
        after("delete", Phase::Delete),
        Case::story("http call: from the answer of another")
            .stop(RequestHeaders, 1, [call(0)])
            .step(HttpCallResponse, 0, 0, [get(6, ":status"), call(0)])
            .step(HttpCallResponse, 1, 0, resume(0)),
        Case::story("http call: the later one is answered first")
            .stop(RequestHeaders, 1, [never(300), call(0)])
            .step(HttpCallResponse, 0, 0, [get(6, ":status")])
            .step(HttpCallResponse, 1, 0, [vec![get(6, ":status")], resume(0)].concat()),
        Case::story("http call: answered after the stream was answered")
            .at(RequestHeaders, [never(300)])
            .at(HttpCallResponse, [vec![get(6, ":status")], resume(0)].concat())
            .until(HttpCallResponse, 1),
        Case::story("http call: answered after the client left")
            .stop(RequestHeaders, 1, [never(500)])
            .at(HttpCallResponse, [vec![get(6, ":status")], resume(0)].concat())
            .leaves(RequestHeaders, 1)
            .until(HttpCallResponse, 1),
        Case::story("http call: its answer is out of reach in other callbacks")
            .stop(RequestHeaders, 1, [call(0)])
            .at(HttpCallResponse, resume(0))
            .at(Phase::Log, [get(6, ":status"), get_pairs(6), buffer(4, 0, 9), status()]),
        Case::story("http call: the status of a reset stays")
            .stop(RequestHeaders, 1, [self::call(CLUSTER, "cut-late", 0)])
            .at(HttpCallResponse, [vec![status()], resume(0)].concat())
            .at(Phase::Log, [status()]),
        Case::story("http call: the status of a good answer is that of the last reset")
            .stop(RequestHeaders, 1, [call(0)])
            .at(HttpCallResponse, [vec![status()], resume(0)].concat()),
        Case::story("http call: its answer cannot be changed").stop(RequestHeaders, 1, [call(0)]).at(
            HttpCallResponse,
            [
                vec![
                    add(6, "x-a", "1"),
                    remove(6, ":status"),
                    set_buffer(4, 0, 9, "x"),
                    get(6, ":status"),
                    buffer(4, 0, 9),
                ],
                resume(0),
            ]
            .concat(),
        ),
        Case::story("http call: its answer is in reach under another context")
            .stop(RequestHeaders, 1, [call(0)])
            .at(
                HttpCallResponse,
                [
                    vec![
                        Call::new("proxy_set_effective_context", [Stream]),
                        get(6, ":status"),
                        buffer(4, 0, 9),
                        get(0, "x-one"),
                    ],
                    resume(0),
                ]
                .concat(),
            ),
    ]
}
