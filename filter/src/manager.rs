//! Which bundle is where, now: for all VMs in shared data, for this one beside it.
//!
//! Shared data has one record per bundle, which says what is published and which member loads it. A member claims a
//! bundle from a tick, when nobody alive has it; the epoch of its claim is the fence of everything that it writes.
//! Every VM compares the records with what it serves, on ticks and when it is told to look, and reads what is newer
//! beside what is active. A notice has nothing in it: a lost, late, doubled or foreign one changes only how soon.
//!
//! A bundle is judged alone before it is published; whether bundles fit together is judged per policy. So what a VM
//! ends up with depends on what was published, never on the order of arrival. Readiness is computed from this state
//! whenever it is asked (INVARIANT queried readiness): nothing here stores or sends one.

mod comparison;
mod download;
mod health;
mod loading;
mod member;
mod policies;
mod record;
mod registry;
mod replica;
mod shared;
mod shelf;
mod teller;

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use log::Level;
use sha2::{Digest, Sha256};

use crate::{
    bundle::Bundle,
    config::{BundleSource, Config, Staleness},
    hooks::{Protection, guards},
    policy::{Disposal, Policy},
    telemetry::{Counter, Gauge},
};

use comparison::{Comparison, WAITING};
use download::Download;
use member::{Change, Members, Membership, Serving};
use policies::{Bundles, Policies};
use record::{BundleRecord, VmName, millis};
use replica::{Replica, Step};
use teller::Teller;

pub use download::{Answer, FetchId, HttpCall};
pub use health::{BundleHealth, Health, VmHealth};
pub use policies::NotReady;
pub use shared::{LocalData, Read, Seen, SharedData};
pub use shelf::Shelf;

/// Pause between ticks while something is under way, and the least between two comparisons.
const BUSY_TICK: Duration = Duration::from_millis(10);
/// Pause between ticks when nothing is: polls are due once in seconds.
const CALM_TICK: Duration = Duration::from_millis(100);
/// Pause between two looks at the figures of the process.
const GAUGE_PERIOD: Duration = Duration::from_secs(1);
/// Figures shown in one piece of work.
const GAUGES_AT_ONCE: usize = 32;

/// What happens to the manager.
#[derive(Debug)]
pub enum Event {
    /// The plugin context has its configuration: serves what others have published before the first request comes.
    Start,
    /// The host's timer: renews, and sees what is due. What grows with the number of bundles is left to the work.
    Tick,
    /// Somebody has published something, perhaps.
    Hinted,
    /// A fetch came to its end, or could not begin.
    Fetched {
        /// From the [`Effect::Fetch`] that it answers.
        id: FetchId,
        /// What came.
        answer: Answer,
    },
    /// Time to spare: does one small piece of the work that waits.
    Work,
    /// The plugin context ends.
    Done,
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
    /// Turn what comes on this shared queue into [`Event::Hinted`].
    Listen {
        /// Name of the queue.
        queue: String,
    },
    /// Put an empty item on the shared queue of another VM.
    Hint {
        /// Name of the queue.
        queue: String,
    },
    /// Tell the operator.
    Log(Level, String),
    /// Count.
    Count(Counter),
    /// Show a figure.
    Show(Gauge, u64),
}

/// The state of every bundle and policy in one VM.
#[derive(Debug)]
pub struct Manager {
    tracked: Vec<Tracked>,
    policies: Policies,
    membership: Membership,
    max_concurrent_downloads: usize,
    frees_superseded: bool,
    shelf: Shelf,
    /// Documents that were replaced, which are freed in small pieces.
    disposal: Disposal,
    /// Whether there is something to free now.
    is_disposing: bool,
    slice: Duration,
    staleness: BTreeMap<String, Staleness>,
    random: fastrand::Rng,
    /// Counts attempts to fetch, so that each has a number of its own.
    attempts: u64,
    first_tick: Option<Duration>,
    /// When the figures of the process were last shown.
    shown: Option<Duration>,
    compared: Option<Duration>,
    /// The comparison that is under way.
    comparison: Option<Comparison>,
    /// Pause until the next comparison.
    comparison_pause: Duration,
    /// Something was published here of which the other members have not been told.
    untold: bool,
    /// What it serves has changed since its member record was written.
    unrecorded: bool,
    /// The time to ready is told once; whether it *is* ready is computed each time.
    told_ready: bool,
    /// A download may be due now, and there may be room for it.
    may_start: bool,
    /// Figures that are still to be shown.
    gauges: Vec<(Gauge, u64)>,
    has_ended: bool,
    teller: Teller,
}

