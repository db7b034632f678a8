//! A document that operations change one after the other: only what a path goes through is taken apart.
//!
//! As OPA does it, with what follows from that: a path into an array finds an item that no operation has
//! touched by its place in the array as it first was, also after others were inserted or deleted in front of
//! it. Source: `internal/edittree/edittree.go`.

use super::{Call, Fault, Limit};
use crate::value::{Array, MOST_DEPTH, Object, Value};
use std::collections::BTreeMap;
use std::rc::Rc;

const ABSENT: Fault = Fault::undefined("there is nothing at the path");

/// The document.
pub(super) struct Document {
    root: Option<Node>,
    /// Nothing can be changed below a root that was deleted and put back.
    replaced: bool,
}

enum Node {
    Scalar(Value),
    /// The object, and what became of the parts that were touched: `None` for what was deleted.
    Object(Rc<Object>, BTreeMap<Value, (Value, Option<Node>)>),
    Set(Value, BTreeMap<Value, (Value, Option<Node>)>),
    /// The array as it was, and its items as they are.
    Array(Rc<Array>, Option<Vec<Item>>),
}

enum Item {
    /// As it was at this place.
    Untouched(usize),
    Touched(Node),
}

impl Document {
    pub(super) fn new(value: Value) -> Document {
        Document { root: Some(Node::new(value)), replaced: false }
    }

    /// The value at a path.
    pub(super) fn render(&mut self, call: &mut Call<'_>, path: &[Value]) -> Result<Value, Fault> {
        self.find(call, path)?.render(call)
    }

    fn find(&mut self, call: &mut Call<'_>, path: &[Value]) -> Result<&mut Node, Fault> {
        let Some(root) = &mut self.root else { return Err(ABSENT) };
        if path.len() > MOST_DEPTH as usize {
            // Such a place could only be within a value that is too deep.
            return Err(Fault::Limit(Limit::Depth));
        }
        let mut node = root;
        for key in path {
            if self.replaced && !matches!(node, Node::Scalar(_)) {
                return Err(Fault::undefined("the root was replaced"));
            }
            node = node.child(call, key)?;
        }
        Ok(node)
    }

    pub(super) fn insert(&mut self, call: &mut Call<'_>, path: &[Value], value: Value) -> Result<(), Fault> {
        let Some((last, parents)) = path.split_last() else {
            self.root = Some(Node::new(value));
            return Ok(());
        };
        let replaced = self.replaced && parents.is_empty();
        let node = self.find(call, parents)?;
        if replaced && !matches!(node, Node::Scalar(_)) {
            return Err(Fault::undefined("the root was replaced"));
        }
        node.insert(call, last, value)?;
        Ok(())
    }

    pub(super) fn delete(&mut self, call: &mut Call<'_>, path: &[Value]) -> Result<(), Fault> {
        let Some((last, parents)) = path.split_last() else {
            self.replaced = true;
            return self.root.take().map(|_| ()).ok_or(ABSENT);
        };
        self.find(call, parents)?.delete(call, last)
    }
}

fn is_composite(value: &Value) -> bool {
    matches!(value, Value::Array(_) | Value::Object(_) | Value::Set(_))
}

/// The index that a key says in an array: a number, or its text without zeros in front; `-` is the end.
fn index(key: &Value, length: usize) -> Result<usize, Fault> {
    let value = match key {
        Value::Number(number) => number.to_i64(),
        Value::String(text) if text.as_bytes() == b"-" => return Ok(length),
        Value::String(text) if text.as_bytes() != b"0" && text.as_bytes().starts_with(b"0") => None,
        Value::String(text) => text.as_str().and_then(crate::value::to_i64),
        _ => None,
    };
    value.and_then(|value| usize::try_from(value).ok()).ok_or(ABSENT)
}

impl Node {
    fn new(value: Value) -> Node {
        match value {
            Value::Object(object) => Node::Object(object, BTreeMap::new()),
            Value::Set(_) => Node::Set(value, BTreeMap::new()),
            Value::Array(array) => Node::Array(array, None),
            scalar => Node::Scalar(scalar),
        }
    }

