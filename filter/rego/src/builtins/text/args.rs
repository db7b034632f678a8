//! Arguments of functions of text.

use crate::builtins::Fault;
use crate::value::{Str, Value};

/// A string.
pub(super) fn text(args: &[Value], at: usize) -> Result<&Str, Fault> {
    match args.get(at) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(Fault::undefined("an operand must be a string")),
    }
}

/// The bytes of a string.
pub(super) fn bytes(args: &[Value], at: usize) -> Result<&[u8], Fault> {
    Ok(text(args, at)?.as_bytes())
}

/// An integer, in OPA's sense.
pub(super) fn int(args: &[Value], at: usize) -> Result<i64, Fault> {
    let number = args.get(at).and_then(Value::as_number).and_then(|number| number.to_i64());
    number.ok_or(Fault::undefined("an operand must be an integer"))
}

/// The members of an array or a set.
pub(super) fn members(value: Option<&Value>) -> Option<&[Value]> {
    match value {
        Some(Value::Array(array)) => Some(array.items()),
        Some(Value::Set(set)) => Some(set.members()),
        _ => None,
    }
}

/// The strings of an array or a set, or one string alone.
pub(super) fn texts(args: &[Value], at: usize) -> Result<Vec<&[u8]>, Fault> {
    const BAD: Fault = Fault::undefined("an operand must be a string, or an array or a set of strings");
    match args.get(at) {
        Some(Value::String(text)) => Ok(vec![text.as_bytes()]),
        other => members(other).ok_or(BAD)?.iter().map(|value| value.as_bytes().ok_or(BAD)).collect(),
    }
}
