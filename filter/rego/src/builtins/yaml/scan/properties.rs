//! Directives, anchors, aliases and tags.

use super::{Invalid, Scanned, Scanner, Token, is_blank, is_break_or_end, is_space_or_end, is_word};

impl Scanner {
    fn word(&mut self) -> String {
        let mut word = String::new();
        while is_word(self.here()) {
            self.read(&mut word);
        }
        word
    }

    pub(super) fn directive(&mut self) -> Scanned<()> {
        self.unroll(-1);
        self.remove_key()?;
        self.key_allowed = false;
        self.skip();
        let name = self.word();
        if name.is_empty() || !is_space_or_end(self.here()) {
            return Err(Invalid);
        }
        self.skip_blanks();
        let token = match name.as_str() {
            "YAML" => {
                let major = self.version()?;
                if self.here() != '.' {
                    return Err(Invalid);
                }
                self.skip();
                Token::Version(major, self.version()?)
            }
            "TAG" => {
                let handle = self.tag_handle(true)?;
                if !is_blank(self.here()) {
                    return Err(Invalid);
                }
                self.skip_blanks();
                let prefix = self.tag_uri("")?;
                if !is_space_or_end(self.here()) {
                    return Err(Invalid);
                }
                Token::TagDirective(handle, prefix)
            }
            _ => return Err(Invalid),
        };
        self.end_of_line()?;
        self.tokens.push_back(token);
        Ok(())
    }

    /// Nothing but blanks and a comment up to the end of the line.
    pub(super) fn end_of_line(&mut self) -> Scanned<()> {
        self.skip_blanks();
        self.skip_comment();
        if !is_break_or_end(self.here()) {
            return Err(Invalid);
        }
        self.line_break();
        Ok(())
    }

    fn version(&mut self) -> Scanned<u8> {
        let mut digits = String::new();
        while self.here().is_ascii_digit() && digits.len() < 3 {
            self.read(&mut digits);
        }
        if digits.len() > 2 { Err(Invalid) } else { digits.parse().map_err(|_| Invalid) }
    }

    pub(super) fn anchor(&mut self, alias: bool) -> Scanned<()> {
        self.save_key()?;
        self.key_allowed = false;
        self.skip();
        let name = self.word();
        let c = self.here();
        let ends = is_space_or_end(c) || matches!(c, '?' | ':' | ',' | ']' | '}' | '%' | '@' | '`');
        if name.is_empty() || !ends {
            return Err(Invalid);
        }
        self.tokens.push_back(if alias { Token::Alias(name) } else { Token::Anchor(name) });
        Ok(())
    }

    pub(super) fn tag(&mut self) -> Scanned<()> {
        self.save_key()?;
        self.key_allowed = false;
        let (handle, suffix) = if self.at(1) == '<' {
            self.skip();
            self.skip();
            let suffix = self.tag_uri("")?;
            if self.here() != '>' {
                return Err(Invalid);
            }
            self.skip();
            (String::new(), suffix)
        } else {
            let handle = self.tag_handle(false)?;
            if handle.len() > 1 && handle.ends_with('!') {
                let suffix = self.tag_uri("")?;
                (handle, suffix)
            } else {
                let suffix = self.tag_uri(&handle)?;
                // `!` alone is a tag without a handle.
                if suffix.is_empty() { (String::new(), "!".to_owned()) } else { ("!".to_owned(), suffix) }
            }
        };
        if !is_space_or_end(self.here()) {
            return Err(Invalid);
        }
        self.tokens.push_back(Token::Tag(handle, suffix));
        Ok(())
    }

    fn tag_handle(&mut self, directive: bool) -> Scanned<String> {
        if self.here() != '!' {
            return Err(Invalid);
        }
        let mut handle = String::new();
        self.read(&mut handle);
        while is_word(self.here()) {
            self.read(&mut handle);
        }
        if self.here() == '!' {
            self.read(&mut handle);
        } else if directive && handle != "!" {
            return Err(Invalid);
        }
        Ok(handle)
    }

    fn tag_uri(&mut self, head: &str) -> Scanned<String> {
        let mut uri: Vec<u8> = head.bytes().skip(1).collect();
        let mut found = !head.is_empty();
        loop {
            let c = self.here();
            let plain = matches!(
                c,
                ';' | '/'
                    | '?'
                    | ':'
                    | '@'
                    | '&'
                    | '='
                    | '+'
                    | '$'
                    | ','
                    | '.'
                    | '!'
                    | '~'
                    | '*'
                    | '\''
                    | '('
                    | ')'
                    | '['
                    | ']'
            );
            if c == '%' {
                self.uri_escape(&mut uri)?;
            } else if plain || is_word(c) {
                uri.push(c as u8);
                self.skip();
            } else {
                break;
            }
            found = true;
        }
        if !found {
            return Err(Invalid);
        }
        String::from_utf8(uri).map_err(|_| Invalid)
    }

    /// The escapes of one character.
    fn uri_escape(&mut self, uri: &mut Vec<u8>) -> Scanned<()> {
        let mut left = None;
        while left != Some(0) {
            let digit = |at: usize| self.at(at).to_digit(16).ok_or(Invalid);
            if self.here() != '%' {
                return Err(Invalid);
            }
            let octet = (digit(1)? << 4 | digit(2)?) as u8;
            left = match left {
                None => Some(match octet {
                    0..=0x7f => 0,
                    0xc0..=0xdf => 1,
                    0xe0..=0xef => 2,
                    0xf0..=0xf7 => 3,
                    _ => return Err(Invalid),
                }),
                Some(_) if octet & 0xc0 != 0x80 => return Err(Invalid),
                Some(left) => Some(left - 1),
            };
            uri.push(octet);
            (0..3).for_each(|_| self.skip());
        }
        Ok(())
    }
}
