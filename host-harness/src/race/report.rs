//! A campaign's report as people and tests read it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    scenario::{Expectation, Scenario},
    search::Choice,
    stage::StageError,
    trace::{FaultClass, Finding, TurnName},
};

/// The phase of every schedule there is.
pub(super) const EXHAUSTIVE: &str = "exhaustive";
/// How the names of the bounded phases begin.
pub(super) const BOUND: &str = "bound ";

/// What a campaign found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// Its variant; empty when it has none.
    pub variant: String,
    /// The module, as the scenario names it.
    #[serde(default)]
    pub module: String,
    /// What the scenario says must come of it.
    #[serde(default)]
    pub expect: Option<Expectation>,
    /// What can be said of it, in words.
    #[serde(default)]
    pub verdict: String,
    /// Phases, in the order in which they ran.
    pub phases: Vec<Phase>,
    /// Phases for which nothing was left: time, or schedules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_begun: Vec<String>,
    /// Schedules that were run.
    pub schedules: u64,
    /// Hostcalls and decisions in all of them.
    pub steps: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Schedules that broke the scenario.
    pub failing: u64,
    /// What broke it first.
    pub first: Option<Found>,
    /// Schedules that were run a second time and came out differently: chance that is hidden from the harness.
    pub not_repeatable: u64,
    /// Schedules that were ended before their end because their steps were used up, by timers that are fast and many.
    #[serde(default)]
    pub cut_off: u64,
    /// Why nothing can be said of it.
    pub not_run: Option<String>,
    /// What broke it first as it was written down, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// A schedule that was found, shrunk and written into a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The file.
    pub file: String,
    /// The finding's identity, which is the same for the same mistake.
    pub id: String,
    /// The two turns that raced, where two did.
    pub raced: Option<(TurnName, TurnName)>,
    /// The schedule, as it is in the file.
    pub schedule: String,
}

/// One phase of a campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `bound 0`, `random`, `pct 3`, `exhaustive` and so on.
    pub name: String,
    /// Schedules that were run.
    pub schedules: u64,
    /// Schedules that broke the scenario.
    pub failing: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Whether nothing of the phase was left out.
    pub complete: bool,
    /// Why it proves nothing, where it does not.
    #[serde(default)]
    pub left_off: Option<LeftOff>,
    /// Of a systematic phase: states that are known and have ways which were not gone.
    #[serde(default)]
    pub open_states: u64,
    /// What a complete systematic phase covers.
    pub certificate: Option<Certificate>,
    /// For a random phase: a schedule that is broken by a race of depth 2 was missed with at most this probability.
    pub missed_depth_2: Option<f64>,
}

/// Why a phase proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOff {
    /// A schedule failed, and the first one is enough.
    Found,
    /// Nothing can be said of the scenario at all.
    NotAsked,
    /// Somebody ended the search.
    Interrupted,
    /// The time was over.
    Time,
    /// The part of the time that the phase may take was over.
    Share,
    /// All schedules that were given, or the phase's part of them, were run.
    Schedules,
    /// The states took all memory that was given.
    Memory,
    /// Runs were cut off because their steps were used up.
    Steps,
    /// Only one part of the work was done here.
    Shard,
    /// States were not kept, so nothing was counted.
    NoCache,
    /// A state led to itself, so its schedules have no number.
    Cycle,
}

/// What a complete systematic phase has covered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Different states in which there was a choice.
    pub states: u64,
    /// Schedules through them, as text because there are many.
    pub paths: String,
}

/// A schedule that breaks a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Which oracle says so.
    pub oracle: String,
    /// One sentence.
    pub message: String,
    /// How far from plain interleaving it had to go.
    pub class: FaultClass,
    /// The phase that found it.
    pub phase: String,
    /// Number of the schedule, from 1.
    pub schedule: u64,
    /// Seconds since the campaign began.
    pub seconds: f64,
    /// What was chosen, at each choice.
    pub(crate) choices: Vec<Choice>,
}

// === impl Report ===

impl Report {
    /// Of a scenario of which nothing has been run.
    pub(super) fn new(scenario: &Scenario) -> Report {
        Report {
            scenario: scenario.name.clone(),
            variant: scenario.variant.clone(),
            module: scenario.module.clone(),
            expect: scenario.expect,
            verdict: String::new(),
            phases: Vec::new(),
            not_begun: Vec::new(),
            schedules: 0,
            steps: 0,
            seconds: 0.0,
            failing: 0,
            first: None,
            not_repeatable: 0,
            cut_off: 0,
            not_run: None,
            kept: None,
        }
    }

    /// Of a scenario that cannot be set up.
    #[must_use]
    pub fn of_failure(scenario: &Scenario, error: &StageError) -> Report {
        Report::of_reason(scenario, &error.to_string())
    }

    /// Of a scenario of which nothing can be said, for this reason.
    #[must_use]
    pub fn of_reason(scenario: &Scenario, reason: &str) -> Report {
        let mut report = Report { not_run: Some(reason.to_owned()), ..Report::new(scenario) };
        report.conclude();
        report
    }

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

