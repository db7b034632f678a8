//! Looking for a schedule that breaks a scenario, and proving that there is none.
//!
//! A campaign has phases, cheapest first: every schedule without a preemption, with one, with two ([`systematic`]); then a
//! portfolio of random ones ([`portfolio`]); then every schedule there is. A systematic phase keeps the states that it has
//! been in, so it ends when all of them are known, and says how many schedules that covers.

mod choice;
mod portfolio;
mod systematic;
pub(in crate::race) mod whole;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

pub use super::report::{Certificate, Found, Kept, LeftOff, Phase, Report};

pub(crate) use self::choice::{Choice, Follow};
use self::{
    choice::Noting,
    portfolio::{Portfolio, Strategy},
    systematic::{Systematic, Tree},
};
use super::{
    replay::Replay,
    report::{BOUND, EXHAUSTIVE},
    scenario::Scenario,
    schedule::Schedule,
    stage::{Cut, Ran, Stage, StageError, Stop},
};
use crate::{abi::Module, envoy::schedule::Scheduler};

/// How far a campaign goes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most preemptions of the bounded phases; each smaller bound is searched before.
    pub preemptions: u32,
    /// Count of random schedules between the bounded phases and the exhaustive one.
    pub random: u64,
    /// Whether every schedule is tried in the end.
    pub exhaustive: bool,
    /// Most time for all of it, and once more for shrinking what is found. The bounded phases leave half of it to the
    /// others.
    pub time: Duration,
    /// Most bytes of states that one systematic phase keeps; it ends when they are used up.
    pub state_bytes: usize,
    /// Ends everything when it is true; what was found until then is kept.
    pub stop: Arc<AtomicBool>,
    /// Most schedules for all of it; shared out like the time.
    pub schedules: u64,
    /// Seed of the random schedules.
    pub seed: u64,
    /// Which part of the work is done here, counted from 1, and of how many.
    pub shard: (u32, u32),
    /// Whether callbacks may be held inside; without it, only their order differs.
    pub inside_callbacks: bool,
    /// Whether the campaign ends with the first schedule that breaks the scenario.
    pub stop_at_first: bool,
    /// Whether a systematic phase goes through no state twice. Without it, every schedule is run, which is what a
    /// certificate is held against; only the smallest scenarios come to an end.
    pub cache: bool,
}

/// What is reported while a campaign runs.
pub type Progress<'a> = &'a mut dyn FnMut(&Report, &str);

/// In how many runs a shorter way is looked for. Where the time suffices, a schedule shrinks to the same on every machine.
const MINIMAL_RUNS: u64 = 20_000;
/// Within so many steps a single random schedule changes its priorities.
const RANDOM_STEPS: usize = 64;
/// How many runs there are between two looks at whether a run can be repeated.
const REPEAT_EVERY: u64 = 64;

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Options {
            preemptions: 2,
            random: 2000,
            exhaustive: true,
            time: Duration::from_secs(10),
            state_bytes: 1 << 30,
            stop: Arc::default(),
            schedules: u64::MAX,
            seed: 1,
            shard: (1, 1),
            inside_callbacks: true,
            stop_at_first: true,
            cache: true,
        }
    }
}

impl Options {
    /// When what begins now must be over.
    pub(super) fn stop(&self) -> Stop {
        let stop = Stop::default().when(&self.stop);
        // A time that no clock can tell is no limit.
        match Instant::now().checked_add(self.time) {
            Some(at) => stop.at(at),
            None => stop,
        }
    }
}

/// The random schedule of a seed, of each kind in turn.
pub(super) fn random(seed: u64) -> Box<dyn Scheduler> {
    let kinds = u64::try_from(Strategy::ALL.len()).unwrap_or(1);
    let kind = usize::try_from(seed % kinds).unwrap_or(0);
    let strategy = Strategy::ALL.get(kind).copied().unwrap_or(Strategy::Walk);
    Box::new(Portfolio::new(strategy, seed, RANDOM_STEPS))
}

/// A scheduler that takes the same choices and then random ones.
pub(super) fn continuation(prefix: &[Choice], seed: u64) -> Box<dyn Scheduler> {
    let random = Portfolio::new(Strategy::Walk, seed, 1);
    Box::new(Follow::and_then(prefix.to_vec(), Box::new(random)))
}

/// The choices that a schedule makes, and the step before each.
pub(super) fn recorded_choices(stage: &mut Stage, schedule: &Schedule) -> (Vec<Choice>, Vec<usize>) {
    let noting = Noting::new(Box::new(Replay::new(schedule, false)));
    let ran = stage.run(Box::new(noting), true);
    Noting::of(&*ran.scheduler).made()
}

