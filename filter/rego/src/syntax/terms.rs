//! Terms and operators.

use super::tokens::{Kind, Token};
use super::tree::{Body, Expr, ExprKind, Sym, TemplatePart, Term, TermValue, call_of};
use super::{Parsed, Parser};
use crate::value::Value;

/// Binding strength of `==`, the weakest operator but `in`.
const RELATION: u8 = 1;

impl Parser {
    /// A term with operators, `in` included; `k, v in xs` where `pair` allows it.
    pub(super) fn infix(&mut self, pair: bool) -> Parsed<Term> {
        self.infix_after(None, pair)
    }

    /// The same, where its first operand has been read.
    pub(super) fn infix_after(&mut self, first: Option<Term>, pair: bool) -> Parsed<Term> {
        self.enter()?;
        let mut left = self.binary(RELATION, first)?;
        if pair && self.is_symbol(",") {
            let (saved, depth) = (self.at, self.depth);
            self.advance();
            match self.binary(RELATION, None) {
                Ok(middle) if self.is_keyword("in") => {
                    let at = self.advance();
                    let right = self.binary(RELATION, None)?;
                    let op = self.member(at, "member_3");
                    left = Term::new(TermValue::Call(vec![op, left, middle, right]), at.pos);
                }
                _ => (self.at, self.depth) = (saved, depth),
            }
        }
        let mut links = 0;
        while self.is_keyword("in") {
            let at = self.advance();
            let right = self.binary(RELATION, None)?;
            let op = self.member(at, "member_2");
            let pos = left.pos;
            left = Term::new(TermValue::Call(vec![op, left, right]), pos);
            links += 1;
            self.chain(links)?;
        }
        self.leave();
        Ok(left)
    }

    fn chain(&self, links: u32) -> Parsed<()> {
        if links > super::MOST_NESTING {
            return self.refuse(self.peek(), "too many operators in one expression; give parts of it a name");
        }
        Ok(())
    }

    fn member(&mut self, at: Token, name: &str) -> Term {
        let path = vec![Term::var(Sym::INTERNAL, at.pos), Term::string(name, at.pos)];
        Term::new(TermValue::Ref(path), at.pos)
    }

    /// The binary operator here: binding strength and the builtin's name.
    fn operator(&self) -> Option<(u8, &'static str)> {
        let token = self.peek();
        if token.kind != Kind::Symbol {
            return None;
        }
        Some(match self.text_of(token) {
            "==" => (RELATION, "equal"),
            "!=" => (RELATION, "neq"),
            "<" => (RELATION, "lt"),
            ">" => (RELATION, "gt"),
            "<=" => (RELATION, "lte"),
            ">=" => (RELATION, "gte"),
            "|" => (2, "or"),
            "&" => (3, "and"),
            "+" => (4, "plus"),
            "-" => (4, "minus"),
            "*" => (5, "mul"),
            "/" => (5, "div"),
            "%" => (5, "rem"),
            _ => return None,
        })
    }

    fn binary(&mut self, least: u8, first: Option<Term>) -> Parsed<Term> {
        let mut left = match first {
            Some(term) => term,
            None => self.term()?,
        };
        let mut links = 0;
        while let Some((strength, name)) = self.operator() {
            if strength < least {
                break;
            }
            let at = self.advance();
            self.enter()?;
            let right = self.binary(strength + 1, None)?;
            self.leave();
            let op = self.names.intern(name);
            let pos = left.pos;
            let mut terms = call_of(op, vec![left, right], pos);
            if let Some(op) = terms.first_mut() {
                op.pos = at.pos;
            }
            left = Term::new(TermValue::Call(terms), pos);
            links += 1;
            self.chain(links)?;
        }
        Ok(left)
    }

    /// A term without operators around it.
    pub(super) fn term(&mut self) -> Parsed<Term> {
        self.enter()?;
        let term = self.term_inner()?;
        self.leave();
        Ok(term)
    }

