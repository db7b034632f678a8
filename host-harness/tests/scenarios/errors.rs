//! What is said about a file that is wrong.

use host_harness::race::scenario::{Scenario, ScenarioError};

use super::{WHOLE, between::BETWEEN};

/// Each document with the whole of what is said about it.
pub(super) const WRONG: &[(&str, &str)] = &[
    ("", "t.yaml: the document: it is empty: give at least `scenario` and `module`"),
    (r#"[[]]"#, "t.yaml: the document: a list stands where a mapping belongs: give a value of that kind"),
    (r#"- a"#, "t.yaml: the document: a list stands where a mapping belongs: give a value of that kind"),
    (r#"{scenario: a}"#, "t.yaml: the document: the key `module` is missing: give `module`"),
    (
        r#"{scenario: a, module: m, module: n}"#,
        "t.yaml: the document: the key `module` comes twice: keep one of the two",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {}, c: {}}}"#,
        "t.yaml: clusters: the key `c` comes twice: keep one of the two",
    ),
    (
        r#"{scenario: a, module: m"#,
        "t.yaml: the document: did not find expected ',' or '}' at line 2 column 1, while parsing a flow mapping: give well-formed YAML",
    ),
    (
        r#"{scenario: a, module: m, worker: 3}"#,
        "t.yaml: the document: there is no key `worker`: did you mean `workers`?",
    ),
    (
        r#"{scenario: a, module: m, flavour: 3}"#,
        "t.yaml: the document: there is no key `flavour`: use one of `scenario`, `about`, `module`, `expect`, `workers`, `vm_id`, `seed`, `failure_policy`, `allow_on_headers_stop_iteration`, `configuration`, `plugins`, `variants`, `clusters`, `events`, `faults`, `bounds`, `must`, `serializable`, `tolerate`",
    ),
    (
        r#"{scenario: a, module: m, workers: two}"#,
        r#"t.yaml: workers: the text "two" stands where a whole number belongs: give a value of that kind"#,
    ),
    (
        r#"{scenario: a, module: m, workers: -1}"#,
        "t.yaml: workers: the number `-1` stands where a whole number belongs: give a value of that kind",
    ),
    (
        r#"{scenario: a, module: m, workers: 0}"#,
        "t.yaml: workers: without a worker nothing runs: give at least 1",
    ),
    (
        r#"{scenario: a, module: m, workers: 1.5}"#,
        "t.yaml: workers: the number `1.5` stands where a whole number belongs: give a value of that kind",
    ),
    (
        r#"{scenario: a, module: m, workers: true}"#,
        "t.yaml: workers: the value `true` stands where a whole number belongs: give a value of that kind",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{body: {}}]}}}"#,
        "t.yaml: clusters.c.answers[0].body: it is empty: give `base64` or `hex`, or text in place of the mapping",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{headers: []}]}}}"#,
        "t.yaml: clusters.c.answers[0].headers: a list stands where a mapping belongs: give a value of that kind",
    ),
    (
        r#"{scenario: 7, module: m}"#,
        "t.yaml: scenario: the number `7` stands where a string belongs: put it in quotes",
    ),
    (
        r#"{scenario: Stale_After, module: m}"#,
        "t.yaml: scenario: `Stale_After` is not in kebab case: use lower-case letters and digits in words joined by `-`",
    ),
    (
        r#"{scenario: a, module: ''}"#,
        "t.yaml: module: it is empty: give the path of a module, or one of `portcullis:filter`, `portcullis:guests`",
    ),
    (
        r#"{scenario: a, module: 'portcullis:guest'}"#,
        "t.yaml: module: there is no built-in module `portcullis:guest`: did you mean `portcullis:guests`?",
    ),
    (
        r#"{scenario: a, module: m, failure_policy: fail_close}"#,
        "t.yaml: failure_policy: `fail_close` is not known here: did you mean `fail_closed`?",
    ),
    (
        r#"{scenario: a, module: m, expect: fine}"#,
        "t.yaml: expect: `fine` is not known here: use one of `broken`, `clean`",
    ),
    (
        r#"{scenario: a, module: m, expect: clean, variants: {x: {}}}"#,
        "t.yaml: expect: what is expected differs by variant: give each variant its own `expect`",
    ),
    (
        r#"{scenario: a, module: m, configuration: 7}"#,
        "t.yaml: configuration: `7` is neither a mapping nor a string: put it in quotes to send it as it is",
    ),
    (
        r#"{scenario: a, module: m, configuration: {a: 1}, plugins: [{name: p}]}"#,
        "t.yaml: configuration: it is the short form for one plugin, and there are `plugins`: move it into one of them",
    ),
    (
        r#"{scenario: a, module: m, plugins: []}"#,
        "t.yaml: plugins: it is empty: give a plugin, or remove the key",
    ),
    (
        r#"{scenario: a, module: m, plugins: [{name: p}, {name: p}]}"#,
        "t.yaml: plugins[1].name: an earlier plugin is called `p`, too: give each its own name",
    ),
    (
        r#"{scenario: a, module: m, plugins: [{name: ''}]}"#,
        "t.yaml: plugins[0].name: it is empty: give the plugin a name",
    ),
    (
        r#"{scenario: a, module: m, plugins: [{name: p, singelton: true}]}"#,
        "t.yaml: plugins[0]: there is no key `singelton`: did you mean `singleton`?",
    ),
    (
        r#"{scenario: a, module: m, plugins: [{name: p, singleton: "yes"}]}"#,
        r#"t.yaml: plugins[0].singleton: the text "yes" stands where `true` or `false` belongs: give a value of that kind"#,
    ),
    (
        r#"{scenario: a, module: m, plugins: {p: {}}}"#,
        "t.yaml: plugins: a mapping stands where a list belongs: give a value of that kind",
    ),
    (
        r#"{scenario: a, module: m, variants: {Fixed: {}}}"#,
        "t.yaml: variants.Fixed: `Fixed` is not in kebab case: use lower-case letters and digits in words joined by `-`",
    ),
    (
        r#"{scenario: a, module: m, variants: {fixed: {config: {}}}}"#,
        "t.yaml: variants.fixed: there is no key `config`: use one of `about`, `expect`, `module`, `configuration`",
    ),
    (
        r#"{scenario: a, module: m, configuration: text, variants: {fixed: {configuration: {a: 1}}}}"#,
        "t.yaml: variants.fixed.configuration: no plugin has a configuration that it can change: give a mapping for mappings, a string for strings",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answer: []}}}"#,
        "t.yaml: clusters.c: there is no key `answer`: did you mean `answers`?",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [nevr]}}}"#,
        "t.yaml: clusters.c.answers[0]: `nevr` is not known here: did you mean `never`?",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [3]}}}"#,
        "t.yaml: clusters.c.answers[0]: the number `3` stands where a mapping, or an outcome such as `never` belongs: give a value of that kind",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{status: 99}]}}}"#,
        "t.yaml: clusters.c.answers[0].status: the number `99` stands where an HTTP status from 100 to 599 belongs: give a value of that kind",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{statuss: 200}]}}}"#,
        "t.yaml: clusters.c.answers[0]: there is no key `statuss`: did you mean `status`?",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{body: 404}]}}}"#,
        "t.yaml: clusters.c.answers[0].body: the number `404` stands where a string (or a mapping with `base64` or `hex`) belongs: put it in quotes",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{after: 10}]}}}"#,
        "t.yaml: clusters.c.answers[0].after: the number `10` stands where a duration such as `10ms` or `1.5s` belongs: write it with its unit",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{after: 10 moons}]}}}"#,
        r#"t.yaml: clusters.c.answers[0].after: the text "10 moons" stands where a duration such as `10ms` or `1.5s` belongs: write it with its unit"#,
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{headers: {etag: 1}}]}}}"#,
        "t.yaml: clusters.c.answers[0].headers.etag: the number `1` stands where a string or a list of strings belongs: put it in quotes",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{headers: {e tag: "1"}}]}}}"#,
        r#"t.yaml: clusters.c.answers[0].headers: "e tag" cannot be the name of a header: use letters, digits and `-`"#,
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{headers: {":status": "1"}}]}}}"#,
        r#"t.yaml: clusters.c.answers[0].headers: ":status" cannot be the name of a header: give `status` beside `headers`"#,
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{headers: {etag: "a\nb"}}]}}}"#,
        r#"t.yaml: clusters.c.answers[0].headers.etag: "a\nb" cannot be the value of a header: remove the control characters"#,
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{outcome: reset, status: 200}]}}}"#,
        "t.yaml: clusters.c.answers[0].status: it means nothing with this outcome: remove it, or change `outcome`",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{outcome: never, after: 1s}]}}}"#,
        "t.yaml: clusters.c.answers[0].after: it means nothing with this outcome: remove it, or change `outcome`",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {paths: {b: []}}}}"#,
        r#"t.yaml: clusters.c.paths.b: "b" is no path: begin it with `/`, and encode spaces and control characters"#,
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {paths: {/b: []}}}}"#,
        "t.yaml: clusters.c.paths./b: it has no answer: give one, or remove the path",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {carrying: {eve: []}}}}"#,
        "t.yaml: clusters.c.carrying.eve: it has no text or no answer: give the text that calls carry, and an answer",
    ),
    (
        r#"{scenario: a, module: m, events: [request]}"#,
        "t.yaml: events[0]: an event is a mapping: give `at` or `after`, and what happens",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s}]}"#,
        "t.yaml: events[0]: it does not say what happens: give one of `request`, `cluster`, `configure`, `remove`, `trap`, `stall`",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, requst: A}]}"#,
        "t.yaml: events[0]: it does not say what happens: did you mean `request`?",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: A, cluster: upstream}]}"#,
        "t.yaml: events[0]: `request`, `cluster` happen at once: make an event of each",
    ),
    (
        r#"{scenario: a, module: m, events: [{request: A}]}"#,
        "t.yaml: events[0]: it does not say when: give `at`, or `after` with a request",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: 7}]}"#,
        "t.yaml: events[0].request: the number `7` stands where a string belongs: put it in quotes",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: ''}]}"#,
        "t.yaml: events[0].request: it is empty: give the request a name",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: A}, {at: 1s, request: A}]}"#,
        "t.yaml: events[1].request: an earlier request is called `A`, too: give each its own name",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: A}, {at: 1s, request: B, worker: 2}]}"#,
        "t.yaml: events[1].worker: there is no worker 2: they are counted from 0, and `workers` is 2: give at most 1, or raise `workers`",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: A, worker: w0}]}"#,
        r#"t.yaml: events[0].worker: the text "w0" stands where a whole number belongs: give a value of that kind"#,
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: A, wroker: 0}]}"#,
        "t.yaml: events[0]: there is no key `wroker`: did you mean `worker`?",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: A, method: G ET}]}"#,
        r#"t.yaml: events[0].method: "G ET" is no HTTP method: give one such as `GET`"#,
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: A, path: /x y}]}"#,
        r#"t.yaml: events[0].path: "/x y" is no path: begin it with `/`, and encode spaces and control characters"#,
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: A, path: x}]}"#,
        r#"t.yaml: events[0].path: "x" is no path: begin it with `/`, and encode spaces and control characters"#,
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: A, headers: {":path": /}}]}"#,
        r#"t.yaml: events[0].headers: ":path" cannot be the name of a header: give `path` beside `headers`"#,
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: A, protocol: http3}]}"#,
        "t.yaml: events[0].protocol: `http3` is not known here: did you mean `http1` or `http2`?",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: A, chunk_size: 0}]}"#,
        "t.yaml: events[0].chunk_size: a chunk has at least one byte: give at least 1",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, cluster: feed, answers: []}]}"#,
        "t.yaml: events[0].cluster: there is no cluster `feed`: use `upstream`, or add it to `clusters`",
    ),
    (
        r#"{scenario: a, module: m, clusters: {feed: {}}, events: [{at: 1s, cluster: fed, answers: []}]}"#,
        "t.yaml: events[0].cluster: there is no cluster `fed`: did you mean `feed`, or add it to `clusters`",
    ),
    (
        r#"{scenario: a, module: m, clusters: {feed: {}}, events: [{at: 1s, cluster: feed, answer: []}]}"#,
        "t.yaml: events[0]: there is no key `answer`: did you mean `answers`?",
    ),
    (
        r#"{scenario: a, module: m, clusters: {feed: {}}, events: [{at: 1s, cluster: feed}]}"#,
        "t.yaml: events[0]: the key `answers` is missing: give `answers`",
    ),
    (
        r#"{scenario: a, module: m, clusters: {feed: {}}, events: [{at: 1s, cluster: feed, path: b, answers: []}]}"#,
        r#"t.yaml: events[0].path: "b" is no path: begin it with `/`, and encode spaces and control characters"#,
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, configure: health}]}"#,
        "t.yaml: events[0].configure: there is no plugin `health`: use `plugin`, or add it to `plugins`",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, configure: plugin, configuration: true}]}"#,
        "t.yaml: events[0].configuration: `true` is neither a mapping nor a string: put it in quotes to send it as it is",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{bundle: {}}]}}}"#,
        "t.yaml: clusters.c.answers[0].bundle: nothing is in it: give `files`, `revision` or `roots`",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{bundle: {file: {a: b}}}]}}}"#,
        "t.yaml: clusters.c.answers[0].bundle: there is no key `file`: did you mean `files`?",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{bundle: {revision: 1}}]}}}"#,
        "t.yaml: clusters.c.answers[0].bundle.revision: the number `1` stands where a string belongs: put it in quotes",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{bundle: {files: {data.json: 3}}}]}}}"#,
        "t.yaml: clusters.c.answers[0].bundle.files.data.json: `3` is neither text nor a document: give the file's text, or a mapping that becomes JSON",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{bundle: {revision: "1", files: {.manifest: {}}}}]}}}"#,
        "t.yaml: clusters.c.answers[0].bundle.files..manifest: it is in the bundle twice: keep one of the two; `revision` and `roots` make a `.manifest`",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{body: b, bundle: {revision: "1"}}]}}}"#,
        "t.yaml: clusters.c.answers[0]: it has both `body` and `bundle`: keep one of the two",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{outcome: never, bundle: {revision: "1"}}]}}}"#,
        "t.yaml: clusters.c.answers[0].bundle: it means nothing with this outcome: remove it, or change `outcome`",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, trap: worker0}]}"#,
        r#"t.yaml: events[0].trap: "worker0" is no thread: give `main`, or a worker such as `w0`"#,
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, trap: w2}]}"#,
        "t.yaml: events[0].trap: there is no worker 2: they are counted from 0, and `workers` is 2: give at most 1, or raise `workers`",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, stall: w0}]}"#,
        "t.yaml: events[0]: the key `for` is missing: give `for`",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, stall: w0, for: 5}]}"#,
        "t.yaml: events[0].for: the number `5` stands where a duration such as `10ms` or `1.5s` belongs: write it with its unit",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, request: A}], must: {always: [{when: {request: B}, answer: {status: 200}}]}}"#,
        "t.yaml: must.always[0].when.request: there is no request `B`: did you mean `A`, or give one of the events a `request` of that name",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s, remove: plugins}]}"#,
        "t.yaml: events[0].remove: there is no plugin `plugins`: did you mean `plugin`, or add it to `plugins`",
    ),
    (
        r#"{scenario: a, module: m, faults: {reset: 1}}"#,
        "t.yaml: faults: there is no key `reset`: did you mean `resets`?",
    ),
    (
        r#"{scenario: a, module: m, bounds: {until: soon}}"#,
        r#"t.yaml: bounds.until: the text "soon" stands where a duration such as `10ms` or `1.5s` belongs: write it with its unit"#,
    ),
    (
        r#"{scenario: a, module: m, bounds: {steps: 0}}"#,
        "t.yaml: bounds.steps: a run without a step shows nothing: give at least 1",
    ),
    (
        r#"{scenario: a, module: m, must: {allways: []}}"#,
        "t.yaml: must: there is no key `allways`: did you mean `always`?",
    ),
    (
        r#"{scenario: a, module: m, must: {always: [{request: A, never: {status: 200}}]}}"#,
        "t.yaml: must.always[0].request: there is no request `A`: give one of the events a `request` of that name",
    ),
    (
        r#"{scenario: a, module: m, must: {always: [{request: A, requests: [A], never: {status: 200}}]}}"#,
        "t.yaml: must.always[0]: it has both `request` and `requests`: keep one of the two",
    ),
    (
        r#"{scenario: a, module: m, must: {always: [{}]}}"#,
        "t.yaml: must.always[0]: it does not say what the answer must be: give `never`, `answer` or `one_of`",
    ),
    (
        r#"{scenario: a, module: m, must: {always: [{one_of: []}]}}"#,
        "t.yaml: must.always[0]: it does not say what the answer must be: give `never`, `answer` or `one_of`",
    ),
    (
        r#"{scenario: a, module: m, must: {always: [{never: {status: 200}, answer: {status: 503}}]}}"#,
        "t.yaml: must.always[0]: it says more than one thing: keep one of `never`, `answer`, `one_of`",
    ),
    (
        r#"{scenario: a, module: m, must: {always: [{never: {}}]}}"#,
        "t.yaml: must.always[0].never: every answer is like this, for it says nothing: give `status`, `body`, `contains` or `headers`",
    ),
    (
        r#"{scenario: a, module: m, must: {eventually: [{request: {}}]}}"#,
        "t.yaml: must.eventually[0]: it does not say what is asked and answered: give `request` and `answer`, or `agree`",
    ),
    (
        r#"{scenario: a, module: m, must: {eventually: [{agree: {}, workers: [0]}]}}"#,
        "t.yaml: must.eventually[0]: with `agree`, every worker is asked and any answer will do: remove the other keys, or make a rule of them",
    ),
    (
        r#"{scenario: a, module: m, must: {eventually: [{request: {}, answer: {status: 200}, without: [headers]}]}}"#,
        "t.yaml: must.eventually[0].without: it belongs to `agree`: remove it",
    ),
    (
        r#"{scenario: a, module: m, clusters: {c: {answers: [{outcome: never, echo: true}]}}}"#,
        "t.yaml: clusters.c.answers[0].echo: it means nothing with this outcome: remove it, or change `outcome`",
    ),
    (
        r#"{scenario: a, module: m, must: {eventually: [{agree: {worker: 0}}]}}"#,
        "t.yaml: must.eventually[0].agree.worker: only an event's request has this: give `workers` in the rule",
    ),
    (
        r#"{scenario: a, module: m, must: {eventually: [{agree: {at: 1s}}]}}"#,
        "t.yaml: must.eventually[0].agree.at: only an event's request has this: remove it",
    ),
    (
        r#"{scenario: a, module: m, must: {eventually: [{request: {}, workers: [2], answer: {status: 200}}]}}"#,
        "t.yaml: must.eventually[0].workers[0]: there is no worker 2: they are counted from 0, and `workers` is 2: give at most 1, or raise `workers`",
    ),
    (
        r#"{scenario: a, module: m, must: {eventually: [{when: {request: A}, request: {}, answer: {status: 200}}]}}"#,
        "t.yaml: must.eventually[0].when.request: there is no request `A`: give one of the events a `request` of that name",
    ),
    (
        r#"{scenario: a, module: m, must: {at_most: [{cluster: c, calls: 1}]}}"#,
        "t.yaml: must.at_most[0].cluster: there is no cluster `c`: use `upstream`, or add it to `clusters`",
    ),
    (
        r#"{scenario: a, module: m, must: {at_most: [{cluster: upstream, path: x, calls: 1}]}}"#,
        r#"t.yaml: must.at_most[0].path: "x" is no path: begin it with `/`, and encode spaces and control characters"#,
    ),
    (
        r#"{scenario: a, module: m, must: {at_most: [{cluster: upstream}]}}"#,
        "t.yaml: must.at_most[0]: the key `calls` is missing: give `calls`",
    ),
    (
        r#"{scenario: a, module: m, must: {at_most: [{}]}}"#,
        "t.yaml: must.at_most[0]: it does not say what is counted: give one of `calls`, `traps`, `ticks`, `items`",
    ),
    (
        r#"{scenario: a, module: m, must: {at_most: [{cluster: upstream, calls: 1, traps: 1}]}}"#,
        "t.yaml: must.at_most[0]: it counts more than one thing: make a rule of `traps` alone",
    ),
    (
        r#"{scenario: a, module: m, must: {at_most: [{path: /, traps: 1}]}}"#,
        "t.yaml: must.at_most[0].path: it narrows `calls`, and this counts `traps`: remove it",
    ),
    (
        r#"{scenario: a, module: m, must: {at_most: [{traps: few}]}}"#,
        r#"t.yaml: must.at_most[0].traps: the text "few" stands where a whole number belongs: give a value of that kind"#,
    ),
    (
        r#"{scenario: a, module: m, <<: 3}"#,
        "t.yaml: the document: a merge key (`<<`) is wrong: expected a mapping or list of mappings for merging, but found scalar: merge mappings alone",
    ),
    (
        r#"{scenario: a, module: m, clusters: {"*": {}}, must: {at_most: [{cluster: "*", calls: 1}]}}"#,
        "t.yaml: must.at_most[0].cluster: `*` is no single cluster: name the one that is meant",
    ),
];

