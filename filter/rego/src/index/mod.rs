//! Which rules can hold, found without looking at each.
//!
//! For each name a trie over references to `input`, base data and arguments that bodies compare with constants. What is
//! left out surely does not hold; the order of what is found, and whether its first value is enough, are OPA's, since both
//! decide whether a conflict is reached (`v1/ast/index.go`). OPA's trie has a level for every reference of every rule, so
//! that it grows with the square of rules that ask different things; here levels that a rule does not ask about take no
//! room: they are skipped, and visited in the order in which OPA would have come to what lies beyond them.
//!
//! Where nothing that is evaluated can end a query ([`Node::pure`]), nothing of that can be seen, and rules are also told
//! apart by how texts begin: `startswith`, anchored patterns, globs.
//!
//! Where OPA's index leaves out a rule that holds (constant arrays in collections, escaped or non-ASCII parts of globs,
//! replaced `glob.match`), this one does not.

mod collect;
mod trie;

use crate::builtins::Fault;
use crate::hash::Map;
use crate::plan::{Arg, Node, Plan};
use crate::value::Value;
use trie::Trie;

/// A document that rules are told apart by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    Input(Box<[Value]>),
    Data(Box<[Value]>),
    Argument(u32),
    /// The text of another: how it begins.
    Start(Box<Source>),
}

/// What the index reads documents through.
pub(crate) trait Resolve {
    fn input(&mut self, path: &[Value]) -> Option<Value>;
    fn data(&mut self, path: &[Value]) -> Result<Option<Value>, Fault>;
    fn argument(&self, index: usize) -> Option<Value>;
    fn step(&mut self, count: usize) -> Result<(), Fault>;
    /// Whether any builtin is replaced.
    fn replaces_builtins(&self) -> bool;
}

/// A rule that may hold, and which of its branches: 0 is the rule itself.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) rule: u32,
    /// None: all of them.
    pub(crate) branches: Option<Box<[u16]>>,
    /// How many there are.
    pub(crate) count: u16,
}

impl Candidate {
    /// The admitted branch of that turn.
    pub(crate) fn branch(&self, turn: usize) -> Option<u16> {
        match &self.branches {
            Some(branches) => branches.get(turn).copied(),
            None => u16::try_from(turn).ok().filter(|t| *t < self.count),
        }
    }
}

/// The rules that may hold, in the order in which they are evaluated.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) rules: Vec<Candidate>,
    /// The first value is enough: all have the same.
    pub(crate) early: bool,
}

/// A rule or one of its branches in the trie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Member {
    /// Position among the node's rules.
    pub(crate) position: u32,
    pub(crate) branch: u16,
}

/// The index of one node's rules.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// None: no rule has anything to be told apart by.
    trie: Option<Trie>,
    /// Of each rule and branch, the number of its constant value; 0: it has none.
    classes: Vec<Box<[u32]>>,
    /// All rules, where nothing is told apart: they need not be put together anew.
    all: Vec<Candidate>,
    all_early: bool,
    /// No rule has branches or stands in more than one place: what is found is what is evaluated.
    plain: bool,
}

/// An index that is being built, some rules at a time.
pub(crate) struct Building {
    index: Index,
    collected: collect::Building,
    pure: bool,
}

impl std::fmt::Debug for Building {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Building").finish_non_exhaustive()
    }
}

impl Building {
    /// Begins with what all rules have in common; `pure`: nothing that they evaluate can end a query.
    pub(crate) fn new(rules: &[u32], plan: &Plan, pure: bool) -> Building {
        let mut index = Index::default();
        let mut known: Map<&Value, u32> = Map::default();
        for id in rules {
            let Some(rule) = plan.rule(*id) else { continue };
            let classes = std::iter::once(rule).chain(&rule.branches).map(|branch| match &branch.value {
                Some(Arg::Const(value)) if rule.is_complete() => {
                    let next = known.len() as u32 + 1;
                    *known.entry(value).or_insert(next)
                }
                _ => 0,
            });
            index.classes.push(classes.collect());
            let count = rule.branches.len() as u16 + 1;
            index.all.push(Candidate { rule: *id, branches: None, count });
        }
        let mut classes = index.classes.iter().flatten();
        let first = classes.next().copied().unwrap_or(1);
        index.all_early = first != 0 && classes.all(|c| *c == first);
        Building { index, collected: collect::Building::new(), pure }
    }

