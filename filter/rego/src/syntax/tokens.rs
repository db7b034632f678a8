//! Tokens: regorus's lexer over a text that is prepared so that it reads all of Rego.
//!
//! The lexer knows no template strings (`$"…{x}…"`), stops at NUL, refuses a lone carriage return and a byte order mark, and
//! takes `-1` for one token. So a template's literal parts are blanked before and kept aside, its quotes become symbols, and
//! its expressions stay where they are: positions hold. Everything else is put right on the tokens.

use std::num::{NonZeroU32, NonZeroUsize};

use regorus::unstable::{Lexer, Source, TokenKind};

use super::tree::Pos;

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or keyword.
    Ident,
    /// A number, without sign.
    Number,
    /// A string with escapes, without its quotes.
    String,
    /// A string without escapes, without its quotes.
    Raw,
    /// Punctuation.
    Symbol,
    /// `$"`: the template of that number.
    Template,
    /// The closing quote of a template.
    TemplateEnd,
    /// The end.
    End,
}

/// A token: bytes `start..end` of the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// End with the closing quote.
    pub(crate) full_end: u32,
    pub(crate) pos: Pos,
    /// A line ended between the token before and this one.
    pub(crate) newline: bool,
    /// White space or a comment stands between the token before and this one.
    pub(crate) space: bool,
}

/// The literal parts of a template: of n expressions, n + 1.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    pub(crate) parts: Vec<String>,
}

/// All tokens of a text.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// The text as it was lexed.
    pub(crate) text: String,
    pub(crate) list: Vec<Token>,
    /// By the offset of their `$`.
    pub(crate) templates: Map<u32, Template>,
}

/// A refusal: where and why.
pub(crate) type Refusal = (u32, u32, String);

/// The most bytes of one text.
pub(crate) const MOST_BYTES: usize = 4 << 20;

/// A text that is read in pieces of whole lines.
#[derive(Debug)]
pub(crate) struct Reading {
    file: u32,
    name: String,
    /// Where the pieces begin and end, and the line before.
    pieces: std::vec::IntoIter<(usize, usize, u32)>,
    tokens: Tokens,
    last_end: u32,
    last_line: u32,
    /// How far characters of the line are counted, and the column there.
    counted: usize,
    col: u32,
}

/// How many characters begin in a text.
fn characters(text: &[u8]) -> u32 {
    text.iter().filter(|byte| **byte & 0xc0 != 0x80).count() as u32
}

/// About how many bytes are read at a time.
const PIECE: usize = 16 << 10;

impl Reading {
    pub(crate) fn new(file: u32, name: &str, text: &str) -> Result<Reading, Refusal> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() > MOST_BYTES {
            return Err((
                1,
                1,
                format!("the text is longer than {MOST_BYTES} bytes; split it into several files"),
            ));
        }
        if text.contains('\0') {
            return Err((1, 1, "the text holds a NUL character; remove it".into()));
        }
        let mut tokens = Tokens::default();
        let text = if text.contains("$\"") || text.contains("$`") {
            Blank::prepare(text, &mut tokens.templates)?
        } else {
            text.to_owned()
        };
        tokens.text = lone_carriage_returns(text);
        let pieces = pieces(tokens.text.as_bytes()).into_iter();
        Ok(Reading {
            file,
            name: name.to_owned(),
            pieces,
            tokens,
            last_end: 0,
            last_line: 1,
            counted: 0,
            col: 1,
        })
    }

    /// Reads one piece. Whether that was the last.
    pub(crate) fn step(&mut self) -> Result<bool, Refusal> {
        let Some((start, end, line)) = self.pieces.next() else { return Ok(true) };
        let most = NonZeroUsize::MAX;
        // The lexer looks ahead behind `set(`, and calls itself for it: `set(set(set(…` would end the stack. Only offsets are
        // taken from what it reads, so that another word of this length does as well.
        let piece = self.tokens.text.get(start..end).unwrap_or_default().replace("set(", "Set(");
        let source = Source::from_contents_with_limits(self.name.clone(), piece, most, most)
            .map_err(|error| (line + 1, 1, error.to_string()))?;
        self.read(&source, start as u32, line, self.pieces.len() == 0)?;
        Ok(self.pieces.len() == 0)
    }

    /// All tokens, once everything is read.
    pub(crate) fn finish(self) -> Tokens {
        self.tokens
    }

    /// Reads all that is left.
    pub(crate) fn all(mut self) -> Result<Tokens, Refusal> {
        while !self.step()? {}
        Ok(self.tokens)
    }

    fn read(&mut self, source: &Source, offset: u32, lines: u32, last: bool) -> Result<(), Refusal> {
        let mut lexer = Lexer::new(source);
        lexer.set_max_col(NonZeroU32::MAX);
        lexer.set_unknown_char_is_symbol(true);
        loop {
            let token = lexer
                .next_token()
                .map_err(|error| refusal(&error.to_string(), self.last_line.saturating_sub(lines), lines))?;
            let span = &token.1;
            let (start, end, line) = (span.start + offset, span.end + offset, span.line + lines);
            let bytes = self.tokens.text.as_bytes();
            let (kind, quote) = match token.0 {
                TokenKind::Ident => (Kind::Ident, 0),
                TokenKind::Number => (Kind::Number, 0),
                TokenKind::String => (Kind::String, 1),
                TokenKind::RawString => (Kind::Raw, 1),
                TokenKind::Eof if last => (Kind::End, 0),
                TokenKind::Eof => return Ok(()),
                TokenKind::Symbol => match bytes.get(start as usize) {
                    Some(b'$') if self.tokens.templates.contains_key(&start) => (Kind::Template, 0),
                    Some(b'~') if !self.tokens.templates.is_empty() => (Kind::TemplateEnd, 0),
                    Some(b'$' | b'~' | b'!' | b'@' | b'?' | b'^' | b'\\' | b'\'') | Some(0x80..)
                        if end == start + 1 =>
                    {
                        return Err((
                            line,
                            span.col,
                            "this character means nothing in Rego; remove it".into(),
                        ));
                    }
                    _ => (Kind::Symbol, 0),
                },
            };
            let from = start.saturating_sub(quote);
            let gap = bytes.get(self.last_end as usize..from as usize).unwrap_or_default();
            // The lexer counts a tab as four.
            let passed = bytes.get(self.counted..from as usize).unwrap_or_default();
            self.col = match memchr::memrchr(b'\n', passed) {
                Some(at) => 1 + characters(passed.get(at + 1..).unwrap_or_default()),
                None => self.col + characters(passed),
            };
            self.counted = self.counted.max(from as usize);
            let mut next = Token {
                kind,
                start,
                end,
                full_end: end + quote,
                pos: Pos { file: self.file, line, col: self.col },
                newline: gap.contains(&b'\n'),
                space: !gap.is_empty(),
            };
            self.last_end = next.full_end;
            self.last_line = line;
            // `-1` is `-` and `1`.
            if kind == Kind::Number && bytes.get(start as usize) == Some(&b'-') {
                split(&mut next, &mut self.tokens);
            }
            self.tokens.list.push(next);
            if kind == Kind::End {
                return Ok(());
            }
        }
    }
}

