//! Whether the harness tells the truth: the same hostcalls return the same in it and in real Envoy.
//!
//! What differs all the same is in `conformance/differences.yaml` with its reason, and no more than that may differ.

use std::collections::{BTreeMap, BTreeSet};

use host_harness::{
    abi::{Module, Runtime},
    envoy::{Envoy, EnvoyOptions, Request},
    servers::client,
    world::{Reply, Scripted},
};
use portcullis_filter::config::Config;
use portcullis_tests::{
    envoy::{Gate, GateOptions},
    probe::{
        Case, Phase, Returned,
        cases::{self, CLUSTER},
        differences, module, parse,
    },
};

const BODY: &str = "hello";
const AUTHORITY: &str = "gate.test";
const HEADERS: [(&str, &str); 5] =
    [("user-agent", "probe"), ("x-one", "1"), ("x-two", "2a"), ("x-two", "2b"), ("x-empty", "")];
/// What Envoy adds to a request before any filter sees it, and the harness leaves to its caller.
const ADDED_BY_ENVOY: [(&str, &str); 4] = [
    ("x-envoy-external-address", "127.0.0.1"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-proto", "http"),
    ("x-request-id", "00000000-0000-4000-8000-000000000000"),
];
/// What only the configuration knows, and the harness is told.
const CONFIGURED: [(&str, &[u8]); 9] = [
    ("xds.cluster_name", CLUSTER.as_bytes()),
    ("xds.route_name", b"default"),
    ("xds.virtual_host_name", b"ingress"),
    ("xds.route_metadata", b""),
    ("xds.route_metadata.filter_metadata", &[0; 4]),
    ("xds.cluster_metadata", b""),
    ("xds.filter_chain_name", b""),
    ("xds.listener_direction", &[0; 8]),
    ("xds.node.id", b""),
];
/// What the codec and the connection manager add to a response, which is not made in the harness.
const ADDED_TO_RESPONSES: [&str; 4] = ["date", "server", "connection", "x-envoy-upstream-service-time"];

/// What one case showed: the client's response, and the trace.
struct Shown {
    response: Option<Answer>,
    trace: Vec<Returned>,
}

/// A response as the client saw it.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

#[test]
fn the_harness_answers_hostcalls_as_envoy_does() {
    let cases = cases::all();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "names are unique");
    let explained = explained();
    let text = module(&cases);
    let envoy = in_envoy(&cases, &text);
    let harness = in_harness(&cases, &text);

    let mut unexplained = String::new();
    let mut differing = BTreeSet::new();
    for ((case, envoy), harness) in cases.iter().zip(&envoy).zip(&harness) {
        let mut found = differences(&envoy.trace, &harness.trace, case.rule);
        if envoy.response != harness.response {
            found.push(format!("Envoy {:?}, the harness {:?}", envoy.response, harness.response));
        }
        if !found.is_empty() {
            differing.insert(case.name.as_str());
            if !explained.contains_key(&case.name) {
                unexplained += &format!("{}\n    {}\n", case.name, found.join("\n    "));
            }
        }
    }
    assert!(unexplained.is_empty(), "{} cases; these differ without a reason:\n{unexplained}", cases.len());
    let settled: Vec<_> = explained.keys().filter(|name| !differing.contains(name.as_str())).collect();
    assert!(settled.is_empty(), "these differ no longer, or never were: {settled:?}");
}

fn in_envoy(cases: &[Case], text: &str) -> Vec<Shown> {
    let config = br#"{"bundles": {"b": "http://127.0.0.1:9/b"}, "portcullis": {"url_cluster": "any"}}"#;
    let config = Config::parse(config).expect("the configuration is good");
    let module = wat::parse_str(text).expect("the generated text is a module");
    let options = GateOptions { seal: false, module: Some(module), ..GateOptions::default() };
    let gate = Gate::start_with(&config, "", &options);
    let send = |path: &str, body: bool| {
        let mut request = client::Request::new(if body { "POST" } else { "GET" }, path);
        request = request.header("host", AUTHORITY);
        for (name, value) in HEADERS {
            request = request.header(name, value);
        }
        let response = gate.send(&if body { request.body(BODY) } else { request });
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = response.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        Answer { status: response.status, headers, body: text(&response.body) }
    };
    cases.iter().enumerate().map(|(index, case)| show(case, index, send)).collect()
}

fn in_harness(cases: &[Case], text: &str) -> Vec<Shown> {
    let runtime = Runtime::new().expect("wasmtime runs here");
    let module = Module::load(&runtime, text.as_bytes()).expect("the generated text is a module");
    let upstream = Reply::body("upstream").with_header("x-answered-by", "upstream");
    let world = Scripted::new().script(CLUSTER, move |_, _| upstream.clone());
    let mut options = EnvoyOptions { upstream_cluster: CLUSTER.to_owned(), ..EnvoyOptions::default() };
    options.properties = CONFIGURED.map(|(path, value)| (path.to_owned(), value.to_vec())).into();
    let plugin = &mut options.plugin;
    for name in [&mut plugin.name, &mut plugin.root_id, &mut plugin.vm_id] {
        *name = "portcullis".to_owned();
    }
    let mut envoy = Envoy::start(&module, options, world).unwrap_or_else(|error| panic!("{error}"));
    let mut send = |path: &str, body: bool| {
        let mut request = if body { Request::post(path, BODY) } else { Request::get(path) };
        request = request.authority(AUTHORITY);
        for (name, value) in HEADERS.into_iter().chain(ADDED_BY_ENVOY) {
            request = request.header(name, value);
        }
        let exchange = envoy.exchange(0, request);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = exchange.headers.iter().map(|(name, value)| (text(name), text(value))).collect();
        Answer { status: exchange.status, headers, body: exchange.text() }
    };
    cases.iter().enumerate().map(|(index, case)| show(case, index, &mut send)).collect()
}

fn show(case: &Case, index: usize, mut send: impl FnMut(&str, bool) -> Answer) -> Shown {
    let mut answer = send(&case.path(index), case.phase == Phase::RequestBody);
    answer.headers.retain(|(name, _)| !ADDED_TO_RESPONSES.contains(&name.as_str()));
    answer.headers.sort();
    let text = match case.phase {
        _ if case.answers => send("/t0", false).body,
        Phase::ResponseHeaders => {
            let trace = answer.headers.iter().find(|(name, _)| name == "x-trace");
            trace.map(|(_, trace)| trace.clone()).unwrap_or_default()
        }
        _ => answer.body.clone(),
    };
    let trace = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}\n{answer:?}", case.name));
    assert_eq!(trace.len(), case.calls.len(), "{}: {answer:?}", case.name);
    Shown { response: case.answers.then_some(answer), trace }
}

fn explained() -> BTreeMap<String, String> {
    let path = portcullis_tests::root().join("tests/conformance/differences.yaml");
    let text = std::fs::read_to_string(path).expect("the file of differences can be read");
    yaml_serde::from_str(&text).expect("it is a map of names to reasons")
}
