//! Go's layouts: times as text by the example of `Mon Jan 2 15:04:05 MST 2006`.
//!
//! Source: `time/format.go`.

use super::civil::{Civil, days_before, days_in, is_leap, weekday};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// The names of days, from Sunday.
pub(super) const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// How an offset from UTC is written.
#[derive(Clone, Copy, PartialEq)]
struct Offset {
    /// `Z` for UTC.
    zulu: bool,
    colons: bool,
    minutes: bool,
    seconds: bool,
}

/// A part of a layout that stands for a part of a time.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    LongYear,
    Year,
    LongMonth,
    Month,
    NumberMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    SpaceDay,
    ZeroDay,
    SpaceDayOfYear,
    ZeroDayOfYear,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    Noon,
    LowerNoon,
    ZoneName,
    Zone(Offset),
    /// Separator, digits, and whether zeros at the end are left out.
    Fraction(u8, usize, bool),
}

const fn offset(zulu: bool, colons: bool, minutes: bool, seconds: bool) -> Part {
    Part::Zone(Offset { zulu, colons, minutes, seconds })
}

/// What a text can begin with, the longer before the shorter.
const PARTS: &[(&[u8], Part)] = &[
    (b"January", Part::LongMonth),
    (b"Monday", Part::LongWeekday),
    (b"MST", Part::ZoneName),
    (b"01", Part::ZeroMonth),
    (b"02", Part::ZeroDay),
    (b"03", Part::ZeroHour12),
    (b"04", Part::ZeroMinute),
    (b"05", Part::ZeroSecond),
    (b"06", Part::Year),
    (b"002", Part::ZeroDayOfYear),
    (b"15", Part::Hour),
    (b"1", Part::NumberMonth),
    (b"2006", Part::LongYear),
    (b"2", Part::Day),
    (b"__2", Part::SpaceDayOfYear),
    (b"_2", Part::SpaceDay),
    (b"3", Part::Hour12),
    (b"4", Part::Minute),
    (b"5", Part::Second),
    (b"PM", Part::Noon),
    (b"pm", Part::LowerNoon),
    (b"-070000", offset(false, false, true, true)),
    (b"-07:00:00", offset(false, true, true, true)),
    (b"-0700", offset(false, false, true, false)),
    (b"-07:00", offset(false, true, true, false)),
    (b"-07", offset(false, false, false, false)),
    (b"Z070000", offset(true, false, true, true)),
    (b"Z07:00:00", offset(true, true, true, true)),
    (b"Z0700", offset(true, false, true, false)),
    (b"Z07:00", offset(true, true, true, false)),
    (b"Z07", offset(true, false, false, false)),
];

/// The part that the text begins with, and its length.
fn part_at(text: &[u8]) -> Option<(Part, usize)> {
    let lower_follows = |at: usize| text.get(at).is_some_and(u8::is_ascii_lowercase);
    match text {
        // `_2006` is an underscore before a year.
        [b'_', rest @ ..] if rest.starts_with(b"2006") => return None,
        [b'J', b'a', b'n', ..] if !text.starts_with(b"January") => {
            return (!lower_follows(3)).then_some((Part::Month, 3));
        }
        [b'M', b'o', b'n', ..] if !text.starts_with(b"Monday") => {
            return (!lower_follows(3)).then_some((Part::Weekday, 3));
        }
        [separator @ (b'.' | b','), digit @ (b'0' | b'9'), ..] => {
            let count = text.iter().skip(1).take_while(|byte| *byte == digit).count();
            let ends = !text.get(1 + count).is_some_and(u8::is_ascii_digit);
            return ends.then_some((Part::Fraction(*separator, count, *digit == b'9'), 1 + count));
        }
        _ => {}
    }
    PARTS.iter().find(|(prefix, _)| text.starts_with(prefix)).map(|(prefix, part)| (*part, prefix.len()))
}

/// Plain text, the part after it, and the rest of the layout.
fn next_part(layout: &[u8]) -> (&[u8], Option<Part>, &[u8]) {
    for at in 0..layout.len() {
        let (plain, rest) = layout.split_at(at);
        if let Some((part, length)) = part_at(rest) {
            return (plain, Some(part), rest.get(length..).unwrap_or_default());
        }
    }
    (layout, None, &[])
}

fn padded(out: &mut Vec<u8>, value: i64, width: usize) {
    out.extend_from_slice(format!("{value:0width$}").as_bytes());
}

fn spaced(out: &mut Vec<u8>, value: i64, width: usize) {
    out.extend_from_slice(format!("{value:width$}").as_bytes());
}

