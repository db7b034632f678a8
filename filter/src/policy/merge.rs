//! Two documents → one, in steps: objects merge, anything else that meets is a conflict.

use std::mem;

use regorus::{
    Rc, Value,
    value::{IntoIter, Object},
};

use super::{
    disposal::Disposal,
    json::MAX_COMPACT_FIELDS,
    value::{Conflict, object, string},
};

const FIELDS_PER_STEP: usize = 256;

/// Two documents on their way into one.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    /// The objects that are being merged, the innermost last.
    open: Vec<Open>,
    merged: Option<Value>,
    conflict: Option<Conflict>,
    /// What met at a conflict.
    left_over: Disposal,
}

/// The larger of two objects, and what of the smaller one is not in it yet.
#[derive(Debug)]
struct Open {
    /// Where it stands in the object around it.
    key: Value,
    target: Object,
    rest: IntoIter,
}

// === impl Merge ===

impl Merge {
    /// Puts `document` at `path` below `root`.
    pub(crate) fn new(root: Value, path: &[String], document: Value) -> Self {
        let nested = path.iter().rev().fold(document, |inner, key| object([(key.as_str(), inner)]));
        let mut merge = Self::default();
        merge.meet(Value::Undefined, root, nested);
        merge
    }

    /// Merges a bounded number of fields.
    pub(crate) fn step(&mut self) -> Option<Result<Value, Conflict>> {
        for _ in 0..FIELDS_PER_STEP {
            if let Some(conflict) = self.conflict.take() {
                return Some(Err(conflict));
            }
            let Some(open) = self.open.last_mut() else {
                return self.merged.take().map(Ok);
            };
            match open.rest.next() {
                Some((key, value)) => match open.target.get_mut(&key) {
                    Some(existing) => {
                        let existing = mem::replace(existing, Value::Undefined);
                        self.meet(key, existing, value);
                    }
                    None => {
                        open.target.insert(key, value);
                    }
                },
                None => {
                    if let Some(Open { key, target, .. }) = self.open.pop() {
                        self.complete(key, compact(target));
                    }
                }
            }
        }
        None
    }

    /// Hands over what there is, to be freed in steps.
    pub(crate) fn discard(self, disposal: &mut Disposal) {
        disposal.append(self.left_over);
        self.merged.into_iter().for_each(|value| disposal.push(value));
        for open in self.open {
            disposal.push(Value::Object(Rc::new(open.target)));
            disposal.push_fields(open.rest);
        }
    }

    /// Two values stand at one place. The smaller object goes into the larger one, whichever was there first.
    fn meet(&mut self, key: Value, one: Value, other: Value) {
        match (one, other) {
            (Value::Object(one), Value::Object(other)) => {
                let (large, small) = if one.len() >= other.len() { (one, other) } else { (other, one) };
                if small.is_empty() {
                    self.complete(key, Value::Object(large));
                    return;
                }
                let owned =
                    |object: Rc<Object>| Rc::try_unwrap(object).unwrap_or_else(|shared| (*shared).clone());
                self.open.push(Open { key, target: owned(large), rest: owned(small).into_iter() });
            }
            (one, other) => {
                // The outermost object has no key.
                let keys = self.open.iter().skip(1).map(|open| &open.key).chain([&key]);
                let path = keys.filter(|key| **key != Value::Undefined);
                let path = path.map(|key| string(key).unwrap_or("?").to_owned()).collect();
                self.conflict = Some(Conflict { path });
                self.left_over.push(one);
                self.left_over.push(other);
            }
        }
    }

    fn complete(&mut self, key: Value, value: Value) {
        match self.open.last_mut() {
            Some(around) => drop(around.target.insert(key, value)),
            None => self.merged = Some(value),
        }
    }
}

/// The engine's compact form costs a walk over all fields, and the next new one another.
fn compact(object: Object) -> Value {
    if object.len() <= MAX_COMPACT_FIELDS { object.into_value() } else { Value::Object(Rc::new(object)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{field, parse_json};

    fn finish(mut merge: Merge) -> (Result<Value, Conflict>, usize) {
        let mut steps = 0;
        loop {
            steps += 1;
            if let Some(result) = merge.step() {
                return (result, steps);
            }
        }
    }

    fn users(range: std::ops::Range<u32>) -> Value {
        let users: Vec<String> =
            range.map(|number| format!(r#""user{number}": {{"n": {number}}}"#)).collect();
        parse_json(&format!("{{\"users\": {{{}}}}}", users.join(","))).unwrap()
    }

    #[test]
    fn large_objects_are_merged_in_many_steps_into_what_both_say() {
        let (merged, steps) = finish(Merge::new(users(0..3000), &[], users(3000..6000)));
        assert_eq!(merged.unwrap(), users(0..6000));
        assert!(steps > 10, "{steps} steps");
    }

    #[test]
    fn what_a_merge_costs_is_what_the_smaller_object_costs() {
        let wide = field(&users(0..3000), "users").cloned().unwrap();
        let narrow = field(&users(3000..3100), "users").cloned().unwrap();
        let both = field(&users(0..3100), "users").cloned().unwrap();
        for (one, other, merged) in [(&wide, &object([]), &wide), (&wide, &narrow, &both)] {
            for (root, document) in [(one, other), (other, one)] {
                let result = finish(Merge::new(root.clone(), &[], document.clone()));
                assert_eq!(result, (Ok(merged.clone()), 1));
            }
        }
    }

    #[test]
    fn a_conflict_is_named_by_its_path_whichever_side_is_larger() {
        let other = parse_json(r#"{"users": {"user2": {"n": 7}, "x": 1}}"#).unwrap();
        for (root, document) in [(users(0..3), other.clone()), (other, users(0..3))] {
            let mut merge = Merge::new(root, &[], document);
            let conflict = (0..10).find_map(|_| merge.step()).unwrap().unwrap_err();
            assert_eq!(conflict.path, ["users", "user2", "n"]);
            let mut disposal = Disposal::default();
            merge.discard(&mut disposal);
            while disposal.step() {}
            assert!(disposal.is_empty());
        }
    }

    #[test]
    fn what_somebody_else_holds_stays_as_it_is() {
        let (one, other) = (users(0..3), users(3..5));
        let (merged, _) = finish(Merge::new(one.clone(), &[], other.clone()));
        assert_eq!(merged.unwrap(), users(0..5));
        assert_eq!((one, other), (users(0..3), users(3..5)));
    }
}