    fn term_inner(&mut self) -> Parsed<Term> {
        let token = self.peek();
        match token.kind {
            Kind::Number => self.number(token, ""),
            Kind::String => {
                self.advance();
                let text = self.text_of(token);
                let value = if text.contains('\\') {
                    Value::from(super::unescape(text).as_str())
                } else {
                    Value::from(text)
                };
                self.finish(Term::scalar(value, token.pos))
            }
            Kind::Raw => {
                self.advance();
                let value = Value::from(self.text_of(token));
                self.finish(Term::scalar(value, token.pos))
            }
            Kind::Template => {
                let term = self.template()?;
                self.finish(term)
            }
            Kind::Ident => self.word(token),
            Kind::Symbol => match self.text_of(token) {
                "[" => {
                    let term = self.array()?;
                    self.finish(term)
                }
                "{" => {
                    let term = self.braces()?;
                    self.finish(term)
                }
                "(" => {
                    self.advance();
                    let inner = self.infix(true)?;
                    self.expect_symbol(")")?;
                    self.finish(inner)
                }
                "-" => self.minus(token),
                "." => {
                    self.advance();
                    self.number(token, ".")
                }
                _ => self.unexpected("a term is expected"),
            },
            Kind::Part | Kind::TemplateEnd | Kind::Illegal | Kind::End => {
                self.unexpected("a term is expected")
            }
        }
    }

    fn minus(&mut self, token: Token) -> Parsed<Term> {
        self.advance();
        let next = self.peek();
        if next.kind == Kind::Number {
            return self.number(token, "-");
        }
        if self.take_symbol(".") {
            return self.number(token, "-.");
        }
        let is_word = next.kind == Kind::Ident
            && (!self.is_keyword_text(self.text_of(next)) || self.text_of(next) == "contains");
        if !is_word {
            return self.unexpected("a minus sign stands before a number or a reference; write `0 - …` else");
        }
        let term = self.word(next)?;
        let zero = Term::scalar(Value::from(0i64), token.pos);
        Ok(Term::new(TermValue::Call(call_of(Sym::MINUS, vec![zero, term], token.pos)), token.pos))
    }

    /// A number whose sign and point before its digits are read. It begins at `first`.
    fn number(&mut self, first: Token, prefix: &str) -> Parsed<Term> {
        let token = self.peek();
        if token.kind != Kind::Number {
            return self.unexpected("a number is expected");
        }
        match super::numbers::literal(prefix, self.text_of(token)) {
            Ok(number) => {
                self.advance();
                self.finish(Term::scalar(Value::Number(number), first.pos))
            }
            Err(why) => self.refuse(token, why),
        }
    }

    fn word(&mut self, token: Token) -> Parsed<Term> {
        let text = self.text_of(token);
        let constant = match text {
            "null" => Some(Value::Null),
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        };
        if let Some(value) = constant {
            self.advance();
            return self.finish(Term::scalar(value, token.pos));
        }
        let next = self.peek_at(1);
        let called = !next.space && self.token_is_symbol(next, "(");
        let as_name = match text {
            "contains" => true,
            "and" | "or" if called => true,
            _ => !self.is_keyword_text(text),
        };
        if !as_name {
            return self.unexpected("a keyword cannot be a term; a name is expected");
        }
        self.name(token)
    }

    /// A variable, or the reference or call that begins with it, whatever the word is.
    pub(super) fn name(&mut self, token: Token) -> Parsed<Term> {
        self.advance();
        let sym = self.sym(token);
        let term = self.finish(Term::var(sym, token.pos))?;
        Ok(root_as_reference(term))
    }

    /// What follows a term at once: `.name`, `[term]`, `(operands)`.
    fn finish(&mut self, head: Term) -> Parsed<Term> {
        let next = self.peek();
        if next.space || next.kind != Kind::Symbol || !matches!(self.text_of(next), "." | "[" | "(") {
            return Ok(head);
        }
        self.reference(head)
    }

