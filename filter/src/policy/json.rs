//! JSON text → value in steps: the work on ten megabytes has to be put down every few milliseconds.
//!
//! What lies between scalars is read here: brackets, commas, colons. Every string and number is read as `json.unmarshal`
//! reads it, so that data and what a policy unmarshals are alike, and every message is the one that `serde_json` gives. A
//! number of more than 32 KB is refused.

use std::{
    collections::{BTreeMap, btree_map},
    rc::Rc,
    vec,
};

use portcullis_rego::{
    Value,
    builtins::Budget,
    value::{Array, JsonReader as Scalar, Object, Str},
};
use serde::de::{Deserialize, IgnoredAny};

use super::{deferred_drop::DeferredDrop, segments::Segments};

/// Bounds one step: so many values, or so many bytes.
const TOKENS_PER_STEP: usize = 512;
const BYTES_PER_STEP: usize = 32 << 10;
/// What is looked at at most to read one scalar.
const WINDOW_BYTES: usize = 32 << 10;
/// Levels; a value may have twice as many, for where it stands in `data`.
const MAX_DEPTH: usize = 256;
/// Elements or fields that are put into their list or object in one step when it ends.
const CLOSED_PER_STEP: usize = 1024;

/// Why text is no JSON, in the words of `serde_json`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {line} column {column}")]
pub struct JsonError {
    message: String,
    line: usize,
    column: usize,
}

/// One document on its way in. The text itself stays with the caller, who gives it to every step.
#[derive(Debug)]
pub(crate) struct JsonReader {
    /// Where to go on.
    at: usize,
    line: usize,
    line_start: usize,
    expects: Expects,
    open: Vec<Open>,
    /// What has ended and is being put together.
    closing: Option<Closing>,
    long: Option<LongString>,
    root: Option<Value>,
    /// Values and keys that have been read.
    values: usize,
    /// Fields that a later one of the same name has replaced.
    replaced: DeferredDrop,
}

#[derive(Debug, Clone, Copy)]
enum Expects {
    Value,
    FirstElement,
    Element,
    CommaOrListEnd,
    FirstKey,
    Key,
    CommaOrObjectEnd,
    Colon,
    End,
}

#[derive(Debug)]
enum Open {
    List(Segments<Value>),
    Object { fields: BTreeMap<Value, Value>, key: Value },
}

/// A list or an object whose end has been read.
#[derive(Debug)]
enum Closing {
    List { array: Array, segments: vec::IntoIter<Vec<Value>>, segment: vec::IntoIter<Value> },
    Object { object: Object, fields: btree_map::IntoIter<Value, Value> },
}

/// A string that is longer than one window, in pieces that are strings by themselves.
#[derive(Debug, Default)]
struct LongString {
    pieces: Vec<Str>,
    /// Set once all pieces are there: the string as far as it has been put together, and the next piece.
    joining: Option<(Vec<u8>, usize)>,
}

// === impl JsonReader ===

impl JsonReader {
    pub(crate) fn new() -> Self {
        Self {
            at: 0,
            line: 1,
            line_start: 0,
            expects: Expects::Value,
            open: Vec::new(),
            closing: None,
            long: None,
            root: None,
            values: 0,
            replaced: DeferredDrop::default(),
        }
    }

    /// Values and keys that have been read: what takes memory, however short its text.
    pub(crate) fn values(&self) -> usize {
        self.values
    }

    /// Reads on for a bounded piece. `text` must be the same at every step; it must be UTF-8.
    pub(crate) fn step(&mut self, text: &[u8]) -> Option<Result<Value, JsonError>> {
        if self.replaced.step() {
            return None;
        }
        let start = self.at;
        for _ in 0..TOKENS_PER_STEP {
            match self.advance(text) {
                Err(error) => return Some(Err(error)),
                Ok(Pace::Done) => return self.root.take().map(Ok),
                Ok(Pace::Rest) => break,
                Ok(Pace::On) if self.at - start >= BYTES_PER_STEP => break,
                Ok(Pace::On) => {}
            }
        }
        None
    }

    /// Hands over what has been read, to be freed in steps.
    pub(crate) fn discard(self, deferred: &mut DeferredDrop) {
        deferred.append(self.replaced);
        self.root.into_iter().for_each(|value| deferred.push(value));
        self.closing.into_iter().for_each(|closing| closing.discard(deferred));
        for open in self.open {
            match open {
                Open::List(list) => list.into_vecs().for_each(|values| deferred.push_values(values)),
                Open::Object { fields, .. } => deferred.push_fields(fields.into_iter()),
            }
        }
    }

