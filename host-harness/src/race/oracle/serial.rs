//! What callbacks leave behind that were held, against what they leave when each runs as a whole.
//!
//! An update that is lost does not show where it happens: a compare-and-swap that is refused and not done again is no fault
//! in a filter that only wants to be the first. It shows in what is left. Where every order of whole callbacks leaves the same
//! value, one that no such order leaves comes of callbacks that got in each other's way.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Violation, excerpt};

/// What there is in the end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Left {
    /// Shared data: each key with its `vm_id`, and the value.
    pub data: BTreeMap<(String, Vec<u8>), Bytes>,
    /// How many requests were answered with each status; of those that were to have an answer.
    pub statuses: BTreeMap<u16, usize>,
}

/// What is left in every run in which callbacks run as a whole.
#[derive(Debug, Clone, Default)]
pub struct Serial {
    always: Option<BTreeMap<(String, Vec<u8>), Bytes>>,
    /// None where they differ.
    statuses: Option<BTreeMap<u16, usize>>,
}

// === impl Serial ===

impl Serial {
    /// Notes what such a run has left.
    pub fn add(&mut self, left: &Left) {
        match &mut self.always {
            None => {
                self.always = Some(left.data.clone());
                self.statuses = Some(left.statuses.clone());
            }
            Some(always) => {
                always.retain(|key, value| left.data.get(key) == Some(value));
                self.statuses.take_if(|statuses| *statuses != left.statuses);
            }
        }
    }

    /// Says so if a run has left something else.
    #[must_use]
    pub fn check(&self, left: &Left) -> Option<Violation> {
        let always = self.always.as_ref()?;
        let differs = always.iter().find(|(key, value)| left.data.get(*key) != Some(*value));
        let Some(((_, key), value)) = differs else { return self.check_statuses(left) };
        let found = left.data.iter().find(|((_, other), _)| other == key).map(|(_, found)| excerpt(found));
        let key = String::from_utf8_lossy(key);
        let message = format!(
            "`{key}` must end as it does in whatever order whole callbacks come, {}, and is {} where callbacks of two VMs overlap: \
             an update is lost; read and write again when the CAS number is refused",
            excerpt(value),
            found.unwrap_or_else(|| "not there".to_owned()),
        );
        Some(Violation::new("serializable", message))
    }

    fn check_statuses(&self, left: &Left) -> Option<Violation> {
        let always = self.statuses.as_ref().filter(|always| **always != left.statuses)?;
        let reported = |statuses: &BTreeMap<u16, usize>| {
            let each: Vec<String> =
                statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
            each.join(", ")
        };
        let message = format!(
            "requests must be answered as they are in whatever order whole callbacks come, {}, and are answered {} where callbacks \
             of two VMs overlap: look and write in one step, with the CAS number",
            reported(always),
            reported(&left.statuses),
        );
        Some(Violation::new("serializable", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(values: &[(&str, &'static str)]) -> Left {
        let each = values.iter();
        let data = each.map(|(key, value)| ((String::new(), key.as_bytes().to_vec()), Bytes::from(*value)));
        Left { data: data.collect(), statuses: BTreeMap::new() }
    }

    #[test]
    fn as_many_must_be_answered_alike_as_every_order_has() {
        let with = |statuses: &[(u16, usize)]| Left {
            statuses: statuses.iter().copied().collect(),
            ..Left::default()
        };
        let mut serial = Serial::default();
        serial.add(&with(&[(200, 1), (409, 1)]));
        serial.add(&with(&[(200, 1), (409, 1)]));
        assert_eq!(serial.check(&with(&[(200, 1), (409, 1)])), None);
        let said = serial.check(&with(&[(200, 2)])).expect("both went through").to_string();
        assert!(said.contains("1 × 200, 1 × 409, and are answered 2 × 200"), "{said}");
        serial.add(&with(&[(200, 2)]));
        assert_eq!(serial.check(&with(&[(409, 2)])), None, "it depends on the order");
    }

    #[test]
    fn what_every_order_leaves_must_be_left() {
        let mut serial = Serial::default();
        assert_eq!(serial.check(&left(&[("count", "2")])), None, "nothing is known yet");
        serial.add(&left(&[("count", "2"), ("last", "ada")]));
        serial.add(&left(&[("count", "2"), ("last", "bob"), ("more", "1")]));
        assert_eq!(serial.check(&left(&[("count", "2"), ("last", "carol"), ("other", "1")])), None);
        let said = serial.check(&left(&[("count", "1"), ("last", "bob")])).expect("one is lost").to_string();
        assert!(
            said.contains(
                r#"`count` must end as it does in whatever order whole callbacks come, "2", and is "1""#
            ),
            "{said}"
        );
        let said = serial.check(&left(&[("last", "bob")])).expect("it is gone").to_string();
        assert!(said.contains("is not there"), "{said}");
    }
}
