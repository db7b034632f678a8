//! The machine: frames, choices, registers, and the loop that runs them.

use std::rc::Rc;

use super::context::Context;
use super::documents::{Extent, Place};
use super::jobs::Job;
use super::terms::unbound;
use super::walk;
use super::watch::Watch;
use super::{Limits, Outside};
use crate::builtins::text::patterns::Prepared;
use crate::builtins::{Budget, Call, Fault, Kept, Limit, Run};
use crate::plan::{Arg, Compr, Kind, Op, Out, Plan, RulePlan};
use crate::syntax::{Pos, Source};
use crate::value::{ObjectBuilder, Value};

/// What the machine does next. Nothing that is done next is called from what was done before it: a failure that ends frame
/// after frame would use stack for each.
pub(crate) enum Flow {
    /// The operation holds: go on behind it.
    Next,
    /// It does not hold, or a choice was left whose turn it is: go back to the last choice.
    Fail,
    /// Go on where the top frame is: it was pushed, or begins again.
    Run,
    /// The top frame is the rules of a name: the next of them.
    Rule,
    /// The top frame is all that is below a place: the next leaf.
    Leaf,
    /// The top frame ends with an answer.
    Finish(Option<Value>),
}

/// What a frame is for.
pub(crate) enum Role<'p> {
    /// The query: registers to show, and answers so far.
    Query,
    /// The rules of a name.
    Job(Box<Job<'p>>),
    /// All that is below a place of `data`.
    Extent(Box<Extent>),
    Not {
        holds: bool,
    },
    Logical {
        or: bool,
        second: bool,
    },
    Every {
        domain: Value,
        next: usize,
    },
    Compr {
        compr: &'p Compr,
        keys: Vec<Value>,
        values: Vec<Value>,
        /// Answers by the values of these registers, where all are computed at once.
        groups: Option<Vec<(Vec<Value>, Value, Value)>>,
    },
}

/// A body that is being evaluated.
pub(crate) struct Frame<'p> {
    pub(crate) block: &'p [Op],
    pub(crate) at: usize,
    /// Where its window of registers begins.
    pub(crate) base: usize,
    /// How many choices and bindings there were before it.
    pub(crate) choices: usize,
    pub(crate) trail: usize,
    pub(crate) context: Rc<Context>,
    /// The context in which its body begins.
    pub(crate) home: Rc<Context>,
    pub(crate) role: Role<'p>,
    /// The step of a reference where the answer of a called frame goes on.
    pub(crate) resume: usize,
}

/// What is left to be tried.
pub(crate) enum Alternatives {
    /// Elements of a collection, at a step of a reference.
    Items { value: Value, next: usize, step: usize, base: bool },
    /// Keys of a place of `data`, at a step of a reference.
    Keys { place: Box<Place>, keys: Rc<[Value]>, next: usize, step: usize },
    /// Pairs of `walk`.
    Walk(Box<walk::Walk>),
}

pub(crate) struct Choice {
    pub(crate) at: usize,
    pub(crate) trail: usize,
    pub(crate) context: Rc<Context>,
    pub(crate) left: Alternatives,
}

pub(crate) struct Machine<'p, W> {
    pub(crate) plan: &'p Plan,
    pub(crate) data: &'p Value,
    pub(crate) frames: Vec<Frame<'p>>,
    pub(crate) choices: Vec<Choice>,
    pub(crate) registers: Vec<Option<Value>>,
    pub(crate) trail: Vec<u32>,
    /// Registers that have what another one has.
    pub(crate) links: Vec<(usize, usize)>,
    /// Registers that hold an object two of whose keys came out equal, and what steps find in it.
    pub(crate) doubles: Vec<(usize, Value)>,
    /// What a function that ends gives the arguments of its caller that had no value.
    pub(crate) given: Vec<(usize, Value)>,
    /// The window of the top frame.
    pub(crate) base: usize,
    pub(crate) budget: Budget,
    pub(crate) depth: usize,
    pub(crate) outside: &'p Outside,
    pub(crate) kept: &'p mut Kept,
    files: &'p [String],
    pub(crate) printed: Vec<String>,
    /// What the query's registers held, answer by answer.
    pub(crate) answers: Vec<Vec<Option<Value>>>,
    pub(crate) shown: &'p [u32],
    /// No more answers than these are needed.
    pub(crate) most_answers: usize,
    /// Bytes of registers and frames, counted once each is reached.
    high: usize,
    /// Of each file, for who looks on.
    pub(crate) sources: &'p [Source],
    /// Who looks on.
    pub(crate) watch: W,
}

