//! Values to YAML text, in blocks. Source: go.yaml.in/yaml/v2, encode.go, emitterc.go, sorter.go.

use super::super::{Call, Fault};
use super::{Decoded, general, resolve};
use std::cmp::Ordering;

/// Where long text is broken.
const WIDTH: usize = 80;
/// The longest key that is written before its colon.
const MOST_KEY: usize = 128;

struct Emitter<'c, 'b> {
    call: &'c mut Call<'b>,
    out: String,
    column: usize,
    indent: Option<usize>,
    /// The last character was white space, or an indicator that stands for it.
    whitespace: bool,
    /// Nothing but white space and indicators on the line.
    indention: bool,
}

/// The text.
pub(super) fn emit(call: &mut Call<'_>, value: &Decoded) -> Result<Vec<u8>, Fault> {
    let mut emitter =
        Emitter { call, out: String::new(), column: 0, indent: None, whitespace: true, indention: true };
    emitter.node(value, false, false)?;
    emitter.new_line()?;
    Ok(emitter.out.into_bytes())
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What needs no escape; characters beyond U+FFFF do.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

/// How a string can be written.
struct Analysis {
    multiline: bool,
    plain: bool,
    single_quoted: bool,
    block: bool,
}

fn analyze(text: &str) -> Analysis {
    let (mut indicators, mut breaks, mut special) = (false, false, false);
    let (mut leading, mut trailing, mut trailing_space) = (false, false, false);
    let (mut break_space, mut space_break) = (false, false);
    let (mut after_space, mut after_break, mut after_white) = (false, false, true);
    if text.is_empty() {
        return Analysis { multiline: false, plain: true, single_quoted: true, block: false };
    }
    if text.starts_with("---") || text.starts_with("...") {
        indicators = true;
    }
    let mut chars = text.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        let last = chars.peek().is_none();
        let before_white = chars.peek().is_none_or(|next| matches!(next, ' ' | '\t'));
        indicators |= match c {
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
            | '`'
                if first =>
            {
                true
            }
            '?' | '-' if first => before_white,
            ':' => before_white,
            '#' => after_white,
            _ => false,
        };
        special |= !is_printable(c);
        if c == ' ' {
            leading |= first;
            trailing_space |= last;
            break_space |= after_break;
            (after_space, after_break) = (true, false);
        } else if is_break(c) {
            breaks = true;
            leading |= first;
            trailing |= last;
            space_break |= after_space;
            (after_space, after_break) = (false, true);
        } else {
            (after_space, after_break) = (false, false);
        }
        after_white = matches!(c, ' ' | '\t' | '\0') || is_break(c);
        first = false;
    }
    let special = special || space_break;
    Analysis {
        multiline: breaks,
        plain: !(leading || trailing || trailing_space || break_space || special || breaks || indicators),
        single_quoted: !(break_space || special),
        block: !(trailing_space || special),
    }
}

