//! Requests for certificates. Source: `v1/topdown/crypto.go`; Go's `crypto/x509`, `ParseCertificateRequest`, `encoding/asn1`.

use super::super::encoding::{from_base64, to_base64};
use super::super::operands::{all, bytes};
use super::super::{Builtin, Call, Fault, Type};
use super::SOURCE;
use super::certificates::extensions::{self, Extension, Known};
use super::certificates::shown::{
    addresses, extensions as shown_extensions, id, key, list, name, object, texts, uris,
};
use super::certificates::{key_of, name as read_name, signatures, text};
use super::der::{BOOLEAN, Der, OCTET_STRING, SEQUENCE, SET, constructed, right_aligned, signed};
use super::keys::identifier;
use super::pem;
use crate::value::{Value, lossy};

/// The table of this file.
pub(in crate::builtins) const BUILTINS: &[Builtin] = &[Builtin::new(
    "crypto.x509.parse_certificate_request",
    &[Type::String],
    Type::object_of(&Type::String, &Type::Any),
    parse,
    SOURCE,
)];

const NO_REQUEST: Fault = Fault::undefined("not a request for a certificate");
const REQUESTED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e";

fn parse(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [input] = all(args)?;
    let input = bytes(input)?;
    call.step(2 * input.len())?;
    // About four times in base64, and the parts that are shown one by one.
    call.bytes(input.len().saturating_mul(16) + 4_096)?;
    let decoded;
    let input = if input.starts_with(b"-----BEGIN CERTIFICATE REQUEST-----") {
        input
    } else {
        decoded = from_base64(input, false).ok_or(NO_REQUEST)?;
        &decoded
    };
    match pem::decode(input) {
        Some((block, _)) if block.kind == b"CERTIFICATE REQUEST" => request(call, &block.bytes),
        Some(_) => Err(NO_REQUEST),
        None => request(call, input),
    }
}

fn request(call: &mut Call<'_>, der: &[u8]) -> Result<Value, Fault> {
    let mut outside = Der(der);
    let whole = outside.element(SEQUENCE).filter(|_| outside.is_empty()).ok_or(NO_REQUEST)?;
    let mut outer = Der(whole.content);
    let signed_part = outer.element(SEQUENCE).ok_or(NO_REQUEST)?;
    let mut body = Der(signed_part.content);
    let version = body.small().ok_or(NO_REQUEST)?;
    let raw_subject = body.any().ok_or(NO_REQUEST)?.whole;
    let raw_key = body.element(SEQUENCE).ok_or(NO_REQUEST)?;
    let mut attributes = body.read(constructed(0)).ok_or(NO_REQUEST)?;
    let algorithm = outer.read(SEQUENCE).and_then(|mut der| identifier(&mut der)).ok_or(NO_REQUEST)?;
    let (bits, unused) = outer.bits().ok_or(NO_REQUEST)?;
    let mut raw_attributes = Vec::new();
    while !attributes.is_empty() {
        call.step(8)?;
        let attribute = attributes.any().ok_or(NO_REQUEST)?;
        // Of others nothing is told.
        raw_attributes.extend((attribute.tag == SEQUENCE).then_some(attribute.content));
    }
    let (key_algorithm, public) = key_of(Der(raw_key.content)).ok_or(NO_REQUEST)?;
    let subject = match read_name(raw_subject) {
        Some(subject) => subject,
        // Go takes values that are no texts, too.
        None if holds_more_than_texts(raw_subject) == Some(true) => {
            return Err(Fault::Halt("a subject that holds more than texts".into()));
        }
        None => return Err(NO_REQUEST),
    };
    let mut shown = Vec::new();
    for attribute in &raw_attributes {
        call.room(1 + attribute.len() / 8)?;
        shown.extend(shown_attribute(Der(attribute))?);
    }
    let requested = requested(&raw_attributes)?;
    let alternative: Vec<Extension<'_>> =
        requested.iter().filter(|extension| extension.id == [0x55, 0x1d, 17]).copied().collect();
    let known = Known::of(&alternative).ok_or(NO_REQUEST)?;
    let raw = |bytes: &[u8]| Value::from(to_base64(bytes));
    object(vec![
        ("Raw", raw(whole.whole)),
        ("RawTBSCertificateRequest", raw(signed_part.whole)),
        ("RawSubjectPublicKeyInfo", raw(raw_key.whole)),
        ("RawSubject", raw(raw_subject)),
        ("Version", Value::from(version)),
        ("Signature", raw(&right_aligned(bits, unused))),
        ("SignatureAlgorithm", Value::from(signatures::number(algorithm))),
        ("PublicKeyAlgorithm", Value::from(key_algorithm)),
        ("PublicKey", key(public.as_ref())?),
        ("Subject", name(&subject)?),
        ("Attributes", list(shown)?),
        ("Extensions", shown_extensions(&requested)?),
        ("ExtraExtensions", Value::Null),
        ("DNSNames", texts(&known.dns)?),
        ("EmailAddresses", texts(&known.emails)?),
        ("IPAddresses", addresses(&known.ips)?),
        ("URIs", uris(&known.uris)?.0),
    ])
}