    /// The items of an array, to be changed.
    fn items<'a>(
        call: &mut Call<'_>,
        array: &Array,
        items: &'a mut Option<Vec<Item>>,
    ) -> Result<&'a mut Vec<Item>, Fault> {
        if items.is_none() {
            call.room(array.len())?;
        }
        Ok(items.get_or_insert_with(|| (0..array.len()).map(Item::Untouched).collect()))
    }

    /// A set whose touched members are part of it again: before one that is composite is looked for.
    fn collapse(&mut self, call: &mut Call<'_>) -> Result<(), Fault> {
        let value = self.render(call)?;
        *self = Node::new(value);
        Ok(())
    }

    /// The part under a key, taken apart.
    fn child(&mut self, call: &mut Call<'_>, key: &Value) -> Result<&mut Node, Fault> {
        call.walk(key)?;
        if is_composite(key) && matches!(self, Node::Set(..)) {
            self.collapse(call)?;
        }
        match self {
            Node::Scalar(_) => Err(ABSENT),
            Node::Object(object, touched) => {
                if !touched.contains_key(key) {
                    let value = object.get(key).ok_or(ABSENT)?.clone();
                    call.room(2)?;
                    touched.insert(key.clone(), (key.clone(), Some(Node::new(value))));
                }
                touched.get_mut(key).and_then(|(_, node)| node.as_mut()).ok_or(ABSENT)
            }
            Node::Set(set, touched) => {
                if !touched.contains_key(key) {
                    let value = set.as_set().and_then(|set| set.get(key)).ok_or(ABSENT)?.clone();
                    call.room(2)?;
                    touched.insert(key.clone(), (key.clone(), Some(Node::new(value))));
                }
                touched.get_mut(key).and_then(|(_, node)| node.as_mut()).ok_or(ABSENT)
            }
            Node::Array(array, items) => {
                let items = Node::items(call, array, items)?;
                let at = index(key, items.len())?;
                let item = items.get_mut(at).ok_or(ABSENT)?;
                if let Item::Untouched(_) = item {
                    // By its place in the array as it first was.
                    let value = array.items().get(at).ok_or(ABSENT)?.clone();
                    *item = Item::Touched(Node::new(value));
                }
                match item {
                    Item::Touched(node) => Ok(node),
                    Item::Untouched(_) => Err(ABSENT),
                }
            }
        }
    }

    fn insert(&mut self, call: &mut Call<'_>, key: &Value, value: Value) -> Result<(), Fault> {
        call.walk(key)?;
        call.room(2)?;
        if let Node::Set(..) = self {
            call.compare(key, &value)?;
            if *key != value {
                return Err(Fault::undefined("a member of a set is its own path"));
            }
            if is_composite(key) {
                self.collapse(call)?;
            }
        }
        match self {
            Node::Scalar(_) => Err(ABSENT),
            Node::Object(_, touched) | Node::Set(_, touched) => {
                // Also the key is written as this path writes it.
                touched.remove(key);
                touched.insert(key.clone(), (key.clone(), Some(Node::new(value))));
                Ok(())
            }
            Node::Array(array, items) => {
                let items = Node::items(call, array, items)?;
                let at = index(key, items.len())?;
                if at > items.len() {
                    return Err(ABSENT);
                }
                call.step(items.len() / 8)?;
                items.insert(at, Item::Touched(Node::new(value)));
                Ok(())
            }
        }
    }

    fn delete(&mut self, call: &mut Call<'_>, key: &Value) -> Result<(), Fault> {
        call.walk(key)?;
        call.room(2)?;
        if is_composite(key) && matches!(self, Node::Set(..)) {
            self.collapse(call)?;
        }
        match self {
            Node::Scalar(_) => Err(ABSENT),
            Node::Object(object, touched) => {
                let there = match touched.get(key) {
                    Some((_, node)) => node.is_some(),
                    None => object.contains_key(key),
                };
                touched.remove(key);
                touched.insert(key.clone(), (key.clone(), None));
                if there { Ok(()) } else { Err(ABSENT) }
            }
            Node::Set(set, touched) => {
                let there = match touched.get(key) {
                    Some((_, node)) => node.is_some(),
                    None => set.as_set().is_some_and(|set| set.contains(key)),
                };
                touched.remove(key);
                touched.insert(key.clone(), (key.clone(), None));
                if there { Ok(()) } else { Err(ABSENT) }
            }
            Node::Array(array, items) => {
                let items = Node::items(call, array, items)?;
                let at = index(key, items.len())?;
                if at >= items.len() {
                    return Err(ABSENT);
                }
                call.step(items.len() / 8)?;
                items.remove(at);
                Ok(())
            }
        }
    }

    /// The value as it is now.
    fn render(&self, call: &mut Call<'_>) -> Result<Value, Fault> {
        match self {
            Node::Scalar(value) => Ok(value.clone()),
            Node::Array(array, None) => Ok(Value::Array(array.clone())),
            Node::Array(array, Some(items)) => {
                call.room(items.len())?;
                let mut rendered = Vec::with_capacity(items.len());
                for item in items {
                    rendered.push(match item {
                        Item::Untouched(at) => array.items().get(*at).cloned().unwrap_or_default(),
                        Item::Touched(node) => node.render(call)?,
                    });
                }
                Ok(Value::array(rendered)?)
            }
            Node::Object(object, touched) if touched.is_empty() => Ok(Value::Object(object.clone())),
            Node::Object(object, touched) => {
                call.room(2 * (object.len() + touched.len()))?;
                call.sorting((object.len() + touched.len()) as u64, object.len())?;
                let mut pairs = Vec::with_capacity(object.len() + touched.len());
                for (key, node) in touched.values() {
                    if let Some(node) = node {
                        pairs.push((key.clone(), node.render(call)?));
                    }
                }
                pairs.extend(object.iter().filter(|(key, _)| !touched.contains_key(key)).cloned());
                Ok(Value::object(pairs)?)
            }
            Node::Set(set, touched) if touched.is_empty() => Ok(set.clone()),
            Node::Set(set, touched) => {
                let members = set.as_set().map(|set| set.members()).unwrap_or_default();
                call.room(members.len() + touched.len())?;
                call.sorting(u64::from(set.weight()) + touched.len() as u64, members.len())?;
                let mut rendered = Vec::with_capacity(members.len() + touched.len());
                for (_, node) in touched.values() {
                    if let Some(node) = node {
                        rendered.push(node.render(call)?);
                    }
                }
                rendered.extend(members.iter().filter(|member| !touched.contains_key(member)).cloned());
                Ok(Value::set(rendered)?)
            }
        }
    }
}
