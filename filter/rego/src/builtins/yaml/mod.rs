//! YAML 1.1 as `sigs.k8s.io/yaml` reads and writes it: through JSON.
//!
//! Source: `v1/topdown/encoding.go`, sigs.k8s.io/yaml 1.6, go.yaml.in/yaml/v2 (decode.go, resolve.go).

mod emit;
mod fields;
mod parse;
mod scan;

use super::json::writable;
use super::operands::{all, bytes, text};
use super::{Budget, Builtin, Call, Fault, Kept, Limit, Type};
use crate::builtins::encoding::from_base64;
use crate::builtins::time::layout;
use crate::value::{Number, Value, lossy, shortest as shortest_text};
pub(crate) use fields::{Field, fields};
use parse::{INVALID, MOST_NESTED, Node, Tree};

const SOURCE: &str = "v1/topdown/encoding.go";

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("yaml.is_valid", &[Type::String], Type::Boolean, is_valid, SOURCE),
    Builtin::new("yaml.marshal", &[Type::Any], Type::String, marshal, SOURCE),
    Builtin::new("yaml.unmarshal", &[Type::String], Type::Any, unmarshal, SOURCE),
];

/// A value as Go holds it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decoded {
    Null,
    Bool(bool),
    Int(i64),
    /// Beyond `i64`.
    Large(u64),
    Float(f64),
    Text(Vec<u8>),
    Sequence(Vec<Decoded>),
    /// Keys and values, in the order in which they were first set.
    Mapping(Vec<(Decoded, Decoded)>),
}

fn unmarshal(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    read(call, bytes(value)?)
}

/// The value that YAML text says.
fn read(call: &mut Call<'_>, text: &[u8]) -> Result<Value, Fault> {
    let decoded = decode(call, text, &mut 0)?;
    to_value(call, decoded)
}

/// Why text is no YAML value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum YamlError {
    /// Not YAML, or nothing that JSON could say; read up to this line, from 1.
    Syntax {
        /// The line.
        line: usize,
    },
    /// More than the budget or the depth allows.
    Limit(Limit),
}

impl std::fmt::Display for YamlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            YamlError::Syntax { line } => write!(f, "not YAML that JSON could say, at line {line}"),
            YamlError::Limit(limit) => write!(f, "YAML beyond the limit of {limit}"),
        }
    }
}

impl std::error::Error for YamlError {}

impl Value {
    /// Reads the first document of YAML 1.1 text, as `yaml.unmarshal` does.
    pub fn from_yaml(text: &[u8], budget: &mut Budget) -> Result<Value, YamlError> {
        let mut kept = Kept::default();
        let mut call = Call::beside(budget, &mut kept);
        let mut line = 1;
        let decoded = decode(&mut call, text, &mut line);
        decoded.and_then(|decoded| to_value(&mut call, decoded)).map_err(|fault| match fault {
            Fault::Limit(limit) => YamlError::Limit(limit),
            _ => YamlError::Syntax { line },
        })
    }
}

fn is_valid(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let Ok(text) = bytes(value) else { return Ok(Value::Bool(false)) };
    match read(call, text) {
        Ok(_) => Ok(Value::Bool(true)),
        Err(Fault::Undefined(_)) => Ok(Value::Bool(false)),
        Err(fault) => Err(fault),
    }
}

/// By way of JSON that is read as YAML, as there: a key of more than 1,024 characters is none, U+0085 in a
/// string is a line end, numbers are those of YAML.
fn marshal(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    writable(call, value)?;
    let mut json = Vec::new();
    value.write_json(&mut json, call.budget)?;
    let decoded = decode(call, &json, &mut 0)?;
    text(emit::emit(call, &decoded)?)
}

fn decode(call: &mut Call<'_>, text: &[u8], line: &mut usize) -> Result<Decoded, Fault> {
    let tree = parse::parse(call, text, line)?;
    let Some(root) = tree.root else { return Ok(Decoded::Null) };
    let mut decoder = Decoder { call, tree: &tree, open: Vec::new(), decoded: 1, aliased: 0, v3: None };
    decoder.node(root, 1)
}

