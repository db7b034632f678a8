//! The tree that the parser makes and the compiler rewrites. Every node knows its place.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::value::Value;

/// A place in a policy text; line and column count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pos {
    /// Index of the file among those the compiler was given.
    pub file: u32,
    /// Line.
    pub line: u32,
    /// Column.
    pub col: u32,
}

/// A name, interned: see [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sym(pub u32);

/// The interned names of a compilation.
///
/// Names that the compiler makes (`__local3__`, wildcards) are not found by text: they are never equal to a written one.
#[derive(Debug)]
pub struct Names {
    /// Written names.
    texts: Vec<Rc<str>>,
    /// Names that the compiler made, and whether for a value that has none in the text.
    fresh: Vec<(Rc<str>, bool)>,
    found: BTreeMap<Rc<str>, Sym>,
    made: u32,
}

/// Of a written name. Those that the compiler makes come before them in order, as `__local1__` does in OPA.
const WRITTEN: u32 = 1 << 30;

macro_rules! known {
    ($($index:expr, $name:ident, $text:expr;)*) => {
        /// Names that the compiler itself speaks of.
        #[allow(missing_docs)]
        impl Sym { $(pub const $name: Sym = Sym(WRITTEN | $index);)* }
        const KNOWN: &[&str] = &[$($text),*];
    };
}
known! {
    0, EQ, "eq";
    1, ASSIGN, "assign";
    2, EQUAL, "equal";
    3, DATA, "data";
    4, INPUT, "input";
    5, INTERNAL, "internal";
    6, PRINT, "print";
    7, SET, "set";
    8, REGO, "rego";
    9, FUTURE, "future";
    10, EVERY, "every";
    11, MINUS, "minus";
    12, WALK, "walk";
}

impl Default for Names {
    fn default() -> Self {
        let mut names = Names { texts: Vec::new(), fresh: Vec::new(), found: BTreeMap::new(), made: 0 };
        for text in KNOWN {
            names.intern(text);
        }
        names
    }
}

impl Names {
    /// Names that stand in while the real ones are elsewhere.
    pub(crate) fn empty() -> Names {
        Names { texts: Vec::new(), fresh: Vec::new(), found: BTreeMap::new(), made: 0 }
    }

    /// The symbol of a written name.
    pub fn intern(&mut self, text: &str) -> Sym {
        if let Some(sym) = self.found.get(text) {
            return *sym;
        }
        let sym = Sym(WRITTEN | self.texts.len() as u32);
        let text: Rc<str> = Rc::from(text);
        self.texts.push(text.clone());
        self.found.insert(text, sym);
        sym
    }

    /// The symbol of a name, if it was ever written.
    pub fn get(&self, text: &str) -> Option<Sym> {
        self.found.get(text).copied()
    }

    /// A new name that shows as `shown` in messages.
    pub fn fresh(&mut self, shown: &str) -> Sym {
        let sym = Sym(self.fresh.len() as u32);
        self.fresh.push((Rc::from(shown), false));
        sym
    }

    /// A new name for a value that the compiler takes out of an expression.
    pub fn local(&mut self) -> Sym {
        self.made += 1;
        let shown = format!("__local{}__", self.made);
        let sym = self.fresh(&shown);
        if let Some((_, made)) = self.fresh.last_mut() {
            *made = true;
        }
        sym
    }

    /// A new name for `_`.
    pub fn wildcard(&mut self) -> Sym {
        self.fresh("_")
    }

    /// The text of a name.
    pub fn text(&self, sym: Sym) -> &str {
        if sym.0 & WRITTEN == 0 {
            return self.fresh.get(sym.0 as usize).map_or("", |(text, _)| text);
        }
        self.texts.get((sym.0 ^ WRITTEN) as usize).map_or("", |t| t)
    }

    /// Whether the name is `_`.
    pub fn is_wildcard(&self, sym: Sym) -> bool {
        self.text(sym) == "_"
    }

    /// Whether the compiler made the name: of its own, or for a variable that was declared.
    pub fn is_local(&self, sym: Sym) -> bool {
        sym.0 & WRITTEN == 0 && self.text(sym) != "_"
    }

    /// Whether the compiler made the name for a value that has none in the text.
    pub fn is_made(&self, sym: Sym) -> bool {
        sym.0 & WRITTEN == 0 && self.fresh.get(sym.0 as usize).is_some_and(|(_, made)| *made)
    }
}

/// A term and its place.
#[derive(Clone, Debug)]
pub struct Term {
    /// What it is.
    pub value: TermValue,
    /// Where it begins.
    pub pos: Pos,
}

