//! Rego text → tree.
//!
//! [`tokens`] cuts the text, [`numbers`] judges its numbers, and the parser goes over the tokens once: where Rego is ambiguous
//! (`{a | b}`, `if {…}`, `some x, y`), what was read of a term is kept and goes on as an operand; where it must be read again,
//! every token that is read again is counted, and a text that needs more than [`MOST_READS`] per token is refused. Nesting
//! is counted as well ([`MOST_NESTING`]), so that neither the parser nor anything that walks its tree can use up a stack.
//!
//! What is not read though OPA reads it: functions below a step that is no scalar (`a[[1]].f(x) := x`). Such a text is refused
//! with its place.

pub(crate) mod annotations;
mod literals;
mod numbers;
pub(crate) mod order;
mod rules;
mod source;
mod terms;
pub(crate) mod tokens;
pub mod tree;

pub use source::{Source, Span};
pub use tree::{Module, Names, Pos, Version};

use tokens::{Kind, Refusal, Token};
use tree::Sym;

/// The most levels of brackets, calls, operators and bodies within one another.
pub const MOST_NESTING: u32 = 120;
/// The most times that a token is read, on average, before a text is refused as ambiguous beyond reason.
pub const MOST_READS: usize = 24;

/// The most expressions of one rule: a rule is compiled in one step, however long it is.
pub const MOST_EXPRESSIONS: u32 = 20_000;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub col: u32,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Keywords that are not always keywords.
#[derive(Clone, Copy, Debug, Default)]
struct Keywords {
    contains: bool,
    every: bool,
    if_: bool,
    in_: bool,
    and: bool,
    or: bool,
    /// `not` isolates its operands, and takes a body.
    not_bodies: bool,
}

/// A parser of one text; it yields a module statement by statement.
#[derive(Debug)]
pub(crate) struct Parser {
    text: String,
    tokens: Vec<Token>,
    /// Why the last token is none.
    fault: Option<String>,
    at: usize,
    names: Names,
    keywords: Keywords,
    version: Version,
    rego_v1: bool,
    depth: u32,
    reads: usize,
    /// Of the rule that is being read, however often they are read.
    expressions: u32,
    /// Of every expression.
    spans: Vec<Span>,
    comments: Vec<(u32, std::ops::Range<u32>)>,
    /// Lines of statements, in order.
    statements: Vec<(u32, annotations::Target)>,
}

type Parsed<T> = Result<T, Refusal>;

/// A text on its way to a module, a bounded piece at a time.
#[derive(Debug)]
pub(crate) struct Parsing {
    reading: Option<tokens::Reading>,
    parser: Parser,
    module: Option<Module>,
}

impl Parsing {
    pub(crate) fn new(file: u32, text: &str, version: Version) -> Result<Parsing, SyntaxError> {
        let reading = tokens::Reading::new(file, text).map_err(refuse)?;
        Ok(Parsing { reading: Some(reading), parser: Parser::new(version), module: None })
    }

    /// Reads a piece of the text, or so many statements of it. The module, when it is complete.
    pub(crate) fn step(
        &mut self,
        statements: usize,
        names: &mut Names,
    ) -> Result<Option<Module>, SyntaxError> {
        if let Some(reading) = &mut self.reading {
            if reading.step()
                && let Some(reading) = self.reading.take()
            {
                self.parser.take(reading.finish());
            }
            return Ok(None);
        }
        std::mem::swap(&mut self.parser.names, names);
        let done = self.parser.statements(statements, &mut self.module);
        std::mem::swap(&mut self.parser.names, names);
        Ok(if done.map_err(|error| self.parser.first(error))? { self.module.take() } else { None })
    }

    /// The text, and where its expressions are.
    pub(crate) fn into_source(self) -> Source {
        Source::new(self.parser.text, self.parser.spans)
    }
}

fn refuse((line, col, message): Refusal) -> SyntaxError {
    SyntaxError { line, col, message }
}

