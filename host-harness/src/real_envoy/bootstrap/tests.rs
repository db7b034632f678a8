//! The shape of the configuration; that Envoy takes it is shown in `tests/real_envoy.rs`.

use std::{collections::BTreeMap, time::Duration};

use portcullis_filter::config::{BodyLimits, BundleSource, InputConfig, Limits, ManagerConfig, PolicyConfig};

use super::*;

const HCM: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";

#[test]
fn the_seal_stands_between_the_filter_and_the_router() {
    let sealed = bootstrap(&config(&[], 1), &options());
    const FILTER: &str = "envoy.filters.http.wasm";
    let expected =
        [FILTER, "portcullis.choose_route", FILTER, "envoy.filters.http.rbac", "envoy.filters.http.router"];
    assert_eq!(filter_names(&sealed), expected);
    let open = bootstrap(&config(&[], 1), &BootstrapOptions { seal: false, ..options() });
    assert_eq!(filter_names(&open), [FILTER, "envoy.filters.http.router"]);
}

#[test]
fn the_seal_asks_for_the_filter_state_that_the_filter_sets() {
    let sealed = bootstrap(&config(&[], 1), &options());
    let rules = &sealed.pointer(HCM).unwrap()["http_filters"][3]["typed_config"]["rules"];
    assert_eq!(rules["action"], "ALLOW");
    let state = &rules["policies"]["portcullis-permit"]["principals"][0]["filter_state"];
    assert_eq!(state["key"], format!("wasm.{SEAL_KEY}"));
    assert_eq!(state["string_match"]["exact"], SEAL_VALUE);
}

#[test]
fn the_document_reaches_the_plugin_byte_for_byte() {
    let document = "bundles:\n  a: \"http://x/\\u00e9\"\n# \u{e9} 'quotes' \"and\" \\backslashes\\\n\ttab\n";
    let written =
        bootstrap(&config(&[], 1), &BootstrapOptions { document: document.to_owned(), ..options() });
    let read_back: Value = yaml_serde::from_str(&to_yaml(&written)).unwrap();
    assert_eq!(read_back, written);
    let plugin = &read_back.pointer(HCM).unwrap()["http_filters"][0]["typed_config"]["config"];
    assert_eq!(plugin["configuration"]["value"], document);
}

#[test]
fn every_cluster_is_written_as_its_target_needs() {
    let written = bootstrap(
        &config(
            &[
                ("any", ClusterTarget::AnyHost { scheme: Scheme::Http }),
                ("any_tls", ClusterTarget::AnyHost { scheme: Scheme::Https }),
                ("ip", origin(Scheme::Http, "10.0.0.1", 80)),
                ("ip_tls", origin(Scheme::Https, "::1", 443)),
                ("name", origin(Scheme::Http, "bundles.internal", 8080)),
                ("name_tls", origin(Scheme::Https, "bundles.example", 443)),
            ],
            1,
        ),
        &options(),
    );
    let clusters = by_name(&written);

    assert_eq!(clusters["ip"]["type"], "STATIC");
    assert_eq!(clusters["name"]["type"], "STRICT_DNS");
    assert_eq!(endpoint(&clusters["name"]), ("bundles.internal".to_owned(), 8080));
    for plain in ["any", "ip", "name"] {
        assert_eq!(clusters[plain].get("transport_socket"), None, "{plain}");
    }

    let tls = |name: &str| clusters[name]["transport_socket"]["typed_config"].clone();
    let san = |name: &str| {
        tls(name)["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"].clone()
    };
    assert_eq!(tls("name_tls")["sni"], "bundles.example");
    assert_eq!(san("name_tls"), json!([{ "san_type": "DNS", "matcher": { "exact": "bundles.example" } }]));
    assert_eq!(tls("ip_tls").get("sni"), None);
    assert_eq!(san("ip_tls"), json!([{ "san_type": "IP_ADDRESS", "matcher": { "exact": "::1" } }]));
    for verified in ["any_tls", "ip_tls", "name_tls"] {
        let authority = &tls(verified)["common_tls_context"]["validation_context"]["trusted_ca"]["filename"];
        assert_eq!(authority, SYSTEM_CA_FILE, "{verified}");
    }

    let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let auto =
        &clusters["any_tls"]["typed_extension_protocol_options"][http]["upstream_http_protocol_options"];
    assert_eq!(auto, &json!({ "auto_sni": true, "auto_san_validation": true }));
}

#[test]
fn every_vm_may_download_every_bundle_at_once() {
    let clusters = [("hub", origin(Scheme::Http, "10.0.0.1", 80))];
    for (bundles, concurrency, threshold) in [(3, 2, 1024), (500, 7, 4000)] {
        let written = bootstrap(&config(&clusters, bundles), &BootstrapOptions { concurrency, ..options() });
        let thresholds = &by_name(&written)["hub"]["circuit_breakers"]["thresholds"][0];
        for limit in ["max_connections", "max_pending_requests", "max_requests"] {
            assert_eq!(thresholds[limit], threshold, "{bundles} bundles, {concurrency} workers: {limit}");
        }
    }
}

#[test]
fn callouts_may_be_as_large_as_the_largest_archive_allowed() {
    let mut config = config(&[], 2);
    let limit = |config: &Config| {
        let written = bootstrap(config, &options());
        written.pointer("/layered_runtime/layers/0/static_layer").cloned()
    };
    assert_eq!(limit(&config), None);
    config.bundles.get_mut("b1").unwrap().size_limit_bytes = 1 << 30;
    assert_eq!(limit(&config), Some(json!({ "http.async_response_buffer_limit": 1_u64 << 30 })));
}

