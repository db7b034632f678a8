//! Decisions that need not be made again: a policy's answer by exactly the values that it read.
//!
//! A table of fixed size, in which a newcomer takes the place of another: however many requests come that are all different,
//! each costs one place, and what is kept stays within its bytes.

use std::{hash::BuildHasher, mem};

use crate::policy::{PolicyId, Value};

/// What a small answer takes, with its key: by this the bytes become places.
const BYTES_PER_PLACE: usize = 256;
/// Most bytes of one answer with its key: a greater one is not kept.
const MAX_ENTRY_BYTES: usize = 4 << 10;
/// What a [`Value::weight`] of one stands for.
const BYTES_PER_WEIGHT: usize = 32;

/// Answers of the policies of one plugin in one VM.
#[derive(Debug)]
pub(crate) struct Remembered {
    /// None of them as long as nothing is remembered. A power of two.
    places: Vec<Option<Entry>>,
    bytes: usize,
    most_bytes: usize,
    /// The place that is freed next where bytes are short.
    next: usize,
    /// Of the VM: who sends requests cannot choose their places.
    hasher: std::hash::RandomState,
}

#[derive(Debug)]
struct Entry {
    policy: PolicyId,
    key: Box<[u8]>,
    answer: Option<Value>,
}

// === impl Remembered ===

impl Remembered {
    /// One that keeps no more than so many bytes, of answers and of its own.
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self { places: Vec::new(), bytes: 0, most_bytes, next: 0, hasher: std::hash::RandomState::new() }
    }

    /// Whether nothing is kept.
    pub(crate) fn is_off(&self) -> bool {
        self.most_bytes < BYTES_PER_PLACE
    }

    /// What the policy answered; undefined is an answer too.
    pub(crate) fn get(&self, policy: PolicyId, key: &[u8]) -> Option<Option<&Value>> {
        let entry = self.places.get(self.place(policy, key))?.as_ref()?;
        (entry.policy == policy && *entry.key == *key).then_some(entry.answer.as_ref())
    }

    /// Keeps an answer, in place of what is there.
    pub(crate) fn put(&mut self, policy: PolicyId, key: Vec<u8>, answer: Option<Value>) {
        let entry = Entry { policy, key: key.into(), answer };
        if self.is_off() || entry.bytes() > MAX_ENTRY_BYTES {
            return;
        }
        if self.places.is_empty() {
            let count = self.most_bytes / BYTES_PER_PLACE;
            // The next power of two below or at it.
            self.places.resize_with(1 << count.ilog2(), || None);
            self.bytes = self.places.len() * mem::size_of::<Option<Entry>>();
        }
        let place = self.place(entry.policy, &entry.key);
        self.free(place);
        let most = self.most_bytes.saturating_sub(entry.bytes());
        for _ in 0..self.places.len() {
            if self.bytes <= most {
                break;
            }
            self.free(self.next);
            self.next = (self.next + 1) % self.places.len();
        }
        if self.bytes <= most
            && let Some(free) = self.places.get_mut(place)
        {
            self.bytes += entry.bytes();
            *free = Some(entry);
        }
    }

    fn free(&mut self, place: usize) {
        if let Some(entry) = self.places.get_mut(place).and_then(Option::take) {
            self.bytes -= entry.bytes();
        }
    }

    fn place(&self, policy: PolicyId, key: &[u8]) -> usize {
        let hash = self.hasher.hash_one((policy, key));
        usize::try_from(hash & (self.places.len().max(1) as u64 - 1)).unwrap_or_default()
    }
}

// === impl Entry ===

impl Entry {
    fn bytes(&self) -> usize {
        let weight = self.answer.as_ref().map_or(0, Value::weight);
        let weight = usize::try_from(weight).unwrap_or(usize::MAX);
        self.key.len().saturating_add(weight.saturating_mul(BYTES_PER_WEIGHT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: PolicyId = PolicyId::for_tests(1);
    const OTHER: PolicyId = PolicyId::for_tests(2);

    fn key(number: usize) -> Vec<u8> {
        number.to_le_bytes().to_vec()
    }

    #[test]
    fn an_answer_is_of_one_policy_and_of_one_key() {
        let mut kept = Remembered::new(1 << 20);
        assert_eq!(kept.get(POLICY, b"a"), None);
        kept.put(POLICY, b"a".to_vec(), Some(Value::Bool(true)));
        kept.put(POLICY, b"u".to_vec(), None);
        assert_eq!(kept.get(POLICY, b"a"), Some(Some(&Value::Bool(true))));
        assert_eq!(kept.get(POLICY, b"u"), Some(None), "undefined");
        assert_eq!(kept.get(POLICY, b"b"), None);
        // With one place for all, what is told apart is not the place.
        let mut kept = Remembered::new(BYTES_PER_PLACE);
        kept.put(POLICY, b"a".to_vec(), Some(Value::Bool(true)));
        assert_eq!(kept.get(POLICY, b"a"), Some(Some(&Value::Bool(true))));
        assert_eq!(kept.get(OTHER, b"a"), None);
        assert_eq!(kept.get(POLICY, b"b"), None);
        kept.put(OTHER, b"a".to_vec(), Some(Value::Bool(false)));
        assert_eq!(kept.get(POLICY, b"a"), None, "its place was taken");
        assert_eq!(kept.get(OTHER, b"a"), Some(Some(&Value::Bool(false))));
    }

    #[test]
    fn whatever_comes_its_bytes_stay_bounded_and_something_is_kept() {
        let most = 64 << 10;
        let mut kept = Remembered::new(most);
        for number in 0..10_000 {
            let mut key = key(number);
            key.resize(8 + number * 37 % MAX_ENTRY_BYTES, b'x');
            kept.put(POLICY, key, Some(Value::from("y".repeat(number % 500).as_str())));
            let entries = kept.places.iter().flatten().map(Entry::bytes).sum::<usize>();
            let own = kept.places.len() * mem::size_of::<Option<Entry>>();
            assert_eq!(kept.bytes, entries + own);
            assert!(kept.bytes <= most, "{} bytes", kept.bytes);
        }
        assert!(kept.places.iter().flatten().count() > 5);
    }

    #[test]
    fn small_answers_fill_most_of_the_places() {
        let mut kept = Remembered::new(1 << 20);
        let places = (1 << 20) / BYTES_PER_PLACE;
        (0..places).for_each(|number| kept.put(POLICY, key(number), Some(Value::Bool(true))));
        let found = (0..places).filter(|number| kept.get(POLICY, &key(*number)).is_some()).count();
        assert!(found > places / 2, "{found} of {places}");
    }

    #[test]
    fn what_is_too_great_or_too_much_is_not_kept() {
        let mut kept = Remembered::new(1 << 20);
        kept.put(POLICY, vec![0; MAX_ENTRY_BYTES + 1], None);
        let great = Value::from("y".repeat(MAX_ENTRY_BYTES).as_str());
        kept.put(POLICY, b"a".to_vec(), Some(great));
        assert!(kept.places.iter().flatten().next().is_none());
        for most in [0, BYTES_PER_PLACE - 1] {
            let mut kept = Remembered::new(most);
            assert!(kept.is_off());
            kept.put(POLICY, b"a".to_vec(), None);
            assert!(kept.places.is_empty() && kept.get(POLICY, b"a").is_none());
        }
    }
}
