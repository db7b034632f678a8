//! Envoy's metadata, as a property has them: the bytes of a protobuf message, in which alone values have types.
//!
//! Source: Envoy `api/envoy/config/core/v3/base.proto` (`Metadata`), protobuf's `struct.proto`; opa-envoy-plugin,
//! `envoyauth/protomap.go`, for the JSON that policies see.

use std::collections::BTreeMap;

use crate::policy::{Number, Value, array, field, string};

/// Most bytes of what is read of one kind of metadata: what is built of it takes some forty times as much.
const MOST_BYTES: usize = 64 << 10;
/// The namespace of the route's metadata that is for this filter.
const OWN_NAMESPACE: &str = "portcullis";
const CONTEXT_EXTENSIONS: &str = "context_extensions";
/// Objects and lists within one another.
const MOST_DEPTH: usize = 32;

// Numbers of fields: of `Metadata`, of the entries of every map, of `Struct`, `ListValue` and `Value`.
const FILTER_METADATA: u64 = 1;
const KEY: u64 = 1;
const VALUE: u64 = 2;
const FIELDS: u64 = 1;
const VALUES: u64 = 1;
const NULL: u64 = 1;
const NUMBER: u64 = 2;
const TEXT: u64 = 3;
const BOOL: u64 = 4;
const STRUCT: u64 = 5;
const LIST: u64 = 6;

/// Namespaces that were asked for, each with what it holds, still in bytes; in the order of their names.
pub(super) type Namespaces = Vec<(String, Vec<u8>)>;

/// Why metadata cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// More than is read.
    #[error("they have more than {MOST_BYTES} bytes; list fewer namespaces")]
    TooLarge,
    /// No message of this kind, or one that nests too deep.
    #[error("Envoy's bytes are no metadata, or nest too deep")]
    Unreadable,
    /// A value that JSON has not.
    #[error("a number in them is none in JSON")]
    NotANumber,
    /// What is said to policies must be texts, as with ext_authz.
    #[error(
        "`context_extensions` in `filter_metadata.portcullis` is no map of texts; put each value in quotes"
    )]
    NotTexts,
}

/// What a field of a message holds.
enum Held<'a> {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    /// Of a kind that nothing here has.
    Other,
}

/// Those of some names, which are sorted.
pub(super) fn namespaces(metadata: &[u8], names: &[String]) -> Result<Namespaces, MetadataError> {
    let mut found = BTreeMap::new();
    let mut rest = metadata;
    while let Some((number, held)) = next(&mut rest)? {
        if let (FILTER_METADATA, Held::Bytes(entry)) = (number, held) {
            let (name, namespace) = pair(entry)?;
            if let Ok(place) = names.binary_search_by(|known| known.as_str().cmp(name)) {
                found.insert(place, namespace);
            }
        }
    }
    let found: Namespaces = found
        .into_iter()
        .filter_map(|(place, namespace)| Some((names.get(place)?.clone(), namespace.to_vec())))
        .collect();
    let bytes: usize = found.iter().map(|(name, bytes)| name.len() + bytes.len()).sum();
    if bytes > MOST_BYTES { Err(MetadataError::TooLarge) } else { Ok(found) }
}

/// What a namespace holds, as JSON.
pub(super) fn value(namespace: &[u8]) -> Result<Value, MetadataError> {
    object(namespace, MOST_DEPTH)
}

/// What the virtual host says to policies, and what the route says in addition, or in its place.
///
/// Source: Envoy `source/extensions/filters/http/ext_authz/ext_authz.h`, `FilterConfigPerRoute`: of equal keys the route's.
pub(super) fn context_extensions(
    host: Option<&[u8]>,
    route: Option<&[u8]>,
) -> Result<BTreeMap<String, String>, MetadataError> {
    let mut all = BTreeMap::new();
    for metadata in [host, route].into_iter().flatten() {
        for (_, namespace) in namespaces(metadata, &[OWN_NAMESPACE.to_owned()])? {
            let said = value(&namespace)?;
            let Some(extensions) = field(&said, CONTEXT_EXTENSIONS) else { continue };
            let extensions = extensions.as_object().ok_or(MetadataError::NotTexts)?;
            for (key, text) in extensions.iter() {
                let (key, text) = string(key).zip(string(text)).ok_or(MetadataError::NotTexts)?;
                all.insert(key.to_owned(), text.to_owned());
            }
        }
    }
    Ok(all)
}

