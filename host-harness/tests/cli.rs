//! The `portcullis` command as a person runs it, and what the README says of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use host_harness::{FILTER_MODULE, FILTER_MODULE_SHA256, real_envoy};
use portcullis_filter::config::Config;
use serde_json::Value;

/// The most that the module may weigh: V8 compiles each megabyte for about a second when Envoy starts.
const MODULE_LIMIT_BYTES: usize = 4_450_000;

#[test]
fn the_demo_in_the_harness_is_as_expected_and_as_the_readme_shows_it() {
    let output = portcullis(&["demo"]);
    assert!(output.status.success(), "{}", shown(&output));
    let rows = table_rows(&text(&output));
    assert!(rows.len() > 10, "{}", shown(&output));
    assert_eq!(
        rows,
        table_rows(&marked(&readme(), "demo")),
        "the README shows another table than the demo prints"
    );
}

#[test]
fn the_demo_as_json_tells_how_it_loads_in_the_harness() {
    assert_demo(&["demo", "--json"]);
}

#[test]
fn the_demo_as_json_tells_how_it_loads_in_real_envoy() {
    assert_demo(&["demo", "--envoy", "--json"]);
}

#[test]
fn the_race_commands_of_the_readme_end_as_it_says_and_its_picture_is_of_their_run() {
    let readme = marked(&readme(), "race");
    let commands: Vec<&str> = readme.lines().filter(|line| line.starts_with("cargo run")).collect();
    assert_eq!(commands.len(), 3, "{readme}");
    for command in commands {
        let (command, comment) = command.split_once(" # ").expect("a comment says how it ends");
        let arguments: Vec<&str> =
            command.split_whitespace().skip_while(|word| *word != "--").skip(1).collect();
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .current_dir(root())
            .args(arguments)
            .output()
            .unwrap();
        let code = output.status.code().map(|code| code.to_string()).unwrap_or_default();
        assert!(comment.trim().ends_with(&format!("ends with {code}")), "{command}\n{}", shown(&output));
    }
    let race = root().join("host-harness/races/stale-after-preempt.race");
    let output = portcullis(&["render", race.to_str().unwrap(), "--format", "svg"]);
    let picture = fs::read_to_string(race.with_extension("svg")).unwrap();
    assert_eq!(text(&output), picture, "render it again: `portcullis render … --format svg --out …`");
}

