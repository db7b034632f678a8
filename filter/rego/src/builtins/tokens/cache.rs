//! What a policy keeps of keys and of tokens, between calls and queries: both are functions of their texts alone.

use super::keys::{self, Key};
use super::verify::Wanted;
use crate::builtins::{Budget, Fault};
use crate::hash::Map;
use std::borrow::Cow;
use std::rc::Rc;

/// The most entries, and the most bytes that they take, in one half of each cache.
const MOST_SETS: usize = 64;
const MOST_VERDICTS: usize = 256;
const MOST_BYTES: usize = 512 << 10;
/// The longest text of keys; a longer one is an error.
const MOST_TEXT: usize = 512 << 10;
/// The longest token whose verdict is kept.
const MOST_TOKEN: usize = 16 << 10;
/// What reading one set may take, whatever the query may still spend: so a set is read always or never.
const MOST_STEPS: u64 = 1 << 20;
const MOST_READ_BYTES: u64 = 16 << 20;

/// Keys that were read, and signatures that were verified. Claims and their times are not in here.
///
/// As with patterns, a call pays for the work whether it was done before or not.
#[derive(Debug, Default)]
pub struct KeyCache {
    sets: Halves<Rc<KeySet>>,
    verdicts: Halves<(bool, u64)>,
    /// The number of the next set: a set that is read again is another one.
    next: u64,
    #[cfg(test)]
    pub(super) verified: usize,
}

/// The keys of a text.
#[derive(Debug)]
pub(super) struct KeySet {
    number: u64,
    pub(super) keys: Vec<Key>,
    fault: Option<Fault>,
    /// The steps of reading it.
    cost: u64,
}

/// Two halves: what is used goes to the young one; when that is full it becomes the old one, and what was old and not
/// used since is dropped.
#[derive(Debug)]
struct Halves<T> {
    young: Map<Box<[u8]>, T>,
    old: Map<Box<[u8]>, T>,
    bytes: usize,
}

impl<T> Default for Halves<T> {
    fn default() -> Halves<T> {
        Halves { young: Map::default(), old: Map::default(), bytes: 0 }
    }
}

impl<T: Clone> Halves<T> {
    fn get(&mut self, key: &[u8], size: impl Fn(&T) -> usize, most: usize) -> Option<T> {
        if let Some(found) = self.young.get(key) {
            return Some(found.clone());
        }
        let (key, found) = self.old.remove_entry(key)?;
        self.insert(key, found.clone(), size(&found), most);
        Some(found)
    }

    fn insert(&mut self, key: Box<[u8]>, value: T, size: usize, most: usize) {
        let size = size + key.len();
        if self.young.len() >= most || self.bytes + size > MOST_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += size;
        self.young.insert(key, value);
    }
}

impl KeySet {
    fn read(text: &[u8], number: u64) -> KeySet {
        let mut own = Budget::new(MOST_STEPS, MOST_READ_BYTES);
        let read = keys::read(text, &mut own);
        let cost = MOST_STEPS - own.steps_left();
        let (keys, fault) = match read {
            Ok(keys) => (keys, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        KeySet { number, keys, fault, cost }
    }

    fn size(&self) -> usize {
        self.keys.iter().map(Key::size).sum::<usize>() + 64
    }
}

impl KeyCache {
    /// An empty one.
    pub fn new() -> KeyCache {
        KeyCache::default()
    }

    /// The keys of a text.
    pub(super) fn set(&mut self, text: &[u8], budget: &mut Budget) -> Result<Rc<KeySet>, Fault> {
        if text.len() > MOST_TEXT {
            return Err(Fault::Halt(Cow::Borrowed("keys of more than 512 KiB")));
        }
        budget.step(1 + text.len() as u64 / 16)?;
        let set = match self.sets.get(text, |set| set.size(), MOST_SETS) {
            Some(set) => set,
            None => {
                let set = Rc::new(KeySet::read(text, self.next));
                self.next += 1;
                self.sets.insert(text.into(), Rc::clone(&set), set.size(), MOST_SETS);
                set
            }
        };
        budget.step(set.cost)?;
        match &set.fault {
            None => Ok(set),
            Some(fault) => Err(fault.clone()),
        }
    }

    /// Whether a token's signature is good by the keys of a set.
    pub(super) fn verdict(
        &mut self,
        set: &KeySet,
        wanted: Wanted,
        token: &[u8],
        budget: &mut Budget,
        verify: impl FnOnce(&mut Budget) -> Result<bool, Fault>,
    ) -> Result<bool, Fault> {
        let key = [&set.number.to_le_bytes()[..], &wanted.code(), token].concat();
        let kept = token.len() <= MOST_TOKEN;
        if kept && let Some((verdict, cost)) = self.verdicts.get(&key, |_| 64, MOST_VERDICTS) {
            budget.step(cost)?;
            return Ok(verdict);
        }
        #[cfg(test)]
        {
            self.verified += 1;
        }
        let before = budget.steps_left();
        let verdict = verify(budget)?;
        if kept {
            let cost = before - budget.steps_left();
            self.verdicts.insert(key.into(), (verdict, cost), 64, MOST_VERDICTS);
        }
        Ok(verdict)
    }

    /// The bytes of sets, at most.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let of = |half: &Map<Box<[u8]>, Rc<KeySet>>| -> usize {
            half.iter().map(|(text, set)| text.len() + set.size()).sum()
        };
        of(&self.sets.young) + of(&self.sets.old)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.sets.young.len() + self.sets.old.len(), self.verdicts.young.len() + self.verdicts.old.len())
    }
}
