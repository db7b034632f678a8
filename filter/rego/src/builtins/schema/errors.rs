//! What does not fit a schema, as OPA says it. Source: errors.go, locales.go, result.go.

use super::numbers::shown;
use crate::builtins::{Call, Fault};
use crate::value::{Number, Value};
use std::rc::Rc;

/// A place in a document; none is the document itself.
pub(super) type Place<'a> = Option<Rc<Step<'a>>>;

/// One step into a document.
pub(super) struct Step<'a> {
    pub(super) name: Name<'a>,
    pub(super) outer: Place<'a>,
}

/// The name of a step.
pub(super) enum Name<'a> {
    Key(&'a [u8]),
    Index(usize),
}

/// What an error names.
#[derive(Clone, Copy)]
pub(super) enum Detail<'a> {
    Nothing,
    Text(&'a [u8]),
    Count(i64),
    Number(&'a Number),
    /// Types that would fit, and the one that is there.
    Types(&'a [&'static str], &'static str),
    Pair(usize, usize),
}

/// A kind of error: its name, and what is said before and behind the detail.
pub(super) type Kind = (&'static str, &'static str, &'static str);

pub(super) const FALSE: Kind = ("false", "False always fails validation", "");
pub(super) const REQUIRED: Kind = ("required", "", " is required");
pub(super) const INVALID_TYPE: Kind = ("invalid_type", "Invalid type. ", "");
pub(super) const ANY_OF: Kind = ("number_any_of", "Must validate at least one schema (anyOf)", "");
pub(super) const ONE_OF: Kind = ("number_one_of", "Must validate one and only one schema (oneOf)", "");
pub(super) const ALL_OF: Kind = ("number_all_of", "Must validate all the schemas (allOf)", "");
pub(super) const NOT: Kind = ("number_not", "Must not validate the schema (not)", "");
pub(super) const DEPENDENCY: Kind = ("missing_dependency", "Has a dependency on ", "");
/// Said behind the place.
pub(super) const CONST: Kind = ("const", " does not match: ", "");
pub(super) const ENUM: Kind = ("enum", " must be one of the following: ", "");
pub(super) const NO_MORE_ITEMS: Kind =
    ("array_no_additional_items", "No additional items allowed on array", "");
pub(super) const MIN_ITEMS: Kind = ("array_min_items", "Array must have at least ", " items");
pub(super) const MAX_ITEMS: Kind = ("array_max_items", "Array must have at most ", " items");
pub(super) const UNIQUE: Kind = ("unique", "array items[", "] must be unique");
pub(super) const CONTAINS: Kind = ("contains", "At least one of the items must match", "");
pub(super) const MIN_PROPERTIES: Kind = ("array_min_properties", "Must have at least ", " properties");
pub(super) const MAX_PROPERTIES: Kind = ("array_max_properties", "Must have at most ", " properties");
pub(super) const NOT_ALLOWED: Kind =
    ("additional_property_not_allowed", "Additional property ", " is not allowed");
pub(super) const PROPERTY_NAME: Kind = ("invalid_property_name", "Property name of \"", "\" does not match");
pub(super) const MIN_LENGTH: Kind = ("string_gte", "String length must be greater than or equal to ", "");
pub(super) const MAX_LENGTH: Kind = ("string_lte", "String length must be less than or equal to ", "");
pub(super) const PATTERN: Kind = ("pattern", "Does not match pattern '", "'");
pub(super) const FORMAT: Kind = ("format", "Does not match format '", "'");
pub(super) const MULTIPLE: Kind = ("multiple_of", "Must be a multiple of ", "");
pub(super) const MINIMUM: Kind = ("number_gte", "Must be greater than or equal to ", "");
pub(super) const EXCLUSIVE_MINIMUM: Kind = ("number_gt", "Must be greater than ", "");
pub(super) const MAXIMUM: Kind = ("number_lte", "Must be less than or equal to ", "");
pub(super) const EXCLUSIVE_MAXIMUM: Kind = ("number_lt", "Must be less than ", "");
pub(super) const THEN: Kind = ("condition_then", "Must validate \"then\" as \"if\" was valid", "");
pub(super) const ELSE: Kind = ("condition_else", "Must validate \"else\" as \"if\" was not valid", "");

/// Something that does not fit.
pub(super) struct Error<'a> {
    pub(super) kind: &'static Kind,
    pub(super) place: Place<'a>,
    pub(super) detail: Detail<'a>,
}

/// Steps with dots between them, from the document on unless something is in it of which this is all.
fn field(call: &mut Call<'_>, place: &Place<'_>) -> Result<Vec<u8>, Fault> {
    let mut steps = Vec::new();
    let mut at = place;
    while let Some(step) = at {
        call.step(1)?;
        call.bytes(match step.name {
            Name::Key(key) => key.len() + 24,
            Name::Index(_) => 44,
        })?;
        steps.push(step);
        at = &step.outer;
    }
    if steps.is_empty() {
        return Ok(b"(Root)".to_vec());
    }
    let mut out = Vec::new();
    for step in steps.iter().rev() {
        if !out.is_empty() || steps.last().is_none_or(|first| !std::ptr::eq(*first, *step)) {
            out.push(b'.');
        }
        match step.name {
            Name::Key(key) => out.extend_from_slice(key),
            Name::Index(index) => out.extend_from_slice(index.to_string().as_bytes()),
        }
    }
    Ok(out)
}

impl Error<'_> {
    /// The object that stands for it in the answer.
    pub(super) fn show(&self, call: &mut Call<'_>) -> Result<Value, Fault> {
        let field = field(call, &self.place)?;
        let (name, before, behind) = *self.kind;
        let mut text = Vec::new();
        if matches!(name, "const" | "enum") {
            text.extend_from_slice(&field);
        }
        text.extend_from_slice(before.as_bytes());
        match self.detail {
            Detail::Nothing => {}
            Detail::Text(detail) => {
                call.bytes(detail.len().saturating_mul(3))?;
                text.extend_from_slice(detail);
            }
            Detail::Count(count) => text.extend_from_slice(count.to_string().as_bytes()),
            Detail::Number(number) => text.extend_from_slice(shown(call, number)?.as_bytes()),
            Detail::Types(wanted, given) => {
                text.extend_from_slice(b"Expected: ");
                match wanted {
                    [one] => text.extend_from_slice(one.as_bytes()),
                    many => text.extend_from_slice(format!("[{}]", many.join(",")).as_bytes()),
                }
                text.extend_from_slice(b", given: ");
                text.extend_from_slice(given.as_bytes());
            }
            Detail::Pair(i, j) => text.extend_from_slice(format!("{i},{j}").as_bytes()),
        }
        text.extend_from_slice(behind.as_bytes());
        call.bytes(3 * text.len() + 4 * field.len() + 256)?;
        let whole = [field.as_slice(), b": ", &text].concat();
        Ok(Value::object(vec![
            (Value::from("desc"), Value::from(text)),
            (Value::from("error"), Value::from(whole)),
            (Value::from("field"), Value::from(field)),
            (Value::from("type"), Value::from(name)),
        ])?)
    }
}
