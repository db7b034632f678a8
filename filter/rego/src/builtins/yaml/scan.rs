//! YAML 1.1 text to tokens, as libyaml 0.1 and Go's yaml/v2 cut it.
//!
//! Source: go.yaml.in/yaml/v2, readerc.go, scannerc.go. One difference: text after the first document must be
//! text too (there it is looked at in portions).

mod properties;
mod scalars;

use std::collections::{HashMap, VecDeque};

/// Not YAML.
#[derive(Debug)]
pub(super) struct Invalid;

pub(super) type Scanned<T> = Result<T, Invalid>;

/// How deep indentation or brackets may nest.
const MOST_NESTED: usize = 10_000;
/// How far a key may be from its colon.
const MOST_KEY: usize = 1_024;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    StreamStart,
    StreamEnd,
    Version(u8, u8),
    /// Handle and prefix.
    TagDirective(String, String),
    DocumentStart,
    DocumentEnd,
    SequenceStart,
    MappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(String),
    Anchor(String),
    /// Handle and suffix.
    Tag(String, String),
    /// The text, and whether it is plain.
    Scalar(String, bool),
}

#[derive(Clone, Copy, Default)]
struct Mark {
    index: usize,
    line: usize,
    column: isize,
}

#[derive(Clone, Copy, Default)]
struct SimpleKey {
    possible: bool,
    required: bool,
    token: usize,
    mark: Mark,
}

pub(super) struct Scanner {
    text: Vec<char>,
    mark: Mark,
    tokens: VecDeque<Token>,
    taken: usize,
    started: bool,
    available: bool,
    flow: usize,
    indent: isize,
    indents: Vec<isize>,
    key_allowed: bool,
    keys: Vec<SimpleKey>,
    key_of_token: HashMap<usize, usize>,
}

/// The characters of the text, which may be UTF-8 or UTF-16; some are not allowed at all.
fn characters(bytes: &[u8]) -> Scanned<Vec<char>> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Invalid);
        }
        char::decode_utf16(units.iter().map(|pair| unit(*pair)))
            .collect::<Result<_, _>>()
            .map_err(|_| Invalid)
    };
    let text: Vec<char> = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        bytes => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            std::str::from_utf8(bytes).map_err(|_| Invalid)?.chars().collect()
        }
    };
    let allowed = |c: &char| matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..);
    if text.iter().all(allowed) { Ok(text) } else { Err(Invalid) }
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// A break, or the end.
fn is_break_or_end(c: char) -> bool {
    c == '\0' || is_break(c)
}

