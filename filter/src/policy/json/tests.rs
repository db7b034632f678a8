use std::fmt::Write;

use super::*;

/// How the filter reads JSON; and what it should read, or the message of `serde_json`.
fn both(text: &str) -> (Result<Value, String>, Result<Value, String>) {
    let mut reader = JsonReader::new();
    let ours = loop {
        if let Some(result) = reader.step(text.as_bytes()) {
            break result;
        }
    };
    let value = || Value::from_json(text.as_bytes(), &mut Budget::unlimited()).map_err(|_| ());
    let expected = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(_) => Ok(value().unwrap()),
        // OPA takes these.
        Err(error) => match (IS_TAKEN.iter().any(|part| error.to_string().contains(part)), value()) {
            (true, Ok(value)) => Ok(value),
            (true, Err(())) if ours.is_err() => return (Err(String::new()), Err(String::new())),
            _ => Err(error.to_string()),
        },
    };
    (ours.map_err(|error| error.to_string()), expected)
}

/// What `serde_json` refuses, in its words, and OPA does not.
const IS_TAKEN: &[&str] = &["number out of range", "surrogate", "unexpected end of hex escape"];

fn check(text: &str) {
    let (ours, expected) = both(text);
    assert!(ours == expected, "{}\n  here: {ours:?}\n  expected: {expected:?}", shortened(text));
    // 1 and 1.0 are equal.
    let print = |value: &Result<Value, String>| value.as_ref().map_or_else(String::clone, Value::to_json);
    assert!(print(&ours) == print(&expected), "{}", shortened(text));
}

fn shortened(text: &str) -> String {
    text.chars().take(300).collect()
}

#[test]
fn every_text_is_read_or_refused_as_serde_json_does() {
    let texts = [
        "",
        " ",
        "\n\n",
        "{",
        "[",
        "}",
        "]",
        ",",
        ":",
        "\"",
        "{}",
        "[]",
        " [ ] ",
        "{ }",
        "[1]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{1}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":1 \"b\":2}",
        "{\"a\" 1}",
        "{\"a\":1,1}",
        "{,}",
        "{\"a\":1]",
        "{\"a\":1",
        "{\"a\":",
        "{\"a\"",
        "{\"a",
        "{\"a\":1,",
        "[1,",
        "[1",
        "1 2",
        "[] []",
        "{} x",
        "null",
        "true",
        "false",
        "nul",
        "nulx",
        "tru",
        "n",
        "t",
        "falsey",
        "nulls",
        "[nullnull]",
        "[truefalse]",
        "NaN",
        "Infinity",
        "0",
        "-0",
        "-",
        "--1",
        "+1",
        "01",
        "-01",
        "1.",
        ".1",
        "1.e1",
        "1e",
        "1e+",
        "1E-5",
        "1e400",
        "-1e400",
        "1e-400",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775808",
        "-9223372036854775809",
        "1.0",
        "-0.0",
        "123456789012345678901234567890",
        "0.1",
        "2.2250738585072011e-308",
        "1e23",
        "100e-2",
        "[1-2]",
        "[1.5.5]",
        "[1e5e5]",
        "1x",
        "[0x10]",
        r#""\n\t\"\\\/\b\f\r""#,
        r#""\u0041\u00e9""#,
        r#""\ud83d\ude00""#,
        r#""\ud83d""#,
        r#""\ude00""#,
        r#""\ud83dx""#,
        r#""\ud83d\n""#,
        r#""\ud83d\u0041""#,
        r#""\u12""#,
        r#""\u12g4""#,
        r#""\x""#,
        r#""\"#,
        "\"a\nb\"",
        "\"a\tb\"",
        "\"\u{7f}\u{0}\"",
        "\"é\u{1F600}\"",
        "\u{feff}{}",
        "é",
        "[\"é\", é]",
        "{\"a\":1,\"a\":2}",
        "{\"a\":{\"b\":1},\"a\":[2],\"b\":3}",
        "{\"\":\"\"}",
        "[[[[]]]]",
        "'a'",
        "{a:1}",
        "// x\n1",
        "[1,\n2,\n  x]",
        "{\n \"a\": [\n  1,\n\n  \"b\nc\"]}",
        "\r\n[\r\n1\r\n,\r\n]",
        "\u{b}1",
        "\u{a0}1",
        "{\"a\":1}\n\n\n,",
        "{\"\\u0061\":1,\"a\":2}",
        "[\"\u{2028}\"]",
        "{\"$serde_json::private::RawValue\": \"1\"}",
    ];
    for text in texts {
        check(text);
        for (index, _) in text.char_indices() {
            check(&text[..index]);
        }
        check(&format!("[{text}]"));
        check(&format!("{{\"k\":\n {text}\n}}"));
        check(&format!("{{{text}:0}}"));
    }
}