    /// Takes up to `count` rules further. Whether all is done.
    pub(crate) fn step(&mut self, rules: &[u32], plan: &Plan, count: usize) -> bool {
        self.collected.step(rules, plan, self.pure, count)
    }

    pub(crate) fn finish(self) -> Index {
        let mut index = self.index;
        let branches = index.classes.iter().any(|c| c.len() > 1);
        if let Some((trie, once)) = self.collected.finish() {
            index.plain = once && !branches;
            index.trie = Some(trie);
        }
        index
    }

    /// An index by which nothing is told apart.
    pub(crate) fn scan(self) -> Index {
        self.index
    }
}

impl Index {
    /// How many rules are looked at whatever is asked.
    pub(crate) fn undivided(&self) -> usize {
        self.trie.as_ref().map_or(self.all.len(), Trie::undivided)
    }

    pub(crate) fn lookup(
        &self,
        node: &Node,
        resolve: &mut dyn Resolve,
        found: &mut Found,
    ) -> Result<(), Fault> {
        let trie = match &self.trie {
            Some(trie) if !(trie.has_calls() && resolve.replaces_builtins()) => trie,
            _ => {
                resolve.step(self.all.len())?;
                found.rules.clone_from(&self.all);
                found.early = self.all_early;
                return Ok(());
            }
        };
        let mut members = Vec::new();
        let again = trie.visit(resolve, &mut members)?;
        resolve.step(members.len())?;
        self.arrange(node, &members, again, found);
        Ok(())
    }

    /// Members in order of arrival → candidates in order of the first arrival of each rule.
    fn arrange(&self, node: &Node, members: &[Member], again: bool, found: &mut Found) {
        let mut early = true;
        let mut class = None;
        if self.plain && !again {
            found.rules.reserve(members.len());
            for member in members {
                let value = self.classes.get(member.position as usize).and_then(|c| c.first()).copied();
                let value = value.unwrap_or(0);
                early &= value != 0 && class.is_none_or(|c| c == value);
                class = Some(value);
                if let Some(rule) = node.rules.get(member.position as usize).copied() {
                    found.rules.push(Candidate { rule, branches: None, count: 1 });
                }
            }
            found.early = early;
            return;
        }
        let mut seen: Vec<(u32, Vec<u16>)> = Vec::with_capacity(members.len());
        let many = members.len() > 16;
        let mut places: Map<u32, usize> = Map::default();
        for member in members {
            let value =
                self.classes.get(member.position as usize).and_then(|c| c.get(member.branch as usize));
            let value = value.copied().unwrap_or(0);
            early &= value != 0 && class.is_none_or(|c| c == value);
            class = Some(value);
            let place = if many {
                places.get(&member.position).copied()
            } else {
                seen.iter().position(|(position, _)| *position == member.position)
            };
            match place.and_then(|at| seen.get_mut(at)) {
                Some((_, branches)) => {
                    if !branches.contains(&member.branch) {
                        branches.push(member.branch);
                    }
                }
                None => {
                    if many {
                        places.insert(member.position, seen.len());
                    }
                    seen.push((member.position, vec![member.branch]));
                }
            }
        }
        found.early = early;
        for (position, mut branches) in seen {
            let Some(rule) = node.rules.get(position as usize).copied() else { continue };
            branches.sort_unstable();
            let count = branches.len() as u16;
            let plain = branches.iter().enumerate().all(|(turn, branch)| turn as u16 == *branch);
            let branches = if plain { None } else { Some(branches.into()) };
            found.rules.push(Candidate { rule, branches, count });
        }
    }
}
