//! What counts as a departure from the registry.

use super::*;

#[test]
fn a_log_in_which_every_vm_follows_has_none() {
    let log = read(HEALTHY);
    let checked = log.check(PATIENCE);
    assert_eq!(found(&log, &checked), [""; 0]);
    assert_eq!(warnings(&log), [""; 0]);
    let longest = checked.departures.iter().map(|departure| departure.lasted).max();
    assert_eq!(longest, Some(Duration::from_millis(117)), "the moment that it takes to adopt");
}

#[test]
fn the_vm_that_never_adopts_is_named_with_the_time_since_when_it_serves_the_old_generation() {
    let log = read(PHANTOM);
    let checked = log.check(PATIENCE);
    assert_eq!(
        found(&log, &checked),
        ["vm 9f3c01aa (thread 4711) serves generation 3 of `shop` since 10:52:15.102 although 4 is current"]
    );
    let worst = &checked.departures[0];
    assert_eq!((worst.until, worst.lasted), (None, Duration::from_millis(41_520)));
}

#[test]
fn behind_counts_when_it_lasts_longer_than_patience_and_not_before() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1).serves(0.1, W0, 1).current(10.0, MAIN, 2).serves(15.0, W0, 2).end(60.0);
    assert_eq!(log.found(), [""; 0], "exactly patience");

    let mut log = Writer::default();
    log.current(0.0, MAIN, 1).serves(0.1, W0, 1).current(10.0, MAIN, 2).serves(15.001, W0, 2).end(60.0);
    assert_eq!(
        log.found(),
        [
            "vm 9f3c01aa (thread 4711) served generation 1 of `shop` for 5.0 s, from 10:50:10.000 to 10:50:15.001, although 2 was current"
        ]
    );
}

#[test]
fn what_lasts_to_the_end_of_the_log_is_measured_to_its_last_line() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1).serves(0.1, W0, 1).current(10.0, MAIN, 2);
    assert_eq!(log.found(), [""; 0], "the log ends with the publication");
    log.end(15.0);
    assert_eq!(log.found(), [""; 0]);
    log.end(15.1);
    assert_eq!(
        log.found(),
        ["vm 9f3c01aa (thread 4711) serves generation 1 of `shop` since 10:50:00.100 although 2 is current"]
    );
    // An access log has a clock of its own, and anybody can write times into it.
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1).serves(0.1, W0, 1).current(10.0, MAIN, 2);
    for line in
        ["[2026-11-21T23:00:00.000Z] \"GET /2027-01-01 00:00:00\" 200", "[2026-11-21 23:00:00][GET][/][200]"]
    {
        log.text.push_str(&format!("{line}\n"));
        assert_eq!(log.found(), [""; 0], "{line}");
    }
}

#[test]
fn a_generation_that_goes_back_is_never_allowed_and_comes_first() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 4)
        .serves(0.1, W0, 4)
        .serves(0.1, W1, 3)
        .serves(1.0, W0, 3)
        .serves(1.001, W0, 4)
        .end(60.0);
    assert_eq!(
        log.found(),
        [
            "vm 9f3c01aa (thread 4711) went back to generation 3 of `shop` at 10:50:01.000 after it had served 4",
            "vm c7d20b35 (thread 4712) serves generation 3 of `shop` since 10:50:00.100 although 4 is current",
        ]
    );
}

#[test]
fn going_back_by_way_of_nothing_is_going_back() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 4).serves(0.1, W0, 4);
    log.vm(1.0, W0, "bundle=shop from=serving to=none").serves(1.1, W0, 3).serves(1.2, W0, 4).end(9.0);
    assert_eq!(log.found().len(), 1, "{:?}", log.found());
    assert!(log.found()[0].contains("went back to generation 3"), "{:?}", log.found());
}

#[test]
fn the_registry_must_not_go_back_either() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 4).current(1.0, W1, 3).end(9.0);
    assert_eq!(
        log.found(),
        [
            "the registry went back from generation 4 of `shop` to 3 at 10:50:01.000, as vm c7d20b35 (thread 4712) says"
        ]
    );
    // Once nothing is registered any more, generations begin anew.
    let mut log = Writer::default();
    log.current(0.0, MAIN, 4).serves(0.1, W0, 4).registry(1.0, MAIN, "bundle=shop from=current to=absent");
    log.current(20.0, MAIN, 1).serves(20.1, W0, 1).end(60.0);
    assert_eq!(log.found(), [""; 0]);
}

