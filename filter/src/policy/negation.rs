//! Gives `not` the meaning that OPA gives it, by rewriting the text of a file before it is kept.
//!
//! OPA's compiler takes the operands out of a negated expression: `not f(input.x)` is `y := input.x; not f(y)`, and
//! without `input.x` the whole body is undefined (v1/ast/compile.go: `rewriteExprTerms`, `rewriteEquals`,
//! `rewriteDynamicTerms`). The engine negates the whole and answers true: the gate opens. It takes no syntax tree but
//! its own parser's, so the text is changed, and only within a statement: line numbers stay. The cost is a second parse,
//! an assignment for each operand, and columns in messages that count in text which nobody wrote. A file that imports
//! `future.keywords.not` keeps its text: there OPA negates the whole as well.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use regorus::unstable::{
    AssignOp, BoolOp, Expr, Literal, LiteralStmt, Module as Ast, Query, Rule, RuleHead, Span, WithModifier,
};

use super::{
    module::ModuleError,
    syntax::{children, constant_path, push_children, push_statement},
};

/// Deepest nesting of operands in operands: the stack of a Wasm VM ends at a few hundred calls.
const MAX_DEPTH: usize = 100;

/// Variables, by name.
type Names = BTreeSet<String>;

struct Rewriter<'a> {
    name: &'a str,
    text: &'a str,
    /// What begins every new variable, and nothing in the text.
    prefix: String,
    variables: usize,
    /// OPA negates whole expressions in this file.
    negates_whole: bool,
    /// Start of what is replaced → its end, and what replaces it. No two overlap.
    edits: BTreeMap<usize, (usize, String)>,
    /// The assignments that go before the statement at hand.
    assignments: Vec<String>,
    /// What the arguments and the bodies around certainly bind, so that it is no rule. The variables of `every` are left
    /// out: in brackets the engine takes them for variables that are still to be bound.
    scopes: Vec<Names>,
    depth: usize,
}

/// Where an operand stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Directly in the negated expression.
    Negated,
    /// In the brackets of a reference that stays in the negated expression.
    Index,
    /// In a call that is itself taken out: here a reference may iterate.
    Call,
}

/// The text of a file with OPA's meaning for `not`; none if it has that already.
///
/// Errors: [`ModuleError::Negation`] for a negated expression that OPA refuses, or that the engine cannot be given.
pub(super) fn rewrite(name: &str, text: &str, ast: &Ast) -> Result<Option<String>, ModuleError> {
    let mut prefix = "__not".to_owned();
    while text.contains(&prefix) {
        prefix.push('_');
    }
    let negates_whole = ast.imports.iter().any(|import| {
        let path = constant_path(&import.refr);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        matches!(path[..], ["future", "keywords"] | ["future", "keywords", "not"])
    });
    let mut rewriter = Rewriter {
        name,
        text,
        prefix,
        variables: 0,
        negates_whole,
        edits: BTreeMap::new(),
        assignments: Vec::new(),
        scopes: Vec::new(),
        depth: 0,
    };
    for rule in &ast.policy {
        rewriter.rule(rule)?;
    }
    Ok((!rewriter.edits.is_empty()).then(|| rewriter.render(0..text.len())))
}

// === impl Rewriter ===

