//! Which bundle is where, now: for all VMs in shared data, for this one beside it.
//!
//! Shared data has one record per bundle, which says what is published and which member loads it. A member claims a
//! bundle from a tick, when nobody alive has it; the epoch of its claim is the fence of everything that it writes.
//! Every VM compares the records with what it serves, on ticks and when it is notified, and reads what is newer
//! beside what is active. A notice has nothing in it: a lost, late, doubled or foreign one changes only how soon.
//!
//! A bundle is read before it is published. Which bundles decide together is a set per policy: one VM tries it, and only
//! what has passed is taken over by the others. Each step that could end a VM has a mark in shared data, so that
//! what ends one is known and not tried again. Readiness is computed from this state whenever it is asked
//! (INVARIANT queried readiness): nothing here stores or sends one.

mod acceptance;
mod adoption;
mod download;
mod ending;
mod failures;
mod health;
mod loading;
mod marks;
mod member;
mod policies;
mod quarantine;
mod reconcile;
mod record;
mod registry;
mod reporter;
mod requests;
mod sets;
mod shared;
mod shared_cache;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use log::Level;
use sha2::{Digest, Sha256};

use crate::{
    bundle::Bundle,
    config::{BundleSource, Config, Staleness},
    hooks::{Protection, guards},
    policy::DeferredDrop,
    telemetry::{Counter, Gauge},
};

use adoption::Job;
use download::Download;
use failures::Failures;
use health::MadeOf;
use member::{Change, Members, Membership, Open, Serving};
use policies::{Policies, Slot};
use quarantine::Quarantine;
use reconcile::{Reconcile, WAITING};
use record::{Access, BundleRecord, VmName, millis};
use reporter::Reporter;

pub use acceptance::may_refuse;
pub use download::{Answer, FetchId, HttpCall};
pub use ending::note_end;
pub use health::{BundleHealth, Health, PolicyHealth, VmHealth};
pub use policies::NotReady;
pub use shared::{AtWork, LocalData, Read, Seen, SharedData, Task, TaskKind};
pub use shared_cache::SharedCache;

/// Pause between ticks while something is under way, and the least between two rounds of comparing.
const BUSY_TICK: Duration = Duration::from_millis(10);
/// Pause between ticks when nothing is: polls are due once in seconds.
const CALM_TICK: Duration = Duration::from_millis(100);
/// Pause between two looks at those who gave no sign of life in time.
const INQUIRY_PERIOD: Duration = Duration::from_millis(200);
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
    /// The configuration has been taken: what is under way goes on from ticks, if there ever are any.
    Started,
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
    /// Report to the operator.
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
    /// Policies for which there is something to do.
    wanted: BTreeSet<usize>,
    job: Option<Job>,
    quarantine: Quarantine,
    failures: Failures,
    membership: Membership,
    /// As they were when they were last looked at.
    members: Open,
    max_concurrent_downloads: usize,
    /// What all downloads together may hold, or bring.
    max_download_bytes: u64,
    frees_superseded: bool,
    /// Sets of a policy that are kept beside the good one.
    retained: usize,
    cache: SharedCache,
    /// What names this context in the cache, and whether it is the first of its VM.
    context: (u64, bool),
    /// Documents that were replaced, which are freed in small pieces.
    deferred: DeferredDrop,
    /// Whether there is something to free now.
    is_dropping: bool,
    slice: Duration,
    staleness: BTreeMap<String, Staleness>,
    random: fastrand::Rng,
    /// Counts attempts to fetch, so that each has a number of its own.
    attempts: u64,
    /// When it was last found out what became of other members.
    inquired: Option<Duration>,
    first_tick: Option<Duration>,
    /// When the figures of the process were last shown.
    shown: Option<Duration>,
    compared: Option<Duration>,
    /// The round of comparing that is under way.
    reconcile: Option<Reconcile>,
    /// Pause until the next round.
    reconcile_pause: Duration,
    /// Something was published here of which the other members have not been notified.
    untold: bool,
    /// What it serves has changed since its member record was written.
    unrecorded: bool,
    /// The time to ready is reported once; whether it *is* ready is computed each time.
    told_ready: bool,
    /// A download may be due now, and there may be room for it.
    may_start: bool,
    /// Figures that are still to be shown.
    gauges: Vec<(Gauge, u64)>,
    has_ended: bool,
    /// Counts the changes of what this VM knows and serves.
    revision: u64,
    /// The last answer about health, with what it was made of.
    answered: RefCell<Option<(MadeOf, Rc<Health>)>>,
    reporter: Reporter,
}

