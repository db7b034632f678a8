//! Cases about bodies: what of them can be read and changed, and what goes on.

use super::{
    Argument::{GivesNumber, GivesWord, Int},
    Call, Case,
    Phase::{self, RequestBody, RequestHeaders, RequestTrailers, ResponseBody, ResponseHeaders},
    cases::{add, buffer, get, get_pairs, property, remove, replace, set_buffer, set_pairs, size},
};

/// All of them.
pub fn all() -> Vec<Case> {
    [buffers(), requests(), responses()].concat()
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

fn requests() -> Vec<Case> {
    let read =
        || vec![buffer(0, 0, 100), Call::new("proxy_get_buffer_status", [Int(0), GivesWord, GivesNumber])];
    let without_length = || vec![remove(0, "content-length")];
    vec![
        Case::story("request body: held until its end")
            .stop(RequestBody, 1, read())
            .step(RequestBody, 1, 0, read())
            .body(&["hello"]),
        Case::story("request body: parts are held and given whole")
            .step(RequestBody, 0, 1, read())
            .step(RequestBody, 1, 1, read())
            .at(RequestBody, read())
            .body(&["one", "two"]),
        Case::story("request body: parts go on one by one").at(RequestBody, read()).body(&["one", "two"]),
        Case::story("request body: replaced when it is whole")
            .at(RequestHeaders, without_length())
            .step(RequestBody, 0, 1, read())
            .at(RequestBody, [set_buffer(0, 0, 100, "other"), buffer(0, 0, 100)])
            .body(&["hello"]),
        Case::story("request body: put before and after each part")
            .at(RequestHeaders, without_length())
            .at(RequestBody, [set_buffer(0, 0, 0, "<"), set_buffer(0, 100, 0, ">"), buffer(0, 0, 100)])
            .body(&["hello"]),
        Case::story("request body: emptied")
            .at(RequestHeaders, without_length())
            .at(RequestBody, [set_buffer(0, 0, 100, ""), buffer(0, 0, 9)])
            .body(&["hello"]),
        Case::story("request body: its first character, in each part")
            .at(RequestHeaders, without_length())
            .at(RequestBody, [set_buffer(0, 0, 1, "J"), buffer(0, 0, 100), buffer(0, 1, 1), buffer(0, 4, 9)])
            .body(&["hello"]),
        Case::story("request body: held by the watermark")
            .step(RequestBody, 0, 2, read())
            .step(RequestBody, 1, 0, read())
            .body(&["hello"]),
        Case::story("request body: taken away")
            .at(RequestHeaders, without_length())
            .step(RequestBody, 0, 3, [buffer(0, 0, 100), set_buffer(0, 0, 100, "")])
            .step(RequestBody, 1, 0, read())
            .body(&["hello"]),
        Case::story("request body: headers are held until it is whole")
            .stop(RequestHeaders, 1, [])
            .step(RequestBody, 0, 1, [add(0, "x-late", "1"), get(0, "x-late")])
            .at(RequestBody, [add(0, "x-later", "1"), get(0, "x-one"), buffer(0, 0, 100)])
            .body(&["hello"]),
        Case::story("request body: headers go on while it is held")
            .step(RequestBody, 0, 1, [add(0, "x-late", "1"), get(0, "x-late")])
            .at(RequestBody, [get(0, "x-one")])
            .body(&["hello"]),
        Case::story("request body: held until the trailers")
            .stop(RequestBody, 1, read())
            .at(RequestTrailers, read())
            .body(&["hello"])
            .trailers(&[("x-end", "1")]),
        Case::story("request body: parts are held until the trailers")
            .stop(RequestBody, 1, read())
            .at(RequestTrailers, [buffer(0, 0, 100), set_buffer(0, 0, 100, "other"), buffer(0, 0, 100)])
            .body(&["one", "two"])
            .trailers(&[("x-end", "1")]),
        Case::story("request body: more than is buffered")
            .stop(RequestHeaders, 3, [])
            .at(ResponseHeaders, [get(2, ":status"), property("response.code_details")])
            .body(&[&"x".repeat(1024 * 1024 + 1)])
            .unseen(),
        Case::story("request trailers: changed")
            .at(
                RequestTrailers,
                [
                    get(1, "X-End"),
                    add(1, "x-end", "2"),
                    get(1, "x-end"),
                    replace(1, "x-too", "3"),
                    get_pairs(1),
                    size(1),
                    remove(1, "x-end"),
                    get_pairs(1),
                ],
            )
            .trailers(&[("x-end", "1")]),
        Case::story("request trailers: replaced by others")
            .at(RequestTrailers, [set_pairs(1, &[("X-Other", "1"), ("x-other", "2")]), get_pairs(1)])
            .body(&["hello"])
            .trailers(&[("x-end", "1")]),
        Case::story("request trailers: added at the body's end")
            .at(RequestHeaders, without_length())
            .step(RequestBody, 0, 0, [add(1, "x-early", "1")])
            .step(RequestBody, 1, 0, [add(1, "x-made", "1"), get(1, "x-made"), size(1)])
            .body(&["hello"]),
    ]
}

fn responses() -> Vec<Case> {
    let read =
        || vec![buffer(1, 0, 100), Call::new("proxy_get_buffer_status", [Int(1), GivesWord, GivesNumber])];
    let without_length = || vec![remove(2, "content-length")];
    vec![
        Case::story("response body: read as it passes").at(ResponseBody, read()),
        Case::story("response body: held until its end")
            .step(ResponseBody, 0, 1, read())
            .at(ResponseBody, read()),
        Case::story("response body: replaced when it is whole")
            .at(ResponseHeaders, without_length())
            .step(ResponseBody, 0, 1, read())
            .at(ResponseBody, [set_buffer(1, 0, 100, "other"), buffer(1, 0, 100)]),
        Case::story("response body: put before and after each part")
            .at(ResponseHeaders, without_length())
            .at(ResponseBody, [set_buffer(1, 0, 0, "<"), set_buffer(1, 100, 0, ">"), buffer(1, 0, 100)]),
        Case::story("response body: written in its middle")
            .at(ResponseHeaders, without_length())
            .at(ResponseBody, [set_buffer(1, 1, 1, "x"), set_buffer(1, 0, 1, "U"), buffer(1, 2, 3)]),
        Case::story("response body: held by the watermark")
            .step(ResponseBody, 0, 2, read())
            .at(ResponseBody, read()),
        Case::story("response body: headers are held until it is whole")
            .stop(ResponseHeaders, 1, [])
            .step(ResponseBody, 0, 1, [add(2, "x-late", "1"), get(2, "x-late")])
            .at(ResponseBody, [add(2, "x-later", "1"), get(2, ":status"), buffer(1, 0, 100)]),
        Case::story("response body: headers have gone while it is held")
            .step(ResponseBody, 0, 1, [add(2, "x-late", "1"), get(2, ":status")])
            .at(ResponseBody, [get(2, ":status")]),
        Case::story("response body: held until the trailers")
            .stop(ResponseBody, 1, read())
            .at(Phase::ResponseTrailers, [get(3, "x-end"), add(3, "x-end", "2"), get_pairs(3)])
            .answer("trailers"),
        Case::story("response trailers: added at the body's end")
            .step(ResponseBody, 0, 0, [add(3, "x-early", "1"), size(3)])
            .step(ResponseBody, 1, 0, [add(3, "x-made", "1"), get(3, "x-made"), size(3)])
            .at(Phase::Log, [get(3, "x-made"), get_pairs(3)])
            .answer("chunked"),
        Case::story("response trailers: replaced by others")
            .at(Phase::ResponseTrailers, [set_pairs(3, &[("X-Other", "1")]), get_pairs(3), get(3, "x-end")])
            .at(Phase::Log, [get_pairs(3)])
            .answer("trailers"),
        Case::story("response headers: replaced by others")
            .at(
                ResponseHeaders,
                [
                    set_pairs(2, &[(":status", "201"), ("X-Set", "1"), ("content-length", "8")]),
                    get(2, "x-set"),
                ],
            )
            .at(Phase::Log, [get(2, ":status"), get(2, "x-set"), property("response.code")]),
        Case::story("response headers: the status is changed")
            .at(ResponseHeaders, [replace(2, ":status", "418"), get(2, ":status")]),
        Case::story("response headers: changed in every way").at(
            ResponseHeaders,
            [
                add(2, "X-New", "1"),
                add(2, "x-new", "2"),
                replace(2, "x-answered-by", "filter"),
                remove(2, "content-type"),
                get(2, "x-new"),
            ],
        ),
        Case::story("response headers: set-cookie stays apart").at(
            ResponseHeaders,
            [add(2, "set-cookie", "a=1"), add(2, "set-cookie", "b=2"), get(2, "set-cookie")],
        ),
        Case::story("response headers: the first of two")
            .at(ResponseHeaders, [get(2, "x-a"), remove(2, "x-a"), get(2, "x-a")])
            .answer("twice"),
        Case::story("response headers: the request is still there when it was not let go")
            .at(ResponseHeaders, [get(0, "x-one"), property("request.path")])
            .stop(RequestBody, 1, [])
            .step(Phase::RequestTrailers, 0, 0, [])
            .body(&["hello"])
            .trailers(&[("x-end", "1")]),
    ]
}
