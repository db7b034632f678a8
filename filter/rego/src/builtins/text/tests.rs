//! Calls against what the real `opa` answered, and bounds.

use crate::builtins::{Budget, Call, Fault, PatternCache, Run, find};
use crate::value::Value;
use crate::value::terms::term;
use std::collections::BTreeMap;

/// Calls by name with one cache of patterns for all.
struct Caller {
    patterns: PatternCache,
}

impl Caller {
    fn new() -> Caller {
        Caller { patterns: PatternCache::new() }
    }

    fn call(&mut self, name: &str, args: &[Value], budget: &mut Budget) -> Result<Value, Fault> {
        let runtime = Value::Null;
        let mut call = Call {
            budget,
            now_ns: 0,
            seed: [0, 0],
            runtime: &runtime,
            patterns: &mut self.patterns,
            printed: None,
        };
        match find(name).map(|builtin| builtin.run) {
            Some(Run::Function(function)) => function(&mut call, args),
            _ => panic!("{name} is no function"),
        }
    }
}

/// `CALLS` names files of lines `[name, [arguments], answer]`, terms as text, `null` where OPA is undefined: what a
/// long comparison writes. Prints each kind of difference.
#[test]
#[ignore = "needs a file of calls"]
fn calls_of_a_file_answer_as_opa_does() {
    let mut caller = Caller::new();
    let (mut lines, mut limits) = (0, 0);
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in std::env::var("CALLS").unwrap().split(':') {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let (name, args, expected): (String, Vec<String>, Option<String>) =
                serde_json::from_str(line).unwrap();
            let values: Vec<Value> = args.iter().map(|text| term(text)).collect();
            lines += 1;
            let mut budget = Budget::new(50_000_000, 100_000_000);
            let got = match caller.call(&name, &values, &mut budget) {
                Ok(value) => Some(value),
                Err(Fault::Undefined(_)) => None,
                Err(fault) => {
                    limits += 1;
                    Some(Value::array(vec![format!("{fault:?}").into()]).unwrap())
                }
            };
            if got != expected.as_ref().map(|text| term(text)) {
                let got = got.map(|value| value.to_rego());
                let said = format!("({}): {got:?}, OPA {expected:?}", args.join(", "));
                wrong.entry(name).or_default().push(said);
            }
        }
    }
    let differences: usize = wrong.values().map(Vec::len).sum();
    println!("{lines} calls, {differences} differ, {limits} met a limit");
    for (name, list) in &wrong {
        println!("{name}: {}", list.len());
        for said in list.iter().take(25) {
            println!("  {said}");
        }
    }
    assert!(wrong.is_empty());
}
