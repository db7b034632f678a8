//! What a thread has seen, as far as it can still matter, in few bits.
//!
//! A guest is a function of its memory and of what it is answered, and what the host knows of one thread is a function of
//! the hostcalls that were made there. So the state of a thread is: its VMs' memories, where they are known; the callback
//! that is under way, with its answers; and everything else that came before. A callback that leaves nothing behind with
//! the host but what is looked at in [`super::fingerprint`] as it stands is then over and done with: a timer that finds
//! nothing to do does not make a thread another one.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

use crate::abi::{Callback, VmIndex};

/// Hostcalls that leave nothing behind with the host, or nothing but what the fingerprint has: shared data, queues with
/// their notices, timers, the names of metrics and their values where they are read, and the clock.
const TRACELESS: [&str; 26] = [
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_write",
    "proxy_define_metric",
    "proxy_dequeue_shared_queue",
    "proxy_enqueue_shared_queue",
    "proxy_get_buffer_bytes",
    "proxy_get_buffer_status",
    "proxy_get_configuration",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_get_log_level",
    "proxy_get_metric",
    "proxy_get_property",
    "proxy_get_shared_data",
    "proxy_get_status",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_record_metric",
    "proxy_register_shared_queue",
    "proxy_resolve_shared_queue",
    "proxy_set_shared_data",
    "proxy_set_tick_period_milliseconds",
    "sched_yield",
];

/// What one thread has seen.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// Everything that is not in the rest.
    past: u128,
    /// The callback that is under way.
    callback: Option<Running>,
    /// Memories of VMs, where they are known.
    memories: BTreeMap<VmIndex, u128>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    /// The callback, the memory with which it began, and what it was answered.
    told: u128,
    is_traceless: bool,
}

// === impl History ===

impl History {
    pub(super) fn begin(&mut self, vm: VmIndex, callback: Callback) {
        let before = self.memories.get(&vm).copied().unwrap_or_default();
        let is_traceless = matches!(callback, Callback::Tick { .. } | Callback::QueueReady { .. });
        self.callback = Some(Running { told: chain(before, callback.digest()), is_traceless });
    }

    pub(super) fn answer(&mut self, function: &str, digest: u128) {
        match &mut self.callback {
            Some(callback) => {
                callback.told = chain(callback.told, digest);
                callback.is_traceless &= TRACELESS.contains(&function);
            }
            None => self.past = chain(self.past, digest),
        }
    }

    /// The callback is over; `memory` is what its VM is now, where that is known.
    pub(super) fn finish(&mut self, vm: VmIndex, returned: u128, memory: Option<u128>) {
        let callback = self.callback.take();
        let callback = callback.filter(|callback| !callback.is_traceless || memory.is_none());
        if let Some(callback) = callback {
            self.past = chain(chain(self.past, callback.told), returned);
        }
        match memory {
            Some(memory) => self.memories.insert(vm, memory),
            None => self.memories.remove(&vm),
        };
    }

    /// All of it.
    pub(super) fn words(&self) -> impl Iterator<Item = u128> {
        let callback = self.callback.map_or([0, 0], |callback| [1, callback.told]);
        let count = self.memories.len() as u128;
        let memories = self.memories.iter().flat_map(|(vm, memory)| [*vm as u128, *memory]);
        [self.past, callback[0], callback[1], count].into_iter().chain(memories)
    }
}

fn chain(before: u128, now: u128) -> u128 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&before.to_le_bytes());
    bytes[16..].copy_from_slice(&now.to_le_bytes());
    xxh3_128(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Callback = Callback::Tick { root_id: 1 };

    fn words(history: &History) -> Vec<u128> {
        history.words().collect()
    }

    fn tick(history: &mut History, function: &str, answer: u128, memory: Option<u128>) {
        history.begin(0, TICK);
        history.answer(function, answer);
        history.finish(0, 0, memory);
    }

    #[test]
    fn a_timer_that_leaves_nothing_behind_is_forgotten() {
        let (mut one, mut two) = (History::default(), History::default());
        tick(&mut one, "clock_time_get", 1, Some(7));
        tick(&mut two, "clock_time_get", 2, Some(9));
        assert_ne!(words(&one), words(&two));
        tick(&mut two, "clock_time_get", 1, Some(7));
        assert_eq!(words(&one), words(&two));
    }

    #[test]
    fn what_leaves_something_behind_is_not() {
        let (mut one, mut two) = (History::default(), History::default());
        tick(&mut one, "proxy_http_call", 1, Some(7));
        tick(&mut two, "proxy_http_call", 2, Some(7));
        assert_ne!(words(&one), words(&two));
        tick(&mut one, "clock_time_get", 1, None);
        assert_ne!(words(&one)[0], words(&two)[0], "nor what a VM has seen whose memory is not known");
    }

    #[test]
    fn a_callback_under_way_is_what_it_was_answered() {
        let (mut one, mut two) = (History::default(), History::default());
        one.begin(0, TICK);
        let begun = words(&one);
        one.answer("proxy_get_shared_data", 1);
        two.begin(0, TICK);
        two.answer("proxy_get_shared_data", 2);
        assert_ne!(words(&one), begun);
        assert_ne!(words(&one), words(&two));
    }
}
