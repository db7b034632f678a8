//! `with`: a context in which documents and functions are replaced.
//!
//! Source: `v1/topdown/eval.go` (`evalWith`), `v1/topdown/input.go`.

use std::rc::Rc;

use super::context::{Context, Mock, Mocked, merge, put};
use super::machine::{Flow, Machine};
use super::watch::Watch;
use crate::builtins::Fault;
use crate::plan::{Replacement, Target, WithPlan};
use crate::syntax::Pos;
use crate::value::Value;

impl<'p, W: Watch> Machine<'p, W> {
    pub(crate) fn with(&mut self, withs: &'p [WithPlan]) -> Result<Flow, Fault> {
        let Some(context) = self.context() else { return Ok(Flow::Fail) };
        let mut input = context.input.clone();
        let mut replaced = context.replaced.clone();
        let mut targets = Vec::new();
        let mut mocks = Vec::new();
        for with in withs {
            let mock = match &with.value {
                Replacement::Value(arg) => match self.value(arg)? {
                    Some(value) => Mock::Value(value),
                    // Nothing stands in its place, and nothing ends: only where what is computed for a group is thrown away.
                    None => continue,
                },
                Replacement::Function(id) => Mock::Function(*id),
                Replacement::Builtin(builtin) => Mock::Builtin(builtin),
                Replacement::Reference(number) => Mock::Reference(*number),
            };
            self.bytes(128)?;
            match (&with.target, mock) {
                (Target::Builtin(name), mock) => mocks.push((Mocked::Builtin(name), mock)),
                (Target::Function(id), mock) => mocks.push((Mocked::Function(*id), mock)),
                (Target::Input(path), Mock::Value(value)) => {
                    self.charge_path(input.as_ref(), path)?;
                    input = Some(put(input, path, value)?);
                }
                (Target::Data(path), Mock::Value(value)) => {
                    self.charge_path(replaced.as_ref(), path)?;
                    replaced = Some(put(replaced, path, value)?);
                    targets.push(path.clone());
                }
                (Target::Nothing, _) => {
                    return Err(self.conflict(Pos::default(), "`with` replaces paths of names only"));
                }
                // A function stands in the place of a document: there is nothing.
                (Target::Data(path), _) => targets.push(path.clone()),
                (Target::Input(_), _) => {}
            }
        }
        let targets = self.added(&context.targets, targets, |a, b| a == b)?;
        let mocks = self.added(&context.mocks, mocks, |(a, _), (b, _)| a == b)?;
        let inner = Context { input, replaced, targets, mocks, caches: Rc::default(), parent: Some(context) };
        if let Some(frame) = self.frames.last_mut() {
            frame.context = Rc::new(inner);
        }
        Ok(Flow::Next)
    }

    /// Counts the objects that are copied on the way to a path.
    fn charge_path(&mut self, document: Option<&Value>, path: &[Value]) -> Result<(), Fault> {
        let mut at = document;
        for key in path {
            let Some(Value::Object(object)) = at else { return Ok(()) };
            self.bytes(32 * object.len())?;
            at = object.get(key);
        }
        Ok(())
    }

    /// A document of `data` with what replaces it.
    pub(crate) fn merged(
        &mut self,
        over: Option<Value>,
        under: Option<Value>,
    ) -> Result<Option<Value>, Fault> {
        Ok(match (over, under) {
            (Some(over), Some(under)) => {
                self.step(over.weight() as usize)?;
                self.bytes(32 * (super::machine::count(&over) + super::machine::count(&under)))?;
                Some(merge(&over, &under)?)
            }
            (over, under) => over.or(under),
        })
    }

    /// A list with more at its end, in place of what it says of the same: however deep a `with` is nested, it is no longer than
    /// there are things to replace.
    fn added<T: Clone>(
        &mut self,
        list: &Option<Rc<[T]>>,
        more: Vec<T>,
        same: impl Fn(&T, &T) -> bool,
    ) -> Result<Option<Rc<[T]>>, Fault> {
        if more.is_empty() {
            return Ok(list.clone());
        }
        let old = list.as_deref().unwrap_or_default();
        self.step(old.len() * more.len())?;
        self.bytes((old.len() + more.len()) * size_of::<T>())?;
        let kept = old.iter().filter(|a| !more.iter().any(|b| same(a, b))).cloned();
        Ok(Some(kept.chain(more.iter().cloned()).collect()))
    }
}
