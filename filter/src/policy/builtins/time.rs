//! Time: durations, layouts, and instants with their zone.

use anyhow::Result;
use regorus::Value;

use super::{
    limits::{Refusal, within},
    original,
};

const MAX_LAYOUT_BYTES: usize = 1 << 10;

/// Whether a value is an instant: nanoseconds, alone or with a zone and a layout.
fn is_instant(value: &Value) -> bool {
    match value {
        Value::Array(array) => matches!(
            array.as_slice(),
            [Value::Number(_)]
                | [Value::Number(_), Value::String(_)]
                | [Value::Number(_), Value::String(_), Value::String(_), ..]
        ),
        value => matches!(value, Value::Number(_)),
    }
}

/// What takes instants, and integers beside them.
pub(super) fn of_instants(name: &'static str, args: &[Value]) -> Result<Value> {
    let instants = if name == "time.diff" { args } else { args.get(..1).unwrap_or_default() };
    if instants.iter().all(is_instant) { original(name, args) } else { Ok(Value::Undefined) }
}

/// The engine cuts layouts at bytes. What is beyond ASCII is no part of a layout's signs, so it is put in between.
pub(super) fn format(name: &'static str, args: &[Value]) -> Result<Value> {
    let [instant] = args else { return Ok(Value::Undefined) };
    if !is_instant(instant) {
        return Ok(Value::Undefined);
    }
    let Value::Array(array) = instant else { return original(name, args) };
    let [nanoseconds, zone, Value::String(layout), ..] = array.as_slice() else {
        return original(name, args);
    };
    within(layout.len(), MAX_LAYOUT_BYTES, Refusal::Size)?;
    if layout.is_ascii() {
        return original(name, args);
    }
    let mut formatted = String::new();
    for part in layout.split_inclusive(|character: char| !character.is_ascii()) {
        let ascii = part.trim_end_matches(|character: char| !character.is_ascii());
        if !ascii.is_empty() {
            let instant = vec![nanoseconds.clone(), zone.clone(), Value::from(ascii)];
            match original(name, &[Value::from(instant)])? {
                Value::String(text) => formatted.push_str(&text),
                _ => return Ok(Value::Undefined),
            }
        }
        formatted.push_str(part.get(ascii.len()..).unwrap_or_default());
    }
    Ok(Value::from(formatted))
}

pub(super) fn parse_ns(name: &'static str, args: &[Value]) -> Result<Value> {
    match args {
        [Value::String(layout), Value::String(text)] if layout.is_ascii() => {
            within(layout.len().max(text.len()), MAX_LAYOUT_BYTES, Refusal::Size)?;
            original(name, args)
        }
        _ => Ok(Value::Undefined),
    }
}

pub(super) fn parse_duration_ns(_: &'static str, args: &[Value]) -> Result<Value> {
    match args {
        [Value::String(text)] => Ok(duration_ns(text).map_or(Value::Undefined, Value::from)),
        _ => Ok(Value::Undefined),
    }
}

/// Source: Go's `time.ParseDuration`.
fn duration_ns(text: &str) -> Option<i64> {
    const LIMIT: u64 = 1 << 63;
    let is_negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (whole, behind) = digits(rest);
        let (fraction, behind) = behind.strip_prefix('.').map_or(("", behind), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = behind.find(|next: char| next == '.' || next.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(end)?;
        let unit: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        let (mut numerator, mut scale) = (0_u64, 1.0);
        // Digits that do not fit an integer any more are cut.
        for digit in fraction.bytes() {
            let digit = u64::from(digit.saturating_sub(b'0'));
            let next = numerator.checked_mul(10).and_then(|tenfold| tenfold.checked_add(digit));
            let Some(next) = next.filter(|next| *next <= LIMIT) else { break };
            (numerator, scale) = (next, scale * 10.0);
        }
        total = total.checked_add((numerator as f64 * (unit as f64 / scale)) as u64)?;
        if total > LIMIT {
            return None;
        }
        rest = behind;
    }
    if is_negative { 0_i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() }
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|next: char| !next.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let cases = [
            ("0", 0),
            ("-0", 0),
            ("+5s", 5_000_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("12µs", 12_000),
            ("12μs", 12_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("9223372036854775.807us", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ];
        for (text, expected) in cases {
            assert_eq!(duration_ns(text), Some(expected), "{text}");
        }
        for text in
            ["", "-", "1", "11", "1.", ".", ".s", "1é", "1sé", "1x", "9223372036854775808ns", "3000000h"]
        {
            assert_eq!(duration_ns(text), None, "{text}");
        }
        assert_eq!(duration_ns("9223372036854775808ns9223372036854775808ns"), None);
        assert_eq!(duration_ns(&"9".repeat(60_000)), None);
    }
}
