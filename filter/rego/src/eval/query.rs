//! Queries: what is asked of a policy.

use std::collections::BTreeMap;

use super::machine::Machine;
use super::{Error, Limits, Outside, Policy};
use crate::builtins::Fault;
use crate::plan::{CompileErrors, Op, QueryPlan};
use crate::value::Value;

/// A compiled query.
#[derive(Debug)]
pub struct Entry {
    pub(crate) block: Box<[Op]>,
    pub(crate) shown: Vec<u32>,
    pub(crate) names: Vec<String>,
    pub(crate) registers: u32,
}

/// One answer of a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The values of the query's variables.
    pub bindings: BTreeMap<String, Value>,
    /// The value of the query, if it is one expression with a value.
    pub value: Option<Value>,
}

impl Policy {
    /// Compiles a query: a reference such as `data.a.allow`, or any expressions.
    pub fn query(&self, text: &str) -> Result<Entry, CompileErrors> {
        let QueryPlan { block, shown, names, registers } = crate::plan::query(&self.plan, text)?;
        Ok(Entry { block, shown, names, registers })
    }

    /// The value of a query, or None if it is undefined.
    pub fn evaluate(
        &self,
        entry: &Entry,
        input: Option<Value>,
        limits: &Limits,
        outside: &Outside,
    ) -> Result<Option<Value>, Error> {
        let mut kept = self.kept.borrow_mut();
        let mut machine = Machine::new(&self.plan, &self.data, limits, outside, &mut kept, &self.files, ());
        machine.query(&entry.block, &entry.shown, entry.registers, input).map_err(error)?;
        let at = entry.names.iter().position(|n| n.is_empty()).unwrap_or(0);
        Ok(machine.answers.into_iter().next().and_then(|a| a.into_iter().nth(at)).flatten())
    }

    /// All answers of a query, and what was printed meanwhile.
    pub fn answers(
        &self,
        entry: &Entry,
        input: Option<Value>,
        limits: &Limits,
        outside: &Outside,
    ) -> Result<(Vec<Answer>, Vec<String>), Error> {
        let mut kept = self.kept.borrow_mut();
        let mut machine = Machine::new(&self.plan, &self.data, limits, outside, &mut kept, &self.files, ());
        machine.query(&entry.block, &entry.shown, entry.registers, input).map_err(error)?;
        let answers = answers_of(&mut machine.answers, entry);
        Ok((answers, machine.printed))
    }
}

/// What the registers held in each answer, by name.
pub(crate) fn answers_of(held: &mut Vec<Vec<Option<Value>>>, entry: &Entry) -> Vec<Answer> {
    let answers = std::mem::take(held).into_iter().map(|values| {
        let mut answer = Answer::default();
        for (name, value) in entry.names.iter().zip(values) {
            match (name.is_empty(), value) {
                (true, value) => answer.value = value,
                (false, Some(value)) => {
                    answer.bindings.insert(name.clone(), value);
                }
                _ => {}
            }
        }
        answer
    });
    answers.collect()
}

pub(crate) fn error(fault: Fault) -> Error {
    match fault {
        Fault::Limit(limit) => Error::Limit(limit),
        Fault::Undefined(why) => Error::Halt(why.into_owned()),
        Fault::Halt(why) if why.contains("eval_conflict_error: ") => Error::Conflict(why.into_owned()),
        Fault::Halt(why) => Error::Halt(why.into_owned()),
    }
}
