//! Numbers of a text. Source: `v1/ast/parser.go`, `parseNumber`.

use std::cmp::Ordering;

use crate::value::Number;

/// OPA takes numbers whose binary exponent is at most 100,000 either way: what `big.Float`, with its 64 bits, rounds to less
/// than 2^100,000 and to no less than 2^-100,001. These are the decimal exponents of those bounds, and their digits; what is
/// right in all fifty of these differs from the bound by less than anything that is written.
const MOST: (i64, &[u8]) = (30_102, b"99900209301438450791695475834093954956799711291464");
const LEAST: (i64, &[u8]) = (-30_104, b"50049945189934708339456629176972621584146387622949");

/// The number that `prefix` (a sign, a point, both or nothing) and `text` (a token) are together, or why it is none.
pub(super) fn literal(prefix: &str, text: &str) -> Result<Number, &'static str> {
    let pointed = prefix.ends_with('.');
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !pointed && whole.len() > 1 && whole.starts_with('0') {
        return Err("a number does not begin with a zero; remove it");
    }
    if pointed && mantissa.contains('.') {
        return Err("a number has one point; remove the other");
    }
    let digits = || whole.bytes().chain(fraction.bytes());
    let zeros = digits().take_while(|digit| *digit == b'0').count();
    let exponent = exponent.parse::<i64>().map_err(|_| OUTSIDE)?;
    if zeros < whole.len() + fraction.len() {
        let before_point = if pointed { 0 } else { whole.len() as i64 };
        let exponent = exponent.saturating_add(before_point - zeros as i64 - 1);
        let beside = |bound: (i64, &[u8])| {
            exponent.cmp(&bound.0).then_with(|| digits().skip(zeros).cmp(bound.1.iter().copied()))
        };
        if beside(MOST) != Ordering::Less || beside(LEAST) == Ordering::Less {
            return Err(OUTSIDE);
        }
    }
    Ok(Number::from_text(&format!("{prefix}{text}")))
}

const OUTSIDE: &str =
    "OPA takes no numbers beyond 10^30102, nor closer to 0 than 10^-30103; write one of its size";
