//! What stands before the text of a line: when it was written, on which thread, and which Envoy's output it is.

use std::{sync::LazyLock, time::Duration};

use chrono::{NaiveDate, NaiveDateTime, Timelike};
use regex::bytes::{Captures, Regex};
use serde::{Deserialize, Serialize};

/// When something was logged: since 1970 by the clock that the log shows, whatever its time zone is; or the line's
/// number in seconds, where the log shows no clock.
pub type Moment = Duration;

/// How the times of a log are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// `10:51:00.123`
    Time,
    /// `11-21 10:51:00.123`, in a log of several days.
    Date,
    /// `line 17`, in a log without times.
    Lines,
}

/// What stands before the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub(super) time: Option<Stamp>,
    pub(super) thread: Option<u64>,
    /// What something else has written before Envoy's own part, such as a pod's name, without times and numbers.
    pub(super) source: String,
    /// Whether this is Envoy's default format, and where it ends.
    pub(super) end: Option<usize>,
}

/// A time as far as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    Full(Moment),
    /// Since midnight.
    OfDay(Duration),
}

const DATE: &str = r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)";
const TIME: &str = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?";

/// `[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v`, the default of Envoy's `--log-format`.
static DEFAULT: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(r"\[{DATE}[ T]{TIME}\]\[(?P<thread>\d+)\]\[\w+\]\[[\w.-]+\] (?:\[[^\]\[ ]*\] )?"))
});
static STAMP: LazyLock<Regex> = LazyLock::new(|| regex(&format!(r"{DATE}[ T_]{TIME}")));
/// glog's: `I1121 10:51:00.123456 4711 context.cc:1195]`
static GLOG: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(r"\b[TDIWEFC](?P<month>\d\d)(?P<day>\d\d) +{TIME}(?: +(?P<thread>\d+))?"))
});
static OF_DAY: LazyLock<Regex> = LazyLock::new(|| regex(&format!(r"\b{TIME}\b")));
/// Seconds since 1970, from 2001 to 2286.
static UNIX: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b(?P<seconds>[1-9]\d{9})(?:\.(?P<fraction>\d{1,9}))?\b"));
static THREAD: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"\[(?P<bare>\d+)\]|\b(?:thread|tid|t)["']?[=: ]+["']?(?P<named>\d+)"#));

/// In bytes, so that what is no text is no hindrance.
fn regex(pattern: &str) -> Regex {
    let pattern = format!("(?-u){pattern}");
    Regex::new(&pattern).unwrap_or_else(|error| unreachable!("a pattern of this file: {error}"))
}

// === impl Head ===

impl Head {
    /// Reads what stands before the text.
    pub(super) fn read(head: &[u8]) -> Head {
        // The first one: what stands behind it was chosen by others.
        if let Some(found) = DEFAULT.captures(head) {
            let whole = found.get(0).map_or(0..0, |whole| whole.range());
            return Head {
                time: full(&found),
                thread: number(&found, "thread"),
                source: source(head.get(..whole.start).unwrap_or_default()),
                end: Some(whole.end),
            };
        }
        let bare = THREAD.captures_iter(head).find_map(|c| number(&c, "bare").or(number(&c, "named")));
        if let Some(found) = STAMP.captures(head) {
            return Head { time: full(&found), thread: bare, ..Head::default() };
        }
        if let Some(found) = GLOG.captures(head) {
            let thread = number(&found, "thread").or(bare);
            return Head { time: full(&found), thread, ..Head::default() };
        }
        if let Some(found) = OF_DAY.captures(head) {
            return Head { time: of_day(&found).map(Stamp::OfDay), thread: bare, ..Head::default() };
        }
        let unix = UNIX.captures(head).and_then(|found| {
            let seconds = Duration::from_secs(number(&found, "seconds")?);
            Some(Stamp::Full(seconds + fraction(&found)))
        });
        Head { time: unix, thread: bare, ..Head::default() }
    }
}

fn number(captures: &Captures<'_>, name: &str) -> Option<u64> {
    std::str::from_utf8(captures.name(name)?.as_bytes()).ok()?.parse().ok()
}

