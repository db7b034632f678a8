//! Bundles each of which has ended VMs once, or held them for ever: as they were found, one of each kind.
//!
//! What they do is in a rule `p` of package `a`, on which the decision depends, or in a file beside it.

use std::fmt::Write;

use host_harness::{archive::Archive, servers::Published};
use serde_json::{Value, json};

use crate::watch::archive;

/// What becomes of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It ends the VM that takes it up, and is not taken up again.
    Ends,
    /// It is refused when it is loaded.
    Refused,
    /// It is loaded, and its policy fails, or decides, at each request.
    Loaded,
}

/// One of them.
pub struct Poison {
    /// Names it, and is its revision.
    pub name: &'static str,
    /// What becomes of it.
    pub fate: Fate,
    /// The bundle `a`.
    pub archive: Vec<u8>,
}

/// A bundle `a` whose module with hooks ends the VM where the hook says.
pub fn hooked(name: &'static str, hook: &str) -> Poison {
    poison(name, Fate::Ends, format!("# hook: {hook}\np := 1\n"))
}

/// All that need no hook.
pub fn all() -> Vec<Poison> {
    use Fate::{Loaded, Refused};
    let chain = |count: usize, rule: &dyn Fn(usize, usize) -> String| -> String {
        (0..count).map(|n| rule(n, n + 1) + "\n").chain([format!("r{count} := [1]\np if r0\n")]).collect()
    };
    // Every line doubles what the one before has made of `v0`.
    let doubled = |first: &str, lines: usize, next: &str, last: &str| {
        let mut text = format!("p if {{\n\tv0 := {first}\n");
        for line in 1..=lines {
            let _ = writeln!(text, "\tv{line} := {}", next.replace('v', &format!("v{}", line - 1)));
        }
        text + "\t" + &last.replace('v', &format!("v{lines}")) + "\n}\n"
    };
    let body = |count: usize, line: &dyn Fn(usize) -> String| {
        let lines: String = (0..count).map(|n| format!("\t{}\n", line(n))).collect();
        format!("p if {{\n{lines}}}\n")
    };
    let nested =
        |open: &str, close: &str, depth| format!("p := {}1{}\n", open.repeat(depth), close.repeat(depth));
    let nodes: Vec<String> = (0..24).map(|node| format!("\"{node}\"")).collect();
    let nodes = nodes.join(", ");
    let functions: String = (0..100)
        .map(|n| format!("f{n}(x) := [z | some y in [[w | some w in [x]][0]]; z := f{}(y)][0]\n", n + 1))
        .collect();
    let imports: String = (0..4000).map(|n| format!("import data.x{n} as y{n}\n")).collect();
    let texts = [
        ("a verb beyond ASCII", Loaded, "p if sprintf(\"%½d\", [1]) == \"x\"\n".to_owned()),
        ("a width of two thousand million", Loaded, "p if sprintf(\"%2000000000d\", [1])\n".to_owned()),
        ("concat", Loaded, doubled("\"aaaaaaaa\"", 30, "concat(\"\", [v, v])", "v != \"\"")),
        ("replace", Loaded, doubled("\"aaaaaaaa\"", 8, "replace(v, \"a\", v)", "v != \"\"")),
        ("walk", Loaded, doubled("[1]", 30, "[v, v]", "walk(v, [_, 2])")),
        ("json.marshal", Loaded, doubled("[1]", 30, "[v, v]", "json.marshal(v) != \"\"")),
        ("rules in a chain", Loaded, chain(600, &|n, next| format!("r{n} if r{next}"))),
        (
            "bodies in a chain",
            Refused,
            chain(300, &|n, next| format!("r{n} if {{\n\tsome x in r{next}\n\tx == 1\n}}")),
        ),
        ("functions with comprehensions", Loaded, format!("{functions}f100(x) := x\np if f0(1)\n")),
        ("unions", Refused, format!("p := {{0}}{}\n", " | {1}".repeat(4000))),
        ("references", Loaded, format!("p := input{}\n", ".a".repeat(20_000))),
        ("sums", Refused, format!("p := 1{}\n", "+1".repeat(19_000))),
        ("indexes", Refused, format!("p := [[1]]{}\n", "[0]".repeat(10_000))),
        ("brackets", Refused, nested("(", ")", 20_000)),
        ("comprehensions", Refused, nested("[1 | y := ", "]", 3000)),
        ("negations", Refused, format!("p if {}1 == 2\n", "not ".repeat(5000))),
        ("else", Loaded, format!("p := 1 if {{ 1 == 2 }}{}\n", " else := 1 if { 1 == 2 }".repeat(10_000))),
        ("with", Loaded, format!("p if input.x{}\n", " with input.x as 1".repeat(5000))),
        ("a ring", Refused, "q0 if q1\nq1 if q0\np if q0\n".to_owned()),
        ("imports", Loaded, format!("{imports}p := 1\n")),
        ("an exponent", Refused, "p := 1e2000000000\n".to_owned()),
        ("lines of a body", Loaded, body(4000, &|n| format!("x{n} := input.a"))),
        ("loops of a body", Loaded, body(4000, &|n| format!("some x{n} in [1]"))),
        (
            "numbers.range",
            Loaded,
            "p if count([x | some x in numbers.range(1, 100000000)]) == 1\n".to_owned(),
        ),
        ("bits.lsh", Loaded, "p if bits.lsh(1, 4294967295) > 1\n".to_owned()),
        (
            "graph.reachable_paths",
            Loaded,
            format!(
                "g := {{n: e | e := [{nodes}]; some n in e}}\np if count(graph.reachable_paths(g, [{nodes}])) == 1\n"
            ),
        ),
        ("units.parse", Loaded, "p if units.parse(\"1e10000000\") > 1\n".to_owned()),
        ("glob.match", Refused, format!("p if glob.match(\"{}\", [], \"a\")\n", "{".repeat(5000))),
    ];
    let mut all: Vec<Poison> = texts.into_iter().map(|(name, fate, text)| poison(name, fate, text)).collect();

    let private = r#"{"$serde_json::private::Number": "1e2000000000"}"#;
    let manifest = |name: &str, metadata: &str| {
        format!("{{\"roots\": [\"a\"], \"revision\": \"{name}\", \"metadata\": {{\"n\": {metadata}}}}}")
    };
    let with = |name: &'static str, fate, path: &str, text: String| {
        let archive = archive("a", name, "").file(path, text).build();
        Poison { name, fate, archive }
    };
    let levels: String =
        (1..12).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","))).collect();
    all.extend([
        with("a number in metadata", Loaded, ".manifest", manifest("a number in metadata", private)),
        with("a number in data", Loaded, "a/data/data.json", private.to_owned()),
        with("an exponent in data", Loaded, "a/data/data.json", "{\"n\": 1e2000000000}".to_owned()),
        with(
            "twenty million lists",
            Refused,
            "a/data/data.json",
            format!("{{\"x\": [{}[]]}}", "[],".repeat(20_000_000)),
        ),
        with(
            "deep data",
            Refused,
            "a/data/data.json",
            format!("{{\"x\": {}1{}}}", "[".repeat(300_000), "]".repeat(300_000)),
        ),
        with("aliases in data", Refused, "a/data/data.yaml", format!("a0: &a0 [x]\n{levels}")),
    ]);
    all
}

