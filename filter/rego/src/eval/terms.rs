//! Registers, terms and unification.

use super::machine::Machine;
use super::watch::Watch;
use crate::builtins::Fault;
use crate::plan::{Arg, Out};
use crate::value::Value;

impl<'p, W: Watch> Machine<'p, W> {
    /// The value of a register of the current window.
    pub(crate) fn register(&self, register: u32) -> Option<&Value> {
        let at = self.base + register as usize;
        match self.registers.get(at).and_then(Option::as_ref) {
            None if !self.links.is_empty() => self.registers.get(self.linked(at))?.as_ref(),
            found => found,
        }
    }

    pub(crate) fn bind(&mut self, register: u32, value: Value) {
        let mut at = self.base + register as usize;
        if !self.links.is_empty() {
            at = self.linked(at);
        }
        if let Some(slot) = self.registers.get_mut(at) {
            *slot = Some(value);
            self.trail.push(at as u32);
        }
    }

    /// The register that holds the value of one that was made equal to another before either had a value.
    fn linked(&self, register: usize) -> usize {
        let mut at = register;
        for _ in 0..self.links.len() {
            match self.links.iter().find(|(from, _)| *from == at) {
                Some((_, to)) => at = *to,
                None => break,
            }
        }
        at
    }

    /// Makes two registers without a value one.
    fn link(&mut self, a: u32, b: u32) -> Result<bool, Fault> {
        let (a, b) = (self.linked(self.base + a as usize), self.linked(self.base + b as usize));
        if a != b {
            if self.links.len() >= MOST_LINKS {
                return Err(unbound());
            }
            self.links.push((a, b));
            self.trail.push(LINK);
        }
        Ok(true)
    }

    /// Undoes bindings made since the trail was so long.
    pub(crate) fn undo(&mut self, length: usize) {
        while self.trail.len() > length {
            match self.trail.pop() {
                Some(LINK) => {
                    self.links.pop();
                }
                Some(DOUBLE) => {
                    self.doubles.pop();
                }
                Some(at) => self.registers.get_mut(at as usize).into_iter().for_each(|slot| *slot = None),
                None => {}
            }
        }
    }

    /// A value that is there without building one.
    pub(crate) fn plain<'a>(&'a self, arg: &'a Arg) -> Option<&'a Value> {
        match arg {
            Arg::Const(value) => Some(value),
            Arg::Reg(register) => self.register(*register),
            _ => None,
        }
    }