    /// A reference that begins with `head`.
    pub(super) fn reference(&mut self, head: Term) -> Parsed<Term> {
        match head.value {
            TermValue::Scalar(_) | TermValue::Ref(_) | TermValue::Template(_) => {
                let why = "this is no name, call or collection: neither a point nor a bracket can follow it";
                return Err((head.pos.line, head.pos.col, why.to_owned()));
            }
            _ => {}
        }
        let pos = head.pos;
        let mut path = vec![head];
        loop {
            let next = self.peek();
            let first = path.len() == 1;
            if (next.space && !first) || next.kind != Kind::Symbol {
                return Ok(Term::new(TermValue::Ref(path), pos));
            }
            match self.text_of(next) {
                "." => {
                    self.advance();
                    let name = self.peek();
                    if name.kind != Kind::Ident || name.space {
                        return self.unexpected("a name is expected after the point");
                    }
                    let text = self.text_of(name).to_owned();
                    self.advance();
                    path.push(Term::string(&text, name.pos));
                }
                "[" => {
                    self.advance();
                    let step = self.infix(true)?;
                    self.expect_symbol("]")?;
                    path.push(step);
                }
                "(" => {
                    let call = self.call(path, pos)?;
                    let next = self.peek();
                    let more =
                        !next.space && (self.token_is_symbol(next, ".") || self.token_is_symbol(next, "["));
                    if more {
                        self.enter()?;
                        let term = self.reference(call)?;
                        self.leave();
                        return Ok(term);
                    }
                    return Ok(call);
                }
                _ => return Ok(Term::new(TermValue::Ref(path), pos)),
            }
        }
    }

    fn call(&mut self, path: Vec<Term>, pos: super::Pos) -> Parsed<Term> {
        if path.first().is_none_or(|t| t.as_var().is_none()) {
            return self.unexpected("only a name can be called");
        }
        self.advance();
        let is_set = path.len() == 1 && path.first().and_then(Term::as_var) == Some(Sym::SET);
        let mut terms = vec![Term::new(TermValue::Ref(path), pos)];
        if self.take_symbol(")") {
            let value = if is_set { TermValue::Set(Vec::new()) } else { TermValue::Call(terms) };
            return Ok(Term::new(value, pos));
        }
        self.list(")", &mut terms)?;
        Ok(Term::new(TermValue::Call(terms), pos))
    }

    /// Terms up to `end`, which is taken; a comma before it is allowed.
    fn list(&mut self, end: &str, terms: &mut Vec<Term>) -> Parsed<()> {
        loop {
            if self.take_symbol(end) {
                return Ok(());
            }
            terms.push(self.infix(false)?);
            if !self.take_symbol(",") {
                self.expect_symbol(end)?;
                return Ok(());
            }
        }
    }

    fn array(&mut self) -> Parsed<Term> {
        let open = self.advance();
        if self.take_symbol("]") {
            return Ok(Term::new(TermValue::Array(Vec::new()), open.pos));
        }
        let comprehension = !self.take_symbol(",");
        let head = self.term()?;
        if comprehension
            && self.is_symbol("|")
            && let Some(body) = self.comprehension("]")?
        {
            return Ok(Term::new(TermValue::ArrayCompr(Box::new((head, body))), open.pos));
        }
        let mut terms = vec![self.infix_after(Some(head), false)?];
        if self.take_symbol(",") {
            self.list("]", &mut terms)?;
        } else {
            self.expect_symbol("]")?;
        }
        Ok(Term::new(TermValue::Array(terms), open.pos))
    }

    /// The body of a comprehension after `|`, its end taken. None, and nothing read, if `|` is the operator: a comma follows.
    fn comprehension(&mut self, end: &str) -> Parsed<Option<Body>> {
        let (saved, depth) = (self.at, self.depth);
        self.advance();
        match self.body(end) {
            Ok(body) => Ok(Some(body)),
            Err(error) => {
                // A failed body that stopped at a comma was an operand: `[1 | 2, 3]`.
                if self.is_symbol(",") {
                    self.at = saved;
                    self.depth = depth;
                    Ok(None)
                } else {
                    Err(error)
                }
            }
        }
    }