fn fraction(captures: &Captures<'_>) -> Duration {
    let Some(digits) = captures.name("fraction") else { return Duration::ZERO };
    let nanos = digits.as_bytes().iter().chain(std::iter::repeat(&b'0')).take(9);
    Duration::from_nanos(nanos.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// What is no time, as 25:00, is none.
fn of_day(captures: &Captures<'_>) -> Option<Duration> {
    let [hour, minute, second] = ["hour", "minute", "second"].map(|name| number(captures, name));
    let (hour, minute, second) = (hour?, minute?, second?);
    // The second 60 is a leap second.
    (hour < 24 && minute < 60 && second <= 60).then_some(())?;
    Some(Duration::from_secs(hour * 3600 + minute * 60 + second) + fraction(captures))
}

fn full(captures: &Captures<'_>) -> Option<Stamp> {
    // glog leaves the year out.
    let year = number(captures, "year").unwrap_or(1970);
    let [month, day] =
        ["month", "day"].map(|name| number(captures, name).and_then(|n| u32::try_from(n).ok()));
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month?, day?)?;
    let midnight = date.and_hms_opt(0, 0, 0)?.and_utc().timestamp();
    Some(Stamp::Full(Duration::from_secs(u64::try_from(midnight).ok()?) + of_day(captures)?))
}

/// A prefix without what is another one on every line.
fn source(prefix: &[u8]) -> String {
    let text = String::from_utf8_lossy(prefix);
    let steady = |word: &&str| !word.contains(':') && word.chars().any(char::is_alphanumeric);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words = text.split_whitespace().filter(steady).filter(|word| !months.contains(word));
    let words = words.filter(|word| !word.bytes().all(|byte| byte.is_ascii_digit()));
    // What container runtimes add: the stream, and whether the line is whole.
    let words: Vec<&str> = words.filter(|word| !["stdout", "stderr", "F", "P"].contains(word)).collect();
    words.join(" ").chars().take(120).collect()
}

// === impl Clock ===

impl Clock {
    /// A moment as the log shows it.
    #[must_use]
    pub fn shown(self, moment: Moment) -> String {
        if self == Clock::Lines {
            return format!("line {}", moment.as_secs());
        }
        let seconds = i64::try_from(moment.as_secs()).ok();
        let time =
            seconds.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, moment.subsec_nanos()));
        let Some(time) = time.map(|time| time.naive_utc()) else { return "?".to_owned() };
        let clock = of(&time);
        match self {
            Clock::Date => format!("{} {clock}", time.date().to_string().get(5..).unwrap_or_default()),
            _ => clock,
        }
    }
}

fn of(time: &NaiveDateTime) -> String {
    let millis = time.nanosecond() / 1_000_000;
    format!("{:02}:{:02}:{:02}.{millis:03}", time.hour(), time.minute(), time.second())
}

/// Reads what [`Clock::shown`] and logs write, with a date or without one; without one, `day` is the day.
pub(super) fn moment(text: &str, day: Moment) -> Option<Moment> {
    // A minute is enough for a person.
    let padded = format!("{text}:00");
    let candidates = [text, padded.as_str()];
    candidates.into_iter().find_map(|text| {
        let bytes = text.as_bytes();
        let whole = |regex: &Regex| regex.find(bytes).is_some_and(|found| found.range() == (0..bytes.len()));
        if whole(&STAMP) {
            return match full(&STAMP.captures(bytes)?)? {
                Stamp::Full(moment) => Some(moment),
                Stamp::OfDay(_) => None,
            };
        }
        if whole(&OF_DAY) {
            let midnight = Duration::from_secs(day.as_secs() / 86_400 * 86_400);
            return Some(midnight + of_day(&OF_DAY.captures(bytes)?)?);
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 1_795_258_260;

    fn full_at(nanos: u32) -> Option<Stamp> {
        Some(Stamp::Full(Duration::new(AT, nanos)))
    }

    #[test]
    fn the_default_format_has_a_time_a_thread_and_an_end() {
        let head =
            b"[2026-11-21 10:51:00.123][4711][info][wasm] [source/extensions/common/wasm/context.cc:1195] ";
        let read = Head::read(head);
        assert_eq!((read.time, read.thread, read.end), (full_at(123_000_000), Some(4711), Some(head.len())));
        assert_eq!(read.source, "");
    }

    #[test]
    fn what_others_write_before_it_is_the_source_without_what_moves() {
        let source = |prefix: &str| {
            Head::read(format!("{prefix}[2026-11-21 10:51:00.123][15][info][wasm] [a.cc:1] ").as_bytes())
                .source
        };
        assert_eq!(source("[pod/envoy-a/envoy] "), "[pod/envoy-a/envoy]");
        assert_eq!(source("2026-11-21T10:51:00.123456789Z stderr F "), "");
        assert_eq!(source("envoy-1  | "), "envoy-1");
        assert_eq!(source("Nov 21 10:51:00 node-7 "), "node-7");
    }

    #[test]
    fn other_formats_give_what_they_have() {
        let read = |head: &str| {
            let head = Head::read(head.as_bytes());
            (head.time, head.thread, head.end)
        };
        assert_eq!(read("2026-11-21T10:51:00,5Z info [4711] "), (full_at(500_000_000), Some(4711), None));
        assert_eq!(read("1795258260.000001 tid=7 "), (full_at(1_000), Some(7), None));
        let glog = Some(Stamp::Full(Duration::from_secs(324 * 86_400 + 39_060)));
        assert_eq!(read("I1121 10:51:00 4711 context.cc:1195] "), (glog, Some(4711), None));
        assert_eq!(read("10:51:00 "), (Some(Stamp::OfDay(Duration::from_secs(39_060))), None, None));
        assert_eq!(read("25:51:00 2026-13-41 10:00 \u{1f}"), (None, None, None));
    }

    #[test]
    fn a_moment_is_told_as_the_log_shows_it_and_read_back() {
        let at = Duration::new(AT, 123_999_999);
        assert_eq!(Clock::Time.shown(at), "10:51:00.123");
        assert_eq!(Clock::Date.shown(at), "11-21 10:51:00.123");
        assert_eq!(Clock::Lines.shown(Duration::from_secs(17)), "line 17");
        let expected = Some(Duration::new(AT, 123_000_000));
        assert_eq!(moment("10:51:00.123", at), expected);
        assert_eq!(moment("2026-11-21 10:51:00.123", Duration::ZERO), expected);
        assert_eq!(moment("10:51", at), Some(Duration::from_secs(AT)));
        assert_eq!(moment("soon", at), None);
    }
}
