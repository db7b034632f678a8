//! VMs that end while they read, try, take over or decide: what the others do.

use super::{
    fleet::{BUNDLES, Fleet},
    *,
};
use crate::manager::{
    member::Fate,
    quarantine::{Digests, Quarantine},
    record::{End, MemberRecord},
    sets::{self, Content, PolicyRecord, Set},
};

/// What ends a VM, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// It says so while it ends.
    Telling,
    /// Nobody hears of it.
    Silently,
}

fn policy(fleet: &Fleet) -> PolicyRecord {
    record::read(&*fleet.shared, &fleet.vms[0].policies.get("p").unwrap().key).unwrap().0.unwrap_or_default()
}

/// Lets the VM that has the trial of the next version go on until it is at it, and ends it there.
fn end_at_trial(fleet: &mut Fleet, version: u64, how: Ends) -> usize {
    fleet.version = version;
    let trier = loop {
        fleet.run_one();
        let Some(trial) = policy(fleet).trial else { continue };
        if trial.set.bundles.values().any(|content| content.revision == version.to_string()) {
            break (0..fleet.vms.len()).find(|vm| fleet.vms[*vm].membership.vm() == trial.mark.vm).unwrap();
        }
    };
    fleet.end(trier, how == Ends::Telling);
    trier
}

#[test]
fn what_ends_the_vm_that_tries_it_is_not_tried_again_and_the_last_good_decides() {
    for how in [Ends::Telling, Ends::Silently] {
        let mut fleet = Fleet::new(3);
        fleet.run_until(1_000);
        fleet.stepwise = true;
        assert_eq!(fleet.generations(), vec![vec![1; BUNDLES]; 3], "{how:?}");
        let ended = end_at_trial(&mut fleet, 2, how);
        let alive: Vec<usize> = (0..3).filter(|vm| *vm != ended).collect();
        let until = fleet.now + 10_000;
        let health = loop {
            fleet.run_one();
            let health = alive.iter().map(|vm| fleet.vms[*vm].health(fleet.time(), &*fleet.shared));
            if let Some(health) =
                health.into_iter().find(|health| health.policies["p"].state == "quarantined")
            {
                break health;
            }
            assert!(fleet.now < until, "{how:?}");
        };
        let p = &health.policies["p"];
        assert_eq!(p.not_ready, None, "{how:?}: {health:?}");
        assert!(p.cause.as_deref().unwrap().contains("digest"), "{how:?}: {p:?}");
        let record = policy(&fleet);
        assert!(record.trial.is_none(), "{how:?}: {record:?}");
        assert_eq!(record.good.as_ref().unwrap().number, 1, "{how:?}: {record:?}");
        assert_eq!(fleet.ended, 1, "{how:?}: nobody else ends at it");
        // The others have new bytes as well, one after the other: with each of them it is tried again.
        fleet.version = 3;
        fleet.run_until(fleet.now + 400_000);
        for vm in alive {
            assert_eq!(
                fleet.vms[vm].policies.get("p").unwrap().active.as_ref().unwrap().set.bundles["b00"].revision,
                "3",
                "{how:?}"
            );
        }
    }
}

#[test]
fn a_vm_that_leaves_while_it_tries_accuses_nothing() {
    let mut fleet = Fleet::new(2);
    fleet.run_until(1_000);
    fleet.stepwise = true;
    fleet.version = 2;
    while policy(&fleet).trial.is_none() {
        fleet.run_one();
    }
    let vm = policy(&fleet).trial.unwrap().mark.vm;
    let trier = (0..2).find(|index| fleet.vms[*index].membership.vm() == vm).unwrap();
    let time = fleet.time();
    fleet.vms[trier].handle(Event::Done, time, &*fleet.shared);
    fleet.silent.insert(trier);
    fleet.run_until(fleet.now + 400_000);
    let other = &fleet.vms[1 - trier];
    assert_eq!(other.policies.get("p").unwrap().active.as_ref().unwrap().set.bundles["b00"].revision, "2");
}

