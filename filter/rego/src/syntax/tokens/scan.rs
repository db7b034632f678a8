//! How long a number or a string is, and what is wrong with it. Each takes the text from where it begins.

/// Why there is no token.
#[derive(Debug)]
pub(super) enum Fault {
    /// The text ends within it.
    Open(&'static str),
    /// It is written wrongly.
    Here(String),
}

fn here<T>(why: &str) -> Result<T, Fault> {
    Err(Fault::Here(why.to_owned()))
}

/// A number: digits, a point with digits, an exponent. Zeros at its beginning are the parser's affair: they may follow a point.
pub(super) fn number(rest: &[u8]) -> Result<usize, Fault> {
    let byte = |at: usize| rest.get(at).copied().unwrap_or_default();
    let digits = |mut at: usize| {
        while byte(at).is_ascii_digit() {
            at += 1;
        }
        at
    };
    let mut at = digits(0);
    if byte(at) == b'.' {
        let from = at + 1;
        at = digits(from);
        if at == from {
            return here("digits are missing after the point of this number; write `1.0` or `1`");
        }
    }
    if matches!(byte(at), b'e' | b'E') {
        let from = at + if matches!(byte(at + 1), b'+' | b'-') { 2 } else { 1 };
        at = digits(from);
        if at == from {
            return here("the exponent of this number has no digits; write `1e3`");
        }
    }
    if matches!(byte(at), b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..) {
        return here("a letter stands within this number; numbers are decimal, and a space ends them");
    }
    Ok(at)
}

/// A string, its quotes included.
pub(super) fn string(rest: &[u8]) -> Result<usize, Fault> {
    Ok(quoted(rest, 1, false)? + 1)
}

/// A string between backquotes, these included.
pub(super) fn raw(rest: &[u8]) -> Result<usize, Fault> {
    match memchr::memchr(b'`', rest.get(1..).unwrap_or_default()) {
        Some(at) => Ok(at + 2),
        None => Err(Fault::Open("this string is not closed; end it with a backquote")),
    }
}

/// Literal text of a template string, up to its brace or quote.
pub(super) fn part(rest: &[u8]) -> Result<usize, Fault> {
    quoted(rest, 0, true)
}

/// Literal text of a template string between backquotes, up to its brace or backquote.
pub(super) fn raw_part(rest: &[u8]) -> Result<usize, Fault> {
    let mut before = 0;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'`' => return Ok(at),
            b'{' if before != b'\\' => return Ok(at),
            _ => before = *byte,
        }
    }
    Err(Fault::Open("this template string is not closed; end it with a backquote"))
}

const NOT_CLOSED: &str =
    "this string is not closed on its line; end it with a quote, or write it between backquotes";

/// Where the text that begins at `from` ends: at its quote or, in a template, at the brace of an expression.
fn quoted(rest: &[u8], from: usize, template: bool) -> Result<usize, Fault> {
    let (mut at, mut escapes) = (from, false);
    loop {
        match rest.get(at) {
            Some(b'"') => break,
            Some(b'{') if template => break,
            // `\{` is no escape of JSON, and does not make the rest of the text JSON.
            Some(b'\\') if template && rest.get(at + 1) == Some(&b'{') => at += 2,
            Some(b'\\') => {
                escapes = true;
                at += escape(rest.get(at..).unwrap_or_default())?;
            }
            Some(b'\n') => return here(NOT_CLOSED),
            Some(_) => at += 1,
            None => return Err(Fault::Open(NOT_CLOSED)),
        }
    }
    let text = rest.get(from..at).unwrap_or_default();
    match text.iter().find(|byte| **byte < 0x20) {
        // OPA reads a string with escapes as JSON, which holds no control characters, and any other as it is.
        Some(byte) if escapes => Err(Fault::Here(format!(
            "this string has escapes and a control character; write the character as `\\u{byte:04x}`"
        ))),
        _ => Ok(at),
    }
}

/// Length of an escape.
fn escape(rest: &[u8]) -> Result<usize, Fault> {
    match rest.get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
        Some(b'u') => match rest.get(2..6) {
            Some(code) if code.iter().all(u8::is_ascii_hexdigit) => Ok(6),
            _ => here("an escape `\\u` in this string needs four hexadecimal digits"),
        },
        Some(_) => {
            here("this string has an escape that JSON does not know; a backslash itself is written `\\\\`")
        }
        None => Err(Fault::Open(NOT_CLOSED)),
    }
}

/// Why a character begins no token.
pub(super) fn meaningless(byte: u8) -> &'static str {
    match byte {
        b'!' => "`!` alone means nothing in Rego; write `not`, or `!=`",
        b'$' => "`$` begins a template string: `$\"…\"`; remove it, or put the quote right after it",
        b'\'' => "`'` means nothing in Rego; write strings between double quotes or backquotes",
        0x80.. => {
            "this character stands in strings and comments only; names are of ASCII letters, digits and `_`"
        }
        _ => "this character means nothing in Rego; remove it",
    }
}
