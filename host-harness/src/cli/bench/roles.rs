//! The policy of `portcullis bench request`: what somebody may do by role, and with what is their own.

use host_harness::{archive::Archive, servers::client::Request};
use serde_json::{Map, Value, json};

use super::contender::Asked;

/// Who asks, with the role that is theirs.
const MEMBERS: [(&str, &str); 4] =
    [("ada", "buyer"), ("bob", "clerk"), ("grace", "manager"), ("linus", "auditor")];
/// Role, methods and path of each grant.
const GRANTS: [(&str, &[&str], &str); 16] = [
    ("buyer", &["GET", "POST"], "orders/*"),
    ("buyer", &["GET", "PUT"], "carts/*"),
    ("buyer", &["POST"], "products/*/reviews"),
    ("buyer", &["GET"], "products/**"),
    ("clerk", &["GET"], "orders/**"),
    ("clerk", &["PUT"], "orders/*/status"),
    ("clerk", &["POST"], "stock/*/adjustments"),
    ("clerk", &["GET"], "customers/*"),
    ("manager", &["PUT", "DELETE"], "products/*"),
    ("manager", &["GET", "PUT"], "prices/*"),
    ("manager", &["POST"], "orders/*/refund"),
    ("manager", &["GET"], "reports/**"),
    ("auditor", &["GET"], "audit/**"),
    ("auditor", &["GET"], "orders/*/history"),
    ("auditor", &["GET"], "refunds/*"),
    ("auditor", &["POST"], "audit/*/notes"),
];
/// After so many requests they begin anew: one by each grant, one to what is the client's own, and two that are refused.
pub(super) const KINDS: u64 = GRANTS.len() as u64 + 3;

const POLICY: &str = r#"package bench

default allow := false

allow if {
	some role in data.bench.members[user]
	some grant in data.bench.grants[role]
	http.method in grant.methods
	glob.match(grant.path, ["/"], path)
}

allow if {
	http.method == "GET"
	["customers", user, "orders", _] = input.parsed_path
}

http := input.attributes.request.http

user := http.headers["x-user"]

path := concat("/", input.parsed_path)
"#;

pub(super) fn archive() -> Archive {
    let (mut members, mut grants) = (Map::new(), Map::new());
    for (user, role) in MEMBERS {
        members.insert(user.to_owned(), json!([role]));
        let own = GRANTS.iter().filter(|(of, ..)| *of == role);
        let own = own.map(|(_, methods, path)| json!({ "methods": methods, "path": path }));
        grants.insert(role.to_owned(), own.collect::<Value>());
    }
    Archive::new()
        .file(".manifest", json!({ "revision": "1", "roots": ["bench"] }).to_string())
        .file("bench/policy.rego", POLICY)
        .file("bench/data.json", json!({ "members": members, "grants": grants }).to_string())
}

/// A request like none before it: its path and its headers have its number.
pub(super) fn asked(number: u64) -> Asked {
    let kind = usize::try_from(number % KINDS).unwrap_or_default();
    let (user, method, path, allowed) = match GRANTS.get(kind) {
        Some((role, methods, pattern)) => {
            let path = pattern.replace("**", &format!("{number}/lines")).replace('*', &number.to_string());
            (member(role), methods[0], path, true)
        }
        None if kind == GRANTS.len() => ("ada", "GET", format!("customers/ada/orders/{number}"), true),
        None if kind == GRANTS.len() + 1 => ("linus", "DELETE", format!("products/{number}"), false),
        None => ("bob", "GET", format!("customers/ada/orders/{number}"), false),
    };
    Asked { request: request(method, &path, user, number), allowed }
}

/// A request with ten headers, as a browser sends them and a proxy in front adds to them; the tenth is `host`.
pub(super) fn request(method: &str, path: &str, user: &str, number: u64) -> Request {
    Request::new(method, format!("/{path}"))
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .header("accept", "application/json")
        .header("accept-language", "en-GB,en;q=0.8,de;q=0.5")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("referer", "https://shop.example/account")
        .header("cookie", format!("session=4f1c8a2be9d07735{number:016x}; theme=dark"))
        .header("authorization", "Bearer 0123456789abcdef0123456789abcdef0123456789abcdef")
        .header("x-user", user)
        .header("x-request-id", format!("b7a0c3de-5f21-4c8e-9d41-{number:012x}"))
}

fn member(role: &str) -> &'static str {
    MEMBERS.iter().find(|(_, of)| *of == role).map_or("nobody", |(user, _)| user)
}
