//! A storm of small bundles: what a gate in front of many teams downloads all at once when it starts.
//!
//! Everything follows from a seed and a number, by SHA-256 and not by a random generator, whose sequence may change
//! with its version. Each generation of a bundle allows another path, so that a decision shows which generation made
//! it.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    archive::Archive,
    servers::{BundleServer, Published},
};

/// Name of the service and of the cluster in [`Storm::document`].
const SERVICE: &str = "storm";
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Many small bundles, each with a root, a policy and data of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storm {
    bundles: Vec<StormBundle>,
}

/// One bundle of a storm, which is also the one bundle of a policy of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StormBundle {
    /// Name of the bundle and of its policy: `storm-07`.
    pub name: String,
    /// Last part of its package and root: `n07`.
    package: String,
    /// Methods that it allows: some, and never all.
    methods: Vec<&'static str>,
    /// First half of the path segment that it allows.
    word: String,
    seed: u64,
}

// === impl Storm ===

impl Storm {
    /// A storm of `count` bundles; the same for the same count and seed.
    pub fn new(count: usize, seed: u64) -> Self {
        let width = count.saturating_sub(1).to_string().len().max(2);
        Self { bundles: (0..count).map(|index| StormBundle::new(index, width, seed)).collect() }
    }

    /// The bundles, in the order of their names.
    pub fn bundles(&self) -> &[StormBundle] {
        &self.bundles
    }

    /// Publishes one generation of every bundle.
    pub fn publish(&self, server: &BundleServer, generation: u64) {
        for bundle in &self.bundles {
            server.publish(&bundle.path(), Published::new(bundle.archive(generation).build()));
        }
    }

    /// The plugin configuration that loads the storm from a server.
    ///
    /// Shape: `services`, `bundles` and `portcullis.policies`; no default policy. `url` is the server's origin, as
    /// [`BundleServer::url`] of the empty path.
    pub fn document(&self, url: &str) -> Value {
        let (mut bundles, mut policies) = (Map::new(), Map::new());
        for bundle in &self.bundles {
            let resource = bundle.path().trim_start_matches('/').to_owned();
            bundles.insert(bundle.name.clone(), json!({ "service": SERVICE, "resource": resource }));
            let policy = json!({ "bundles": [bundle.name], "decision": bundle.decision() });
            policies.insert(bundle.name.clone(), policy);
        }
        json!({
            "services": { SERVICE: { "url": url, "cluster": SERVICE } },
            "bundles": bundles,
            "portcullis": { "policies": policies },
        })
    }
}

// === impl StormBundle ===

impl StormBundle {
    fn new(index: usize, width: usize, seed: u64) -> Self {
        let mut digest = Sha256::new();
        digest.update(seed.to_le_bytes());
        digest.update((index as u64).to_le_bytes());
        let drawn = digest.finalize();
        // One bit per method, with neither none nor all of them set.
        let mask = 1 + drawn[0] % ((1 << METHODS.len()) - 2);
        let methods = METHODS.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
        Self {
            name: format!("storm-{index:0width$}"),
            package: format!("n{index:0width$}"),
            methods: methods.map(|(_, method)| *method).collect(),
            word: drawn[1..5].iter().map(|byte| format!("{byte:02x}")).collect(),
            seed,
        }
    }

    /// Path of the archive on the server: `/bundles/storm-07.tar.gz`.
    pub fn path(&self) -> String {
        format!("/bundles/{}.tar.gz", self.name)
    }

    /// Path of the decision below `data`: `storm/n07/allow`.
    pub fn decision(&self) -> String {
        format!("storm/{}/allow", self.package)
    }

    /// One generation of the bundle: `.manifest` with root and revision, one policy, one data file.
    pub fn archive(&self, generation: u64) -> Archive {
        let Self { package, .. } = self;
        let manifest = json!({
            "revision": self.revision(generation),
            "roots": [format!("storm/{package}")],
            "rego_version": 1,
        });
        let data = json!({ "methods": self.methods, "segment": self.segment(generation) });
        let policy = format!(
            "# Allows some methods below one path segment; both are data.\n\
             package storm.{package}\n\
             \n\
             default allow := false\n\
             \n\
             allow if {{\n\
             \tinput.attributes.request.http.method in data.storm.{package}.methods\n\
             \tinput.parsed_path[0] == data.storm.{package}.segment\n\
             }}\n"
        );
        Archive::new()
            .file(".manifest", manifest.to_string())
            .file(&format!("storm/{package}/policy.rego"), policy)
            .file(&format!("storm/{package}/data.json"), data.to_string())
    }

    /// Revision of a generation: `storm-07-seed-1-generation-3`.
    pub fn revision(&self, generation: u64) -> String {
        format!("{}-seed-{}-generation-{generation}", self.name, self.seed)
    }

    /// A method and a path that this generation allows, and no other one.
    pub fn allowed(&self, generation: u64) -> (&'static str, String) {
        (self.methods[0], format!("/{}/item", self.segment(generation)))
    }

