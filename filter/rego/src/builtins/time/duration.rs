//! Durations as text: Go's (`1h30m`), and OPA's days, weeks and years beside them.
//!
//! Source: `time.ParseDuration`, `v1/topdown/durationparser`.

/// Nanoseconds.
pub(super) fn parse(text: &[u8]) -> Option<i64> {
    if text.iter().any(|byte| matches!(byte, b'd' | b'w' | b'y')) { extended(text) } else { standard(text) }
}

/// Days, weeks and years are rewritten to hours, as a float64 that is printed.
fn extended(text: &[u8]) -> Option<i64> {
    let (sign, mut rest) = match text {
        [b'+' | b'-', ..] => text.split_at_checked(1)?,
        _ => text.split_at_checked(0)?,
    };
    let mut rewritten = sign.to_vec();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
        let (number, after) = rest.split_at_checked(digits)?;
        if number.is_empty() {
            return None;
        }
        let units: [&[u8]; 4] = [b"ms", b"us", "µs".as_bytes(), b"ns"];
        let length = match units.iter().find(|unit| after.starts_with(unit)) {
            Some(unit) => unit.len(),
            None => usize::from(after.first()?.is_ascii_lowercase()),
        };
        let (unit, after) = after.split_at_checked(length).filter(|(unit, _)| !unit.is_empty())?;
        let hours = match unit {
            b"d" => Some(24.0),
            b"w" => Some(7.0 * 24.0),
            b"y" => Some(365.0 * 24.0),
            _ => None,
        };
        match hours {
            Some(hours) => {
                let number: f64 = std::str::from_utf8(number).ok()?.parse().ok()?;
                if !number.is_finite() {
                    return None;
                }
                rewritten.extend_from_slice(format!("{}h", number * hours).as_bytes());
            }
            None => {
                rewritten.extend_from_slice(number);
                rewritten.extend_from_slice(unit);
            }
        }
        rest = after;
    }
    standard(&rewritten)
}

fn unit_ns(unit: &[u8]) -> Option<u64> {
    Some(match unit {
        b"ns" => 1,
        b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => 1_000,
        b"ms" => 1_000_000,
        b"s" => 1_000_000_000,
        b"m" => 60_000_000_000,
        b"h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// The most of 64 bits, with a sign in front.
const MOST: u64 = 1 << 63;

fn standard(text: &[u8]) -> Option<i64> {
    let (negative, mut rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if rest == b"0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (whole, mut after) = rest.split_at_checked(digits(rest))?;
        let mut fraction: &[u8] = b"";
        if let [b'.', tail @ ..] = after {
            (fraction, after) = tail.split_at_checked(digits(tail))?;
        }
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let length = after.iter().take_while(|byte| !byte.is_ascii_digit() && **byte != b'.').count();
        let (unit, after) = after.split_at_checked(length)?;
        let unit = unit_ns(unit)?;
        let whole = whole.iter().try_fold(0u64, |value, digit| {
            value.checked_mul(10)?.checked_add(u64::from(digit - b'0')).filter(|value| *value <= MOST)
        })?;
        if whole > MOST / unit {
            return None;
        }
        total = total.checked_add(whole * unit)?;
        total = total.checked_add(part(fraction, unit))?;
        if total > MOST {
            return None;
        }
        rest = after;
    }
    if negative {
        return Some((total as i64).wrapping_neg());
    }
    i64::try_from(total).ok()
}

/// A fraction of a unit: as many digits as fit 63 bits, in float64, cut.
fn part(digits: &[u8], unit: u64) -> u64 {
    let (mut value, mut scale) = (0u64, 1.0f64);
    for digit in digits {
        let Some(next) = value.checked_mul(10).map(|value| value + u64::from(digit - b'0')) else { break };
        if value > (MOST - 1) / 10 || next > MOST {
            break;
        }
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}