/// The order of keys: letters after other characters, numbers by what they are worth.
fn order(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (Some(x), Some(y)) = (a.get(same), b.get(same)) else { return a.len().cmp(&b.len()) };
    let is_letter = |c: &char| c.is_alphabetic();
    match (is_letter(x), is_letter(y)) {
        (true, true) => return x.cmp(y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let mut start = 0i64;
    if *x == '0' || *y == '0' {
        let before = a.get(..same).unwrap_or_default().iter().rev().take_while(|c| c.is_numeric());
        start = i64::from(before.into_iter().any(|c| *c != '0'));
    }
    let number = |text: &[char]| {
        let digits = text.iter().skip(same).take_while(|c| c.is_numeric());
        digits.fold((start, 0), |(value, count), c| {
            (value.wrapping_mul(10).wrapping_add(i64::from(*c as u32) - i64::from('0' as u32)), count + 1)
        })
    };
    number(&a).cmp(&number(&b)).then(x.cmp(y))
}

/// Merged by halves. The order of keys is none (`a1b` < `a001` < `a100` < `a1b`): the library may not be asked
/// to sort by it.
fn sorted<T>(mut items: Vec<T>, order: &impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    if items.len() < 2 {
        return items;
    }
    let upper = sorted(items.split_off(items.len() / 2), order);
    let lower = sorted(items, order);
    let mut merged = Vec::with_capacity(lower.len() + upper.len());
    let (mut lower, mut upper) = (lower.into_iter().peekable(), upper.into_iter().peekable());
    while let (Some(a), Some(b)) = (lower.peek(), upper.peek()) {
        let first = order(b, a) != Ordering::Less;
        merged.extend(if first { lower.next() } else { upper.next() });
    }
    merged.extend(lower);
    merged.extend(upper);
    merged
}

#[derive(PartialEq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

impl Emitter<'_, '_> {
    fn put(&mut self, c: char) -> Result<(), Fault> {
        self.call.bytes(c.len_utf8())?;
        self.call.step(1)?;
        self.out.push(c);
        self.column += 1;
        Ok(())
    }

    fn line_break(&mut self) -> Result<(), Fault> {
        self.put('\n')?;
        self.column = 0;
        Ok(())
    }

    /// A character that may be a line break.
    fn write(&mut self, c: char) -> Result<(), Fault> {
        self.put(c)?;
        if is_break(c) {
            self.column = 0;
        }
        Ok(())
    }

    fn new_line(&mut self) -> Result<(), Fault> {
        let indent = self.indent.unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.line_break()?;
        }
        while self.column < indent {
            self.put(' ')?;
        }
        (self.whitespace, self.indention) = (true, true);
        Ok(())
    }

    fn indicator(
        &mut self,
        text: &str,
        spaced: bool,
        whitespace: bool,
        indention: bool,
    ) -> Result<(), Fault> {
        if spaced && !self.whitespace {
            self.put(' ')?;
        }
        for c in text.chars() {
            self.put(c)?;
        }
        self.whitespace = whitespace;
        self.indention &= indention;
        Ok(())
    }

    /// A node: within a mapping, and as a key that stands before its colon.
    fn node(&mut self, value: &Decoded, mapping: bool, key: bool) -> Result<(), Fault> {
        self.call.step(16)?;
        match value {
            Decoded::Sequence(items) if items.is_empty() => self.empty("[", "]"),
            Decoded::Mapping(pairs) if pairs.is_empty() => self.empty("{", "}"),
            Decoded::Sequence(items) => {
                // Under a key a sequence is not indented further.
                let outer = self.indent;
                self.indent = match outer {
                    None => Some(0),
                    Some(indent) if mapping && !self.indention => Some(indent),
                    Some(indent) => Some(indent + 2),
                };
                for item in items {
                    self.new_line()?;
                    self.indicator("-", true, false, true)?;
                    self.node(item, false, false)?;
                }
                self.indent = outer;
                Ok(())
            }
            Decoded::Mapping(pairs) => self.mapping(pairs),
            scalar => self.scalar(scalar, key),
        }
    }

    fn empty(&mut self, open: &str, close: &str) -> Result<(), Fault> {
        self.indicator(open, true, true, false)?;
        self.indicator(close, false, false, false)
    }

    fn mapping(&mut self, pairs: &[(Decoded, Decoded)]) -> Result<(), Fault> {
        let outer = self.indent;
        self.indent = Some(outer.map_or(0, |indent| indent + 2));
        let mut keyed = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            if let Decoded::Text(text) = key {
                keyed.push((crate::value::lossy(text), key, value));
            }
        }
        self.call.step(keyed.iter().map(|(text, ..)| 1 + text.len() / 8).sum())?;
        let keyed = sorted(keyed, &|a, b| order(&a.0, &b.0));
        for (text, key, value) in keyed {
            self.new_line()?;
            if !analyze(&text).multiline && text.len() <= MOST_KEY {
                self.node(key, true, true)?;
                self.indicator(":", false, false, false)?;
            } else {
                self.indicator("?", true, false, true)?;
                self.node(key, true, false)?;
                self.new_line()?;
                self.indicator(":", true, false, true)?;
            }
            self.node(value, true, false)?;
        }
        self.indent = outer;
        Ok(())
    }

    fn scalar(&mut self, value: &Decoded, key: bool) -> Result<(), Fault> {
        let (text, style) = match value {
            Decoded::Text(text) => {
                let text = crate::value::lossy(text).into_owned();
                let style = if text.contains('\n') {
                    Style::Literal
                } else if matches!(resolve(&text), Decoded::Text(_))
                    && !super::resolves_otherwise(&text)
                    && !is_base_60(&text)
                {
                    Style::Plain
                } else {
                    Style::Double
                };
                (text, style)
            }
            Decoded::Bool(value) => (value.to_string(), Style::Plain),
            Decoded::Int(value) => (value.to_string(), Style::Plain),
            Decoded::Large(value) => (value.to_string(), Style::Plain),
            Decoded::Float(value) if value.is_nan() => (".nan".to_owned(), Style::Plain),
            Decoded::Float(value) if value.is_infinite() => {
                (if *value > 0.0 { ".inf" } else { "-.inf" }.to_owned(), Style::Plain)
            }
            Decoded::Float(value) => (general(&crate::value::shortest(*value)), Style::Plain),
            _ => ("null".to_owned(), Style::Plain),
        };
        let allowed = analyze(&text);
        let mut style = if key && allowed.multiline { Style::Double } else { style };
        if style == Style::Plain && (!allowed.plain || (text.is_empty() && key)) {
            style = Style::Single;
        }
        if style == Style::Single && !allowed.single_quoted {
            style = Style::Double;
        }
        if style == Style::Literal && (!allowed.block || key) {
            style = Style::Double;
        }
        let outer = self.indent;
        self.indent = Some(outer.map_or(2, |indent| indent + 2));
        match style {
            Style::Plain => self.plain(&text, !key)?,
            Style::Single => self.single(&text, !key)?,
            Style::Double => self.double(&text, !key)?,
            Style::Literal => self.literal(&text)?,
        }
        self.indent = outer;
        Ok(())
    }

    fn plain(&mut self, text: &str, breaks: bool) -> Result<(), Fault> {
        if !self.whitespace {
            self.put(' ')?;
        }
        let mut after_space = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c == ' ' && breaks && !after_space && self.column > WIDTH && chars.peek() != Some(&' ') {
                self.new_line()?;
            } else {
                self.put(c)?;
            }
            after_space = c == ' ';
            self.indention &= after_space;
        }
        (self.whitespace, self.indention) = (false, false);
        Ok(())
    }

    fn single(&mut self, text: &str, breaks: bool) -> Result<(), Fault> {
        self.indicator("'", true, false, false)?;
        let (mut after_space, mut after_break, mut first) = (false, false, true);
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c == ' ' {
                let next = chars.peek();
                let folds = breaks && !after_space && self.column > WIDTH && !first;
                if folds && next.is_some_and(|next| *next != ' ') {
                    self.new_line()?;
                } else {
                    self.put(c)?;
                }
                after_space = true;
            } else if is_break(c) {
                if !after_break && c == '\n' {
                    self.line_break()?;
                }
                self.write(c)?;
                self.indention = true;
                after_break = true;
            } else {
                if after_break {
                    self.new_line()?;
                }
                if c == '\'' {
                    self.put('\'')?;
                }
                self.put(c)?;
                self.indention = false;
                (after_space, after_break) = (false, false);
            }
            first = false;
        }
        self.indicator("'", false, false, false)
    }

    fn double(&mut self, text: &str, breaks: bool) -> Result<(), Fault> {
        self.indicator("\"", true, false, false)?;
        // Of text that begins with a byte order mark every character is escaped.
        let marked = text.starts_with('\u{feff}');
        let (mut after_space, mut first) = (false, true);
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if marked || !is_printable(c) || is_break(c) || matches!(c, '"' | '\\') {
                self.escape(c)?;
                after_space = false;
            } else if c == ' ' {
                let next = chars.peek();
                if breaks && !after_space && self.column > WIDTH && !first && next.is_some() {
                    let spaced = next == Some(&' ');
                    self.new_line()?;
                    if spaced {
                        self.put('\\')?;
                    }
                } else {
                    self.put(c)?;
                }
                after_space = true;
            } else {
                self.put(c)?;
                after_space = false;
            }
            first = false;
        }
        self.indicator("\"", false, false, false)
    }

    fn escape(&mut self, c: char) -> Result<(), Fault> {
        let short = match c {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '"' => '"',
            '\\' => '\\',
            '\u{85}' => 'N',
            '\u{a0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            c => {
                let code = u32::from(c);
                let long = match code {
                    0..=0xff => format!("\\x{code:02X}"),
                    0x100..=0xffff => format!("\\u{code:04X}"),
                    _ => format!("\\U{code:08X}"),
                };
                for c in long.chars() {
                    self.put(c)?;
                }
                return Ok(());
            }
        };
        self.put('\\')?;
        self.put(short)
    }

    fn literal(&mut self, text: &str) -> Result<(), Fault> {
        self.indicator("|", true, false, false)?;
        if text.starts_with(|c| c == ' ' || is_break(c)) {
            self.indicator("2", false, false, false)?;
        }
        let mut end = text.chars().rev();
        let hint = match (end.next().is_some_and(is_break), end.next()) {
            (false, _) => "-",
            (true, None) => "+",
            (true, Some(c)) if is_break(c) => "+",
            (true, Some(_)) => "",
        };
        if !hint.is_empty() {
            self.indicator(hint, false, false, false)?;
        }
        self.line_break()?;
        (self.whitespace, self.indention) = (true, true);
        let mut after_break = true;
        for c in text.chars() {
            if is_break(c) {
                self.write(c)?;
                self.indention = true;
                after_break = true;
            } else {
                if after_break {
                    self.new_line()?;
                }
                self.put(c)?;
                self.indention = false;
                after_break = false;
            }
        }
        Ok(())
    }
}

/// `190:20:30`: a number of base 60 to others, so that it is quoted.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let sixty = |part: &str| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    let rest: Vec<&str> = parts.collect();
    first.starts_with(|c: char| c.is_ascii_digit())
        && digits(first)
        && digits(fraction)
        && !rest.is_empty()
        && rest.into_iter().all(sixty)
}
