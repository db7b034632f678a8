//! Tables of cases: `tests/cases/*.yaml`, whose format its README describes, and what checks one answer against one row.

use std::{collections::BTreeMap, fs};

use host_harness::archive::Archive;
use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::root;

/// Origin of every bundle URL in a table's configuration.
pub const BUNDLE_CLUSTER: &str = "bundles";

/// Makes a test of each file of cases, which calls the function named with the file's name.
#[macro_export]
macro_rules! for_every_table {
    ($run:ident) => {
        #[test]
        fn every_file_of_cases_is_run() {
            assert_eq!($crate::table::names(), ["builtins", "decisions", "examples", "input", "outcomes"]);
        }

        #[test]
        fn builtins() {
            $run("builtins");
        }

        #[test]
        fn decisions() {
            $run("decisions");
        }

        #[test]
        fn examples() {
            $run("examples");
        }

        #[test]
        fn input() {
            $run("input");
        }

        #[test]
        fn outcomes() {
            $run("outcomes");
        }
    };
}

/// Names of the files of cases, sorted.
pub fn names() -> Vec<String> {
    let files = fs::read_dir(root().join("tests/cases")).expect("the folder of cases can be read");
    let names =
        files.filter_map(|file| Some(file.ok()?.file_name().to_str()?.strip_suffix(".yaml")?.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// One file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Bundles by name.
    pub bundles: BTreeMap<String, BundleSpec>,
    /// Policies by name.
    pub policies: BTreeMap<String, PolicySpec>,
    /// The policy of a route that names none.
    pub default_policy: String,
    /// The rows.
    pub cases: Vec<Case>,
}

/// What a bundle holds: one of the three.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BundleSpec {
    /// `policies/NAME` and `bundles/NAME` together.
    example: Option<String>,
    /// Path to text.
    files: BTreeMap<String, String>,
    /// The server answers 404.
    missing: bool,
}

/// One policy of the plugin configuration.
#[derive(Debug, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    bundles: Vec<String>,
    decision: String,
}

/// One row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The fact that it states.
    pub name: String,
    #[serde(default)]
    only: Vec<String>,
    #[serde(default)]
    because: String,
    /// What the client sends.
    pub request: CaseRequest,
    expect: Expectation,
}

/// What the client sends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaseRequest {
    /// HTTP method.
    pub method: String,
    /// With the query.
    pub path: Text,
    /// Host header or `:authority`.
    pub authority: String,
    /// In order.
    pub headers: Vec<(String, Text)>,
    /// The policy that the route's metadata names.
    pub policy: Option<String>,
}

/// Text, or bytes that are none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// UTF-8.
    Text(String),
    /// Any bytes.
    Hex {
        /// Two digits a byte.
        hex: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    status: u16,
    reason: String,
    #[serde(default)]
    headers: BTreeMap<String, Copies>,
    #[serde(default)]
    absent_headers: Vec<String>,
    body: Option<String>,
    #[serde(default)]
    upstream_headers: BTreeMap<String, Copies>,
    #[serde(default)]
    upstream_absent: Vec<String>,
    upstream_path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Copies {
    One(String),
    Each(Vec<String>),
    Matching { matches: String },
}

/// What came back, whatever the place was.
#[derive(Debug, Clone, Default)]
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// Response headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Response body.
    pub body: String,
    /// What the upstream saw; none if it was not reached.
    pub upstream: Option<SeenUpstream>,
}

