//! JSON web tokens. Source: `v1/topdown/tokens.go`.
//!
//! What is wrong with a token's form makes a call undefined; what is wrong with its signature or its claims makes the
//! answer false. Both are OPA's, and so is where the line lies.

pub(super) mod cache;
mod claims;
mod keys;
mod sign;
mod verify;

use super::crypto::hashes::Hash;
use super::encoding::{from_base64url, hex_of};
use super::json::read;
use super::operands::{all, bytes, text};
use super::{Builtin, Call, Fault, Type};
use crate::value::Value;
use verify::Family;

const SOURCE: &str = "v1/topdown/tokens.go";
const TWO: &[Type] = &[Type::String, Type::String];
const ANY: Type = Type::object_of(&Type::String, &Type::Any);

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new(
        "io.jwt.decode",
        &[Type::String],
        Type::Array(&[Type::ANY_OBJECT, Type::ANY_OBJECT, Type::String], None),
        decode,
        SOURCE,
    ),
    Builtin::new(
        "io.jwt.decode_verify",
        &[Type::String, ANY],
        Type::Array(&[Type::Boolean, Type::ANY_OBJECT, Type::ANY_OBJECT], None),
        claims::decode_verify,
        SOURCE,
    )
    .nondeterministic(),
    Builtin::new("io.jwt.encode_sign", &[ANY, ANY, ANY], Type::String, sign::encode_sign, SOURCE)
        .nondeterministic(),
    Builtin::new(
        "io.jwt.encode_sign_raw",
        &[Type::String, Type::String, Type::String],
        Type::String,
        sign::encode_sign_raw,
        SOURCE,
    )
    .nondeterministic(),
    verifying("io.jwt.verify_eddsa", |call, args| verify::verify(call, args, Family::Ed25519)),
    verifying("io.jwt.verify_es256", |call, args| verify::verify(call, args, Family::Ecdsa(Hash::Sha256))),
    verifying("io.jwt.verify_es384", |call, args| verify::verify(call, args, Family::Ecdsa(Hash::Sha384))),
    verifying("io.jwt.verify_es512", |call, args| verify::verify(call, args, Family::Ecdsa(Hash::Sha512))),
    verifying("io.jwt.verify_hs256", |call, args| verify::verify_code(call, args, Hash::Sha256)),
    verifying("io.jwt.verify_hs384", |call, args| verify::verify_code(call, args, Hash::Sha384)),
    verifying("io.jwt.verify_hs512", |call, args| verify::verify_code(call, args, Hash::Sha512)),
    verifying("io.jwt.verify_ps256", |call, args| verify::verify(call, args, Family::Pss(Hash::Sha256))),
    verifying("io.jwt.verify_ps384", |call, args| verify::verify(call, args, Family::Pss(Hash::Sha384))),
    verifying("io.jwt.verify_ps512", |call, args| verify::verify(call, args, Family::Pss(Hash::Sha512))),
    verifying("io.jwt.verify_rs256", |call, args| verify::verify(call, args, Family::Rsa(Hash::Sha256))),
    verifying("io.jwt.verify_rs384", |call, args| verify::verify(call, args, Family::Rsa(Hash::Sha384))),
    verifying("io.jwt.verify_rs512", |call, args| verify::verify(call, args, Family::Rsa(Hash::Sha512))),
];

const fn verifying(name: &'static str, function: super::Function) -> Builtin {
    Builtin::new(name, TWO, Type::Boolean, function, SOURCE)
}

/// The most keys of a set that are tried for one token.
const MOST_KEYS_TRIED: usize = 32;
/// The most tokens within one another.
const MOST_NESTED: usize = 3;
const TOO_NESTED: Fault = Fault::Halt(std::borrow::Cow::Borrowed("more than 3 tokens within one another"));

/// The three parts of a token, as they are written.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    header: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Token<'a> {
    fn of(call: &mut Call<'_>, text: &'a [u8]) -> Result<Token<'a>, Fault> {
        call.step(text.len() / 16)?;
        let mut parts = text.split(|byte| *byte == b'.');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(header), Some(payload), Some(signature), None) => Ok(Token { header, payload, signature }),
            _ => Err(Fault::undefined("a token must have three parts")),
        }
    }

    /// The header: an object, not that of an encrypted token.
    fn header(&self, call: &mut Call<'_>) -> Result<Value, Fault> {
        let text = from_base64url(call, self.header)?;
        let header = object(call, &text)?;
        match header.get_str(b"enc") {
            None => Ok(header),
            Some(_) => Err(Fault::undefined("an encrypted token")),
        }
    }
}

/// An object of JSON.
fn object(call: &mut Call<'_>, text: &[u8]) -> Result<Value, Fault> {
    match read(call, text)? {
        value @ Value::Object(_) => Ok(value),
        _ => Err(Fault::undefined("a part of a token must be an object")),
    }
}

fn decode(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [token] = all(args)?;
    let mut nested: Vec<u8>;
    let mut token_text = bytes(token)?;
    for _ in 0..=MOST_NESTED {
        let token = Token::of(call, token_text)?;
        let header = token.header(call)?;
        let payload = from_base64url(call, token.payload)?;
        match header.get_str(b"cty") {
            Some(Value::String(kind)) if kind.as_bytes() == b"JWT" => {
                // As jwt.io writes it, a token within a token stands in quotes.
                let is_quote = |byte: &u8| matches!(byte, b'"' | b'\'');
                let start = payload.iter().take_while(|byte| is_quote(byte)).count();
                let rest = payload.get(start..).unwrap_or_default();
                let end = rest.iter().rev().take_while(|byte| is_quote(byte)).count();
                nested = rest.get(..rest.len() - end).unwrap_or_default().to_vec();
                token_text = &nested;
                continue;
            }
            // OPA panics.
            Some(kind) if !matches!(kind, Value::String(_)) => {
                return Err(Fault::undefined("`cty` must be a string"));
            }
            _ => {}
        }
        let payload = object(call, &payload)?;
        let signature = from_base64url(call, token.signature)?;
        call.bytes(2 * signature.len())?;
        return Ok(Value::array(vec![header, payload, text(hex_of(&signature))?])?);
    }
    Err(TOO_NESTED)
}

/// Whether OPA knows the name.
fn is_algorithm(name: &[u8]) -> bool {
    matches!(
        name,
        b"RS256" | b"RS384" | b"RS512" | b"PS256" | b"PS384" | b"PS512" | b"ES256" | b"ES384" | b"ES512"
    ) || matches!(name, b"HS256" | b"HS384" | b"HS512" | b"EdDSA")
}

#[cfg(test)]
mod tests;
