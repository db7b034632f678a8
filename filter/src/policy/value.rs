//! Documents: JSON text in, objects put together, fields looked up.

use std::collections::BTreeMap;

pub use portcullis_rego::{Value, value::Number};

use super::{
    json::{JsonError, JsonReader},
    merge::Merge,
};

/// Two documents that cannot both be part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`data.{}` is given twice", path.join("."))]
pub struct Conflict {
    /// Keys from the root to the place that both claim.
    pub path: Vec<String>,
}

/// Parses JSON text. Errors carry line and column, and stay short whatever the text.
pub fn parse_json(text: &str) -> Result<Value, JsonError> {
    parse_body(text.as_bytes())
}

/// The value of a body that is JSON, within the memory that a text of its length can need.
///
/// Errors: it is no JSON, is nested more than 256 levels deep, or is not UTF-8.
pub(crate) fn parse_body(text: &[u8]) -> Result<Value, JsonError> {
    let mut reader = JsonReader::new();
    loop {
        if let Some(parsed) = reader.step(text) {
            return parsed;
        }
    }
}

/// An object with string keys, for documents of a known and small depth.
pub fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let pairs = fields.into_iter().map(|(key, value)| (Value::from(key), value)).collect();
    Value::object(pairs).unwrap_or_default()
}

/// An array, for documents of a known and small depth.
pub fn array(items: Vec<Value>) -> Value {
    Value::array(items).unwrap_or_default()
}

/// A number that need not fit 64 bits with a sign.
pub fn number(number: u64) -> Value {
    match i64::try_from(number) {
        Ok(number) => Value::from(number),
        Err(_) => Number::parse(&number.to_string()).map_or(Value::Null, Value::from),
    }
}

/// The field of an object; none where it is absent or the value is no object.
pub fn field<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.as_object()?.get_str(key.as_bytes())
}

/// Text of a string value, if it is UTF-8.
pub fn string(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => text.as_str(),
        _ => None,
    }
}

/// Puts `document` at `path` below `root`; objects merge, anything else that meets is a conflict.
pub fn merge_at(root: &mut Value, path: &[String], document: Value) -> Result<(), Conflict> {
    let mut merge = Merge::new(std::mem::take(root), path, document);
    loop {
        if let Some(merged) = merge.step() {
            *root = merged?;
            return Ok(());
        }
    }
}

/// The first place of a document that lies outside `roots`.
///
/// Shape: a root is a list of keys; the empty root holds everything. A place is the shortest path that no root
/// holds and that no root lies below. Only the objects above roots are walked, so what it costs is bounded by their
/// number and length, whatever the document.
pub fn first_outside(roots: &[Vec<String>], document: &Value) -> Option<Vec<String>> {
    fn walk(roots: &[&[String]], value: &Value, path: &mut Vec<String>) -> Option<Vec<String>> {
        if roots.iter().any(|root| root.is_empty()) {
            return None;
        }
        let Some(object) = value.as_object() else {
            return Some(path.clone());
        };
        let mut below: BTreeMap<&str, Vec<&[String]>> = BTreeMap::new();
        for (first, rest) in roots.iter().filter_map(|root| root.split_first()) {
            below.entry(first).or_default().push(rest);
        }
        for (key, inner) in object.iter() {
            let key = string(key).unwrap_or_default();
            path.push(key.to_owned());
            let outside = match below.get(key) {
                Some(roots) => walk(roots, inner, path),
                None => Some(path.clone()),
            };
            if outside.is_some() {
                return outside;
            }
            path.pop();
        }
        None
    }
    let roots: Vec<&[String]> = roots.iter().map(Vec::as_slice).collect();
    if roots.is_empty() { Some(Vec::new()) } else { walk(&roots, document, &mut Vec::new()) }
}

/// An object from string pairs, for small maps built on the request path.
pub fn string_map<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Value {
    let pairs = pairs.into_iter().map(|(key, value)| (Value::from(key.into()), Value::from(value.into())));
    Value::object(pairs.collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/').filter(|key| !key.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn documents_merge_where_both_are_objects() {
        let mut root = object([]);
        merge_at(&mut root, &path("a"), parse_json(r#"{"x": 1}"#).unwrap()).unwrap();
        merge_at(&mut root, &path("a/y"), parse_json("2").unwrap()).unwrap();
        assert_eq!(root, parse_json(r#"{"a": {"x": 1, "y": 2}}"#).unwrap());
    }

    #[test]
    fn two_values_at_one_place_conflict_by_path() {
        let mut root = parse_json(r#"{"a": {"x": 1}}"#).unwrap();
        let conflict = merge_at(&mut root, &path("a/x"), parse_json("2").unwrap()).unwrap_err();
        assert_eq!(conflict.to_string(), "`data.a.x` is given twice");
    }

    #[test]
    fn data_outside_the_roots_is_found_by_its_shortest_path() {
        let document = parse_json(r#"{"a": {"b": {"c": 1}, "d": 2}}"#).unwrap();
        assert_eq!(first_outside(&[path("")], &document), None);
        assert_eq!(first_outside(&[path("a")], &document), None);
        assert_eq!(first_outside(&[path("a/b")], &document), Some(path("a/d")));
        assert_eq!(first_outside(&[path("x")], &document), Some(path("a")));
        assert_eq!(first_outside(&[path("a/b/c/e"), path("a/d")], &document), Some(path("a/b/c")));
    }
}
