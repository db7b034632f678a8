//! The guests with one mistake each: what the filter with the mistake does, and what the one without it does instead.
//!
//! Callbacks run whole here, one event after the other. Where the order of events alone shows the mistake, both filters
//! are run through that order. Where it takes two callbacks at once, both must come through what happens here.

mod common;
#[path = "guests/poison.rs"]
mod poison;

use std::{sync::LazyLock, time::Duration};

use common::{host_said, runtime};
use host_harness::{
    GUESTS_MODULE,
    abi::Module,
    envoy::{Envoy, EnvoyOptions, FailurePolicy, PluginOptions, Request, StreamId, VmState},
    race::scenario::{Expectation, Scenario},
    world::{Reply, Scripted},
};

static MODULE: LazyLock<Module> =
    LazyLock::new(|| Module::load(runtime(), GUESTS_MODULE).expect("the guests are a module"));

const PAGE: &str = include_str!("../SCENARIOS.md");
const MS: Duration = Duration::from_millis(1);

// === status ===

#[test]
fn news_arrive_when_callbacks_do_not_overlap() {
    for fixed in [false, true] {
        let world = answers(["1:NOT_READY", "2:READY"]);
        let mut envoy = start("stale-after-preempt", fixed, 2, world);
        assert_eq!(get(&mut envoy, 1, "/health"), (503, "not healthy".to_owned()));
        envoy.run_for(200 * MS);
        assert_eq!(get(&mut envoy, 1, "/state"), (200, "2:READY".to_owned()));
        assert_eq!(get(&mut envoy, 1, "/health"), (200, "healthy".to_owned()));
    }
}

#[test]
fn a_storm_of_bundles_is_counted_when_callbacks_do_not_overlap() {
    for fixed in [false, true] {
        let world = answers(["0", "1", "2", "3"]);
        let mut envoy = start("fifty-bundle-storm", fixed, 3, world);
        envoy.run_for(200 * MS);
        assert_eq!(get(&mut envoy, 2, "/state"), (200, "4:++++".to_owned()));
        assert_eq!(get(&mut envoy, 2, "/health").0, 200);
    }
}

// === queue ===

#[test]
fn an_item_from_the_time_of_the_canary_is_seen_only_by_who_looks() {
    let state = |fixed| {
        let mut envoy = start("canary-owns-queue", fixed, 1, Scripted::new());
        envoy.run_for(1000 * MS);
        get(&mut envoy, 0, "/state").1
    };
    assert_eq!(state(false), "0:");
    assert_eq!(state(true), "1:on");
}

#[test]
fn the_last_registrant_alone_is_told() {
    let states = |fixed| {
        let mut envoy = start("last-registrant-wins", fixed, 2, Scripted::new());
        envoy.run_for(1000 * MS);
        [0, 1].map(|worker| get(&mut envoy, worker, "/state").1)
    };
    assert_eq!(states(false), ["0:", "1:on"]);
    assert_eq!(states(true), ["1:on", "1:on"]);
}

#[test]
fn a_notice_for_a_vm_that_is_gone_is_made_up_for() {
    let state = |fixed| {
        let mut envoy = start("receiver-traps", fixed, 2, Scripted::new());
        assert_eq!(get(&mut envoy, 1, "/trap").0, 503);
        envoy.run_for(1000 * MS);
        get(&mut envoy, 0, "/state").1
    };
    assert_eq!(state(false), "");
    assert_eq!(state(true), "1:on");
}

#[test]
fn a_notice_without_an_item_takes_the_vm_that_counts_on_one() {
    let state = |fixed| {
        let mut envoy = start("spurious-ready", fixed, 2, Scripted::new());
        envoy.run_for(1000 * MS);
        get(&mut envoy, 1, "/state")
    };
    assert_eq!(state(false).0, 503);
    assert_eq!(state(true), (200, "2:whole".to_owned()));
}

#[test]
fn an_item_that_comes_too_early_is_kept_and_not_put_back() {
    let world = || Scripted::new().reply("feed", "/ready", Reply::status(200).after(50 * MS));
    let mut envoy = start("requeue-forever", true, 1, world());
    envoy.run_for(1000 * MS);
    assert_eq!(get(&mut envoy, 0, "/state").1, "1:on");

    let mut envoy = start("requeue-forever", false, 1, world());
    for _ in 0..10_000 {
        assert!(envoy.step(1000 * MS));
    }
    assert_eq!(envoy.now(), 100 * MS, "nothing else has its turn");
}

