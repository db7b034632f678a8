//! Certificates, read as Go's `crypto/x509` does: what it refuses is refused, and nothing else. Source: parser.go.

pub(super) mod chains;
pub(super) mod extensions;
mod names;
pub(super) mod shown;
pub(super) mod signatures;

use super::super::time::civil::{Civil, days_in};
use super::der::{
    Der, GENERALIZED_TIME, OBJECT, SEQUENCE, SET, UTC_TIME, constructed, context, right_aligned,
};
use super::keys::{Algorithm, DSA, EC, ED25519, PublicKey, RSA, identifier, public_key};
use extensions::{Extension, Known};
use std::borrow::Cow;

/// A certificate.
#[derive(Debug)]
pub(in crate::builtins) struct Certificate<'a> {
    pub(super) raw: &'a [u8],
    pub(super) signed: &'a [u8],
    pub(super) raw_key: &'a [u8],
    pub(super) raw_subject: &'a [u8],
    pub(super) raw_issuer: &'a [u8],
    pub(super) signature: Vec<u8>,
    /// Algorithm and parameters of the signature.
    pub(super) algorithm: Algorithm<'a>,
    /// The number that Go has for the key's algorithm; 0 if it knows none.
    pub(super) key_algorithm: i64,
    /// None if its algorithm is unknown.
    pub(in crate::builtins) key: Option<PublicKey>,
    pub(super) version: i64,
    pub(super) serial: &'a [u8],
    pub(super) issuer: Name<'a>,
    pub(super) subject: Name<'a>,
    pub(super) not_before: Moment,
    pub(super) not_after: Moment,
    pub(super) extensions: Vec<Extension<'a>>,
    pub(super) known: Known<'a>,
}

/// An instant, and how far the clocks that showed it were ahead of UTC, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) unix: i64,
    pub(super) offset: i64,
}

/// Attributes and their values, in sets.
pub(super) type Name<'a> = Vec<Vec<(&'a [u8], Cow<'a, [u8]>)>>;

/// The certificate, which is all there is.
pub(in crate::builtins) fn parse(der: &[u8]) -> Option<Certificate<'_>> {
    let mut der = Der(der);
    let certificate = next(&mut der)?;
    der.is_empty().then_some(certificate)
}

/// Certificates one behind another.
pub(super) fn parse_all(der: &[u8]) -> Option<Vec<Certificate<'_>>> {
    let mut der = Der(der);
    let mut all = Vec::new();
    while !der.is_empty() {
        all.push(next(&mut der)?);
    }
    Some(all)
}

fn next<'a>(der: &mut Der<'a>) -> Option<Certificate<'a>> {
    let whole = der.element(SEQUENCE)?;
    let mut outer = Der(whole.content);
    let signed = outer.element(SEQUENCE)?;
    let mut body = Der(signed.content);
    let version = match body.optional(constructed(0))? {
        // Go reads nothing but the number in it.
        Some(mut version) => version.small().filter(|number| *number >= 0 && version.is_empty())?,
        None => 0,
    };
    let version = Some(version + 1).filter(|version| *version <= 3)?;
    let serial = body.integer().filter(|serial| serial.first().is_some_and(|first| first & 0x80 == 0))?;
    let algorithm = body.read(SEQUENCE)?;
    if outer.read(SEQUENCE)?.0 != algorithm.0 {
        return None;
    }
    let algorithm = identifier(&mut { algorithm })?;
    let raw_issuer = body.element(SEQUENCE)?.whole;
    let issuer = name(raw_issuer)?;
    let mut validity = body.read(SEQUENCE)?;
    let (not_before, not_after) = (moment(&mut validity)?, moment(&mut validity)?);
    let raw_subject = body.element(SEQUENCE)?.whole;
    let subject = name(raw_subject)?;
    let raw_key = body.element(SEQUENCE)?;
    let (key_algorithm, key) = key_of(Der(raw_key.content))?;
    let mut extensions = Vec::new();
    if version > 1 {
        body.optional(context(1))?;
        body.optional(context(2))?;
        if version == 3
            && let Some(mut list) = body.optional(constructed(3))?
        {
            extensions = extensions::read(list.read(SEQUENCE)?)?;
        }
    }
    let known = Known::of(&extensions)?;
    let (bits, unused) = outer.bits()?;
    Some(Certificate {
        raw: whole.whole,
        signed: signed.whole,
        raw_key: raw_key.whole,
        raw_subject,
        raw_issuer,
        signature: right_aligned(bits, unused),
        algorithm,
        key_algorithm,
        key,
        version,
        serial,
        issuer,
        subject,
        not_before,
        not_after,
        extensions,
        known,
    })
}

