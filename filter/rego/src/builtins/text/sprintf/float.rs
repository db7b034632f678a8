//! Text of float64 numbers as Go's `strconv` writes it. Digits come from Rust's own exact printing.

use crate::value::shortest;

/// Rust prints at most so many digits after the point; all after them are zeros, since no float64 has more.
const MOST_PRECISION: usize = 1100;

/// Decimal digits without leading or trailing zeros, and where the point is: before the first digit it is 0.
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    point: i32,
}

/// Reads Rust's `d.ddde±x`.
fn decimal(text: &str) -> Decimal {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let negative = mantissa.starts_with('-');
    let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    let point = if digits.is_empty() { 0 } else { exponent.parse::<i32>().unwrap_or(0) + 1 };
    Decimal { negative, digits, point }
}

/// The number; no precision: as many digits as tell it from every other.
/// Source: `go:strconv`, `FormatFloat`.
pub(super) fn text(value: f64, verb: char, precision: Option<usize>) -> Vec<u8> {
    match (verb, precision) {
        ('b', _) => binary(value),
        ('x' | 'X', _) => hexadecimal(value, verb == 'X', precision),
        ('e' | 'E', None) => {
            let decimal = decimal(&shortest(value));
            let digits = decimal.digits.len().saturating_sub(1);
            exponential(&decimal, digits, verb)
        }
        ('e' | 'E', Some(precision)) => {
            exponential(&decimal(&format!("{value:.*e}", precision.min(MOST_PRECISION))), precision, verb)
        }
        ('f', None) => {
            let decimal = decimal(&shortest(value));
            let digits = (decimal.digits.len() as i32 - decimal.point).max(0) as usize;
            fixed(&decimal, digits)
        }
        ('f', Some(precision)) => {
            let shown = precision.min(MOST_PRECISION);
            let mut out = format!("{value:.shown$}").into_bytes();
            out.resize(out.len() + precision - shown, b'0');
            out
        }
        (_, None) => {
            let decimal = decimal(&shortest(value));
            let digits = decimal.digits.len();
            general(&decimal, digits, 6, verb)
        }
        (_, Some(precision)) => {
            let precision = precision.max(1);
            let decimal = decimal(&format!("{value:.*e}", (precision - 1).min(MOST_PRECISION)));
            let have = decimal.digits.len();
            let threshold = if precision > have && have as i32 >= decimal.point { have } else { precision };
            general(&decimal, precision, threshold, verb)
        }
    }
}

/// The form with an exponent where that is small, or not below the threshold.
fn general(decimal: &Decimal, precision: usize, threshold: usize, verb: char) -> Vec<u8> {
    let exponent = decimal.point - 1;
    let have = decimal.digits.len();
    if exponent < -4 || exponent >= threshold as i32 {
        let verb = if verb == 'G' { 'E' } else { 'e' };
        return exponential(decimal, precision.min(have).saturating_sub(1), verb);
    }
    let precision = if precision as i32 > decimal.point { have } else { precision };
    fixed(decimal, (precision as i32 - decimal.point).max(0) as usize)
}

fn exponential(decimal: &Decimal, precision: usize, verb: char) -> Vec<u8> {
    let mut out = Vec::with_capacity(precision + 8);
    if decimal.negative {
        out.push(b'-');
    }
    let mut digits = decimal.digits.iter().copied().chain(std::iter::repeat(b'0'));
    out.extend(digits.next());
    if precision > 0 {
        out.push(b'.');
        out.extend(digits.take(precision));
    }
    let exponent = if decimal.digits.is_empty() { 0 } else { decimal.point - 1 };
    let sign = if exponent < 0 { '-' } else { '+' };
    out.extend_from_slice(format!("{verb}{sign}{:02}", exponent.unsigned_abs()).as_bytes());
    out
}

