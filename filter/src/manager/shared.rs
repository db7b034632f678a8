//! What every VM of one `vm_id` in an Envoy process sees: data, and what each VM is at work on.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
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

    /// Says what could end this VM from now on, where others find it when it has.
    fn begin(&self, task: &Task);

    /// It has not.
    fn end(&self, task: &Task);

    /// The request that a member decides now.
    fn at_work(&self, member: usize) -> Option<AtWork>;

    /// A member that was deciding a request has ended, which is known now.
    fn clear_work(&self, member: usize);
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

/// Something that could end the VM which does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The VM's number.
    pub vm: u32,
    /// Its place among the members, once it has one.
    pub member: Option<usize>,
    /// What is done.
    pub kind: TaskKind,
    /// When it began, on the clock of the process.
    pub begun: Duration,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskKind {
    /// A request is decided by the policy with this key.
    Request(std::rc::Rc<str>),
    /// Bundles are read or compiled; a mark in the record says which. The record of the policy, if it is one's.
    Load(Option<std::rc::Rc<str>>),
}

/// The request that another VM decides: 64 bits, so that it fits into one of Envoy's gauges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtWork(u64);

/// Shared data of a host that has none of Envoy's: one process's memory, with Envoy's one counter for all keys.
#[derive(Debug, Default)]
pub struct LocalData {
    entries: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    writes: Cell<u32>,
    at_work: RefCell<BTreeMap<usize, AtWork>>,
}

// === impl AtWork ===

impl AtWork {
    /// What others need to know of a task; nothing but of a request, because what is loaded has a mark in the records.
    pub fn of(task: &Task) -> Option<Self> {
        match &task.kind {
            TaskKind::Request(policy) => {
                Some(Self(tag(policy) << 32 | u64::from(super::millis(task.begun) as u32)))
            }
            TaskKind::Load(_) => None,
        }
    }

    /// As it was put into a gauge; none for its value at rest.
    pub fn from_bits(bits: u64) -> Option<Self> {
        (bits != 0).then_some(Self(bits))
    }

    /// For a gauge. Never zero.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether it is a request of the policy with this key.
    pub(super) fn is_request_of(self, policy: &str) -> bool {
        self.0 >> 32 == tag(policy)
    }

    /// For how long it has been under way; nothing if it began after `now`. Only the low 32 bits of the milliseconds are
    /// kept.
    pub(super) fn age(self, now: Duration) -> Duration {
        let passed = (super::millis(now) as u32).wrapping_sub(self.0 as u32).cast_signed();
        Duration::from_millis(passed.max(0).unsigned_abs().into())
    }
}

/// FNV-1a, which is enough to tell the policies of one process apart. Never zero.
fn tag(policy: &str) -> u64 {
    let hash =
        policy.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    u64::from(hash.max(1))
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

    fn begin(&self, task: &Task) {
        if let Some((member, request)) = task.member.zip(AtWork::of(task)) {
            self.at_work.borrow_mut().insert(member, request);
        }
    }

    fn end(&self, task: &Task) {
        if let Some(member) = task.member {
            self.clear_work(member);
        }
    }

    fn clear_work(&self, member: usize) {
        self.at_work.borrow_mut().remove(&member);
    }

    fn at_work(&self, member: usize) -> Option<AtWork> {
        self.at_work.borrow().get(&member).copied()
    }
}
