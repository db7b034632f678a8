//! `walk`: every value within a value, with the path to it, outer ones first.

use crate::value::{TooDeep, Value};

/// The pairs that are left.
pub(crate) struct Walk {
    /// Collections on the way, and the element of each that is next.
    open: Vec<(Value, usize)>,
    path: Vec<Value>,
    root: Option<Value>,
}

impl Walk {
    pub(crate) fn new(value: Value) -> Walk {
        Walk { open: Vec::new(), path: Vec::new(), root: Some(value) }
    }

    pub(crate) fn next(&mut self) -> Option<Result<(Value, Value), TooDeep>> {
        if let Some(root) = self.root.take() {
            self.open.push((root.clone(), 0));
            return Some(Value::array(Vec::new()).map(|path| (path, root)));
        }
        loop {
            let (collection, next) = self.open.last_mut()?;
            let at = *next;
            *next += 1;
            let found = match collection {
                Value::Array(array) => array.items().get(at).map(|v| (Value::from(at as i64), v.clone())),
                Value::Object(object) => object.pairs().get(at).cloned(),
                Value::Set(set) => set.members().get(at).map(|v| (v.clone(), v.clone())),
                _ => None,
            };
            let Some((key, value)) = found else {
                self.open.pop();
                self.path.pop();
                continue;
            };
            self.path.push(key);
            let path = Value::array(self.path.clone());
            self.open.push((value.clone(), 0));
            return Some(path.map(|path| (path, value)));
        }
    }
}
