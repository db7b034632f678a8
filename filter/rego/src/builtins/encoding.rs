//! base64, hexadecimal and URL queries. Source: `v1/topdown/encoding.go`, Go's `encoding/base64`, `net/url`.

use super::operands::{all, bytes, items, object, text};
use super::{Builtin, Call, Fault, Type};
use crate::value::{Object, Value, sort_by_key};

const SOURCE: &str = "v1/topdown/encoding.go";
const STRING: &[Type] = &[Type::String];

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("base64.decode", STRING, Type::String, base64_decode, SOURCE),
    Builtin::new("base64.encode", STRING, Type::String, base64_encode, SOURCE),
    Builtin::new("base64.is_valid", STRING, Type::Boolean, base64_is_valid, SOURCE),
    Builtin::new("base64url.decode", STRING, Type::String, base64url_decode, SOURCE),
    Builtin::new("base64url.encode", STRING, Type::String, base64url_encode, SOURCE),
    Builtin::new("base64url.encode_no_pad", STRING, Type::String, base64url_encode_no_pad, SOURCE),
    Builtin::new("hex.decode", STRING, Type::String, hex_decode, SOURCE),
    Builtin::new("hex.encode", STRING, Type::String, hex_encode, SOURCE),
    Builtin::new("urlquery.decode", STRING, Type::String, query_decode, SOURCE),
    Builtin::new(
        "urlquery.decode_object",
        STRING,
        Type::object_of(&Type::String, &Type::array_of(&Type::String)),
        query_decode_object,
        SOURCE,
    ),
    Builtin::new("urlquery.encode", STRING, Type::String, query_encode, SOURCE),
    Builtin::new(
        "urlquery.encode_object",
        &[Type::object_of(
            &Type::String,
            &Type::Union(&[Type::String, Type::array_of(&Type::String), Type::Set(&Type::String)]),
        )],
        Type::String,
        query_encode_object,
        SOURCE,
    ),
];

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Bytes in base64, padded.
pub(super) fn to_base64(bytes: &[u8]) -> Vec<u8> {
    base64_of(bytes, STANDARD, true)
}

/// Bytes in base64url without padding.
pub(super) fn to_base64url(bytes: &[u8]) -> Vec<u8> {
    base64_of(bytes, URL, false)
}

fn base64_of(bytes: &[u8], alphabet: &[u8; 64], pad: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().enumerate().fold(0, |group, (i, byte)| group | usize::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            match alphabet.get(group >> (18 - 6 * i) & 63) {
                Some(letter) if i <= chunk.len() => out.push(*letter),
                _ if pad => out.push(b'='),
                _ => {}
            }
        }
    }
    out
}

/// Line ends are skipped wherever they stand; padding is required, and nothing may come after it; bits that
/// are left over need not be zero.
pub(super) fn from_base64(text: &[u8], url: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut count, mut padding) = (0u32, 0, 0);
    for byte in text {
        let six = match byte {
            b'\r' | b'\n' => continue,
            b'=' if count >= 2 && count + padding < 4 => {
                padding += 1;
                continue;
            }
            _ if padding > 0 => return None,
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' if !url => 62,
            b'/' if !url => 63,
            b'-' if url => 62,
            b'_' if url => 63,
            _ => return None,
        };
        group = group << 6 | u32::from(six);
        count += 1;
        if count == 4 {
            out.extend(group.to_be_bytes().into_iter().skip(1));
            (group, count) = (0, 0);
        }
    }
    match (count, padding) {
        (0, 0) => {}
        (2, 2) => out.push((group >> 4) as u8),
        (3, 1) => out.extend([(group >> 10) as u8, (group >> 2) as u8]),
        _ => return None,
    }
    Some(out)
}

/// The same without padding.
pub(super) fn from_base64_unpadded(text: &[u8], url: bool) -> Option<Vec<u8>> {
    if text.contains(&b'=') {
        return None;
    }
    let mut padded: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    padded.resize(padded.len().next_multiple_of(4), b'=');
    from_base64(&padded, url)
}

fn encoded(call: &mut Call<'_>, args: &[Value], alphabet: &[u8; 64], pad: bool) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let bytes = bytes(value)?;
    call.step(bytes.len() / 16)?;
    call.bytes(bytes.len() / 3 * 4 + 4)?;
    text(base64_of(bytes, alphabet, pad))
}

fn base64_encode(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    encoded(call, args, STANDARD, true)
}

fn base64url_encode(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    encoded(call, args, URL, true)
}

fn base64url_encode_no_pad(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    encoded(call, args, URL, false)
}

fn base64_decode(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let bytes = bytes(value)?;
    call.step(bytes.len() / 16)?;
    call.bytes(bytes.len())?;
    text(from_base64(bytes, false).ok_or(Fault::undefined("not base64"))?)
}

fn base64_is_valid(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let Ok(bytes) = bytes(value) else { return Ok(Value::Bool(false)) };
    call.step(bytes.len() / 16)?;
    call.bytes(bytes.len())?;
    Ok(Value::Bool(from_base64(bytes, false).is_some()))
}

fn base64url_decode(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    text(from_base64url(call, bytes(value)?)?)
}

