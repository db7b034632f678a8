//! Arithmetic, bits, ranges and chance.
//!
//! Integers are exact, however large. Anything else, and every division, goes through a binary float of 64
//! bits. Source: `v1/topdown/arithmetic.go`, `bits.go`, `numbers.go`.

use super::operands::{TOO_MUCH, all, big_integer, integer, number, set, string};
use super::{Builtin, Call, Fault, Type};
use crate::value::{Float, MOST_DIGITS, Number, Set, Value};
use num_bigint::{BigInt, Sign};
use siphasher::sip::SipHasher24;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

const SOURCE: &str = "v1/topdown/arithmetic.go";
const BITS: &str = "v1/topdown/bits.go";
const NUMBERS: &str = "v1/topdown/numbers.go";
const NUMBER_OR_SET: Type = Type::Union(&[Type::Number, Type::ANY_SET]);

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("abs", &[Type::Number], Type::Number, abs, SOURCE),
    Builtin::new("ceil", &[Type::Number], Type::Number, ceil, SOURCE),
    Builtin::new("div", &[Type::Number, Type::Number], Type::Number, div, SOURCE),
    Builtin::new("floor", &[Type::Number], Type::Number, floor, SOURCE),
    Builtin::new("minus", &[NUMBER_OR_SET, NUMBER_OR_SET], NUMBER_OR_SET, minus, SOURCE),
    Builtin::new("mul", &[Type::Number, Type::Number], Type::Number, mul, SOURCE),
    Builtin::new("plus", &[Type::Number, Type::Number], Type::Number, plus, SOURCE),
    Builtin::new("rem", &[Type::Number, Type::Number], Type::Number, rem, SOURCE),
    Builtin::new("round", &[Type::Number], Type::Number, round, SOURCE),
    Builtin::new("bits.and", &[Type::Number, Type::Number], Type::Number, bits_and, BITS),
    Builtin::new("bits.lsh", &[Type::Number, Type::Number], Type::Number, bits_lsh, BITS),
    Builtin::new("bits.negate", &[Type::Number], Type::Number, bits_negate, BITS),
    Builtin::new("bits.or", &[Type::Number, Type::Number], Type::Number, bits_or, BITS),
    Builtin::new("bits.rsh", &[Type::Number, Type::Number], Type::Number, bits_rsh, BITS),
    Builtin::new("bits.xor", &[Type::Number, Type::Number], Type::Number, bits_xor, BITS),
    Builtin::new(
        "numbers.range",
        &[Type::Number, Type::Number],
        Type::array_of(&Type::Number),
        range,
        NUMBERS,
    ),
    Builtin::new(
        "numbers.range_step",
        &[Type::Number, Type::Number, Type::Number],
        Type::array_of(&Type::Number),
        range_step,
        NUMBERS,
    ),
    Builtin::new("rand.intn", &[Type::String, Type::Number], Type::Number, intn, NUMBERS).nondeterministic(),
];

/// The most bits of an integer.
const MOST_BITS: u64 = 65_536;
/// The most numbers of one range.
const MOST_NUMBERS: u64 = 1_000_000;

/// Counts the work on numbers of this many bits, and refuses what is too large.
fn count(call: &mut Call<'_>, bits: u64, squared: bool) -> Result<(), Fault> {
    if bits > MOST_BITS {
        return Err(TOO_MUCH);
    }
    let words = bits / 64;
    // Printing and reading them is quadratic too.
    let work = if squared { words * words / 4 } else { words * words / 16 };
    Ok(call.budget.step(work)?)
}

fn exact(call: &mut Call<'_>, value: &BigInt) -> Result<Value, Fault> {
    count(call, value.bits(), false)?;
    call.bytes(usize::try_from(value.bits() / 3).unwrap_or(usize::MAX))?;
    Ok(Value::Number(Number::from_integer(value)))
}

fn inexact(call: &mut Call<'_>, value: &Float) -> Result<Value, Fault> {
    count(call, value.magnitude().min(MOST_BITS), true)?;
    Ok(Value::Number(Number::from_float(value)?))
}

