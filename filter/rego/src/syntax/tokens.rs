//! Text → tokens, as OPA's scanner reads them. Source: `v1/ast/internal/scanner/scanner.go`.
//!
//! One pass over the bytes, a bounded number of them at a time. What a token is never depends on the parser: a template
//! string's expressions are tokens among the others, and the braces that are open within one say where it goes on.
//! The first fault ends the tokens, and is one itself, so that of two mistakes in a text the first is told.

use memchr::{memchr, memmem};

use super::tree::Pos;
use crate::builtins::text::unicode;

mod scan;

use scan::Fault;

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or keyword.
    Ident,
    /// A number, without sign.
    Number,
    /// A string with escapes, without its quotes. Its escapes are known to be right.
    String,
    /// A string without escapes, without its quotes.
    Raw,
    /// Punctuation.
    Symbol,
    /// `$"` or `` $` ``.
    Template,
    /// Literal text of a template, as it is written; never empty. Its escapes are known to be right.
    Part,
    /// The closing quote of a template.
    TemplateEnd,
    /// What is no token: the last one, and [`Tokens::fault`] says why.
    Illegal,
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
    /// Where it begins, its opening quote included. Columns are characters, as OPA counts them.
    pub(crate) pos: Pos,
    /// A line ended between the token before and this one.
    pub(crate) newline: bool,
    /// White space or a comment stands between the token before and this one.
    pub(crate) space: bool,
}

/// All tokens of a text.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// The text, without the byte order mark that it may begin with.
    pub(crate) text: String,
    /// The last one is [`Kind::End`] or [`Kind::Illegal`].
    pub(crate) list: Vec<Token>,
    /// Why the last token is none, and what to do.
    pub(crate) fault: Option<String>,
    /// Comments that begin their line: its number, and the bytes after `#`.
    pub(crate) comments: Vec<(u32, std::ops::Range<u32>)>,
}

/// A refusal: line, column, and why.
pub(crate) type Refusal = (u32, u32, String);

/// The most bytes of one text.
pub(crate) const MOST_BYTES: usize = 4 << 20;
/// The most template strings within one another.
pub(crate) const MOST_TEMPLATES: usize = 32;
/// How many bytes are read at a time, and what is left of the token that stands there: the parser copies a token in one go
/// as well.
const PIECE: usize = 16 << 10;
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A template string that is open.
#[derive(Debug)]
struct Open {
    raw: bool,
    /// Braces that are open within its expression.
    braces: u32,
}

/// How far lines and columns are counted.
#[derive(Debug)]
struct Counted {
    at: usize,
    line: u32,
    col: u32,
}

/// A text that is being read.
#[derive(Debug)]
pub(crate) struct Reading {
    file: u32,
    tokens: Tokens,
    at: usize,
    /// The end of the text, or of what comes before a character that stands nowhere in Rego, not even in comments.
    limit: usize,
    counted: Counted,
    /// From the outside in.
    templates: Vec<Open>,
    /// An expression of the innermost template has just ended.
    in_part: bool,
    /// Digits beyond ASCII, which may stand in names; made when the first name ends at such a character.
    digits: Option<Vec<unicode::Range>>,
}

impl Reading {
    /// Begins to read. A text of more than [`MOST_BYTES`] is refused.
    pub(crate) fn new(file: u32, text: &str) -> Result<Reading, Refusal> {
        let bare = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        if bare.len() > MOST_BYTES {
            let why = format!("the text is longer than {MOST_BYTES} bytes; split it into several files");
            return Err((1, 1, why));
        }
        let bytes = bare.as_bytes();
        let mut mark = [0; 4];
        let mark = BYTE_ORDER_MARK.encode_utf8(&mut mark).as_bytes();
        let forbidden = [memchr(0, bytes), memmem::find(bytes, mark)];
        let limit = forbidden.into_iter().flatten().min().unwrap_or(bytes.len());
        // OPA counts the mark as a column.
        let col = if bare.len() == text.len() { 1 } else { 2 };
        Ok(Reading {
            file,
            tokens: Tokens { text: bare.to_owned(), ..Tokens::default() },
            at: 0,
            limit,
            counted: Counted { at: 0, line: 1, col },
            templates: Vec::new(),
            in_part: false,
            digits: None,
        })
    }

    /// Reads one piece. Whether that was the last.
    pub(crate) fn step(&mut self) -> bool {
        let until = self.at.saturating_add(PIECE);
        while self.at < until {
            let pos = self.pos();
            match self.next(pos) {
                Ok(false) => {}
                Ok(true) => return true,
                Err(fault) => {
                    self.stop(fault, pos);
                    return true;
                }
            }
        }
        false
    }

    /// All tokens, once everything is read.
    pub(crate) fn finish(self) -> Tokens {
        self.tokens
    }

    /// Reads all that is left.
    pub(crate) fn all(mut self) -> Tokens {
        while !self.step() {}
        self.tokens
    }

    fn rest(&self) -> &[u8] {
        self.tokens.text.as_bytes().get(self.at..self.limit).unwrap_or_default()
    }

    /// Line and column of what is read next.
    fn pos(&mut self) -> Pos {
        let counted = &mut self.counted;
        for byte in self.tokens.text.as_bytes().get(counted.at..self.at).unwrap_or_default() {
            if *byte == b'\n' {
                counted.line += 1;
                counted.col = 1;
            } else if byte & 0xc0 != 0x80 {
                counted.col += 1;
            }
        }
        counted.at = self.at;
        Pos { file: self.file, line: counted.line, col: counted.col }
    }

