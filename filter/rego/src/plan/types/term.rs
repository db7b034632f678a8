//! Types of terms, and what terms learn from types.

use std::collections::BTreeMap;

use super::check::Checker;
use super::{Known, Type, is_nil, or, select, unifies, values};
use crate::syntax::order::compare;
use crate::syntax::tree::{Sym, Term, TermValue};

impl Checker<'_> {
    /// The type of a term.
    pub(super) fn type_of(&mut self, term: &Term) -> Known {
        match &term.value {
            TermValue::Scalar(value) => Some(Type::of(value)),
            TermValue::Var(sym) => self.variable(*sym),
            TermValue::Ref(path) => self.reference_type(path),
            TermValue::Array(terms) => {
                let items: Vec<Known> = terms.iter().map(|t| self.type_of(t)).collect();
                let rest = if items.is_empty() { Some(Type::any()) } else { None };
                Some(Type::array(items, rest))
            }
            TermValue::Object(pairs) => {
                let mut fields = Vec::new();
                let mut rest = None;
                let mut last: Option<&Term> = None;
                for (key, value) in pairs {
                    let value_type = self.type_of(value);
                    match key.constant() {
                        Some(key) => fields.push((key, value_type)),
                        // Of those that are no constants the last one counts, in the order of terms.
                        None if last.is_none_or(|last| compare(last, key).is_le()) => {
                            rest = Some((self.type_of(key), value_type));
                            last = Some(key);
                        }
                        None => {}
                    }
                }
                if fields.is_empty() && rest.is_none() {
                    rest = Some((Some(Type::any()), Some(Type::any())));
                }
                Some(Type::object(fields, rest))
            }
            TermValue::Set(terms) => {
                let mut of = None;
                for term in terms {
                    let next = self.type_of(term);
                    of = or(of, next);
                }
                Some(Type::set(of.or_else(|| Some(Type::any()))))
            }
            TermValue::ArrayCompr(_) | TermValue::SetCompr(_) | TermValue::ObjectCompr(_) => {
                self.comprehension(term)
            }
            TermValue::Template(_) => Some(Type::String),
            TermValue::Call(_) => None,
        }
    }

    /// Types of what a reference may find below a type.
    pub(super) fn select_path(&mut self, of: Known, path: &[Term]) -> Known {
        let mut at = of;
        for step in path {
            let here = at?;
            at = match &step.value {
                TermValue::Scalar(value) => select(&here, value),
                _ => values(&here),
            };
        }
        at
    }

    /// Gives a variable a type, or another one beside what it has.
    fn learn(&mut self, sym: Sym, of: Known, union: bool) {
        let of = if union { or(self.variable(sym), of) } else { of };
        self.put(sym, of);
    }

    /// Whether a term can be of a type; variables in it learn theirs.
    pub(super) fn unify1(&mut self, term: &Term, of: &Known, union: bool) -> bool {
        let Some(wanted) = of else { return self.unify1_nil(term, union) };
        match &term.value {
            TermValue::Array(terms) => match wanted {
                Type::Array(array) => {
                    if terms.len() != array.items.len() && array.rest.is_none() {
                        return false;
                    }
                    terms.iter().enumerate().all(|(i, t)| {
                        let of = array.items.get(i).unwrap_or(&array.rest).clone();
                        self.unify1(t, &of, union)
                    })
                }
                Type::Any(members) => self.unify1_any(term, members),
                _ => false,
            },
            TermValue::Object(pairs) => match wanted {
                Type::Object(object) => {
                    let open = object.rest.as_ref().is_some_and(|(_, v)| v.is_some());
                    if pairs.len() != object.fields.len() && !open {
                        return false;
                    }
                    pairs.iter().all(|(key, value)| match key.constant() {
                        Some(key) => match select(wanted, &key) {
                            None => false,
                            child => self.unify1(value, &child, union),
                        },
                        None => {
                            self.unify1(value, &Some(Type::any()), union);
                            true
                        }
                    })
                }
                Type::Any(members) => self.unify1_any(term, members),
                _ => false,
            },
            TermValue::Set(terms) => match wanted {
                Type::Set(set) => terms.iter().all(|t| self.unify1(t, &set.of, union)),
                Type::Any(members) => self.unify1_any(term, members),
                _ => false,
            },
            TermValue::Var(sym) => {
                if union {
                    self.learn(*sym, of.clone(), true);
                    return true;
                }
                match self.variable(*sym) {
                    None => {
                        self.learn(*sym, of.clone(), false);
                        true
                    }
                    known => unifies(&known, of),
                }
            }
            _ => {
                let have = self.type_of(term);
                unifies(&have, of)
            }
        }
    }

    /// The type that is wanted is not known.
    fn unify1_nil(&mut self, term: &Term, union: bool) -> bool {
        match &term.value {
            TermValue::Var(sym) => {
                if union || self.variable(*sym).is_none() {
                    return true;
                }
                false
            }
            _ => false,
        }
    }

    fn unify1_any(&mut self, term: &Term, members: &[Type]) -> bool {
        if members.is_empty() {
            let any = Some(Type::any());
            match &term.value {
                TermValue::Array(terms) | TermValue::Set(terms) => {
                    terms.iter().for_each(|t| {
                        self.unify1(t, &any, true);
                    });
                }
                TermValue::Object(pairs) => pairs.iter().for_each(|(k, v)| {
                    self.unify1(k, &any, true);
                    self.unify1(v, &any, true);
                }),
                _ => {}
            }
            return true;
        }
        let mut found = false;
        for member in members {
            found = self.unify1(term, &Some(member.clone()), true) || found;
        }
        found
    }

    /// Whether two terms can be equal; variables on both sides learn their types.
    pub(super) fn unify2(&mut self, a: &Term, type_a: &Known, b: &Term, type_b: &Known) -> bool {
        match (is_nil(type_a), is_nil(type_b)) {
            (true, false) => return self.unify1(a, type_b, false),
            (false, true) => return self.unify1(b, type_a, false),
            (false, false) => return unifies(type_a, type_b),
            (true, true) => {}
        }
        let any = Some(Type::any());
        match (&a.value, &b.value) {
            (TermValue::Array(x), TermValue::Array(y)) => {
                return x.len() == y.len()
                    && x.iter().zip(y).all(|(x, y)| {
                        let (tx, ty) = (self.type_of(x), self.type_of(y));
                        self.unify2(x, &tx, y, &ty)
                    });
            }
            (TermValue::Object(x), TermValue::Object(y)) => {
                if x.len() != y.len() {
                    return false;
                }
                let mut constants = BTreeMap::new();
                let mut variables = BTreeMap::new();
                for (key, y) in y {
                    if let Some(constant) = key.constant() {
                        constants.entry(constant).or_insert(y);
                    } else if let Some(var) = key.as_var() {
                        variables.entry(var).or_insert(y);
                    }
                }
                return x.iter().all(|(key, x)| {
                    let other = match key.constant() {
                        Some(constant) => constants.get(&constant),
                        None => key.as_var().and_then(|var| variables.get(&var)),
                    };
                    other.is_some_and(|y| {
                        let (tx, ty) = (self.type_of(x), self.type_of(y));
                        self.unify2(x, &tx, y, &ty)
                    })
                });
            }
            (TermValue::Array(_) | TermValue::Object(_), TermValue::Var(_))
            | (TermValue::Var(_), TermValue::Var(_)) => {
                let first = self.unify1(a, &any, false);
                let of = self.type_of(a);
                return first && self.unify1(b, &of, false);
            }
            (TermValue::Var(_), TermValue::Array(_) | TermValue::Object(_)) => {
                let first = self.unify1(b, &any, false);
                let of = self.type_of(b);
                return first && self.unify1(a, &of, false);
            }
            _ => {}
        }
        if matches!(a.value, TermValue::Var(_)) && type_a.is_none() && type_b.is_some() {
            return self.unify1(a, type_b, false);
        }
        if matches!(b.value, TermValue::Var(_)) && type_b.is_none() && type_a.is_some() {
            return self.unify1(b, type_a, false);
        }
        false
    }
}
