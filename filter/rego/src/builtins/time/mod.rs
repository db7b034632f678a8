//! Time. Source: `v1/topdown/time.go`, Go's `time`.

pub(super) mod civil;
mod duration;
pub(super) mod layout;
mod zones;

use super::operands::{all, bytes, integer, number, string, text};
use super::{Builtin, Call, Fault, Type};
use crate::value::Value;
use civil::{Civil, days_in, weekday};
use num_traits::ToPrimitive;
use std::rc::Rc;
use zones::{Local, Zone};

const SOURCE: &str = "v1/topdown/time.go";
const INSTANT: Type = Type::Union(&[Type::Number, Type::Array(&[Type::Number, Type::String], None)]);
const INSTANTS: &[Type] = &[INSTANT];
const NUMBERS: Type = Type::Array(&[Type::Number, Type::Number, Type::Number], None);

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new(
        "time.add_date",
        &[Type::Number, Type::Number, Type::Number, Type::Number],
        Type::Number,
        add_date,
        SOURCE,
    ),
    Builtin::new("time.clock", INSTANTS, NUMBERS, clock, SOURCE),
    Builtin::new("time.date", INSTANTS, NUMBERS, date, SOURCE),
    Builtin::new(
        "time.diff",
        &[INSTANT, INSTANT],
        Type::Array(
            &[Type::Number, Type::Number, Type::Number, Type::Number, Type::Number, Type::Number],
            None,
        ),
        diff,
        SOURCE,
    ),
    Builtin::new(
        "time.format",
        &[Type::Union(&[
            Type::Number,
            Type::Array(&[Type::Number, Type::String], None),
            Type::Array(&[Type::Number, Type::String, Type::String], None),
        ])],
        Type::String,
        format,
        SOURCE,
    ),
    Builtin::new("time.now_ns", &[], Type::Number, now, SOURCE).nondeterministic(),
    Builtin::new("time.parse_duration_ns", &[Type::String], Type::Number, parse_duration, SOURCE),
    Builtin::new("time.parse_ns", &[Type::String, Type::String], Type::Number, parse, SOURCE),
    Builtin::new("time.parse_rfc3339_ns", &[Type::String], Type::Number, parse_rfc3339, SOURCE),
    Builtin::new("time.weekday", INSTANTS, Type::String, day_of_week, SOURCE),
];

const SECOND: i64 = 1_000_000_000;
const RFC3339: &[u8] = b"2006-01-02T15:04:05Z07:00";
const RFC3339_NANO: &[u8] = b"2006-01-02T15:04:05.999999999Z07:00";
/// The longest layout.
const MOST_LAYOUT: usize = 1_024;

/// Layouts that have a name.
fn named_layout(name: &[u8]) -> &[u8] {
    match name {
        b"ANSIC" => b"Mon Jan _2 15:04:05 2006",
        b"UnixDate" => b"Mon Jan _2 15:04:05 MST 2006",
        b"RubyDate" => b"Mon Jan 02 15:04:05 -0700 2006",
        b"RFC822" => b"02 Jan 06 15:04 MST",
        b"RFC822Z" => b"02 Jan 06 15:04 -0700",
        b"RFC850" => b"Monday, 02-Jan-06 15:04:05 MST",
        b"RFC1123" => b"Mon, 02 Jan 2006 15:04:05 MST",
        b"RFC1123Z" => b"Mon, 02 Jan 2006 15:04:05 -0700",
        b"RFC3339" => RFC3339,
        b"RFC3339Nano" => RFC3339_NANO,
        layout => layout,
    }
}

/// An instant in a zone.
struct Instant<'a> {
    unix: i64,
    ns: i64,
    /// `None` is UTC.
    zone: Option<Rc<Zone>>,
    layout: &'a [u8],
}

impl<'a> Instant<'a> {
    /// Nanoseconds, or an array of them, the name of a zone, and a layout.
    fn of(call: &mut Call<'_>, value: &'a Value) -> Result<Instant<'a>, Fault> {
        let (ns, zone, layout) = match value {
            Value::Number(_) => (value, None, None),
            Value::Array(array) => match array.items() {
                [ns] => (ns, None, None),
                [ns, zone] => (ns, Some(zone), None),
                [ns, zone, layout, ..] => (ns, Some(zone), Some(layout)),
                [] => return Err(Fault::undefined("an instant must have nanoseconds")),
            },
            _ => return Err(Fault::undefined("an instant must be a number or an array")),
        };
        let number = number(ns)?;
        let zone = match zone.map(string).transpose()? {
            None => None,
            Some(name) => match name.as_str() {
                // The zone of the process is UTC.
                Some("" | "UTC" | "Local") => None,
                name => {
                    // Looking a name up and unpacking the zone.
                    call.step(256)?;
                    let zone = name.and_then(zones::zone);
                    Some(zone.ok_or(Fault::undefined("an unknown time zone"))?)
                }
            },
        };
        let layout = layout.map(bytes).transpose()?.unwrap_or_default();
        let exact = match number.to_i64() {
            Some(exact) => Some(exact),
            // Rounded to 64 bits of mantissa before it is looked at.
            None => {
                call.step(number.to_text().len())?;
                let float = number.to_float()?;
                if float.is_integer() { float.truncated().to_i64() } else { None }
            }
        };
        let exact = exact.ok_or(Fault::undefined("nanoseconds must be an integer of 64 bits"))?;
        Ok(Instant { unix: exact.div_euclid(SECOND), ns: exact.rem_euclid(SECOND), zone, layout })
    }

    fn local(&self) -> Local {
        match &self.zone {
            Some(zone) => zone.at(self.unix),
            None => Local { offset: 0, name: "UTC".to_owned(), start: i64::MIN, end: i64::MAX },
        }
    }

    fn civil(&self) -> Civil {
        Civil::at(self.unix, self.local().offset)
    }
}