    /// Takes so many bytes as a token.
    fn push(&mut self, kind: Kind, pos: Pos, len: usize) {
        let (start, end) = (self.at, self.at + len);
        let before = self.tokens.list.last().map_or(0, |token| token.full_end as usize);
        let gap = self.tokens.text.as_bytes().get(before..start).unwrap_or_default();
        // What is told of a string is what stands between its quotes.
        let quote = usize::from(matches!(kind, Kind::String | Kind::Raw));
        let (newline, space) = (memchr(b'\n', gap).is_some(), !gap.is_empty());
        self.tokens.list.push(Token {
            kind,
            start: (start + quote) as u32,
            end: (end - quote) as u32,
            full_end: end as u32,
            pos,
            newline,
            space,
        });
        self.at = end;
    }

    /// Ends the tokens with a fault.
    fn stop(&mut self, fault: Fault, pos: Pos) {
        let forbidden = self.tokens.text.get(self.limit..).and_then(|rest| rest.chars().next());
        let (why, pos) = match (fault, forbidden) {
            // Not where OPA has it, at the token before: nobody sees such a character, so its own place is told.
            (Fault::Open(_), Some(character)) => {
                self.at = self.limit;
                let what = if character == BYTE_ORDER_MARK { "a byte order mark" } else { "a NUL character" };
                (format!("{what} stands here; remove it"), self.pos())
            }
            (Fault::Open(why), None) => (why.to_owned(), pos),
            (Fault::Here(why), _) => (why, pos),
        };
        self.push(Kind::Illegal, pos, 0);
        self.tokens.fault = Some(why);
    }

    /// Reads a token, a comment or a character of white space, which begins at `pos`. Whether that was the end.
    fn next(&mut self, pos: Pos) -> Result<bool, Fault> {
        if self.in_part {
            self.in_part = false;
            self.part()?;
            return Ok(false);
        }
        let rest = self.rest();
        let (first, second) = (rest.first().copied(), rest.get(1).copied());
        let (kind, len) = match first {
            None if self.limit < self.tokens.text.len() => return Err(Fault::Open("")),
            None => (Kind::End, 0),
            Some(b' ' | b'\t' | b'\r' | b'\n') => {
                self.at += 1;
                return Ok(false);
            }
            Some(b'#') => {
                let len = memchr(b'\n', rest).unwrap_or(rest.len());
                if pos.col == 1 {
                    let (from, to) = (self.at as u32 + 1, (self.at + len) as u32);
                    self.tokens.comments.push((pos.line, from..to));
                }
                self.at += len;
                return Ok(false);
            }
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => (Kind::Ident, self.name()),
            Some(b'0'..=b'9') => (Kind::Number, scan::number(rest)?),
            Some(b'"') => (Kind::String, scan::string(rest)?),
            Some(b'`') => (Kind::Raw, scan::raw(rest)?),
            Some(b'$') if matches!(second, Some(b'"' | b'`')) => {
                self.template(pos, second == Some(b'`'))?;
                return Ok(false);
            }
            Some(b'{') => {
                if let Some(open) = self.templates.last_mut() {
                    open.braces += 1;
                }
                (Kind::Symbol, 1)
            }
            Some(b'}') => {
                if let Some(open) = self.templates.last_mut() {
                    self.in_part = open.braces == 0;
                    open.braces = open.braces.saturating_sub(1);
                }
                (Kind::Symbol, 1)
            }
            Some(b':' | b'=' | b'<' | b'>') => (Kind::Symbol, if second == Some(b'=') { 2 } else { 1 }),
            Some(b'!') if second == Some(b'=') => (Kind::Symbol, 2),
            Some(
                b'[' | b']' | b'(' | b')' | b',' | b'+' | b'-' | b'*' | b'/' | b'%' | b'&' | b'|' | b';'
                | b'.',
            ) => (Kind::Symbol, 1),
            Some(other) => return Err(Fault::Here(scan::meaningless(other).to_owned())),
        };
        self.push(kind, pos, len);
        Ok(kind == Kind::End)
    }

    /// Length of the name that is read next. Digits beyond ASCII belong to it, letters do not.
    fn name(&mut self) -> usize {
        let text = self.tokens.text.get(self.at..self.limit).unwrap_or_default();
        let mut len = 0;
        loop {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let rest = text.get(len..).unwrap_or_default();
            let end = rest.bytes().position(|byte| !plain(&byte)).unwrap_or(rest.len());
            len += end;
            match rest.get(end..).and_then(|rest| rest.chars().next()) {
                Some(next) if !next.is_ascii() => {
                    let digits = self.digits.get_or_insert_with(unicode::decimal_digits);
                    if !unicode::is_in(digits, next) {
                        return len;
                    }
                    len += next.len_utf8();
                }
                _ => return len,
            }
        }
    }

    /// Opens a template string.
    fn template(&mut self, pos: Pos, raw: bool) -> Result<(), Fault> {
        if self.templates.len() >= MOST_TEMPLATES {
            let why = "template strings are nested too deeply; give inner ones a name";
            return Err(Fault::Here(why.to_owned()));
        }
        self.push(Kind::Template, pos, 2);
        self.templates.push(Open { raw, braces: 0 });
        self.part()
    }

    /// Reads literal text of the innermost template, and the brace or quote behind it.
    fn part(&mut self) -> Result<(), Fault> {
        let Some(open) = self.templates.last() else { return Ok(()) };
        let len = if open.raw { scan::raw_part(self.rest())? } else { scan::part(self.rest())? };
        if len > 0 {
            let pos = self.pos();
            self.push(Kind::Part, pos, len);
        }
        let kind = if self.rest().first() == Some(&b'{') { Kind::Symbol } else { Kind::TemplateEnd };
        if kind == Kind::TemplateEnd {
            self.templates.pop();
        }
        let pos = self.pos();
        self.push(kind, pos, 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
