//! Policies replaced under load in real Envoy: every answer is the answer of one generation, and never of an older one.
//!
//! The ordinary run is short. The long one, of the figures in BENCHMARKS.md, is
//! `PORTCULLIS_SWAPS=1000 cargo test --release -p portcullis-tests --test envoy_swaps -- --nocapture`.

use std::time::Instant;

use host_harness::servers::client::Connection;
use portcullis_tests::{
    envoy::{BOUND, Gate, GateOptions},
    fleet::a_connection_to_each_worker,
    swaps::{LoadOptions, Seen, Swaps, answer_in_place, exchange, judge},
};

const WORKERS: u32 = 2;
const BUNDLES: usize = 20;
/// Swaps of the ordinary run.
const FEW_SWAPS: usize = 60;
/// Swaps of one round, after which comes one without.
const SWAPS_PER_ROUND: usize = 250;
const LOAD: LoadOptions = LoadOptions { connections: 64, faults: false };

#[test]
fn every_answer_under_a_storm_of_swaps_is_of_one_generation_and_none_goes_back() {
    let swaps = Swaps::start(BUNDLES);
    let gate = start(&swaps);
    let mut workers = a_connection_to_each_worker(&gate, WORKERS as usize);
    let wanted = wanted_swaps();

    let (mut with, mut without) = (Seen::default(), Seen::default());
    let (mut done, mut seconds) = (0, 0.0);
    while done < wanted {
        let round = SWAPS_PER_ROUND.min(wanted - done);
        let begin = Instant::now();
        let seen = swaps.load_while(gate.addr(), LOAD, || {
            swaps.keep_swapping(round);
            wait_until_all_are_newest(&swaps, &gate, &mut workers);
        });
        seconds += begin.elapsed().as_secs_f64();
        let requests = seen.requests();
        with.add(seen);
        done += round;
        // As many requests with nothing to swap.
        let quiet = swaps.load_of(gate.addr(), LOAD, requests);
        without.add(quiet);
    }
    println!(
        "{done} swaps in {seconds:.1} s, {} connections, {WORKERS} workers: {} answers of {} changes",
        LOAD.connections,
        with.requests(),
        with.changes
    );
    for part in [0.5, 0.99, 0.999] {
        let (with, without) = (with.percentile_us(part), without.percentile_us(part));
        let ratio = f64::from(with) / f64::from(without.max(1));
        println!("p{:<5} {with} us with swaps, {without} us without: {ratio:.2} times", part * 100.0);
    }
    // Answers of more than one generation of each bundle were there to be mixed up.
    assert!(with.changes >= BUNDLES, "{}", with.changes);
    assert_eq!(without.changes, 0, "nothing changes when nothing is published");
    assert_eq!(gate.counter("portcullis_policies_rejected"), 0);
}

fn start(swaps: &Swaps) -> Gate {
    let options = GateOptions {
        concurrency: WORKERS,
        policies: swaps.names(),
        amend: Some(Box::new(answer_in_place)),
        ..GateOptions::default()
    };
    let gate = Gate::start(&swaps.document().to_string(), &options);
    gate.wait_for_counter("portcullis_policies_compiled", u64::from(WORKERS + 1) * BUNDLES as u64);
    gate
}

fn wait_until_all_are_newest(swaps: &Swaps, gate: &Gate, workers: &mut [Connection]) {
    let mut last = Vec::new();
    let arrived = gate.envoy.wait_until(BOUND, |_| {
        last = workers
            .iter_mut()
            .map(|connection| {
                let served = (0..BUNDLES).map(|bundle| {
                    let response = exchange(connection, bundle).expect("Envoy answers");
                    judge(&response).unwrap_or_else(|wrong| panic!("{wrong}"))
                });
                served.collect::<Vec<_>>()
            })
            .collect();
        let newest: Vec<u64> = (0..BUNDLES).map(|bundle| swaps.newest(bundle)).collect();
        Ok(last.iter().all(|served| *served == newest))
    });
    assert!(arrived.expect("nothing here fails"), "a worker stays behind: {last:?}");
}

fn wanted_swaps() -> usize {
    let wanted = std::env::var("PORTCULLIS_SWAPS").ok();
    wanted.map_or(FEW_SWAPS, |text| text.parse().expect("PORTCULLIS_SWAPS is a number of swaps"))
}
