//! Calls against what the real `opa` answered, and bounds.

use super::patterns::Prepared;
use crate::builtins::{Budget, Call, Fault, KeyCache, Limit, PatternCache, Run, find};
use crate::value::Value;
use crate::value::terms::term;
use std::collections::BTreeMap;

/// Calls with one cache of patterns for all.
struct Caller {
    patterns: PatternCache,
}

impl Caller {
    fn new() -> Caller {
        Caller { patterns: PatternCache::new() }
    }

    fn within<T>(&mut self, budget: &mut Budget, run: impl FnOnce(&mut Call<'_>) -> T) -> T {
        let runtime = Value::Null;
        run(&mut Call {
            budget,
            now_ns: 0,
            seed: [0, 0],
            runtime: &runtime,
            patterns: &mut self.patterns,
            keys: &mut KeyCache::new(),
            printed: None,
        })
    }

    fn call(&mut self, name: &str, args: &[Value], budget: &mut Budget) -> Result<Value, Fault> {
        match find(name).map(|builtin| builtin.run) {
            Some(Run::Function(function)) => self.within(budget, |call| function(call, args)),
            _ => panic!("{name} is no function"),
        }
    }
}

fn plenty() -> Budget {
    Budget::new(50_000_000, 100_000_000)
}

#[derive(Default)]
struct Compared {
    lines: usize,
    limits: usize,
    wrong: BTreeMap<String, Vec<String>>,
}

impl Compared {
    /// Lines of `[name, [arguments], answer]`, terms as text, `null` where OPA is undefined.
    fn file(&mut self, file: &str) {
        let mut caller = Caller::new();
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let (name, args, expected): (String, Vec<String>, Option<String>) =
                serde_json::from_str(line).unwrap();
            let values: Vec<Value> = args.iter().map(|text| term(text)).collect();
            self.lines += 1;
            let got = caller.call(&name, &values, &mut plenty());
            // A call that is prepared with what is known answers the same.
            let known: Vec<Option<&Value>> = values.iter().map(Some).collect();
            let prepared = match Prepared::new(&name, &known) {
                Ok(Some(prepared)) => caller.within(&mut plenty(), |call| prepared.call(call, &values)),
                Ok(None) => got.clone(),
                Err(fault) => Err(fault),
            };
            let defined = |answer: Result<Value, Fault>| match answer {
                Ok(value) => Ok(Some(value)),
                Err(Fault::Undefined(_)) => Ok(None),
                Err(fault) => Err(fault),
            };
            let (got, prepared) = (defined(got), defined(prepared));
            self.limits += usize::from(got.is_err());
            let expected = expected.map(|text| term(&text));
            if got != Ok(expected.clone()) || prepared != got {
                let text = |value: &Option<Value>| value.as_ref().map(Value::to_rego);
                let said = format!(
                    "({}): {:?}, prepared {:?}, OPA {:?}",
                    args.join(", "),
                    got.as_ref().map(text),
                    prepared.as_ref().map(text),
                    text(&expected),
                );
                self.wrong.entry(name).or_default().push(said);
            }
        }
    }

    fn finish(self) {
        let differences: usize = self.wrong.values().map(Vec::len).sum();
        println!("{} calls, {differences} differ, {} met a limit", self.lines, self.limits);
        for (name, list) in &self.wrong {
            println!("{name}: {}", list.len());
            for said in list.iter().take(25) {
                println!("  {said}");
            }
        }
        assert_eq!(differences, 0);
    }
}

/// `CALLS` names files, as a long comparison writes them.
#[test]
#[ignore = "needs a file of calls"]
fn calls_of_a_file_answer_as_opa_does() {
    let mut compared = Compared::default();
    for file in std::env::var("CALLS").unwrap().split(':') {
        compared.file(file);
    }
    compared.finish();
}

/// Every corner of patterns, formats, strings and addresses that is known, and some thousand random calls;
/// `ends_opa` holds calls that OPA itself does not survive, which are undefined here.
#[test]
fn every_call_of_text_answers_as_opa_does() {
    let mut compared = Compared::default();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/text")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            compared.file(&path.to_string_lossy());
        }
    }
    assert!(compared.lines > 20_000);
    compared.finish();
}

fn hash(values: impl Iterator<Item = u32>) -> String {
    let hash = values.fold(2_166_136_261u32, |hash, value| (hash ^ value).wrapping_mul(16_777_619));
    format!("{hash:08x}")
}