/// Parses one text.
pub fn parse(file: u32, text: &str, version: Version, names: &mut Names) -> Result<Module, SyntaxError> {
    let mut parsing = Parsing::new(file, text, version)?;
    loop {
        if let Some(module) = parsing.step(usize::MAX, names)? {
            return Ok(module);
        }
    }
}

/// Parses a query, such as `data.a.b; x := input.y`.
pub fn parse_query(file: u32, text: &str, names: &mut Names) -> Result<tree::Body, SyntaxError> {
    let reading = tokens::Reading::new(file, text).map_err(refuse)?;
    let mut parser = Parser::new(Version::V1);
    parser.take(reading.all());
    std::mem::swap(&mut parser.names, names);
    let body = parser.query();
    std::mem::swap(&mut parser.names, names);
    body.map_err(|error| parser.first(error))
}

/// Parses an expression of `with` targets and the like: one term, to the end.
pub fn parse_term(file: u32, text: &str, names: &mut Names) -> Result<tree::Term, SyntaxError> {
    let mut body = parse_query(file, text, names)?;
    let fault = || SyntaxError { line: 1, col: 1, message: "one term is expected".into() };
    match (body.pop(), body.is_empty()) {
        (Some(tree::Expr { kind: tree::ExprKind::Term(term), .. }), true) => Ok(term),
        (Some(tree::Expr { kind: tree::ExprKind::Call(terms), pos, .. }), true) => {
            Ok(tree::Term::new(tree::TermValue::Call(terms), pos))
        }
        _ => Err(fault()),
    }
}

const END: Token = Token {
    kind: Kind::End,
    start: 0,
    end: 0,
    full_end: 0,
    pos: Pos { file: 0, line: 1, col: 1 },
    newline: true,
    space: true,
};

impl Parser {
    fn new(version: Version) -> Parser {
        let v1 = version == Version::V1;
        let keywords = Keywords { contains: v1, every: v1, if_: v1, in_: v1, ..Keywords::default() };
        Parser {
            text: String::new(),
            tokens: Vec::new(),
            fault: None,
            at: 0,
            names: Names::empty(),
            keywords,
            version,
            rego_v1: v1,
            depth: 0,
            reads: 0,
            expressions: 0,
            spans: Vec::new(),
            comments: Vec::new(),
            statements: Vec::new(),
        }
    }

    fn take(&mut self, tokens: tokens::Tokens) {
        self.text = tokens.text;
        self.tokens = tokens.list;
        self.fault = tokens.fault;
        self.comments = tokens.comments;
    }

    /// The refusal to tell: what is no token, if the parser got as far as that.
    fn first(&self, error: Refusal) -> SyntaxError {
        match (&self.fault, self.tokens.last()) {
            (Some(why), Some(last)) if self.at + 1 >= self.tokens.len() => {
                refuse((last.pos.line, last.pos.col, why.clone()))
            }
            _ => refuse(error),
        }
    }

    fn peek(&self) -> Token {
        self.tokens.get(self.at).or_else(|| self.tokens.last()).copied().unwrap_or(END)
    }

    fn peek_at(&self, ahead: usize) -> Token {
        self.tokens.get(self.at + ahead).or_else(|| self.tokens.last()).copied().unwrap_or(END)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        self.reads += 1;
        token
    }

    fn text_of(&self, token: Token) -> &str {
        self.text.get(token.start as usize..token.end as usize).unwrap_or_default()
    }

    fn refuse<T>(&self, token: Token, why: impl Into<String>) -> Parsed<T> {
        Err((token.pos.line, token.pos.col, why.into()))
    }

    /// A refusal of the token that stands here.
    fn unexpected<T>(&self, wanted: &str) -> Parsed<T> {
        let token = self.peek();
        let found = match token.kind {
            Kind::End => "the end of the text".to_owned(),
            Kind::String | Kind::Raw => "a string".to_owned(),
            Kind::Template | Kind::Part | Kind::TemplateEnd => "a template string".to_owned(),
            _ => format!("`{}`", self.text_of(token)),
        };
        self.refuse(token, format!("unexpected {found}; {wanted}"))
    }