/// Nanoseconds since the Unix epoch, if they are of 64 bits.
fn nanoseconds(unix: i64, ns: i64) -> Result<Value, Fault> {
    let exact = i128::from(unix) * i128::from(SECOND) + i128::from(ns);
    let exact = i64::try_from(exact).map_err(|_| Fault::undefined("time outside of the range"))?;
    Ok(Value::from(exact))
}

fn numbers(call: &mut Call<'_>, numbers: &[i64]) -> Result<Value, Fault> {
    call.room(1 + numbers.len())?;
    Ok(Value::array(numbers.iter().map(|number| Value::from(*number)).collect())?)
}

fn now(call: &mut Call<'_>, _: &[Value]) -> Result<Value, Fault> {
    Ok(Value::from(call.now_ns))
}

fn date(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let civil = Instant::of(call, value)?.civil();
    numbers(call, &[civil.year, civil.month, civil.day])
}

fn clock(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let civil = Instant::of(call, value)?.civil();
    numbers(call, &[civil.hour, civil.minute, civil.second])
}

fn day_of_week(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let instant = Instant::of(call, value)?;
    let day = weekday(instant.unix, instant.local().offset);
    Ok(Value::from(layout::DAYS.get(day).copied().unwrap_or_default()))
}

/// Months and days beyond their ends are carried on: a year after February 29 is March 1.
fn add_date(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value, years, months, days] = all(args)?;
    let instant = Instant::of(call, value)?;
    let (years, months, days) = (integer(years)?, integer(months)?, integer(days)?);
    let mut civil = instant.civil();
    civil.year = civil.year.wrapping_add(years);
    civil.month = civil.month.wrapping_add(months);
    civil.day = civil.day.wrapping_add(days);
    let unix = match &instant.zone {
        Some(zone) => zone.unix(&civil),
        None => civil.unix(),
    };
    nanoseconds(unix, instant.ns)
}

/// Years, months, days and so on between two instants, as the zone of the first shows them.
fn diff(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    let first = Instant::of(call, a)?;
    let second = Instant::of(call, b)?;
    let mut instants = [(first.unix, first.ns), (second.unix, second.ns)];
    if (second.unix, second.ns) < (first.unix, first.ns) {
        instants.reverse();
    }
    let [from, to] = instants.map(|(unix, _)| {
        let offset = first.zone.as_ref().map_or(0, |zone| zone.at(unix).offset);
        Civil::at(unix, offset)
    });
    let (mut years, mut months, mut days) = (to.year - from.year, to.month - from.month, to.day - from.day);
    let (mut hours, mut minutes) = (to.hour - from.hour, to.minute - from.minute);
    let mut seconds = to.second - from.second;
    let borrow = |low: &mut i64, base: i64, high: &mut i64| {
        if *low < 0 {
            *low += base;
            *high -= 1;
        }
    };
    borrow(&mut seconds, 60, &mut minutes);
    borrow(&mut minutes, 60, &mut hours);
    borrow(&mut hours, 24, &mut days);
    borrow(&mut days, days_in(from.month, from.year), &mut months);
    borrow(&mut months, 12, &mut years);
    numbers(call, &[years, months, days, hours, minutes, seconds])
}

fn format(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let instant = Instant::of(call, value)?;
    let layout = if instant.layout.is_empty() { RFC3339_NANO } else { named_layout(instant.layout) };
    check_layout(call, layout, layout)?;
    let local = instant.local();
    text(layout::format(layout, instant.unix, instant.ns, local.offset, &local.name))
}

/// Counts the work on a layout and a value.
fn check_layout(call: &mut Call<'_>, layout: &[u8], value: &[u8]) -> Result<(), Fault> {
    if layout.len() > MOST_LAYOUT {
        return Err(Fault::Limit(super::Limit::Bytes));
    }
    call.step(layout.len() * 4 + value.len() / 8)?;
    // A letter of a layout may stand for the name of a month.
    call.bytes(16 + 9 * layout.len())
}

fn parsed(call: &mut Call<'_>, layout: &[u8], value: &[u8]) -> Result<Value, Fault> {
    check_layout(call, layout, value)?;
    let (unix, ns) = layout::parse(layout, value).ok_or(Fault::undefined("not a time of this layout"))?;
    nanoseconds(unix, ns)
}

fn parse(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [layout, value] = all(args)?;
    parsed(call, named_layout(bytes(layout)?), bytes(value)?)
}

fn parse_rfc3339(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    parsed(call, RFC3339, bytes(value)?)
}

fn parse_duration(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let bytes = bytes(value)?;
    call.step(1 + bytes.len())?;
    call.bytes(bytes.len().saturating_mul(4))?;
    let ns = duration::parse(bytes).ok_or(Fault::undefined("not a duration"))?;
    Ok(Value::from(ns))
}