/// Count and hash of the ranges of every class with a name, as Go's parser has them.
#[test]
fn classes_have_the_characters_that_go_gives_them() {
    let table = include_str!("../../../tests/data/text/classes.tsv");
    for line in table.lines() {
        let mut fields = line.split('\t');
        let (pattern, count) = (fields.next().unwrap(), fields.next().unwrap());
        let (class, fold) = match pattern.strip_prefix("(?i)") {
            Some(class) => (class, true),
            None => (pattern, false),
        };
        let got = super::regex::bracket_for_tests(class, fold);
        if count == "-" {
            assert!(got.is_none(), "{pattern}");
            continue;
        }
        let ranges = got.unwrap_or_else(|| panic!("{pattern} is no class"));
        assert_eq!(ranges.len().to_string(), count, "{pattern}");
        assert_eq!(
            hash(ranges.iter().flat_map(|(low, high)| [*low, *high])),
            fields.next().unwrap(),
            "{pattern}"
        );
    }
}

/// Hashes of the case mappings of every block that has any.
#[test]
fn cases_of_characters_are_those_of_go() {
    let table: BTreeMap<u32, Vec<&str>> = include_str!("../../../tests/data/text/cases.tsv")
        .lines()
        .map(|line| {
            let mut fields = line.split('\t');
            (u32::from_str_radix(fields.next().unwrap(), 16).unwrap(), fields.collect())
        })
        .collect();
    for block in (0..0x11_0000u32).step_by(0x100) {
        let chars = || block..block + 0x100;
        let map =
            |map: fn(char) -> char| hash(chars().map(|c| char::from_u32(c).map_or(c, |c| map(c).into())));
        let got = [
            map(super::unicode::upper),
            map(super::unicode::lower),
            hash(chars().map(super::unicode::next_in_circle)),
        ];
        let same = hash(chars());
        let expected = table.get(&block).cloned().unwrap_or_else(|| vec![&same; 3]);
        assert_eq!(got.to_vec(), expected, "block {block:x}");
    }
}

fn text(text: &str) -> Value {
    Value::from(text)
}

fn ends_in(name: &str, args: &[Value], steps: u64, bytes: u64) -> Result<Value, Fault> {
    Caller::new().call(name, args, &mut Budget::new(steps, bytes))
}