/// Counts what reading a number takes.
fn read(call: &mut Call<'_>, number: &Number) -> Result<(), Fault> {
    let digits = number.text_len().min(MOST_DIGITS) as u64;
    count(call, digits * 10 / 3, true)
}

/// The numbers of a sum, product or binary operation: exact, or floats.
pub(super) enum Operands {
    Exact(Vec<BigInt>),
    Inexact(Vec<Float>),
}

pub(super) fn operands(call: &mut Call<'_>, numbers: &[&Number]) -> Result<Operands, Fault> {
    let mut exact = Vec::with_capacity(numbers.len());
    for number in numbers {
        read(call, number)?;
        match number.to_integer()? {
            Some(value) => exact.push(value),
            None => {
                let floats: Result<_, _> = numbers.iter().map(|number| number.to_float()).collect();
                return Ok(Operands::Inexact(floats?));
            }
        }
    }
    Ok(Operands::Exact(exact))
}

pub(super) fn sum(call: &mut Call<'_>, numbers: &[&Number]) -> Result<Value, Fault> {
    call.step(numbers.len())?;
    let small = numbers.iter().try_fold(0i64, |sum, number| sum.checked_add(number.as_small()?));
    if let Some(sum) = small {
        return Ok(Value::from(sum));
    }
    match operands(call, numbers)? {
        Operands::Exact(values) => {
            let sum = values.iter().sum();
            exact(call, &sum)
        }
        Operands::Inexact(values) => {
            let mut values = values.into_iter();
            let first = values.next().unwrap_or_else(Float::zero);
            // The sum begins with zero: what is not zero is as it was, minus zero is not.
            let sum = values.fold(Float::zero().plus(&first), |sum, value| sum.plus(&value));
            inexact(call, &sum)
        }
    }
}

pub(super) fn product(call: &mut Call<'_>, numbers: &[&Number]) -> Result<Value, Fault> {
    call.step(numbers.len())?;
    match operands(call, numbers)? {
        Operands::Exact(values) => {
            let mut product = BigInt::from(1);
            for value in &values {
                count(call, product.bits() + value.bits(), true)?;
                product *= value;
            }
            exact(call, &product)
        }
        Operands::Inexact(values) => {
            // It begins with one of 53 bits, and keeps to them.
            let one = Float::one();
            let product = values.iter().fold(one, |product, value| product.times(value, 53));
            inexact(call, &product)
        }
    }
}

fn plus(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    let (a, b) = (number(a)?, number(b)?);
    if let (Some(a), Some(b)) = (a.as_small(), b.as_small())
        && let Some(sum) = a.checked_add(b)
    {
        return Ok(Value::from(sum));
    }
    match operands(call, &[a, b])? {
        Operands::Exact(values) => {
            let sum = values.iter().sum();
            exact(call, &sum)
        }
        Operands::Inexact(values) => match values.as_slice() {
            [a, b] => inexact(call, &a.plus(b)),
            _ => Err(Fault::undefined("two operands")),
        },
    }
}

fn minus(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    if let (Value::Set(a), Value::Set(b)) = (a, b) {
        return difference(call, a, b);
    }
    let (a, b) = (number(a)?, number(b)?);
    if let (Some(a), Some(b)) = (a.as_small(), b.as_small())
        && let Some(difference) = a.checked_sub(b)
    {
        return Ok(Value::from(difference));
    }
    match operands(call, &[a, b])? {
        Operands::Exact(values) => match values.as_slice() {
            [a, b] => exact(call, &(a - b)),
            _ => Err(Fault::undefined("two operands")),
        },
        Operands::Inexact(values) => match values.as_slice() {
            [a, b] => inexact(call, &a.plus(&b.clone().negated())),
            _ => Err(Fault::undefined("two operands")),
        },
    }
}