/// Whether a name is well formed but for values that are no texts.
fn holds_more_than_texts(name: &[u8]) -> Option<bool> {
    let mut name = Der(name).read(SEQUENCE)?;
    let mut found = false;
    while !name.is_empty() {
        let mut set = name.read(SET)?;
        while !set.is_empty() {
            let mut attribute = set.read(SEQUENCE)?;
            attribute.object()?;
            found |= !matches!(attribute.any()?.tag, 0x0c | 0x12..=0x14 | 0x16 | 0x1e);
        }
    }
    Some(found)
}

const UNUSUAL: &str = "an attribute of a request that is not decided here";

/// An attribute, if its values are sequences of kinds and values, as those of extensions are.
fn shown_attribute(mut der: Der<'_>) -> Result<Option<Value>, Fault> {
    let Some(kind) = der.object() else { return Ok(None) };
    let Some(mut sets) = der.read(SET) else { return Ok(None) };
    let mut all = Vec::new();
    while !sets.is_empty() {
        let Some(mut set) = sets.read(SEQUENCE) else { return Ok(None) };
        let mut one = Vec::new();
        while !set.is_empty() {
            let Some(mut attribute) = set.read(SEQUENCE) else { return Ok(None) };
            let Some(kind) = attribute.object() else { return Ok(None) };
            let Some(value) = attribute.any() else { return Ok(None) };
            let Some(value) = shown_value(value.tag, value.content)? else { return Ok(None) };
            one.push(object(vec![("Type", id(kind)?), ("Value", value)])?);
        }
        all.push(Value::array(one)?);
    }
    Ok(Some(object(vec![("Type", id(kind)?), ("Value", Value::array(all)?)])?))
}

/// A value of any kind as Go's JSON has it; none if it is malformed.
fn shown_value(tag: u8, content: &[u8]) -> Result<Option<Value>, Fault> {
    Ok(match tag {
        BOOLEAN => match content {
            [0] => Some(Value::Bool(false)),
            [0xff] => Some(Value::Bool(true)),
            _ => None,
        },
        2 => Der(&[&[2, u8::try_from(content.len()).unwrap_or(0)], content].concat())
            .integer()
            .and_then(signed)
            .map(Value::from),
        OCTET_STRING => Some(Value::from(to_base64(content))),
        0x0c | 0x12..=0x14 | 0x16 | 0x1e => {
            text(tag, content).map(|text| Value::from(lossy(&text).as_bytes()))
        }
        // Bits, objects and times.
        3 | 6 | 0x17 | 0x18 => return Err(Fault::Halt(UNUSUAL.into())),
        _ => Some(Value::Null),
    })
}

/// The extensions that are asked for, no two of one kind in one attribute or another.
fn requested<'a>(attributes: &[&'a [u8]]) -> Result<Vec<Extension<'a>>, Fault> {
    let mut all: Vec<Extension<'a>> = Vec::new();
    for attribute in attributes {
        let mut der = Der(attribute);
        let Some(kind) = der.object() else { continue };
        let Some(mut values) = der.read(SET) else { continue };
        let mut all_values = Vec::new();
        while let Some(value) = values.any() {
            all_values.push(value);
        }
        let Some(first) = all_values.first().filter(|_| values.is_empty() && kind == REQUESTED) else {
            continue;
        };
        let mut first = Der(first.whole).read(SEQUENCE).ok_or(NO_REQUEST)?;
        while !first.is_empty() {
            let extension = first.read(SEQUENCE).and_then(extensions::one).ok_or(NO_REQUEST)?;
            if all.iter().any(|other| other.id == extension.id) {
                return Err(NO_REQUEST);
            }
            all.push(extension);
        }
    }
    Ok(all)
}
