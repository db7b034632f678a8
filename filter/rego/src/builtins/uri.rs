//! URIs taken apart, as Go's `net/url` does: lenient in paths, strict in hosts.
//!
//! Source: `v1/topdown/uri.go`, `net/url`, `Parse`.

use super::encoding::{digit_of, unescape};
use super::operands::{all, bytes};
use super::{Builtin, Call, Fault, Type};
use crate::value::Value;
use std::net::Ipv6Addr;

const SOURCE: &str = "v1/topdown/uri.go";

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("uri.is_valid", &[Type::String], Type::Boolean, is_valid, SOURCE),
    Builtin::new("uri.parse", &[Type::String], Type::object_of(&Type::String, &Type::String), parse, SOURCE),
];

/// A URI in its parts.
#[derive(Default)]
pub(super) struct Uri {
    pub(super) scheme: Vec<u8>,
    /// What follows the scheme, where it has no parts.
    pub(super) opaque: Vec<u8>,
    pub(super) has_user: bool,
    /// Host and port.
    pub(super) host: Vec<u8>,
    hostname: Vec<u8>,
    port: Vec<u8>,
    pub(super) path: Vec<u8>,
    raw_path: Vec<u8>,
    /// The path as it is written.
    pub(super) written_path: Vec<u8>,
    pub(super) query: Vec<u8>,
    /// There is a question mark, and nothing behind it.
    pub(super) empty_query: bool,
    pub(super) fragment: Vec<u8>,
    /// The path follows the scheme.
    pub(super) omit_host: bool,
}

fn is_valid(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let Ok(text) = bytes(value) else { return Ok(Value::Bool(false)) };
    count(call, text)?;
    Ok(Value::Bool(!text.is_empty() && uri(text).is_some()))
}

fn count(call: &mut Call<'_>, text: &[u8]) -> Result<(), Fault> {
    call.step(text.len() / 4 + 8)?;
    call.bytes(text.len().saturating_mul(4) + 256)
}

/// The parts that are there.
fn parse(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let text = bytes(value)?;
    count(call, text)?;
    let uri = uri(text).ok_or(Fault::undefined("not a URI"))?;
    let parts = [
        ("fragment", uri.fragment),
        ("hostname", uri.hostname),
        ("path", uri.path),
        ("port", uri.port),
        ("raw_path", uri.raw_path),
        ("raw_query", uri.query),
        ("scheme", uri.scheme),
    ];
    let there = parts.into_iter().filter(|(_, part)| !part.is_empty());
    Ok(Value::object(there.map(|(name, part)| (Value::from(name), Value::from(part))).collect())?)
}

/// Before and after the first such byte; nothing after it if there is none.
fn cut(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == at).and_then(|at| text.split_at_checked(at)) {
        Some((before, after)) => (before, after.get(1..).unwrap_or_default()),
        None => (text, &[]),
    }
}

/// A URI taken apart; none if it is none.
pub(super) fn uri(text: &[u8]) -> Option<Uri> {
    let (text, fragment) = cut(text, b'#');
    if text.iter().any(|byte| *byte < b' ' || *byte == 0x7f) {
        return None;
    }
    let mut uri = Uri { fragment: unescape(fragment, false)?, ..Uri::default() };
    if text == b"*" {
        (uri.path, uri.raw_path, uri.written_path) = (b"*".to_vec(), b"*".to_vec(), b"*".to_vec());
        return Some(uri);
    }
    let (scheme, rest) = scheme(text)?;
    uri.scheme = scheme.to_ascii_lowercase();
    // A question mark at the end alone is no query.
    let (mut rest, query) = cut(rest, b'?');
    uri.query = query.to_vec();
    uri.empty_query = text.ends_with(b"?") && query.is_empty();
    if !rest.starts_with(b"/") {
        if !scheme.is_empty() {
            // `mailto:a@b`: what follows has no parts.
            uri.opaque = rest.to_vec();
            return Some(uri);
        }
        if cut(rest, b'/').0.contains(&b':') {
            return None;
        }
    }
    if rest.starts_with(b"//") && (!scheme.is_empty() || !rest.starts_with(b"///")) {
        let authority = rest.get(2..)?;
        let end = authority.iter().position(|byte| *byte == b'/').unwrap_or(authority.len());
        let (authority, path) = authority.split_at_checked(end)?;
        rest = path;
        uri.has_user = authority.contains(&b'@');
        let host = host(&uri.scheme, authority)?;
        (uri.hostname, uri.port) = split_port(&host);
        uri.host = host;
    } else {
        uri.omit_host = !scheme.is_empty();
    }
    uri.path = unescape(rest, false)?;
    uri.written_path = rest.to_vec();
    // The text as it was, unless it is what the path would be written as.
    uri.raw_path = if escaped_path(&uri.path) == rest { uri.path.clone() } else { rest.to_vec() };
    Some(uri)
}

