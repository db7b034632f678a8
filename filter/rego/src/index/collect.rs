//! What the bodies of rules ask of which documents.
//!
//! Source: `v1/ast/index.go` (`refindices`), on operations instead of trees.

use super::trie::{Glob, Key, Level, Slot, Trie};
use super::{Member, Source};
use crate::builtins::text::patterns::Prepared;
use crate::hash::Map;
use crate::plan::{Arg, DataAt, Op, Out, Path, Plan, RulePlan};
use crate::syntax::Pos;
use crate::value::Value;

/// The most ways to one rule.
const MOST_PATHS: usize = 32;
/// The most demands of one rule, and elements of one pattern: going through the trie nests as deep as these.
const MOST_DEMANDS: usize = 64;

/// One demand: a document has a value like this.
#[derive(Clone, Debug)]
struct Demand {
    source: usize,
    key: Wanted,
    glob: Option<Glob>,
}

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    /// Defined, and bound to this register.
    Register(u32),
    /// Defined.
    Any,
    Scalar(Value),
    /// An array with these elements; None: any.
    Array(Vec<Option<Value>>),
    /// A text that begins with this.
    Start(Box<[u8]>),
}

impl Wanted {
    fn is_open(&self) -> bool {
        matches!(self, Wanted::Register(_) | Wanted::Any)
    }
}

/// Demands, any list of which is enough.
type Ways = Vec<Vec<Demand>>;

struct Document {
    source: Source,
    count: usize,
    pos: Option<Pos>,
}

#[derive(Default)]
struct Documents {
    list: Vec<Document>,
    known: Map<Vec<Value>, Vec<usize>>,
}

impl Documents {
    fn number(&mut self, source: Source, pos: Option<Pos>) -> usize {
        let key = match &source {
            Source::Input(path) | Source::Data(path) => path.to_vec(),
            Source::Argument(index) => vec![Value::from(i64::from(*index))],
            Source::Start(_) => Vec::new(),
        };
        let numbers = self.known.entry(key).or_default();
        let found = numbers.iter().find(|n| self.list.get(**n).is_some_and(|d| d.source == source));
        match found {
            Some(number) => *number,
            None => {
                let number = self.list.len();
                self.list.push(Document { source, count: 0, pos });
                numbers.push(number);
                number
            }
        }
    }

    fn count(&mut self, number: usize) {
        if let Some(document) = self.list.get_mut(number) {
            document.count += 1;
        }
    }
}

/// What one body has said so far.
#[derive(Default)]
struct Scope {
    demands: Vec<Demand>,
    /// Alternatives of each `or`.
    choices: Vec<Ways>,
    /// Demands of the bodies around it.
    outer: Vec<Demand>,
}

struct Collector<'a> {
    documents: &'a mut Documents,
    rule: &'a RulePlan,
    /// Nothing of the node can end a query.
    pure: bool,
    /// Demands in `scratch` scopes are counted only when they reach the rule.
    scratch: u32,
}

/// A trie, the level of each path, and the members that it does not hold yet.
type Filling = (Trie, Vec<usize>, std::vec::IntoIter<(Member, Ways)>);

/// An index that is being built, some rules at a time.
pub(super) struct Building {
    documents: Documents,
    paths: Vec<(Member, Ways)>,
    /// Rules whose bodies were looked at.
    next: usize,
    trie: Option<Filling>,
    /// Every member stands in one place.
    once: bool,
}

impl Building {
    pub(super) fn new() -> Building {
        Building { documents: Documents::default(), paths: Vec::new(), next: 0, trie: None, once: true }
    }

