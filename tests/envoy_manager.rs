//! The manager in real Envoy: one download for all workers, and what follows when the VM that loads dies.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use host_harness::{
    servers::{BundleServer, Fault, client::Connection},
    storm::{Storm, StormBundle},
};
use portcullis_tests::{
    envoy::{BOUND, EVALUATION_MS, Gate, GateOptions, LEASE_SECONDS, bundle_server},
    fleet::{HOOKS_MODULE, Thread, Told, a_connection_to_each_worker, ask, ask_and_trap},
};
use serde_json::json;

#[test]
fn a_hundred_bundles_are_requested_once_each_and_served_by_all_eight_workers() {
    let (storm, server) = published(100);
    let gate = start(&storm, &server, 8, None);
    let mut workers = a_connection_to_each_worker(&gate, 8);
    gate.wait_for_counter("portcullis_policies_compiled", 9 * 100);

    for connection in &mut workers {
        for bundle in storm.bundles() {
            assert_decides(connection, bundle);
        }
    }
    let traffic = server.traffic();
    for bundle in storm.bundles() {
        assert_eq!(traffic.count(&bundle.path()), 1, "{}", bundle.name);
    }
    assert_eq!(traffic.requests.len(), 100);
}

#[test]
fn sixty_four_workers_share_one_download_of_each_bundle() {
    let (storm, server) = published(10);
    let gate = start(&storm, &server, 64, None);
    gate.wait_for_counter("portcullis_policies_compiled", 65 * 10);
    for connection in &mut a_connection_to_each_worker(&gate, 64) {
        for bundle in storm.bundles() {
            assert_decides(connection, bundle);
        }
    }
    assert_eq!(server.traffic().requests.len(), 10);
}

#[test]
fn the_module_that_is_delivered_has_no_trap() {
    let (storm, server) = published(1);
    let gate = start(&storm, &server, 1, None);
    gate.wait_for_counter("portcullis_policies_compiled", 2);
    let [connection] = &mut a_connection_to_each_worker(&gate, 1)[..] else { unreachable!("one worker") };
    let [bundle] = storm.bundles() else { unreachable!("one bundle") };
    let (method, path) = bundle.allowed(1);
    assert_eq!(ask_and_trap(connection, &bundle.name, method, &path).status, 200);
    assert_decides(connection, bundle);
    assert_eq!(reloads(&gate), 0);
}

#[test]
fn a_worker_that_has_trapped_serves_again_without_any_download() {
    let (storm, server) = published(20);
    let gate = start(&storm, &server, 4, Some(HOOKS_MODULE));
    let mut workers = a_connection_to_each_worker(&gate, 4);
    gate.wait_for_counter("portcullis_policies_compiled", 5 * 20);
    let first = claims(&gate, 1);

    // All of them, and so the one that loads.
    for connection in &mut workers {
        trap(connection, &storm);
    }
    for connection in &mut workers {
        for bundle in storm.bundles() {
            wait_until_it_decides(&gate, connection, bundle);
        }
    }
    assert_eq!(reloads(&gate), 2 * 4, "each place of the filter counts");

    // What the dead have loaded is looked after by others.
    let (by_main, by_dead): (Vec<_>, Vec<_>) =
        first.into_iter().partition(|claim| claim.thread == Thread::Main);
    assert_eq!(by_main.len() + by_dead.len(), 20);
    wait_for_claims(&gate, 2, by_dead.len());
    let dead: BTreeSet<String> = by_dead.into_iter().map(|claim| claim.vm).collect();
    let heirs = claims(&gate, 2);
    assert!(heirs.iter().all(|claim| !dead.contains(&claim.vm)), "{dead:?} {heirs:?}");
    // A VM asks for what it has claimed before it tells that it has.
    wait_until_nothing_is_asked(&gate);
    assert_eq!(server.traffic().requests.len(), 20, "nothing is loaded again");
}

#[test]
fn when_the_vm_that_loads_traps_others_load_what_is_missing_and_nothing_else() {
    let (storm, server) = published(20);
    let (there, missing) = storm.bundles().split_at(12);
    for bundle in missing {
        server.fault(&bundle.path(), Fault::HangUntilReleased);
    }
    // What ends the VM that gets it.
    server.publish(&missing[0].path(), b"trap".to_vec());
    let gate = start(&storm, &server, 4, Some(HOOKS_MODULE));
    let mut workers = a_connection_to_each_worker(&gate, 4);
    gate.wait_for_counter("portcullis_policies_compiled", 5 * there.len() as u64);
    assert!(server.wait_until(BOUND, |traffic| traffic.in_flight == missing.len()));
    let first = claims(&gate, 1);
    let loader =
        first.iter().find(|claim| claim.bundle == missing[0].name).expect("somebody claims it").clone();
    let owned = Told::owned_by(&first, loader.thread);
    let orphans: Vec<&StormBundle> =
        missing.iter().filter(|bundle| owned.contains(bundle.name.as_str())).collect();

    // What the dead VM has asked for is never answered; who asks again gets it.
    for bundle in missing {
        server.clear_fault(&bundle.path());
    }
    for bundle in missing.iter().filter(|bundle| !owned.contains(bundle.name.as_str())) {
        server.release(&bundle.path());
    }
    server.release(&missing[0].path());
    assert!(server.wait_until(BOUND, |traffic| traffic.in_flight < orphans.len()));
    // Long before anybody takes it over.
    storm.publish(&server, 1);
    let ended = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let watchers: Vec<_> = workers
            .iter_mut()
            .enumerate()
            .map(|(worker, connection)| {
                let (ended, alive) = (&ended, loader.thread != Thread::Worker(worker));
                scope.spawn(move || watch(connection, there, missing, alive, ended))
            })
            .collect();
        wait_for_claims(&gate, 2, owned.len());
        // A worker's VM starts anew with the next request; the main thread's never does.
        let reborn = if loader.thread == Thread::Main { 0 } else { 20 };
        gate.wait_for_counter("portcullis_policies_compiled", (4 * 20 + there.len() + reborn) as u64);
        ended.store(true, Ordering::Relaxed);
        watchers.into_iter().map(|watcher| watcher.join().expect("no answer was wrong")).sum::<usize>()
    });
    assert!(asked > 0);

    for connection in &mut workers {
        for bundle in storm.bundles() {
            wait_until_it_decides(&gate, connection, bundle);
        }
    }
    let traffic = server.traffic();
    let heirs = claims(&gate, 2);
    assert!(heirs.iter().all(|claim| claim.vm != loader.vm), "{heirs:?}");
    for bundle in storm.bundles() {
        let is_orphan = orphans.contains(&bundle);
        assert_eq!(traffic.count(&bundle.path()), if is_orphan { 2 } else { 1 }, "{}", bundle.name);
    }
}

