//! Functions of plain strings.
//!
//! Source: `v1/topdown/strings.go`; Go's package `strings`.

use super::{args, rune, unicode};
use crate::builtins::{Builtin, Call, Fault, Type};
use crate::value::{Str, Value};

const SOURCE: &str = "v1/topdown/strings.go";

pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new(
        "concat",
        &[Type::String, Type::Union(&[Type::array_of(&Type::String), Type::Set(&Type::String)])],
        Type::String,
        concat,
        SOURCE,
    ),
    Builtin::new("contains", &[Type::String, Type::String], Type::Boolean, contains, SOURCE),
    Builtin::new("startswith", &[Type::String, Type::String], Type::Boolean, startswith, SOURCE),
    Builtin::new("endswith", &[Type::String, Type::String], Type::Boolean, endswith, SOURCE),
    Builtin::new("indexof", &[Type::String, Type::String], Type::Number, indexof, SOURCE),
    Builtin::new(
        "indexof_n",
        &[Type::String, Type::String],
        Type::array_of(&Type::Number),
        indexof_n,
        SOURCE,
    ),
    Builtin::new("lower", &[Type::String], Type::String, lower, SOURCE),
    Builtin::new("upper", &[Type::String], Type::String, upper, SOURCE),
    Builtin::new("split", &[Type::String, Type::String], Type::array_of(&Type::String), split, SOURCE),
    Builtin::new(
        "strings.split_n",
        &[Type::String, Type::String, Type::Number],
        Type::array_of(&Type::String),
        split_n,
        SOURCE,
    ),
    Builtin::new("strings.count", &[Type::String, Type::String], Type::Number, count, SOURCE),
    Builtin::new("strings.reverse", &[Type::String], Type::String, reverse, SOURCE),
    Builtin::new(
        "strings.any_prefix_match",
        &[
            Type::Union(&[Type::String, Type::array_of(&Type::String), Type::Set(&Type::String)]),
            Type::Union(&[Type::String, Type::array_of(&Type::String), Type::Set(&Type::String)]),
        ],
        Type::Boolean,
        any_prefix_match,
        SOURCE,
    ),
    Builtin::new(
        "strings.any_suffix_match",
        &[
            Type::Union(&[Type::String, Type::array_of(&Type::String), Type::Set(&Type::String)]),
            Type::Union(&[Type::String, Type::array_of(&Type::String), Type::Set(&Type::String)]),
        ],
        Type::Boolean,
        any_suffix_match,
        SOURCE,
    ),
    Builtin::new("substring", &[Type::String, Type::Number, Type::Number], Type::String, substring, SOURCE),
    Builtin::new("trim", &[Type::String, Type::String], Type::String, trim, SOURCE),
    Builtin::new("trim_left", &[Type::String, Type::String], Type::String, trim_left, SOURCE),
    Builtin::new("trim_right", &[Type::String, Type::String], Type::String, trim_right, SOURCE),
    Builtin::new("trim_prefix", &[Type::String, Type::String], Type::String, trim_prefix, SOURCE),
    Builtin::new("trim_suffix", &[Type::String, Type::String], Type::String, trim_suffix, SOURCE),
    Builtin::new("trim_space", &[Type::String], Type::String, trim_space, SOURCE),
];

/// What reading so many bytes costs.
fn read(call: &mut Call<'_>, bytes: usize) -> Result<(), Fault> {
    call.step(1 + bytes / 32)
}

/// A string of these bytes, paid for.
fn made(call: &mut Call<'_>, bytes: &[u8]) -> Result<Value, Fault> {
    call.bytes(bytes.len() + 16)?;
    Ok(bytes.into())
}

/// The string itself where nothing was taken away.
fn rest_of(call: &mut Call<'_>, whole: &Str, rest: &[u8]) -> Result<Value, Fault> {
    if rest.len() == whole.len() { Ok(whole.clone().into()) } else { made(call, rest) }
}

fn concat(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    const BAD: Fault = Fault::undefined("an operand must be an array or a set of strings");
    let separator = args::bytes(args, 0)?;
    let parts = args::members(args.get(1)).ok_or(BAD)?;
    if let [Value::String(only)] = parts {
        return Ok(only.clone().into());
    }
    call.step(1 + parts.len())?;
    let mut size = separator.len().saturating_mul(parts.len().saturating_sub(1));
    for part in parts {
        size = size.saturating_add(part.as_bytes().ok_or(BAD)?.len());
    }
    call.bytes(size.saturating_add(16))?;
    let mut out = Vec::with_capacity(size);
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(separator);
        }
        out.extend_from_slice(part.as_bytes().unwrap_or_default());
    }
    Ok(out.into())
}

