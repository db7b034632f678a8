//! Values with flags, width and precision. Source: `go:fmt`, `format.go`; `go:math/big`, `intconv.go`.

use super::super::rune;
use super::{MOST_OUTPUT, float};
use crate::builtins::{Budget, Fault, Limit};
use crate::value::is_print;
use num_bigint::{BigInt, Sign};

/// Flags of one verb.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    pub(super) width: Option<i64>,
    pub(super) precision: Option<i64>,
    pub(super) minus: bool,
    pub(super) plus: bool,
    pub(super) sharp: bool,
    pub(super) space: bool,
    pub(super) zero: bool,
    /// `+` and `#` of `%+v` and `%#v`, which mean something else.
    pub(super) plus_v: bool,
    pub(super) sharp_v: bool,
}

impl Flags {
    fn width(&self) -> usize {
        self.width.map_or(0, |width| width.max(0) as usize)
    }

    fn precision(&self) -> Option<usize> {
        self.precision.map(|precision| precision.max(0) as usize)
    }
}

/// What is printed so far, paid for.
pub(super) struct Writer<'a> {
    pub(super) flags: Flags,
    out: Vec<u8>,
    budget: &'a mut Budget,
}

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

fn digit(digits: &[u8; 16], value: u64) -> u8 {
    digits.get(value as usize & 15).copied().unwrap_or(b'0')
}

