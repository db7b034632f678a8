//! Times, layouts, zones and durations.

use super::super::arguments::{Arg, a_number, txt};
use super::super::random::Random;
use super::glue;

pub(crate) fn a_time(r: &Random) -> String {
    let date = r.word(&[
        "2020-02-29",
        "2021-02-29",
        "1970-01-01",
        "2023-10-29",
        "2023-03-26",
        "0001-01-01",
        "9999-12-31",
        "1677-09-21",
        "2262-04-11",
        "2024-1-5",
        "2024-13-01",
        "2000-12-31",
        "2024-06-15",
    ]);
    let time = r.word(&[
        "T00:00:00",
        "T12:34:56",
        "T23:59:59.999999999",
        "T02:30:00.5",
        "T24:00:00",
        "t01:00:00",
        " 10:00:00",
        "T7:00:00",
        "T12:00:60",
        "T12:00:00,5",
        "T12:00:00.1234567891",
    ]);
    let zone = r.word(&["Z", "+02:00", "-07:30", "z", "", "+24:00", "+23:59", "-00:00", " UTC", "+0200"]);
    format!("{date}{time}{zone}")
}

pub(crate) fn a_layout(r: &Random) -> String {
    if r.chance(35) {
        return r
            .word(&[
                "",
                "ANSIC",
                "UnixDate",
                "RubyDate",
                "RFC822",
                "RFC822Z",
                "RFC850",
                "RFC1123",
                "RFC1123Z",
                "RFC3339",
                "RFC3339Nano",
                "Kitchen",
                "DateTime",
                "2006-01-02",
                "2006-01-02T15:04:05Z07:00",
            ])
            .into();
    }
    glue(
        r,
        6,
        &[
            "2006",
            "06",
            "January",
            "Jan",
            "01",
            "1",
            "_2",
            "02",
            "2",
            "002",
            "__2",
            "15",
            "03",
            "3",
            "04",
            "4",
            "05",
            "5",
            "PM",
            "pm",
            "Monday",
            "Mon",
            "MST",
            "Z0700",
            "Z07:00",
            "-0700",
            "-07:00",
            "-07",
            "Z07",
            ".000",
            ".999",
            ",000",
            ".000000000",
            " ",
            "-",
            ":",
            "/",
            "T",
            "x",
            "Z07:00:00",
            "0",
            "20060102",
        ],
    )
}

pub(crate) fn an_instant(r: &Random) -> Arg {
    let ns = match r.below(8) {
        0 => a_number(r),
        1 => Arg::Number(
            r.word(&[
                "0",
                "1e18",
                "1.5",
                "9223372036854775807",
                "-9223372036854775808",
                "9223372036854775808",
                "-1",
                "1582977600000000000",
                "1698537600000000000",
                "1679792400000000000",
            ])
            .into(),
        ),
        2 => Arg::Number(((r.next() as i64) / 2).to_string()),
        _ => Arg::Number(
            ((r.below(2_500_000_000) as i64 - 200_000_000) * 1_000_000_000 + r.below(3) as i64 * 123_456_789)
                .to_string(),
        ),
    };
    match r.below(6) {
        0..=2 => ns,
        3 | 4 => Arg::Array(vec![ns, a_zone(r)]),
        _ => Arg::Array(vec![ns, a_zone(r), txt(&a_layout(r))]),
    }
}

pub(crate) fn a_zone(r: &Random) -> Arg {
    txt(r.word(&[
        "",
        "UTC",
        "Local",
        "Europe/Berlin",
        "America/New_York",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "utc",
        "EST",
        "EST5EDT",
        "GMT",
        "Etc/GMT+5",
        "Africa/Cairo",
        "Pacific/Apia",
        "../UTC",
        "Nowhere",
        "+02:00",
        "America/Sao_Paulo",
        "Asia/Tehran",
    ]))
}

pub(crate) fn a_duration(r: &Random) -> String {
    if r.chance(30) {
        return r
            .word(&[
                "0",
                "",
                "1",
                "1 h",
                "1M",
                "300y",
                "1d-1h",
                "1dd",
                "0.3ns",
                "-1h",
                "+1h",
                "--1h",
                "1h-1m",
                ".s",
                "1.h",
                "9223372036854775807ns",
                "9223372036854775808ns",
                "1e3s",
                "1µs",
                "1μs",
                "292y",
            ])
            .into();
    }
    let mut s = String::from(r.word(&["", "", "-", "+"]));
    for _ in 0..1 + r.below(3) {
        s.push_str(r.word(&["1", "2", "1.5", "0.5", ".5", "5.", "10", "100", "0", "36", "1.25", "0.1"]));
        s.push_str(r.word(&["h", "m", "s", "ms", "us", "ns", "d", "w", "y", "µs", "x"]));
    }
    s
}