fn is_space_or_end(c: char) -> bool {
    is_blank(c) || is_break_or_end(c)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

impl Scanner {
    pub(super) fn new(bytes: &[u8]) -> Scanned<Scanner> {
        let text = if bytes.is_empty() { vec!['\n'] } else { characters(bytes)? };
        Ok(Scanner {
            text,
            mark: Mark::default(),
            tokens: VecDeque::new(),
            taken: 0,
            started: false,
            available: false,
            flow: 0,
            indent: -1,
            indents: Vec::new(),
            key_allowed: true,
            keys: vec![SimpleKey::default()],
            key_of_token: HashMap::new(),
        })
    }

    /// The line that is read, from 1.
    pub(super) fn line(&self) -> usize {
        self.mark.line + 1
    }

    /// The next token, which stays.
    pub(super) fn peek(&mut self) -> Scanned<&Token> {
        if !self.available {
            self.fetch_more()?;
        }
        self.tokens.front().ok_or(Invalid)
    }

    /// Takes the next token.
    pub(super) fn take(&mut self) -> Scanned<Token> {
        self.peek()?;
        self.available = false;
        self.taken += 1;
        self.tokens.pop_front().ok_or(Invalid)
    }

    fn at(&self, ahead: usize) -> char {
        self.text.get(self.mark.index + ahead).copied().unwrap_or('\0')
    }

    fn here(&self) -> char {
        self.at(0)
    }

    fn skip(&mut self) {
        self.mark.index += 1;
        self.mark.column += 1;
    }

    fn read(&mut self, out: &mut String) {
        out.push(self.here());
        self.skip();
    }

    /// Takes a line break: what it is in the value.
    fn line_break(&mut self) -> Option<char> {
        let c = self.here();
        if !is_break(c) {
            return None;
        }
        self.mark.index += if c == '\r' && self.at(1) == '\n' { 2 } else { 1 };
        self.mark.column = 0;
        self.mark.line += 1;
        Some(if matches!(c, '\u{2028}' | '\u{2029}') { c } else { '\n' })
    }

    fn skip_blanks(&mut self) {
        while is_blank(self.here()) {
            self.skip();
        }
    }

    /// Skips a comment, if there is one.
    fn skip_comment(&mut self) {
        if self.here() == '#' {
            while !is_break_or_end(self.here()) {
                self.skip();
            }
        }
    }

    fn fetch_more(&mut self) -> Scanned<()> {
        loop {
            if !self.tokens.is_empty() {
                let Some(&key) = self.key_of_token.get(&self.taken) else { break };
                if !self.key_is_valid(key)? {
                    break;
                }
            }
            self.fetch_next()?;
        }
        self.available = true;
        Ok(())
    }

    /// Whether what may be a key still may be one: on one line, and not too long.
    fn key_is_valid(&mut self, at: usize) -> Scanned<bool> {
        let mark = self.mark;
        let Some(key) = self.keys.get_mut(at).filter(|key| key.possible) else { return Ok(false) };
        if key.mark.line < mark.line || key.mark.index + MOST_KEY < mark.index {
            if key.required {
                return Err(Invalid);
            }
            key.possible = false;
            return Ok(false);
        }
        Ok(true)
    }

    fn fetch_next(&mut self) -> Scanned<()> {
        if !self.started {
            self.started = true;
            self.tokens.push_back(Token::StreamStart);
            return Ok(());
        }
        self.skip_to_token();
        self.unroll(self.mark.column);
        let c = self.here();
        if c == '\0' {
            return self.stream_end();
        }
        if self.mark.column == 0 && c == '%' {
            return self.directive();
        }
        if let Some(token) = self.document_indicator() {
            self.unroll(-1);
            self.remove_key()?;
            self.key_allowed = false;
            (0..3).for_each(|_| self.skip());
            self.tokens.push_back(token);
            return Ok(());
        }
        let spaced = is_space_or_end(self.at(1));
        match c {
            '[' => self.flow_start(Token::FlowSequenceStart),
            '{' => self.flow_start(Token::FlowMappingStart),
            ']' => self.flow_end(Token::FlowSequenceEnd),
            '}' => self.flow_end(Token::FlowMappingEnd),
            ',' => {
                self.remove_key()?;
                self.key_allowed = true;
                self.skip();
                self.tokens.push_back(Token::FlowEntry);
                Ok(())
            }
            '-' if spaced => self.block_entry(),
            '?' if self.flow > 0 || spaced => self.key(),
            ':' if self.flow > 0 || spaced => self.value(),
            '*' | '&' => self.anchor(c == '*'),
            '!' => self.tag(),
            '|' | '>' if self.flow == 0 => self.block_scalar(c == '|'),
            '\'' | '"' => self.quoted(c == '\''),
            _ if self.starts_plain(c) => self.plain(),
            _ => Err(Invalid),
        }
    }

    fn starts_plain(&self, c: char) -> bool {
        let indicator = matches!(
            c,
            '-' | '?'
                | ':'
                | ','
                | '['
                | ']'
                | '{'
                | '}'
                | '#'
                | '&'
                | '*'
                | '!'
                | '|'
                | '>'
                | '\''
                | '"'
                | '%'
                | '@'
                | '`'
        );
        !(is_space_or_end(c) || indicator)
            || (c == '-' && !is_blank(self.at(1)))
            || (self.flow == 0 && matches!(c, '?' | ':') && !is_space_or_end(self.at(1)))
    }

    /// `---` or `...` at the start of a line.
    fn document_indicator(&self) -> Option<Token> {
        if self.mark.column != 0 || !is_space_or_end(self.at(3)) {
            return None;
        }
        match [self.at(0), self.at(1), self.at(2)] {
            ['-', '-', '-'] => Some(Token::DocumentStart),
            ['.', '.', '.'] => Some(Token::DocumentEnd),
            _ => None,
        }
    }

    fn skip_to_token(&mut self) {
        if self.mark.index == 0 && self.here() == '\u{feff}' {
            self.skip();
        }
        loop {
            while self.here() == ' ' || ((self.flow > 0 || !self.key_allowed) && self.here() == '\t') {
                self.skip();
            }
            self.skip_comment();
            if self.line_break().is_none() {
                return;
            }
            if self.flow == 0 {
                self.key_allowed = true;
            }
        }
    }

    fn save_key(&mut self) -> Scanned<()> {
        if !self.key_allowed {
            return Ok(());
        }
        let key = SimpleKey {
            possible: true,
            required: self.flow == 0 && self.indent == self.mark.column,
            token: self.taken + self.tokens.len(),
            mark: self.mark,
        };
        self.remove_key()?;
        let at = self.keys.len().saturating_sub(1);
        self.key_of_token.insert(key.token, at);
        if let Some(last) = self.keys.last_mut() {
            *last = key;
        }
        Ok(())
    }

    fn remove_key(&mut self) -> Scanned<()> {
        if let Some(key) = self.keys.last_mut().filter(|key| key.possible) {
            if key.required {
                return Err(Invalid);
            }
            key.possible = false;
            self.key_of_token.remove(&key.token);
        }
        Ok(())
    }

    /// Opens a block at this column, in front of the token of this number.
    fn roll(&mut self, column: isize, number: Option<usize>, token: Token) -> Scanned<()> {
        if self.flow > 0 || self.indent >= column {
            return Ok(());
        }
        self.indents.push(self.indent);
        self.indent = column;
        if self.indents.len() > MOST_NESTED {
            return Err(Invalid);
        }
        self.insert(number, token);
        Ok(())
    }

    fn insert(&mut self, number: Option<usize>, token: Token) {
        // What was taken already cannot be reached: then it goes to the end.
        let at = number.and_then(|number| number.checked_sub(self.taken)).unwrap_or(self.tokens.len());
        self.tokens.insert(at.min(self.tokens.len()), token);
    }

    /// Closes blocks that are indented further than this.
    fn unroll(&mut self, column: isize) {
        while self.flow == 0 && self.indent > column {
            self.tokens.push_back(Token::BlockEnd);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    fn stream_end(&mut self) -> Scanned<()> {
        if self.mark.column != 0 {
            self.mark.column = 0;
            self.mark.line += 1;
        }
        self.unroll(-1);
        self.remove_key()?;
        self.key_allowed = false;
        self.tokens.push_back(Token::StreamEnd);
        Ok(())
    }

    fn flow_start(&mut self, token: Token) -> Scanned<()> {
        self.save_key()?;
        // No key yet, but of this token: when the brackets close at once, they are not waited for as one.
        let token_number = self.taken + self.tokens.len();
        self.keys.push(SimpleKey { token: token_number, mark: self.mark, ..SimpleKey::default() });
        self.flow += 1;
        if self.flow > MOST_NESTED {
            return Err(Invalid);
        }
        self.key_allowed = true;
        self.skip();
        self.tokens.push_back(token);
        Ok(())
    }

    fn flow_end(&mut self, token: Token) -> Scanned<()> {
        self.remove_key()?;
        if self.flow > 0 {
            self.flow -= 1;
            if let Some(key) = self.keys.pop() {
                self.key_of_token.remove(&key.token);
            }
        }
        self.key_allowed = false;
        self.skip();
        self.tokens.push_back(token);
        Ok(())
    }

    fn block_entry(&mut self) -> Scanned<()> {
        if self.flow == 0 {
            if !self.key_allowed {
                return Err(Invalid);
            }
            self.roll(self.mark.column, None, Token::SequenceStart)?;
        }
        self.remove_key()?;
        self.key_allowed = true;
        self.skip();
        self.tokens.push_back(Token::BlockEntry);
        Ok(())
    }

    fn key(&mut self) -> Scanned<()> {
        if self.flow == 0 {
            if !self.key_allowed {
                return Err(Invalid);
            }
            self.roll(self.mark.column, None, Token::MappingStart)?;
        }
        self.remove_key()?;
        self.key_allowed = self.flow == 0;
        self.skip();
        self.tokens.push_back(Token::Key);
        Ok(())
    }

    fn value(&mut self) -> Scanned<()> {
        let last = self.keys.len().saturating_sub(1);
        if self.key_is_valid(last)? {
            let key = self.keys.get(last).copied().unwrap_or_default();
            self.insert(Some(key.token), Token::Key);
            self.roll(key.mark.column, Some(key.token), Token::MappingStart)?;
            if let Some(key) = self.keys.last_mut() {
                key.possible = false;
            }
            self.key_of_token.remove(&key.token);
            self.key_allowed = false;
        } else {
            if self.flow == 0 {
                if !self.key_allowed {
                    return Err(Invalid);
                }
                self.roll(self.mark.column, None, Token::MappingStart)?;
            }
            self.key_allowed = self.flow == 0;
        }
        self.skip();
        self.tokens.push_back(Token::Value);
        Ok(())
    }
}
