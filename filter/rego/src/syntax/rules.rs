//! Packages, imports and rules.

use super::MOST_NESTING;
use super::annotations::Target;
use super::tokens::{Kind, Token};
use super::tree::{Expr, ExprKind, Head, Import, Module, Rule, Sym, Term, TermValue};
use super::{Keywords, Parsed, Parser, Version};
use crate::builtins;
use crate::value::Value;

/// Most often it is a policy of before Rego v1.
const NO_IF: &str = "`if` is needed before the body of a rule; a bundle of Rego v0 has `\"rego_version\": 0` in its `.manifest`";

const V1_KEYWORDS: &[&str] = &[
    "package", "import", "as", "default", "else", "not", "null", "true", "false", "with", "some", "contains",
    "every", "if", "in",
];

impl Parser {
    /// Parses so many statements; whether the text ends there.
    pub(super) fn statements(&mut self, count: usize, module: &mut Option<Module>) -> Parsed<bool> {
        let out = match module {
            Some(module) => module,
            None => module.insert(self.beginning()?),
        };
        for _ in 0..count {
            if self.peek().kind == Kind::End {
                out.strict_v1 = self.rego_v1;
                out.annotations = self.annotations()?;
                return Ok(true);
            }
            if self.is_keyword("package") {
                return self.unexpected("a file has one `package`, at its beginning");
            }
            if self.is_keyword("import") {
                let import = self.import()?;
                self.statements.push((import.pos.line, Target::Import));
                out.imports.push(import);
                continue;
            }
            let (before, token) = (out.rules.len(), self.peek());
            if self.is_symbol("(") {
                let rule = self.expression_rule()?;
                out.rules.push(rule);
            } else {
                self.rule(&mut out.rules)?;
            }
            for rule in out.rules.iter().skip(before) {
                self.is_short(&rule.head.reference, token)?;
            }
            let new = out.rules.iter().enumerate().skip(before);
            self.statements.extend(new.map(|(index, rule)| (rule.pos.line, Target::Rule(index))));
        }
        Ok(false)
    }

    /// Refuses a path that nests documents deeper than terms may be nested: what walks the tree of rules calls itself.
    pub(super) fn is_short(&self, path: &[Term], token: Token) -> Parsed<()> {
        if path.len() > MOST_NESTING as usize {
            return self.refuse(token, format!("a path of more than {MOST_NESTING} steps; use fewer"));
        }
        Ok(())
    }

    fn beginning(&mut self) -> Parsed<Module> {
        let token = self.peek();
        if token.kind == Kind::End {
            return self.refuse(token, "the file is empty; it begins with `package`");
        }
        if !self.take_keyword("package") {
            return self.unexpected("a file begins with `package`");
        }
        let package = self.package()?;
        self.statements.push((token.pos.line, Target::Package));
        Ok(Module {
            package,
            pos: token.pos,
            imports: Vec::new(),
            rules: Vec::new(),
            strict_v1: self.rego_v1,
            annotations: Vec::new(),
        })
    }

    fn package(&mut self) -> Parsed<Vec<Value>> {
        let token = self.peek();
        if token.kind != Kind::Ident {
            return self.unexpected("the package's name is expected");
        }
        let term = self.name(token)?;
        let mut path = vec![Value::from(self.text_of(token))];
        match term.value {
            TermValue::Var(_) => {}
            TermValue::Ref(terms) if terms.first().is_some_and(|t| t.as_var().is_some()) => {
                self.is_short(&terms, token)?;
                for step in terms.iter().skip(1) {
                    match step.as_scalar() {
                        Some(name @ Value::String(_)) => path.push(name.clone()),
                        _ => return self.refuse(token, "a package's path holds names and strings only"),
                    }
                }
            }
            _ => return self.refuse(token, "a package's path holds names and strings only"),
        }
        Ok(path)
    }

