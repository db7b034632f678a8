//! Numbers of schemas: rational, as Go's `math/big` has them. Source: utils.go, Go's `math/big`, `encoding/json`.

use crate::builtins::operands::TOO_MUCH;
use crate::builtins::{Call, Fault};
use crate::value::{Float, Number, Object, Value, shortest};
use num_bigint::{BigInt, BigUint};
use std::rc::Rc;

/// Beyond it Go reads no rational number.
const MOST_EXPONENT: i64 = 1_000_000;
/// The most digits of a bound that is written into an error.
const MOST_SHOWN: u64 = 1_000;

/// Digits without the point, how many of them are behind it, and the exponent.
fn parts(text: &str) -> (String, i64, i64) {
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let most = i64::MAX / 4;
    let exponent = exponent.parse().unwrap_or(if exponent.starts_with('-') { -most } else { most });
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    (digits, i64::try_from(fraction.len()).unwrap_or(most), exponent.clamp(-most, most))
}

/// Whether Go can compute with it.
pub(super) fn is_rational(number: &Number) -> bool {
    if number.as_small().is_some() {
        return true;
    }
    let (digits, behind, exponent) = parts(&number.to_text());
    digits.bytes().all(|digit| digit == b'0')
        || (exponent - behind).checked_abs().is_some_and(|power| power <= MOST_EXPONENT)
}

/// Whether it is worth an integer.
pub(super) fn is_integer(number: &Number) -> bool {
    if number.as_small().is_some() {
        return true;
    }
    let (digits, behind, exponent) = parts(&number.to_text());
    let significant = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).unwrap_or(0);
    significant.is_empty() || (is_rational(number) && behind - exponent <= zeros)
}

/// The integer that the text is, in 64 bits: `1.0` is none here.
pub(super) fn plain_integer(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    number.as_small().or_else(|| number.to_text().parse().ok())
}

/// Digits of a number in base 2^64.
fn limbs(number: &BigUint) -> usize {
    usize::try_from(number.bits() / 64).unwrap_or(usize::MAX).saturating_add(1)
}

/// Whether the number is a multiple of the other, which is greater than zero.
pub(super) fn is_multiple(call: &mut Call<'_>, number: &Number, of: &Number) -> Result<bool, Fault> {
    if let (Some(number), Some(of)) = (number.as_small(), of.as_small()) {
        return Ok(number.checked_rem(of).unwrap_or(0) == 0);
    }
    call.step((number.text_len() + of.text_len()).saturating_mul(2))?;
    let (_, number, number_ten, _) = number.exact_parts()?;
    let (_, of, of_ten, _) = of.exact_parts()?;
    if number.bits() == 0 || of.bits() == 0 {
        return Ok(true);
    }
    let power = number_ten - of_ten;
    let shift = u32::try_from(power.unsigned_abs()).map_err(|_| TOO_MUCH)?;
    let ten = BigUint::from(10u32);
    if power >= 0 {
        // Squarings and products of numbers as long as the divisor, each divided.
        let rounds = 2 * (u32::BITS - shift.leading_zeros()) as usize + 2;
        call.step(rounds * limbs(&of) * limbs(&of) / 4 + limbs(&number) * limbs(&of))?;
        Ok((&number % &of) * ten.modpow(&BigUint::from(shift), &of) % &of == BigUint::ZERO)
    } else {
        // A multiple of so high a power of ten has as many digits.
        if u64::from(shift) > number.bits() {
            return Ok(false);
        }
        let long = shift as usize / 16 + limbs(&of);
        call.step(long.saturating_mul(long) + limbs(&number).saturating_mul(long))?;
        Ok(number % (of * ten.pow(shift)) == BigUint::ZERO)
    }
}

