//! Comparison, membership, types and casts.
//!
//! Source: `v1/topdown/comparison.go`, `aggregates.go` (`in`), `type.go`, `type_name.go`, `casts.go`.

use super::operands::{all, items};
use super::{Builtin, Call, Fault, Run, Type};
use crate::value::{Number, Value};
use std::cmp::Ordering;

const SOURCE: &str = "v1/topdown/comparison.go";
const MEMBER: &str = "v1/topdown/aggregates.go";
const TYPES: &str = "v1/topdown/type.go";
const CASTS: &str = "v1/topdown/casts.go";
const ANY: &[Type] = &[Type::Any];
const TWO: &[Type] = &[Type::Any, Type::Any];

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("assign", TWO, Type::Boolean, equal, SOURCE).runs(Run::Evaluator),
    Builtin::new("eq", TWO, Type::Boolean, equal, SOURCE).runs(Run::Evaluator),
    Builtin::new("equal", TWO, Type::Boolean, equal, SOURCE),
    Builtin::new("neq", TWO, Type::Boolean, neq, SOURCE),
    Builtin::new("lt", TWO, Type::Boolean, lt, SOURCE),
    Builtin::new("lte", TWO, Type::Boolean, lte, SOURCE),
    Builtin::new("gt", TWO, Type::Boolean, gt, SOURCE),
    Builtin::new("gte", TWO, Type::Boolean, gte, SOURCE),
    Builtin::new("internal.member_2", TWO, Type::Boolean, member, MEMBER),
    Builtin::new(
        "internal.member_3",
        &[Type::Any, Type::Any, Type::Any],
        Type::Boolean,
        member_with_key,
        MEMBER,
    ),
    Builtin::new("is_array", ANY, Type::Boolean, is_array, TYPES),
    Builtin::new("is_boolean", ANY, Type::Boolean, is_boolean, TYPES),
    Builtin::new("is_null", ANY, Type::Boolean, is_null, TYPES),
    Builtin::new("is_number", ANY, Type::Boolean, is_number, TYPES),
    Builtin::new("is_object", ANY, Type::Boolean, is_object, TYPES),
    Builtin::new("is_set", ANY, Type::Boolean, is_set, TYPES),
    Builtin::new("is_string", ANY, Type::Boolean, is_string, TYPES),
    Builtin::new("type_name", ANY, Type::String, type_name, "v1/topdown/type_name.go"),
    Builtin::new(
        "to_number",
        &[Type::Union(&[Type::Number, Type::String, Type::Boolean, Type::Null])],
        Type::Number,
        to_number,
        CASTS,
    ),
    Builtin::new("cast_array", ANY, Type::ANY_ARRAY, cast_array, CASTS).deprecated(),
    Builtin::new("cast_boolean", ANY, Type::Boolean, cast_boolean, CASTS).deprecated(),
    Builtin::new("cast_null", ANY, Type::Null, cast_null, CASTS).deprecated(),
    Builtin::new("cast_object", ANY, Type::ANY_OBJECT, cast_object, CASTS).deprecated(),
    Builtin::new("cast_set", ANY, Type::ANY_SET, cast_set, CASTS).deprecated(),
    Builtin::new("cast_string", ANY, Type::String, cast_string, CASTS).deprecated(),
];

/// The order of two values, counted.
fn order(call: &mut Call<'_>, args: &[Value]) -> Result<Ordering, Fault> {
    let [a, b] = all(args)?;
    call.compare(a, b)?;
    Ok(a.cmp(b))
}

fn equal(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    call.compare(a, b)?;
    Ok(Value::Bool(a == b))
}

fn neq(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    call.compare(a, b)?;
    Ok(Value::Bool(a != b))
}

fn lt(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    Ok(Value::Bool(order(call, args)?.is_lt()))
}

fn lte(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    Ok(Value::Bool(order(call, args)?.is_le()))
}

fn gt(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    Ok(Value::Bool(order(call, args)?.is_gt()))
}

fn gte(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    Ok(Value::Bool(order(call, args)?.is_ge()))
}

/// What looking for `value` among these takes: a comparison with each.
fn scan(call: &mut Call<'_>, value: &Value, among: usize) -> Result<(), Fault> {
    call.step(among.saturating_mul(value.weight() as usize))
}

/// `x in xs`: members of sets, items of arrays, values of objects; false for anything else.
fn member(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value, within] = all(args)?;
    Ok(Value::Bool(match within {
        Value::Set(set) => {
            call.sorting(u64::from(value.weight()), set.len())?;
            set.contains(value)
        }
        Value::Array(array) => {
            scan(call, value, array.len())?;
            array.iter().any(|item| item == value)
        }
        Value::Object(object) => {
            scan(call, value, object.len())?;
            object.values().any(|item| item == value)
        }
        _ => false,
    }))
}

/// `k, v in xs`: for a set both must be the same member.
fn member_with_key(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [key, value, within] = all(args)?;
    call.sorting(u64::from(key.weight()), 1 << 10)?;
    call.step(value.weight() as usize)?;
    Ok(Value::Bool(match within {
        Value::Set(set) => set.contains(key) && key == value,
        Value::Array(_) | Value::Object(_) => within.get(key) == Some(value),
        _ => false,
    }))
}

macro_rules! type_checks {
    ($($name:ident: $variant:pat),* $(,)?) => {
        $(fn $name(_: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
            let [value] = all(args)?;
            Ok(Value::Bool(matches!(value, $variant)))
        })*
    };
}

