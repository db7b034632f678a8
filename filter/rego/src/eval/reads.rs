//! Which documents a query can read: what need not be fetched, and what a decision depends on.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Policy};
use crate::builtins::Builtin;
use crate::plan::{Arg, DataAt, NodeId, Op, Out, Path, Plan, Replacement, Target};
use crate::value::Value;

/// The longest path that is told apart; what is below is read with what is there.
const MOST_STEPS: usize = 32;

/// The most paths that are told apart; where there are more, the whole document counts as read.
const MOST_PATHS: usize = 1024;

/// Rules that are another name of rules that are another name of a part of `input`.
const MOST_HOPS: usize = 16;

/// Paths of a document, none of which is below another. The empty path stands for the whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths(BTreeSet<Vec<Value>>);

impl Paths {
    /// Whether the whole document may be read.
    pub fn is_all(&self) -> bool {
        self.0.contains(&Vec::new())
    }

    /// Whether nothing of the document is read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[Value]> + Clone {
        self.0.iter().map(Vec::as_slice)
    }

    /// Whether something at, above or below a path may be read.
    pub fn touches(&self, path: &[Value]) -> bool {
        self.0.iter().any(|have| have.iter().zip(path).all(|(a, b)| a == b))
    }

    fn add(&mut self, mut path: Vec<Value>) {
        path.truncate(MOST_STEPS);
        if (0..path.len()).any(|n| path.get(..n).is_some_and(|start| self.0.contains(start))) {
            return;
        }
        let below: Vec<Vec<Value>> =
            self.0.range(path.clone()..).take_while(|have| have.starts_with(&path)).cloned().collect();
        below.iter().for_each(|p| {
            self.0.remove(p);
        });
        self.0.insert(path);
        if self.0.len() > MOST_PATHS {
            self.0 = BTreeSet::from([Vec::new()]);
        }
    }
}

/// What a query can read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Of `input`.
    pub input: Paths,
    /// Paths of `input` whose presence counts, though not all that is below them is read: of `h := input.a.h; not h.x`
    /// `a.h.x` is read, and without `a.h` the body fails.
    pub present: BTreeSet<Vec<Value>>,
    /// Of base data, below `data`.
    pub data: Paths,
    /// Functions whose answers may differ between two evaluations with the same documents (`time.now_ns`).
    pub outside: BTreeSet<&'static str>,
}

impl Policy {
    /// What a query can read at most, whatever the input.
    pub fn reads(&self, entry: &Entry) -> Reads {
        let mut survey = ReadsSurvey::new();
        loop {
            if let Some(reads) = survey.step(self, entry, usize::MAX) {
                return reads;
            }
        }
    }
}

/// What a query can read, found out in steps.
#[derive(Debug, Default)]
pub struct ReadsSurvey {
    found: Found,
    /// Node and rule with which the next step begins; none before the query itself was looked at.
    next: Option<(usize, usize)>,
}

#[derive(Debug, Default)]
struct Found {
    reads: Reads,
    seen: BTreeSet<(NodeId, Asked)>,
    /// Those of `seen`, in the order in which they are looked at.
    nodes: Vec<(NodeId, Asked)>,
    /// The parts of `input` that rules are another name of, as far as they were asked for.
    names: BTreeMap<NodeId, Option<Vec<Value>>>,
    /// Parts of which `object.get` was given a constant key.
    got_from: Paths,
    /// Something is called in place of `object.get`.
    get_is_replaced: bool,
}

/// What is asked of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    /// Its value.
    Value,
    /// Parts of its value, which are parts of `input`.
    Parts,
}

impl ReadsSurvey {
    /// One that has looked at nothing yet.
    pub fn new() -> ReadsSurvey {
        ReadsSurvey::default()
    }

