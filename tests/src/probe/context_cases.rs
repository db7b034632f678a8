//! Cases about contexts: which one a hostcall acts on, and what goes on or ends when it is told to.

use super::{
    Argument::{self, Int, Stream},
    Call, Case,
    Phase::{
        self, Delete, Done, HttpCallResponse, Log, OtherRequestHeaders, RequestBody, RequestHeaders,
        ResponseHeaders, Tick,
    },
    call_cases,
    cases::{add, buffer, get, get_pairs, property, remove, replace, set_buffer, set_property, size, text},
    sides::CLUSTER,
};

/// All of them.
pub fn all() -> Vec<Case> {
    [streams(), effective_contexts(), resumed()].concat()
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

fn effective(context: Argument) -> Call {
    Call::new("proxy_set_effective_context", [context])
}

fn go_on(stream: u32) -> Call {
    Call::new("proxy_continue_stream", [Int(stream)])
}

fn close(stream: u32) -> Call {
    Call::new("proxy_close_stream", [Int(stream)])
}

pub(super) fn tick(period_ms: u32) -> Call {
    Call::new("proxy_set_tick_period_milliseconds", [Int(period_ms)])
}

/// A story whose request is held until a tick, which makes these calls first.
fn held(name: &str, calls: Vec<Call>) -> Case {
    Case::story(name).stop(RequestHeaders, 1, [tick(1)]).step(
        Tick,
        0,
        0,
        [vec![tick(0)], calls, vec![effective(Stream), go_on(0)]].concat(),
    )
}

fn reply(status: u32) -> Call {
    let details = || text("probe details");
    let nothing = || text("");
    let body = text("no");
    Call::new("proxy_send_local_response", [Int(status), details(), body, nothing(), Int(u32::MAX)])
}

/// A story whose request is held until another comes, which makes these calls.
fn beside(name: &str, calls: Vec<Call>) -> Case {
    Case::story(name).stop(RequestHeaders, 1, []).other(RequestHeaders, 1).at(OtherRequestHeaders, calls)
}

/// A story whose request is held until a call is answered.
fn answered(name: &str, calls: Vec<Call>) -> Case {
    Case::story(name)
        .stop(RequestHeaders, 1, [call_cases::call(CLUSTER, "plain", 0)])
        .at(HttpCallResponse, calls)
        .at(Log, [property("response.code"), property("response.code_details"), property("response.flags")])
}

fn effective_contexts() -> Vec<Case> {
    vec![
        held(
            "context: nothing of a stream is in reach of the root",
            vec![
                get(0, "x-one"),
                size(0),
                get_pairs(0),
                add(0, "x-a", "1"),
                property("request.path"),
                set_property("a", "1"),
                buffer(0, 0, 9),
                set_buffer(0, 0, 0, "x"),
            ],
        ),
        held(
            "context: what the root can read all the same",
            vec![
                property("plugin_name"),
                property("plugin_root_id"),
                property("connection.id"),
                buffer(6, 0, 9),
                buffer(7, 0, 9),
                property("request"),
                property("filter_state"),
            ],
        ),
        held(
            "context: a stream is in reach of the root that names it",
            vec![
                effective(Stream),
                get(0, "x-one"),
                property("request.headers.x-one"),
                add(0, "x-late", "1"),
                set_property("late", "1"),
                property("late"),
            ],
        ),
        held(
            "context: the root can be named again",
            vec![effective(Stream), effective(Int(1)), get(0, "x-one"), effective(Int(0)), get(0, "x-one")],
        ),
        held(
            "context: one that is not there changes nothing",
            vec![effective(Stream), effective(Int(99_999)), get(0, "x-one")],
        ),
        held("context: a response to the root goes nowhere", vec![reply(403)]),
        held("context: the root goes on and ends nowhere", vec![go_on(0), go_on(1), close(0), close(1)]),
        Case::story("context: the root is named in a callback of the stream").at(
            RequestHeaders,
            [
                effective(Int(1)),
                get(0, "x-one"),
                property("request.path"),
                effective(Stream),
                get(0, "x-one"),
            ],
        ),
        Case::story("context: it is named for one callback only")
            .stop(RequestHeaders, 1, [tick(1)])
            .step(Tick, 0, 0, [effective(Stream), get(0, "x-one")])
            .step(Tick, 1, 0, [get(0, "x-one"), tick(0), effective(Stream), go_on(0)]),
        Case::story("context: the stream's end is in reach")
            .at(Done, [get(0, "x-one"), property("request.path"), effective(Int(1)), effective(Stream)])
            .at(Delete, [get(0, "x-one"), property("request.path"), effective(Int(1)), effective(Stream)]),
        Case::story("context: a stream that has ended is not there")
            .at(Delete, [tick(1)])
            .at(Tick, [tick(0), effective(Stream), get(0, "x-one")])
            .until(Tick, 1),
        Case::story("context: a response to the root from a stream stops the stream")
            .at(RequestHeaders, [tick(1), effective(Int(1)), reply(403)])
            .step(Tick, 0, 0, [tick(0), effective(Stream), get(0, "x-one"), go_on(0)]),
        Case::story("context: a response to a stream that is held")
            .stop(RequestHeaders, 1, [tick(1)])
            .step(Tick, 0, 0, [tick(0), effective(Stream), reply(403), get(0, "x-one")])
            .at(ResponseHeaders, [get(2, ":status"), get(0, "x-one")]),
        Case::story("context: a request goes on behind a response that is not complete")
            .stop(RequestHeaders, 1, [tick(1)])
            .step(Tick, 0, 0, [tick(0), effective(Stream), reply(403), go_on(0)])
            .at(Log, [property("response.code"), property("upstream.transport_failure_reason")])
            .unseen(),
    ]
}

fn resumed() -> Vec<Case> {
    // Whatever came after the held part and went on would take the held part with it, so each is held to the end.
    let then =
        |name: &str, phase: Phase, action: u32, stream: u32| {
            Case::story(format!("held: {name}"))
                .stop(phase, action, [])
                .step(phase, 0, action, [tick(1)])
                .step(Tick, 0, 0, [tick(0), effective(Stream), go_on(stream)])
        };
    let whole = |case: Case| case.body(&["hello"]).trailers(&[("x-end", "1")]).answer("trailers");
    vec![
        whole(then("request headers with their body", RequestHeaders, 3, 0)),
        whole(then("request headers by the watermark", RequestHeaders, 4, 0)),
        then("request headers alone", RequestHeaders, 1, 0),
        whole(then("request headers with an action that is none", RequestHeaders, 9, 0)),
        then("request body", RequestBody, 1, 0).body(&["hello"]),
        then("request body by the watermark", RequestBody, 2, 0).body(&["hello"]),
        whole(then("request trailers", Phase::RequestTrailers, 1, 0)),
        whole(then("response headers with their body", ResponseHeaders, 3, 1)),
        whole(then("response headers by the watermark", ResponseHeaders, 4, 1)),
        then("response headers alone", ResponseHeaders, 1, 1).answer("empty"),
        then("response body", Phase::ResponseBody, 1, 1),
        then("response body by the watermark", Phase::ResponseBody, 2, 1),
        whole(then("response trailers", Phase::ResponseTrailers, 1, 1)),
        whole(Case::story("held: request headers until the body goes on").step(RequestHeaders, 0, 1, [])),
        whole(Case::story("held: response headers until the body goes on").step(ResponseHeaders, 0, 1, [])),
        whole(Case::story("held: not by action 2 on headers").step(RequestHeaders, 0, 2, [])),
        whole(Case::story("held: request body until the trailers go on").stop(RequestBody, 1, [])),
        whole(Case::story("held: response body until the trailers go on").stop(Phase::ResponseBody, 1, [])),
        Case::story("held: after going on, the request is out of reach")
            .stop(RequestHeaders, 1, [tick(1)])
            .step(
                Tick,
                0,
                0,
                [
                    tick(0),
                    effective(Stream),
                    go_on(0),
                    get(0, "x-one"),
                    add(0, "x-a", "1"),
                    property("request.path"),
                ],
            ),
        Case::story("held: after the response goes on, it is in reach")
            .stop(ResponseHeaders, 4, [tick(1)])
            .step(
                Tick,
                0,
                0,
                [
                    tick(0),
                    effective(Stream),
                    go_on(1),
                    get(2, ":status"),
                    add(2, "x-a", "1"),
                    get(0, "x-one"),
                ],
            )
            .at(Phase::ResponseBody, [get(2, ":status")]),
        Case::story("held: headers are changed while they are held")
            .stop(RequestHeaders, 1, [tick(1), add(0, "x-a", "1")])
            .step(
                Tick,
                0,
                0,
                [tick(0), effective(Stream), replace(0, "x-a", "2"), remove(0, "x-one"), go_on(0)],
            ),
        Case::story("ended: while the request is held")
            .stop(RequestHeaders, 1, [tick(1)])
            .step(Tick, 0, 0, [tick(0), effective(Stream), close(0)])
            .at(Log, [property("response.code"), property("response.code_details")]),
        Case::story("ended: while the response is held")
            .stop(ResponseHeaders, 4, [tick(1)])
            .step(Tick, 0, 0, [tick(0), effective(Stream), close(1)])
            .at(Log, [property("response.code"), property("response.code_details")]),
        Case::story("ended: of ending and going on, the first counts")
            .stop(RequestHeaders, 1, [tick(1)])
            .step(Tick, 0, 0, [tick(0), effective(Stream), close(0), go_on(0)]),
        beside("other stream: it lets one go on", vec![effective(Stream), go_on(0)]),
        beside("other stream: it ends one", vec![effective(Stream), close(0)]),
        beside(
            "other stream: it reads and changes one",
            vec![
                get(0, "x-one"),
                effective(Stream),
                get(0, "x-one"),
                add(0, "x-other", "1"),
                set_property("other", "1"),
                property("request.url_path"),
                go_on(0),
            ],
        )
        .at(Log, [property("other")]),
        beside(
            "other stream: what it sets for itself is not one's own",
            vec![
                set_property("other", "2"),
                property("other"),
                effective(Stream),
                property("other"),
                go_on(0),
            ],
        )
        .at(Log, [property("other")]),
        answered("answered: from the answer of a call", vec![effective(Stream), reply(403)]),
        answered("answered: without naming the stream", vec![reply(403), effective(Stream), go_on(0)]),
        answered("ended: from the answer of a call", vec![effective(Stream), close(0)]),
        answered(
            "held: headers are changed by the answer of a call",
            vec![effective(Stream), add(0, "x-user", "ada"), go_on(0)],
        ),
        Case::story("held: the response is changed by the answer of a call")
            .stop(ResponseHeaders, 4, [call_cases::call(CLUSTER, "plain", 0)])
            .at(HttpCallResponse, [effective(Stream), add(2, "x-user", "ada"), get(2, ":status"), go_on(1)]),
        Case::story("answered: in place of a response that is held")
            .stop(ResponseHeaders, 4, [call_cases::call(CLUSTER, "plain", 0)])
            .at(HttpCallResponse, [effective(Stream), reply(403)])
            .at(Log, [property("response.code"), property("response.code_details")]),
        Case::story("answered: twice, from a callback and from a tick")
            .stop(RequestHeaders, 1, [tick(1)])
            .step(Tick, 0, 0, [tick(0), effective(Stream), reply(403), reply(404)])
            .at(Log, [property("response.code"), property("response.code_details")]),
        Case::story("answered: twice on request body")
            .stop(RequestBody, 1, [reply(403), reply(404)])
            .at(Log, [property("response.code"), property("response.code_details")])
            .body(&["hello"]),
        Case::story("answered: by the answer of a call, twice")
            .stop(RequestHeaders, 1, [call_cases::call(CLUSTER, "plain", 0)])
            .at(HttpCallResponse, [effective(Stream), reply(403), reply(404)])
            .at(Log, [property("response.code"), property("response.code_details")]),
        Case::story("ended: in on request headers").stop(RequestHeaders, 1, [close(0)]),
        Case::story("ended: in on request body").stop(RequestBody, 1, [close(0)]).body(&["hello"]),
        Case::story("ended: in on response headers").stop(ResponseHeaders, 1, [close(1)]),
    ]
}
