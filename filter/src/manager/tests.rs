mod fleet;
mod poison;

use std::{collections::BTreeSet, io::Write};

use super::*;
use crate::{policy::Policy, telemetry::DownloadOutcome};

const POLICY_A: &str = "package a\n\nimport data.b.limit\n\nallow if input.n < limit\n";

#[test]
fn every_bundle_is_requested_at_the_first_tick() {
    let mut world = World::new(50, 64);
    assert_eq!(world.tick(0).len(), 50);
    assert_eq!(world.tick(10).len(), 0, "what is in flight is not asked for again");
}

#[test]
fn the_window_bounds_what_is_in_flight_and_refills_as_answers_come() {
    let mut world = World::new(5, 2);
    let first = world.tick(0);
    assert_eq!(first.len(), 2);
    assert_eq!(world.tick(10).len(), 0);
    let effects = world.answer(first[0], not_found(), 20);
    let next = world.fetches(&effects);
    assert_eq!(next.len(), 1, "the free place is given away at once");
    assert!(!first.contains(&next[0]));
    assert_eq!(world.tick(30).len(), 0);
}

#[test]
fn downloads_are_bounded_in_bytes_by_what_they_are_known_or_expected_to_weigh() {
    let mut world = World::with(4, "limits: {download_bytes: 40000000}");
    // Nothing is known of them: 1 MiB each.
    let first = world.tick(0);
    assert_eq!(first.len(), 4);
    for id in first {
        world.answer(id, Answer::Reset, 1);
    }
    // One that broke off may be as large as Envoy's buffer.
    let second = world.tick(1_000);
    assert_eq!(second.len(), 1);
    let effects = world.answer(second[0], ok(&pack("a", POLICY_A), "v1"), 1_001);
    assert_eq!(world.fetches(&effects).len(), 1, "the next one when that is over");
}

#[test]
fn a_body_that_is_too_much_beside_what_is_held_is_not_taken_over() {
    let mut world = World::with(2, "limits: {download_bytes: 1000}");
    assert!(world.manager.has_room(5_000), "alone it may be any size");
    let ids = world.tick(0);
    // It came, and is not read yet.
    world.manager.handle(
        Event::Fetched { id: ids[0], answer: ok(&pack("a", POLICY_A), "v1") },
        Duration::ZERO,
        &*world.shared,
    );
    assert!(!world.manager.has_room(5_000));

    let mut world = World::pair();
    let ids = world.tick(0);
    let effects = world.answer(ids[0], Answer::NoRoom { bytes: 5_000 }, 1);
    let reported =
        |effect: &Effect| matches!(effect, Effect::Log(Level::Warn, line) if line.contains("download_bytes"));
    assert!(effects.iter().any(reported), "{effects:?}");
}

#[test]
fn a_small_window_reaches_every_bundle_although_earlier_ones_fail_slowly() {
    let mut world = World::new(3, 1);
    let mut asked = BTreeSet::new();
    let mut open = world.tick(0);
    // Each failure takes so long that the bundle before it is due again.
    for step in 1..=6 {
        let id = open.pop().expect("one is always in flight");
        asked.insert(id.bundle);
        let effects = world.answer(id, not_found(), step * 10_000);
        open = world.fetches(&effects);
    }
    assert_eq!(asked.len(), 3);
}

