//! A document held to a schema. Source: validation.go; scores are kept as there, since of several schemas that do not fit the
//! errors of the nearest are told.

use super::MOST_NESTING;
use super::compile::{Dependency, Id, Rest, Schema, Schemas};
use super::errors::*;
use super::formats;
use super::numbers::{is_integer, is_multiple, is_rational, normalized};
use crate::builtins::{Call, Fault, Limit};
use crate::value::{Array, Number, Object, Str, Value};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The bytes that an error takes.
const ERROR_BYTES: usize = 128;

/// What is wrong with the document, in OPA's order.
pub(super) fn validate<'a>(
    call: &mut Call<'_>,
    schemas: &'a Schemas,
    document: &'a Value,
) -> Result<Vec<Error<'a>>, Fault> {
    let mut validator = Validator { call, schemas };
    Ok(validator.apart(0, document, &None, 0)?.errors)
}

#[derive(Default)]
struct Outcome<'a> {
    errors: Vec<Error<'a>>,
    score: i64,
}

impl<'a> Outcome<'a> {
    fn is_good(&self) -> bool {
        self.errors.is_empty()
    }

    fn merge(&mut self, mut other: Outcome<'a>) {
        self.errors.append(&mut other.errors);
        self.score += other.score;
    }
}

struct Validator<'a, 'c, 'b> {
    call: &'c mut Call<'b>,
    schemas: &'a Schemas,
}

/// A value and where it is.
#[derive(Clone, Copy)]
struct Node<'a, 'p> {
    value: &'a Value,
    place: &'p Place<'a>,
    depth: u32,
}

/// Where Go panics.
const UNDEFINED: Fault = Fault::undefined("a number that is none to Go");

fn below<'a>(place: &Place<'a>, name: Name<'a>) -> Place<'a> {
    Some(Rc::new(Step { name, outer: place.clone() }))
}

/// Of two that do not fit, the nearer.
fn keep_best<'a>(best: &mut Option<Outcome<'a>>, other: Outcome<'a>) {
    if best.as_ref().is_none_or(|best| other.score > best.score) {
        *best = Some(other);
    }
}

impl<'a> Validator<'a, '_, '_> {
    fn wrong(
        &mut self,
        out: &mut Outcome<'a>,
        node: Node<'a, '_>,
        kind: &'static Kind,
        detail: Detail<'a>,
    ) -> Result<(), Fault> {
        self.call.bytes(ERROR_BYTES)?;
        out.errors.push(Error { kind, place: node.place.clone(), detail });
        out.score -= 2;
        Ok(())
    }

