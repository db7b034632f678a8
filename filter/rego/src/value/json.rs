//! JSON in, by the rules of Go's `encoding/json`: the last of equal keys wins, lone surrogates and bytes that
//! are not UTF-8 become U+FFFD, numbers keep their text.
//!
//! No recursion: what is open lies on a stack of its own, so that reading can stop anywhere and go on later,
//! and depth costs no stack.

use super::number::{Number, scan_json_number};
use super::{Array, MOST_DEPTH, Object, Str, Value, lossy};
use crate::builtins::{Budget, Limit};
use std::rc::Rc;

/// What a value costs of the budget's bytes, beside the text in it.
pub(crate) const VALUE_BYTES: u64 = 16;

/// Why text is no JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// Not JSON, from this byte on.
    Syntax {
        /// Where, in bytes from the start.
        at: usize,
        /// What was expected.
        what: &'static str,
    },
    /// More than the budget or the depth allows.
    Limit(Limit),
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            JsonError::Syntax { at, what } => write!(f, "not JSON at byte {at}: {what}"),
            JsonError::Limit(limit) => write!(f, "JSON beyond the limit of {limit}"),
        }
    }
}

impl std::error::Error for JsonError {}

impl From<Limit> for JsonError {
    fn from(limit: Limit) -> JsonError {
        JsonError::Limit(limit)
    }
}

enum Open {
    Array(Vec<Value>),
    Object(Vec<(Value, Value)>, Value),
}

#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Value,
    /// After `[`: a value, or the end.
    FirstItem,
    /// After `{`: a key, or the end.
    FirstKey,
    /// After a comma in an object.
    Key,
    /// After an item: a comma, or the end.
    Next,
    Done,
}

/// Reads one JSON value in pieces: each call to [`JsonReader::advance`] does a bounded amount of work.
pub struct JsonReader {
    stack: Vec<Open>,
    expect: Expect,
    at: usize,
    value: Value,
}

impl Default for JsonReader {
    fn default() -> JsonReader {
        JsonReader::new()
    }
}

impl JsonReader {
    /// At the start of the text.
    pub fn new() -> JsonReader {
        JsonReader { stack: Vec::new(), expect: Expect::Value, at: 0, value: Value::Null }
    }

    /// How far it has read, in bytes.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Reads on, for about `bytes` more of `text` (the same text in every call). True when the value is
    /// whole; what follows it is not looked at.
    pub fn advance(&mut self, text: &[u8], bytes: usize, budget: &mut Budget) -> Result<bool, JsonError> {
        let until = self.at.saturating_add(bytes);
        while self.expect != Expect::Done {
            if self.at >= until {
                return Ok(false);
            }
            self.token(text, budget)?;
        }
        Ok(true)
    }

    /// The value, when [`JsonReader::advance`] has said that it is whole.
    pub fn finish(self) -> Value {
        self.value
    }