/// The scheme, if there is one, and the rest; none if it is empty.
fn scheme(text: &[u8]) -> Option<(&[u8], &[u8])> {
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return None,
            b':' => return Some((text.get(..at)?, text.get(at + 1..)?)),
            _ => break,
        }
    }
    Some((&[], text))
}

impl Uri {
    /// The path as Go's `EscapedPath` has it: as it is written, if it may be written so.
    pub(super) fn path_text(&self) -> Vec<u8> {
        let is_kept = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*[]%".contains(byte);
        if self.written_path.iter().all(is_kept) {
            self.written_path.clone()
        } else {
            escaped_path(&self.path)
        }
    }
}

/// A path as Go writes it.
pub(super) fn escaped_path(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for byte in path {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => out.push(*byte),
            b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@' => {
                out.push(*byte);
            }
            _ => out.extend([b'%', digit_of(byte >> 4), digit_of(byte & 15)]),
        }
    }
    out
}

/// A host with its port, escapes undone; what stands before the last `@` is checked and dropped.
fn host(scheme: &[u8], authority: &[u8]) -> Option<Vec<u8>> {
    let (user, host) = match authority.iter().rposition(|byte| *byte == b'@') {
        Some(at) => (authority.get(..at)?, authority.get(at + 1..)?),
        None => (b"".as_slice(), authority),
    };
    if !user.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(byte)) {
        return None;
    }
    unescape(user, false)?;
    let colon_port = |text: &[u8]| match text {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    match host.iter().rposition(|byte| *byte == b'[') {
        Some(0) => {
            let end = host.iter().rposition(|byte| *byte == b']')?;
            let (address, port) = (host.get(1..end)?, host.get(end + 1..)?);
            if !colon_port(port) {
                return None;
            }
            let zone = address.windows(3).position(|window| window == b"%25");
            let (address, zone) = address.split_at_checked(zone.unwrap_or(address.len()))?;
            let address = unescape_host(address, false)?;
            let zone = unescape_host(zone, true)?;
            std::str::from_utf8(&address).ok()?.parse::<Ipv6Addr>().ok()?;
            if zone == b"%" {
                return None;
            }
            Some([b"[", address.as_slice(), &zone, b"]", port].concat())
        }
        Some(_) => None,
        None => {
            // More than one colon is refused where the web is strict; elsewhere the last is that of the port.
            let strict = matches!(scheme, b"http" | b"https");
            let is_colon = |byte: &u8| *byte == b':';
            let colon = if strict { host.iter().position(is_colon) } else { host.iter().rposition(is_colon) };
            if !colon_port(colon.map_or(Some(b"".as_slice()), |at| host.get(at..))?) {
                return None;
            }
            unescape_host(host, false)
        }
    }
}

/// In a host only bytes beyond ASCII may be escaped, and `%` in a zone.
fn unescape_host(text: &[u8], zone: bool) -> Option<Vec<u8>> {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte) || byte >= 0x80;
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = if *first == b'%' {
            let escaped = *unescape(rest.get(..3)?, false)?.first()?;
            let fine = match zone {
                true => escaped == b'%' || escaped == b' ' || (allowed(escaped) && escaped < 0x80),
                false => escaped == b'%' || escaped >= 0x80,
            };
            if !fine {
                return None;
            }
            rest.get(3..)?
        } else if allowed(*first) {
            tail
        } else {
            return None;
        };
    }
    unescape(text, false)
}

/// Host without brackets, and port.
fn split_port(host: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let colon = host.iter().rposition(|byte| *byte == b':');
    let (name, port) = match colon.and_then(|at| host.split_at_checked(at)) {
        Some((name, [_, port @ ..])) if port.iter().all(u8::is_ascii_digit) => (name, port),
        _ => (host, b"".as_slice()),
    };
    let bare = name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]"));
    (bare.unwrap_or(name).to_vec(), port.to_vec())
}
