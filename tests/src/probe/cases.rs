//! Cases about one request: properties, buffers, the stream's life, HTTP calls, and pointers that lead nowhere.

use host_harness::abi::pairs;

use super::{
    Argument::{self, Bytes, GivesBytes, GivesNumber, GivesWord, Int, LastWord, Long, Outside, OutsideBytes},
    Call, Case,
    Phase::{RequestBody, ResponseHeaders},
    Rule::{Address, Length, Pairs},
    header_cases, shared_cases,
};

/// The cluster that requests are routed to, in the configuration that Envoy is given and in the harness.
pub const CLUSTER: &str = "portcullis_upstream";
pub(super) const REQUEST_HEADERS: u32 = 0;

/// All cases, in the order in which they must run: shared data and ids are told apart by what ran before.
pub fn all() -> Vec<Case> {
    let mut cases = header_cases::all();
    cases.extend(properties());
    cases.extend(written_properties());
    cases.extend(shared_cases::all());
    cases.extend(buffers());
    cases.extend(streams());
    cases.extend(http_calls());
    cases.extend(general());
    cases.extend(bad_places());
    cases.extend(bad_bytes());
    cases.extend(local_responses());
    cases
}

pub(super) fn text(text: &str) -> Argument {
    Bytes(text.as_bytes().to_vec())
}

pub(super) fn get(map: u32, name: &str) -> Call {
    Call::new("proxy_get_header_map_value", [Int(map), text(name), GivesBytes])
}

pub(super) fn get_pairs(map: u32) -> Call {
    Call::new("proxy_get_header_map_pairs", [Int(map), GivesBytes])
}

pub(super) fn size(map: u32) -> Call {
    Call::new("proxy_get_header_map_size", [Int(map), GivesWord])
}

pub(super) fn write(function: &'static str, map: u32, name: &str, value: &str) -> Call {
    Call::new(function, [Int(map), text(name), text(value)])
}

pub(super) fn add(map: u32, name: &str, value: &str) -> Call {
    write("proxy_add_header_map_value", map, name, value)
}

pub(super) fn replace(map: u32, name: &str, value: &str) -> Call {
    write("proxy_replace_header_map_value", map, name, value)
}

pub(super) fn remove(map: u32, name: &str) -> Call {
    Call::new("proxy_remove_header_map_value", [Int(map), text(name)])
}

pub(super) fn set_pairs(map: u32, headers: &[(&str, &str)]) -> Call {
    Call::new("proxy_set_header_map_pairs", [Int(map), Bytes(pairs::to_bytes(headers))])
}

fn property(path: &str) -> Call {
    Call::new("proxy_get_property", [text(&path.replace('.', "\0")), GivesBytes])
}

fn set_property(path: &str, value: &str) -> Call {
    Call::new("proxy_set_property", [text(path), text(value)])
}

fn buffer(buffer: u32, start: u32, length: u32) -> Call {
    Call::new("proxy_get_buffer_bytes", [Int(buffer), Int(start), Int(length), GivesBytes])
}

fn set_buffer(buffer: u32, start: u32, length: u32, value: &str) -> Call {
    Call::new("proxy_set_buffer_bytes", [Int(buffer), Int(start), Int(length), text(value)])
}

