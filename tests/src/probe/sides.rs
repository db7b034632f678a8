//! The two places where a probe runs: real Envoy, and the harness.

use std::{collections::BTreeMap, time::Duration};

use host_harness::{
    abi::{Headers, Module, Runtime},
    envoy::{Envoy, EnvoyOptions, Request},
    servers::client,
    world::{Call, Origin, Reply, Scripted},
};
use portcullis_filter::config::Config;
use serde_json::{Value, json};

use super::{
    Case, Line, Phase, Story, parse, until,
    upstream::{Answer, Seen, Upstream},
};
use crate::envoy::{Gate, GateOptions, manager};

/// The cluster that requests are routed to, in the configuration that Envoy is given and in the harness.
pub const CLUSTER: &str = "portcullis_upstream";
/// A cluster whose one host takes no connections.
pub const CLOSED_CLUSTER: &str = "closed";
/// A cluster without a host.
pub const EMPTY_CLUSTER: &str = "hostless";
const AUTHORITY: &str = "gate.test";
const BODY: &str = "hello";
/// A request beside a story's own.
const OTHER: &str = "/o0";
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
const CONFIGURED: [(&str, &[u8]); 2] = [
    ("xds.route_metadata.filter_metadata.probe.text", b"a"),
    ("xds.route_metadata.filter_metadata.probe.number", &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f]),
];
/// What the codec and the connection manager add to a response, which is not made in the harness.
const ADDED_TO_RESPONSES: [&str; 5] =
    ["date", "server", "connection", "transfer-encoding", "x-envoy-upstream-service-time"];
/// More than any story takes, in the harness's time.
const LONG: Duration = Duration::from_secs(60);
/// What is due at once has happened after this, and no time limit is over.
const SETTLED: Duration = Duration::from_millis(1);
/// Pause between two looks at a trace in Envoy, and how many looks it takes to see that a story hangs: a minute's.
const POLL_PAUSE: Duration = Duration::from_millis(2);
const MOST_LOOKS: usize = 30_000;
/// The plugin's configuration.
const CONFIGURATION: &str = "the configuration";

/// What one case showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The trace.
    pub trace: Vec<Line>,
    /// Whether the story came to its end.
    pub ended: bool,
    /// What the client got; `None` where that is not compared, or it got nothing whole.
    pub response: Option<Response>,
    /// What the upstream saw, of the stream and of HTTP calls.
    pub upstream: Vec<Seen>,
}

/// A response as the client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Headers in order of their names.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

/// Where a probe runs.
pub trait Side {
    /// Sends a request that is answered at once.
    fn send(&mut self, path: &str, body: bool) -> Response;

    /// Tells a story from its first request to its last callback.
    fn tell(&mut self, story: &Story, path: &str) -> Result<Shown, Vec<Line>>;

    /// Lets something happen; false when nothing will.
    fn advance(&mut self) -> bool;

    /// Waits until something holds of the trace.
    ///
    /// Errors: the trace, of a story that never gets there.
    fn wait<T>(&mut self, mut found: impl FnMut(&[Line]) -> Option<T>) -> Result<T, Vec<Line>>
    where
        Self: Sized,
    {
        for _ in 0..MOST_LOOKS {
            if let Some(found) = found(&self.trace()) {
                return Ok(found);
            }
            if !self.advance() {
                break;
            }
        }
        Err(self.trace())
    }

