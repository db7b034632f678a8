//! One way around, and the Envoy in which it is tried.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use host_harness::{FILTER_MODULE, archive::Archive, real_envoy::PolicyRoute, servers::client};
use portcullis_tests::{
    envoy::{Gate, GateOptions, bundle_server, manager},
    fleet::HOOKS_MODULE,
    http2,
};
use serde_json::{Value, json};

use super::metadata;

/// Parts of Envoy's configuration that stop a way; the others are checks of the filter.
const PARTS: [&str; 4] = ["choose route", "any letter case", "without the last slash", "both spellings"];
/// Decides what the request wants, so that each way brings its own decision.
const ECHO: &str =
    "package echo\n\ndecision := json.unmarshal(input.attributes.request.http.headers[\"x-decision\"])\n";
const OTHERS: &str = "package others\n\nstrict := false\n\nplain := true\n\nchanger := {\"allowed\": true, \"headers\": {\"x-sent\": \
                      \"on\"}}\n";
/// What a script of the operator's own does between the two places of the filter.
const LUA: &str = "function envoy_on_request(handle)\n  local path = handle:headers():get(\"x-lua\")\n  if path then\n    \
                   handle:headers():replace(\":path\", path)\n    handle:clearRouteCache()\n  end\nend\n";

/// A request that would get around a policy.
#[derive(Clone)]
pub(crate) struct Way {
    /// What stops it: a check by its name in `filter/src/hooks.rs`, or one of [`PARTS`].
    pub(crate) stops: &'static str,
    pub(crate) name: String,
    pub(crate) method: String,
    pub(crate) authority: String,
    pub(crate) path: Vec<u8>,
    pub(crate) headers: Vec<(String, String)>,
    /// Status and `x-portcullis-reason`.
    pub(crate) expected: (u16, &'static str),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) reached: usize,
}

impl Way {
    /// A `GET /` whose decision is a plain allow, and that strict paths or another policy must stop.
    pub(crate) fn new(stops: &'static str, name: impl Into<String>) -> Self {
        Self {
            stops,
            name: name.into(),
            method: "GET".to_owned(),
            authority: "any.test".to_owned(),
            path: b"/".to_vec(),
            headers: vec![("x-decision".to_owned(), "true".to_owned())],
            expected: (403, "denied"),
        }
    }