#[test]
fn a_request_that_ends_its_vm_closes_its_policy_alone_and_for_a_minute() {
    for telling in [true, false] {
        let mut fleet = Fleet::two_policies(3);
        fleet.run_until(1_000);
        let (time, shared) = (fleet.time(), Rc::clone(&fleet.shared));
        fleet.vms[1].begin_request("p", time, &*shared).unwrap();
        fleet.end(1, telling);
        if !telling {
            // A VM that is built in its place knows at once.
            fleet.run_until(fleet.now + 20);
            fleet.reload(1);
            fleet.event(1, Event::Start);
            let time = fleet.time();
            assert!(matches!(fleet.vms[1].begin_request("p", time, &*shared), Err(NotReady::Closed { .. })));
            let (_, task) = fleet.vms[1].begin_request("q", time, &*shared).unwrap();
            shared.end(&task);
            // The others when it takes longer than any request may.
            fleet.run_until(fleet.now + 1_500);
        }
        let time = fleet.time();
        for vm in [0, 2] {
            assert!(
                matches!(fleet.vms[vm].begin_request("p", time, &*shared), Err(NotReady::Closed { .. })),
                "{telling}"
            );
            let (_, task) = fleet.vms[vm].begin_request("q", time, &*shared).unwrap();
            shared.end(&task);
        }
        fleet.run_until(fleet.now + 62_000);
        let time = fleet.time();
        assert!(fleet.vms[0].begin_request("p", time, &*shared).is_ok(), "{telling}");
    }
}

#[test]
fn a_request_that_is_still_decided_is_not_taken_for_one_that_ended_its_vm() {
    let mut fleet = Fleet::two_policies(2);
    fleet.run_until(1_000);
    let (time, shared) = (fleet.time(), Rc::clone(&fleet.shared));
    let (_, task) = fleet.vms[1].begin_request("p", time, &*shared).unwrap();
    fleet.run_until(fleet.now + 100);
    let time = fleet.time();
    let (_, other) = fleet.vms[0].begin_request("p", time, &*shared).unwrap();
    shared.end(&other);
    shared.end(&task);
    fleet.run_until(fleet.now + 5_000);
    let time = fleet.time();
    assert!(fleet.vms[0].begin_request("p", time, &*shared).is_ok());
}

#[test]
fn a_request_that_takes_long_closes_its_policy_for_a_vm_that_begins_only_until_it_is_decided() {
    let mut fleet = Fleet::two_policies(3);
    fleet.run_until(1_000);
    let (time, shared) = (fleet.time(), Rc::clone(&fleet.shared));
    let (_, task) = fleet.vms[1].begin_request("p", time, &*shared).unwrap();
    fleet.run_until(fleet.now + 20);
    fleet.end(2, true);
    fleet.reload(2);
    fleet.event(2, Event::Start);
    let time = fleet.time();
    assert!(matches!(fleet.vms[2].begin_request("p", time, &*shared), Err(NotReady::Closed { .. })));
    shared.end(&task);
    // Before its next tick.
    let (_, task) = fleet.vms[2].begin_request("p", time, &*shared).unwrap();
    shared.end(&task);
}

#[test]
fn the_place_of_a_vm_that_ended_without_a_word_is_given_up_by_the_one_in_its_stead() {
    let mut fleet = Fleet::new(3);
    fleet.run_until(1_000);
    let place = fleet.vms[1].membership.place().unwrap();
    fleet.end(1, false);
    fleet.run_until(fleet.now + 200);
    fleet.reload(1);
    fleet.event(1, Event::Start);
    fleet.run_until(fleet.now + 10_000);
    let member: MemberRecord = record::read(&*fleet.shared, &MemberRecord::key(place)).unwrap().0.unwrap();
    assert!(member.until_ms == 0 || member.vm == fleet.vms[1].membership.vm(), "{member:?}");
    let health = fleet.vms[0].health(fleet.time(), &*fleet.shared);
    assert!(health.healthy, "{:?}", health.problems);
    assert_eq!(health.vms.len(), 3);
}

