//! Rules: heads, bodies, `else`, defaults.

use super::super::documents;
use super::super::tree::{Node, join, list, optional, text};
use super::{Draw, Hint, Known, Scope, Shape};

const NAMES: &[&str] = &["p", "q", "r2", "s", "allow", "deny", "f", "g", "h", "helper", "roles", "m"];

impl Draw<'_> {
    fn a_name(&mut self) -> String {
        for _ in 0..4 {
            let name = self.r.word(NAMES);
            let taken = self.known.iter().any(|k| {
                k.package == self.package && (k.path == name || k.path.starts_with(&format!("{name}.")))
            });
            if !taken || self.r.chance(2) {
                return name.to_string();
            }
        }
        self.names += 1;
        format!("n{}", self.names)
    }

    /// All definitions of one rule.
    pub(super) fn group(&mut self) -> Vec<Node> {
        let name = self.a_name();
        let n = *self.r.pick(&[1, 1, 1, 2, 2, 3]);
        // Mostly others may refer to it only later; seldom it may refer to itself.
        let early = self.r.chance(1);
        let (known, definitions) = match self.r.weighted(&[34, 16, 12, 16, 12, 18, 2]) {
            0 => {
                let hint = *self.r.pick(&[
                    Hint::Bool,
                    Hint::Bool,
                    Hint::Bool,
                    Hint::Text,
                    Hint::Number,
                    Hint::Any,
                    Hint::Object,
                    Hint::Array,
                ]);
                let known = self.register(&name, Shape::Value(hint), early);
                let constant = self.r.chance(75).then(|| self.literal(hint));
                let mut all = Vec::new();
                if self.r.chance(30) {
                    let value = if self.r.chance(80) {
                        self.literal(hint)
                    } else {
                        text("[x | x := input.roles[_]]")
                    };
                    all.push(join([text(format!("default {name} := ")), value, text("\n")]));
                }
                for _ in 0..n {
                    all.push(self.complete(&name, hint, constant.as_ref()));
                }
                (known, all)
            }
            1 => {
                let known = self.register(&name, Shape::Set, early);
                (known, (0..n).map(|_| self.partial_set(&name)).collect())
            }
            2 => {
                let known = self.register(&name, Shape::Object, early);
                (known, (0..n).map(|_| self.partial_object(&name)).collect())
            }
            3 => {
                let args: Vec<Hint> = (0..1 + self.r.below(2)).map(|_| self.a_hint()).collect();
                let hint = *self.r.pick(&[Hint::Bool, Hint::Bool, Hint::Text, Hint::Number, Hint::Any]);
                let known = self.register(&name, Shape::Function(args.clone(), hint), early);
                let constant = self.r.chance(50).then(|| self.literal(hint));
                let mut all = Vec::new();
                if self.r.chance(15) {
                    let names: Vec<String> = (0..args.len())
                        .map(|i| if self.r.chance(50) { "_".into() } else { format!("a{i}") })
                        .collect();
                    all.push(join([
                        text(format!("default {name}({}) := ", names.join(", "))),
                        self.literal(hint),
                        text("\n"),
                    ]));
                }
                for _ in 0..n {
                    all.push(self.function(&name, &args, hint, constant.as_ref()));
                }
                (known, all)
            }
            5 => {
                let hint = *self.r.pick(&[Hint::Bool, Hint::Bool, Hint::Text, Hint::Number]);
                let argument = self.r.chance(25);
                let shape =
                    if argument { Shape::Function(vec![Hint::Text], hint) } else { Shape::Value(hint) };
                let known = self.register(&name, shape, early);
                (known, self.looked_up(&name, hint, argument))
            }
            6 => {
                // A rule that conflicts, sometimes: whether it is reached can be seen.
                let known = self.register(&name, Shape::Value(Hint::Number), early);
                let when = self.r.word(&[" if input.n", " if input.ok", "", " if input.role == \"a\""]);
                let when = if self.v0 { "" } else { when };
                (known, vec![text(format!("{name} := 1\n")), text(format!("{name} := 2{when}\n"))])
            }
            _ => {
                let (path, all) = self.general(&name, n);
                (self.register(&path, Shape::Object, early), all)
            }
        };
        if !early {
            self.known.push(known);
        }
        definitions
    }

    /// Many definitions with conditions that an index can tell apart.
    fn looked_up(&mut self, name: &str, hint: Hint, argument: bool) -> Vec<Node> {
        let constant = self.literal(hint);
        let same = self.r.chance(70);
        let n = 2 + self.r.below(6);
        let mut all = Vec::new();
        if self.r.chance(40) && !argument {
            all.push(join([text(format!("default {name} := ")), self.literal(hint), text("\n")]));
        }
        for _ in 0..n {
            self.used.clear();
            let mut s = Scope::default();
            if argument {
                s.vars.push(("a0".into(), Hint::Text));
            }
            let one = |d: &mut Self, s: &mut Scope| {
                if d.r.chance(12) {
                    return d.statement(s, 0);
                }
                let of = if argument && d.r.chance(70) { Some("a0") } else { None };
                d.indexable(s, of)
            };
            let mut body = Vec::new();
            for _ in 0..1 + self.r.below(3) {
                body.push(one(self, &mut s));
            }
            self.use_all(&mut s, &mut body);
            let value = if same || self.r.chance(50) { constant.clone() } else { self.literal(hint) };
            let assign = if self.v0 { " = " } else { " := " };
            let head = if argument { format!("{name}(a0)") } else { name.to_string() };
            let keyword = if self.v0 && !self.has_if { " {\n\t" } else { " if {\n\t" };
            let mut parts =
                vec![text(head), text(assign), value, text(keyword), list(body, "\n\t", 1), text("\n}")];
            if self.r.chance(15) {
                self.used.clear();
                let mut s = Scope::default();
                if argument {
                    s.vars.push(("a0".into(), Hint::Text));
                }
                let body = vec![one(self, &mut s)];
                let value = if same { constant.clone() } else { self.literal(hint) };
                parts.push(optional(join([
                    text(" else"),
                    text(assign),
                    value,
                    text(keyword),
                    list(body, "\n\t", 1),
                    text("\n}"),
                ])));
            }
            parts.push(text("\n"));
            all.push(join(parts));
        }
        all
    }

    fn register(&mut self, path: &str, shape: Shape, early: bool) -> Known {
        let known = Known { package: self.package.clone(), path: path.to_string(), shape };
        if early {
            self.known.push(known.clone());
        }
        known
    }

    /// ` if { … }`, or as v0 writes it.
    fn braces(&mut self, body: Vec<Node>) -> Node {
        let v0 = self.v0 && !(self.has_if && self.r.chance(70));
        if body.is_empty() {
            return text("");
        }
        if body.len() == 1
            && !v0
            && self.r.chance(60)
            && !body[0].to_string().starts_with('{')
            && !body[0].to_string().contains("; ")
        {
            return join([text(" if "), list(body, "\n\t", 1)]);
        }
        join([text(if v0 { " {\n\t" } else { " if {\n\t" }), list(body, "\n\t", 1), text("\n}")])
    }

    fn head_term(&mut self, s: &Scope, hint: Hint) -> Node {
        let mut s = s.clone();
        s.head = true;
        self.term(&mut s, hint, 1)
    }

    fn complete(&mut self, name: &str, hint: Hint, constant: Option<&Node>) -> Node {
        self.used.clear();
        let mut s = Scope::default();
        let body = if self.r.chance(8) { Vec::new() } else { self.body(&mut s, 4) };
        let bodiless = body.is_empty();
        let value = match constant {
            Some(value) if self.r.chance(90) => value.clone(),
            _ => self.head_term(&s, hint),
        };
        let assign = if self.v0 { self.r.word(&[" = ", " := "]) } else { " := " };
        let implied = value.to_string() == "true" && !bodiless && self.r.chance(70);
        let value = if implied { text("") } else { join([text(assign), value]) };
        let body = self.braces(body);
        let mut parts = vec![text(name.to_string()), value, body];
        if !bodiless && self.r.chance(12) {
            parts.push(optional(self.chained(&s)));
        } else if !bodiless {
            parts.push(self.elses(&Scope::default(), hint));
        }
        parts.push(text("\n"));
        join(parts)
    }

    /// A second body for the same head.
    fn chained(&mut self, first: &Scope) -> Node {
        self.used.clear();
        let mut s = Scope::default();
        let mut body = self.body(&mut s, 2);
        // The head may name variables of the first body: bind them here too.
        for (name, _) in first.vars.iter().take(2) {
            if self.r.chance(60) && !s.vars.iter().any(|(n, _)| n == name) {
                let value = self.term(&mut Scope::default(), Hint::Any, 0);
                body.push(join([text(format!("{name} := ")), value]));
            }
        }
        join([text(" {\n\t"), list(body, "\n\t", 1), text("\n}")])
    }

    fn elses(&mut self, args: &Scope, hint: Hint) -> Node {
        let n = if self.r.chance(18) { 1 + self.r.below(2) } else { 0 };
        let mut all = Vec::new();
        for i in 0..n {
            let mut s = args.clone();
            let body = if i + 1 == n && self.r.chance(40) { Vec::new() } else { self.body(&mut s, 2) };
            let value = if body.is_empty() || self.r.chance(70) {
                let assign = if self.v0 { " = " } else { " := " };
                join([text(assign), self.head_term(&s, hint)])
            } else {
                text("")
            };
            let v0 = self.v0 && !self.has_if;
            let body = if body.is_empty() {
                text("")
            } else {
                join([text(if v0 { " {\n\t" } else { " if {\n\t" }), list(body, "\n\t", 1), text("\n}")])
            };
            all.push(join([text(" else"), value, body]));
        }
        list(all, "", 0)
    }

    fn partial_set(&mut self, name: &str) -> Node {
        self.used.clear();
        let mut s = Scope::default();
        let body = if self.r.chance(5) { Vec::new() } else { self.body(&mut s, 4) };
        let bodiless = body.is_empty();
        let member = self.head_term(&s, Hint::Any);
        let contains = !self.v0 || (self.has_contains && self.r.chance(80));
        let head = if contains {
            join([text(format!("{name} contains ")), member])
        } else {
            join([text(format!("{name}[")), member, text("]")])
        };
        if self.v0 && !contains {
            if bodiless {
                return join([head, text("\n")]);
            }
            return join([head, text(" {\n\t"), list(body, "\n\t", 1), text("\n}\n")]);
        }
        let body = self.braces(body);
        let more = if !bodiless && self.r.chance(6) { optional(self.chained(&s)) } else { text("") };
        join([head, body, more, text("\n")])
    }

    fn partial_object(&mut self, name: &str) -> Node {
        self.used.clear();
        let mut s = Scope::default();
        let body = if self.r.chance(5) { Vec::new() } else { self.body(&mut s, 4) };
        let key = if self.r.chance(30) {
            text(documents::quoted(&documents::a_key(self.r)))
        } else {
            self.head_term(&s, Hint::Text)
        };
        let value = self.head_term(&s, Hint::Any);
        let assign = if self.v0 { self.r.word(&[" = ", " := "]) } else { " := " };
        let implied = !self.v0 && !body.is_empty() && self.r.chance(10);
        let body = self.braces(body);
        let value = if implied { text("") } else { join([text(assign), value]) };
        join([text(format!("{name}[")), key, text("]"), value, body, text("\n")])
    }

    fn argument(&mut self, s: &mut Scope, at: usize, hint: Hint) -> Node {
        match self.r.below(12) {
            0 => text("_"),
            1 => self.literal(hint),
            2 => {
                let (a, b) = (format!("a{at}"), format!("b{at}"));
                s.vars.extend([(a.clone(), Hint::Any), (b.clone(), Hint::Any)]);
                if self.r.chance(50) {
                    text(format!("[{a}, {b}]"))
                } else {
                    text(format!("{{\"role\": {a}, \"id\": {b}}}"))
                }
            }
            3 if at > 0 => text("a0"),
            _ => {
                let name = format!("a{at}");
                s.vars.push((name.clone(), hint));
                text(name)
            }
        }
    }

    fn function(&mut self, name: &str, args: &[Hint], hint: Hint, constant: Option<&Node>) -> Node {
        self.used.clear();
        let mut s = Scope::default();
        let patterns: Vec<Node> =
            args.iter().enumerate().map(|(i, h)| self.argument(&mut s, i, *h)).collect();
        let outer = s.clone();
        let body = if self.r.chance(12) { Vec::new() } else { self.body(&mut s, 3) };
        let bodiless = body.is_empty();
        let value = match constant {
            Some(value) if self.r.chance(90) => value.clone(),
            _ => self.head_term(&s, hint),
        };
        let assign = if self.v0 { self.r.word(&[" = ", " := "]) } else { " := " };
        let value = if value.to_string() == "true" && !bodiless && self.r.chance(70) {
            text("")
        } else {
            join([text(assign), value])
        };
        let body = self.braces(body);
        let elses = if bodiless { text("") } else { self.elses(&outer, hint) };
        join([text(format!("{name}(")), list(patterns, ", ", 1), text(")"), value, body, elses, text("\n")])
    }

    /// Rules whose heads are references: `p.a.b := …`, `p[x].c contains …`.
    fn general(&mut self, name: &str, n: usize) -> (String, Vec<Node>) {
        let mut all = Vec::new();
        for _ in 0..n {
            self.used.clear();
            let mut s = Scope::default();
            let body = self.body(&mut s, 3);
            let mut head = vec![text(name.to_string())];
            for i in 0..1 + self.r.below(2) {
                let part = match self.r.below(6) {
                    0 | 1 => text(self.r.word(&[".a", ".b", ".c"])),
                    2 => text(self.r.word(&["[\"a\"]", "[\"k\"]", "[1]", "[true]"])),
                    _ => {
                        let key = self.head_term(&s, Hint::Text);
                        join([text("["), key, text("]")])
                    }
                };
                head.push(if i == 0 { part } else { optional(part) });
            }
            let value = if self.has_contains && self.r.chance(40) {
                join([text(" contains "), self.head_term(&s, Hint::Any)])
            } else {
                join([
                    text(" := "),
                    if self.r.chance(40) { self.literal(Hint::Text) } else { self.head_term(&s, Hint::Any) },
                ])
            };
            head.push(value);
            let body = self.braces(body);
            head.push(body);
            head.push(text("\n"));
            all.push(join(head));
        }
        (name.to_string(), all)
    }
}
