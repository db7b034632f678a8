//! Binary floating point of any mantissa, rounded to nearest even: what OPA computes with when a number is
//! not an integer (Go's `big.Float`, 64 bits of mantissa unless said).
//!
//! Powers of five beyond 2^128 are themselves rounded when text is read, as there: the last bit of a number
//! such as `1e300` depends on it. Source: `math/big`, floatconv.go, ftoa.go, decimal.go.

use num_bigint::{BigInt, BigUint, Sign};
use std::cmp::Ordering;

/// Bits of mantissa where nothing else is said.
pub(crate) const PRECISION: u64 = 64;

/// `mantissa × 2^exponent`, the mantissa of at most `precision` bits.
#[derive(Clone, Debug)]
pub(crate) struct Float {
    negative: bool,
    mantissa: BigUint,
    exponent: i64,
    precision: u64,
}

/// Drops what is beyond `precision` bits; `sticky` says that there is something below the last bit.
fn round(mantissa: BigUint, exponent: i64, sticky: bool, precision: u64) -> (BigUint, i64) {
    let bits = mantissa.bits();
    let Some(drop) = bits.checked_sub(precision).filter(|drop| *drop > 0) else {
        return (mantissa, exponent);
    };
    let half = mantissa.bit(drop - 1);
    let rest = sticky || mantissa.trailing_zeros().is_some_and(|zeros| zeros < drop - 1);
    let mut kept = mantissa >> drop;
    if half && (rest || kept.bit(0)) {
        kept += 1u32;
    }
    // A carry out of the mantissa leaves a power of two: one bit more, but all zeros.
    if kept.bits() > precision {
        return (kept >> 1u32, exponent.saturating_add_unsigned(drop + 1));
    }
    (kept, exponent.saturating_add_unsigned(drop))
}

/// `5^power`, rounded in steps as Go does.
fn power_of_five(power: u64, precision: u64) -> Float {
    const EXACT: u64 = 27;
    if power <= EXACT {
        return Float::of(false, BigUint::from(5u32).pow(power as u32), 0, precision);
    }
    let mut result = Float::of(false, BigUint::from(5u32).pow(EXACT as u32), 0, precision);
    let mut left = power - EXACT;
    let mut factor = Float::of(false, BigUint::from(5u32), 0, precision + 64);
    while left > 0 {
        if left & 1 != 0 {
            result = result.times(&factor, precision);
        }
        factor = factor.times(&factor, precision + 64);
        left >>= 1;
    }
    result
}

impl Float {
    fn of(negative: bool, mantissa: BigUint, exponent: i64, precision: u64) -> Float {
        let (mantissa, exponent) = round(mantissa, exponent, false, precision);
        Float { negative, mantissa, exponent, precision }
    }

    /// An integer, in as many bits as it needs.
    pub(crate) fn from_integer(value: &BigInt) -> Float {
        let precision = value.bits().max(PRECISION);
        Float::of(value.sign() == Sign::Minus, value.magnitude().clone(), 0, precision)
    }

    /// `mantissa × 10^ten × 2^two`, as read from text.
    pub(crate) fn from_parts(negative: bool, mantissa: BigUint, ten: i64, two: i64) -> Float {
        if mantissa.bits() == 0 {
            return Float { negative, mantissa, exponent: 0, precision: PRECISION };
        }
        let exponent = two.saturating_add(ten);
        if ten == 0 {
            return Float::of(negative, mantissa, exponent, PRECISION);
        }
        let five = power_of_five(ten.unsigned_abs(), PRECISION + 64);
        let exact = Float { negative, mantissa, exponent, precision: PRECISION };
        if ten > 0 { exact.times(&five, PRECISION) } else { exact.over(&five, PRECISION) }
    }

    /// One half.
    pub(crate) fn half() -> Float {
        Float { negative: false, mantissa: BigUint::from(1u32), exponent: -1, precision: 53 }
    }

    /// Zero.
    pub(crate) fn zero() -> Float {
        Float { negative: false, mantissa: BigUint::ZERO, exponent: 0, precision: PRECISION }
    }

    /// One, in the bits of a float64.
    pub(crate) fn one() -> Float {
        Float { negative: false, mantissa: BigUint::from(1u32), exponent: 0, precision: 53 }
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.negative
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.mantissa.bits() == 0
    }

    pub(crate) fn abs(mut self) -> Float {
        self.negative = false;
        self
    }

    pub(crate) fn negated(mut self) -> Float {
        self.negative = !self.negative;
        self
    }

