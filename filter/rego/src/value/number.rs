//! Numbers: text until arithmetic, compared by what they are worth.

use super::float::Float;
use crate::builtins::Limit;
use num_bigint::{BigInt, BigUint, Sign};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// The most decimal digits that arithmetic works with, before and after the point: 64 Kbit.
pub(crate) const MOST_DIGITS: usize = 19_728;

/// A number of Rego: an `i64` in place when its text is that integer's plain text, else the text itself.
///
/// Source: `v1/ast/term.go` (`Number` is `json.Number`), `v1/ast/compare.go` (`NumberCompare`).
#[derive(Clone)]
pub struct Number(Form);

#[derive(Clone)]
enum Form {
    Int(i64),
    Text(Rc<str>),
}

impl Number {
    /// The number that this text is, by JSON's grammar; the text is kept.
    pub fn parse(text: &str) -> Option<Number> {
        is_json_number(text.as_bytes()).then(|| Number::from_text(text))
    }

    /// A number of text that is known to be one (also of `to_number`'s wider grammar).
    pub(crate) fn from_text(text: &str) -> Number {
        if is_plain(text)
            && let Ok(value) = text.parse()
        {
            return Number(Form::Int(value));
        }
        Number(Form::Text(Rc::from(text)))
    }

    /// An exact integer.
    pub(crate) fn from_integer(value: &BigInt) -> Number {
        match i64::try_from(value) {
            Ok(small) => Number(Form::Int(small)),
            Err(_) => Number(Form::Text(Rc::from(value.to_string()))),
        }
    }

    /// The integer, if OPA takes the number as one: at most 19 characters of sign and digits, and after a dot
    /// nothing but zeros. Source: `v1/util/performance.go`, `Atoi64`.
    pub fn to_i64(&self) -> Option<i64> {
        match &self.0 {
            Form::Int(value) => Some(*value),
            Form::Text(text) => to_i64(text),
        }
    }

    /// The integer, if it is held in place.
    pub fn as_small(&self) -> Option<i64> {
        match &self.0 {
            Form::Int(value) => Some(*value),
            Form::Text(_) => None,
        }
    }

    /// The text, as it was written or computed.
    pub fn to_text(&self) -> String {
        match &self.0 {
            Form::Int(value) => value.to_string(),
            Form::Text(text) => text.to_string(),
        }
    }

    /// Appends the text.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Form::Text(text) => out.extend_from_slice(text.as_bytes()),
            Form::Int(value) => write_integer(*value, out),
        }
    }

    /// How many bytes its text has, at most.
    pub(crate) fn text_len(&self) -> usize {
        match &self.0 {
            Form::Int(_) => 20,
            Form::Text(text) => text.len(),
        }
    }

    /// Whether its text is JSON: what `to_number` makes of `0x1p4` is not.
    pub(crate) fn is_json(&self) -> bool {
        match &self.0 {
            Form::Int(_) => true,
            Form::Text(text) => is_json_number(text.as_bytes()),
        }
    }

    /// A float64, written as Go's `FormatFloat(value, 'g', -1, 64)`; `None` for what is no number in JSON.
    pub fn from_f64(value: f64) -> Option<Number> {
        if !value.is_finite() {
            return None;
        }
        let text = super::shortest::shortest(value);
        let (mantissa, exponent) = text.split_once('e')?;
        let exponent: i32 = exponent.parse().ok()?;
        let text = if (-4..6).contains(&exponent) {
            format!("{value}")
        } else {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
        };
        Number::parse(&text)
    }

    /// The nearest float64; `None` beyond its range.
    pub fn to_f64(&self) -> Option<f64> {
        match &self.0 {
            Form::Int(value) => Some(*value as f64),
            Form::Text(text) => text.parse().ok().filter(|value: &f64| value.is_finite()),
        }
    }

    /// The exact integer, if it is worth one: `1e1` and `2.0` are, `1.5` is not.
    /// Source: `v1/topdown/builtins/builtins.go`, `NumberToInt`.
    pub(crate) fn to_integer(&self) -> Result<Option<BigInt>, Limit> {
        let text = match &self.0 {
            Form::Int(value) => return Ok(Some(BigInt::from(*value))),
            Form::Text(text) => text,
        };
        let parts = Parts::of(text);
        let (mantissa, ten, two) = parts.exact()?;
        let mut magnitude = mantissa;
        if magnitude.bits() > 0 {
            let power =
                |n: i64| BigUint::from(10u32).pow(u32::try_from(n.unsigned_abs()).unwrap_or(u32::MAX));
            if ten > 0 {
                magnitude *= power(ten);
            }
            if two > 0 {
                magnitude <<= two.unsigned_abs();
            }
            let mut divisor = BigUint::from(1u32);
            if ten < 0 {
                // A number that ends in a digit other than zero is no multiple of ten: told without dividing.
                divisor = power(ten);
            }
            if two < 0 {
                divisor <<= two.unsigned_abs();
            }
            let quotient = &magnitude / &divisor;
            if &quotient * &divisor != magnitude {
                return Ok(None);
            }
            magnitude = quotient;
        }
        let sign = if parts.negative { Sign::Minus } else { Sign::Plus };
        Ok(Some(BigInt::from_biguint(sign, magnitude)))
    }

    /// The float that OPA computes with.
    pub(crate) fn to_float(&self) -> Result<Float, Limit> {
        match &self.0 {
            Form::Int(value) => Ok(Float::from_integer(&BigInt::from(*value))),
            Form::Text(text) => {
                let parts = Parts::of(text);
                let (mantissa, ten, two) = parts.exact()?;
                Ok(Float::from_parts(parts.negative, mantissa, ten, two))
            }
        }
    }

    /// A float, printed as OPA prints results of arithmetic.
    pub(crate) fn from_float(value: &Float) -> Result<Number, Limit> {
        // 10 bits are about 3 digits.
        if value.magnitude() > 4 * MOST_DIGITS as u64 {
            return Err(Limit::Bytes);
        }
        Ok(Number::from_text(&value.to_text()))
    }

    /// Sign, mantissa, and the powers of ten and of two that it is multiplied with.
    pub(crate) fn exact_parts(&self) -> Result<(bool, BigUint, i64, i64), Limit> {
        let text = self.to_text();
        let parts = Parts::of(&text);
        let (mantissa, ten, two) = parts.exact()?;
        Ok((parts.negative, mantissa, ten, two))
    }

    fn decimal(&self) -> Decimal {
        match &self.0 {
            Form::Int(value) => Decimal::of(&Parts::of(&value.to_string())),
            Form::Text(text) => Decimal::of(&Parts::of(text)),
        }
    }
}

