//! A campaign's report as people and tests read it.

use std::fmt;

use super::{
    scenario::Expectation,
    search::{Phase, Report},
};

// === impl Report ===

impl Report {
    /// Whether nothing broke the scenario, every run could be repeated, and there were runs at all.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.first.is_none() && self.not_repeatable == 0 && self.not_run.is_none()
    }

    /// Whether what came of it is what the scenario expects; without an expectation, that nothing breaks it.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        let as_expected = match self.expect {
            Some(Expectation::Broken) => self.first.is_some(),
            Some(Expectation::Clean) | None => self.first.is_none(),
        };
        as_expected && self.not_repeatable == 0 && self.not_run.is_none()
    }

    /// Puts into words what can be said of it: that nothing was found is no proof, unless nothing was left out.
    pub(super) fn conclude(&mut self) {
        let proves = |phase: &&Phase| phase.complete && phase.certificate.is_some();
        let proving = self.phases.iter().rev().find(proves);
        let proven = proving.map(|phase| phase.name.as_str());
        let within = proving.and_then(|phase| phase.certificate.as_ref()?.within.as_deref());
        let within = within.map_or_else(String::new, |within| format!(" from {within}"));
        self.verdict = match (&self.not_run, &self.first, proven) {
            (Some(reason), ..) => format!("nothing was asked: {reason}"),
            (None, Some(found), _) => format!("broken: {}", found.oracle),
            (None, None, Some("exhaustive")) => "proved for every schedule".to_owned(),
            (None, None, Some(bound)) => format!("proved to {bound}{within}"),
            (None, None, None) => format!("clean so far ({} schedules)", self.schedules),
        };
        if self.cut_off > 0 && self.first.is_none() && self.not_run.is_none() {
            self.verdict += &format!(
                "; {} of them were cut off by `bounds.steps`: timers are fast, so shorten `until` and `settle`",
                self.cut_off
            );
        }
    }

    /// Fails a test if the scenario is not clean.
    ///
    /// # Panics
    ///
    /// With this report as the message, when it is not [`Report::is_clean`].
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }
}

impl fmt::Display for Report {
    /// One line for what came of it and one for each phase.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.scenario)?;
        if !self.variant.is_empty() {
            write!(formatter, " ({})", self.variant)?;
        }
        match (&self.not_run, &self.first) {
            (Some(reason), _) => write!(formatter, ": not run: {reason}")?,
            (None, Some(found)) => write!(
                formatter,
                ": broken by schedule {} ({}): {} ({:?}): {}",
                found.schedule, found.phase, found.oracle, found.class, found.message
            )?,
            (None, None) => write!(formatter, ": {}", self.verdict)?,
        }
        if self.not_repeatable > 0 {
            write!(
                formatter,
                "\n  {} schedules came out differently when they were run again: this is a fault of the harness",
                self.not_repeatable
            )?;
        }
        for phase in &self.phases {
            let name = &phase.name;
            write!(formatter, "\n  {name}: {} schedules, {} broken", phase.schedules, phase.failing)?;
            match &phase.certificate {
                Some(covered) => write!(formatter, ", {covered}")?,
                None if phase.complete => {}
                None => formatter.write_str(", not to its end")?,
            }
            if let Some(missed) = phase.missed_depth_2 {
                write!(
                    formatter,
                    "; a race of two steps was missed with a probability of at most {missed:.1e}"
                )?;
            }
        }
        Ok(())
    }
}
