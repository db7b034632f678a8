//! How far a scenario is explored, and with how many faults.

use std::time::Duration;

use super::{Bounds, Faults, document, error::Problem};

/// More faults of a kind than this are in no schedule that ends.
const MOST_FAULTS: u32 = 100;
/// A run of more steps than this is remembered nowhere.
const MOST_STEPS: usize = 1_000_000;

pub(super) fn faults(faults: &document::Faults) -> Result<Faults, Problem> {
    let document::Faults { resets, refusals, timeouts, connect_failures, duplicates } = *faults;
    let named = [
        ("resets", resets),
        ("refusals", refusals),
        ("timeouts", timeouts),
        ("connect_failures", connect_failures),
        ("duplicates", duplicates),
    ];
    if let Some((name, count)) = named.into_iter().find(|(_, count)| *count > MOST_FAULTS) {
        let message = format!("{count} are more than a search comes to");
        return Err(Problem::new(format!("faults.{name}"), message, format!("give at most {MOST_FAULTS}")));
    }
    Ok(Faults { resets, refusals, timeouts, connect_failures, duplicates })
}

pub(super) fn bounds(bounds: &document::Bounds) -> Result<Bounds, Problem> {
    let default = Bounds::default();
    let or = |given: Option<document::Time>, otherwise: Duration| given.map_or(otherwise, |given| given.0);
    if bounds.steps == Some(0) {
        return Err(Problem::new("bounds.steps", "a run without a step shows nothing", "give at least 1"));
    }
    if let Some(steps) = bounds.steps.filter(|steps| *steps > MOST_STEPS) {
        let message = format!("{steps} are more than a search comes to");
        return Err(Problem::new("bounds.steps", message, format!("give at most {MOST_STEPS}")));
    }
    Ok(Bounds {
        until: or(bounds.until, default.until),
        settle: or(bounds.settle, default.settle),
        slack: or(bounds.slack, default.slack),
        steps: bounds.steps.unwrap_or(default.steps),
        clock_step: or(bounds.clock_step, default.clock_step),
    })
}
