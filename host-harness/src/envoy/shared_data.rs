//! Shared data: one process-wide map for each `vm_id`, and one CAS counter for all of them.
//!
//! Source: proxy-wasm-cpp-host `src/shared_data.cc`. An absent key accepts any CAS number, so a number that never was
//! given out (`u32::MAX`) creates a key only if it is absent; 0 always writes; a key goes only with the last VM of its `vm_id`.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{core::Core, vms::VmSlot};
use crate::abi::{Answer, Status, VmIndex};

/// The map and its counter.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedData {
    values: BTreeMap<String, BTreeMap<Vec<u8>, (Bytes, u32)>>,
    last_cas: u32,
}

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
        // The counter wraps past 0, which means "no compare".
        self.last_cas = self.last_cas.checked_add(1).unwrap_or(1);
        values.insert(key.to_vec(), (Bytes::copy_from_slice(value), self.last_cas));
        Ok(())
    }
}

// === impl Core ===

impl Core {
    /// A turn begins on the thread.
    pub(super) fn forget_reads(&mut self, thread: VmSlot) {
        for vm in self.vms.iter_mut().filter(|vm| vm.role.slot() == thread) {
            vm.read.clear();
        }
    }

    /// The running turn knows the value that has this CAS number.
    pub(super) fn note_read(&mut self, vm: VmIndex, key: &[u8], cas: u32) {
        if self.exploration.is_none() {
            return;
        }
        let read = &mut self.vms[vm].read;
        match read.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = cas,
            None => read.push((key.to_vec(), cas)),
        }
    }

    /// A value is written whatever is there. Where the same turn has read the key before, and another VM has written
    /// something else since, that is lost.
    pub(super) fn check_for_lost_update(&mut self, vm: VmIndex, key: &[u8], value: &[u8]) {
        let record = &self.vms[vm];
        let Some((_, known)) = record.read.iter().find(|(known, _)| known == key) else { return };
        let Ok((current, cas)) = self.data.get(self.vm_id(vm), key) else { return };
        if cas != *known && current != value {
            let key = String::from_utf8_lossy(key);
            let thread = record.role.slot();
            let cure = match known {
                0 => "it had found none: give the CAS number 4294967295, which only creates",
                _ => "give the CAS number that was read with the value",
            };
            let message = format!(
                "what one VM writes to `{key}` must not vanish unseen, and {thread} wrote over what came after it had read it; \
                 {cure}"
            );
            self.violations.push(("lost-update", message));
        }
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
