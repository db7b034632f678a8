//! Signatures of tokens.

use super::super::crypto::hashes::{Hash, same_code};
use super::super::crypto::keys::{ED25519_STEPS, PublicKey, verify_ed25519};
use super::super::crypto::rsa::Padding;
use super::super::encoding::from_base64url;
use super::super::operands::{all, bytes};
use super::super::{Budget, Call, Fault};
use super::cache::KeySet;
use super::keys::{Key, Material};
use super::{MOST_KEYS_TRIED, Token};
use crate::value::Value;
use std::borrow::Cow;

/// How a token is signed with a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Rsa(Hash),
    Pss(Hash),
    Ecdsa(Hash),
    Ed25519,
}

/// What a signature has to fit: a function's name, or the name of an algorithm in a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// As the function is named: PSS with any salt, a curve of any size, no private keys.
    Function(Family),
    /// As the header says.
    Header(Family),
    /// The header says that it is a code.
    Code(Hash),
    /// The header says nothing that is known.
    Nothing,
}

impl Wanted {
    /// Bytes that say which.
    pub(super) fn code(self) -> [u8; 3] {
        let hash = |hash: Hash| hash.len() as u8;
        match self {
            Wanted::Function(family) | Wanted::Header(family) => {
                let kind = u8::from(matches!(self, Wanted::Header(_)));
                match family {
                    Family::Rsa(size) => [kind, 0, hash(size)],
                    Family::Pss(size) => [kind, 1, hash(size)],
                    Family::Ecdsa(size) => [kind, 2, hash(size)],
                    Family::Ed25519 => [kind, 3, 0],
                }
            }
            Wanted::Code(size) => [2, 0, hash(size)],
            Wanted::Nothing => [3, 0, 0],
        }
    }
}

/// What a header says, as far as it counts.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) alg: Vec<u8>,
    pub(super) kid: Vec<u8>,
    pub(super) cty: Vec<u8>,
    /// Something is critical that is not known.
    pub(super) is_critical: bool,
}

impl Header {
    pub(super) fn of(header: &Value) -> Result<Header, Fault> {
        let text = |name: &'static str| match header.get_str(name.as_bytes()) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(text.as_bytes().to_vec()),
            Some(_) => Err(Fault::undefined("`alg`, `kid`, `typ` and `cty` must be strings")),
        };
        text("typ")?;
        let mut out = Header { alg: text("alg")?, kid: text("kid")?, cty: text("cty")?, is_critical: false };
        if let Some(names) = header.get_str(b"crit") {
            let names = names.as_array().ok_or(Fault::undefined("`crit` must be an array"))?;
            // What comes behind something that is no string is not looked at.
            let mut count = 0;
            for name in names.iter().map_while(Value::as_bytes) {
                count += 1;
                let known = matches!(name, b"alg" | b"kid" | b"typ" | b"cty" | b"crit");
                out.is_critical |= !known && header.get_str(name).is_some();
            }
            if count == 0 {
                return Err(Fault::undefined("`crit` must have strings"));
            }
        }
        Ok(out)
    }
}

/// `io.jwt.verify_*` with a public key.
pub(super) fn verify(call: &mut Call<'_>, args: &[Value], family: Family) -> Result<Value, Fault> {
    let [token, keys] = all(args)?;
    let (token_text, keys) = (bytes(token)?, bytes(keys)?);
    let token = Token::of(call, token_text)?;
    let set = call.keys.set(keys, call.budget)?;
    let signature = from_base64url(call, token.signature)?;
    let header = Header::of(&token.header(call)?)?;
    let verdict = of_set(call, &set, token_text, &token, &header, &signature, Wanted::Function(family))?;
    Ok(Value::Bool(verdict))
}

/// `io.jwt.verify_hs*`: the header is not looked at.
pub(super) fn verify_code(call: &mut Call<'_>, args: &[Value], hash: Hash) -> Result<Value, Fault> {
    let [token, secret] = all(args)?;
    let (token, secret) = (bytes(token)?, bytes(secret)?);
    let token = Token::of(call, token)?;
    let signature = from_base64url(call, token.signature)?;
    let steps = Hash::steps(token.header.len() + token.payload.len() + secret.len());
    call.step(steps)?;
    Ok(Value::Bool(same_code(&signature, &code(&token, secret, hash))))
}

fn code(token: &Token<'_>, secret: &[u8], hash: Hash) -> Vec<u8> {
    hash.code(secret, &[token.header, b".", token.payload])
}