/// One configured bundle.
#[derive(Debug)]
struct Tracked {
    name: String,
    key: String,
    source: BundleSource,
    access: Access,
    /// The record as it was last read, with its number.
    record: Option<(BundleRecord, Seen)>,
    /// What was published here, until the policies have it.
    published: Option<Rc<Bundle>>,
    /// While this VM owns the bundle.
    download: Option<Download>,
}

// === impl Manager ===

impl Manager {
    /// A manager that knows nothing. `seed` names it, and spreads its polls and retries over time; what is in the cache
    /// of its VM it need not read.
    pub fn new(config: &Config, seed: u64, cache: SharedCache) -> Self {
        let vm = VmName((seed >> 32) as u32 ^ seed as u32);
        let tracked = config.bundles.iter().map(|(name, source)| Tracked {
            name: name.clone(),
            key: record::bundle_key(name, source),
            source: source.clone(),
            access: Access { number: record::access_number(source), configured_ms: 0 },
            record: None,
            published: None,
            download: None,
        });
        let tracked: Vec<Tracked> = tracked.collect();
        let policies = Policies::new(config);
        let plugin = plugin_number(config);
        let keys = tracked.iter().map(|tracked| tracked.key.clone());
        let keys = keys.chain(policies.iter().map(|slot| slot.key.to_string())).collect();
        let context = cache.begin(keys, vm.0);
        Self {
            tracked,
            policies,
            wanted: BTreeSet::new(),
            job: None,
            quarantine: Quarantine::new(plugin),
            failures: Failures::new(config.limits.vm_failures, config.limits.evaluation.time),
            membership: Membership::new(vm, cache.instance(), plugin, config.manager.lease),
            members: Vec::new(),
            max_concurrent_downloads: config.max_concurrent_downloads,
            max_download_bytes: config.limits.download_bytes,
            frees_superseded: config.manager.frees_superseded,
            retained: config.manager.retain_generations,
            cache,
            context,
            deferred: DeferredDrop::default(),
            is_dropping: false,
            slice: config.manager.adoption_slice,
            staleness: config.staleness.clone(),
            random: fastrand::Rng::with_seed(seed),
            attempts: 0,
            inquired: None,
            first_tick: None,
            shown: None,
            compared: None,
            reconcile: None,
            reconcile_pause: BUSY_TICK,
            untold: false,
            unrecorded: false,
            told_ready: false,
            may_start: false,
            gauges: Vec::new(),
            has_ended: false,
            revision: 0,
            answered: RefCell::default(),
            reporter: Reporter::new(vm),
        }
    }

    /// Feeds one event in and returns what the host must do, in order.
    ///
    /// Units: `now` is the time on a clock that never goes back and that all VMs of the process share.
    pub fn handle(&mut self, event: Event, now: Duration, shared: &dyn SharedData) -> Vec<Effect> {
        if self.has_ended {
            return Vec::new();
        }
        self.reporter.now = now;
        self.revision += u64::from(!matches!(event, Event::Tick | Event::Work));
        match event {
            Event::Start => self.start(now, shared),
            Event::Tick => self.tick(now, shared),
            Event::Hinted => self.hinted(now),
            Event::Fetched { id, answer } => self.fetched(id, answer, now, shared),
            Event::Work => self.work(now, shared),
            Event::Started => self.pause_job(shared),
            Event::Done => self.done(shared),
        }
        self.reporter.take()
    }

    /// Whether [`Event::Work`] would find something to do.
    pub fn has_work(&self) -> bool {
        self.may_start
            || self.reconcile.is_some()
            || !self.gauges.is_empty()
            || self.is_dropping
            || self.job.as_ref().is_some_and(|job| job.is_marked)
            || !self.wanted.is_empty() && self.job.is_none()
            || self.tracked.iter().any(Tracked::has_candidate)
    }

    /// How long one callback may last, with the [`Event::Work`] that is repeated in it.
    pub fn slice(&self) -> Duration {
        self.slice
    }

    /// How long the host should wait until the next [`Event::Tick`].
    pub fn tick_period(&self) -> Duration {
        let busy = self.has_work() || self.untold || self.reconcile_pause < CALM_TICK;
        if busy { BUSY_TICK } else { CALM_TICK }
    }

