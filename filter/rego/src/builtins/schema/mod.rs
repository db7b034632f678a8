//! JSON Schema of drafts 4, 6 and 7, with the mixture of them that OPA takes where none is named.
//!
//! Source: `v1/topdown/jsonschema.go`, `internal/gojsonschema`. Its maps are gone through in the order of their keys here,
//! where Go has none: which of several errors comes first differs there from run to run.

mod compile;
mod documents;
mod drafts;
mod errors;
mod formats;
mod mail;
mod numbers;
mod reference;
mod validate;

use super::operands::all;
use super::{Budget, Builtin, Call, Fault, Field, Type};
use crate::value::{JsonError, Value, is_valid_json};
use compile::Schemas;

const SOURCE: &str = "v1/topdown/jsonschema.go";
const DOCUMENT: Type = Type::Union(&[Type::String, Type::ANY_OBJECT]);

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new(
        "json.match_schema",
        &[DOCUMENT, DOCUMENT],
        Type::Array(
            &[
                Type::Boolean,
                Type::array_of(&Type::Object(
                    &[
                        Field { key: "desc", value: Type::String },
                        Field { key: "error", value: Type::String },
                        Field { key: "field", value: Type::String },
                        Field { key: "type", value: Type::String },
                    ],
                    None,
                )),
            ],
            None,
        ),
        matches,
        SOURCE,
    ),
    Builtin::new(
        "json.verify_schema",
        &[DOCUMENT],
        Type::Array(&[Type::Boolean, Type::Union(&[Type::Null, Type::String])], None),
        verify,
        SOURCE,
    ),
];

/// How deep schemas may nest, references followed, and how deep one may go into a document with them.
const MOST_NESTING: u32 = 128;

/// Why a schema is none.
#[derive(Debug)]
enum Trouble {
    /// What OPA says.
    Said(String),
    /// A text that should be a URL: Go's reasons are not told here.
    Url,
    /// Not decided here.
    Fault(Fault),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Trouble {
        Trouble::Fault(fault)
    }
}

fn said(text: impl Into<String>) -> Trouble {
    Trouble::Said(text.into())
}

/// A document as JSON has it: of a string what is written in it, of an object or an array itself.
fn load(call: &mut Call<'_>, value: &Value) -> Result<Value, Trouble> {
    match value {
        Value::String(text) => {
            call.step(text.len() / 4 + 1)?;
            if !is_valid_json(text.as_bytes()) {
                return Err(said("invalid JSON string"));
            }
            read(call.budget, text.as_bytes())
        }
        Value::Object(_) | Value::Array(_) => {
            call.walk(value)?;
            if !value.is_json() {
                return Err(Trouble::Fault(Fault::Halt("a number that JSON does not have".into())));
            }
            let mut text = Vec::new();
            value.write_json(&mut text, call.budget).map_err(Fault::Limit)?;
            read(call.budget, &text)
        }
        _ => Err(said("wrong type, expected string or object")),
    }
}

fn read(budget: &mut Budget, text: &[u8]) -> Result<Value, Trouble> {
    Value::from_json(text, budget).map_err(|error| match error {
        JsonError::Syntax { .. } => said("invalid JSON string"),
        JsonError::Limit(limit) => Trouble::Fault(limit.into()),
    })
}

fn verify(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [schema] = all(args)?;
    let compiled = load(call, schema).and_then(|document| Schemas::compile(call, &document));
    let (good, why) = match compiled {
        Ok(_) => (true, Value::Null),
        Err(Trouble::Said(why)) => {
            call.bytes(why.len() + 16)?;
            (false, Value::from(format!("jsonschema: {why}")))
        }
        Err(Trouble::Url) => return Err(Fault::Halt("a schema with a URL that is none".into())),
        Err(Trouble::Fault(fault)) => return Err(fault),
    };
    Ok(Value::array(vec![Value::Bool(good), why])?)
}

fn matches(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [document, schema] = all(args)?;
    let refused = |trouble| match trouble {
        Trouble::Said(_) | Trouble::Url => Fault::undefined("no document, or no schema"),
        Trouble::Fault(fault) => fault,
    };
    let document = load(call, document).map_err(refused)?;
    let schema = load(call, schema).map_err(refused)?;
    let schemas = Schemas::compile(call, &schema).map_err(refused)?;
    let found = validate::validate(call, &schemas, &document)?;
    let mut shown = Vec::new();
    for error in &found {
        shown.push(error.show(call)?);
    }
    Ok(Value::array(vec![Value::Bool(shown.is_empty()), Value::array(shown)?])?)
}

#[cfg(test)]
mod tests;
