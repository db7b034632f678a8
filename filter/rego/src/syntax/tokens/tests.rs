//! Texts after `package t` and a line's end, and what the real `opa` 1.20.2 says of each: taken, or refused at this place.

use super::super::tree::Names;
use super::super::{Version, parse};
use super::{Kind, MOST_BYTES, MOST_TEMPLATES, PIECE, Reading, Tokens};

fn asked(text: &str) -> Option<(u32, u32)> {
    let text = format!("package t\n{text}");
    parse(0, &text, Version::V1, &mut Names::default()).err().map(|error| (error.line, error.col))
}

fn tokens(text: &str) -> Tokens {
    Reading::new(0, text).unwrap().all()
}

/// Kind and text of each token.
fn kinds(text: &str) -> Vec<(Kind, String)> {
    let tokens = tokens(text);
    let text = |start: u32, end: u32| tokens.text[start as usize..end as usize].to_owned();
    tokens.list.iter().map(|token| (token.kind, text(token.start, token.end))).collect()
}

#[rustfmt::skip]
const TAKEN: &[&str] = &[
    // Numbers.
    "p := 0", "p := -0", "p := - 1", "p := -\n1", "p := 1E5", "p := 1e+5", "p := 0e5", "p := 0E-3", "p := 0.0",
    "p := 1e30102", "p := -1e30102", "p := 9.99e30102", "p := 1e-30103", "p := 5.01e-30104", "p := 0e1000000",
    "p := 0.0e-9223372036854775808", "p := 12345678901234567890123456789012345678901234567890",
    "p := .5", "p := .01", "p := .0", "p := . 5", "p := -.5", "p := - . 5", "p := [.5, .1]", "p := a[.5]",
    "p := 1-1", "p := a-1",
    // Strings.
    "p := \"\"", "p := \"a\tb\"", "p := \"\\\\\\/\\b\\f\\n\\r\\t\\\"\"", "p := \"a\x7f\\n\"", "p := \"\\ud800\"",
    "p := \"a\rb\"", "p := \"é\u{1F600}\"", "p := ``", "p := `a\n\\q\"b`", "p := `a\rb`\nq := 1",
    // Template strings.
    "p := $\"\"", "p := $``", "p := $\"}\"", "p := $\"{1}}\"", "p := $\"{1}{2}\"", "p := $\"a{1\n}\"",
    "p := $\"{ 1 # c }\n }\"", "p := $\"{ {1: 2}[1] }\"", "p := $\"{\"a\"}\"", "p := $\"{$\"{1}\"}\"",
    "p := $\"\\{\"", "p := $\"a\t\\{\"", "p := $\"\\u00e9{1}\"", "p := $\"\\\\{1}\"", "p := $`\\\\{1}`",
    "p := $`\\q{1}\nb`", "p := $\"{`}`}\"", "p := [$\"a\", $`b`]",
    // Names, white space, comments.
    "a\u{663} := 1", "p := a\u{1D7D8}b", "p := a.b\u{663}", "p :=\r1\rq := 2", "p := 1\r\nq := 2\r\n", "p := 1 # c\rq",
    "p := 1 # \"`$\"", "p := 1 #", "# c\\", "p := a!=1", "p := {1}&{2}|{3}",
    // A comma at the end, and at the beginning.
    "p := [1,]", "p := {1,}", "p := {\"a\": 1,}", "p := f(1,)", "f(x,) := x", "p := set(1,)", "p := [,1]",
    "p := {,1}", "p := {,\"a\": 1}",
];

