//! Tree of a glob to matchers, with the rewrites of `gobwas/glob`: some of them change what matches, and decide.
//!
//! Source: `gobwas/glob` v0.2.3, `compiler/compiler.go`.

use super::super::rune;
use super::matcher::{Matcher, Tree};
use super::syntax::Node;
use crate::builtins::{Budget, Fault, Limit};

/// The most parts one after another: gluing them takes the cube of it.
const MOST_PARTS: usize = 128;
/// The most alternatives in one pair of braces: each is compared with each.
const MOST_ALTERNATIVES: usize = 1024;
/// The deepest matcher: matching recurses.
pub(super) const MOST_DEPTH: usize = 200;

pub(super) struct Compiler<'a> {
    pub(super) delimiters: &'a [char],
    pub(super) budget: &'a mut Budget,
    /// How many trees there are: each remembers under its own number.
    pub(super) trees: u32,
}

impl Compiler<'_> {
    pub(super) fn compile(&mut self, node: Node) -> Result<Matcher, Fault> {
        let matcher = match node {
            Node::AnyOf(alternatives) => {
                if alternatives.len() > MOST_ALTERNATIVES {
                    return Err(Fault::Limit(Limit::Steps));
                }
                self.budget.step((alternatives.len() * alternatives.len()) as u64 / 16)?;
                return match factored(&alternatives) {
                    Some(pattern) => self.compile(pattern),
                    None => {
                        let matchers = self.compile_each(alternatives)?;
                        Ok(optimized(Matcher::AnyOf(matchers)))
                    }
                };
            }
            Node::Pattern(nodes) if nodes.is_empty() => return Ok(Matcher::Nothing),
            Node::Pattern(nodes) => {
                let parts = nodes.len();
                if parts > MOST_PARTS {
                    return Err(Fault::Limit(Limit::Steps));
                }
                self.budget.step((parts * parts) as u64)?;
                let matchers = minimized(self.compile_each(nodes)?, self.delimiters);
                self.join(matchers)
            }
            Node::Any => Matcher::Any,
            Node::Super => Matcher::Super,
            Node::Single => Matcher::Single,
            Node::Nothing => Matcher::Nothing,
            Node::List { chars, not } => Matcher::List { chars, not },
            Node::Range { low, high, not } => Matcher::Range { low, high, not },
            Node::Text(text) => Matcher::text(text),
        };
        Ok(self.optimize(matcher))
    }

    fn compile_each(&mut self, nodes: Vec<Node>) -> Result<Vec<Matcher>, Fault> {
        let mut matchers = Vec::with_capacity(nodes.len());
        for node in nodes {
            self.budget.step(1)?;
            let matcher = self.compile(node)?;
            matchers.push(self.optimize(matcher));
        }
        Ok(matchers)
    }

    fn optimize(&self, matcher: Matcher) -> Matcher {
        match matcher {
            Matcher::Any if self.delimiters.is_empty() => Matcher::Super,
            other => optimized(other),
        }
    }

    /// Glues all, or splits at the longest part of a fixed length.
    fn join(&mut self, mut matchers: Vec<Matcher>) -> Matcher {
        if matchers.len() == 1 {
            return matchers.pop().unwrap_or(Matcher::Nothing);
        }
        if let Some(glued) = glued(&matchers, self.delimiters) {
            return glued;
        }
        let mut split: Option<(usize, usize)> = None;
        for (at, matcher) in matchers.iter().enumerate() {
            if let Some(length) = matcher.length()
                && split.is_none_or(|(_, most)| length >= most)
            {
                split = Some((at, length));
            }
        }
        let at = split.map_or(0, |(at, _)| at);
        let right = matchers.split_off((at + 1).min(matchers.len()));
        let value = matchers.pop().unwrap_or(Matcher::Nothing);
        let left = if matchers.is_empty() { None } else { Some(self.join(matchers)) };
        let right = if right.is_empty() { None } else { Some(self.join(right)) };
        let number = self.trees;
        self.trees += 1;
        Matcher::Tree(Box::new(Tree::new(number, value, left, right)))
    }
}

