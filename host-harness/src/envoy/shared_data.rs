//! Shared data: one process-wide map for each `vm_id`, and one CAS counter for all of them.
//!
//! Source: proxy-wasm-cpp-host `src/shared_data.cc`. An absent key accepts any CAS number, so a number that never was
//! given out (`u32::MAX`) creates a key only if it is absent; 0 always writes; a key goes only with the last VM of its `vm_id`.

use std::collections::BTreeMap;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::abi::{Answer, Status};

/// The map and its counter.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedData {
    values: BTreeMap<String, BTreeMap<Vec<u8>, (Bytes, u32)>>,
    last_cas: u32,
    by_key: bool,
}

/// Numbers of keys that are counted apart have this bit, which a counter for all keys does not come to.
const BY_KEY: u32 = 1 << 30;
/// How many numbers one key has before they come near those of another.
const NUMBERS_OF_KEY: u32 = 1 << 10;

// === impl SharedData ===

impl SharedData {
    /// The value of a key and its CAS number.
    pub(super) fn get(&self, vm_id: &str, key: &[u8]) -> Answer<(Bytes, u32)> {
        self.values.get(vm_id).and_then(|values| values.get(key)).cloned().ok_or(Status::NotFound)
    }

    /// The CAS number that was given out last.
    pub(super) fn last_cas(&self) -> u32 {
        self.last_cas
    }

    /// Every value: `vm_id`, key, value and CAS number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8], &Bytes, u32)> {
        self.values.iter().flat_map(|(vm_id, values)| {
            values.iter().map(|(key, (value, cas))| (vm_id.as_str(), key.as_slice(), value, *cas))
        })
    }

    /// From here on, each key has a counter of its own, and no two keys the same numbers.
    ///
    /// For who passes a number on as it came, and asks nothing of it but whether it is the same, nothing changes; but now
    /// it does not matter in which order two keys were written.
    pub(super) fn count_by_key(&mut self) {
        self.by_key = true;
    }

    /// Forgets everything of a `vm_id` of which no VM is left.
    pub(super) fn forget(&mut self, vm_id: &str) {
        self.values.remove(vm_id);
    }

    /// Writes a value under a new CAS number.
    pub(super) fn set(&mut self, vm_id: &str, key: &[u8], value: &[u8], cas: u32) -> Answer {
        let values = self.values.entry(vm_id.to_owned()).or_default();
        if values.get(key).is_some_and(|(_, current)| cas != 0 && cas != *current) {
            return Err(Status::CasMismatch);
        }
        self.last_cas = match (self.by_key, values.get(key)) {
            // The counter wraps past 0, which means "no compare".
            (false, _) => self.last_cas.checked_add(1).unwrap_or(1),
            (true, Some((_, current))) if current & BY_KEY != 0 => current + 1,
            (true, _) => {
                let place = xxh3_64(key).wrapping_add(xxh3_64(vm_id.as_bytes()));
                BY_KEY
                    + u32::try_from(place % u64::from(BY_KEY / NUMBERS_OF_KEY)).unwrap_or(0) * NUMBERS_OF_KEY
            }
        };
        values.insert(key.to_vec(), (Bytes::copy_from_slice(value), self.last_cas));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cas_counter_starts_at_one_and_is_shared_by_all_keys_and_vm_ids() {
        let mut data = SharedData::default();
        data.set("", b"a", b"1", 0).unwrap();
        data.set("vm", b"a", b"2", 0).unwrap();
        data.set("", b"b", b"3", 0).unwrap();
        assert_eq!(data.get("", b"a"), Ok((Bytes::from("1"), 1)));
        assert_eq!(data.get("vm", b"a"), Ok((Bytes::from("2"), 2)));
        assert_eq!(data.get("", b"b"), Ok((Bytes::from("3"), 3)));
        assert_eq!(data.get("vm", b"b"), Err(Status::NotFound));
    }

    #[test]
    fn a_stale_cas_is_refused_and_zero_always_writes() {
        let mut data = SharedData::default();
        data.set("", b"k", b"old", 0).unwrap();
        data.set("", b"k", b"new", 1).unwrap();
        assert_eq!(data.set("", b"k", b"stale", 1), Err(Status::CasMismatch));
        assert_eq!(data.get("", b"k"), Ok((Bytes::from("new"), 2)));
        data.set("", b"k", b"forced", 0).unwrap();
        assert_eq!(data.get("", b"k"), Ok((Bytes::from("forced"), 3)));
    }

    #[test]
    fn the_largest_cas_creates_only_an_absent_key() {
        let mut data = SharedData::default();
        assert_eq!(data.set("", b"lock", b"me", u32::MAX), Ok(()));
        assert_eq!(data.set("", b"lock", b"you", u32::MAX), Err(Status::CasMismatch));
    }

    #[test]
    fn keys_that_are_counted_apart_have_numbers_that_do_not_depend_on_each_other() {
        let written = |keys: [&[u8]; 3]| {
            let mut data = SharedData::default();
            data.set("", b"a", b"before", 0).unwrap();
            data.count_by_key();
            keys.iter().for_each(|key| data.set("", key, b"1", 0).unwrap());
            let (_, a) = data.get("", b"a").unwrap();
            assert_eq!(data.set("", b"a", b"2", a - 1), Err(Status::CasMismatch));
            assert_eq!(data.set("", b"a", b"2", a), Ok(()));
            data.iter().map(|(_, key, _, cas)| (key.to_vec(), cas)).collect::<Vec<_>>()
        };
        let one = written([b"a", b"b", b"a"]);
        assert_eq!(one, written([b"b", b"a", b"a"]));
        assert_ne!(one[0].1 / NUMBERS_OF_KEY, one[1].1 / NUMBERS_OF_KEY);
    }

    #[test]
    fn an_empty_value_is_a_value() {
        let mut data = SharedData::default();
        data.set("", b"k", b"", 0).unwrap();
        assert_eq!(data.get("", b"k"), Ok((Bytes::new(), 1)));
    }

    #[test]
    fn what_a_forgotten_vm_id_had_is_gone_and_the_counter_goes_on() {
        let mut data = SharedData::default();
        data.set("a", b"k", b"1", 0).unwrap();
        data.set("b", b"k", b"2", 0).unwrap();
        data.forget("a");
        assert_eq!(data.get("a", b"k"), Err(Status::NotFound));
        assert_eq!(data.get("b", b"k"), Ok((Bytes::from("2"), 2)));
        data.set("a", b"k", b"3", 0).unwrap();
        assert_eq!(data.get("a", b"k"), Ok((Bytes::from("3"), 3)));
    }
}
