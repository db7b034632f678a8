//! Text → the tree of values that it stands for, whether it is JSON or YAML.
//!
//! JSON is read as JSON: a YAML parser refuses pairs of surrogates, and keys of more than 1024 characters. What YAML's
//! aliases stand for is counted while it is read, because a few lines of them can stand for gigabytes.

use std::{
    cell::{Cell, RefCell},
    fmt,
};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::yaml;

/// What a document's aliases may stand for, in values and pieces of text. Without any, there are not more values than bytes.
const MAX_OF_ALIASES: usize = 1 << 16;
const TEXT_PER_WORK: usize = 64;
const BYTE_ORDER_MARK: char = '\u{feff}';

/// What the parser of JSON says with quotes around characters of its own.
const QUOTING: &[&str] = &["expected `,` or `]`", "expected `,` or `}`", "expected `:`"];

/// Why a text is no document. Nothing of the text is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Keys and indices of the place; empty for the document itself.
    pub(super) path: Vec<String>,
    pub(super) message: String,
    pub(super) cure: &'static str,
}

/// Reads a text. Errors: [`Fault`] with the place where reading ended.
pub(super) fn read(text: &[u8]) -> Result<Value, Fault> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let message = format!("it is not UTF-8 text (byte {})", error.valid_up_to());
        fault(message, "give YAML or JSON text")
    })?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    yaml::check_depth(text).map_err(|error| fault(error.to_string(), "give well-formed YAML or JSON"))?;
    let begin = text.trim_start();
    if !begin.starts_with(['{', '[']) {
        return read_yaml(text);
    }
    // A YAML mapping may begin with a brace too.
    let as_json = match read_json(text) {
        Ok(tree) => return Ok(tree),
        Err(fault) => fault,
    };
    let is_json = begin.trim_start_matches(['{', '[', ' ', '\t', '\r', '\n']).starts_with('"');
    read_yaml(text).map_err(|as_yaml| if is_json { as_json } else { as_yaml })
}

fn read_json(text: &str) -> Result<Value, Fault> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    build(text, |node| {
        let tree = node.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok::<_, serde_json::Error>(tree)
    })
}

fn read_yaml(text: &str) -> Result<Value, Fault> {
    build(text, |node| node.deserialize(yaml_serde::Deserializer::from_str(text)))
}

fn build<E: fmt::Display>(
    text: &str,
    read: impl FnOnce(Node<'_>) -> Result<Value, E>,
) -> Result<Value, Fault> {
    let work_left = Cell::new(text.len().saturating_add(MAX_OF_ALIASES));
    let state = State { work_left, path: RefCell::default(), fault: Cell::default() };
    read(Node { state: &state }).map_err(|error| {
        let path = state.path.take();
        match state.fault.take() {
            Some((message, cure)) => Fault { path, message: message.to_owned(), cure },
            None => Fault { path, message: said(&error.to_string()), cure: "give well-formed YAML or JSON" },
        }
    })
}

/// A parser's words about the form of a text. Those in which it could repeat the text are left out, up to the place.
fn said(message: &str) -> String {
    let (words, place) = message.rsplit_once(" at line ").unwrap_or((message, ""));
    let is_about_value = words.contains("invalid type") || words.contains("invalid value");
    let is_form = !is_about_value && (!words.contains(['"', '`']) || QUOTING.contains(&words));
    let words = if is_form { words } else { "it has no value of JSON here" };
    if place.is_empty() { words.to_owned() } else { format!("{words} at line {place}") }
}

fn fault(message: String, cure: &'static str) -> Fault {
    Fault { path: Vec::new(), message, cure }
}

/// Where reading is, and what it may still come to.
struct State {
    work_left: Cell<usize>,
    /// Left as it is at a fault.
    path: RefCell<Vec<String>>,
    fault: Cell<Option<(&'static str, &'static str)>>,
}

/// One value, wherever it stands.
#[derive(Clone, Copy)]
struct Node<'a> {
    state: &'a State,
}

// === impl Node ===

