//! Addresses of mail. Source: Go's `net/mail`, `mime`.

use super::formats::is_ip;
use crate::builtins::encoding::{from_base64, hex_value};

/// Whether it is one address, with a name or without. Text of documents is UTF-8.
pub(super) fn is_address(text: &[u8]) -> bool {
    let Ok(rest) = std::str::from_utf8(text) else { return false };
    let mut parser = Parser { rest };
    parser.address(true) == Some(1) && parser.comments().is_some() && parser.rest.is_empty()
}

#[derive(Clone, Copy)]
struct Parser<'a> {
    rest: &'a str,
}

fn is_visible(c: char) -> bool {
    ('!'..='~').contains(&c) || !c.is_ascii()
}

/// What may stand in a word.
fn is_of_atom(c: char) -> bool {
    is_visible(c) && !"()<>[]:;@\\,\"".contains(c)
}

impl<'a> Parser<'a> {
    fn eat(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Space and comments; none if one of them does not end.
    fn comments(&mut self) -> Option<()> {
        self.space();
        while self.eat('(') {
            self.comment()?;
            self.space();
        }
        Some(())
    }

    /// The text of a comment whose parenthesis is taken.
    fn comment(&mut self) -> Option<String> {
        let mut depth = 1;
        let mut text = String::new();
        let mut chars = self.rest.chars();
        while let Some(mut c) = chars.next() {
            match c {
                '\\' => c = chars.next().unwrap_or('\\'),
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.rest = chars.as_str();
                return Some(text);
            }
            text.push(c);
        }
        None
    }

    /// How many addresses there are: more than one only in a group.
    fn address(&mut self, may_be_group: bool) -> Option<usize> {
        self.space();
        if self.rest.is_empty() {
            return None;
        }
        let start = *self;
        if self.plain().is_some() {
            self.space();
            if self.eat('(') {
                let comment = self.comment()?;
                if !comment.split([' ', '\t']).all(|word| readable(word) != Word::Unknown) {
                    return None;
                }
            }
            return Some(1);
        }
        *self = start;
        if !self.rest.starts_with('<') {
            self.phrase()?;
        }
        self.space();
        if may_be_group && self.eat(':') {
            return self.group();
        }
        (self.eat('<') && self.plain().is_some() && self.eat('>')).then_some(1)
    }

    /// Addresses up to a semicolon.
    fn group(&mut self) -> Option<usize> {
        self.space();
        if self.eat(';') {
            self.comments()?;
            return Some(0);
        }
        let mut count = 0;
        loop {
            self.space();
            count += self.address(false)?;
            self.comments()?;
            if self.eat(';') {
                self.comments()?;
                return Some(count);
            }
            if !self.eat(',') {
                return None;
            }
        }
    }

    /// `local@domain`
    fn plain(&mut self) -> Option<()> {
        self.space();
        if self.rest.starts_with('"') {
            if self.quoted()? == 0 {
                return None;
            }
        } else {
            self.strict_atom()?;
        }
        if !self.eat('@') {
            return None;
        }
        self.space();
        if self.eat('[') {
            let (literal, rest) = self.rest.split_once(']')?;
            self.rest = rest;
            return is_ip(literal.as_bytes()).then_some(());
        }
        self.strict_atom()
    }

    fn strict_atom(&mut self) -> Option<()> {
        let atom = self.atom()?;
        (!atom.starts_with('.') && !atom.ends_with('.') && !atom.contains("..")).then_some(())
    }

    /// A word, dots in it.
    fn atom(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c| !is_of_atom(c)).unwrap_or(self.rest.len());
        let (atom, rest) = self.rest.split_at_checked(end)?;
        if atom.is_empty() {
            return None;
        }
        self.rest = rest;
        Some(atom)
    }

    /// A text in quotes: how many characters it has.
    fn quoted(&mut self) -> Option<usize> {
        let mut chars = self.rest.chars();
        chars.next();
        let mut count = 0;
        loop {
            let c = match chars.next()? {
                '"' => break,
                '\\' => chars.next()?,
                c => c,
            };
            if !is_visible(c) && c != ' ' && c != '\t' {
                return None;
            }
            count += 1;
        }
        self.rest = chars.as_str();
        Some(count)
    }

    /// Words before an address; what is wrong behind the first is left.
    fn phrase(&mut self) -> Option<()> {
        let mut words = 0;
        // Go begins to count once a word that is not encoded follows.
        let mut encoded = false;
        loop {
            if words > 0 {
                self.comments()?;
            }
            self.space();
            if self.rest.is_empty() {
                return Some(());
            }
            let word = if self.rest.starts_with('"') {
                self.quoted().map(|_| Word::Plain)
            } else {
                self.atom().map(readable)
            };
            match word {
                Some(Word::Empty) => {}
                Some(Word::Encoded) => encoded = true,
                Some(Word::Plain) => words += 1 + usize::from(std::mem::take(&mut encoded)),
                Some(Word::Unknown) | None => {
                    return (words > 0 || encoded).then_some(());
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Plain,
    Encoded,
    /// Encoded, and nothing.
    Empty,
    /// Encoded in letters that Go does not know.
    Unknown,
}

/// A word as RFC 2047 encodes one, `=?charset?q?text?=`.
fn readable(word: &str) -> Word {
    let parts = word.strip_prefix("=?").and_then(|rest| rest.strip_suffix("?="));
    let parts = parts.filter(|_| word.len() >= 8 && word.matches('?').count() == 4);
    let Some((charset, encoding, text)) = parts.and_then(|parts| {
        let (charset, rest) = parts.split_once('?')?;
        let (encoding, text) = rest.split_once('?')?;
        Some((charset, encoding, text))
    }) else {
        return Word::Plain;
    };
    let is_good = match encoding {
        "B" | "b" => from_base64(text.as_bytes(), false).is_some(),
        "Q" | "q" => is_quoted_printable(text.as_bytes()),
        _ => false,
    };
    if charset.is_empty() || !is_good {
        return Word::Plain;
    }
    // Also with letters that fold to ASCII's.
    let charset = charset.replace('\u{17f}', "s").to_ascii_lowercase();
    match charset.as_str() {
        "utf-8" | "iso-8859-1" | "us-ascii" if text.is_empty() => Word::Empty,
        "utf-8" | "iso-8859-1" | "us-ascii" => Word::Encoded,
        _ => Word::Unknown,
    }
}

fn is_quoted_printable(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return true,
            [b'=', high, low, tail @ ..] if hex_value(*high).is_some() && hex_value(*low).is_some() => tail,
            [b'=', ..] => return false,
            [b' '..=b'~' | b'\n' | b'\r' | b'\t', tail @ ..] => tail,
            _ => return false,
        };
    }
}
