//! The commands about policies as a person runs them: `eval`, `test` and `check --bundle`, and what the README shows of them.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

const SHOP: [&str; 6] =
    ["--bundle", "policies/shop,bundles/shop", "--bundle", "bundles/roles", "--decision", "shop/authz/allow"];

#[test]
fn the_readme_shows_what_the_commands_print() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("<!-- policies -->").expect("the mark begins");
    let (shown_there, _) = rest.split_once("<!-- /policies -->").expect("the mark ends");
    let mut blocks = shown_there.split("```").skip(1).step_by(2);
    let mut pairs = 0;
    while let (Some(command), Some(expected)) = (blocks.next(), blocks.next()) {
        let line = command.strip_prefix("sh\n").expect("a command").replace("\\\n", "");
        let words = words(line.trim().strip_prefix("cargo run -- ").expect("of ours"));
        let output = portcullis(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(
            text(&output),
            expected.strip_prefix("text\n").expect("a text"),
            "{line}\n{}",
            shown(&output)
        );
        pairs += 1;
    }
    assert_eq!(pairs, 3);
}

/// Words of a shell command, with single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        match index % 2 {
            1 => words.push(part.to_owned()),
            _ => words.extend(part.split_whitespace().map(str::to_owned)),
        }
    }
    words
}

// === eval ===

#[test]
fn a_request_is_decided_and_what_the_client_sees_is_told() {
    let allowed = eval(&[&SHOP[..], &["GET", "/orders", "-H", "x-user: ada"]].concat());
    assert_eq!(allowed.status.code(), Some(0), "{}", shown(&allowed));
    assert_eq!(text(&allowed), "shop/authz/allow is true\nallow: the request goes to the upstream\n");
    let denied = eval(&[&SHOP[..], &["--fail", "PUT", "http://shop.test/orders?x=y"]].concat());
    assert_eq!(denied.status.code(), Some(1), "{}", shown(&denied));
    assert!(text(&denied).contains("denied: the client is answered 403\n  x-portcullis-reason: denied\n"));
    let strict = eval(&[&SHOP[..], &["GET", "//orders"]].concat());
    assert!(text(&strict).starts_with("bad_path: the client is answered 400\n"), "{}", shown(&strict));
    let opa = eval(&[&SHOP[..], &["--paths", "opa", "GET", "//orders"]].concat());
    assert!(text(&opa).starts_with("shop/authz/allow is false\n"), "{}", shown(&opa));
}

#[test]
fn a_decision_object_is_told_with_its_headers_as_text_and_as_json() {
    let tenants = ["--bundle", "policies/tenants,bundles/tenants", "--decision", "tenants/authz/decision"];
    let request = ["GET", "/t/acme/bills", "-H", "X-User: ada"];
    let reported = text(&eval(&[&tenants[..], &request].concat()));
    for line in
        ["  it has x-tenant: acme\n", "  it loses x-internal-role\n", "  the answer has also vary: x-user\n"]
    {
        assert!(reported.contains(line), "{reported}");
    }
    let output =
        eval(&[&tenants[..], &["--format", "json", "GET", "/t/nope/x", "-H", "x-user: ada"]].concat());
    let reported: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reported["result"]["http_status"], 404, "{reported}");
    assert_eq!(reported["outcome"]["status"], 404, "{reported}");
    assert_eq!(reported["outcome"]["headers"][1], json!(["x-portcullis-reason", "denied"]), "{reported}");
    assert!(reported.get("explanation").is_none(), "{reported}");
}

