//! The rules of a name: complete, functions, partial sets and objects.
//!
//! Source: `v1/topdown/eval.go` (`evalVirtualComplete`, `evalFunc`, `evalVirtualPartial`).

use std::collections::BTreeMap;
use std::rc::Rc;

use super::context::Context;
use super::gathered::Gathered;
use super::machine::{Flow, Machine, Role};
use super::terms::unbound;
use super::watch::Watch;
use crate::builtins::Fault;
use crate::index::{Candidate, Found};
use crate::plan::{NodeId, Out, Path, RulePlan};
use crate::value::Value;

/// What is asked of the rules.
pub(crate) enum Ask {
    /// The value of a complete rule.
    Complete,
    /// The value of a function, and what it is known to be. Of the arguments named by `open` none has a value.
    Call { args: Vec<Value>, expected: Option<Value>, open: Vec<usize> },
    /// A partial set or object; of these steps below it, where one has a value.
    Partial { keys: Vec<Option<Value>> },
}

/// The rules of one name being evaluated.
pub(crate) struct Job<'p> {
    pub(crate) node: NodeId,
    pub(crate) ask: Ask,
    candidates: Vec<Candidate>,
    /// The next candidate.
    next: usize,
    /// The rule whose branches are tried, and the next of its admitted branches.
    candidate: Option<Candidate>,
    branch: usize,
    pub(crate) rule: Option<&'p RulePlan>,
    early: bool,
    /// The rule, or a branch of it, gave a value.
    found: bool,
    defaulted: bool,
    previous: Option<Value>,
    gathered: Gathered,
}

impl<'p, W: Watch> Machine<'p, W> {
    /// The document that a node's rules define, from a step on.
    pub(crate) fn virtual_document(
        &mut self,
        id: NodeId,
        path: &'p Path,
        out: &'p Out,
        step: usize,
    ) -> Result<Flow, Fault> {
        let plan = self.plan;
        let Some(node) = plan.node(id) else { return Ok(Flow::Fail) };
        let Some(context) = self.context() else { return Ok(Flow::Fail) };
        if node.arity > 0 {
            return Ok(Flow::Fail);
        }
        let cached = context.caches.borrow().whole.get(id).cloned();
        if let Some(cached) = cached {
            return match cached {
                Some(value) => self.go(path, out, value, step, false),
                None => Ok(Flow::Fail),
            };
        }
        let ask = if node.ground && !node.set {
            Ask::Complete
        } else {
            let first = match path.steps.get(step) {
                Some(first) => self.value(first)?,
                None => None,
            };
            let mut keys = Vec::new();
            if let Some(first) = first {
                let more = path.steps.get(step + 1..).unwrap_or_default();
                let more = more.get(..(node.span as usize).saturating_sub(1)).unwrap_or(more);
                keys.push(Some(first));
                for next in more {
                    let key = self.value(next)?;
                    keys.push(key);
                }
                while matches!(keys.last(), Some(None)) {
                    keys.pop();
                }
                if let Some(key) = plain_keys(&keys) {
                    let cached = context.caches.borrow().by_key.get(&(id, key)).cloned();
                    if let Some(cached) = cached {
                        return match cached {
                            Some(value) => self.go(path, out, value, step, false),
                            None => Ok(Flow::Fail),
                        };
                    }
                }
            }
            Ask::Partial { keys }
        };
        self.start(id, ask, context, step)
    }

    /// Pushes a frame for a node's rules.
    pub(crate) fn start(
        &mut self,
        id: NodeId,
        ask: Ask,
        context: Rc<Context>,
        resume: usize,
    ) -> Result<Flow, Fault> {
        let plan = self.plan;
        let Some(node) = plan.node(id) else { return Ok(Flow::Fail) };
        self.step(context.mock_steps())?;
        let args: &[Value] = match &ask {
            Ask::Call { args, .. } => args,
            _ => &[],
        };
        let mut found = Found::default();
        let mut resolver = super::documents::Resolver { machine: self, context: &context, args };
        node.index.lookup(node, &mut resolver, &mut found)?;
        let partial = matches!(ask, Ask::Partial { .. });
        let gathered = if partial && !(node.set && node.ground) {
            Gathered::Object(BTreeMap::new())
        } else {
            Gathered::Set(Vec::new())
        };
        if let Some(frame) = self.frames.last_mut() {
            frame.resume = resume;
        }
        let job = Job {
            node: id,
            ask,
            candidates: found.rules,
            next: 0,
            candidate: None,
            branch: 0,
            rule: None,
            early: found.early && !partial,
            found: false,
            defaulted: false,
            previous: None,
            gathered,
        };
        self.open_window(0)?;
        self.push(&[], context, Role::Job(Box::new(job)))?;
        self.note_begin();
        Ok(Flow::Rule)
    }