    fn tick(&mut self, now: Duration, shared: &dyn SharedData) {
        self.reporter.turn("tick");
        self.first_tick.get_or_insert(now);
        self.inquire(now, shared);
        self.renew(now, shared);
        // INVARIANT (converge): what no notice said, or no VM heard, is found here.
        // What was found is worked on first: with many bundles, comparing again would take its time.
        let pause = if self.has_work() { self.reconcile_pause.max(WAITING) } else { self.reconcile_pause };
        let due = self.compared.is_none_or(|at| now.saturating_sub(at) >= pause);
        if due && (guards(Protection::Reconcile) || self.compared.is_none()) {
            self.begin_reconcile(now);
        }
        self.give_up_overdue(now, shared);
        self.may_start = self.next_due(now).is_some();
        self.hint_others(now, shared);
        self.show_gauges(now, shared);
    }

    fn hinted(&mut self, now: Duration) {
        self.reporter.turn("ready");
        self.reconcile_pause = BUSY_TICK;
        if self.compared.is_none_or(|at| now.saturating_sub(at) >= BUSY_TICK) {
            self.begin_reconcile(now);
        }
    }

    fn done(&mut self, shared: &dyn SharedData) {
        self.has_ended = true;
        self.reporter.turn("done");
        for tracked in &mut self.tracked {
            tracked.download = None;
        }
        self.withdraw_job(shared);
        self.clear_gauges();
        self.cache.end(self.context.0);
        if let Some(place) = self.membership.leave(shared) {
            self.reporter.member(place, "joined", "left", "the plugin context ends");
        }
    }

    /// Whether Envoy drains this context, and a later one in the same VM does all that it does.
    fn is_superseded(&self) -> bool {
        guards(Protection::Place) && self.cache.is_superseded(self.context.0)
    }

    fn start(&mut self, now: Duration, shared: &dyn SharedData) {
        for tracked in &mut self.tracked {
            tracked.access.configured_ms = millis(now);
        }
        self.members = Members::default().open(shared);
        if !self.members.is_empty() && guards(Protection::Place) {
            self.membership.is_heir(now);
        }
        let (_, is_first) = self.context;
        if is_first {
            self.failures.suspect(&self.members, now, shared);
        }
        self.begin_reconcile(now);
    }

    /// Finds out what those ended at who did so without a word, and closes the policies that have ended them.
    fn inquire(&mut self, now: Duration, shared: &dyn SharedData) {
        if self.membership.was_still(now) {
            return;
        }
        if self.inquired.is_some_and(|at| now.saturating_sub(at) < INQUIRY_PERIOD) {
            return;
        }
        self.inquired = Some(now);
        let mut found = self.failures.overdue(&self.members, self.membership.vm(), now, shared);
        let (ended, open) = self.membership.inquire(now, shared);
        found.extend(ended);
        self.members = open;
        for (vm, task) in found {
            let Some(slot) = self.policies.iter().find(|slot| task.is_request_of(&slot.key)) else {
                continue;
            };
            if failures::note(&slot.key, vm, now, shared) {
                let from = if slot.active.is_some() { "serving" } else { "pending" };
                let cause = format!("VM {vm} ended, or stood still, while it decided a request");
                self.reporter.push(Effect::Count(Counter::Quarantined));
                self.reporter.policy(Level::Error, &slot.name, from, "quarantined", &cause);
                self.untold = true;
            }
        }
    }

    /// Takes part, and says what it serves.
    fn renew(&mut self, now: Duration, shared: &dyn SharedData) {
        // Envoy drains this context; a later one does all that it did, and needs its place.
        let is_downloading =
            self.tracked.iter().filter_map(|tracked| tracked.download.as_ref()).any(Download::is_under_way);
        if self.is_superseded() && !is_downloading {
            if let Some(place) = self.membership.leave(shared) {
                self.reporter.member(
                    place,
                    "joined",
                    "left",
                    "a later configuration has all that this one has",
                );
                for tracked in &mut self.tracked {
                    tracked.give_up(&mut self.deferred);
                }
            }
            return;
        }
        let (tracked, policies) = (&self.tracked, &self.policies);
        let serving = || {
            let bundles =
                tracked.iter().filter_map(|tracked| Some((tracked.key.clone(), tracked.serving(policies)?)));
            let numbers = policies.iter().map(|slot| (slot.key.to_string(), slot.generation()));
            Serving { bundles: bundles.chain(numbers).collect(), ready: policies.ready() }
        };
        let change = self.membership.tick(serving, std::mem::take(&mut self.unrecorded), shared, now);
        match change {
            None => {}
            Some(Change::Joined(place)) => {
                self.reporter.member(place, "absent", "joined", "a tick");
                self.reporter.push(Effect::Listen { queue: record::hint_queue(place) });
                // Who had it before may have ended at work.
                shared.clear_work(place);
                self.resume_job(now, shared);
            }
            Some(Change::Lost(place)) => {
                self.reporter.member(
                    place,
                    "joined",
                    "lost",
                    "it did not renew in time, and another VM has its place",
                );
                // What it loaded is loaded by others now; it may claim what is free when it has joined again.
                for tracked in &mut self.tracked {
                    tracked.give_up(&mut self.deferred);
                }
            }
        }
    }

