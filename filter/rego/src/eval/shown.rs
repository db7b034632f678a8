//! Operations as people read them: what a failing one is about, and the values of that.

use super::machine::Machine;
use super::references::base_get;
use super::watch::{Watch, path_of};
use crate::plan::{Arg, DataAt, Op, Out, Path, Plan, RulePlan};
use crate::value::Value;

/// Terms within one another that are written out.
const MOST_DEPTH: usize = 8;

/// What an expression is about, as written, and its value; None: undefined.
pub(crate) type Values = Vec<(String, Option<Value>)>;

/// The operations of a rule, to find what a register holds.
struct Shower<'a> {
    plan: &'a Plan,
    rule: &'a RulePlan,
    block: &'a [Op],
}

impl<'p, W: Watch> Machine<'p, W> {
    /// Adds what an operation is about; `fails`: it is the one that failed.
    pub(crate) fn values_of(&self, op: &Op, rule: &RulePlan, block: &[Op], fails: bool, values: &mut Values) {
        let shower = Shower { plan: self.plan, rule, block };
        match op {
            Op::Ref(path, out) => {
                let bound = match out {
                    Out::Unify(Arg::Reg(register)) if !fails => self.register(*register).cloned(),
                    _ => None,
                };
                if let Some(value) = bound.map(Some).or_else(|| self.found_at(path)) {
                    add(values, shower.path(path, 0), value);
                }
                path.steps.iter().for_each(|step| self.named(step, &shower, values));
            }
            Op::Builtin { args, out, .. } | Op::Call { args, out, .. } => {
                args.iter().for_each(|arg| self.named(arg, &shower, values));
                if let (Out::Unify(Arg::Reg(register)), false) = (out, fails)
                    && let Some(value) = self.register(*register)
                {
                    add(values, shower.register(*register, 0), Some(value.clone()));
                }
            }
            Op::Unify(a, b) => {
                self.named(a, &shower, values);
                self.named(b, &shower, values);
            }
            Op::Test(arg) | Op::Walk(arg, _) => self.named(arg, &shower, values),
            Op::Every { domain, .. } => self.named(domain, &shower, values),
            Op::Not(inner) => {
                inner.iter().for_each(|op| self.values_of(op, rule, block, fails, values));
            }
            Op::Compr(..) | Op::Logical { .. } | Op::With(_) | Op::EndWith | Op::Place(_) => {}
        }
    }

    /// The variables in a term that have a name and a value.
    fn named(&self, arg: &Arg, shower: &Shower<'_>, values: &mut Values) {
        match arg {
            Arg::Const(_) => {}
            Arg::Reg(register) => {
                if let (Some(name), Some(value)) = (shower.name(*register), self.register(*register)) {
                    add(values, name.to_owned(), Some(value.clone()));
                }
            }
            Arg::Array(items) | Arg::Set(items) => {
                items.iter().for_each(|item| self.named(item, shower, values));
            }
            Arg::Object(pairs) => pairs.iter().for_each(|(key, value)| {
                self.named(key, shower, values);
                self.named(value, shower, values);
            }),
        }
    }

    /// What a reference leads to. None: that is not known; None within: it is undefined.
    fn found_at(&self, path: &Path) -> Option<Option<Value>> {
        let context = &self.frames.last()?.context;
        let (start, done, base) = match path.at {
            DataAt::Input => (context.input.clone(), 0, false),
            DataAt::Local(register) => (Some(self.register(register)?.clone()), 0, false),
            DataAt::Base if context.replaced.is_none() => (Some(self.data.clone()), 0, true),
            DataAt::Rules(node) if context.replaced.is_none() => {
                let known = context.caches.borrow().whole.get(node).cloned()?;
                (known, path.done as usize, false)
            }
            _ => return None,
        };
        let Some(mut value) = start else { return Some(None) };
        for step in path.steps.iter().skip(done) {
            let key = self.plain(step)?;
            let found = if base { base_get(&value, key) } else { value.get(key) };
            match found.cloned() {
                Some(found) => value = found,
                None => return Some(None),
            }
        }
        Some(Some(value))
    }
}