/// Pieces of whole lines; none ends within a string that goes over lines.
fn pieces(text: &[u8]) -> Vec<(usize, usize, u32)> {
    let mut out = Vec::new();
    let (mut start, mut start_line, mut line) = (0, 0, 0);
    let mut inside = 0u8;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (inside, byte) {
            (0, b'#') => inside = b'#',
            (0, b'"') => inside = b'"',
            (0, b'`') => inside = b'`',
            (b'"', b'\\') => at += 1,
            (b'"', b'"') | (b'`', b'`') => inside = 0,
            (_, b'\n') => {
                line += 1;
                if inside != b'`' {
                    inside = 0;
                    if at + 1 - start >= PIECE {
                        out.push((start, at + 1, start_line));
                        (start, start_line) = (at + 1, line);
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    out.push((start, text.len(), start_line));
    out
}

/// Go's scanner takes a carriage return for white space anywhere; the lexer only before a line feed.
fn lone_carriage_returns(text: String) -> String {
    if !text.contains('\r') {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        out.push(if c == '\r' && rest.peek() != Some(&'\n') { ' ' } else { c });
    }
    out
}

/// Pushes the minus sign that the token begins with as one of its own.
fn split(next: &mut Token, tokens: &mut Tokens) {
    let cut = next.start + 1;
    tokens.list.push(Token { kind: Kind::Symbol, end: cut, full_end: cut, ..*next });
    next.start = cut;
    next.newline = false;
    next.space = false;
    next.pos.col += 1;
}

/// The lexer's message with a place of ours: it begins `--> file:line:col` and ends `error: text`.
fn refusal(message: &str, last_line: u32, lines: u32) -> Refusal {
    let mut place = message.lines().find(|l| l.starts_with("-->")).unwrap_or_default().rsplit(':');
    let col = place.next().and_then(|c| c.trim().parse().ok()).unwrap_or(1);
    let line = place.next().and_then(|l| l.trim().parse().ok()).unwrap_or(last_line);
    let text = message.lines().find_map(|l| l.strip_prefix("error: ")).unwrap_or("not a token").trim();
    (line + lines, col, text.to_owned())
}

/// Blanks the literal parts of template strings.
struct Blank<'a> {
    bytes: &'a [u8],
    out: Vec<u8>,
    at: usize,
    line: u32,
    line_start: usize,
}

/// What is being read, from the outside in.
enum Inside {
    /// A policy, or an expression of a template with so many open braces.
    Code(u32),
    /// A template: offset of its `$`, raw, parts so far.
    Template(u32, bool, Template),
}

impl<'a> Blank<'a> {
    fn prepare(text: &'a str, templates: &mut Map<u32, Template>) -> Result<String, Refusal> {
        let bytes = text.as_bytes();
        let mut blank = Blank { bytes, out: Vec::with_capacity(bytes.len()), at: 0, line: 1, line_start: 0 };
        blank.run(templates)?;
        String::from_utf8(blank.out).map_err(|_| (1, 1, "the text is not UTF-8".into()))
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn fault(&self, why: &str) -> Refusal {
        (self.line, (self.at - self.line_start) as u32 + 1, why.to_owned())
    }

    /// Takes one byte; writes it, or a blank of it.
    fn take(&mut self, keep: bool) -> Option<u8> {
        let byte = self.peek(0)?;
        self.at += 1;
        if byte == b'\n' {
            self.line += 1;
            self.line_start = self.at;
        }
        self.out.push(if keep || byte == b'\n' || byte == b'\r' { byte } else { b' ' });
        Some(byte)
    }

    fn run(&mut self, templates: &mut Map<u32, Template>) -> Result<(), Refusal> {
        let mut stack = vec![Inside::Code(0)];
        loop {
            let levels = stack.len();
            let Some(inside) = stack.last_mut() else { return Ok(()) };
            let Some(byte) = self.peek(0) else {
                return match inside {
                    Inside::Code(_) if levels == 1 => Ok(()),
                    _ => Err(self.fault("a template string is not closed")),
                };
            };
            match inside {
                Inside::Code(open) => match byte {
                    b'#' => {
                        while self.peek(0).is_some_and(|b| b != b'\n') {
                            self.take(true);
                        }
                    }
                    b'"' => self.string()?,
                    b'`' => {
                        self.take(true);
                        while self.take(true).is_some_and(|b| b != b'`') {}
                    }
                    b'$' if matches!(self.peek(1), Some(b'"' | b'`')) => {
                        let offset = self.out.len() as u32;
                        self.take(true);
                        let raw = self.take(false) == Some(b'`');
                        if levels > 64 {
                            return Err(self.fault("template strings are nested too deeply"));
                        }
                        stack.push(Inside::Template(offset, raw, Template { parts: vec![String::new()] }));
                    }
                    b'{' => {
                        *open += 1;
                        self.take(true);
                    }
                    b'}' => {
                        self.take(true);
                        if *open > 0 {
                            *open -= 1;
                        } else if levels > 1 {
                            stack.pop();
                        }
                    }
                    b'~' => return Err(self.fault("this character means nothing in Rego; remove it")),
                    _ => {
                        self.take(true);
                    }
                },
                Inside::Template(offset, raw, template) => {
                    let (offset, raw) = (*offset, *raw);
                    match byte {
                        b'{' => {
                            template.parts.push(String::new());
                            self.take(true);
                            stack.push(Inside::Code(0));
                        }
                        b'"' if !raw => {
                            templates.insert(offset, std::mem::take(template));
                            self.close();
                            stack.pop();
                        }
                        b'`' if raw => {
                            templates.insert(offset, std::mem::take(template));
                            self.close();
                            stack.pop();
                        }
                        b'\n' if !raw => {
                            return Err(self.fault("a template string ends before its closing quote"));
                        }
                        _ => {
                            let text = self.part(raw)?;
                            if let Some(part) = template.parts.last_mut() {
                                part.push_str(&text);
                            }
                        }
                    }
                }
            }
        }
    }

    /// The closing quote becomes a symbol that the parser knows.
    fn close(&mut self) {
        self.take(false);
        if let Some(last) = self.out.last_mut() {
            *last = b'~';
        }
    }

    fn string(&mut self) -> Result<(), Refusal> {
        self.take(true);
        loop {
            match self.take(true) {
                Some(b'"') => return Ok(()),
                Some(b'\\') => {
                    self.take(true);
                }
                Some(b'\n') | None => return Err(self.fault("a string ends before its closing quote")),
                Some(_) => {}
            }
        }
    }

    /// A run of literal text, unescaped, up to `{`, the quote or a line's end.
    fn part(&mut self, raw: bool) -> Result<String, Refusal> {
        let from = self.at;
        let mut text = Vec::new();
        let mut escaped = false;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'{' => break,
                b'"' | b'\n' if !raw => break,
                b'`' if raw => break,
                b'\\' if self.peek(1) == Some(b'{') => {
                    self.take(false);
                    self.take(false);
                    text.push(b'{');
                    continue;
                }
                b'\\' if !raw => {
                    escaped = true;
                    text.push(byte);
                    self.take(false);
                    if let Some(next) = self.take(false) {
                        text.push(next);
                    }
                    continue;
                }
                _ => {
                    text.push(byte);
                    self.take(false);
                }
            }
        }
        let text = String::from_utf8(text).map_err(|_| self.fault("the text is not UTF-8"))?;
        if escaped {
            return super::unescape(&text).ok_or_else(|| {
                let col = from.saturating_sub(self.line_start) as u32 + 1;
                (self.line, col, "a template string holds an escape that JSON does not know".to_owned())
            });
        }
        Ok(text)
    }
}
use crate::hash::Map;
