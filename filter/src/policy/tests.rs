use super::*;

const LIMITS: EvaluationLimits =
    EvaluationLimits { steps: 1_000_000, bytes: 16 << 20, depth: 500, time: Duration::from_secs(10) };

#[test]
fn a_decision_is_a_rule_a_package_or_data_and_undefined_otherwise() {
    let text = "package a.b\n\nallow if input.x == 1\n\nobject[\"some-key\"] := 2\n";
    let data = parse_json(r#"{"c": {"d": [3]}}"#).unwrap();
    let value = |decision: &str, input: &str| {
        let policy = compile(decision, &[("m", &[text], data.clone())]).unwrap();
        evaluate(&policy, input).unwrap()
    };
    assert_eq!(value("a/b/allow", r#"{"x": 1}"#), Some(Value::from(true)));
    assert_eq!(value("a/b/allow", r#"{"x": 2}"#), None);
    assert_eq!(value("a/b/object/some-key", "{}"), Some(Value::from(2)));
    assert_eq!(value("c/d", "{}"), Some(parse_json("[3]").unwrap()));
    assert_eq!(
        value("a/b", r#"{"x": 1}"#).and_then(|package| field(&package, "allow").cloned()),
        Some(true.into())
    );
    assert_eq!(value("a/nothing", "{}"), None);
}

#[test]
fn a_decision_that_no_bundle_defines_is_known_before_the_first_request() {
    let exists = |decision| {
        let data = parse_json(r#"{"b": {"c": 1}}"#).unwrap();
        compile(decision, &[("m", &["package a\n\nallow := true\n"], data)]).unwrap().decision_exists()
    };
    assert!(exists("a/allow"));
    assert!(exists("a"));
    assert!(exists("b/c"));
    assert!(!exists("a/alow"));
    assert!(!exists("b/allow"));
}

#[test]
fn a_policy_over_several_bundles_sees_all_of_them() {
    let policy = compile(
        "a/allow",
        &[
            ("one", &["package a\n\nimport data.lib\n\nallow if lib.small(input.x)\n"], object([])),
            ("two", &["package lib\n\nsmall(x) if x < data.limits.top\n"], object([])),
            ("three", &[], parse_json(r#"{"limits": {"top": 5}}"#).unwrap()),
        ],
    );
    let policy = policy.unwrap();
    assert_eq!(evaluate(&policy, r#"{"x": 4}"#).unwrap(), Some(Value::from(true)));
    assert_eq!(evaluate(&policy, r#"{"x": 6}"#).unwrap(), None);
}

#[test]
fn what_opa_refuses_is_refused_with_its_place() {
    let cases: &[(&str, &str, &str)] = &[
        ("package a\n\nallow if nobody.has(1)\n", "{}", "m.rego:3:10"),
        ("package a\n\nallow if { some x in [1]; helper(x) }\n", "{}", "helper"),
        ("package a\n\nallow if f(1)\n\nf(x) if f(x + 1)\n", "{}", "data.a.f"),
        ("package a\n\nf(x) if g(x)\n\ng(x) if f(x)\n", "{}", "rego_recursion_error"),
        ("package a\n\ndefault allow := false\n", r#"{"a": {"allow": true}}"#, "base document"),
        ("package a\n\nallow[x] if some x in [1]\n", r#"{"a": {"allow": {"1": true}}}"#, "base document"),
        ("package a\n\nallow if x == y\n", "{}", "unsafe"),
        ("package a\n\nallow if http.send({})\n", "{}", "http.send"),
    ];
    for (text, data, expected) in cases {
        let compiled = compile("a/allow", &[("m", &[text], parse_json(data).unwrap())]);
        let error = compiled.map(|_| ()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
        assert!(error.starts_with("m.rego:") && !error.contains('\n'), "{error:?}");
    }
}

#[test]
fn no_test_keeps_a_policy_from_loading() {
    let policy = "package a\n\nallow if input.x == 1\n\ntest_allow if http.send({})\n";
    let tests =
        "package a_test\n\nimport data.a\n\ntest_allow if a.alow(io.jwt.decode(1)) with input.x as 1\n";
    let module =
        |name: &str, text: &str| Module::parse(name.to_owned(), text.to_owned(), RegoVersion::V1).unwrap();
    let modules = [module("m.rego", policy), module("m_test.rego", tests)];
    let part = |modules| Part { bundle: "m", roots: &[], modules, data: &Value::Null };
    let data = object([]);
    let part = Part { data: &data, ..part(&modules) };
    let policy = Policy::compile("a/allow", &[part], LIMITS).unwrap();
    assert_eq!(evaluate(&policy, r#"{"x": 1}"#).unwrap(), Some(Value::from(true)));
    // What is wrong with the policy itself is said of the whole.
    let broken = [module("m.rego", "package a\n\nallow if nobody(1)\n"), module("m_test.rego", tests)];
    let part = Part { modules: &broken, ..part };
    let error = Policy::compile("a/allow", &[part], LIMITS).unwrap_err().to_string();
    assert!(error.contains("m.rego:3"), "{error}");
}

#[test]
fn bundles_whose_roots_overlap_make_no_policy() {
    let part = |bundle: &'static str, roots: &'static [Vec<String>], data: &'static Value| Part {
        bundle,
        roots,
        modules: &[],
        data,
    };
    let data: &'static Value = Box::leak(Box::new(object([])));
    let roots = |paths: &[&str]| -> &'static [Vec<String>] {
        let roots: Vec<Vec<String>> =
            paths.iter().map(|path| path.split('/').map(str::to_owned).collect()).collect();
        Box::leak(roots.into_boxed_slice())
    };
    let error = Policy::compile(
        "a/allow",
        &[part("one", roots(&["x", "a/b"]), data), part("two", roots(&["a"]), data)],
        LIMITS,
    );
    let error = error.err().unwrap();
    let expected = PolicyError::RootsOverlap {
        first: "one".to_owned(),
        second: "two".to_owned(),
        path: "a.b".to_owned(),
    };
    assert_eq!(error, expected);
    assert!(
        Policy::compile(
            "a/allow",
            &[part("one", roots(&["a"]), data), part("two", roots(&["ab"]), data)],
            LIMITS
        )
        .is_ok()
    );
}

#[test]
fn an_evaluation_ends_at_each_of_its_limits_and_each_time_anew() {
    let endless = "package a\n\nn := numbers.range(1, 60000)\n\nallow if {\n\tsome x in n\n\tsome y in n\n\tsome z in n\n\tx + y + z < 0\n}\n";
    let large = "package a\n\nallow if {\n\tx := concat(\"\", [input.s | numbers.range(1, 1000)[_]])\n\ty := concat(\"\", [x | numbers.range(1, 1000)[_]])\n\tcount(y) > 0\n}\n";
    let deep = format!(
        "package a\n\nallow if f0(1) == 1\n{}f300(x) := x\n",
        (0..300).map(|n| format!("f{n}(x) := f{}(x)\n", n + 1)).collect::<String>()
    );
    let input = format!(r#"{{"s": "{}"}}"#, "x".repeat(100));
    let many = EvaluationLimits { steps: u64::MAX, ..LIMITS };
    for (text, key, limit, limits) in [
        (endless, "evaluation_steps", 50_000, EvaluationLimits { steps: 50_000, ..LIMITS }),
        (large, "evaluation_bytes", 1 << 20, EvaluationLimits { bytes: 1 << 20, ..LIMITS }),
        (&deep, "evaluation_depth", 200, EvaluationLimits { depth: 200, ..LIMITS }),
        (endless, "evaluation_ms", 20, EvaluationLimits { time: Duration::from_millis(20), ..many }),
    ] {
        let policy = Rc::new(compile("a/allow", &[("m", &[text], object([]))]).unwrap()).limited(limits);
        for _ in 0..2 {
            assert_eq!(evaluate(&policy, &input), Err(EvaluationError::Limit { key, limit }));
        }
    }
}

#[test]
fn nothing_of_one_evaluation_is_seen_by_the_next() {
    let text = "package a\n\nuser := input.user\n\nallow := {\"user\": user, \"seen\": object.get(input, \"seen\", \"nothing\")}\n";
    let policy = compile("a/allow", &[("m", &[text], object([]))]).unwrap();
    let first = evaluate(&policy, r#"{"user": "ada", "seen": "secret"}"#).unwrap();
    let second = evaluate(&policy, r#"{"user": "bob"}"#).unwrap();
    assert_eq!(first, Some(parse_json(r#"{"user": "ada", "seen": "secret"}"#).unwrap()));
    assert_eq!(second, Some(parse_json(r#"{"user": "bob", "seen": "nothing"}"#).unwrap()));
    assert_eq!(evaluate(&policy, "{}").unwrap(), None);
}

#[test]
fn print_is_silent_and_changes_nothing() {
    let policy =
        compile("a/allow", &[("m", &["package a\n\nallow if print(\"x\", input)\n"], object([]))]).unwrap();
    assert_eq!(evaluate(&policy, "{}").unwrap(), Some(Value::from(true)));
}

#[test]
fn time_and_chance_are_those_of_the_moment() {
    let text = "package a\n\nallow := [time.now_ns(), time.now_ns(), rand.intn(\"x\", 1000000)]\n";
    let policy = compile("a/allow", &[("m", &[text], object([]))]).unwrap();
    let value = |now_ns, seed| {
        policy.evaluate(object([]), Moment { now_ns, seed, ..Moment::default() }).unwrap().unwrap().to_json()
    };
    assert!(value(7, [1, 2]).starts_with("[7,7,"));
    assert_eq!(value(7, [1, 2]), value(7, [1, 2]));
    assert_ne!(value(7, [1, 2]), value(7, [1, 3]));
}

#[test]
fn no_message_about_an_evaluation_has_a_value_of_the_request() {
    for body in [
        "x := input.s\n} {\n\tx := concat(\"\", [input.s, \"a\"])",
        "x := {input.s: k | some k in [1, 2]}",
        "x := f(input.s)",
        "x := data.a.o",
    ] {
        let text = format!(
            "package a\n\nallow := x if {{\n\t{body}\n}}\n\nf(x) := 1\n\nf(x) := x\n\no[k] := v if {{\n\tk := input.s\n\tsome v in [1, 2]\n}}\n"
        );
        let policy = compile("a/allow", &[("m", &[&text], object([]))]).unwrap();
        let error = evaluate(&policy, r#"{"s": "S3CRET"}"#).unwrap_err().to_string();
        assert!(error.contains("eval_conflict_error") && !error.contains("S3CRET"), "{body}: {error}");
    }
}

fn evaluate(policy: &Policy, input: &str) -> Result<Option<Value>, EvaluationError> {
    policy.evaluate(parse_json(input).unwrap(), Moment::default())
}

/// One bundle per entry: its name, modules and data. Without roots, so that none overlap.
fn compile(decision: &str, bundles: &[(&str, &[&str], Value)]) -> Result<Policy, PolicyError> {
    let modules: Vec<Vec<Module>> = bundles
        .iter()
        .map(|(_, texts, _)| {
            let parse = |text: &&str| Module::parse("m.rego".to_owned(), (*text).to_owned(), RegoVersion::V1);
            texts.iter().map(parse).collect::<Result<_, _>>().unwrap()
        })
        .collect();
    let parts: Vec<Part<'_>> = bundles
        .iter()
        .zip(&modules)
        .map(|((bundle, _, data), modules)| Part { bundle, roots: &[], modules, data })
        .collect();
    Policy::compile(decision, &parts, LIMITS)
}