    /// The sum, in the bits of the wider one.
    pub(crate) fn plus(&self, other: &Float) -> Float {
        let precision = self.precision.max(other.precision);
        match (self.is_zero(), other.is_zero()) {
            (true, true) => {
                let negative = self.negative && other.negative;
                return Float { negative, mantissa: BigUint::ZERO, exponent: 0, precision };
            }
            (true, false) => return Float { precision, ..other.clone() },
            (false, true) => return Float { precision, ..self.clone() },
            (false, false) => {}
        }
        let exponent = self.exponent.min(other.exponent);
        let aligned = |x: &Float| &x.mantissa << x.exponent.abs_diff(exponent);
        let (a, b) = (aligned(self), aligned(other));
        if self.negative == other.negative {
            return Float::of(self.negative, a + b, exponent, precision);
        }
        match a.cmp(&b) {
            Ordering::Greater => Float::of(self.negative, a - b, exponent, precision),
            Ordering::Less => Float::of(other.negative, b - a, exponent, precision),
            Ordering::Equal => Float::of(false, BigUint::ZERO, 0, precision),
        }
    }

    /// The product, in so many bits.
    pub(crate) fn times(&self, other: &Float, precision: u64) -> Float {
        let mantissa = &self.mantissa * &other.mantissa;
        let exponent = if mantissa.bits() == 0 { 0 } else { self.exponent.saturating_add(other.exponent) };
        Float::of(self.negative != other.negative, mantissa, exponent, precision)
    }

    /// The quotient, in so many bits; the divisor is not zero.
    pub(crate) fn over(&self, other: &Float, precision: u64) -> Float {
        let negative = self.negative != other.negative;
        if self.is_zero() || other.is_zero() {
            return Float { negative, mantissa: BigUint::ZERO, exponent: 0, precision };
        }
        // Two bits more than are kept, so that the rounding bit is exact and the remainder is below it.
        let shift = (other.mantissa.bits() + precision + 2).saturating_sub(self.mantissa.bits());
        let dividend = &self.mantissa << shift;
        let quotient = &dividend / &other.mantissa;
        let sticky = &quotient * &other.mantissa != dividend;
        let exponent = self.exponent.saturating_sub(other.exponent).saturating_sub_unsigned(shift);
        let (mantissa, exponent) = round(quotient, exponent, sticky, precision);
        Float { negative, mantissa, exponent, precision }
    }

    /// Without its fraction.
    pub(crate) fn truncated(&self) -> BigInt {
        let shift = self.exponent.unsigned_abs();
        let magnitude = if self.exponent >= 0 { &self.mantissa << shift } else { &self.mantissa >> shift };
        let sign = if self.negative { Sign::Minus } else { Sign::Plus };
        BigInt::from_biguint(sign, magnitude)
    }

    /// Whether it has no fraction.
    pub(crate) fn is_integer(&self) -> bool {
        self.exponent >= 0
            || self.mantissa.trailing_zeros().is_none_or(|zeros| zeros >= self.exponent.unsigned_abs())
    }

    /// Whether both are worth the same.
    pub(crate) fn equals(&self, other: &Float) -> bool {
        if self.is_zero() || other.is_zero() {
            return self.is_zero() && other.is_zero();
        }
        let exponent = self.exponent.min(other.exponent);
        let aligned = |x: &Float| &x.mantissa << x.exponent.abs_diff(exponent);
        self.negative == other.negative && aligned(self) == aligned(other)
    }

    /// How many bits stand before the binary point: a bound for the work of printing it.
    pub(crate) fn magnitude(&self) -> u64 {
        self.exponent.unsigned_abs().saturating_add(self.mantissa.bits())
    }