#[test]
fn what_an_owner_was_reading_when_it_ended_is_not_read_again() {
    let mut fleet = Fleet::new(2);
    fleet.run_until(1_000);
    fleet.stepwise = true;
    fleet.version = 2;
    let reads = |fleet: &Fleet| fleet.record(0).reading.is_some();
    while !reads(&fleet) {
        fleet.run_one();
    }
    let owner = fleet.loader(0);
    fleet.end(owner, true);
    fleet.run_until(fleet.now + 400_000);
    let other = 1 - owner;
    assert_eq!(fleet.loader(0), other);
    let fault = fleet.record(0).fault.unwrap().message;
    assert!(fault.starts_with("quarantined: ") && fault.contains("was read"), "{fault}");
    assert_eq!(fleet.record(0).generation, 1);
    assert!(fleet.vms[other].is_ready(fleet.time()));
    fleet.version = 3;
    fleet.run_until(fleet.now + 400_000);
    let active = fleet.vms[other].policies.get("p").unwrap().active.as_ref().unwrap();
    assert!(active.set.bundles.values().all(|content| content.revision == "3"), "{active:?}");
}

#[test]
fn a_vm_that_begins_takes_the_set_before_when_another_has_ended_at_the_newest() {
    for telling in [true, false] {
        let mut fleet = Fleet::new(3);
        fleet.run_until(1_000);
        fleet.version = 2;
        fleet.run_until(400_000);
        let before = policy(&fleet);
        assert_eq!(before.good.as_ref().unwrap().bundles["b00"].revision, "2");
        // It begins to take the good set over, and ends at that.
        fleet.reload(1);
        fleet.stepwise = true;
        fleet.event(1, Event::Start);
        while policy(&fleet).adopting.is_empty() {
            fleet.work(1);
        }
        fleet.end(1, telling);
        fleet.stepwise = false;
        fleet.reload(1);
        fleet.event(1, Event::Start);
        fleet.run_until(fleet.now + 10_000);
        let active = fleet.vms[1].policies.get("p").unwrap().active.as_ref().unwrap();
        assert!(active.set.number < before.good.unwrap().number, "{telling}: {active:?}");
        assert_eq!(fleet.ended, 1);
        // Those who serve it go on.
        assert_eq!(fleet.generations()[0], vec![2; BUNDLES], "{telling}");
    }
}

#[test]
fn a_changed_token_takes_the_bundle_over_and_loses_nothing() {
    let mut fleet = Fleet::new(2);
    fleet.run_until(1_000);
    let old = fleet.record(0);
    fleet.status = 500;
    let document = fleet.document.replace("url_cluster: c", "url_cluster: d");
    let config = Config::parse(document.as_bytes()).unwrap();
    for vm in 0..2 {
        let cache = fleet.vms[vm].cache.clone();
        fleet.vms.push(Manager::new(&config, 50 + vm as u64, cache));
        fleet.ticks.push(fleet.now);
        fleet.event(2 + vm, Event::Start);
        assert!(fleet.vms[2 + vm].is_ready(fleet.time()), "before its first tick");
    }
    fleet.run_until(5_000);
    let new = fleet.record(0);
    assert_eq!((new.generation, new.lineage), (old.generation, old.lineage));
    assert!(new.epoch > old.epoch && new.access.number != old.access.number);
    let health = fleet.vms[2].health(fleet.time(), &*fleet.shared);
    assert!(health.healthy && health.ready, "{health:?}");
    assert_eq!(health.vms.len(), 2, "those that Envoy drains have left: {health:?}");
    assert_eq!(fleet.vms[0].membership.place(), None);
    assert!(fleet.vms[0].is_ready(fleet.time()), "and still decide");
}

