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
/// Tenants of a region, whose packages are one bundle: the filter takes archives of up to 10,000 entries.
const REGION: u64 = 5_000;

/// How the rules are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Shape {
    /// A rule for each, all of one name, which compares the path.
    Rules,
    /// A package for each tenant, chosen by its region and name in the path.
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

    /// The bundles of so many rules.
    pub(super) fn bundles(self, rules: u64) -> Vec<Archive> {
        let gate = archive("bench");
        match self {
            Self::Rules => vec![gate.file("bench/policy.rego", compared(rules))],
            Self::Packages => {
                let mut bundles = vec![gate.file("bench/policy.rego", CHOSEN)];
                bundles.extend((0..rules.div_ceil(REGION)).map(|region| packages(region, rules)));
                bundles
            }
            Self::Data => {
                let grant =
                    |tenant| (format!("t{tenant}"), json!({ "methods": ["GET"], "resource": "items" }));
                let grants: Map<_, _> = (0..rules).map(grant).collect();
                let data = json!({ "grants": grants }).to_string();
                vec![gate.file("bench/policy.rego", LOOKED_UP).file("bench/data.json", data)]
            }
        }
    }

    /// A request of one of so many tenants; its query and its headers have its number.
    pub(super) fn asked(self, rules: u64, number: u64) -> Asked {
        let tenant = (number + number / REFUSED_EVERY) * STRIDE % rules;
        let allowed = number % REFUSED_EVERY != REFUSED_EVERY - 1;
        let method = if allowed { "GET" } else { "DELETE" };
        let region = if self == Self::Packages { format!("r{}/", tenant / REGION) } else { String::new() };
        let path = format!("{region}t{tenant}/items?page={number}");
        Asked { request: roles::request(method, &path, "ada", number), allowed }
    }
}

const CHOSEN: &str = "package bench

default allow := false

allow if {
	[region, tenant, _] = input.parsed_path
	data.tenants[region][tenant].allow
}
";

const LOOKED_UP: &str = "package bench

default allow := false

allow if {
	grant := data.bench.grants[input.parsed_path[0]]
	input.attributes.request.http.method in grant.methods
	input.parsed_path[1] == grant.resource
}
";

fn archive(root: &str) -> Archive {
    Archive::new().file(".manifest", json!({ "revision": "1", "roots": [root] }).to_string())
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

/// The bundle of the packages of a region's tenants, of so many in all.
fn packages(region: u64, rules: u64) -> Archive {
    let tenants = region * REGION..rules.min((region + 1) * REGION);
    tenants.fold(archive(&format!("tenants/r{region}")), |archive, tenant| {
        let policy = format!(
            "package tenants.r{region}.t{tenant}\n\n\
             default allow := false\n\n\
             allow if {{\n\
             \tinput.attributes.request.http.method == \"GET\"\n\
             \tinput.parsed_path[2] == \"items\"\n\
             }}\n"
        );
        archive.file(&format!("tenants/r{region}/t{tenant}.rego"), policy)
    })
}