    fn import(&mut self) -> Parsed<Import> {
        let pos = self.advance().pos;
        let token = self.peek();
        if token.kind != Kind::Ident {
            return self.unexpected("a path of data, input, rego or future is expected");
        }
        let term = self.name(token)?;
        let path = match term.value {
            TermValue::Var(_) => vec![term],
            TermValue::Ref(terms) => terms,
            _ => return self.refuse(token, "an import is a path of names and strings"),
        };
        let mut names = path.iter().skip(1).map(|t| t.as_scalar().and_then(Value::as_bytes));
        if names.any(|name| name.is_none()) {
            return self.refuse(token, "an import is a path of names and strings");
        }
        self.is_short(&path, token)?;
        let root = path.first().and_then(Term::as_var);
        if !matches!(root, Some(Sym::INPUT | Sym::DATA | Sym::REGO | Sym::FUTURE)) {
            return self.refuse(token, "an import begins with data, input, rego or future");
        }
        let mut alias = None;
        if self.take_keyword("as") {
            let token = self.peek();
            if !self.is_name() {
                return self.unexpected("a name that is no keyword is expected");
            }
            self.advance();
            alias = Some(self.sym(token));
        }
        let last = match path.as_slice() {
            [_] => self.text_of(token).to_owned(),
            [.., last] => match last.as_scalar().and_then(Value::as_bytes) {
                Some(name) => String::from_utf8_lossy(name).into_owned(),
                None => String::new(),
            },
            [] => String::new(),
        };
        let keyword = match self.version {
            Version::V1 => V1_KEYWORDS.contains(&last.as_str()),
            Version::V0 => V1_KEYWORDS.iter().take(11).any(|k| *k == last),
        };
        if alias.is_none() && root != Some(Sym::FUTURE) && keyword {
            return self.refuse(
                token,
                format!("an import cannot end in the keyword `{last}`; give it a name with `as`"),
            );
        }
        let import = Import { path, alias, pos };
        match root {
            Some(Sym::FUTURE) => self.future(token, &import)?,
            Some(Sym::REGO) => {
                if import.path.len() != 2 || last != "v1" {
                    return self.refuse(token, "the only import of rego is `rego.v1`");
                }
                if self.version == Version::V0 {
                    if alias.is_some() {
                        return self.refuse(token, "`rego.v1` cannot be given another name");
                    }
                    self.rego_v1 = true;
                    self.keywords =
                        Keywords { contains: true, every: true, if_: true, in_: true, ..self.keywords };
                }
            }
            _ => {}
        }
        Ok(import)
    }

    fn future(&mut self, token: Token, import: &Import) -> Parsed<()> {
        let name = |at: usize| import.path.get(at).and_then(Term::as_scalar).and_then(Value::as_bytes);
        if name(1) != Some(b"keywords") {
            return self.refuse(token, "the only imports of future are `future.keywords` and what is in it");
        }
        if import.alias.is_some() {
            return self.refuse(token, "imports of future cannot be given another name");
        }
        // A longer path stands for all of them too.
        let all = import.path.len() != 3;
        let is = |keyword: &[u8]| all || name(2) == Some(keyword);
        let mut known = all;
        for (keyword, flag) in [
            (b"contains".as_slice(), &mut self.keywords.contains),
            (b"if".as_slice(), &mut self.keywords.if_),
            (b"in".as_slice(), &mut self.keywords.in_),
            (b"not".as_slice(), &mut self.keywords.not_bodies),
            (b"and".as_slice(), &mut self.keywords.and),
            (b"or".as_slice(), &mut self.keywords.or),
        ] {
            if is(keyword) {
                *flag = true;
                known = true;
            }
        }
        if is(b"every") {
            self.keywords.every = true;
            self.keywords.in_ = true;
            known = true;
        }
        if !known {
            return self.refuse(token, "no such keyword; there are and, contains, every, if, in, not, or");
        }
        Ok(())
    }