#[test]
fn an_input_is_a_file_or_standard_input_and_the_end_says_whether_there_was_an_answer() {
    let folder = folder(&[("a.rego", "package a\nx := input.n + 1\nc := 1 if input.n\nc := 2 if input.n\n")]);
    let bundle = folder.path().to_str().unwrap();
    let ask = |decision: &str, input: &str, more: &[&str]| {
        let arguments = ["--bundle", bundle, "--decision", decision, "--input", "-"];
        piped(&[&["eval"], &arguments[..], more].concat(), input)
    };
    let cases: [(&str, &str, &[&str], i32, &str); 7] = [
        ("a/x", r#"{"n": 2}"#, &[], 0, "a/x is 3\n"),
        ("a/x", "{}", &[], 0, "a/x is undefined\n"),
        ("a/x", "{}", &["--fail"], 1, "a/x is undefined\n"),
        ("a/x", "{", &[], 2, "it is no JSON"),
        (
            "a/c",
            r#"{"n": 2}"#,
            &[],
            2,
            "a.rego:4:1: eval_conflict_error: `data.a.c` has two different values",
        ),
        ("a/nope", "{}", &[], 0, "no rule and no data is at `a/nope`"),
        ("a//x", "{}", &[], 2, "write the keys below `data` with slashes"),
    ];
    for (decision, input, more, code, reported) in cases {
        let output = ask(decision, input, more);
        assert_eq!(output.status.code(), Some(code), "{decision} {input}: {}", shown(&output));
        assert!(shown(&output).contains(reported), "{decision} {input}: {}", shown(&output));
    }
}

#[test]
fn a_request_brings_its_body() {
    let folder = folder(&[
        ("a.rego", "package a\nallow if input.parsed_body.action == \"read\"\n"),
        ("read.json", r#"{"action": "read"}"#),
    ]);
    let file = format!("@{}", folder.path().join("read.json").display());
    for (body, told) in [
        (r#"{"action": "read"}"#, "allow: the request goes to the upstream"),
        (&file, "allow: the request goes to the upstream"),
        (r#"{"action": "delete"}"#, "undefined: the client is answered 403"),
        ("{", "bad_body: the client is answered 400"),
    ] {
        let bundle = ["--bundle", folder.path().to_str().unwrap(), "--decision", "a/allow"];
        let request = ["POST", "/", "-H", "content-type: application/json", "--data", body];
        let output = eval(&[&bundle[..], &request].concat());
        assert!(shown(&output).contains(told), "{body}: {}", shown(&output));
    }
    let missing = eval(&["--bundle", folder.path().to_str().unwrap(), "POST", "/", "--data", "@/nowhere"]);
    assert_eq!(missing.status.code(), Some(2), "{}", shown(&missing));
}

#[test]
fn what_cannot_be_asked_ends_with_2_and_every_refusal() {
    let folder = folder(&[("a.rego", "package a\nx if y\nz if w\n")]);
    let output = eval(&["--bundle", folder.path().to_str().unwrap(), "GET", "/"]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    for place in ["a.rego:2:6: rego_unsafe_var_error", "a.rego:3:6: rego_unsafe_var_error"] {
        assert!(shown(&output).contains(place), "{place}: {}", shown(&output));
    }
    for arguments in
        [&["--bundle", "/nowhere", "GET", "/"][..], &["--bundle", "policies/shop", "GET"], &["GET", "/"]]
    {
        assert_eq!(eval(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn an_archive_is_asked_as_its_folders_are_and_says_where_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("tenants.tar.gz");
    let archive = archive.to_str().unwrap();
    let built = portcullis(&["bundle", "policies/tenants", "bundles/tenants", "--out", archive]);
    assert!(built.status.success(), "{}", shown(&built));
    let output =
        eval(&["--bundle", archive, "--decision", "tenants/authz/decision", "GET", "/t/acme", "--explain"]);
    let reported = text(&output);
    assert!(reported.contains("denied: the client is answered 401"), "{reported}");
    assert!(reported.contains(&format!("{archive}/authz.rego:2")), "{reported}");
}

#[test]
fn an_explanation_is_no_wider_than_a_page_and_the_same_as_json() {
    let question = [&SHOP[..], &["DELETE", "/orders/7", "-H", "x-user: ada", "--explain"]].concat();
    let reported = text(&eval(&question));
    let widest = reported.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 100, "{widest}: {reported}");
    let output = eval(&[&question[..], &["--format", "json"]].concat());
    let reported: Value = serde_json::from_slice(&output.stdout).unwrap();
    let evaluated = reported["explanation"].as_array().unwrap();
    let granted = evaluated.iter().find(|one| one["name"] == "data.shop.authz.granted").unwrap();
    assert_eq!(granted["value"], Value::Null);
    let rule = &granted["rules"][0];
    assert_eq!(
        (&rule["file"], &rule["held"]),
        (&json!("policies/shop/authz.rego"), &json!(false)),
        "{granted}"
    );
    assert_eq!(rule["failure"]["text"], "http.method in grant.methods", "{granted}");
    assert_eq!(
        rule["failure"]["values"][0],
        json!({ "text": "http.method", "value": "DELETE" }),
        "{granted}"
    );
    assert_eq!(evaluated[granted["within"].as_u64().unwrap() as usize]["name"], "data.shop.authz.allow");
}

// === test ===

const TESTED: &str = "package a

allow if input.x == 1

allow if {
	input.y == 2
	some z in input.zs
	z > 3
}
";
const TESTS: &str = r#"package a_test

import data.a

test_ok if a.allow with input as {"x": 1}

test_bad if {
	print("zs", [1])
	a.allow with input as {"y": 2, "zs": [1]}
}

conflict := 1

conflict := 2

test_error if conflict == 1

todo_test_later if false

test_twice if true

test_twice if false
"#;

#[test]
fn tests_are_run_and_told_as_opa_does() {
    let folder = folder(&[("a.rego", TESTED), ("a_test.rego", TESTS)]);
    let path = folder.path().to_str().unwrap();
    let output = portcullis(&["test", path]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    let ruler = "-".repeat(80);
    let expected = format!(
        "{path}/a_test.rego:7:\ndata.a_test.test_bad: FAIL (…)\n\n  zs [1]\n\n\
         {path}/a_test.rego:16:\ndata.a_test.test_error: ERROR (…)\n  \
         {path}/a_test.rego:14:1: eval_conflict_error: `data.a_test.conflict` has two different values\n\
         {path}/a_test.rego:18:\ndata.a_test.todo_test_later: SKIPPED\n\
         {path}/a_test.rego:22:\ndata.a_test.test_twice#01: FAIL (…)\n\
         {ruler}\nPASS: 2/6\nFAIL: 2/6\nSKIPPED: 1/6\nERROR: 1/6\n"
    );
    assert_eq!(without_durations(&text(&output)), expected);
    let verbose = text(&portcullis(&["test", path, "-v", "--run", "test_(ok|bad)$"]));
    for part in [
        "data.a_test.test_ok: PASS (",
        "FAILURES\n",
        &format!("{path}/a.rego:5 fails at line 8: z > 3\n"),
        "z is 1\n",
        "PASS: 1/2\nFAIL: 1/2\n",
    ] {
        assert!(verbose.contains(part), "{part}: {verbose}");
    }
}

#[test]
fn what_tests_end_with() {
    let good = folder(&[("a.rego", TESTED), ("a_test.rego", TESTS)]);
    let bad = folder(&[("a_test.rego", "package a\ntest_x if y\n")]);
    let broken = folder(&[("a_test.rego", "package a\ntest_x if {\n")]);
    let [good, bad, broken] = [&good, &bad, &broken].map(|folder| folder.path().to_str().unwrap());
    let cases: [(&[&str], i32, &str); 6] = [
        (&[good, "--run", "test_ok"], 0, "PASS: 1/1\n"),
        (&[good, "--run", "later"], 0, "SKIPPED: 1/1\n"),
        (&[good, "--run", "none"], 0, ""),
        (&[bad], 1, "a_test.rego:2:11: rego_unsafe_var_error"),
        (&[broken], 1, "a_test.rego:3:"),
        (&["policies/shop", "policies/tenants", "policies/api"], 0, "PASS: 47/47\n"),
    ];
    for (arguments, code, reported) in cases {
        let output = portcullis(&[&["test"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", shown(&output));
        assert!(shown(&output).contains(reported), "{arguments:?}: {}", shown(&output));
    }
}

#[test]
fn results_and_coverage_as_json_have_the_form_of_opa() {
    let folder = folder(&[("a.rego", TESTED), ("a_test.rego", TESTS)]);
    let path = folder.path().to_str().unwrap();
    let results: Value =
        serde_json::from_slice(&portcullis(&["test", path, "--format", "json"]).stdout).unwrap();
    let bad = &results[1];
    assert_eq!((&bad["package"], &bad["name"]), (&json!("data.a_test"), &json!("test_bad")), "{results}");
    assert_eq!(
        (&bad["fail"], &bad["output"], &bad["location"]["row"]),
        (&json!(true), &json!("zs [1]"), &json!(7))
    );
    assert_eq!(results[3]["skip"], true, "{results}");
    let output = portcullis(&["test", path, "--coverage", "--format", "json", "--run", "test_ok"]);
    let coverage: Value = serde_json::from_slice(&output.stdout).unwrap();
    let file = &coverage["files"][format!("{path}/a.rego")];
    assert_eq!(file["covered"], json!([{ "start": { "row": 3 }, "end": { "row": 3 } }]), "{coverage}");
    assert_eq!(file["not_covered"], json!([{ "start": { "row": 5 }, "end": { "row": 8 } }]), "{coverage}");
    assert_eq!(file["coverage"], 20.0, "{coverage}");
    let reported = text(&portcullis(&["test", path, "--coverage", "--run", "test_ok"]));
    let line = reported.lines().find(|line| line.starts_with(&format!("{path}/a.rego"))).unwrap();
    assert!(line.ends_with("5    20.0%  5-8"), "{reported}");
}

fn without_durations(text: &str) -> String {
    let lines = text.lines().map(|line| match line.rsplit_once(" (") {
        Some((before, duration)) if duration.ends_with("s)") => format!("{before} (…)\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

// === check --bundle ===

#[test]
fn check_tells_what_a_policy_waits_for_in_vain() {
    let many: String = (0..25).map(|n| format!("allow if count(input.parsed_path) == {n}\n")).collect();
    let text_of = format!(
        "package a\nhttp := input.attributes.request.http\nallow if http.metod == \"GET\"\n\
         allow if {{\n\tinput.parsed_body.x\n\tinput.user\n\tinput.parsed_query.a[0]\n}}\n\
         allow if opa.runtime().config.x\n{many}"
    );
    let folder = folder(&[("a.rego", &text_of)]);
    let output = portcullis(&["check", "--bundle", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let reported = text(&output);
    for part in [
        ": good\n",
        "a.rego:3:10: `input.attributes.request.http.metod` is never there: did you mean `method`?\n",
        "a.rego:5:2: `input.parsed_body.x` is never there: bodies are read with `portcullis.body` alone; add it\n",
        "a.rego:6:2: `input.user` is never there: there is attributes, parsed_body, parsed_path, parsed_query,",
        "opa.runtime(): it has `config.labels` alone",
        "28 of 28 rules of `data.a.allow` are looked at for every request",
    ] {
        assert!(reported.contains(part), "{part}: {reported}");
    }
    assert!(!reported.contains("parsed_query.a"), "{reported}");
}

#[test]
fn check_knows_what_the_configuration_gives_policies_to_read() {
    let text_of = "package a\nallow if input.attributes.metadataContext.filterMetadata.jwt.sub\n";
    let document = "services: {hub: {url: \"http://h\", cluster: c}}\nbundles: {a: {}}\n";
    let listed = format!("{document}portcullis: {{metadata_context: {{namespaces: [jwt]}}}}\n");
    let folder = folder(&[("a.rego", text_of), ("without", document), ("with", &listed)]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let bundle = folder.path().join("a.rego");
    let alone = tempfile::tempdir().unwrap();
    std::fs::copy(bundle, alone.path().join("a.rego")).unwrap();
    for (config, is_warned) in [("without", true), ("with", false)] {
        let arguments = ["check", "--config", &path(config), "--bundle", alone.path().to_str().unwrap()];
        let output = portcullis(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        let warning = "`portcullis.metadata_context.namespaces` does not list `jwt`; add it";
        assert_eq!(text(&output).contains(warning), is_warned, "{config}: {}", text(&output));
    }
}

#[test]
fn check_tells_every_refusal_and_says_nothing_of_policies_that_are_good() {
    let broken = folder(&[("a.rego", "package a\nx if {\n"), ("b.rego", "package b\n1\n")]);
    let output = portcullis(&["check", "--bundle", broken.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let reported = text(&output);
    assert!(reported.contains("a.rego:") && reported.contains("b.rego:2:1"), "{reported}");
    let missing = folder(&[("a.rego", "package a\nx := http.send({})\ny if graphql.parse_query(\"y\")\n")]);
    let output = portcullis(&["check", "--bundle", missing.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(text(&output).contains("a.rego:2:6: rego_type_error: `http.send` is not available here"));
    assert!(
        text(&output).contains("a.rego:3:6: rego_type_error: `graphql.parse_query` is not available here")
    );
    for name in ["shop", "tenants", "api"] {
        let bundle = format!("policies/{name},bundles/{name}");
        let output = portcullis(&["check", "--bundle", &bundle]);
        assert_eq!(text(&output), format!("{bundle}: good\n"), "{}", shown(&output));
    }
    let output = portcullis(&["check", "--bundle", "policies/shop,bundles/shop", "--decision", "shop/allow"]);
    assert!(text(&output).contains("no rule and no data is there"), "{}", shown(&output));
    assert_eq!(portcullis(&["check", "--bundle", "/nowhere"]).status.code(), Some(2));
}

// === check --config ===

#[test]
fn every_fault_of_a_configuration_is_told_at_once() {
    let folder = folder(&[(
        "authz.yaml",
        "services: { hub: { url: 'http://x', clusterr: a, response_header_timeout_seconds: ten } }\n\
         bundles: { shop: { resauce: x } }\ndiscovery: {}\n\
         portcullis: { policies: { shop: { bundles: [shop, 7], decisions: a } } }\n",
    )]);
    let path = folder.path().join("authz.yaml");
    let output = portcullis(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let reported = text(&output);
    assert!(reported.contains(": refused, every request is answered 503: 6 faults\n"), "{reported}");
    for fault in [
        "discovery: configuration is not discovered",
        "bundles.shop.resauce: unknown field",
        "portcullis.policies.shop.bundles[1]: it is of kind integer",
        "portcullis.policies.shop.decisions: unknown field",
        "services.hub.clusterr: unknown field",
        "services.hub.response_header_timeout_seconds: it is of kind string",
    ] {
        assert!(reported.contains(&format!("\n  fault in {fault}")), "{fault}: {reported}");
    }
}

// === helpers ===

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn eval(arguments: &[&str]) -> Output {
    portcullis(&[&["eval"], arguments].concat())
}

fn portcullis(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn piped(arguments: &[&str], input: &str) -> Output {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that ends before it reads is no fault here.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.current_dir(root()).args(arguments);
    command
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