/// The integer that OPA reads in text, which need not be a number.
pub(crate) fn to_i64(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned.is_empty() || unsigned.len() > 19 {
        return None;
    }
    let (whole, zeros) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if !zeros.bytes().all(|b| b == b'0') || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    i64::try_from(if text.starts_with('-') { -value } else { value }).ok()
}

/// Appends an integer's digits.
pub(crate) fn write_integer(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut left = value.unsigned_abs();
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (left % 10) as u8;
        used += 1;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend(digits.iter().skip(20 - used));
}

/// Whether the text is what an integer prints as.
fn is_plain(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.len() < 19 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Whether text is a number by JSON's grammar.
pub(crate) fn is_json_number(text: &[u8]) -> bool {
    scan_json_number(text) == Some(text.len())
}

/// How many bytes of number the text begins with, by JSON's grammar.
pub(crate) fn scan_json_number(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| text.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let start = usize::from(text.first() == Some(&b'-'));
    let whole = match text.get(start) {
        Some(b'0') => 1,
        _ => digits(start),
    };
    if whole == 0 {
        return None;
    }
    let mut end = start + whole;
    if text.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + signed);
        if exponent == 0 {
            return None;
        }
        end += 1 + signed + exponent;
    }
    Some(end)
}

/// The text of a number, taken apart. Besides JSON's grammar this is what `to_number` lets through: `+5`,
/// `.5`, `5.`, `010`, `1_000`, `0x1p4`.
struct Parts<'a> {
    negative: bool,
    radix: u32,
    whole: &'a str,
    fraction: &'a str,
    /// Of ten, or of two if the text says `p`.
    exponent: i64,
    binary: bool,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Parts<'a> {
        let negative = text.starts_with('-');
        let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
        let mut radix = 10;
        for (prefix, of) in [("0x", 16), ("0X", 16), ("0b", 2), ("0B", 2), ("0o", 8), ("0O", 8)] {
            if let Some(digits) = rest.strip_prefix(prefix) {
                (rest, radix) = (digits, of);
            }
        }
        let marks: &[char] = if radix == 16 { &['p', 'P'] } else { &['e', 'E', 'p', 'P'] };
        let (digits, exponent, binary) = match rest.find(marks) {
            Some(at) => {
                let (digits, tail) = rest.split_at(at);
                (digits, exponent_of(tail), tail.starts_with(['p', 'P']))
            }
            None => (rest, 0, false),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        Parts { negative, radix, whole, fraction, exponent, binary }
    }

    /// `mantissa × 10^ten × 2^two`, or the bound that it breaks.
    fn exact(&self) -> Result<(BigUint, i64, i64), Limit> {
        if self.whole.len() + self.fraction.len() > MOST_DIGITS {
            return Err(Limit::Bytes);
        }
        let digits: Vec<u8> = self.digits().collect();
        let mantissa = BigUint::parse_bytes(&digits, self.radix).unwrap_or_default();
        if mantissa.bits() == 0 {
            return Ok((mantissa, 0, 0));
        }
        let below = -(self.fraction.bytes().filter(|b| *b != b'_').count() as i64);
        let (mut ten, mut two) = match self.radix {
            2 => (0, below),
            8 => (0, 3 * below),
            16 => (0, 4 * below),
            _ => (below, 0),
        };
        let exponent = if self.binary { &mut two } else { &mut ten };
        *exponent = exponent.saturating_add(self.exponent);
        let most = MOST_DIGITS as u64;
        if ten.unsigned_abs() > most || two.unsigned_abs() > 3 * most {
            return Err(Limit::Bytes);
        }
        Ok((mantissa, ten, two))
    }

    /// All digits, as ASCII.
    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes()).filter(|b| *b != b'_')
    }
}

