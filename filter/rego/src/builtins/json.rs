//! JSON as text, and the parts of a document by path.
//!
//! Source: `v1/topdown/encoding.go`, `json.go`, `v1/ast/term.go` (`filterObject`).

use super::operands::{all, array, bytes, object, string, text};
use super::patch::Document;
use super::{Builtin, Call, Fault, Field, Type};
use crate::value::{
    JsonError, Layout, MOST_DEPTH, Object, Set, Value, after_space, is_valid_json, write_integer,
};
use std::collections::BTreeMap;
use std::rc::Rc;

const ENCODING: &str = "v1/topdown/encoding.go";
const SOURCE: &str = "v1/topdown/json.go";
const PATH: Type = Type::Union(&[Type::String, Type::ANY_ARRAY]);
const PATHS: Type = Type::Union(&[Type::array_of(&PATH), Type::Set(&PATH)]);

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("json.filter", &[Type::ANY_OBJECT, PATHS], Type::ANY_OBJECT, filter, SOURCE),
    Builtin::new("json.is_valid", &[Type::String], Type::Boolean, is_valid, ENCODING),
    Builtin::new("json.marshal", &[Type::Any], Type::String, marshal, ENCODING),
    Builtin::new(
        "json.marshal_with_options",
        &[
            Type::Any,
            Type::Object(
                &[
                    Field { key: "indent", value: Type::String },
                    Field { key: "prefix", value: Type::String },
                    Field { key: "pretty", value: Type::Boolean },
                ],
                Some((&Type::String, &Type::Any)),
            ),
        ],
        Type::String,
        marshal_with_options,
        ENCODING,
    ),
    Builtin::new(
        "json.patch",
        &[
            Type::Any,
            Type::array_of(&Type::Object(
                &[Field { key: "op", value: Type::String }, Field { key: "path", value: Type::Any }],
                Some((&Type::Any, &Type::Any)),
            )),
        ],
        Type::Any,
        patch,
        SOURCE,
    ),
    Builtin::new("json.remove", &[Type::ANY_OBJECT, PATHS], Type::ANY_OBJECT, remove, SOURCE),
    Builtin::new("json.unmarshal", &[Type::String], Type::Any, unmarshal, ENCODING),
];

/// A value that has no number that JSON cannot write.
pub(super) fn writable(call: &mut Call<'_>, value: &Value) -> Result<(), Fault> {
    call.walk(value)?;
    if value.is_json() { Ok(()) } else { Err(Fault::undefined("a number that JSON does not have")) }
}

fn marshal(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    writable(call, value)?;
    let mut out = Vec::new();
    value.write_json(&mut out, call.budget)?;
    text(out)
}

fn marshal_with_options(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value, options] = all(args)?;
    writable(call, value)?;
    let (mut prefix, mut indent): (&[u8], &[u8]) = (b"", b"\t");
    let (mut implied, mut pretty) = (false, None);
    for (key, option) in object(options)?.iter() {
        match bytes(key)? {
            b"prefix" => (prefix, implied) = (bytes(option)?, true),
            b"indent" => (indent, implied) = (bytes(option)?, true),
            b"pretty" => {
                pretty = Some(option.as_bool().ok_or(Fault::undefined("`pretty` must be a boolean"))?)
            }
            _ => return Err(Fault::undefined("an unknown option")),
        }
    }
    let mut out = Vec::new();
    if pretty.unwrap_or(implied) {
        call.bytes(prefix.len())?;
        out.extend_from_slice(prefix);
        value.write_json_laid_out(&mut out, call.budget, Layout { prefix, indent })?;
    } else {
        value.write_json(&mut out, call.budget)?;
    }
    text(out)
}

fn unmarshal(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    read(call, bytes(value)?)
}

/// One value. What begins with `null` after it is let through: OPA asks Go's decoder for the next token, and
/// takes that of `null` for the end.
pub(super) fn read(call: &mut Call<'_>, text: &[u8]) -> Result<Value, Fault> {
    match Value::from_json_prefix(text, call.budget) {
        Ok((value, rest)) => {
            let rest = after_space(rest);
            if rest.is_empty() || rest.starts_with(b"null") {
                Ok(value)
            } else {
                Err(Fault::undefined("not JSON"))
            }
        }
        Err(JsonError::Syntax { .. }) => Err(Fault::undefined("not JSON")),
        Err(JsonError::Limit(limit)) => Err(limit.into()),
    }
}