fn properties() -> Vec<Case> {
    let exact: &[(&str, &[&str])] = &[
        ("the path", &["request.path", "request.url_path", "request.query"]),
        ("who and how", &["request.host", "request.scheme", "request.method", "request.protocol"]),
        (
            "some headers",
            &["request.referer", "request.useragent", "request.headers.x-one", "request.headers.x-two"],
        ),
        (
            "headers by odd names",
            &["request.headers.X-One", "request.headers.x-absent", "request.headers.host"],
        ),
        ("sizes", &["request.size"]),
        (
            "unknown parts of a request",
            &["request.nonsense", "request.headers.x-one.more", "request.path.more"],
        ),
        ("the plugin", &["plugin_name", "plugin_root_id", "plugin_vm_id"]),
        ("the cluster's name", &["cluster_name", "xds.cluster_name", "xds.upstream_host_metadata"]),
        ("the route's name", &["route_name", "xds.route_name", "xds.virtual_host_name"]),
        (
            "metadata of route and cluster",
            &["xds.route_metadata", "xds.cluster_metadata", "route_metadata", "cluster_metadata"],
        ),
        (
            "metadata of route by filter",
            &["xds.route_metadata.filter_metadata", "xds.route_metadata.filter_metadata.none"],
        ),
        ("the filter chain", &["xds.filter_chain_name", "xds.listener_direction", "listener_direction"]),
        ("the node", &["xds.node", "node", "xds.node.id", "node.id"]),
        ("whole namespaces", &["request", "response", "connection", "source", "destination", "upstream"]),
        ("whole namespaces beside the stream", &["xds", "metadata", "filter_state", "upstream_filter_state"]),
        (
            "TLS",
            &[
                "connection.mtls",
                "connection.requested_server_name",
                "connection.tls_version",
                "connection.sha256_peer_certificate_digest",
            ],
        ),
        ("the connection's end", &["connection.termination_details", "connection.transport_failure_reason"]),
        ("nothing at all", &["", "no_such_thing", "no.such.thing"]),
        (
            "a response before there is one",
            &[
                "response.code",
                "response.code_details",
                "response.flags",
                "response.headers",
                "response.size",
            ],
        ),
        ("an upstream before there is one", &["upstream.address", "upstream.port", "upstream.local_address"]),
        ("metadata", &["metadata.filter_metadata", "metadata.filter_metadata.none"]),
        ("filter state that nobody set", &["filter_state.none", "wasm.none"]),
    ];
    let mut cases: Vec<Case> = exact
        .iter()
        .map(|(name, paths)| {
            let calls: Vec<Call> = paths.iter().map(|path| property(path)).collect();
            Case::new(format!("property: {name}"), calls)
        })
        .collect();
    cases.extend([
        Case::new(
            "property: times and ids",
            [
                property("request.time"),
                property("request.id"),
                property("request.duration"),
                property("request.total_size"),
                property("connection.id"),
                property("connection_id"),
                property("source.port"),
                property("destination.port"),
            ],
        )
        .by(Length),
        Case::new("property: addresses", [property("source.address"), property("destination.address")])
            .by(Address),
        Case::new("property: all headers", [property("request.headers")]).by(Pairs),
        Case::new(
            "property: separators that are not between two names",
            [
                Call::new("proxy_get_property", [text("request\0method\0"), GivesBytes]),
                Call::new("proxy_get_property", [text("request\0\0method"), GivesBytes]),
                Call::new("proxy_get_property", [text("\0request\0method"), GivesBytes]),
                Call::new("proxy_get_property", [text("request.method"), GivesBytes]),
                Call::new("proxy_get_property", [text("\0"), GivesBytes]),
            ],
        ),
        Case::new(
            "property: a response",
            [
                property("response.code"),
                property("response.code_details"),
                property("response.flags"),
                property("response.headers.x-answered-by"),
                property("response.grpc_status"),
                property("request.method"),
            ],
        )
        .on(ResponseHeaders),
        Case::new("property: size of a request with a body", [property("request.size")]).on(RequestBody),
    ]);
    cases
}

fn written_properties() -> Vec<Case> {
    vec![
        Case::new(
            "property: one is set and read by its names",
            [
                set_property("mark", "1"),
                property("mark"),
                property("wasm.mark"),
                property("filter_state.wasm.mark"),
                Call::new("proxy_get_property", [text("filter_state\0wasm.mark"), GivesBytes]),
                set_property("mark", "2"),
                property("mark"),
            ],
        ),
        Case::new("property: one of the request before is gone", [property("mark")]),
        Case::new("property: an empty value", [set_property("none", ""), property("none")]),
        Case::new(
            "property: a path of several names",
            [
                set_property("a\0b", "1"),
                property("a.b"),
                Call::new("proxy_get_property", [text("a.b"), GivesBytes]),
                property("a"),
            ],
        ),
        Case::new(
            "property: Envoy's own names cannot be shadowed",
            [
                set_property("request\0method", "PUT"),
                property("request.method"),
                set_property("plugin_name", "other"),
                property("plugin_name"),
            ],
        ),
        Case::new("property: no name", [set_property("", "1"), property("")]),
    ]
}

