//! Operands.

use super::super::documents::{self, FIELDS, Kind};
use super::super::tree::{Node, join, list, optional, term, text};
use super::{Draw, Hint, Scope, Shape};

/// Functions that are called in terms: name, arguments, result.
const CALLS: &[(&str, &[Hint], Hint)] = &[
    ("count", &[Hint::Many], Hint::Number),
    ("count", &[Hint::Text], Hint::Number),
    ("sum", &[Hint::Array], Hint::Number),
    ("max", &[Hint::Many], Hint::Any),
    ("min", &[Hint::Many], Hint::Any),
    ("sort", &[Hint::Array], Hint::Array),
    ("lower", &[Hint::Text], Hint::Text),
    ("upper", &[Hint::Text], Hint::Text),
    ("concat", &[Hint::Text, Hint::Array], Hint::Text),
    ("split", &[Hint::Text, Hint::Text], Hint::Array),
    ("startswith", &[Hint::Text, Hint::Text], Hint::Bool),
    ("endswith", &[Hint::Text, Hint::Text], Hint::Bool),
    ("contains", &[Hint::Text, Hint::Text], Hint::Bool),
    ("replace", &[Hint::Text, Hint::Text, Hint::Text], Hint::Text),
    ("trim", &[Hint::Text, Hint::Text], Hint::Text),
    ("trim_prefix", &[Hint::Text, Hint::Text], Hint::Text),
    ("substring", &[Hint::Text, Hint::Number, Hint::Number], Hint::Text),
    ("indexof", &[Hint::Text, Hint::Text], Hint::Number),
    ("to_number", &[Hint::Any], Hint::Number),
    ("to_number", &[Hint::Text], Hint::Number),
    ("abs", &[Hint::Number], Hint::Number),
    ("round", &[Hint::Number], Hint::Number),
    ("format_int", &[Hint::Number, Hint::Number], Hint::Text),
    ("numbers.range", &[Hint::Number, Hint::Number], Hint::Array),
    ("array.concat", &[Hint::Array, Hint::Array], Hint::Array),
    ("array.slice", &[Hint::Array, Hint::Number, Hint::Number], Hint::Array),
    ("array.reverse", &[Hint::Array], Hint::Array),
    ("object.get", &[Hint::Object, Hint::Text, Hint::Any], Hint::Any),
    ("object.get", &[Hint::Object, Hint::Array, Hint::Any], Hint::Any),
    ("object.keys", &[Hint::Object], Hint::Set),
    ("object.union", &[Hint::Object, Hint::Object], Hint::Object),
    ("object.remove", &[Hint::Object, Hint::Array], Hint::Object),
    ("object.filter", &[Hint::Object, Hint::Array], Hint::Object),
    ("union", &[Hint::Set], Hint::Set),
    ("json.marshal", &[Hint::Any], Hint::Text),
    ("json.unmarshal", &[Hint::Text], Hint::Any),
    ("type_name", &[Hint::Any], Hint::Text),
    ("is_string", &[Hint::Any], Hint::Bool),
    ("is_number", &[Hint::Any], Hint::Bool),
    ("is_array", &[Hint::Any], Hint::Bool),
    ("is_null", &[Hint::Any], Hint::Bool),
    ("is_set", &[Hint::Any], Hint::Bool),
    ("sprintf", &[Hint::Text, Hint::Array], Hint::Text),
    ("regex.match", &[Hint::Text, Hint::Text], Hint::Bool),
    ("regex.replace", &[Hint::Text, Hint::Text, Hint::Text], Hint::Text),
    ("glob.match", &[Hint::Text, Hint::Array, Hint::Text], Hint::Bool),
    ("strings.any_prefix_match", &[Hint::Text, Hint::Array], Hint::Bool),
    ("base64.encode", &[Hint::Text], Hint::Text),
    ("base64.decode", &[Hint::Text], Hint::Text),
    ("net.cidr_contains", &[Hint::Text, Hint::Text], Hint::Bool),
    ("semver.compare", &[Hint::Text, Hint::Text], Hint::Number),
];

