//! References: steps down a document, those without a value as choices.

use super::machine::{Alternatives, Flow, Machine, count, holds};
use super::watch::Watch;
use crate::builtins::Fault;
use crate::plan::{Arg, DataAt, Out, Path};
use crate::value::Value;

impl<'p, W: Watch> Machine<'p, W> {
    pub(crate) fn reference(&mut self, path: &'p Path, out: &'p Out) -> Result<Flow, Fault> {
        let Some(frame) = self.frames.last() else { return Ok(Flow::Fail) };
        let done = path.done as usize;
        match path.at {
            DataAt::Input => {
                let Some(input) = &frame.context.input else { return Ok(Flow::Fail) };
                let (found, step) = self.descend(input, &path.steps, 0, false);
                match found.cloned() {
                    Some(value) => self.go(path, out, value, step, false),
                    None => Ok(Flow::Fail),
                }
            }
            DataAt::Local(register) => {
                let Some(value) = self.stepped(register) else { return Ok(Flow::Fail) };
                let (found, step) = self.descend(value, &path.steps, 0, false);
                match found.cloned() {
                    Some(value) => self.go(path, out, value, step, false),
                    None => Ok(Flow::Fail),
                }
            }
            _ if frame.context.replaced.is_some() => self.start_at_root(path, out),
            DataAt::Rules(node) => self.virtual_document(node, path, out, done),
            DataAt::Base => {
                let (found, step) = self.descend(self.data, &path.steps, 0, true);
                match found.cloned() {
                    Some(value) => self.go(path, out, value, step, true),
                    None => Ok(Flow::Fail),
                }
            }
            DataAt::Tree(_) => self.start_at_root(path, out),
        }
    }

    /// Follows the steps that have a value. What was found, and the step that has none, or the end.
    pub(crate) fn descend<'a>(
        &'a self,
        mut value: &'a Value,
        steps: &'a [Arg],
        mut at: usize,
        base: bool,
    ) -> (Option<&'a Value>, usize) {
        while let Some(step) = steps.get(at) {
            let Some(key) = self.plain(step) else { break };
            let found = if base { base_get(value, key) } else { value.get(key) };
            match found {
                Some(found) => value = found,
                None => return (None, at),
            }
            at += 1;
        }
        (Some(value), at)
    }

    /// Goes on with a value that was found, at a step; `base`: it is a base document.
    pub(crate) fn go(
        &mut self,
        path: &'p Path,
        out: &'p Out,
        value: Value,
        step: usize,
        base: bool,
    ) -> Result<Flow, Fault> {
        let (mut value, mut at) = (value, step);
        loop {
            let (found, next) = self.descend(&value, &path.steps, at, base);
            let Some(found) = found.cloned() else { return Ok(Flow::Fail) };
            value = found;
            at = next;
            let Some(pattern) = path.steps.get(at) else { return Ok(holds(self.emit(out, &value)?)) };
            // A step that is built of registers may have a value all the same.
            if !matches!(pattern, Arg::Reg(_)) {
                if let Some(key) = self.value(pattern)? {
                    let found = if base { base_get(&value, &key) } else { value.get(&key) };
                    let Some(found) = found.cloned() else { return Ok(Flow::Fail) };
                    value = found;
                    at += 1;
                    continue;
                }
                if matches!(value, Value::Array(_)) {
                    return Ok(Flow::Fail);
                }
            }
            if count(&value) > 0 {
                self.leave(Alternatives::Items { value, next: 0, step: at, base });
            }
            return Ok(Flow::Fail);
        }
    }

    /// The value of a step, if it has one.
    pub(crate) fn key(&mut self, step: &Arg) -> Result<Option<Value>, Fault> {
        self.value(step)
    }
}

/// What a step finds in a base document, which OPA reads by paths of text: numbers are texts, and texts may be indices.
///
/// Source: `v1/storage/path.go`, `v1/storage/internal/ptr`.
pub(crate) fn base_get<'a>(value: &'a Value, key: &Value) -> Option<&'a Value> {
    match (value, key) {
        (Value::Object(object), Value::String(text)) => object.get_str(text.as_bytes()),
        (Value::Object(object), Value::Number(number)) => object.get_str(number.to_text().as_bytes()),
        (Value::Array(array), Value::Number(number)) => {
            array.items().get(usize::try_from(number.to_i64()?).ok()?)
        }
        (Value::Array(array), Value::String(text)) => array.items().get(index_of(text.as_bytes())?),
        _ => None,
    }
}

/// A text as an index: digits, zeros after a point.
fn index_of(text: &[u8]) -> Option<usize> {
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let (whole, rest) = match text.iter().position(|b| *b == b'.') {
        Some(point) => (text.get(..point)?, text.get(point + 1..)?),
        None => (text, &b"0"[..]),
    };
    if whole.is_empty() || text.len() > 19 || rest.is_empty() || !rest.iter().all(|b| *b == b'0') {
        return None;
    }
    std::str::from_utf8(whole).ok()?.parse().ok()
}