struct Decoder<'c, 'b, 't> {
    call: &'c mut Call<'b>,
    tree: &'t Tree,
    /// Aliases that are being followed.
    open: Vec<usize>,
    decoded: u64,
    aliased: u64,
    /// As version 3 reads: `yes` and `no` are words, no key stands twice. Whether there was what is not read here.
    v3: Option<bool>,
}

impl<'t> Decoder<'_, '_, 't> {
    fn get(&self, at: usize) -> Result<&'t Node, Fault> {
        self.tree.nodes.get(at).ok_or(INVALID)
    }

    /// Counts a node; too many that come from aliases are refused.
    fn count(&mut self) -> Result<(), Fault> {
        const LOW: f64 = 400_000.0;
        const HIGH: f64 = 4_000_000.0;
        self.call.step(1)?;
        self.decoded += 1;
        self.aliased += u64::from(!self.open.is_empty());
        let decoded = self.decoded as f64;
        let allowed = 0.99 - 0.89 * ((decoded - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
        if self.aliased > 100 && self.decoded > 1_000 && self.aliased as f64 / decoded > allowed {
            return Err(Fault::undefined("too many aliases"));
        }
        Ok(())
    }

    fn node(&mut self, at: usize, depth: u32) -> Result<Decoded, Fault> {
        self.count()?;
        if depth > MOST_NESTED + 1 {
            return Err(Fault::Limit(Limit::Depth));
        }
        match self.get(at)? {
            Node::Scalar { text, tag, plain } => {
                self.call.bytes(32 + text.len())?;
                if let (Some(unread), true) = (&mut self.v3, *plain) {
                    return Ok(fields::plain(text, unread));
                }
                scalar(text, tag, *plain)
            }
            &Node::Alias(target) => self.follow(at, |decoder| decoder.node(target, depth)),
            Node::Sequence(items) => {
                self.call.bytes(32 + 32 * items.len())?;
                let mut decoded = Vec::with_capacity(items.len());
                for item in items {
                    decoded.push(self.node(*item, depth + 1)?);
                }
                Ok(Decoded::Sequence(decoded))
            }
            Node::Mapping(_) => {
                let mut map = Map::default();
                self.mapping(at, &mut map, depth)?;
                Ok(Decoded::Mapping(map.pairs))
            }
        }
    }

    fn follow<T>(
        &mut self,
        alias: usize,
        then: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        // It contains itself.
        self.call.step(self.open.len() / 8)?;
        if self.open.contains(&alias) {
            return Err(INVALID);
        }
        if self.open.len() > MOST_NESTED as usize {
            return Err(Fault::Limit(Limit::Depth));
        }
        self.open.push(alias);
        let result = then(self);
        self.open.pop();
        result
    }

    /// Sets what a mapping says in a map; what was set before is replaced.
    fn mapping(&mut self, at: usize, map: &mut Map, depth: u32) -> Result<(), Fault> {
        let Node::Mapping(pairs) = self.get(at)? else { return Err(INVALID) };
        self.call.bytes(32 + 64 * pairs.len())?;
        for &(key, value) in pairs {
            if self.is_merge(key)? {
                self.merge(value, map, depth)?;
                continue;
            }
            let key = self.node(key, depth + 1)?;
            if matches!(key, Decoded::Sequence(_) | Decoded::Mapping(_)) {
                return Err(INVALID);
            }
            let value = self.node(value, depth + 1)?;
            self.call.step(1)?;
            if !map.set(key, value) && self.v3.is_some() {
                return Err(INVALID);
            }
        }
        Ok(())
    }

    fn is_merge(&self, at: usize) -> Result<bool, Fault> {
        Ok(match self.get(at)? {
            Node::Scalar { text, tag, plain } => text == "<<" && (*plain || tag == "tag:yaml.org,2002:merge"),
            _ => false,
        })
    }

    fn merge(&mut self, at: usize, map: &mut Map, depth: u32) -> Result<(), Fault> {
        if depth > MOST_NESTED {
            return Err(Fault::Limit(Limit::Depth));
        }
        match self.get(at)? {
            Node::Sequence(items) => {
                // Backwards, so that earlier ones win.
                for &item in items.iter().rev() {
                    match self.get(item)? {
                        Node::Sequence(_) | Node::Scalar { .. } => return Err(INVALID),
                        _ => self.merge(item, map, depth + 1)?,
                    }
                }
                Ok(())
            }
            Node::Mapping(_) => {
                self.count()?;
                self.mapping(at, map, depth + 1)
            }
            &Node::Alias(target) => {
                self.count()?;
                let Node::Mapping(_) = self.get(target)? else { return Err(INVALID) };
                self.follow(at, |decoder| {
                    decoder.count()?;
                    decoder.mapping(target, map, depth + 1)
                })
            }
            Node::Scalar { .. } => Err(INVALID),
        }
    }
}

/// A map whose keys are scalars.
#[derive(Default)]
struct Map {
    pairs: Vec<(Decoded, Decoded)>,
    places: std::collections::HashMap<Vec<u8>, usize>,
}

impl Map {
    /// Sets a key; whether it was not there.
    fn set(&mut self, key: Decoded, value: Decoded) -> bool {
        // Keys of two types are two keys, as in Go.
        let name = match &key {
            Decoded::Text(text) => [b"t", text.as_slice()].concat(),
            Decoded::Float(float) if *float == 0.0 => b"f0".to_vec(),
            other => format!("{other:?}").into_bytes(),
        };
        match self.places.get(&name).and_then(|at| self.pairs.get_mut(*at)) {
            Some(pair) => {
                pair.1 = value;
                false
            }
            None => {
                self.places.insert(name, self.pairs.len());
                self.pairs.push((key, value));
                true
            }
        }
    }
}

/// What a scalar is by its tag, or by its text if it is plain.
fn scalar(text: &str, tag: &str, plain: bool) -> Result<Decoded, Fault> {
    let string = || Decoded::Text(text.as_bytes().to_vec());
    if tag.is_empty() && !plain {
        return Ok(string());
    }
    match tag.strip_prefix("tag:yaml.org,2002:") {
        _ if tag.is_empty() => Ok(resolve(text)),
        Some("str") => Ok(string()),
        Some("binary") => from_base64(text.as_bytes(), false).map(Decoded::Text).ok_or(INVALID),
        Some("timestamp") if is_timestamp(text) => Ok(string()),
        Some(kind @ ("bool" | "int" | "float" | "null" | "timestamp")) => match (kind, resolve(text)) {
            ("bool", found @ Decoded::Bool(_))
            | ("int", found @ (Decoded::Int(_) | Decoded::Large(_)))
            | ("float", found @ Decoded::Float(_))
            | ("null", found @ Decoded::Null) => Ok(found),
            ("float", Decoded::Int(value)) => Ok(Decoded::Float(value as f64)),
            _ => Err(INVALID),
        },
        // A tag that means nothing here.
        _ => Ok(string()),
    }
}

/// One of the forms of a time that YAML knows.
fn is_timestamp(text: &str) -> bool {
    let year = text.bytes().take_while(u8::is_ascii_digit).count();
    let layouts: [&[u8]; 4] = [
        b"2006-1-2T15:4:5.999999999Z07:00",
        b"2006-1-2t15:4:5.999999999Z07:00",
        b"2006-1-2 15:4:5.999999999",
        b"2006-1-2",
    ];
    year == 4
        && text.as_bytes().get(4) == Some(&b'-')
        && layouts.iter().any(|layout| layout::parse(layout, text.as_bytes()).is_some())
}

/// What plain text is.
pub(super) fn resolve(text: &str) -> Decoded {
    let string = || Decoded::Text(text.as_bytes().to_vec());
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Decoded::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Decoded::Bool(false);
        }
        "" | "~" | "null" | "Null" | "NULL" => return Decoded::Null,
        ".nan" | ".NaN" | ".NAN" => return Decoded::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Decoded::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Decoded::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'.') => match super::compare::go_float(text) {
            Some(float) => Decoded::Float(float),
            None => string(),
        },
        Some(b'0'..=b'9' | b'+' | b'-') => {
            if is_timestamp(text) {
                return string();
            }
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain)).unwrap_or_else(string)
        }
        _ => string(),
    }
}

