//! Several VMs over one set of shared data.

use std::cell::Cell;

use super::*;
use crate::manager::{
    record::{BundleRecord, MemberRecord},
    registry::{Claim, NotWritten, Publication},
};

pub(super) const BUNDLES: usize = 3;

#[test]
fn each_bundle_is_fetched_once_and_served_by_every_vm() {
    let mut fleet = Fleet::new(4);
    fleet.run_until(1_000);
    assert_eq!(fleet.fetched, BTreeMap::from([(0, 1), (1, 1), (2, 1)]));
    assert_eq!(fleet.generations(), vec![vec![1; BUNDLES]; 4]);
}

#[test]
fn a_new_version_reaches_every_vm_although_no_notice_does() {
    let mut fleet = Fleet::new(3);
    fleet.hears = false;
    fleet.run_until(1_000);
    fleet.version = 2;
    fleet.run_until(200_000);
    assert_eq!(fleet.generations(), vec![vec![2; BUNDLES]; 3]);
}

#[test]
fn a_notice_makes_it_sooner() {
    let late = |hears| {
        let mut fleet = Fleet::new(2);
        fleet.hears = hears;
        fleet.run_until(60_000);
        fleet.version = 2;
        let loader = fleet.loader(0);
        while fleet.generation(loader, 0) < 2 {
            fleet.run_until(fleet.now + 10);
        }
        let published = fleet.now;
        while fleet.generation(1 - loader, 0) < 2 {
            fleet.run_until(fleet.now + 10);
        }
        fleet.now - published
    };
    assert!(late(true) <= 120, "{}", late(true));
    assert!(late(false) > late(true), "{} and {}", late(false), late(true));
}

#[test]
fn what_a_silent_vm_loads_is_taken_over_after_its_lease_and_not_before() {
    let mut fleet = Fleet::new(3);
    fleet.answers = false;
    fleet.run_until(100);
    let loader = fleet.loader(0);
    fleet.silent.insert(loader);
    fleet.run_until(2_900);
    assert_eq!(fleet.loader(0), loader);
    fleet.answers = true;
    fleet.run_until(4_000);
    assert_ne!(fleet.loader(0), loader);
    let others: Vec<usize> = (0..3).filter(|vm| *vm != loader).collect();
    for vm in others {
        assert_eq!(fleet.generation(vm, 0), 1);
    }
}

#[test]
fn what_was_fetched_before_a_takeover_is_published_by_nobody() {
    let mut fleet = Fleet::new(2);
    fleet.answers = false;
    fleet.run_until(100);
    let old = fleet.loader(0);
    let late = fleet.open.iter().find(|(vm, id)| *vm == old && id.bundle == 0).copied().unwrap();
    fleet.silent.insert(old);
    fleet.answers = true;
    fleet.version = 2;
    fleet.run_until(8_000);
    let new = 1 - old;
    assert_eq!((fleet.loader(0), fleet.revision(0).as_str()), (new, "2"));
    // It wakes up with the answer to what it asked for long ago.
    fleet.version = 1;
    fleet.answer(late.0, late.1);
    assert_eq!(fleet.revision(0), "2");
    fleet.silent.clear();
    fleet.version = 2;
    fleet.run_until(9_000);
    assert_eq!((fleet.loader(0), fleet.generation(old, 0)), (new, 1));
}

#[test]
fn a_vm_that_was_overtaken_between_its_check_and_its_write_damages_nothing() {
    let mut fleet = Fleet::new(2);
    fleet.run_until(100);
    let key = fleet.vms[0].tracked[0].key.clone();
    let old = Claim { key: &key, owner: fleet.record(0).owner.unwrap(), epoch: fleet.record(0).epoch };
    let content = |archive: &'static [u8]| publication(archive, "d", "r");
    // At each place where it reads or writes, another member takes over and publishes.
    for at in 1..=4 {
        let shared = Overtaken { data: &fleet.shared, calls: Cell::new(0), at, key: &key };
        let before = record::read::<BundleRecord>(&*fleet.shared, &key).unwrap();
        assert_eq!(old.publish(content(b"late"), Duration::ZERO, &shared), Err(NotWritten::Fenced), "{at}");
        let after = record::read::<BundleRecord>(&*fleet.shared, &key).unwrap().0.unwrap();
        assert_eq!(after.revision, "overtaker", "{at}");
        let slot = after.payload(after.generation).unwrap().slot;
        let payload = fleet.shared.get(&record::payload_key(&key, slot)).unwrap().value;
        assert_eq!(record::open_payload(payload), Some((b"overtaker".to_vec(), after.generation)), "{at}");
        // As it was, for the next place.
        let seen = fleet.shared.get(&key).unwrap().seen;
        assert!(record::write(&*fleet.shared, &key, &before.0.unwrap(), seen));
    }
}

