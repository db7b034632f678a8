//! This side: what our own evaluator answers, in the words of the oracle.

use portcullis_rego::builtins::{self, Budget, Call, Fault, PatternCache};
use portcullis_rego::value::Value;

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

/// What a builtin function answers here.
pub fn call(name: &str, args: &[Arg], patterns: &mut PatternCache, now_ns: i64) -> Outcome {
    let args: Vec<Value> = args.iter().map(Arg::value).collect();
    let mut budget = Budget::new(50_000_000, 200_000_000);
    let runtime = Value::Null;
    let mut context =
        Call { budget: &mut budget, now_ns, seed: [1, 2], runtime: &runtime, patterns, printed: None };
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
pub struct Loaded(portcullis_rego::Policy);

/// Loads modules and base data.
pub fn load(modules: &[(String, String)], v0: bool, data: &str) -> Result<Loaded, Refusal> {
    use portcullis_rego::{Compiler, Options, Version};
    let mut compiler = Compiler::new(Options::default());
    for (name, text) in modules {
        compiler.module(name, text, if v0 { Version::V0 } else { Version::V1 });
    }
    compiler.data(
        Value::from_json(data.as_bytes(), &mut Budget::unlimited())
            .map_err(|e| Refusal::Error(format!("{e:?}")))?,
    );
    compiler.finish().map(Loaded).map_err(|errors| {
        let text = errors.to_string();
        if text.contains("is not available here") { Refusal::ByName(text) } else { Refusal::Error(text) }
    })
}

impl Loaded {
    pub fn value(&self, query: &str, input: Option<&str>, _indexed: bool) -> Result<Option<Value>, String> {
        use portcullis_rego::{Error, Limits, Outside};
        let entry = self.0.query(query).map_err(|e| format!("query {e}"))?;
        let input = match input {
            Some(text) => Some(self.input(text)?),
            None => None,
        };
        match self.0.evaluate(&entry, input, &Limits::default(), &Outside::default()) {
            Ok(value) => Ok(value),
            Err(Error::Conflict(_)) => Err("eval_conflict_error".into()),
            Err(Error::Limit(limit)) => Err(format!("limit {limit:?}")),
            Err(Error::Halt(why)) => Err(why.split(':').next().unwrap_or_default().into()),
        }
    }

    /// JSON, or a term of Rego.
    fn input(&self, text: &str) -> Result<Value, String> {
        use portcullis_rego::{Limits, Outside};
        if let Ok(value) = Value::from_json(text.as_bytes(), &mut Budget::unlimited()) {
            return Ok(value);
        }
        let entry = self.0.query(text).map_err(|e| format!("input {e}"))?;
        let value = self.0.evaluate(&entry, None, &Limits::default(), &Outside::default());
        value.map_err(|e| e.to_string())?.ok_or_else(|| "input undefined".into())
    }

    pub fn evaluate(&self, query: &str, input: Option<&str>, indexed: bool) -> Outcome {
        match self.value(query, input, indexed) {
            Ok(Some(value)) => Outcome::Value(text_of(&value)),
            Ok(None) => Outcome::Undefined,
            Err(code) => Outcome::Error(code),
        }
    }

    /// An evaluation with next to nothing to spend: it must end, in whatever way.
    pub fn starve(&self, query: &str, _input: Option<&str>, steps: u64) {
        use portcullis_rego::{Limits, Outside};
        let Ok(entry) = self.0.query(query) else { return };
        let limits = Limits { steps, ..Limits::default() };
        let _ = self.0.evaluate(&entry, None, &limits, &Outside::default());
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
