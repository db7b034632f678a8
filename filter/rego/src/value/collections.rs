//! Arrays, objects and sets. Objects and sets are sorted vectors: found by halving, built in one go.

use super::{MOST_DEPTH, TooDeep, Value};
use std::cmp::Ordering;

/// How deep a value nests, and how much work it is to go through: known when it is built, so that a call can
/// be counted before it begins.
#[derive(Clone, Copy, Debug)]
struct Shape {
    depth: u32,
    weight: u32,
}

impl Shape {
    const EMPTY: Shape = Shape { depth: 1, weight: 1 };

    /// Of what holds these parts.
    fn over<'a>(parts: impl Iterator<Item = &'a Value>) -> Result<Shape, TooDeep> {
        let mut shape = Shape::EMPTY;
        for part in parts {
            shape.add(part)?;
        }
        Ok(shape)
    }

    fn add(&mut self, part: &Value) -> Result<(), TooDeep> {
        let below = part.depth();
        if below >= MOST_DEPTH {
            return Err(TooDeep);
        }
        self.depth = self.depth.max(below + 1);
        self.weight = self.weight.saturating_add(part.weight());
        Ok(())
    }

    /// A part is gone; the depth stays as a bound.
    fn remove(&mut self, part: &Value) {
        self.weight = self.weight.saturating_sub(part.weight());
    }
}

/// The items of an array.
#[derive(Clone, Debug)]
pub struct Array {
    items: Vec<Value>,
    shape: Shape,
}

impl Array {
    /// An array of these items.
    pub fn new(items: Vec<Value>) -> Result<Array, TooDeep> {
        let shape = Shape::over(items.iter())?;
        Ok(Array { items, shape })
    }

    /// `[]`, with room for so many items: for [`Array::push`].
    pub fn with_capacity(count: usize) -> Array {
        Array { items: Vec::with_capacity(count), shape: Shape::EMPTY }
    }

    /// One more item, at the end.
    pub fn push(&mut self, item: Value) -> Result<(), TooDeep> {
        self.shape.add(&item)?;
        self.items.push(item);
        Ok(())
    }

    /// The items, out of the array.
    pub fn into_items(self) -> Vec<Value> {
        self.items
    }

    /// The items.
    pub fn items(&self) -> &[Value] {
        &self.items
    }

    /// The items, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Value> {
        self.items.iter()
    }

    /// How many items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn depth(&self) -> u32 {
        self.shape.depth
    }

    pub(super) fn weight(&self) -> u32 {
        self.shape.weight
    }
}

impl Ord for Array {
    fn cmp(&self, other: &Array) -> Ordering {
        self.items.cmp(&other.items)
    }
}

impl PartialOrd for Array {
    fn partial_cmp(&self, other: &Array) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Array {
    fn eq(&self, other: &Array) -> bool {
        self.items.len() == other.items.len() && self.items == other.items
    }
}

impl Eq for Array {}

/// The pairs of an object, sorted by key.
#[derive(Clone, Debug)]
pub struct Object {
    pairs: Vec<(Value, Value)>,
    shape: Shape,
}

impl Object {
    /// `{}`
    pub fn new() -> Object {
        Object { pairs: Vec::new(), shape: Shape::EMPTY }
    }

    /// `{}`, with room for so many pairs: for [`Object::insert`] in the order of keys.
    pub fn with_capacity(count: usize) -> Object {
        Object { pairs: Vec::with_capacity(count), shape: Shape::EMPTY }
    }

    /// The pairs, out of the object, in order of keys.
    pub fn into_pairs(self) -> Vec<(Value, Value)> {
        self.pairs
    }

    /// An object of these pairs: of equal keys the first is kept, with the last value.
    pub fn from_pairs(pairs: Vec<(Value, Value)>) -> Result<Object, TooDeep> {
        let mut builder = ObjectBuilder { pairs };
        builder.sort();
        builder.pairs.dedup_by(|later, kept| {
            let equal = later.0 == kept.0;
            if equal {
                std::mem::swap(&mut later.1, &mut kept.1);
            }
            equal
        });
        Object::of_sorted(builder.pairs)
    }

    /// Of pairs whose keys ascend.
    pub(crate) fn of_sorted(pairs: Vec<(Value, Value)>) -> Result<Object, TooDeep> {
        let shape = Shape::over(pairs.iter().flat_map(|(key, value)| [key, value]))?;
        Ok(Object { pairs, shape })
    }