    fn advance(&mut self, text: &[u8]) -> Result<Pace, JsonError> {
        if let Some(closing) = self.closing.take() {
            self.go_on_closing(closing);
            return Ok(Pace::Rest);
        }
        if let Some(long) = self.long.take() {
            return self.long_string(text, long);
        }
        let Some(next) = self.skip_whitespace(text) else {
            return Ok(Pace::Rest);
        };
        match (self.expects, next) {
            (Expects::End, None) => return Ok(Pace::Done),
            (Expects::End, Some(_)) => return Err(self.unexpected(text, "trailing characters")),
            (Expects::Value | Expects::Element | Expects::Key, None) => {
                return Err(self.unexpected(text, "EOF while parsing a value"));
            }
            (Expects::FirstElement | Expects::CommaOrListEnd, None) => {
                return Err(self.unexpected(text, "EOF while parsing a list"));
            }
            (Expects::FirstKey | Expects::CommaOrObjectEnd | Expects::Colon, None) => {
                return Err(self.unexpected(text, "EOF while parsing an object"));
            }
            (Expects::FirstElement | Expects::CommaOrListEnd, Some(b']'))
            | (Expects::FirstKey | Expects::CommaOrObjectEnd, Some(b'}')) => self.close(),
            (Expects::Element, Some(b']')) | (Expects::Key, Some(b'}')) => {
                return Err(self.unexpected(text, "trailing comma"));
            }
            (Expects::CommaOrListEnd, Some(b',')) => self.pass(Expects::Element),
            (Expects::CommaOrListEnd, Some(_)) => return Err(self.unexpected(text, "expected `,` or `]`")),
            (Expects::CommaOrObjectEnd, Some(b',')) => self.pass(Expects::Key),
            (Expects::CommaOrObjectEnd, Some(_)) => return Err(self.unexpected(text, "expected `,` or `}`")),
            (Expects::Colon, Some(b':')) => self.pass(Expects::Value),
            (Expects::Colon, Some(_)) => return Err(self.unexpected(text, "expected `:`")),
            (Expects::FirstKey | Expects::Key, Some(b'"')) => self.scalar(text, b'"')?,
            (Expects::FirstKey | Expects::Key, Some(_)) => {
                return Err(self.unexpected(text, "key must be a string"));
            }
            (Expects::Value | Expects::FirstElement | Expects::Element, Some(first)) => match first {
                b'[' => self.open(text, Open::List(Segments::default()), Expects::FirstElement)?,
                b'{' => {
                    let object = Open::Object { fields: BTreeMap::new(), key: Value::Null };
                    self.open(text, object, Expects::FirstKey)?;
                }
                b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.scalar(text, first)?,
                _ => return Err(self.unexpected(text, "expected value")),
            },
        }
        Ok(if self.closing.is_some() { Pace::Rest } else { Pace::On })
    }

    /// The next byte that is no whitespace, not passed; none where the text ends. Outer none: not found in one step.
    fn skip_whitespace(&mut self, text: &[u8]) -> Option<Option<u8>> {
        let rest = text.get(self.at..).unwrap_or_default();
        for byte in rest.iter().take(BYTES_PER_STEP) {
            match byte {
                b' ' | b'\t' | b'\r' => {}
                b'\n' => {
                    self.line += 1;
                    self.line_start = self.at + 1;
                }
                _ => return Some(Some(*byte)),
            }
            self.at += 1;
        }
        (self.at >= text.len()).then_some(None)
    }

    fn pass(&mut self, expects: Expects) {
        self.at += 1;
        self.expects = expects;
    }

    fn open(&mut self, text: &[u8], open: Open, expects: Expects) -> Result<(), JsonError> {
        if self.open.len() == MAX_DEPTH {
            return Err(self.unexpected(text, "it nests too deeply"));
        }
        self.open.push(open);
        self.pass(expects);
        Ok(())
    }