/// `google.protobuf.Struct`
fn object(bytes: &[u8], depth: usize) -> Result<Value, MetadataError> {
    let mut pairs = Vec::new();
    let mut rest = bytes;
    while let Some((number, held)) = next(&mut rest)? {
        if let (FIELDS, Held::Bytes(entry)) = (number, held) {
            let (key, item) = pair(entry)?;
            pairs.push((Value::from(key), json(item, depth)?));
        }
    }
    Value::object(pairs).map_err(|_| MetadataError::Unreadable)
}

/// `google.protobuf.ListValue`
fn list(bytes: &[u8], depth: usize) -> Result<Value, MetadataError> {
    let mut items = Vec::new();
    let mut rest = bytes;
    while let Some((number, held)) = next(&mut rest)? {
        if let (VALUES, Held::Bytes(item)) = (number, held) {
            items.push(json(item, depth)?);
        }
    }
    Ok(array(items))
}

/// `google.protobuf.Value`; what says nothing is null, as in Go.
fn json(bytes: &[u8], depth: usize) -> Result<Value, MetadataError> {
    let below = || depth.checked_sub(1).ok_or(MetadataError::Unreadable);
    let mut value = Value::Null;
    let mut rest = bytes;
    while let Some((number, held)) = next(&mut rest)? {
        value = match (number, held) {
            (NULL, Held::Varint(_)) => Value::Null,
            (NUMBER, Held::Eight(bytes)) => {
                Number::from_f64(f64::from_le_bytes(bytes)).ok_or(MetadataError::NotANumber)?.into()
            }
            (TEXT, Held::Bytes(bytes)) => Value::from(text(bytes)?),
            (BOOL, Held::Varint(is)) => Value::Bool(is != 0),
            (STRUCT, Held::Bytes(bytes)) => object(bytes, below()?)?,
            (LIST, Held::Bytes(bytes)) => list(bytes, below()?)?,
            _ => continue,
        };
    }
    Ok(value)
}

/// The entry of a map of texts.
fn pair(entry: &[u8]) -> Result<(&str, &[u8]), MetadataError> {
    let (mut key, mut value): (&[u8], &[u8]) = (b"", b"");
    let mut rest = entry;
    while let Some((number, held)) = next(&mut rest)? {
        match (number, held) {
            (KEY, Held::Bytes(bytes)) => key = bytes,
            (VALUE, Held::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((text(key)?, value))
}

fn text(bytes: &[u8]) -> Result<&str, MetadataError> {
    std::str::from_utf8(bytes).map_err(|_| MetadataError::Unreadable)
}

/// The next field of a message with its number. Source: protobuf's encoding guide.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<(u64, Held<'a>)>, MetadataError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let tag = varint(rest)?;
    let held = match tag & 7 {
        0 => Held::Varint(varint(rest)?),
        1 => Held::Eight(taken(rest, 8)?.try_into().map_err(|_| MetadataError::Unreadable)?),
        2 => {
            let size = usize::try_from(varint(rest)?).map_err(|_| MetadataError::Unreadable)?;
            Held::Bytes(taken(rest, size)?)
        }
        5 => {
            taken(rest, 4)?;
            Held::Other
        }
        _ => return Err(MetadataError::Unreadable),
    };
    Ok(Some((tag >> 3, held)))
}

fn taken<'a>(rest: &mut &'a [u8], size: usize) -> Result<&'a [u8], MetadataError> {
    let (taken, after) = rest.split_at_checked(size).ok_or(MetadataError::Unreadable)?;
    *rest = after;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, MetadataError> {
    let mut value = 0;
    // Ten groups of seven bits, of the last of which one fits.
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(MetadataError::Unreadable)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Ok(value);
        }
    }
    Err(MetadataError::Unreadable)
}