fn optimized(matcher: Matcher) -> Matcher {
    match matcher {
        Matcher::AnyOf(mut alternatives) if alternatives.len() == 1 => {
            alternatives.pop().unwrap_or(Matcher::Nothing)
        }
        Matcher::List { chars, not: false } if chars.len() == 1 => {
            let mut text = Vec::new();
            for c in chars {
                rune::push(&mut text, c);
            }
            Matcher::text(text)
        }
        Matcher::Tree(tree) => optimized_tree(tree),
        other => other,
    }
}

fn optimized_tree(mut tree: Box<Tree>) -> Matcher {
    tree.left = tree.left.map(optimized);
    tree.right = tree.right.map(optimized);
    let Matcher::Text { text, .. } = &tree.value else {
        return Matcher::Tree(tree);
    };
    let text = text.clone();
    match (&tree.left, &tree.right) {
        (None, None) => Matcher::text(text),
        (Some(Matcher::Super), Some(Matcher::Super)) => Matcher::Contains { needle: text, not: false },
        (Some(Matcher::Super), None) => Matcher::Suffix(text),
        (None, Some(Matcher::Super)) => Matcher::Prefix(text),
        (None, Some(Matcher::Suffix(suffix))) => {
            Matcher::PrefixSuffix { prefix: text, suffix: suffix.clone() }
        }
        (Some(Matcher::Prefix(prefix)), None) => {
            Matcher::PrefixSuffix { prefix: prefix.clone(), suffix: text }
        }
        (Some(Matcher::Any), None) => Matcher::SuffixAny(text),
        (None, Some(Matcher::Any)) => Matcher::PrefixAny(text),
        _ => Matcher::Tree(tree),
    }
}

fn glued(matchers: &[Matcher], delimiters: &[char]) -> Option<Matcher> {
    if matchers.len() <= 1 {
        return None;
    }
    glued_as_every(matchers, delimiters)
        .or_else(|| row_length(matchers).map(|length| Matcher::Row { length, parts: matchers.to_vec() }))
}

/// The length of a row of these, if all are of fixed lengths.
fn row_length(matchers: &[Matcher]) -> Option<usize> {
    matchers.iter().try_fold(0, |sum, matcher| Some(sum + matcher.length()?))
}

/// Whether these can be glued; then the length of what they become.
fn can_glue(matchers: &[Matcher], delimiters: &[char]) -> Option<Option<usize>> {
    if matchers.len() <= 1 {
        return None;
    }
    match glued_as_every(matchers, delimiters) {
        Some(every) => Some(every.length()),
        None => row_length(matchers).map(Some),
    }
}

/// A run of `*`, `**`, `?` and `[!…]` that all exclude the same characters: so many at least, so many at most,
/// and the excluded ones, as one string, nowhere.
fn glued_as_every(matchers: &[Matcher], delimiters: &[char]) -> Option<Matcher> {
    let (mut any, mut all) = (false, false);
    let mut least = 0;
    let mut excluded: Option<&[char]> = None;
    for matcher in matchers {
        let excludes: &[char] = match matcher {
            Matcher::Super => {
                all = true;
                &[]
            }
            Matcher::Any => {
                any = true;
                delimiters
            }
            Matcher::Single => {
                least += 1;
                delimiters
            }
            Matcher::List { chars, not: true } => {
                least += 1;
                chars
            }
            _ => return None,
        };
        if **excluded.get_or_insert(excludes) != *excludes {
            return None;
        }
    }
    let excluded = excluded.unwrap_or_default();
    if all && !any && least == 0 {
        return Some(Matcher::Super);
    }
    if any && !all && least == 0 {
        return Some(Matcher::Any);
    }
    if (any || all) && least > 0 && excluded.is_empty() {
        return Some(Matcher::Min(least));
    }
    let mut every = Vec::new();
    if least > 0 {
        every.push(Matcher::Min(least));
        if !any && !all {
            every.push(Matcher::Max(least));
        }
    }
    if !excluded.is_empty() {
        let mut needle = Vec::new();
        for c in excluded {
            rune::push(&mut needle, *c);
        }
        every.push(Matcher::Contains { needle, not: true });
    }
    Some(Matcher::EveryOf(every))
}