    fn find(&self, key: &Value) -> Result<usize, usize> {
        match key {
            Value::String(text) => self.find_str(text.as_bytes()),
            _ => self.pairs.binary_search_by(|(have, _)| have.cmp(key)),
        }
    }

    fn find_str(&self, key: &[u8]) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(have, _)| compare_str(have, key))
    }

    /// The value under `key`.
    pub fn get(&self, key: &Value) -> Option<&Value> {
        self.pairs.get(self.find(key).ok()?).map(|(_, value)| value)
    }

    /// The value under a string key.
    pub fn get_str(&self, key: &[u8]) -> Option<&Value> {
        self.pairs.get(self.find_str(key).ok()?).map(|(_, value)| value)
    }

    /// The pair whose key equals `key`: the key as it was first written.
    pub fn get_pair(&self, key: &Value) -> Option<&(Value, Value)> {
        self.pairs.get(self.find(key).ok()?)
    }

    /// Whether there is such a key.
    pub fn contains_key(&self, key: &Value) -> bool {
        self.find(key).is_ok()
    }

    /// Puts a value under a key; a key that is there already is kept as it was written. Linear in the size,
    /// except behind the last key: many pairs go through [`ObjectBuilder`].
    pub fn insert(&mut self, key: Value, value: Value) -> Result<(), TooDeep> {
        self.shape.add(&key)?;
        self.shape.add(&value)?;
        if self.pairs.last().is_none_or(|(last, _)| *last < key) {
            self.pairs.push((key, value));
            return Ok(());
        }
        match self.find(&key) {
            Ok(at) => {
                self.shape.remove(&key);
                if let Some(pair) = self.pairs.get_mut(at) {
                    self.shape.remove(&pair.1);
                    pair.1 = value;
                }
            }
            Err(at) => self.pairs.insert(at, (key, value)),
        }
        Ok(())
    }

    /// Takes a key away.
    pub fn remove(&mut self, key: &Value) -> Option<Value> {
        let at = self.find(key).ok()?;
        let (key, value) = self.pairs.remove(at);
        self.shape.remove(&key);
        self.shape.remove(&value);
        Some(value)
    }

    /// The pairs, in order of keys.
    pub fn iter(&self) -> std::slice::Iter<'_, (Value, Value)> {
        self.pairs.iter()
    }

    /// The pairs, in order of keys.
    pub fn pairs(&self) -> &[(Value, Value)] {
        &self.pairs
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.pairs.iter().map(|(key, _)| key)
    }

    /// The values, in order of keys.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.pairs.iter().map(|(_, value)| value)
    }

    /// How many pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    pub(super) fn depth(&self) -> u32 {
        self.shape.depth
    }

    pub(super) fn weight(&self) -> u32 {
        self.shape.weight
    }
}

impl Default for Object {
    fn default() -> Object {
        Object::new()
    }
}

/// Pair by pair in order of keys, then by length. Source: `v1/ast/term.go`, `(*object).Compare`.
impl Ord for Object {
    fn cmp(&self, other: &Object) -> Ordering {
        self.pairs.cmp(&other.pairs)
    }
}

impl PartialOrd for Object {
    fn partial_cmp(&self, other: &Object) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Object) -> bool {
        self.pairs.len() == other.pairs.len() && self.pairs == other.pairs
    }
}

impl Eq for Object {}

/// Sorts pairs by their keys; equal keys keep their order.
pub(crate) fn sort_by_key(pairs: &mut [(Value, Value)]) {
    if !pairs.is_sorted_by(|a, b| a.0 <= b.0) {
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
    }
}

/// Collects pairs in any order and sorts them once.
#[derive(Default, Debug)]
pub struct ObjectBuilder {
    pairs: Vec<(Value, Value)>,
}

impl ObjectBuilder {
    /// None yet.
    pub fn new() -> ObjectBuilder {
        ObjectBuilder::default()
    }

    /// One more pair.
    pub fn push(&mut self, key: Value, value: Value) {
        self.pairs.push((key, value));
    }

    /// How many were pushed, equal keys included.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether none was pushed.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn sort(&mut self) {
        sort_by_key(&mut self.pairs);
    }

    /// Of equal keys the first is kept, with the last value: as object literals and `object.union` do.
    pub fn finish(self) -> Result<Object, TooDeep> {
        Object::from_pairs(self.pairs)
    }

    /// `Ok(None)` if one key has two different values: as partial objects and comprehensions, where it is a
    /// conflict. Equal values are fine: the first pair is kept.
    pub fn finish_unique(mut self) -> Result<Option<Object>, TooDeep> {
        self.sort();
        let mut conflict = false;
        self.pairs.dedup_by(|later, kept| {
            let equal = later.0 == kept.0;
            conflict |= equal && later.1 != kept.1;
            equal
        });
        if conflict { Ok(None) } else { Object::of_sorted(self.pairs).map(Some) }
    }
}

