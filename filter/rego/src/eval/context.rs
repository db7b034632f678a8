//! What `with` replaces: a stack of documents, mocks and fresh caches.

use std::cell::RefCell;
use std::rc::Rc;

use super::caches::Caches;
use crate::builtins::Builtin;
use crate::plan::NodeId;
use crate::value::{Object, Value};

/// A function that is replaced.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mocked {
    Function(NodeId),
    Builtin(&'static str),
}

/// By what.
#[derive(Clone, Debug)]
pub(crate) enum Mock {
    Value(Value),
    Function(NodeId),
    Builtin(&'static Builtin),
    /// A reference of the plan, by its number.
    Reference(u32),
}

/// What an evaluation sees. Never changed: a `with` makes another one.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) input: Option<Value>,
    /// What stands in place of base data, merged over it.
    pub(crate) replaced: Option<Value>,
    /// Paths of `data` where only the replacement counts.
    pub(crate) targets: Option<Rc<[Box<[Value]>]>>,
    /// The last one counts.
    pub(crate) mocks: Option<Rc<[(Mocked, Mock)]>>,
    pub(crate) caches: Rc<RefCell<Caches>>,
    pub(crate) parent: Option<Rc<Context>>,
}

impl Context {
    pub(crate) fn new(input: Option<Value>) -> Context {
        Context { input, replaced: None, targets: None, mocks: None, caches: Rc::default(), parent: None }
    }

    /// The replacement of a function.
    pub(crate) fn mock(&self, function: &Mocked) -> Option<&Mock> {
        self.mocks.as_ref()?.iter().rev().find(|(mocked, _)| mocked == function).map(|(_, mock)| mock)
    }

    /// The same context in which no function is replaced: inside a replacement.
    pub(crate) fn without_mocks(self: &Rc<Context>) -> Rc<Context> {
        Rc::new(Context {
            input: self.input.clone(),
            replaced: self.replaced.clone(),
            targets: self.targets.clone(),
            mocks: None,
            caches: self.caches.clone(),
            parent: Some(self.clone()),
        })
    }

    /// What it costs to look for one of the functions that are replaced.
    pub(crate) fn mock_steps(&self) -> usize {
        self.mocks.as_ref().map_or(0, |mocks| mocks.len() / 8)
    }

    /// What it costs to look for a path that is replaced.
    pub(crate) fn target_steps(&self) -> usize {
        self.targets.as_ref().map_or(0, |targets| targets.len())
    }

    /// Whether only the replacement counts at a path.
    pub(crate) fn is_target(&self, path: &[Value]) -> bool {
        self.targets
            .iter()
            .flat_map(|t| t.iter())
            .any(|target| path.get(..target.len()).is_some_and(|start| start == &**target))
    }
}

/// Puts a value at a path of a document; what is no object on the way is replaced.
///
/// Source: `v1/topdown/input.go` (`mergeTermWithValues`).
pub(crate) fn put(
    document: Option<Value>,
    path: &[Value],
    value: Value,
) -> Result<Value, crate::value::TooDeep> {
    let Some((key, rest)) = path.split_first() else { return Ok(value) };
    let mut object = match document {
        Some(Value::Object(object)) => (*object).clone(),
        _ => Object::new(),
    };
    let below = if rest.is_empty() { None } else { object.get(key).cloned() };
    object.insert(key.clone(), put(below, rest, value)?)?;
    Ok(Value::Object(Rc::new(object)))
}

/// Two documents over each other: objects key by key, else the first.
pub(crate) fn merge(over: &Value, under: &Value) -> Result<Value, crate::value::TooDeep> {
    let (Value::Object(a), Value::Object(b)) = (over, under) else { return Ok(over.clone()) };
    let mut pairs: Vec<(Value, Value)> = Vec::with_capacity(a.len() + b.len());
    for (key, value) in a.iter() {
        let value = match b.get(key) {
            Some(other) => merge(value, other)?,
            None => value.clone(),
        };
        pairs.push((key.clone(), value));
    }
    pairs.extend(b.iter().filter(|(key, _)| !a.contains_key(key)).cloned());
    Value::object(pairs)
}