#[test]
fn texts_that_are_broken_anywhere_are_refused_with_the_same_message() {
    let valid = r#"{"a": [1, -2.5e3, "x\u00e9\ud83d\ude00\n", true, null, {}], "b c": {"d": [[], [{"e": false}]]}, "é": ""}"#;
    let mut random = fastrand::Rng::with_seed(7);
    let pool: Vec<char> = "{}[]\",:\\u0d8e+-.truefalsn \n\t\u{1}é19/".chars().collect();
    for _ in 0..60_000 {
        let mut characters: Vec<char> = valid.chars().collect();
        for _ in 0..random.usize(1..4) {
            if characters.is_empty() {
                break;
            }
            let at = random.usize(..characters.len());
            let new = pool[random.usize(..pool.len())];
            match random.u8(..4) {
                0 => characters[at] = new,
                1 => characters.insert(at, new),
                2 => drop(characters.remove(at)),
                _ => characters.truncate(at.max(1)),
            }
        }
        check(&characters.into_iter().collect::<String>());
    }
}

#[test]
fn numbers_are_the_ones_that_serde_json_makes() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut digits =
        |most: usize| -> String { (0..random.usize(1..=most)).map(|_| random.digit(10)).collect() };
    for round in 0..40_000 {
        let mut number = String::new();
        if round % 3 == 0 {
            number.push('-');
        }
        let integer = digits(25);
        number.push_str(if round % 7 == 0 { &integer } else { integer.trim_start_matches('0') });
        if round % 2 == 0 {
            write!(number, ".{}", digits(25)).unwrap();
        }
        if round % 5 == 0 {
            write!(number, "e{}{}", ["", "+", "-"][round % 3], digits(3)).unwrap();
        }
        check(&number);
        check(&format!("[{number} ,{number}]"));
    }
}