#[test]
fn a_payload_that_was_replaced_is_not_taken_for_the_one_before() {
    let mut fleet = Fleet::new(2);
    fleet.run_until(1_000);
    // Two publications later, the key has a payload again.
    let payload_key = record::payload_key(&fleet.vms[0].tracked[0].key, 0);
    let Read { value, seen } = fleet.shared.get(&payload_key).unwrap();
    let (_, generation) = record::open_payload(value).unwrap();
    let later = record::seal_payload(&pack("b00", "package b00\n"), generation + 2);
    assert!(fleet.shared.compare_and_set(&payload_key, &later, seen));
    fleet.answers = false;
    fleet.reload(1);
    fleet.event(1, Event::Start);
    fleet.run_until(1_500);
    assert_eq!(fleet.generation(1, 0), 0);
    assert_eq!(fleet.record(0).fault.unwrap().message, "its payload is gone from shared data");
}

#[test]
fn a_vm_that_comes_back_serves_without_a_download() {
    let mut fleet = Fleet::new(2);
    fleet.run_until(1_000);
    let fetched = fleet.fetched.clone();
    fleet.reload(1);
    assert_eq!(fleet.generation(1, 0), 0);
    fleet.event(1, Event::Start);
    assert_eq!(fleet.generations(), vec![vec![1; BUNDLES]; 2], "before its first tick");
    fleet.run_until(6_000);
    assert_eq!(fleet.fetched, fetched, "also when it takes over what it loaded before");
    assert_eq!(fleet.vms[1].health(fleet.time(), &*fleet.shared).problems, [""; 0]);
}

#[test]
fn two_plugins_of_one_vm_hold_equal_content_once() {
    let mut fleet = Fleet::new(1);
    fleet.run_until(1_000);
    let config = Config::parse(fleet.document.as_bytes()).unwrap();
    fleet.vms.push(Manager::new(&config, 7, fleet.vms[0].cache.clone()));
    fleet.event(1, Event::Start);
    let active = |vm: usize| fleet.vms[vm].policies.get("p").unwrap().active.as_ref().unwrap();
    assert!(Rc::ptr_eq(&active(0).bundles[0], &active(1).bundles[0]));
    assert!(Rc::ptr_eq(&active(0).policy, &active(1).policy), "and it is compiled once");
}

#[test]
fn data_that_vanish_are_fetched_again_and_nothing_goes_dark_meanwhile() {
    let mut fleet = Fleet::new(2);
    fleet.run_until(1_000);
    fleet.shared = Rc::default();
    fleet.answers = false;
    fleet.run_until(5_000);
    assert!(fleet.vms.iter().all(|vm| vm.is_ready(Duration::from_secs(5))));
    fleet.answers = true;
    fleet.version = 2;
    fleet.run_until(30_000);
    assert_eq!(fleet.generations(), vec![vec![1; BUNDLES]; 2], "of another lineage");
    assert_eq!(fleet.revision(0), "2");
    let active = |vm: &Manager| vm.policies.get("p").unwrap().active.as_ref().unwrap().set.clone();
    assert!(fleet.vms.iter().all(|vm| active(vm).bundles["b00"].revision == "2"));
}

