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
fn without_differences(told: &mut Value, has_body: bool) {
    let input = told["input"].as_object_mut().expect("an object");
    let http = input["attributes"]["request"]["http"].as_object_mut().expect("an object");
    // There the number of a stream, here the request's id.
    http.remove("id");
    // There of a body that Envoy has buffered, here as announced.
    http.remove("size");
    // Bodies are not read here.
    if has_body {
        input.remove("parsed_body");
        input.remove("truncated_body");
    }
    told.as_object_mut().expect("an object").remove("labels");
}

/// Where the two were not told the same.
fn differences(what: &str, told: Told, has_body: bool) -> Vec<String> {
    let (Some(mut ours), Some(mut theirs)) = (told.ours, told.theirs) else {
        return vec![format!("{what}: {} without an answer of both", told.status)];
    };
    without_differences(&mut ours, has_body);
    without_differences(&mut theirs, has_body);
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
