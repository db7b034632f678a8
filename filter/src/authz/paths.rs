//! Whether a path has one reading: what a route was chosen by, what a policy is asked about and what an upstream serves.
//!
//! Servers differ in what they make of a path: some merge slashes, decode `%2f` or decode twice, cut off `;…`, or take `\`
//! for `/`. A path in which none of this finds anything to do is the same resource to all of them.

use percent_encoding::percent_decode_str;

use super::head::RequestHead;

/// Characters that some servers take for the end of a segment or of a path, raw or escaped.
const SEPARATORS: &[u8] = b"/\\;?#";
/// The forms of ASCII characters with another width, which some servers fold into those.
const WIDE_FORMS: std::ops::RangeInclusive<char> = '\u{ff01}'..='\u{ff5e}';

/// Whether the path of a request has one reading. A request without a path has nothing to misread.
pub(super) fn has_one_reading(head: &RequestHead) -> bool {
    let is_asterisk = |path: &[u8]| path == b"*" && head.header(b":method") == Some(b"OPTIONS");
    head.header(b":path")
        .is_none_or(|path| is_asterisk(path) || std::str::from_utf8(path).is_ok_and(is_plain))
}

/// Whether a path, with or without a query, has one reading.
pub(super) fn is_plain(path: &str) -> bool {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let Some(path) = path.strip_prefix('/') else {
        return false;
    };
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        // A slash at the end is not merged with anything.
        let is_merged = segment.is_empty() && segments.peek().is_some();
        if is_merged || !is_plain_segment(segment) {
            return false;
        }
    }
    true
}

fn is_plain_segment(segment: &str) -> bool {
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        let is_plain = match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let escaped = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                escaped.is_some_and(|byte| must_be_escaped(byte) && !is_twice_escaped(byte, rest.clone()))
            }
            byte => byte.is_ascii_graphic() && !SEPARATORS.contains(&byte),
        };
        if !is_plain {
            return false;
        }
    }
    let is_dots = matches!(segment, "." | "..");
    !is_dots && percent_decode_str(segment).decode_utf8().is_ok_and(|text| !text.chars().any(is_folded))
}

/// Whether an escape stands for something that is written in no other way, and that no server acts upon.
fn must_be_escaped(byte: u8) -> bool {
    let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !is_unreserved && !byte.is_ascii_control() && !SEPARATORS.contains(&byte)
}

/// `%25` and two digits: an escape to who decodes once more.
fn is_twice_escaped(byte: u8, mut rest: std::str::Bytes<'_>) -> bool {
    let mut is_digit = || rest.next().is_some_and(|byte| byte.is_ascii_hexdigit());
    byte == b'%' && is_digit() && is_digit()
}

/// Whether a character beyond ASCII becomes one of ASCII to who compares without case or width.
fn is_folded(character: char) -> bool {
    let is_cased_ascii =
        || character.to_lowercase().chain(character.to_uppercase()).any(|folded| folded.is_ascii());
    !character.is_ascii() && (WIDE_FORMS.contains(&character) || is_cased_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_one_reading() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b.c/d",
            "/a/.well-known/x",
            "/a/..b/c..",
            "/%20a",
            "/a%2Bb",
            "/%C3%A9",
            "/100%25",
            "/100%25/a",
            "/a:b@c=d,e!f$g&h'(i)*+",
            "/a?//;%2f..%2e",
            "/a?b/../c",
            "/{a}|b",
        ] {
            assert!(is_plain(path), "{path}");
        }
    }

    #[test]
    fn ways_around_a_prefix() {
        for path in [
            "",
            "a",
            "//",
            "//t/x",
            "/t//x",
            "/t/x//",
            "/t%2Fx",
            "/%2ft/x",
            "/t%5cx",
            "/t\\x",
            "/t;a=b/x",
            "/t/;/x",
            "/t%3bx",
            "/t%3fx",
            "/t%23x",
            "/t#x",
            "/./t/x",
            "/a/../t/x",
            "/a/..",
            "/a/.",
            "/%2e/t",
            "/%2e%2e/t",
            "/.%2E/t",
            "/%74/x",
            "/%54/x",
            "/t%2dx",
            "/%252e%252e/t",
            "/%252ft",
            "/t%00",
            "/t%0a",
            "/t%7f",
            "/t/ x",
            "/t\u{1}",
            "/té",
            "/%",
            "/%4",
            "/%zz",
            "/%ff",
            "/%c0%af",
            "/%e2%84%aa",
            "/%c5%bf",
            "/%ef%bc%8f",
            "/t\t",
        ] {
            assert!(!is_plain(path), "{path:?}");
        }
    }
}