    fn rule(&mut self, rules: &mut Vec<Rule>) -> Parsed<()> {
        self.expressions = 0;
        let first = self.peek();
        let default = self.is_keyword("default");
        if default {
            self.advance();
        }
        let name = self.peek();
        let keyword =
            name.kind == Kind::Ident && self.is_keyword_text(self.text_of(name)) && !self.begins_reference();
        if name.kind != Kind::Ident || keyword {
            return self.unexpected("a rule begins with its name");
        }
        let after = self.peek_at(1);
        let spaced = after.space && ["[", "(", "."].iter().any(|s| self.token_is_symbol(after, s));
        let (mut head, contains, written) = self.head(name)?;
        if default {
            return self.default_rule(first, head, contains, rules);
        }
        let has_if = self.is_if(written || contains);
        let two = head.reference.len() == 2 && head.args.is_empty() && !contains;
        let has_body = has_if || self.is_symbol("{");
        if two && has_if && head.value.is_some() {
            // `p[x] := v if …` is an object whatever x is; `p["a"] := v if …` is not.
            head.object_key = head.reference.get(1).is_some_and(|t| !t.is_ground() || is_ref(t));
        }
        if two && !has_if {
            if written {
                head.object_key = true;
            } else {
                // `p[x] { … }`, `p["a"]`: a set, before Rego v1.
                if self.rego_v1 {
                    let wanted = if has_body { "`if` before the body" } else { "a value or a body" };
                    return self
                        .refuse(first, format!("this rule needs {wanted}; a set is written `contains`"));
                }
                head.key = head.reference.pop();
                head.value = None;
            }
        }
        if head.key.is_none() && head.value.is_none() {
            head.value = Some(Term::boolean(true, head.pos));
        }
        let mut rule = Rule { head, body: Vec::new(), branches: Vec::new(), default: false, pos: first.pos };
        if has_if {
            self.advance();
            rule.body = self.if_body()?;
        } else if self.is_symbol("{") {
            if self.rego_v1 {
                return self.unexpected(NO_IF);
            }
            self.advance();
            rule.body = self.body("}")?;
        } else {
            if spaced && !contains {
                return self.refuse(first, "a rule without a body has no space after its name; remove it");
            }
            if !contains && !written {
                let function = !rule.head.args.is_empty();
                let long = rule.head.reference.len() > 2;
                let set = rule.head.key.is_some();
                if !function && (self.rego_v1 || !(long || set)) {
                    return self.refuse(first, "a rule needs a value or a body");
                }
                if function && self.names_builtin(&rule.head) {
                    return self.refuse(first, "this is the name of a builtin; give the function another");
                }
            }
            rule.body = vec![true_expression(&rule)];
            rules.push(rule);
            return Ok(());
        }
        self.branches(&mut rule)?;
        let chained = !rule.branches.is_empty();
        let (head, first_pos) = (rule.head.clone(), rule.pos);
        rules.push(rule);
        let mut pos = first_pos;
        while self.is_symbol("{") {
            if chained {
                return self.unexpected("`else` is needed here: a body cannot follow an `else`");
            }
            pos.line = self.peek().pos.line;
            pos.col = self.peek().pos.col;
            self.advance();
            let body = self.body("}")?;
            let head = self.copied(&head);
            rules.push(Rule { head, body, branches: Vec::new(), default: false, pos });
        }
        Ok(())
    }

    /// Whether `if` stands here. Where the rule could end, `if.a` and `if[1]` begin another one.
    fn is_if(&self, could_end: bool) -> bool {
        self.is_word("if") && !(could_end && self.begins_reference())
    }

    /// A rule that begins with a parenthesis, and so is read as an expression: `(p) := 1`, `(f(x)) = x`.
    fn expression_rule(&mut self) -> Parsed<Rule> {
        self.expressions = 0;
        let first = self.peek();
        let expr = self.literal()?;
        let no_head = "an expression like this cannot be the head of a rule";
        if expr.negated || !expr.with.is_empty() || self.is_symbol(";") {
            return self.refuse(first, no_head);
        }
        let assign = expr.op() == Some(Sym::ASSIGN);
        let is_equality = assign || expr.op() == Some(Sym::EQ);
        let (name, value) = match expr.kind {
            ExprKind::Call(terms) if is_equality => match <[Term; 3]>::try_from(terms) {
                Ok([_, name, value]) => (name, Some(value)),
                Err(_) => return self.refuse(first, no_head),
            },
            ExprKind::Call(terms) => (Term::new(TermValue::Call(terms), first.pos), None),
            ExprKind::Term(term) if matches!(term.value, TermValue::Ref(_)) => (term, None),
            _ => return self.refuse(first, no_head),
        };
        let (reference, args) = match name.value {
            TermValue::Var(_) => (vec![name], Vec::new()),
            TermValue::Ref(path) => (path, Vec::new()),
            TermValue::Call(mut terms) => {
                let args = terms.split_off(1.min(terms.len()));
                match terms.pop() {
                    Some(Term { value: TermValue::Ref(path), .. }) => (path, args),
                    _ => return self.refuse(first, no_head),
                }
            }
            _ => return self.refuse(first, no_head),
        };
        let function = !args.is_empty();
        if function && !reference.iter().skip(1).all(|step| step.as_scalar().is_some()) {
            return self.refuse(first, no_head);
        }
        let mut head = Head { reference, args, key: None, value, assign, object_key: false, pos: first.pos };
        if head.reference.first().is_none_or(|t| t.as_var().is_none()) {
            return self.refuse(first, no_head);
        }
        let two = head.reference.len() == 2 && !function;
        match (&head.value, two) {
            (Some(_), _) => head.object_key = two,
            (None, _) if function && !self.names_builtin(&head) => {}
            (None, true) if !self.rego_v1 => head.key = head.reference.pop(),
            (None, false) if !self.rego_v1 && !function && head.reference.len() > 2 => {}
            _ => return self.refuse(first, "a rule needs a value or a body"),
        }
        if head.key.is_none() && head.value.is_none() {
            head.value = Some(Term::boolean(true, head.pos));
        }
        let mut rule = Rule { head, body: Vec::new(), branches: Vec::new(), default: false, pos: first.pos };
        rule.body = vec![true_expression(&rule)];
        Ok(rule)
    }

