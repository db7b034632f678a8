//! Annotations: YAML in the comments after `# METADATA`, which belong to the statement below them.
//!
//! Source: `v1/ast/parser.go` (`metadataParser`), `v1/ast/annotations.go`.

use super::{Parsed, Parser};
use crate::builtins::Budget;
use crate::builtins::yaml::{Field, fields};
use crate::value::Value;

/// What an annotation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The rule below it.
    Rule,
    /// All rules of that name.
    Document,
    /// The package.
    Package,
    /// The package and those below it.
    Subpackages,
}

/// The statement below an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `package`.
    Package,
    /// An import: nothing can be said of it.
    Import,
    /// A rule of the module, by its number.
    Rule(usize),
}

/// One block of annotations.
#[derive(Clone, Debug)]
pub struct Annotation {
    /// The line of `# METADATA`.
    pub line: u32,
    /// What it is about.
    pub scope: Scope,
    /// The statement below it.
    pub target: Target,
    /// What it says, as `rego.metadata.rule()` gives it; None if it has schemas, or other things that are not read.
    pub says: Option<Value>,
}

/// Steps and bytes that the annotations of one text may take to read.
const MOST_STEPS: u64 = 40_000_000;
const MOST_BYTES: u64 = 100_000_000;

impl Parser {
    /// All annotations of the text.
    pub(super) fn annotations(&mut self) -> Parsed<Vec<Annotation>> {
        let mut found = Vec::new();
        let mut budget = Budget::new(MOST_STEPS, MOST_BYTES);
        let comments = std::mem::take(&mut self.comments);
        let mut rest = comments.as_slice();
        while let Some(((line, range), after)) = rest.split_first() {
            rest = after;
            if !self.begins_block(range) {
                continue;
            }
            let mut text = String::new();
            let mut last = *line;
            while let Some(((next, range), after)) = rest.split_first() {
                if *next != last + 1 || self.begins_block(range) {
                    break;
                }
                let comment = self.comment(range);
                text.push_str(comment.strip_prefix(' ').unwrap_or(comment));
                text.push('\n');
                (last, rest) = (*next, after);
            }
            let target = self.statements.iter().find(|(at, _)| at > line).map(|(_, target)| *target);
            let annotation =
                read(*line, &text, target, &mut budget).map_err(|(at, why)| (line + at, 1, why))?;
            found.push(annotation);
        }
        Ok(found)
    }

    fn comment(&self, range: &std::ops::Range<u32>) -> &str {
        let text = self.text.get(range.start as usize..range.end as usize).unwrap_or_default();
        text.strip_suffix('\r').unwrap_or(text)
    }

    fn begins_block(&self, range: &std::ops::Range<u32>) -> bool {
        self.comment(range).trim().starts_with("METADATA")
    }
}

type Refused = (u32, String);

fn refuse<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err((0, why.into()))
}

fn read(line: u32, text: &str, target: Option<Target>, budget: &mut Budget) -> Result<Annotation, Refused> {
    if text.trim().is_empty() {
        return refuse("these annotations are empty; write YAML in the comments below, or remove the line");
    }
    let (fields, unread) = fields(text.as_bytes(), budget)
        .map_err(|at| (at as u32, "these annotations are no YAML that could be read".to_owned()))?;
    let mut parts = Parts { unread, ..Parts::default() };
    for (name, field) in &fields {
        parts.take(name, field)?;
    }
    let scope = match (parts.scope.as_str(), target) {
        ("", Some(Target::Rule(_))) if parts.entrypoint => Scope::Document,
        ("", Some(Target::Rule(_))) | ("rule", _) => Scope::Rule,
        ("", Some(Target::Package)) | ("package", _) => Scope::Package,
        ("document", _) => Scope::Document,
        ("subpackages", _) => Scope::Subpackages,
        ("", _) => return refuse("annotations stand above a package or a rule; move these"),
        _ => return refuse("the scope of annotations is rule, document, package or subpackages"),
    };
    let fits = match scope {
        Scope::Rule | Scope::Document => matches!(target, Some(Target::Rule(_))),
        Scope::Package | Scope::Subpackages => target == Some(Target::Package),
    };
    let (Some(target), true) = (target, fits) else {
        return refuse("annotations of this scope stand above what they are about: a rule, or the package");
    };
    if parts.entrypoint && !matches!(scope, Scope::Document | Scope::Package) {
        return refuse("an entrypoint is a document or a package; give these annotations that scope");
    }
    let name = match scope {
        Scope::Rule => "rule",
        Scope::Document => "document",
        Scope::Package => "package",
        Scope::Subpackages => "subpackages",
    };
    parts.pairs.push((Value::from("scope"), Value::from(name)));
    let says = match parts.unread {
        true => None,
        false => Value::object(parts.pairs).ok(),
    };
    Ok(Annotation { line, scope, target, says })
}

#[derive(Default)]
struct Parts {
    scope: String,
    entrypoint: bool,
    /// There is what is not read here.
    unread: bool,
    pairs: Vec<(Value, Value)>,
}