/// A name of a list, from 0.
fn named(names: &[&'static str], index: usize) -> &'static str {
    names.get(index).copied().unwrap_or_default()
}

/// The time as text.
pub(super) fn format(layout: &[u8], unix: i64, ns: i64, offset: i64, zone: &str) -> Vec<u8> {
    let date = Civil::at(unix, offset);
    let month = named(&MONTHS, usize::try_from(date.month - 1).unwrap_or(0));
    let day = named(&DAYS, weekday(unix, offset));
    let hour12 = if date.hour % 12 == 0 { 12 } else { date.hour % 12 };
    let mut out = Vec::with_capacity(layout.len() + 16);
    let mut layout = layout;
    while !layout.is_empty() {
        let (plain, part, rest) = next_part(layout);
        out.extend_from_slice(plain);
        layout = rest;
        let Some(part) = part else { break };
        match part {
            Part::LongYear => padded(&mut out, date.year, 4),
            Part::Year => padded(&mut out, date.year.abs() % 100, 2),
            Part::LongMonth => out.extend_from_slice(month.as_bytes()),
            Part::Month => out.extend(month.bytes().take(3)),
            Part::NumberMonth => padded(&mut out, date.month, 0),
            Part::ZeroMonth => padded(&mut out, date.month, 2),
            Part::LongWeekday => out.extend_from_slice(day.as_bytes()),
            Part::Weekday => out.extend(day.bytes().take(3)),
            Part::Day => padded(&mut out, date.day, 0),
            Part::SpaceDay => spaced(&mut out, date.day, 2),
            Part::ZeroDay => padded(&mut out, date.day, 2),
            Part::SpaceDayOfYear => spaced(&mut out, date.day_of_year(), 3),
            Part::ZeroDayOfYear => padded(&mut out, date.day_of_year(), 3),
            Part::Hour => padded(&mut out, date.hour, 2),
            Part::Hour12 => padded(&mut out, hour12, 0),
            Part::ZeroHour12 => padded(&mut out, hour12, 2),
            Part::Minute => padded(&mut out, date.minute, 0),
            Part::ZeroMinute => padded(&mut out, date.minute, 2),
            Part::Second => padded(&mut out, date.second, 0),
            Part::ZeroSecond => padded(&mut out, date.second, 2),
            Part::Noon => out.extend_from_slice(if date.hour >= 12 { b"PM" } else { b"AM" }),
            Part::LowerNoon => out.extend_from_slice(if date.hour >= 12 { b"pm" } else { b"am" }),
            Part::ZoneName => out.extend_from_slice(zone.as_bytes()),
            Part::Zone(form) if form.zulu && offset == 0 => out.push(b'Z'),
            Part::Zone(form) => {
                let minutes = offset / 60;
                out.push(if minutes < 0 { b'-' } else { b'+' });
                padded(&mut out, minutes.abs() / 60, 2);
                if form.colons {
                    out.push(b':');
                }
                if form.minutes {
                    padded(&mut out, minutes.abs() % 60, 2);
                }
                if form.seconds {
                    if form.colons {
                        out.push(b':');
                    }
                    // Of less than a minute west the sign stays with the seconds.
                    padded(&mut out, if minutes < 0 { -offset % 60 } else { offset % 60 }, 2);
                }
            }
            Part::Fraction(_, _, true) if ns == 0 => {}
            Part::Fraction(separator, digits, trim) => {
                out.push(separator);
                let text = format!("{ns:09}");
                let shown = text.get(..digits.min(9)).unwrap_or(&text);
                let shown = if trim { shown.trim_end_matches('0') } else { shown };
                if trim && shown.is_empty() {
                    out.pop();
                }
                out.extend_from_slice(shown.as_bytes());
            }
        }
    }
    out
}

/// Takes one or two digits; two if they are fixed.
fn number(value: &mut &[u8], fixed: bool) -> Option<i64> {
    let (number, rest) = match value {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', rest @ ..] => {
            (i64::from(a - b'0') * 10 + i64::from(b - b'0'), rest)
        }
        [a @ b'0'..=b'9', rest @ ..] if !fixed => (i64::from(a - b'0'), rest),
        _ => return None,
    };
    *value = rest;
    Some(number)
}

fn within(value: i64, from: i64, to: i64) -> Option<i64> {
    (from..=to).contains(&value).then_some(value)
}

/// Takes so many bytes.
fn take<'a>(value: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = value.split_at_checked(count)?;
    *value = rest;
    Some(taken)
}

/// Takes a name, in any case: its index.
fn name(value: &mut &[u8], names: &[&str], length: Option<usize>) -> Option<i64> {
    for (index, name) in names.iter().enumerate() {
        let name = name.as_bytes();
        let name = name.get(..length.unwrap_or(name.len())).unwrap_or_default();
        if value.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
            take(value, name.len())?;
            return i64::try_from(index).ok();
        }
    }
    None
}

