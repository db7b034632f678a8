//! What a policy is made of: for tools that look at it without evaluating it.

use std::collections::BTreeMap;

use super::Policy;
use super::watch::path_of;
use crate::plan::{Arg, DataAt, NodeId, Op, Out, Path, RulePlan};
use crate::syntax::Pos;
use crate::value::Value;

/// References that lead to references that lead to a part of `input`.
const MOST_HOPS: usize = 16;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleName {
    /// The constant beginning of its path, below `data`.
    pub path: Vec<Value>,
    /// Where it begins.
    pub pos: Pos,
    /// It is a function.
    pub is_function: bool,
}

/// A name of many rules that are looked at one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// `data.a.allow`.
    pub name: String,
    /// How many rules it has.
    pub rules: usize,
    /// How many of them are looked at whatever is asked.
    pub looked_at: usize,
    /// Where the first one begins.
    pub pos: Pos,
}

impl Policy {
    /// All rules, in the order of the texts.
    pub fn rules(&self) -> Vec<RuleName> {
        let rules = self.plan.rules.iter().map(|rule| {
            let constant = rule.path.iter().map_while(|step| match step {
                Arg::Const(key) => Some(key.clone()),
                _ => None,
            });
            RuleName { path: constant.collect(), pos: rule.pos, is_function: !rule.args.is_empty() }
        });
        rules.collect()
    }

    /// Names of which at least so many rules are looked at whatever is asked: no index tells them apart.
    pub fn scanned(&self, at_least: usize) -> Vec<Scanned> {
        let nodes = self.plan.nodes.iter().enumerate();
        let scanned =
            nodes.filter(|(_, node)| node.index.undivided() >= at_least).filter_map(|(id, node)| {
                let looked_at = node.index.undivided().min(node.rules.len());
                let first = node.rules.first().and_then(|rule| self.plan.rule(*rule))?;
                let name = path_of(&self.plan, NodeId::try_from(id).ok()?);
                Some(Scanned { name, rules: node.rules.len(), looked_at, pos: first.pos })
            });
        scanned.collect()
    }

    /// References to parts of `input`, also by variables and rules that stand for one (`http := input.a.http`): the place,
    /// and the constant beginning of the path.
    pub fn input_references(&self) -> Vec<(Pos, Vec<Value>)> {
        let mut found = Vec::new();
        for rule in self.plan.rules.iter().flat_map(|rule| std::iter::once(rule).chain(&rule.branches)) {
            let mut parts = BTreeMap::new();
            self.references(&rule.block, &mut parts, &mut found);
        }
        found.sort();
        found.dedup();
        found
    }

    fn references(
        &self,
        block: &[Op],
        parts: &mut BTreeMap<u32, Vec<Value>>,
        found: &mut Vec<(Pos, Vec<Value>)>,
    ) {
        for op in block {
            match op {
                Op::Ref(path, out) => {
                    let Some((part, is_whole)) = self.part(path, parts, MOST_HOPS) else { continue };
                    if let (Out::Unify(Arg::Reg(register)), true) = (out, is_whole) {
                        parts.insert(*register, part.clone());
                    }
                    found.push((path.pos, part));
                }
                Op::Not(block) | Op::Every { block, .. } => self.references(block, parts, found),
                Op::Logical { left, right, .. } => {
                    self.references(left, parts, found);
                    self.references(right, parts, found);
                }
                Op::Compr(compr, _) => self.references(&compr.block, parts, found),
                // What is replaced may be anything.
                Op::With(_) => return,
                _ => {}
            }
        }
    }

    /// The part of `input` that a reference leads to, and whether it is known to its end.
    fn part(
        &self,
        path: &Path,
        parts: &BTreeMap<u32, Vec<Value>>,
        hops: usize,
    ) -> Option<(Vec<Value>, bool)> {
        let (mut part, done) = match path.at {
            DataAt::Input => (Vec::new(), 0),
            DataAt::Local(register) => (parts.get(&register)?.clone(), 0),
            DataAt::Rules(node) => (self.stands_for(node, hops)?, path.done as usize),
            _ => return None,
        };
        let steps = path.steps.get(done..)?;
        let constants = steps.iter().map_while(|step| match step {
            Arg::Const(key) => Some(key.clone()),
            _ => None,
        });
        let before = part.len();
        part.extend(constants);
        let is_whole = part.len() == before + steps.len();
        Some((part, is_whole))
    }

    /// The part of `input` that a rule is another name of.
    fn stands_for(&self, node: NodeId, hops: usize) -> Option<Vec<Value>> {
        let node = self.plan.node(node)?;
        let ([only], None, true) = (&*node.rules, node.default, hops > 0) else { return None };
        let rule: &RulePlan =
            self.plan.rule(*only).filter(|rule| rule.is_complete() && rule.branches.is_empty())?;
        let Some(Arg::Reg(value)) = &rule.value else { return None };
        let given = rule.block.iter().find_map(|op| match op {
            Op::Ref(path, Out::Unify(Arg::Reg(register))) if register == value => Some(path),
            _ => None,
        })?;
        let (part, is_whole) = self.part(given, &BTreeMap::new(), hops - 1)?;
        is_whole.then_some(part)
    }
}