    fn braces(&mut self) -> Parsed<Term> {
        let open = self.advance();
        if self.take_symbol("}") {
            return Ok(Term::new(TermValue::Object(Vec::new()), open.pos));
        }
        let comprehension = !self.take_symbol(",");
        let mut head = self.term()?;
        if comprehension
            && self.is_symbol("|")
            && let Some(body) = self.comprehension("}")?
        {
            return Ok(Term::new(TermValue::SetCompr(Box::new((head, body))), open.pos));
        }
        head = self.infix_after(Some(head), false)?;
        if self.take_symbol(":") {
            return self.object(head, comprehension, open);
        }
        let mut terms = vec![head];
        if self.take_symbol(",") {
            self.list("}", &mut terms)?;
        } else {
            self.expect_symbol("}")?;
        }
        Ok(Term::new(TermValue::Set(terms), open.pos))
    }

    fn object(&mut self, key: Term, comprehension: bool, open: Token) -> Parsed<Term> {
        let mut value = self.term()?;
        if comprehension && self.is_symbol("|") {
            let (saved, depth) = (self.at, self.depth);
            self.advance();
            if let Ok(body) = self.body("}") {
                let parts = Box::new((key, value, body));
                return Ok(Term::new(TermValue::ObjectCompr(parts), open.pos));
            }
            self.at = saved;
            self.depth = depth;
        }
        value = self.infix_after(Some(value), false)?;
        let mut pairs = vec![(key, value)];
        loop {
            let end = self.take_symbol("}");
            if end || {
                self.expect_symbol(",")?;
                self.take_symbol("}")
            } {
                super::order::unique_keys(&mut pairs);
                return Ok(Term::new(TermValue::Object(pairs), open.pos));
            }
            let key = self.infix(false)?;
            self.expect_symbol(":")?;
            let value = self.infix(false)?;
            pairs.push((key, value));
        }
    }

    fn template(&mut self) -> Parsed<Term> {
        let open = self.advance();
        if self.version == super::Version::V0 && !self.rego_v1 {
            return self.refuse(open, "template strings are Rego v1; add `import rego.v1`");
        }
        let raw = self.text_of(open).ends_with('`');
        let mut parts = Vec::new();
        loop {
            let token = self.peek();
            if token.kind == Kind::TemplateEnd {
                self.advance();
                return Ok(Term::new(TermValue::Template(parts), open.pos));
            }
            if token.kind == Kind::Part {
                self.advance();
                let text = self.text_of(token);
                let text = if raw { text.replace("\\{", "{") } else { super::unescape(text) };
                parts.push(TemplatePart::Text(Value::from(text.as_str())));
                continue;
            }
            self.expect_symbol("{")?;
            let first = self.peek();
            let expr = self.literal()?;
            self.template_expression(first, &expr)?;
            parts.push(match expr.kind {
                ExprKind::Term(Term { value: TermValue::Scalar(value), .. }) if expr.with.is_empty() => {
                    TemplatePart::Text(value)
                }
                _ => TemplatePart::Expr(Box::new(expr)),
            });
            self.expect_symbol("}")?;
        }
    }

    fn template_expression(&self, at: Token, expr: &Expr) -> Parsed<()> {
        let found = match &expr.kind {
            _ if expr.negated => "`not`",
            ExprKind::Call(_) if expr.op() == Some(Sym::EQ) => "`=`",
            ExprKind::Call(_) if expr.op() == Some(Sym::ASSIGN) => "`:=`",
            ExprKind::Every(_) => "`every`",
            ExprKind::Some(_) | ExprKind::SomeIn(_) => "`some`",
            _ => return Ok(()),
        };
        self.refuse(at, format!("{found} gives no value to print in a template string"))
    }
}

/// `input` and `data` alone are references.
fn root_as_reference(term: Term) -> Term {
    match term.value {
        TermValue::Var(sym) if sym == Sym::INPUT || sym == Sym::DATA => {
            let pos = term.pos;
            Term::new(TermValue::Ref(vec![term]), pos)
        }
        _ => term,
    }
}
