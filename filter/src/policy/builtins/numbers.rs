//! Numbers: integers as long as memory allows, ranges, and numbers with units.

use std::collections::BTreeMap;

use anyhow::Result;
use regorus::Value;

use super::{
    limits::{Extent, MAX_NUMBER_BITS, MAX_VALUES, Refusal, number_bits, within},
    original,
};

/// Most elements that one range or one expanded network may have.
const MAX_ELEMENTS: i64 = 1 << 16;
/// A number with a unit has some dozen characters.
const MAX_QUANTITY_BYTES: usize = 1 << 10;
/// An exponent says how many digits an integer has.
const MAX_EXPONENT: u32 = 4096;

pub(super) fn left_shift(args: &[Value]) -> Result<(), Refusal> {
    let [number, shift] = args else { return Ok(()) };
    match shift.as_u64() {
        Ok(shift) if shift.saturating_add(number_bits(number)) > MAX_NUMBER_BITS => Err(Refusal::Number),
        _ => Ok(()),
    }
}

/// A product has as many bits as its factors have together.
pub(super) fn product(args: &[Value]) -> Result<(), Refusal> {
    let [factors] = args else { return Ok(()) };
    Extent::of(factors)?;
    // One word holds most factors; that they are small can only be known by multiplying them.
    let bits = |value: &Value| match value.as_u64() {
        Ok(number) => u64::from(u64::BITS - number.leading_zeros()),
        Err(_) => number_bits(value),
    };
    let total: u64 = match factors {
        Value::Array(array) => array.iter().map(bits).sum(),
        Value::Set(set) => set.iter().map(bits).sum(),
        _ => 0,
    };
    if total > MAX_NUMBER_BITS { Err(Refusal::Number) } else { Ok(()) }
}

/// The engine takes any text of JSON here, even one that stands for a number of any length.
pub(super) fn to_number(name: &'static str, args: &[Value]) -> Result<Value> {
    match args {
        [Value::String(text)] if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => {
            Ok(Value::Undefined)
        }
        _ => original(name, args),
    }
}

pub(super) fn range(_: &'static str, args: &[Value]) -> Result<Value> {
    Ok(numbers(args, 1)?)
}

pub(super) fn range_step(_: &'static str, args: &[Value]) -> Result<Value> {
    match args.split_last().map(|(step, bounds)| (step.as_i64(), bounds)) {
        Some((Ok(step), bounds)) if step > 0 => Ok(numbers(bounds, step)?),
        _ => Ok(Value::Undefined),
    }
}

fn numbers(bounds: &[Value], step: i64) -> Result<Value, Refusal> {
    let is_integer = |value: &Value| value.as_number().is_ok_and(|number| number.is_integer());
    let [from, to] = bounds else { return Ok(Value::Undefined) };
    if !is_integer(from) || !is_integer(to) {
        return Ok(Value::Undefined);
    }
    let (Ok(from), Ok(to)) = (from.as_i64(), to.as_i64()) else { return Err(Refusal::Number) };
    let steps = to.checked_sub(from).map(|span| span.saturating_abs() / step);
    let Some(steps) = steps.filter(|steps| *steps < MAX_ELEMENTS) else { return Err(Refusal::Values) };
    let step = if to < from { -step } else { step };
    Ok((0..=steps).map(|index| Value::from(from + index * step)).collect::<Vec<_>>().into())
}

pub(super) fn cidr_expand(name: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::String(network)] = args else { return Ok(Value::Undefined) };
    let host_bits = network.split_once('/').and_then(|(address, prefix)| {
        let address_bits: u32 = if address.contains(':') { 128 } else { 32 };
        address_bits.checked_sub(prefix.parse::<u32>().ok()?)
    });
    match host_bits {
        Some(bits) if 1_i64.checked_shl(bits).is_some_and(|count| (1..=MAX_ELEMENTS).contains(&count)) => {
            original(name, args)
        }
        Some(_) => Err(Refusal::Values.into()),
        None => Ok(Value::Undefined),
    }
}

/// Source: OPA's `units.parse`: no underscores, and an exponent of at most six digits.
pub(super) fn quantity(name: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::String(text)] = args else { return Ok(Value::Undefined) };
    within(text.len(), MAX_QUANTITY_BYTES, Refusal::Number)?;
    if text.contains('_') {
        return Ok(Value::Undefined);
    }
    let exponent = text.split_once(['e', 'E']).map_or("", |(_, behind)| {
        let digits = behind.trim_start_matches(['+', '-']);
        let end = digits.find(|next: char| !next.is_ascii_digit()).unwrap_or(digits.len());
        digits.get(..end).unwrap_or_default()
    });
    match exponent.parse::<u32>() {
        Ok(_) if exponent.len() > 6 => Ok(Value::Undefined),
        Ok(exponent) if exponent > MAX_EXPONENT => Err(Refusal::Number.into()),
        Err(_) if !exponent.is_empty() => Ok(Value::Undefined),
        _ => original(name, args),
    }
}

/// The engine cuts indexes to the 32 bits that the VM has for them.
pub(super) fn slice(name: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::Array(array), start, stop] = args else { return Ok(Value::Undefined) };
    within(array.len(), MAX_VALUES, Refusal::Values)?;
    let (Ok(start), Ok(stop)) = (start.as_i64(), stop.as_i64()) else { return Ok(Value::Undefined) };
    let length = i64::try_from(array.len()).unwrap_or(i64::MAX);
    let (start, stop) = (start.clamp(0, length), stop.clamp(0, length));
    original(name, &[Value::Array(array.clone()), Value::from(start), Value::from(stop)])
}

/// Answers that are the same for the same arguments within one evaluation.
///
/// Each evaluation clones the engine, and the engine then clones what it calls: the clone begins with nothing.
#[derive(Default)]
pub(super) struct Memo(BTreeMap<Vec<Value>, Value>);

impl Clone for Memo {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Memo {
    pub(super) fn call(&mut self, name: &'static str, args: Vec<Value>) -> Result<Value> {
        if let Some(known) = self.0.get(&args) {
            return Ok(known.clone());
        }
        let answer = original(name, &args)?;
        self.0.insert(args, answer.clone());
        Ok(answer)
    }
}