fn fixed(decimal: &Decimal, precision: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(precision + 8);
    if decimal.negative {
        out.push(b'-');
    }
    let digit =
        |at: i32| usize::try_from(at).ok().and_then(|at| decimal.digits.get(at)).copied().unwrap_or(b'0');
    if decimal.point > 0 {
        out.extend((0..decimal.point).map(digit));
    } else {
        out.push(b'0');
    }
    if precision > 0 {
        out.push(b'.');
        out.extend((0..precision as i32).map(|at| digit(decimal.point + at)));
    }
    out
}

/// Mantissa and exponent of two: `mantissa × 2^exponent`.
fn parts(value: f64) -> (bool, u64, i32) {
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7FF) as i32;
    let fraction = bits & ((1 << 52) - 1);
    let (mantissa, exponent) = if exponent == 0 { (fraction, 1) } else { (fraction | 1 << 52, exponent) };
    (bits >> 63 == 1, mantissa, exponent - 1023)
}

/// `mantissa p exponent`, the mantissa whole.
fn binary(value: f64) -> Vec<u8> {
    let (negative, mantissa, exponent) = parts(value);
    let sign = if negative { "-" } else { "" };
    format!("{sign}{mantissa}p{:+}", exponent - 52).into_bytes()
}

fn hexadecimal(value: f64, upper: bool, precision: Option<usize>) -> Vec<u8> {
    let (negative, mut mantissa, mut exponent) = parts(value);
    if mantissa == 0 {
        exponent = 0;
    }
    // The first bit, if there is any, is bit 60.
    mantissa <<= 60 - 52;
    while mantissa != 0 && mantissa & (1 << 60) == 0 {
        mantissa <<= 1;
        exponent -= 1;
    }
    if let Some(precision) = precision.filter(|precision| *precision < 15) {
        let shift = precision as u32 * 4;
        let extra = (mantissa << shift) & ((1 << 60) - 1);
        mantissa >>= 60 - shift;
        if extra | (mantissa & 1) > 1 << 59 {
            mantissa += 1;
        }
        mantissa <<= 60 - shift;
        if mantissa & (1 << 61) != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let mut out = String::new();
    if negative {
        out.push('-');
    }
    out.push_str("0x");
    out.push(if mantissa >> 60 & 1 == 1 { '1' } else { '0' });
    mantissa <<= 4;
    match precision {
        None if mantissa != 0 => {
            out.push('.');
            while mantissa != 0 {
                out.push(char::from_digit((mantissa >> 60) as u32 & 15, 16).unwrap_or('0'));
                mantissa <<= 4;
            }
        }
        Some(precision) if precision > 0 => {
            out.push('.');
            for _ in 0..precision {
                out.push(char::from_digit((mantissa >> 60) as u32 & 15, 16).unwrap_or('0'));
                mantissa <<= 4;
            }
        }
        _ => {}
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    out.push_str(&format!("p{sign}{:02}", exponent.unsigned_abs()));
    if upper {
        out.make_ascii_uppercase();
    }
    out.into_bytes()
}

/// The `#` flag: a point always, and the zeros that the precision asks for. Source: `go:fmt`, `fmtFloat`.
pub(super) fn keep_point(number: &mut Vec<u8>, verb: char, precision: Option<usize>) {
    let mut wanted = match verb {
        'g' | 'G' | 'x' => precision.map_or(6, |precision| precision as i64),
        _ => 0,
    };
    let hexadecimal = matches!(verb, 'x' | 'X');
    let body = usize::from(number.first() == Some(&b'-'));
    let (mut point, mut seen) = (false, false);
    let mut end = number.len();
    for (at, byte) in number.iter().enumerate().skip(body) {
        match byte {
            b'.' => point = true,
            b'p' | b'P' => {
                end = at;
                break;
            }
            b'e' | b'E' if !hexadecimal => {
                end = at;
                break;
            }
            byte => {
                seen = seen || *byte != b'0';
                wanted -= i64::from(seen);
            }
        }
    }
    let tail = number.split_off(end);
    if !point {
        if number.get(body..) == Some(b"0") {
            wanted -= 1;
        }
        number.push(b'.');
    }
    number.resize(number.len() + wanted.max(0) as usize, b'0');
    number.extend_from_slice(&tail);
}