#[rustfmt::skip]
const REFUSED: &[(&str, (u32, u32))] = &[
    // Numbers.
    ("p := 01", (2, 6)), ("p := -01", (2, 7)), ("p := 00.5", (2, 6)), ("p := 1.", (2, 6)), ("p := 1.a", (2, 6)),
    ("p := 1e", (2, 6)), ("p := 1e+", (2, 6)), ("p := 0e", (2, 6)), ("p := 1e5x", (2, 6)), ("p := 0x10", (2, 6)),
    ("p := 1_0", (2, 6)), ("p := 1a := 2", (2, 6)), ("p := .5.5", (2, 7)), ("p := 0.5.5", (2, 6)),
    ("p := a.5", (2, 8)), ("p := x1.5", (2, 9)), ("p := 1e30103", (2, 6)), ("p := 9.9901e30102", (2, 6)),
    ("p := 1e-30104", (2, 6)), ("p := 5.0e-30104", (2, 6)), ("p := 1e1000000", (2, 6)),
    ("p := 0e9223372036854775808", (2, 6)), ("p := 1e99999999999999999999", (2, 6)),
    // Strings.
    ("p := \"a", (2, 6)), ("p := \"a\nq := 1", (2, 6)), ("p := \"a\\", (2, 6)), ("p := \"a\\\"", (2, 6)),
    ("p := \"\\q\"", (2, 6)), ("p := \"\\u12\"", (2, 6)), ("p := \"\\u12\",\"x\"", (2, 6)),
    ("p := \"a\tb\\n\"", (2, 6)), ("p := \"a\r\\nb\"", (2, 6)), ("p := `a", (2, 6)), ("p := `\n\n", (2, 6)),
    ("p := 'a'", (2, 6)),
    // Template strings.
    ("p := $\"a", (2, 6)), ("p := $\"a\n{1}\"", (2, 6)), ("p := $\"\\q{1}\"", (2, 6)),
    ("p := $\"\\u12{1}\"", (2, 6)), ("p := $\"a\t\\n\"", (2, 6)), ("p := $\"a{1}b", (2, 12)),
    ("p := $\"a{1}\\q\"", (2, 12)), ("p := $`a", (2, 6)), ("p := $`a{1}b\n", (2, 12)), ("p := $\"{}\"", (2, 9)),
    ("p := $\"{1\"", (2, 10)), ("p := $\"{1;2}\"", (2, 10)), ("p := $\"{1)}\"", (2, 10)), ("p := $ \"a\"", (2, 6)),
    ("p := $'a'", (2, 6)),
    // What is no token.
    ("p := !1", (2, 6)), ("p := a ! = 1", (2, 8)), ("p := $", (2, 6)), ("p := a@b", (2, 7)), ("p := a ~ b", (2, 8)),
    ("p := a ^ b", (2, 8)), ("p := a\\b", (2, 7)), ("p := é", (2, 6)), ("p := aé", (2, 7)), ("p := a.é", (2, 8)),
    ("\u{663} := 1", (2, 1)), ("p := 1\u{663}", (2, 6)), ("p := x\u{a0}", (2, 7)), ("p := 1\x0c", (2, 7)),
    ("p := a : = 1", (2, 8)),
    // Columns are characters.
    ("\tp := ?", (2, 7)), ("p := \"é\" ?", (2, 10)), ("p := \"\u{1F600}\" ?", (2, 10)), ("p := `\né` ?", (3, 4)),
    ("p := $\"é{1}\" ?", (2, 14)), ("p := 1 # é\n\r ?", (3, 3)),
    // The first of two mistakes is told.
    ("p := 1}\nq := \"a", (2, 7)), ("p := ]\nq := '", (2, 6)),
    // Commas.
    ("p := f(,)", (2, 8)), ("p := [,]", (2, 8)), ("p := [1,,]", (2, 9)), ("p[1,] := 2", (2, 4)),
];

#[test]
fn what_opa_takes_is_taken() {
    for text in TAKEN {
        assert_eq!(asked(text), None, "{text:?}");
    }
}

#[test]
fn what_opa_refuses_is_refused_at_its_place() {
    for (text, place) in REFUSED {
        assert_eq!(asked(text), Some(*place), "{text:?}");
    }
}

/// Here OPA tells the place of the token before, or of the string or comment around.
#[test]
fn a_character_that_nobody_sees_is_told_with_its_place() {
    for (text, place) in [
        ("p := 1\0", (2, 7)),
        ("p := \"a\0b\"", (2, 8)),
        ("p := `\n\0", (3, 1)),
        ("p := 1 # a\0b", (2, 11)),
        ("p := $\"a{1}b\0\"", (2, 13)),
        ("p := \"a\u{feff}b\"", (2, 8)),
        ("p := 1 # \u{feff}", (2, 10)),
        ("p := \u{feff}1", (2, 6)),
        ("p := \u{feff}1\0", (2, 6)),
    ] {
        assert_eq!(asked(text), Some(place), "{text:?}");
    }
    let refused = tokens("p := \"a\u{feff}\"\0").fault;
    assert_eq!(refused.as_deref(), Some("a byte order mark stands here; remove it"));
}

