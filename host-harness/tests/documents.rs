//! Plugin configurations of every kind, good and bad: nothing secret of them is told, and whoever reads one reads the same.

use std::{fs, process::Command};

use host_harness::{
    FILTER_MODULE,
    abi::{Module, Runtime},
    envoy::{Envoy, EnvoyOptions, Request},
    real_envoy::{BootstrapOptions, PolicyRoute, bootstrap, to_yaml},
    world::{Reply, Scripted},
};
use portcullis_filter::config::Config;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use serde_json::{Value, json};

/// What must not be told, as text and as a number.
const SECRETS: [&str; 2] = ["S3cr3t-hunter2", "918273645564738291"];

#[test]
fn no_output_has_a_secret_of_a_configuration_that_is_malformed() {
    let documents = malformed();
    assert!(documents.len() >= 200, "{}", documents.len());
    let folder = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for (index, document) in documents.iter().enumerate() {
        assert!(SECRETS.iter().any(|secret| document.contains(secret)), "{document}");
        let mut reported = match Config::parse(document.as_bytes()) {
            Ok(_) => String::new(),
            Err(error) => {
                refused += 1;
                format!("{error}\n{error:?}\n")
            }
        };
        let file = folder.path().join(format!("{index}.yaml"));
        fs::write(&file, document).unwrap();
        reported += &command(&["check", "--config", file.to_str().unwrap()]);
        assert_untold(document, &reported);
    }
    assert!(refused >= 200, "only {refused} of {} are malformed", documents.len());
    // What the filter itself logs and answers, for some of each kind.
    for document in documents.iter().step_by(4) {
        let mut envoy = start(document.as_bytes());
        let answer = envoy.exchange(0, Request::new("GET", "/health?detail"));
        assert_untold(document, &format!("{:?} {answer:?}", envoy.logs()));
    }
}

