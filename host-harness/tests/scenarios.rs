//! Scenario files: what they mean, and what is said about one that is wrong.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use bytes::Bytes;
use host_harness::{
    envoy::{FailurePolicy, Protocol, Request},
    race::scenario::{
        Answer, Bounds, Cluster, Event, EventKind, Expectation, Faults, Plugin, Rule, Scenario, ScenarioError,
    },
    world::Reply,
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
    paths:
      /b: [{status: 404}, refused, connect_failure, reset_before_headers, reset, {outcome: reset, body: ha, after: 1ms}]
events:
  - {at: 400ms, remove: clock}
  - {at: 200ms, cluster: feed, path: /b, answers: [{body: v2}]}
  - {at: 200ms, cluster: feed, answers: []}
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
  - {at: 0s, request: B}
faults: {resets: 1, refusals: 2, timeouts: 3, connect_failures: 4, duplicates: 5}
bounds: {until: 1.5s, settle: 1m, slack: 1us, steps: 10}
must:
  always:
    - {request: A, never: {status: 200, headers: {X-Who: bob}}}
    - {requests: [A, B], answer: {contains: RE}}
    - {one_of: [{status: 200}, {status: 503}]}
  eventually:
    - {when: {request: A, status: 200}, request: {path: /state}, workers: [2], answer: {status: 200, body: READY}}
    - {when: {request: B}, request: {}, answer: {status: 200}}
    - {agree: {path: /state}}
  at_most:
    - {cluster: feed, path: /b, calls: 3}
    - {cluster: upstream, calls: 0}
variants:
  naive: {expect: broken}
  fixed: {expect: clean, about: It holds., configuration: {fixed: true, deep: {b: null}}}
"#;

#[test]
fn every_key_means_what_it_says() {
    let (text, _) = WHOLE.split_once("variants:").expect("the variants come last");
    let [scenario] = parse(text).try_into().expect("one scenario");
    let reply = |status| Reply::status(status);
    let cluster = Cluster {
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
        ],
        paths: BTreeMap::from([(
            "/b".to_owned(),
            vec![
                reply(404),
                Reply::refused(),
                Reply::connect_failure(),
                Reply::reset_before_headers(),
                Reply::reset(),
                Reply::reset().with_body("ha").after(ms(1)),
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
    let event = |at, kind| Event { at: ms(at), kind };
    let asked = |name: &str, worker, request, leaves_after| EventKind::Request {
        name: name.to_owned(),
        worker,
        request: Box::new(request),
        leaves_after,
    };
    let answers = |path: Option<&str>, answers| EventKind::Answers {
        cluster: "feed".to_owned(),
        path: path.map(str::to_owned),
        answers,
    };
    let status = |status| Answer { status: Some(status), ..Answer::default() };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let state = || Box::new(Request::get("/state"));
    let expected = Scenario {
        name: "whole".to_owned(),
        about: "Every key.".to_owned(),
        module: "portcullis:guests".to_owned(),
        variant: String::new(),
        expect: None,
        workers: 3,
        vm_id: "status".to_owned(),
        seed: 7,
        failure_policy: FailurePolicy::FailReload,
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
                300,
                EventKind::Configure {
                    plugin: "health".to_owned(),
                    configuration: br#"{"deep":{"a":3},"fixed":false}"#.to_vec(),
                },
            ),
            event(400, EventKind::Remove { plugin: "clock".to_owned() }),
        ],
        faults: Faults { resets: 1, refusals: 2, timeouts: 3, connect_failures: 4, duplicates: 5 },
        bounds: Bounds {
            until: ms(1500),
            settle: Duration::from_secs(60),
            slack: Duration::from_micros(1),
            steps: 10,
        },
        rules: vec![
            Rule::Never {
                requests: names(&["A"]),
                answer: Answer {
                    headers: BTreeMap::from([("x-who".to_owned(), "bob".to_owned())]),
                    ..status(200)
                },
            },
            Rule::Always {
                requests: names(&["A", "B"]),
                answers: vec![Answer { contains: Some(Bytes::from("RE")), ..Answer::default() }],
            },
            Rule::Always { requests: names(&[]), answers: vec![status(200), status(503)] },
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
            Rule::Agreement { request: state() },
            Rule::AtMost { cluster: "feed".to_owned(), path: Some("/b".to_owned()), calls: 3 },
            Rule::AtMost { cluster: "upstream".to_owned(), path: None, calls: 0 },
        ],
    };
    assert_eq!(scenario, expected);
}

#[test]
fn what_is_left_out_has_a_default() {
    let [scenario] = parse("{scenario: a-1, module: m.wasm}").try_into().expect("one scenario");
    let expected = Scenario {
        name: "a-1".to_owned(),
        about: String::new(),
        module: "m.wasm".to_owned(),
        variant: String::new(),
        expect: None,
        workers: 2,
        vm_id: "a-1".to_owned(),
        seed: 0,
        failure_policy: FailurePolicy::FailClosed,
        plugins: vec![plugin("plugin", "", false)],
        clusters: BTreeMap::new(),
        events: vec![],
        faults: Faults::default(),
        bounds: Bounds {
            until: Duration::from_secs(2),
            settle: Duration::from_secs(5),
            slack: ms(100),
            steps: 2000,
        },
        rules: vec![],
    };
    assert_eq!(scenario, expected);
    assert_eq!(parse("{scenario: a-1, module: m.wasm, workers: , clusters: , events: , must: }"), [expected]);
    assert_eq!(parse("{scenario: a, module: m, expect: broken}")[0].expect, Some(Expectation::Broken));
}

#[test]
fn each_variant_is_a_scenario_whose_configurations_it_changes() {
    let scenarios = parse(WHOLE);
    let told: Vec<_> = scenarios.iter().map(|s| (s.variant.as_str(), s.expect, s.about.as_str())).collect();
    assert_eq!(
        told,
        [
            ("naive", Some(Expectation::Broken), "Every key."),
            ("fixed", Some(Expectation::Clean), "It holds."),
        ]
    );
    let fixed = &scenarios[1];
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
            EventKind::Request { worker, .. } => (*worker, event.at >= Duration::from_secs(1)),
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
        assert_eq!(length, request.body.as_ref().map(|body| body.len().to_string()), "{name}");
    }
    assert_eq!(scenario.rules, [Rule::Agreement { request: Box::new(Request::get("/")) }]);
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

// === What is wrong ===

/// Each document with the whole of what is said about it.
const WRONG: &[(&str, &str)] = &[
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
        "t.yaml: the document: there is no key `flavour`: use one of `scenario`, `about`, `module`, `expect`, `workers`, `vm_id`, `seed`, `failure_policy`, `configuration`, `plugins`, `variants`, `clusters`, `events`, `faults`, `bounds`, `must`",
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
        "t.yaml: clusters.c.answers[0].body: a mapping stands where a string belongs: give a value of that kind",
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
        "t.yaml: variants.fixed: there is no key `config`: use one of `about`, `expect`, `configuration`",
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
        "t.yaml: clusters.c.answers[0].body: the number `404` stands where a string belongs: put it in quotes",
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
        r#"{scenario: a, module: m, events: [request]}"#,
        "t.yaml: events[0]: an event is a mapping: give `at` and what happens",
    ),
    (
        r#"{scenario: a, module: m, events: [{at: 1s}]}"#,
        "t.yaml: events[0]: it does not say what happens: give one of `request`, `cluster`, `configure`, `remove`",
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
        "t.yaml: events[0]: the key `at` is missing: give `at`",
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
        r#"{scenario: a, module: m, <<: 3}"#,
        "t.yaml: the document: a merge key (`<<`) is wrong: expected a mapping or list of mappings for merging, but found scalar: merge mappings alone",
    ),
];

#[test]
fn what_is_wrong_is_said_with_its_place_and_its_cure() {
    let mut differ = Vec::new();
    for (text, expected) in WRONG {
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

// === The page about the format ===

#[test]
fn every_block_of_the_formats_page_is_read() {
    let page = include_str!("../SCENARIOS.md");
    let blocks: Vec<&str> =
        page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(blocks.len() >= 3, "{} blocks", blocks.len());
    for block in &blocks {
        // A block that is a part stands in a whole that has the keys it lacks.
        let tree: yaml_serde::Value = yaml_serde::from_str(block).expect(block);
        let mut whole = String::new();
        for key in ["scenario", "module"] {
            if tree.get(key).is_none() {
                whole.push_str(&format!("{key}: part\n"));
            }
        }
        Scenario::parse(&format!("{whole}{block}"), "SCENARIOS.md")
            .unwrap_or_else(|error| panic!("{error}\n{block}"));
    }
}

#[test]
fn every_key_is_on_the_formats_page() {
    let page = include_str!("../SCENARIOS.md");
    let tree: yaml_serde::Value = yaml_serde::from_str(WHOLE).expect("YAML");
    let mut missing = Vec::new();
    keys(&tree, &mut |key| {
        let free = ["naive", "fixed", "feed", "/b", "deep", "list", "a", "b", "sum", "ETag", "set-cookie"];
        let named = ["x-role", "X-User", "X-Who", "source.address"];
        if !free.contains(&key) && !named.contains(&key) && !page.contains(&format!("`{key}`")) {
            missing.push(key.to_owned());
        }
    });
    assert!(missing.is_empty(), "{missing:?}");
}

fn keys(tree: &yaml_serde::Value, seen: &mut impl FnMut(&str)) {
    if let Some(mapping) = tree.as_mapping() {
        for (key, value) in mapping {
            seen(key.as_str().unwrap_or_default());
            keys(value, seen);
        }
    }
    for value in tree.as_sequence().into_iter().flatten() {
        keys(value, seen);
    }
}

#[test]
fn the_default_scenario_is_on_the_formats_page() {
    let page = include_str!("../SCENARIOS.md");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/race/scenario/default.yaml");
    let default = fs::read_to_string(file).expect("the file is read");
    assert!(page.contains(default.trim_end()), "copy {default} into SCENARIOS.md");
}

// === Helpers ===

fn parse(text: &str) -> Vec<Scenario> {
    Scenario::parse(text, "t.yaml").unwrap_or_else(|error| panic!("{error}"))
}

fn plugin(name: &str, configuration: &str, singleton: bool) -> Plugin {
    Plugin { name: name.to_owned(), configuration: configuration.as_bytes().to_vec(), singleton }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
