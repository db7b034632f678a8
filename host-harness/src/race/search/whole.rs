//! Runs in which callbacks are not held and calls meet no fault: their order alone is left to chance.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::{
    abi::Point,
    envoy::schedule::{Candidate, Fault, Names, Scheduler, TurnId},
};

/// One such run.
pub(in crate::race) struct Whole {
    random: ChaCha8Rng,
}

// === impl Whole ===

impl Whole {
    pub(in crate::race) fn new(seed: u64) -> Whole {
        Whole { random: ChaCha8Rng::seed_from_u64(seed) }
    }
}

impl Scheduler for Whole {
    fn may_hold(&mut self) -> bool {
        false
    }

    fn at_point(&mut self, _: &dyn Names, _: TurnId, _: &Point<'_>, _: &[Candidate]) -> Option<usize> {
        None
    }

    fn next(&mut self, _names: &dyn Names, candidates: &[Candidate]) -> usize {
        self.random.random_range(0..candidates.len())
    }

    fn fault(&mut self, _: &dyn Names, _: Option<TurnId>, _: &[Fault]) -> Option<Fault> {
        None
    }
}
