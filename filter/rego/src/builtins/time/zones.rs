//! Time zones: what clocks show in a place, and when that changes.
//!
//! `zones.bin` holds every zone of the IANA database as Go ships it (`lib/time/zoneinfo.zip`), without the
//! changes that a zone's rule for the future says anyway; `tests/zones.py` makes it. Compressed: 28 KB of
//! module for 82 KB of table, which is unpacked when a zone is first asked for.

use super::civil::{Civil, DAY, days_before, days_in, is_leap};
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

/// The zones, packed.
static PACKED: &[u8] = include_bytes!("zones.bin");

/// How many zones are kept as they were read last.
const KEPT: usize = 8;

thread_local! {
    static TABLE: OnceCell<Vec<u8>> = const { OnceCell::new() };
    static LAST: RefCell<Vec<(String, Rc<Zone>)>> = const { RefCell::new(Vec::new()) };
}

/// What clocks show at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Local {
    /// Seconds ahead of UTC.
    pub(super) offset: i64,
    /// The abbreviation.
    pub(super) name: String,
    /// Since when, in seconds since the Unix epoch.
    pub(super) start: i64,
    /// Until when.
    pub(super) end: i64,
}

/// A zone.
#[derive(Debug)]
pub(super) struct Zone {
    kinds: Vec<(i64, String)>,
    changes: Vec<(i64, usize)>,
    rule: String,
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn short(&mut self) -> Option<usize> {
        Some(usize::from(u16::from_le_bytes(self.take(2)?.try_into().ok()?)))
    }

    fn number(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 || shift > 56 {
                return Some(value);
            }
        }
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        let half = (value >> 1) as i64;
        Some(if value & 1 == 0 { half } else { -half - 1 })
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }
}

/// The zone of this name, in exact case.
pub(super) fn zone(name: &str) -> Option<Rc<Zone>> {
    let kept =
        LAST.with_borrow(|last| last.iter().find(|(kept, _)| kept == name).map(|(_, zone)| Rc::clone(zone)));
    if kept.is_some() {
        return kept;
    }
    let zone = TABLE.with(|table| {
        let unpack = || miniz_oxide::inflate::decompress_to_vec_zlib(PACKED).unwrap_or_default();
        find(table.get_or_init(unpack), name)
    })?;
    let zone = Rc::new(zone);
    LAST.with_borrow_mut(|last| {
        if last.len() >= KEPT {
            last.remove(0);
        }
        last.push((name.to_owned(), Rc::clone(&zone)));
    });
    Some(zone)
}

fn find(table: &[u8], wanted: &str) -> Option<Zone> {
    let mut reader = Reader { rest: table };
    let (names, records, names_length) = (reader.short()?, reader.short()?, reader.short()?);
    let mut listed = Reader { rest: reader.take(names_length)? };
    let mut lengths = Reader { rest: reader.take(2 * records)? };
    let mut name = Vec::new();
    for _ in 0..names {
        let (kept, added) = (listed.byte()?, listed.byte()?);
        name.truncate(usize::from(kept));
        name.extend_from_slice(listed.take(usize::from(added))?);
        let index = listed.number()?;
        if name == wanted.as_bytes() {
            let mut before = 0;
            for _ in 0..index {
                before += lengths.short()?;
            }
            reader.take(before)?;
            return read(&mut reader);
        }
    }
    None
}

fn read(reader: &mut Reader<'_>) -> Option<Zone> {
    let count = reader.number()?;
    let mut kinds = Vec::new();
    for _ in 0..count {
        kinds.push((reader.signed()?, reader.text()?));
    }
    let rule = reader.text()?;
    let mut changes = Vec::new();
    let mut at = 0;
    for i in 0..reader.number()? {
        let kind = if i == 0 {
            at = reader.signed()?;
            reader.number()?
        } else {
            let packed = reader.number()?;
            let unit = if packed & 1 == 0 { 1_800 } else { 1 };
            at += i64::try_from((packed >> 1) / count).ok()? * unit;
            (packed >> 1) % count
        };
        changes.push((at, usize::try_from(kind).ok()?));
    }
    Some(Zone { kinds, changes, rule })
}

impl Zone {
    /// What clocks show at an instant.
    pub(super) fn at(&self, unix: i64) -> Local {
        let after = self.changes.partition_point(|(when, _)| *when <= unix);
        let start = after.checked_sub(1).and_then(|last| self.changes.get(last));
        let end = self.changes.get(after).map_or(i64::MAX, |(when, _)| *when);
        if end == i64::MAX
            && let Some(local) = future(&self.rule, start.map_or(i64::MIN, |(when, _)| *when), unix)
        {
            return local;
        }
        // The first kind is what holds before any change.
        let (offset, name) = self.kinds.get(start.map_or(0, |(_, kind)| *kind)).cloned().unwrap_or_default();
        Local { offset, name, start: start.map_or(i64::MIN, |(when, _)| *when), end }
    }

