//! `crypto.x509.*`: certificates as documents.

use super::super::encoding::from_base64;
use super::super::operands::{all, bytes};
use super::super::{Builtin, Call, Fault, Type};
use super::certificates::{parse_all, shown};
use super::{SOURCE, pem};
use crate::value::Value;

const OBJECTS: Type = Type::array_of(&Type::object_of(&Type::String, &Type::Any));

/// The table of this file.
pub(in crate::builtins) const BUILTINS: &[Builtin] =
    &[Builtin::new("crypto.x509.parse_certificates", &[Type::String], OBJECTS, parse_certificates, SOURCE)];

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
    let text = bytes(text)?;
    call.step(text.len())?;
    call.bytes(text.len().saturating_mul(2))?;
    let der = certificates(text).ok_or(Fault::undefined("not certificates"))?;
    let all = parse_all(&der).ok_or(Fault::undefined("not certificates"))?;
    let shown = all.iter().map(|certificate| shown::certificate(call, certificate, true));
    Ok(Value::array(shown.collect::<Result<_, _>>()?)?)
}
