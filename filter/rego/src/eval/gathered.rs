//! What partial rules contribute to one document.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::builtins::Fault;
use crate::value::{ObjectBuilder, Value};

/// What partial rules have contributed.
pub(crate) enum Gathered {
    Leaf(Value),
    Set(Vec<Value>),
    Object(BTreeMap<Value, Gathered>),
}

impl Gathered {
    /// Adds a value at a path. False: it conflicts with what is there.
    pub(super) fn add(&mut self, path: Vec<Value>, leaf: Value, member: bool) -> Result<bool, Fault> {
        let mut at = self;
        let mut steps = path.into_iter().peekable();
        while let Some(key) = steps.next() {
            let Gathered::Object(object) = at else { return Ok(false) };
            if steps.peek().is_none() {
                let Some(there) = object.get_mut(&key) else {
                    let new = if member { Gathered::Set(vec![leaf]) } else { Gathered::Leaf(leaf) };
                    object.insert(key, new);
                    return Ok(true);
                };
                return match (there, member) {
                    (Gathered::Set(members), true) => {
                        members.push(leaf);
                        Ok(true)
                    }
                    (Gathered::Leaf(value), false) => Ok(*value == leaf),
                    (there @ (Gathered::Object(_) | Gathered::Set(_)), false) => Ok(there.value()? == leaf),
                    (Gathered::Object(_) | Gathered::Leaf(_), true) => Ok(false),
                };
            }
            at = object.entry(key).or_insert_with(|| Gathered::Object(BTreeMap::new()));
        }
        match at {
            Gathered::Set(members) => {
                members.push(leaf);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn value(&self) -> Result<Value, Fault> {
        Ok(match self {
            Gathered::Leaf(value) => value.clone(),
            Gathered::Set(members) => Value::set(members.clone())?,
            Gathered::Object(object) => {
                let mut builder = ObjectBuilder::new();
                for (key, value) in object {
                    builder.push(key.clone(), value.value()?);
                }
                Value::Object(Rc::new(builder.finish()?))
            }
        })
    }

    pub(super) fn build(self) -> Result<Value, Fault> {
        Ok(match self {
            Gathered::Leaf(value) => value,
            Gathered::Set(members) => Value::set(members)?,
            Gathered::Object(object) => {
                let mut builder = ObjectBuilder::new();
                for (key, value) in object {
                    builder.push(key, value.build()?);
                }
                Value::Object(Rc::new(builder.finish()?))
            }
        })
    }
}