/// What a term is.
#[derive(Clone, Debug)]
pub enum TermValue {
    /// null, a boolean, a number or a string.
    Scalar(Value),
    /// A variable.
    Var(Sym),
    /// A reference: its head (a variable, after hoisting), then a term for every step.
    Ref(Vec<Term>),
    /// A call: operator (a reference), then operands.
    Call(Vec<Term>),
    /// An array.
    Array(Vec<Term>),
    /// An object, as written.
    Object(Vec<(Term, Term)>),
    /// A set, as written.
    Set(Vec<Term>),
    /// `[head | body]`.
    ArrayCompr(Box<(Term, Body)>),
    /// `{head | body}`.
    SetCompr(Box<(Term, Body)>),
    /// `{key: value | body}`.
    ObjectCompr(Box<(Term, Term, Body)>),
    /// `$"text {expression}"`.
    Template(Vec<TemplatePart>),
}

/// A part of a template string.
#[derive(Clone, Debug)]
pub enum TemplatePart {
    /// A literal.
    Text(Value),
    /// An expression whose value is printed.
    Expr(Box<Expr>),
}

/// Expressions that must all hold.
pub type Body = Vec<Expr>;

/// One expression of a body.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// `not` in front, as a mark on the expression (the kind that does not isolate its operands).
    pub negated: bool,
    /// `with target as value`, in order.
    pub with: Vec<With>,
    /// Made by the compiler.
    pub generated: bool,
    /// Where it begins.
    pub pos: Pos,
}

/// What an expression is.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A term that must be defined and not false.
    Term(Term),
    /// A call (operator first); `=`, `:=` and comparisons are calls.
    Call(Vec<Term>),
    /// `some x, y`.
    Some(Vec<Term>),
    /// `some x in xs`, `some k, v in xs`: the call to `internal.member_2` or `_3`.
    SomeIn(Vec<Term>),
    /// `every k, v in xs { … }`.
    Every(Box<Every>),
    /// `not { … }`, and `not e` where that isolates its operands.
    Not(Box<NotBody>),
    /// `a and b`, `a or b`.
    Logical(Box<Logical>),
}

/// `every`.
#[derive(Clone, Debug)]
pub struct Every {
    /// Key variable.
    pub key: Option<Term>,
    /// Value variable.
    pub value: Term,
    /// What is iterated.
    pub domain: Term,
    /// What must hold.
    pub body: Body,
}

/// A negated body.
#[derive(Clone, Debug)]
pub struct NotBody {
    /// What must not hold.
    pub body: Body,
    /// Written in braces.
    pub explicit: bool,
}

/// `and`, `or`.
#[derive(Clone, Debug)]
pub struct Logical {
    /// `or`.
    pub or: bool,
    /// Left operand.
    pub left: Body,
    /// Right operand.
    pub right: Body,
    /// Left is in braces.
    pub explicit_left: bool,
    /// Right is in braces.
    pub explicit_right: bool,
}

/// One `with`.
#[derive(Clone, Debug)]
pub struct With {
    /// What is replaced.
    pub target: Term,
    /// By what.
    pub value: Term,
    /// Where it begins.
    pub pos: Pos,
}

/// The head of a rule.
#[derive(Clone, Debug)]
pub struct Head {
    /// The name, with all its steps; the first term is a variable.
    pub reference: Vec<Term>,
    /// Arguments of a function.
    pub args: Vec<Term>,
    /// `contains key`.
    pub key: Option<Term>,
    /// `:= value`; `true` where none is written.
    pub value: Option<Term>,
    /// Written with `:=`.
    pub assign: bool,
    /// `p["a"] := v` without a body, `p[x] := v`: an object of one key a rule, whatever the key.
    pub object_key: bool,
    /// Where it begins.
    pub pos: Pos,
}

/// What a rule contributes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// One value.
    Complete,
    /// Members of a set.
    PartialSet,
    /// Keys of an object: the head has variables.
    PartialObject,
    /// A function.
    Function,
}

/// A rule, with its `else` branches.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Head.
    pub head: Head,
    /// Body; of a rule without one, the term `true`.
    pub body: Body,
    /// `else` branches, in order; their own lists are empty.
    pub branches: Vec<Rule>,
    /// `default`.
    pub default: bool,
    /// Where it begins.
    pub pos: Pos,
}

/// One import.
#[derive(Clone, Debug)]
pub struct Import {
    /// Path; the first term is a variable.
    pub path: Vec<Term>,
    /// `as name`.
    pub alias: Option<Sym>,
    /// Where it begins.
    pub pos: Pos,
}

/// Which language a text is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    /// Before OPA 1.0.
    V0,
    /// OPA 1.0 and later.
    #[default]
    V1,
}

/// A policy text, parsed.
#[derive(Clone, Debug)]
pub struct Module {
    /// `data.` and the package's path.
    pub package: Vec<Value>,
    /// Place of the package.
    pub pos: Pos,
    /// Imports in order.
    pub imports: Vec<Import>,
    /// Rules in order.
    pub rules: Vec<Rule>,
    /// Rego v1's rules hold (v1, or v0 with `import rego.v1`).
    pub strict_v1: bool,
    /// `# METADATA`, in order.
    pub annotations: Vec<super::annotations::Annotation>,
}

