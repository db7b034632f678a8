//! Whether the harness tells the truth: the same callbacks come and the same hostcalls return the same as in real Envoy.
//!
//! What differs all the same is in `conformance/differences.yaml` with its reason, and no more than that may differ.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_tests::probe::{
    Case, Line, Phase, cases, differences, module,
    sides::{Harness, Real, Shown, Side},
    until,
};

#[test]
fn the_harness_answers_hostcalls_as_envoy_does() {
    let cases = cases::all();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "names are unique");
    let explained = explained();
    let text = module(&cases);
    let envoy = show_all(&mut Real::start(&text), &cases);
    let harness = show_all(&mut Harness::start(&text), &cases);

    let mut unexplained = String::new();
    let mut differing = BTreeSet::new();
    for ((case, envoy), harness) in cases.iter().zip(&envoy).zip(&harness) {
        let found = compare(case, envoy, harness);
        if found.is_empty() {
            continue;
        }
        differing.insert(case.name.as_str());
        if !explained.contains_key(&case.name) {
            for line in found {
                unexplained += &format!("{}: {line}\n", case.name);
            }
        }
    }
    println!("{} cases, {} of them differ, {} explained", cases.len(), differing.len(), explained.len());
    assert!(unexplained.is_empty(), "{} cases; these differ without a reason:\n{unexplained}", cases.len());
    let settled: Vec<_> = explained.keys().filter(|name| !differing.contains(name.as_str())).collect();
    assert!(settled.is_empty(), "these differ no longer, or never were: {settled:?}");
}

fn show_all(side: &mut impl Side, cases: &[Case]) -> Vec<Shown> {
    let mut at_boot = boot(side, cases);
    let mut show = |(index, case): (usize, &Case)| match at_boot.remove(&index) {
        Some(trace) => Shown::of(trace),
        None => side.show(case, index),
    };
    cases.iter().enumerate().map(&mut show).collect()
}

/// The traces of what was done before there were requests, by the index of the case.
fn boot(side: &mut impl Side, cases: &[Case]) -> BTreeMap<usize, Vec<Line>> {
    let at_boot = || cases.iter().enumerate().filter(|(_, case)| case.is_at_boot());
    let mut traces: BTreeMap<usize, Vec<Line>> = at_boot().map(|(index, _)| (index, Vec::new())).collect();
    let Some((last, case)) = at_boot().next_back() else { return traces };
    let end = case.story.as_ref().expect("the last case at boot tells when all of it is over").until;
    let trace = side.wait(|trace| until(trace, end).map(<[Line]>::to_vec));
    let trace = trace.unwrap_or_else(|trace| panic!("what was done at boot does not end: {trace:?}"));
    let mut index = last;
    for line in trace {
        if let Line::Called(phase, [of, ..]) = &line {
            let configures = *phase == Phase::VmStart as u32 || *phase == Phase::Configure as u32;
            index = if configures { usize::try_from(*of).unwrap_or(last) } else { last };
        }
        traces.entry(index).or_default().push(line);
    }
    traces
}

fn compare(case: &Case, envoy: &Shown, harness: &Shown) -> Vec<String> {
    let mut found = differences(&envoy.trace, &harness.trace, case.rule);
    for (side, shown) in [("Envoy", envoy), ("the harness", harness)] {
        if !shown.ended {
            found.push(format!("the story does not end in {side}: {:?}", shown.trace));
        }
    }
    if envoy.response != harness.response {
        found.push(format!(
            "the client got {:?} from Envoy, {:?} from the harness",
            envoy.response, harness.response
        ));
    }
    for at in 0..envoy.upstream.len().max(harness.upstream.len()) {
        let (real, ours) = (envoy.upstream.get(at), harness.upstream.get(at));
        if real != ours {
            found.push(format!("the upstream saw {real:?} from Envoy, {ours:?} from the harness"));
        }
    }
    found
}

fn explained() -> BTreeMap<String, String> {
    let path = portcullis_tests::root().join("tests/conformance/differences.yaml");
    let text = std::fs::read_to_string(path).expect("the file of differences can be read");
    yaml_serde::from_str(&text).expect("it is a map of names to reasons")
}
