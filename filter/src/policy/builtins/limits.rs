//! What one call of a builtin may cost, and how large a value is before a builtin goes through it.
//!
//! The engine looks at its clock between the steps of a policy and never inside a builtin, and a Wasm VM ends when its
//! memory or its stack does. So every call is judged by its arguments before it begins.

use regorus::Value;

/// Longest text that a builtin takes, and about as much memory as its result may take.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// What one value takes in an array or object, with a short text of its own.
pub(super) const VALUE_BYTES: usize = 64;
/// Values that a builtin goes through: as many as a result may have.
pub(super) const MAX_VALUES: usize = MAX_BYTES / VALUE_BYTES;
/// Levels of a value that a builtin goes into, on the stack of the VM. JSON text has no more.
pub(super) const MAX_DEPTH: usize = 128;
/// Steps of a few nanoseconds each: comparing two bytes, or one state of a pattern with one character.
pub(super) const MAX_WORK: usize = 1 << 23;
/// Length of an integer, about 4,900 decimal digits.
pub(super) const MAX_NUMBER_BITS: u64 = 1 << 14;

/// Why a call is not made. It ends the evaluation: an answer would be wrong, or too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("a text or the result would be larger than {MAX_BYTES} bytes")]
    Size,
    #[error("there are more than {MAX_VALUES} values to go through")]
    Values,
    #[error("a value or a path is deeper than {MAX_DEPTH} levels")]
    Depth,
    #[error("it would take too many steps; make its arguments smaller")]
    Work,
    #[error("a number is larger than {MAX_NUMBER_BITS} bits")]
    Number,
    #[error("{0}")]
    Unsupported(&'static str),
}

/// Passes what is within a limit.
pub(super) fn within(amount: usize, limit: usize, refusal: Refusal) -> Result<(), Refusal> {
    if amount <= limit { Ok(()) } else { Err(refusal) }
}

/// How large a value is, written out: what is shared within it counts as often as it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) values: usize,
    /// Bytes of its scalars as JSON.
    pub(super) text: usize,
    pub(super) depth: usize,
    /// Sum of the levels of all values.
    pub(super) levels: usize,
}

// === impl Extent ===

impl Extent {
    /// Goes through a value. Errors: it is larger than a builtin may go through.
    pub(super) fn of(value: &Value) -> Result<Self, Refusal> {
        let mut extent = Self::default();
        // With how many bytes a byte of text is written: a key that is no text is written as JSON within JSON.
        let mut pending = vec![(value, 1_usize, 1_usize)];
        while let Some((value, depth, factor)) = pending.pop() {
            extent.values += 1;
            extent.levels += depth;
            extent.depth = extent.depth.max(depth);
            within(depth, MAX_DEPTH, Refusal::Depth)?;
            let held = match value {
                Value::Array(array) => array.len(),
                Value::Set(set) => set.len(),
                Value::Object(object) => object.len() * 2,
                _ => 0,
            };
            within(extent.values + pending.len() + held, MAX_VALUES, Refusal::Values)?;
            match value {
                Value::Array(array) => {
                    pending.extend(array.iter().map(|element| (element, depth + 1, factor)))
                }
                Value::Set(set) => pending.extend(set.iter().map(|element| (element, depth + 1, factor))),
                Value::Object(object) => pending.extend(object.iter().flat_map(|(key, value)| {
                    let doubled = if matches!(key, Value::String(_)) { 1 } else { 2 };
                    [(key, depth + 1, factor.saturating_mul(doubled)), (value, depth + 1, factor)]
                })),
                _ => {}
            }
            let text = scalar_bytes(value).saturating_mul(factor);
            extent.text = extent.text.saturating_add(text);
            within(extent.text, MAX_BYTES, Refusal::Size)?;
        }
        Ok(extent)
    }

    /// Of several values together.
    pub(super) fn of_all<'a>(values: impl IntoIterator<Item = &'a Value>) -> Result<Self, Refusal> {
        let mut whole = Self::default();
        for value in values {
            let extent = Self::of(value)?;
            whole.values += extent.values;
            whole.text += extent.text;
            whole.depth = whole.depth.max(extent.depth);
            whole.levels += extent.levels;
            within(whole.values, MAX_VALUES, Refusal::Values)?;
            within(whole.text, MAX_BYTES, Refusal::Size)?;
        }
        Ok(whole)
    }
}

/// How many values comparing this one may look at: with anything else, it looks at no more.
pub(super) fn compared(value: &Value) -> Result<usize, Refusal> {
    match value {
        Value::Array(_) | Value::Set(_) | Value::Object(_) => Ok(Extent::of(value)?.values),
        _ => Ok(1),
    }
}

/// Bits of a number that is an integer; of any other as many as its type has.
pub(super) fn number_bits(value: &Value) -> u64 {
    match value {
        Value::Number(number) if number.as_i64().is_some() || number.as_f64().is_some() => 64,
        Value::Number(number) => number.as_big().map_or(64, |integer| integer.bits()),
        _ => 0,
    }
}

/// A scalar as JSON, at most.
fn scalar_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => {
            2 + text
                .bytes()
                .map(|byte| match byte {
                    0..0x20 => 6,
                    b'"' | b'\\' => 2,
                    _ => 1,
                })
                .sum::<usize>()
        }
        // Without an exponent, the smallest double has 326 characters and the largest 309.
        Value::Number(number) => match number.as_f64() {
            Some(float) if float != 0.0 && !(1e-7..1e17).contains(&float.abs()) => 330,
            Some(_) => 24,
            None => usize::try_from(number_bits(value) / 3).unwrap_or(usize::MAX).saturating_add(2),
        },
        _ => 5,
    }
}