impl FromIterator<(Value, Value)> for ObjectBuilder {
    fn from_iter<I: IntoIterator<Item = (Value, Value)>>(pairs: I) -> ObjectBuilder {
        ObjectBuilder { pairs: pairs.into_iter().collect() }
    }
}

/// The members of a set, sorted.
#[derive(Clone, Debug)]
pub struct Set {
    members: Vec<Value>,
    shape: Shape,
}

impl Set {
    /// `set()`
    pub fn new() -> Set {
        Set { members: Vec::new(), shape: Shape::EMPTY }
    }

    /// A set of these members: of equal ones the first is kept.
    pub fn from_members(mut members: Vec<Value>) -> Result<Set, TooDeep> {
        if !members.is_sorted() {
            members.sort();
        }
        members.dedup();
        Set::of_sorted(members)
    }

    /// Of members that ascend.
    pub(crate) fn of_sorted(members: Vec<Value>) -> Result<Set, TooDeep> {
        let shape = Shape::over(members.iter())?;
        Ok(Set { members, shape })
    }

    fn find(&self, member: &Value) -> Result<usize, usize> {
        match member {
            Value::String(text) => self.find_str(text.as_bytes()),
            _ => self.members.binary_search_by(|have| have.cmp(member)),
        }
    }

    fn find_str(&self, member: &[u8]) -> Result<usize, usize> {
        self.members.binary_search_by(|have| compare_str(have, member))
    }

    /// The member that equals this value, as it was first written.
    pub fn get(&self, member: &Value) -> Option<&Value> {
        self.members.get(self.find(member).ok()?)
    }

    /// The member that is this string.
    pub fn get_str(&self, member: &[u8]) -> Option<&Value> {
        self.members.get(self.find_str(member).ok()?)
    }

    /// Whether it is a member.
    pub fn contains(&self, member: &Value) -> bool {
        self.find(member).is_ok()
    }

    /// Whether this string is a member.
    pub fn contains_str(&self, member: &[u8]) -> bool {
        self.find_str(member).is_ok()
    }

    /// Adds a member; false if it was there. Linear in the size: many go through [`SetBuilder`].
    pub fn insert(&mut self, member: Value) -> Result<bool, TooDeep> {
        match self.find(&member) {
            Ok(_) => Ok(false),
            Err(at) => {
                self.shape.add(&member)?;
                self.members.insert(at, member);
                Ok(true)
            }
        }
    }

    /// The members, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Value> {
        self.members.iter()
    }

    /// The members, in order.
    pub fn members(&self) -> &[Value] {
        &self.members
    }

    /// How many members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn depth(&self) -> u32 {
        self.shape.depth
    }

    pub(super) fn weight(&self) -> u32 {
        self.shape.weight
    }
}

impl Default for Set {
    fn default() -> Set {
        Set::new()
    }
}

impl Ord for Set {
    fn cmp(&self, other: &Set) -> Ordering {
        self.members.cmp(&other.members)
    }
}

impl PartialOrd for Set {
    fn partial_cmp(&self, other: &Set) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Set {
    fn eq(&self, other: &Set) -> bool {
        self.members.len() == other.members.len() && self.members == other.members
    }
}

impl Eq for Set {}

/// Collects members in any order and sorts them once.
#[derive(Default, Debug)]
pub struct SetBuilder {
    members: Vec<Value>,
}

impl SetBuilder {
    /// None yet.
    pub fn new() -> SetBuilder {
        SetBuilder::default()
    }

    /// One more member.
    pub fn push(&mut self, member: Value) {
        self.members.push(member);
    }

    /// How many were pushed, equal ones included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether none was pushed.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The set: of equal members the first is kept.
    pub fn finish(self) -> Result<Set, TooDeep> {
        Set::from_members(self.members)
    }
}

/// A value against a string that need not be a value.
fn compare_str(have: &Value, text: &[u8]) -> Ordering {
    match have {
        Value::String(have) => have.as_bytes().cmp(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ordering::Less,
        _ => Ordering::Greater,
    }
}