#[test]
fn no_output_has_a_secret_of_a_configuration_that_is_good() {
    let document = good("http://hub.test").to_string();
    for reply in [
        Reply::status(401),
        Reply::status(302).with_header("location", "http://elsewhere"),
        Reply::body("no archive"),
        Reply::status(404),
    ] {
        let world = Scripted::new().script("hub", move |_, _| reply.clone());
        let mut envoy = with_world(document.as_bytes(), world);
        let answers = ["/health?detail", "/health?bundles", "/"]
            .map(|path| envoy.exchange(0, Request::new("GET", path)));
        assert_untold(&document, &format!("{:?} {answers:?} {:?}", envoy.logs(), envoy.metrics()));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("good.json");
    fs::write(&file, &document).unwrap();
    let reported = command(&["check", "--config", file.to_str().unwrap()]);
    assert!(reported.contains("good"), "{reported}");
    assert_untold(&document, &reported);
}

#[test]
fn check_envoy_config_and_the_filter_agree_on_what_a_document_is() {
    let mut random = ChaCha8Rng::seed_from_u64(12);
    let mut envoy = start(good("http://hub.test").to_string().as_bytes());
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..10_000 {
        let (value, text) = any_document(&mut random);
        let config = Config::parse(text.as_bytes());
        match &config {
            Ok(config) => {
                taken += 1;
                let names: Vec<String> = config.policies.keys().cloned().collect();
                assert_eq!(names, keys(&value["portcullis"]["policies"]), "{text}");
                assert_eq!(
                    config.bundles.keys().cloned().collect::<Vec<_>>(),
                    keys(&value["bundles"]),
                    "{text}"
                );
                assert_written(config, &text, names);
            }
            Err(_) => refused += 1,
        }
        // The module reads it as well: on the main thread, where each configuration is tried first.
        let before = envoy.logs().len();
        let _ = envoy.update_plugin("portcullis", text.as_bytes());
        let said = |line: &str| envoy.logs()[before..].iter().any(|log| log.message.contains(line));
        let expected = match &config {
            Ok(config) => {
                format!("configuration: {} bundles, {} policies", config.bundles.len(), config.policies.len())
            }
            Err(error) => format!("configuration: {}", portcullis_filter::plugin::refusal(error)),
        };
        assert!(said(&expected), "{expected}: {:?}\n{text}", &envoy.logs()[before..]);
        envoy.run_for(std::time::Duration::from_millis(1));
    }
    assert!(taken > 3_000 && refused > 1_000, "{taken} taken, {refused} refused");
}

/// What `envoy-config` writes is read back as it was meant.
fn assert_written(config: &Config, text: &str, policies: Vec<String>) {
    let mut options =
        BootstrapOptions::new("m.wasm", text, std::net::SocketAddr::from(([127, 0, 0, 1], 9)).into());
    options.routes =
        policies.into_iter().map(|policy| PolicyRoute { prefix: format!("/{policy}/"), policy }).collect();
    let written = bootstrap(config, &options);
    let yaml = to_yaml(&written);
    assert_eq!(yaml_serde::from_str::<Value>(&yaml).unwrap(), written, "{yaml}");
}

fn keys(value: &Value) -> Vec<String> {
    let mut keys: Vec<String> =
        value.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default();
    keys.sort();
    keys
}

fn assert_untold(document: &str, reported: &str) {
    for secret in SECRETS {
        assert!(!reported.contains(secret), "{document}\n{reported}");
    }
}

fn command(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn start(document: &[u8]) -> Envoy<Scripted> {
    with_world(document, Scripted::new())
}

fn with_world(document: &[u8], world: Scripted) -> Envoy<Scripted> {
    thread_local! {
        static MODULE: Module = Module::load(&Runtime::new().unwrap(), FILTER_MODULE).unwrap();
    }
    let mut options = EnvoyOptions { concurrency: 1, ..EnvoyOptions::default() };
    options.plugin.configuration = document.to_vec();
    options.plugin.name = "portcullis".to_owned();
    let mut envoy = MODULE.with(|module| Envoy::start(module, options, world)).unwrap();
    envoy.run_for(std::time::Duration::from_secs(1));
    envoy
}

/// A good document with a secret wherever one may stand.
fn good(url: &str) -> Value {
    let secret = SECRETS[0];
    json!({
        "services": { "hub": {
            "url": url, "cluster": "hub",
            "headers": { "x-key": secret },
            "credentials": { "bearer": { "token": secret } },
        } },
        "bundles": { "b": { "resource": format!("b.tar.gz?signature={secret}") } },
        "portcullis": {
            "policies": { "p": { "bundles": ["b"], "decision": "p/allow" } },
            "health": { "path": "/health", "detail": true },
        },
    })
}

/// Documents with a secret in each place, of each type, and with each slip of the pen.
fn malformed() -> Vec<String> {
    let places = [
        "/services",
        "/services/hub",
        "/services/hub/url",
        "/services/hub/cluster",
        "/services/hub/headers",
        "/services/hub/headers/x-key",
        "/services/hub/credentials",
        "/services/hub/credentials/bearer",
        "/services/hub/credentials/bearer/token",
    ];
    let [text, number] = SECRETS;
    let digits: u64 = number.parse().unwrap();
    let values = [
        json!(text),
        json!(digits),
        json!(-1.5e-7 * digits as f64),
        json!([text]),
        json!([[text], digits]),
        json!({ text: text }),
        json!({ text: { "a": digits } }),
        json!({ "a": text, "token": digits, "scheme": [text], "bearer": text }),
        json!(format!("http://u:{text}@hub.test:99999")),
        json!(format!("{text}\u{0}")),
    ];
    let mut documents = Vec::new();
    for place in places {
        // What a service is called is no secret.
        for value in values.iter().filter(|value| place != "/services" || !value.is_object()) {
            let mut document = good("http://hub.test");
            *document.pointer_mut(place).unwrap() = value.clone();
            // Another fault elsewhere, so that none is told as good.
            document["portcullis"]["limits"] = json!({ "evaluation_ms": 0 });
            documents.push(document.to_string());
            documents.push(yaml_serde::to_string(&document).unwrap());
        }
    }
    let urls = [
        "http://u:SECRET@hub.test",
        "http://SECRET@hub.test",
        "u:SECRET@hub.test",
        "http:/u:SECRET@",
        "SECRET://hub.test",
        "http://hub.test:SECRET",
        "http://u:SECRET@[::1",
        "//u:SECRET@hub.test",
        "http://u:SECRET@hub.test/#SECRET",
        "SECRET",
        "http://hub.test/#SECRET",
        "ftp://u:SECRET@hub.test",
    ];
    for url in urls {
        let url = url.replace("SECRET", text);
        documents.push(good(&url).to_string());
        let mut bundle = good("http://hub.test");
        bundle["bundles"]["b"] = json!(url);
        documents.push(bundle.to_string());
        bundle["bundles"]["b"] = json!({ "url": url, "service": "hub" });
        documents.push(bundle.to_string());
    }
    // Slips of the pen in text.
    let slips = [
        "{token:SECRET}",
        "{SECRET}",
        "{token: SECRET, token: SECRET}",
        "{token: \"SECRET}",
        "{token: 'SECRET}",
        "{token: *SECRET}",
        "{token: !SECRET x}",
        "{token: &SECRET [SECRET}",
        "[SECRET",
        "{token: SECRET, scheme: [SECRET]}",
        "{token: {SECRET: 1, SECRET: 2}}",
        "{token: {SECRET: {a: 1, a: 2}}}",
        "{? SECRET : SECRET}",
        "{token: SECRET: SECRET}",
        "{\"token\": \"SECRET\\ud83d\"}",
        "{tokens: SECRET}",
        "{token: @SECRET}",
        "{token: `SECRET`}",
        "{token: %SECRET}",
        "{token: SECRET\u{0}}",
        "{token: \"\\SECRET\"}",
        "{token: SECRET, SECRET: x}",
        "|SECRET",
        ">\n SECRET\n\tSECRET",
        "- SECRET",
        "{token: [SECRET, {token: SECRET}]}",
    ];
    for slip in slips {
        let slip = slip.replace("SECRET", text);
        for (before, after) in [
            ("services: {hub: {url: \"http://h\", cluster: c, credentials: {bearer: ", "}}}\nx: 1\n"),
            ("services: {hub: {url: \"http://h\", cluster: c, headers: ", "}}\nx: 1\n"),
            ("services:\n  hub:\n    url: http://h\n    credentials:\n      bearer: ", "\nx: 1\n"),
        ] {
            documents.push(format!("{before}{slip}{after}"));
        }
    }
    documents
}

/// Names that some reader takes for something else than text, or that have characters of every kind.
const NAMES: &[&str] = &[
    "on",
    "off",
    "yes",
    "no",
    "y",
    "n",
    "Y",
    "NO",
    "true",
    "null",
    "010",
    "0x1F",
    "1e3",
    "1_000",
    "12",
    "a",
    "b-c",
    "a/b",
    "_",
    "-",
    "~",
    "",
    "a b",
    "é",
    "😀",
    "a.b",
    "<<",
    "=",
    "@",
    "a:b",
    "#a",
    "'",
    "\"",
    "\\",
    "{",
    "a\nb",
    "\u{85}",
    "\u{feff}a",
    "\u{7f}",
];

/// A document, and a text of it that is JSON or YAML.
fn any_document(random: &mut ChaCha8Rng) -> (Value, String) {
    fn any<'a>(random: &mut ChaCha8Rng, from: &[&'a str]) -> &'a str {
        from[random.random_range(0..from.len())]
    }
    // Most names can be used.
    let name = |random: &mut ChaCha8Rng| {
        let usable = if random.random_range(0..12) > 0 { 18 } else { NAMES.len() };
        any(random, &NAMES[..usable]).to_owned()
    };
    let mut document = json!({ "services": {}, "bundles": {}, "portcullis": { "policies": {} } });
    let service = name(random);
    document["services"][&service] = json!({ "url": "https://hub.test/x", "cluster": name(random) });
    for _ in 0..random.random_range(1..4) {
        let bundle = name(random);
        document["bundles"][&bundle] = match random.random_range(0..4) {
            0 => json!("https://hub.test/x/y?z=\u{e9}"),
            1 => json!({}),
            _ => json!({ "service": service, "resource": name(random) }),
        };
    }
    let bundles = keys(&document["bundles"]);
    for _ in 0..random.random_range(1..4) {
        let bundle = bundles[random.random_range(0..bundles.len())].clone();
        let bundle = if random.random_range(0..20) > 0 { bundle } else { name(random) };
        let policy = name(random);
        document["portcullis"]["policies"][&policy] = json!({ "bundles": [bundle], "decision": "a/b" });
    }
    match random.random_range(0..10) {
        0 => document["portcullis"][name(random)] = json!(1),
        1 => document["portcullis"]["default_policy"] = json!(name(random)),
        2 => document["services"][&service]["headers"] = json!({ "x-a": name(random) }),
        3 => {
            document["bundles"][&bundles[0]] =
                json!({ "polling": { "min_delay_seconds": "on", "max_delay_seconds": 1 } })
        }
        4 => document["services"][&service]["headers"] = json!({ "k".repeat(2000): "v".repeat(2000) }),
        _ => {}
    }
    let text = match random.random_range(0..5) {
        0 => document.to_string(),
        1 => format!("\u{feff}{}", serde_json::to_string_pretty(&document).unwrap()),
        // As other writers of JSON do: what is not ASCII is escaped, with pairs of surrogates.
        2 => ascii(&document.to_string()),
        3 => to_yaml(&document),
        _ => yaml_serde::to_string(&document).unwrap(),
    };
    // YAML has shorter keys.
    let is_long = text.len() > 2000 && !text.trim_start_matches('\u{feff}').starts_with('{');
    if is_long { (document.clone(), document.to_string()) } else { (document, text) }
}

fn ascii(json: &str) -> String {
    let mut text = String::new();
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                text += &format!("\\u{unit:04x}");
            }
        }
    }
    text
}