#[test]
fn a_payload_that_vanished_is_fetched_again_by_whoever_needs_it() {
    for garbage in [&b""[..], b"what another plugin has written here"] {
        let mut fleet = Fleet::new(2);
        fleet.run_until(1_000);
        let key = record::payload_key(&fleet.vms[0].tracked[0].key, 0);
        let seen = fleet.shared.get(&key).unwrap().seen;
        assert!(fleet.shared.compare_and_set(&key, garbage, seen));
        fleet.run_until(2_000);
        assert_eq!(fleet.fetched[&0], 1, "nobody needs it");
        fleet.reload(1);
        fleet.event(1, Event::Start);
        assert_eq!(fleet.generation(1, 0), 0);
        fleet.answers = false;
        fleet.run_until(2_500);
        let health = fleet.vms[0].health(fleet.time(), &*fleet.shared);
        assert_eq!(health.bundles["b00"].fault.as_deref(), Some("its payload is gone from shared data"));
        assert!(fleet.vms[0].is_ready(fleet.time()), "what is served stays");
        fleet.answers = true;
        fleet.reopen();
        fleet.run_until(3_500);
        assert_eq!(fleet.generations(), vec![vec![2, 1, 1]; 2]);
        assert_eq!(fleet.fetched, BTreeMap::from([(0, 2), (1, 1), (2, 1)]));
    }
}

#[test]
fn a_vm_that_finds_no_place_says_so() {
    let mut fleet = Fleet::new(1);
    let taken = record::MemberRecord {
        vm: VmName(9),
        instance: 9,
        plugin: 0,
        until_ms: u64::MAX,
        ended: None,
        has_served: false,
        serving: BTreeMap::new(),
        before: Vec::new(),
        ready: (0, 0),
    };
    for place in 0..member::MAX_MEMBERS {
        let key = record::MemberRecord::key(place);
        assert!(record::write(&*fleet.shared, &key, &taken, Seen::Absent));
    }
    fleet.run_until(2_000);
    assert!(fleet.vms[0].health(fleet.time(), &*fleet.shared).healthy, "it may be about to find one");
    fleet.run_until(5_000);
    let health = fleet.vms[0].health(fleet.time(), &*fleet.shared);
    assert!(
        health.problems.iter().any(|problem| problem.contains("no place among the members")),
        "{health:?}"
    );
}

#[test]
fn what_stands_in_shared_data_and_cannot_be_read_is_replaced() {
    let mut fleet = Fleet::new(2);
    for tracked in &fleet.vms[0].tracked {
        assert!(fleet.shared.compare_and_set(&tracked.key, b"\xff{", Seen::Absent));
    }
    assert!(fleet.shared.compare_and_set(&MemberRecord::key(0), b"[]", Seen::Absent));
    fleet.run_until(1_000);
    assert_eq!(fleet.generations(), vec![vec![1; BUNDLES]; 2]);
}

#[test]
fn payloads_that_nobody_needs_are_freed_unless_that_is_switched_off() {
    // Those that decide, and those of the set before, which differs in one: bundles are polled one after the other.
    for (manager, left) in
        [("", BUNDLES + 1), ("retain_generations: 0", BUNDLES), ("free_superseded: false", 4 * BUNDLES)]
    {
        let mut fleet = Fleet::with(2, &format!(", manager: {{{manager}}}"));
        for version in 1..=4 {
            fleet.version = version;
            fleet.run_until(fleet.now + 200_000);
        }
        assert_eq!(fleet.generations(), vec![vec![4; BUNDLES]; 2]);
        let payloads = |bundle: usize| {
            let key = |slot| record::payload_key(&fleet.vms[0].tracked[bundle].key, slot);
            let payloads = (0..record::MAX_PAYLOADS).map(|slot| fleet.shared.get(&key(slot)).unwrap().value);
            let there = payloads.filter(|payload| !payload.is_empty()).count();
            assert_eq!(fleet.record(bundle).payloads.len(), there, "{manager}");
            there
        };
        assert_eq!((0..BUNDLES).map(payloads).sum::<usize>(), left, "{manager}");
    }
}

#[test]
fn a_vm_that_leaves_is_replaced_at_once_and_missed_by_nobody() {
    let mut fleet = Fleet::new(2);
    fleet.run_until(1_000);
    let loader = fleet.loader(0);
    let time = fleet.time();
    fleet.vms[loader].handle(Event::Done, time, &*fleet.shared);
    fleet.silent.insert(loader);
    fleet.run_until(3_100);
    assert_eq!(fleet.loader(0), 1 - loader);
    fleet.run_until(60_000);
    let health = fleet.vms[1 - loader].health(fleet.time(), &*fleet.shared);
    assert!(health.healthy, "{:?}", health.problems);
    assert_eq!(health.vms.len(), 1);
}

