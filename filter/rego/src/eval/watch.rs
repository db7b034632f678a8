//! Who looks on while a policy is evaluated: nobody, or a [`Recorder`].
//!
//! The machine is compiled once for each, so that an evaluation that nobody watches has no trace of it.

use std::collections::BTreeSet;

use super::machine::{Machine, Role};
use super::query::answers_of;
use super::{Answer, Entry, Error, Limits, Outside, Policy};
use crate::plan::{Arg, Op, Plan, RulePlan};
use crate::syntax::Pos;
use crate::value::Value;

/// The most evaluations of names that are kept.
const MOST_EVALUATED: usize = 2_000;

/// Is told what the machine does. What it does by default is nothing.
pub(crate) trait Watch {
    /// An expression is reached.
    fn placed(&mut self, _: Pos) {}
    /// A rule, or a branch of one, begins.
    fn rule(&mut self, _: Pos) {}
    /// What is asked is not what the rule's head says.
    fn head_differs(&mut self) {}
    /// The rule's body holds.
    fn held(&mut self, _: Pos) {}
    /// The rules of a name have an answer.
    fn end(&mut self, _: Option<&Value>) {}
    /// Who wants to know more.
    fn recorder(&mut self) -> Option<&mut Recorder> {
        None
    }
}

impl Watch for () {}

/// What happened in an evaluation.
#[derive(Debug, Default)]
pub struct Recorder {
    explains: bool,
    /// Expressions that were reached, and rules that held.
    reached: BTreeSet<Pos>,
    evaluated: Vec<Evaluated>,
    open: Vec<usize>,
    left_out: usize,
}

/// The rules of one name, evaluated once.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// `data.a.allow`.
    pub name: String,
    /// Of a function.
    pub arguments: Option<Vec<Value>>,
    /// The evaluation that asked for it, and the rule of it that did, by number.
    pub within: Option<(usize, usize)>,
    /// Rules and branches, in the order in which they were tried.
    pub attempts: Vec<Attempt>,
    /// None: it came to no end. None within: undefined.
    pub value: Option<Option<Value>>,
}

/// One rule, or one branch of it, being tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Where it begins.
    pub pos: Pos,
    /// Whether its body held, at least once.
    pub held: bool,
    /// What failed, as far down as it came.
    pub failure: Option<Failure>,
    /// How far it came.
    rank: usize,
}

/// Why a rule does not hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// Its head says something else than what is asked.
    Head,
    /// An expression fails.
    Expression {
        /// Where it begins.
        pos: Pos,
        /// As written, on one line.
        text: String,
        /// What it is about: as written, and the value; None: undefined.
        values: Vec<(String, Option<Value>)>,
    },
}

impl Recorder {
    /// Takes down which places are reached.
    pub fn coverage() -> Recorder {
        Recorder::default()
    }

    /// Takes down why each rule holds or does not, as well.
    pub fn explanation() -> Recorder {
        Recorder { explains: true, ..Recorder::default() }
    }

    /// Places of expressions that were reached, and of rules that held.
    pub fn reached(&self) -> &BTreeSet<Pos> {
        &self.reached
    }

    /// What was evaluated, in the order in which it began.
    pub fn evaluated(&self) -> &[Evaluated] {
        &self.evaluated
    }

    /// How many evaluations were too many to be kept.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    fn begin(&mut self, name: String, arguments: Option<Vec<Value>>) {
        if self.evaluated.len() >= MOST_EVALUATED {
            self.left_out += 1;
            self.open.push(usize::MAX);
            return;
        }
        let within = self.open.last().and_then(|at| {
            let attempts = self.evaluated.get(*at)?.attempts.len();
            Some((*at, attempts.saturating_sub(1)))
        });
        self.open.push(self.evaluated.len());
        self.evaluated.push(Evaluated { name, arguments, within, attempts: Vec::new(), value: None });
    }

    fn top(&mut self) -> Option<&mut Evaluated> {
        let at = self.open.last()?;
        self.evaluated.get_mut(*at)
    }

    fn attempt(&mut self) -> Option<&mut Attempt> {
        self.top()?.attempts.last_mut()
    }

    /// Whether a failure so far down is to be kept. Within `every` the last one counts: it ended it.
    fn wants(&mut self, rank: usize, within: bool) -> bool {
        self.attempt().is_some_and(|a| a.failure.is_none() || rank > a.rank || (within && rank == a.rank))
    }
}

/// A recorder at work.
pub(crate) struct Recording<'a> {
    recorder: &'a mut Recorder,
}

impl Watch for Recording<'_> {
    fn placed(&mut self, pos: Pos) {
        self.recorder.reached.insert(pos);
    }

    fn rule(&mut self, pos: Pos) {
        if let Some(top) = self.recorder.top() {
            top.attempts.push(Attempt { pos, held: false, failure: None, rank: 0 });
        }
    }

    fn head_differs(&mut self) {
        if let Some(attempt) = self.recorder.attempt() {
            attempt.failure = Some(Failure::Head);
        }
    }

    fn held(&mut self, pos: Pos) {
        self.recorder.reached.insert(pos);
        if let Some(attempt) = self.recorder.attempt() {
            attempt.held = true;
            attempt.failure = None;
        }
    }

    fn end(&mut self, value: Option<&Value>) {
        if let Some(top) = self.recorder.top() {
            top.value = Some(value.cloned());
        }
        if self.recorder.explains {
            self.recorder.open.pop();
        }
    }

    fn recorder(&mut self) -> Option<&mut Recorder> {
        self.recorder.explains.then_some(&mut *self.recorder)
    }
}