    /// The shortest text that is read back as this float: digits alone if it is whole, else with an exponent
    /// when it is below 10^-4 or not below 10^6.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        if self.negative {
            text.push('-');
        }
        let decimal = self.short().unwrap_or_else(|| self.shortest());
        if self.is_integer() || (-3..=6).contains(&decimal.point) {
            decimal.write_plain(&mut text);
        } else {
            decimal.write_scientific(&mut text);
        }
        text
    }

    /// The shortest digits, if they are those of the nearest float64: no other text of so few digits lies
    /// within half a unit of the last of 64 bits, and any shorter one would be that of the float64 too.
    fn short(&self) -> Option<Decimal> {
        let mantissa = u64::try_from(&self.mantissa).ok().filter(|mantissa| *mantissa != 0)?;
        let exponent = i32::try_from(self.exponent).ok().filter(|exponent| (-900..900).contains(exponent))?;
        if self.precision != PRECISION {
            return None;
        }
        let text = format!("{:e}", mantissa as f64 * 2f64.powi(exponent));
        let (digits, ten) = text.split_once('e')?;
        let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_digit).collect();
        let point = ten.parse::<i64>().ok()? + 1;
        let value = digits.iter().fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        let below = point - i64::try_from(digits.len()).ok()?;
        let read = Float::from_parts(false, BigUint::from(value), below, 0);
        read.equals(&Float { negative: false, ..self.clone() }).then_some(Decimal { digits, point })
    }

    /// The fewest digits that lie within half a unit of the last bit. Source: ftoa.go, `roundShortest`.
    fn shortest(&self) -> Decimal {
        let mut decimal = Decimal::new(self.mantissa.clone(), self.exponent);
        if decimal.digits.is_empty() {
            return decimal;
        }
        // One bit more than the precision: the last bit is half a unit.
        let bits = self.mantissa.bits();
        let shift = (self.precision + 1).saturating_sub(bits);
        let mantissa = &self.mantissa << shift;
        let exponent = self.exponent.saturating_sub_unsigned(shift);
        let inclusive = !mantissa.bit(1);
        let lower = Decimal::new(&mantissa - 1u32, exponent);
        let upper = Decimal::new(&mantissa + 1u32, exponent);
        for i in 0..decimal.digits.len() {
            let (l, m, u) = (lower.at(i), decimal.at(i), upper.at(i));
            let down = l != m || (inclusive && i + 1 == lower.digits.len());
            let up = m != u && (inclusive || m + 1 < u || i + 1 < upper.digits.len());
            match (down, up) {
                (true, true) => decimal.round(i + 1),
                (true, false) => decimal.round_down(i + 1),
                (false, true) => decimal.round_up(i + 1),
                (false, false) => continue,
            }
            break;
        }
        decimal
    }
}

/// `0.digits × 10^point`, without zeros at the end.
#[derive(Clone, Debug)]
struct Decimal {
    digits: Vec<u8>,
    point: i64,
}

impl Decimal {
    fn new(mut mantissa: BigUint, mut exponent: i64) -> Decimal {
        if exponent < 0 {
            let zeros = mantissa.trailing_zeros().unwrap_or(0).min(exponent.unsigned_abs());
            mantissa >>= zeros;
            exponent = exponent.saturating_add_unsigned(zeros);
        }
        let mut below = 0;
        if exponent >= 0 {
            mantissa <<= exponent.unsigned_abs();
        } else {
            // m / 2^n = m × 5^n / 10^n
            below = exponent.saturating_neg();
            mantissa *= BigUint::from(5u32).pow(u32::try_from(below).unwrap_or(u32::MAX));
        }
        if mantissa.bits() == 0 {
            return Decimal { digits: Vec::new(), point: 0 };
        }
        let mut digits = mantissa.to_string().into_bytes();
        let point = i64::try_from(digits.len()).unwrap_or(i64::MAX) - below;
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        Decimal { digits, point }
    }

    fn at(&self, i: usize) -> u8 {
        self.digits.get(i).copied().unwrap_or(b'0')
    }

    fn round(&mut self, n: usize) {
        if n >= self.digits.len() {
            return;
        }
        let digit = self.at(n);
        let up = if digit == b'5' && n + 1 == self.digits.len() {
            n > 0 && (self.at(n - 1) - b'0') & 1 != 0
        } else {
            digit >= b'5'
        };
        if up { self.round_up(n) } else { self.round_down(n) }
    }

    fn round_up(&mut self, n: usize) {
        if n >= self.digits.len() {
            return;
        }
        self.digits.truncate(n);
        while self.digits.last() == Some(&b'9') {
            self.digits.pop();
        }
        match self.digits.last_mut() {
            Some(last) => *last += 1,
            None => {
                self.digits.push(b'1');
                self.point += 1;
            }
        }
    }

    fn round_down(&mut self, n: usize) {
        self.digits.truncate(n);
        while self.digits.last() == Some(&b'0') {
            self.digits.pop();
        }
        if self.digits.is_empty() {
            self.point = 0;
        }
    }

    fn write_plain(&self, text: &mut String) {
        let count = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        if self.point <= 0 {
            text.push('0');
        }
        if self.point <= 0 && count > 0 {
            text.push('.');
            (self.point..0).for_each(|_| text.push('0'));
        }
        for (i, digit) in self.digits.iter().enumerate() {
            if i > 0 && i64::try_from(i) == Ok(self.point) {
                text.push('.');
            }
            text.push(char::from(*digit));
        }
        (count..self.point).for_each(|_| text.push('0'));
    }

    fn write_scientific(&self, text: &mut String) {
        for (i, digit) in self.digits.iter().enumerate() {
            if i == 1 {
                text.push('.');
            }
            text.push(char::from(*digit));
        }
        let exponent = self.point - 1;
        let sign = if exponent < 0 { '-' } else { '+' };
        text.push_str(&format!("e{sign}{:02}", exponent.unsigned_abs()));
    }
}