/// The number of a key's algorithm, and the key; none of an algorithm that Go does not know.
pub(super) fn key_of(der: Der<'_>) -> Option<(i64, Option<PublicKey>)> {
    let ((algorithm, parameters), bits) = super::keys::info(der)?;
    let number = match algorithm {
        RSA => 1,
        DSA => 2,
        EC => 3,
        ED25519 => 4,
        _ => return Some((0, None)),
    };
    Some((number, Some(public_key(algorithm, parameters, &bits)?)))
}

/// A name with its tag.
pub(super) fn name(der: &[u8]) -> Option<Name<'_>> {
    let mut der = Der(der).read(SEQUENCE)?;
    let mut name = Vec::new();
    while !der.is_empty() {
        let mut set = der.read(SET)?;
        let mut attributes = Vec::new();
        while !set.is_empty() {
            let mut attribute = set.read(SEQUENCE)?;
            let kind = attribute.object()?;
            let value = attribute.any()?;
            attributes.push((kind, text(value.tag, value.content)?));
        }
        name.push(attributes);
    }
    Some(name)
}

/// A string of any of ASN.1's kinds, in UTF-8.
pub(super) fn text(tag: u8, bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let is_printable = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+,-./ :=?*&".contains(byte);
    let good = match tag {
        // UTF-8, printable, numeric, IA5.
        0x0c => std::str::from_utf8(bytes).is_ok(),
        0x13 => bytes.iter().all(is_printable),
        0x12 => bytes.iter().all(|byte| byte.is_ascii_digit() || *byte == b' '),
        0x16 => bytes.is_ascii(),
        // T.61, taken for Latin-1.
        0x14 => {
            return Some(bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into_bytes().into());
        }
        // Units of two bytes, without surrogates and what is no character.
        0x1e => {
            let bytes = bytes.strip_suffix(&[0, 0]).unwrap_or(bytes);
            let (units, []) = bytes.as_chunks::<2>() else { return None };
            let letter = |unit: &[u8; 2]| match u16::from_be_bytes(*unit) {
                0xfdd0..=0xfdef | 0xfffe | 0xffff => None,
                unit => char::from_u32(u32::from(unit)),
            };
            return Some(units.iter().map(letter).collect::<Option<String>>()?.into_bytes().into());
        }
        _ => false,
    };
    good.then_some(Cow::Borrowed(bytes))
}

fn moment(der: &mut Der<'_>) -> Option<Moment> {
    if der.next_is(UTC_TIME) {
        let text = der.read(UTC_TIME)?.0;
        let (digits, zone) = text.split_at_checked(text.iter().take_while(|b| b.is_ascii_digit()).count())?;
        let (year, rest) = digits.split_at_checked(2)?;
        let year = number(year)?;
        // Go's 69 is 1969, and 50 is 1950 here.
        let year = if year >= 50 { 1900 + year } else { 2000 + year };
        instant(year, rest, zone, true)
    } else {
        let text = der.read(GENERALIZED_TIME)?.0;
        let (digits, zone) = text.split_at_checked(text.iter().take_while(|b| b.is_ascii_digit()).count())?;
        let (year, rest) = digits.split_at_checked(4)?;
        instant(number(year)?, rest, zone, false)
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Month, day, hour, minute and second, and a zone that is `Z` or an offset which is not zero.
fn instant(year: i64, digits: &[u8], zone: &[u8], without_seconds: bool) -> Option<Moment> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let pairs: Vec<i64> = pairs.iter().map(|pair| number(pair)).collect::<Option<_>>()?;
    let (month, day, hour, minute, second) = match pairs[..] {
        [month, day, hour, minute, second] => (month, day, hour, minute, second),
        [month, day, hour, minute] if without_seconds => (month, day, hour, minute, 0),
        _ => return None,
    };
    let good = (1..=12).contains(&month)
        && (1..=days_in(month, year)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let offset = match zone {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), hours @ ..] => {
            let (hours, minutes) = hours.split_at_checked(2).filter(|(_, minutes)| minutes.len() == 2)?;
            let (hours, minutes) = (number(hours)?, number(minutes)?);
            let offset = hours * 3_600 + minutes * 60;
            if hours > 24 || minutes > 59 || offset == 0 {
                return None;
            }
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let unix = Civil { year, month, day, hour, minute, second }.unix() - offset;
    good.then_some(Moment { unix, offset })
}

/// An object identifier whose digits are not bounded: none is longer than it must be.
pub(super) fn long_object<'a>(der: &mut Der<'a>) -> Option<&'a [u8]> {
    let bytes = der.read(OBJECT)?.0;
    let mut is_first = true;
    for byte in bytes {
        if is_first && *byte == 0x80 {
            return None;
        }
        is_first = byte & 0x80 == 0;
    }
    (is_first && !bytes.is_empty()).then_some(bytes)
}
