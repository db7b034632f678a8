//! Cases about header maps: what each phase lets a guest read and write, and what a write does.

use super::{
    Argument::{Bytes, Int},
    Call, Case,
    Phase::{RequestBody, ResponseHeaders},
    Rule::{Length, Pairs},
    cases::{REQUEST_HEADERS, add, get, get_pairs, remove, replace, set_pairs, size, text},
};

/// Headers that are added twice, of requests and of responses.
const TWICE: [&str; 56] = [
    "accept",
    "accept-encoding",
    "access-control-allow-origin",
    "access-control-request-method",
    "age",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "grpc-message",
    "grpc-status",
    "grpc-timeout",
    "if-match",
    "if-none-match",
    "keep-alive",
    "last-modified",
    "location",
    "origin",
    "pragma",
    "proxy-connection",
    "proxy-status",
    "referer",
    "server",
    "set-cookie",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-internal",
    "x-envoy-max-retries",
    "x-envoy-original-path",
    "x-envoy-peer-metadata",
    "x-envoy-retry-on",
    "x-envoy-upstream-service-time",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-other",
    "x-request-id",
    ":path",
    ":scheme",
];

/// All of them, in the order in which they must run.
pub fn all() -> Vec<Case> {
    [header_reads(), header_writes(), header_changes(), twice()].concat()
}

/// Whether Envoy joins two values or keeps two headers is seen by reading the first.
fn twice() -> Vec<Case> {
    let calls = |map: u32, name: &str| [replace(map, name, "1"), add(map, name, "2"), get(map, name)];
    let case = |map: u32, names: &[&str]| {
        let calls: Vec<Call> = names.iter().flat_map(|name| calls(map, name)).collect();
        Case::new(format!("headers: twice in map {map}, from {}", names[0]), calls)
    };
    let request = TWICE.chunks(7).map(|names| case(0, names));
    // The client is given what is left, so what frames the response stays as it is.
    let left: Vec<&str> = TWICE
        .iter()
        .copied()
        .filter(|name| {
            !matches!(
                *name,
                "content-length"
                    | "transfer-encoding"
                    | "connection"
                    | "upgrade"
                    | "keep-alive"
                    | "proxy-connection"
            )
        })
        .collect();
    let response: Vec<Case> = left.chunks(7).map(|names| case(2, names).on(ResponseHeaders)).collect();
    request.chain(response).collect()
}

fn header_reads() -> Vec<Case> {
    let maps = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 255, u32::MAX];
    let every = |make: &dyn Fn(u32) -> Call| maps.iter().skip(1).map(|map| make(*map)).collect::<Vec<_>>();
    vec![
        Case::new("headers: a value of every map that is not there", every(&|map| get(map, "x-a"))),
        Case::new("headers: the pairs of every map that is not there", every(&get_pairs)),
        Case::new("headers: the size of every map that is not there", every(&size)),
        Case::new("headers: pairs of the request", [get_pairs(REQUEST_HEADERS)]).by(Pairs),
        Case::new("headers: size of the request", [remove(0, "x-forwarded-for"), size(REQUEST_HEADERS)]),
        Case::new(
            "headers: names in any case, the first of two, absent, no name",
            [
                get(0, "X-One"),
                get(0, "x-two"),
                get(0, "x-absent"),
                get(0, ""),
                get(0, "x-empty"),
                get(0, "x one"),
                get(0, "x-one\0"),
            ],
        ),
        Case::new(
            "headers: pseudo headers and host",
            [
                get(0, ":method"),
                get(0, ":authority"),
                get(0, "host"),
                get(0, "HOST"),
                get(0, ":scheme"),
                get(0, ":status"),
                get(0, ":protocol"),
            ],
        ),
        Case::new(
            "headers: what Envoy itself adds",
            [
                get(0, "x-forwarded-proto"),
                get(0, "x-envoy-internal"),
                get(0, "x-envoy-external-address"),
                get(0, "connection"),
                get(0, "x-envoy-expected-rq-timeout-ms"),
            ],
        ),
        Case::new("headers: a request id is made", [get(0, "x-request-id")]).by(Length),
        Case::new(
            "headers: of the response",
            [
                get(2, ":status"),
                get(2, "x-answered-by"),
                get(2, "x-absent"),
                get(0, "x-one"),
                get(1, "x-one"),
                get(3, "x-one"),
            ],
        )
        .on(ResponseHeaders),
        Case::new("headers: trailers at the body's end", [get(1, "x-a"), get_pairs(1), size(1)])
            .on(RequestBody),
        Case::new("headers: of the request at the body's end", [get(0, "x-one"), add(0, "x-new", "1")])
            .on(RequestBody),
    ]
}

