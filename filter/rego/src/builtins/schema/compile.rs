//! A schema taken apart, keyword by keyword and in OPA's order, so that of its errors the same is found first.
//! Source: schema.go, schemaType.go.

use super::documents::Documents;
use super::drafts::Draft;
use super::numbers::{is_rational, normalized, plain_integer};
use super::reference::Reference;
use super::{MOST_NESTING, Trouble, said};
use crate::builtins::text::regex::Regex;
use crate::builtins::{Call, Fault, Limit};
use crate::value::{Number, Object, Str, Value, lossy};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The bytes that one schema takes, at most, beside what its keywords hold.
const SCHEMA_BYTES: usize = 800;

/// A schema's place among all.
pub(super) type Id = usize;

/// What is held to what `properties` or `items` do not name.
#[derive(Clone, Copy, Default)]
pub(super) enum Rest {
    #[default]
    Open,
    Closed,
    Schema(Id),
}

/// What a property asks for.
pub(super) enum Dependency {
    Names(Vec<Str>),
    Schema(Id),
}

/// What a keyword that bounds a number from one side says.
#[derive(Default)]
pub(super) struct Bound {
    pub(super) inclusive: Option<Number>,
    pub(super) exclusive: Option<Number>,
}

/// A least and a greatest count.
#[derive(Default)]
pub(super) struct Range {
    pub(super) least: Option<i64>,
    pub(super) most: Option<i64>,
}

/// One schema.
#[derive(Default)]
pub(super) struct Schema {
    /// `true` or `false`
    pub(super) pass: Option<bool>,
    /// What it refers to: nothing else of it counts.
    pub(super) reference: Option<Id>,
    pub(super) types: Vec<&'static str>,
    pub(super) properties: BTreeMap<Str, Id>,
    pub(super) more_properties: Rest,
    pub(super) pattern_properties: Vec<(Rc<Regex>, Id)>,
    pub(super) property_names: Option<Id>,
    pub(super) dependencies: BTreeMap<Str, Dependency>,
    pub(super) items: Vec<Id>,
    /// All items are held to the one schema.
    pub(super) is_for_all: bool,
    pub(super) more_items: Rest,
    pub(super) multiple_of: Option<Number>,
    pub(super) minimum: Bound,
    pub(super) maximum: Bound,
    pub(super) length: Range,
    pub(super) pattern: Option<(Str, Rc<Regex>)>,
    pub(super) format: Option<Str>,
    pub(super) property_count: Range,
    pub(super) required: Vec<Str>,
    pub(super) item_count: Range,
    pub(super) is_unique: bool,
    pub(super) contains: Option<Id>,
    pub(super) constant: Option<Vec<u8>>,
    pub(super) values: Option<Values>,
    pub(super) one_of: Vec<Id>,
    pub(super) any_of: Vec<Id>,
    pub(super) all_of: Vec<Id>,
    pub(super) not: Option<Id>,
    pub(super) condition: Option<Id>,
    pub(super) then: Option<Id>,
    pub(super) otherwise: Option<Id>,
}

/// What `enum` allows: as JSON, and all of it in one text.
pub(super) struct Values {
    pub(super) all: BTreeSet<Vec<u8>>,
    pub(super) text: Vec<u8>,
}

/// All schemas of one document; the first is the whole.
pub(super) struct Schemas(Vec<Schema>);

impl Schemas {
    /// What the document says.
    pub(super) fn compile(call: &mut Call<'_>, document: &Value) -> Result<Schemas, Trouble> {
        // A schema within another is at most two levels deeper, and what is in none of them is gone through, too.
        if document.depth() > 2 * MOST_NESTING {
            return Err(Trouble::Fault(Fault::Limit(Limit::Depth)));
        }
        let mut documents = Documents::default();
        let whole = documents.add(call, document, &Reference::default())?;
        let draft = whole.draft.unwrap_or(Draft::Hybrid);
        let mut compiler = Compiler { call, documents, schemas: Vec::new(), references: BTreeMap::new() };
        let root = compiler.begin()?;
        compiler.schema(root, &whole.value, draft, 0)?;
        Ok(Schemas(compiler.schemas))
    }

    pub(super) fn get(&self, id: Id) -> Result<&Schema, Fault> {
        self.0.get(id).ok_or(Fault::undefined("no such schema"))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

struct Compiler<'c, 'b> {
    call: &'c mut Call<'b>,
    documents: Documents,
    schemas: Vec<Schema>,
    /// What was referred to, by URL.
    references: BTreeMap<Vec<u8>, Id>,
}

fn shown(text: &Str) -> String {
    lossy(text.as_bytes()).into_owned()
}

fn invalid_type(expected: &str, given: &str) -> Trouble {
    said(format!("Invalid type. Expected: {expected}, given: {given}"))
}

fn text_of<'v>(object: &'v Object, key: &str) -> Result<Option<&'v Str>, Trouble> {
    match object.get_str(key.as_bytes()) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid_type("string", key)),
    }
}