#[test]
fn members_that_ended_at_a_request_leave_marks_that_accuse_nothing() {
    let mut fleet = Fleet::new(3);
    fleet.run_until(1_000);
    fleet.stepwise = true;
    fleet.version = 2;
    while policy(&fleet).trial.is_none() {
        fleet.run_one();
    }
    let mark = policy(&fleet).trial.unwrap().mark;
    let trier = (0..3).find(|vm| fleet.vms[*vm].membership.vm() == mark.vm).unwrap();
    let (time, shared) = (fleet.time(), Rc::clone(&fleet.shared));
    fleet.vms[trier].begin_request("p", time, &*shared).unwrap();
    fleet.end(trier, false);
    fleet.run_until(fleet.now + 400_000);
    let member: MemberRecord =
        record::read(&*fleet.shared, &MemberRecord::key(mark.member.unwrap())).unwrap().0.unwrap();
    assert!(member.ended == Some(End::AtRequest) || member.vm != mark.vm, "{member:?}");
    let other = (0..3).find(|vm| *vm != trier).unwrap();
    let active = fleet.vms[other].policies.get("p").unwrap().active.as_ref().unwrap();
    assert_eq!(active.set.bundles["b00"].revision, "2");
}

#[test]
fn a_record_of_a_policy_is_bounded() {
    let mut record = PolicyRecord::default();
    for number in 0..100 {
        let digests = BTreeMap::from([("b".to_owned(), number.to_string())]);
        let (cause, module) = (String::new(), sets::MODULE.to_owned());
        record.reject(sets::Rejection { digests, cause, since_ms: 0, by: VmName(1), module });
    }
    assert_eq!(record.rejected.len(), 8);
}

#[test]
fn what_is_quarantined_is_tried_once_more_when_what_is_around_it_changes() {
    let digests = |named: &[(&str, &str)]| -> Digests {
        named.iter().map(|(key, digest)| ((*key).to_owned(), (*digest).to_owned())).collect()
    };
    let shared = LocalData::default();
    let mut quarantine = Quarantine::new(1);
    let convict = |quarantine: &mut Quarantine, around: &[(&str, &str)], vm: u32| {
        let accused = (digests(&[("a", "2")]), digests(around));
        quarantine.convict(accused, String::new(), (VmName(vm), VmName(0)), Duration::ZERO, &shared)
    };
    let is_held = |quarantine: &Quarantine, set: &[(&str, &str)]| quarantine.of_set(&digests(set)).is_some();
    assert!(convict(&mut quarantine, &[("b", "1")], 1));
    assert!(!convict(&mut quarantine, &[("b", "1")], 2), "that is known");
    assert!(is_held(&quarantine, &[("a", "2"), ("b", "1")]));
    assert!(!is_held(&quarantine, &[("a", "2"), ("b", "2")]));
    assert!(!is_held(&quarantine, &[("a", "1"), ("b", "1")]));
    assert!(is_held(&quarantine, &[("a", "2"), ("c", "1")]), "another policy does not try it");
    assert!(quarantine.of_bundle("a", "2").is_none(), "it may have been the other");

    assert!(convict(&mut quarantine, &[("b", "2")], 3));
    assert!(is_held(&quarantine, &[("a", "2"), ("b", "3")]), "it was not the other");
    assert!(quarantine.of_bundle("a", "2").is_some());
    assert!(!convict(&mut quarantine, &[("b", "3")], 4));
}

#[test]
fn a_set_that_was_read_earlier_is_never_new() {
    let set = |lineage: u32, generations: [u64; 2]| -> Set {
        let content = |generation| Content { lineage, generation, ..Content::default() };
        let bundles = ["a", "b"].into_iter().map(str::to_owned).zip(generations.map(content));
        Set { number: 0, bundles: bundles.collect() }
    };
    assert!(set(1, [1, 3]).is_behind(&set(1, [2, 2])));
    assert!(!set(1, [2, 3]).is_behind(&set(1, [2, 2])));
    assert!(!set(1, [2, 2]).is_behind(&set(1, [2, 2])));
    assert!(!set(2, [1, 1]).is_behind(&set(1, [2, 2])), "the record was lost, and counts anew");
}