/// Padding may be left out altogether.
pub(super) fn from_base64url(call: &mut Call<'_>, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    call.step(bytes.len() / 16)?;
    call.bytes(bytes.len().saturating_mul(2))?;
    let padding: &[u8] = match bytes.len() % 4 {
        _ if bytes.ends_with(b"=") => b"",
        0 => b"",
        2 => b"==",
        3 => b"=",
        _ => return Err(Fault::undefined("not base64url")),
    };
    from_base64(&[bytes, padding].concat(), true).ok_or(Fault::undefined("not base64url"))
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn digit(hex: &[u8; 16], value: u8) -> u8 {
    hex.get(usize::from(value)).copied().unwrap_or(b'0')
}

/// A hexadecimal digit, in upper case.
pub(super) fn digit_of(value: u8) -> u8 {
    digit(b"0123456789ABCDEF", value)
}

/// The value of a hexadecimal digit.
pub(super) fn hex_value(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|value| value as u8)
}

/// Bytes in hexadecimal.
pub(super) fn hex_of(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| [digit(HEX, byte >> 4), digit(HEX, byte & 15)]).collect()
}

fn hex_encode(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let bytes = bytes(value)?;
    call.step(bytes.len() / 16)?;
    call.bytes(bytes.len().saturating_mul(2))?;
    text(hex_of(bytes))
}

fn hex_decode(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let bytes = bytes(value)?;
    call.step(bytes.len() / 16)?;
    call.bytes(bytes.len() / 2)?;
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(hex_value(*high)? << 4 | hex_value(*low)?),
        _ => None,
    };
    let decoded: Option<Vec<u8>> = bytes.chunks(2).map(pair).collect();
    text(decoded.ok_or(Fault::undefined("not hexadecimal"))?)
}

/// Text as a part of a query: a space becomes `+`. Source: `net/url`, `QueryEscape`.
pub(super) fn query_escape(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(*byte),
            b' ' => out.push(b'+'),
            _ => {
                out.extend([b'%', digit_of(byte >> 4), digit_of(byte & 15)]);
            }
        }
    }
}

/// Text with its escapes undone; none if one is wrong. Source: `net/url`, `QueryUnescape`, `PathUnescape`.
pub(super) fn unescape(bytes: &[u8], plus_is_space: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return Some(out),
            [b'%', high, low, rest @ ..] => {
                out.push(hex_value(*high)? << 4 | hex_value(*low)?);
                rest
            }
            [b'%', ..] => return None,
            [b'+', rest @ ..] if plus_is_space => {
                out.push(b' ');
                rest
            }
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
        };
    }
}

fn query_encode(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let bytes = bytes(value)?;
    call.step(bytes.len() / 16)?;
    call.bytes(bytes.len().saturating_mul(3))?;
    let mut out = Vec::with_capacity(bytes.len());
    query_escape(bytes, &mut out);
    text(out)
}

const ESCAPE: Fault = Fault::undefined("a wrong escape");

fn query_decode(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let bytes = bytes(value)?;
    call.step(bytes.len() / 16)?;
    call.bytes(bytes.len())?;
    text(unescape(bytes, true).ok_or(ESCAPE)?)
}

/// The most parts of one query, as Go's `net/url` has it.
const MOST_PARTS: usize = 10_000;

fn query_decode_object(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let bytes = bytes(value)?;
    let parts = bytes.iter().filter(|byte| **byte == b'&').count() + 1;
    call.step(bytes.len() / 4)?;
    call.bytes(bytes.len())?;
    if parts > MOST_PARTS {
        return Err(Fault::undefined("too many parts"));
    }
    call.room(parts.saturating_mul(4))?;
    let mut pairs = Vec::new();
    for part in bytes.split(|byte| *byte == b'&').filter(|part| !part.is_empty()) {
        if part.contains(&b';') {
            return Err(Fault::undefined("a semicolon between parts"));
        }
        let mut halves = part.splitn(2, |byte| *byte == b'=');
        let mut half = || unescape(halves.next().unwrap_or_default(), true).ok_or(ESCAPE);
        pairs.push((Value::from(half()?), Value::from(half()?)));
    }
    // Values of one key keep their order.
    sort_by_key(&mut pairs);
    let mut object = Vec::new();
    for same in pairs.chunk_by(|a, b| a.0 == b.0) {
        let Some((key, _)) = same.first() else { continue };
        let values = same.iter().map(|(_, value)| value.clone()).collect();
        object.push((key.clone(), Value::array(values)?));
    }
    Ok(Value::object(object)?)
}

fn query_encode_object(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let object = object(value)?;
    call.walk(value)?;
    if !value.is_json() {
        return Err(Fault::undefined("a number that JSON does not have"));
    }
    let mut keyed = Vec::with_capacity(object.len());
    for (key, value) in object.iter() {
        let key = match key {
            Value::String(_) => key.clone(),
            key => {
                let mut text = Vec::new();
                key.write_json(&mut text, call.budget)?;
                Value::from(text)
            }
        };
        keyed.push((key, value.clone()));
    }
    // Of keys with one text the last value stays.
    let valid = |value: &Value| match value {
        Value::String(_) => true,
        Value::Array(_) | Value::Set(_) => {
            items(value).is_ok_and(|items| items.iter().all(|item| matches!(item, Value::String(_))))
        }
        _ => false,
    };
    let keyed = Object::from_pairs(keyed)?;
    if !keyed.values().all(valid) {
        return Err(Fault::undefined("values must be strings, or arrays or sets of them"));
    }
    let mut out = Vec::new();
    for (key, value) in keyed.iter() {
        let key = bytes(key)?;
        for value in items(value).unwrap_or(std::slice::from_ref(value)) {
            let value = bytes(value)?;
            call.bytes(2 + 3 * (key.len() + value.len()))?;
            if !out.is_empty() {
                out.push(b'&');
            }
            query_escape(key, &mut out);
            out.push(b'=');
            query_escape(value, &mut out);
        }
    }
    text(out)
}
