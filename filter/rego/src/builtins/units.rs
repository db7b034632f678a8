//! Amounts with units, versions and UUIDs.
//!
//! Source: `v1/topdown/parse_units.go`, `parse_bytes.go`, `semver.go`, `internal/semver`, `uuid.go`,
//! `internal/uuid`, github.com/google/uuid 1.6.

use super::arithmetic::chance;
use super::encoding::{hex_of, hex_value};
use super::operands::{TOO_MUCH, all, bytes, text};
use super::{Builtin, Call, Fault, Type};
use crate::value::{Float, MOST_DIGITS, Number, Value};
use num_bigint::{BigInt, BigUint};
use std::cmp::Ordering;

const STRING: &[Type] = &[Type::String];
const SEMVER: &str = "v1/topdown/semver.go";
const UUID: &str = "v1/topdown/uuid.go";

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("units.parse", STRING, Type::Number, parse, "v1/topdown/parse_units.go"),
    Builtin::new("units.parse_bytes", STRING, Type::Number, parse_bytes, "v1/topdown/parse_bytes.go"),
    Builtin::new("semver.compare", &[Type::String, Type::String], Type::Number, semver_compare, SEMVER),
    Builtin::new("semver.is_valid", &[Type::Any], Type::Boolean, semver_is_valid, SEMVER),
    Builtin::new("uuid.parse", STRING, Type::object_of(&Type::String, &Type::Any), uuid_parse, UUID),
    Builtin::new("uuid.rfc4122", STRING, Type::String, rfc4122, UUID).nondeterministic(),
];

/// Number and unit. An exponent has at most six digits; its sign or first digit must follow the `e`, which is
/// a unit otherwise.
fn split(amount: &str) -> Result<(&str, &str), Fault> {
    let text = amount.as_bytes();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'0'..=b'9' | b'.' | b'+' | b'-' => {}
            b'e' | b'E' => {
                match text.get(at + 1) {
                    Some(b'+' | b'-') => at += 1,
                    Some(b'0'..=b'9') => {}
                    _ => break,
                }
                let digits = text.iter().skip(at + 1).take_while(|byte| byte.is_ascii_digit()).count();
                if digits > 6 {
                    return Err(Fault::undefined("the exponent is too large"));
                }
            }
            _ => break,
        }
        at += 1;
    }
    match amount.split_at_checked(at) {
        Some(("", _)) | None => Err(Fault::undefined("no amount")),
        Some(parts) => Ok(parts),
    }
}

