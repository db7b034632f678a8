//! Values as OPA has them: byte strings, numbers kept as text, sorted objects and sets.
//!
//! A value is at most 16 bytes in the module and its clone is a reference count. The depth of every value is
//! bounded when it is built ([`MOST_DEPTH`]), so that comparing, printing and dropping one may recurse.

mod collections;
mod float;
mod json;
mod number;
mod print;
mod quote;
mod shortest;
mod text;

pub(crate) use collections::sort_by_key;
pub use collections::{Array, Object, ObjectBuilder, Set, SetBuilder};
pub(crate) use float::Float;
pub use json::{JsonError, JsonReader};
pub(crate) use json::{after_space, is_valid as is_valid_json};
pub use number::Number;
pub(crate) use number::{MOST_DIGITS, to_i64, write_integer};
pub(crate) use print::Layout;
pub(crate) use quote::is_print;
pub(crate) use shortest::shortest;
pub use text::Str;
pub(crate) use text::lossy;

use std::cmp::Ordering;
use std::rc::Rc;

/// The deepest nesting that any value can have; a scalar has depth 0.
pub const MOST_DEPTH: u32 = 512;

/// What nests deeper than [`MOST_DEPTH`] is not built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooDeep;

impl std::fmt::Display for TooDeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a value nests deeper than {MOST_DEPTH} levels")
    }
}

impl std::error::Error for TooDeep {}

/// A value of Rego.
///
/// Order and equality are OPA's: null < booleans < numbers < strings < arrays < objects < sets, numbers by
/// what they are worth (`1` = `1.0`). Source: `v1/ast/compare.go`.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `false`, `true`
    Bool(bool),
    /// A number, its text kept.
    Number(Number),
    /// A string of bytes, mostly UTF-8.
    String(Str),
    /// An array.
    Array(Rc<Array>),
    /// An object, its keys any values.
    Object(Rc<Object>),
    /// A set.
    Set(Rc<Set>),
}

impl Value {
    /// An array of these items.
    pub fn array(items: Vec<Value>) -> Result<Value, TooDeep> {
        Ok(Value::Array(Rc::new(Array::new(items)?)))
    }

    /// An object of these pairs: of equal keys the first is kept, with the last value.
    pub fn object(pairs: Vec<(Value, Value)>) -> Result<Value, TooDeep> {
        Ok(Value::Object(Rc::new(Object::from_pairs(pairs)?)))
    }

    /// A set of these members: of equal ones the first is kept.
    pub fn set(members: Vec<Value>) -> Result<Value, TooDeep> {
        Ok(Value::Set(Rc::new(Set::from_members(members)?)))
    }

    /// A string.
    pub fn string(text: impl Into<Str>) -> Value {
        Value::String(text.into())
    }

    /// How deep the value nests: 0 for scalars, 1 for `[]`.
    pub fn depth(&self) -> u32 {
        match self {
            Value::Array(array) => array.depth(),
            Value::Object(object) => object.depth(),
            Value::Set(set) => set.depth(),
            _ => 0,
        }
    }

    /// How much work it is to go through it: one for each value in it, and one for 32 bytes of text. It does
    /// not go beyond `u32::MAX`.
    pub fn weight(&self) -> u32 {
        match self {
            Value::Array(array) => array.weight(),
            Value::Object(object) => object.weight(),
            Value::Set(set) => set.weight(),
            Value::String(text) => u32::try_from(1 + text.len() / 32).unwrap_or(u32::MAX),
            Value::Number(number) => u32::try_from(number.text_len() / 16).unwrap_or(u32::MAX),
            _ => 1,
        }
    }

    /// The name of its type, as `type_name` says it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::Set(_) => "set",
        }
    }

    /// The bytes, if it is a string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::String(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<&Number> {
        match self {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The array, if it is one.
    pub fn as_array(&self) -> Option<&Rc<Array>> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Rc<Object>> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The set, if it is one.
    pub fn as_set(&self) -> Option<&Rc<Set>> {
        match self {
            Value::Set(set) => Some(set),
            _ => None,
        }
    }

    /// What a reference finds under `key`: an element of an array, a value of an object, a member of a set.
    ///
    /// An index of an array is an integer in OPA's sense ([`Number::to_i64`]): `1.0` is one, `1e0` is not.
    /// What is found in a set is the key as it was asked for (`1.0` in `{1}`).
    pub fn get<'a>(&'a self, key: &'a Value) -> Option<&'a Value> {
        match self {
            Value::Array(array) => {
                let index = key.as_number()?.to_i64()?;
                array.items().get(usize::try_from(index).ok()?)
            }
            Value::Object(object) => object.get(key),
            Value::Set(set) => set.contains(key).then_some(key),
            _ => None,
        }
    }

    /// As [`Value::get`] by a string key, without making a value of it.
    pub fn get_str(&self, key: &[u8]) -> Option<&Value> {
        match self {
            Value::Object(object) => object.get_str(key),
            Value::Set(set) => set.get_str(key),
            _ => None,
        }
    }

    /// The place of its type in the order of values.
    fn rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Number(_) => 2,
            Value::String(_) => 3,
            Value::Array(_) => 4,
            Value::Object(_) => 5,
            Value::Set(_) => 6,
        }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Array(a), Value::Array(b)) if !Rc::ptr_eq(a, b) => a.cmp(b),
            (Value::Object(a), Value::Object(b)) if !Rc::ptr_eq(a, b) => a.cmp(b),
            (Value::Set(a), Value::Set(b)) if !Rc::ptr_eq(a, b) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Array(a), Value::Array(b)) => Rc::ptr_eq(a, b) || a == b,
            (Value::Object(a), Value::Object(b)) => Rc::ptr_eq(a, b) || a == b,
            (Value::Set(a), Value::Set(b)) => Rc::ptr_eq(a, b) || a == b,
            _ => self.cmp(other) == Ordering::Equal,
        }
    }
}

/// Equal values hash alike.
impl std::hash::Hash for Value {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Value::Null => {}
            Value::Bool(value) => value.hash(state),
            Value::Number(number) => number.hash(state),
            Value::String(text) => text.hash(state),
            Value::Array(array) => array.items().hash(state),
            Value::Object(object) => object.pairs().hash(state),
            Value::Set(set) => set.members().hash(state),
        }
    }
}

impl Eq for Value {}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Number(Number::from(value))
    }
}

impl From<Number> for Value {
    fn from(value: Number) -> Value {
        Value::Number(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::String(Str::from(value))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::String(Str::from(value))
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Value {
        Value::String(Str::from(value))
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Value {
        Value::String(Str::from(value))
    }
}

impl From<Str> for Value {
    fn from(value: Str) -> Value {
        Value::String(value)
    }
}

#[cfg(test)]
pub(crate) mod terms;

#[cfg(test)]
mod tests;