impl<'a> Writer<'a> {
    pub(super) fn new(budget: &'a mut Budget) -> Writer<'a> {
        Writer { flags: Flags::default(), out: Vec::new(), budget }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Room for so many bytes more.
    fn pay(&mut self, bytes: usize) -> Result<(), Fault> {
        if self.out.len().saturating_add(bytes) > MOST_OUTPUT {
            return Err(Fault::Limit(Limit::Bytes));
        }
        self.budget.step(bytes as u64 / 32)?;
        Ok(self.budget.bytes(bytes as u64)?)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.pay(bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn write_char(&mut self, c: char) -> Result<(), Fault> {
        self.write(c.encode_utf8(&mut [0; 4]).as_bytes())
    }

    fn fill(&mut self, byte: u8, count: usize) -> Result<(), Fault> {
        self.pay(count)?;
        self.out.resize(self.out.len() + count, byte);
        Ok(())
    }

    /// Zeros only to the left.
    fn padding(&mut self, count: usize) -> Result<(), Fault> {
        self.fill(if self.flags.zero && !self.flags.minus { b'0' } else { b' ' }, count)
    }

    /// The bytes, as wide as asked for.
    pub(super) fn pad(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let width = self.flags.width();
        let missing = if width == 0 { 0 } else { width.saturating_sub(rune::count(bytes)) };
        if self.flags.minus {
            self.write(bytes)?;
            self.padding(missing)
        } else {
            self.padding(missing)?;
            self.write(bytes)
        }
    }

    fn pad_without_zeros(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let zero = std::mem::take(&mut self.flags.zero);
        let done = self.pad(bytes);
        self.flags.zero = zero;
        done
    }

    /// A string, cut to as many characters as the precision says.
    fn cut<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        match self.flags.precision() {
            Some(precision) => match rune::runes(text).nth(precision) {
                Some((at, _)) => rune::cut(text, 0, at),
                None => text,
            },
            None => text,
        }
    }

    pub(super) fn text(&mut self, text: &[u8]) -> Result<(), Fault> {
        let text = self.cut(text);
        self.pad(text)
    }

    pub(super) fn integer(&mut self, value: i64, base: u64, verb: char) -> Result<(), Fault> {
        self.number(value.unsigned_abs(), value < 0, base, verb)
    }

    /// A word of a large integer.
    pub(super) fn word(&mut self, value: u64, go: bool) -> Result<(), Fault> {
        let sharp = std::mem::replace(&mut self.flags.sharp, go);
        let done = self.number(value, false, if go { 16 } else { 10 }, 'v');
        self.flags.sharp = sharp;
        done
    }

    fn number(&mut self, value: u64, negative: bool, base: u64, verb: char) -> Result<(), Fault> {
        let flags = self.flags;
        let mut least = 0;
        if let Some(precision) = flags.precision() {
            least = precision;
            if precision == 0 && value == 0 {
                // No digits, but padding.
                return self.fill(b' ', flags.width());
            }
        } else if flags.zero && !flags.minus && flags.width.is_some() {
            least = flags.width();
            if negative || flags.plus || flags.space {
                least = least.saturating_sub(1);
            }
        }
        // Paid for before it is built.
        self.pay(least)?;
        let digits = if verb == 'X' { UPPER } else { LOWER };
        let mut reversed = Vec::with_capacity(least + 70);
        let mut rest = value;
        loop {
            reversed.push(digit(digits, rest % base));
            rest /= base;
            if rest == 0 {
                break;
            }
        }
        if reversed.len() < least {
            reversed.resize(least, b'0');
        }
        if flags.sharp {
            match base {
                2 => reversed.extend_from_slice(b"b0"),
                8 if reversed.last() != Some(&b'0') => reversed.push(b'0'),
                16 => reversed.extend_from_slice(if verb == 'X' { b"X0" } else { b"x0" }),
                _ => {}
            }
        }
        if verb == 'O' {
            reversed.extend_from_slice(b"o0");
        }
        if negative {
            reversed.push(b'-');
        } else if flags.plus {
            reversed.push(b'+');
        } else if flags.space {
            reversed.push(b' ');
        }
        reversed.reverse();
        self.pad_without_zeros(&reversed)
    }

    /// The decimal digits of a large integer, without flags.
    pub(super) fn plain(&mut self, value: &BigInt) -> Result<(), Fault> {
        let digits = self.digits(value, 10)?;
        if value.sign() == Sign::Minus {
            self.write(b"-")?;
        }
        self.write(&digits)
    }

    fn digits(&mut self, value: &BigInt, base: u32) -> Result<Vec<u8>, Fault> {
        let bits = value.bits();
        self.budget.step(bits.saturating_mul(bits) / 4096)?;
        self.pay(bits as usize)?;
        Ok(value.magnitude().to_str_radix(base).into_bytes())
    }

    pub(super) fn big(&mut self, value: &BigInt, base: u32, verb: char) -> Result<(), Fault> {
        let flags = self.flags;
        let sign: &[u8] = match value.sign() {
            Sign::Minus => b"-",
            _ if flags.plus || flags.plus_v => b"+",
            _ if flags.space => b" ",
            _ => b"",
        };
        let prefix: &[u8] = match verb {
            'O' => b"0o",
            'b' if flags.sharp => b"0b",
            'o' if flags.sharp => b"0",
            'x' if flags.sharp => b"0x",
            'X' if flags.sharp => b"0X",
            _ => b"",
        };
        let mut digits = self.digits(value, base)?;
        if verb == 'X' {
            digits.make_ascii_uppercase();
        }
        let mut zeros = 0;
        if let Some(precision) = flags.precision() {
            if digits.len() < precision {
                zeros = precision - digits.len();
            } else if digits == b"0" && precision == 0 {
                return Ok(());
            }
        }
        let length = sign.len() + prefix.len() + zeros + digits.len();
        let missing = flags.width().saturating_sub(length);
        let (mut left, mut right) = (0, 0);
        if flags.minus {
            right = missing;
        } else if flags.zero && flags.precision.is_none() {
            zeros += missing;
        } else {
            left = missing;
        }
        self.fill(b' ', left)?;
        self.write(sign)?;
        self.write(prefix)?;
        self.fill(b'0', zeros)?;
        self.write(&digits)?;
        self.fill(b' ', right)
    }

    pub(super) fn character(&mut self, value: i64) -> Result<(), Fault> {
        self.pad(rune_of(value).encode_utf8(&mut [0; 4]).as_bytes())
    }

    pub(super) fn quoted_character(&mut self, value: i64) -> Result<(), Fault> {
        let mut out = vec![b'\''];
        escape(rune_of(value), '\'', self.flags.plus, &mut out);
        out.push(b'\'');
        self.pad(&out)
    }

    /// `U+0041`, and with `#` the character too.
    pub(super) fn unicode(&mut self, value: i64) -> Result<(), Fault> {
        let code = value as u64;
        let least = self.flags.precision().unwrap_or(0).max(4);
        self.pay(least)?;
        let mut out = b"U+".to_vec();
        let digits = format!("{code:X}");
        out.resize(out.len() + least.saturating_sub(digits.len()), b'0');
        out.extend_from_slice(digits.as_bytes());
        if self.flags.sharp
            && let Some(c) = u32::try_from(code).ok().and_then(char::from_u32).filter(|c| is_print(*c))
        {
            out.extend_from_slice(b" '");
            rune::push(&mut out, c);
            out.push(b'\'');
        }
        self.pad_without_zeros(&out)
    }

    pub(super) fn quoted(&mut self, text: &[u8]) -> Result<(), Fault> {
        let text = self.cut(text);
        // An escape is at most five times as long as what it stands for.
        self.pay(5 * text.len() + 2)?;
        let mut out = Vec::with_capacity(text.len() + 2);
        if self.flags.sharp && can_backquote(text) {
            out.push(b'`');
            out.extend_from_slice(text);
            out.push(b'`');
        } else {
            out.push(b'"');
            for (at, c) in rune::runes(text) {
                if c == char::REPLACEMENT_CHARACTER && rune::decode(rune::from(text, at)).1 == 1 {
                    let byte = u64::from(text.get(at).copied().unwrap_or_default());
                    out.extend_from_slice(&[b'\\', b'x', digit(LOWER, byte >> 4), digit(LOWER, byte)]);
                } else {
                    escape(c, '"', self.flags.plus, &mut out);
                }
            }
            out.push(b'"');
        }
        self.pad(&out)
    }

    /// The bytes of a string in hexadecimal.
    pub(super) fn hexadecimal(&mut self, text: &[u8], upper: bool) -> Result<(), Fault> {
        let flags = self.flags;
        let length = flags.precision().unwrap_or(text.len()).min(text.len());
        if length == 0 {
            return if flags.width.is_some() { self.padding(flags.width()) } else { Ok(()) };
        }
        let width = match (flags.space, flags.sharp) {
            (true, true) => 5 * length - 1,
            (true, false) => 3 * length - 1,
            (false, true) => 2 * length + 2,
            (false, false) => 2 * length,
        };
        self.pay(width)?;
        let missing = flags.width().saturating_sub(width);
        if !flags.minus {
            self.padding(missing)?;
        }
        let (digits, prefix) = if upper { (UPPER, b"0X") } else { (LOWER, b"0x") };
        for (at, byte) in text.iter().take(length).enumerate() {
            if flags.space && at > 0 {
                self.out.push(b' ');
            }
            if flags.sharp && (flags.space || at == 0) {
                self.out.extend_from_slice(prefix);
            }
            self.out.push(digit(digits, u64::from(byte >> 4)));
            self.out.push(digit(digits, u64::from(*byte)));
        }
        if flags.minus {
            self.padding(missing)?;
        }
        Ok(())
    }

    pub(super) fn float(&mut self, value: f64, verb: char, precision: Option<usize>) -> Result<(), Fault> {
        let flags = self.flags;
        let precision = flags.precision().or(precision);
        self.pay(precision.unwrap_or(0).saturating_add(400))?;
        let mut number = float::text(value, verb, precision);
        if flags.sharp && verb != 'b' {
            float::keep_point(&mut number, verb, precision);
        }
        let (sign, digits) = match number.strip_prefix(b"-") {
            Some(digits) => (b'-', digits),
            None if flags.space && !flags.plus => (b' ', number.as_slice()),
            None => (b'+', number.as_slice()),
        };
        if !flags.plus && sign == b'+' {
            return self.pad(digits);
        }
        let length = digits.len() + 1;
        if flags.zero && !flags.minus && flags.width() > length {
            self.write(&[sign])?;
            self.padding(flags.width() - length)?;
            return self.write(digits);
        }
        let mut signed = vec![sign];
        signed.extend_from_slice(digits);
        self.pad(&signed)
    }
}

fn rune_of(value: i64) -> char {
    u32::try_from(value).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Source: `go:strconv`, `appendEscapedRune`.
fn escape(c: char, quote: char, ascii: bool, out: &mut Vec<u8>) {
    if c == quote || c == '\\' {
        out.push(b'\\');
        return rune::push(out, c);
    }
    if is_print(c) && (c.is_ascii() || !ascii) {
        return rune::push(out, c);
    }
    let escaped = match c {
        '\u{7}' => "\\a".into(),
        '\u{8}' => "\\b".into(),
        '\u{C}' => "\\f".into(),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        '\u{B}' => "\\v".into(),
        '\0'..=' ' | '\u{7F}' => format!("\\x{:02x}", u32::from(c)),
        '\u{10000}'.. => format!("\\U{:08x}", u32::from(c)),
        _ => format!("\\u{:04x}", u32::from(c)),
    };
    out.extend_from_slice(escaped.as_bytes());
}

/// Whether backquotes can stand around the text as it is.
fn can_backquote(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| {
        text.chars().all(|c| c == '\t' || !matches!(c, '\0'..' ' | '`' | '\u{7F}' | '\u{FEFF}'))
    })
}
