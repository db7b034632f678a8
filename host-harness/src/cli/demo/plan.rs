//! What the demo shows: its bundles, its configuration, and its requests with what must come of each.

use std::path::Path;

use anyhow::{Context, Result};
use host_harness::{archive::Archive, real_envoy::PolicyRoute, servers::BundleServer, storm::Storm};
use serde_json::{Map, Value, json};

/// Bundles in all: the examples and a storm of small ones.
pub(super) const BUNDLES: usize = 50;
/// The bundle server's delay for each answer.
pub(super) const ANSWER_DELAY_MS: u64 = 50;
/// The Envoy cluster of the examples' bundles.
const BUNDLE_CLUSTER: &str = "hub";

const EXAMPLES: [&str; 4] = ["shop", "roles", "tenants", "api"];
const POLICIES: &[(&str, &[&str], &str)] = &[
    ("shop", &["shop", "roles"], "shop/authz/allow"),
    ("tenants", &["tenants"], "tenants/authz/decision"),
    ("api", &["api"], "api/authz/decision"),
    // A slip of the pen that an operator could make.
    ("typo", &["shop", "roles"], "shop/authz/alow"),
];
const STORM_SEED: u64 = 7;

/// A request of the demo.
pub(super) struct DemoRequest {
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) headers: &'static [(&'static str, &'static [u8])],
    /// Status and `x-portcullis-reason`; `allow` where the upstream answers.
    pub(super) expected: (u16, &'static str),
    pub(super) why: &'static str,
}

/// Sent while bundles come one after another, and that of `tenants` is [held back](held_before_ready).
pub(super) const BEFORE_READY: DemoRequest = DemoRequest {
    name: "before ready",
    method: "GET",
    path: "/t/acme/files",
    headers: &[],
    expected: (503, "not_ready"),
    why: "the bundle is on its way: the gate is down, and says so",
};

/// Sent when every policy is ready.
pub(super) const REQUESTS: &[DemoRequest] = &[
    DemoRequest {
        name: "allow: public page",
        method: "GET",
        path: "/products/12",
        headers: &[],
        expected: (200, "allow"),
        why: "shop: products are for everybody",
    },
    DemoRequest {
        name: "allow: by role",
        method: "GET",
        path: "/orders/7",
        headers: &[("x-user", b"ada")],
        expected: (200, "allow"),
        why: "shop: ada is a buyer, and buyers read orders",
    },
    DemoRequest {
        name: "deny: no role",
        method: "GET",
        path: "/orders/7",
        headers: &[],
        expected: (403, "denied"),
        why: "shop: nobody is signed in",
    },
    DemoRequest {
        name: "escaped way out",
        method: "GET",
        path: "/assets/..%2Forders/7",
        headers: &[],
        expected: (400, "bad_path"),
        why: "`..` out of a public folder: servers read such a path differently",
    },
    DemoRequest {
        name: "deny: own status",
        method: "GET",
        path: "/t/nobody/files",
        headers: &[("x-user", b"ada")],
        expected: (404, "denied"),
        why: "tenants: the decision answers 404 for an unknown tenant",
    },
    DemoRequest {
        name: "deny: missing header",
        method: "GET",
        path: "/api/things",
        headers: &[],
        expected: (400, "denied"),
        why: "api: the decision answers 400 without x-api-version",
    },
    DemoRequest {
        name: "undefined",
        method: "GET",
        path: "/typo/products/12",
        headers: &[],
        expected: (403, "undefined"),
        why: "the route's policy names a rule that no bundle has",
    },
    DemoRequest {
        name: "unknown policy",
        method: "GET",
        path: "/nowhere/",
        headers: &[],
        expected: (503, "unknown_policy"),
        why: "the route names a policy that is not configured",
    },
    DemoRequest {
        name: "hostile header bytes",
        method: "GET",
        path: "/products/12",
        headers: &[("x-user", b"ada\xff\xfe")],
        expected: (400, "bad_header"),
        why: "not UTF-8: no policy can be asked about it",
    },
    DemoRequest {
        name: "hostile path bytes",
        method: "GET",
        path: "/products/%ff%fe",
        headers: &[],
        expected: (400, "bad_path"),
        why: "the path does not decode to text",
    },
    DemoRequest {
        name: "allow: after all that",
        method: "GET",
        path: "/products/12",
        headers: &[],
        expected: (200, "allow"),
        why: "the VMs are alive",
    },
];

/// Which policy decides below which prefix; every other path has the default policy.
pub(super) fn routes() -> Vec<PolicyRoute> {
    let route =
        |prefix: &str, policy: &str| PolicyRoute { prefix: prefix.to_owned(), policy: policy.to_owned() };
    vec![
        route("/t/", "tenants"),
        route("/api/", "api"),
        route("/typo/", "typo"),
        route("/nowhere/", "nobody"),
    ]
}

/// The bundle whose answer waits until [`BEFORE_READY`] has been sent.
pub(super) fn held_before_ready() -> String {
    path("tenants")
}

/// Builds every archive, the examples' from `policies/` and `bundles/` below `root`, and puts them on the server.
pub(super) fn publish(server: &BundleServer, root: &Path) -> Result<()> {
    for name in EXAMPLES {
        let folders = ["policies", "bundles"].map(|kind| root.join(kind).join(name));
        let folders: Vec<&Path> =
            folders.iter().filter(|folder| folder.is_dir()).map(AsRef::as_ref).collect();
        let archive = Archive::from_folders(&folders).with_context(|| {
            format!("bundle `{name}` below {} (name another folder with --root)", root.display())
        })?;
        server.publish(&path(name), archive.build());
    }
    storm().publish(server, 1);
    Ok(())
}

/// The plugin configuration, for bundles at `url` and so many downloads at once.
pub(super) fn configuration(url: &str, max_concurrent_downloads: usize) -> Result<Value> {
    let mut document = storm().document(url);
    let services = object(&mut document, "/services")?;
    services.insert("hub".to_owned(), json!({ "url": url, "cluster": BUNDLE_CLUSTER }));
    let bundles = object(&mut document, "/bundles")?;
    for name in EXAMPLES {
        bundles.insert(name.to_owned(), Value::from(format!("{url}{}", path(name))));
    }
    let policies = object(&mut document, "/portcullis/policies")?;
    for (name, bundles, decision) in POLICIES {
        policies.insert((*name).to_owned(), json!({ "bundles": bundles, "decision": decision }));
    }
    let section = object(&mut document, "/portcullis")?;
    section.insert("default_policy".to_owned(), Value::from("shop"));
    section.insert("max_concurrent_downloads".to_owned(), Value::from(max_concurrent_downloads));
    // The limit is on the wall clock; a machine that is busy with other things must not spoil the demo.
    section.insert("limits".to_owned(), json!({ "evaluation_ms": 5_000 }));
    Ok(document)
}

fn object<'a>(document: &'a mut Value, pointer: &str) -> Result<&'a mut Map<String, Value>> {
    let found = document.pointer_mut(pointer).and_then(Value::as_object_mut);
    found.with_context(|| format!("the storm's configuration has no {pointer}"))
}

/// Where an example's bundle is on the server.
fn path(name: &str) -> String {
    format!("/bundles/{name}.tar.gz")
}

fn storm() -> Storm {
    Storm::new(BUNDLES - EXAMPLES.len(), STORM_SEED)
}