fn items_of<'v>(object: &'v Object, key: &str) -> Result<Option<&'v [Value]>, Trouble> {
    match object.get_str(key.as_bytes()) {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.items())),
        Some(_) => Err(said(format!("{key} must be of an array"))),
    }
}

fn rational(value: &Value) -> Option<&Number> {
    value.as_number().filter(|number| is_rational(number))
}

fn count_of(object: &Object, key: &str) -> Result<Option<i64>, Trouble> {
    let Some(value) = object.get_str(key.as_bytes()) else { return Ok(None) };
    let count = plain_integer(value).ok_or_else(|| said(format!("{key} must be of an integer")))?;
    if count < 0 {
        return Err(said(format!("{key} must be greater than or equal to 0")));
    }
    Ok(Some(count))
}

fn range_of(object: &Object, [least_key, most_key]: [&str; 2], in_order: bool) -> Result<Range, Trouble> {
    let (least, most) = (count_of(object, least_key)?, count_of(object, most_key)?);
    if in_order && least.zip(most).is_some_and(|(least, most)| least > most) {
        return Err(said(format!("{least_key} cannot be greater than {most_key}")));
    }
    Ok(Range { least, most })
}

/// Types by their names, in the order of Go's list.
const TYPES: [&str; 7] = ["array", "boolean", "integer", "number", "null", "object", "string"];

fn add_type(types: &mut Vec<&'static str>, name: &Str) -> Result<(), Trouble> {
    let known = TYPES.iter().find(|known| known.as_bytes() == name.as_bytes());
    let Some(known) = known else {
        return Err(said(format!(
            "has a primitive type that is NOT VALID -- given: /{}/ Expected valid values are:[{}]",
            shown(name),
            TYPES.join(" ")
        )));
    };
    if types.contains(known) {
        return Err(said(format!("{known} type is duplicated")));
    }
    types.push(known);
    Ok(())
}

fn types_of(object: &Object) -> Result<Vec<&'static str>, Trouble> {
    let wrong = || invalid_type("type", "string/Array Of Strings");
    let mut types = Vec::new();
    match object.get_str(b"type") {
        None => {}
        Some(Value::String(name)) => add_type(&mut types, name)?,
        Some(Value::Array(names)) => {
            for name in names.iter() {
                let Value::String(name) = name else { return Err(wrong()) };
                add_type(&mut types, name)?;
            }
        }
        Some(_) => return Err(wrong()),
    }
    Ok(types)
}

/// A bound and its exclusive form, which draft 4 writes as a boolean, the later ones as a number.
fn bound_of(object: &Object, draft: Draft, key: &str, exclusive_key: &str) -> Result<Bound, Trouble> {
    let mut bound = Bound::default();
    if let Some(value) = object.get_str(key.as_bytes()) {
        let number = rational(value).ok_or_else(|| said(format!("{key} must be of a Number")))?;
        bound.inclusive = Some(number.clone());
    }
    let Some(value) = object.get_str(exclusive_key.as_bytes()) else { return Ok(bound) };
    let wanted = match draft {
        Draft::Four => "boolean",
        Draft::Six | Draft::Seven => "number",
        Draft::Hybrid => "boolean/number",
    };
    match value {
        Value::Bool(is_exclusive) if wanted.starts_with("boolean") => {
            if bound.inclusive.is_none() {
                return Err(said(format!("{exclusive_key} cannot be used without {key}")));
            }
            if *is_exclusive {
                bound.exclusive = bound.inclusive.take();
            }
        }
        // One that Go cannot compute with is none, and no error.
        Value::Number(_) if wanted.ends_with("number") => bound.exclusive = rational(value).cloned(),
        _ => return Err(invalid_type(wanted, exclusive_key)),
    }
    Ok(bound)
}

impl Compiler<'_, '_> {
    fn begin(&mut self) -> Result<Id, Trouble> {
        self.call.step(20)?;
        self.call.bytes(SCHEMA_BYTES)?;
        self.schemas.push(Schema::default());
        Ok(self.schemas.len() - 1)
    }

    fn set(&mut self, id: Id, change: impl FnOnce(&mut Schema)) {
        if let Some(schema) = self.schemas.get_mut(id) {
            change(schema);
        }
    }