fn mul(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    let (a, b) = (number(a)?, number(b)?);
    if let (Some(a), Some(b)) = (a.as_small(), b.as_small())
        && let Some(product) = a.checked_mul(b)
    {
        return Ok(Value::from(product));
    }
    match operands(call, &[a, b])? {
        Operands::Exact(values) => match values.as_slice() {
            [a, b] => {
                count(call, a.bits() + b.bits(), true)?;
                exact(call, &(a * b))
            }
            _ => Err(Fault::undefined("two operands")),
        },
        Operands::Inexact(values) => match values.as_slice() {
            [a, b] => inexact(call, &a.times(b, 64)),
            _ => Err(Fault::undefined("two operands")),
        },
    }
}

fn div(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    let (a, b) = (number(a)?, number(b)?);
    if let (Some(a), Some(b)) = (a.as_small(), b.as_small())
        && let (Some(quotient), Some(0)) = (a.checked_div(b), a.checked_rem(b))
        && (quotient != 0 || b > 0)
    {
        // Integers of 64 bits are exact in the float, and so is their whole quotient; 0 / -1 is -0.
        return Ok(Value::from(quotient));
    }
    read(call, a)?;
    read(call, b)?;
    let (a, b) = (a.to_float()?, b.to_float()?);
    if b.is_zero() {
        return Err(Fault::undefined("divide by zero"));
    }
    inexact(call, &a.over(&b, 64))
}

fn rem(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    let (a, b) = (number(a)?, number(b)?);
    if let (Some(a), Some(b)) = (a.as_small(), b.as_small())
        && let Some(rest) = a.checked_rem(b)
    {
        return Ok(Value::from(rest));
    }
    let Operands::Exact(values) = operands(call, &[a, b])? else {
        return Err(Fault::undefined("modulo on a number that is no integer"));
    };
    match values.as_slice() {
        [_, b] if b.sign() == Sign::NoSign => Err(Fault::undefined("modulo by zero")),
        [a, b] => exact(call, &(a % b)),
        _ => Err(Fault::undefined("two operands")),
    }
}

fn float(call: &mut Call<'_>, args: &[Value]) -> Result<Float, Fault> {
    let [value] = all(args)?;
    let number = number(value)?;
    read(call, number)?;
    Ok(number.to_float()?)
}

fn abs(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let value = float(call, args)?.abs();
    inexact(call, &value)
}

fn round(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let value = float(call, args)?;
    let half = Float::half();
    let away = value.plus(&if value.is_negative() { half.negated() } else { half });
    inexact(call, &Float::from_integer(&away.truncated()))
}

/// Up, but for what lies between -1 and 0: OPA looks at the sign of what is left without the fraction.
fn ceil(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let value = float(call, args)?;
    let whole = Float::from_integer(&value.truncated());
    if whole.is_negative() || value.equals(&whole) {
        return inexact(call, &whole);
    }
    inexact(call, &whole.plus(&Float::one()))
}

/// Down, but for what lies between -1 and 0.
fn floor(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let value = float(call, args)?;
    let whole = Float::from_integer(&value.truncated());
    if !whole.is_negative() || value.equals(&whole) {
        return inexact(call, &whole);
    }
    inexact(call, &whole.plus(&Float::one().negated()))
}

/// The members of `a` that are not in `b`.
pub(super) fn difference(call: &mut Call<'_>, a: &Rc<Set>, b: &Rc<Set>) -> Result<Value, Fault> {
    call.sorting(u64::from(Value::Set(a.clone()).weight()), b.len())?;
    call.room(a.len())?;
    let members = a.iter().filter(|member| !b.contains(member)).cloned().collect();
    Ok(Value::Set(Rc::new(Set::of_sorted(members)?)))
}

/// As `minus`, for sets alone.
pub(super) fn set_diff(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    difference(call, set(a)?, set(b)?)
}

fn two(call: &mut Call<'_>, args: &[Value]) -> Result<(BigInt, BigInt), Fault> {
    let [a, b] = all(args)?;
    read(call, number(a)?)?;
    let a = big_integer(a)?;
    read(call, number(b)?)?;
    Ok((a, big_integer(b)?))
}

