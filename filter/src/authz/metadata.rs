//! Envoy's metadata, as a property has them: the bytes of a protobuf message, in which alone values have types.
//!
//! Source: Envoy `api/envoy/config/core/v3/base.proto` (`Metadata`), protobuf's `struct.proto`; opa-envoy-plugin,
//! `envoyauth/protomap.go`, for the JSON that policies see.

use std::collections::BTreeMap;

use crate::policy::{Number, Value, array};

/// Most bytes of what is read of one kind of metadata: what is built of it takes some forty times as much.
const MOST_BYTES: usize = 64 << 10;
/// The namespace of the route's metadata that is for this filter.
const OWN_NAMESPACE: &str = "portcullis";
const CONTEXT_EXTENSIONS: &str = "context_extensions";

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

/// Those of some names, which are sorted.
pub(super) fn namespaces(metadata: &[u8], names: &[String]) -> Result<Namespaces, MetadataError> {
    let Metadata { filter_metadata } = read(metadata)?;
    let found = filter_metadata.into_iter().filter(|(name, _)| names.binary_search(name).is_ok());
    let found: Namespaces = found.collect();
    let bytes: usize = found.iter().map(|(name, bytes)| name.len() + bytes.len()).sum();
    if bytes > MOST_BYTES { Err(MetadataError::TooLarge) } else { Ok(found) }
}

/// What a namespace holds, as JSON.
pub(super) fn value(namespace: &[u8]) -> Result<Value, MetadataError> {
    object(read(namespace)?)
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
        let own = namespaces(metadata, &[OWN_NAMESPACE.to_owned()])?;
        for (_, namespace) in own {
            let Struct { mut fields } = read(&namespace)?;
            let Some(extensions) = fields.remove(CONTEXT_EXTENSIONS) else { continue };
            let Some(Kind::Struct(Struct { fields })) = extensions.kind else {
                return Err(MetadataError::NotTexts);
            };
            for (key, item) in fields {
                let Some(Kind::Text(text)) = item.kind else { return Err(MetadataError::NotTexts) };
                all.insert(key, text);
            }
        }
    }
    Ok(all)
}

/// How deep messages nest is bounded by the library, at a hundred.
fn read<M: prost::Message + Default>(bytes: &[u8]) -> Result<M, MetadataError> {
    M::decode(bytes).map_err(|_| MetadataError::Unreadable)
}

fn object(Struct { fields }: Struct) -> Result<Value, MetadataError> {
    let pairs = fields.into_iter().map(|(key, item)| Ok((Value::from(key), json(item)?)));
    Value::object(pairs.collect::<Result<_, _>>()?).map_err(|_| MetadataError::Unreadable)
}

fn json(item: Item) -> Result<Value, MetadataError> {
    Ok(match item.kind {
        None | Some(Kind::Null(_)) => Value::Null,
        Some(Kind::Number(number)) => Number::from_f64(number).ok_or(MetadataError::NotANumber)?.into(),
        Some(Kind::Text(text)) => Value::from(text),
        Some(Kind::Bool(is)) => Value::Bool(is),
        Some(Kind::Struct(fields)) => object(fields)?,
        Some(Kind::List(List { values })) => array(values.into_iter().map(json).collect::<Result<_, _>>()?),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use prost::Message;

    use super::*;
    use crate::policy::parse_json;

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
        for depth in [20, 1000] {
            let nested = (0..depth).fold(Item { kind: Some(Kind::Bool(true)) }, |inner, _| Item {
                kind: Some(Kind::Struct(Struct { fields: BTreeMap::from([("x".to_owned(), inner)]) })),
            });
            let Some(Kind::Struct(namespace)) = nested.kind else { panic!() };
            assert_eq!(value(&namespace.encode_to_vec()).is_ok(), depth == 20, "{depth}");
        }
        for number in [f64::NAN, f64::INFINITY] {
            let fields = BTreeMap::from([("x".to_owned(), Item { kind: Some(Kind::Number(number)) })]);
            assert_eq!(value(&Struct { fields }.encode_to_vec()), Err(MetadataError::NotANumber));
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