    /// A schema within another.
    fn inner(&mut self, value: &Value, draft: Draft, depth: u32) -> Result<Id, Trouble> {
        let id = self.begin()?;
        self.schema(id, value, draft, depth + 1)?;
        Ok(id)
    }

    fn schema(&mut self, id: Id, value: &Value, draft: Draft, depth: u32) -> Result<(), Trouble> {
        if depth > MOST_NESTING {
            return Err(Trouble::Fault(Fault::Limit(Limit::Depth)));
        }
        if let (Value::Bool(pass), true) = (value, draft >= Draft::Six) {
            self.set(id, |schema| schema.pass = Some(*pass));
            return Ok(());
        }
        let Value::Object(object) = value else {
            return Err(said("Expected: Valid Schema, given: Invalid JSON"));
        };
        self.call.step(object.len() + 30)?;
        let id_key = match draft {
            Draft::Four => "id",
            Draft::Hybrid if object.get_str(b"id").is_some() => "id",
            _ => "$id",
        };
        if let Some(url) = text_of(object, id_key)? {
            Reference::parse(url.as_bytes())?;
        }
        self.definitions(object, draft, depth)?;
        text_of(object, "title")?;
        text_of(object, "description")?;
        if let Some(url) = text_of(object, "$ref")?
            && self.is_first_reference(id, url, draft, depth)?
        {
            return Ok(());
        }
        let types = types_of(object)?;
        self.set(id, |schema| schema.types = types);
        self.of_objects(id, object, draft, depth)?;
        self.of_arrays(id, object, draft, depth)?;
        self.scalars(id, object, draft)?;
        if let (Some(value), true) = (object.get_str(b"contains"), draft >= Draft::Six) {
            let inner = self.inner(value, draft, depth)?;
            self.set(id, |schema| schema.contains = Some(inner));
        }
        self.values(id, object, draft)?;
        self.combined(id, object, draft, depth)
    }

    fn definitions(&mut self, object: &Object, draft: Draft, depth: u32) -> Result<(), Trouble> {
        let wrong = || invalid_type("Array Of Schemas", "definitions");
        match object.get_str(b"definitions") {
            None => Ok(()),
            Some(Value::Object(all)) => {
                for value in all.values() {
                    if !matches!(value, Value::Bool(_) | Value::Object(_)) {
                        return Err(wrong());
                    }
                    self.inner(value, draft, depth)?;
                }
                Ok(())
            }
            Some(_) => Err(wrong()),
        }
    }

    /// Follows a reference. The first to a place ends its schema there; those after it do not.
    #[inline(never)]
    fn is_first_reference(&mut self, id: Id, url: &Str, draft: Draft, depth: u32) -> Result<bool, Trouble> {
        self.call.step(url.len() / 4 + 16)?;
        let url = Reference::parse(url.as_bytes())?;
        let name = url.to_text();
        if let Some(known) = self.references.get(&name) {
            let known = *known;
            self.set(id, |schema| schema.reference = Some(known));
            return Ok(false);
        }
        let target = self.begin()?;
        self.call.bytes(name.len() + 64)?;
        self.references.insert(name, target);
        let document = self.documents.get(self.call, &url)?;
        if !matches!(document.value, Value::Bool(_) | Value::Object(_)) {
            return Err(said("Valid Schema must be of type object"));
        }
        self.schema(target, &document.value, document.draft.unwrap_or(draft), depth + 1)?;
        self.set(id, |schema| schema.reference = Some(target));
        Ok(true)
    }

    fn of_objects(&mut self, id: Id, object: &Object, draft: Draft, depth: u32) -> Result<(), Trouble> {
        if let Some(value) = object.get_str(b"properties") {
            let Value::Object(all) = value else {
                return Err(said("Properties must be of type object"));
            };
            for (name, value) in all.iter() {
                let inner = self.inner(value, draft, depth)?;
                let Value::String(name) = name else { continue };
                self.set(id, |schema| {
                    schema.properties.insert(name.clone(), inner);
                });
            }
        }
        if let Some(value) = object.get_str(b"additionalProperties") {
            let rest = self.rest(value, "additionalProperties", draft, depth)?;
            self.set(id, |schema| schema.more_properties = rest);
        }
        self.pattern_properties(id, object, draft, depth)?;
        if let (Some(value), true) = (object.get_str(b"propertyNames"), draft >= Draft::Six) {
            if !matches!(value, Value::Bool(_) | Value::Object(_)) {
                return Err(invalid_type("Valid Schema", "patternProperties"));
            }
            let inner = self.inner(value, draft, depth)?;
            self.set(id, |schema| schema.property_names = Some(inner));
        }
        self.dependencies(id, object, draft, depth)
    }

