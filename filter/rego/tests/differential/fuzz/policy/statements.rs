//! Statements of bodies.

use super::super::tree::{Node, join, list, optional, statement, text};
use super::{Draw, Hint, Scope, Shape};

impl Draw<'_> {
    /// A body of some statements, and the variables that it binds, in `s`.
    pub(super) fn body(&mut self, s: &mut Scope, most: usize) -> Vec<Node> {
        let n = 1 + self.r.below(self.r.below(most + self.rich) + 1);
        let mut out = Vec::new();
        for i in 0..n {
            let fuel = *self.r.pick(&[0, 1, 1, 1, 2]) + self.rich.saturating_sub(1);
            let node = if i == 0 && self.r.chance(35) {
                self.generator(s, fuel.min(1))
            } else {
                self.statement(s, fuel)
            };
            out.push(node);
        }
        self.use_all(s, &mut out);
        if out.len() > 1 && self.r.chance(if self.odd > 0 { 25 } else { 6 }) {
            // The order is found by what is bound, not by where it stands.
            let (i, j) = (self.r.below(out.len()), self.r.below(out.len()));
            out.swap(i, j);
        }
        out
    }

    /// Uses what was declared and not used, which OPA would refuse.
    pub(super) fn use_all(&mut self, s: &mut Scope, body: &mut Vec<Node>) {
        let text_of = body.iter().map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        for name in std::mem::take(&mut s.declared) {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let uses = text_of
                .match_indices(&name)
                .filter(|(i, _)| {
                    !text_of[..*i].ends_with(word) && !text_of[i + name.len()..].starts_with(word)
                })
                .count();
            if uses < 2 && !self.r.chance(2) {
                let h = self.a_hint();
                body.push(statement(match self.r.below(6) {
                    0 => text(name),
                    1 => text(format!("is_string({name})")),
                    2 => join([text(format!("{name} != ")), self.literal(h)]),
                    3 => join([text(format!("{name} == ")), self.reference(s, Hint::Text, 0)]),
                    4 => text(format!("not {name} == \"b\"")),
                    _ => join([text(format!("{name} == ")), self.literal(Hint::Text)]),
                }));
            }
        }
    }

    /// The same, where the declaration is not among the statements.
    fn use_all_but_declaration(&mut self, s: &mut Scope, body: &mut Vec<Node>) {
        let declared = std::mem::take(&mut s.declared);
        for name in declared {
            body.push(text(name.clone()));
            s.declared = vec![name];
            self.use_all(s, body);
            let at = body.iter().position(|n| matches!(n, Node::Text(_))).unwrap_or(0);
            body.remove(at);
        }
    }

    /// A statement that binds something, mostly by iterating.
    pub(super) fn generator(&mut self, s: &mut Scope, fuel: usize) -> Node {
        if s.negated {
            return self.statement(s, fuel);
        }
        let over = self.term(s, Hint::Many, fuel);
        let name = self.fresh(s);
        let node = match self.r.below(10) {
            0..=3 if self.has_in => {
                s.vars.push((name.clone(), Hint::Text));
                s.declared.push(name.clone());
                join([text(format!("some {name} in ")), over])
            }
            4 | 5 if self.has_in => {
                s.vars.push((name.clone(), Hint::Any));
                let second = self.fresh(s);
                s.vars.push((second.clone(), Hint::Text));
                s.declared.extend([name.clone(), second.clone()]);
                join([text(format!("some {name}, {second} in ")), over])
            }
            6 if self.has_in => {
                let before = s.vars.len();
                let pattern = self.pattern(s, 1, true);
                s.declared.extend(s.vars[before..].iter().map(|(n, _)| n.clone()));
                let over = self.reference(s, Hint::Many, 0);
                join([text("some "), pattern, text(" in "), over])
            }
            7 => {
                s.vars.push((name.clone(), Hint::Any));
                let over = self.reference(s, Hint::Many, 0);
                let second = self.term(s, Hint::Any, 0);
                join([
                    text(format!("some {name}; ")),
                    over,
                    text(format!("[{name}] ")),
                    text(self.r.word(&["= ", "== "])),
                    second,
                ])
            }
            _ => {
                s.vars.push((name.clone(), Hint::Text));
                let over = self.reference(s, Hint::Text, 1);
                join([text(format!("{name} := ")), over])
            }
        };
        statement(node)
    }

    fn pattern(&mut self, s: &mut Scope, fuel: usize, constants: bool) -> Node {
        match self.r.below(if fuel == 0 { 5 } else { 8 }) {
            0 | 1 => {
                let name = self.fresh(s);
                s.vars.push((name.clone(), Hint::Any));
                text(name)
            }
            2 => text("_"),
            3 | 4 if !constants => text("_"),
            3 => self.literal(Hint::Text),
            4 => {
                let h = self.a_hint();
                match s.vars.iter().find(|(_, of)| *of == h) {
                    Some((name, _)) => text(name.clone()),
                    None => self.literal(Hint::Text),
                }
            }
            5 => {
                let n = 1 + self.r.below(3);
                join([
                    text("["),
                    list((0..n).map(|_| self.pattern(s, fuel - 1, constants)).collect(), ", ", 0),
                    text("]"),
                ])
            }
            _ => {
                let n = 1 + self.r.below(2);
                let first = self.r.below(4);
                let pairs = (0..n)
                    .map(|i| {
                        let at = if self.r.chance(3) { first } else { (first + i) % 4 };
                        let key = ["\"role\": ", "\"id\": ", "\"a\": ", "\"roles\": "][at];
                        let value = self.pattern(s, fuel - 1, constants);
                        join([text(key), value])
                    })
                    .collect();
                join([text("{"), list(pairs, ", ", 0), text("}")])
            }
        }
    }

    /// A condition of the kind that rules are looked up by, over a document `of`.
    pub(super) fn indexable(&mut self, s: &mut Scope, of: Option<&str>) -> Node {
        let field = match of {
            Some(name) => name.to_string(),
            None => self
                .r
                .word(&[
                    "input.method",
                    "input.role",
                    "input.path",
                    "input.n",
                    "input.o.a",
                    "input.user",
                    "data.d.role",
                    "input.tags",
                ])
                .to_string(),
        };
        let many = match of {
            Some(name) => name.to_string(),
            None => self
                .r
                .word(&["input.roles", "input.parts", "input.xs", "input.tags", "data.d.roles", "input.o"])
                .to_string(),
        };
        let h = if field.ends_with(".n") {
            Hint::Number
        } else {
            *self.r.pick(&[Hint::Text, Hint::Text, Hint::Text, Hint::Text, Hint::Any])
        };
        let c = self.literal(h);
        let t = self.literal(Hint::Text);
        let node = match self.r.below(22) {
            0..=4 => join([text(field), text(self.r.word(&[" == ", " == ", " = "])), c]),
            5 => join([c, text(format!(" == {field}"))]),
            6 => {
                let name = self.fresh(s);
                s.vars.push((name.clone(), h));
                join([text(format!("{name} := {field}\n\t{name} == ")), c])
            }
            7 => {
                let name = self.fresh(s);
                s.vars.push((name.clone(), h));
                join([text(format!("{name} := ")), c, text(format!("\n\t{field} == {name}"))])
            }
            8 | 9 if self.has_in => {
                let set = if self.r.chance(60) { Hint::Set } else { Hint::Many };
                join([text(format!("{field} in ")), self.literal(set)])
            }
            10 | 11 if self.has_in => join([t, text(format!(" in {many}"))]),
            12 => join([text(format!("{many}[_] == ")), t]),
            13 => {
                let name = self.fresh(s);
                s.vars.push((name.clone(), Hint::Number));
                join([text(format!("{many}[{name}] == ")), t])
            }
            14 => {
                let n = 1 + self.r.below(3);
                let items = (0..n)
                    .map(|_| if self.r.chance(60) { self.literal(Hint::Text) } else { text("_") })
                    .collect();
                join([text(format!("{many} = [")), list(items, ", ", 1), text("]")])
            }
            15 | 16 => {
                let pattern = self.r.word(&[
                    "/a/*", "*", "/*/b", "a:*", "read", "a", "/a/b", "*:b", "[ab]", "a?", "{a,b}", "/a/**",
                    "a.*", "*.b",
                ]);
                join([text(format!(
                    "glob.match(\"{pattern}\", {}, {field})",
                    self.r.word(&["[\"/\"]", "[\":\"]", "[]", "null", "[\".\", \"/\"]"])
                ))])
            }
            17 => join([text(format!("startswith({field}, ")), t, text(")")]),
            18 => text(field),
            19 => text(format!("count({many}) > {}", self.r.below(3))),
            20 => join([text(format!("not {field} == ")), c]),
            _ => {
                let path = self.r.word(&["a", "b", "k"]);
                join([text(format!("{many}.{path} == ")), t])
            }
        };
        statement(node)
    }

    /// Any statement.
    pub(super) fn statement(&mut self, s: &mut Scope, fuel: usize) -> Node {
        let small = fuel == 0;
        let next = fuel.saturating_sub(1);
        if self.odd > 0 && self.r.chance(self.odd) {
            return self.odd(s, fuel.min(2));
        }
        let node = match self.r.weighted(&[
            30,
            12,
            9,
            10,
            if s.negated { 0 } else { 12 },
            if small || s.negated { 0 } else { 6 },
            4,
            3,
            if small { 0 } else { 5 },
            3,
            8,
            5,
        ]) {
            0 => self.comparison(s, next),
            1 => return self.generator(s, next),
            2 => {
                let h = self.a_hint();
                let name = self.fresh(s);
                let value = self.term(s, h, fuel);
                if s.negated {
                    return statement(value);
                }
                s.vars.push((name.clone(), h));
                join([text(format!("{name} {} ", self.r.word(&[":=", ":=", ":=", "="]))), value])
            }
            3 if self.has_in => {
                let left = self.term(s, Hint::Text, next);
                let over = self.term(s, Hint::Many, next);
                if self.r.chance(15) {
                    let key = self.term(s, Hint::Any, 0);
                    join([key, text(", "), left, text(" in "), over])
                } else {
                    join([left, text(" in "), over])
                }
            }
            3 => self.comparison(s, next),
            4 => {
                let vars = s.vars.clone();
                if self.has_logic && self.r.chance(30) {
                    let declared = std::mem::take(&mut s.declared);
                    let mut body = vec![self.generator(s, next), self.statement(s, next)];
                    self.use_all(s, &mut body);
                    (s.vars, s.declared) = (vars, declared);
                    join([text("not { "), list(body, "; ", 1), text(" }")])
                } else {
                    let was = std::mem::replace(&mut s.negated, true);
                    let inner = self.statement(s, next);
                    s.vars = vars;
                    s.negated = was;
                    join([text("not "), inner])
                }
            }
            5 if self.has_every => self.every(s, next),
            5 => self.comparison(s, next),
            6 if s.negated => self.comparison(s, next),
            6 => {
                let assign = self.r.chance(40);
                let from = if self.r.chance(70) {
                    self.reference(s, Hint::Any, next)
                } else {
                    self.term(s, Hint::Many, next)
                };
                let pattern = self.pattern(s, 2, !assign);
                if assign || self.r.chance(50) {
                    join([pattern, text(if assign { " := " } else { " = " }), from])
                } else {
                    join([from, text(" = "), pattern])
                }
            }
            7 => {
                let over = self.reference(s, Hint::Many, next);
                let (p, v) = (self.fresh(s), "value".to_string());
                if s.negated || s.vars.iter().any(|(n, _)| n == "value") {
                    return self.comparison(s, next);
                }
                s.vars.extend([(p.clone(), Hint::Array), (v, Hint::Any)]);
                match self.r.below(3) {
                    0 => join([text("walk("), over, text(format!(", [{p}, value])"))]),
                    1 => join([text(format!("[{p}, value] := walk(")), over, text(")")]),
                    _ => join([
                        text("walk(".to_string()),
                        over,
                        text(format!(", [{p}, value]); is_string(value)")),
                    ]),
                }
            }
            8 => {
                let was = s.vars.clone();
                let inner = self.statement(s, next);
                let with = self.with(s, next);
                if self.r.chance(50) {
                    s.vars = was;
                }
                join([inner, with])
            }
            9 => {
                let functions: Vec<_> = self
                    .known
                    .iter()
                    .filter_map(|k| {
                        if let Shape::Function(args, h) = &k.shape {
                            Some((k.clone(), args.clone(), *h))
                        } else {
                            None
                        }
                    })
                    .collect();
                let out = match s.vars.first() {
                    Some((name, _)) if self.r.chance(30) => text(name.clone()),
                    _ if s.negated || self.r.chance(40) => self.literal(Hint::Number),
                    _ => {
                        let name = self.fresh(s);
                        s.vars.push((name.clone(), Hint::Any));
                        text(name)
                    }
                };
                if !functions.is_empty() && self.r.chance(60) {
                    let (known, args, _) = self.r.pick(&functions).clone();
                    let args: Vec<Node> = args.iter().map(|h| self.term(s, *h, next)).collect();
                    join([
                        text(self.name_of(&known)),
                        text("("),
                        list(args, ", ", 1),
                        text(", "),
                        out,
                        text(")"),
                    ])
                } else {
                    let arg = self.term(s, Hint::Many, next);
                    join([text("count("), arg, text(", "), out, text(")")])
                }
            }
            10 if self.has_logic && self.r.chance(30) => {
                let operator = self.r.word(&[" and ", " or "]);
                let was = std::mem::replace(&mut s.negated, true);
                let (left, right) = (self.comparison(s, next), self.comparison(s, next));
                s.negated = was;
                join([left, text(operator), right])
            }
            10 if self.r.chance(4) => {
                let what = self.term(s, Hint::Any, next);
                join([text("print(\"x\", "), what, text(")")])
            }
            10 => {
                if self.r.chance(50) {
                    self.call(s, Hint::Bool, next)
                } else {
                    self.rule(s, Hint::Bool, next)
                }
            }
            _ => self.term(s, Hint::Any, next),
        };
        statement(node)
    }

    fn comparison(&mut self, s: &mut Scope, fuel: usize) -> Node {
        let h = self.a_hint();
        let operator =
            self.r.word(&[" == ", " == ", " == ", " == ", " != ", " = ", " < ", " > ", " <= ", " >= "]);
        let left = if self.r.chance(60) { self.reference(s, h, fuel) } else { self.term(s, h, fuel) };
        let right = if self.r.chance(60) { self.literal(h) } else { self.term(s, h, fuel) };
        if self.r.chance(15) {
            return join([right, text(operator), left]);
        }
        join([left, text(operator), right])
    }

    fn every(&mut self, s: &mut Scope, fuel: usize) -> Node {
        let over = self.term(s, Hint::Many, fuel);
        let mut inner = s.clone();
        inner.declared.clear();
        let value = self.fresh(&inner);
        inner.declared.push(value.clone());
        inner.vars.push((value.clone(), Hint::Text));
        let mut names = value;
        if self.r.chance(30) {
            let key = self.fresh(&inner);
            inner.vars.push((key.clone(), Hint::Any));
            inner.declared.push(key.clone());
            names = format!("{key}, {names}");
        }
        let n = 1 + self.r.below(2);
        let mut body = (0..n).map(|_| self.statement(&mut inner, fuel)).collect();
        self.use_all_but_declaration(&mut inner, &mut body);
        join([text(format!("every {names} in ")), over, text(" { "), list(body, "; ", 1), text(" }")])
    }

    fn with(&mut self, s: &mut Scope, fuel: usize) -> Node {
        let n = 1 + self.r.below(2);
        let mut out = Vec::new();
        for _ in 0..n {
            let field = self.r.word(&[
                "input.role",
                "input.roles",
                "input.n",
                "input.o",
                "input.o.a",
                "input.user",
                "input",
                "data.d.roles",
                "data.d",
                "data.d.o.a",
                "input.xs",
            ]);
            let (target, hint) = match self.r.below(10) {
                0..=6 => {
                    let h = match field {
                        "input.role" | "input.user" | "input.o.a" | "data.d.o.a" => Hint::Text,
                        "input.roles" | "data.d.roles" | "input.xs" => Hint::Array,
                        "input.n" => Hint::Number,
                        _ => Hint::Object,
                    };
                    (field.to_string(), h)
                }
                7 | 8 if !self.known.is_empty() => {
                    let known = self.known[self.r.below(self.known.len())].clone();
                    let h = match &known.shape {
                        Shape::Value(h) | Shape::Function(_, h) => *h,
                        Shape::Set => Hint::Set,
                        Shape::Object => Hint::Object,
                    };
                    (self.name_of(&known), h)
                }
                _ => (
                    self.r
                        .word(&[
                            "count",
                            "lower",
                            "startswith",
                            "regex.match",
                            "glob.match",
                            "concat",
                            "is_string",
                        ])
                        .to_string(),
                    Hint::Any,
                ),
            };
            let functions: Vec<String> = self
                .known
                .iter()
                .filter(|k| matches!(k.shape, Shape::Function(..)))
                .map(|k| self.name_of(k))
                .collect();
            let value = if !functions.is_empty() && hint == Hint::Any && self.r.chance(30) {
                text(self.r.pick(&functions).clone())
            } else {
                self.term(s, hint, fuel)
            };
            out.push(optional(join([text(" with "), text(target), text(" as "), value])));
        }
        join(out)
    }
}