    fn is_symbol(&self, text: &str) -> bool {
        self.token_is_symbol(self.peek(), text)
    }

    fn token_is_symbol(&self, token: Token, text: &str) -> bool {
        token.kind == Kind::Symbol && self.text_of(token) == text
    }

    fn take_symbol(&mut self, text: &str) -> bool {
        let found = self.is_symbol(text);
        if found {
            self.advance();
        }
        found
    }

    fn expect_symbol(&mut self, text: &str) -> Parsed<Token> {
        if self.is_symbol(text) {
            Ok(self.advance())
        } else {
            self.unexpected(&format!("`{text}` is expected"))
        }
    }

    /// Whether the word is a keyword in this text, here.
    fn is_keyword_text(&self, text: &str) -> bool {
        match text {
            "package" | "import" | "as" | "default" | "else" | "not" | "null" | "true" | "false" | "with"
            | "some" => true,
            "contains" => self.keywords.contains,
            "every" => self.keywords.every,
            "if" => self.keywords.if_,
            "in" => self.keywords.in_,
            "and" => self.keywords.and,
            "or" => self.keywords.or,
            _ => false,
        }
    }

    /// Whether the keyword `text` stands here, not as the first word of a reference.
    fn is_keyword(&self, text: &str) -> bool {
        let token = self.peek();
        token.kind == Kind::Ident
            && self.text_of(token) == text
            && self.is_keyword_text(text)
            && !self.begins_reference()
    }

    /// Whether the keyword `text` stands here, whatever follows it.
    fn is_word(&self, text: &str) -> bool {
        let token = self.peek();
        token.kind == Kind::Ident && self.text_of(token) == text && self.is_keyword_text(text)
    }

    fn take_keyword(&mut self, text: &str) -> bool {
        let found = self.is_keyword(text);
        if found {
            self.advance();
        }
        found
    }

    /// Whether `.` or `[` follows the token here at once.
    fn begins_reference(&self) -> bool {
        let next = self.peek_at(1);
        !next.space && (self.token_is_symbol(next, ".") || self.token_is_symbol(next, "["))
    }

    /// Whether a name stands here that is no keyword.
    fn is_name(&self) -> bool {
        let token = self.peek();
        token.kind == Kind::Ident && !self.is_keyword_text(self.text_of(token))
    }

    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > MOST_NESTING * 2 {
            return self.refuse(self.peek(), "this is nested too deeply; give inner parts a name");
        }
        if self.reads > MOST_READS * self.tokens.len() + 4096 {
            return self.refuse(self.peek(), "this has too many possible readings; use parentheses or names");
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    fn sym(&mut self, token: Token) -> Sym {
        let text = self.text.get(token.start as usize..token.end as usize).unwrap_or_default();
        if text == "_" { self.names.wildcard() } else { self.names.intern(text) }
    }
}

/// The content of a string or of a template's literal text, unescaped as Go does: a lone half of a pair is U+FFFD.
/// The escapes are right, as [`tokens`] leaves no others.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        out.push(match escaped {
            None => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let mut code = hex(&mut chars);
                let mut ahead = chars.clone();
                if (0xd800..0xdc00).contains(&code) && ahead.next() == Some('\\') && ahead.next() == Some('u')
                {
                    let low = hex(&mut ahead);
                    if (0xdc00..0xe000).contains(&low) {
                        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                        chars = ahead;
                    }
                }
                char::from_u32(code).unwrap_or('\u{fffd}')
            }
            Some(other) => other,
        });
    }
    out
}

fn hex(chars: &mut std::str::Chars<'_>) -> u32 {
    chars.by_ref().take(4).fold(0, |code, c| code * 16 + c.to_digit(16).unwrap_or_default())
}

#[cfg(test)]
mod tests;
