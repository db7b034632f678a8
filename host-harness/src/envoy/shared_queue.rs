//! Shared queues: process-wide, each with one consumer.
//!
//! Source: proxy-wasm-cpp-host `src/shared_queue.cc`. Putting an item in and notifying the consumer are two steps
//! there, with other threads in between, so they are two steps here: [`SharedQueues::push`] says whom to notify.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::vms::{KeyIndex, VmSlot};
use crate::abi::{Answer, Status};

/// Every queue of the process.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedQueues {
    tokens: BTreeMap<(String, Vec<u8>), u32>,
    queues: BTreeMap<u32, Queue>,
    last_token: u32,
    /// The name of every queue that there ever was, and how many items were put in.
    pushed: BTreeMap<u32, (Vec<u8>, usize)>,
}

/// Whom to notify: a context on a thread, whichever VM runs there by then. Contexts of a VM that was made again have
/// their numbers in the order in which plugins came back, so the notice may reach another plugin's root context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Consumer {
    /// The thread.
    pub(super) slot: VmSlot,
    /// Which VM of the thread.
    pub(super) key: KeyIndex,
    /// The root context that registered.
    pub(super) context_id: u32,
}

#[derive(Debug, Clone)]
struct Queue {
    consumer: Consumer,
    items: VecDeque<Bytes>,
    /// Whether items were taken out by who was notified of them, and not by who looked.
    taken_when_told: bool,
}

// === impl SharedQueues ===

impl SharedQueues {
    /// Registers the consumer of a queue, in place of an earlier one, and gives the queue's token. Items stay.
    pub(super) fn register(&mut self, vm_id: &str, name: &[u8], consumer: Consumer) -> u32 {
        let token = *self.tokens.entry((vm_id.to_owned(), name.to_vec())).or_insert_with(|| {
            self.last_token += 1;
            self.pushed.insert(self.last_token, (name.to_vec(), 0));
            self.last_token
        });
        self.queues
            .entry(token)
            .or_insert_with(|| Queue { consumer, items: VecDeque::new(), taken_when_told: false })
            .consumer = consumer;
        token
    }

    /// Forgets the queues of a `vm_id` of which no VM is left.
    pub(super) fn forget(&mut self, vm_id: &str) {
        let queues = &mut self.queues;
        self.tokens.retain(|(of, _), token| {
            let stays = of != vm_id;
            if !stays {
                queues.remove(token);
            }
            stays
        });
    }

    /// The token of a queue that someone registered.
    pub(super) fn resolve(&self, vm_id: &str, name: &[u8]) -> Answer<u32> {
        self.tokens.get(&(vm_id.to_owned(), name.to_vec())).copied().ok_or(Status::NotFound)
    }

    /// The name of a queue.
    pub(super) fn name(&self, token: u32) -> Option<String> {
        let (key, _) = self.tokens.iter().find(|(_, number)| **number == token)?;
        Some(String::from_utf8_lossy(&key.1).into_owned())
    }

    /// Every queue with its items and who is notified of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Consumer, &VecDeque<Bytes>)> {
        self.queues.iter().map(|(token, queue)| (*token, queue.consumer, &queue.items))
    }

    /// Puts an item in and says whom to notify.
    pub(super) fn push(&mut self, token: u32, item: &[u8]) -> Answer<Consumer> {
        let queue = self.queues.get_mut(&token).ok_or(Status::NotFound)?;
        queue.items.push_back(Bytes::copy_from_slice(item));
        if let Some((_, count)) = self.pushed.get_mut(&token) {
            *count += 1;
        }
        Ok(queue.consumer)
    }

    /// How many items were put into the queues of each name.
    pub(super) fn pushed(&self) -> BTreeMap<String, usize> {
        let mut pushed = BTreeMap::new();
        for (name, count) in self.pushed.values() {
            *pushed.entry(String::from_utf8_lossy(name).into_owned()).or_default() += count;
        }
        pushed
    }

    /// An item was taken out in the callback that reports one.
    pub(super) fn note_taken_when_told(&mut self, token: u32) {
        if let Some(queue) = self.queues.get_mut(&token) {
            queue.taken_when_told = true;
        }
    }

    /// Queues in which items wait although their consumer takes them when notified, with how many.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (u32, Consumer, usize)> {
        let waiting =
            self.queues.iter().filter(|(_, queue)| queue.taken_when_told && !queue.items.is_empty());
        waiting.map(|(token, queue)| (*token, queue.consumer, queue.items.len()))
    }

    /// Takes the oldest item out. Any VM may, not only the consumer.
    pub(super) fn pop(&mut self, token: u32) -> Answer<Bytes> {
        self.queues.get_mut(&token).ok_or(Status::NotFound)?.items.pop_front().ok_or(Status::Empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_registrant_is_the_consumer_and_the_items_stay() {
        let mut queues = SharedQueues::default();
        let token = queues.register("", b"q", consumer(0));
        assert_eq!(queues.push(token, b"1"), Ok(consumer(0)));
        assert_eq!(queues.register("", b"q", consumer(1)), token);
        assert_eq!(queues.push(token, b"2"), Ok(consumer(1)));
        assert_eq!(queues.pop(token), Ok(Bytes::from("1")));
        assert_eq!(queues.pop(token), Ok(Bytes::from("2")));
        assert_eq!(queues.pop(token), Err(Status::Empty));
    }

    #[test]
    fn queues_of_another_vm_id_are_other_queues() {
        let mut queues = SharedQueues::default();
        let mine = queues.register("", b"q", consumer(0));
        let theirs = queues.register("vm", b"q", consumer(0));
        assert_ne!(mine, theirs);
        assert_eq!(queues.resolve("vm", b"q"), Ok(theirs));
        assert_eq!(queues.resolve("vm", b"r"), Err(Status::NotFound));
    }

    #[test]
    fn queues_of_a_forgotten_vm_id_are_gone_and_their_tokens_are_not_given_again() {
        let mut queues = SharedQueues::default();
        let (gone, stays) =
            (queues.register("a", b"q", consumer(0)), queues.register("b", b"q", consumer(0)));
        queues.forget("a");
        assert_eq!(queues.push(gone, b"x"), Err(Status::NotFound));
        assert_eq!(queues.push(stays, b"x"), Ok(consumer(0)));
        assert!(queues.register("a", b"q", consumer(0)) > stays);
    }

    #[test]
    fn an_unknown_token_is_not_found() {
        let mut queues = SharedQueues::default();
        assert_eq!(queues.push(7, b"x"), Err(Status::NotFound));
        assert_eq!(queues.pop(7), Err(Status::NotFound));
    }

    fn consumer(worker: usize) -> Consumer {
        Consumer { slot: VmSlot::Worker(worker), key: 0, context_id: 1 }
    }
}
