//! Cases about callbacks: which hostcalls mean what in each of them, from the request's headers to the stream's end.

use super::{
    Argument::{GivesBytes, GivesWord, Int},
    Call, Case,
    Phase::{
        self, Delete, Done, Log, RequestBody, RequestHeaders, RequestTrailers, ResponseBody, ResponseHeaders,
        ResponseTrailers,
    },
    Rule::Length,
    cases::{
        add, buffer, get, get_pairs, property, remove, replace, set_buffer, set_pairs, set_property, size,
    },
};

/// Every callback of a stream, with its name in a case's.
pub const STREAM: [(Phase, &str); 9] = [
    (RequestHeaders, "request headers"),
    (RequestBody, "request body"),
    (RequestTrailers, "request trailers"),
    (ResponseHeaders, "response headers"),
    (ResponseBody, "response body"),
    (ResponseTrailers, "response trailers"),
    (Log, "log"),
    (Done, "done"),
    (Delete, "delete"),
];

/// All of them.
pub fn all() -> Vec<Case> {
    let mut cases = vec![
        whole("callbacks: all of a stream, in order"),
        Case::story("callbacks: a GET"),
        Case::story("callbacks: a GET that is answered without a body").answer("empty"),
        Case::story("callbacks: 204").answer("none"),
        Case::story("callbacks: 304").answer("same"),
        Case::story("callbacks: a body in one part").body(&["hello"]),
        Case::story("callbacks: a body in three parts").body(&["one", "two", "end"]),
        Case::story("callbacks: trailers without a body").trailers(&[("x-end", "1")]),
        Case::story("callbacks: a chunked response").answer("chunked"),
        Case::story("callbacks: trailers of the response").answer("trailers"),
        Case::story("callbacks: the upstream ends the connection").answer("cut"),
        Case::story("callbacks: the upstream ends the connection in its answer").answer("cut-late"),
        Case::story("callbacks: the client leaves while the request is held")
            .stop(RequestHeaders, 1, [])
            .leaves(RequestHeaders, 1),
        Case::story("callbacks: the client leaves while the body is held")
            .stop(RequestBody, 1, [])
            .body(&["hello"])
            .leaves(RequestBody, 1),
        Case::story("callbacks: the client leaves while the upstream is silent")
            .answer("never")
            .leaves(RequestHeaders, 1),
        Case::story("callbacks: the client leaves while the response is held")
            .stop(ResponseHeaders, 4, [])
            .leaves(ResponseHeaders, 1),
        everywhere(
            "status of calls in every callback",
            &[Call::new("proxy_get_status", [GivesWord, GivesBytes])],
        ),
        everywhere("done in every callback", &[Call::new("proxy_done", [])]),
        everywhere("properties of its own in every callback", &[set_property("p", "1"), property("p")]),
        everywhere(
            "the plugin's name in every callback",
            &[property("plugin_name"), property("plugin_root_id")],
        ),
    ];
    for (phase, name) in STREAM {
        cases.extend(in_callback(phase, name));
    }
    cases
}

/// A story with every callback.
fn whole(name: impl Into<String>) -> Case {
    Case::story(name).body(&["hello"]).trailers(&[("x-end", "1")]).answer("trailers")
}

fn everywhere(name: &str, calls: &[Call]) -> Case {
    STREAM
        .iter()
        .fold(whole(format!("callbacks: {name}")), |case, (phase, _)| case.at(*phase, calls.to_vec()))
}

fn in_callback(phase: Phase, name: &str) -> Vec<Case> {
    let case = |what: &str, calls: Vec<Call>| whole(format!("on {name}: {what}")).at(phase, calls);
    let properties = |what, paths: &[&str]| case(what, paths.iter().map(|path| property(path)).collect());
    let request = [
        "request.path",
        "request.method",
        "request.host",
        "request.headers.x-one",
        "request.protocol",
        "request.id.no",
    ];
    let response = [
        "response.code",
        "response.code_details",
        "response.flags",
        "response.headers.x-answered-by",
        "response.trailers.x-end",
    ];
    let beside = ["connection.mtls", "connection.tls_version", "metadata", "filter_state", "request", "xds"];
    let upstream =
        ["upstream.address", "upstream.port", "upstream.local_address", "upstream.transport_failure_reason"];
    let maps = [(0, "x-one"), (1, "x-end"), (2, ":status"), (3, "x-end"), (6, ":status"), (7, "a")];
    let mut cases = vec![
        properties("properties of the request", &request),
        properties("properties of the response", &response),
        properties("properties beside them", &beside),
        case("values of header maps", maps.iter().map(|(map, name)| get(*map, name)).collect()),
        case("sizes of trailers and of no maps", [1, 3, 6, 7].map(size).to_vec()),
        case("pairs of trailers and of no maps", [1, 3, 6, 7].map(get_pairs).to_vec()),
        case("additions to maps", [0, 1, 2, 3].map(|map| add(map, "x-new", "1")).to_vec()),
        case(
            "other changes of maps",
            vec![
                replace(0, "x-one", "2"),
                remove(0, "x-empty"),
                replace(1, "x-end", "2"),
                remove(2, "x-answered-by"),
                replace(2, "x-new", "1"),
                set_pairs(3, &[("x-set", "1")]),
            ],
        ),
        // The response's body is out of reach after its callback, and Envoy would read it all the same.
        case(
            "buffers",
            if phase as u32 > ResponseBody as u32 {
                [0, 4, 6, 7].map(|number| buffer(number, 0, 100)).to_vec()
            } else {
                [0, 1, 4, 6, 7].map(|number| buffer(number, 0, 100)).to_vec()
            },
        ),
    ];
    // Whether a connection is at hand is a matter of time while the request is on its way.
    if !matches!(phase, RequestBody | RequestTrailers) {
        cases.push(properties("properties of the upstream", &upstream).by(Length));
    }
    if !matches!(phase, RequestBody | ResponseBody) {
        cases.push(case(
            "the request's body is written",
            vec![set_buffer(0, 0, 0, "x"), Call::new("proxy_get_log_level", [GivesWord])],
        ));
    }
    if matches!(phase, Log | Done | Delete) {
        cases.push(case(
            "nothing goes on any more",
            vec![
                Call::new("proxy_continue_stream", [Int(2)]),
                Call::new("proxy_set_effective_context", [Int(1)]),
                get(0, "x-one"),
                property("request.path"),
            ],
        ));
    }
    cases
}