    fn close(&mut self) {
        // What has been closed is no key, wherever it stands.
        self.pass(Expects::Value);
        match self.open.pop() {
            Some(Open::List(elements)) => {
                let array = Array::with_capacity(elements.len());
                let segments = elements.into_vecs().collect::<Vec<_>>().into_iter();
                self.go_on_closing(Closing::List { array, segments, segment: Vec::new().into_iter() });
            }
            Some(Open::Object { fields, .. }) => {
                let object = Object::with_capacity(fields.len());
                self.go_on_closing(Closing::Object { object, fields: fields.into_iter() });
            }
            // A closing bracket is expected only within something open.
            None => {}
        }
    }

    fn go_on_closing(&mut self, mut closing: Closing) {
        match closing.step() {
            Some(value) => self.complete(value),
            None => self.closing = Some(closing),
        }
    }

    /// Puts a value, or a key, where it belongs.
    fn complete(&mut self, value: Value) {
        self.values += 1;
        self.expects = match (self.open.last_mut(), self.expects) {
            (None, _) => {
                self.root = Some(value);
                Expects::End
            }
            (Some(Open::List(elements)), _) => {
                elements.push(value);
                Expects::CommaOrListEnd
            }
            (Some(Open::Object { key, .. }), Expects::FirstKey | Expects::Key) => {
                *key = value;
                Expects::Colon
            }
            (Some(Open::Object { fields, key }), _) => {
                if let Some(earlier) = fields.insert(std::mem::take(key), value) {
                    self.replaced.push(earlier);
                }
                Expects::CommaOrObjectEnd
            }
        };
    }

    fn scalar(&mut self, text: &[u8], first: u8) -> Result<(), JsonError> {
        let rest = text.get(self.at..).unwrap_or_default();
        let window = rest.get(..WINDOW_BYTES).unwrap_or(rest);
        let whole = window.len() == rest.len();
        let followed_by_digit = |used| window.get(used).is_some_and(u8::is_ascii_digit);
        if let Some((value, used)) = read_scalar(window)
            && !((first == b'-' || first.is_ascii_digit()) && followed_by_digit(used))
        {
            // A number ends where no more digits follow, so one that fills the window may go on behind it.
            if first != b'"' && used == window.len() && !whole {
                return Err(self.unexpected(text, "number too long"));
            }
            self.at += used;
            self.complete(value);
            return Ok(());
        }
        if first == b'"' && !whole && is_unfinished(window) {
            self.long = Some(LongString::default());
            return Ok(());
        }
        match checked(first, &mut serde_json::Deserializer::from_slice(window)) {
            Err(error) if error.is_eof() && !whole => Err(self.unexpected(text, "number too long")),
            Err(error) => Err(self.within_scalar(&error, self.at)),
            Ok(()) => Err(self.unexpected(text, "invalid value")),
        }
    }

    /// Reads one more piece of a string that fits no window, or puts its pieces together.
    fn long_string(&mut self, text: &[u8], mut long: LongString) -> Result<Pace, JsonError> {
        if long.joining.is_some() {
            match long.join_step() {
                Some(bytes) => self.complete(Value::from(bytes)),
                None => self.long = Some(long),
            }
            return Ok(Pace::Rest);
        }
        let is_first = long.pieces.is_empty();
        let start = if is_first { self.at + 1 } else { self.at };
        let rest = text.get(start..).unwrap_or_default();
        let (length, is_last) = piece(rest);
        // A piece becomes a string by quotes around it. One that nothing follows gets none, and fails as it should.
        let mut quoted = Vec::with_capacity(length + 2);
        quoted.push(b'"');
        quoted.extend_from_slice(rest.get(..length).unwrap_or(rest));
        if is_last || length < rest.len() {
            quoted.push(b'"');
        }
        match read_scalar(&quoted) {
            Some((Value::String(string), used)) if used == quoted.len() => long.pieces.push(string),
            _ => {
                let error = checked(b'"', &mut serde_json::Deserializer::from_slice(&quoted)).err();
                let error = error.map(|error| self.within_scalar(&error, start - 1));
                return Err(error.unwrap_or_else(|| self.unexpected(text, "invalid value")));
            }
        }
        self.at = start + length;
        if is_last {
            self.at += 1;
            let length = long.pieces.iter().map(Str::len).sum();
            long.joining = Some((Vec::with_capacity(length), 0));
        }
        self.long = Some(long);
        Ok(Pace::Rest)
    }

    /// An error at the next byte, or at the end where there is none.
    fn unexpected(&self, text: &[u8], message: &str) -> JsonError {
        let column = text.len().min(self.at + 1) - self.line_start;
        JsonError { message: message.to_owned(), line: self.line, column }
    }

