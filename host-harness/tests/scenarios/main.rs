//! Scenario files: what they mean, and what is said about one that is wrong.

mod between;
mod errors;
mod page;

use std::{collections::BTreeMap, fs, time::Duration};

use bytes::Bytes;
use host_harness::{
    archive::Archive,
    envoy::{FailurePolicy, Protocol, Request},
    race::{
        oracle::crossing,
        scenario::{
            Answer, Bounds, Cluster, Due, Event, EventKind, Expectation, Faults, Like, Place, Plugin, Rule,
            Scenario, Thread,
        },
    },
    world::{GrpcAnswer, GrpcEvent, GrpcReply, Reply, Route},
};

/// Uses every key once.
const WHOLE: &str = r#"
scenario: whole
about: Every key.
module: portcullis:guests
workers: 3
vm_id: status
seed: 7
failure_policy: fail_reload
plugins:
  - {name: health, configuration: {scenario: s, fixed: false, list: [1, 2], deep: {a: 1, b: 2}}}
  - {name: clock, configuration: plain, singleton: true}
  - {name: bare}
clusters:
  feed:
    answers:
      - {status: 202, body: NOT_READY, headers: {ETag: "1", set-cookie: [a, b]}, trailers: {sum: x}, after: 10ms}
      - {body: READY}
      - never
      - {bundle: {revision: "1", roots: [a], files: {a/authz.rego: package a, a/data.json: {x: 1}}}, headers: {etag: '"1"'}}
    paths:
      /b: [{status: 404}, refused, connect_failure, reset_before_headers, reset, {outcome: reset, body: ha, after: 1ms}]
      /c: {POST: [{body: {base64: AAH/}}], "*": [{body: {hex: 00ff}}]}
    grpc:
      a.B/C:
        - {headers: {x-a: "1"}, messages: [one, {hex: "02"}], status: 7, status_message: no, trailers: {x-b: "2"}, after: 1ms, every: 2ms}
        - {outcome: open, to: message, messages: [each]}
        - {http_status: 503}
        - never
events:
  - {at: 500ms, trap: main}
  - {at: 600ms, stall: w2, for: 5s}
  - {at: 400ms, remove: clock}
  - {at: 200ms, cluster: feed, path: /b, answers: [{body: v2}]}
  - {at: 200ms, cluster: feed, answers: []}
  - {at: 200ms, cluster: feed, path: /c, method: POST, answers: [{status: 409}]}
  - {at: 200ms, cluster: feed, grpc: a.B/C, answers: [{to: end}]}
  - {at: 300ms, configure: health, configuration: {fixed: false, deep: {a: 3}}}
  - at: 100ms
    request: A
    worker: 2
    method: POST
    path: /x?y
    authority: a.test
    headers: {X-User: alice, x-role: [r1, r2]}
    trailers: {sum: x}
    body: "0123"
    protocol: http2
    chunk_size: 2
    chunk_interval: 1ms
    properties: {source.address: "10.0.0.1:1"}
    leaves_after: 5ms
  - {at: 0s, request: B, label: pair}
  - {after: {request: A, has: begun, delay: 1ms}, stall: main, for: 1s}
  - {after: B, request: C, label: pair, body: {hex: 00ff}}
faults: {resets: 1, refusals: 2, timeouts: 3, connect_failures: 4, duplicates: 5}
bounds: {until: 1.5s, settle: 1m, slack: 1us, steps: 10, clock_step: 2ms}
tolerate: [trap, stuck-stream]
must:
  always:
    - {request: A, never: {status: 200, headers: {X-Who: bob}}}
    - {when: {request: B, status: 200}, requests: [A, B], answer: {contains: RE}}
    - {one_of: [{status: 200}, {status: 503}]}
    - {request: C, answer: {contains: {of: A}, headers: {x-who: {of: B, header: X-Who}}}}
    - {request: C, never: {body: {base64: AAE}}}
  eventually:
    - {when: {request: A, status: 200}, request: {path: /state}, workers: [2], answer: {status: 200, body: READY}}
    - {when: {request: B}, request: {}, answer: {status: 200}}
    - {agree: {path: /state}}
  at_most:
    - {cluster: feed, path: /b, calls: 3}
    - {cluster: upstream, calls: 0}
    - {traps: 2}
    - {cluster: feed, path: /c, method: POST, calls: 1}
    - {calls: 9}
    - {ticks: 8, thread: w1}
    - {items: 7, queue: q}
  same:
    - {label: pair}
    - {requests: [A, B], parts: [status], headers: [X-Plan]}
