//! What can end a query: two values for one rule or key, and little else. A rule is pure if evaluating it never does.
//!
//! Rules are looked at in the order of what they depend on, so that everything that a rule refers to is known.

use super::ops::{Arg, DataAt, Kind, Op, Out, Plan, Replacement, RulePlan, Target};
use super::tree::NodeId;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    Open,
    Pure,
    Impure,
}

/// What is known so far.
#[derive(Debug, Default)]
pub(crate) struct Purity {
    rules: Vec<bool>,
    nodes: Vec<Option<bool>>,
    /// A node with all that is below it.
    below: Vec<Option<bool>>,
}

impl Purity {
    /// Looks at a rule's bodies.
    pub(crate) fn rule(&mut self, id: u32, plan: &Plan) {
        if self.rules.len() < plan.rules.len() {
            self.rules.resize(plan.rules.len(), false);
        }
        let Some(rule) = plan.rule(id) else { return };
        let pure = self.block(&rule.block, plan) && rule.branches.iter().all(|b| self.block(&b.block, plan));
        if let Some(slot) = self.rules.get_mut(id as usize) {
            *slot = pure;
        }
    }

    /// Whether evaluating the rules of a node is pure.
    pub(crate) fn node(&mut self, id: NodeId, plan: &Plan) -> bool {
        if self.nodes.len() < plan.nodes.len() {
            self.nodes.resize(plan.nodes.len(), None);
        }
        if let Some(Some(known)) = self.nodes.get(id as usize) {
            return *known;
        }
        let pure = self.node_is_pure(id, plan) == Known::Pure;
        if let Some(slot) = self.nodes.get_mut(id as usize) {
            *slot = Some(pure);
        }
        pure
    }

    fn node_is_pure(&self, id: NodeId, plan: &Plan) -> Known {
        let Some(node) = plan.node(id) else { return Known::Open };
        let bodies =
            node.rules.iter().chain(&node.default).all(|r| self.rules.get(*r as usize) == Some(&true));
        if !bodies {
            return Known::Impure;
        }
        let rules: Vec<&RulePlan> = node.rules.iter().filter_map(|r| plan.rule(*r)).collect();
        // A set takes any members.
        let sets = rules.iter().all(|r| r.key.is_some());
        if sets && node.ground {
            return Known::Pure;
        }
        let values = || rules.iter().flat_map(|r| std::iter::once(*r).chain(&r.branches)).map(|r| &r.value);
        let first = values().next();
        let same = values().all(|v| match (v, first) {
            (Some(Arg::Const(a)), Some(Some(Arg::Const(b)))) => a == b,
            _ => false,
        });
        if node.ground {
            // One definition that has one solution, or one value for all.
            let single = match rules.as_slice() {
                [] => true,
                [rule] => std::iter::once(*rule)
                    .chain(&rule.branches)
                    .all(|r| matches!(r.value, Some(Arg::Const(_))) || once(&r.block)),
                _ => false,
            };
            return if same || single { Known::Pure } else { Known::Impure };
        }
        // Keys one level below the node: they meet only at equal values.
        let flat = rules.iter().all(|r| r.path.len() == node.depth as usize + 1 && r.key.is_none());
        if flat && same { Known::Pure } else { Known::Impure }
    }

    /// Whether evaluating all rules at and below a node is pure.
    fn all_below(&mut self, id: NodeId, plan: &Plan) -> bool {
        if self.below.len() < plan.nodes.len() {
            self.below.resize(plan.nodes.len(), None);
        }
        let mut open = vec![(id, false)];
        while let Some((at, children_done)) = open.pop() {
            if let Some(Some(_)) = self.below.get(at as usize) {
                continue;
            }
            let Some(node) = plan.node(at) else { continue };
            if !node.rules.is_empty() || node.default.is_some() {
                let pure = self.node(at, plan);
                if let Some(slot) = self.below.get_mut(at as usize) {
                    *slot = Some(pure);
                }
                continue;
            }
            if !children_done {
                open.push((at, true));
                open.extend(node.children.iter().map(|(_, child)| (*child, false)));
                continue;
            }
            let pure = node.children.iter().all(|(_, c)| self.below.get(*c as usize) == Some(&Some(true)));
            if let Some(slot) = self.below.get_mut(at as usize) {
                *slot = Some(pure);
            }
        }
        self.below.get(id as usize) == Some(&Some(true))
    }

    fn block(&mut self, block: &[Op], plan: &Plan) -> bool {
        block.iter().all(|op| match op {
            Op::Ref(path, _) => match path.at {
                DataAt::Input | DataAt::Local(_) | DataAt::Base => true,
                DataAt::Rules(node) => self.node(node, plan),
                DataAt::Tree(node) => self.all_below(node, plan),
            },
            Op::Call { node, .. } => self.node(*node, plan),
            Op::Unify(..) | Op::Test(_) | Op::Walk(..) | Op::EndWith | Op::Place(_) => true,
            Op::Builtin { builtin, .. } => {
                !builtin.name.starts_with("internal.t") && builtin.name != "http.send"
            }
            Op::Compr(compr, _) => {
                (compr.kind != Kind::Object || compr.keys.is_some()) && self.block(&compr.block, plan)
            }
            Op::Not(block) | Op::Every { block, .. } => self.block(block, plan),
            Op::Logical { left, right, .. } => self.block(left, plan) && self.block(right, plan),
            // What replaces a function may be anything.
            Op::With(withs) => withs.iter().all(|w| {
                matches!(w.target, Target::Input(_) | Target::Data(_))
                    && matches!(w.value, Replacement::Value(_))
            }),
        })
    }
}

/// Whether a body has at most one solution, and each of its values only one.
fn once(block: &[Op]) -> bool {
    let mut bound = Vec::new();
    once_in(block, &mut bound)
}

fn once_in(block: &[Op], bound: &mut Vec<u32>) -> bool {
    block.iter().all(|op| {
        let fine = match op {
            Op::Ref(path, _) => path.steps.iter().all(|step| match step {
                Arg::Const(_) => true,
                Arg::Reg(register) => bound.contains(register),
                _ => false,
            }),
            Op::Walk(..) => false,
            _ => true,
        };
        match op {
            Op::Ref(_, Out::Unify(arg))
            | Op::Builtin { out: Out::Unify(arg), .. }
            | Op::Call { out: Out::Unify(arg), .. }
            | Op::Compr(_, Out::Unify(arg)) => registers(arg, bound),
            Op::Unify(a, b) => {
                registers(a, bound);
                registers(b, bound);
            }
            _ => {}
        }
        fine
    })
}

fn registers(arg: &Arg, out: &mut Vec<u32>) {
    match arg {
        Arg::Const(_) => {}
        Arg::Reg(register) => out.push(*register),
        Arg::Array(items) | Arg::Set(items) => items.iter().for_each(|a| registers(a, out)),
        Arg::Object(pairs) => pairs.iter().for_each(|(k, v)| {
            registers(k, out);
            registers(v, out);
        }),
    }
}
