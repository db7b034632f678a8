//! What has a notation of its own: addresses, versions, units, URIs, encoded text.

use super::super::arguments::{Arg, a_text, txt};
use super::super::random::Random;
use super::glue;

pub(crate) fn an_address(r: &Random) -> Arg {
    txt(r.word(&[
        "10.0.0.0/8",
        "10.0.0.1",
        "10.0.0.5/8",
        "192.168.0.0/16",
        "192.168.1.0/24",
        "192.168.1.0/25",
        "192.168.1.128/25",
        "0.0.0.0/0",
        "::/0",
        "::1",
        "::1/128",
        "2001:db8::/32",
        "2001:db8::1",
        "::ffff:10.0.0.1",
        "::ffff:10.0.0.0/104",
        "::ffff:0:0/96",
        "010.0.0.1",
        "10.0.0",
        "10.0.0.1/33",
        "10.0.0.1/08",
        "10.0.0.1/+8",
        "fe80::1%eth0",
        "",
        "a",
        "1.2.3.4/32",
        "255.255.255.255",
        "10.0.0.0/30",
        "10.0.0.4/30",
        "10.0.0.2",
        "200.1.1.1",
        "128.0.0.1",
        "::10.0.0.1",
        "2001:db8::/127",
        "10.0.0.0/31",
    ]))
}

pub(crate) fn a_semver(r: &Random) -> Arg {
    if r.chance(10) {
        return a_text(r);
    }
    txt(&format!(
        "{}{}.{}.{}{}{}",
        r.word(&["", "", "", "v", "V"]),
        r.word(&["1", "0", "2", "10", "01"]),
        r.word(&["0", "1", "2", "10"]),
        r.word(&["0", "1", "3", "9223372036854775808", "9", ""]),
        r.word(&[
            "",
            "",
            "-",
            "-1",
            "-alpha",
            "-alpha.1",
            "-alpha.beta",
            "-1.2",
            "-a-b",
            "-é",
            "-beta",
            "-alpha.2"
        ]),
        r.word(&["", "", "+", "+b1", "+1.2", "+é"])
    ))
}

pub(crate) fn units(r: &Random) -> Arg {
    txt(&format!(
        "{}{}",
        r.word(&[
            "1",
            "1.5",
            "0",
            "-1",
            "+1",
            "10",
            ".5",
            "5.",
            "1e3",
            "1e",
            "0.00000000001",
            "1_000",
            "\"1\"",
            "",
            "1e30",
            "99999999999999999999",
            "1 ",
            "0x10",
            "1.2.3",
            "3.7"
        ]),
        r.word(&[
            "", "", "m", "k", "K", "M", "g", "G", "t", "p", "P", "e", "E", "ki", "Ki", "KI", "mi", "mI",
            "Gi", "kb", "KB", "kib", "MiB", "x", "n", " k"
        ])
    ))
}

pub(crate) fn a_uri(r: &Random) -> Arg {
    txt(&glue(
        r,
        7,
        &[
            "http",
            "https",
            ":",
            "//",
            "/",
            "a",
            "example.com",
            ":80",
            ":",
            "?",
            "q=1",
            "&",
            "#",
            "f",
            "%20",
            "%zz",
            "%",
            " ",
            "@",
            "user:pw@",
            "[::1]",
            "[",
            "é",
            ".",
            "..",
            "mailto:",
            "+",
            "a b",
            "\u{7f}",
            "%2f",
            ";",
            "EXAMPLE.com",
            ":x",
        ],
    ))
}

pub(crate) fn encoded(r: &Random) -> Arg {
    txt(&glue(
        r,
        5,
        &[
            "YQ==", "YWI=", "YWJj", "YR==", "YQ", "YWI", "_-A=", "/+A=", "/w==", "=", "\n", "\r", "a", "-_",
            "YQ==YQ==", "61", "6", "ff", "FF", "C3A9", "zz", "0x61", " ",
        ],
    ))
}

pub(crate) fn query_text(r: &Random) -> Arg {
    txt(&glue(
        r,
        7,
        &[
            "a", "b", "=", "&", "=1", "a=1", "&b=2", "%20", "+", "%", "%zz", "%41", ";", "#", "é", "%ff",
            "[]", "a=b=c", "&&", " ", "\n",
        ],
    ))
}
