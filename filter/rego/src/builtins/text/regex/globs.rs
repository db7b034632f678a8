//! `regex.globs_match`: whether two patterns of characters, `.`, sets, `+` and `*` share a non-empty text.
//!
//! A greedy walk that gives some pairs another answer than the question has; kept as it is, but remembered, so that
//! it takes no exponential time. Source: `yashtewari/glob-intersection` v0.2.0.

use super::super::hash::Map;
use super::super::{args, rune};
use crate::builtins::{Budget, Call, Fault, Limit};
use crate::value::Value;
use std::collections::BTreeSet;

/// The most characters in one set: ranges are spelled out.
const MOST_SET: usize = 4096;
/// The most tokens with a flag: the walk recurses from one to the next.
const MOST_FLAGS: usize = 64;
/// The longest pattern.
const MOST_TOKENS: usize = 4096;

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Character(char),
    Dot,
    Set(BTreeSet<char>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flag {
    None,
    Plus,
    Star,
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    flag: Flag,
}

const INVALID: Fault = Fault::undefined("the pattern is not one of characters, sets, + and *");

pub(super) fn globs_match(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let first = read(args::bytes(args, 0)?, call.budget)?;
    let second = read(args::bytes(args, 1)?, call.budget)?;
    let Some((first, second)) = trim(&first, &second) else {
        return Ok(Value::Bool(false));
    };
    let mut walk = Walk { budget: call.budget, memo: Map::default() };
    Ok(walk.normal(first, second)?.into())
}

struct Reader<'a> {
    text: &'a [char],
    at: usize,
}

impl Reader<'_> {
    /// The next character, and whether it was escaped; `None` at the end.
    fn next(&mut self) -> Result<Option<(char, bool)>, Fault> {
        let next = match (self.text.get(self.at), self.text.get(self.at + 1)) {
            (None, _) => return Ok(None),
            (Some('\\'), None) => return Err(INVALID),
            (Some('\\'), Some(c)) => {
                self.at += 2;
                (*c, true)
            }
            (Some(c), _) => {
                self.at += 1;
                (*c, false)
            }
        };
        Ok(Some(next))
    }

    fn set(&mut self, budget: &mut Budget) -> Result<Kind, Fault> {
        let mut set = BTreeSet::new();
        let mut before = None;
        loop {
            let Some((c, escaped)) = self.next()? else { return Err(INVALID) };
            match c {
                ']' if !escaped => return Ok(Kind::Set(set)),
                '-' if !escaped => {
                    let low = before.take().ok_or(INVALID)?;
                    if self.at + 1 >= self.text.len() {
                        return Err(INVALID);
                    }
                    let Some((high, escaped)) = self.next()? else { return Err(INVALID) };
                    if (!escaped && matches!(high, ']' | '-')) || high < low {
                        return Err(INVALID);
                    }
                    let count = u32::from(high) - u32::from(low) + 1;
                    if count as usize + set.len() > MOST_SET {
                        return Err(Fault::Limit(Limit::Bytes));
                    }
                    budget.step(u64::from(count) / 4 + 1)?;
                    set.extend(low..=high);
                }
                c => {
                    set.insert(c);
                    before = Some(c);
                }
            }
        }
    }
}

fn read(pattern: &[u8], budget: &mut Budget) -> Result<Vec<Token>, Fault> {
    budget.step(1 + pattern.len() as u64)?;
    budget.bytes(4 * pattern.len() as u64)?;
    let text: Vec<char> = rune::runes(pattern).map(|(_, c)| c).collect();
    let mut reader = Reader { text: &text, at: 0 };
    let mut tokens: Vec<Token> = Vec::new();
    while let Some((c, escaped)) = reader.next()? {
        let kind = match c {
            _ if escaped => Kind::Character(c),
            '.' => Kind::Dot,
            '[' => reader.set(budget)?,
            ']' | '+' | '*' => return Err(INVALID),
            c => Kind::Character(c),
        };
        let at = reader.at;
        let flag = match reader.next()? {
            Some(('+', false)) => Flag::Plus,
            Some(('*', false)) => Flag::Star,
            _ => {
                reader.at = at;
                Flag::None
            }
        };
        // Of two equal tokens that both repeat, one will do.
        if let Some(last) = tokens.last_mut()
            && last.flag != Flag::None
            && flag != Flag::None
            && last.kind == kind
        {
            if flag == Flag::Plus {
                last.flag = Flag::Plus;
            }
            continue;
        }
        tokens.push(Token { kind, flag });
    }
    let flags = tokens.iter().filter(|token| token.flag != Flag::None).count();
    if tokens.len() > MOST_TOKENS || flags > MOST_FLAGS {
        return Err(Fault::Limit(Limit::Steps));
    }
    Ok(tokens)
}