variants:
  naive: {expect: broken}
  fixed: {expect: clean, about: It holds., module: fixed.wasm, configuration: {fixed: true, deep: {b: null}}}
"#;

#[test]
fn every_key_means_what_it_says() {
    let (text, _) = WHOLE.split_once("variants:").expect("the variants come last");
    let [scenario] = parse(text).try_into().expect("one scenario");
    let reply = |status| Reply::status(status);
    let cluster = Cluster {
        carrying: BTreeMap::new(),
        answers: vec![
            reply(202)
                .with_body("NOT_READY")
                .with_header("etag", "1")
                .with_header("set-cookie", "a")
                .with_header("set-cookie", "b")
                .with_trailer("sum", "x")
                .after(ms(10)),
            Reply::body("READY"),
            Reply::never(),
            reply(200)
                .with_header("etag", "\"1\"")
                .with_body(
                    Archive::new()
                        .file(".manifest", r#"{"revision":"1","roots":["a"]}"#)
                        .file("a/authz.rego", "package a")
                        .file("a/data.json", r#"{"x":1}"#)
                        .build(),
                )
                .unless_matched(),
        ],
        paths: BTreeMap::from([
            (
                Route::of("/b"),
                vec![
                    reply(404),
                    Reply::refused(),
                    Reply::connect_failure(),
                    Reply::reset_before_headers(),
                    Reply::reset(),
                    Reply::reset().with_body("ha").after(ms(1)),
                ],
            ),
            (
                Route { path: "/c".to_owned(), method: Some("POST".to_owned()) },
                vec![Reply::body(vec![0, 1, 0xff])],
            ),
            (Route::of("/c"), vec![Reply::body(vec![0, 0xff])]),
        ]),
        grpc: BTreeMap::from([(
            "a.B/C".to_owned(),
            vec![
                GrpcAnswer {
                    opened: GrpcReply::silence()
                        .after(ms(1))
                        .headers(&[("x-a", "1")])
                        .message("one")
                        .after(ms(2))
                        .message(vec![2])
                        .status_with(7, "no", &[("x-b", "2")]),
                    ..GrpcAnswer::default()
                },
                GrpcAnswer {
                    opened: GrpcReply::silence().headers(&[]),
                    message: GrpcReply::silence().message("each"),
                    ..GrpcAnswer::default()
                },
                GrpcAnswer {
                    opened: GrpcReply::silence().then(GrpcEvent::HttpStatus(503)),
                    ..GrpcAnswer::default()
                },
                GrpcAnswer::default(),
            ],
        )]),
    };
    let mut request = Request::new("POST", "/x?y")
        .authority("a.test")
        .header("x-user", "alice")
        .header("x-role", "r1")
        .header("x-role", "r2")
        .trailer("sum", "x")
        .with_body("0123")
        .property("source.address", "10.0.0.1:1");
    request.protocol = Protocol::Http2;
    request.chunk_size_bytes = 2;
    request.chunk_interval = ms(1);
    let event = |at, kind| Event { due: Due::At(ms(at)), kind };
    let after = |request: &str, begun, delay, kind| Event {
        due: Due::After { request: request.to_owned(), begun, delay: ms(delay) },
        kind,
    };
    let asked = |name: &str, worker, request, leaves_after| EventKind::Request {
        name: name.to_owned(),
        worker,
        request: Box::new(request),
        leaves_after,
    };
    let answers = |path: Option<&str>, answers| EventKind::Answers {
        cluster: "feed".to_owned(),
        path: path.map(str::to_owned),
        method: None,
        answers,
    };
    let like = |place, request: &str, header: Option<&str>| Like {
        place,
        request: request.to_owned(),
        header: header.map(str::to_owned),
    };
    let status = |status| Answer { status: Some(status), ..Answer::default() };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let state = || Box::new(Request::get("/state"));
    let expected = Scenario {
        serializable: false,
        source: None,
        name: "whole".to_owned(),
        about: "Every key.".to_owned(),
        module: "portcullis:guests".to_owned(),
        variant: String::new(),
        expect: None,
        workers: 3,
        vm_id: "status".to_owned(),
        seed: 7,
        failure_policy: FailurePolicy::FailReload,
        allow_on_headers_stop_iteration: false,
        plugins: vec![
            plugin("health", r#"{"deep":{"a":1,"b":2},"fixed":false,"list":[1,2],"scenario":"s"}"#, false),
            plugin("clock", "plain", true),
            plugin("bare", "", false),
        ],
        clusters: BTreeMap::from([("feed".to_owned(), cluster)]),
        // By time; what is due at the same time in the order of the file.
        events: vec![
            event(0, asked("B", 0, Request::get("/"), None)),
            event(100, asked("A", 2, request, Some(ms(5)))),
            event(200, answers(Some("/b"), vec![Reply::body("v2")])),
            event(200, answers(None, vec![])),
            event(
                200,
                EventKind::Answers {
                    cluster: "feed".to_owned(),
                    path: Some("/c".to_owned()),
                    method: Some("POST".to_owned()),
                    answers: vec![reply(409)],
                },
            ),
            event(
                200,
                EventKind::GrpcAnswers {
                    cluster: "feed".to_owned(),
                    method: "a.B/C".to_owned(),
                    answers: vec![GrpcAnswer {
                        ended: GrpcReply::silence().status(0, ""),
                        ..GrpcAnswer::default()
                    }],
                },
            ),
            event(
                300,
                EventKind::Configure {
                    plugin: "health".to_owned(),
                    configuration: br#"{"deep":{"a":3},"fixed":false}"#.to_vec(),
                },
            ),
            event(400, EventKind::Remove { plugin: "clock".to_owned() }),
            event(500, EventKind::Trap { thread: Thread::Main }),
            event(600, EventKind::Stall { thread: Thread::Worker(2), span: Duration::from_secs(5) }),
            after("A", true, 1, EventKind::Stall { thread: Thread::Main, span: Duration::from_secs(1) }),
            after("B", false, 0, asked("C", 0, Request::get("/").with_body(vec![0, 0xff]), None)),
        ],
        faults: Faults { resets: 1, refusals: 2, timeouts: 3, connect_failures: 4, duplicates: 5 },
        bounds: Bounds {
            until: ms(1500),
            settle: Duration::from_secs(60),
            slack: Duration::from_micros(1),
            steps: 10,
            clock_step: ms(2),
        },
        rules: vec![
            Rule::Never {
                when: None,
                requests: names(&["A"]),
                answer: Answer {
                    headers: BTreeMap::from([("x-who".to_owned(), "bob".to_owned())]),
                    ..status(200)
                },
            },
            Rule::Always {
                when: Some(("B".to_owned(), status(200))),
                requests: names(&["A", "B"]),
                answers: vec![Answer { contains: Some(Bytes::from("RE")), ..Answer::default() }],
            },
            Rule::Always { when: None, requests: names(&[]), answers: vec![status(200), status(503)] },
            Rule::Always {
                when: None,
                requests: names(&["C"]),
                answers: vec![Answer {
                    like: vec![
                        like(Place::Contains, "A", None),
                        like(Place::Header("x-who".to_owned()), "B", Some("x-who")),
                    ],
                    ..Answer::default()
                }],
            },
            Rule::Never {
                when: None,
                requests: names(&["C"]),
                answer: Answer { body: Some(Bytes::from_static(&[0, 1])), ..Answer::default() },
            },
            Rule::Eventually {
                when: Some(("A".to_owned(), status(200))),
                workers: vec![2],
                request: state(),
                answer: Answer { body: Some(Bytes::from("READY")), ..status(200) },
            },
            Rule::Eventually {
                when: Some(("B".to_owned(), Answer::default())),
                workers: vec![],
                request: Box::new(Request::get("/")),
                answer: status(200),
            },
            Rule::Agreement { request: state(), headers: true },
            at_most("feed", Some("/b"), None, 3),
            at_most("upstream", None, None, 0),
            Rule::AtMostTraps { traps: 2 },
            at_most("feed", Some("/c"), Some("POST"), 1),
            Rule::AtMostCalls { calls: 9 },
            Rule::AtMostTicks { thread: Some(Thread::Worker(1)), ticks: 8 },
            Rule::AtMostItems { queue: Some("q".to_owned()), items: 7 },
            Rule::Same {
                label: Some("pair".to_owned()),
                requests: names(&["B", "C"]),
                status: true,
                body: true,
                headers: vec![],
            },
            Rule::Same {
                label: None,
                requests: names(&["A", "B"]),
                status: true,
                body: false,
                headers: vec!["x-plan".to_owned()],
            },
        ],
        tolerate: vec!["trap", "stuck-stream"],
    };
    assert_eq!(scenario, expected);
}

#[test]
fn what_is_left_out_has_a_default() {
    let [scenario] = parse("{scenario: a-1, module: m.wasm}").try_into().expect("one scenario");
    let expected = Scenario {
        serializable: false,
        source: None,
        name: "a-1".to_owned(),
        about: String::new(),
        module: "m.wasm".to_owned(),
        variant: String::new(),
        expect: None,
        workers: 2,
        vm_id: "a-1".to_owned(),
        seed: 0,
        failure_policy: FailurePolicy::FailClosed,
        allow_on_headers_stop_iteration: false,
        plugins: vec![plugin("plugin", "", false)],
        clusters: BTreeMap::new(),
        events: vec![],
        faults: Faults::default(),
        bounds: Bounds {
            until: Duration::from_secs(2),
            settle: Duration::from_secs(5),
            slack: ms(100),
            steps: 2000,
            clock_step: Duration::ZERO,
        },
        rules: vec![],
        tolerate: vec![],
    };
    assert_eq!(scenario, expected);
    assert_eq!(parse("{scenario: a-1, module: m.wasm, workers: , clusters: , events: , must: }"), [expected]);
    assert_eq!(parse("{scenario: a, module: m, expect: broken}")[0].expect, Some(Expectation::Broken));
}

#[test]
fn a_trap_is_no_finding_by_itself_where_traps_are_counted() {
    let tolerated = |extra: &str| parse(&format!("{{scenario: a, module: m, {extra}}}")).remove(0).tolerate;
    assert_eq!(tolerated("must: {at_most: [{traps: 1}]}"), ["trap"]);
    assert_eq!(tolerated("must: {at_most: [{traps: 1}]}, tolerate: [trap]"), ["trap"]);
    assert_eq!(tolerated("must: {at_most: [{cluster: upstream, calls: 1}]}"), [""; 0]);
}

#[test]
fn each_variant_is_a_scenario_whose_configurations_it_changes() {
    let scenarios = parse(WHOLE);
    let reported: Vec<_> =
        scenarios.iter().map(|s| (s.variant.as_str(), s.expect, s.about.as_str())).collect();
    assert_eq!(
        reported,
        [
            ("naive", Some(Expectation::Broken), "Every key."),
            ("fixed", Some(Expectation::Clean), "It holds."),
        ]
    );
    let fixed = &scenarios[1];
    assert_eq!((&*scenarios[0].module, &*fixed.module), ("portcullis:guests", "fixed.wasm"));
    assert_eq!(
        fixed.plugins,
        [
            plugin("health", r#"{"deep":{"a":1},"fixed":true,"list":[1,2],"scenario":"s"}"#, false),
            plugin("clock", "plain", true),
            plugin("bare", r#"{"deep":{},"fixed":true}"#, false),
        ]
    );
    let configured = fixed.events.iter().find_map(|event| match &event.kind {
        EventKind::Configure { configuration, .. } => {
            Some(String::from_utf8_lossy(configuration).into_owned())
        }
        _ => None,
    });
    assert_eq!(configured.as_deref(), Some(r#"{"deep":{"a":3},"fixed":true}"#));
    let naive = Scenario { variant: String::new(), expect: None, ..scenarios[0].clone() };
    let (without, _) = WHOLE.split_once("variants:").expect("the variants come last");
    assert_eq!([naive], parse(without).as_slice());
}

#[test]
fn what_a_file_means_depends_on_its_tree_alone() {
    let (text, _) = WHOLE.split_once("variants:").expect("the variants come last");
    let tree: yaml_serde::Value = yaml_serde::from_str(text).expect("YAML");
    let again = yaml_serde::to_string(&tree).expect("YAML");
    assert_ne!(text, again);
    assert_eq!(parse(text), parse(&again));
    let json = serde_json::to_string(&tree).expect("JSON");
    assert_eq!(parse(text), parse(&json), "JSON is YAML");
    let mut entries: Vec<_> = tree.as_mapping().expect("a mapping").clone().into_iter().collect();
    entries.reverse();
    let reversed: yaml_serde::Mapping = entries.into_iter().collect();
    assert_eq!(parse(text), parse(&yaml_serde::to_string(&reversed).expect("YAML")));
}

#[test]
fn anchors_and_merge_keys_are_understood() {
    let text = "
scenario: a
module: m
events:
  - &first {at: 1ms, request: A, path: /x}
  - {<<: *first, request: B}
";
    let scenario = &parse(text)[0];
    let paths = scenario.events.iter().map(|event| match &event.kind {
        EventKind::Request { name, request, .. } => (name.as_str(), request.path.as_slice()),
        other => panic!("{other:?}"),
    });
    assert_eq!(paths.collect::<Vec<_>>(), [("A", b"/x".as_slice()), ("B", b"/x")]);
}

#[test]
fn a_modules_path_is_relative_to_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("race.yaml");
    let load = |module: &str| {
        fs::write(&path, format!("{{scenario: a, module: '{module}'}}")).expect("the file is written");
        Scenario::load(&path).expect("it is read").remove(0).module
    };
    assert_eq!(load("../m.wasm"), folder.path().join("../m.wasm").display().to_string());
    assert_eq!(load("/opt/m.wasm"), "/opt/m.wasm");
    assert_eq!(load("portcullis:filter"), "portcullis:filter");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Scenario::load("no/such.yaml").expect_err("there is none");
    assert_eq!(
        error.to_string(),
        "no/such.yaml: the document: it cannot be read: No such file or directory (os error 2): \
         check the path, and that it is UTF-8 text"
    );
}

#[test]
fn the_default_scenario_asks_both_workers_early_and_late() {
    let scenario = Scenario::default_for("my.wasm");
    assert_eq!((scenario.module.as_str(), scenario.workers), ("my.wasm", 2));
    let mut asked: Vec<(usize, bool)> = scenario
        .events
        .iter()
        .map(|event| match &event.kind {
            EventKind::Request { worker, .. } => {
                (*worker, matches!(event.due, Due::At(at) if at >= Duration::from_secs(1)))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, [(0, false), (0, true), (1, false), (1, true)]);
    for event in &scenario.events {
        let EventKind::Request { name, request, .. } = &event.kind else { continue };
        let length = request.headers.iter().find(|(name, _)| name == b"content-length");
        let length = length.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        let body = request.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
        let sent = body.map(|body| body.replace("${nonce}", &crossing::nonce(name)).len().to_string());
        assert_eq!(length, sent, "{name}");
    }
    // Which worker it was that answered may be told in a header.
    assert!(scenario.rules.iter().all(|rule| matches!(rule, Rule::Agreement { headers: false, .. })));
    assert_eq!(scenario.rules.len(), 5);
}

// === The world ===

#[test]
fn the_world_answers_as_the_file_says_until_an_event_changes_it() {
    use host_harness::world::World;
    let text = "
scenario: a
module: m
clusters:
  feed: {answers: [{status: 201}, {status: 202}], paths: {/b: [{status: 404}]}}
events:
  - {at: 1s, cluster: feed, path: /b, answers: [{status: 203}]}
  - {at: 2s, cluster: feed, answers: [{status: 204}]}
  - {at: 3s, request: A}
";
    let scenario = parse(text).remove(0);
    let mut world = scenario.world();
    assert_eq!(["/", "/b", "/", "/"].map(|path| status(&mut world, "feed", path)), [201, 404, 202, 202]);
    assert_eq!(status(&mut world, "upstream", "/"), 200);
    assert!(scenario.events[0].kind.change_answers(&mut world));
    assert_eq!(["/b", "/"].map(|path| status(&mut world, "feed", path)), [203, 202]);
    assert!(scenario.events[1].kind.change_answers(&mut world));
    assert_eq!(["/b", "/"].map(|path| status(&mut world, "feed", path)), [204, 204]);
    assert!(!scenario.events[2].kind.change_answers(&mut world));
    assert_eq!(world.now(), Duration::ZERO);
}

#[test]
fn with_any_cluster_no_cluster_is_unknown() {
    let text = r#"
scenario: a
module: m
clusters:
  feed: {answers: [{status: 201}]}
  "*": {answers: [{status: 202}, {status: 203}]}
events:
  - {at: 1s, cluster: hub, answers: [{status: 204}]}
must:
  at_most:
    - {cluster: hub, calls: 1}
"#;
    let scenario = parse(text).remove(0);
    let mut world = scenario.world();
    assert_eq!(["feed", "hub", "store"].map(|cluster| status(&mut world, cluster, "/")), [201, 202, 203]);
    scenario.events[0].kind.change_answers(&mut world);
    assert_eq!(["feed", "hub", "store"].map(|cluster| status(&mut world, cluster, "/")), [201, 204, 203]);
}

fn status(world: &mut host_harness::world::Scripted, cluster: &str, path: &str) -> u16 {
    use host_harness::{
        envoy::StreamId,
        world::{Call, CallId, Origin, Outcome, Sent, World},
    };
    let call = Call {
        id: CallId(1),
        origin: Origin::Router { stream: StreamId(1) },
        cluster: cluster.to_owned(),
        headers: vec![(b":path".to_vec(), path.as_bytes().to_vec())],
        body: Bytes::new(),
        trailers: Vec::new(),
        timeout: None,
    };
    match world.send(&call) {
        Ok(Sent::After(_, Outcome::Response(response))) => response.status,
        other => panic!("{other:?}"),
    }
}

// === Helpers ===

fn at_most(cluster: &str, path: Option<&str>, method: Option<&str>, calls: usize) -> Rule {
    let (path, method) = (path.map(str::to_owned), method.map(str::to_owned));
    Rule::AtMost { cluster: cluster.to_owned(), path, method, calls }
}

fn parse(text: &str) -> Vec<Scenario> {
    Scenario::parse(text, "t.yaml").unwrap_or_else(|error| panic!("{error}"))
}

fn plugin(name: &str, configuration: &str, singleton: bool) -> Plugin {
    Plugin { name: name.to_owned(), configuration: configuration.as_bytes().to_vec(), singleton }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