    fn token(&mut self, text: &[u8], budget: &mut Budget) -> Result<(), JsonError> {
        let rest = text.get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|b| is_space(**b)).count();
        let byte = text.get(self.at).copied();
        match (self.expect, byte) {
            (Expect::FirstItem, Some(b']')) | (Expect::FirstKey, Some(b'}')) => {
                self.at += 1;
                self.close()
            }
            (Expect::Value | Expect::FirstItem, _) => self.start(text, budget),
            (Expect::Key | Expect::FirstKey, Some(b'"')) => {
                let key = Value::String(self.string(text, budget)?);
                let rest = text.get(self.at..).unwrap_or_default();
                self.at += rest.iter().take_while(|b| is_space(**b)).count();
                if text.get(self.at) != Some(&b':') {
                    return Err(self.wrong("a colon after the key"));
                }
                self.at += 1;
                if let Some(Open::Object(_, slot)) = self.stack.last_mut() {
                    *slot = key;
                }
                self.expect = Expect::Value;
                Ok(())
            }
            (Expect::Key | Expect::FirstKey, _) => Err(self.wrong("a key in double quotes")),
            (Expect::Next, Some(b',')) => {
                self.at += 1;
                self.expect = match self.stack.last() {
                    Some(Open::Object(..)) => Expect::Key,
                    _ => Expect::Value,
                };
                Ok(())
            }
            (Expect::Next, Some(b']')) if matches!(self.stack.last(), Some(Open::Array(_))) => {
                self.at += 1;
                self.close()
            }
            (Expect::Next, Some(b'}')) if matches!(self.stack.last(), Some(Open::Object(..))) => {
                self.at += 1;
                self.close()
            }
            (Expect::Next, _) => Err(self.wrong("a comma or the end of what is open")),
            (Expect::Done, _) => Ok(()),
        }
    }

    fn start(&mut self, text: &[u8], budget: &mut Budget) -> Result<(), JsonError> {
        budget.step(1)?;
        budget.bytes(VALUE_BYTES)?;
        let rest = text.get(self.at..).unwrap_or_default();
        let word = |word: &[u8], value: Value| rest.starts_with(word).then_some((word.len(), value));
        let scalar = match rest.first() {
            Some(b'{') => {
                self.at += 1;
                return self.open(Open::Object(Vec::new(), Value::Null), Expect::FirstKey);
            }
            Some(b'[') => {
                self.at += 1;
                return self.open(Open::Array(Vec::new()), Expect::FirstItem);
            }
            Some(b'"') => {
                let string = self.string(text, budget)?;
                return self.put(Value::String(string));
            }
            Some(b't') => word(b"true", Value::Bool(true)),
            Some(b'f') => word(b"false", Value::Bool(false)),
            Some(b'n') => word(b"null", Value::Null),
            _ => scan_json_number(rest).and_then(|length| {
                let text = std::str::from_utf8(rest.get(..length)?).ok()?;
                Some((length, Value::Number(Number::from_text(text))))
            }),
        };
        let Some((length, value)) = scalar else { return Err(self.wrong("a value")) };
        budget.bytes(length as u64)?;
        self.at += length;
        self.put(value)
    }

    fn open(&mut self, open: Open, expect: Expect) -> Result<(), JsonError> {
        if self.stack.len() >= MOST_DEPTH as usize {
            return Err(Limit::Depth.into());
        }
        self.stack.push(open);
        self.expect = expect;
        Ok(())
    }

    fn close(&mut self) -> Result<(), JsonError> {
        let too_deep = |_| JsonError::Limit(Limit::Depth);
        let value = match self.stack.pop() {
            Some(Open::Array(items)) => Value::Array(Rc::new(Array::new(items).map_err(too_deep)?)),
            Some(Open::Object(pairs, _)) => {
                Value::Object(Rc::new(Object::from_pairs(pairs).map_err(too_deep)?))
            }
            None => Value::Null,
        };
        self.put(value)
    }

    fn put(&mut self, value: Value) -> Result<(), JsonError> {
        self.expect = Expect::Next;
        match self.stack.last_mut() {
            Some(Open::Array(items)) => items.push(value),
            Some(Open::Object(pairs, key)) => pairs.push((std::mem::take(key), value)),
            None => {
                self.value = value;
                self.expect = Expect::Done;
            }
        }
        Ok(())
    }

    fn wrong(&self, what: &'static str) -> JsonError {
        JsonError::Syntax { at: self.at, what }
    }

    /// A string, from its opening quote on.
    fn string(&mut self, text: &[u8], budget: &mut Budget) -> Result<Str, JsonError> {
        let start = self.at + 1;
        let rest = text.get(start..).unwrap_or_default();
        let Some(plain) = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f)) else {
            return Err(self.wrong("the end of the string"));
        };
        let head = rest.get(..plain).unwrap_or_default();
        if rest.get(plain) == Some(&b'"') {
            budget.bytes(VALUE_BYTES + plain as u64)?;
            self.at = start + plain + 1;
            return Ok(match std::str::from_utf8(head) {
                Ok(head) => Str::from(head),
                Err(_) => Str::from(lossy(head).into_owned()),
            });
        }
        let mut out = Vec::from(head);
        self.at = start + plain;
        loop {
            let rest = text.get(self.at..).unwrap_or_default();
            match rest {
                [b'"', ..] => {
                    self.at += 1;
                    break;
                }
                [b'\\', b'u', ..] => self.unicode_escape(text, &mut out)?,
                [b'\\', escape, ..] => {
                    let byte = match escape {
                        b'"' | b'\\' | b'/' => *escape,
                        b'b' => 8,
                        b'f' => 12,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        _ => return Err(self.wrong("an escape that JSON has")),
                    };
                    out.push(byte);
                    self.at += 2;
                }
                [byte, ..] if *byte >= 0x20 && *byte != b'\\' => {
                    let plain = rest.iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)).count();
                    out.extend_from_slice(rest.get(..plain).unwrap_or_default());
                    self.at += plain;
                }
                _ => return Err(self.wrong("the end of the string")),
            }
        }
        budget.bytes(VALUE_BYTES + out.len() as u64)?;
        Ok(match String::from_utf8(out) {
            Ok(text) => Str::from(text),
            Err(error) => Str::from(lossy(error.as_bytes()).into_owned()),
        })
    }

    fn unicode_escape(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
        let unit = |at: usize| {
            let digits = text.get(at..)?.strip_prefix(b"\\u")?.get(..4)?;
            let digit = |value: u32, b: &u8| Some(value * 16 + char::from(*b).to_digit(16)?);
            digits.iter().try_fold(0, digit)
        };
        let Some(first) = unit(self.at) else { return Err(self.wrong("four hexadecimal digits")) };
        self.at += 6;
        let mut code = first;
        if (0xd800..0xdc00).contains(&first)
            && let Some(second @ 0xdc00..0xe000) = unit(self.at)
        {
            code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            self.at += 6;
        }
        let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The text without white space in front.
pub(crate) fn after_space(text: &[u8]) -> &[u8] {
    let space = text.iter().take_while(|b| is_space(**b)).count();
    text.get(space..).unwrap_or_default()
}

impl Value {
    /// Reads one JSON value, with white space around it.
    pub fn from_json(text: &[u8], budget: &mut Budget) -> Result<Value, JsonError> {
        let (value, rest) = Value::from_json_prefix(text, budget)?;
        let rest = after_space(rest);
        if !rest.is_empty() {
            return Err(JsonError::Syntax { at: text.len() - rest.len(), what: "the end of the text" });
        }
        Ok(value)
    }

    /// Reads one JSON value; also what follows it.
    pub(crate) fn from_json_prefix<'a>(
        text: &'a [u8],
        budget: &mut Budget,
    ) -> Result<(Value, &'a [u8]), JsonError> {
        let mut reader = JsonReader::new();
        while !reader.advance(text, usize::MAX, budget)? {}
        let rest = text.get(reader.position()..).unwrap_or_default();
        Ok((reader.finish(), rest))
    }
}