    fn names_builtin(&self, head: &Head) -> bool {
        let mut name = String::new();
        for step in &head.reference {
            let part = match (step.as_var(), step.as_scalar().and_then(Value::as_bytes)) {
                (Some(sym), _) => self.names.text(sym).to_owned(),
                (None, part) => String::from_utf8_lossy(part.unwrap_or_default()).into_owned(),
            };
            name.push_str(if name.is_empty() { "" } else { "." });
            name.push_str(&part);
        }
        builtins::find(&name).is_some()
    }

    /// A head for another body: `_` in its arguments is another `_`.
    fn copied(&mut self, head: &Head) -> Head {
        let mut head = head.clone();
        for arg in &mut head.args {
            if arg.as_var().is_some_and(|sym| self.names.is_wildcard(sym)) {
                arg.value = TermValue::Var(self.names.wildcard());
            }
        }
        head
    }

    fn branches(&mut self, rule: &mut Rule) -> Parsed<()> {
        while self.is_keyword("else") {
            let pos = self.peek().pos;
            if rule.head.reference.len() > 1 && !rule.head.reference.iter().skip(1).all(Term::is_ground) {
                return self.unexpected("a rule with variables in its name cannot have an `else`");
            }
            if rule.head.key.is_some() {
                return self.unexpected("a rule that adds to a set cannot have an `else`");
            }
            self.advance();
            let mut head = self.copied(&rule.head);
            head.pos = pos;
            let value = if self.is_symbol(":=") || self.is_symbol("=") {
                self.advance();
                Some(self.infix(true)?)
            } else if self.is_if(false) || self.is_symbol("{") {
                None
            } else {
                return self.unexpected("`else` needs a value or a body");
            };
            let value_written = value.is_some();
            head.value = Some(value.unwrap_or_else(|| Term::boolean(true, pos)));
            let has_if = self.is_if(value_written);
            if has_if {
                self.advance();
            }
            let mut branch = Rule { head, body: Vec::new(), branches: Vec::new(), default: false, pos };
            let braces = self.is_symbol("{");
            if braces && !has_if && self.rego_v1 {
                return self.unexpected(NO_IF);
            }
            if braces {
                self.advance();
                branch.body = self.body("}")?;
            } else if has_if {
                branch.body = vec![self.literal()?];
            } else {
                branch.body = vec![true_expression(&branch)];
                rule.branches.push(branch);
                return Ok(());
            }
            rule.branches.push(branch);
        }
        Ok(())
    }

    /// What follows `if`: an expression, or a body in braces. A set literal is always true, so braces that could be one are a body.
    fn if_body(&mut self) -> Parsed<Vec<Expr>> {
        let braces = self.is_symbol("{");
        let (saved, depth) = (self.at, self.depth);
        match self.literal() {
            Ok(expr) => {
                let is_set = matches!(&expr.kind, ExprKind::Term(Term { value: TermValue::Set(_), .. }) if expr.with.is_empty());
                if !(braces && is_set) {
                    return Ok(vec![expr]);
                }
            }
            Err(error) if !braces => return Err(error),
            Err(_) => {}
        }
        (self.at, self.depth) = (saved, depth);
        self.expect_symbol("{")?;
        self.body("}")
    }