    /// What can be said of it, in a few words: that nothing was found is no proof, unless nothing was left out.
    #[must_use]
    pub fn headline(&self) -> String {
        match (&self.not_run, &self.first, self.proof().map(|phase| phase.name.as_str())) {
            (Some(_), ..) => "nothing was asked".to_owned(),
            (None, Some(found), _) => format!("broken: {}", found.oracle),
            (None, None, Some(EXHAUSTIVE)) => "proved for every schedule".to_owned(),
            (None, None, Some(bound)) => format!("proved to {bound}"),
            (None, None, None) => format!("clean so far ({} schedules)", self.schedules),
        }
    }

    /// The phase that proves the most, if any does.
    #[must_use]
    pub fn proof(&self) -> Option<&Phase> {
        self.phases.iter().rev().find(|phase| phase.complete && phase.certificate.is_some())
    }

    /// What the search has not come to the end of, and what ended it; empty when it proves all there is, or found something.
    #[must_use]
    pub fn not_reached(&self) -> Vec<String> {
        if self.first.is_some() || self.not_run.is_some() {
            return Vec::new();
        }
        if self.proof().is_some_and(|phase| phase.name == EXHAUSTIVE) {
            return Vec::new();
        }
        // By what ended them, the time mostly.
        let mut by_reason: Vec<(&'static str, Vec<String>)> = Vec::new();
        let mut add = |reason, what: String| match by_reason.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, all)) if all.contains(&what) => {}
            Some((_, all)) => all.push(what),
            None => by_reason.push((reason, vec![what])),
        };
        for phase in &self.phases {
            let is_proof = phase.certificate.is_some() || !phase.is_systematic() && phase.complete;
            if let Some(reason) = phase.left_off.filter(|_| !is_proof) {
                add(reason.words(), phase.not_reached());
            }
        }
        for name in &self.not_begun {
            add("not begun", in_words(name).to_owned());
        }
        let sentence =
            |(reason, all): (&str, Vec<String>)| format!("not reached, {reason}: {}", all.join(", "));
        by_reason.into_iter().map(sentence).collect()
    }

    /// Puts into words what can be said of it.
    pub(super) fn conclude(&mut self) {
        self.verdict = self.headline();
        if let Some(reason) = &self.not_run {
            self.verdict += &format!(": {reason}");
        }
        if self.first.is_none() && self.not_run.is_none() {
            self.verdict.extend(self.cut_off_words().map(|words| format!("; {words}")));
        }
    }

    /// How many runs were cut off, and what can be done.
    #[must_use]
    pub fn cut_off_words(&self) -> Option<String> {
        (self.cut_off > 0).then(|| {
            format!(
                "{} of them were cut off by `bounds.steps`: timers are fast, so shorten `until` and `settle`",
                self.cut_off
            )
        })
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
                Some(covered) => {
                    write!(formatter, ", all of {} paths through {} states", covered.paths, covered.states)?;
                }
                None if phase.complete => {}
                None => match phase.left_off {
                    Some(reason) => write!(formatter, ", not to its end: {}", reason.words())?,
                    None => formatter.write_str(", not to its end")?,
                },
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

// === impl Found ===

impl Found {
    pub(super) fn of(finding: &Finding, phase: &str, choices: Vec<Choice>) -> Found {
        Found {
            oracle: finding.oracle.clone(),
            message: finding.message.clone(),
            class: finding.class,
            phase: phase.to_owned(),
            schedule: 0,
            seconds: 0.0,
            choices,
        }
    }
}

// === impl LeftOff ===

impl LeftOff {
    fn words(self) -> &'static str {
        match self {
            LeftOff::Found => "a schedule failed",
            LeftOff::NotAsked => "nothing could be asked",
            LeftOff::Interrupted => "it was interrupted",
            LeftOff::Time | LeftOff::Share => "the time was over",
            LeftOff::Schedules => "the schedules were used up",
            LeftOff::Memory => "its states took all the memory given",
            LeftOff::Steps => "runs were cut off by `bounds.steps`",
            LeftOff::Shard => "only one part of the work was done here",
            LeftOff::NoCache => "without states nothing is counted",
            LeftOff::Cycle => "a state led to itself",
        }
    }
}

/// `1 schedule`, `2 schedules`
fn schedules(count: u64) -> String {
    if count == 1 { "1 schedule".to_owned() } else { format!("{count} schedules") }
}

/// The name of a phase in a sentence.
fn in_words(name: &str) -> &str {
    match name {
        EXHAUSTIVE => "every schedule",
        "random" => "random schedules",
        name => name,
    }
}

// === impl Phase ===

impl Phase {
    /// Whether it goes through all schedules of its bound, and not through random ones.
    #[must_use]
    pub fn is_systematic(&self) -> bool {
        self.name == EXHAUSTIVE || self.name.starts_with(BOUND)
    }

    /// What it is that was not reached, and how far it came.
    fn not_reached(&self) -> String {
        if !self.is_systematic() {
            return "all random schedules".to_owned();
        }
        let left = match self.open_states {
            0 => String::new(),
            1 => ", at least 1 state left".to_owned(),
            open => format!(", at least {open} states left"),
        };
        format!("{} ({} run{left})", in_words(&self.name), schedules(self.schedules))
    }

    pub(super) fn new(name: &str) -> Phase {
        Phase {
            name: name.to_owned(),
            schedules: 0,
            failing: 0,
            seconds: 0.0,
            complete: false,
            left_off: None,
            open_states: 0,
            certificate: None,
            missed_depth_2: None,
        }
    }
}