    /// The instant when clocks show this. Of two such instants, and where clocks skip it, the one that Go
    /// takes: source `time.Date`.
    pub(super) fn unix(&self, civil: &Civil) -> i64 {
        let unix = civil.unix();
        // So far away nothing can be shown; the arithmetic of rules need not hold there.
        if unix.unsigned_abs() > 1 << 40 {
            return unix;
        }
        let local = self.at(unix);
        let guess = unix - local.offset;
        if local.offset != 0 && !(local.start..local.end).contains(&guess) {
            return unix - self.at(guess).offset;
        }
        guess
    }
}

/// When a rule changes clocks, in seconds since the start of the year.
enum Day {
    /// From 1, without February 29.
    Julian(i64),
    /// From 0.
    OfYear(i64),
    /// Month, week (5 is the last), and weekday from Sunday.
    Month(i64, i64, i64),
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn eat(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn number(&mut self) -> Option<i64> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().ok()
    }

    fn name(&mut self) -> Option<&'a str> {
        let (name, rest) = if self.eat('<') {
            self.rest.split_once('>')?
        } else {
            let end = self.rest.find(|c: char| c.is_ascii_digit() || matches!(c, ',' | '-' | '+'));
            self.rest.split_at(end.unwrap_or(self.rest.len()))
        };
        self.rest = rest;
        Some(name)
    }

    fn time(&mut self) -> Option<i64> {
        let negative = self.eat('-');
        self.eat('+');
        let mut seconds = self.number()? * 3_600;
        if self.eat(':') {
            seconds += self.number()? * 60;
            if self.eat(':') {
                seconds += self.number()?;
            }
        }
        Some(if negative { -seconds } else { seconds })
    }

    fn change(&mut self) -> Option<(Day, i64)> {
        let day = if self.eat('J') {
            Day::Julian(self.number()?)
        } else if self.eat('M') {
            let month = self.number()?;
            self.eat('.').then_some(())?;
            let week = self.number()?;
            self.eat('.').then_some(())?;
            Day::Month(month, week, self.number()?)
        } else {
            Day::OfYear(self.number()?)
        };
        let time = if self.eat('/') { self.time()? } else { 7_200 };
        Some((day, time))
    }
}

/// The second of the year when clocks that are `offset` ahead are changed.
fn second_of_year(year: i64, (day, time): &(Day, i64), offset: i64) -> i64 {
    let days = match *day {
        Day::Julian(day) => day - 1 + i64::from(is_leap(year) && day >= 60),
        Day::OfYear(day) => day,
        Day::Month(month, week, weekday) => {
            let first = Civil { year, month, day: 1, hour: 0, minute: 0, second: 0 };
            let starts = super::civil::weekday(first.unix(), 0) as i64;
            let mut day = (weekday - starts).rem_euclid(7);
            for _ in 1..week {
                if day + 7 < days_in(month, year) {
                    day += 7;
                }
            }
            day + days_before(month) + i64::from(is_leap(year) && month > 2)
        }
    };
    days * DAY + time - offset
}

/// What a rule (`CET-1CEST,M3.5.0,M10.5.0/3`) says of an instant. Source: `time/zoneinfo.go`, `tzset`.
fn future(rule: &str, since: i64, unix: i64) -> Option<Local> {
    let mut parser = Parser { rest: rule };
    let name = parser.name().filter(|name| !name.is_empty())?;
    let offset = -parser.time()?;
    let local = |name: &str, offset, start, end| Some(Local { offset, name: name.to_owned(), start, end });
    if parser.rest.is_empty() || parser.rest.starts_with(',') {
        return local(name, offset, since, i64::MAX);
    }
    let summer = parser.name()?;
    let ahead = if parser.rest.starts_with(',') { offset + 3_600 } else { -parser.time()? };
    parser.eat(',').then_some(())?;
    let starts = parser.change()?;
    parser.eat(',').then_some(())?;
    let ends = parser.change()?;
    let date = Civil::at(unix, 0);
    let of_year = (date.day_of_year() - 1) * DAY + unix.rem_euclid(DAY);
    let year = unix - of_year;
    let on = second_of_year(date.year, &starts, offset);
    let off = second_of_year(date.year, &ends, ahead);
    // South of the equator summer goes over the end of the year.
    let (first, second, outer, inner) = if off < on {
        (off, on, (summer, ahead), (name, offset))
    } else {
        (on, off, (name, offset), (summer, ahead))
    };
    if of_year < first {
        local(outer.0, outer.1, year, year + first)
    } else if of_year >= second {
        local(outer.0, outer.1, year + second, year + 365 * DAY)
    } else {
        local(inner.0, inner.1, year + first, year + second)
    }
}