/// Asks for everything in turn until it is ended; gives how often.
fn watch(
    connection: &mut Connection,
    there: &[StormBundle],
    missing: &[StormBundle],
    alive: bool,
    ended: &AtomicBool,
) -> usize {
    let mut asked = 0;
    while !ended.load(Ordering::Relaxed) {
        for (bundle, is_there) in
            there.iter().map(|bundle| (bundle, true)).chain(missing.iter().map(|bundle| (bundle, false)))
        {
            let may_wait = !(alive && is_there);
            for ((method, path), decision) in [(bundle.allowed(1), 200), (bundle.denied(1), 403)] {
                let status = ask(connection, &bundle.name, method, &path).status;
                let is_right = status == decision || (may_wait && status == 503);
                assert!(is_right, "{status}, not {decision}, for {method} {path} of {}", bundle.name);
                asked += 1;
            }
        }
    }
    asked
}

fn published(bundles: usize) -> (Storm, BundleServer) {
    let (storm, server) = (Storm::new(bundles, 1), bundle_server([]));
    storm.publish(&server, 1);
    (storm, server)
}

fn start(storm: &Storm, server: &BundleServer, workers: u32, module: Option<&[u8]>) -> Gate {
    let mut document = storm.document(server.url("").trim_end_matches('/'));
    // No download runs out of time while a test looks at it.
    document["services"]["storm"]["response_header_timeout_seconds"] = json!(120);
    // VMs are ended by requests of one policy, which must not be closed for it.
    document["portcullis"]["limits"] = json!({ "vm_failures": 100, "evaluation_ms": EVALUATION_MS });
    // The module that is delivered never ends a VM.
    if module.is_none() {
        document["portcullis"]["manager"] = json!({ "lease_seconds": LEASE_SECONDS });
    }
    let options = GateOptions {
        concurrency: workers,
        module: module.map(<[u8]>::to_vec),
        policies: storm.bundles().iter().map(|bundle| bundle.name.clone()).collect(),
        ..GateOptions::default()
    };
    Gate::start(&document.to_string(), &options)
}

fn trap(connection: &mut Connection, storm: &Storm) {
    let bundle = &storm.bundles()[0];
    let (method, path) = bundle.allowed(1);
    assert_eq!(ask_and_trap(connection, &bundle.name, method, &path).status, 503);
}

fn assert_decides(connection: &mut Connection, bundle: &StormBundle) {
    for ((method, path), decision) in [(bundle.allowed(1), 200), (bundle.denied(1), 403)] {
        assert_eq!(ask(connection, &bundle.name, method, &path).status, decision, "{method} {path}");
    }
}

fn wait_until_it_decides(gate: &Gate, connection: &mut Connection, bundle: &StormBundle) {
    let (method, path) = bundle.allowed(1);
    let decides = gate.envoy.wait_until(BOUND, |_| {
        let status = ask(connection, &bundle.name, method, &path).status;
        assert!([200, 503].contains(&status), "{status} for {method} {path}");
        Ok(status == 200)
    });
    assert!(decides.expect("nothing here fails"), "{} never decides\n{}", bundle.name, gate.envoy.log());
    assert_decides(connection, bundle);
}

/// The claims of an epoch.
fn claims(gate: &Gate, epoch: u64) -> Vec<Told> {
    let told = Told::all(gate).into_iter();
    told.filter(|told| told.scope == "registry" && told.to == "claimed" && told.epoch == epoch).collect()
}

fn wait_for_claims(gate: &Gate, epoch: u64, count: usize) {
    let reached = gate.envoy.wait_until(BOUND, |_| Ok(claims(gate, epoch).len() >= count));
    assert!(
        reached.expect("nothing here fails"),
        "{} of {count} bundles claimed in epoch {epoch}\n{}",
        claims(gate, epoch).len(),
        gate.envoy.log()
    );
}

/// Waits until no request to the bundle server waits for a connection or an answer.
fn wait_until_nothing_is_asked(gate: &Gate) {
    let quiet = gate.envoy.wait_until(BOUND, |envoy| {
        let stats = envoy.stats()?;
        Ok(["upstream_rq_pending_active", "upstream_rq_active"]
            .iter()
            .all(|name| stats[&format!("cluster.storm.{name}")] == 0))
    });
    assert!(quiet.unwrap_or_else(|error| panic!("{error}")), "requests are under way for ever");
}

/// How often Envoy has made a VM anew.
fn reloads(gate: &Gate) -> u64 {
    let stats = gate.envoy.stats().unwrap_or_else(|error| panic!("{error}"));
    stats.iter().filter(|(name, _)| name.ends_with("vm_reload_success")).map(|(_, count)| count).sum()
}