fn contains(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (text, part) = (args::bytes(args, 0)?, args::bytes(args, 1)?);
    read(call, text.len() + part.len())?;
    Ok(rune::find(text, part).is_some().into())
}

fn startswith(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (text, part) = (args::bytes(args, 0)?, args::bytes(args, 1)?);
    read(call, part.len())?;
    Ok(text.starts_with(part).into())
}

fn endswith(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (text, part) = (args::bytes(args, 0)?, args::bytes(args, 1)?);
    read(call, part.len())?;
    Ok(text.ends_with(part).into())
}

/// Text in which a part is found as Go finds runes in runes: bad bytes are U+FFFD on both sides. So a part that
/// begins within a character is found nowhere.
fn readable<'a>(
    call: &mut Call<'_>,
    text: &'a [u8],
    part: &'a [u8],
) -> Result<(std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>), Fault> {
    if part.is_empty() {
        return Err(Fault::undefined("the search text is empty"));
    }
    read(call, 2 * (text.len() + part.len()))?;
    Ok((crate::value::lossy(text), crate::value::lossy(part)))
}

fn indexof(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (text, part) = readable(call, args::bytes(args, 0)?, args::bytes(args, 1)?)?;
    let at = rune::find(text.as_bytes(), part.as_bytes());
    let index = at.map_or(-1, |at| rune::count(rune::cut(text.as_bytes(), 0, at)) as i64);
    Ok(index.into())
}

/// Overlapping places too.
fn indexof_n(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (text, part) = readable(call, args::bytes(args, 0)?, args::bytes(args, 1)?)?;
    let (text, part) = (text.as_bytes(), part.as_bytes());
    let finder = memchr::memmem::Finder::new(part);
    let first = rune::decode(part).1;
    let mut places = Vec::new();
    let (mut from, mut index) = (0, 0);
    while let Some(at) = finder.find(rune::from(text, from)) {
        // Each search may read as much as the part is long, again.
        read(call, part.len())?;
        call.bytes(16)?;
        index += rune::count(rune::cut(text, from, from + at)) as i64;
        places.push(Value::from(index));
        from += at + first;
        index += 1;
    }
    Ok(Value::array(places)?)
}

fn mapped(
    call: &mut Call<'_>,
    text: &Str,
    ascii: fn(&u8) -> u8,
    map: fn(char) -> char,
) -> Result<Value, Fault> {
    let bytes = text.as_bytes();
    read(call, bytes.len())?;
    if bytes.is_ascii() {
        if bytes.iter().all(|byte| ascii(byte) == *byte) {
            return Ok(text.clone().into());
        }
        call.bytes(bytes.len() + 16)?;
        return Ok(bytes.iter().map(ascii).collect::<Vec<u8>>().into());
    }
    // A bad byte becomes U+FFFD, of three bytes, only where something else changes before or after it.
    call.step(bytes.len() / 4)?;
    call.bytes(3 * bytes.len() + 16)?;
    let changes = |(at, c): (usize, char)| {
        let bad = c == char::REPLACEMENT_CHARACTER && rune::decode(rune::from(bytes, at)).1 == 1;
        bad || map(c) != c
    };
    if !rune::runes(bytes).any(changes) {
        return Ok(text.clone().into());
    }
    let mut out = Vec::with_capacity(bytes.len());
    for (_, c) in rune::runes(bytes) {
        rune::push(&mut out, map(c));
    }
    Ok(out.into())
}

fn lower(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    mapped(call, args::text(args, 0)?, u8::to_ascii_lowercase, unicode::lower)
}

fn upper(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    mapped(call, args::text(args, 0)?, u8::to_ascii_uppercase, unicode::upper)
}

