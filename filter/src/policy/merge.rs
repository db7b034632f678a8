//! Two documents → one, in steps: objects merge, anything else that meets is a conflict.
//!
//! Objects are sorted, so two of them are gone through side by side. A few pairs go into a large object instead, so that
//! many small documents that meet in one place cost no more than they are.

use std::{mem, rc::Rc, vec};

use portcullis_rego::{Value, value::Object};

use super::{
    deferred_drop::DeferredDrop,
    value::{Conflict, object, string},
};

const PAIRS_PER_STEP: usize = 512;
/// Up to here the smaller object is put into the larger one.
const FEW: usize = 8;
/// Pairs that are moved in the time in which one is looked at.
const MOVED_PER_PAIR: usize = 16;

/// Two documents on their way into one.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    /// The objects that are being merged, the innermost last.
    open: Vec<Open>,
    merged: Option<Value>,
    conflict: Option<Conflict>,
    /// What met at a conflict.
    left_over: DeferredDrop,
}

#[derive(Debug)]
struct Open {
    /// Where it stands in the object around it.
    key: Value,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// Both are gone through, in the order of their keys.
    Both { merged: Object, one: Pairs, other: Pairs },
    /// A few pairs go into the object.
    Few { merged: Object, rest: Pairs },
}

/// Pairs of an object, in order.
#[derive(Debug)]
enum Pairs {
    Owned(vec::IntoIter<(Value, Value)>),
    /// Of an object that somebody else holds too.
    Shared(Rc<Object>, usize),
}

// === impl Merge ===

impl Merge {
    /// Puts `document` at `path` below `root`.
    pub(crate) fn new(root: Value, path: &[String], document: Value) -> Self {
        let nested = path.iter().rev().fold(document, |inner, key| object([(key.as_str(), inner)]));
        let mut merge = Self::default();
        merge.meet(Value::Null, root, nested);
        merge
    }

    /// Merges a bounded number of pairs.
    pub(crate) fn step(&mut self) -> Option<Result<Value, Conflict>> {
        let mut left = PAIRS_PER_STEP;
        while left > 0 {
            if let Some(conflict) = self.conflict.take() {
                return Some(Err(conflict));
            }
            let Some(open) = self.open.last_mut() else {
                return self.merged.take().map(Ok);
            };
            let (cost, met) = open.form.advance();
            left = left.saturating_sub(cost);
            match met {
                Met::Nothing => {}
                Met::Both(key, one, other) => self.meet(key, one, other),
                Met::End(object) => {
                    if let Some(Open { key, .. }) = self.open.pop() {
                        self.complete(key, Value::Object(Rc::new(object)));
                    }
                }
            }
        }
        None
    }

    /// Hands over what there is, to be freed in steps.
    pub(crate) fn discard(self, deferred: &mut DeferredDrop) {
        deferred.append(self.left_over);
        self.merged.into_iter().for_each(|value| deferred.push(value));
        for open in self.open {
            let (merged, pairs) = match open.form {
                Form::Both { merged, one, other } => (merged, vec![one, other]),
                Form::Few { merged, rest } => (merged, vec![rest]),
            };
            deferred.push(Value::Object(Rc::new(merged)));
            pairs.into_iter().for_each(|pairs| pairs.discard(deferred));
        }
    }

    /// Two values stand at one place.
    fn meet(&mut self, key: Value, one: Value, other: Value) {
        match (one, other) {
            (Value::Object(one), Value::Object(other)) => {
                let (large, small) = if one.len() >= other.len() { (one, other) } else { (other, one) };
                if small.is_empty() {
                    self.complete(key, Value::Object(large));
                    return;
                }
                let large = if small.len() <= FEW { Rc::try_unwrap(large) } else { Err(large) };
                let form = match large {
                    Ok(merged) => Form::Few { merged, rest: Pairs::of(small) },
                    Err(large) => {
                        let merged = Object::with_capacity(large.len() + small.len());
                        Form::Both { merged, one: Pairs::of(large), other: Pairs::of(small) }
                    }
                };
                self.open.push(Open { key, form });
            }
            (one, other) => {
                // The outermost object has no key.
                let keys = self.open.iter().skip(1).map(|open| &open.key).chain([&key]);
                let path = keys.filter(|key| **key != Value::Null);
                let path = path.map(|key| string(key).unwrap_or("?").to_owned()).collect();
                self.conflict = Some(Conflict { path });
                self.left_over.push(one);
                self.left_over.push(other);
            }
        }
    }

    fn complete(&mut self, key: Value, value: Value) {
        match self.open.last_mut() {
            Some(Open { form: Form::Both { merged, .. } | Form::Few { merged, .. }, .. }) => {
                put(merged, key, value);
            }
            None => self.merged = Some(value),
        }
    }
}

