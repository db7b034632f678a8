//! `every`, `and`, `or`: bodies whose solutions are counted by the operation that they stand in.

use super::machine::{Flow, Machine, Role, count, item};
use super::watch::Watch;
use crate::builtins::Fault;
use crate::plan::Op;
use crate::value::Value;

impl<'p, W: Watch> Machine<'p, W> {
    pub(super) fn every(&mut self, op: &'p Op, domain: Value) -> Result<Flow, Fault> {
        let Op::Every { block, .. } = op else { return Ok(Flow::Fail) };
        if count(&domain) == 0 {
            return Ok(Flow::Next);
        }
        self.closure(block, Role::Every { domain, next: 0 })?;
        self.next_of_every(op)
    }

    /// Binds the next element; None are left: it holds.
    pub(super) fn next_of_every(&mut self, op: &'p Op) -> Result<Flow, Fault> {
        let Op::Every { key, value, .. } = op else { return Ok(Flow::Fail) };
        let Some(frame) = self.frames.last_mut() else { return Ok(Flow::Fail) };
        let trail = frame.trail;
        let choices = frame.choices;
        let Role::Every { domain, next } = &mut frame.role else { return Ok(Flow::Fail) };
        let found = item(domain, *next).0;
        *next += 1;
        frame.at = 0;
        frame.context = frame.home.clone();
        self.choices.truncate(choices);
        self.undo(trail);
        let Some((k, v)) = found else { return Ok(Flow::Finish(Some(Value::Bool(true)))) };
        self.step(1)?;
        let bound = self.unify(key, &k)? && self.unify(value, &v)?;
        Ok(if bound { Flow::Run } else { Flow::Fail })
    }

    /// One operand of `and`/`or` holds or not.
    pub(super) fn operand_done(&mut self, holds: bool) -> Result<Flow, Fault> {
        let op = self.parent_op();
        let Some(frame) = self.frames.last_mut() else { return Ok(Flow::Fail) };
        let Role::Logical { or, second } = &mut frame.role else { return Ok(Flow::Fail) };
        if *second || *or == holds {
            return Ok(Flow::Finish(holds.then_some(Value::Bool(true))));
        }
        *second = true;
        let (trail, choices) = (frame.trail, frame.choices);
        frame.at = 0;
        frame.context = frame.home.clone();
        if let Some(Op::Logical { right, .. }) = op {
            frame.block = right;
        }
        self.choices.truncate(choices);
        self.undo(trail);
        Ok(Flow::Run)
    }

    /// The operation that the frame below the top one waits at.
    pub(super) fn parent_op(&self) -> Option<&'p Op> {
        let below = self.frames.len().checked_sub(2)?;
        let frame = self.frames.get(below)?;
        frame.block.get(frame.at)
    }
}