/// An integer with a sign, all of the text.
fn signed(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .try_fold(0i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(digit - b'0')))?;
    Some(if text.starts_with(b"-") { -value } else { value })
}

/// Nanoseconds of a separator and digits; what is beyond nine digits is cut.
fn nanoseconds(text: &[u8]) -> Option<i64> {
    let (b'.' | b',') = text.first()? else { return None };
    let digits = text.get(1..text.len().min(10)).unwrap_or_default();
    let value = signed(digits).filter(|value| *value >= 0)?;
    Some((digits.len()..9).fold(value, |value, _| value * 10))
}

/// How long an abbreviation of a zone is that the value begins with.
fn abbreviation(value: &[u8]) -> Option<usize> {
    let signed_hours = |text: &[u8]| {
        let (b'+' | b'-') = text.first()? else { return None };
        let digits = text.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
        let hours = text
            .get(1..1 + digits)?
            .iter()
            .try_fold(0i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(digit - b'0')))?;
        (digits > 0 && hours <= 23).then_some(1 + digits)
    };
    if value.len() < 3 {
        return None;
    }
    if value.starts_with(b"ChST") || value.starts_with(b"MeST") {
        return Some(4);
    }
    if let Some(rest) = value.strip_prefix(b"GMT") {
        return Some(3 + signed_hours(rest).unwrap_or(0));
    }
    if let [b'+' | b'-', ..] = value {
        return signed_hours(value);
    }
    let upper = value.iter().take(6).take_while(|byte| byte.is_ascii_uppercase()).count();
    match upper {
        3 => Some(3),
        4 if value.get(3) == Some(&b'T') || value.starts_with(b"WITA") => Some(4),
        5 if value.get(4) == Some(&b'T') => Some(5),
        _ => None,
    }
}

/// Takes the plain text of a layout: a run of spaces matches any number of them.
fn skip(value: &mut &[u8], plain: &[u8]) -> Option<()> {
    let spaces = |text: &[u8]| text.iter().take_while(|byte| **byte == b' ').count();
    let mut plain = plain;
    while let [first, rest @ ..] = plain {
        if *first == b' ' {
            if value.first().is_some_and(|byte| *byte != b' ') {
                return None;
            }
            plain = plain.get(spaces(plain)..).unwrap_or_default();
            *value = value.get(spaces(value)..).unwrap_or_default();
            continue;
        }
        if value.first() != Some(first) {
            return None;
        }
        take(value, 1)?;
        plain = rest;
    }
    Some(())
}

/// What a text has said so far.
#[derive(Default)]
struct Said {
    year: i64,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    ns: i64,
    noon: Option<bool>,
    utc: bool,
    offset: Option<i64>,
}

/// The instant that a text says: seconds since the Unix epoch, and nanoseconds. An abbreviation of a zone
/// changes nothing: only UTC is known.
pub(in crate::builtins) fn parse(layout: &[u8], value: &[u8]) -> Option<(i64, i64)> {
    let mut said = Said::default();
    let (mut layout, mut value) = (layout, value);
    loop {
        let (plain, part, rest) = next_part(layout);
        skip(&mut value, plain)?;
        let Some(part) = part else { break };
        layout = rest;
        take_part(&mut said, part, &mut value, layout)?;
    }
    if !value.is_empty() {
        return None;
    }
    match said.noon {
        Some(true) if said.hour < 12 => said.hour += 12,
        Some(false) if said.hour == 12 => said.hour = 0,
        _ => {}
    }
    if let Some(of_year) = said.day_of_year {
        day_of_year(&mut said, of_year)?;
    }
    let (month, day) = (said.month.unwrap_or(1), said.day.unwrap_or(1));
    within(day, 1, days_in(month, said.year))?;
    let Said { year, hour, minute, second, .. } = said;
    let unix = Civil { year, month, day, hour, minute, second }.unix();
    // Go marks "no offset" with -1.
    let offset = said.offset.filter(|offset| !said.utc && *offset != -1).unwrap_or(0);
    Some((unix - offset, said.ns))
}

/// Month and day of a day of the year; what was said of them must agree.
fn day_of_year(said: &mut Said, of_year: i64) -> Option<()> {
    let leap = i64::from(is_leap(said.year));
    within(of_year, 1, 365 + leap)?;
    let before = |month: i64| days_before(month) + if month > 2 { leap } else { 0 };
    let month = (1..=12).rev().find(|month| before(*month) < of_year)?;
    let day = of_year - before(month);
    if said.month.is_some_and(|said| said != month) || said.day.is_some_and(|said| said != day) {
        return None;
    }
    (said.month, said.day) = (Some(month), Some(day));
    Some(())
}

