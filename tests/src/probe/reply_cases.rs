//! Cases about local responses: what the client sees, and what the filter itself sees of them.
//!
//! Envoy 1.40 ends with a segmentation fault when a filter answers in on_log, or twice in on_response_headers, so there
//! are no cases of that.

use host_harness::abi::pairs;

use super::{
    Argument::{self, Bytes, Int},
    Call, Case,
    Phase::{self, Log, RequestBody, RequestHeaders, RequestTrailers, ResponseBody, ResponseHeaders},
    cases::{add, buffer, get, property, remove, replace, set_buffer, text},
};

/// All of them.
pub fn all() -> Vec<Case> {
    [local_responses(), by_callback()].concat()
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
    .map(Case::told)
    .collect()
}

fn reply(status: u32, body: &str, headers: &[(&str, &str)], grpc_status: i32) -> Call {
    let headers = Bytes(pairs::to_bytes(headers));
    let arguments =
        [Int(status), text("probe details"), text(body), headers, Int(grpc_status.cast_unsigned())];
    Call::new("proxy_send_local_response", arguments)
}

fn by_callback() -> Vec<Case> {
    let codes =
        || vec![property("response.code"), property("response.code_details"), property("response.flags")];
    let no = || reply(403, "no", &[("x-why", "probe")], -1);
    let grpc = |name: &str, status, body: &str, grpc_status| {
        Case::story(format!("local response: to gRPC, {name}"))
            .at(RequestHeaders, [reply(status, body, &[("x-why", "probe")], grpc_status)])
            .at(ResponseHeaders, [get(2, ":status"), get(2, "grpc-status"), get(2, "grpc-message")])
            .at(Log, [property("response.grpc_status")])
            .headers(&[("content-type", "application/grpc")])
    };
    let from = |name: &str, phase: Phase| {
        Case::story(format!("local response: from on {name}"))
            .step(phase, 0, 1, [no()])
            .at(Log, codes())
            .body(&["hello"])
            .trailers(&[("x-end", "1")])
            .answer("trailers")
    };
    let status = |status| {
        Case::story(format!("local response: status {status}"))
            .at(RequestHeaders, [reply(status, "x", &[], -1)])
            .at(ResponseHeaders, [get(2, ":status")])
            .at(Log, codes())
    };
    vec![
        from("request headers", RequestHeaders),
        from("request body", RequestBody),
        from("request trailers", RequestTrailers),
        from("response headers", ResponseHeaders),
        Case::story("local response: from on response body with the headers held")
            .stop(ResponseHeaders, 1, [])
            .step(ResponseBody, 0, 1, [no()])
            .at(Log, codes()),
        Case::story("local response: from on response body with the headers gone")
            .step(ResponseBody, 0, 1, [no()])
            .at(Log, codes()),
        Case::story("local response: what it is told to return does not count")
            .at(RequestHeaders, [no()])
            .at(ResponseHeaders, [get(2, ":status"), get(2, "x-why"), get(0, "x-one")])
            .at(ResponseBody, [buffer(1, 0, 9)])
            .at(Log, codes()),
        Case::story("local response: is changed on its way")
            .at(RequestHeaders, [no()])
            .at(
                ResponseHeaders,
                [replace(2, ":status", "401"), add(2, "x-own", "1"), remove(2, "content-length")],
            )
            .at(ResponseBody, [set_buffer(1, 0, 9, "changed"), buffer(1, 0, 9)]),
        Case::story("local response: from its own on response headers")
            .at(RequestHeaders, [no()])
            .step(ResponseHeaders, 0, 0, [reply(401, "again", &[], -1)])
            .at(Log, codes()),
        Case::story("local response: while the body is on its way")
            .step(RequestBody, 0, 1, [no()])
            .body(&["one", "two"])
            .leaves(ResponseBody, 1),
        Case::story("local response: without a body, seen by its filter")
            .at(RequestHeaders, [reply(403, "", &[], -1)])
            .at(ResponseHeaders, [get(2, ":status"), get(2, "content-length"), get(2, "content-type")]),
        Case::story("local response: headers of the response's own")
            .at(
                RequestHeaders,
                [reply(403, "x", &[("content-length", "9"), ("server", "s"), (":status", "201")], -1)],
            )
            .at(ResponseHeaders, [get(2, ":status"), get(2, "content-length")])
            .unseen(),
        status(200),
        status(404),
        status(503),
        status(599),
        status(600),
        status(999),
        grpc("a status of HTTP", 403, "no", -1),
        grpc("a status of its own", 403, "no", 5),
        grpc("the highest status", 403, "no", 16),
        grpc("a status that is none", 403, "no", 17),
        grpc("no message", 503, "", -1),
        grpc("a message with odd bytes", 403, "a b%\nc\u{e9}", -1),
        grpc("401", 401, "x", -1),
        grpc("404", 404, "x", -1),
        grpc("429", 429, "x", -1),
        grpc("500", 500, "x", -1),
    ]
}