/// A bound as Go prints it: a float of 64 bits, or of as many as its parts need.
pub(super) fn shown(call: &mut Call<'_>, number: &Number) -> Result<String, Fault> {
    let (negative, mut mantissa, mut ten, _) = number.exact_parts()?;
    if mantissa.bits() == 0 {
        return Ok("0".to_owned());
    }
    if mantissa.bits() > 3 * MOST_SHOWN || ten.unsigned_abs() > MOST_SHOWN {
        return Err(TOO_MUCH);
    }
    call.step(2_000)?;
    let mut digits = mantissa.to_string();
    let significant = digits.trim_end_matches('0').len();
    let zeros = digits.len() - significant;
    digits.truncate(significant);
    let sign = if negative { "-" } else { "" };
    if ten >= -i64::try_from(zeros).unwrap_or(0) {
        // An integer, which is exact.
        let zeros = usize::try_from(ten + i64::try_from(zeros).unwrap_or(0)).unwrap_or(0);
        let places = digits.len() + zeros;
        return Ok(if places > 6 {
            let (first, rest) = digits.split_at_checked(1).unwrap_or((&digits, ""));
            let point = if rest.is_empty() { "" } else { "." };
            format!("{sign}{first}{point}{rest}e+{:02}", places - 1)
        } else {
            format!("{sign}{digits}{}", "0".repeat(zeros))
        });
    }
    // In lowest terms: ten is below zero, and the divisor is a power of ten.
    let (five, one) = (BigUint::from(5u32), BigUint::from(1u32));
    mantissa = BigUint::parse_bytes(digits.as_bytes(), 10).unwrap_or(one);
    ten += i64::try_from(zeros).unwrap_or(0);
    let (mut twos, mut fives) = (ten.unsigned_abs(), ten.unsigned_abs());
    let even = mantissa.trailing_zeros().unwrap_or(0).min(twos);
    (mantissa, twos) = (mantissa >> even, twos - even);
    while fives > 0 {
        let quotient = &mantissa / &five;
        if &quotient * &five != mantissa {
            break;
        }
        (mantissa, fives) = (quotient, fives - 1);
    }
    let divisor = five.pow(u32::try_from(fives).unwrap_or(0)) << twos;
    let precision = mantissa.bits().max(divisor.bits()).max(64);
    let [dividend, divisor] = [mantissa, divisor].map(|part| Float::from_integer(&BigInt::from(part)));
    Ok(format!("{sign}{}", dividend.over(&divisor, precision).to_text()))
}

/// JSON of a value once its numbers have been floats: equal values have the same text. The number that none is.
pub(super) fn normalized(call: &mut Call<'_>, value: &Value) -> Result<Result<Vec<u8>, Number>, Fault> {
    call.walk(value)?;
    let mut text = Vec::new();
    let write = |value: &Value, text: &mut Vec<u8>, call: &mut Call<'_>| value.write_json(text, call.budget);
    if is_normal(value) {
        write(value, &mut text, call)?;
        return Ok(Ok(text));
    }
    call.bytes(usize::try_from(value.weight()).unwrap_or(usize::MAX).saturating_mul(32))?;
    match as_floats(value)? {
        Ok(value) => {
            write(&value, &mut text, call)?;
            Ok(Ok(text))
        }
        Err(number) => Ok(Err(number)),
    }
}

/// Whether all numbers are integers that a float holds.
fn is_normal(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_small().is_some_and(|small| small.unsigned_abs() < 1 << 53),
        Value::Array(items) => items.iter().all(is_normal),
        Value::Object(object) => object.values().all(is_normal),
        _ => true,
    }
}

fn as_floats(value: &Value) -> Result<Result<Value, Number>, Fault> {
    Ok(match value {
        Value::Number(number) => match number.to_f64() {
            Some(float) => Ok(Value::from(Number::from_text(&float_text(float)))),
            None => Err(number.clone()),
        },
        Value::Array(items) => {
            let mut out = Vec::with_capacity(items.len());
            for item in items.iter() {
                match as_floats(item)? {
                    Ok(item) => out.push(item),
                    Err(number) => return Ok(Err(number)),
                }
            }
            Ok(Value::array(out)?)
        }
        Value::Object(object) => {
            let mut out = Vec::with_capacity(object.len());
            for (key, value) in object.iter() {
                match as_floats(value)? {
                    Ok(value) => out.push((key.clone(), value)),
                    Err(number) => return Ok(Err(number)),
                }
            }
            Ok(Value::Object(Rc::new(Object::of_sorted(out)?)))
        }
        scalar => Ok(scalar.clone()),
    })
}

/// A float as Go's JSON has it.
fn float_text(float: f64) -> String {
    let text = shortest(float);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-6..21).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{}", exponent.unsigned_abs());
    }
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let whole = usize::try_from(exponent + 1).unwrap_or(0);
    match digits.split_at_checked(whole) {
        Some(("", digits)) => {
            let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0));
            format!("{sign}0.{zeros}{digits}")
        }
        Some((digits, "")) => format!("{sign}{digits}"),
        Some((whole, fraction)) => format!("{sign}{whole}.{fraction}"),
        None => format!("{sign}{digits}{}", "0".repeat(whole - digits.len())),
    }
}