/// What has become of an archive of a bundle of policy `a`, if that is known. Shape: the health answer with its detail, and
/// the archive's [`digest`].
pub fn fate_of(detail: &Value, bundle: &str, digest: &str) -> Option<Fate> {
    let (found, policy) = (&detail["bundles"][bundle], &detail["policies"]["a"]);
    if let Some(fault) = found["fault"].as_str() {
        return Some(if fault.starts_with("quarantined: ") { Fate::Ends } else { Fate::Refused });
    }
    match policy["state"].as_str()? {
        _ if found["digest"] != digest => None,
        "quarantined" => Some(Fate::Ends),
        // Who serves it already goes on.
        _ if found["state"] == "quarantined" => Some(Fate::Ends),
        "refused" => Some(Fate::Refused),
        _ => is_loaded(detail, bundle, digest).then_some(Fate::Loaded),
    }
}

/// Whether every VM that is alive serves an archive.
pub fn is_loaded(detail: &Value, bundle: &str, digest: &str) -> bool {
    let found = &detail["bundles"][bundle];
    let vms = detail["vms"].as_array().into_iter().flatten();
    let mut alive = vms.filter(|vm| vm["alive"] == true);
    found["digest"] == digest
        && found["fault"].is_null()
        && alive.all(|vm| vm["serving"][bundle] == found["generation"])
}