#[test]
fn a_configuration_is_refused_only_where_envoy_keeps_another() {
    let cache = SharedCache::default();
    let refuses = |document: &str, cache: &SharedCache, fleet: &Fleet| {
        may_refuse(document.as_bytes(), cache, fleet.time(), &*fleet.shared)
    };
    let mut fleet = Fleet::new(2);
    assert!(!refuses("first", &cache, &fleet), "nobody decides yet");
    fleet.run_until(1_000);
    assert!(!refuses("first", &cache, &fleet), "it was accepted");
    assert!(refuses("second", &cache, &fleet));
    assert!(refuses("second", &cache, &fleet), "that is no acceptance");
    cache.begin(BTreeSet::new(), 1);
    assert!(!refuses("third", &cache, &fleet), "a VM with another configuration is no fresh one");
    assert!(!refuses("third", &SharedCache::default(), &fleet), "it was accepted");
}

#[test]
fn who_leaves_while_it_reads_accuses_nothing_whoever_takes_its_place() {
    let shared = LocalData::default();
    let lease = Duration::from_secs(3);
    let serving = || Serving { bundles: BTreeMap::new(), ready: (0, 1) };
    let now = Duration::from_secs(1);
    let fate_of = |vm: u32| {
        let mark = sets::Mark::new(VmName(vm), Some(0), now);
        Members::default().fate(&mark, lease, now, &shared)
    };
    let join = |vm: u32| {
        let mut member = Membership::new(VmName(vm), vm, 1, lease);
        assert_eq!(member.tick(serving, false, &shared, now), Some(Change::Joined(0)));
        member
    };
    join(1).leave(&shared);
    assert_eq!(fate_of(1), Fate::EndedElsewhere);
    // A request ends the next one, which says so.
    join(2);
    assert_eq!((fate_of(1), fate_of(2)), (Fate::EndedElsewhere, Fate::Alive));
    let request = Task { vm: 2, member: Some(0), kind: TaskKind::Request("p".into()), begun: now };
    note_end(&request, now, &shared);
    join(3);
    assert_eq!((fate_of(1), fate_of(2)), (Fate::EndedElsewhere, Fate::EndedElsewhere));
    // The one after that ends at what it loads.
    note_end(&Task { vm: 3, kind: TaskKind::Load(None), ..request }, now, &shared);
    join(4);
    assert_eq!((fate_of(2), fate_of(3), fate_of(4)), (Fate::EndedElsewhere, Fate::EndedThere, Fate::Alive));
    assert_eq!(fate_of(5), Fate::EndedThere, "nobody knows of it");
}

#[test]
fn the_place_of_one_that_ended_at_a_request_is_not_taken_before_somebody_has_asked() {
    let (shared, lease) = (LocalData::default(), Duration::from_secs(3));
    let serving = || Serving { bundles: BTreeMap::new(), ready: (0, 1) };
    let tick = |member: &mut Membership, now| member.tick(serving, false, &shared, now);
    let (now, later) = (Duration::from_secs(1), Duration::from_secs(10));
    let mut ended = Membership::new(VmName(1), 1, 1, lease);
    assert_eq!(tick(&mut ended, now), Some(Change::Joined(0)));
    shared.begin(&Task { vm: 1, member: Some(0), kind: TaskKind::Request("p".into()), begun: now });
    let mut second = Membership::new(VmName(2), 2, 1, lease);
    assert_eq!(tick(&mut second, later), Some(Change::Joined(1)));
    let (found, _) = second.inquire(later, &shared);
    assert_eq!(found.into_iter().map(|(vm, _)| vm).collect::<Vec<_>>(), [VmName(1)]);
    assert_eq!(tick(&mut Membership::new(VmName(3), 3, 1, lease), later), Some(Change::Joined(0)));
}
