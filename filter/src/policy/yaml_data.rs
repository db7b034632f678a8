//! YAML text → value, in one go, for its parser cannot be put down: so the text is bounded, and what it grows to.
//!
//! The parser counts how often a text refers to itself, but not what it refers to: a few kilobytes of aliases can
//! stand for gigabytes.

use std::{cell::Cell, collections::BTreeMap, fmt};

use portcullis_rego::{Value, value::Number};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::yaml;

/// Some milliseconds of parsing. `opa build` writes what it finds in YAML as JSON, of any size.
const MAX_BYTES: usize = 32 << 10;
/// Counted in values and in pieces of text. A document without aliases cannot have as many.
const MAX_WORK: usize = MAX_BYTES;
const TEXT_PER_WORK: usize = 16;

/// Why text is not taken for YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum YamlError {
    #[error("it is larger than {MAX_BYTES} bytes; YAML of that size is slow, write data.json")]
    TooLarge,
    #[error(transparent)]
    TooDeep(#[from] yaml::TooDeep),
    /// In the parser's words, with line and column.
    #[error("{0}")]
    Aliases(String),
    /// As above.
    #[error("{0}")]
    Malformed(String),
}

/// Parses YAML text into the JSON values that it stands for. Errors: in the parser's words, with line and column.
pub fn parse_yaml(text: &str) -> Result<Value, String> {
    parse(text).map_err(|error| error.to_string())
}

/// As [`parse_yaml`], for who has to know what is malformed and what is only too much.
pub(super) fn parse(text: &str) -> Result<Value, YamlError> {
    if text.len() > MAX_BYTES {
        return Err(YamlError::TooLarge);
    }
    yaml::check_depth(text)?;
    let work_left = Cell::new(Some(MAX_WORK));
    let parsed = Node { work_left: &work_left }.deserialize(yaml_serde::Deserializer::from_str(text));
    parsed.map_err(|error| match work_left.get() {
        Some(_) => YamlError::Malformed(error.to_string()),
        None => YamlError::Aliases(error.to_string()),
    })
}

/// One value, wherever it stands, and what may still follow it.
#[derive(Clone, Copy)]
struct Node<'a> {
    /// None once there was too much.
    work_left: &'a Cell<Option<usize>>,
}

// === impl Node ===

impl Node<'_> {
    fn count<E: Error>(self, text: &str) -> Result<(), E> {
        let work = 1 + text.len() / TEXT_PER_WORK;
        let left = self.work_left.get().and_then(|left| left.checked_sub(work));
        self.work_left.set(left);
        match left {
            Some(_) => Ok(()),
            None => Err(E::custom("its aliases stand for too much; write it out in data.json")),
        }
    }

    fn scalar<E: Error>(self, value: Value) -> Result<Value, E> {
        self.count("")?;
        Ok(value)
    }

    fn number<E: Error>(self, text: &str) -> Result<Value, E> {
        self.scalar(Number::parse(text).map_or(Value::Null, Value::from))
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any valid JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.scalar(Value::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.number(&value.to_string())
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        self.number(&value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.number(&value.to_string())
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        self.number(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // JSON has no word for infinity.
        let number = serde_json::Number::from_f64(value);
        number.map_or_else(|| self.scalar(Value::Null), |number| self.number(&number.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.count(value)?;
        Ok(Value::from(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        self.count("")?;
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(self)? {
            list.push(element);
        }
        Value::array(list).map_err(A::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.count("")?;
        let mut fields = BTreeMap::new();
        // Keys of any kind are taken for the text they are written as.
        while let Some(key) = entries.next_key::<String>()? {
            self.count(&key)?;
            fields.insert(Value::from(key), entries.next_value_seed(self)?);
        }
        Value::object(fields.into_iter().collect()).map_err(A::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::parse_json;

    #[test]
    fn yaml_becomes_the_json_that_it_stands_for() {
        let cases = [
            (
                "a: 1\nb: [x, 'y', -2.5, true, ~, null]\n",
                r#"{"a": 1, "b": ["x", "y", -2.5, true, null, null]}"#,
            ),
            ("1: one\ntrue: yes\n2.5: x\n", r#"{"1": "one", "true": "yes", "2.5": "x"}"#),
            (
                "- .inf\n- 18446744073709551615\n- 0x1F\n- 0o17\n- 1e3\n",
                "[null, 18446744073709551615, 31, 15, 1e3]",
            ),
            ("base: &b {x: 1}\nother: *b\n", r#"{"base": {"x": 1}, "other": {"x": 1}}"#),
            ("a: 1\na: 2\n", r#"{"a": 2}"#),
            ("", "null"),
        ];
        for (yaml, json) in cases {
            assert_eq!(parse_yaml(yaml), Ok(parse_json(json).unwrap()), "{yaml}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_in_the_parsers_words() {
        for yaml in ["a: !tag 1\n", "a: [\n", "a: 1\n---\nb: 2\n"] {
            let before = yaml_serde::from_str::<serde_json::Value>(yaml).unwrap_err().to_string();
            assert_eq!(parse_yaml(yaml), Err(before), "{yaml}");
        }
    }

    #[test]
    fn aliases_that_stand_for_much_are_refused_before_they_do() {
        let wide = format!("a: &a [{}]\nb: [{}]\n", ["1"; 2000].join(","), ["*a"; 500].join(","));
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(20_000), ["*a"; 500].join(","));
        for text in [wide, long] {
            let error = parse_yaml(&text).unwrap_err();
            assert!(error.contains("its aliases stand for too much"), "{error}");
        }
    }

    #[test]
    fn brackets_that_keep_the_scanner_busy_are_refused_before_it_sees_them() {
        let error = parse_yaml(&"[".repeat(MAX_BYTES)).unwrap_err();
        assert!(error.contains("brackets are open at once"), "{error}");
    }

    #[test]
    fn text_as_large_as_allowed_and_as_dense_as_possible_is_read() {
        for text in [format!("[{}]", vec!["1"; MAX_BYTES / 2 - 1].join(",")), "x".repeat(MAX_BYTES)] {
            assert!(text.len() <= MAX_BYTES && parse_yaml(&text).is_ok());
            assert!(parse_yaml(&format!("{text}    ")).unwrap_err().contains("write data.json"));
        }
    }
}