    /// The trace so far.
    fn trace(&mut self) -> Vec<Line> {
        let text = self.send("/t0", false).body;
        parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs a case.
    fn show(&mut self, case: &Case, index: usize) -> Shown {
        let path = case.path(index);
        if let Some(story) = &case.story {
            let told = self.tell(story, &path);
            return told.unwrap_or_else(|trace| Shown { ended: false, ..Shown::of(trace) });
        }
        let phase = case.steps.first().map(|step| step.phase);
        let response = self.send(&path, phase == Some(Phase::RequestBody));
        let header = response.headers.iter().find(|(name, _)| name == "x-trace");
        let text = match (phase, header) {
            (Some(Phase::ResponseHeaders), Some((_, trace))) => trace,
            _ => &response.body,
        };
        let trace = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let calls: usize = case.steps.iter().map(|step| step.calls.len()).sum();
        assert_eq!(trace.len(), calls, "{}: {response:?}", case.name);
        Shown::of(trace)
    }
}

/// Real Envoy.
pub struct Real {
    gate: Gate,
    upstream: Upstream,
}

/// The harness.
pub struct Harness {
    envoy: Envoy<Scripted>,
}

// === impl Shown ===

impl Shown {
    /// A trace alone.
    pub fn of(trace: Vec<Line>) -> Self {
        Self { trace, ended: true, response: None, upstream: Vec::new() }
    }
}

// === impl Real ===

impl Real {
    /// Starts Envoy with one worker and this module, given as text.
    pub fn start(text: &str) -> Self {
        let config = br#"{"bundles": {"b": "http://127.0.0.1:9/b"}, "portcullis": {"url_cluster": "any", "paths": "opa"}}"#;
        let config = Config::parse(config).expect("the configuration is good");
        let module = wat::parse_str(text).expect("the generated text is a module");
        let upstream = Upstream::start().expect("the upstream starts");
        let options = GateOptions {
            seal: false,
            module: Some(module),
            upstream: Some(upstream.addr()),
            amend: Some(Box::new(amend)),
            ..GateOptions::default()
        };
        let gate = Gate::start_with(&config, CONFIGURATION, &options);
        Self { gate, upstream }
    }

    /// Envoy's log.
    pub fn log(&self) -> String {
        self.gate.envoy.log()
    }
}

/// Trailers in both directions, clusters that fail, and metadata to read.
fn amend(bootstrap: &mut Value) {
    let manager = manager(bootstrap);
    manager["http_protocol_options"] = json!({ "enable_trailers": true });
    let routes =
        manager["route_config"]["virtual_hosts"][0]["routes"].as_array_mut().expect("there are routes");
    routes[0]["metadata"] = json!({ "filter_metadata": { "probe": { "text": "a", "number": 1.5 } } });
    for cluster in [CLOSED_CLUSTER, EMPTY_CLUSTER] {
        let mut route = routes[0].clone();
        route["match"]["query_parameters"] =
            json!([{ "name": "answer", "string_match": { "exact": cluster } }]);
        route["route"]["cluster"] = json!(cluster);
        routes.insert(0, route);
    }
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("there are clusters");
    clusters[0]["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http_protocol_options": { "enable_trailers": true } },
        },
    });
    // Port 1 of loopback is nobody's.
    let host = json!({ "endpoint": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 1 } } } });
    for (name, hosts) in [(CLOSED_CLUSTER, json!([host])), (EMPTY_CLUSTER, json!([]))] {
        clusters.push(json!({
            "name": name,
            "type": "STATIC",
            "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": hosts }] },
        }));
    }
}

impl Side for Real {
    fn advance(&mut self) -> bool {
        std::thread::sleep(POLL_PAUSE);
        true
    }

    fn send(&mut self, path: &str, body: bool) -> Response {
        let mut request = client::Request::new(if body { "POST" } else { "GET" }, path);
        request = request.header("host", AUTHORITY);
        for (name, value) in HEADERS {
            request = request.header(name, value);
        }
        response(&self.gate.send(&if body { request.body(BODY) } else { request }))
    }

    fn tell(&mut self, story: &Story, path: &str) -> Result<Shown, Vec<Line>> {
        self.upstream.take_seen();
        let mut connection = client::Connection::open(self.gate.addr()).expect("Envoy takes connections");
        let mut request = client::Request::new(story.method(), path).header("host", AUTHORITY);
        for (name, value) in HEADERS.iter().chain(&story.headers) {
            request = request.header(name, value);
        }
        if let Some((name, value)) = story.framing() {
            request = request.header(name, value);
        }
        let mut bytes = request.to_bytes(self.gate.addr());
        for part in 0..story.body.len().max(1) {
            if part > 0 {
                let seen = |trace: &[Line]| count(trace, Phase::RequestBody) >= part;
                self.wait(|trace| seen(trace).then_some(()))?;
            }
            bytes.extend(story.part(part));
            // Envoy may answer before it has read everything, and close.
            let _ = connection.send_bytes(&bytes);
            bytes.clear();
        }
        if let Some((phase, wanted)) = story.other {
            self.wait(|trace| (count(trace, phase) >= wanted).then_some(()))?;
            self.send(OTHER, false);
        }
        if let Some((phase, wanted)) = story.leaves {
            self.wait(|trace| (count(trace, phase) >= wanted).then_some(()))?;
            drop(connection);
            let trace = self.wait(|trace| until(trace, story.until).map(<[Line]>::to_vec))?;
            return Ok(Shown::of(trace));
        }
        let trace = self.wait(|trace| until(trace, story.until).map(<[Line]>::to_vec))?;
        if !story.seen {
            return Ok(Shown::of(trace));
        }
        let response = connection.receive(story.method()).ok().as_ref().map(response);
        let mut upstream = self.upstream.take_seen();
        // A request of a story before may have arrived only now.
        upstream.retain(|seen| seen.path == path || !seen.path.starts_with("/s"));
        upstream.retain(|seen| Answer::named_in(&seen.path).is_reached() && seen.path != OTHER);
        Ok(Shown { response, upstream, ..Shown::of(trace) })
    }
}