    /// Looks at no more than so many rules, all of one policy and one query; gives what was found once all have been.
    pub fn step(&mut self, policy: &Policy, entry: &Entry, rules: usize) -> Option<Reads> {
        let mut reader = Reader { plan: &policy.plan, found: &mut self.found };
        let Some((at, from)) = self.next else {
            reader.window(&entry.block, &[&entry.shown.iter().map(|r| Arg::Reg(*r)).collect::<Vec<_>>()]);
            self.next = Some((0, 0));
            return None;
        };
        let Some((id, asked)) = reader.found.nodes.get(at).copied() else {
            let mut reads = std::mem::take(&mut self.found.reads);
            if self.found.get_is_replaced {
                self.found.got_from.iter().for_each(|path| reads.input.add(path.to_vec()));
            }
            let input = &reads.input.0;
            reads.present.retain(|path| {
                !(0..=path.len()).any(|n| path.get(..n).is_some_and(|start| input.contains(start)))
            });
            return Some(reads);
        };
        let to = from.saturating_add(rules.max(1));
        self.next = Some(if reader.rules(id, asked, from, to) { (at, to) } else { (at + 1, 0) });
        None
    }
}

struct Reader<'p> {
    plan: &'p Plan,
    found: &'p mut Found,
}

/// Registers that hold a part of `input`.
type Aliases = BTreeMap<u32, Vec<Value>>;