fn shares(a: &Token, b: &Token) -> bool {
    match (&a.kind, &b.kind) {
        (Kind::Dot, _) | (_, Kind::Dot) => true,
        (Kind::Character(a), Kind::Character(b)) => a == b,
        (Kind::Character(c), Kind::Set(set)) | (Kind::Set(set), Kind::Character(c)) => set.contains(c),
        (Kind::Set(a), Kind::Set(b)) => !a.is_disjoint(b),
    }
}

fn plain(token: Option<&Token>) -> Option<&Token> {
    token.filter(|token| token.flag == Flag::None)
}

/// Takes plain heads and tails away, all but one token of each; `None` where they differ.
fn trim<'a>(a: &'a [Token], b: &'a [Token]) -> Option<(&'a [Token], &'a [Token])> {
    let mut left = 0;
    while let (Some(x), Some(y)) = (plain(a.get(left)), plain(b.get(left))) {
        if !shares(x, y) {
            return None;
        }
        left += 1;
    }
    left = left.saturating_sub(1);
    let (mut end_a, mut end_b) = (a.len(), b.len());
    while end_a > left
        && end_b > left
        && let (Some(x), Some(y)) = (plain(a.get(end_a - 1)), plain(b.get(end_b - 1)))
    {
        if !shares(x, y) {
            return None;
        }
        (end_a, end_b) = (end_a - 1, end_b - 1);
    }
    if end_a < a.len() {
        (end_a, end_b) = (end_a + 1, end_b + 1);
    }
    Some((a.get(left..end_a).unwrap_or_default(), b.get(left..end_b).unwrap_or_default()))
}

struct Walk<'a> {
    budget: &'a mut Budget,
    /// Answers of [`Walk::normal`] by how much of both is left, and which is the first.
    memo: Map<(usize, usize, usize, usize), bool>,
}

impl Walk<'_> {
    fn shares(&mut self, a: &Token, b: &Token) -> Result<bool, Fault> {
        let work = match (&a.kind, &b.kind) {
            (Kind::Set(a), Kind::Set(b)) => 1 + (a.len() + b.len()) as u64 / 4,
            _ => 1,
        };
        self.budget.step(work)?;
        Ok(shares(a, b))
    }

    fn normal(&mut self, a: &[Token], b: &[Token]) -> Result<bool, Fault> {
        let key = (a.as_ptr() as usize, a.len(), b.as_ptr() as usize, b.len());
        if let Some(answer) = self.memo.get(&key) {
            return Ok(*answer);
        }
        self.budget.bytes(40)?;
        let answer = self.walk(a, b)?;
        self.memo.insert(key, answer);
        Ok(answer)
    }

    fn walk(&mut self, mut a: &[Token], mut b: &[Token]) -> Result<bool, Fault> {
        while let (Some((x, after_a)), Some((y, after_b))) = (a.split_first(), b.split_first()) {
            match (x.flag, y.flag) {
                (Flag::None, Flag::None) => {
                    if !self.shares(x, y)? {
                        return Ok(false);
                    }
                }
                (Flag::Plus, _) => return self.plus(a, b),
                (Flag::Star, _) => return self.star(a, b),
                (Flag::None, Flag::Plus) => return self.plus(b, a),
                (Flag::None, Flag::Star) => return self.star(b, a),
            }
            (a, b) = (after_a, after_b);
        }
        Ok(a.is_empty() && b.is_empty())
    }

    fn plus(&mut self, plussed: &[Token], other: &[Token]) -> Result<bool, Fault> {
        let (Some((x, after)), Some((y, rest))) = (plussed.split_first(), other.split_first()) else {
            return Ok(false);
        };
        if !self.shares(x, y)? {
            return Ok(false);
        }
        if self.star(plussed, rest)? {
            return Ok(true);
        }
        Ok(y.flag != Flag::None && self.normal(after, other)?)
    }

    fn star(&mut self, starred: &[Token], other: &[Token]) -> Result<bool, Fault> {
        let Some((star, after)) = starred.split_first() else { return Ok(false) };
        let next = after.first();
        let mut rest = other;
        while let Some((token, beyond)) = rest.split_first() {
            if let Some(next) = next
                && self.shares(token, next)?
                && self.normal(after, rest)?
            {
                return Ok(true);
            }
            if !self.shares(token, star)? {
                return Ok(false);
            }
            rest = beyond;
        }
        Ok(next.is_none())
    }
}
