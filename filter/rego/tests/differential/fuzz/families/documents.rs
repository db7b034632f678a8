//! Documents as text, and paths and patches into documents.

use super::super::arguments::{Arg, document, key, small_int, some_of, txt};
use super::super::random::Random;
use super::glue;

pub(crate) fn json_text(r: &Random) -> String {
    match r.below(10) {
        0..=4 => document(r, 3).to_string().replace("set()", "[]"),
        5 | 6 => glue(
            r,
            8,
            &[
                "{",
                "}",
                "[",
                "]",
                "\"a\"",
                ":",
                ",",
                "1",
                "1.0",
                "-0",
                "01",
                "1e5",
                "1e400",
                "true",
                "null",
                " ",
                "\n",
                "\"\\u00e9\"",
                "\"\\ud800\"",
                "\"\\ud83d\\ude00\"",
                "NaN",
                "'a'",
                "\"\\x\"",
                "\u{feff}",
                "\"\t\"",
                "+1",
                ".5",
                "1.",
                "//",
            ],
        ),
        _ => r
            .word(&[
                "{\"a\":1,\"a\":2}",
                "[1,]",
                "{\"a\":1}x",
                "  [1 , 2]\n",
                "\"\\ud800\"",
                "[1.50, 1e2, -0, 18446744073709551617]",
                "\"a\\/b\"",
                "{\"\":null}",
                "nul",
                "{\"b\":{\"c\":[]},\"a\":\"\\u0000\"}",
                "\"\\u003c\"",
                "tru",
                "[[[[[[]]]]]]",
                "1 2",
            ])
            .into(),
    }
}

pub(crate) fn yaml_text(r: &Random) -> String {
    const SCALARS: &[&str] = &[
        "1",
        "yes",
        "no",
        "on",
        "off",
        "Y",
        "n",
        "true",
        "True",
        "~",
        "null",
        "010",
        "0o17",
        "0x1F",
        "0b11",
        "1_000",
        "1.0",
        "1.5",
        "1e3",
        ".5",
        "1.",
        ".inf",
        ".nan",
        "12:30",
        "2020-01-01",
        "abc",
        "a b",
        "'yes'",
        "\"a\\nb\"",
        "\"\\x41\"",
        "-1",
        "+1",
        "08",
        "1e400",
        "18446744073709551616",
        "-9223372036854775809",
        "!!str 1",
        "!!int \"3\"",
        "!!float 1",
        "!!binary YQ==",
        "!foo x",
        "&x 1",
        "*x",
        "|\n  a\n  b\n",
        ">-\n  a\n  b\n",
        "a:b",
        "a: b",
        "#c",
        "a #c",
        "é",
        "@a",
        "`a",
        "%a",
        "\tx",
        "{a: 1, b: [1, 2]}",
        "[a, 'b', 3]",
        "{}",
        "[]",
        "- 1",
        "? a",
        "<<",
        "_1",
        "1__0",
        "0.1e1",
        "oN",
        "[a, b",
        "{a: 1",
    ];
    match r.below(4) {
        0 => r.word(SCALARS).into(),
        1 => {
            let n = 1 + r.below(4);
            (0..n)
                .map(|_| {
                    format!(
                        "{}: {}\n",
                        r.word(&[
                            "a", "b", "c", "yes", "1", "1.5", "1e3", "'x'", "~", "<<", "é", "010", "a b",
                            "? [1]"
                        ]),
                        r.word(SCALARS)
                    )
                })
                .collect()
        }
        2 => {
            let n = 1 + r.below(4);
            (0..n).map(|_| format!("- {}\n", r.word(SCALARS))).collect()
        }
        _ => glue(
            r,
            8,
            &[
                "a: ",
                "b:\n",
                "  c: 1\n",
                "- x\n",
                "  - y\n",
                "---\n",
                "...\n",
                "# c\n",
                "&a ",
                "*a",
                "\n",
                "'",
                "\"",
                "1",
                "yes",
                " ",
                ": ",
                "<<: *a\n",
                "|\n",
                ">\n",
                "  text\n",
                "%YAML 1.1\n",
                "? ",
                "[",
                "]",
                ",",
                "{",
                "}",
                "\t",
            ],
        ),
    }
}

pub(crate) fn a_path(r: &Random) -> Arg {
    if r.chance(60) {
        let mut s = String::new();
        for _ in 0..r.below(4) {
            s.push_str(r.word(&["/", "/", "/", "", "//"]));
            s.push_str(r.word(&["a", "b", "c", "0", "1", "01", "-", "a~1b", "~0", "", "x", "é", "-1", "2"]));
        }
        return txt(&s);
    }
    Arg::Array(some_of(r, |r| if r.chance(75) { key(r) } else { small_int(r) }))
}

pub(crate) fn a_patch(r: &Random) -> Arg {
    let mut pairs = vec![
        (txt("op"), txt(r.word(&["add", "remove", "replace", "move", "copy", "test", "add", "nop"]))),
        (txt("path"), a_path(r)),
    ];
    if r.chance(80) {
        pairs.push((txt("value"), document(r, 1)));
    }
    if r.chance(60) {
        pairs.push((txt("from"), a_path(r)));
    }
    if r.chance(5) {
        pairs.remove(0);
    }
    Arg::Object(pairs)
}
