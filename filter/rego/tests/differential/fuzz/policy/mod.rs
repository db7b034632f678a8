//! Random policies in the style of authorization: rules, helpers, functions over `input` and `data`.
//!
//! Everything is drawn by the grammar, with a loose idea of types so that most of it loads; what OPA refuses is of interest too.

mod odd;
mod rules;
mod statements;
mod terms;
pub mod tokens;

use super::random::Random;
use super::tree::{Node, join, list, optional, text};

/// What a term is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hint {
    Any,
    Text,
    Number,
    Bool,
    Array,
    Object,
    Set,
    /// Any of the last three.
    Many,
}

/// What a rule is for others.
#[derive(Clone, Debug)]
pub enum Shape {
    Value(Hint),
    Set,
    Object,
    Function(Vec<Hint>, Hint),
}

/// A rule that may be referred to.
#[derive(Clone, Debug)]
pub struct Known {
    package: String,
    path: String,
    shape: Shape,
}

/// The variables that are bound at a place.
#[derive(Clone, Default)]
pub struct Scope {
    vars: Vec<(String, Hint)>,
    /// Under `not`, where nothing can be bound.
    negated: bool,
    /// In a head, after the body.
    head: bool,
    /// Declared by `some` or `every` here: each must be used.
    declared: Vec<String>,
}

/// A policy of some files.
#[derive(Clone, Debug)]
pub struct Policy {
    pub v0: bool,
    pub modules: Vec<Node>,
    /// Queries worth asking.
    pub queries: Vec<String>,
}

/// The state of drawing one policy.
pub struct Draw<'r> {
    r: &'r Random,
    v0: bool,
    /// Keywords that the current file has.
    has_in: bool,
    has_every: bool,
    has_if: bool,
    has_contains: bool,
    /// `not { … }`, `and`, `or`.
    has_logic: bool,
    package: String,
    /// Imports of the current file: what they are called, and what stands behind.
    imports: Vec<(String, String)>,
    known: Vec<Known>,
    /// 0 to 2: how long bodies and how deep terms are.
    rich: usize,
    /// Hundredths of statements that are of an unusual kind.
    odd: usize,
    /// Names of variables anywhere in the rule that is drawn.
    used: Vec<String>,
    names: usize,
}

const PACKAGES: &[&str] = &["t", "t", "t", "lib", "t.sub", "u.v"];

impl<'r> Draw<'r> {
    /// A policy, and the queries worth asking.
    pub fn policy(r: &'r Random) -> Policy {
        let v0 = r.chance(20);
        let mut draw = Draw {
            r,
            v0,
            has_in: true,
            has_every: true,
            has_if: true,
            has_contains: true,
            has_logic: false,
            package: String::new(),
            imports: Vec::new(),
            known: Vec::new(),
            rich: r.weighted(&[50, 35, 15]),
            odd: *r.pick(&[0, 0, 10, 40]),
            used: Vec::new(),
            names: 0,
        };
        let mut modules = Vec::new();
        if r.chance(35) {
            modules.push(draw.module((*r.pick(PACKAGES)).to_string()));
        }
        modules.push(draw.module("t".to_string()));
        if r.chance(10) {
            modules.push(draw.module((*r.pick(PACKAGES)).to_string()));
        }
        let mut queries = vec!["data.t".to_string()];
        for known in &draw.known {
            if !matches!(known.shape, Shape::Function(..)) && !known.path.contains('[') {
                queries.push(format!("data.{}.{}", known.package, known.path));
                if !matches!(known.shape, Shape::Value(_)) && r.chance(40) {
                    queries.push(format!(
                        "data.{}.{}[{}]",
                        known.package,
                        known.path,
                        r.word(&["\"a\"", "\"k\"", "1", "\"read\"", "\"admin\""])
                    ));
                }
            }
        }
        queries.dedup();
        if r.chance(10) {
            queries.push("data".into());
        }
        if r.chance(7) {
            let at = r.below(modules.len());
            modules[at] = tokens::mutated(r, &modules[at].to_string());
        } else if r.chance(8) {
            let at = r.below(modules.len());
            modules[at] = tokens::laid_out(r, &modules[at].to_string());
        }
        Policy { v0, modules, queries }
    }