/// One configured bundle.
#[derive(Debug)]
struct Tracked {
    name: String,
    key: String,
    source: BundleSource,
    /// The record as it was last read, with its number.
    record: Option<(BundleRecord, Seen)>,
    replica: Replica,
    /// While this VM owns the bundle.
    download: Option<Download>,
    /// The generation whose predecessor has been freed.
    freed: u64,
}

// === impl Manager ===

impl Manager {
    /// A manager that knows nothing. `seed` names it, and spreads its polls and retries over time; what is on the shelf
    /// of its VM it need not read.
    pub fn new(config: &Config, seed: u64, shelf: Shelf) -> Self {
        let vm = VmName((seed >> 32) as u32 ^ seed as u32);
        let tracked = config.bundles.iter().map(|(name, source)| Tracked {
            name: name.clone(),
            key: record::bundle_key(name, source),
            source: source.clone(),
            record: None,
            replica: Replica::default(),
            download: None,
            freed: 0,
        });
        Self {
            tracked: tracked.collect(),
            policies: Policies::new(config),
            membership: Membership::new(vm, plugin_number(config), config.manager.lease),
            max_concurrent_downloads: config.max_concurrent_downloads,
            frees_superseded: config.manager.frees_superseded,
            shelf,
            disposal: Disposal::default(),
            is_disposing: false,
            slice: config.manager.adoption_slice,
            staleness: config.staleness.clone(),
            random: fastrand::Rng::with_seed(seed),
            attempts: 0,
            first_tick: None,
            shown: None,
            compared: None,
            comparison: None,
            comparison_pause: BUSY_TICK,
            untold: false,
            unrecorded: false,
            told_ready: false,
            may_start: false,
            gauges: Vec::new(),
            has_ended: false,
            teller: Teller::new(vm),
        }
    }

    /// Feeds one event in and returns what the host must do, in order.
    ///
    /// Units: `now` is the time on a clock that never goes back and that all VMs of the process share.
    pub fn handle(&mut self, event: Event, now: Duration, shared: &dyn SharedData) -> Vec<Effect> {
        if self.has_ended {
            return Vec::new();
        }
        self.teller.now = now;
        match event {
            Event::Start => self.begin_comparison(false, now),
            Event::Tick => self.tick(now, shared),
            Event::Hinted => self.hinted(now),
            Event::Fetched { id, answer } => self.fetched(id, answer, now, shared),
            Event::Work => self.work(now, shared),
            Event::Done => self.done(shared),
        }
        self.teller.take()
    }

    /// Whether [`Event::Work`] would find something to do.
    pub fn has_work(&self) -> bool {
        self.may_start
            || self.comparison.is_some()
            || !self.gauges.is_empty()
            || self.is_disposing
            || self.policies.has_pending()
            || self.tracked.iter().any(Tracked::has_work)
    }

    /// How long one callback may last, with the [`Event::Work`] that is repeated in it.
    pub fn slice(&self) -> Duration {
        self.slice
    }

    /// The policy of that name if it can decide now, or why it cannot.
    pub fn policy(&self, name: &str, now: Duration) -> Result<&Rc<Policy>, NotReady> {
        let policy = self.policies.get(name, &Served(&self.tracked))?;
        match self.policies.bundles(name).find(|bundle| self.is_denied_as_stale(bundle, now)) {
            None => Ok(policy),
            Some(bundle) => Err(NotReady::Stale { policy: name.to_owned(), bundle: bundle.to_owned() }),
        }
    }

    /// Names of the configured policies.
    pub fn policy_names(&self) -> impl Iterator<Item = &str> {
        self.policies.names()
    }

    /// Whether every policy can decide now. Never true of nothing: a configuration without policies is refused.
    pub fn is_ready(&self, now: Duration) -> bool {
        self.policies.all_ready()
            && !self.tracked.iter().any(|tracked| self.is_denied_as_stale(&tracked.name, now))
    }

    fn staleness(&self, bundle: &str) -> Option<Staleness> {
        self.staleness.get(bundle).copied()
    }

    fn is_denied_as_stale(&self, bundle: &str, now: Duration) -> bool {
        self.staleness(bundle).filter(|staleness| staleness.deny).is_some_and(|staleness| {
            let tracked = self.tracked.iter().find(|tracked| tracked.name == bundle);
            let record = tracked.and_then(|tracked| tracked.record.as_ref());
            record.is_none_or(|(record, _)| staleness.is_over(record, now))
        })
    }

    /// How long the host should wait until the next [`Event::Tick`].
    pub fn tick_period(&self) -> Duration {
        let busy = self.has_work() || self.untold || self.comparison_pause < CALM_TICK;
        if busy { BUSY_TICK } else { CALM_TICK }
    }

