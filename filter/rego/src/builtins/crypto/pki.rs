//! `crypto.x509.*`: certificates as documents.

use super::super::encoding::from_base64;
use super::super::operands::{all, bytes, integer, items, object};
use super::super::{Builtin, Call, Fault, Type};
use super::certificates::chains::{self, Wanted};
use super::certificates::{parse_all, shown};
use super::{SOURCE, pem};
use crate::value::Value;

const OBJECTS: Type = Type::array_of(&Type::object_of(&Type::String, &Type::Any));

const VERIFIED: Type = Type::Array(&[Type::Boolean, OBJECTS], None);

/// The table of this file.
pub(in crate::builtins) const BUILTINS: &[Builtin] = &[
    Builtin::new(
        "crypto.x509.parse_and_verify_certificates",
        &[Type::String],
        VERIFIED,
        parse_and_verify,
        SOURCE,
    )
    .timed(),
    Builtin::new(
        "crypto.x509.parse_and_verify_certificates_with_options",
        &[Type::String, Type::object_of(&Type::String, &Type::Any)],
        VERIFIED,
        parse_and_verify_with_options,
        SOURCE,
    )
    .timed(),
    Builtin::new("crypto.x509.parse_certificates", &[Type::String], OBJECTS, parse_certificates, SOURCE),
];

const BEGIN: &[u8] = b"-----BEGIN";

/// The bytes of certificates, one behind another: of PEM, or of base64 of PEM or of DER.
fn certificates(text: &[u8]) -> Option<Vec<u8>> {
    if text.starts_with(BEGIN) {
        return from_pem(text);
    }
    let bytes = from_base64(text, false)?;
    if bytes.starts_with(BEGIN) { from_pem(&bytes) } else { Some(bytes) }
}

fn from_pem(text: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, mut out) = (text, Vec::new());
    while let Some((block, behind)) = pem::decode(rest) {
        if block.kind != b"CERTIFICATE" {
            return None;
        }
        out.extend(block.bytes);
        rest = behind;
    }
    Some(out)
}

fn parse_certificates(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [text] = all(args)?;
    let der = read(call, bytes(text)?)?.ok_or(Fault::undefined("not certificates"))?;
    let all = parse_all(&der).ok_or(Fault::undefined("not certificates"))?;
    let shown = all.iter().map(|certificate| shown::certificate(call, certificate, true));
    Ok(Value::array(shown.collect::<Result<_, _>>()?)?)
}

fn read(call: &mut Call<'_>, text: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    call.step(text.len())?;
    call.bytes(text.len().saturating_mul(2))?;
    Ok(certificates(text))
}

/// The chain from the last certificate to the first, from the leaf on.
fn verified(
    call: &mut Call<'_>,
    text: &[u8],
    wanted: impl FnOnce() -> Result<Wanted, Fault>,
    with_uris: bool,
) -> Result<Value, Fault> {
    let none = || Ok(Value::array(vec![Value::Bool(false), Value::array(Vec::new())?])?);
    let Some(der) = read(call, text)? else { return none() };
    let Some(all) = parse_all(&der) else { return none() };
    let wanted = wanted()?;
    let Some(chain) = chains::verify(call, &all, &wanted)? else { return none() };
    let chain = chain.iter().filter_map(|at| all.get(*at));
    let shown = chain.map(|certificate| shown::certificate(call, certificate, with_uris));
    let shown = Value::array(shown.collect::<Result<_, _>>()?)?;
    Ok(Value::array(vec![Value::Bool(true), shown])?)
}

fn parse_and_verify(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [text] = all(args)?;
    let now_ns = call.now_ns;
    verified(call, bytes(text)?, || Ok(Wanted { now_ns, ..Wanted::default() }), true)
}

fn parse_and_verify_with_options(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [text, options] = all(args)?;
    let text = bytes(text)?;
    object(options)?;
    call.walk(options)?;
    let now_ns = call.now_ns;
    verified(call, text, || wanted(options, now_ns), false)
}

/// Usages by name, with Go's numbers.
const USAGES: &[&str] = &[
    "KeyUsageAny",
    "KeyUsageServerAuth",
    "KeyUsageClientAuth",
    "KeyUsageCodeSigning",
    "KeyUsageEmailProtection",
    "KeyUsageIPSECEndSystem",
    "KeyUsageIPSECTunnel",
    "KeyUsageIPSECUser",
    "KeyUsageTimeStamping",
    "KeyUsageOCSPSigning",
    "KeyUsageMicrosoftServerGatedCrypto",
    "KeyUsageNetscapeServerGatedCrypto",
    "KeyUsageMicrosoftCommercialCodeSigning",
    "KeyUsageMicrosoftKernelCodeSigning",
];

fn wanted(options: &Value, now_ns: i64) -> Result<Wanted, Fault> {
    let mut wanted = Wanted { now_ns, ..Wanted::default() };
    for (name, value) in object(options)?.iter() {
        // A name that is no string is passed over.
        let Some(name) = name.as_bytes() else { continue };
        match name {
            b"DNSName" => wanted.name = without_quotes(bytes(value)?).to_vec(),
            b"CurrentTime" => wanted.now_ns = integer(value)?,
            // Counts what Go compares in constraints of names.
            b"MaxConstraintComparisons" => drop(integer(value)?),
            b"KeyUsages" => {
                for usage in items(value)?.iter().filter_map(Value::as_bytes) {
                    let usage = without_quotes(usage);
                    let number = USAGES.iter().position(|known| known.as_bytes() == usage);
                    wanted.usages.push(number.ok_or(Fault::undefined("an unknown usage"))? as i64);
                }
            }
            _ => return Err(Fault::undefined("an unknown option")),
        }
    }
    Ok(wanted)
}

fn without_quotes(text: &[u8]) -> &[u8] {
    let start = text.iter().take_while(|byte| **byte == b'"').count();
    let rest = text.get(start..).unwrap_or_default();
    let end = rest.iter().rev().take_while(|byte| **byte == b'"').count();
    rest.get(..rest.len() - end).unwrap_or_default()
}