impl Reader<'_> {
    fn looks_for(&mut self, path: Vec<Value>) {
        self.found.reads.present.insert(path);
        if self.found.reads.present.len() > MOST_PATHS {
            self.found.reads.present.clear();
            self.found.reads.input.add(Vec::new());
        }
    }

    fn visit(&mut self, id: NodeId, asked: Asked) {
        if self.found.seen.insert((id, asked)) {
            self.found.nodes.push((id, asked));
        }
    }

    fn visit_below(&mut self, id: NodeId) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let Some(node) = self.plan.node(id) else { continue };
            self.visit(id, Asked::Value);
            open.extend(node.children.iter().map(|(_, child)| *child));
        }
    }

    /// Some rules of a node. Whether there may be more.
    fn rules(&mut self, id: NodeId, asked: Asked, from: usize, to: usize) -> bool {
        let plan = self.plan;
        let Some(node) = plan.node(id) else { return false };
        let all = node.rules.iter().chain(&node.default);
        for rule in all.skip(from).take(to - from).filter_map(|rule| plan.rule(*rule)) {
            for rule in std::iter::once(rule).chain(&rule.branches) {
                let value = rule.value.as_slice().get(usize::from(asked == Asked::Parts)..);
                let heads: Vec<&[Arg]> =
                    vec![&rule.args, &rule.path, rule.key.as_slice(), value.unwrap_or_default()];
                self.window(&rule.block, &heads);
            }
        }
        to < node.rules.len() + 1
    }

    /// The bodies that share a window, and the terms around them.
    fn window(&mut self, block: &[Op], heads: &[&[Arg]]) {
        let (aliases, bound_again) = self.aliases(block);
        bound_again.into_iter().for_each(|path| self.found.reads.input.add(path));
        heads.iter().flat_map(|args| args.iter()).for_each(|arg| self.arg(arg, &aliases));
        self.block(block, &aliases);
    }

    /// Registers that a body binds to parts of `input` and nothing else; beside them the parts of which a register is not
    /// the only name.
    fn aliases(&mut self, block: &[Op]) -> (Aliases, Vec<Vec<Value>>) {
        let (mut aliases, mut twice) = (Aliases::new(), BTreeSet::new());
        self.add_aliases(block, &mut aliases, &mut twice);
        let bound_again = twice.iter().filter_map(|register| aliases.remove(register)).collect();
        (aliases, bound_again)
    }

    fn add_aliases(&mut self, block: &[Op], aliases: &mut Aliases, twice: &mut BTreeSet<u32>) {
        for op in block {
            match op {
                Op::Ref(path, Out::Unify(Arg::Reg(register))) => {
                    if let Some(found) = self.constant_path(path, aliases, MOST_HOPS)
                        && aliases.insert(*register, found).is_some()
                    {
                        twice.insert(*register);
                    }
                }
                Op::Not(block) | Op::Every { block, .. } => self.add_aliases(block, aliases, twice),
                Op::Logical { left, right, .. } => {
                    self.add_aliases(left, aliases, twice);
                    self.add_aliases(right, aliases, twice);
                }
                Op::Compr(compr, _) => self.add_aliases(&compr.block, aliases, twice),
                _ => {}
            }
        }
    }

    /// The part of `input` that a reference of constants finds.
    fn constant_path(&mut self, path: &Path, aliases: &Aliases, hops: usize) -> Option<Vec<Value>> {
        let (mut found, done) = self.start(path, aliases, hops)?;
        let steps = path.steps.get(done..)?;
        if found.len() + steps.len() > MOST_STEPS {
            return None;
        }
        for step in steps {
            let Arg::Const(value) = step else { return None };
            found.push(value.clone());
        }
        Some(found)
    }

    /// The part of `input` with which a reference begins, and the steps that lead there.
    fn start(&mut self, path: &Path, aliases: &Aliases, hops: usize) -> Option<(Vec<Value>, usize)> {
        match path.at {
            DataAt::Input => Some((Vec::new(), 0)),
            DataAt::Local(register) => Some((aliases.get(&register)?.clone(), 0)),
            DataAt::Rules(node) => Some((self.other_name(node, hops)?, path.done as usize)),
            DataAt::Base | DataAt::Tree(_) => None,
        }
    }

    /// The part of `input` that a rule is another name of, as in `http := input.attributes.request.http`.
    fn other_name(&mut self, id: NodeId, hops: usize) -> Option<Vec<Value>> {
        if let Some(known) = self.found.names.get(&id) {
            return known.clone();
        }
        let found = hops.checked_sub(1).and_then(|hops| self.find_other_name(id, hops));
        self.found.names.insert(id, found.clone());
        found
    }

    fn find_other_name(&mut self, id: NodeId, hops: usize) -> Option<Vec<Value>> {
        let node = self.plan.node(id)?;
        let ([only], None) = (&*node.rules, node.default) else { return None };
        let rule = self.plan.rule(*only)?;
        if !rule.is_complete() || !rule.branches.is_empty() || !rule.args.is_empty() {
            return None;
        }
        let Some(Arg::Reg(value)) = &rule.value else { return None };
        // Not in bodies within it: what is found there need not hold.
        let mut aliases = Aliases::new();
        for op in &rule.block {
            if let Op::Ref(path, Out::Unify(Arg::Reg(register))) = op
                && let Some(found) = self.constant_path(path, &aliases, hops)
            {
                aliases.insert(*register, found);
            }
        }
        aliases.remove(value)
    }

    /// A register that is used as a value: all of what it holds is read.
    fn arg(&mut self, arg: &Arg, aliases: &Aliases) {
        match arg {
            Arg::Const(_) => {}
            Arg::Reg(register) => {
                if let Some(path) = aliases.get(register) {
                    self.found.reads.input.add(path.clone());
                }
            }
            Arg::Array(items) | Arg::Set(items) => items.iter().for_each(|a| self.arg(a, aliases)),
            Arg::Object(pairs) => pairs.iter().for_each(|(k, v)| {
                self.arg(k, aliases);
                self.arg(v, aliases);
            }),
        }
    }

    fn out(&mut self, out: &Out, aliases: &Aliases) {
        if let Out::Unify(arg) = out {
            self.arg(arg, aliases);
        }
    }

    fn block(&mut self, block: &[Op], aliases: &Aliases) {
        for op in block {
            match op {
                Op::Ref(path, out) => self.reference(path, out, aliases),
                Op::Unify(a, b) => {
                    self.arg(a, aliases);
                    self.arg(b, aliases);
                }
                Op::Test(arg) => self.arg(arg, aliases),
                Op::Builtin { builtin, args, out, .. } => {
                    self.calls(builtin);
                    let got = (builtin.name == "object.get").then(|| self.get(args, aliases)).flatten();
                    args.iter().skip(got.unwrap_or(0)).for_each(|a| self.arg(a, aliases));
                    self.out(out, aliases);
                }
                Op::Walk(arg, out) => {
                    self.arg(arg, aliases);
                    self.out(out, aliases);
                }
                Op::Call { node, args, out } => {
                    self.visit(*node, Asked::Value);
                    args.iter().for_each(|a| self.arg(a, aliases));
                    self.out(out, aliases);
                }
                Op::Compr(compr, out) => {
                    self.arg(&compr.key, aliases);
                    self.arg(&compr.value, aliases);
                    self.block(&compr.block, aliases);
                    self.out(out, aliases);
                }
                Op::Not(block) => self.block(block, aliases),
                Op::Every { key, value, domain, block } => {
                    [key, value, domain].into_iter().for_each(|a| self.arg(a, aliases));
                    self.block(block, aliases);
                }
                Op::Logical { left, right, .. } => {
                    self.block(left, aliases);
                    self.block(right, aliases);
                }
                Op::With(withs) => {
                    for with in withs {
                        match &with.value {
                            Replacement::Value(arg) => self.arg(arg, aliases),
                            Replacement::Function(node) => self.visit(*node, Asked::Value),
                            Replacement::Builtin(builtin) => self.calls(builtin),
                            Replacement::Reference(number) => {
                                if let Some(path) = self.plan.references.get(*number as usize) {
                                    self.reference(path, &Out::Test, aliases);
                                }
                            }
                        }
                        match &with.target {
                            // What is merged with the replacement is read.
                            Target::Data(path) => self.found.reads.data.add(path.to_vec()),
                            Target::Builtin("object.get") => self.found.get_is_replaced = true,
                            _ => {}
                        }
                    }
                }
                Op::EndWith | Op::Place(_) => {}
            }
        }
    }

    fn calls(&mut self, builtin: &'static Builtin) {
        if builtin.nondeterministic || builtin.timed {
            self.found.reads.outside.insert(builtin.name);
        }
    }

    /// `object.get` of a part of `input` with a constant key, or path, reads what is there. How many arguments that are.
    fn get(&mut self, args: &[Arg], aliases: &Aliases) -> Option<usize> {
        let [Arg::Reg(object), Arg::Const(key), _] = args else { return None };
        let object = aliases.get(object)?;
        let mut path = object.clone();
        match key {
            Value::Array(keys) => path.extend(keys.iter().take(MOST_STEPS).cloned()),
            key => path.push(key.clone()),
        }
        self.looks_for(object.clone());
        self.found.got_from.add(object.clone());
        self.found.reads.input.add(path);
        Some(2)
    }

    fn reference(&mut self, path: &Path, out: &Out, aliases: &Aliases) {
        path.steps.iter().for_each(|step| self.arg(step, aliases));
        let constants = |from: usize| -> Vec<Value> {
            let constants = path.steps.iter().skip(from).take(MOST_STEPS).map_while(|step| match step {
                Arg::Const(value) => Some(value.clone()),
                _ => None,
            });
            constants.collect()
        };
        if let Some((start, done)) = self.start(path, aliases, MOST_HOPS) {
            if let DataAt::Rules(node) = path.at {
                self.visit(node, Asked::Parts);
            }
            // Bound to a register: what is done with that decides.
            if let (Some(found), Out::Unify(Arg::Reg(register))) =
                (self.constant_path(path, aliases, MOST_HOPS), out)
                && aliases.get(register) == Some(&found)
            {
                self.looks_for(found);
                return;
            }
            self.found.reads.input.add(start.into_iter().chain(constants(done)).collect());
            return self.out(out, aliases);
        }
        match path.at {
            DataAt::Input | DataAt::Local(_) => {}
            DataAt::Base => self.found.reads.data.add(constants(0)),
            DataAt::Rules(node) => self.visit(node, Asked::Value),
            DataAt::Tree(node) => {
                self.visit_below(node);
                let done = path.done as usize;
                self.found.reads.data.add(constants(0).into_iter().take(done).collect());
            }
        }
        self.out(out, aliases);
    }
}