/// A request as the upstream saw it.
#[derive(Debug, Clone, Default)]
pub struct SeenUpstream {
    /// `:path`.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

// === impl Table ===

impl Table {
    /// Reads `tests/cases/NAME.yaml`.
    pub fn read(name: &str) -> Self {
        let path = root().join("tests/cases").join(format!("{name}.yaml"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        yaml_serde::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Archives by bundle name; none where the server is to answer 404.
    pub fn archives(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        self.bundles.iter().map(|(name, spec)| (name.clone(), spec.archive())).collect()
    }

    /// The plugin configuration: every bundle is one URL below `origin`, reached through [`BUNDLE_CLUSTER`].
    pub fn configuration(&self, origin: &str) -> Value {
        let bundles: BTreeMap<&str, String> =
            self.bundles.keys().map(|name| (name.as_str(), format!("{origin}/{name}.tar.gz"))).collect();
        json!({
            "services": { "hub": { "url": origin, "cluster": BUNDLE_CLUSTER } },
            "bundles": bundles,
            "portcullis": {
                "policies": self.policies,
                "default_policy": self.default_policy,
                "paths": "opa",
                // The limit is on the wall clock, which says nothing on a machine that is busy with other tests.
                "limits": { "evaluation_ms": 10_000 },
            },
        })
    }

    /// Names of policies, of every one that is configured.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        self.policies.keys().map(String::as_str)
    }

    /// Names of policies that a request asks for, whether or not they are configured.
    pub fn policies_asked(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.cases.iter().filter_map(|case| case.request.policy.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Runs every case that can run at `place`, and fails with all that went wrong.
    pub fn run(&self, place: &str, mut exchange: impl FnMut(&CaseRequest) -> Answered) {
        let mut failures = Vec::new();
        let mut ran = 0;
        for case in &self.cases {
            assert!(
                case.only.is_empty() || !case.because.is_empty(),
                "{}: `only` without `because`",
                case.name
            );
            if !case.only.is_empty() && !case.only.iter().any(|only| only == place) {
                continue;
            }
            ran += 1;
            let answered = exchange(&case.request);
            failures
                .extend(case.check(&answered).into_iter().map(|failure| format!("{}: {failure}", case.name)));
        }
        assert!(ran > 0, "no case ran");
        assert!(failures.is_empty(), "{} of {ran} cases fail:\n{}", failures.len(), failures.join("\n"));
    }
}

// === impl BundleSpec ===

impl BundleSpec {
    fn archive(&self) -> Option<Vec<u8>> {
        if self.missing {
            return None;
        }
        let files = self.files.iter();
        let from_files =
            || files.fold(Archive::new(), |archive, (path, text)| archive.file(path, text.as_str())).build();
        Some(self.example.as_deref().map_or_else(from_files, example))
    }
}

/// The archive of an example bundle of this repository.
pub fn example(name: &str) -> Vec<u8> {
    let folders: Vec<_> = ["policies", "bundles"]
        .map(|kind| root().join(kind).join(name))
        .into_iter()
        .filter(|path| path.is_dir())
        .collect();
    let folders: Vec<_> = folders.iter().map(std::path::PathBuf::as_path).collect();
    Archive::from_folders(&folders).unwrap_or_else(|error| panic!("{name}: {error}")).build()
}

// === impl Case ===

impl Case {
    fn check(&self, answered: &Answered) -> Vec<String> {
        let expect = &self.expect;
        let mut failures = Vec::new();
        let mut compare = |what: &str, found: &dyn std::fmt::Debug, wanted: &dyn std::fmt::Debug| {
            if format!("{found:?}") != format!("{wanted:?}") {
                failures.push(format!("{what} is {found:?}, not {wanted:?}"));
            }
        };
        compare("status", &answered.status, &expect.status);
        let reason = values(&answered.headers, "x-portcullis-reason");
        let allowed = expect.reason == "allow";
        compare("reason", &reason, &if allowed { vec![] } else { vec![expect.reason.clone()] });
        compare("upstream reached", &answered.upstream.is_some(), &allowed);
        if let Some(body) = &expect.body {
            compare("body", &answered.body, body);
        }
        let upstream = answered.upstream.clone().unwrap_or_default();
        if let Some(path) = &expect.upstream_path {
            compare("upstream path", &upstream.path, path);
        }
        for (name, copies) in &expect.headers {
            failures.extend(copies.check(&format!("header {name}"), &values(&answered.headers, name)));
        }
        for (name, copies) in &expect.upstream_headers {
            failures
                .extend(copies.check(&format!("upstream header {name}"), &values(&upstream.headers, name)));
        }
        let absent = expect.absent_headers.iter().map(|name| (name, &answered.headers));
        let absent = absent.chain(expect.upstream_absent.iter().map(|name| (name, &upstream.headers)));
        failures.extend(absent.filter_map(|(name, headers)| {
            let found = values(headers, name);
            (!found.is_empty()).then(|| format!("header {name} is {found:?}, not absent"))
        }));
        failures
    }
}

// === impl Copies ===

impl Copies {
    fn check(&self, what: &str, found: &[String]) -> Option<String> {
        let (holds, wanted) = match self {
            Self::One(text) => (found == [text.clone()], format!("{text:?}")),
            Self::Each(texts) => (found == texts.as_slice(), format!("{texts:?}")),
            Self::Matching { matches } => {
                let regex =
                    Regex::new(&format!("^(?:{matches})$")).unwrap_or_else(|error| panic!("{what}: {error}"));
                (matches!(found, [only] if regex.is_match(only)), format!("one that matches {matches}"))
            }
        };
        (!holds).then(|| format!("{what} is {found:?}, not {wanted}"))
    }
}

// === impl CaseRequest ===

impl Default for CaseRequest {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: Text::Text("/".to_owned()),
            authority: "shop.example".to_owned(),
            headers: Vec::new(),
            policy: None,
        }
    }
}

// === impl Text ===

impl Text {
    /// The bytes that go over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Hex { hex } => {
                let pairs =
                    hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex is ASCII"));
                pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two hex digits")).collect()
            }
        }
    }
}

fn values(headers: &[(String, String)], name: &str) -> Vec<String> {
    headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.clone()).collect()
}
