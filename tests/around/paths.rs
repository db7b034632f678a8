//! Paths that servers read as another one's, and that neither a route nor a policy would.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use fastrand::Rng;
use host_harness::{
    archive::Archive,
    real_envoy::PolicyRoute,
    servers::{
        Echo,
        client::{Connection, Request},
    },
};
use portcullis_tests::envoy::{Gate, GateOptions, bundle_server};
use serde_json::json;

use super::way::Way;

pub(crate) fn ways() -> Vec<Way> {
    let bad = |path: &str| Way::new("Path", format!("path {path}")).path(path).ends(400, "bad_path");
    let strict = |stops, path: &str| Way::new(stops, format!("path {path}")).path(path);
    let mut ways: Vec<Way> = [
        "/t%2Fx",
        "/%2ft/x",
        "/t%5cx",
        "/t;a=b/x",
        "/t;/x",
        "/;/t/x",
        "/t%3bx",
        "/t%3Fx",
        "/t%23x",
        "/a/%252e%252e/t/x",
        "/%252ft/x",
        "/t%09",
        "/%e2%84%aa/x",
        "/%c5%bf",
        "/%ef%bc%8ft",
        "/a;b",
    ]
    .map(bad)
    .to_vec();
    ways.extend([
        strict("any letter case", "/T/x"),
        strict("any letter case", "/T"),
        strict("without the last slash", "/t"),
        strict("without the last slash", "/t?x=1"),
        strict("both spellings", "/v1%3Ado/x"),
        strict("both spellings", "/V1%3ado/x"),
        // Envoy puts these right.
        strict("", "//t/x"),
        strict("", "///t//x"),
        strict("", "/a/../t/x"),
        strict("", "/./t/x"),
        strict("", "/a/b/../../t/"),
        strict("", "/t/x"),
        strict("", "/v1:do"),
    ]);
    ways
}

/// Pieces of which hostile paths are made.
const PIECES: &[&str] = &[
    "t",
    "T",
    "t",
    "/",
    "/",
    "/",
    "//",
    "%2f",
    "%2F",
    "%5c",
    ";a=b",
    ";",
    "%3b",
    ".",
    "..",
    "%2e",
    "%2E%2e",
    "%252f",
    "%252e",
    "%74",
    "%54",
    "x",
    "%C3%A9",
    "%3f",
    "?",
    "?a=/t/",
    "%23",
    "%20",
    "+",
    ":",
    "%3A",
    "v1",
    "do",
    "%00",
    "%c0%af",
    "%ef%bc%8f",
    "%ef%bd%94",
    "%e2%84%aa",
    "@",
    "%25",
    "%ff",
    "v1:do/",
    "/t/",
    "/rest/",
    "-",
    "~",
];

/// The segments that the most lenient server makes of a path: it decodes until nothing is left to decode, takes `\` for `/`, cuts
/// off parameters, queries and fragments, drops empty segments and dots, and does not tell letters by their case or width.
fn most_lenient(path: &str) -> Vec<String> {
    let mut text = path.as_bytes().to_vec();
    loop {
        let decoded: Vec<u8> = percent_encoding::percent_decode(&text).collect();
        if decoded == text {
            break;
        }
        text = decoded;
    }
    let text = String::from_utf8_lossy(&text).replace('\\', "/");
    let text: String = text.chars().map(narrow).flat_map(char::to_lowercase).collect();
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let mut segments: Vec<String> = Vec::new();
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment.to_owned()),
        }
    }
    segments
}

fn narrow(character: char) -> char {
    let code = u32::from(character);
    let narrowed = if (0xff01..=0xff5e).contains(&code) { char::from_u32(code - 0xfee0) } else { None };
    narrowed.unwrap_or(character)
}

