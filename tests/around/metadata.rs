//! Metadata that names no policy.

use serde_json::{Value, json};

use super::way::Way;

/// What stands in a route's `filter_metadata.portcullis`, by a name for its path or host.
fn values() -> Vec<(&'static str, Value)> {
    vec![
        ("empty", json!({ "policy": "" })),
        ("null", json!({ "policy": null })),
        ("true", json!({ "policy": true })),
        ("false", json!({ "policy": false })),
        ("zero", json!({ "policy": 0 })),
        ("number", json!({ "policy": 7.5 })),
        ("list", json!({ "policy": ["echo"] })),
        ("empty-list", json!({ "policy": [] })),
        ("map", json!({ "policy": { "policy": "echo" } })),
        ("empty-map", json!({ "policy": {} })),
        ("blank", json!({ "policy": " " })),
        ("blanks", json!({ "policy": " echo" })),
        ("case", json!({ "policy": "Echo" })),
        ("unknown", json!({ "policy": "ech" })),
        ("slip", json!({ "polciy": "strict" })),
        ("two", json!({ "policy": "echo", "other": null })),
    ]
}

pub(crate) fn of(portcullis: Value) -> Value {
    json!({ "filter_metadata": { "portcullis": portcullis } })
}

pub(crate) fn routes(fallback: &Value) -> Vec<Value> {
    let route = |(name, value): (&str, Value)| {
        let mut route = fallback.clone();
        route["match"]["prefix"] = json!(format!("/m/{name}"));
        route["metadata"] = of(value);
        route
    };
    // `/m/two` before `/m/t…`: longer names first.
    let mut values = values();
    values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    values.into_iter().map(route).collect()
}

pub(crate) fn hosts(fallback: &Value) -> Vec<Value> {
    let host = |(name, value): (&str, Value)| json!({ "name": name, "domains": [format!("{name}.test")], "routes": [fallback], "metadata": of(value) });
    values().into_iter().map(host).collect()
}

pub(crate) fn ways() -> Vec<Way> {
    // A name that is one, of a policy that does not exist, needs no check.
    let is_checked = |name: &str| !matches!(name, "case" | "unknown");
    let names: Vec<&str> =
        values().into_iter().map(|(name, _)| name).filter(|name| is_checked(name)).collect();
    let by_route = names.iter().map(|name| {
        Way::new("Metadata", format!("a route's policy is {name}"))
            .path(format!("/m/{name}"))
            .ends(503, "unknown_policy")
    });
    let by_host = names.iter().map(|name| {
        let mut way = Way::new("Metadata", format!("a virtual host's policy is {name}"));
        way.authority = format!("{name}.test");
        way.ends(503, "unknown_policy")
    });
    by_route.chain(by_host).collect()
}
