//! The guests with one mistake each: what the filter with the mistake does, and what the one without it does instead.
//!
//! Callbacks run whole here, one event after the other. Where the order of events alone shows the mistake, both filters
//! are run through that order. Where it takes two callbacks at once, both must come through what happens here.

#[path = "guests/calls.rs"]
mod calls;
mod common;
#[path = "guests/helpers.rs"]
mod helpers;
#[path = "guests/poison.rs"]
mod poison;

use std::{sync::LazyLock, time::Duration};

use common::{host_said, runtime};
use helpers::*;
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
        let reported: Vec<_> = variants.iter().map(|one| (one.variant.as_str(), one.expect)).collect();
        assert_eq!(
            reported,
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
