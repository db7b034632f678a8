//! Rewritten trees → operations.

use super::Functions;
use super::error::{Code, Fault};
use super::ops::{
    Arg, Compr, DataAt, Kind, Node, Op, Out, Path, Plan, Replacement, RulePlan, Target, WithPlan,
};
use super::tree::{NodeId, RuleTree};
use super::vars::{ALL, VarSet};
use crate::builtins::text::patterns::Prepared;
use crate::builtins::{self, Builtin, Run};
use crate::hash::Map;
use crate::syntax::Pos;
use crate::syntax::order::compare;
use crate::syntax::tree::{Body, Expr, ExprKind, Names, Rule, Sym, Term, TermValue, With};
use crate::value::Value;

/// What lowering looks things up in.
pub(crate) struct Scope<'a> {
    pub(crate) tree: &'a RuleTree,
    pub(crate) functions: &'a Functions,
    pub(crate) names: &'a Names,
    /// Number of arguments of each rule.
    pub(crate) arities: &'a [usize],
    /// Keep the places of expressions, and the names of registers.
    pub(crate) places: bool,
}

/// Collects the lowered rules.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    rules: Vec<Option<RulePlan>>,
    defaults: Vec<bool>,
    comprehensions: u32,
    references: Vec<Path>,
}

impl Builder {
    /// Lowers a rule and its branches.
    pub(crate) fn rule(
        &mut self,
        index: usize,
        rule: &Rule,
        package: &[Value],
        scope: &Scope<'_>,
    ) -> Result<(), Fault> {
        let mut plan = self.one(rule, package, scope)?;
        plan.branches =
            rule.branches.iter().map(|b| self.one(b, package, scope)).collect::<Result<Box<[_]>, _>>()?;
        if self.rules.len() <= index {
            self.rules.resize_with(index + 1, || None);
            self.defaults.resize(index + 1, false);
        }
        if let (Some(slot), Some(default)) = (self.rules.get_mut(index), self.defaults.get_mut(index)) {
            *slot = Some(plan);
            *default = rule.default;
        }
        Ok(())
    }

    fn one(&mut self, rule: &Rule, package: &[Value], scope: &Scope<'_>) -> Result<RulePlan, Fault> {
        let mut candidates = VarSet::from([Sym::INPUT, Sym::DATA]);
        rule.head.args.iter().for_each(|t| ALL.term(t, &mut candidates));
        let (comprehensions, references) = (&mut self.comprehensions, &mut self.references);
        let registers = Map::default();
        let mut window = Window { registers, scope, comprehensions, references, candidates, grouped: None };
        let head = &rule.head;
        let args = window.args(&head.args)?;
        let mut path: Vec<Arg> = package.iter().cloned().map(Arg::Const).collect();
        if let Some(name) = head.name() {
            path.push(Arg::Const(Value::from(scope.names.text(name))));
        }
        for step in head.reference.iter().skip(1) {
            path.push(window.arg(step)?);
        }
        let key = head.key.as_ref().map(|t| window.arg(t)).transpose()?;
        let value = head.value.as_ref().map(|t| window.arg(t)).transpose()?;
        let block = window.block(&rule.body)?;
        let mut shown = vec![String::new(); if scope.places { window.registers.len() } else { 0 }];
        for (sym, register) in window.registers.iter().filter(|(sym, _)| !scope.names.is_made(**sym)) {
            let name = scope.names.text(*sym);
            if let Some(slot) =
                shown.get_mut(*register as usize).filter(|_| name != "_" && !name.starts_with("__local"))
            {
                name.clone_into(slot);
            }
        }
        Ok(RulePlan {
            args,
            path: path.into(),
            key,
            value,
            block,
            registers: window.registers.len() as u32,
            branches: Box::default(),
            pos: rule.pos,
            names: shown.into(),
            object_key: head.object_key,
        })
    }