#[test]
fn a_byte_order_mark_may_begin_the_text() {
    let at = |text: &str| {
        let tokens = tokens(text);
        let last = tokens.list.last().unwrap();
        (last.kind, last.pos.line, last.pos.col)
    };
    assert_eq!(at("\u{feff}package t ?"), (Kind::Illegal, 1, 12));
    assert_eq!(at("\u{feff}package t\n ?"), (Kind::Illegal, 2, 2));
    assert_eq!(at("\u{feff}\u{feff}package t"), (Kind::Illegal, 1, 2));
    assert_eq!(at("\u{feff}p\n"), (Kind::End, 2, 1));
}

#[test]
fn a_template_is_tokens_among_others() {
    use Kind::{End, Ident, Number, Part, Symbol, Template, TemplateEnd};
    let expected = [
        (Template, "$\""),
        (Part, "a\\{é"),
        (Symbol, "{"),
        (Symbol, "{"),
        (Ident, "x"),
        (Symbol, "}"),
        (Template, "$`"),
        (Symbol, "{"),
        (Number, "1"),
        (Symbol, "}"),
        (TemplateEnd, "`"),
        (Symbol, "}"),
        (Part, "}"),
        (TemplateEnd, "\""),
        (Symbol, "}"),
        (End, ""),
    ];
    let found = kinds("$\"a\\{é{{x}$`{1}`}}\"}");
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((kind, text), expected) in found.iter().zip(expected) {
        assert_eq!((*kind, text.as_str()), expected);
    }
}

#[test]
fn templates_nest_within_a_bound() {
    let nested = |depth: usize| tokens(&format!("{}1{}", "$\"{".repeat(depth), "}\"".repeat(depth))).fault;
    assert_eq!(nested(MOST_TEMPLATES), None);
    assert!(nested(MOST_TEMPLATES + 1).unwrap().contains("nested too deeply"));
    assert!(nested(100_000).is_some());
}

/// A piece ends between two tokens, wherever that is.
#[test]
fn a_long_text_is_read_in_pieces() {
    let mut text = String::new();
    while text.len() < 20 * PIECE {
        text.push_str("p := `a\n` # b\n\tq := $\"é {x} \\u00e9\"; 1.5e3 >= -2\r\n");
    }
    let mut reading = Reading::new(0, &text).unwrap();
    let mut steps = 1;
    while !reading.step() {
        steps += 1;
    }
    assert!((19..=21).contains(&steps), "{steps}");
    let tokens = reading.finish();
    let lines = text.lines().count() as u32;
    assert_eq!(
        (tokens.list.last().unwrap().kind, tokens.list.last().unwrap().pos.line),
        (Kind::End, lines + 1)
    );
    assert_eq!(tokens.list.len(), lines as usize / 3 * 17 + 1);
    let newline = tokens.list.iter().filter(|token| token.newline).count();
    assert_eq!(newline, lines as usize / 3 * 2);
}

/// Whatever is repeated 300,000 times is read in the time that its bytes take.
#[test]
fn time_is_linear_in_the_text() {
    for unit in [
        "a",
        "1",
        "\"",
        "`",
        "$\"",
        "{",
        "}",
        "\\",
        "\r",
        "#",
        "\u{663}",
        "\"\\u00e9\"",
        "$\"{",
        "$`\\{`",
        "a\u{663}",
        "1e",
        "!=",
        "\"a\" ",
    ] {
        let reading = Reading::new(0, &unit.repeat(300_000));
        assert!(reading.is_ok_and(|reading| !reading.all().list.is_empty()), "{unit}");
    }
    assert!(Reading::new(0, &" ".repeat(MOST_BYTES)).is_ok());
    assert!(Reading::new(0, &" ".repeat(MOST_BYTES + 1)).is_err());
}

#[test]
fn a_refusal_says_the_cure() {
    for (text, told) in [
        ("p := \"a", "end it with a quote"),
        ("p := \"a\nb\"", "between backquotes"),
        ("p := \"\\q\"", "a backslash itself is written `\\\\`"),
        ("p := \"\\u1\"", "four hexadecimal digits"),
        ("p := \"\t\\n\"", "`\\u0009`"),
        ("p := 'a'", "between double quotes"),
        ("p := !a", "write `not`"),
        ("p := é", "names are of ASCII letters"),
        ("p := 1.", "write `1.0` or `1`"),
        ("p := 1e", "write `1e3`"),
        ("p := 0x1", "numbers are decimal"),
    ] {
        let fault = tokens(text).fault.unwrap_or_default();
        assert!(fault.contains(told), "{text}: {fault}");
    }
}