#[test]
fn who_takes_a_bundle_over_or_fails_to_fetch_it_publishes_nothing() {
    for line in [
        "bundle=shop from=current to=claimed generation=0 epoch=2",
        "bundle=shop from=current to=claimed epoch=2",
        "bundle=shop from=current to=failing generation=4 epoch=1 cause=\"HTTP 503\"",
    ] {
        let mut log = Writer::default();
        log.current(0.0, MAIN, 4).serves(0.1, W0, 4).registry(1.0, W1, line).end(60.0);
        assert_eq!(log.found(), [""; 0], "{line}");
    }
}

#[test]
fn what_is_offered_and_refused_is_not_followed() {
    for to in ["refused", "quarantined"] {
        let line =
            |from: &str| format!("bundle=shop from={from} to={to} generation=4 epoch=1 cause=\"no bundle\"");
        let mut log = Writer::default();
        log.current(0.0, MAIN, 4).serves(0.1, W0, 4).registry(1.0, MAIN, &line("current"));
        log.registry(
            2.0,
            MAIN,
            "bundle=shop from=refused to=failing generation=4 epoch=1 cause=\"HTTP 503\"",
        )
        .end(60.0);
        assert_eq!(
            log.found(),
            ["the registry refuses what is offered of `shop` since 10:50:01.000, and keeps generation 4"],
            "{to}"
        );
        // The cure comes in time.
        log.registry(2.5, MAIN, "bundle=shop from=failing to=trial generation=5 epoch=1").serves(2.6, W0, 5);
        assert_eq!(log.found(), [""; 0], "{to}");
        // On trial it is a generation, which a VM does not serve.
        let mut log = Writer::default();
        log.current(0.0, MAIN, 3).serves(0.1, W0, 3).current(1.0, MAIN, 4);
        log.registry(1.1, MAIN, &line("trial")).end(60.0);
        assert_eq!(log.found().len(), 1, "{to}");
    }
}

#[test]
fn a_vm_that_serves_nothing_of_what_is_current_departs_too() {
    let mut log = Writer::default();
    log.vm(0.0, W0, "bundle=shop from=none to=none").current(0.1, MAIN, 1).end(60.0);
    assert_eq!(
        log.found(),
        ["vm 9f3c01aa (thread 4711) serves nothing of `shop` since 10:50:00.000 although 1 is current"]
    );
}

#[test]
fn a_vm_that_is_silent_about_what_its_like_serve_departs() {
    let mut log = Writer::default();
    log.vm(0.0, W0, "member=2 from=absent to=joined").vm(0.0, W1, "member=3 from=absent to=joined");
    log.current(1.0, MAIN, 1).serves(1.1, W0, 1).end(60.0);
    assert_eq!(
        log.found(),
        [
            "vm c7d20b35 (thread 4712) has said nothing of `shop` since 10:50:01.000 although 1 is current and others of its plugin serve it"
        ]
    );
    // Of a VM whose beginning the log has lost, the adoption may be lost, too.
    let mut log = Writer::default();
    log.vm(0.0, W1, "policy=checkout from=pending to=serving");
    log.current(1.0, MAIN, 1).serves(1.1, W0, 1).end(60.0);
    assert_eq!(log.found(), [""; 0]);
}

#[test]
fn what_a_vm_refused_is_told_with_what_it_serves_instead() {
    // The generation of the line may be that of what stays, or of what was refused.
    for generation in [1, 2] {
        let mut log = Writer::default();
        log.current(0.0, MAIN, 1).serves(0.1, W0, 1).current(10.0, MAIN, 2);
        log.vm(10.1, W0, &format!("bundle=shop from=serving to=refused generation={generation}")).end(60.0);
        assert_eq!(
            log.found(),
            [
                "vm 9f3c01aa (thread 4711) serves generation 1 of `shop` since 10:50:00.100 although 2 is current, which it refused"
            ]
        );
    }
}

