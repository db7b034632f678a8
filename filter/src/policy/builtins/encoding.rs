//! JSON, YAML and URL queries, from text and into text.

use anyhow::Result;
use regorus::Value;

use super::{
    super::{value::parse_json, yaml_data},
    limits::{Extent, MAX_BYTES, MAX_VALUES, Refusal, VALUE_BYTES, within},
    original, text_of,
};

/// Room that one value of JSON text takes: itself, its key, its share of a tree.
const PARSED_VALUE_BYTES: usize = 2 * VALUE_BYTES;
/// Parameters of a query: a key, a value and a list each.
const PARAMETER_BYTES: usize = 128;

/// Reads JSON text in one go. The engine's own reader takes an object with one certain key for a number.
fn parse(text: &str) -> Result<Option<Value>, Refusal> {
    let values = text.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() + 1;
    within(values.saturating_mul(PARSED_VALUE_BYTES).saturating_add(text.len()), MAX_BYTES, Refusal::Size)?;
    Ok(parse_json(text).ok())
}

pub(super) fn json_unmarshal(_: &'static str, args: &[Value]) -> Result<Value> {
    match args {
        [Value::String(text)] => Ok(parse(text)?.unwrap_or(Value::Undefined)),
        _ => Ok(Value::Undefined),
    }
}

pub(super) fn json_is_valid(_: &'static str, args: &[Value]) -> Result<Value> {
    match args {
        [Value::String(text)] => Ok(Value::from(parse(text)?.is_some())),
        _ => Ok(Value::Undefined),
    }
}

pub(super) fn json_marshal(args: &[Value]) -> Result<(), Refusal> {
    let extent = Extent::of_all(args)?;
    within(extent.text.saturating_add(extent.values.saturating_mul(3)), MAX_BYTES, Refusal::Size)
}

/// A line for each value and each closing bracket, with the prefix and as many indents as it is deep.
pub(super) fn json_marshal_with_options(args: &[Value]) -> Result<(), Refusal> {
    let [value, options] = args else { return Ok(()) };
    let extent = Extent::of(value)?;
    Extent::of(options)?;
    let option = |name: &str| {
        let option = options.as_object().ok().and_then(|options| options.get(&Value::from(name)));
        option.and_then(text_of).map_or(0, str::len)
    };
    let line = extent.depth.saturating_mul(option("indent") + 2).saturating_add(option("prefix") + 3);
    let lines = extent.values.saturating_mul(2);
    within(lines.saturating_mul(line).saturating_add(extent.text), MAX_BYTES, Refusal::Size)
}

/// Each line of a text is indented like what it stands in.
pub(super) fn yaml_marshal(args: &[Value]) -> Result<(), Refusal> {
    let extent = Extent::of_all(args)?;
    let bytes = extent.text.saturating_add(extent.values.saturating_mul(4));
    within(bytes.saturating_mul(2 + 2 * extent.depth), MAX_BYTES, Refusal::Size)
}

pub(super) fn yaml_unmarshal(_: &'static str, args: &[Value]) -> Result<Value> {
    match args {
        [Value::String(text)] => yaml(text, Value::Undefined, |value| value),
        _ => Ok(Value::Undefined),
    }
}

pub(super) fn yaml_is_valid(_: &'static str, args: &[Value]) -> Result<Value> {
    match args {
        [Value::String(text)] => yaml(text, Value::from(false), |_| Value::from(true)),
        _ => Ok(Value::Undefined),
    }
}

fn yaml(text: &str, malformed: Value, parsed: impl FnOnce(Value) -> Value) -> Result<Value> {
    match yaml_data::parse(text) {
        Ok(value) => Ok(parsed(value)),
        Err(yaml_data::YamlError::Malformed(_)) => Ok(malformed),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn urlquery_decode_object(args: &[Value]) -> Result<(), Refusal> {
    let [Value::String(text)] = args else { return Ok(()) };
    let parameters = text.matches('&').count() + 1;
    within(parameters.saturating_mul(PARAMETER_BYTES).saturating_add(text.len()), MAX_BYTES, Refusal::Size)
}

/// A key is written once for each of its values.
pub(super) fn urlquery_encode_object(name: &'static str, args: &[Value]) -> Result<Value> {
    let [Value::Object(fields)] = args else { return Ok(Value::Undefined) };
    within(fields.len(), MAX_VALUES, Refusal::Values)?;
    let mut length = 0_usize;
    let mut add = |key: &str, value: &Value| -> Result<bool, Refusal> {
        let Some(value) = text_of(value) else { return Ok(false) };
        length = length.saturating_add(3 * (key.len() + value.len() + 2));
        within(length, MAX_BYTES, Refusal::Size)?;
        Ok(true)
    };
    for (key, value) in fields.iter() {
        let Some(key) = text_of(key) else { return Ok(Value::Undefined) };
        let all_texts = match value {
            Value::Array(values) => {
                values.iter().map(|value| add(key, value)).collect::<Result<Vec<_>, _>>()?
            }
            Value::Set(values) => {
                values.iter().map(|value| add(key, value)).collect::<Result<Vec<_>, _>>()?
            }
            value => vec![add(key, value)?],
        };
        if all_texts.contains(&false) {
            return Ok(Value::Undefined);
        }
    }
    original(name, args)
}