    /// A method and a path that this generation denies: the path of [`Self::allowed`] with another method.
    pub fn denied(&self, generation: u64) -> (&'static str, String) {
        let other = METHODS.iter().find(|method| !self.methods.contains(method)).expect("never all methods");
        (other, self.allowed(generation).1)
    }

    fn segment(&self, generation: u64) -> String {
        format!("{}-{generation}", self.word)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use portcullis_filter::{
        config::{ClusterTarget, Config, Scheme},
        policy::{EvaluationLimits, Module, Moment, Part, Policy, RegoVersion, Value as Rego, parse_json},
    };

    use super::*;
    use crate::servers::client::Request;

    #[test]
    fn the_same_seed_gives_the_same_storm_and_another_gives_another() {
        assert_eq!(Storm::new(50, 7), Storm::new(50, 7));
        for (one, other) in Storm::new(50, 7).bundles().iter().zip(Storm::new(50, 8).bundles()) {
            assert_ne!(one.archive(1).build(), other.archive(1).build());
        }
        // Schedules that name a storm by its seed must find the same one for ever.
        let storm = Storm::new(50, 1);
        assert_eq!(storm.bundles()[0].allowed(3), ("GET", "/bbd8ca52-3/item".to_owned()));
    }

    #[test]
    fn names_are_distinct_and_sort_in_order() {
        for count in [1, 50, 100, 101, 1200] {
            let storm = Storm::new(count, 1);
            let names: BTreeSet<_> = storm.bundles().iter().map(|bundle| bundle.name.as_str()).collect();
            assert_eq!(names.len(), count);
            assert!(storm.bundles().iter().map(|bundle| bundle.name.as_str()).eq(names));
        }
        assert_eq!(Storm::new(50, 1).bundles()[7].decision(), "storm/n07/allow");
    }

    #[test]
    fn each_generation_decides_as_it_says() {
        for bundle in Storm::new(20, 3).bundles() {
            for generation in [1, 2] {
                let archive = bundle.archive(generation);
                assert_eq!(decide(bundle, &archive, &bundle.allowed(generation)), Some(Rego::from(true)));
                for refused in [bundle.denied(generation), bundle.allowed(generation + 1)] {
                    assert_eq!(decide(bundle, &archive, &refused), Some(Rego::from(false)), "{refused:?}");
                }
            }
        }
    }

    #[test]
    fn the_document_names_what_is_published() {
        let (storm, server) = (Storm::new(12, 5), BundleServer::start().unwrap());
        storm.publish(&server, 1);
        let document = storm.document(&server.url(""));
        assert_eq!(document["services"]["storm"]["url"], server.url(""));
        for bundle in storm.bundles() {
            let resource = document["bundles"][&bundle.name]["resource"].as_str().unwrap();
            let response = Request::get(format!("/{resource}")).send(server.addr()).unwrap();
            assert_eq!(response.body, bundle.archive(1).build());
            let policy = &document["portcullis"]["policies"][&bundle.name];
            assert_eq!(policy, &json!({ "bundles": [bundle.name], "decision": bundle.decision() }));
        }
    }

    #[test]
    fn the_document_is_a_configuration_of_the_filter() {
        let document = Storm::new(12, 5).document("http://127.0.0.1:8080");
        let config = Config::parse(document.to_string().as_bytes()).unwrap();
        let target = ClusterTarget::Origin { scheme: Scheme::Http, host: "127.0.0.1".into(), port: 8080 };
        assert_eq!(config.clusters[SERVICE], target);
        assert_eq!((config.bundles.len(), config.policies.len()), (12, 12));
        assert_eq!(config.bundles["storm-07"].path, "/bundles/storm-07.tar.gz");
    }

    fn decide(bundle: &StormBundle, archive: &Archive, request: &(&str, String)) -> Option<Rego> {
        let (method, path) = request;
        let root = format!("/storm/{}", bundle.package);
        let text =
            |file: &str| str::from_utf8(archive.get(&format!("{root}/{file}")).unwrap()).unwrap().to_owned();
        let own: Value = serde_json::from_str(&text("data.json")).unwrap();
        let data = json!({ "storm": { &bundle.package: own } });
        let segments: Vec<_> = path.trim_start_matches('/').split('/').collect();
        let input = json!({
            "attributes": { "request": { "http": { "method": method, "path": path } } },
            "parsed_path": segments,
        });
        let module = Module::parse("policy.rego".to_owned(), text("policy.rego"), RegoVersion::V1).unwrap();
        let data = parse_json(&data.to_string()).unwrap();
        let part = Part { bundle: &bundle.name, roots: &[], modules: &[module], data: &data };
        let policy = Policy::compile(&bundle.decision(), &[part], EvaluationLimits::default()).unwrap();
        policy.evaluate(parse_json(&input.to_string()).unwrap(), Moment::default()).unwrap()
    }
}