    fn tick(&mut self, now: Duration, shared: &dyn SharedData) {
        self.teller.turn("tick");
        self.first_tick.get_or_insert(now);
        self.renew(now, shared);
        // INVARIANT (converge): whatever was not told or not heard is found here.
        // What was found is worked on first: with many bundles, comparing again would take its time.
        let pause = if self.has_work() { self.comparison_pause.max(WAITING) } else { self.comparison_pause };
        let due = self.compared.is_none_or(|at| now.saturating_sub(at) >= pause);
        if due && (guards(Protection::Comparison) || self.compared.is_none()) {
            self.begin_comparison(true, now);
        }
        self.give_up_overdue(now, shared);
        self.may_start = self.next_due(now).is_some();
        self.free_superseded(shared);
        self.hint_others(now, shared);
        self.show_gauges(now, shared);
    }

    fn hinted(&mut self, now: Duration) {
        self.teller.turn("ready");
        self.comparison_pause = BUSY_TICK;
        let is_rested = self.compared.is_none_or(|at| now.saturating_sub(at) >= BUSY_TICK);
        // One that is under way may have passed what is meant: another follows.
        if is_rested || self.comparison.is_some() {
            self.begin_comparison(false, now);
        }
    }

    fn done(&mut self, shared: &dyn SharedData) {
        self.has_ended = true;
        self.teller.turn("done");
        for tracked in &mut self.tracked {
            tracked.download = None;
        }
        if let Some(place) = self.membership.leave(shared) {
            self.teller.member(place, "joined", "left", "the plugin context ends");
        }
    }

    /// Takes part, and says what it serves.
    fn renew(&mut self, now: Duration, shared: &dyn SharedData) {
        let serving = || serving(&self.tracked, &self.policies);
        let change = self.membership.tick(serving, std::mem::take(&mut self.unrecorded), shared, now);
        match change {
            None => {}
            Some(Change::Joined(place)) => {
                self.teller.member(place, "absent", "joined", "a tick");
                self.teller.push(Effect::Listen { queue: record::hint_queue(place) });
            }
            Some(Change::Lost(place)) => {
                self.teller.member(
                    place,
                    "joined",
                    "lost",
                    "it did not renew in time, and another VM has its place",
                );
                // What it loaded is loaded by others now; it may claim what is free when it has joined again.
                for tracked in &mut self.tracked {
                    tracked.give_up(&mut self.disposal);
                }
            }
        }
    }

    /// Does one small piece of the work that waits.
    fn work(&mut self, now: Duration, shared: &dyn SharedData) {
        if self.may_start {
            self.start_next(now);
        } else if self.comparison.is_some() {
            self.compare_next(now, shared);
        } else if !self.gauges.is_empty() {
            let left = self.gauges.len().saturating_sub(GAUGES_AT_ONCE);
            for (gauge, value) in self.gauges.split_off(left) {
                self.teller.push(Effect::Show(gauge, value));
            }
        } else if let Some(index) = self.tracked.iter().position(Tracked::has_candidate) {
            self.check(index, now, shared);
            self.may_start = true;
        } else if let Some(index) = self.tracked.iter().position(|tracked| tracked.replica.has_work()) {
            self.read(index, now, shared);
        } else if self.policies.has_pending() {
            self.policies.adopt(&Served(&self.tracked), &mut self.teller);
            self.unrecorded = true;
            self.is_disposing = true;
        } else {
            self.is_disposing = self.disposal.step();
        }
        if !self.told_ready && self.is_ready(now) {
            self.told_ready = true;
            let elapsed = now.saturating_sub(self.first_tick.unwrap_or(now));
            let message =
                format!("ready: every policy can decide, {} ms after the first tick", elapsed.as_millis());
            self.teller.push(Effect::Log(Level::Info, message));
        }
    }

    /// Goes on reading what another VM has published.
    fn read(&mut self, index: usize, now: Duration, shared: &dyn SharedData) {
        let Some(Tracked { name, key, source, record, replica, .. }) = self.tracked.get_mut(index) else {
            return;
        };
        let step = replica.step(name, key, source, &self.shelf, &mut self.disposal, shared);
        let epoch = record.as_ref().map_or(0, |(record, _)| record.epoch);
        self.stepped(index, &step, epoch, "another VM has published it");
        if let Step::Missing(version) = step {
            self.restore(index, version, now, shared);
        }
    }