/// Whether text that is no other type still is not plain text to YAML: a time, or the key of a merge.
pub(super) fn resolves_otherwise(text: &str) -> bool {
    is_timestamp(text)
}

/// An integer of Go's syntax, its base by its prefix.
fn integer(text: &str) -> Option<Decoded> {
    let (negative, signed, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, true, text.get(1..)?),
        Some(b'+') => (false, true, text.get(1..)?),
        _ => (false, false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.get(1..)?)
    } else {
        (10, lower.as_str())
    };
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = if negative { -value } else { value };
    match i64::try_from(value) {
        Ok(value) => Some(Decoded::Int(value)),
        Err(_) if signed => None,
        Err(_) => u64::try_from(value).ok().map(Decoded::Large),
    }
}

/// A float of YAML's syntax: decimal, within the range of a float64.
fn float(text: &str) -> Option<Decoded> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if !digits(whole)
        || !digits(fraction)
        || !digits(exponent)
        || exponent.is_empty()
        || (whole.is_empty() && fraction.is_empty())
    {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite()).map(Decoded::Float)
}

/// The shortest digits that are read back as the float, and the power of ten of the first.
fn shortest(text: &str) -> (bool, String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    (text.starts_with('-'), digits, exponent.parse().unwrap_or(0))
}