/// Whether Go reads it as a rational: a sign, digits with a point, an exponent.
fn is_amount(number: &str) -> bool {
    let unsigned = number.strip_prefix(['+', '-']).unwrap_or(number);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    mantissa.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && mantissa.bytes().filter(|b| *b == b'.').count() <= 1
        && mantissa.bytes().any(|b| b.is_ascii_digit())
        && !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Lower case as Go has it, as far as it ends in ASCII: the Kelvin sign and the dotted I do.
fn lower(text: &str) -> String {
    let lower = |c| match c {
        '\u{212a}' => 'k',
        '\u{130}' => 'i',
        c => c.to_ascii_lowercase(),
    };
    text.chars().map(lower).collect()
}

fn amount(call: &mut Call<'_>, args: &[Value]) -> Result<String, Fault> {
    let [value] = all(args)?;
    let bytes = bytes(value)?;
    call.step(1 + bytes.len())?;
    call.bytes(bytes.len())?;
    if bytes.contains(&b' ') {
        return Err(Fault::undefined("a space"));
    }
    if bytes.len() > MOST_DIGITS {
        return Err(TOO_MUCH);
    }
    // What is not UTF-8 is no unit either.
    Ok(crate::value::lossy(bytes).replace('"', ""))
}

fn power_of_ten(by: u64) -> BigUint {
    BigUint::from(10u32).pow(u32::try_from(by).unwrap_or(u32::MAX))
}

fn parse(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let amount = amount(call, args)?;
    let (number, unit) = split(&amount)?;
    let mut letters = unit.chars();
    let unit = match letters.next() {
        Some(first) if unit.len() > 1 && first.is_ascii() => format!("{first}{}", lower(letters.as_str())),
        _ => unit.to_owned(),
    };
    // A thousandth is that of a float64: not quite one.
    let (factor, halvings) = match unit.as_str() {
        "m" => (1_152_921_504_606_847, 60),
        "" => (1, 0),
        "k" | "K" => (1_000, 0),
        "ki" | "Ki" => (1 << 10, 0),
        "M" => (1_000_000, 0),
        "mi" | "Mi" => (1 << 20, 0),
        "g" | "G" => (1_000_000_000, 0),
        "gi" | "Gi" => (1 << 30, 0),
        "t" | "T" => (1_000_000_000_000, 0),
        "ti" | "Ti" => (1 << 40, 0),
        "p" | "P" => (1_000_000_000_000_000, 0),
        "pi" | "Pi" => (1 << 50, 0),
        "e" | "E" => (1_000_000_000_000_000_000, 0),
        "ei" | "Ei" => (1u64 << 60, 0),
        _ => return Err(Fault::undefined("an unknown unit")),
    };
    if !is_amount(number) {
        return Err(Fault::undefined("not an amount"));
    }
    call.step(MOST_DIGITS)?;
    let (negative, mantissa, ten, _) = Number::from_text(number).exact_parts()?;
    let mut above = mantissa * factor;
    let mut below = BigUint::from(1u32) << halvings;
    if ten >= 0 {
        above *= power_of_ten(ten.unsigned_abs());
    } else {
        below *= power_of_ten(ten.unsigned_abs());
    }
    let whole = &above / &below;
    let sign = if negative && above.bits() > 0 { "-" } else { "" };
    call.bytes(MOST_DIGITS / 8)?;
    if &whole * &below == above {
        return Ok(Value::Number(Number::from_text(&format!("{sign}{whole}"))));
    }
    // Ten decimals, rounded half away from zero.
    let scaled = (above * power_of_ten(10) * 2u32 + &below) / (below * 2u32);
    let digits = format!("{scaled:0>11}");
    let (whole, decimals) = digits.split_at_checked(digits.len() - 10).unwrap_or(("0", &digits));
    Ok(Value::Number(Number::from_text(&format!("{sign}{whole}.{decimals}"))))
}

fn parse_bytes(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let amount = lower(&amount(call, args)?);
    let (number, unit) = split(&amount)?;
    let factor: u64 = match unit {
        "" => 1,
        "kb" | "k" => 1_000,
        "kib" | "ki" => 1 << 10,
        "mb" | "m" => 1_000_000,
        "mib" | "mi" => 1 << 20,
        "gb" | "g" => 1_000_000_000,
        "gib" | "gi" => 1 << 30,
        "tb" | "t" => 1_000_000_000_000,
        "tib" | "ti" => 1 << 40,
        "pb" | "p" => 1_000_000_000_000_000,
        "pib" | "pi" => 1 << 50,
        "eb" | "e" => 1_000_000_000_000_000_000,
        "eib" | "ei" => 1 << 60,
        _ => return Err(Fault::undefined("an unknown unit")),
    };
    if !is_amount(number) {
        return Err(Fault::undefined("not an amount"));
    }
    call.step(MOST_DIGITS)?;
    call.bytes(MOST_DIGITS / 8)?;
    let number = Number::from_text(number).to_float()?;
    let total = number.times(&Float::from_integer(&BigInt::from(factor)), 64).truncated();
    Ok(Value::Number(Number::from_integer(&total)))
}

struct Version<'a> {
    numbers: [i64; 3],
    prerelease: &'a [u8],
}

/// Before and after the first such byte.
fn cut(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    let mut parts = text.splitn(2, |byte| *byte == at);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

fn version(text: &[u8]) -> Option<Version<'_>> {
    let text = text.strip_prefix(b"v").unwrap_or(text);
    let (text, metadata) = cut(text, b'+');
    let (text, prerelease) = cut(text, b'-');
    let is_identifier =
        |part: &[u8]| !part.is_empty() && part.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    for extra in [metadata, prerelease] {
        if !extra.is_empty() && !extra.split(|byte| *byte == b'.').all(is_identifier) {
            return None;
        }
    }
    let mut parts = text.split(|byte| *byte == b'.').map(|part| {
        let part = std::str::from_utf8(part).ok()?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
    });
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(Version { numbers, prerelease })
}