    fn stepped(&mut self, index: usize, step: &Step, epoch: u64, cause: &str) {
        let Some(tracked) = self.tracked.get(index) else { return };
        match step {
            Step::More | Step::Missing(_) => {}
            // The record is read again, and soon.
            Step::Superseded => self.comparison_pause = BUSY_TICK,
            Step::Serving { from } => {
                self.policies.bundle_changed(&tracked.name);
                self.unrecorded = true;
                let from = from.map_or("none", |_| "serving");
                let generation = tracked.replica.version().map(|version| version.generation);
                self.teller.bundle(&tracked.name, from, "serving", generation, epoch, cause);
            }
            Step::Refused(message) => {
                let from = tracked.replica.version().map_or("none", |_| "serving");
                let generation = tracked.replica.version().map(|version| version.generation);
                self.teller.bundle(&tracked.name, from, "refused", generation, epoch, message);
            }
        }
    }

    /// Tells every other member to look.
    fn hint_others(&mut self, now: Duration, shared: &dyn SharedData) {
        if !std::mem::take(&mut self.untold) {
            return;
        }
        let vm = self.membership.vm();
        for (place, member) in Members::default().all(shared).into_iter().enumerate() {
            if member.vm != vm && member.is_alive(now) {
                self.teller.push(Effect::Hint { queue: record::hint_queue(place) });
            }
        }
    }

    /// The first of the VMs shows the figures of all.
    fn show_gauges(&mut self, now: Duration, shared: &dyn SharedData) {
        let shown = *self.shown.get_or_insert(now);
        if now.saturating_sub(shown) < GAUGE_PERIOD {
            return;
        }
        self.shown = Some(now);
        let plugin = self.membership.plugin();
        let mut members = Members::default().all(shared).into_iter();
        let first = members.find(|member| member.plugin == plugin && member.is_alive(now));
        if first.is_some_and(|first| first.vm == self.membership.vm()) {
            self.gauges = self.compared_health(now, shared).gauges();
        }
    }
}

// === impl Tracked ===

impl Tracked {
    fn has_work(&self) -> bool {
        self.replica.has_work() || self.has_candidate()
    }

    /// Stops loading the bundle; false if it was not.
    fn give_up(&mut self, disposal: &mut Disposal) -> bool {
        self.download.take().map(|download| download.discard(disposal)).is_some()
    }

    fn has_candidate(&self) -> bool {
        self.download.as_ref().is_some_and(Download::has_work)
    }

    fn seen(&self) -> Option<Seen> {
        self.record.as_ref().map(|(_, seen)| *seen)
    }

    /// Keeps a record that was written here. Its number is not known until it is read again.
    fn forget_number(&mut self, record: BundleRecord) {
        self.record = Some((record, Seen::Absent));
    }
}

fn serving(tracked: &[Tracked], policies: &Policies) -> Serving {
    let versions = tracked
        .iter()
        .filter_map(|tracked| Some((tracked.key.clone(), tracked.replica.version()?.generation)));
    Serving { bundles: versions.collect(), ready: policies.ready() }
}

/// The bundles as the policies need them.
struct Served<'a>(&'a [Tracked]);

impl Bundles for Served<'_> {
    fn serving(&self, bundle: &str) -> Option<Rc<Bundle>> {
        let tracked = self.0.iter().find(|tracked| tracked.name == bundle)?;
        tracked.replica.bundle().cloned()
    }

    fn fault(&self, bundle: &str) -> Option<String> {
        let tracked = self.0.iter().find(|tracked| tracked.name == bundle)?;
        let published = tracked.record.as_ref().and_then(|(record, _)| record.fault.as_ref());
        let published = published.map(|fault| fault.message.as_str());
        tracked.replica.refusal().or(published).map(str::to_owned)
    }
}

/// The same for every VM that has this configuration, and for others only by chance.
fn plugin_number(config: &Config) -> u32 {
    let digest = Sha256::digest(format!("{:?} {:?}", config.bundles, config.policies));
    digest.first_chunk().map_or(0, |first| u32::from_le_bytes(*first))
}

// === impl Staleness ===

impl Staleness {
    fn is_over(&self, record: &BundleRecord, now: Duration) -> bool {
        millis(now).saturating_sub(record.checked_ms) > millis(self.limit)
    }
}

// === impl BundleRecord ===

impl BundleRecord {
    /// The state of the bundle for all VMs, in the words of transitions.
    fn state(&self) -> &'static str {
        match self {
            Self { fault: Some(_), .. } => "failing",
            Self { generation: 1.., .. } => "current",
            Self { owner: Some(_), .. } => "claimed",
            _ => "absent",
        }
    }
}

#[cfg(test)]
mod tests;