/// For each of so many paths, the policy that permitted it is the one of the resource, and the policy and the upstream have been
/// told of the same; or the answer is 400.
pub(crate) fn one_reading(count: usize) {
    // The segments as the policy sees them, for the upstream to tell.
    let policy = |name: &str| {
        format!(
            "package {name}\n\ndecision := {{\"allowed\": true, \"headers\": {{\"x-policy\": \"{name}\", \"x-parsed\": \
             urlquery.encode(json.marshal(input.parsed_path))}}}}\n"
        )
    };
    let archives =
        ["t", "do", "rest"].map(|name| (name, Archive::new().file("policy.rego", policy(name)).build()));
    let server = bundle_server(archives);
    let policies = ["t", "do", "rest"]
        .map(|name| (name.to_owned(), json!({ "bundles": [name], "decision": format!("{name}/decision") })));
    let document = json!({
        "services": { "hub": { "url": server.url("").trim_end_matches('/'), "cluster": "hub" } },
        "bundles": { "t": { "resource": "t.tar.gz" }, "do": { "resource": "do.tar.gz" }, "rest": { "resource": "rest.tar.gz" } },
        "portcullis": {
            "policies": serde_json::Map::from_iter(policies),
            "default_policy": "rest",
            "limits": { "evaluation_ms": 10_000 },
        },
    });
    let route =
        |prefix: &str, policy: &str| PolicyRoute { prefix: prefix.to_owned(), policy: policy.to_owned() };
    let options =
        GateOptions { routes: vec![route("/t/", "t"), route("/v1:do/", "do")], ..GateOptions::default() };
    let gate = Gate::start(&document.to_string(), &options);
    gate.wait_for_counter("portcullis_policies_compiled", 6);
    let (served, of_routes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (gate, served, of_routes) = (&gate, &served, &of_routes);
            scope.spawn(move || {
                let mut random = Rng::with_seed(seed);
                let mut connection = Connection::open(gate.addr()).expect("a connection");
                for _ in 0..count / 2 {
                    let path = any_path(&mut random);
                    connection.send(&Request::get(&path)).expect("it is sent");
                    let response = connection.receive("GET");
                    let Ok(response) = response else {
                        connection = Connection::open(gate.addr()).expect("a connection");
                        continue;
                    };
                    if response.status == 400 {
                        if response.header("connection") == Some(b"close") {
                            connection = Connection::open(gate.addr()).expect("a connection");
                        }
                        continue;
                    }
                    assert_eq!(response.status, 200, "{path}: {response:?}");
                    let echo: Echo = response.json().expect("the upstream echoes");
                    let header = |name: &str| echo.header(name).unwrap_or_default().to_owned();
                    let resource = most_lenient(&echo.path);
                    let expected = match resource.first().map(String::as_str) {
                        Some("t") => "t",
                        Some("v1:do") => "do",
                        _ => "rest",
                    };
                    assert_eq!(header("x-policy"), expected, "{path} is {resource:?} to the upstream");
                    let parsed: String = form_decode(&header("x-parsed"));
                    let parsed: Vec<String> = serde_json::from_str(&parsed).expect("segments");
                    let seen: Vec<String> = parsed
                        .iter()
                        .filter(|segment| !segment.is_empty())
                        .map(|s| s.to_lowercase())
                        .collect();
                    assert_eq!(seen, resource, "{path}: the policy has seen {parsed:?}");
                    served.fetch_add(1, Relaxed);
                    of_routes.fetch_add(usize::from(expected != "rest"), Relaxed);
                }
            });
        }
    });
    let (served, of_routes) = (served.into_inner(), of_routes.into_inner());
    assert!(
        served > count / 20 && of_routes > count / 100,
        "{served} of {count} were served, {of_routes} by a route"
    );
}

fn any_path(random: &mut Rng) -> String {
    let pieces = 1 + random.usize(..6);
    let pieces = (0..pieces).map(|_| PIECES[random.usize(..PIECES.len())]);
    std::iter::once("/").chain(pieces).collect()
}

fn form_decode(text: &str) -> String {
    percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}
