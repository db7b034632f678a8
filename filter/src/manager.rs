//! Which bundle is where, now: downloads, the newest good content of each, and the policies made of them.
//!
//! A bundle is judged alone when it arrives; whether bundles fit together is judged per policy. So what a VM ends
//! up with depends on what was published, never on the order of arrival. Readiness is computed from this state
//! whenever it is asked (INVARIANT queried readiness): nothing here stores or sends one.

mod download;
mod policies;

use std::{rc::Rc, time::Duration};

use log::Level;

use crate::{
    config::Config,
    policy::Policy,
    telemetry::{Counter, DownloadOutcome},
};

use download::{Download, Finished};
use policies::Policies;

pub use download::{Answer, FetchId, HttpCall};
pub use policies::NotReady;

/// Pause between ticks while something is still missing.
const BUSY_TICK: Duration = Duration::from_millis(10);
/// Pause between ticks when every policy is ready: polls are due once in seconds.
const CALM_TICK: Duration = Duration::from_millis(100);

/// What happens to the manager.
#[derive(Debug)]
pub enum Event {
    /// The host's timer: starts what is due.
    Tick,
    /// A fetch came to its end, or could not begin.
    Fetched {
        /// From the [`Effect::Fetch`] that it answers.
        id: FetchId,
        /// What came.
        answer: Answer,
    },
    /// Time to spare: compiles one policy whose bundles have changed.
    Adopt,
}

/// What the manager asks of the host.
#[derive(Debug)]
pub enum Effect {
    /// Fetch a bundle; answered by [`Event::Fetched`], whatever becomes of it.
    Fetch {
        /// To be given back with the answer.
        id: FetchId,
        /// The request.
        call: HttpCall,
    },
    /// Tell the operator.
    Log(Level, String),
    /// Count.
    Count(Counter),
}

/// The state of every bundle and policy in one VM.
#[derive(Debug)]
pub struct Manager {
    downloads: Vec<Download>,
    policies: Policies,
    max_concurrent_downloads: usize,
    first_tick: Option<Duration>,
    /// The time to ready is told once; whether it *is* ready is computed each time.
    told_ready: bool,
}

// === impl Manager ===

impl Manager {
    /// A manager that has loaded nothing. `seed` spreads its polls and retries over time.
    pub fn new(config: &Config, seed: u64) -> Self {
        let downloads = config.bundles.iter().enumerate().map(|(index, (name, source))| {
            let seed = seed.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            Download::new(index, name.clone(), source.clone(), seed)
        });
        Self {
            downloads: downloads.collect(),
            policies: Policies::new(config),
            max_concurrent_downloads: config.max_concurrent_downloads,
            first_tick: None,
            told_ready: false,
        }
    }

    /// Feeds one event in and returns what the host must do, in order.
    ///
    /// Units: `now` is the time since any fixed moment, never going back.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        match event {
            Event::Tick => self.tick(now),
            Event::Fetched { id, answer } => self.fetched(id, answer, now),
            Event::Adopt => self.adopt(now),
        }
    }

    /// Whether [`Event::Adopt`] would find something to do.
    pub fn has_pending_policy(&self) -> bool {
        self.policies.has_pending()
    }

    /// The policy of that name if it can decide now, or why it cannot.
    pub fn policy(&self, name: &str) -> Result<&Rc<Policy>, NotReady> {
        self.policies.get(name, &self.downloads)
    }

    /// Whether every policy can decide now. Never true of nothing: a configuration without policies is refused.
    pub fn is_ready(&self) -> bool {
        self.policies.all_ready()
    }

    /// How long the host should wait until the next [`Event::Tick`].
    pub fn tick_period(&self) -> Duration {
        if self.is_ready() { CALM_TICK } else { BUSY_TICK }
    }

    fn adopt(&mut self, now: Duration) -> Vec<Effect> {
        let mut effects = self.policies.adopt(&self.downloads);
        if !self.told_ready && self.is_ready() {
            self.told_ready = true;
            let elapsed = now.saturating_sub(self.first_tick.unwrap_or(now));
            let message =
                format!("ready: every policy can decide, {} ms after the first tick", elapsed.as_millis());
            effects.push(Effect::Log(Level::Info, message));
        }
        effects
    }

    fn tick(&mut self, now: Duration) -> Vec<Effect> {
        self.first_tick.get_or_insert(now);
        let mut effects = Vec::new();
        for download in &mut self.downloads {
            if let Some(finished) = download.give_up_overdue(now) {
                effects.extend(report(download, &finished));
            }
        }
        effects.extend(self.start_due(now));
        effects
    }

    fn start_due(&mut self, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        let in_flight = self.downloads.iter().filter(|download| download.is_in_flight()).count();
        let room = self.max_concurrent_downloads.saturating_sub(in_flight);
        let mut due: Vec<&mut Download> =
            self.downloads.iter_mut().filter(|download| download.is_due(now)).collect();
        // Who has waited longest goes first, so that a small window starves nobody.
        due.sort_by_key(|download| download.due_at());
        for download in due.into_iter().take(room) {
            let (id, call) = download.start(now);
            effects.push(Effect::Fetch { id, call });
        }
        effects
    }

    fn fetched(&mut self, id: FetchId, answer: Answer, now: Duration) -> Vec<Effect> {
        let Some(download) = self.downloads.get_mut(id.bundle) else {
            return Vec::new();
        };
        let Some(finished) = download.finish(id, answer, now) else {
            return Vec::new();
        };
        let mut effects = report(download, &finished);
        if matches!(finished, Finished::Activated { .. }) {
            self.policies.bundle_changed(download.name());
        }
        // The place in the window that became free is given away at once.
        effects.extend(self.start_due(now));
        effects
    }
}

/// Each transition is told once; a fault that merely repeats is told to those who debug.
fn report(download: &Download, finished: &Finished) -> Vec<Effect> {
    let name = download.name();
    let (outcome, level, message) = match finished {
        Finished::Activated { revision, generation } => {
            let message =
                format!("bundle `{name}`: generation {generation} is active, revision `{revision}`");
            (DownloadOutcome::Activated, Level::Info, message)
        }
        Finished::NotModified => {
            (DownloadOutcome::NotModified, Level::Debug, format!("bundle `{name}`: unchanged"))
        }
        Finished::Failed { fault, repeated, retry_in } => {
            let level = if *repeated { Level::Debug } else { Level::Warn };
            let kept =
                if download.active().is_some() { "the last good one stays active" } else { "none is active" };
            let message =
                format!("bundle `{name}`: {fault}; {kept}, retrying in {} ms", retry_in.as_millis());
            (fault.outcome(), level, message)
        }
    };
    let counter = Counter::Download { bundle: name.to_owned(), outcome };
    vec![Effect::Count(counter), Effect::Log(level, message)]
}

#[cfg(test)]
mod tests;
