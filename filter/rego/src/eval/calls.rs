//! Calls of functions, and of what a `with` puts in their place.
//!
//! Source: `v1/topdown/eval.go` (`evalCall`, `evalFunc`).

use std::rc::Rc;

use super::context::{Context, Mock, Mocked};
use super::jobs::Ask;
use super::machine::{Flow, Machine, holds, plain_function};
use super::terms::unbound;
use super::watch::Watch;
use crate::builtins::Fault;
use crate::plan::{Arg, NodeId, Out};
use crate::value::Value;

impl<'p, W: Watch> Machine<'p, W> {
    pub(crate) fn call(&mut self, id: NodeId, args: &'p [Arg], out: &'p Out) -> Result<Flow, Fault> {
        let Some(context) = self.context() else { return Ok(Flow::Fail) };
        self.step(context.mock_steps())?;
        if context.mocks.is_some()
            && let Some(mock) = context.mock(&Mocked::Function(id)).cloned()
        {
            return self.mocked(mock, args, out, &context);
        }
        let (values, open) = self.arguments(args)?;
        self.call_with(id, values, open, out, context)
    }

    /// The values of arguments, and which have none.
    fn arguments(&mut self, args: &'p [Arg]) -> Result<(Vec<Value>, Vec<usize>), Fault> {
        let mut values = Vec::with_capacity(args.len());
        let mut open = Vec::new();
        for (index, arg) in args.iter().enumerate() {
            match (self.value(arg)?, arg) {
                (Some(value), _) => values.push(value),
                (None, Arg::Reg(_)) => {
                    open.push(index);
                    // What no rule is found by.
                    values.push(Value::set(vec![Value::from("no value")])?);
                }
                (None, _) => return Err(unbound()),
            }
        }
        Ok((values, open))
    }

    fn call_with(
        &mut self,
        id: NodeId,
        args: Vec<Value>,
        open: Vec<usize>,
        out: &'p Out,
        context: Rc<Context>,
    ) -> Result<Flow, Fault> {
        for arg in args.iter().filter(|a| a.depth() > 0) {
            self.step(arg.weight() as usize)?;
        }
        let key = (id, args);
        let cached = context.caches.borrow().calls.get(&key).cloned();
        if let Some(cached) = cached.filter(|_| open.is_empty()) {
            return match cached {
                Some(value) => Ok(holds(self.emit(out, &value)?)),
                None => Ok(Flow::Fail),
            };
        }
        // A result that is known already is met by the head's value before the body.
        let expected = match out {
            Out::Unify(Arg::Reg(register)) => self.register(*register).cloned(),
            Out::Unify(arg) => self.value(arg)?,
            _ => None,
        };
        self.start(id, Ask::Call { args: key.1, expected, open }, context, 0)
    }

    /// A builtin under `with`: None if it is not replaced.
    pub(crate) fn mocked_builtin(
        &mut self,
        name: &'static str,
        args: &'p [Arg],
        out: &'p Out,
    ) -> Result<Option<Flow>, Fault> {
        let Some(context) = self.context() else { return Ok(None) };
        self.step(context.mock_steps())?;
        match context.mock(&Mocked::Builtin(name)).cloned() {
            Some(mock) => self.mocked(mock, args, out, &context).map(Some),
            None => Ok(None),
        }
    }

    fn mocked(
        &mut self,
        mock: Mock,
        args: &'p [Arg],
        out: &'p Out,
        context: &Rc<Context>,
    ) -> Result<Flow, Fault> {
        match mock {
            Mock::Value(value) => Ok(holds(self.emit(out, &value)?)),
            // Where nothing asks for its value, it is not evaluated.
            Mock::Reference(_) if matches!(out, Out::Test) => Ok(Flow::Next),
            Mock::Reference(number) => match self.plan.references.get(number as usize) {
                Some(path) => self.reference(path, out),
                None => Ok(Flow::Fail),
            },
            Mock::Function(id) => {
                let (values, open) = self.arguments(args)?;
                self.call_with(id, values, open, out, context.without_mocks())
            }
            Mock::Builtin(builtin) => {
                let (values, open) = self.arguments(args)?;
                if !open.is_empty() {
                    return Err(unbound());
                }
                let Some(function) = plain_function(builtin) else { return Ok(Flow::Fail) };
                match self.run_builtin(function, None, &values) {
                    Ok(value) => Ok(holds(self.emit(out, &value)?)),
                    Err(Fault::Undefined(_)) => Ok(Flow::Fail),
                    Err(fault) => Err(fault),
                }
            }
        }
    }
}
