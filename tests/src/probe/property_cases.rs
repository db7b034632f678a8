//! Cases about properties: what can be read and written by a path, and when.

use super::{
    Argument::{GivesBytes, Int},
    Call, Case,
    Phase::{Log, RequestBody, RequestHeaders, RequestTrailers, ResponseHeaders},
    Rule::{Address, Length, Pairs},
    cases::{add, property, remove, replace, set_property, text},
};

/// All of them, in the order in which they must run.
pub fn all() -> Vec<Case> {
    [properties(), written_properties(), properties_by_phase()].concat()
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
        (
            "names of old",
            &[
                "cluster_name",
                "route_name",
                "route_metadata",
                "cluster_metadata",
                "listener_direction",
                "node",
                "node.id",
                "upstream_host_metadata",
            ],
        ),
        (
            "metadata that nobody set",
            &["xds.upstream_host_metadata", "xds.route_metadata.filter_metadata.none", "xds.no_such_thing"],
        ),
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
            "property: metadata of the route is a map",
            [
                property("xds.route_metadata.filter_metadata.probe"),
                property("xds.route_metadata.filter_metadata.probe.none"),
                property("xds.route_metadata.filter_metadata.probe.text.more"),
                property("xds.route_metadata.none"),
            ],
        )
        .by(Pairs),
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

fn properties_by_phase() -> Vec<Case> {
    vec![
        Case::story("property: set in one callback and read in the last")
            .at(RequestBody, [set_property("story", "1"), property("story")])
            .at(ResponseHeaders, [property("story"), set_property("story", "2")])
            .at(
                Log,
                [
                    property("story"),
                    property("filter_state.wasm.story"),
                    set_property("story", "3"),
                    property("story"),
                ],
            )
            .body(&["hello"]),
        Case::story("property: request headers that were changed").at(
            RequestHeaders,
            [
                replace(0, ":path", "/new?x=1#y"),
                property("request.path"),
                property("request.url_path"),
                property("request.query"),
                replace(0, "user-agent", "other"),
                property("request.useragent"),
                add(0, "x-two", "2c"),
                property("request.headers.x-two"),
                remove(0, ":path"),
                property("request.path"),
                property("request.url_path"),
                replace(0, ":path", "/again"),
            ],
        ),
        Case::story("property: a length that is said and one that came")
            .at(RequestHeaders, [property("request.size"), property("response.size")])
            .at(RequestBody, [property("request.size")])
            .at(Log, [property("request.size"), property("response.size")])
            .body(&["hello"]),
        Case::story("property: the length of a chunked body")
            .at(RequestHeaders, [property("request.size")])
            .stop(RequestBody, 1, [property("request.size")])
            .at(RequestTrailers, [property("request.size")])
            .body(&["hello"])
            .trailers(&[("x-end", "1")]),
        Case::story("property: codes of a response of the upstream")
            .at(
                Log,
                [property("response.code"), property("response.code_details"), property("response.flags")],
            )
            .answer("failed"),
        Case::story("property: codes of an own response")
            .at(
                RequestHeaders,
                [Call::new(
                    "proxy_send_local_response",
                    [Int(418), text("why it was  answered\tso"), text(""), text(""), Int(u32::MAX)],
                )],
            )
            .at(
                Log,
                [property("response.code"), property("response.code_details"), property("response.flags")],
            ),
        Case::story("property: codes when there is no connection")
            .at(
                Log,
                [property("response.code"), property("response.code_details"), property("response.flags")],
            )
            .answer("closed"),
        Case::story("property: codes when there is no host")
            .at(
                Log,
                [property("response.code"), property("response.code_details"), property("response.flags")],
            )
            .answer("hostless"),
        Case::story("property: codes when the client leaves")
            .at(
                Log,
                [property("response.code"), property("response.code_details"), property("response.flags")],
            )
            .stop(RequestHeaders, 1, [])
            .leaves(RequestHeaders, 1),
        Case::story("property: codes when the upstream ends the connection")
            .at(
                Log,
                [property("response.code"), property("response.code_details"), property("response.flags")],
            )
            .answer("cut"),
    ]
}
