//! What an evaluation costs by the number of rules.
//!
//! ```text
//! cargo run -p portcullis-rego --profile module --example rules
//! ```

use std::fmt::Write as _;
use std::time::Instant;

use portcullis_rego::builtins::Budget;
use portcullis_rego::{Compiler, Limits, Options, Outside, Policy, Value, Version};

fn compile(modules: &[(String, String)], data: &str) -> Policy {
    let mut compiler = Compiler::new(Options::default());
    for (name, text) in modules {
        compiler.module(name, text, Version::V1);
    }
    compiler.data(Value::from_json(data.as_bytes(), &mut Budget::unlimited()).expect("JSON"));
    compiler.finish().unwrap_or_else(|e| panic!("{e}"))
}

fn measure(policy: &Policy, query: &str, input: &Value) -> (f64, String) {
    let entry = policy.query(query).expect("a query");
    let (limits, outside) = (Limits::default(), Outside::default());
    let run = || policy.evaluate(&entry, Some(input.clone()), &limits, &outside).expect("an answer");
    let answer = run().map_or("undefined".into(), |v| v.to_json());
    let mut best = f64::MAX;
    for _ in 0..15 {
        let count = 2000;
        let start = Instant::now();
        for _ in 0..count {
            std::hint::black_box(run());
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(count));
    }
    (best, answer)
}

fn main() {
    let json = |text: &str| Value::from_json(text.as_bytes(), &mut Budget::unlimited()).expect("JSON");
    println!(
        "{:>8} {:>12} {:>12} {:>12} {:>14} {:>14}",
        "n", "bodies ns", "prefixes ns", "tenants ns", "compile ms", "KiB text"
    );
    for n in [1usize, 10, 100, 1000, 10_000] {
        let at = n / 2;
        let mut text = String::from("package shop\ndefault allow := false\n");
        for i in 0..n {
            let _ = writeln!(
                text,
                "allow if {{\n  input.method == \"GET\"\n  input.parsed_path[0] == \"p{i}\"\n  input.user.role == \"r{}\"\n}}",
                i % 7
            );
        }
        let kib = text.len() as f64 / 1024.0;
        let start = Instant::now();
        let policy = compile(&[("shop.rego".into(), text)], "{}");
        let compiled = start.elapsed().as_secs_f64() * 1e3;
        let input = json(&format!(
            r#"{{"method": "GET", "parsed_path": ["p{at}", "x"], "path": "/p{at}/x", "tenant": "t{at}", "user": {{"role": "r{}"}}}}"#,
            at % 7
        ));
        let (bodies, answer) = measure(&policy, "data.shop.allow", &input);
        assert_eq!(answer, "true");
        let mut text = String::from("package shop\ndefault allow := false\n");
        for i in 0..n {
            let _ = writeln!(
                text,
                "allow if {{\n  input.method == \"GET\"\n  startswith(input.path, \"/p{i}/\")\n}}"
            );
        }
        let policy = compile(&[("shop.rego".into(), text)], "{}");
        let (prefixes, answer) =
            if n <= 1000 { measure(&policy, "data.shop.allow", &input) } else { (f64::NAN, "true".into()) };
        assert_eq!(answer, "true");
        let mut modules = vec![(
            "gate.rego".into(),
            "package gate\ndefault allow := false\nallow if data.tenants[input.tenant].allow".to_owned(),
        )];
        for i in 0..n {
            modules.push((
                format!("t{i}.rego"),
                format!("package tenants.t{i}\ndefault allow := false\nallow if {{ input.method == \"GET\"; input.user.role == \"r{}\" }}", i % 7),
            ));
        }
        let policy = compile(&modules, "{}");
        let (tenants, answer) = measure(&policy, "data.gate.allow", &input);
        assert_eq!(answer, "true");
        println!("{n:>8} {bodies:>12.0} {prefixes:>12.0} {tenants:>12.0} {compiled:>14.2} {kib:>14.0}");
    }
    let roles = r#"package roles
default allow := false
allow if {
	some role in input.roles
	some grant in data.grants[role]
	grant.method == input.method
	glob.match(grant.path, ["/"], input.path)
}"#;
    let mut grants = String::from(r#"{"grants": {"#);
    for r in 0..4 {
        let list: Vec<String> =
            (0..4).map(|g| format!(r#"{{"method": "GET", "path": "/role{r}/*/item{g}"}}"#)).collect();
        let _ = write!(grants, "{}\"role{r}\": [{}]", if r > 0 { ", " } else { "" }, list.join(", "));
    }
    grants.push_str("}}");
    let policy = compile(&[("roles.rego".into(), roles.into())], &grants);
    let input = json(r#"{"roles": ["role1", "role3"], "method": "GET", "path": "/role3/x/item2"}"#);
    let (ns, answer) = measure(&policy, "data.roles.allow", &input);
    println!("role policy: {ns:.0} ns, {answer}");
}
