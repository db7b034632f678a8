//! A short run of random policies and calls beside OPA, with seeds that do not change. The long run is the example `differential`.

#![allow(missing_docs, unreachable_pub, dead_code)]

mod fuzz;

use fuzz::calls::{Calls, comparable};
use fuzz::oracle::Oracle;
use fuzz::policies::Policies;
use fuzz::random::Random;

/// The oracle, or one line that says why it is left out.
fn oracle() -> Option<Oracle> {
    match Oracle::start() {
        Ok(oracle) => Some(oracle),
        Err(why) => {
            let required = std::env::var("PORTCULLIS_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|name| name == "go"), "{why}");
            println!("left out: {why}");
            None
        }
    }
}

#[test]
fn builtin_functions_answer_as_opa_does() {
    let Some(mut oracle) = oracle() else { return };
    let table = comparable(None);
    let mut calls = Calls::new(&mut oracle);
    for seed in 1..=20 {
        let found = calls.batch(&Random::new(seed), &table, 500, 5);
        let all: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(all.is_empty(), "seed {seed}\n{}", all.join("\n"));
    }
}

#[test]
fn policies_by_hand_load_and_answer_as_with_opa() {
    let all = include_str!("../data/policies.txt");
    let mut wrong = Vec::new();
    for policy in all.trim_end().split("\n====\n") {
        let (_, opa) = policy.rsplit_once("\n#opa ").expect("OPA's answer");
        let ours = fuzz::given::answer(&fuzz::given::situation(policy));
        if ours != opa {
            wrong.push(format!("{policy}\nhere {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn random_policies_load_and_answer_as_with_opa() {
    let Some(mut oracle) = oracle() else { return };
    let mut policies = Policies::new(&mut oracle);
    for seed in 1..=400 {
        if let Some(difference) = policies.one(seed, true) {
            panic!("{difference}");
        }
    }
    assert!(
        policies.loaded > 100 && policies.evaluations > 1000,
        "{} of {} loaded",
        policies.loaded,
        policies.policies
    );
}