#[test]
fn without_policies_nothing_is_ready() {
    let mut config =
        Config::parse(br#"{"bundles": {"b": "http://h/b"}, "portcullis": {"url_cluster": "c"}}"#).unwrap();
    config.policies.clear();
    assert!(!Manager::new(&config, 1, SharedCache::default()).is_ready(Duration::ZERO));
}

#[test]
fn a_304_for_a_bundle_that_was_never_loaded_makes_nothing_ready() {
    let mut world = World::pair();
    let ids = world.tick(0);
    let effects = world.answer(ids[0], Answer::Response { status: 304, etag: None, body: Vec::new() }, 1);
    assert_eq!(
        counts(&effects),
        [Counter::Download { bundle: "b00".into(), outcome: DownloadOutcome::Failed }]
    );
    assert!(
        matches!(world.policy("p"), Err(NotReady::BundleMissing { fault, .. }) if fault.contains("no version is held"))
    );
}

#[test]
fn a_policy_is_ready_when_its_last_bundle_is_there_whatever_the_order() {
    for order in [[0, 1], [1, 0]] {
        let mut world = World::pair();
        let ids = world.tick(0);
        let archives = [pack("a", POLICY_A), pack("b", "package b\n\nlimit := 5\n")];
        world.answer(ids[order[0]], ok(&archives[order[0]], "v1"), 1);
        assert!(!world.is_ready());
        assert!(matches!(world.policy("p"), Err(NotReady::BundleMissing { .. })));
        world.answer(ids[order[1]], ok(&archives[order[1]], "v1"), 2);
        assert!(world.is_ready());
    }
}

#[test]
fn a_policy_that_nobody_configured_is_unknown() {
    let world = World::pair();
    assert!(matches!(world.policy("q"), Err(NotReady::Unknown { policy }) if policy == "q"));
}

#[test]
fn every_kind_of_bad_answer_leaves_the_last_good_bundle_deciding() {
    let bad: Vec<Answer> = vec![
        ok(b"not gzip", "v2"),
        ok(&pack("a", "package a\n\nallow if {\n"), "v2"),
        ok(&pack("a", POLICY_A)[..40], "v2"),
        ok(b"", "v2"),
        not_found(),
        Answer::Response { status: 500, etag: None, body: Vec::new() },
        Answer::Reset,
        Answer::Refused { status: "InternalFailure".to_owned() },
    ];
    for answer in bad {
        let mut world = World::loaded();
        let before = Rc::clone(world.policy("p").unwrap());
        let shown = format!("{answer:?}");
        let id = world.next_poll_of(0);
        let effects = world.answer(id, answer, world.now);
        assert!(
            effects.iter().any(|effect| matches!(effect, Effect::Log(Level::Warn | Level::Error, _))),
            "{shown}: {effects:?}"
        );
        assert!(Rc::ptr_eq(&before, world.policy("p").unwrap()), "{shown}");
    }
}

#[test]
fn bundles_that_do_not_fit_together_leave_the_last_good_policy_deciding() {
    let mut world = World::loaded();
    let before = Rc::clone(world.policy("p").unwrap());
    let id = world.next_poll_of(1);
    // Alone it is a fine bundle, but the other one owns `data.a`.
    let archive =
        pack_files(&[(".manifest", r#"{"roots": ["a", "b"]}"#), ("b.rego", "package b\n\nlimit := 9\n")]);
    world.answer(id, ok(&archive, "v2"), world.now);
    assert!(Rc::ptr_eq(&before, world.policy("p").unwrap()));
    let id = world.next_poll_of(1);
    world.answer(id, ok(&pack("b", "package b\n\nlimit := 9\n"), "v3"), world.now);
    assert!(!Rc::ptr_eq(&before, world.policy("p").unwrap()), "the next good one is taken");
}

#[test]
fn not_modified_and_equal_bytes_compile_nothing() {
    let mut world = World::loaded();
    let before = Rc::clone(world.policy("p").unwrap());
    let id = world.next_poll_of(0);
    let effects = world.answer(id, Answer::Response { status: 304, etag: None, body: Vec::new() }, world.now);
    assert_eq!(
        counts(&effects),
        [Counter::Download { bundle: "b00".into(), outcome: DownloadOutcome::NotModified }]
    );
    let id = world.next_poll_of(0);
    let effects = world.answer(id, ok(&pack("a", POLICY_A), "other etag"), world.now);
    assert_eq!(
        counts(&effects),
        [Counter::Download { bundle: "b00".into(), outcome: DownloadOutcome::NotModified }]
    );
    assert!(Rc::ptr_eq(&before, world.policy("p").unwrap()));
}

#[test]
fn the_etag_sent_is_that_of_the_active_content_and_never_of_a_refused_one() {
    let mut world = World::loaded();
    assert_eq!(world.etag_of_next_poll(0).as_deref(), Some("v1"));
    world.answer(world.last_id, ok(b"broken", "v2"), world.now);
    assert_eq!(world.etag_of_next_poll(0).as_deref(), Some("v1"));
    let changed = pack("a", "package a\n\nallow := true\n");
    world.answer(world.last_id, ok(&changed, "v3"), world.now);
    assert_eq!(world.etag_of_next_poll(0).as_deref(), Some("v3"));
}

#[test]
fn retries_wait_longer_each_time_up_to_the_longest_poll_delay_and_start_over_after_success() {
    let mut world = World::new(1, 1);
    let mut delays = Vec::new();
    for _ in 0..30 {
        let id = world.next_poll_of(0);
        let asked_at = world.now;
        world.answer(id, not_found(), asked_at);
        world.next_poll_of(0);
        delays.push(world.now - asked_at);
        world.answer(world.last_id, not_found(), world.now);
    }
    assert!(delays[0] <= 500, "{delays:?}");
    assert!(delays.iter().all(|delay| *delay <= 120_000 + 1000), "{delays:?}");
    assert!(*delays.last().unwrap() >= 30_000, "{delays:?}");
}

#[test]
fn an_answer_that_never_comes_is_given_up_and_a_late_one_changes_nothing() {
    let mut world = World::pair();
    let ids = world.tick(0);
    world.tick(14_999);
    assert_eq!(world.under_way(), 2);
    world.tick(15_001);
    // The next attempt is under way when the answer to the first one comes after all.
    assert_eq!(world.tick(16_000).len(), 2);
    let late = world.answer(ids[0], ok(&pack("a", POLICY_A), "v1"), 16_000);
    assert!(late.is_empty());
    assert!(
        matches!(world.policy("p"), Err(NotReady::BundleMissing { fault, .. }) if fault.contains("never answered"))
    );
}

#[test]
fn a_fault_is_told_once_until_it_changes() {
    let mut world = World::new(1, 1);
    let mut warnings = Vec::new();
    for answer in [not_found(), not_found(), Answer::Reset, Answer::Reset, not_found()] {
        let id = world.next_poll_of(0);
        let effects = world.answer(id, answer, world.now);
        warnings.push(effects.iter().filter(|effect| matches!(effect, Effect::Log(Level::Warn, _))).count());
    }
    assert_eq!(warnings, [1, 0, 1, 0, 1]);
}

/// A manager with what the host would do for it.
struct World {
    manager: Manager,
    shared: Rc<LocalData>,
    now: u64,
    last_id: FetchId,
    last_call: Option<HttpCall>,
}

impl World {
    fn new(bundles: usize, window: usize) -> Self {
        Self::with(bundles, &format!("max_concurrent_downloads: {window}"))
    }

    fn with(bundles: usize, keys: &str) -> Self {
        let names: Vec<String> = (0..bundles).map(|index| format!("b{index:02}")).collect();
        let list: Vec<String> = names.iter().map(|name| format!("{name}: \"http://h/{name}\"")).collect();
        let document = format!(
            "bundles: {{{}}}\nportcullis: {{url_cluster: c, {keys}, policies: {{p: {{bundles: [{}], decision: a/allow}}}}}}",
            list.join(", "),
            names.join(", "),
        );
        let config = Config::parse(document.as_bytes()).unwrap();
        Self {
            manager: Manager::new(&config, 1, SharedCache::default()),
            shared: Rc::default(),
            now: 0,
            last_id: FetchId::default(),
            last_call: None,
        }
    }

    fn pair() -> Self {
        Self::new(2, 64)
    }

    fn loaded() -> Self {
        let mut world = Self::pair();
        let ids = world.tick(0);
        world.answer(ids[0], ok(&pack("a", POLICY_A), "v1"), 1);
        world.answer(ids[1], ok(&pack("b", "package b\n\nlimit := 5\n"), "v1"), 1);
        assert!(world.is_ready());
        world
    }

    fn tick(&mut self, now: u64) -> Vec<FetchId> {
        self.now = now;
        let effects = self.run(Event::Tick);
        self.fetches(&effects)
    }

    fn is_ready(&self) -> bool {
        self.manager.is_ready(Duration::from_millis(self.now))
    }

    fn policy(&self, name: &str) -> Result<&Rc<Policy>, NotReady> {
        self.manager.policy(name, Duration::from_millis(self.now))
    }

    fn under_way(&self) -> usize {
        let downloads = self.manager.tracked.iter().filter_map(|tracked| tracked.download.as_ref());
        downloads.filter(|download| download.is_under_way()).count()
    }

    fn fetches(&mut self, effects: &[Effect]) -> Vec<FetchId> {
        let mut ids = Vec::new();
        for effect in effects {
            if let Effect::Fetch { id, call } = effect {
                self.last_id = *id;
                self.last_call = Some(call.clone());
                ids.push(*id);
            }
        }
        ids
    }

    /// Ticks on until the bundle is asked for again; the others are answered 304 meanwhile.
    fn next_poll_of(&mut self, bundle: usize) -> FetchId {
        for _ in 0..10_000 {
            for id in self.tick(self.now + 100) {
                if id.bundle == bundle {
                    self.last_id = id;
                    return id;
                }
                self.answer(id, Answer::Response { status: 304, etag: None, body: Vec::new() }, self.now);
            }
        }
        panic!("bundle {bundle} is never polled again");
    }

    fn etag_of_next_poll(&mut self, bundle: usize) -> Option<String> {
        let id = self.next_poll_of(bundle);
        assert_eq!(id, self.last_id);
        let call = self.last_call.clone().unwrap();
        call.headers.into_iter().find(|(name, _)| name == "if-none-match").map(|(_, value)| value)
    }

    fn answer(&mut self, id: FetchId, answer: Answer, now: u64) -> Vec<Effect> {
        self.now = now;
        self.run(Event::Fetched { id, answer })
    }

    /// One event, and all the work that it makes.
    fn run(&mut self, event: Event) -> Vec<Effect> {
        let now = Duration::from_millis(self.now);
        let mut effects = self.manager.handle(event, now, &*self.shared);
        while self.manager.has_work() {
            effects.extend(self.manager.handle(Event::Work, now, &*self.shared));
        }
        effects
    }
}

fn counts(effects: &[Effect]) -> Vec<Counter> {
    let counters = effects.iter().filter_map(|effect| match effect {
        Effect::Count(counter) => Some(counter.clone()),
        _ => None,
    });
    counters.collect()
}

fn not_found() -> Answer {
    Answer::Response { status: 404, etag: None, body: Vec::new() }
}

fn ok(body: &[u8], etag: &str) -> Answer {
    Answer::Response { status: 200, etag: Some(etag.to_owned()), body: body.to_vec() }
}

fn pack(root: &str, rego: &str) -> Vec<u8> {
    pack_files(&[(".manifest", &format!("{{\"roots\": [\"{root}\"]}}")), ("policy.rego", rego)])
}

fn pack_files(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&tar.into_inner().unwrap()).unwrap();
    encoder.finish().unwrap()
}