    /// Takes up to `count` rules further. Whether all is done.
    pub(super) fn step(&mut self, rules: &[u32], plan: &Plan, pure: bool, count: usize) -> bool {
        if let Some((trie, level_of, paths)) = &mut self.trie {
            for (member, ways) in paths.by_ref().take(count) {
                self.once &= ways.len() == 1;
                for way in ways {
                    self.once &= insert(trie, member, way, level_of);
                }
            }
            return paths.len() == 0;
        }
        let end = self.next.saturating_add(count).min(rules.len());
        for (position, id) in rules.iter().enumerate().take(end).skip(self.next) {
            let Some(rule) = plan.rule(*id) else { continue };
            for (branch, rule) in std::iter::once(rule).chain(&rule.branches).enumerate() {
                let member = Member { position: position as u32, branch: branch as u16 };
                let mut scope = Scope::default();
                if !prints(&rule.block) {
                    let mut collector = Collector { documents: &mut self.documents, rule, pure, scratch: 0 };
                    collector.body(&rule.block, &mut scope, &mut Map::default());
                }
                self.paths.push((member, ways(&scope)));
            }
        }
        self.next = end;
        if self.next < rules.len() {
            return false;
        }
        if self.documents.list.is_empty() {
            return true;
        }
        self.order();
        false
    }

    /// All is known that is asked: levels in the order of how often.
    fn order(&mut self) {
        let documents = std::mem::take(&mut self.documents).list;
        let mut order: Vec<usize> = (0..documents.len()).collect();
        order.sort_by(|a, b| {
            let (Some(a), Some(b)) = (documents.get(*a), documents.get(*b)) else {
                return std::cmp::Ordering::Equal;
            };
            // Arguments have no place and come last.
            b.count.cmp(&a.count).then_with(|| match (a.pos, b.pos) {
                (Some(a), Some(b)) => a.cmp(&b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            })
        });
        let mut level_of = vec![0; documents.len()];
        for (level, number) in order.iter().enumerate() {
            if let Some(slot) = level_of.get_mut(*number) {
                *slot = level;
            }
        }
        let mut sources: Vec<Option<Source>> = documents.into_iter().map(|d| Some(d.source)).collect();
        let levels = order.iter().filter_map(|n| sources.get_mut(*n).and_then(Option::take)).collect();
        self.trie = Some((Trie::new(levels), level_of, std::mem::take(&mut self.paths).into_iter()));
    }

    /// The trie, and whether every member stands in one place; None: there is nothing to be told apart by.
    pub(super) fn finish(self) -> Option<(Trie, bool)> {
        self.trie.map(|(trie, _, _)| (trie, self.once))
    }
}

/// Puts a member where its demands lead. Whether that is one place.
fn insert(trie: &mut Trie, member: Member, way: Vec<Demand>, level_of: &[usize]) -> bool {
    if way.is_empty() {
        trie.add(Slot::Early(trie.root()), member);
        return true;
    }
    let mut way: Vec<(usize, Demand)> =
        way.into_iter().map(|d| (level_of.get(d.source).copied().unwrap_or(0), d)).collect();
    way.sort_by_key(|(level, _)| *level);
    let mut at = trie.root();
    let mut demands = way.into_iter().peekable();
    while let Some((level, first)) = demands.next() {
        let mut same = vec![first];
        while let Some((_, demand)) = demands.next_if(|(next, _)| *next == level) {
            same.push(demand);
        }
        for demand in &same {
            if let Some(glob) = &demand.glob {
                trie.glob(at, level as Level, glob);
            }
        }
        if same.iter().any(|d| d.key.is_open()) {
            at = trie.child(at, level as Level, &Key::Any);
        } else if same.len() > 1 {
            // Several values lead there: further demands are not looked at.
            for demand in &same {
                let child = trie.child(at, level as Level, &key(&demand.key));
                trie.add(Slot::Early(child), member);
            }
            return false;
        } else if let Some(demand) = same.first() {
            at = trie.child(at, level as Level, &key(&demand.key));
        }
    }
    trie.add(Slot::Tail(at), member);
    true
}

fn key(wanted: &Wanted) -> Key {
    match wanted {
        Wanted::Register(_) | Wanted::Any => Key::Any,
        Wanted::Scalar(value) => Key::Scalar(value.clone()),
        Wanted::Array(elements) => Key::Array(elements.clone()),
        Wanted::Start(text) => Key::Start(text.clone()),
    }
}

fn is_scalar(value: &Value) -> bool {
    value.depth() == 0
}

/// Every combination of what always holds and one alternative of each `or`.
fn ways(scope: &Scope) -> Ways {
    let mut paths: Ways = vec![scope.demands.clone()];
    for choice in &scope.choices {
        if paths.len() * choice.len() > MOST_PATHS {
            return vec![scope.demands.clone()];
        }
        paths = paths
            .iter()
            .flat_map(|path| choice.iter().map(move |alt| path.iter().chain(alt).cloned().collect()))
            .collect();
    }
    paths
}

/// Whether a body prints: such a rule is not left out.
fn prints(block: &[Op]) -> bool {
    block.iter().any(|op| match op {
        Op::Builtin { builtin, .. } => builtin.name == "internal.print",
        Op::Not(block) | Op::Every { block, .. } => prints(block),
        Op::Logical { left, right, .. } => prints(left) || prints(right),
        _ => false,
    })
}

impl Collector<'_> {
    fn body(&mut self, block: &[Op], scope: &mut Scope, constants: &mut Map<u32, Value>) {
        let mut under_with = 0;
        for op in block {
            match op {
                Op::With(_) => under_with += 1,
                Op::EndWith => under_with -= 1,
                _ if under_with > 0 => {}
                op => self.operation(op, scope, constants),
            }
        }
    }