/// Field by field: digits before letters, the shorter before the longer. None where OPA does not end: fields
/// that differ as text but are worth the same (`01` and `1`).
fn prerelease_order(a: &[u8], b: &[u8]) -> Option<Ordering> {
    if a == b {
        return Some(Ordering::Equal);
    }
    if a.is_empty() || b.is_empty() {
        return Some(b.len().cmp(&a.len()));
    }
    let (mut a, mut b) = (a.split(|byte| *byte == b'.'), b.split(|byte| *byte == b'.'));
    loop {
        let (a, b) = match (a.next(), b.next()) {
            (Some(a), Some(b)) => (a, b),
            (None, None) => return None,
            (a, b) => return Some(a.is_some().cmp(&b.is_some())),
        };
        let number = |part: &[u8]| {
            let digits = part.iter().all(u8::is_ascii_digit);
            digits.then(|| {
                let digit =
                    |value: i64, byte: &u8| value.saturating_mul(10).saturating_add(i64::from(byte - b'0'));
                part.iter().fold(0i64, digit)
            })
        };
        let order = match (number(a), number(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            (None, None) => a.cmp(b),
            (a, _) => {
                if a.is_some() {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        };
        if order != Ordering::Equal {
            return Some(order);
        }
    }
}

fn semver_compare(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    let (a, b) = (bytes(a)?, bytes(b)?);
    call.step(1 + (a.len() + b.len()) / 8)?;
    let parsed = |text| version(text).ok_or(Fault::undefined("not a version"));
    let (a, b) = (parsed(a)?, parsed(b)?);
    let order = match a.numbers.cmp(&b.numbers) {
        Ordering::Equal => prerelease_order(a.prerelease, b.prerelease),
        order => Some(order),
    };
    let order = order.ok_or(Fault::undefined("pre-releases that have no order"))?;
    Ok(Value::from(order as i64))
}

fn semver_is_valid(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let Value::String(text) = value else { return Ok(Value::Bool(false)) };
    call.step(1 + text.len() / 8)?;
    Ok(Value::Bool(version(text.as_bytes()).is_some()))
}

/// The sixteen bytes. In braces, or between any two bytes, or after `urn:uuid:`, or without hyphens.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text = match text.len() {
        36 => text,
        45 if text.get(..9)?.eq_ignore_ascii_case(b"urn:uuid:") => text.get(9..)?,
        38 => text.get(1..37)?,
        32 => return sixteen(text.iter().copied()),
        _ => return None,
    };
    if [8, 13, 18, 23].iter().any(|at| text.get(*at) != Some(&b'-')) {
        return None;
    }
    let kept = text.iter().enumerate().filter(|(at, _)| ![8, 13, 18, 23].contains(at));
    sixteen(kept.map(|(_, byte)| *byte))
}

fn sixteen(mut digits: impl Iterator<Item = u8>) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = hex_value(digits.next()?)? << 4 | hex_value(digits.next()?)?;
    }
    Some(bytes)
}

fn uuid_parse(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let bytes = uuid(bytes(value)?).ok_or(Fault::undefined("not a UUID"))?;
    call.room(16)?;
    let [a, b, c, d, e, f, g, h, clock_high, clock_low, node @ ..] = bytes;
    let version = g >> 4;
    let variant = match clock_high {
        0x80..=0xbf => "RFC4122",
        0xc0..=0xdf => "Microsoft",
        0xe0..=0xff => "Future",
        _ => "Reserved",
    };
    let mut pairs: Vec<(Value, Value)> =
        vec![("version".into(), Value::from(i64::from(version))), ("variant".into(), variant.into())];
    if version == 1 || version == 2 {
        // Of 100 ns since 15 October 1582.
        const UNIX: i64 = 122_192_928_000_000_000;
        let ticks = i64::from_be_bytes([0, 0, 0, 0, a, b, c, d])
            | i64::from_be_bytes([0, 0, 0, 0, 0, 0, e, f]) << 32
            | i64::from_be_bytes([0, 0, 0, 0, 0, 0, g & 15, h]) << 48;
        let ns = ticks.wrapping_sub(UNIX).wrapping_mul(100);
        let [first, ..] = node;
        let kind = match first & 3 {
            3 => "local:multicast",
            1 => "global:multicast",
            2 => "local:unicast",
            _ => "global:unicast",
        };
        let groups: Vec<_> = node.iter().map(|byte| format!("{byte:02x}")).collect();
        let clock = i64::from(u16::from_be_bytes([clock_high & 0x3f, clock_low]));
        pairs.extend([
            ("time".into(), Value::from(ns)),
            ("nodeid".into(), groups.join("-").into()),
            ("macvariables".into(), kind.into()),
            ("clocksequence".into(), Value::from(clock)),
        ]);
    }
    if version == 2 {
        let domain = match clock_low {
            0 => "Person".to_owned(),
            1 => "Group".to_owned(),
            2 => "Org".to_owned(),
            other => format!("Domain{other}"),
        };
        let id = i64::from(u32::from_be_bytes([a, b, c, d]));
        pairs.extend([("id".into(), Value::from(id)), ("domain".into(), domain.into())]);
    }
    Ok(Value::object(pairs)?)
}

/// A random UUID, the same for the same argument within one query.
fn rfc4122(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [key] = all(args)?;
    call.walk(key)?;
    call.bytes(64)?;
    let halves = [chance(call, 1, key, 0), chance(call, 1, key, 1)];
    let [high, low] = halves.map(u64::to_be_bytes);
    let mut bytes: Vec<u8> = [high, low].concat();
    for (at, keep, set) in [(6, 0x0f, 0x40), (8, 0x3f, 0x80)] {
        if let Some(byte) = bytes.get_mut(at) {
            *byte = *byte & keep | set;
        }
    }
    let mut out = Vec::with_capacity(36);
    for (i, digit) in hex_of(&bytes).into_iter().enumerate() {
        if [8, 12, 16, 20].contains(&i) {
            out.push(b'-');
        }
        out.push(digit);
    }
    text(out)
}
