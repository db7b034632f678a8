//! Formats of strings. Source: format_checkers.go, Go's `net`, `net/url`, `time`.

use super::mail::is_address;
use crate::builtins::time::layout;
use crate::builtins::uri::uri;
use crate::builtins::{Call, Fault};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether the text has the format; one that nobody knows everything has.
pub(super) fn has_format(call: &mut Call<'_>, format: &[u8], text: &[u8]) -> Result<bool, Fault> {
    const TIME: &[u8] = b"15:04:05";
    const TIME_AND_ZONE: &[u8] = b"15:04:05Z07:00";
    const DATE: &[u8] = b"2006-01-02";
    const BOTH: &[u8] = b"2006-01-02T15:04:05Z07:00";
    const BOTH_AND_LESS: &[u8] = b"2006-01-02T15:04:05.999999999Z07:00";
    call.step(text.len() / 2 + 8)?;
    call.bytes(text.len().saturating_mul(4))?;
    let is_time = |layouts: &[&[u8]]| layouts.iter().any(|layout| layout::parse(layout, text).is_some());
    let is_text = || !text.contains(&b'\\');
    Ok(match format {
        b"date" => is_time(&[DATE]),
        b"time" => is_time(&[TIME_AND_ZONE, TIME]),
        b"date-time" => is_time(&[TIME, TIME_AND_ZONE, DATE, BOTH, BOTH_AND_LESS]),
        b"hostname" => is_hostname(text),
        b"email" | b"idn-email" => is_address(text),
        b"ipv4" => is_ip(text) && text.contains(&b'.'),
        b"ipv6" => is_ip(text) && text.contains(&b':'),
        b"uri" | b"iri" => uri(text).is_some_and(|uri| !uri.scheme.is_empty()) && is_text(),
        b"uri-reference" | b"iri-reference" => uri(text).is_some() && is_text(),
        b"uri-template" => uri(text).is_some_and(|uri| is_balanced(&uri.path)) && is_text(),
        b"uuid" => is_uuid(text),
        b"regex" => match call.patterns.regex(text, call.budget) {
            Ok(_) => true,
            Err(Fault::Undefined(_)) => false,
            Err(fault) => return Err(fault),
        },
        b"json-pointer" => is_pointer(text),
        b"relative-json-pointer" => is_relative_pointer(text),
        _ => true,
    })
}

/// An address without a zone.
pub(super) fn is_ip(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    text.parse::<Ipv4Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok()
}

fn is_hostname(text: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        (1..=63).contains(&label.len())
            && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            && label.first() != Some(&b'-')
            && label.last() != Some(&b'-')
    };
    text.len() < 256 && text.split(|byte| *byte == b'.').all(is_label)
}

/// Whether each brace that opens is closed.
fn is_balanced(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(open) = rest.iter().position(|byte| *byte == b'{') {
        let inner = rest.get(open + 1..).unwrap_or_default();
        let Some(close) = inner.iter().position(|byte| *byte == b'}') else { return false };
        rest = inner.get(close + 1..).unwrap_or_default();
    }
    true
}

fn is_uuid(text: &[u8]) -> bool {
    let is_right = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.iter().enumerate().all(is_right)
}

/// Empty, or steps with a slash before each, in which a tilde stands before `0` or `1`.
fn is_pointer(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return text.is_empty() || text.starts_with(b"/"),
            [b'~', b'0' | b'1', tail @ ..] => tail,
            [b'~', ..] => return false,
            [_, tail @ ..] => tail,
        };
    }
}

/// Steps outwards, and then a pointer or a hash.
fn is_relative_pointer(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at_checked(digits).unwrap_or((text, b""));
    (number == b"0" || matches!(number, [b'1'..=b'9', ..])) && (rest == b"#" || is_pointer(rest))
}
