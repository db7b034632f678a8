//! Which builtin an operator names.

use crate::builtins::{self, Builtin};
use crate::hash::Map;
use crate::syntax::tree::{Names, Sym, Term, TermValue};
use crate::value::Value;

/// The builtins, found by the symbols of their names.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    pub(super) simple: Map<Sym, &'static Builtin>,
    dotted: Map<Sym, Vec<&'static Builtin>>,
}

impl Functions {
    pub(super) fn new(names: &mut Names) -> Functions {
        let mut functions = Functions::default();
        for builtin in builtins::all() {
            match builtin.name.split_once('.') {
                None => {
                    functions.simple.insert(names.intern(builtin.name), builtin);
                }
                Some((first, _)) => {
                    functions.dotted.entry(names.intern(first)).or_default().push(builtin);
                }
            }
        }
        functions
    }

    /// The builtin that an operator, or the path of a reference, names.
    pub(crate) fn find(&self, op: &Term) -> Option<&'static Builtin> {
        match &op.value {
            TermValue::Ref(path) => self.find_path(path),
            TermValue::Var(sym) => self.simple.get(sym).copied(),
            _ => None,
        }
    }

    pub(crate) fn find_path(&self, path: &[Term]) -> Option<&'static Builtin> {
        let (first, rest) = path.split_first()?;
        let sym = first.as_var()?;
        if rest.is_empty() {
            return self.simple.get(&sym).copied();
        }
        self.dotted.get(&sym)?.iter().copied().find(|builtin| {
            let mut words = builtin.name.split('.').skip(1);
            rest.iter().all(|step| {
                let word = words.next();
                word.is_some() && step.as_scalar().and_then(Value::as_bytes) == word.map(str::as_bytes)
            }) && words.next().is_none()
        })
    }
}
