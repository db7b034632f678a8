//! This side: what our own evaluator answers, in the words of the oracle.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering};

use portcullis_rego::builtins::{self, Budget, Call, Fault, Kept};

use portcullis_rego::{Compiler, Entry, Error, Limits, Options, Outside, Policy, Reads, Value, Version};

use super::arguments::Arg;
use super::oracle::CaseAnswer;

/// How an evaluation ended, on either side.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Value(String),
    Undefined,
    /// OPA's error code, or the bound that was met.
    Error(String),
    /// A fault of OPA's own: it panicked, crashed or never came to an end.
    Broken,
}

impl Outcome {
    pub fn of(answer: &CaseAnswer) -> Outcome {
        if answer.timeout || answer.crash || !answer.panic.is_empty() {
            Outcome::Broken
        } else if !answer.error.is_empty() {
            Outcome::Error(answer.error.clone())
        } else if answer.undefined {
            Outcome::Undefined
        } else if let Some(value) = &answer.value {
            Outcome::Value(value.clone())
        } else {
            Outcome::Value(answer.values.join("; "))
        }
    }

    /// The kind of outcome, without the value.
    pub fn class(&self) -> &str {
        match self {
            Outcome::Value(_) => "value",
            Outcome::Undefined => "undefined",
            Outcome::Error(code) => code,
            Outcome::Broken => "broken",
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Value(text) => f.write_str(text),
            Outcome::Undefined => f.write_str("undefined"),
            Outcome::Error(code) => write!(f, "error {code}"),
            Outcome::Broken => f.write_str("OPA itself fails"),
        }
    }
}

/// The lossless text of a value, as the oracle writes it.
pub fn text_of(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

fn write(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => out.push_str(&n.to_text()),
        Value::String(s) => out.push_str(&quote(s.as_bytes())),
        Value::Array(a) => list(out, "[", a.iter(), "]"),
        Value::Set(s) if s.is_empty() => out.push_str("set()"),
        Value::Set(s) => list(out, "{", s.iter(), "}"),
        Value::Object(o) => {
            out.push('{');
            for (i, (k, v)) in o.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write(out, k);
                out.push_str(": ");
                write(out, v);
            }
            out.push('}');
        }
    }
}

fn list<'a>(out: &mut String, open: &str, items: impl Iterator<Item = &'a Value>, close: &str) {
    out.push_str(open);
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        write(out, item);
    }
    out.push_str(close);
}

/// A string in quotes; a byte that is not UTF-8 is `\xHH`.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\0'..='\x1f' | '\x7f' => out.push_str(&format!("\\u{:04x}", c as u32)),
                _ => out.push(c),
            }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out.push('"');
    out
}

/// The time of evaluations here: that of the oracle's, unless it is set.
pub static NOW: AtomicI64 = AtomicI64::new(super::policies::NOW_NS);

/// What a builtin function answers here.
pub fn call(name: &str, args: &[Arg], kept: &mut Kept, now_ns: i64) -> Outcome {
    let args: Vec<Value> = args.iter().map(Arg::value).collect();
    let mut budget = Budget::new(50_000_000, 200_000_000);
    let runtime = Value::Null;
    let mut context = Call {
        budget: &mut budget,
        now_ns,
        seed: [1, 2],
        runtime: &runtime,
        patterns: &mut kept.patterns,
        keys: &mut kept.keys,
        printed: None,
    };
    match builtins::call(name, &args, &mut context) {
        Ok(value) => Outcome::Value(text_of(&value)),
        Err(Fault::Undefined(_)) => Outcome::Undefined,
        Err(Fault::Limit(limit)) => Outcome::Error(format!("limit {limit:?}")),
        Err(Fault::Halt(why)) => Outcome::Error(format!("halt {why}")),
    }
}

/// Why a policy does not load here.
#[derive(Debug)]
pub enum Refusal {
    /// It needs a function that is not here.
    ByName(String),
    Error(String),
}

/// A policy that loaded.
pub struct Loaded {
    policy: Policy,
    /// The same without an index, where it is asked for.
    scan: Option<Box<Loaded>>,
    entries: RefCell<HashMap<String, Rc<Entry>>>,
}

fn read(json: &str) -> Value {
    Value::from_json(json.as_bytes(), &mut Budget::unlimited()).unwrap_or_else(|e| panic!("{json}: {e}"))
}

/// Loads modules and base data; `twice` also without an index.
pub fn load(modules: &[(String, String)], v0: bool, data: &str, twice: bool) -> Result<Loaded, Refusal> {
    let mut loaded = compile(modules, v0, data, false)?;
    if twice {
        loaded.scan = compile(modules, v0, data, true).ok().map(Box::new);
    }
    Ok(loaded)
}