type_checks! {
    is_array: Value::Array(_),
    is_boolean: Value::Bool(_),
    is_null: Value::Null,
    is_number: Value::Number(_),
    is_object: Value::Object(_),
    is_set: Value::Set(_),
    is_string: Value::String(_),
}

fn type_name(_: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    Ok(Value::from(value.type_name()))
}

fn to_number(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    match value {
        Value::Null | Value::Bool(false) => Ok(Value::from(0)),
        Value::Bool(true) => Ok(Value::from(1)),
        Value::Number(_) => Ok(value.clone()),
        Value::String(text) => {
            call.step(1 + text.len() / 16)?;
            call.bytes(text.len())?;
            let text = text.as_str().filter(|text| is_go_float(text));
            text.map(|text| Value::Number(Number::from_text(text))).ok_or(Fault::undefined("not a number"))
        }
        _ => Err(Fault::undefined("not a number")),
    }
}

/// Whether Go reads the text as a float64 that is finite: an underscore may stand between digits, a
/// hexadecimal mantissa must have an exponent of two. Source: `strconv.ParseFloat`.
fn is_go_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let hexadecimal = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X"));
    if let Some(rest) = hexadecimal {
        let Some((mantissa, exponent)) = rest.split_once(['p', 'P']) else { return false };
        let digits = || mantissa.bytes().filter(|b| *b != b'_');
        let well_formed = digits().all(|b| b.is_ascii_hexdigit() || b == b'.')
            && digits().filter(|b| *b == b'.').count() <= 1
            && digits().any(|b| b.is_ascii_hexdigit())
            && is_exponent(exponent)
            && underscores_are_fine(unsigned);
        // Of a float64's range: the highest bit below 2^1024.
        return well_formed && highest_bit(mantissa, exponent).is_none_or(|bit| bit < 1024);
    }
    let plain: String = unsigned.chars().filter(|c| *c != '_').collect();
    let (mantissa, exponent) = plain.split_once(['e', 'E']).unwrap_or((&plain, "0"));
    mantissa.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && mantissa.bytes().filter(|b| *b == b'.').count() <= 1
        && mantissa.bytes().any(|b| b.is_ascii_digit())
        && is_exponent(exponent)
        && underscores_are_fine(unsigned)
        && plain.parse::<f64>().is_ok_and(f64::is_finite)
}

/// The float64 of decimal text, as Go reads it.
pub(super) fn go_float(text: &str) -> Option<f64> {
    is_go_float(text).then(|| text.replace('_', "").parse().ok()).flatten()
}

fn is_exponent(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_') && !digits.starts_with('_')
}

/// Underscores stand between digits, or between the prefix and a digit. Source: `strconv`, `underscoreOK`.
fn underscores_are_fine(unsigned: &str) -> bool {
    if !unsigned.contains('_') {
        return true;
    }
    // A decimal one must not: only numbers with a prefix, and those that begin with a digit.
    let hexadecimal = unsigned.starts_with("0x") || unsigned.starts_with("0X");
    let (mut before, digits) =
        if hexadecimal { ('0', unsigned.get(2..).unwrap_or_default()) } else { ('^', unsigned) };
    for c in digits.chars() {
        let is_digit = c.is_ascii_digit() || (hexadecimal && c.is_ascii_hexdigit());
        match c {
            '_' if before != '0' => return false,
            '_' => before = '_',
            _ if is_digit => before = '0',
            _ if before == '_' => return false,
            _ => before = '!',
        }
    }
    before != '_'
}

/// The place of the highest bit of a hexadecimal float, rounded to 53 bits.
fn highest_bit(mantissa: &str, exponent: &str) -> Option<i64> {
    let exponent: i64 = exponent.replace('_', "").parse().unwrap_or(i64::MAX / 2).clamp(-(1 << 40), 1 << 40);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().filter(|b| *b != b'_').collect::<Vec<u8>>();
    let (whole, fraction) = (digits(whole), digits(fraction));
    let all: Vec<u8> = whole.iter().chain(&fraction).copied().collect();
    let first = all.iter().position(|b| *b != b'0')?;
    let value = |b: &u8| char::from(*b).to_digit(16).unwrap_or(0);
    // The first 13 or 14 digits hold 53 bits; what rounds up to the next power of two is all ones.
    let bits = all.get(first).map(value).map_or(0, |digit| 32 - digit.leading_zeros());
    let place = 4 * (whole.len() as i64 - first as i64 - 1) + i64::from(bits) - 1 + exponent;
    let ones = {
        let rest = all.get(first..).unwrap_or_default();
        let stream = rest.iter().flat_map(|b| (0..4).rev().map(move |i| value(b) >> i & 1));
        let mut stream = stream.skip(4 - bits as usize);
        (0..54).all(|_| stream.next() == Some(1))
    };
    Some(place + i64::from(ones))
}

fn cast_array(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let items = items(value)?;
    call.room(items.len())?;
    Ok(Value::array(items.to_vec())?)
}

fn cast_set(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let items = items(value)?;
    call.room(items.len())?;
    call.sorting(u64::from(value.weight()), items.len())?;
    Ok(Value::set(items.to_vec())?)
}

macro_rules! casts {
    ($($name:ident: $variant:pat, $what:literal),* $(,)?) => {
        $(fn $name(_: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
            match all(args)? {
                [value @ $variant] => Ok(value.clone()),
                _ => Err(Fault::undefined($what)),
            }
        })*
    };
}

casts! {
    cast_boolean: Value::Bool(_), "an operand must be a boolean",
    cast_null: Value::Null, "an operand must be null",
    cast_object: Value::Object(_), "an operand must be an object",
    cast_string: Value::String(_), "an operand must be a string",
}