// === configure ===

#[test]
fn vms_that_start_one_by_one_all_register() {
    for fixed in [false, true] {
        let mut envoy = start("cas-boot-collision", fixed, 2, Scripted::new());
        for worker in [0, 1] {
            assert_eq!(get(&mut envoy, worker, "/state"), (200, "registered".to_owned()));
        }
        assert_eq!(envoy.shared_data("registry").unwrap().0, "4");
    }
}

#[test]
fn a_policy_that_is_gone_from_shared_data_is_loaded_again() {
    let answers = |fixed| {
        let mut envoy = start("vmid-gc-on-drain", fixed, 1, answers(["1:allow"]));
        let first = get(&mut envoy, 0, "/").0;
        let vm = envoy.vms()[1].state;
        envoy.run_for(500 * MS);
        (first, vm, get(&mut envoy, 0, "/").0)
    };
    assert_eq!(answers(false), (503, VmState::Failed, 503));
    assert_eq!(answers(true), (503, VmState::Running, 200));
}

#[test]
fn a_loader_puts_the_policy_where_a_reader_finds_it() {
    let configuration = r#"{"scenario": "vmid-gc-on-drain", "role": "loader"}"#;
    let mut envoy = start_with(configuration, 1, FailurePolicy::FailClosed, Scripted::new());
    assert_eq!(get(&mut envoy, 0, "/state").1, "1:allow");
    assert_eq!(get(&mut envoy, 0, "/").0, 200);
}

#[test]
fn shared_data_go_with_the_last_plugin_and_are_not_counted_on_when_one_comes_back() {
    let answers = |fixed| {
        let reader = configuration_of("vmid-gc-on-drain", "reader", fixed);
        let plugins = vec![
            plugin("loader", &configuration_of("vmid-gc-on-drain", "loader", fixed)),
            plugin("reader", &reader),
        ];
        let options = EnvoyOptions { plugins, ..EnvoyOptions::default() };
        let mut envoy = Envoy::start(&MODULE, options, answers(["1:allow"])).expect("the canary comes up");
        assert_eq!(get(&mut envoy, 0, "/").0, 200);
        envoy.remove_plugin("loader");
        envoy.run_for(100 * MS);
        assert_eq!(get(&mut envoy, 0, "/").0, 200, "the reader's VMs hold what is shared");
        envoy.remove_plugin("reader");
        envoy.run_for(100 * MS);
        assert_eq!(envoy.shared_data("policy"), None);
        envoy.update_plugin("reader", reader).unwrap();
        envoy.run_for(100 * MS);
        let first = get(&mut envoy, 0, "/").0;
        envoy.run_for(500 * MS);
        (first, host_said(&envoy).is_empty(), get(&mut envoy, 0, "/").0)
    };
    assert_eq!(answers(false), (503, false, 503));
    assert_eq!(answers(true), (503, true, 200));
}

#[test]
fn two_notations_of_one_record_take_the_vm() {
    let status = |fixed| {
        let each = [("old", "1"), ("new", "2")];
        let plugins =
            each.map(|(name, role)| plugin(name, &configuration_of("mixed-version-sd", role, fixed)));
        let options = EnvoyOptions { plugins: plugins.to_vec(), ..EnvoyOptions::default() };
        let mut envoy = Envoy::start(&MODULE, options, Scripted::new()).expect("the canary comes up");
        envoy.run_for(1000 * MS);
        get(&mut envoy, 0, "/").0
    };
    assert_eq!(status(false), 503);
    assert_eq!(status(true), 200);
}