/// Takes what one part of the layout stands for.
fn take_part(said: &mut Said, part: Part, value: &mut &[u8], layout: &[u8]) -> Option<()> {
    match part {
        Part::Year => {
            let year = signed(take(value, 2)?)?;
            said.year = year + if year >= 69 { 1_900 } else { 2_000 };
        }
        Part::LongYear => {
            value.first().filter(|byte| byte.is_ascii_digit())?;
            said.year = signed(take(value, 4)?)?;
        }
        Part::Month => said.month = Some(name(value, &MONTHS, Some(3))? + 1),
        Part::LongMonth => said.month = Some(name(value, &MONTHS, None)? + 1),
        Part::NumberMonth | Part::ZeroMonth => {
            said.month = Some(within(number(value, part == Part::ZeroMonth)?, 1, 12)?);
        }
        Part::Weekday => drop(name(value, &DAYS, Some(3))?),
        Part::LongWeekday => drop(name(value, &DAYS, None)?),
        Part::Day | Part::SpaceDay | Part::ZeroDay => {
            if part == Part::SpaceDay && value.first() == Some(&b' ') {
                take(value, 1)?;
            }
            said.day = Some(number(value, part == Part::ZeroDay)?);
        }
        Part::SpaceDayOfYear | Part::ZeroDayOfYear => {
            for _ in 0..2 {
                if part == Part::SpaceDayOfYear && value.first() == Some(&b' ') {
                    take(value, 1)?;
                }
            }
            let digits = value.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
            if part == Part::ZeroDayOfYear && digits != 3 {
                return None;
            }
            said.day_of_year = Some(signed(take(value, digits)?)?);
        }
        Part::Hour => said.hour = within(number(value, false)?, 0, 23)?,
        Part::Hour12 | Part::ZeroHour12 => {
            said.hour = within(number(value, part == Part::ZeroHour12)?, 0, 12)?;
        }
        Part::Minute | Part::ZeroMinute => {
            said.minute = within(number(value, part == Part::ZeroMinute)?, 0, 59)?;
        }
        Part::Second | Part::ZeroSecond => {
            said.second = within(number(value, part == Part::ZeroSecond)?, 0, 59)?;
            // A fraction may follow that the layout does not have.
            if let [b'.' | b',', b'0'..=b'9', ..] = value
                && !matches!(next_part(layout).1, Some(Part::Fraction(..)))
            {
                said.ns = fraction(value)?;
            }
        }
        Part::Noon | Part::LowerNoon => {
            said.noon = Some(match (take(value, 2)?, part) {
                (b"PM", Part::Noon) | (b"pm", Part::LowerNoon) => true,
                (b"AM", Part::Noon) | (b"am", Part::LowerNoon) => false,
                _ => return None,
            });
        }
        Part::Zone(form) if form.zulu && value.first() == Some(&b'Z') => {
            take(value, 1)?;
            said.utc = true;
        }
        Part::Zone(form) => said.offset = Some(take_offset(value, form)?),
        Part::ZoneName if value.starts_with(b"UTC") => {
            take(value, 3)?;
            said.utc = true;
        }
        Part::ZoneName => drop(take(value, abbreviation(value)?)?),
        Part::Fraction(_, digits, false) => said.ns = nanoseconds(take(value, 1 + digits)?)?,
        Part::Fraction(..) => {
            if let [b'.' | b',', b'0'..=b'9', ..] = value {
                said.ns = fraction(value)?;
            }
        }
    }
    Some(())
}

/// Takes a separator and all digits after it.
fn fraction(value: &mut &[u8]) -> Option<i64> {
    let digits = value.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
    nanoseconds(take(value, 1 + digits)?)
}

fn take_offset(value: &mut &[u8], form: Offset) -> Option<i64> {
    let sign = match take(value, 1)? {
        b"+" => 1,
        b"-" => -1,
        _ => return None,
    };
    let mut parts = [0; 3];
    for (i, part) in parts.iter_mut().enumerate() {
        if (i == 1 && !form.minutes) || (i == 2 && !form.seconds) {
            break;
        }
        if i > 0 && form.colons && take(value, 1)? != b":" {
            return None;
        }
        *part = number(&mut take(value, 2)?, true)?;
    }
    let [hours, minutes, seconds] = parts;
    let seconds = within(seconds, 0, 60)? + 60 * within(minutes, 0, 60)? + 3_600 * within(hours, 0, 24)?;
    Some(sign * seconds)
}