#[test]
fn what_is_wrong_is_said_with_its_place_and_its_cure() {
    let mut differ = Vec::new();
    for (text, expected) in WRONG.iter().chain(BETWEEN) {
        let said = match Scenario::parse(text, "t.yaml") {
            Ok(read) => format!("nothing, but {read:?}"),
            Err(error) => error.to_string(),
        };
        if said != *expected {
            differ.push(format!("of {text:?}\n  is said  {said}\n  and not  {expected}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn the_parts_of_an_error_can_be_had_alone() {
    let error = Scenario::parse("{scenario: a, module: m, worker: 3}", "t.yaml").expect_err("a wrong key");
    let ScenarioError { file, path, message, cure } = error;
    assert_eq!(
        [file, path, message, cure],
        ["t.yaml", "", "there is no key `worker`", "did you mean `workers`?"]
    );
}

#[test]
fn every_mapping_refuses_a_key_that_is_not_its_own() {
    let tree: yaml_serde::Value = yaml_serde::from_str(WHOLE).expect("YAML");
    let mut tried = 0;
    for place in mappings(&tree) {
        // What stands in these is the author's own.
        let free = [
            "configuration",
            "headers",
            "trailers",
            "properties",
            "paths",
            "clusters",
            "variants",
            "files",
            "grpc",
            "/c",
        ];
        if free.iter().any(|free| place.path.ends_with(free))
            || ["configuration", "files"].iter().any(|key| place.path.contains(key))
        {
            continue;
        }
        let mut changed = tree.clone();
        let mapping = place.find(&mut changed).as_mapping_mut().expect("a mapping");
        mapping.insert("zzz".into(), 1.into());
        let text = yaml_serde::to_string(&changed).expect("YAML");
        let error = Scenario::parse(&text, "t.yaml").expect_err(&place.path);
        assert_eq!((error.path, error.message), (place.path, "there is no key `zzz`".to_owned()));
        tried += 1;
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn whatever_a_file_is_cut_to_it_is_read_or_refused() {
    for end in (0..WHOLE.len()).filter(|end| WHOLE.is_char_boundary(*end)) {
        if let Err(error) = Scenario::parse(&WHOLE[..end], "t.yaml") {
            assert!(!error.message.is_empty() && !error.cure.is_empty(), "{error}");
        }
    }
    let lines: Vec<&str> = WHOLE.lines().collect();
    for without in 0..lines.len() {
        let rest: Vec<&str> = [&lines[..without], &lines[without + 1..]].concat();
        let _ = Scenario::parse(&rest.join("\n"), "t.yaml");
    }
}

/// A mapping in a tree.
struct Place {
    /// As errors name it.
    path: String,
    steps: Vec<Step>,
}

#[derive(Clone)]
enum Step {
    Key(String),
    Index(usize),
}

impl Place {
    fn find<'a>(&self, tree: &'a mut yaml_serde::Value) -> &'a mut yaml_serde::Value {
        self.steps.iter().fold(tree, |tree, step| match step {
            Step::Key(key) => tree.get_mut(key.as_str()).expect("the key"),
            Step::Index(index) => tree.get_mut(*index).expect("the index"),
        })
    }

    fn below(&self, step: Step) -> Place {
        let path = match &step {
            Step::Key(key) if self.path.is_empty() => key.clone(),
            Step::Key(key) => format!("{}.{key}", self.path),
            Step::Index(index) => format!("{}[{index}]", self.path),
        };
        let steps = self.steps.iter().cloned().chain([step]).collect();
        Place { path, steps }
    }
}

/// Every mapping of a tree.
fn mappings(tree: &yaml_serde::Value) -> Vec<Place> {
    fn collect(tree: &yaml_serde::Value, place: Place, found: &mut Vec<Place>) {
        for (key, value) in tree.as_mapping().into_iter().flatten() {
            collect(value, place.below(Step::Key(key.as_str().unwrap_or_default().to_owned())), found);
        }
        for (index, value) in tree.as_sequence().into_iter().flatten().enumerate() {
            collect(value, place.below(Step::Index(index)), found);
        }
        if tree.is_mapping() {
            found.push(place);
        }
    }
    let mut found = Vec::new();
    collect(tree, Place { path: String::new(), steps: Vec::new() }, &mut found);
    found
}
