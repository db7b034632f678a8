//! Decisions that would send their request past another policy.

use serde_json::json;

use super::way::Way;

pub(crate) fn ways() -> Vec<Way> {
    let route = |name: &str| Way::new("Route", name);
    let set =
        |name: &str, headers: serde_json::Value| Way::new("Route", name).allow_with("headers", &headers);
    let mut ways = vec![
        set("the path", json!({ ":path": "/t/x" })),
        set("the path in another case", json!({ ":path": "/T/x" })),
        set("the path without the last slash", json!({ ":path": "/t" })),
        set("the path with a query", json!({ ":path": "/?tier=gold" })),
        set("the path in capitals", json!({ ":PATH": "/t/x" })),
        set("a header", json!({ "x-tier": "gold" })),
        set("a header in capitals", json!({ "X-Tier": "gold" })),
        set("a header with blanks", json!({ "x-tier": " gold " })),
        set("a header of several values", json!({ "x-tier": ["silver", "gold"] })),
        set("headers in a list", json!([{ "x-user": "ada" }, { "x-tier": "gold" }])),
        set("the method", json!({ ":method": "DELETE" })),
        set("the scheme", json!({ ":scheme": "https" })),
        set("a cookie", json!({ "cookie": "a=b; tier=gold" })),
        set("the authority", json!({ ":authority": "strict.test" })),
        set("the host", json!({ "host": "strict.test" })),
        route("a query parameter").allow_with("query_parameters_to_set", &json!({ "tier": "gold" })),
        route("a query parameter of several values")
            .allow_with("query_parameters_to_set", &json!({ "tier": ["x", "gold"] })),
        route("a header less")
            .path("/keep/x")
            .header("x-keep", "1")
            .allow_with("request_headers_to_remove", &json!(["x-keep"])),
        route("a metadata route")
            .allow_with("headers", &json!({ ":path": "/m/unknown" }))
            .ends(503, "unknown_policy"),
        route("a script between").header("x-lua", "/t/x"),
        route("a script between, by a decision's header").allow_with("headers", &json!({ "x-lua": "/t/x" })),
        route("an internal redirect").path("/redirect"),
        route("an internal redirect after a decision's change")
            .allow_with("headers", &json!({ ":path": "/redirect" })),
    ];
    // These are routed rightly from the beginning, or decided anew by the redirect: no check is needed.
    let unneeded = ["an internal redirect", "an internal redirect after a decision's change"];
    for way in &mut ways {
        if unneeded.contains(&way.name.as_str()) {
            way.stops = "";
        }
    }
    let chosen = set("the path, and the route is not chosen again", json!({ ":path": "/t/x" }));
    ways.push(Way { stops: "choose route", ..chosen });
    let sent_on = set("a policy that would send it on", json!({ "x-change": "yes" }));
    ways.push(Way { stops: "SentOnce", ..sent_on }.ends(500, "malformed_decision"));
    ways
}