/// The pieces between delimiters, at most `most` of them with the rest in the last; an empty delimiter takes
/// every character apart.
fn pieces<'a>(
    call: &mut Call<'_>,
    text: &'a [u8],
    delimiter: &[u8],
    most: usize,
) -> Result<Vec<&'a [u8]>, Fault> {
    read(call, text.len() + delimiter.len())?;
    let mut out = Vec::new();
    if most == 0 {
        return Ok(out);
    }
    let mut rest = text;
    if delimiter.is_empty() {
        while !rest.is_empty() {
            let width = if out.len() + 1 == most { rest.len() } else { rune::decode(rest).1 };
            call.bytes(16)?;
            out.push(rune::cut(rest, 0, width));
            rest = rune::from(rest, width);
        }
        return Ok(out);
    }
    let finder = memchr::memmem::Finder::new(delimiter);
    while out.len() + 1 < most {
        let Some(at) = finder.find(rest) else { break };
        call.bytes(16)?;
        out.push(rune::cut(rest, 0, at));
        rest = rune::from(rest, at + delimiter.len());
    }
    out.push(rest);
    Ok(out)
}

fn array(call: &mut Call<'_>, pieces: &[&[u8]]) -> Result<Value, Fault> {
    let values: Result<Vec<Value>, Fault> = pieces.iter().map(|piece| made(call, piece)).collect();
    Ok(Value::array(values?)?)
}

fn split(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let pieces = pieces(call, args::bytes(args, 0)?, args::bytes(args, 1)?, usize::MAX)?;
    array(call, &pieces)
}

/// The first `n` pieces, or the last ones where `n` is negative.
fn split_n(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (text, delimiter, n) = (args::bytes(args, 0)?, args::bytes(args, 1)?, args::int(args, 2)?);
    let count = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
    if n >= 0 {
        let pieces = pieces(call, text, delimiter, count.saturating_add(1))?;
        return array(call, pieces.get(..count).unwrap_or(&pieces));
    }
    let pieces = pieces(call, text, delimiter, usize::MAX)?;
    array(call, pieces.get(pieces.len().saturating_sub(count)..).unwrap_or_default())
}

fn count(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (text, part) = (args::bytes(args, 0)?, args::bytes(args, 1)?);
    read(call, text.len() + part.len())?;
    let count =
        if part.is_empty() { rune::count(text) + 1 } else { memchr::memmem::find_iter(text, part).count() };
    Ok((count as i64).into())
}

/// Characters from last to first. A bad byte becomes U+FFFD in a buffer of the size of the text: it is written over
/// what follows, and cut off at the end. Source: `reverseString`.
fn reverse(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let text = args::text(args, 0)?;
    read(call, text.len())?;
    reversed(text.as_bytes()).map(|bytes| made(call, &bytes))?
}

fn reversed(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    if bytes.is_ascii() {
        return Ok(bytes.iter().rev().copied().collect());
    }
    let size = bytes.len();
    let mut out = vec![0; size];
    let mut start = 0;
    while start < size {
        let (c, width) = rune::decode(rune::from(bytes, start));
        start += width;
        let mut buffer = [0; 4];
        let encoded = c.encode_utf8(&mut buffer).as_bytes();
        let Some(place) = out.get_mut(size - start..size - start + encoded.len()) else {
            return Err(Fault::undefined("the text is one that ends OPA"));
        };
        place.copy_from_slice(encoded);
    }
    Ok(out)
}

fn any_prefix_match(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    any_match(call, args, |text, part| text.starts_with(part), |text| Ok(text.to_vec()))
}

fn any_suffix_match(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    any_match(call, args, |text, part| text.ends_with(part), reversed)
}