fn is_valid(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let Ok(text) = bytes(value) else { return Ok(Value::Bool(false)) };
    call.step(text.len() / 4)?;
    Ok(Value::Bool(is_valid_json(text)))
}

/// The segments of a path: all slashes in front are dropped, `~1` is `/`, then `~0` is `~`. The items of an
/// array as they are.
pub(super) fn segments(call: &mut Call<'_>, path: &Value) -> Result<Vec<Value>, Fault> {
    match path {
        Value::String(path) if path.is_empty() => Ok(Vec::new()),
        Value::String(path) => {
            let path = path.as_bytes();
            let slashes = path.iter().take_while(|byte| **byte == b'/').count();
            let path = path.get(slashes..).unwrap_or_default();
            let count = path.iter().filter(|byte| **byte == b'/').count() + 1;
            call.step(path.len() / 8)?;
            call.room(count)?;
            call.bytes(path.len())?;
            let unescaped = |part: &[u8]| Value::from(replaced(&replaced(part, b"~1", b'/'), b"~0", b'~'));
            Ok(path.split(|byte| *byte == b'/').map(unescaped).collect())
        }
        Value::Array(path) => {
            call.room(path.len())?;
            Ok(path.items().to_vec())
        }
        _ => Err(Fault::undefined("a path must be a string or an array")),
    }
}

fn replaced(text: &[u8], what: &[u8; 2], with: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = match rest.strip_prefix(what) {
            Some(after) => {
                out.push(with);
                after
            }
            None => {
                out.push(*first);
                tail
            }
        };
    }
    out
}

/// Paths, by their segments: all of what lies below a leaf is meant.
#[derive(Default)]
struct Paths {
    leaf: bool,
    below: BTreeMap<Value, Paths>,
}

impl Paths {
    fn of(call: &mut Call<'_>, paths: &Value) -> Result<Paths, Fault> {
        let paths = match paths {
            Value::Array(paths) => paths.items(),
            Value::Set(paths) => paths.members(),
            _ => return Err(Fault::undefined("paths must be an array or a set")),
        };
        let mut root = Paths::default();
        for path in paths {
            let segments = segments(call, path)?;
            let weight = segments.iter().map(|segment| u64::from(segment.weight())).sum();
            call.sorting(weight, paths.len())?;
            let (mut node, last) = (&mut root, segments.len());
            for (at, segment) in segments.into_iter().enumerate() {
                // Nothing lies deeper, so that only the way there counts.
                if node.leaf || at > MOST_DEPTH as usize {
                    break;
                }
                node = node.below.entry(segment).or_default();
                if at + 1 == last {
                    node.leaf = true;
                    node.below.clear();
                }
            }
        }
        Ok(root)
    }
}

/// The index of an item as it is written in a path.
fn index(at: usize) -> Value {
    let mut digits = Vec::new();
    write_integer(i64::try_from(at).unwrap_or(i64::MAX), &mut digits);
    Value::from(digits)
}

fn filter(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value, paths] = all(args)?;
    object(value)?;
    let paths = Paths::of(call, paths)?;
    filtered(call, value, &paths)
}

/// What lies on one of the paths.
fn filtered(call: &mut Call<'_>, value: &Value, paths: &Paths) -> Result<Value, Fault> {
    if paths.leaf {
        return Ok(value.clone());
    }
    match value {
        Value::Array(array) => {
            call.room(array.len())?;
            let mut kept = Vec::new();
            for (at, item) in array.iter().enumerate() {
                if let Some(below) = paths.below.get(&index(at)) {
                    kept.push(filtered(call, item, below)?);
                }
            }
            Ok(Value::array(kept)?)
        }
        Value::Set(set) => {
            call.room(set.len())?;
            call.sorting(u64::from(value.weight()), paths.below.len())?;
            let mut kept = Vec::new();
            for member in set.iter() {
                if let Some(below) = paths.below.get(member) {
                    kept.push(filtered(call, member, below)?);
                }
            }
            Ok(Value::set(kept)?)
        }
        Value::Object(object) => {
            call.room(object.len())?;
            call.sorting(object.len() as u64, paths.below.len())?;
            let mut kept = Vec::new();
            for (key, value) in object.iter() {
                if let Some((written, below)) = paths.below.get_key_value(key) {
                    // Keys are written as the larger of both writes them.
                    let key = if object.len() < paths.below.len() { written } else { key };
                    kept.push((key.clone(), filtered(call, value, below)?));
                }
            }
            Ok(Value::Object(Rc::new(Object::of_sorted(kept)?)))
        }
        scalar => Ok(scalar.clone()),
    }
}

