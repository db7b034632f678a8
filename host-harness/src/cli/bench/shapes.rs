//! The policies of `portcullis bench rules`: so many rules, or tenants, in the three shapes in which people write them.

use std::fmt::Write;

use host_harness::archive::Archive;
use serde::Serialize;
use serde_json::{Map, json};

use super::{contender::Asked, roles};

/// One of so many requests is refused.
const REFUSED_EVERY: u64 = 10;
/// Prime, and no divisor of a number of rules that people ask for: requests that follow each other are of rules far apart.
const STRIDE: u64 = 7919;

/// How the rules are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Shape {
    /// A rule for each, all of one name, which compares the path.
    Rules,
    /// A package for each tenant, which is chosen by the path.
    Packages,
    /// A grant in data for each tenant, which is looked up by the path.
    Data,
}

// === impl Shape ===

impl Shape {
    pub(super) const ALL: [Self; 3] = [Self::Rules, Self::Packages, Self::Data];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Packages => "packages",
            Self::Data => "data",
        }
    }

    /// The bundle of so many rules.
    pub(super) fn archive(self, rules: u64) -> Archive {
        let manifest = json!({ "revision": "1", "roots": ["bench"] }).to_string();
        let archive = Archive::new().file(".manifest", manifest);
        match self {
            Self::Rules => archive.file("bench/policy.rego", compared(rules)),
            Self::Packages => (0..rules).fold(
                archive.file("bench/policy.rego", head("data.bench.tenants[input.parsed_path[0]].allow")),
                |archive, tenant| archive.file(&format!("bench/tenants/t{tenant}.rego"), package(tenant)),
            ),
            Self::Data => {
                let grants: Map<_, _> = (0..rules)
                    .map(|tenant| (format!("t{tenant}"), json!({ "methods": ["GET"], "resource": "items" })))
                    .collect();
                archive
                    .file("bench/policy.rego", LOOKED_UP)
                    .file("bench/data.json", json!({ "grants": grants }).to_string())
            }
        }
    }
}

/// A request of one of so many tenants; its query and its headers have its number.
pub(super) fn asked(rules: u64, number: u64) -> Asked {
    let tenant = (number + number / REFUSED_EVERY) * STRIDE % rules;
    let allowed = number % REFUSED_EVERY != REFUSED_EVERY - 1;
    let method = if allowed { "GET" } else { "DELETE" };
    let path = format!("t{tenant}/items?page={number}");
    Asked { request: roles::request(method, &path, "ada", number), allowed }
}

const LOOKED_UP: &str = r#"package bench

default allow := false

allow if {
	grant := data.bench.grants[input.parsed_path[0]]
	input.attributes.request.http.method in grant.methods
	input.parsed_path[1] == grant.resource
}
"#;

fn head(condition: &str) -> String {
    format!("package bench\n\ndefault allow := false\n\nallow if {condition}\n")
}

fn compared(rules: u64) -> String {
    let mut text = "package bench\n\ndefault allow := false\n".to_owned();
    for tenant in 0..rules {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\nallow if {{\n\
             \tinput.parsed_path == [\"t{tenant}\", \"items\"]\n\
             \tinput.attributes.request.http.method == \"GET\"\n\
             }}\n"
        );
    }
    text
}

fn package(tenant: u64) -> String {
    format!(
        "package bench.tenants.t{tenant}\n\n\
         default allow := false\n\n\
         allow if {{\n\
         \tinput.attributes.request.http.method == \"GET\"\n\
         \tinput.parsed_path[1] == \"items\"\n\
         }}\n"
    )
}