    /// What `serde_json` says of a text that begins at `start` here.
    fn within_scalar(&self, error: &serde_json::Error, start: usize) -> JsonError {
        let rendered = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = rendered.strip_suffix(&place).unwrap_or(&rendered).to_owned();
        let before = if error.line() <= 1 { start - self.line_start } else { 0 };
        JsonError {
            message,
            line: self.line + error.line().saturating_sub(1),
            column: before + error.column(),
        }
    }
}

enum Pace {
    /// A little has been done.
    On,
    /// As much as a step should do has been done.
    Rest,
    Done,
}

// === impl LongString ===

impl LongString {
    fn join_step(&mut self) -> Option<Vec<u8>> {
        const PIECES_PER_STEP: usize = 8;
        let (joined, next) = self.joining.as_mut()?;
        for piece in self.pieces.iter().skip(*next).take(PIECES_PER_STEP) {
            joined.extend_from_slice(piece.as_bytes());
            *next += 1;
        }
        (*next >= self.pieces.len()).then(|| std::mem::take(joined))
    }
}

/// How much of a string's inside is one piece, and whether the string ends behind it.
///
/// A piece ends between characters, and never between the two escapes of a surrogate pair.
fn piece(inside: &[u8]) -> (usize, bool) {
    let at = |index: usize| inside.get(index).copied();
    let mut index = 0;
    let mut within_pair = false;
    while let Some(byte) = at(index) {
        let is_boundary = byte & 0xC0 != 0x80 && !within_pair;
        if index >= WINDOW_BYTES && is_boundary {
            return (index, false);
        }
        match byte {
            b'"' => return (index, true),
            b'\\' if at(index + 1) == Some(b'u') => {
                let leads = matches!(at(index + 2), Some(b'd' | b'D'))
                    && matches!(at(index + 3), Some(b'8' | b'9' | b'a' | b'b' | b'A' | b'B'));
                within_pair = leads && !within_pair;
                index += 6;
            }
            b'\\' => {
                within_pair = false;
                index += 2;
            }
            _ => {
                within_pair = false;
                index += 1;
            }
        }
    }
    (inside.len(), false)
}

/// A string, number or word at the beginning of a text, and how long it is.
fn read_scalar(text: &[u8]) -> Option<(Value, usize)> {
    let mut reader = Scalar::new();
    let is_whole = reader.advance(text, usize::MAX, &mut Budget::unlimited()).ok()?;
    let used = reader.position();
    is_whole.then(|| (reader.finish(), used))
}

/// Whether nothing is wrong with a text but its end.
fn is_unfinished(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_err_and(|error| error.is_eof())
}

/// What `serde_json` has against a scalar that begins with this byte.
fn checked(
    first: u8,
    text: &mut serde_json::Deserializer<serde_json::de::SliceRead<'_>>,
) -> serde_json::Result<()> {
    match first {
        b'"' => String::deserialize(text).map(drop),
        b'-' | b'0'..=b'9' => f64::deserialize(text).map(drop),
        _ => IgnoredAny::deserialize(text).map(drop),
    }
}

// === impl Closing ===

impl Closing {
    /// Takes a bounded number of elements or fields over; the value when none is left.
    fn step(&mut self) -> Option<Value> {
        for _ in 0..CLOSED_PER_STEP {
            match self {
                // No value read here nests as deeply as one may: nothing is refused.
                Self::List { array, segments, segment } => match segment.next() {
                    Some(element) => drop(array.push(element)),
                    None => match segments.next() {
                        Some(next) => *segment = next.into_iter(),
                        None => {
                            let array = std::mem::replace(array, Array::with_capacity(0));
                            return Some(Value::Array(Rc::new(array)));
                        }
                    },
                },
                Self::Object { object, fields } => match fields.next() {
                    Some((key, value)) => drop(object.insert(key, value)),
                    None => return Some(Value::Object(Rc::new(std::mem::take(object)))),
                },
            }
        }
        None
    }

    fn discard(self, deferred: &mut DeferredDrop) {
        match self {
            Self::List { array, segments, segment } => {
                deferred.push_values(array.into_items());
                deferred.push_values(segment.collect());
                segments.for_each(|values| deferred.push_values(values));
            }
            Self::Object { object, fields } => {
                deferred.push(Value::Object(Rc::new(object)));
                deferred.push_fields(fields);
            }
        }
    }
}

#[cfg(test)]
mod tests;
