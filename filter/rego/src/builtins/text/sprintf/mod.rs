//! `sprintf`: Go's `fmt`, whose mistakes are text and never undefined; and `format_int`.
//!
//! Source: `v1/topdown/strings.go`; Go's package `fmt` (`print.go`, `format.go`), `go:math/big` (`intconv.go`).

mod float;
mod format;
mod verbs;

use super::args;
use crate::builtins::{Budget, Builtin, Call, Fault, Limit, Type};
use crate::value::{Number, Value};
use num_bigint::{BigInt, Sign};

const SOURCE: &str = "v1/topdown/strings.go";

/// The longest text that one call makes.
const MOST_OUTPUT: usize = 1 << 20;
/// The most digits of an integer beyond 64 bits.
const MOST_DIGITS: usize = 20_000;

pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("sprintf", &[Type::String, Type::ANY_ARRAY], Type::String, sprintf, SOURCE),
    Builtin::new("format_int", &[Type::Number, Type::Number], Type::String, format_int, SOURCE),
];

/// An argument, as OPA hands it to Go.
enum Argument<'a> {
    Int(i64),
    Float(f64),
    Text(std::borrow::Cow<'a, [u8]>),
    /// An integer beyond 64 bits.
    Big(BigInt),
}

impl Argument<'_> {
    fn of<'a>(value: &'a Value, budget: &mut Budget) -> Result<Argument<'a>, Fault> {
        Ok(match value {
            Value::Number(number) => of_number(number)?,
            Value::String(text) => Argument::Text(text.as_bytes().into()),
            other => {
                let mut text = Vec::new();
                other.write_rego(&mut text, budget)?;
                Argument::Text(text.into())
            }
        })
    }

    /// Go's name of its type.
    fn type_name(&self) -> &'static str {
        match self {
            Argument::Int(_) => "int64",
            Argument::Float(_) => "float64",
            Argument::Text(_) => "string",
            Argument::Big(_) => "*big.Int",
        }
    }
}

fn of_number(number: &Number) -> Result<Argument<'static>, Fault> {
    if let Some(value) = number.to_i64() {
        return Ok(Argument::Int(value));
    }
    let text = number.to_text();
    if text.contains('.') {
        if let Some(value) = number.to_f64() {
            return Ok(Argument::Float(value));
        }
    } else if let Some(value) = integer(&text)? {
        return Ok(Argument::Big(value));
    }
    Ok(Argument::Text(text.into_bytes().into()))
}

/// An integer of sign and digits alone.
fn integer(text: &str) -> Result<Option<BigInt>, Fault> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    if digits.len() > MOST_DIGITS {
        return Err(Fault::Limit(Limit::Bytes));
    }
    Ok(text.parse().ok())
}

fn sprintf(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let format = args::bytes(args, 0)?;
    let items = args
        .get(1)
        .and_then(Value::as_array)
        .ok_or(Fault::undefined("the second operand must be an array"))?;
    call.step(1 + format.len() / 8 + items.len())?;
    let mut arguments = Vec::with_capacity(items.len());
    for item in items.iter() {
        arguments.push(Argument::of(item, call.budget)?);
    }
    let out = verbs::print(format, &arguments, call.budget)?;
    Ok(out.into())
}

/// Integers exactly; others cut toward zero, through the float that OPA computes with.
fn format_int(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    const BAD: Fault = Fault::undefined("an operand must be a number");
    let number = args.first().and_then(Value::as_number).ok_or(BAD)?;
    let base = args.get(1).and_then(Value::as_number).ok_or(BAD)?;
    let base = match base.to_text().as_str() {
        "2" => 2,
        "8" => 8,
        "10" => 10,
        "16" => 16,
        _ => return Err(Fault::undefined("the base must be 2, 8, 10 or 16")),
    };
    call.step(1)?;
    if let (Some(value), 10) = (number.as_small(), base) {
        call.bytes(40)?;
        return Ok(Value::from(value.to_string()));
    }
    let text = number.to_text();
    let value = match integer(&text)? {
        Some(value) => value,
        None => number.to_float()?.truncated(),
    };
    // Digits of another base take the square of their number.
    let bits = value.bits();
    call.budget.step(bits.saturating_mul(bits) / 4096)?;
    call.budget.bytes(bits + 16)?;
    Ok(Value::from(value.to_str_radix(base)))
}

/// The magnitude as Go prints its words: a list of 64-bit numbers, the lowest first.
fn words(value: &BigInt) -> Vec<u64> {
    if value.sign() == Sign::NoSign { Vec::new() } else { value.magnitude().to_u64_digits() }
}