    /// Annotations, sometimes.
    fn annotations(&self, scopes: &[&'static str]) -> Node {
        if self.odd == 0 || !self.r.chance(25) {
            return text("");
        }
        let mut lines = vec![text("# METADATA\n")];
        for _ in 0..1 + self.r.below(3) {
            let line = match self.r.below(10) {
                0..=2 => format!("scope: {}", self.r.word(scopes)),
                3 | 4 => {
                    format!("title: {}", self.r.word(&["a", "1", "yes", "\"b c\"", "'x'", "[", "~", "é"]))
                }
                5 => "description: |\n#  two\n#  lines".into(),
                6 => format!("entrypoint: {}", self.r.word(&["true", "false", "yes", "1"])),
                7 => format!(
                    "custom: {}",
                    self.r.word(&["{a: 1}", "{b: [x, 1.50, null]}", "{}", "x", "{a: {b: off}}", "{1: 2}"])
                ),
                8 => format!(
                    "{}: {}",
                    self.r.word(&["organizations", "authors", "related_resources", "labels", "other"]),
                    self.r.word(&["[a, b]", "[]", "{a: b}", "[A B <c@d>]", "[{name: x, ref: y}]"])
                ),
                _ => self.r.word(&["", " # c", "title: x\n#\n# more", "x: [a,\n#  b]"]).into(),
            };
            lines.push(optional(text(format!("# {line}\n"))));
        }
        if self.r.chance(5) {
            lines.push(text("\n"));
        }
        join(lines)
    }

    fn module(&mut self, package: String) -> Node {
        self.package = package;
        self.imports.clear();
        self.has_logic = false;
        let mut head = Vec::new();
        if self.v0 {
            self.has_in = self.r.chance(60);
            self.has_every = self.r.chance(30);
            self.has_if = self.r.chance(20);
            self.has_contains = self.r.chance(20);
            match self.r.below(12) {
                0 => {
                    head.push(text("import rego.v1"));
                    (self.has_in, self.has_every, self.has_if, self.has_contains) = (true, true, true, true);
                }
                1 => {
                    head.push(text("import future.keywords"));
                    (self.has_in, self.has_every, self.has_if, self.has_contains) = (true, true, true, true);
                }
                _ => {
                    for (has, word) in [
                        (self.has_in, "in"),
                        (self.has_every, "every"),
                        (self.has_if, "if"),
                        (self.has_contains, "contains"),
                    ] {
                        if has {
                            head.push(text(format!("import future.keywords.{word}")));
                        }
                    }
                }
            }
            self.has_in |= self.has_every;
        } else if self.r.chance(6) {
            let import = self.r.word(&[
                "import future.keywords",
                "import future.keywords",
                "import future.keywords.not",
                "import future.keywords.in",
                "import rego.v1",
                "import future.keywords.and",
                "import future.keywords.or",
            ]);
            self.has_logic = import.ends_with("keywords");
            head.push(text(import));
        }
        let mut others: Vec<Known> =
            self.known.iter().filter(|k| k.package != self.package).cloned().collect();
        if !others.is_empty() && self.r.chance(60) {
            let of = others.swap_remove(self.r.below(others.len()));
            let last = of.package.rsplit('.').next().unwrap_or_default().to_string();
            match self.r.below(3) {
                0 => {
                    head.push(text(format!("import data.{}", of.package)));
                    self.imports.push((last, format!("data.{}", of.package)));
                }
                1 => {
                    head.push(text(format!("import data.{} as other", of.package)));
                    self.imports.push(("other".into(), format!("data.{}", of.package)));
                }
                _ if !of.path.contains(['[', '.']) => {
                    head.push(text(format!("import data.{}.{}", of.package, of.path)));
                    self.imports.push((of.path.clone(), format!("data.{}.{}", of.package, of.path)));
                }
                _ => {}
            }
        }
        if self.r.chance(8) {
            head.push(text(self.r.word(&[
                "import input.o",
                "import input.roles as rs",
                "import data.d",
                "import data.d.items as grants",
                "import input as i",
            ])));
        }
        let mut rules = Vec::new();
        for _ in 0..1 + self.r.below(4 + self.rich) {
            let mut group = self.group();
            if let Some(first) = group.first_mut() {
                let rule = std::mem::replace(first, text(""));
                *first = join([
                    optional(self.annotations(&["rule", "document", "rule", "document", "package"])),
                    rule,
                ]);
            }
            if self.r.chance(15) && !rules.is_empty() {
                let at = self.r.below(rules.len());
                rules.insert(at, group.remove(0));
            }
            rules.extend(group);
        }
        join([
            optional(self.annotations(&["package", "subpackages", "package", "rule", "x"])),
            text(format!("package {}\n\n", self.package)),
            list(head.into_iter().map(|h| join([h, text("\n")])).collect(), "", 0),
            list(rules, "\n", 0),
            text("\n"),
        ])
    }

    /// How a known rule is written in the current file.
    fn name_of(&self, known: &Known) -> String {
        if known.package == self.package && !self.r.chance(10) {
            return known.path.clone();
        }
        let full = format!("data.{}.{}", known.package, known.path);
        for (alias, target) in &self.imports {
            if full == *target {
                return alias.clone();
            }
            if let Some(rest) = full.strip_prefix(target.as_str())
                && rest.starts_with('.')
                && self.r.chance(80)
            {
                return format!("{alias}{rest}");
            }
        }
        full
    }

    fn fresh(&mut self, scope: &Scope) -> String {
        for _ in 0..6 {
            let name = self.r.word(&["x", "y", "z", "v", "w", "k", "r", "u", "item"]);
            let taken = scope.vars.iter().any(|(n, _)| n == name)
                || self.used.iter().any(|n| n == name)
                || self.known.iter().any(|k| k.path == name);
            if !taken || (self.r.chance(1) && self.r.chance(30)) {
                self.used.push(name.to_string());
                return name.to_string();
            }
        }
        self.names += 1;
        format!("x{}", self.names)
    }

    fn a_hint(&self) -> Hint {
        *self.r.pick(&[
            Hint::Text,
            Hint::Text,
            Hint::Text,
            Hint::Number,
            Hint::Number,
            Hint::Bool,
            Hint::Array,
            Hint::Object,
            Hint::Set,
            Hint::Any,
        ])
    }
}
