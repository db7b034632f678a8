//! Compiled patterns, kept between calls and queries, bounded in number and bytes.

use super::args;
use super::glob::{self, Glob};
use super::hash::Map;
use super::regex::{self, Regex};
use crate::builtins::{Budget, Call, Fault};
use crate::value::Value;
use std::rc::Rc;

/// The most patterns, and the most bytes that they and their texts take, in one half of the cache.
const MOST_PATTERNS: usize = 256;
const MOST_BYTES: usize = 4 << 20;
/// What compiling one may take, whatever the query may still spend: so a pattern compiles always or never.
const MOST_STEPS: u64 = 1 << 20;

/// Compiled regular expressions and globs.
///
/// Two halves: what is used goes to the young one; when that is full it becomes the old one, and what was old and
/// not used since is dropped. A call pays for compiling whether its pattern is here or not, so that a bound is met
/// at the same place in every run.
#[derive(Debug, Default)]
pub struct PatternCache {
    young: Map<Box<[u8]>, Entry>,
    old: Map<Box<[u8]>, Entry>,
    bytes: usize,
    key: Vec<u8>,
    #[cfg(test)]
    compiled: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    compiled: Result<Compiled, Fault>,
    /// The steps of compiling it.
    cost: u64,
}

#[derive(Clone, Debug)]
enum Compiled {
    Regex(Rc<Regex>),
    Glob(Rc<Glob>),
}

impl PatternCache {
    /// An empty one.
    pub fn new() -> PatternCache {
        PatternCache::default()
    }

    /// A regular expression.
    pub fn regex(&mut self, pattern: &[u8], budget: &mut Budget) -> Result<Rc<Regex>, Fault> {
        self.key.clear();
        self.key.push(b'r');
        self.key.extend_from_slice(pattern);
        let entry = self.entry(|| {
            let compiled = Regex::compile(pattern);
            let cost = pattern.len() as u64 + compiled.as_ref().map_or(0, |regex| regex.cost());
            Entry { compiled: compiled.map(|regex| Compiled::Regex(Rc::new(regex))), cost }
        });
        budget.step(1 + entry.cost / 16)?;
        match entry.compiled? {
            Compiled::Regex(regex) => Ok(regex),
            Compiled::Glob(_) => Err(Fault::undefined("no regular expression")),
        }
    }

    /// A glob.
    pub fn glob(
        &mut self,
        pattern: &[u8],
        delimiters: &[char],
        budget: &mut Budget,
    ) -> Result<Rc<Glob>, Fault> {
        self.key.clear();
        self.key.push(b'g');
        for delimiter in delimiters {
            self.key.extend_from_slice(&u32::from(*delimiter).to_be_bytes());
        }
        // No character: where the delimiters end.
        self.key.extend_from_slice(&[0xFF; 4]);
        self.key.extend_from_slice(pattern);
        let entry = self.entry(|| {
            let mut own = Budget::new(MOST_STEPS, u64::MAX);
            let compiled = Glob::compile(pattern, delimiters, &mut own);
            Entry {
                compiled: compiled.map(|glob| Compiled::Glob(Rc::new(glob))),
                cost: MOST_STEPS - own.steps_left(),
            }
        });
        budget.step(1 + entry.cost / 16)?;
        match entry.compiled? {
            Compiled::Glob(glob) => Ok(glob),
            Compiled::Regex(_) => Err(Fault::undefined("no glob")),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    #[cfg(test)]
    pub(super) fn compiled(&self) -> usize {
        self.compiled
    }

    fn entry(&mut self, make: impl FnOnce() -> Entry) -> Entry {
        if let Some(entry) = self.young.get(self.key.as_slice()) {
            return entry.clone();
        }
        let entry = match self.old.remove(self.key.as_slice()) {
            Some(entry) => entry,
            None => {
                #[cfg(test)]
                {
                    self.compiled += 1;
                }
                make()
            }
        };
        let size = self.key.len()
            + match &entry.compiled {
                Ok(Compiled::Regex(regex)) => regex.size(),
                Ok(Compiled::Glob(glob)) => glob.size(),
                Err(_) => 64,
            };
        if self.young.len() >= MOST_PATTERNS || self.bytes + size > MOST_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += size;
        self.young.insert(self.key.clone().into_boxed_slice(), entry.clone());
        entry
    }
}

/// A call whose pattern is known when the policy is loaded: compiled once, called without looking it up.
///
/// Answers and faults are those of the plain call with the same arguments.
#[derive(Clone, Debug)]
pub enum Prepared {
    /// A function of regular expressions, with its pattern.
    Regex(Rc<Regex>, regex::With),
    /// `glob.match`, with its pattern and delimiters.
    Glob(Rc<Glob>),
}

impl Prepared {
    /// Prepares a call; `None` for an argument is one that is not known yet. `Ok(None)`: there is nothing to prepare.
    ///
    /// Errors: what every such call ends with, as its pattern is none or is too large.
    pub fn new(name: &str, args: &[Option<&Value>]) -> Result<Option<Prepared>, Fault> {
        let known = |at: usize| args.get(at).copied().flatten();
        if name == "glob.match" {
            let (Some(Value::String(pattern)), Some(delimiters)) = (known(0), known(1)) else {
                return Ok(None);
            };
            let delimiters = glob::delimiters(delimiters)?;
            let glob =
                Glob::compile(pattern.as_bytes(), &delimiters, &mut Budget::new(MOST_STEPS, u64::MAX))?;
            return Ok(Some(Prepared::Glob(Rc::new(glob))));
        }
        let Some((at, with)) = regex::with(name) else { return Ok(None) };
        let Some(Value::String(pattern)) = known(at) else { return Ok(None) };
        Ok(Some(Prepared::Regex(Rc::new(Regex::compile(pattern.as_bytes())?), with)))
    }

    /// Calls it, with all arguments: the pattern's own place is not looked at.
    pub fn call(&self, call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
        match self {
            Prepared::Regex(regex, with) => with(regex, call, args),
            Prepared::Glob(glob) => Ok(glob.is_match(args::bytes(args, 2)?, call.budget)?.into()),
        }
    }
}