fn bits_and(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (a, b) = two(call, args)?;
    exact(call, &(a & b))
}

fn bits_or(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (a, b) = two(call, args)?;
    exact(call, &(a | b))
}

fn bits_xor(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (a, b) = two(call, args)?;
    exact(call, &(a ^ b))
}

fn bits_negate(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a] = all(args)?;
    read(call, number(a)?)?;
    exact(call, &!big_integer(a)?)
}

/// How far to shift: the lowest 64 bits of the number.
fn shift(by: &BigInt) -> Result<u64, Fault> {
    if by.sign() == Sign::Minus {
        return Err(Fault::undefined("an operand must not be negative"));
    }
    Ok(by.iter_u64_digits().next().unwrap_or(0))
}

fn bits_lsh(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (a, b) = two(call, args)?;
    let by = shift(&b)?;
    if a.sign() == Sign::NoSign {
        return Ok(Value::from(0));
    }
    count(call, a.bits().saturating_add(by), false)?;
    exact(call, &(a << by))
}

fn bits_rsh(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (a, b) = two(call, args)?;
    let by = shift(&b)?;
    exact(call, &(a >> by))
}

fn range(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (from, to) = two(call, args)?;
    between(call, from, &to, &BigInt::from(1))
}

fn range_step(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [from, to, step] = all(args)?;
    for value in [from, to, step] {
        read(call, number(value)?)?;
    }
    let (from, to, step) = (big_integer(from)?, big_integer(to)?, big_integer(step)?);
    if step.sign() != Sign::Plus {
        return Err(Fault::undefined("the step must be positive"));
    }
    between(call, from, &to, &step)
}

/// The numbers from one to the other, both included, up or down.
fn between(call: &mut Call<'_>, from: BigInt, to: &BigInt, step: &BigInt) -> Result<Value, Fault> {
    let distance = to - &from;
    let count = u64::try_from(distance.magnitude() / step.magnitude()).unwrap_or(u64::MAX);
    if count >= MOST_NUMBERS {
        return Err(Fault::Limit(super::Limit::Steps));
    }
    let bits = from.bits().max(to.bits());
    let length = usize::try_from(count + 1).unwrap_or(usize::MAX);
    call.room(length.saturating_mul(1 + usize::try_from(bits / 64).unwrap_or(usize::MAX)))?;
    let step = if distance.sign() == Sign::Minus { -step } else { step.clone() };
    let mut numbers = Vec::with_capacity(length);
    match (i64::try_from(&from), i64::try_from(to), i64::try_from(&step)) {
        (Ok(from), Ok(_), Ok(step)) => {
            let mut at = from;
            for _ in 0..length {
                numbers.push(Value::from(at));
                at = at.saturating_add(step);
            }
        }
        _ => {
            let mut at = from;
            for _ in 0..length {
                numbers.push(Value::Number(Number::from_integer(&at)));
                at += &step;
            }
        }
    }
    Ok(Value::array(numbers)?)
}

/// Chance as a function of the query and of what is asked for: the same twice in one query.
pub(super) fn chance(call: &Call<'_>, purpose: u8, key: &impl Hash, round: u64) -> u64 {
    let [k0, k1] = call.seed;
    let mut hasher = SipHasher24::new_with_keys(k0, k1);
    hasher.write(&[purpose]);
    hasher.write_u64(round);
    key.hash(&mut hasher);
    hasher.finish()
}

fn intn(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [key, n] = all(args)?;
    let key = string(key)?;
    let most = integer(n)?.unsigned_abs();
    if most == 0 {
        return Ok(Value::from(0));
    }
    call.step(key.len() / 16)?;
    let seeded = (key, most);
    // What is beyond the largest multiple would make small numbers likelier.
    let fair = u64::MAX - u64::MAX % most;
    let drawn = (0..64).map(|round| chance(call, 0, &seeded, round)).find(|drawn| *drawn < fair);
    let picked = drawn.unwrap_or(0) % most;
    Ok(Value::from(i64::try_from(picked).unwrap_or(0)))
}
