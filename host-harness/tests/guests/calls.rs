//! Guests that make calls: for themselves, for a request, or for a connection that must stand.

use super::*;

// === fetch ===

#[test]
fn an_answer_that_was_overtaken_does_not_win() {
    let state = |fixed| {
        let mut world = Scripted::new();
        world.queue("feed", Reply::body("1:old").after(500 * MS));
        world.queue("feed", Reply::body("2:new").after(10 * MS));
        let mut envoy = start("bundles-out-of-order", fixed, 1, world);
        envoy.run_for(1000 * MS);
        get(&mut envoy, 0, "/state").1
    };
    assert_eq!(state(false), "1:old");
    assert_eq!(state(true), "2:new");
}

#[test]
fn an_answer_that_was_cut_off_denies_nobody_less() {
    let statuses = |fixed| {
        let mut world = answers(["root mallory"]);
        world.queue("feed", Reply::body("root mallory"));
        world.queue("feed", Reply::reset());
        let mut envoy = start("reset-looks-empty", fixed, 1, world);
        let mut statuses = vec![status_of(&mut envoy, "mallory")];
        for _ in 0..3 {
            envoy.run_for(105 * MS);
            statuses.push(status_of(&mut envoy, "mallory"));
        }
        assert_eq!(status_of(&mut envoy, "alice"), 200);
        statuses
    };
    assert_eq!(statuses(false), [503, 403, 200, 200]);
    assert_eq!(statuses(true), [503, 403, 403, 403]);
}

#[test]
fn a_call_that_is_refused_is_made_again() {
    let health = |fixed| {
        let mut world = answers(["1:ready"]);
        // The main VM's and the worker's.
        world.queue("feed", Reply::refused());
        world.queue("feed", Reply::refused());
        let mut envoy = start("call-refused-inline", fixed, 1, world);
        envoy.run_for(1000 * MS);
        get(&mut envoy, 0, "/health").0
    };
    assert_eq!(health(false), 503);
    assert_eq!(health(true), 200);
}

#[test]
fn an_answer_that_is_a_failure_is_asked_for_again_by_both() {
    for fixed in [false, true] {
        let mut world = answers(["1:ready"]);
        world.queue("feed", Reply::status(503));
        world.queue("feed", Reply::reset());
        let mut envoy = start("call-refused-inline", fixed, 1, world);
        envoy.run_for(1000 * MS);
        assert_eq!(get(&mut envoy, 0, "/health").0, 200);
    }
}