#[test]
fn health_changes_when_the_truth_does_and_nobody_tells() {
    let mut fleet = Fleet::with(2, ", bundles: {b00: {max_staleness_seconds: 600, when_stale: deny}}");
    let ask = |fleet: &Fleet| fleet.vms[0].health(fleet.time(), &*fleet.shared);
    let health = ask(&fleet);
    assert!(health.healthy && !health.ready && !health.bundles_activated(), "nothing has begun: {health:?}");
    assert_eq!(health.bundles["b00"].state, "absent");

    fleet.answers = false;
    fleet.run_until(100);
    let health = ask(&fleet);
    assert_eq!((health.bundles["b00"].state, health.ready), ("claimed", false));
    let p = &health.policies["p"];
    assert_eq!(p.not_ready.as_deref(), Some("policy `p`: bundle `b00` is not loaded"));

    fleet.answers = true;
    fleet.reopen();
    fleet.run_until(1_000);
    let health = ask(&fleet);
    assert!(health.healthy && health.ready && health.bundles_activated(), "{health:?}");
    assert_eq!((health.bundles["b00"].state, health.bundles["b00"].serving), ("current", Some(1)));

    // The server fails: the last good one stays, which is no illness.
    fleet.status = 500;
    fleet.run_until(300_000);
    let health = ask(&fleet);
    assert!(health.healthy && health.ready, "{health:?}");
    assert_eq!(health.bundles["b00"].state, "failing");
    assert_eq!(health.bundles["b00"].fault.as_deref(), Some("the bundle server answered 500"));

    // Until it is older than it may be.
    fleet.run_until(800_000);
    let health = ask(&fleet);
    assert!(!health.healthy && !health.ready && health.bundles["b00"].stale, "{health:?}");
    assert!(matches!(fleet.vms[0].policy("p", fleet.time()), Err(NotReady::Stale { .. })));

    fleet.status = 200;
    fleet.run_until(1_000_000);
    assert!(ask(&fleet).healthy && ask(&fleet).ready);

    // A VM stops without a word.
    fleet.silent.insert(1);
    fleet.run_until(fleet.now + 2_000);
    assert!(ask(&fleet).healthy, "within its lease it may be late");
    fleet.run_until(fleet.now + 10_000);
    let health = ask(&fleet);
    assert!(health.problems[0].contains("no sign of life"), "{:?}", health.problems);
    assert!(health.ready, "those that live can decide");

    // It is still there, and ticks again.
    fleet.silent.clear();
    fleet.run_until(fleet.now + 2_000);
    assert!(ask(&fleet).healthy);

    // Nobody ticks: whoever is asked says so.
    fleet.silent.extend([0, 1]);
    fleet.run_until(fleet.now + 20_000);
    let health = ask(&fleet);
    assert!(health.problems.iter().any(|problem| problem.starts_with("nobody loads bundle")), "{health:?}");

    // A VM that ticks and does not take what is published.
    fleet.silent.clear();
    fleet.idle.insert(1);
    fleet.version = 2;
    fleet.run_until(fleet.now + 400_000);
    let health = ask(&fleet);
    assert!(
        health.problems.iter().any(|problem| problem.contains("does not serve generation 2")),
        "{health:?}"
    );
    assert_eq!(health.vms[1].behind.len(), BUNDLES);
}

/// VMs with what a host does for them, and a bundle server.
pub(super) struct Fleet {
    pub(super) document: String,
    pub(super) vms: Vec<Manager>,
    pub(super) shared: Rc<LocalData>,
    pub(super) now: u64,
    /// When each ticks next.
    pub(super) ticks: Vec<u64>,
    /// VMs that get no events.
    pub(super) silent: BTreeSet<usize>,
    /// VMs that get no time for work.
    idle: BTreeSet<usize>,
    /// Whether notices arrive.
    hears: bool,
    /// What the server answers, if it does.
    answers: bool,
    pub(super) status: u16,
    pub(super) version: u64,
    /// Fetches without an answer.
    open: Vec<(usize, FetchId)>,
    /// Fetches of each bundle.
    fetched: BTreeMap<usize, usize>,
    /// Whether a VM does one piece of work in each callback, as one whose slice is over.
    pub(super) stepwise: bool,
    /// VMs that have ended.
    pub(super) ended: usize,
    /// For the next VM.
    seeds: u64,
}