fn buffers() -> Vec<Case> {
    let numbers = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 255];
    let status = |number| Call::new("proxy_get_buffer_status", [Int(number), GivesWord, GivesNumber]);
    let each = |make: &dyn Fn(u32) -> Call| numbers.iter().map(|number| make(*number)).collect::<Vec<_>>();
    vec![
        Case::new("buffer: every type without a body", each(&|number| buffer(number, 0, 100))),
        Case::new("buffer: status of every type without a body", each(&status)),
        Case::new(
            "buffer: writes to every type without a body",
            each(&|number| set_buffer(number, 0, 0, "x")),
        ),
        Case::new(
            "buffer: a body is read in parts",
            [
                buffer(0, 0, 100),
                buffer(0, 1, 2),
                buffer(0, 3, 100),
                buffer(0, 5, 1),
                buffer(0, 6, 1),
                buffer(0, 0, 0),
                status(0),
            ],
        )
        .on(RequestBody),
        Case::new(
            "buffer: start and length that wrap",
            [buffer(0, u32::MAX, 1), buffer(0, 1, u32::MAX), buffer(0, 0, u32::MAX), buffer(0, u32::MAX, 0)],
        )
        .on(RequestBody),
        Case::new(
            "buffer: every other type at the body's end",
            each(&|number| buffer(number.max(1), 0, 100)),
        )
        .on(RequestBody),
        Case::new(
            "buffer: prepended and appended",
            [
                set_buffer(0, 0, 0, "<"),
                set_buffer(0, 100, 0, ">"),
                buffer(0, 0, 100),
                set_buffer(0, 0, 100, "all"),
                buffer(0, 0, 100),
                set_buffer(0, 3, 0, "!"),
                buffer(0, 0, 100),
            ],
        )
        .on(RequestBody),
        Case::new(
            "buffer: written in its middle",
            [set_buffer(0, 1, 1, "x"), set_buffer(0, 0, 2, "x"), set_buffer(0, 4, 1, "x"), buffer(0, 0, 100)],
        )
        .on(RequestBody),
        Case::new("buffer: emptied", [set_buffer(0, 0, 100, ""), buffer(0, 0, 100), status(0)])
            .on(RequestBody),
    ]
}

fn streams() -> Vec<Case> {
    let one = |function, number| Call::new(function, [Int(number)]);
    vec![
        Case::new(
            "stream: continue of the wrong types",
            [
                one("proxy_continue_stream", 2),
                one("proxy_continue_stream", 3),
                one("proxy_continue_stream", 4),
                one("proxy_continue_stream", 255),
            ],
        ),
        Case::new(
            "stream: close of the wrong types",
            [
                one("proxy_close_stream", 2),
                one("proxy_close_stream", 3),
                one("proxy_close_stream", 4),
                one("proxy_close_stream", 255),
            ],
        ),
        Case::new(
            "stream: contexts that are not there",
            [
                one("proxy_set_effective_context", 99_999),
                one("proxy_set_effective_context", u32::MAX),
                get(0, "x-one"),
            ],
        ),
        Case::new("stream: done on a stream", [Call::new("proxy_done", [])]),
    ]
}