fn remove(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value, paths] = all(args)?;
    object(value)?;
    let paths = Paths::of(call, paths)?;
    without(call, value, &paths)
}

/// What lies on none of the paths.
fn without(call: &mut Call<'_>, value: &Value, paths: &Paths) -> Result<Value, Fault> {
    // What is left of a part; nothing if the path ends at it.
    let part = |call: &mut Call<'_>, key: &Value, part: &Value| match paths.below.get(key) {
        None => Ok(Some(part.clone())),
        Some(below) if below.leaf => Ok(None),
        Some(below) => without(call, part, below).map(Some),
    };
    match value {
        Value::Array(array) => {
            call.room(array.len())?;
            let mut kept = Vec::with_capacity(array.len());
            for (at, item) in array.iter().enumerate() {
                kept.extend(part(call, &index(at), item)?);
            }
            Ok(Value::array(kept)?)
        }
        Value::Set(set) => {
            call.room(set.len())?;
            call.sorting(u64::from(value.weight()), paths.below.len())?;
            let mut kept = Vec::with_capacity(set.len());
            for member in set.iter() {
                kept.extend(part(call, member, member)?);
            }
            Ok(Value::Set(Rc::new(Set::from_members(kept)?)))
        }
        Value::Object(object) => {
            call.room(2 * object.len())?;
            call.sorting(object.len() as u64, paths.below.len())?;
            let mut kept = Vec::with_capacity(object.len());
            for (key, value) in object.iter() {
                kept.extend(part(call, key, value)?.map(|value| (key.clone(), value)));
            }
            Ok(Value::Object(Rc::new(Object::of_sorted(kept)?)))
        }
        scalar => Ok(scalar.clone()),
    }
}

/// All of the operations, or nothing.
fn patch(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value, operations] = all(args)?;
    let mut document = Document::new(value.clone());
    for operation in array(operations)?.iter() {
        call.step(1)?;
        let operation = object(operation)?;
        let member = |name: &'static str| {
            operation.get_str(name.as_bytes()).ok_or(Fault::undefined("an operation lacks a member"))
        };
        let path = member("path")?;
        let name = string(member("op")?)?;
        let path = segments(call, path)?;
        match name.as_bytes() {
            b"add" => document.insert(call, &path, member("value")?.clone())?,
            b"remove" => document.delete(call, &path)?,
            b"replace" => {
                document.delete(call, &path)?;
                document.insert(call, &path, member("value")?.clone())?;
            }
            b"move" => {
                let from = segments(call, member("from")?)?;
                let part = document.render(call, &from)?;
                document.delete(call, &from)?;
                document.insert(call, &path, part)?;
            }
            b"copy" => {
                let from = segments(call, member("from")?)?;
                let part = document.render(call, &from)?;
                document.insert(call, &path, part)?;
            }
            b"test" => {
                let part = document.render(call, &path)?;
                let wanted = member("value")?;
                call.compare(&part, wanted)?;
                if part != *wanted {
                    return Err(Fault::undefined("a test failed"));
                }
            }
            _ => return Err(Fault::undefined("an unknown operation")),
        }
    }
    document.render(call, &[])
}

impl From<JsonError> for Fault {
    fn from(error: JsonError) -> Fault {
        match error {
            JsonError::Limit(limit) => Fault::Limit(limit),
            JsonError::Syntax { .. } => Fault::undefined("not JSON"),
        }
    }
}