impl Shower<'_> {
    fn name(&self, register: u32) -> Option<&str> {
        self.rule.names.get(register as usize).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// A variable by its name, or what it was computed by.
    fn register(&self, register: u32, depth: usize) -> String {
        if let Some(name) = self.name(register) {
            return name.to_owned();
        }
        if depth > MOST_DEPTH {
            return "…".to_owned();
        }
        let is = |arg: &Arg| matches!(arg, Arg::Reg(r) if *r == register);
        let found = self.block.iter().chain(&*self.rule.block).find_map(|op| match op {
            Op::Ref(path, Out::Unify(out)) if is(out) => Some(self.path(path, depth + 1)),
            Op::Builtin { builtin, args, out: Out::Unify(out), .. } if is(out) => {
                Some(self.call(builtin.name, args, depth + 1))
            }
            Op::Call { args, out: Out::Unify(out), node } if is(out) => {
                let path = path_of(self.plan, *node);
                let name = path.rsplit_once('.').map_or(path.as_str(), |(_, name)| name);
                Some(self.call(name, args, depth + 1))
            }
            Op::Unify(a, b) if is(a) => Some(self.arg(b, depth + 1)),
            Op::Unify(a, b) if is(b) => Some(self.arg(a, depth + 1)),
            _ => None,
        });
        found.unwrap_or_else(|| "_".to_owned())
    }

    fn arg(&self, arg: &Arg, depth: usize) -> String {
        if depth > MOST_DEPTH {
            return "…".to_owned();
        }
        let list =
            |items: &[Arg]| items.iter().map(|item| self.arg(item, depth + 1)).collect::<Vec<_>>().join(", ");
        match arg {
            Arg::Const(value) => value.to_rego(),
            Arg::Reg(register) => self.register(*register, depth),
            Arg::Array(items) => format!("[{}]", list(items)),
            Arg::Set(items) => format!("{{{}}}", list(items)),
            Arg::Object(pairs) => {
                let pairs = pairs.iter().map(|(key, value)| {
                    format!("{}: {}", self.arg(key, depth + 1), self.arg(value, depth + 1))
                });
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn call(&self, name: &str, args: &[Arg], depth: usize) -> String {
        let args: Vec<String> = args.iter().map(|arg| self.arg(arg, depth)).collect();
        match (infix(name), args.as_slice()) {
            (Some(operator), [a, b]) => format!("{a} {operator} {b}"),
            _ => format!("{name}({})", args.join(", ")),
        }
    }

    /// A reference, without what it has in common with the rule's own package.
    fn path(&self, path: &Path, depth: usize) -> String {
        let own: Vec<&Arg> = self.rule.path.iter().take(self.rule.path.len().saturating_sub(1)).collect();
        let mut steps = path.steps.iter();
        let mut out = match path.at {
            DataAt::Input => "input".to_owned(),
            DataAt::Local(register) => self.register(register, depth),
            DataAt::Rules(_) if is_below(&path.steps, &own) => {
                let mut steps_of_package = own.len();
                while steps_of_package > 0 {
                    steps.next();
                    steps_of_package -= 1;
                }
                match steps.next() {
                    Some(Arg::Const(name)) => name
                        .as_bytes()
                        .map_or_else(String::new, |name| String::from_utf8_lossy(name).into_owned()),
                    _ => "data".to_owned(),
                }
            }
            _ => "data".to_owned(),
        };
        for key in steps {
            match key {
                Arg::Const(key) => step(key, &mut out),
                key => out.push_str(&format!("[{}]", self.arg(key, depth + 1))),
            }
        }
        out
    }
}

fn is_below(steps: &[Arg], package: &[&Arg]) -> bool {
    let same = |(step, own): (&Arg, &&Arg)| match (step, own) {
        (Arg::Const(a), Arg::Const(b)) => a == b,
        _ => false,
    };
    steps.len() > package.len() && steps.iter().zip(package).all(same)
}

/// One more step of a reference.
pub(crate) fn step(key: &Value, out: &mut String) {
    match key.as_bytes().and_then(|name| std::str::from_utf8(name).ok()) {
        Some(name) if is_name(name) => {
            out.push('.');
            out.push_str(name);
        }
        _ => out.push_str(&format!("[{}]", key.to_rego())),
    }
}

fn is_name(text: &str) -> bool {
    let is_first = text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    is_first && text.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

fn add(values: &mut Values, text: String, value: Option<Value>) {
    if !values.iter().any(|(known, _)| *known == text) {
        values.push((text, value));
    }
}

fn infix(name: &str) -> Option<&'static str> {
    Some(match name {
        "plus" => "+",
        "minus" => "-",
        "mul" => "*",
        "div" => "/",
        "rem" => "%",
        "and" => "&",
        "or" => "|",
        "eq" | "equal" => "==",
        "neq" => "!=",
        "lt" => "<",
        "lte" => "<=",
        "gt" => ">",
        "gte" => ">=",
        "internal.member_2" => "in",
        _ => return None,
    })
}