    fn operation(&mut self, op: &Op, scope: &mut Scope, constants: &mut Map<u32, Value>) {
        match op {
            Op::Ref(path, Out::Test) => {
                if let Some(source) = self.document(path, path.steps.len()) {
                    self.demand(scope, source, Wanted::Any, None);
                }
            }
            Op::Ref(path, Out::Unify(arg)) => self.equal(path, arg, scope, constants),
            Op::Unify(a, b) if !self.variable(a, b, scope, constants) => {
                self.variable(b, a, scope, constants);
            }
            Op::Builtin { builtin, prepared, args, out: Out::Test, .. } => match (builtin.name, &**args) {
                ("glob.match", [pattern, delimiters, text]) => {
                    let before = scope.demands.len();
                    self.glob(pattern, delimiters, text, scope);
                    if let (Some(Prepared::Glob(glob)), true) =
                        (prepared.as_deref(), scope.demands.len() == before)
                    {
                        self.start(text, glob.prefix(), scope);
                    }
                }
                ("startswith", [text, Arg::Const(Value::String(start))]) => {
                    self.start(text, Some(start.as_bytes()), scope);
                }
                ("regex.match", [_, text]) => {
                    if let Some(Prepared::Regex(regex, _)) = prepared.as_deref() {
                        self.start(text, regex.prefix(), scope);
                    }
                }
                ("internal.member_2", [element, collection]) => {
                    self.member(element, collection, scope, constants);
                }
                _ => {}
            },
            Op::Logical { or, left, right } => self.logical(*or, left, right, scope, constants),
            _ => {}
        }
    }

    /// The document of a reference's first steps, if it is base data or input.
    fn document(&mut self, path: &Path, steps: usize) -> Option<usize> {
        let steps = path.steps.get(..steps)?;
        let keys: Option<Box<[Value]>> = steps
            .iter()
            .map(|step| match step {
                Arg::Const(value) => Some(value.clone()),
                _ => None,
            })
            .collect();
        let source = match path.at {
            DataAt::Input => Source::Input(keys?),
            DataAt::Base => Source::Data(keys?),
            _ => return None,
        };
        Some(self.documents.number(source, Some(path.pos)))
    }

    fn demand(&mut self, scope: &mut Scope, source: usize, key: Wanted, glob: Option<Glob>) {
        if self.scratch == 0 {
            self.documents.count(source);
        }
        for other in &mut scope.demands {
            if other.source == source {
                if other.key == key {
                    return;
                }
                if !key.is_open() && other.key.is_open() {
                    *other = Demand { source, key, glob };
                    return;
                }
            }
        }
        let long = matches!(&key, Wanted::Array(elements) if elements.len() > MOST_DEMANDS);
        if scope.demands.len() < MOST_DEMANDS {
            scope.demands.push(if long {
                Demand { source, key: Wanted::Any, glob: None }
            } else {
                Demand { source, key, glob }
            });
        }
    }

