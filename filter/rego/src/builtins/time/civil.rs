//! The calendar: instants in seconds since the Unix epoch to dates and back.
//!
//! The arithmetic wraps where Go's does. Source: `time/time.go`.

/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;
/// Years before year 0 where Go counts days from: a March 1.
const ABSOLUTE_YEARS: u64 = 292_277_022_400;
/// Days from there to the Unix epoch.
const EPOCH_DAYS: u64 = 106_751_991_073_400;

/// A date and the time of day, in some zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::builtins) struct Civil {
    pub(in crate::builtins) year: i64,
    pub(in crate::builtins) month: i64,
    pub(in crate::builtins) day: i64,
    pub(in crate::builtins) hour: i64,
    pub(in crate::builtins) minute: i64,
    pub(in crate::builtins) second: i64,
}

pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(in crate::builtins) fn days_in(month: i64, year: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of a common year before its month.
pub(super) fn days_before(month: i64) -> i64 {
    (1..month).map(|month| days_in(month, 1)).sum()
}

/// Days since the Unix epoch of a day whose month is 1 to 12; the day may lie outside of it.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let early = u64::from(month < 3);
    let month = month as u64 + 12 * early;
    let year = (year as u64).wrapping_sub(early).wrapping_add(ABSOLUTE_YEARS);
    let of_year = (153 * month - 457) / 5;
    let of_century = 1461 * (year % 100) / 4;
    let century = (year / 100).wrapping_mul(146_097) / 4;
    let days = century.wrapping_add(of_century + of_year).wrapping_add(day as u64).wrapping_sub(1);
    days.wrapping_sub(EPOCH_DAYS) as i64
}

/// What is beyond the base goes to the next higher unit.
fn carry(high: i64, low: i64, base: i64) -> (i64, i64) {
    (high.wrapping_add(low.div_euclid(base)), low.rem_euclid(base))
}

impl Civil {
    /// The date at an instant, as clocks show it that are `offset` seconds ahead of UTC.
    pub(in crate::builtins) fn at(unix: i64, offset: i64) -> Civil {
        let local = unix.saturating_add(offset);
        let (days, seconds) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        // Days since March 1 of year 0, in eras of 400 years.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * of_year + 2) / 153;
        Civil {
            year: year_of_era + era * 400 + i64::from(month >= 10),
            month: if month < 10 { month + 3 } else { month - 9 },
            day: of_year - (153 * month + 2) / 5 + 1,
            hour: seconds / 3_600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }

    /// The instant when clocks of UTC show this; what lies beyond a unit is carried on.
    pub(in crate::builtins) fn unix(&self) -> i64 {
        let (year, month) = carry(self.year, self.month.wrapping_sub(1), 12);
        let (minute, second) = carry(self.minute, self.second, 60);
        let (hour, minute) = carry(self.hour, minute, 60);
        let (day, hour) = carry(self.day, hour, 24);
        let seconds = hour * 3_600 + minute * 60 + second;
        days_of(year, month + 1, day).wrapping_mul(DAY).wrapping_add(seconds)
    }

    /// The day of the year, from 1.
    pub(super) fn day_of_year(&self) -> i64 {
        days_before(self.month) + self.day + i64::from(self.month > 2 && is_leap(self.year))
    }
}

/// The day of the week, from Sunday.
pub(super) fn weekday(unix: i64, offset: i64) -> usize {
    let days = unix.saturating_add(offset).div_euclid(DAY);
    usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0)
}