impl Parts {
    fn take(&mut self, name: &str, field: &Field) -> Result<(), Refused> {
        let key = || Value::from(name);
        match name {
            "scope" => self.scope = string(name, field)?,
            "title" | "description" => {
                let text = string(name, field)?;
                if !text.is_empty() {
                    self.pairs.push((key(), Value::from(text)));
                }
            }
            "entrypoint" => {
                self.entrypoint = match field {
                    Field::Null | Field::Scalar(_, Value::Bool(false)) => false,
                    Field::Scalar(_, Value::Bool(true)) => true,
                    Field::Scalar(text, Value::String(_)) => match text.as_str() {
                        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => true,
                        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => false,
                        _ => return refuse("an annotation `entrypoint` is true or false"),
                    },
                    _ => return refuse("an annotation `entrypoint` is true or false"),
                };
                if self.entrypoint {
                    self.pairs.push((key(), Value::Bool(true)));
                }
            }
            "organizations" => {
                let all = list(name, field)?.iter().filter(|f| !matches!(f, Field::Null));
                let all: Result<Vec<Value>, Refused> =
                    all.map(|f| string(name, f).map(Value::from)).collect();
                self.add_list(name, all?);
            }
            "related_resources" => {
                let mut all = Vec::new();
                for field in list(name, field)? {
                    let (resource, plain) = resource(field)?;
                    self.unread |= !plain;
                    all.push(resource);
                }
                self.add_list(name, all);
            }
            "authors" => {
                let all: Result<Vec<Value>, Refused> = list(name, field)?.iter().map(author).collect();
                self.add_list(name, all?);
            }
            "schemas" => {
                let all = list(name, field)?;
                if all.iter().any(|f| !matches!(f, Field::Mapping(_) | Field::Null)) {
                    return refuse("an annotation `schemas` is a list of mappings");
                }
                self.unread |= !all.is_empty();
            }
            "custom" | "labels" => match field {
                Field::Null => {}
                Field::Mapping(Value::Object(object)) => {
                    if !object.is_empty() {
                        self.pairs.push((key(), Value::Object(object.clone())));
                    }
                }
                _ => return refuse(format!("an annotation `{name}` is a mapping")),
            },
            "compile" if !matches!(field, Field::Null | Field::Mapping(_)) => {
                return refuse("an annotation `compile` is a mapping");
            }
            _ => {}
        }
        Ok(())
    }

    fn add_list(&mut self, name: &str, all: Vec<Value>) {
        if !all.is_empty()
            && let Ok(all) = Value::array(all)
        {
            self.pairs.push((Value::from(name), all));
        }
    }
}

fn string(name: &str, field: &Field) -> Result<String, Refused> {
    match field {
        Field::Null => Ok(String::new()),
        Field::Scalar(text, _) => Ok(text.clone()),
        _ => refuse(format!("an annotation `{name}` holds text here")),
    }
}

fn list<'f>(name: &str, field: &'f Field) -> Result<&'f [Field], Refused> {
    match field {
        Field::Null => Ok(&[]),
        Field::Sequence(all) => Ok(all),
        _ => refuse(format!("an annotation `{name}` is a list")),
    }
}

/// Texts of a mapping by key, without white space around them.
fn texts(value: &Value, keys: [&str; 2]) -> [String; 2] {
    keys.map(|key| match value.get(&Value::from(key)) {
        Some(Value::String(text)) => String::from_utf8_lossy(text.as_bytes()).trim().to_owned(),
        _ => String::new(),
    })
}

fn object(pairs: [(&str, String); 2]) -> Result<Value, Refused> {
    let pairs = pairs.into_iter().filter(|(_, text)| !text.is_empty());
    let pairs = pairs.map(|(key, text)| (Value::from(key), Value::from(text)));
    Value::object(pairs.collect()).map_err(|_| (0, "these annotations are nested too deeply".to_owned()))
}

/// A resource, and whether its URL is written as it stays.
fn resource(field: &Field) -> Result<(Value, bool), Refused> {
    let (url, description) = match field {
        Field::Scalar(text, Value::String(_)) => (text.clone(), String::new()),
        Field::Mapping(map) => {
            let [url, description] = texts(map, ["ref", "description"]);
            (url, description)
        }
        _ => {
            return refuse(
                "an annotation `related_resources` is a list of URLs, or of mappings with a `ref`",
            );
        }
    };
    if url.is_empty() {
        return refuse("an annotation `related_resources` needs a `ref` in each entry");
    }
    let bytes = url.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let escapes =
        bytes.iter().enumerate().filter(|(_, b)| **b == b'%').all(|(at, _)| hex(at + 1) && hex(at + 2));
    if !escapes || url.starts_with(':') || bytes.iter().any(|b| *b < 0x20 || *b == 0x7f) {
        return refuse("an annotation `related_resources` has what is no URL");
    }
    let plain = bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~:/?#@!$&'()*+,;=%".contains(b));
    Ok((object([("ref", url), ("description", description)])?, plain))
}

/// A name with an address between angle brackets at its end, or a mapping of both.
fn author(field: &Field) -> Result<Value, Refused> {
    match field {
        Field::Scalar(text, Value::String(_)) => {
            let mut words: Vec<&str> = text.split_whitespace().collect();
            let Some(last) = words.last() else { return refuse("an author in annotations is an empty text") };
            let email = last.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or_default();
            if last.len() >= 2 && last.starts_with('<') && last.ends_with('>') {
                words.pop();
            }
            object([("name", words.join(" ")), ("email", email.to_owned())])
        }
        Field::Mapping(map) => {
            let [name, email] = texts(map, ["name", "email"]);
            if name.is_empty() && email.is_empty() {
                return refuse("an author in annotations needs a `name` or an `email`");
            }
            object([("name", name), ("email", email)])
        }
        _ => refuse("an author in annotations is a text, or a mapping of `name` and `email`"),
    }
}