    /// Does one small piece of the work that waits.
    fn work(&mut self, now: Duration, shared: &dyn SharedData) {
        let is_change =
            self.job.is_some() || !self.wanted.is_empty() || self.tracked.iter().any(Tracked::has_candidate);
        self.revision += u64::from(is_change);
        if self.may_start {
            self.start_next(now);
        } else if self.reconcile.is_some() {
            self.compare_next(now, shared);
        } else if !self.gauges.is_empty() {
            let left = self.gauges.len().saturating_sub(GAUGES_AT_ONCE);
            for (gauge, value) in self.gauges.split_off(left) {
                self.reporter.push(Effect::Show(gauge, value));
            }
        } else if self.job.as_ref().is_some_and(|job| job.is_marked) {
            self.go_on(now, shared);
        } else if let Some(index) = self.tracked.iter().position(Tracked::has_candidate) {
            self.check(index, now, shared);
            self.may_start = true;
        } else if self.job.is_none()
            && let Some(index) = self.wanted.pop_first()
        {
            self.quarantine.refresh(shared);
            if self.look(index, &mut Members::default(), now, shared) {
                self.reconcile_pause = BUSY_TICK;
            }
        } else {
            self.is_dropping = self.deferred.step();
        }
        if self.job.is_none() && self.wanted.is_empty() {
            self.hint_others(now, shared);
        }
        if !self.told_ready && self.is_ready(now) {
            self.told_ready = true;
            let elapsed = now.saturating_sub(self.first_tick.unwrap_or(now));
            let message =
                format!("ready: every policy can decide, {} ms after the first tick", elapsed.as_millis());
            self.reporter.push(Effect::Log(Level::Info, message));
        }
    }

    fn want_policies_of(&mut self, bundle: usize) {
        let Some(tracked) = self.tracked.get(bundle) else { return };
        let is_made_of = |slot: &Slot| slot.config.bundles.contains(&tracked.name);
        let places = self.policies.iter().enumerate().filter(|(_, slot)| is_made_of(slot));
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        self.wanted.extend(places);
    }

    fn tracked_by_name(&self, name: &str) -> Option<&Tracked> {
        self.tracked.iter().find(|tracked| tracked.name == name)
    }

    /// Notifies every other member.
    fn hint_others(&mut self, now: Duration, shared: &dyn SharedData) {
        if !std::mem::take(&mut self.untold) {
            return;
        }
        let vm = self.membership.vm();
        for (place, member) in Members::default().all(shared).into_iter().enumerate() {
            if member.vm != vm && member.is_alive(now) {
                self.reporter.push(Effect::Hint { queue: record::hint_queue(place) });
            }
        }
    }
}

// === impl Tracked ===

impl Tracked {
    /// The generation that this VM serves.
    fn serving(&self, policies: &Policies) -> Option<u64> {
        if policies.of_bundle(&self.name).next().is_some() {
            return policies.serving(&self.name);
        }
        // Nobody asks for it, so it is served as soon as it is there.
        self.record.as_ref().map(|(record, _)| record.generation).filter(|generation| *generation > 0)
    }

    /// Stops loading the bundle; false if it was not.
    fn give_up(&mut self, deferred: &mut DeferredDrop) -> bool {
        self.download.take().map(|download| download.discard(deferred)).is_some()
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

/// The same for every VM that loads and decides the same, and for others only by chance.
fn plugin_number(config: &Config) -> u32 {
    let keys = config.bundles.iter().map(|(name, source)| record::bundle_key(name, source));
    let keys: Vec<String> =
        keys.chain(config.policies.keys().map(|name| record::policy_key(name, config))).collect();
    let digest = Sha256::digest(keys.join(" "));
    digest.first_chunk().map_or(0, |first| u32::from_le_bytes(*first))
}

// === impl Staleness ===

impl Staleness {
    fn is_over(&self, record: &BundleRecord, now: Duration) -> bool {
        millis(now).saturating_sub(record.checked_ms) > millis(self.limit)
    }
}

#[cfg(test)]
mod tests;