fn exponent_of(tail: &str) -> i64 {
    let tail = tail.get(1..).unwrap_or_default();
    let negative = tail.starts_with('-');
    let value = tail.bytes().filter(u8::is_ascii_digit).fold(0i64, |value, digit| {
        value.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(i64::MAX / 4)
    });
    if negative { -value } else { value }
}

/// The worth of a number in a form that is the same for equal ones: `±0.digits × 10^point`.
#[derive(PartialEq, Eq, Hash)]
struct Decimal {
    sign: i8,
    point: i64,
    digits: Vec<u8>,
}

impl Decimal {
    fn of(parts: &Parts<'_>) -> Decimal {
        let (digits, below) = if parts.radix == 10 && !parts.binary {
            let fraction = parts.fraction.bytes().filter(|b| *b != b'_').count() as i64;
            (parts.digits().collect(), fraction.saturating_sub(parts.exponent))
        } else {
            // Only `to_number` makes these, within the range of a float64.
            let (mut mantissa, ten, two) = parts.exact().unwrap_or_default();
            let mut below = -ten;
            if two >= 0 {
                mantissa <<= two.unsigned_abs();
            } else {
                mantissa *= BigUint::from(5u32).pow(u32::try_from(two.unsigned_abs()).unwrap_or(0));
                below -= two;
            }
            (mantissa.to_string().into_bytes(), below)
        };
        let mut digits: Vec<u8> = digits;
        let leading = digits.iter().take_while(|b| **b == b'0').count();
        digits.drain(..leading);
        let point = (digits.len() as i64).saturating_sub(below);
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        match digits.is_empty() {
            true => Decimal { sign: 0, point: 0, digits },
            false => Decimal { sign: if parts.negative { -1 } else { 1 }, point, digits },
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        let magnitude = || (self.point, &self.digits).cmp(&(other.point, &other.digits));
        self.sign.cmp(&other.sign).then_with(|| match self.sign {
            0 => Ordering::Equal,
            1 => magnitude(),
            _ => magnitude().reverse(),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Number {
        Number(Form::Int(value))
    }
}

impl std::fmt::Debug for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// Exact, whatever the size. OPA rounds two numbers to float64 first if both end in zeros after the point
/// (`0.10` and `0.100000000000000000010` are equal there): an order that is none, and not followed.
impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        match (&self.0, &other.0) {
            (Form::Int(a), Form::Int(b)) => a.cmp(b),
            (Form::Text(a), Form::Text(b)) if a == b => Ordering::Equal,
            _ => match (self.to_i64(), other.to_i64()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => self.decimal().cmp(&other.decimal()),
            },
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

/// Equal numbers hash alike, however they are written.
impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.to_i64() {
            Some(value) => value.hash(state),
            None => {
                let decimal = self.decimal();
                // `1e1` is worth 10, which is held in place.
                let whole = decimal.point.cmp(&(decimal.digits.len() as i64)) != Ordering::Less;
                let small = (whole && decimal.point <= 19).then(|| {
                    let zeros = decimal.point - decimal.digits.len() as i64;
                    let digits = decimal.digits.iter().copied().chain((0..zeros).map(|_| b'0'));
                    let value = digits.fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0'));
                    i64::try_from(value * i128::from(decimal.sign)).ok()
                });
                match small.flatten() {
                    Some(value) => value.hash(state),
                    None => decimal.hash(state),
                }
            }
        }
    }
}