/// Glues the longest run that can be glued, again and again.
fn minimized(mut matchers: Vec<Matcher>, delimiters: &[char]) -> Vec<Matcher> {
    loop {
        let mut best: Option<(Option<usize>, usize, usize)> = None;
        for left in 0..matchers.len() {
            for right in (left + 1..=matchers.len()).rev() {
                let Some(run) = matchers.get(left..right) else { continue };
                let Some(length) = can_glue(run, delimiters) else { continue };
                let better = match best {
                    None => true,
                    Some((have, start, end)) => {
                        matches!((have, length), (Some(a), Some(b)) if b > a) || end - start < right - left
                    }
                };
                if better {
                    best = Some((length, left, right));
                }
            }
        }
        let Some((_, left, right)) = best else { return matchers };
        let Some(found) = matchers.get(left..right).and_then(|run| glued(run, delimiters)) else {
            return matchers;
        };
        matchers.splice(left..right, [found]);
    }
}

/// Alternatives with common heads or tails: those once, around what differs.
fn factored(alternatives: &[Node]) -> Option<Node> {
    let mut patterns = Vec::with_capacity(alternatives.len());
    for node in alternatives {
        match node {
            Node::Pattern(nodes) => patterns.push(nodes.as_slice()),
            _ => return None,
        }
    }
    let (heads, tails) = common(&patterns);
    if heads.is_empty() && tails.is_empty() {
        return None;
    }
    let mut result = Vec::new();
    let mut rest: Vec<Node> = Vec::new();
    for nodes in &patterns {
        let middle = nodes.get(heads.len()..nodes.len().saturating_sub(tails.len())).unwrap_or_default();
        let node = if middle.is_empty() { Node::Nothing } else { Node::Pattern(middle.to_vec()) };
        if !rest.contains(&node) {
            rest.push(node);
        }
    }
    if !heads.is_empty() {
        result.push(Node::Pattern(heads));
    }
    if rest.len() > 1 {
        result.push(Node::AnyOf(rest));
    } else if let Some(one) = rest.pop()
        && one != Node::Nothing
    {
        result.push(one);
    }
    if !tails.is_empty() {
        result.push(Node::Pattern(tails));
    }
    Some(Node::Pattern(result))
}

/// The nodes that all begin with, and that all end with; found from both ends at once along the shortest.
fn common(patterns: &[&[Node]]) -> (Vec<Node>, Vec<Node>) {
    let none = (Vec::new(), Vec::new());
    if patterns.len() <= 1 {
        return none;
    }
    let Some((least, shortest)) = patterns.iter().enumerate().min_by_key(|(_, nodes)| nodes.len()) else {
        return none;
    };
    let length = shortest.len();
    let (mut heads, mut tails) = (Vec::new(), Vec::new());
    let (mut heads_end, mut tails_end) = (false, false);
    let (mut i, mut j) = (0, length);
    while heads.len() + tails.len() < length && j > 0 && !(heads_end && tails_end) {
        // `j` is one more than the place from the right.
        let (left, right) = (shortest.get(i), shortest.get(j - 1));
        for (k, nodes) in patterns.iter().enumerate() {
            if heads_end && tails_end {
                break;
            }
            if k == least {
                continue;
            }
            heads_end = heads_end || left != nodes.get(i);
            // Where heads have come over the middle, no tail is looked for.
            tails_end = tails_end || (!heads_end && j - 1 <= i);
            tails_end = tails_end || right != nodes.get(j - 1 + nodes.len() - length);
        }
        if let (false, Some(node)) = (heads_end, left) {
            heads.push(node.clone());
        }
        if let (false, Some(node)) = (tails_end, right) {
            tails.push(node.clone());
        }
        (i, j) = (i + 1, j - 1);
    }
    tails.reverse();
    (heads, tails)
}