fn plain(digits: &str, exponent: i32) -> String {
    let place = exponent + 1;
    match usize::try_from(place) {
        Ok(place @ 1..) if place >= digits.len() => format!("{digits:0<place$}"),
        Ok(place @ 1..) => {
            let (whole, fraction) = digits.split_at_checked(place).unwrap_or((digits, ""));
            format!("{whole}.{fraction}")
        }
        _ => format!("0.{}{digits}", "0".repeat(place.unsigned_abs() as usize)),
    }
}

fn scientific(digits: &str, exponent: i32, width: usize) -> String {
    let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{:0width$}", exponent.unsigned_abs())
}

/// As Go prints a float in its shortest general form: with an exponent below 10^-4 and from 10^6 on.
pub(super) fn general(text: &str) -> String {
    let (negative, digits, exponent) = shortest(text);
    let number = if !(-4..6).contains(&exponent) {
        scientific(&digits, exponent, 2)
    } else {
        plain(&digits, exponent)
    };
    if negative { format!("-{number}") } else { number }
}

/// As Go's JSON prints a float.
fn json_float(value: f64) -> String {
    let (negative, digits, exponent) = shortest(&shortest_text(value));
    let large = value != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e21);
    let number = match large {
        true if exponent < 0 => scientific(&digits, exponent, 1),
        true => scientific(&digits, exponent, 2),
        false => plain(&digits, exponent),
    };
    if negative { format!("-{number}") } else { number }
}

/// The value that is made of it by way of JSON.
fn to_value(call: &mut Call<'_>, decoded: Decoded) -> Result<Value, Fault> {
    Ok(match decoded {
        Decoded::Null => Value::Null,
        Decoded::Bool(value) => Value::Bool(value),
        Decoded::Int(value) => Value::from(value),
        Decoded::Large(value) => Value::Number(Number::from_text(&value.to_string())),
        Decoded::Float(value) if !value.is_finite() => return Err(INVALID),
        Decoded::Float(value) => Value::Number(Number::from_text(&json_float(value))),
        Decoded::Text(text) => Value::from(lossy(&text).into_owned()),
        Decoded::Sequence(items) => {
            call.room(items.len())?;
            let mut values = Vec::with_capacity(items.len());
            for item in items {
                values.push(to_value(call, item)?);
            }
            Value::array(values)?
        }
        Decoded::Mapping(pairs) => {
            call.room(2 * pairs.len())?;
            let mut values = Vec::with_capacity(pairs.len());
            for (key, value) in pairs {
                let key = match key {
                    Decoded::Text(text) => lossy(&text).into_owned(),
                    Decoded::Int(value) => value.to_string(),
                    Decoded::Bool(value) => value.to_string(),
                    Decoded::Float(value) if value.is_nan() => ".nan".to_owned(),
                    Decoded::Float(value) if (value as f32).is_infinite() => {
                        if value > 0.0 {
                            ".inf".to_owned()
                        } else {
                            "-.inf".to_owned()
                        }
                    }
                    Decoded::Float(value) => general(&format!("{:e}", value as f32)),
                    _ => return Err(INVALID),
                };
                values.push((Value::from(key), to_value(call, value)?));
            }
            Value::object(values)?
        }
    })
}
