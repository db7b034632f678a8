//! The guests that take in, or are asked, what ends their VM.

use host_harness::{
    envoy::{Envoy, FailurePolicy, VmState},
    world::Scripted,
};

use super::{MS, get, start_with};

#[test]
fn a_plan_that_ends_every_vm_costs_one() {
    let end = |fixed| {
        let mut envoy = start_reloading("poison-generation", fixed, 2);
        envoy.run_for(500 * MS);
        assert_eq!(get(&mut envoy, 0, "/publish/2:poison"), (202, "true".to_owned()));
        envoy.run_for(2000 * MS);
        let failed = failed(&envoy);
        let meanwhile = [0, 1].map(|worker| get(&mut envoy, worker, "/").1);
        get(&mut envoy, 1, "/publish/3:cure");
        envoy.run_for(1500 * MS);
        (failed, meanwhile, [0, 1].map(|worker| get(&mut envoy, worker, "/").1))
    };
    let (failed, _, after) = end(false);
    assert_eq!((failed, after.iter().any(|text| text == "cure")), (3, false));
    let both = |text: &str| [text.to_owned(), text.to_owned()];
    assert_eq!(end(true), (1, both("first"), both("cure")));
}

#[test]
fn a_plan_that_ends_a_vm_which_starts_with_it_is_left_out_by_the_next() {
    let answers = |fixed| {
        let mut envoy = start_reloading("poison-reload", fixed, 1);
        get(&mut envoy, 0, "/publish/2:poison");
        envoy.run_for(1500 * MS);
        let served = get(&mut envoy, 0, "/").1;
        get(&mut envoy, 0, "/trap");
        let starts = [(); 3].map(|()| {
            envoy.run_for(2000 * MS);
            get(&mut envoy, 0, "/")
        });
        (served, starts.map(|(status, text)| if status == 200 { text } else { status.to_string() }))
    };
    let texts = |texts: [&str; 3]| ("poison".to_owned(), texts.map(str::to_owned));
    assert_eq!(answers(false), texts(["503", "503", "503"]));
    assert_eq!(answers(true), texts(["503", "first", "first"]));
}

#[test]
fn two_bundles_that_end_a_vm_together_are_not_served_together() {
    let end = |fixed| {
        let mut envoy = start_reloading("poison-pair", fixed, 2);
        get(&mut envoy, 0, "/publish/a/2:poison");
        envoy.run_for(1500 * MS);
        assert_eq!(get(&mut envoy, 0, "/"), (200, "poison first".to_owned()));
        get(&mut envoy, 0, "/publish/b/2:poison");
        envoy.run_for(2000 * MS);
        (failed(&envoy), [0, 1].map(|worker| get(&mut envoy, worker, "/").1))
    };
    assert_eq!(end(false).0, 3);
    assert_eq!(end(true), (1, ["poison first".to_owned(), "poison first".to_owned()]));
}

#[test]
fn a_request_that_ends_a_vm_closes_its_policy_alone() {
    let statuses = |fixed| {
        let mut envoy = start_reloading("poison-request", fixed, 2);
        let mut ask = |worker, path| {
            envoy.run_for(2500 * MS);
            get(&mut envoy, worker, path)
        };
        assert_eq!(ask(0, "/b/x"), (200, "b".to_owned()));
        let poisoned = [ask(0, "/b/poison"), ask(1, "/b/poison")].map(|(_, text)| text == "closed");
        let others = [ask(0, "/a/x"), ask(1, "/a/x"), ask(1, "/b/x")].map(|(status, _)| status);
        (poisoned, others, envoy.vms().iter().map(|vm| vm.loads).sum::<u32>())
    };
    assert_eq!(statuses(false), ([false, false], [200, 200, 200], 5));
    assert_eq!(statuses(true), ([false, true], [200, 200, 503], 4));
}

#[test]
fn a_policy_that_is_only_busy_stays_open() {
    let mut envoy = start_reloading("poison-request", true, 1);
    for _ in 0..8 {
        assert_eq!(get(&mut envoy, 0, "/b/x").0, 200);
        envoy.run_for(500 * MS);
    }
}

#[test]
fn a_plan_is_freed_when_every_vm_serves_what_replaced_it_and_one_more_has_worked() {
    let end = |fixed| {
        let mut envoy = start_reloading("last-good-freed", fixed, 1);
        let mut kept = Vec::new();
        for plan in ["2:bad", "3:third", "4:fourth"] {
            get(&mut envoy, 0, &format!("/publish/{plan}"));
            envoy.run_for(2500 * MS);
            let is_there = |generation: &u32| {
                envoy.shared_data(&format!("plan/{generation}")).is_some_and(|(text, _)| text != "-")
            };
            kept.push((1..=4).filter(is_there).collect::<Vec<u32>>());
        }
        kept
    };
    assert_eq!(end(false), [vec![2], vec![3], vec![4]]);
    assert_eq!(end(true), [vec![1, 2], vec![1, 2, 3], vec![3, 4]]);
}

#[test]
fn a_plan_that_a_vm_has_served_is_kept_while_that_may_come_back() {
    let mut envoy = start_reloading("last-good-freed", true, 2);
    envoy.run_for(5500 * MS);
    get(&mut envoy, 1, "/trap");
    for plan in ["2:second", "3:third"] {
        get(&mut envoy, 0, &format!("/publish/{plan}"));
    }
    let mut after = |span| {
        envoy.run_for(span);
        ["plan/1", "plan/2", "plan/3"].map(|key| envoy.shared_data(key).unwrap().0)
    };
    assert_eq!(after(2000 * MS), ["first", "second", "third"]);
    assert_eq!(after(2000 * MS), ["-", "second", "third"]);
}

#[test]
fn a_vm_that_starts_serves_the_last_plan_that_works() {
    let answer = |fixed| {
        let mut envoy = start_reloading("last-good-freed", fixed, 1);
        get(&mut envoy, 0, "/publish/2:bad");
        envoy.run_for(2500 * MS);
        assert_eq!(get(&mut envoy, 0, "/").1, "first");
        get(&mut envoy, 0, "/trap");
        get(&mut envoy, 0, "/")
    };
    assert_eq!(answer(false), (503, "no plan that works".to_owned()));
    assert_eq!(answer(true), (200, "first".to_owned()));
}

// === helpers ===

/// A guest whose VM is made again when a request comes for it.
fn start_reloading(scenario: &str, fixed: bool, workers: usize) -> Envoy<Scripted> {
    let configuration = format!(r#"{{"scenario": "{scenario}", "fixed": {fixed}}}"#);
    start_with(&configuration, workers, FailurePolicy::FailReload, Scripted::new())
}

/// How many VMs have failed and were not made again.
fn failed(envoy: &Envoy<Scripted>) -> usize {
    envoy.vms().iter().filter(|vm| vm.state == VmState::Failed).count()
}