impl<'p, W: Watch> Machine<'p, W> {
    /// The rules of a name begin: the frame on top is theirs.
    pub(crate) fn note_begin(&mut self) {
        if self.watch.recorder().is_none() {
            return;
        }
        let Some(Role::Job(job)) = self.frames.last().map(|frame| &frame.role) else { return };
        let name = path_of(self.plan, job.node);
        let arguments = job.arguments().map(<[Value]>::to_vec);
        if let Some(recorder) = self.watch.recorder() {
            recorder.begin(name, arguments);
        }
    }

    /// The top frame goes back: why, if an operation of a rule has failed.
    pub(crate) fn note_failure(&mut self) {
        if self.watch.recorder().is_none() {
            return;
        }
        let Some((rule, rank, within, block, at)) = self.failing() else { return };
        if !self.watch.recorder().is_some_and(|recorder| recorder.wants(rank, within)) {
            return;
        }
        let Some(pos) = place_of(block, at) else { return };
        let Some(source) = self.sources.get(pos.file as usize) else { return };
        let span = source.expression(pos);
        let mut values = Vec::new();
        let mut here = false;
        for (index, op) in block.iter().enumerate().take(at + 1) {
            if let Op::Place(pos) = op {
                here = source.expression(*pos) == span;
            } else if here {
                self.values_of(op, rule, block, index == at, &mut values);
            }
        }
        // What stands in a rule's head is no expression.
        let text = span.map_or_else(|| source.line(pos.line).to_owned(), |span| source.text(span));
        let pos = span.map_or(pos, |span| span.from);
        if let Some(recorder) = self.watch.recorder()
            && let Some(attempt) = recorder.attempt()
        {
            attempt.failure = Some(Failure::Expression { pos, text, values });
            attempt.rank = rank;
        }
    }

    /// The rule whose operation fails, how far it came, and the operation: its own, or one within its `every`.
    fn failing(&self) -> Option<(&'p RulePlan, usize, bool, &'p [Op], usize)> {
        let (top, below) = self.frames.split_last()?;
        if top.at >= top.block.len() || !matches!(top.role, Role::Job(_) | Role::Every { .. }) {
            return None;
        }
        let mut frames = below.iter().rev();
        let mut frame = top;
        while matches!(frame.role, Role::Every { .. }) {
            frame = frames.next()?;
        }
        let Role::Job(job) = &frame.role else { return None };
        let within = matches!(top.role, Role::Every { .. });
        Some((job.rule?, frame.at, within, top.block, top.at))
    }
}

/// Where an operation comes from.
fn place_of(block: &[Op], at: usize) -> Option<Pos> {
    let before = block.get(..=at)?;
    before.iter().rev().find_map(|op| match op {
        Op::Place(pos) => Some(*pos),
        _ => None,
    })
}

/// `data.a.allow`.
pub(crate) fn path_of(plan: &Plan, id: u32) -> String {
    let Some(node) = plan.node(id) else { return String::new() };
    let rule = node.rules.first().or(node.default.as_ref()).and_then(|rule| plan.rule(*rule));
    let steps = rule.map(|rule| rule.path.iter().take(node.depth as usize));
    let mut out = String::from("data");
    for step in steps.into_iter().flatten() {
        if let Arg::Const(key) = step {
            super::shown::step(key, &mut out);
        }
    }
    out
}

impl Policy {
    /// As [`Policy::answers`], with somebody who looks on: what is made with `Options::places` has something to see.
    pub fn record(
        &self,
        entry: &Entry,
        input: Option<Value>,
        limits: &Limits,
        outside: &Outside,
        recorder: &mut Recorder,
    ) -> (Result<Vec<Answer>, Error>, Vec<String>) {
        recorder.open.clear();
        let mut kept = self.kept.borrow_mut();
        let watch = Recording { recorder };
        let mut machine =
            Machine::new(&self.plan, &self.data, limits, outside, &mut kept, &self.files, watch);
        machine.sources = &self.sources;
        let done = machine.query(&entry.block, &entry.shown, entry.registers, input);
        let answers = done.map(|()| answers_of(&mut machine.answers, entry)).map_err(super::query::error);
        (answers, std::mem::take(&mut machine.printed))
    }

    /// The places that can be reached: of every rule, and of every expression in it.
    pub fn places(&self) -> BTreeSet<Pos> {
        let mut found = BTreeSet::new();
        for rule in self.plan.rules.iter().flat_map(|rule| std::iter::once(rule).chain(&rule.branches)) {
            found.insert(rule.pos);
            let mut open: Vec<&[Op]> = vec![&rule.block];
            while let Some(block) = open.pop() {
                for op in block {
                    match op {
                        Op::Place(pos) => {
                            found.insert(*pos);
                        }
                        Op::Not(block) | Op::Every { block, .. } => open.push(block),
                        Op::Logical { left, right, .. } => open.extend([&**left, &**right]),
                        Op::Compr(compr, _) => open.push(&compr.block),
                        _ => {}
                    }
                }
            }
        }
        found
    }
}