impl Node<'_> {
    fn count<E: Error>(self, text: &str) -> Result<(), E> {
        match self.state.work_left.get().checked_sub(1 + text.len() / TEXT_PER_WORK) {
            Some(left) => {
                self.state.work_left.set(left);
                Ok(())
            }
            None => Err(self.fault("its aliases stand for too much", "write it out")),
        }
    }

    fn fault<E: Error>(self, message: &'static str, cure: &'static str) -> E {
        self.state.fault.set(Some((message, cure)));
        E::custom(message)
    }

    fn scalar<E: Error>(self, value: Value) -> Result<Value, E> {
        self.count("")?;
        Ok(value)
    }

    fn enter(self, segment: String) {
        self.state.path.borrow_mut().push(segment);
    }

    fn leave(self) {
        self.state.path.borrow_mut().pop();
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
        formatter.write_str("a value of JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.scalar(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.scalar(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.scalar(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let Some(number) = Number::from_f64(value) else {
            return Err(self.fault("it is no number of JSON", "give a finite number"));
        };
        self.scalar(Value::Number(number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.count(value)?;
        Ok(Value::String(value.to_owned()))
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
        loop {
            self.enter(list.len().to_string());
            let Some(element) = elements.next_element_seed(self)? else { break };
            self.leave();
            list.push(element);
        }
        self.leave();
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.count("")?;
        let mut fields = Map::new();
        // Keys of any kind are taken for the text they are written as.
        while let Some(key) = entries.next_key::<String>()? {
            self.count(&key)?;
            self.enter(key.clone());
            if fields.contains_key(&key) {
                return Err(self.fault("the key is there twice", "keep one of the two"));
            }
            fields.insert(key, entries.next_value_seed(self)?);
            self.leave();
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_read_as_json_and_yaml_as_yaml() {
        let long = "k".repeat(3000);
        let cases = [
            (
                r#"{"a": "\ud83d\ude00", "b": 1e3, "c": null}"#.to_owned(),
                json!({"a": "😀", "b": 1e3, "c": null}),
            ),
            ("\u{feff}{\"a\": 1}".to_owned(), json!({"a": 1})),
            ("\u{feff}a: 1".to_owned(), json!({"a": 1})),
            (format!("{{\"{long}\": \"{long}\"}}"), json!({ long.as_str(): long.as_str() })),
            ("{a: 1, b: [x]}".to_owned(), json!({"a": 1, "b": ["x"]})),
            ("{\"a\": 1, # YAML\n b: 2}".to_owned(), json!({"a": 1, "b": 2})),
            ("a: &a {x: 1}\nb: *a\n1: y".to_owned(), json!({"a": {"x": 1}, "b": {"x": 1}, "1": "y"})),
            (String::new(), Value::Null),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn faults_name_their_place_and_nothing_of_the_text() {
        let cases = [
            ("{\"a\": {\"b\": [1, \"SECRET\" SECRET]}}", "a b 2", "expected `,` or `]`"),
            ("{\"SECRET\": 1, \"SECRET\": 2}", "SECRET", "the key is there twice"),
            ("a:\n  b: 1\n  b: 2\n", "a b", "the key is there twice"),
            ("a: [SECRET", "a 1", "did not find expected ',' or ']' at line 2 column 1"),
            ("a: !SECRET 1\n", "a", "it has no value of JSON here"),
            ("a: *SECRET\n", "a", "unknown anchor at line 1 column 4"),
            ("a: .inf\n", "a", "it is no number of JSON"),
            ("{\"a\": \"\\ud83d\"}", "a", "unexpected end of hex escape"),
            ("a: 1\n---\nb: 1\n", "", "more than one document"),
        ];
        for (text, path, message) in cases {
            let fault = read(text.as_bytes()).unwrap_err();
            assert_eq!(fault.path.join(" "), path, "{text}: {fault:?}");
            assert!(fault.message.contains(message), "{text}: {fault:?}");
            assert!(!fault.message.contains("SECRET"), "{fault:?}");
        }
        assert!(read(b"\xff").unwrap_err().message.contains("not UTF-8"));
    }

    #[test]
    fn aliases_that_stand_for_much_are_refused_before_they_do() {
        let mut deep = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            deep += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        let wide = format!("a: &a [{}]\nb: [{}]\n", ["1"; 2000].join(","), ["*a"; 90].join(","));
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(200_000), ["*a"; 90].join(","));
        for text in [deep, wide, long] {
            assert_eq!(read(text.as_bytes()).unwrap_err().message, "its aliases stand for too much");
        }
    }
}