#[cfg(test)]
pub(super) mod tests {
    use prost::Message;

    use super::*;
    use crate::policy::parse_json;

    // Written by the library, so that what is read is not only what is written here.

    #[derive(Clone, PartialEq, prost::Message)]
    struct Metadata {
        /// `Struct` by namespace, unread.
        #[prost(btree_map = "string, bytes", tag = "1")]
        filter_metadata: BTreeMap<String, Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Struct {
        #[prost(btree_map = "string, message", tag = "1")]
        fields: BTreeMap<String, Item>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Item {
        #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
        kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct List {
        #[prost(message, repeated, tag = "1")]
        values: Vec<Item>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    enum Kind {
        #[prost(int32, tag = "1")]
        Null(i32),
        #[prost(double, tag = "2")]
        Number(f64),
        #[prost(string, tag = "3")]
        Text(String),
        #[prost(bool, tag = "4")]
        Bool(bool),
        #[prost(message, tag = "5")]
        Struct(Struct),
        #[prost(message, tag = "6")]
        List(List),
    }

    fn item(value: &serde_json::Value) -> Item {
        let kind = match value {
            serde_json::Value::Null => Kind::Null(0),
            serde_json::Value::Bool(is) => Kind::Bool(*is),
            serde_json::Value::Number(number) => Kind::Number(number.as_f64().unwrap()),
            serde_json::Value::String(text) => Kind::Text(text.clone()),
            serde_json::Value::Array(items) => Kind::List(List { values: items.iter().map(item).collect() }),
            serde_json::Value::Object(fields) => Kind::Struct(Struct {
                fields: fields.iter().map(|(key, value)| (key.clone(), item(value))).collect(),
            }),
        };
        Item { kind: Some(kind) }
    }

    /// Metadata as Envoy writes them: a map of namespaces.
    pub(in crate::authz) fn bytes(namespaces: &serde_json::Value) -> Vec<u8> {
        let Kind::Struct(Struct { fields }) = item(namespaces).kind.unwrap() else { panic!() };
        let filter_metadata = fields.into_iter().map(|(name, item)| {
            let Some(Kind::Struct(namespace)) = item.kind else { panic!() };
            (name, namespace.encode_to_vec())
        });
        Metadata { filter_metadata: filter_metadata.collect() }.encode_to_vec()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn values_keep_their_types_and_only_what_is_asked_for_is_read() {
        let given = serde_json::json!({
            "a": { "null": null, "yes": true, "eight": "12345678", "number": 1.5, "list": [1, "1", [], {}], "in": { "x": { "y": [null] } } },
            "b": { "x": 1 },
            "c": {},
        });
        let found = namespaces(&bytes(&given), &names(&["a", "c", "d"])).unwrap();
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        for (name, namespace) in found {
            assert_eq!(value(&namespace).unwrap(), parse_json(&given[&name].to_string()).unwrap());
        }
        assert_eq!(namespaces(b"", &names(&["a"])), Ok(Vec::new()));
    }

    #[test]
    fn what_is_too_much_or_too_deep_is_an_error() {
        let large = |size| serde_json::json!({ "a": { "x": "y".repeat(size) }, "b": { "x": "z" } });
        let a = names(&["a"]);
        assert!(namespaces(&bytes(&large(MOST_BYTES - 100)), &a).is_ok());
        assert_eq!(namespaces(&bytes(&large(MOST_BYTES)), &a), Err(MetadataError::TooLarge));
        assert!(
            namespaces(&bytes(&large(MOST_BYTES)), &names(&["b"])).is_ok(),
            "of others it does not matter"
        );
        for depth in [MOST_DEPTH, MOST_DEPTH + 1, MOST_DEPTH + 2, 1000] {
            let nested = (0..depth).fold(Item { kind: Some(Kind::Bool(true)) }, |inner, _| Item {
                kind: Some(Kind::Struct(Struct { fields: BTreeMap::from([("x".to_owned(), inner)]) })),
            });
            let Some(Kind::Struct(namespace)) = nested.kind else { panic!() };
            // The namespace itself is none of them.
            assert_eq!(value(&namespace.encode_to_vec()).is_ok(), depth <= MOST_DEPTH + 1, "{depth}");
        }
        for number in [f64::NAN, f64::INFINITY] {
            let fields = BTreeMap::from([("x".to_owned(), Item { kind: Some(Kind::Number(number)) })]);
            assert_eq!(value(&Struct { fields }.encode_to_vec()), Err(MetadataError::NotANumber));
        }
    }

    fn any(random: &mut fastrand::Rng, depth: usize) -> serde_json::Value {
        match random.u8(..if depth == 0 { 4 } else { 6 }) {
            0 => serde_json::Value::Null,
            1 => random.bool().into(),
            2 => (f64::from(random.i32(..)) / f64::from(1 << random.u8(..8))).into(),
            3 => "é".repeat(random.usize(..200)).into(),
            4 => (0..random.usize(..5)).map(|_| any(random, depth - 1)).collect(),
            _ => {
                let pairs = (0..random.usize(..5)).map(|n| (format!("k{n}"), any(random, depth - 1)));
                serde_json::Value::Object(pairs.collect())
            }
        }
    }

    #[test]
    fn what_the_library_writes_is_read() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..2_000 {
            let given =
                serde_json::json!({ "a": { "x": any(&mut random, 5) }, "b": { "y": any(&mut random, 2) } });
            let found = namespaces(&bytes(&given), &names(&["a", "b"])).unwrap();
            assert_eq!(found.len(), 2);
            for (name, namespace) in found {
                assert_eq!(value(&namespace).unwrap(), parse_json(&given[&name].to_string()).unwrap());
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused() {
        let good = bytes(&serde_json::json!({ "a": { "x": [1, { "y": "z" }], "n": null } }));
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut bad = good.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bad.len());
                bad[at] = random.u8(..);
            }
            bad.truncate(random.usize(..=bad.len()));
            for (_, namespace) in namespaces(&bad, &names(&["a"])).unwrap_or_default() {
                let _ = value(&namespace);
            }
            let _ = context_extensions(Some(&bad), Some(&good));
        }
    }

    #[test]
    fn a_route_says_more_than_its_host_and_only_texts() {
        let host =
            bytes(&serde_json::json!({ "portcullis": { "context_extensions": { "a": "1", "b": "2" } } }));
        let route = bytes(&serde_json::json!({
            "portcullis": { "policy": "p", "context_extensions": { "b": "3" } },
            "other": { "context_extensions": { "c": "4" } },
        }));
        let read = |host: Option<&[u8]>, route: Option<&[u8]>| {
            let all = context_extensions(host, route)?;
            Ok(all.into_iter().map(|(key, value)| key + &value).collect::<Vec<_>>())
        };
        assert_eq!(read(Some(&host), Some(&route)).unwrap(), ["a1", "b3"]);
        assert_eq!(read(None, Some(&route)).unwrap(), ["b3"]);
        assert_eq!(read(Some(&host), None).unwrap(), ["a1", "b2"]);
        assert_eq!(read(None, None).unwrap(), [""; 0]);
        for wrong in [
            serde_json::json!({ "a": 1 }),
            serde_json::json!({ "a": null }),
            serde_json::json!({ "a": {} }),
            serde_json::json!("a"),
        ] {
            let wrong = bytes(&serde_json::json!({ "portcullis": { "context_extensions": wrong } }));
            assert_eq!(read(Some(&wrong), Some(&route)), Err(MetadataError::NotTexts));
        }
    }
}