    pub(crate) fn path(mut self, path: impl AsRef<[u8]>) -> Self {
        self.path = path.as_ref().to_vec();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The decision of the default policy.
    pub(crate) fn decision(mut self, decision: &Value) -> Self {
        self.headers[0].1 = decision.to_string();
        self
    }

    /// An allow with one more field.
    pub(crate) fn allow_with(self, key: &str, value: &Value) -> Self {
        let mut decision = json!({ "allowed": true });
        decision[key] = value.clone();
        self.decision(&decision)
    }

    pub(crate) fn ends(mut self, status: u16, reason: &'static str) -> Self {
        self.expected = (status, reason);
        self
    }

    fn over_http1(&self, gate: &Gate) -> Option<(u16, String)> {
        let mut request = client::Request::new(&self.method, &self.path).header("host", &self.authority);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = gate.send(&request);
        Some((response.status, reason(response.header("x-portcullis-reason"))))
    }

    /// None for what a client of HTTP/2 does not send.
    fn over_http2(&self, gate: &Gate) -> Option<(u16, String)> {
        let path = std::str::from_utf8(&self.path).ok()?;
        let response = http2::send(gate.addr(), &self.method, &self.authority, path, &self.headers).ok()?;
        Some((response.status, reason(response.header("x-portcullis-reason"))))
    }
}

fn reason(header: Option<&[u8]>) -> String {
    String::from_utf8_lossy(header.unwrap_or_default()).into_owned()
}

/// Tries all ways with everything in place, and then each without what stops it.
pub(crate) fn try_all(ways: &[Way]) {
    let gate = start(None);
    let (mut tried, mut faults) = (0, Vec::new());
    for way in ways {
        for (protocol, end) in ends(&gate, way) {
            tried += 1;
            let (status, reason) = way.expected;
            let expected = End { status, reason: reason.to_owned(), reached: 0 };
            if end != expected {
                faults.push(format!("{} over {protocol}: {end:?}, not {expected:?}", way.name));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}\n{}", gate.envoy.log());
    assert!(tried > ways.len(), "HTTP/2 was hardly tried: {tried} of twice {}", ways.len());
    let stops: BTreeSet<&str> = ways.iter().map(|way| way.stops).collect();
    // What Envoy does by itself, or a name that nobody has, needs nothing.
    for stop in stops.into_iter().filter(|stop| !stop.is_empty()) {
        let gate = start(Some(stop));
        for way in ways.iter().filter(|way| way.stops == stop) {
            for (protocol, End { status, reason, reached }) in ends(&gate, way) {
                if (status, reason.as_str()) == way.expected && reached == 0 {
                    faults.push(format!("{} over {protocol} ends the same without `{stop}`", way.name));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn ends(gate: &Gate, way: &Way) -> Vec<(&'static str, End)> {
    let attempt = |protocol, send: &dyn Fn() -> Option<(u16, String)>| {
        let before = gate.upstream.count();
        let (status, reason) = send()?;
        Some((protocol, End { status, reason, reached: gate.upstream.count() - before }))
    };
    let over1 = attempt("HTTP/1", &|| way.over_http1(gate));
    let over2 = attempt("HTTP/2", &|| way.over_http2(gate));
    over1.into_iter().chain(over2).collect()
}

/// What a decision may do without getting around anything.
pub(crate) fn permitted() {
    let gate = start(None);
    let ways = [
        Way::new("", "a plain allow"),
        Way::new("", "an allow with a header").allow_with("headers", &json!({ "x-user": "ada" })),
        Way::new("", "another route of the same policy")
            .allow_with("headers", &json!({ ":path": "/other?x=1" })),
        Way::new("", "the route of a policy that allows").allow_with("headers", &json!({ "x-open": "yes" })),
        Way::new("", "a route of a policy that changes what is so already")
            .allow_with("headers", &json!({ "x-change": "yes", "x-sent": "on" })),
        Way::new("", "a policy that changes headers, by its own route").header("x-change", "yes"),
        Way::new("", "a removed host stays")
            .allow_with("request_headers_to_remove", &json!(["host", ":path"])),
        Way::new("", "two slashes are one").path("//other"),
        Way::new("", "an escape").path("/a%20b/%C3%A9?x=//"),
    ];
    for way in ways {
        for (protocol, end) in ends(&gate, &way) {
            assert_eq!(
                (end.status, end.reached),
                (200, 1),
                "{} over {protocol}\n{}",
                way.name,
                gate.envoy.log()
            );
        }
    }
    assert_eq!(
        gate.counter("portcullis_requests.policy.plain.outcome.allow"),
        2,
        "the second policy was asked"
    );
}

/// An Envoy in front of all this, without one thing.
pub(crate) fn start(without: Option<&str>) -> Gate {
    let echo = Archive::new().file("echo.rego", ECHO).build();
    let others = Archive::new().file("others.rego", OTHERS).build();
    let server = bundle_server([("echo", echo), ("others", others)]);
    let part = without.filter(|name| PARTS.contains(name));
    let check = without.filter(|name| part.is_none() && !name.is_empty());
    let policy = |bundle: &str, decision: &str| json!({ "bundles": [bundle], "decision": decision });
    let mut document = json!({
        "services": { "hub": { "url": server.url("").trim_end_matches('/'), "cluster": "hub" } },
        "bundles": { "echo": { "resource": "echo.tar.gz" }, "others": { "resource": "others.tar.gz" } },
        "portcullis": {
            "policies": {
                "echo": policy("echo", "echo/decision"),
                "strict": policy("others", "others/strict"),
                "plain": policy("others", "others/plain"),
                "changer": policy("others", "others/changer"),
            },
            "default_policy": "echo",
            "limits": { "evaluation_ms": 10_000 },
        },
    });
    if let Some(check) = check {
        document["portcullis"]["hooks"] = json!({ "without": check });
        // A path that is no path has no reading either: with strict paths two checks stop it.
        if check == "PseudoHeader" {
            document["portcullis"]["paths"] = json!("opa");
        }
    }
    let module = if check.is_some() { HOOKS_MODULE } else { FILTER_MODULE };
    let redirecting = redirecting_upstream();
    let part = part.map(str::to_owned);
    let amend = move |bootstrap: &mut Value| amend(bootstrap, part.as_deref(), redirecting);
    let route = |prefix: &str| PolicyRoute { prefix: prefix.to_owned(), policy: "strict".to_owned() };
    let options = GateOptions {
        module: Some(module.to_vec()),
        routes: vec![route("/t/"), route("/v1:do/")],
        amend: Some(Box::new(amend)),
        ..GateOptions::default()
    };
    // Only the module with hooks knows of them.
    let mut accepted = document.clone();
    if let Some(portcullis) = accepted["portcullis"].as_object_mut() {
        portcullis.remove("hooks");
    }
    let config = portcullis_filter::config::Config::parse(accepted.to_string().as_bytes());
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let gate = Gate::start_with(&config, &document.to_string(), &options);
    // Two bundles and four policies, in the main thread's VM and in the worker's.
    gate.wait_for_counter("portcullis_policies_compiled", 8);
    gate
}

fn amend(bootstrap: &mut Value, without: Option<&str>, redirecting: u16) {
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters");
    let address = json!({ "socket_address": { "address": "127.0.0.1", "port_value": redirecting } });
    clusters.push(json!({
        "name": "redirecting", "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": { "cluster_name": "redirecting", "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }] },
    }));
    let manager = manager(bootstrap);
    let filters = manager["http_filters"].as_array_mut().expect("filters");
    let lua = json!({
        "name": "lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": { "inline_string": LUA },
        },
    });
    filters.insert(1, lua);
    if without == Some("choose route") {
        // Lua has configuration of routes too.
        filters.retain(|filter| filter["name"] != "portcullis.choose_route" && filter["name"] != "lua");
    }
    let hosts =
        manager.pointer_mut("/route_config/virtual_hosts").and_then(Value::as_array_mut).expect("hosts");
    let fallback = hosts[0]["routes"].as_array().and_then(|routes| routes.last()).cloned().expect("a route");
    let strict_host = json!({
        "name": "strict", "domains": ["strict.test"], "routes": [fallback.clone()],
        "metadata": metadata::of(json!({ "policy": "strict" })),
    });
    let routes = hosts[0]["routes"].as_array_mut().expect("routes");
    for route in routes.iter_mut() {
        let matcher = &mut route["match"];
        match without {
            Some("any letter case") => matcher["case_sensitive"] = json!(true),
            Some("without the last slash") if matcher["path_separated_prefix"].is_string() => {
                *matcher = json!({ "prefix": format!("{}/", matcher["path_separated_prefix"].as_str().unwrap_or_default()) });
            }
            Some("both spellings") if matcher["safe_regex"].is_object() => {
                *matcher = json!({ "prefix": "/v1:do/" })
            }
            _ => {}
        }
    }
    let by = |matcher: Value, policy: &str| {
        let mut route = fallback.clone();
        for (key, value) in matcher.as_object().expect("a match") {
            route["match"][key] = value.clone();
        }
        route["metadata"] = metadata::of(json!({ "policy": policy }));
        route
    };
    let header = |name: &str, value: &str| json!({ "headers": [{ "name": name, "string_match": { "exact": value } }] });
    let mut redirect = fallback.clone();
    redirect["match"]["prefix"] = json!("/redirect");
    redirect["route"] =
        json!({ "cluster": "redirecting", "internal_redirect_policy": { "max_internal_redirects": 2 } });
    let mut kept = fallback.clone();
    kept["match"] = json!({ "prefix": "/keep/", "headers": [{ "name": "x-keep", "present_match": true }] });
    let front = [
        by(header("x-tier", "gold"), "strict"),
        by(header("x-open", "yes"), "plain"),
        by(header("x-change", "yes"), "changer"),
        by(header(":method", "DELETE"), "strict"),
        by(header(":scheme", "https"), "strict"),
        by(
            json!({ "query_parameters": [{ "name": "tier", "string_match": { "exact": "gold" } }] }),
            "strict",
        ),
        by(
            json!({ "headers": [{ "name": "cookie", "string_match": { "safe_regex": { "regex": ".*tier=gold.*" } } }] }),
            "strict",
        ),
        redirect,
        kept,
        by(json!({ "prefix": "/keep/" }), "strict"),
    ];
    let named = metadata::routes(&fallback);
    routes.splice(0..0, front.into_iter().chain(named));
    hosts.insert(0, strict_host);
    hosts.splice(0..0, metadata::hosts(&fallback));
}

/// An upstream that sends everything to `/t/x`, by Envoy's own means. It ends with the test's process.
fn redirecting_upstream() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut request = [0; 16384];
                while stream.read(&mut request).is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(
                        b"HTTP/1.1 302 Found\r\nlocation: http://any.test/t/x\r\ncontent-length: 0\r\n\r\n",
                    );
                }
            });
        }
    });
    port
}
