//! What a policy is told of a request, beside the real opa-envoy-plugin in the same Envoy: the same, but for a short list.

#[path = "../host-harness/tests/common/tools.rs"]
#[allow(dead_code, reason = "this is the one tool that is needed here")]
mod tools;

#[path = "input/beside.rs"]
mod beside;
#[path = "input/plugin.rs"]
mod plugin;
#[path = "input/requests.rs"]
mod requests;
#[path = "input/tls.rs"]
mod tls;

use std::collections::{BTreeMap, BTreeSet};

use beside::{Beside, Setting, Told};
use host_harness::servers::client::Request;
use portcullis_tests::envoy::manager;
use serde_json::{Value, json};
use tls::Authority;

/// A second listener, of another name, with the same filters but for those whose names are given.
fn listener(bootstrap: &mut Value, name: &str, without: &[&str], amend: impl FnOnce(&mut Value)) {
    let mut listener = bootstrap["static_resources"]["listeners"][0].clone();
    listener["name"] = json!(name);
    let filters = &mut listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
    filters
        .as_array_mut()
        .expect("filters")
        .retain(|filter| !without.iter().any(|name| filter["name"] == *name));
    amend(&mut listener);
    bootstrap["static_resources"]["listeners"].as_array_mut().expect("listeners").push(listener);
}

/// What differs on purpose is taken out of both; each line is one of the README's differences.
fn without_differences(told: &mut Value, has_unread_body: bool) {
    let input = told["input"].as_object_mut().expect("an object");
    let http = input["attributes"]["request"]["http"].as_object_mut().expect("an object");
    // There the number of a stream, here the request's id.
    http.remove("id");
    // There of a body that Envoy has buffered, here as announced.
    http.remove("size");
    // Bodies are off.
    if has_unread_body {
        input.remove("parsed_body");
        input.remove("truncated_body");
    }
    // OPA's own: which process of it this is.
    let labels = told["labels"].as_object_mut().expect("an object");
    labels.remove("id");
    labels.remove("version");
}

/// Where the two were not told the same.
fn differences(what: &str, told: Told, has_unread_body: bool) -> Vec<String> {
    let (Some(mut ours), Some(mut theirs)) = (told.ours, told.theirs) else {
        return vec![format!("{what}: {} without an answer of both", told.status)];
    };
    without_differences(&mut ours, has_unread_body);
    without_differences(&mut theirs, has_unread_body);
    let (ours, theirs) = (leaves(&ours), leaves(&theirs));
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differs = paths.into_iter().filter(|path| ours.get(*path) != theirs.get(*path));
    differs
        .map(|path| format!("{what}: {path}: {:?} here, {:?} there", ours.get(path), theirs.get(path)))
        .collect()
}

/// What has nothing below it, by its path.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    if below.is_empty() {
        return BTreeMap::from([(String::new(), value.clone())]);
    }
    let leaves = below.into_iter().flat_map(|(key, value)| {
        leaves(value).into_iter().map(move |(path, leaf)| (format!("/{key}{path}"), leaf))
    });
    leaves.collect()
}