    /// The value of a term; None if a variable in it has none.
    pub(crate) fn value(&mut self, arg: &Arg) -> Result<Option<Value>, Fault> {
        match arg {
            Arg::Const(value) => Ok(Some(value.clone())),
            Arg::Reg(register) => Ok(self.register(*register).cloned()),
            Arg::Array(items) => {
                self.bytes(16 * items.len() + 32)?;
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    let Some(value) = self.value(item)? else { return Ok(None) };
                    out.push(value);
                }
                Ok(Some(Value::array(out)?))
            }
            Arg::Set(items) => {
                self.bytes(16 * items.len() + 32)?;
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    let Some(value) = self.value(item)? else { return Ok(None) };
                    out.push(value);
                }
                Ok(Some(Value::set(out)?))
            }
            Arg::Object(pairs) => {
                self.bytes(32 * pairs.len() + 32)?;
                let mut out = Vec::with_capacity(pairs.len());
                for (key, value) in pairs {
                    let Some(key) = self.value(key)? else { return Ok(None) };
                    let Some(value) = self.value(value)? else { return Ok(None) };
                    out.push((key, value));
                }
                Ok(Some(Value::object(out)?))
            }
        }
    }

    fn equal(&mut self, a: &Value, b: &Value) -> Result<bool, Fault> {
        if a.depth() > 0 && b.depth() > 0 {
            self.step(a.weight().min(b.weight()) as usize)?;
        }
        Ok(a == b)
    }

    /// Unifies a term with a value.
    pub(crate) fn unify(&mut self, arg: &Arg, value: &Value) -> Result<bool, Fault> {
        match arg {
            Arg::Const(constant) => self.equal(constant, value),
            Arg::Reg(register) => match self.register(*register) {
                Some(have) if have.depth() == 0 => Ok(have == value),
                Some(have) => {
                    let have = have.clone();
                    self.equal(&have, value)
                }
                None => {
                    self.bind(*register, value.clone());
                    Ok(true)
                }
            },
            Arg::Array(items) => {
                let Value::Array(array) = value else { return Ok(false) };
                if array.len() != items.len() {
                    return Ok(false);
                }
                for (item, value) in items.iter().zip(array.iter()) {
                    if !self.unify(item, value)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Arg::Object(pairs) => {
                let Value::Object(object) = value else { return Ok(false) };
                if object.len() != pairs.len() {
                    return Ok(false);
                }
                for (key, item) in pairs {
                    let Some(key) = self.value(key)? else { return Ok(false) };
                    let Some(value) = object.get(&key) else { return Ok(false) };
                    if !self.unify(item, value)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Arg::Set(_) => match self.value(arg)? {
                Some(set) => self.equal(&set, value),
                None => Ok(false),
            },
        }
    }

    /// Unifies two terms: whichever side has a value first.
    pub(crate) fn unify_terms(&mut self, a: &'p Arg, b: &'p Arg) -> Result<bool, Fault> {
        if let Some(value) = self.plain(a).cloned() {
            return self.unify(b, &value);
        }
        if let Some(value) = self.plain(b).cloned() {
            return self.unify(a, &value);
        }
        if let (Arg::Reg(a), Arg::Reg(b)) = (a, b) {
            return self.link(*a, *b);
        }
        let mut pairs = vec![(a, b)];
        while !pairs.is_empty() {
            let before = pairs.len();
            let mut left = Vec::new();
            let mut opened = false;
            for (a, b) in pairs.drain(..) {
                if let Some(value) = self.value(a)? {
                    if !self.unify(b, &value)? {
                        return Ok(false);
                    }
                    self.note_double(b, a, &value)?;
                    continue;
                }
                if let Some(value) = self.value(b)? {
                    if !self.unify(a, &value)? {
                        return Ok(false);
                    }
                    self.note_double(a, b, &value)?;
                    continue;
                }
                match (a, b) {
                    (Arg::Array(a), Arg::Array(b)) => {
                        if a.len() != b.len() {
                            return Ok(false);
                        }
                        left.extend(a.iter().zip(b.iter()));
                        opened = true;
                    }
                    (Arg::Object(a), Arg::Object(b)) => {
                        if a.len() != b.len() {
                            return Ok(false);
                        }
                        for (key, item) in a {
                            let key = self.value(key)?;
                            let mut other = None;
                            for (other_key, value) in b {
                                if self.value(other_key)? == key {
                                    other = Some(value);
                                }
                            }
                            let Some(other) = other.filter(|_| key.is_some()) else { return Ok(false) };
                            left.push((item, other));
                        }
                        opened = true;
                    }
                    (
                        Arg::Const(_) | Arg::Array(_) | Arg::Object(_) | Arg::Set(_),
                        Arg::Const(_) | Arg::Array(_) | Arg::Object(_) | Arg::Set(_),
                    ) => return Ok(false),
                    _ => left.push((a, b)),
                }
            }
            if !opened && left.len() == before {
                for (a, b) in left {
                    match (a, b) {
                        (Arg::Reg(a), Arg::Reg(b)) => {
                            self.link(*a, *b)?;
                        }
                        // What is built of variables without a value is none, and fails nothing unless it is asked for.
                        (Arg::Reg(_), Arg::Array(_) | Arg::Object(_) | Arg::Set(_))
                        | (Arg::Array(_) | Arg::Object(_) | Arg::Set(_), Arg::Reg(_)) => {}
                        _ => return Err(unbound()),
                    }
                }
                return Ok(true);
            }
            pairs = left;
        }
        Ok(true)
    }

    /// OPA binds a variable to the object as it is written: of keys that come out equal, a step finds the first, while the
    /// last one counts where the object is used as a whole.
    fn note_double(&mut self, bound: &Arg, written: &Arg, value: &Value) -> Result<(), Fault> {
        let (Arg::Reg(register), Arg::Object(pairs), Value::Object(object)) = (bound, written, value) else {
            return Ok(());
        };
        if object.len() == pairs.len() || self.doubles.len() >= MOST_LINKS {
            return Ok(());
        }
        let mut first = Vec::with_capacity(pairs.len());
        for (key, value) in pairs.iter().rev() {
            if let (Some(key), Some(value)) = (self.value(key)?, self.value(value)?) {
                first.push((key, value));
            }
        }
        let at = self.linked(self.base + *register as usize);
        self.doubles.push((at, Value::object(first)?));
        self.trail.push(DOUBLE);
        Ok(())
    }

    /// What the steps of a reference find in a register's value.
    pub(crate) fn stepped(&self, register: u32) -> Option<&Value> {
        if !self.doubles.is_empty() {
            let at = self.linked(self.base + register as usize);
            if let Some((_, value)) = self.doubles.iter().rev().find(|(double, _)| *double == at) {
                return Some(value);
            }
        }
        self.register(register)
    }

    /// Gives an answer to what asked for it: whether it fits.
    pub(crate) fn emit(&mut self, out: &Out, value: &Value) -> Result<bool, Fault> {
        match out {
            Out::Test => Ok(!matches!(value, Value::Bool(false))),
            Out::Unify(arg) => self.unify(arg, value),
        }
    }

    pub(crate) fn step(&mut self, count: usize) -> Result<(), Fault> {
        Ok(self.budget.step(count as u64)?)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<(), Fault> {
        Ok(self.budget.bytes(count as u64)?)
    }
}

/// The most links, and objects with equal keys, at a time: both are looked through one by one.
const MOST_LINKS: usize = 64;
/// In the trail: the last link is taken back.
const LINK: u32 = u32::MAX;
/// In the trail: the last object with equal keys is forgotten.
const DOUBLE: u32 = u32::MAX - 1;

/// A variable without a value where one is needed: OPA's compiler lets a few such policies through, and its evaluator ends
/// so.
pub(crate) fn unbound() -> Fault {
    Fault::Halt("eval_internal_error: a variable has no value here".into())
}