#[test]
fn one_schema_alone_counts_every_tick_of_every_vm() {
    for (role, fixed, record) in
        [("1", false, "4"), ("2", false, "v2;4"), ("1", true, "4"), ("2", true, "v2;4")]
    {
        let configuration =
            format!(r#"{{"scenario": "mixed-version-sd", "role": "{role}", "fixed": {fixed}}}"#);
        let mut envoy = start_with(&configuration, 1, FailurePolicy::FailClosed, Scripted::new());
        envoy.run_for(1000 * MS);
        assert_eq!(get(&mut envoy, 0, "/state").1, record);
    }
}

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
fn a_request_is_judged_by_one_set_of_rules() {
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

// === plans ===

#[test]
fn the_newest_plan_is_in_force_when_callbacks_do_not_overlap() {
    let each = ["slow-enactor", "cleanup-in-use", "deleted-while-read"];
    for (scenario, fixed) in each.into_iter().flat_map(|scenario| [(scenario, false), (scenario, true)]) {
        let mut envoy = start(scenario, fixed, 2, answers(["1:a", "2:b", "3:c"]));
        assert_eq!(get(&mut envoy, 0, "/").0, 503);
        envoy.run_for(1000 * MS);
        assert_eq!(get(&mut envoy, 0, "/state").1, "3");
        assert_eq!(get(&mut envoy, 0, "/"), (200, "c".to_owned()));
        let old = envoy.shared_data("plan/1").unwrap().0;
        assert_eq!(old, if scenario == "slow-enactor" { "a" } else { "-" });
    }
}

#[test]
fn a_plan_in_use_is_not_cleaned_up_when_callbacks_do_not_overlap() {
    for fixed in [false, true] {
        let world = Scripted::new().reply("feed", "/check", Reply::status(200).after(300 * MS));
        let mut envoy = start("refcount-toctou", fixed, 1, world);
        let user = envoy.begin(0, Request::get("/"));
        envoy.run_for(250 * MS);
        assert_eq!(get(&mut envoy, 0, "/state").1, "2");
        assert_eq!(finish(&mut envoy, user), (200, "first".to_owned()));
        envoy.run_for(1000 * MS);
        assert_eq!(get(&mut envoy, 0, "/"), (200, "second".to_owned()));
        // The filter that counts apart looks once; the other one looks until nobody uses the plan.
        assert_eq!(envoy.shared_data("plan/1").unwrap().0, if fixed { "-" } else { "0:first" });
    }
}

// === members ===

#[test]
fn all_join_when_callbacks_do_not_overlap() {
    for (scenario, fixed) in
        [("lost-update", false), ("lost-update", true), ("ignored-retry", false), ("ignored-retry", true)]
    {
        let mut envoy = start(scenario, fixed, 2, Scripted::new());
        for (worker, path) in [(0, "/join/a"), (1, "/join/b"), (1, "/join/c")] {
            assert_eq!(get(&mut envoy, worker, path), (200, "joined".to_owned()));
        }
        assert_eq!(get(&mut envoy, 0, "/state").1, "a b c ", "{scenario}");
    }
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

// === the module ===

#[test]
fn a_scenario_that_does_not_exist_is_refused_by_name() {
    let options = options(r#"{"scenario": "sunny-day"}"#, 1, FailurePolicy::FailClosed);
    let Err(error) = Envoy::start(&MODULE, options, Scripted::new()) else {
        panic!("there is no such scenario");
    };
    assert_eq!(
        error.to_string(),
        "the plugin cannot be started on the canary VM: `proxy_on_configure` returned false: there is no scenario \
         `sunny-day` in this module"
    );
}

#[test]
fn a_scenario_comes_to_rest() {
    for (scenario, fixed) in [
        ("stale-after-preempt", true),
        ("last-registrant-wins", true),
        ("cleanup-in-use", true),
        ("refcount-toctou", true),
    ] {
        let mut envoy = start(scenario, fixed, 2, answers(["1:a", "2:b", "3:c"]));
        assert!(!envoy.run_until(Duration::MAX, |_| false), "{scenario} never ends");
        assert!(host_said(&envoy).is_empty(), "{scenario}: {:?}", host_said(&envoy));
    }
}

// === helpers ===

fn options(configuration: &str, workers: usize, failure_policy: FailurePolicy) -> EnvoyOptions {
    let configuration = configuration.as_bytes().to_vec();
    let plugin = PluginOptions { configuration, failure_policy, ..PluginOptions::default() };
    EnvoyOptions { concurrency: workers, plugin, ..EnvoyOptions::default() }
}

fn configuration_of(scenario: &str, role: &str, fixed: bool) -> String {
    format!(r#"{{"scenario": "{scenario}", "role": "{role}", "fixed": {fixed}}}"#)
}

fn plugin(name: &str, configuration: &str) -> PluginOptions {
    PluginOptions {
        name: name.to_owned(),
        root_id: name.to_owned(),
        configuration: configuration.as_bytes().to_vec(),
        failure_policy: FailurePolicy::FailClosed,
        ..PluginOptions::default()
    }
}

fn start(scenario: &str, fixed: bool, workers: usize, world: Scripted) -> Envoy<Scripted> {
    let configuration = format!(r#"{{"scenario": "{scenario}", "fixed": {fixed}}}"#);
    start_with(&configuration, workers, FailurePolicy::FailClosed, world)
}

fn start_with(
    configuration: &str,
    workers: usize,
    failure_policy: FailurePolicy,
    world: Scripted,
) -> Envoy<Scripted> {
    Envoy::start(&MODULE, options(configuration, workers, failure_policy), world)
        .expect("the canary comes up")
}

/// A world whose `feed` answers with these bodies, and then with the last one again.
fn answers<const N: usize>(bodies: [&'static str; N]) -> Scripted {
    let mut calls = 0;
    Scripted::new().script("feed", move |_, _| {
        calls += 1;
        Reply::body(bodies[N.min(calls) - 1])
    })
}

/// A world whose `feed` allows alice and denies bob.
fn directory(delay: Duration) -> Scripted {
    Scripted::new().reply("feed", "/alice", Reply::body("allow").after(delay)).reply(
        "feed",
        "/bob",
        Reply::body("deny").after(delay),
    )
}

/// Answers with these statuses, and then with the last one again.
fn polls(
    statuses: &[u16],
) -> impl FnMut(&host_harness::world::Call, Duration) -> Reply + Clone + Send + 'static {
    let statuses = statuses.to_vec();
    let mut calls = 0;
    move |_, _| {
        calls += 1;
        Reply::status(statuses[statuses.len().min(calls) - 1])
    }
}

fn of_user(user: &str) -> Request {
    Request::get("/").header("x-user", user)
}

fn status_of(envoy: &mut Envoy<Scripted>, user: &str) -> u16 {
    envoy.exchange(0, of_user(user)).status
}

fn get(envoy: &mut Envoy<Scripted>, worker: usize, path: &str) -> (u16, String) {
    let exchange = envoy.exchange(worker, Request::get(path));
    (exchange.status, exchange.text())
}

fn finish(envoy: &mut Envoy<Scripted>, id: StreamId) -> (u16, String) {
    loop {
        if let Some(exchange) = envoy.take(id) {
            return (exchange.status, exchange.text());
        }
        assert!(envoy.step(Duration::MAX), "the stream stands still for ever");
    }
}

/// How often this path was called.
fn calls(envoy: &Envoy<Scripted>, path: &str) -> usize {
    envoy.world().seen().iter().filter(|seen| seen.call.path() == path).count()
}

// === the scenarios ===

#[test]
fn every_guest_has_a_scenario_with_its_mistake_and_without() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Those of the filter itself.
        if path.is_dir() {
            continue;
        }
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let variants = Scenario::load(&path).unwrap_or_else(|error| panic!("{error}"));
        let told: Vec<_> = variants.iter().map(|one| (one.variant.as_str(), one.expect)).collect();
        assert_eq!(
            told,
            [("naive", Some(Expectation::Broken)), ("fixed", Some(Expectation::Clean))],
            "{stem}"
        );
        for scenario in variants {
            assert_eq!(scenario.name, stem);
            assert_eq!(scenario.module, "portcullis:guests", "{stem}");
            for plugin in &scenario.plugins {
                let configuration = String::from_utf8(plugin.configuration.clone()).unwrap();
                let starts = Envoy::start(
                    &MODULE,
                    options(&configuration, 1, scenario.failure_policy),
                    Scripted::new().cluster("feed"),
                );
                assert!(starts.is_ok(), "{stem}: {configuration}");
            }
        }
        assert!(PAGE.contains(&format!("| `{stem}` |")), "{stem} is not on the page of built-in scenarios");
        names.push(stem);
    }
    assert_eq!(names.len(), 35);
}
