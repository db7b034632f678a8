//! The data that every VM of one `vm_id` in an Envoy process sees, and how it may be written.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

/// Envoy's shared data as the manager uses them: no write without having read.
///
/// Source: proxy-wasm-cpp-host, `shared_data.cc`. Each write gives the key a new number from one counter; a write that
/// names an old number is refused.
pub trait SharedData {
    /// What stands at a key. None when the host fails, which is no statement about the key.
    fn get(&self, key: &str) -> Option<Read>;

    /// Writes if nobody has written since [`SharedData::get`], and says whether it did.
    fn compare_and_set(&self, key: &str, value: &[u8], seen: Seen) -> bool;
}

/// A key as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Empty where the key is absent.
    pub value: Vec<u8>,
    /// For the write that follows.
    pub seen: Seen,
}

/// What a write may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: the key has never been written.
    Absent,
    /// The write with this number.
    At(u32),
}

/// Shared data of a host that has none of Envoy's: one process's memory, with Envoy's one counter for all keys.
#[derive(Debug, Default)]
pub struct LocalData {
    entries: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    writes: Cell<u32>,
}

// === impl LocalData ===

impl SharedData for LocalData {
    fn get(&self, key: &str) -> Option<Read> {
        let entries = self.entries.borrow();
        let entry = entries.get(key).map(|(value, number)| (value.clone(), Seen::At(*number)));
        let (value, seen) = entry.unwrap_or((Vec::new(), Seen::Absent));
        Some(Read { value, seen })
    }

    fn compare_and_set(&self, key: &str, value: &[u8], seen: Seen) -> bool {
        let mut entries = self.entries.borrow_mut();
        if entries.get(key).map_or(Seen::Absent, |(_, number)| Seen::At(*number)) != seen {
            return false;
        }
        self.writes.set(self.writes.get() + 1);
        entries.insert(key.to_owned(), (value.to_vec(), self.writes.get()));
        true
    }
}