impl Rewriter<'_> {
    fn rule(&mut self, rule: &Rule) -> Result<(), ModuleError> {
        let mut arguments = Names::new();
        if let Rule::Spec { head: RuleHead::Func { args, .. }, .. } = rule {
            args.iter().for_each(|argument| bind(argument, &mut arguments));
        }
        let (expressions, queries) = children(rule);
        self.scopes.push(arguments);
        self.queries(queries, expressions)?;
        self.scopes.pop();
        Ok(())
    }

    /// Rewrites bodies, and those of the comprehensions in expressions.
    fn queries<'e>(
        &mut self,
        mut queries: Vec<&'e Query>,
        mut expressions: Vec<&'e Expr>,
    ) -> Result<(), ModuleError> {
        while let Some(expression) = expressions.pop() {
            push_children(expression, &mut expressions, &mut queries);
        }
        queries.into_iter().try_for_each(|query| self.query(query))
    }

    fn query(&mut self, query: &Query) -> Result<(), ModuleError> {
        let mut names = Names::new();
        for statement in &query.stmts {
            bind_in(statement, &mut names);
        }
        self.scopes.push(names);
        for statement in &query.stmts {
            let (mut expressions, mut queries) = (Vec::new(), Vec::new());
            push_statement(statement, &mut expressions, &mut queries);
            self.queries(queries, expressions)?;
            if let Literal::NotExpr { expr, .. } = &statement.literal {
                self.statement(statement, expr)?;
            }
            let assignments = std::mem::take(&mut self.assignments);
            if !assignments.is_empty() {
                // A rule's body of one statement may stand without braces.
                let bare = query.span.start == statement.span.start;
                let Range { start, end } = self.range(&statement.span);
                let before = format!("{}{}; ", if bare { "{ " } else { "" }, assignments.join("; "));
                self.edits.insert(start, (start, before));
                if bare {
                    self.edits.insert(end, (end, " }".to_owned()));
                }
            }
        }
        self.scopes.pop();
        Ok(())
    }

    fn statement(&mut self, statement: &LiteralStmt, expression: &Expr) -> Result<(), ModuleError> {
        if self.negates_whole {
            if has_body(statement) {
                return Err(self.refuse(
                    &statement.span,
                    "has a body, which the engine does not know",
                    "make the body a rule and negate that",
                ));
            }
        } else {
            self.negated(expression)?;
        }
        let operands = std::mem::take(&mut self.assignments);
        let modifiers = statement.with_mods.iter();
        let modifiers: String =
            modifiers.map(|modifier| self.modifier(modifier)).collect::<Result<_, _>>()?;
        self.assignments.extend(operands.into_iter().map(|operand| operand + &modifiers));
        Ok(())
    }

    /// A rule or reference that is negated stays, and so does one that is compared with `==`, which OPA unifies.
    fn negated(&mut self, expression: &Expr) -> Result<(), ModuleError> {
        match expression {
            Expr::AssignExpr { span, op: AssignOp::ColEq, .. } => Err(self.refuse(
                span,
                "assigns, and nothing could read the variable",
                "use `==`, or assign before the `not`",
            )),
            Expr::AssignExpr { lhs, rhs, .. } => {
                self.side(lhs)?;
                self.side(rhs)?;
                // Nothing can be bound here, and the engine would try to.
                let Range { end, .. } = self.extent(lhs);
                let sign = self.text.get(end..).and_then(|rest| rest.find('=')).unwrap_or(0) + end;
                self.edits.insert(sign, (sign + 1, "==".to_owned()));
                Ok(())
            }
            Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. } => {
                self.side(lhs)?;
                self.side(rhs)
            }
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.side(expression),
            _ => self.operands(expression, Place::Negated),
        }
    }

    fn side(&mut self, side: &Expr) -> Result<(), ModuleError> {
        match side {
            Expr::Var { .. } => Ok(()),
            Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(side),
            _ => self.operand(side, Place::Negated),
        }
    }

    /// Takes out what a reference that stays is made of.
    fn reference(&mut self, reference: &Expr) -> Result<(), ModuleError> {
        let mut part = reference;
        loop {
            match part {
                Expr::RefDot { refr, .. } => part = refr,
                Expr::RefBrack { refr, index, .. } => {
                    self.operand(index, Place::Index)?;
                    part = refr;
                }
                Expr::Var { .. } => return Ok(()),
                _ => return self.operand(part, Place::Negated),
            }
        }
    }

    fn operand(&mut self, operand: &Expr, place: Place) -> Result<(), ModuleError> {
        match operand {
            Expr::Var { span, .. } if span.text() == "_" => Err(self.refuse(
                span,
                "has a variable that nothing binds",
                "bind it before, or make the expression a rule and negate that",
            )),
            Expr::Var { span, .. } if self.scopes.iter().any(|names| names.contains(span.text())) => Ok(()),
            Expr::Var { .. } => {
                self.take_out(operand, true);
                Ok(())
            }
            Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                if place != Place::Call {
                    self.reference(operand)?;
                }
                self.take_out(operand, place == Place::Index);
                Ok(())
            }
            Expr::Call { .. }
            | Expr::BinExpr { .. }
            | Expr::BoolExpr { .. }
            | Expr::ArithExpr { .. }
            | Expr::Membership { .. } => {
                self.operands(operand, Place::Call)?;
                self.take_out(operand, place == Place::Index);
                Ok(())
            }
            _ => self.operands(operand, place),
        }
    }

    /// The operands of a call or an operator, or the items of a literal. A comprehension is always defined, and the
    /// engine knows a minus sign only before a number.
    fn operands(&mut self, expression: &Expr, place: Place) -> Result<(), ModuleError> {
        if matches!(
            expression,
            Expr::ArrayCompr { .. }
                | Expr::SetCompr { .. }
                | Expr::ObjectCompr { .. }
                | Expr::UnaryExpr { .. }
        ) {
            return Ok(());
        }
        if self.depth >= MAX_DEPTH {
            return Err(self.refuse(
                expression.span(),
                "nests too deeply",
                "assign parts of it before the `not`",
            ));
        }
        self.depth += 1;
        let mut operands = Vec::new();
        push_children(expression, &mut operands, &mut Vec::new());
        let result = operands.into_iter().try_for_each(|operand| self.operand(operand, place));
        self.depth -= 1;
        result
    }

    /// Moves an expression into an assignment of its own. Boxed in an array where the engine would take a plain variable
    /// for one that is still to be bound: in brackets, or as the whole right side of an assignment.
    fn take_out(&mut self, expression: &Expr, boxed: bool) {
        let Range { start, end } = self.extent(expression);
        let value = self.render(start..end);
        let inner: Vec<usize> = self.edits.range(start..end).map(|(start, _)| *start).collect();
        inner.iter().for_each(|start| {
            self.edits.remove(start);
        });
        self.variables += 1;
        let variable = format!("{}{}", self.prefix, self.variables);
        let (assigned, used) = if boxed {
            (format!("[({value})]"), format!("{variable}[0]"))
        } else {
            (value, variable.clone())
        };
        self.assignments.push(format!("{variable} := {assigned}"));
        // `"a" in["a"]` needs no space, a variable does.
        let is_word =
            |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let text = self.text.as_bytes();
        let before = if is_word(text.get(..start).and_then(<[u8]>::last)) { " " } else { "" };
        let after = if is_word(text.get(end)) { " " } else { "" };
        self.edits.insert(start, (end, format!("{before}{used}{after}")));
    }

    /// The text of a `with` for the operands. A value that has to be evaluated is taken out first: it is evaluated once,
    /// and the engine forgets that it was undefined when another `with` follows, and what a rule was that it named.
    fn modifier(&mut self, modifier: &WithModifier) -> Result<String, ModuleError> {
        let target = self.text.get(self.extent(&modifier.refr)).unwrap_or_default().to_owned();
        let value = &modifier.r#as;
        if !self.is_plain(value, target.starts_with("input")) {
            if !matches!(value.as_ref(), Expr::RefDot { .. } | Expr::RefBrack { .. }) {
                self.operands(value, Place::Call)?;
            }
            self.take_out(value, false);
        }
        Ok(format!(" with {target} as {}", self.render(self.extent(value))))
    }

    /// Whether the value of a `with` can stay: a constant, a variable, or what may name a function, which has no value.
    fn is_plain(&self, value: &Expr, replaces_input: bool) -> bool {
        match value {
            Expr::String { .. } | Expr::Number { .. } | Expr::Bool { .. } | Expr::Null { .. } => true,
            Expr::Object { fields, .. } => fields.is_empty(),
            Expr::Array { items, .. } | Expr::Set { items, .. } => items.is_empty(),
            Expr::Var { span, .. } => {
                let name = span.text();
                self.scopes.iter().any(|names| names.contains(name)) || !(replaces_input || name == "input")
            }
            Expr::RefDot { refr, .. } => !replaces_input && self.is_plain(refr, false),
            _ => false,
        }
    }

    /// The place of an expression in the text, where the engine's span has it wrong.
    fn extent(&self, expression: &Expr) -> Range<usize> {
        let mut range = self.range(expression.span());
        match expression {
            // The span begins at the last key.
            Expr::Object { fields, .. } => {
                let first = fields.first().map(|(key, ..)| self.range(key).start);
                let before = first.and_then(|first| self.text.get(..first));
                range.start = before.and_then(|text| text.rfind('{')).unwrap_or(range.start);
            }
            // The span of `set()` ends with the token that follows.
            Expr::Set { items, .. } if items.is_empty() => {
                let rest = self.text.get(range.start..).unwrap_or_default();
                range.end = rest.find(')').map_or(range.end, |end| range.start + end + 1);
            }
            _ => {}
        }
        range
    }

    /// The place of a span, with the quotes of a string that it begins or ends with, which the engine leaves out.
    fn range(&self, span: &Span) -> Range<usize> {
        let (start, end) = (span.start as usize, span.end as usize);
        let is_quote = |at: usize| matches!(self.text.as_bytes().get(at), Some(b'"' | b'`'));
        let before = start.checked_sub(1).filter(|&before| is_quote(before));
        before.unwrap_or(start)..if is_quote(end) { end + 1 } else { end }
    }

    /// A part of the text with the edits in it.
    fn render(&self, range: Range<usize>) -> String {
        let mut rendered = String::new();
        let mut position = range.start;
        for (&start, (end, replacement)) in self.edits.range(range.start..=range.end) {
            rendered.push_str(self.text.get(position..start).unwrap_or_default());
            rendered.push_str(replacement);
            position = *end;
        }
        rendered.push_str(self.text.get(position..range.end).unwrap_or_default());
        rendered
    }

    fn refuse(&self, span: &Span, fault: &'static str, cure: &'static str) -> ModuleError {
        ModuleError::Negation { name: self.name.to_owned(), line: span.line, fault, cure }
    }
}

/// Whether `not` is followed by `{`, or by a comment that may hide one.
fn has_body(statement: &LiteralStmt) -> bool {
    let written = statement.span.text().trim_start_matches("not").trim_start();
    written.starts_with(['{', '#'])
}

/// Adds the variables that a statement binds for certain: those of `some … in` and `:=`.
fn bind_in(statement: &LiteralStmt, names: &mut Names) {
    match &statement.literal {
        Literal::SomeIn { key, value, .. } => {
            key.iter().chain([value]).for_each(|pattern| bind(pattern, names));
        }
        Literal::Expr { expr, .. } => {
            if let Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } = expr.as_ref() {
                bind(lhs, names);
            }
        }
        _ => {}
    }
}

/// Adds the variables of a pattern.
fn bind(pattern: &Expr, names: &mut Names) {
    let mut patterns = vec![pattern];
    while let Some(pattern) = patterns.pop() {
        match pattern {
            Expr::Var { span, .. } if span.text() != "_" => {
                names.insert(span.text().to_owned());
            }
            Expr::Array { items, .. } => patterns.extend(items.iter().map(AsRef::as_ref)),
            Expr::Object { fields, .. } => patterns.extend(fields.iter().map(|(_, _, value)| value.as_ref())),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
