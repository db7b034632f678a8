//! Comprehensions that are computed once for all values of the variables that they share with the body around them.
//!
//! Seen from outside there is one difference to evaluating them anew: an object comprehension of this kind has no
//! conflicts, its last value counts. That holds too where it is computed anew all the same, because its head names a variable
//! that its body does not bind. Source: `v1/topdown/eval.go` (`buildComprehensionCache`).

use std::collections::BTreeMap;
use std::rc::Rc;

use super::machine::{Flow, Frame, Machine, Role, holds};
use super::terms::unbound;
use super::watch::Watch;
use crate::builtins::Fault;
use crate::plan::{Arg, Compr, Kind, Out};
use crate::value::{ObjectBuilder, Value};

impl<'p, W: Watch> Machine<'p, W> {
    pub(crate) fn comprehension(&mut self, compr: &'p Compr, out: &'p Out) -> Result<Flow, Fault> {
        if compr.on_right && self.cannot_equal(compr.kind, out) {
            return Ok(Flow::Fail);
        }
        if let Some(keys) = &compr.keys {
            if !compr.open
                && let Some(value) = self.cached_comprehension(compr, keys)
            {
                return Ok(holds(self.emit(out, &value)?));
            }
            if !self.is_grouped(compr) {
                return self.open_groups(compr);
            }
        }
        let role = Role::Compr { compr, keys: Vec::new(), values: Vec::new(), groups: None };
        self.closure(&compr.block, role)
    }

    /// Whether what stands left of a comprehension is of another kind.
    fn cannot_equal(&self, kind: Kind, out: &Out) -> bool {
        let Out::Unify(arg) = out else { return false };
        match arg {
            Arg::Array(_) => kind != Kind::Array,
            Arg::Object(_) => kind != Kind::Object,
            Arg::Set(_) => false,
            Arg::Const(_) | Arg::Reg(_) => match self.plain(arg) {
                None | Some(Value::Set(_)) => false,
                Some(Value::Array(_)) => kind != Kind::Array,
                Some(Value::Object(_)) => kind != Kind::Object,
                Some(_) => true,
            },
        }
    }

    pub(crate) fn collect(&mut self) -> Result<Flow, Fault> {
        let Some(Frame { role: Role::Compr { compr, groups, .. }, .. }) = self.frames.last() else {
            return Ok(Flow::Fail);
        };
        let compr: &'p Compr = compr;
        let grouped = groups.is_some();
        if grouped && compr.open {
            return Ok(Flow::Fail);
        }
        let Some(value) = self.value(&compr.value)? else { return Err(unbound()) };
        let key = match compr.kind {
            Kind::Object => match self.value(&compr.key)? {
                Some(key) => key,
                None => return Err(unbound()),
            },
            _ => Value::Null,
        };
        self.bytes(if compr.kind == Kind::Object { 32 } else { 16 })?;
        let group = match &compr.keys {
            Some(registers) if grouped => {
                let mut group = Vec::with_capacity(registers.len());
                for register in registers {
                    match self.register(*register) {
                        Some(value) => group.push(value.clone()),
                        None => return Err(unbound()),
                    }
                }
                Some(group)
            }
            _ => None,
        };
        if let Some(Frame { role: Role::Compr { keys, values, groups, .. }, .. }) = self.frames.last_mut() {
            match (groups, group) {
                (Some(groups), Some(group)) => groups.push((group, key, value)),
                _ => {
                    if compr.kind == Kind::Object {
                        keys.push(key);
                    }
                    values.push(value);
                }
            }
        }
        Ok(Flow::Fail)
    }

    pub(crate) fn is_grouped(&self, compr: &Compr) -> bool {
        self.frames.last().is_some_and(|f| f.context.caches.borrow().comprehensions.get(compr.id).is_some())
    }

    /// The value for what the registers hold now.
    pub(crate) fn cached_comprehension(&self, compr: &Compr, keys: &[u32]) -> Option<Value> {
        let groups = self.frames.last()?.context.caches.borrow().comprehensions.get(compr.id)?.clone();
        let key: Vec<Value> = keys.iter().map(|r| self.register(*r).cloned()).collect::<Option<_>>()?;
        Some(groups.get(&key).cloned().unwrap_or_else(|| empty(compr.kind)))
    }

    /// Computes all groups in a window of its own, where nothing outside is bound.
    pub(crate) fn open_groups(&mut self, compr: &'p Compr) -> Result<Flow, Fault> {
        let Some(context) = self.context() else { return Ok(Flow::Fail) };
        let registers = (self.registers.len() - self.base) as u32;
        self.open_window(registers)?;
        let role = Role::Compr { compr, keys: Vec::new(), values: Vec::new(), groups: Some(Vec::new()) };
        self.push(&compr.block, context, role)?;
        Ok(Flow::Run)
    }

    /// The groups are complete: keeps them, and answers for what the frame below holds.
    pub(crate) fn close_groups(
        &mut self,
        compr: &'p Compr,
        groups: Vec<(Vec<Value>, Value, Value)>,
    ) -> Result<Flow, Fault> {
        if compr.open {
            if let Some(frame) = self.frames.last() {
                frame.context.caches.borrow_mut().comprehensions.insert(compr.id, Rc::default());
            }
            // The operation is executed once more.
            self.drop_frame();
            return Ok(Flow::Run);
        }
        let mut by_key: BTreeMap<Vec<Value>, Vec<(Value, Value)>> = BTreeMap::new();
        for (group, key, value) in groups {
            by_key.entry(group).or_default().push((key, value));
        }
        let mut built = BTreeMap::new();
        for (group, pairs) in by_key {
            let values = |pairs: Vec<(Value, Value)>| pairs.into_iter().map(|(_, v)| v).collect();
            let value = match compr.kind {
                Kind::Array => Value::array(values(pairs))?,
                Kind::Set => Value::set(values(pairs))?,
                Kind::Object => {
                    let mut builder = ObjectBuilder::new();
                    pairs.into_iter().for_each(|(k, v)| builder.push(k, v));
                    Value::Object(Rc::new(builder.finish()?))
                }
            };
            built.insert(group, value);
        }
        let below = self.frames.len().checked_sub(2).and_then(|at| self.frames.get(at));
        let base = below.map_or(0, |f| f.base);
        let key: Option<Vec<Value>> = compr
            .keys
            .iter()
            .flatten()
            .map(|r| self.registers.get(base + *r as usize).cloned().flatten())
            .collect();
        let answer = key.map(|key| built.get(&key).cloned().unwrap_or_else(|| empty(compr.kind)));
        if let Some(frame) = self.frames.last() {
            frame.context.caches.borrow_mut().comprehensions.insert(compr.id, Rc::new(built));
        }
        let Some(answer) = answer else {
            // A name that stands elsewhere in the rule, and has no value here: it is computed for this place.
            self.drop_frame();
            return Ok(Flow::Run);
        };
        Ok(Flow::Finish(Some(answer)))
    }
}

fn empty(kind: Kind) -> Value {
    let made = match kind {
        Kind::Array => Value::array(Vec::new()),
        Kind::Set => Value::set(Vec::new()),
        Kind::Object => Value::object(Vec::new()),
    };
    made.unwrap_or_default()
}