    /// The rules, and the nodes of the tree as yet without an index.
    pub(crate) fn plan(self, tree: &RuleTree) -> Plan {
        let rules: Vec<RulePlan> = self.rules.into_iter().flatten().collect();
        let references = self.references;
        let mut plan = Plan { nodes: Vec::with_capacity(tree.nodes.len()), rules, references };
        for from in &tree.nodes {
            let children = from.children.iter().map(|(k, id)| (k.clone(), *id)).collect();
            let mut node = Node { depth: from.depth, children, hide: from.hide, ..Node::default() };
            let mut here: Vec<u32> = from.rules.iter().map(|i| *i as u32).collect();
            let is_open =
                |i: &u32| plan.rule(*i).is_some_and(|r| r.path.iter().any(|a| !matches!(a, Arg::Const(_))));
            if here.iter().any(is_open) {
                for child in from.children.values() {
                    tree.below(*child, &mut |i| here.push(i as u32));
                }
            }
            node.default =
                here.iter().rev().find(|i| self.defaults.get(**i as usize) == Some(&true)).copied();
            node.ground = !here.iter().any(is_open);
            here.retain(|i| self.defaults.get(*i as usize) != Some(&true));
            let first = from.rules.first().and_then(|i| plan.rules.get(*i));
            node.set = first.is_some_and(|r| r.key.is_some());
            node.arity = first.map_or(0, |r| r.args.len() as u32);
            node.span = here
                .iter()
                .filter_map(|i| plan.rule(*i))
                .map(|r| (r.path.len() as u32).saturating_sub(from.depth) + u32::from(r.key.is_some()))
                .max()
                .unwrap_or(0);
            node.rules = here.into();
            plan.nodes.push(node);
        }
        plan
    }
}

/// The pattern of a call, compiled, if it is constant. The error: it is too large. A pattern that is none stays: such a
/// call is undefined.
fn prepare(name: &str, args: &[Arg]) -> Result<Option<Box<Prepared>>, ()> {
    let known: Vec<Option<&Value>> = args
        .iter()
        .map(|arg| match arg {
            Arg::Const(value) => Some(value),
            _ => None,
        })
        .collect();
    match Prepared::new(name, &known) {
        Ok(prepared) => Ok(prepared.map(Box::new)),
        Err(builtins::Fault::Limit(_)) => Err(()),
        Err(_) => Ok(None),
    }
}

/// Operations, the registers of what is shown, and the number of registers.
type Query = (Box<[Op]>, Vec<u32>, u32);

/// Lowers a query.
pub(crate) fn query(body: &Body, scope: &Scope<'_>, shown: &[Sym]) -> Result<Query, Fault> {
    // Numbers that no rule's comprehension has.
    let mut comprehensions = u32::MAX / 2;
    let candidates = VarSet::from([Sym::INPUT, Sym::DATA]);
    let comprehensions = &mut comprehensions;
    let mut references = Vec::new();
    let registers = Map::default();
    let mut window =
        Window { registers, scope, comprehensions, references: &mut references, candidates, grouped: None };
    let block = window.block(body)?;
    if let Some(path) = window.references.first() {
        let why = "in a query, a function is replaced by a value or a function";
        return Err(Fault::new(Code::Compile, path.pos, why));
    }
    let shown = shown.iter().map(|sym| window.register(*sym)).collect();
    Ok((block, shown, window.registers.len() as u32))
}

/// The registers of one rule.
struct Window<'a, 's> {
    registers: Map<Sym, u32>,
    scope: &'a Scope<'s>,
    comprehensions: &'a mut u32,
    references: &'a mut Vec<Path>,
    /// Variables that a comprehension can be grouped by.
    candidates: VarSet,
    /// Those of the comprehension that is lowered next.
    grouped: Option<super::grouping::Grouped>,
}

impl Window<'_, '_> {
    fn register(&mut self, sym: Sym) -> u32 {
        let next = self.registers.len() as u32;
        *self.registers.entry(sym).or_insert(next)
    }

    fn args(&mut self, terms: &[Term]) -> Result<Box<[Arg]>, Fault> {
        terms.iter().map(|t| self.arg(t)).collect()
    }

    fn arg(&mut self, term: &Term) -> Result<Arg, Fault> {
        if let Some(value) = term.constant() {
            return Ok(Arg::Const(value));
        }
        Ok(match &term.value {
            TermValue::Var(sym) => Arg::Reg(self.register(*sym)),
            TermValue::Array(terms) => Arg::Array(self.args(terms)?),
            TermValue::Set(terms) => {
                let mut members = self.args(terms)?;
                members.sort_by_key(|a| !matches!(a, Arg::Const(_)));
                Arg::Set(members)
            }
            TermValue::Object(pairs) => {
                let mut out = Vec::with_capacity(pairs.len());
                let mut pairs: Vec<&(Term, Term)> = pairs.iter().collect();
                pairs.sort_by(|a, b| compare(&a.0, &b.0));
                for (key, value) in pairs {
                    out.push((self.arg(key)?, self.arg(value)?));
                }
                out.sort_by_key(|(key, _)| !matches!(key, Arg::Const(_)));
                Arg::Object(out.into())
            }
            _ => {
                return Err(Fault::new(
                    Code::Compile,
                    term.pos,
                    "this term is too deep to be evaluated here",
                ));
            }
        })
    }