/// Whether any text begins (or ends) with any part: texts are sorted as they are read, so that each part is looked up.
fn any_match(
    call: &mut Call<'_>,
    args: &[Value],
    matches: fn(&[u8], &[u8]) -> bool,
    key: fn(&[u8]) -> Result<Vec<u8>, Fault>,
) -> Result<Value, Fault> {
    let texts = args::texts(args, 0)?;
    let parts = args::texts(args, 1)?;
    let (many, count) = (texts.len(), parts.len());
    call.step(1 + many + count)?;
    if many * count <= 64 && [&texts, &parts].iter().all(|list| list.iter().all(|text| text.is_ascii())) {
        let found = texts.iter().any(|text| parts.iter().any(|part| matches(text, part)));
        call.step(many * count)?;
        return Ok(found.into());
    }
    let size: usize = texts.iter().chain(&parts).map(|text| text.len() + 24).sum();
    call.step(size / 16)?;
    call.bytes(size)?;
    let mut keys = texts.iter().map(|text| key(text)).collect::<Result<Vec<_>, _>>()?;
    keys.sort_unstable();
    for part in parts {
        let part = key(part)?;
        let at = keys.partition_point(|have| *have < part);
        call.step(1 + part.len() / 8)?;
        if keys.get(at).is_some_and(|have| have.starts_with(&part)) {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn substring(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let text = args::text(args, 0)?;
    let (start, length) = (args::int(args, 1)?, args::int(args, 2)?);
    // As 64 bits, whatever an address has here.
    let Ok(start) = u64::try_from(start) else {
        return Err(Fault::undefined("the offset is negative"));
    };
    let bytes = text.as_bytes();
    read(call, bytes.len())?;
    if bytes.is_empty() {
        return Ok(text.clone().into());
    }
    let ascii = bytes.is_ascii();
    let count = rune::count(bytes);
    let most = count as u64;
    let end = match u64::try_from(length) {
        Err(_) => most,
        Ok(length) if start == 0 && length >= most => return Ok(text.clone().into()),
        Ok(_) if start >= most => most,
        // OPA adds without looking, and ends.
        Ok(length) => match start.checked_add(length).filter(|end| i64::try_from(*end).is_ok()) {
            None => return Err(Fault::undefined("the end of the substring is out of range")),
            Some(end) => most.min(end),
        },
    };
    if start >= most {
        return Ok("".into());
    }
    let (start, end) = (start as usize, end as usize);
    if ascii {
        return made(call, rune::cut(bytes, start, end));
    }
    // From runes back to text: a bad byte becomes U+FFFD.
    let mut out = Vec::new();
    for (_, c) in rune::runes(bytes).skip(start).take(end.saturating_sub(start)) {
        rune::push(&mut out, c);
    }
    made(call, &out)
}

fn trimmed<'a>(
    call: &mut Call<'_>,
    text: &'a [u8],
    cutset: &[u8],
    left: bool,
    right: bool,
) -> Result<&'a [u8], Fault> {
    let set: Vec<char> = rune::runes(cutset).map(|(_, c)| c).collect();
    call.step(1 + set.len() / 8)?;
    let mut rest = text;
    while left && !rest.is_empty() {
        let (c, width) = rune::decode(rest);
        call.step(1 + set.len() / 16)?;
        if !set.contains(&c) {
            break;
        }
        rest = rune::from(rest, width);
    }
    while right && !rest.is_empty() {
        let (c, width) = rune::decode_last(rest);
        call.step(1 + set.len() / 16)?;
        if !set.contains(&c) {
            break;
        }
        rest = rune::cut(rest, 0, rest.len() - width);
    }
    Ok(rest)
}

fn trim_by(call: &mut Call<'_>, args: &[Value], left: bool, right: bool) -> Result<Value, Fault> {
    let text = args::text(args, 0)?;
    let rest = trimmed(call, text.as_bytes(), args::bytes(args, 1)?, left, right)?;
    rest_of(call, text, rest)
}

fn trim(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    trim_by(call, args, true, true)
}

fn trim_left(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    trim_by(call, args, true, false)
}

fn trim_right(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    trim_by(call, args, false, true)
}

fn trim_prefix(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (text, prefix) = (args::text(args, 0)?, args::bytes(args, 1)?);
    read(call, prefix.len())?;
    rest_of(call, text, text.as_bytes().strip_prefix(prefix).unwrap_or(text.as_bytes()))
}

fn trim_suffix(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let (text, suffix) = (args::text(args, 0)?, args::bytes(args, 1)?);
    read(call, suffix.len())?;
    rest_of(call, text, text.as_bytes().strip_suffix(suffix).unwrap_or(text.as_bytes()))
}

/// White space of Unicode. Source: `go:unicode`, `IsSpace`.
fn trim_space(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let text = args::text(args, 0)?;
    read(call, text.len())?;
    let mut rest = text.as_bytes();
    loop {
        let (c, width) = rune::decode(rest);
        if width == 0 || !c.is_whitespace() {
            break;
        }
        rest = rune::from(rest, width);
    }
    loop {
        let (c, width) = rune::decode_last(rest);
        if width == 0 || !c.is_whitespace() {
            break;
        }
        rest = rune::cut(rest, 0, rest.len() - width);
    }
    rest_of(call, text, rest)
}