/// What has come of one step through a form.
enum Met {
    Nothing,
    Both(Value, Value, Value),
    End(Object),
}

// === impl Form ===

impl Form {
    /// Goes on by one pair; what that cost, in pairs.
    fn advance(&mut self) -> (usize, Met) {
        match self {
            Self::Both { merged, one, other } => {
                let met = match (one.key(), other.key()) {
                    (Some(left), Some(right)) if left == right => match (one.next(), other.next()) {
                        (Some((key, one)), Some((_, other))) => Met::Both(key, one, other),
                        _ => Met::Nothing,
                    },
                    (Some(left), Some(right)) => {
                        let next = if left < right { one.next() } else { other.next() };
                        next.into_iter().for_each(|(key, value)| put(merged, key, value));
                        Met::Nothing
                    }
                    (Some(_), None) => {
                        one.next().into_iter().for_each(|(key, value)| put(merged, key, value));
                        Met::Nothing
                    }
                    (None, Some(_)) => {
                        other.next().into_iter().for_each(|(key, value)| put(merged, key, value));
                        Met::Nothing
                    }
                    (None, None) => Met::End(mem::take(merged)),
                };
                (1, met)
            }
            Self::Few { merged, rest } => {
                let cost = 1 + merged.len() / MOVED_PER_PAIR;
                let met = match rest.next() {
                    Some((key, value)) => match merged.remove(&key) {
                        Some(existing) => Met::Both(key, existing, value),
                        None => {
                            put(merged, key, value);
                            Met::Nothing
                        }
                    },
                    None => Met::End(mem::take(merged)),
                };
                (cost, met)
            }
        }
    }
}

/// Documents nest less deeply than a value may: where they are read, that has been seen to.
fn put(object: &mut Object, key: Value, value: Value) {
    let _ = object.insert(key, value);
}

// === impl Pairs ===

impl Pairs {
    fn of(object: Rc<Object>) -> Self {
        match Rc::try_unwrap(object) {
            Ok(object) => Self::Owned(object.into_pairs().into_iter()),
            Err(shared) => Self::Shared(shared, 0),
        }
    }

    fn key(&self) -> Option<&Value> {
        match self {
            Self::Owned(pairs) => pairs.as_slice().first().map(|(key, _)| key),
            Self::Shared(object, at) => object.pairs().get(*at).map(|(key, _)| key),
        }
    }

    fn next(&mut self) -> Option<(Value, Value)> {
        match self {
            Self::Owned(pairs) => pairs.next(),
            Self::Shared(object, at) => {
                *at += 1;
                object.pairs().get(*at - 1).cloned()
            }
        }
    }

    fn discard(self, deferred: &mut DeferredDrop) {
        match self {
            Self::Owned(pairs) => deferred.push_pairs(pairs),
            Self::Shared(object, _) => deferred.push(Value::Object(object)),
        }
    }
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
    fn an_empty_object_costs_nothing_and_a_few_pairs_no_more_than_they_are() {
        let wide = field(&users(0..3000), "users").cloned().unwrap();
        for (root, document) in [(&wide, &object([])), (&object([]), &wide)] {
            let (merged, steps) = finish(Merge::new(root.clone(), &[], document.clone()));
            assert!(merged.unwrap() == wide && steps == 1);
        }
        let mut root = object([]);
        for number in 0..3000 {
            let one = field(&users(number..number + 1), "users").cloned().unwrap();
            let (merged, steps) = finish(Merge::new(std::mem::take(&mut root), &[], one));
            root = merged.unwrap();
            assert!(steps <= 2, "{steps} steps with {number}");
        }
        assert!(root == wide);
        assert_eq!(root.weight(), wide.weight());
    }

    #[test]
    fn many_documents_below_one_key_weigh_what_they_are() {
        let mut root = object([]);
        for number in 0..200 {
            let (merged, _) = finish(Merge::new(root, &["a".to_owned()], users(number..number + 1)));
            root = merged.unwrap();
        }
        assert!(root == object([("a", users(0..200))]));
        assert_eq!(root.weight(), object([("a", users(0..200))]).weight());
    }

    #[test]
    fn a_conflict_is_named_by_its_path_whichever_side_is_larger() {
        let other = || parse_json(r#"{"users": {"user2": {"n": 7}, "x": 1}}"#).unwrap();
        let many = |range| (users(range), other());
        let ((one, two), (three, four)) = (many(0..3), many(0..30));
        for (root, document) in [(two, one), (three, four)] {
            let mut merge = Merge::new(root, &[], document);
            let conflict = (0..10).find_map(|_| merge.step()).unwrap().unwrap_err();
            assert_eq!(conflict.path, ["users", "user2", "n"]);
            let mut deferred = DeferredDrop::default();
            merge.discard(&mut deferred);
            while deferred.step() {}
            assert!(deferred.is_empty());
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