fn response(response: &client::Response) -> Response {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = response.headers.iter().map(|(name, value)| (name.clone(), text(value)));
    Response { status: response.status, headers: compared(headers), body: text(&response.body) }
}

// === impl Harness ===

impl Harness {
    /// Starts the harness with one worker and this module, given as text.
    pub fn start(text: &str) -> Self {
        let runtime = Runtime::new().expect("wasmtime runs here");
        let module = Module::load(&runtime, text.as_bytes()).expect("the generated text is a module");
        let world = Scripted::new()
            .script(CLUSTER, |call, _| Answer::named_in(&call.path()).to_reply())
            .script(CLOSED_CLUSTER, |_, _| Reply::connect_failure())
            .script(EMPTY_CLUSTER, |_, _| Reply::refused());
        let mut options = EnvoyOptions { upstream_cluster: CLUSTER.to_owned(), ..EnvoyOptions::default() };
        options.properties = CONFIGURED.map(|(path, value)| (path.to_owned(), value.to_vec())).into();
        let plugin = &mut options.plugin;
        for name in [&mut plugin.name, &mut plugin.root_id, &mut plugin.vm_id] {
            *name = "portcullis".to_owned();
        }
        plugin.configuration = CONFIGURATION.as_bytes().to_vec();
        let envoy = Envoy::start(&module, options, world).unwrap_or_else(|error| panic!("{error}"));
        Self { envoy }
    }
}

impl Side for Harness {
    fn advance(&mut self) -> bool {
        let limit = self.envoy.now() + LONG;
        self.envoy.step(limit)
    }

    fn send(&mut self, path: &str, body: bool) -> Response {
        let request = if body { Request::post(path, BODY) } else { Request::get(path) };
        response_of(&self.envoy.exchange(0, dressed(request)))
    }

    fn tell(&mut self, story: &Story, path: &str) -> Result<Shown, Vec<Line>> {
        // What cases before asked for has long happened in Envoy.
        self.envoy.run_for(SETTLED);
        let before = self.envoy.world().seen().len();
        let mut request = dressed(Request::new(story.method(), path));
        for (name, value) in story.headers.iter().copied() {
            request = request.header(name, value);
        }
        if let Some((name, value)) = story.framing().filter(|(name, _)| *name == "content-length") {
            request = request.header(name, value);
        }
        for (name, value) in story.trailers.iter().copied() {
            request = request.trailer(name, value);
        }
        if !story.body.is_empty() {
            request.chunk_size_bytes = story.body[0].len();
            request = request.with_body(story.body.concat());
        }
        if story.body.len() > 1 {
            request.chunk_interval = Duration::from_millis(1);
        }
        let id = self.envoy.begin(0, request);
        if let Some((phase, wanted)) = story.other {
            self.wait(|trace| (count(trace, phase) >= wanted).then_some(()))?;
            self.send(OTHER, false);
        }
        if let Some((phase, wanted)) = story.leaves {
            self.wait(|trace| (count(trace, phase) >= wanted).then_some(()))?;
            self.envoy.leave(id);
        }
        let trace = self.wait(|trace| until(trace, story.until).map(<[Line]>::to_vec))?;
        if !story.seen || story.leaves.is_some() {
            return Ok(Shown::of(trace));
        }
        let limit = self.envoy.now() + LONG;
        let mut exchange = None;
        self.envoy.run_until(limit, |envoy| {
            exchange = envoy.take(id);
            exchange.is_some()
        });
        let response = exchange.filter(|exchange| !exchange.aborted && exchange.status != 0);
        let seen = &self.envoy.world().seen()[before..];
        let arrives = |call: &&Call| {
            call.cluster == CLUSTER && Answer::named_in(&call.path()).is_reached() && call.path() != OTHER
        };
        let mut upstream: Vec<Seen> =
            seen.iter().map(|seen| &seen.call).filter(arrives).map(seen_of).collect();
        upstream.sort();
        Ok(Shown { response: response.as_ref().map(response_of), upstream, ..Shown::of(trace) })
    }
}