#[test]
fn nesting_has_an_end() {
    // `serde_json` has an end of its own.
    for depth in [1, 126, 127] {
        check(&"[".repeat(depth));
        check(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
        check(&format!("{}1{}", "{\"a\":\n".repeat(depth), "}".repeat(depth)));
        check(&format!("{}{{}}{}", "[".repeat(depth - 1), "]".repeat(depth - 1)));
    }
    let deepest = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert_eq!(both(&deepest).0.unwrap().depth() as usize, MAX_DEPTH);
    let message = both(&"[".repeat(MAX_DEPTH + 1)).0.unwrap_err();
    assert_eq!(message, format!("it nests too deeply at line 1 column {}", MAX_DEPTH + 1));
}

#[test]
fn strings_longer_than_a_window_are_cut_where_it_does_no_harm() {
    let units = [
        "x",
        "é",
        "\u{1F600}",
        r"\n",
        r"\\",
        r#"\""#,
        r"\u00e9",
        r"\ud83d\ude00",
        r"a\ud83d\ude00",
        r"é\n\u0041x",
        r"\ud83d",
        r"\ud83dx\ude00",
    ];
    for unit in units {
        for before in 0..13 {
            let inside = format!("{}{}", "y".repeat(before), unit.repeat(3 * WINDOW_BYTES / unit.len()));
            check(&format!("[1, \"{inside}\", 2]"));
            check(&format!("{{\n\"{inside}\" : \"{inside}\", \"{inside}\": 1}}"));
            check(&format!("[\n1, \"{inside}"));
            for broken in [
                "\n\"",
                "\u{1}\"",
                r#"\x""#,
                r#"\u12""#,
                r#"\u12"34"#,
                r#"\ud83d""#,
                r"\",
                r"\u",
                r"\ud8",
                r"\ud83d\",
            ] {
                check(&format!("[\n1, \"{inside}{broken}]"));
            }
        }
    }
}

#[test]
fn halves_of_pairs_do_not_make_a_piece_without_end() {
    for unit in [r"\ud83d", r"\ud83d\ude00", r"\ud83d\\", r"\ud83d\u0041", "é"] {
        let inside = unit.repeat(WINDOW_BYTES) + "\"";
        let (length, is_last) = piece(inside.as_bytes());
        assert!(length < WINDOW_BYTES + 24 && !is_last, "{unit}: {length}");
    }
}

#[test]
fn tokens_at_the_edge_of_a_window_are_read_whole() {
    for token in ["12345.5e3", "true", "null", "\"ab\\u00e9\"", "-1", "[[]]", "{\"abc\":1}"] {
        for blanks in WINDOW_BYTES - 10..WINDOW_BYTES + 3 {
            check(&format!("{}{token}", " ".repeat(blanks)));
            check(&format!("[{},{token}]", "1,".repeat(blanks / 2) + "\"" + &"x".repeat(blanks % 50) + "\""));
        }
    }
    check(&format!("{}[\n]{}", "\n \t\r".repeat(WINDOW_BYTES), " \n".repeat(WINDOW_BYTES)));
    check(&format!("{}x", "\n ".repeat(WINDOW_BYTES)));
}

#[test]
fn a_number_longer_than_a_window_is_refused_by_its_place() {
    for number in ["0.0", "1e", "-1e-", "1"] {
        let text = format!("[\n {number}{}]", "0".repeat(2 * WINDOW_BYTES));
        assert_eq!(both(&text).0.unwrap_err(), "number too long at line 2 column 2", "{number}");
    }
    let allowed = format!("[0.{}]", "1".repeat(WINDOW_BYTES - 10));
    check(&allowed);
}

#[test]
fn the_key_that_serde_json_keeps_for_itself_is_a_key() {
    let value = both(r#"{"$serde_json::private::Number": "12"}"#).0.unwrap();
    assert_eq!(value.to_json(), r#"{"$serde_json::private::Number":"12"}"#);
}

#[test]
fn large_lists_and_objects_are_read_in_many_steps() {
    let list: String = (0..200_000).map(|number| format!("{number},")).collect();
    let fields: String =
        (0..30_000).map(|number| format!("\"k{}\":{number},", number * 7919 % 30_000)).collect();
    let text = format!("{{\"list\": [{list} 0], \"object\": {{{fields} \"k1\": 0}}}}");
    check(&text);
    let mut reader = JsonReader::new();
    let steps = (1..).find(|_| reader.step(text.as_bytes()).is_some()).unwrap();
    assert!(steps > 500, "{steps} steps");
}

#[test]
fn what_is_long_without_being_many_is_read_in_many_steps_too() {
    let megabyte = 1 << 20;
    let number = format!("0.{}", "1".repeat(WINDOW_BYTES / 2));
    for text in [
        format!("[{}]", " ".repeat(megabyte)),
        format!("[\"{}\"]", "x".repeat(megabyte)),
        format!("{{\"{}\": 1}}", r"\u00e9".repeat(megabyte / 6)),
        format!("[{}]", vec![format!("\"{}\"", "x".repeat(WINDOW_BYTES / 2)); 64].join(",")),
        format!("[{}]", vec![number; 64].join(",")),
    ] {
        check(&text);
        let mut reader = JsonReader::new();
        let steps = (1..).find(|_| reader.step(text.as_bytes()).is_some()).unwrap();
        assert!(steps > 30, "{steps} steps for {}", shortened(&text));
    }
}

#[test]
fn what_a_later_field_replaces_is_freed_in_steps_before_more_is_read() {
    let list = vec!["[1]"; 20_000].join(",");
    let text = format!("{{\"a\": [{list}], \"a\": 1, \"b\": [{list}]}}");
    check(&text);
    let mut reader = JsonReader::new();
    let mut steps_freeing = 0;
    let mut at = 0;
    while reader.step(text.as_bytes()).is_none() {
        if at > 0 && !reader.replaced.is_empty() {
            steps_freeing += 1;
            assert_eq!(reader.at, at, "nothing is read meanwhile");
        }
        at = if reader.replaced.is_empty() { 0 } else { reader.at };
    }
    assert!(steps_freeing > 10, "{steps_freeing} steps");
}

#[test]
fn what_was_read_can_be_freed_in_steps_at_any_time() {
    let list: String = (0..20_000).map(|number| format!("[\"{number}\"],")).collect();
    let text = format!(
        "{{\"a\": {{\"b\": [[{list} 0], {{\"c\": [{list} \"{}\", 0]}}]}}, \"a\": x}}",
        "x".repeat(100_000)
    );
    for steps in [0, 1, 20, 50, 79, 80, 81, 82, 83, 84, 85, 86, 100, 150, 200, 10_000] {
        let mut reader = JsonReader::new();
        for _ in 0..steps {
            if let Some(result) = reader.step(text.as_bytes()) {
                assert!(result.is_err());
                break;
            }
        }
        let mut deferred = DeferredDrop::default();
        reader.discard(&mut deferred);
        while deferred.step() {}
        assert!(deferred.is_empty());
    }
}
