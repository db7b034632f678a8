//! How likely a run was to fail at each of its steps, and the step after which it could not end well.

use serde::{Deserialize, Serialize};

use super::{
    schedule::Schedule,
    search::{Choice, continuation, recorded_choices},
    stage::Stage,
    trace::Trace,
};

/// Ways to go on that are tried at each place.
const CONTINUATIONS: u64 = 200;

/// What a schedule's failure depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The run, with what failed.
    pub trace: Trace,
    /// For each place where there was a choice: the step before it, and the share of random ways to go on that fail.
    pub risk: Vec<(usize, f64)>,
}

/// Explains why a schedule fails by an oracle.
pub(super) fn explain(stage: &mut Stage, schedule: &Schedule, mut trace: Trace, oracle: &str) -> Explanation {
    let (choices, steps) = recorded_choices(stage, schedule);
    let mut risk = Vec::new();
    for (place, step) in steps
        .iter()
        .enumerate()
        .map(|(place, step)| (place, *step))
        .chain([(choices.len(), trace.steps.len())])
    {
        let prefix: &[Choice] = choices.get(..place).unwrap_or_default();
        let failing = (0..CONTINUATIONS)
            .filter(|seed| {
                let ran = stage.run(continuation(prefix, *seed), false);
                ran.violations.iter().any(|broken| broken.violation.oracle == oracle)
            })
            .count();
        risk.push((step, failing as f64 / CONTINUATIONS as f64));
        if failing as u64 == CONTINUATIONS {
            break;
        }
    }
    // The first place from which nothing but failure was seen: the choice before it decided.
    let inevitable = risk.iter().find(|(_, share)| *share >= 1.0).map(|(step, _)| *step);
    // Which came first of these two decided it. Where it could end in no other way from the beginning, none did.
    let decided = inevitable.and_then(|step| {
        let before = trace.steps.get(step.checked_sub(1)?)?;
        let after = trace.steps.get(step..)?.iter().find(|later| later.turn != before.turn)?;
        Some((before.turn.clone(), after.turn.clone()))
    });
    for finding in &mut trace.findings {
        finding.inevitable_after = inevitable;
        finding.raced = finding.raced.take().or_else(|| decided.clone());
    }
    Explanation { trace, risk }
}
