//! Values out: JSON as OPA prints results, and Rego terms.
//!
//! Every byte is counted before it is written: text may be far longer than the value (a key that is no string
//! is printed as the quoted JSON text of it).

use super::quote::quote;
use super::{Object, Value};
use crate::builtins::{Budget, Limit};

/// How JSON is laid out over several lines.
#[derive(Clone, Copy)]
pub(crate) struct Layout<'a> {
    pub(crate) prefix: &'a [u8],
    pub(crate) indent: &'a [u8],
}

impl Value {
    /// As OPA prints a result: Go's escapes, text of numbers kept, sets as sorted arrays, keys that are no
    /// strings as their JSON text.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        // An unlimited budget has no bound to meet.
        let _ = self.write_json(&mut out, &mut Budget::unlimited());
        String::from_utf8(out).unwrap_or_default()
    }

    /// As OPA prints a term: `{1, "x"}`, `set()`, `{"a": 1.0}`.
    pub fn to_rego(&self) -> String {
        let mut out = Vec::new();
        let _ = self.write_rego(&mut out, &mut Budget::unlimited());
        String::from_utf8(out).unwrap_or_default()
    }

    /// Appends the JSON text.
    pub fn write_json(&self, out: &mut Vec<u8>, budget: &mut Budget) -> Result<(), Limit> {
        Writer { out, budget, layout: None }.value(self, 0)
    }

    pub(crate) fn write_json_laid_out(
        &self,
        out: &mut Vec<u8>,
        budget: &mut Budget,
        layout: Layout<'_>,
    ) -> Result<(), Limit> {
        Writer { out, budget, layout: Some(layout) }.value(self, 0)
    }

    /// Appends the text of the term.
    pub fn write_rego(&self, out: &mut Vec<u8>, budget: &mut Budget) -> Result<(), Limit> {
        budget.step(1)?;
        let mut items = |open: &str, close: &str, items: &[Value]| {
            out.extend_from_slice(open.as_bytes());
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                item.write_rego(out, budget)?;
            }
            budget.bytes(2 + 2 * items.len() as u64)?;
            out.extend_from_slice(close.as_bytes());
            Ok(())
        };
        match self {
            Value::String(text) => {
                // An escape has at most 10 bytes, for 4 of text; a bad byte has 4.
                budget.bytes(2 + 4 * text.len() as u64)?;
                quote(text.as_bytes(), out);
            }
            Value::Array(array) => items("[", "]", array.items())?,
            Value::Set(set) if set.is_empty() => items("set(", ")", &[])?,
            Value::Set(set) => items("{", "}", set.members())?,
            Value::Object(object) => {
                budget.bytes(2 + 4 * object.len() as u64)?;
                out.push(b'{');
                for (i, (key, value)) in object.iter().enumerate() {
                    if i > 0 {
                        out.extend_from_slice(b", ");
                    }
                    key.write_rego(out, budget)?;
                    out.extend_from_slice(b": ");
                    value.write_rego(out, budget)?;
                }
                out.push(b'}');
            }
            scalar => scalar.write_scalar(out, budget)?,
        }
        Ok(())
    }

    fn write_scalar(&self, out: &mut Vec<u8>, budget: &mut Budget) -> Result<(), Limit> {
        match self {
            Value::Number(number) => {
                budget.bytes(number.text_len() as u64)?;
                number.write(out);
            }
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            _ => out.extend_from_slice(b"null"),
        }
        Ok(())
    }

    /// Whether it can be printed as JSON: no number in it is written as JSON cannot say it.
    pub(crate) fn is_json(&self) -> bool {
        match self {
            Value::Number(number) => number.is_json(),
            Value::Array(array) => array.iter().all(Value::is_json),
            Value::Set(set) => set.iter().all(Value::is_json),
            Value::Object(object) => object.iter().all(|(key, value)| key.is_json() && value.is_json()),
            _ => true,
        }
    }
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    budget: &'a mut Budget,
    layout: Option<Layout<'a>>,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Limit> {
        self.budget.step(1)?;
        match value {
            Value::String(text) => self.string(text.as_bytes()),
            Value::Array(array) => self.array(array.items(), depth),
            Value::Set(set) => self.array(set.members(), depth),
            Value::Object(object) => self.object(object, depth),
            scalar => {
                self.budget.bytes(5)?;
                scalar.write_scalar(self.out, self.budget)
            }
        }
    }

    fn array(&mut self, items: &[Value], depth: usize) -> Result<(), Limit> {
        self.budget.bytes(2 + items.len() as u64)?;
        self.out.push(b'[');
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            self.line(depth + 1)?;
            self.value(item, depth + 1)?;
        }
        if !items.is_empty() {
            self.line(depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, object: &Object, depth: usize) -> Result<(), Limit> {
        self.budget.bytes(2 + 3 * object.len() as u64)?;
        self.out.push(b'{');
        let mut first = true;
        if object.keys().all(|key| matches!(key, Value::String(_))) {
            for (key, value) in object.iter() {
                self.pair(&mut first, key.as_bytes().unwrap_or_default(), value, depth)?;
            }
        } else {
            let mut pairs = Vec::with_capacity(object.len());
            for (key, value) in object.iter() {
                let key = match key {
                    Value::String(_) => key.clone(),
                    key => {
                        let mut text = Vec::new();
                        key.write_json(&mut text, self.budget)?;
                        Value::from(text)
                    }
                };
                pairs.push((key, value.clone()));
            }
            // Of keys with one text the last value stays.
            let named = Object::from_pairs(pairs).map_err(|_| Limit::Depth)?;
            for (key, value) in named.iter() {
                self.pair(&mut first, key.as_bytes().unwrap_or_default(), value, depth)?;
            }
        }
        if !first {
            self.line(depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn pair(&mut self, first: &mut bool, key: &[u8], value: &Value, depth: usize) -> Result<(), Limit> {
        if !std::mem::take(first) {
            self.out.push(b',');
        }
        self.line(depth + 1)?;
        self.string(key)?;
        self.out.push(b':');
        if self.layout.is_some() {
            self.out.push(b' ');
        }
        self.value(value, depth + 1)
    }

    /// A new line, if there is a layout.
    fn line(&mut self, depth: usize) -> Result<(), Limit> {
        let Some(layout) = self.layout else { return Ok(()) };
        let indent = (layout.indent.len() as u64).saturating_mul(depth as u64);
        self.budget.bytes(2 + layout.prefix.len() as u64 + indent)?;
        self.out.push(b'\n');
        self.out.extend_from_slice(layout.prefix);
        (0..depth).for_each(|_| self.out.extend_from_slice(layout.indent));
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) -> Result<(), Limit> {
        self.budget.bytes(2 + bytes.len() as u64)?;
        self.out.push(b'"');
        for chunk in bytes.utf8_chunks() {
            self.escaped(chunk.valid())?;
            for _ in chunk.invalid() {
                self.budget.bytes(5)?;
                self.out.extend_from_slice(b"\\ufffd");
            }
        }
        self.out.push(b'"');
        Ok(())
    }

    fn escaped(&mut self, text: &str) -> Result<(), Limit> {
        let mut rest = text;
        while let Some(at) = rest.find(is_escaped) {
            let (plain, tail) = rest.split_at(at);
            self.out.extend_from_slice(plain.as_bytes());
            let mut chars = tail.chars();
            let c = chars.next().unwrap_or_default();
            rest = chars.as_str();
            self.budget.bytes(5)?;
            match c {
                '"' => self.out.extend_from_slice(b"\\\""),
                '\\' => self.out.extend_from_slice(b"\\\\"),
                '\u{8}' => self.out.extend_from_slice(b"\\b"),
                '\u{c}' => self.out.extend_from_slice(b"\\f"),
                '\n' => self.out.extend_from_slice(b"\\n"),
                '\r' => self.out.extend_from_slice(b"\\r"),
                '\t' => self.out.extend_from_slice(b"\\t"),
                c => self.out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
            }
        }
        self.out.extend_from_slice(rest.as_bytes());
        Ok(())
    }
}

/// What Go escapes in JSON: also what HTML and JavaScript would read as their own.
fn is_escaped(c: char) -> bool {
    matches!(c, '"' | '\\' | '<' | '>' | '&' | '\0'..' ' | '\u{2028}' | '\u{2029}')
}