/// Functions that guard a request, with arguments that are likely to meet it.
const PATTERNS: &[&str] = &[
    "\"^/a\"",
    "\"^/a/[a-z]+$\"",
    "\"a|b\"",
    "\".*\"",
    "\"^(GET|POST)$\"",
    "\"admin\"",
    "\"^[a-z]*$\"",
    "`^/\\w+$`",
    "\"(\"",
];
const GLOBS: &[&str] = &[
    "\"/a/*\"",
    "\"*\"",
    "\"**\"",
    "\"/a/**\"",
    "\"a:*\"",
    "\"{a,b}\"",
    "\"[ab]\"",
    "\"/api/*\"",
    "\"re*\"",
    "\"?\"",
    "\"a.*\"",
    "\"/*/b\"",
    "\"admin\"",
];
const FORMATS: &[&str] = &[
    "\"%s\"",
    "\"%v\"",
    "\"%d\"",
    "\"%s:%s\"",
    "\"%v-%v\"",
    "\"a%%\"",
    "\"%5d|\"",
    "\"%.2f\"",
    "\"%t\"",
    "\"%q\"",
];

impl Draw<'_> {
    /// An operand of the kind; `fuel` bounds its depth.
    pub(super) fn term(&mut self, s: &mut Scope, hint: Hint, fuel: usize) -> Node {
        let hint = if self.r.chance(3) { Hint::Any } else { hint };
        let small = fuel == 0;
        let node = match self.r.weighted(&[
            26,
            24,
            26,
            10,
            if small { 0 } else { 10 },
            if small { 0 } else { 8 },
            if small { 0 } else { 8 },
            if small { 0 } else { 7 },
        ]) {
            0 => self.literal(hint),
            1 => match self.variable(s, hint) {
                Some(name) => text(name),
                None => self.reference(s, hint, fuel),
            },
            2 => self.reference(s, hint, fuel),
            3 => self.rule(s, hint, fuel),
            4 => self.call(s, hint, fuel - 1),
            5 => self.composite(s, hint, fuel - 1),
            6 => self.comprehension(s, hint, fuel - 1),
            _ => self.infix(s, hint, fuel - 1),
        };
        term(node)
    }

    fn variable(&mut self, s: &Scope, hint: Hint) -> Option<String> {
        let fitting: Vec<&String> = s
            .vars
            .iter()
            .filter(|(_, h)| *h == hint || hint == Hint::Any || *h == Hint::Any || self.r.chance(8))
            .map(|(n, _)| n)
            .collect();
        (!fitting.is_empty()).then(|| (*self.r.pick(&fitting)).clone())
    }

    pub(super) fn literal(&mut self, hint: Hint) -> Node {
        match hint {
            Hint::Text => {
                if self.r.chance(3) {
                    return text(self.r.word(&["`a`", "`/a`", "\"\\u0061\"", "\"a\\tb\"", "\"é\""]));
                }
                text(documents::quoted(documents::a_string(self.r)))
            }
            Hint::Number => {
                let n = documents::a_number(self.r);
                text(if n == "1e400" { "4" } else { n })
            }
            Hint::Bool => text(self.r.word(&["true", "false"])),
            Hint::Array => {
                let of = *self.r.pick(&[Hint::Text, Hint::Text, Hint::Number, Hint::Any]);
                let n = self.r.below(4);
                join([text("["), list((0..n).map(|_| term(self.scalar(of))).collect(), ", ", 0), text("]")])
            }
            Hint::Set => {
                let of = *self.r.pick(&[Hint::Text, Hint::Text, Hint::Number]);
                let n = self.r.below(4);
                if n == 0 {
                    return text("set()");
                }
                join([text("{"), list((0..n).map(|_| term(self.scalar(of))).collect(), ", ", 1), text("}")])
            }
            Hint::Object => {
                let n = self.r.below(3);
                let pairs = (0..n)
                    .map(|_| {
                        join([
                            text(documents::quoted(&documents::a_key(self.r))),
                            text(": "),
                            term(self.scalar(Hint::Any)),
                        ])
                    })
                    .collect();
                join([text("{"), list(pairs, ", ", 0), text("}")])
            }
            Hint::Many => {
                let h = *self.r.pick(&[Hint::Array, Hint::Set, Hint::Object]);
                self.literal(h)
            }
            Hint::Any => match self.r.below(8) {
                0 => text("null"),
                1 => self.literal(Hint::Bool),
                2 | 3 => self.literal(Hint::Number),
                4 => self.literal(Hint::Many),
                _ => self.literal(Hint::Text),
            },
        }
    }

    fn scalar(&mut self, hint: Hint) -> Node {
        match hint {
            Hint::Any => {
                let h = *self.r.pick(&[Hint::Text, Hint::Number, Hint::Bool]);
                self.literal(h)
            }
            _ => self.literal(hint),
        }
    }

    /// A bracket's content: a constant, a bound variable, or one that this binds.
    fn step(&mut self, s: &mut Scope, keys: Hint, fuel: usize) -> (Node, bool) {
        match self.r.below(10) {
            0..=2 if !s.negated && !s.head => (text("_"), true),
            3 | 4 if !s.negated && !s.head => {
                let short = self.r.word(&["i", "j"]).to_string();
                let reach = s.vars.iter().any(|(n, _)| *n == short) || !self.used.contains(&short);
                let name = if reach && self.r.chance(60) { short } else { self.fresh(s) };
                if !self.used.contains(&name) {
                    self.used.push(name.clone());
                }
                if !s.vars.iter().any(|(n, _)| *n == name) {
                    s.vars.push((name.clone(), if keys == Hint::Number { Hint::Number } else { Hint::Any }));
                }
                (text(name), true)
            }
            5..=7 => match self.variable(s, if keys == Hint::Number { Hint::Number } else { Hint::Text }) {
                Some(name) => (text(name), false),
                None => (self.literal(keys), false),
            },
            8 if fuel > 0 => (self.term(s, keys, fuel - 1), false),
            _ if keys == Hint::Number => (text(self.r.word(&["0", "1", "2"])), false),
            _ => (text(documents::quoted(&documents::a_key(self.r))), false),
        }
    }

    /// A reference into `input` or base `data`.
    pub(super) fn reference(&mut self, s: &mut Scope, hint: Hint, fuel: usize) -> Node {
        let root = if self.r.chance(70) { "input" } else { "data.d" };
        if self.r.chance(2) {
            return text(root);
        }
        if self.r.chance(1) {
            return text(format!(
                "{root}{}",
                self.r.word(&[
                    ".if",
                    ".in",
                    ".not",
                    ".contains",
                    "[\"every\"]",
                    ".with.as",
                    ".else[0]",
                    ".default",
                    ".import"
                ])
            ));
        }
        if self.r.chance(1) && self.r.chance(30) {
            return text(self.r.word(&[
                "rego.metadata.rule()",
                "rego.metadata.chain()",
                "data.t",
                "data",
                "input[_]",
                "opa.runtime()",
            ]));
        }
        let fits = |k: Kind| match hint {
            Hint::Any => true,
            Hint::Text => matches!(k, Kind::Text | Kind::Texts | Kind::Object | Kind::Deep | Kind::Items),
            Hint::Number => matches!(k, Kind::Number | Kind::Numbers | Kind::Items),
            Hint::Bool => matches!(k, Kind::Bool),
            Hint::Array => matches!(k, Kind::Texts | Kind::Numbers | Kind::Items | Kind::Deep),
            Hint::Object => matches!(k, Kind::Object | Kind::Deep | Kind::Items),
            Hint::Set => matches!(k, Kind::Any | Kind::Texts),
            Hint::Many => {
                matches!(k, Kind::Texts | Kind::Numbers | Kind::Items | Kind::Object | Kind::Deep | Kind::Any)
            }
        };
        let fields: Vec<_> = FIELDS.iter().filter(|(_, k)| fits(*k)).collect();
        let &&(name, kind) = self.r.pick(&fields);
        let mut parts = vec![if self.r.chance(6) {
            text(format!("{root}[\"{name}\"]"))
        } else {
            text(format!("{root}.{name}"))
        }];
        let dot = |d: &Draw<'_>, key: &str| {
            if d.r.chance(80) { text(format!(".{key}")) } else { text(format!("[\"{key}\"]")) }
        };
        let bracket = |d: &mut Self, s: &mut Scope, keys: Hint| {
            let (inside, _) = d.step(s, keys, fuel);
            join([text("["), inside, text("]")])
        };
        match (kind, hint) {
            (Kind::Texts, Hint::Text) | (Kind::Numbers, Hint::Number) => {
                parts.push(bracket(self, s, Hint::Number))
            }
            (Kind::Object, Hint::Text) => parts.push(if self.r.chance(40) {
                dot(self, self.r.word(&["a", "b", "k", "role"]))
            } else {
                bracket(self, s, Hint::Text)
            }),
            (Kind::Items, Hint::Text) => parts.extend([bracket(self, s, Hint::Number), dot(self, "role")]),
            (Kind::Items, Hint::Number) => parts.extend([bracket(self, s, Hint::Number), dot(self, "id")]),
            (Kind::Items, Hint::Object) => parts.push(bracket(self, s, Hint::Number)),
            (Kind::Items, Hint::Array) if self.r.chance(50) => {
                parts.extend([bracket(self, s, Hint::Number), dot(self, "roles")])
            }
            (Kind::Deep, Hint::Text) => {
                let first = if self.r.chance(40) {
                    dot(self, self.r.word(&["a", "b", "k"]))
                } else {
                    bracket(self, s, Hint::Text)
                };
                parts.push(first);
                parts.push(bracket(self, s, *self.r.pick(&[Hint::Text, Hint::Number])));
            }
            (Kind::Deep, Hint::Array | Hint::Object) => parts.push(bracket(self, s, Hint::Text)),
            (_, Hint::Any) if self.r.chance(35) => {
                let keys = *self.r.pick(&[Hint::Text, Hint::Number]);
                parts.push(bracket(self, s, keys));
            }
            _ => {}
        }
        let first = parts.remove(0);
        join(std::iter::once(first).chain(parts.into_iter().map(optional)))
    }

    /// A reference to a rule or a call of a function of the policy.
    pub(super) fn rule(&mut self, s: &mut Scope, hint: Hint, fuel: usize) -> Node {
        if self.known.is_empty() {
            return self.reference(s, hint, fuel);
        }
        if self.r.chance(3) {
            let package = self.known[self.r.below(self.known.len())].package.clone();
            if package != self.package {
                return match self.r.below(3) {
                    0 => text(format!("data.{package}")),
                    1 => {
                        join([text(format!("data.{package}[")), self.step(s, Hint::Text, fuel).0, text("]")])
                    }
                    _ => {
                        let k = self.step(s, Hint::Text, fuel).0;
                        join([text("data["), k, text("].p")])
                    }
                };
            }
        }
        let mut known = self.known[self.r.below(self.known.len())].clone();
        for _ in 0..3 {
            let fits = match &known.shape {
                Shape::Value(h) => *h == hint || *h == Hint::Any,
                Shape::Set => matches!(hint, Hint::Set | Hint::Many | Hint::Text),
                Shape::Object => matches!(hint, Hint::Object | Hint::Many),
                Shape::Function(_, h) => *h == hint || *h == Hint::Any,
            };
            if fits || hint == Hint::Any {
                break;
            }
            known = self.known[self.r.below(self.known.len())].clone();
        }
        let name = self.name_of(&known);
        match known.shape {
            Shape::Function(args, _) => {
                if self.r.chance(1) {
                    return text(name);
                }
                let args = args.iter().map(|h| self.term(s, *h, fuel.saturating_sub(1))).collect();
                join([text(name), text("("), list(args, ", ", 1), text(")")])
            }
            Shape::Value(_) if self.r.chance(88) => text(name),
            Shape::Set | Shape::Object
                if matches!(hint, Hint::Set | Hint::Object | Hint::Many) && self.r.chance(80) =>
            {
                text(name)
            }
            _ => {
                let (inside, _) = self.step(s, Hint::Text, fuel);
                let more = if self.r.chance(15) {
                    join([text("["), self.step(s, Hint::Text, fuel).0, text("]")])
                } else {
                    text("")
                };
                if self.r.chance(20) {
                    join([text(name), text(self.r.word(&[".a", ".b", ".k", ".role"])), optional(more)])
                } else {
                    join([text(name), text("["), inside, text("]"), optional(more)])
                }
            }
        }
    }

    pub(super) fn call(&mut self, s: &mut Scope, hint: Hint, fuel: usize) -> Node {
        let fitting: Vec<_> = CALLS
            .iter()
            .filter(|(_, _, result)| {
                *result == hint
                    || hint == Hint::Any
                    || (hint == Hint::Many && matches!(result, Hint::Array | Hint::Set | Hint::Object))
            })
            .collect();
        if fitting.is_empty() {
            return self.composite(s, hint, fuel);
        }
        let &&(name, hints, _) = self.r.pick(&fitting);
        let mut args: Vec<Node> = hints.iter().map(|h| self.term(s, *h, fuel)).collect();
        match name {
            "regex.match" if self.r.chance(80) => args[0] = text(self.r.word(PATTERNS)),
            "regex.replace" if self.r.chance(80) => args[1] = text(self.r.word(PATTERNS)),
            "glob.match" if self.r.chance(80) => {
                args[0] = text(self.r.word(GLOBS));
                args[1] = text(self.r.word(&["[\"/\"]", "[\":\"]", "[]", "null", "[\"/\", \".\"]"]));
            }
            "sprintf" if self.r.chance(80) => args[0] = text(self.r.word(FORMATS)),
            "numbers.range" => {
                args = vec![text(self.r.word(&["0", "1", "input.n"])), text(self.r.word(&["2", "3", "0"]))]
            }
            "format_int" => args[1] = text(self.r.word(&["10", "16", "2"])),
            _ => {}
        }
        join([text(name), text("("), list(args, ", ", 1), text(")")])
    }

    fn composite(&mut self, s: &mut Scope, hint: Hint, fuel: usize) -> Node {
        let n = *self.r.pick(&[0, 1, 1, 2, 2, 3]);
        match hint {
            Hint::Object | Hint::Any | Hint::Many => {
                let pairs = (0..n)
                    .map(|i| {
                        let key = if self.r.chance(70) {
                            // Equal constants are seldom meant.
                            let keys = if self.r.chance(5) {
                                documents::a_key(self.r)
                            } else {
                                ["a", "b", "role", "k"][(i + n) % 4].to_string()
                            };
                            text(documents::quoted(&keys))
                        } else {
                            self.term(s, Hint::Text, fuel)
                        };
                        let value = self.term(s, Hint::Any, fuel);
                        join([key, text(": "), value])
                    })
                    .collect();
                join([text("{"), list(pairs, ", ", 0), text("}")])
            }
            Hint::Set if n > 0 => join([
                text("{"),
                list((0..n).map(|_| self.term(s, Hint::Text, fuel)).collect(), ", ", 1),
                text("}"),
            ]),
            Hint::Array | Hint::Set => join([
                text("["),
                list((0..n).map(|_| self.term(s, Hint::Any, fuel)).collect(), ", ", 0),
                text("]"),
            ]),
            Hint::Text if !self.v0 && self.r.chance(20) => {
                let inside = self.term(s, Hint::Any, fuel.min(1));
                if self.r.chance(30) {
                    let second = self.term(s, Hint::Any, 0);
                    return join([text("$\"{"), inside, text("}{"), second, text("}\"")]);
                }
                join([text(self.r.word(&["$\"a {", "$\"\\{{", "$\"\\u0061{ "])), inside, text("} b\"")])
            }
            _ => self.literal(hint),
        }
    }

    fn comprehension(&mut self, s: &mut Scope, hint: Hint, fuel: usize) -> Node {
        let mut inner = s.clone();
        (inner.negated, inner.head) = (false, false);
        inner.declared.clear();
        let n = 1 + self.r.below(2);
        let mut body: Vec<Node> = Vec::new();
        if self.r.chance(80) {
            body.push(self.generator(&mut inner, fuel));
        }
        while body.len() < n {
            body.push(self.statement(&mut inner, fuel));
        }
        self.use_all(&mut inner, &mut body);
        let body = list(body, "; ", 1);
        let mut head = |d: &mut Self, h| {
            inner.head = true;
            d.term(&mut inner, h, fuel.min(1))
        };
        match hint {
            Hint::Array => join([text("["), head(self, Hint::Any), text(" | "), body, text("]")]),
            Hint::Object => {
                let (key, value) = (head(self, Hint::Text), head(self, Hint::Any));
                join([text("{"), key, text(": "), value, text(" | "), body, text("}")])
            }
            Hint::Number => join([text("count({"), head(self, Hint::Any), text(" | "), body, text("})")]),
            _ => join([text("{"), head(self, Hint::Any), text(" | "), body, text("}")]),
        }
    }

    fn infix(&mut self, s: &mut Scope, hint: Hint, fuel: usize) -> Node {
        let (operator, of) = match hint {
            Hint::Number => (self.r.word(&[" + ", " - ", " * ", " / ", " % "]), Hint::Number),
            Hint::Set | Hint::Many => (self.r.word(&[" | ", " & ", " - "]), Hint::Set),
            Hint::Bool => {
                let of = self.a_hint();
                if self.has_in && self.r.chance(30) {
                    let left = self.term(s, Hint::Text, fuel);
                    let right = self.term(s, Hint::Many, fuel);
                    return join([text("("), left, text(" in "), right, text(")")]);
                }
                (self.r.word(&[" == ", " != ", " < ", " >= ", " == "]), of)
            }
            _ => return self.call(s, hint, fuel),
        };
        let (left, right) = (self.term(s, of, fuel), self.term(s, of, fuel));
        if hint == Hint::Number && self.r.chance(10) {
            return join([text("-"), self.reference(s, Hint::Number, fuel)]);
        }
        if self.r.chance(70) || hint == Hint::Bool {
            join([text("("), left, text(operator), right, text(")")])
        } else {
            join([left, text(operator), right])
        }
    }
}
