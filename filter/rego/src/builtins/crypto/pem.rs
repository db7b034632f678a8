//! PEM, read as Go's `encoding/pem` does.

use super::super::encoding::from_base64;
use memchr::memmem;

/// A block: what stands between the dashes of its first line, and its bytes.
pub(in crate::builtins) struct Block<'a> {
    pub(in crate::builtins) kind: &'a [u8],
    pub(in crate::builtins) bytes: Vec<u8>,
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";

/// A line without white space at its end, what is behind it, and the bytes of both.
fn line(data: &[u8]) -> (&[u8], &[u8], usize) {
    let (line, rest) = match memchr::memchr(b'\n', data) {
        Some(at) => data.split_at_checked(at + 1).unwrap_or((data, b"")),
        None => (data, b"".as_slice()),
    };
    let length = line.len();
    let line = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
    let blank = line.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    (line.get(..line.len() - blank).unwrap_or_default(), rest, length)
}

/// The first block, and what is behind it.
pub(in crate::builtins) fn decode(data: &[u8]) -> Option<(Block<'_>, &[u8])> {
    let mut rest = data;
    loop {
        // The first END, and before it the last BEGIN: one of several is tried that has an end.
        let mut end = memmem::find(rest, END)?;
        let mut trailer = end + END.len();
        let retry = rest.get(trailer..)?;
        let begin = memmem::rfind(rest.get(..end)?, BEGIN);
        let Some(begin) = begin.filter(|at| at.checked_sub(1).is_none_or(|at| rest.get(at) == Some(&b'\n')))
        else {
            rest = retry;
            continue;
        };
        rest = rest.get(begin + BEGIN.len()..)?;
        end -= begin + BEGIN.len();
        trailer -= begin + BEGIN.len();
        let (kind, mut body, consumed) = line(rest);
        // From here on the END may lie before what is read: then it is none of this block's.
        let mut end = end as isize - consumed as isize;
        let mut trailer = trailer as isize - consumed as isize;
        let Some(kind) = kind.strip_suffix(DASHES) else {
            rest = skip(body, trailer)?;
            continue;
        };
        let mut has_headers = false;
        loop {
            if body.is_empty() {
                return None;
            }
            let (header, next, consumed) = line(body);
            if !header.contains(&b':') {
                break;
            }
            has_headers = true;
            body = next;
            end -= consumed as isize;
            trailer -= consumed as isize;
        }
        match block(kind, body, end, trailer, has_headers) {
            Some(found) => return Some(found),
            None => rest = skip(body, trailer)?,
        }
    }
}

/// Behind the END that was tried.
fn skip(rest: &[u8], trailer: isize) -> Option<&[u8]> {
    rest.get(usize::try_from(trailer).ok()?..)
}

fn block<'a>(
    kind: &'a [u8],
    body: &'a [u8],
    end: isize,
    trailer: isize,
    has_headers: bool,
) -> Option<(Block<'a>, &'a [u8])> {
    if has_headers && end < 0 {
        return None;
    }
    let after = skip(body, trailer)?.strip_prefix(kind)?.strip_prefix(DASHES)?;
    let (trail, _, _) = line(after);
    if !trail.is_empty() {
        return None;
    }
    let text = usize::try_from(end).ok().and_then(|end| body.get(..end)).unwrap_or_default();
    let text: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b' ' | b'\t')).collect();
    let bytes = from_base64(&text, false)?;
    Some((Block { kind, bytes }, line(skip(body, end + END.len() as isize - 1)?).1))
}
