//! `regex.template_match`: plain text with regular expressions between delimiters.

use super::super::{args, rune};
use super::parse::bad;
use crate::builtins::{Call, Fault};
use crate::value::Value;

pub(super) fn template_match(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let template = args::bytes(args, 0)?;
    let text = args::bytes(args, 1)?;
    let (&[start], &[end]) = (args::bytes(args, 2)?, args::bytes(args, 3)?) else {
        return Err(Fault::undefined("a delimiter must be one byte"));
    };
    call.step(1 + template.len() / 8)?;
    let mut pattern = vec![b'^'];
    let mut after = 0;
    for (open, close) in pieces(template, start, end)? {
        let part = rune::cut(template, open + 1, close - 1);
        quote(rune::cut(template, after, open), &mut pattern);
        pattern.push(b'(');
        pattern.extend_from_slice(part);
        pattern.push(b')');
        after = close;
        // Each part must be a pattern alone too.
        call.patterns.regex(&[b"^", part, b"$"].concat(), call.budget)?;
    }
    quote(rune::from(template, after), &mut pattern);
    pattern.push(b'$');
    let regex = call.patterns.regex(&pattern, call.budget)?;
    Ok(regex.is_match(text, call.budget)?.into())
}

/// Where the outermost delimiters are, and the byte after them.
fn pieces(template: &[u8], start: u8, end: u8) -> Result<Vec<(usize, usize)>, Fault> {
    const UNBALANCED: Fault = bad("the delimiters of the template are not balanced");
    let (mut level, mut open) = (0usize, 0);
    let mut pieces = Vec::new();
    for (at, &byte) in template.iter().enumerate() {
        if byte == start {
            level += 1;
            if level == 1 {
                open = at;
            }
        } else if byte == end {
            level = level.checked_sub(1).ok_or(UNBALANCED)?;
            if level == 0 {
                pieces.push((open, at + 1));
            }
        }
    }
    if level == 0 { Ok(pieces) } else { Err(UNBALANCED) }
}

/// Source: `go:regexp`, `QuoteMeta`.
fn quote(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if b"\\.+*?()|[]{}^$".contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
}
