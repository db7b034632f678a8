//! How likely a run was to fail at each of its steps, and the step after which it could not end well.

use serde::{Deserialize, Serialize};

use super::{
    schedule::Schedule,
    search::{Choice, continuation, recorded_choices},
    stage::Stage,
    trace::Trace,
};

/// Ways to go on that are tried at each place; fewer where there are many places.
const CONTINUATIONS: usize = 200;
const LEAST_CONTINUATIONS: usize = 5;
/// Most runs for all places. Not so much time: an explanation is the same on every machine.
const RUNS: usize = 40_000;

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
    let mut places: Vec<(usize, usize)> = steps.into_iter().enumerate().collect();
    places.push((choices.len(), trace.steps.len()));
    let continuations = (RUNS / places.len()).clamp(LEAST_CONTINUATIONS, CONTINUATIONS);
    // Where there are too many even for that, every so many of them.
    let every = (places.len() * continuations).div_ceil(RUNS).max(1);
    let mut risk = Vec::new();
    for (place, step) in places.into_iter().step_by(every) {
        let prefix: &[Choice] = choices.get(..place).unwrap_or_default();
        let failing = (0..continuations)
            .filter(|seed| {
                let seed = u64::try_from(*seed).unwrap_or_default();
                let ran = stage.run(continuation(prefix, seed), false);
                ran.violations.iter().any(|broken| broken.violation.oracle == oracle)
            })
            .count();
        risk.push((step, failing as f64 / continuations as f64));
        if failing == continuations {
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
