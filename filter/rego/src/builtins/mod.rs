//! The functions of OPA 1.20.2: one table of name, types, function and where its rule comes from.
//!
//! Each file exports its own slice of [`Builtin`]s; [`find`] looks through all of them by a sorted index.

mod aggregates;
mod arithmetic;
mod call;
mod compare;
mod crypto;
mod encoding;
mod graph;
mod json;
mod missing;
mod objects;
mod operands;
mod outside;
mod patch;
mod providers;
mod schema;
mod time;
mod tokens;
mod types;
mod units;
mod uri;
pub(crate) mod yaml;

pub mod text;

pub use call::{Budget, Call, Clock, Fault, Kept, Limit, Printed};
pub use graph::{Step, Walk};
pub use text::patterns::PatternCache;
pub use tokens::cache::KeyCache;
pub use types::{Field, Type};
pub use yaml::YamlError;

use crate::value::Value;

/// What runs a builtin: arguments are all defined, and as many as the table says.
pub type Function = fn(&mut Call<'_>, &[Value]) -> Result<Value, Fault>;

/// What stands behind a name.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// A function of its arguments.
    Function(Function),
    /// One answer after another; the evaluator iterates (`walk`).
    Relation,
    /// The evaluator's own: unification and assignment.
    Evaluator,
    /// Not here, and why: a policy that calls it is refused by name.
    Missing(&'static str),
}

/// One entry of the table.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// The name, as policies write it.
    pub name: &'static str,
    /// The types of its arguments.
    pub args: &'static [Type],
    /// The type of what it answers.
    pub result: Type,
    /// What runs.
    pub run: Run,
    /// An error in v1 modules, callable in v0 ones.
    pub deprecated: bool,
    /// Answers may differ between two queries with the same input.
    pub nondeterministic: bool,
    /// Looks at the time, though OPA does not say that its answers may differ.
    pub timed: bool,
    /// Takes any number of arguments (`print`).
    pub variadic: bool,
    /// OPA's source of the rule.
    pub source: &'static str,
}

impl Builtin {
    /// An entry whose answer depends on its arguments alone.
    pub const fn new(
        name: &'static str,
        args: &'static [Type],
        result: Type,
        function: Function,
        source: &'static str,
    ) -> Builtin {
        Builtin {
            name,
            args,
            result,
            run: Run::Function(function),
            deprecated: false,
            nondeterministic: false,
            timed: false,
            variadic: false,
            source,
        }
    }

    /// An entry that is refused at load, and why.
    pub const fn missing(
        name: &'static str,
        args: &'static [Type],
        result: Type,
        why: &'static str,
        source: &'static str,
    ) -> Builtin {
        Builtin {
            name,
            args,
            result,
            run: Run::Missing(why),
            deprecated: false,
            nondeterministic: false,
            timed: false,
            variadic: false,
            source,
        }
    }

    /// The same, deprecated.
    pub const fn deprecated(mut self) -> Builtin {
        self.deprecated = true;
        self
    }

    /// The same, not deterministic.
    pub const fn nondeterministic(mut self) -> Builtin {
        self.nondeterministic = true;
        self
    }

    /// The same, by the time.
    pub const fn timed(mut self) -> Builtin {
        self.timed = true;
        self
    }

    /// The same, with any number of arguments.
    pub const fn variadic(mut self) -> Builtin {
        self.variadic = true;
        self
    }

    /// The same, run by something else.
    pub const fn runs(mut self, run: Run) -> Builtin {
        self.run = run;
        self
    }
}

/// All slices of the table.
const SLICES: &[&[&[Builtin]]] = &[
    &[
        aggregates::BUILTINS,
        arithmetic::BUILTINS,
        compare::BUILTINS,
        crypto::hashes::BUILTINS,
        crypto::pki::BUILTINS,
        crypto::private::BUILTINS,
        crypto::requests::BUILTINS,
        encoding::BUILTINS,
        graph::BUILTINS,
        json::BUILTINS,
        missing::BUILTINS,
        objects::BUILTINS,
        outside::BUILTINS,
        providers::BUILTINS,
        schema::BUILTINS,
        time::BUILTINS,
        tokens::BUILTINS,
        units::BUILTINS,
        uri::BUILTINS,
        yaml::BUILTINS,
    ],
    text::BUILTINS,
];

/// The entry of this name.
pub fn find(name: &str) -> Option<&'static Builtin> {
    static INDEX: std::sync::OnceLock<Vec<&'static Builtin>> = std::sync::OnceLock::new();
    let index = INDEX.get_or_init(|| {
        // So few that inserting each in its place costs less code than the library's sorting.
        let mut index: Vec<&'static Builtin> = Vec::new();
        for builtin in all() {
            let at = index.partition_point(|other| other.name < builtin.name);
            index.insert(at, builtin);
        }
        index
    });
    let at = index.binary_search_by_key(&name, |builtin| builtin.name).ok()?;
    index.get(at).copied()
}

/// Every entry.
pub fn all() -> impl Iterator<Item = &'static Builtin> {
    SLICES.iter().flat_map(|group| group.iter()).flat_map(|slice| slice.iter())
}

/// Calls a builtin by name; the number of arguments is checked here, types by the function.
pub fn call(name: &str, args: &[Value], call: &mut Call<'_>) -> Result<Value, Fault> {
    let builtin = find(name).ok_or(Fault::Undefined("no such function".into()))?;
    if !builtin.variadic && builtin.args.len() != args.len() {
        return Err(Fault::Undefined("wrong number of arguments".into()));
    }
    match builtin.run {
        Run::Function(function) => function(call, args),
        Run::Relation | Run::Evaluator => Err(Fault::Undefined("not a function".into())),
        Run::Missing(why) => Err(Fault::Halt(why.into())),
    }
}

#[cfg(test)]
mod tests;