impl Fleet {
    pub(super) fn new(vms: usize) -> Self {
        Self::with(vms, "")
    }

    pub(super) fn with(vms: usize, keys: &str) -> Self {
        let names: Vec<String> = (0..BUNDLES).map(|index| format!("b{index:02}")).collect();
        let list: Vec<String> = names.iter().map(|name| format!("{name}: \"http://h/{name}\"")).collect();
        let document = format!(
            "bundles: {{{}}}\nportcullis: {{url_cluster: c, policies: {{p: {{bundles: [{}], decision: b00/allow}}}}{keys}}}",
            list.join(", "),
            names.join(", "),
        );
        let config = Config::parse(document.as_bytes()).unwrap();
        Self {
            document,
            vms: (1..=vms as u64).map(|seed| Manager::new(&config, seed, SharedCache::default())).collect(),
            shared: Rc::default(),
            now: 0,
            ticks: (0..vms as u64).collect(),
            silent: BTreeSet::new(),
            idle: BTreeSet::new(),
            hears: true,
            answers: true,
            status: 200,
            version: 1,
            open: Vec::new(),
            fetched: BTreeMap::new(),
            stepwise: false,
            ended: 0,
            seeds: 100,
        }
    }

    /// One more policy over the same bundles.
    pub(super) fn two_policies(vms: usize) -> Self {
        let fleet = Self::new(vms);
        let document = fleet
            .document
            .replace("policies: {p:", "policies: {q: {bundles: [b01], decision: b01/allow}, p:");
        let config = Config::parse(document.as_bytes()).unwrap();
        let vms = (1..=vms as u64).map(|seed| Manager::new(&config, seed, SharedCache::default())).collect();
        Self { document, vms, ..fleet }
    }

    /// One millisecond.
    pub(super) fn run_one(&mut self) {
        self.run_until(self.now + 1);
    }

    /// One piece of work.
    pub(super) fn work(&mut self, vm: usize) {
        self.event(vm, Event::Work);
    }

    /// A VM ends at what it is at; it hears and does nothing from now on.
    pub(super) fn end(&mut self, vm: usize, telling: bool) {
        self.ended += 1;
        self.silent.insert(vm);
        let manager = &self.vms[vm];
        let begun = self.time();
        let place = manager.membership.place();
        let at_request = place.and_then(|place| self.shared.at_work(place)).is_some();
        let policy: Rc<str> = Rc::clone(&manager.policies.get("p").unwrap().key);
        let kind = if at_request {
            TaskKind::Request(policy)
        } else {
            TaskKind::Load(manager.job.is_some().then_some(policy))
        };
        let task = manager.task(kind, begun);
        if telling {
            note_end(&task, begun, &*self.shared);
        }
    }

    pub(super) fn time(&self) -> Duration {
        Duration::from_millis(self.now)
    }

    pub(super) fn run_until(&mut self, end: u64) {
        while self.now < end {
            self.now += 1;
            for vm in 0..self.vms.len() {
                if self.ticks[vm] <= self.now && !self.silent.contains(&vm) {
                    self.event(vm, Event::Tick);
                    self.ticks[vm] = self.now + self.vms[vm].tick_period().as_millis() as u64;
                }
            }
        }
    }