fn assert_demo(arguments: &[&str]) {
    let output = portcullis(arguments);
    assert!(output.status.success(), "{}", shown(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |key: &str| report[key].as_u64().unwrap_or_else(|| panic!("no {key} in {report}"));
    assert_eq!((number("bundles"), number("answer_delay_ms")), (50, 50));
    // How many at once depends on the machine; that it can be all is tested with answers that are held.
    assert!(number("max_in_flight") >= 1, "{report}");
    assert_eq!(number("module_bytes"), FILTER_MODULE.len() as u64);
    // The clock begins when Envoy is up, and downloads may have begun before on a busy machine.
    assert!(number("one_by_one_ms") > 0 && number("ready_ms") > 0, "{report}");
    let requests = report["requests"].as_array().unwrap();
    for (status, reason) in
        [(200, "allow"), (403, "denied"), (403, "undefined"), (503, "not_ready"), (400, "bad_header")]
    {
        let found = requests
            .iter()
            .any(|row| row["status"] == status && row["reason"] == reason && row["name"].is_string());
        assert!(found, "no {status} {reason} in {report}");
    }
}

#[test]
fn the_module_is_light_enough_and_the_version_names_it() {
    assert!(FILTER_MODULE.len() <= MODULE_LIMIT_BYTES, "{} bytes", FILTER_MODULE.len());
    let version = text(&portcullis(&["--version"]));
    let expected = format!(
        "portcullis {} (module sha256:{FILTER_MODULE_SHA256}, {} bytes)\n",
        env!("CARGO_PKG_VERSION"),
        FILTER_MODULE.len()
    );
    assert_eq!(version, expected);
}

#[test]
fn the_filter_command_writes_the_module() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.wasm");
    let output = portcullis(&["filter", "--out", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(fs::read(path).unwrap(), FILTER_MODULE);
}

#[test]
fn check_accepts_the_configuration_in_the_readme_and_shows_what_it_means() {
    let output = check(&readme_configuration());
    assert!(output.status.success(), "{}", shown(&output));
    let text = text(&output);
    assert!(
        text.contains(
            "bundle roles: http://bundles.internal:8080/bundles/roles.tar.gz through cluster bundle_hub"
        ),
        "{text}"
    );
    assert!(text.contains("policy shop (default): shop/authz/allow of shop, roles"), "{text}");
}

#[test]
fn check_refuses_what_is_wrong_with_the_key_and_the_cure() {
    let good = readme_configuration();
    let cases = [
        (
            good.replace("resource:", "resauce:"),
            "bundles.shop.resauce: unknown field `resauce`",
            "check the spelling",
        ),
        (
            good.replace("min_delay_seconds: 10", "min_delay_seconds: ten"),
            "bundles.shop.polling.min_delay_seconds: it is of kind string",
            "give a value of that kind",
        ),
        (
            good.replace("    cluster: bundle_hub", ""),
            "services.hub.cluster: it is missing",
            "name the Envoy cluster",
        ),
        (
            good.replace("    tenants: { b", "    shop: { b"),
            "portcullis.policies.shop: the key is there twice",
            "keep one of the two",
        ),
        (
            good.replace("[shop, roles]", "[shop, rolls]"),
            "portcullis.policies.shop.bundles[1]: there is no bundle `rolls`",
            "add `bundles.rolls`",
        ),
        (String::new(), "the document: the document is empty", "give at least `bundles`"),
        ("garbage {[ ".repeat(100_000), "the document: ", "give well-formed YAML or JSON"),
    ];
    for (document, problem, cure) in cases {
        let output = check(&document);
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        let text = text(&output);
        assert!(text.contains(problem) && text.contains(cure), "{problem} … {cure}: {text}");
        assert!(text.len() < 2_000, "{} bytes", text.len());
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = portcullis(&["check", "--config", "/nowhere/authz.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(shown(&output).contains("/nowhere/authz.yaml"), "{}", shown(&output));
}

#[test]
fn envoy_accepts_the_configuration_that_envoy_config_prints() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("authz.yaml");
    fs::write(&config, readme_configuration()).unwrap();
    let module = folder.path().join("portcullis.wasm");
    fs::write(&module, FILTER_MODULE).unwrap();
    let [config, module] = [&config, &module].map(|path| path.to_str().unwrap());
    let arguments =
        ["envoy-config", "--config", config, "--listen", "127.0.0.1:10000", "--upstream", "127.0.0.1:9000"];
    let output = portcullis(&[&arguments[..], &["--module", module, "--route", "/t/=tenants"]].concat());
    assert!(output.status.success(), "{}", shown(&output));
    let bootstrap: Value = yaml_serde::from_slice(&output.stdout).unwrap();
    real_envoy::validate(&bootstrap).unwrap_or_else(|error| panic!("{error}"));
    let printed = text(&output);
    for part in [
        "FAIL_RELOAD",
        "\"allow_on_headers_stop_iteration\": true",
        "envoy.filters.http.rbac",
        "wasm.portcullis.permit",
    ] {
        assert!(printed.contains(part), "{part} is not in\n{printed}");
    }
    let envoy = folder.path().join("envoy.yaml");
    fs::write(&envoy, &output.stdout).unwrap();
    let output = portcullis(&["check", "--envoy", envoy.to_str().unwrap()]);
    assert!(output.status.success() && text(&output).ends_with("envoy.yaml: good\n"), "{}", shown(&output));
    fs::write(&envoy, printed.replace("wasm.portcullis.permit", "wasm.portcullis.other")).unwrap();
    let output = portcullis(&["check", "--config", config, "--envoy", envoy.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(text(&output).contains("fault in listener ingress: there is no seal"), "{}", shown(&output));
}

#[test]
fn a_route_to_a_policy_that_is_not_configured_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("authz.yaml");
    fs::write(&config, readme_configuration()).unwrap();
    let config = config.to_str().unwrap();
    let output = portcullis(&[
        "envoy-config",
        "--config",
        config,
        "--upstream",
        "127.0.0.1:9000",
        "--route",
        "/x/=nobody",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(shown(&output).contains("there is no policy `nobody`"), "{}", shown(&output));
}

#[test]
fn the_bundle_command_builds_what_the_filter_reads() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("shop.tar.gz");
    let sources = [root().join("policies/shop"), root().join("bundles/shop")];
    let [policy, data, out] = [&sources[0], &sources[1], &out].map(|path| path.to_str().unwrap());
    let output = portcullis(&["bundle", policy, data, "--out", out]);
    assert!(output.status.success(), "{}", shown(&output));
    assert!(text(&output).contains("revision `shop-1`"), "{}", shown(&output));
    assert!(portcullis_filter::bundle::Bundle::read("shop", &fs::read(out).unwrap(), 1 << 20).is_ok());
}

#[test]
fn every_key_of_the_readmes_table_is_a_key_of_the_configuration() {
    let table = readme();
    let keys = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(key, _)| key.to_owned()));
    let keys: Vec<String> = keys.filter(|key| key.contains('.')).collect();
    assert!(keys.len() >= 18, "{keys:?}");
    for key in keys {
        // A value that no key takes: the complaint must be about the value, never about the key.
        let path: Vec<&str> = key.split('.').map(|part| if part == "<name>" { "a" } else { part }).collect();
        let document =
            path.iter().rev().fold("[[]]".to_owned(), |inner, part| format!("{{\"{part}\": {inner}}}"));
        let error = Config::parse(document.as_bytes()).expect_err(&key).to_string();
        assert!(error.contains("it is of kind"), "{key}: {error}");
    }
}

fn check(document: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authz.yaml");
    fs::write(&path, document).unwrap();
    portcullis(&["check", "--config", path.to_str().unwrap()])
}

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).output().unwrap()
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

fn readme_configuration() -> String {
    let readme = readme();
    let (_, rest) = readme.split_once("```yaml\n").expect("the README shows a configuration");
    rest.split_once("```").expect("the block ends").0.to_owned()
}

fn marked(text: &str, name: &str) -> String {
    let (_, rest) = text.split_once(&format!("<!-- {name} -->")).expect("the mark begins");
    rest.split_once(&format!("<!-- /{name} -->")).expect("the mark ends").0.to_owned()
}

fn table_rows(text: &str) -> Vec<String> {
    text.lines().filter(|line| line.starts_with('|')).map(str::to_owned).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn shown(output: &Output) -> String {
    format!("{}\n{}{}", output.status, text(output), String::from_utf8_lossy(&output.stderr))
}
