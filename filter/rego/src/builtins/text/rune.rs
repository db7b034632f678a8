//! Characters of byte strings, as Go reads them: a byte that is part of no character is U+FFFD, one byte wide.

use memchr::memmem;

/// The first character and its width; U+FFFD of width 1 for a bad byte, of width 0 at the end.
pub(super) fn decode(bytes: &[u8]) -> (char, usize) {
    let Some(&first) = bytes.first() else {
        return (char::REPLACEMENT_CHARACTER, 0);
    };
    let width = match first {
        0..=0x7F => return (char::from(first), 1),
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => return (char::REPLACEMENT_CHARACTER, 1),
    };
    match bytes
        .get(..width)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| text.chars().next())
    {
        Some(c) => (c, width),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

/// The last character and its width.
pub(super) fn decode_last(bytes: &[u8]) -> (char, usize) {
    let end = bytes.len();
    for width in 1..=end.min(4) {
        let (c, read) = decode(bytes.get(end - width..).unwrap_or_default());
        if read == width && (width > 1 || c != char::REPLACEMENT_CHARACTER) {
            return (c, width);
        }
    }
    (char::REPLACEMENT_CHARACTER, end.min(1))
}

/// The characters, each with its place.
pub(super) fn runes(bytes: &[u8]) -> Runes<'_> {
    Runes { bytes, at: 0 }
}

/// See [`runes`].
#[derive(Clone)]
pub(super) struct Runes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Runes<'_> {
    type Item = (usize, char);

    fn next(&mut self) -> Option<(usize, char)> {
        let (c, width) = decode(self.bytes.get(self.at..)?);
        if width == 0 {
            return None;
        }
        let at = self.at;
        self.at += width;
        Some((at, c))
    }
}

/// How many characters.
pub(super) fn count(bytes: &[u8]) -> usize {
    if bytes.is_ascii() { bytes.len() } else { runes(bytes).count() }
}

/// Adds a character as UTF-8.
pub(super) fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Where `needle` begins first.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    match needle {
        [] => Some(0),
        [byte] => memchr::memchr(*byte, bytes),
        _ => memmem::find(bytes, needle),
    }
}

/// Where `needle` begins last.
pub(super) fn find_last(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    match needle {
        [] => Some(bytes.len()),
        [byte] => memchr::memrchr(*byte, bytes),
        _ => memmem::rfind(bytes, needle),
    }
}

/// Where a character is first: U+FFFD is also every bad byte. Source: `go:strings`, `IndexRune`.
pub(super) fn find_char(bytes: &[u8], c: char) -> Option<usize> {
    if c == char::REPLACEMENT_CHARACTER {
        return runes(bytes).find(|(_, have)| *have == c).map(|(at, _)| at);
    }
    find(bytes, c.encode_utf8(&mut [0; 4]).as_bytes())
}

/// The bytes from `start` to `end`, or none where there are none.
pub(super) fn cut(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    bytes.get(start..end).unwrap_or_default()
}

/// The bytes from `start`.
pub(super) fn from(bytes: &[u8], start: usize) -> &[u8] {
    bytes.get(start..).unwrap_or_default()
}

/// How many bytes Go takes a character to have: 3 for U+FFFD, whatever it was read from.
pub(super) fn width(c: char) -> usize {
    c.len_utf8()
}
