use super::*;

const TIME_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_decision_is_a_rule_a_package_or_data_and_undefined_otherwise() {
    let text = "package a.b\n\nallow if input.x == 1\n\nobject[\"some-key\"] := 2\n";
    let data = parse_json(r#"{"c": {"d": [3]}}"#).unwrap();
    let value = |decision: &str, input: &str| {
        let policy = compile(decision, &[("m", &[text], data.clone())]).unwrap();
        policy.evaluate(parse_json(input).unwrap()).unwrap()
    };
    assert_eq!(value("a/b/allow", r#"{"x": 1}"#), Some(Value::from(true)));
    assert_eq!(value("a/b/allow", r#"{"x": 2}"#), None);
    assert_eq!(value("a/b/object/some-key", "{}"), Some(Value::from(2_u64)));
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
        compile(decision, &[("m", &["package a\n\nallow := true\n"], object([]))]).unwrap().decision_exists
    };
    assert!(exists("a/allow"));
    assert!(exists("a"));
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
    assert_eq!(policy.evaluate(parse_json(r#"{"x": 4}"#).unwrap()).unwrap(), Some(Value::from(true)));
    assert_eq!(policy.evaluate(parse_json(r#"{"x": 6}"#).unwrap()).unwrap(), None);
}

#[test]
fn what_the_engine_would_get_wrong_or_die_of_is_refused_by_name() {
    let chain: String = (0..500).map(|depth| format!("f{depth}(x) := f{}(x)\n", depth + 1)).collect();
    let chain = format!("package a\n\nallow if f0(1)\n{chain}f500(x) := x\n");
    let cases: &[(&str, &str, &str)] = &[
        ("package a\n\nallow if nobody.has(1)\n", "{}", "m.rego:3: there is no function `nobody.has`"),
        ("package a\n\nallow if { some x in [1]; helper(x) }\n", "{}", "there is no function `helper`"),
        ("package a\n\nallow if f(1)\n\nf(x) if f(x + 1)\n", "{}", "`data.a.f` calls itself"),
        ("package a\n\nf(x) if g(x)\n\ng(x) if f(x)\n", "{}", "calls itself"),
        (&chain, "{}", "the chain of rules that read one another from `data.a.f"),
        (
            "package a\n\ndefault allow := false\n",
            r#"{"a": {"allow": true}}"#,
            "rule `data.a.allow` and the data",
        ),
        (
            "package a\n\nallow[x] if some x in [1]\n",
            r#"{"a": {"allow": {"1": true}}}"#,
            "rule `data.a.allow` and the data",
        ),
        ("package a.b\n\nallow := true\n", r#"{"a": 7}"#, "rule `data.a.b.allow` and the data"),
        ("package a\n\nallow if x == y\n", "{}", "unsafe"),
    ];
    for (text, data, expected) in cases {
        let error = compile("a/allow", &[("m", &[text], parse_json(data).unwrap())])
            .err()
            .expect(expected)
            .to_string();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
        assert!(!error.contains('\n'), "{error:?}");
    }
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
        TIME_LIMIT,
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
            TIME_LIMIT
        )
        .is_ok()
    );
}

#[test]
fn an_evaluation_that_would_take_for_ever_ends_at_its_limit() {
    let text = "package a\n\nn := numbers.range(1, 60000)\n\nallow if {\n\tsome x in n\n\tsome y in n\n\tsome z in n\n\tx + y + z < 0\n}\n";
    let module = Module::parse("m.rego".to_owned(), text.to_owned(), RegoVersion::V1).unwrap();
    let part = Part { bundle: "m", roots: &[Vec::new()], modules: &[module], data: &object([]) };
    let policy = Policy::compile("a/allow", &[part], Duration::from_millis(20)).unwrap();
    assert_eq!(policy.evaluate(object([])), Err(EvaluationError::TimeLimit { limit_ms: 20 }));
    assert_eq!(
        policy.evaluate(object([])),
        Err(EvaluationError::TimeLimit { limit_ms: 20 }),
        "each time anew"
    );
}

#[test]
fn nothing_of_one_evaluation_is_seen_by_the_next() {
    let text = "package a\n\nuser := input.user\n\nallow := {\"user\": user, \"seen\": object.get(input, \"seen\", \"nothing\")}\n";
    let policy = compile("a/allow", &[("m", &[text], object([]))]).unwrap();
    let first = policy.evaluate(parse_json(r#"{"user": "ada", "seen": "secret"}"#).unwrap()).unwrap();
    let second = policy.evaluate(parse_json(r#"{"user": "bob"}"#).unwrap()).unwrap();
    assert_eq!(first, Some(parse_json(r#"{"user": "ada", "seen": "secret"}"#).unwrap()));
    assert_eq!(second, Some(parse_json(r#"{"user": "bob", "seen": "nothing"}"#).unwrap()));
    assert_eq!(policy.evaluate(object([])).unwrap(), None);
}

#[test]
fn print_is_silent_and_changes_nothing() {
    let policy =
        compile("a/allow", &[("m", &["package a\n\nallow if print(\"x\", input)\n"], object([]))]).unwrap();
    assert_eq!(policy.evaluate(object([])).unwrap(), Some(Value::from(true)));
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
    Policy::compile(decision, &parts, TIME_LIMIT)
}

#[test]
fn numbers_that_grow_with_every_statement_are_ended_by_the_clock() {
    let chain: String = (1..24).map(|n| format!("\tx{n} := x{0} * x{0}\n", n - 1)).collect();
    let text = format!("package a\n\nallow if {{\n\tx0 := 3\n{chain}\tx23 > 1\n}}\n");
    let policy = compile("a/allow", &[("m", &[&text], object([]))]).unwrap();
    let policy = Rc::new(policy).limited(Duration::from_millis(5));
    assert!(matches!(policy.evaluate(object([])), Err(EvaluationError::TimeLimit { .. })));
}
