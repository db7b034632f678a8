use super::*;

const GOOD: &str = r#"
services:
  hub: { url: "http://bundles.internal:8080/base", cluster: bundle_hub, credentials: { bearer: { token: t0ken } } }
bundles:
  shop: { service: hub, resource: bundles/shop.tar.gz, polling: { min_delay_seconds: 10, max_delay_seconds: 20 } }
  roles: "http://bundles.internal:8080/base/roles.tar.gz?x=1"
portcullis:
  policies:
    shop: { bundles: [shop, roles], decision: /shop/authz/allow }
"#;

#[test]
fn services_and_plain_urls_become_bundle_sources() {
    let config = Config::parse(GOOD.as_bytes()).unwrap();
    let shop = &config.bundles["shop"];
    assert_eq!((shop.cluster.as_str(), shop.authority.as_str()), ("bundle_hub", "bundles.internal:8080"));
    assert_eq!(shop.path, "/base/bundles/shop.tar.gz");
    assert_eq!(shop.headers, [("authorization".to_owned(), "Bearer t0ken".to_owned())]);
    assert_eq!((shop.min_delay, shop.max_delay), (Duration::from_secs(10), Duration::from_secs(20)));
    assert_eq!(config.bundles["roles"].path, "/base/roles.tar.gz?x=1");
    assert_eq!(config.policies["shop"].decision, "shop/authz/allow");
    assert_eq!(config.default_policy.as_deref(), Some("shop"), "a single policy is the default");
    let target =
        ClusterTarget::Origin { scheme: Scheme::Http, host: "bundles.internal".to_owned(), port: 8080 };
    assert_eq!(config.clusters, BTreeMap::from([("bundle_hub".to_owned(), target)]));
}

#[test]
fn opas_own_document_works_without_our_section() {
    let text = r#"{"services": [{"name": "hub", "url": "https://h", "cluster": "c"}], "labels": {"env": "prod"},
        "bundles": {"authz": {}}, "plugins": {"envoy_ext_authz_grpc": {"addr": ":9191", "path": "test/com.foo.ingress/allow"}}}"#;
    let config = Config::parse(text.as_bytes()).unwrap();
    assert_eq!(config.bundles["authz"].path, "/bundles/authz");
    let policy =
        PolicyConfig { bundles: vec!["authz".to_owned()], decision: "test/com.foo.ingress/allow".to_owned() };
    assert_eq!(config.policies, BTreeMap::from([("default".to_owned(), policy)]));
    assert_eq!(config.default_policy.as_deref(), Some("default"));
}

#[test]
fn credentials_are_sent_below_the_services_own_url_only() {
    let text = GOOD
        .replace("8080/base/roles", "8080/baseless/roles")
        .replace("policies:", "url_cluster: any\n  policies:");
    let roles = &Config::parse(text.as_bytes()).unwrap().bundles["roles"];
    assert_eq!(roles.headers, []);
    assert_eq!(roles.cluster, "any");
}