#[test]
fn a_vm_that_was_made_again_fetches_again() {
    let last = |fixed| {
        let configuration = format!(r#"{{"scenario": "duplicate-answer", "fixed": {fixed}}}"#);
        let mut envoy = start_with(&configuration, 1, FailurePolicy::FailReload, answers(["1:bundle"]));
        assert_eq!(get(&mut envoy, 0, "/").0, 503);
        envoy.run_for(100 * MS);
        assert_eq!(get(&mut envoy, 0, "/"), (200, "1:bundle".to_owned()));
        assert_eq!(get(&mut envoy, 0, "/trap").0, 503);
        envoy.run_for(2000 * MS);
        assert_eq!(get(&mut envoy, 0, "/").0, 503);
        envoy.run_for(100 * MS);
        get(&mut envoy, 0, "/")
    };
    assert_eq!(last(false), (503, "the bundle is being loaded".to_owned()));
    assert_eq!(last(true), (200, "1:bundle".to_owned()));
}

// === streams ===

#[test]
fn an_answer_for_a_request_that_is_gone_leaves_the_vm_alone() {
    let statuses = |fixed| {
        let mut world = Scripted::new();
        world.queue("feed", Reply::status(200).after(100 * MS));
        let mut envoy = start("answer-after-delete", fixed, 1, world.cluster("feed"));
        let gone = envoy.begin(0, Request::get("/"));
        let stays = envoy.begin(0, Request::get("/"));
        envoy.run_for(60 * MS);
        envoy.leave(gone);
        envoy.run_for(200 * MS);
        [finish(&mut envoy, stays).0, get(&mut envoy, 0, "/").0]
    };
    // The one that stays is answered when it has stood still for five minutes.
    assert_eq!(statuses(false), [503, 503]);
    assert_eq!(statuses(true), [200, 200]);
}

#[test]
fn a_request_gets_the_answer_about_its_own_user() {
    let bodies = |fixed| {
        let mut envoy = start("scratch-crossing", fixed, 1, directory(10 * MS));
        let [alice, bob] = ["alice", "bob"].map(|user| envoy.begin(0, of_user(user)));
        [finish(&mut envoy, alice), finish(&mut envoy, bob)]
    };
    assert_eq!(bodies(false), [(200, "bob: allow".to_owned()), (403, "bob: deny".to_owned())]);
    assert_eq!(bodies(true), [(200, "alice: allow".to_owned()), (403, "bob: deny".to_owned())]);
}

#[test]
fn workers_that_use_the_same_token_keep_apart() {
    let bodies = |fixed| {
        let mut envoy = start("id-collision", fixed, 2, directory(10 * MS));
        let alice = envoy.begin(0, of_user("alice"));
        let bob = envoy.begin(1, of_user("bob"));
        [finish(&mut envoy, alice), finish(&mut envoy, bob)]
    };
    assert_eq!(bodies(false), [(200, "bob: allow".to_owned()), (403, "bob: deny".to_owned())]);
    assert_eq!(bodies(true), [(200, "alice: allow".to_owned()), (403, "bob: deny".to_owned())]);
}

#[test]
fn a_request_is_checked_by_one_set_of_rules() {
    let body = |fixed| {
        let world = Scripted::new().reply("feed", "/body", Reply::status(200).after(100 * MS));
        let mut envoy = start("torn-request", fixed, 1, world);
        assert_eq!(get(&mut envoy, 0, "/").0, 503);
        envoy.run_for(150 * MS);
        get(&mut envoy, 0, "/").1
    };
    assert_eq!(body(false), "head by 1, body by 2");
    assert_eq!(body(true), "head by 1, body by 1");
}

// === backbone ===
#[test]
fn what_is_replayed_does_not_replace_what_came_after_it() {
    let state =
        |fixed| {
            let mut world = Scripted::new()
                .reply("feed", "/send/1", Reply::status(200).after(50 * MS))
                .reply("feed", "/send/2", Reply::status(200));
            world.queue("feed", Reply::connect_failure());
            let mut envoy = start("replay-after-live", fixed, 1, world);
            envoy.exchange(0, Request::get("/publish/1"));
            envoy.run_for(200 * MS);
            envoy.exchange(0, Request::get("/publish/2"));
            envoy.run_for(1000 * MS);
            get(&mut envoy, 0, "/state").1
        };
    assert_eq!(state(false), "1");
    assert_eq!(state(true), "2");
}

#[test]
fn a_gap_during_a_recovery_is_recovered_too() {
    let state = |fixed| {
        let world = Scripted::new()
            .reply("feed", "/resync", Reply::status(200).after(250 * MS))
            .script("feed", polls(&[200, 503, 200, 503, 200]));
        let mut envoy = start("late-gap-lost", fixed, 1, world);
        envoy.exchange(0, Request::get("/join"));
        envoy.run_for(450 * MS);
        envoy.exchange(0, Request::get("/publish/7"));
        envoy.run_for(2000 * MS);
        get(&mut envoy, 0, "/state").1
    };
    assert_eq!(state(false), "0");
    assert_eq!(state(true), "7");
}

#[test]
fn a_reader_that_ended_by_itself_is_no_gap() {
    let resyncs = |fixed| {
        let mut envoy = start("spurious-resync-loop", fixed, 1, Scripted::new().cluster("feed"));
        envoy.exchange(0, Request::get("/join"));
        envoy.run_for(150 * MS);
        envoy.exchange(0, Request::get("/leave"));
        envoy.run_for(5000 * MS);
        calls(&envoy, "/resync")
    };
    // One for each time that it starts but the first, until its rounds are over.
    assert_eq!(resyncs(false), 6);
    assert_eq!(resyncs(true), 0);
}

#[test]
fn a_reader_that_was_cut_off_resyncs_once() {
    let mut world = Scripted::new().cluster("feed");
    world.queue("feed", Reply::status(200));
    world.queue("feed", Reply::status(503));
    let mut envoy = start("spurious-resync-loop", true, 1, world);
    envoy.exchange(0, Request::get("/join"));
    envoy.run_for(150 * MS);
    envoy.exchange(0, Request::get("/leave"));
    envoy.run_for(5000 * MS);
    assert_eq!(calls(&envoy, "/resync"), 1);
}

#[test]
fn a_quiet_connection_is_no_failure() {
    let end = |fixed| {
        let mut world = answers(["1:item"]);
        for _ in 0..3 {
            world.queue("feed", Reply::status(200));
        }
        let mut envoy = start("quiet-flap-gives-up", fixed, 1, world);
        envoy.exchange(0, Request::get("/join"));
        envoy.run_for(5000 * MS);
        (get(&mut envoy, 0, "/state").1, get(&mut envoy, 0, "/health").0, calls(&envoy, "/listen"))
    };
    assert_eq!(end(false), ("0".to_owned(), 503, 3));
    assert_eq!(end(true), ("1".to_owned(), 200, 8));
}

#[test]
fn a_connection_that_cannot_be_made_is_given_up() {
    let world = Scripted::new().script("feed", |_, _| Reply::connect_failure());
    let mut envoy = start("quiet-flap-gives-up", true, 1, world);
    envoy.exchange(0, Request::get("/join"));
    envoy.run_for(5000 * MS);
    assert_eq!((get(&mut envoy, 0, "/health").0, calls(&envoy, "/listen")), (503, 3));
}

#[test]
fn a_full_buffer_drops_the_oldest() {
    let state = |fixed| {
        let mut world = Scripted::new().script("feed", |_, _| Reply::status(200).after(100 * MS));
        world.queue("feed", Reply::status(200).after(100 * MS));
        world.queue("feed", Reply::status(503).after(100 * MS));
        let mut envoy = start("buffer-evicts-newest", fixed, 1, world);
        for item in 1..=3 {
            envoy.exchange(0, Request::get(&format!("/publish/{item}")));
        }
        envoy.run_for(150 * MS);
        for item in 4..=5 {
            envoy.exchange(0, Request::get(&format!("/publish/{item}")));
        }
        envoy.run_for(5000 * MS);
        get(&mut envoy, 0, "/state").1
    };
    assert_eq!(state(false), "4");
    assert_eq!(state(true), "5");
}

#[test]
fn gaps_in_a_row_are_resynced_once() {
    let end = |fixed| {
        let mut world = Scripted::new().script("feed", polls(&[200, 503, 200, 503, 200, 503, 200, 503, 200]));
        world.set_reply("feed", "/all", Reply::body("9"));
        let configuration = format!(r#"{{"scenario": "resync-storm", "count": 9, "fixed": {fixed}}}"#);
        let mut envoy = start_with(&configuration, 1, FailurePolicy::FailClosed, world);
        envoy.exchange(0, Request::get("/join"));
        envoy.run_for(10_000 * MS);
        (get(&mut envoy, 0, "/state").1, calls(&envoy, "/all"))
    };
    assert_eq!(end(false), ("9".to_owned(), 4));
    // One at once, one for all gaps after it.
    assert_eq!(end(true), ("9".to_owned(), 2));
}
