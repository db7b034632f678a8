//! Bodies and their expressions.

use super::tokens::Kind;
use super::tree::{
    Body, Every, Expr, ExprKind, Logical, NotBody, Pos, Sym, Term, TermValue, With, call_of, op_of,
};
use super::{Parsed, Parser, Span};

impl Parser {
    /// Expressions up to `end`, which is taken.
    pub(super) fn body(&mut self, end: &str) -> Parsed<Body> {
        self.enter()?;
        if self.is_symbol(end) {
            return self.unexpected("a body holds at least one expression");
        }
        let mut body = Vec::new();
        loop {
            body.push(self.literal()?);
            if self.take_symbol(";") {
                continue;
            }
            if self.take_symbol(end) {
                self.leave();
                return Ok(body);
            }
            if !self.peek().newline {
                return self.unexpected(&format!("a new line, `;` or `{end}` is expected"));
            }
        }
    }

    /// Expressions to the end of the text.
    pub(super) fn query(&mut self) -> Parsed<Body> {
        let mut body = Vec::new();
        loop {
            if self.peek().kind == Kind::End && !body.is_empty() {
                return Ok(body);
            }
            body.push(self.literal()?);
            self.take_symbol(";");
        }
    }

    /// One expression, its `with` included.
    pub(super) fn literal(&mut self) -> Parsed<Expr> {
        self.enter()?;
        self.expressions += 1;
        if self.expressions > super::MOST_EXPRESSIONS {
            return self.refuse(self.peek(), "one rule has too many expressions; make several rules of it");
        }
        let first = self.peek();
        let expr = self.literal_inner()?;
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).copied().unwrap_or(first);
        self.spans.push(Span {
            from: first.pos,
            to: self.peek().pos,
            start: first.start,
            end: last.full_end,
        });
        self.leave();
        Ok(expr)
    }

    fn logical(&self) -> bool {
        self.keywords.and || self.keywords.or
    }

    fn is_logical_operator(&self) -> bool {
        self.is_keyword("and") || self.is_keyword("or")
    }

    fn literal_inner(&mut self) -> Parsed<Expr> {
        let pos = self.peek().pos;
        if self.logical() && self.is_symbol("{") {
            let (saved, depth) = (self.at, self.depth);
            self.advance();
            if let Ok(body) = self.body("}")
                && self.is_logical_operator()
            {
                let expr = self.or_chain(body, true, pos)?;
                return self.attach_with(expr);
            }
            (self.at, self.depth) = (saved, depth);
        }
        if self.logical()
            && self.is_symbol("(")
            && let Some((body, explicit)) = self.group(false)?
        {
            return self.fold(body, explicit, pos);
        }
        let token = self.peek();
        if token.kind == Kind::Ident && self.is_keyword_text(self.text_of(token)) && self.begins_reference() {
            return self.expression(false, pos);
        }
        if self.is_keyword("not") {
            self.advance();
            if self.keywords.not_bodies && self.is_symbol("{") {
                self.advance();
                let body = self.body("}")?;
                let not = Expr::new(ExprKind::Not(Box::new(NotBody { body, explicit: true })), pos);
                return self.fold(vec![not], false, pos);
            }
            if self.is_keyword("some") || self.is_keyword("every") {
                return self
                    .unexpected("`some` and `every` cannot be negated; negate a rule that holds them");
            }
            return self.expression(true, pos);
        }
        if self.is_keyword("some") {
            return self.some();
        }
        if self.is_keyword("every") {
            return self.every();
        }
        self.expression(false, pos)
    }

    /// `{ body }` or one expression goes on as the left side of `and`/`or`, or stands alone.
    fn fold(&mut self, mut body: Body, explicit: bool, pos: Pos) -> Parsed<Expr> {
        if self.is_logical_operator() {
            let expr = self.or_chain(body, explicit, pos)?;
            return self.attach_with(expr);
        }
        match body.pop() {
            Some(expr) => self.attach_with(expr),
            None => self.unexpected("an expression is expected"),
        }
    }

    fn expression(&mut self, negated: bool, pos: Pos) -> Parsed<Expr> {
        if negated
            && self.keywords.not_bodies
            && self.is_symbol("(")
            && let Some((body, explicit)) = self.group(true)?
        {
            let not = Expr::new(ExprKind::Not(Box::new(NotBody { body, explicit })), pos);
            return self.fold(vec![not], false, pos);
        }
        let first = self.peek();
        let braces = self.is_symbol("{");
        let mut expr = self.plain(pos)?;
        let with = self.withs()?;
        if negated && self.keywords.not_bodies {
            expr = Expr::new(ExprKind::Not(Box::new(NotBody { body: vec![expr], explicit: false })), pos);
        } else {
            expr.negated = negated;
        }
        if self.is_logical_operator() {
            if braces && !negated {
                return self.refuse(first, "an operand of `and` or `or` that begins with a brace is a body; put parentheses around this value");
            }
            if !with.is_empty() {
                return self
                    .unexpected("`with` on an operand of `and` or `or` needs braces around the operand");
            }
            let expr = self.or_chain(vec![expr], false, pos)?;
            return self.attach_with(expr);
        }
        expr.with = with;
        Ok(expr)
    }

    /// `lhs = rhs`, `lhs := rhs`, a call or a term.
    fn plain(&mut self, pos: Pos) -> Parsed<Expr> {
        let token = self.peek();
        let keyword_reference =
            token.kind == Kind::Ident && self.is_keyword_text(self.text_of(token)) && self.begins_reference();
        let left = if keyword_reference {
            let term = self.name(token)?;
            self.infix_after(Some(term), true)?
        } else {
            self.infix(true)?
        };
        for (text, op) in [(":=", Sym::ASSIGN), ("=", Sym::EQ)] {
            if self.is_symbol(text) {
                let at = self.advance();
                let right = self.infix(true)?;
                let mut terms = call_of(op, vec![left, right], pos);
                if let Some(op) = terms.first_mut() {
                    op.pos = at.pos;
                }
                return Ok(Expr::new(ExprKind::Call(terms), pos));
            }
        }
        Ok(match left.value {
            TermValue::Call(terms) => Expr::new(ExprKind::Call(terms), pos),
            value => Expr::new(ExprKind::Term(Term::new(value, left.pos)), pos),
        })
    }

    fn withs(&mut self) -> Parsed<Vec<With>> {
        let mut withs = Vec::new();
        while self.is_keyword("with") {
            let pos = self.advance().pos;
            let token = self.peek();
            if !self.is_name() {
                return self.unexpected("`with` needs a path of input or data, or a function");
            }
            let target = self.name(token)?;
            if !matches!(target.value, TermValue::Var(_) | TermValue::Ref(_)) {
                return self.refuse(token, "`with` needs a path of input or data, or a function");
            }
            if let TermValue::Ref(path) = &target.value {
                self.is_short(path, token)?;
            }
            if !self.take_keyword("as") {
                return self.unexpected("`as` is expected");
            }
            let value = self.infix(true)?;
            withs.push(With { target, value, pos });
        }
        Ok(withs)
    }

    fn attach_with(&mut self, mut expr: Expr) -> Parsed<Expr> {
        let withs = self.withs()?;
        expr.with.extend(withs);
        Ok(expr)
    }

    /// Operator and operands of `x in xs` or `k, v in xs`.
    fn membership(&self, term: Term) -> Option<Vec<Term>> {
        let TermValue::Call(terms) = term.value else { return None };
        let TermValue::Ref(path) = &terms.first()?.value else { return None };
        let [first, second] = path.as_slice() else { return None };
        let name = second.as_scalar()?.as_bytes()?;
        let member = match name {
            b"member_2" => terms.len() == 3,
            b"member_3" => terms.len() == 4,
            _ => false,
        };
        (first.as_var() == Some(Sym::INTERNAL) && member).then_some(terms)
    }

    fn some(&mut self) -> Parsed<Expr> {
        let pos = self.advance().pos;
        let (saved, depth) = (self.at, self.depth);
        let token = self.peek();
        if let Ok(term) = self.infix(true)
            && matches!(term.value, TermValue::Call(_))
        {
            return match self.membership(term) {
                Some(terms) => {
                    let expr = Expr::new(ExprKind::SomeIn(terms), pos);
                    self.attach_with(expr)
                }
                None => self.refuse(token, "`some` takes names, `x in xs` or `k, v in xs`"),
            };
        }
        (self.at, self.depth) = (saved, depth);
        let mut names = Vec::new();
        loop {
            if !self.is_name() {
                return self.unexpected("a name is expected");
            }
            let token = self.advance();
            let sym = self.sym(token);
            names.push(Term::var(sym, token.pos));
            if !self.take_symbol(",") {
                return Ok(Expr::new(ExprKind::Some(names), pos));
            }
        }
    }

    fn every(&mut self) -> Parsed<Expr> {
        let pos = self.advance().pos;
        let token = self.peek();
        let term = self.infix(true)?;
        let wanted = "`every` is written `every x in xs { … }` or `every k, v in xs { … }`";
        let Some(mut terms) = self.membership(term) else { return self.refuse(token, wanted) };
        let (Some(domain), Some(value)) = (terms.pop(), terms.pop()) else {
            return self.refuse(token, wanted);
        };
        let key = if terms.len() > 1 { terms.pop() } else { None };
        let names = [Some(&value), key.as_ref()];
        if names.iter().flatten().any(|t| t.as_var().is_none()) {
            return self.refuse(token, "the key and the value of `every` are names");
        }
        if !self.is_symbol("{") {
            return self.unexpected("`every` needs a body in braces");
        }
        self.advance();
        let body = self.body("}")?;
        let expr = Expr::new(ExprKind::Every(Box::new(Every { key, value, domain, body })), pos);
        self.attach_with(expr)
    }

    // --- `and`, `or` ---

    fn or_chain(&mut self, left: Body, explicit: bool, pos: Pos) -> Parsed<Expr> {
        self.enter()?;
        let (mut left, mut explicit) = (left, explicit);
        if self.is_keyword("and") {
            left = vec![self.and_chain(left, explicit, pos)?];
            explicit = false;
        }
        let mut links = 0;
        while self.take_keyword("or") {
            let (mut right, mut explicit_right) = self.logical_operand()?;
            if self.is_keyword("and") {
                right = vec![self.and_chain(right, explicit_right, pos)?];
                explicit_right = false;
            }
            let logical = Logical { or: true, left, right, explicit_left: explicit, explicit_right };
            left = vec![Expr::new(ExprKind::Logical(Box::new(logical)), pos)];
            explicit = false;
            links += 1;
            if links > super::MOST_NESTING {
                return self.unexpected("too many operators in one expression");
            }
        }
        self.leave();
        match left.pop() {
            Some(expr) => Ok(expr),
            None => self.unexpected("an expression is expected"),
        }
    }

    fn and_chain(&mut self, left: Body, explicit: bool, pos: Pos) -> Parsed<Expr> {
        let (mut left, mut explicit) = (left, explicit);
        let mut links = 0;
        while self.take_keyword("and") {
            let (right, explicit_right) = self.logical_operand()?;
            let logical = Logical { or: false, left, right, explicit_left: explicit, explicit_right };
            left = vec![Expr::new(ExprKind::Logical(Box::new(logical)), pos)];
            explicit = false;
            links += 1;
            if links > super::MOST_NESTING {
                return self.unexpected("too many operators in one expression");
            }
        }
        match left.pop() {
            Some(expr) => Ok(expr),
            None => self.unexpected("an expression is expected"),
        }
    }

    fn logical_operand(&mut self) -> Parsed<(Body, bool)> {
        self.enter()?;
        let pos = self.peek().pos;
        if self.take_symbol("{") {
            let body = self.body("}")?;
            if let Some(Expr { kind: ExprKind::Call(terms), .. }) = body.first() {
                let union = op_of(terms).is_some_and(|op| self.names.text(op) == "or");
                if union {
                    return self
                        .unexpected("`{ … | … }` here is a body; put parentheses around the set union");
                }
            }
            self.leave();
            return Ok((body, true));
        }
        let negated = self.is_keyword("not");
        if negated {
            self.advance();
            if self.keywords.not_bodies && self.take_symbol("{") {
                let body = self.body("}")?;
                self.leave();
                let not = NotBody { body, explicit: true };
                return Ok((vec![Expr::new(ExprKind::Not(Box::new(not)), pos)], false));
            }
        }
        if self.is_symbol("(")
            && (!negated || self.keywords.not_bodies)
            && let Some((body, explicit)) = self.group(true)?
        {
            self.leave();
            if negated {
                let not = NotBody { body, explicit };
                return Ok((vec![Expr::new(ExprKind::Not(Box::new(not)), pos)], false));
            }
            return Ok((body, explicit));
        }
        let mut expr = self.plain(pos)?;
        if negated && self.keywords.not_bodies {
            expr = Expr::new(ExprKind::Not(Box::new(NotBody { body: vec![expr], explicit: false })), pos);
        } else {
            expr.negated = negated;
        }
        self.leave();
        Ok((vec![expr], false))
    }

    /// A group in parentheses that holds or precedes `and`, `or`, `not`; None, and nothing read, if it is a term.
    fn group(&mut self, operand: bool) -> Parsed<Option<(Body, bool)>> {
        self.enter()?;
        let (saved, depth) = (self.at, self.depth);
        self.advance();
        let found = self.group_inner(operand);
        match found {
            Ok(Some(body)) => {
                self.depth = depth - 1;
                Ok(Some(body))
            }
            _ => {
                (self.at, self.depth) = (saved, depth - 1);
                Ok(None)
            }
        }
    }

    fn group_inner(&mut self, operand: bool) -> Parsed<Option<(Body, bool)>> {
        let pos = self.peek().pos;
        let (mut body, explicit) = self.logical_operand()?;
        if self.is_logical_operator() {
            let expr = self.or_chain(body, explicit, pos)?;
            let expr = self.attach_with(expr)?;
            self.expect_symbol(")")?;
            return Ok(Some((vec![expr], false)));
        }
        if self.is_keyword("with") && !explicit && body.len() == 1 {
            let with = self.withs()?;
            if let Some(expr) = body.first_mut() {
                expr.with = with;
            }
            self.expect_symbol(")")?;
            return Ok((operand || self.is_logical_operator()).then_some((body, false)));
        }
        let logical = match body.as_slice() {
            [expr] => expr.negated || matches!(expr.kind, ExprKind::Logical(_) | ExprKind::Not(_)),
            _ => false,
        };
        if !explicit && logical {
            self.expect_symbol(")")?;
            return Ok(Some((body, false)));
        }
        Ok(None)
    }
}