    /// Name, arguments, key and value; whether `contains` stands there, and whether a value does.
    fn head(&mut self, name: Token) -> Parsed<(Head, bool, bool)> {
        self.advance();
        let sym = self.sym(name);
        let var = Term::var(sym, name.pos);
        let next = self.peek();
        let follows = next.kind == Kind::Symbol && matches!(self.text_of(next), "." | "[" | "(");
        // White space may stand between the name and what follows it, as nowhere else.
        let term = if follows { self.reference(var)? } else { var };
        let called = matches!(term.value, TermValue::Call(_));
        let (reference, args) = match term.value {
            TermValue::Var(_) => (vec![term], Vec::new()),
            TermValue::Ref(path) => (path, Vec::new()),
            TermValue::Call(mut terms) => {
                let args = terms.split_off(1);
                match terms.pop() {
                    Some(Term { value: TermValue::Ref(path), .. }) => (path, args),
                    _ => return self.refuse(name, "this cannot be the name of a rule"),
                }
            }
            _ => return self.refuse(name, "this cannot be the name of a rule"),
        };
        if reference.first().is_none_or(|t| t.as_var().is_none()) {
            return self.refuse(name, "this cannot be the name of a rule");
        }
        let constant = reference.iter().skip(1).all(|step| step.as_scalar().is_some());
        if !args.is_empty() && !constant {
            return self.refuse(name, "the path of a function holds no variables and no collections");
        }
        let mut head =
            Head { reference, args, key: None, value: None, assign: false, object_key: false, pos: name.pos };
        if self.is_word("contains") {
            if called {
                return self.unexpected("`contains` is for sets, not for functions");
            }
            self.advance();
            head.key = Some(self.infix(true)?);
            return Ok((head, true, false));
        }
        let written = self.is_symbol(":=") || self.is_symbol("=");
        if written {
            head.assign = self.is_symbol(":=");
            self.advance();
            head.value = Some(self.infix(true)?);
        }
        Ok((head, false, written))
    }

    fn default_rule(
        &mut self,
        first: Token,
        mut head: Head,
        contains: bool,
        rules: &mut Vec<Rule>,
    ) -> Parsed<()> {
        if head.value.is_none() {
            // Without a value it is true, but not where two steps look like a set.
            if contains || (head.reference.len() == 2 && head.args.is_empty()) {
                return self.refuse(first, "a default rule needs a value");
            }
            head.value = Some(Term::boolean(true, head.pos));
        }
        if head.value.as_ref().is_some_and(|value| !is_default_value(value)) {
            return self.refuse(
                first,
                "the value of a default rule holds no references, variables or calls outside comprehensions",
            );
        }
        let mut seen = Vec::new();
        for arg in &head.args {
            match arg.as_var() {
                Some(sym) if !seen.contains(&sym) => seen.push(sym),
                _ => return self.refuse(first, "the arguments of a default function are different names"),
            }
        }
        let mut rule = Rule { head, body: Vec::new(), branches: Vec::new(), default: true, pos: first.pos };
        rule.body = vec![true_expression(&rule)];
        rules.push(rule);
        Ok(())
    }
}

fn is_ref(term: &Term) -> bool {
    matches!(term.value, TermValue::Ref(_))
}

fn true_expression(rule: &Rule) -> Expr {
    Expr::term(Term::boolean(true, rule.head.pos))
}

fn is_default_value(term: &Term) -> bool {
    match &term.value {
        TermValue::Scalar(_) => true,
        TermValue::Var(_) | TermValue::Ref(_) | TermValue::Call(_) | TermValue::Template(_) => false,
        TermValue::Array(terms) | TermValue::Set(terms) => terms.iter().all(is_default_value),
        TermValue::Object(pairs) => pairs.iter().all(|(k, v)| is_default_value(k) && is_default_value(v)),
        TermValue::ArrayCompr(_) | TermValue::SetCompr(_) | TermValue::ObjectCompr(_) => true,
    }
}