#[test]
fn every_fault_names_its_key_and_the_cure() {
    let cases: &[(&str, &str, &str, &str)] = &[
        ("cluster: bundle_hub,", "", "services.hub.cluster", "name the Envoy cluster"),
        ("bundle_hub", "bundle_hub, colour: red", "services.hub.colour", "unknown field `colour`"),
        (
            "min_delay_seconds: 10",
            "min_delay_seconds: soon",
            "bundles.shop.polling.min_delay_seconds",
            "it is of kind string, expected u32",
        ),
        ("min_delay_seconds: 10, ", "", "bundles.shop.polling", "give both"),
        ("min_delay_seconds: 10", "min_delay_seconds: 30", "bundles.shop.polling", "is above"),
        ("service: hub", "service: hob", "bundles.shop.service", "there is no service `hob`"),
        (
            "[shop, roles]",
            "[shop, rules]",
            "portcullis.policies.shop.bundles[1]",
            "there is no bundle `rules`",
        ),
        ("[shop, roles]", "[shop, shop]", "portcullis.policies.shop.bundles[1]", "named twice"),
        ("[shop, roles]", "[]", "portcullis.policies.shop.bundles", "there is none"),
        ("/shop/authz/allow", "data.shop.allow", "portcullis.policies.shop.decision", "with slashes"),
        (
            "http://bundles.internal:8080/base/r",
            "http://elsewhere/r",
            "bundles.roles",
            "no service has the origin http://elsewhere",
        ),
        ("http://bundles.internal:8080/base/r", "ftp://elsewhere/r", "bundles.roles", "scheme is neither"),
        ("http://bundles.internal:8080/base/r", "nonsense/r", "bundles.roles", "is not a URL"),
        (
            "http://bundles.internal:8080/base/r",
            "http://bücher.example/r",
            "bundles.roles",
            "international domain name",
        ),
        (
            "http://bundles.internal:8080/base/r",
            "http://u:p@bundles.internal/r",
            "bundles.roles",
            "credentials in a URL",
        ),
        (
            "portcullis:",
            "portcullis:\n  default_policy: shops",
            "portcullis.default_policy",
            "there is no policy `shops`",
        ),
        (
            "portcullis:",
            "portcullis:\n  max_concurrent_downloads: 0",
            "portcullis.max_concurrent_downloads",
            "from 1 to 1024",
        ),
        ("portcullis:", "keys: {k: {}}\nportcullis:", "keys", "signatures are not verified"),
        ("/shop/authz/allow", "\"shop/${RULE}\"", "portcullis.policies.shop.decision", "no environment"),
        ("portcullis:", "labels: {env: \"a ${ENV}\"}\nportcullis:", "labels.env", "no environment"),
        ("bundles/shop.tar.gz", "file:///shop.tar.gz", "bundles.shop.resource", "no disk"),
        ("bundles/shop.tar.gz", "https://a/shop.tar.gz", "bundles.shop.resource", "as `url`"),
        ("portcullis:", "\"@type\": Struct\nportcullis:", "@type", "its `value` alone"),
        (
            "portcullis:",
            "portcullis:\n  metadata_context: {namespaces: [a, b, a]}",
            "portcullis.metadata_context.namespaces[2]",
            "listed twice",
        ),
        (
            "portcullis:",
            "portcullis:\n  route_metadata_context: {namespaces: ['']}",
            "portcullis.route_metadata_context.namespaces[0]",
            "it is empty",
        ),
        (
            "portcullis:",
            "portcullis:\n  metadata_context: {namespace: [a]}",
            "portcullis.metadata_context.namespace",
            "unknown field",
        ),
        (
            "portcullis:",
            "portcullis:\n  source_address: header",
            "portcullis.source_address",
            "`connection` or `trusted_client`",
        ),
        (
            "resource:",
            "signing: {keyid: k}, resource:",
            "bundles.shop.signing",
            "signatures are not verified",
        ),
        ("resource:", "persist: true, resource:", "bundles.shop.persist", "no disk"),
        ("token: t0ken", "token_path: /t", "services.hub.credentials.bearer.token_path", "give `token`"),
        ("portcullis:", "decision_logs: {service: hub}\nportcullis:", "decision_logs", "are not logged"),
        ("portcullis:", "discovery: {name: d}\nportcullis:", "discovery", "is not discovered"),
        (
            "    shop: { bundles: [shop, roles]",
            "    shop: { bundles: [shop] }\n    shop: { bundles: [shop, roles]",
            "portcullis.policies.shop",
            "the key is there twice",
        ),
    ];
    for (from, to, path, message) in cases {
        assert!(GOOD.contains(from), "{from}");
        let error = Config::parse(GOOD.replacen(from, to, 1).as_bytes()).expect_err(path);
        let found = error
            .problems
            .iter()
            .any(|problem| problem.path == *path && problem.to_string().contains(message));
        assert!(found, "{path} / {message}: {error}");
        assert!(error.problems.iter().all(|problem| !problem.cure.is_empty()), "{error}");
    }
}

#[test]
fn several_faults_are_told_together() {
    let text = GOOD.replace("/shop/authz/allow", "data.shop.allow").replace("[shop, roles]", "[shop, rules]");
    assert_eq!(Config::parse(text.as_bytes()).unwrap_err().problems.len(), 2);
}

#[test]
fn documents_that_are_none_are_refused_in_short() {
    for text in ["", "   \n", "null", "{}", "[]", "just text", "{", "a: [", "\u{0}", "%YAML 9"] {
        let error = Config::parse(text.as_bytes()).unwrap_err();
        assert!(!error.problems.is_empty(), "{text:?}");
    }
    assert!(Config::parse(b"\xff\xfe").unwrap_err().to_string().contains("not UTF-8"));
    for garbage in
        ["x".repeat(1 << 20), "[".repeat(1 << 20), "- {a: *b}\n".repeat(100_000), "{\"a\":".repeat(200_000)]
    {
        let message = Config::parse(garbage.as_bytes()).unwrap_err().to_string();
        assert!(message.len() < 1000, "{} bytes", message.len());
    }
}

