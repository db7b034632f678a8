//! Chance that depends on the seed alone, and that can be copied with everything else.

use rand::{Rng, SeedableRng, rngs::ChaCha8Rng};

/// One stream of random numbers. A copy goes on from the same place.
#[derive(Debug, Default)]
pub(super) struct Random {
    seed: u64,
    stream: u64,
    /// How many words have been drawn.
    drawn: u128,
    /// Made when it is first needed: most runs need none.
    generator: Option<ChaCha8Rng>,
}

// === impl Random ===

impl Random {
    pub(super) fn new(seed: u64, stream: u64) -> Random {
        Random { seed, stream, ..Random::default() }
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        let generator = self.generator.get_or_insert_with(|| {
            let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
            generator.set_stream(self.stream);
            generator.set_word_pos(self.drawn);
            generator
        });
        generator.fill_bytes(bytes);
        self.drawn = generator.get_word_pos();
    }
}

impl Clone for Random {
    fn clone(&self) -> Random {
        Random { drawn: self.drawn, ..Random::new(self.seed, self.stream) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_goes_on_from_the_same_place() {
        let draw = |random: &mut Random| {
            let mut bytes = [0; 7];
            random.fill(&mut bytes);
            bytes
        };
        let mut random = Random::new(7, 1);
        let first = draw(&mut random);
        let mut copy = random.clone();
        let second = draw(&mut random);
        assert_ne!(first, second);
        assert_eq!(draw(&mut copy), second);
        assert_eq!(draw(&mut Random::new(7, 1)), first);
        assert_ne!(draw(&mut Random::new(7, 2)), first);
        assert_ne!(draw(&mut Random::new(8, 1)), first);
    }
}