    fn block(&mut self, body: &Body) -> Result<Box<[Op]>, Fault> {
        let Scope { tree, functions, arities, .. } = self.scope;
        let arity = |op: &Term| super::arity_of(functions, tree, arities, op);
        let marks = super::grouping::marks(body, &mut self.candidates, &arity);
        let mut ops = Vec::with_capacity(body.len());
        for (expr, mark) in body.iter().zip(marks) {
            self.grouped = mark;
            self.expr(expr, &mut ops)?;
        }
        Ok(ops.into())
    }

    fn expr(&mut self, expr: &Expr, ops: &mut Vec<Op>) -> Result<(), Fault> {
        if self.scope.places {
            ops.push(Op::Place(expr.pos));
        }
        if !expr.with.is_empty() {
            let withs = expr.with.iter().map(|w| self.with(w)).collect::<Result<Box<[_]>, _>>()?;
            ops.push(Op::With(withs));
        }
        if expr.negated {
            let mut inner = Vec::new();
            self.kind(expr, &mut inner)?;
            ops.push(Op::Not(inner.into()));
        } else {
            self.kind(expr, ops)?;
        }
        if !expr.with.is_empty() {
            ops.push(Op::EndWith);
        }
        Ok(())
    }

    fn kind(&mut self, expr: &Expr, ops: &mut Vec<Op>) -> Result<(), Fault> {
        match &expr.kind {
            ExprKind::Term(term) => self.term(term, Out::Test, ops),
            ExprKind::Call(terms) => match (expr.op(), terms.as_slice()) {
                (Some(Sym::EQ | Sym::ASSIGN), [_, a, b]) => self.equality(a, b, ops),
                _ => self.call(terms, expr.pos, ops),
            },
            ExprKind::Every(every) => {
                let domain = self.arg(&every.domain)?;
                let key = match &every.key {
                    Some(key) => self.arg(key)?,
                    None => Arg::Const(Value::Null),
                };
                let value = self.arg(&every.value)?;
                let block = self.block(&every.body)?;
                ops.push(Op::Every { key, value, domain, block });
                Ok(())
            }
            ExprKind::Not(not) => {
                let block = self.block(&not.body)?;
                ops.push(Op::Not(block));
                Ok(())
            }
            ExprKind::Logical(logical) => {
                let left = self.block(&logical.left)?;
                let right = self.block(&logical.right)?;
                ops.push(Op::Logical { or: logical.or, left, right });
                Ok(())
            }
            ExprKind::Some(_) | ExprKind::SomeIn(_) => {
                Err(Fault::new(Code::Compile, expr.pos, "this declaration was left over"))
            }
        }
    }

    /// Evaluates a term; its answer goes to `out`.
    fn term(&mut self, term: &Term, out: Out, ops: &mut Vec<Op>) -> Result<(), Fault> {
        match &term.value {
            TermValue::Ref(path) => {
                let path = self.path(path, term.pos)?;
                ops.push(Op::Ref(Box::new(path), out));
            }
            TermValue::ArrayCompr(parts) => {
                let compr = self.comprehension(Kind::Array, None, &parts.0, &parts.1, term.pos)?;
                ops.push(Op::Compr(Box::new(compr), out));
            }
            TermValue::SetCompr(parts) => {
                let compr = self.comprehension(Kind::Set, None, &parts.0, &parts.1, term.pos)?;
                ops.push(Op::Compr(Box::new(compr), out));
            }
            TermValue::ObjectCompr(parts) => {
                let compr = self.comprehension(Kind::Object, Some(&parts.0), &parts.1, &parts.2, term.pos)?;
                ops.push(Op::Compr(Box::new(compr), out));
            }
            _ => {
                let arg = self.arg(term)?;
                match out {
                    Out::Test => ops.push(Op::Test(arg)),
                    Out::Unify(other) => ops.push(Op::Unify(arg, other)),
                }
            }
        }
        Ok(())
    }