    /// Starts the next rule, branch or default of the job on top, or ends the job.
    pub(crate) fn next_rule(&mut self) -> Result<Flow, Fault> {
        let plan = self.plan;
        loop {
            let Some(frame) = self.frames.last_mut() else { return Ok(Flow::Fail) };
            let (choices, trail, base) = (frame.choices, frame.trail, frame.base);
            let Role::Job(job) = &mut frame.role else { return Ok(Flow::Fail) };
            let rule = match job.advance(plan) {
                Some(rule) => rule,
                None => return self.end_job(),
            };
            job.rule = Some(rule);
            frame.block = &rule.block;
            frame.at = 0;
            frame.context = frame.home.clone();
            self.choices.truncate(choices);
            self.undo(trail);
            self.registers.truncate(base);
            self.open_window(rule.registers)?;
            self.step(1)?;
            self.watch.rule(rule.pos);
            if self.enter_rule(rule)? {
                return Ok(Flow::Run);
            }
            self.watch.head_differs();
        }
    }

    /// Unifies what is asked with the head of a rule.
    fn enter_rule(&mut self, rule: &'p RulePlan) -> Result<bool, Fault> {
        let Some(frame) = self.frames.last_mut() else { return Ok(false) };
        let Role::Job(job) = &mut frame.role else { return Ok(false) };
        match &job.ask {
            Ask::Complete => Ok(true),
            Ask::Call { args, expected, open } => {
                let (args, expected, open) = (args.clone(), expected.clone(), open.clone());
                for (index, (pattern, value)) in rule.args.iter().zip(&args).enumerate() {
                    if !open.contains(&index) && !self.unify(pattern, value)? {
                        return Ok(false);
                    }
                }
                match (expected, &rule.value) {
                    (Some(expected), Some(value)) => self.unify(value, &expected),
                    _ => Ok(true),
                }
            }
            Ask::Partial { keys } => {
                if keys.is_empty() {
                    return Ok(true);
                }
                let keys = keys.clone();
                let depth = self.plan.node(self.job_node()).map_or(0, |n| n.depth as usize);
                let tail = rule.path.get(depth..).unwrap_or_default();
                let pairs = tail.iter().chain(&rule.key).zip(&keys);
                for (pattern, key) in pairs {
                    if let Some(key) = key
                        && !self.unify(pattern, key)?
                    {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    fn job_node(&self) -> NodeId {
        match self.frames.last().map(|f| &f.role) {
            Some(Role::Job(job)) => job.node,
            _ => 0,
        }
    }

    /// The body of the job's rule holds.
    pub(crate) fn job_solved(&mut self) -> Result<Flow, Fault> {
        let Some(frame) = self.frames.last() else { return Ok(Flow::Fail) };
        let Role::Job(job) = &frame.role else { return Ok(Flow::Fail) };
        let Some(rule) = job.rule else { return Ok(Flow::Fail) };
        self.watch.held(rule.pos);
        if matches!(job.ask, Ask::Partial { .. }) {
            self.gather(rule)?;
            return Ok(Flow::Fail);
        }
        let Some(value) = &rule.value else { return Ok(Flow::Fail) };
        let Some(value) = self.value(value)? else { return Err(unbound()) };
        self.open_arguments(rule)?;
        let Some(frame) = self.frames.last_mut() else { return Ok(Flow::Fail) };
        let Role::Job(job) = &mut frame.role else { return Ok(Flow::Fail) };
        job.found = true;
        match &job.previous {
            Some(previous) if *previous != value => {
                let call = matches!(job.ask, Ask::Call { .. });
                let what = if call { " for the same arguments" } else { "" };
                let what = format!("`{}` has two different values{what}", Self::shown_path(rule));
                return Err(self.conflict(rule.pos, &what));
            }
            Some(_) => {}
            None => job.previous = Some(value),
        }
        if job.early { self.end_job() } else { Ok(Flow::Fail) }
    }

    /// What the first solution gave arguments that came without a value: the caller's variables get it.
    fn open_arguments(&mut self, rule: &'p RulePlan) -> Result<(), Fault> {
        let Some(Role::Job(job)) = self.frames.last().map(|f| &f.role) else { return Ok(()) };
        let open = match &job.ask {
            Ask::Call { open, .. } if !open.is_empty() && job.previous.is_none() => open.clone(),
            _ => return Ok(()),
        };
        let mut given = Vec::new();
        for index in open {
            if let Some(pattern) = rule.args.get(index)
                && let Some(value) = self.value(pattern)?
            {
                given.push((index, value));
            }
        }
        self.given = given;
        Ok(())
    }

    fn end_job(&mut self) -> Result<Flow, Fault> {
        let Some(frame) = self.frames.last_mut() else { return Ok(Flow::Fail) };
        let Role::Job(job) = &mut frame.role else { return Ok(Flow::Fail) };
        let id = job.node;
        let caches = frame.context.caches.clone();
        let answer = match std::mem::replace(&mut job.ask, Ask::Complete) {
            Ask::Complete => {
                let answer = job.previous.take();
                caches.borrow_mut().whole.insert(id, answer.clone());
                answer
            }
            Ask::Call { args, expected, open } => {
                let answer = job.previous.take();
                if expected.is_none() && open.is_empty() {
                    caches.borrow_mut().calls.insert((id, args), answer.clone());
                }
                answer
            }
            Ask::Partial { keys } => {
                let gathered = std::mem::replace(&mut job.gathered, Gathered::Set(Vec::new()));
                let value = gathered.build()?;
                if keys.is_empty() {
                    caches.borrow_mut().whole.insert(id, Some(value.clone()));
                } else if let Some(key) = plain_keys(&keys) {
                    caches.borrow_mut().by_key.insert((id, key), Some(value.clone()));
                }
                Some(value)
            }
        };
        self.watch.end(answer.as_ref());
        Ok(Flow::Finish(answer))
    }

    /// Adds what a solution of a partial rule contributes.
    fn gather(&mut self, rule: &'p RulePlan) -> Result<(), Fault> {
        let depth = self.plan.node(self.job_node()).map_or(0, |n| n.depth as usize);
        let mut path = Vec::new();
        for step in rule.path.get(depth..).unwrap_or_default() {
            match self.value(step)? {
                Some(key) => path.push(key),
                None => return Err(unbound()),
            }
        }
        let member = rule.key.is_some();
        let leaf = if member { &rule.key } else { &rule.value };
        let leaf = match leaf {
            Some(arg) => match self.value(arg)? {
                Some(value) => value,
                None => return Err(unbound()),
            },
            None => return Ok(()),
        };
        self.bytes(64 + 48 * path.len())?;
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        let Role::Job(job) = &mut frame.role else { return Ok(()) };
        job.found = true;
        if job.gathered.add(path, leaf, member)? {
            return Ok(());
        }
        let what = format!("`{}` has two different values for one key", Self::shown_path(rule));
        Err(self.conflict(rule.pos, &what))
    }
}

impl<'p> Job<'p> {
    /// Of a function that is called.
    pub(crate) fn arguments(&self) -> Option<&[Value]> {
        match &self.ask {
            Ask::Call { args, .. } => Some(args),
            _ => None,
        }
    }

    /// The next rule or branch to evaluate; the default where nothing else gave a value.
    fn advance(&mut self, plan: &'p crate::plan::Plan) -> Option<&'p RulePlan> {
        loop {
            if let (Some(candidate), false) = (&self.candidate, self.found)
                && let Some(branch) = candidate.branch(self.branch)
            {
                self.branch += 1;
                let rule = plan.rule(candidate.rule)?;
                return match branch {
                    0 => Some(rule),
                    n => rule.branches.get(n as usize - 1),
                };
            }
            self.found = false;
            self.branch = 0;
            match self.candidates.get(self.next) {
                Some(candidate) => {
                    self.candidate = Some(candidate.clone());
                    self.next += 1;
                }
                None => {
                    self.candidate = None;
                    if self.previous.is_some() || self.defaulted || matches!(self.ask, Ask::Partial { .. }) {
                        return None;
                    }
                    self.defaulted = true;
                    return plan.node(self.node)?.default.and_then(|id| plan.rule(id));
                }
            }
        }
    }
}

/// The keys, if all have a value.
fn plain_keys(keys: &[Option<Value>]) -> Option<Vec<Value>> {
    if keys.is_empty() { None } else { keys.iter().cloned().collect() }
}