/// Each call would make or read far more than it may.
#[test]
fn what_would_be_too_much_meets_a_limit_before_it_is_made() {
    let long = "a".repeat(100_000);
    let many = Value::array(vec![text(&long); 1000]).unwrap();
    let calls: Vec<(&str, Vec<Value>)> = vec![
        ("concat", vec![text(""), many]),
        ("replace", vec![text(&long), text(""), text(&long)]),
        ("replace", vec![text(&long), text("a"), text(&long)]),
        ("strings.replace_n", vec![term(r#"{"": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#), text(&long)]),
        ("split", vec![text(&long), text("")]),
        ("indexof_n", vec![text(&"a".repeat(200_000)), text("a")]),
        ("upper", vec![text(&"é".repeat(1_000_000))]),
        ("sprintf", vec![text("%9999999d"), term("[1]")]),
        ("sprintf", vec![text("%.1000000f"), term("[1.5]")]),
        ("sprintf", vec![text("%1000000s%1000000s"), term(r#"["a", "b"]"#)]),
        ("sprintf", vec![text(&"%[1]s".repeat(1000)), Value::array(vec![text(&long)]).unwrap()]),
        ("regex.replace", vec![text(&long), text("a"), text(&"$0".repeat(1000))]),
        ("regex.find_n", vec![text("a"), text(&long), Value::from(-1)]),
        ("regex.split", vec![text(""), text(&long), Value::from(-1)]),
        ("regex.match", vec![text("(?:a?){100}b"), text(&"a".repeat(10_000_000))]),
        ("glob.match", vec![text("b*a*a*a*a*a*a*c"), Value::Null, text(&format!("{long}c"))]),
        ("net.cidr_expand", vec![text("10.0.0.0/8")]),
        ("net.cidr_expand", vec![text("::/0")]),
        (
            "net.cidr_contains_matches",
            vec![
                Value::array(vec![text("10.0.0.0/8"); 3000]).unwrap(),
                Value::array(vec![text("10.0.0.0/8"); 3000]).unwrap(),
            ],
        ),
        ("regex.globs_match", vec![text("[\\x00-\u{10FFFF}]"), text("a")]),
    ];
    for (name, args) in &calls {
        let answer = ends_in(name, args, 1_000_000, 2_000_000);
        assert!(
            matches!(answer, Err(Fault::Limit(_))),
            "{name} {:?}",
            answer.map(|value| value.to_rego().len())
        );
    }
}

/// A bound is met at the same place whether a pattern was compiled before or not.
#[test]
fn a_call_costs_the_same_the_second_time() {
    let calls = [
        ("regex.match", vec![text("^/api/v[0-9]+/users/[^/]+$"), text("/api/v2/users/ada")]),
        ("regex.match", vec![text("(a|b)*c\\b"), text("ababababab")]),
        ("regex.find_n", vec![text("\\pL+"), text("Grüße an alle"), Value::from(-1)]),
        ("glob.match", vec![text("/api/{v1,v2}/*"), Value::Null, text("/api/v1/x")]),
    ];
    for (name, args) in &calls {
        let mut caller = Caller::new();
        let cost = |caller: &mut Caller| {
            let mut budget = plenty();
            caller.call(name, args, &mut budget).unwrap();
            (plenty().steps_left() - budget.steps_left(), plenty().bytes_left() - budget.bytes_left())
        };
        assert_eq!(cost(&mut caller), cost(&mut caller), "{name}");
    }
}

/// `gobwas/glob` takes 18 s for six stars over a hundred characters.
#[test]
fn globs_of_many_stars_take_polynomial_time() {
    for stars in [4, 8, 12] {
        let pattern = format!("b{}*c", "*a".repeat(stars));
        let mut budget = Budget::new(2_000_000, 50_000_000);
        let args = [text(&pattern), Value::Null, text(&format!("{}c", "a".repeat(100)))];
        let answer = Caller::new().call("glob.match", &args, &mut budget);
        assert_eq!(answer, Ok(Value::Bool(false)), "{stars} stars");
    }
}

/// A DFA whose table is full is emptied, and answers as before.
#[test]
fn a_dfa_of_many_states_is_bounded() {
    // The set of the last twelve places where an `a` stood: 4096 states.
    let mut seed = 1u32;
    let text: String = (0..50_000)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if seed >> 31 == 0 { 'a' } else { 'b' }
        })
        .collect();
    let regex = super::regex::Regex::compile(b"a[ab]{12}c").unwrap();
    assert_eq!(regex.is_match(text.as_bytes(), &mut Budget::unlimited()), Ok(false));
    let with_match = format!("{text}abbbbbbbbbbbbc");
    assert_eq!(regex.is_match(with_match.as_bytes(), &mut Budget::unlimited()), Ok(true));
    assert!(regex.most_states() < 4096);
}

/// Texts too long to remember every place of go to threads, which find the same.
#[test]
fn long_texts_are_matched_as_short_ones_are() {
    let piece = "key=value; ";
    let count = 20_000;
    let mut caller = Caller::new();
    let args = [text(r"(\w+)=(\w+)(?:x{0,40}y)?; "), text(&piece.repeat(count)), Value::from(-1)];
    let mut budget = Budget::unlimited();
    let found = caller.call("regex.find_all_string_submatch_n", &args, &mut budget).unwrap();
    let items = found.as_array().unwrap();
    assert_eq!(items.len(), count);
    assert!(items.iter().all(|item| item.to_rego() == r#"["key=value; ", "key", "value"]"#));
    let args = [text(r"(?s)^(k.*)(;.*);(.*)$"), text(&piece.repeat(count)), Value::from(-1)];
    let found = caller.call("regex.find_all_string_submatch_n", &args, &mut budget).unwrap();
    let groups = found.as_array().unwrap().items()[0].as_array().unwrap().items().to_vec();
    assert_eq!(groups[1].as_bytes().unwrap().len(), piece.len() * (count - 1) - 2);
    assert_eq!(groups[3], text(" "));
}

/// No argument of any kind makes a function panic, and none runs beyond its bounds.
#[test]
fn hostile_arguments_end_in_a_value_or_a_fault() {
    let bytes = |bytes: &[u8]| Value::from(bytes);
    let mut pool: Vec<Value> = [
        "",
        "a",
        "é",
        "/api/x",
        "%",
        "%[",
        "%*.*d%v",
        "*",
        "**{a*,[!b]}?",
        "[",
        "\\",
        "(",
        "(?i)",
        "[[:a:]]",
        "$",
        "${x",
        "{",
        "10.0.0.0/8",
        "::/0",
        "a{1000}",
        "(((((a{10}){10}){10})))",
        "\\pL{300}",
        "(?i)[\\x{0}-\\x{10ffff}]*x",
        "{,,,,}",
        ".*.*.*.*.*x",
        "\0",
        "\u{FFFD}",
        "\u{10FFFF}",
    ]
    .iter()
    .map(|text| Value::from(*text))
    .collect();
    pool.extend([
        bytes(b"\xff"),
        bytes(b"a\xc3"),
        bytes(&[0xE2; 300]),
        text(&"(".repeat(2000)),
        text(&"{".repeat(2000)),
        text(&"a*".repeat(500)),
        text(&"?*".repeat(60)),
        text(&format!("{}a{}", "(".repeat(1500), ")".repeat(1500))),
        text(&"[a-z]".repeat(300)),
        text(&"%1000d".repeat(50)),
        text(&"aé".repeat(2000)),
        Value::Null,
        Value::Bool(true),
        Value::from(0),
        Value::from(-1),
        Value::from(i64::MAX),
        Value::from(i64::MIN),
        term("1.5"),
        term("1e400"),
        term("123456789012345678901234567890"),
        term("[]"),
        term("{}"),
        term("set()"),
        term(r#"["a", "é", 1]"#),
        term(r#"["a", "b"]"#),
        term(r#"{"a", ""}"#),
        term(r#"{"a": "b", "": "c"}"#),
        term(r#"[["10.0.0.0/8"], []]"#),
        term("[1, -5, 2.5, 99999999999999999999, \"x\"]"),
    ]);
    let mut caller = Caller::new();
    let mut seed = 7u64;
    let mut next = |most: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % most
    };
    for builtin in super::BUILTINS.iter().flat_map(|slice| slice.iter()) {
        let Run::Function(function) = builtin.run else { continue };
        for _ in 0..600 {
            let args: Vec<Value> = builtin.args.iter().map(|_| pool[next(pool.len())].clone()).collect();
            let mut budget = Budget::new(300_000, 4_000_000);
            let _ = caller.within(&mut budget, |call| function(call, &args));
        }
        // Too few arguments: the table's check is not all that stands between.
        let _ = caller.within(&mut plenty(), |call| function(call, &[]));
    }
}

#[test]
fn an_index_gets_the_text_that_matches_begin_with() {
    let regex = |pattern: &str| super::regex::Regex::compile(pattern.as_bytes()).unwrap();
    assert_eq!(regex("^/api/v[0-9]").prefix(), Some(&b"/api/v"[..]));
    assert_eq!(regex("^/api/").prefix(), Some(&b"/api/"[..]));
    assert_eq!(regex("/api/").prefix(), None);
    assert_eq!(regex("^a|b").prefix(), None);
    assert_eq!(regex("(?i)^a1").prefix(), None);
    assert_eq!(regex("(?m)^a1").prefix(), None);
    assert_eq!(regex("^ab*").prefix(), Some(&b"a"[..]));
    let glob = |pattern: &str| {
        super::glob::Glob::compile(pattern.as_bytes(), &['/'], &mut Budget::unlimited()).unwrap()
    };
    assert_eq!(glob("/api/*").prefix(), Some(&b"/api/"[..]));
    assert_eq!(glob("/api/**").prefix(), Some(&b"/api/"[..]));
    assert_eq!(glob("*/api").prefix(), None);
    assert_eq!(glob("a\\*b").as_text(), Some(&b"a*b"[..]));
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_used() {
    let mut caller = Caller::new();
    let used = [text("^used$"), text("used")];
    for number in 0..2000 {
        let args = [text(&format!("^a{number}$")), text("b")];
        assert_eq!(caller.call("regex.match", &args, &mut plenty()), Ok(Value::Bool(false)));
        assert_eq!(caller.call("regex.match", &used, &mut plenty()), Ok(Value::Bool(true)));
    }
    assert!(caller.patterns.len() <= 512);
    assert_eq!(caller.patterns.compiled(), 2001);
}

#[test]
fn patterns_that_are_too_large_are_limits_and_not_undefined() {
    for pattern in
        ["(?:\\pL{1000}){1}", &format!("{}a{}", "(".repeat(500), ")".repeat(500)), &"a".repeat(20_000)]
    {
        let answer = ends_in("regex.match", &[text(pattern), text("a")], u64::MAX, u64::MAX);
        assert!(matches!(answer, Err(Fault::Limit(Limit::Bytes | Limit::Depth))), "{answer:?}");
    }
    let answer = ends_in("glob.match", &[text(&"{".repeat(100)), Value::Null, text("a")], u64::MAX, u64::MAX);
    assert_eq!(answer, Err(Fault::Limit(Limit::Depth)));
    let answer =
        ends_in("glob.match", &[text(&"?a".repeat(200)), Value::Null, text("a")], u64::MAX, u64::MAX);
    assert_eq!(answer, Err(Fault::Limit(Limit::Steps)));
}
