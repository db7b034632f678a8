//! Races of a filter: a scenario is run under many schedules, and a schedule that breaks it becomes a file.
//!
//! | part | what it is |
//! |---|---|
//! | [`scenario`] | what is run: VMs, clusters, requests, and what must hold |
//! | [`search`] | looking for the schedules that break it |
//! | [`trace`] | one run, step by step, in names that people know |
//! | [`log`] | a run of production, read from Envoy's log |
//! | [`builtin`] | the scenarios that come with this crate |
//! | [`oracle`] | what holds and what does not, checked over what was seen |
//! | [`render`] | a run as a page, a drawing, text, or a file for trace viewers |

pub mod builtin;
mod explain;
pub mod log;
pub mod oracle;
mod recheck;
pub mod render;
mod replay;
mod report;
pub mod scenario;
pub mod schedule;
pub mod search;
mod shrink;
mod stage;
pub mod trace;
mod watched;

use std::sync::Arc;

pub use explain::Explanation;
pub use recheck::{Difference, Recheck, recheck};
pub use replay::Divergence;
use replay::Replay;
use scenario::Scenario;
use schedule::Schedule;
pub use search::{Found, Options, Report};
use stage::Stage;
pub use stage::StageError;
use trace::Trace;

use crate::abi::Module;

/// Searches the schedules of a scenario; [`search::explore`] also reports how far it is.
///
/// Errors: the scenario cannot be set up.
pub fn explore(module: &Module, scenario: &Arc<Scenario>, options: &Options) -> Result<Report, StageError> {
    search::explore(module, scenario, options, &mut |_, _| {})
}

/// What came of running a schedule again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The run, with what did not hold.
    pub trace: Trace,
    /// Where it did not do what the schedule says, or did not see what it says.
    pub divergences: Vec<Divergence>,
}

/// Runs a schedule again. With `lenient`, turns that cannot come are passed over and nothing is compared, so that an
/// edited schedule, or one of another module, can be tried.
///
/// Errors: the scenario cannot be set up.
pub fn replay(
    module: &Module,
    scenario: &Arc<Scenario>,
    schedule: &Schedule,
    lenient: bool,
) -> Result<Replayed, StageError> {
    let mut stage = Stage::new(module, scenario)?;
    let (ran, trace) = shrink::record_schedule(&mut stage, schedule, lenient);
    let mut divergences = Replay::of(&*ran.scheduler).divergences.clone();
    if !lenient {
        divergences.extend(replay::compare(schedule, &trace.steps));
    }
    Ok(Replayed { trace, divergences })
}

/// The least schedule that fails like the one that was found, with its run.
///
/// Errors: the scenario cannot be set up.
pub fn shrink(
    module: &Module,
    scenario: &Arc<Scenario>,
    found: &Found,
    options: &Options,
) -> Result<(Schedule, Trace), StageError> {
    let mut stage = Stage::new(module, scenario)?;
    Ok(shrink::shrink(&mut stage, found, options))
}

/// Shrinks a schedule that fails; `None` when it does not fail here.
///
/// Errors: the scenario cannot be set up.
pub fn shrink_schedule(
    module: &Module,
    scenario: &Arc<Scenario>,
    schedule: &Schedule,
    options: &Options,
) -> Result<Option<(Schedule, Trace)>, StageError> {
    let mut stage = Stage::new(module, scenario)?;
    let (_, trace) = shrink::record_schedule(&mut stage, schedule, true);
    let Some(finding) = trace.findings.first() else {
        return Ok(None);
    };
    let (choices, _) = search::recorded_choices(&mut stage, schedule);
    let found = Found::of(finding, schedule.header("found-by").unwrap_or("a file"), choices);
    Ok(Some(shrink::shrink(&mut stage, &found, options)))
}

/// How likely a schedule was to fail at each of its steps; `None` when it does not fail here.
///
/// Errors: the scenario cannot be set up.
pub fn explain(
    module: &Module,
    scenario: &Arc<Scenario>,
    schedule: &Schedule,
) -> Result<Option<Explanation>, StageError> {
    let mut stage = Stage::new(module, scenario)?;
    let (_, trace) = shrink::record_schedule(&mut stage, schedule, false);
    let Some(oracle) = trace.findings.first().map(|finding| finding.oracle.clone()) else {
        return Ok(None);
    };
    Ok(Some(explain::explain(&mut stage, schedule, trace, &oracle)))
}
