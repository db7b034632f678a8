//! Freeing documents piece by piece: dropping ten megabytes of data at once takes tens of milliseconds.
//!
//! A document is shared by reference count with every policy compiled over it. Only what nothing else holds is taken
//! apart; what a policy still holds waits here, so that it is never the policy's own drop that frees it all. Hence no
//! order has to be kept: push a superseded bundle's data, drop the policies over it, and step until it is done.

use std::{
    collections::{VecDeque, btree_map},
    rc::Rc,
    vec,
};

use portcullis_rego::Value;

/// Freeing one value costs less than a tenth of a microsecond.
const VALUES_PER_STEP: usize = 1000;
/// Looking whether something is still held costs next to nothing; all that waits should be looked at in one step.
const WAITING_PER_STEP: usize = 5000;

/// Documents on their way out.
#[derive(Debug, Default)]
pub struct DeferredDrop {
    /// What is being taken apart, the innermost last.
    open: Vec<Open>,
    /// What somebody else still holds.
    waiting: VecDeque<Value>,
}

#[derive(Debug)]
enum Open {
    List(vec::IntoIter<Value>),
    Object(vec::IntoIter<(Value, Value)>),
    Fields(btree_map::IntoIter<Value, Value>),
}

// === impl DeferredDrop ===

impl DeferredDrop {
    /// Takes a document over. Costs nothing by itself.
    pub fn push(&mut self, value: Value) {
        match value {
            Value::Array(array) => match Rc::try_unwrap(array) {
                Ok(array) => self.open.push(Open::List(array.into_items().into_iter())),
                Err(shared) => self.waiting.push_back(Value::Array(shared)),
            },
            Value::Object(object) => match Rc::try_unwrap(object) {
                Ok(object) => self.open.push(Open::Object(object.into_pairs().into_iter())),
                Err(shared) => self.waiting.push_back(Value::Object(shared)),
            },
            // JSON and YAML make no sets; whatever else there is has nothing below it.
            _ => {}
        }
    }

    /// Takes over values that no list holds any more.
    pub(super) fn push_values(&mut self, values: Vec<Value>) {
        self.open.push(Open::List(values.into_iter()));
    }

    /// Takes over pairs that no object holds any more.
    pub(super) fn push_pairs(&mut self, pairs: vec::IntoIter<(Value, Value)>) {
        self.open.push(Open::Object(pairs));
    }

    /// Takes over fields that are no object yet.
    pub(super) fn push_fields(&mut self, fields: btree_map::IntoIter<Value, Value>) {
        self.open.push(Open::Fields(fields));
    }

    /// Frees a bounded piece. True while there is more that nothing else holds.
    ///
    /// What is still held is looked at again by every step, so after a policy has been dropped, step on.
    pub fn step(&mut self) -> bool {
        for _ in 0..VALUES_PER_STEP {
            let next = match self.open.last_mut() {
                Some(Open::List(values)) => values.next(),
                Some(Open::Object(pairs)) => pairs.next().map(|(_, value)| value),
                Some(Open::Fields(fields)) => fields.next().map(|(_, value)| value),
                None => break,
            };
            match next {
                Some(value) => self.push(value),
                None => drop(self.open.pop()),
            }
        }
        if self.open.is_empty() {
            self.look_at_waiting();
        }
        !self.open.is_empty()
    }

    /// Whether everything that was pushed is free.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }

    /// Takes over what another one has.
    pub fn append(&mut self, other: Self) {
        self.open.extend(other.open);
        self.waiting.extend(other.waiting);
    }

    fn look_at_waiting(&mut self) {
        for _ in 0..self.waiting.len().min(WAITING_PER_STEP) {
            // What is still held goes to the end of the queue.
            if let Some(value) = self.waiting.pop_front() {
                self.push(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::parse_json;

    fn steps_until_done(deferred: &mut DeferredDrop) -> usize {
        (1..).find(|_| !deferred.step()).unwrap()
    }

    /// Objects within objects, lists within lists, all strings; some thirty thousand values.
    fn document() -> Value {
        let leaf = format!("[{}]", vec![r#"{"a": "b"}"#; 100].join(","));
        let middle = format!("[{}]", vec![leaf; 100].join(","));
        parse_json(&format!(r#"{{"one": {middle}, "two": [[[{middle}]]], "three": 3}}"#)).unwrap()
    }

    #[test]
    fn a_document_is_freed_in_many_steps_and_whole() {
        let document = document();
        let inner: Vec<_> = document.as_object().unwrap().values().cloned().collect();
        let held: Vec<_> = inner
            .iter()
            .filter_map(|value| match value {
                Value::Array(array) => Some(Rc::downgrade(array)),
                _ => None,
            })
            .collect();
        drop(inner);
        let mut deferred = DeferredDrop::default();
        deferred.push(document);
        assert!(deferred.step(), "more is left after the first step");
        assert!(held.iter().any(|list| list.strong_count() > 0));
        let steps = steps_until_done(&mut deferred);
        assert!(steps > 30, "{steps} steps");
        assert!(deferred.is_empty());
        assert!(held.iter().all(|list| list.strong_count() == 0));
    }

    #[test]
    fn what_has_become_free_is_found_before_it_is_said_that_nothing_is() {
        let (held, free) = (document(), parse_json("[[1], [2]]").unwrap());
        let holder = held.clone();
        let mut deferred = DeferredDrop::default();
        deferred.push(free);
        deferred.push(held);
        drop(holder);
        assert!(deferred.step(), "the small one is gone, the large one is not");
        steps_until_done(&mut deferred);
        assert!(deferred.is_empty());
    }

    #[test]
    fn what_is_still_held_waits_and_is_then_freed_in_many_steps() {
        let document = document();
        let holder = document.get_str(b"two").cloned().unwrap();
        let mut deferred = DeferredDrop::default();
        deferred.push(document);
        steps_until_done(&mut deferred);
        assert!(!deferred.is_empty(), "`two` is held");
        assert!(!deferred.step() && !deferred.is_empty());
        let Value::Array(two) = &holder else { panic!("a list") };
        assert_eq!(Rc::strong_count(two), 2, "nothing of it is gone");

        drop(holder);
        assert!(steps_until_done(&mut deferred) > 10);
        assert!(deferred.is_empty());
    }
}