    /// `reference = term`.
    fn equal(&mut self, path: &Path, arg: &Arg, scope: &mut Scope, constants: &mut Map<u32, Value>) {
        if path.left_of_another {
            return;
        }
        // A last step that iterates: the collection before it has the value.
        let open = path.steps.iter().position(|s| !matches!(s, Arg::Const(_)));
        if open.is_some_and(|at| at + 1 == path.steps.len() && !path.steps.is_empty()) {
            let value = match arg {
                Arg::Reg(register) => constants.get(register).cloned(),
                Arg::Const(value) => Some(value.clone()),
                _ => None,
            };
            if let Some(value) = value.filter(is_scalar)
                && let Some(source) = self.document(path, path.steps.len() - 1)
            {
                self.demand(scope, source, Wanted::Scalar(value), None);
            }
            return;
        }
        let wanted = match arg {
            Arg::Reg(register) => match constants.get(register) {
                Some(value) => constant(value),
                None => Wanted::Register(*register),
            },
            arg => match pattern(arg) {
                Some(wanted) => wanted,
                None => return,
            },
        };
        if let Some(source) = self.document(path, path.steps.len()) {
            self.demand(scope, source, wanted, None);
        }
    }

    /// `variable = term`. Whether it was a demand.
    fn variable(&mut self, a: &Arg, b: &Arg, scope: &mut Scope, constants: &mut Map<u32, Value>) -> bool {
        let Arg::Reg(register) = a else { return false };
        if let Arg::Const(value) = b {
            constants.insert(*register, value.clone());
        }
        let Some(wanted) = pattern(b) else { return false };
        let Some(source) = self.resolve(*register, scope) else { return false };
        self.demand(scope, source, wanted, None);
        true
    }

    /// The document that a register holds.
    fn resolve(&mut self, register: u32, scope: &Scope) -> Option<usize> {
        let mut demands = scope.demands.iter().chain(&scope.outer);
        if let Some(demand) = demands.find(|d| d.key == Wanted::Register(register)) {
            return Some(demand.source);
        }
        let at = self.rule.args.iter().position(|arg| matches!(arg, Arg::Reg(r) if *r == register))?;
        Some(self.documents.number(Source::Argument(at as u32), None))
    }

    fn member(
        &mut self,
        element: &Arg,
        collection: &Arg,
        scope: &mut Scope,
        constants: &mut Map<u32, Value>,
    ) {
        if let Arg::Reg(register) = element
            && let Some(source) = self.resolve(*register, scope)
        {
            let collection = match collection {
                Arg::Reg(register) => constants.get(register).cloned(),
                Arg::Const(value) => Some(value.clone()),
                _ => None,
            };
            match collection {
                Some(Value::Array(array)) => {
                    array.iter().for_each(|v| self.demand(scope, source, constant(v), None));
                }
                Some(Value::Set(set)) => {
                    set.iter().for_each(|v| self.demand(scope, source, constant(v), None));
                }
                Some(Value::Object(object)) => {
                    object.values().for_each(|v| self.demand(scope, source, constant(v), None));
                }
                _ => {}
            }
            return;
        }
        let wanted = match element {
            Arg::Reg(register) => match constants.get(register) {
                // A composite element is looked for as a value, which the levels cannot: defined is all that is asked.
                Some(value) if is_scalar(value) => Wanted::Scalar(value.clone()),
                Some(_) => Wanted::Any,
                None => Wanted::Register(u32::MAX),
            },
            Arg::Const(value) if is_scalar(value) => Wanted::Scalar(value.clone()),
            _ => return,
        };
        let wanted = if wanted == Wanted::Register(u32::MAX) { Wanted::Any } else { wanted };
        let Arg::Reg(register) = collection else { return };
        if let Some(source) = self.resolve(*register, scope) {
            self.demand(scope, source, wanted, None);
        }
    }

    fn glob(&mut self, pattern: &Arg, delimiters: &Arg, text: &Arg, scope: &mut Scope) {
        let (Arg::Const(Value::String(pattern)), Arg::Const(Value::Array(delimiters)), Arg::Reg(register)) =
            (pattern, delimiters, text)
        else {
            return;
        };
        let mut set = Vec::new();
        if delimiters.is_empty() {
            set.push(b'.');
        }
        for delimiter in delimiters.iter() {
            match delimiter.as_bytes() {
                Some(bytes) if bytes.is_ascii() => set.extend(bytes),
                _ => return,
            }
        }
        let glob = Glob(set.into());
        let pattern = pattern.as_bytes();
        if pattern.contains(&b'\\') {
            return;
        }
        let mut elements = Vec::new();
        for part in glob.split(pattern) {
            if part == b"*" {
                elements.push(None);
            } else if part.iter().any(|b| matches!(b, b'[' | b'?' | b'{' | b'*')) {
                return;
            } else {
                elements.push(Some(Value::from(part)));
            }
        }
        if let Some(source) = self.resolve(*register, scope) {
            self.demand(scope, source, Wanted::Array(elements), Some(glob));
        }
    }