    fn rest(&mut self, value: &Value, key: &str, draft: Draft, depth: u32) -> Result<Rest, Trouble> {
        match value {
            Value::Bool(true) => Ok(Rest::Open),
            Value::Bool(false) => Ok(Rest::Closed),
            Value::Object(_) => Ok(Rest::Schema(self.inner(value, draft, depth)?)),
            _ => Err(invalid_type("boolean/Valid Schema", key)),
        }
    }

    fn pattern(&mut self, pattern: &Str) -> Result<Option<Rc<Regex>>, Trouble> {
        match self.call.patterns.regex(pattern.as_bytes(), self.call.budget) {
            Ok(regex) => Ok(Some(regex)),
            Err(Fault::Undefined(_)) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    fn pattern_properties(
        &mut self,
        id: Id,
        object: &Object,
        draft: Draft,
        depth: u32,
    ) -> Result<(), Trouble> {
        let all = match object.get_str(b"patternProperties") {
            None => return Ok(()),
            Some(Value::Object(all)) => all,
            Some(_) => return Err(invalid_type("Valid Schema", "patternProperties")),
        };
        for (pattern, value) in all.iter() {
            let Value::String(pattern) = pattern else { continue };
            let Some(regex) = self.pattern(pattern)? else {
                return Err(said(format!("Invalid regex pattern '{}'", shown(pattern))));
            };
            let inner = self.inner(value, draft, depth)?;
            self.set(id, |schema| schema.pattern_properties.push((regex, inner)));
        }
        Ok(())
    }

    fn dependencies(&mut self, id: Id, object: &Object, draft: Draft, depth: u32) -> Result<(), Trouble> {
        let all = match object.get_str(b"dependencies") {
            None => return Ok(()),
            Some(Value::Object(all)) => all,
            Some(_) => return Err(said("dependencies must be of type object")),
        };
        let wrong = || said("Dependency must be of type Schema Or Array Of Strings");
        for (name, value) in all.iter() {
            let Value::String(name) = name else { continue };
            let dependency = match value {
                Value::Array(names) => {
                    self.call.room(names.len())?;
                    let mut all = Vec::with_capacity(names.len());
                    for name in names.iter() {
                        let Value::String(name) = name else { return Err(wrong()) };
                        all.push(name.clone());
                    }
                    Dependency::Names(all)
                }
                Value::Bool(_) | Value::Object(_) => Dependency::Schema(self.inner(value, draft, depth)?),
                _ => return Err(wrong()),
            };
            self.set(id, |schema| {
                schema.dependencies.insert(name.clone(), dependency);
            });
        }
        Ok(())
    }

    fn of_arrays(&mut self, id: Id, object: &Object, draft: Draft, depth: u32) -> Result<(), Trouble> {
        let wrong = || invalid_type("Valid Schema/Array Of Schemas", "items");
        match object.get_str(b"items") {
            None => {}
            Some(Value::Array(all)) => {
                for value in all.iter() {
                    if !matches!(value, Value::Bool(_) | Value::Object(_)) {
                        return Err(wrong());
                    }
                    let inner = self.inner(value, draft, depth)?;
                    self.set(id, |schema| schema.items.push(inner));
                }
            }
            Some(value @ (Value::Bool(_) | Value::Object(_))) => {
                let inner = self.inner(value, draft, depth)?;
                self.set(id, |schema| {
                    schema.items.push(inner);
                    schema.is_for_all = true;
                });
            }
            Some(_) => return Err(wrong()),
        }
        if let Some(value) = object.get_str(b"additionalItems") {
            let rest = self.rest(value, "additionalItems", draft, depth)?;
            self.set(id, |schema| schema.more_items = rest);
        }
        Ok(())
    }

    /// Keywords that hold no schemas.
    #[inline(never)]
    fn scalars(&mut self, id: Id, object: &Object, draft: Draft) -> Result<(), Trouble> {
        let mut multiple_of = None;
        if let Some(value) = object.get_str(b"multipleOf") {
            let number = rational(value).ok_or_else(|| invalid_type("Number", "multipleOf"))?;
            if *number <= Number::from(0) {
                return Err(said("multipleOf must be strictly greater than 0"));
            }
            multiple_of = Some(number.clone());
        }
        let minimum = bound_of(object, draft, "minimum", "exclusiveMinimum")?;
        let maximum = bound_of(object, draft, "maximum", "exclusiveMaximum")?;
        let length = range_of(object, ["minLength", "maxLength"], true)?;
        let mut pattern = None;
        if let Some(text) = text_of(object, "pattern")? {
            let regex = self.pattern(text)?.ok_or_else(|| said("pattern must be a valid regex"))?;
            pattern = Some((text.clone(), regex));
        }
        let format = text_of(object, "format")?.cloned();
        let property_count = range_of(object, ["minProperties", "maxProperties"], true)?;
        let required = self.required(object)?;
        let item_count = range_of(object, ["minItems", "maxItems"], false)?;
        let is_unique = match object.get_str(b"uniqueItems") {
            None => false,
            Some(Value::Bool(is_unique)) => *is_unique,
            Some(_) => return Err(said("uniqueItems must be of a boolean")),
        };
        self.set(id, |schema| {
            schema.multiple_of = multiple_of;
            schema.minimum = minimum;
            schema.maximum = maximum;
            schema.length = length;
            schema.pattern = pattern;
            schema.format = format;
            schema.property_count = property_count;
            schema.required = required;
            schema.item_count = item_count;
            schema.is_unique = is_unique;
        });
        Ok(())
    }

    fn required(&mut self, object: &Object) -> Result<Vec<Str>, Trouble> {
        let names = items_of(object, "required")?.unwrap_or_default();
        self.call.room(2 * names.len())?;
        let mut required = Vec::with_capacity(names.len());
        let mut seen = BTreeSet::new();
        for name in names {
            let Value::String(name) = name else { return Err(invalid_type("string", "required")) };
            if !seen.insert(name) {
                return Err(said("required items must be unique"));
            }
            required.push(name.clone());
        }
        Ok(required)
    }

    fn normalized(&mut self, value: &Value) -> Result<Vec<u8>, Trouble> {
        normalized(self.call, value)?.map_err(|number| {
            let number = number.to_text();
            said(format!("json: cannot unmarshal number {number} into Go value of type float64"))
        })
    }

    fn values(&mut self, id: Id, object: &Object, draft: Draft) -> Result<(), Trouble> {
        if let (Some(value), true) = (object.get_str(b"const"), draft >= Draft::Six) {
            let constant = self.normalized(value)?;
            self.set(id, |schema| schema.constant = Some(constant));
        }
        let Some(all) = items_of(object, "enum")? else { return Ok(()) };
        self.call.room(2 * all.len())?;
        let mut values = Values { all: BTreeSet::new(), text: Vec::new() };
        for value in all {
            let value = self.normalized(value)?;
            self.call.bytes(value.len() + 64)?;
            if !values.all.is_empty() {
                values.text.extend_from_slice(b", ");
            }
            values.text.extend_from_slice(&value);
            if !values.all.insert(value) {
                return Err(said("enum items must be unique"));
            }
        }
        self.set(id, |schema| schema.values = Some(values));
        Ok(())
    }

    fn list(&mut self, object: &Object, key: &str, draft: Draft, depth: u32) -> Result<Vec<Id>, Trouble> {
        let mut all = Vec::new();
        for value in items_of(object, key)?.unwrap_or_default() {
            all.push(self.inner(value, draft, depth)?);
        }
        Ok(all)
    }

    fn one(&mut self, object: &Object, key: &str, draft: Draft, depth: u32) -> Result<Option<Id>, Trouble> {
        match object.get_str(key.as_bytes()) {
            None => Ok(None),
            Some(value @ (Value::Bool(_) | Value::Object(_))) => Ok(Some(self.inner(value, draft, depth)?)),
            Some(_) => Err(said(format!("{key} must be of an object"))),
        }
    }

    /// Keywords that combine schemas.
    fn combined(&mut self, id: Id, object: &Object, draft: Draft, depth: u32) -> Result<(), Trouble> {
        let one_of = self.list(object, "oneOf", draft, depth)?;
        self.set(id, |schema| schema.one_of = one_of);
        let any_of = self.list(object, "anyOf", draft, depth)?;
        self.set(id, |schema| schema.any_of = any_of);
        let all_of = self.list(object, "allOf", draft, depth)?;
        self.set(id, |schema| schema.all_of = all_of);
        let not = self.one(object, "not", draft, depth)?;
        self.set(id, |schema| schema.not = not);
        if draft >= Draft::Seven {
            let condition = self.one(object, "if", draft, depth)?;
            self.set(id, |schema| schema.condition = condition);
            let then = self.one(object, "then", draft, depth)?;
            self.set(id, |schema| schema.then = then);
            let otherwise = self.one(object, "else", draft, depth)?;
            self.set(id, |schema| schema.otherwise = otherwise);
        }
        Ok(())
    }
}
