//! Wrong scenario files: what waits for, refers to or narrows something else, and content that is no text.

pub(super) const BETWEEN: &[(&str, &str)] = &[
    (
        r##"{scenario: a, module: m, events: [{request: A}]}"##,
        "t.yaml: events[0]: it does not say when: give `at`, or `after` with a request",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A}, {at: 1s, after: A, request: B}]}"##,
        "t.yaml: events[1]: it has both `at` and `after`: keep one of the two; `after: {request: …, delay: …}` waits so long after a request",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: login}, {after: logn, trap: w0}]}"##,
        "t.yaml: events[1].after: there is no request `logn`: did you mean `login`, or give one of the events a `request` of that name",
    ),
    (
        r##"{scenario: a, module: m, events: [{after: A, request: A}]}"##,
        "t.yaml: events[0].after: it waits for itself: `A` after `A`: give one of them `at`",
    ),
    (
        r##"{scenario: a, module: m, events: [{after: A, trap: w0}, {after: C, request: A}, {after: A, request: B}, {after: B, request: C}]}"##,
        "t.yaml: events[1].after: it waits for itself: `A` after `C` after `B` after `A`: give one of them `at`",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A}, {after: {request: A, has: started}, trap: w0}]}"##,
        "t.yaml: events[1].after.has: `started` is not known here: use one of `begun`, `ended`",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A}, {after: {delay: 1s}, trap: w0}]}"##,
        "t.yaml: events[1].after: the key `request` is missing: give `request`",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A}, {after: {request: A, delay: 7s}, request: B}, {after: B, trap: w0}]}"##,
        "t.yaml: events[1].after: the run is over after 7s, and this is at 8s: raise `bounds.until`",
    ),
    (
        r##"{scenario: a, module: m, must: {eventually: [{agree: {after: A}}]}}"##,
        "t.yaml: must.eventually[0].agree.after: only an event's request has this: remove it",
    ),
    (r##"{scenario: a, events: []}"##, "t.yaml: the document: the key `module` is missing: give `module`"),
    (
        r##"{scenario: a, variants: {x: {module: m}, y: {}}}"##,
        "t.yaml: variants.y: it has no module: give it one, or give one for the whole file",
    ),
    (
        r##"{scenario: a, module: m, variants: {x: {module: n}, y: {module: o}}}"##,
        "t.yaml: module: every variant has a module of its own, so nothing runs this one: remove it, or that of a variant",
    ),
    (
        r##"{scenario: a, variants: {x: {module: ""}}}"##,
        "t.yaml: variants.x.module: it is empty: give the path of a module, or one of `portcullis:filter`, `portcullis:guests`",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {paths: {/a: {}}}}}"##,
        "t.yaml: clusters.c.paths./a: it has no method: give one such as `GET`, or remove the path",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {paths: {/a: {GET: []}}}}}"##,
        "t.yaml: clusters.c.paths./a.GET: it has no answer: give one, or remove the method",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {paths: {/a: {GET: [never], get: [never]}}}}}"##,
        "t.yaml: clusters.c.paths./a.get: `get` is not `GET`: methods are distinguished by case: did you mean `GET`?",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {paths: {/a: {GET: [never], GET: [never]}}}}}"##,
        "t.yaml: clusters.c.paths./a: the key `GET` comes twice: keep one of the two",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {paths: {/a: {"G T": [never]}}}}}"##,
        "t.yaml: clusters.c.paths./a.G T: \"G T\" is no HTTP method: give one such as `GET`",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {}}, events: [{at: 1s, cluster: c, method: GET, answers: []}]}"##,
        "t.yaml: events[0].method: it is the method of no path: give `path`, or remove it",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {answers: [{body: {base64: "a-b"}}]}}}"##,
        "t.yaml: clusters.c.answers[0].body.base64: \"a-b\" is no base64: invalid symbol 45, offset 1: use `A` to `Z`, `a` to `z`, `0` to `9`, `+` and `/`, with `=` at the end alone",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {answers: [{body: {hex: "00f"}}]}}}"##,
        "t.yaml: clusters.c.answers[0].body.hex: \"00f\" is no hex: give two digits, `0` to `f`, for each byte",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {answers: [{body: {hex: "00", base64: ""}}]}}}"##,
        "t.yaml: clusters.c.answers[0].body: it has both `base64` and `hex`: keep one of the two",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A, body: {base46: ""}}]}"##,
        "t.yaml: events[0].body: there is no key `base46`: did you mean `base64`?",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {grpc: {/a.B/C: [never]}}}}"##,
        "t.yaml: clusters.c.grpc./a.B/C: \"/a.B/C\" is no gRPC method: write it as `package.Service/Method`, or `*` for every one",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {grpc: {a.B/C: []}}}}"##,
        "t.yaml: clusters.c.grpc.a.B/C: it has no answer: give one, or remove the method",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {grpc: {a.B/C: [{status: 17}]}}}}"##,
        "t.yaml: clusters.c.grpc.a.B/C[0].status: gRPC has no status 17: give one from 0 (OK) to 16",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {grpc: {a.B/C: [{outcome: reset, status: 1}]}}}}"##,
        "t.yaml: clusters.c.grpc.a.B/C[0].status: it means nothing with what is answered here: remove it, or change `outcome`",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {grpc: {a.B/C: [{messages: [a, {hex: g}]}]}}}}"##,
        "t.yaml: clusters.c.grpc.a.B/C[0].messages[1].hex: \"g\" is no hex: give two digits, `0` to `f`, for each byte",
    ),
    (
        r##"{scenario: a, module: m, clusters: {c: {grpc: {a.B/C: [sometimes]}}}}"##,
        "t.yaml: clusters.c.grpc.a.B/C[0]: `sometimes` is not known here: use one of `response`, `open`, `never`, `refused`, `connect_failure`, `reset`, `reset_before_headers`",
    ),
    (
        r##"{scenario: a, module: m, must: {at_most: [{path: /, calls: 1}]}}"##,
        "t.yaml: must.at_most[0]: it does not say of which cluster: give `cluster`",
    ),
    (
        r##"{scenario: a, module: m, must: {at_most: [{ticks: 1, items: 1}]}}"##,
        "t.yaml: must.at_most[0]: it counts more than one thing: make a rule of `items` alone",
    ),
    (
        r##"{scenario: a, module: m, must: {at_most: [{ticks: 1, queue: q}]}}"##,
        "t.yaml: must.at_most[0].queue: it narrows `items`, and this counts `ticks`: remove it",
    ),
    (
        r##"{scenario: a, module: m, must: {at_most: [{ticks: 1, thread: w9}]}}"##,
        "t.yaml: must.at_most[0].thread: there is no worker 9: they are counted from 0, and `workers` is 2: give at most 1, or raise `workers`",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A}], must: {always: [{answer: {body: {of: B}}}]}}"##,
        "t.yaml: must.always[0].answer.body.of: there is no request `B`: did you mean `A`, or give one of the events a `request` of that name",
    ),
    (
        r##"{scenario: a, module: m, must: {always: [{answer: {body: {header: etag}}}]}}"##,
        "t.yaml: must.always[0].answer.body: it does not say of which answer that is a header: give `of` with the name of a request",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A}], must: {always: [{answer: {contains: {of: A, hex: "00"}}}]}}"##,
        "t.yaml: must.always[0].answer.contains: it has content of its own and is taken from another answer: keep `of`, or what stands beside it",
    ),
    (
        r##"{scenario: a, module: m, must: {always: [{answer: {headers: {etag: {hex: "00"}}}}]}}"##,
        "t.yaml: must.always[0].answer.headers.etag: the value of a header is text, or `of` another answer: give one of the two",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A}], must: {always: [{when: {request: A, body: {of: A}}, never: {status: 200}}]}}"##,
        "t.yaml: must.always[0].when: a condition is about one answer, and this takes a part of it from another: give text in place of `of`",
    ),
    (
        r##"{scenario: a, module: m, must: {same: [{}]}}"##,
        "t.yaml: must.same[0]: it does not say whose answers: give `requests`, or `label`",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A}], must: {same: [{requests: [A]}]}}"##,
        "t.yaml: must.same[0]: it takes two answers to compare: name at least two requests",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A}], must: {same: [{requests: [A, A]}]}}"##,
        "t.yaml: must.same[0].requests[1]: it is named twice: name each request once",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A, label: x}], must: {same: [{label: x}]}}"##,
        "t.yaml: must.same[0]: request `A` alone has the label `x`: give it to another request as well",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A, label: x}], must: {same: [{label: y}]}}"##,
        "t.yaml: must.same[0].label: there is no label `y`: did you mean `x`, or give several of the requests a `label` of that name",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A, label: x}]}"##,
        "t.yaml: must.same: no rule asks for the label `x`: add `{label: x}`",
    ),
    (
        r##"{scenario: a, module: m, events: [{at: 1s, request: A}, {at: 1s, request: B}], must: {same: [{requests: [A, B], parts: []}]}}"##,
        "t.yaml: must.same[0]: it compares nothing: give `parts` (`status`, `body`) or `headers`",
    ),
];