impl<'p, W: Watch> Machine<'p, W> {
    pub(crate) fn new(
        plan: &'p Plan,
        data: &'p Value,
        limits: &Limits,
        outside: &'p Outside,
        kept: &'p mut Kept,
        files: &'p [String],
        watch: W,
    ) -> Machine<'p, W> {
        Machine {
            plan,
            data,
            frames: Vec::with_capacity(8),
            choices: Vec::new(),
            registers: Vec::with_capacity(16),
            trail: Vec::with_capacity(16),
            links: Vec::new(),
            doubles: Vec::new(),
            given: Vec::new(),
            base: 0,
            budget: match outside.clock {
                Some(clock) => Budget::new(limits.steps, limits.bytes).timed(clock),
                None => Budget::new(limits.steps, limits.bytes),
            },
            depth: limits.depth as usize,
            outside,
            kept,
            files,
            printed: Vec::new(),
            answers: Vec::new(),
            shown: &[],
            most_answers: usize::MAX,
            high: 0,
            sources: &[],
            watch,
        }
    }

    /// Runs a query's operations and collects what `shown` holds in each answer.
    pub(crate) fn query(
        &mut self,
        block: &'p [Op],
        shown: &'p [u32],
        registers: u32,
        input: Option<Value>,
    ) -> Result<(), Fault> {
        self.shown = shown;
        self.open_window(registers)?;
        self.push(block, Rc::new(Context::new(input)), Role::Query)?;
        self.run()
    }

    /// Makes room for a window above all others; the frame pushed next uses it.
    pub(crate) fn open_window(&mut self, registers: u32) -> Result<(), Fault> {
        let base = self.registers.len();
        let end = base + registers as usize;
        if end > self.high {
            self.bytes((end - self.high) * 16)?;
            self.high = end;
        }
        self.registers.resize(end, None);
        self.base = base;
        Ok(())
    }

    /// Pushes a frame on the current window.
    pub(crate) fn push(
        &mut self,
        block: &'p [Op],
        context: Rc<Context>,
        role: Role<'p>,
    ) -> Result<(), Fault> {
        if self.frames.len() >= self.depth {
            return Err(Fault::Limit(Limit::Depth));
        }
        self.frames.push(Frame {
            block,
            at: 0,
            base: self.base,
            choices: self.choices.len(),
            trail: self.trail.len(),
            home: context.clone(),
            context,
            role,
            resume: 0,
        });
        Ok(())
    }

    pub(crate) fn context(&self) -> Option<Rc<Context>> {
        self.frames.last().map(|f| f.context.clone())
    }

    fn run(&mut self) -> Result<(), Fault> {
        let mut flow = Flow::Run;
        while let Some(frame) = self.frames.last_mut() {
            flow = match flow {
                Flow::Next => {
                    frame.at += 1;
                    Flow::Run
                }
                Flow::Run => match frame.block.get(frame.at) {
                    Some(op) => {
                        self.budget.step(1)?;
                        self.execute(op)?
                    }
                    None => self.solved()?,
                },
                Flow::Fail => self.fail()?,
                Flow::Rule => self.next_rule()?,
                Flow::Leaf => self.next_leaf()?,
                Flow::Finish(answer) => self.finish(answer)?,
            };
        }
        Ok(())
    }

    /// Goes back to the last choice of the top frame, or ends the frame.
    fn fail(&mut self) -> Result<Flow, Fault> {
        self.note_failure();
        let (Some(frame), Some(choice)) = (self.frames.last_mut(), self.choices.last()) else {
            return self.exhausted();
        };
        if self.choices.len() <= frame.choices {
            return self.exhausted();
        }
        frame.at = choice.at;
        if !Rc::ptr_eq(&frame.context, &choice.context) {
            frame.context = choice.context.clone();
        }
        let trail = choice.trail;
        self.undo(trail);
        self.budget.step(1)?;
        self.retry()
    }

    /// Tries the next alternative of the last choice.
    fn retry(&mut self) -> Result<Flow, Fault> {
        let (Some(frame), Some(choice)) = (self.frames.last(), self.choices.last_mut()) else {
            return Ok(Flow::Fail);
        };
        let op: Option<&'p Op> = frame.block.get(frame.at);
        match (&mut choice.left, op) {
            (Alternatives::Items { value, next, step, base }, Some(Op::Ref(path, out))) => {
                let at = *next;
                let (step, base) = (*step, *base);
                *next += 1;
                let (found, last) = item(value, at);
                if last {
                    self.choices.pop();
                }
                let (Some((key, value)), Some(pattern)) = (found, path.steps.get(step)) else {
                    return Ok(Flow::Fail);
                };
                if !self.unify(pattern, &key)? {
                    return Ok(Flow::Fail);
                }
                self.go(path, out, value, step + 1, base)
            }
            (Alternatives::Keys { place, keys, next, step }, Some(Op::Ref(path, out))) => {
                let at = *next;
                let step = *step;
                *next += 1;
                let key = keys.get(at).cloned();
                let last = *next >= keys.len();
                let place = (**place).clone();
                if last {
                    self.choices.pop();
                }
                let (Some(key), Some(pattern)) = (key, path.steps.get(step)) else { return Ok(Flow::Fail) };
                if !self.unify(pattern, &key)? {
                    return Ok(Flow::Fail);
                }
                self.enter_place(place, &key, path, out, step)
            }
            (Alternatives::Walk(walk), Some(Op::Walk(_, out))) => match walk.next() {
                Some(pair) => {
                    let (path, value) = pair?;
                    let depth = path.as_array().map_or(0, |path| path.len());
                    self.step(4 + depth)?;
                    self.bytes(16 * depth + 96)?;
                    let pair = Value::array(vec![path, value])?;
                    Ok(if self.emit(out, &pair)? { Flow::Next } else { Flow::Fail })
                }
                None => {
                    self.choices.pop();
                    Ok(Flow::Fail)
                }
            },
            _ => {
                self.choices.pop();
                Ok(Flow::Fail)
            }
        }
    }

    fn execute(&mut self, op: &'p Op) -> Result<Flow, Fault> {
        match op {
            Op::Ref(path, out) => self.reference(path, out),
            Op::Unify(a, b) => Ok(holds(self.unify_terms(a, b)?)),
            // A variable that nothing binds is not false.
            Op::Test(arg) => Ok(holds(!matches!(self.value(arg)?, Some(Value::Bool(false))))),
            Op::Builtin { builtin, function, prepared, args, out } => {
                self.builtin(builtin, *function, prepared.as_deref(), args, out)
            }
            Op::Walk(arg, out) => {
                let Some(value) = self.value(arg)? else { return Err(unbound()) };
                let _ = out;
                self.leave(Alternatives::Walk(Box::new(walk::Walk::new(value))));
                Ok(Flow::Fail)
            }
            Op::Call { node, args, out } => self.call(*node, args, out),
            Op::Compr(compr, out) => self.comprehension(compr, out),
            Op::Not(block) => self.closure(block, Role::Not { holds: false }),
            Op::Logical { or, left, .. } => self.closure(left, Role::Logical { or: *or, second: false }),
            Op::Every { domain, .. } => match self.value(domain)? {
                Some(domain @ (Value::Array(_) | Value::Object(_) | Value::Set(_))) => self.every(op, domain),
                _ => Ok(Flow::Fail),
            },
            Op::With(withs) => self.with(withs),
            Op::EndWith => {
                if let Some(frame) = self.frames.last_mut()
                    && let Some(parent) = frame.context.parent.clone()
                {
                    frame.context = parent;
                }
                Ok(Flow::Next)
            }
            Op::Place(pos) => {
                self.watch.placed(*pos);
                Ok(Flow::Next)
            }
        }
    }

    /// Leaves a choice at the operation of the top frame.
    pub(crate) fn leave(&mut self, left: Alternatives) {
        if let Some(frame) = self.frames.last() {
            let choice =
                Choice { at: frame.at, trail: self.trail.len(), context: frame.context.clone(), left };
            self.choices.push(choice);
        }
    }

    pub(crate) fn closure(&mut self, block: &'p [Op], role: Role<'p>) -> Result<Flow, Fault> {
        let Some(context) = self.context() else { return Ok(Flow::Fail) };
        self.push(block, context, role)?;
        Ok(Flow::Run)
    }

    fn builtin(
        &mut self,
        builtin: &'static crate::builtins::Builtin,
        function: crate::builtins::Function,
        prepared: Option<&Prepared>,
        args: &'p [Arg],
        out: &'p Out,
    ) -> Result<Flow, Fault> {
        if self.frames.last().is_some_and(|f| f.context.mocks.is_some())
            && let Some(flow) = self.mocked_builtin(builtin.name, args, out)?
        {
            return Ok(flow);
        }
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            match self.value(arg)? {
                Some(value) => values.push(value),
                None => return Err(unbound()),
            }
        }
        match self.run_builtin(function, prepared, &values) {
            Ok(value) => Ok(holds(self.emit(out, &value)?)),
            Err(Fault::Undefined(_)) => Ok(Flow::Fail),
            Err(fault) => Err(fault),
        }
    }

    pub(crate) fn run_builtin(
        &mut self,
        function: crate::builtins::Function,
        prepared: Option<&Prepared>,
        values: &[Value],
    ) -> Result<Value, Fault> {
        let mut call = Call {
            budget: &mut self.budget,
            now_ns: self.outside.now_ns,
            seed: self.outside.seed,
            runtime: &self.outside.runtime,
            patterns: &mut self.kept.patterns,
            keys: &mut self.kept.keys,
            printed: Some(&mut self.printed),
        };
        match prepared {
            Some(prepared) => prepared.call(&mut call, values),
            None => function(&mut call, values),
        }
    }

    // --- Answers ---

    /// The top frame's body holds.
    fn solved(&mut self) -> Result<Flow, Fault> {
        let Some(frame) = self.frames.last_mut() else { return Ok(Flow::Fail) };
        match &mut frame.role {
            Role::Query => {
                let answer = self.shown.iter().map(|r| self.register(*r).cloned()).collect();
                self.answers.push(answer);
                if self.answers.len() >= self.most_answers {
                    self.frames.clear();
                    return Ok(Flow::Run);
                }
                self.bytes(64)?;
                Ok(Flow::Fail)
            }
            Role::Job(_) => self.job_solved(),
            Role::Extent(_) => Ok(Flow::Leaf),
            Role::Not { holds } => {
                *holds = true;
                Ok(Flow::Fail)
            }
            Role::Logical { .. } => self.operand_done(true),
            Role::Every { .. } => {
                let op = self.parent_op();
                match op {
                    Some(op) => self.next_of_every(op),
                    None => Ok(Flow::Fail),
                }
            }
            Role::Compr { .. } => self.collect(),
        }
    }

    /// The top frame's body has no more answers.
    fn exhausted(&mut self) -> Result<Flow, Fault> {
        let Some(frame) = self.frames.last_mut() else { return Ok(Flow::Fail) };
        match &mut frame.role {
            Role::Query => {
                self.frames.pop();
                Ok(Flow::Run)
            }
            Role::Job(_) => Ok(Flow::Rule),
            Role::Extent(_) => Ok(Flow::Leaf),
            Role::Not { holds } => {
                let answer = if *holds { None } else { Some(Value::Bool(true)) };
                Ok(Flow::Finish(answer))
            }
            Role::Logical { .. } => self.operand_done(false),
            Role::Every { .. } => Ok(Flow::Finish(None)),
            Role::Compr { compr, keys, values, groups } => {
                let compr: &'p Compr = compr;
                if let Some(groups) = groups.take() {
                    return self.close_groups(compr, groups);
                }
                let (keys, values) = (std::mem::take(keys), std::mem::take(values));
                let value = match compr.kind {
                    Kind::Array => Value::array(values)?,
                    Kind::Set => Value::set(values)?,
                    Kind::Object => {
                        let mut builder = ObjectBuilder::new();
                        keys.into_iter().zip(values).for_each(|(k, v)| builder.push(k, v));
                        if compr.last_counts {
                            let object = Value::Object(Rc::new(builder.finish()?));
                            return Ok(Flow::Finish(Some(object)));
                        }
                        match builder.finish_unique()? {
                            Some(object) => Value::Object(Rc::new(object)),
                            None => {
                                let what = "an object comprehension has two different values for one key";
                                return Err(self.conflict(compr.pos, what));
                            }
                        }
                    }
                };
                Ok(Flow::Finish(Some(value)))
            }
        }
    }

    /// Two values where there is one: the error that ends a query.
    pub(crate) fn conflict(&self, pos: Pos, what: &str) -> Fault {
        let file = self.files.get(pos.file as usize).map_or("", |f| f);
        Fault::Halt(format!("{file}:{}:{}: eval_conflict_error: {what}", pos.line, pos.col).into())
    }

    /// A rule's path, for messages.
    pub(crate) fn shown_path(rule: &RulePlan) -> String {
        let mut out = String::from("data");
        for step in &rule.path {
            match step {
                Arg::Const(Value::String(text)) => {
                    out.push('.');
                    out.push_str(&String::from_utf8_lossy(text.as_bytes()));
                }
                _ => out.push_str("[…]"),
            }
        }
        out
    }

    /// Pops the top frame.
    pub(crate) fn drop_frame(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        self.choices.truncate(frame.choices);
        self.undo(frame.trail);
        let Some(below) = self.frames.last() else { return };
        if frame.base != below.base {
            self.registers.truncate(frame.base);
        }
        self.base = below.base;
    }

    /// Pops the top frame and gives its answer to the one below.
    fn finish(&mut self, answer: Option<Value>) -> Result<Flow, Fault> {
        self.drop_frame();
        let Some(below) = self.frames.last_mut() else { return Ok(Flow::Run) };
        let resume = below.resume;
        if let Role::Extent(extent) = &mut below.role {
            extent.put(answer);
            return Ok(Flow::Leaf);
        }
        let op: Option<&'p Op> = below.block.get(below.at);
        let Some(value) = answer else { return Ok(Flow::Fail) };
        for (index, given) in std::mem::take(&mut self.given) {
            let Some(Op::Call { args, .. } | Op::Builtin { args, .. }) = op else { break };
            if let Some(arg) = args.get(index)
                && !self.unify(arg, &given)?
            {
                return Ok(Flow::Fail);
            }
        }
        match op {
            Some(Op::Ref(path, out)) => self.go(path, out, value, resume, false),
            Some(Op::Call { out, .. } | Op::Compr(_, out) | Op::Builtin { out, .. }) => {
                Ok(holds(self.emit(out, &value)?))
            }
            _ => Ok(Flow::Next),
        }
    }
}

pub(crate) fn holds(is: bool) -> Flow {
    if is { Flow::Next } else { Flow::Fail }
}

/// How many elements a reference finds in a value.
pub(crate) fn count(value: &Value) -> usize {
    match value {
        Value::Array(array) => array.len(),
        Value::Object(object) => object.len(),
        Value::Set(set) => set.len(),
        _ => 0,
    }
}

/// The element of a number, with its key; and whether it is the last.
pub(crate) fn item(value: &Value, at: usize) -> (Option<(Value, Value)>, bool) {
    let found = match value {
        Value::Array(array) => array.items().get(at).map(|v| (Value::from(at as i64), v.clone())),
        Value::Object(object) => object.pairs().get(at).cloned(),
        Value::Set(set) => set.members().get(at).map(|v| (v.clone(), v.clone())),
        _ => None,
    };
    (found, at + 1 >= count(value))
}

/// Used by mocks: whether a builtin is a plain function.
pub(crate) fn plain_function(
    builtin: &'static crate::builtins::Builtin,
) -> Option<crate::builtins::Function> {
    match builtin.run {
        Run::Function(function) => Some(function),
        _ => None,
    }
}