    pub(super) fn event(&mut self, vm: usize, event: Event) {
        let (time, shared) = (self.time(), Rc::clone(&self.shared));
        let mut effects = self.vms[vm].handle(event, time, &*shared);
        for _ in 0..if self.stepwise { 1 } else { 1000 } {
            if !self.vms[vm].has_work() || self.idle.contains(&vm) {
                break;
            }
            effects.extend(self.vms[vm].handle(Event::Work, time, &*shared));
        }
        for effect in effects {
            match effect {
                Effect::Fetch { id, .. } => {
                    *self.fetched.entry(id.bundle).or_default() += 1;
                    if self.answers { self.answer(vm, id) } else { self.open.push((vm, id)) }
                }
                Effect::Hint { queue } if self.hears => {
                    let place: usize = queue.rsplit('/').next().unwrap().parse().unwrap();
                    let notified = (0..self.vms.len()).find(|other| {
                        self.vms[*other].membership.owner().is_some_and(|owner| owner.member == place)
                    });
                    if let Some(notified) = notified.filter(|notified| !self.silent.contains(notified)) {
                        self.event(notified, Event::Hinted);
                    }
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, vm: usize, id: FetchId) {
        let Self { status, version, .. } = *self;
        let rego = format!("package b{:02}\n\nallow := {version}\n", id.bundle);
        let manifest = format!("{{\"roots\": [\"b{:02}\"], \"revision\": \"{version}\"}}", id.bundle);
        let body = pack_files(&[(".manifest", &manifest), ("policy.rego", &rego)]);
        self.event(vm, Event::Fetched { id, answer: Answer::Response { status, etag: None, body } });
    }

    /// Answers what was left open.
    fn reopen(&mut self) {
        for (vm, id) in std::mem::take(&mut self.open) {
            self.answer(vm, id);
        }
    }

    pub(super) fn reload(&mut self, vm: usize) {
        let config = Config::parse(self.document.as_bytes()).unwrap();
        self.seeds += 1;
        self.vms[vm] = Manager::new(&config, self.seeds, SharedCache::default());
        self.silent.remove(&vm);
    }

    pub(super) fn record(&self, bundle: usize) -> BundleRecord {
        record::read(&*self.shared, &self.vms[0].tracked[bundle].key).unwrap().0.unwrap_or_default()
    }

    pub(super) fn revision(&self, bundle: usize) -> String {
        self.record(bundle).revision
    }

    pub(super) fn loader(&self, bundle: usize) -> usize {
        let owner = self.record(bundle).owner.unwrap();
        (0..self.vms.len()).find(|vm| self.vms[*vm].membership.vm() == owner.vm).unwrap()
    }

    pub(super) fn generation(&self, vm: usize, bundle: usize) -> u64 {
        let vm = &self.vms[vm];
        vm.tracked[bundle].serving(&vm.policies).unwrap_or_default()
    }

    pub(super) fn generations(&self) -> Vec<Vec<u64>> {
        let of = |vm| (0..BUNDLES).map(|bundle| self.generation(vm, bundle)).collect();
        (0..self.vms.len()).map(of).collect()
    }
}

/// Shared data in which another member takes a bundle over and publishes just before one call.
struct Overtaken<'a> {
    data: &'a LocalData,
    calls: Cell<usize>,
    at: usize,
    key: &'a str,
}

impl Overtaken<'_> {
    fn step(&self) {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() == self.at {
            let owner = record::Owner { member: 9, vm: VmName(9) };
            let claimed =
                registry::claim(self.key, (owner, Access::default()), 1, |_| true, self.data).unwrap();
            let claim = Claim { key: self.key, owner, epoch: claimed.epoch };
            let content = publication(b"overtaker", "o", "overtaker");
            claim.publish(content, Duration::ZERO, self.data).unwrap();
        }
    }
}

impl SharedData for Overtaken<'_> {
    fn get(&self, key: &str) -> Option<Read> {
        self.step();
        self.data.get(key)
    }

    fn compare_and_set(&self, key: &str, value: &[u8], seen: Seen) -> bool {
        self.step();
        self.data.compare_and_set(key, value, seen)
    }

    fn begin(&self, _: &Task) {}

    fn end(&self, _: &Task) {}

    fn at_work(&self, _: usize) -> Option<AtWork> {
        None
    }

    fn clear_work(&self, _: usize) {}
}

fn publication<'a>(archive: &'a [u8], digest: &'a str, revision: &'a str) -> Publication<'a> {
    Publication { archive, digest, revision, etag: None, size_limit_bytes: 1 << 20 }
}
