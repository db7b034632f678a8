//! `replace` and `strings.replace_n`: from left to right, never over what was put in.
//!
//! Source: `v1/topdown/strings.go`; `go:strings`, `Replacer`.

use super::{args, rune};
use crate::builtins::{Budget, Builtin, Call, Fault, Type};
use crate::value::{Str, Value};

const SOURCE: &str = "v1/topdown/strings.go";

pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("replace", &[Type::String, Type::String, Type::String], Type::String, replace, SOURCE),
    Builtin::new(
        "strings.replace_n",
        &[Type::object_of(&Type::String, &Type::String), Type::String],
        Type::String,
        replace_n,
        SOURCE,
    ),
];

fn replace(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (text, old, new) = (args::text(args, 0)?, args::bytes(args, 1)?, args::bytes(args, 2)?);
    if old.is_empty() {
        return replaced(call.budget, text, &[(old, new)]);
    }
    let bytes = text.as_bytes();
    call.step(1 + (bytes.len() + old.len()) / 32)?;
    let mut out = Out::new(bytes);
    for at in memchr::memmem::find_iter(bytes, old) {
        out.put(at, old.len(), new, call.budget)?;
    }
    out.finish(text, call.budget)
}

/// At each place the first key, in the order of keys, that stands there.
fn replace_n(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    const BAD: Fault = Fault::undefined("the pairs must be an object of strings");
    let pairs = args.first().and_then(Value::as_object).ok_or(BAD)?;
    let text = args::text(args, 1)?;
    call.step(1 + pairs.len())?;
    let pairs: Result<Vec<_>, Fault> =
        pairs.iter().map(|(old, new)| Ok((old.as_bytes().ok_or(BAD)?, new.as_bytes().ok_or(BAD)?))).collect();
    replaced(call.budget, text, &pairs?)
}

/// What is made of a text: pieces of it are copied when something comes between.
struct Out<'a> {
    text: &'a [u8],
    made: Vec<u8>,
    copied: usize,
    changed: bool,
}

impl<'a> Out<'a> {
    fn new(text: &'a [u8]) -> Out<'a> {
        Out { text, made: Vec::new(), copied: 0, changed: false }
    }

    fn put(&mut self, at: usize, length: usize, new: &[u8], budget: &mut Budget) -> Result<(), Fault> {
        let before = rune::cut(self.text, self.copied, at);
        budget.step(1)?;
        budget.bytes((before.len() + new.len()) as u64)?;
        self.made.extend_from_slice(before);
        self.made.extend_from_slice(new);
        self.copied = at + length;
        self.changed = true;
        Ok(())
    }

    fn finish(mut self, text: &Str, budget: &mut Budget) -> Result<Value, Fault> {
        if !self.changed {
            return Ok(text.clone().into());
        }
        let rest = rune::from(self.text, self.copied);
        budget.bytes(rest.len() as u64 + 16)?;
        self.made.extend_from_slice(rest);
        Ok(self.made.into())
    }
}

/// An empty key stands at every place, also within characters; after it only others are looked for.
fn replaced(budget: &mut Budget, text: &Str, pairs: &[(&[u8], &[u8])]) -> Result<Value, Fault> {
    let bytes = text.as_bytes();
    budget.step(64 + bytes.len() as u64 / 4)?;
    // Keys by their first byte, in the order of keys.
    let mut starts: [(u32, u32); 256] = [(0, 0); 256];
    let mut empty = None;
    for (at, (key, new)) in pairs.iter().enumerate() {
        match key.first() {
            None => empty = Some(*new),
            Some(first) => {
                if let Some((start, end)) = starts.get_mut(usize::from(*first)) {
                    // Keys are sorted: those of one first byte stand together.
                    if *end == 0 {
                        *start = at as u32;
                    }
                    *end = at as u32 + 1;
                }
            }
        }
    }
    let mut out = Out::new(bytes);
    let (mut at, mut after_empty) = (0, false);
    while at <= bytes.len() {
        if let (Some(new), false) = (empty, after_empty) {
            out.put(at, 0, new, budget)?;
            after_empty = true;
            continue;
        }
        after_empty = false;
        let rest = rune::from(bytes, at);
        let (start, end) =
            rest.first().and_then(|first| starts.get(usize::from(*first))).copied().unwrap_or_default();
        let keys = pairs.get(start as usize..end as usize).unwrap_or_default();
        budget.step(keys.len() as u64 / 4)?;
        match keys.iter().find(|(key, _)| rest.starts_with(key)) {
            Some((key, new)) => {
                out.put(at, key.len(), new, budget)?;
                at += key.len();
            }
            None => at += 1,
        }
    }
    out.finish(text, budget)
}