/// Whether text is JSON, to Go's depth of 10,000. Source: `encoding/json`, scanner.go.
pub(crate) fn is_valid(text: &[u8]) -> bool {
    const DEEPEST: usize = 10_000;
    let mut open: Vec<bool> = Vec::new();
    let mut reader = JsonReader::new();
    let budget = &mut Budget::unlimited();
    let mut expect = Expect::Value;
    loop {
        let rest = after_space(text.get(reader.at..).unwrap_or_default());
        reader.at = text.len() - rest.len();
        match (expect, rest.first()) {
            (Expect::Done, None) => return true,
            (Expect::Value | Expect::FirstItem, Some(b'[' | b'{')) => {
                open.push(rest.first() == Some(&b'{'));
                if open.len() > DEEPEST {
                    return false;
                }
                expect = if open.last() == Some(&true) { Expect::FirstKey } else { Expect::FirstItem };
                reader.at += 1;
                continue;
            }
            (Expect::FirstItem, Some(b']')) | (Expect::FirstKey, Some(b'}')) => {
                open.pop();
                reader.at += 1;
            }
            (Expect::Next, Some(b']')) if open.last() == Some(&false) => {
                open.pop();
                reader.at += 1;
            }
            (Expect::Next, Some(b'}')) if open.last() == Some(&true) => {
                open.pop();
                reader.at += 1;
            }
            (Expect::Next, Some(b',')) => {
                reader.at += 1;
                expect = if open.last() == Some(&true) { Expect::Key } else { Expect::Value };
                continue;
            }
            (Expect::Key | Expect::FirstKey, Some(b'"')) => {
                if reader.string(text, budget).is_err() {
                    return false;
                }
                let rest = after_space(text.get(reader.at..).unwrap_or_default());
                if rest.first() != Some(&b':') {
                    return false;
                }
                reader.at = text.len() - rest.len() + 1;
                expect = Expect::Value;
                continue;
            }
            (Expect::Value | Expect::FirstItem, Some(_)) => {
                if reader.start(text, budget).is_err() {
                    return false;
                }
            }
            _ => return false,
        }
        expect = if open.is_empty() { Expect::Done } else { Expect::Next };
    }
}