#[test]
fn a_vm_may_tell_that_it_adopted_before_the_loader_tells_that_it_published() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1).serves(0.1, W0, 1).serves(10.0, W0, 2).current(10.003, MAIN, 2).end(60.0);
    assert_eq!(log.found(), [""; 0]);
    // What is never published was not adopted from the registry.
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1).serves(0.1, W0, 2).end(60.0);
    assert_eq!(
        log.found(),
        ["vm 9f3c01aa (thread 4711) serves generation 2 of `shop` since 10:50:00.100 although 1 is current"]
    );
}

#[test]
fn where_the_log_begins_too_late_for_the_registry_the_vms_are_held_against_each_other() {
    let mut log = Writer::default();
    log.serves(0.0, W0, 3).serves(0.2, W1, 4).end(60.0);
    assert_eq!(
        log.found(),
        ["vm 9f3c01aa (thread 4711) serves generation 3 of `shop` since 10:50:00.000 although 4 is current"]
    );
}

#[test]
fn a_vm_that_is_gone_departs_no_more() {
    let gone: [&dyn Fn(&mut Writer); 3] = [
        &|log| {
            log.vm(9.0, W0, "member=2 from=joined to=left");
        },
        &|log| {
            log.line(9.0, W0.0, "Function: proxy_on_tick failed: Uncaught RuntimeError: unreachable");
        },
        // Another VM of the plugin on the same thread: the filter was configured anew, or its VM was made anew.
        &|log| {
            log.serves(11.0, (W0.0, "0b0b0b0b"), 2);
        },
    ];
    for (which, gone) in gone.into_iter().enumerate() {
        let mut log = Writer::default();
        log.current(0.0, MAIN, 1).serves(0.1, W0, 1);
        gone(&mut log);
        log.current(12.0, MAIN, 2).serves(12.1, (W0.0, "0b0b0b0b"), 2).end(60.0);
        assert_eq!(log.found(), [""; 0], "{which}");
    }
    // It was not gone if it says something afterwards.
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1).serves(0.1, W0, 1).vm(9.0, W0, "member=2 from=joined to=left");
    log.vm(9.1, W0, "member=2 from=left to=joined").current(12.0, MAIN, 2).end(60.0);
    assert_eq!(log.found().len(), 1);
}

#[test]
fn the_worst_of_several_is_what_has_lasted_longest_and_never_healed() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1).serves(0.1, W0, 1).serves(0.1, W1, 1).current(1.0, MAIN, 2);
    log.serves(55.0, W0, 2).current(80.0, MAIN, 3).serves(80.1, W1, 3).end(90.0);
    let found = log.found();
    assert!(found[0].starts_with("vm 9f3c01aa (thread 4711) serves generation 2"), "{found:?}");
    assert!(
        found[1].starts_with("vm c7d20b35 (thread 4712) served generation 1 of `shop` for 79.1 s"),
        "{found:?}"
    );
    assert!(
        found[2].starts_with("vm 9f3c01aa (thread 4711) served generation 1 of `shop` for 54.0 s"),
        "{found:?}"
    );
    assert_eq!(found.len(), 3);
}

#[test]
fn every_generation_that_a_vm_served_is_listed_with_its_times() {
    let log = read(PHANTOM);
    let checked = log.check(PATIENCE);
    let shop = log.bundles.iter().position(|bundle| &*bundle.name == "shop").unwrap();
    let w0 = log.vms.iter().position(|vm| &*vm.name == "9f3c01aa").unwrap();
    let time = |place: usize| log.clock.shown(log.transitions[place].at);
    let served: Vec<_> = checked
        .served
        .iter()
        .filter(|served| (served.vm, served.bundle) == (w0, shop))
        .map(|served| (served.generation, time(served.since), served.until.map(time)))
        .collect();
    let reported = |generation, since: &str, until: Option<&str>| {
        (generation, since.to_owned(), until.map(str::to_owned))
    };
    assert_eq!(
        served,
        [
            reported(1, "10:50:58.802", Some("10:51:30.131")),
            reported(2, "10:51:30.131", Some("10:52:15.102")),
            reported(3, "10:52:15.102", None),
        ]
    );
}
