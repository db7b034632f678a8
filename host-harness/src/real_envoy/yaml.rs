//! A configuration as YAML that every reader takes for the same: Envoy's takes `on`, `no`, `0x10` and `1_000` for something
//! else than text, and leaves alone what is quoted. So all text is.

use serde_json::{Map, Value};

const INDENT: usize = 2;

/// Writes a value as a YAML document. Text of several lines stays readable.
pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => write_fields(fields, 0, false, &mut out),
        Value::Array(items) if !items.is_empty() => write_items(items, 0, &mut out),
        scalar => {
            write_scalar(scalar, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

/// `inline`: the first key stands behind the dash of an item.
fn write_fields(fields: &Map<String, Value>, depth: usize, inline: bool, out: &mut String) {
    for (index, (key, value)) in fields.iter().enumerate() {
        if index > 0 || !inline {
            indent(depth, out);
        }
        write_text(key, out);
        out.push(':');
        write_below(value, depth, out);
    }
}

fn write_items(items: &[Value], depth: usize, out: &mut String) {
    for item in items {
        indent(depth, out);
        out.push('-');
        match item {
            Value::Object(fields) if !fields.is_empty() => {
                out.push(' ');
                write_fields(fields, depth + 1, true, out);
            }
            other => write_below(other, depth, out),
        }
    }
}

/// What stands behind a key or a dash, with the end of its line.
fn write_below(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            write_fields(fields, depth + 1, false, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            write_items(items, depth + 1, out);
        }
        scalar => {
            out.push(' ');
            write_scalar(scalar, depth + 1, out);
            out.push('\n');
        }
    }
}

fn write_scalar(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::String(text) if is_block(text) => write_block(text, depth, out),
        Value::String(text) => write_text(text, out),
        other => out.push_str(&other.to_string()),
    }
}

/// Whether text of several lines can stand as it is, without a doubt about its first and last characters.
fn is_block(text: &str) -> bool {
    let ends_once = !text.ends_with("\n\n");
    let has_first_line = !text.starts_with([' ', '\t', '\n']);
    let is_blank = |line: &str| !line.is_empty() && line.trim_matches([' ', '\t']).is_empty();
    text.contains('\n')
        && ends_once
        && has_first_line
        && !text.lines().any(is_blank)
        && !text.chars().any(|c| c != '\n' && c != '\t' && is_escaped(c))
}

fn write_block(text: &str, depth: usize, out: &mut String) {
    out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
    for line in text.lines() {
        out.push('\n');
        if !line.is_empty() {
            indent(depth, out);
            out.push_str(line);
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            other if is_escaped(other) => out.push_str(&format!("\\u{:04x}", u32::from(other))),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// What YAML does not allow as it is, or takes for the end of a line. All of it is of the first plane.
fn is_escaped(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', depth * INDENT));
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_other_readers_take_for_something_else_is_quoted() {
        for text in [
            "on", "off", "yes", "no", "y", "n", "~", "null", "010", "0x1F", "1_000", "1:30", "1e3", ".5",
            "<<",
        ] {
            assert_eq!(write(&json!({ "a": text })), format!("\"a\": \"{text}\"\n"));
        }
    }

    #[test]
    fn documents_keep_their_lines() {
        let value = json!({ "a": [{ "b": "x: 1\n\n  y: 2\n", "c": [] }, ["d", {}], 1.5, null], "e": "x\ny" });
        let expected = "\"a\":\n  - \"b\": |\n      x: 1\n\n        y: 2\n    \"c\": []\n  -\n    - \"d\"\n    - {}\n  - 1.5\n  - \
                        null\n\"e\": |-\n  x\n  y\n";
        assert_eq!(write(&value), expected);
        assert_eq!(yaml_serde::from_str::<Value>(expected).unwrap(), value);
    }

    #[test]
    fn every_text_is_read_back() {
        const PARTS: [&str; 20] = [
            "a", "é", "😀", " ", "\t", "\n", "\r", "\0", "\u{7f}", "\u{85}", "\u{2028}", "\u{feff}", "\"",
            "\\", ":", "#", "|", ">", "-", "{",
        ];
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..20_000 {
            let size = random.random_range(0..12);
            let text: String = (0..size).map(|_| PARTS[random.random_range(0..PARTS.len())]).collect();
            let value = json!({ "k": { text.as_str(): [text.as_str(), { "n": text.as_str() }] } });
            let read: Value =
                yaml_serde::from_str(&write(&value)).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(read, value);
        }
    }
}