fn header_writes() -> Vec<Case> {
    let mut cases = Vec::new();
    for map in [1, 2, 3, 4, 5, 6, 7, 8, 9, 255] {
        cases.push(Case::new(
            format!("headers: writes to map {map}"),
            [
                add(map, "x-a", "1"),
                replace(map, "x-a", "2"),
                remove(map, "x-a"),
                set_pairs(map, &[("x-a", "3")]),
                get(map, "x-a"),
            ],
        ));
    }
    cases
}

/// Replaces the request's headers by so many.
fn many(count: usize) -> Call {
    let headers: Vec<(String, &str)> = (0..count).map(|number| (format!("x-{number}"), "1")).collect();
    Call::new("proxy_set_header_map_pairs", [Int(0), Bytes(host_harness::abi::pairs::to_bytes(&headers))])
}

fn header_changes() -> Vec<Case> {
    let all = || get_pairs(REQUEST_HEADERS);
    vec![
        Case::new(
            "headers: one is added",
            [add(0, "X-New", "1"), add(0, "x-new", "2"), get(0, "x-new"), all()],
        )
        .by(Pairs),
        Case::new(
            "headers: one is replaced",
            [
                replace(0, "x-two", "3"),
                replace(0, "x-none", "4"),
                replace(0, "X-One", ""),
                get(0, "x-two"),
                all(),
            ],
        )
        .by(Pairs),
        Case::new(
            "headers: some are removed",
            [remove(0, "x-two"), remove(0, "X-One"), remove(0, "x-none"), all()],
        )
        .by(Pairs),
        Case::new(
            "headers: all are replaced",
            [
                set_pairs(0, &[(":method", "GET"), (":path", "/n"), (":authority", "b.test"), ("X-A", "1")]),
                all(),
                get(0, "host"),
                size(0),
            ],
        )
        .by(Pairs),
        Case::new(
            "headers: all are replaced by nothing",
            [set_pairs(0, &[]), all(), size(0), get(0, ":path")],
        )
        .by(Pairs),
        Case::new(
            "headers: host is another name of the authority",
            [
                replace(0, "host", "c.test"),
                get(0, ":authority"),
                remove(0, "host"),
                get(0, ":authority"),
                add(0, "host", "d.test"),
                get(0, ":authority"),
            ],
        ),
        Case::new(
            "headers: a pseudo header is added again",
            [
                add(0, ":method", "PUT"),
                get(0, ":method"),
                replace(0, ":method", "POST"),
                get(0, ":method"),
                add(0, ":x-own", "1"),
                get(0, ":x-own"),
            ],
        ),
        Case::new(
            "headers: known headers are added again",
            [
                add(0, "user-agent", "other"),
                get(0, "user-agent"),
                add(0, "content-type", "text/plain"),
                add(0, "content-type", "text/html"),
                get(0, "content-type"),
                add(0, "cookie", "a=1"),
                add(0, "cookie", "b=2"),
                get(0, "cookie"),
            ],
        ),
        Case::new(
            "headers: a pseudo header is removed",
            [remove(0, "x-forwarded-for"), remove(0, ":method"), get(0, ":method"), size(0)],
        ),
        Case::new("headers: a space stays in a value", [add(0, "x-space", " a "), get(0, "x-space")]),
        Case::new(
            "headers: bytes that are not UTF-8",
            [
                Call::new("proxy_add_header_map_value", [Int(0), text("x-raw"), Bytes(vec![0xff, 0xc3])]),
                get(0, "x-raw"),
            ],
        ),
        Case::new("headers: as many as Envoy takes", [many(1024), get(0, "x-1023"), get(0, "x-one")]),
        Case::new("headers: more than Envoy takes", [many(1025), get(0, "x-1023"), get(0, "x-one")]),
        Case::new("headers: no name at all", [add(0, "", "1"), get(0, ""), remove(0, "")]),
        Case::new(
            "headers: malformed pairs",
            [
                Call::new("proxy_set_header_map_pairs", [Int(2), Bytes(vec![1, 2])]),
                Call::new("proxy_set_header_map_pairs", [Int(2), Bytes(vec![255, 255, 255, 255, 0])]),
            ],
        ),
    ]
}