    /// What is found by itself.
    fn apart(
        &mut self,
        id: Id,
        value: &'a Value,
        place: &Place<'a>,
        depth: u32,
    ) -> Result<Outcome<'a>, Fault> {
        let mut out = Outcome::default();
        self.hold(id, Node { value, place, depth: depth + 1 }, &mut out)?;
        Ok(out)
    }

    fn hold(&mut self, id: Id, node: Node<'a, '_>, out: &mut Outcome<'a>) -> Result<(), Fault> {
        if node.depth > MOST_NESTING {
            return Err(Fault::Limit(Limit::Depth));
        }
        let Some(schema) = self.referred(id, node, out)? else { return Ok(()) };
        if !self.has_type(schema, node, out)? {
            return Ok(());
        }
        if !schema.any_of.is_empty() {
            self.any_of(schema, node, out)?;
        }
        if !schema.one_of.is_empty() {
            self.one_of(schema, node, out)?;
        }
        if !schema.all_of.is_empty() {
            self.all_of(schema, node, out)?;
        }
        if let Some(not) = schema.not
            && self.apart(not, node.value, node.place, node.depth)?.is_good()
        {
            self.wrong(out, node, &NOT, Detail::Nothing)?;
        }
        if let (Value::Object(object), false) = (node.value, schema.dependencies.is_empty()) {
            self.dependencies(schema, object, node, out)?;
        }
        if schema.condition.is_some() {
            self.condition(schema, node, out)?;
        }
        out.score += 1;
        match node.value {
            Value::Array(items) => self.array(schema, items, node, out)?,
            Value::Object(object) => self.object(schema, object, node, out)?,
            Value::Number(number) => self.number(schema, number, node, out)?,
            _ => {}
        }
        self.common(schema, node, out)?;
        match node.value {
            Value::Object(object) => self.properties(schema, object, node, out)?,
            Value::String(text) => self.string(schema, text, node, out)?,
            _ => {}
        }
        out.score += 1;
        Ok(())
    }

    /// The schema behind references; none if it is `true` or `false`.
    #[inline(never)]
    fn referred(
        &mut self,
        mut id: Id,
        node: Node<'a, '_>,
        out: &mut Outcome<'a>,
    ) -> Result<Option<&'a Schema>, Fault> {
        for _ in 0..=self.schemas.len() {
            self.call.step(4)?;
            let schema = self.schemas.get(id)?;
            if let Some(pass) = schema.pass {
                if !pass {
                    self.wrong(out, node, &FALSE, Detail::Nothing)?;
                }
                return Ok(None);
            }
            match schema.reference {
                Some(next) => id = next,
                None => return Ok(Some(schema)),
            }
        }
        // They go round: OPA ends with its stack.
        Err(Fault::Limit(Limit::Depth))
    }

    #[inline(never)]
    fn has_type(
        &mut self,
        schema: &'a Schema,
        node: Node<'a, '_>,
        out: &mut Outcome<'a>,
    ) -> Result<bool, Fault> {
        if schema.types.is_empty() {
            return Ok(true);
        }
        let given = match node.value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) => {
                self.call.step(number.text_len() / 16)?;
                if is_integer(number) { "integer" } else { "number" }
            }
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) | Value::Set(_) => "object",
        };
        let fits = schema.types.contains(&given) || (given == "integer" && schema.types.contains(&"number"));
        if !fits {
            self.wrong(out, node, &INVALID_TYPE, Detail::Types(&schema.types, given))?;
        }
        Ok(fits)
    }

    fn any_of(&mut self, schema: &'a Schema, node: Node<'a, '_>, out: &mut Outcome<'a>) -> Result<(), Fault> {
        let mut best = None;
        for id in &schema.any_of {
            let found = self.apart(*id, node.value, node.place, node.depth)?;
            if found.is_good() {
                return Ok(());
            }
            keep_best(&mut best, found);
        }
        self.wrong(out, node, &ANY_OF, Detail::Nothing)?;
        best.into_iter().for_each(|best| out.merge(best));
        Ok(())
    }

    fn one_of(&mut self, schema: &'a Schema, node: Node<'a, '_>, out: &mut Outcome<'a>) -> Result<(), Fault> {
        let (mut best, mut good) = (None, 0);
        for id in &schema.one_of {
            let found = self.apart(*id, node.value, node.place, node.depth)?;
            if found.is_good() {
                good += 1;
            } else if good == 0 {
                keep_best(&mut best, found);
            }
        }
        if good == 1 {
            return Ok(());
        }
        self.wrong(out, node, &ONE_OF, Detail::Nothing)?;
        if good == 0 {
            best.into_iter().for_each(|best| out.merge(best));
        }
        Ok(())
    }

    fn all_of(&mut self, schema: &'a Schema, node: Node<'a, '_>, out: &mut Outcome<'a>) -> Result<(), Fault> {
        let mut good = 0;
        for id in &schema.all_of {
            let found = self.apart(*id, node.value, node.place, node.depth)?;
            good += usize::from(found.is_good());
            out.merge(found);
        }
        if good == schema.all_of.len() {
            return Ok(());
        }
        self.wrong(out, node, &ALL_OF, Detail::Nothing)
    }

    fn dependencies(
        &mut self,
        schema: &'a Schema,
        object: &'a Object,
        node: Node<'a, '_>,
        out: &mut Outcome<'a>,
    ) -> Result<(), Fault> {
        self.call.step(object.len())?;
        for key in object.keys() {
            let Value::String(key) = key else { continue };
            match schema.dependencies.get(key) {
                None => {}
                Some(Dependency::Schema(id)) => {
                    self.hold(*id, Node { depth: node.depth + 1, ..node }, out)?;
                }
                Some(Dependency::Names(names)) => {
                    self.call.step(names.len())?;
                    for name in names {
                        if object.get_str(name.as_bytes()).is_none() {
                            self.wrong(out, node, &DEPENDENCY, Detail::Text(name.as_bytes()))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn condition(
        &mut self,
        schema: &'a Schema,
        node: Node<'a, '_>,
        out: &mut Outcome<'a>,
    ) -> Result<(), Fault> {
        let Some(condition) = schema.condition else { return Ok(()) };
        let holds = self.apart(condition, node.value, node.place, node.depth)?.is_good();
        let (next, kind) = if holds { (schema.then, &THEN) } else { (schema.otherwise, &ELSE) };
        let Some(next) = next else { return Ok(()) };
        let found = self.apart(next, node.value, node.place, node.depth)?;
        if !found.is_good() {
            self.wrong(out, node, kind, Detail::Nothing)?;
            out.merge(found);
        }
        Ok(())
    }

    fn array(
        &mut self,
        schema: &'a Schema,
        items: &'a Array,
        node: Node<'a, '_>,
        out: &mut Outcome<'a>,
    ) -> Result<(), Fault> {
        let at = |index| below(node.place, Name::Index(index));
        for (index, item) in items.iter().enumerate() {
            let named = if schema.is_for_all { schema.items.first() } else { schema.items.get(index) };
            let id = match (named, schema.more_items) {
                (Some(id), _) => *id,
                // What is behind is looked at only if something is in front.
                (None, Rest::Schema(id)) if !schema.items.is_empty() => id,
                (None, Rest::Closed) if !schema.items.is_empty() => {
                    self.wrong(out, node, &NO_MORE_ITEMS, Detail::Nothing)?;
                    break;
                }
                (None, _) => break,
            };
            let found = self.apart(id, item, &at(index), node.depth)?;
            out.merge(found);
        }
        self.counts_of_array(schema, items, node, out)?;
        if let Some(id) = schema.contains {
            let mut best = None;
            let mut is_there = false;
            for (index, item) in items.iter().enumerate() {
                let found = self.apart(id, item, &at(index), node.depth)?;
                if found.is_good() {
                    is_there = true;
                    break;
                }
                keep_best(&mut best, found);
            }
            if !is_there {
                self.wrong(out, node, &CONTAINS, Detail::Nothing)?;
                best.into_iter().for_each(|best| out.merge(best));
            }
        }
        out.score += 1;
        Ok(())
    }

    #[inline(never)]
    fn counts_of_array(
        &mut self,
        schema: &'a Schema,
        items: &'a Array,
        node: Node<'a, '_>,
        out: &mut Outcome<'a>,
    ) -> Result<(), Fault> {
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if let Some(least) = schema.item_count.least.filter(|least| count < *least) {
            self.wrong(out, node, &MIN_ITEMS, Detail::Count(least))?;
        }
        if let Some(most) = schema.item_count.most.filter(|most| count > *most) {
            self.wrong(out, node, &MAX_ITEMS, Detail::Count(most))?;
        }
        if schema.is_unique {
            let mut seen = BTreeMap::new();
            for (index, item) in items.iter().enumerate() {
                let text = normalized(self.call, item)?.map_err(|_| UNDEFINED)?;
                self.call.step(8)?;
                self.call.bytes(64)?;
                if let Some(before) = seen.insert(text, index) {
                    self.wrong(out, node, &UNIQUE, Detail::Pair(before, index))?;
                }
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        schema: &'a Schema,
        object: &'a Object,
        node: Node<'a, '_>,
        out: &mut Outcome<'a>,
    ) -> Result<(), Fault> {
        self.counts_of_object(schema, object, node, out)?;
        let is_open = matches!(schema.more_properties, Rest::Open);
        if !is_open || !schema.pattern_properties.is_empty() {
            self.call.step(object.len())?;
            for (key, value) in object.iter() {
                let Value::String(key) = key else { continue };
                let mut is_named = schema.properties.contains_key(key);
                let mut matched = false;
                for (regex, id) in &schema.pattern_properties {
                    if regex.is_match(key.as_bytes(), self.call.budget)? {
                        let place = below(node.place, Name::Key(key.as_bytes()));
                        let found = self.apart(*id, value, &place, node.depth)?;
                        out.merge(found);
                        matched = true;
                    }
                }
                out.score += i64::from(matched);
                is_named |= matched;
                match schema.more_properties {
                    Rest::Closed if !is_named => {
                        self.wrong(out, node, &NOT_ALLOWED, Detail::Text(key.as_bytes()))?;
                    }
                    Rest::Schema(id) if !is_named => {
                        let place = below(node.place, Name::Key(key.as_bytes()));
                        let found = self.apart(id, value, &place, node.depth)?;
                        out.merge(found);
                    }
                    _ => {}
                }
            }
        }
        if let Some(id) = schema.property_names {
            for key in object.keys() {
                let found = self.apart(id, key, node.place, node.depth)?;
                if !found.is_good() {
                    let name = key.as_bytes().unwrap_or_default();
                    self.wrong(out, node, &PROPERTY_NAME, Detail::Text(name))?;
                    out.merge(found);
                }
            }
        }
        out.score += 1;
        Ok(())
    }

    #[inline(never)]
    fn counts_of_object(
        &mut self,
        schema: &'a Schema,
        object: &'a Object,
        node: Node<'a, '_>,
        out: &mut Outcome<'a>,
    ) -> Result<(), Fault> {
        let count = i64::try_from(object.len()).unwrap_or(i64::MAX);
        if let Some(least) = schema.property_count.least.filter(|least| count < *least) {
            self.wrong(out, node, &MIN_PROPERTIES, Detail::Count(least))?;
        }
        if let Some(most) = schema.property_count.most.filter(|most| count > *most) {
            self.wrong(out, node, &MAX_PROPERTIES, Detail::Count(most))?;
        }
        self.call.step(2 * schema.required.len())?;
        for name in &schema.required {
            if object.get_str(name.as_bytes()).is_some() {
                out.score += 1;
            } else {
                self.wrong(out, node, &REQUIRED, Detail::Text(name.as_bytes()))?;
            }
        }
        Ok(())
    }

    fn properties(
        &mut self,
        schema: &'a Schema,
        object: &'a Object,
        node: Node<'a, '_>,
        out: &mut Outcome<'a>,
    ) -> Result<(), Fault> {
        self.call.step(schema.properties.len())?;
        for (name, id) in &schema.properties {
            if let Some(value) = object.get_str(name.as_bytes()) {
                let place = below(node.place, Name::Key(name.as_bytes()));
                self.hold(*id, Node { value, place: &place, depth: node.depth + 1 }, out)?;
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn common(&mut self, schema: &'a Schema, node: Node<'a, '_>, out: &mut Outcome<'a>) -> Result<(), Fault> {
        if schema.constant.is_some() || schema.values.is_some() {
            let text = normalized(self.call, node.value)?.map_err(|_| UNDEFINED)?;
            if let Some(constant) = schema.constant.as_ref().filter(|constant| **constant != text) {
                self.wrong(out, node, &CONST, Detail::Text(constant))?;
            }
            if let Some(values) = &schema.values {
                self.call.step(text.len() / 8 + 8)?;
                if !values.all.contains(&text) {
                    self.wrong(out, node, &ENUM, Detail::Text(&values.text))?;
                }
            }
        }
        if let (Some(format), Value::String(text)) = (&schema.format, node.value)
            && !formats::has_format(self.call, format.as_bytes(), text.as_bytes())?
        {
            self.wrong(out, node, &FORMAT, Detail::Text(format.as_bytes()))?;
        }
        out.score += 1;
        Ok(())
    }

    #[inline(never)]
    fn number(
        &mut self,
        schema: &'a Schema,
        number: &'a Number,
        node: Node<'a, '_>,
        out: &mut Outcome<'a>,
    ) -> Result<(), Fault> {
        out.score += 1;
        let (minimum, maximum) = (&schema.minimum, &schema.maximum);
        let bounds = [
            (&maximum.inclusive, &MAXIMUM),
            (&maximum.exclusive, &EXCLUSIVE_MAXIMUM),
            (&minimum.inclusive, &MINIMUM),
            (&minimum.exclusive, &EXCLUSIVE_MINIMUM),
        ];
        if schema.multiple_of.is_none() && bounds.iter().all(|(bound, _)| bound.is_none()) {
            return Ok(());
        }
        self.call.step(number.text_len() / 4)?;
        if !is_rational(number) {
            return Err(UNDEFINED);
        }
        if let Some(of) = &schema.multiple_of
            && !is_multiple(self.call, number, of)?
        {
            self.wrong(out, node, &MULTIPLE, Detail::Number(of))?;
        }
        for (bound, kind) in bounds {
            let Some(bound) = bound else { continue };
            self.call.step(bound.text_len() / 4)?;
            let order = number.cmp(bound);
            let fits = match kind.0 {
                "number_lte" => order.is_le(),
                "number_lt" => order.is_lt(),
                "number_gte" => order.is_ge(),
                _ => order.is_gt(),
            };
            if !fits {
                self.wrong(out, node, kind, Detail::Number(bound))?;
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn string(
        &mut self,
        schema: &'a Schema,
        text: &'a Str,
        node: Node<'a, '_>,
        out: &mut Outcome<'a>,
    ) -> Result<(), Fault> {
        out.score += 1;
        if schema.length.least.is_some() || schema.length.most.is_some() {
            self.call.step(text.len() / 16)?;
            let count = i64::try_from(text.to_str().chars().count()).unwrap_or(i64::MAX);
            if let Some(least) = schema.length.least.filter(|least| count < *least) {
                self.wrong(out, node, &MIN_LENGTH, Detail::Count(least))?;
            }
            if let Some(most) = schema.length.most.filter(|most| count > *most) {
                self.wrong(out, node, &MAX_LENGTH, Detail::Count(most))?;
            }
        }
        if let Some((pattern, regex)) = &schema.pattern
            && !regex.is_match(text.as_bytes(), self.call.budget)?
        {
            self.wrong(out, node, &PATTERN, Detail::Text(pattern.as_bytes()))?;
        }
        Ok(())
    }
}
