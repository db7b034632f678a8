//! Arguments, taken as the types that a function wants; anything else is an undefined expression.

use super::{Call, Fault, Limit};
use crate::value::{Array, Number, Object, Set, Str, Value};
use num_bigint::BigInt;
use std::rc::Rc;

/// What a value costs of the budget's bytes, beside the text in it.
pub(super) const VALUE_BYTES: usize = 16;

const fn wrong(what: &'static str) -> Fault {
    Fault::undefined(what)
}

/// The arguments, as many as the table says.
pub(super) fn all<const N: usize>(args: &[Value]) -> Result<&[Value; N], Fault> {
    args.try_into().map_err(|_| wrong("wrong number of arguments"))
}

pub(super) fn string(value: &Value) -> Result<&Str, Fault> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(wrong("an operand must be a string")),
    }
}

pub(super) fn bytes(value: &Value) -> Result<&[u8], Fault> {
    string(value).map(Str::as_bytes)
}

pub(super) fn number(value: &Value) -> Result<&Number, Fault> {
    value.as_number().ok_or(wrong("an operand must be a number"))
}

pub(super) fn array(value: &Value) -> Result<&Rc<Array>, Fault> {
    value.as_array().ok_or(wrong("an operand must be an array"))
}

pub(super) fn object(value: &Value) -> Result<&Rc<Object>, Fault> {
    value.as_object().ok_or(wrong("an operand must be an object"))
}

pub(super) fn set(value: &Value) -> Result<&Rc<Set>, Fault> {
    value.as_set().ok_or(wrong("an operand must be a set"))
}

/// The items of an array or the members of a set.
pub(super) fn items(value: &Value) -> Result<&[Value], Fault> {
    match value {
        Value::Array(array) => Ok(array.items()),
        Value::Set(set) => Ok(set.members()),
        _ => Err(wrong("an operand must be an array or a set")),
    }
}

/// An integer as OPA reads one from the text: `1.0` is, `1e1` is not.
pub(super) fn integer(value: &Value) -> Result<i64, Fault> {
    number(value)?.to_i64().ok_or(wrong("an operand must be an integer"))
}

/// An exact integer of any size, however it is written.
pub(super) fn big_integer(value: &Value) -> Result<BigInt, Fault> {
    number(value)?.to_integer()?.ok_or(wrong("an operand must be an integer"))
}

/// The result as a string.
pub(super) fn text(bytes: Vec<u8>) -> Result<Value, Fault> {
    Ok(Value::from(bytes))
}

impl Call<'_> {
    /// Counts what it takes to go through a value.
    pub(crate) fn walk(&mut self, value: &Value) -> Result<(), Fault> {
        Ok(self.budget.step(u64::from(value.weight()))?)
    }

    /// Counts room for so many values.
    pub(crate) fn room(&mut self, values: usize) -> Result<(), Fault> {
        self.step(values)?;
        self.bytes(values.saturating_mul(VALUE_BYTES))
    }

    /// Counts a comparison of two values.
    pub(crate) fn compare(&mut self, a: &Value, b: &Value) -> Result<(), Fault> {
        Ok(self.budget.step(u64::from(a.weight().min(b.weight())))?)
    }

    /// Counts sorting, or looking up, values of this weight among so many.
    pub(crate) fn sorting(&mut self, weight: u64, among: usize) -> Result<(), Fault> {
        let halvings = u64::from(usize::BITS - among.leading_zeros());
        Ok(self.budget.step(weight.saturating_mul(halvings.max(1)) / 4)?)
    }
}

/// A bound that is not of the budget: too much in one call.
pub(super) const TOO_MUCH: Fault = Fault::Limit(Limit::Bytes);