fn http_calls() -> Vec<Case> {
    let all: &[(&str, &str)] = &[(":method", "GET"), (":path", "/callout"), (":authority", "a.test")];
    let call = |cluster: &str, headers: &[(&str, &str)], timeout_ms: u32| {
        let headers = Bytes(pairs::to_bytes(headers));
        let arguments = [text(cluster), headers, text(""), text(""), Int(timeout_ms), GivesWord];
        Call::new("proxy_http_call", arguments)
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
        Case::new("http call: tokens count up", [call(CLUSTER, all, 1000), call(CLUSTER, all, 0)]),
        Case::new(
            "http call: host stands for the authority",
            [call(CLUSTER, &[(":method", "GET"), (":path", "/callout"), ("host", "a.test")], 1000)],
        ),
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

fn general() -> Vec<Case> {
    let log = |level| Call::new("proxy_log", [Int(level), text("probe")]);
    vec![
        Case::new(
            "log: levels and beyond",
            [log(0), log(2), log(3), log(5), log(6), log(255), log(u32::MAX)],
        ),
        Case::new("log: the level that is on", [Call::new("proxy_get_log_level", [GivesWord])]),
        Case::new("time: it is told", [Call::new("proxy_get_current_time_nanoseconds", [GivesNumber])])
            .by(Length),
        Case::new(
            "foreign function: absent",
            [
                Call::new("proxy_call_foreign_function", [text("no_such"), text("x"), GivesBytes]),
                Call::new("proxy_call_foreign_function", [text(""), text(""), GivesBytes]),
            ],
        ),
        Case::new(
            "foreign function: clear_route_cache",
            [Call::new("proxy_call_foreign_function", [text("clear_route_cache"), text(""), GivesBytes])],
        ),
        Case::new(
            "tick: a period is set and unset on a stream",
            [
                Call::new("proxy_set_tick_period_milliseconds", [Int(3_600_000)]),
                Call::new("proxy_set_tick_period_milliseconds", [Int(0)]),
            ],
        ),
    ]
}

/// Every place of a result outside of memory, where there is a result to give.
fn bad_places() -> Vec<Case> {
    let two = || vec![Outside, Outside];
    let with = |mut before: Vec<Argument>, after: Vec<Argument>| {
        before.extend(after);
        before
    };
    let calls = vec![
        ("proxy_get_log_level", vec![Outside]),
        ("proxy_get_status", with(vec![Outside], vec![GivesBytes])),
        ("proxy_get_status", with(vec![GivesWord], two())),
        ("proxy_get_property", with(vec![text("plugin_name")], two())),
        ("proxy_get_property", with(vec![text("no_such_thing")], two())),
        ("proxy_get_current_time_nanoseconds", vec![Outside]),
        ("proxy_get_header_map_value", with(vec![Int(0), text("x-one")], two())),
        ("proxy_get_header_map_value", with(vec![Int(0), text("x-absent")], two())),
        ("proxy_get_header_map_value", with(vec![Int(0), text("x-empty")], two())),
        ("proxy_get_header_map_pairs", with(vec![Int(0)], two())),
        ("proxy_get_header_map_pairs", with(vec![Int(1)], two())),
        ("proxy_get_header_map_pairs", with(vec![Int(9)], two())),
        ("proxy_get_header_map_size", vec![Int(0), Outside]),
        ("proxy_get_header_map_size", vec![Int(1), Outside]),
        ("proxy_get_buffer_bytes", with(vec![Int(0), Int(0), Int(9)], two())),
        ("proxy_get_buffer_bytes", with(vec![Int(9), Int(0), Int(9)], two())),
        ("proxy_get_buffer_status", vec![Int(0), Outside, Outside]),
        ("proxy_get_shared_data", with(vec![text("kept")], with(two(), vec![GivesWord]))),
        ("proxy_get_shared_data", vec![text("kept"), GivesBytes, Outside]),
        ("proxy_get_shared_data", with(vec![text("absent")], with(two(), vec![Outside]))),
        ("proxy_register_shared_queue", vec![text("bad places"), Outside]),
        ("proxy_resolve_shared_queue", vec![text(""), text("bad places"), Outside]),
        ("proxy_resolve_shared_queue", vec![text(""), text("absent"), Outside]),
        ("proxy_dequeue_shared_queue", with(vec![Int(9999)], two())),
        ("proxy_define_metric", vec![Int(0), text("bad_places"), Outside]),
        ("proxy_define_metric", vec![Int(9), text("bad_places"), Outside]),
        ("proxy_get_metric", vec![Int(9999), Outside]),
        ("proxy_call_foreign_function", with(vec![text("no_such"), text("")], two())),
    ];
    let case = |(index, (function, arguments)): (usize, (&'static str, Vec<Argument>))| {
        Case::new(format!("bad place {index}: {function}"), [Call::new(function, arguments)])
    };
    calls.into_iter().enumerate().map(case).collect()
}

/// Every argument of bytes outside of memory.
fn bad_bytes() -> Vec<Case> {
    let calls = vec![
        ("proxy_log", vec![Int(2), OutsideBytes]),
        ("proxy_log", vec![Int(9), OutsideBytes]),
        ("proxy_get_property", vec![OutsideBytes, GivesBytes]),
        ("proxy_set_property", vec![OutsideBytes, text("1")]),
        ("proxy_set_property", vec![text("a"), OutsideBytes]),
        ("proxy_get_shared_data", vec![OutsideBytes, GivesBytes, GivesWord]),
        ("proxy_set_shared_data", vec![OutsideBytes, text("1"), Int(0)]),
        ("proxy_set_shared_data", vec![text("a"), OutsideBytes, Int(0)]),
        ("proxy_register_shared_queue", vec![OutsideBytes, GivesWord]),
        ("proxy_resolve_shared_queue", vec![OutsideBytes, text("q"), GivesWord]),
        ("proxy_resolve_shared_queue", vec![text(""), OutsideBytes, GivesWord]),
        ("proxy_enqueue_shared_queue", vec![Int(9999), OutsideBytes]),
        ("proxy_get_header_map_value", vec![Int(0), OutsideBytes, GivesBytes]),
        ("proxy_get_header_map_value", vec![Int(9), OutsideBytes, GivesBytes]),
        ("proxy_set_header_map_pairs", vec![Int(0), OutsideBytes]),
        ("proxy_set_header_map_pairs", vec![Int(9), OutsideBytes]),
        ("proxy_add_header_map_value", vec![Int(0), OutsideBytes, text("1")]),
        ("proxy_add_header_map_value", vec![Int(1), text("a"), OutsideBytes]),
        ("proxy_replace_header_map_value", vec![Int(0), text("a"), OutsideBytes]),
        ("proxy_remove_header_map_value", vec![Int(0), OutsideBytes]),
        ("proxy_set_buffer_bytes", vec![Int(0), Int(0), Int(0), OutsideBytes]),
        ("proxy_set_buffer_bytes", vec![Int(9), Int(0), Int(0), OutsideBytes]),
        ("proxy_send_local_response", vec![Int(200), OutsideBytes, text(""), text(""), Int(0)]),
        ("proxy_send_local_response", vec![Int(200), text(""), OutsideBytes, text(""), Int(0)]),
        ("proxy_send_local_response", vec![Int(200), text(""), text(""), OutsideBytes, Int(0)]),
        ("proxy_http_call", vec![OutsideBytes, text(""), text(""), text(""), Int(9), GivesWord]),
        ("proxy_http_call", vec![text(CLUSTER), OutsideBytes, text(""), text(""), Int(9), GivesWord]),
        ("proxy_http_call", vec![text(CLUSTER), text(""), OutsideBytes, text(""), Int(9), GivesWord]),
        ("proxy_http_call", vec![text(CLUSTER), text(""), text(""), OutsideBytes, Int(9), GivesWord]),
        ("proxy_define_metric", vec![Int(0), OutsideBytes, GivesWord]),
        ("proxy_define_metric", vec![Int(9), OutsideBytes, GivesWord]),
        ("proxy_call_foreign_function", vec![OutsideBytes, text(""), GivesBytes]),
        ("proxy_call_foreign_function", vec![text("clear_route_cache"), OutsideBytes, GivesBytes]),
        ("proxy_increment_metric", vec![LastWord, Long(1)]),
    ];
    let case = |(index, (function, arguments)): (usize, (&'static str, Vec<Argument>))| {
        Case::new(format!("bad bytes {index}: {function}"), [Call::new(function, arguments)])
    };
    calls.into_iter().enumerate().map(case).collect()
}

fn local_responses() -> Vec<Case> {
    let headers = |headers: &[(&str, &str)]| Bytes(pairs::to_bytes(headers));
    let respond = |status, body: &str, headers: Argument| {
        let arguments = [Int(status), text("probe details"), text(body), headers, Int(u32::MAX)];
        Call::new("proxy_send_local_response", arguments)
    };
    vec![
        Case::new("local response: with headers and body", [respond(418, "no", headers(&[("X-Why", "a")]))]),
        Case::new(
            "local response: the first of two counts",
            [respond(401, "first", headers(&[])), respond(402, "second", headers(&[]))],
        ),
        Case::new("local response: without a body", [respond(403, "", headers(&[]))]),
        Case::new("local response: headers that are no pairs", [respond(403, "x", text("junk"))]),
        Case::new(
            "local response: a header twice",
            [respond(403, "x", headers(&[("x-a", "1"), ("x-a", "2")]))],
        ),
        Case::new(
            "local response: a content type of its own",
            [respond(403, "{}", headers(&[("content-type", "application/json")]))],
        ),
        Case::new("local response: an odd status", [respond(299, "x", headers(&[]))]),
        Case::new(
            "local response: CR and LF in a value",
            [respond(403, "x", headers(&[("x-a", "a\r\nx-b: 1")]))],
        ),
    ]
    .into_iter()
    .map(Case::answering)
    .collect()
}