#[test]
fn an_alias_bomb_is_refused_before_it_expands() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(Config::parse(text.as_bytes()).is_err());
}

#[test]
fn no_message_has_a_secret() {
    const SECRET: &str = "S3cr3t-hunter2";
    let cases = [
        ("{ bearer: { token: t0ken } }", "{ bearer: S3cr3t-hunter2 }"),
        ("{ bearer: { token: t0ken } }", "{ bearer: { token:S3cr3t-hunter2 } }"),
        ("{ bearer: { token: t0ken } }", "{ bearer: { S3cr3t-hunter2 } }"),
        ("{ bearer: { token: t0ken } }", "{ bearer: { token: { S3cr3t-hunter2: 1, S3cr3t-hunter2: 2 } } }"),
        ("{ bearer: { token: t0ken } }", "{ bearer: { token: { S3cr3t-hunter2: { a: 1, a: 2 } } } }"),
        ("{ bearer: { token: t0ken } }", "{ bearer: { token: [S3cr3t-hunter2 } }"),
        ("{ bearer: { token: t0ken } }", "S3cr3t-hunter2"),
        ("{ bearer: { token: t0ken } }", "[S3cr3t-hunter2]"),
        ("credentials: { bearer: { token: t0ken } }", "credentials:S3cr3t-hunter2"),
        ("credentials: { bearer: { token: t0ken } }", "S3cr3t-hunter2: 1"),
        ("credentials: { bearer: { token: t0ken } }", "headers: { \"authorization:Bearer S3cr3t-hunter2\" }"),
        (
            "credentials: { bearer: { token: t0ken } }",
            "headers: { \"authorization:Bearer S3cr3t-hunter2\": \"\" }",
        ),
        ("credentials: { bearer: { token: t0ken } }", "headers: { x-key: \"S3cr3t-hunter2\\n\" }"),
        ("credentials: { bearer: { token: t0ken } }", "headers: S3cr3t-hunter2"),
        ("http://bundles.internal:8080/base\"", "http://u:S3cr3t-hunter2@bundles.internal:99999/base\""),
        ("http://bundles.internal:8080/base\"", "S3cr3t-hunter2://bundles.internal:8080/base\""),
        ("http://bundles.internal:8080/base/r", "https//u:S3cr3t-hunter2@h/r"),
        ("http://bundles.internal:8080/base/r", "http://u:S3cr3t-hunter2@h/r"),
        ("url: \"http://bundles.internal:8080/base\"", "url: { S3cr3t-hunter2: 1 }"),
        ("services:", "services: S3cr3t-hunter2\nx:"),
    ];
    for (from, to) in cases {
        assert!(GOOD.contains(from), "{from}");
        let error = Config::parse(GOOD.replacen(from, to, 1).as_bytes()).expect_err(to).to_string();
        assert!(!error.contains(SECRET), "{to}: {error}");
    }
    let number = GOOD.replacen("t0ken", "{ 918273645564738291: { a: 1, a: 2 } }", 1);
    let error = Config::parse(number.as_bytes()).expect_err("a key is there twice").to_string();
    assert!(!error.contains("918273645564738291"), "{error}");
}

#[test]
fn an_evaluation_has_limits_that_can_be_set_within_bounds() {
    assert_eq!(Config::parse(GOOD.as_bytes()).unwrap().limits.evaluation, EvaluationLimits::default());
    let with = |limits: &str| Config::parse(format!("{GOOD}  limits: {{ {limits} }}\n").as_bytes());
    let all = "evaluation_steps: 7, evaluation_bytes: 8, evaluation_depth: 9, evaluation_ms: 10";
    let expected = EvaluationLimits { steps: 7, bytes: 8, depth: 9, time: Duration::from_millis(10) };
    assert_eq!(with(all).unwrap().limits.evaluation, expected);
    for (key, too_much) in [
        ("evaluation_steps", "1000000001"),
        ("evaluation_bytes", "268435457"),
        ("evaluation_depth", "20001"),
        ("evaluation_ms", "10001"),
    ] {
        for value in ["0", too_much] {
            let error = with(&format!("{key}: {value}")).unwrap_err().to_string();
            assert!(error.contains(&format!("portcullis.limits.{key}: {value} is out of bounds")), "{error}");
        }
    }
}
