//! What is seldom written, and where the order of the compiler's work shows.

use super::super::documents;
use super::super::tree::{Node, join, list, optional, statement, text};
use super::{Draw, Hint, Scope, Shape};

impl Draw<'_> {
    /// A statement of an unusual kind.
    pub(super) fn odd(&mut self, s: &mut Scope, fuel: usize) -> Node {
        let next = fuel.saturating_sub(1);
        let node = match self.r.below(15) {
            // A call whose answer is unified with what is bound before, by it, or after it.
            0 | 1 => {
                let (name, n) = *self.r.pick(&[
                    ("count", 1),
                    ("lower", 1),
                    ("concat", 2),
                    ("split", 2),
                    ("startswith", 2),
                    ("object.get", 3),
                    ("array.concat", 2),
                    ("max", 1),
                ]);
                let mut args: Vec<Node> = (0..n).map(|_| self.operand(s, next)).collect();
                args.push(self.operand(s, next));
                join([text(format!("{name}(")), list(args, ", ", 1), text(")")])
            }
            // Patterns on both sides.
            2 | 3 => {
                let n = 1 + self.r.below(3);
                let side = |d: &mut Self, s: &mut Scope, keys: bool| {
                    let items: Vec<Node> = (0..n)
                        .map(|i| {
                            let item = d.operand(s, next);
                            if !keys {
                                return item;
                            }
                            let key = match d.r.below(4) {
                                0 => d.operand(s, 0),
                                _ => text(["\"a\"", "\"b\"", "\"k\""][i % 3]),
                            };
                            join([key, text(": "), item])
                        })
                        .collect();
                    let (open, close) = if keys { ("{", "}") } else { ("[", "]") };
                    join([text(open), list(items, ", ", 0), text(close)])
                };
                let keys = self.r.chance(40);
                let (left, right) = (side(self, s, keys), side(self, s, keys));
                join([left, text(self.r.word(&[" = ", " = ", " == "])), right])
            }
            // A reference into what is no name.
            4 | 5 => {
                let of = match self.r.below(4) {
                    0 => self.literal(Hint::Array),
                    1 => self.literal(Hint::Object),
                    2 => self.call(s, Hint::Array, next),
                    _ => {
                        let body = self.term(s, Hint::Bool, 0);
                        let head = self.operand(s, 0);
                        join([text("{"), head, text(" | "), body, text("}")])
                    }
                };
                let step = self.operand(s, 0);
                let value = self.operand(s, next);
                join([of, text("["), step, text("]"), text(self.r.word(&[" = ", " == ", " != "])), value])
            }
            6 if self.has_every => {
                let over = self.term(s, Hint::Many, next);
                let mut inner = s.clone();
                inner.declared.clear();
                let name = self.fresh(&inner);
                inner.vars.push((name.clone(), Hint::Any));
                let body = vec![self.operand(&mut inner, 0), self.statement(&mut inner, 0)];
                let with = self.with_input(s, next);
                join([
                    text(format!("every {name} in ")),
                    over,
                    text(format!(" {{ {name} != ")),
                    list(body, "; ", 1),
                    text(" }"),
                    optional(with),
                ])
            }
            7 => {
                let inner = self.statement(s, 0);
                let with = self.with_input(s, next);
                let more = self.with_input(s, next);
                join([inner, with, optional(more)])
            }
            8 => {
                let what = self.r.word(&["rego.metadata.rule()", "rego.metadata.chain()"]);
                match self.r.below(4) {
                    0 => text(what),
                    1 => join([self.operand(s, 0), text(format!(" = {what}"))]),
                    2 => text(format!("count({what}) > {}", self.r.below(2))),
                    _ => text(format!("not {what} == {{}}")),
                }
            }
            9 => {
                let keys: Vec<Node> = (0..2)
                    .map(|_| {
                        let (key, value) = (self.reference(s, Hint::Text, 0), self.operand(s, 0));
                        join([key, text(": "), value])
                    })
                    .collect();
                let value = self.operand(s, next);
                join([text("{"), list(keys, ", ", 1), text("} = "), value])
            }
            10 => {
                let functions: Vec<_> = self
                    .known
                    .iter()
                    .filter_map(|k| match &k.shape {
                        Shape::Function(args, _) => Some((k.clone(), args.len())),
                        _ => None,
                    })
                    .collect();
                if functions.is_empty() {
                    return self.statement(s, next);
                }
                let (known, n) = self.r.pick(&functions).clone();
                let args: Vec<Node> = (0..n).map(|_| self.operand(s, next)).collect();
                let out = self.operand(s, 0);
                let name = self.name_of(&known);
                join([text(name), text("("), list(args, ", ", 1), text(") = "), out])
            }
            11 if !self.v0 => {
                let (a, b) = (self.operand(s, next), self.operand(s, 0));
                let value = self.operand(s, 0);
                join([text("$\"{"), a, text("}-{"), b, text("}\" = "), value])
            }
            12 if !s.negated => {
                let mut inner = s.clone();
                inner.negated = true;
                let body = self.statement(&mut inner, next);
                join([text("not "), body, optional(self.with_input(s, 0))])
            }
            13 if self.has_logic => {
                let body = (0..2).map(|_| self.statement(&mut s.clone(), 0)).collect();
                let with = self.with_input(s, 0);
                join([text("not { "), list(body, "; ", 1), text(" }"), optional(with)])
            }
            _ => {
                let (left, right) = (self.operand(s, next), self.operand(s, next));
                join([left, text(self.r.word(&[" = ", " < ", " == "])), right])
            }
        };
        statement(node)
    }

    /// Anything, often a variable, bound or not.
    fn operand(&mut self, s: &mut Scope, fuel: usize) -> Node {
        match self.r.below(10) {
            0..=2 => match s.vars.len() {
                0 => self.literal(Hint::Text),
                n => text(s.vars[self.r.below(n)].0.clone()),
            },
            3 if !s.negated && !s.head => {
                let name = self.fresh(s);
                s.vars.push((name.clone(), Hint::Any));
                text(name)
            }
            4 => {
                let h = self.a_hint();
                self.literal(h)
            }
            5 | 6 => self.reference(s, Hint::Any, 0),
            7 => {
                let (a, b) = (self.variable_or_key(s), self.variable_or_key(s));
                text(if self.r.chance(50) { format!("[{a}, {b}]") } else { format!("{{{a}: {b}}}") })
            }
            8 => {
                let inside = self.operand(s, 0);
                join([text("["), inside, text("]")])
            }
            _ => self.term(s, Hint::Any, fuel),
        }
    }

    fn variable_or_key(&mut self, s: &Scope) -> String {
        match s.vars.len() {
            0 => documents::quoted(&documents::a_key(self.r)),
            n => s.vars[self.r.below(n)].0.clone(),
        }
    }

    fn with_input(&mut self, s: &mut Scope, fuel: usize) -> Node {
        let target = self.r.word(&[
            "input",
            "input.o",
            "input.o.a",
            "input.roles",
            "data.d.o",
            "data.d",
            "data.t.p",
            "count",
            "lower",
            "data.t.f",
        ]);
        let value = self.term(s, Hint::Any, fuel);
        join([text(format!(" with {target} as ")), value])
    }
}