#[test]
fn a_policy_is_told_what_opa_envoy_plugin_tells_it() {
    let Some(binary) = plugin::binary() else { return };
    let amend =
        |bootstrap: &mut Value| listener(bootstrap, "alone", &["envoy.filters.http.ext_authz"], |_| {});
    let setting = Setting { ours: json!({}), namespaces: [&[], &[]], amend: Box::new(amend) };
    let beside = Beside::start(&binary, setting);
    let (both, alone) = (beside.gate.addr(), beside.listener("alone"));
    let (mut compared, mut refused, mut found) = (0, 0, Vec::new());
    for request in requests::all() {
        let what = format!("{request:?}");
        let over_http1 = request.http1();
        let told = beside.http1(both, &over_http1);
        if told.ours.is_none() {
            // What the plugin, or Envoy itself, refuses is refused here too.
            let alone = beside.http1(alone, &over_http1);
            if (alone.status, alone.ours.is_some()) != (told.status, false) || told.status == 200 {
                found.push(format!("{what}: {} here alone, {} there", alone.status, told.status));
            }
            refused += 1;
        } else {
            found.extend(differences(&what, told, request.body.is_some()));
            compared += 1;
        }
        if let Some(told) = beside.http2(both, &request.method, &request.path, &request.headers)
            && request.body.is_none()
            && told.ours.is_some()
        {
            found.extend(differences(&format!("HTTP/2: {what}"), told, false));
            compared += 1;
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(compared >= 200 && refused >= 5, "{compared} compared, {refused} refused");
}

/// With `with_request_body` there and `portcullis.body` here.
#[test]
fn a_policy_is_given_the_body_as_opa_envoy_plugin_gives_it() {
    const MAX_BYTES: usize = 4096;
    let Some(binary) = plugin::binary() else { return };
    let amend = |bootstrap: &mut Value| {
        let filters = manager(bootstrap)["http_filters"].as_array_mut().expect("filters");
        filters[0]["typed_config"]["with_request_body"] =
            json!({ "max_request_bytes": MAX_BYTES, "allow_partial_message": true });
        listener(bootstrap, "alone", &["envoy.filters.http.ext_authz"], |_| {});
    };
    let ours = json!({ "body": { "max_bytes": MAX_BYTES } });
    let beside = Beside::start(&binary, Setting { ours, namespaces: [&[], &[]], amend: Box::new(amend) });
    let (both, alone) = (beside.gate.addr(), beside.listener("alone"));
    let (mut compared, mut refused, mut found) = (0, 0, Vec::new());
    for request in requests::with_bodies(MAX_BYTES) {
        let what = format!("{request:?}");
        let over_http1 = request.http1();
        let mut told = beside.http1(both, &over_http1);
        if told.ours.is_none() {
            let alone = beside.http1(alone, &over_http1);
            if (alone.status, told.status) != (400, 400) {
                found.push(format!("{what}: {} here alone, {} there", alone.status, told.status));
            }
            refused += 1;
            continue;
        }
        // There it is one of the two, by `pack_as_bytes`.
        if let Some(http) =
            told.ours.as_mut().and_then(|ours| ours.pointer_mut("/input/attributes/request/http"))
        {
            http.as_object_mut().expect("an object").remove("rawBody");
        }
        found.extend(differences(&what, told, false));
        compared += 1;
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(compared >= 40 && refused >= 10, "{compared} compared, {refused} refused");
}

/// What the README shows under a mark, as YAML.
fn readme(name: &str) -> Value {
    let readme = include_str!("../README.md");
    let (_, rest) = readme.split_once(&format!("<!-- {name} -->")).expect("the mark begins");
    let (shown, _) = rest.split_once(&format!("<!-- /{name} -->")).expect("the mark ends");
    let lines: Vec<&str> = shown.lines().filter(|line| !line.starts_with("```")).collect();
    yaml_serde::from_str(&lines.join("\n")).expect("the README has YAML there")
}

/// The listener of this name has no TLS inspector in front.
const WITHOUT_INSPECTOR: &str = "subject";

#[test]
fn who_is_at_both_ends_of_tls_is_told_as_there() {
    let Some(binary) = plugin::binary() else { return };
    let authority = Authority::new();
    let servers = [
        ("uri", authority.issue("gate", &["dns:gate.example", "uri:spiffe://test/gate"])),
        ("dns", authority.issue("gate", &["dns:gate.example", "dns:other.example"])),
        ("subject", authority.issue("gate", &[])),
    ];
    let clients = [
        authority.issue("uri", &["uri:spiffe://test/client", "uri:spiffe://test/second"]),
        authority.issue("all", &["dns:client.example", "uri:spiffe://test/client"]),
        authority.issue("dns", &["dns:client.example", "dns:second.example"]),
        authority.issue("O=\"x\", +y\\z é", &[]),
    ];
    let sockets = servers.each_ref().map(|(name, server)| (*name, authority.downstream(server)));
    let amend = move |bootstrap: &mut Value| {
        let filters = manager(bootstrap)["http_filters"].as_array_mut().expect("filters");
        filters.insert(0, readme("peer_certificate"));
        for (name, socket) in &sockets {
            listener(bootstrap, name, &[], |listener| {
                listener["filter_chains"][0]["transport_socket"] = socket.clone();
                if *name != WITHOUT_INSPECTOR {
                    listener["listener_filters"] = json!([{
                        "name": "envoy.filters.listener.tls_inspector",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
                        },
                    }]);
                }
            });
        }
    };
    let setting = Setting { ours: json!({}), namespaces: [&[], &[]], amend: Box::new(amend) };
    let beside = Beside::start(&binary, setting);
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (server, _) in &servers {
        for client in clients.iter().map(Some).chain([None]) {
            for with_server_name in [true, false] {
                let request = Request::get("/").header("host", "any.test");
                let addr = beside.listener(server);
                let (status, headers) = authority.send(addr, client, with_server_name, &request);
                let told = Told::read(status, &headers);
                let what = format!("{server}, {:?}, {with_server_name}", client.map(|client| &client.name));
                let leaves = told.ours.as_ref().map(leaves).unwrap_or_default();
                seen.extend(leaves.into_keys());
                let differences = differences(&what, told, false);
                // A Wasm filter is told the name that the TLS inspector has found.
                let is_expected = |line: &String| line.contains("/attributes/tlsSession");
                if *server == WITHOUT_INSPECTOR && with_server_name {
                    assert!(differences.iter().any(is_expected), "{what}");
                    found.extend(differences.into_iter().filter(|line| !is_expected(line)));
                } else {
                    found.extend(differences);
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    for path in ["source/principal", "source/certificate", "destination/principal", "tlsSession/sni"] {
        assert!(seen.contains(&format!("/input/attributes/{path}")), "{path}: {seen:?}");
    }
}

/// Signed by [`JWT_KEY`] until the year 2100.
const JWT: &str = "eyJhbGciOiAiSFMyNTYiLCAia2lkIjogImsifQ.eyJpc3MiOiAidGVzdCIsICJzdWIiOiAiYWRhIiwgImV4cCI6IDQxMDI0NDQ4MDAsICJpYXQiOiAxNzAwMDAwMDAwLCAicm9sZXMiOiBbImJ1eWVyIiwgIlx1MDBlOSJdLCAibmVzdGVkIjogeyJuIjogMS41LCAibm9uZSI6IG51bGwsICJsaXN0IjogW1tdLCB7fV19LCAidGVuYW50IjogIjAwMDAwMDEyIn0.elfCgHiXcVVfoqctyUNsILM5UNyfssn6eba7luZqTDk";
const JWT_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";
const NAMESPACES: &[&str] =
    &["absent", "empty", "envoy.filters.http.jwt_authn", "kinds", "open_policy_agent.other"];
const ROUTE_NAMESPACES: &[&str] = &["absent", "kinds", "portcullis"];

/// Values of every kind.
fn kinds() -> Value {
    json!({
        "null": null,
        "yes": true,
        "no": false,
        "text": "12345678",
        "empty": "",
        "accents": "é \"quoted\" \\ \u{1} ✓",
        "numbers": [0, 1, -1, 1.5, 0.1, 1e-7, 123_456, 1_234_567, 1_700_000_000, 9_007_199_254_740_993_i64, 1e20, 1e21, 1.5e300, -2.5e-300],
        "list": [[], {}, [[1]], null, "a"],
        "nested": { "a": { "b": { "c": { "d": {} } } }, "": "empty", "a.b": "dot" },
    })
}

/// Envoy's own filters that put something into dynamic metadata.
fn metadata_filters() -> [Value; 2] {
    let set = |namespace: &str, value: &Value| json!({ "metadata_namespace": namespace, "value": value });
    let key = json!({ "keys": [{ "kty": "oct", "alg": "HS256", "kid": "k", "k": JWT_KEY }] });
    [
        json!({
            "name": "envoy.filters.http.set_metadata",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
                "metadata": [set("kinds", &kinds()), set("empty", &json!({})), set("unlisted", &json!({ "a": 1 }))],
            },
        }),
        json!({
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
                "providers": { "test": {
                    "issuer": "test",
                    "local_jwks": { "inline_string": key.to_string() },
                    "payload_in_metadata": "payload",
                    "header_in_metadata": "header",
                    "forward": true,
                } },
                "rules": [{ "match": { "prefix": "/" }, "requires": { "requires_any": { "requirements": [
                    { "provider_name": "test" }, { "allow_missing": {} },
                ] } } }],
            },
        }),
    ]
}

/// The same said to both: by ext_authz's own configuration of routes, and by metadata.
fn say(place: &mut Value, extensions: &Value) {
    place["typed_per_filter_config"] = json!({ "envoy.filters.http.ext_authz": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        "check_settings": { "context_extensions": extensions },
    } });
    place["metadata"]["filter_metadata"]["portcullis"]["context_extensions"] = extensions.clone();
}

#[test]
fn metadata_and_what_routes_say_are_told_as_there() {
    let Some(binary) = plugin::binary() else { return };
    let amend = |bootstrap: &mut Value| {
        let manager = manager(bootstrap);
        let filters = manager["http_filters"].as_array_mut().expect("filters");
        for filter in metadata_filters() {
            filters.insert(0, filter);
        }
        let host = &mut manager["route_config"]["virtual_hosts"][0];
        let routes = host["routes"].as_array_mut().expect("routes");
        let any = routes[0].clone();
        for (path, extensions) in
            [("/both", Some(json!({ "both": "route", "route": "é \"x\"" }))), ("/host", None)]
        {
            let mut route = any.clone();
            route["match"] = json!({ "prefix": path });
            route["metadata"]["filter_metadata"]["kinds"] = kinds();
            if let Some(extensions) = extensions {
                say(&mut route, &extensions);
                route["metadata"]["filter_metadata"]["portcullis"]["policy"] = json!("beside");
            }
            routes.insert(0, route);
        }
        say(host, &json!({ "both": "host", "host": "1", "empty": "" }));
    };
    let ours = json!({
        "metadata_context": { "namespaces": NAMESPACES },
        "route_metadata_context": { "namespaces": ROUTE_NAMESPACES },
    });
    let setting = Setting { ours, namespaces: [NAMESPACES, ROUTE_NAMESPACES], amend: Box::new(amend) };
    let beside = Beside::start(&binary, setting);
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for path in ["/", "/host", "/both", "/both?x"] {
        for token in [None, Some(JWT)] {
            let mut request = Request::get(path).header("host", "any.test");
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let told = beside.http1(beside.gate.addr(), &request);
            seen.extend(told.ours.as_ref().map(leaves).unwrap_or_default().into_keys());
            found.extend(differences(&format!("{path} {token:?}"), told, false));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    for path in [
        "contextExtensions/host",
        "contextExtensions/route",
        "metadataContext/filterMetadata/envoy.filters.http.jwt_authn/payload/sub",
        "metadataContext/filterMetadata/kinds/nested/a/b/c/d",
        "metadataContext/filterMetadata/empty",
        "routeMetadataContext/filterMetadata/kinds/numbers/13",
    ] {
        assert!(seen.contains(&format!("/input/attributes/{path}")), "{path}: {seen:?}");
    }
    assert!(seen.iter().any(|path| path.starts_with("/labels/region")), "{seen:?}");
}

/// How a connection manager can be told whom to take for the client.
fn address_modes() -> Vec<(&'static str, Value)> {
    let detection = |name: &str, config: Value| {
        let mut typed = json!({
            "@type": format!("type.googleapis.com/envoy.extensions.http.original_ip_detection.{name}"),
        });
        typed.as_object_mut().expect("an object").extend(config.as_object().cloned().unwrap_or_default());
        json!({ "use_remote_address": false, "original_ip_detection_extensions": [{ "name": "detection", "typed_config": typed }] })
    };
    vec![
        ("remote", json!({ "use_remote_address": true })),
        ("remote, one hop", json!({ "use_remote_address": true, "xff_num_trusted_hops": 1 })),
        ("header", json!({ "use_remote_address": false })),
        ("header, one hop", json!({ "use_remote_address": false, "xff_num_trusted_hops": 1 })),
        (
            "custom header",
            detection("custom_header.v3.CustomHeaderConfig", json!({ "header_name": "x-real-ip" })),
        ),
        (
            "trusted ranges",
            detection(
                "xff.v3.XffConfig",
                json!({
                    "xff_trusted_cidrs": { "cidrs": [{ "address_prefix": "127.0.0.0", "prefix_len": 8 }] },
                }),
            ),
        ),
    ]
}

#[test]
fn the_peers_address_is_never_what_a_client_has_written() {
    let Some(binary) = plugin::binary() else { return };
    let amend = |bootstrap: &mut Value| {
        for (mode, options) in address_modes() {
            for handed_on in [false, true] {
                let name = format!("{mode}, {handed_on}");
                listener(bootstrap, &name, &[], |listener| {
                    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
                    manager
                        .as_object_mut()
                        .expect("an object")
                        .extend(options.as_object().cloned().expect("an object"));
                    if handed_on {
                        manager["http_filters"]
                            .as_array_mut()
                            .expect("filters")
                            .insert(0, readme("peer_address"));
                    }
                });
            }
        }
        let manager = manager(bootstrap);
        manager["use_remote_address"] = json!(true);
        manager["xff_num_trusted_hops"] = json!(1);
        for filter in manager["http_filters"].as_array_mut().expect("filters") {
            let value = filter.pointer_mut("/typed_config/config/configuration/value");
            if let Some(Value::String(text)) = value {
                let mut document: Value = serde_json::from_str(text).expect("JSON");
                document["portcullis"]["source_address"] = json!("trusted_client");
                *text = document.to_string();
            }
        }
    };
    let setting = Setting { ours: json!({}), namespaces: [&[], &[]], amend: Box::new(amend) };
    let beside = Beside::start(&binary, setting);
    let (mut found, mut unavailable) = (Vec::new(), 0);
    let headers = [
        "10.9.8.7",
        "1.1.1.1, 10.9.8.7",
        "10.9.8.7:4321",
        "[2001:db8::1]:99",
        "2001:db8::1",
        "zzz",
        "127.0.0.1",
    ];
    let headers = headers.iter().flat_map(|value| [("x-forwarded-for", *value), ("x-real-ip", *value)]);
    for (header, value) in headers.chain([("x-other", "1")]) {
        let request = Request::get("/").header("host", "any.test").header(header, value);
        for (mode, _) in address_modes() {
            for handed_on in [false, true] {
                let what = format!("{mode}, {handed_on}, {header}: {value}");
                let response =
                    request.send(beside.listener(&format!("{mode}, {handed_on}"))).expect("an answer");
                let told = Told::read(response.status, &response.headers);
                if told.ours.is_none() && !handed_on {
                    let reason = response.header("x-portcullis-reason");
                    assert_eq!((told.status, reason), (500, Some(&b"input_unavailable"[..])), "{what}");
                    assert!(told.theirs.is_some() && mode != "remote", "{what}");
                    unavailable += 1;
                } else {
                    found.extend(differences(&what, told, false));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(unavailable > 10, "{unavailable}");
    let log = beside.gate.envoy.log();
    assert!(log.contains("`portcullis.source_address: trusted_client`"), "{log}");

    // Where that is what is wanted, it is told.
    let request = Request::get("/").header("host", "any.test").header("x-forwarded-for", "10.9.8.7");
    let told = beside.http1(beside.gate.addr(), &request);
    let socket = &told.ours.expect("an answer")["input"]["attributes"]["source"]["address"]["socketAddress"];
    assert_eq!(*socket, json!({ "address": "10.9.8.7" }));
}
