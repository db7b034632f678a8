//! Whether runs come out the same again: many random schedules, each written down, read and run a second time.

use std::sync::Arc;

use super::{
    replay::{self, Divergence, Replay},
    scenario::Scenario,
    schedule::Schedule,
    search,
    shrink::{record, record_schedule},
    stage::{Stage, StageError},
    trace::Trace,
};
use crate::abi::Module;

/// What came of running many schedules twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recheck {
    /// Schedules that were recorded and run again.
    pub schedules: u64,
    /// Steps of all recorded runs.
    pub steps: u64,
    /// Schedules that broke the scenario, which they must do both times.
    pub failing: u64,
    /// What differed, by the seed of the schedule.
    pub differing: Vec<(u64, Difference)>,
}

/// How a run differs from its recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// The text of the schedule cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// The run leaves the schedule, or sees something else.
    #[error(transparent)]
    Divergence(#[from] Divergence),
    /// The run is the same by the schedule and differs in what a schedule leaves out: times, causes, findings.
    #[error("the whole run differs first at step {step}, `{recorded}` and then `{again}`")]
    Trace {
        /// The step.
        step: usize,
        /// What was recorded.
        recorded: String,
        /// What came.
        again: String,
    },
}

/// Most differences that are kept.
const KEPT: usize = 10;

/// Runs the random schedules of these seeds, writes each down as text, reads the text and runs it again; everything must
/// come out the same.
///
/// Errors: the scenario cannot be set up.
pub fn recheck(
    module: &Module,
    scenario: &Arc<Scenario>,
    seeds: impl Iterator<Item = u64>,
) -> Result<Recheck, StageError> {
    let mut stage = Stage::new(module, scenario)?;
    let mut recheck = Recheck::default();
    for seed in seeds {
        let (_, recorded) = record(&mut stage, search::random(seed));
        recheck.schedules += 1;
        recheck.steps += u64::try_from(recorded.steps.len()).unwrap_or(u64::MAX);
        recheck.failing += u64::from(!recorded.findings.is_empty());
        let text = Schedule::of(&recorded, Vec::new()).to_string();
        let difference = match Schedule::parse(&text, "recorded") {
            Err(error) => Some(Difference::Unreadable(error.to_string())),
            Ok(schedule) => {
                let (ran, again) = record_schedule(&mut stage, &schedule, false);
                let left = Replay::of(&*ran.scheduler).divergences.first().cloned();
                let divergence = left.or_else(|| replay::compare(&schedule, &again.steps).into_iter().next());
                divergence.map(Difference::Divergence).or_else(|| Difference::between(&recorded, &again))
            }
        };
        if let Some(difference) = difference.filter(|_| recheck.differing.len() < KEPT) {
            recheck.differing.push((seed, difference));
        }
    }
    Ok(recheck)
}

// === impl Difference ===

impl Difference {
    /// The first difference between two runs; `None` where they are the same in everything.
    fn between(recorded: &Trace, again: &Trace) -> Option<Difference> {
        if recorded == again {
            return None;
        }
        let steps = recorded.steps.len().max(again.steps.len());
        let at = (0..steps).find(|at| recorded.steps.get(*at) != again.steps.get(*at));
        let reported = |trace: &Trace| match at {
            Some(at) => format!("{:?}", trace.steps.get(at)),
            None => format!("{:?}", trace.findings),
        };
        let step = at.unwrap_or(steps) + 1;
        Some(Difference::Trace { step, recorded: reported(recorded), again: reported(again) })
    }
}
