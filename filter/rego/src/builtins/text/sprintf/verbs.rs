//! The format: flags, widths, precisions, indexes and verbs. Source: `go:fmt`, `print.go`.

use super::super::rune;
use super::format::{Flags, Writer};
use super::{Argument, words};
use crate::builtins::{Budget, Fault};

/// A width or a precision beyond it is none.
const TOO_LARGE: i64 = 1_000_000;

struct Printer<'a> {
    out: Writer<'a>,
    format: &'a [u8],
    arguments: &'a [Argument<'a>],
    /// The next argument.
    next: usize,
    at: usize,
    reordered: bool,
    good_index: bool,
}

/// What Go's `Sprintf` makes of the format and its arguments.
pub(super) fn print(
    format: &[u8],
    arguments: &[Argument<'_>],
    budget: &mut Budget,
) -> Result<Vec<u8>, Fault> {
    let mut printer = Printer {
        out: Writer::new(budget),
        format,
        arguments,
        next: 0,
        at: 0,
        reordered: false,
        good_index: true,
    };
    printer.all()?;
    Ok(printer.out.finish())
}

impl Printer<'_> {
    fn byte(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    fn all(&mut self) -> Result<(), Fault> {
        while self.at < self.format.len() {
            let rest = rune::from(self.format, self.at);
            let plain = memchr::memchr(b'%', rest).unwrap_or(rest.len());
            self.out.write(rune::cut(rest, 0, plain))?;
            self.at += plain;
            if self.at >= self.format.len() {
                break;
            }
            self.at += 1;
            if !self.verb()? {
                break;
            }
        }
        self.extra()
    }

    /// After a `%`; false: the format ended without a verb.
    fn verb(&mut self) -> Result<bool, Fault> {
        self.good_index = true;
        let mut flags = Flags::default();
        while let Some(byte) = self.byte() {
            match byte {
                b'#' => flags.sharp = true,
                b'0' => flags.zero = true,
                b'+' => flags.plus = true,
                b'-' => flags.minus = true,
                b' ' => flags.space = true,
                _ => break,
            }
            self.at += 1;
        }
        let mut after_index = self.index();
        if self.byte() == Some(b'*') {
            self.at += 1;
            flags.width = self.number_of_argument();
            match flags.width {
                None => self.out.write(b"%!(BADWIDTH)")?,
                Some(width) if width < 0 => {
                    flags.width = Some(-width);
                    flags.minus = true;
                    flags.zero = false;
                }
                Some(_) => {}
            }
            after_index = false;
        } else {
            flags.width = self.number(self.format.len());
            if after_index && flags.width.is_some() {
                self.good_index = false;
            }
        }
        if self.at + 1 < self.format.len() && self.byte() == Some(b'.') {
            self.at += 1;
            if after_index {
                self.good_index = false;
            }
            after_index = self.index();
            if self.byte() == Some(b'*') {
                self.at += 1;
                flags.precision = self.number_of_argument().filter(|precision| *precision >= 0);
                if flags.precision.is_none() {
                    self.out.write(b"%!(BADPREC)")?;
                }
                after_index = false;
            } else {
                flags.precision = Some(self.number(self.format.len()).unwrap_or(0));
            }
        }
        if !after_index {
            self.index();
        }
        if self.at >= self.format.len() {
            self.out.write(b"%!(NOVERB)")?;
            return Ok(false);
        }
        let (verb, width) = rune::decode(rune::from(self.format, self.at));
        self.at += width;
        if verb == '%' {
            self.out.write(b"%")?;
        } else if !self.good_index {
            self.mistake(verb, b"(BADINDEX)")?;
        } else {
            match self.arguments.get(self.next) {
                None => self.mistake(verb, b"(MISSING)")?,
                Some(argument) => {
                    if matches!(verb, 'v' | 'w') {
                        flags.sharp_v = std::mem::take(&mut flags.sharp);
                        flags.plus_v = std::mem::take(&mut flags.plus);
                    }
                    self.out.flags = flags;
                    self.argument(argument, verb)?;
                    self.next += 1;
                }
            }
        }
        Ok(true)
    }

    fn mistake(&mut self, verb: char, what: &[u8]) -> Result<(), Fault> {
        self.out.write(b"%!")?;
        self.out.write_char(verb)?;
        self.out.write(what)
    }

    /// Digits up to `end`; too many of them end everything.
    fn number(&mut self, end: usize) -> Option<i64> {
        let mut number = None;
        while self.at < end
            && let Some(digit) = self.byte().filter(u8::is_ascii_digit)
        {
            let have = number.unwrap_or(0);
            if have > TOO_LARGE {
                self.at = end;
                return None;
            }
            number = Some(have * 10 + i64::from(digit - b'0'));
            self.at += 1;
        }
        number
    }

    /// `[n]`: which argument is next. Whether there was one that is well formed.
    fn index(&mut self) -> bool {
        if self.byte() != Some(b'[') {
            return false;
        }
        self.reordered = true;
        let rest = rune::from(self.format, self.at);
        let close = memchr::memchr(b']', rest).filter(|_| rest.len() >= 3);
        let Some(close) = close else {
            self.good_index = false;
            self.at += 1;
            return false;
        };
        let end = self.at + close;
        self.at += 1;
        let number = self.number(end);
        let formed = number.is_some() && self.at == end;
        self.at = end + 1;
        match number.filter(|_| formed) {
            Some(number) if number >= 1 && (number as usize) <= self.arguments.len() => {
                self.next = number as usize - 1;
                true
            }
            _ => {
                self.good_index = false;
                formed
            }
        }
    }

    /// `*`: the number is the next argument.
    fn number_of_argument(&mut self) -> Option<i64> {
        let argument = self.arguments.get(self.next)?;
        self.next += 1;
        match argument {
            Argument::Int(number) if (-TOO_LARGE..=TOO_LARGE).contains(number) => Some(*number),
            _ => None,
        }
    }

    fn argument(&mut self, argument: &Argument<'_>, verb: char) -> Result<(), Fault> {
        if verb == 'T' {
            return self.out.text(argument.type_name().as_bytes());
        }
        match argument {
            Argument::Int(value) => match verb {
                'v' | 'd' => self.out.integer(*value, 10, verb),
                'b' => self.out.integer(*value, 2, verb),
                'o' | 'O' => self.out.integer(*value, 8, verb),
                'x' | 'X' => self.out.integer(*value, 16, verb),
                'c' => self.out.character(*value),
                'q' => self.out.quoted_character(*value),
                'U' => self.out.unicode(*value),
                _ => self.bad_verb(argument, verb),
            },
            Argument::Float(value) => match verb {
                'v' => self.out.float(*value, 'g', None),
                'b' | 'g' | 'G' | 'x' | 'X' => self.out.float(*value, verb, None),
                'f' | 'e' | 'E' => self.out.float(*value, verb, Some(6)),
                'F' => self.out.float(*value, 'f', Some(6)),
                _ => self.bad_verb(argument, verb),
            },
            Argument::Text(text) => match verb {
                'v' if self.out.flags.sharp_v => self.out.quoted(text),
                'v' | 's' => self.out.text(text),
                'x' | 'X' => self.out.hexadecimal(text, verb == 'X'),
                'q' => self.out.quoted(text),
                _ => self.bad_verb(argument, verb),
            },
            Argument::Big(value) => match verb {
                'b' => self.out.big(value, 2, verb),
                'o' | 'O' => self.out.big(value, 8, verb),
                'd' | 's' | 'v' => self.out.big(value, 10, verb),
                'x' | 'X' => self.out.big(value, 16, verb),
                'p' | 'w' => self.bad_verb(argument, verb),
                _ => {
                    self.out.write(b"%!")?;
                    self.out.write_char(verb)?;
                    self.out.write(b"(big.Int=")?;
                    self.out.plain(value)?;
                    self.out.write(b")")
                }
            },
        }
    }

    /// `%!verb(type=value)`, the value with the flags.
    fn bad_verb(&mut self, argument: &Argument<'_>, verb: char) -> Result<(), Fault> {
        self.mistake(verb, b"(")?;
        self.out.write(argument.type_name().as_bytes())?;
        self.out.write(b"=")?;
        match argument {
            Argument::Big(value) => self.structure(value)?,
            other => self.argument(other, 'v')?,
        }
        self.out.write(b")")
    }

    /// A large integer as the structure that it is to Go.
    fn structure(&mut self, value: &num_bigint::BigInt) -> Result<(), Fault> {
        let flags = self.out.flags;
        let negative: &[u8] = if value.sign() == num_bigint::Sign::Minus { b"true" } else { b"false" };
        let (open, names, close): (&[u8], [&[u8]; 2], &[u8]) = match flags {
            _ if flags.sharp_v => (b"&big.Int{", [b"neg:", b", abs:big.nat{"], b"}}"),
            _ if flags.plus_v => (b"&{", [b"neg:", b" abs:["], b"]}"),
            _ => (b"&{", [b"", b" ["], b"]}"),
        };
        self.out.write(open)?;
        let [first, second] = names;
        self.out.write(first)?;
        self.out.pad(negative)?;
        self.out.write(second)?;
        for (at, word) in words(value).into_iter().enumerate() {
            if at > 0 {
                self.out.write(if flags.sharp_v { b", " } else { b" " })?;
            }
            self.out.word(word, flags.sharp_v)?;
        }
        self.out.write(close)
    }

    /// What is left over, unless indexes were used.
    fn extra(&mut self) -> Result<(), Fault> {
        if self.reordered || self.next >= self.arguments.len() {
            return Ok(());
        }
        self.out.flags = Flags::default();
        self.out.write(b"%!(EXTRA ")?;
        for (at, argument) in self.arguments.iter().skip(self.next).enumerate() {
            if at > 0 {
                self.out.write(b", ")?;
            }
            self.out.write(argument.type_name().as_bytes())?;
            self.out.write(b"=")?;
            self.argument(argument, 'v')?;
        }
        self.out.write(b")")
    }
}
