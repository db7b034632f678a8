//! The drafts that OPA knows, and their own schemas. Source: draft.go.

use super::reference::Reference;
use super::{Trouble, said};
use crate::builtins::{Call, Fault};
use crate::value::{JsonError, Value};

/// A draft, the later the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Draft {
    Four,
    Six,
    Seven,
    /// All of them: what says no draft may use whatever one of them has.
    Hybrid,
}

/// The draft of a URL, which is written without a fragment.
pub(super) fn of_url(url: &[u8]) -> Option<Draft> {
    match url.strip_prefix(b"http://json-schema.org/draft-0")? {
        b"4/schema" => Some(Draft::Four),
        b"6/schema" => Some(Draft::Six),
        b"7/schema" => Some(Draft::Seven),
        _ => None,
    }
}

/// The draft that a document says it has.
pub(super) fn of_document(document: &Value) -> Result<Option<Draft>, Trouble> {
    match document {
        Value::Bool(_) => Ok(None),
        Value::Object(object) => match object.get_str(b"$schema") {
            None => Ok(None),
            Some(Value::String(url)) => Ok(of_url(&Reference::parse(url.as_bytes())?.to_text())),
            Some(_) => Err(said("$schema must be of type string")),
        },
        _ => Err(said("schema is invalid")),
    }
}

