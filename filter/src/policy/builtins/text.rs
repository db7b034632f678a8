//! Texts: what would grow, what would be compared again and again, and what is cut at bytes.

use anyhow::Result;
use regorus::Value;

use super::{
    limits::{Extent, MAX_BYTES, MAX_WORK, Refusal, VALUE_BYTES, within},
    original, text_of,
};

/// Widths of a format are copied out before anything is printed.
const MAX_WIDTH: u32 = 4096;

/// Elements of a list that are texts, if all are.
fn texts(list: &Value) -> Option<Vec<&str>> {
    match list {
        Value::String(text) => Some(vec![text]),
        Value::Array(array) => array.iter().map(text_of).collect(),
        Value::Set(set) => set.iter().map(text_of).collect(),
        _ => None,
    }
}

pub(super) fn concat(args: &[Value]) -> Result<(), Refusal> {
    let [Value::String(delimiter), list] = args else { return Ok(()) };
    let Some(texts) = texts(list) else { return Ok(()) };
    let length =
        texts.iter().fold(0_usize, |length, text| length.saturating_add(text.len() + delimiter.len()));
    within(length, MAX_BYTES, Refusal::Size)
}

fn replaced_bytes(text: &str, old: &str, new: &str) -> usize {
    let count = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
    text.len().saturating_add(count.saturating_mul(new.len())) - count * old.len()
}

pub(super) fn replace(args: &[Value]) -> Result<(), Refusal> {
    let [Value::String(text), Value::String(old), Value::String(new)] = args else { return Ok(()) };
    within(replaced_bytes(text, old, new), MAX_BYTES, Refusal::Size)
}

/// Each replacement goes over what the one before has left.
pub(super) fn replace_n(_: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::Object(patterns), Value::String(text)] = args else { return Ok(Value::Undefined) };
    let mut text = text.to_string();
    let mut work = 0_usize;
    for (old, new) in patterns.iter_sorted() {
        let (Value::String(old), Value::String(new)) = (old, new) else { return Ok(Value::Undefined) };
        work = work.saturating_add(text.len() + 1);
        within(work, MAX_WORK, Refusal::Work)?;
        within(replaced_bytes(&text, old, new), MAX_BYTES, Refusal::Size)?;
        text = text.replace(old.as_ref(), new);
    }
    Ok(Value::from(text))
}

pub(super) fn split(args: &[Value]) -> Result<(), Refusal> {
    let [Value::String(text), Value::String(delimiter)] = args else { return Ok(()) };
    let pieces = if delimiter.is_empty() {
        text.chars().count()
    } else {
        text.matches(delimiter.as_ref()).count() + 1
    };
    within(text.len().saturating_add(pieces.saturating_mul(VALUE_BYTES)), MAX_BYTES, Refusal::Size)
}

/// For each character, all characters of the other text are looked at.
pub(super) fn trim(args: &[Value]) -> Result<(), Refusal> {
    let [Value::String(text), Value::String(cut)] = args else { return Ok(()) };
    within(text.len().saturating_mul(cut.len()), MAX_WORK, Refusal::Work)
}

/// Source: OPA's `indexof`: in characters, and no answer for the empty text.
pub(super) fn indexof(_: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::String(text), Value::String(part)] = args else { return Ok(Value::Undefined) };
    if part.is_empty() {
        return Ok(Value::Undefined);
    }
    let index = text.split_once(part.as_ref()).map(|(before, _)| before.chars().count());
    Ok(index.map_or(Value::from(-1_i64), Value::from))
}

pub(super) fn indexof_n(name: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::String(text), Value::String(part)] = args else { return Ok(Value::Undefined) };
    if part.is_empty() {
        return Ok(Value::Undefined);
    }
    within(text.len().saturating_mul(part.len()), MAX_WORK, Refusal::Work)?;
    within(text.len().saturating_mul(VALUE_BYTES), MAX_BYTES, Refusal::Size)?;
    original(name, args)
}

/// The engine cuts offset and length to the 32 bits that the VM has for them.
pub(super) fn substring(name: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::String(text), offset, length] = args else { return Ok(Value::Undefined) };
    let longest = i64::try_from(text.len()).unwrap_or(i64::MAX);
    let clamped = |value: &Value| value.as_i64().ok().map(|number| Value::from(number.clamp(-1, longest)));
    let (Some(offset), Some(length)) = (clamped(offset), clamped(length)) else {
        return Ok(Value::Undefined);
    };
    original(name, &[Value::String(text.clone()), offset, length])
}

/// Source: Go's `strings.Count`, which OPA calls: runs that do not overlap; the empty string is between all runes.
pub(super) fn count(_: &'static str, args: &[Value]) -> Result<Value> {
    Ok(match args {
        [Value::String(text), Value::String(part)] if part.is_empty() => {
            Value::from(text.chars().count() + 1)
        }
        [Value::String(text), Value::String(part)] => Value::from(text.matches(part.as_ref()).count()),
        _ => Value::Undefined,
    })
}

/// Each text of one list is compared with each of the other.
pub(super) fn any_match(args: &[Value]) -> Result<(), Refusal> {
    let [searched, bases] = args else { return Ok(()) };
    let (Some(searched), Some(bases)) = (texts(searched), texts(bases)) else { return Ok(()) };
    let bytes =
        |texts: &[&str]| texts.iter().fold(0_usize, |bytes, text| bytes.saturating_add(text.len() + 8));
    let one = searched.len().saturating_mul(bytes(&bases));
    let other = bases.len().saturating_mul(bytes(&searched));
    within(one.min(other), MAX_WORK, Refusal::Work)
}

/// Reads the format as the engine does, which takes any digit of Unicode for the beginning of a width.
pub(super) fn sprintf(args: &[Value]) -> Result<(), Refusal> {
    const DIGITS: Refusal = Refusal::Unsupported("a width has digits beyond ASCII");
    let [Value::String(format), values] = args else { return Ok(()) };
    let mut length = 0_usize;
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            continue;
        }
        let mut verb = characters.next();
        if let Some(first) = verb.filter(|first| *first == '.' || first.is_numeric()) {
            let mut width = if first == '.' { 0 } else { first.to_digit(10).ok_or(DIGITS)? };
            while let Some(digit) = characters.next_if(|next| next.is_numeric()) {
                width = width.saturating_mul(10).saturating_add(digit.to_digit(10).ok_or(DIGITS)?);
            }
            within(width as usize, MAX_WIDTH as usize, Refusal::Size)?;
            length += width as usize;
            verb = characters.next();
        }
        // The engine looks for a `v` behind it, and goes on behind that.
        if verb == Some('+') {
            characters.next();
        }
    }
    let printed = Extent::of(values)?;
    let separators = printed.values.saturating_mul(3);
    // A number is also printed in base two.
    let numbers = values.as_array().map_or(0, |values| values.len()).saturating_mul(340);
    let longer = printed.text.saturating_mul(4).saturating_add(separators).saturating_add(numbers);
    within(length.saturating_add(format.len()).saturating_add(longer), MAX_BYTES, Refusal::Size)
}