    /// A register's text begins with this.
    fn start(&mut self, text: &Arg, start: Option<&[u8]>, scope: &mut Scope) {
        let (true, Arg::Reg(register), Some(start)) = (self.pure, text, start) else { return };
        if start.is_empty() {
            return;
        }
        let Some(document) = self.resolve(*register, scope) else { return };
        let Some(source) = self.documents.list.get(document).map(|d| (d.source.clone(), d.pos)) else {
            return;
        };
        let number = self.documents.number(Source::Start(Box::new(source.0)), source.1);
        if !scope.demands.iter().any(|d| d.source == number) {
            self.demand(scope, number, Wanted::Start(start.into()), None);
        }
    }

    // --- `and`, `or` ---

    fn logical(
        &mut self,
        or: bool,
        left: &[Op],
        right: &[Op],
        scope: &mut Scope,
        constants: &Map<u32, Value>,
    ) {
        let left = self.operand(left, scope, constants);
        if or && left.is_empty() {
            return;
        }
        let right = self.operand(right, scope, constants);
        if or {
            if !right.is_empty() {
                self.require(scope, left.into_iter().chain(right).collect());
            }
        } else {
            self.require(scope, left);
            self.require(scope, right);
        }
    }

    /// The ways in which an operand can hold; none: nothing is known of it.
    fn operand(&mut self, block: &[Op], scope: &Scope, constants: &Map<u32, Value>) -> Ways {
        let outer = scope.demands.iter().chain(&scope.outer).cloned().collect();
        let mut inner = Scope { outer, ..Scope::default() };
        self.scratch += 1;
        self.body(block, &mut inner, &mut constants.clone());
        self.scratch -= 1;
        let mut ways = ways(&inner);
        if ways.iter().all(Vec::is_empty) {
            return Ways::new();
        }
        for demand in ways.iter_mut().flatten() {
            // What is bound inside means nothing outside.
            if demand.key.is_open() {
                demand.key = Wanted::Any;
            }
        }
        ways
    }

    fn require(&mut self, scope: &mut Scope, mut ways: Ways) {
        match ways.len() {
            0 => {}
            1 => {
                for demand in ways.pop().into_iter().flatten() {
                    self.demand(scope, demand.source, demand.key, demand.glob);
                }
            }
            _ => {
                if self.scratch == 0 {
                    ways.iter().flatten().for_each(|d| self.documents.count(d.source));
                }
                scope.choices.push(ways);
            }
        }
    }
}

/// A constant as a demand: an array by its elements, other composites only as defined.
fn constant(value: &Value) -> Wanted {
    match value {
        Value::Array(array) => Wanted::Array(array.iter().map(|v| is_scalar(v).then(|| v.clone())).collect()),
        Value::Object(_) | Value::Set(_) => Wanted::Any,
        scalar => Wanted::Scalar(scalar.clone()),
    }
}

/// A term as a demand: scalars, variables, and arrays of these.
fn pattern(arg: &Arg) -> Option<Wanted> {
    match arg {
        Arg::Const(Value::Array(array)) => {
            let flat = array.iter().all(is_scalar);
            flat.then(|| Wanted::Array(array.iter().cloned().map(Some).collect()))
        }
        Arg::Const(value) => is_scalar(value).then(|| Wanted::Scalar(value.clone())),
        Arg::Reg(register) => Some(Wanted::Register(*register)),
        Arg::Array(items) => {
            let elements: Option<Vec<Option<Value>>> = items
                .iter()
                .map(|item| match item {
                    Arg::Const(value) if is_scalar(value) => Some(Some(value.clone())),
                    Arg::Reg(_) => Some(None),
                    _ => None,
                })
                .collect();
            elements.map(Wanted::Array)
        }
        _ => None,
    }
}