    fn comprehension(
        &mut self,
        kind: Kind,
        key: Option<&Term>,
        value: &Term,
        body: &Body,
        pos: Pos,
    ) -> Result<Compr, Fault> {
        let grouped = self.grouped.take();
        let last_counts = grouped.is_some();
        let open = grouped.as_ref().is_some_and(|g| g.open);
        let keys = grouped.map(|g| g.by.into_iter().map(|s| self.register(s)).collect());
        let block = self.block(body)?;
        let key = key.map(|k| self.arg(k)).transpose()?.unwrap_or(Arg::Const(Value::Null));
        let value = self.arg(value)?;
        let id = *self.comprehensions;
        *self.comprehensions += 1;
        Ok(Compr { kind, key, value, block, keys, last_counts, open, on_right: false, id, pos })
    }

    fn equality(&mut self, a: &Term, b: &Term, ops: &mut Vec<Op>) -> Result<(), Fault> {
        let evaluates = |t: &Term| {
            matches!(
                t.value,
                TermValue::Ref(_)
                    | TermValue::ArrayCompr(_)
                    | TermValue::SetCompr(_)
                    | TermValue::ObjectCompr(_)
            )
        };
        match (evaluates(a), evaluates(b)) {
            (true, true) => {
                // The right side meets the left side's answer.
                let register = self.registers.len() as u32;
                self.registers.insert(Sym(u32::MAX - register), register);
                let left = Arg::Reg(register);
                let from = ops.len();
                self.term(a, Out::Unify(left.clone()), ops)?;
                self.term(b, Out::Unify(left), ops)?;
                for op in ops.iter_mut().skip(from) {
                    if let Op::Ref(path, _) = op {
                        path.left_of_another = true;
                    }
                }
                Ok(())
            }
            (true, false) => {
                let other = self.arg(b)?;
                self.term(a, Out::Unify(other), ops)
            }
            (false, true) => {
                let other = self.arg(a)?;
                self.term(b, Out::Unify(other), ops)?;
                if let Some(Op::Compr(compr, _)) = ops.last_mut() {
                    compr.on_right = true;
                }
                Ok(())
            }
            (false, false) => {
                let (a, b) = (self.arg(a)?, self.arg(b)?);
                ops.push(Op::Unify(a, b));
                Ok(())
            }
        }
    }

    fn call(&mut self, terms: &[Term], pos: Pos, ops: &mut Vec<Op>) -> Result<(), Fault> {
        let Some((op, operands)) = terms.split_first() else { return Ok(()) };
        if let Some(builtin) = self.scope.functions.find(op) {
            return self.builtin(builtin, operands, pos, ops);
        }
        let TermValue::Ref(path) = &op.value else {
            return Err(Fault::new(Code::Type, pos, "only a function can be called"));
        };
        let Some(node) = self.scope.tree.find(path) else {
            return Err(Fault::new(Code::Type, pos, "undefined function; define it, or correct its name"));
        };
        let rule = self.scope.tree.node(node).and_then(|n| n.rules.first());
        let arity = rule.and_then(|r| self.scope.arities.get(*r)).copied().unwrap_or(0);
        let (args, out) = self.operands(operands, arity)?;
        ops.push(Op::Call { node, args, out });
        Ok(())
    }

    fn operands(&mut self, operands: &[Term], arity: usize) -> Result<(Box<[Arg]>, Out), Fault> {
        let inputs = operands.get(..arity).unwrap_or(operands);
        let args = self.args(inputs)?;
        let out = match operands.get(arity) {
            Some(out) => Out::Unify(self.arg(out)?),
            None => Out::Test,
        };
        Ok((args, out))
    }

    fn builtin(
        &mut self,
        builtin: &'static Builtin,
        operands: &[Term],
        pos: Pos,
        ops: &mut Vec<Op>,
    ) -> Result<(), Fault> {
        let arity = if builtin.variadic { operands.len() } else { builtin.args.len() };
        let (args, out) = self.operands(operands, arity)?;
        match builtin.run {
            Run::Function(function) => {
                let prepared = match prepare(builtin.name, &args) {
                    Ok(prepared) => prepared,
                    Err(()) => {
                        let message = "this pattern is too large to be compiled; split it into several";
                        return Err(Fault::new(Code::Limit, pos, message));
                    }
                };
                ops.push(Op::Builtin { builtin, function, prepared, args, out });
            }
            Run::Relation => {
                let arg = args.into_iter().next().unwrap_or(Arg::Const(Value::Null));
                ops.push(Op::Walk(arg, out));
            }
            Run::Evaluator if builtin.name.starts_with("rego.metadata") => {
                let message = format!("`{}` is not available here: annotations are not read", builtin.name);
                return Err(Fault::new(Code::Type, pos, message));
            }
            Run::Evaluator => {
                // `eq` with an output: whether both are equal.
                return Err(Fault::new(Code::Type, pos, "`=` gives no value; compare with `==`"));
            }
            Run::Missing(why) => {
                let message = format!("`{}` is not available here: {why}", builtin.name);
                return Err(Fault::new(Code::Type, pos, message));
            }
        }
        Ok(())
    }