/// SHA-256 of an archive, as its ETag has it.
pub fn digest(archive: &[u8]) -> String {
    Published::new(archive.to_vec()).etag.trim_matches('"').to_owned()
}

/// With these rules in a file of its own.
fn poison(name: &'static str, fate: Fate, rules: String) -> Poison {
    let archive = archive("a", name, " if p");
    let archive = archive.file("poison.rego", format!("package a\n\n{rules}")).build();
    Poison { name, fate, archive }
}

/// The answers to what a client can put into a request, for a policy that gives all of it to builtins: the function by
/// `x-do`, and what it is to do that with in `x-a` and `x-b`.
pub fn gullible() -> Archive {
    let rego = r#"package gullible

h := input.attributes.request.http.headers

decision := {"allowed": true, "response_headers_to_add": {"x-generation": "1"}} if done(h["x-do"]) != "never"

done("token") := json.unmarshal(base64url.decode(split(h["x-a"], ".")[1])).sub
done("units") := units.parse(h["x-a"])
done("units_bytes") := units.parse_bytes(h["x-a"])
done("template") := regex.template_match(h["x-a"], h["x-b"], "{", "}")
done("duration") := time.parse_duration_ns(h["x-a"])
done("layout") := time.parse_ns(h["x-a"], h["x-b"])
done("yaml") := yaml.unmarshal(h["x-a"])
done("json") := json.unmarshal(h["x-a"])
done("replace") := replace(h["x-a"], "a", h["x-b"])
done("concat") := concat(h["x-a"], split(h["x-b"], "a"))
done("indent") := json.marshal_with_options(split(h["x-a"], "a"), {"prefix": h["x-b"], "indent": h["x-b"]})
done("glob") := glob.match(h["x-a"], [], h["x-b"])
done("regex") := regex.match(h["x-a"], h["x-b"])
done("sprintf") := sprintf(h["x-a"], [1])
done("range") := count(numbers.range(1, to_number(h["x-a"])))
done("shift") := bits.lsh(1, to_number(h["x-a"]))
"#;
    let manifest = json!({ "roots": ["gullible"], "revision": "1" });
    Archive::new().file(".manifest", manifest.to_string()).file("main.rego", rego)
}

/// What to ask [`gullible`]: `x-do`, `x-a` and `x-b`. Each has ended or held a VM once.
pub fn requests() -> Vec<(&'static str, String, String)> {
    let none = String::new;
    let text = str::to_owned;
    // {"sub": {"$serde_json::private::Number": "1e2000000000"}}
    let token = "e30.eyJzdWIiOiB7IiRzZXJkZV9qc29uOjpwcml2YXRlOjpOdW1iZXIiOiAiMWUyMDAwMDAwMDAwIn19.x";
    let bomb = format!(
        "[&a [{}x], &b [{}x], &c [{}x], &d [{}x]]",
        "x,".repeat(99),
        "*a,".repeat(99),
        "*b,".repeat(99),
        "*c,".repeat(99)
    );
    vec![
        ("token", text(token), none()),
        ("units", text("1e10000000"), none()),
        ("units_bytes", text("1e2000000000"), none()),
        ("template", text("users/{.*}/x"), text("u")),
        ("template", text("{"), none()),
        ("duration", text("1é"), none()),
        ("layout", text("Mon é __2 002 .000 J"), text("٣٣")),
        (
            "layout",
            text("2006-01-02T15:04:05.999999999Z07:00"),
            text("262143-12-31T23:59:60.999999999+23:59"),
        ),
        ("yaml", bomb, none()),
        ("json", "[".repeat(28_000), none()),
        ("replace", "a".repeat(28_000), "b".repeat(28_000)),
        ("concat", "b".repeat(28_000), "a".repeat(28_000)),
        ("indent", "a".repeat(28_000), "b".repeat(28_000)),
        ("glob", "{".repeat(5000), text("a")),
        ("glob", "{a,".repeat(30) + &"}".repeat(30), text("a")),
        ("regex", text("(a|b){1000}{1000}"), text("a")),
        ("regex", "(".repeat(1000), text("a")),
        ("sprintf", text("%½d"), none()),
        ("sprintf", text("%2000000000d"), none()),
        ("range", text("4000000000"), none()),
        ("shift", text("4294967295"), none()),
    ]
}