/// Choices with as few preemptions as possible that fail by the same oracle, if the bounded search finds any soon.
pub(super) fn minimal(stage: &mut Stage, found: &Found, options: &Options) -> Option<Vec<Choice>> {
    let preemptions = found.choices.iter().filter(|choice| choice.inside && choice.taken > 0).count();
    let mut runs = 0;
    // The bound that it needs itself is searched as well: what is found there first is the same for every seed.
    for bound in 0..=u32::try_from(preemptions).unwrap_or(u32::MAX).min(options.preemptions) {
        let mut tree = Tree::new(Some(bound), options, (1, 1));
        while runs < MINIMAL_RUNS && tree.bytes() < options.state_bytes && !stage.is_stopped() {
            runs += 1;
            let ran = stage.run(Box::new(Systematic::new(tree)), false);
            let choices = Systematic::of(&*ran.scheduler).choices();
            if ran.violations.iter().any(|broken| broken.violation.oracle == found.oracle) {
                return Some(choices);
            }
            tree = Systematic::into_tree_of(ran.scheduler, choices);
            if !tree.backtrack() {
                break;
            }
        }
    }
    None
}

/// Searches the schedules of one scenario.
///
/// Errors: the scenario cannot be set up.
pub fn explore(
    module: &Module,
    scenario: &Arc<Scenario>,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Report, StageError> {
    let mut campaign = Campaign::new(Stage::new(module, scenario)?, options.clone());
    campaign.run(progress);
    Ok(campaign.report)
}

/// Until when a phase may go on.
#[derive(Debug, Clone, Copy)]
struct Share {
    time: Duration,
    schedules: u64,
}

struct Campaign {
    stage: Stage,
    options: Options,
    report: Report,
    began: Instant,
}

// === impl Campaign ===

impl Campaign {
    fn new(mut stage: Stage, options: Options) -> Campaign {
        let report = Report::new(stage.scenario());
        stage.stop(options.stop());
        Campaign { stage, options, report, began: Instant::now() }
    }

    fn run(&mut self, progress: Progress<'_>) {
        let bounds = if self.options.inside_callbacks { self.options.preemptions } else { 0 };
        let is_last = !self.options.inside_callbacks || self.options.random == 0 && !self.options.exhaustive;
        // A large scenario fills any time with the first of these, which leaves its later choices as they are.
        let all = Share { time: self.options.time, schedules: self.options.schedules };
        let bounded = if is_last { all } else { Share { time: all.time / 2, schedules: all.schedules / 2 } };
        for bound in 0..=bounds {
            let until = self.part_of(bounded, bounds - bound + 1);
            self.systematic(Some(bound), until, progress);
        }
        if self.options.inside_callbacks {
            self.portfolio(progress);
        }
        if self.options.exhaustive && self.options.inside_callbacks {
            self.systematic(None, all, progress);
        }
        self.report.seconds = self.began.elapsed().as_secs_f64();
        if self.report.schedules == 0 && self.report.not_run.is_none() {
            self.report.not_run =
                Some("it was ended before one schedule was run: give it more time".to_owned());
        }
        let vain = self.stage.waits_in_vain().filter(|_| self.report.first.is_none());
        if let (Some(request), None) = (vain, &self.report.not_run) {
            self.report.not_run = Some(format!(
                "what comes after request `{request}` never happens, as that comes to no end before the run is over: \
                 raise `bounds.until`, or see what keeps it waiting"
            ));
        }
        self.report.conclude();
    }

    /// Why the whole campaign is over, if it is.
    fn over(&self) -> Option<LeftOff> {
        if self.options.stop_at_first && self.report.first.is_some() {
            Some(LeftOff::Found)
        } else if self.report.not_run.is_some() {
            Some(LeftOff::NotAsked)
        } else if self.options.stop.load(Ordering::Relaxed) {
            Some(LeftOff::Interrupted)
        } else if self.stage.is_stopped() {
            Some(LeftOff::Time)
        } else if self.report.schedules >= self.options.schedules {
            Some(LeftOff::Schedules)
        } else {
            None
        }
    }

    /// What a phase may take when so many are left to share.
    fn part_of(&self, share: Share, phases: u32) -> Share {
        let elapsed = self.began.elapsed();
        let time = share.time.saturating_sub(elapsed) / phases;
        let schedules = share.schedules.saturating_sub(self.report.schedules) / u64::from(phases);
        Share {
            time: elapsed.saturating_add(time),
            schedules: self.report.schedules.saturating_add(schedules),
        }
    }

    /// Why a phase is over, if it is.
    fn over_for(&self, share: Share) -> Option<LeftOff> {
        let time = (self.began.elapsed() >= share.time).then_some(LeftOff::Share);
        let schedules = (self.report.schedules >= share.schedules).then_some(LeftOff::Schedules);
        self.over().or(time).or(schedules)
    }

    fn systematic(&mut self, bound: Option<u32>, until: Share, progress: Progress<'_>) {
        let name = bound.map_or_else(|| EXHAUSTIVE.to_owned(), |bound| format!("{BOUND}{bound}"));
        let mut phase = Phase::new(&name);
        if let Some(over) = self.over() {
            return self.not_begun(phase, over);
        }
        let began = Instant::now();
        let mut tree = Tree::new(bound, &self.options, self.options.shard);
        loop {
            let scheduler = Systematic::new(tree);
            let ran = self.stage.run(Box::new(scheduler), false);
            let run = Systematic::of(&*ran.scheduler);
            let (choices, is_ours) = (run.choices(), run.is_ours());
            if is_ours {
                self.count(&mut phase, &ran, &choices, progress);
            }
            tree = Systematic::into_tree_of(ran.scheduler, choices);
            if ran.cut != Some(Cut::Stopped) && !tree.backtrack() {
                phase.complete = self.report.cut_off == 0;
                phase.left_off = (!phase.complete).then_some(LeftOff::Steps);
                break;
            }
            let full = tree.bytes() >= self.options.state_bytes;
            phase.left_off = self.over_for(until).or(full.then_some(LeftOff::Memory));
            if phase.left_off.is_some() {
                break;
            }
        }
        phase.seconds = began.elapsed().as_secs_f64();
        if self.options.cache {
            phase.open_states = tree.open_states();
        }
        if phase.complete {
            // A part of the work proves nothing about the whole, and without states there is nothing to count.
            if self.options.shard.1 > 1 {
                phase.left_off = Some(LeftOff::Shard);
            } else if !self.options.cache {
                phase.left_off = Some(LeftOff::NoCache);
            } else {
                phase.certificate = tree.certificate();
                phase.left_off = phase.certificate.is_none().then_some(LeftOff::Cycle);
            }
        }
        self.report.phases.push(phase);
    }

    /// Notes a phase that was never begun; one that nobody wants any more is none.
    fn not_begun(&mut self, phase: Phase, over: LeftOff) {
        if !matches!(over, LeftOff::Found | LeftOff::NotAsked) {
            self.report.not_begun.push(phase.name);
        }
    }

    fn portfolio(&mut self, progress: Progress<'_>) {
        if self.options.random == 0 {
            return;
        }
        if let Some(over) = self.over() {
            return self.not_begun(Phase::new("random"), over);
        }
        let (shard, shards) = self.options.shard;
        let all = Share { time: self.options.time, schedules: self.options.schedules };
        for (strategy, left) in Strategy::ALL.into_iter().zip((1..=Strategy::ALL.len()).rev()) {
            let until = self.part_of(all, u32::try_from(left).unwrap_or(1));
            let mut phase = Phase::new(strategy.name());
            let began = Instant::now();
            let mut most_steps = 1;
            let count = self.options.random / u64::try_from(Strategy::ALL.len()).unwrap_or(1);
            phase.complete = true;
            for number in 0..count {
                if number % u64::from(shards) != u64::from(shard - 1) {
                    continue;
                }
                phase.left_off = self.over_for(until);
                if phase.left_off.is_some() {
                    phase.complete = false;
                    break;
                }
                let seed = self.options.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let scheduler = Portfolio::new(strategy, seed, most_steps);
                let ran = self.stage.run(Box::new(scheduler), false);
                most_steps = most_steps.max(ran.steps);
                let choices = Portfolio::of(&*ran.scheduler).choices();
                self.count(&mut phase, &ran, &choices, progress);
            }
            let threads = self.stage.threads().len();
            phase.missed_depth_2 = strategy.missed_depth_2(threads, most_steps, phase.schedules);
            phase.seconds = began.elapsed().as_secs_f64();
            self.report.phases.push(phase);
        }
    }

    /// Counts a run and the choices that were made in it.
    fn count(&mut self, phase: &mut Phase, ran: &Ran, made: &[Choice], progress: Progress<'_>) {
        match &ran.cut {
            Some(Cut::Stopped) if ran.violations.is_empty() => return,
            Some(Cut::UnknownCluster(cluster)) => {
                self.report.not_run = Some(format!(
                    "it calls cluster `{cluster}`, which the scenario has not: add it to `clusters`, or `*` for every one"
                ));
                return;
            }
            Some(Cut::Steps) => self.report.cut_off += 1,
            _ => {}
        }
        phase.schedules += 1;
        self.report.schedules += 1;
        self.report.steps += u64::try_from(ran.steps).unwrap_or(u64::MAX);
        if let Some(broken) = ran.violations.first() {
            phase.failing += 1;
            self.report.failing += 1;
            if self.report.first.is_none() {
                self.report.first = Some(Found {
                    oracle: broken.violation.oracle.to_owned(),
                    message: broken.violation.message.clone(),
                    class: ran.class,
                    phase: phase.name.clone(),
                    schedule: self.report.schedules,
                    seconds: self.began.elapsed().as_secs_f64(),
                    choices: made.to_vec(),
                });
            }
        }
        if self.report.schedules % REPEAT_EVERY == 1 {
            self.repeat(made, ran);
        }
        self.report.seconds = self.began.elapsed().as_secs_f64();
        progress(&self.report, &phase.name);
    }

    /// Runs the same choices again; everything must come out the same.
    fn repeat(&mut self, made: &[Choice], ran: &Ran) {
        if ran.scheduler.is_done() || self.stage.is_stopped() {
            return;
        }
        let again = self.stage.run(Box::new(Follow::new(made.to_vec())), false);
        if again.cut == Some(Cut::Stopped) {
            return;
        }
        let same = Follow::of(&*again.scheduler).is_faithful()
            && again.steps == ran.steps
            && again.class == ran.class
            && again.violations == ran.violations;
        if !same {
            self.report.not_repeatable += 1;
        }
    }
}