/// The algorithm of a header, with the key's family. Also the names that the library under OPA's has for its own.
pub(super) fn wanted(alg: &[u8]) -> Wanted {
    let hash = |name: &[u8]| match name {
        b"256" => Some(Hash::Sha256),
        b"384" => Some(Hash::Sha384),
        b"512" => Some(Hash::Sha512),
        _ => None,
    };
    let found = match alg {
        b"EdDSA" | b"Ed25519" => Some(Wanted::Header(Family::Ed25519)),
        b"ECDSA_WITH_P256_AND_SHA256" => Some(Wanted::Header(Family::Ecdsa(Hash::Sha256))),
        b"ECDSA_WITH_P384_AND_SHA384" => Some(Wanted::Header(Family::Ecdsa(Hash::Sha384))),
        b"ECDSA_WITH_P521_AND_SHA512" => Some(Wanted::Header(Family::Ecdsa(Hash::Sha512))),
        [b'H', b'S', size @ ..] => hash(size).map(Wanted::Code),
        [b'R', b'S', size @ ..] if size.len() == 3 => {
            hash(size).map(|hash| Wanted::Header(Family::Rsa(hash)))
        }
        [b'P', b'S', size @ ..] => hash(size).map(|hash| Wanted::Header(Family::Pss(hash))),
        [b'E', b'S', size @ ..] => hash(size).map(|hash| Wanted::Header(Family::Ecdsa(hash))),
        _ => {
            let behind = |prefix: &[u8]| alg.strip_prefix(prefix).and_then(hash);
            None.or(behind(b"HMAC_WITH_SHA").map(Wanted::Code))
                .or(behind(b"RSA_PKCS1v15_WITH_SHA").map(|hash| Wanted::Header(Family::Rsa(hash))))
                .or(behind(b"RSA_PSS_WITH_SHA").map(|hash| Wanted::Header(Family::Pss(hash))))
        }
    };
    found.unwrap_or(Wanted::Nothing)
}

/// A token's signature by one secret.
pub(super) fn of_secret(
    call: &mut Call<'_>,
    secret: &[u8],
    token: &Token<'_>,
    header: &Header,
    signature: &[u8],
) -> Result<bool, Fault> {
    let Wanted::Code(hash) = wanted(&header.alg) else { return Ok(false) };
    call.step(Hash::steps(token.header.len() + token.payload.len() + secret.len()))?;
    Ok(same_code(signature, &code(token, secret, hash)))
}

/// A token's signature by the keys of a set: by the one that its header names, or by any that fits.
pub(super) fn of_set(
    call: &mut Call<'_>,
    set: &KeySet,
    token_text: &[u8],
    token: &Token<'_>,
    header: &Header,
    signature: &[u8],
    wanted: Wanted,
) -> Result<bool, Fault> {
    call.keys.verdict(set, wanted, token_text, call.budget, |budget| {
        let mut trial = Trial { token, signature, wanted, digest: None };
        if !header.kid.is_empty()
            && let Some(key) = set.keys.iter().find(|key| key.kid == header.kid)
        {
            return trial.verify(key, budget);
        }
        let fitting = set.keys.iter().filter(|key| key.alg.is_empty() || key.alg == header.alg);
        for (count, key) in fitting.enumerate() {
            if count >= MOST_KEYS_TRIED {
                return Err(Fault::Halt(Cow::Borrowed("more than 32 keys for one token")));
            }
            if trial.verify(key, budget)? {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

/// One token, tried with one key after another.
struct Trial<'a> {
    token: &'a Token<'a>,
    signature: &'a [u8],
    wanted: Wanted,
    digest: Option<Vec<u8>>,
}

impl Trial<'_> {
    fn digest(&mut self, hash: Hash, budget: &mut Budget) -> Result<&[u8], Fault> {
        if self.digest.is_none() {
            budget.step(Hash::steps(self.token.header.len() + self.token.payload.len()) as u64)?;
            self.digest = Some(hash.of(&[self.token.header, b".", self.token.payload]));
        }
        Ok(self.digest.as_deref().unwrap_or_default())
    }

    fn verify(&mut self, key: &Key, budget: &mut Budget) -> Result<bool, Fault> {
        let is_function = matches!(self.wanted, Wanted::Function(_));
        let family = match (self.wanted, &key.material) {
            (Wanted::Function(family) | Wanted::Header(family), _) => family,
            (Wanted::Code(hash), Material::Secret(secret)) => {
                let length = self.token.header.len() + self.token.payload.len() + secret.len();
                budget.step(Hash::steps(length) as u64)?;
                return Ok(same_code(self.signature, &code(self.token, secret, hash)));
            }
            _ => return Ok(false),
        };
        let public = match &key.material {
            Material::Public(public) => public,
            Material::Private(public) if !is_function => public,
            _ => return Ok(false),
        };
        match (family, public) {
            (Family::Rsa(hash) | Family::Pss(hash), PublicKey::Rsa(key)) => {
                if key.is_too_long() {
                    return Err(Fault::Halt(Cow::Borrowed("an RSA key of more than 8192 bits")));
                }
                budget.step(key.steps() as u64)?;
                let padding = match (family, is_function) {
                    (Family::Rsa(_), _) => Padding::Fixed,
                    (_, true) => Padding::Pss,
                    (_, false) => Padding::PssOfHash,
                };
                let signature = self.signature;
                Ok(key.verify(padding, hash, self.digest(hash, budget)?, signature))
            }
            (Family::Ecdsa(hash), PublicKey::Ec { key, .. }) => {
                let half = self.signature.len() / 2;
                if !is_function && self.signature.len() != 2 * key.curve().bytes() {
                    return Ok(false);
                }
                budget.step(key.steps() as u64)?;
                let Some((r, s)) = self.signature.split_at_checked(half) else { return Ok(false) };
                Ok(key.verify(self.digest(hash, budget)?, r, s))
            }
            (Family::Ed25519, PublicKey::Ed25519(key)) => {
                let message = [self.token.header, b".", self.token.payload].concat();
                budget.step((ED25519_STEPS + Hash::steps(message.len())) as u64)?;
                Ok(verify_ed25519(key, &message, self.signature))
            }
            _ => Ok(false),
        }
    }
}