fn compile(modules: &[(String, String)], v0: bool, data: &str, scan: bool) -> Result<Loaded, Refusal> {
    let mut compiler = Compiler::new(Options { print: true, scan, ..Options::default() });
    for (name, text) in modules {
        compiler.module(name, text, if v0 { Version::V0 } else { Version::V1 });
    }
    compiler.data(read(data));
    match compiler.finish() {
        Ok(policy) => Ok(Loaded { policy, scan: None, entries: RefCell::default() }),
        Err(errors) => {
            let text = errors.to_string();
            Err(if text.contains("not available") { Refusal::ByName(text) } else { Refusal::Error(text) })
        }
    }
}

impl Loaded {
    pub fn value(&self, query: &str, input: Option<&str>) -> Result<Option<Value>, String> {
        self.under(query, input, &Limits::default())
    }

    fn entry(&self, query: &str) -> Result<Rc<Entry>, String> {
        if let Some(entry) = self.entries.borrow().get(query) {
            return Ok(entry.clone());
        }
        let entry = Rc::new(self.policy.query(query).map_err(|e| format!("query {e}"))?);
        self.entries.borrow_mut().insert(query.to_string(), entry.clone());
        Ok(entry)
    }

    fn under(&self, query: &str, input: Option<&str>, limits: &Limits) -> Result<Option<Value>, String> {
        self.asked(query, input.map(read), limits)
    }

    fn asked(&self, query: &str, input: Option<Value>, limits: &Limits) -> Result<Option<Value>, String> {
        let outside = Outside { now_ns: NOW.load(Ordering::Relaxed), ..Outside::default() };
        let entry = self.entry(query)?;
        self.policy.evaluate(&entry, input, limits, &outside).map_err(|e| match e {
            Error::Conflict(_) => "eval_conflict_error".to_string(),
            Error::Limit(limit) => format!("limit {limit:?}"),
            // Where OPA's own compiler lets a variable through that nothing binds, both end so.
            Error::Halt(why) if why.starts_with("eval_internal_error") => "eval_internal_error".to_string(),
            Error::Halt(why) => format!("halt {why}"),
        })
    }

    /// The same with an input that has nothing but what the query reads.
    pub fn with_what_it_reads(&self, query: &str, input: Option<&str>) -> Option<Outcome> {
        let entry = self.entry(query).ok()?;
        let reads = self.policy.reads(&entry);
        let input =
            keep(&read(input?), &mut Vec::new(), &reads).unwrap_or_else(|| Value::object(vec![]).unwrap());
        Some(outcome(self.asked(query, Some(input), &Limits::default())))
    }

    pub fn evaluate(&self, query: &str, input: Option<&str>) -> Outcome {
        outcome(self.value(query, input))
    }

    /// The same without looking rules up, where that can be switched off.
    pub fn scanned(&self, query: &str, input: Option<&str>) -> Option<Outcome> {
        Some(self.scan.as_ref()?.evaluate(query, input))
    }

    /// An evaluation with next to nothing to spend: it must end, in whatever way.
    pub fn starve(&self, query: &str, input: Option<&str>, steps: u64) {
        let _ = self.under(query, input, &Limits { steps, ..Limits::default() });
        let _ = self.under(query, input, &Limits { bytes: steps * 8, ..Limits::default() });
        let _ = self.under(query, input, &Limits { depth: (steps % 8) as u32, ..Limits::default() });
    }
}

fn outcome(answer: Result<Option<Value>, String>) -> Outcome {
    match answer {
        Ok(Some(value)) => Outcome::Value(text_of(&value)),
        Ok(None) => Outcome::Undefined,
        Err(code) => Outcome::Error(code),
    }
}

/// What is left of a document where all is taken away that nobody reads. What is only looked for becomes null, or an object
/// of what is read below it.
fn keep(value: &Value, path: &mut Vec<Value>, reads: &Reads) -> Option<Value> {
    let is_read = reads.input.iter().any(|read| path.starts_with(read));
    let is_way =
        reads.input.iter().chain(reads.present.iter().map(Vec::as_slice)).any(|read| read.starts_with(path));
    match value {
        _ if is_read => Some(value.clone()),
        _ if !is_way => None,
        // Its indexes must stay what they are.
        Value::Array(_) => Some(value.clone()),
        Value::Object(object) => {
            let mut pairs = Vec::new();
            for (key, value) in object.iter() {
                path.push(key.clone());
                if let Some(value) = keep(value, path, reads) {
                    pairs.push((key.clone(), value));
                }
                path.pop();
            }
            Some(Value::object(pairs).unwrap())
        }
        _ => reads.present.contains(path).then_some(Value::Null),
    }
}

/// Whether two JSON texts say the same, numbers by what they are worth; `sort` takes arrays on the first level as sets.
pub fn same_json(a: &str, b: &str, sort: bool) -> bool {
    let read = |text: &str| {
        let value = Value::from_json(text.as_bytes(), &mut Budget::unlimited()).ok()?;
        match (&value, sort) {
            (Value::Array(items), true) => {
                let mut items = items.items().to_vec();
                items.sort();
                Value::array(items).ok()
            }
            _ => Some(value),
        }
    };
    match (read(a), read(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}