impl Term {
    /// A term.
    pub fn new(value: TermValue, pos: Pos) -> Term {
        Term { value, pos }
    }
    /// A variable.
    pub fn var(sym: Sym, pos: Pos) -> Term {
        Term { value: TermValue::Var(sym), pos }
    }
    /// A scalar.
    pub fn scalar(value: Value, pos: Pos) -> Term {
        Term { value: TermValue::Scalar(value), pos }
    }
    /// A string.
    pub fn string(text: &str, pos: Pos) -> Term {
        Term { value: TermValue::Scalar(Value::from(text)), pos }
    }
    /// `true` or `false`.
    pub fn boolean(value: bool, pos: Pos) -> Term {
        Term { value: TermValue::Scalar(Value::Bool(value)), pos }
    }
    /// The variable, if it is one.
    pub fn as_var(&self) -> Option<Sym> {
        match self.value {
            TermValue::Var(sym) => Some(sym),
            _ => None,
        }
    }
    /// The scalar, if it is one.
    pub fn as_scalar(&self) -> Option<&Value> {
        match &self.value {
            TermValue::Scalar(value) => Some(value),
            _ => None,
        }
    }
    /// Whether it holds no variable, reference to one, call or comprehension.
    pub fn is_ground(&self) -> bool {
        match &self.value {
            TermValue::Scalar(_) => true,
            TermValue::Var(_) => false,
            // The head of a reference is a root or a variable: OPA asks the steps only.
            TermValue::Ref(terms) => terms.iter().skip(1).all(Term::is_ground),
            TermValue::Call(terms) => terms.iter().all(Term::is_ground),
            TermValue::Array(terms) | TermValue::Set(terms) => terms.iter().all(Term::is_ground),
            TermValue::Object(pairs) => pairs.iter().all(|(k, v)| k.is_ground() && v.is_ground()),
            TermValue::ArrayCompr(_) | TermValue::SetCompr(_) | TermValue::ObjectCompr(_) => false,
            TermValue::Template(_) => false,
        }
    }
    /// The value, if the term is built of scalars only.
    pub fn constant(&self) -> Option<Value> {
        match &self.value {
            TermValue::Scalar(value) => Some(value.clone()),
            TermValue::Array(terms) => {
                Value::array(terms.iter().map(Term::constant).collect::<Option<Vec<_>>>()?).ok()
            }
            TermValue::Set(terms) => {
                Value::set(terms.iter().map(Term::constant).collect::<Option<Vec<_>>>()?).ok()
            }
            TermValue::Object(pairs) => Value::object(
                pairs
                    .iter()
                    .map(|(k, v)| Some((k.constant()?, v.constant()?)))
                    .collect::<Option<Vec<_>>>()?,
            )
            .ok(),
            _ => None,
        }
    }
}

impl Expr {
    /// An expression of a term.
    pub fn term(term: Term) -> Expr {
        let pos = term.pos;
        Expr::new(ExprKind::Term(term), pos)
    }
    /// An expression.
    pub fn new(kind: ExprKind, pos: Pos) -> Expr {
        Expr { kind, negated: false, with: Vec::new(), generated: false, pos }
    }
    /// A call of a builtin operator by its symbol.
    pub fn operator(op: Sym, args: Vec<Term>, pos: Pos) -> Expr {
        Expr::new(ExprKind::Call(call_of(op, args, pos)), pos)
    }
    /// `a = b`, made by the compiler.
    pub fn equality(a: Term, b: Term, pos: Pos) -> Expr {
        let mut expr = Expr::operator(Sym::EQ, vec![a, b], pos);
        expr.generated = true;
        expr
    }
    /// The operator's symbol if the expression is a call of a builtin of one name (`eq`, `count`).
    pub fn op(&self) -> Option<Sym> {
        match &self.kind {
            ExprKind::Call(terms) => op_of(terms),
            _ => None,
        }
    }
}

/// Operator term and operands of a builtin operator.
pub fn call_of(op: Sym, args: Vec<Term>, pos: Pos) -> Vec<Term> {
    let mut terms = Vec::with_capacity(args.len() + 1);
    terms.push(Term::new(TermValue::Ref(vec![Term::var(op, pos)]), pos));
    terms.extend(args);
    terms
}

/// The symbol of an operator that is one name.
pub fn op_of(terms: &[Term]) -> Option<Sym> {
    match &terms.first()?.value {
        TermValue::Ref(path) if path.len() == 1 => path.first()?.as_var(),
        _ => None,
    }
}

impl Head {
    /// The first name.
    pub fn name(&self) -> Option<Sym> {
        self.reference.first().and_then(Term::as_var)
    }
}

impl Rule {
    /// What the rule contributes to.
    pub fn kind(&self) -> RuleKind {
        if !self.head.args.is_empty() {
            RuleKind::Function
        } else if self.head.key.is_some() {
            RuleKind::PartialSet
        } else if self.head.reference.iter().skip(1).all(Term::is_ground) {
            RuleKind::Complete
        } else {
            RuleKind::PartialObject
        }
    }
}
