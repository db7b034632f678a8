//! Patterns and what they are matched with: regular expressions, globs, formats.

use super::super::arguments::{Arg, a_text, any, some_of, txt};
use super::super::random::Random;
use super::glue;

pub(crate) fn a_regex(r: &Random) -> String {
    const PIECES: &[&str] = &[
        "a",
        "b",
        "c",
        "A",
        "1",
        "é",
        "日",
        ".",
        "a",
        "b",
        "/",
        "-",
        " ",
        "^",
        "$",
        "\\A",
        "\\z",
        "\\b",
        "\\B",
        "*",
        "+",
        "?",
        "*?",
        "+?",
        "??",
        "{2}",
        "{1,2}",
        "{,2}",
        "{2,}",
        "{0}",
        "{id}",
        "{",
        "}",
        "|",
        "(",
        ")",
        "(?:",
        "(?i)",
        "(?i:",
        "(?m)",
        "(?s)",
        "(?U)",
        "(?-i)",
        "(?P<n>",
        "(?<m>",
        "(?P<n>a)",
        "[abc]",
        "[^a]",
        "[a-c]",
        "[^a-c]",
        "[]a]",
        "[^]a]",
        "[[]",
        "[a&&b]",
        "[a-]",
        "[-a]",
        "[\\d-z]",
        "[\\w]",
        "[[:alpha:]]",
        "[[:^digit:]]",
        "[[:word:]]",
        "[\\]]",
        "[a-",
        "[",
        "]",
        "\\d",
        "\\D",
        "\\w",
        "\\W",
        "\\s",
        "\\S",
        "\\pL",
        "\\p{Lu}",
        "\\p{Greek}",
        "\\P{L}",
        "\\p{^L}",
        "\\p{Foo}",
        "\\x41",
        "\\x{e9}",
        "\\x{1F600}",
        "\\101",
        "\\0",
        "\\1",
        "\\n",
        "\\t",
        "\\.",
        "\\*",
        "\\/",
        "\\_",
        "\\-",
        "\\Qa.b\\E",
        "\\Q",
        "\\E",
        "\\C",
        "\\u0041",
        "\\",
        "(a|b)",
        "(a|ab)",
        "(a*)",
        "(?x)",
        "(?=a)",
        "x{1001}",
        "a{2}{3}",
        "(a{30}){30}",
        "a**",
        "\\ß",
        "K",
        "k",
        "ſ",
        "s",
    ];
    if r.chance(30) {
        return glue(
            r,
            4,
            &[
                "a", "b", ".", ".*", "a+", "[a-z]+", "^", "$", "/", "\\d+", "(a|b)", "x", "\\w*", "(?i)",
                "é", "1",
            ],
        );
    }
    glue(r, 6, PIECES)
}

pub(crate) fn a_subject(r: &Random) -> Arg {
    if r.chance(15) {
        return a_text(r);
    }
    txt(&glue(
        r,
        6,
        &[
            "a",
            "b",
            "c",
            "A",
            "B",
            "1",
            "2",
            "é",
            "É",
            "日",
            "/",
            "-",
            " ",
            "a",
            "b",
            "ab",
            "x",
            "K",
            "k",
            "K",
            "ſ",
            "s",
            "ß",
            "\n",
            "{",
            "}",
            "{id}",
            ".",
            "*",
            "_",
            "\u{1F600}",
            "Σ",
            "σ",
            "ς",
        ],
    ))
}

pub(crate) fn a_glob(r: &Random) -> String {
    if r.chance(40) {
        return glue(r, 5, &["a", "b", "*", "**", "/", ":", ".", "?", "api", "é"]);
    }
    glue(
        r,
        6,
        &[
            "a",
            "b",
            "c",
            "ab",
            "*",
            "*",
            "**",
            "***",
            "?",
            "??",
            "/",
            ".",
            ":",
            "[abc]",
            "[!abc]",
            "[a-c]",
            "[!a-c]",
            "[^a]",
            "[",
            "]",
            "[]",
            "[a-cx]",
            "[-a]",
            "{a,b}",
            "{a*,b}",
            "{ab,abc}",
            "{a,{b,c}}",
            "{",
            "}",
            ",",
            "{a,b",
            "\\*",
            "\\",
            "\\a",
            "é",
            "日",
            "[é]",
            "-",
            "!",
            "{/a,/b}",
            "{a,}",
        ],
    )
}

pub(crate) fn a_delimiters(r: &Random) -> Arg {
    match r.below(12) {
        0 | 1 => Arg::Null,
        2 | 3 => Arg::Array(vec![]),
        4 => any(r, 1),
        5 => Arg::Array(some_of(r, |r| txt(r.word(&["/", ":", ".", "é", "", "ab", "a"])))),
        6 => Arg::Array(vec![txt("/"), txt(".")]),
        7 | 8 => Arg::Array(vec![txt(":")]),
        _ => Arg::Array(vec![txt("/")]),
    }
}

pub(crate) fn a_format(r: &Random) -> String {
    let mut out = String::new();
    for _ in 0..1 + r.below(4) {
        if r.chance(30) {
            out.push_str(r.word(&["a", " ", "é", "/", "100%%", ":", "%%", "%"]));
            continue;
        }
        out.push('%');
        for _ in 0..*r.pick(&[0, 0, 0, 1, 1, 2]) {
            out.push_str(r.word(&["+", "-", "#", " ", "0"]));
        }
        if r.chance(10) {
            out.push_str(r.word(&["[1]", "[2]", "[3]", "[0]", "[", "[x]", "[1"]));
        }
        if r.chance(30) {
            out.push_str(r.word(&["1", "2", "5", "8", "10", "*", "20", "03"]));
        }
        if r.chance(25) {
            out.push_str(r.word(&[".", ".0", ".1", ".2", ".3", ".10", ".*", ".25"]));
        }
        out.push_str(r.word(&[
            "d", "s", "v", "d", "s", "v", "f", "x", "X", "q", "t", "T", "e", "E", "g", "G", "b", "o", "O",
            "c", "U", "F", "p", "w", "y", "é", "!", "i", "",
        ]));
    }
    out
}
