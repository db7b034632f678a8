//! Scalars: in blocks, quoted, plain.

use super::{Invalid, Scanned, Scanner, Token, is_blank, is_break, is_break_or_end, is_space_or_end};

impl Scanner {
    pub(super) fn block_scalar(&mut self, literal: bool) -> Scanned<()> {
        self.remove_key()?;
        self.key_allowed = true;
        self.skip();
        let (mut keep, mut increment) = (None, 0);
        for _ in 0..2 {
            match self.here() {
                sign @ ('+' | '-') if keep.is_none() => keep = Some(sign == '+'),
                digit @ '1'..='9' if increment == 0 => increment = digit as isize - '0' as isize,
                '0' if increment == 0 => return Err(Invalid),
                _ => break,
            }
            self.skip();
        }
        self.end_of_line()?;
        let mut indent = if increment > 0 { self.indent.max(0) + increment } else { 0 };
        let mut text = String::new();
        let (mut leading, mut trailing) = (String::new(), String::new());
        self.block_breaks(&mut indent, &mut trailing)?;
        let mut blank_before = false;
        while self.mark.column == indent && self.here() != '\0' {
            let blank = is_blank(self.here());
            if !literal && !blank_before && !blank && leading.starts_with('\n') {
                if trailing.is_empty() {
                    text.push(' ');
                }
            } else {
                text.push_str(&leading);
            }
            leading.clear();
            text.push_str(&trailing);
            trailing.clear();
            blank_before = blank;
            while !is_break_or_end(self.here()) {
                self.read(&mut text);
            }
            leading.extend(self.line_break());
            self.block_breaks(&mut indent, &mut trailing)?;
        }
        if keep != Some(false) {
            text.push_str(&leading);
        }
        if keep == Some(true) {
            text.push_str(&trailing);
        }
        self.tokens.push_back(Token::Scalar(text, false));
        Ok(())
    }

    /// Indentation and empty lines of a block; finds out the indentation if it is not known.
    fn block_breaks(&mut self, indent: &mut isize, breaks: &mut String) -> Scanned<()> {
        let mut most = 0;
        loop {
            while (*indent == 0 || self.mark.column < *indent) && self.here() == ' ' {
                self.skip();
            }
            most = most.max(self.mark.column);
            if (*indent == 0 || self.mark.column < *indent) && self.here() == '\t' {
                return Err(Invalid);
            }
            match self.line_break() {
                Some(c) => breaks.push(c),
                None => break,
            }
        }
        if *indent == 0 {
            *indent = most.max(self.indent + 1).max(1);
        }
        Ok(())
    }

    pub(super) fn quoted(&mut self, single: bool) -> Scanned<()> {
        self.save_key()?;
        self.key_allowed = false;
        self.skip();
        let quote = if single { '\'' } else { '"' };
        let mut text = String::new();
        let (mut leading, mut trailing, mut blanks) = (String::new(), String::new(), String::new());
        loop {
            if self.document_indicator().is_some() || self.here() == '\0' {
                return Err(Invalid);
            }
            let mut broken = false;
            while !is_space_or_end(self.here()) {
                let c = self.here();
                if single && c == '\'' && self.at(1) == '\'' {
                    text.push('\'');
                    self.skip();
                    self.skip();
                } else if c == quote {
                    break;
                } else if !single && c == '\\' && is_break(self.at(1)) {
                    self.skip();
                    self.line_break();
                    broken = true;
                    break;
                } else if !single && c == '\\' {
                    self.escape(&mut text)?;
                } else {
                    self.read(&mut text);
                }
            }
            if self.here() == quote {
                break;
            }
            loop {
                let c = self.here();
                if is_blank(c) {
                    if !broken {
                        blanks.push(c);
                    }
                    self.skip();
                } else if let Some(c) = self.line_break() {
                    if broken {
                        trailing.push(c);
                    } else {
                        blanks.clear();
                        leading.push(c);
                        broken = true;
                    }
                } else {
                    break;
                }
            }
            if broken {
                fold(&mut text, &mut leading, &mut trailing);
            } else {
                text.push_str(&blanks);
                blanks.clear();
            }
        }
        self.skip();
        self.tokens.push_back(Token::Scalar(text, false));
        Ok(())
    }

    fn escape(&mut self, text: &mut String) -> Scanned<()> {
        let plain = match self.at(1) {
            '0' => '\0',
            'a' => '\u{7}',
            'b' => '\u{8}',
            't' | '\t' => '\t',
            'n' => '\n',
            'v' => '\u{b}',
            'f' => '\u{c}',
            'r' => '\r',
            'e' => '\u{1b}',
            c @ (' ' | '"' | '\'' | '\\') => c,
            'N' => '\u{85}',
            '_' => '\u{a0}',
            'L' => '\u{2028}',
            'P' => '\u{2029}',
            kind @ ('x' | 'u' | 'U') => {
                let digits = match kind {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let digit =
                    |value: u32, at: usize| Some(value.checked_mul(16)? + self.at(2 + at).to_digit(16)?);
                let code = (0..digits).try_fold(0, digit).ok_or(Invalid)?;
                text.push(char::from_u32(code).ok_or(Invalid)?);
                (0..2 + digits).for_each(|_| self.skip());
                return Ok(());
            }
            _ => return Err(Invalid),
        };
        text.push(plain);
        self.skip();
        self.skip();
        Ok(())
    }

    pub(super) fn plain(&mut self) -> Scanned<()> {
        self.save_key()?;
        self.key_allowed = false;
        let indent = self.indent + 1;
        let mut text = String::new();
        let (mut leading, mut trailing, mut blanks) = (String::new(), String::new(), String::new());
        let mut broken = false;
        loop {
            if self.document_indicator().is_some() || self.here() == '#' {
                break;
            }
            while !is_space_or_end(self.here()) {
                let c = self.here();
                if (c == ':' && is_space_or_end(self.at(1)))
                    || (self.flow > 0 && matches!(c, ',' | '?' | '[' | ']' | '{' | '}'))
                {
                    break;
                }
                if broken {
                    fold(&mut text, &mut leading, &mut trailing);
                    broken = false;
                } else {
                    text.push_str(&blanks);
                    blanks.clear();
                }
                self.read(&mut text);
            }
            if !(is_blank(self.here()) || is_break(self.here())) {
                break;
            }
            loop {
                let c = self.here();
                if is_blank(c) {
                    if broken && self.mark.column < indent && c == '\t' {
                        return Err(Invalid);
                    }
                    if !broken {
                        blanks.push(c);
                    }
                    self.skip();
                } else if let Some(c) = self.line_break() {
                    if broken {
                        trailing.push(c);
                    } else {
                        blanks.clear();
                        leading.push(c);
                        broken = true;
                    }
                } else {
                    break;
                }
            }
            if self.flow == 0 && self.mark.column < indent {
                break;
            }
        }
        if broken {
            self.key_allowed = true;
        }
        self.tokens.push_back(Token::Scalar(text, true));
        Ok(())
    }
}

/// One line break is a space; of more the first is left out.
fn fold(text: &mut String, leading: &mut String, trailing: &mut String) {
    if leading.starts_with('\n') && trailing.is_empty() {
        text.push(' ');
    } else {
        if !leading.starts_with('\n') {
            text.push_str(leading);
        }
        text.push_str(trailing);
    }
    leading.clear();
    trailing.clear();
}