/// Members of a schema that all drafts have, and what each is held to.
const COMMON: &[(&str, &str)] = &[
    ("title", STRING),
    ("description", STRING),
    ("maximum", NUMBER),
    ("minimum", NUMBER),
    ("pattern", r#"{"type":"string","format":"regex"}"#),
    ("format", STRING),
    ("$schema", STRING),
    ("items", r##"{"anyOf":[{"$ref":"#"},{"$ref":"#/definitions/schemaArray"}]}"##),
    ("uniqueItems", r#"{"type":"boolean"}"#),
    ("required", r##"{"$ref":"#/definitions/stringArray"}"##),
    ("definitions", SCHEMAS),
    ("properties", SCHEMAS),
    ("patternProperties", SCHEMAS),
    (
        "dependencies",
        r##"{"type":"object","additionalProperties":{"anyOf":[{"$ref":"#"},{"$ref":"#/definitions/stringArray"}]}}"##,
    ),
    ("enum", r#"{"type":"array","minItems":1,"uniqueItems":true}"#),
    (
        "type",
        r##"{"anyOf":[{"$ref":"#/definitions/simpleTypes"},{"type":"array","items":{"$ref":"#/definitions/simpleTypes"},"minItems":1,"uniqueItems":true}]}"##,
    ),
    ("allOf", r##"{"$ref":"#/definitions/schemaArray"}"##),
    ("anyOf", r##"{"$ref":"#/definitions/schemaArray"}"##),
    ("oneOf", r##"{"$ref":"#/definitions/schemaArray"}"##),
    ("not", SCHEMA),
];
const STRING: &str = r#"{"type":"string"}"#;
const NUMBER: &str = r#"{"type":"number"}"#;
const SCHEMA: &str = r##"{"$ref":"#"}"##;
const SCHEMAS: &str = r##"{"type":"object","additionalProperties":{"$ref":"#"}}"##;
const BOOLEAN: &str = r#"{"type":"boolean"}"#;
const BOOLEAN_OR_SCHEMA: &str = r##"{"anyOf":[{"type":"boolean"},{"$ref":"#"}]}"##;
const REFERENCE: &str = r#"{"type":"string","format":"uri-reference"}"#;

/// What draft 4 alone has.
const OF_FOUR: &[(&str, &str)] = &[
    ("id", STRING),
    ("default", "{}"),
    ("multipleOf", r#"{"type":"number","minimum":0,"exclusiveMinimum":true}"#),
    ("exclusiveMaximum", BOOLEAN),
    ("exclusiveMinimum", BOOLEAN),
    ("additionalItems", BOOLEAN_OR_SCHEMA),
    ("additionalProperties", BOOLEAN_OR_SCHEMA),
];

/// What the later ones have.
const OF_SIX: &[(&str, &str)] = &[
    ("$id", REFERENCE),
    ("$ref", REFERENCE),
    ("$schema", r#"{"type":"string","format":"uri"}"#),
    ("default", "{}"),
    ("const", "{}"),
    ("examples", r#"{"type":"array","items":{}}"#),
    ("multipleOf", r#"{"type":"number","exclusiveMinimum":0}"#),
    ("exclusiveMaximum", NUMBER),
    ("exclusiveMinimum", NUMBER),
    ("additionalItems", SCHEMA),
    ("additionalProperties", SCHEMA),
    ("contains", SCHEMA),
    ("propertyNames", SCHEMA),
];

/// What draft 7 has beyond.
const OF_SEVEN: &[(&str, &str)] = &[
    ("$comment", STRING),
    ("readOnly", BOOLEAN),
    ("contentMediaType", STRING),
    ("contentEncoding", STRING),
    (
        "patternProperties",
        r##"{"type":"object","additionalProperties":{"$ref":"#"},"propertyNames":{"format":"regex"}}"##,
    ),
    ("if", SCHEMA),
    ("then", SCHEMA),
    ("else", SCHEMA),
];

/// The draft's own schema. What it says of itself and of defaults is left out.
pub(super) fn schema(call: &mut Call<'_>, draft: Draft) -> Result<Value, Fault> {
    let is_four = draft == Draft::Four;
    let (number, id, integer, least, kind) = match draft {
        Draft::Four => ('4', "id", "positiveInteger", r#","minItems":1"#, r#""object""#),
        Draft::Six => ('6', "$id", "nonNegativeInteger", "", r#"["object","boolean"]"#),
        Draft::Seven | Draft::Hybrid => ('7', "$id", "nonNegativeInteger", "", r#"["object","boolean"]"#),
    };
    let url = format!("http://json-schema.org/draft-0{number}/schema#");
    let mut text = format!(
        r##"{{"{id}":"{url}","$schema":"{url}","type":{kind},"definitions":{{"schemaArray":{{"type":"array","minItems":1,"items":{{"$ref":"#"}}}},"{integer}":{{"type":"integer","minimum":0}},"{integer}Default0":{{"allOf":[{{"$ref":"#/definitions/{integer}"}},{{}}]}},"simpleTypes":{{"enum":["array","boolean","integer","null","number","object","string"]}},"stringArray":{{"type":"array","items":{{"type":"string"}}{least},"uniqueItems":true}}}},"properties":{{"##
    );
    // Of members with the same name the last counts.
    let own: &[&[_]] = match draft {
        Draft::Four => &[COMMON, OF_FOUR],
        Draft::Six => &[COMMON, OF_SIX],
        Draft::Seven | Draft::Hybrid => &[COMMON, OF_SIX, OF_SEVEN],
    };
    for (name, of) in own.iter().flat_map(|members| members.iter()) {
        text.push_str(&format!("\"{name}\":{of},"));
    }
    for what in ["Length", "Items", "Properties"] {
        text.push_str(&format!(
            r##""max{what}":{{"$ref":"#/definitions/{integer}"}},"min{what}":{{"$ref":"#/definitions/{integer}Default0"}},"##
        ));
    }
    // `not` ends the list: it is in all of them.
    text.push_str(&format!("\"not\":{SCHEMA}}}"));
    if is_four {
        text.push_str(r#","dependencies":{"exclusiveMaximum":["maximum"],"exclusiveMinimum":["minimum"]}"#);
    }
    text.push('}');
    Value::from_json(text.as_bytes(), call.budget).map_err(|error| match error {
        JsonError::Limit(limit) => limit.into(),
        JsonError::Syntax { .. } => Fault::undefined("a draft's schema that is none"),
    })
}