#[test]
fn what_a_body_may_have_fits_into_the_buffer() {
    let limit = |max_bytes: Option<usize>| {
        let body = max_bytes.map(|max_bytes| BodyLimits { max_bytes, ..BodyLimits::default() });
        let mut config = config(&[], 1);
        config.input.body = body;
        let bootstrap = bootstrap(&config, &options());
        bootstrap["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"].as_u64().unwrap()
    };
    assert_eq!([None, Some(4096)].map(limit), [1 << 20, 1 << 20]);
    assert!(limit(Some(1 << 20)) > 1 << 20);
}

#[test]
fn routes_come_in_order_and_name_their_policies() {
    let route = |prefix: &str, policy: &str| PolicyRoute { prefix: prefix.into(), policy: policy.into() };
    let options = BootstrapOptions { routes: vec![route("/b", "two"), route("/a/", "one")], ..options() };
    let written = bootstrap(&config(&[], 1), &options);
    let routes =
        written.pointer(HCM).unwrap()["route_config"]["virtual_hosts"][0]["routes"].as_array().unwrap();
    let seen: Vec<_> = routes
        .iter()
        .map(|route| {
            let policy = &route["metadata"]["filter_metadata"]["portcullis"]["policy"];
            (route["match"].clone(), policy.as_str())
        })
        .collect();
    let (b, a) = (
        json!({ "prefix": "/b", "case_sensitive": false }),
        json!({ "path_separated_prefix": "/a", "case_sensitive": false }),
    );
    assert_eq!(seen, [(b, Some("two")), (a, Some("one")), (json!({ "prefix": "/" }), None)]);
}

#[test]
fn a_cluster_of_our_upstreams_name_keeps_it() {
    let written =
        bootstrap(&config(&[(UPSTREAM_CLUSTER, origin(Scheme::Http, "10.9.9.9", 1))], 1), &options());
    let clusters = by_name(&written);
    assert_eq!(endpoint(&clusters[UPSTREAM_CLUSTER]), ("10.9.9.9".to_owned(), 1));
    assert_eq!(endpoint(&clusters["portcullis_upstream_"]), ("127.0.0.1".to_owned(), 8081));
    let routes = &written.pointer(HCM).unwrap()["route_config"]["virtual_hosts"][0]["routes"];
    assert_eq!(routes[0]["route"]["cluster"], "portcullis_upstream_");
}

#[test]
fn admin_is_there_only_when_asked_for() {
    assert_eq!(bootstrap(&config(&[], 1), &options()).get("admin"), None);
    let asked = BootstrapOptions { admin: Some(([127, 0, 0, 1], 9901).into()), ..options() };
    let written = bootstrap(&config(&[], 1), &asked);
    assert_eq!(written["admin"]["address"], address("127.0.0.1", 9901));
}

fn options() -> BootstrapOptions {
    let upstream = Upstream { host: "127.0.0.1".into(), port: 8081 };
    BootstrapOptions::new("/filter.wasm", "bundles: {}", upstream)
}

fn origin(scheme: Scheme, host: &str, port: u16) -> ClusterTarget {
    ClusterTarget::Origin { scheme, host: host.to_owned(), port }
}

/// A configuration with these clusters and bundles `b0`, `b1`, …
fn config(clusters: &[(&str, ClusterTarget)], bundles: usize) -> Config {
    let bundle = BundleSource {
        cluster: "hub".into(),
        scheme: Scheme::Http,
        authority: "bundles.internal".into(),
        path: "/b.tar.gz".into(),
        headers: Vec::new(),
        timeout: Duration::from_secs(10),
        min_delay: Duration::from_secs(60),
        max_delay: Duration::from_secs(120),
        size_limit_bytes: 1024,
    };
    let policy = PolicyConfig { bundles: vec!["b0".into()], decision: "p/allow".into() };
    Config {
        bundles: (0..bundles).map(|index| (format!("b{index}"), bundle.clone())).collect(),
        policies: BTreeMap::from([("p".into(), policy)]),
        default_policy: Some("p".into()),
        clusters: clusters.iter().map(|(name, target)| ((*name).to_owned(), target.clone())).collect(),
        max_concurrent_downloads: 64,
        limits: Limits::default(),
        staleness: BTreeMap::new(),
        health_path: None,
        health_detail: false,
        input: InputConfig::default(),
        labels: BTreeMap::new(),
        paths: Paths::default(),
        manager: ManagerConfig::default(),
    }
}

fn filter_names(bootstrap: &Value) -> Vec<&str> {
    let filters = bootstrap.pointer(HCM).unwrap()["http_filters"].as_array().unwrap();
    filters.iter().map(|filter| filter["name"].as_str().unwrap()).collect()
}

fn by_name(bootstrap: &Value) -> BTreeMap<String, Value> {
    let clusters = bootstrap["static_resources"]["clusters"].as_array().unwrap();
    clusters.iter().map(|cluster| (cluster["name"].as_str().unwrap().to_owned(), cluster.clone())).collect()
}

fn endpoint(cluster: &Value) -> (String, u64) {
    let address = cluster
        .pointer("/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address")
        .unwrap();
    (address["address"].as_str().unwrap().to_owned(), address["port_value"].as_u64().unwrap())
}
