//! The plan: what is executed.
//!
//! Variables are registers of a rule's window; the bodies of comprehensions, `every` and `not` share the window of the rule
//! that they stand in. A body is a list of operations; one that has several answers leaves a choice behind, and failing
//! goes back to the last choice.

use crate::builtins::text::patterns::Prepared;
use crate::builtins::{Builtin, Function};
use crate::index::Index;
use crate::syntax::Pos;
use crate::value::Value;

use super::tree::NodeId;

/// A term without anything left to evaluate: also the pattern that a value is unified with.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Const(Value),
    Reg(u32),
    Array(Box<[Arg]>),
    /// Constants before variables: of equal keys the first is kept.
    Object(Box<[(Arg, Arg)]>),
    Set(Box<[Arg]>),
}

/// What is done with an answer.
#[derive(Clone, Debug)]
pub(crate) enum Out {
    /// It must not be `false`.
    Test,
    /// It is unified with this.
    Unify(Arg),
}

/// Where a reference begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DataAt {
    Input,
    Local(u32),
    /// `data`, and the constant steps lead to rules.
    Rules(NodeId),
    /// `data`, and no rules are that way.
    Base,
    /// `data`, and after the constant steps there are rules below this node.
    Tree(NodeId),
}

/// A reference.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) at: DataAt,
    /// How many steps `at` stands for already.
    pub(crate) done: u32,
    /// All steps, from the root.
    pub(crate) steps: Box<[Arg]>,
    /// Its answer is unified with another reference: it says nothing to the index.
    pub(crate) left_of_another: bool,
    pub(crate) pos: Pos,
}

/// A kind of comprehension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Array,
    Set,
    Object,
}

/// A comprehension.
#[derive(Clone, Debug)]
pub(crate) struct Compr {
    pub(crate) kind: Kind,
    pub(crate) key: Arg,
    pub(crate) value: Arg,
    pub(crate) block: Box<[Op]>,
    /// Evaluated once, and looked up by these registers: see the module `comprehension`.
    pub(crate) keys: Option<Box<[u32]>>,
    /// Its head names variables that its body does not bind: it is computed at once only to see whether that ends the query.
    pub(crate) open: bool,
    /// It stands right of `=`: what cannot be equal to it by its kind is told before it is evaluated.
    pub(crate) on_right: bool,
    /// An object whose last value for a key counts: see there too.
    pub(crate) last_counts: bool,
    /// Its number in the plan.
    pub(crate) id: u32,
    pub(crate) pos: Pos,
}

/// What a `with` replaces.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Input(Box<[Value]>),
    Data(Box<[Value]>),
    /// A rule with arguments.
    Function(NodeId),
    Builtin(&'static str),
    /// A path that is no path of names: evaluating it ends the query.
    Nothing,
}

/// By what it replaces it.
#[derive(Clone, Debug)]
pub(crate) enum Replacement {
    Value(Arg),
    Function(NodeId),
    Builtin(&'static Builtin),
    /// Of a function: a reference that is evaluated when it is called, by its number in the plan.
    Reference(u32),
}

#[derive(Clone, Debug)]
pub(crate) struct WithPlan {
    pub(crate) target: Target,
    pub(crate) value: Replacement,
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Ref(Box<Path>, Out),
    Unify(Arg, Arg),
    Test(Arg),
    Builtin {
        builtin: &'static Builtin,
        function: Function,
        /// Its pattern, compiled.
        prepared: Option<Box<Prepared>>,
        args: Box<[Arg]>,
        out: Out,
    },
    /// `walk`.
    Walk(Arg, Out),
    Call {
        node: NodeId,
        args: Box<[Arg]>,
        out: Out,
    },
    Compr(Box<Compr>, Out),
    Not(Box<[Op]>),
    Every {
        key: Arg,
        value: Arg,
        domain: Arg,
        block: Box<[Op]>,
    },
    /// `and` (both), `or` (either).
    Logical {
        or: bool,
        left: Box<[Op]>,
        right: Box<[Op]>,
    },
    /// Until the matching `EndWith`, documents and functions are replaced.
    With(Box<[WithPlan]>),
    EndWith,
    /// What follows comes from there. Only where the compiler was told to keep places.
    Place(Pos),
}

/// A rule, or one `else` branch of it.
#[derive(Debug)]
pub(crate) struct RulePlan {
    pub(crate) args: Box<[Arg]>,
    /// Its path from `data`: constants, and the variables of its name.
    pub(crate) path: Box<[Arg]>,
    /// `contains`.
    pub(crate) key: Option<Arg>,
    pub(crate) value: Option<Arg>,
    pub(crate) block: Box<[Op]>,
    pub(crate) registers: u32,
    pub(crate) branches: Box<[RulePlan]>,
    pub(crate) pos: Pos,
    /// The names of registers, empty for those that have none, where places are kept.
    pub(crate) names: Box<[String]>,
    /// An object of one key a rule: never left early.
    pub(crate) object_key: bool,
}

impl RulePlan {
    /// Whether the rule gives one value at a constant path.
    pub(crate) fn is_complete(&self) -> bool {
        self.key.is_none() && !self.object_key && self.path.iter().all(|a| matches!(a, Arg::Const(_)))
    }
}

/// A node of the rule tree.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// Steps from `data`.
    pub(crate) depth: u32,
    /// Sorted by key.
    pub(crate) children: Box<[(Value, NodeId)]>,
    pub(crate) hide: bool,
    /// The rules that are evaluated here: its own, and those below it if one of its own has variables in its name.
    pub(crate) rules: Box<[u32]>,
    pub(crate) default: Option<u32>,
    pub(crate) set: bool,
    /// No rule has variables in its name.
    pub(crate) ground: bool,
    pub(crate) arity: u32,
    /// Evaluating it never ends a query: neither order nor what is left out can be seen.
    pub(crate) pure: bool,
    /// The most steps below here that decide which rules give a value.
    pub(crate) span: u32,
    pub(crate) index: Index,
}

impl Node {
    pub(crate) fn child(&self, key: &Value) -> Option<NodeId> {
        let at = self.children.binary_search_by(|(k, _)| k.cmp(key)).ok()?;
        self.children.get(at).map(|(_, id)| *id)
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// 0 is `data`.
    pub(crate) nodes: Vec<Node>,
    pub(crate) rules: Vec<RulePlan>,
    /// What functions are replaced by, where that is a document.
    pub(crate) references: Vec<Path>,
}

impl Plan {
    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    pub(crate) fn rule(&self, id: u32) -> Option<&RulePlan> {
        self.rules.get(id as usize)
    }
}