    fn path(&mut self, terms: &[Term], pos: Pos) -> Result<Path, Fault> {
        let Some((head, rest)) = terms.split_first() else {
            return Err(Fault::new(Code::Compile, pos, "a reference without a head"));
        };
        let steps = self.args(rest)?;
        match head.as_var() {
            Some(Sym::INPUT) => Ok(Path { at: DataAt::Input, done: 0, steps, left_of_another: false, pos }),
            Some(Sym::DATA) => {
                let mut at: NodeId = 0;
                let mut done = 0;
                for step in &steps {
                    let Arg::Const(key) = step else { break };
                    let Some(child) = self.scope.tree.child(at, key) else {
                        return Ok(Path { at: DataAt::Base, done: 0, steps, left_of_another: false, pos });
                    };
                    at = child;
                    done += 1;
                    let rules = self.scope.tree.node(at).map_or(&[][..], |n| n.rules.as_slice());
                    if let Some(first) = rules.first() {
                        if self.scope.arities.get(*first).is_some_and(|n| *n > 0) {
                            let message = "a function is no value; call it with arguments in parentheses";
                            return Err(Fault::new(Code::Type, pos, message));
                        }
                        return Ok(Path { at: DataAt::Rules(at), done, steps, left_of_another: false, pos });
                    }
                }
                Ok(Path { at: DataAt::Tree(at), done, steps, left_of_another: false, pos })
            }
            Some(sym) => Ok(Path {
                at: DataAt::Local(self.register(sym)),
                done: 0,
                steps,
                left_of_another: false,
                pos,
            }),
            None => Err(Fault::new(Code::Compile, pos, "the head of a reference was left over")),
        }
    }

    fn with(&mut self, with: &With) -> Result<WithPlan, Fault> {
        let TermValue::Ref(path) = &with.target.value else {
            return Err(Fault::new(Code::Compile, with.pos, "`with` replaces paths of names only"));
        };
        let steps: Option<Box<[Value]>> = path
            .iter()
            .skip(1)
            .map(|t| t.as_scalar().filter(|v| matches!(v, Value::String(_))).cloned())
            .collect();
        let tree = self.scope.tree;
        let arities = self.scope.arities;
        let function_at = move |path: &[Term]| {
            let node = tree.find(path)?;
            let first = tree.node(node)?.rules.first()?;
            arities.get(*first).is_some_and(|n| *n > 0).then_some(node)
        };
        let target = if let Some(builtin) = self.scope.functions.find(&with.target) {
            Target::Builtin(builtin.name)
        } else if let Some(node) = function_at(path) {
            Target::Function(node)
        } else if path.first().and_then(Term::as_var) == Some(Sym::INPUT) {
            steps.map_or(Target::Nothing, Target::Input)
        } else {
            steps.map_or(Target::Nothing, Target::Data)
        };
        let is_mock = matches!(target, Target::Function(_) | Target::Builtin(_));
        let value = match &with.value.value {
            TermValue::Ref(path) => {
                if let (true, Some(builtin)) = (is_mock, self.scope.functions.find(&with.value)) {
                    Replacement::Builtin(builtin)
                } else if let Some(node) = function_at(path) {
                    Replacement::Function(node)
                } else if is_mock && tree.find(path).is_some() {
                    let path = self.path(path, with.pos)?;
                    self.references.push(path);
                    Replacement::Reference(self.references.len() as u32 - 1)
                } else {
                    return Err(Fault::new(
                        Code::Compile,
                        with.pos,
                        "`with` needs a value or a function here",
                    ));
                }
            }
            _ => Replacement::Value(self.arg(&with.value)?),
        };
        Ok(WithPlan { target, value })
    }
}
