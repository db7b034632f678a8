//! YAML text → value, in one go, for its reader cannot be put down: so the text is bounded, and what it grows to.

use portcullis_rego::{Value, builtins::Budget};

/// Some milliseconds of reading. `opa build` writes what it finds in YAML as JSON, of any size.
const MAX_BYTES: usize = 32 << 10;
/// What a text of that size takes without aliases, and some more: a few kilobytes of those can stand for gigabytes.
const MAX_STEPS: u64 = 1 << 19;
const MAX_BUILT_BYTES: u64 = 4 << 20;

/// Reads YAML text into the JSON values that it stands for, as OPA reads it: YAML 1.1, the first document.
///
/// Errors: with the line, or which bound is exceeded.
pub fn parse_yaml(text: &str) -> Result<Value, String> {
    if text.len() > MAX_BYTES {
        return Err(format!(
            "it is larger than {MAX_BYTES} bytes; YAML of that size is slow, write data.json"
        ));
    }
    let mut budget = Budget::new(MAX_STEPS, MAX_BUILT_BYTES);
    Value::from_yaml(text.as_bytes(), &mut budget)
        .map_err(|error| format!("{error}; or write it out in data.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::parse_json;

    #[test]
    fn yaml_becomes_the_json_that_opa_makes_of_it() {
        let cases = [
            (
                "a: 1\nb: [x, 'y', -2.5, true, ~, null]\n",
                r#"{"a": 1, "b": ["x", "y", -2.5, true, null, null]}"#,
            ),
            ("a: yes\nb: off\nc: 010\nd: 0x1F\n", r#"{"a": true, "b": false, "c": 8, "d": 31}"#),
            ("1: one\n2.5: x\n", r#"{"1": "one", "2.5": "x"}"#),
            (
                "base: &b {x: 1}\nother: *b\nmore: {<<: *b, y: 2}\n",
                r#"{"base": {"x": 1}, "other": {"x": 1}, "more": {"x": 1, "true": 2}}"#,
            ),
            ("", "null"),
        ];
        for (yaml, json) in cases {
            assert_eq!(parse_yaml(yaml), Ok(parse_json(json).unwrap()), "{yaml}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_line() {
        assert!(parse_yaml("a: 1\nb: [\n").unwrap_err().contains("line"));
    }

    #[test]
    fn aliases_that_stand_for_much_are_refused_before_they_do() {
        let wide = format!("a: &a [{}]\nb: [{}]\n", ["1"; 2000].join(","), ["*a"; 500].join(","));
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(20_000), ["*a"; 500].join(","));
        for text in [wide, long] {
            let error = parse_yaml(&text).unwrap_err();
            assert!(error.contains("limit"), "{error}");
        }
    }

    #[test]
    fn text_as_large_as_allowed_and_as_dense_as_possible_is_read() {
        for text in [format!("[{}]", vec!["1"; MAX_BYTES / 2 - 1].join(",")), "x".repeat(MAX_BYTES)] {
            assert!(text.len() <= MAX_BYTES, "{}", text.len());
            assert!(parse_yaml(&text).is_ok(), "{:?}", parse_yaml(&text).err());
            assert!(parse_yaml(&format!("{text}    ")).unwrap_err().contains("write data.json"));
        }
    }
}