/// A request with everything that the real one has when a filter sees it.
fn dressed(mut request: Request) -> Request {
    request = request.authority(AUTHORITY);
    for (name, value) in HEADERS.into_iter().chain(ADDED_BY_ENVOY) {
        request = request.header(name, value);
    }
    request
}

fn response_of(exchange: &host_harness::envoy::Exchange) -> Response {
    let headers = compared(texts(&exchange.headers));
    Response { status: exchange.status, headers, body: exchange.text() }
}

/// A request as it would be on the wire.
fn seen_of(call: &Call) -> Seen {
    let names = BTreeMap::from([(":authority", "host")]);
    let headers = texts(&call.headers).map(|(name, value)| {
        let name = names.get(name.as_str()).map_or(name, |name| (*name).to_owned());
        (name, value)
    });
    let headers = headers.filter(|(name, _)| !name.starts_with(':'));
    let method = String::from_utf8_lossy(call.header(":method").unwrap_or_default()).into_owned();
    let trailers: Vec<(String, String)> = texts(&call.trailers).collect();
    // An upstream does not see trailers of a call that is not chunked.
    let trailers = if matches!(call.origin, Origin::HttpCall { .. }) { Vec::new() } else { trailers };
    Seen::new(&method, &call.path(), headers, &call.body, trailers)
}

fn texts(headers: &Headers) -> impl Iterator<Item = (String, String)> + '_ {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers.iter().map(move |(name, value)| (text(name), text(value)))
}

/// The headers of a response that are compared.
fn compared(headers: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut headers: Vec<_> = headers
        .filter(|header| !ADDED_TO_RESPONSES.contains(&header.0.as_str()) && !is_no_length(header))
        .collect();
    headers.sort();
    headers
}

/// The codec says that there is no body; there is no codec in the harness.
pub(super) fn is_no_length((name, value): &(String, String)) -> bool {
    name == "content-length" && value == "0"
}

fn count(trace: &[Line], phase: Phase) -> usize {
    trace.iter().filter(|line| line.is(phase)).count()
}

// === impl Story ===

impl Story {
    fn method(&self) -> &'static str {
        if self.body.is_empty() && self.trailers.is_empty() { "GET" } else { "POST" }
    }

    /// The header that tells how long the body is; Envoy's codec keeps `transfer-encoding` to itself.
    fn framing(&self) -> Option<(&'static str, String)> {
        let length: usize = self.body.iter().map(Vec::len).sum();
        if self.method() == "GET" {
            None
        } else if self.trailers.is_empty() {
            Some(("content-length", length.to_string()))
        } else {
            Some(("transfer-encoding", "chunked".to_owned()))
        }
    }

    /// One part of the body as it goes over the wire, the last with the trailers.
    fn part(&self, number: usize) -> Vec<u8> {
        let mut part = self.body.get(number).cloned().unwrap_or_default();
        if self.trailers.is_empty() {
            return part;
        }
        let mut chunk =
            if part.is_empty() { Vec::new() } else { format!("{:x}\r\n", part.len()).into_bytes() };
        chunk.append(&mut part);
        if !chunk.is_empty() {
            chunk.extend(b"\r\n");
        }
        if number + 1 >= self.body.len() {
            chunk.extend(b"0\r\n");
            for (name, value) in &self.trailers {
                chunk.extend(format!("{name}: {value}\r\n").into_bytes());
            }
            chunk.extend(b"\r\n");
        }
        chunk
    }
}
