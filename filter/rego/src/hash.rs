//! Hash tables without random keys: a module asks its host for none, and two runs do the same.
//!
//! Keys come from policies, never from requests: what is hashed of a request is only looked up.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A table.
pub(crate) type Map<K, V> = HashMap<K, V, BuildHasherDefault<Folded>>;

/// Folds eight bytes at a time into one number.
#[derive(Clone, Default)]
pub(crate) struct Folded(u64);

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Folded {
    fn fold(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(SPREAD);
    }
}

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        // The table looks at the highest and at the lowest bits.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            if let Ok(word) = word.try_into() {
                self.fold(u64::from_le_bytes(word));
            }
        }
        let rest = words.remainder().iter().fold(0, |rest, byte| (rest << 8) | u64::from(*byte));
        self.fold(rest ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, number: u8) {
        self.fold(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.fold(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.fold(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.fold(number as u64);
    }
}
